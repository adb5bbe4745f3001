//! Rows of the scenarios that send.

use serde::Serialize;

use super::{BARE, FaultCounts, aligned, grouped, micros};
use crate::load;
use crate::measure::Spread;
use crate::scenario::Scenario;

/// All rounds of one scenario that sends.
#[derive(Debug, Serialize)]
pub(crate) struct Loads {
    pub(super) scenario: &'static str,
    server: String,
    nodes: u32,
    cpu_us_per_delivery: Spread,
    ratio_to_floor_coalesce: Option<f64>,
    ratio_to_floor_write: Option<f64>,
    /// What the scenario's `setup` costs: the difference to wsd without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_over_bare: Option<f64>,
    generator_us_per_delivery: Spread,
    deliveries_per_second: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_us: Option<Latency>,
    grown_bytes: Spread,
    silent: u32,
    released: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_imbalance_percent: Option<Spread>,
    /// How the first connection ended that should not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    pub(super) faults: FaultCounts,
    rounds: usize,
}

impl Loads {
    /// Sums up the rounds of all servers of a scenario.
    pub(crate) fn of_all(scenario: &Scenario, all: &[(String, Vec<load::Sample>)]) -> Vec<Self> {
        let median = |name: &str| {
            let (_, samples) = all.iter().find(|(found, _)| found == name)?;
            (!samples.is_empty()).then(|| Spread::of(samples.iter().map(|s| s.cpu)).median)
        };
        let bases = Bases {
            coalesce: median("floor-coalesce"),
            write: median("floor-write"),
            bare: median(BARE),
        };
        all.iter()
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(name, samples)| Self::of(scenario, name, samples, &bases))
            .collect()
    }

    fn of(scenario: &Scenario, server: &str, samples: &[load::Sample], bases: &Bases) -> Self {
        let cpu = Spread::of(samples.iter().map(|s| s.cpu));
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
            server: server.to_owned(),
            nodes: scenario.nodes,
            cpu_us_per_delivery: cpu,
            ratio_to_floor_coalesce: bases.coalesce.map(|base| cpu.median / base),
            ratio_to_floor_write: bases.write.map(|base| cpu.median / base),
            cpu_us_over_bare: bases
                .bare
                .filter(|_| server != BARE)
                .map(|base| cpu.median - base),
            generator_us_per_delivery: Spread::of(samples.iter().map(|s| s.generator)),
            deliveries_per_second: Spread::of(samples.iter().map(|s| s.rate)),
            latency_us: paced.then(|| Latency {
                p50: latencies(|l| l.0),
                p99: latencies(|l| l.1),
            }),
            grown_bytes: Spread::of(samples.iter().map(|s| s.growth as f64)),
            silent: scenario.silent * scenario.channels,
            released: samples.iter().map(|s| s.released).max().unwrap_or(0),
            worker_imbalance_percent: samples
                .iter()
                .any(|s| s.imbalance.is_some())
                .then(|| Spread::of(samples.iter().filter_map(|s| s.imbalance))),
            ended: samples.iter().find_map(|s| s.end.clone()),
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
            self.server.clone(),
            micros(cpu.median),
            format!("{}–{}", micros(cpu.min), micros(cpu.max)),
            ratio(self.ratio_to_floor_coalesce),
            ratio(self.ratio_to_floor_write),
            grouped(self.deliveries_per_second.median),
            micros(self.generator_us_per_delivery.median),
            latency(|l| l.p50),
            latency(|l| l.p99),
        ];
        cells.extend(self.faults.cells());
        cells
    }

    /// What does not fit the columns, a line each.
    fn notes(&self) -> String {
        let mut text = String::new();
        if let Some(over) = self.cpu_us_over_bare {
            text += &format!("  {}: {over:+.3} µs over {BARE}\n", self.server);
        }
        if let Some(imbalance) = self.worker_imbalance_percent {
            text += &format!(
                "  {}: the busiest worker took {:.0} % more CPU time than the idlest\n",
                self.server, imbalance.median
            );
        }
        if let Some(ended) = &self.ended {
            text += &format!("  {}: ended a connection with {ended}\n", self.server);
        }
        if self.silent > 0 {
            let each = grouped(self.grown_bytes.median / f64::from(self.silent) / 1_024.0);
            text += &format!(
                "  {}: grew by at most {each} KiB for each of {} connections that do not read, and let {} go\n",
                self.server, self.silent, self.released
            );
        }
        text
    }
}

/// What others are compared with.
struct Bases {
    coalesce: Option<f64>,
    write: Option<f64>,
    bare: Option<f64>,
}

/// The table of one scenario, with its notes.
pub(super) fn table<'a>(rows: impl Iterator<Item = &'a Loads> + Clone) -> String {
    let mut text = aligned(HEAD, rows.clone().map(Loads::cells));
    text.extend(rows.map(Loads::notes));
    text
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: Spread,
    p99: Spread,
}

const HEAD: &[&str] = &[
    "server",
    "CPU µs",
    "min–max",
    "x coalesce",
    "x write",
    "deliveries/s",
    "generator µs",
    "p50 µs",
    "p99 µs",
    "lost",
    "doubled",
    "reordered",
    "damaged",
];
