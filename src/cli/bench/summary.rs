//! [pure] What a run has found, as a block to read or as one JSON object.

use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use super::options::Plan;
use super::tally::{Measured, Tally};

/// What a run has found.
#[derive(Debug)]
pub(super) struct Summary {
    plan: Plan,
    seconds: f64,
    measured: Option<Measured>,
    lost: u64,
    again: u64,
    ended: Vec<(String, u32)>,
    /// Share of a core that this process used, from 0 to 1.
    generator: Option<f64>,
    /// It was ended from the terminal before its time.
    pub(super) interrupted: bool,
}

impl Summary {
    /// Of a run that is over.
    pub(super) fn new(
        plan: &Plan,
        tally: &Tally,
        measured: Option<Measured>,
        elapsed: Duration,
        generator: Option<f64>,
    ) -> Self {
        Self {
            plan: plan.clone(),
            seconds: elapsed.as_secs_f64(),
            measured,
            lost: tally.lost(),
            again: tally.again,
            ended: tally.ended.clone().into_iter().collect(),
            generator,
            interrupted: false,
        }
    }

    /// Whether every message came once to everybody, and nobody was let go.
    pub(super) fn is_clean(&self) -> bool {
        let delivered = self.measured.as_ref().map_or(0, |m| m.delivered);
        self.lost == 0 && self.again == 0 && self.ended.is_empty() && delivered > 0
    }

    fn a_second(&self, of: fn(&Measured) -> u64) -> f64 {
        self.measured.as_ref().map_or(0, of) as f64 / self.seconds
    }

    fn latency(&self, percent: u64) -> u64 {
        self.measured
            .as_ref()
            .map_or(0, |m| m.latency.percentile(percent))
    }

    /// What a person reads.
    pub(super) fn block(&self) -> String {
        let plan = &self.plan;
        let pace = match plan.rate {
            Some(rate) => format!("{} messages/s in all", grouped(f64::from(rate))),
            None => format!("as fast as they come back, {} under way each", plan.window),
        };
        let mut text = format!(
            "{}: {} connections in {} channels; {} publish messages of {} bytes, {pace}; {:.1} s",
            plan.url,
            grouped(f64::from(plan.connections)),
            grouped(f64::from(plan.channels)),
            grouped(f64::from(plan.publishers)),
            plan.size,
            self.seconds
        );
        let most = self.measured.as_ref().map_or(0, |m| m.latency.most());
        let rows = [
            (
                "published",
                format!("{}/s", grouped(self.a_second(|m| m.published))),
            ),
            (
                "delivered",
                format!(
                    "{}/s, {:.1} MB/s",
                    grouped(self.a_second(|m| m.delivered)),
                    self.a_second(|m| m.bytes) / 1e6
                ),
            ),
            (
                "latency",
                format!(
                    "p50 {}, p99 {}, longest {}",
                    millis(self.latency(50)),
                    millis(self.latency(99)),
                    millis(most)
                ),
            ),
            ("lost", grouped(self.lost as f64)),
            ("again", grouped(self.again as f64)),
        ];
        // Writing to a string cannot fail.
        for (name, value) in rows {
            let _ = write!(text, "\n  {name:9}  {value}");
        }
        for (why, count) in &self.ended {
            let _ = write!(text, "\n  ended      {count} connections, {why}");
        }
        if self.interrupted {
            text += "\nended before its time";
        }
        if let Some(busy) = self.generator.filter(|busy| *busy > BUSY) {
            let _ = write!(
                text,
                "\nwsd bench itself was busy for {:.0} % of the time: the node can carry more than this; run several, or on another machine",
                busy * 100.0
            );
        }
        text
    }

    /// What a program reads.
    pub(super) fn json(&self) -> String {
        let plan = &self.plan;
        let ended: serde_json::Map<_, _> = self
            .ended
            .iter()
            .map(|(why, count)| (why.clone(), json!(count)))
            .collect();
        let value = json!({
            "url": plan.url,
            "connections": plan.connections,
            "channels": plan.channels,
            "publishers": plan.publishers,
            "rate": plan.rate,
            "window": plan.rate.is_none().then_some(plan.window),
            "size": plan.size,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "published_per_second": self.a_second(|m| m.published),
            "delivered_per_second": self.a_second(|m| m.delivered),
            "bytes_per_second": self.a_second(|m| m.bytes),
            "latency_us": {
                "p50": self.latency(50),
                "p99": self.latency(99),
                "max": self.measured.as_ref().map_or(0, |m| m.latency.most()),
            },
            "lost": self.lost,
            "again": self.again,
            "ended": ended,
            "generator_busy": self.generator,
        });
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }
}

/// Microseconds, as milliseconds with three digits that matter.
pub(super) fn millis(micros: u64) -> String {
    let millis = micros as f64 / 1_000.0;
    match micros {
        0..10_000 => format!("{millis:.2} ms"),
        10_000..100_000 => format!("{millis:.1} ms"),
        _ => format!("{millis:.0} ms"),
    }
}

/// A number in groups of three digits.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// From here on the node is not the limit.
const BUSY: f64 = 0.9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(12.0), "12");
        assert_eq!(millis(420), "0.42 ms");
        assert_eq!(millis(12_340), "12.3 ms");
        assert_eq!(millis(1_234_000), "1234 ms");
    }
}
