//! The server's side of one WebSocket connection, from the byte after the 101 to the last byte of the close.
//!
//! [pure] Bytes and time come in, events come out; nothing is sent and no clock is read here. The owner is
//! `worker/conn.rs`, which also owns the socket. All of it is plain data: `saved.rs` writes it out for a restart.
//!
//! # Why messages are copied out of the input
//!
//! The owner reads into a large buffer that many connections share in turn. A message that is a slice of it would keep all
//! of it alive, for as long as a history keeps the message. So a message is a slice only if it is at least a quarter of
//! the buffer it came in; a smaller one gets an allocation of its own, which costs no more than the two reference counts
//! and the promotion that slicing does.

mod closing;
mod limits;
mod saved;

pub use limits::SessionLimits;
pub use saved::SavedSession;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use super::close::{self, ProtocolError};
use super::deflate::Inflate;
use super::frame::{self, Opcode, Side};
use super::message::{self, Assembler, Whole};
use crate::types::{Close, Kind, Payload};
use closing::Closing;
use limits::Limits;

/// What a session tells its owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The WebSocket has ended; no event follows. The owner writes what it has for the peer and ends the connection.
    ///
    /// Carries the peer's close (1005 if its frame had no code), ours if we began or the peer broke a rule, 1006 for a peer
    /// that no longer answers.
    Closed(Close),
    /// The peer sent a message.
    Message(Payload),
    /// Bytes to write to the peer: a whole control frame, or pongs.
    Reply(Bytes),
}

/// The protocol state of one connection.
///
/// Sans-io. The owner hands over what arrived with [`Session::receive`] and then takes every [`Session::poll_event`] until
/// there is none, likewise after [`Session::close`] and [`Session::handle_timeout`].
#[derive(Clone, Debug)]
pub struct Session {
    state: State,
    /// [`Side::Deflating`] if compression was agreed, else [`Side::Client`].
    peer: Side,
    /// The message that does not lie whole in one read. Idle unless the state is open.
    assembler: Assembler,
    limits: Limits,
    /// When the time that runs now began: the peer was heard, was pinged, or our close frame was sent.
    since: Instant,
    /// Whether a ping is unanswered.
    pinged: bool,
    /// The first event that the owner has not taken. Holds one without an allocation, as most reads give one.
    first: Option<Event>,
    /// Those after `first`; `None` as soon as they are taken, so a connection at rest holds no queue.
    others: Option<Box<Backlog>>,
}

#[derive(Clone, Debug, Default)]
struct Backlog(VecDeque<Event>);

#[derive(Clone, Debug)]
enum State {
    Open,
    /// Our close frame is sent, the peer's is awaited; what else it sends is thrown away.
    Closing(Box<Closing>),
    Closed,
}

/// What the front of the input was.
enum Step {
    /// A whole control frame of `size` bytes, the last `len` of which are its payload, unmasked.
    Control {
        opcode: Opcode,
        size: usize,
        len: usize,
    },
    /// A whole message in one frame, likewise, and checked.
    Message { kind: Kind, size: usize, len: usize },
    /// Not enough for anything.
    More,
    /// So many bytes that went into the assembler or nowhere, and the message that they ended.
    Part(usize, Option<Payload>),
}

/// The answers to the pings of one call.
#[derive(Default)]
struct Pongs {
    frames: Vec<u8>,
    count: u32,
}

impl Pongs {
    /// The most that one call answers; one that brings more has its earlier ones forgotten.
    const MOST: u32 = 16;

    fn add(&mut self, body: &[u8]) {
        if self.count == Self::MOST {
            *self = Self::default();
        }
        frame::append_control(Opcode::Pong, body, &mut self.frames);
        self.count = self.count.saturating_add(1);
    }
}

// An empty ping: nothing has to be remembered, since whatever is heard answers it.
const PING: &[u8] = &[0x89, 0];

impl Session {
    /// A connection whose handshake has just been answered.
    #[must_use]
    pub fn new(now: Instant, limits: SessionLimits) -> Self {
        Self {
            state: State::Open,
            peer: Side::Client,
            assembler: Assembler::default(),
            limits: limits.into(),
            since: now,
            pinged: false,
            first: None,
            others: None,
        }
    }

    /// The same with permessage-deflate agreed: compressed messages come out as what they were.
    #[must_use]
    pub const fn with_deflate(mut self) -> Self {
        self.peer = Side::Deflating;
        self
    }

    /// Takes all that can be taken off the front of `input`, and leaves at most an unfinished header or control frame:
    /// less than 132 bytes.
    ///
    /// Cutting the input differently never changes the messages or the end. Of many pings in one call only the latest are
    /// answered, in one reply (RFC 6455 §5.5.3 asks for the last), so a flood of pings costs the peer more than us. After the session has ended the input
    /// is thrown away. `inflate` is scratch, of which nothing is kept.
    pub fn receive(&mut self, now: Instant, input: &mut BytesMut, inflate: &mut Inflate) {
        self.receive_with(now, input, inflate, |_, _| false);
    }

    /// As [`Session::receive`], but `take` sees a message first if it lies whole in the input and no event waits to be
    /// taken: true means that the message needs no event, and so no copy.
    pub fn receive_with(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        inflate: &mut Inflate,
        mut take: impl FnMut(Kind, &[u8]) -> bool,
    ) {
        if input.is_empty() {
            return;
        }
        if matches!(self.state, State::Open) {
            self.since = now;
            self.pinged = false;
        }
        let sliced_from = input.capacity() / 4;
        let mut done = 0_usize;
        let mut pongs = Pongs::default();
        loop {
            let rest = input.get_mut(done..).unwrap_or_default();
            let step = match &mut self.state {
                State::Open => self.read(rest, inflate),
                State::Closing(closing) => closing.read(self.peer, rest),
                State::Closed => {
                    done = input.len();
                    break;
                }
            };
            match step {
                Ok(Step::Message { kind, size, len }) => {
                    let end = done.saturating_add(size);
                    let start = end.saturating_sub(len);
                    let waits = self.first.is_some() || self.others.is_some();
                    if !waits && take(kind, input.get(start..end).unwrap_or_default()) {
                        done = end;
                        continue;
                    }
                    let data = if len >= sliced_from && len > 0 {
                        input.advance(start);
                        done = 0;
                        input.split_to(len).freeze()
                    } else {
                        done = end;
                        Bytes::copy_from_slice(input.get(start..end).unwrap_or_default())
                    };
                    self.push(Event::Message(Payload { kind, data }));
                }
                Ok(Step::Part(taken, message)) => {
                    done = done.saturating_add(taken);
                    if let Some(message) = message {
                        self.push(Event::Message(message));
                    }
                }
                Ok(Step::Control { opcode, size, len }) => {
                    done = done.saturating_add(size);
                    let body = input
                        .get(done.saturating_sub(len)..done)
                        .unwrap_or_default();
                    match opcode {
                        Opcode::Ping => pongs.add(body),
                        Opcode::Close => {
                            let close = close::parse(body);
                            self.answer(&mut pongs);
                            self.finish(close);
                        }
                        _ => {}
                    }
                }
                Ok(Step::More) => break,
                Err(error) => {
                    self.answer(&mut pongs);
                    self.finish(Err(error));
                }
            }
        }
        self.answer(&mut pongs);
        if done == input.len() {
            // Unlike `advance` this leaves the owner the whole of its buffer.
            input.clear();
        } else {
            input.advance(done);
        }
    }

    /// Takes the next event; `None` if there is none before the next call of something else.
    #[must_use]
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.first.take() {
            return Some(event);
        }
        let others = &mut self.others.as_mut()?.0;
        let event = others.pop_front();
        if others.is_empty() {
            self.others = None;
        }
        event
    }

    /// Starts the closing handshake; does nothing if it has begun.
    ///
    /// Messages that were not yet taken are dropped, and none comes afterwards. 1005 sends a close frame without a code;
    /// another code that may not be sent, such as [`Close::LOST`], ends the session at once and sends nothing.
    pub fn close(&mut self, now: Instant, why: Close) {
        if !matches!(self.state, State::Open) {
            return;
        }
        self.drop_messages();
        let skip = self.assembler.missing() as u64;
        self.assembler.clear();
        if close::is_sendable(why.code) || why.code == close::NO_CODE.code {
            self.push(Event::Reply(close::encode(&why)));
            self.since = now;
            self.state = State::Closing(Box::new(Closing { why, skip }));
        } else {
            self.end(why);
        }
    }

    /// New limits, from the next frame on.
    pub fn set_limits(&mut self, limits: SessionLimits) {
        self.limits = limits.into();
    }

    /// The next time at which [`Session::handle_timeout`] is due; `None` after the end.
    ///
    /// What is received only moves it later, so the owner need not ask after each message: it may call when the time it knew
    /// has come, and ask again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let millis = match (&self.state, self.pinged) {
            (State::Open, false) => self.limits.ping_after,
            (State::Open, true) => self.limits.pong_within,
            (State::Closing(_), _) => self.limits.close_within,
            (State::Closed, _) => return None,
        };
        self.since.checked_add(Duration::from_millis(millis.into()))
    }

    /// Sends a ping, gives up on the peer, or ends the wait for its close. Calling early does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match &mut self.state {
            State::Open if !self.pinged => {
                self.since = now;
                self.pinged = true;
                self.push(Event::Reply(Bytes::from_static(PING)));
            }
            State::Open => self.end(Close::LOST),
            State::Closing(closing) => {
                let why = closing.why.clone();
                self.end(why);
            }
            State::Closed => {}
        }
    }

    /// Whether the closing handshake has begun or the session has ended: what is sent now does not count any more.
    #[must_use]
    #[inline]
    pub fn is_closing(&self) -> bool {
        !matches!(self.state, State::Open)
    }

    /// How many bytes the frame at hand still needs when `input_len` more have been read; 0 between frames.
    ///
    /// Only a hint for the size of the next read: [`Session::receive`] takes a frame in any pieces.
    #[must_use]
    pub fn needs(&self, input_len: usize) -> usize {
        let missing = match &self.state {
            State::Open => self.assembler.missing(),
            State::Closing(closing) => usize::try_from(closing.skip).unwrap_or(usize::MAX),
            State::Closed => 0,
        };
        missing.saturating_sub(input_len)
    }

    /// Bytes allocated for a message that is not complete; at most once what has come, and [`SessionLimits::message`] with
    /// what a message of that size may be longer when it is compressed, less than a sixth and 64 bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.assembler.held_bytes()
    }

    #[inline]
    fn read(&mut self, input: &mut [u8], inflate: &mut Inflate) -> Result<Step, ProtocolError> {
        if self.assembler.missing() > 0 {
            return if input.is_empty() {
                Ok(Step::More)
            } else {
                self.append(0, input, inflate)
            };
        }
        let Some(head) = frame::head(input, self.peer)? else {
            return Ok(Step::More);
        };
        if head.opcode.is_control() {
            return Ok(
                whole(input, &head).map_or(Step::More, |(_, size, len)| Step::Control {
                    opcode: head.opcode,
                    size,
                    len,
                }),
            );
        }
        let (kind, len) = self.assembler.admit(&head, self.limits.message)?;
        if head.fin
            && self.assembler.is_idle()
            && let Some((body, size, len)) = whole(input, &head)
        {
            if head.deflated {
                let payload = inflated(kind, body, self.limits.message, inflate)?;
                return Ok(Step::Part(size, Some(payload)));
            }
            message::check(kind, body)?;
            return Ok(Step::Message { kind, size, len });
        }
        self.assembler.begin(&head, kind, len);
        let rest = input.get_mut(head.size..).unwrap_or_default();
        self.append(head.size, rest, inflate)
    }

    fn append(
        &mut self,
        header: usize,
        input: &mut [u8],
        inflate: &mut Inflate,
    ) -> Result<Step, ProtocolError> {
        let limit = self.limits.message;
        let (taken, whole) = self.assembler.append(input, limit)?;
        let message = match whole {
            None => None,
            Some(Whole::Plain(payload)) => Some(payload),
            Some(Whole::Deflated(kind, data)) => Some(inflated(kind, &data, limit, inflate)?),
        };
        Ok(Step::Part(taken.saturating_add(header), message))
    }

    /// The peer closed, or broke a rule.
    fn finish(&mut self, close: Result<Close, ProtocolError>) {
        let (reply, close) = match (&self.state, close) {
            // Ours was sent before, and it is what counts.
            (State::Closing(closing), _) => (None, closing.why.clone()),
            // RFC 6455 §5.5.1: the answer repeats the code; the reason is the peer's own.
            (_, Ok(close)) => (Some(close::encode(&Close::new(close.code, ""))), close),
            (_, Err(error)) => (Some(close::encode(&error.close())), error.close()),
        };
        if let Some(reply) = reply {
            self.push(Event::Reply(reply));
        }
        self.end(close);
    }

    fn end(&mut self, close: Close) {
        self.state = State::Closed;
        self.assembler.clear();
        self.push(Event::Closed(close));
    }

    fn answer(&mut self, pongs: &mut Pongs) {
        if pongs.count > 0 {
            self.push(Event::Reply(Bytes::from(std::mem::take(pongs).frames)));
        }
    }

    #[inline]
    fn push(&mut self, event: Event) {
        if let Some(others) = &mut self.others {
            others.0.push_back(event);
        } else if self.first.is_none() {
            self.first = Some(event);
        } else {
            let mut others = Box::<Backlog>::default();
            others.0.reserve(16);
            others.0.push_back(event);
            self.others = Some(others);
        }
    }

    fn drop_messages(&mut self) {
        let is_message = |event: &Event| matches!(event, Event::Message(_));
        if self.first.as_ref().is_some_and(is_message) {
            self.first = None;
        }
        if let Some(others) = &mut self.others {
            others.0.retain(|event| !is_message(event));
            if others.0.is_empty() {
                self.others = None;
            }
        }
    }
}

/// The unmasked payload of a frame that lies whole in `input`, with the sizes of the frame and of the payload.
#[inline]
fn whole<'a>(input: &'a mut [u8], head: &frame::Head) -> Option<(&'a [u8], usize, usize)> {
    let len = usize::try_from(head.len).ok()?;
    let size = head.size.checked_add(len)?;
    let body = input.get_mut(head.size..size)?;
    frame::unmask(body, head.mask);
    Some((body, size, len))
}

/// The message that a compressed one was.
fn inflated(
    kind: Kind,
    data: &[u8],
    limit: usize,
    inflate: &mut Inflate,
) -> Result<Payload, ProtocolError> {
    let data = inflate.message(data, limit)?;
    message::check(kind, &data)?;
    Ok(Payload { kind, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn the_queue_is_let_go_when_it_is_empty() {
        let second = Duration::from_secs(1);
        let limits = SessionLimits {
            message: 100,
            ping_after: second,
            pong_within: second,
            close_within: second,
        };
        let mut session = Session::new(Instant::now(), limits);
        for i in 0..100 {
            session.push(Event::Closed(Close::new(i, "")));
        }
        for i in 0..100 {
            assert!(i == 99 || session.others.is_some());
            assert_eq!(session.poll_event(), Some(Event::Closed(Close::new(i, ""))));
        }
        assert!(session.first.is_none() && session.others.is_none());
        assert_eq!(session.poll_event(), None);
    }
}
