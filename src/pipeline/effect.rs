//! What a hook asked for, to be done after it returned.
//!
//! [pure] Scripts fill [`Effects`] while they run; [`super::Pipeline`] cuts back what a failed call left;
//! `worker/state.rs` carries the rest out in order. A hook that fails leaves none.

use std::time::Duration;

use crate::types::{ChannelName, Close, ConnId, Payload};

/// One wish of a hook.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Closes the connection, after what was sent to it before.
    Close(ConnId, Close),
    /// Closes the connection with 4401 at this Unix time in seconds; `None` takes that back.
    Expire(ConnId, Option<f64>),
    /// Publishes, through the channel's home, without `on_batch`.
    Publish {
        /// Where to.
        channel: ChannelName,
        /// What.
        payload: Payload,
        /// Who does not get it back (`conn:publish`).
        skip: Option<ConnId>,
    },
    /// Sends to this connection alone.
    Send(ConnId, Payload),
    /// Closes every connection of that user, on all nodes.
    KickUser(String, Close),
    /// Sends to every connection of that user, on all nodes.
    SendUser(String, Payload),
    /// From now on the connection's messages go there (`""` in a script: nowhere).
    SetChannel(ConnId, Option<ChannelName>),
    /// The subprotocol of the answer to the handshake; one of those offered.
    SetProtocol(ConnId, String),
    /// The user's name in logs and tools; `None` after `conn.user = nil`.
    SetUser(ConnId, Option<String>),
    /// Joins a channel, through `on_subscribe`, and gets so many of its history first; `None`: as many as the channel says.
    Subscribe(ConnId, ChannelName, Option<u32>),
    /// Runs a function of the script after this time: [`super::Hooks::on_timer`].
    Timer(TimerId, Duration),
    /// Leaves a channel.
    Unsubscribe(ConnId, ChannelName),
}

impl Effect {
    /// Bytes that count against [`Effects::MAX_BYTES`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Publish { payload, .. } | Self::Send(_, payload) | Self::SendUser(_, payload) => {
                payload.len()
            }
            _ => 0,
        }
    }
}

/// Names a function that a script wants to be run later; no other of this process has the same.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TimerId(pub u64);

/// The effects of the calls since it was last emptied, in the order in which they were asked for.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
    /// Where the present call's effects begin.
    start: usize,
    /// Bytes of the present call's effects.
    bytes: usize,
}

impl Effects {
    /// The most effects of one call (SPEC §4).
    pub const MAX_COUNT: usize = 1000;
    /// The most bytes in the effects of one call (SPEC §4).
    pub const MAX_BYTES: usize = 4 << 20;

    /// Adds one; refused when the call has asked for too much.
    pub fn push(&mut self, effect: Effect) -> Result<(), TooManyEffects> {
        let bytes = self.bytes.saturating_add(effect.bytes());
        if self.list.len() - self.start >= Self::MAX_COUNT || bytes > Self::MAX_BYTES {
            return Err(TooManyEffects);
        }
        self.bytes = bytes;
        self.list.push(effect);
        Ok(())
    }

    /// A call begins: what is there already stays whatever becomes of it.
    pub fn begin(&mut self) {
        self.start = self.list.len();
        self.bytes = 0;
    }

    /// What the present call has asked for so far.
    #[must_use]
    pub fn present(&self) -> &[Effect] {
        self.list.get(self.start..).unwrap_or_default()
    }

    /// The present call failed: forgets what it asked for.
    pub fn undo(&mut self) {
        self.list.truncate(self.start);
        self.bytes = 0;
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes all of them, in order.
    #[must_use]
    pub fn take(&mut self) -> Vec<Effect> {
        self.start = 0;
        self.bytes = 0;
        std::mem::take(&mut self.list)
    }
}

/// One call asked for more than 1,000 effects or 4 MiB.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("asks for too much in one call: at most 1000 effects and 4 MiB")]
pub struct TooManyEffects;
