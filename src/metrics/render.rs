//! The metrics as Prometheus' text exposition format, version 0.0.4.
//!
//! [pure] It owns the form and nothing else: names, helps and types come from the one list in `mod.rs`, the numbers from
//! whoever counts. Series of one name stand together under one `HELP` and one `TYPE`, as the format demands, also when
//! they come from different lists. Called for `GET /metrics`.

use std::fmt::Write;
use std::sync::Arc;

use super::{MetricType, NodeMetrics, Series, WorkerMetrics};

/// Everything that this node counts: what its workers count is summed.
#[must_use]
pub fn render(workers: &[Arc<WorkerMetrics>], node: &NodeMetrics) -> String {
    let mut exposition = Exposition::default();
    exposition.add(
        WorkerMetrics::SERIES,
        workers.iter().map(|worker| worker.values()),
    );
    exposition.add(NodeMetrics::SERIES, [node.values()]);
    exposition.to_text()
}

/// Metrics on their way to text.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<Family>,
}

impl Exposition {
    /// Adds the series of a list, in its order; the values of several sources, in the same order, are summed. Without
    /// any source each is 0. Series of a name that is there already join those; the first help stands.
    pub fn add(&mut self, series: &'static [Series], sources: impl IntoIterator<Item = Vec<u64>>) {
        let mut sums = vec![0u64; series.len()];
        for values in sources {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = sum.wrapping_add(value);
            }
        }
        for (one, value) in series.iter().zip(sums) {
            self.family(one).samples.push((one.labels, value));
        }
    }

    /// The text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            family.write(&mut text);
        }
        text
    }

    fn family(&mut self, series: &'static Series) -> &mut Family {
        let found = self
            .families
            .iter()
            .position(|family| family.series.name == series.name);
        let index = found.unwrap_or(self.families.len());
        if found.is_none() {
            self.families.push(Family {
                series,
                samples: Vec::new(),
            });
        }
        &mut self.families[index]
    }
}

/// The series of one name.
#[derive(Debug)]
struct Family {
    /// The first one: its help and type stand for all.
    series: &'static Series,
    /// Labels and value.
    samples: Vec<(&'static str, u64)>,
}

impl Family {
    /// Writing to a string cannot fail.
    fn write(&self, text: &mut String) {
        let name = self.series.name;
        let kind = match self.series.kind {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
        };
        let _ = writeln!(text, "# HELP {name} {}", escape(self.series.help));
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for (labels, value) in &self.samples {
            let _ = if labels.is_empty() {
                writeln!(text, "{name} {value}")
            } else {
                writeln!(text, "{name}{{{labels}}} {value}")
            };
        }
    }
}

/// In a help text a backslash and a newline are escaped.
fn escape(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ONE: &[Series] = &[
        Series {
            name: "wsd_a_total",
            labels: "reason=\"x\"",
            help: "First\nline \\ more.",
            kind: MetricType::Counter,
        },
        Series {
            name: "wsd_b",
            labels: "",
            help: "A gauge.",
            kind: MetricType::Gauge,
        },
    ];

    const TWO: &[Series] = &[Series {
        name: "wsd_a_total",
        labels: "reason=\"y\"",
        help: "Another.",
        kind: MetricType::Counter,
    }];

    #[test]
    fn values_are_summed_and_names_stand_together() {
        let mut exposition = Exposition::default();
        exposition.add(ONE, [vec![1, 2], vec![10, 20]]);
        exposition.add(TWO, [vec![7]]);
        assert_eq!(
            exposition.to_text(),
            "# HELP wsd_a_total First\\nline \\\\ more.\n\
             # TYPE wsd_a_total counter\n\
             wsd_a_total{reason=\"x\"} 11\n\
             wsd_a_total{reason=\"y\"} 7\n\
             # HELP wsd_b A gauge.\n\
             # TYPE wsd_b gauge\n\
             wsd_b 22\n"
        );
    }

    #[test]
    fn the_real_lists_keep_the_rules_of_the_format() {
        let worker = || {
            let metrics = WorkerMetrics::default();
            metrics.connections.set(3);
            metrics.dropped_slow.add(5);
            Arc::new(metrics)
        };
        let node = NodeMetrics::default();
        node.refused_full.inc();
        let text = render(&[worker(), worker()], &node);
        assert!(text.contains("\nwsd_connections 6\n"));
        assert!(text.contains("\nwsd_dropped_total{reason=\"slow\"} 10\n"));
        assert!(text.contains("\nwsd_refused_total{reason=\"connections\"} 1\n"));

        let (mut families, mut samples) = (HashSet::new(), HashSet::new());
        let mut family = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                assert!(families.insert(family), "{family} twice");
                assert_eq!(
                    rest.ends_with(" counter"),
                    family.ends_with("_total"),
                    "{rest}"
                );
            } else if !line.starts_with('#') {
                let (sample, _) = line.split_once(' ').unwrap();
                assert!(samples.insert(sample), "{sample} twice");
                assert_eq!(sample.split('{').next().unwrap(), family);
            }
        }
        let rows = WorkerMetrics::SERIES.len() + NodeMetrics::SERIES.len();
        assert_eq!(samples.len(), rows);
    }
}
