//! What users see of one node with the memory broker, end to end: the real binary, real sockets.
//!
//! One binary, since linking is what costs; a module for each thing a user sees. `tests/redis` runs most of these modules
//! again over a Redis.

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

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod batch;
mod bench;
mod certificate;
mod close;
mod commons;
mod compression;
mod connect;
mod control;
mod crowds;
mod delivery;
mod drain;
mod frames;
mod handshakes;
mod history;
mod hook_tests;
mod hostile;
mod language;
mod limits;
mod many_workers;
mod messages;
mod origin;
mod proxies;
mod reload;
mod routes;
mod safety;
mod script;
mod script_bounds;
mod script_breaker;
mod script_conn;
mod service;
mod slow_clients;
mod tls;
mod unix_socket;
mod watch;
mod wsd_v1;

/// The broker of these tests: inside the node, so there is nothing to start and nothing to configure.
#[derive(Debug, Default)]
pub(crate) struct TestBroker {
    config: String,
}

impl TestBroker {
    /// Nothing to do.
    pub(crate) fn start() -> Self {
        Self::default()
    }

    /// What goes into the node's configuration.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }
}
