//! The scenarios: who is connected, who publishes, how fast, how much. `[pure]`
//!
//! Each is a row of a table and means what it always meant, so figures of different days compare; a different load gets a
//! name of its own. Never connects anything: `load.rs` and `idle.rs` carry them out, `main.rs` picks them by name.

use std::time::Duration;

/// One load.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is, in a line for `--list`.
    pub(crate) about: &'static str,
    /// How many channels.
    pub(crate) channels: u32,
    /// How many wsd, each a process of its own: 2 meet over a Redis, publishers on the first, all others on the second.
    pub(crate) nodes: u32,
    /// How many connections each channel has.
    pub(crate) members: u32,
    /// How many of them publish; the first ones. At most `members`.
    pub(crate) publishers: u32,
    /// How many of them never read; the last ones. With `publishers` at most `members`.
    pub(crate) silent: u32,
    /// When a message is sent.
    pub(crate) pace: Pace,
    /// Bytes of a payload, between 50 and 8,192.
    pub(crate) size: usize,
    /// How long it is measured unless `--seconds` says otherwise.
    pub(crate) seconds: u64,
}

/// When a message is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// A publisher keeps this many messages unacknowledged; its own message come back is the acknowledgement.
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
}

impl Scenario {
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

/// The scenarios that a name of the command line means.
pub(crate) fn named(name: &str) -> Vec<&'static Scenario> {
    let names: &[&str] = match name {
        "all" => return SCENARIOS.iter().collect(),
        "echo" => &["echo1", "echo16"],
        "fanout" => &["fan-sat", "fan-sat1000"],
        one => &[one],
    };
    SCENARIOS
        .iter()
        .filter(|s| names.contains(&s.name))
        .collect()
}

/// Every scenario, in the order in which `all` runs them.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "echo1",
        about: "50 connections, each in a channel of its own, 1 message unacknowledged",
        channels: 50,
        pace: Pace::Window(1),
        ..BASE
    },
    Scenario {
        name: "echo16",
        about: "50 connections, each in a channel of its own, 16 messages unacknowledged",
        channels: 50,
        pace: Pace::Window(16),
        ..BASE
    },
    Scenario {
        name: "pipeline",
        about: "8 connections, each in a channel of its own, 256 messages unacknowledged",
        channels: 8,
        pace: Pace::Window(256),
        ..BASE
    },
    Scenario {
        name: "fan-sat",
        about: "200 subscribers, 1 of them publishes, 64 messages unacknowledged",
        members: 200,
        pace: Pace::Window(64),
        ..BASE
    },
    Scenario {
        name: "fan-sat1000",
        about: "1,000 subscribers, 1 of them publishes, 64 messages unacknowledged",
        members: 1_000,
        pace: Pace::Window(64),
        ..BASE
    },
    Scenario {
        name: "fan-sat-1k",
        about: "200 subscribers, 1 of them publishes, 64 messages of 1 KiB unacknowledged",
        members: 200,
        pace: Pace::Window(64),
        size: 1_024,
        ..BASE
    },
    Scenario {
        name: "fan-burst",
        about: "200 subscribers, 1 of them publishes, 320 messages a second in bursts of 16",
        members: 200,
        pace: Pace::Due {
            per_second: 320,
            burst: 16,
        },
        ..BASE
    },
    Scenario {
        name: "fan-paced",
        about: "200 subscribers, 1 of them publishes, 150 messages a second one by one",
        members: 200,
        pace: Pace::Due {
            per_second: 150,
            burst: 1,
        },
        ..BASE
    },
    Scenario {
        name: "many-sat",
        about: "200 channels of 10, everyone publishes, 1 message unacknowledged each",
        channels: 200,
        members: 10,
        publishers: 10,
        pace: Pace::Window(1),
        ..BASE
    },
    Scenario {
        name: "many",
        about: "500 channels of 10, everyone publishes, 1,500 messages a second in all",
        channels: 500,
        members: 10,
        publishers: 10,
        pace: Pace::Due {
            per_second: 1_500,
            burst: 1,
        },
        ..BASE
    },
    Scenario {
        name: "redis-sat",
        about: "2 nodes over a Redis: 1 publisher on one, 200 subscribers on the other, 64 messages unacknowledged",
        nodes: 2,
        members: 201,
        pace: Pace::Window(64),
        ..BASE
    },
    Scenario {
        name: "slow",
        about: "110 subscribers of which 10 do not read, 400 messages of 4 KiB a second",
        members: 110,
        silent: 10,
        pace: Pace::Due {
            per_second: 400,
            burst: 1,
        },
        size: 4_096,
        seconds: 5, // the kernel takes the first 2 s of what a silent connection does not read
        ..BASE
    },
    Scenario {
        name: "idle",
        about: "10,000 connections in channels of 10: memory, handshakes, an idle server's time",
        channels: 1_000,
        members: 10,
        publishers: 10,
        seconds: 10,
        ..BASE
    },
];

/// What most of them have in common; 60 bytes are a short chat message.
const BASE: Scenario = Scenario {
    name: "",
    about: "",
    nodes: 1,
    channels: 1,
    members: 1,
    publishers: 1,
    silent: 0,
    pace: Pace::Idle,
    size: 60,
    seconds: 2,
};
