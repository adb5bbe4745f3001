//! What the log hears of refused handshakes: the first of each reason at once, then one a minute with a count, for the
//! whole node.
//!
//! The acceptor and every worker refuse; the acceptor's thread also tells what was held back. The lock is held for one
//! look at a table, and only by who refuses.

#![expect(
    clippy::disallowed_types,
    reason = "one limiter for all threads that refuse; nobody who lets in takes it"
)]

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::remote::Remote;
use super::report::more;
use crate::log::Limiter;
use crate::wire::Refusal;

/// Status, none if the connection was closed without an answer, and text of a refusal.
type Reason = (Option<u16>, Cow<'static, str>);

/// What the log hears of refused handshakes.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Limiter<Reason>>);

impl Refusals {
    /// A handshake was answered so.
    pub(super) fn answered(&self, now: Instant, remote: &Remote, refusal: &Refusal) {
        let reason = (Some(refusal.status), refusal.text.clone());
        if let Some(untold) = self.allow(now, reason) {
            tracing::info!(
                target: "conn",
                event = "handshake_refused",
                wsd_remote = %remote,
                wsd_status = refusal.status,
                "handshake refused: {} {}{}",
                refusal.status,
                refusal.text,
                more(untold)
            );
        }
    }

    /// A connection was closed without an answer, because of what a trusted proxy did wrong.
    pub(super) fn closed(&self, now: Instant, remote: &Remote, why: impl Into<Cow<'static, str>>) {
        let why = why.into();
        if let Some(untold) = self.allow(now, (None, why.clone())) {
            tracing::warn!(
                target: "conn",
                event = "handshake_refused",
                wsd_remote = %remote,
                "connection of the trusted proxy {remote} closed: {why} (listen.proxy_protocol){}",
                more(untold)
            );
        }
    }

    /// A connection ended before it could be answered, because of what is wrong with its TLS.
    pub(super) fn failed(&self, now: Instant, remote: &Remote, why: &'static str) {
        let reason = format!("TLS: {why}");
        if let Some(untold) = self.allow(now, (None, reason.clone().into())) {
            tracing::info!(
                target: "conn",
                event = "handshake_refused",
                wsd_remote = %remote,
                "handshake refused: {reason}{}",
                more(untold)
            );
        }
    }

    /// Tells what was held back for a minute.
    pub(super) fn handle_timeout(&self, now: Instant) {
        loop {
            let next = self.lock().poll_suppressed(now);
            let Some((reason, untold)) = next else { return };
            let (status, text) = reason.unwrap_or((None, Cow::Borrowed("for many reasons")));
            let status = status.map_or(String::new(), |status| format!("{status} "));
            tracing::info!(
                target: "conn",
                event = "handshake_refused",
                "handshakes refused: {status}{text}{}",
                more(untold)
            );
        }
    }

    fn allow(&self, now: Instant, reason: Reason) -> Option<u64> {
        self.lock().allow(now, reason)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Limiter<Reason>> {
        // It is a whole table between any two of its methods.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
