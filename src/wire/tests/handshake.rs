//! Requests and answers of the opening handshake.

use super::Dice;
use crate::wire::handshake::{MAX_REQUEST_BYTES, accept, parse};
use crate::wire::{Refusal, Upgrade};

/// The request of RFC 6455 §1.3, with a query and lists in pieces.
const CHAT: &str = "GET /chat%20room?user=a%26b&x HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    sec-websocket-protocol: ,chat , wsd.v1\r\n\
    Sec-WebSocket-Version: 13\r\n\
    X-Bytes: \t\u{e9}t\u{e9}  \r\n\
    \r\n";

fn upgrade(request: &str) -> Upgrade {
    let (upgrade, size) = parse(request.as_bytes()).unwrap().unwrap();
    assert_eq!(size, request.len());
    upgrade
}

fn refusal(request: &str) -> Refusal {
    match parse(request.as_bytes()) {
        Err(refusal) => refusal,
        Ok(other) => panic!("{request:?} is not refused: {other:?}"),
    }
}

/// Asserts the status of the answer to `CHAT` with `from` replaced by `to`, and a piece of its text.
fn check(from: &str, to: &str, status: u16, text: &str) {
    assert!(CHAT.contains(from), "{from:?}");
    let refusal = refusal(&CHAT.replacen(from, to, 1));
    assert_eq!(refusal.status, status, "{to:?}: {}", refusal.text);
    assert!(refusal.text.contains(text), "{to:?}: {}", refusal.text);
}

fn encoded(refusal: &Refusal) -> String {
    let mut out = Vec::new();
    refusal.encode(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_becomes_an_upgrade() {
    let upgrade = upgrade(CHAT);
    assert_eq!(upgrade.path, "/chat%20room");
    assert_eq!(upgrade.query, "user=a%26b&x");
    assert_eq!(upgrade.origin(), Some("http://example.com"));
    assert_eq!(upgrade.header("HOST"), Some(&b"server.example.com"[..]));
    assert_eq!(upgrade.header("x-bytes"), Some("\u{e9}t\u{e9}".as_bytes()));
    assert_eq!(upgrade.header("x-none"), None);
    assert_eq!(upgrade.headers.len(), 9);
    assert!(
        upgrade
            .headers
            .iter()
            .all(|(name, _)| *name == name.to_lowercase())
    );
    assert_eq!(upgrade.protocols, ["chat", "superchat", "wsd.v1"]);
    assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn a_request_is_awaited_whole_and_what_follows_is_left() {
    for cut in 0..CHAT.len() {
        let parsed = parse(&CHAT.as_bytes()[..cut]);
        assert!(matches!(parsed, Ok(None)), "{cut}: {parsed:?}");
    }
    for before in ["", "\r\n", "\r\n\r\n\r\n"] {
        let input = [before.as_bytes(), CHAT.as_bytes(), b"\x81\x80\n\r"].concat();
        let (_, size) = parse(&input).unwrap().unwrap();
        assert_eq!(size, before.len() + CHAT.len());
    }
}

#[test]
fn request_lines_are_checked() {
    let line = "GET /chat%20room?user=a%26b&x HTTP/1.1";
    for (bad, status, text) in [
        ("POST / HTTP/1.1", 405, "GET"),
        ("get / HTTP/1.1", 405, "GET"),
        ("GET / HTTP/1.0", 505, "HTTP/1.1"),
        ("GET / HTTP/2.0", 505, "HTTP/1.1"),
        ("PRI * HTTP/2.0", 505, "HTTP/1.1"),
        ("GET / http/1.1", 400, "request line"),
        ("GET / HTTP/1.1 ", 400, "request line"),
        ("GET /", 400, "request line"),
        ("GET  / HTTP/1.1", 400, "request line"),
        (" GET / HTTP/1.1", 400, "request line"),
        ("G(T / HTTP/1.1", 400, "request line"),
        ("GET /a b HTTP/1.1", 400, "request line"),
        ("GET /\u{1} HTTP/1.1", 400, "request line"),
        ("GET /\u{e9} HTTP/1.1", 400, "ASCII"),
        ("GET /#top HTTP/1.1", 400, "#"),
        ("GET * HTTP/1.1", 400, "\"/\""),
        ("GET chat HTTP/1.1", 400, "\"/\""),
        ("GET example.com:80 HTTP/1.1", 400, "\"/\""),
        ("GET ftp://example.com/ HTTP/1.1", 400, "\"/\""),
        ("GET http:///chat HTTP/1.1", 400, "\"/\""),
        ("GET http://a\\b/ HTTP/1.1", 400, "\"/\""),
    ] {
        check(line, bad, status, text);
    }
    let allow = refusal(&CHAT.replace("GET", "PUT"));
    assert_eq!(allow.headers, [("Allow".to_owned(), "GET".to_owned())]);
}

#[test]
fn targets_have_two_forms() {
    for (target, path, query) in [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/a?b?c", "/a", "b?c"),
        ("//a/../b", "//a/../b", ""),
        ("ws://example.com/a?b", "/a", "b"),
        ("HTTPS://example.com", "/", ""),
        ("http://[::1]:80?b", "/", "b"),
    ] {
        let request = CHAT.replace("/chat%20room?user=a%26b&x", target);
        let upgrade = upgrade(&request);
        assert_eq!((&*upgrade.path, &*upgrade.query), (path, query), "{target}");
    }
    let absolute = CHAT.replace("/chat%20room?", "http://other.example:81/?");
    assert_eq!(
        upgrade(&absolute).header("host"),
        Some(&b"other.example:81"[..])
    );
}

const HOST: &str = "Host: server.example.com\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const CONNECTION: &str = "Connection: keep-alive, Upgrade\r\n";
const UPGRADE: &str = "Upgrade: websocket\r\n";
const ORIGIN: &str = "Origin: http://example.com\r\n";

/// A piece of `CHAT`, what stands in its place, and the answer to that.
const WRONG_HEADERS: &[(&str, &str, u16, &str)] = &[
    (HOST, "", 400, "Host"),
    (HOST, "Host: a\r\nHost: a\r\n", 400, "Host"),
    (HOST, "Host: a/b\r\n", 400, "Host"),
    (HOST, "Host: user@a\r\n", 400, "Host"),
    (HOST, "Host : a\r\n", 400, "Name: value"),
    (HOST, "Host\r\n", 400, "Name: value"),
    (HOST, "Host: a\r\n b\r\n", 400, "Name: value"),
    (HOST, " Host: a\r\n", 400, "Name: value"),
    (HOST, "Host: a\u{0}\r\n", 400, "control"),
    (HOST, "Host: a\nX: b\r\n", 400, "line feed without"),
    (HOST, "Host: a\r X: b\r\n", 400, "carriage return without"),
    (HOST, "Host: a\r\r\n", 400, "carriage return without"),
    (
        HOST,
        "Host: a\r\nTransfer-Encoding: chunked\r\n",
        400,
        "body",
    ),
    (HOST, "Host: a\r\nContent-Length: 1\r\n", 400, "body"),
    (
        HOST,
        "Host: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n",
        400,
        "body",
    ),
    (KEY, "", 400, "Base64"),
    (KEY, "Sec-WebSocket-Key:\r\n", 400, "Base64"),
    (
        KEY,
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n",
        400,
        "Base64",
    ),
    (
        KEY,
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===\r\n",
        400,
        "Base64",
    ),
    (
        KEY,
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-_==\r\n",
        400,
        "Base64",
    ),
    (
        KEY,
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSBub25j\r\n",
        400,
        "Base64",
    ),
    (VERSION, "", 426, "13"),
    (VERSION, "Sec-WebSocket-Version: 8\r\n", 426, "13"),
    (VERSION, "Sec-WebSocket-Version: 13, 8\r\n", 426, "13"),
    (CONNECTION, "", 400, "Connection"),
    (CONNECTION, "Connection: upgraded\r\n", 400, "Connection"),
    (UPGRADE, "", 426, "WebSocket endpoint"),
    (UPGRADE, "Upgrade: h2c\r\n", 426, "WebSocket endpoint"),
    (ORIGIN, "Origin: http://\u{e9}\r\n", 400, "Origin"),
    (ORIGIN, "Origin: a\r\nOrigin: b\r\n", 400, "Origin"),
    ("chat, superchat", "chat, super chat", 400, "tokens"),
    ("chat, superchat", "ch\u{e9}t", 400, "tokens"),
    ("chat, superchat", "\"chat\"", 400, "tokens"),
];

#[test]
fn headers_are_checked() {
    for &(line, other, status, text) in WRONG_HEADERS {
        check(line, other, status, text);
    }
    check(
        VERSION,
        &VERSION.repeat(2),
        400,
        "more than one Sec-WebSocket-Version",
    );
    check(KEY, &KEY.repeat(2), 400, "more than one Sec-WebSocket-Key");
    for (line, other) in [
        (HOST, "HOST:\r\n"),
        (HOST, "Host: a:1\r\nContent-Length: 0\r\n"),
        (CONNECTION, "connection: close\r\nConnection: UPGRADE\r\n"),
        (
            "Upgrade: websocket\r\n",
            "Upgrade: h2c\r\nUpgrade: x,WebSocket\r\n",
        ),
        (ORIGIN, "Origin: null\r\n"),
    ] {
        upgrade(&CHAT.replacen(line, other, 1));
    }
}

#[test]
fn a_plain_get_is_told_that_this_is_a_websocket_endpoint() {
    let answer = encoded(&refusal("GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"));
    assert_eq!(
        answer,
        "HTTP/1.1 426 Upgrade Required\r\n\
         Connection: close, Upgrade\r\n\
         Content-Length: 102\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\
         \r\n\
         this is a WebSocket endpoint: open it with a WebSocket client \
         (the Upgrade header must be \"websocket\")"
    );
}

#[test]
fn what_is_too_large_or_no_http_is_refused_before_it_ends() {
    let line = "GET / HTTP/1.1\r\n";
    let most = format!(
        "{line}X: {}",
        "x".repeat(MAX_REQUEST_BYTES - line.len() - 3)
    );
    assert!(parse(most.as_bytes()).unwrap().is_none());
    assert_eq!(refusal(&format!("{most}x")).status, 431);
    assert_eq!(refusal(&format!("{most}x\r\n\r\n")).status, 431);
    assert_eq!(refusal(&"\r\n".repeat(MAX_REQUEST_BYTES)).status, 431);

    let headers = |n: usize| CHAT.replace("X-Bytes", &format!("{}X", "A: b\r\n".repeat(n)));
    assert_eq!(upgrade(&headers(91)).headers.len(), 100);
    assert_eq!(refusal(&headers(92)).status, 431);

    assert_eq!(parse(b"\x16\x03\x01\x02").unwrap_err().status, 400);
    assert_eq!(
        parse(b"GET / HTTP/1.1\nHost: a\n\n").unwrap_err().status,
        400
    );
}

#[test]
fn the_answer_names_only_an_offered_protocol() {
    let head = "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let mut upgrade = upgrade(CHAT);
    upgrade.protocols.push("a\r\nb".to_owned());
    for (protocol, line) in [
        (None, ""),
        (Some("wsd.v1"), "Sec-WebSocket-Protocol: wsd.v1\r\n"),
        (Some("other"), ""),
        (Some("WSD.V1"), ""),
        (Some("a\r\nb"), ""),
    ] {
        let mut out = Vec::new();
        accept(&upgrade, protocol, None, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{head}{line}\r\n"));
    }
}

#[test]
fn a_refusal_cannot_be_made_to_say_more() {
    let refusal = Refusal::new(302, "a\r\n\r\nb")
        .with("Location", "https://example.com/login")
        .with("Set-Cookie", "a=b\r\nX-Injected: 1")
        .with("X\r\nInjected", "1")
        .with("X Y", "1")
        .with("", "1")
        .with("Content-Length", "0")
        .with("transfer-encoding", "chunked")
        .with("Connection", "keep-alive")
        .with("Content-Type", "text/html\n");
    assert_eq!(
        encoded(&refusal),
        "HTTP/1.1 302 Found\r\n\
         Connection: close\r\n\
         Content-Length: 6\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Location: https://example.com/login\r\n\
         \r\n\
         a\r\n\r\nb"
    );
    let json = Refusal::new(401, "{}").with("content-type", "application/json");
    assert_eq!(
        encoded(&json),
        "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 2\r\n\
         content-type: application/json\r\n\r\n{}"
    );
    for (status, line) in [
        (499, "HTTP/1.1 499 Refused\r\n"),
        (200, "HTTP/1.1 500 Internal Server Error\r\n"),
        (999, "HTTP/1.1 500 Internal Server Error\r\n"),
    ] {
        assert!(encoded(&Refusal::new(status, "")).starts_with(line));
    }
}

#[test]
fn no_byte_in_the_wrong_place_panics() {
    let mut dice = Dice(2);
    for _ in 0..20_000 {
        let mut request = CHAT.as_bytes().to_vec();
        for _ in 0..=dice.below(3) {
            let at = dice.below(request.len());
            match dice.below(4) {
                0 => drop(request.remove(at)),
                1 => request.insert(at, b"\r\n :,\0\xff"[dice.below(7)]),
                2 => request.truncate(at.max(1)),
                _ => request[at] = dice.roll().to_le_bytes()[0],
            }
        }
        if let Ok(Some((upgrade, size))) = parse(&request) {
            assert!(size <= request.len() && upgrade.path.starts_with('/'));
        }
    }
}
