//! Start-up in order: descriptors, configuration, log, scripts, sockets, workers, ready.
//!
//! [`run`] is called by `cli` once and returns when the process is to end. What follows the start is `live.rs`; why there
//! was none is `error.rs`.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::error::{NotStarted, StartError, io_error};
use super::listen::{self, Admin, Bound};
use super::live::{Inputs, Signals, live};
use super::node::{Node, Rates, count_generation};
use super::reload::unix_seconds;
use super::scripts::{Loaded, Scripts};
use super::watch::Watcher;
use super::{credentials, limits};
use crate::broker::Deliver;
use crate::broker::redis::{self, RedisContext, RedisLink};
use crate::config::{self, BrokerUrl, Config, LoadOptions, MissingCredential, StageLists};
use crate::control::message::ReloadStatus;
use crate::control::server::{self as control, Call};
use crate::control::socket_path as control_path;
use crate::hub::SubscriberCounts;
use crate::log::{self, Log, Sink};
use crate::metrics::http::{self, HttpCall};
use crate::metrics::{NodeMetrics, WorkerMetrics};
use crate::script::LoadReason;
use crate::systemd::{self, Notifier, fds, watchdog};
use crate::types::{Generation, NameHash, NodeId, WorkerId};
use crate::worker::accept::{Acceptor, Listener, Rules};
use crate::worker::counts::Counts;
use crate::worker::inbox::{FromRedis, Inbox};
use crate::worker::message::{HooksFactory, Message};
use crate::worker::state::Place;
use crate::worker::{self, RedisSender, Setup, clock};

/// Runs the daemon until it is stopped. Call it before any other thread exists.
pub fn run(config_path: &Path) -> Result<(), NotStarted> {
    // Before the log's thread, which is there before what it says about them.
    let inherited = fds::take();
    let options = LoadOptions {
        credentials: credentials(),
        missing_credential: MissingCredential::Problem,
        now: clock::since_1970(),
    };
    let mut stages = StageLists::new();
    let loaded = config::load(config_path, &options, &mut stages);
    let journal = systemd::journal_stream();
    let sink = if journal { Sink::Journal } else { Sink::Stderr };
    // A configuration that is refused reaches the journal too, by the levels of none.
    let levels = loaded.as_ref().map_or_else(
        |_| Config::default().log,
        |loaded| loaded.config.log.clone(),
    );
    let log = match log::init(&levels, sink) {
        Ok(log) => Rc::new(log),
        Err(error) => {
            return Err(NotStarted {
                error: io_error("the log's thread")(error),
                logged: false,
            });
        }
    };
    let result = loaded
        .map_err(|problems| {
            let mut lines = lines(&problems);
            lines.extend(super::script_problems(config_path, &options));
            StartError::Refused(lines)
        })
        .and_then(|loaded| {
            begin(Started {
                inherited: inherited?,
                notifier: Notifier::from_environment()?,
                path: config_path.to_path_buf(),
                stages,
                loaded,
                log: Rc::clone(&log),
            })
        });
    result.map_err(|error| {
        if journal {
            error.log();
        }
        NotStarted {
            error,
            logged: journal,
        }
    })
}

/// From the first record to the last.
fn begin(started: Started) -> Result<(), StartError> {
    tracing::info!(
        target: "start",
        event = "start",
        "wsd {} starts with {}",
        env!("CARGO_PKG_VERSION"),
        started.path.display()
    );
    for warning in &started.loaded.warnings {
        tracing::warn!(target: "config", "{warning}");
    }
    limits::raise_descriptors();
    limits::tell_few_descriptors(started.loaded.config.limits.connections);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(io_error("the main thread's runtime"))?;
    runtime.block_on(async {
        let (mut node, inputs) = started.start().await?;
        live(&mut node, inputs).await;
        node.finish().await;
        Ok(())
    })
}

/// What is there before the first thread of its own.
struct Started {
    inherited: Vec<fds::Inherited>,
    notifier: Notifier,
    path: PathBuf,
    stages: StageLists,
    loaded: config::Loaded,
    log: Rc<Log>,
}

impl Started {
    async fn start(self) -> Result<(Node, Inputs), StartError> {
        let started = clock::now();
        let config = Arc::new(self.loaded.config);
        let id = NodeId(random());
        let hash = NameHash::new(random(), random());
        let scripts = Scripts::new((id, hash), self.log.emitter(), started)
            .map_err(io_error("the thread of the hooks' time limits"))?;
        let first = load_first(&scripts, &config)?;
        let signals = Signals::catch().map_err(io_error("signals"))?;
        let Bound {
            public,
            admin,
            unit,
        } = listen::bind(
            self.inherited,
            &config.listen.addresses,
            config.listen.backlog,
            config.admin.http.as_ref(),
            &self.loaded.places,
        )?;
        limits::tell_small_backlogs(&public, config.listen.backlog, unit.as_deref());
        if public.is_empty() {
            return Err(StartError::Refused(vec![no_listener(&self.path)]));
        }
        let calls = serve_control(&config.admin.control, &self.loaded.places)?;
        let crew = Crew::start((id, hash), &config, &first.hooks, &scripts.subscribers).await?;
        let (changed_in, changed) = mpsc::unbounded_channel();
        let watcher = watch_files(self.loaded.files, changed_in);
        let (config_out, config_in) = watch::channel(Arc::clone(&config));
        let admin_address = admin.as_ref().and_then(Admin::address);
        let http = serve_admin(admin, config_in)?;
        let counts = Counts::new(
            crew.inboxes.len(),
            limits::connection_limit(config.limits.connections),
            &config.limits,
        );
        let (listeners, addresses): (Vec<Listener>, Vec<String>) = public.into_iter().unzip();
        let acceptor = accept(listeners, &addresses, &crew.inboxes, &counts, &config)?;
        let watchdog = start_watchdog(&self.notifier, crew.answers, &crew.inboxes)?;
        count_generation(&crew.node_metrics, FIRST, &config);
        let mut node = Node {
            id,
            hash,
            inboxes: crew.inboxes,
            metrics: crew.metrics,
            node_metrics: crew.node_metrics,
            counts,
            redis: crew.redis,
            log: self.log,
            notifier: self.notifier,
            scripts,
            config_path: self.path,
            stages: self.stages,
            config: config_out,
            started_with: config,
            generation: FIRST,
            next_generation: FIRST.0 + 1,
            last_reload: loaded_now(),
            unit,
            waiting: Vec::new(),
            listeners: addresses,
            admin: admin_address,
            acceptor,
            watcher,
            deadline: None,
            started,
            stopping: false,
            rates: Rates::new(started),
        };
        node.announce(first.count);
        let inputs = Inputs {
            calls,
            http,
            changed,
            signals,
            _watchdog: watchdog,
        };
        Ok((node, inputs))
    }
}

/// The workers, all ready, and what reaches them.
struct Crew {
    inboxes: Vec<Arc<Inbox>>,
    metrics: Vec<Arc<WorkerMetrics>>,
    /// Where each answers the watchdog.
    answers: Vec<Arc<AtomicU64>>,
    node_metrics: Arc<NodeMetrics>,
    redis: Option<RedisLink>,
}

impl Crew {
    /// Starts them and the Redis thread, and waits until each has loaded its scripts.
    async fn start(
        (node, hash): (NodeId, NameHash),
        config: &Arc<Config>,
        hooks: &HooksFactory,
        subscribers: &Arc<SubscriberCounts>,
    ) -> Result<Self, StartError> {
        let workers = worker_count(config.runtime.workers);
        let inboxes: Vec<Arc<Inbox>> = (0..workers).map(|_| Arc::new(Inbox::default())).collect();
        let metrics: Vec<Arc<WorkerMetrics>> = (0..workers).map(|_| Arc::default()).collect();
        let answers: Vec<Arc<AtomicU64>> = (0..workers).map(|_| Arc::default()).collect();
        let node_metrics = Arc::new(NodeMetrics::default());
        let redis = start_redis(config, node, hash, &inboxes, &node_metrics)?;
        let (ready, mut started) = mpsc::unbounded_channel();
        for (index, (metrics, answer)) in (0u8..).zip(metrics.iter().zip(&answers)) {
            let sender = redis.clone().map(|link| {
                let send: RedisSender = Arc::new(move |home, commands| link.send(home, commands));
                send
            });
            let setup = Setup {
                place: Place {
                    node,
                    worker: WorkerId(index),
                    workers,
                    hash,
                },
                config: Arc::clone(config),
                generation: FIRST,
                hooks: Arc::clone(hooks),
                inboxes: inboxes.clone(),
                redis: sender,
                subscribers: Arc::clone(subscribers),
                metrics: Arc::clone(metrics),
                answer: Arc::clone(answer),
                started: ready.clone(),
            };
            worker::start(setup).map_err(io_error("a worker's thread"))?;
        }
        wait_for_workers(workers, &mut started).await?;
        Ok(Self {
            inboxes,
            metrics,
            answers,
            node_metrics,
            redis,
        })
    }
}

/// Loads and tries the scripts.
fn load_first(scripts: &Scripts, config: &Config) -> Result<Loaded, StartError> {
    let loaded = scripts
        .load(config, FIRST, LoadReason::Start)
        .map_err(StartError::Refused)?;
    for warning in &loaded.warnings {
        tracing::warn!(target: "hooks", "{warning}");
    }
    Ok(loaded)
}

/// The generation that the process starts with.
const FIRST: Generation = Generation(1);

/// Begins to accept clients.
fn accept(
    listeners: Vec<Listener>,
    addresses: &[String],
    inboxes: &[Arc<Inbox>],
    counts: &Arc<Counts>,
    config: &Config,
) -> Result<Acceptor, StartError> {
    for address in addresses {
        tracing::info!(target: "listen", event = "listening", wsd_listener = address.as_str(), "listening on {address}");
    }
    let rules = Rules::new(config);
    Acceptor::start(listeners, inboxes.to_vec(), Arc::clone(counts), rules)
        .map_err(io_error("the acceptor's thread"))
}

/// Serves the control socket.
fn serve_control(
    configured: &Path,
    places: &[(&str, String)],
) -> Result<mpsc::Receiver<Call>, StartError> {
    let directory = std::env::var_os("RUNTIME_DIRECTORY");
    let path = control_path(directory.as_deref(), configured);
    let listener = control::Listener::bind(&path).map_err(|source| StartError::Control {
        place: listen::place(places, "admin.control"),
        source,
    })?;
    let (sender, calls) = mpsc::channel(64);
    tokio::task::spawn_local(async move {
        if let Err(error) = control::serve(listener, sender).await {
            tracing::error!(target: "control", "admin.control: {error}");
        }
    });
    Ok(calls)
}

/// Serves the admin HTTP, if there is to be one.
fn serve_admin(
    admin: Option<Admin>,
    config: watch::Receiver<Arc<Config>>,
) -> Result<mpsc::Receiver<HttpCall>, StartError> {
    let (sender, calls) = mpsc::channel(64);
    if let Some(admin) = admin {
        let listener = match admin {
            Admin::Tcp(socket) => http::Listener::from_tcp(socket),
            Admin::Unix(socket) => http::Listener::from_unix(socket),
        };
        let listener = listener.map_err(io_error("admin.http"))?;
        tokio::task::spawn_local(http::serve(listener, config, sender));
    }
    Ok(calls)
}

/// Starts the Redis thread, if there is such a broker.
fn start_redis(
    config: &Config,
    node: NodeId,
    hash: NameHash,
    inboxes: &[Arc<Inbox>],
    metrics: &Arc<NodeMetrics>,
) -> Result<Option<RedisLink>, StartError> {
    if config.broker.url == BrokerUrl::Memory {
        return Ok(None);
    }
    let home = |inbox: &Arc<Inbox>| -> Box<dyn Deliver> { Box::new(FromRedis(Arc::clone(inbox))) };
    let context = RedisContext {
        node,
        hash,
        homes: inboxes.iter().map(home).collect(),
        metrics: Arc::clone(metrics),
        seed: random(),
    };
    redis::start(&config.broker, context)
        .map(Some)
        .map_err(io_error("the Redis thread"))
}

/// Starts to feed systemd's watchdog, if it wants to be fed.
fn start_watchdog(
    notifier: &Notifier,
    answers: Vec<Arc<AtomicU64>>,
    inboxes: &[Arc<Inbox>],
) -> Result<Option<systemd::Watchdog>, StartError> {
    let Some(interval) = watchdog::interval() else {
        return Ok(None);
    };
    let inboxes = inboxes.to_vec();
    let ask = Box::new(move |question| {
        for inbox in &inboxes {
            inbox.push(Message::Watchdog(question));
        }
    });
    let late = Box::new(|workers: &[usize], since: Duration| {
        for worker in workers {
            tracing::error!(
                target: "watchdog",
                event = "watchdog_late",
                "worker {worker} has not answered for {} s: the watchdog will not be fed",
                since.as_secs()
            );
        }
    });
    systemd::Watchdog::start(notifier.clone(), interval, answers, ask, late)
        .map(Some)
        .map_err(io_error("the watchdog's thread"))
}

/// Watches the configuration's files; without it a reload must be asked for.
fn watch_files(files: Vec<PathBuf>, changed: mpsc::UnboundedSender<()>) -> Option<Watcher> {
    let changed = Box::new(move || {
        // The loop ends only with the process.
        let _ = changed.send(());
    });
    match Watcher::start(files, changed) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(target: "reload", "files are not watched, use \"wsd reload\": {error}");
            None
        }
    }
}

async fn wait_for_workers(
    workers: usize,
    started: &mut mpsc::UnboundedReceiver<(WorkerId, Result<(), crate::pipeline::HookError>)>,
) -> Result<(), StartError> {
    let mut problems: Vec<String> = Vec::new();
    for _ in 0..workers {
        match started.recv().await {
            Some((_, Ok(()))) => {}
            Some((_, Err(error))) => {
                let problem = error.to_string();
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            None => break,
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(StartError::Refused(problems))
    }
}

/// As many workers as were asked for, or one for each CPU that this process may use.
#[must_use]
pub fn worker_count(configured: usize) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = if configured == 0 {
        available()
    } else {
        configured
    };
    count.clamp(1, WorkerId::MAX)
}

/// The start is the first load.
fn loaded_now() -> ReloadStatus {
    ReloadStatus {
        ok: true,
        at: unix_seconds(),
        problems: Vec::new(),
    }
}

/// There is nowhere to listen.
fn no_listener(path: &Path) -> String {
    format!(
        "{}: listen.addresses: is empty and systemd passes no socket named \"wsd\"; must have an address such as \"127.0.0.1:8080\", or wsd.socket must be started",
        path.display()
    )
}

/// Every problem as it is printed.
pub(super) fn lines(problems: &config::Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

/// A random number; where the system has none to give, one that differs from start to start.
fn random() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        return u64::from(std::process::id()) ^ clock::unix().to_bits();
    }
    u64::from_le_bytes(bytes)
}
