//! The acceptor: one thread that owns all listeners and hands each connection to the worker with the fewest.
//!
//! # Why one acceptor
//!
//! One inherited socket that all workers poll wakes all of them and balances badly, `SO_REUSEPORT` exists neither for
//! inherited nor for Unix sockets, and limits are counted per node. It accepts by itself (mio), since a tokio listener
//! would register each socket with its own epoll.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};

use super::clock;
use super::inbox::Inbox;
use super::message::{Message, Socket};
use crate::log::Limiter;
use crate::wire::Refusal;

/// A listening socket, non-blocking.
#[derive(Debug)]
pub enum Listener {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// A path, or one that was passed in.
    Unix(UnixListener),
}

/// What the node counts of its connections.
#[derive(Debug)]
pub struct Counts {
    /// `limits.connections`, or what the file descriptors allow.
    limit: AtomicUsize,
    /// Connections of each worker, from accept to the last byte.
    workers: Box<[AtomicUsize]>,
    /// Connections that are there only to be refused.
    refusing: AtomicUsize,
    /// How many were refused because of the limit.
    refused: AtomicU64,
    accepting: AtomicBool,
}

impl Counts {
    /// Of a node with so many workers.
    #[must_use]
    pub fn new(workers: usize, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            workers: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            refusing: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            accepting: AtomicBool::new(true),
        })
    }

    /// Connections of all workers.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.workers
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// How many were refused because of the limit.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A reload changed `limits.connections`.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn fewest(&self) -> usize {
        let counts = self
            .workers
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        counts
            .enumerate()
            .min_by_key(|(_, count)| *count)
            .map_or(0, |(index, _)| index)
    }
}

/// A connection's place in the counts, given back when it is dropped.
#[derive(Debug)]
pub struct Ticket {
    counts: Arc<Counts>,
    /// `None`: the node is full, and it is to hear so.
    worker: Option<usize>,
}

impl Ticket {
    /// What a connection over the limit is answered.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.worker
            .is_none()
            .then(|| Refusal::new(503, "too many connections").with("Retry-After", "5"))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let count = match self.worker {
            Some(worker) => self.counts.workers.get(worker),
            None => Some(&self.counts.refusing),
        };
        if let Some(count) = count {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The acceptor's thread, and how to end it.
#[derive(Debug)]
pub struct Acceptor {
    counts: Arc<Counts>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// Over the limit so many more are answered with 503; those beyond are closed at once, as every answer takes a
/// descriptor. The reserve of descriptors in `daemon` covers them.
pub const REFUSING: usize = 64;

const WAKER: Token = Token(usize::MAX);

impl Acceptor {
    /// Begins to accept.
    pub fn start(
        listeners: Vec<Listener>,
        inboxes: Vec<Arc<Inbox>>,
        counts: Arc<Counts>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut sources = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let mut source = Source::new(listener);
            source.register(&poll, Token(index))?;
            sources.push(source);
        }
        let mut accept = Accept {
            poll,
            sources,
            inboxes,
            counts: Arc::clone(&counts),
            full: false,
            told: Limiter::new(),
        };
        let thread = std::thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || accept.run())?;
        Ok(Self {
            counts,
            waker,
            thread: Some(thread),
        })
    }

    /// Stops accepting and closes the listeners; returns when that is done.
    pub fn stop(&mut self) {
        self.counts.accepting.store(false, Ordering::SeqCst);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // It has no way to fail but a bug, which it has reported by panicking.
            let _ = thread.join();
        }
    }
}

/// A listener as the acceptor's poll knows it.
enum Source {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

impl Source {
    fn new(listener: Listener) -> Self {
        match listener {
            Listener::Tcp(listener) => Self::Tcp(mio::net::TcpListener::from_std(listener)),
            Listener::Unix(listener) => Self::Unix(mio::net::UnixListener::from_std(listener)),
        }
    }

    fn register(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => poll
                .registry()
                .register(listener, token, Interest::READABLE),
            Self::Unix(listener) => poll
                .registry()
                .register(listener, token, Interest::READABLE),
        }
    }

    fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener
                .accept()
                .map(|(stream, address)| Socket::Tcp(stream.into(), address)),
            Self::Unix(listener) => listener
                .accept()
                .map(|(stream, _)| Socket::Unix(stream.into())),
        }
    }
}

struct Accept {
    poll: Poll,
    sources: Vec<Source>,
    inboxes: Vec<Arc<Inbox>>,
    counts: Arc<Counts>,
    /// Whether the limit is reached.
    full: bool,
    /// Says once a minute that the limit is reached (true), or that the system has no room (false): at the border
    /// connections come and go many times a second.
    told: Limiter<bool>,
}

impl Accept {
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        // Listeners that could not accept for lack of descriptors or memory are tried again after a while.
        let mut again: Option<Duration> = None;
        while self.counts.accepting.load(Ordering::SeqCst) {
            match self.poll.poll(&mut events, again) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(target: "listen", "waiting for connections: {error}");
                    return;
                }
            }
            let mut short = false;
            for index in 0..self.sources.len() {
                short |= self.accept_all(index);
            }
            again = short.then_some(RETRY);
        }
    }

    /// Accepts until nobody waits; true if the system had no room for more.
    fn accept_all(&mut self, index: usize) -> bool {
        let Some(source) = self.sources.get(index) else {
            return false;
        };
        loop {
            if !self.counts.accepting.load(Ordering::Relaxed) {
                return false;
            }
            let socket = match source.accept() {
                Ok(socket) => socket,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return false,
                    // The client has gone again.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                    _ => {
                        if self.told.allow(clock::now(), false).is_some() {
                            tracing::warn!(target: "listen", event = "limit_reached", "a connection could not be accepted: {error}");
                        }
                        return true;
                    }
                },
            };
            let Some(ticket) = take_ticket(&self.counts) else {
                continue;
            };
            let full = ticket.worker.is_none();
            if full != self.full {
                let limit = self.counts.limit.load(Ordering::Relaxed);
                if !full {
                    tracing::debug!(target: "listen", "connections below the limit ({limit}) again");
                } else if self.told.allow(clock::now(), true).is_some() {
                    tracing::warn!(target: "listen", event = "limit_reached", "connections at the limit ({limit}): refusing new ones");
                }
                self.full = full;
            }
            let worker = ticket.worker.unwrap_or_else(|| self.counts.fewest());
            if let Some(inbox) = self.inboxes.get(worker) {
                inbox.push(Message::Accept(socket, ticket));
            }
        }
    }
}

/// A place for one more connection; `None`: it is to be closed without an answer.
fn take_ticket(counts: &Arc<Counts>) -> Option<Ticket> {
    if counts.connections() < counts.limit.load(Ordering::Relaxed) {
        let worker = counts.fewest();
        counts.workers.get(worker)?.fetch_add(1, Ordering::Relaxed);
        return Some(Ticket {
            counts: Arc::clone(counts),
            worker: Some(worker),
        });
    }
    counts.refused.fetch_add(1, Ordering::Relaxed);
    if counts.refusing.load(Ordering::Relaxed) >= REFUSING {
        return None;
    }
    counts.refusing.fetch_add(1, Ordering::Relaxed);
    Some(Ticket {
        counts: Arc::clone(counts),
        worker: None,
    })
}

/// How long to wait when the system has no room for a connection.
const RETRY: Duration = Duration::from_millis(100);
