//! The running node: what the main thread knows of it, and how it reaches the workers.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::scripts::Scripts;
use super::watch::Watcher;
use crate::broker::LinkStatus;
use crate::broker::redis::RedisLink;
use crate::config::{Address, Config, StageLists};
use crate::control::message::{BrokerStatus, ReloadStatus, Status};
use crate::log::Log;
use crate::metrics::{NodeMetrics, WorkerMetrics, render};
use crate::systemd::Notifier;
use crate::types::{ChannelName, Generation, NameHash, NodeId, Payload};
use crate::worker::accept::Acceptor;
use crate::worker::clock;
use crate::worker::counts::Counts;
use crate::worker::inbox::Inbox;
use crate::worker::message::{Message, Report};

/// The running node.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) hash: NameHash,
    pub(super) inboxes: Vec<Arc<Inbox>>,
    pub(super) metrics: Vec<Arc<WorkerMetrics>>,
    pub(super) node_metrics: Arc<NodeMetrics>,
    pub(super) counts: Arc<Counts>,
    pub(super) redis: Option<RedisLink>,
    pub(super) log: Rc<Log>,
    pub(super) notifier: Notifier,
    pub(super) scripts: Scripts,
    pub(super) config_path: PathBuf,
    pub(super) stages: StageLists,
    pub(super) config: watch::Sender<Arc<Config>>,
    /// What the process started with: keys that need a restart are compared with it.
    pub(super) started_with: Arc<Config>,
    pub(super) generation: Generation,
    /// Numbers are not used twice, also of generations that were refused.
    pub(super) next_generation: u64,
    pub(super) last_reload: ReloadStatus,
    /// The socket unit whose sockets are used instead of `listen.addresses`.
    pub(super) unit: Option<String>,
    /// Keys that wait for a restart.
    pub(super) waiting: Vec<String>,
    pub(super) listeners: Vec<String>,
    pub(super) admin: Option<Address>,
    pub(super) acceptor: Acceptor,
    /// Sees files change; `None` where the system cannot watch.
    pub(super) watcher: Option<Watcher>,
    /// When the drain ends, however many connections are left.
    pub(super) deadline: Option<Instant>,
    pub(super) started: Instant,
    /// It is being stopped: no more clients should come.
    pub(super) stopping: bool,
    pub(super) rates: Rates,
}

impl Node {
    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    /// Hands the same to every worker.
    pub(super) fn tell_all(&self, mut message: impl FnMut() -> Message) {
        for inbox in &self.inboxes {
            inbox.push(message());
        }
    }

    /// Publishes a message of wsd's own; says whether it waits for the broker, or why it cannot be taken.
    pub(super) fn publish(&self, channel: ChannelName, payload: Payload) -> Result<bool, String> {
        let home = self.hash.home(&channel, self.inboxes.len());
        let Some(inbox) = self.inboxes.get(home.index()) else {
            return Err("there is no worker".to_owned());
        };
        if inbox.is_full() {
            return Err("the node has more to do than it can take; try again later".to_owned());
        }
        inbox.push(Message::PublishFromNode(channel, payload));
        Ok(self.broker_status() == LinkStatus::Down)
    }

    /// Whether the broker takes publishes and delivers.
    pub(super) fn broker_status(&self) -> LinkStatus {
        self.redis
            .as_ref()
            .map_or(LinkStatus::Up, RedisLink::status)
    }

    /// Whether clients should be sent here; if not, why.
    pub(super) fn ready(&self) -> Result<(), String> {
        if self.stopping {
            return Err("stopping".to_owned());
        }
        match self.broker_status() {
            LinkStatus::Up => Ok(()),
            LinkStatus::Down => Err(self.broker_text()),
        }
    }

    /// `/metrics`.
    pub(super) fn metrics_text(&self) -> String {
        let node = &self.node_metrics;
        let [full, address, rate] = self.counts.refused();
        for (counter, count) in [
            (&node.refused_full, full),
            (&node.refused_address, address),
            (&node.refused_rate, rate),
            (&node.log_dropped, self.log.dropped()),
        ] {
            counter.add(count.saturating_sub(counter.get()));
        }
        node.handshakes.set(self.counts.handshakes() as u64);
        let up = self.broker_status() == LinkStatus::Up;
        self.node_metrics.broker_up.set(u64::from(up));
        render::render(&self.metrics, &self.node_metrics) + &self.scripts.metrics_text()
    }

    /// `wsd status`.
    pub(super) fn status(&self) -> Status {
        let sum = |value: fn(&WorkerMetrics) -> u64| self.metrics.iter().map(|m| value(m)).sum();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: self.generation.0,
            uptime: clock::now()
                .saturating_duration_since(self.started)
                .as_secs_f64(),
            connections: sum(|m| m.connections.get()),
            channels: self.channels(),
            workers: self.inboxes.len() as u64,
            broker: BrokerStatus {
                kind: if self.redis.is_some() {
                    "redis"
                } else {
                    "memory"
                }
                .to_owned(),
                up: self.broker_status() == LinkStatus::Up,
                url: self.redis.as_ref().map_or_else(String::new, RedisLink::url),
            },
            last_reload: self.last_reload.clone(),
            node: self.id.to_string(),
            pid: std::process::id(),
            memory: resident_bytes(),
            config: self.config_path.display().to_string(),
            listeners: self.listeners.clone(),
            admin: self
                .admin
                .as_ref()
                .map_or_else(String::new, Address::to_string),
            notes: self.notes(),
        }
    }

    /// What the operator should know.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(unit) = &self.unit {
            notes.push(format!(
                "sockets come from {unit}; listen.addresses is not used"
            ));
        }
        if self.broker_status() == LinkStatus::Down {
            notes.push(self.broker_text());
        }
        for key in &self.waiting {
            notes.push(format!("{key} needs a restart to take effect"));
        }
        for script in self.scripts.resting() {
            notes.push(format!(
                "{script} rests, as it was cut too often (hooks.breaker)"
            ));
        }
        if self.stopping {
            notes.push("stopping: connections are being closed".to_owned());
        }
        notes
    }

    /// Channels with a subscriber, each once however many workers have one.
    fn channels(&self) -> u64 {
        if let [only] = self.metrics.as_slice() {
            return only.channels.get();
        }
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Report>(self.inboxes.len());
        self.tell_all(|| Message::Report(sender.clone()));
        let mut names = std::collections::HashSet::new();
        for _ in &self.inboxes {
            // A worker that is busy in a hook is not waited for long.
            let Ok(report) = receiver.recv_timeout(Duration::from_millis(200)) else {
                break;
            };
            names.extend(report.channels);
        }
        names.len() as u64
    }

    /// What `STATUS=` says.
    pub(super) fn status_text(&mut self, now: Instant) -> String {
        let (received, delivered) = self.rates.update(now, &self.metrics);
        let connections: u64 = self.metrics.iter().map(|m| m.connections.get()).sum();
        let reload = if self.last_reload.ok { "ok" } else { "refused" };
        format!(
            "{connections} connections, {received:.0} messages/s in, {delivered:.0} out, {}, generation {}, last reload {reload}",
            self.broker_text(),
            self.generation
        )
    }

    fn broker_text(&self) -> String {
        self.redis.as_ref().map_or_else(
            || "memory broker".to_owned(),
            |redis| redis.describe(clock::now()),
        )
    }
}

/// Messages a second since the last look.
#[derive(Debug)]
pub(super) struct Rates {
    since: Instant,
    received: u64,
    delivered: u64,
}

impl Rates {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            since: now,
            received: 0,
            delivered: 0,
        }
    }

    fn update(&mut self, now: Instant, metrics: &[Arc<WorkerMetrics>]) -> (f64, f64) {
        let received: u64 = metrics.iter().map(|m| m.messages_received.get()).sum();
        let delivered: u64 = metrics.iter().map(|m| m.messages_delivered.get()).sum();
        let seconds = now
            .saturating_duration_since(self.since)
            .as_secs_f64()
            .max(0.001);
        let rate = |now: u64, before: u64| {
            f64::from(u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX)) / seconds
        };
        let rates = (
            rate(received, self.received),
            rate(delivered, self.delivered),
        );
        *self = Self {
            since: now,
            received,
            delivered,
        };
        rates
    }
}

/// A generation is live: what metrics say of it.
pub(super) fn count_generation(metrics: &NodeMetrics, generation: Generation, config: &Config) {
    metrics.generation.set(generation.0);
    metrics.reload_ok.set(1);
    let identity = config.tls.as_ref().and_then(|tls| tls.identity.as_ref());
    let expires = identity.map_or(0, |identity| identity.validity().until().as_secs());
    metrics.certificate_expires.set(expires);
}

/// Bytes of the process in memory (proc(5), statm), 0 where /proc does not say.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(4096)
}
