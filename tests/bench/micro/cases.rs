//! The operations that are counted: each is what a message, a handshake or a subscription costs somewhere on its way.
//!
//! Only what is public is called, and every operation leaves its surroundings as it found them, so the next one costs the
//! same. Sizes are those of the load scenarios.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use wsd::config::Config;
use wsd::hub::Hub;
use wsd::metrics::WorkerMetrics;
use wsd::pipeline::{NoHooks, Pipeline};
use wsd::types::{ChannelName, ConnId, Generation, Kind, NameHash, NodeId, Payload, WorkerId};
use wsd::wire::{Inflate, Session, SessionLimits, frame, handshake};
use wsd::worker::remote::Remote;
use wsd::worker::state::{Generations, Place, State};

/// An operation with its surroundings made.
pub(crate) type Operation = Box<dyn FnMut()>;

/// One of the list.
pub(crate) struct Case {
    /// What it is called in the table and the baseline.
    pub(crate) name: &'static str,
    /// What it does, in a line.
    pub(crate) about: &'static str,
    /// Makes its surroundings.
    pub(crate) make: fn() -> Operation,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "encode-60",
        about: "a server's frame with 60 bytes of text",
        make: || encode(60),
    },
    Case {
        name: "encode-1k",
        about: "the same with 1 KiB",
        make: || encode(1_024),
    },
    Case {
        name: "receive-60",
        about: "a client's frame of 60 bytes through the session: header, unmasking, UTF-8, event",
        make: || receive(frame_of(TEXT, &ascii(60))),
    },
    Case {
        name: "receive-60-x64",
        about: "64 of them in one read",
        make: || receive(frame_of(TEXT, &ascii(60)).repeat(64)),
    },
    Case {
        name: "unmask-60k",
        about: "a binary frame of 60 KiB: nearly all of it is unmasking",
        make: || receive(frame_of(BINARY, &ascii(61_440))),
    },
    Case {
        name: "utf8-60k-ascii",
        about: "the same as text, ASCII: what it takes more than unmask-60k is the UTF-8 check",
        make: || receive(frame_of(TEXT, &ascii(61_440))),
    },
    Case {
        name: "utf8-60k-mixed",
        about: "the same with characters of one to four bytes",
        make: || receive(frame_of(TEXT, &mixed(61_440))),
    },
    Case {
        name: "handshake",
        about: "a browser's request parsed and answered",
        make: request,
    },
    Case {
        name: "hub-join-leave",
        about: "one subscription and its end, among 100,000 channels",
        make: join_and_leave,
    },
    Case {
        name: "hub-route-200",
        about: "a channel found among 100,000, and its 200 members",
        make: route,
    },
    Case {
        name: "worker-echo",
        about: "a message through the whole worker to its sender's outbox, and written",
        make: || publish(1),
    },
    Case {
        name: "worker-fan-200",
        about: "a message through the whole worker to 200 outboxes, and written",
        make: || publish(200),
    },
];

fn encode(size: usize) -> Operation {
    let payload = ascii(size);
    let mut out = Vec::with_capacity(2 * size);
    Box::new(move || {
        out.clear();
        frame::encode(Kind::Text, black_box(&payload), &mut out);
        black_box(&out);
    })
}

fn receive(bytes: Vec<u8>) -> Operation {
    let now = now();
    let limits = SessionLimits {
        message: 65_536,
        ping_after: Duration::from_secs(30),
        pong_within: Duration::from_secs(30),
        close_within: Duration::from_secs(5),
    };
    let mut session = Session::new(now, limits);
    let mut inflate = Inflate::default();
    Box::new(move || {
        // The read of a worker, which fills a buffer that it lends.
        let mut input = BytesMut::with_capacity(bytes.len());
        input.extend_from_slice(&bytes);
        session.receive(now, &mut input, &mut inflate);
        while let Some(event) = session.poll_event() {
            black_box(event);
        }
    })
}

fn request() -> Operation {
    let mut answer = Vec::with_capacity(1_024);
    Box::new(move || {
        answer.clear();
        if let Ok(Some((upgrade, _))) = handshake::parse(black_box(REQUEST.as_bytes())) {
            handshake::accept(&upgrade, None, None, &mut answer);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"));
    })
}

/// A hub with 100,000 channels of one member, and the names of those.
fn crowded_hub() -> (Hub, Vec<ConnId>) {
    let mut hub = Hub::new(HASH);
    let conns: Vec<ConnId> = conn_ids(1_000);
    for number in 0..100_000 {
        hub.subscribe(
            conns[number % conns.len()],
            &channel(&format!("room:{number}")),
        );
    }
    (hub, conns)
}

fn join_and_leave() -> Operation {
    let (mut hub, conns) = crowded_hub();
    let (conn, name) = (conns[7], channel("somewhere"));
    Box::new(move || {
        black_box(hub.subscribe(conn, &name));
        black_box(hub.unsubscribe(conn, &name));
    })
}

fn route() -> Operation {
    let (mut hub, conns) = crowded_hub();
    let name = channel("hall");
    for conn in conns.iter().take(200) {
        hub.subscribe(*conn, &name);
    }
    Box::new(move || {
        let slot = hub.find(black_box(&name));
        let members = slot.map_or(&[][..], |slot| hub.members(slot));
        assert_eq!(members.len(), 200);
        for member in members {
            black_box(member);
        }
    })
}

/// A worker with one channel; its first connection publishes, all outboxes are written as the flusher does.
fn publish(members: usize) -> Operation {
    let now = now();
    let mut state = worker(now);
    let conns: Vec<ConnId> = (0..members).map(|_| connect(&mut state, now)).collect();
    let text = String::from_utf8_lossy(&ascii(60)).into_owned();
    let payload = Payload::text(text);
    let mut dirty = Vec::new();
    write_all(&mut state, now, &mut dirty);
    Box::new(move || {
        // A payload of its own for each message, as the session makes them.
        let payload = Payload {
            data: Bytes::copy_from_slice(&payload.data),
            ..payload
        };
        state.on_message(now, conns[0], payload);
        assert!(write_all(&mut state, now, &mut dirty) >= 62 * members);
    })
}

/// Ends a turn and takes everything out of the outboxes; gives its bytes.
fn write_all(state: &mut State, now: Instant, dirty: &mut Vec<ConnId>) -> usize {
    state.end_turn(now);
    state.take_dirty(dirty);
    let mut sum = 0;
    for conn in dirty.iter() {
        let mut bytes = 0;
        if let Some(outbox) = state.outbox(*conn) {
            outbox.slices(|slice| {
                bytes += slice.len();
                true
            });
        }
        state.on_written(*conn, bytes);
        sum += bytes;
    }
    sum
}

fn worker(now: Instant) -> State {
    let config = Arc::new(Config::default());
    let place = Place {
        node: NodeId(1),
        worker: WorkerId(0),
        workers: 1,
        hash: HASH,
    };
    let pipeline = Pipeline::new(Box::new(NoHooks), config.hooks.on_error);
    let generations = Generations::new(Generation(1), pipeline);
    let metrics = Arc::new(WorkerMetrics::default());
    State::new(now, 0.0, place, config, generations, Vec::new(), metrics)
}

fn connect(state: &mut State, now: Instant) -> ConnId {
    let id = state.on_accept(now);
    let upgrade = handshake::parse(REQUEST.as_bytes());
    let Ok(Some((upgrade, _))) = upgrade else {
        unreachable!("a request of this file: {upgrade:?}")
    };
    let accepted = state.on_upgrade(now, id, &upgrade, &Remote::default());
    assert!(accepted.is_ok(), "{accepted:?}");
    id
}

/// Names of connections, of a worker that made them.
fn conn_ids(count: usize) -> Vec<ConnId> {
    let now = now();
    let mut state = worker(now);
    (0..count).map(|_| state.on_accept(now)).collect()
}

#[expect(clippy::unwrap_used, reason = "the names stand in this file")]
fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a moment to count from; no time passes in a case"
)]
fn now() -> Instant {
    Instant::now()
}

fn ascii(size: usize) -> Vec<u8> {
    b"abcdefghijklmnopqrstuvwxyz"
        .iter()
        .copied()
        .cycle()
        .take(size)
        .collect()
}

fn mixed(size: usize) -> Vec<u8> {
    let mut text = "aé漢😀 plain words, größer, 日本語 "
        .repeat(size / 40 + 1)
        .into_bytes();
    while text.len() > size || std::str::from_utf8(&text).is_err() {
        text.pop();
    }
    text
}

/// A client's frame, below 64 KiB.
fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    match u16::try_from(payload.len()).map(u16::to_be_bytes) {
        Ok([0, short]) if short < 126 => out.push(0x80 | short),
        Ok([a, b]) => out.extend_from_slice(&[0x80 | 126, a, b]),
        Err(_) => unreachable!("no operation here is that large"),
    }
    out.extend_from_slice(&key);
    out.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    out
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// Any key: what counts is that it is the same in every run.
const HASH: NameHash = NameHash::new(1, 2);

/// Of a browser.
const REQUEST: &str = "GET /hall?token=0123456789abcdef HTTP/1.1\r\nHost: chat.example:443\r\nConnection: Upgrade\r\n\
                   Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
                   AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\n\
                   Origin: https://chat.example\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\n\
                   Accept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
