//! Reload by `wsd reload` and SIGHUP: all or nothing, without dropping anyone.

use crate::support::{Message, Request, Wsd};

const ONE: &str = "function on_message(conn, m) return 'one: ' .. m end";
const TWO: &str = "function on_message(conn, m) return 'two: ' .. m end";

#[test]
fn reload_brings_a_changed_script_to_connections_that_are_open() {
    let wsd = Wsd::with_hook(ONE);
    let mut client = wsd.client("/chat");
    client.text("a");
    client.expect("one: a");
    wsd.write_hook("hook.lua", TWO);
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    // The answer comes when all workers have switched.
    client.text("b");
    client.expect("two: b");
    assert_eq!(wsd.generation(), 2);
    wsd.wait_log("reloaded: generation 2");
    assert_eq!(wsd.metric("wsd_generation"), 2);
    assert_eq!(wsd.metric("wsd_reloads_total{result=\"ok\"}"), 1);
}

#[test]
fn sighup_reloads_too() {
    let wsd = Wsd::with_hook(ONE);
    let mut client = wsd.client("/chat");
    wsd.write_hook("hook.lua", TWO);
    wsd.signal("HUP");
    wsd.wait_log("reloaded: generation 2");
    client.text("b");
    client.expect("two: b");
}

#[test]
fn refused_reload_names_every_problem_and_changes_nothing() {
    let wsd = Wsd::with_hook(ONE);
    let mut client = wsd.client("/chat");
    wsd.write_hook(
        "hook.lua",
        "function on_message(conn, m)\n  if m = 1 then end\nend",
    );
    wsd.write_hook("other.lua", "error('not loaded')");
    wsd.write_config("[limits]\nconections = 5\nmessage = \"64 XB\"\n");
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 1, "{ran:?}");
    let printed = format!("{}{}", ran.out, ran.err);
    assert!(
        printed.contains(
            "50-test.toml:2:1: limits.conections: unknown key; did you mean \"connections\"?"
        ),
        "{printed}"
    );
    assert!(
        printed.contains("50-test.toml:3:11: limits.message: \"64 XB\": unknown unit"),
        "{printed}"
    );
    wsd.wait_log("reload refused");
    client.text("a");
    client.expect("one: a");
    // With the configuration right again, the scripts are what is left.
    wsd.write_config("");
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 1, "{ran:?}");
    let printed = format!("{}{}", ran.out, ran.err);
    assert!(printed.contains("hooks/hook.lua:2: "), "{printed}");
    assert!(
        printed.contains("hooks/other.lua:1: on_load: not loaded"),
        "{printed}"
    );
    client.text("b");
    client.expect("one: b");
    let status = wsd.status();
    assert_eq!(status["generation"], 1);
    assert_eq!(status["last_reload"]["ok"], false);
    assert_eq!(
        status["last_reload"]["problems"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(wsd.metric("wsd_last_reload_successful"), 0);
    assert_eq!(wsd.metric("wsd_reloads_total{result=\"refused\"}"), 2);
    wsd.write_hook("hook.lua", TWO);
    std::fs::remove_file(wsd.path("hooks/other.lua")).unwrap();
    wsd.reload();
    client.text("c");
    client.expect("two: c");
    assert_eq!(wsd.status()["last_reload"]["ok"], true);
    assert_eq!(wsd.metric("wsd_last_reload_successful"), 1);
}

#[test]
fn on_load_that_fails_refuses_the_reload() {
    let wsd = Wsd::with_hook(ONE);
    let mut client = wsd.client("/chat");
    wsd.write_hook(
        "hook.lua",
        "function on_load(why) error('cannot ' .. why) end",
    );
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        format!("{}{}", ran.out, ran.err).contains("hook.lua:1: on_load: cannot check"),
        "{ran:?}"
    );
    client.text("a");
    client.expect("one: a");
}

#[test]
fn on_load_is_told_why() {
    let wsd = Wsd::with_hook("function on_load(why) print('loaded for ' .. why) end");
    wsd.wait_log("loaded for start");
    wsd.reload();
    wsd.wait_log("loaded for reload");
}

#[test]
fn data_of_a_connection_survives_and_locals_do_not() {
    let hook = "local seen = 0\n\
                function on_connect(conn) conn.data = { user = conn.query.name, list = { 1, { deep = true } } } conn.user = 'ann' end\n\
                function on_message(conn, m)\n\
                seen = seen + 1\n\
                conn.data.count = (conn.data.count or 0) + 1\n\
                return table.concat({ conn.data.user, conn.data.count, seen, tostring(conn.data.list[2].deep), conn.user }, ' ')\n\
                end";
    let wsd = Wsd::with_hook(hook);
    let mut client = wsd.client("/chat?name=ann");
    client.text("");
    client.expect("ann 1 1 true ann");
    wsd.reload();
    client.text("");
    client.expect("ann 2 1 true ann");
    wsd.reload();
    wsd.reload();
    client.text("");
    client.expect("ann 3 1 true ann");
}

#[test]
fn function_in_the_data_is_left_behind_with_a_warning() {
    let wsd = Wsd::with_hook(
        "function on_connect(conn) conn.data = { f = function() end, kept = 'yes' } end\n\
         function on_message(conn) return tostring(conn.data.f == nil) .. conn.data.kept end",
    );
    let mut client = wsd.client("/chat");
    client.text("");
    client.expect("falseyes");
    let mark = wsd.log_length();
    wsd.reload();
    client.text("");
    client.expect("trueyes");
    wsd.wait_log_from(mark, "conn.data");
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_rest_is_applied() {
    let wsd = Wsd::start("[limits]\nmessage = \"1KiB\"\n");
    wsd.write_config("[listen]\nbacklog = 100\n[limits]\nmessage = \"2KiB\"\n");
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    let printed = format!("{}{}", ran.out, ran.err);
    assert!(printed.contains("listen.backlog"), "{printed}");
    assert!(printed.contains("restart"), "{printed}");
    wsd.wait_log("listen.backlog needs a restart to take effect");
    let mut client = wsd.client("/chat");
    client.text(&"x".repeat(2048));
    client.expect(&"x".repeat(2048));
}

#[test]
fn new_limits_apply_to_connections_that_are_open() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.text(&"x".repeat(2000));
    client.expect(&"x".repeat(2000));
    wsd.write_config("[limits]\nmessage = \"1KiB\"\n");
    wsd.reload();
    client.text(&"x".repeat(2000));
    client.expect_close(1009);
}

#[test]
fn new_delivery_applies_to_connections_that_are_open() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.text("1");
    client.expect("1");
    wsd.write_config("[delivery]\nformat = \"json-array\"\n");
    wsd.reload();
    client.text("2");
    client.expect("[2]");
}

#[test]
fn new_heartbeat_applies_to_connections_that_are_open() {
    let wsd = Wsd::start("[heartbeat]\ninterval = \"1h\"\n");
    let mut client = wsd.client("/chat");
    wsd.write_config("[heartbeat]\ninterval = \"50ms\"\n");
    wsd.reload();
    assert!(matches!(client.next(), Message::Ping(_)));
}

#[test]
fn new_routes_apply_to_new_connections() {
    let wsd = Wsd::start("[[route]]\npath = \"/old\"\nchannel = \"chat\"\n");
    let mut old = wsd.client("/old");
    wsd.write_config("[[route]]\npath = \"/new\"\nchannel = \"chat\"\n");
    wsd.reload();
    assert_eq!(wsd.handshake(&Request::websocket("/old")).status, 404);
    let mut new = wsd.client("/new");
    new.text("hello");
    old.expect("hello");
    old.text("and back");
    new.expect("hello");
    new.expect("and back");
}

#[test]
fn script_that_is_new_or_gone_counts_for_open_connections() {
    let wsd = Wsd::with_hooks(
        "",
        &[(
            "20-b.lua",
            "function on_message(conn, m) return m .. 'b' end",
        )],
    );
    let mut client = wsd.client("/chat");
    wsd.write_hook(
        "10-a.lua",
        "function on_message(conn, m) return m .. 'a' end",
    );
    wsd.reload();
    client.text("x");
    client.expect("xab");
    std::fs::remove_file(wsd.path("hooks/20-b.lua")).unwrap();
    wsd.reload();
    client.text("x");
    client.expect("xa");
}

#[test]
fn settings_change_with_a_reload() {
    let hook = "function on_message(conn, m) return wsd.settings.word .. ' ' .. wsd.generation end";
    let wsd = Wsd::with_hooks("[hooks.settings]\nword = \"a\"\n", &[("h.lua", hook)]);
    let mut client = wsd.client("/chat");
    client.text("");
    client.expect("a 1");
    wsd.write_config("[hooks.settings]\nword = \"b\"\n");
    wsd.reload();
    client.text("");
    client.expect("b 2");
}

#[test]
fn nothing_is_lost_over_reloads_under_load() {
    let wsd = Wsd::with_hook(ONE);
    let mut listener = wsd.client("/chat");
    let mut sender = wsd.client("/chat");
    let reader = std::thread::spawn(move || {
        for i in 0..2000 {
            listener.expect(&format!("one: {i}"));
        }
    });
    let drain = std::thread::spawn(move || {
        for i in 0..2000 {
            sender.text(&i.to_string());
            sender.expect(&format!("one: {i}"));
        }
    });
    for _ in 0..5 {
        wsd.reload();
    }
    drain.join().unwrap();
    reader.join().unwrap();
    assert_eq!(wsd.generation(), 6);
}

#[test]
fn data_that_is_no_table_survives_a_reload() {
    let wsd = Wsd::with_hook(
        "function on_connect(conn) conn.data = conn.query.number and 7 or 'seven' end\n\
         function on_message(conn, m) return type(conn.data) .. ' ' .. tostring(conn.data) end",
    );
    let mut number = wsd.client("/a?number=1");
    let mut string = wsd.client("/b");
    wsd.reload();
    number.text("?");
    number.expect("number 7");
    string.text("?");
    string.expect("string seven");
}
