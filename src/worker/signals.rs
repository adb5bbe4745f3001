//! What a connection's task does for others: the signals of its [`Link`], and waiting while it owes too much.
//!
//! Called by `conn.rs`, whose tasks these run in.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::link::{Link, Signals};
use super::{Worker, clock, secure};
use crate::config::Config;
use crate::types::Close;
use crate::wire::{Session, SessionLimits};

/// How long the peer has for its close frame after ours (RFC 6455 §7.1.1 says a reasonable time).
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Does what a signal asks for; returns how the connection ends if it does.
pub(super) fn heed(
    worker: &Worker,
    link: &Link,
    session: &mut Session,
    signals: Signals,
) -> Option<Close> {
    if signals.has(Signals::ABORT) {
        let state = worker.state();
        let conn = state.conns().get(link.id);
        let asked = conn.and_then(|conn| conn.close.clone());
        return Some(asked.map_or(Close::LOST, |close| Close {
            code: 1006,
            ..*close
        }));
    }
    if signals.has(Signals::LIMITS) {
        session.set_limits(limits(worker.state().config()));
    }
    if let Some(close) = link.take_close() {
        session.close(clock::now(), close);
    }
    if signals.has(Signals::SESSION_TIMEOUT) {
        session.handle_timeout(clock::now());
    }
    None
}

/// Hooks have spent more on the connection than its share: nothing of it is read or handled until that time, unless it
/// is to end.
pub(super) async fn held(
    worker: &Worker,
    link: &Link,
    session: &mut Session,
    until: Instant,
) -> Option<Close> {
    let mut sleep = pin!(tokio::time::sleep_until(until.into()));
    loop {
        let signals = poll_fn(|cx| {
            let signals = link.take_signals();
            if !signals.is_empty() {
                return Poll::Ready(signals);
            }
            link.register(cx);
            unblock(worker, link, cx);
            sleep.as_mut().poll(cx).map(|()| signals)
        })
        .await;
        if signals.is_empty() {
            return None;
        }
        let ends = signals.has(Signals::CLOSE);
        if let Some(close) = heed(worker, link, session, signals) {
            return Some(close);
        }
        if ends {
            return None;
        }
        if let Some(at) = session.poll_timeout() {
            worker.state().set_session_timer(link.id, at);
        }
        worker.settle();
    }
}

/// A full socket that takes more again is written by the flusher.
pub(super) fn unblock(worker: &Worker, link: &Link, cx: &mut Context<'_>) {
    if link.blocked.get() && link.writer.poll_ready(cx).is_ready() {
        link.blocked.set(false);
        secure::on_room(worker, link);
        worker.state().mark_dirty(link.id);
        worker.flush.wake();
    }
}

/// What the configuration says about a connection's session.
pub(super) fn limits(config: &Config) -> SessionLimits {
    SessionLimits {
        message: config.limits.message,
        ping_after: config.heartbeat.interval,
        pong_within: config.heartbeat.timeout,
        close_within: CLOSE_WITHIN,
    }
}
