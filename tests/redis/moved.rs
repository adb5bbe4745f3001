//! Other broker settings by a reload, and what the node says of a Redis that is away.

use crate::TestBroker;
use crate::support::eventually;
use crate::support::redis::Redis;

const NOTE: &str = "broker.url needs a restart to take effect";

#[test]
fn reload_moves_to_another_redis() {
    let broker = TestBroker::start();
    let second = Redis::start();
    let wsd = broker.node("", &[]);
    let mut client = wsd.client("/chat");
    wsd.write_config(&format!(
        "[broker]\nurl = \"{}\"\nprefix = \"app:\"\n",
        second.url()
    ));
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!format!("{}{}", ran.out, ran.err).contains("restart"));
    eventually!(second.subscribers("app:chat") == 1);
    eventually!(wsd.status()["broker"]["up"] == true);
    assert_eq!(wsd.status()["broker"]["url"], second.url());
    second.publish("app:chat", b"from there");
    client.expect("from there");
    client.text("to there");
    client.expect("to there");
    eventually!(broker.redis().subscribers("chat") == 0);
}

#[test]
fn from_redis_to_memory_needs_a_restart() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    let mut client = wsd.client("/chat");
    let listener = broker.redis().subscribe("chat");
    wsd.write_config("[broker]\nurl = \"memory:\"\n[limits]\nmessage = 7\n");
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(format!("{}{}", ran.out, ran.err).contains(NOTE), "{ran:?}");
    wsd.wait_log(NOTE);
    let status = wsd.status();
    assert_eq!(status["broker"]["kind"], "redis");
    assert_eq!(status["broker"]["up"], true);
    assert_eq!(status["broker"]["url"], broker.redis().url());
    assert_eq!(status["notes"], serde_json::json!([NOTE]));
    // The old broker goes on, the rest of the reload holds.
    client.text("as ever");
    client.expect("as ever");
    assert_eq!(listener.message(), b"as ever");
    client.text("too long");
    client.expect_close(1009);
    wsd.write_config("");
    wsd.reload();
    assert_eq!(wsd.status()["notes"], serde_json::json!([]));
}

#[test]
fn from_memory_to_redis_needs_a_restart() {
    let broker = TestBroker::start();
    let wsd = broker.node("[broker]\nurl = \"memory:\"\n", &[]);
    let mut client = wsd.client("/chat");
    wsd.write_config("");
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(format!("{}{}", ran.out, ran.err).contains(NOTE), "{ran:?}");
    let status = wsd.status();
    assert_eq!(status["broker"]["kind"], "memory");
    assert_eq!(status["notes"], serde_json::json!([NOTE]));
    client.text("as ever");
    client.expect("as ever");
    assert_eq!(broker.redis().subscribers("chat"), 0);
    assert_eq!(wsd.http("GET", "/readyz").status, 200);
}

#[test]
fn node_says_that_redis_is_away_and_since_when_and_why() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    assert_eq!(wsd.status()["notes"], serde_json::json!([]));
    assert_eq!(wsd.http("GET", "/readyz").status, 200);
    broker.redis().kill();
    let away = format!("{} away for ", broker.redis().url());
    let says = |text: &str| text.contains(&away) && text.contains("s: connection refused");
    eventually!(says(&wsd.http("GET", "/readyz").body));
    assert_eq!(wsd.http("GET", "/readyz").status, 503);
    assert_eq!(wsd.http("GET", "/healthz").status, 200);
    let status = wsd.status();
    assert_eq!(status["broker"]["up"], false);
    assert!(says(status["notes"][0].as_str().unwrap()), "{status}");
    let ran = wsd.cli(&["status"], b"");
    assert!(ran.out.contains("redis, down") && says(&ran.out), "{ran:?}");
    assert_eq!(wsd.metric("wsd_broker_up"), 0);
    broker.redis().start_again();
    eventually!(wsd.http("GET", "/readyz").status == 200);
    let status = wsd.status();
    assert_eq!(status["broker"]["up"], true);
    assert_eq!(status["notes"], serde_json::json!([]));
    assert_eq!(wsd.metric("wsd_broker_up"), 1);
}
