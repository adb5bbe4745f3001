//! Crowds that mean harm, or come all at once: a witness notices nothing, and the memory they took comes to an end.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Client, Message, Request, Stream, Wsd, eventually, frame};

/// Takes as many descriptors as it may: the usual 1024 are too few for a crowd.
fn raise_descriptors() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
}

pub(crate) fn memory(wsd: &Wsd) -> u64 {
    wsd.status()["memory"].as_u64().unwrap()
}

/// A client that says something all the time and hears it, in a thread of its own.
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    /// Gives how many messages went there and back, and the longest that one took.
    thread: std::thread::JoinHandle<(u32, Duration)>,
}

impl Witness {
    pub(crate) fn begin(wsd: &Wsd) -> Self {
        let mut client = wsd.client("/witness");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut count, mut longest) = (0_u32, Duration::ZERO);
            // A few in any case: some tests are over at once.
            while !stopped.load(Ordering::Relaxed) || count <= 10 {
                let start = Instant::now();
                client.text(&count.to_string());
                client.expect(&count.to_string());
                longest = longest.max(start.elapsed());
                count += 1;
            }
            client.close();
            (count, longest)
        });
        Self { stop, thread }
    }

    /// It was there all the time, and never waited long: seconds would be too long on any machine.
    #[track_caller]
    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (count, longest) = self.thread.join().unwrap();
        assert!(count > 10, "{count} messages");
        assert!(longest < Duration::from_secs(3), "{longest:?}");
    }
}

#[test]
fn thousand_that_never_finish_a_handshake_cost_their_time_and_nothing_else() {
    raise_descriptors();
    let wsd = Wsd::start("[listen]\nhandshake_timeout = \"4s\"\n");
    wsd.client("/warm").sync();
    let before = memory(&wsd);
    let witness = Witness::begin(&wsd);
    let part = [b"GET /chat HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 8000]].concat();
    let mut crowd: Vec<Stream> = (0..1000)
        .map(|n| {
            let mut stream = Stream::tcp(wsd.address());
            // Half of them say nothing at all.
            stream
                .write_all(&part[..if n % 2 == 0 { part.len() } else { 0 }])
                .unwrap();
            stream
        })
        .collect();
    // There is room for those that mean it.
    wsd.client("/chat").sync();
    let most = before + (40 << 20);
    assert!(memory(&wsd) < most, "{before} before, {} now", memory(&wsd));
    eventually!(wsd.metric("wsd_refused_total{reason=\"timeout\"}") == 1000);
    for stream in &mut crowd {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    }
    witness.end();
    eventually!(wsd.metric("wsd_connections") == 0);
}

#[test]
fn silent_crowd_beyond_a_quarter_of_the_places_has_two_seconds() {
    raise_descriptors();
    let wsd = Wsd::start("[listen]\nhandshake_timeout = \"1h\"\n");
    let witness = Witness::begin(&wsd);
    let mut crowd: Vec<Stream> = (0..2148).map(|_| Stream::tcp(wsd.address())).collect();
    eventually!(wsd.metric("wsd_handshakes") == 2048);
    // Those that were there first may go on.
    assert_eq!(wsd.metric("wsd_refused_total{reason=\"timeout\"}"), 100);
    let mut client = Client::open_with(crowd.remove(0), &Request::websocket("/chat").bytes());
    assert_eq!(client.answer.status, 101);
    client.text("in time");
    client.expect("in time");
    let mut answer = String::new();
    crowd.pop().unwrap().read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    witness.end();
    drop(crowd);
    eventually!(wsd.metric("wsd_handshakes") == 0);
}

#[test]
fn thousand_that_never_read_take_no_memory_and_no_message_from_the_others() {
    raise_descriptors();
    let wsd = Wsd::start("[limits]\nmessage = \"1MiB\"\n");
    let witness = Witness::begin(&wsd);
    let crowd: Vec<Client> = (0..1000)
        .map(|_| Client::open(Stream::narrow(wsd.address()), &Request::websocket("/chat")))
        .collect();
    let mut reader = wsd.client("/chat");
    let mut sender = wsd.client("/chat");
    let before = memory(&wsd);
    // 16 MiB for each of them, of which each may have 1 MiB waiting.
    for n in 0..64_u32 {
        let text = format!("{n}{}", "x".repeat(256 << 10));
        sender.text(&text);
        reader.expect(&text);
        sender.expect(&text);
    }
    eventually!(wsd.metric("wsd_slow_disconnects_total") == 1000);
    // What waits for all of them is there once.
    let most = before + (100 << 20);
    assert!(memory(&wsd) < most, "{before} before, {} now", memory(&wsd));
    witness.end();
    drop(crowd);
    eventually!(wsd.metric("wsd_connections") == 2);
    assert_eq!(wsd.metric("wsd_queue_bytes"), 0);
}

#[test]
fn five_thousand_that_come_and_go_leave_nothing_behind() {
    let hook = "function on_disconnect(conn) end";
    let wsd = Wsd::with_hooks("[runtime]\nworkers = 2\n", &[("h.lua", hook)]);
    let mut kept = wsd.client("/chat");
    let witness = Witness::begin(&wsd);
    let address = wsd.address();
    let come_and_go = |round: usize| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                std::thread::spawn(move || {
                    for n in 0..313 {
                        let path = format!("/room-{round}-{thread}-{n}");
                        let mut client =
                            Client::open(Stream::tcp(address), &Request::websocket(&path));
                        match n % 5 {
                            0 => client.close(),
                            1 => client.raw(&frame(0x81, b"last words")),
                            2 => client.raw(&[0x81, 0xfe]),
                            3 => {
                                client.stream().shutdown_write();
                                assert_eq!(client.next(), Message::End);
                            }
                            // The end of the stream is a reset: what was sent to it is not read.
                            _ => client.texts(&["one", "two"]),
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        eventually!(wsd.metric("wsd_connections") == 2);
        memory(&wsd)
    };
    let first = come_and_go(1);
    let second = come_and_go(2);
    assert_eq!(wsd.metric("wsd_accepted_total"), 2 + 2 * 8 * 313);
    assert_eq!(wsd.metric("wsd_channels"), 2);
    assert_eq!(wsd.metric("wsd_subscriptions"), 2);
    assert!(
        second < first + (8 << 20),
        "{first} after half of them, {second} at the end"
    );
    kept.text("still here");
    kept.expect("still here");
    witness.end();
}
