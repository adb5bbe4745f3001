//! Joining what a channel kept with what comes live, without gap or double.
//!
//! [pure] A member that catches up gets nothing of its channel live. What comes meanwhile waits here, up to
//! [`CatchUp::MAX_BYTES`]; past that it is forgotten and reading goes on from the history, so a client that reads slowly
//! costs no more than its pace. The home answers a question in the order of its deliveries: what came before the answer
//! is in it, what comes after is after it. The caller is `worker/state`.

use std::collections::VecDeque;

use crate::types::{Payload, Position};

/// What a member that catches up is to be given next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Asks the home for what came since this position.
    Ask(Position),
    /// Tells that some were missed: what follows is after this position.
    Gap(Position),
    /// It has everything: from now on it gets what comes.
    Live,
    /// A message, with its place if it has one.
    Message(Option<Position>, Payload),
    /// The home's answer must come first.
    Wait,
}

/// A member that gets what its channel kept before it gets what comes.
#[derive(Debug)]
pub struct CatchUp {
    waiting: VecDeque<Held>,
    /// Bytes of the messages in `waiting` that came live.
    held: usize,
    /// The place behind which everything is given or waits here.
    last: Option<Position>,
    /// Whether the home has yet to answer.
    asked: bool,
    /// Something came live that found no room: it must be asked for.
    behind: bool,
}

#[derive(Debug)]
enum Held {
    Gap(Position),
    Message(Option<Position>, Payload),
}

impl Default for CatchUp {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            held: 0,
            last: None,
            asked: true,
            behind: false,
        }
    }
}

impl CatchUp {
    /// Bytes of live messages that wait for one member of one channel: some turns of a busy channel.
    pub const MAX_BYTES: usize = 256 << 10;

    /// A publication came live.
    pub fn hold(&mut self, position: Option<Position>, payload: &Payload) {
        if self.asked && position.is_some() || self.behind {
            // It will be in the answer. What has no place in the history can only be lost here: it comes from outside.
            return;
        }
        // A small message costs something besides its bytes.
        let bytes = payload.len() + 64;
        if self.held + bytes > Self::MAX_BYTES && self.last.is_some() {
            self.behind = true;
            return;
        }
        self.held += bytes;
        self.last = position.or(self.last);
        self.waiting
            .push_back(Held::Message(position, payload.clone()));
    }

    /// The home has answered with what came up to `top`, oldest first. `gap`: some of it is not there any more.
    pub fn answered(
        &mut self,
        top: Position,
        gap: bool,
        messages: impl IntoIterator<Item = (Position, Payload)>,
    ) {
        let live = std::mem::take(&mut self.waiting);
        if gap {
            self.waiting.push_back(Held::Gap(top));
        }
        let messages = messages.into_iter();
        self.waiting
            .extend(messages.map(|(position, payload)| Held::Message(Some(position), payload)));
        self.waiting.extend(live);
        self.last = Some(top);
        self.asked = false;
        self.behind = false;
    }

    /// The next message, if one is next.
    pub fn poll_message(&mut self) -> Option<Payload> {
        if self.asked || !matches!(self.waiting.front(), Some(Held::Message(..))) {
            return None;
        }
        match self.waiting.pop_front() {
            Some(Held::Message(_, payload)) => Some(payload),
            _ => None,
        }
    }

    /// What is to be given next. [`Next::Ask`] means that the caller asks, and says so by taking it.
    pub fn poll_next(&mut self) -> Next {
        if self.asked {
            return Next::Wait;
        }
        match self.waiting.pop_front() {
            Some(Held::Gap(position)) => Next::Gap(position),
            Some(Held::Message(position, payload)) => Next::Message(position, payload),
            None => {
                self.held = 0;
                match self.last {
                    Some(last) if self.behind => {
                        self.asked = true;
                        self.behind = false;
                        Next::Ask(last)
                    }
                    _ => Next::Live,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Epoch;

    fn at(offset: u64) -> Position {
        Position {
            epoch: Epoch(1),
            offset,
        }
    }

    fn text(offset: u64) -> Payload {
        Payload::text(offset.to_string())
    }

    fn message(offset: u64) -> Next {
        Next::Message(Some(at(offset)), text(offset))
    }

    #[test]
    fn the_kept_come_first_and_nothing_comes_twice() {
        let mut feed = CatchUp::default();
        feed.hold(Some(at(3)), &text(3));
        assert_eq!(feed.poll_next(), Next::Wait);
        feed.answered(at(3), false, (1..=3).map(|n| (at(n), text(n))));
        feed.hold(Some(at(4)), &text(4));
        for offset in 1..=4 {
            assert_eq!(feed.poll_next(), message(offset));
        }
        assert_eq!(feed.poll_next(), Next::Live);
    }

    #[test]
    fn what_has_no_place_in_the_history_comes_after_it() {
        let mut feed = CatchUp::default();
        feed.hold(None, &Payload::text("raw"));
        feed.answered(at(1), false, [(at(1), text(1))]);
        assert_eq!(feed.poll_next(), message(1));
        assert_eq!(feed.poll_next(), Next::Message(None, Payload::text("raw")));
        assert_eq!(feed.poll_next(), Next::Live);
    }

    #[test]
    fn what_finds_no_room_is_asked_for_again() {
        let mut feed = CatchUp::default();
        feed.answered(at(0), false, []);
        let large = Payload::text("x".repeat(CatchUp::MAX_BYTES / 2));
        for offset in 1..=9 {
            feed.hold(Some(at(offset)), &large);
        }
        assert_eq!(feed.poll_next(), Next::Message(Some(at(1)), large.clone()));
        // What comes now must not overtake what was forgotten.
        feed.hold(Some(at(10)), &text(10));
        assert_eq!(feed.poll_next(), Next::Ask(at(1)));
        assert_eq!(feed.poll_next(), Next::Wait);
        feed.answered(at(10), true, []);
        feed.hold(Some(at(11)), &text(11));
        assert_eq!(feed.poll_next(), Next::Gap(at(10)));
        assert_eq!(feed.poll_next(), message(11));
        assert_eq!(feed.poll_next(), Next::Live);
    }
}
