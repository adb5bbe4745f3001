//! What the rounds found, as a table for people and as JSON for machines.
//!
//! Takes samples, gives text. Medians over rounds, with least and greatest; ratios are between medians of one call. Never
//! measures and never judges beyond adding up the faults.

use serde::Serialize;

use crate::measure::Spread;
use crate::message::Faults;
use crate::scenario::Scenario;
use crate::{idle, load};

/// All rounds of one scenario that sends.
#[derive(Debug, Serialize)]
pub(crate) struct Loads {
    scenario: &'static str,
    server: &'static str,
    cpu_us_per_delivery: Spread,
    ratio_to_floor_coalesce: Option<f64>,
    generator_us_per_delivery: Spread,
    deliveries_per_second: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Latency>,
    grown_bytes: Spread,
    silent: u32,
    released: u32,
    faults: FaultCounts,
    rounds: usize,
}

impl Loads {
    /// Sums up a server's rounds; `floor` are those of floor-coalesce.
    pub(crate) fn of(
        scenario: &Scenario,
        server: &'static str,
        samples: &[load::Sample],
        floor: &[load::Sample],
    ) -> Self {
        let cpu = Spread::of(samples.iter().map(|s| s.cpu));
        let base = Spread::of(floor.iter().map(|s| s.cpu)).median;
        let latencies = |which: fn((u32, u32)) -> u32| {
            Spread::of(
                samples
                    .iter()
                    .filter_map(|s| s.latency)
                    .map(|l| f64::from(which(l))),
            )
        };
        let paced = samples.iter().any(|s| s.latency.is_some());
        Self {
            scenario: scenario.name,
            server,
            cpu_us_per_delivery: cpu,
            ratio_to_floor_coalesce: (base > 0.0).then(|| cpu.median / base),
            generator_us_per_delivery: Spread::of(samples.iter().map(|s| s.generator)),
            deliveries_per_second: Spread::of(samples.iter().map(|s| s.rate)),
            latency_us: paced.then(|| Latency {
                p50: latencies(|l| l.0),
                p99: latencies(|l| l.1),
            }),
            grown_bytes: Spread::of(samples.iter().map(|s| s.growth as f64)),
            silent: scenario.silent * scenario.channels,
            released: samples.iter().map(|s| s.released).max().unwrap_or(0),
            faults: FaultCounts::sum(samples.iter().map(|s| s.faults)),
            rounds: samples.len(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let cpu = self.cpu_us_per_delivery;
        let latency = |which: fn(&Latency) -> Spread| {
            self.latency_us
                .as_ref()
                .map_or_else(|| "–".to_owned(), |l| grouped(which(l).median))
        };
        let mut cells = vec![
            self.scenario.to_owned(),
            self.server.to_owned(),
            micros(cpu.median),
            format!("{}–{}", micros(cpu.min), micros(cpu.max)),
            self.ratio_to_floor_coalesce
                .map_or_else(|| "–".to_owned(), |r| format!("{r:.2}")),
            grouped(self.deliveries_per_second.median),
            micros(self.generator_us_per_delivery.median),
            latency(|l| l.p50),
            latency(|l| l.p99),
        ];
        cells.extend(self.faults.cells());
        cells
    }

    fn note(&self) -> Option<String> {
        let silent = self.silent;
        (silent > 0).then(|| {
            let each = grouped(self.grown_bytes.median / f64::from(silent) / 1_024.0);
            format!(
                "{}: {} grew by at most {each} KiB for each of {silent} connections that do not read, and let {} go\n",
                self.scenario, self.server, self.released
            )
        })
    }
}

/// All rounds of `idle`.
#[derive(Debug, Serialize)]
pub(crate) struct Idles {
    scenario: &'static str,
    server: &'static str,
    connections: u32,
    start_bytes: Spread,
    settled_bytes_per_connection: Spread,
    spoken_bytes_per_connection: Spread,
    left_bytes: Spread,
    left_percent_above_start: f64,
    handshake_cpu_us: Spread,
    idle_cpu_percent: Spread,
    faults: FaultCounts,
    rounds: usize,
}

impl Idles {
    /// Sums up a server's rounds.
    pub(crate) fn of(scenario: &Scenario, server: &'static str, samples: &[idle::Sample]) -> Self {
        let above = |s: &idle::Sample| (s.left as f64 / s.start as f64 - 1.0) * 100.0;
        Self {
            scenario: scenario.name,
            server,
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
            self.scenario.to_owned(),
            self.server.to_owned(),
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

/// Everything that one call has found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// `runtime.workers`.
    pub(crate) workers: u32,
    /// The scenarios that send.
    pub(crate) loads: Vec<Loads>,
    /// `idle`.
    pub(crate) idle: Vec<Idles>,
    /// What could not be run, and why.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Whether all was run and nothing was wrong.
    pub(crate) fn clean(&self) -> bool {
        let mut faults = self
            .loads
            .iter()
            .map(|l| &l.faults)
            .chain(self.idle.iter().map(|i| &i.faults));
        self.failures.is_empty() && faults.all(FaultCounts::none)
    }

    /// The tables.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        if !self.loads.is_empty() {
            text += &aligned(LOAD_HEAD, self.loads.iter().map(Loads::cells));
        }
        for note in self.loads.iter().filter_map(Loads::note) {
            text += &note;
        }
        if !self.idle.is_empty() {
            text += "\n";
            text += &aligned(IDLE_HEAD, self.idle.iter().map(Idles::cells));
        }
        for failure in &self.failures {
            text += &format!("failed: {failure}\n");
        }
        text
    }
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: Spread,
    p99: Spread,
}

#[derive(Debug, Serialize)]
struct FaultCounts {
    lost: u64,
    doubled: u64,
    reordered: u64,
    damaged: u64,
}

impl FaultCounts {
    fn sum(all: impl Iterator<Item = Faults>) -> Self {
        let mut sum = Faults::default();
        all.for_each(|faults| sum += faults);
        let Faults {
            lost,
            doubled,
            reordered,
            damaged,
        } = sum;
        Self {
            lost,
            doubled,
            reordered,
            damaged,
        }
    }

    const fn none(&self) -> bool {
        self.lost + self.doubled + self.reordered + self.damaged == 0
    }

    fn cells(&self) -> [String; 4] {
        [self.lost, self.doubled, self.reordered, self.damaged].map(|n| grouped(n as f64))
    }
}

fn aligned(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = vec![head.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>()];
    table.extend(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            table
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &table {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line += &match column {
                0 | 1 => format!("{cell:<width$}  "),
                _ => format!("{cell:>width$}  "),
            };
        }
        text += line.trim_end();
        text += "\n";
    }
    text
}

/// Three digits that matter, as the figures differ by two orders of magnitude.
fn micros(value: f64) -> String {
    if value < 1.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.2}")
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 {
        format!("-{text}")
    } else {
        text
    }
}

const LOAD_HEAD: &[&str] = &[
    "scenario",
    "server",
    "CPU µs",
    "min–max",
    "x floor",
    "deliveries/s",
    "generator µs",
    "p50 µs",
    "p99 µs",
    "lost",
    "doubled",
    "reordered",
    "damaged",
];

const IDLE_HEAD: &[&str] = &[
    "scenario",
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
