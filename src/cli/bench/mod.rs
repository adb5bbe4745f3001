//! `wsd bench`: drives a running node over its WebSocket address and says what it can carry.
//!
//! It is a client like any other and needs nothing of the node but a path on which clients may publish. `options.rs` what is
//! wanted, `token.rs` what a message says of itself, `tally.rs` what has come, `dial.rs` connecting, `member.rs` one
//! connection, `drive.rs` the run, `summary.rs` what is printed. For what a server costs by itself see `tests/bench`.

mod dial;
mod drive;
mod histogram;
mod member;
mod options;
mod summary;
mod tally;
mod token;

pub(super) use options::Bench;

use super::{Failure, output};
use options::Plan;

/// Runs it; a failure has been explained.
pub(super) fn run(options: &Bench) -> Result<(), Failure> {
    let plan = Plan::new(options).map_err(|what| {
        output::error(what);
        Failure::Usage
    })?;
    let found = drive::run(plan).map_err(|what| {
        output::error(what);
        Failure::Failed
    })?;
    let text = if options.json {
        found.json()
    } else {
        found.block()
    };
    // A reader that has gone has seen enough.
    let _ = output::line(text);
    if found.is_clean() {
        Ok(())
    } else {
        Err(Failure::Failed)
    }
}
