//! Why a link to Redis broke or could not be made.
//!
//! Each is the text that stands in the journal behind `broker lost:` and the address. All of them are answered in the
//! same way: by another try.

use std::io;
use std::time::Duration;

use super::resp::RespError;
use super::text;
use crate::config::Host;
use crate::tls;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// An orderly end: Redis stops, or somebody killed the link there.
    #[error("closed by Redis")]
    Closed,
    /// Its sentinels have made another one the master.
    #[error("the master is {0} now")]
    Moved(Host),
    /// Of the socket.
    #[error("{}", text::io_error(.0))]
    Io(io::Error),
    /// Something else than Redis talks there, or too much.
    #[error("{0}")]
    Protocol(RespError),
    /// An answer that was no answer to what was asked.
    #[error("Redis answered something else than what was asked")]
    Puzzled,
    /// Redis does not do what was asked.
    #[error("{0}")]
    Refused(String),
    /// What each of the sentinels, or of the masters that they named, said.
    #[error("{0}")]
    Sentinel(String),
    /// No sign of life.
    #[error("no answer for {}", text::duration(*.0))]
    Silent(Duration),
    /// Its certificate is not the right one, or it speaks no TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// It took too long to get there.
    #[error("no connection within {}", text::duration(*.0))]
    Slow(Duration),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
        match error.kind() {
            _ if tls.is_some() => Self::Tls(tls.map_or_else(String::new, tls::explain)),
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl From<RespError> for LinkError {
    fn from(error: RespError) -> Self {
        Self::Protocol(error)
    }
}

impl LinkError {
    /// From an error that Redis sent: says what to do where the code tells.
    pub(super) fn refused(error: &[u8]) -> Self {
        let said = text::from_redis(error);
        let advice = match code(error) {
            b"WRONGPASS" => "broker.username and broker.password are not accepted",
            b"NOAUTH" => "Redis wants a password; set broker.password",
            b"NOPERM" => {
                "the Redis user may not do that; it needs +subscribe, +unsubscribe, +publish, +ping, +hello, +select, +client|setname, with sentinels +role, and its channels"
            }
            b"LOADING" => "Redis is still loading its data",
            b"READONLY" => "that Redis is a replica; broker.url must name the master",
            b"MASTERDOWN" => "that Redis is a replica whose master is away",
            b"MOVED" | b"CROSSSLOT" | b"CLUSTERDOWN" => "that Redis is part of a cluster",
            b"DENIED" => {
                "Redis runs in protected mode; it must be given a password or bind to this network"
            }
            _ => return Self::Refused(format!("Redis answered \"{said}\"")),
        };
        Self::Refused(format!("{advice}: \"{said}\""))
    }
}

/// The word that an error of Redis begins with.
pub(super) fn code(error: &[u8]) -> &[u8] {
    error.split(|byte| *byte == b' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let text = |error: &[u8]| LinkError::refused(error).to_string();
        assert_eq!(
            text(b"WRONGPASS invalid username-password pair or user is disabled."),
            "broker.username and broker.password are not accepted: \"WRONGPASS invalid username-password pair or user is disabled.\""
        );
        assert_eq!(text(b"ERR odd"), "Redis answered \"ERR odd\"");
        let reset = LinkError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(reset.to_string(), "connection reset");
        let silent = LinkError::Silent(Duration::from_secs(3));
        assert_eq!(silent.to_string(), "no answer for 3 s");
    }
}
