//! Counts what passes the publisher's socket: bytes out, answers in.
//!
//! `publisher.rs` puts it between the socket and the `redis` crate. When a link dies, the crate only knows that a
//! pipeline has failed; with these two numbers it is known of each single publish whether Redis has answered it, cannot
//! have got it, or may have done either.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::Stream;

/// The counts. Atomic only because the `redis` crate wants a socket that could change threads.
#[derive(Debug, Default)]
pub(super) struct Tally {
    written: AtomicU64,
    answers: AtomicU64,
}

impl Tally {
    /// Bytes that the socket took.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Answers that came: on this link each is one line.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

/// A socket with its counts.
#[derive(Debug)]
pub(super) struct Tallied {
    stream: Stream,
    tally: Arc<Tally>,
}

impl Tallied {
    pub(super) fn new(stream: Stream, tally: Arc<Tally>) -> Self {
        Self { stream, tally }
    }
}

impl AsyncRead for Tallied {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let new = buf.filled().get(before..).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', new).count() as u64;
        this.tally.answers.fetch_add(lines, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tallied {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let len = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.tally.written.fetch_add(len as u64, Ordering::Relaxed);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
