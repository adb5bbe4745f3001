//! What wsd says to its operator: to the journal with fields where there is one, as lines on standard error elsewhere.
//!
//! Owns the tracing subscriber of the process, the levels, the names of events and the log thread. It decides nothing
//! and makes nobody wait: a record that finds the queue full is dropped and counted. The daemon starts it, gives it new
//! levels after a reload and passes what scripts log to [`Emitter::emit`]; everything else uses tracing's macros with
//! `target:` naming the area.

mod entry;
mod event;
mod journal;
mod levels;
mod limiter;
mod line;
mod record;
mod thread;

pub use event::{EVENTS, Event};
pub use levels::AREAS;
pub use limiter::{INTERVAL, KEYS, Limiter};
pub use record::{FIELDS, Record};

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};

use crate::config;
use crate::config::Level;

use self::entry::Entry;
use self::journal::Journal;
use self::levels::Levels;
use self::line::Reader;
use self::thread::{Output, Queue};

/// Starts logging for the whole process. Once; dropping what it returns writes what is left and ends it.
pub fn init(config: &config::Log, sink: Sink) -> io::Result<Log> {
    let log = Log::start(config, sink)?;
    tracing::subscriber::set_global_default(log.subscriber()).map_err(io::Error::other)?;
    log.warn_unknown(config);
    Ok(log)
}

/// Where records go.
pub enum Sink {
    /// Standard error is the journal (`systemd::journal_stream`): its own socket, with fields. If nobody listens there,
    /// lines with `<N>` in front on standard error, which is the journal too.
    Journal,
    /// Lines for people on standard error.
    Stderr,
    /// Lines for people to somewhere else.
    Writer(Box<dyn Write + Send>),
}

/// The running log.
#[derive(Debug)]
pub struct Log {
    emitter: Emitter,
    /// Says when the thread has ended.
    done: Receiver<()>,
}

impl Log {
    /// Starts the thread, but leaves the process's subscriber alone.
    pub fn start(config: &config::Log, sink: Sink) -> io::Result<Self> {
        let output = match sink {
            Sink::Journal => Journal::open().map_or_else(
                |_| Output::Lines(Reader::Journal, Box::new(io::stderr())),
                |journal| Output::Journal(Box::new(journal)),
            ),
            Sink::Stderr => Output::Lines(Reader::Person, Box::new(io::stderr())),
            Sink::Writer(out) => Output::Lines(Reader::Person, out),
        };
        let (queue, done) = thread::start(output)?;
        let shared = Shared {
            levels: Levels::new(config),
            queue,
        };
        Ok(Self {
            emitter: Emitter(Arc::new(shared)),
            done,
        })
    }

    /// What tracing's macros reach this log through.
    #[must_use]
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + 'static {
        Collector(Arc::clone(&self.emitter.0))
    }

    /// New levels, for all areas and threads in one step.
    pub fn set_levels(&self, config: &config::Log) {
        self.emitter.0.levels.set(config);
        tracing::callsite::rebuild_interest_cache();
        self.warn_unknown(config);
    }

    /// Logs a record of a script, if its level is wanted.
    pub fn emit(&self, record: Record) {
        self.emitter.emit(record);
    }

    /// A way to [`Self::emit`] from other threads.
    #[must_use]
    pub fn emitter(&self) -> Emitter {
        self.emitter.clone()
    }

    /// How many records were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.emitter.dropped()
    }

    /// Says which areas of `log.level` there are not: they would change nothing.
    fn warn_unknown(&self, config: &config::Log) {
        for area in levels::unknown(config) {
            self.emit(Record {
                level: Level::Warn,
                target: "log",
                message: format!(
                    "log.level: there is no area \"{area}\"; the areas are {}",
                    AREAS.join(", ")
                ),
                own: Vec::new(),
                fields: Vec::new(),
            });
        }
    }
}

impl Drop for Log {
    /// Waits for the thread to write what is left, at most [`FLUSH`].
    fn drop(&mut self) {
        self.emitter.0.queue.stop(&self.done, FLUSH);
    }
}

/// Logs records of scripts, from any thread.
#[derive(Clone, Debug)]
pub struct Emitter(Arc<Shared>);

impl Emitter {
    /// Whether a record of this level and area would be logged: asked before it is made.
    #[must_use]
    pub fn wants(&self, target: &str, level: Level) -> bool {
        self.0.levels.wants(target, level)
    }

    /// Logs it, if its level is wanted. Never waits.
    pub fn emit(&self, record: Record) {
        if self.wants(record.target, record.level) {
            self.0.queue.put(record.into_entry(now()));
        }
    }

    /// How many records were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.queue.dropped()
    }
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    levels: Levels,
    queue: Queue,
}

/// The subscriber: makes an owned record of each event that is wanted. Spans are not used: a record names its connection
/// and channel in its own fields.
struct Collector(Arc<Shared>);

impl Subscriber for Collector {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = level(*metadata.level());
        metadata.is_event() && self.0.levels.wants(metadata.target(), level)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.0.levels.most() {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let level = level(*event.metadata().level());
        self.0.queue.put(Entry::new(now(), level, event));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn level(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// Since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "a record's time is the time of day at which it was made; nothing is decided by it"
)]
fn now() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The longest that the end of the process waits for the journal.
pub const FLUSH: Duration = Duration::from_secs(2);

/// What stands between `before` and the next quote in every file of the source.
#[cfg(test)]
fn source_literals(before: &str) -> Vec<String> {
    fn walk(directory: &std::path::Path, before: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, before, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                // The literal as a macro has it: at the start of a line or after a space or bracket.
                for (at, _) in text.match_indices(before) {
                    let alone = text[..at].ends_with([' ', '(', '\n']);
                    let rest = &text[at + before.len()..];
                    if let Some((name, _)) = rest.split_once('"').filter(|_| alone) {
                        found.push(name.to_owned());
                    }
                }
            }
        }
    }
    let mut found = Vec::new();
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    walk(&source, before, &mut found);
    found
}

#[cfg(test)]
mod tests;
