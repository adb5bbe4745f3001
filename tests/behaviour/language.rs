//! What scripts have at hand besides `conn`: settings, JSON, sets, modules, the log; and what they do not have.

use crate::support::{Site, Wsd};

/// A node whose hook answers each message with what `f(m)` says.
fn node(f: &str) -> Wsd {
    Wsd::with_hook(&format!(
        "local function f(m)\n{f}\nend\nfunction on_message(conn, m) conn:send(f(m)) return false end"
    ))
}

#[test]
fn settings_of_the_configuration_are_at_hand() {
    let wsd = Wsd::with_hooks(
        "[hooks.settings]\nbad_words = [\"darn\", \"heck\"]\nlimits = { length = 5, strict = true }\n",
        &[(
            "h.lua",
            "local bad = set(wsd.settings.bad_words)\n\
             function on_message(conn, m)\n\
             if #m > wsd.settings.limits.length or bad[m] then return false end\n\
             end",
        )],
    );
    let mut client = wsd.client("/chat");
    client.texts(&["darn", "heck", "too long", "nice"]);
    client.expect("nice");
}

#[test]
fn json_is_read_and_written() {
    let wsd = node(
        "local t, why = json.decode(m)\n\
         if t == nil then return 'no: ' .. type(why) end\n\
         t.seen = true\n\
         t.list = json.array({})\n\
         t.nothing = json.null\n\
         return json.encode(t)",
    );
    let mut client = wsd.client("/chat");
    client
        .text("{\"big\": 9007199254740993, \"text\": \"ü\\n\", \"deep\": {\"a\": [1, 2.5, null]}}");
    let text = client.next_text();
    // Not through a parser that may round it.
    assert!(text.contains("9007199254740993"), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "big": 9_007_199_254_740_993_u64, "text": "ü\n", "deep": {"a": [1, 2.5, null]},
            "seen": true, "list": [], "nothing": null,
        })
    );
    for text in ["{", "[1,]", "{\"a\":1}x", "nul", "\"\\ud800\""] {
        client.text(text);
        client.expect("no: string");
    }
    client.text(&("[".repeat(101) + &"]".repeat(101)));
    client.expect("no: string");
}

#[test]
fn one_field_of_json_is_had_without_a_table() {
    let wsd = node("return tostring(json.get(m, 'user.name'))");
    let mut client = wsd.client("/chat");
    client.texts(&[
        "{\"x\":1,\"user\":{\"id\":2,\"name\":\"ann\"}}",
        "{\"user\":5}",
        "[]",
    ]);
    client.expect("ann");
    client.expect("nil");
    client.expect("nil");
}

#[test]
fn tables_are_sent_as_json() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m) conn:send({}) conn:send({ 1, 2 }) conn:send({ a = { b = m } }) return false end",
    );
    let mut client = wsd.client("/chat");
    client.text("x");
    client.expect("{}");
    client.expect("[1,2]");
    client.expect("{\"a\":{\"b\":\"x\"}}");
}

#[test]
fn modules_are_found_by_name_and_shared_by_stages() {
    let site = Site::new(
        "",
        &[
            (
                "10-a.lua",
                "local m = require 'count'\nfunction on_message(conn, t) return t .. m.next() end",
            ),
            (
                "20-b.lua",
                "local m = require 'count'\nfunction on_message(conn, t) return t .. m.next() end",
            ),
        ],
    );
    let module = "local n = 0\nreturn { next = function() n = n + 1 return n end }";
    std::fs::write(site.path("lua/count.lua"), module).unwrap();
    let wsd = Wsd::on(site);
    let mut client = wsd.client("/chat");
    client.texts(&["x", "y"]);
    client.expect("x12");
    client.expect("y34");
}

#[test]
fn log_lines_carry_text_and_place() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m)\n\
         print('printed', m)\n\
         log.warn('warned of ' .. m, { room = 'seven' })\n\
         end",
    );
    let mut client = wsd.client("/chat");
    client.text("rain");
    client.expect("rain");
    wsd.wait_log("printed");
    let line = wsd.wait_log("warned of rain");
    assert!(line.contains("seven"), "{line}");
}

#[test]
fn what_would_reach_outside_is_not_there() {
    let wsd = node(
        "local gone = {}\n\
         local names = { 'io', 'load', 'loadstring', 'dofile', 'debug', 'getfenv', 'setfenv', 'collectgarbage', 'newproxy' }\n\
         local values = table.pack(io, load, loadstring, dofile, debug, getfenv, setfenv, collectgarbage, newproxy)\n\
         for i, name in names do gone[#gone + 1] = name .. '=' .. type(values[i]) end\n\
         gone[#gone + 1] = 'os.execute=' .. type(os.execute)\n\
         gone[#gone + 1] = 'os.getenv=' .. type(os.getenv)\n\
         return table.concat(gone, ' ')",
    );
    let mut client = wsd.client("/chat");
    client.text("");
    let types = client.next_text();
    for item in types.split(' ') {
        assert!(item.ends_with("=nil"), "{types}");
    }
}

#[test]
fn libraries_cannot_be_changed() {
    let wsd = node(
        "local ok = pcall(function() string.upper = nil end)\n\
         local ok2 = pcall(function() getmetatable('').__index = nil end)\n\
         local ok3 = pcall(function() json.decode = nil end)\n\
         return tostring(ok) .. tostring(ok2) .. tostring(ok3) .. ('x'):upper()",
    );
    let mut client = wsd.client("/chat");
    client.text("");
    client.expect("falsefalsefalseX");
}
