//! One run of one scenario that sends: warm up, measure, wait for the rest, judge.
//!
//! Called by `turns.rs` for each round and server in turn; what a run costs the server is read from `/proc` at the two ends
//! of the measured time, so connecting, warming up and draining do not count.

use std::io;
use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::launch::Running;
use crate::measure;
use crate::message::Faults;
use crate::scenario::{Pace, Scenario};

/// What a run found.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Microseconds of the server's CPU a delivery; where only every n-th message is delivered, a message of them all.
    pub(crate) cpu: f64,
    /// The same of the generator, with its share of what the kernel does for it.
    pub(crate) generator: f64,
    /// Deliveries a second.
    pub(crate) rate: f64,
    /// Latencies of a paced run in microseconds: the 50th and the 99th of 100.
    pub(crate) latency: Option<(u32, u32)>,
    /// Bytes by which the server has grown at most, from before the first connection to the end of the measured time.
    pub(crate) growth: i64,
    /// How many of those that never read the server has let go.
    pub(crate) released: u32,
    /// By how much the busiest worker's CPU time was above the idlest one's, in percent; `None` with one worker.
    pub(crate) imbalance: Option<f64>,
    /// What the receivers found wrong, warm-up and draining included.
    pub(crate) faults: Faults,
    /// How the first connection ended that should not have.
    pub(crate) end: Option<String>,
}

/// Runs a scenario once.
#[expect(
    clippy::disallowed_methods,
    reason = "a run's ends are moments of this process's clock"
)]
pub(crate) fn run(scenario: &Scenario, server: &mut Running, time: Duration) -> io::Result<Sample> {
    let pids = server.pids()?;
    let resident = measure::sum(&pids, measure::resident_bytes)?;
    let mut crowd = Crowd::new(scenario)?;
    let addresses = [server.address(), server.last_address()];
    crowd.connect(addresses, scenario.connections())?;
    let begin = Instant::now();
    crowd.begin(begin);
    crowd.run_until(begin + WARM_UP)?;
    server.check_alive()?;

    crowd.begin_latencies();
    let before = Reading::take(&pids, &crowd)?;
    crowd.run_until(Instant::now() + time)?;
    let after = Reading::take(&pids, &crowd)?;
    let mut latencies = crowd.end_latencies();
    let peak = measure::sum(&pids, measure::peak_bytes)?;

    crowd.drain()?;
    server.check_alive()?;
    let faults = crowd.verdict();
    let deliveries = after.delivered - before.delivered;
    if deliveries == 0 {
        return Err(io::Error::other("nothing was delivered"));
    }
    let messages = deliveries * u64::from(scenario.every);
    let paced = matches!(scenario.pace, Pace::Due { .. });
    Ok(Sample {
        cpu: micros_each(after.server - before.server, messages),
        generator: micros_each(after.generator - before.generator, messages),
        rate: deliveries as f64 / (after.at - before.at).as_secs_f64(),
        latency: paced.then(|| {
            (
                measure::percentile(&mut latencies, 50),
                measure::percentile(&mut latencies, 99),
            )
        }),
        growth: peak.cast_signed() - resident.cast_signed(),
        released: if scenario.silent > 0 {
            crowd.read_silent()?
        } else {
            0
        },
        imbalance: imbalance(&before.workers, &after.workers),
        faults,
        end: crowd.first_end().map(ToString::to_string),
    })
}

fn imbalance(before: &[u64], after: &[u64]) -> Option<f64> {
    let used = || before.iter().zip(after).map(|(b, a)| (a - b) as f64);
    let most = used().fold(0.0, f64::max);
    let least = used().fold(f64::INFINITY, f64::min);
    (before.len() > 1 && before.len() == after.len()).then(|| (most / least.max(1.0) - 1.0) * 100.0)
}

struct Reading {
    at: Instant,
    server: u64,
    workers: Vec<u64>,
    generator: u64,
    delivered: u64,
}

impl Reading {
    #[expect(clippy::disallowed_methods, reason = "an end of the measured time")]
    fn take(pids: &[u32], crowd: &Crowd) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            server: measure::sum(pids, measure::cpu_nanos)?,
            workers: measure::threads_nanos(pids.first().copied().unwrap_or_default(), "worker-")?,
            generator: measure::cpu_nanos(std::process::id())?,
            delivered: crowd.delivered(),
        })
    }
}

fn micros_each(nanos: u64, deliveries: u64) -> f64 {
    nanos as f64 / 1_000.0 / deliveries as f64
}

/// Buffers, windows and the processor's caches have settled by then.
const WARM_UP: Duration = Duration::from_millis(400);
