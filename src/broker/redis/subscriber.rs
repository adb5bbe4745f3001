//! The link that hears: SUBSCRIBE and UNSUBSCRIBE go out, publications and confirmations come in.
//!
//! A loop of our own over a socket of our own, driven by `thread.rs`; what it reads is cut by `resp.rs`, what is wanted
//! stands in `subscriptions.rs`. It reads whatever is there without waiting for anybody: a subscriber that reads slowly
//! is thrown out by Redis (`client-output-buffer-limit pubsub`). A payload is copied once, out of the read buffer.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use std::vec;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::types::{ChannelName, NodeId};

use super::codec;
use super::homes::Homes;
use super::link_error::{LinkError, code};
use super::pulse::{Beat, PING_TIMEOUT, Pulse};
use super::resp::{self, Reply};
use super::socket::{Stream, command};
use super::subscriptions::{Subscriptions, Verb};

/// The subscriber link, from the end of its handshake on.
pub(super) struct Subscriber {
    stream: Stream,
    node: NodeId,
    /// `broker.prefix`
    prefix: Vec<u8>,
    input: Input,
    /// Commands that the socket has not taken, from `out_at` on.
    out: Vec<u8>,
    out_at: usize,
    /// What Redis has not answered, oldest first.
    open: VecDeque<Open>,
    /// Channels that Redis denied since somebody asked.
    denied: Vec<ChannelName>,
    pulse: Pulse,
}

/// A command that Redis has not answered completely.
#[derive(Debug)]
enum Open {
    Channels {
        verb: Verb,
        /// Those without a confirmation.
        channels: vec::IntoIter<ChannelName>,
    },
    Ping,
}

/// Bytes read in one turn: then what came is handed over and the inbox gets its turn.
const READ_TURN: usize = 256 << 10;
/// Commands are made only while less than this waits for the socket, so repeating many subscriptions needs no memory.
const OUT_MAX: usize = 256 << 10;

impl Subscriber {
    pub(super) fn new(now: Instant, stream: Stream, node: NodeId, prefix: &str) -> Self {
        Self {
            stream,
            node,
            prefix: prefix.as_bytes().to_vec(),
            input: Input::new(),
            out: Vec::new(),
            out_at: 0,
            open: VecDeque::new(),
            denied: Vec::new(),
            pulse: Pulse::new(now),
        }
    }

    /// Turns what `subscriptions` wants into commands, as far as there is room. [`poll`](Self::poll) sends them.
    pub(super) fn tell(&mut self, subscriptions: &mut Subscriptions) {
        while self.out.len().saturating_sub(self.out_at) < OUT_MAX {
            let commands = subscriptions.poll_commands();
            if commands.is_empty() {
                return;
            }
            for (verb, channels) in commands {
                self.write_command(verb, &channels);
                self.open.push_back(Open::Channels {
                    verb,
                    channels: channels.into_iter(),
                });
            }
        }
    }

    fn write_command(&mut self, verb: Verb, channels: &[ChannelName]) {
        let name: &[u8] = match verb {
            Verb::Subscribe => b"SUBSCRIBE",
            Verb::Unsubscribe => b"UNSUBSCRIBE",
        };
        let words = channels
            .iter()
            .map(|channel| (self.prefix.as_slice(), channel.as_str().as_bytes()));
        command(&mut self.out, name, words);
    }

    /// Sends what waits and takes what has come, up to [`READ_TURN`] bytes. Ready when something happened, or with why
    /// the link is of no use any more.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        subscriptions: &mut Subscriptions,
        homes: &mut Homes,
    ) -> Poll<Result<(), LinkError>> {
        let mut happened = self.poll_write(cx)?;
        let mut budget = READ_TURN;
        loop {
            match self.input.poll_fill(cx, &mut self.stream) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(LinkError::Closed)),
                Poll::Ready(Ok(len)) => {
                    happened = true;
                    self.pulse.on_heard();
                    self.take_replies(subscriptions, homes)?;
                    budget = budget.saturating_sub(len);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if happened => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
            if budget == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether anything was written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkError> {
        let mut wrote = false;
        while let Some(rest) = self.out.get(self.out_at..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(len) => {
                    self.out_at = self.out_at.saturating_add(len?);
                    wrote = true;
                }
                Poll::Pending => return Ok(wrote),
            }
        }
        if wrote {
            self.out = Vec::new();
            self.out_at = 0;
        }
        Ok(wrote)
    }

    fn take_replies(
        &mut self,
        subscriptions: &mut Subscriptions,
        homes: &mut Homes,
    ) -> Result<(), LinkError> {
        let mut taken = 0;
        while let Some((reply, len)) = resp::read(self.input.from(taken))? {
            taken += len;
            match reply {
                Reply::Message { channel, payload } => {
                    if let Some(name) = channel.strip_prefix(self.prefix.as_slice())
                        && let Ok(name) = simdutf8::basic::from_utf8(name)
                        && let Some((channel, home)) = subscriptions.find(name)
                    {
                        match codec::decode_fence(payload) {
                            None => {
                                homes.publication(home, codec::decode(channel.clone(), payload));
                            }
                            Some((node, token)) if node == self.node => {
                                homes.fence(home, channel.clone(), token);
                            }
                            Some(_) => {}
                        }
                    }
                }
                Reply::Subscribed(channel) => {
                    let channel = answered(&mut self.open, Verb::Subscribe, &self.prefix, channel)?;
                    if let Some(live) = subscriptions.on_answered(&channel, Verb::Subscribe) {
                        homes.live(live);
                    }
                }
                Reply::Unsubscribed(channel) => {
                    let channel =
                        answered(&mut self.open, Verb::Unsubscribe, &self.prefix, channel)?;
                    subscriptions.on_answered(&channel, Verb::Unsubscribe);
                }
                Reply::Error(error) => match self.open.pop_front() {
                    Some(Open::Channels {
                        verb: Verb::Subscribe,
                        channels,
                    }) if code(error) == b"NOPERM" => {
                        let channels: Vec<_> = channels.collect();
                        if let [channel] = channels.as_slice() {
                            self.denied.push(channel.clone());
                        }
                        subscriptions.on_denied(channels);
                    }
                    _ => return Err(LinkError::refused(error)),
                },
                Reply::Pong => match self.open.pop_front() {
                    Some(Open::Ping) => {}
                    _ => return Err(LinkError::Puzzled),
                },
                Reply::Value => {}
            }
        }
        self.input.consume(taken);
        Ok(())
    }

    /// Asks whether Redis is there, or says that it is not.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), LinkError> {
        match self.pulse.handle_timeout(now) {
            Beat::Ask => {
                command(&mut self.out, b"PING", [].into_iter());
                self.open.push_back(Open::Ping);
                Ok(())
            }
            Beat::Gone => Err(LinkError::Silent(PING_TIMEOUT)),
            Beat::Well => Ok(()),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.pulse.poll_timeout()
    }

    /// Channels that the Redis user may not hear, since the last call.
    pub(super) fn poll_denied(&mut self) -> Vec<ChannelName> {
        std::mem::take(&mut self.denied)
    }
}

/// Which channel a confirmation is for. Redis confirms in the order of the commands; anything else means that we do not
/// know what is subscribed, so the link has to be made again.
fn answered(
    open: &mut VecDeque<Open>,
    verb: Verb,
    prefix: &[u8],
    name: &[u8],
) -> Result<ChannelName, LinkError> {
    let Some(Open::Channels { verb: of, channels }) = open.front_mut() else {
        return Err(LinkError::Puzzled);
    };
    let Some(channel) = channels.next().filter(|channel| {
        *of == verb && name.strip_prefix(prefix) == Some(channel.as_str().as_bytes())
    }) else {
        return Err(LinkError::Puzzled);
    };
    if channels.as_slice().is_empty() {
        open.pop_front();
    }
    Ok(channel)
}

/// The read buffer: grows with a reply that is bigger than it, and shrinks again.
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Enough for what one system call usually brings.
const INPUT: usize = 64 << 10;
/// Less room than this is no read worth a system call.
const INPUT_ROOM: usize = 4 << 10;

impl Input {
    fn new() -> Self {
        Self {
            bytes: vec![0; INPUT],
            start: 0,
            end: 0,
        }
    }

    /// What has come and was not consumed, without its first `taken` bytes.
    fn from(&self, taken: usize) -> &[u8] {
        self.bytes
            .get(self.start.saturating_add(taken)..self.end)
            .unwrap_or_default()
    }

    fn consume(&mut self, taken: usize) {
        self.start = self.start.saturating_add(taken).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.bytes.len() > 4 * INPUT {
                self.bytes = vec![0; INPUT];
            }
        }
    }

    /// Reads once. 0 is the end.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<Result<usize, LinkError>> {
        if self.bytes.len().saturating_sub(self.end) < INPUT_ROOM {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end = self.end.saturating_sub(self.start);
            self.start = 0;
            if self.bytes.len().saturating_sub(self.end) < INPUT_ROOM {
                // `resp::read` fails before this can pass twice its limit.
                self.bytes.resize(self.bytes.len().saturating_mul(2), 0);
            }
        }
        let mut room = ReadBuf::new(self.bytes.get_mut(self.end..).unwrap_or_default());
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let len = room.filled().len();
        self.end = self.end.saturating_add(len);
        Poll::Ready(Ok(len))
    }
}
