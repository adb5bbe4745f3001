//! `conn`: what scripts see of a connection and do with it.

use crate::support::{Client, Message, Request, Stream, Wsd, eventually};

#[test]
fn script_sees_the_request() {
    let wsd = Wsd::with_hooks(
        "[[route]]\npath = \"/rooms/{room}\"\nchannel = \"room:{room}\"\n",
        &[(
            "h.lua",
            "function on_connect(conn)\n\
             conn:send({\n\
               ip = conn.ip, port = conn.port, path = conn.path, route = conn.route, room = conn.params.room,\n\
               secure = conn.secure, channel = conn.channel, offered = conn.protocols[2],\n\
               header = conn.headers['x-two'], name = conn.query.name, empty = conn.query.flag,\n\
               cookie = conn.cookies.session, id = type(conn.id),\n\
             })\n\
             end",
        )],
    );
    let request = Request::websocket("/rooms/a%20b?name=ann%26bob&name=carl&flag")
        .header("Sec-WebSocket-Protocol", "one, two")
        .header("X-Two", "first")
        .also("X-Two", "second")
        .header("Cookie", "theme=dark; session=\"s3\"; session=other");
    // A channel has no space in its name.
    assert_eq!(wsd.handshake(&request).status, 404);
    let request = Request::websocket("/rooms/a%2Bb?name=ann%26bob&name=carl&flag")
        .header("Sec-WebSocket-Protocol", "one, two")
        .header("X-Two", "first")
        .also("X-Two", "second")
        .header("Cookie", "theme=dark; session=s3");
    let mut client = Client::open(Stream::tcp(wsd.address()), &request);
    let mut seen = client.next_json();
    assert!(seen["port"].as_u64().is_some_and(|port| port > 0), "{seen}");
    seen["port"] = 0.into();
    assert_eq!(
        seen,
        serde_json::json!({
            "ip": "127.0.0.1", "port": 0, "path": "/rooms/a%2Bb", "route": "/rooms/{room}", "room": "a+b",
            "secure": false, "channel": "room:a+b", "offered": "two", "header": "first, second",
            "name": "ann&bob", "empty": "", "cookie": "s3", "id": "string",
        })
    );
}

#[test]
fn script_may_choose_the_subprotocol() {
    let wsd = Wsd::with_hook("function on_connect(conn) conn.protocol = conn.protocols[2] end");
    let request = Request::websocket("/chat").header("Sec-WebSocket-Protocol", "one, two");
    let client = Client::open(Stream::tcp(wsd.address()), &request);
    assert_eq!(client.answer.header("sec-websocket-protocol"), Some("two"));
}

#[test]
fn script_may_choose_the_channel() {
    let wsd = Wsd::with_hook(
        "function on_connect(conn) conn.channel = conn.query.to end\n\
         function on_message(conn, m) if m == 'move' then conn.channel = 'b' end end",
    );
    let mut a = wsd.client("/x?to=a");
    let mut b = wsd.client("/x?to=b");
    let mut none = wsd.client("/x?to=");
    a.text("hello");
    a.expect("hello");
    // The message being handled still goes to the old channel, the next one to the new.
    a.text("move");
    a.expect("move");
    a.text("now b");
    b.expect("now b");
    none.text("nowhere");
    none.sync();
    eventually!(wsd.metric("wsd_dropped_total{reason=\"no_channel\"}") == 1);
    eventually!(wsd.metric("wsd_subscriptions") == 2);
}

#[test]
fn what_on_connect_sends_comes_before_anything_of_the_channel() {
    let wsd = Wsd::with_hook(
        "function on_connect(conn)\n\
         conn:send('welcome')\n\
         conn:send('\\1\\2', 'binary')\n\
         conn:publish('chat', 'somebody comes')\n\
         end",
    );
    let mut first = wsd.client("/chat");
    first.expect("welcome");
    assert_eq!(first.next(), Message::Binary(vec![1, 2]));
    let mut second = wsd.client("/chat");
    second.expect("welcome");
    first.expect("somebody comes");
}

#[test]
fn what_on_connect_sends_goes_nowhere_after_a_refusal() {
    let wsd = Wsd::with_hook("function on_connect(conn) conn:send('secret') return false end");
    let answer = wsd.handshake(&Request::websocket("/chat"));
    assert_eq!(answer.status, 403);
    assert!(!answer.body.contains("secret"));
}

#[test]
fn data_of_a_connection_is_its_own_and_lasts() {
    let wsd = Wsd::with_hook(
        "function on_connect(conn) conn.data = { count = 0, name = conn.query.name } end\n\
         function on_message(conn, m)\n\
         conn.data.count = conn.data.count + 1\n\
         return conn.data.name .. ' ' .. conn.data.count\n\
         end",
    );
    let mut ann = wsd.client("/ann?name=ann");
    let mut bob = wsd.client("/bob?name=bob");
    ann.texts(&["", ""]);
    bob.text("");
    ann.expect("ann 1");
    ann.expect("ann 2");
    bob.expect("bob 1");
}

#[test]
fn script_may_join_leave_and_list_channels() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m)\n\
         local verb, channel = string.match(m, '^(%a+) ?(.*)$')\n\
         if verb == 'join' then conn:subscribe(channel) end\n\
         if verb == 'leave' then conn:unsubscribe(channel) end\n\
         if verb == 'list' then local c = conn:channels() table.sort(c) conn:send(table.concat(c, ',')) end\n\
         return false\n\
         end",
    );
    let mut client = wsd.client("/home");
    client.texts(&["join news", "list"]);
    client.expect("home,news");
    assert_eq!(wsd.cli(&["publish", "news", "extra"], b"").code, 0);
    client.expect("extra");
    client.texts(&["leave news", "list"]);
    client.expect("home");
    assert_eq!(wsd.cli(&["publish", "news", "lost"], b"").code, 0);
    assert_eq!(wsd.cli(&["publish", "home", "heard"], b"").code, 0);
    client.expect("heard");
}

#[test]
fn publish_of_a_connection_is_not_echoed_to_itself() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m)\n\
         conn:publish('chat', 'others: ' .. m)\n\
         wsd.publish('chat', 'all: ' .. m)\n\
         return false\n\
         end",
    );
    let mut a = wsd.client("/chat");
    let mut b = wsd.client("/chat");
    a.text("x");
    a.expect("all: x");
    b.expect("others: x");
    b.expect("all: x");
}

#[test]
fn close_of_a_script_comes_after_what_it_sent() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m)\n\
         conn:close(4000, 'that is enough')\n\
         conn:send('last words')\n\
         return false\n\
         end",
    );
    let mut client = wsd.client("/chat");
    client.text("x");
    client.expect("last words");
    assert_eq!(client.expect_close(4000), "that is enough");
}

#[test]
fn ids_are_unique() {
    let wsd = Wsd::with_hook("function on_connect(conn) conn:send(conn.id) end");
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        // One after the other, so that places are used again.
        let mut client = wsd.client("/chat");
        ids.insert(client.next_text());
        client.close();
    }
    assert_eq!(ids.len(), 20);
}

#[test]
fn publish_to_a_name_that_is_no_channel_fails_the_call() {
    let wsd = Wsd::with_hook("function on_message(conn, m) wsd.publish(m, 'x') end");
    let mut client = wsd.client("/chat");
    client.texts(&["a b", "$own", "", "fine"]);
    client.expect("fine");
    wsd.wait_log("wsd.publish: channel \"a b\": spaces are not allowed in a channel name");
    assert_eq!(wsd.metric("wsd_hook_errors_total"), 3);
}
