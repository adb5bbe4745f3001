//! Frames: the rules for headers that come in, unmasking, and the bytes of frames that go out (RFC 6455 §5).
//!
//! [pure] Works over tungstenite's `FrameHeader` for lengths and masks and adds the rules that it leaves to its caller.
//! `message` and `session` read with it; `worker/run.rs` writes with it. It knows nothing of what frames mean together.

use std::io::Cursor;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use super::close::ProtocolError;
use crate::types::Kind;

/// What a frame is (RFC 6455 §5.2); the discriminants are the bits on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with the message that is open.
    Continuation = 0,
    /// Begins a text message.
    Text = 1,
    /// Begins a binary message.
    Binary = 2,
    /// Begins or answers the closing handshake.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping, or says for itself that the peer is there.
    Pong = 10,
}

impl Opcode {
    /// Close, ping and pong: at most 125 bytes, never fragmented.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// RSV1 in the first byte of a frame (RFC 6455 §5.2).
const RSV1: u8 = 0x40;

/// Who sent a frame: clients mask, servers don't.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Client,
    /// A client with which permessage-deflate was agreed: RSV1 may be set.
    Deflating,
    Server,
}

/// The header of a frame that came in, by itself within the rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// RSV1 is set: the message that begins here is compressed (RFC 7692 §7.2).
    pub(super) deflated: bool,
    /// Zeros for what a server sent.
    pub(super) mask: [u8; 4],
    /// Bytes of the header.
    pub(super) size: usize,
    /// Bytes of the payload as announced: at most 125 for control frames, else below 2^63.
    pub(super) len: u64,
}

/// Reads the header at the front of `input`; `None` if it is not complete.
///
/// What the first two bytes say is judged as soon as they are there, always before the length: so where the input is cut
/// never decides which error comes.
#[inline]
pub(super) fn head(input: &[u8], from: Side) -> Result<Option<Head>, ProtocolError> {
    let [first, second, ..] = *input else {
        return Ok(None);
    };
    let deflated = first & 0x70 == RSV1;
    if first & 0x70 != 0 && !(deflated && from == Side::Deflating) {
        return Err(ProtocolError::ReservedBits);
    }
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(ProtocolError::UnknownOpcode)?;
    if deflated && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        // RFC 7692 §6.1: only a message's first frame carries it, and no control frame.
        return Err(ProtocolError::ReservedBits);
    }
    let fin = first & 0x80 != 0;
    match (from, second & 0x80 != 0) {
        (Side::Client | Side::Deflating, true) | (Side::Server, false) => {}
        (Side::Client | Side::Deflating, false) => return Err(ProtocolError::Unmasked),
        (Side::Server, true) => return Err(ProtocolError::Masked),
    }
    if opcode.is_control() {
        if !fin {
            return Err(ProtocolError::FragmentedControl);
        }
        if second & 0x7f > 125 {
            return Err(ProtocolError::ControlTooLong);
        }
    }
    if let ([_, _, a, b, c, d, ..], 0x80..=0xfd) = (input, second) {
        // Nearly every frame of a client: short and masked. The rest takes four times as long.
        return Ok(Some(Head {
            opcode,
            fin,
            deflated,
            mask: [*a, *b, *c, *d],
            size: 6,
            len: u64::from(second & 0x7f),
        }));
    }
    let mut cursor = Cursor::new(input);
    let (header, len) = match FrameHeader::parse(&mut cursor) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Ok(None),
        Err(_) => return Err(ProtocolError::UnknownOpcode),
    };
    let size = header.len(len);
    // RFC 6455 §5.2: the fewest bytes that hold the length, and its most significant bit is 0.
    if cursor.position() != size as u64 || len >> 63 != 0 {
        return Err(ProtocolError::Length);
    }
    Ok(Some(Head {
        opcode,
        fin,
        deflated,
        mask: header.mask.unwrap_or_default(),
        size,
        len,
    }))
}

/// Unmasks (or masks) in place and returns the mask turned so that it fits the byte that follows `data`.
#[inline]
pub(super) fn unmask(data: &mut [u8], mask: [u8; 4]) -> [u8; 4] {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut next = mask;
    next.rotate_left(data.len() & 3);
    let (words, rest) = data.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
    next
}

/// The header of a frame from the server, on the stack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    bytes: [u8; Self::MAX_BYTES],
    len: u8,
}

impl Header {
    /// Two bytes, and eight of a long length; servers don't mask.
    pub const MAX_BYTES: usize = 10;

    /// The bytes to send.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The header of an unfragmented frame from the server.
///
/// `payload_len` of a control frame is at most 125: [`encode_control`] sees to it.
#[must_use]
#[inline]
pub fn server_header(opcode: Opcode, payload_len: usize) -> Header {
    header(0x80 | opcode as u8, payload_len)
}

#[inline]
fn header(first: u8, payload_len: usize) -> Header {
    if let Ok(short @ 0..=125) = u8::try_from(payload_len) {
        return Header {
            bytes: [first, short, 0, 0, 0, 0, 0, 0, 0, 0],
            len: 2,
        };
    }
    if let Ok(medium) = u16::try_from(payload_len) {
        let [a, b] = medium.to_be_bytes();
        return Header {
            bytes: [first, 126, a, b, 0, 0, 0, 0, 0, 0],
            len: 4,
        };
    }
    let [a, b, c, d, e, f, g, h] = (payload_len as u64).to_be_bytes();
    Header {
        bytes: [first, 127, a, b, c, d, e, f, g, h],
        len: 10,
    }
}

/// Appends a message as one frame.
#[inline]
pub fn encode(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    let header = server_header(kind.into(), payload.len());
    out.reserve(payload.len().saturating_add(Header::MAX_BYTES));
    out.extend_from_slice(header.as_slice());
    out.extend_from_slice(payload);
}

/// Appends a message that is compressed as one frame.
pub(super) fn encode_deflated(kind: Kind, data: &[u8], out: &mut Vec<u8>) {
    let header = header(0x80 | RSV1 | Opcode::from(kind) as u8, data.len());
    out.extend_from_slice(header.as_slice());
    out.extend_from_slice(data);
}

/// A control frame. Bytes of the payload after the 125th are left out.
#[must_use]
pub fn encode_control(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(payload.len().saturating_add(2));
    append_control(opcode, payload, &mut frame);
    Bytes::from(frame)
}

/// Appends a control frame, likewise.
pub(super) fn append_control(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(opcode.is_control() && payload.len() <= 125);
    let payload = payload.get(..125).unwrap_or(payload);
    out.extend_from_slice(server_header(opcode, payload.len()).as_slice());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 6455 §5.7: a masked "Hello".
        let mut hello = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        let head = head(&hello, Side::Client).unwrap().unwrap();
        assert_eq!(
            (head.opcode, head.fin, head.size, head.len),
            (Opcode::Text, true, 6, 5)
        );
        unmask(&mut hello[6..], head.mask);
        assert_eq!(&hello[6..], b"Hello");
    }

    #[test]
    fn headers_outside_the_rules_are_refused() {
        use ProtocolError as E;
        let mask = [0; 4];
        for (bytes, error) in [
            (&[0xc1, 0x80][..], E::ReservedBits),
            (&[0xa1, 0x80], E::ReservedBits),
            (&[0x91, 0x80], E::ReservedBits),
            (&[0x83, 0x80], E::UnknownOpcode),
            (&[0x87, 0x80], E::UnknownOpcode),
            (&[0x8b, 0x80], E::UnknownOpcode),
            (&[0x8f, 0x80], E::UnknownOpcode),
            (&[0x81, 0x00], E::Unmasked),
            (&[0x09, 0x80], E::FragmentedControl),
            (&[0x89, 0xfe], E::ControlTooLong),
            (&[0x88, 0xff], E::ControlTooLong),
            (&[0x81, 0xfe, 0, 125], E::Length),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], E::Length),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], E::Length),
        ] {
            let whole = [bytes, &mask].concat();
            assert_eq!(head(&whole, Side::Client), Err(error), "{bytes:x?}");
        }
        assert_eq!(head(&[0x81, 0x80], Side::Server), Err(E::Masked));
        let longest = [&[0x82, 0xff, 0x7f][..], &[0xff; 7], &mask].concat();
        let longest = head(&longest, Side::Client).unwrap().unwrap();
        assert_eq!(longest.len, i64::MAX.unsigned_abs());
    }

    #[test]
    fn rsv1_stands_where_a_compressed_message_begins() {
        let head = |first| head(&[first, 0x80, 0, 0, 0, 0], Side::Deflating);
        for first in [0xc1, 0xc2, 0x41, 0x42] {
            assert!(head(first).unwrap().unwrap().deflated, "{first:#x}");
        }
        assert!(!head(0x81).unwrap().unwrap().deflated);
        for first in [0xc0, 0x40, 0xc8, 0xc9, 0xca, 0xa1, 0x91, 0xe1, 0xf1, 0xb1] {
            assert_eq!(head(first), Err(ProtocolError::ReservedBits), "{first:#x}");
        }
        assert_eq!(head(0xc3), Err(ProtocolError::UnknownOpcode));
    }

    #[test]
    fn a_header_is_awaited_whole() {
        for frame in [
            &[0x81, 0x85, 1, 2, 3, 4][..],
            &[0x81, 0xfe, 0, 126, 1, 2, 3, 4],
            &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
        ] {
            for cut in 0..frame.len() {
                assert_eq!(head(&frame[..cut], Side::Client), Ok(None));
            }
            let head = head(frame, Side::Client).unwrap().unwrap();
            assert_eq!((head.size, head.mask), (frame.len(), [1, 2, 3, 4]));
        }
    }

    #[test]
    fn unmasking_in_pieces_is_unmasking_at_once() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let plain: Vec<u8> = (0..70).collect();
        let masked: Vec<u8> = plain
            .iter()
            .zip(mask.iter().cycle())
            .map(|(p, m)| p ^ m)
            .collect();
        for end in 0..=plain.len() {
            for cut in 0..=end {
                let mut data = masked[..end].to_vec();
                let next = unmask(&mut data[..cut], mask);
                unmask(&mut data[cut..], next);
                assert_eq!(data, plain[..end]);
            }
        }
    }

    #[test]
    fn server_headers_have_the_shortest_length() {
        for (len, bytes) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let header = server_header(Opcode::Binary, len);
            assert_eq!(header.as_slice(), bytes);
            let read = head(header.as_slice(), Side::Server).unwrap().unwrap();
            assert_eq!((read.size, read.len), (bytes.len(), len as u64));
        }
        let mut out = b"x".to_vec();
        encode(Kind::Text, b"hi", &mut out);
        assert_eq!(out, b"x\x81\x02hi");
    }
}
