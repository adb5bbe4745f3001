//! Where connections come from: the PROXY protocol, forwarding headers, and who is believed.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};

use crate::support::{Client, Message, Request, Site, Stream, Wsd, eventually};

/// Tells each client what scripts see of where it comes from.
const TELL: &str = "function on_connect(conn) conn:send(conn.ip .. ' ' .. conn.port .. ' ' .. tostring(conn.secure)) end";

const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn node(listen: &str) -> Wsd {
    Wsd::with_hooks(&format!("[listen]\n{listen}\n"), &[("h.lua", TELL)])
}

/// Loopback address number `n`.
fn source(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, n).into()
}

/// A client whose first bytes are `before` its request.
fn opened(stream: Stream, before: &[u8], request: &Request) -> Client {
    let client = Client::open_with(stream, &[before, &request.bytes()].concat());
    assert_eq!(client.answer.status, 101, "{:?}", client.answer);
    client
}

/// What a node says that it sees of a client behind `before`.
#[track_caller]
fn seen(wsd: &Wsd, before: &[u8], request: &Request) -> String {
    opened(Stream::tcp(wsd.address()), before, request).next_text()
}

fn chat() -> Request {
    Request::websocket("/chat")
}

/// A header of version 2 that speaks for 192.0.2.1:4711, with these extensions.
fn binary(command: u8, extensions: &[u8]) -> Vec<u8> {
    let body = [&[192, 0, 2, 1, 127, 0, 0, 1, 0x12, 0x67, 0, 80], extensions].concat();
    let len = u16::try_from(body.len()).unwrap();
    [BINARY, &[command, 0x11], &len.to_be_bytes(), &body].concat()
}

#[test]
fn proxy_header_of_either_version_names_the_client() {
    let wsd = node("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]");
    for (header, ip) in [
        (
            &b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n"[..],
            "192.0.2.1 4711 false",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n",
            "2001:db8::1 4711 false",
        ),
        (
            b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4711 80\r\n",
            "192.0.2.1 4711 false",
        ),
        (&binary(0x21, b""), "192.0.2.1 4711 false"),
        (
            &binary(0x21, b"\x04\0\x03abc\x05\0\x01x"),
            "192.0.2.1 4711 false",
        ),
        (
            &binary(0x21, b"\x20\0\x05\x01\0\0\0\0"),
            "192.0.2.1 4711 true",
        ),
    ] {
        assert_eq!(seen(&wsd, header, &chat()), ip, "{header:x?}");
    }
    // For itself, or for somebody it cannot name.
    for header in [&b"PROXY UNKNOWN\r\n"[..], &binary(0x20, b"")] {
        let text = seen(&wsd, header, &chat());
        assert!(text.starts_with("127.0.0.1 "), "{text}");
    }
}

#[test]
fn proxy_header_may_come_byte_by_byte_and_without_a_request() {
    let wsd = node("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let mut slow = Stream::tcp(wsd.address());
    for byte in b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n" {
        slow.write_all(&[*byte]).unwrap();
    }
    assert_eq!(opened(slow, b"", &chat()).next_text(), "192.0.2.1 1 false");
    // A health check says LOCAL, or nothing at all, and goes.
    let mut check = Stream::tcp(wsd.address());
    check.write_all(&binary(0x20, b"")).unwrap();
    drop(check);
    drop(Stream::tcp(wsd.address()));
    seen(&wsd, &binary(0x21, b""), &chat());
    assert!(!wsd.log().contains("refused"), "{}", wsd.log());
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"proxy_header\"}"), 0);
}

#[test]
fn what_is_no_proxy_header_is_closed_without_an_answer_and_logged() {
    let wsd = node("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let mut witness = opened(Stream::tcp(wsd.address()), &binary(0x21, b""), &chat());
    witness.next_text();
    let too_long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    let cases: [(&[u8], &str); 6] = [
        (&chat().bytes(), "does not begin with a PROXY header"),
        (
            b"PROXY TCP4 192.0.2.1 127.0.0.1 +80 80\r\n",
            "the PROXY header is not",
        ),
        (too_long.as_bytes(), "the PROXY header is too long"),
        (
            &[BINARY, b"\x31\x11\0\x0c"].concat(),
            "the PROXY header's version",
        ),
        (
            &[BINARY, b"\x21\x77\0\x0c"].concat(),
            "kind of address is unknown",
        ),
        (
            &[BINARY, b"\x21\x21\0\x0c"].concat(),
            "shorter than the addresses",
        ),
    ];
    for (bytes, why) in cases {
        let mut stream = Stream::tcp(wsd.address());
        stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        // The end, or a reset of what was not read.
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"", "{why}");
        let line = wsd.wait_log(why);
        assert!(
            line.contains("127.0.0.1") && line.contains("listen.proxy_protocol"),
            "{line}"
        );
    }
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"proxy_header\"}"), 6);
    witness.text("still here");
    witness.expect("still here");
}

#[test]
fn proxy_header_counts_in_the_handshake_timeout() {
    let wsd = node(
        "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]\nhandshake_timeout = \"300ms\"",
    );
    for part in [&b"PROXY TC"[..], &binary(0x21, b"")[..20], b""] {
        let mut stream = Stream::tcp(wsd.address());
        stream.write_all(part).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
    wsd.wait_log("the PROXY header did not come in time");
    // Behind a header that came the request has an answer, and no more time than that.
    let mut stream = Stream::tcp(wsd.address());
    stream.write_all(&binary(0x21, b"")).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"timeout\"}"), 4);
}

#[test]
fn proxy_header_of_a_stranger_is_refused_and_told_once() {
    let wsd = node("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.9\"]");
    for header in [
        &b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n"[..],
        &binary(0x21, b""),
    ] {
        let stream = Stream::tcp(wsd.address());
        let client = Client::open_with(stream, &[header, &chat().bytes()].concat());
        assert_eq!(client.answer.status, 400, "{:?}", client.answer);
    }
    wsd.wait_log("listen.trusted_proxies");
    assert_eq!(
        wsd.log().matches("not in listen.trusted_proxies").count(),
        1
    );
    // It may come as a client like any other.
    assert!(seen(&wsd, b"", &chat()).starts_with("127.0.0.1 "));
    let proxy = Stream::tcp_from(source(9), wsd.address());
    assert_eq!(
        opened(proxy, &binary(0x21, b""), &chat()).next_text(),
        "192.0.2.1 4711 false"
    );
}

#[test]
fn proxy_header_where_none_is_expected_is_refused() {
    let wsd = node("trusted_proxies = [\"127.0.0.0/8\"]");
    let bytes = [&binary(0x21, b""), &chat().bytes()[..]].concat();
    let client = Client::open_with(Stream::tcp(wsd.address()), &bytes);
    assert_eq!(client.answer.status, 400, "{:?}", client.answer);
    assert!(client.answer.body.contains("listen.proxy_protocol"));
}

#[test]
fn forwarded_for_of_a_trusted_proxy_names_the_client() {
    let wsd = node("trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]");
    for (value, ip) in [
        ("192.0.2.1", "192.0.2.1 0 false"),
        ("6.6.6.6, 192.0.2.1, 10.1.1.1", "192.0.2.1 0 false"),
        ("[2001:db8::1]:4711", "2001:db8::1 4711 false"),
        ("::ffff:192.0.2.1", "192.0.2.1 0 false"),
    ] {
        let request = chat().header("X-Forwarded-For", value);
        assert_eq!(seen(&wsd, b"", &request), ip, "{value}");
    }
    let request = chat()
        .header("X-Forwarded-For", "6.6.6.6")
        .also("X-Forwarded-For", "192.0.2.1")
        .header("X-Forwarded-Proto", "https");
    assert_eq!(seen(&wsd, b"", &request), "192.0.2.1 0 true");
    // What cannot be read is nobody's address.
    let request = chat().header("X-Forwarded-For", "192.0.2.1, unknown");
    assert!(seen(&wsd, b"", &request).starts_with("127.0.0.1 "));
}

#[test]
fn forwarded_for_of_a_stranger_is_not_believed_and_told_once() {
    let wsd = node("");
    for _ in 0..3 {
        let request = chat()
            .header("X-Forwarded-For", "192.0.2.1")
            .header("X-Forwarded-Proto", "https");
        let text = seen(&wsd, b"", &request);
        assert!(
            text.starts_with("127.0.0.1 ") && text.ends_with(" false"),
            "{text}"
        );
    }
    let line = wsd.wait_log("listen.trusted_proxies");
    assert!(line.contains("127.0.0.1"), "{line}");
    assert_eq!(wsd.log().matches("listen.trusted_proxies").count(), 1);
}

#[test]
fn unix_socket_is_always_trusted() {
    for (listen, before) in [
        ("", &b""[..]),
        ("proxy_protocol = true\n", b"PROXY UNKNOWN\r\n"),
    ] {
        let site = Site::new("", &[("h.lua", TELL)]);
        let path = site.path("ws.sock");
        let address = format!("addresses = [\"unix:{}\"]", path.display());
        site.write_config(&format!("[listen]\n{address}\n{listen}"));
        let wsd = Wsd::on(site);
        let open = |before: &[u8], request: &Request| {
            opened(Stream::unix(&path), before, request).next_text()
        };
        assert_eq!(open(before, &chat()), " 0 false");
        let request = chat()
            .header("X-Forwarded-For", "6.6.6.6, 192.0.2.1")
            .header("X-Forwarded-Proto", "https");
        assert_eq!(open(before, &request), "192.0.2.1 0 true");
        if !before.is_empty() {
            assert_eq!(open(&binary(0x21, b""), &request), "192.0.2.1 4711 false");
        }
        assert!(!wsd.log().contains("trusted_proxies"));
    }
}

#[test]
fn reload_changes_who_is_trusted_for_those_that_come_after_it() {
    let wsd = node("");
    let request = chat().header("X-Forwarded-For", "192.0.2.1");
    let mut before = opened(Stream::tcp(wsd.address()), b"", &request);
    assert!(before.next_text().starts_with("127.0.0.1 "));
    wsd.write_config("[listen]\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    wsd.reload();
    assert_eq!(seen(&wsd, b"", &request), "192.0.2.1 0 false");
    wsd.write_config("[listen]\ntrusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = true\n");
    wsd.reload();
    assert_eq!(
        seen(&wsd, &binary(0x21, b""), &request),
        "192.0.2.1 4711 false"
    );
    before.text("still here");
    before.expect("still here");
}

#[test]
fn connections_are_counted_by_the_address_they_come_from() {
    let wsd = node("trusted_proxies = [\"127.0.0.9\"]\n[limits]\nconnections_per_address = 2\n");
    let direct = |n| Client::try_open(Stream::tcp_from(source(n), wsd.address()), &chat());
    let kept: Vec<Client> = (0..2).map(|_| direct(2)).collect();
    assert!(kept.iter().all(|client| client.answer.status == 101));
    let refused = direct(2).answer;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(direct(3).answer.status, 101);
    // The same address behind the proxy is the same address, and so is its neighbour in IPv6.
    let behind = |ip: &str| {
        let stream = Stream::tcp_from(source(9), wsd.address());
        Client::try_open(stream, &chat().header("X-Forwarded-For", ip))
    };
    assert_eq!(behind("127.0.0.2").answer.status, 429);
    let v6: Vec<Client> = ["2001:db8::1", "2001:db8::2"]
        .into_iter()
        .map(behind)
        .collect();
    assert!(v6.iter().all(|client| client.answer.status == 101));
    assert_eq!(behind("2001:db8::3").answer.status, 429);
    assert_eq!(behind("2001:db8:0:1::3").answer.status, 101);
    // The proxy itself is not counted.
    let own = |_| Client::try_open(Stream::tcp_from(source(9), wsd.address()), &chat());
    assert!((0..5).map(own).all(|client| client.answer.status == 101));
    let series = "wsd_refused_total{reason=\"connections_per_address\"}";
    assert_eq!(wsd.metric(series), 3);
    wsd.wait_log("handshake refused: 429 too many connections from this address");
    drop(kept);
    eventually!(direct(2).answer.status == 101);
}

#[test]
fn clients_without_an_address_are_not_counted() {
    let site = Site::new("", &[]);
    let path = site.path("ws.sock");
    site.write_config(&format!(
        "[listen]\naddresses = [\"unix:{}\"]\n[limits]\nconnections_per_address = 1\n",
        path.display()
    ));
    let _wsd = Wsd::on(site);
    let mut clients: Vec<Client> = (0..5)
        .map(|_| Client::open(Stream::unix(&path), &chat()))
        .collect();
    clients[0].text("all here");
    for client in &mut clients {
        assert_eq!(client.next(), Message::text("all here"));
    }
}
