//! Reads what a server sends, for wsd's own tools: `wsd subscribe` is a client inside the process.
//!
//! [pure] The same rules as for clients, except that servers don't mask. Never used for what comes over the network from
//! clients: that is `session`.

use bytes::{Buf, Bytes, BytesMut};

use super::close::{self, ProtocolError};
use super::frame::{self, Opcode, Side};
use super::message::{Assembler, Whole};
use crate::types::{Close, Payload};

/// What a server sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A close frame, or what the server did wrong, with the code that a client would answer with; nothing follows.
    Close(Close),
    /// A whole message.
    Message(Payload),
    /// Asks for a pong with the same bytes.
    Ping(Bytes),
    /// Answers a ping.
    Pong(Bytes),
}

/// The client's side of one connection, as far as reading goes.
#[derive(Clone, Debug, Default)]
pub struct ServerFrames {
    assembler: Assembler,
    closed: bool,
}

impl ServerFrames {
    /// Before the first frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next frame or message off the front of `input`; `None` if more is needed. To be called until then.
    #[must_use]
    pub fn receive(&mut self, input: &mut BytesMut) -> Option<Frame> {
        while !self.closed {
            match self.step(input) {
                Ok(Step::Frame(frame)) => {
                    self.closed = matches!(frame, Frame::Close(_));
                    return Some(frame);
                }
                Ok(Step::Part) => {}
                Ok(Step::More) => return None,
                Err(error) => {
                    self.closed = true;
                    return Some(Frame::Close(error.close()));
                }
            }
        }
        input.clear();
        None
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Step, ProtocolError> {
        if self.assembler.missing() == 0 {
            let Some(head) = frame::head(input, Side::Server)? else {
                return Ok(Step::More);
            };
            if head.opcode.is_control() {
                let len = usize::try_from(head.len).unwrap_or(usize::MAX);
                if input.len() < head.size.saturating_add(len) {
                    return Ok(Step::More);
                }
                input.advance(head.size);
                let body = input.split_to(len).freeze();
                return Ok(Step::Frame(match head.opcode {
                    Opcode::Ping => Frame::Ping(body),
                    Opcode::Pong => Frame::Pong(body),
                    _ => Frame::Close(close::parse(&body)?),
                }));
            }
            let (kind, len) = self.assembler.admit(&head, usize::MAX)?;
            self.assembler.begin(&head, kind, len);
            input.advance(head.size);
        } else if input.is_empty() {
            return Ok(Step::More);
        }
        let (taken, message) = self.assembler.append(input, usize::MAX)?;
        input.advance(taken);
        Ok(match message {
            // Nobody compresses here: the bit that says so is refused.
            None | Some(Whole::Deflated(..)) => Step::Part,
            Some(Whole::Plain(payload)) => Step::Frame(Frame::Message(payload)),
        })
    }
}

enum Step {
    Frame(Frame),
    More,
    Part,
}
