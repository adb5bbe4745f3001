//! Histories in Redis: another node, a lost link, a Redis that forgets, and keys that somebody else touched.

use serde_json::{Value, json};

use crate::TestBroker;
use crate::support::{Client, Request, Stream, Wsd, eventually};

const KEPT: &str = "
    [[route]]
    path = \"/{channel}\"
    channel = \"{channel}\"
    channels = [\"*\"]
    [[channel]]
    match = \"kept\"
    history = { size = 1000, ttl = \"10m\" }
    [[channel]]
    match = \"brief\"
    history = { size = 10, ttl = \"500ms\" }
    [[channel]]
    match = \"strict\"
    on_gap = \"close\"
    ";

const STREAM: &str = "$history:{kept}";

fn v1(wsd: &Wsd) -> Client {
    let request = Request::websocket("/none").header("Sec-WebSocket-Protocol", "wsd.v1");
    Client::open(Stream::tcp(wsd.address()), &request)
}

/// Subscribes; the answer, and the gap behind it if there is one.
fn subscribe(client: &mut Client, channel: &str, since: Option<&str>) -> Value {
    let mut command = json!({ "type": "subscribe", "channel": channel });
    if let Some(since) = since {
        command["since"] = since.into();
    }
    client.text(&command.to_string());
    let answer = client.next_json();
    assert_eq!(answer["type"], "subscribed", "{answer}");
    if since.is_some() && answer["recovered"] == false {
        assert_eq!(client.next_json()["type"], "gap");
    }
    answer
}

/// The answer to a publish; what comes on the channel before it is passed over.
fn publish(client: &mut Client, channel: &str, data: &str) -> Value {
    let command = json!({ "type": "publish", "channel": channel, "data": data, "id": 1 });
    client.text(&command.to_string());
    loop {
        let answer = client.next_json();
        if answer["id"] == 1 {
            return answer;
        }
    }
}

fn place(answer: &Value) -> String {
    answer["position"].as_str().unwrap().to_owned()
}

#[test]
fn who_comes_back_to_another_node_misses_nothing() {
    let broker = TestBroker::start();
    let (a, b) = (broker.node(KEPT, &[]), broker.node(KEPT, &[]));
    let mut sender = v1(&a);
    let mut away = v1(&a);
    let since = place(&subscribe(&mut away, "kept", None));
    away.close();
    for n in 0..3 {
        publish(&mut sender, "kept", &n.to_string());
    }
    let mut back = v1(&b);
    assert_eq!(
        subscribe(&mut back, "kept", Some(&since))["recovered"],
        true
    );
    publish(&mut sender, "kept", "3");
    for n in 0..4 {
        let message = back.next_json();
        assert_eq!(message["data"], n.to_string().as_str(), "{message}");
    }
    // What one node's hook or client without echo published is left out for nobody else.
    let mut plain = b.client("/kept");
    plain.text("plain");
    plain.expect("plain");
    assert_eq!(back.next_json()["data"], "plain");
}

#[test]
fn a_stream_expires_and_leaves_nothing() {
    let broker = TestBroker::start();
    let wsd = broker.node(KEPT, &[]);
    let mut a = v1(&wsd);
    let first = place(&publish(&mut a, "brief", "1"));
    assert_eq!(
        broker.redis().cli(&["EXISTS", "$history:{brief}"]).trim(),
        "1"
    );
    eventually!(broker.redis().cli(&["DBSIZE"]).trim() == "0");
    let answer = subscribe(&mut a, "brief", Some(&first));
    assert_eq!(answer["recovered"], false);
    let second = place(&publish(&mut a, "brief", "2"));
    assert_ne!(first.split(':').next(), second.split(':').next());
}

#[test]
fn a_lost_link_is_mended_even_for_plain_clients() {
    let broker = TestBroker::start();
    let (a, b) = (broker.node(KEPT, &[]), broker.node(KEPT, &[]));
    let mut plain = b.client("/kept");
    let mut other = v1(&b);
    subscribe(&mut other, "kept", None);
    let mut sender = v1(&a);
    publish(&mut sender, "kept", "m0");
    plain.expect("m0");
    for round in 0..5 {
        // Every node loses its subscriptions, again and again while messages go out.
        broker.redis().cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        for n in 1..=20 {
            let text = format!("m{}", round * 20 + n);
            eventually!(publish(&mut sender, "kept", &text)["type"] == "published");
        }
    }
    for n in 1..=100 {
        plain.expect(&format!("m{n}"));
    }
    for n in 0..=100 {
        assert_eq!(other.next_json()["data"], format!("m{n}").as_str());
    }
}

#[test]
fn a_redis_that_forgot_everything_is_told() {
    let broker = TestBroker::start();
    let wsd = broker.node(KEPT, &[]);
    let mut a = v1(&wsd);
    let since = place(&subscribe(&mut a, "kept", None));
    publish(&mut a, "kept", "1");
    broker.redis().cli(&["FLUSHALL"]);
    broker.redis().cli(&["SCRIPT", "FLUSH"]);
    let mut back = v1(&wsd);
    let answer = subscribe(&mut back, "kept", Some(&since));
    assert_eq!(answer["recovered"], false);
    assert_eq!(publish(&mut a, "kept", "2")["type"], "published");
    assert_eq!(back.next_json()["data"], "2");

    // Killed, its data gone: what was missed cannot be had again.
    let mut plain = wsd.client("/strict");
    plain.text("hello");
    plain.expect("hello");
    broker.redis().kill();
    wsd.wait_log("broker lost");
    broker.redis().start_again();
    wsd.wait_log("broker back");
    plain.expect_close(1012);
    assert_eq!(back.next_json()["type"], "gap");
    wsd.wait_log("were missed and cannot be had again");
    eventually!(publish(&mut a, "kept", "3")["type"] == "published");
    assert_eq!(back.next_json()["data"], "3");
}

#[test]
fn keys_that_somebody_else_touched_cost_only_their_channel() {
    let broker = TestBroker::start();
    let wsd = broker.node(KEPT, &[]);
    let mut witness = wsd.client("/other");
    let mut a = v1(&wsd);
    let first = place(&publish(&mut a, "kept", "1"));
    // A stranger's entry: a new epoch says that the history is not what it was.
    broker.redis().cli(&["XADD", STREAM, "*", "k", "v"]);
    let second = place(&publish(&mut a, "kept", "2"));
    assert_ne!(first.split(':').next(), second.split(':').next());
    // Trimmed by hand: what is missing is told.
    publish(&mut a, "kept", "3");
    broker.redis().cli(&["XTRIM", STREAM, "MAXLEN", "1"]);
    let mut back = v1(&wsd);
    let gone = second.replace(":1", ":0");
    assert_eq!(
        subscribe(&mut back, "kept", Some(&gone))["recovered"],
        false
    );
    assert_eq!(
        subscribe(&mut back, "kept", Some(&second.replace(":1", ":2")))["recovered"],
        true
    );
    // No stream at all: refused to the sender, said in the log, and nobody else notices.
    broker.redis().cli(&["SET", STREAM, "mine"]);
    let answer = publish(&mut a, "kept", "4");
    assert_eq!(answer["code"], "unavailable", "{answer}");
    wsd.wait_log("WRONGTYPE");
    witness.text("still here");
    witness.expect("still here");
    broker.redis().cli(&["DEL", STREAM]);
    assert_eq!(publish(&mut a, "kept", "5")["type"], "published");
}
