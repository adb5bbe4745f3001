//! Opening a connection: what is answered to right and wrong handshakes.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{
    Client, DEADLINE, Message, Request, SAMPLE_KEY, Stream, Wsd, eventually, frame,
};

#[test]
fn handshake_is_answered_with_the_accept_key_of_the_rfc() {
    let wsd = Wsd::start("");
    let client = wsd.client("/chat");
    let answer = &client.answer;
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert!(
        answer
            .header("upgrade")
            .unwrap()
            .eq_ignore_ascii_case("websocket")
    );
    assert!(
        answer
            .header("connection")
            .unwrap()
            .eq_ignore_ascii_case("upgrade")
    );
    assert_eq!(answer.header("sec-websocket-protocol"), None);
}

#[test]
fn request_that_comes_byte_by_byte_is_answered() {
    let wsd = Wsd::start("");
    let mut stream = Stream::tcp(wsd.address());
    let bytes = Request::websocket("/chat").bytes();
    let (last, head) = bytes.split_last().unwrap();
    for byte in head {
        stream.write_all(&[*byte]).unwrap();
    }
    let client = Client::open_with(stream, &[*last]);
    assert_eq!(client.answer.status, 101);
}

#[test]
fn message_right_behind_the_request_is_taken() {
    let wsd = Wsd::start("");
    let mut listener = wsd.client("/chat");
    let mut bytes = Request::websocket("/chat").bytes();
    bytes.extend_from_slice(&frame(0x81, b"early"));
    let mut eager = Client::open_with(Stream::tcp(wsd.address()), &bytes);
    assert_eq!(eager.answer.status, 101);
    eager.expect("early");
    listener.expect("early");
}

#[test]
fn header_names_and_tokens_are_compared_without_case() {
    let wsd = Wsd::start("");
    let request = format!(
        "GET /chat HTTP/1.1\r\nhOST: x\r\nUPGRADE: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n\
         sec-websocket-version: 13\r\nSEC-WEBSOCKET-KEY: {SAMPLE_KEY}\r\n\r\n"
    );
    let client = Client::open_with(Stream::tcp(wsd.address()), request.as_bytes());
    assert_eq!(client.answer.status, 101);
}

#[test]
fn first_offered_subprotocol_is_chosen() {
    let wsd = Wsd::start("");
    let request = Request::websocket("/chat").header("Sec-WebSocket-Protocol", "superchat, chat");
    let client = Client::open(Stream::tcp(wsd.address()), &request);
    assert_eq!(
        client.answer.header("sec-websocket-protocol"),
        Some("superchat")
    );
}

#[test]
fn plain_request_is_told_to_upgrade() {
    let wsd = Wsd::start("");
    let answer = wsd.handshake(&Request::new("GET", "/chat"));
    assert_eq!(answer.status, 426, "{answer:?}");
    assert!(
        answer
            .header("upgrade")
            .unwrap()
            .eq_ignore_ascii_case("websocket")
    );
}

#[test]
fn other_version_is_told_which_one_is_spoken() {
    let wsd = Wsd::start("");
    let request = Request::websocket("/chat").header("Sec-WebSocket-Version", "8");
    let answer = wsd.handshake(&request);
    assert_eq!(answer.status, 426, "{answer:?}");
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
}

#[test]
fn request_without_a_key_is_bad() {
    let wsd = Wsd::start("");
    let request = Request::websocket("/chat").without("Sec-WebSocket-Key");
    assert_eq!(wsd.handshake(&request).status, 400);
}

#[test]
fn key_that_is_no_16_bytes_in_base64_is_bad() {
    let wsd = Wsd::start("");
    for key in [
        "",
        "short",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "!!!!!!!!!!!!!!!!!!!!!!==",
    ] {
        let request = Request::websocket("/chat").header("Sec-WebSocket-Key", key);
        assert_eq!(wsd.handshake(&request).status, 400, "{key:?}");
    }
}

#[test]
fn bytes_that_are_no_http_are_bad() {
    let wsd = Wsd::start("");
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /chat HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /chat HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    ] {
        let client = Client::open_with(Stream::tcp(wsd.address()), bytes);
        assert_eq!(client.answer.status, 400, "{bytes:?}");
    }
    wsd.client("/chat");
}

#[test]
fn other_methods_are_not_allowed() {
    let wsd = Wsd::start("");
    for method in ["POST", "PUT", "DELETE"] {
        let answer = wsd.handshake(&Request::new(method, "/chat").body(b""));
        assert_eq!(answer.status, 405, "{answer:?}");
        assert_eq!(answer.header("allow"), Some("GET"));
    }
}

#[test]
fn head_that_is_too_large_is_refused() {
    let wsd = Wsd::start("");
    let request = Request::websocket("/chat").header("X-Large", &"x".repeat(64 << 10));
    assert_eq!(wsd.handshake(&request).status, 431);
    wsd.client("/chat");
}

#[test]
fn path_of_no_route_is_not_found() {
    let wsd = Wsd::start("[[route]]\npath = \"/chat\"\nchannel = \"chat\"\n");
    for path in ["/", "/chatter", "/chat/", "/chat/x", "/Chat"] {
        assert_eq!(
            wsd.handshake(&Request::websocket(path)).status,
            404,
            "{path}"
        );
    }
    wsd.client("/chat?token=x");
    wsd.client("/%63hat");
}

#[test]
fn path_that_makes_no_channel_is_not_found() {
    let wsd = Wsd::start("");
    for path in [
        "/a%20b",
        "/%24own",
        "/%ff",
        "/a%0Ab",
        "/%zz",
        &format!("/{}", "x".repeat(256)),
    ] {
        assert_eq!(
            wsd.handshake(&Request::websocket(path)).status,
            404,
            "{path}"
        );
    }
}

#[test]
fn silent_connection_is_let_go_after_the_handshake_timeout() {
    let wsd = Wsd::start("[listen]\nhandshake_timeout = \"200ms\"\n");
    let mut silent = TcpStream::connect(wsd.address()).unwrap();
    let mut halfway = TcpStream::connect(wsd.address()).unwrap();
    halfway
        .write_all(b"GET /chat HTTP/1.1\r\nHost: x\r\n")
        .unwrap();
    for stream in [&mut silent, &mut halfway] {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // Perhaps an answer that says so, in any case the end.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "),
            "{rest:?}"
        );
    }
    eventually!(wsd.metric("wsd_refused_total{reason=\"timeout\"}") == 2);
}

#[test]
fn connection_that_ends_within_the_handshake_costs_nothing() {
    let wsd = Wsd::start("");
    for _ in 0..50 {
        let mut stream = TcpStream::connect(wsd.address()).unwrap();
        stream.write_all(b"GET /chat HT").unwrap();
    }
    let mut client = wsd.client("/chat");
    client.text("still here");
    client.expect("still here");
    eventually!(wsd.metric("wsd_connections") == 1);
}

#[test]
fn refused_handshakes_are_counted_by_reason() {
    let wsd = Wsd::start("[[route]]\npath = \"/chat\"\nchannel = \"chat\"\n");
    wsd.handshake(&Request::websocket("/other"));
    wsd.handshake(&Request::new("GET", "/chat"));
    wsd.client("/chat");
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"no_route\"}"), 1);
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"bad_request\"}"), 1);
    assert_eq!(wsd.metric("wsd_accepted_total"), 1);
}

#[test]
fn client_gets_nothing_of_what_was_before_and_all_of_what_comes_after() {
    let wsd = Wsd::start("");
    let mut sender = wsd.client("/chat");
    sender.text("before");
    sender.expect("before");
    let mut late = wsd.client("/chat");
    sender.text("after");
    late.expect("after");
    assert_eq!(sender.next(), Message::text("after"));
}
