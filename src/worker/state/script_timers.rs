//! When the functions run that scripts gave to `wsd.every` and `wsd.after`.
//!
//! [pure] Part of [`super::State`]. One a turn, so that connections are served between two; its next time counts from the
//! turn after, as that is the first to know when it ended.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::State;
use crate::pipeline::TimerId;

/// What is to run.
#[derive(Debug, Default)]
pub(super) struct ScriptTimers {
    queue: BTreeSet<(Instant, TimerId)>,
    /// Ran in the last turn, and is to run again after this time.
    ran: Option<(TimerId, Duration)>,
}

impl ScriptTimers {
    pub(super) fn add(&mut self, now: Instant, id: TimerId, after: Duration) {
        self.queue.insert((now + after, id));
    }

    /// The next time, or `at_once` if one that ran waits to be put back.
    pub(super) fn poll_timeout(&self, at_once: Instant) -> Option<Instant> {
        let next = || self.queue.first().map(|(due, _)| *due);
        self.ran.map(|_| at_once).or_else(next)
    }
}

impl State {
    /// Runs the timer that has been due for longest, if one is.
    pub(super) fn run_script_timer(&mut self, now: Instant) {
        if let Some((id, after)) = self.script_timers.ran.take() {
            self.script_timers.add(now, id, after);
        }
        let due = self.script_timers.queue.first().copied();
        let Some((due, id)) = due.filter(|(due, _)| *due <= now) else {
            return;
        };
        self.script_timers.queue.remove(&(due, id));
        let again = self.generations.current().timer(id, &mut self.effects);
        self.script_timers.ran = again.map(|after| (id, after));
        self.finish_call(now);
    }

    /// Whether another one is due.
    #[must_use]
    pub fn has_script_timer_due(&self, now: Instant) -> bool {
        self.script_timers
            .poll_timeout(now)
            .is_some_and(|due| due <= now)
    }
}
