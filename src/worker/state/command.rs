//! What a `wsd.v1` client asks for, and what it is told.
//!
//! [pure] Part of [`super::State`]. Every command is answered; a bad one costs the connection nothing (SPEC §5).

use std::time::Instant;

use super::super::conns::{Conn, Phase};
use super::State;
use super::feed::Asked;
use crate::broker::home::Publish;
use crate::broker::{Ask, LinkStatus};
use crate::pipeline::{Admission, MessageOutcome};
use crate::protocol::{self, BadCommand, Code, Command, Id, Reply, Request};
use crate::types::{ChannelName, ConnId, Kind, Outcome, Payload, Position, Receipt, Ticket};

/// What is known of a connection that speaks `wsd.v1`.
#[derive(Debug, Default)]
pub struct V1 {
    /// Channels that a hook gave it, the latest last; at most as many as it may have subscriptions.
    pub given: Vec<ChannelName>,
    /// Channels of which frames were dropped since the outbox was last empty: each is told once.
    pub gaps: Vec<ChannelName>,
}

impl State {
    /// A `wsd.v1` client sent a message.
    pub(super) fn on_command(&mut self, now: Instant, id: ConnId, payload: &Payload) {
        if payload.kind == Kind::Binary {
            let reason = "a command is a JSON object in a text frame";
            self.refuse(now, id, None, Code::BadRequest, reason);
            return;
        }
        let Request { id: name, command } = match protocol::parse(&payload.data) {
            Ok(request) => request,
            Err(BadCommand {
                id: name,
                code,
                reason,
            }) => {
                self.refuse(now, id, name.as_ref(), code, &reason);
                return;
            }
        };
        match command {
            Command::Ping => {
                self.reply(now, id, &Reply::Pong, name.as_ref());
            }
            Command::Publish { channel, payload } => {
                self.command_publish(now, id, name, channel, payload);
            }
            Command::Subscribe { channel, since } => {
                self.command_subscribe(now, id, name, channel, since);
            }
            Command::Unsubscribe { channel } => {
                self.command_unsubscribe(now, id, name.as_ref(), &channel);
            }
            Command::History { channel, limit } => {
                self.command_history(now, id, name, channel, limit);
            }
        }
    }

    /// Sends an answer.
    pub(super) fn reply(&mut self, now: Instant, id: ConnId, reply: &Reply<'_>, name: Option<&Id>) {
        let mut text = Vec::new();
        protocol::write_reply(reply, name, &mut text);
        self.send_text(now, id, text);
    }

    /// What became of a publish of a client here.
    pub fn on_answer(&mut self, now: Instant, receipt: Receipt, outcome: Outcome) {
        let (Some(id), Some(name)) = (
            self.place.own(receipt.origin),
            self.tickets.remove(&receipt.ticket),
        ) else {
            return;
        };
        match outcome {
            Outcome::Taken(position) => {
                self.reply(now, id, &Reply::Published { position }, name.as_ref());
            }
            Outcome::Dropped => {
                let reason = "a hook refused the message";
                self.refuse(now, id, name.as_ref(), Code::Dropped, reason);
            }
            Outcome::Unavailable => {
                let reason = "the message could not be published now";
                self.refuse(now, id, name.as_ref(), Code::Unavailable, reason);
            }
        }
    }

    /// Answers a `history` command.
    pub(super) fn answer_history(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: &ChannelName,
        name: Option<&Id>,
        messages: &[(Position, Payload)],
    ) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let waiting = conn.outbox.queued();
        let mut text = Vec::new();
        let reply = Reply::History { channel, messages };
        protocol::write_reply(&reply, name, &mut text);
        if waiting > 0 && waiting + text.len() > self.config.queue {
            let reason =
                "the answer finds no room behind what waits for you: read, or ask for less";
            self.refuse(now, id, name, Code::TooMany, reason);
        } else {
            self.send_text(now, id, text);
        }
    }

    fn refuse(&mut self, now: Instant, id: ConnId, name: Option<&Id>, code: Code, reason: &str) {
        self.reply(now, id, &Reply::Error { code, reason }, name);
    }

    fn command_publish(
        &mut self,
        now: Instant,
        id: ConnId,
        name: Option<Id>,
        channel: ChannelName,
        payload: Payload,
    ) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if !conn.route.publish {
            self.metrics.dropped_route.inc();
            let reason = "clients of this route may not publish";
            self.refuse(now, id, name.as_ref(), Code::NotAllowed, reason);
            return;
        }
        if !self.may_name(id, conn, &channel) {
            self.refuse_channel(now, id, name.as_ref(), &channel);
            return;
        }
        let (stages, echo) = (conn.route.hooks, conn.route.echo);
        let outcome = self.ask_message(now, id, Some(channel), payload);
        match outcome {
            MessageOutcome::Publish(Some(channel), payload) => {
                let ticket = self.ticket(name);
                let gather = self.gather_from(stages, id);
                let publish = Publish {
                    channel,
                    payload,
                    sender: Some(self.place.origin(id)),
                    echo,
                    gather,
                    ticket: Some(ticket),
                };
                self.publish(now, publish);
            }
            MessageOutcome::Publish(None, _) | MessageOutcome::Dropped => {
                self.metrics.dropped_hook.inc();
                let reason = "a hook refused the message";
                self.refuse(now, id, name.as_ref(), Code::Dropped, reason);
            }
            MessageOutcome::Failed => {
                self.metrics.dropped_error.inc();
                let reason = "a hook failed";
                self.refuse(now, id, name.as_ref(), Code::Unavailable, reason);
            }
        }
    }

    /// A name for a publish, under which its answer finds the client's own.
    fn ticket(&mut self, name: Option<Id>) -> Ticket {
        self.last_ticket = self.last_ticket.saturating_add(1);
        let ticket = Ticket(self.last_ticket);
        self.tickets.insert(ticket, name);
        ticket
    }

    fn command_subscribe(
        &mut self,
        now: Instant,
        id: ConnId,
        name: Option<Id>,
        channel: ChannelName,
        since: Option<Position>,
    ) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if !self.may_name(id, conn, &channel) {
            self.refuse_channel(now, id, name.as_ref(), &channel);
            return;
        }
        if self.home.status() == LinkStatus::Down {
            let reason = "the broker is away";
            self.refuse(now, id, name.as_ref(), Code::Unavailable, reason);
            return;
        }
        let ask = since.map_or(Ask::Newest(0), Ask::Since);
        if self.hub.is_member(id, &channel) {
            self.begin_feed(now, id, &channel, ask, Some(name));
            return;
        }
        let admission = self.ask_subscribe(now, id, channel);
        let channel = match admission {
            Admission::Granted(channel) => channel,
            Admission::Refused(()) => {
                self.metrics.subscribe_refused.inc();
                let reason = "a hook refused the subscription";
                self.refuse(now, id, name.as_ref(), Code::NotAllowed, reason);
                return;
            }
            Admission::Failed => {
                self.metrics.subscribe_refused.inc();
                let reason = "a hook failed";
                self.refuse(now, id, name.as_ref(), Code::Unavailable, reason);
                return;
            }
        };
        if self.is_closing(id) {
            return;
        }
        let most = self.config.limits.subscriptions;
        if !self.hub.is_member(id, &channel) && self.hub.count_of(id) >= most {
            self.metrics.subscribe_refused.inc();
            let reason = format!("at most {most} subscriptions of one connection");
            self.refuse(now, id, name.as_ref(), Code::TooMany, &reason);
            return;
        }
        self.give_channel(id, &channel);
        self.join(now, id, &channel);
        self.begin_feed(now, id, &channel, ask, Some(name));
    }

    fn command_unsubscribe(
        &mut self,
        now: Instant,
        id: ConnId,
        name: Option<&Id>,
        channel: &ChannelName,
    ) {
        if !self.hub.is_member(id, channel) {
            let reason = format!("there is no subscription to {channel}");
            self.refuse(now, id, name, Code::NotSubscribed, &reason);
            return;
        }
        self.leave(now, id, channel);
        self.reply(now, id, &Reply::Unsubscribed { channel }, name);
    }

    fn command_history(
        &mut self,
        now: Instant,
        id: ConnId,
        name: Option<Id>,
        channel: ChannelName,
        limit: Option<u64>,
    ) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if !self.may_name(id, conn, &channel) {
            self.refuse_channel(now, id, name.as_ref(), &channel);
            return;
        }
        if !self.hub.is_member(id, &channel) {
            let reason = format!("there is no subscription to {channel}");
            self.refuse(now, id, name.as_ref(), Code::NotSubscribed, &reason);
            return;
        }
        if self.keep(&channel).is_none() {
            self.answer_history(now, id, &channel, name.as_ref(), &[]);
            return;
        }
        let most = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let asked = Asked::History(id, channel.clone(), name);
        self.recall(now, channel, Ask::Newest(most), asked);
    }

    /// Whether a command of this connection may name the channel: its own, one of its route's, or one that a hook gave it.
    fn may_name(&self, id: ConnId, conn: &Conn, channel: &ChannelName) -> bool {
        conn.peer.channel.as_ref() == Some(channel)
            || conn
                .route
                .channels
                .iter()
                .any(|glob| glob.matches(channel.as_str()))
            || conn
                .v1
                .as_ref()
                .is_some_and(|v1| v1.given.contains(channel))
            || self.hub.is_member(id, channel)
    }

    fn refuse_channel(
        &mut self,
        now: Instant,
        id: ConnId,
        name: Option<&Id>,
        channel: &ChannelName,
    ) {
        let reason = format!("channel {channel} is not for this connection");
        self.refuse(now, id, name, Code::NotAllowed, &reason);
    }

    /// A hook gives the connection a channel: from now on its commands may name it.
    pub(super) fn give_channel(&mut self, id: ConnId, channel: &ChannelName) {
        let most = self.config.limits.subscriptions;
        if let Some(v1) = self.conns.get_mut(id).and_then(|conn| conn.v1.as_mut())
            && !v1.given.contains(channel)
        {
            if v1.given.len() >= most {
                v1.given.remove(0);
            }
            v1.given.push(channel.clone());
        }
    }

    pub(super) fn is_closing(&self, id: ConnId) -> bool {
        self.conns
            .get(id)
            .is_none_or(|conn| conn.phase == Phase::Closing)
    }
}
