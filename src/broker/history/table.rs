//! The histories of the channels of one home.
//!
//! [pure] A channel stands here from its first publication, or the first question, until all that it keeps has expired.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::time::Instant;

use super::History;
use crate::config::Keep;
use crate::types::{ChannelName, Epoch, NameHash, Payload, Position};

/// The histories of the channels of one home.
#[derive(Debug)]
pub struct Histories {
    channels: HashMap<ChannelName, Entry, NameHash>,
    /// When each is to be looked at next, which may be before anything of it expires.
    due: BTreeSet<(Instant, ChannelName)>,
    /// How many epochs were begun.
    begun: u64,
}

#[derive(Debug)]
struct Entry {
    history: History,
    /// Where it stands in `due`.
    due: Instant,
}

impl Histories {
    /// None. The key of `hash` makes epochs that no other process begins.
    #[must_use]
    pub fn new(hash: NameHash) -> Self {
        Self {
            channels: HashMap::with_hasher(hash),
            due: BTreeSet::new(),
            begun: 0,
        }
    }

    /// Adds a publication to its channel's history, which is begun if there is none, and says its place.
    pub fn push(
        &mut self,
        now: Instant,
        channel: &ChannelName,
        payload: &Payload,
        bounds: Keep,
    ) -> Position {
        self.read(now, channel, bounds).push(now, payload)
    }

    /// A channel's history, which is begun if there is none: a position must be kept from the moment it was told.
    pub fn read(&mut self, now: Instant, channel: &ChannelName, bounds: Keep) -> &mut History {
        let expired = self
            .channels
            .get_mut(channel)
            .is_some_and(|entry| entry.history.expire(now));
        if expired {
            self.forget(channel);
        }
        if !self.channels.contains_key(channel) {
            self.begun += 1;
            let epoch = Epoch(self.channels.hasher().hash_one((channel, self.begun)));
            let history = History::new(now, epoch, bounds);
            let due = history.due();
            self.due.insert((due, channel.clone()));
            self.channels
                .insert(channel.clone(), Entry { history, due });
        }
        let Some(entry) = self.channels.get_mut(channel) else {
            unreachable!("it was put there above")
        };
        &mut entry.history
    }

    /// A channel's history, if it has one.
    #[must_use]
    pub fn get(&self, channel: &ChannelName) -> Option<&History> {
        self.channels.get(channel).map(|entry| &entry.history)
    }

    /// Drops what has expired.
    pub fn expire(&mut self, now: Instant) {
        while let Some((due, _)) = self.due.first()
            && *due <= now
            && let Some((_, channel)) = self.due.pop_first()
        {
            let Some(entry) = self.channels.get_mut(&channel) else {
                continue;
            };
            if entry.history.expire(now) {
                self.channels.remove(&channel);
            } else {
                entry.due = entry.history.due();
                self.due.insert((entry.due, channel));
            }
        }
    }

    /// When [`Histories::expire`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes other bounds; a channel that has none any more loses its history.
    pub fn set_bounds(&mut self, mut of: impl FnMut(&ChannelName) -> Option<Keep>) {
        self.due.clear();
        self.channels.retain(|channel, entry| {
            let Some(bounds) = of(channel) else {
                return false;
            };
            entry.history.set_bounds(bounds);
            entry.due = entry.history.due();
            self.due.insert((entry.due, channel.clone()));
            true
        });
    }

    /// How many channels have a history.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    fn forget(&mut self, channel: &ChannelName) {
        if let Some(entry) = self.channels.remove(channel) {
            self.due.remove(&(entry.due, channel.clone()));
        }
    }
}
