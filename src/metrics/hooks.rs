//! What is counted of each script's hooks: calls, errors, cuts and how long they took.
//!
//! The rows are made when scripts are loaded and stay as long as the process, so a reload loses nothing. Each worker
//! writes its own, as with [`super::Counter`]; whoever reads sums them.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::Counter;
use crate::types::WorkerId;

#[expect(
    clippy::disallowed_types,
    reason = "rows are added while scripts load, and read when somebody asks"
)]
type Guarded<T> = std::sync::Mutex<T>;

/// What one worker counts of one hook of one script.
#[derive(Debug, Default)]
pub struct HookCounters {
    /// Calls that were made.
    pub calls: Counter,
    /// Those that failed.
    pub errors: Counter,
    /// Those that were cut.
    pub cuts: Counter,
    /// How long they took together, in nanoseconds.
    nanoseconds: Counter,
    /// Calls by their time: below 1 µs, below 2 µs, below 4 µs …, all others.
    times: [Counter; TIMES],
}

impl HookCounters {
    /// A call has ended.
    pub fn add(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.calls.inc();
        self.nanoseconds.add(nanoseconds);
        let microseconds = nanoseconds / 1000;
        let bits = usize::try_from(u64::BITS - microseconds.leading_zeros()).unwrap_or(TIMES);
        if let Some(place) = self.times.get(bits.min(TIMES - 1)) {
            place.inc();
        }
    }
}

/// The hooks of all scripts that were ever loaded: clones are the same table.
#[derive(Clone, Debug, Default)]
pub struct HookTable(Arc<Guarded<Vec<Row>>>);

#[derive(Debug)]
struct Row {
    script: Box<str>,
    hook: &'static str,
    /// A worker each.
    counters: Vec<(WorkerId, Arc<HookCounters>)>,
}

/// What is known of one hook of one script, over all workers.
#[derive(Clone, Debug, PartialEq)]
pub struct HookTotals {
    /// The file's name.
    pub script: Box<str>,
    /// `on_message`
    pub hook: &'static str,
    /// Calls that were made.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those that were cut.
    pub cuts: u64,
    /// How long they took together.
    pub time: Duration,
    /// Calls by their time.
    times: [u64; TIMES],
}

impl HookTable {
    /// Where a worker counts a hook of a script.
    #[must_use]
    pub fn counters(
        &self,
        worker: WorkerId,
        script: &str,
        hook: &'static str,
    ) -> Arc<HookCounters> {
        self.change(|rows| {
            let place = rows.binary_search_by_key(&(script, hook), |row| (&row.script, row.hook));
            let place = place.unwrap_or_else(|place| {
                let row = Row {
                    script: script.into(),
                    hook,
                    counters: Vec::new(),
                };
                rows.insert(place, row);
                place
            });
            let Some(row) = rows.get_mut(place) else {
                return Arc::default();
            };
            let known = row.counters.iter().find(|(known, _)| *known == worker);
            if let Some((_, counters)) = known {
                return Arc::clone(counters);
            }
            let counters = Arc::<HookCounters>::default();
            row.counters.push((worker, Arc::clone(&counters)));
            counters
        })
    }

    /// Everything, by script and hook.
    #[must_use]
    pub fn totals(&self) -> Vec<HookTotals> {
        self.change(|rows| rows.iter().map(Row::total).collect())
    }

    /// In Prometheus' text format.
    #[must_use]
    pub fn to_text(&self) -> String {
        let totals = self.totals();
        let mut text = String::new();
        let [calls, errors, cuts, seconds] = HOOK_METRICS;
        counter(&mut text, calls, &totals, |total| total.calls);
        counter(&mut text, errors, &totals, |total| total.errors);
        counter(&mut text, cuts, &totals, |total| total.cuts);
        let (name, help) = seconds;
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} histogram\n");
        for total in &totals {
            let labels = total.labels();
            let mut below = 0;
            for (bits, calls) in (0_u32..).zip(total.times) {
                below += calls;
                if bits % 2 == 0 && bits <= LAST_BORDER {
                    let border = Duration::from_micros(1 << bits).as_secs_f64();
                    let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{border}\"}} {below}");
                }
            }
            let (sum, count) = (total.time.as_secs_f64(), total.times.iter().sum::<u64>());
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}");
            let _ = writeln!(text, "{name}_count{{{labels}}} {count}");
        }
        text
    }

    fn change<R>(&self, change: impl FnOnce(&mut Vec<Row>) -> R) -> R {
        change(
            &mut self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

impl Row {
    fn total(&self) -> HookTotals {
        let mut total = HookTotals {
            script: self.script.clone(),
            hook: self.hook,
            calls: 0,
            errors: 0,
            cuts: 0,
            time: Duration::ZERO,
            times: [0; TIMES],
        };
        for (_, counters) in &self.counters {
            total.calls += counters.calls.get();
            total.errors += counters.errors.get();
            total.cuts += counters.cuts.get();
            total.time += Duration::from_nanos(counters.nanoseconds.get());
            for (sum, times) in total.times.iter_mut().zip(&counters.times) {
                *sum += times.get();
            }
        }
        total
    }
}

impl HookTotals {
    /// The time below which 99 of 100 calls stayed: the border of the class that it falls in.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let count: u64 = self.times.iter().sum();
        let wanted = count - count / 100;
        let mut below = 0;
        for (bits, calls) in (0_u32..).zip(self.times) {
            below += calls;
            if below >= wanted {
                return Duration::from_micros(1 << bits);
            }
        }
        Duration::ZERO
    }

    /// Of one call.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let calls = u32::try_from(self.calls).unwrap_or(u32::MAX);
        self.time.checked_div(calls).unwrap_or_default()
    }

    fn labels(&self) -> String {
        // A file's name may have anything in it.
        let script = self.script.replace('\\', "\\\\");
        let script = script.replace('"', "\\\"").replace('\n', "\\n");
        format!("script=\"{script}\",hook=\"{}\"", self.hook)
    }
}

fn counter(
    text: &mut String,
    (name, help): (&str, &str),
    totals: &[HookTotals],
    value: impl Fn(&HookTotals) -> u64,
) {
    // Writing to a string cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} counter\n");
    for total in totals {
        let _ = writeln!(text, "{name}{{{}}} {}", total.labels(), value(total));
    }
}

/// Name and help of each metric of hooks: three counters and a histogram, all with the labels `script` and `hook`.
pub const HOOK_METRICS: [(&str, &str); 4] = [
    ("wsd_hook_calls_total", "Calls of hooks."),
    ("wsd_hook_errors_total", "Calls of hooks that failed."),
    ("wsd_hook_cuts_total", "Calls of hooks that were cut."),
    ("wsd_hook_seconds", "How long calls of hooks took."),
];

/// Classes of times: the last but one ends at 16.8 s.
const TIMES: usize = 26;
/// The last border that Prometheus is told of: 2^20 µs, about a second.
const LAST_BORDER: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_summed_over_workers_and_classed_by_time() {
        let table = HookTable::default();
        let (a, b) = (WorkerId(0), WorkerId(1));
        let counters = table.counters(a, "chat.lua", "on_message");
        for _ in 0..98 {
            counters.add(Duration::from_nanos(700));
        }
        assert_eq!(table.totals()[0].p99(), Duration::from_micros(1));
        table
            .counters(b, "chat.lua", "on_message")
            .add(Duration::from_micros(3));
        let again = table.counters(a, "chat.lua", "on_message");
        again.add(Duration::from_secs(3600));
        again.cuts.inc();
        table.counters(a, "a\"b.lua", "on_batch").errors.inc();
        let totals = table.totals();
        assert_eq!(&*totals[0].script, "a\"b.lua");
        let total = &totals[1];
        assert_eq!((total.calls, total.cuts, total.errors), (100, 1, 0));
        assert_eq!(total.p99(), Duration::from_micros(4));
        assert!(total.mean() > Duration::from_secs(35));
        let text = table.to_text();
        for line in [
            "wsd_hook_calls_total{script=\"chat.lua\",hook=\"on_message\"} 100",
            "wsd_hook_errors_total{script=\"a\\\"b.lua\",hook=\"on_batch\"} 1",
            "wsd_hook_seconds_bucket{script=\"chat.lua\",hook=\"on_message\",le=\"0.000001\"} 98",
            "wsd_hook_seconds_bucket{script=\"chat.lua\",hook=\"on_message\",le=\"0.000004\"} 99",
            "wsd_hook_seconds_bucket{script=\"chat.lua\",hook=\"on_message\",le=\"1.048576\"} 99",
            "wsd_hook_seconds_bucket{script=\"chat.lua\",hook=\"on_message\",le=\"+Inf\"} 100",
            "wsd_hook_seconds_count{script=\"chat.lua\",hook=\"on_message\"} 100",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}
