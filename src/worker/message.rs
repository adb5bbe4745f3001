//! What other threads and workers tell a worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::inbox::Weight;
use super::state::Blame;
use crate::broker::home::Publish;
use crate::broker::{Event, Recall, Recalled};
use crate::config::Config;
use crate::pipeline::{HookError, Hooks};
use crate::types::{
    ChannelName, Close, ConnId, Generation, Outcome, Payload, Publication, Receipt, WorkerId,
};

/// A socket that was accepted, not yet known to this worker's runtime.
#[derive(Debug)]
pub enum Socket {
    /// With the peer's address.
    Tcp(std::net::TcpStream, SocketAddr),
    /// A client on a Unix listener: it has no address.
    Unix(std::os::unix::net::UnixStream),
}

/// Makes a generation's hooks; called on the worker's own thread, as a Lua state must be born where it lives.
pub type HooksFactory = Arc<dyn Fn(WorkerId) -> Result<Box<dyn Hooks>, HookError> + Send + Sync>;

/// Where a worker says that it has loaded a generation, or has switched to it.
pub type Ready = tokio::sync::mpsc::UnboundedSender<(WorkerId, Result<(), HookError>)>;

/// A generation to be made ready.
pub struct Prepared {
    /// Its number.
    pub generation: Generation,
    /// Its configuration.
    pub config: Arc<Config>,
    /// Its scripts.
    pub hooks: HooksFactory,
    /// Where to say whether it worked.
    pub ready: Ready,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({})", self.generation)
    }
}

/// What other threads and workers tell a worker. Handled between two messages of its clients, in order.
#[derive(Debug)]
pub enum Message {
    /// The acceptor has a connection for it.
    Accept(Socket, super::counts::Ticket),
    /// A connection whose channel has its home here.
    Move(Box<Moved>),
    /// A connection of wsd's own that gets what is published in a channel.
    Attach(std::os::unix::net::UnixStream, ChannelName),
    /// For homes here, in order.
    Publish(Vec<Publish>),
    /// For subscribers here, in order.
    Deliver(Vec<Arc<Publication>>),
    /// A worker's first subscriber of a channel came, or its last one left; in order with its publishes.
    Interest(WorkerId, ChannelName, Interest),
    /// The home says that a subscription is live.
    Live(ChannelName),
    /// The home says what became of a publish of a client here.
    Answer(Receipt, Outcome),
    /// The home says that members of a channel missed what cannot be had again.
    Gap(ChannelName),
    /// A worker asks a home here what a channel keeps.
    Recall(WorkerId, Recall),
    /// A home answers that.
    Recalled(Recalled),
    /// From the Redis thread.
    Redis(Event),
    /// A connection here has sent something of a batch that was cut.
    Blame(Blame, ConnId),
    /// The same of a batch that was dear: its part of the cost.
    Charge(ConnId, Duration),
    /// Build the next generation, and say whether it worked.
    Prepare(Box<Prepared>),
    /// From now on the prepared generation is the one; answered.
    Switch(Generation, Arc<Config>, Ready),
    /// No message of an older generation is on its way any more.
    Retire,
    /// The prepared generation is not wanted.
    Discard(Generation),
    /// Close every connection at a random moment of this span.
    Drain(Duration, Close),
    /// The process ends: run what is open and say when it is handed over.
    Finish(Ready),
    /// The watchdog's question; its number is to be stored.
    Watchdog(u64),
    /// There is room again in an inbox that was full.
    Room,
    /// Publishes from wsd itself (control socket, HTTP): through `on_batch` of the route that fits.
    PublishFromNode(ChannelName, Payload),
    /// What this worker has to tell about itself.
    Report(std::sync::mpsc::SyncSender<Report>),
}

/// A connection that goes to its channel's home: its request is read, nothing is decided yet.
#[derive(Debug)]
pub struct Moved {
    /// Not known to any runtime.
    pub socket: Socket,
    /// Whose place it has there already.
    pub ticket: super::counts::Ticket,
    /// Where it comes from.
    pub remote: super::remote::Remote,
    /// What it asked for.
    pub upgrade: crate::wire::Upgrade,
    /// What came behind the request.
    pub rest: bytes::BytesMut,
}

/// Whether a worker wants a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// The last subscriber left.
    Unwanted,
    /// The first one came.
    Wanted,
}

/// What a worker tells about itself.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Names of the channels that have a subscriber here.
    pub channels: Vec<ChannelName>,
}

impl Message {
    /// What it counts against in an inbox. The same before and after it was queued.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::Publish(list) => Weight::Publish(sum(list.iter().map(|p| p.payload.len()))),
            Self::Deliver(list) => Weight::Deliver(sum(list.iter().map(|p| p.payload.len()))),
            Self::Recalled(Recalled {
                missed: Some(missed),
                ..
            }) => Weight::Deliver(sum(missed.messages.iter().map(|(_, p)| p.len()))),
            Self::Redis(Event::Publications(list)) => {
                Weight::Deliver(sum(list.iter().map(|p| p.payload.len())))
            }
            _ => Weight::None,
        }
    }
}

/// Bytes of payloads, with what a small one costs besides.
fn sum(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.map(|len| len + 100).sum()
}
