//! The short way of a message that nothing stands in the way of.
//!
//! [pure] Part of [`super::State`]. Where no hook sees it and its channel has its home and all its subscribers on this
//! worker, a message goes from the buffer that it was read into straight to the channel's run: no copy, no allocation, no
//! look-up by name. It is the home that allows it; all others go through [`State::on_message`], to the same effect.

use std::time::Instant;

use super::super::conns::Phase;
use super::State;
use crate::hub::ChannelSlot;
use crate::types::{ConnId, Kind};

/// The short way of a connection's messages, once it was found to be free: valid until the state is called for anything
/// but the next message of the same read.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    slot: ChannelSlot,
    /// The sender, if it must not get its messages back.
    skip: Option<ConnId>,
}

impl State {
    /// A client sent a message, which still lies in the buffer that it was read into. True if that was all: no hook
    /// sees it, its channel has its home and all its subscribers here, who are plain clients, and keeps no history. Else nothing has happened, and
    /// [`State::on_message`] is to take it.
    ///
    /// `lane` is `None` at first and for the messages of one read the same.
    pub fn pass_on(
        &mut self,
        now: Instant,
        id: ConnId,
        lane: &mut Option<Lane>,
        kind: Kind,
        data: &[u8],
    ) -> bool {
        let Some(found) = lane.or_else(|| self.find_lane(id)) else {
            return false;
        };
        *lane = Some(found);
        if self.config.limits.messages_per_second != 0 && !self.keeps_pace(now, id) {
            *lane = None;
            return true;
        }
        self.metrics.messages_received.inc();
        self.metrics.publications.inc();
        self.deliver_to(now, found.slot, kind, data, found.skip);
        if self.flush_now {
            // A run was closed: who was too slow for it, perhaps the sender, is being closed too.
            *lane = None;
        }
        true
    }

    fn find_lane(&mut self, id: ConnId) -> Option<Lane> {
        let conn = self.conns.get(id)?;
        let (stages, echo) = (conn.route.hooks, conn.route.echo);
        let is_plain = !conn.internal && conn.v1.is_none();
        let takes = is_plain && conn.phase != Phase::Closing && conn.route.publish;
        if !takes || !self.generations.current().leaves_messages(stages) {
            return None;
        }
        let channel = conn.peer.channel.as_ref()?;
        let slot = self.hub.find_near(channel, conn.near)?;
        let local = self.local.get(slot.index())?;
        let keeps = local.policy.as_ref().is_none_or(|p| p.history_size > 0);
        let alone = self.place.workers == 1;
        let [_, v1] = local.members;
        if keeps
            || v1 > 0
            || !local.feeding.is_empty()
            || local.home != Some(self.place.worker)
            || !self.home.passes_through(channel, self.place.worker, alone)
        {
            return None;
        }
        if slot != conn.near {
            self.adopt_name(id, slot);
        }
        let skip = (!echo && self.hub.is_member_of(id, slot)).then_some(id);
        Some(Lane { slot, skip })
    }

    /// The connection shares the name of the channel in that place from now on, and finds it without a look-up.
    pub(super) fn adopt_name(&mut self, id: ConnId, slot: ChannelSlot) {
        if let Some(name) = self.hub.name(slot)
            && let Some(conn) = self.conns.get_mut(id)
            && conn.peer.channel.as_ref() == Some(name)
        {
            conn.peer.channel = Some(name.clone());
            conn.near = slot;
        }
    }
}
