//! Rows of the scenarios that grow.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{FaultCounts, aligned, grouped, micros};
use crate::measure::Spread;
use crate::scale;
use crate::scenario::Scenario;

/// All rounds of one size of a scenario that grows.
#[derive(Debug, Serialize)]
pub(crate) struct Scales {
    pub(super) scenario: &'static str,
    server: String,
    /// Channels, or bytes of a message.
    size: u32,
    figures: BTreeMap<&'static str, Spread>,
    /// The names of the figures, in the order of the columns.
    #[serde(skip)]
    columns: Vec<&'static str>,
    pub(super) faults: FaultCounts,
    rounds: usize,
}

impl Scales {
    /// Sums up the rounds of all servers of a scenario.
    pub(crate) fn of_all(
        scenario: &Scenario,
        all: &[(String, Vec<Vec<scale::Step>>)],
    ) -> Vec<Self> {
        let mut found = Vec::new();
        for (name, rounds) in all {
            let Some(first) = rounds.first() else {
                continue;
            };
            for (place, step) in first.iter().enumerate() {
                let steps = || rounds.iter().filter_map(|steps| steps.get(place));
                let columns: Vec<&'static str> =
                    step.figures.iter().map(|(name, _)| *name).collect();
                let figure = |index: usize| Spread::of(steps().map(|step| step.figures[index].1));
                found.push(Self {
                    scenario: scenario.name,
                    server: name.clone(),
                    size: step.size,
                    figures: (0..columns.len())
                        .map(|index| (columns[index], figure(index)))
                        .collect(),
                    columns,
                    faults: FaultCounts::sum(steps().map(|step| step.faults)),
                    rounds: rounds.len(),
                });
            }
        }
        found
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.server.clone(), grouped(f64::from(self.size))];
        cells.extend(self.columns.iter().map(|name| {
            let median = self.figures[name].median;
            if name.ends_with("KiB") && !name.contains(" a ") || name.starts_with("bytes") {
                grouped(median)
            } else {
                micros(median)
            }
        }));
        cells.extend(self.faults.cells());
        cells
    }
}

/// The table of one scenario.
pub(super) fn table<'a>(rows: impl Iterator<Item = &'a Scales> + Clone) -> String {
    let Some(first) = rows.clone().next() else {
        return String::new();
    };
    let mut head = vec!["server", "size"];
    head.extend(&first.columns);
    head.extend(super::FAULTS);
    aligned(&head, rows.map(Scales::cells))
}
