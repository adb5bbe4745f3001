//! Hooks: when each is asked, what its return means, and what happens to its effects.

use crate::support::{Message, Request, Site, Wsd, eventually};

#[test]
fn on_connect_that_returns_false_refuses_with_403() {
    let wsd = Wsd::with_hook("function on_connect(conn) return conn.query.name ~= nil end");
    assert_eq!(wsd.handshake(&Request::websocket("/chat")).status, 403);
    wsd.client("/chat?name=ann");
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"hook\"}"), 1);
}

#[test]
fn on_connect_may_choose_status_text_and_headers() {
    let wsd = Wsd::with_hook(
        "function on_connect(conn)\n\
         if conn.path == '/login' then return 302, '', { Location = 'https://example.com/login' } end\n\
         return 401, 'token required', { ['WWW-Authenticate'] = 'Bearer' }\n\
         end",
    );
    let answer = wsd.handshake(&Request::websocket("/chat"));
    assert_eq!((answer.status, answer.body.trim()), (401, "token required"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let answer = wsd.handshake(&Request::websocket("/login"));
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("https://example.com/login"));
}

#[test]
fn on_connect_that_fails_refuses_with_503_and_is_logged_with_its_line() {
    let wsd = Wsd::with_hook("function on_connect(conn)\n  local x = nil\n  return x.name\nend");
    assert_eq!(wsd.handshake(&Request::websocket("/chat")).status, 503);
    let line = wsd.wait_log("hook.lua:3: on_connect: ");
    assert!(line.contains("index nil"), "{line}");
    eventually!(wsd.metric("wsd_refused_total{reason=\"hook_error\"}") == 1);
}

#[test]
fn failure_policy_pass_goes_on_as_if_there_were_no_hook() {
    let wsd = Wsd::with_hooks(
        "[hooks.on_error]\nconnect = \"pass\"\nsubscribe = \"pass\"\nmessage = \"pass\"\n",
        &[(
            "h.lua",
            "function on_connect() error('a') end\n\
             function on_subscribe() error('b') end\n\
             function on_message() error('c') end",
        )],
    );
    let mut client = wsd.client("/chat");
    client.text("through");
    client.expect("through");
}

#[test]
fn on_subscribe_that_says_no_refuses_the_handshake() {
    let wsd = Wsd::with_hook(
        "function on_subscribe(conn, channel)\n\
         if channel == 'fails' then error('broken') end\n\
         return channel ~= 'secret'\n\
         end",
    );
    assert_eq!(wsd.handshake(&Request::websocket("/secret")).status, 403);
    assert_eq!(wsd.handshake(&Request::websocket("/fails")).status, 503);
    wsd.client("/open");
}

#[test]
fn on_subscribe_may_rename_the_channel() {
    let wsd = Wsd::with_hook("function on_subscribe(conn, channel) return 'team:' .. channel end");
    let mut client = wsd.client("/red");
    assert_eq!(wsd.cli(&["publish", "red", "lost"], b"").code, 0);
    assert_eq!(wsd.cli(&["publish", "team:red", "found"], b"").code, 0);
    client.expect("found");
    // It is conn.channel from then on: what the client says goes there.
    client.text("mine");
    client.expect("mine");
}

#[test]
fn on_message_may_drop_replace_and_redirect() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m, channel, kind)\n\
         if m == 'drop' then return false end\n\
         if m == 'table' then return { channel = channel, kind = kind } end\n\
         if m == 'audit' then return true, 'audit' end\n\
         if m == 'both' then return 'replaced', 'audit' end\n\
         if m == 'true' then return true end\n\
         if m == 'string' then return '<' .. m .. '>' end\n\
         end",
    );
    let mut client = wsd.client("/chat");
    let mut audit = wsd.client("/audit");
    client.texts(&[
        "drop", "table", "audit", "both", "true", "string", "nothing",
    ]);
    assert_eq!(
        client.next_json(),
        serde_json::json!({ "channel": "chat", "kind": "text" })
    );
    client.expect("true");
    client.expect("<string>");
    client.expect("nothing");
    audit.expect("audit");
    audit.expect("replaced");
    assert_eq!(wsd.metric("wsd_dropped_total{reason=\"hook\"}"), 1);
}

#[test]
fn return_of_another_kind_is_an_error_with_its_place() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m)\n\
         if m == 'bad' then return 42 end\n\
         end",
    );
    let mut client = wsd.client("/chat");
    client.texts(&["bad", "good"]);
    client.expect("good");
    wsd.wait_log("on_message: returned a number; must return ");
    assert_eq!(wsd.metric("wsd_dropped_total{reason=\"hook_error\"}"), 1);
    assert_eq!(wsd.metric("wsd_hook_errors_total"), 1);
}

#[test]
fn binary_messages_come_to_hooks_byte_by_byte() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m, channel, kind)\n\
         return kind .. ' ' .. #m .. ' ' .. string.byte(m, 1)\n\
         end",
    );
    let mut client = wsd.client("/chat");
    client.binary(b"\xff\x00\x01");
    // A string for a binary message stays binary.
    assert_eq!(client.next(), Message::Binary(b"binary 3 255".to_vec()));
}

#[test]
fn text_that_a_hook_made_no_utf8_goes_as_binary() {
    let wsd = Wsd::with_hook("function on_message(conn, m) return m .. '\\255' end");
    let mut client = wsd.client("/chat");
    client.text("a");
    assert_eq!(client.next(), Message::Binary(b"a\xff".to_vec()));
}

#[test]
fn stages_see_what_the_one_before_left_and_a_no_ends_the_pipeline() {
    let wsd = Wsd::with_hooks(
        "",
        &[
            (
                "10-first.lua",
                "function on_message(conn, m) if m == 'no' then return false end return m .. '1' end",
            ),
            (
                "20-second.lua",
                "function on_message(conn, m) print('second saw ' .. m) return m .. '2' end",
            ),
        ],
    );
    let mut client = wsd.client("/chat");
    client.texts(&["no", "x"]);
    client.expect("x12");
    wsd.wait_log("second saw x1");
    assert!(!wsd.log().contains("second saw no"));
}

#[test]
fn effects_of_a_call_that_fails_are_undone_and_others_stay() {
    let wsd = Wsd::with_hooks(
        "",
        &[
            (
                "10-sends.lua",
                "function on_message(conn, m) conn:send('kept for ' .. m) end",
            ),
            (
                "20-fails.lua",
                "function on_message(conn, m)\n\
                 conn:send('undone')\n\
                 wsd.publish('chat', 'undone too')\n\
                 if m == 'bad' then error('no') end\n\
                 end",
            ),
        ],
    );
    let mut client = wsd.client("/chat");
    client.text("bad");
    client.expect("kept for bad");
    client.text("good");
    client.expect("kept for good");
    client.expect("undone");
    client.expect("undone too");
    client.expect("good");
}

#[test]
fn call_that_asks_for_too_many_effects_fails_whole() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m)\n\
         for i = 1, tonumber(m) do conn:send(tostring(i)) end\n\
         return false\n\
         end",
    );
    let mut client = wsd.client("/chat");
    client.texts(&["1001", "1000"]);
    for i in 1..=1000 {
        client.expect(&i.to_string());
    }
    wsd.wait_log("hook.lua:");
    assert_eq!(wsd.metric("wsd_hook_errors_total"), 1);
}

#[test]
fn on_unsubscribe_is_told_of_every_way_to_leave() {
    let wsd = Wsd::with_hooks(
        "[[route]]\npath = \"/watch\"\nchannel = \"left\"\nhooks = []\n\
         [[route]]\npath = \"/chat\"\nchannel = \"chat\"\n",
        &[(
            "h.lua",
            "function on_message(conn, m)\n\
             if m == 'join' then conn:subscribe('extra') else conn:unsubscribe('extra') end\n\
             return false\n\
             end\n\
             function on_unsubscribe(conn, channel) wsd.publish('left', channel) end",
        )],
    );
    let mut watch = wsd.client("/watch");
    let mut client = wsd.client("/chat");
    client.texts(&["join", "leave"]);
    watch.expect("extra");
    client.text("join");
    client.sync();
    client.close();
    let mut left = [watch.next_text(), watch.next_text()];
    left.sort();
    assert_eq!(left, ["chat", "extra"]);
}

#[test]
fn scripts_have_environments_of_their_own() {
    let wsd = Wsd::with_hooks(
        "",
        &[
            (
                "10-a.lua",
                "mine = 'a'\nfunction on_message(conn, m) return m .. mine end",
            ),
            (
                "20-b.lua",
                "function on_message(conn, m) return m .. tostring(mine) end",
            ),
        ],
    );
    let mut client = wsd.client("/chat");
    client.text("x");
    client.expect("xanil");
}

#[test]
fn script_that_does_not_compile_refuses_the_start_with_78() {
    let site = Site::new(
        "",
        &[(
            "broken.lua",
            "function on_message(conn, m)\n  if m = 1 then end\nend",
        )],
    );
    let mut wsd = Wsd::spawn(site);
    wsd.wait_log("hooks/broken.lua:2: ");
    assert_eq!(wsd.wait(), 78);
}

#[test]
fn script_whose_load_fails_refuses_the_start_with_78() {
    for text in [
        "error('not today')",
        "function on_load(why) error('not ' .. why) end",
    ] {
        let mut wsd = Wsd::spawn(Site::new("", &[("broken.lua", text)]));
        wsd.wait_log("hooks/broken.lua:1: ");
        assert_eq!(wsd.wait(), 78);
    }
}

#[test]
fn route_that_names_a_script_that_is_not_there_refuses_the_start() {
    let config = "[[route]]\npath = \"/chat\"\nchannel = \"chat\"\nhooks = [\"gone.lua\"]\n";
    let mut wsd = Wsd::spawn(Site::new(config, &[]));
    wsd.wait_log("gone.lua");
    assert_eq!(wsd.wait(), 78);
}

#[test]
fn same_failure_is_logged_once_a_minute() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m)\n  if m ~= 'end' then error('again') end\nend",
    );
    let mut client = wsd.client("/chat");
    client.texts(&["1", "2", "3", "4", "5", "end"]);
    client.expect("end");
    assert_eq!(wsd.metric("wsd_hook_errors_total"), 5);
    wsd.wait_log("hook.lua:2: on_message: again");
    let lines = wsd.log();
    let count = lines
        .lines()
        .filter(|l| l.contains("hook.lua:2: on_message"))
        .count();
    assert_eq!(count, 1, "{lines}");
}
