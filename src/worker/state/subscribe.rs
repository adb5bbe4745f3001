//! Joining and leaving channels.
//!
//! [pure] Part of [`super::State`]. The first member here makes the channel wanted at its home, the last one ends that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::conns::Phase;
use super::super::message::{Interest, Message};
use super::super::wheel::Timer;
use super::delivery::Local;
use super::{State, mark};
use crate::broker::Ask;
use crate::hub::{ChannelSlot, Joined, Left};
use crate::pipeline::{Admission, Hook};
use crate::types::{ChannelName, ConnId};

/// How long the answer to the handshake waits until the subscription is live (SPEC §4).
const JOIN_WAIT: Duration = Duration::from_secs(1);

impl State {
    /// A hook wants the connection to join a channel: asks `on_subscribe` first.
    pub(super) fn subscribe_by_hook(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: ChannelName,
        replay: Option<u32>,
    ) {
        if self.is_closing(id) {
            return;
        }
        if self.hub.is_member(id, &channel) {
            return;
        }
        if self.hub.count_of(id) >= self.config.limits.subscriptions {
            self.metrics.subscribe_refused.inc();
            return;
        }
        let Admission::Granted(channel) = self.ask_subscribe(now, id, channel) else {
            self.metrics.subscribe_refused.inc();
            return;
        };
        // The hook's own effects may have joined more, or closed the connection.
        let room = self.hub.count_of(id) < self.config.limits.subscriptions;
        if room && !self.is_closing(id) {
            self.give_channel(id, &channel);
            self.join(now, id, &channel);
            match replay {
                Some(wanted) => self.replay_some(now, id, &channel, wanted),
                None => self.replay(now, id, &channel),
            }
        } else {
            self.metrics.subscribe_refused.inc();
        }
    }

    /// Gives a plain client that has joined what its channel replays.
    pub(super) fn replay(&mut self, now: Instant, id: ConnId, channel: &ChannelName) {
        let wanted = self.config.policy(channel).replay;
        if self.conns.get(id).is_some_and(|conn| conn.v1.is_none()) {
            self.replay_some(now, id, channel, wanted);
        }
    }

    /// Gives a connection that has joined the newest of what the channel kept.
    fn replay_some(&mut self, now: Instant, id: ConnId, channel: &ChannelName, wanted: u32) {
        if wanted > 0 && self.config.policy(channel).history_size > 0 {
            let ask = Ask::Newest(wanted as usize);
            self.begin_feed(now, id, channel, ask, None);
        }
    }

    /// Makes the connection a member. Who joins closes the run first, or gets of a window what comes from now on.
    pub(super) fn join(&mut self, now: Instant, id: ConnId, channel: &ChannelName) {
        if let Some(slot) = self.hub.find(channel) {
            self.close_turn_run(now, slot);
        }
        let v1 = self.conns.get(id).is_some_and(|conn| conn.v1.is_some());
        let joined = self.hub.subscribe(id, channel);
        match joined {
            Joined::Already(_) => return,
            Joined::Further(slot) => {
                if let Some(run) = self
                    .local
                    .get_mut(slot.index())
                    .and_then(|l| l.run.as_mut())
                {
                    run.join(id);
                }
            }
            Joined::First(slot) => {
                let policy = Arc::clone(self.config.policy(channel));
                if self.local.len() <= slot.index() {
                    self.local.resize_with(slot.index() + 1, Local::default);
                }
                if let Some(local) = self.local.get_mut(slot.index()) {
                    let home = self.place.hash.home(channel, self.place.workers);
                    *local = Local {
                        policy: Some(policy),
                        home: Some(home),
                        ..Local::default()
                    };
                }
                self.tell_interest(now, channel, Interest::Wanted);
            }
        }
        let (Joined::First(slot) | Joined::Further(slot) | Joined::Already(slot)) = joined;
        if let Some(local) = self.local.get_mut(slot.index()) {
            *local.count(v1) += 1;
        }
    }

    /// Holds the answer to the handshake back until the channel's subscription is live.
    pub(super) fn wait_until_live(&mut self, now: Instant, id: ConnId, channel: &ChannelName) {
        let Some(slot) = self.hub.find(channel) else {
            return;
        };
        let Some(local) = self.local.get_mut(slot.index()) else {
            return;
        };
        if local.live {
            return;
        }
        local.joining.push(id);
        if let Some(conn) = self.conns.get_mut(id)
            && conn.phase == Phase::Open
        {
            conn.phase = Phase::Joining;
            self.wheel.set(now + JOIN_WAIT, id, Timer::Join);
        }
    }

    /// The home says that everything published in the channel from now on arrives here.
    ///
    /// It answers each [`Interest::Wanted`] once and in order. Who left and came back meanwhile gets the first answer too,
    /// which says nothing about the time after: the home has yet to hear of the leaving.
    pub fn on_live(&mut self, now: Instant, channel: &ChannelName) {
        if let Some(count) = self.unanswered.get_mut(channel) {
            *count -= 1;
            if *count > 0 {
                return;
            }
            self.unanswered.remove(channel);
            if self.unanswered.is_empty() && self.unanswered.capacity() > 1024 {
                self.unanswered.shrink_to_fit();
            }
        }
        let Some(slot) = self.hub.find(channel) else {
            return;
        };
        let Some(local) = self.local.get_mut(slot.index()) else {
            return;
        };
        local.live = true;
        let feeding: Vec<ConnId> = local.feeding.iter().copied().collect();
        for id in std::mem::take(&mut local.joining) {
            self.release(id);
        }
        for id in feeding {
            self.start_feed(now, id, slot);
        }
    }

    /// The answer to the handshake waits no longer.
    pub(super) fn release(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id)
            && conn.phase == Phase::Joining
        {
            conn.phase = Phase::Open;
            mark(&mut self.dirty, id, conn);
        }
    }

    /// Ends a membership and tells `on_unsubscribe`; nothing happens if there is none.
    pub(super) fn leave(&mut self, now: Instant, id: ConnId, channel: &ChannelName) {
        let Some(slot) = self.hub.find(channel) else {
            return;
        };
        if !self.hub.is_member(id, channel) {
            return;
        }
        self.close_turn_run(now, slot);
        if let Some(left) = self.hub.unsubscribe(id, channel) {
            self.after_leaving(now, id, &left);
            self.tell_unsubscribed(now, id, channel);
        }
    }

    /// The connection has ended: ends all its memberships and tells `on_unsubscribe` of each.
    pub(super) fn leave_all(&mut self, now: Instant, id: ConnId) {
        for left in self.hub.remove(id) {
            self.after_leaving(now, id, &left);
            self.tell_unsubscribed(now, id, &left.channel);
        }
    }

    /// The same without asking hooks: for connections that no hook knows.
    pub(super) fn leave_silently(&mut self, now: Instant, id: ConnId) {
        for left in self.hub.remove(id) {
            self.after_leaving(now, id, &left);
        }
    }

    fn tell_unsubscribed(&mut self, now: Instant, id: ConnId, channel: &ChannelName) {
        self.ask(
            now,
            id,
            Hook::Unsubscribe,
            |pipeline, stages, who, effects| {
                pipeline.unsubscribe(stages, who, channel, effects);
            },
        );
    }

    fn after_leaving(&mut self, now: Instant, id: ConnId, left: &Left) {
        self.end_feed(id, left.slot);
        let v1 = self.conns.get(id).is_some_and(|conn| conn.v1.is_some());
        if let Some(local) = self.local.get_mut(left.slot.index()) {
            *local.count(v1) -= 1;
        }
        if left.last {
            self.forget_local(left.slot);
            self.tell_interest(now, &left.channel, Interest::Unwanted);
        }
    }

    /// Nobody here listens to the channel any more; what waited for its window goes nowhere.
    fn forget_local(&mut self, slot: ChannelSlot) {
        if let Some(local) = self.local.get_mut(slot.index()) {
            if let Some(due) = local.run_due {
                self.due_runs.remove(&(due, slot));
            }
            *local = Local::default();
        }
        if self.hub.channel_count() == 0 && self.local.capacity() > 1024 {
            self.local = Vec::new();
        }
    }

    pub(super) fn tell_interest(
        &mut self,
        now: Instant,
        channel: &ChannelName,
        interest: Interest,
    ) {
        if interest == Interest::Wanted {
            *self.unanswered.entry(channel.clone()).or_default() += 1;
        }
        let home = self.place.hash.home(channel, self.place.workers);
        if home == self.place.worker {
            self.on_interest(now, home, channel, interest);
        } else {
            let message = Message::Interest(self.place.worker, channel.clone(), interest);
            self.hand_over(home, message);
        }
    }
}
