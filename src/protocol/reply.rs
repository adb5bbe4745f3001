//! Answers and what is pushed → text.
//!
//! [pure] Every function appends to a buffer. Fields stand in the order of the table in SPEC §5.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::code::Code;
use super::command::Id;
use crate::types::{ChannelName, Kind, Payload, Position, is_json};

/// An answer to a command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reply<'a> {
    /// It was not carried out.
    Error {
        /// What kind of mistake.
        code: Code,
        /// What is wrong.
        reason: &'a str,
    },
    /// What a channel keeps.
    History {
        /// Which channel.
        channel: &'a ChannelName,
        /// Oldest first.
        messages: &'a [(Position, Payload)],
    },
    /// To a ping.
    Pong,
    /// The broker has the message.
    Published {
        /// Its place, if the channel keeps a history and the message was published by itself.
        position: Option<Position>,
    },
    /// A member from now on.
    Subscribed {
        /// Of this channel, which a hook may have renamed.
        channel: &'a ChannelName,
        /// What comes is after this; `None` where the channel has no history.
        position: Option<Position>,
        /// Whether everything since the position that was asked for follows.
        recovered: bool,
    },
    /// No member from now on.
    Unsubscribed {
        /// Of this channel.
        channel: &'a ChannelName,
    },
}

/// Appends an answer.
pub fn write_reply(reply: &Reply<'_>, id: Option<&Id>, out: &mut Vec<u8>) {
    let kind = match reply {
        Reply::Error { .. } => "error",
        Reply::History { .. } => "history",
        Reply::Pong => "pong",
        Reply::Published { .. } => "published",
        Reply::Subscribed { .. } => "subscribed",
        Reply::Unsubscribed { .. } => "unsubscribed",
    };
    begin(kind, out);
    match reply {
        Reply::Error { code, reason } => {
            put_string("code", code.as_str(), out);
            put_string("reason", reason, out);
        }
        Reply::History { channel, messages } => {
            put_string("channel", channel.as_str(), out);
            out.extend_from_slice(b",\"messages\":[");
            for (index, (position, payload)) in messages.iter().enumerate() {
                out.push(if index == 0 { b'{' } else { b',' });
                if index > 0 {
                    out.push(b'{');
                }
                put_payload(payload, out);
                put_position(Some(*position), out);
                out.push(b'}');
            }
            out.push(b']');
        }
        Reply::Pong => {}
        Reply::Published { position } => put_position(*position, out),
        Reply::Subscribed {
            channel,
            position,
            recovered,
        } => {
            put_string("channel", channel.as_str(), out);
            put_position(*position, out);
            out.extend_from_slice(b",\"recovered\":");
            out.extend_from_slice(if *recovered { b"true" } else { b"false" });
        }
        Reply::Unsubscribed { channel } => put_string("channel", channel.as_str(), out),
    }
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id.as_json().as_bytes());
    }
    out.push(b'}');
}

/// Appends a publication, or with no `channel` what a hook sends to one connection.
pub fn write_message(
    channel: Option<&ChannelName>,
    payload: &Payload,
    position: Option<Position>,
    out: &mut Vec<u8>,
) {
    begin("message", out);
    if let Some(channel) = channel {
        put_string("channel", channel.as_str(), out);
    }
    out.push(b',');
    put_payload(payload, out);
    put_position(position, out);
    out.push(b'}');
}

/// Appends that some publications were missed and cannot be had again; what comes is after `position`.
pub fn write_gap(channel: &ChannelName, position: Option<Position>, out: &mut Vec<u8>) {
    begin("gap", out);
    put_string("channel", channel.as_str(), out);
    put_position(position, out);
    out.push(b'}');
}

fn begin(kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
}

fn put_string(field: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b"\":");
    json_string(value, out);
}

fn put_position(position: Option<Position>, out: &mut Vec<u8>) {
    if let Some(position) = position {
        out.extend_from_slice(format!(",\"position\":\"{position}\"").as_bytes());
    }
}

/// `"data":` with the JSON value that the payload is or a string, or `"data64":` for a binary one.
fn put_payload(payload: &Payload, out: &mut Vec<u8>) {
    match payload.kind {
        Kind::Text if is_json(&payload.data) => {
            out.extend_from_slice(b"\"data\":");
            out.extend_from_slice(&payload.data);
        }
        Kind::Text => {
            out.extend_from_slice(b"\"data\":");
            // A text payload is UTF-8.
            json_string(&String::from_utf8_lossy(&payload.data), out);
        }
        Kind::Binary => {
            out.extend_from_slice(b"\"data64\":\"");
            out.extend_from_slice(STANDARD.encode(&payload.data).as_bytes());
            out.push(b'"');
        }
    }
}

fn json_string(text: &str, out: &mut Vec<u8>) {
    // A string always serializes, and writing to a vector cannot fail.
    let _ = serde_json::to_writer(&mut *out, text);
}
