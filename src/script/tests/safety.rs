//! Hostile scripts: each is cut within three times its limit, leaves the memory as it was, and the next call works.

use super::*;
use crate::pipeline::Fault;

/// CPU time of this thread.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Runs `body` as a hook and says how it ended and what it cost.
fn run(body: &str) -> (Fault, Duration) {
    let script = format!(
        "function on_message(conn, m)\n if m == 'fine' then return 'well' end\n {body}\nend"
    );
    let mut s = Scripts::one(&script);
    assert_eq!(s.reply("fine"), "well");
    let before = s.hooks.memory();
    let start = cpu();
    let error = s.message("x").expect_err(body);
    let cost = cpu() - start;
    assert_eq!(s.reply("fine"), "well", "{body}");
    s.message("x").expect_err(body);
    assert_eq!(s.reply("fine"), "well", "{body}");
    let after = s.hooks.memory();
    assert!(
        after < before + (9 << 20),
        "{body}: {before} to {after} bytes"
    );
    (error.fault, cost)
}

/// Three times 20 ms, and what a debug build on a busy machine takes besides.
const WITHIN: Duration = Duration::from_millis(60 + 15);

#[track_caller]
fn is_cut(bodies: &[&str]) {
    for body in bodies {
        let (fault, cost) = run(body);
        assert_eq!(fault, Fault::TimeCut, "{body}");
        assert!(cost < WITHIN, "{body}: {cost:?}");
    }
}

#[test]
fn loops_are_cut() {
    is_cut(&[
        "while true do end",
        "for i = 1, 1e15 do end",
        "local function f() return f() end while true do pcall(f) end",
        "repeat local t = {} until false",
    ]);
}

#[test]
fn pcall_does_not_help() {
    is_cut(&[
        "while true do pcall(function() while true do end end) end",
        "local function f() pcall(f) while true do end end f()",
        "pcall(function() while true do end end) return 'escaped'",
        "xpcall(function() error('x') end, function() while true do end end)",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "local ok = pcall(function() while true do end end) while true do end",
    ]);
}

#[test]
fn coroutines_do_not_help() {
    is_cut(&[
        "coroutine.wrap(function() while true do end end)()",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local function nest(n) coroutine.wrap(function() if n == 0 then while true do end end nest(n - 1) end)() end nest(3)",
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
    ]);
}

#[test]
fn patterns_and_library_calls_are_cut() {
    is_cut(&[
        "string.find(('a'):rep(50000), ('.-'):rep(50) .. 'b')",
        "string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40) .. 'b')",
        "string.gsub(('a'):rep(100000), 'a*b', '')",
        "local s, n = ('a'):rep(2e6), ('a'):rep(1e6) .. 'b' while true do string.find(s, n, 1, true) end",
        "local s, n = ('a'):rep(2e6), ('a'):rep(1e6) .. 'b' while true do string.split(s, n) end",
        "local t = table.create(200000, 0) for i = 1, #t do t[i] = (i * 7919) % 200003 end while true do table.sort(t) t[1] = 0 end",
        "local t = { 1 } while true do pcall(table.move, t, 1, 2e9, 2) end",
        "local t = {} for i = 1, 1e9 do table.insert(t, 1, nil) t[1] = 1 end",
        "local t = { 'x' } while true do json.encode(t) end",
        "local d = json.encode(table.create(5000, 'x')) while true do json.decode(d) end",
        "local t = {} t[1] = t local a = { 1 } for i = 1, 90 do a = { a, a } end pcall(json.encode, a) return 'escaped'",
    ]);
}

#[test]
fn metamethods_and_sorts_are_cut() {
    is_cut(&[
        "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
        "string.gsub('x', 'x', function() while true do end end)",
        "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
        "log.info(setmetatable({}, { __tostring = function() while true do end end }))",
    ]);
}

#[test]
fn bombs_meet_the_memory_limit() {
    for body in [
        "local s = 'x' while true do s = s .. s end",
        "return ('x'):rep(1e9)",
        "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
        "local t = {} while true do t = { t, function() return t end } end",
        "buffer.create(1e9)",
        "local t = {} for i = 1, 1e9 do t['k' .. i] = i end",
    ] {
        let (fault, cost) = run(body);
        assert!(
            matches!(fault, Fault::MemoryCut | Fault::TimeCut),
            "{body}: {fault:?}"
        );
        assert!(cost < WITHIN, "{body}: {cost:?}");
    }
    assert_eq!(run("return ('x'):rep(1e9)").0, Fault::MemoryCut);
}

#[test]
fn memory_errors_name_the_limit_and_carry_data_over() {
    let mut s = Scripts::one(
        "local calls = 0
         function on_load(why) log.info(why) end
         function on_message(conn, m)
           calls += 1
           if m == 'bomb' then conn.data.big = ('x'):rep(1e9) end
           conn.data.n = (conn.data.n or 0) + 1
           return calls .. ' ' .. conn.data.n
         end",
    );
    assert_eq!(s.reply("x"), "1 1");
    assert_eq!(
        s.fault("bomb"),
        "hooks/a.lua:5: on_message: memory limit reached (hooks.memory = 16 MiB)"
    );
    let loads: Vec<String> = s.log.try_iter().map(|record| record.text).collect();
    assert_eq!(loads, ["start", "rebuild"]);
    assert_eq!(s.reply("x"), "1 2");
}

#[test]
fn a_cut_names_limit_and_line() {
    let mut s = Scripts::one("function on_message(conn, m)\n\n  while true do end\nend");
    assert_eq!(
        s.fault("x"),
        "hooks/a.lua:3: on_message: stopped after 20 ms (hooks.time_limit.message)"
    );
}

#[test]
fn recursion_is_an_error() {
    for body in [
        "local function f() return 1 + f() end return f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k .. 'x'] end return t.x",
        "local function f(s) return string.gsub(s, '.', f) end return f('x')",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local t = {} for i = 1, 150 do t = { t } end return t",
    ] {
        let (fault, _) = run(body);
        assert_ne!(fault, Fault::MemoryCut, "{body}");
    }
}

#[test]
fn hostile_error_objects_are_described_not_run() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           if m == 'loop' then error(setmetatable({}, { __tostring = function() while true do end end })) end
           if m == 'long' then error(('x'):rep(1e6)) end
           if m == 'yield' then coroutine.yield() end
           if m == 'fine' then return 'well' end
         end",
    );
    assert_eq!(
        s.message("loop").unwrap_err().text,
        "error object is a table"
    );
    let long = s.message("long").unwrap_err().text;
    assert!(long.len() < 4200, "{}", long.len());
    assert!(
        s.message("yield")
            .unwrap_err()
            .text
            .starts_with("attempt to yield")
    );
    assert_eq!(s.reply("fine"), "well");
}

#[test]
fn the_sandbox_has_no_way_out() {
    let mut s = Scripts::one(
        "function on_message(conn, m)
           for _, name in { 'loadstring', 'load', 'dofile', 'getfenv', 'setfenv', 'collectgarbage', 'newproxy', 'debug', 'io', 'gcinfo', 'vector' } do
             assert(_G[name] == nil, name)
           end
           for _, break_out in {
             function() string.upper = print end,
             function() getmetatable('').__index.upper = print end,
             function() getmetatable('').__index = {} end,
             function() table.insert = nil end,
             function() json.decode = nil end,
             function() setmetatable(_G, {}) end,
             function() rawset(string, 'upper', print) end,
             function() setmetatable(conn, {}) end,
             function() json.null.x = 1 end,
             function() table.insert(wsd.settings.bad_words, 'x') end,
           } do
             assert(not pcall(break_out))
           end
           assert(getmetatable(_G) == false and getmetatable(conn) == false)
           string = nil
           return ('x'):upper()
         end",
    );
    assert_eq!(s.reply("x"), "X");
}

#[test]
fn short_calls_beside_long_ones_are_never_cut() {
    let other = std::thread::spawn(|| {
        let mut s = Scripts::one(
            "function on_message(c, m) if m == 'x' then return end while true do end end",
        );
        for _ in 0..10 {
            assert_eq!(s.message("y").unwrap_err().fault, Fault::TimeCut);
        }
    });
    let mut s = Scripts::one("function on_message(c, m) for i = 1, 100 do end end");
    for _ in 0..50_000 {
        s.message("x").unwrap();
    }
    other.join().unwrap();
}

#[test]
fn a_panic_of_ours_costs_one_call() {
    let mut s = Scripts::with(
        &[(
            "hooks/a.lua",
            "function on_message(conn, m)
               conn.data.n = (conn.data.n or 0) + 1
               if m == 'panic' then pcall(time.now) end
               return tostring(conn.data.n)
             end",
        )],
        |_| {},
    );
    assert_eq!(s.reply("x"), "1");
    let mut host = s.host.clone();
    host.now = Arc::new(|| panic!("deliberate"));
    let bytes = s.hooks.export_data(CONN).unwrap();
    s.hooks = build(&s.bundle, host, LoadReason::Start).unwrap();
    s.hooks.import_data(CONN, bytes);
    let error = s.message("panic").unwrap_err();
    assert_eq!(
        (error.fault, error.text.as_str()),
        (Fault::Failed, "wsd itself failed: deliberate")
    );
    assert_eq!(s.reply("x"), "3");
}

#[test]
fn text_of_any_kind_does_not_panic_the_compiler() {
    let pieces = [
        "function ",
        "end",
        "(",
        ")",
        "=",
        "\"",
        "[[",
        "--[[",
        "`{",
        "}",
        "\\",
        "0x",
        "..",
        "\0",
        "é",
        "if ",
        "then ",
    ];
    let mut state = 12345_u64;
    for _ in 0..2000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = usize::try_from(state >> 33).unwrap() % pieces.len();
            text.push_str(pieces[at]);
        }
        drop(crate::script::compile::compile(&text));
    }
}
