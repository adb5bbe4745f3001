//! The words of the house as types: what a channel, a connection, a message is.
//!
//! [pure] Everything else imports this and it imports nothing of ours. A value of these types has been checked where it
//! was made; nobody checks it again. The glossary is in README.md; one word means one thing everywhere.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use siphasher::sip::SipHasher13;

/// A name that one subscribes to and publishes to.
///
/// 1 to [`ChannelName::MAX_BYTES`] bytes of UTF-8 without control characters (Unicode's Cc) and spaces, compared byte by
/// byte. A clone is a reference count.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// The longest name in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Checks a name for use by anybody: also those that begin with `$`, which are wsd's own.
    pub fn new(name: &str) -> Result<Self, ChannelNameError> {
        if name.is_empty() {
            return Err(ChannelNameError::Empty);
        }
        if name.len() > Self::MAX_BYTES {
            return Err(ChannelNameError::TooLong);
        }
        for c in name.chars() {
            if c == ' ' {
                return Err(ChannelNameError::Space);
            }
            if c.is_control() {
                return Err(ChannelNameError::Control);
            }
        }
        Ok(Self(Arc::from(name)))
    }

    /// Checks a name that a client or a script gave: refuses also those that begin with `$`.
    pub fn public(name: &str) -> Result<Self, ChannelNameError> {
        if name.starts_with('$') {
            Err(ChannelNameError::Reserved)
        } else {
            Self::new(name)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether one is a clone of the other: a comparison of pointers. Equal names need not be.
    #[must_use]
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// By the text, so that a table of channels is searched without making a name.
impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Hash for ChannelName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Why a text is no channel name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChannelNameError {
    /// A control character of Unicode's category Cc.
    #[error("control characters are not allowed in a channel name")]
    Control,
    /// No character at all.
    #[error("a channel name has at least 1 byte")]
    Empty,
    /// Begins with `$`.
    #[error("channel names that begin with \"$\" are reserved")]
    Reserved,
    /// U+0020.
    #[error("spaces are not allowed in a channel name")]
    Space,
    /// More than [`ChannelName::MAX_BYTES`].
    #[error("a channel name has at most 255 bytes")]
    TooLong,
}

/// What kind of WebSocket message a payload is (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// The content of a message.
///
/// `data` of a [`Kind::Text`] payload is valid UTF-8: whoever makes one has checked it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    /// Text or binary.
    pub kind: Kind,
    /// The bytes; a clone is a reference count.
    pub data: Bytes,
}

impl Payload {
    /// A text payload.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            kind: Kind::Text,
            data: Bytes::from(text.into()),
        }
    }

    /// Text if `data` is UTF-8, else binary: the rule for what comes from scripts and from Redis.
    #[must_use]
    pub fn guess(data: Bytes) -> Self {
        let kind = if simdutf8::basic::from_utf8(&data).is_ok() {
            Kind::Text
        } else {
            Kind::Binary
        };
        Self { kind, data }
    }

    /// Bytes of the content.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// Whether a text is one JSON value, with or without space around it.
#[must_use]
pub fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
}

/// Names a connection on its worker.
///
/// A slot is used again after its connection ended, with the next generation, so an id kept too long names nothing
/// rather than somebody else.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnId {
    /// Index into the worker's table of connections.
    pub slot: u32,
    /// How often that slot was used before.
    pub generation: u32,
}

/// One thread of a node, counted from 0. At most [`WorkerId::MAX`] of them: a set of workers is one `u128`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// The most workers of one node.
    pub const MAX: usize = 128;

    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One wsd process, drawn at random at its start.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0 & 0xffff_ffff_ffff)
    }
}

/// Names a connection among all nodes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Origin {
    /// Its node.
    pub node: NodeId,
    /// Its worker on that node.
    pub worker: WorkerId,
    /// Its id on that worker.
    pub conn: ConnId,
}

/// `NODE-WORKER-SLOT-GENERATION` in hexadecimal: what scripts, logs and tools see as a connection's id.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{:x}-{:x}-{:x}",
            self.node, self.worker.0, self.conn.slot, self.conn.generation
        )
    }
}

/// One life of a channel's history.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Epoch(pub u64);

/// A place in a channel's history.
///
/// Within one `epoch`, `offset` counts 1, 2, 3 …. A new epoch means that the old history is gone (expired, flushed,
/// another Redis): offset 3 of the new history says nothing about offset 3 of the old one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// Which history.
    pub epoch: Epoch,
    /// The place in it.
    pub offset: u64,
}

/// `EPOCH:OFFSET`, the epoch in hexadecimal: what `wsd.v1` clients keep and give back.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{}", self.epoch.0, self.offset)
    }
}

impl std::str::FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (epoch, offset) = text.split_once(':').ok_or(PositionError)?;
        // `parse` would take a sign.
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits(epoch) || !digits(offset) {
            return Err(PositionError);
        }
        Ok(Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| PositionError)?),
            offset: offset.parse().map_err(|_| PositionError)?,
        })
    }
}

/// A text that is no position.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a position is \"EPOCH:OFFSET\"")]
pub struct PositionError;

/// A message on its way from whoever published it to every subscriber of a channel.
///
/// The broker makes one, and it never changes after that: workers share it by reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Where it goes.
    pub channel: ChannelName,
    /// The content, as the pipeline left it.
    pub payload: Payload,
    /// Its place in the channel's history; `None` where the channel keeps none.
    pub position: Option<Position>,
    /// The connection that must not get it back, when the publisher asked for no echo. It may be on another node.
    pub skip: Option<Origin>,
}

/// One message of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchItem {
    /// Its content, as the hooks left it.
    pub payload: Payload,
    /// The connection that sent it; `None` if no client did (`wsd publish`, the HTTP API).
    pub sender: Option<Origin>,
    /// Whether its sender gets it back.
    pub echo: bool,
    /// Where its sender waits for an answer, if it does.
    pub ticket: Option<Ticket>,
}

impl BatchItem {
    /// Whom to tell what became of it.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        let (origin, ticket) = (self.sender?, self.ticket?);
        Some(Receipt { origin, ticket })
    }
}

/// Names a publish of a `wsd.v1` client that waits for its answer, on the client's worker.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub NonZeroU64);

/// Whom to tell what became of a publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// Who published.
    pub origin: Origin,
    /// Which of its publishes.
    pub ticket: Ticket,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A hook refused it.
    Dropped,
    /// The broker has it; with its place if the channel keeps a history and it was published by itself.
    Taken(Option<Position>),
    /// The broker could not take it, or a hook failed.
    Unavailable,
}

/// A close frame's content (RFC 6455 §5.5.1), or the reason why a connection ended without one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Close {
    /// RFC 6455 §7.4; 1005 and 1006 are never sent.
    pub code: u16,
    /// At most 123 bytes of UTF-8.
    pub reason: std::borrow::Cow<'static, str>,
}

impl Close {
    /// A close with a reason known at compile time.
    #[must_use]
    pub const fn new(code: u16, reason: &'static str) -> Self {
        Self {
            code,
            reason: std::borrow::Cow::Borrowed(reason),
        }
    }

    /// 1001: the node stops.
    pub const GOING_AWAY: Self = Self::new(1001, "going away");
    /// 4401: `conn:expire`.
    pub const EXPIRED: Self = Self::new(4401, "expired");
    /// 1008: `wsd.kick`.
    pub const KICKED: Self = Self::new(1008, "kicked");
    /// 1006: the link was lost, or the peer stopped answering; never sent.
    pub const LOST: Self = Self::new(1006, "");
    /// 1008: a rule of the operator was broken.
    pub const REFUSED: Self = Self::new(1008, "refused");
    /// 1011: a fault of wsd's.
    pub const INTERNAL: Self = Self::new(1011, "internal error");
    /// 1012: come back at once, the node restarts.
    pub const RESTART: Self = Self::new(1012, "restart");
    /// 1013: too slow, or the broker is away.
    pub const TRY_AGAIN: Self = Self::new(1013, "try again later");
}

/// Names a list of stages: which scripts, in which order, see a route's messages.
///
/// The configuration gives equal lists equal ids and never uses one again for another list as long as the process
/// lives, so that a connection may keep it over reloads. [`StagesId::ALL`] is every script of the current generation.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StagesId(pub u32);

impl StagesId {
    /// Every script in the hooks' directory, in lexical order: the list of a route that names none.
    pub const ALL: Self = Self(0);
}

/// Counts loaded configurations and scripts, from 1.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The keyed hash of names: which worker is a channel's home, and where it stands in the tables that clients fill.
///
/// The key is drawn once a process, so nobody outside can make names collide (SipHash-1-3, as std's own).
#[derive(Clone, Copy, Debug)]
pub struct NameHash {
    keys: (u64, u64),
}

impl NameHash {
    /// With a key, which is random outside tests.
    #[must_use]
    pub const fn new(key0: u64, key1: u64) -> Self {
        Self { keys: (key0, key1) }
    }

    /// The home worker of a channel among `workers`, which is at least 1.
    #[must_use]
    pub fn home(&self, channel: &ChannelName, workers: usize) -> WorkerId {
        if workers == 1 {
            return WorkerId(0);
        }
        let hash = self.hash_one(channel);
        let index = hash.checked_rem(workers as u64).unwrap_or(0);
        WorkerId(u8::try_from(index).unwrap_or(0))
    }
}

impl BuildHasher for NameHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.keys.0, self.keys.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_bytes_and_characters() {
        assert!(ChannelName::new("chat").is_ok());
        assert!(ChannelName::new("räume:größe").is_ok());
        assert_eq!(ChannelName::new(""), Err(ChannelNameError::Empty));
        assert_eq!(ChannelName::new("a b"), Err(ChannelNameError::Space));
        assert_eq!(ChannelName::new("a\u{85}b"), Err(ChannelNameError::Control));
        assert_eq!(ChannelName::new("a\nb"), Err(ChannelNameError::Control));
        assert!(ChannelName::new(&"x".repeat(255)).is_ok());
        assert_eq!(
            ChannelName::new(&"ü".repeat(128)),
            Err(ChannelNameError::TooLong)
        );
        assert_eq!(ChannelName::public("$own"), Err(ChannelNameError::Reserved));
        assert!(ChannelName::new("$own").is_ok());
    }

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let place = Position {
            epoch: Epoch(u64::MAX),
            offset: 7,
        };
        assert_eq!(place.to_string(), "ffffffffffffffff:7");
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in [
            "", ":", "1:", ":1", "1", "+1:1", "1:-1", "1:1:1", "g:1", "1:a", " 1:1",
        ] {
            assert_eq!(wrong.parse::<Position>(), Err(PositionError), "{wrong}");
        }
        assert!("1ffffffffffffffff:1".parse::<Position>().is_err());
        assert!("1:18446744073709551616".parse::<Position>().is_err());
    }

    #[test]
    fn a_name_hashes_like_its_text() {
        let hash = NameHash::new(1, 2);
        let name = ChannelName::new("chat").unwrap();
        assert_eq!(hash.hash_one(&name), hash.hash_one("chat"));
        assert!(hash.home(&name, 3).index() < 3);
        assert_eq!(hash.home(&name, 1), WorkerId(0));
    }
}
