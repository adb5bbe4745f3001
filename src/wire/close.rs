//! How a connection ends: close codes, the content of close frames, and what a peer can do wrong.
//!
//! [pure] Says which codes may be received and sent (RFC 6455 §7.4), reads and writes the body of a close frame, and holds
//! the list of protocol errors with the code and the fixed reason that each is answered with. It never decides when to
//! close: `session` and its owner do.

use bytes::Bytes;

use super::frame::{self, Opcode};
use crate::types::Close;

/// What a peer did wrong on the wire. Owns nothing: a flood of bad frames allocates nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProtocolError {
    /// A close code that may not be sent, or that nobody has defined.
    #[error("close code not allowed")]
    CloseCode,
    /// A close body of one byte: too short for a code.
    #[error("close body of one byte")]
    CloseTooShort,
    /// More than 125 bytes in a control frame.
    #[error("control frame too long")]
    ControlTooLong,
    /// A compressed message that is no DEFLATE stream, or not all of one.
    #[error("message is not DEFLATE data")]
    Deflate,
    /// A control frame without FIN.
    #[error("fragmented control frame")]
    FragmentedControl,
    /// A text or binary frame while a fragmented message was not finished.
    #[error("message inside a message")]
    Interleaved,
    /// A length in more bytes than it needs, or with its highest bit set.
    #[error("length badly encoded")]
    Length,
    /// A masked frame from a server.
    #[error("masked frame")]
    Masked,
    /// A reason that is not UTF-8.
    #[error("close reason is not UTF-8")]
    ReasonNotUtf8,
    /// RSV1, RSV2 or RSV3 without an extension that gives it a meaning.
    #[error("reserved bits set")]
    ReservedBits,
    /// A text message that is not UTF-8.
    #[error("text is not UTF-8")]
    TextNotUtf8,
    /// A message over the limit.
    #[error("message too big")]
    TooBig,
    /// A continuation frame with nothing to continue.
    #[error("unexpected continuation")]
    UnexpectedContinuation,
    /// Opcode 3 to 7 or 11 to 15.
    #[error("unknown opcode")]
    UnknownOpcode,
    /// An unmasked frame from a client.
    #[error("unmasked frame")]
    Unmasked,
}

impl ProtocolError {
    /// What the peer is told.
    #[must_use]
    pub const fn close(self) -> Close {
        match self {
            Self::CloseCode => Close::new(1002, "close code not allowed"),
            Self::CloseTooShort => Close::new(1002, "close body of one byte"),
            Self::ControlTooLong => Close::new(1002, "control frame too long"),
            Self::Deflate => Close::new(1007, "message is not DEFLATE data"),
            Self::FragmentedControl => Close::new(1002, "fragmented control frame"),
            Self::Interleaved => Close::new(1002, "message inside a message"),
            Self::Length => Close::new(1002, "length badly encoded"),
            Self::Masked => Close::new(1002, "masked frame"),
            Self::ReasonNotUtf8 => Close::new(1007, "close reason is not UTF-8"),
            Self::ReservedBits => Close::new(1002, "reserved bits set"),
            Self::TextNotUtf8 => Close::new(1007, "text is not UTF-8"),
            Self::TooBig => Close::new(1009, "message too big"),
            Self::UnexpectedContinuation => Close::new(1002, "unexpected continuation"),
            Self::UnknownOpcode => Close::new(1002, "unknown opcode"),
            Self::Unmasked => Close::new(1002, "unmasked frame"),
        }
    }
}

/// What a close frame without a code is reported as; never sent (RFC 6455 §7.4.1).
pub const NO_CODE: Close = Close::new(1005, "");

// RFC 6455 §5.5: control frames carry at most 125 bytes, of which the code takes two.
/// The longest reason in bytes.
pub const MAX_REASON_BYTES: usize = 123;

/// Whether a code may stand in a close frame, in either direction.
///
/// RFC 6455 §7.4 with IANA's list: 1004 is undefined, 1005, 1006 and 1015 are for reports only, 1016 to 2999 are not
/// given out; 3000 to 4999 are for libraries and applications.
#[must_use]
pub const fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Reads the body of a close frame; an empty one is [`NO_CODE`].
pub fn parse(body: &[u8]) -> Result<Close, ProtocolError> {
    let (high, low, reason) = match body {
        [] => return Ok(NO_CODE),
        [_] => return Err(ProtocolError::CloseTooShort),
        [high, low, reason @ ..] => (*high, *low, reason),
    };
    let code = u16::from_be_bytes([high, low]);
    if !is_sendable(code) {
        return Err(ProtocolError::CloseCode);
    }
    let reason = simdutf8::basic::from_utf8(reason).map_err(|_| ProtocolError::ReasonNotUtf8)?;
    Ok(Close {
        code,
        reason: reason.to_owned().into(),
    })
}

/// A close frame. A code that may not be sent gives one without a code; a long reason is cut.
#[must_use]
pub fn encode(close: &Close) -> Bytes {
    if !is_sendable(close.code) {
        return frame::encode_control(Opcode::Close, &[]);
    }
    let mut body = Vec::with_capacity(125);
    body.extend_from_slice(&close.code.to_be_bytes());
    body.extend_from_slice(cut(&close.reason).as_bytes());
    frame::encode_control(Opcode::Close, &body)
}

/// The longest beginning of a reason that fits, ended between two characters.
#[must_use]
pub fn cut(reason: &str) -> &str {
    reason
        .get(..reason.floor_char_boundary(MAX_REASON_BYTES))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_mean_something_are_received() {
        for code in 0..=u16::MAX {
            let body = code.to_be_bytes();
            let allowed = (1000..1016).contains(&code) && !matches!(code, 1004..=1006 | 1015)
                || (3000..5000).contains(&code);
            match parse(&body) {
                Ok(close) => assert!(allowed && close.code == code, "{code}"),
                Err(error) => assert!(!allowed && error == ProtocolError::CloseCode, "{code}"),
            }
        }
    }

    #[test]
    fn bodies_are_checked() {
        assert_eq!(parse(b""), Ok(NO_CODE));
        assert_eq!(parse(b"\x03"), Err(ProtocolError::CloseTooShort));
        assert_eq!(parse(b"\x03\xe8bye"), Ok(Close::new(1000, "bye")));
        assert_eq!(
            parse(b"\x03\xe8\xff").map_err(ProtocolError::close),
            Err(Close::new(1007, "close reason is not UTF-8"))
        );
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        assert_eq!(cut(&"a".repeat(123)).len(), 123);
        assert_eq!(cut(&"a".repeat(124)).len(), 123);
        // 61 characters of two bytes are 122 bytes; the next would end at 124.
        assert_eq!(cut(&"é".repeat(100)), "é".repeat(61));
        let frame = encode(&Close {
            code: 4000,
            reason: "€".repeat(90).into(),
        });
        assert_eq!(&frame[..2], [0x88, 2 + 123]);
        assert_eq!(parse(&frame[2..]).unwrap().reason, "€".repeat(41));
    }

    #[test]
    fn codes_that_are_never_sent_give_an_empty_close() {
        for close in [
            NO_CODE,
            Close::LOST,
            Close::new(0, "x"),
            Close::new(1015, "x"),
        ] {
            assert_eq!(&encode(&close)[..], [0x88, 0]);
        }
    }

    #[test]
    fn the_text_of_an_error_is_the_reason_that_the_peer_reads() {
        use ProtocolError as E;
        for error in [
            E::CloseCode,
            E::CloseTooShort,
            E::ControlTooLong,
            E::FragmentedControl,
            E::Interleaved,
            E::Length,
            E::Masked,
            E::ReasonNotUtf8,
            E::ReservedBits,
            E::TextNotUtf8,
            E::TooBig,
            E::UnexpectedContinuation,
            E::UnknownOpcode,
            E::Unmasked,
        ] {
            assert_eq!(error.to_string(), error.close().reason);
            assert!(is_sendable(error.close().code));
        }
    }
}
