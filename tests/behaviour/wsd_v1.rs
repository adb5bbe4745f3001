//! The subprotocol `wsd.v1`: every command, every answer, and that a bad command costs the connection nothing.

use serde_json::{Value, json};

use crate::support::{Client, Request, Stream, Wsd};

const ROOMS: &str = "
    [[route]]
    path = \"/chat\"
    channels = [\"room:*\"]
    [[route]]
    path = \"/quiet\"
    channels = [\"room:*\"]
    echo = false
    [[route]]
    path = \"/read\"
    channel = \"chat\"
    publish = false
    [[channel]]
    match = \"room:kept\"
    history = { size = 3, ttl = \"10m\" }
    ";

fn v1(wsd: &Wsd, path: &str) -> Client {
    let request = Request::websocket(path).header("Sec-WebSocket-Protocol", "chat, wsd.v1");
    let client = Client::open(Stream::tcp(wsd.address()), &request);
    assert_eq!(
        client.answer.header("sec-websocket-protocol"),
        Some("wsd.v1")
    );
    client
}

#[track_caller]
fn ask(client: &mut Client, command: &Value) -> Value {
    client.text(&command.to_string());
    client.next_json()
}

/// The code and the reason of an error, and its id.
#[track_caller]
fn refused(client: &mut Client, command: &Value) -> (String, String, Value) {
    let answer = ask(client, command);
    assert_eq!(answer["type"], "error", "{answer}");
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    (text("code"), text("reason"), answer["id"].clone())
}

#[track_caller]
fn subscribe(client: &mut Client, channel: &str) -> Value {
    let answer = ask(
        client,
        &json!({ "type": "subscribe", "channel": channel, "id": 1 }),
    );
    assert_eq!(answer["type"], "subscribed", "{answer}");
    assert_eq!(answer["channel"], channel);
    assert_eq!(answer["id"], 1);
    answer
}

#[test]
fn nothing_comes_until_it_is_asked_for() {
    let wsd = Wsd::start(ROOMS);
    let mut a = v1(&wsd, "/chat");
    let mut plain = wsd.client("/chat");
    plain.text("early");
    plain.expect("early");
    let answer = subscribe(&mut a, "chat");
    assert_eq!(answer["recovered"], false);
    assert_eq!(answer.get("position"), None);
    plain.text("hello");
    assert_eq!(
        a.next_json(),
        json!({ "type": "message", "channel": "chat", "data": "hello" })
    );
    plain.expect("hello");
    assert_eq!(
        ask(
            &mut a,
            &json!({ "type": "unsubscribe", "channel": "chat", "id": "x" })
        ),
        json!({ "type": "unsubscribed", "channel": "chat", "id": "x" })
    );
    plain.text("late");
    plain.expect("late");
    assert_eq!(
        ask(&mut a, &json!({ "type": "ping", "id": 2 })),
        json!({ "type": "pong", "id": 2 })
    );
}

#[test]
fn several_channels_go_over_one_connection() {
    let wsd = Wsd::start(ROOMS);
    let mut a = v1(&wsd, "/chat");
    let mut b = v1(&wsd, "/chat");
    subscribe(&mut a, "room:1");
    subscribe(&mut a, "room:2");
    for (channel, data) in [
        ("room:1", json!({ "deep": [1, 2.50, null] })),
        ("room:2", json!("text")),
        ("room:2", json!("\"17\"")),
        ("room:1", json!(17)),
    ] {
        let answer = ask(
            &mut b,
            &json!({ "type": "publish", "channel": channel, "data": data, "id": 9 }),
        );
        assert_eq!(answer, json!({ "type": "published", "id": 9 }));
        assert_eq!(
            a.next_json(),
            json!({ "type": "message", "channel": channel, "data": data })
        );
    }
    b.text(r#"{"type":"publish","channel":"room:1","data64":"AP8="}"#);
    assert_eq!(b.next_json(), json!({ "type": "published" }));
    assert_eq!(
        a.next_json(),
        json!({ "type": "message", "channel": "room:1", "data64": "AP8=" })
    );
}

#[test]
fn plain_and_wsd_v1_clients_meet() {
    let wsd = Wsd::start("");
    let mut plain = wsd.client("/chat");
    let mut a = v1(&wsd, "/chat");
    subscribe(&mut a, "chat");
    a.text(r#"{"type":"publish","channel":"chat","data":"said"}"#);
    plain.expect("said");
    let both = [a.next_json(), a.next_json()];
    assert!(both.contains(&json!({ "type": "published" })), "{both:?}");
    a.text(r#"{"type":"publish","channel":"chat","data":{"x": 1}}"#);
    plain.expect(r#"{"x": 1}"#);
    plain.binary(b"\x00");
    let mut last = a.next_json();
    while last["data64"] != "AA==" {
        last = a.next_json();
    }
}

#[test]
fn a_sender_without_echo_does_not_get_its_own() {
    let wsd = Wsd::start(ROOMS);
    let mut a = v1(&wsd, "/quiet");
    let mut b = v1(&wsd, "/chat");
    subscribe(&mut a, "room:1");
    subscribe(&mut b, "room:1");
    a.text(r#"{"type":"publish","channel":"room:1","data":1,"id":1}"#);
    assert_eq!(a.next_json()["type"], "published");
    assert_eq!(b.next_json()["data"], 1);
    assert_eq!(
        ask(&mut a, &json!({ "type": "ping" })),
        json!({ "type": "pong" })
    );
}

#[test]
fn what_is_not_allowed_is_refused_and_the_connection_stays() {
    let wsd = Wsd::start(ROOMS);
    let mut a = v1(&wsd, "/chat");
    let command =
        |kind: &str, channel: &str| json!({ "type": kind, "channel": channel, "data": 1, "id": 4 });
    for kind in ["subscribe", "publish", "history"] {
        let (code, reason, id) = refused(&mut a, &command(kind, "other"));
        assert_eq!(code, "not_allowed");
        assert_eq!(reason, "channel other is not for this connection");
        assert_eq!(id, 4);
    }
    for kind in ["unsubscribe", "history"] {
        let (code, reason, _) = refused(&mut a, &command(kind, "room:1"));
        assert_eq!(code, "not_subscribed");
        assert_eq!(reason, "there is no subscription to room:1");
    }
    let (code, ..) = refused(&mut a, &command("subscribe", "$sys"));
    assert_eq!(code, "bad_channel");
    let (code, _, id) = refused(&mut a, &json!({ "type": "shout", "id": "s" }));
    assert_eq!((code.as_str(), id), ("unknown_type", json!("s")));
    let mut reader = v1(&wsd, "/read");
    let (code, reason, _) = refused(&mut reader, &command("publish", "chat"));
    assert_eq!(code, "not_allowed");
    assert_eq!(reason, "clients of this route may not publish");
    assert_eq!(wsd.metric("wsd_dropped_total{reason=\"not_allowed\"}"), 1);
    subscribe(&mut reader, "chat");
    subscribe(&mut a, "chat");
}

#[test]
fn bad_commands_are_answered_one_by_one() {
    let wsd = Wsd::start(ROOMS);
    let mut witness = v1(&wsd, "/chat");
    subscribe(&mut witness, "chat");
    let mut a = v1(&wsd, "/chat");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let many: String = (0..3000).map(|n| format!("\"k{n}\":{n},")).collect();
    for text in [
        String::new(),
        "null".into(),
        "[]".into(),
        "{".into(),
        "{}x".into(),
        r#"{"type":1}"#.into(),
        r#"{"type":"ping","type":"ping"}"#.into(),
        r#"{"type":"ping","id":null}"#.into(),
        r#"{"type":"ping","id":1.5}"#.into(),
        r#"{"type":"ping","id":[1]}"#.into(),
        format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(65)),
        r#"{"type":"subscribe"}"#.into(),
        r#"{"type":"subscribe","channel":7}"#.into(),
        r#"{"type":"subscribe","channel":"chat","since":7}"#.into(),
        r#"{"type":"subscribe","channel":"chat","since":"x"}"#.into(),
        r#"{"type":"publish","channel":"chat"}"#.into(),
        r#"{"type":"publish","channel":"chat","data64":"%"}"#.into(),
        r#"{"type":"publish","channel":"chat","data64":1}"#.into(),
        r#"{"type":"history","channel":"chat","limit":"all"}"#.into(),
        deep.clone(),
        format!(r#"{{{many}"type":"ping","id":{{}}}}"#),
    ] {
        a.text(&text);
        let answer = a.next_json();
        assert_eq!(answer["type"], "error", "{text}: {answer}");
        assert_eq!(answer["code"], "bad_request", "{text}: {answer}");
        assert!(answer["reason"].as_str().unwrap().len() < 300, "{answer}");
    }
    a.binary(br#"{"type":"ping"}"#);
    assert_eq!(a.next_json()["code"], "bad_request");
    // A value may be as deep as a message is long: nobody takes it apart.
    a.text(&format!(
        r#"{{"type":"publish","channel":"chat","data":{deep},"id":1}}"#
    ));
    assert_eq!(a.next_json(), json!({ "type": "published", "id": 1 }));
    assert!(witness.next_text().contains(&deep));
    a.text(r#"{"type":"ping"}"#);
    assert_eq!(a.next_json(), json!({ "type": "pong" }));
}

#[test]
fn a_message_over_the_limit_ends_it_as_any_other() {
    let wsd = Wsd::start("[limits]\nmessage = \"1KiB\"");
    let mut a = v1(&wsd, "/chat");
    a.text(&format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(1024)));
    a.expect_close(1009);
}

#[test]
fn subscriptions_have_a_limit() {
    let config = format!("{ROOMS}\n[limits]\nsubscriptions = 2");
    let wsd = Wsd::start(&config);
    let mut a = v1(&wsd, "/chat");
    subscribe(&mut a, "room:1");
    subscribe(&mut a, "room:2");
    subscribe(&mut a, "room:2");
    let third = json!({ "type": "subscribe", "channel": "room:3" });
    let (code, reason, _) = refused(&mut a, &third);
    assert_eq!(code, "too_many");
    assert_eq!(reason, "at most 2 subscriptions of one connection");
    a.text(r#"{"type":"unsubscribe","channel":"room:1"}"#);
    a.next_json();
    assert_eq!(ask(&mut a, &third)["type"], "subscribed");
}

#[test]
fn hooks_decide_about_commands_too() {
    let hook = r#"
        function on_connect(conn)
          conn:send("welcome")
          conn:subscribe("news")
        end
        function on_subscribe(conn, channel)
          if channel == "room:secret" then return false end
          if channel == "room:broken" then error("no") end
          if channel == "room:old" then return "room:new" end
        end
        function on_message(conn, message, channel)
          if message == "bad" then return false end
          if message == "worse" then error("no") end
          if message == "elsewhere" then return true, "room:2" end
          return message:upper()
        end
        function on_batch(channel, messages)
          if channel ~= "room:batch" then return end
          if messages[1] == "DROP" then return false end
          if messages[1] == "MERGE" then return { "merged" } end
        end
    "#;
    let wsd = Wsd::with_hooks(ROOMS, &[("a.lua", hook)]);
    let mut a = v1(&wsd, "/chat");
    assert_eq!(
        a.next_json(),
        json!({ "type": "message", "data": "welcome" })
    );
    wsd.cli(&["publish", "news", "today"], b"");
    assert_eq!(
        a.next_json(),
        json!({ "type": "message", "channel": "news", "data": "today" })
    );
    // What a hook gave may be named by commands.
    subscribe(&mut a, "news");
    let renamed = ask(
        &mut a,
        &json!({ "type": "subscribe", "channel": "room:old" }),
    );
    assert_eq!(renamed["channel"], "room:new");
    let command = |channel: &str| json!({ "type": "subscribe", "channel": channel });
    assert_eq!(refused(&mut a, &command("room:secret")).0, "not_allowed");
    assert_eq!(refused(&mut a, &command("room:broken")).0, "unavailable");
    let publish = |data: &str| json!({ "type": "publish", "channel": "room:9", "data": data });
    assert_eq!(refused(&mut a, &publish("bad")).0, "dropped");
    assert_eq!(refused(&mut a, &publish("worse")).0, "unavailable");
    subscribe(&mut a, "room:2");
    a.text(&publish("elsewhere").to_string());
    let both = [a.next_json(), a.next_json()];
    assert!(both.contains(&json!({ "type": "message", "channel": "room:2", "data": "elsewhere" })));
    assert!(both.contains(&json!({ "type": "published" })), "{both:?}");
    let batch = |data: &str| json!({ "type": "publish", "channel": "room:batch", "data": data });
    assert_eq!(ask(&mut a, &batch("go"))["type"], "published");
    assert_eq!(refused(&mut a, &batch("drop")).0, "dropped");
    assert_eq!(ask(&mut a, &batch("merge"))["type"], "published");
}

#[test]
fn answers_come_from_the_home_on_another_worker_too() {
    let wsd = Wsd::start(&format!("{ROOMS}\n[runtime]\nworkers = 4"));
    let mut clients: Vec<_> = (0..8).map(|_| v1(&wsd, "/chat")).collect();
    for client in &mut clients {
        subscribe(client, "room:kept");
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.text(
            &json!({ "type": "publish", "channel": "room:kept", "data": n, "id": n }).to_string(),
        );
        let mut mine = client.next_json();
        while mine["type"] != "published" {
            mine = client.next_json();
        }
        assert_eq!(mine["id"], n);
        let position = mine["position"].as_str().unwrap();
        assert!(position.ends_with(&format!(":{}", n + 1)), "{position}");
    }
}
