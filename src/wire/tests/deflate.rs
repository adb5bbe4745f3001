//! permessage-deflate: what is agreed, what compressed messages become, what goes out compressed.

use super::{Dice, LIMITS, Wire, binary, events, feed, message, pong, refused, start};
use crate::types::Kind;
use crate::wire::deflate::{Deflate, Effort, Frames, Inflate, most_compressed};
use crate::wire::frame::Opcode::{Continuation, Ping, Text};
use crate::wire::frame::{self, Side};
use crate::wire::negotiate::{Malformed, negotiate};
use crate::wire::{Agreement, Event, ProtocolError, Session, SessionLimits};

const EFFORT: Effort = Effort {
    level: 3,
    min_size: 0,
};

/// What is agreed for these header lines: the answer's parameters behind the two that are always there.
fn agreed(lines: &[&str]) -> Result<Option<String>, Malformed> {
    let agreement = negotiate(lines.iter().map(|line| line.as_bytes()))?;
    Ok(agreement.map(|agreement| {
        let answer = agreement.answer();
        let rest = answer.strip_prefix(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        );
        rest.unwrap().trim_start_matches("; ").to_owned()
    }))
}

#[test]
fn first_offer_that_can_be_accepted_is() {
    for (lines, answer) in [
        (&["permessage-deflate"][..], Some("")),
        (&["permessage-deflate; client_max_window_bits"], Some("")),
        (&["permessage-deflate; client_max_window_bits=8"], Some("")),
        (&["permessage-deflate;client_max_window_bits=15"], Some("")),
        (
            &["permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
            Some(""),
        ),
        (
            &["permessage-deflate; server_max_window_bits=8"],
            Some("server_max_window_bits=8"),
        ),
        (
            &["permessage-deflate; server_max_window_bits=\"1\\0\""],
            Some("server_max_window_bits=10"),
        ),
        (
            &["permessage-deflate ;\tserver_max_window_bits = 15 "],
            Some("server_max_window_bits=15"),
        ),
        (&["permessage-bzip2, permessage-deflate"], Some("")),
        (
            &["x-webkit-deflate-frame; a=\"b\"; c", "permessage-deflate"],
            Some(""),
        ),
        (&[",, permessage-deflate ,", "", " "], Some("")),
        // The first is declined, the second counts; the third would do too.
        (
            &[
                "permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=9, permessage-deflate",
            ],
            Some("server_max_window_bits=9"),
        ),
        (
            &[
                "permessage-deflate; unknown",
                "permessage-deflate; client_max_window_bits",
            ],
            Some(""),
        ),
    ] {
        assert_eq!(agreed(lines), Ok(answer.map(str::to_owned)), "{lines:?}");
    }
}

#[test]
fn offers_with_parameters_against_the_rules_are_declined() {
    assert_eq!(agreed(&[]), Ok(None));
    assert_eq!(agreed(&[""]), Ok(None));
    assert_eq!(agreed(&["Permessage-deflate"]), Ok(None));
    for parameters in [
        "unknown",
        "unknown=1",
        "server_no_context_takeover=1",
        "client_no_context_takeover=\"x\"",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=15",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=1",
        "server_max_window_bits=+9",
        "server_max_window_bits=9.0",
        "client_max_window_bits=0",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=015",
        "client_max_window_bits=100",
    ] {
        let offer = format!("permessage-deflate; {parameters}");
        assert_eq!(agreed(&[&offer]), Ok(None), "{offer}");
    }
}

#[test]
fn headers_against_the_grammar_are_refused() {
    for header in [
        ";",
        "=",
        "permessage-deflate;",
        "permessage-deflate; ;",
        "permessage-deflate; =10",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=\"\"",
        "permessage-deflate; server_max_window_bits=\"10",
        "permessage-deflate; server_max_window_bits=\"1 0\"",
        "permessage-deflate; server_max_window_bits=\"10\\",
        "permessage-deflate; server_max_window_bits=10 11",
        "permessage-deflate client_max_window_bits",
        "permessage-deflate, b/c",
        "permessage-deflate; a=b=c",
        "\"permessage-deflate\"",
        "permessage-deflate\u{e9}",
    ] {
        assert_eq!(agreed(&[header]), Err(Malformed), "{header}");
        // Whatever stands before it or behind.
        assert_eq!(agreed(&["permessage-deflate", header]), Err(Malformed));
        assert_eq!(agreed(&[header, "permessage-deflate"]), Err(Malformed));
    }
}

#[test]
fn an_agreement_is_a_number() {
    let offer: &[u8] = b"permessage-deflate; server_max_window_bits=9";
    for bits in [None, Some(8), Some(9), Some(15)] {
        let agreement = Agreement::from_server_window_bits(bits).unwrap();
        assert_eq!(agreement.server_window_bits(), bits);
        let whole = bits.is_none_or(|bits| bits == 15);
        assert_eq!(agreement.takes_shared_frames(), whole);
    }
    assert_eq!(
        negotiate([offer].into_iter()),
        Ok(Agreement::from_server_window_bits(Some(9)))
    );
    for bits in [0, 7, 16, 255] {
        assert_eq!(Agreement::from_server_window_bits(Some(bits)), None);
    }
}

/// Raw DEFLATE of `data` as senders of messages write it, in any way that zlib has.
fn compressed(data: &[u8], level: u32, flush: flate2::FlushCompress) -> Vec<u8> {
    let mut stream = flate2::Compress::new(flate2::Compression::new(level), false);
    let mut out = Vec::with_capacity(data.len() * 2 + 100);
    stream.compress_vec(data, &mut out, flush).unwrap();
    match flush {
        flate2::FlushCompress::Finish => out.push(0),
        _ => out.truncate(out.len() - 4),
    }
    out
}

fn deflated(data: &[u8]) -> Vec<u8> {
    compressed(data, 6, flate2::FlushCompress::Sync)
}

#[test]
fn examples_of_the_rfc_inflate() {
    // RFC 7692 §7.2.3.1 to 6: one block, no compression, a final block, two blocks, nothing.
    let two: &[u8] = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    for (data, text) in [
        (&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], &b"Hello"[..]),
        (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
        (two, b"Hello"),
        (b"\x00", b""),
        // Senders that leave out even that, and those that end with the final block.
        (b"", b""),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
        (b"\x03\x00", b""),
    ] {
        let mut inflate = Inflate::new();
        for _ in 0..2 {
            let message = inflate.message(data, 5);
            assert_eq!(message.as_deref(), Ok(text), "{data:x?}");
        }
    }
}

#[test]
fn whatever_was_compressed_inflates_to_itself() {
    let mut dice = Dice(7);
    let mut inflate = Inflate::new();
    for len in [1, 10, 1000, 16_383, 16_384, 16_385, 70_000, 300_000] {
        for kind in 0..3 {
            let data: Vec<u8> = match kind {
                0 => vec![b'x'; len],
                1 => dice.bytes(len),
                _ => (0..len).map(|i| b"abcdefgh"[i * i % 8]).collect(),
            };
            for level in [0, 1, 3, 6, 9] {
                for flush in [flate2::FlushCompress::Sync, flate2::FlushCompress::Finish] {
                    let input = compressed(&data, level, flush);
                    assert!(input.len() <= most_compressed(len), "{len} {level}");
                    assert!(inflate.message(&input, len).is_ok_and(|out| out == data));
                    let one_less = inflate.message(&input, len - 1);
                    assert_eq!(one_less, Err(ProtocolError::TooBig));
                }
            }
        }
    }
}

#[test]
fn a_bomb_stops_at_the_ceiling() {
    // 64 MiB of nothing in 64 KiB.
    let bomb = deflated(&vec![0; 64 << 20]);
    assert!(bomb.len() < 70_000);
    let mut inflate = Inflate::new();
    for ceiling in [0, 1, 1000, 65_536, 1 << 20] {
        assert_eq!(inflate.message(&bomb, ceiling), Err(ProtocolError::TooBig));
    }
    // What comes after it is as if it had not been.
    assert_eq!(
        inflate.message(&deflated(b"x"), 1).as_deref(),
        Ok(&b"x"[..])
    );
}

#[test]
fn what_is_no_stream_or_not_all_of_one_is_refused() {
    let text = b"so much of this text that it has to be looked at twice: so much of this text";
    let good = deflated(text);
    let mut inflate = Inflate::new();
    for cut in 1..good.len() {
        let message = inflate.message(&good[..cut], 1000);
        assert_eq!(message, Err(ProtocolError::Deflate), "cut at {cut}");
    }
    for garbage in [
        &b"\xff"[..],
        b"\xff\xff\xff\xff",
        b"\x06",
        // Behind the final block.
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\xff\xff",
        // A stored block whose length is not its own complement.
        b"\x00\x05\x00\x05\x00Hello\x00",
        // Looks back further than there is anything.
        b"\x4a\x04\x42\x00",
    ] {
        let message = inflate.message(garbage, 1000);
        assert_eq!(message, Err(ProtocolError::Deflate), "{garbage:x?}");
    }
    // Nothing of one message is there for the next: a match that reaches back into it is none.
    let mut stream = flate2::Compress::new(flate2::Compression::new(6), false);
    let mut second = Vec::with_capacity(1000);
    for _ in 0..2 {
        second.clear();
        let flush = flate2::FlushCompress::Sync;
        stream.compress_vec(text, &mut second, flush).unwrap();
    }
    second.truncate(second.len() - 4);
    assert!(inflate.message(&good, 1000).is_ok());
    let second = inflate.message(&second, 1000);
    assert_eq!(second, Err(ProtocolError::Deflate));
}

/// All events of a session with compression that gets `input` in pieces of that size.
fn deflating(input: &[u8], size: usize, message: usize) -> Vec<Event> {
    let limits = SessionLimits { message, ..LIMITS };
    let mut session = Session::new(start(), limits).with_deflate();
    feed(&mut session, input, std::iter::repeat(size))
}

#[test]
fn compressed_messages_come_out_as_they_were() {
    let text = "grüße ".repeat(100);
    let data = deflated(text.as_bytes());
    let (head, tail) = data.split_at(7);
    let wire = Wire::new()
        .raw(0xc1, &data)
        .text("plain")
        .raw(0xc2, &deflated(&[0, 255]))
        .raw(0x41, head)
        .frame(Ping, "p")
        .part(Continuation, "")
        .part(Continuation, &tail[..1])
        .frame(Continuation, &tail[1..])
        .part(Text, "pl")
        .frame(Continuation, "ain")
        .raw(0xc1, b"");
    for size in [usize::MAX, 1, 2, 3, 50] {
        let expected = [
            message(&text),
            message("plain"),
            binary(&[0, 255]),
            message(&text),
            message("plain"),
            message(""),
        ];
        let mut got = deflating(&wire.0, size, 10_000);
        let before = got.len();
        got.retain(|event| *event != pong(b"p"));
        assert_eq!(before, got.len() + 1);
        assert_eq!(got, expected, "in pieces of {size}");
    }
}

#[test]
fn rsv1_is_refused_wherever_it_does_not_belong() {
    let data = deflated(b"x");
    // Not agreed.
    let wire = Wire::new().raw(0xc1, &data);
    assert_eq!(events(&wire.0, []), refused(ProtocolError::ReservedBits));
    for wire in [
        Wire::new().raw(0xc9, b""),
        Wire::new().raw(0xca, b""),
        Wire::new().raw(0xc8, b""),
        Wire::new().raw(0x41, &data).raw(0xc0, b""),
        Wire::new().raw(0x01, b"x").raw(0xc0, &data),
        Wire::new().raw(0xa1, &data),
        Wire::new().raw(0xe1, &data),
    ] {
        for size in [usize::MAX, 1] {
            let events = deflating(&wire.0, size, 1000);
            assert_eq!(events, refused(ProtocolError::ReservedBits));
        }
    }
}

#[test]
fn compressed_messages_have_the_limits_of_others() {
    let inside = deflated(&[b'x'; 1000]);
    let outside = deflated(&[b'x'; 1001]);
    let half = &outside[..outside.len() / 2];
    let not_text = deflated(b"\xff");
    for size in [usize::MAX, 1, 7] {
        let wire = Wire::new().raw(0xc1, &inside).raw(0xc1, &outside);
        let got = deflating(&wire.0, size, 1000);
        assert_eq!(got[0], message(&"x".repeat(1000)));
        assert_eq!(got[1..], refused(ProtocolError::TooBig));
        let wire = Wire::new()
            .raw(0x42, half)
            .frame(Continuation, &outside[half.len()..]);
        assert_eq!(
            deflating(&wire.0, size, 1000),
            refused(ProtocolError::TooBig)
        );
        let wire = Wire::new().raw(0xc1, &not_text);
        assert_eq!(
            deflating(&wire.0, size, 9),
            refused(ProtocolError::TextNotUtf8)
        );
        let wire = Wire::new().raw(0xc2, b"\xff");
        assert_eq!(deflating(&wire.0, size, 9), refused(ProtocolError::Deflate));
    }
    // Before it is compressed it may be longer, but not by anything.
    let mut header = Wire::new().raw(0xc2, &vec![0; most_compressed(1000) + 1]).0;
    header.truncate(8);
    assert_eq!(
        deflating(&header, 100, 1000),
        refused(ProtocolError::TooBig)
    );
}

/// Frames of a server with these payloads.
fn frames(payloads: &[&[u8]]) -> Frames {
    let (mut bytes, mut borders) = (Vec::new(), Vec::new());
    for payload in payloads {
        frame::encode(Kind::Binary, payload, &mut bytes);
        borders.push(u32::try_from(bytes.len()).unwrap());
    }
    Frames { bytes, borders }
}

/// The payloads of frames, inflated where they are compressed, and which are.
fn payloads(frames: &Frames) -> Vec<(Vec<u8>, bool)> {
    let mut start = 0;
    let mut read = Vec::new();
    for &end in &frames.borders {
        let mut frame = frames.bytes[start..end as usize].to_vec();
        start = end as usize;
        let deflated = frame[0] & 0x40 != 0;
        frame[0] &= !0x40;
        let head = frame::head(&frame, Side::Server).unwrap().unwrap();
        let payload = &frame[head.size..];
        assert_eq!(payload.len() as u64, head.len);
        read.push(if deflated {
            let message = Inflate::new().message(payload, 1 << 20).unwrap();
            (message.to_vec(), true)
        } else {
            (payload.to_vec(), false)
        });
    }
    assert_eq!(start, frames.bytes.len());
    read
}

#[test]
fn frames_that_get_shorter_are_compressed_and_the_others_stay() {
    let long = b"abcd".repeat(30_000);
    let noise = Dice(3).bytes(70_000);
    let medium = b"0123456789".repeat(20);
    let plain = frames(&[b"", b"short", &medium, &noise, &long, b"x"]);
    for level in 1..=9 {
        let mut deflate = Deflate::new();
        let effort = Effort {
            level,
            min_size: 100,
        };
        for _ in 0..2 {
            let made = deflate.frames(effort, &plain.bytes, &plain.borders);
            let made = made.unwrap();
            assert_eq!(
                payloads(&made),
                [
                    (b"".to_vec(), false),
                    (b"short".to_vec(), false),
                    (medium.clone(), true),
                    (noise.clone(), false),
                    (long.clone(), true),
                    (b"x".to_vec(), false),
                ]
            );
            assert!(made.bytes.len() < plain.bytes.len() - long.len() / 2);
        }
    }
}

#[test]
fn where_no_frame_gets_shorter_there_is_no_other_form() {
    let mut deflate = Deflate::new();
    for plain in [
        frames(&[]),
        frames(&[b"", b"a"]),
        frames(&[&Dice(1).bytes(5000)]),
    ] {
        let made = deflate.frames(EFFORT, &plain.bytes, &plain.borders);
        assert_eq!(made, None);
    }
    let plain = frames(&[&[0; 256]]);
    for (min_size, is_made) in [(0, true), (256, true), (257, false), (258, false)] {
        let effort = Effort { level: 1, min_size };
        let made = deflate.frames(effort, &plain.bytes, &plain.borders);
        assert_eq!(made.is_some(), is_made, "{min_size}");
    }
}
