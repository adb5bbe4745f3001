//! All connections of the generator on one thread and one epoll: connecting, turns, waiting for what is under way, leaving.
//!
//! Counts deliveries and faults and takes latencies. Never measures the server and never decides how long a run lasts:
//! `load.rs` and `idle.rs` do.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{self, Client, End, Seat};
use crate::message::{Faults, Shape};
use crate::scenario::{Pace, Scenario};
use crate::sys::{Interest, Poll};

/// The connections of one run.
pub(crate) struct Crowd {
    scenario: Scenario,
    shape: Shape,
    poll: Poll,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    sending: Sending,
    faults: Faults,
    delivered: u64,
    expected: u64,
    latencies: Option<Vec<u32>>,
}

impl Crowd {
    /// A crowd of nobody.
    pub(crate) fn new(scenario: &Scenario) -> io::Result<Self> {
        Ok(Self {
            scenario: *scenario,
            shape: Shape::new(scenario),
            poll: Poll::open(EVENTS)?,
            clients: Vec::new(),
            buffer: vec![0; client::BUFFER],
            sending: Sending::Nothing,
            faults: Faults::default(),
            delivered: 0,
            expected: 0,
            latencies: None,
        })
    }

    /// Connects the first `count` connections of the scenario, some at a time: publishers to the first address, all others
    /// to the second.
    pub(crate) fn connect(
        &mut self,
        [first, second]: [SocketAddr; 2],
        count: u32,
    ) -> io::Result<()> {
        let scenario = self.scenario;
        let silent_from = scenario.connections() - scenario.channels * scenario.silent;
        let mut number = 0;
        while number < count {
            let group = number..count.min(number + AT_ONCE);
            for index in group.clone() {
                let address = if index < scenario.senders() {
                    first
                } else {
                    second
                };
                let seat = Seat {
                    channel: index % scenario.channels,
                    member: index / scenario.channels,
                    senders: scenario.publishers,
                    every: scenario.every,
                    silent: index >= silent_from,
                };
                self.clients.push(Client::dial(address, seat)?);
            }
            // Requests after connections: how often a server wakes up for the two is then its own doing, not the chance
            // of two processes running side by side.
            for index in group.clone() {
                self.clients[index as usize].begin_handshake(scenario.deflate)?;
            }
            for index in group.clone() {
                let client = &mut self.clients[index as usize];
                client.finish_handshake(scenario.deflate)?;
                self.poll.add(client.socket(), u64::from(index))?;
                if index >= silent_from {
                    self.poll
                        .modify(client.socket(), u64::from(index), Interest::Nothing)?;
                }
            }
            number = group.end;
        }
        Ok(())
    }

    /// Begins to publish as the scenario says.
    pub(crate) fn begin(&mut self, now: Instant) {
        match self.scenario.pace {
            Pace::Window(window) => {
                self.sending = Sending::Window;
                for index in 0..self.scenario.senders() {
                    self.publish(index as usize, window);
                    self.flush(index as usize);
                }
            }
            Pace::Due { .. } => {
                self.sending = Sending::Due {
                    start: now,
                    next: 0,
                }
            }
            Pace::Idle | Pace::Scale(_) => {}
        }
    }

    /// Has the latencies of paced runs taken, from now on.
    pub(crate) fn begin_latencies(&mut self) {
        self.latencies = Some(Vec::new());
    }

    /// Gives the latencies in microseconds, and takes no more.
    pub(crate) fn end_latencies(&mut self) -> Vec<u32> {
        self.latencies.take().unwrap_or_default()
    }

    /// Sends and receives until `end`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the generator reads the clock once a turn"
    )]
    pub(crate) fn run_until(&mut self, end: Instant) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let due = self.publish_due(now);
            self.turn(due.unwrap_or(end).min(end).saturating_duration_since(now))?;
        }
    }

    /// Publishes no more, and receives until all that was sent has come or nothing has come for some time.
    #[expect(clippy::disallowed_methods, reason = "the deadline of a condition")]
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        self.sending = Sending::Nothing;
        let mut seen = self.delivered;
        let mut deadline = Instant::now() + QUIET;
        while self.delivered - self.faults.doubled < self.expected && Instant::now() < deadline {
            self.turn(Duration::from_millis(50))?;
            if self.delivered != seen {
                seen = self.delivered;
                deadline = Instant::now() + QUIET;
            }
        }
        // What is doubled comes after all else.
        self.turn(Duration::from_millis(20))
    }

    /// Publishes one message of every connection, some at a time.
    pub(crate) fn publish_one_each(&mut self) -> io::Result<()> {
        for first in (0..self.clients.len()).step_by(AT_ONCE as usize) {
            let last = self.clients.len().min(first + AT_ONCE as usize);
            for index in first..last {
                self.publish(index, 1);
                self.flush(index);
            }
            self.drain()?;
        }
        Ok(())
    }

    /// Counts what never came and what came in another order than to others, and gives all faults.
    pub(crate) fn verdict(&self) -> Faults {
        let mut faults = self.faults;
        let channels = self.scenario.channels as usize;
        for (index, client) in self.readers().enumerate() {
            let sent = (0..self.scenario.publishers as usize)
                .map(|member| self.clients[member * channels + index % channels].sent());
            client.ledger().close(sent, &mut faults);
            faults.damaged += u64::from(client.end().is_some());
        }
        if faults.none() {
            for (index, client) in self.readers().enumerate() {
                let first = &self.clients[index % channels];
                faults.reordered += u64::from(client.ledger().order() != first.ledger().order());
            }
        }
        faults
    }

    /// How the first connection ended that should not have.
    pub(crate) fn first_end(&self) -> Option<&End> {
        self.readers().find_map(Client::end)
    }

    /// Lets those that never read do so now, and counts whom the server has let go.
    pub(crate) fn read_silent(&mut self) -> io::Result<u32> {
        let from = self.readers().count();
        // What they get has gaps by right; only that it ends is of interest.
        let mut ignored = Faults::default();
        let mut gone = 0;
        for index in from..self.clients.len() {
            for _ in 0..10_000 {
                let client = &mut self.clients[index];
                client.receive(&mut self.buffer, &self.shape, &mut ignored, |_| {});
                if client.end().is_some() {
                    gone += 1;
                    break;
                }
                self.poll
                    .modify(client.socket(), index as u64, Interest::Read)?;
                if self.poll.wait(Some(Duration::from_millis(200)))? == 0 {
                    break;
                }
            }
            self.poll.modify(
                self.clients[index].socket(),
                index as u64,
                Interest::Nothing,
            )?;
        }
        Ok(gone)
    }

    /// Closes every connection with a closing handshake and waits until the server has let go of them.
    #[expect(clippy::disallowed_methods, reason = "the deadline of a condition")]
    pub(crate) fn leave(mut self) -> io::Result<()> {
        for index in 0..self.clients.len() {
            self.clients[index].leave();
            self.flush(index);
        }
        let deadline = Instant::now() + QUIET;
        let mut left = 0;
        while left < self.clients.len() && Instant::now() < deadline {
            self.turn(Duration::from_millis(50))?;
            left = self
                .clients
                .iter()
                .filter(|client| client.end().is_some())
                .count();
        }
        Ok(())
    }

    /// Messages that connections have received, each counted once a connection.
    pub(crate) const fn delivered(&self) -> u64 {
        self.delivered
    }

    fn readers(&self) -> impl Iterator<Item = &Client> {
        self.clients
            .iter()
            .take((self.scenario.readers() * self.scenario.channels) as usize)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a latency ends when its message was read"
    )]
    fn turn(&mut self, timeout: Duration) -> io::Result<()> {
        for event in 0..self.poll.wait(Some(timeout))? {
            let ready = self.poll.event(event);
            let Ok(index) = usize::try_from(ready.token) else {
                continue;
            };
            if ready.write {
                self.flush(index);
            }
            if ready.read {
                let window = matches!(self.sending, Sending::Window);
                let latency_from = match (&self.latencies, &self.sending) {
                    (Some(_), Sending::Due { start, .. }) => Some(*start),
                    _ => None,
                };
                self.receive(
                    index,
                    window,
                    latency_from.map(|start| (start, Instant::now())),
                );
            }
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, window: bool, clock: Option<(Instant, Instant)>) {
        let scenario = self.scenario;
        let client = &mut self.clients[index];
        let member = client.member();
        let channel = client.channel();
        // On two nodes a reader of the second acknowledges to the first's publisher, else that runs away from all readers.
        let acknowledges = scenario.nodes > 1 && member == scenario.publishers;
        let publisher = if acknowledges {
            channel as usize
        } else {
            index
        };
        let acked = scenario.nodes == 1 || acknowledges;
        let (mut own, mut delivered) = (0, 0);
        let latencies = &mut self.latencies;
        client.receive(&mut self.buffer, &self.shape, &mut self.faults, |label| {
            delivered += 1;
            own += u32::from(label.sender == member || acknowledges);
            if let (Some(latencies), Some((start, now))) = (latencies.as_mut(), clock) {
                let rank = label.sender * scenario.channels + channel;
                let number = u64::from(label.number) * u64::from(scenario.senders());
                let due = start + scenario.due(number + u64::from(rank));
                let late = now.saturating_duration_since(due).as_micros();
                latencies.push(u32::try_from(late).unwrap_or(u32::MAX));
            }
        });
        self.delivered += delivered;
        if self.clients[index].end().is_some() {
            let socket = self.clients[index].socket();
            // It stays readable for ever; if it cannot be forgotten the run only takes longer.
            let _failed = self.poll.modify(socket, index as u64, Interest::Nothing);
        } else if window && acked && own > 0 {
            // One that comes stands for those before it that the server left out.
            self.publish(publisher, own * scenario.every);
            self.flush(publisher);
        }
    }

    /// Publishes what is due and says when the next is.
    fn publish_due(&mut self, now: Instant) -> Option<Instant> {
        let Sending::Due { start, mut next } = self.sending else {
            return None;
        };
        let senders = u64::from(self.scenario.senders());
        let mut last = None;
        while start + self.scenario.due(next) <= now {
            let sender = usize::try_from(next % senders).unwrap_or_default();
            if let Some(last) = last.filter(|last| *last != sender) {
                self.flush(last);
            }
            self.publish(sender, 1);
            last = Some(sender);
            next += 1;
        }
        if let Some(last) = last {
            self.flush(last);
        }
        self.sending = Sending::Due { start, next };
        Some(start + self.scenario.due(next))
    }

    fn publish(&mut self, index: usize, count: u32) {
        let every = self.scenario.every;
        let sent = self.clients[index].sent();
        self.clients[index].publish(&self.shape, count);
        let coming = (sent + count).div_ceil(every) - sent.div_ceil(every);
        // Of a crowd that is not all there yet, every channel has one or none.
        let present = self.clients.len() / self.scenario.channels as usize;
        let readers = present.clamp(1, self.scenario.readers() as usize);
        self.expected += u64::from(coming) * readers as u64;
    }

    fn flush(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(waits) = client.flush() {
            let interest = if waits {
                Interest::ReadAndWrite
            } else {
                Interest::Read
            };
            // Only a socket that broke cannot be watched, and its end is noticed when it is read.
            let _broken = self.poll.modify(client.socket(), index as u64, interest);
        }
    }
}

#[derive(Debug)]
enum Sending {
    Nothing,
    Window,
    Due { start: Instant, next: u64 },
}

const EVENTS: usize = 4_096;

/// How many handshakes, or first messages, are under way at once.
const AT_ONCE: u32 = 64;

/// When nothing has come for so long, nothing will.
const QUIET: Duration = Duration::from_secs(3);
