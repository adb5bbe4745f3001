//! Which workers want a channel, whether it is live, and whether the link is there.
//!
//! [pure] Part of [`super::Home`].

use std::sync::Arc;

use super::recalls::Followed;
use super::{Home, HomeOutput, KEPT, Kind, WorkerSet};
use crate::broker::{Command, LinkStatus};
use crate::config::Keep;
use crate::types::{ChannelName, Publication, WorkerId};

impl Home {
    /// A worker's first subscriber came. Each call is answered with one [`HomeOutput::Live`], in order. `keep` is what the
    /// channel keeps.
    pub fn on_wanted(&mut self, worker: WorkerId, channel: &ChannelName, keep: Option<Keep>) {
        let entry = self.channels.entry(channel.clone()).or_default();
        let first = entry.wanted.is_empty();
        entry.wanted.add(worker);
        let nobody_confirms = self.broker == Kind::Memory || self.status == LinkStatus::Down;
        if nobody_confirms || entry.live {
            self.outputs
                .push_back(HomeOutput::Live(worker, channel.clone()));
        } else {
            entry.waiting.add(worker);
        }
        if first && self.broker == Kind::Redis {
            entry.followed = keep.map(Followed::new);
            self.command(Command::Subscribe(channel.clone()));
        }
    }

    /// A worker's last subscriber left.
    pub fn on_unwanted(&mut self, worker: WorkerId, channel: &ChannelName) {
        let Some(entry) = self.channels.get_mut(channel) else {
            return;
        };
        entry.wanted.remove(worker);
        if entry.waiting.has(worker) {
            entry.waiting.remove(worker);
            self.outputs
                .push_back(HomeOutput::Live(worker, channel.clone()));
        }
        if entry.wanted.is_empty() {
            entry.live = false;
            entry.followed = None;
            if entry.batch.is_none() {
                self.channels.remove(channel);
                if self.channels.is_empty() && self.channels.capacity() > KEPT {
                    self.channels.shrink_to_fit();
                }
            }
            if self.broker == Kind::Redis {
                self.drop_questions(channel);
                self.command(Command::Unsubscribe(channel.clone()));
            }
        }
    }

    /// Redis confirmed the subscription.
    pub fn on_live(&mut self, channel: &ChannelName) {
        let Some(entry) = self.channels.get_mut(channel) else {
            return;
        };
        entry.live = true;
        for worker in std::mem::take(&mut entry.waiting).iter() {
            self.outputs
                .push_back(HomeOutput::Live(worker, channel.clone()));
        }
        self.begin_following(channel);
    }

    /// Redis has sent something for a channel of this home.
    pub fn on_publication(&mut self, publication: Arc<Publication>) {
        self.follow(publication);
    }

    pub(super) fn pass(&mut self, publication: Arc<Publication>) {
        let wanted = self
            .channels
            .get(&publication.channel)
            .map_or_else(WorkerSet::default, |channel| channel.wanted);
        if !wanted.is_empty() {
            self.outputs
                .push_back(HomeOutput::Deliver(wanted, publication));
        }
    }

    /// The link to Redis is there or not. What was missed meanwhile is read from the histories, or told.
    pub fn on_status(&mut self, status: LinkStatus) {
        let before = std::mem::replace(&mut self.status, status);
        if status == before {
            return;
        }
        if status == LinkStatus::Down {
            self.unfollow();
        }
        let mut gaps = Vec::new();
        let mut released: Vec<(WorkerId, ChannelName)> = Vec::new();
        for (name, channel) in &mut self.channels {
            if status == LinkStatus::Up && !channel.wanted.is_empty() {
                gaps.push((channel.wanted, name.clone()));
            }
            channel.live = status == LinkStatus::Up && !channel.wanted.is_empty();
            let waiting = std::mem::take(&mut channel.waiting);
            released.extend(waiting.iter().map(|worker| (worker, name.clone())));
        }
        // Nobody waits for a link that is away, and one that is back has confirmed every subscription.
        let released = released
            .into_iter()
            .map(|(worker, name)| HomeOutput::Live(worker, name));
        self.outputs.extend(released);
        if status == LinkStatus::Up {
            self.ask_again();
        }
        for (workers, channel) in gaps {
            if !self.mend(&channel) {
                self.tell_gap(workers, channel);
            }
        }
    }

    /// Members of the channel missed what cannot be had again.
    pub(super) fn tell_gap(&mut self, workers: WorkerSet, channel: ChannelName) {
        let (_, count) = self.gaps.get_or_insert_with(|| (channel.clone(), 0));
        *count += 1;
        self.outputs.push_back(HomeOutput::Gap(workers, channel));
    }

    /// A channel whose members missed what cannot be had again, and how many such channels there were, since the last call.
    pub const fn take_gaps(&mut self) -> Option<(ChannelName, u64)> {
        self.gaps.take()
    }
}
