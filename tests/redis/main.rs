//! Nodes over a real Redis: the behaviour of one node once more, then what only two nodes or a broken Redis show.
//!
//! Needs `redis-server` and `redis-cli`; who has none fails, nothing is skipped. Run by name: `cargo test --test redis`.
//!
//! Modules of `tests/behaviour` that are not here have nothing to do with the broker: handshakes, framing, the admin address,
//! the language of scripts, listeners.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests have deadlines by the clock and threads that block"
)]
#![allow(
    clippy::needless_collect,
    reason = "threads are all started before the first is waited for"
)]

use std::rc::Rc;

use support::redis::Redis;
use support::tls::Authority;
use support::{Site, Wsd};

#[path = "../support/mod.rs"]
mod support;

#[path = "../behaviour/batch.rs"]
mod batch;
#[path = "../behaviour/delivery.rs"]
mod delivery;
#[path = "../behaviour/drain.rs"]
mod drain;
#[path = "../behaviour/history.rs"]
mod history;
#[path = "../behaviour/many_workers.rs"]
mod many_workers;
#[path = "../behaviour/messages.rs"]
mod messages;
#[path = "../behaviour/reload.rs"]
mod reload;
#[path = "../behaviour/routes.rs"]
mod routes;
#[path = "../behaviour/script_conn.rs"]
mod script_conn;
#[path = "../behaviour/slow_clients.rs"]
mod slow_clients;
#[path = "../behaviour/wsd_v1.rs"]
mod wsd_v1;

mod kept;
mod moved;
mod outage;
mod plain;
mod secure;
mod sentinel;
mod two_nodes;

/// The broker of these tests: a Redis, of one node's own or shared by several.
#[derive(Clone, Debug)]
pub(crate) struct TestBroker {
    redis: Rc<Redis>,
    config: String,
}

impl TestBroker {
    /// Starts a Redis.
    pub(crate) fn start() -> Self {
        let redis = Rc::new(Redis::start());
        let config = format!("[broker]\nurl = \"{}\"\n", redis.url());
        Self { redis, config }
    }

    /// Starts a Redis with TLS.
    pub(crate) fn start_with_tls(authority: &Authority) -> Self {
        let redis = Rc::new(Redis::start_with_tls(authority, &["127.0.0.1"]));
        let config = format!("[broker]\nurl = \"{}\"\n", redis.url());
        Self { redis, config }
    }

    /// What goes into the node's configuration.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    /// Another node over the same Redis.
    pub(crate) fn node(&self, config: &str, hooks: &[(&str, &str)]) -> Wsd {
        Wsd::on(Site::with_broker(self.clone(), config, hooks))
    }

    /// The Redis itself.
    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }
}
