//! What a call of a hook costs by itself, without sockets: `cargo bench --bench calls`.
//!
//! The state is a worker's, with memory and time limits on. Each line is the least of 15 rounds in nanoseconds a call, as
//! whatever else the machine does only adds. `cargo bench --bench calls -- NAME [CALLS]` runs one line once, for a profiler.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark, which prints and fails loudly"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use wsd::config::Config;
use wsd::metrics::HookTable;
use wsd::pipeline::{BatchItem, BatchOutcome, Effects, MessageOutcome, Peer, Pipeline, Who};
use wsd::script::{Breaker, Bundle, Clocks, Commons, DeadlineHandle, Host, LoadReason, build};
use wsd::types::{ChannelName, ConnId, Generation, NodeId, Origin, Payload, StagesId, WorkerId};

/// A line of the table.
struct Case {
    name: &'static str,
    script: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Messages of so many bytes, each another one.
    Message(usize),
    /// A JSON object of about 200 bytes.
    Json,
    /// Batches of 100.
    Batch,
}

const CASES: &[Case] = &[
    Case {
        name: "none",
        script: "",
        kind: Kind::Message(64),
    },
    Case {
        name: "pass",
        script: include_str!("hooks/pass.lua"),
        kind: Kind::Message(64),
    },
    Case {
        name: "pass-1k",
        script: include_str!("hooks/pass.lua"),
        kind: Kind::Message(1024),
    },
    Case {
        name: "json",
        script: include_str!("hooks/json.lua"),
        kind: Kind::Json,
    },
    Case {
        name: "batch",
        script: include_str!("hooks/batch.lua"),
        kind: Kind::Batch,
    },
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    if let Some(name) = arguments.next() {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        let calls = arguments.next().map_or(200_000, |n| n.parse().unwrap());
        let mut run = Run::new(case);
        run.calls(calls);
        return;
    }
    println!("{:10} {:>10}", "", "ns a call");
    for case in CASES {
        let mut run = Run::new(case);
        let calls = if matches!(case.kind, Kind::Batch) {
            2_000
        } else {
            50_000
        };
        run.calls(calls);
        let least = (0..15)
            .map(|_| {
                let start = Instant::now();
                run.calls(calls);
                start.elapsed()
            })
            .min()
            .unwrap();
        let nanoseconds = least.as_secs_f64() * 1e9 / f64::from(calls);
        println!("{:10} {nanoseconds:>10.0}", case.name);
    }
}

/// A worker's pipeline with one script.
struct Run {
    kind: Kind,
    pipeline: Pipeline,
    peer: Peer,
    channel: ChannelName,
    messages: Vec<Payload>,
    next: usize,
}

impl Run {
    fn new(case: &Case) -> Self {
        let path = std::env::temp_dir().join(format!("wsd-calls-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("hook.lua"), case.script).unwrap();
        let mut hooks = Config::default().hooks;
        hooks.directory.clone_from(&path);
        let bundle = Bundle::load(&hooks, &[None]).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        let hooks = build(&bundle, host(), LoadReason::Start).unwrap();
        let channel = ChannelName::new("chat").unwrap();
        let messages = (0..1009).map(|n| message(case.kind, n)).collect();
        Self {
            kind: case.kind,
            pipeline: Pipeline::new(hooks, bundle.hooks().on_error),
            peer: Peer {
                origin: Origin {
                    node: NodeId(1),
                    worker: WorkerId(0),
                    conn: CONN,
                },
                ip: "192.0.2.7".into(),
                port: 4711,
                path: "/chat".into(),
                route: "".into(),
                params: Box::default(),
                secure: false,
                protocols: Box::default(),
                user: None,
                channel: Some(channel.clone()),
            },
            channel,
            messages,
            next: 0,
        }
    }

    fn message(&mut self) -> Payload {
        self.next = (self.next + 1) % self.messages.len();
        self.messages[self.next].clone()
    }

    fn calls(&mut self, count: u32) {
        let mut effects = Effects::default();
        for _ in 0..count {
            if matches!(self.kind, Kind::Batch) {
                let batch = (0..100)
                    .map(|_| BatchItem {
                        payload: self.message(),
                        sender: Some(self.peer.origin),
                        echo: true,
                        ticket: None,
                    })
                    .collect();
                let outcome =
                    self.pipeline
                        .batch(StagesId::ALL, &self.channel, batch, &mut effects);
                let BatchOutcome::Publish { items, .. } = outcome else {
                    unreachable!()
                };
                assert_eq!(items.len(), 50);
            } else {
                let payload = self.message();
                let who = Who {
                    conn: CONN,
                    peer: &self.peer,
                    channels: &Vec::new,
                };
                let channel = Some(self.channel.clone());
                let outcome =
                    self.pipeline
                        .message(StagesId::ALL, who, channel, payload, &mut effects);
                assert!(matches!(outcome, MessageOutcome::Publish(..)));
            }
        }
    }
}

const CONN: ConnId = ConnId {
    slot: 3,
    generation: 1,
};

fn message(kind: Kind, n: usize) -> Payload {
    match kind {
        Kind::Message(size) => Payload::text(format!("{n:0>size$}")),
        Kind::Batch => Payload::text(format!("{n:0>64}")),
        Kind::Json => Payload::text(format!(
            "{{\"type\":\"order\",\"id\":{n},\"side\":\"buy\",\"symbol\":\"ACME\",\"qty\":12.5,\"limit\":null,\"tags\":[\"a\",\"b\",\"c\"],\
             \"note\":\"a text of some length, with \\\"quotes\\\"\",\"account\":{{\"name\":\"ann\",\"verified\":true}},\"at\":1700000000}}"
        )),
    }
}

fn host() -> Host {
    let start = Instant::now();
    Host {
        node: NodeId(1),
        worker: WorkerId(0),
        generation: Generation(1),
        log: Arc::new(|_| {}),
        now: Arc::new(|| 0.0),
        monotonic: Arc::new(move || start.elapsed().as_secs_f64()),
        secret: Arc::new(|_| Err("none".into())),
        commons: Arc::<Commons>::default(),
        subscribers: Arc::new(|_| 0),
        deadline: DeadlineHandle::start().unwrap(),
        breaker: Breaker::default(),
        calls: HookTable::default(),
        clocks: Clocks {
            now: Instant::now,
            cpu: || Duration::ZERO,
        },
    }
}
