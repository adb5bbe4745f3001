//! The thread that stops hooks which run too long.
//!
//! It looks at the seats of all states (`raw/deadline.rs`) every few milliseconds while any worker is in a hook. When
//! none has been for a while it sleeps without a time, and the next call wakes it.
//!
//! # Why CPU time
//! On a busy machine a hook may wait longer for its turn than it runs; only what it really used counts against it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar};
use std::time::Duration;

use super::raw::Seat;

#[expect(
    clippy::disallowed_types,
    reason = "states come and go on their workers; nothing is done under the lock that waits"
)]
type Guarded<T> = std::sync::Mutex<T>;

/// The watchdog of a process: clones are the same one, and its thread ends with the last.
#[derive(Clone)]
pub struct DeadlineHandle(Arc<Owner>);

/// Ends the thread when nobody is left.
struct Owner(Arc<Alarm>);

/// What the thread and the workers share.
pub(super) struct Alarm {
    list: Guarded<List>,
    wake: Condvar,
    /// The thread waits without a time; set a round before it does.
    asleep: AtomicBool,
}

#[derive(Default)]
struct List {
    seats: Vec<Arc<Seat>>,
    ended: bool,
}

impl DeadlineHandle {
    /// Starts the thread.
    pub fn start() -> std::io::Result<Self> {
        let alarm = Arc::new(Alarm {
            list: Guarded::default(),
            wake: Condvar::new(),
            asleep: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&alarm);
        std::thread::Builder::new()
            .name("lua-deadline".into())
            .spawn(move || theirs.run())?;
        Ok(Self(Arc::new(Owner(alarm))))
    }

    /// What a seat needs to wake the thread.
    pub(super) fn alarm(&self) -> Arc<Alarm> {
        Arc::clone(&self.0.0)
    }

    /// From now on the thread looks at it, until it leaves.
    pub(super) fn watch(&self, seat: &Arc<Seat>) {
        self.0.0.change(|list| list.seats.push(Arc::clone(seat)));
    }
}

impl std::fmt::Debug for DeadlineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeadlineHandle")
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.change(|list| list.ended = true);
        self.0.rouse();
    }
}

impl Alarm {
    /// Wakes the thread if it sleeps.
    pub(super) fn call_begins(&self) {
        if self.asleep.load(Ordering::Relaxed) {
            self.rouse();
        }
    }

    /// Forgets a seat.
    pub(super) fn leave(&self, seat: &Seat) {
        self.change(|list| {
            list.seats
                .retain(|known| !std::ptr::eq(&raw const **known, seat));
        });
    }

    fn change<R>(&self, change: impl FnOnce(&mut List) -> R) -> R {
        change(
            &mut self
                .list
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    fn rouse(&self) {
        // Under the lock, so that it cannot fall between the thread's last look and its wait.
        self.change(|_| self.asleep.store(false, Ordering::Relaxed));
        self.wake.notify_all();
    }

    fn run(&self) {
        let mut quiet = 0;
        loop {
            let mut list = self
                .list
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if list.ended {
                return;
            }
            let (active, tick) = look(&list.seats);
            quiet = if active { 0 } else { quiet + 1 };
            if quiet <= QUIET {
                // One round before the wait: whoever began a call without seeing this is seen in the next look.
                self.asleep.store(quiet == QUIET, Ordering::Relaxed);
                drop(self.wake.wait_timeout(list, tick));
                continue;
            }
            while self.asleep.load(Ordering::Relaxed) && !list.ended {
                list = self
                    .wake
                    .wait(list)
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            quiet = 0;
        }
    }
}

/// Looks at every seat once: whether there was any call since the last time, and when to look again.
fn look(seats: &[Arc<Seat>]) -> (bool, Duration) {
    let mut any = false;
    let mut tick = TICK_MAX;
    for seat in seats {
        let (active, limit) = seat.look();
        any |= active;
        if let Some(limit) = limit {
            tick = tick.min(limit / 4).max(TICK_MIN);
        }
    }
    (any, tick)
}

/// Rounds without a call before the thread sleeps.
const QUIET: u32 = 20;
/// Between two looks, at most.
const TICK_MAX: Duration = Duration::from_millis(5);
/// And at least: a shorter limit is kept no better than this.
const TICK_MIN: Duration = Duration::from_micros(500);
