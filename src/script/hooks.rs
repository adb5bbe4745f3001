//! [`LuaHooks`]: one generation of scripts on one worker, as the pipeline asks it.
//!
//! Every hook is one protected call: arguments in, function, results read, assignments to `conn` compared. After a
//! memory error or a fault of ours the state is built anew from the same bundle, with `conn.data` carried over. Whether a
//! script may be called at all, and for how long, the breaker says.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Call, Script};
use super::load::Bundle;
use super::raw::{Ref, Stack};
use super::state::State;
use super::world::{Host, LoadReason, World};
use super::{conn, data, verdict};
use crate::config::Level;
use crate::pipeline::{
    BatchItem, BatchOutput, Change, ConnectVerdict, Effects, Hook, HookError, Hooks, StageId,
    TimerId, TimerRun, Verdict, Who,
};
use crate::types::{ChannelName, Close, ConnId, Kind as MessageKind, Origin, Payload, StagesId};
use crate::wire::Upgrade;

/// See the module.
pub(super) struct LuaHooks {
    pub(super) bundle: Arc<Bundle>,
    pub(super) host: Host,
    pub(super) state: State,
    /// By their places.
    pub(super) scripts: Vec<Script>,
    /// The batches that come are of addresses alone whose calls get less time.
    pub(super) strained: bool,
    /// How long calls took since somebody asked.
    pub(super) spent: Duration,
    /// Measured in CPU time.
    pub(super) by_cpu: bool,
    /// Memory in use at which garbage is collected before Luau would by itself.
    pub(super) collect_at: usize,
    /// It was told that half of the memory is live.
    told: bool,
}

/// Where the connection stands in a call's frame; arguments that are kept come above it.
pub(super) const CONN: i32 = 1;

impl LuaHooks {
    pub(super) fn new(bundle: Arc<Bundle>, host: Host, state: State) -> Self {
        let collect_at = bundle.hooks().memory / 2;
        let scripts = bundle.scripts().iter();
        Self {
            scripts: scripts.map(|chunk| Script::new(&host, chunk)).collect(),
            strained: false,
            spent: Duration::ZERO,
            by_cpu: false,
            bundle,
            host,
            state,
            collect_at,
            told: false,
        }
    }

    pub(super) fn world(&self) -> &World {
        self.state.vm.shared()
    }

    /// Lets go of values that the state keeps.
    pub(super) fn release(&self, hook: Hook, values: &[Ref]) {
        // Takes no memory, so it cannot fail.
        drop(self.state.vm.enter(self.limit(hook, false), |stack| {
            for value in values {
                stack.release(*value);
            }
        }));
    }

    pub(super) fn limit(&self, hook: Hook, strained: bool) -> Duration {
        let limits = &self.bundle.hooks().time_limit;
        let limit = match hook {
            Hook::Connect => limits.connect,
            Hook::Subscribe | Hook::Unsubscribe => limits.subscribe,
            Hook::Message => limits.message,
            Hook::Batch => limits.batch,
            Hook::Disconnect => limits.disconnect,
            Hook::Load => limits.load,
            Hook::Timer => limits.timer,
        };
        if strained { limit / STRAINED } else { limit }
    }

    /// Collects garbage if there may be much: at the limit Luau fails instead of looking for some.
    pub(super) fn collect(&mut self) {
        let limit = self.bundle.hooks().memory;
        if self.state.vm.memory() <= self.collect_at {
            return;
        }
        self.state.vm.collect();
        let live = self.state.vm.memory();
        self.collect_at = (live + (limit.saturating_sub(live)) / 2).max(limit / 2);
        if live > limit / 2 && !self.told {
            self.told = true;
            let conns = self.state.vm.shared().conns.borrow().with_table();
            let data: usize = conns
                .iter()
                .filter_map(|conn| self.export_data(*conn))
                .map(|bytes| bytes.len())
                .sum();
            let text = format!(
                "half of hooks.memory is in use: {live} of {limit} bytes, about {data} of them conn.data of {} connections",
                conns.len()
            );
            let world = self.state.vm.shared();
            world.record(Level::Warn, text, Vec::new(), (String::new(), 0));
        }
    }

    /// A new state from the same scripts; the old one stays if they do not load.
    pub(super) fn rebuild(&mut self) {
        self.state.vm.collect();
        let conns = self.state.vm.shared().conns.borrow().with_table();
        let mut carried: Vec<(ConnId, Box<[u8]>)> = conns
            .into_iter()
            .filter_map(|conn| Some((conn, self.export_data(conn)?)))
            .collect();
        let saved = self.state.vm.shared().conns.borrow_mut().take_saved();
        carried.extend(saved);
        let ended = self.world().ended_timers();
        match State::build(&self.bundle, &self.host, LoadReason::Rebuild, ended) {
            Ok(state) => self.state = state,
            Err(problems) => {
                let world = self.state.vm.shared();
                for problem in problems {
                    let text = format!("the state was not built anew: {}", problem.text);
                    let place = (problem.script, problem.line);
                    world.record(Level::Error, text, Vec::new(), place);
                }
            }
        }
        self.collect_at = self.bundle.hooks().memory / 2;
        self.told = false;
        let mut conns = self.state.vm.shared().conns.borrow_mut();
        for (conn, bytes) in carried {
            if conns.table(conn).is_none() {
                conns.save(conn, bytes);
            }
        }
    }
}

impl Hooks for LuaHooks {
    fn stages(&self, list: StagesId) -> Vec<StageId> {
        self.bundle.stages(list)
    }

    fn defines(&self, stage: StageId, hook: Hook) -> bool {
        self.state
            .stages
            .get(usize::from(stage.0))
            .is_some_and(|stage| stage.function(hook).is_some())
    }

    fn name(&self, stage: StageId) -> &str {
        self.bundle.script(stage).map_or("", |chunk| &chunk.name)
    }

    fn on_connect(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        upgrade: &Upgrade,
        effects: &mut Effects,
    ) -> Result<ConnectVerdict, HookError> {
        let call = Call {
            stage,
            hook: Hook::Connect,
            who: Some(who),
            upgrade: Some(upgrade),
            channel: None,
            function: None,
        };
        self.call(
            &call,
            effects,
            |_| {},
            &[],
            3,
            |stack, _, place| verdict::connect(stack, place),
        )
    }

    fn on_subscribe(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        channel: &ChannelName,
        effects: &mut Effects,
    ) -> Result<Verdict<Option<ChannelName>>, HookError> {
        let call = Call::of(stage, Hook::Subscribe, who, Some(channel));
        let name = |stack: &mut Stack| stack.push_bytes(channel.as_str().as_bytes());
        self.call(
            &call,
            effects,
            |_| {},
            &[&name],
            1,
            |stack, _, place| verdict::subscribe(stack, place),
        )
    }

    fn on_unsubscribe(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        channel: &ChannelName,
        effects: &mut Effects,
    ) -> Result<(), HookError> {
        let call = Call::of(stage, Hook::Unsubscribe, who, Some(channel));
        let name = |stack: &mut Stack| stack.push_bytes(channel.as_str().as_bytes());
        self.call(
            &call,
            effects,
            |_| {},
            &[&name],
            1,
            |stack, _, place| verdict::nothing(stack, place),
        )
    }

    fn on_message(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        channel: Option<&ChannelName>,
        payload: &Payload,
        effects: &mut Effects,
    ) -> Result<Verdict<Change>, HookError> {
        const MESSAGE: i32 = CONN + 1;
        let call = Call::of(stage, Hook::Message, who, channel);
        let Some(kept) = self.state.vm.shared().kept.get() else {
            return Ok(Verdict::Pass(Change::default()));
        };
        let message = |stack: &mut Stack| stack.push_copy(MESSAGE);
        let name = |stack: &mut Stack| match channel {
            Some(channel) => stack.push_bytes(channel.as_str().as_bytes()),
            None => stack.push_nil(),
        };
        let kind = |stack: &mut Stack| {
            stack.push_ref(match payload.kind {
                MessageKind::Text => kept.text,
                MessageKind::Binary => kept.binary,
            });
        };
        self.call(
            &call,
            effects,
            |stack| stack.push_bytes(&payload.data),
            &[&message, &name, &kind],
            2,
            |stack, world, place| verdict::message(stack, world, place, MESSAGE, payload),
        )
    }

    fn on_batch(
        &mut self,
        stage: StageId,
        channel: &ChannelName,
        batch: &[BatchItem],
        effects: &mut Effects,
    ) -> Result<Verdict<Option<Vec<BatchOutput>>>, HookError> {
        const INPUTS: i32 = CONN + 1;
        let call = Call {
            stage,
            hook: Hook::Batch,
            who: None,
            upgrade: None,
            channel: Some(channel),
            function: None,
        };
        let name = |stack: &mut Stack| stack.push_bytes(channel.as_str().as_bytes());
        let messages = |stack: &mut Stack| stack.push_clone(INPUTS);
        let senders = |stack: &mut Stack| {
            stack.push_table(batch.len(), 0);
            let table = stack.top();
            for (i, item) in batch.iter().enumerate() {
                let sender = item
                    .sender
                    .map_or_else(String::new, |origin| origin.to_string());
                stack.push_bytes(sender.as_bytes());
                stack.set_element(table, i + 1);
            }
        };
        self.call(
            &call,
            effects,
            |stack| {
                stack.push_table(batch.len(), 0);
                for (i, item) in batch.iter().enumerate() {
                    stack.push_bytes(&item.payload.data);
                    stack.set_element(INPUTS, i + 1);
                }
            },
            &[&name, &messages, &senders],
            1,
            |stack, world, place| verdict::batch(stack, world, place, INPUTS, batch),
        )
    }

    fn on_disconnect(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        close: &Close,
        effects: &mut Effects,
    ) -> Result<(), HookError> {
        let call = Call::of(stage, Hook::Disconnect, who, None);
        let code = |stack: &mut Stack| stack.push_number(f64::from(close.code));
        let reason = |stack: &mut Stack| stack.push_bytes(close.reason.as_bytes());
        self.call(
            &call,
            effects,
            |_| {},
            &[&code, &reason],
            1,
            |stack, _, place| verdict::nothing(stack, place),
        )
    }

    fn on_timer(&mut self, timer: TimerId, effects: &mut Effects) -> TimerRun {
        self.world().timer.set(Some(timer));
        let run = self.run_timer(timer, effects);
        self.world().timer.set(None);
        run
    }

    fn blame(&mut self, cut: u64, alone: Option<Origin>, ip: &str) -> bool {
        let (config, now) = (self.bundle.hooks().breaker, (self.host.monotonic)());
        let blamed = self.host.breaker.blame(now, config, cut, alone, ip);
        self.tell_rest(blamed.rests);
        blamed.close
    }

    fn is_strained(&self, ip: &str) -> bool {
        let config = self.bundle.hooks().breaker;
        let now = || (self.host.monotonic)();
        self.host.breaker.is_strained(now, config, ip)
    }

    fn strain(&mut self, strained: bool) {
        self.strained = strained;
    }

    fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    fn measure_cpu(&mut self, by_cpu: bool) {
        self.by_cpu = by_cpu;
    }

    fn forget(&mut self, conn: ConnId) {
        let table = self.world().conns.borrow_mut().forget(conn);
        if let Some(table) = table {
            self.release(Hook::Disconnect, &[table]);
        }
        self.host.commons.holds.release(Origin {
            node: self.host.node,
            worker: self.host.worker,
            conn,
        });
    }

    fn export_data(&mut self, conn: ConnId) -> Option<Box<[u8]>> {
        let vm = &self.state.vm;
        let world = vm.shared();
        if let Some(bytes) = world.conns.borrow().saved(conn) {
            return Some(bytes.into());
        }
        vm.enter(self.limit(Hook::Load, false), |stack| {
            conn::export(stack, world, conn)
        })
        .ok()
        .flatten()
    }

    fn import_data(&mut self, conn: ConnId, data: Box<[u8]>) {
        let world = self.state.vm.shared();
        match data::check(&data) {
            Ok(()) => world.conns.borrow_mut().save(conn, data),
            Err(error) => {
                world.record(
                    Level::Warn,
                    error.to_string(),
                    Vec::new(),
                    (String::new(), 0),
                );
            }
        }
    }

    fn memory(&self) -> usize {
        self.state.vm.memory()
    }

    fn take_loaded(&mut self) -> Effects {
        std::mem::take(&mut *self.state.vm.shared().effects.borrow_mut())
    }
}

/// Calls for addresses that were cut too often get their time limit divided by this (SPEC §3).
pub(super) const STRAINED: u32 = 10;
