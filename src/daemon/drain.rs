//! The end: stop accepting, say goodbye at a pace, leave nothing undone.

use std::time::Duration;

use super::node::Node;
use crate::types::Close;
use crate::worker::clock;
use crate::worker::message::Message;

/// What a connection may take after its moment: its part of the closing handshake and to hang up.
const LAST: Duration = Duration::from_secs(7);

/// How often is looked whether all have gone.
const LOOK: Duration = Duration::from_millis(20);

/// How much more time systemd is asked for, again and again while it lasts.
const EXTEND: Duration = Duration::from_secs(10);

impl Node {
    /// Begins the drain: each connection is closed with 1001 at a random moment of `drain.over`.
    pub(super) fn begin_drain(&mut self) {
        self.stopping = true;
        self.acceptor.stop();
        let over = self.config().drain.over;
        let connections = self.counts.connections();
        self.notifier.stopping(&format!(
            "stopping: closing {connections} connections over {over:?}"
        ));
        tracing::info!(
            target: "drain",
            event = "drain",
            "stopping: closing {connections} connections over {over:?}"
        );
        // What waits in windows is delivered while its subscribers are still here.
        let (ready, _) = tokio::sync::mpsc::unbounded_channel();
        self.tell_all(|| Message::Finish(ready.clone()));
        self.tell_all(|| Message::Drain(over, Close::GOING_AWAY));
        self.deadline = Some(clock::now() + over + LAST);
        self.extend();
    }

    /// Whether the drain is over: all have gone, or their time is up.
    pub(super) fn is_drained(&self) -> bool {
        let Some(deadline) = self.deadline else {
            return false;
        };
        self.counts.connections() == 0 || clock::now() >= deadline
    }

    /// When to look again while draining.
    pub(super) fn drain_pause(&self) -> Option<Duration> {
        self.deadline.map(|_| LOOK)
    }

    /// Asks systemd for more time while the drain lasts.
    pub(super) fn extend(&self) {
        if self.deadline.is_some() {
            self.notifier.extend_timeout(EXTEND);
        }
    }

    /// Runs every batch that is still open and waits until what it gave is handed over.
    pub(super) async fn finish(&self) {
        let (ready, mut answers) = tokio::sync::mpsc::unbounded_channel();
        self.tell_all(|| Message::Finish(ready.clone()));
        for _ in &self.inboxes {
            // A worker that is stuck is not waited for.
            if tokio::time::timeout(Duration::from_secs(2), answers.recv())
                .await
                .is_err()
            {
                break;
            }
        }
        if let Some(redis) = &self.redis {
            redis.stop();
        }
        let left = self.counts.connections();
        if left > 0 {
            tracing::warn!(target: "drain", "{left} connections did not end in time");
        }
        tracing::info!(target: "drain", event = "stopped", "stopped");
    }
}
