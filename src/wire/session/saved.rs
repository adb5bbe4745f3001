//! [pure] A session written out, and read back by another process.
//!
//! Everything that a [`Session`] is but its limits, which are the configuration's, as data that any serializer takes.
//! What of the input the session has left is its owner's to carry. Instants don't outlast a process, so how long ago
//! stands for them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::frame::Side;
use super::super::message::{Assembler, SavedMessage};
use super::{Closing, Event, Session, SessionLimits, State};
use crate::types::{Close, Kind, Payload};

/// A session written out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SavedSession {
    deflate: bool,
    state: SavedState,
    message: Option<SavedMessage>,
    /// Since the time that runs now began.
    millis: u64,
    pinged: bool,
    /// What the owner had not taken.
    events: Vec<SavedEvent>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum SavedState {
    Closed,
    Closing { why: SavedClose, skip: u64 },
    Open,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct SavedClose {
    code: u16,
    reason: String,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum SavedEvent {
    Binary(Vec<u8>),
    Closed(SavedClose),
    Reply(Vec<u8>),
    Text(String),
}

impl Session {
    /// All that it is, for [`Session::restore`].
    #[must_use]
    pub fn save(&self, now: Instant) -> SavedSession {
        let state = match &self.state {
            State::Open => SavedState::Open,
            State::Closing(closing) => SavedState::Closing {
                why: (&closing.why).into(),
                skip: closing.skip,
            },
            State::Closed => SavedState::Closed,
        };
        let others = self.others.iter().flat_map(|others| &others.0);
        let passed = now.saturating_duration_since(self.since).as_millis();
        SavedSession {
            deflate: self.peer == Side::Deflating,
            state,
            message: self.assembler.save(),
            millis: u64::try_from(passed).unwrap_or(u64::MAX),
            pinged: self.pinged,
            events: self.first.iter().chain(others).map(Into::into).collect(),
        }
    }

    /// The session that was written out: it goes on as if nothing had been.
    #[must_use]
    pub fn restore(now: Instant, limits: SessionLimits, saved: SavedSession) -> Self {
        let mut session = Self::new(now, limits);
        if saved.deflate {
            session.peer = Side::Deflating;
        }
        session.state = match saved.state {
            SavedState::Open => State::Open,
            SavedState::Closing { why, skip } => State::Closing(Box::new(Closing {
                why: why.into(),
                skip,
            })),
            SavedState::Closed => State::Closed,
        };
        session.assembler = saved.message.map(Assembler::restore).unwrap_or_default();
        let passed = Duration::from_millis(saved.millis);
        session.since = now.checked_sub(passed).unwrap_or(now);
        session.pinged = saved.pinged;
        for event in saved.events {
            session.push(event.into());
        }
        session
    }
}

impl From<&Close> for SavedClose {
    fn from(close: &Close) -> Self {
        Self {
            code: close.code,
            reason: close.reason.clone().into_owned(),
        }
    }
}

impl From<SavedClose> for Close {
    fn from(saved: SavedClose) -> Self {
        Self {
            code: saved.code,
            reason: saved.reason.into(),
        }
    }
}

impl From<&Event> for SavedEvent {
    fn from(event: &Event) -> Self {
        match event {
            Event::Closed(close) => Self::Closed(close.into()),
            Event::Message(payload) => match std::str::from_utf8(&payload.data) {
                Ok(text) if payload.kind == Kind::Text => Self::Text(text.to_owned()),
                _ => Self::Binary(payload.data.to_vec()),
            },
            Event::Reply(bytes) => Self::Reply(bytes.to_vec()),
        }
    }
}

impl From<SavedEvent> for Event {
    fn from(saved: SavedEvent) -> Self {
        match saved {
            SavedEvent::Binary(data) => Self::Message(Payload {
                kind: Kind::Binary,
                data: Bytes::from(data),
            }),
            SavedEvent::Closed(close) => Self::Closed(close.into()),
            SavedEvent::Reply(bytes) => Self::Reply(Bytes::from(bytes)),
            SavedEvent::Text(text) => Self::Message(Payload::text(text)),
        }
    }
}
