//! Says when a file changed that the running configuration was made of.
//!
//! Owns a thread, the kernel's watches and the hashes of what is watched; never reads what the files mean and never
//! reloads anything by itself: the daemon does, when it is called. `contents.rs` has what is looked at and where.
//!
//! # Why directories, hashes and a poll
//!
//! A watch on a file is deaf after the first save by rename, one on a directory after that directory was replaced, and
//! none sees through a symlink. So the directories that hold the files and every symlink on the way to them are
//! watched, all watches are made anew before each look, no event is believed (each only says "look again"), the content
//! decides, and a slow poll catches what no event told. Reading is the one thing that must not count as an event: the
//! reload itself reads.

mod contents;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use self::contents::{Contents, directories};

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    notes: SyncSender<Note>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Watches files and directories; of a directory its `*.lua` and `*.toml` count.
    ///
    /// `changed` is called on the watcher's thread after anything is different from what it was when `start` was called
    /// or from the last call, and must return soon. What changes after `start` has returned is never missed, so it is
    /// best called right after the files were read.
    pub fn start(paths: Vec<PathBuf>, changed: Box<dyn Fn() + Send>) -> io::Result<Self> {
        Self::with_pace(paths, changed, Pace::USUAL, Kernel::Watches)
    }

    /// Watches these from now on. What was watched before is compared with how it was when it was last looked at, so a
    /// change that came while a reload was under way is not missed.
    pub fn set_paths(&self, paths: Vec<PathBuf>) {
        // The new ones are read here, where the caller has just read them too. A watcher that has ended is being dropped.
        let contents = Contents::read(&paths);
        let _ = self.notes.send(Note::Paths(paths, contents));
    }

    fn with_pace(
        paths: Vec<PathBuf>,
        changed: Box<dyn Fn() + Send>,
        pace: Pace,
        kernel: Kernel,
    ) -> io::Result<Self> {
        // Everything that is in the queue leads to a look, so an event that finds it full may be forgotten.
        let (notes, queue) = sync_channel(16);
        let mut looker = Looker {
            known: Contents::default(),
            paths,
            armed: BTreeSet::new(),
            kernel,
            watches: None,
            is_blind: false,
            notes: notes.clone(),
            changed,
            pace,
        };
        looker.arm();
        looker.known = Contents::read(&looker.paths);
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || looker.run(&queue))?;
        Ok(Self {
            notes,
            thread: Some(thread),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.notes.send(Note::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread is told.
#[derive(Debug)]
enum Note {
    /// The kernel saw something.
    Look,
    /// Other paths, and how they are now.
    Paths(Vec<PathBuf>, Contents),
    Stop,
}

/// How fast things go.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// An editor's save is several events: wait until there were none for so long.
    quiet: Duration,
    /// But look after this long even so.
    longest: Duration,
    /// Look without an event.
    poll: Duration,
    /// The same where the kernel gives no or not enough watches.
    blind_poll: Duration,
}

impl Pace {
    const USUAL: Self = Self {
        quiet: Duration::from_millis(200),
        longest: Duration::from_secs(1),
        poll: Duration::from_secs(30),
        blind_poll: Duration::from_secs(2),
    };
}

/// How a wait for quiet ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    /// The watcher is dropped.
    Over,
    Quiet,
    /// There was no pause.
    Restless,
}

/// Whether the kernel is asked; not at all only in tests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kernel {
    #[cfg(test)]
    Unused,
    Watches,
}

/// The state of the thread.
struct Looker {
    /// How everything was at the last look.
    known: Contents,
    paths: Vec<PathBuf>,
    /// The directories that were watched last, free of symlinks.
    armed: BTreeSet<PathBuf>,
    kernel: Kernel,
    /// `None` where the kernel gives none; asked for again at every look.
    watches: Option<RecommendedWatcher>,
    /// Some watch is missing: polls must do.
    is_blind: bool,
    notes: SyncSender<Note>,
    changed: Box<dyn Fn() + Send>,
    pace: Pace,
}

impl Looker {
    /// How often a content is read again that changes all the time.
    const MOST_DOUBTS: usize = 5;

    fn run(mut self, queue: &Receiver<Note>) {
        loop {
            let poll = if self.is_blind {
                self.pace.blind_poll
            } else {
                self.pace.poll
            };
            let wait = match queue.recv_timeout(poll) {
                Ok(Note::Look) => self.wait_for_quiet(queue),
                Ok(Note::Paths(paths, contents)) => {
                    self.take_paths(paths, contents);
                    Wait::Restless
                }
                Err(RecvTimeoutError::Timeout) => Wait::Restless,
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => Wait::Over,
            };
            if wait == Wait::Over || self.look(wait, queue) == Wait::Over {
                return;
            }
        }
    }

    /// Waits until the events have stopped.
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread of its own, on which no connection waits, and nothing here is decided by time but the pause"
    )]
    fn wait_for_quiet(&mut self, queue: &Receiver<Note>) -> Wait {
        let until = Instant::now() + self.pace.longest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wait::Restless;
            }
            match queue.recv_timeout(left.min(self.pace.quiet)) {
                Ok(Note::Look) => {}
                Ok(Note::Paths(paths, contents)) => self.take_paths(paths, contents),
                Err(RecvTimeoutError::Timeout) if left < self.pace.quiet => return Wait::Restless,
                Err(RecvTimeoutError::Timeout) => return Wait::Quiet,
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return Wait::Over,
            }
        }
    }

    fn take_paths(&mut self, paths: Vec<PathBuf>, mut contents: Contents) {
        contents.keep_old(&self.known);
        self.known = contents;
        self.paths = paths;
    }

    fn look(&mut self, mut wait: Wait, queue: &Receiver<Note>) -> Wait {
        // First the watches, then the content: what changes between the two is seen by one or the other.
        self.arm();
        let mut now = Contents::read(&self.paths);
        // Without a pause before it this may be half a save, and half a file can be a good one.
        for _ in 0..Self::MOST_DOUBTS {
            if now == self.known || wait != Wait::Restless {
                break;
            }
            wait = self.wait_for_quiet(queue);
            let again = Contents::read(&self.paths);
            if again == now {
                break;
            }
            now = again;
        }
        if wait != Wait::Over && now != self.known {
            self.known = now;
            (self.changed)();
        }
        wait
    }

    /// Makes all watches anew: one may have died with its directory, and nothing tells whether it has.
    fn arm(&mut self) {
        let was_blind = self.is_blind;
        let why = self.try_arm();
        self.is_blind = why.is_some();
        if let Some(why) = why
            && !was_blind
        {
            tracing::warn!(
                target: "reload",
                "changed files are found by looking every {} s only: {why}",
                self.pace.blind_poll.as_secs(),
            );
        }
    }

    /// What keeps a directory from being watched.
    fn try_arm(&mut self) -> Option<String> {
        if self.watches.is_none() {
            match self.new_watches() {
                Ok(watches) => self.watches = Some(watches),
                Err(why) => return Some(why),
            }
        }
        let watches = self.watches.as_mut()?;
        for directory in &self.armed {
            // An error says that it is not watched, which is what is wanted.
            let _ = watches.unwatch(directory);
        }
        self.armed = directories(&self.paths);
        let mut why = None;
        for directory in &self.armed {
            match watches.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                // It went away just now, which its parent has seen.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                Err(error) => why = Some(format!("{}: {error}", directory.display())),
            }
        }
        why
    }

    fn new_watches(&self) -> Result<RecommendedWatcher, String> {
        if self.kernel != Kernel::Watches {
            return Err("the kernel is not asked".to_owned());
        }
        let notes = self.notes.clone();
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.as_ref().map_or(true, |event| matters(event.kind)) {
                let _ = notes.try_send(Note::Look);
            }
        };
        notify::recommended_watcher(on_event).map_err(|error| error.to_string())
    }
}

/// Whether an event may mean that something is different: all may but reading.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
