//! `limits.origins`: which pages may open a connection.

use crate::support::{Request, Wsd};

const ORIGINS: &str = "[limits]\norigins = [\"https://example.com\", \"https://*.example.org:8443\", \"http://localhost:3000\"]\n";

fn status(wsd: &Wsd, origin: &str) -> u16 {
    wsd.handshake(&Request::websocket("/chat").header("Origin", origin))
        .status
}

#[test]
fn listed_origins_are_let_in() {
    let wsd = Wsd::start(ORIGINS);
    for origin in [
        "https://example.com",
        "https://example.com:443",
        "https://EXAMPLE.com",
        "https://a.example.org:8443",
        "https://a.b.example.org:8443",
        "http://localhost:3000",
    ] {
        assert_eq!(status(&wsd, origin), 101, "{origin}");
    }
}

#[test]
fn other_origins_are_forbidden() {
    let wsd = Wsd::start(ORIGINS);
    for origin in [
        "http://example.com",
        "https://example.com:444",
        "https://www.example.com",
        "https://example.com.evil.net",
        "https://evilexample.org:8443",
        "https://example.org:8443",
        "https://a.example.org",
        "http://localhost",
        "null",
        "",
    ] {
        assert_eq!(status(&wsd, origin), 403, "{origin}");
    }
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"origin\"}"), 10);
}

#[test]
fn request_without_an_origin_is_let_in() {
    let wsd = Wsd::start(ORIGINS);
    wsd.client("/chat");
}

#[test]
fn without_a_list_every_origin_is_let_in() {
    let wsd = Wsd::start("");
    assert_eq!(status(&wsd, "https://anywhere.example"), 101);
}
