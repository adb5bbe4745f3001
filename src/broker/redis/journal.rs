//! What the Redis thread writes to the journal: each loss once, whatever repeats at most every [`INTERVAL`].
//!
//! Called by `thread.rs` only. A Redis that is away for an hour makes two lines, not a thousand; a reason that changes
//! meanwhile (first refused, then a wrong password) makes one more.

use std::time::{Duration, Instant};

use crate::config::Broker;
use crate::types::ChannelName;

use super::sentinel::Master;
use super::text;

/// How often the same thing is said again, with its count.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was said and when.
#[derive(Debug)]
pub(super) struct Journal {
    outage: Option<Outage>,
    /// The link was there before.
    been_up: bool,
    full: Repeated,
    late: Repeated,
    denied: Repeated,
    deaf: Repeated,
}

/// From the loss of the link to its return.
#[derive(Debug)]
struct Outage {
    since: Instant,
    /// The reason that was said last; empty: none yet.
    told: String,
    told_at: Instant,
}

impl Journal {
    /// Sentinels have named a master, and it is one.
    pub(super) fn master(config: &Broker, master: &Master) {
        tracing::info!(target: "broker", "{}: the master is {}", config.url, master.host);
    }

    pub(super) const fn new() -> Self {
        Self {
            outage: None,
            been_up: false,
            full: Repeated::new(),
            late: Repeated::new(),
            denied: Repeated::new(),
            deaf: Repeated::new(),
        }
    }

    /// The link is lost, or another try to make it has failed.
    pub(super) fn away(&mut self, now: Instant, config: &Broker, reason: &str, wait: Duration) {
        let url = &config.url;
        let wait = text::duration(wait);
        let outage = self.outage.get_or_insert(Outage {
            since: now,
            told: String::new(),
            told_at: now,
        });
        if outage.told.is_empty() {
            reason.clone_into(&mut outage.told);
            outage.told_at = now;
            let what = if self.been_up { "lost" } else { "away" };
            let buffer = text::size(config.buffer);
            let buffer_for = text::duration(config.buffer_for);
            tracing::warn!(
                target: "broker",
                event = "broker_lost",
                "broker {what}: {url}: {reason}; publishes wait ({buffer}, {buffer_for}), next try in {wait}"
            );
            return;
        }
        if outage.told != reason && now.saturating_duration_since(outage.told_at) >= INTERVAL {
            reason.clone_into(&mut outage.told);
            outage.told_at = now;
            let away = text::duration(now.saturating_duration_since(outage.since));
            tracing::warn!(target: "broker", "broker away for {away}: {url}: {reason}; next try in {wait}");
        } else {
            tracing::debug!(target: "broker", "broker away: {url}: {reason}; next try in {wait}");
        }
    }

    /// Everything is subscribed: so many channels; and so many publishes have waited. Returns for how long Redis was away,
    /// if any try before this failed.
    pub(super) fn back(
        &mut self,
        now: Instant,
        config: &Broker,
        (channels, waited): (usize, usize),
    ) -> Option<Duration> {
        let outage = self.outage.take();
        let away = outage.map(|outage| now.saturating_duration_since(outage.since));
        match away.filter(|_| self.been_up) {
            Some(away) => {
                let away = text::duration(away);
                tracing::info!(
                    target: "broker",
                    event = "broker_back",
                    "broker back after {away}: {channels} channels subscribed again, {waited} publishes waited"
                );
            }
            None => {
                tracing::info!(target: "broker", event = "broker_back", "broker there: {}: {channels} channels subscribed", config.url);
            }
        }
        self.been_up = true;
        away
    }

    /// The link is made anew because the operator wants another one.
    pub(super) fn moved(&mut self, now: Instant, config: &Broker) {
        let since = self.outage.take().map_or(now, |outage| outage.since);
        self.outage = Some(Outage {
            since,
            told: String::new(),
            told_at: now,
        });
        tracing::info!(target: "broker", "broker settings changed: connecting to {}", config.url);
    }

    /// When the link was lost, while it is.
    pub(super) fn away_since(&self) -> Option<Instant> {
        self.outage.as_ref().map(|outage| outage.since)
    }

    /// The publisher link alone is gone; it is made again while the other one goes on.
    pub(super) fn publisher_lost(config: &Broker, reason: &str, wait: Duration) {
        let wait = text::duration(wait);
        tracing::warn!(target: "broker", "broker: {}: the publishing link is lost: {reason}; publishes wait, next try in {wait}", config.url);
    }

    /// Redis may or may not have carried these out.
    pub(super) fn unknown(count: usize) {
        tracing::warn!(
            target: "broker",
            count,
            "{count} publishes were on their way when the link was lost: whether Redis took them is not known, their senders are told"
        );
    }

    /// No room in the buffer.
    pub(super) fn full(&mut self, now: Instant, config: &Broker, count: usize) {
        if let Some(count) = self.full.on_happened(now, count) {
            let buffer = text::size(config.buffer);
            tracing::warn!(target: "broker", count, "{count} publishes refused: broker.buffer ({buffer}) is full");
        }
    }

    /// Waited too long in the buffer.
    pub(super) fn late(&mut self, now: Instant, config: &Broker, count: usize) {
        if let Some(count) = self.late.on_happened(now, count) {
            let buffer_for = text::duration(config.buffer_for);
            tracing::warn!(target: "broker", count, "{count} publishes refused: they waited for broker.buffer_for ({buffer_for})");
        }
    }

    /// Refused by Redis one by one.
    pub(super) fn denied(&mut self, now: Instant, count: usize, reason: &str) {
        if let Some(count) = self.denied.on_happened(now, count) {
            tracing::warn!(target: "broker", count, "{count} publishes refused by Redis: {reason}");
        }
    }

    /// Channels that the Redis user may not hear.
    pub(super) fn deaf(&mut self, now: Instant, config: &Broker, channels: &[ChannelName]) {
        if let (Some(count), Some(channel)) =
            (self.deaf.on_happened(now, channels.len()), channels.last())
        {
            let name = format!("{}{channel}", config.prefix);
            tracing::error!(
                target: "broker",
                count,
                wsd_channel = %channel,
                "{count} channels cannot be heard, the last is \"{name}\": the Redis user may not subscribe to them; its ACL needs &PATTERN for broker.prefix"
            );
        }
    }

    /// Left behind at the end.
    pub(super) fn left(count: usize) {
        tracing::warn!(target: "broker", count, "{count} publishes refused: Redis did not take them before the stop");
    }
}

/// Something that may happen often.
#[derive(Debug)]
struct Repeated {
    said_at: Option<Instant>,
    count: usize,
}

impl Repeated {
    const fn new() -> Self {
        Self {
            said_at: None,
            count: 0,
        }
    }

    /// How many there were since it was said last, if it is time to say it again.
    fn on_happened(&mut self, now: Instant, count: usize) -> Option<usize> {
        self.count = self.count.saturating_add(count);
        if count == 0 {
            return None;
        }
        let due = self
            .said_at
            .is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL);
        due.then(|| {
            self.said_at = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam_queue::SegQueue;
    use tracing_subscriber::layer::{self, SubscriberExt};
    use tracing_subscriber::{Layer, Registry};

    use super::*;
    use crate::config::{BrokerUrl, Secret};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn what_repeats_is_said_once_an_interval_with_its_count() {
        let now = Instant::now();
        let mut repeated = Repeated::new();
        assert_eq!(repeated.on_happened(now, 0), None);
        assert_eq!(repeated.on_happened(now, 2), Some(2));
        assert_eq!(repeated.on_happened(now, 3), None);
        assert_eq!(repeated.on_happened(now + INTERVAL, 1), Some(4));
    }

    /// Collects the lines of level info and above.
    #[derive(Clone, Default)]
    struct Lines(Arc<SegQueue<String>>);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &tracing::Event<'_>, _: layer::Context<'_, S>) {
            if *event.metadata().level() <= tracing::Level::INFO {
                let mut line = Line::default();
                event.record(&mut line);
                self.0.push(format!("{}|{}", line.event, line.message));
            }
        }
    }

    #[derive(Default)]
    struct Line {
        event: String,
        message: String,
    }

    impl tracing::field::Visit for Line {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.message = format!("{value:?}");
            }
        }

        fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
            if field.name() == "event" {
                value.clone_into(&mut self.event);
            }
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn an_outage_is_two_lines_however_many_tries_it_takes() {
        let config = Broker {
            url: BrokerUrl::Redis {
                tls: false,
                host: "10.0.0.5".to_owned(),
                port: 6379,
                database: 0,
            },
            prefix: String::new(),
            username: String::new(),
            password: Secret::default(),
            buffer: 8 << 20,
            buffer_for: Duration::from_secs(10),
            probe: Duration::ZERO,
        };
        let lines = Lines::default();
        let now = Instant::now();
        let ms = Duration::from_millis;
        tracing::subscriber::with_default(Registry::default().with(lines.clone()), || {
            let mut journal = Journal::new();
            assert_eq!(journal.back(now, &config, (0, 0)), None);
            journal.away(now, &config, "connection reset by peer", ms(500));
            for _ in 0..10 {
                journal.away(now, &config, "connection refused", ms(500));
            }
            let later = now + INTERVAL;
            journal.away(later, &config, "connection refused", ms(5000));
            assert_eq!(
                journal.back(now + ms(12_400), &config, (310, 7)),
                Some(ms(12_400))
            );
        });
        let lines: Vec<String> = std::iter::from_fn(|| lines.0.pop()).collect();
        assert_eq!(
            lines,
            [
                "broker_back|broker there: redis://10.0.0.5:6379: 0 channels subscribed",
                "broker_lost|broker lost: redis://10.0.0.5:6379: connection reset by peer; publishes wait (8 MiB, 10 s), next try in 500 ms",
                "|broker away for 10 s: redis://10.0.0.5:6379: connection refused; next try in 5 s",
                "broker_back|broker back after 12.4 s: 310 channels subscribed again, 7 publishes waited",
            ]
        );
    }
}
