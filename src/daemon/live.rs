//! The main thread's life once everything is up: what it waits for, and what it does about it.
//!
//! `start.rs` makes [`Inputs`] and the node and calls [`live`], which returns when the node has let its connections go.
//! What each input means is decided elsewhere: `calls.rs`, `reload.rs`, `drain.rs`.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::node::Node;
use crate::control::server::Call;
use crate::metrics::http::HttpCall;
use crate::systemd;
use crate::worker::clock;

/// What the loop waits for.
pub(super) struct Inputs {
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) http: mpsc::Receiver<HttpCall>,
    pub(super) changed: mpsc::UnboundedReceiver<()>,
    pub(super) signals: Signals,
    /// Fed by its own thread as long as this stands.
    pub(super) _watchdog: Option<systemd::Watchdog>,
}

/// What the process is told by signals. One that comes after they are caught waits for the loop.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

impl Node {
    /// Says that everything is up.
    pub(super) fn announce(&mut self, scripts: usize) {
        if let Some(unit) = &self.unit {
            tracing::warn!(
                target: "listen",
                event = "listen_ignored",
                "listen.addresses is not used: {unit} passes the sockets"
            );
        }
        let broker = if self.redis.is_some() {
            "redis"
        } else {
            "memory"
        };
        let s = |count: usize| if count == 1 { "" } else { "s" };
        let (listeners, workers) = (self.listeners.len(), self.inboxes.len());
        tracing::info!(
            target: "start",
            event = "ready",
            wsd_generation = self.generation.0,
            "ready: {listeners} listener{}, {workers} worker{}, {broker} broker, {scripts} script{}, generation {}",
            s(listeners),
            s(workers),
            s(scripts),
            self.generation
        );
        let status = self.status_text(clock::now());
        self.notifier.ready(&status);
    }
}

/// The main thread's life.
pub(super) async fn live(node: &mut Node, mut inputs: Inputs) {
    let mut status = interval(STATUS_EVERY);
    status.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let pause = node.drain_pause().unwrap_or(Duration::from_secs(3600));
        tokio::select! {
            Some(call) = inputs.calls.recv() => node.on_call(call).await,
            Some(call) = inputs.http.recv() => node.on_http(call),
            Some(()) = inputs.changed.recv() => {
                while inputs.changed.try_recv().is_ok() {}
                if node.config().hooks.watch && !node.stopping {
                    // Nobody waits for the answer; it is in the log.
                    let _ = node.reload().await;
                }
            }
            Some(()) = inputs.signals.hangup.recv() => {
                if !node.stopping {
                    // Likewise.
                    let _ = node.reload().await;
                }
            }
            Some(()) = inputs.signals.terminate.recv() => {
                if node.stopping { return }
                node.begin_drain();
            }
            Some(()) = inputs.signals.interrupt.recv() => {
                if node.stopping { return }
                node.begin_drain();
            }
            _ = status.tick() => {
                if node.stopping {
                    node.extend();
                } else {
                    let text = node.status_text(clock::now());
                    node.notifier.status(&text);
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
        if node.is_drained() {
            return;
        }
    }
}

/// How often `STATUS=` is renewed.
const STATUS_EVERY: Duration = Duration::from_secs(2);
