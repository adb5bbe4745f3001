//! The client's end of one connection: bytes to the server, bytes from it, and what they said.

use std::collections::BTreeMap;

use bytes::{Buf, BytesMut};
use wsd::types::{Close, Kind, Origin, Payload};
use wsd::wire::{Frame, ServerFrames, Session};

use crate::dice::Dice;
use crate::note::Note;

/// One stay in a channel, in the model's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stay {
    /// From when on everything is promised; `None`: not yet.
    pub(crate) live: Option<u64>,
    /// When it was over.
    pub(crate) left: Option<u64>,
}

/// What one client has had of one channel since the model was last settled.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) stays: Vec<Stay>,
    /// The messages that it got, in order.
    pub(crate) got: Vec<u64>,
}

impl Seen {
    pub(crate) fn is_in(&self) -> bool {
        self.stays.last().is_some_and(|stay| stay.left.is_none())
    }
}

/// The client's end of one connection.
pub(crate) struct Client {
    pub(crate) origin: Origin,
    /// The server's side of the protocol; `None` before the 101 and for wsd's own connections.
    pub(crate) session: Option<Session>,
    /// What the session has not taken.
    pub(crate) unread: BytesMut,
    /// What it has sent and the server not yet read.
    pub(crate) sending: BytesMut,
    arrived: BytesMut,
    frames: ServerFrames,
    /// Whether the 101 is still to come.
    head: bool,
    pub(crate) slow: bool,
    pub(crate) blocked: bool,
    /// Whether its handshake's channel is not promised yet.
    pub(crate) waits: Option<String>,
    pub(crate) seen: BTreeMap<String, Seen>,
    pub(crate) end: Option<Close>,
    /// The most bytes that were seen to wait for it.
    pub(crate) most_queued: usize,
}

impl Client {
    pub(crate) fn new(origin: Origin, slow: bool, head: bool) -> Self {
        Self {
            origin,
            session: None,
            unread: BytesMut::new(),
            sending: BytesMut::new(),
            arrived: BytesMut::new(),
            frames: ServerFrames::new(),
            head,
            slow,
            blocked: false,
            waits: None,
            seen: BTreeMap::new(),
            end: None,
            most_queued: 0,
        }
    }

    /// Puts a message on its way, sometimes in fragments with a ping between them.
    pub(crate) fn send(&mut self, dice: &mut Dice, payload: &Payload) {
        let opcode = match payload.kind {
            Kind::Text => 1,
            Kind::Binary => 2,
        };
        if !dice.one_in(4) {
            self.frame(dice, 0x80 | opcode, &payload.data);
            return;
        }
        let cut = dice.below(payload.len() + 1);
        self.frame(dice, opcode, &payload.data[..cut]);
        if dice.one_in(2) {
            self.frame(dice, 0x89, b"here?");
        }
        self.frame(dice, 0x80, &payload.data[cut..]);
    }

    /// One frame, masked (RFC 6455 §5.2).
    pub(crate) fn frame(&mut self, dice: &mut Dice, first: u8, payload: &[u8]) {
        let out = &mut self.sending;
        out.extend_from_slice(&[first]);
        match u8::try_from(payload.len()) {
            Ok(len) if len < 126 => out.extend_from_slice(&[0x80 | len]),
            _ => {
                let len = u16::try_from(payload.len()).expect("a short payload");
                out.extend_from_slice(&[0x80 | 126]);
                out.extend_from_slice(&len.to_be_bytes());
            }
        }
        let mask = dice.roll().to_le_bytes();
        out.extend_from_slice(&mask[..4]);
        let masked = payload.iter().zip(mask[..4].iter().cycle());
        let masked: Vec<u8> = masked.map(|(byte, mask)| byte ^ mask).collect();
        out.extend_from_slice(&masked);
    }

    /// Bytes from the server. Returns the notes in them, and how many pings are to be answered.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> (Vec<Note>, usize) {
        assert!(
            bytes.is_empty() || self.end.is_none(),
            "{}: {} bytes after the close frame",
            self.origin,
            bytes.len()
        );
        self.arrived.extend_from_slice(bytes);
        if self.head && !self.take_head() {
            return (Vec::new(), 0);
        }
        let (mut notes, mut pings) = (Vec::new(), 0);
        while let Some(frame) = self.frames.receive(&mut self.arrived) {
            match frame {
                Frame::Message(payload) => notes.extend(Note::all_of(&payload)),
                Frame::Ping(_) => pings += 1,
                Frame::Pong(_) => {}
                Frame::Close(close) => {
                    let fault = matches!(close.code, 1002 | 1007 | 1009);
                    assert!(!fault, "{}: broken frames: {close:?}", self.origin);
                    assert!(self.arrived.is_empty(), "bytes after the close frame");
                    self.end = Some(close);
                }
            }
        }
        (notes, pings)
    }

    /// Takes the answer to the handshake off the front; false if it is not all there.
    fn take_head(&mut self) -> bool {
        let begin = self.arrived.len().min(13);
        let whole: &[u8] = b"HTTP/1.1 101 ";
        assert_eq!(
            &self.arrived[..begin],
            &whole[..begin],
            "{}: this is not the answer to a handshake",
            self.origin
        );
        let end = self.arrived.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            self.arrived.advance(end + 4);
            self.head = false;
        }
        end.is_some()
    }

    /// Whether all that came was whole frames.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.arrived.is_empty()
    }
}
