//! Bodies of fuzz tests: each takes any bytes and fails by panicking if a promise of the code is broken.
//!
//! `tests/corpus.rs` runs them over the committed corpus and over seeded random input; a fuzzing engine needs nothing but
//! to call them. Hidden from the documentation and never called by the daemon. Not behind a feature, because a test that
//! needs a feature is left out silently where nobody switches it on.

#![forbid(unsafe_code)]

mod config;
mod deflate;
mod scripts;

pub use config::configuration;
pub use deflate::{frame, inflate, negotiation};
pub use scripts::{script_of, scripts};

use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::types::Kind;
use crate::wire::{
    Event, Frame, Inflate, SavedSession, ServerFrames, Session, SessionLimits, handshake, proxy,
};

/// A request of a handshake, however broken.
pub fn handshake(data: &[u8]) {
    match handshake::parse(data) {
        Ok(None) => assert!(data.len() <= handshake::MAX_REQUEST_BYTES),
        Ok(Some((upgrade, size))) => {
            let head = data.get(..size).unwrap_or_default();
            assert!(head.ends_with(b"\r\n\r\n"));
            for cut in 0..size {
                let part = handshake::parse(head.get(..cut).unwrap_or_default());
                assert!(matches!(part, Ok(None)), "cut at {cut}: {part:?}");
            }
            assert!(upgrade.path.starts_with('/'));
            for protocol in upgrade.protocols.iter().map(String::as_str) {
                let mut answer = Vec::new();
                let headers = if upgrade.deflate.is_some() { 5 } else { 4 };
                handshake::accept(&upgrade, Some(protocol), upgrade.deflate, &mut answer);
                assert_eq!(answered(&answer), (101, headers, 0));
            }
        }
        Err(refusal) => {
            let mut answer = Vec::new();
            refusal.encode(&mut answer);
            let expected = (refusal.status, refusal.headers.len().saturating_add(3));
            let (status, headers, body) = answered(&answer);
            assert_eq!((status, headers), expected);
            assert_eq!(body, refusal.text.len());
        }
    }
}

/// Status, number of headers and length of the body of an answer.
fn answered(answer: &[u8]) -> (u16, usize, usize) {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(size)) = response.parse(answer) else {
        return (0, 0, 0);
    };
    let status = response.code.unwrap_or_default();
    (
        status,
        response.headers.len(),
        answer.len().saturating_sub(size),
    )
}

/// What a proxy sends before the request, however broken.
pub fn proxy_header(data: &[u8]) {
    match proxy::parse(data) {
        Ok(None) => assert!(data.len() < proxy::MAX_BINARY_BYTES),
        Ok(Some((source, size))) => {
            let header = data.get(..size).unwrap_or_default();
            assert!(proxy::is_header(header));
            for cut in 0..size {
                let part = proxy::parse(header.get(..cut).unwrap_or_default());
                assert_eq!(part, Ok(None), "cut at {cut}");
            }
            assert_eq!(proxy::parse(header), Ok(Some((source, size))));
            if let proxy::Source::Client { ip, .. } = source {
                assert_eq!(ip, ip.to_canonical());
            }
        }
        // What is refused is refused whatever follows it.
        Err(error) => {
            let more = [data, b"\r\nGET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(proxy::parse(&more), Err(error));
        }
    }
}

/// What a client sends after the handshake: the first eight bytes say where the others are cut.
///
/// With compression agreed and without; and written out and read back behind every piece.
pub fn session(data: &[u8]) {
    let (seed, input) = data.split_first_chunk::<8>().unwrap_or((&[0; 8], data));
    for peer in [Peer::Deflating, Peer::Plain] {
        let mut cuts = Cuts(u64::from_le_bytes(*seed));
        let whole = outcome(run(peer, Life::One, input, || usize::MAX));
        for (life, most) in [
            (Life::One, 5),
            (Life::One, 3000),
            (Life::Many, 5),
            (Life::Text, 300),
        ] {
            let cut = outcome(run(peer, life, input, || cuts.size(most)));
            assert_eq!(cut, whole, "{peer:?}, {life:?}, cut after {most} at most");
        }
    }
}

/// What was agreed.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Deflating,
    Plain,
}

/// Whether a session is the same all the time.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// Written out and read back behind every piece, before its events are taken.
    Many,
    One,
    /// As `Many`, with what was written as text in between.
    Text,
}

/// What a server sends, likewise.
pub fn server_frames(data: &[u8]) {
    let (seed, input) = data.split_first_chunk::<8>().unwrap_or((&[0; 8], data));
    let mut cuts = Cuts(u64::from_le_bytes(*seed));
    assert_eq!(read(input, || cuts.size(7)), read(input, || usize::MAX));
}

/// The session reads `input` in pieces; what it promises of its events is held against each.
#[expect(
    clippy::disallowed_methods,
    reason = "a session needs some instant to begin with; nothing depends on which"
)]
fn run(peer: Peer, life: Life, input: &[u8], size: impl FnMut() -> usize) -> Vec<Event> {
    const LIMIT: usize = 2000;
    let now = Instant::now();
    let limits = SessionLimits {
        message: LIMIT,
        ping_after: Duration::from_secs(30),
        pong_within: Duration::from_secs(30),
        close_within: Duration::from_secs(5),
    };
    let mut session = match peer {
        Peer::Deflating => Session::new(now, limits).with_deflate(),
        Peer::Plain => Session::new(now, limits),
    };
    let mut events: Vec<Event> = Vec::new();
    let mut buffer = BytesMut::new();
    let mut inflate = Inflate::new();
    in_pieces(input, size, |piece| {
        buffer.extend_from_slice(piece);
        session.receive(now, &mut buffer, &mut inflate);
        assert!(buffer.len() < 132, "{} bytes left", buffer.len());
        assert!(session.held_bytes() <= LIMIT + LIMIT / 6 + 64);
        if !matches!(life, Life::One) {
            session = carried(&session, life, now, limits);
        }
        while let Some(event) = session.poll_event() {
            assert!(
                !matches!(events.last(), Some(Event::Closed(_))),
                "an event after the end"
            );
            if let Event::Message(payload) = &event {
                assert!(payload.len() <= LIMIT);
                let text = payload.kind == Kind::Text;
                assert!(!text || std::str::from_utf8(&payload.data).is_ok());
            }
            events.push(event);
        }
        let closed = matches!(events.last(), Some(Event::Closed(_)));
        assert_eq!(session.is_closing(), closed);
        assert_eq!(session.poll_timeout().is_none(), closed);
    });
    events
}

/// The session that another process makes of what this one wrote out.
fn carried(session: &Session, life: Life, now: Instant, limits: SessionLimits) -> Session {
    let mut saved = session.save(now);
    if matches!(life, Life::Text) {
        let text = serde_json::to_string(&saved).unwrap_or_default();
        let read: Option<SavedSession> = serde_json::from_str(&text).ok();
        assert_eq!(read.as_ref(), Some(&saved));
        saved = read.unwrap_or(saved);
    }
    let other = Session::restore(now, limits, saved);
    assert_eq!(other.poll_timeout(), session.poll_timeout());
    other
}

/// What must not depend on cuts: all but pongs, in order, and the last pong. Of many pings that come together only the
/// latest are answered.
fn outcome(events: Vec<Event>) -> (Vec<Event>, Option<Frame>) {
    let mut others = Vec::new();
    let mut last = None;
    for event in events {
        let Event::Reply(bytes) = &event else {
            others.push(event);
            continue;
        };
        let mut reply = BytesMut::from(&bytes[..]);
        let mut frames = ServerFrames::new();
        let answers: Vec<Frame> = std::iter::from_fn(|| frames.receive(&mut reply)).collect();
        let pongs = answers.iter().all(|frame| matches!(frame, Frame::Pong(_)));
        let close = matches!(answers.as_slice(), [Frame::Close(_)]);
        assert!(
            (pongs || close) && reply.is_empty(),
            "{bytes:x?} is no answer"
        );
        if close {
            others.push(event);
        } else {
            assert!((1..=16).contains(&answers.len()));
            last = answers.into_iter().next_back();
        }
    }
    (others, last)
}

fn read(input: &[u8], size: impl FnMut() -> usize) -> Vec<Frame> {
    let (mut frames, mut buffer) = (ServerFrames::new(), BytesMut::new());
    let mut read = Vec::new();
    in_pieces(input, size, |piece| {
        buffer.extend_from_slice(piece);
        read.extend(std::iter::from_fn(|| frames.receive(&mut buffer)));
    });
    read
}

fn in_pieces(input: &[u8], mut size: impl FnMut() -> usize, mut take: impl FnMut(&[u8])) {
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size().clamp(1, rest.len()));
        rest = after;
        take(piece);
    }
}

/// Sizes of pieces that follow from a seed (xorshift64).
struct Cuts(u64);

impl Cuts {
    /// 1 to `most`.
    fn size(&mut self, most: u64) -> usize {
        let mut x = self.0 | 1;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0 = x;
        usize::try_from(x % most).unwrap_or(0).saturating_add(1)
    }
}
