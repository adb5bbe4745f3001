//! Loads that grow: the same operations at several sizes, so that a cost which grows with the size shows.
//!
//! Called by `turns.rs` like `load.rs`. One thing happens after the other, and the dearest of them is
//! noted: it says how long a worker ever stood still, for instance while a table grew.

mod channels;
mod large;

use std::io;
use std::time::Duration;

use crate::launch::Running;
use crate::message::Faults;
use crate::scenario::{Growth, Pace, Scenario};

/// What was found at one size.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Channels, or bytes of a message.
    pub(crate) size: u32,
    /// Names with units, and values.
    pub(crate) figures: Vec<(&'static str, f64)>,
    /// What the receivers found wrong.
    pub(crate) faults: Faults,
}

/// Runs a scenario once, size after size, over one server.
pub(crate) fn run(
    scenario: &Scenario,
    server: &mut Running,
    _time: Duration,
) -> io::Result<Vec<Step>> {
    let Pace::Scale(growth) = scenario.pace else {
        return Err(io::Error::other("this scenario does not grow"));
    };
    let one = match growth {
        Growth::Channels(_) => channels::run,
        Growth::Bytes(_) => large::run,
    };
    let mut steps = Vec::new();
    for &size in growth.sizes() {
        steps.push(one(scenario, server, size)?);
        server.check_alive()?;
    }
    Ok(steps)
}
