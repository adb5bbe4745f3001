//! Publishes that Redis cannot take yet: how many bytes of them, and how long.
//!
//! [pure] `thread.rs` puts in what finds no room on the link, takes it out in order when there is room again, and refuses
//! what found none here (`broker.buffer`) or waited too long (`broker.buffer_for`). Nothing that was let in is dropped
//! without being handed back.
//!
//! # Why it is held back for a moment when Redis is there again
//!
//! All nodes lose Redis together but come back one by one. What the first sent at once would be missed by the subscribers
//! of the others, though it was kept just for them. So it is held until the others had time to come back, and what comes
//! meanwhile waits behind it. Holding never causes a refusal: before the time or the room is used up, everything goes out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::backoff::SETTLE;
use crate::broker::Outgoing;

/// What waits, oldest first.
#[derive(Debug)]
pub(super) struct Waiting {
    queue: VecDeque<Waiter>,
    bytes: usize,
    /// `broker.buffer`; a publish that was on the link and comes back may pass it.
    limit: usize,
    /// `broker.buffer_for`
    limit_time: Duration,
    /// Redis is there, but nothing goes out before this.
    held_until: Option<Instant>,
}

/// A publish and when it came.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) outgoing: Outgoing,
    pub(super) since: Instant,
    /// Its number among all that this thread was given: with the node's id the key under which a history knows it.
    pub(super) number: u64,
    /// Redis may have carried it out already.
    pub(super) again: bool,
}

/// What a publish costs beside its channel and payload: its structs, and the command around it.
const OVERHEAD: usize = 200;

/// The bytes that a publish counts.
pub(super) fn size(outgoing: &Outgoing) -> usize {
    outgoing
        .publication
        .payload
        .len()
        .saturating_add(outgoing.publication.channel.as_str().len())
        .saturating_add(OVERHEAD)
}

impl Waiting {
    pub(super) const fn new(limit: usize, limit_time: Duration) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            limit,
            limit_time,
            held_until: None,
        }
    }

    /// Redis is there again: holds everything back until then.
    pub(super) const fn hold(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// Holds nothing back any more.
    pub(super) const fn release(&mut self) {
        self.held_until = None;
    }

    /// Lets go what was held back long enough.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.release_at().is_some_and(|at| at <= now) {
            self.release();
        }
    }

    /// Whether a publish that comes now may pass without waiting.
    pub(super) fn is_open(&self) -> bool {
        self.queue.is_empty() && self.held_until.is_none()
    }

    /// Whether this one would have to be refused only because others are held back.
    pub(super) fn is_crowded(&self, outgoing: &Outgoing) -> bool {
        self.held_until.is_some() && self.bytes.saturating_add(size(outgoing)) > self.limit
    }

    /// The end of the hold, if there is one: early enough for what would else have waited too long.
    fn release_at(&self) -> Option<Instant> {
        let until = self.held_until?;
        let spare = SETTLE.min(self.limit_time / 2);
        let urgent = self.expires_at().and_then(|at| at.checked_sub(spare));
        Some(urgent.map_or(until, |at| at.min(until)))
    }

    /// The limits of a new configuration. What waits already stays.
    pub(super) const fn set_limits(&mut self, limit: usize, limit_time: Duration) {
        self.limit = limit;
        self.limit_time = limit_time;
    }

    /// Lets it in at the end, or gives it back if there is no room.
    #[must_use]
    pub(super) fn push(&mut self, waiter: Waiter) -> Option<Outgoing> {
        let bytes = self.bytes.saturating_add(size(&waiter.outgoing));
        if bytes > self.limit {
            return Some(waiter.outgoing);
        }
        self.bytes = bytes;
        self.queue.push_back(waiter);
        None
    }

    /// Puts back what was taken out but never sent, before everything else.
    pub(super) fn put_back(&mut self, unsent: Vec<Waiter>) {
        for waiter in unsent.into_iter().rev() {
            self.bytes = self.bytes.saturating_add(size(&waiter.outgoing));
            self.queue.push_front(waiter);
        }
    }

    /// The oldest that may go out.
    pub(super) fn poll_ready(&mut self) -> Option<Waiter> {
        if self.held_until.is_some() {
            return None;
        }
        self.pop()
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<Waiter> {
        let waiter = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size(&waiter.outgoing));
        Some(waiter)
    }

    /// One that has waited too long. Call until there is none.
    pub(super) fn poll_expired(&mut self, now: Instant) -> Option<Outgoing> {
        if self.expires_at()? > now {
            return None;
        }
        self.pop().map(|waiter| waiter.outgoing)
    }

    /// When the hold ends or the oldest will have waited too long.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.release_at().or_else(|| self.expires_at())
    }

    fn expires_at(&self) -> Option<Instant> {
        self.queue.front()?.since.checked_add(self.limit_time)
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Publishes that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ChannelName, Payload, Publication};
    use smallvec::SmallVec;

    fn outgoing(text: &str) -> Outgoing {
        Outgoing {
            publication: Publication {
                channel: ChannelName::new("c").unwrap(),
                payload: Payload::text(text),
                position: None,
                skip: None,
            },
            senders: SmallVec::new(),
            receipt: None,
            merged: Vec::new(),
            keep: None,
        }
    }

    fn waiter(since: Instant, text: &str) -> Waiter {
        Waiter {
            outgoing: outgoing(text),
            since,
            number: 0,
            again: false,
        }
    }

    fn text(waiter: &Outgoing) -> &str {
        std::str::from_utf8(&waiter.publication.payload.data).unwrap()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn what_is_let_in_comes_out_in_order_or_is_handed_back() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut waiting = Waiting::new(3 * size(&outgoing("0")), 10 * second);
        for n in ["0", "1", "2"] {
            assert!(waiting.push(waiter(now, n)).is_none());
        }
        assert_eq!(text(&waiting.push(waiter(now, "3")).unwrap()), "3");

        let sent = vec![waiting.pop().unwrap(), waiting.pop().unwrap()];
        assert!(waiting.push(waiter(now + second, "3")).is_none());
        waiting.put_back(sent);
        assert_eq!(waiting.len(), 4);
        assert_eq!(waiting.bytes(), 4 * size(&outgoing("0")));

        assert_eq!(waiting.poll_timeout(), Some(now + 10 * second));
        assert!(waiting.poll_expired(now + 9 * second).is_none());
        let mut expired = Vec::new();
        while let Some(old) = waiting.poll_expired(now + 10 * second) {
            expired.push(text(&old).to_owned());
        }
        assert_eq!(expired, ["0", "1", "2"]);
        assert_eq!(text(&waiting.pop().unwrap().outgoing), "3");
        assert_eq!(waiting.bytes(), 0);
        assert_eq!(waiting.poll_timeout(), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn what_is_held_back_goes_out_in_time() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut waiting = Waiting::new(2 * size(&outgoing("0")), 10 * second);
        assert!(waiting.is_open());
        waiting.hold(now + second);
        assert!(!waiting.is_open());
        assert_eq!(waiting.poll_timeout(), Some(now + second));
        for n in ["0", "1"] {
            assert!(!waiting.is_crowded(&outgoing(n)));
            assert!(waiting.push(waiter(now, n)).is_none());
        }
        assert!(waiting.is_crowded(&outgoing("2")));
        assert!(waiting.poll_ready().is_none());
        waiting.handle_timeout(now + second / 2);
        assert!(waiting.poll_ready().is_none());
        waiting.handle_timeout(now + second);
        assert_eq!(text(&waiting.poll_ready().unwrap().outgoing), "0");
        assert_eq!(waiting.poll_timeout(), Some(now + 10 * second));

        // What would be refused for waiting so long goes out before.
        let late = now + 9 * second;
        waiting.hold(late + second);
        let urgent = now + 10 * second - SETTLE;
        assert_eq!(waiting.poll_timeout(), Some(urgent));
        waiting.handle_timeout(urgent);
        assert!(waiting.poll_expired(urgent).is_none());
        assert_eq!(text(&waiting.poll_ready().unwrap().outgoing), "1");
        assert!(waiting.is_open());
    }
}
