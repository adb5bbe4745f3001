//! The one list of metrics: name, help, type; counted by each worker for itself and summed when somebody reads.
//!
//! A [`Counter`] has one writer, its worker, so counting is a load and a store without a lock or a locked instruction;
//! the admin thread reads it at any time. `render.rs` makes the Prometheus text, `http.rs` serves it.

mod hooks;
pub mod http;
pub mod render;

pub use hooks::{HOOK_METRICS, HookCounters, HookTable, HookTotals};

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows, written by one thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Adds 1.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down, written by one thread.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a metric is (Prometheus' text format).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricType {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One row of the list: a series of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// `wsd_…`
    pub name: &'static str,
    /// `reason="slow"`, or empty.
    pub labels: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricType,
}

/// Declares a struct of counters and gauges together with the rows that describe them, in the same order.
macro_rules! metrics {
    ($(#[$meta:meta])* $group:ident { $($field:ident: $type:ident, $name:literal, $labels:literal, $help:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $group {
            $(#[doc = $help] pub $field: $type,)*
        }

        impl $group {
            /// What the fields are, in order.
            pub const SERIES: &'static [Series] = &[$(Series {
                name: $name, labels: $labels, help: $help, kind: MetricType::$type,
            },)*];

            /// The fields' values, in order.
            #[must_use]
            pub fn values(&self) -> Vec<u64> {
                vec![$(self.$field.get(),)*]
            }
        }
    };
}

metrics! {
    /// What one worker counts.
    WorkerMetrics {
        connections: Gauge, "wsd_connections", "", "Open connections.";
        channels: Gauge, "wsd_channels", "", "Channels with a subscriber, counted on each worker that has one.";
        subscriptions: Gauge, "wsd_subscriptions", "", "Subscriptions of all connections.";
        queue_bytes: Gauge, "wsd_queue_bytes", "", "Bytes waiting for connections.";
        hook_memory_bytes: Gauge, "wsd_hook_memory_bytes", "", "Memory of the scripts.";
        accepted: Counter, "wsd_accepted_total", "", "Handshakes answered with 101.";
        refused_request: Counter, "wsd_refused_total", "reason=\"bad_request\"", "Handshakes refused.";
        refused_size: Counter, "wsd_refused_total", "reason=\"too_large\"", "Handshakes refused.";
        refused_proxy: Counter, "wsd_refused_total", "reason=\"proxy_header\"", "Handshakes refused.";
        refused_route: Counter, "wsd_refused_total", "reason=\"no_route\"", "Handshakes refused.";
        refused_origin: Counter, "wsd_refused_total", "reason=\"origin\"", "Handshakes refused.";
        refused_hook: Counter, "wsd_refused_total", "reason=\"hook\"", "Handshakes refused.";
        refused_error: Counter, "wsd_refused_total", "reason=\"hook_error\"", "Handshakes refused.";
        refused_tls: Counter, "wsd_refused_total", "reason=\"tls\"", "Handshakes refused.";
        refused_timeout: Counter, "wsd_refused_total", "reason=\"timeout\"", "Handshakes refused.";
        refused_stopping: Counter, "wsd_refused_total", "reason=\"stopping\"", "Handshakes refused.";
        messages_received: Counter, "wsd_messages_received_total", "", "Messages from clients.";
        bytes_received: Counter, "wsd_bytes_received_total", "", "Bytes from clients, handshakes included.";
        messages_delivered: Counter, "wsd_messages_delivered_total", "", "Frames with messages given to connections.";
        bytes_sent: Counter, "wsd_bytes_sent_total", "", "Bytes written to connections.";
        publications: Counter, "wsd_publications_total", "", "Publications of this node that got their place in a channel, with Redis when they were handed to it.";
        dropped_hook: Counter, "wsd_dropped_total", "reason=\"hook\"", "Messages dropped.";
        dropped_error: Counter, "wsd_dropped_total", "reason=\"hook_error\"", "Messages dropped.";
        dropped_route: Counter, "wsd_dropped_total", "reason=\"not_allowed\"", "Messages dropped.";
        dropped_nowhere: Counter, "wsd_dropped_total", "reason=\"no_channel\"", "Messages dropped.";
        dropped_slow: Counter, "wsd_dropped_total", "reason=\"slow\"", "Messages dropped.";
        dropped_broker: Counter, "wsd_dropped_total", "reason=\"broker\"", "Messages dropped.";
        slow_disconnects: Counter, "wsd_slow_disconnects_total", "", "Connections closed because they did not read.";
        limited_size: Counter, "wsd_limit_disconnects_total", "reason=\"message\"", "Connections closed because they went over a limit.";
        limited_messages: Counter, "wsd_limit_disconnects_total", "reason=\"messages_per_second\"", "Connections closed because they went over a limit.";
        limited_bytes: Counter, "wsd_limit_disconnects_total", "reason=\"bytes_per_second\"", "Connections closed because they went over a limit.";
        subscribe_refused: Counter, "wsd_subscribe_refused_total", "", "Subscriptions refused.";
        gaps: Counter, "wsd_gaps_total", "", "Times that a channel missed publications that cannot be had again.";
        effects_too_deep: Counter, "wsd_hook_effects_dropped_total", "", "Effects of hooks dropped because hooks caused hooks too deep.";
    }
}

metrics! {
    /// What is counted once a node, each by one thread.
    NodeMetrics {
        generation: Gauge, "wsd_generation", "", "Generation of configuration and scripts.";
        reloads_ok: Counter, "wsd_reloads_total", "result=\"ok\"", "Reloads.";
        reloads_refused: Counter, "wsd_reloads_total", "result=\"refused\"", "Reloads.";
        reload_ok: Gauge, "wsd_last_reload_successful", "", "Whether the last reload succeeded.";
        handshakes: Gauge, "wsd_handshakes", "", "Handshakes that are not answered yet.";
        refused_full: Counter, "wsd_refused_total", "reason=\"connections\"", "Handshakes refused.";
        refused_address: Counter, "wsd_refused_total", "reason=\"connections_per_address\"", "Handshakes refused.";
        refused_rate: Counter, "wsd_refused_total", "reason=\"accept_rate\"", "Handshakes refused.";
        broker_up: Gauge, "wsd_broker_up", "", "Whether the broker takes publishes and delivers.";
        broker_reconnects: Counter, "wsd_broker_reconnects_total", "", "Times that the link to the broker was made again.";
        broker_buffer_bytes: Gauge, "wsd_broker_buffer_bytes", "", "Bytes of publishes that wait for the broker.";
        certificate_expires: Gauge, "wsd_certificate_expires_seconds", "", "When the certificate of [tls] expires, in seconds since 1970; 0 without one.";
        log_dropped: Counter, "wsd_log_dropped_total", "", "Log records dropped because the log was full.";
    }
}
