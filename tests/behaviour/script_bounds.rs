//! Hostile and broken scripts: each is cut at its limits, and another connection of the same worker goes on.

use crate::support::{Client, Message, Request, Site, Wsd, eventually};

/// A hook whose message `bomb` does harm; any other comes back as it is.
fn bomb(body: &str) -> String {
    format!("function on_message(conn, m)\nif m ~= 'bomb' then return end\n{body}\nend")
}

/// Sets a bomb off; a witness that speaks behind it on the same worker is served, and the script goes on.
#[track_caller]
fn is_cut(config: &str, body: &str, expected_log: &str) {
    let wsd = Wsd::with_hooks(config, &[("hook.lua", &bomb(body))]);
    let mut witness = wsd.client("/witness");
    let mut attacker = wsd.client("/attacker");
    attacker.text("bomb");
    serves(&mut witness);
    wsd.wait_log(expected_log);
    attacker.text("after");
    attacker.expect("after");
    assert_eq!(wsd.metric("wsd_hook_cuts_total"), 1);
    assert_eq!(wsd.metric("wsd_dropped_total{reason=\"hook_error\"}"), 1);
    eventually!(wsd.metric("wsd_connections") == 2);
}

#[track_caller]
fn serves(witness: &mut Client) {
    for i in 0..5 {
        witness.text(&i.to_string());
        witness.expect(&i.to_string());
    }
}

const TIME: &str = "on_message: stopped after 20 ms (hooks.time_limit.message)";
const MEMORY: &str = "on_message: memory limit reached (hooks.memory = ";
const SMALL: &str = "[hooks]\nmemory = \"16MiB\"\n[hooks.time_limit]\nmessage = \"2s\"\n";

#[test]
fn endless_loop_is_cut() {
    is_cut("", "while true do end", TIME);
}

#[test]
fn endless_loop_under_pcall_is_cut() {
    is_cut(
        "",
        "while true do pcall(function() while true do end end) end",
        TIME,
    );
}

#[test]
fn endless_loop_in_a_coroutine_is_cut() {
    let body = "local co = coroutine.wrap(function() while true do coroutine.yield() end end)\n\
                while true do pcall(co) end";
    is_cut("", body, TIME);
}

#[test]
fn error_handler_that_loops_is_cut() {
    let body = "xpcall(function() error('x') end, function() while true do end end)";
    is_cut("", body, TIME);
}

#[test]
fn pattern_that_never_ends_is_cut() {
    let body = "return string.find(string.rep('a', 50000), string.rep('.-', 50) .. 'b')";
    is_cut("", body, TIME);
}

#[test]
fn sort_with_an_endless_comparison_is_cut() {
    let body = "local t = {}\nfor i = 1, 100 do t[i] = i end\n\
                table.sort(t, function(a, b) while true do end end)";
    is_cut("", body, TIME);
}

#[test]
fn endless_recursion_fails() {
    let hook = bomb("local function f() return 1 + f() end\nreturn f()");
    let wsd = Wsd::with_hook(&hook);
    let mut client = wsd.client("/chat");
    client.texts(&["bomb", "after"]);
    client.expect("after");
    wsd.wait_log("hook.lua:");
}

#[test]
fn growing_string_is_cut_at_the_memory_limit() {
    is_cut(SMALL, "local s = 'x'\nwhile true do s = s .. s end", MEMORY);
}

#[test]
fn growing_table_is_cut_at_the_memory_limit() {
    is_cut(
        SMALL,
        "local t = {}\nwhile true do t[#t + 1] = { #t } end",
        MEMORY,
    );
}

#[test]
fn repeated_string_is_cut_at_the_memory_limit() {
    is_cut(SMALL, "return string.rep('x', 1000000000)", MEMORY);
}

#[test]
fn table_of_a_given_size_is_cut_at_the_memory_limit() {
    is_cut(SMALL, "return { table.create(50000000, 1) }", MEMORY);
}

#[test]
fn memory_error_that_is_caught_does_not_escape() {
    let body = "local t = {}\nwhile true do pcall(function() t[#t + 1] = string.rep('x', 100000) .. #t end) end";
    is_cut(
        "[hooks]\nmemory = \"16MiB\"\n[hooks.time_limit]\nmessage = \"500ms\"\n",
        body,
        "on_message: ",
    );
}

#[test]
fn data_of_connections_survives_a_memory_error() {
    let wsd = Wsd::with_hooks(
        SMALL,
        &[(
            "hook.lua",
            "function on_connect(conn) conn.data = { name = conn.query.name } end\n\
             function on_message(conn, m)\n\
             if m == 'bomb' then local t = {} while true do t[#t + 1] = { #t } end end\n\
             return conn.data.name .. ' ' .. m\n\
             end",
        )],
    );
    let mut ann = wsd.client("/ann?name=ann");
    let mut bob = wsd.client("/bob?name=bob");
    bob.text("bomb");
    wsd.wait_log(MEMORY);
    ann.text("still");
    ann.expect("ann still");
    bob.text("here");
    bob.expect("bob here");
}

#[test]
fn loop_in_on_connect_refuses_the_handshake() {
    let wsd = Wsd::with_hook(
        "function on_connect(conn) if conn.query.bomb then while true do end end end",
    );
    let mut witness = wsd.client("/chat");
    let request = Request::websocket("/chat?bomb=1");
    assert_eq!(wsd.handshake(&request).status, 503);
    wsd.wait_log("on_connect: stopped after 100 ms (hooks.time_limit.connect)");
    serves(&mut witness);
}

#[test]
fn loop_in_on_batch_passes_the_batch_on() {
    let wsd = Wsd::with_hook(
        "function on_batch(channel, messages) if messages[1] == 'bomb' then while true do end end end",
    );
    let mut client = wsd.client("/chat");
    client.text("bomb");
    client.expect("bomb");
    wsd.wait_log("on_batch: stopped after 50 ms (hooks.time_limit.batch)");
}

#[test]
fn loop_in_on_disconnect_holds_nobody_up() {
    let wsd = Wsd::with_hook("function on_disconnect(conn) while true do end end");
    let mut witness = wsd.client("/witness");
    wsd.client("/chat").close();
    wsd.wait_log("on_disconnect: stopped after 20 ms (hooks.time_limit.disconnect)");
    serves(&mut witness);
    eventually!(wsd.metric("wsd_connections") == 1);
}

#[test]
fn loop_while_loading_refuses_the_start() {
    let site = Site::new(
        "[hooks.time_limit]\nload = \"100ms\"\n",
        &[("hook.lua", "while true do end")],
    );
    let mut wsd = Wsd::spawn(site);
    wsd.wait_log("stopped after 100 ms (hooks.time_limit.load)");
    assert_eq!(wsd.wait(), 78);
}

#[test]
fn message_at_its_size_limit_costs_a_hook_no_memory_error() {
    let wsd = Wsd::with_hook("function on_message(conn, m) return m .. m end");
    let mut client = wsd.client("/chat");
    client.text(&"x".repeat(64 << 10));
    assert_eq!(client.next(), Message::Text("x".repeat(128 << 10)));
}
