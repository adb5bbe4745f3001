//! How long to wait before the next try to reach Redis.
//!
//! [pure] `thread.rs` asks after every loss and every try that failed. The wait doubles from [`FIRST`] to [`LONGEST`]
//! and is drawn from its upper half, so that the nodes of a cluster, which lose Redis together, do not all come back in
//! the same instant.

use std::time::{Duration, Instant};

/// The wait after a loss: long enough for a process that restarts at once, too short for a user to notice.
pub(super) const FIRST: Duration = Duration::from_millis(100);
/// The longest wait: every node tries again at most this long after Redis came back. Short, because the nodes that are back
/// wait for the others ([`Backoff::grace`]), and all of it together may take 5 s; a try of a node costs Redis next to nothing.
pub(super) const LONGEST: Duration = Duration::from_secs(1);
/// What another node needs from its try to its last confirmed subscription, on a busy machine.
pub(super) const SETTLE: Duration = Duration::from_millis(500);

/// The waits of one outage.
#[derive(Debug)]
pub(super) struct Backoff {
    dice: Dice,
    next: Duration,
}

impl Backoff {
    /// `seed` is random outside tests.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            next: FIRST,
        }
    }

    /// How long to wait now: between half of the step and all of it, and never more than the step.
    pub(super) fn poll_wait(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(LONGEST);
        let half = step / 2;
        let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
        half.saturating_add(Duration::from_micros(
            self.dice.below(micros.saturating_add(1)),
        ))
    }

    /// How long what waited must still be held back when this node has all its subscriptions again after an outage of
    /// that length: until every other node that lost Redis at about the same time has them, too.
    ///
    /// A node waits at least half of each step and the steps double, so another one's next try is at most as far away as
    /// twice what has passed, and a first step more; never farther than the longest. Where the link broke again and again
    /// the steps are larger than that, on the other nodes as here.
    pub(super) fn grace(&self, away: Duration) -> Duration {
        let passed = away.saturating_mul(2).saturating_add(FIRST);
        passed.max(self.next).min(LONGEST).saturating_add(SETTLE)
    }

    /// Begins anew after a link that stood for a while. One that breaks as soon as it stands goes on where it was, or it
    /// would be made ten times a second.
    pub(super) fn on_lost(&mut self, now: Instant, up_since: Option<Instant>) {
        if up_since.is_some_and(|since| now.saturating_duration_since(since) >= LONGEST) {
            self.next = FIRST;
        }
    }
}

/// Pseudo-random numbers (SplitMix64): for spreading, not for secrets.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`; 0 if there is none.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let mut backoff = Backoff::new(3);
        let mut step = FIRST;
        for _ in 0..20 {
            let wait = backoff.poll_wait();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
            step = (step * 2).min(LONGEST);
        }
        assert_eq!(step, LONGEST);
        assert_ne!(Backoff::new(1).poll_wait(), Backoff::new(2).poll_wait());
    }

    #[test]
    fn grace_outlasts_the_wait_of_every_other_node() {
        for seed in 0..200 {
            let (mut backoff, here) = (Backoff::new(seed), Backoff::new(seed));
            let mut away = Duration::ZERO;
            for _ in 0..10 {
                // This node was back the moment after the other one had tried in vain.
                let wait = backoff.poll_wait();
                assert!(wait + SETTLE <= here.grace(away), "{wait:?} after {away:?}");
                away += wait;
            }
        }
        let longest = Backoff::new(0).grace(Duration::MAX);
        assert!(LONGEST + longest < Duration::from_secs(5));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn only_a_link_that_stood_begins_anew() {
        let mut backoff = Backoff::new(3);
        for _ in 0..5 {
            backoff.poll_wait();
        }
        let now = Instant::now();
        backoff.on_lost(now + LONGEST / 2, Some(now));
        assert!(backoff.poll_wait() > FIRST);
        backoff.on_lost(now + LONGEST, Some(now));
        assert!(backoff.poll_wait() <= FIRST);
    }
}
