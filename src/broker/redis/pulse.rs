//! Whether the other side of a link lives: asks when it was silent, gives up when it stays so.
//!
//! [pure] One in `subscriber.rs` and one in `publisher.rs`. Anything that comes counts as a sign of life. TCP alone would
//! say nothing for minutes when a host is gone, and never when a process only hangs.

use std::time::{Duration, Instant};

/// Silent for so long: ask. Often enough to find a dead link soon, seldom enough to cost nothing.
pub(super) const PING_AFTER: Duration = Duration::from_secs(2);
/// No answer for so long: gone. A Redis that a slow command holds up for longer serves nobody in the meantime either.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// What is known of the other side.
#[derive(Debug)]
pub(super) struct Pulse {
    heard_at: Instant,
    asked_at: Option<Instant>,
    /// Something came since the clock was last read.
    heard: bool,
}

/// What to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Beat {
    /// Send PING.
    Ask,
    /// Give up.
    Gone,
    /// Nothing.
    Well,
}

impl Pulse {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            heard_at: now,
            asked_at: None,
            heard: false,
        }
    }

    /// Something came.
    pub(super) const fn on_heard(&mut self) {
        self.heard = true;
    }

    /// What to do; after [`Beat::Ask`] it counts as asked.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Beat {
        if std::mem::take(&mut self.heard) {
            self.heard_at = now;
            self.asked_at = None;
        }
        if self.poll_timeout() > now {
            return Beat::Well;
        }
        if self.asked_at.is_some() {
            return Beat::Gone;
        }
        self.asked_at = Some(now);
        Beat::Ask
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Instant {
        match self.asked_at {
            Some(at) => at + PING_TIMEOUT,
            None => self.heard_at + PING_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn silence_is_asked_about_and_then_believed() {
        let now = Instant::now();
        let mut pulse = Pulse::new(now);
        assert_eq!(pulse.handle_timeout(now), Beat::Well);
        let asked = now + PING_AFTER;
        assert_eq!(pulse.handle_timeout(asked), Beat::Ask);
        assert_eq!(pulse.handle_timeout(asked), Beat::Well);
        pulse.on_heard();
        assert_eq!(pulse.handle_timeout(asked + PING_TIMEOUT), Beat::Well);
        let again = asked + PING_TIMEOUT + PING_AFTER;
        assert_eq!(pulse.handle_timeout(again), Beat::Ask);
        assert_eq!(pulse.poll_timeout(), again + PING_TIMEOUT);
        assert_eq!(pulse.handle_timeout(again + PING_TIMEOUT), Beat::Gone);
    }
}
