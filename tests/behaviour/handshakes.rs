//! Handshakes that are wrong in every way there is: each has its answer, and a witness notices nothing.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::{Client, Message, Request, SAMPLE_KEY, Stream, Wsd, frame};

/// A node and a client of it that must not notice what others do.
struct Scene {
    wsd: Wsd,
    witness: Client,
}

impl Scene {
    fn new(config: &str) -> Self {
        let wsd = Wsd::start(config);
        let witness = wsd.client("/witness");
        Self { wsd, witness }
    }

    /// Sends these bytes on a connection of their own; the answer's status. The witness is asked after each.
    #[track_caller]
    fn status(&mut self, bytes: &[u8]) -> u16 {
        let status = Client::open_with(Stream::tcp(self.wsd.address()), bytes)
            .answer
            .status;
        self.ask_witness();
        status
    }

    /// Compares the status of each of these.
    #[track_caller]
    fn all(&mut self, cases: &[(&str, Vec<u8>, u16)]) {
        for (what, bytes, expected) in cases {
            assert_eq!(self.status(bytes), *expected, "{what}");
        }
    }

    #[track_caller]
    fn ask_witness(&mut self) {
        self.witness.text("still here");
        self.witness.expect("still here");
    }
}

fn good() -> Request {
    Request::websocket("/chat")
}

/// The good request with these lines besides, as they are.
fn with_lines(lines: &str) -> Vec<u8> {
    let text = String::from_utf8(good().bytes()).unwrap();
    let head = text.strip_suffix("\r\n").unwrap();
    format!("{head}{lines}\r\n").into_bytes()
}

/// The good request with another first line.
fn with_first_line(line: &str) -> Vec<u8> {
    let text = String::from_utf8(good().bytes()).unwrap();
    let (_, rest) = text.split_once("\r\n").unwrap();
    format!("{line}\r\n{rest}").into_bytes()
}

#[test]
fn headers_that_are_missing_doubled_or_too_long_are_refused() {
    let mut scene = Scene::new("");
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = "x".repeat(20 << 10);
    scene.all(&[
        ("no Host", good().without("Host").bytes(), 400),
        ("no Upgrade", good().without("Upgrade").bytes(), 426),
        ("no Connection", good().without("Connection").bytes(), 400),
        ("no key", good().without("Sec-WebSocket-Key").bytes(), 400),
        (
            "no version",
            good().without("Sec-WebSocket-Version").bytes(),
            426,
        ),
        ("two hosts", good().also("Host", "localhost").bytes(), 400),
        (
            "two keys",
            good().also("Sec-WebSocket-Key", SAMPLE_KEY).bytes(),
            400,
        ),
        (
            "two versions",
            good().also("Sec-WebSocket-Version", "13").bytes(),
            400,
        ),
        (
            "two origins",
            good()
                .also("Origin", "a://b")
                .also("Origin", "a://b")
                .bytes(),
            400,
        ),
        (
            "other upgrade",
            good().header("Upgrade", "h2c").bytes(),
            426,
        ),
        (
            "other connection",
            good().header("Connection", "close").bytes(),
            400,
        ),
        (
            "key of 15 bytes",
            good()
                .header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA")
                .bytes(),
            400,
        ),
        (
            "host with a path",
            good().header("Host", "a/b").bytes(),
            400,
        ),
        (
            "host with a space",
            good().header("Host", "a b").bytes(),
            400,
        ),
        (
            "a protocol that is no token",
            good().header("Sec-WebSocket-Protocol", "a b").bytes(),
            400,
        ),
        ("long value", good().header("X-Long", &long).bytes(), 431),
        ("long name", good().header(&long, "x").bytes(), 431),
        (
            "long target",
            Request::websocket(&format!("/{long}")).bytes(),
            431,
        ),
        ("many headers", with_lines(&many), 431),
        (
            "as many as may be",
            with_lines(&many[..many.find("X-95").unwrap()]),
            101,
        ),
    ]);
}

#[test]
fn version_that_is_not_spoken_is_told_the_right_one() {
    let mut scene = Scene::new("");
    for version in ["0", "8", "12", "14", "13, 8", "013", "+13", "1 3", ""] {
        let request = good().header("Sec-WebSocket-Version", version);
        let answer = scene.wsd.handshake(&request);
        assert_eq!(answer.status, 426, "{version:?}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
    scene.ask_witness();
}

#[test]
fn other_protocols_methods_and_targets_are_refused() {
    let mut scene = Scene::new("");
    let cases = [
        ("GET /chat HTTP/1.0", 505),
        ("GET /chat HTTP/2.0", 505),
        ("GET /chat HTTP/1.2", 505),
        ("GET /chat HTTP/11", 505),
        ("GET /chat http/1.1", 400),
        ("GET /chat", 400),
        ("GET  /chat HTTP/1.1", 400),
        ("GET /chat  HTTP/1.1", 400),
        ("GET\t/chat HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        (" GET /chat HTTP/1.1", 400),
        ("G@T /chat HTTP/1.1", 400),
        ("get /chat HTTP/1.1", 405),
        ("POST /chat HTTP/1.1", 405),
        ("CONNECT localhost:80 HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 405),
        ("GET * HTTP/1.1", 400),
        ("GET localhost:80 HTTP/1.1", 400),
        ("GET chat HTTP/1.1", 400),
        ("GET ftp://localhost/chat HTTP/1.1", 400),
        ("GET http:///chat HTTP/1.1", 400),
        ("GET http://local host/chat HTTP/1.1", 400),
        ("GET /chat#top HTTP/1.1", 400),
        ("GET /ch\u{e4}t HTTP/1.1", 400),
        ("GET http://localhost/chat HTTP/1.1", 101),
        ("GET wss://other.example:8443/chat?a=b HTTP/1.1", 101),
        ("GET //chat HTTP/1.1", 101),
    ];
    for (line, expected) in cases {
        assert_eq!(scene.status(&with_first_line(line)), expected, "{line:?}");
    }
}

#[test]
fn lines_that_others_in_the_chain_may_read_otherwise_are_refused() {
    let mut scene = Scene::new("");
    let good_text = String::from_utf8(good().bytes()).unwrap();
    scene.all(&[
        (
            "bare line feeds",
            good_text.replace("\r\n", "\n").into_bytes(),
            400,
        ),
        ("one bare line feed", with_lines("X: 1\nY: 2\r\n"), 400),
        ("bare carriage return", with_lines("X: 1\rY: 2\r\n"), 400),
        ("carriage return at the end", with_lines("X: 1\r\r\n"), 400),
        ("NUL in a value", with_lines("X: a\0b\r\n"), 400),
        ("NUL in a name", with_lines("X\0Y: 1\r\n"), 400),
        (
            "NUL in the target",
            with_first_line("GET /a\0b HTTP/1.1"),
            400,
        ),
        ("control character", with_lines("X: a\x07b\r\n"), 400),
        ("folded line", with_lines("X: a\r\n b\r\n"), 400),
        ("folded with a tab", with_lines("X: a\r\n\tb\r\n"), 400),
        ("space before the colon", with_lines("X : 1\r\n"), 400),
        ("no colon", with_lines("X\r\n"), 400),
        ("no name", with_lines(": 1\r\n"), 400),
        ("name with a space", with_lines("X Y: 1\r\n"), 400),
        (
            "empty lines before",
            [b"\r\n\r\n".to_vec(), good().bytes()].concat(),
            101,
        ),
        (
            "TLS",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 and so on\r\n\r\n".to_vec(),
            400,
        ),
    ]);
}

#[test]
fn bodies_and_what_may_hide_a_second_request_are_refused() {
    let mut scene = Scene::new("");
    let inner = "GET /secret HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = format!("Content-Length: {}\r\n", inner.len());
    let smuggled = |lines: &str| [with_lines(lines), inner.as_bytes().to_vec()].concat();
    scene.all(&[
        ("body", good().body(b"hello").bytes(), 400),
        ("chunks", smuggled("Transfer-Encoding: chunked\r\n"), 400),
        (
            "length and chunks",
            smuggled(&format!("{length}Transfer-Encoding: chunked\r\n")),
            400,
        ),
        (
            "no chunks after all",
            smuggled("Transfer-Encoding: identity\r\n"),
            400,
        ),
        (
            "chunks in capitals",
            smuggled("TRANSFER-ENCODING: xchunked\r\n"),
            400,
        ),
        (
            "chunks behind a space",
            smuggled("Transfer-Encoding : chunked\r\n"),
            400,
        ),
        (
            "chunks on a folded line",
            smuggled("Transfer-Encoding:\r\n chunked\r\n"),
            400,
        ),
        (
            "length with a sign",
            smuggled("Content-Length: +0\r\n"),
            400,
        ),
        (
            "length in a list",
            smuggled("Content-Length: 0, 5\r\n"),
            400,
        ),
        (
            "two lengths",
            smuggled(&format!("Content-Length: 0\r\n{length}")),
            400,
        ),
        ("length 00", smuggled("Content-Length: 00\r\n"), 400),
        ("length 0", with_lines("Content-Length: 0\r\n"), 101),
    ]);
    // A second request is no second request: it is frames, and wrong ones.
    let both = [good().bytes(), good().bytes()].concat();
    let mut client = Client::open_with(Stream::tcp(scene.wsd.address()), &both);
    assert_eq!(client.answer.status, 101);
    assert!(matches!(client.next(), Message::Close(1002, _)));
    assert_eq!(client.next(), Message::End);
    scene.ask_witness();
}

#[test]
fn frames_behind_the_request_count_in_any_pieces() {
    let mut scene = Scene::new("");
    let bytes = [good().bytes(), frame(0x81, b"one"), frame(0x81, b"two")].concat();
    for cut in [
        bytes.len() - 1,
        bytes.len() - 9,
        bytes.len() - 17,
        good().bytes().len() - 1,
    ] {
        let (first, second) = bytes.split_at(cut);
        let mut stream = Stream::tcp(scene.wsd.address());
        stream.write_all(first).unwrap();
        let mut client = Client::open_with(stream, second);
        client.expect("one");
        client.expect("two");
        client.close();
    }
    // Behind a request that is refused they are nothing.
    let refused = [
        good().without("Sec-WebSocket-Key").bytes(),
        frame(0x81, b"x"),
    ]
    .concat();
    assert_eq!(scene.status(&refused), 400);
}

#[test]
fn slow_senders_have_the_handshake_timeout_and_no_more() {
    let mut scene = Scene::new("[listen]\nhandshake_timeout = \"500ms\"\n");
    let start = Instant::now();
    let mut stream = Stream::tcp(scene.wsd.address());
    let bytes = [good().bytes(), vec![b'x'; 10_000]].concat();
    // A byte each 20 ms, never a whole request: the first bytes do not begin the time anew.
    let end = bytes.iter().take(good().bytes().len() - 2).find(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        stream.write_all(&[**byte]).is_err() || start.elapsed() > Duration::from_secs(2)
    });
    assert!(end.is_some());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    assert_eq!(scene.wsd.metric("wsd_refused_total{reason=\"timeout\"}"), 1);
    scene.ask_witness();
}

#[test]
fn paths_that_are_no_channel_are_not_found() {
    let mut scene = Scene::new("");
    let longest = "x".repeat(255);
    for (path, expected) in [
        ("/%", 404),
        ("/%z", 404),
        ("/%zz", 404),
        ("/%4", 404),
        ("/%00", 404),
        ("/a%00b", 404),
        ("/a%0d%0ab", 404),
        ("/a%0Ab", 404),
        ("/a%7f", 404),
        ("/a%C2%85", 404),
        ("/a%20b", 404),
        ("/%c3%28", 404),
        ("/%ed%a0%80", 404),
        ("/%24own", 404),
        ("/$own", 404),
        (&*format!("/{longest}x"), 404),
        (&*format!("/{}", "%c3%a4".repeat(128)), 404),
        (&*format!("/{longest}"), 101),
        (&*format!("/{}", "%c3%a4".repeat(127)), 101),
    ] {
        assert_eq!(
            scene.status(&Request::websocket(path).bytes()),
            expected,
            "{path}"
        );
    }
}

#[test]
fn signs_with_a_meaning_elsewhere_have_none_in_a_channel_s_name() {
    let wsd =
        Wsd::start("[[channel]]\nmatch = \"room:*\"\ndelivery = { format = \"json-array\" }\n");
    let mut chat = wsd.client("/chat");
    let names = [
        "*",
        "ch*t",
        "c[h]at",
        "%3Fhat",
        "../chat",
        "./chat",
        "x/../chat",
        "chat/",
        "CHAT",
    ];
    let mut others: Vec<Client> = names
        .iter()
        .map(|name| wsd.client(&format!("/{name}")))
        .collect();
    chat.text("for chat alone");
    chat.expect("for chat alone");
    for (name, other) in names.iter().zip(&mut others) {
        let text = format!("for {name} alone");
        other.text(&text);
        other.expect(&text);
    }
    chat.text("and nothing of the others");
    chat.expect("and nothing of the others");
    // A rule's star stands for anything; a client's is a star.
    let mut star = wsd.client("/room:*");
    let mut room = wsd.client("/room:1");
    star.text("x");
    star.expect("[\"x\"]");
    room.text("y");
    room.expect("[\"y\"]");
}
