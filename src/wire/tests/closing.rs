//! How sessions end, and how quiet peers are noticed.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::{LIMITS, Wire, events, feed, message, poll, pong, refused, start};
use crate::types::Close;
use crate::wire::frame::Opcode::{Binary, Close as CloseFrame, Ping, Pong, Text};
use crate::wire::{Event, Inflate, ProtocolError, Session, SessionLimits, close};

#[test]
fn every_close_code_is_answered_or_refused() {
    for code in 0..=u16::MAX {
        let events = events(&Wire::new().close(code, "why").0, []);
        if close::is_sendable(code) {
            let reply = close::encode(&Close::new(code, ""));
            assert_eq!(
                events,
                [Event::Reply(reply), Event::Closed(Close::new(code, "why"))]
            );
        } else {
            assert_eq!(events, refused(ProtocolError::CloseCode));
        }
    }
    let empty = [
        Event::Reply(Bytes::from_static(&[0x88, 0])),
        Event::Closed(close::NO_CODE),
    ];
    assert_eq!(events(&Wire::new().frame(CloseFrame, "").0, []), empty);
    let one = Wire::new().frame(CloseFrame, [3]);
    assert_eq!(events(&one.0, []), refused(ProtocolError::CloseTooShort));
    let bad = Wire::new().frame(CloseFrame, b"\x03\xe8\xff");
    assert_eq!(events(&bad.0, []), refused(ProtocolError::ReasonNotUtf8));
}

#[test]
fn a_close_ends_a_fragmented_message_and_answers_a_ping_before_it() {
    let wire = Wire::new()
        .part(Text, "x")
        .frame(Ping, "p")
        .close(1000, "")
        .text("late");
    let reply = close::encode(&Close::new(1000, ""));
    let expected = [
        pong(b"p"),
        Event::Reply(reply),
        Event::Closed(Close::new(1000, "")),
    ];
    assert_eq!(events(&wire.0, []), expected);
}

#[test]
fn our_close_waits_for_the_peers_and_ignores_what_comes_before_it() {
    let now = start();
    let mut session = Session::new(now, LIMITS);
    let large = Wire::new().frame(Binary, [7; 2000]);
    assert_eq!(feed(&mut session, &large.0[..1000], []), []);
    session.close(now, Close::GOING_AWAY);
    session.close(now, Close::RESTART);
    assert_eq!(
        poll(&mut session),
        [Event::Reply(close::encode(&Close::GOING_AWAY))]
    );
    assert!(session.is_closing());
    assert_eq!(session.needs(0), large.0.len() - 1000);
    // Its payload would be a close frame if it were taken for one.
    let payload = Wire::new().close(1000, "").0;
    let header = [
        0x82,
        0x80 | u8::try_from(payload.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    let before = [&large.0[1000..], &header, &payload].concat();
    assert_eq!(feed(&mut session, &before, [1; 300]), []);
    let rest = Wire::new()
        .frame(Ping, "?")
        .part(Text, "x")
        .close(4000, "me too")
        .text("late");
    assert_eq!(
        feed(&mut session, &rest.0, [1; 300]),
        [Event::Closed(Close::GOING_AWAY)]
    );
}

#[test]
fn a_peer_that_does_not_close_or_breaks_a_rule_ends_with_our_close() {
    let now = start();
    let mut session = Session::new(now, LIMITS);
    session.close(now, Close::RESTART);
    assert_eq!(poll(&mut session).len(), 1);
    assert_eq!(session.poll_timeout(), Some(now + LIMITS.close_within));
    let mut other = session.clone();
    // What comes does not give it more time.
    session.receive(
        now + Duration::from_secs(4),
        &mut BytesMut::from(&Wire::new().text("x").0[..]),
        &mut Inflate::new(),
    );
    session.handle_timeout(now + Duration::from_secs(4));
    assert_eq!(poll(&mut session), []);
    session.handle_timeout(now + LIMITS.close_within);
    assert_eq!(poll(&mut session), [Event::Closed(Close::RESTART)]);
    assert_eq!(
        feed(&mut other, b"\x81\x01x", []),
        [Event::Closed(Close::RESTART)]
    );
}

#[test]
fn after_our_close_no_message_comes() {
    let now = start();
    let mut session = Session::new(now, LIMITS);
    let wire = Wire::new().text("a").text("b").frame(Ping, "p").text("c");
    session.receive(now, &mut BytesMut::from(&wire.0[..]), &mut Inflate::new());
    assert_eq!(session.poll_event(), Some(message("a")));
    session.close(now, Close::REFUSED);
    assert_eq!(
        poll(&mut session),
        [pong(b"p"), Event::Reply(close::encode(&Close::REFUSED))]
    );
}

#[test]
fn a_close_that_cannot_be_sent_ends_at_once() {
    let now = start();
    let mut session = Session::new(now, LIMITS);
    session.close(now, Close::LOST);
    assert_eq!(poll(&mut session), [Event::Closed(Close::LOST)]);
    let mut session = Session::new(now, LIMITS);
    session.close(now, close::NO_CODE);
    assert_eq!(
        poll(&mut session),
        [Event::Reply(Bytes::from_static(&[0x88, 0]))]
    );
}

#[test]
fn a_quiet_peer_is_pinged_and_then_given_up() {
    let ping = Event::Reply(Bytes::from_static(&[0x89, 0]));
    let now = start();
    let at = |seconds: u64| -> Instant { now + Duration::from_secs(seconds) };
    let mut session = Session::new(now, LIMITS);
    assert_eq!(session.poll_timeout(), Some(at(30)));
    session.receive(
        at(10),
        &mut BytesMut::from(&Wire::new().text("x").0[..]),
        &mut Inflate::new(),
    );
    assert_eq!(poll(&mut session).len(), 1);
    session.handle_timeout(at(30));
    assert_eq!(poll(&mut session), [], "it was heard meanwhile");
    assert_eq!(session.poll_timeout(), Some(at(40)));
    session.handle_timeout(at(41));
    assert_eq!(poll(&mut session), std::slice::from_ref(&ping));
    assert_eq!(session.poll_timeout(), Some(at(61)));
    session.receive(
        at(60),
        &mut BytesMut::from(&Wire::new().frame(Pong, "").0[..]),
        &mut Inflate::new(),
    );
    session.handle_timeout(at(61));
    assert_eq!(poll(&mut session), []);
    session.handle_timeout(at(90));
    assert_eq!(poll(&mut session), [ping]);
    session.handle_timeout(at(109));
    assert_eq!(poll(&mut session), []);
    session.handle_timeout(at(110));
    assert_eq!(poll(&mut session), [Event::Closed(Close::LOST)]);
    assert_eq!(session.poll_timeout(), None);
    session.handle_timeout(at(500));
    session.close(at(500), Close::RESTART);
    assert_eq!(poll(&mut session), []);
}

#[test]
fn new_limits_count_at_once() {
    let now = start();
    let mut session = Session::new(now, LIMITS);
    session.set_limits(SessionLimits {
        message: 3,
        ping_after: Duration::from_millis(1),
        pong_within: Duration::MAX,
        close_within: Duration::ZERO,
    });
    assert_eq!(session.poll_timeout(), Some(now + Duration::from_millis(1)));
    assert_eq!(
        feed(&mut session, &Wire::new().text("four").0, []),
        refused(ProtocolError::TooBig)
    );
}
