//! The admin address: metrics, health, and publishing over HTTP.

use crate::support::{Answer, Message, Request, Wsd, eventually};

const TOKEN: &str = "[admin]\ntoken = \"s3cret-s3cret\"\n";

fn publish(wsd: &Wsd, channel: &str, body: &[u8]) -> Answer {
    Request::new("POST", &format!("/publish/{channel}"))
        .header("Authorization", "Bearer s3cret-s3cret")
        .body(body)
        .send(wsd.admin())
}

#[test]
fn metrics_are_prometheus_text() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.text("x");
    client.expect("x");
    let answer = wsd.http("GET", "/metrics");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4"),
        "{answer:?}"
    );
    let mut typed = std::collections::BTreeSet::new();
    for line in answer.body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert!(typed.insert(name.to_owned()), "{name} is there twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|s| name.strip_suffix(s));
            assert!(
                typed.contains(name) || family.is_some_and(|f| typed.contains(f)),
                "{line}"
            );
            assert!(name.starts_with("wsd_"), "{line}");
        }
    }
    for (series, value) in [
        ("wsd_connections", 1),
        ("wsd_channels", 1),
        ("wsd_subscriptions", 1),
        ("wsd_accepted_total", 1),
        ("wsd_messages_received_total", 1),
        ("wsd_publications_total", 1),
        ("wsd_messages_delivered_total", 1),
        ("wsd_generation", 1),
        ("wsd_broker_up", 1),
        ("wsd_last_reload_successful", 1),
    ] {
        eprintln!("{series}");
        eventually!(wsd.metric(series) == value);
    }
}

#[test]
fn health_and_readiness_are_told() {
    let wsd = Wsd::start("");
    assert_eq!(wsd.http("GET", "/healthz").status, 200);
    assert_eq!(wsd.http("GET", "/readyz").status, 200);
    assert_eq!(wsd.http("HEAD", "/healthz").status, 200);
}

#[test]
fn publish_over_http_reaches_subscribers() {
    let wsd = Wsd::start(TOKEN);
    let mut client = wsd.client("/caf%C3%A9");
    let answer = publish(&wsd, "caf%C3%A9", "grüße".as_bytes());
    assert!((200..300).contains(&answer.status), "{answer:?}");
    client.expect("grüße");
    publish(&wsd, "caf%C3%A9", b"\xff\x00");
    assert_eq!(client.next(), Message::Binary(b"\xff\x00".to_vec()));
    publish(&wsd, "caf%C3%A9", b"");
    client.expect("");
}

#[test]
fn publish_over_http_goes_through_on_batch() {
    let wsd = Wsd::with_hooks(
        &format!("{TOKEN}[[route]]\npath = \"/chat\"\nchannel = \"chat\"\nhooks = [\"a.lua\"]\n"),
        &[
            (
                "a.lua",
                "function on_batch(channel, m, senders) return { m[1] .. ' by \"' .. senders[1] .. '\"' } end",
            ),
            (
                "b.lua",
                "function on_batch(channel, m) return { 'not this one' } end",
            ),
        ],
    );
    let mut client = wsd.client("/chat");
    publish(&wsd, "chat", b"x");
    client.expect("x by \"\"");
}

#[test]
fn publish_without_the_token_is_refused() {
    let wsd = Wsd::start(TOKEN);
    let bare = Request::new("POST", "/publish/chat").body(b"x");
    for request in [
        bare.clone(),
        bare.clone().header("Authorization", "Bearer wrong"),
        bare.clone().header("Authorization", "Bearer "),
        bare.header("Authorization", "Basic s3cret-s3cret"),
    ] {
        assert_eq!(request.send(wsd.admin()).status, 401, "{request:?}");
    }
    assert_eq!(wsd.metric("wsd_publications_total"), 0);
}

#[test]
fn without_a_token_in_the_configuration_publishing_is_refused() {
    let wsd = Wsd::start("");
    let answer = publish(&wsd, "chat", b"x");
    assert!(matches!(answer.status, 401 | 403), "{answer:?}");
    let empty = Request::new("POST", "/publish/chat")
        .header("Authorization", "Bearer ")
        .body(b"x");
    assert!(matches!(empty.send(wsd.admin()).status, 401 | 403));
    assert_eq!(wsd.metric("wsd_publications_total"), 0);
}

#[test]
fn wrong_requests_are_answered_as_such() {
    let wsd = Wsd::start(TOKEN);
    for channel in ["a%20b", "%24own", "%ff", ""] {
        let answer = publish(&wsd, channel, b"x");
        assert!(matches!(answer.status, 400 | 404), "{channel}: {answer:?}");
    }
    assert_eq!(wsd.http("GET", "/nothing").status, 404);
    assert_eq!(wsd.http("DELETE", "/metrics").status, 405);
    assert_eq!(wsd.http("GET", "/publish/chat").status, 405);
    let large = publish(&wsd, "chat", &vec![b'x'; (64 << 10) + 1]);
    assert_eq!(large.status, 413, "{large:?}");
    assert_eq!(wsd.http("GET", "/healthz").status, 200);
}

#[test]
fn token_is_shown_nowhere() {
    let wsd = Wsd::start(TOKEN);
    publish(&wsd, "chat", b"x");
    let shown = format!(
        "{} {:?} {:?}",
        wsd.log(),
        wsd.status(),
        wsd.tool(&["check", "--print"])
    );
    assert!(!shown.contains("s3cret"), "{shown}");
}
