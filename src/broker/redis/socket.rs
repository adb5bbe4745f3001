//! A socket to Redis, from its address to the end of the handshake.
//!
//! `thread.rs` makes two of them, one for each link. The handshake is ours for both, so that there is one text for each
//! thing that can be wrong with it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::config::{Broker, BrokerUrl};
use crate::tls;
use crate::types::NodeId;

use super::link_error::{LinkError, code};
use super::resp::{self, Reply};

/// From the name to the end of the handshake. Redis answers in milliseconds; when it is busy for longer than this, it is
/// as good as away.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of that for the handshake of TLS, so that it can be named as what takes so long.
const TLS_TIMEOUT: Duration = Duration::from_secs(4);
/// TCP keepalive: after so long without traffic, so often. PING finds a dead peer earlier; this is for a thread that hangs.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// A connected socket of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Which link it is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Publisher,
    Subscriber,
}

/// Connects, authenticates and names the link (`CLIENT LIST` shows it as `wsd-NODE-sub` or `wsd-NODE-pub`).
pub(super) async fn connect(
    config: &Broker,
    node: NodeId,
    purpose: Purpose,
) -> Result<Stream, LinkError> {
    let link = async {
        let mut stream = dial(&config.url).await?;
        Handshake {
            stream: &mut stream,
            held: Vec::new(),
        }
        .run(config, node, purpose)
        .await?;
        Ok(stream)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, link)
        .await
        .map_err(|_| LinkError::Slow(CONNECT_TIMEOUT))?
}

async fn dial(url: &BrokerUrl) -> Result<Stream, LinkError> {
    match url {
        BrokerUrl::Memory | BrokerUrl::Sentinel { .. } => Err(LinkError::Refused(format!(
            "broker.url is \"{url}\", which is no Redis itself"
        ))),
        BrokerUrl::Redis {
            tls, host, port, ..
        } => {
            let stream = dial_tcp(host, *port).await?;
            if *tls {
                secure(stream, host).await
            } else {
                Ok(Stream::Tcp(stream))
            }
        }
        BrokerUrl::RedisUnix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
    }
}

pub(super) async fn dial_tcp(host: &str, port: u16) -> Result<TcpStream, LinkError> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                tune(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

/// TLS, with a certificate for that name or address.
async fn secure(stream: TcpStream, host: &str) -> Result<Stream, LinkError> {
    let client = tls::client().map_err(|error| LinkError::Tls(error.to_string()))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| LinkError::Tls(format!("no certificate can be for \"{host}\"")))?;
    let handshake = TlsConnector::from(client).connect(name, stream);
    // A Redis without TLS waits for the end of what it takes for a line.
    let stream = tokio::time::timeout(TLS_TIMEOUT, handshake)
        .await
        .map_err(|_| LinkError::Tls("no answer; does it speak TLS?".to_owned()))??;
    Ok(Stream::Tls(Box::new(stream)))
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

struct Handshake<'a> {
    stream: &'a mut Stream,
    held: Vec<u8>,
}

impl Handshake<'_> {
    async fn run(
        &mut self,
        config: &Broker,
        node: NodeId,
        purpose: Purpose,
    ) -> Result<(), LinkError> {
        let user = match config.username.as_str() {
            "" => "default",
            user => user,
        };
        let password = config.password.reveal();
        let name = match purpose {
            Purpose::Publisher => format!("wsd-{node}-pub"),
            Purpose::Subscriber => format!("wsd-{node}-sub"),
        };
        if purpose == Purpose::Subscriber && self.hello(user, password, &name).await? {
            return Ok(());
        }
        if !password.is_empty() {
            // AUTH with a user is not known before Redis 6, which knows no users either.
            if config.username.is_empty() {
                self.must(&["AUTH", password]).await?;
            } else {
                self.must(&["AUTH", user, password]).await?;
            }
        }
        // Only for whoever looks at CLIENT LIST: a user that may not do it does without.
        self.ask(&["CLIENT", "SETNAME", &name]).await?.ok();
        match (purpose, &config.url) {
            (Purpose::Publisher, BrokerUrl::Redis { database, .. }) if *database != 0 => {
                self.must(&["SELECT", &database.to_string()]).await
            }
            // Proves that the password, or none, is enough.
            _ => self.must(&["PING"]).await,
        }
    }

    /// RESP3, with everything in one command. `false`: a server without it, or a user that may not ask.
    async fn hello(&mut self, user: &str, password: &str, name: &str) -> Result<bool, LinkError> {
        let mut words = vec!["HELLO", "3"];
        if !password.is_empty() {
            words.extend(["AUTH", user, password]);
        }
        words.extend(["SETNAME", name]);
        match self.ask(&words).await? {
            Ok(()) => Ok(true),
            Err(error) => match code(&error) {
                b"ERR" | b"NOPROTO" | b"NOPERM" => Ok(false),
                _ => Err(LinkError::refused(&error)),
            },
        }
    }

    async fn must(&mut self, words: &[&str]) -> Result<(), LinkError> {
        self.ask(words)
            .await?
            .map_err(|error| LinkError::refused(&error))
    }

    /// Sends one command and waits for its answer: `Err` inside is what Redis said against it.
    async fn ask(&mut self, words: &[&str]) -> Result<Result<(), Vec<u8>>, LinkError> {
        let mut out = Vec::new();
        let (name, words) = words.split_first().unwrap_or((&"PING", &[]));
        let words = words.iter().map(|word| (&b""[..], word.as_bytes()));
        command(&mut out, name.as_bytes(), words);
        self.stream.write_all(&out).await?;
        loop {
            if let Some((reply, len)) = resp::read(&self.held)? {
                let answer = match reply {
                    Reply::Error(error) => Err(error.to_vec()),
                    Reply::Pong | Reply::Value => Ok(()),
                    Reply::Message { .. } | Reply::Subscribed(_) | Reply::Unsubscribed(_) => {
                        return Err(LinkError::Puzzled);
                    }
                };
                self.held.drain(..len);
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.held).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }
}

/// Appends a command. A word after its name is given in two pieces, so that a prefix need not be put before it first.
pub(super) fn command<'a>(
    out: &mut Vec<u8>,
    name: &'a [u8],
    words: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>,
) {
    head(out, b'*', words.len().saturating_add(1));
    for (first, second) in std::iter::once((&b""[..], name)).chain(words) {
        head(out, b'$', first.len().saturating_add(second.len()));
        out.extend_from_slice(first);
        out.extend_from_slice(second);
        out.extend_from_slice(b"\r\n");
    }
}

fn head(out: &mut Vec<u8>, kind: u8, number: usize) {
    out.push(kind);
    out.extend_from_slice(number.to_string().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes what TLS holds back since the socket was full; nobody else asks for it. Who owns the link polls it to read all
/// the time, so the rest goes when there is room.
fn push(stream: &mut TlsStream<TcpStream>, cx: &mut Context<'_>) -> io::Result<()> {
    match Pin::new(stream).poll_flush(cx) {
        Poll::Ready(result) => result,
        Poll::Pending => Ok(()),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => {
                push(stream, cx)?;
                Pin::new(stream).poll_read(cx, buf)
            }
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => {
                let written = Pin::new(&mut *stream).poll_write(cx, buf);
                push(stream, cx)?;
                written
            }
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
