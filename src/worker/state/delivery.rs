//! From a channel's publication to the outboxes of its subscribers here.
//!
//! [pure] Part of [`super::State`]. A publication is rendered into its channel's open run; at the end of the turn, or of
//! the delivery window, each subscriber's outbox gets one reference to the run.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::super::conns::Phase;
use super::super::outbox::{PONG, Pushed};
use super::super::run::{ClosedRun, Offered, OpenRun, Part, Run};
use super::super::wheel::Timer;
use super::form::{Form, effort};
use super::{Output, State, mark};
use crate::config::{ChannelPolicy, Delivery, Format, WhenFull};
use crate::hub::ChannelSlot;
use crate::protocol;
use crate::types::{Close, ConnId, Kind, Payload, Publication, WorkerId};

/// What is known of a channel with a subscriber here.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// `None`: no channel stands in this slot.
    pub(super) policy: Option<Arc<ChannelPolicy>>,
    /// Whether all that is published arrives here.
    pub(super) live: bool,
    /// Whose home it is.
    pub(super) home: Option<WorkerId>,
    /// Connections whose handshake waits for that.
    pub(super) joining: Vec<ConnId>,
    /// Members that do not have everything yet that the channel kept: runs pass them by.
    pub(super) feeding: BTreeSet<ConnId>,
    /// Plain members, and those that speak `wsd.v1`.
    pub(super) members: [u32; 2],
    /// What members that speak `wsd.v1` get at the end of the turn.
    pub(super) v1_run: Option<Box<OpenRun>>,
    /// What plain members got in this turn or window.
    pub(super) run: Option<Box<OpenRun>>,
    /// When the window of `run` ends; `None`: with the turn.
    pub(super) run_due: Option<Instant>,
}

impl Local {
    /// How many members there are of that kind.
    pub(super) const fn count(&mut self, v1: bool) -> &mut u32 {
        &mut self.members[v1 as usize]
    }
}

/// How long a connection that is too slow may take to read its close frame (SPEC §3).
const SLOW_CLOSE: Duration = Duration::from_secs(1);

impl State {
    /// Adds a publication to its channel's run.
    pub(super) fn deliver(&mut self, now: Instant, publication: &Publication) {
        let Some(slot) = self.hub.find(&publication.channel) else {
            self.deliver_note(now, publication);
            return;
        };
        let skip = publication.skip.and_then(|origin| self.place.own(origin));
        let skip = skip.filter(|&conn| self.hub.is_member_of(conn, slot));
        let Some(local) = self.local.get(slot.index()) else {
            return;
        };
        let [plain, v1] = local.members;
        if !local.feeding.is_empty() {
            self.hold(slot, publication, skip);
        }
        if v1 > 0 {
            self.deliver_v1(now, slot, publication, skip);
        }
        if plain == 0 {
            return;
        }
        let Payload { kind, data } = &publication.payload;
        self.deliver_to(now, slot, *kind, data, skip);
    }

    /// Adds a message to the run of a channel that has members; `skip` is one of them.
    pub(super) fn deliver_to(
        &mut self,
        now: Instant,
        slot: ChannelSlot,
        kind: Kind,
        data: &[u8],
        skip: Option<ConnId>,
    ) {
        let mut offered = self.offer(now, slot, kind, data, skip);
        if offered == Offered::NoRoom {
            self.close_run(now, slot);
            self.flush_now = true;
            offered = self.offer(now, slot, kind, data, skip);
        }
        debug_assert_ne!(offered, Offered::NoRoom, "an empty run takes any message");
        if offered == Offered::Full {
            self.close_run(now, slot);
            self.flush_now = true;
        }
    }

    /// Offers a message to its channel's run, which is opened if there is none.
    fn offer(
        &mut self,
        now: Instant,
        slot: ChannelSlot,
        kind: Kind,
        data: &[u8],
        skip: Option<ConnId>,
    ) -> Offered {
        let Some(local) = self.local.get_mut(slot.index()) else {
            return Offered::Added;
        };
        let run = match &mut local.run {
            Some(run) => run,
            none => {
                let Some(policy) = &local.policy else {
                    return Offered::Added;
                };
                let Some(name) = self.hub.name(slot) else {
                    return Offered::Added;
                };
                let window = policy.delivery.window;
                if window.is_zero() {
                    self.turn_runs.push(slot);
                } else {
                    local.run_due = Some(now + window);
                    self.due_runs.insert((now + window, slot));
                }
                none.insert(self.spare_runs.take(name.clone(), policy.delivery))
            }
        };
        run.offer_bytes(kind, data, skip)
    }

    /// Adds a publication to the run of the members that speak `wsd.v1`: one object a frame, without a window.
    fn deliver_v1(
        &mut self,
        now: Instant,
        slot: ChannelSlot,
        publication: &Publication,
        skip: Option<ConnId>,
    ) {
        let mut text = Vec::with_capacity(publication.payload.len() + 128);
        let (channel, position) = (&publication.channel, publication.position);
        protocol::write_message(Some(channel), &publication.payload, position, &mut text);
        let object = Payload {
            kind: Kind::Text,
            data: text.into(),
        };
        loop {
            let Some(local) = self.local.get_mut(slot.index()) else {
                return;
            };
            let Some(policy) = &local.policy else {
                return;
            };
            let run = local.v1_run.get_or_insert_with(|| {
                self.turn_runs.push(slot);
                let delivery = Delivery {
                    format: Format::Message,
                    ..policy.delivery
                };
                self.spare_runs.take(channel.clone(), delivery)
            });
            let offered = run.offer(&object, skip);
            if offered != Offered::Added {
                self.close_v1_run(now, slot);
                self.flush_now = true;
            }
            if offered != Offered::NoRoom {
                return;
            }
        }
    }

    /// Members that catch up get it later.
    fn hold(&mut self, slot: ChannelSlot, publication: &Publication, skip: Option<ConnId>) {
        let Some(local) = self.local.get(slot.index()) else {
            return;
        };
        for &id in &local.feeding {
            if skip != Some(id)
                && let Some(feed) = self.feeds.get_mut(&(id, slot))
            {
                feed.hold(publication);
            }
        }
    }

    /// Closes what would end with this turn: somebody joins or leaves. A window goes on.
    pub(super) fn close_turn_run(&mut self, now: Instant, slot: ChannelSlot) {
        self.close_v1_run(now, slot);
        let ends = self
            .local
            .get(slot.index())
            .is_some_and(|local| local.run.is_some() && local.run_due.is_none());
        if ends {
            self.close_run(now, slot);
        }
    }

    /// Gives a connection that is about to end what its channels have got in this turn: a client that breaks a rule, or
    /// that a hook closes, still gets what was published before, its own messages too.
    pub fn give_runs(&mut self, now: Instant, id: ConnId) {
        if self.turn_runs.is_empty() {
            return;
        }
        let slots: SmallVec<[ChannelSlot; 4]> = self.hub.slots_of(id).collect();
        for slot in slots {
            self.close_turn_run(now, slot);
        }
    }

    /// Closes a channel's run and gives it to the outboxes.
    pub(super) fn close_run(&mut self, now: Instant, slot: ChannelSlot) {
        let Some(local) = self.local.get_mut(slot.index()) else {
            return;
        };
        if let Some(due) = local.run_due.take() {
            self.due_runs.remove(&(due, slot));
        }
        if let Some(run) = local.run.take() {
            self.give(now, slot, run, false);
        }
    }

    fn close_v1_run(&mut self, now: Instant, slot: ChannelSlot) {
        let local = self.local.get_mut(slot.index());
        if let Some(run) = local.and_then(|local| local.v1_run.take()) {
            self.give(now, slot, run, true);
        }
    }

    /// Gives a run to the outboxes of the channel's members of one kind.
    fn give(&mut self, now: Instant, slot: ChannelSlot, mut run: Box<OpenRun>, v1: bool) {
        let count = run.count();
        let ClosedRun { all, special } = run.close();
        let mut deflated = Form::NotAsked;
        let effort = effort(&self.config);
        self.spare_runs.give(run);
        let mut slow = Vec::new();
        let mut gaps = Vec::new();
        let mut given = 0u64;
        for member in self.hub.members(slot) {
            let Some(conn) = self.conns.get_mut(member.conn) else {
                continue;
            };
            if conn.phase == Phase::Closing || conn.v1.is_some() != v1 {
                continue;
            }
            if conn.feeds > 0 && self.feeds.contains_key(&(member.conn, slot)) {
                continue;
            }
            let before = conn.outbox.queued();
            let limit = self.config.queue;
            // The first who takes it has it made, for all.
            let form = if conn.takes_deflated() {
                deflated.of(&all, &mut self.deflate, effort)
            } else {
                &all
            };
            let pushed = match special.binary_search_by_key(&member.conn, |(id, _)| *id) {
                Err(_) => conn.outbox.push(form, form.range(), limit),
                Ok(index) => {
                    let parts: &[Part] = special.get(index).map_or(&[], |(_, parts)| parts);
                    let mut pushed = Pushed::default();
                    for (run, range) in parts {
                        let part = if Rc::ptr_eq(run, &all) {
                            let range = form.range_as_in(&all, range);
                            conn.outbox.push(form, range, limit)
                        } else {
                            // A rendering for one alone goes uncompressed.
                            conn.outbox.push(run, range.clone(), limit)
                        };
                        pushed.dropped += part.dropped;
                        pushed.overflow |= part.overflow;
                    }
                    pushed
                }
            };
            self.queued_bytes = (self.queued_bytes + conn.outbox.queued()).saturating_sub(before);
            self.metrics.dropped_slow.add(pushed.dropped as u64);
            if pushed.overflow {
                slow.push(member.conn);
            } else if pushed.dropped > 0 && v1 {
                gaps.push(member.conn);
            }
            if !conn.outbox.is_empty() {
                mark(&mut self.dirty, member.conn, conn);
            }
            given += 1;
        }
        self.metrics
            .messages_delivered
            .add(given * u64::from(count));
        for id in slow {
            self.disconnect_slow(now, id);
        }
        for id in gaps {
            self.tell_dropped(now, id, slot);
        }
    }

    /// Frames of the channel were dropped, as a `wsd.v1` client reads too slowly: it is told once, until it has read.
    fn tell_dropped(&mut self, now: Instant, id: ConnId, slot: ChannelSlot) {
        let Some(channel) = self.hub.name(slot).cloned() else {
            return;
        };
        let Some(v1) = self.conns.get_mut(id).and_then(|conn| conn.v1.as_mut()) else {
            return;
        };
        if v1.gaps.contains(&channel) {
            return;
        }
        v1.gaps.push(channel.clone());
        self.tell_gap(now, id, &channel, None);
    }

    /// Sends to one connection what a hook wants it to get.
    pub(super) fn send(&mut self, now: Instant, id: ConnId, payload: &Payload) {
        let when_full = self.config.channel_default.delivery.when_full;
        if self.conns.get(id).is_some_and(|conn| conn.v1.is_some()) {
            let mut text = Vec::with_capacity(payload.len() + 64);
            protocol::write_message(None, payload, None, &mut text);
            let object = Payload {
                kind: Kind::Text,
                data: text.into(),
            };
            self.send_frame(now, id, &object, when_full);
        } else {
            self.send_frame(now, id, payload, when_full);
        }
    }

    /// Sends one frame to one connection.
    pub(super) fn send_frame(
        &mut self,
        now: Instant,
        id: ConnId,
        payload: &Payload,
        when_full: WhenFull,
    ) {
        let Some(conn) = self.conns.get_mut(id).filter(|c| c.phase != Phase::Closing) else {
            return;
        };
        let mut run = Run::single(payload, when_full);
        if conn.takes_deflated()
            && let Some(deflated) = run.deflated(&mut self.deflate, effort(&self.config))
        {
            run = deflated;
        }
        let before = conn.outbox.queued();
        let pushed = conn.outbox.push(&run, run.range(), self.config.queue);
        self.queued_bytes = (self.queued_bytes + conn.outbox.queued()).saturating_sub(before);
        self.metrics.messages_delivered.inc();
        self.metrics.dropped_slow.add(pushed.dropped as u64);
        mark(&mut self.dirty, id, conn);
        if pushed.overflow {
            self.disconnect_slow(now, id);
        }
    }

    /// Queues what the session answers: one control frame, or pongs. It never waits for room.
    pub fn send_control(&mut self, id: ConnId, frame: &[u8]) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let run: Rc<Run> = Run::control(frame);
        let before = conn.outbox.queued();
        if frame.first() == Some(&PONG) {
            conn.outbox.push_pongs(&run);
        } else {
            conn.outbox.push_control(&run);
        }
        self.queued_bytes = (self.queued_bytes + conn.outbox.queued()).saturating_sub(before);
        mark(&mut self.dirty, id, conn);
    }

    /// So many bytes of a connection's outbox were taken to be encrypted, so many wait encrypted since then, and so many
    /// were written.
    pub fn on_sealed(&mut self, id: ConnId, taken: usize, held: usize, written: usize) {
        self.metrics.bytes_sent.add(written as u64);
        if let Some(conn) = self.conns.get_mut(id) {
            let before = conn.outbox.queued();
            conn.outbox.advance(taken);
            conn.outbox.hold(held);
            self.queued_bytes = (self.queued_bytes + conn.outbox.queued()).saturating_sub(before);
        }
    }

    /// Lets go of what waits for a connection that does not read, and tries for a moment to say so.
    fn disconnect_slow(&mut self, now: Instant, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.phase == Phase::Closing {
            return;
        }
        let before = conn.outbox.queued();
        conn.outbox.clear();
        self.queued_bytes = (self.queued_bytes + conn.outbox.queued()).saturating_sub(before);
        conn.phase = Phase::Closing;
        conn.close = Some(Box::new(Close::TRY_AGAIN));
        self.metrics.slow_disconnects.inc();
        self.outputs.push_back(Output::Close(id, Close::TRY_AGAIN));
        self.wheel.set(now + SLOW_CLOSE, id, Timer::Kill);
    }
}
