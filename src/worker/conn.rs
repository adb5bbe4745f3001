//! One task per connection, which only reads: socket → session → state.
//!
//! The journey of a message starts here. The task owns the half of the socket that is read and the session; everything
//! else that the connection is stands in the worker's state. What it must do for others (close, look at its timers, wait
//! until a full socket takes more) reaches it as a signal of its [`Link`].

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::net::UnixStream;

use super::arrive::{Arrival, hand_on};
use super::conns::Conn;
use super::link::{Link, Signals};
use super::open::{Opened, open};
use super::reader::{self, Read, Reader};
use super::signals::{heed, held, limits, unblock};
use super::state::Spending;
use super::{READ_BYTES, Worker, clock, secure};
use crate::tls::Failure;
use crate::types::{ChannelName, Close, ConnId};
use crate::wire::{Event, ProtocolError, Session};

/// How long a connection that has ended may take to read its last bytes and to hang up.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection may do in hooks before others have their turn.
const HOOK_TURN: Duration = Duration::from_millis(5);

/// Takes the worker's end of a connection of wsd's own, to which a channel's publications go.
pub(super) fn attach(
    worker: &Rc<Worker>,
    socket: std::os::unix::net::UnixStream,
    channel: &ChannelName,
) {
    let (reader, writer) = match UnixStream::from_std(socket).map(reader::split_unix) {
        Ok(halves) => halves,
        Err(error) => {
            tracing::warn!(target: "control", "a subscription could not be taken over: {error}");
            return;
        }
    };
    let id = worker.state().on_attach(clock::now(), channel);
    let link = Rc::new(Link::new(id, writer));
    worker.add_link(&link);
    let guard = Guard::new(worker, id);
    tokio::task::spawn_local(async move {
        let mut reading = Reading {
            reader,
            pending: BytesMut::new(),
        };
        // It sends nothing: the first byte or the end of it is the end.
        loop {
            match next(&guard.worker, &link, &mut reading).await {
                Wake::Signals(signals)
                    if !signals.has(Signals::ABORT) && !signals.has(Signals::CLOSE) => {}
                _ => break,
            }
        }
        guard.end(&Close::GOING_AWAY);
    });
}

/// Ends the connection in the state, whatever ends its task: a panic too.
pub(super) struct Guard {
    worker: Rc<Worker>,
    id: ConnId,
    ended: Cell<bool>,
}

impl Guard {
    pub(super) fn new(worker: &Rc<Worker>, id: ConnId) -> Self {
        Self {
            worker: Rc::clone(worker),
            id,
            ended: Cell::new(false),
        }
    }

    fn end(&self, close: &Close) -> Option<Box<Conn>> {
        if self.ended.replace(true) {
            return None;
        }
        let conn = self.worker.state().on_closed(clock::now(), self.id, close);
        self.worker.remove_link(self.id);
        self.worker.settle();
        self.worker.state().sample();
        conn
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end(&Close::INTERNAL);
    }
}

/// What the task owns of the connection.
pub(super) struct Reading {
    pub(super) reader: Reader,
    /// The beginning of a frame whose rest has not come. Empty for a quiet connection.
    pub(super) pending: BytesMut,
}

/// Why a task woke.
pub(super) enum Wake {
    /// The connection is lost, or nothing more comes.
    End,
    /// Its TLS has failed.
    Failed(Failure),
    /// Bytes were read; they stand behind those that were pending.
    Read(BytesMut),
    /// There is something to look at.
    Signals(Signals),
}

/// Waits for bytes or a signal, and for a full socket to take more.
pub(super) async fn next(worker: &Worker, link: &Link, reading: &mut Reading) -> Wake {
    poll_fn(|cx| {
        let signals = link.take_signals();
        if !signals.is_empty() {
            return Poll::Ready(Wake::Signals(signals));
        }
        link.register(cx);
        unblock(worker, link, cx);
        let counts_bytes = {
            let state = worker.state();
            if state.is_held() {
                return Poll::Pending;
            }
            state.counts_bytes()
        };
        let mut buffer = std::mem::take(&mut *worker.buffer.borrow_mut());
        buffer.clear();
        buffer.reserve(READ_BYTES);
        buffer.extend_from_slice(&reading.pending);
        match reading.reader.read(worker, link, cx, &mut buffer) {
            Poll::Ready(Read::Bytes(read)) => {
                if counts_bytes {
                    worker.state().on_bytes(clock::now(), link.id, read);
                }
                if reading.pending.capacity() > 0 {
                    reading.pending = BytesMut::new();
                }
                Poll::Ready(Wake::Read(buffer))
            }
            other => {
                *worker.buffer.borrow_mut() = buffer;
                other.map(|read| match read {
                    Read::Failed(failure) => Wake::Failed(failure),
                    Read::Bytes(_) | Read::End => Wake::End,
                })
            }
        }
    })
    .await
}

pub(super) async fn serve(arrival: Box<Arrival>) {
    let Arrival {
        guard,
        link,
        mut reading,
        remote,
        mut ticket,
        upgrade,
    } = arrival.unpack();
    let worker = Rc::clone(&guard.worker);
    let end = || drop(guard.end(&Close::REFUSED));
    // Boxed, so that what a handshake needs is given back after it.
    let opened = Box::pin(open(
        &worker,
        &link,
        &mut reading,
        remote,
        upgrade,
        &mut ticket,
        end,
    ))
    .await;
    match opened {
        Opened::Here => {}
        Opened::There(request) => {
            hand_on(&worker, link, reading, ticket, *request);
            return;
        }
        Opened::No => return,
    }
    log_open(&worker, &link);
    let mut session = begin(&worker, link.id);
    let close = converse(&worker, &link, &mut reading, &mut session).await;
    let left = guard.end(&close);
    drop(guard);
    if let Some(conn) = left {
        log_close(&link, &conn, &close);
        let mut bytes = Vec::with_capacity(conn.outbox.queued());
        conn.outbox.slices(|slice| {
            bytes.extend_from_slice(slice);
            true
        });
        drop(conn);
        if close != Close::LOST {
            Box::pin(say_goodbye(&link, &mut reading.reader, bytes)).await;
        }
    }
}

/// Everything from the 101 to the last event of the session. Returns how it ended.
async fn converse(
    worker: &Worker,
    link: &Link,
    reading: &mut Reading,
    session: &mut Session,
) -> Close {
    let id = link.id;
    // What came with the request.
    let mut input = std::mem::take(&mut reading.pending);
    if worker.state().counts_bytes() {
        worker.state().on_bytes(clock::now(), id, input.len());
    }
    loop {
        let full = input.len() >= READ_BYTES;
        if !input.is_empty() {
            let now = clock::now();
            let mut lane = None;
            let inflate = &mut worker.inflate.borrow_mut();
            session.receive_with(now, &mut input, inflate, |kind, data| {
                worker.state().pass_on(now, id, &mut lane, kind, data)
            });
            reading.pending = BytesMut::from(&*input);
        }
        give_back(worker, std::mem::take(&mut input));
        loop {
            match handle(worker, id, session) {
                Handled::All => break,
                Handled::Closed(close) => return close,
                Handled::SomeLeft => again(worker).await,
                Handled::Wait(until) => {
                    worker.settle();
                    if let Some(close) = Box::pin(held(worker, link, session, until)).await {
                        return close;
                    }
                }
            }
        }
        if let Some(at) = session.poll_timeout() {
            worker.state().set_session_timer(id, at);
        }
        worker.settle();
        if full {
            again(worker).await;
        }
        match next(worker, link, reading).await {
            Wake::End | Wake::Failed(_) => return Close::LOST,
            Wake::Read(bytes) => input = bytes,
            Wake::Signals(signals) => {
                if let Some(close) = heed(worker, link, session, signals) {
                    return close;
                }
            }
        }
    }
}

enum Handled {
    All,
    Closed(Close),
    /// Hooks took so long that others come first.
    SomeLeft,
    /// What is left is to be handled then.
    Wait(Instant),
}

/// Gives the session's events to the state.
fn handle(worker: &Worker, id: ConnId, session: &mut Session) -> Handled {
    let mut state = worker.state();
    let mut start = None;
    let mut spent = Duration::ZERO;
    while let Some(event) = session.poll_event() {
        match event {
            Event::Message(payload) => {
                let start = *start.get_or_insert_with(clock::now);
                let spending = state.on_message(start + spent, id, payload);
                if let Spending::Wait(until) = spending {
                    return Handled::Wait(until);
                }
                spent += spending.time();
                if spent > HOOK_TURN {
                    drop(state);
                    worker.settle();
                    return Handled::SomeLeft;
                }
            }
            Event::Reply(frame) => {
                if session.is_closing() {
                    let start = *start.get_or_insert_with(clock::now);
                    state.give_runs(start + spent, id);
                }
                state.send_control(id, &frame);
            }
            Event::Closed(close) => {
                if close == ProtocolError::TooBig.close() {
                    worker.metrics.limited_size.inc();
                }
                return Handled::Closed(close);
            }
        }
    }
    Handled::All
}

/// Gives the buffer back to the worker, for the next connection that reads.
pub(super) fn give_back(worker: &Worker, mut buffer: BytesMut) {
    if buffer.capacity() > 0 {
        buffer.clear();
        *worker.buffer.borrow_mut() = buffer;
    }
}

/// Lets the others run first.
///
/// Not by waking itself: the runtime looks at sockets and clocks only after thousands of wake-ups, each of which may be a
/// hook's whole turn. Nor does it sleep while a task yields, so the flusher is told to look at the inbox.
async fn again(worker: &Worker) {
    worker.flush.wake();
    tokio::task::yield_now().await;
}

/// Writes the last bytes and waits for the peer to hang up: an end with bytes unread would take them back (RFC 9112 §9.6).
pub(super) async fn say_goodbye(link: &Link, reader: &mut Reader, bytes: Vec<u8>) {
    let bytes = secure::last_words(link, bytes);
    let goodbye = async {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            poll_fn(|cx| link.writer.poll_ready(cx)).await?;
            match link.writer.try_write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        link.writer.shutdown();
        // A buffer for each look: when a crowd leaves, none of those that wait holds one.
        let mut sink = |cx: &mut Context<'_>| reader.poll(cx, &mut BytesMut::with_capacity(4096));
        while poll_fn(&mut sink).await? > 0 {}
        Ok(())
    };
    // Whether it heard us or not, it has ended.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(LINGER, goodbye).await;
}

/// The session of a connection whose handshake has just been answered.
fn begin(worker: &Worker, id: ConnId) -> Session {
    let state = worker.state();
    let session = Session::new(clock::now(), limits(state.config()));
    if state.conns().get(id).is_some_and(|c| c.deflate.is_some()) {
        session.with_deflate()
    } else {
        session
    }
}

fn log_open(worker: &Worker, link: &Link) {
    let state = worker.state();
    let Some(conn) = state.conns().get(link.id) else {
        return;
    };
    tracing::debug!(
        target: "conn",
        wsd_conn = %conn.peer.origin,
        wsd_remote = &*conn.peer.ip,
        wsd_user = conn.peer.user.as_deref(),
        "open"
    );
}

fn log_close(link: &Link, conn: &Conn, close: &Close) {
    tracing::debug!(
        target: "conn",
        wsd_conn = %conn.peer.origin,
        wsd_remote = &*conn.peer.ip,
        wsd_user = conn.peer.user.as_deref(),
        "closed: {} {:?} after {:.1} s, {} bytes in, {} bytes out",
        close.code,
        close.reason,
        clock::now().saturating_duration_since(conn.opened).as_secs_f64(),
        link.received.get(),
        link.sent.get()
    );
}
