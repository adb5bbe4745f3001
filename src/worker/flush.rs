//! The flusher: one task per worker, which takes the inbox, ends the turn and writes.
//!
//! The first outbox or batch that becomes dirty wakes it, and the runtime's queue puts it behind all connections that are
//! ready now: that is the end of a turn. It closes batches and runs, hands over to other workers and to Redis, then
//! writes each dirty outbox once, by itself and without waking anybody. Only a socket that would block waits for its own
//! task (`conn.rs`).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::link::{Link, Signals};
use super::message::{Message, Report};
use super::outbox::Outbox;
use super::secure::{self, Scratch};
use super::state::State;
use super::{Worker, arrive, clock, conn};
use crate::types::{ConnId, WorkerId};

/// Wakes the flusher, at most once until it runs.
#[derive(Debug, Default)]
pub(super) struct FlushSignal {
    wanted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl FlushSignal {
    pub(super) fn wake(&self) {
        if !self.wanted.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.wanted.replace(false) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// Connections that are written before the others are read again: a worker with ten thousand subscribers must still read
/// between two writes of the whole crowd.
const WRITES_A_TURN: usize = 1024;

/// Messages that are taken from the inbox before connections are served again.
const MESSAGES_A_TURN: usize = 1024;

/// Loading scripts for a reload stops a worker's connections for so long without a word (SPEC §6).
const SLOW_LOAD: Duration = Duration::from_millis(20);

/// Connections that are found before they are written, one after the other.
const FOUND: usize = 64;

/// Slices of one vectored write.
const SLICES: usize = 16;

/// The worker's life.
pub(super) async fn run(worker: Rc<Worker>) {
    let inbox = Arc::clone(&worker.inbox);
    let mut notified = pin!(inbox.notified());
    let mut sleep = pin!(tokio::time::sleep_until(clock::now().into()));
    let mut list = Vec::new();
    worker.state().on_live_generation(clock::now());
    worker.settle();
    loop {
        let report = worker.reporter.borrow().poll_timeout();
        let state = worker.state().poll_timeout();
        let due = state.into_iter().chain(report).min();
        if due != worker.armed.get() {
            worker.armed.set(due);
            if let Some(due) = due {
                sleep.as_mut().reset(due.into());
            }
        }
        poll_fn(|cx| {
            if worker.flush.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if notified.as_mut().poll(cx).is_ready() {
                notified.set(inbox.notified());
                return Poll::Ready(());
            }
            if worker.armed.get().is_some() && sleep.as_mut().poll(cx).is_ready() {
                worker.armed.set(None);
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        let mut more = worker.take_inbox();
        let now = clock::now();
        if worker.state().poll_timeout().is_some_and(|due| due <= now) {
            worker.state().on_tick(now, clock::unix());
        }
        worker.reporter.borrow_mut().handle_timeout(now);
        worker.end_turn(now);
        worker.state().take_dirty(&mut list);
        let mut chunks = list.chunks(WRITES_A_TURN).peekable();
        while let Some(chunk) = chunks.next() {
            worker.write(chunk);
            if chunks.peek().is_some() {
                tokio::task::yield_now().await;
                more = true;
            }
        }
        worker.settle();
        worker.state().sample();
        let timers_due = worker.state().has_script_timer_due(now);
        if timers_due || worker.state().is_carrying() {
            more = true;
            // Timers that are always due must not keep connections from being read, nor data that follows a reload.
            tokio::task::yield_now().await;
        }
        if more {
            worker.flush.wake();
        }
    }
}

impl Worker {
    /// Takes what other threads have sent; true if there is more.
    fn take_inbox(self: &Rc<Self>) -> bool {
        let missed = self.inbox.take_missed();
        if missed > 0 {
            self.metrics.gaps.inc();
            tracing::warn!(target: "broker", "{missed} publications from the broker found no room and are lost here");
        }
        for _ in 0..MESSAGES_A_TURN {
            let Some(message) = self.inbox.pop() else {
                break;
            };
            self.handle(message);
        }
        if self.inbox.take_awaited() {
            for inbox in self
                .inboxes
                .iter()
                .filter(|inbox| !Arc::ptr_eq(inbox, &self.inbox))
            {
                inbox.push(Message::Room);
            }
        }
        !self.inbox.is_empty()
    }

    fn handle(self: &Rc<Self>, message: Message) {
        let now = clock::now();
        match message {
            Message::Accept(socket, ticket) => arrive::accept(self, socket, ticket),
            Message::Move(moved) => arrive::adopt(self, *moved),
            Message::Answer(receipt, outcome) => self.state().on_answer(now, receipt, outcome),
            Message::Attach(socket, channel) => conn::attach(self, socket, &channel),
            Message::Blame(blame, conn) => self.state().on_blame(now, blame, conn),
            Message::Charge(conn, cost) => self.state().on_charge(now, conn, cost),
            Message::Deliver(list) => self.state().on_deliver(now, &list),
            Message::Discard(generation) => self.state().on_discard(generation),
            Message::Drain(over, close) => {
                self.state().on_drain(now, over, &close, random);
            }
            Message::Finish(ready) => {
                let worker = self.state().place().worker;
                self.state().finish(now);
                self.flush_now();
                let _ = ready.send((worker, Ok(())));
            }
            Message::Gap(channel) => self.state().on_gap(now, &channel),
            Message::Interest(worker, channel, interest) => {
                self.state().on_interest(now, worker, &channel, interest);
            }
            Message::Live(channel) => self.state().on_live(now, &channel),
            Message::Prepare(prepared) => {
                let worker = self.state().place().worker;
                let result = (prepared.hooks)(worker).map(|hooks| {
                    self.state()
                        .on_prepared(prepared.generation, &prepared.config, hooks);
                });
                let took = clock::now().saturating_duration_since(now);
                if took > SLOW_LOAD {
                    tracing::warn!(
                        target: "reload",
                        event = "reload_slow",
                        wsd_generation = prepared.generation.0,
                        "loading the scripts of generation {} took {} ms on worker {}: its connections waited",
                        prepared.generation,
                        took.as_millis(),
                        worker.0
                    );
                }
                let _ = prepared.ready.send((worker, result));
            }
            Message::Publish(list) => self.state().on_publish(now, list),
            Message::PublishFromNode(channel, payload) => {
                self.state().on_publish_from_node(now, channel, payload);
            }
            Message::Recall(worker, recall) => self.state().on_recall(now, worker, &recall),
            Message::Recalled(recalled) => self.state().on_recalled(now, recalled),
            Message::Redis(event) => self.state().on_redis(now, event),
            Message::Report(reply) => {
                let channels = self
                    .state()
                    .hub()
                    .channels()
                    .map(|(_, name)| name.clone())
                    .collect();
                // Who asked may have gone.
                let _ = reply.try_send(Report { channels });
            }
            Message::Retire => self.state().on_retire(now),
            Message::Room => {
                for link in self.links.borrow().iter().flatten() {
                    link.wake();
                }
            }
            Message::Switch(generation, config, ready) => {
                let worker = self.state().place().worker;
                // What was published before stands in the other inboxes before the word that all have switched.
                self.end_turn(now);
                self.state().on_switch(now, generation, config);
                let _ = ready.send((worker, Ok(())));
            }
            Message::Watchdog(question) => self.answer.store(question, Ordering::Relaxed),
        }
    }

    /// Ends the turn: batches, runs, what is for others.
    fn end_turn(&self, now: Instant) {
        let mut state = self.state();
        state.end_turn(now);
        for (index, inbox) in (0u8..).zip(&self.inboxes) {
            for message in state.take_outbound(WorkerId(index)) {
                inbox.push(message);
            }
        }
        let commands = state.take_commands();
        if let Some(redis) = &self.redis
            && !commands.is_empty()
        {
            redis(state.place().worker, commands);
        }
    }

    /// Ends the turn and writes at once: much has gathered.
    pub(super) fn flush_now(&self) {
        let mut list = Vec::new();
        self.end_turn(clock::now());
        self.state().take_dirty(&mut list);
        self.write(&list);
    }

    /// Writes each of these once.
    fn write(&self, list: &[ConnId]) {
        let links = self.links.borrow();
        let mut state = self.state();
        let scratch = &mut *self.scratch.borrow_mut();
        let find = |id: &ConnId| {
            let link = links.get(id.slot as usize)?.as_deref()?;
            let is_free = link.id == *id && !link.blocked.get();
            is_free.then(|| (link, link.writer.fd()))
        };
        let mut found: SmallVec<[(&Link, BorrowedFd<'_>); FOUND]> = SmallVec::new();
        // First all are found, then all are written: the processor fetches them from memory side by side, where between
        // two system calls it would wait for each.
        for chunk in list.chunks(FOUND) {
            found.clear();
            found.extend(chunk.iter().filter_map(find));
            for &(link, fd) in &found {
                write_one(&mut state, scratch, link, fd);
            }
        }
    }
}

/// Writes what waits for a connection, until it is all or the socket takes no more.
fn write_one(state: &mut State, scratch: &mut Scratch, link: &Link, fd: BorrowedFd<'_>) {
    if let Some(tls) = link.tls.get() {
        secure::write(state, scratch, link, &mut tls.borrow_mut());
        return;
    }
    loop {
        let Some(outbox) = state.outbox(link.id) else {
            return;
        };
        let (result, offered) = offer(link, fd, outbox);
        if offered == 0 {
            return;
        }
        match result {
            Ok(written) => {
                state.on_written(link.id, written);
                link.sent.set(link.sent.get() + written as u64);
                if written < offered {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => {
                // Its task finds out the same when it reads, or here.
                link.signal(Signals::ABORT);
                return;
            }
        }
    }
    link.blocked.set(true);
    link.wake();
}

/// Writes once; returns also how much was offered, which is 0 if nothing waits.
fn offer(link: &Link, fd: BorrowedFd<'_>, outbox: &Outbox) -> (io::Result<usize>, usize) {
    if let Some(slice) = outbox.single() {
        return (link.writer.send(fd, slice), slice.len());
    }
    let mut slices: SmallVec<[IoSlice<'_>; SLICES]> = SmallVec::new();
    let mut offered = 0;
    outbox.slices(|slice| {
        slices.push(IoSlice::new(slice));
        offered += slice.len();
        slices.len() < SLICES
    });
    if offered == 0 {
        return (Ok(0), 0);
    }
    (link.writer.try_write_vectored(&slices), offered)
}

/// A number from 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness everything happens at once, which is what a deadline of zero would do.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
