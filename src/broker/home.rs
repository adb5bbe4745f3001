//! What a worker knows of the channels whose home it is: the open batch, which workers want it, the order.
//!
//! [pure] The only place where a channel's batches are gathered and where its order is decided (memory) or handed on
//! (Redis). `worker/state` owns one: it runs `on_batch` for every [`ClosedBatch`] that comes out, gives the result to
//! [`Home::publish`], and carries out what [`Home::poll_output`] says, in order.

mod batch;
mod interest;
mod recalls;
mod short;
#[cfg(test)]
mod tests;
mod workers;

use batch::publication;
pub use batch::{ClosedBatch, Gather, Publish};
use recalls::{Followed, Recalls, Whom};
pub use workers::WorkerSet;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::history::{Histories, Missed};
use super::{Ask, Command, LinkStatus, Outgoing, Recall, Recalled};
use crate::config::{BrokerUrl, Keep, PublishWindow};
use crate::types::{
    BatchItem, ChannelName, Generation, NameHash, Origin, Outcome, Payload, Publication, Receipt,
    WorkerId,
};

/// What the worker must do for its homes.
#[derive(Debug)]
pub enum HomeOutput {
    /// Tells a publish's sender what became of it.
    Answer(Receipt, Outcome),
    /// Gives the publication to these workers' subscribers.
    Deliver(WorkerSet, Arc<Publication>),
    /// Tells workers that their members of a channel missed what cannot be had again.
    Gap(WorkerSet, ChannelName),
    /// Tells a worker that its subscription is live.
    Live(WorkerId, ChannelName),
    /// Answers a worker's question.
    Recalled(WorkerId, Recalled),
    /// For the Redis thread.
    Redis(Command),
}

/// One channel that somebody wants or whose batch is open.
#[derive(Debug, Default)]
struct HomeChannel {
    wanted: WorkerSet,
    /// Whether all that is published arrives: always in memory mode, with Redis once it is confirmed.
    live: bool,
    /// Who waits to hear that it is live.
    waiting: WorkerSet,
    batch: Option<OpenBatch>,
    /// It is wanted and keeps a history in Redis.
    followed: Option<Followed>,
}

/// A batch that still takes messages.
#[derive(Debug)]
struct OpenBatch {
    gather: Gather,
    items: Vec<BatchItem>,
    bytes: usize,
    /// `None`: closed at the end of the turn.
    due: Option<Instant>,
}

/// What a worker knows of the channels whose home it is.
#[derive(Debug)]
pub struct Home {
    broker: Kind,
    status: LinkStatus,
    channels: HashMap<ChannelName, HomeChannel, NameHash>,
    /// How many batches are open.
    open: usize,
    /// Channels whose batch ends with the turn, in the order in which they were opened.
    turn: VecDeque<ChannelName>,
    /// Channels whose batch ends at a time.
    due: BTreeSet<(Instant, ChannelName)>,
    outputs: VecDeque<HomeOutput>,
    /// What channels keep, in memory mode.
    histories: Histories,
    /// What Redis was asked about the histories of channels.
    recalls: Recalls,
    /// Channels whose members missed what cannot be had again, since somebody asked: the first one, and how many.
    gaps: Option<(ChannelName, u64)>,
    /// What goes to Redis with the next output.
    outgoing: Vec<Outgoing>,
}

/// A table for so many channels is kept when there is none.
const KEPT: usize = 1024;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Memory,
    Redis,
}

impl Home {
    /// An empty one. With Redis the link is down until [`Home::on_status`] says otherwise.
    #[must_use]
    pub fn new(broker: &BrokerUrl, hash: NameHash) -> Self {
        let (broker, status) = match broker {
            BrokerUrl::Memory => (Kind::Memory, LinkStatus::Up),
            BrokerUrl::Redis { .. } | BrokerUrl::RedisUnix(_) | BrokerUrl::Sentinel { .. } => {
                (Kind::Redis, LinkStatus::Down)
            }
        };
        Self {
            broker,
            status,
            channels: HashMap::with_hasher(hash),
            open: 0,
            turn: VecDeque::new(),
            due: BTreeSet::new(),
            outputs: VecDeque::new(),
            histories: Histories::new(hash),
            recalls: Recalls::default(),
            gaps: None,
            outgoing: Vec::new(),
        }
    }

    /// The open batch of the channel, if a message with another list, another generation or none must not join it.
    #[must_use]
    pub fn close_before(
        &mut self,
        channel: &ChannelName,
        gather: Option<Gather>,
    ) -> Option<ClosedBatch> {
        if self.open == 0 {
            return None;
        }
        let open = self.channels.get(channel)?.batch.as_ref()?;
        if Some(open.gather) == gather {
            None
        } else {
            self.close(channel)
        }
    }

    /// The open batch of the channel, if a message of `len` bytes has no room in it.
    ///
    /// Run it before the message is gathered: what `on_batch` publishes in the channel closes what is open there.
    #[must_use]
    pub fn close_crowded(
        &mut self,
        channel: &ChannelName,
        len: usize,
        window: &PublishWindow,
    ) -> Option<ClosedBatch> {
        let open = self.channels.get(channel)?.batch.as_ref()?;
        let crowded = open.bytes.saturating_add(len) > window.max_bytes;
        if crowded { self.close(channel) } else { None }
    }

    /// Adds a message to its channel's batch; returns the batch if it is full now.
    ///
    /// Call it only after [`Home::close_before`] with the same `gather` and [`Home::close_crowded`].
    #[must_use]
    pub fn gather(
        &mut self,
        now: Instant,
        publish: Publish,
        gather: Gather,
        window: &PublishWindow,
    ) -> Option<ClosedBatch> {
        let Publish {
            channel,
            payload,
            sender,
            echo,
            ticket,
            ..
        } = publish;
        let entry = self.channels.entry(channel.clone()).or_default();
        let open = entry.batch.get_or_insert_with(|| {
            let due = (!window.window.is_zero()).then(|| now + window.window);
            match due {
                Some(due) => {
                    self.due.insert((due, channel.clone()));
                }
                None => self.turn.push_back(channel.clone()),
            }
            self.open += 1;
            OpenBatch {
                gather,
                items: Vec::new(),
                bytes: 0,
                due,
            }
        });
        // What waits longer than this turn must not pin the buffer that it was read into.
        let data = if open.due.is_some() {
            bytes::Bytes::copy_from_slice(&payload.data)
        } else {
            payload.data
        };
        open.bytes = open.bytes.saturating_add(data.len());
        open.items.push(BatchItem {
            payload: Payload {
                kind: payload.kind,
                data,
            },
            sender,
            echo,
            ticket,
        });
        let full = open.items.len() >= window.max_messages || open.bytes >= window.max_bytes;
        if full { self.close(&channel) } else { None }
    }

    /// The next batch that ends with this turn.
    #[must_use]
    pub fn poll_turn(&mut self) -> Option<ClosedBatch> {
        while let Some(channel) = self.turn.pop_front() {
            let ends = self
                .channels
                .get(&channel)
                .and_then(|c| c.batch.as_ref())
                .is_some_and(|open| open.due.is_none());
            if ends && let Some(batch) = self.close(&channel) {
                return Some(batch);
            }
        }
        None
    }

    /// The next batch whose window is over.
    #[must_use]
    pub fn poll_due(&mut self, now: Instant) -> Option<ClosedBatch> {
        let (due, channel) = self.due.first()?;
        if *due > now {
            return None;
        }
        let channel = channel.clone();
        self.close(&channel)
    }

    /// Any open batch at all: for the end of a generation and of the process.
    #[must_use]
    pub fn poll_open(&mut self) -> Option<ClosedBatch> {
        self.poll_turn().or_else(|| {
            let (_, channel) = self.due.first()?;
            let channel = channel.clone();
            self.close(&channel)
        })
    }

    /// An open batch of a generation older than that one.
    #[must_use]
    pub fn poll_older(&mut self, generation: Generation) -> Option<ClosedBatch> {
        let older = |channel: &&ChannelName| {
            let batch = self.channels.get(*channel).and_then(|c| c.batch.as_ref());
            batch.is_some_and(|open| open.gather.generation < generation)
        };
        let waiting = self.due.iter().map(|(_, channel)| channel);
        let channel = self.turn.iter().chain(waiting).find(older)?.clone();
        self.close(&channel)
    }

    /// When [`Home::poll_due`] or [`Home::expire`] has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let windows = self.due.first().map(|(due, _)| *due);
        windows
            .into_iter()
            .chain(self.histories.poll_timeout())
            .min()
    }

    /// Time has passed: drops what histories kept long enough.
    pub fn expire(&mut self, now: Instant) {
        self.histories.expire(now);
    }

    /// A reload changed what channels keep; a channel without bounds keeps nothing any more.
    pub fn set_bounds(&mut self, mut of: impl FnMut(&ChannelName) -> Option<Keep>) {
        if self.broker == Kind::Memory {
            self.histories.set_bounds(of);
            return;
        }
        let mut begun = Vec::new();
        for (name, channel) in &mut self.channels {
            match (of(name), &mut channel.followed) {
                (Some(keep), Some(followed)) => followed.keep = keep,
                (Some(keep), none) if !channel.wanted.is_empty() => {
                    *none = Some(Followed::new(keep));
                    begun.push(name.clone());
                }
                // What is held there comes with its answer.
                (Some(_) | None, _) => {}
            }
        }
        for name in begun {
            self.begin_following(&name);
        }
    }

    /// Whether [`Home::poll_turn`] may have something.
    #[must_use]
    pub fn has_turn(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Gives messages their place in the channel: to the subscribers in memory mode, to Redis otherwise.
    ///
    /// `senders` are those of all that the messages were made of: whom to tell if Redis cannot take them. `keep` is what
    /// the channel keeps; `merged` wait to hear that what their messages became part of is published.
    pub fn publish(
        &mut self,
        now: Instant,
        channel: &ChannelName,
        items: impl IntoIterator<Item = BatchItem>,
        senders: &[Origin],
        merged: &[Receipt],
        keep: Option<Keep>,
    ) {
        match self.broker {
            Kind::Memory => {
                let wanted = self
                    .channels
                    .get(channel)
                    .map_or_else(WorkerSet::default, |c| c.wanted);
                for item in items {
                    let receipt = item.receipt();
                    let mut publication = publication(channel, item);
                    publication.position = keep.map(|bounds| {
                        self.histories
                            .push(now, channel, &publication.payload, bounds)
                    });
                    if let Some(receipt) = receipt {
                        let taken = Outcome::Taken(publication.position);
                        self.outputs.push_back(HomeOutput::Answer(receipt, taken));
                    }
                    if !wanted.is_empty() {
                        self.outputs
                            .push_back(HomeOutput::Deliver(wanted, Arc::new(publication)));
                    }
                }
                for &receipt in merged {
                    let taken = Outcome::Taken(None);
                    self.outputs.push_back(HomeOutput::Answer(receipt, taken));
                }
            }
            Kind::Redis => {
                for item in items {
                    let receipt = item.receipt();
                    let waits =
                        |sender: &Origin| receipt.iter().chain(merged).any(|r| r.origin == *sender);
                    let senders = match item.sender {
                        Some(_) if receipt.is_some() => SmallVec::new(),
                        Some(sender) => SmallVec::from_buf([sender]),
                        None => senders.iter().copied().filter(|s| !waits(s)).collect(),
                    };
                    self.outgoing.push(Outgoing {
                        publication: publication(channel, item),
                        senders,
                        receipt,
                        merged: Vec::new(),
                        keep,
                    });
                }
                if let Some(last) = self.outgoing.last_mut() {
                    last.merged.extend_from_slice(merged);
                }
            }
        }
    }

    /// A worker wants to know what a channel keeps. The answer stands in order with what is delivered.
    pub fn on_recall(
        &mut self,
        now: Instant,
        worker: WorkerId,
        recall: &Recall,
        keep: Option<Keep>,
    ) {
        if let (Kind::Redis, Some(keep)) = (self.broker, keep) {
            let whom = Whom::Worker(worker, recall.token);
            self.ask(&recall.channel, recall.ask, keep, whom);
            return;
        }
        let missed = keep.map(|bounds| {
            let history = self.histories.read(now, &recall.channel, bounds);
            match recall.ask {
                Ask::Newest(count) => Missed {
                    top: history.top(),
                    recovered: false,
                    messages: history.newest(count),
                },
                Ask::Since(position) => history.since(position),
            }
        });
        let token = recall.token;
        self.outputs
            .push_back(HomeOutput::Recalled(worker, Recalled { token, missed }));
    }

    /// Whether Redis is there; always so in memory mode.
    #[must_use]
    pub const fn status(&self) -> LinkStatus {
        self.status
    }

    /// What to do next; to be asked until there is nothing.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<HomeOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if self.outgoing.is_empty() {
            return None;
        }
        Some(HomeOutput::Redis(Command::Publish(std::mem::take(
            &mut self.outgoing,
        ))))
    }

    /// Channels that are wanted or have an open batch.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// A command for Redis, behind the publishes that were asked for before.
    fn command(&mut self, command: Command) {
        if !self.outgoing.is_empty() {
            let publishes = Command::Publish(std::mem::take(&mut self.outgoing));
            self.outputs.push_back(HomeOutput::Redis(publishes));
        }
        self.outputs.push_back(HomeOutput::Redis(command));
    }

    fn close(&mut self, channel: &ChannelName) -> Option<ClosedBatch> {
        let entry = self.channels.get_mut(channel)?;
        let open = entry.batch.take()?;
        self.open -= 1;
        if entry.wanted.is_empty() {
            self.channels.remove(channel);
        }
        if let Some(due) = open.due {
            self.due.remove(&(due, channel.clone()));
        }
        Some(ClosedBatch {
            channel: channel.clone(),
            gather: open.gather,
            items: open.items,
        })
    }
}
