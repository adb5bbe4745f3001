//! Reads the request of a handshake and holds it against the rules (RFC 9112 for the syntax, RFC 6455 §4.2.1).
//!
//! [pure] httparse, as in tungstenite, takes the head apart; what it lets pass and should not (bare line ends, more than
//! one host, bodies, targets) is refused here. Each refusal says what is wrong and what would be right. Called through
//! `handshake`.

use memchr::{memchr2_iter, memmem};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::handshake::{Refusal, Upgrade};
use super::negotiate::negotiate;

/// The longest request head, to the empty line that ends it.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// The most header lines of a request.
pub const MAX_HEADERS: usize = 100;

/// Reads a request at the front of `input`; `None` if it is not complete.
///
/// Returns also how many bytes it took: what follows are frames. Cheap to call again after each read, since nothing but
/// line ends is looked for until the request is complete; what can be no request is refused before that.
pub fn parse(input: &[u8]) -> Result<Option<(Upgrade, usize)>, Refusal> {
    // RFC 9112 §2.2: empty lines before the request line are ignored.
    let mut start = 0_usize;
    while input
        .get(start..)
        .is_some_and(|rest| rest.starts_with(b"\r\n"))
    {
        start = start.saturating_add(2);
    }
    let rest = input.get(start..).unwrap_or_default();
    let end = memmem::find(rest, b"\r\n\r\n").map(|at| at.saturating_add(4));
    let head = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    let size = start.saturating_add(head.len());
    if size > MAX_REQUEST_BYTES {
        return Err(Refusal::new(
            431,
            "the request is too large: at most 16 KiB to the empty line that ends it",
        ));
    }
    check_line_ends(head)?;
    if end.is_none() {
        return match head.first() {
            None | Some(b'\r') => Ok(None),
            Some(&first) if is_token(&[first]) => Ok(None),
            Some(_) => Err(bad("this is not HTTP: a request begins with a method")),
        };
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the request line is not complete")),
        Err(error) => return Err(refuse_syntax(error, head)),
    }
    check(&request).map(|upgrade| Some((upgrade, size)))
}

/// Whether `text` is a token (RFC 9110 §5.6.2): a method, a header's name, a subprotocol.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Whether `text` may stand in a header as a value: no control characters but the tab.
pub(super) fn is_value(text: &[u8]) -> bool {
    text.iter().all(|&b| b == b'\t' || b >= b' ' && b != 0x7f)
}

fn bad(text: &'static str) -> Refusal {
    Refusal::new(400, text)
}

fn needs_upgrade(text: &'static str) -> Refusal {
    Refusal::new(426, text)
        .with("Upgrade", "websocket")
        .with("Sec-WebSocket-Version", "13")
}

/// Refuses line feeds and carriage returns that stand alone: others in the chain may see a line end there, or none.
fn check_line_ends(head: &[u8]) -> Result<(), Refusal> {
    for at in memchr2_iter(b'\r', b'\n', head) {
        let before = at.checked_sub(1).and_then(|i| head.get(i));
        let after = head.get(at.saturating_add(1));
        match head.get(at) {
            Some(b'\n') if before != Some(&b'\r') => {
                return Err(bad(
                    "a line feed without a carriage return: lines end in CR LF",
                ));
            }
            Some(b'\r') if after.is_some_and(|&b| b != b'\n') => {
                return Err(bad(
                    "a carriage return without a line feed: lines end in CR LF",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse_syntax(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(431, "too many headers: at most 100"),
        httparse::Error::HeaderName => bad(
            "a header line is not \"Name: value\": no spaces in or after the name, none before it",
        ),
        httparse::Error::HeaderValue => bad("a header's value contains control characters"),
        httparse::Error::Version if names_version(head) => refuse_version(),
        _ => bad("the request line is not \"GET target HTTP/1.1\""),
    }
}

/// Whether the first line is a method, a target and a version of HTTP, whichever.
fn names_version(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ').skip(2);
    let version = words.next().and_then(|word| word.strip_prefix(b"HTTP/"));
    matches!(version, Some([b'0'..=b'9', ..])) && words.next().is_none()
}

fn refuse_version() -> Refusal {
    Refusal::new(
        505,
        "a WebSocket is opened by HTTP/1.1 (a proxy may need to be told: nginx's is proxy_http_version)",
    )
}

fn check(request: &httparse::Request<'_, '_>) -> Result<Upgrade, Refusal> {
    if request.version != Some(1) {
        return Err(refuse_version());
    }
    if request.method != Some("GET") {
        return Err(Refusal::new(405, "a WebSocket is opened by GET").with("Allow", "GET"));
    }
    let headers = Headers(request.headers);
    let host = headers.one("host", "exactly one Host header is needed")?;
    let host = host.ok_or_else(|| bad("exactly one Host header is needed"))?;
    if !is_authority(host) {
        return Err(bad("the Host header is not \"host\" or \"host:port\""));
    }
    let target = Target::parse(request.path.unwrap_or_default())?;
    check_no_body(&headers)?;
    check_upgrade(&headers)?;
    let key = headers
        .one(
            "sec-websocket-key",
            "more than one Sec-WebSocket-Key header",
        )?
        .filter(|key| is_key(key))
        .ok_or_else(|| bad("Sec-WebSocket-Key must be 16 bytes in Base64"))?;
    let origin = headers.one("origin", "more than one Origin header")?;
    if origin.is_some_and(|o| !o.iter().all(u8::is_ascii_graphic)) {
        return Err(bad(
            "the Origin header is not an origin: visible ASCII characters only",
        ));
    }
    Ok(Upgrade {
        path: target.path.to_owned(),
        query: target.query.to_owned(),
        protocols: protocols(&headers)?,
        accept: derive_accept_key(key),
        deflate: negotiate(headers.all("sec-websocket-extensions")).map_err(|_| {
            bad("Sec-WebSocket-Extensions must be a list of extensions, each a token with \"; name\" or \"; name=value\" behind it")
        })?,
        headers: headers.to_owned(target.authority),
    })
}

fn check_no_body(headers: &Headers<'_>) -> Result<(), Refusal> {
    if headers.all("transfer-encoding").next().is_some()
        || headers.all("content-length").any(|length| length != b"0")
    {
        return Err(bad(
            "a handshake has no body: no Transfer-Encoding, no Content-Length but 0",
        ));
    }
    Ok(())
}

fn check_upgrade(headers: &Headers<'_>) -> Result<(), Refusal> {
    if !headers
        .list("upgrade")
        .any(|p| p.eq_ignore_ascii_case(b"websocket"))
    {
        return Err(needs_upgrade(
            "this is a WebSocket endpoint: open it with a WebSocket client (the Upgrade header must be \"websocket\")",
        ));
    }
    if !headers
        .list("connection")
        .any(|o| o.eq_ignore_ascii_case(b"upgrade"))
    {
        return Err(bad(
            "the Connection header must contain \"Upgrade\" (a proxy may need to be told to pass it on)",
        ));
    }
    match headers.one(
        "sec-websocket-version",
        "more than one Sec-WebSocket-Version header",
    )? {
        Some(b"13") => Ok(()),
        _ => Err(needs_upgrade("Sec-WebSocket-Version must be 13")),
    }
}

fn protocols(headers: &Headers<'_>) -> Result<Vec<String>, Refusal> {
    let mut protocols: Vec<String> = Vec::new();
    for protocol in headers.list("sec-websocket-protocol") {
        let text = std::str::from_utf8(protocol)
            .ok()
            .filter(|_| is_token(protocol));
        let Some(text) = text else {
            return Err(bad(
                "Sec-WebSocket-Protocol must be a list of tokens: letters, digits and !#$%&'*+-.^_`|~, with commas between",
            ));
        };
        if !protocols.iter().any(|p| p == text) {
            protocols.push(text.to_owned());
        }
    }
    Ok(protocols)
}

/// `host` or `host:port` as far as characters go (RFC 3986 §3.2); empty is allowed in a Host header.
fn is_authority(text: &[u8]) -> bool {
    text.iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(b))
}

/// Whether `key` is 16 bytes in Base64: 22 digits and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.strip_suffix(b"==").is_some_and(|digits| {
            digits
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"+/".contains(b))
        })
}

/// Where a request goes.
struct Target<'a> {
    /// Only in an absolute target; it then stands for the Host header.
    authority: Option<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Target<'a> {
    /// Takes the origin form, `/path?query`, and the absolute form, `http://host/path?query` (RFC 9112 §3.2).
    fn parse(target: &'a str) -> Result<Self, Refusal> {
        if !target.is_ascii() {
            return Err(bad(
                "the request target is not ASCII: other characters are percent-encoded",
            ));
        }
        if target.contains('#') {
            return Err(bad(
                "the request target contains \"#\": a fragment is not sent",
            ));
        }
        let (authority, rest) = if target.starts_with('/') {
            (None, target)
        } else {
            let (scheme, rest) = target.split_once("://").unwrap_or_default();
            let known = ["http", "https", "ws", "wss"]
                .iter()
                .any(|s| s.eq_ignore_ascii_case(scheme));
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if !known || authority.is_empty() || !is_authority(authority.as_bytes()) {
                return Err(bad("the request target must begin with \"/\""));
            }
            (Some(authority), rest)
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Self {
            authority,
            path: if path.is_empty() { "/" } else { path },
            query,
        })
    }
}

/// The headers as they came.
struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// A header that may stand there once; `twice` says so.
    fn one(&self, name: &str, twice: &'static str) -> Result<Option<&'a [u8]>, Refusal> {
        let mut all = self.all(name);
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(_) => Err(bad(twice)),
        }
    }

    /// The elements of all lists under that name; empty ones don't count (RFC 9110 §5.6.1).
    fn list(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|&b| b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    /// For keeping: names in lower case, and `host` in the place of what the Host header says (RFC 9112 §3.2.2).
    fn to_owned(&self, host: Option<&str>) -> Vec<(String, Vec<u8>)> {
        self.0
            .iter()
            .map(|header| {
                let name = header.name.to_ascii_lowercase();
                let value = match host {
                    Some(host) if name == "host" => host.as_bytes(),
                    _ => header.value,
                };
                (name, value.to_vec())
            })
            .collect()
    }
}
