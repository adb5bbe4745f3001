//! Where the command line meets the layers below it: what `run`, `check` and `test` call.
//!
//! It turns what those layers return into what the subcommands print, and nothing more.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::output;
use crate::config::{
    self, BrokerUrl, Config, LoadOptions, Loaded, MissingCredential, PathPattern, Problem,
    StageLists,
};
use crate::daemon::{self, NotStarted, StartError};
use crate::metrics::HookTable;
use crate::pipeline::HookError;
use crate::script::{self, Breaker, Bundle, Clocks, DeadlineHandle, Host, ScriptReport};
use crate::types::{Generation, NodeId, WorkerId};
use crate::worker::clock;

/// A configuration that is right, and what is worth knowing of it.
#[derive(Debug)]
pub(super) struct Checked {
    /// Each as it is printed, without its count.
    pub(super) warnings: Vec<String>,
    /// The whole configuration, for `--print`.
    pub(super) printed: String,
    /// In `listen.addresses`.
    pub(super) listeners: usize,
    /// As many as would run here.
    pub(super) workers: usize,
    /// `memory` or `redis`.
    pub(super) broker: &'static str,
    /// Without the one that is there when none is written.
    pub(super) routes: usize,
    /// In the order of their names.
    pub(super) scripts: Vec<Script>,
}

/// A script that loads.
#[derive(Debug)]
pub(super) struct Script {
    /// Of the file.
    pub(super) name: String,
    /// The names of those found in it.
    pub(super) hooks: Vec<String>,
}

/// Why a configuration or a script is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    /// All problems as they are printed, a line each.
    pub(super) lines: String,
    /// How many they are.
    pub(super) count: usize,
}

/// Runs the daemon until it ends.
pub(super) fn run(path: &Path) -> ExitCode {
    match daemon::run(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(NotStarted { error, logged }) => {
            if !logged {
                output::error(super::report(&error));
                if let StartError::Refused(problems) = &error {
                    output::error(config::count_line(problems.len()));
                }
            }
            error.exit_code()
        }
    }
}

/// Judges a configuration and its scripts; or says what is wrong with them.
pub(super) fn check(config: &Path) -> Result<Checked, Refusal> {
    let loaded = load(config)?;
    let (scripts, script_warnings) = scripts(&loaded.config)?;
    let config = &loaded.config;
    Ok(Checked {
        warnings: loaded
            .warnings
            .iter()
            .map(warning)
            .chain(script_warnings)
            .collect(),
        printed: config.print(),
        listeners: config.listen.addresses.len(),
        workers: workers(config),
        broker: match config.broker.url {
            BrokerUrl::Memory => "memory",
            BrokerUrl::Redis { .. } | BrokerUrl::RedisUnix(_) | BrokerUrl::Sentinel { .. } => {
                "redis"
            }
        },
        routes: config
            .routes
            .iter()
            .filter(|route| route.path != PathPattern::Any)
            .count(),
        scripts,
    })
}

/// Runs tests and reports on `out`; whether all passed, or why they could not be run.
pub(super) fn test(path: &Path, files: &[PathBuf], out: &mut dyn Write) -> Result<bool, Refusal> {
    // Without a configuration the files stand for themselves.
    let hooks = if path.exists() || files.is_empty() {
        load(path)?.config.hooks
    } else {
        Config::default().hooks
    };
    let files = if files.is_empty() {
        script::test_files(&hooks)
    } else {
        files.to_vec()
    };
    if files.is_empty() {
        let directory = hooks.directory.display();
        output::error(format_args!(
            "no *_test.lua beside the hooks in {directory}"
        ));
        return Ok(false);
    }
    let summary = script::run_tests(&files, &hooks, out).map_err(|error| Refusal {
        lines: format!("the tests could not be run: {error}"),
        count: 1,
    })?;
    // A reader that has gone has seen enough.
    let _ = writeln!(out, "{} passed, {} failed", summary.passed, summary.failed);
    Ok(summary.failed == 0)
}

/// Every script with the hooks found in it, and what is probably a mistake.
fn scripts(config: &Config) -> Result<(Vec<Script>, Vec<String>), Refusal> {
    let refusal = |errors: Vec<HookError>| Refusal {
        count: errors.len(),
        lines: errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    };
    let (bundle, mut problems) = Bundle::load_some(&config.hooks, &config.stages);
    let placeholders = Arc::new(AtomicBool::new(false));
    let host = host(config, Arc::clone(&placeholders)).map_err(|error| Refusal {
        lines: format!("the thread of the hooks' time limits: {error}"),
        count: 1,
    })?;
    let report = script::check(&bundle, &host).map_err(|more| {
        problems.extend(more);
        refusal(std::mem::take(&mut problems))
    })?;
    if !problems.is_empty() {
        return Err(refusal(problems));
    }
    let mut warnings = daemon::script_warnings(&report);
    if placeholders.load(Ordering::Relaxed) {
        warnings.push(
            "warning: wsd.secret: outside the service there are no credentials; scripts got a placeholder"
                .to_owned(),
        );
    }
    let named = |script: ScriptReport| Script {
        name: script.name,
        hooks: script.hooks.iter().map(ToString::to_string).collect(),
    };
    Ok((report.scripts.into_iter().map(named).collect(), warnings))
}

/// What scripts are given that only load to be judged: what they log goes nowhere.
fn host(config: &Config, placeholders: Arc<AtomicBool>) -> std::io::Result<Host> {
    let in_service = credentials().is_some();
    let secrets = script::secrets(&config.hooks);
    Ok(Host {
        node: NodeId(0),
        worker: WorkerId(0),
        generation: Generation(1),
        log: Arc::new(|_| {}),
        now: Arc::new(clock::unix),
        monotonic: Arc::new(clock::unix),
        secret: Arc::new(move |name| match secrets(name) {
            Err(_) if !in_service => {
                placeholders.store(true, Ordering::Relaxed);
                Ok(b"placeholder".to_vec())
            }
            result => result,
        }),
        commons: Arc::default(),
        subscribers: Arc::new(|_| 0),
        deadline: DeadlineHandle::start()?,
        breaker: Breaker::default(),
        calls: HookTable::default(),
        clocks: Clocks {
            now: clock::now,
            cpu: clock::cpu,
        },
    })
}

/// As it is outside the service, where a credential may be missing.
fn load(config: &Path) -> Result<Loaded, Refusal> {
    let options = LoadOptions {
        credentials: credentials(),
        missing_credential: MissingCredential::Placeholder,
        now: clock::since_1970(),
    };
    config::load(config, &options, &mut StageLists::new()).map_err(|problems| {
        let scripts = daemon::script_problems(config, &options);
        let lines = [problems.to_string()]
            .into_iter()
            .chain(scripts.iter().cloned());
        Refusal {
            lines: lines.collect::<Vec<_>>().join("\n"),
            count: problems.count() + scripts.len(),
        }
    })
}

fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// As many as would run here.
fn workers(config: &Config) -> usize {
    daemon::worker_count(config.runtime.workers)
}

/// In the form of compilers, so that an editor tells it from an error: `path:line:column: warning: key: what`.
fn warning(problem: &Problem) -> String {
    let mut place = problem.file.display().to_string();
    if let Some((line, column)) = problem.position {
        place = format!("{place}:{line}:{column}");
    }
    if problem.key.is_empty() {
        format!("{place}: warning: {}", problem.what)
    } else {
        format!("{place}: warning: {}: {}", problem.key, problem.what)
    }
}
