//! The half of a socket that is read, plain or with TLS; the other one is `link.rs`'s.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use super::link::{Link, Writer};
use super::{Worker, secure};
use crate::tls::Failure;

/// The half of a socket that is read.
pub(super) enum Reader {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

/// What was read.
pub(super) enum Read {
    /// So many bytes of what the client says: they stand in the buffer.
    Bytes(usize),
    /// Nothing more comes, or the connection is lost.
    End,
    /// TLS has failed; the peer is told why if it can be.
    Failed(Failure),
}

impl Reader {
    /// Whether it is the half of a TCP socket.
    pub(super) const fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Reads once into what room `buffer` has, as it comes off the socket.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(half) => pin!(half.read_buf(buffer)).poll(cx),
            Self::Unix(half) => pin!(half.read_buf(buffer)).poll(cx),
        }
    }

    /// Reads what the client says, without its TLS.
    pub(super) fn read(
        &mut self,
        worker: &Worker,
        link: &Link,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<Read> {
        if let Some(tls) = link.tls.get() {
            return secure::poll_read(worker, link, tls, self, cx, buffer);
        }
        self.poll(cx, buffer).map(|read| match read {
            Ok(read) if read > 0 => {
                worker.metrics.bytes_received.add(read as u64);
                link.received.set(link.received.get() + read as u64);
                Read::Bytes(read)
            }
            _ => Read::End,
        })
    }
}

pub(super) fn split_tcp(stream: TcpStream) -> (Reader, Writer) {
    // Small frames go out at once; without it they wait for the peer's acknowledgement (TCP_NODELAY, tcp(7)).
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    (Reader::Tcp(reader), Writer::Tcp(writer))
}

pub(super) fn split_unix(stream: UnixStream) -> (Reader, Writer) {
    let (reader, writer) = stream.into_split();
    (Reader::Unix(reader), Writer::Unix(writer))
}
