//! Which compression a connection gets: the grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1) and the rules for
//! permessage-deflate's parameters (RFC 7692 §7.1).
//!
//! [pure] [`negotiate`] reads what a client offers and gives the first offer that can be accepted; the owner decides
//! whether it is, and `handshake` writes the answer. A header that is not written as the grammar says fails the handshake;
//! an offer with a parameter that is unknown, doubled or has a wrong value is declined, as the RFC demands, and the next
//! one is looked at.
//!
//! # Why never with context takeover
//!
//! One compressed frame must serve all subscribers of a channel, and a quiet connection must not keep a window of 32 KiB
//! for each direction. Both hold only if every message is compressed for itself. So the answer always names
//! `server_no_context_takeover` and `client_no_context_takeover`, which a server may do whatever was offered. A window for
//! us that is smaller than 2^15 is agreed, and frames to that client go uncompressed, since the one frame may look back
//! further.

use std::borrow::Cow;
use std::num::NonZeroU8;

use super::request::is_token;

/// What a connection has agreed on permessage-deflate. A byte of plain data; what it does not say is always the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Agreement {
    /// `server_max_window_bits`, 8 to 15, where the client named it.
    server_window_bits: Option<NonZeroU8>,
}

/// `Sec-WebSocket-Extensions` does not follow its grammar: the handshake fails (RFC 6455 §9.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl Agreement {
    /// Whether frames to this client may be the compressed ones that all share, which need the whole window of 2^15.
    #[must_use]
    pub const fn takes_shared_frames(self) -> bool {
        match self.server_window_bits {
            None => true,
            Some(bits) => bits.get() == MOST_BITS,
        }
    }

    /// The `server_max_window_bits` that was agreed; `None` if the client named none.
    #[must_use]
    pub const fn server_window_bits(self) -> Option<u8> {
        match self.server_window_bits {
            None => None,
            Some(bits) => Some(bits.get()),
        }
    }

    /// An agreement that was written out as its [`Agreement::server_window_bits`]; `None` for what is no such number.
    #[must_use]
    pub fn from_server_window_bits(bits: Option<u8>) -> Option<Self> {
        let server_window_bits = match bits {
            None => None,
            Some(bits @ LEAST_BITS..=MOST_BITS) => NonZeroU8::new(bits),
            Some(_) => return None,
        };
        Some(Self { server_window_bits })
    }

    /// The value of `Sec-WebSocket-Extensions` in the answer.
    #[must_use]
    pub fn answer(self) -> Cow<'static, str> {
        const TAKEOVER: &str =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        match self.server_window_bits {
            None => Cow::Borrowed(TAKEOVER),
            Some(bits) => Cow::Owned(format!("{TAKEOVER}; server_max_window_bits={bits}")),
        }
    }
}

// RFC 7692 §7.1.2: the base-2 logarithm of the window, 8 to 15.
const LEAST_BITS: u8 = 8;
const MOST_BITS: u8 = 15;

/// The first offer of permessage-deflate in these header values that can be accepted; other extensions are declined.
///
/// Several values are one list (RFC 6455 §9.1). A value without any element says nothing.
pub fn negotiate<'a>(
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<Agreement>, Malformed> {
    let mut agreed = None;
    for value in values {
        let mut text = Text(value);
        // RFC 9110 §5.6.1: empty elements of a list are ignored.
        while text.skip_to_element() {
            let offer = text.offer()?;
            agreed = agreed.or(offer);
            text.skip_space();
            if !text.0.is_empty() && !text.take(b',') {
                return Err(Malformed);
            }
        }
    }
    Ok(agreed)
}

/// What the parameters of one offer have said so far.
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: bool,
}

impl Offer {
    /// Takes a parameter; false if the offer must be declined for it (RFC 7692 §7.1).
    fn take(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        // What the client's window is does not matter: ours takes any, so it need not be answered.
        let bits = value.map(window_bits);
        match (name, value) {
            (b"server_no_context_takeover", None) => set(&mut self.server_no_context_takeover),
            (b"client_no_context_takeover", None) => set(&mut self.client_no_context_takeover),
            (b"server_max_window_bits", Some(_)) => {
                let first = self.server_max_window_bits.is_none();
                self.server_max_window_bits = bits.flatten();
                first && self.server_max_window_bits.is_some()
            }
            (b"client_max_window_bits", _) => {
                bits != Some(None) && set(&mut self.client_max_window_bits)
            }
            _ => false,
        }
    }
}

/// Sets it; false if it was set before.
fn set(seen: &mut bool) -> bool {
    !std::mem::replace(seen, true)
}

/// A decimal number from 8 to 15 without leading zeros.
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit.wrapping_sub(b'0')),
        [b'1', digit @ b'0'..=b'5'] => Some(digit.wrapping_sub(b'0').wrapping_add(10)),
        _ => None,
    }
}

/// What of a header's value is still to be read.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// `extension = extension-token *( ";" extension-param )`: the agreement that it can become.
    fn offer(&mut self) -> Result<Option<Agreement>, Malformed> {
        let name = self.token()?;
        let mut offer = Offer::default();
        let mut acceptable = name == b"permessage-deflate";
        loop {
            self.skip_space();
            if !self.take(b';') {
                break;
            }
            self.skip_space();
            let name = self.token()?;
            self.skip_space();
            let value = if self.take(b'=') {
                self.skip_space();
                Some(self.value()?)
            } else {
                None
            };
            acceptable &= offer.take(name, value.as_deref());
        }
        Ok(acceptable.then(|| Agreement {
            server_window_bits: offer.server_max_window_bits.and_then(NonZeroU8::new),
        }))
    }

    /// A token, or a quoted string whose content is one (RFC 6455 §9.1).
    fn value(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        if !self.take(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut content = Vec::new();
        loop {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first().ok_or(Malformed)?;
                    self.0 = rest;
                    content.push(escaped);
                }
                _ => content.push(byte),
            }
        }
        if is_token(&content) {
            Ok(Cow::Owned(content))
        } else {
            Err(Malformed)
        }
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.0.iter().take_while(|&&b| is_token(&[b])).count();
        let (token, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        if token.is_empty() {
            Err(Malformed)
        } else {
            Ok(token)
        }
    }

    /// Skips what is between two elements of a list; false at the end.
    fn skip_to_element(&mut self) -> bool {
        loop {
            self.skip_space();
            if !self.take(b',') {
                return !self.0.is_empty();
            }
        }
    }

    fn skip_space(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }
}
