//! Random scripts, made of everything that scripts can call, in a state of a worker.
//!
//! The bytes choose what is written next, so an engine that changes them changes the script; when they are used up it comes
//! to its end. What must hold: every call returns, in time and memory, nothing of ours panics, and the state answers after.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::config::{Config, Hooks as Settings};
use crate::metrics::HookTable;
use crate::pipeline::{BatchItem, Effects, HookError, Hooks, Peer, Who};
use crate::script::{Breaker, Bundle, Clocks, Commons, DeadlineHandle, Host, LoadReason, build};
use crate::types::{
    ChannelName, Close, ConnId, Generation, NodeId, Origin, Payload, StagesId, WorkerId,
};
use crate::wire::Upgrade;

/// A script that these bytes write, and its hooks.
pub fn scripts(data: &[u8]) {
    let mut pen = Pen {
        data,
        out: String::new(),
    };
    pen.script();
    let text = pen.out;
    let Some((settings, bundle)) = bundle(&text) else {
        return;
    };
    match build(&bundle, host(), LoadReason::Start) {
        Ok(hooks) => play(hooks, &bundle, data, settings.memory, &text),
        Err(error) => no_fault_of_ours(&error, &text),
    }
}

/// Calls every hook that there is, some more than once, and what moves data between states.
fn play(hooks: Box<dyn Hooks>, bundle: &Arc<Bundle>, data: &[u8], memory: usize, text: &str) {
    let mut hooks = hooks;
    let stages = hooks.stages(StagesId::ALL);
    let (peer, upgrade, channel) = (peer(), upgrade(), name("room"));
    let channels = || vec![name("room"), name("other")];
    let who = Who {
        conn: CONN,
        peer: &peer,
        channels: &channels,
    };
    let mut effects = hooks.take_loaded();
    for round in 0..3 {
        for &stage in &stages {
            let messages = [&b"hello"[..], b"{\"a\":[1,null,{}],\"b\":\"x\"}", data];
            let payload = Payload::guess(messages[round].to_vec().into());
            let mut call =
                |ask: &mut dyn FnMut(&mut dyn Hooks, &mut Effects) -> Option<HookError>| {
                    effects.begin();
                    if let Some(error) = ask(&mut *hooks, &mut effects) {
                        no_fault_of_ours(&error, text);
                        effects.undo();
                    }
                    let asked = effects.take();
                    assert!(asked.len() <= Effects::MAX_COUNT, "{text}");
                    assert!(hooks.memory() <= memory, "{text}");
                };
            if round == 0 {
                call(&mut |hooks, e| hooks.on_connect(stage, who, &upgrade, e).err());
            }
            call(&mut |hooks, e| hooks.on_subscribe(stage, who, &channel, e).err());
            call(&mut |hooks, e| {
                hooks
                    .on_message(stage, who, Some(&channel), &payload, e)
                    .err()
            });
            let batch = batch(data, &peer);
            call(&mut |hooks, e| hooks.on_batch(stage, &channel, &batch, e).err());
            if round == 2 {
                call(&mut |hooks, e| hooks.on_unsubscribe(stage, who, &channel, e).err());
                call(&mut |hooks, e| hooks.on_disconnect(stage, who, &Close::LOST, e).err());
            }
        }
        if let Some(bytes) = hooks.export_data(CONN) {
            // Into a state of another generation, as a reload does.
            let other = build(bundle, host(), LoadReason::Reload);
            if let Ok(mut other) = other {
                other.import_data(CONN, bytes);
                let again = other.export_data(CONN);
                assert!(again.is_some(), "{text}");
            }
        }
    }
    hooks.forget(CONN);
}

fn no_fault_of_ours(error: &HookError, text: &str) {
    let ours = error.text.contains("wsd itself failed");
    assert!(!ours, "{error}\n{text}");
}

fn batch(data: &[u8], peer: &Peer) -> Vec<BatchItem> {
    let pieces = data.chunks(16).take(8).chain([&b"same"[..], b"same"]);
    pieces
        .map(|piece| BatchItem {
            payload: Payload::guess(piece.to_vec().into()),
            sender: Some(peer.origin),
            echo: true,
            ticket: None,
        })
        .collect()
}

/// Writes Luau by what bytes choose.
struct Pen<'a> {
    data: &'a [u8],
    out: String,
}

impl Pen<'_> {
    /// 0 to `n - 1`; 0 when there are no bytes left.
    fn choose(&mut self, n: usize) -> usize {
        let (first, rest) = self.data.split_first().unwrap_or((&0, &[]));
        self.data = rest;
        usize::from(*first) % n.max(1)
    }

    /// One of a list whose parts are divided by bars; line ends in it are for the reader.
    fn pick(&mut self, list: &'static str) -> &'static str {
        let at = self.choose(list.split('|').count());
        list.split('|').nth(at).unwrap_or("nil").trim_matches('\n')
    }

    fn add(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn script(&mut self) {
        self.add("local v1, v2, v3, v4\n");
        self.statement(1);
        self.statement(1);
        for head in HOOKS.split('|') {
            // What `on_load` does wrong ends the script before it began.
            if self.choose(8) > usize::from(head.contains("on_load")) * 5 {
                self.add(head);
                self.add("\n");
                self.statements(3);
                self.add("end\n");
            }
        }
    }

    fn statements(&mut self, depth: usize) {
        for _ in 0..=self.choose(4) {
            self.statement(depth);
        }
        if self.choose(2) == 0 {
            self.add("do return ");
            self.expression(2);
            if self.choose(3) == 0 {
                self.add(", ");
                self.expression(1);
            }
            self.add(" end\n");
        }
    }

    fn statement(&mut self, depth: usize) {
        let most = if depth == 0 { 7 } else { 13 };
        match self.choose(most) {
            0..=2 => {
                let variable = self.pick(VARIABLES);
                let _ = write!(self.out, "{variable} = ");
                self.expression(3);
            }
            3 => {
                self.add("local _ = ");
                self.call(3);
            }
            4 => {
                let field = self.pick(FIELDS);
                let _ = write!(self.out, "if conn then {field} = ");
                self.expression(2);
                self.add(" end");
            }
            5 => {
                self.add("pcall(error, ");
                self.expression(1);
                self.add(")");
            }
            6 => {
                self.add("v1 = type(v1) == 'table' and v1 or {} v1[");
                self.expression(1);
                self.add(" or 1] = ");
                self.expression(2);
            }
            7 => self.block("if v1 then ", depth),
            8 => {
                let head = self.pick(LOOPS);
                self.block(head, depth);
            }
            9 => {
                self.add("pcall(function(...)\n");
                self.statements(depth - 1);
                self.add("end)");
            }
            10 => {
                self.add("v2 = coroutine.wrap(function(...)\n");
                self.statements(depth - 1);
                self.add("coroutine.yield(v1) end) pcall(v2)");
            }
            11 => {
                self.add("for k, v in pairs(");
                self.expression(1);
                self.add(" or {}) do\n");
                self.statements(depth - 1);
                self.add("end");
            }
            _ => {
                self.add("v3 = setmetatable({}, { ");
                let event = self.pick(EVENTS);
                let _ = writeln!(self.out, "{event} = function(...)");
                self.statements(depth - 1);
                self.add("end })");
            }
        }
        self.add("\n");
    }

    fn block(&mut self, head: &str, depth: usize) {
        self.add(head);
        self.statements(depth.saturating_sub(1));
        self.add("end");
    }

    fn expression(&mut self, depth: usize) {
        match self.choose(if depth == 0 { 3 } else { 8 }) {
            0 => {
                let variable = self.pick(VARIABLES);
                self.add(variable);
            }
            1 | 2 => {
                let literal = self.pick(LITERALS);
                self.add(literal);
            }
            3 | 4 => self.call(depth - 1),
            5 => {
                self.add("{ ");
                for _ in 0..self.choose(4) {
                    if self.choose(2) == 0 {
                        self.add("a = ");
                    }
                    self.expression(depth - 1);
                    self.add(", ");
                }
                self.add("}");
            }
            6 => {
                let operator = self.pick(OPERATORS);
                self.add("select(2, pcall(function() return ");
                self.expression(depth - 1);
                self.add(operator);
                self.expression(depth - 1);
                self.add(" end))");
            }
            _ => {
                self.add("function(...) return ");
                self.expression(depth - 1);
                self.add(" end");
            }
        }
    }

    /// A call of something, under `pcall` so that the script goes on.
    fn call(&mut self, depth: usize) {
        let function = if self.choose(3) == 0 {
            self.pick(LANGUAGE)
        } else {
            self.pick(API)
        };
        let _ = write!(self.out, "(select(2, pcall({function}");
        for _ in 0..self.choose(4) {
            self.add(", ");
            self.expression(depth.saturating_sub(1));
        }
        self.add(")))");
    }
}

const HOOKS: &str = r#"function on_load(why)|function on_connect(conn)|function on_subscribe(conn, channel)|
function on_unsubscribe(conn, channel)|function on_message(conn, message, channel, kind)|
function on_batch(channel, messages, senders)|function on_disconnect(conn, code, reason)"#;

const VARIABLES: &str = r#"v1|v2|v3|v4|_G|conn|message|messages|channel|senders|string|json|wsd"#;

const FIELDS: &str =
    r#"conn.data|conn.data.x|conn.user|conn.channel|conn.protocol|conn.id|conn.new|conn[1]"#;

const LITERALS: &str = r#"nil|true|false|0|1|-1|2|0.5|1e15|1e308|-1e308|0/0|1/0|2^53|2^31|255|4001|''|'a'|'room'|'$own'|'a b'|'x.y'|
'\0\255'|'é'|('x'):rep(300)|('x'):rep(70000)|'%d+'|'(.-)'|'%f[%w]'|'{"a":{"b":1}}'|
'[1,2,12345678901234567890]'|'worker'|'binary'|'2026-01-01T00:00:00Z'|'192.0.2.0/24'|'192.0.2.7'|'HS256'|{}|
{ 1, 2, 3 }|{ a = 1 }|json.null|json.array()|print|conn and conn.data|buffer.create(16)|
coroutine.create(function() end)|{ alg = 'HS256', key = 'k' }|vector"#;

const OPERATORS: &str = r#" + | .. | == | < | // | % | ^ | and | or | ~= "#;

const EVENTS: &str = r#"__index|__newindex|__call|__tostring|__eq|__lt|__len|__iter|__concat|__metatable|__mode|__gc"#;

const LOOPS: &str = r#"for i = 1, 3 do |for i = 1, 1000 do |for i = 1, 1e9 do |while true do |
repeat local z = true if v1 then break end do end until z for i = 1, 2 do "#;

const LANGUAGE: &str = r#"string.find|string.match|string.gsub|string.gmatch|string.rep|string.format|string.split|string.pack|
string.unpack|string.byte|string.char|string.sub|string.reverse|table.insert|table.remove|table.concat|
table.sort|table.move|table.unpack|table.create|table.clone|table.freeze|table.find|table.clear|next|select|
tostring|tonumber|rawget|rawset|rawequal|rawlen|setmetatable|getmetatable|type|typeof|coroutine.wrap|
coroutine.resume|coroutine.create|coroutine.close|coroutine.status|coroutine.yield|pcall|xpcall|error|assert|
unpack|ipairs|pairs|utf8.char|utf8.codepoint|utf8.len|utf8.offset|bit32.lshift|bit32.extract|math.random|
math.floor|math.clamp|os.date|os.time|os.clock|buffer.create|buffer.writestring|buffer.readstring|buffer.fill|
buffer.copy|buffer.fromstring"#;

const API: &str = r#"json.decode|json.encode|json.get|json.array|base64.encode|base64.decode|base64.url_encode|base64.url_decode|
crypto.sha256|crypto.hmac_sha256|crypto.random|crypto.equal|crypto.hex|ip.within|jwt.verify|limit.allow|
limit.hold|log.debug|log.info|log.warn|log.error|metrics.counter|metrics.gauge|metrics.histogram|shared.dict|
time.now|time.monotonic|time.iso|time.parse|wsd.publish|wsd.send|wsd.kick|wsd.subscribers|wsd.every|wsd.after|
wsd.secret|wsd.api|set|print|require|conn.send, conn|conn.close, conn|conn.subscribe, conn|
conn.unsubscribe, conn|conn.channels, conn|conn.publish, conn|conn.expire, conn|conn.send|
shared.dict('d').set, shared.dict('d')|shared.dict('d').get, shared.dict('d')|
shared.dict('d').incr, shared.dict('d')|shared.dict('d').add, shared.dict('d')|
shared.dict('d').delete, shared.dict('d')|metrics.counter('c').inc, metrics.counter('c')|
metrics.gauge('g').set, metrics.gauge('g')|metrics.histogram('h').observe, metrics.histogram('h')"#;

const CONN: ConnId = ConnId {
    slot: 2,
    generation: 9,
};

fn name(text: &str) -> ChannelName {
    // Both are names.
    ChannelName::new(text).unwrap_or_else(|_| unreachable!("{text}"))
}

fn peer() -> Peer {
    Peer {
        origin: Origin {
            node: NodeId(1),
            worker: WorkerId(0),
            conn: CONN,
        },
        ip: "192.0.2.7".into(),
        port: 4711,
        path: "/rooms/a".into(),
        route: "/rooms/{room}".into(),
        params: Box::new([("room".into(), "a".into())]),
        secure: false,
        protocols: Box::new(["chat".into()]),
        user: Some("ann".into()),
        channel: Some(name("room")),
    }
}

fn upgrade() -> Upgrade {
    Upgrade {
        path: "/rooms/a".into(),
        query: "token=x&a=%41".into(),
        headers: vec![("cookie".into(), b"sid=1".to_vec())],
        protocols: vec!["chat".into()],
        accept: String::new(),
        deflate: None,
    }
}

/// The script in a directory of its own, compiled; `None` if it does not compile.
fn bundle(text: &str) -> Option<(Settings, Arc<Bundle>)> {
    let directory = std::env::temp_dir().join(format!(
        "wsd-fuzz-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&directory).ok()?;
    std::fs::write(directory.join("hook.lua"), text).ok()?;
    let mut settings = Config::default().hooks;
    settings.directory.clone_from(&directory);
    settings.memory = 4 << 20;
    let limit = Duration::from_millis(2);
    let limits = &mut settings.time_limit;
    for place in [
        &mut limits.connect,
        &mut limits.subscribe,
        &mut limits.message,
        &mut limits.batch,
        &mut limits.disconnect,
        &mut limits.timer,
        &mut limits.load,
    ] {
        *place = limit;
    }
    // Rests would keep the hooks from being called.
    settings.breaker.cuts = 0;
    let loaded = Bundle::load(&settings, &[None]);
    drop(std::fs::remove_dir_all(&directory));
    Some((settings, loaded.ok()?))
}

fn host() -> Host {
    static DEADLINE: LazyLock<Option<DeadlineHandle>> =
        LazyLock::new(|| DeadlineHandle::start().ok());
    let Some(deadline) = &*DEADLINE else {
        unreachable!("no thread for the time limits")
    };
    Host {
        node: NodeId(1),
        worker: WorkerId(0),
        generation: Generation(1),
        log: Arc::new(|_| {}),
        now: Arc::new(|| 1_700_000_000.5),
        monotonic: Arc::new(|| 5.0),
        secret: Arc::new(|name| Ok(name.as_bytes().to_vec())),
        commons: Arc::<Commons>::default(),
        subscribers: Arc::new(|_| 3),
        deadline: deadline.clone(),
        breaker: Breaker::default(),
        calls: HookTable::default(),
        clocks: Clocks {
            now,
            cpu: || Duration::ZERO,
        },
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "calls are measured; nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Never used by a script: the name says what a seed wrote.
#[must_use]
pub fn script_of(data: &[u8]) -> String {
    let mut pen = Pen {
        data,
        out: String::new(),
    };
    pen.script();
    pen.out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_what_is_written_compiles() {
        let mut state = 1_u64;
        let mut good = 0;
        for _ in 0..200 {
            let data: Vec<u8> = (0..400)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            good += usize::from(bundle(&script_of(&data)).is_some());
        }
        assert!(good > 190, "{good} of 200");
    }
}
