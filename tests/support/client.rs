//! A raw WebSocket client over blocking sockets: whole messages for the usual case, any bytes for the unusual one.
//!
//! It has its own framing, so that a fault of the server's cannot hide behind the same fault here, and checks every frame
//! it gets: unmasked, no reserved bit but that of compression that was agreed, no unknown opcode. It answers nothing by
//! itself.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::http::{Answer, Request};

/// What the server sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Message {
    /// A binary message.
    Binary(Vec<u8>),
    /// A close frame; 1005 for one without a code.
    Close(u16, String),
    /// The end of the stream, orderly or not.
    End,
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A text message.
    Text(String),
}

impl Message {
    /// A text message.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The kinds of sockets that wsd listens on.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP with TLS.
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Stream {
    /// Over TCP.
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::Tcp(stream)
    }

    /// Over TCP, from another address of the loopback network.
    pub(crate) fn from(local: [u8; 4], address: SocketAddr) -> Self {
        let kind = socket2::Type::STREAM;
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), kind, None).unwrap();
        socket.bind(&SocketAddr::from((local, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        Self::Tcp(socket.into())
    }

    /// Over TCP with a small receive buffer, so that who does not read is soon felt.
    pub(crate) fn narrow(address: SocketAddr) -> Self {
        let kind = socket2::Type::STREAM;
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), kind, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::Tcp(socket.into())
    }

    /// Over TCP from that address, of which loopback has 16 million.
    pub(crate) fn tcp_from(source: IpAddr, address: SocketAddr) -> Self {
        let kind = socket2::Type::STREAM;
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), kind, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::Tcp(socket.into())
    }

    /// Over a Unix socket.
    pub(crate) fn unix(path: &Path) -> Self {
        Self::Unix(UnixStream::connect(path).unwrap())
    }

    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.sock.set_read_timeout(Some(timeout)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn shutdown_write(&self) {
        let _ = match self {
            Self::Tls(stream) => stream.sock.shutdown(Shutdown::Write),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.read(buf),
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.write(buf),
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush(),
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Stream,
    /// What was read and not yet taken.
    buffer: Vec<u8>,
    /// The answer to the handshake.
    pub(crate) answer: Answer,
    /// Whether the last message came compressed.
    pub(crate) compressed: bool,
}

impl Client {
    /// Opens a WebSocket; anything but a 101 fails the test.
    pub(crate) fn open(stream: Stream, request: &Request) -> Self {
        let client = Self::try_open(stream, request);
        assert_eq!(client.answer.status, 101, "{:?}", client.answer);
        client
    }

    /// Sends a request and takes the answer, whatever it is.
    pub(crate) fn try_open(stream: Stream, request: &Request) -> Self {
        Self::open_with(stream, &request.bytes())
    }

    /// Sends these bytes and takes the answer, whatever it is.
    pub(crate) fn open_with(mut stream: Stream, request: &[u8]) -> Self {
        stream.set_read_timeout(DEADLINE).unwrap();
        stream.write_all(request).unwrap();
        stream.flush().unwrap();
        let mut buffer = Vec::new();
        let answer = Answer::read(&mut stream, &mut buffer)
            .unwrap_or_else(|error| panic!("no answer to the handshake: {error}"));
        Self {
            stream,
            buffer,
            answer,
            compressed: false,
        }
    }

    /// Sends a text message.
    pub(crate) fn text(&mut self, text: &str) {
        self.raw(&frame(0x81, text.as_bytes()));
    }

    /// Sends a binary message.
    pub(crate) fn binary(&mut self, data: &[u8]) {
        self.raw(&frame(0x82, data));
    }

    /// Sends a text message compressed.
    pub(crate) fn deflated(&mut self, text: &str) {
        self.raw(&frame(0xc1, &deflate(text.as_bytes())));
    }

    /// Sends several text messages with one write.
    pub(crate) fn texts<T: AsRef<str>>(&mut self, texts: &[T]) {
        let frames = texts.iter().map(|t| frame(0x81, t.as_ref().as_bytes()));
        self.raw(&frames.collect::<Vec<_>>().concat());
    }

    /// Sends a ping.
    pub(crate) fn ping(&mut self, data: &[u8]) {
        self.raw(&frame(0x89, data));
    }

    /// Sends a pong.
    pub(crate) fn pong(&mut self, data: &[u8]) {
        self.raw(&frame(0x8a, data));
    }

    /// Sends a close frame and awaits nothing.
    pub(crate) fn send_close(&mut self, code: u16, reason: &str) {
        self.raw(&frame(
            0x88,
            &[&code.to_be_bytes(), reason.as_bytes()].concat(),
        ));
    }

    /// Sends these bytes. A peer that has gone is no failure here: what the test reads next says so.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        // What rustls holds back when the socket is full goes with the next flush.
        let _ = self
            .stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush());
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The next message of any kind.
    pub(crate) fn next(&mut self) -> Message {
        let Some((first, mut data)) = self.frame() else {
            return Message::End;
        };
        let opcode = first & 0x0f;
        self.compressed = first & 0x40 != 0;
        let mut fin = first & 0x80 != 0;
        while !fin {
            assert!(opcode == 1 || opcode == 2, "a fragmented {opcode:#x}");
            let Some((next, more)) = self.frame() else {
                panic!("the stream ended inside a fragmented message");
            };
            assert_eq!(next & 0x4f, 0, "no continuation");
            fin = next & 0x80 != 0;
            data.extend_from_slice(&more);
        }
        if self.compressed {
            assert!(opcode == 1 || opcode == 2, "a compressed {opcode:#x}");
            data = inflate(&data);
        }
        match opcode {
            1 => Message::Text(String::from_utf8(data).expect("text that is no UTF-8")),
            2 => Message::Binary(data),
            8 if data.is_empty() => Message::Close(1005, String::new()),
            8 => Message::Close(
                u16::from_be_bytes([data[0], data[1]]),
                String::from_utf8(data[2..].to_vec()).expect("a reason that is no UTF-8"),
            ),
            9 => Message::Ping(data),
            10 => Message::Pong(data),
            other => panic!("opcode {other:#x}"),
        }
    }

    /// The next message, which must be this text.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        assert_eq!(self.next(), Message::text(text));
    }

    /// The next message, which must be text.
    #[track_caller]
    pub(crate) fn next_text(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next message, which must be JSON.
    #[track_caller]
    pub(crate) fn next_json(&mut self) -> serde_json::Value {
        let text = self.next_text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The next message, which must be a close with this code, and then the end. Gives the reason.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let reason = match self.next() {
            Message::Close(got, reason) if got == code => reason,
            other => panic!("no close with {code}: {other:?}"),
        };
        // The closing handshake is the client's to finish, then the server ends the connection (RFC 6455 §7.1.1).
        self.raw(&frame(0x88, &code.to_be_bytes()));
        assert_eq!(self.next(), Message::End, "something came after the close");
        reason
    }

    /// Closes in the orderly way and waits for the end.
    pub(crate) fn close(mut self) {
        self.send_close(1000, "");
        while !matches!(self.next(), Message::End) {}
    }

    /// Whether something has come that was not taken; waits a millisecond at most.
    pub(crate) fn has_more(&mut self) -> bool {
        let mut chunk = [0; 64 << 10];
        self.stream
            .set_read_timeout(Duration::from_millis(1))
            .unwrap();
        if let Ok(count) = self.stream.read(&mut chunk) {
            self.buffer.extend_from_slice(&chunk[..count]);
        }
        !self.buffer.is_empty()
    }

    /// Waits until the server has taken everything that was sent before.
    #[track_caller]
    pub(crate) fn sync(&mut self) {
        self.ping(b"sync");
        assert_eq!(self.next(), Message::Pong(b"sync".to_vec()));
    }

    /// First byte and payload of the next frame; `None` at the end.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        self.fill(2)?;
        let (first, second) = (self.buffer[0], self.buffer[1]);
        let agreed = self.answer.header("sec-websocket-extensions").is_some();
        let allowed = if agreed { 0x40 } else { 0 };
        assert_eq!(first & 0x70 & !allowed, 0, "reserved bits: {first:#x}");
        assert_eq!(second & 0x80, 0, "a server must not mask");
        let (head, length) = match second {
            126 => {
                self.fill(4)?;
                (
                    4,
                    usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])),
                )
            }
            127 => {
                self.fill(10)?;
                let bytes = self.buffer[2..10].try_into().unwrap();
                (10, usize::try_from(u64::from_be_bytes(bytes)).unwrap())
            }
            short => (2, usize::from(short)),
        };
        self.fill(head + length)?;
        let payload = self.buffer[head..head + length].to_vec();
        self.buffer.drain(..head + length);
        Some((first, payload))
    }

    /// Reads until `wanted` bytes are there; `None` if the stream ends before.
    fn fill(&mut self, wanted: usize) -> Option<()> {
        let end = Instant::now() + DEADLINE;
        let mut chunk = [0; 64 << 10];
        while self.buffer.len() < wanted {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing came within {DEADLINE:?}");
            self.stream.set_read_timeout(left).unwrap();
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("reading: {error}"),
            }
        }
        Some(())
    }
}

/// A masked frame with this first byte, in the shortest form.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        medium @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

/// The payload of a compressed message (RFC 7692 §7.2.1).
pub(crate) fn deflate(data: &[u8]) -> Vec<u8> {
    let mut stream = flate2::Compress::new(flate2::Compression::new(6), false);
    let mut out = Vec::with_capacity(data.len() + data.len() / 8 + 100);
    stream
        .compress_vec(data, &mut out, flate2::FlushCompress::Sync)
        .unwrap();
    out.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap().to_vec()
}

/// The message of a compressed payload: without anything of the messages before it.
fn inflate(data: &[u8]) -> Vec<u8> {
    let data = [data, &[0, 0, 0xff, 0xff]].concat();
    let mut decoder = flate2::read::DeflateDecoder::new(data.as_slice());
    let mut out = Vec::new();
    // The stream goes on after a message, so its end is no end of the format.
    let result = decoder.read_to_end(&mut out);
    assert!(
        result.is_ok() || decoder.total_in() == data.len() as u64,
        "not inflated: {result:?}"
    );
    out
}
