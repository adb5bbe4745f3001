//! `wsd.every` and `wsd.after`: functions that run later.
//!
//! What a call asks for becomes an [`Effect::Timer`]; the function stays here, in [`Timers`], until the worker says that
//! its time has come (`script/timers.rs`).

use std::collections::HashMap;
use std::time::Duration;

use crate::pipeline::{Effect, StageId, TimerId};
use crate::script::convert::quoted;
use crate::script::raw::{Ref, Stack};
use crate::script::value::{Kind, Raise};
use crate::script::world::World;

/// `wsd.after(seconds, f [, "worker"])`
pub(super) fn after(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    timer(stack, world, "wsd.after")
}

/// `wsd.every(seconds, f [, "worker"])`
pub(super) fn every(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    timer(stack, world, "wsd.every")
}

/// The timers of a state.
#[derive(Default)]
pub(in crate::script) struct Timers {
    pub(in crate::script) live: HashMap<TimerId, Timer>,
    /// Where those were made that were cut: a state that is built anew makes them no more.
    pub(in crate::script) ended: Vec<Place>,
}

/// Where a script made a timer: chunk and line.
pub(in crate::script) type Place = (String, u32);

/// One timer.
#[derive(Clone, Debug)]
pub(in crate::script) struct Timer {
    pub(in crate::script) function: Ref,
    /// Where the function begins.
    pub(in crate::script) line: u32,
    /// Whose it is.
    pub(in crate::script) stage: StageId,
    /// Between the end of a run and the next one; `None`: once.
    pub(in crate::script) every: Option<Duration>,
    pub(in crate::script) made: Place,
}

/// Checks the arguments and keeps the function.
fn timer(stack: &mut Stack, world: &World, what: &str) -> Result<i32, Raise> {
    stack.set_top(3);
    let seconds = match stack.number(1) {
        Some(seconds) if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) => seconds,
        _ => {
            let value = quoted(stack, 1);
            return Err(Raise(format!(
                "{what}: the time is {value}; must be a number of seconds from {SECONDS_MIN} to {SECONDS_MAX}"
            )));
        }
    };
    if stack.kind(2) != Kind::Function {
        let kind = stack.kind(2).described();
        return Err(Raise(format!(
            "{what}: is given {kind}; must be a function"
        )));
    }
    let each = match stack.bytes(3) {
        Some(b"worker") => true,
        None if stack.kind(3) == Kind::Nil => false,
        _ => {
            let value = quoted(stack, 3);
            return Err(Raise(format!(
                "{what}: {value}: must be \"worker\" (on each worker) or nothing"
            )));
        }
    };
    // One worker of the node runs what all of them load.
    if world.is_loading() && !each && world.host.worker.0 != 0 {
        return Ok(0);
    }
    let made = stack.place();
    let mut timers = world.timers.borrow_mut();
    if timers.ended.contains(&made) {
        return Ok(0);
    }
    if timers.live.len() >= TIMERS_MAX {
        return Err(Raise(format!(
            "{what}: there are {TIMERS_MAX} timers already"
        )));
    }
    let after = Duration::from_secs_f64(seconds);
    let id = world.host.commons.next_timer();
    world.ask(what, Effect::Timer(id, after))?;
    stack.set_top(2);
    let (_, line) = stack.signature();
    let timer = Timer {
        function: stack.keep(),
        line,
        stage: world.stage.get(),
        every: (what == "wsd.every").then_some(after),
        made,
    };
    timers.live.insert(id, timer);
    Ok(0)
}

/// SPEC §4.
const SECONDS_MIN: f64 = 0.01;
/// Ten years, which no process lasts.
const SECONDS_MAX: f64 = 315_360_000.0;
/// Timers of one state.
const TIMERS_MAX: usize = 1000;
