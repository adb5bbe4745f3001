//! The handle of the Redis thread: what the workers and the daemon hold.
//!
//! Orders go through a lock-free queue, and the thread is woken only if it sleeps, so a busy thread costs those who hand
//! over no system call. The other end of all this is `thread.rs`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_queue::{ArrayQueue, SegQueue};
use tokio::sync::{Notify, watch};

use crate::broker::{Command, LinkStatus};
use crate::config::Broker;
use crate::types::WorkerId;

use super::text;

/// The Redis thread, as everybody else sees it. A clone is a reference count.
#[derive(Clone)]
pub struct RedisLink {
    shared: Arc<Shared>,
}

impl RedisLink {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Hands over what a home wants. Never blocks. `home` gets the events of the channels that it subscribes to here.
    ///
    /// What one caller hands over is done in its order. Not bounded by itself: the thread takes it at once and counts
    /// what it cannot pass on against `broker.buffer`.
    pub fn send(&self, home: WorkerId, commands: Vec<Command>) {
        self.shared.push(Order::Commands(home, commands));
    }

    /// Whether publications go in and come out; the homes are told of every change by [`crate::broker::Event::Status`].
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        if self.shared.up.load(Ordering::Acquire) {
            LinkStatus::Up
        } else {
            LinkStatus::Down
        }
    }

    /// The address that it uses, without any password.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.standing.borrow().url.clone()
    }

    /// For `STATUS=`: `redis://10.0.0.5:6379` or `redis://10.0.0.5:6379 away for 12.4 s: connection refused`.
    #[must_use]
    pub fn describe(&self, now: Instant) -> String {
        let standing = self.shared.standing.borrow();
        let url = &standing.url;
        let Some(away_since) = standing.away_since else {
            return url.clone();
        };
        let away = text::duration(now.saturating_duration_since(away_since));
        match standing.reason.as_str() {
            "" => format!("{url} away for {away}"),
            reason => format!("{url} away for {away}: {reason}"),
        }
    }

    /// Takes over new settings: another address, user, password or prefix makes the link anew, the buffer's limits count
    /// from now on. What waits is kept.
    pub fn reload(&self, config: &Broker) {
        self.shared.push(Order::Reload(Box::new(config.clone())));
    }

    /// Ends the thread when Redis has taken what was handed over before, at the latest after
    /// [`STOP_LIMIT`](super::STOP_LIMIT), and waits for that. What is left is refused. Does nothing the second time.
    pub fn stop(&self) {
        self.shared.push(Order::Stop);
        if let Some(thread) = self.shared.thread.pop() {
            // A thread that panicked has ended the process already.
            thread.join().ok();
        }
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// What somebody wants of the thread.
pub(super) enum Order {
    Commands(WorkerId, Vec<Command>),
    Reload(Box<Broker>),
    Stop,
}

/// What both sides see.
pub(super) struct Shared {
    orders: SegQueue<Order>,
    /// The thread waits for `wake`, or is about to.
    asleep: AtomicBool,
    wake: Notify,
    up: AtomicBool,
    standing: watch::Sender<Standing>,
    /// Until somebody stops it.
    thread: ArrayQueue<JoinHandle<()>>,
}

/// What `describe` says.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) url: String,
    /// `None` while the link is there.
    pub(super) away_since: Option<Instant>,
    pub(super) reason: String,
}

impl Shared {
    pub(super) fn new(standing: Standing) -> Self {
        Self {
            orders: SegQueue::new(),
            asleep: AtomicBool::new(false),
            wake: Notify::new(),
            up: AtomicBool::new(false),
            standing: watch::Sender::new(standing),
            thread: ArrayQueue::new(1),
        }
    }

    /// So that [`RedisLink::stop`] can wait for it.
    pub(super) fn set_thread(&self, thread: JoinHandle<()>) {
        self.thread.force_push(thread);
    }

    fn push(&self, order: Order) {
        self.orders.push(order);
        // Either the thread sees the order before it sleeps, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// The oldest order.
    pub(super) fn pop(&self) -> Option<Order> {
        self.orders.pop()
    }

    /// Waits until there is an order. May be dropped at any time.
    pub(super) async fn wait(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.orders.is_empty() {
            self.wake.notified().await;
        } else {
            // Workers that never pause must not keep the thread from looking at its sockets.
            tokio::task::yield_now().await;
        }
    }

    /// The thread is at work: nobody needs to wake it.
    pub(super) fn set_awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    pub(super) fn set_status(&self, status: LinkStatus) {
        self.up.store(status == LinkStatus::Up, Ordering::Release);
    }

    pub(super) fn set_standing(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }
}
