//! The shell around a connection's TLS: what is read is decrypted before the connection's task sees it, what is written
//! is encrypted on its way from the outbox to the socket.
//!
//! The protocol is `tls::Tunnel`'s. `conn.rs` reads through [`poll_read`], `flush.rs` writes through [`write`]; buffers
//! are the worker's, so a quiet connection has none. At most one turn's worth is encrypted ahead of the socket, and that
//! counts in the outbox as what waits.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::link::{Link, Signals};
use super::reader::{Read, Reader};
use super::state::State;
use super::{READ_BYTES, Worker};
use crate::config::Tls;
use crate::tls::{Failure, MOST_PLAIN, MOST_SEALED, Progress, Tunnel};

/// The worker's buffers for TLS; none until the first connection with it.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Records as they come off the socket.
    input: BytesMut,
    /// Pieces that are to become one record.
    plain: Vec<u8>,
    /// Records on their way to the socket.
    sealed: Vec<u8>,
}

/// From here on the connection speaks TLS; what was read before and not taken is its beginning.
pub(super) fn begin(
    worker: &Worker,
    link: &Link,
    tls: &Tls,
    pending: &mut BytesMut,
) -> Result<(), Failure> {
    let server = tls.server.as_ref();
    let mut tunnel = Tunnel::new(server.ok_or(Failure::Tls("there is no certificate"))?)?;
    let mut first = std::mem::take(pending);
    let result = tunnel.receive(&mut first, pending);
    if !tunnel.outgoing().is_empty() {
        write_outgoing(&mut worker.state(), link, &mut tunnel);
    }
    // Nobody else has begun it.
    let _ = link.tls.set(Box::new(RefCell::new(tunnel)));
    result.map(|_| ())
}

/// Reads and decrypts; what TLS itself has to answer is written at once.
pub(super) fn poll_read(
    worker: &Worker,
    link: &Link,
    tls: &RefCell<Tunnel>,
    reader: &mut Reader,
    cx: &mut Context<'_>,
    plain: &mut BytesMut,
) -> Poll<Read> {
    let mut tunnel = tls.borrow_mut();
    let mut scratch = worker.scratch.borrow_mut();
    loop {
        if tunnel.has_ended() {
            return Poll::Ready(Read::End);
        }
        let input = &mut scratch.input;
        input.clear();
        input.reserve(READ_BYTES);
        input.extend_from_slice(tunnel.pending());
        match reader.poll(cx, input) {
            Poll::Ready(Ok(read)) if read > 0 => {
                worker.metrics.bytes_received.add(read as u64);
                link.received.set(link.received.get() + read as u64);
            }
            Poll::Ready(_) => return Poll::Ready(Read::End),
            Poll::Pending => return Poll::Pending,
        }
        let before = plain.len();
        let result = tunnel.receive(input, plain);
        if !tunnel.outgoing().is_empty() {
            write_outgoing(&mut worker.state(), link, &mut tunnel);
        }
        let read = plain.len() - before;
        match result {
            Err(failure) => return Poll::Ready(Read::Failed(failure)),
            // What came before the end counts; the next call says that it is one.
            Ok(_) if read > 0 => return Poll::Ready(Read::Bytes(read)),
            Ok(Progress::Ended) => return Poll::Ready(Read::End),
            Ok(Progress::More) => {}
        }
    }
}

/// The socket takes more again: first what TLS itself has to say.
pub(super) fn on_room(worker: &Worker, link: &Link) {
    if let Some(tls) = link.tls.get() {
        write_outgoing(&mut worker.state(), link, &mut tls.borrow_mut());
    }
}

/// Writes what waits for a connection, encrypted, until it is all or the socket takes no more.
pub(super) fn write(state: &mut State, scratch: &mut Scratch, link: &Link, tunnel: &mut Tunnel) {
    scratch.sealed.resize(MOST_SEALED, 0);
    loop {
        if !tunnel.outgoing().is_empty() && !write_outgoing(state, link, tunnel) {
            return;
        }
        let Some((taken, sealed)) = seal(state, scratch, link, tunnel) else {
            return;
        };
        let sealed = scratch.sealed.get(..sealed).unwrap_or_default();
        let written = match link.writer.try_write(sealed) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                // Its task finds out the same when it reads, or here.
                link.signal(Signals::ABORT);
                return;
            }
        };
        tunnel.keep(sealed.get(written..).unwrap_or_default());
        link.sent.set(link.sent.get() + written as u64);
        state.on_sealed(link.id, taken, tunnel.outgoing().len(), written);
    }
}

/// Encrypts what waits, as much as goes in one write; returns how much that was and has become. `None`: nothing waits.
fn seal(
    state: &State,
    scratch: &mut Scratch,
    link: &Link,
    tunnel: &mut Tunnel,
) -> Option<(usize, usize)> {
    let outbox = state.outbox(link.id)?;
    let Scratch { plain, sealed, .. } = scratch;
    plain.clear();
    let mut single: Option<&[u8]> = None;
    outbox.slices(|slice| {
        let room = MOST_PLAIN - plain.len();
        let slice = slice.get(..room).unwrap_or(slice);
        match single.take() {
            None if plain.is_empty() => single = Some(slice),
            None => plain.extend_from_slice(slice),
            Some(first) => {
                // Two and more become one.
                plain.extend_from_slice(first);
                let room = MOST_PLAIN - plain.len();
                plain.extend_from_slice(slice.get(..room).unwrap_or(slice));
            }
        }
        single.map_or(plain.len(), <[u8]>::len) < MOST_PLAIN
    });
    let all = single.unwrap_or(plain);
    if all.is_empty() {
        return None;
    }
    match tunnel.seal(all, sealed) {
        Ok(sealed) => Some((all.len(), sealed)),
        Err(failure) => {
            tracing::debug!(target: "conn", "TLS: {}", failure.reason());
            link.signal(Signals::ABORT);
            None
        }
    }
}

/// Writes what is encrypted already; true if that is all.
fn write_outgoing(state: &mut State, link: &Link, tunnel: &mut Tunnel) -> bool {
    while !tunnel.outgoing().is_empty() {
        match link.writer.try_write(tunnel.outgoing()) {
            Ok(written) => {
                tunnel.advance(written);
                link.sent.set(link.sent.get() + written as u64);
                state.on_sealed(link.id, 0, tunnel.outgoing().len(), written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                state.on_sealed(link.id, 0, tunnel.outgoing().len(), 0);
                link.blocked.set(true);
                link.wake();
                return false;
            }
            Err(_) => {
                link.signal(Signals::ABORT);
                return false;
            }
        }
    }
    true
}

/// What has not come of a client that was waited for.
pub(super) fn missing(link: &Link) -> &'static str {
    match link.tls.get() {
        Some(tls) if tls.borrow().is_handshaking() => "the TLS handshake did not end in time",
        _ => "the request did not come in time",
    }
}

/// The last bytes of a connection as they go to its socket: encrypted and with TLS's own end, if it has TLS.
pub(super) fn last_words(link: &Link, bytes: Vec<u8>) -> Vec<u8> {
    let Some(tls) = link.tls.get() else {
        return bytes;
    };
    let mut tunnel = tls.borrow_mut();
    // What cannot be said is not said: a handshake that is not complete has no keys.
    let _ = tunnel.push(&bytes);
    tunnel.push_close();
    tunnel.outgoing().to_vec()
}
