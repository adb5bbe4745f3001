//! How a connection comes to a worker: from the acceptor, or from another worker that has read its request.
//!
//! # Why connections move
//!
//! A channel's order is made at its home, so what is said elsewhere changes threads twice: once to the home, once back.
//! A connection whose route names its channel is handed on to that channel's home once, before any hook has run, as long
//! as the workers stay balanced ([`Ticket::move_to`]). With two workers that is a third of the CPU of small channels.

use std::rc::Rc;

use bytes::BytesMut;
use tokio::net::{TcpStream, UnixStream};

use super::conn::{self, Guard, Reading};
use super::counts::Ticket;
use super::link::{Link, Writer};
use super::message::{Message, Moved, Socket};
use super::reader::{self, Reader};
use super::remote::Remote;
use super::{Worker, clock};
use crate::wire::Upgrade;

/// Takes a connection from the acceptor.
pub(super) fn accept(worker: &Rc<Worker>, socket: Socket, ticket: Ticket) {
    let remote = match &socket {
        Socket::Tcp(_, address) => {
            Remote::tcp(*address, &worker.state().config().listen.trusted_proxies)
        }
        Socket::Unix(_) => Remote::unix(),
    };
    begin(worker, socket, remote, ticket, BytesMut::new(), None);
}

/// Takes a connection from another worker, which has read its request.
pub(super) fn adopt(worker: &Rc<Worker>, moved: Moved) {
    let Moved {
        socket,
        ticket,
        remote,
        upgrade,
        rest,
    } = moved;
    begin(worker, socket, remote, ticket, rest, Some(upgrade));
}

fn begin(
    worker: &Rc<Worker>,
    socket: Socket,
    remote: Remote,
    ticket: Ticket,
    pending: BytesMut,
    upgrade: Option<Upgrade>,
) {
    let socket = match socket {
        Socket::Tcp(stream, _) => TcpStream::from_std(stream).map(reader::split_tcp),
        Socket::Unix(stream) => UnixStream::from_std(stream).map(reader::split_unix),
    };
    let (reader, writer) = match socket {
        Ok(halves) => halves,
        Err(error) => {
            tracing::warn!(target: "listen", "a connection could not be taken over: {error}");
            return;
        }
    };
    let id = worker.state().on_accept(clock::now());
    let link = Rc::new(Link::new(id, writer));
    worker.add_link(&link);
    let guard = Guard::new(worker, id);
    let arrival = Arrival {
        guard,
        link,
        reading: Reading { reader, pending },
        remote,
        ticket,
        upgrade,
    };
    tokio::task::spawn_local(conn::serve(Box::new(arrival)));
}

/// A connection as its task begins.
///
/// Boxed, and taken out by a function: a task's memory has room for what it was given besides what it makes of it, for
/// as long as it lives.
pub(super) struct Arrival {
    pub(super) guard: Guard,
    pub(super) link: Rc<Link>,
    pub(super) reading: Reading,
    pub(super) remote: Remote,
    pub(super) ticket: Ticket,
    /// What was read elsewhere.
    pub(super) upgrade: Option<Upgrade>,
}

impl Arrival {
    pub(super) fn unpack(self: Box<Self>) -> Self {
        *self
    }
}

/// Gives a connection, which has ended here, to the worker where its ticket is.
pub(super) fn hand_on(
    worker: &Worker,
    link: Rc<Link>,
    reading: Reading,
    ticket: Ticket,
    (upgrade, remote): (Upgrade, Remote),
) {
    let home = ticket.worker();
    let Some(link) = Rc::into_inner(link) else {
        return;
    };
    let socket = match (reading.reader, link.writer) {
        (Reader::Tcp(reader), Writer::Tcp(writer)) => reader.reunite(writer).ok().and_then(|s| {
            let address = s.peer_addr().ok()?;
            Some(Socket::Tcp(s.into_std().ok()?, address))
        }),
        (Reader::Unix(reader), Writer::Unix(writer)) => {
            let stream = reader.reunite(writer).ok();
            stream.and_then(|s| Some(Socket::Unix(s.into_std().ok()?)))
        }
        _ => None,
    };
    // Without a socket the peer has gone.
    if let (Some(socket), Some(inbox)) = (socket, worker.inboxes.get(home.index())) {
        inbox.push(Message::Move(Box::new(Moved {
            socket,
            ticket,
            remote,
            upgrade,
            rest: reading.pending,
        })));
    }
}
