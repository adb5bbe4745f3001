//! The only reader of the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The time by which things are measured and timers run.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// CPU time of the calling thread; costs ten times what [`now`] does.
#[must_use]
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Seconds since 1970, as scripts and tokens count.
#[must_use]
pub fn unix() -> f64 {
    since_1970().as_secs_f64()
}

/// The time since 1970, by which certificates are judged.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
#[must_use]
pub fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
