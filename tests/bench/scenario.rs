//! What a scenario is: who is connected, who publishes, how fast, how much, and who takes part. `[pure]`
//!
//! `rows.rs` is the table of them. Never connects anything: `load.rs` and `idle.rs` carry them out, `turns.rs` decides who
//! takes part in which.

use std::time::Duration;

use crate::message::{Check, Filling};

/// One load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is, in a line for `--list`.
    pub(crate) about: &'static str,
    /// How many channels.
    pub(crate) channels: u32,
    /// How many servers, each a process of its own: 2 meet over a Redis, publishers on the first, all others on the second.
    pub(crate) nodes: u32,
    /// How many connections each channel has.
    pub(crate) members: u32,
    /// How many of them publish; the first ones. At most `members`.
    pub(crate) publishers: u32,
    /// How many of them never read; the last ones. With `publishers` at most `members`.
    pub(crate) silent: u32,
    /// When a message is sent.
    pub(crate) pace: Pace,
    /// Bytes of a payload, at least 50 and below 64 KiB.
    pub(crate) size: usize,
    /// What it is made of.
    pub(crate) filling: Filling,
    /// Whether connections compress in both directions, and insist on it.
    pub(crate) deflate: bool,
    /// What a receiver accepts as that payload.
    pub(crate) check: Check,
    /// The server lets every message through (1), or only those whose number is a multiple of this.
    pub(crate) every: u32,
    /// How long it is measured unless `--seconds` says otherwise.
    pub(crate) seconds: u64,
    /// Who is measured beside wsd.
    pub(crate) others: Others,
    /// `runtime.workers`: wsd takes part once with each.
    pub(crate) workers: &'static [u32],
    /// What wsd's configuration has more than the default.
    pub(crate) setup: Setup,
}

/// Who is measured beside wsd, in turn with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Others {
    /// The floors, and the peers that are wanted.
    All,
    /// wsd without the scenario's `setup` ("bare"): for rows that say what something of wsd's own costs.
    Bare,
    /// Nobody: for what only wsd does, or what only makes sense for it.
    Nobody,
}

/// wsd's configuration beyond the default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Text of a hook script.
    pub(crate) script: Option<&'static str>,
    /// TOML: whole tables other than `listen`, `runtime`, `broker`, `hooks` and `admin`.
    pub(crate) keys: &'static str,
}

/// When a message is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// A publisher keeps this many messages unacknowledged; its own message come back is the acknowledgement, or on two nodes
    /// (with one publisher a channel) that it is with the first reader of the second.
    Window(u32),
    /// Bursts of this many messages at even intervals, all publishers taking turns, whatever the server does.
    Due {
        /// Messages a second of all publishers together.
        per_second: u32,
        /// How many of them at once.
        burst: u32,
    },
    /// Nothing but a message of each connection, once: memory, handshakes and an idle server's time are measured.
    Idle,
    /// The same operations at several sizes, one after the other.
    Scale(Growth),
}

/// What grows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Growth {
    /// Channels with a subscriber each, over the scenario's members.
    Channels(&'static [u32]),
    /// Bytes of a message.
    Bytes(&'static [u32]),
}

impl Growth {
    /// The sizes, ascending.
    pub(crate) const fn sizes(self) -> &'static [u32] {
        match self {
            Self::Channels(sizes) | Self::Bytes(sizes) => sizes,
        }
    }
}

impl Scenario {
    /// The same load for a server that does nothing but carry: without what `setup` does to messages.
    pub(crate) const fn bare(&self) -> Self {
        Self {
            deflate: false,
            check: Check::Bytes,
            every: 1,
            setup: Setup {
                script: None,
                keys: "",
            },
            ..*self
        }
    }

    /// How many connections there are.
    pub(crate) const fn connections(&self) -> u32 {
        self.channels * self.members
    }

    /// How many of them publish. Connections are numbered so that these are the first.
    pub(crate) const fn senders(&self) -> u32 {
        self.channels * self.publishers
    }

    /// How many connections of a channel read.
    pub(crate) const fn readers(&self) -> u32 {
        self.members - self.silent
    }

    /// When message `number` of a paced run is due, counted from the start.
    pub(crate) fn due(&self, number: u64) -> Duration {
        let Pace::Due { per_second, burst } = self.pace else {
            return Duration::ZERO;
        };
        let bursts = number / u64::from(burst);
        Duration::from_nanos(bursts * u64::from(burst) * 1_000_000_000 / u64::from(per_second))
    }
}
