//! What `[limits]` says of a connection: how long its handshake may take, from which pages it may come, how much it may
//! send.
//!
//! [pure] Part of [`super::State`]. Sizes of messages are the session's, subscriptions the hub's (`subscribe.rs`), what waits
//! for a connection is its outbox's. A limit that is off costs one look at the configuration.

use std::time::{Duration, Instant};

use super::super::conns::{Paces, Phase};
use super::super::counts::HANDSHAKES;
use super::State;
use crate::types::{Close, ConnId};
use crate::wire::{Refusal, Upgrade};

/// While no more handshakes than this are in flight on the node, each may take `listen.handshake_timeout`.
const AT_EASE: usize = HANDSHAKES / 4;

/// Beyond it a new one may take this long: a crowd that never asks for anything must not fill the node's places
/// ([`HANDSHAKES`]) faster than they become free. Enough for a request over the slowest of links.
const HURRIED: Duration = Duration::from_secs(2);

impl State {
    /// How long a handshake that begins now may take.
    pub(super) fn handshake_time(&self) -> Duration {
        let configured = self.config.listen.handshake_timeout;
        if self.conns.pending_count() < AT_EASE / self.place.workers {
            configured
        } else {
            configured.min(HURRIED)
        }
    }

    pub(super) fn check_origin(&self, upgrade: &Upgrade) -> Result<(), Refusal> {
        let origins = &self.config.limits.origins;
        if origins.is_empty() {
            return Ok(());
        }
        let Some(origin) = upgrade.header("origin") else {
            return Ok(());
        };
        let allowed = std::str::from_utf8(origin)
            .is_ok_and(|origin| origins.iter().any(|pattern| pattern.matches(origin)));
        if allowed {
            return Ok(());
        }
        self.metrics.refused_origin.inc();
        Err(Refusal::new(403, "this origin may not connect"))
    }

    /// Whether [`Self::on_bytes`] is to be called.
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        self.config.limits.bytes_per_second != 0
    }

    /// So many bytes came from a connection, frames and all. One that sends more than `limits.bytes_per_second`, of which
    /// it may save up one second's worth, is closed.
    pub fn on_bytes(&mut self, now: Instant, id: ConnId, bytes: usize) {
        let rate = self.config.limits.bytes_per_second;
        let in_time = self.paces(id).is_none_or(|paces| {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            paces.bytes.take(now, bytes, rate, rate)
        });
        if !in_time {
            self.metrics.limited_bytes.inc();
            self.close(now, id, TOO_MANY_BYTES);
        }
    }

    /// Whether a connection may send one more message now; one that may not is closed.
    pub(super) fn keeps_pace(&mut self, now: Instant, id: ConnId) -> bool {
        let limits = &self.config.limits;
        let rate = u64::from(limits.messages_per_second);
        let burst = match limits.messages_burst {
            0 => rate,
            burst => burst.into(),
        };
        let in_time = self
            .paces(id)
            .is_none_or(|paces| paces.messages.take(now, 1, rate, burst));
        if !in_time {
            self.metrics.messages_received.inc();
            self.metrics.limited_messages.inc();
            self.close(now, id, TOO_MANY_MESSAGES);
        }
        in_time
    }

    /// Of a client's connection that is not being closed.
    fn paces(&mut self, id: ConnId) -> Option<&mut Paces> {
        let conn = self.conns.get_mut(id)?;
        if conn.internal || conn.phase == Phase::Closing {
            return None;
        }
        Some(conn.paces.get_or_insert_default())
    }
}

const TOO_MANY_BYTES: Close = Close::new(1008, "too many bytes a second");
const TOO_MANY_MESSAGES: Close = Close::new(1008, "too many messages a second");
