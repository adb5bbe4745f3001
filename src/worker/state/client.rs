//! What a connection does: it comes, asks to be let in, sends, goes.
//!
//! [pure] Part of [`super::State`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::super::conns::{Conn, Phase};
use super::super::outbox::Outbox;
use super::super::remote::Remote;
use super::super::run::Run;
use super::super::wheel::Timer;
use super::asking::{Spending, ask_for};
use super::{Output, State, mark};
use crate::broker::home::{Gather, Publish};
use crate::config::Route;
use crate::hub::ChannelSlot;
use crate::pipeline::{Admission, Effect, Effects, Hook, MessageOutcome, Peer, Pipeline, Who};
use crate::protocol::SUBPROTOCOL;
use crate::types::{ChannelName, Close, ConnId, Payload, StagesId, WorkerId};
use crate::wire::{Refusal, Upgrade, handshake};

/// A handshake that was let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted;

impl State {
    /// A socket was accepted; its request has not come yet.
    pub fn on_accept(&mut self, now: Instant) -> ConnId {
        let timeout = self.handshake_time();
        let id = self.conns.reserve();
        self.wheel.set(now + timeout, id, Timer::Handshake);
        id
    }

    /// The worker that is the home of the channel that the request's path names, if that is another one.
    #[must_use]
    pub fn home_of(&self, upgrade: &Upgrade) -> Option<WorkerId> {
        if self.place.workers == 1 {
            return None;
        }
        let channel = self.config.route(&upgrade.path)?.channel?;
        let home = self.place.hash.home(&channel, self.place.workers);
        (home != self.place.worker).then_some(home)
    }

    /// The request is complete. What is let in finds the answer in its outbox, as soon as its subscription is live.
    pub fn on_upgrade(
        &mut self,
        now: Instant,
        id: ConnId,
        upgrade: &Upgrade,
        remote: &Remote,
    ) -> Result<Accepted, Refusal> {
        if self.drain_close.is_some() {
            // Its request came too late for the drain to close it.
            self.metrics.refused_stopping.inc();
            return Err(Refusal::new(503, "stopping").with("Retry-After", "5"));
        }
        self.check_origin(upgrade)?;
        let Some(found) = self.config.route(&upgrade.path) else {
            self.metrics.refused_route.inc();
            return Err(Refusal::new(404, "no such path"));
        };
        let mut peer = Peer {
            origin: self.place.origin(id),
            ip: remote
                .ip
                .map_or_else(|| "".into(), |ip| ip.to_string().into()),
            port: remote.port,
            path: upgrade.path.as_str().into(),
            route: Arc::clone(&found.route.name),
            params: found.params,
            secure: remote.secure,
            protocols: upgrade
                .protocols
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            user: None,
            channel: found.channel,
        };
        let route = found.route;
        let asked = self.ask_connect(now, id, &mut peer, &route, upgrade)?;
        let v1 = asked.protocol.as_deref() == Some(SUBPROTOCOL);
        let own = match peer.channel.clone() {
            // It says itself what it wants, so that its position comes before what is live.
            Some(_) if v1 => None,
            None => None,
            Some(channel) => Some(self.ask_own_channel(now, id, &peer, &route, channel)?),
        };
        let (own, effects) =
            own.map_or_else(Default::default, |(own, effects)| (Some(own), effects));
        if !v1 {
            peer.channel.clone_from(&own);
        }

        let mut answer = Vec::new();
        let deflate = upgrade.deflate.filter(|_| self.config.compression.enabled);
        handshake::accept(upgrade, asked.protocol.as_deref(), deflate, &mut answer);
        let mut outbox = Outbox::default();
        outbox.push_control(&Run::control(&answer));
        self.queued_bytes += outbox.queued();
        let conn = Conn {
            peer,
            route,
            deflate,
            near: ChannelSlot(0),
            phase: Phase::Open,
            outbox,
            dirty: false,
            meter: None,
            expires: None,
            expire_tick: None,
            opened: now,
            close: None,
            internal: false,
            paces: None,
            v1: v1.then(Box::default),
            feeds: 0,
        };
        self.conns.open(id, conn);
        self.add_user(now, id);
        self.metrics.accepted.inc();
        // What on_connect sent comes after the 101 and before anything of a channel.
        self.apply(now, asked.effects);
        self.apply(now, effects);
        if let Some(channel) = own {
            self.join(now, id, &channel);
            if let Some(slot) = self.hub.find(&channel) {
                self.adopt_name(id, slot);
            }
            self.wait_until_live(now, id, &channel);
            self.replay(now, id, &channel);
        }
        self.mark_dirty(id);
        Ok(Accepted)
    }

    /// A connection of wsd's own that gets what is published in a channel; no hook is asked.
    pub fn on_attach(&mut self, now: Instant, channel: &ChannelName) -> ConnId {
        let id = self.conns.reserve();
        let route = Route::internal();
        let peer = Peer {
            origin: self.place.origin(id),
            ip: "".into(),
            port: 0,
            path: "".into(),
            route: Arc::clone(&route.name),
            params: Box::default(),
            secure: false,
            protocols: Box::default(),
            user: None,
            channel: None,
        };
        let conn = Conn {
            peer,
            route: Arc::new(route),
            deflate: None,
            near: ChannelSlot(0),
            phase: Phase::Open,
            outbox: Outbox::default(),
            dirty: false,
            meter: None,
            expires: None,
            expire_tick: None,
            opened: now,
            close: None,
            internal: true,
            paces: None,
            v1: None,
            feeds: 0,
        };
        self.conns.open(id, conn);
        // It sees this first, as soon as its subscription is live.
        self.send_control(id, PING);
        self.join(now, id, channel);
        self.wait_until_live(now, id, channel);
        id
    }

    /// A client sent a message. Returns whether a hook was asked, which takes time, and when the next may follow.
    pub fn on_message(&mut self, now: Instant, id: ConnId, payload: Payload) -> Spending {
        if self.config.limits.messages_per_second != 0 && !self.keeps_pace(now, id) {
            return Spending::Nothing;
        }
        let Some(conn) = self.conns.get(id) else {
            return Spending::Nothing;
        };
        if conn.phase == Phase::Closing || conn.internal {
            return Spending::Nothing;
        }
        self.metrics.messages_received.inc();
        if conn.v1.is_some() {
            self.begin_spending(id);
            self.on_command(now, id, &payload);
            return self.end_spending(now, id);
        }
        if !conn.route.publish {
            self.metrics.dropped_route.inc();
            return Spending::Nothing;
        }
        let (stages, echo) = (conn.route.hooks, conn.route.echo);
        let channel = conn.peer.channel.clone();
        self.begin_spending(id);
        let outcome = self.ask_message(now, id, channel, payload);
        match outcome {
            MessageOutcome::Publish(Some(channel), payload) => {
                let gather = self.gather_from(stages, id);
                let sender = Some(self.place.origin(id));
                self.publish(
                    now,
                    Publish {
                        channel,
                        payload,
                        sender,
                        echo,
                        gather,
                        ticket: None,
                    },
                );
            }
            MessageOutcome::Publish(None, _) => self.metrics.dropped_nowhere.inc(),
            MessageOutcome::Dropped => self.metrics.dropped_hook.inc(),
            MessageOutcome::Failed => self.metrics.dropped_error.inc(),
        }
        self.end_spending(now, id)
    }

    /// Whose `on_batch` sees a message of such a route; `None` if no script has one.
    pub(super) fn gather(&mut self, stages: StagesId) -> Option<Gather> {
        let generation = self.generations.number();
        let pipeline = self.generations.current();
        pipeline.has(stages, Hook::Batch).then(|| Gather {
            stages: pipeline.canonical(stages),
            generation,
            strained: false,
        })
    }

    /// The same for a message of a connection.
    pub(super) fn gather_from(&mut self, stages: StagesId, id: ConnId) -> Option<Gather> {
        let gather = self.gather(stages)?;
        let hooks = self.generations.current().hooks();
        let peer = self.conns.get(id).map(|conn| &conn.peer);
        let strained = peer.is_some_and(|peer| hooks.is_strained(&peer.ip));
        Some(Gather { strained, ..gather })
    }

    /// Asks for the end of a connection: what was sent to it before still goes out, and what its channels got before.
    pub fn close(&mut self, now: Instant, id: ConnId, close: Close) {
        if self.conns.get(id).is_none_or(|c| c.phase == Phase::Closing) {
            return;
        }
        self.give_runs(now, id);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.phase = Phase::Closing;
        conn.close = Some(Box::new(close.clone()));
        mark(&mut self.dirty, id, conn);
        self.outputs.push_back(Output::Close(id, close));
    }

    /// The connection has ended, or its handshake was refused or never came. Returns what is left to be written.
    pub fn on_closed(&mut self, now: Instant, id: ConnId, close: &Close) -> Option<Box<Conn>> {
        if self.conns.get(id).is_some_and(|conn| !conn.internal) {
            if let Some(conn) = self.conns.get_mut(id) {
                // What its last hooks ask for must not make it a member again.
                conn.phase = Phase::Closing;
            }
            self.leave_all(now, id);
            self.ask(
                now,
                id,
                Hook::Disconnect,
                |pipeline, stages, who, effects| {
                    pipeline.disconnect(stages, who, close, effects);
                },
            );
        } else {
            self.leave_silently(now, id);
        }
        self.generations.forget(id);
        let conn = self.conns.remove(id)?;
        if let Some(user) = conn.peer.user.as_deref() {
            self.remove_user(now, id, user);
        }
        self.queued_bytes = self.queued_bytes.saturating_sub(conn.outbox.queued());
        Some(conn)
    }

    /// The broker could not take publishes of these connections.
    pub fn on_refused(&mut self, now: Instant, conns: &[ConnId]) {
        for &id in conns {
            self.metrics.dropped_broker.inc();
            self.close(now, id, Close::TRY_AGAIN);
        }
    }

    /// `conn:expire` is due, unless the clock was set back or the call was taken back.
    pub(super) fn expire(&mut self, now: Instant, tick: u64, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        // Another timer stands for it if a sooner time was asked for since.
        if conn.expire_tick != Some(tick) {
            return;
        }
        conn.expire_tick = None;
        let Some(at) = conn.expires else { return };
        if self.at_wall(at) > now {
            self.set_expire_timer(id, at);
        } else {
            self.close(now, id, Close::EXPIRED);
        }
    }

    /// Sets the timer of `conn:expire`, unless one is set that fires before: a script that asks again with every message
    /// must not leave as many timers.
    pub(super) fn set_expire_timer(&mut self, id: ConnId, at: f64) {
        let at = self.at_wall(at);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let sooner = conn
            .expire_tick
            .is_none_or(|tick| self.wheel.is_before(at, tick));
        if sooner {
            conn.expire_tick = Some(self.wheel.set(at, id, Timer::Expire));
        }
    }

    /// Asks `on_connect`. What it assigned is in `peer` then; the rest of its effects is returned.
    fn ask_connect(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: &mut Peer,
        route: &Route,
        upgrade: &Upgrade,
    ) -> Result<Wishes, Refusal> {
        let mut protocol = default_protocol(&upgrade.protocols);
        let asked = self.ask_coming(
            now,
            id,
            peer,
            route,
            Hook::Connect,
            |pipeline, who, effects| pipeline.connect(route.hooks, who, upgrade, effects),
        );
        let Some((admission, mut effects)) = asked else {
            return Ok(Wishes {
                protocol,
                effects: Vec::new(),
            });
        };
        let refusal = match admission {
            Admission::Granted(()) => {
                effects.retain(|effect| match effect {
                    Effect::SetUser(_, user) => {
                        peer.user = user.as_deref().map(Into::into);
                        false
                    }
                    Effect::SetChannel(_, channel) => {
                        peer.channel.clone_from(channel);
                        false
                    }
                    Effect::SetProtocol(_, name) => {
                        protocol = Some(name.clone());
                        false
                    }
                    _ => true,
                });
                return Ok(Wishes { protocol, effects });
            }
            Admission::Refused(answer) => {
                self.metrics.refused_hook.inc();
                let text = Cow::Owned(answer.text);
                Refusal {
                    status: answer.status,
                    text,
                    headers: answer.headers,
                }
            }
            Admission::Failed => {
                self.metrics.refused_error.inc();
                Refusal::new(503, "a hook failed")
            }
        };
        self.apply_publishes(now, effects);
        Err(refusal)
    }

    /// Asks `on_subscribe` for the connection's own channel, before the 101.
    fn ask_own_channel(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: &Peer,
        route: &Route,
        channel: ChannelName,
    ) -> Result<(ChannelName, Vec<Effect>), Refusal> {
        let wanted = channel.clone();
        let asked = self.ask_coming(
            now,
            id,
            peer,
            route,
            Hook::Subscribe,
            |pipeline, who, effects| pipeline.subscribe(route.hooks, who, wanted, effects),
        );
        let Some((admission, effects)) = asked else {
            return Ok((channel, Vec::new()));
        };
        let refusal = match admission {
            Admission::Granted(channel) => return Ok((channel, effects)),
            Admission::Refused(()) => {
                self.metrics.refused_hook.inc();
                Refusal::new(403, "this channel may not be joined")
            }
            Admission::Failed => {
                self.metrics.refused_error.inc();
                Refusal::new(503, "a hook failed")
            }
        };
        self.apply_publishes(now, effects);
        Err(refusal)
    }

    /// Asks a hook for a connection whose handshake is not answered; what it asked for is returned.
    fn ask_coming<R>(
        &mut self,
        now: Instant,
        id: ConnId,
        peer: &Peer,
        route: &Route,
        hook: Hook,
        call: impl FnOnce(&mut Pipeline, Who<'_>, &mut Effects) -> R,
    ) -> Option<(R, Vec<Effect>)> {
        let who = Who {
            conn: id,
            peer,
            channels: &Vec::new,
        };
        let (generations, effects) = (&mut self.generations, &mut self.effects);
        let result = ask_for(generations, effects, who, route.hooks, hook, call)?;
        let generation = self.generations.number();
        let reports = self.collect_reports(generation);
        self.tell(now, generation, reports);
        Some((result, self.effects.take()))
    }
}

/// An empty ping (RFC 6455 §5.5.2).
const PING: &[u8] = &[0x89, 0];

/// What `on_connect` left.
struct Wishes {
    protocol: Option<String>,
    effects: Vec<Effect>,
}

/// `wsd.v1` if it was offered, else the first that was: browsers fail a connection whose offer gets no answer.
fn default_protocol(offered: &[String]) -> Option<String> {
    let ours = offered.iter().find(|name| *name == SUBPROTOCOL);
    ours.or_else(|| offered.first()).cloned()
}
