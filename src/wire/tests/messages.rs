//! What a session makes of the frames that clients send.

use bytes::{Bytes, BytesMut};

use super::{Dice, LIMITS, Wire, binary, events, feed, message, poll, pong, refused, start};
use crate::wire::frame;
use crate::wire::frame::Opcode::{Binary, Continuation, Ping, Pong, Text};
use crate::wire::{Event, Inflate, ProtocolError, Session, SessionLimits};

#[test]
fn messages_come_out_as_they_went_in() {
    for len in [0, 1, 125, 126, 127, 1000, 65_535, 65_536] {
        let body = "x".repeat(len);
        let wire = Wire::new().text(&body).frame(Binary, &body);
        assert_eq!(
            events(&wire.0, []),
            [message(&body), binary(body.as_bytes())]
        );
    }
}

#[test]
fn fragments_become_one_message_and_control_frames_pass_between_them() {
    let wire = Wire::new()
        .part(Text, "he")
        .frame(Ping, "1")
        .part(Continuation, "")
        .frame(Pong, "unasked")
        .frame(Continuation, "llo")
        .part(Binary, [0xff])
        .frame(Continuation, [0xfe]);
    let expected = [message("hello"), binary(&[0xff, 0xfe]), pong(b"1")];
    assert_eq!(events(&wire.0, []), expected);
}

#[test]
fn order_of_fragments_is_checked() {
    for (wire, error) in [
        (
            Wire::new().frame(Continuation, "x"),
            ProtocolError::UnexpectedContinuation,
        ),
        (
            Wire::new().text("x").part(Continuation, "x"),
            ProtocolError::UnexpectedContinuation,
        ),
        (
            Wire::new().part(Text, "x").text("y"),
            ProtocolError::Interleaved,
        ),
        (
            Wire::new().part(Text, "x").part(Binary, "y"),
            ProtocolError::Interleaved,
        ),
    ] {
        let events = events(&wire.0, []);
        assert_eq!(events[events.len() - 2..], refused(error));
    }
}

#[test]
fn text_is_checked_as_it_arrives() {
    let kosme = "κόσμε";
    for cut in 0..=kosme.len() {
        let (a, b) = kosme.as_bytes().split_at(cut);
        let wire = Wire::new()
            .part(Text, a)
            .part(Continuation, "")
            .frame(Continuation, b);
        assert_eq!(events(&wire.0, []), [message(kosme)]);
    }
    for bad in [
        &b"\xff"[..],
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"ok\xce",
        b"\xe2\x82",
    ] {
        let whole = Wire::new().frame(Text, bad);
        assert_eq!(
            events(&whole.0, []),
            refused(ProtocolError::TextNotUtf8),
            "{bad:x?}"
        );
        assert_eq!(
            events(&whole.0, [1; 9]),
            refused(ProtocolError::TextNotUtf8),
            "{bad:x?}"
        );
        assert_eq!(events(&Wire::new().frame(Binary, bad).0, []), [binary(bad)]);
    }
}

#[test]
fn a_wrong_byte_is_answered_before_the_message_ends() {
    // The second byte can follow no first byte 0xf4; the rest of the frame never comes.
    let wire = Wire::new()
        .part(Text, "κό")
        .frame(Continuation, b"\xf4\x90\x80\x80 and more");
    let until = wire.0.len() - b"\x80\x80 and more".len();
    assert_eq!(
        events(&wire.0[..until], []),
        refused(ProtocolError::TextNotUtf8)
    );
    assert_eq!(events(&wire.0[..until - 1], []), []);
}

#[test]
fn too_much_is_answered_when_it_is_announced() {
    let limits = SessionLimits {
        message: 10,
        ..LIMITS
    };
    let mut session = Session::new(start(), limits);
    assert_eq!(
        feed(&mut session, &Wire::new().text("0123456789").0, []),
        [message("0123456789")]
    );
    let too_big = Wire::new().text("0123456789a");
    assert_eq!(
        feed(&mut session, &too_big.0[..6], []),
        refused(ProtocolError::TooBig)
    );

    let mut session = Session::new(start(), limits);
    let wire = Wire::new()
        .part(Text, "01234")
        .part(Continuation, "56789")
        .frame(Continuation, "a");
    let until = wire.0.len() - 1;
    assert_eq!(
        feed(&mut session, &wire.0[..until], []),
        refused(ProtocolError::TooBig)
    );

    let huge = [
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ];
    assert_eq!(events(&huge, []), refused(ProtocolError::TooBig));
    let unlimited = SessionLimits {
        message: usize::MAX,
        ..LIMITS
    };
    let mut session = Session::new(start(), unlimited);
    assert_eq!(
        feed(&mut session, &huge, []),
        [],
        "nothing is allocated by announcement"
    );
}

#[test]
fn frames_outside_the_rules_end_the_session() {
    for (bytes, error) in [
        (Wire::new().raw(0xc1, b"x").0, ProtocolError::ReservedBits),
        (Wire::new().raw(0x83, b"x").0, ProtocolError::UnknownOpcode),
        (Wire::new().raw(0x8b, b"x").0, ProtocolError::UnknownOpcode),
        (
            Wire::new().part(Ping, "x").0,
            ProtocolError::FragmentedControl,
        ),
        (
            Wire::new().frame(Ping, [0; 126]).0,
            ProtocolError::ControlTooLong,
        ),
        (b"\x81\x01x".to_vec(), ProtocolError::Unmasked),
        (b"GET / HTTP/1.1\r\n".to_vec(), ProtocolError::ReservedBits),
    ] {
        let mut session = Session::new(start(), LIMITS);
        assert_eq!(feed(&mut session, &bytes, []), refused(error));
        assert!(session.is_closing());
        assert_eq!(session.poll_timeout(), None);
        assert_eq!(feed(&mut session, &Wire::new().text("late").0, []), []);
    }
}

#[test]
fn of_many_pings_the_latest_are_answered() {
    for (pings, answered) in [
        (1, 0..1),
        (10, 0..10),
        (16, 0..16),
        (17, 16..17),
        (10_000, 9984..10_000),
    ] {
        let mut wire = Wire::new().text("a");
        for i in 0..pings {
            wire = wire.frame(Ping, u32::to_be_bytes(i));
        }
        wire = wire.text("b");
        let pongs: Vec<u8> = answered
            .flat_map(|i| frame::encode_control(Pong, &u32::to_be_bytes(i)).to_vec())
            .collect();
        let expected = [message("a"), message("b"), Event::Reply(pongs.into())];
        assert_eq!(events(&wire.0, []), expected);
    }
}

#[test]
fn many_small_fragments_cost_no_more_than_the_limit() {
    let mut session = Session::new(start(), LIMITS);
    let mut wire = Wire::new().part(Text, "");
    for _ in 0..60_000 {
        wire = wire.part(Continuation, "").part(Continuation, "x");
    }
    let mut input = BytesMut::from(&wire.0[..]);
    session.receive(start(), &mut input, &mut Inflate::new());
    assert_eq!(poll(&mut session), []);
    let held = session.held_bytes();
    assert!((60_000..=LIMITS.message).contains(&held), "{held}");
    let last = Wire::new().frame(Continuation, "y");
    let expected = "x".repeat(60_000) + "y";
    assert_eq!(feed(&mut session, &last.0, []), [message(&expected)]);
    assert_eq!(session.held_bytes(), 0);
}

#[test]
fn a_large_frame_streams_without_its_announced_size() {
    let limits = SessionLimits {
        message: 16 << 20,
        ..LIMITS
    };
    let mut session = Session::new(start(), limits);
    let body = Dice(1).bytes(16 << 20);
    let wire = Wire::new().frame(Binary, &body);
    let mut input = BytesMut::new();
    let mut sent = 0;
    for chunk in wire.0.chunks(50_000) {
        input.extend_from_slice(chunk);
        session.receive(start(), &mut input, &mut Inflate::new());
        sent += chunk.len();
        assert!(input.is_empty());
        assert!(session.held_bytes() <= 2 * sent);
        assert_eq!(session.needs(0), wire.0.len() - sent);
        assert_eq!(session.needs(1), (wire.0.len() - sent).saturating_sub(1));
    }
    assert_eq!(poll(&mut session), [binary(&body)]);
}

#[test]
fn a_small_message_does_not_pin_the_buffer_it_came_in() {
    let mut session = Session::new(start(), LIMITS);
    let mut input = BytesMut::with_capacity(16 * 1024);
    input.extend_from_slice(&Wire::new().text("small").0);
    let buffer = input.as_ptr() as usize..input.as_ptr() as usize + input.capacity();
    session.receive(start(), &mut input, &mut Inflate::new());
    let kept = poll(&mut session);
    let [Event::Message(small)] = &kept[..] else {
        panic!("{kept:?}")
    };
    assert!(!buffer.contains(&(small.data.as_ptr() as usize)));
    assert_eq!(
        input.capacity(),
        16 * 1024,
        "the owner has all of its buffer back"
    );

    input.extend_from_slice(&Wire::new().text(&"x".repeat(5_000)).0);
    session.receive(start(), &mut input, &mut Inflate::new());
    let kept = poll(&mut session);
    let [Event::Message(large)] = &kept[..] else {
        panic!("{kept:?}")
    };
    assert!(
        buffer.contains(&(large.data.as_ptr() as usize)),
        "a large one is not copied"
    );
}

#[test]
fn a_session_at_rest_is_small() {
    assert!(size_of::<Session>() <= 128, "{}", size_of::<Session>());
    assert_eq!(size_of::<Event>(), 40);
}

#[test]
fn cutting_the_input_never_changes_the_events() {
    let wires = [
        Wire::new()
            .text("a")
            .frame(Ping, "1")
            .text("κόσμε")
            .frame(Ping, "2")
            .close(1000, "bye"),
        Wire::new()
            .part(Text, "κ\u{1f600}")
            .frame(Ping, "")
            .frame(Continuation, "x")
            .text("end"),
        Wire::new()
            .part(Text, b"\xe2\x82")
            .part(Continuation, b"\xac")
            .frame(Continuation, b"\xff"),
        Wire::new()
            .frame(Binary, [9; 300])
            .part(Binary, [1; 126])
            .frame(Text, "wrong"),
        Wire::new().text("x").raw(0xc2, b"compressed").text("late"),
    ];
    for wire in &wires {
        let whole = comparable(events(&wire.0, []));
        assert_eq!(
            comparable(events(&wire.0, std::iter::repeat_n(1, wire.0.len()))),
            whole
        );
        for a in 0..wire.0.len() {
            for b in 0..wire.0.len() - a {
                assert_eq!(
                    comparable(events(&wire.0, [a, b])),
                    whole,
                    "cut at {a} and {b}"
                );
            }
        }
    }
}

/// All but pongs, of which fewer are due when pings come together, and the last pong.
fn comparable(events: Vec<Event>) -> (Vec<Event>, Option<Event>) {
    let (pongs, others): (Vec<_>, Vec<_>) = events
        .into_iter()
        .partition(|e| matches!(e, Event::Reply(bytes) if bytes.starts_with(&[0x8a])));
    let last = pongs.into_iter().last().map(|event| match event {
        Event::Reply(bytes) => {
            // Of several in one reply the last.
            let mut frames = &bytes[..];
            while frames.len() > 2 + usize::from(frames[1]) {
                frames = &frames[2 + usize::from(frames[1])..];
            }
            Event::Reply(Bytes::copy_from_slice(frames))
        }
        other => other,
    });
    (others, last)
}

#[test]
fn what_is_taken_in_place_needs_no_event_and_nothing_overtakes() {
    let wire = Wire::new()
        .text("one")
        .part(Text, "tw")
        .frame(Ping, "1")
        .frame(Continuation, "o")
        .text("three")
        .text("four");
    for cut in 0..=wire.0.len() {
        let (now, mut session) = (start(), Session::new(start(), LIMITS));
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        let (mut input, mut inflate) = (BytesMut::new(), Inflate::new());
        for part in [&wire.0[..cut], &wire.0[cut..]] {
            input.extend_from_slice(part);
            session.receive_with(now, &mut input, &mut inflate, |_, data| {
                taken.push(data.to_vec());
                true
            });
            while let Some(event) = session.poll_event() {
                match event {
                    Event::Message(payload) => taken.push(payload.data.to_vec()),
                    other => left.push(other),
                }
            }
        }
        assert_eq!(
            taken,
            [&b"one"[..], b"two", b"three", b"four"],
            "cut at {cut}"
        );
        assert_eq!(left, [pong(b"1")], "cut at {cut}");
    }
}
