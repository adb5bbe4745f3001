//! WebSocket: bytes in, messages and bytes out (RFC 6455, RFC 7692).
//!
//! [pure] No socket, no clock, no task. `handshake` reads the request and writes the answer; `Session` is everything after
//! the 101; `frame` writes what goes out. Every byte that comes in is hostile: what breaks a rule ends its own connection
//! with a close code and a fixed reason, and nothing here panics or allocates by what a peer merely announces. The only
//! extension is permessage-deflate: `negotiate` agrees on it, `deflate` has its two directions. The shell is
//! `worker/conn.rs`.

#![forbid(unsafe_code)]
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

pub mod close;
pub mod deflate;
pub mod frame;
pub mod handshake;
mod message;
pub mod negotiate;
pub mod proxy;
mod request;
mod server_frames;
mod session;
#[cfg(test)]
mod tests;

pub use close::ProtocolError;
pub use deflate::{Deflate, Inflate};
pub use handshake::{Refusal, Upgrade};
pub use negotiate::Agreement;
pub use server_frames::{Frame, ServerFrames};
pub use session::{Event, SavedSession, Session, SessionLimits};
