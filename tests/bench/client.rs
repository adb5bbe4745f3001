//! One connection of the load generator: its handshake, what it sends and what it has received.
//!
//! Owns the socket and the bytes of unfinished frames; lends a buffer only while it reads. Never waits after the handshake
//! and never decides when to send: `load.rs` does both.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::frame::{self, Parsed};
use crate::message::{Faults, Label, Ledger, Shape};

/// A connection that has sent its handshake.
pub(crate) struct Client {
    stream: TcpStream,
    channel: u32,
    member: u32,
    sent: u32,
    ledger: Ledger,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    waits: bool,
    end: Option<End>,
}

impl Client {
    /// Connects, to join channel `bench{channel}`.
    pub(crate) fn dial(address: SocketAddr, seat: Seat) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if seat.silent {
            socket.set_recv_buffer_size(4_096)?;
        }
        socket.connect_timeout(&address.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            channel: seat.channel,
            member: seat.member,
            sent: 0,
            ledger: Ledger::new(seat.senders, seat.every),
            unread: Vec::new(),
            unsent: Vec::new(),
            waits: false,
            end: None,
        })
    }

    /// Asks for a WebSocket.
    pub(crate) fn begin_handshake(&mut self, deflate: bool) -> io::Result<()> {
        let channel = self.channel;
        let offer = if deflate {
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        } else {
            ""
        };
        let request = format!(
            "GET /bench{channel} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{offer}\r\n"
        );
        self.stream.write_all(request.as_bytes())
    }

    /// Waits for the server's answer; from then on the socket is non-blocking.
    pub(crate) fn finish_handshake(&mut self, deflate: bool) -> io::Result<()> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        let mut head = Vec::new();
        let mut byte = [0; 512];
        let body = loop {
            let count = self.stream.read(&mut byte)?;
            head.extend_from_slice(&byte[..count]);
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if count == 0 || head.len() > 8_192 {
                return Err(refused(&head));
            }
        };
        let text = String::from_utf8_lossy(&head[..body]);
        let says = |header: &str, wanted: &dyn Fn(&str) -> bool| {
            text.lines().any(|line| {
                line.split_once(':').is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case(header) && wanted(value.trim())
                })
            })
        };
        let accepted = says("sec-websocket-accept", &|value| value == ACCEPT);
        let agreed = says("sec-websocket-extensions", &|value| {
            value.starts_with("permessage-deflate") && value.contains("server_no_context_takeover")
        });
        if !text.starts_with("HTTP/1.1 101 ") || !accepted || deflate != agreed {
            return Err(refused(&head));
        }
        self.unread = head[body..].to_vec();
        self.stream.set_nonblocking(true)
    }

    /// Frames `count` more messages; `flush` sends them.
    pub(crate) fn publish(&mut self, shape: &Shape, count: u32) {
        for _ in 0..count {
            // A key that changes from message to message, as clients' keys do, without the cost of random numbers.
            let key = (self.sent ^ self.member << 20)
                .wrapping_mul(0x9e37_79b1)
                .wrapping_add(0x5bd1_e995)
                .to_le_bytes();
            let label = Label {
                channel: self.channel,
                sender: self.member,
                number: self.sent,
            };
            let start = if let Some(codec) = shape.codec() {
                let mut message = Vec::with_capacity(shape.size());
                shape.write(label, &mut message);
                let data = codec.borrow_mut().deflate(&message);
                frame::write_header(frame::DEFLATED, data.len(), Some(key), &mut self.unsent);
                let start = self.unsent.len();
                self.unsent.extend_from_slice(&data);
                start
            } else {
                frame::write_header(frame::TEXT, shape.size(), Some(key), &mut self.unsent);
                let start = self.unsent.len();
                shape.write(label, &mut self.unsent);
                start
            };
            frame::mask(&mut self.unsent[start..], key);
            self.sent += 1;
        }
    }

    /// Frames a closing handshake.
    pub(crate) fn leave(&mut self) {
        self.control(frame::CLOSE, &1_000_u16.to_be_bytes());
    }

    /// Sends what the socket takes, and says whether it must now be watched differently: for room (`true`) or no more.
    pub(crate) fn flush(&mut self) -> Option<bool> {
        let waited = self.waits;
        self.waits = !self.write();
        (waited != self.waits).then_some(self.waits)
    }

    fn write(&mut self) -> bool {
        while !self.unsent.is_empty() && self.end.is_none() {
            match self.stream.write(&self.unsent) {
                Ok(count) if count == self.unsent.len() => self.unsent.clear(),
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => self.end = Some(End::Broken(e.to_string())),
            }
        }
        true
    }

    /// Reads once, checks what came and calls `on_message` for each message that is in its place or only out of order.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut [u8],
        shape: &Shape,
        faults: &mut Faults,
        mut on_message: impl FnMut(Label),
    ) {
        let kept = self.unread.len();
        buffer[..kept].copy_from_slice(&self.unread);
        self.unread.clear();
        let mut filled = kept;
        match self.stream.read(&mut buffer[kept..kept + READ_MAX]) {
            Ok(0) => self.end = self.end.take().or(Some(End::Left)),
            Ok(count) => filled += count,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => self.end = self.end.take().or_else(|| Some(End::Broken(e.to_string()))),
        }
        let mut at = 0;
        loop {
            match frame::parse(&buffer[at..filled]) {
                Parsed::Unfinished => break,
                Parsed::Frame(frame) if shape.is_message(frame.first) && frame.mask.is_none() => {
                    match shape.open(&buffer[at + frame.start..at + frame.end]) {
                        Some(label) if label.channel == self.channel => {
                            self.ledger.note(label, faults);
                            on_message(label);
                        }
                        _ => faults.damaged += 1,
                    }
                    at += frame.end;
                }
                Parsed::Frame(frame) if frame.mask.is_none() => {
                    let payload = &buffer[at + frame.start..at + frame.end];
                    self.receive_other(frame.first, payload, faults);
                    at += frame.end;
                }
                Parsed::Frame(_) | Parsed::Broken => {
                    faults.damaged += 1;
                    self.end = Some(End::Broken("no frame of a server".to_owned()));
                    return;
                }
            }
        }
        if at < filled {
            self.unread.extend_from_slice(&buffer[at..filled]);
        } else {
            self.unread = Vec::new();
        }
    }

    /// The channel's number.
    pub(crate) const fn channel(&self) -> u32 {
        self.channel
    }

    /// Its number among the channel's connections.
    pub(crate) const fn member(&self) -> u32 {
        self.member
    }

    /// How many messages it has published.
    pub(crate) const fn sent(&self) -> u32 {
        self.sent
    }

    /// What it has received.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How the connection ended, if it did.
    pub(crate) const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The socket, for epoll.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn receive_other(&mut self, first: u8, payload: &[u8], faults: &mut Faults) {
        match (first, payload) {
            (frame::PING, _) => {
                let payload = payload.to_vec();
                self.control(frame::PONG, &payload);
                let _later = self.write(); // what is left goes with the next message
            }
            (frame::PONG, _) => {}
            (frame::CLOSE, [a, b, ..]) => {
                self.end = Some(End::Closed(u16::from_be_bytes([*a, *b])));
            }
            (frame::CLOSE, _) => self.end = Some(End::Left),
            _ => faults.damaged += 1,
        }
    }

    fn control(&mut self, first: u8, payload: &[u8]) {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        frame::write_header(first, payload.len(), Some(key), &mut self.unsent);
        let start = self.unsent.len();
        self.unsent.extend_from_slice(payload);
        frame::mask(&mut self.unsent[start..], key);
    }
}

/// Which connection of which channel, and what it has to expect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    /// The channel's number.
    pub(crate) channel: u32,
    /// Its number among the channel's connections.
    pub(crate) member: u32,
    /// How many of them publish.
    pub(crate) senders: u32,
    /// Every message comes (1), or only those whose number is a multiple of this.
    pub(crate) every: u32,
    /// It never reads, and keeps the smallest receive buffer.
    pub(crate) silent: bool,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With this close code of the server's.
    Closed(u16),
    /// The server closed the socket.
    Left,
    /// An error of the socket, or bytes that are no frame.
    Broken(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(code) => write!(f, "close code {code}"),
            Self::Left => f.write_str("its end without a close code"),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

/// Room for the bytes of an unfinished frame and one read: what `receive` is to be lent.
pub(crate) const BUFFER: usize = 2 * READ_MAX + 16;

fn refused(answer: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().next().unwrap_or("nothing");
    io::Error::other(format!(
        "handshake answered with \"{line}\", expected 101 and its accept key"
    ))
}

const READ_MAX: usize = 65_536;

const PATIENCE: Duration = Duration::from_secs(10);

/// RFC 6455 §1.3: its own example. A fixed key saves the generator a hash a connection.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to `KEY`.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
