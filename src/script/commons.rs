//! What the scripts of all workers of a node share: dictionaries, rate limits, slots, metrics.
//!
//! It lasts as long as the process, over reloads and rebuilt states. A check and each case of a test get one of their own.
//! Nothing here knows Lua; `api/{shared,limit,metrics}.rs` are how scripts reach it. Nobody waits for long: under a lock
//! one entry is found or changed, and those that go for it.
//!
//! # Why locks and not a concurrent map
//! A bound in bytes with "the least recently used goes first" needs one order of use, which every read changes. The maps
//! that do this without a lock keep the order roughly and the bound late, and a clock of their own.

mod bounded;
mod dictionary;
mod holds;
mod limits;
mod registry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use dictionary::{Dictionary, IncrError, Value};
pub(super) use holds::HoldError;
pub(super) use registry::{Metric, MetricKind};

use crate::pipeline::TimerId;

#[expect(
    clippy::disallowed_types,
    reason = "shared by workers on purpose; held for the change of one entry"
)]
struct Guarded<T>(std::sync::Mutex<T>);

impl<T> Guarded<T> {
    #[expect(clippy::disallowed_types, reason = "see the type")]
    const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Runs `change` while nobody else can.
    fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(
            &mut self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

impl<T: Default> Default for Guarded<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// See the module.
#[derive(Default)]
pub struct Commons {
    dictionaries: Guarded<BTreeMap<String, Arc<Dictionary>>>,
    pub(super) limits: limits::Limits,
    pub(super) holds: holds::Holds,
    pub(super) metrics: registry::Registry,
    timers: AtomicU64,
}

impl Commons {
    /// What scripts count, as Prometheus' text.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        self.metrics.render()
    }

    /// The dictionary of that name, made if there is none; `None` if there are too many.
    pub(super) fn dictionary(&self, name: &str) -> Option<Arc<Dictionary>> {
        self.dictionaries.with(|known| {
            if let Some(found) = known.get(name) {
                return Some(Arc::clone(found));
            }
            if known.len() >= DICTIONARIES_MAX {
                return None;
            }
            let new = Arc::new(Dictionary::default());
            known.insert(name.to_owned(), Arc::clone(&new));
            Some(new)
        })
    }

    /// An id that no other timer of this process has.
    pub(super) fn next_timer(&self) -> TimerId {
        TimerId(self.timers.fetch_add(1, Ordering::Relaxed))
    }
}

impl std::fmt::Debug for Commons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commons")
    }
}

/// Dictionaries of a node (SPEC §4).
pub(super) const DICTIONARIES_MAX: usize = 64;
/// Bytes of a key of a dictionary, a limit or a slot.
pub(super) const KEY_MAX: usize = 1024;
