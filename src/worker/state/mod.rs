//! Everything one worker knows, and every decision it takes.
//!
//! [pure] The shell says what happened with `on_*` and then does what [`State::poll_output`], [`State::take_outbound`]
//! and [`State::take_commands`] ask. It is borrowed for the length of one call, never across an `.await`. Split by input:
//! `client.rs` what a connection does, `limits.rs` how much of it, `asking.rs` how hooks are asked, `subscribe.rs` joining
//! and leaving, `publish.rs` a message's way to its channel's home and through it, `delivery.rs` from there to the
//! outboxes, `feed.rs` what was kept for who comes back, `command.rs` what `wsd.v1` clients ask for, `effects.rs` what
//! hooks asked for, `timers.rs` what time brings, `reload.rs` the generations. The shell is `worker/conn.rs` and
//! `worker/flush.rs`.

mod asking;
mod client;
mod command;
mod delivery;
mod effects;
mod feed;
mod form;
mod generations;
mod limits;
mod pass_on;
mod publish;
mod reload;
mod script_timers;
mod subscribe;
mod timers;
mod users;

pub use asking::{Blame, Spending};
pub use client::Accepted;
pub use command::V1;
pub use generations::Generations;
pub use pass_on::Lane;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conns::{Conn, ConnTable, Phase};
use super::inbox::Inbox;
use super::message::Message;
use super::outbox::Outbox;
use super::run::SpareRuns;
use super::users::Users;
use super::wheel::Wheel;
use crate::broker::Command;
use crate::broker::home::Home;
use crate::config::Config;
use crate::hub::{ChannelSlot, Hub, SubscriberCounts};
use crate::metrics::WorkerMetrics;
use crate::pipeline::{Effects, HookError};
use crate::protocol::Id;
use crate::types::{
    ChannelName, Close, ConnId, Generation, NameHash, NodeId, Origin, Ticket, WorkerId,
};
use crate::wire::Deflate;
use delivery::Local;
use feed::{Asked, Feed};
use script_timers::ScriptTimers;

/// What the shell must do.
#[derive(Debug)]
pub enum Output {
    /// Ends the connection without another word.
    Abort(ConnId),
    /// Begins the closing handshake.
    Close(ConnId, Close),
    /// Says that members of this channel, one of so many, missed what cannot be had again.
    Gaps(ChannelName, u64),
    /// Answers 408: the request has not come in time.
    HandshakeTimeout(ConnId),
    /// Gives every session the configuration's limits.
    Limits,
    /// Says what a hook of that generation did wrong.
    Report(Generation, HookError),
    /// The session's timer is due.
    SessionTimeout(ConnId),
}

/// What never changes in a worker's life.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The process.
    pub node: NodeId,
    /// The thread.
    pub worker: WorkerId,
    /// How many there are, at least 1.
    pub workers: usize,
    /// Where a channel's home is.
    pub hash: NameHash,
}

impl Place {
    /// The connection's name among all nodes.
    #[must_use]
    pub const fn origin(&self, conn: ConnId) -> Origin {
        Origin {
            node: self.node,
            worker: self.worker,
            conn,
        }
    }

    /// Whose connection it is, if it is one of this worker's.
    #[must_use]
    pub fn own(&self, origin: Origin) -> Option<ConnId> {
        (origin.node == self.node && origin.worker == self.worker).then_some(origin.conn)
    }
}

/// Everything one worker knows.
pub struct State {
    place: Place,
    config: Arc<Config>,
    generations: Generations,
    conns: ConnTable,
    hub: Hub,
    home: Home,
    /// What is known of each channel with a subscriber here, by its slot in the hub.
    local: Vec<Local>,
    /// How often a channel was wanted without the home's answer: it is live with the last one.
    unanswered: HashMap<ChannelName, u32, NameHash>,
    /// Members that do not have everything yet that their channels kept.
    feeds: BTreeMap<(ConnId, ChannelSlot), Feed>,
    /// Connections that catch up and have room for more.
    hungry: Vec<ConnId>,
    /// Questions to homes that are not answered yet.
    asked: HashMap<u64, Asked>,
    /// The name of the last of them.
    next_token: u64,
    /// Publishes of `wsd.v1` clients that are not answered yet, by the clients' own names.
    tickets: HashMap<Ticket, Option<Id>>,
    last_ticket: NonZeroU64,
    /// Runs that end with this turn.
    turn_runs: Vec<ChannelSlot>,
    /// Empty ones, to be used again.
    spare_runs: SpareRuns,
    /// Runs whose delivery window ends at a time.
    due_runs: BTreeSet<(Instant, ChannelSlot)>,
    wheel: Wheel,
    /// Functions of scripts that are to run.
    script_timers: ScriptTimers,
    /// Whose connections these are.
    users: Users,
    /// The wall clock: this moment was that many seconds since 1970.
    wall: (Instant, f64),
    /// Connections with something to write, each once.
    dirty: Vec<ConnId>,
    outputs: VecDeque<Output>,
    /// For the other workers, by their number.
    outbound: Vec<Vec<Message>>,
    /// Bytes of messages in `outbound`.
    outbound_bytes: usize,
    /// The other workers' inboxes, to see which are full.
    inboxes: Vec<Arc<Inbox>>,
    commands: Vec<Command>,
    effects: Effects,
    /// How deep effects have caused effects: a hook that subscribes in `on_subscribe`.
    depth: u32,
    /// What hooks took for what is being handled.
    spent: Duration,
    /// That is measured in CPU time.
    by_cpu: bool,
    /// The last batch was dear.
    dear_batches: bool,
    /// A run grew so large that it should be written before the turn ends.
    flush_now: bool,
    /// Bytes in all outboxes.
    queued_bytes: usize,
    /// Connections that are to be closed, the latest first.
    drain: Vec<(Instant, ConnId)>,
    /// With what.
    drain_close: Option<Close>,
    /// Scratch for frames that are compressed.
    deflate: Deflate,
    metrics: Arc<WorkerMetrics>,
}

impl State {
    /// A worker without connections. `wall` is the clock's reading at `now`.
    #[must_use]
    pub fn new(
        now: Instant,
        wall: f64,
        place: Place,
        config: Arc<Config>,
        generations: Generations,
        inboxes: Vec<Arc<Inbox>>,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        Self {
            home: Home::new(&config.broker.url, place.hash),
            hub: Hub::new(place.hash),
            place,
            config,
            generations,
            conns: ConnTable::default(),
            local: Vec::new(),
            unanswered: HashMap::with_hasher(place.hash),
            feeds: BTreeMap::new(),
            hungry: Vec::new(),
            asked: HashMap::new(),
            next_token: 0,
            tickets: HashMap::new(),
            last_ticket: NonZeroU64::MIN,
            turn_runs: Vec::new(),
            spare_runs: SpareRuns::default(),
            due_runs: BTreeSet::new(),
            wheel: Wheel::new(now),
            script_timers: ScriptTimers::default(),
            users: Users::new(place.hash),
            wall: (now, wall),
            dirty: Vec::new(),
            outputs: VecDeque::new(),
            outbound: (0..place.workers).map(|_| Vec::new()).collect(),
            outbound_bytes: 0,
            inboxes,
            commands: Vec::new(),
            effects: Effects::default(),
            depth: 0,
            spent: Duration::ZERO,
            by_cpu: false,
            dear_batches: false,
            flush_now: false,
            queued_bytes: 0,
            drain: Vec::new(),
            drain_close: None,
            deflate: Deflate::new(),
            metrics,
        }
    }

    /// Writes how many subscribers channels have where all workers do.
    pub fn share_counts(&mut self, counts: Arc<SubscriberCounts>) {
        self.hub.share_counts(counts);
    }

    /// The turn ends: closes what ends with it and gives it to the outboxes.
    pub fn end_turn(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.hungry) {
            self.pump_feeds(now, id);
        }
        while let Some(batch) = self.home.poll_turn() {
            self.run_batch(now, batch);
        }
        while let Some(slot) = self.turn_runs.pop() {
            // The slot may be another channel's by now, whose window goes on.
            self.close_turn_run(now, slot);
        }
        self.flush_now = false;
        self.outbound_bytes = 0;
        self.generations.carry(CARRIED_A_TURN);
    }

    /// Whether data of connections is still on its way to the generation in force.
    #[must_use]
    pub const fn is_carrying(&self) -> bool {
        self.generations.is_carrying()
    }

    /// So much more waits for other workers. Much of it is handed over at once: only then is seen that they are full.
    fn add_outbound(&mut self, bytes: usize) {
        self.outbound_bytes += bytes + 100;
        self.flush_now |= self.outbound_bytes > OUTBOUND_BYTES;
    }

    /// What to do next; to be asked until there is nothing.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the flusher has something to do.
    #[must_use]
    pub fn wants_flush(&self) -> bool {
        !self.dirty.is_empty()
            || !self.hungry.is_empty()
            || !self.turn_runs.is_empty()
            || !self.commands.is_empty()
            || self.home.has_turn()
            || self.outbound.iter().any(|messages| !messages.is_empty())
    }

    /// Whether it should do so before the turn ends, as much has gathered.
    #[must_use]
    pub const fn wants_flush_now(&self) -> bool {
        self.flush_now
    }

    /// The connections with something to write; their mark is taken off.
    pub fn take_dirty(&mut self, list: &mut Vec<ConnId>) {
        list.clear();
        std::mem::swap(list, &mut self.dirty);
        for &conn in list.iter() {
            if let Some(conn) = self.conns.get_mut(conn) {
                conn.dirty = false;
            }
        }
    }

    /// What waits for a connection, unless it must not be written yet.
    #[must_use]
    pub fn outbox(&self, conn: ConnId) -> Option<&Outbox> {
        let conn = self
            .conns
            .get(conn)
            .filter(|conn| conn.phase != Phase::Joining)?;
        Some(&conn.outbox)
    }

    /// So many bytes of a connection's outbox were written.
    pub fn on_written(&mut self, id: ConnId, bytes: usize) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.outbox.advance(bytes);
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
        self.metrics.bytes_sent.add(bytes as u64);
        if let Some(v1) = &mut conn.v1
            && !v1.gaps.is_empty()
            && conn.outbox.is_empty()
        {
            v1.gaps.clear();
        }
        if conn.feeds > 0 {
            self.hungry.push(id);
        }
    }

    /// Whether connections should not be read now, as another worker cannot take more.
    ///
    /// Any full inbox holds all of them back: which channels it concerns is known to their homes only.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.inboxes.iter().any(|inbox| inbox.is_held())
    }

    /// Puts a connection back on the list of those to be written.
    pub fn mark_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            mark(&mut self.dirty, id, conn);
        }
    }

    /// What to hand over to another worker, in order.
    #[must_use]
    pub fn take_outbound(&mut self, worker: WorkerId) -> Vec<Message> {
        self.outbound
            .get_mut(worker.index())
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// What to hand over to the Redis thread, in order.
    #[must_use]
    pub fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// The configuration in force here.
    #[must_use]
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// What never changes.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// The connections.
    #[must_use]
    pub const fn conns(&self) -> &ConnTable {
        &self.conns
    }

    /// Who listens to what.
    #[must_use]
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The channels whose home is here.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// Compares all that is known twice; panics where it differs. For tests and the simulation.
    pub fn check_invariants(&self) {
        self.hub.check_invariants();
        let mut queued = 0;
        for (id, conn) in self.conns.iter() {
            conn.outbox.check_invariants();
            queued += conn.outbox.queued();
            assert_eq!(
                conn.dirty,
                self.dirty.contains(&id),
                "{id:?}: the list of those to be written"
            );
        }
        assert_eq!(queued, self.queued_bytes, "bytes in all outboxes");
        for (slot, name) in self.hub.channels() {
            let local = self.local.get(slot.index());
            assert!(
                local.is_some_and(|local| local.policy.is_some()),
                "{name}: unknown locally"
            );
        }
    }

    /// Writes the gauges: after every turn, and when a connection has left, which need not be followed by one.
    pub fn sample(&mut self) {
        let metrics = &self.metrics;
        metrics.connections.set(self.conns.open_count() as u64);
        metrics.channels.set(self.hub.channel_count() as u64);
        metrics
            .subscriptions
            .set(self.hub.subscription_count() as u64);
        metrics.queue_bytes.set(self.queued_bytes as u64);
        metrics
            .hook_memory_bytes
            .set(self.generations.current().hooks().memory() as u64);
    }
}

/// Connections whose data follows its generation in a turn: about half a millisecond.
const CARRIED_A_TURN: usize = 500;

/// Bytes for other workers that may gather in a turn.
const OUTBOUND_BYTES: usize = 1 << 20;

/// Puts a connection on the list of those to be written, once.
fn mark(dirty: &mut Vec<ConnId>, id: ConnId, conn: &mut Conn) {
    if !conn.dirty && conn.phase != Phase::Joining {
        conn.dirty = true;
        dirty.push(id);
    }
}
