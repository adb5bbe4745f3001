//! `wsd test`: runs `*_test.lua` files against hooks, without a server.
//!
//! A test file has a state of its own, with the API that scripts have and `require "test"`. `t.load` makes hooks of one
//! script; `testing/client.rs` plays the connections and carries effects out. A case that raises has failed.

mod client;
mod clock;
mod compare;
mod effects;
mod options;

#[cfg(test)]
pub(super) use client::now;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::api::{Entry, json, jwt as tokens};
use super::commons::Commons;
use super::convert::{argument, quoted};
use super::error::Site;
use super::hooks::LuaHooks;
use super::load::Bundle;
use super::raw::{Ref, Stack};
use super::sandbox;
use super::state::State;
use super::value::{Kind, Raise};
use super::world::{Clocks, Host, LoadReason, LogRecord, Secrets, World};
use super::{Breaker, DeadlineHandle, secrets};
use crate::config;
use crate::metrics::HookTable;
use crate::pipeline::{Hook, HookError, StageId, TimerId};
use crate::types::{Generation, NodeId, WorkerId};

/// How many cases there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TestSummary {
    /// That did what they should.
    pub passed: usize,
    /// That did not, files that did not load included.
    pub failed: usize,
}

/// The `*_test.lua` beside the scripts, in lexical order; none if the directory cannot be read.
#[must_use]
pub fn test_files(config: &config::Hooks) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&config.directory)
        .into_iter()
        .flatten()
        .flatten();
    let is_test = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with("_test.lua") && !name.starts_with('.'))
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_test).collect();
    files.sort();
    files
}

/// Runs test files and writes a line for each case; each runs by itself, with `config` for limits, modules and settings.
pub fn run_tests(
    files: &[PathBuf],
    config: &config::Hooks,
    out: &mut dyn Write,
) -> io::Result<TestSummary> {
    let deadline = DeadlineHandle::start()?;
    let mut summary = TestSummary::default();
    for file in files {
        if let Err(problems) = run_file(file, config, &deadline, out, &mut summary)? {
            for problem in problems {
                summary.failed += 1;
                writeln!(out, "{problem}")?;
            }
        }
    }
    Ok(summary)
}

/// What the running test file has made.
struct Bench {
    config: config::Hooks,
    /// Where the file is: scripts are named from there.
    directory: PathBuf,
    deadline: DeadlineHandle,
    clock: Arc<clock::Clock>,
    /// The running case has said what time it is.
    clock_is_set: bool,
    /// When timers are due, by the monotonic clock.
    timers: Vec<(f64, TimerId)>,
    /// What scripts share in the running case.
    commons: Arc<Commons>,
    log: mpsc::Sender<LogRecord>,
    cases: Vec<(String, Ref)>,
    hooks: Option<LuaHooks>,
    clients: Vec<client::Client>,
    /// `t.published` of the running case.
    published: Option<Ref>,
    /// The metatable of what `t.conn` gives.
    methods: Option<Ref>,
    /// How long each hook took, in order.
    times: Vec<(Hook, Duration)>,
}

thread_local! {
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

/// Asks the bench; never while Lua runs.
fn bench<R>(f: impl FnOnce(&mut Bench) -> R) -> Result<R, Raise> {
    BENCH.with_borrow_mut(|bench| match bench {
        Some(bench) => Ok(f(bench)),
        None => Err("no test is running".into()),
    })
}

type Problems = Result<(), Vec<HookError>>;

fn run_file(
    file: &Path,
    config: &config::Hooks,
    deadline: &DeadlineHandle,
    out: &mut dyn Write,
    summary: &mut TestSummary,
) -> io::Result<Problems> {
    let config = config::Hooks {
        time_limit: config::TimeLimits {
            load: FILE_LIMIT,
            ..config.time_limit
        },
        ..config.clone()
    };
    let bundle = match Bundle::single(&config, file) {
        Ok(bundle) => bundle,
        Err(problems) => return Ok(Err(problems)),
    };
    let (log, records) = mpsc::channel();
    let clock = Arc::<clock::Clock>::default();
    let host = host(&log, &clock, &Arc::default(), deadline, secrets(&config));
    let state = match State::empty(&bundle, &host) {
        Ok(state) => state,
        Err(problem) => return Ok(Err(vec![problem])),
    };
    BENCH.set(Some(Bench {
        directory: file.parent().map_or_else(PathBuf::new, Path::to_owned),
        config,
        deadline: deadline.clone(),
        clock,
        clock_is_set: false,
        timers: Vec::new(),
        commons: Arc::default(),
        log,
        cases: Vec::new(),
        hooks: None,
        clients: Vec::new(),
        published: None,
        methods: None,
        times: Vec::new(),
    }));
    let result = run_cases(&state, &bundle, &records, out, summary);
    BENCH.set(None);
    result
}

fn run_cases(
    state: &State,
    bundle: &Bundle,
    records: &mpsc::Receiver<LogRecord>,
    out: &mut dyn Write,
    summary: &mut TestSummary,
) -> io::Result<Problems> {
    let site = Site {
        bundle,
        stage: StageId(0),
        hook: Hook::Load,
        line: 0,
        strained: false,
    };
    let vm = &state.vm;
    let run = |body: &mut dyn FnMut(&mut Stack) -> Result<(), Raise>| -> Result<(), HookError> {
        vm.shared().hook.set(Some(Hook::Load));
        let result = vm.enter(FILE_LIMIT, body);
        vm.shared().hook.set(None);
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(site.returned(error.0)),
            Err(stop) => Err(site.stopped(&stop)),
        }
    };
    let table = run(&mut |stack| install(stack, state));
    let loaded = table.and_then(|()| {
        run(&mut |stack| {
            let Some(chunk) = bundle.scripts().first() else {
                return Ok(());
            };
            sandbox::push_environment(stack, vm.shared().kept()?);
            if !stack.push_chunk(chunk.title(), &chunk.code, 1) {
                return Err("not enough memory for the file".into());
            }
            stack.call(0, 0);
            Ok(())
        })
    });
    if let Err(mut problem) = loaded {
        problem.hook = None;
        return Ok(Err(vec![problem]));
    }
    let cases = bench(|bench| bench.cases.clone()).unwrap_or_default();
    for (name, function) in cases {
        drop(bench(client::reset));
        let result = run(&mut |stack| {
            client::begin_case(stack, vm.shared())?;
            stack.push_ref(function);
            stack.call(0, 0);
            Ok(())
        });
        match &result {
            Ok(()) => {
                summary.passed += 1;
                let times = bench(|bench| times(&bench.times)).unwrap_or_default();
                writeln!(out, "ok: {name}{times}")?;
            }
            Err(error) => {
                summary.failed += 1;
                writeln!(
                    out,
                    "{}:{}: {name}: {}",
                    error.script, error.line, error.text
                )?;
            }
        }
        for record in records.try_iter() {
            let level = format!("{:?}", record.level).to_lowercase();
            writeln!(out, "  {level}: {}", record.text)?;
        }
    }
    Ok(Ok(()))
}

/// ` (on_connect 41 µs, on_message 2 × 12 µs)`
fn times(times: &[(Hook, Duration)]) -> String {
    let mut list: Vec<(Hook, u32, Duration)> = Vec::new();
    for (hook, time) in times {
        match list.iter_mut().find(|(known, _, _)| known == hook) {
            Some((_, count, sum)) => {
                *count += 1;
                *sum += *time;
            }
            None => list.push((*hook, 1, *time)),
        }
    }
    if list.is_empty() {
        return String::new();
    }
    let list: Vec<String> = list
        .into_iter()
        .map(|(hook, count, sum)| {
            let each = sum.checked_div(count).unwrap_or_default().as_micros();
            let count = if count == 1 {
                String::new()
            } else {
                format!("{count} × ")
            };
            format!("{hook} {count}{each} µs")
        })
        .collect();
    format!(" ({})", list.join(", "))
}

fn host(
    log: &mpsc::Sender<LogRecord>,
    clock: &Arc<clock::Clock>,
    commons: &Arc<Commons>,
    deadline: &DeadlineHandle,
    secret: Secrets,
) -> Host {
    let log = log.clone();
    let (now, monotonic) = (Arc::clone(clock), Arc::clone(clock));
    Host {
        node: NodeId(1),
        worker: WorkerId(0),
        generation: Generation(1),
        log: Arc::new(move |record| drop(log.send(record))),
        now: Arc::new(move || now.now()),
        monotonic: Arc::new(move || monotonic.monotonic()),
        secret,
        commons: Arc::clone(commons),
        subscribers: Arc::new(|channel| {
            bench(|bench| client::subscribers(bench, channel)).unwrap_or(0)
        }),
        deadline: deadline.clone(),
        breaker: Breaker::default(),
        calls: HookTable::default(),
        clocks: Clocks {
            now: client::now,
            cpu: || Duration::ZERO,
        },
    }
}

const FUNCTIONS: &[Entry] = &[
    (c"batch", client::batch),
    (c"case", case),
    (c"clock", clock::clock),
    (c"conn", options::conn),
    (c"eq", compare::eq),
    (c"jwt", jwt),
    (c"load", load),
];

/// Makes what `require "test"` gives.
fn install(stack: &mut Stack, state: &State) -> Result<(), Raise> {
    let vm = &state.vm;
    stack.push_table(0, FUNCTIONS.len() + 1);
    for (name, function) in FUNCTIONS {
        sandbox::function_into(stack, vm, 1, name, *function);
    }
    vm.shared().test.set(Some(stack.keep()));
    stack.push_table(0, 1);
    stack.push_table(0, client::METHODS.len());
    for (name, function) in client::METHODS {
        sandbox::function_into(stack, vm, 2, name, *function);
    }
    stack.set_named(1, "__index");
    let methods = stack.keep();
    bench(|bench| bench.methods = Some(methods))
}

/// `t.case(name, f)`
fn case(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let (Some(name), Kind::Function) = (stack.text(1), stack.kind(2)) else {
        return Err("t.case: must be given a name and a function".into());
    };
    let name = name.to_owned();
    stack.set_top(2);
    let function = stack.keep();
    bench(|bench| bench.cases.push((name, function)))?;
    Ok(0)
}

/// `t.jwt(claims, key [, alg])` → a signed token; HS256 unless `alg` says otherwise.
fn jwt(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    stack.set_top(3);
    if stack.kind(1) != Kind::Table {
        let value = quoted(stack, 1);
        return Err(Raise(format!(
            "t.jwt: the claims are {value}; must be a table"
        )));
    }
    let claims = json::encode_value(stack, world, 1)
        .map_err(|error| Raise(format!("t.jwt: {}", error.0)))?;
    let key = argument(stack, 2, "t.jwt", "the key")?;
    let alg = match (stack.kind(3), stack.text(3)) {
        (Kind::Nil, _) => "HS256",
        (_, Some(alg)) => alg,
        _ => return Err("t.jwt: the algorithm must be a string".into()),
    };
    let token = tokens::sign(&claims, key, alg).map_err(|why| Raise(format!("t.jwt: {why}")))?;
    stack.push_bytes(token.as_bytes());
    Ok(1)
}

/// `t.load(path [, { settings, secrets }])`: a new state with that script alone.
fn load(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let Some(path) = stack.text(1).map(ToOwned::to_owned) else {
        let value = quoted(stack, 1);
        return Err(Raise(format!(
            "t.load: {value} is no path; must be a string"
        )));
    };
    stack.set_top(2);
    stack.named(2, "settings");
    let settings = match stack.kind(3) {
        Kind::Nil => None,
        _ => match setting(stack, 3, 0)? {
            toml::Value::Table(table) => Some(table),
            // `{}` is a list as well.
            toml::Value::Array(list) if list.is_empty() => Some(toml::Table::new()),
            _ => return Err("t.load: settings must be a table with names".into()),
        },
    };
    stack.named(2, "secrets");
    let mut secrets: HashMap<String, Vec<u8>> = HashMap::new();
    let mut from = 0;
    while let Some(next) = stack.next(4, from) {
        from = next;
        let (Some(name), Some(value)) = (stack.text(5), stack.bytes(6)) else {
            return Err("t.load: secrets must be a table of strings".into());
        };
        secrets.insert(name.to_owned(), value.to_vec());
        stack.set_top(4);
    }
    let (config, file, host) = bench(|bench| {
        let mut config = bench.config.clone();
        config.settings = settings.unwrap_or(config.settings);
        let secret: Secrets = Arc::new(move |name| {
            let value = secrets.get(name).cloned();
            value.ok_or_else(|| "no such secret; t.load was not given it".to_owned())
        });
        let host = host(
            &bench.log,
            &bench.clock,
            &bench.commons,
            &bench.deadline,
            secret,
        );
        (config, bench.directory.join(&path), host)
    })?;
    let problem = |problems: Vec<HookError>| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Raise(format!("t.load: {}", texts.join("; ")))
    };
    let bundle = Bundle::single(&config, &file).map_err(problem)?;
    let state = State::build(&bundle, &host, LoadReason::Start, Vec::new()).map_err(problem)?;
    let mut hooks = LuaHooks::new(bundle, host, state);
    let effects = crate::pipeline::Hooks::take_loaded(&mut hooks);
    bench(|bench| {
        bench.hooks = Some(hooks);
        bench.timers.clear();
    })?;
    effects::carry_out(stack, effects)?;
    Ok(0)
}

/// A Lua value as a setting.
fn setting(stack: &mut Stack, place: i32, depth: usize) -> Result<toml::Value, Raise> {
    if depth > 16 {
        return Err("t.load: settings: more than 16 levels".into());
    }
    Ok(match stack.kind(place) {
        Kind::Boolean => toml::Value::Boolean(stack.truthy(place)),
        Kind::Number => toml::Value::Float(stack.number(place).unwrap_or(0.0)),
        Kind::String => toml::Value::String(
            String::from_utf8_lossy(stack.bytes(place).unwrap_or_default()).into_owned(),
        ),
        Kind::Table if stack.length(place) > 0 || is_empty(stack, place) => {
            let mut list = Vec::new();
            for n in 1..=stack.length(place) {
                stack.element(place, n);
                let top = stack.top();
                list.push(setting(stack, top, depth + 1)?);
                stack.pop();
            }
            toml::Value::Array(list)
        }
        Kind::Table => {
            let mut table = toml::Table::new();
            let mut from = 0;
            while let Some(next) = stack.next(place, from) {
                from = next;
                let value = stack.top();
                let name = stack
                    .text(value - 1)
                    .ok_or_else(|| Raise("t.load: settings: a name is no string".into()))?
                    .to_owned();
                let content = setting(stack, value, depth + 1)?;
                table.insert(name, content);
                stack.set_top(value - 2);
            }
            toml::Value::Table(table)
        }
        kind => {
            let kind = kind.described();
            return Err(Raise(format!(
                "t.load: settings: {kind} cannot be a setting"
            )));
        }
    })
}

fn is_empty(stack: &mut Stack, place: i32) -> bool {
    let top = stack.top();
    let is_empty = stack.next(place, 0).is_none();
    stack.set_top(top);
    is_empty
}

/// For a test file and for each case.
const FILE_LIMIT: Duration = Duration::from_secs(10);
