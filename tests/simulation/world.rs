//! Workers without threads and sockets: what `worker/flush.rs` and `worker/conn.rs` do with a `State`, step by step and in
//! any order, with a clock that is a number.

mod clients;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wsd::config::{Config, WhenFull};
use wsd::metrics::WorkerMetrics;
use wsd::pipeline::Pipeline;
use wsd::types::{ChannelName, Close, ConnId, Generation, NameHash, NodeId, WorkerId};
use wsd::wire::SessionLimits;
use wsd::worker::conns::Phase;
use wsd::worker::message::Message;
use wsd::worker::outbox::Outbox;
use wsd::worker::state::{Generations, Output, Place, State};

use crate::client::{Client, Stay};
use crate::dice::Dice;
use crate::hooks::{DIRECT, Log, Rules};
use crate::model::{self, Allowance};
use crate::settings::Settings;

/// What is on its way from one worker to another.
enum Parcel {
    Message(Message),
    /// All that was sent before the last reload has come.
    Switched,
}

/// One worker and its clients.
pub(crate) struct Worker {
    pub(crate) state: State,
    pub(crate) clients: BTreeMap<ConnId, Client>,
    /// Ended in this period; what they got still counts.
    gone: Vec<Client>,
    signals: VecDeque<Output>,
    metrics: Arc<WorkerMetrics>,
    /// The one in force.
    generation: Generation,
    pub(crate) prepared: bool,
    pub(crate) switched: bool,
    /// Workers whose messages from before the switch may still come.
    old_from: usize,
}

/// All workers of a node.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) settings: Settings,
    pub(crate) workers: Vec<Worker>,
    /// `links[from][to]`, in order.
    links: Vec<Vec<VecDeque<Parcel>>>,
    pub(crate) log: Rc<RefCell<Log>>,
    now: Instant,
    pub(crate) wall: f64,
    pub(crate) generation: Generation,
    /// The configuration that is being switched to.
    pub(crate) next: Option<Arc<Config>>,
    lost: usize,
    pub(crate) trace: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, start: Instant) -> Self {
        let mut dice = Dice::new(seed);
        let settings = Settings::draw(&mut dice);
        let count = 1 + dice.below(4);
        let config = Arc::new(settings.config(&mut dice));
        let log = Rc::new(RefCell::new(Log::default()));
        let hash = NameHash::new(dice.roll(), dice.roll());
        let generation = Generation(1);
        let wall = 1000.0;
        let worker = |index: u8| {
            let place = Place {
                node: NodeId(7),
                worker: WorkerId(index),
                workers: count,
                hash,
            };
            let rules = Box::new(Rules {
                log: Rc::clone(&log),
                generation,
                batches: true,
            });
            let pipeline = Pipeline::new(rules, config.hooks.on_error);
            let metrics = Arc::new(WorkerMetrics::default());
            let state = State::new(
                start,
                wall,
                place,
                Arc::clone(&config),
                Generations::new(generation, pipeline),
                Vec::new(),
                Arc::clone(&metrics),
            );
            Worker {
                state,
                clients: BTreeMap::new(),
                gone: Vec::new(),
                signals: VecDeque::new(),
                metrics,
                generation,
                prepared: false,
                switched: false,
                old_from: 0,
            }
        };
        let workers: Vec<Worker> = (0..).take(count).map(worker).collect();
        let links = || (0..count).map(|_| VecDeque::new()).collect();
        Self {
            links: (0..count).map(|_| links()).collect(),
            dice,
            settings,
            workers,
            log,
            now: start,
            wall,
            generation,
            next: None,
            lost: 0,
            trace: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        self.trace.push(text());
    }

    /// Calls a worker's state and takes notice of what it changed.
    pub(crate) fn call<T>(&mut self, w: usize, body: impl FnOnce(&mut State, Instant) -> T) -> T {
        let result = body(&mut self.workers[w].state, self.now);
        self.notice(w, true);
        result
    }

    /// Looks at what a call has changed. `promise`: whether a 101 that it let go was let go because all is ready.
    fn notice(&mut self, w: usize, promise: bool) {
        let worker = &mut self.workers[w];
        worker.state.check_invariants();
        while let Some(output) = worker.state.poll_output() {
            worker.signals.push_back(output);
        }
        let now = self.log.borrow_mut().tick();
        for (&id, client) in &mut worker.clients {
            let Some(conn) = worker.state.conns().get(id) else {
                continue;
            };
            client.most_queued = client.most_queued.max(conn.outbox.queued());
            let open = conn.phase != Phase::Closing;
            for (name, seen) in &mut client.seen {
                let gone = name != DIRECT && {
                    let name = ChannelName::new(name).expect("a name");
                    !worker.state.hub().is_member(id, &name)
                };
                if seen.is_in()
                    && (gone || !open)
                    && let Some(stay) = seen.stays.last_mut()
                {
                    stay.left = Some(now);
                }
            }
            if open {
                for name in worker.state.hub().channels_of(id) {
                    let seen = client.seen.entry(name.as_str().to_owned()).or_default();
                    if !seen.is_in() {
                        seen.stays.push(Stay {
                            live: None,
                            left: None,
                        });
                    }
                }
            }
            if conn.phase == Phase::Open
                && let Some(name) = client.waits.take()
                && promise
                && let Some(seen) = client.seen.get_mut(&name)
                && let Some(stay) = seen.stays.last_mut()
            {
                stay.live = Some(now);
            }
        }
    }

    fn take(&mut self, client: &mut Client, bytes: &[u8]) {
        let (notes, pings) = client.receive(bytes);
        let log = &mut *self.log.borrow_mut();
        for note in notes {
            model::receive(log, client, &note);
            self.trace
                .push(format!("{} got {}", client.origin, note.id));
        }
        for _ in 0..pings {
            client.frame(&mut self.dice, 0x8a, b"");
        }
    }

    /// Writes to a client, which takes `most` bytes.
    fn write(&mut self, w: usize, id: ConnId, most: usize) {
        let worker = &mut self.workers[w];
        let Some(mut client) = worker.clients.remove(&id) else {
            return;
        };
        let mut bytes = Vec::new();
        let mut rest = false;
        if let Some(outbox) = worker.state.outbox(id) {
            outbox.slices(|slice| {
                bytes.extend_from_slice(slice);
                true
            });
            rest = bytes.len() > most;
            bytes.truncate(most);
        }
        worker.state.on_written(id, bytes.len());
        client.blocked = rest;
        self.take(&mut client, &bytes);
        self.workers[w].clients.insert(id, client);
        self.notice(w, true);
    }

    /// A client that could not take more takes some.
    pub(crate) fn unblock(&mut self, w: usize, id: ConnId) {
        let worker = &mut self.workers[w];
        if let Some(client) = worker.clients.get_mut(&id).filter(|c| c.blocked) {
            client.blocked = false;
            worker.state.mark_dirty(id);
        }
    }

    /// Ends a worker's turn: time, batches and runs, what is for others, writing.
    pub(crate) fn turn(&mut self, w: usize, all: bool) {
        self.tick(w);
        self.call(w, State::end_turn);
        self.hand_over(w);
        let mut dirty = Vec::new();
        self.workers[w].state.take_dirty(&mut dirty);
        for id in dirty {
            let Some(client) = self.workers[w].clients.get(&id).filter(|c| !c.blocked) else {
                continue;
            };
            let most = if all || !client.slow {
                usize::MAX
            } else {
                self.dice.below(150)
            };
            self.write(w, id, most);
        }
    }

    fn tick(&mut self, w: usize) {
        let (now, wall) = (self.now, self.wall);
        let state = &mut self.workers[w].state;
        if state.poll_timeout().is_some_and(|due| due <= now) {
            state.on_tick(now, wall);
            self.notice(w, false);
            assert!(
                self.workers[w]
                    .state
                    .poll_timeout()
                    .is_none_or(|due| due > now),
                "a timer that is due stays so"
            );
        }
    }

    fn hand_over(&mut self, w: usize) {
        for (index, link) in (0u8..).zip(&mut self.links[w]) {
            let messages = self.workers[w].state.take_outbound(WorkerId(index));
            assert!(
                messages.is_empty() || usize::from(index) != w,
                "a message to itself"
            );
            link.extend(messages.into_iter().map(Parcel::Message));
        }
    }

    /// One message arrives; false if there was none.
    pub(crate) fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(parcel) = self.links[from][to].pop_front() else {
            return false;
        };
        match parcel {
            Parcel::Message(message) => self.call(to, |state, now| match message {
                Message::Deliver(list) => state.on_deliver(now, &list),
                Message::Interest(worker, channel, interest) => {
                    state.on_interest(now, worker, &channel, interest);
                }
                Message::Live(channel) => state.on_live(now, &channel),
                Message::Answer(receipt, outcome) => state.on_answer(now, receipt, outcome),
                Message::Publish(list) => state.on_publish(now, list),
                Message::Recall(worker, recall) => state.on_recall(now, worker, &recall),
                Message::Recalled(recalled) => state.on_recalled(now, recalled),
                other => panic!("{other:?} between workers"),
            }),
            Parcel::Switched => {
                self.workers[to].old_from -= 1;
                if self.workers[to].old_from == 0 {
                    self.call(to, State::on_retire);
                    if self.workers.iter().all(|worker| worker.old_from == 0) {
                        self.next = None;
                        for worker in &mut self.workers {
                            (worker.prepared, worker.switched) = (false, false);
                        }
                    }
                }
            }
        }
        true
    }

    /// The next thing that the state asked the shell to do.
    pub(crate) fn signal(&mut self, w: usize) -> bool {
        let now = self.now;
        let worker = &mut self.workers[w];
        let Some(output) = worker.signals.pop_front() else {
            return false;
        };
        match output {
            Output::Abort(id) => self.end(w, id, &Close::LOST),
            Output::Close(id, close) => {
                let client = worker.clients.get_mut(&id);
                match client.map(|client| client.session.as_mut()) {
                    Some(Some(session)) => {
                        session.close(now, close);
                        self.after_session(w, id);
                    }
                    Some(None) => self.end(w, id, &Close::LOST),
                    None => {}
                }
            }
            Output::HandshakeTimeout(id) => {
                self.call(w, |state, now| state.on_closed(now, id, &Close::REFUSED));
            }
            Output::Gaps(..) | Output::Limits | Output::Report(..) => {}
            Output::SessionTimeout(id) => {
                let client = worker.clients.get_mut(&id);
                if let Some(session) = client.and_then(|client| client.session.as_mut()) {
                    session.handle_timeout(now);
                    self.after_session(w, id);
                }
            }
        }
        true
    }

    /// Time passes; the wall clock may think otherwise.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.wall += time.as_secs_f64();
    }

    /// A reload goes one step on: load, switch and retire, each worker in its own time.
    pub(crate) fn reload(&mut self, w: usize) {
        if self.next.is_none() {
            self.next = Some(Arc::new(self.settings.config(&mut self.dice)));
            self.generation = Generation(self.generation.0 + 1);
        }
        let Some(config) = self.next.clone() else {
            return;
        };
        let generation = self.generation;
        let all_prepared = self.workers.iter().all(|worker| worker.prepared);
        let worker = &mut self.workers[w];
        if !worker.prepared && !worker.switched {
            worker.prepared = true;
            let rules = Rules {
                log: Rc::clone(&self.log),
                generation,
                batches: !generation.0.is_multiple_of(3),
            };
            self.call(w, |state, _| {
                state.on_prepared(generation, &config, Box::new(rules));
            });
        } else if all_prepared && !worker.switched {
            worker.switched = true;
            worker.generation = generation;
            self.call(w, |state, now| state.on_switch(now, generation, config));
            // A worker hands over what it has before it says that it has switched.
            self.call(w, State::end_turn);
            self.hand_over(w);
            if self.workers.iter().all(|worker| worker.switched) {
                let count = self.workers.len();
                for worker in &mut self.workers {
                    worker.old_from = count;
                }
                for link in self.links.iter_mut().flatten() {
                    link.push_back(Parcel::Switched);
                }
            }
        }
    }

    /// Lets everything that is on its way arrive, and compares what came with what was promised.
    pub(crate) fn settle(&mut self) {
        let count = self.workers.len();
        // Until nothing new has come for longer than any two windows together: what ends may have hooks publish.
        let mut quiet = 0;
        let mut last = self.log.borrow().last_id;
        while quiet < 6 {
            for w in 0..count {
                while self.signal(w) {}
                let ids: Vec<ConnId> = self.workers[w].clients.keys().copied().collect();
                for id in ids {
                    self.unblock(w, id);
                    self.read(w, id, usize::MAX);
                }
                self.turn(w, true);
            }
            for (from, to) in (0..count * count).map(|pair| (pair / count, pair % count)) {
                while self.deliver(from, to) {}
            }
            self.pass(Duration::from_millis(250));
            let now = self.log.borrow().last_id;
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
        assert!(self.links.iter().flatten().all(VecDeque::is_empty));
        for worker in &self.workers {
            for (id, client) in &worker.clients {
                let left = worker.state.outbox(*id).map(Outbox::queued);
                assert_eq!(left, Some(0), "{}: not written", client.origin);
                assert!(
                    client.is_between_frames(),
                    "{}: half a frame",
                    client.origin
                );
            }
        }
        let lossy = self.settings.when_full.iter().filter_map(|(name, policy)| {
            let near = match policy {
                WhenFull::Disconnect => return None,
                WhenFull::KeepLatest => false,
                WhenFull::DropNewest | WhenFull::DropOldest => true,
            };
            Some(((*name).to_owned(), near))
        });
        let tight = self.settings.is_tight();
        let allowance = Allowance {
            lossy: lossy.filter(|_| tight).collect(),
            // The largest frame of a run is about half of it.
            near: self.settings.queue / 4,
        };
        let log = &mut *self.log.borrow_mut();
        let clients = self
            .workers
            .iter_mut()
            .flat_map(|worker| worker.clients.values_mut().chain(worker.gone.iter_mut()));
        self.lost += model::settle(log, clients, &allowance);
        let mut dropped = 0;
        for worker in &mut self.workers {
            worker.gone.clear();
            dropped += worker.metrics.dropped_slow.get();
            assert_eq!(worker.metrics.effects_too_deep.get(), 0);
        }
        assert!(tight || dropped == 0, "{dropped} dropped with room for all");
        // A frame holds at most so many messages.
        let most = usize::try_from(dropped)
            .unwrap_or(usize::MAX)
            .saturating_mul(100);
        assert!(self.lost <= most, "{} lost, {dropped} counted", self.lost);
        self.trace.push(format!("settled, {dropped} dropped"));
    }

    /// The end of everything: everybody goes, and nothing is left.
    pub(crate) fn close_all(&mut self) {
        for w in 0..self.workers.len() {
            let ids: Vec<ConnId> = self.workers[w].clients.keys().copied().collect();
            for id in ids {
                self.end(w, id, &Close::LOST);
            }
        }
        self.pass(Duration::from_secs(30));
        self.settle();
        for worker in &self.workers {
            let state = &worker.state;
            assert_eq!(state.hub().channel_count(), 0, "channels without members");
            assert_eq!(state.conns().open_count(), 0);
            assert_eq!(state.conns().ids().count(), 0, "names of nobody");
            assert_eq!(state.home().channel_count(), 0, "a home keeps a channel");
        }
    }
}

fn limits(config: &Config) -> SessionLimits {
    SessionLimits {
        message: config.limits.message,
        ping_after: config.heartbeat.interval,
        pong_within: config.heartbeat.timeout,
        close_within: Duration::from_secs(5),
    }
}
