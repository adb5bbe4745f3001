//! HTTP/1.1 as a client speaks it: requests byte by byte, answers taken apart. For handshakes and for the admin address.
//!
//! Knows nothing of WebSocket frames (`client.rs`) and never retries.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::DEADLINE;

/// The key of RFC 6455 §1.3, whose answer is known.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request that can be wrong in any way a test wants.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// What a browser sends to open a WebSocket there.
    pub(crate) fn websocket(target: &str) -> Self {
        Self::new("GET", target)
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", SAMPLE_KEY)
    }

    /// With a `Host` and nothing else.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            line: format!("{method} {target} HTTP/1.1"),
            headers: vec![("Host".into(), "localhost".into())],
            body: Vec::new(),
        }
    }

    /// With this header, in place of one of the same name.
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        let mut request = self.without(name);
        request.headers.push((name.into(), value.into()));
        request
    }

    /// With this header besides those that are there.
    pub(crate) fn also(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Without that header.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    /// With this body and its length.
    pub(crate) fn body(self, body: &[u8]) -> Self {
        let mut request = self.header("Content-Length", &body.len().to_string());
        request.body = body.to_vec();
        request
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it on a connection of its own and takes the answer.
    pub(crate) fn send(&self, address: SocketAddr) -> Answer {
        self.try_send(address)
            .unwrap_or_else(|error| panic!("{} to {address}: {error}", self.line))
    }

    /// The same where there may be nobody to answer.
    pub(crate) fn try_send(&self, address: SocketAddr) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(&self.clone().header("Connection", "close").bytes())?;
        let method = self.line.split(' ').next().unwrap_or_default();
        Answer::read_to(method, &mut stream, &mut Vec::new())
    }
}

/// What the server said to a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// 101, 404, …
    pub(crate) status: u16,
    /// In order, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Empty for a 101.
    pub(crate) body: String,
}

impl Answer {
    /// Reads one answer; what comes behind it is left in `buffer`.
    pub(crate) fn read(stream: &mut impl Read, buffer: &mut Vec<u8>) -> std::io::Result<Self> {
        Self::read_to("GET", stream, buffer)
    }

    /// The same to a request of that method: one to HEAD has no body, whatever it announces.
    fn read_to(
        method: &str,
        stream: &mut impl Read,
        buffer: &mut Vec<u8>,
    ) -> std::io::Result<Self> {
        let is_head = method == "HEAD";
        let end = Instant::now() + DEADLINE;
        let head_len = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if !more(stream, buffer, end)? {
                let what = format!(
                    "ended within the head: {:?}",
                    String::from_utf8_lossy(buffer)
                );
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what));
            }
        };
        let head = String::from_utf8(buffer.drain(..head_len).collect()).unwrap();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {status_line:?}"));
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Self {
            status,
            headers,
            body: String::new(),
        };
        if status != 101 && !is_head {
            let length = answer.header("content-length").map(|v| v.parse().unwrap());
            while length.is_none_or(|length: usize| buffer.len() < length) {
                if !more(stream, buffer, end)? {
                    break;
                }
            }
            let length = length.unwrap_or(buffer.len());
            assert!(buffer.len() >= length, "the body is shorter than announced");
            answer.body =
                String::from_utf8_lossy(&buffer.drain(..length).collect::<Vec<_>>()).into();
        }
        Ok(answer)
    }

    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads once; false at the end.
fn more(stream: &mut impl Read, buffer: &mut Vec<u8>, end: Instant) -> std::io::Result<bool> {
    if Instant::now() > end {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    let mut chunk = [0; 16 << 10];
    let n = stream.read(&mut chunk)?;
    buffer.extend_from_slice(&chunk[..n]);
    Ok(n > 0)
}
