//! The connections of a test: `t.conn`, its methods, `t.batch`, and what effects do there.
//!
//! A Lua table stands for each; the facts are a [`Client`] on the bench. An error in a hook fails the case.

use super::effects::{carry_out, change};
use super::{Bench, bench};
use crate::pipeline::{
    BatchItem, ConnectVerdict, Effects, Hook, HookError, Hooks, Peer, StageId, Verdict, Who,
};
use crate::script::api::Entry;
use crate::script::convert::{channel, quoted};
use crate::script::hooks::LuaHooks;
use crate::script::raw::{Ref, Stack};
use crate::script::value::Raise;
use crate::script::world::World;
use crate::types::{ChannelName, Close, ConnId, Kind as MessageKind, Origin, Payload};
use crate::wire::Upgrade;

/// One connection of a test.
pub(super) struct Client {
    pub(super) table: Ref,
    pub(super) identity: usize,
    pub(super) peer: Peer,
    pub(super) upgrade: Upgrade,
    pub(super) channels: Vec<ChannelName>,
    /// When `conn:expire` ends it.
    pub(super) expires: Option<f64>,
}

pub(super) const METHODS: &[Entry] = &[
    (c"connect", connect),
    (c"disconnect", disconnect),
    (c"message", message),
    (c"subscribe", subscribe),
    (c"unsubscribe", unsubscribe),
];

/// The only script.
const STAGE: StageId = StageId(0);

/// Forgets what the case before made.
pub(super) fn reset(bench: &mut Bench) {
    bench.clients.clear();
    bench.hooks = None;
    bench.times.clear();
    bench.timers.clear();
    bench.clock.reset();
    bench.clock_is_set = false;
    bench.commons = std::sync::Arc::default();
}

/// The clients whose time is over, each once.
pub(super) fn expired(bench: &mut Bench) -> Vec<ConnId> {
    let now = bench.clock.now();
    bench
        .clients
        .iter_mut()
        .filter_map(|client| {
            client.expires.take_if(|at| *at <= now)?;
            Some(client.peer.origin.conn)
        })
        .collect()
}

/// `conn:expire`
pub(super) fn set_expires(bench: &mut Bench, id: ConnId, at: Option<f64>) {
    let now = bench.clock.now();
    let client = bench.clients.iter_mut();
    if let Some(client) = client.into_iter().find(|c| c.peer.origin.conn == id) {
        client.expires = at.filter(|at| *at > now);
    }
}

/// How many clients are in a channel.
pub(super) fn subscribers(bench: &Bench, channel: &ChannelName) -> u64 {
    let is_member = |client: &&Client| client.channels.contains(channel);
    bench.clients.iter().filter(is_member).count() as u64
}

/// The clients of a user.
pub(super) fn of_user(bench: &Bench, user: &str) -> Vec<ConnId> {
    let is_user = |client: &&Client| client.peer.user.as_deref() == Some(user);
    let clients = bench.clients.iter().filter(is_user);
    clients.map(|client| client.peer.origin.conn).collect()
}

/// The connection has ended: nothing is kept for it.
fn forget(client: usize) -> Result<(), Raise> {
    bench(|bench| {
        let Some(client) = bench.clients.get_mut(client) else {
            return;
        };
        client.channels.clear();
        let id = client.peer.origin.conn;
        if let Some(hooks) = &mut bench.hooks {
            hooks.forget(id);
        }
    })
}

/// A new `t.published`.
pub(super) fn begin_case(stack: &mut Stack, world: &World) -> Result<(), Raise> {
    let Some(test) = world.test.get() else {
        return Ok(());
    };
    stack.push_ref(test);
    stack.push_table(0, 0);
    stack.push_copy(2);
    let published = stack.keep();
    stack.set_named(1, "published");
    stack.set_top(0);
    let old = bench(|bench| bench.published.replace(published))?;
    if let Some(old) = old {
        stack.release(old);
    }
    Ok(())
}

/// The fields that follow the facts.
pub(super) fn show(stack: &mut Stack, table: i32, peer: &Peer) {
    match &peer.user {
        Some(user) => stack.push_bytes(user.as_bytes()),
        None => stack.push_nil(),
    }
    stack.set_named(table, "user");
    match &peer.channel {
        Some(channel) => stack.push_bytes(channel.as_str().as_bytes()),
        None => stack.push_bytes(b""),
    }
    stack.set_named(table, "channel");
}

/// Which client the table at place 1 is.
fn own(stack: &Stack, method: &str) -> Result<usize, Raise> {
    let identity = stack.identity(1);
    bench(|bench| {
        bench
            .clients
            .iter()
            .position(|client| client.identity == identity)
    })?
    .ok_or_else(|| {
        Raise(format!(
            "c:{method}: called without its connection; write c:{method}(…), with a colon"
        ))
    })
}

/// Calls a hook for a client, if the script has it, and measures it; `otherwise` is what having none means.
fn ask<R>(
    client: Option<usize>,
    hook: Hook,
    otherwise: R,
    call: impl FnOnce(&mut LuaHooks, Option<(Who<'_>, &Upgrade)>, &mut Effects) -> Result<R, HookError>,
) -> Result<(R, Effects), Raise> {
    let mut effects = Effects::default();
    effects.begin();
    // Out of the bench while Lua runs.
    let Some(mut hooks) = bench(|bench| bench.hooks.take())? else {
        return Err("no script is loaded; begin with t.load".into());
    };
    if !hooks.defines(STAGE, hook) {
        bench(|bench| bench.hooks = Some(hooks))?;
        return Ok((otherwise, effects));
    }
    let facts = bench(|bench| {
        let client = bench.clients.get(client?)?;
        Some((
            client.peer.clone(),
            client.upgrade.clone(),
            client.channels.clone(),
        ))
    })?;
    let start = now();
    let result = match &facts {
        Some((peer, upgrade, channels)) => {
            let channels = || channels.clone();
            let who = Who {
                conn: peer.origin.conn,
                peer,
                channels: &channels,
            };
            call(&mut hooks, Some((who, upgrade)), &mut effects)
        }
        None => call(&mut hooks, None, &mut effects),
    };
    let time = start.elapsed();
    bench(|bench| {
        bench.hooks = Some(hooks);
        bench.times.push((hook, time));
    })?;
    match result {
        Ok(result) => Ok((result, effects)),
        Err(error) => Err(Raise(error.to_string())),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a tool that tells people how long their hooks take"
)]
pub(in crate::script) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Asks `on_subscribe` and joins; the channel that was joined.
pub(super) fn join(
    stack: &mut Stack,
    client: usize,
    channel: &ChannelName,
) -> Result<Option<ChannelName>, Raise> {
    let (verdict, effects) = ask(
        Some(client),
        Hook::Subscribe,
        Verdict::Pass(None),
        |hooks, who, effects| match who {
            Some((who, _)) => hooks.on_subscribe(STAGE, who, channel, effects),
            None => Ok(Verdict::Drop),
        },
    )?;
    let joined = match verdict {
        Verdict::Pass(other) => other.unwrap_or_else(|| channel.clone()),
        Verdict::Drop => {
            carry_out(stack, effects)?;
            return Ok(None);
        }
    };
    bench(|bench| {
        if let Some(client) = bench.clients.get_mut(client)
            && !client.channels.contains(&joined)
        {
            client.channels.push(joined.clone());
        }
    })?;
    carry_out(stack, effects)?;
    Ok(Some(joined))
}

/// Leaves a channel and tells `on_unsubscribe`.
pub(super) fn leave(stack: &mut Stack, client: usize, channel: &ChannelName) -> Result<(), Raise> {
    bench(|bench| {
        if let Some(client) = bench.clients.get_mut(client) {
            client.channels.retain(|known| known != channel);
        }
    })?;
    let ((), effects) = ask(
        Some(client),
        Hook::Unsubscribe,
        (),
        |hooks, who, effects| match who {
            Some((who, _)) => hooks.on_unsubscribe(STAGE, who, channel, effects),
            None => Ok(()),
        },
    )?;
    carry_out(stack, effects)
}

/// `c:connect()` → `"accepted"`, or status and text.
fn connect(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let client = own(stack, "connect")?;
    let (verdict, effects) = ask(
        Some(client),
        Hook::Connect,
        ConnectVerdict::Pass,
        |hooks, who, effects| match who {
            Some((who, upgrade)) => hooks.on_connect(STAGE, who, upgrade, effects),
            None => Ok(ConnectVerdict::Pass),
        },
    )?;
    let refused = match verdict {
        ConnectVerdict::Refuse(answer) => Some((answer.status, answer.text)),
        ConnectVerdict::Pass => {
            carry_out(stack, effects)?;
            let channel = bench(|bench| bench.clients.get(client)?.peer.channel.clone())?;
            match channel {
                None => None,
                Some(channel) => match join(stack, client, &channel)? {
                    Some(joined) => {
                        let id =
                            bench(|bench| bench.clients.get(client).map(|c| c.peer.origin.conn))?;
                        if let Some(id) = id {
                            change(stack, id, |client| client.peer.channel = Some(joined))?;
                        }
                        None
                    }
                    None => Some((403, String::new())),
                },
            }
        }
    };
    match refused {
        None => {
            stack.push_bytes(b"accepted");
            Ok(1)
        }
        Some((status, text)) => {
            forget(client)?;
            stack.push_number(f64::from(status));
            stack.push_bytes(text.as_bytes());
            Ok(2)
        }
    }
}

/// `c:message(data [, "binary"])` → `{ action = "publish" or "drop", channel, data }`
fn message(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let client = own(stack, "message")?;
    stack.set_top(3);
    let Some(data) = stack.bytes(2).map(<[u8]>::to_vec) else {
        let value = quoted(stack, 2);
        return Err(Raise(format!(
            "c:message: {value} is no message; must be a string"
        )));
    };
    let mut payload = Payload::guess(data.into());
    if stack.bytes(3) == Some(b"binary") {
        payload.kind = MessageKind::Binary;
    }
    let own = bench(|bench| bench.clients.get(client)?.peer.channel.clone())?;
    let pass = Verdict::Pass(crate::pipeline::Change::default());
    let (verdict, effects) = ask(
        Some(client),
        Hook::Message,
        pass,
        |hooks, who, effects| match who {
            Some((who, _)) => hooks.on_message(STAGE, who, own.as_ref(), &payload, effects),
            None => Ok(Verdict::Drop),
        },
    )?;
    carry_out(stack, effects)?;
    stack.set_top(3);
    stack.push_table(0, 3);
    match verdict {
        Verdict::Drop => stack.push_bytes(b"drop"),
        Verdict::Pass(change) => {
            if let Some(channel) = change.channel.or(own) {
                stack.push_bytes(channel.as_str().as_bytes());
                stack.set_named(4, "channel");
            }
            stack.push_bytes(&change.payload.unwrap_or(payload).data);
            stack.set_named(4, "data");
            stack.push_bytes(b"publish");
        }
    }
    stack.set_named(4, "action");
    Ok(1)
}

/// `c:subscribe(channel)` → true, false, or the channel that was joined instead.
fn subscribe(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let client = own(stack, "subscribe")?;
    let channel = channel(stack, 2, "c:subscribe")?;
    match join(stack, client, &channel)? {
        Some(joined) if joined == channel => stack.push_bool(true),
        Some(joined) => stack.push_bytes(joined.as_str().as_bytes()),
        None => stack.push_bool(false),
    }
    Ok(1)
}

/// `c:unsubscribe(channel)`
fn unsubscribe(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let client = own(stack, "unsubscribe")?;
    let channel = channel(stack, 2, "c:unsubscribe")?;
    leave(stack, client, &channel)?;
    Ok(0)
}

/// `c:disconnect([code [, reason]])`
fn disconnect(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let client = own(stack, "disconnect")?;
    let code = stack.number(2).unwrap_or(1000.0);
    let close = Close {
        code: (1000..5000).find(|n| f64::from(*n) == code).unwrap_or(1000),
        reason: stack.text(3).unwrap_or_default().to_owned().into(),
    };
    let ((), effects) = ask(
        Some(client),
        Hook::Disconnect,
        (),
        |hooks, who, effects| match who {
            Some((who, _)) => hooks.on_disconnect(STAGE, who, &close, effects),
            None => Ok(()),
        },
    )?;
    carry_out(stack, effects)?;
    forget(client)?;
    Ok(0)
}

/// `t.batch(channel, messages [, senders])` → what is published; a sender is a connection, or "" for none.
pub(super) fn batch(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let channel = channel(stack, 1, "t.batch")?;
    stack.set_top(3);
    let senders = senders(stack)?;
    stack.set_top(2);
    let mut items = Vec::new();
    for n in 1..=stack.length(2) {
        stack.element(2, n);
        let Some(data) = stack.bytes(3).map(<[u8]>::to_vec) else {
            let value = quoted(stack, 3);
            return Err(Raise(format!(
                "t.batch: message {n} is {value}; must be a string"
            )));
        };
        items.push(BatchItem {
            ticket: None,
            payload: Payload::guess(data.into()),
            sender: senders.get(n - 1).copied().flatten(),
            echo: true,
        });
        stack.set_top(2);
    }
    let (verdict, effects) = ask(
        None,
        Hook::Batch,
        Verdict::Pass(None),
        |hooks, _, effects| hooks.on_batch(STAGE, &channel, &items, effects),
    )?;
    carry_out(stack, effects)?;
    stack.set_top(2);
    let payloads: Vec<Payload> = match verdict {
        Verdict::Drop => Vec::new(),
        Verdict::Pass(None) => items.into_iter().map(|item| item.payload).collect(),
        Verdict::Pass(Some(outputs)) => outputs.into_iter().map(|output| output.payload).collect(),
    };
    stack.push_table(payloads.len(), 0);
    for (i, payload) in payloads.iter().enumerate() {
        stack.push_bytes(&payload.data);
        stack.set_element(3, i + 1);
    }
    Ok(1)
}

/// The list of connections at place 3.
fn senders(stack: &mut Stack) -> Result<Vec<Option<Origin>>, Raise> {
    let mut list = Vec::new();
    for n in 1..=stack.length(3) {
        stack.element(3, n);
        let identity = stack.identity(4);
        let sender = bench(|bench| {
            let mut clients = bench.clients.iter();
            let client = clients.find(|client| client.identity == identity)?;
            Some(client.peer.origin)
        })?;
        if sender.is_none() && stack.bytes(4) != Some(b"") {
            let value = quoted(stack, 4);
            return Err(Raise(format!(
                "t.batch: sender {n} is {value}; must be a connection of t.conn, or \"\""
            )));
        }
        list.push(sender);
        stack.set_top(3);
    }
    Ok(list)
}
