//! Keeps one place from filling the log: the first record at once, then one a minute that says how many there were.
//!
//! [pure] For what a stranger or a script can cause at will: refused handshakes by reason, failures of a hook by place.
//! Whoever logs those owns one and gives the time. It is bounded in keys, since some of them come from outside.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Decides which records of each place are logged.
#[derive(Debug)]
pub struct Limiter<K> {
    places: HashMap<K, Place>,
    /// Shared by the places for which there was no room.
    rest: Option<Place>,
    /// When room was last made.
    swept: Option<Instant>,
}

/// One place within its minute.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// When something was last logged.
    since: Instant,
    /// What was not, since then.
    suppressed: u64,
}

impl<K: Eq + Hash> Limiter<K> {
    /// One that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            places: HashMap::new(),
            rest: None,
            swept: None,
        }
    }

    /// `Some`: log it, and say that so many before it were not. `None`: don't.
    ///
    /// Beyond [`KEYS`] places that were active within the last minute, all others share one.
    pub fn allow(&mut self, now: Instant, key: K) -> Option<u64> {
        if let Some(place) = self.places.get_mut(&key) {
            return place.allow(now);
        }
        if self.places.len() >= KEYS {
            self.make_room(now);
        }
        if self.places.len() >= KEYS {
            return match &mut self.rest {
                Some(place) => place.allow(now),
                None => {
                    self.rest = Some(Place::new(now));
                    Some(0)
                }
            };
        }
        self.places.insert(key, Place::new(now));
        Some(0)
    }

    /// Forgets the places whose minute is over; what they have not told goes to the shared one.
    fn make_room(&mut self, now: Instant) {
        // A flood of new places must not walk over all of them each time.
        if self.swept.is_some_and(|last| now < last + SWEEP) {
            return;
        }
        self.swept = Some(now);
        let mut untold = 0_u64;
        self.places.retain(|_, place| {
            let due = place.is_due(now);
            if due {
                untold = untold.saturating_add(place.suppressed);
            }
            !due
        });
        if untold > 0 {
            let rest = self.rest.get_or_insert_with(|| Place::new(now));
            rest.suppressed = rest.suppressed.saturating_add(untold);
        }
    }

    /// A place whose minute is over and that has suppressed something: so that the last ones of a burst are told too,
    /// when nothing comes after them. `None` as key: of the places for which there was no room. Costs a walk over all.
    #[must_use]
    pub fn poll_suppressed(&mut self, now: Instant) -> Option<(Option<K>, u64)>
    where
        K: Clone,
    {
        if let Some(suppressed) = self.rest.as_mut().and_then(|place| place.take(now)) {
            return Some((None, suppressed));
        }
        self.places
            .iter_mut()
            .find_map(|(key, place)| Some((Some(key.clone()), place.take(now)?)))
    }
}

impl<K> Limiter<K> {
    /// Whether [`Self::poll_suppressed`] has or will have something to tell. Costs a walk over all.
    #[must_use]
    pub fn has_suppressed(&self) -> bool {
        self.rest
            .iter()
            .chain(self.places.values())
            .any(|place| place.suppressed > 0)
    }
}

impl<K: Eq + Hash> Default for Limiter<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            suppressed: 0,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= INTERVAL
    }

    fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.is_due(now) {
            let suppressed = self.suppressed;
            *self = Self::new(now);
            Some(suppressed)
        } else {
            self.suppressed = self.suppressed.saturating_add(1);
            None
        }
    }

    fn take(&mut self, now: Instant) -> Option<u64> {
        if self.suppressed == 0 || !self.is_due(now) {
            return None;
        }
        let suppressed = self.suppressed;
        *self = Self::new(now);
        Some(suppressed)
    }
}

/// The most places that are told apart. A node has some dozens of scripts and reasons; more are made up by somebody.
pub const KEYS: usize = 1024;

/// Room is made at most once in this time.
const SWEEP: Duration = Duration::from_secs(1);

/// Once in this time for each place.
pub const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_first_at_once_then_one_a_minute_with_a_count() {
        let mut limiter = Limiter::new();
        let start = start();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limiter.allow(at(0), "a"), Some(0));
        for second in 1..60 {
            assert_eq!(limiter.allow(at(second), "a"), None);
        }
        assert_eq!(limiter.allow(at(1), "b"), Some(0));
        assert_eq!(limiter.allow(at(60), "a"), Some(59));
        assert_eq!(limiter.allow(at(61), "a"), None);
        assert_eq!(limiter.poll_suppressed(at(119)), None);
        assert_eq!(limiter.poll_suppressed(at(120)), Some((Some("a"), 1)));
        assert_eq!(limiter.poll_suppressed(at(120)), None);
        assert_eq!(limiter.allow(at(1000), "a"), Some(0));
    }

    #[test]
    fn it_is_bounded_in_keys() {
        let mut limiter = Limiter::new();
        let start = start();
        for key in 0..KEYS {
            assert_eq!(limiter.allow(start, key), Some(0));
        }
        assert_eq!(limiter.allow(start, KEYS), Some(0));
        for key in KEYS + 1..KEYS * 3 {
            assert_eq!(limiter.allow(start, key), None);
        }
        assert_eq!(limiter.places.len(), KEYS);
        let later = start + INTERVAL;
        let shared = u64::try_from(KEYS * 2 - 1).unwrap();
        assert_eq!(limiter.poll_suppressed(later), Some((None, shared)));
        assert_eq!(limiter.allow(start, 0), None);
        // Those that are due make room, and what they had not told is told with the others.
        assert_eq!(limiter.allow(later, KEYS * 3), Some(0));
        assert_eq!(limiter.places.len(), 1);
        assert_eq!(limiter.poll_suppressed(later + INTERVAL), Some((None, 1)));
    }
}
