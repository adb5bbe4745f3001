//! One connection of a run: reads whatever comes, and publishes if it is a publisher.
//!
//! All that is there is read before anything is written, and what is to be written goes out at once, so the load costs this
//! process as little as it can. Never decides when the run begins or ends: `drive.rs` says so.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::dial::Socket;
use super::options::Plan;
use super::tally::Tally;
use super::token::{Token, Tokens};
use crate::worker::clock;

/// How far the run is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// All connect; the first connection publishes one message when it is told `Probe`.
    Connect,
    /// The first connection publishes one message.
    Probe,
    /// Publishers publish, from this time on.
    Publish(Instant),
    /// Nobody publishes; what is under way is still read.
    Drain,
    /// Everybody leaves.
    Leave,
}

/// What all connections of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) tokens: Tokens,
    pub(super) tally: RefCell<Tally>,
    /// Times of messages count from here.
    pub(super) start: Instant,
}

impl Shared {
    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// When a publisher's message number `count` since publishing began is due, if there is a rate.
    fn due(&self, index: u32, began: Instant, count: u64) -> Option<Instant> {
        let rate = self.plan.rate?;
        let place = u128::from(count) * u128::from(self.plan.publishers) + u128::from(index);
        let nanos = place * 1_000_000_000 / u128::from(rate);
        Some(began + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// Lives until the run is over or the node ends the connection.
pub(super) async fn run(
    shared: &Shared,
    index: u32,
    mut socket: Socket,
    mut phase: watch::Receiver<Phase>,
) {
    let ended = match converse(shared, index, &mut socket, &mut phase).await {
        Ok(()) => None,
        Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
            Some("without a close code".to_owned())
        }
        Err(error) => Some(error.to_string()),
    };
    if *phase.borrow() == Phase::Leave {
        return;
    }
    shared.tally.borrow_mut().end_of(
        index,
        ended.unwrap_or_else(|| "without a close code".to_owned()),
    );
}

async fn converse(
    shared: &Shared,
    index: u32,
    socket: &mut Socket,
    phase: &mut watch::Receiver<Phase>,
) -> Result<(), Error> {
    let mut publisher = Publisher::new(index);
    let mut now = Phase::Connect;
    loop {
        let due = match now {
            Phase::Publish(began) if index < shared.plan.publishers => {
                shared.due(index, began, publisher.count)
            }
            _ => None,
        };
        let mut own = 0;
        tokio::select! {
            biased;
            changed = phase.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                now = *phase.borrow_and_update();
                own = match now {
                    Phase::Leave => return socket.close(None).await,
                    Phase::Probe if index == 0 => {
                        publisher.send(shared, socket, clock::now()).await?;
                        socket.flush().await?;
                        0
                    }
                    Phase::Publish(_) if index < shared.plan.publishers => shared.plan.window,
                    _ => 0,
                };
            }
            incoming = socket.next() => {
                let mut next = Some(incoming);
                while let Some(message) = next {
                    let Some(message) = message else { return Ok(()) };
                    own += receive(shared, index, &message?)?;
                    next = socket.next().now_or_never();
                }
            }
            () = until(due), if due.is_some() => {}
        }
        let Phase::Publish(began) = now else { continue };
        if index >= shared.plan.publishers {
            continue;
        }
        if shared.plan.rate.is_some() {
            publisher.send_due(shared, socket, began).await?;
        } else {
            for _ in 0..own {
                publisher.send(shared, socket, clock::now()).await?;
            }
        }
        socket.flush().await?;
    }
}

/// Takes a frame in and says how many of its messages are the connection's own.
fn receive(shared: &Shared, index: u32, message: &Message) -> Result<u32, Error> {
    let payload: &[u8] = match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(data) => data,
        Message::Close(Some(close)) => {
            let text = match close.reason.as_str() {
                "" => format!("with {}", u16::from(close.code)),
                reason => format!("with {} {}", u16::from(close.code), reason.escape_debug()),
            };
            return Err(Error::Io(std::io::Error::other(text)));
        }
        Message::Close(None) => return Err(Error::ConnectionClosed),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(0),
    };
    let mut own = 0;
    let mut tally = shared.tally.borrow_mut();
    let now = shared.micros(clock::now());
    tally.frame(payload.len());
    shared.tokens.read(payload, |token| {
        own += u32::from(token.sender == index);
        tally.receive(index, token, now);
    });
    Ok(own)
}

struct Publisher {
    index: u32,
    /// Messages since publishing began.
    count: u64,
}

impl Publisher {
    const fn new(index: u32) -> Self {
        Self { index, count: 0 }
    }

    /// Publishes what is due by now, however late that is.
    async fn send_due(
        &mut self,
        shared: &Shared,
        socket: &mut Socket,
        began: Instant,
    ) -> Result<(), Error> {
        let now = clock::now();
        while let Some(due) = shared.due(self.index, began, self.count)
            && due <= now
        {
            self.send(shared, socket, due).await?;
            self.count += 1;
        }
        Ok(())
    }

    async fn send(&self, shared: &Shared, socket: &mut Socket, due: Instant) -> Result<(), Error> {
        let token = Token {
            sender: self.index,
            number: shared.tally.borrow_mut().publish(self.index),
            due: shared.micros(due),
        };
        socket.feed(Message::text(shared.tokens.write(token))).await
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
