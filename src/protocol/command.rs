//! A client's text → a command, or what is wrong with it and where.
//!
//! [pure] Fields are taken as they stand in the text: a published value is not written anew, so its numbers, order and
//! spaces come out as they went in. Fields that no command has are passed over; one that comes twice is an error.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::code::Code;
use crate::types::{ChannelName, Payload, Position, is_json};

/// A client's own name for a command, which its answer carries: a string of at most 64 bytes or an integer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Id(Box<str>);

impl Id {
    /// The longest string, and the most digits of an integer (SPEC §5 bounds the string alone).
    pub const MAX_BYTES: usize = 64;

    /// As it stood in the text: JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    fn new(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let fits = if text.starts_with('"') {
            serde_json::from_str::<String>(text).is_ok_and(|id| id.len() <= Self::MAX_BYTES)
        } else {
            let digits = text.strip_prefix('-').unwrap_or(text);
            digits.len() <= Self::MAX_BYTES && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        fits.then(|| Self(text.into()))
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The newest messages of a channel, oldest first.
    History {
        /// Which channel's.
        channel: ChannelName,
        /// At most so many; `None`: all.
        limit: Option<u64>,
    },
    /// An answer and nothing else.
    Ping,
    /// A message for a channel.
    Publish {
        /// Which.
        channel: ChannelName,
        /// What.
        payload: Payload,
    },
    /// Membership of a channel.
    Subscribe {
        /// Which.
        channel: ChannelName,
        /// What came after this place first.
        since: Option<Position>,
    },
    /// The end of a membership.
    Unsubscribe {
        /// Of which channel.
        channel: ChannelName,
    },
}

/// A command, with the name that its client gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// For the answer.
    pub id: Option<Id>,
    /// What is to be done.
    pub command: Command,
}

/// A text that is no command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadCommand {
    /// Its id, if that much could be read.
    pub id: Option<Id>,
    /// What kind of mistake.
    pub code: Code,
    /// What is wrong, where, and what would be right.
    pub reason: String,
}

/// The fields as they stand in the text. `null` is a value like any other.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow, default, deserialize_with = "present")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    since: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data64: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    limit: Option<&'a RawValue>,
}

/// What is wrong, before the id is put to it.
type Wrong = (Code, String);

/// Reads a command. `text` is a whole text message, so it is UTF-8; what is published shares its bytes.
pub fn parse(text: &Bytes) -> Result<Request, BadCommand> {
    let without_id = |(code, reason)| BadCommand {
        id: None,
        code,
        reason,
    };
    let fields = fields(text).map_err(without_id)?;
    let id = match fields.id {
        None => None,
        Some(raw) => Some(Id::new(raw).ok_or_else(|| {
            let rule = "id: must be a string of at most 64 bytes or an integer";
            without_id(bad_request(rule))
        })?),
    };
    match command(text, &fields) {
        Ok(command) => Ok(Request { id, command }),
        Err((code, reason)) => Err(BadCommand { id, code, reason }),
    }
}

fn fields(text: &[u8]) -> Result<Fields<'_>, Wrong> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad_request("a command is a JSON object in a text frame"));
    }
    serde_json::from_slice(text).map_err(|error| bad_request(&format!("not a command: {error}")))
}

fn command(text: &Bytes, fields: &Fields<'_>) -> Result<Command, Wrong> {
    let Some(kind) = fields.kind else {
        return Err(bad_request("type: missing"));
    };
    let kind = string("type", kind)?;
    match kind.as_str() {
        "history" => Ok(Command::History {
            channel: channel(fields)?,
            limit: fields.limit.map(limit).transpose()?,
        }),
        "ping" => Ok(Command::Ping),
        "publish" => Ok(Command::Publish {
            channel: channel(fields)?,
            payload: payload(text, fields)?,
        }),
        "subscribe" => Ok(Command::Subscribe {
            channel: channel(fields)?,
            since: fields.since.map(position).transpose()?,
        }),
        "unsubscribe" => Ok(Command::Unsubscribe {
            channel: channel(fields)?,
        }),
        other => Err((
            Code::UnknownType,
            format!(
                "type: {} is none of subscribe, unsubscribe, publish, history, ping",
                quoted(other)
            ),
        )),
    }
}

fn channel(fields: &Fields<'_>) -> Result<ChannelName, Wrong> {
    let Some(raw) = fields.channel else {
        return Err(bad_request("channel: missing"));
    };
    let name = string("channel", raw)?;
    ChannelName::public(&name).map_err(|error| {
        (
            Code::BadChannel,
            format!("channel: {}: {error}", quoted(&name)),
        )
    })
}

fn limit(raw: &RawValue) -> Result<u64, Wrong> {
    serde_json::from_str(raw.get())
        .map_err(|_| bad_request("limit: must be an integer that is not negative"))
}

fn position(raw: &RawValue) -> Result<Position, Wrong> {
    let text = string("since", raw)?;
    text.parse()
        .map_err(|error| bad_request(&format!("since: {}: {error}", quoted(&text))))
}

fn payload(text: &Bytes, fields: &Fields<'_>) -> Result<Payload, Wrong> {
    match (fields.data, fields.data64) {
        (Some(_), Some(_)) => Err(bad_request("data and data64: one of the two, not both")),
        (None, None) => Err(bad_request("data: missing (or data64 for binary)")),
        (Some(raw), None) => Ok(Payload {
            kind: crate::types::Kind::Text,
            data: bare(text, raw),
        }),
        (None, Some(raw)) => {
            let data = STANDARD
                .decode(string("data64", raw)?)
                .map_err(|error| bad_request(&format!("data64: not base64: {error}")))?;
            Ok(Payload {
                kind: crate::types::Kind::Binary,
                data: data.into(),
            })
        }
    }
}

/// A string as its bare text, unless that text is JSON by itself; any other value as it stands. So every value comes out
/// of [`super::write_message`] as it went in.
fn bare(text: &Bytes, raw: &RawValue) -> Bytes {
    if raw.get().starts_with('"')
        && let Ok(string) = serde_json::from_str::<String>(raw.get())
        && !is_json(string.as_bytes())
    {
        return string.into();
    }
    text.slice_ref(raw.get().as_bytes())
}

fn string(field: &str, raw: &RawValue) -> Result<String, Wrong> {
    serde_json::from_str(raw.get()).map_err(|error| {
        if raw.get().starts_with('"') {
            bad_request(&format!("{field}: {error}"))
        } else {
            bad_request(&format!("{field}: must be a string"))
        }
    })
}

fn bad_request(reason: &str) -> Wrong {
    (Code::BadRequest, reason.to_owned())
}

/// A name that a client gave, short enough for an answer.
fn quoted(name: &str) -> String {
    const MOST: usize = 64;
    if name.chars().count() <= MOST {
        format!("{name:?}")
    } else {
        let head: String = name.chars().take(MOST).collect();
        format!("{head:?}…")
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}
