//! Coarse timers, one structure for all connections of a worker.
//!
//! [pure] Times are rounded up to ticks of [`Wheel::TICK`]; whatever is due in the same tick comes out together. An entry
//! is never taken back: its owner looks whether it still means something when it fires, so that a message that arrives
//! costs no change of a timer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::types::ConnId;

/// What a timer is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Timer {
    /// `conn:expire`.
    Expire,
    /// The request has not come.
    Handshake,
    /// The answer to the handshake has waited long enough for the subscription to be live.
    Join,
    /// The last bytes have had their time: the end.
    Kill,
    /// It missed something and is to come back.
    Restart,
    /// The session's own: heartbeat, the peer's part of the closing handshake.
    Session,
}

/// Of one tick.
const TICK_MILLIS: u32 = 100;

/// In one second.
const TICKS_A_SECOND: u64 = 1000 / TICK_MILLIS as u64;

/// Coarse timers.
#[derive(Debug)]
pub struct Wheel {
    start: Instant,
    ticks: BTreeMap<u64, Vec<(ConnId, Timer)>>,
}

impl Wheel {
    /// How exact a timer is: it fires at most this much late.
    pub const TICK: Duration = Duration::from_millis(TICK_MILLIS as u64);

    /// An empty one; `start` is no later than any time it will see.
    #[must_use]
    pub const fn new(start: Instant) -> Self {
        Self {
            start,
            ticks: BTreeMap::new(),
        }
    }

    /// Sets a timer; returns the tick at which it will fire.
    pub fn set(&mut self, at: Instant, conn: ConnId, timer: Timer) -> u64 {
        let tick = self.tick(at).saturating_add(1);
        self.ticks.entry(tick).or_default().push((conn, timer));
        tick
    }

    /// What is due, tick by tick.
    #[must_use]
    pub fn expire(&mut self, now: Instant) -> Option<(u64, Vec<(ConnId, Timer)>)> {
        let now = self.tick(now);
        let first = self.ticks.first_entry()?;
        (*first.key() <= now).then(|| first.remove_entry())
    }

    /// When [`Wheel::expire`] has something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let (&tick, _) = self.ticks.first_key_value()?;
        let ticks = u32::try_from(tick).unwrap_or(u32::MAX);
        Some(self.start + Self::TICK * ticks)
    }

    /// Whether a timer set for `at` would fire before that tick.
    #[must_use]
    pub fn is_before(&self, at: Instant, tick: u64) -> bool {
        self.tick(at).saturating_add(1) < tick
    }

    fn tick(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        // By hand: milliseconds are 128 bits wide, and dividing those takes longer than all else here.
        since
            .as_secs()
            .saturating_mul(TICKS_A_SECOND)
            .saturating_add(u64::from(since.subsec_millis() / TICK_MILLIS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_never_early_and_at_most_a_tick_late() {
        let start = super::super::clock::now();
        let conn = ConnId {
            slot: 1,
            generation: 0,
        };
        for ms in [0, 1, 99, 100, 101, 250, 30_000] {
            let mut wheel = Wheel::new(start);
            let at = start + Duration::from_millis(ms);
            let tick = wheel.set(at, conn, Timer::Session);
            let due = wheel.poll_timeout().unwrap();
            assert!(due >= at && due <= at + Wheel::TICK, "{ms} ms");
            assert!(
                wheel
                    .expire(due.checked_sub(Duration::from_millis(1)).unwrap())
                    .is_none()
            );
            assert_eq!(
                wheel.expire(due),
                Some((tick, vec![(conn, Timer::Session)]))
            );
            assert!(wheel.poll_timeout().is_none());
        }
    }
}
