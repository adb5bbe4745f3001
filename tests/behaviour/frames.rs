//! Frames that are wrong in every way there is, and those that are right and meant badly. A witness that says something all
//! the time and hears it notices nothing of any.

use std::io::Write;
use std::net::TcpStream;

use crate::crowds::{Witness, memory};
use crate::support::{Client, Message, Request, Stream, Wsd, deflate, eventually, frame};

/// What a client sends, and the code that it is closed with.
type Case = (&'static str, Vec<u8>, u16);

/// Sends each at once, and byte by byte as far as it is short; the outcome must be the same.
fn all(wsd: &Wsd, cases: &[Case]) {
    let witness = Witness::begin(wsd);
    for (what, bytes, code) in cases {
        let step = if bytes.len() < 200 { 1 } else { 1000 };
        for step in [bytes.len(), step] {
            let mut client = wsd.client("/bad");
            for piece in bytes.chunks(step.max(1)) {
                client.raw(piece);
            }
            match client.next() {
                Message::Close(got, _) => assert_eq!(got, *code, "{what}, {step} bytes at a time"),
                other => panic!("{what}, {step} bytes at a time: {other:?}"),
            }
        }
    }
    witness.end();
    eventually!(wsd.metric("wsd_connections") == 0);
    assert_eq!(wsd.metric("wsd_queue_bytes"), 0);
}

/// The header of a masked frame with its length in so many bytes.
fn header(first: u8, bytes: usize, length: u64) -> Vec<u8> {
    let marker = match bytes {
        2 => 126,
        _ => 127,
    };
    let mut header = vec![first, 0x80 | marker];
    header.extend_from_slice(&length.to_be_bytes()[8 - bytes..]);
    header.extend_from_slice(&[0; 4]);
    header
}

#[test]
fn headers_against_the_rules_are_closed_with_1002() {
    let wsd = Wsd::start("");
    let mut cases: Vec<Case> = vec![
        ("an unmasked text", b"\x81\x02hi".to_vec(), 1002),
        ("an unmasked ping", b"\x89\x00".to_vec(), 1002),
        ("an unmasked close", b"\x88\x02\x03\xe8".to_vec(), 1002),
        ("a ping of 126 bytes", frame(0x89, &[0; 126]), 1002),
        ("a close of 126 bytes", frame(0x88, &[3; 126]), 1002),
        ("a ping with 8 bytes of length", header(0x89, 8, 5), 1002),
        ("125 in two bytes", header(0x82, 2, 125), 1002),
        ("0 in two bytes", header(0x81, 2, 0), 1002),
        ("0 in eight bytes", header(0x81, 8, 0), 1002),
        ("65,535 in eight bytes", header(0x82, 8, 65_535), 1002),
        ("2^63", header(0x82, 8, 1 << 63), 1002),
        ("2^64 - 1", header(0x82, 8, u64::MAX), 1002),
        (
            "2^63 - 1, which is too big",
            header(0x82, 8, (1 << 63) - 1),
            1009,
        ),
        ("4 GiB", header(0x82, 8, 1 << 32), 1009),
        (
            "a fragmented close",
            frame(0x08, &1000_u16.to_be_bytes()),
            1002,
        ),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("a fragmented pong", frame(0x0a, b""), 1002),
    ];
    for bits in 1..8_u8 {
        for opcode in [0, 1, 2, 8, 9, 10] {
            let first = 0x80 | bits << 4 | opcode;
            cases.push(("reserved bits", frame(first, b""), 1002));
        }
    }
    for opcode in (3..8).chain(11..16) {
        cases.push(("an opcode nobody knows", frame(0x80 | opcode, b"x"), 1002));
        cases.push(("the same in fragments", frame(opcode, b"x"), 1002));
    }
    all(&wsd, &cases);
}

#[test]
fn fragments_in_the_wrong_order_are_closed_with_1002() {
    let wsd = Wsd::start("");
    let cases: [(&str, &[Vec<u8>]); 5] = [
        ("a continuation of nothing", &[frame(0x80, b"x")]),
        ("the same, unfinished", &[frame(0x00, b"")]),
        (
            "a continuation after the end",
            &[frame(0x01, b"x"), frame(0x80, b"y"), frame(0x80, b"z")],
        ),
        ("a text in a text", &[frame(0x01, b"x"), frame(0x81, b"y")]),
        (
            "a binary message in a text, behind a pong",
            &[frame(0x01, b"x"), frame(0x8a, b""), frame(0x02, b"y")],
        ),
    ];
    // What is published of them is published; nobody here listens to it but the client itself.
    let wsd = &wsd;
    let witness = Witness::begin(wsd);
    for (what, frames) in cases {
        let mut client = wsd.client("/bad");
        client.raw(&frames.concat());
        loop {
            match client.next() {
                Message::Text(text) => assert_eq!(text, "xy", "{what}"),
                Message::Close(code, _) => break assert_eq!(code, 1002, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    witness.end();
}

#[test]
fn text_is_refused_at_its_first_wrong_byte() {
    let wsd = Wsd::start("");
    let witness = Witness::begin(&wsd);
    for (what, bytes) in [
        ("a byte that never begins a character", &b"abc\xff"[..]),
        ("a continuation of none", b"\x80"),
        ("an overlong slash", b"\xc0\xaf"),
        ("an overlong NUL of three bytes", b"\xe0\x80"),
        ("a surrogate", b"\xed\xa0"),
        ("beyond the last character", b"\xf4\x90"),
        ("a character cut by another", b"\xe2\x82a"),
    ] {
        // In one frame of which nothing more comes, over two fragments, and with an announced rest.
        let (head, tail) = bytes.split_at(bytes.len() - 1);
        let unfinished = [&header(0x81, 2, 60_000)[..], bytes].concat();
        for sent in [
            frame(0x01, bytes),
            [frame(0x01, head), frame(0x00, b""), frame(0x00, tail)].concat(),
            unfinished,
        ] {
            let mut client = wsd.client("/bad");
            client.raw(&sent);
            // The message has no end yet: only the bytes themselves can be the reason.
            assert_eq!(client.expect_close(1007), "text is not UTF-8", "{what}");
        }
    }
    // What may still become a character is waited for.
    let mut client = wsd.client("/good");
    client.raw(&frame(0x01, b"\xf0\x9f"));
    client.sync();
    client.raw(&frame(0x80, b"\x98\x80"));
    client.expect("\u{1f600}");
    witness.end();
}

#[test]
fn codes_that_may_not_be_sent_are_closed_with_1002() {
    let wsd = Wsd::start("");
    let mut cases: Vec<Case> = vec![
        ("a body of one byte", frame(0x88, b"\x03"), 1002),
        (
            "a reason that is no text",
            frame(0x88, b"\x03\xe8\xc3\x28"),
            1007,
        ),
    ];
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16,
    ] {
        cases.push(("a close", frame(0x88, &code.to_be_bytes()), 1002));
    }
    // Those that may be sent are answered with themselves.
    for code in [
        1000, 1001, 1002, 1003, 1007, 1014, 3000, 3999, 4000, 4999_u16,
    ] {
        cases.push(("a close", frame(0x88, &code.to_be_bytes()), code));
    }
    all(&wsd, &cases);
}

#[test]
fn announced_gigabytes_take_no_memory() {
    let wsd = Wsd::start("[limits]\nmessage = \"1GiB\"\n");
    let witness = Witness::begin(&wsd);
    let before = memory(&wsd);
    let crowd: Vec<Client> = (0..100)
        .map(|i| {
            let mut client = wsd.client(&format!("/{i}"));
            client.raw(&header(0x82, 8, 1 << 30));
            client.raw(&[0; 100]);
            client
        })
        .collect();
    eventually!(wsd.metric("wsd_connections") == 101);
    let grown = memory(&wsd).saturating_sub(before);
    assert!(
        grown < 16 << 20,
        "{grown} bytes for what was only announced"
    );
    witness.end();
    drop(crowd);
    eventually!(wsd.metric("wsd_connections") == 0);
}

#[test]
fn hundred_thousand_empty_fragments_are_one_message() {
    let wsd = Wsd::start("");
    let witness = Witness::begin(&wsd);
    let mut client = wsd.client("/chat");
    let before = memory(&wsd);
    client.raw(&frame(0x01, b"a"));
    for _ in 0..100 {
        client.raw(&frame(0x00, b"").repeat(1000));
    }
    client.sync();
    let grown = memory(&wsd).saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
    client.raw(&frame(0x80, b"b"));
    client.expect("ab");
    witness.end();
}

#[test]
fn flood_of_pings_costs_the_others_nothing() {
    let wsd = Wsd::start("");
    let witness = Witness::begin(&wsd);
    let mut client = wsd.client("/chat");
    let mut other = Client::open(Stream::narrow(wsd.address()), &Request::websocket("/chat"));
    let pings = frame(0x89, b"0123456789").repeat(1000);
    for _ in 0..300 {
        client.raw(&pings);
        // Who floods and reads nothing has what waits bounded.
        other.raw(&pings);
        // What is read here keeps the first of them going.
        while client.has_more() {
            assert_eq!(client.next(), Message::Pong(b"0123456789".to_vec()));
        }
    }
    assert!(wsd.metric("wsd_queue_bytes") < 64 << 10);
    client.ping(b"last");
    loop {
        match client.next() {
            Message::Pong(data) if data == b"last" => break,
            Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
    witness.end();
}

#[test]
fn every_ping_is_answered_in_order_as_long_as_there_are_few() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    let pings: Vec<u8> = (0..10_u8).flat_map(|i| frame(0x89, &[i])).collect();
    client.raw(&pings);
    for i in 0..10_u8 {
        assert_eq!(client.next(), Message::Pong(vec![i]));
    }
}

#[test]
fn what_came_before_the_fault_is_published_and_heard() {
    let wsd = Wsd::start("");
    let mut listener = wsd.client("/chat");
    let mut client = wsd.client("/chat");
    client.raw(
        &[
            frame(0x81, b"before"),
            frame(0x83, b""),
            frame(0x81, b"after"),
        ]
        .concat(),
    );
    client.expect("before");
    assert_eq!(client.expect_close(1002), "unknown opcode");
    listener.expect("before");
    listener.text("mine");
    listener.expect("mine");
}

#[test]
fn what_came_before_a_hook_s_close_is_heard_before_it() {
    let wsd = Wsd::with_hook(
        "function on_message(conn, m)\n\
         if m == 'enough' then conn:close(4003, 'enough') return false end\nend",
    );
    let mut listener = wsd.client("/chat");
    let mut client = wsd.client("/chat");
    client.texts(&["one", "two", "enough", "three"]);
    client.expect("one");
    client.expect("two");
    assert_eq!(client.expect_close(4003), "enough");
    listener.expect("one");
    listener.expect("two");
}

#[test]
fn peers_that_are_half_closed_or_reset_are_let_go() {
    let wsd = Wsd::start("");
    let witness = Witness::begin(&wsd);
    // With half a frame, half a compressed message, or nothing under way.
    let data = deflate("x".repeat(1000).as_bytes());
    for unfinished in [&b""[..], &frame(0x81, b"half")[..5], &frame(0x41, &data)] {
        for ending in [End::Half, End::Reset] {
            for _ in 0..20 {
                let request = Request::websocket("/chat")
                    .header("Sec-WebSocket-Extensions", "permessage-deflate");
                let mut stream = TcpStream::connect(wsd.address()).unwrap();
                stream.write_all(&request.bytes()).unwrap();
                stream.write_all(unfinished).unwrap();
                match ending {
                    End::Half => stream.shutdown(std::net::Shutdown::Write).unwrap(),
                    End::Reset => {
                        let socket = socket2::SockRef::from(&stream);
                        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
                    }
                }
                drop(stream);
            }
        }
    }
    eventually!(wsd.metric("wsd_connections") == 1);
    witness.end();
    eventually!(wsd.metric("wsd_connections") == 0);
}

/// How a peer goes without a word.
#[derive(Clone, Copy)]
enum End {
    Half,
    Reset,
}
