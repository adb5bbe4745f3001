//! [pure] Sizes and times of a session.

use std::time::Duration;

/// Sizes and times of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionLimits {
    /// The largest message in bytes; a larger one ends the connection with 1009.
    pub message: usize,
    /// A ping is sent when nothing was heard for this long.
    pub ping_after: Duration,
    /// The peer is given up when nothing is heard for this long after a ping.
    pub pong_within: Duration,
    /// How long the peer has for its close frame after ours.
    pub close_within: Duration,
}

/// [`SessionLimits`] in half the room: times in milliseconds, at least 1, at most 49 days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) message: usize,
    pub(super) ping_after: u32,
    pub(super) pong_within: u32,
    pub(super) close_within: u32,
}

impl From<SessionLimits> for Limits {
    fn from(limits: SessionLimits) -> Self {
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
        Self {
            message: limits.message,
            ping_after: millis(limits.ping_after),
            pong_within: millis(limits.pong_within),
            close_within: millis(limits.close_within),
        }
    }
}
