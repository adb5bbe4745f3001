//! The little of RFC 6455 that a benchmark needs: unfragmented frames, both directions. `[pure]`
//!
//! The generator masks and reads plain frames, the floors unmask and write plain ones. Written apart from `src/wire` on
//! purpose: what checks a server must not share its mistakes.

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A frame.
    Frame(Frame),
    /// The beginning of a frame.
    Unfinished,
    /// Nothing that can be a frame here.
    Broken,
}

/// A frame, as places in the bytes that were parsed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(crate) first: u8,
    /// The key of a client's frame.
    pub(crate) mask: Option<[u8; 4]>,
    /// Where the payload begins.
    pub(crate) start: usize,
    /// Where it ends, and with it the frame.
    pub(crate) end: usize,
}

/// Parses the frame at the beginning of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let &[first, second, ..] = bytes else {
        return Parsed::Unfinished;
    };
    let (length, mut start) = match second & 0x7f {
        126 => match bytes.get(2..4) {
            Some(&[a, b]) => (usize::from(u16::from_be_bytes([a, b])), 4),
            _ => return Parsed::Unfinished,
        },
        127 => return Parsed::Broken, // nobody here sends 64 KiB
        short => (usize::from(short), 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        mask = bytes
            .get(start..start + 4)
            .and_then(|key| key.try_into().ok());
        if mask.is_none() {
            return Parsed::Unfinished;
        }
        start += 4;
    }
    let end = start + length;
    if bytes.len() < end {
        return Parsed::Unfinished;
    }
    Parsed::Frame(Frame {
        first,
        mask,
        start,
        end,
    })
}

/// Appends the header of a frame; `length` is below 64 KiB.
pub(crate) fn write_header(first: u8, length: usize, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match u8::try_from(length) {
        Ok(short) if short < 126 => out.extend_from_slice(&[first, masked | short]),
        _ => {
            let [a, b] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            out.extend_from_slice(&[first, masked | 126, a, b]);
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |key| &key[..]));
}

/// Masks or unmasks a whole payload in place.
pub(crate) fn mask(payload: &mut [u8], key: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    let word_key = u32::from_ne_bytes(key);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ word_key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// A whole text message.
pub(crate) const TEXT: u8 = 0x81;
/// The same, compressed.
pub(crate) const DEFLATED: u8 = 0xc1;
/// A whole binary message.
pub(crate) const BINARY: u8 = 0x82;
/// The closing handshake.
pub(crate) const CLOSE: u8 = 0x88;
/// Asks for a pong.
pub(crate) const PING: u8 = 0x89;
/// Answers a ping.
pub(crate) const PONG: u8 = 0x8a;
