//! What other programs see in Redis and may send there: plain text as it is, the envelope for the rest.

use crate::TestBroker;
use crate::support::{Message, Site, Wsd, eventually};

#[test]
fn text_published_by_redis_cli_reaches_clients() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    let mut client = wsd.client("/chat");
    assert_eq!(broker.redis().cli(&["PUBLISH", "chat", "hello"]), "1");
    client.expect("hello");
    broker.redis().publish("chat", "grüße\nzwei".as_bytes());
    client.expect("grüße\nzwei");
    broker.redis().publish("chat", b"");
    client.expect("");
}

#[test]
fn bytes_published_by_redis_cli_that_are_no_utf8_are_a_binary_message() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    let mut client = wsd.client("/chat");
    broker.redis().publish("chat", b"\x80\x00\r\n\xfe");
    assert_eq!(client.next(), Message::Binary(b"\x80\x00\r\n\xfe".to_vec()));
}

#[test]
fn redis_cli_sees_what_clients_say() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    let subscriber = broker.redis().subscribe("chat");
    let mut client = wsd.client("/chat");
    client.text("grüße");
    assert_eq!(subscriber.message(), "grüße".as_bytes());
    client.expect("grüße");
    assert_eq!(wsd.cli(&["publish", "chat", "from the tool"], b"").code, 0);
    assert_eq!(subscriber.message(), b"from the tool");
}

#[test]
fn what_plain_text_cannot_say_travels_in_an_envelope() {
    let broker = TestBroker::start();
    let config = "[[route]]\npath = \"/quiet\"\nchannel = \"chat\"\necho = false\n\
                  [[route]]\npath = \"/chat\"\nchannel = \"chat\"\n";
    let wsd = broker.node(config, &[]);
    let subscriber = broker.redis().subscribe("chat");
    let mut quiet = wsd.client("/quiet");
    let mut client = wsd.client("/chat");
    quiet.text("without me");
    let envelope = subscriber.message();
    assert!(envelope.starts_with(b"\xff\x01"), "{envelope:?}");
    assert!(envelope.ends_with(b"without me"), "{envelope:?}");
    client.expect("without me");
    client.binary(b"ascii");
    let envelope = subscriber.message();
    assert!(envelope.starts_with(b"\xff\x01"), "{envelope:?}");
    assert!(envelope.ends_with(b"ascii"), "{envelope:?}");
    assert_eq!(client.next(), Message::Binary(b"ascii".to_vec()));
    assert_eq!(quiet.next(), Message::Binary(b"ascii".to_vec()));
}

#[test]
fn broken_envelopes_harm_nobody() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    let mut client = wsd.client("/chat");
    for payload in [
        &b"\xff"[..],
        b"\xff\x01",
        b"\xff\x02\x00payload of the future",
        b"\xff\x01\xff",
        b"\xff\x01\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff",
    ] {
        assert_eq!(broker.redis().publish("chat", payload), 1);
    }
    broker.redis().publish("chat", b"fine");
    let last = std::iter::repeat_with(|| client.next()).find(|m| !matches!(m, Message::Binary(_)));
    assert_eq!(last, Some(Message::text("fine")));
    assert_eq!(wsd.status()["broker"]["up"], true);
}

#[test]
fn prefix_stands_before_every_channel_in_redis() {
    let broker = TestBroker::start();
    let wsd = broker.node("[broker]\nprefix = \"app:\"\n", &[]);
    let subscriber = broker.redis().subscribe("app:chat");
    let mut client = wsd.client("/chat");
    broker.redis().publish("chat", b"not for us");
    broker.redis().publish("app:chat", b"for us");
    client.expect("for us");
    assert_eq!(subscriber.message(), b"for us");
    client.text("from us");
    client.expect("from us");
    assert_eq!(subscriber.message(), b"from us");
}

#[test]
fn only_channels_that_somebody_hears_are_subscribed() {
    let broker = TestBroker::start();
    let redis = broker.redis();
    let a = broker.node("", &[]);
    let b = broker.node("", &[]);
    assert_eq!(redis.subscribers("chat"), 0);
    let first = a.client("/chat");
    // Its 101 came when Redis had confirmed.
    assert_eq!(redis.subscribers("chat"), 1);
    let second = a.client("/chat");
    assert_eq!(redis.subscribers("chat"), 1);
    let third = b.client("/chat");
    assert_eq!(redis.subscribers("chat"), 2);
    assert_eq!(redis.subscribers("other"), 0);
    first.close();
    drop(third);
    eventually!(redis.subscribers("chat") == 1);
    second.close();
    eventually!(redis.subscribers("chat") == 0);
    let mut again = a.client("/chat");
    assert_eq!(redis.publish("chat", b"back"), 1);
    again.expect("back");
}

#[test]
fn redis_is_reached_over_its_unix_socket() {
    let broker = TestBroker::start();
    let config = format!("[broker]\nurl = \"{}\"\n", broker.redis().unix_url());
    let wsd = broker.node(&config, &[]);
    let mut client = wsd.client("/chat");
    client.text("over unix");
    client.expect("over unix");
}

#[test]
fn password_is_used_and_shown_nowhere() {
    let broker = TestBroker::start();
    let redis = broker.redis();
    assert_eq!(
        redis.cli(&[
            "ACL",
            "SETUSER",
            "wsd",
            "on",
            ">s3cret-pass",
            "~*",
            "&*",
            "+@all"
        ]),
        "OK"
    );
    assert_eq!(redis.cli(&["ACL", "SETUSER", "default", "off"]), "OK");
    let site = Site::with_broker(
        broker,
        "[broker]\nusername = \"wsd\"\npassword = \"s3cret-pass\"\n",
        &[],
    );
    let wsd = Wsd::on(site);
    let mut client = wsd.client("/chat");
    client.text("let in");
    client.expect("let in");
    let shown = format!(
        "{} {:?} {:?}",
        wsd.log(),
        wsd.status(),
        wsd.tool(&["check", "--print"])
    );
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn wrong_password_is_said_and_tried_again() {
    let broker = TestBroker::start();
    let site = Site::with_broker(broker, "[broker]\npassword = \"s3cret-wrong\"\n", &[]);
    let wsd = Wsd::without_broker(site);
    let line = wsd.wait_log("broker");
    assert!(!line.contains("s3cret"), "{line}");
    eventually!(wsd.status()["broker"]["up"] == false);
    assert_eq!(wsd.http("GET", "/readyz").status, 503);
}
