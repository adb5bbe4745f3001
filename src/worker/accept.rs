//! The acceptor: one thread that owns all listeners and hands each connection to the worker with the fewest.
//!
//! It refuses by itself what is over `limits.connections`, `limits.accept_rate` or, as far as the socket tells the address,
//! `limits.connections_per_address`: the answer goes out before anything is read, so no worker hears of it, and nobody can
//! hold a place by saying nothing. It waits while [`HANDSHAKES`](super::counts::HANDSHAKES) are in flight.
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
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};

use super::clock;
use super::counts::{Counts, Ticket};
use super::inbox::Inbox;
use super::message::{Message, Socket};
use super::pace::Pace;
use super::remote::Remote;
use super::turned_away::TurnedAway;
use crate::config::{Cidr, Config};
use crate::log::{INTERVAL, Limiter};
use crate::wire::Refusal;

/// A listening socket, non-blocking.
#[derive(Debug)]
pub enum Listener {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// A path, or one that was passed in.
    Unix(UnixListener),
}

/// What the acceptor goes by besides the [`Counts`]. A reload changes it.
#[derive(Clone, Debug)]
pub struct Rules {
    trusted_proxies: Vec<Cidr>,
    accept_rate: u64,
    /// TCP speaks TLS.
    tls: bool,
}

impl Rules {
    /// What a configuration says.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            trusted_proxies: config.listen.trusted_proxies.clone(),
            accept_rate: config.limits.accept_rate.into(),
            tls: config.tls.is_some(),
        }
    }
}

/// The acceptor's thread, and how to end it.
#[derive(Debug)]
pub struct Acceptor {
    counts: Arc<Counts>,
    rules: Sender<Rules>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

const WAKER: Token = Token(usize::MAX);

impl Acceptor {
    /// Begins to accept.
    pub fn start(
        listeners: Vec<Listener>,
        inboxes: Vec<Arc<Inbox>>,
        counts: Arc<Counts>,
        rules: Rules,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let mut sources = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let mut source = Source::new(listener);
            source.register(&poll, Token(index))?;
            sources.push(source);
        }
        let (sender, new_rules) = channel();
        let mut accept = Accept {
            poll,
            sources,
            inboxes,
            counts: Arc::clone(&counts),
            rules,
            new_rules,
            rate: Pace::default(),
            turned_away: TurnedAway::default(),
            full: false,
            told: Limiter::new(),
        };
        let thread = std::thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || accept.run())?;
        Ok(Self {
            counts,
            rules: sender,
            waker,
            thread: Some(thread),
        })
    }

    /// A reload changed what it goes by.
    pub fn set_rules(&self, rules: Rules) {
        // Without its thread there is nobody to tell and nothing to accept; it looks at them before the next connection.
        let _ = self.rules.send(rules);
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

/// What is said about a limit at most once a minute: at the border connections come and go many times a second.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Told {
    Connections,
    NoRoom,
    Rate,
}

struct Accept {
    poll: Poll,
    sources: Vec<Source>,
    inboxes: Vec<Arc<Inbox>>,
    counts: Arc<Counts>,
    rules: Rules,
    new_rules: Receiver<Rules>,
    /// Of `limits.accept_rate`.
    rate: Pace,
    turned_away: TurnedAway,
    /// Whether `limits.connections` is reached.
    full: bool,
    told: Limiter<Told>,
}

impl Accept {
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        // Listeners that could not accept for lack of descriptors, memory or handshakes are tried again after a while.
        let mut again: Option<Duration> = None;
        let mut tell_at = clock::now() + INTERVAL;
        while self.counts.accepting.load(Ordering::SeqCst) {
            let now = clock::now();
            let due = self.turned_away.poll_timeout().into_iter().chain([tell_at]);
            let wait = due.min().map(|due| due.saturating_duration_since(now));
            // Rounded up, as the poll counts in milliseconds.
            let wait = wait.map(|wait| wait + Duration::from_millis(1));
            match self
                .poll
                .poll(&mut events, wait.into_iter().chain(again).min())
            {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(target: "listen", "waiting for connections: {error}");
                    return;
                }
            }
            let now = clock::now();
            self.turned_away.handle_timeout(now);
            if tell_at <= now {
                self.counts.refusals.handle_timeout(now);
                tell_at = now + INTERVAL;
            }
            again = None;
            for index in 0..self.sources.len() {
                let short = self.accept_all(index);
                again = again.into_iter().chain(short).min();
            }
        }
    }

    /// Accepts until nobody waits; if there was no room for more, after which time to try again.
    fn accept_all(&mut self, index: usize) -> Option<Duration> {
        let source = self.sources.get(index)?;
        loop {
            if !self.counts.accepting.load(Ordering::Relaxed) {
                return None;
            }
            if self.counts.is_busy() {
                return Some(BUSY);
            }
            let socket = match source.accept() {
                Ok(socket) => socket,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return None,
                    // The client has gone again.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                    _ => {
                        if self.told.allow(clock::now(), Told::NoRoom).is_some() {
                            tracing::warn!(target: "listen", event = "limit_reached", "a connection could not be accepted: {error}");
                        }
                        return Some(RETRY);
                    }
                },
            };
            while let Ok(rules) = self.new_rules.try_recv() {
                self.rules = rules;
            }
            let remote = match &socket {
                Socket::Tcp(_, address) => Remote::tcp(*address, &self.rules.trusted_proxies),
                Socket::Unix(_) => Remote::unix(),
            };
            let now = clock::now();
            let admitted = admit(&self.counts, &self.rules, &mut self.rate, &remote, now);
            let full = matches!(admitted, Err((Some(Told::Connections), _)));
            if self.full && !full {
                let limit = self.counts.limit();
                tracing::debug!(target: "listen", "connections below the limit ({limit}) again");
            }
            let first = full && !self.full;
            self.full = full;
            match admitted {
                Ok(ticket) => {
                    if let Some(inbox) = self.inboxes.get(ticket.worker().index()) {
                        inbox.push(Message::Accept(socket, ticket));
                    }
                }
                Err((told, refusal)) => {
                    match told {
                        Some(Told::Connections)
                            if first && self.told.allow(now, Told::Connections).is_some() =>
                        {
                            let limit = self.counts.limit();
                            tracing::warn!(target: "listen", event = "limit_reached", "connections at the limit ({limit}): refusing new ones");
                        }
                        Some(Told::Rate) if self.told.allow(now, Told::Rate).is_some() => {
                            let rate = self.rules.accept_rate;
                            tracing::warn!(target: "listen", event = "limit_reached", "handshakes at limits.accept_rate ({rate} a second): refusing what is over it");
                        }
                        _ => {}
                    }
                    self.counts.refusals.answered(now, &remote, &refusal);
                    let tls = self.rules.tls && matches!(socket, Socket::Tcp(..));
                    self.turned_away
                        .push(now, socket, (!tls).then_some(&refusal));
                }
            }
        }
    }
}

/// A place for one more connection, or the answer that there is none, with what the operator is to be told of.
fn admit(
    counts: &Arc<Counts>,
    rules: &Rules,
    rate: &mut Pace,
    remote: &Remote,
    now: Instant,
) -> Result<Ticket, (Option<Told>, Refusal)> {
    let Some(mut ticket) = counts.take_ticket() else {
        counts.refused_full.fetch_add(1, Ordering::Relaxed);
        let refusal = Refusal::new(503, "too many connections").with("Retry-After", "5");
        return Err((Some(Told::Connections), refusal));
    };
    // Before the rate: who has too many connections takes nothing from the others.
    ticket
        .count_for(remote.key())
        .map_err(|refusal| (None, refusal))?;
    if !rate.take(now, 1, rules.accept_rate, rules.accept_rate) {
        counts.refused_rate.fetch_add(1, Ordering::Relaxed);
        let refusal = Refusal::new(503, "too many handshakes at once").with("Retry-After", "1");
        return Err((Some(Told::Rate), refusal));
    }
    Ok(ticket)
}

/// How long to wait when the system has no room for a connection.
const RETRY: Duration = Duration::from_millis(100);

/// How long to wait when too many handshakes are in flight.
const BUSY: Duration = Duration::from_millis(10);
