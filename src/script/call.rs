//! One call of a hook: whether it may be made, the call itself, and what follows from how it ended.
//!
//! Called by `hooks.rs` alone, which says what goes in and what is read from the results. The time that a call takes is
//! counted here, for the metrics and for whoever pays for it.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::{self, Permit, Rests};
use super::conn;
use super::error::{self, Site};
use super::hooks::{CONN, LuaHooks};
use super::load::Chunk;
use super::raw::Stack;
use super::state::Function;
use super::stop::{Cause, Stop};
use super::value::Raise;
use super::world::{Clocks, Host, World};
use crate::config;
use crate::metrics::HookCounters;
use crate::pipeline::{About, Effects, Fault, Hook, HookError, StageId, Who};
use crate::types::ChannelName;
use crate::wire::Upgrade;

/// The call of a hook, before it is known what it is called with.
pub(super) struct Call<'a> {
    pub(super) stage: StageId,
    pub(super) hook: Hook,
    pub(super) who: Option<Who<'a>>,
    pub(super) upgrade: Option<&'a Upgrade>,
    /// What it is about.
    pub(super) channel: Option<&'a ChannelName>,
    /// Not the script's hook: a timer's function.
    pub(super) function: Option<Function>,
}

impl LuaHooks {
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
        let index = usize::from(call.stage.0);
        let stage = self.state.stages.get(index);
        let own = || stage.and_then(|stage| stage.function(call.hook));
        let function = call.function.or_else(own);
        let config = self.bundle.hooks().breaker;
        let now = || (self.host.monotonic)();
        let ip = call.who.map_or("", |who| &*who.peer.ip);
        let strained = self.strained || self.host.breaker.is_strained(now, config, ip);
        let site = Site {
            bundle: &self.bundle,
            stage: call.stage,
            hook: call.hook,
            line: function.map_or(0, |function| function.line),
            strained,
        };
        let (Some(function), Some(script)) = (function, self.scripts.get(index)) else {
            return Err(site.returned("the script has no such hook"));
        };
        let permit = script.breaker.permit(now);
        if permit == Permit::Rest {
            return Err(site.rests());
        }
        let vm = &self.state.vm;
        let world = vm.shared();
        std::mem::swap(effects, &mut *world.effects.borrow_mut());
        world.hook.set(Some(call.hook));
        world.stage.set(call.stage);
        world
            .conn
            .set(call.who.map(|who| (who.conn, who.peer.origin)));
        let body =
            |stack: &mut Stack| run(stack, world, call, function, keep, arguments, results, read);
        let limit = self.limit(call.hook, strained);
        let clock = Clock::start(&self.host.clocks, self.by_cpu);
        let result = match call.who {
            Some(who) => world.channels.lend(who.channels, || {
                world.about.lend(&|| call.about(), || vm.enter(limit, body))
            }),
            None => vm.enter(limit, body),
        };
        let (time, charged) = clock.stop(&self.host.clocks);
        let counters = script.counters(&self.host, call.hook);
        counters.add(time);
        self.spent += charged;
        world.hook.set(None);
        world.conn.set(None);
        std::mem::swap(effects, &mut *world.effects.borrow_mut());
        if permit == Permit::Trial {
            let cut = matches!(&result, Err(stop) if stop.is_cut());
            script.breaker.end_trial(now(), config, cut);
            tell_trial(&script.breaker, config, cut);
        }
        let (error, cause) = match result {
            Ok(Ok(result)) => {
                if vm.memory() > self.collect_at {
                    self.collect();
                }
                return Ok(result);
            }
            Ok(Err(error)) => (site.returned(error.0), Cause::Error),
            Err(stop) => {
                let cut = self.count_cut(&stop, &script.breaker);
                (
                    HookError {
                        cut,
                        ..site.stopped(&stop)
                    },
                    stop.cause,
                )
            }
        };
        match error.fault {
            Fault::MemoryCut | Fault::TimeCut => counters.cuts.inc(),
            Fault::Failed | Fault::Rests => counters.errors.inc(),
        }
        self.after_failure(call, effects, cause);
        let about = call.about().map(Box::new);
        Err(HookError { about, ..error })
    }

    /// A call failed: what it left in its connection's table is taken back, its garbage collected, its state thrown away
    /// if it cannot be trusted.
    fn after_failure(&mut self, call: &Call<'_>, effects: &Effects, cause: Cause) {
        if let Some(who) = call.who {
            self.world().conns.borrow_mut().failed(who.conn);
        }
        self.undo_timers(effects);
        match cause {
            Cause::Memory | Cause::Panic => self.rebuild(),
            Cause::Error | Cause::Time => self.collect(),
        }
    }

    /// The number of a cut that counts: over the memory limit only what took a good part of it itself.
    fn count_cut(&self, stop: &Stop, script: &Arc<breaker::Script>) -> Option<u64> {
        let hooks = self.bundle.hooks();
        if !stop.is_cut() || (stop.cause == Cause::Memory && stop.taken <= hooks.memory / 4) {
            return None;
        }
        let now = (self.host.monotonic)();
        let (number, rests) = self.host.breaker.cut(now, hooks.breaker, script);
        self.tell_rest(rests);
        Some(number)
    }

    /// A script begins to rest.
    pub(super) fn tell_rest(&self, rests: Option<Rests>) {
        let Some(rests) = rests else { return };
        let config = self.bundle.hooks().breaker;
        tracing::error!(
            target: "hooks",
            event = "script_rests",
            wsd_script = rests.path.as_str(),
            wsd_generation = self.host.generation.0,
            "{} rests for {}: cut {} times within {} by calls for {} addresses; hooks.on_error decides meanwhile",
            rests.path,
            error::duration(config.cooldown),
            rests.cuts,
            error::duration(config.window),
            rests.addresses
        );
    }
}

impl<'a> Call<'a> {
    pub(super) const fn of(
        stage: StageId,
        hook: Hook,
        who: Who<'a>,
        channel: Option<&'a ChannelName>,
    ) -> Self {
        Self {
            stage,
            hook,
            who: Some(who),
            upgrade: None,
            channel,
            function: None,
        }
    }

    /// Of a timer's function.
    pub(super) const fn timer(stage: StageId, function: Function) -> Self {
        Self {
            stage,
            hook: Hook::Timer,
            who: None,
            upgrade: None,
            channel: None,
            function: Some(function),
        }
    }

    /// The connection, for the log.
    fn about(&self) -> Option<About> {
        let peer = self.who?.peer;
        Some(About {
            origin: peer.origin,
            ip: peer.ip.clone(),
            user: peer.user.clone(),
            channel: self.channel.or(peer.channel.as_ref()).cloned(),
        })
    }
}

/// The call itself, inside the state.
#[expect(
    clippy::too_many_arguments,
    reason = "what `LuaHooks::call` was given, in one place"
)]
fn run<R>(
    stack: &mut Stack,
    world: &World,
    call: &Call<'_>,
    function: Function,
    keep: impl FnOnce(&mut Stack),
    arguments: &[&dyn Fn(&mut Stack)],
    results: i32,
    read: impl FnOnce(&mut Stack, &World, i32) -> Result<R, Raise>,
) -> Result<R, Raise> {
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
    Ok(result)
}

/// What is kept for a script beside the state that it runs in.
pub(super) struct Script {
    name: Arc<str>,
    /// What the breaker knows of it.
    breaker: Arc<breaker::Script>,
    /// Where its hooks' calls are counted, from the first one on.
    counters: [OnceCell<Arc<HookCounters>>; HOOKS],
}

impl Script {
    pub(super) fn new(host: &Host, chunk: &Chunk) -> Self {
        let path = chunk.path.display().to_string();
        Self {
            name: Arc::clone(&chunk.name),
            breaker: host.breaker.script(&path, chunk.code.hash()),
            counters: Default::default(),
        }
    }

    fn counters(&self, host: &Host, hook: Hook) -> &HookCounters {
        let place = self
            .counters
            .get(hook as usize)
            .unwrap_or(&self.counters[0]);
        place.get_or_init(|| host.calls.counters(host.worker, &self.name, hook.name()))
    }
}

/// Those that are functions of a script, and timers.
const HOOKS: usize = Hook::FUNCTIONS.len() + 1;

/// The beginning of a call.
struct Clock {
    now: Instant,
    cpu: Option<Duration>,
}

impl Clock {
    fn start(clocks: &Clocks, by_cpu: bool) -> Self {
        Self {
            now: (clocks.now)(),
            cpu: by_cpu.then(|| (clocks.cpu)()),
        }
    }

    /// How long it took, and what of that is charged.
    fn stop(self, clocks: &Clocks) -> (Duration, Duration) {
        let time = (clocks.now)().saturating_duration_since(self.now);
        let charged = self
            .cpu
            .map_or(time, |before| (clocks.cpu)().saturating_sub(before));
        (time, charged)
    }
}

/// A rest is over, or not.
fn tell_trial(script: &breaker::Script, config: config::Breaker, cut: bool) {
    let path = script.path();
    if cut {
        tracing::error!(
            target: "hooks",
            event = "script_rests",
            wsd_script = path,
            "{path} rests for another {}: its trial was cut",
            error::duration(config.cooldown)
        );
    } else {
        tracing::info!(
            target: "hooks",
            event = "script_back",
            wsd_script = path,
            "{path} is called again: its trial was not cut"
        );
    }
}
