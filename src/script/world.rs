//! What host functions see: the running call, its effects, the connections that scripts know.
//!
//! One [`World`] belongs to one state and is shared with its host functions by reference; every field is a cell, never
//! borrowed while Lua runs. [`Host`] is what the outside gives to a state.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::api::Handle;
use super::api::jwt::KeyCache;
use super::api::timer::{Place, Timers};
use super::breaker::Breaker;
use super::commons::{Commons, Dictionary, Metric};
use super::conn::Conns;
use super::load::Bundle;
use super::raw::{Lent, Ref, Stack};
use super::value::Raise;
use super::watchdog::DeadlineHandle;
use crate::config::Level;
use crate::metrics::HookTable;
use crate::pipeline::{About, Effect, Effects, Hook, StageId, TimerId};
use crate::types::{ChannelName, ConnId, Generation, NodeId, Origin, WorkerId};

/// What a state is given of the process around it.
#[derive(Clone)]
pub struct Host {
    /// `wsd.node`
    pub node: NodeId,
    /// `wsd.worker`
    pub worker: WorkerId,
    /// `wsd.generation`
    pub generation: Generation,
    /// Takes what scripts log. Must not wait.
    pub log: Arc<dyn Fn(LogRecord) + Send + Sync>,
    /// Unix seconds with fraction.
    pub now: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// Seconds since some moment; never goes back.
    pub monotonic: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// `wsd.secret`; [`super::secrets`] is the usual one.
    pub secret: Secrets,
    /// What all workers' scripts share.
    pub commons: Arc<Commons>,
    /// How many subscribers a channel has on this node.
    pub subscribers: Arc<dyn Fn(&ChannelName) -> u64 + Send + Sync>,
    /// Stops what runs too long.
    pub deadline: DeadlineHandle,
    /// What follows from that.
    pub breaker: Breaker,
    /// Where calls are counted.
    pub calls: HookTable,
    /// By which they are measured.
    pub clocks: Clocks,
}

/// The clocks that calls are measured by.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Quick to read.
    pub now: fn() -> Instant,
    /// CPU time of the calling thread: dear, and right on a busy machine too.
    pub cpu: fn() -> Duration,
}

/// Where secrets come from: the name's bytes, or why there are none.
pub type Secrets = Arc<dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync>;

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("node", &self.node)
            .field("worker", &self.worker)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// Why a state is made; `on_load` gets its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoadReason {
    /// To see whether everything loads; thrown away after.
    Check,
    /// After a memory error or a fault of ours, from the same scripts.
    Rebuild,
    /// A new generation.
    Reload,
    /// The first one.
    Start,
}

impl LoadReason {
    /// As scripts see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Rebuild => "rebuild",
            Self::Reload => "reload",
            Self::Start => "start",
        }
    }
}

/// One line that a script logs, or that is logged about one.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRecord {
    /// How important.
    pub level: Level,
    /// At most 4 KiB.
    pub text: String,
    /// At most 16; names of letters, digits and `_`, none of wsd's own.
    pub fields: Vec<(String, String)>,
    /// Full path of the file; empty if unknown.
    pub script: String,
    /// 0 if unknown.
    pub line: u32,
    /// In which hook.
    pub hook: Option<Hook>,
    /// For which connection, if for one.
    pub about: Option<About>,
    /// Of the script.
    pub generation: Generation,
}

/// See the module.
pub(super) struct World {
    pub(super) host: Host,
    pub(super) bundle: Arc<Bundle>,
    /// Of the running call; swapped with the caller's.
    pub(super) effects: RefCell<Effects>,
    /// The hook that runs; `None`: nothing does.
    pub(super) hook: Cell<Option<Hook>>,
    /// Whose script runs; kept after.
    pub(super) stage: Cell<StageId>,
    /// The timer that runs.
    pub(super) timer: Cell<Option<TimerId>>,
    /// For whom it runs.
    pub(super) conn: Cell<Option<(ConnId, Origin)>>,
    /// The memberships of that connection.
    pub(super) channels: Lent<Vec<ChannelName>>,
    /// What the log says of it.
    pub(super) about: Lent<Option<About>>,
    /// The connections that scripts know.
    pub(super) conns: RefCell<Conns>,
    /// Values that every state keeps.
    pub(super) kept: Cell<Option<Kept>>,
    /// Modules that were loaded; `None` while one is loading.
    pub(super) modules: RefCell<HashMap<String, Option<Ref>>>,
    /// What `require "test"` gives; only where tests run.
    pub(super) test: Cell<Option<Ref>>,
    /// Secrets that were read.
    pub(super) secrets: RefCell<HashMap<String, Vec<u8>>>,
    /// The dictionaries that scripts have asked for; what they hold is the place here.
    pub(super) dictionaries: RefCell<Vec<Arc<Dictionary>>>,
    /// The metrics, likewise.
    pub(super) metrics: RefCell<Vec<Arc<Metric>>>,
    /// Functions that are to run later.
    pub(super) timers: RefCell<Timers>,
    /// Keys of tokens that were read.
    pub(super) keys: RefCell<KeyCache>,
    /// Globals that were assigned after loading, so that each is told once.
    pub(super) stray: RefCell<Vec<Stray>>,
}

/// A global that a function assigned, probably a forgotten `local`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stray {
    pub(super) script: String,
    pub(super) line: u32,
    pub(super) name: String,
}

/// Values that host functions and calls need.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    /// The globals that every environment falls back to.
    pub(super) base: Ref,
    /// The metatable of arrays that JSON marks.
    pub(super) array: Ref,
    /// The metatable of integers beyond 2^53.
    pub(super) integer: Ref,
    /// What tells these two from other tables.
    pub(super) array_identity: usize,
    pub(super) integer_identity: usize,
    /// The metatable of `conn`.
    pub(super) conn: Ref,
    /// The metatables of what stands for dictionaries and metrics.
    pub(super) dictionary: Handle,
    pub(super) counter: Handle,
    pub(super) gauge: Handle,
    pub(super) histogram: Handle,
    /// `"user"`, `"channel"`
    pub(super) user_key: Ref,
    pub(super) channel_key: Ref,
    /// `"text"`, `"binary"`
    pub(super) text: Ref,
    pub(super) binary: Ref,
    /// What a large table is sorted by.
    pub(super) less: Ref,
}

impl World {
    pub(super) fn new(host: Host, bundle: Arc<Bundle>) -> Self {
        Self {
            host,
            bundle,
            effects: RefCell::default(),
            hook: Cell::new(None),
            stage: Cell::new(StageId(0)),
            timer: Cell::new(None),
            conn: Cell::new(None),
            channels: Lent::nothing(),
            about: Lent::nothing(),
            conns: RefCell::default(),
            kept: Cell::new(None),
            modules: RefCell::default(),
            test: Cell::new(None),
            secrets: RefCell::default(),
            dictionaries: RefCell::default(),
            metrics: RefCell::default(),
            timers: RefCell::default(),
            keys: RefCell::default(),
            stray: RefCell::default(),
        }
    }

    /// Where the timers were made that a state built anew makes no more: those that were cut, and the one that runs.
    pub(super) fn ended_timers(&self) -> Vec<Place> {
        let timers = self.timers.borrow();
        let running = self.timer.get().and_then(|id| timers.live.get(&id));
        let mut ended = timers.ended.clone();
        ended.extend(running.map(|timer| timer.made.clone()));
        ended
    }

    /// The kept values; there once the state is built.
    pub(super) fn kept(&self) -> Result<Kept, Raise> {
        self.kept
            .get()
            .ok_or_else(|| Raise("called before the state is ready".into()))
    }

    /// Bytes of a shared dictionary.
    pub(super) fn capacity(&self) -> usize {
        self.bundle.hooks().shared
    }

    /// The clock that never goes back.
    pub(super) fn monotonic(&self) -> f64 {
        (self.host.monotonic)()
    }

    /// Whether scripts are loading.
    pub(super) fn is_loading(&self) -> bool {
        self.hook.get() == Some(Hook::Load)
    }

    /// Adds an effect of the running call.
    pub(super) fn ask(&self, what: &str, effect: Effect) -> Result<(), Raise> {
        self.effects
            .borrow_mut()
            .push(effect)
            .map_err(|error| Raise(format!("{what}: {error}")))
    }

    /// The full path for what messages call `chunk`.
    pub(super) fn path(&self, chunk: &str) -> String {
        self.bundle
            .path(chunk)
            .map_or_else(String::new, |path| path.display().to_string())
    }

    /// Logs for the script that called.
    pub(super) fn log(
        &self,
        stack: &Stack,
        level: Level,
        text: String,
        fields: Vec<(String, String)>,
    ) {
        let (chunk, line) = stack.place();
        self.record(level, text, fields, (self.path(&chunk), line));
    }

    /// Logs with a place that is known.
    pub(super) fn record(
        &self,
        level: Level,
        text: String,
        fields: Vec<(String, String)>,
        (script, line): (String, u32),
    ) {
        let mut about = self.about.ask().flatten();
        if let (Some(about), Some((id, _))) = (&mut about, self.conn.get()) {
            // An earlier stage may have said who it is, which the worker does not know yet.
            let user = self.conns.borrow().user(id);
            about.user = user.map(Into::into).or_else(|| about.user.take());
        }
        (self.host.log)(LogRecord {
            level,
            text,
            fields,
            script,
            line,
            hook: self.hook.get(),
            about,
            generation: self.host.generation,
        });
    }
}
