//! Redis as the broker: a thread of its own that owns two links to one server and carries publications between nodes.
//!
//! What it promises the homes: publishes go out in the order in which they were handed over, or their senders are told
//! ([`Event::Refused`]); what is published on a subscribed channel comes in Redis' order from [`Event::Live`] on, until
//! [`Event::Status`] says otherwise. It starts [`LinkStatus::Down`]. It never decides what a subscriber is told: that is
//! the homes' business. The daemon starts it, the workers hold the [`RedisLink`].
//!
//! Pure: `codec.rs`, `resp.rs`, `subscriptions.rs`, `waiting.rs`, `streams.rs`, `backoff.rs`, `pulse.rs`, `text.rs`. Shell: `thread.rs`
//! (the loop), `attempt.rs`, `socket.rs` and `sentinel.rs` (connect, handshake), `subscriber.rs`, `publisher.rs` with `tally.rs`, `homes.rs`, `journal.rs`,
//! `link.rs` (the handle).
//!
//! # Why two links
//!
//! RESP3 would allow one. But a subscriber that must be read without pause and a publisher whose answers are awaited fail
//! in different ways, Redis throws out a slow subscriber without asking, and losing that one must not leave publishes in
//! doubt.

mod attempt;
mod backoff;
mod codec;
mod homes;
mod journal;
mod link;
mod link_error;
mod publisher;
mod pulse;
mod resp;
mod sentinel;
mod socket;
mod streams;
mod subscriber;
mod subscriptions;
mod tally;
mod text;
mod thread;
mod waiting;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use link::RedisLink;

use crate::broker::Deliver;
#[cfg(doc)]
use crate::broker::{Event, LinkStatus};
use crate::config::Broker;
use crate::metrics::NodeMetrics;
use crate::types::{NameHash, NodeId};

use link::{Shared, Standing};
use thread::RedisThread;

/// How long [`RedisLink::stop`] takes at most: a Redis that is there needs milliseconds.
pub const STOP_LIMIT: Duration = Duration::from_secs(2);

/// What the thread needs besides its configuration.
pub struct RedisContext {
    /// Of this process: which senders are told of refusals, and the links' names in Redis.
    pub node: NodeId,
    /// Of the table of channels, whose names clients choose.
    pub hash: NameHash,
    /// The workers' inboxes; the index is the worker's id.
    pub homes: Vec<Box<dyn Deliver>>,
    /// `broker_up`, `broker_reconnects` and `broker_buffer_bytes` are written here.
    pub metrics: Arc<NodeMetrics>,
    /// Spreads the tries of several nodes; random.
    pub seed: u64,
}

impl std::fmt::Debug for RedisContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisContext")
            .field("node", &self.node)
            .field("homes", &self.homes.len())
            .finish_non_exhaustive()
    }
}

/// Starts the thread. It connects by itself, now and whenever the link is lost; that Redis is away is no error.
pub fn start(config: &Broker, context: RedisContext) -> io::Result<RedisLink> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Only to look up the host's name, which tokio does on a thread of its own.
        .max_blocking_threads(1)
        .thread_name("redis-names")
        .build()?;
    let shared = Arc::new(Shared::new(Standing {
        url: config.url.to_string(),
        away_since: Some(clock()),
        reason: String::new(),
    }));
    let config = config.clone();
    let of_thread = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("redis".to_owned())
        .spawn(move || {
            let work = AssertUnwindSafe(|| {
                runtime.block_on(Box::pin(RedisThread::new(of_thread, config, context).run()));
                // A name that is still being looked up is not waited for.
                runtime.shutdown_background();
            });
            if catch_unwind(work).is_err() {
                // Without this thread the node would look well and deliver nothing; systemd starts it again.
                tracing::error!(target: "broker", "the redis thread panicked: this is a bug; the process ends");
                std::process::abort();
            }
        })?;
    shared.set_thread(thread);
    Ok(RedisLink::new(shared))
}

/// The thread's only look at the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the Redis thread reads the clock here, once a turn"
)]
fn clock() -> Instant {
    Instant::now()
}
