//! What clients of `wsd.v1` say inside messages, and what they are told: one JSON object a text frame.
//!
//! [pure] [`parse`] makes a [`Request`] of a client's text; `reply.rs` writes answers and what is pushed; [`Code`] is the
//! catalogue of errors. Plain clients never come here. The caller is `worker/state`, which decides.

mod code;
mod command;
mod reply;
#[cfg(test)]
mod tests;

pub use code::Code;
pub use command::{BadCommand, Command, Id, Request, parse};
pub use reply::{Reply, write_gap, write_message, write_reply};

/// The name of the subprotocol, as in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "wsd.v1";
