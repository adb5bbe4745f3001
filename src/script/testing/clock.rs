//! The time of a test: `t.clock`, and what happens when it passes.
//!
//! The first `t.clock` of a case, and one that goes back, only sets the clock. Any other lets the time pass: timers whose
//! moment comes run in order, times to live end, limits fill again, and connections expire.

use std::sync::atomic::{AtomicU64, Ordering};

use super::client::now as stopwatch;
use super::effects::{carry_out, close};
use super::{bench, client};
use crate::pipeline::{Effects, Hook, Hooks, TimerId};
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::value::Raise;
use crate::script::world::World;
use crate::types::{Close, ConnId};

/// Both clocks of a test, as bits of seconds.
pub(super) struct Clock {
    now: AtomicU64,
    monotonic: AtomicU64,
}

impl Clock {
    /// Unix seconds.
    pub(super) fn now(&self) -> f64 {
        f64::from_bits(self.now.load(Ordering::Relaxed))
    }

    /// What never goes back.
    pub(super) fn monotonic(&self) -> f64 {
        f64::from_bits(self.monotonic.load(Ordering::Relaxed))
    }

    fn set(&self, now: f64) {
        self.now.store(now.to_bits(), Ordering::Relaxed);
    }

    /// So many seconds pass.
    fn pass(&self, seconds: f64) {
        self.set(self.now() + seconds);
        let monotonic = self.monotonic() + seconds;
        self.monotonic.store(monotonic.to_bits(), Ordering::Relaxed);
    }

    /// As it is when a case begins.
    pub(super) fn reset(&self) {
        self.set(BEGIN);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            now: AtomicU64::new(BEGIN.to_bits()),
            monotonic: AtomicU64::new(BEGIN.to_bits()),
        }
    }
}

/// `t.clock(unix_time)`: what `time.now` says from now on.
pub(super) fn clock(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let Some(time) = stack.number(1).filter(|time| time.is_finite()) else {
        let value = quoted(stack, 1);
        return Err(Raise(format!(
            "t.clock: {value} is no time; must be Unix seconds"
        )));
    };
    let passes = bench(|bench| {
        let passes = bench.clock_is_set && time >= bench.clock.now();
        bench.clock_is_set = true;
        if !passes {
            bench.clock.set(time);
        }
        passes
    })?;
    if passes {
        run_until(stack, time)?;
    }
    for id in bench(client::expired)? {
        close(stack, id, &Close::EXPIRED)?;
    }
    Ok(0)
}

/// Lets the time pass, with the timers whose moment comes on the way.
fn run_until(stack: &mut Stack, time: f64) -> Result<(), Raise> {
    for _ in 0..RUNS_MAX {
        let next = bench(|bench| {
            let left = time - bench.clock.now();
            let end = bench.clock.monotonic() + left;
            let due = bench.timers.iter().copied().enumerate();
            let due = due.min_by(|(_, (a, x)), (_, (b, y))| a.total_cmp(b).then(x.cmp(y)));
            let Some((place, (at, id))) = due.filter(|(_, (at, _))| *at <= end) else {
                bench.clock.pass(left);
                bench.clock.set(time);
                return None;
            };
            bench.timers.remove(place);
            bench.clock.pass((at - bench.clock.monotonic()).max(0.0));
            Some(id)
        })?;
        match next {
            Some(id) => run(stack, id)?,
            None => return Ok(()),
        }
    }
    Err(Raise(format!(
        "t.clock: timers ran {RUNS_MAX} times on the way; let the time pass in smaller steps"
    )))
}

/// Runs one timer; an error in it fails the case.
fn run(stack: &mut Stack, id: TimerId) -> Result<(), Raise> {
    let Some(mut hooks) = bench(|bench| bench.hooks.take())? else {
        return Ok(());
    };
    let mut effects = Effects::default();
    effects.begin();
    let start = stopwatch();
    let run = hooks.on_timer(id, &mut effects);
    let time = start.elapsed();
    bench(|bench| {
        bench.hooks = Some(hooks);
        bench.times.push((Hook::Timer, time));
        if let Some(after) = run.again {
            let due = bench.clock.monotonic() + after.as_secs_f64();
            bench.timers.push((due, id));
        }
    })?;
    match run.error {
        Some(error) => Err(Raise(error.to_string())),
        None => carry_out(stack, effects),
    }
}

/// `conn:expire` of a client; a time that is over closes it at once.
pub(super) fn expire(stack: &mut Stack, id: ConnId, at: Option<f64>) -> Result<(), Raise> {
    let over = bench(|bench| {
        client::set_expires(bench, id, at);
        at.is_some_and(|at| at <= bench.clock.now())
    })?;
    if over {
        close(stack, id, &Close::EXPIRED)?;
    }
    Ok(())
}

/// What the clock shows until `t.clock`.
const BEGIN: f64 = 1_000_000_000.0;
/// Runs of timers in one step.
const RUNS_MAX: u32 = 10_000;
