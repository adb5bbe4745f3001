//! From the files of a generation to what makes its hooks on every worker.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{self, Config, LoadOptions};
use crate::hub::SubscriberCounts;
use crate::log::{Emitter, Record};
use crate::metrics::HookTable;
use crate::script::{
    self, Breaker, Bundle, Clocks, Commons, DeadlineHandle, Host, LoadReason, LogRecord,
};
use crate::types::{ChannelName, Generation, NameHash, NodeId, WorkerId};
use crate::worker::clock;
use crate::worker::message::HooksFactory;

/// What every generation of scripts is given of the process around it.
pub(super) struct Scripts {
    node: NodeId,
    deadline: DeadlineHandle,
    breaker: Breaker,
    calls: HookTable,
    emitter: Emitter,
    started: Instant,
    /// What the scripts of all workers share, over reloads.
    commons: Arc<Commons>,
    /// Where all workers count the subscribers of channels.
    pub(super) subscribers: Arc<SubscriberCounts>,
}

/// A generation's scripts, loaded once and found right.
pub(super) struct Loaded {
    pub(super) hooks: HooksFactory,
    /// How many scripts there are.
    pub(super) count: usize,
    /// What the operator should know.
    pub(super) warnings: Vec<String>,
}

impl Scripts {
    /// Starts the thread that stops scripts at their time limit.
    pub(super) fn new(
        (node, hash): (NodeId, NameHash),
        emitter: Emitter,
        started: Instant,
    ) -> std::io::Result<Self> {
        Ok(Self {
            node,
            deadline: DeadlineHandle::start()?,
            breaker: Breaker::default(),
            calls: HookTable::default(),
            emitter,
            started,
            commons: Arc::default(),
            subscribers: Arc::new(SubscriberCounts::new(hash)),
        })
    }

    /// Reads, compiles and tries everything in a state of its own; every problem as it is printed.
    pub(super) fn load(
        &self,
        config: &Config,
        generation: Generation,
        why: LoadReason,
    ) -> Result<Loaded, Vec<String>> {
        let texts = |errors: Vec<crate::pipeline::HookError>| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (bundle, mut problems) = Bundle::load_some(&config.hooks, &config.stages);
        let host = self.host(config, generation);
        let trial = Host {
            commons: Arc::default(),
            ..host(WorkerId(0))
        };
        let report = match script::check(&bundle, &trial) {
            Ok(report) if problems.is_empty() => report,
            Ok(_) => return Err(texts(problems)),
            Err(more) => {
                problems.extend(more);
                return Err(texts(problems));
            }
        };
        if config.hooks.test {
            run_tests(config)?;
        }
        let count = bundle.names().count();
        let hooks: HooksFactory = Arc::new(move |worker| script::build(&bundle, host(worker), why));
        Ok(Loaded {
            hooks,
            count,
            warnings: warnings(&report),
        })
    }

    /// What is counted of hooks, and what scripts count themselves, as Prometheus' text.
    pub(super) fn metrics_text(&self) -> String {
        self.calls.to_text() + &self.commons.metrics_text()
    }

    /// The scripts that rest.
    pub(super) fn resting(&self) -> Vec<String> {
        self.breaker.resting()
    }

    /// Makes what a worker's state is given.
    fn host(
        &self,
        config: &Config,
        generation: Generation,
    ) -> impl Fn(WorkerId) -> Host + Send + Sync + use<> {
        let (node, started) = (self.node, self.started);
        let emitter = self.emitter.clone();
        let log: Arc<dyn Fn(LogRecord) + Send + Sync> =
            Arc::new(move |record| emitter.emit(to_record(record)));
        let secret = script::secrets(&config.hooks);
        let deadline = self.deadline.clone();
        let (breaker, calls) = (self.breaker.clone(), self.calls.clone());
        let commons = Arc::clone(&self.commons);
        let counts = Arc::clone(&self.subscribers);
        let subscribers: Arc<dyn Fn(&ChannelName) -> u64 + Send + Sync> =
            Arc::new(move |channel| counts.get(channel));
        move |worker| Host {
            node,
            worker,
            generation,
            log: Arc::clone(&log),
            now: Arc::new(clock::unix),
            monotonic: Arc::new(move || {
                clock::now()
                    .saturating_duration_since(started)
                    .as_secs_f64()
            }),
            secret: Arc::clone(&secret),
            commons: Arc::clone(&commons),
            subscribers: Arc::clone(&subscribers),
            deadline: deadline.clone(),
            breaker: breaker.clone(),
            calls: calls.clone(),
            clocks: Clocks {
                now: clock::now,
                cpu: clock::cpu,
            },
        }
    }
}

/// Each as it is printed.
pub(crate) fn warnings(report: &script::CheckReport) -> Vec<String> {
    let of = |script: &script::ScriptReport| {
        let path = script.path.clone();
        let show = move |(line, text): &(u32, String)| match line {
            0 => format!("{path}: warning: {text}"),
            line => format!("{path}:{line}: warning: {text}"),
        };
        script.warnings.iter().map(show).collect::<Vec<_>>()
    };
    report.scripts.iter().flat_map(of).collect()
}

/// What is wrong with the scripts of a configuration that is refused: both are reported at once. They are compiled only,
/// as nothing may run that the configuration does not allow.
pub(crate) fn problems(path: &Path, options: &LoadOptions) -> Vec<String> {
    let hooks = config::hooks(path, options);
    if !hooks.directory.is_dir() {
        return Vec::new();
    }
    let bundle = Bundle::load(&hooks, &[None]);
    bundle
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Runs the `*_test.lua` beside the scripts; what failed is a problem.
fn run_tests(config: &Config) -> Result<(), Vec<String>> {
    let mut out = Vec::new();
    let files = script::test_files(&config.hooks);
    match script::run_tests(&files, &config.hooks, &mut out) {
        Ok(summary) if summary.failed == 0 => return Ok(()),
        Ok(_) => {}
        Err(error) => return Err(vec![format!("hooks.test: {error}")]),
    }
    let text = String::from_utf8_lossy(&out).into_owned();
    Err(text
        .lines()
        .filter(|line| !line.starts_with("ok"))
        .map(str::to_owned)
        .collect())
}

/// A script's line as the log knows it.
fn to_record(record: LogRecord) -> Record {
    let mut own: Vec<(&'static str, String)> = Vec::new();
    let mut add = |name, value: Option<String>| own.extend(value.map(|value| (name, value)));
    add(
        "wsd_script",
        Some(record.script).filter(|script| !script.is_empty()),
    );
    add(
        "wsd_line",
        Some(record.line)
            .filter(|line| *line > 0)
            .map(|line| line.to_string()),
    );
    add("wsd_hook", record.hook.map(|hook| hook.name().to_owned()));
    if let Some(about) = record.about {
        add("wsd_conn", Some(about.origin.to_string()));
        add(
            "wsd_remote",
            Some(about.ip.into()).filter(|ip: &String| !ip.is_empty()),
        );
        add("wsd_user", about.user.map(Into::into));
        add(
            "wsd_channel",
            about.channel.map(|channel| channel.as_str().to_owned()),
        );
    }
    add("wsd_generation", Some(record.generation.to_string()));
    Record {
        level: record.level,
        target: "script",
        message: record.text,
        own,
        fields: record.fields,
    }
}
