//! What the homes and the daemon ask of the Redis thread, on its way to the links.
//!
//! Part of [`super::RedisThread`]: the inbox is taken here, and what it brought is given to a link or waits for one.

use std::time::Instant;

use super::RedisThread;
use crate::broker::redis::STOP_LIMIT;
use crate::broker::redis::link::Order;
use crate::broker::redis::subscriptions::Link;
use crate::broker::redis::waiting::Waiter;
use crate::broker::{Command, LinkStatus, Outgoing};
use crate::config::Broker;
use crate::types::WorkerId;

/// Orders taken in one turn: then the links get theirs.
const ORDERS_TURN: usize = 4096;

impl RedisThread {
    pub(super) fn take_orders(&mut self, now: Instant) {
        let mut full = 0;
        for _ in 0..ORDERS_TURN {
            match self.shared.pop() {
                Some(Order::Commands(home, commands)) => {
                    for command in commands {
                        full += self.on_command(now, home, command);
                    }
                }
                Some(Order::Reload(config)) => self.on_reload(now, *config),
                Some(Order::Stop) => {
                    self.next_try = now;
                    self.waiting.release();
                    self.stop_by.get_or_insert(now + STOP_LIMIT);
                }
                None => break,
            }
        }
        self.journal.full(now, &self.config, full);
    }

    /// Returns how many publishes found no room.
    fn on_command(&mut self, now: Instant, home: WorkerId, command: Command) -> usize {
        let link = match self.subscriber {
            Some(_) => Link::There,
            None => Link::Away,
        };
        let mut full = 0;
        match command {
            Command::Publish(batch) => {
                for outgoing in batch {
                    if let Some(outgoing) = self.hand_in(now, outgoing) {
                        self.homes.refuse(&outgoing);
                        full += 1;
                    }
                }
            }
            Command::Recall(question) => {
                // While Redis is away it is forgotten: the home asks again.
                if self.status == LinkStatus::Up {
                    self.questions.push_back((home, question));
                }
            }
            Command::Subscribe(channel) => {
                if let Some(live) = self.subscriptions.subscribe(home, channel, link) {
                    self.homes.live(live);
                }
            }
            Command::Unsubscribe(channel) => self.subscriptions.unsubscribe(&channel, link),
        }
        full
    }

    /// Gives it to the link, or to those that wait, or back.
    fn hand_in(&mut self, now: Instant, outgoing: Outgoing) -> Option<Outgoing> {
        if self.waiting.is_crowded(&outgoing) {
            self.waiting.release();
            self.send_waiting();
        }
        self.count += 1;
        let waiter = Waiter {
            outgoing,
            since: now,
            number: self.count,
            again: false,
        };
        match &mut self.publisher {
            Some(publisher)
                if self.status == LinkStatus::Up
                    && self.waiting.is_open()
                    && publisher.has_room() =>
            {
                publisher.add(waiter);
                None
            }
            _ => self.waiting.push(waiter),
        }
    }

    fn on_reload(&mut self, now: Instant, config: Broker) {
        let old = std::mem::replace(&mut self.config, config);
        let new = &self.config;
        self.waiting.set_limits(new.buffer, new.buffer_for);
        if (&old.url, &old.prefix, &old.username, &old.password)
            == (&new.url, &new.prefix, &new.username, &new.password)
        {
            return;
        }
        self.journal.moved(now, &self.config);
        self.attempt = None;
        self.next_try = now;
        if let Some(publisher) = self.publisher.take()
            && let Some(older) = self.retiring.replace(publisher)
        {
            self.bury(older);
        }
        self.go_down("new settings");
    }

    /// Gives the link what waits, as far as there is room.
    pub(super) fn send_waiting(&mut self) {
        let Some(publisher) = &mut self.publisher else {
            return;
        };
        while self.status == LinkStatus::Up && publisher.has_room() {
            let Some(waiter) = self.waiting.poll_ready() else {
                break;
            };
            publisher.add(waiter);
        }
    }

    /// Gives the link the homes' questions, as far as there is room.
    pub(super) fn send_questions(&mut self) {
        let Some(publisher) = &mut self.publisher else {
            return;
        };
        while self.status == LinkStatus::Up && publisher.has_room() {
            let Some((home, question)) = self.questions.pop_front() else {
                break;
            };
            publisher.ask(home, question);
        }
    }
}
