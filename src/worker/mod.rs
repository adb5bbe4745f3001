//! One thread: it reads, decides, writes. It shares nothing with the others but what comes through inboxes.
//!
//! `state/` takes every decision and never sees a socket; `conn.rs` is one task per connection, which only reads, and
//! begins with `open.rs`; `flush.rs` is one task per worker, which only writes; this file starts the thread and joins
//! them. A panic in one connection's own code (its session) ends that connection; one while the state is borrowed ends
//! the process, because its indexes can no longer be trusted, and systemd starts it again.

pub mod accept;
mod arrive;
pub mod clock;
mod conn;
pub mod conns;
pub mod counts;
mod flush;
pub mod inbox;
mod link;
pub mod message;
mod open;
pub mod outbox;
pub mod pace;
mod reader;
mod refusals;
pub mod remote;
mod report;
pub mod run;
mod secure;
pub mod share;
mod signals;
pub mod state;
pub mod turned_away;
pub mod users;
pub mod wheel;

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::BytesMut;
use tokio::runtime::{Builder, LocalOptions};

use crate::broker::Command;
use crate::config::Config;
use crate::hub::SubscriberCounts;
use crate::metrics::WorkerMetrics;
use crate::pipeline::Pipeline;
use crate::types::{ConnId, Generation, WorkerId};
use crate::wire::Inflate;
use flush::FlushSignal;
use inbox::Inbox;
use link::Link;
use message::{HooksFactory, Ready};
use report::Reporter;
use secure::Scratch;
use state::{Generations, Output, Place, State};

/// How a worker reaches the Redis thread.
pub type RedisSender = Arc<dyn Fn(WorkerId, Vec<Command>) + Send + Sync>;

/// What a worker is made of.
pub struct Setup {
    /// Where it stands.
    pub place: Place,
    /// The first configuration.
    pub config: Arc<Config>,
    /// Its number.
    pub generation: Generation,
    /// Its scripts.
    pub hooks: HooksFactory,
    /// Every worker's inbox, its own among them.
    pub inboxes: Vec<Arc<Inbox>>,
    /// With a Redis broker.
    pub redis: Option<RedisSender>,
    /// Where all workers count the subscribers of channels.
    pub subscribers: Arc<SubscriberCounts>,
    /// Where it counts.
    pub metrics: Arc<WorkerMetrics>,
    /// Where it answers the watchdog.
    pub answer: Arc<AtomicU64>,
    /// Where it says that it is ready, or why not.
    pub started: Ready,
}

/// Starts a worker's thread. It ends with the process.
pub fn start(setup: Setup) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", setup.place.worker.0);
    std::thread::Builder::new()
        .name(name)
        .spawn(move || run(setup))
}

/// Reads are this large at most. A connection's turn ends after one (ARCHITECTURE: a turn).
const READ_BYTES: usize = 64 << 10;

/// The shell of one worker.
pub(crate) struct Worker {
    state: RefCell<State>,
    /// By the slot of the connection's id.
    links: RefCell<Vec<Option<Rc<Link>>>>,
    flush: FlushSignal,
    /// When the flusher wakes by itself.
    armed: Cell<Option<Instant>>,
    inbox: Arc<Inbox>,
    inboxes: Vec<Arc<Inbox>>,
    redis: Option<RedisSender>,
    /// The buffer that connections read into, one after the other.
    buffer: RefCell<BytesMut>,
    /// What TLS reads into and writes from, one connection after the other.
    scratch: RefCell<Scratch>,
    /// Scratch for what they sent compressed, likewise.
    inflate: RefCell<Inflate>,
    metrics: Arc<WorkerMetrics>,
    answer: Arc<AtomicU64>,
    reporter: RefCell<Reporter>,
}

fn run(setup: Setup) {
    let Setup {
        place,
        config,
        generation,
        hooks,
        inboxes,
        redis,
        subscribers,
        metrics,
        answer,
        started,
    } = setup;
    let index = place.worker.index();
    let Some(inbox) = inboxes.get(index).cloned() else {
        return;
    };
    let hooks = match hooks(place.worker) {
        Ok(hooks) => hooks,
        Err(error) => {
            let _ = started.send((place.worker, Err(error)));
            return;
        }
    };
    let now = clock::now();
    let others = inboxes
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index);
    let others = others.map(|(_, inbox)| Arc::clone(inbox)).collect();
    let pipeline = Pipeline::new(hooks, config.hooks.on_error);
    let generations = Generations::new(generation, pipeline);
    let mut state = State::new(
        now,
        clock::unix(),
        place,
        config,
        generations,
        others,
        Arc::clone(&metrics),
    );
    state.share_counts(subscribers);
    let worker = Rc::new(Worker {
        state: RefCell::new(state),
        links: RefCell::new(Vec::new()),
        flush: FlushSignal::default(),
        armed: Cell::new(None),
        inbox: Arc::clone(&inbox),
        inboxes,
        redis,
        buffer: RefCell::new(BytesMut::with_capacity(READ_BYTES)),
        scratch: RefCell::default(),
        inflate: RefCell::default(),
        metrics,
        answer,
        reporter: RefCell::new(Reporter::default()),
    });
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Many tasks between two looks at the sockets, and as many events in one look: batches grow with both.
        .event_interval(4096)
        .max_io_events_per_tick(16_384)
        .on_thread_park({
            let inbox = Arc::clone(&inbox);
            move || inbox.sleep()
        })
        .on_thread_unpark(move || inbox.awake())
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => {
            let _ = started.send((place.worker, Ok(())));
            // A task like the others, behind those that are ready: before the runtime polls the future that it blocks on,
            // it looks at the sockets once more.
            let ended =
                runtime.block_on(async move { tokio::task::spawn_local(flush::run(worker)).await });
            if let Err(panic) = ended.map_err(tokio::task::JoinError::try_into_panic)
                && let Ok(panic) = panic
            {
                std::panic::resume_unwind(panic);
            }
        }
        Err(error) => tracing::error!(target: "worker", "no runtime: {error}"),
    }
}

impl Worker {
    /// The state, for the length of one call.
    fn state(&self) -> StateGuard<'_> {
        StateGuard {
            state: self.state.borrow_mut(),
            panicking: std::thread::panicking(),
        }
    }

    /// Does what the state asks for after a call, and wakes the flusher if there is something to write or a time has come
    /// nearer.
    fn settle(&self) {
        loop {
            let output = self.state().poll_output();
            let Some(output) = output else { break };
            match output {
                Output::Abort(id) => self.signal(id, link::Signals::ABORT),
                Output::Close(id, close) => {
                    if let Some(link) = self.link(id) {
                        link.close(close);
                    }
                }
                Output::Gaps(channel, count) => tracing::warn!(
                    target: "broker",
                    event = "gap",
                    wsd_channel = channel.as_str(),
                    "publications of {count} channels were missed and cannot be had again: {channel}{}",
                    if count > 1 { " and others" } else { "" }
                ),
                Output::HandshakeTimeout(id) => self.signal(id, link::Signals::HANDSHAKE_TIMEOUT),
                Output::Limits => {
                    for link in self.links.borrow().iter().flatten() {
                        link.signal(link::Signals::LIMITS);
                    }
                }
                Output::Report(generation, error) => {
                    let mut reporter = self.reporter.borrow_mut();
                    reporter.hook(clock::now(), generation, &error);
                }
                Output::SessionTimeout(id) => self.signal(id, link::Signals::SESSION_TIMEOUT),
            }
        }
        let (wanted, now) = {
            let state = self.state();
            let armed = self.armed.get();
            let sooner = state
                .poll_timeout()
                .is_some_and(|due| armed.is_none_or(|armed| due < armed));
            (state.wants_flush() || sooner, state.wants_flush_now())
        };
        if now {
            self.flush_now();
        } else if wanted {
            self.flush.wake();
        }
    }

    fn link(&self, id: ConnId) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        links
            .get(id.slot as usize)?
            .as_ref()
            .filter(|link| link.id == id)
            .map(Rc::clone)
    }

    fn signal(&self, id: ConnId, signal: link::Signals) {
        if let Some(link) = self.link(id) {
            link.signal(signal);
        }
    }

    fn add_link(&self, link: &Rc<Link>) {
        let mut links = self.links.borrow_mut();
        let slot = link.id.slot as usize;
        if links.len() <= slot {
            links.resize_with(slot + 1, || None);
        }
        if let Some(place) = links.get_mut(slot) {
            *place = Some(Rc::clone(link));
        }
    }

    fn remove_link(&self, id: ConnId) {
        let mut links = self.links.borrow_mut();
        if let Some(place) = links.get_mut(id.slot as usize)
            && place.as_ref().is_some_and(|link| link.id == id)
        {
            *place = None;
        }
        while links.pop_if(|last| last.is_none()).is_some() {}
        if links.capacity() > 1024 && links.len() < links.capacity() / 4 {
            let len = links.len();
            links.shrink_to(len * 2);
        }
    }
}

/// A borrow of the state that ends the process if a panic interrupts it.
struct StateGuard<'a> {
    state: RefMut<'a, State>,
    /// The thread was panicking before: then it is the clean-up of a connection whose own code panicked.
    panicking: bool,
}

impl Deref for StateGuard<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        if !self.panicking && std::thread::panicking() {
            // The message of the panic is in the log; what follows would be wrong deliveries.
            std::process::abort();
        }
    }
}
