//! The only way into a worker from another thread.
//!
//! Senders push and wake the worker only if it sleeps; the flusher takes everything once a turn. It is counted in bytes,
//! publishes on their way to a home apart from deliveries, so that two full workers cannot wait for each other: over
//! [`Inbox::PUBLISH_BYTES`] the connections that send are not read until there is room, over [`Inbox::DELIVER_BYTES`]
//! homes hold back what they would deliver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_queue::SegQueue;
use tokio::sync::Notify;

use super::message::Message;
use crate::broker::{Deliver, Event};

/// The only way into a worker from another thread.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: SegQueue<Message>,
    /// The worker is about to sleep or sleeps: who pushes must wake it.
    asleep: AtomicBool,
    notify: Notify,
    publish_bytes: AtomicUsize,
    deliver_bytes: AtomicUsize,
    /// Somebody waits to hear that there is room.
    awaited: AtomicBool,
    /// Publications from Redis that found no room.
    missed: AtomicUsize,
}

impl Inbox {
    /// Bytes of publishes that may wait: about a thousand messages of the largest default size, a hundredth of a
    /// second's work.
    pub const PUBLISH_BYTES: usize = 8 << 20;
    /// Bytes of deliveries that may wait, likewise.
    pub const DELIVER_BYTES: usize = 16 << 20;

    /// Hands over; never waits.
    pub fn push(&self, message: Message) {
        match message.weight() {
            Weight::Publish(bytes) => self.publish_bytes.fetch_add(bytes, Ordering::Relaxed),
            Weight::Deliver(bytes) => self.deliver_bytes.fetch_add(bytes, Ordering::Relaxed),
            Weight::None => 0,
        };
        self.queue.push(message);
        self.wake();
    }

    /// Takes the oldest.
    #[must_use]
    pub fn pop(&self) -> Option<Message> {
        let message = self.queue.pop()?;
        match message.weight() {
            // Ordered with `awaited`, see `is_held`.
            Weight::Publish(bytes) => self.publish_bytes.fetch_sub(bytes, Ordering::SeqCst),
            Weight::Deliver(bytes) => self.deliver_bytes.fetch_sub(bytes, Ordering::SeqCst),
            Weight::None => 0,
        };
        Some(message)
    }

    /// Whether connections that publish to this worker's homes should wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.publish_bytes.load(Ordering::SeqCst) > Self::PUBLISH_BYTES
    }

    /// Whether homes should hold back what this worker's subscribers would get.
    #[must_use]
    pub fn is_flooded(&self) -> bool {
        self.deliver_bytes.load(Ordering::SeqCst) > Self::DELIVER_BYTES
    }

    /// Whether its connections should wait for room here; whoever is told so hears of it by [`Message::Room`].
    ///
    /// The wish is left before the last look: either that look sees the room that was made, or whoever made it sees the
    /// wish.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let full = || self.is_full() || self.is_flooded();
        if !full() {
            return false;
        }
        self.awaited.store(true, Ordering::SeqCst);
        full()
    }

    /// Whether there is room and somebody waits to hear so. Called by the worker's own thread after it has taken messages.
    #[must_use]
    pub fn take_awaited(&self) -> bool {
        // The look before the swap spares every turn a locked instruction.
        self.awaited.load(Ordering::SeqCst)
            && !self.is_full()
            && !self.is_flooded()
            && self.awaited.swap(false, Ordering::SeqCst)
    }

    /// How many publications from Redis found no room since the last time.
    #[must_use]
    pub fn take_missed(&self) -> usize {
        if self.missed.load(Ordering::Relaxed) == 0 {
            0
        } else {
            self.missed.swap(0, Ordering::Relaxed)
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Wakes the worker if it sleeps.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }

    /// The worker has nothing left to do. Called by its own thread before it sleeps.
    pub fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        // Who pushed before it saw the flag did not wake us.
        if !self.queue.is_empty() {
            self.wake();
        }
    }

    /// The worker runs again.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Resolves when something was pushed while the worker slept.
    pub async fn notified(&self) {
        self.notify.notified().await;
    }
}

/// What a message counts against.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weight {
    /// Bytes of publications for subscribers here.
    Deliver(usize),
    /// Neither: it is small, or its number is bounded otherwise.
    None,
    /// Bytes of publishes for homes here.
    Publish(usize),
}

/// The Redis thread's end of an inbox.
#[derive(Debug)]
pub struct FromRedis(pub Arc<Inbox>);

impl Deliver for FromRedis {
    fn deliver(&self, event: Event) {
        // Redis cannot be held back: it would drop the whole link of a node that does not read.
        if let Event::Publications(list) = &event
            && self.0.is_flooded()
        {
            self.0.missed.fetch_add(list.len(), Ordering::Relaxed);
            return;
        }
        self.0.push(Message::Redis(event));
    }
}
