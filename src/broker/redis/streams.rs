//! History in Redis: what is sent to append and to recall, and what is read of the answers.
//!
//! [pure] `publisher.rs` sends these commands among its publishes. Each is one script that Redis runs in one step; the
//! scripts say themselves what stands in a stream.
//!
//! # Why a script's text goes along each time
//!
//! A node that knows only a script's digest must be told when Redis has forgotten it (`SCRIPT FLUSH`, a failover), and send
//! again what was refused so; meanwhile what stood behind it in the pipeline has been refused too, or, worse, not. The
//! order of a channel would hang on it. The text costs 2 KiB a message on the link; Redis keeps it compiled.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::Bytes;
use redis::Value;

use super::codec;
use crate::broker::history::Missed;
use crate::broker::{Ask, Question};
use crate::config::Keep;
use crate::types::{ChannelName, Epoch, Kind, NodeId, Payload, Position, Publication};

const APPEND: &str = include_str!("append.lua");
const RECALL: &str = include_str!("recall.lua");

/// The stream of a channel: `prefix$history:{prefix channel}`, so that it has the slot of its Redis channel.
pub(super) fn key(prefix: &str, channel: &ChannelName) -> String {
    format!("{prefix}$history:{{{prefix}{channel}}}")
}

/// The words of the command that appends and publishes. `own` names the message among all that nodes ever append;
/// `again`: Redis may have it already.
pub(super) fn append(
    prefix: &str,
    publication: &Publication,
    keep: Keep,
    epoch: Epoch,
    own: [u8; 16],
    again: bool,
) -> Vec<Vec<u8>> {
    let kind: &[u8] = match publication.payload.kind {
        Kind::Text => b"t",
        Kind::Binary => b"b",
    };
    let mut words = begin(APPEND, prefix, &publication.channel, keep, epoch);
    words.push(own.to_vec());
    words.push(if again { b"again".to_vec() } else { Vec::new() });
    words.push(codec::head(publication));
    words.push(kind.to_vec());
    words.push(publication.payload.data.to_vec());
    words
}

/// The words of the command that reads and publishes the fence.
pub(super) fn recall(
    prefix: &str,
    node: NodeId,
    question: &Question,
    epoch: Epoch,
) -> Vec<Vec<u8>> {
    let Question {
        channel,
        ask,
        keep,
        token,
    } = question;
    let mut words = begin(RECALL, prefix, channel, *keep, epoch);
    words.push(codec::encode_fence(node, *token));
    let (mode, since, number) = match ask {
        Ask::Newest(count) => ("newest", Epoch(0), (*count).min(keep.size as usize) as u64),
        Ask::Since(position) => ("since", position.epoch, position.offset),
    };
    words.push(mode.into());
    words.push(since.0.to_be_bytes().to_vec());
    words.push(number.to_string().into_bytes());
    words
}

fn begin(
    script: &str,
    prefix: &str,
    channel: &ChannelName,
    keep: Keep,
    epoch: Epoch,
) -> Vec<Vec<u8>> {
    vec![
        b"EVAL".to_vec(),
        script.into(),
        b"1".to_vec(),
        key(prefix, channel).into_bytes(),
        format!("{prefix}{channel}").into_bytes(),
        b"PUBLISH".to_vec(),
        keep.size.max(1).to_string().into_bytes(),
        keep.ttl.as_millis().max(1).to_string().into_bytes(),
        epoch.0.to_be_bytes().to_vec(),
    ]
}

/// The place that an append was given; `None` if the answer is none of ours.
pub(super) fn appended(value: &Value) -> Option<Position> {
    let Value::Array(items) = value else {
        return None;
    };
    let [epoch, offset] = items.as_slice() else {
        return None;
    };
    position(epoch, offset)
}

/// What a recall found; `None` if the answer is none of ours.
pub(super) fn recalled(value: &Value) -> Option<Missed> {
    let Value::Array(items) = value else {
        return None;
    };
    let [epoch, offset, recovered, rest @ ..] = items.as_slice() else {
        return None;
    };
    let top = position(epoch, offset)?;
    let mut messages = Vec::with_capacity(rest.len() / 3);
    for message in rest.chunks_exact(3) {
        let [offset, kind, payload] = message else {
            return None;
        };
        let data = Bytes::copy_from_slice(bytes(payload)?);
        let payload = match bytes(kind)? {
            b"t" if simdutf8::basic::from_utf8(&data).is_ok() => Payload {
                kind: Kind::Text,
                data,
            },
            _ => Payload {
                kind: Kind::Binary,
                data,
            },
        };
        messages.push((position(epoch, offset)?, payload));
    }
    Some(Missed {
        top,
        recovered: matches!(recovered, Value::Int(1)),
        messages,
    })
}

fn position(epoch: &Value, offset: &Value) -> Option<Position> {
    let epoch: [u8; 8] = bytes(epoch)?.try_into().ok()?;
    let offset = std::str::from_utf8(bytes(offset)?).ok()?.parse().ok()?;
    Some(Position {
        epoch: Epoch(u64::from_be_bytes(epoch)),
        offset,
    })
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    #[test]
    fn answers_are_read_and_anything_else_is_none() {
        let epoch = bulk(&7_u64.to_be_bytes());
        let place = |offset| Position {
            epoch: Epoch(7),
            offset,
        };
        let answer = Value::Array(vec![epoch.clone(), bulk(b"12")]);
        assert_eq!(appended(&answer), Some(place(12)));
        let answer = Value::Array(vec![
            epoch.clone(),
            bulk(b"12"),
            Value::Int(1),
            bulk(b"11"),
            bulk(b"t"),
            bulk(b"text"),
            bulk(b"12"),
            bulk(b"t"),
            bulk(b"\xff"),
        ]);
        let missed = recalled(&answer).unwrap();
        assert_eq!((missed.top, missed.recovered), (place(12), true));
        assert_eq!(missed.messages[0], (place(11), Payload::text("text")));
        assert_eq!(missed.messages[1].1.kind, Kind::Binary);
        for wrong in [
            Value::Nil,
            Value::Int(1),
            Value::Array(Vec::new()),
            Value::Array(vec![bulk(b"short"), bulk(b"1"), Value::Int(1)]),
            Value::Array(vec![epoch.clone(), bulk(b"-1"), Value::Int(1)]),
            Value::Array(vec![epoch, Value::Int(1), Value::Int(1)]),
        ] {
            assert_eq!(appended(&wrong), None);
            assert_eq!(recalled(&wrong), None);
        }
    }

    #[test]
    fn a_stream_has_the_slot_of_its_channel() {
        let channel = ChannelName::new("room:1").unwrap();
        assert_eq!(key("app:", &channel), "app:$history:{app:room:1}");
    }
}
