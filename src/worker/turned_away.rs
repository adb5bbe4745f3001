//! Connections that are refused before a byte of them was read: they get their answer at once and a moment to read it.
//!
//! Owned by the acceptor. An end right behind the answer would take it back: the request that comes after it is answered
//! by a reset (RFC 9112 §9.6). So each is kept for [`LINGER`], but at most [`KEPT`] of them, the oldest goes first. That a
//! crowd cannot push the others out for more than the answer's last words is the point: nobody holds a place by silence.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::message::Socket;
use crate::wire::Refusal;

/// How many are kept. The reserve of descriptors in `daemon` covers them.
pub const KEPT: usize = 128;

/// How long each is kept.
const LINGER: Duration = Duration::from_secs(1);

/// What a client of a port with TLS gets: the fatal alert internal_error, which is for lack of room too (RFC 8446 §6.2). An
/// HTTP answer would cost the handshake that it is to save.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Connections that were answered, the oldest first.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    kept: VecDeque<(Instant, Socket)>,
    /// The answer's bytes, made anew for each.
    buffer: Vec<u8>,
}

impl TurnedAway {
    /// Answers and lets go; without a refusal with [`ALERT`]. The socket does not block.
    pub(super) fn push(&mut self, now: Instant, socket: Socket, refusal: Option<&Refusal>) {
        self.buffer.clear();
        match refusal {
            Some(refusal) => refusal.encode(&mut self.buffer),
            None => self.buffer.extend_from_slice(&ALERT),
        }
        // The kernel has room for so little, or the peer has gone.
        let _ = match &socket {
            Socket::Tcp(stream, _) => {
                let mut stream = stream;
                stream
                    .write(&self.buffer)
                    .and_then(|_| stream.shutdown(Shutdown::Write))
            }
            Socket::Unix(stream) => {
                let mut stream = stream;
                stream
                    .write(&self.buffer)
                    .and_then(|_| stream.shutdown(Shutdown::Write))
            }
        };
        if self.kept.len() >= KEPT {
            self.drop_oldest();
        }
        self.kept.push_back((now + LINGER, socket));
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.kept.front().map(|(until, _)| *until)
    }

    /// Lets go of those whose moment is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|until| until <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, socket)) = self.kept.pop_front() else {
            return;
        };
        // What was read before the end makes no reset of it.
        let mut sink = [0; 4096];
        let _ = match &socket {
            Socket::Tcp(stream, _) => {
                let mut stream = stream;
                stream.read(&mut sink)
            }
            Socket::Unix(stream) => {
                let mut stream = stream;
                stream.read(&mut sink)
            }
        };
    }
}
