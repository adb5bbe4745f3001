//! The opening handshake: what a request to open a WebSocket is, and the bytes of the answers.
//!
//! [pure] [`parse`] reads a request (`request` holds its rules); the owner, `worker/conn.rs`, decides whether it is let in
//! and answers with [`accept`] or with [`Refusal::encode`]. No answer can carry a line that its author did not mean:
//! names, values and protocols are checked where they are written.

use std::borrow::Cow;

use tokio_tungstenite::tungstenite::http::StatusCode;

use super::negotiate::Agreement;
pub use super::request::{MAX_HEADERS, MAX_REQUEST_BYTES, parse};
use super::request::{is_token, is_value};

/// A request to open a WebSocket (RFC 6455 §4.2.1), checked.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// Before the `?`, percent-encoded as it came; begins with `/`.
    pub path: String,
    /// After the `?`; empty if there is none.
    pub query: String,
    /// In order; names in lower case, values as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The subprotocols that were offered, in order.
    pub protocols: Vec<String>,
    /// The value of `Sec-WebSocket-Accept` in the answer.
    pub accept: String,
    /// What can be agreed on permessage-deflate; `None` if the client offers none that can.
    pub deflate: Option<Agreement>,
}

impl Upgrade {
    /// The value of the first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The origin that a browser names; `None` if the client sent none.
    ///
    /// [`parse`] lets at most one pass, of visible ASCII.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        // What is no text must not pass for a request without an origin.
        self.header("origin")
            .map(|value| std::str::from_utf8(value).unwrap_or("null"))
    }
}

/// A handshake that is answered with an HTTP error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// 300 to 599.
    pub status: u16,
    /// The body, plain text.
    pub text: Cow<'static, str>,
    /// Besides those that every answer has.
    pub headers: Vec<(String, String)>,
}

impl Refusal {
    /// A refusal without further headers.
    #[must_use]
    pub fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            headers: Vec::new(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Appends the answer, after which the connection is to be closed.
    ///
    /// A status outside 300 to 599 goes as 500. A header is left out if it is not written as HTTP wants it, or if it would
    /// contradict the frame of the answer (`Connection`, `Content-Length`, `Transfer-Encoding` …); `Content-Type` replaces
    /// ours.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let status = match self.status {
            300..=599 => self.status,
            _ => 500,
        };
        let phrase = StatusCode::from_u16(status)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or("Refused");
        let has = |name: &str| {
            self.headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name))
        };
        line(out, &["HTTP/1.1 ", &status.to_string(), " ", phrase]);
        // RFC 9110 §7.8: who sends Upgrade names it in Connection.
        let upgrade = if has("upgrade") { ", Upgrade" } else { "" };
        line(out, &["Connection: close", upgrade]);
        line(out, &["Content-Length: ", &self.text.len().to_string()]);
        if !self.headers.iter().any(is_content_type) {
            line(out, &["Content-Type: text/plain; charset=utf-8"]);
        }
        for (name, value) in self.headers.iter().filter(|h| is_writable(h)) {
            line(out, &[name, ": ", value]);
        }
        line(out, &[]);
        out.extend_from_slice(self.text.as_bytes());
    }
}

/// Appends the 101. `protocol` is named in it only if the client offered it: a client must fail on any other. `deflate` is
/// what was offered, or nothing.
pub fn accept(
    upgrade: &Upgrade,
    protocol: Option<&str>,
    deflate: Option<Agreement>,
    out: &mut Vec<u8>,
) {
    line(out, &["HTTP/1.1 101 Switching Protocols"]);
    line(out, &["Upgrade: websocket"]);
    line(out, &["Connection: Upgrade"]);
    line(out, &["Sec-WebSocket-Accept: ", &upgrade.accept]);
    let offered =
        |name: &&str| is_token(name.as_bytes()) && upgrade.protocols.iter().any(|p| p == name);
    if let Some(protocol) = protocol.filter(offered) {
        line(out, &["Sec-WebSocket-Protocol: ", protocol]);
    }
    if let Some(deflate) = deflate {
        line(out, &["Sec-WebSocket-Extensions: ", &deflate.answer()]);
    }
    line(out, &[]);
}

fn line(out: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn is_writable(header: &(String, String)) -> bool {
    const OURS: [&str; 6] = [
        "connection",
        "content-length",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
    ];
    let (name, value) = header;
    is_token(name.as_bytes())
        && is_value(value.as_bytes())
        && !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

fn is_content_type(header: &(String, String)) -> bool {
    header.0.eq_ignore_ascii_case("content-type") && is_writable(header)
}
