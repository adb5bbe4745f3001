//! Rows of the scenarios that do nothing.

use serde::Serialize;

use super::{FaultCounts, aligned, grouped};
use crate::idle;
use crate::measure::Spread;
use crate::scenario::Scenario;

/// All rounds of `idle`.
#[derive(Debug, Serialize)]
pub(crate) struct Idles {
    pub(super) scenario: &'static str,
    server: String,
    connections: u32,
    start_bytes: Spread,
    settled_bytes_per_connection: Spread,
    spoken_bytes_per_connection: Spread,
    left_bytes: Spread,
    left_percent_above_start: f64,
    handshake_cpu_us: Spread,
    idle_cpu_percent: Spread,
    pub(super) faults: FaultCounts,
    rounds: usize,
}

impl Idles {
    /// Sums up the rounds of all servers of a scenario.
    pub(crate) fn of_all(scenario: &Scenario, all: &[(String, Vec<idle::Sample>)]) -> Vec<Self> {
        all.iter()
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(name, samples)| Self::of(scenario, name, samples))
            .collect()
    }

    fn of(scenario: &Scenario, server: &str, samples: &[idle::Sample]) -> Self {
        let above = |s: &idle::Sample| (s.left as f64 / s.start as f64 - 1.0) * 100.0;
        Self {
            scenario: scenario.name,
            server: server.to_owned(),
            connections: scenario.connections(),
            start_bytes: Spread::of(samples.iter().map(|s| s.start as f64)),
            settled_bytes_per_connection: Spread::of(samples.iter().map(|s| s.settled)),
            spoken_bytes_per_connection: Spread::of(samples.iter().map(|s| s.spoken)),
            left_bytes: Spread::of(samples.iter().map(|s| s.left as f64)),
            left_percent_above_start: Spread::of(samples.iter().map(above)).median,
            handshake_cpu_us: Spread::of(samples.iter().map(|s| s.handshake)),
            idle_cpu_percent: Spread::of(samples.iter().map(|s| s.resting)),
            faults: FaultCounts::sum(samples.iter().map(|s| s.faults)),
            rounds: samples.len(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.server.clone(),
            grouped(self.settled_bytes_per_connection.median),
            grouped(self.spoken_bytes_per_connection.median),
            format!("{} KiB", grouped(self.start_bytes.median / 1_024.0)),
            format!("{:+.0} %", self.left_percent_above_start),
            format!("{:.1}", self.handshake_cpu_us.median),
            format!("{:.3} %", self.idle_cpu_percent.median),
        ];
        cells.extend(self.faults.cells());
        cells
    }
}

/// The table of one scenario.
pub(super) fn table<'a>(rows: impl Iterator<Item = &'a Idles>) -> String {
    aligned(HEAD, rows.map(Idles::cells))
}

const HEAD: &[&str] = &[
    "server",
    "settled B",
    "spoken B",
    "start",
    "after all left",
    "handshake µs",
    "idle CPU",
    "lost",
    "doubled",
    "reordered",
    "damaged",
];
