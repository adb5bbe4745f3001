//! A reload: everything is loaded and tried, every worker makes its new state, and when all are ready, they switch. On
//! any problem nothing changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::credentials;
use super::node::Node;
use crate::config::{self, BrokerUrl, Config, LoadOptions, MissingCredential, When};
use crate::control::message::ReloadStatus;
use crate::pipeline::HookError;
use crate::script::LoadReason;
use crate::types::{Generation, WorkerId};
use crate::worker::accept::Rules;
use crate::worker::clock;
use crate::worker::message::{Message, Prepared, Ready};

/// What a reload did.
pub(super) struct Reloaded {
    pub(super) generation: Generation,
    /// What the operator should know.
    pub(super) notes: Vec<String>,
}

/// How long a worker may take to load or to switch. One that is stuck for longer is the watchdog's.
const PATIENCE: Duration = Duration::from_secs(30);

impl Node {
    /// Loads configuration and scripts again. On a problem nothing changes; every problem as it is printed.
    pub(super) async fn reload(&mut self) -> Result<Reloaded, Vec<String>> {
        let text = self.status_text(clock::now());
        let guard = self.notifier.reloading(&format!("reloading; {text}"));
        let result = self.try_reload().await;
        self.last_reload = ReloadStatus {
            ok: result.is_ok(),
            at: unix_seconds(),
            problems: result.as_ref().err().cloned().unwrap_or_default(),
        };
        self.node_metrics.reload_ok.set(u64::from(result.is_ok()));
        match &result {
            Ok(reloaded) => {
                self.node_metrics.reloads_ok.inc();
                let notes: String = reloaded
                    .notes
                    .iter()
                    .map(|note| format!("; {note}"))
                    .collect();
                tracing::info!(
                    target: "reload",
                    event = "reloaded",
                    wsd_generation = reloaded.generation.0,
                    "reloaded: generation {}{notes}",
                    reloaded.generation
                );
            }
            Err(problems) => {
                self.node_metrics.reloads_refused.inc();
                let count = problems.len();
                let s = if count == 1 { "" } else { "s" };
                tracing::error!(
                    target: "reload",
                    event = "reload_refused",
                    wsd_generation = self.generation.0,
                    "reload refused: {count} problem{s}; generation {} stays\n{}",
                    self.generation,
                    problems.join("\n")
                );
            }
        }
        guard.done(&self.status_text(clock::now()));
        result
    }

    async fn try_reload(&mut self) -> Result<Reloaded, Vec<String>> {
        let options = LoadOptions {
            credentials: credentials(),
            missing_credential: MissingCredential::Problem,
            now: clock::since_1970(),
        };
        let mut stages = self.stages.clone();
        let loaded = match config::load(&self.config_path, &options, &mut stages) {
            Ok(loaded) => loaded,
            Err(problems) => {
                self.watch_files(problems.files.clone());
                let mut lines = super::start::lines(&problems);
                lines.extend(super::script_problems(&self.config_path, &options));
                return Err(lines);
            }
        };
        let new = Arc::new(loaded.config.resuming(&self.config()));
        self.watch_files(loaded.files);
        let generation = Generation(self.next_generation);
        let scripts = self.scripts.load(&new, generation, LoadReason::Reload)?;
        self.next_generation += 1;

        let (ready, mut answers) = mpsc::unbounded_channel();
        self.tell_all(|| {
            Message::Prepare(Box::new(Prepared {
                generation,
                config: Arc::clone(&new),
                hooks: Arc::clone(&scripts.hooks),
                ready: ready.clone(),
            }))
        });
        let problems = self.all(&mut answers).await;
        if !problems.is_empty() {
            self.tell_all(|| Message::Discard(generation));
            return Err(problems);
        }
        self.switch(generation, &new, &ready, &mut answers).await;
        self.stages = stages;
        let mut notes: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        notes.extend(scripts.warnings);
        notes.extend(
            self.waiting
                .iter()
                .map(|key| format!("{key} needs a restart to take effect")),
        );
        Ok(Reloaded { generation, notes })
    }

    /// Every worker is ready: from here on nothing can refuse.
    async fn switch(
        &mut self,
        generation: Generation,
        new: &Arc<Config>,
        ready: &Ready,
        answers: &mut mpsc::UnboundedReceiver<(WorkerId, Result<(), HookError>)>,
    ) {
        self.tell_all(|| Message::Switch(generation, Arc::clone(new), ready.clone()));
        for late in self.all(answers).await {
            tracing::error!(target: "reload", "{late}");
        }
        // What a worker published before it switched stands in the inboxes before this.
        self.tell_all(|| Message::Retire);
        self.waiting = waiting(&self.started_with, new);
        self.generation = generation;
        super::node::count_generation(&self.node_metrics, generation, new);
        self.log.set_levels(&new.log);
        if new.limits.connections != self.config.borrow().limits.connections {
            super::limits::tell_few_descriptors(new.limits.connections);
        }
        self.counts.set_limits(
            super::limits::connection_limit(new.limits.connections),
            &new.limits,
        );
        self.acceptor.set_rules(Rules::new(new));
        // The other way round there is no thread to tell: the broker that the process started with goes on.
        if let Some(redis) = &self.redis
            && new.broker.url != BrokerUrl::Memory
        {
            redis.reload(&new.broker);
        }
        // Nobody need listen: the admin HTTP may be off.
        self.config.send_replace(Arc::clone(new));
    }

    /// Waits for an answer of every worker; returns what went wrong, each once.
    async fn all(
        &self,
        answers: &mut mpsc::UnboundedReceiver<(WorkerId, Result<(), HookError>)>,
    ) -> Vec<String> {
        let mut problems: Vec<String> = Vec::new();
        for _ in &self.inboxes {
            let problem = match timeout(PATIENCE, answers.recv()).await {
                Ok(Some((_, Ok(())))) => continue,
                Ok(Some((_, Err(error)))) => error.to_string(),
                Ok(None) | Err(_) => {
                    problems.push(format!(
                        "a worker has not answered for {} s",
                        PATIENCE.as_secs()
                    ));
                    break;
                }
            };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems
    }

    /// Watches what the configuration was made of.
    fn watch_files(&self, files: Vec<PathBuf>) {
        if let Some(watcher) = &self.watcher {
            watcher.set_paths(files);
        }
    }
}

/// Keys that differ from those the process started with and cannot be changed while it runs.
fn waiting(started_with: &Config, new: &Config) -> Vec<String> {
    config::diff(started_with, new)
        .into_iter()
        .filter(|change| change.when == When::Restart)
        .map(|change| change.key.to_owned())
        .collect()
}

/// Seconds since 1970.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the clock is after 1970"
)]
pub(super) fn unix_seconds() -> u64 {
    clock::unix() as u64
}
