//! The language of the control socket: one JSON object a line, each with the version `"v":1`.
//!
//! [pure] A line becomes a raw [`Line`] that mirrors its JSON, then a checked [`Request`]; a [`Response`] is read and
//! written by serde as it stands. Every request is answered by any number of responses of which the last, and only the
//! last, [is final](Response::is_final). Requests with an unknown field are refused; a reader of responses passes over
//! fields that it does not know, so that a tool can speak to a newer daemon.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{ChannelName, ChannelNameError, Kind, Payload};

/// The version of the protocol.
pub const VERSION: u64 = 1;

/// What somebody asks of the daemon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Publish a message: answered by [`Response::Published`].
    Publish {
        /// Where; never one of wsd's own.
        channel: ChannelName,
        /// What.
        payload: Payload,
    },
    /// Load configuration and scripts again: answered by [`Response::Reloaded`] or [`Response::Refused`].
    Reload,
    /// How the daemon is: answered by [`Response::Status`].
    Status,
    /// Everything published to a channel from now on: answered by [`Response::Subscribed`], then by a
    /// [`Response::Message`] for each, until either side ends it.
    Subscribe {
        /// Which; never one of wsd's own.
        channel: ChannelName,
    },
}

impl Request {
    /// A publish of text if `data` is UTF-8, else of a binary message.
    pub fn publish(channel: &str, data: Vec<u8>) -> Result<Self, RequestError> {
        Ok(Self::Publish {
            channel: channel_name(channel)?,
            payload: Payload::guess(Bytes::from(data)),
        })
    }

    /// A subscription.
    pub fn subscribe(channel: &str) -> Result<Self, RequestError> {
        Ok(Self::Subscribe {
            channel: channel_name(channel)?,
        })
    }

    /// Reads a line, without its newline.
    pub fn parse(line: &[u8]) -> Result<Self, RequestError> {
        // Alone and first: a line of another version may have any other form.
        let version: Version = serde_json::from_slice(line).map_err(RequestError::Json)?;
        if version.v != Some(VERSION) {
            return Err(RequestError::Version(version.v));
        }
        let line: Line = serde_json::from_slice(line).map_err(RequestError::Json)?;
        line.check()
    }

    /// Writes the line, with its newline.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = Line {
            v: VERSION,
            ..Line::default()
        };
        match self {
            Self::Publish { channel, payload } => {
                line.request = "publish".to_owned();
                line.channel = Some(channel.as_str().to_owned());
                (line.text, line.data64) = encode(payload);
            }
            Self::Reload => line.request = "reload".to_owned(),
            Self::Status => line.request = "status".to_owned(),
            Self::Subscribe { channel } => {
                line.request = "subscribe".to_owned();
                line.channel = Some(channel.as_str().to_owned());
            }
        }
        json_line(&line)
    }

    /// Whether the answer goes on until one side ends it.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Subscribe { .. })
    }
}

/// What the daemon says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// The stream has ended, by the daemon's side. Final.
    End,
    /// The request could not be done, or made no sense. Final.
    Error {
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A publication of a stream.
    Message {
        /// Its channel.
        channel: String,
        /// The content of a text message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The content of a binary message, in base64.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data64: Option<String>,
    },
    /// Messages of a stream were left out because its reader was too slow.
    Missed {
        /// How many.
        count: u64,
    },
    /// The broker has taken it, or it waits for the broker. Final.
    Published {
        /// The broker is away, the message waits in `broker.buffer`.
        #[serde(default)]
        waits: bool,
    },
    /// The reload was refused; the old generation goes on. Final.
    Refused {
        /// The generation that goes on.
        generation: u64,
        /// All of them, each as `file:line:column: key: what`.
        problems: Vec<String>,
    },
    /// The reload is done, all connections are served by the new generation. Final.
    Reloaded {
        /// The new generation.
        generation: u64,
        /// What the operator should know: warnings, and keys that need a restart.
        #[serde(default)]
        notes: Vec<String>,
    },
    /// How the daemon is. Final.
    Status(Box<Status>),
    /// From here on everything published to the channel comes.
    Subscribed,
}

impl Response {
    /// A publication as a message of a stream.
    #[must_use]
    pub fn message(channel: &ChannelName, payload: &Payload) -> Self {
        let (text, data64) = encode(payload);
        Self::Message {
            channel: channel.as_str().to_owned(),
            text,
            data64,
        }
    }

    /// An error.
    pub fn error(reason: impl fmt::Display) -> Self {
        Self::Error {
            reason: reason.to_string(),
        }
    }

    /// Whether it is the last one to its request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Self::Message { .. } | Self::Missed { .. } | Self::Subscribed
        )
    }

    /// Reads a line, without its newline.
    pub fn parse(line: &[u8]) -> Result<Self, ResponseError> {
        let version: Version = serde_json::from_slice(line).map_err(ResponseError::Json)?;
        if version.v != Some(VERSION) {
            return Err(ResponseError::Version(version.v));
        }
        serde_json::from_slice(line).map_err(ResponseError::Json)
    }

    /// Writes the line, with its newline.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        json_line(&Envelope {
            v: VERSION,
            response: self,
        })
    }
}

/// How the daemon is: `wsd status --json` shows it as it stands.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// Of the daemon's program.
    pub version: String,
    /// Of configuration and scripts.
    pub generation: u64,
    /// Seconds since its start.
    pub uptime: f64,
    /// Open connections.
    pub connections: u64,
    /// Channels with a subscriber on this node.
    pub channels: u64,
    /// Threads that carry connections.
    pub workers: u64,
    /// What carries publications.
    pub broker: BrokerStatus,
    /// The last reload, or the start if there was none.
    pub last_reload: ReloadStatus,
    /// Names the node among those of one broker.
    #[serde(default)]
    pub node: String,
    /// Of the process.
    #[serde(default)]
    pub pid: u32,
    /// Bytes of the process that are in memory.
    #[serde(default)]
    pub memory: u64,
    /// The configuration's main file.
    #[serde(default)]
    pub config: String,
    /// Where it listens, each as it would stand in `listen.addresses`.
    #[serde(default)]
    pub listeners: Vec<String>,
    /// Where the admin HTTP is, as `admin.http` would say it; empty: nowhere.
    #[serde(default)]
    pub admin: String,
    /// What the operator should know: a socket unit whose sockets are used instead of `listen.addresses`, keys that
    /// wait for a restart, connections that are being closed.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What carries publications.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct BrokerStatus {
    /// `memory` or `redis`.
    pub kind: String,
    /// Whether publications go in and come out.
    pub up: bool,
    /// Where it is, without user and password; empty for `memory`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
}

/// How the last reload went.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ReloadStatus {
    /// Whether it was carried out.
    pub ok: bool,
    /// When, in Unix seconds.
    pub at: u64,
    /// Why it was refused.
    pub problems: Vec<String>,
}

/// Why a line is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// `data64` is no base64.
    #[error("data64 is not base64")]
    Base64(#[source] base64::DecodeError),
    /// A name against the rules.
    #[error("channel \"{name}\"")]
    Channel {
        /// As it was given.
        name: String,
        /// What is wrong with it.
        source: ChannelNameError,
    },
    /// Two fields that exclude each other, or one of them too few.
    #[error("publish takes either \"text\" or \"data64\"")]
    Data,
    /// A field that this request does not take.
    #[error("{request} takes no \"{field}\"")]
    Field {
        /// Which request.
        request: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// No JSON, or of another form.
    #[error("a request is one JSON object on one line, such as {{\"v\":1,\"request\":\"status\"}}")]
    Json(#[source] serde_json::Error),
    /// Without a channel.
    #[error("{0} needs a \"channel\"")]
    NoChannel(&'static str),
    /// A request that there is not.
    #[error("unknown request \"{0}\"; there are publish, reload, status and subscribe")]
    Unknown(String),
    /// Another version, or none.
    #[error("this wsd speaks version 1 of the control protocol, \"v\":1; the request has {}", shown(*.0))]
    Version(Option<u64>),
}

/// Why a line is no response.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// No JSON, or of another form.
    #[error("the answer is none that this wsd knows; is the daemon of another version?")]
    Json(#[source] serde_json::Error),
    /// Another version, or none.
    #[error("this wsd speaks version 1 of the control protocol; the answer has {}", shown(*.0))]
    Version(Option<u64>),
}

/// The content of a [`Response::Message`].
pub fn decode(text: Option<String>, data64: Option<String>) -> Result<Payload, RequestError> {
    match (text, data64) {
        (Some(text), None) => Ok(Payload::text(text)),
        (None, Some(data)) => Ok(Payload {
            kind: Kind::Binary,
            data: Bytes::from(BASE64.decode(data).map_err(RequestError::Base64)?),
        }),
        (Some(_), Some(_)) | (None, None) => Err(RequestError::Data),
    }
}

/// A request as its JSON says it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    v: u64,
    request: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data64: Option<String>,
}

impl Line {
    fn check(self) -> Result<Request, RequestError> {
        match self.request.as_str() {
            "publish" => {
                let channel = self.channel.ok_or(RequestError::NoChannel("publish"))?;
                Ok(Request::Publish {
                    channel: channel_name(&channel)?,
                    payload: decode(self.text, self.data64)?,
                })
            }
            "reload" => self.bare("reload", Request::Reload),
            "status" => self.bare("status", Request::Status),
            "subscribe" => {
                if let Some(field) = self.data_field() {
                    let request = "subscribe";
                    return Err(RequestError::Field { request, field });
                }
                let channel = self.channel.ok_or(RequestError::NoChannel("subscribe"))?;
                Request::subscribe(&channel)
            }
            _ => Err(RequestError::Unknown(
                self.request.chars().take(40).collect(),
            )),
        }
    }

    /// A request without fields.
    fn bare(&self, name: &'static str, request: Request) -> Result<Request, RequestError> {
        let field = self.data_field();
        match field.or_else(|| self.channel.as_ref().map(|_| "channel")) {
            Some(field) => Err(RequestError::Field {
                request: name,
                field,
            }),
            None => Ok(request),
        }
    }

    fn data_field(&self) -> Option<&'static str> {
        match (&self.text, &self.data64) {
            (Some(_), _) => Some("text"),
            (None, Some(_)) => Some("data64"),
            (None, None) => None,
        }
    }
}

/// The version alone, whatever else there is.
#[derive(Deserialize)]
struct Version {
    v: Option<u64>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u64,
    #[serde(flatten)]
    response: &'a Response,
}

fn channel_name(name: &str) -> Result<ChannelName, RequestError> {
    ChannelName::public(name).map_err(|source| RequestError::Channel {
        name: name.chars().take(300).collect(),
        source,
    })
}

/// The two fields of which one is there: text as it is, anything else in base64.
fn encode(payload: &Payload) -> (Option<String>, Option<String>) {
    match (payload.kind, std::str::from_utf8(&payload.data)) {
        (Kind::Text, Ok(text)) => (Some(text.to_owned()), None),
        (Kind::Text, Err(_)) | (Kind::Binary, _) => (None, Some(BASE64.encode(&payload.data))),
    }
}

/// Everything written here is strings, numbers and lists of these, which always have a JSON form.
fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

fn shown(version: Option<u64>) -> String {
    version.map_or_else(|| "none".to_owned(), |v| format!("\"v\":{v}"))
}

#[cfg(test)]
mod tests;
