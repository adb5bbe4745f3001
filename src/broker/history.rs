//! What a channel keeps in memory mode: its newest publications, in one ring of bytes.
//!
//! [pure] `home.rs` owns the [`Histories`] of its channels; one is forgotten when everything in it has expired. Entries
//! stand one behind the other in a single buffer, so that ten thousand short histories cost little more than their
//! payloads: 12 bytes a message.

mod table;
#[cfg(test)]
mod tests;

pub use table::Histories;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::Keep;
use crate::types::{Epoch, Kind, Payload, Position};

/// One publication that is kept.
pub type Kept = (Position, Payload);

/// What was published after a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Missed {
    /// The newest place: what comes live is after it.
    pub top: Position,
    /// Whether `messages` are all that came since the position that was asked for.
    pub recovered: bool,
    /// Oldest first; nothing if not recovered.
    pub messages: Vec<Kept>,
}

/// One life of a channel's history.
///
/// An entry in `bytes` is: payload's length with the kind in the top bit (4), milliseconds since the entry before it (4),
/// the payload, the length once more (4), so that it can be read from both ends.
#[derive(Debug)]
pub struct History {
    bounds: Keep,
    epoch: Epoch,
    /// The offset of the newest publication; 0 before the first.
    last: u64,
    /// How many are kept.
    count: u32,
    /// When the oldest that is kept was published; before the first one, when this began.
    oldest: Instant,
    /// When the newest was published.
    newest: Instant,
    bytes: VecDeque<u8>,
}

const HEAD: usize = 8;
const TAIL: usize = 4;
const BINARY: u32 = 1 << 31;

impl History {
    /// An empty one.
    #[must_use]
    pub const fn new(now: Instant, epoch: Epoch, bounds: Keep) -> Self {
        Self {
            bounds,
            epoch,
            last: 0,
            count: 0,
            oldest: now,
            newest: now,
            bytes: VecDeque::new(),
        }
    }

    /// Adds a publication, drops what is over the bounds, and says its place.
    pub fn push(&mut self, now: Instant, payload: &Payload) -> Position {
        while self.count >= self.bounds.size.max(1) {
            self.drop_oldest();
        }
        if self.count == 0 {
            self.oldest = now;
            self.newest = now;
        }
        let delta = now.saturating_duration_since(self.newest).as_millis();
        self.newest = self.newest.max(now);
        // A message is at most 1 GiB (limits.message); 2^32 ms are 49 days.
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX >> 1);
        let kind = if payload.kind == Kind::Binary {
            BINARY
        } else {
            0
        };
        self.reserve(HEAD + TAIL + payload.len());
        self.bytes.extend((len | kind).to_le_bytes());
        self.bytes
            .extend(u32::try_from(delta).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend(&payload.data[..]);
        self.bytes.extend((len | kind).to_le_bytes());
        self.count += 1;
        self.last += 1;
        self.expire(now);
        self.top()
    }

    /// Drops what is older than `ttl`. Returns whether nothing is left: the history is to be forgotten then.
    pub fn expire(&mut self, now: Instant) -> bool {
        while self.count > 0 && self.due() <= now {
            self.drop_oldest();
        }
        self.count == 0 && self.due() <= now
    }

    /// When [`History::expire`] has something to do.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.oldest + self.bounds.ttl
    }

    /// Takes other bounds, and drops what is more than their `size`.
    pub fn set_bounds(&mut self, bounds: Keep) {
        self.bounds = bounds;
        while self.count > bounds.size.max(1) {
            self.drop_oldest();
        }
    }

    /// The newest place.
    #[must_use]
    pub const fn top(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.last,
        }
    }

    /// How many publications are kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether none is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the buffer.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// All that came after a position, if all of it is still here. The cost is that of what is returned.
    #[must_use]
    pub fn since(&self, position: Position) -> Missed {
        let wanted = self.last.checked_sub(position.offset);
        let recovered = position.epoch == self.epoch
            && wanted.is_some_and(|wanted| wanted <= u64::from(self.count));
        let wanted = if recovered { wanted.unwrap_or(0) } else { 0 };
        Missed {
            top: self.top(),
            recovered,
            messages: self.newest(usize::try_from(wanted).unwrap_or(usize::MAX)),
        }
    }

    /// The newest `count` publications, oldest first. The cost is that of what is returned.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<Kept> {
        let count = count.min(self.len());
        let mut kept = Vec::with_capacity(count);
        let mut end = self.bytes.len();
        let mut offset = self.last;
        for _ in 0..count {
            let mark = self.number(end - TAIL);
            let len = (mark & !BINARY) as usize;
            let start = end - TAIL - len;
            let mut data = Vec::with_capacity(len);
            let (front, back) = self.bytes.as_slices();
            let split = front.len();
            data.extend_from_slice(&front[start.min(split)..(end - TAIL).min(split)]);
            data.extend_from_slice(
                &back[start.saturating_sub(split)..(end - TAIL).saturating_sub(split)],
            );
            let kind = if mark & BINARY == 0 {
                Kind::Text
            } else {
                Kind::Binary
            };
            let position = Position {
                epoch: self.epoch,
                offset,
            };
            let data = Bytes::from(data);
            kept.push((position, Payload { kind, data }));
            end = start - HEAD;
            offset -= 1;
        }
        kept.reverse();
        kept
    }

    fn drop_oldest(&mut self) {
        let len = (self.number(0) & !BINARY) as usize;
        self.bytes.drain(..HEAD + len + TAIL);
        self.count -= 1;
        if self.count == 0 {
            self.oldest = self.newest;
        } else {
            self.oldest += Duration::from_millis(self.number(4).into());
        }
        // What a burst of large messages took is given back.
        if self.bytes.capacity() > 4096 && self.bytes.len() < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(self.bytes.len() * 2);
        }
    }

    fn number(&self, at: usize) -> u32 {
        let byte = |index: usize| self.bytes.get(at + index).copied().unwrap_or(0);
        u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
    }

    /// Grows by an eighth at least: doubling would double what a short history costs.
    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            let eighth = self.bytes.len() / 8;
            self.bytes.reserve_exact(more.max(eighth));
        }
    }
}
