//! `[limits]`: how many connections and subscriptions there may be, and how much one may send.

use std::time::Instant;

use crate::support::{Client, Message, Request, Stream, Wsd, eventually, frame};

#[test]
fn connection_over_the_limit_is_answered_503_until_one_leaves() {
    let wsd = Wsd::start("[limits]\nconnections = 2\n");
    let first = wsd.client("/chat");
    let mut second = wsd.client("/chat");
    let answer = wsd.handshake(&Request::websocket("/chat"));
    assert_eq!(answer.status, 503, "{answer:?}");
    let seconds = answer.header("retry-after").map(str::parse::<u32>);
    assert!(matches!(seconds, Some(Ok(_))), "{answer:?}");
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"connections\"}"), 1);
    wsd.wait_log("connections at the limit (2)");
    first.close();
    eventually!(wsd.handshake(&Request::websocket("/chat")).status == 101);
    second.text("still served");
    second.expect("still served");
}

#[test]
fn subscription_over_the_limit_is_refused_and_counted() {
    let wsd = Wsd::with_hooks(
        "[limits]\nsubscriptions = 3\n",
        &[(
            "h.lua",
            "function on_message(conn, m)\n\
             conn:subscribe('extra:' .. m)\n\
             end",
        )],
    );
    let mut client = wsd.client("/own");
    for i in 1..=4 {
        client.text(&i.to_string());
        client.expect(&i.to_string());
    }
    // Its own, and two more.
    eventually!(wsd.metric("wsd_subscribe_refused_total") == 2);
    eventually!(wsd.metric("wsd_subscriptions") == 3);
    for (channel, text) in [("extra:3", "lost"), ("extra:2", "heard")] {
        assert_eq!(wsd.cli(&["publish", channel, text], b"").code, 0);
    }
    client.expect("heard");
}

#[test]
fn crowd_that_says_nothing_takes_no_answer_from_the_others() {
    let wsd = Wsd::start("[limits]\nconnections = 1\n[listen]\nhandshake_timeout = \"1h\"\n");
    let mut witness = wsd.client("/chat");
    let silent: Vec<Stream> = (0..300).map(|_| Stream::tcp(wsd.address())).collect();
    for _ in 0..20 {
        let answer = wsd.handshake(&Request::websocket("/chat"));
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"connections\"}"), 320);
    witness.text("still here");
    witness.expect("still here");
    drop(silent);
}

#[test]
fn handshakes_over_the_rate_are_answered_503_and_the_next_second_is_free() {
    let wsd = Wsd::start("[limits]\naccept_rate = 5\n");
    let open = || Client::try_open(Stream::tcp(wsd.address()), &Request::websocket("/chat"));
    let start = Instant::now();
    let mut kept = Vec::new();
    let refused = loop {
        let client = open();
        if client.answer.status != 101 {
            break client.answer;
        }
        kept.push(client);
        assert!(kept.len() < 1000, "no limit");
    };
    // Five at once, and five more for each second that this took.
    let most = 6 + 5 * usize::try_from(start.elapsed().as_secs() + 1).unwrap();
    assert!(
        (5..=most).contains(&kept.len()),
        "{} in {:?}",
        kept.len(),
        start.elapsed()
    );
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    wsd.wait_log("limits.accept_rate (5 a second)");
    assert!(wsd.metric("wsd_refused_total{reason=\"accept_rate\"}") >= 1);
    eventually!(open().answer.status == 101);
    wsd.write_config("");
    wsd.reload();
    for _ in 0..30 {
        assert_eq!(open().answer.status, 101);
    }
    kept[0].text("still here");
    assert_eq!(kept[1].next(), Message::text("still here"));
}

#[test]
fn connections_that_are_there_stay_when_a_reload_lowers_the_limit() {
    let wsd = Wsd::start("");
    let mut kept: Vec<Client> = (0..3).map(|_| wsd.client("/chat")).collect();
    wsd.write_config("[limits]\nconnections = 2\norigins = [\"https://example.com\"]\n");
    wsd.reload();
    assert_eq!(wsd.handshake(&Request::websocket("/chat")).status, 503);
    kept[0].text("all here");
    for client in &mut kept {
        client.expect("all here");
    }
    wsd.write_config("[limits]\nconnections = 4\norigins = [\"https://example.com\"]\n");
    wsd.reload();
    let stranger = Request::websocket("/chat").header("Origin", "https://example.org");
    assert_eq!(wsd.handshake(&stranger).status, 403);
    eventually!(wsd.handshake(&Request::websocket("/chat")).status == 101);
}

#[test]
fn subscription_limit_of_a_reload_holds_for_connections_that_are_there() {
    let hook = "function on_message(conn, m) conn:subscribe(m) end";
    let wsd = Wsd::with_hooks("[limits]\nsubscriptions = 2\n", &[("h.lua", hook)]);
    let mut client = wsd.client("/own");
    client.texts(&["one", "two"]);
    client.expect("one");
    client.expect("two");
    eventually!(wsd.metric("wsd_subscribe_refused_total") == 1);
    wsd.write_config("[limits]\nsubscriptions = 3\n");
    wsd.reload();
    client.texts(&["two", "three"]);
    client.expect("two");
    client.expect("three");
    eventually!(wsd.metric("wsd_subscribe_refused_total") == 2);
    assert_eq!(wsd.metric("wsd_subscriptions"), 3);
}

#[test]
fn address_limit_of_a_reload_counts_those_that_are_there() {
    let wsd = Wsd::start("");
    let kept: Vec<Client> = (0..3).map(|_| wsd.client("/chat")).collect();
    wsd.write_config("[limits]\nconnections_per_address = 3\n");
    wsd.reload();
    assert_eq!(wsd.handshake(&Request::websocket("/chat")).status, 429);
    wsd.write_config("[limits]\nconnections_per_address = 4\n");
    wsd.reload();
    assert_eq!(wsd.handshake(&Request::websocket("/chat")).status, 101);
    drop(kept);
}

#[test]
fn address_limit_holds_over_all_workers() {
    let wsd = Wsd::start("[runtime]\nworkers = 3\n[limits]\nconnections_per_address = 4\n");
    let kept: Vec<Client> = (0..4).map(|_| wsd.client("/chat")).collect();
    for _ in 0..6 {
        assert_eq!(wsd.handshake(&Request::websocket("/chat")).status, 429);
    }
    drop(kept);
    eventually!(wsd.handshake(&Request::websocket("/chat")).status == 101);
}

#[test]
fn messages_over_the_rate_close_the_connection_with_1008() {
    let wsd = Wsd::start("[limits]\nmessages_per_second = 1\nmessages_burst = 10\n");
    let mut witness = wsd.client("/chat");
    let mut flood = wsd.client("/chat");
    flood.texts(&["x"; 30]);
    let end = std::iter::from_fn(|| Some(flood.next())).find(|m| *m != Message::text("x"));
    let close = Message::Close(1008, "too many messages a second".to_owned());
    assert_eq!(end, Some(close));
    witness.text("within the limit");
    let heard = std::iter::from_fn(|| Some(witness.next_text()));
    let heard = heard.take_while(|text| text == "x").count();
    // A slow machine may have let some more through.
    assert!((10..20).contains(&heard), "{heard}");
    let series = "wsd_limit_disconnects_total{reason=\"messages_per_second\"}";
    assert_eq!(wsd.metric(series), 1);
}

#[test]
fn burst_is_one_second_s_worth_where_none_is_set() {
    let wsd = Wsd::start("[limits]\nmessages_per_second = 20\n");
    let mut client = wsd.client("/chat");
    client.texts(&["x"; 20]);
    for _ in 0..20 {
        client.expect("x");
    }
    client.texts(&["x"; 100]);
    let end = std::iter::from_fn(|| Some(client.next())).find(|m| *m != Message::text("x"));
    assert!(matches!(end, Some(Message::Close(1008, _))), "{end:?}");
}

#[test]
fn bytes_over_the_rate_close_the_connection_with_1008() {
    let wsd = Wsd::start("[limits]\nbytes_per_second = \"10KiB\"\n");
    let mut witness = wsd.client("/chat");
    let mut client = wsd.client("/chat");
    client.text(&"x".repeat(5000));
    witness.next_text();
    client.next_text();
    // Not a message yet, and it never will be.
    client.raw(&frame(0x01, &[b'x'; 20_000]));
    assert_eq!(client.expect_close(1008), "too many bytes a second");
    let mut pings = wsd.client("/chat");
    pings.raw(&frame(0x89, &[b'x'; 125]).repeat(200));
    let end = std::iter::from_fn(|| Some(pings.next())).find(|m| !matches!(m, Message::Pong(_)));
    assert!(matches!(end, Some(Message::Close(1008, _))), "{end:?}");
    let series = "wsd_limit_disconnects_total{reason=\"bytes_per_second\"}";
    assert_eq!(wsd.metric(series), 2);
    witness.text("within the limit");
    witness.expect("within the limit");
}

#[test]
fn rates_of_a_reload_hold_for_connections_that_are_there() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.texts(&["x"; 100]);
    for _ in 0..100 {
        client.expect("x");
    }
    wsd.write_config("[limits]\nmessages_per_second = 5\n");
    wsd.reload();
    client.texts(&["y"; 100]);
    let end = std::iter::from_fn(|| Some(client.next())).find(|m| *m != Message::text("y"));
    assert!(matches!(end, Some(Message::Close(1008, _))), "{end:?}");
    let mut free = wsd.client("/chat");
    free.text("one");
    free.expect("one");
    wsd.write_config("");
    wsd.reload();
    free.texts(&["z"; 100]);
    for _ in 0..100 {
        free.expect("z");
    }
}

#[test]
fn message_over_the_limit_is_counted() {
    let wsd = Wsd::start("[limits]\nmessage = \"1KiB\"\n");
    let mut client = wsd.client("/chat");
    client.text(&"x".repeat(1025));
    client.expect_close(1009);
    assert_eq!(
        wsd.metric("wsd_limit_disconnects_total{reason=\"message\"}"),
        1
    );
}
