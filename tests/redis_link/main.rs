//! The Redis thread against a real redis-server: what one node publishes another one hears, in order, whatever happens
//! to Redis meanwhile. Each test starts a server of its own; without `redis-server` in the path they fail.
//!
//! `cargo test --test redis_link`

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod away;
mod carry;
mod hostile;
mod support;
