//! `[limits]`: how many connections and subscriptions there may be.

use crate::support::{Request, Wsd, eventually};

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
