//! The floors: servers that do nothing but what must be done, to measure others by.
//!
//! One thread, one epoll, level-triggered, up to 16,384 events a turn, a read of up to 64 KiB into one shared buffer; a
//! connection keeps only the bytes of an unfinished frame, or of an answer that its socket refused. A client's message is
//! framed once and goes to all members of its channel: at once with a write for each, or gathered over the turn. No limits
//! but one of what waits for a connection, no closing handshake, no UTF-8 check, no names. Runs as a process of its own.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::frame::{self, Frame, Parsed};
use crate::sys::{self, Interest, Poll};

/// When a floor writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Flavour {
    /// A write for each message and subscriber.
    Write,
    /// A write for each turn and subscriber.
    Coalesce,
}

/// A mistake that a floor makes on purpose with every hundredth message to every seventh subscriber, to prove that the
/// generator sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// Not sent.
    Lose,
    /// Sent twice.
    Double,
    /// Sent after the next one.
    Reorder,
    /// One bit changed.
    Damage,
}

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr, flavour: Flavour, fault: Option<Fault>) -> io::Result<()> {
    sys::raise_open_files()?;
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let poll = Poll::open(EVENTS)?;
    poll.add(listener.as_fd(), LISTENER)?;
    let mut floor = Floor {
        poll,
        flavour,
        fault,
        connections: Vec::new(),
        free: Vec::new(),
        names: HashMap::new(),
        channels: Vec::new(),
        dirty: Vec::new(),
        frame: Vec::new(),
        held: HashMap::new(),
    };
    let mut buffer = vec![0; 2 * READ_MAX + 16];
    loop {
        for index in 0..floor.poll.wait(None)? {
            let ready = floor.poll.event(index);
            if ready.token == LISTENER {
                floor.accept(&listener)?;
                continue;
            }
            let Ok(id) = usize::try_from(ready.token) else {
                continue;
            };
            if ready.write {
                floor.write_waiting(id)?;
            }
            if ready.read {
                floor.read(id, &mut buffer)?;
            }
        }
        floor.end_turn()?;
    }
}

struct Floor {
    poll: Poll,
    flavour: Flavour,
    fault: Option<Fault>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    names: HashMap<String, usize>,
    channels: Vec<Channel>,
    dirty: Vec<usize>,
    /// The frame that is being sent, where it is sent at once.
    frame: Vec<u8>,
    /// What a reordering floor sends after the next message, by connection.
    held: HashMap<usize, Vec<u8>>,
}

struct Connection {
    stream: TcpStream,
    channel: Option<u32>,
    unread: Vec<u8>,
    waiting: Vec<u8>,
}

#[derive(Default)]
struct Channel {
    members: Vec<usize>,
    out: Vec<u8>,
    published: u64,
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let id = self.free.pop().unwrap_or(self.connections.len());
            self.poll.add(stream.as_fd(), id as u64)?;
            let connection = Connection {
                stream,
                channel: None,
                unread: Vec::new(),
                waiting: Vec::new(),
            };
            if id == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[id] = Some(connection);
        }
    }

    fn read(&mut self, id: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(connection) = &mut self.connections[id] else {
            return Ok(());
        };
        let kept = connection.unread.len();
        buffer[..kept].copy_from_slice(&connection.unread);
        let filled = match connection.stream.read(&mut buffer[kept..kept + READ_MAX]) {
            Ok(0) => return self.remove(id),
            Ok(count) => kept + count,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(_) => return self.remove(id),
        };
        connection.unread = Vec::new();
        let mut at = 0;
        let channel = match connection.channel {
            Some(channel) => channel,
            None => match self.welcome(id, &buffer[..filled])? {
                Some((channel, length)) => {
                    at = length;
                    channel
                }
                None => return Ok(()),
            },
        };
        loop {
            match frame::parse(&buffer[at..filled]) {
                Parsed::Unfinished => break,
                Parsed::Broken => return self.remove(id),
                Parsed::Frame(found) => {
                    let Frame {
                        first,
                        start,
                        end,
                        mask,
                    } = found;
                    let Some(key) = mask else {
                        return self.remove(id);
                    };
                    if first == frame::CLOSE {
                        return self.remove(id);
                    }
                    if first == frame::TEXT || first == frame::BINARY {
                        self.publish(channel as usize, first, &buffer[at + start..at + end], key)?;
                    }
                    at += end;
                }
            }
        }
        if let Some(connection) = &mut self.connections[id] {
            connection.unread.extend_from_slice(&buffer[at..filled]);
        }
        Ok(())
    }

    /// Answers a handshake and subscribes; gives the channel and the length of the request once that is whole.
    fn welcome(&mut self, id: usize, bytes: &[u8]) -> io::Result<Option<(u32, usize)>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(status) = request.parse(bytes) else {
            self.remove(id)?;
            return Ok(None);
        };
        let Some(connection) = &mut self.connections[id] else {
            return Ok(None);
        };
        let httparse::Status::Complete(length) = status else {
            connection.unread.extend_from_slice(bytes);
            return Ok(None);
        };
        let key = request
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case("sec-websocket-key"));
        let (Some(key), Some(path)) = (key, request.path) else {
            self.remove(id)?;
            return Ok(None);
        };
        let accept = derive_accept_key(key.value);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        connection.stream.write_all(answer.as_bytes())?;
        let next = self.channels.len();
        let channel = *self
            .names
            .entry(path.trim_start_matches('/').to_owned())
            .or_insert(next);
        if channel == next {
            self.channels.push(Channel::default());
        }
        self.channels[channel].members.push(id);
        let channel = u32::try_from(channel).map_err(io::Error::other)?;
        connection.channel = Some(channel);
        Ok(Some((channel, length)))
    }

    fn publish(
        &mut self,
        channel: usize,
        first: u8,
        payload: &[u8],
        key: [u8; 4],
    ) -> io::Result<()> {
        let place = &mut self.channels[channel];
        place.published += 1;
        let out = match self.flavour {
            Flavour::Write => {
                self.frame.clear();
                &mut self.frame
            }
            Flavour::Coalesce => {
                if place.out.is_empty() {
                    self.dirty.push(channel);
                }
                &mut place.out
            }
        };
        frame::write_header(first, payload.len(), None, out);
        let start = out.len();
        out.extend_from_slice(payload);
        frame::mask(&mut out[start..], key);
        if self.flavour == Flavour::Coalesce {
            return Ok(());
        }
        for place in 0..self.channels[channel].members.len() {
            let id = self.channels[channel].members[place];
            let spoilt = self.channels[channel].published.is_multiple_of(100) && place % 7 == 3;
            match self.fault {
                Some(fault) => self.send_spoilt(id, fault, spoilt)?,
                None => send(&self.poll, &mut self.connections[id], id, &self.frame)?,
            }
        }
        Ok(())
    }

    fn send_spoilt(&mut self, id: usize, fault: Fault, spoilt: bool) -> io::Result<()> {
        let mut bytes = self.frame.clone();
        match fault {
            Fault::Lose if spoilt => bytes.clear(),
            Fault::Double if spoilt => bytes.extend_from_slice(&self.frame),
            Fault::Reorder if spoilt => {
                self.held.insert(id, std::mem::take(&mut bytes));
            }
            Fault::Damage if spoilt => {
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1;
                }
            }
            Fault::Reorder => bytes.extend(self.held.remove(&id).unwrap_or_default()),
            Fault::Lose | Fault::Double | Fault::Damage => {}
        }
        send(&self.poll, &mut self.connections[id], id, &bytes)
    }

    fn end_turn(&mut self) -> io::Result<()> {
        for channel in self.dirty.drain(..) {
            let channel = &mut self.channels[channel];
            for &id in &channel.members {
                send(&self.poll, &mut self.connections[id], id, &channel.out)?;
            }
            channel.out.clear();
        }
        Ok(())
    }

    fn write_waiting(&mut self, id: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[id] else {
            return Ok(());
        };
        let waiting = std::mem::take(&mut connection.waiting);
        send(&self.poll, &mut self.connections[id], id, &waiting)?;
        match &self.connections[id] {
            Some(connection) if connection.waiting.is_empty() => {
                self.poll
                    .modify(connection.stream.as_fd(), id as u64, Interest::Read)
            }
            _ => Ok(()),
        }
    }

    fn remove(&mut self, id: usize) -> io::Result<()> {
        let Some(connection) = self.connections[id].take() else {
            return Ok(());
        };
        if let Some(channel) = connection.channel {
            self.channels[channel as usize]
                .members
                .retain(|member| *member != id);
        }
        self.free.push(id);
        Ok(())
    }
}

fn send(
    poll: &Poll,
    connection: &mut Option<Connection>,
    id: usize,
    bytes: &[u8],
) -> io::Result<()> {
    let Some(connection) = connection else {
        return Ok(());
    };
    let mut rest = bytes;
    while connection.waiting.is_empty() && !rest.is_empty() {
        match connection.stream.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                connection.waiting.extend_from_slice(rest);
                return poll.modify(connection.stream.as_fd(), id as u64, Interest::ReadAndWrite);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Ok(()), // it is gone; its end will be read
        }
    }
    connection.waiting.extend_from_slice(rest);
    if connection.waiting.len() > WAITING_MAX {
        connection.waiting = Vec::new();
        // Fails only if it is gone already. Either way its end will be read.
        let _gone = connection.stream.shutdown(std::net::Shutdown::Both);
    }
    Ok(())
}

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 16_384;
const READ_MAX: usize = 65_536;

/// What waits for a connection at most: as much as wsd's `delivery.queue`.
const WAITING_MAX: usize = 1 << 20;
