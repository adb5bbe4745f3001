//! How a publication travels through Redis: as it is, or in an envelope.
//!
//! [pure] Called by `publisher.rs` for what goes out and by `subscriber.rs` for what comes in. It never fails: what is
//! no envelope is a payload, whoever published it, so a stranger's bytes can be odd but never a fault.
//!
//! **Raw.** The payload and nothing else: a text without `skip` and `position`, or such a binary that is not UTF-8 and
//! does not begin with `FF`. Coming in, raw bytes are a text if they are UTF-8, else a binary.
//!
//! **Envelope.** Everything else. Numbers are unsigned, the most significant byte first.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | `FF`, which no UTF-8 text contains |
//! | 1 | version: `01` |
//! | 1 | flags: `01` the payload is binary, `02` a skip follows, `04` a position follows, `08` it is a fence; the other bits are 0 |
//! | 17, with flag `02` | the connection to leave out: node (8), worker (1), slot (4), generation (4) |
//! | 16, with flag `04` | the place in the channel's history: epoch (8), offset (8) |
//! | the rest | the payload; UTF-8 without flag `01` |
//!
//! **Fence.** `FF 01 08`, the node that asked (8), its number of the question (8). It is no message: it stands in the channel
//! where a node read the history, and every other node passes over it.
//!
//! Bytes that begin with `FF` and break any of this (another version or flag, too short, a text that is not UTF-8) are
//! a raw binary payload.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;

use bytes::Bytes;

use crate::types::{
    ChannelName, ConnId, Epoch, Kind, NodeId, Origin, Payload, Position, Publication, WorkerId,
};

const MARK: u8 = 0xff;
const VERSION: u8 = 1;
const BINARY: u8 = 1;
const SKIP: u8 = 2;
const POSITION: u8 = 4;
const FENCE: u8 = 8;
/// Mark, version, flags, skip and position.
const HEAD_MAX: usize = 3 + 17 + 16;

/// What to publish for it: the payload itself where that says everything.
pub(super) fn encode(publication: &Publication) -> Cow<'_, [u8]> {
    let Publication {
        payload,
        position,
        skip,
        ..
    } = publication;
    let data: &[u8] = &payload.data;
    if skip.is_none() && position.is_none() && is_raw(payload) {
        return Cow::Borrowed(data);
    }
    let mut out = Vec::with_capacity(data.len().saturating_add(HEAD_MAX));
    put_head(publication, position.is_some(), &mut out);
    if let Some(Position { epoch, offset }) = position {
        out.extend_from_slice(&epoch.0.to_be_bytes());
        out.extend_from_slice(&offset.to_be_bytes());
    }
    out.extend_from_slice(data);
    Cow::Owned(out)
}

/// The envelope up to the position, which only Redis knows.
pub(super) fn head(publication: &Publication) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_MAX);
    put_head(publication, true, &mut out);
    out
}

fn put_head(publication: &Publication, position: bool, out: &mut Vec<u8>) {
    let mut flags = 0;
    if publication.payload.kind == Kind::Binary {
        flags |= BINARY;
    }
    if publication.skip.is_some() {
        flags |= SKIP;
    }
    if position {
        flags |= POSITION;
    }
    out.extend_from_slice(&[MARK, VERSION, flags]);
    if let Some(Origin { node, worker, conn }) = publication.skip {
        out.extend_from_slice(&node.0.to_be_bytes());
        out.push(worker.0);
        out.extend_from_slice(&conn.slot.to_be_bytes());
        out.extend_from_slice(&conn.generation.to_be_bytes());
    }
}

/// The mark of a question in its channel.
pub(super) fn encode_fence(node: NodeId, token: u64) -> Vec<u8> {
    let mut out = vec![MARK, VERSION, FENCE];
    out.extend_from_slice(&node.0.to_be_bytes());
    out.extend_from_slice(&token.to_be_bytes());
    out
}

/// Whose question these bytes mark; `None`: they are a message.
pub(super) fn decode_fence(bytes: &[u8]) -> Option<(NodeId, u64)> {
    let [MARK, VERSION, FENCE, rest @ ..] = bytes else {
        return None;
    };
    let mut fields = Fields(rest);
    let node = NodeId(u64::from_be_bytes(fields.take()?));
    let token = u64::from_be_bytes(fields.take()?);
    fields.0.is_empty().then_some((node, token))
}

/// The publication that these bytes on `channel` are. The payload is copied once.
pub(super) fn decode(channel: ChannelName, bytes: &[u8]) -> Publication {
    if let Some(envelope) = open(bytes) {
        return Publication {
            channel,
            payload: Payload {
                kind: envelope.kind,
                data: Bytes::copy_from_slice(envelope.payload),
            },
            position: envelope.position,
            skip: envelope.skip,
        };
    }
    Publication {
        channel,
        payload: Payload::guess(Bytes::copy_from_slice(bytes)),
        position: None,
        skip: None,
    }
}

/// Whether the reader will take the bare payload for what it is.
fn is_raw(payload: &Payload) -> bool {
    match payload.kind {
        Kind::Text => true,
        Kind::Binary => {
            payload.data.first() != Some(&MARK)
                && simdutf8::basic::from_utf8(&payload.data).is_err()
        }
    }
}

/// An envelope taken apart.
struct Envelope<'a> {
    kind: Kind,
    skip: Option<Origin>,
    position: Option<Position>,
    payload: &'a [u8],
}

fn open(bytes: &[u8]) -> Option<Envelope<'_>> {
    let [MARK, VERSION, flags, rest @ ..] = bytes else {
        return None;
    };
    if flags & !(BINARY | SKIP | POSITION) != 0 {
        return None;
    }
    let mut fields = Fields(rest);
    let skip = if flags & SKIP == 0 {
        None
    } else {
        Some(Origin {
            node: NodeId(u64::from_be_bytes(fields.take()?)),
            worker: WorkerId(u8::from_be_bytes(fields.take()?)),
            conn: ConnId {
                slot: u32::from_be_bytes(fields.take()?),
                generation: u32::from_be_bytes(fields.take()?),
            },
        })
    };
    let position = if flags & POSITION == 0 {
        None
    } else {
        Some(Position {
            epoch: Epoch(u64::from_be_bytes(fields.take()?)),
            offset: u64::from_be_bytes(fields.take()?),
        })
    };
    let payload = fields.0;
    let kind = if flags & BINARY == 0 {
        simdutf8::basic::from_utf8(payload).ok()?;
        Kind::Text
    } else {
        Kind::Binary
    };
    Some(Envelope {
        kind,
        skip,
        position,
        payload,
    })
}

/// What of the envelope has not been read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::redis::backoff::Dice;

    fn publication(payload: Payload, skip: bool, position: bool) -> Publication {
        Publication {
            channel: ChannelName::new("chat").unwrap(),
            payload,
            position: position.then_some(Position {
                epoch: Epoch(0x0102_0304_0506_0708),
                offset: u64::MAX,
            }),
            skip: skip.then_some(Origin {
                node: NodeId(0x1122_3344_5566_7788),
                worker: WorkerId(127),
                conn: ConnId {
                    slot: 0x0a0b_0c0d,
                    generation: 7,
                },
            }),
        }
    }

    fn binary(data: &[u8]) -> Payload {
        Payload {
            kind: Kind::Binary,
            data: Bytes::copy_from_slice(data),
        }
    }

    #[test]
    fn what_redis_cli_can_say_travels_as_it_is() {
        let text = publication(Payload::text("hello"), false, false);
        assert_eq!(&*encode(&text), b"hello");
        let bytes = publication(binary(b"\x00\xfe"), false, false);
        assert_eq!(&*encode(&bytes), b"\x00\xfe");
    }

    #[test]
    fn the_envelope_is_as_documented() {
        let all = publication(binary(b"hi"), true, true);
        let mut expected = vec![0xff, 1, 7];
        expected.extend([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 127]);
        expected.extend([0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0, 7]);
        expected.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        expected.extend([0xff; 8]);
        expected.extend(b"hi");
        assert_eq!(&*encode(&all), expected);
        assert_eq!(
            &*encode(&publication(binary(b"hi"), false, false)),
            b"\xff\x01\x01hi"
        );
        assert_eq!(
            encode(&publication(Payload::text(""), true, false)).len(),
            20
        );
    }

    #[test]
    fn decoding_gives_back_what_was_encoded() {
        let payloads = [
            Payload::text(""),
            Payload::text("größe"),
            binary(b""),
            binary(b"plain"),
            binary(b"\xff"),
            binary(b"\xff\x01\x00"),
            binary(b"\xff\x01\x07"),
            binary(b"\x80\x81"),
        ];
        for payload in payloads {
            for (skip, position) in [(false, false), (true, false), (false, true), (true, true)] {
                let sent = publication(payload.clone(), skip, position);
                assert_eq!(decode(sent.channel.clone(), &encode(&sent)), sent);
            }
        }
    }

    #[test]
    fn a_broken_envelope_is_a_binary_payload() {
        let odd: [&[u8]; 8] = [
            b"\xff",
            b"\xff\x01",
            b"\xff\x02\x00text",
            b"\xff\x00\x00text",
            b"\xff\x01\x08text",
            b"\xff\x01\x02short",
            b"\xff\x01\x04short",
            b"\xff\x01\x00\xc3",
        ];
        for bytes in odd {
            let got = decode(ChannelName::new("c").unwrap(), bytes);
            assert_eq!(got.payload, binary(bytes));
            assert_eq!((got.skip, got.position), (None, None));
        }
    }

    #[test]
    fn random_bytes_decode_and_survive_a_second_round() {
        let mut dice = Dice::new(11);
        let channel = ChannelName::new("c").unwrap();
        for _ in 0..50_000 {
            let len = usize::try_from(dice.below(48)).unwrap();
            let mut bytes: Vec<u8> = (0..len)
                .map(|_| u8::try_from(dice.below(256)).unwrap())
                .collect();
            let head = [MARK, VERSION, u8::try_from(dice.below(10)).unwrap()];
            let forged = usize::try_from(dice.below(4)).unwrap().min(len);
            bytes[..forged].copy_from_slice(&head[..forged]);
            let once = decode(channel.clone(), &bytes);
            assert_eq!(decode(channel.clone(), &encode(&once)), once, "{bytes:?}");
        }
    }
}
