//! How fast something may come: so many a second, and so many at once.
//!
//! [pure] A token bucket kept as the one moment at which it will be full again, so there is nothing to refill, nothing to
//! carry but a time, and a limit that a reload changes holds from the next question on. For `limits.accept_rate` (the
//! acceptor) and for the messages and bytes of a connection (`state/client.rs`).

use std::time::{Duration, Instant};

/// A bucket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pace {
    /// When the bucket is full again; `None`: it is.
    full_at: Option<Instant>,
}

impl Pace {
    /// Takes `count` at `per_second`, of which a full bucket holds `burst`; false, and nothing is taken, if there are not
    /// so many. A rate of 0 is no limit.
    pub fn take(&mut self, now: Instant, count: u64, per_second: u64, burst: u64) -> bool {
        if per_second == 0 {
            return true;
        }
        let waits = self
            .full_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let waits = waits.saturating_add(time_of(count, per_second));
        if waits > time_of(burst, per_second) {
            return false;
        }
        self.full_at = now.checked_add(waits);
        true
    }
}

/// How long `count` take at `per_second`, which is not 0. Whole nanoseconds: at a million a second it is off by a
/// thousandth.
fn time_of(count: u64, per_second: u64) -> Duration {
    let nanos = u128::from(count) * 1_000_000_000 / u128::from(per_second);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        let taken =
            |pace: &mut Pace, now| (0..100).take_while(|_| pace.take(now, 1, 10, 5)).count();
        assert_eq!(taken(&mut pace, at(0)), 5);
        assert_eq!(taken(&mut pace, at(99)), 0);
        assert_eq!(taken(&mut pace, at(100)), 1);
        assert_eq!(taken(&mut pace, at(350)), 2);
        assert_eq!(taken(&mut pace, at(400)), 1);
        assert_eq!(taken(&mut pace, at(10_000)), 5);
        // More at once than it holds never goes, however long it waits.
        assert!(!pace.take(at(100_000), 6, 10, 5));
        assert!(pace.take(at(100_000), 5, 10, 5));
        // Another limit holds at once.
        assert!(pace.take(at(100_000), 10, 1000, 2000));
        assert!(pace.take(at(100_000), u64::MAX, 0, 0));
        assert!(!pace.take(at(100_000), u64::MAX, 1, 1));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn rates_that_do_not_divide_a_second_give_the_whole_burst() {
        for (rate, burst) in [(3, 3), (7, 20), (997, 997), (100_000, 300_000)] {
            let (now, mut pace) = (Instant::now(), Pace::default());
            let taken = (0..1_000_000_u64).take_while(|_| pace.take(now, 1, rate, burst));
            assert_eq!(taken.count() as u64, burst, "{rate}");
        }
    }
}
