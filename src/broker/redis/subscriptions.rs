//! What this node wants to hear, and how much of it Redis has been told and has confirmed.
//!
//! [pure] `thread.rs` puts in what the homes want, `subscriber.rs` takes out what to say to Redis and puts in what Redis
//! answered. Redis answers in the order in which it was told, so a count of open answers is enough to know when the last
//! word on a channel is confirmed. A pair that cancels out before it is sent is never sent.

use std::collections::{HashMap, VecDeque};

use crate::types::{ChannelName, NameHash, WorkerId};

/// Every channel with a local subscriber, and those whose last one left but for which Redis has not confirmed it.
#[derive(Debug)]
pub(super) struct Subscriptions {
    table: HashMap<ChannelName, Entry, NameHash>,
    /// Whose wish may differ from what Redis was told, each once.
    changed: VecDeque<ChannelName>,
    /// To be asked for one by one: a command that named them together was denied.
    alone: VecDeque<ChannelName>,
    /// Channels of before the link was made whose repetition is not confirmed yet.
    repeating: usize,
    /// Channels with a local subscriber.
    wanted: usize,
}

/// What is known of one channel.
#[derive(Debug)]
struct Entry {
    home: WorkerId,
    wanted: bool,
    /// The last that Redis was told.
    told: bool,
    /// Commands that Redis has not answered.
    open: u32,
    /// The home waits for `Live`.
    awaited: bool,
    /// It is in `changed` or `alone`.
    queued: bool,
    /// It counts in `repeating`.
    repeated: bool,
}

/// One of the two commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    /// SUBSCRIBE
    Subscribe,
    /// UNSUBSCRIBE
    Unsubscribe,
}

/// A home that need not wait any longer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Live {
    pub(super) home: WorkerId,
    pub(super) channel: ChannelName,
}

/// Whether there is somebody to tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Link {
    Away,
    There,
}

/// The most channels of one command: it is answered while others wait, so it should not be endless.
const BATCH: usize = 1000;

impl Subscriptions {
    pub(super) fn new(hash: NameHash) -> Self {
        Self {
            table: HashMap::with_hasher(hash),
            changed: VecDeque::new(),
            alone: VecDeque::new(),
            repeating: 0,
            wanted: 0,
        }
    }

    /// The first local subscriber came. Returns `Live` if nothing has to be waited for.
    pub(super) fn subscribe(
        &mut self,
        home: WorkerId,
        channel: ChannelName,
        link: Link,
    ) -> Option<Live> {
        let entry = self.table.entry(channel.clone()).or_insert(Entry {
            home,
            wanted: false,
            told: false,
            open: 0,
            awaited: false,
            queued: false,
            repeated: false,
        });
        if !entry.wanted {
            self.wanted = self.wanted.saturating_add(1);
        }
        entry.home = home;
        entry.wanted = true;
        if link == Link::Away {
            return Some(Live { home, channel });
        }
        if entry.told && entry.open == 0 {
            return Some(Live { home, channel });
        }
        entry.awaited = true;
        if !entry.told && !entry.queued {
            entry.queued = true;
            self.changed.push_back(channel);
        }
        None
    }

    /// The last local subscriber left.
    pub(super) fn unsubscribe(&mut self, channel: &ChannelName, link: Link) {
        let Some(entry) = self.table.get_mut(channel) else {
            return;
        };
        if entry.wanted {
            self.wanted = self.wanted.saturating_sub(1);
        }
        entry.wanted = false;
        entry.awaited = false;
        if link == Link::Away {
            self.table.remove(channel);
            return;
        }
        // One that is not queued and was not told was denied: there is nothing to take back.
        if !entry.queued {
            entry.queued = true;
            self.changed.push_back(channel.clone());
        }
    }

    /// The next commands to send; empty if Redis has been told everything.
    #[must_use]
    pub(super) fn poll_commands(&mut self) -> Vec<(Verb, Vec<ChannelName>)> {
        while let Some(channel) = self.alone.pop_front() {
            if let Some(verb) = self.tell(&channel) {
                return vec![(verb, vec![channel])];
            }
        }
        // A channel is in `changed` once, so which of the two goes first makes no difference.
        let mut first = Vec::new();
        let mut last = Vec::new();
        while first.len().max(last.len()) < BATCH {
            let Some(channel) = self.changed.pop_front() else {
                break;
            };
            match self.tell(&channel) {
                Some(Verb::Subscribe) => first.push(channel),
                Some(Verb::Unsubscribe) => last.push(channel),
                None => {}
            }
        }
        [(Verb::Subscribe, first), (Verb::Unsubscribe, last)]
            .into_iter()
            .filter(|(_, channels)| !channels.is_empty())
            .collect()
    }

    /// Redis has answered the oldest open command on this channel. Returns `Live` if that is what its home waited for.
    pub(super) fn on_answered(&mut self, channel: &ChannelName, verb: Verb) -> Option<Live> {
        let entry = self.table.get_mut(channel)?;
        entry.open = entry.open.saturating_sub(1);
        if verb == Verb::Subscribe && std::mem::take(&mut entry.repeated) {
            self.repeating = self.repeating.saturating_sub(1);
        }
        if entry.open > 0 {
            return None;
        }
        if !entry.told {
            if !entry.wanted && !entry.queued {
                self.table.remove(channel);
            }
            return None;
        }
        if !std::mem::take(&mut entry.awaited) {
            return None;
        }
        Some(Live {
            home: entry.home,
            channel: channel.clone(),
        })
    }

    /// Redis denied a SUBSCRIBE of these. If they were several, those that may be heard must be found: each is asked for
    /// alone. One that was alone is left as it is until the link is made again.
    pub(super) fn on_denied(&mut self, channels: Vec<ChannelName>) {
        let several = channels.len() > 1;
        for channel in channels {
            let Some(entry) = self.table.get_mut(&channel) else {
                continue;
            };
            entry.open = entry.open.saturating_sub(1);
            // A later command on the same channel decides what Redis holds, not this one.
            if entry.open == 0 {
                entry.told = false;
            }
            if several && entry.wanted && !entry.told && !entry.queued {
                entry.queued = true;
                self.alone.push_back(channel);
                continue;
            }
            if std::mem::take(&mut entry.repeated) {
                self.repeating = self.repeating.saturating_sub(1);
            }
            if !entry.wanted && !entry.queued && entry.open == 0 {
                self.table.remove(&channel);
            }
        }
    }

    /// The link is gone and with it everything that Redis was told. Returns whoever waited: they need not any longer.
    pub(super) fn on_lost(&mut self) -> Vec<Live> {
        self.changed.clear();
        self.alone.clear();
        self.repeating = 0;
        let mut lives = Vec::new();
        self.table.retain(|channel, entry| {
            if !entry.wanted {
                return false;
            }
            entry.told = false;
            entry.open = 0;
            entry.queued = false;
            entry.repeated = false;
            if std::mem::take(&mut entry.awaited) {
                lives.push(Live {
                    home: entry.home,
                    channel: channel.clone(),
                });
            }
            true
        });
        lives
    }

    /// A new link is there: everything must be said again.
    pub(super) fn on_linked(&mut self) {
        for (channel, entry) in &mut self.table {
            entry.queued = true;
            entry.repeated = true;
            self.changed.push_back(channel.clone());
        }
        self.repeating = self.table.len();
    }

    /// Whether something of before the link was made is not confirmed yet.
    pub(super) const fn is_repeating(&self) -> bool {
        self.repeating > 0
    }

    /// Channels with a local subscriber.
    pub(super) const fn count(&self) -> usize {
        self.wanted
    }

    /// The channel of that name and its home, if somebody here wants it.
    pub(super) fn find(&self, name: &str) -> Option<(&ChannelName, WorkerId)> {
        let (channel, entry) = self.table.get_key_value(name)?;
        entry.wanted.then_some((channel, entry.home))
    }

    /// Notes that Redis is told what is wanted, and how. `None` if it knows.
    fn tell(&mut self, channel: &ChannelName) -> Option<Verb> {
        let entry = self.table.get_mut(channel)?;
        entry.queued = false;
        if entry.wanted == entry.told {
            // It was wanted for so short a time that it was never sent.
            if std::mem::take(&mut entry.repeated) {
                self.repeating = self.repeating.saturating_sub(1);
            }
            if !entry.wanted && entry.open == 0 {
                self.table.remove(channel);
            }
            return None;
        }
        entry.told = entry.wanted;
        entry.open = entry.open.saturating_add(1);
        Some(if entry.wanted {
            Verb::Subscribe
        } else {
            Verb::Unsubscribe
        })
    }
}

#[cfg(test)]
#[path = "subscriptions_tests.rs"]
mod tests;
