//! [`LuaHooks`]: one generation of scripts on one worker, as the pipeline asks it.
//!
//! Every hook is one protected call: arguments in, function, results read, assignments to `conn` compared. After a
//! memory error or a fault of ours the state is built anew from the same bundle, with `conn.data` carried over.

use std::sync::Arc;
use std::time::Duration;

use super::call::Call;
use super::error::Site;
use super::load::Bundle;
use super::raw::{Ref, Stack};
use super::state::State;
use super::stop::Cause;
use super::value::Raise;
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
    bundle: Arc<Bundle>,
    host: Host,
    state: State,
    /// Memory in use at which garbage is collected before Luau would by itself.
    collect_at: usize,
    /// It was told that half of the memory is live.
    told: bool,
}

/// Where the connection stands in a call's frame; arguments that are kept come above it.
const CONN: i32 = 1;

impl LuaHooks {
    pub(super) fn new(bundle: Arc<Bundle>, host: Host, state: State) -> Self {
        let collect_at = bundle.hooks().memory / 2;
        Self {
            bundle,
            host,
            state,
            collect_at,
            told: false,
        }
    }

    /// One call: `keep` pushes what must outlive the arguments, `read` finds the results from its place on.
    pub(super) fn call<R>(
        &mut self,
        call: &Call<'_>,
        effects: &mut Effects,
        keep: impl FnOnce(&mut Stack),
        arguments: &[&dyn Fn(&mut Stack)],
        results: i32,
        read: impl FnOnce(&mut Stack, &World, i32) -> Result<R, Raise>,
    ) -> Result<R, HookError> {
        let hook = || {
            self.state
                .stages
                .get(usize::from(call.stage.0))
                .and_then(|stage| stage.function(call.hook))
        };
        let function = call.function.or_else(hook);
        let site = Site {
            bundle: &self.bundle,
            stage: call.stage,
            hook: call.hook,
            line: function.map_or(0, |function| function.line),
        };
        let Some(function) = function else {
            return Err(site.returned("the script has no such hook"));
        };
        let vm = &self.state.vm;
        let world = vm.shared();
        std::mem::swap(effects, &mut *world.effects.borrow_mut());
        world.hook.set(Some(call.hook));
        world.stage.set(call.stage);
        world
            .conn
            .set(call.who.map(|who| (who.conn, who.peer.origin)));
        let body = |stack: &mut Stack| {
            match call.who {
                Some(who) => conn::push(stack, world, who, call.upgrade)?,
                None => stack.push_nil(),
            }
            keep(stack);
            stack.push_ref(function.function);
            let place = stack.top();
            let mut given = 0;
            if call.who.is_some() && function.arguments > 0 {
                stack.push_copy(CONN);
                given = 1;
            }
            for argument in arguments {
                if given < function.arguments {
                    argument(stack);
                    given += 1;
                }
            }
            stack.call(given, results);
            let result = read(stack, world, place)?;
            if let Some(who) = call.who {
                conn::changes(stack, world, who, CONN)?;
            }
            Ok::<R, Raise>(result)
        };
        let limit = self.limit(call.hook);
        let result = match call.who {
            Some(who) => world.channels.lend(who.channels, || vm.enter(limit, body)),
            None => vm.enter(limit, body),
        };
        world.hook.set(None);
        world.conn.set(None);
        std::mem::swap(effects, &mut *world.effects.borrow_mut());
        let result = match result {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => Err((site.returned(error.0), Cause::Error)),
            Err(stop) => Err((site.stopped(&stop), stop.cause)),
        };
        match result {
            Ok(result) => {
                if vm.memory() > self.collect_at {
                    self.collect();
                }
                Ok(result)
            }
            Err((error, cause)) => {
                self.failed(call, effects, cause);
                Err(error)
            }
        }
    }

    /// Takes back what a call that failed left behind.
    fn failed(&mut self, call: &Call<'_>, effects: &Effects, cause: Cause) {
        if let Some(who) = call.who {
            self.world().conns.borrow_mut().failed(who.conn);
        }
        self.undo_timers(effects);
        match cause {
            Cause::Memory | Cause::Panic => self.rebuild(),
            Cause::Error | Cause::Time => self.collect(),
        }
    }

    pub(super) fn world(&self) -> &World {
        self.state.vm.shared()
    }

    /// Lets go of values that the state keeps.
    pub(super) fn release(&self, hook: Hook, values: &[Ref]) {
        // Takes no memory, so it cannot fail.
        drop(self.state.vm.enter(self.limit(hook), |stack| {
            for value in values {
                stack.release(*value);
            }
        }));
    }

    fn limit(&self, hook: Hook) -> Duration {
        let limits = &self.bundle.hooks().time_limit;
        match hook {
            Hook::Connect => limits.connect,
            Hook::Subscribe | Hook::Unsubscribe => limits.subscribe,
            Hook::Message => limits.message,
            Hook::Batch => limits.batch,
            Hook::Disconnect => limits.disconnect,
            Hook::Load => limits.load,
            Hook::Timer => limits.timer,
        }
    }

    /// Collects garbage if there may be much: at the limit Luau fails instead of looking for some.
    fn collect(&mut self) {
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
    fn rebuild(&mut self) {
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
        let call = Call::of(stage, Hook::Subscribe, who);
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
        let call = Call::of(stage, Hook::Unsubscribe, who);
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
        let call = Call::of(stage, Hook::Message, who);
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
        let call = Call::of(stage, Hook::Disconnect, who);
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
        vm.enter(self.limit(Hook::Load), |stack| {
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
