//! The shell's side of one connection: the half of its socket that is written, and the way to wake its task.
//!
//! The flusher writes through it, `State`'s outputs reach the connection's task as signals of it. One thread uses it.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::{tcp, unix};

use crate::tls::Tunnel;
use crate::types::{Close, ConnId};

/// The half of a socket that is written.
#[derive(Debug)]
pub(super) enum Writer {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl Writer {
    pub(super) fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write_vectored(slices),
            Self::Unix(half) => half.try_write_vectored(slices),
        }
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(self.fd(), bytes)
    }

    /// The descriptor of its socket.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(half) => half.as_ref().as_fd(),
            Self::Unix(half) => half.as_ref().as_fd(),
        }
    }

    /// Writes once to its socket, which is `fd`.
    ///
    /// Straight to the kernel: neither libc's cancellation point nor the runtime's notes on the socket are touched, which
    /// for many subscribers are as many lines that no cache holds. The runtime hears only of a socket that takes no more.
    pub(super) fn send(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let result = rustix::net::send(fd, bytes, SendFlags::NOSIGNAL);
        if result == Err(Errno::WOULDBLOCK) {
            let full = || Err(io::ErrorKind::WouldBlock.into());
            return match self {
                Self::Tcp(half) => half.as_ref().try_io(Interest::WRITABLE, full),
                Self::Unix(half) => half.as_ref().try_io(Interest::WRITABLE, full),
            };
        }
        Ok(result?)
    }

    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(cx),
            Self::Unix(half) => half.as_ref().poll_write_ready(cx),
        }
    }

    /// Tells the peer that nothing follows; what it still sends is read.
    pub(super) fn shutdown(&self) {
        // Without it the peer learns the same from the socket's end.
        let _ = match self {
            Self::Tcp(half) => {
                socket2::SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Write)
            }
            Self::Unix(half) => {
                socket2::SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Write)
            }
        };
    }
}

/// What the connection's task is to look at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Signals(u8);

impl Signals {
    /// End without another word.
    pub(super) const ABORT: Self = Self(1);
    /// Begin the closing handshake with what [`Link::take_close`] gives.
    pub(super) const CLOSE: Self = Self(2);
    /// The request has not come in time.
    pub(super) const HANDSHAKE_TIMEOUT: Self = Self(4);
    /// The configuration's limits have changed.
    pub(super) const LIMITS: Self = Self(8);
    /// The session's timer is due.
    pub(super) const SESSION_TIMEOUT: Self = Self(16);

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The shell's side of one connection. What every write looks at stands first and together.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Link {
    pub(super) id: ConnId,
    pub(super) writer: Writer,
    /// Where its TLS ends here.
    pub(super) tls: OnceCell<Box<RefCell<Tunnel>>>,
    /// Bytes that were written while it was open, the handshake's answer included.
    pub(super) sent: Cell<u64>,
    /// The socket took no more: its task waits until it does.
    pub(super) blocked: Cell<bool>,
    /// Bytes that were read, the handshake's included.
    pub(super) received: Cell<u64>,
    signals: Cell<Signals>,
    /// Boxed, as hardly one of those that are open has it.
    close: RefCell<Option<Box<Close>>>,
    waker: RefCell<Option<Waker>>,
}

impl Link {
    pub(super) const fn new(id: ConnId, writer: Writer) -> Self {
        Self {
            id,
            writer,
            tls: OnceCell::new(),
            blocked: Cell::new(false),
            received: Cell::new(0),
            sent: Cell::new(0),
            signals: Cell::new(Signals(0)),
            close: RefCell::new(None),
            waker: RefCell::new(None),
        }
    }

    /// Gives the task something to look at.
    pub(super) fn signal(&self, signal: Signals) {
        self.signals.set(Signals(self.signals.get().0 | signal.0));
        self.wake();
    }

    /// Asks for the closing handshake.
    pub(super) fn close(&self, close: Close) {
        *self.close.borrow_mut() = Some(Box::new(close));
        self.signal(Signals::CLOSE);
    }

    pub(super) fn take_close(&self) -> Option<Close> {
        self.close.borrow_mut().take().map(|close| *close)
    }

    pub(super) const fn take_signals(&self) -> Signals {
        self.signals.replace(Signals(0))
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Remembers whom to wake.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }
}
