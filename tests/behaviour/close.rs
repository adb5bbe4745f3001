//! The end of a connection: close codes in both directions, violations of the protocol, dead peers.

use crate::support::{Client, Message, Wsd, eventually, frame};

/// Sends these bytes; the server must close with that code, and nobody else may feel it.
#[track_caller]
fn refused(wsd: &Wsd, witness: &mut Client, code: u16, bytes: &[u8]) {
    let mut client = wsd.client("/bad");
    client.raw(bytes);
    client.expect_close(code);
    witness.text("fine");
    witness.expect("fine");
}

#[test]
fn close_of_a_client_is_answered_with_its_code() {
    let wsd = Wsd::start("");
    for code in [1000, 1001, 3000, 4999] {
        let mut client = wsd.client("/chat");
        client.send_close(code, "bye");
        assert!(matches!(client.next(), Message::Close(got, _) if got == code));
        assert_eq!(client.next(), Message::End);
    }
}

#[test]
fn close_without_a_code_is_answered() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.raw(&frame(0x88, b""));
    assert!(matches!(client.next(), Message::Close(1000 | 1005, _)));
    assert_eq!(client.next(), Message::End);
}

#[test]
fn what_comes_after_a_close_is_not_published() {
    let wsd = Wsd::start("");
    let mut listener = wsd.client("/chat");
    let mut client = wsd.client("/chat");
    client.raw(&[frame(0x88, &1000_u16.to_be_bytes()), frame(0x81, b"late")].concat());
    assert!(matches!(client.next(), Message::Close(1000, _)));
    listener.text("first");
    listener.expect("first");
}

#[test]
fn violations_of_the_framing_are_closed_with_1002() {
    let wsd = Wsd::start("");
    let mut witness = wsd.client("/good");
    let unmasked = b"\x81\x02hi".to_vec();
    let cases = [
        ("unmasked", unmasked),
        ("reserved bit 1 without compression", frame(0xc1, b"x")),
        ("reserved bit 2", frame(0xa1, b"x")),
        ("reserved bit 3", frame(0x91, b"x")),
        ("data opcode 3", frame(0x83, b"x")),
        ("control opcode 11", frame(0x8b, b"x")),
        ("fragmented ping", frame(0x09, b"x")),
        ("long ping", frame(0x89, &[0; 126])),
        ("continuation of nothing", frame(0x80, b"x")),
        (
            "message within a message",
            [frame(0x01, b"x"), frame(0x81, b"y")].concat(),
        ),
        (
            "length with its highest bit",
            b"\x82\xff\x80\0\0\0\0\0\0\0abcd".to_vec(),
        ),
    ];
    for (name, bytes) in cases {
        eprintln!("{name}");
        refused(&wsd, &mut witness, 1002, &bytes);
    }
}

#[test]
fn close_frames_against_the_rules_are_closed_with_1002() {
    let wsd = Wsd::start("");
    let mut witness = wsd.client("/good");
    refused(&wsd, &mut witness, 1002, &frame(0x88, b"\x03"));
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        eprintln!("{code}");
        refused(&wsd, &mut witness, 1002, &frame(0x88, &code.to_be_bytes()));
    }
}

#[test]
fn text_that_is_no_utf8_is_closed_with_1007() {
    let wsd = Wsd::start("");
    let mut witness = wsd.client("/good");
    for bytes in [
        &b"\xff"[..],
        b"ab\xc3",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
    ] {
        refused(&wsd, &mut witness, 1007, &frame(0x81, bytes));
    }
    // A reason is text too.
    let reason = [&1000_u16.to_be_bytes()[..], b"\xff"].concat();
    refused(&wsd, &mut witness, 1007, &frame(0x88, &reason));
}

#[test]
fn text_that_cannot_become_utf8_is_refused_before_its_last_fragment() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/bad");
    client.raw(&frame(0x01, b"abc\xff"));
    client.expect_close(1007);
}

#[test]
fn message_over_the_limit_is_closed_with_1009_from_its_header() {
    let wsd = Wsd::start("[limits]\nmessage = \"1KiB\"\n");
    let mut client = wsd.client("/chat");
    client.text(&"x".repeat(1024));
    client.expect(&"x".repeat(1024));
    // The header of 1,025 bytes, and none of them.
    client.raw(&[0x82, 0xfe, 0x04, 0x01, 1, 2, 3, 4]);
    client.expect_close(1009);
}

#[test]
fn fragments_over_the_limit_together_are_closed_with_1009() {
    let wsd = Wsd::start("[limits]\nmessage = \"1KiB\"\n");
    let mut client = wsd.client("/chat");
    client.raw(&frame(0x02, &[0; 1000]));
    client.raw(&frame(0x00, &[0; 25]));
    client.expect_close(1009);
}

#[test]
fn dead_peer_is_pinged_and_then_let_go() {
    let wsd = Wsd::start("[heartbeat]\ninterval = \"100ms\"\ntimeout = \"100ms\"\n");
    let mut dead = wsd.client("/chat");
    assert!(matches!(dead.next(), Message::Ping(_)));
    let last = std::iter::repeat_with(|| dead.next()).find(|m| !matches!(m, Message::Ping(_)));
    assert!(
        matches!(last, Some(Message::End | Message::Close(..))),
        "{last:?}"
    );
    eventually!(wsd.metric("wsd_connections") == 0);
}

#[test]
fn peer_that_answers_pings_stays() {
    let wsd = Wsd::start("[heartbeat]\ninterval = \"50ms\"\ntimeout = \"10s\"\n");
    let mut client = wsd.client("/chat");
    for _ in 0..5 {
        let Message::Ping(data) = client.next() else {
            panic!("no ping");
        };
        client.pong(&data);
    }
    client.text("alive");
    let text = std::iter::repeat_with(|| client.next()).find(|m| !matches!(m, Message::Ping(_)));
    assert_eq!(text, Some(Message::text("alive")));
}

#[test]
fn end_of_a_connection_is_told_to_its_script_once_with_the_code() {
    let wsd = Wsd::with_hooks(
        "[[route]]\npath = \"/watch\"\nchannel = \"ends\"\nhooks = []\n\
         [[route]]\npath = \"/chat\"\nchannel = \"chat\"\n",
        &[(
            "h.lua",
            "function on_disconnect(conn, code, reason) wsd.publish('ends', code .. ' ' .. reason) end",
        )],
    );
    let mut watch = wsd.client("/watch");
    let mut polite = wsd.client("/chat");
    polite.send_close(4001, "had enough");
    watch.expect("4001 had enough");
    let lost = wsd.client("/chat");
    drop(lost);
    watch.expect("1006 ");
    let mut wrong = wsd.client("/chat");
    wrong.raw(b"\x81\x02hi");
    assert!(watch.next_text().starts_with("1002 "));
}

#[test]
fn half_closed_connection_is_ended() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.stream().shutdown_write();
    while !matches!(client.next(), Message::End) {}
    eventually!(wsd.metric("wsd_connections") == 0);
}
