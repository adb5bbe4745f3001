//! What a worker says to the log of what scripts can cause at will: failures of hooks, the first of each kind at once, then
//! one a minute with a count. (Refused handshakes, likewise for the whole node: `refusals.rs`.)
//!
//! [pure] The worker gives the time, and calls [`Reporter::handle_timeout`] when [`Reporter::poll_timeout`] has come, so
//! that the last of a burst are told too. What is a kind of its own and how many are told apart is `log::Limiter`'s.

use std::time::Instant;

use crate::log::{INTERVAL, Limiter};
use crate::pipeline::{Fault, Hook, HookError};
use crate::types::{ChannelName, Generation};

/// What a worker says to the log.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    failures: Limiter<Failure>,
    /// When to look for what was not told; `None` while there is nothing.
    due: Option<Instant>,
}

/// Failures that are one kind.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Failure {
    fault: Fault,
    hook: Option<Hook>,
    line: u32,
    script: String,
}

impl Reporter {
    /// A hook failed or was cut.
    pub(super) fn hook(&mut self, now: Instant, generation: Generation, error: &HookError) {
        let failure = Failure {
            fault: error.fault,
            hook: error.hook,
            line: error.line,
            script: error.script.clone(),
        };
        let Some(untold) = self.failures.allow(now, failure) else {
            self.suppressed(now);
            return;
        };
        let about = error.about.as_deref();
        let traceback = error
            .traceback
            .as_deref()
            .map_or(String::new(), |t| format!("\n{t}"));
        tracing::error!(
            target: "hooks",
            event = event(error.fault),
            wsd_script = error.script.as_str(),
            wsd_line = error.line,
            wsd_hook = error.hook.map(Hook::name),
            wsd_generation = generation.0,
            wsd_conn = about.map(|about| about.origin.to_string()),
            wsd_remote = about.map(|about| &*about.ip).filter(|ip| !ip.is_empty()),
            wsd_user = about.and_then(|about| about.user.as_deref()),
            wsd_channel = about.and_then(|about| about.channel.as_ref()).map(ChannelName::as_str),
            "{error}{}{traceback}",
            more(untold)
        );
    }

    /// When [`Self::handle_timeout`] has something to tell.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Tells what was held back for a minute.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        while let Some((failure, untold)) = self.failures.poll_suppressed(now) {
            let Some(Failure {
                fault,
                hook,
                line,
                script,
            }) = failure
            else {
                tracing::error!(target: "hooks", event = "script_failed", "hooks failed elsewhere{}", more(untold));
                continue;
            };
            let hook = hook.map_or(String::new(), |hook| format!("{hook}: "));
            let what = match fault {
                Fault::Failed | Fault::Rests => "failed again",
                Fault::MemoryCut | Fault::TimeCut => "cut again",
            };
            tracing::error!(
                target: "hooks",
                event = event(fault),
                wsd_script = script.as_str(),
                wsd_line = line,
                "{script}:{line}: {hook}{what}{}",
                more(untold)
            );
        }
        let left = self.failures.has_suppressed();
        self.due = left.then(|| now + INTERVAL);
    }

    /// By then its minute is over.
    fn suppressed(&mut self, now: Instant) {
        self.due.get_or_insert_with(|| now + INTERVAL);
    }
}

const fn event(fault: Fault) -> &'static str {
    match fault {
        Fault::Failed | Fault::Rests => "script_failed",
        Fault::MemoryCut | Fault::TimeCut => "script_cut",
    }
}

/// How many were not logged.
pub(super) fn more(untold: u64) -> String {
    if untold == 0 {
        String::new()
    } else {
        format!(" ({untold} more since it was last logged)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_held_back_is_told_a_minute_later() {
        let mut reporter = Reporter::default();
        #[expect(clippy::disallowed_methods, reason = "any time will do")]
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let error = HookError {
            fault: Fault::Failed,
            script: "a.lua".to_owned(),
            line: 3,
            hook: None,
            text: "no".to_owned(),
            traceback: None,
            about: None,
            cut: None,
        };
        reporter.hook(at(0), Generation(1), &error);
        assert_eq!(reporter.poll_timeout(), None);
        reporter.hook(at(5), Generation(1), &error);
        assert_eq!(reporter.poll_timeout(), Some(at(65)));
        reporter.handle_timeout(at(64));
        assert!(reporter.failures.has_suppressed());
        reporter.handle_timeout(at(65));
        assert!(!reporter.failures.has_suppressed());
        assert_eq!(reporter.poll_timeout(), None);
    }
}
