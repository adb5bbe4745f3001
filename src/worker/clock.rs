//! The only reader of the clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time by which things are measured and timers run.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, as scripts and tokens count.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
#[must_use]
pub fn unix() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
