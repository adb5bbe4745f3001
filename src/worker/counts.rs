//! What the node counts of its connections, over all workers: how many there are, how many handshakes are in flight, how
//! many come from one address, how many were refused.
//!
//! The acceptor counts a connection in, its [`Ticket`] counts it out again, whatever ends it. Shared by the acceptor, the
//! workers and the main thread; besides the map of addresses it is atomic numbers.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use papaya::{Compute, HashMap, Operation};

use super::refusals::Refusals;
use super::remote::AddressKey;
use crate::config::Limits;
use crate::types::WorkerId;
use crate::wire::Refusal;

/// What the node counts of its connections.
#[derive(Debug)]
pub struct Counts {
    /// `limits.connections`, or what the file descriptors allow.
    limit: AtomicUsize,
    /// `limits.connections_per_address`; 0: none.
    per_address: AtomicUsize,
    /// Connections of each worker, from accept to the last byte.
    workers: Box<[AtomicUsize]>,
    /// Those whose handshake is not answered yet.
    handshakes: AtomicUsize,
    /// Connections of each address that has some; also without a limit, as a reload may set one.
    addresses: HashMap<AddressKey, usize, RandomState>,
    /// How many were refused because of `limits.connections`.
    pub(super) refused_full: AtomicU64,
    /// How many because of `limits.accept_rate`.
    pub(super) refused_rate: AtomicU64,
    refused_address: AtomicU64,
    /// False: the node stops.
    pub(super) accepting: AtomicBool,
    /// A forwarding header that is not believed was told of.
    forwarded_told: AtomicBool,
    /// What the log hears of refused handshakes.
    pub(super) refusals: Refusals,
}

/// Handshakes that may be in flight on a node. Beyond it nobody is accepted, and waits in the kernel's queue
/// (`listen.backlog`). Each holds a task of some KiB and at most 16 KiB of request: 160 MiB if all are an attacker's.
pub const HANDSHAKES: usize = 8192;

impl Counts {
    /// Of a node with so many workers.
    #[must_use]
    pub fn new(workers: usize, limit: usize, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            per_address: AtomicUsize::new(limits.connections_per_address),
            workers: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            handshakes: AtomicUsize::new(0),
            addresses: HashMap::new(),
            refused_full: AtomicU64::new(0),
            refused_rate: AtomicU64::new(0),
            refused_address: AtomicU64::new(0),
            accepting: AtomicBool::new(true),
            forwarded_told: AtomicBool::new(false),
            refusals: Refusals::default(),
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

    /// Those whose handshake is not answered yet.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// How many were refused because of `limits.connections`, `.connections_per_address` and `.accept_rate`.
    #[must_use]
    pub fn refused(&self) -> [u64; 3] {
        [
            &self.refused_full,
            &self.refused_address,
            &self.refused_rate,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }

    /// A reload changed `limits`; `limit` is what becomes of `connections`.
    pub fn set_limits(&self, limit: usize, limits: &Limits) {
        self.limit.store(limit, Ordering::Relaxed);
        self.per_address
            .store(limits.connections_per_address, Ordering::Relaxed);
    }

    /// `limits.connections`, or what the file descriptors allow.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether no more handshakes may begin.
    pub(super) fn is_busy(&self) -> bool {
        self.handshakes() >= HANDSHAKES
    }

    /// Whether somebody should be told of a header that is not believed: true once.
    pub(super) fn tell_forwarded(&self) -> bool {
        !self.forwarded_told.swap(true, Ordering::Relaxed)
    }

    /// A place on the worker with the fewest connections; `None` at the limit.
    pub(super) fn take_ticket(self: &Arc<Self>) -> Option<Ticket> {
        if self.connections() >= self.limit() {
            return None;
        }
        let counts = self
            .workers
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let (worker, _) = (0u8..).zip(counts).min_by_key(|(_, count)| *count)?;
        let worker = WorkerId(worker);
        self.workers
            .get(worker.index())?
            .fetch_add(1, Ordering::Relaxed);
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        Some(Ticket {
            counts: Arc::clone(self),
            worker,
            address: None,
            opening: true,
        })
    }

    /// One more of an address, if it may have one more.
    fn add_address(&self, key: AddressKey) -> bool {
        let limit = match self.per_address.load(Ordering::Relaxed) {
            0 => usize::MAX,
            limit => limit,
        };
        let addresses = self.addresses.pin();
        let result = addresses.compute(key, |entry| match entry.map_or(0, |(_, count)| *count) {
            count if count < limit => Operation::Insert(count + 1),
            _ => Operation::Abort(()),
        });
        let added = !matches!(result, Compute::Aborted(()));
        if !added {
            self.refused_address.fetch_add(1, Ordering::Relaxed);
        }
        added
    }

    fn remove_address(&self, key: AddressKey) {
        let addresses = self.addresses.pin();
        addresses.compute(key, |entry| match entry {
            Some((_, count)) if *count > 1 => Operation::Insert(*count - 1),
            Some(_) => Operation::Remove,
            None => Operation::Abort(()),
        });
    }
}

/// A connection's place in the counts, given back when it is dropped.
#[derive(Debug)]
pub struct Ticket {
    counts: Arc<Counts>,
    worker: WorkerId,
    /// Against what it counts.
    address: Option<AddressKey>,
    /// The handshake is not answered yet.
    opening: bool,
}

impl Ticket {
    /// Whose it is.
    pub(super) const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// On which worker.
    pub(super) const fn worker(&self) -> WorkerId {
        self.worker
    }

    /// It is now known where the connection comes from, perhaps better than before. An error, the answer, if there are
    /// too many from there.
    pub(super) fn count_for(&mut self, key: Option<AddressKey>) -> Result<(), Refusal> {
        if key == self.address {
            return Ok(());
        }
        if let Some(before) = self.address.take() {
            self.counts.remove_address(before);
        }
        if let Some(key) = key {
            if !self.counts.add_address(key) {
                return Err(Refusal::new(429, "too many connections from this address")
                    .with("Retry-After", "5"));
            }
            self.address = Some(key);
        }
        Ok(())
    }

    /// Takes a place on that worker instead, unless it would have more than a few connections more than the one before.
    pub(super) fn move_to(&mut self, worker: WorkerId) -> bool {
        let workers = &self.counts.workers;
        let (Some(here), Some(there)) = (
            workers.get(self.worker.index()),
            workers.get(worker.index()),
        ) else {
            return false;
        };
        let few = here.load(Ordering::Relaxed);
        // Several may look at once: what they add is few again.
        if there.load(Ordering::Relaxed) > few + few / 20 + 4 {
            return false;
        }
        here.fetch_sub(1, Ordering::Relaxed);
        there.fetch_add(1, Ordering::Relaxed);
        self.worker = worker;
        true
    }

    /// The handshake was answered.
    pub(super) fn opened(&mut self) {
        if std::mem::replace(&mut self.opening, false) {
            self.counts.handshakes.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.opened();
        if let Some(key) = self.address.take() {
            self.counts.remove_address(key);
        }
        if let Some(count) = self.counts.workers.get(self.worker.index()) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn counts(connections: usize, per_address: usize) -> Arc<Counts> {
        let mut limits = Config::default().limits;
        limits.connections_per_address = per_address;
        Counts::new(2, connections, &limits)
    }

    #[test]
    fn place_is_given_back_whatever_ends_the_connection() {
        let counts = counts(3, 2);
        let key = Some(AddressKey::V4(1));
        let mut tickets: Vec<Ticket> = Vec::new();
        for worker in [0, 1, 0].map(WorkerId) {
            let ticket = counts.take_ticket().unwrap();
            assert_eq!(ticket.worker(), worker);
            tickets.push(ticket);
        }
        assert!(counts.take_ticket().is_none());
        assert_eq!(counts.handshakes(), 3);
        assert!(tickets[0].count_for(key).is_ok());
        assert!(tickets[1].count_for(key).is_ok());
        assert_eq!(tickets[2].count_for(key).unwrap_err().status, 429);
        // Asked again it counts once; elsewhere it counts there.
        assert!(tickets[0].count_for(key).is_ok());
        assert!(tickets[0].count_for(Some(AddressKey::V6(1))).is_ok());
        assert!(tickets[2].count_for(key).is_ok());
        tickets[2].opened();
        assert_eq!(counts.handshakes(), 2);
        tickets.clear();
        assert_eq!(counts.handshakes(), 0);
        assert_eq!(counts.connections(), 0);
        assert!(counts.addresses.pin().is_empty());
        assert_eq!(counts.refused(), [0, 1, 0]);
    }

    #[test]
    fn handshakes_in_flight_are_bounded() {
        let counts = counts(2 * HANDSHAKES, 0);
        let mut tickets = Vec::new();
        while !counts.is_busy() {
            tickets.extend(counts.take_ticket());
        }
        assert_eq!(tickets.len(), HANDSHAKES);
        tickets[0].opened();
        tickets[0].opened();
        assert!(!counts.is_busy());
        assert_eq!(counts.handshakes(), HANDSHAKES - 1);
        drop(tickets);
        assert_eq!((counts.handshakes(), counts.connections()), (0, 0));
    }

    #[test]
    fn a_place_moves_as_long_as_the_workers_stay_balanced() {
        let counts = counts(1000, 0);
        let mut tickets: Vec<Ticket> = (0..200).map(|_| counts.take_ticket().unwrap()).collect();
        let moved = tickets
            .iter_mut()
            .filter(|ticket| ticket.worker() == WorkerId(0));
        let moved = moved
            .map(|ticket| u32::from(ticket.move_to(WorkerId(1))))
            .sum::<u32>();
        assert!((1..10).contains(&moved), "{moved}");
        let there = tickets
            .iter()
            .filter(|ticket| ticket.worker() == WorkerId(1))
            .count();
        assert_eq!(there, 100 + moved as usize);
        assert!(!tickets[0].move_to(WorkerId(7)));
        tickets.clear();
        assert!(
            counts
                .workers
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 0)
        );
    }

    #[test]
    fn new_limit_counts_those_that_came_before_it() {
        let counts = counts(10, 0);
        let key = Some(AddressKey::V4(1));
        let mut tickets: Vec<Ticket> = (0..3).map(|_| counts.take_ticket().unwrap()).collect();
        assert!(
            tickets
                .iter_mut()
                .all(|ticket| ticket.count_for(key).is_ok())
        );
        let mut limits = Config::default().limits;
        limits.connections_per_address = 3;
        counts.set_limits(10, &limits);
        assert!(counts.take_ticket().unwrap().count_for(key).is_err());
        tickets.pop();
        assert!(counts.take_ticket().unwrap().count_for(key).is_ok());
    }
}
