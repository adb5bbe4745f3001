//! A bundle → a Lua state with its scripts loaded: top-level code, `on_load`, and which hooks each has.
//!
//! Start, reload, rebuild and check build states by this alone, on the thread where they are to live.

use std::rc::Rc;
use std::sync::Arc;

use super::api::timer::Place;
use super::error::Site;
use super::load::{Bundle, Chunk};
use super::raw::{Ref, Stack, Vm};
use super::sandbox;
use super::value::{Kind, Raise};
use super::world::{Host, LoadReason, World};
use crate::pipeline::{Fault, Hook, HookError, StageId};

/// A state that is ready.
pub(super) struct State {
    pub(super) vm: Vm<World>,
    pub(super) stages: Vec<Stage>,
}

/// What one script defines.
#[derive(Default)]
pub(super) struct Stage {
    functions: [Option<Function>; Hook::FUNCTIONS.len()],
    /// Warnings for `wsd check`: line (0: unknown) and text.
    pub(super) warnings: Vec<(u32, String)>,
}

/// A hook's function.
#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) function: Ref,
    /// How many arguments it takes.
    pub(super) arguments: i32,
    /// Where it begins.
    pub(super) line: u32,
}

impl Stage {
    pub(super) fn function(&self, hook: Hook) -> Option<Function> {
        self.functions.get(hook as usize).copied().flatten()
    }
}

impl State {
    /// Builds it, without the timers that were made at those places; the errors are those of every script that did not load.
    pub(super) fn build(
        bundle: &Arc<Bundle>,
        host: &Host,
        why: LoadReason,
        ended: Vec<Place>,
    ) -> Result<Self, Vec<HookError>> {
        let mut state = Self::empty(bundle, host).map_err(|problem| vec![problem])?;
        state.vm.shared().timers.borrow_mut().ended = ended;
        let mut problems = Vec::new();
        for (place, chunk) in bundle.scripts().iter().enumerate() {
            let stage = StageId(u16::try_from(place).unwrap_or(u16::MAX));
            match state.load(bundle, stage, chunk, why) {
                Ok(loaded) => state.stages.push(loaded),
                Err(problem) => {
                    let fatal = problem.fault == Fault::MemoryCut;
                    problems.push(problem);
                    state.stages.push(Stage::default());
                    if fatal {
                        break;
                    }
                }
            }
        }
        if problems.is_empty() {
            Ok(state)
        } else {
            Err(problems)
        }
    }

    /// A state with libraries and API, in which no script has run.
    pub(super) fn empty(bundle: &Arc<Bundle>, host: &Host) -> Result<Self, HookError> {
        let limit = bundle.hooks().time_limit.load;
        let world = Rc::new(World::new(host.clone(), Arc::clone(bundle)));
        let first = Site {
            bundle,
            stage: StageId(0),
            hook: Hook::Load,
            line: 0,
            strained: false,
        };
        let vm = Vm::new(bundle.hooks().memory, &host.deadline, world)
            .map_err(|text| first.returned(text))?;
        vm.enter(limit, |stack| sandbox::install(stack, &vm))
            .map_err(|stop| first.stopped(&stop))?;
        Ok(Self {
            vm,
            stages: Vec::new(),
        })
    }

    /// Runs one script.
    fn load(
        &self,
        bundle: &Bundle,
        stage: StageId,
        chunk: &Chunk,
        why: LoadReason,
    ) -> Result<Stage, HookError> {
        let vm = &self.vm;
        let world = vm.shared();
        let site = Site {
            bundle,
            stage,
            hook: Hook::Load,
            line: 0,
            strained: false,
        };
        world.hook.set(Some(Hook::Load));
        world.stage.set(stage);
        world.effects.borrow_mut().begin();
        let result = vm.enter(bundle.hooks().time_limit.load, |stack| {
            run_script(stack, vm, chunk, why)
        });
        world.hook.set(None);
        match result {
            Ok(Ok(stage)) => Ok(stage),
            Ok(Err(error)) => Err(site.returned(error.0)),
            Err(stop) => {
                let mut error = site.stopped(&stop);
                if error.text.starts_with("attempt to yield") {
                    error.text = "a script cannot yield while it is loading".into();
                }
                Err(error)
            }
        }
    }
}

fn run_script(
    stack: &mut Stack,
    vm: &Vm<World>,
    chunk: &Chunk,
    why: LoadReason,
) -> Result<Stage, Raise> {
    sandbox::push_environment(stack, vm.shared().kept()?);
    let environment = stack.top();
    if !stack.push_chunk(chunk.title(), &chunk.code, environment) {
        return Err("not enough memory for the script".into());
    }
    stack.call(0, 0);
    stack.named(environment, Hook::Load.name());
    match stack.kind(stack.top()) {
        Kind::Nil => {}
        Kind::Function => {
            stack.push_bytes(why.name().as_bytes());
            stack.call(1, 1);
            let result = stack.top();
            if !matches!(stack.kind(result), Kind::Nil | Kind::Boolean) {
                let wanted = "nothing, true or false";
                return Err(super::error::must_return(stack.kind(result), wanted));
            }
            if stack.kind(result) == Kind::Boolean && !stack.truthy(result) {
                return Err("returned false: the script refuses to be loaded".into());
            }
        }
        kind => {
            return Err(Raise(format!(
                "on_load is {}; must be a function",
                kind.described()
            )));
        }
    }
    stack.set_top(environment);
    let mut stage = Stage::default();
    for (hook, found) in Hook::FUNCTIONS.iter().zip(&mut stage.functions) {
        stack.named(environment, hook.name());
        match stack.kind(stack.top()) {
            Kind::Nil => stack.pop(),
            Kind::Function => {
                let (arguments, line) = stack.signature();
                *found = Some(Function {
                    function: stack.keep(),
                    arguments,
                    line,
                });
            }
            kind => {
                let kind = kind.described();
                return Err(Raise(format!("{hook} is {kind}; must be a function")));
            }
        }
    }
    stage.warnings = warnings(stack, environment);
    stack.set_top(environment);
    sandbox::watch_globals(stack, vm, environment);
    Ok(stage)
}

/// What in a script's globals was probably not meant.
fn warnings(stack: &mut Stack, environment: i32) -> Vec<(u32, String)> {
    let mut list = Vec::new();
    let mut from = 0;
    while let Some(next) = stack.next(environment, from) {
        from = next;
        let value = stack.top();
        let name = stack.text(value - 1).unwrap_or("?").to_owned();
        let is_hook = Hook::FUNCTIONS.iter().any(|hook| hook.name() == name);
        match stack.kind(value) {
            Kind::Function if name.starts_with("on_") && !is_hook => {
                let (_, line) = stack.signature();
                let near = nearest(&name)
                    .map_or_else(String::new, |hook| format!("; did you mean {hook}?"));
                list.push((line, format!("{name} is no hook{near}")));
            }
            Kind::Function => {}
            _ if name == "_G" => {}
            _ => list.push((0, format!("global {name:?}: write local before it"))),
        }
        stack.set_top(value - 2);
    }
    list.sort();
    list
}

/// The hook whose name differs in the fewest letters, if few do.
fn nearest(name: &str) -> Option<Hook> {
    Hook::FUNCTIONS
        .iter()
        .map(|hook| (distance(name, hook.name()), *hook))
        .filter(|(distance, _)| *distance <= 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, hook)| hook)
}

/// Letters to add, leave out or change.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (y, cell) in b.bytes().zip(row.iter_mut().skip(1)) {
            let cost = corner + usize::from(x != y);
            corner = *cell;
            left = cost.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
