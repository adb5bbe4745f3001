//! One run of `idle`: what connections cost that do nothing, in memory and time.
//!
//! Called by `turns.rs` like `load.rs`. Memory is read when it has stopped changing. Before the first reading some connections
//! come, speak and go, so that code and tables which every server needs are not charged to the crowd.

use std::io;
use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::launch::Running;
use crate::measure;
use crate::message::Faults;
use crate::scenario::Scenario;

/// What a run found.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Bytes of the server before anybody came.
    pub(crate) start: u64,
    /// Bytes a connection when all are there.
    pub(crate) settled: f64,
    /// Bytes a connection after each has published a message.
    pub(crate) spoken: f64,
    /// Bytes of the server after all have left.
    pub(crate) left: u64,
    /// Microseconds of CPU a handshake.
    pub(crate) handshake: f64,
    /// Share of one core that the idle server takes, in percent.
    pub(crate) resting: f64,
    /// What the receivers found wrong.
    pub(crate) faults: Faults,
}

/// Runs the scenario once; `time` is how long the server is idle.
#[expect(
    clippy::disallowed_methods,
    reason = "the idle time is measured by this process's clock"
)]
pub(crate) fn run(scenario: &Scenario, server: &mut Running, time: Duration) -> io::Result<Sample> {
    let pids = server.pids()?;
    let mut first = Crowd::new(scenario)?;
    first.connect([server.address(); 2], WARM_UP)?;
    first.publish_one_each()?;
    first.leave()?;
    let start = measure::settled_bytes(&pids)?;

    let mut crowd = Crowd::new(scenario)?;
    let before = measure::sum(&pids, measure::cpu_nanos)?;
    crowd.connect([server.address(); 2], scenario.connections())?;
    let handshakes = measure::sum(&pids, measure::cpu_nanos)? - before;
    let settled = measure::settled_bytes(&pids)?;

    let (began, before) = (Instant::now(), measure::sum(&pids, measure::cpu_nanos)?);
    crowd.run_until(began + time)?;
    let rested = measure::sum(&pids, measure::cpu_nanos)? - before;
    let elapsed = began.elapsed();
    server.check_alive()?;

    crowd.publish_one_each()?;
    let spoken = measure::settled_bytes(&pids)?;
    let faults = crowd.verdict();
    crowd.leave()?;
    let left = measure::settled_bytes(&pids)?;
    server.check_alive()?;

    let connections = f64::from(scenario.connections());
    let each = |bytes: u64| (bytes as f64 - start as f64) / connections;
    Ok(Sample {
        start,
        settled: each(settled),
        spoken: each(spoken),
        left,
        handshake: handshakes as f64 / 1_000.0 / connections,
        resting: rested as f64 / 1e9 / elapsed.as_secs_f64() * 100.0,
        faults,
    })
}

/// How many connections come and go first.
const WARM_UP: u32 = 100;
