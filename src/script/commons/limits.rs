//! Rates: a bucket for each key that fills at a rate and is emptied by what is allowed.

use std::hash::{BuildHasher, RandomState};

use super::Guarded;
use super::bounded::{Bounded, Weigh};

struct Bucket {
    /// What is in it at `at`.
    tokens: f64,
    at: f64,
}

impl Weigh for Bucket {}

/// Every bucket of a node. Those that were not asked for longest are forgotten first, and are full when they come back.
pub(in crate::script) struct Limits {
    shards: [Guarded<Bounded<Bucket>>; SHARDS],
    hasher: RandomState,
}

impl Limits {
    /// Takes one from the bucket of `key`; else the seconds until there is one. `now` is the monotonic clock's.
    pub(in crate::script) fn allow(
        &self,
        key: &[u8],
        per_second: f64,
        burst: f64,
        now: f64,
        capacity: usize,
    ) -> Result<(), f64> {
        let shard = self.hasher.hash_one(key) % SHARDS as u64;
        let Some(shard) = usize::try_from(shard).ok().and_then(|n| self.shards.get(n)) else {
            return Ok(());
        };
        shard.with(|buckets| {
            if let Some(bucket) = buckets.get(key) {
                let passed = (now - bucket.at).max(0.0);
                bucket.tokens = (bucket.tokens + passed * per_second).min(burst);
                bucket.at = now;
                // The clock's fractions do not add up exactly.
                if bucket.tokens < 1.0 - 1e-9 {
                    return Err((1.0 - bucket.tokens) / per_second);
                }
                bucket.tokens = (bucket.tokens - 1.0).max(0.0);
                return Ok(());
            }
            let tokens = burst - 1.0;
            let capacity = capacity.max(CAPACITY_MIN) / SHARDS;
            // A shard has room for any key.
            let _ = buckets.put(key, Bucket { tokens, at: now }, capacity);
            Ok(())
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
        }
    }
}

/// Locks, so that two workers seldom want the same one: limits are asked for with every message.
const SHARDS: usize = 16;
/// Bytes of all buckets at least, where `hooks.shared` is less.
const CAPACITY_MIN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limits = Limits::default();
        let at = |now: f64| limits.allow(b"k", 10.0, 3.0, now, 0);
        assert_eq!([at(5.0), at(5.0), at(5.0)], [Ok(()); 3]);
        assert!((at(5.0).unwrap_err() - 0.1).abs() < 1e-9);
        assert!((at(5.05).unwrap_err() - 0.05).abs() < 1e-9);
        // Being refused costs nothing.
        for n in 1..=100 {
            let now = 5.0 + f64::from(n) / 10.0;
            assert_eq!(at(now), Ok(()), "{now}");
            assert!(at(now).is_err(), "{now}");
        }
        // A clock that stands still or goes back fills nothing.
        assert!(at(14.0).is_err());
        assert_eq!([at(1000.0), at(1000.0), at(1000.0)], [Ok(()); 3]);
        assert!(at(1000.0).is_err());
        assert_eq!(limits.allow(b"other", 10.0, 1.0, 1000.0, 0), Ok(()));
    }
}
