//! wsd: a daemon that carries messages between WebSocket clients.
//!
//! The modules in reading order. A message's journey is `worker::conn → wire::Session → worker::State → pipeline →
//! broker::home (→ redis → home) → worker::State → worker::flush`.

// Headers of pure modules carry the tag `[pure]`, which rustdoc would take for a link.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "see above; clippy and the tests see broken names"
)]

pub mod types;

pub mod wire;

pub mod protocol;

pub mod hub;

pub mod pipeline;

pub mod script;

pub mod broker;

pub mod worker;

pub mod config;

pub mod tls;

pub mod systemd;

pub mod control;

pub mod metrics;

pub mod log;

pub mod daemon;

pub mod cli;

#[doc(hidden)]
pub mod fuzzing;
