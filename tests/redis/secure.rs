//! A Redis that is reached over TLS: the same, and every reason why it cannot be.

use crate::TestBroker;
use crate::support::redis::Redis;
use crate::support::tls::Authority;
use crate::support::{Site, Wsd, eventually};

/// A node over that broker which trusts that authority.
fn site(broker: &TestBroker, trusted: &Authority, config: &str) -> Site {
    let site = Site::with_broker(broker.clone(), config, &[]);
    trusted.write_root(&site.path("trust.pem"));
    site
}

/// What the log of a node says against such a URL.
fn refused(trusted: Option<&Authority>, broker: &TestBroker, url: &str) -> String {
    let site = Site::with_broker(broker.clone(), &format!("[broker]\nurl = \"{url}\"\n"), &[]);
    if let Some(trusted) = trusted {
        trusted.write_root(&site.path("trust.pem"));
    }
    let wsd = Wsd::without_broker(site);
    let line = wsd.wait_log("next try in");
    assert_eq!(wsd.status()["broker"]["up"], false);
    line
}

#[test]
fn nodes_meet_over_a_redis_with_tls() {
    let authority = Authority::new();
    let broker = TestBroker::start_with_tls(&authority);
    let queue = "[delivery]\nqueue = \"64MiB\"\n";
    let one = Wsd::on(site(&broker, &authority, queue));
    let two = Wsd::on(site(&broker, &authority, queue));
    assert!(
        one.status()["broker"]["url"]
            .as_str()
            .unwrap()
            .starts_with("rediss://127.0.0.1:")
    );
    let (mut ann, mut ben) = (one.client("/chat"), two.client("/chat"));
    ann.text("hello");
    ann.expect("hello");
    ben.expect("hello");
    assert_eq!(broker.redis().publish("chat", b"from redis-cli"), 2);
    ann.expect("from redis-cli");
    ben.expect("from redis-cli");
    // More than a socket takes at once: what TLS holds back must go too.
    let large = "x".repeat(60_000);
    let count = 100;
    ben.texts(&vec![large.as_str(); count]);
    for _ in 0..count {
        ann.expect(&large);
        ben.expect(&large);
    }
}

#[test]
fn a_redis_with_tls_that_was_away_is_found_again() {
    let authority = Authority::new();
    let broker = TestBroker::start_with_tls(&authority);
    let wsd = Wsd::on(site(&broker, &authority, ""));
    let mut client = wsd.client("/chat");
    broker.redis().kill();
    wsd.wait_log("broker lost: rediss://");
    client.text("waits");
    broker.redis().start_again();
    client.expect("waits");
    wsd.wait_log("broker back after ");
}

#[test]
fn a_certificate_that_is_not_trusted_is_named_and_trust_that_comes_later_is_enough() {
    let authority = Authority::new();
    let broker = TestBroker::start_with_tls(&authority);
    let wsd = Wsd::without_broker(site(&broker, &Authority::new(), ""));
    let line = wsd.wait_log("next try in");
    assert!(
        line.contains("TLS: its certificate comes from nobody that this machine trusts"),
        "{line}"
    );
    authority.write_root(&wsd.path("trust.pem"));
    eventually!(wsd.status()["broker"]["up"] == true);
}

#[test]
fn what_is_wrong_with_tls_is_said() {
    let authority = Authority::new();
    let broker = TestBroker::start_with_tls(&authority);
    let port = broker.redis().port();
    let other = Redis::start_with_tls(&authority, &["127.0.0.1", "redis.example"]);
    let url = format!("rediss://localhost:{}", other.port());
    let line = refused(Some(&authority), &broker, &url);
    assert!(
        line.contains("TLS: its certificate is for another name"),
        "{line}"
    );
    let line = refused(None, &broker, &broker.redis().url());
    assert!(
        line.contains("comes from nobody that this machine trusts"),
        "{line}"
    );
    let plain = Redis::start();
    let url = format!("rediss://127.0.0.1:{}", plain.port());
    let line = refused(Some(&authority), &broker, &url);
    assert!(
        line.contains("TLS: no answer; does it speak TLS?"),
        "{line}"
    );
    let line = refused(
        Some(&authority),
        &broker,
        &format!("redis://127.0.0.1:{port}"),
    );
    assert!(
        line.contains("closed by Redis") || line.contains("reset"),
        "{line}"
    );
}
