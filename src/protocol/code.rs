//! The catalogue of error codes.
//!
//! [pure] What a client can do about each stands beside it; the manual's page on `wsd.v1` says the same.

/// Why a command was not carried out. The connection stays in every case.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Code {
    /// Against the rules for channel names.
    BadChannel,
    /// No JSON object, a field missing or of a wrong type.
    BadRequest,
    /// A hook refused the message.
    Dropped,
    /// A fault of wsd's or of the operator's scripts.
    Internal,
    /// The channel or the command is not for this connection.
    NotAllowed,
    /// The command needs a subscription that is not there.
    NotSubscribed,
    /// Over a limit.
    TooMany,
    /// The broker is away, or what would have handled it.
    Unavailable,
    /// No such command.
    UnknownType,
}

impl Code {
    /// Every code, in alphabetical order.
    pub const ALL: [Self; 9] = [
        Self::BadChannel,
        Self::BadRequest,
        Self::Dropped,
        Self::Internal,
        Self::NotAllowed,
        Self::NotSubscribed,
        Self::TooMany,
        Self::Unavailable,
        Self::UnknownType,
    ];

    /// As it stands in `"code"`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadChannel => "bad_channel",
            Self::BadRequest => "bad_request",
            Self::Dropped => "dropped",
            Self::Internal => "internal",
            Self::NotAllowed => "not_allowed",
            Self::NotSubscribed => "not_subscribed",
            Self::TooMany => "too_many",
            Self::Unavailable => "unavailable",
            Self::UnknownType => "unknown_type",
        }
    }

    /// Whether the same command can succeed a little later.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::TooMany | Self::Unavailable)
    }
}
