//! Reads Redis' protocol off the subscriber link: RESP3's pushes, and the arrays of RESP2 where HELLO is not known.
//!
//! [pure] Knows only what a subscriber needs and skips everything else. `subscriber.rs` calls [`read`] on what its buffer
//! holds until a reply is cut; replies are slices of that buffer. It keeps no state: a cut reply is read again from its
//! first byte when more has come, which costs a few length fields, since payloads are stepped over, not looked at. So
//! cutting the input anywhere cannot change what is read.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// The most bytes of one reply. Redis allows 512 MiB; nothing that goes to browsers is that big, and the link has to
/// hold all of it before it can be delivered.
pub(super) const MAX_REPLY: usize = 64 << 20;
/// The most bytes of a line: an error text or a number.
const MAX_LINE: usize = 64 << 10;
/// The most values in one reply. HELLO's answer has about 15, and 8 for each module of the server.
const MAX_VALUES: usize = 4096;
/// How deep values may be nested. HELLO's answer has 4 levels.
const MAX_DEPTH: usize = 8;

/// Something that Redis said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reply<'a> {
    /// A command was refused: its code and text.
    Error(&'a [u8]),
    /// Something was published on a channel.
    Message {
        /// As it is called in Redis, with the prefix.
        channel: &'a [u8],
        /// As it was published.
        payload: &'a [u8],
    },
    /// PING's answer.
    Pong,
    /// A channel is subscribed.
    Subscribed(&'a [u8]),
    /// A channel is not subscribed any more.
    Unsubscribed(&'a [u8]),
    /// Any other value: the answer to HELLO, AUTH or CLIENT.
    Value,
}

/// Why this cannot be Redis talking, or not to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum RespError {
    /// Not the protocol.
    #[error("what came is not Redis' protocol: {0}")]
    Malformed(&'static str),
    /// Over [`MAX_REPLY`].
    #[error("a message of more than 64 MiB came; wsd takes at most that")]
    TooBig,
}

/// Takes the first reply off `input`: the reply and its length in bytes, or `None` if it has not come completely.
pub(super) fn read(input: &[u8]) -> Result<Option<(Reply<'_>, usize)>, RespError> {
    let mut cursor = Cursor {
        rest: input,
        values: 0,
    };
    match cursor.reply() {
        Ok(reply) => Ok(Some((reply, input.len().saturating_sub(cursor.rest.len())))),
        Err(Stop::Cut) if input.len() > MAX_REPLY => Err(RespError::TooBig),
        Err(Stop::Cut) => Ok(None),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}

/// Why reading stopped before the end of the reply.
enum Stop {
    Cut,
    Fault(RespError),
}

impl Stop {
    const fn malformed(why: &'static str) -> Self {
        Self::Fault(RespError::Malformed(why))
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Cursor<'a> {
    fn reply(&mut self) -> Result<Reply<'a>, Stop> {
        loop {
            return match self.byte()? {
                b'>' | b'*' => {
                    let count = self.count()?;
                    self.push(count)
                }
                b'+' => match self.line()? {
                    b"PONG" => Ok(Reply::Pong),
                    _ => Ok(Reply::Value),
                },
                b'-' => Ok(Reply::Error(self.line()?)),
                b'!' => Ok(Reply::Error(self.bulk_body()?.unwrap_or_default())),
                // An attribute says something about the reply that follows it. It counts as a value, so that there is
                // an end of them.
                b'|' => {
                    self.values = self.values.saturating_add(1);
                    let count = self.count()?.saturating_mul(2);
                    self.skip_values(count, 1)?;
                    continue;
                }
                kind => {
                    self.skip_rest(kind, 0)?;
                    Ok(Reply::Value)
                }
            };
        }
    }

    /// What follows the head of a push, or of an array, which is RESP2's push.
    fn push(&mut self, count: usize) -> Result<Reply<'a>, Stop> {
        if count == 0 || self.peek()? != b'$' {
            self.skip_values(count, 1)?;
            return Ok(Reply::Value);
        }
        let kind = self.bulk()?;
        match (kind, count) {
            (b"message", 3) => {
                let channel = self.bulk()?;
                let payload = self.bulk()?;
                Ok(Reply::Message { channel, payload })
            }
            (b"subscribe", 3) => {
                let channel = self.bulk()?;
                self.skip_values(1, 1)?;
                Ok(Reply::Subscribed(channel))
            }
            (b"unsubscribe", 3) => {
                let channel = self.bulk()?;
                self.skip_values(1, 1)?;
                Ok(Reply::Unsubscribed(channel))
            }
            (b"pong", 2) => {
                self.skip_values(1, 1)?;
                Ok(Reply::Pong)
            }
            _ => {
                self.skip_values(count.saturating_sub(1), 1)?;
                Ok(Reply::Value)
            }
        }
    }

    fn skip_values(&mut self, count: usize, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::malformed("values are nested too deeply"));
        }
        self.values = self.values.saturating_add(count);
        if self.values > MAX_VALUES {
            return Err(Stop::malformed("too many values in one reply"));
        }
        for _ in 0..count {
            let kind = self.byte()?;
            self.skip_rest(kind, depth)?;
        }
        Ok(())
    }

    /// Skips the rest of a value whose first byte is `kind`.
    fn skip_rest(&mut self, kind: u8, depth: usize) -> Result<(), Stop> {
        let deeper = depth.saturating_add(1);
        match kind {
            b'$' | b'=' | b'!' => self.bulk_body().map(|_| ()),
            b'*' | b'~' | b'>' => {
                let count = self.count()?;
                self.skip_values(count, deeper)
            }
            b'%' => {
                let count = self.count()?.saturating_mul(2);
                self.skip_values(count, deeper)
            }
            b'|' => {
                let count = self.count()?.saturating_mul(2);
                self.skip_values(count.saturating_add(1), deeper)
            }
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => self.line().map(|_| ()),
            _ => Err(Stop::malformed("a value of an unknown type")),
        }
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.rest.first().copied().ok_or(Stop::Cut)
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (first, rest) = self.rest.split_first().ok_or(Stop::Cut)?;
        self.rest = rest;
        Ok(*first)
    }

    /// A string that is there.
    fn bulk(&mut self) -> Result<&'a [u8], Stop> {
        if self.byte()? != b'$' {
            return Err(Stop::malformed("a push without its strings"));
        }
        Ok(self.bulk_body()?.unwrap_or_default())
    }

    /// A string behind its type; `None` is null.
    fn bulk_body(&mut self) -> Result<Option<&'a [u8]>, Stop> {
        let Some(len) = self.length()? else {
            return Ok(None);
        };
        if len > MAX_REPLY {
            return Err(Stop::Fault(RespError::TooBig));
        }
        let (body, rest) = self.rest.split_at_checked(len).ok_or(Stop::Cut)?;
        self.rest = rest;
        self.line_end()?;
        Ok(Some(body))
    }

    /// How many values follow; null is none.
    fn count(&mut self) -> Result<usize, Stop> {
        let count = self.length()?.unwrap_or(0);
        if count > MAX_VALUES {
            return Err(Stop::malformed("too many values in one reply"));
        }
        Ok(count)
    }

    /// A number of bytes or values and its line end; `None` for -1.
    fn length(&mut self) -> Result<Option<usize>, Stop> {
        if self.peek()? == b'-' {
            return match self.line()? {
                b"-1" => Ok(None),
                _ => Err(Stop::malformed("a negative length")),
            };
        }
        let mut length = 0_usize;
        let mut digits = 0_usize;
        loop {
            let byte = self.byte()?;
            if byte == b'\r' && digits > 0 {
                break;
            }
            digits = digits.saturating_add(1);
            // 10 digits are enough for every length that is taken, and cannot overflow.
            if !byte.is_ascii_digit() || digits > 10 {
                return Err(Stop::malformed("a length that is no number"));
            }
            length = length
                .saturating_mul(10)
                .saturating_add(usize::from(byte & 0x0f));
        }
        if self.byte()? != b'\n' {
            return Err(Stop::malformed("a line without its end"));
        }
        Ok(Some(length))
    }

    /// The rest of a line without its end.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let Some(at) = memchr::memchr(b'\r', self.rest) else {
            return Err(if self.rest.len() > MAX_LINE {
                Stop::malformed("a line of more than 64 KiB")
            } else {
                Stop::Cut
            });
        };
        if at > MAX_LINE {
            return Err(Stop::malformed("a line of more than 64 KiB"));
        }
        let (line, rest) = self.rest.split_at_checked(at).ok_or(Stop::Cut)?;
        self.rest = rest;
        self.line_end()?;
        Ok(line)
    }

    fn line_end(&mut self) -> Result<(), Stop> {
        if self.byte()? == b'\r' && self.byte()? == b'\n' {
            Ok(())
        } else {
            Err(Stop::malformed("a value without its end"))
        }
    }
}

#[cfg(test)]
#[path = "resp_tests.rs"]
mod tests;
