//! Asking hooks, and what follows from how that went: reports, blame for cuts, what a connection owes.
//!
//! [pure] Part of [`super::State`]. Every call of a hook for a connection goes through [`State::ask`] or, before it is
//! open, [`ask_for`].

use std::time::{Duration, Instant};

use super::super::conns::Conn;
use super::super::message::Message;
use super::super::share::{DEAR, Meter, Toll};
use super::{Generations, Output, State};
use crate::pipeline::{Admission, Effects, Hook, HookError, MessageOutcome, Pipeline, Who};
use crate::types::{ChannelName, Close, ConnId, Generation, Origin, Payload, StagesId};

/// What asking a hook for a message means for its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spending {
    /// Nobody was asked.
    Nothing,
    /// It took so long.
    For(Duration),
    /// The next message of this connection is to be handled then.
    Wait(Instant),
}

/// Asks a hook for somebody, if any script of the list has it.
pub(super) fn ask_for<R>(
    generations: &mut Generations,
    effects: &mut Effects,
    who: Who<'_>,
    stages: StagesId,
    hook: Hook,
    call: impl FnOnce(&mut Pipeline, Who<'_>, &mut Effects) -> R,
) -> Option<R> {
    let pipeline = generations.current_for(who.conn);
    if !pipeline.has(stages, hook) {
        return None;
    }
    Some(call(pipeline, who, effects))
}

impl State {
    /// Asks a hook for an open connection, if any of its scripts has it, and carries out what it asked for.
    pub(super) fn ask<R>(
        &mut self,
        now: Instant,
        id: ConnId,
        hook: Hook,
        call: impl FnOnce(&mut Pipeline, StagesId, Who<'_>, &mut Effects) -> R,
    ) -> Option<R> {
        let conn = self.conns.get(id)?;
        let stages = conn.route.hooks;
        let hub = &self.hub;
        let channels = || hub.channels_of(id).cloned().collect();
        let who = Who {
            conn: id,
            peer: &conn.peer,
            channels: &channels,
        };
        let (generations, effects) = (&mut self.generations, &mut self.effects);
        let result = ask_for(
            generations,
            effects,
            who,
            stages,
            hook,
            |p, who, effects| call(p, stages, who, effects),
        )?;
        self.finish_call(now);
        Some(result)
    }

    /// Asks `on_message`.
    pub(super) fn ask_message(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: Option<ChannelName>,
        payload: Payload,
    ) -> MessageOutcome {
        let mut sent = Some((channel, payload));
        let asked = self.ask(now, id, Hook::Message, |pipeline, stages, who, effects| {
            let (channel, payload) = sent.take()?;
            Some(pipeline.message(stages, who, channel, payload, effects))
        });
        match (asked.flatten(), sent) {
            (Some(outcome), _) => outcome,
            (None, Some((channel, payload))) => MessageOutcome::Publish(channel, payload),
            (None, None) => MessageOutcome::Failed,
        }
    }

    /// Asks `on_subscribe` of an accepted connection.
    pub(super) fn ask_subscribe(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: ChannelName,
    ) -> Admission<ChannelName, ()> {
        let wanted = channel.clone();
        let asked = self.ask(
            now,
            id,
            Hook::Subscribe,
            |pipeline, stages, who, effects| pipeline.subscribe(stages, who, wanted, effects),
        );
        asked.unwrap_or(Admission::Granted(channel))
    }

    /// A call of that generation has returned: takes over what it took and the failures that it reports.
    pub(super) fn collect_reports(&mut self, generation: Generation) -> Vec<HookError> {
        let pipeline = self.generations.of(generation);
        self.spent += pipeline.hooks().take_spent();
        let reports = pipeline.take_reports();
        if !reports.is_empty() {
            // A memory error has the scripts loaded anew, and their `on_load` may have asked for something.
            for effect in pipeline.hooks().take_loaded().take() {
                // Only a call that asks for more than one may is refused, and that one was not.
                let _ = self.effects.push(effect);
            }
        }
        reports
    }

    /// Tells of failures; a cut is held against the connection that it was called for.
    pub(super) fn tell(&mut self, now: Instant, generation: Generation, reports: Vec<HookError>) {
        for report in reports {
            if let (Some(cut), Some(about)) = (report.cut, &report.about) {
                let hooks = self.generations.of(generation).hooks();
                let close = hooks.blame(cut, Some(about.origin), &about.ip);
                if let Some(id) = self.place.own(about.origin).filter(|_| close) {
                    self.close(now, id, Close::REFUSED);
                }
            }
            self.outputs.push_back(Output::Report(generation, report));
        }
    }

    /// Tells of failures of a batch; a cut is held against those who sent it, on whichever worker they are.
    pub(super) fn tell_batch(
        &mut self,
        now: Instant,
        generation: Generation,
        reports: Vec<HookError>,
        senders: &[Origin],
        by_clients_only: bool,
    ) {
        let alone = by_clients_only && senders.len() == 1;
        for report in reports {
            if let Some(cut) = report.cut {
                for &sender in senders {
                    let blame = Blame {
                        generation,
                        cut,
                        alone,
                    };
                    if sender.worker == self.place.worker {
                        self.on_blame(now, blame, sender.conn);
                    } else if sender.node == self.place.node {
                        self.hand_over(sender.worker, Message::Blame(blame, sender.conn));
                    }
                }
            }
            self.outputs.push_back(Output::Report(generation, report));
        }
    }

    /// A connection here has sent something of a batch that was cut.
    pub fn on_blame(&mut self, now: Instant, blame: Blame, id: ConnId) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let alone = blame.alone.then_some(conn.peer.origin);
        let hooks = self.generations.of(blame.generation).hooks();
        if hooks.blame(blame.cut, alone, &conn.peer.ip) {
            self.close(now, id, Close::REFUSED);
        }
    }

    /// Before a message of a connection: how its cost is measured.
    pub(super) fn begin_spending(&mut self, id: ConnId) {
        self.spent = Duration::ZERO;
        let meter = self.conns.get(id).and_then(|conn| conn.meter.as_ref());
        let by_cpu = meter.is_some_and(|meter| meter.is_by_cpu());
        if by_cpu != self.by_cpu {
            self.by_cpu = by_cpu;
            self.generations.current().hooks().measure_cpu(by_cpu);
        }
    }

    /// After it: charges what hooks spent on it.
    pub(super) fn end_spending(&mut self, now: Instant, id: ConnId) -> Spending {
        let spent = self.spent;
        let share = self.config.hooks.share;
        match self.conns.get_mut(id) {
            Some(conn) if share > 0.0 && (conn.meter.is_some() || spent > DEAR) => {
                match charge(conn, now, spent, 1, share) {
                    Toll::Close => self.close(now, id, Close::REFUSED),
                    Toll::Go => {}
                    Toll::Wait(until) => return Spending::Wait(until),
                }
            }
            _ => {}
        }
        Spending::For(spent)
    }

    /// A batch that a connection had a part in was dear: it pays for its part.
    pub fn on_charge(&mut self, now: Instant, id: ConnId, cost: Duration) {
        let share = self.config.hooks.share;
        if share > 0.0
            && let Some(conn) = self.conns.get_mut(id)
            && charge(conn, now, cost, 0, share) == Toll::Close
        {
            self.close(now, id, Close::REFUSED);
        }
    }

    /// Divides what a batch cost among those who sent it, if it was dear. The first dear one only has the next measured in
    /// CPU time.
    pub(super) fn charge_batch(
        &mut self,
        now: Instant,
        cost: Duration,
        messages: usize,
        senders: &[Origin],
    ) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let dear = cost > DEAR.saturating_mul(count(messages));
        let measured = std::mem::replace(&mut self.dear_batches, dear);
        if !dear || !measured || senders.is_empty() {
            return;
        }
        let part = cost / count(senders.len());
        for &sender in senders {
            if sender.worker == self.place.worker {
                self.on_charge(now, sender.conn, part);
            } else {
                self.hand_over(sender.worker, Message::Charge(sender.conn, part));
            }
        }
    }
}

/// What a cut of a batch is held against.
#[derive(Clone, Copy, Debug)]
pub struct Blame {
    /// Of the scripts.
    pub generation: Generation,
    /// The cut's number there.
    pub cut: u64,
    /// The connection sent the whole batch.
    pub alone: bool,
}

fn charge(conn: &mut Conn, now: Instant, cost: Duration, messages: u32, share: f64) -> Toll {
    let meter = conn.meter.get_or_insert_with(|| Box::new(Meter::new(now)));
    let toll = meter.charge(now, cost, messages, share);
    if meter.is_idle() {
        conn.meter = None;
    }
    toll
}

impl Spending {
    /// Whether hooks took so long that others should have their turn.
    #[must_use]
    pub const fn time(self) -> Duration {
        match self {
            Self::Nothing | Self::Wait(_) => Duration::ZERO,
            Self::For(time) => time,
        }
    }
}
