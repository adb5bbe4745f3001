//! Tests of the layer as a whole: what a client sends, and what comes out.
//!
//! `Wire` writes what clients write, also what they must not; randomness comes from a seed that every failure names.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, as it should"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a session needs some instant to begin with; no test waits"
)]

mod closing;
mod deflate;
mod handshake;
mod independent;
mod messages;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::frame::{self, Opcode};
use super::{Event, Inflate, ProtocolError, Session, SessionLimits, close};
use crate::types::{Kind, Payload};

const LIMITS: SessionLimits = SessionLimits {
    message: 64 * 1024,
    ping_after: Duration::from_secs(30),
    pong_within: Duration::from_secs(20),
    close_within: Duration::from_secs(5),
};

/// Any instant: only differences matter.
fn start() -> Instant {
    Instant::now()
}

/// What a client writes.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn new() -> Self {
        Self::default()
    }

    /// A frame whose first byte is given: FIN, reserved bits and opcode.
    fn raw(mut self, first: u8, payload: &[u8]) -> Self {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let header = frame::server_header(Opcode::Text, payload.len());
        let mut header = header.as_slice().to_vec();
        header[0] = first;
        header[1] |= 0x80;
        self.0.extend(header);
        self.0.extend(mask);
        let at = self.0.len();
        self.0.extend(payload);
        frame::unmask(&mut self.0[at..], mask);
        self
    }

    fn frame(self, opcode: Opcode, payload: impl AsRef<[u8]>) -> Self {
        self.raw(0x80 | opcode as u8, payload.as_ref())
    }

    /// A frame that is not the last of its message.
    fn part(self, opcode: Opcode, payload: impl AsRef<[u8]>) -> Self {
        self.raw(opcode as u8, payload.as_ref())
    }

    fn text(self, text: &str) -> Self {
        self.frame(Opcode::Text, text)
    }

    fn close(self, code: u16, reason: &str) -> Self {
        let body = [&code.to_be_bytes(), reason.as_bytes()].concat();
        self.frame(Opcode::Close, body)
    }
}

/// All events of a new session that gets `input` in pieces of the given sizes, the last of which is repeated.
fn events(input: &[u8], sizes: impl IntoIterator<Item = usize>) -> Vec<Event> {
    let mut session = Session::new(start(), LIMITS);
    feed(&mut session, input, sizes)
}

fn feed(session: &mut Session, input: &[u8], sizes: impl IntoIterator<Item = usize>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut rest = input;
    let mut buffer = BytesMut::new();
    let mut sizes = sizes.into_iter();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        buffer.extend_from_slice(piece);
        session.receive(start(), &mut buffer, &mut Inflate::new());
        assert!(buffer.len() < 132, "{} bytes left", buffer.len());
        events.extend(std::iter::from_fn(|| session.poll_event()));
    }
    events
}

fn message(text: &str) -> Event {
    Event::Message(Payload::text(text))
}

fn binary(data: &[u8]) -> Event {
    Event::Message(Payload {
        kind: Kind::Binary,
        data: Bytes::copy_from_slice(data),
    })
}

fn pong(body: &[u8]) -> Event {
    Event::Reply(frame::encode_control(Opcode::Pong, body))
}

fn refused(error: ProtocolError) -> [Event; 2] {
    [
        Event::Reply(close::encode(&error.close())),
        Event::Closed(error.close()),
    ]
}

fn poll(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// Numbers that look random and are the same for the same seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).unwrap()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.roll().to_le_bytes()[0])
            .take(len)
            .collect()
    }
}
