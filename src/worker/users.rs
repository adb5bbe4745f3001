//! Whose connections a worker has, and how `wsd.send` and `wsd.kick` reach them on every worker and node.
//!
//! [pure] What is for a user is a publication in a channel of wsd's own, [`CHANNEL`], that each worker wants as long as it
//! has a connection with a user; so it goes the way of every publication, and one user's come in one order. A note is
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version: `01` |
//! | 1 | `00` send a text, `01` send a binary, `02` close |
//! | 1 | bytes of the user's name |
//! | so many | the user's name, UTF-8 |
//! | 2, only to close | the code, the most significant byte first |
//! | the rest | the message, or the reason of the close |
//!
//! Whoever else publishes there: what is no note is ignored.

use std::collections::HashMap;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::types::{ChannelName, Close, ConnId, Kind, NameHash, Payload};

/// Where notes are published.
pub const CHANNEL: &str = "$users";

/// The connections of a worker that have a user.
#[derive(Debug)]
pub struct Users {
    of: HashMap<Box<str>, SmallVec<[ConnId; 1]>, NameHash>,
    /// The worker has told the channel's home that it wants it.
    pub wanted: bool,
    /// [`CHANNEL`]; `None` cannot be, as the name is a valid one.
    pub channel: Option<ChannelName>,
}

/// What a user is to get.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// Every connection is closed.
    Close(Close),
    /// Every connection gets it.
    Send(Payload),
}

impl Users {
    /// Nobody yet.
    #[must_use]
    pub fn new(hash: NameHash) -> Self {
        Self {
            of: HashMap::with_hasher(hash),
            wanted: false,
            channel: ChannelName::new(CHANNEL).ok(),
        }
    }

    /// A connection has this user now.
    pub fn add(&mut self, user: &str, conn: ConnId) {
        self.of.entry(user.into()).or_default().push(conn);
    }

    /// It has not any more.
    pub fn remove(&mut self, user: &str, conn: ConnId) {
        if let Some(list) = self.of.get_mut(user) {
            list.retain(|known| *known != conn);
            if list.is_empty() {
                self.of.remove(user);
            }
        }
    }

    /// The user's connections here.
    #[must_use]
    pub fn get(&self, user: &str) -> SmallVec<[ConnId; 1]> {
        self.of.get(user).cloned().unwrap_or_default()
    }

    /// Whether no connection has a user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

impl Note {
    /// As it is published; `None` for a name that no connection can have.
    #[must_use]
    pub fn to_payload(&self, user: &str) -> Option<Payload> {
        let length = u8::try_from(user.len()).ok()?;
        let what = match self {
            Self::Close(_) => CLOSE,
            Self::Send(payload) if payload.kind == Kind::Text => TEXT,
            Self::Send(_) => BINARY,
        };
        let mut data = vec![VERSION, what, length];
        data.extend_from_slice(user.as_bytes());
        match self {
            Self::Close(close) => {
                data.extend_from_slice(&close.code.to_be_bytes());
                data.extend_from_slice(close.reason.as_bytes());
            }
            Self::Send(payload) => data.extend_from_slice(&payload.data),
        }
        Some(Payload {
            kind: Kind::Binary,
            data: data.into(),
        })
    }

    /// User and note of what was published.
    #[must_use]
    pub fn read(data: &Bytes) -> Option<(&str, Self)> {
        let (&[version, what, length], rest) = data.split_first_chunk()?;
        let (user, content) = rest.split_at_checked(usize::from(length))?;
        let user = std::str::from_utf8(user).ok()?;
        if version != VERSION {
            return None;
        }
        let note = match what {
            CLOSE => {
                let (code, reason) = content.split_first_chunk()?;
                let code = u16::from_be_bytes(*code);
                let reason = std::str::from_utf8(reason).ok()?;
                if !is_code(code) || reason.len() > REASON_MAX {
                    return None;
                }
                Self::Close(Close {
                    code,
                    reason: reason.to_owned().into(),
                })
            }
            TEXT | BINARY => {
                let kind = if what == TEXT {
                    Kind::Text
                } else {
                    Kind::Binary
                };
                if kind == Kind::Text && simdutf8::basic::from_utf8(content).is_err() {
                    return None;
                }
                let data = data.slice_ref(content);
                Self::Send(Payload { kind, data })
            }
            _ => return None,
        };
        Some((user, note))
    }
}

/// What may be sent in a close frame (RFC 6455 §7.4).
const fn is_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999)
}

const VERSION: u8 = 1;
const TEXT: u8 = 0;
const BINARY: u8 = 1;
const CLOSE: u8 = 2;
/// RFC 6455 §5.5: a control frame carries at most 125 bytes, two of them are the code.
const REASON_MAX: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_as_they_went() {
        let payload = |kind, data: &'static [u8]| Payload {
            kind,
            data: Bytes::from_static(data),
        };
        for note in [
            Note::Send(payload(Kind::Text, "é".as_bytes())),
            Note::Send(payload(Kind::Binary, b"\xff\0")),
            Note::Send(payload(Kind::Text, b"")),
            Note::Close(Close::new(1008, "kicked")),
            Note::Close(Close::new(4000, "")),
        ] {
            let sent = note.to_payload("ann").unwrap();
            assert_eq!(Note::read(&sent.data), Some(("ann", note)));
        }
        assert_eq!(
            Note::Close(Close::KICKED).to_payload(&"x".repeat(256)),
            None
        );
    }

    #[test]
    fn what_is_no_note_is_ignored() {
        for data in [
            &b""[..],
            b"\x01",
            b"\x01\0\x03ab",
            b"\x02\0\x01a",
            b"\x01\x03\x01a",
            b"\x01\0\x01\xff",
            b"\x01\0\x01a\xff",
            b"\x01\x02\x01a\x03",
            b"\x01\x02\x01a\x03\xedx",
            b"\x01\x02\x01a\x03\xe8\xff",
            b"hello",
        ] {
            assert_eq!(Note::read(&Bytes::from_static(data)), None, "{data:?}");
        }
    }

    #[test]
    fn users_are_known_by_their_connections() {
        let conn = |slot| ConnId {
            slot,
            generation: 0,
        };
        let mut users = Users::new(NameHash::new(1, 2));
        users.add("ann", conn(1));
        users.add("ann", conn(2));
        users.add("bob", conn(3));
        assert_eq!(users.get("ann").as_slice(), [conn(1), conn(2)]);
        users.remove("ann", conn(1));
        users.remove("bob", conn(1));
        assert_eq!(users.get("ann").as_slice(), [conn(2)]);
        users.remove("ann", conn(2));
        users.remove("bob", conn(3));
        assert!(users.is_empty() && users.get("ann").is_empty());
    }
}
