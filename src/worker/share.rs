//! How much of a worker's time hooks spend on one connection (`hooks.share`).
//!
//! [pure] A [`Meter`] is made when a message of a connection cost more than [`DEAR`], so who sends cheap messages has none.
//! What hooks spend is a debt that the share pays back; a connection that owes more than five seconds' worth is handled
//! one message at a time, and after ten seconds of that it is closed.
//!
//! # Why two clocks
//! The clock that costs nothing counts the time in which a busy machine ran something else. It finds whom to look at;
//! from then on only CPU time counts, and from nothing.

use std::time::{Duration, Instant};

/// What hooks have spent on one connection.
#[derive(Debug)]
pub struct Meter {
    /// Not paid back yet, at the time `at`.
    debt: Duration,
    at: Instant,
    /// Of about the last five seconds.
    spent: Duration,
    messages: u32,
    since: Instant,
    by_cpu: bool,
    /// Since when it is handled one message at a time.
    held: Option<Instant>,
}

/// What a connection's spending means for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Toll {
    /// It has been held for too long.
    Close,
    /// Nothing.
    Go,
    /// Its next message is to be handled then.
    Wait(Instant),
}

impl Meter {
    /// Of a connection that has spent nothing.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            debt: Duration::ZERO,
            at: now,
            spent: Duration::ZERO,
            messages: 0,
            since: now,
            by_cpu: false,
            held: None,
        }
    }

    /// Whether the next cost should be CPU time.
    #[must_use]
    pub const fn is_by_cpu(&self) -> bool {
        self.by_cpu
    }

    /// Whether it has come to nothing and can go.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.debt.is_zero() && self.messages == 0
    }

    /// So many messages have cost so much; `share` is more than 0.
    pub fn charge(&mut self, now: Instant, cost: Duration, messages: u32, share: f64) -> Toll {
        self.pay(now, share);
        self.debt += cost;
        self.spent += cost;
        self.messages = self.messages.saturating_add(messages);
        let most = OVER.mul_f64(share);
        let dear = self.spent > DEAR.saturating_mul(self.messages.max(1));
        if !dear || self.debt <= most / 2 {
            self.held = None;
        }
        if !dear || self.debt <= if self.by_cpu { most } else { most / 2 } {
            return Toll::Go;
        }
        if !self.by_cpu {
            // The one message keeps it from being idle.
            *self = Self {
                messages: 1,
                by_cpu: true,
                ..Self::new(now)
            };
            return Toll::Go;
        }
        let held = *self.held.get_or_insert(now);
        if now.saturating_duration_since(held) >= PATIENCE {
            return Toll::Close;
        }
        let wait = (self.debt - most).div_f64(share);
        Toll::Wait(now + wait.min(PATIENCE))
    }

    /// Time has passed.
    fn pay(&mut self, now: Instant, share: f64) {
        let elapsed = now.saturating_duration_since(self.at);
        self.at = now;
        self.debt = self.debt.saturating_sub(elapsed.mul_f64(share));
        let windows = now.saturating_duration_since(self.since).as_secs() / OVER.as_secs();
        if windows > 0 {
            // Half of what was before counts with what comes.
            let halvings = u32::try_from(windows).unwrap_or(u32::MAX).min(31);
            self.spent /= 1 << halvings;
            self.messages >>= halvings;
            self.since = now;
        }
    }
}

/// Over so long the share is meant (SPEC §3).
const OVER: Duration = Duration::from_secs(5);
/// Messages that cost more on average are dear (SPEC §3).
pub const DEAR: Duration = Duration::from_micros(100);
/// So long a connection is held before it is closed (SPEC §3).
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn start() -> Instant {
        Instant::now()
    }

    const MS: Duration = Duration::from_millis(1);

    /// Sends messages as fast as it may; what it got done until it was closed, and when that was.
    fn flood(cost: Duration, share: f64, wall_only: bool) -> (Duration, Option<Duration>) {
        let start = start();
        let mut now = start;
        let mut meter = Meter::new(now);
        let mut done = Duration::ZERO;
        while now < start + Duration::from_secs(60) {
            now += cost;
            let charged = if meter.is_by_cpu() && wall_only {
                Duration::ZERO
            } else {
                cost
            };
            done += cost;
            match meter.charge(now, charged, 1, share) {
                Toll::Go => assert!(!meter.is_idle()),
                Toll::Wait(until) => now = now.max(until),
                Toll::Close => return (done, Some(now - start)),
            }
        }
        (done, None)
    }

    #[test]
    fn dear_messages_get_their_share_and_then_the_end() {
        let (done, closed) = flood(10 * MS, 0.05, false);
        let closed = closed.unwrap();
        assert!(closed > Duration::from_secs(10), "{closed:?}");
        assert!(closed < Duration::from_secs(12), "{closed:?}");
        // Two allowances, and the share of ten seconds.
        assert!(done < Duration::from_millis(125 + 250 + 550), "{done:?}");
    }

    #[test]
    fn cheap_messages_are_never_held_back() {
        let (done, closed) = flood(Duration::from_micros(99), 0.05, false);
        assert_eq!(closed, None);
        assert!(done > Duration::from_secs(59));
    }

    #[test]
    fn time_that_the_machine_ran_something_else_does_not_count() {
        let (_, closed) = flood(10 * MS, 0.05, true);
        assert_eq!(closed, None);
    }

    #[test]
    fn who_stays_below_the_share_is_never_held() {
        let start = start();
        let mut meter = Meter::new(start);
        for n in 0..1000 {
            let now = start + n * 250 * MS;
            assert_eq!(meter.charge(now, 10 * MS, 1, 0.05), Toll::Go, "{n}");
        }
        let later = start + Duration::from_secs(3600);
        meter.charge(later, Duration::ZERO, 0, 0.05);
        assert!(meter.is_idle());
    }
}
