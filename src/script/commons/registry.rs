//! The scripts' own metrics: counters, gauges and histograms by name, counted by all workers together.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Guarded;
use crate::types::Generation;

/// What a metric is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::script) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    /// As Prometheus and scripts name it.
    pub(in crate::script) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric, changed by any worker at any time.
pub(in crate::script) struct Metric {
    pub(in crate::script) kind: MetricKind,
    help: String,
    generation: Generation,
    /// The bits of a counter's or gauge's number, or of a histogram's sum.
    number: AtomicU64,
    /// Observations up to each of [`BUCKETS`], and those above.
    buckets: [AtomicU64; BUCKETS.len() + 1],
}

impl Metric {
    /// Adds to a counter or gauge.
    pub(in crate::script) fn add(&self, n: f64) {
        let add = |bits| Some((f64::from_bits(bits) + n).to_bits());
        // It always changes.
        let _ = self
            .number
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Sets a gauge.
    pub(in crate::script) fn set(&self, n: f64) {
        self.number.store(n.to_bits(), Ordering::Relaxed);
    }

    /// Counts a value in a histogram.
    pub(in crate::script) fn observe(&self, n: f64) {
        let bucket = BUCKETS.iter().position(|most| n <= *most);
        if let Some(bucket) = self.buckets.get(bucket.unwrap_or(BUCKETS.len())) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.add(n);
    }

    fn write(&self, name: &str, text: &mut String) {
        let number = f64::from_bits(self.number.load(Ordering::Relaxed));
        let kind = self.kind.name();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP wsd_lua_{name} {}", escape(&self.help));
        let _ = writeln!(text, "# TYPE wsd_lua_{name} {kind}");
        if self.kind != MetricKind::Histogram {
            let _ = writeln!(text, "wsd_lua_{name} {number}");
            return;
        }
        let mut count = 0;
        for (most, bucket) in BUCKETS.iter().zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "wsd_lua_{name}_bucket{{le=\"{most}\"}} {count}");
        }
        count += self.buckets.last().map_or(0, |b| b.load(Ordering::Relaxed));
        let _ = writeln!(text, "wsd_lua_{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "wsd_lua_{name}_sum {number}");
        let _ = writeln!(text, "wsd_lua_{name}_count {count}");
    }
}

/// Every metric of the scripts.
#[derive(Default)]
pub(in crate::script) struct Registry(Guarded<BTreeMap<String, Arc<Metric>>>);

impl Registry {
    /// The metric of that name, made if there is none. One of another kind is replaced if it is of an older generation.
    pub(in crate::script) fn register(
        &self,
        name: &str,
        kind: MetricKind,
        help: &str,
        generation: Generation,
    ) -> Result<Arc<Metric>, String> {
        self.0.with(|known| {
            if let Some(found) = known.get(name) {
                if found.kind == kind {
                    return Ok(Arc::clone(found));
                }
                if found.generation == generation {
                    return Err(format!("is a {} already", found.kind.name()));
                }
            } else if let Some(other) = clash(known, name, kind) {
                return Err(format!("its series would be those of {other:?}"));
            } else if known.len() >= METRICS_MAX {
                // Those that only scripts of the past have counted make room.
                known.retain(|_, metric| Arc::strong_count(metric) > 1);
                if known.len() >= METRICS_MAX {
                    return Err(format!("there are {METRICS_MAX} metrics already"));
                }
            }
            let metric = Arc::new(Metric {
                kind,
                help: help.to_owned(),
                generation,
                number: AtomicU64::new(0),
                buckets: Default::default(),
            });
            known.insert(name.to_owned(), Arc::clone(&metric));
            Ok(metric)
        })
    }

    /// All of them, as Prometheus' text.
    pub(in crate::script) fn render(&self) -> String {
        let known: Vec<(String, Arc<Metric>)> = self.0.with(|known| {
            known
                .iter()
                .map(|(k, v)| (k.clone(), Arc::clone(v)))
                .collect()
        });
        let mut text = String::new();
        for (name, metric) in known {
            metric.write(&name, &mut text);
        }
        text
    }
}

/// A metric whose series have the name of one of this one's: a histogram writes three.
fn clash(known: &BTreeMap<String, Arc<Metric>>, name: &str, kind: MetricKind) -> Option<String> {
    let suffixes = ["_bucket", "_count", "_sum"];
    let histogram = suffixes
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(|name| {
            known
                .get(*name)
                .is_some_and(|m| m.kind == MetricKind::Histogram)
        })
        .map(ToOwned::to_owned);
    histogram.or_else(|| {
        let own = suffixes.iter().map(|suffix| format!("{name}{suffix}"));
        own.filter(|_| kind == MetricKind::Histogram)
            .find(|series| known.contains_key(series))
    })
}

/// In a help text a backslash and a newline are escaped.
fn escape(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

/// Metrics of all scripts (SPEC §4).
const METRICS_MAX: usize = 1000;
/// The usual borders for seconds, from 5 ms to 10 s, as Prometheus' own clients have them.
const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let registry = Registry::default();
        let of = |name, kind| registry.register(name, kind, "a\\b\nc", Generation(1));
        of("hits_total", MetricKind::Counter).unwrap().add(2.0);
        of("hits_total", MetricKind::Counter).unwrap().add(0.5);
        let gauge = of("load", MetricKind::Gauge).unwrap();
        gauge.set(7.0);
        gauge.set(-3.0);
        let histogram = of("seconds", MetricKind::Histogram).unwrap();
        for n in [0.001, 0.005, 0.3, 99.0] {
            histogram.observe(n);
        }
        let text = registry.render();
        assert!(text.starts_with(
            "# HELP wsd_lua_hits_total a\\\\b\\nc\n# TYPE wsd_lua_hits_total counter\nwsd_lua_hits_total 2.5\n"
        ));
        assert!(text.contains("# TYPE wsd_lua_load gauge\nwsd_lua_load -3\n"));
        for line in [
            "wsd_lua_seconds_bucket{le=\"0.005\"} 2",
            "wsd_lua_seconds_bucket{le=\"0.25\"} 2",
            "wsd_lua_seconds_bucket{le=\"0.5\"} 3",
            "wsd_lua_seconds_bucket{le=\"10\"} 3",
            "wsd_lua_seconds_bucket{le=\"+Inf\"} 4",
            "wsd_lua_seconds_count 4",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn names_are_taken_once_a_generation_and_there_is_a_most() {
        let registry = Registry::default();
        let of = |name: &str, kind, generation| {
            registry.register(name, kind, "", Generation(generation))
        };
        let first = of("a", MetricKind::Counter, 1).unwrap();
        first.add(1.0);
        let why = |result: Result<Arc<Metric>, String>| result.err().unwrap();
        assert_eq!(why(of("a", MetricKind::Gauge, 1)), "is a counter already");
        assert!(of("a", MetricKind::Gauge, 2).is_ok());
        assert!(registry.render().contains("wsd_lua_a 0\n"));
        assert!(of("h", MetricKind::Histogram, 1).is_ok());
        assert_eq!(
            why(of("h_sum", MetricKind::Gauge, 1)),
            "its series would be those of \"h\""
        );
        assert!(of("x_count", MetricKind::Gauge, 1).is_ok());
        assert_eq!(
            why(of("x", MetricKind::Histogram, 1)),
            "its series would be those of \"x_count\""
        );
        let mut kept = Vec::new();
        for n in 0..METRICS_MAX - 3 {
            kept.push(of(&format!("m{n}"), MetricKind::Counter, 1).unwrap());
        }
        // "a", "h" and "x_count" are nobody's any more.
        assert!(of("n", MetricKind::Counter, 1).is_ok());
        for n in 0..2 {
            kept.push(of(&format!("o{n}"), MetricKind::Counter, 1).unwrap());
        }
        kept.push(of("p", MetricKind::Counter, 1).unwrap());
        assert_eq!(
            why(of("q", MetricKind::Counter, 1)),
            "there are 1000 metrics already"
        );
    }
}
