//! What the rounds found, as tables for people and as JSON for machines.
//!
//! Takes samples, gives text. Medians over rounds, with least and greatest; ratios are between medians of one call. Never
//! measures and never judges beyond adding up the faults. A kind of row has a file of its own.

mod idles;
mod loads;
mod scales;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::machine::Machine;
use crate::message::Faults;
use crate::scenario::Scenario;

pub(crate) use idles::Idles;
pub(crate) use loads::Loads;
pub(crate) use scales::Scales;

/// What wsd without a scenario's `setup` is called.
pub(crate) const BARE: &str = "wsd, bare";

/// Everything that one call has found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rounds: u32,
    /// Peers that took part: what each is called, and its name and version.
    pub(crate) versions: BTreeMap<&'static str, String>,
    /// The scenarios that send.
    pub(crate) loads: Vec<Loads>,
    /// The scenarios that do nothing.
    pub(crate) idle: Vec<Idles>,
    /// The scenarios that grow.
    pub(crate) scale: Vec<Scales>,
    /// What could not be run, and why.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// One of nothing yet.
    pub(crate) const fn new(machine: Machine, rounds: u32) -> Self {
        Self {
            machine,
            rounds,
            versions: BTreeMap::new(),
            loads: Vec::new(),
            idle: Vec::new(),
            scale: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Whether everything ran and nothing was lost, doubled, reordered or damaged.
    pub(crate) fn clean(&self) -> bool {
        let mut faults = self
            .loads
            .iter()
            .map(|l| &l.faults)
            .chain(self.idle.iter().map(|i| &i.faults))
            .chain(self.scale.iter().map(|s| &s.faults));
        self.failures.is_empty() && faults.all(FaultCounts::none)
    }

    /// What was found of one scenario, or nothing if nothing was.
    pub(crate) fn section(&self, scenario: &Scenario) -> String {
        let loads = self.loads.iter().filter(|l| l.scenario == scenario.name);
        let idle = self.idle.iter().filter(|i| i.scenario == scenario.name);
        let scale = self.scale.iter().filter(|s| s.scenario == scenario.name);
        let tables = [
            (loads.clone().count() > 0).then(|| loads::table(loads)),
            (idle.clone().count() > 0).then(|| idles::table(idle)),
            (scale.clone().count() > 0).then(|| scales::table(scale)),
        ];
        let tables: String = tables.into_iter().flatten().collect();
        if tables.is_empty() {
            return tables;
        }
        format!("{}: {}\n{tables}\n", scenario.name, scenario.about)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct FaultCounts {
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
                0 => format!("{cell:<width$}  "),
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

/// The columns of `FaultCounts::cells`.
const FAULTS: [&str; 4] = ["lost", "doubled", "reordered", "damaged"];
