//! Members that get what their channel kept before they get what comes: `since`, `replay`.
//!
//! [pure] Part of [`super::State`]. A feed stands for one member of one channel until that member has everything; meanwhile
//! runs pass it by. It fills the outbox only as far as [`PACE`], so who catches up is never taken for slow.

use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::conns::Phase;
use super::super::message::Message;
use super::super::run::{OpenRun, Run};
use super::super::wheel::Timer;
use super::{State, mark};
use crate::broker::history::Missed;
use crate::broker::{Ask, Recall, Recalled};
use crate::config::{Format, Keep, OnGap, WhenFull};
use crate::hub::{CatchUp, ChannelSlot, Next};
use crate::protocol::{self, Id, Reply};
use crate::types::{ChannelName, Close, ConnId, Kind, Payload, Position, Publication, WorkerId};

/// Bytes that may wait in the outbox of a connection that catches up before more is added: a few writes' worth.
const PACE: usize = 64 << 10;

/// How long it takes to close a crowd that missed something and is to come back.
const GAP_SPAN: Duration = Duration::from_secs(2);

/// One member that does not have everything yet.
#[derive(Debug)]
pub(super) struct Feed {
    channel: ChannelName,
    catch_up: CatchUp,
    /// What the home was asked last.
    token: Option<u64>,
    /// What the home is asked first.
    ask: Ask,
    /// The `subscribed` that comes before anything else.
    owed: Option<Option<Id>>,
}

impl Feed {
    /// A publication came live.
    pub(super) fn hold(&mut self, publication: &Publication) {
        self.catch_up
            .hold(publication.position, &publication.payload);
    }
}

/// Who waits for a home's answer.
#[derive(Debug)]
pub(super) enum Asked {
    /// A feed.
    Feed(ConnId, ChannelSlot),
    /// A `history` command.
    History(ConnId, ChannelName, Option<Id>),
}

impl State {
    /// From now on the member gets what the channel kept, then what comes. `owed` is answered with `subscribed` first.
    ///
    /// The home is asked when the subscription is live: nothing may fall between.
    pub(super) fn begin_feed(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: &ChannelName,
        ask: Ask,
        owed: Option<Option<Id>>,
    ) {
        let Some(slot) = self.hub.find(channel) else {
            return;
        };
        // What is in the open run came before; a window's frame goes to the others without this member.
        self.close_turn_run(now, slot);
        let feed = Feed {
            channel: channel.clone(),
            catch_up: CatchUp::default(),
            token: None,
            ask,
            owed,
        };
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if self.feeds.insert((id, slot), feed).is_none() {
            conn.feeds += 1;
        }
        let Some(local) = self.local.get_mut(slot.index()) else {
            return;
        };
        local.feeding.insert(id);
        if local.live {
            self.start_feed(now, id, slot);
        }
    }

    /// The subscription is live: asks the home, or goes on at once where nothing is kept.
    pub(super) fn start_feed(&mut self, now: Instant, id: ConnId, slot: ChannelSlot) {
        let Some(feed) = self.feeds.get(&(id, slot)) else {
            return;
        };
        if feed.token.is_some() {
            return;
        }
        if self.keep(&feed.channel.clone()).is_some() {
            self.ask_home(now, id, slot);
        } else {
            self.answer_feed(now, id, slot, None);
        }
    }

    /// What a channel keeps.
    pub(super) fn keep(&self, channel: &ChannelName) -> Option<Keep> {
        self.config.keep(channel)
    }

    /// Asks a channel's home what it keeps; answered by [`State::on_recalled`].
    pub(super) fn recall(
        &mut self,
        now: Instant,
        channel: ChannelName,
        ask: Ask,
        asked: Asked,
    ) -> u64 {
        self.next_token += 1;
        let token = self.next_token;
        self.asked.insert(token, asked);
        let home = self.place.hash.home(&channel, self.place.workers);
        let recall = Recall {
            channel,
            ask,
            token,
        };
        if home == self.place.worker {
            self.on_recall(now, home, &recall);
        } else {
            let worker = self.place.worker;
            self.hand_over(home, Message::Recall(worker, recall));
        }
        token
    }

    /// A worker asks a home here.
    pub fn on_recall(&mut self, now: Instant, worker: WorkerId, recall: &Recall) {
        let keep = self.keep(&recall.channel);
        self.home.on_recall(now, worker, recall, keep);
        self.pump(now);
    }

    /// A home has answered.
    pub fn on_recalled(&mut self, now: Instant, recalled: Recalled) {
        let Recalled { token, missed } = recalled;
        match self.asked.remove(&token) {
            Some(Asked::Feed(id, slot)) => {
                let current = self.feeds.get(&(id, slot)).and_then(|feed| feed.token);
                // Who left, or began anew since, waits for another answer.
                if current == Some(token) {
                    self.answer_feed(now, id, slot, missed);
                }
            }
            Some(Asked::History(id, channel, request)) => {
                let messages = missed.map_or_else(Vec::new, |missed| missed.messages);
                self.answer_history(now, id, &channel, request.as_ref(), &messages);
            }
            None => {}
        }
    }

    /// Gives connections that catch up what their outbox has room for.
    pub(super) fn pump_feeds(&mut self, now: Instant, id: ConnId) {
        let of_conn = (id, ChannelSlot(0))..=(id, ChannelSlot(u32::MAX));
        let slots: Vec<ChannelSlot> = self.feeds.range(of_conn).map(|((_, s), _)| *s).collect();
        for slot in slots {
            self.pump_feed(now, id, slot);
        }
    }

    /// The member leaves: what it was to be given goes nowhere.
    pub(super) fn end_feed(&mut self, id: ConnId, slot: ChannelSlot) {
        if self.feeds.remove(&(id, slot)).is_none() {
            return;
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.feeds -= 1;
        }
        if let Some(local) = self.local.get_mut(slot.index()) {
            local.feeding.remove(&id);
        }
    }

    fn ask_home(&mut self, now: Instant, id: ConnId, slot: ChannelSlot) {
        let Some(feed) = self.feeds.get(&(id, slot)) else {
            return;
        };
        let (channel, ask) = (feed.channel.clone(), feed.ask);
        // The home may be here and answer at once: it must find the token.
        let token = self.next_token + 1;
        if let Some(feed) = self.feeds.get_mut(&(id, slot)) {
            feed.token = Some(token);
        }
        let asked = self.recall(now, channel, ask, Asked::Feed(id, slot));
        debug_assert_eq!(asked, token, "tokens count up");
    }

    fn answer_feed(&mut self, now: Instant, id: ConnId, slot: ChannelSlot, missed: Option<Missed>) {
        let Some(feed) = self.feeds.get_mut(&(id, slot)) else {
            return;
        };
        let wanted = match feed.ask {
            Ask::Since(position) => Some(position),
            Ask::Newest(_) => None,
        };
        let owed = feed.owed.take();
        let channel = feed.channel.clone();
        let Some(missed) = missed else {
            self.tell_subscribed(now, id, &channel, owed, None, false);
            if wanted.is_some() {
                self.tell_gap(now, id, &channel, None);
            }
            self.finish_feed(now, id, slot);
            return;
        };
        let gap = wanted.is_some() && !missed.recovered;
        // What follows is after the position that is told.
        let told = match wanted {
            Some(position) if missed.recovered => position,
            _ => missed
                .messages
                .first()
                .map_or(missed.top, |(first, _)| Position {
                    offset: first.offset.saturating_sub(1),
                    ..*first
                }),
        };
        feed.catch_up.answered(missed.top, gap, missed.messages);
        self.tell_subscribed(now, id, &channel, owed, Some(told), missed.recovered);
        self.pump_feed(now, id, slot);
    }

    fn tell_subscribed(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: &ChannelName,
        owed: Option<Option<Id>>,
        position: Option<Position>,
        recovered: bool,
    ) {
        if let Some(request) = owed {
            let reply = Reply::Subscribed {
                channel,
                position,
                recovered,
            };
            self.reply(now, id, &reply, request.as_ref());
        }
    }

    fn pump_feed(&mut self, now: Instant, id: ConnId, slot: ChannelSlot) {
        loop {
            let Some(conn) = self.conns.get(id) else {
                return;
            };
            if conn.outbox.queued() >= PACE || conn.phase == Phase::Closing {
                return;
            }
            let v1 = conn.v1.is_some();
            let Some(feed) = self.feeds.get_mut(&(id, slot)) else {
                return;
            };
            match feed.catch_up.poll_next() {
                Next::Wait => return,
                Next::Live => {
                    self.finish_feed(now, id, slot);
                    return;
                }
                Next::Ask(position) => {
                    feed.ask = Ask::Since(position);
                    self.ask_home(now, id, slot);
                }
                Next::Gap(position) => {
                    let channel = feed.channel.clone();
                    self.tell_gap(now, id, &channel, Some(position));
                }
                Next::Message(position, payload) if v1 => {
                    let mut text = Vec::with_capacity(payload.len() + 128);
                    protocol::write_message(Some(&feed.channel), &payload, position, &mut text);
                    self.give_kept(id, &[text_payload(text)], slot);
                }
                Next::Message(_, first) => {
                    // A plain client gets what is there in the format of the channel.
                    let mut payloads = vec![first];
                    let mut bytes = payloads.iter().map(Payload::len).sum::<usize>();
                    while bytes < PACE
                        && let Some(feed) = self.feeds.get_mut(&(id, slot))
                        && let Some(payload) = feed.catch_up.poll_message()
                    {
                        bytes += payload.len();
                        payloads.push(payload);
                    }
                    self.give_kept(id, &payloads, slot);
                }
            }
        }
    }

    /// It has everything: from now on it gets what comes.
    fn finish_feed(&mut self, now: Instant, id: ConnId, slot: ChannelSlot) {
        // What is in the run it has had.
        self.close_turn_run(now, slot);
        self.end_feed(id, slot);
        let run = self.local.get_mut(slot.index());
        if let Some(run) = run.and_then(|local| local.run.as_mut()) {
            run.join(id);
        }
    }

    /// Gives one member messages that its channel kept.
    fn give_kept(&mut self, id: ConnId, payloads: &[Payload], slot: ChannelSlot) {
        let Some(local) = self.local.get(slot.index()) else {
            return;
        };
        let Some(policy) = &local.policy else {
            return;
        };
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(channel) = self.feeds.get(&(id, slot)).map(|feed| feed.channel.clone()) else {
            return;
        };
        let mut delivery = policy.delivery;
        if conn.v1.is_some() {
            delivery.format = Format::Message;
        }
        let mut payloads = payloads.iter().peekable();
        while payloads.peek().is_some() {
            let mut run = OpenRun::new(channel.clone(), delivery);
            while let Some(payload) = payloads.peek() {
                match run.offer(payload, None) {
                    super::super::run::Offered::NoRoom => break,
                    super::super::run::Offered::Added => payloads.next(),
                    super::super::run::Offered::Full => {
                        payloads.next();
                        break;
                    }
                };
            }
            let count = run.count();
            let run: Rc<Run> = run.close().all;
            let before = conn.outbox.queued();
            // It goes at the pace of the outbox, so there is always room.
            conn.outbox.push(&run, run.range(), usize::MAX);
            self.queued_bytes += conn.outbox.queued() - before;
            self.metrics.messages_delivered.add(count.into());
        }
        mark(&mut self.dirty, id, conn);
    }

    /// All members of a channel here missed what cannot be had again.
    pub fn on_gap(&mut self, now: Instant, channel: &ChannelName) {
        let Some(slot) = self.hub.find(channel) else {
            return;
        };
        // What came before the gap goes before it.
        self.close_turn_run(now, slot);
        let closes = self.config.policy(channel).on_gap == OnGap::Close;
        let members: Vec<ConnId> = self.hub.members(slot).iter().map(|m| m.conn).collect();
        for id in members {
            let Some(conn) = self.conns.get(id) else {
                continue;
            };
            if conn.v1.is_some() {
                self.tell_gap(now, id, channel, None);
            } else if closes {
                self.close_at_random(now, id);
            }
        }
    }

    /// Closes a plain client that missed something at a moment of [`GAP_SPAN`] that only its id decides: not all of a
    /// crowd shall come back at once.
    fn close_at_random(&mut self, now: Instant, id: ConnId) {
        let draw = self.place.hash.hash_one(id);
        let part = f64::from((draw >> 32) as u32) / f64::from(u32::MAX);
        self.wheel
            .set(now + GAP_SPAN.mul_f64(part), id, Timer::Restart);
    }

    /// Some publications were missed and cannot be had again.
    pub(super) fn tell_gap(
        &mut self,
        now: Instant,
        id: ConnId,
        channel: &ChannelName,
        position: Option<Position>,
    ) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        if conn.v1.is_some() {
            let mut text = Vec::new();
            protocol::write_gap(channel, position, &mut text);
            self.send_text(now, id, text);
        } else if self.config.policy(channel).on_gap == OnGap::Close {
            self.close(now, id, Close::RESTART);
        } else {
            self.metrics.gaps.inc();
        }
    }

    /// Sends a text frame of wsd's own to one connection.
    pub(super) fn send_text(&mut self, now: Instant, id: ConnId, text: Vec<u8>) {
        self.send_frame(now, id, &text_payload(text), WhenFull::Disconnect);
    }
}

fn text_payload(text: Vec<u8>) -> Payload {
    Payload {
        kind: Kind::Text,
        data: text.into(),
    }
}
