//! Another configuration, another generation of scripts; the end.
//!
//! [pure] Part of [`super::State`]. All of it happens between two messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::script_timers::ScriptTimers;
use super::{Output, State};
use crate::config::Config;
use crate::pipeline::{Hooks, Pipeline};
use crate::types::{Close, ConnId, Generation};

impl State {
    /// The next generation's scripts are loaded here; nothing changes yet.
    pub fn on_prepared(&mut self, generation: Generation, config: &Config, hooks: Box<dyn Hooks>) {
        self.generations
            .prepare(generation, Pipeline::new(hooks, config.hooks.on_error));
    }

    /// The next generation is not wanted.
    pub fn on_discard(&mut self, generation: Generation) {
        self.generations.discard(generation);
    }

    /// The next generation comes into force: new limits and policies hold at once, `conn.data` follows.
    pub fn on_switch(&mut self, now: Instant, generation: Generation, config: Arc<Config>) {
        if !self.generations.switch(generation, self.conns.ids()) {
            return;
        }
        self.by_cpu = false;
        let (old, new) = (&self.config, &config);
        if old.limits.message != new.limits.message || old.heartbeat != new.heartbeat {
            self.outputs.push_back(Output::Limits);
        }
        self.config = config;
        for (slot, name) in self.hub.channels() {
            if let Some(local) = self.local.get_mut(slot.index()) {
                local.policy = Some(Arc::clone(self.config.policy(name)));
            }
        }
        let config = Arc::clone(&self.config);
        self.home.set_bounds(|channel| config.keep(channel));
        self.script_timers = ScriptTimers::default();
        self.on_live_generation(now);
    }

    /// The generation in force begins: what `on_load` asked for is done, its timers run from now on.
    pub fn on_live_generation(&mut self, now: Instant) {
        let effects = self.generations.current().hooks().take_loaded().take();
        self.apply(now, effects);
    }

    /// Every worker has switched, and what was on its way has come: the old scripts can go.
    pub fn on_retire(&mut self, now: Instant) {
        self.run_old_batches(now);
        self.generations.retire();
    }

    /// The process ends: gives every batch its `on_batch` and every window its frames.
    pub fn finish(&mut self, now: Instant) {
        while let Some(batch) = self.home.poll_open() {
            self.run_batch(now, batch);
        }
        while let Some(&(_, slot)) = self.due_runs.first() {
            self.close_run(now, slot);
        }
        self.end_turn(now);
    }

    /// Plans the close of every connection at a moment of `over` that `draw` chooses: a number from 0 to 1 for each.
    pub fn on_drain(
        &mut self,
        now: Instant,
        over: Duration,
        close: &Close,
        mut draw: impl FnMut() -> f64,
    ) {
        // Those whose request has not come too: they would keep the process for as long as they please.
        let conns: Vec<ConnId> = self.conns.ids().collect();
        for id in conns {
            let at = now + over.mul_f64(draw().clamp(0.0, 1.0));
            self.drain.push((at, id));
        }
        self.drain.sort_unstable_by(|a, b| b.cmp(a));
        self.drain_close = Some(close.clone());
        self.close_drained(now);
    }

    /// Closes those whose moment has come.
    pub(super) fn close_drained(&mut self, now: Instant) {
        let Some(close) = self.drain_close.clone() else {
            return;
        };
        while let Some(&(at, id)) = self.drain.last()
            && at <= now
        {
            self.drain.pop();
            if self.conns.is_pending(id) {
                self.outputs.push_back(Output::Abort(id));
            } else {
                self.close(now, id, close.clone());
            }
        }
    }
}
