//! The line that says how far a call has got. Only on a terminal; a file or a pipe gets none.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Counts runs and guesses, from those that are done, when the rest will be.
pub(crate) struct Progress {
    shown: bool,
    began: Instant,
    done: u32,
    total: u32,
}

impl Progress {
    /// Of a call that will run a server `total` times.
    #[expect(clippy::disallowed_methods, reason = "the progress of this process")]
    pub(crate) fn of(total: u32) -> Self {
        Self {
            shown: io::stderr().is_terminal(),
            began: Instant::now(),
            done: 0,
            total,
        }
    }

    /// Says what is run now.
    pub(crate) fn now(&self, what: &str) {
        let left = match self.done {
            0 => String::new(),
            done => {
                let rest = self.began.elapsed() / done * (self.total - done);
                format!(", {} left", roughly(rest))
            }
        };
        self.write(&format!("{}/{} {what}{left}", self.done + 1, self.total));
    }

    /// Notes that a run has ended.
    pub(crate) const fn step(&mut self) {
        self.done += 1;
    }

    /// Takes the line away, before something else is printed.
    pub(crate) fn clear(&self) {
        self.write("");
    }

    fn write(&self, text: &str) {
        if self.shown {
            // Nobody reads a progress line that cannot be written.
            let _unread = write!(io::stderr().lock(), "\r\x1b[K{text}");
        }
    }
}

fn roughly(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
