//! permessage-deflate: what is agreed, who gets what compressed, and what a client can do wrong with it.

use crate::support::{Client, Message, Request, Stream, Wsd, deflate, eventually, frame};

const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What a browser offers.
const OFFER: &str = "permessage-deflate; client_max_window_bits";

fn offering(wsd: &Wsd, target: &str, offer: &str) -> Client {
    let request = Request::websocket(target).header("Sec-WebSocket-Extensions", offer);
    Client::open(Stream::tcp(wsd.address()), &request)
}

fn deflating(wsd: &Wsd, target: &str) -> Client {
    let client = offering(wsd, target, OFFER);
    assert_eq!(extensions(&client), Some(ANSWER));
    client
}

fn extensions(client: &Client) -> Option<&str> {
    client.answer.header("sec-websocket-extensions")
}

/// Text that gets shorter.
fn long() -> String {
    "say it again, ".repeat(100)
}

#[test]
fn offer_is_answered_without_context_takeover_in_both_directions() {
    let wsd = Wsd::start("");
    for (offer, answer) in [
        ("permessage-deflate", Some(ANSWER.to_owned())),
        (
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            Some(format!("{ANSWER}; server_max_window_bits=10")),
        ),
        (
            "permessage-deflate; server_max_window_bits=16, permessage-deflate",
            Some(ANSWER.to_owned()),
        ),
        ("permessage-deflate; unheard_of", None),
        ("permessage-bzip2", None),
    ] {
        let client = offering(&wsd, "/chat", offer);
        assert_eq!(extensions(&client), answer.as_deref(), "{offer}");
    }
    let lines = Request::websocket("/chat")
        .also("Sec-WebSocket-Extensions", "x-unknown; a=\"b\"")
        .also("Sec-WebSocket-Extensions", OFFER);
    let client = Client::open(Stream::tcp(wsd.address()), &lines);
    assert_eq!(extensions(&client), Some(ANSWER));
    assert_eq!(extensions(&wsd.client("/chat")), None);
}

#[test]
fn offer_against_the_grammar_is_answered_400() {
    let wsd = Wsd::start("");
    let request = Request::websocket("/chat").header("Sec-WebSocket-Extensions", "a; b=;");
    let answer = wsd.handshake(&request);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.starts_with("Sec-WebSocket-Extensions must be"));
}

#[test]
fn messages_are_compressed_for_those_who_agreed_and_for_nobody_else() {
    let wsd = Wsd::start("");
    let mut plain = wsd.client("/chat");
    let mut both = [deflating(&wsd, "/chat"), deflating(&wsd, "/chat")];
    let mut small_window = offering(
        &wsd,
        "/chat",
        "permessage-deflate; server_max_window_bits=9",
    );
    let text = long();
    for round in 0..3 {
        match round {
            0 => plain.text(&text),
            1 => both[0].deflated(&text),
            _ => small_window.deflated(&text),
        }
        for client in &mut both {
            client.expect(&text);
            assert!(client.compressed);
        }
        for client in [&mut plain, &mut small_window] {
            client.expect(&text);
            assert!(!client.compressed);
        }
    }
    // A binary message stays one, and what is short or does not get shorter goes as it is.
    both[0].raw(&frame(0xc2, &deflate(&[7; 1000])));
    let noise: Vec<u8> = (0..1000_u32)
        .map(|i| (i.wrapping_mul(i).wrapping_mul(0x9e37_79b9) >> 24).to_le_bytes()[0])
        .collect();
    both[0].binary(&noise);
    both[0].deflated("short");
    for (message, compressed) in [
        (Message::Binary(vec![7; 1000]), true),
        (Message::Binary(noise.clone()), false),
        (Message::text("short"), false),
    ] {
        assert_eq!(both[1].next(), message);
        assert_eq!(both[1].compressed, compressed);
        assert_eq!(plain.next(), message);
    }
}

#[test]
fn burst_stays_in_order_whatever_form_it_has() {
    let wsd = Wsd::start("[compression]\nmin_size = 300\n");
    let mut sender = deflating(&wsd, "/chat");
    let mut plain = wsd.client("/chat");
    let texts: Vec<String> = (0..200)
        .map(|i| format!("{i} {}", "ab".repeat(i * 7 % 400)))
        .collect();
    sender.texts(&texts);
    for text in &texts {
        sender.expect(text);
        assert_eq!(sender.compressed, text.len() >= 300);
        plain.expect(text);
    }
}

#[test]
fn sender_without_echo_gets_the_compressed_frames_around_its_own() {
    let wsd = Wsd::start("[[route]]\npath = \"/{channel}\"\necho = false\n");
    let mut one = deflating(&wsd, "/chat");
    let mut other = deflating(&wsd, "/chat");
    let text = long();
    for i in 0..20 {
        one.deflated(&format!("one {i} {text}"));
        other.deflated(&format!("other {i} {text}"));
    }
    for i in 0..20 {
        one.expect(&format!("other {i} {text}"));
        other.expect(&format!("one {i} {text}"));
        assert!(one.compressed && other.compressed);
    }
}

#[test]
fn frame_of_a_window_is_compressed_but_not_the_one_made_for_one_alone() {
    let wsd = Wsd::start(
        "[delivery]\nformat = \"json-array\"\nwindow = \"1h\"\nmax_messages = 3\n\
         [[route]]\npath = \"/quiet\"\nchannel = \"chat\"\necho = false\n\
         [[route]]\npath = \"/chat\"\n",
    );
    let mut listener = deflating(&wsd, "/chat");
    let mut plain = wsd.client("/chat");
    let mut sender = deflating(&wsd, "/quiet");
    let text = "0".repeat(300);
    sender.deflated(&text);
    wsd.wait_published(1);
    listener.texts(&[&text, &text]);
    let quoted = format!("\"{text}\"");
    let three = format!("[{quoted},{quoted},{quoted}]");
    listener.expect(&three);
    assert!(listener.compressed);
    plain.expect(&three);
    sender.expect(&format!("[{quoted},{quoted}]"));
    assert!(!sender.compressed);
}

#[test]
fn what_a_hook_sends_is_compressed_too() {
    let wsd = Wsd::with_hook("function on_message(conn, m) conn:send(m .. m) return false end");
    let mut client = deflating(&wsd, "/chat");
    let text = long();
    client.deflated(&text);
    client.expect(&format!("{text}{text}"));
    assert!(client.compressed);
    client.text("short");
    client.expect("shortshort");
    assert!(!client.compressed);
}

#[test]
fn compression_that_is_off_is_not_agreed_and_a_reload_concerns_those_who_come() {
    let wsd = Wsd::start("[compression]\nenabled = false\n");
    let client = offering(&wsd, "/chat", OFFER);
    assert_eq!(extensions(&client), None);
    client.close();
    wsd.write_config("");
    wsd.reload();
    let mut before = deflating(&wsd, "/chat");
    wsd.write_config("[compression]\nenabled = false\nmin_size = 10\nlevel = 9\n");
    wsd.reload();
    let mut after = offering(&wsd, "/chat", OFFER);
    assert_eq!(extensions(&after), None);
    // What was agreed still holds, with the new size.
    before.deflated(&"x".repeat(20));
    before.expect(&"x".repeat(20));
    assert!(before.compressed);
    after.expect(&"x".repeat(20));
}

#[test]
fn compressed_message_in_fragments_is_one_message() {
    let wsd = Wsd::start("");
    let mut client = deflating(&wsd, "/chat");
    let text = long();
    let data = deflate(text.as_bytes());
    let (first, rest) = data.split_at(5);
    client.raw(&frame(0x41, first));
    client.sync();
    client.raw(&frame(0x00, b""));
    client.raw(&frame(0x80, rest));
    client.expect(&text);
}

#[test]
fn limit_counts_what_a_message_becomes() {
    let wsd = Wsd::start("[limits]\nmessage = 1000\n");
    let mut client = deflating(&wsd, "/chat");
    client.deflated(&"x".repeat(1000));
    client.expect(&"x".repeat(1000));
    client.deflated(&"x".repeat(1001));
    assert_eq!(client.expect_close(1009), "message too big");
}

/// What a client that has agreed on compression sends; it must be closed with that code, and nobody else may feel it.
#[track_caller]
fn refused(wsd: &Wsd, witness: &mut Client, code: u16, bytes: &[u8]) {
    let mut client = deflating(wsd, "/bad");
    client.raw(bytes);
    client.expect_close(code);
    let text = long();
    witness.deflated(&text);
    witness.expect(&text);
    assert!(witness.compressed);
}

#[test]
fn bomb_is_stopped_at_the_limit() {
    let wsd = Wsd::start("");
    let mut witness = deflating(&wsd, "/good");
    // 32 MiB in 32 KiB, at once and in pieces.
    let bomb = deflate(&vec![0; 32 << 20]);
    refused(&wsd, &mut witness, 1009, &frame(0xc2, &bomb));
    let mut pieces = frame(0x42, b"");
    for piece in bomb.chunks(1000) {
        pieces.extend(frame(0x00, piece));
    }
    pieces.extend(frame(0x80, b""));
    refused(&wsd, &mut witness, 1009, &pieces);
    // More of it than any message of that size needs.
    refused(&wsd, &mut witness, 1009, &frame(0xc2, &[0; 75_000]));
    // Inflated to the end they would be a thousand times that.
    let before = memory(&wsd);
    for _ in 0..200 {
        let mut client = deflating(&wsd, "/bad");
        client.raw(&frame(0xc2, &bomb));
        client.expect_close(1009);
    }
    let grown = memory(&wsd).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    eventually!(wsd.metric("wsd_connections") == 1);
}

/// Resident bytes of the node.
fn memory(wsd: &Wsd) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", wsd.pid())).unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn data_that_is_no_stream_or_not_all_of_one_is_closed_with_1007() {
    let wsd = Wsd::start("");
    let mut witness = deflating(&wsd, "/good");
    let good = deflate(long().as_bytes());
    for data in [
        &good[..good.len() - 1],
        &good[..good.len() / 2],
        &good[1..],
        b"\xff",
        b"\xff\xff\xff\xff\xff\xff",
        // Behind a final block.
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\xffmore",
        // Looks back to where nothing is.
        b"\x4a\x04\x42\x00",
    ] {
        refused(&wsd, &mut witness, 1007, &frame(0xc2, data));
    }
    // Text is checked after it was inflated.
    refused(&wsd, &mut witness, 1007, &frame(0xc1, &deflate(b"ab\xc3")));
}

#[test]
fn match_that_reaches_into_the_message_before_is_closed_with_1007() {
    let wsd = Wsd::start("");
    let mut witness = deflating(&wsd, "/good");
    // A client that keeps its window although it agreed not to.
    let mut stream = flate2::Compress::new(flate2::Compression::new(6), false);
    let mut frames = Vec::new();
    for _ in 0..2 {
        let mut data = Vec::with_capacity(4000);
        let flush = flate2::FlushCompress::Sync;
        stream
            .compress_vec(long().as_bytes(), &mut data, flush)
            .unwrap();
        data.truncate(data.len() - 4);
        frames.push(frame(0xc1, &data));
    }
    let mut client = deflating(&wsd, "/bad");
    client.raw(&frames[0]);
    client.expect(&long());
    client.raw(&frames[1]);
    client.expect_close(1007);
    witness.text("fine");
    witness.expect("fine");
}

#[test]
fn rsv1_in_the_wrong_place_is_closed_with_1002() {
    let wsd = Wsd::start("");
    let mut witness = deflating(&wsd, "/good");
    let data = deflate(b"x");
    for bytes in [
        frame(0xc8, &1000_u16.to_be_bytes()),
        frame(0xc9, b""),
        frame(0xca, b""),
        frame(0xc0, &data),
        [frame(0x41, &data), frame(0xc0, b"")].concat(),
        [frame(0x01, b"x"), frame(0xc0, &data)].concat(),
        frame(0xe1, &data),
        frame(0xd1, &data),
    ] {
        refused(&wsd, &mut witness, 1002, &bytes);
    }
    // Where nothing was agreed it has no place at all.
    let mut client = offering(&wsd, "/bad", "permessage-deflate; unheard_of");
    client.raw(&frame(0xc1, &data));
    client.expect_close(1002);
    witness.text("fine");
    witness.expect("fine");
}

#[test]
fn quiet_connections_that_agreed_cost_no_more_than_others() {
    let wsd = Wsd::start("");
    let text = long();
    let speak = |mut client: Client| {
        client.deflated(&text);
        client.expect(&text);
        client
    };
    // Code and scratch that any traffic needs are there after these.
    let mut clients: Vec<Client> = (0..50)
        .map(|i| speak(deflating(&wsd, &format!("/{i}"))))
        .collect();
    let before = memory(&wsd);
    clients.extend((50..1050).map(|i| speak(deflating(&wsd, &format!("/{i}")))));
    let grown = memory(&wsd).saturating_sub(before);
    // One window of 32 KiB each would be 32 MB.
    assert!(grown < 8 << 20, "{grown} bytes for 1000 connections");
}
