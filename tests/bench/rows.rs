//! The table of scenarios. `[pure]`
//!
//! Each is a row of the benchmark's table and means what it always meant, so figures of different days compare; a different
//! load gets a name of its own. A new row is an entry of `SCENARIOS`; `BASE` has what it does not say. What a hook or a key
//! costs is a row with `setup` and `Others::Bare`: wsd without it then takes turns with wsd.

use crate::message::{Check, Filling};
use crate::scenario::{Growth, Others, Pace, Scenario, Setup};

/// The scenarios that a name of the command line means.
pub(crate) fn named(name: &str) -> Vec<&'static Scenario> {
    let names: &[&str] = match name {
        "all" => return SCENARIOS.iter().collect(),
        "echo" => &["echo1", "echo16"],
        "fanout" => &["fan-sat", "fan-sat1000"],
        "hooks" => &["hook-pass"],
        "scale" => &["scale-channels", "scale-one", "scale-large"],
        "compression" => &["deflate", "deflate-paced", "idle-deflate"],
        "redis" => &["redis-sat", "redis-paced"],
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
        workers: ONE_AND_TWO,
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
        workers: ONE_AND_TWO,
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
        workers: ONE_AND_TWO,
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
        name: "hook-pass",
        about: "pipeline with a hook that lets every message through",
        setup: Setup {
            script: Some(include_str!("hooks/pass.lua")),
            ..NOTHING
        },
        ..HOOK
    },
    Scenario {
        name: "deflate",
        about: "100 subscribers, 1 of them publishes, 64 messages of 1 KiB unacknowledged, compressed both ways",
        pace: Pace::Window(64),
        ..DEFLATE
    },
    Scenario {
        name: "deflate-paced",
        about: "the same with 150 messages a second one by one",
        pace: Pace::Due {
            per_second: 150,
            burst: 1,
        },
        ..DEFLATE
    },
    Scenario {
        name: "redis-sat",
        about: "2 nodes over a Redis: 1 publisher on one, 200 subscribers on the other, 64 messages unacknowledged",
        nodes: 2,
        members: 201,
        pace: Pace::Window(64),
        others: Others::Nobody,
        ..BASE
    },
    Scenario {
        name: "redis-paced",
        about: "the same with 150 messages a second one by one",
        nodes: 2,
        members: 201,
        pace: Pace::Due {
            per_second: 150,
            burst: 1,
        },
        others: Others::Nobody,
        ..BASE
    },
    Scenario {
        name: "idle",
        about: "10,000 connections in channels of 10, a script loaded: memory, handshakes, an idle server's time",
        setup: Setup {
            script: Some(include_str!("hooks/pass.lua")),
            ..NOTHING
        },
        ..IDLE
    },
    Scenario {
        name: "idle-deflate",
        about: "idle with compression agreed, and 1 KiB compressed of each",
        filling: Filling::Records,
        deflate: true,
        size: 1_024,
        others: Others::Nobody,
        ..IDLE
    },
    Scenario {
        name: "heartbeat",
        about: "idle for 65 s: two pings of a 30 s heartbeat for every connection",
        seconds: 65,
        others: Others::Nobody,
        setup: Setup {
            script: Some(include_str!("hooks/pass.lua")),
            ..NOTHING
        },
        ..IDLE
    },
    Scenario {
        name: "scale-channels",
        about: "up to 100,000 channels with a subscriber each, on 100 connections",
        members: 100,
        pace: Pace::Scale(Growth::Channels(&[1_000, 10_000, 100_000])),
        setup: Setup {
            keys: "[limits]\nsubscriptions = 1100\n",
            ..ON_DEMAND
        },
        ..SCALE
    },
    Scenario {
        name: "scale-one",
        about: "up to 10,000 channels on one connection",
        pace: Pace::Scale(Growth::Channels(&[100, 1_000, 10_000])),
        setup: Setup {
            keys: "[limits]\nsubscriptions = 10100\n",
            ..ON_DEMAND
        },
        ..SCALE
    },
    Scenario {
        name: "scale-large",
        about: "bursts of 8 messages of up to 1 MiB to 100 subscribers with small socket buffers",
        members: 100,
        pace: Pace::Scale(Growth::Bytes(&[16_384, 131_072, 1_048_576])),
        setup: Setup {
            keys: "[limits]\nmessage = \"2MiB\"\n[delivery]\nqueue = \"16MiB\"\n",
            ..NOTHING
        },
        ..SCALE
    },
];

const NOTHING: Setup = Setup {
    script: None,
    keys: "",
};

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
    filling: Filling::Letters,
    deflate: false,
    check: Check::Bytes,
    every: 1,
    seconds: 2,
    others: Others::All,
    workers: &[1],
    setup: NOTHING,
};

const ONE_AND_TWO: &[u32] = &[1, 2];

/// `pipeline`, where a hook shows most: beside wsd only wsd without the hook.
const HOOK: Scenario = Scenario {
    channels: 8,
    pace: Pace::Window(256),
    others: Others::Bare,
    ..BASE
};

/// Records of JSON; beside wsd wsd without compression.
const DEFLATE: Scenario = Scenario {
    members: 100,
    size: 1_024,
    filling: Filling::Records,
    deflate: true,
    others: Others::Bare,
    ..BASE
};

const ON_DEMAND: Setup = Setup {
    script: Some(include_str!("hooks/scale.lua")),
    keys: "",
};

/// One channel; what is special stands in `scale/`.
const SCALE: Scenario = Scenario {
    others: Others::Nobody,
    ..BASE
};

const IDLE: Scenario = Scenario {
    channels: 1_000,
    members: 10,
    publishers: 10,
    seconds: 10,
    ..BASE
};
