//! The beginning of a connection: from accept to the answer of its handshake.
//!
//! Reads what a trusted proxy says about it and the request, asks the state, and answers a refusal; the 101 is in the
//! outbox. `conn.rs` calls [`open`] once for each connection and throws away what it needed. Until it is over the
//! connection counts as a handshake in flight.

use bytes::{Buf, BytesMut};

use super::conn::{Reading, Wake, give_back, next, say_goodbye};
use super::counts::Ticket;
use super::link::{Link, Signals};
use super::remote::Remote;
use super::{Worker, clock, secure};
use crate::tls::Failure;
use crate::wire::proxy::ProxyError;
use crate::wire::{Refusal, Upgrade, handshake, proxy};

/// What became of a handshake.
pub(super) enum Opened {
    /// It is let in.
    Here,
    /// It has a place on the worker that is its channel's home, where it is to be decided.
    There(Box<(Upgrade, Remote)>),
    /// It was refused, or has gone.
    No,
}

/// Why there is no connection.
enum Refused {
    /// The handshake is answered so.
    Answered(Refusal),
    /// A proxy broke its protocol: nobody would understand an answer.
    Closed(ProxyError),
    /// TLS has failed; the peer gets an alert, if there is one for it.
    Failed(Failure),
    /// It goes to another worker.
    Elsewhere(Box<Upgrade>),
    /// There is nobody to answer.
    Gone,
    /// The PROXY header has not come in time.
    Late,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Answered(refusal)
    }
}

/// Reads the request, unless it was read elsewhere, and has it answered; the goodbye of one that was refused. `end` is
/// called unless it is let in.
pub(super) async fn open(
    worker: &Worker,
    link: &Link,
    reading: &mut Reading,
    mut remote: Remote,
    upgrade: Option<Upgrade>,
    ticket: &mut Ticket,
    end: impl FnOnce(),
) -> Opened {
    let result = match upgrade {
        Some(upgrade) => decide(worker, link, &upgrade, &remote),
        None => negotiate(worker, link, reading, &mut remote, ticket).await,
    };
    let refused = match result {
        Ok(()) => {
            ticket.opened();
            return Opened::Here;
        }
        Err(refused) => refused,
    };
    end();
    let refusals = &ticket.counts().refusals;
    let now = clock::now();
    match refused {
        Refused::Answered(refusal) => {
            refusals.answered(now, &remote, &refusal);
            let mut answer = Vec::new();
            refusal.encode(&mut answer);
            Box::pin(say_goodbye(link, &mut reading.reader, answer)).await;
        }
        Refused::Closed(error) => {
            worker.metrics.refused_proxy.inc();
            refusals.closed(now, &remote, error.to_string());
        }
        Refused::Failed(failure) => {
            worker.metrics.refused_tls.inc();
            refusals.failed(now, &remote, failure.reason());
            Box::pin(say_goodbye(link, &mut reading.reader, Vec::new())).await;
        }
        Refused::Late => {
            worker.metrics.refused_timeout.inc();
            refusals.closed(now, &remote, "the PROXY header did not come in time");
        }
        Refused::Elsewhere(upgrade) => return Opened::There(Box::new((*upgrade, remote))),
        Refused::Gone => {}
    }
    Opened::No
}

async fn negotiate(
    worker: &Worker,
    link: &Link,
    reading: &mut Reading,
    remote: &mut Remote,
    ticket: &mut Ticket,
) -> Result<(), Refused> {
    // The acceptor did so by the same address, unless a reload came between.
    ticket.count_for(remote.key())?;
    if remote.is_trusted() && worker.state().config().listen.proxy_protocol {
        read_proxy_header(worker, link, reading, remote).await?;
        ticket.count_for(remote.key())?;
    }
    let config = worker.state().config().clone();
    if let Some(tls) = &config.tls
        && reading.reader.is_tcp()
    {
        remote.secure = true;
        secure::begin(worker, link, tls, &mut reading.pending)
            .map_err(|failure| failed(worker, failure))?;
    }
    drop(config);
    let upgrade = read_request(worker, link, reading, remote, ticket).await?;
    ticket.count_for(remote.key())?;
    // No hook has run. TLS stays where it began. Where a channel's members are at its home, what they say does not change threads twice.
    let home = worker.state().home_of(&upgrade);
    let home = home.filter(|_| link.tls.get().is_none());
    if home.is_some_and(|home| ticket.move_to(home)) {
        return Err(Refused::Elsewhere(Box::new(upgrade)));
    }
    decide(worker, link, &upgrade, remote)
}

/// Has the request answered.
fn decide(worker: &Worker, link: &Link, upgrade: &Upgrade, remote: &Remote) -> Result<(), Refused> {
    let result = worker
        .state()
        .on_upgrade(clock::now(), link.id, upgrade, remote);
    worker.settle();
    result.map(|_| ()).map_err(Refused::Answered)
}

/// Waits for more of what is being read: all of it so far.
async fn more(
    worker: &Worker,
    link: &Link,
    reading: &mut Reading,
    late: impl FnOnce() -> Refused,
) -> Result<BytesMut, Refused> {
    loop {
        match next(worker, link, reading).await {
            Wake::End => return Err(Refused::Gone),
            Wake::Failed(failure) => return Err(failed(worker, failure)),
            Wake::Signals(signals) if signals.has(Signals::HANDSHAKE_TIMEOUT) => {
                return Err(late());
            }
            Wake::Signals(signals) if signals.has(Signals::ABORT) => return Err(Refused::Gone),
            Wake::Signals(_) => {}
            Wake::Read(bytes) => return Ok(bytes),
        }
    }
}

/// What becomes of a connection whose TLS has failed.
fn failed(worker: &Worker, failure: Failure) -> Refused {
    match failure {
        Failure::PlainHttp => {
            worker.metrics.refused_tls.inc();
            Refusal::new(400, "this port speaks TLS; use wss:// or https://").into()
        }
        Failure::Tls(_) => Refused::Failed(failure),
    }
}

/// Keeps what was not taken of `bytes`, after the first `taken`, for the next read.
fn keep(worker: &Worker, reading: &mut Reading, mut bytes: BytesMut, taken: usize) {
    bytes.advance(taken);
    reading.pending = BytesMut::from(&*bytes);
    give_back(worker, bytes);
}

async fn read_proxy_header(
    worker: &Worker,
    link: &Link,
    reading: &mut Reading,
    remote: &mut Remote,
) -> Result<(), Refused> {
    loop {
        let bytes = more(worker, link, reading, || Refused::Late).await?;
        let parsed = proxy::parse(&bytes);
        let taken = parsed
            .as_ref()
            .map_or(0, |found| found.map_or(0, |(_, size)| size));
        keep(worker, reading, bytes, taken);
        if let Some((source, _)) = parsed.map_err(Refused::Closed)? {
            let trusted = &worker.state().config().clone().listen.trusted_proxies;
            remote.on_proxy_header(source, trusted);
            return Ok(());
        }
    }
}

async fn read_request(
    worker: &Worker,
    link: &Link,
    reading: &mut Reading,
    remote: &mut Remote,
    ticket: &Ticket,
) -> Result<Upgrade, Refused> {
    // What came with the PROXY header.
    let mut bytes = std::mem::take(&mut reading.pending);
    loop {
        if !bytes.is_empty() {
            if proxy::is_header(&bytes) {
                worker.metrics.refused_request.inc();
                return Err(unexpected_proxy_header(remote, ticket).into());
            }
            let parsed = handshake::parse(&bytes);
            let taken = parsed
                .as_ref()
                .map_or(0, |found| found.as_ref().map_or(0, |(_, size)| *size));
            // What follows the request is the first frames, or else it is the beginning of the request.
            keep(worker, reading, bytes, taken);
            match parsed {
                Ok(None) => {}
                Ok(Some((upgrade, _))) => {
                    let trusted = &worker.state().config().clone().listen.trusted_proxies;
                    if !remote.on_request(&upgrade, trusted) {
                        not_believed(remote, ticket);
                    }
                    return Ok(upgrade);
                }
                Err(refusal) => {
                    if refusal.status == 431 {
                        worker.metrics.refused_size.inc();
                    } else {
                        worker.metrics.refused_request.inc();
                    }
                    return Err(refusal.into());
                }
            }
        }
        bytes = more(worker, link, reading, || {
            worker.metrics.refused_timeout.inc();
            Refusal::new(408, secure::missing(link)).into()
        })
        .await?;
    }
}

/// The answer to a PROXY header where a request should begin.
fn unexpected_proxy_header(remote: &Remote, ticket: &Ticket) -> Refusal {
    if remote.is_trusted() {
        return Refusal::new(
            400,
            "a PROXY header where none is expected: listen.proxy_protocol is off, or it came twice",
        );
    }
    not_believed(remote, ticket);
    Refusal::new(400, "a PROXY header from an address that is not trusted")
}

/// Says once that somebody speaks for others without being trusted.
fn not_believed(remote: &Remote, ticket: &Ticket) {
    if ticket.counts().tell_forwarded() {
        tracing::warn!(
            target: "listen",
            event = "forwarded_ignored",
            wsd_remote = %remote,
            "a forwarding header from {remote} is not believed, as that address is not in listen.trusted_proxies: \
             all that comes from there counts as {remote}"
        );
    }
}
