//! Frames and compression: what is agreed, what comes out of hostile data, and that what was written can be read.

use bytes::BytesMut;

use super::Cuts;
use crate::types::Kind;
use crate::wire::deflate::{Deflate, Effort, Inflate};
use crate::wire::frame as frames;
use crate::wire::negotiate::negotiate;
use crate::wire::{Agreement, Frame, ProtocolError, ServerFrames};

/// The lines of `Sec-WebSocket-Extensions`, each of which ends with a line feed.
pub fn negotiation(data: &[u8]) {
    let lines = || data.split(|&b| b == b'\n');
    let outcome = negotiate(lines());
    // Several lines are one list.
    let joined = data.to_vec();
    let joined: Vec<u8> = joined
        .iter()
        .map(|&b| if b == b'\n' { b',' } else { b })
        .collect();
    // A quoted string ends with its line; joined it might go on.
    if !data.contains(&b'"') {
        assert_eq!(negotiate(std::iter::once(joined.as_slice())), outcome);
    }
    if let Ok(Some(agreement)) = outcome {
        // The answer is an offer that would be answered likewise.
        let answer = agreement.answer();
        let again = negotiate(std::iter::once(answer.as_bytes()));
        assert_eq!(again, Ok(Some(agreement)));
        let bits = agreement.server_window_bits();
        assert_eq!(Agreement::from_server_window_bits(bits), Some(agreement));
        assert_eq!(
            agreement.takes_shared_frames(),
            matches!(bits, None | Some(15))
        );
    }
}

/// A compressed message: the first two bytes are the ceiling.
pub fn inflate(data: &[u8]) {
    let (size, data) = data.split_first_chunk::<2>().unwrap_or((&[0; 2], data));
    let ceiling = usize::from(u16::from_le_bytes(*size));
    let mut inflate = Inflate::new();
    let outcome = inflate.message(data, ceiling);
    match &outcome {
        Ok(message) => {
            let len = message.len();
            assert!(len <= ceiling);
            assert_eq!(inflate.message(data, len), outcome);
            if let Some(less) = len.checked_sub(1) {
                assert_eq!(inflate.message(data, less), Err(ProtocolError::TooBig));
            }
        }
        Err(error) => {
            // Of two faults the first counts, and a lower ceiling may come before it.
            let lower = inflate.message(data, ceiling / 2);
            assert!(lower == Err(*error) || lower == Err(ProtocolError::TooBig));
        }
    }
    // Nothing stays behind.
    assert_eq!(inflate.message(data, ceiling), outcome);
}

/// Messages as a server writes them, plain and compressed: the first eight bytes are level, smallest size and a seed.
pub fn frame(data: &[u8]) {
    let (head, data) = data.split_first_chunk::<8>().unwrap_or((&[0; 8], data));
    let [level, size, ..] = *head;
    let effort = Effort {
        level: u32::from(level % 9) + 1,
        min_size: usize::from(size),
    };
    let mut cuts = Cuts(u64::from_le_bytes(*head));
    let (mut bytes, mut borders, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = data;
    while !rest.is_empty() {
        let (message, after) = rest.split_at(cuts.size(300).min(rest.len()));
        rest = after;
        frames::encode(Kind::Binary, message, &mut bytes);
        borders.push(u32::try_from(bytes.len()).unwrap_or_default());
        messages.push(message);
    }
    assert_eq!(read(&bytes, &borders), messages);
    if let Some(made) = Deflate::new().frames(effort, &bytes, &borders) {
        assert!(made.bytes.len() < bytes.len());
        assert_eq!(made.borders.len(), borders.len());
        assert_eq!(read(&made.bytes, &made.borders), messages);
    }
}

/// The messages of a server's frames, each by itself.
fn read(bytes: &[u8], borders: &[u32]) -> Vec<Vec<u8>> {
    let (mut start, mut inflate) = (0, Inflate::new());
    let mut messages = Vec::new();
    for &end in borders {
        let end = end as usize;
        let mut frame = BytesMut::from(bytes.get(start..end).unwrap_or_default());
        start = end;
        let deflated = frame.first().is_some_and(|first| first & 0x40 != 0);
        if let Some(first) = frame.first_mut() {
            *first &= !0x40;
        }
        let message = ServerFrames::new().receive(&mut frame);
        let Some(Frame::Message(payload)) = message else {
            return Vec::new();
        };
        assert!(frame.is_empty());
        let data = if deflated {
            inflate.message(&payload.data, 1 << 20)
        } else {
            Ok(payload.data)
        };
        messages.push(data.map(|data| data.to_vec()).unwrap_or_default());
    }
    assert_eq!(start, bytes.len());
    messages
}
