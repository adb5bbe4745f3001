//! What carries publications between workers and between nodes.
//!
//! A publish ends at the broker and a delivery begins there. With `memory:` a channel's home worker is the broker by
//! itself (`home.rs`, pure); with Redis the home hands closed batches to the Redis thread (`redis/`) as [`Command`]s and
//! gets them back from it as [`Event`]s, in the order that Redis gave them. There are two brokers and there will be no
//! third, so they are told apart by a `match`, not by a trait.

pub mod history;
pub mod home;
pub mod redis;

use std::sync::Arc;

use smallvec::SmallVec;

use crate::config::Keep;
use crate::types::{ChannelName, Origin, Outcome, Position, Publication, Receipt};
use history::Missed;

/// What a home wants of the Redis thread.
#[derive(Debug)]
pub enum Command {
    /// Sends these, in this order, after all that was handed over before.
    Publish(Vec<Outgoing>),
    /// Reads what a channel keeps: answered by [`Event::Recalled`], and by [`Event::Fence`] among the publications. While
    /// Redis is away it is forgotten: the home asks again when it is back.
    Recall(Question),
    /// The first local subscriber came: answered by [`Event::Live`] once Redis has confirmed it, or at once while Redis is away.
    Subscribe(ChannelName),
    /// The last one left.
    Unsubscribe(ChannelName),
}

/// One publication on its way to Redis.
#[derive(Debug)]
pub struct Outgoing {
    /// `skip` as it shall arrive on every node; `position` is `None`.
    pub publication: Publication,
    /// Whose messages it carries: whom to tell if it must be refused. Several where `on_batch` merged; empty: nobody.
    pub senders: SmallVec<[Origin; 1]>,
    /// Who waits to hear what became of it; not among `senders`.
    pub receipt: Option<Receipt>,
    /// Who waits to hear of what became part of it.
    pub merged: Vec<Receipt>,
    /// What the channel keeps.
    pub keep: Option<Keep>,
}

/// A home's question about what Redis keeps of a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The home's name for it.
    pub token: u64,
    /// Which channel.
    pub channel: ChannelName,
    /// What of it.
    pub ask: Ask,
    /// What the channel keeps.
    pub keep: Keep,
}

/// A question about what a channel keeps, from a worker to the channel's home.
#[derive(Clone, Debug, PartialEq)]
pub struct Recall {
    /// Which channel.
    pub channel: ChannelName,
    /// What of it.
    pub ask: Ask,
    /// The worker's name for the question.
    pub token: u64,
}

/// What of a channel's history is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// The newest so many, and the newest place.
    Newest(usize),
    /// All that came after a position.
    Since(Position),
}

/// The home's answer to a [`Recall`]. It stands in order with what the home delivers: what it delivered before is at most
/// as new, what it delivers afterwards is newer.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    /// Which question.
    pub token: u64,
    /// `None`: the channel keeps no history (any more).
    pub missed: Option<Missed>,
}

/// What the Redis thread tells a home. Each home gets what concerns its channels, status changes go to all.
#[derive(Clone, Debug)]
pub enum Event {
    /// What became of publishes of clients of that worker.
    Answers(Vec<(Receipt, Outcome)>),
    /// Stands among the publications of that channel where the question was carried out: what came before is in its answer,
    /// what comes after is newer.
    Fence(ChannelName, u64),
    /// The answer to a question; `None`: Redis could not carry it out.
    Recalled(ChannelName, u64, Option<Missed>),
    /// What came for channels of this home, in Redis' order.
    Publications(Vec<Arc<Publication>>),
    /// A subscription is confirmed: from here on everything that is published arrives. Also sent while Redis is away,
    /// so that nobody waits for it.
    Live(ChannelName),
    /// Publishes that found no room in `broker.buffer`, or waited longer than `broker.buffer_for`: their senders.
    Refused(Vec<Origin>),
    /// The link is there or not; what came for subscribed channels in between was missed.
    Status(LinkStatus),
}

/// Whether publications go in and come out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkStatus {
    /// Not connected, or not all subscriptions repeated yet.
    Down,
    /// Connected, every subscription confirmed.
    Up,
}

/// A home's inbox, as the Redis thread sees it. Never blocks.
pub trait Deliver: Send {
    /// Hands over. What exceeds the inbox's bound in bytes is left out and the channel marked with a gap: Redis cannot
    /// be held back.
    fn deliver(&self, event: Event);
}
