//! From a channel's publication to the outboxes of its subscribers here.
//!
//! [pure] Part of [`super::State`]. A publication is rendered into its channel's open run; at the end of the turn, or of
//! the delivery window, each subscriber's outbox gets one reference to the run.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::conns::Phase;
use super::super::outbox::{PONG, Pushed};
use super::super::run::{ClosedRun, Offered, OpenRun, Part, Run};
use super::super::wheel::Timer;
use super::{Output, State, mark};
use crate::config::ChannelPolicy;
use crate::hub::ChannelSlot;
use crate::types::{Close, ConnId, Payload, Publication};

/// What is known of a channel with a subscriber here.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// `None`: no channel stands in this slot.
    pub(super) policy: Option<Arc<ChannelPolicy>>,
    /// Whether all that is published arrives here.
    pub(super) live: bool,
    /// Connections whose handshake waits for that.
    pub(super) joining: Vec<ConnId>,
    /// What it got in this turn or window.
    pub(super) run: Option<OpenRun>,
    /// When the window of `run` ends; `None`: with the turn.
    pub(super) run_due: Option<Instant>,
}

/// How long a connection that is too slow may take to read its close frame (SPEC §3).
const SLOW_CLOSE: Duration = Duration::from_secs(1);

impl State {
    /// Adds a publication to its channel's run.
    pub(super) fn deliver(&mut self, now: Instant, publication: &Publication) {
        let Some(slot) = self.hub.find(&publication.channel) else {
            return;
        };
        let skip = publication.skip.and_then(|origin| self.place.own(origin));
        let skip = skip.filter(|&conn| self.hub.is_member(conn, &publication.channel));
        let mut offered = self.offer(now, slot, publication, skip);
        if offered == Offered::NoRoom {
            self.close_run(now, slot);
            self.flush_now = true;
            offered = self.offer(now, slot, publication, skip);
        }
        debug_assert_ne!(offered, Offered::NoRoom, "an empty run takes any message");
        if offered == Offered::Full {
            self.close_run(now, slot);
            self.flush_now = true;
        }
    }

    /// Offers a publication to its channel's run, which is opened if there is none.
    fn offer(
        &mut self,
        now: Instant,
        slot: ChannelSlot,
        publication: &Publication,
        skip: Option<ConnId>,
    ) -> Offered {
        let Some(local) = self.local.get_mut(slot.index()) else {
            return Offered::Added;
        };
        let Some(policy) = &local.policy else {
            return Offered::Added;
        };
        let run = match &mut local.run {
            Some(run) => run,
            none => {
                let window = policy.delivery.window;
                if window.is_zero() {
                    self.turn_runs.push(slot);
                } else {
                    local.run_due = Some(now + window);
                    self.due_runs.insert((now + window, slot));
                }
                none.insert(OpenRun::new(publication.channel.clone(), policy.delivery))
            }
        };
        run.offer(&publication.payload, skip)
    }

    /// Closes a run that would end with this turn: somebody joins or leaves. A window goes on.
    pub(super) fn close_turn_run(&mut self, now: Instant, slot: ChannelSlot) {
        let ends = self
            .local
            .get(slot.index())
            .is_some_and(|local| local.run.is_some() && local.run_due.is_none());
        if ends {
            self.close_run(now, slot);
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
        let Some(run) = local.run.take() else { return };
        let count = run.count();
        let ClosedRun { all, special } = run.close();
        let mut slow = Vec::new();
        let mut given = 0u64;
        for member in self.hub.members(slot) {
            let Some(conn) = self.conns.get_mut(member.conn) else {
                continue;
            };
            if conn.phase == Phase::Closing {
                continue;
            }
            let before = conn.outbox.queued();
            let limit = self.config.queue;
            let pushed = match special.binary_search_by_key(&member.conn, |(id, _)| *id) {
                Err(_) => conn.outbox.push(&all, all.range(), limit),
                Ok(index) => {
                    let parts: &[Part] = special.get(index).map_or(&[], |(_, parts)| parts);
                    let mut pushed = Pushed::default();
                    for (run, range) in parts {
                        let part = conn.outbox.push(run, range.clone(), limit);
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
    }

    /// Sends to one connection.
    pub(super) fn send(&mut self, now: Instant, id: ConnId, payload: &Payload) {
        let Some(conn) = self.conns.get_mut(id).filter(|c| c.phase != Phase::Closing) else {
            return;
        };
        let run = Run::single(payload, self.config.channel_default.delivery.when_full);
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

    /// Queues a control frame of the session's; it never waits for room.
    pub fn send_control(&mut self, id: ConnId, frame: &[u8]) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let run: Rc<Run> = Run::control(frame);
        let before = conn.outbox.queued();
        if frame.first() == Some(&PONG) {
            conn.outbox.push_pong(&run);
        } else {
            conn.outbox.push_control(&run);
        }
        self.queued_bytes = (self.queued_bytes + conn.outbox.queued()).saturating_sub(before);
        mark(&mut self.dirty, id, conn);
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
        conn.close = Some(Close::TRY_AGAIN);
        self.metrics.slow_disconnects.inc();
        self.outputs.push_back(Output::Close(id, Close::TRY_AGAIN));
        self.wheel.set(now + SLOW_CLOSE, id, Timer::Kill);
    }
}
