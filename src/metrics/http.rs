//! The HTTP of `[admin]`: metrics, health, publishing, and a page to try things out.
//!
//! hyper speaks HTTP/1.1; this file says what is answered and bounds what a client can cost: connections, head, body,
//! and time for each. It never decides anything about messages: what it cannot read off the configuration it asks the
//! daemon as an [`HttpCall`]. `page.rs` has the page's files. Called by `daemon`, on any tokio runtime with I/O and time.
//!
//! # Why hyper
//! Keep-alive, HEAD, chunked bodies, `Expect` and the ways to smuggle a request past them are not wsd's core. With two
//! of its features hyper adds six small crates; the rest (httparse, http, bytes) is in the tree anyway.

mod page;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::config::{Address, Config, Secret};
use crate::types::{ChannelName, Payload};

/// What the daemon is asked.
#[derive(Debug)]
pub enum HttpCall {
    /// Where clients connect to: the addresses that are really bound.
    Listeners(oneshot::Sender<Vec<Address>>),
    /// The text of `/metrics`, from `render`.
    Metrics(oneshot::Sender<String>),
    /// A message for a channel, as from `wsd publish`.
    Publish {
        /// Never one of wsd's own.
        channel: ChannelName,
        /// At most `limits.message` bytes.
        payload: Payload,
        /// What became of it.
        reply: oneshot::Sender<Published>,
    },
    /// Whether clients should be sent here; if not, why.
    Ready(oneshot::Sender<Result<(), String>>),
}

/// What became of a publish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Published {
    /// It was refused, for this reason: 503.
    Refused(String),
    /// The broker has it: 204.
    Taken,
    /// It waits for the broker in `broker.buffer`: 202.
    Waits,
}

/// A socket to serve on.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// From a bound socket. Needs the runtime on which it will be served.
    pub fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// From a bound socket. Needs the runtime on which it will be served.
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::Unix)
    }

    /// Safe to drop between two polls.
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(tcp, _)| Stream::Tcp(tcp)),
            Self::Unix(listener) => listener.accept().await.map(|(unix, _)| Stream::Unix(unix)),
        }
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// Serves until the future is dropped, which ends every connection.
///
/// `config` is the current configuration; `admin.token` is the one that it has now, since a change of `admin.*` needs a
/// restart.
pub async fn serve(
    listener: Listener,
    config: watch::Receiver<Arc<Config>>,
    calls: mpsc::Sender<HttpCall>,
) {
    let token = config.borrow().admin.token.clone();
    let site = Arc::new(Site {
        token,
        config,
        calls,
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // At the bound the next ones wait in the kernel's queue until one has ended.
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok(Stream::Tcp(tcp)) => {
                    connections.spawn(connection(tcp, Arc::clone(&site)));
                }
                Ok(Stream::Unix(unix)) => {
                    connections.spawn(connection(unix, Arc::clone(&site)));
                }
                // Out of descriptors: those that are being served give theirs back.
                Err(error) => {
                    warn!(target: "admin", "admin.http: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection, from accept to its end, which comes after [`LIFETIME`] at the latest.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, site: Arc<Site>) {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.respond(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = tokio::time::sleep(LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(target: "admin", "connection ended: {error}");
    }
}

/// What every connection needs to answer.
struct Site {
    token: Secret,
    config: watch::Receiver<Arc<Config>>,
    calls: mpsc::Sender<HttpCall>,
}

type Answer = Response<Full<Bytes>>;

impl Site {
    async fn respond(&self, request: Request<Incoming>) -> Answer {
        if let Some(channel) = request.uri().path().strip_prefix("/publish/") {
            if request.method() != Method::POST {
                return only("POST");
            }
            let channel = channel.to_owned();
            return self
                .publish(&channel, request)
                .await
                .unwrap_or_else(|refusal| refusal);
        }
        let path = request.uri().path().to_owned();
        let known = matches!(
            path.as_str(),
            "/metrics" | "/healthz" | "/readyz" | "/demo.json"
        );
        if !known && page::file(&path).is_none() {
            return text(
                StatusCode::NOT_FOUND,
                "there are /, /metrics, /healthz, /readyz and POST /publish/CHANNEL",
            );
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return only("GET, HEAD");
        }
        match path.as_str() {
            "/healthz" => text(StatusCode::OK, "ok"),
            "/readyz" => match self.call(HttpCall::Ready).await {
                Some(Ok(())) => text(StatusCode::OK, "ready"),
                Some(Err(reason)) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
                None => silent(),
            },
            "/metrics" => match self.call(HttpCall::Metrics).await {
                Some(metrics) => {
                    with_type(metrics.into(), "text/plain; version=0.0.4; charset=utf-8")
                }
                None => silent(),
            },
            "/demo.json" => match self.call(HttpCall::Listeners).await {
                Some(listeners) => {
                    let json = page::json(&self.config.borrow(), &listeners);
                    with_type(json.into(), "application/json")
                }
                None => silent(),
            },
            path => page::file(path).map_or_else(silent, |(content, kind)| {
                let mut answer = with_type(Bytes::from_static(content), kind);
                let policy = HeaderValue::from_static(page::POLICY);
                answer
                    .headers_mut()
                    .insert(header::CONTENT_SECURITY_POLICY, policy);
                answer
            }),
        }
    }

    /// Everything that can be refused without the body is, before it is read.
    async fn publish(&self, channel: &str, request: Request<Incoming>) -> Result<Answer, Answer> {
        if let Some(refusal) = self.unauthorized(request.headers().get(header::AUTHORIZATION)) {
            return Err(refusal);
        }
        let bad = |what: String| text(StatusCode::BAD_REQUEST, &what);
        if request.uri().query().is_some() {
            return Err(bad("a \"?\" in a channel name is written %3F".to_owned()));
        }
        let name = percent_decode(channel).map_err(|what| bad(what.to_owned()))?;
        let channel = ChannelName::public(&name)
            .map_err(|error| bad(format!("channel \"{name}\": {error}")))?;
        let data = self.body(request.into_body()).await?;
        let published = self
            .call(|reply| HttpCall::Publish {
                channel,
                payload: Payload::guess(data),
                reply,
            })
            .await;
        Ok(match published {
            Some(Published::Taken) => empty(StatusCode::NO_CONTENT),
            Some(Published::Waits) => text(StatusCode::ACCEPTED, "waits for the broker"),
            Some(Published::Refused(reason)) => {
                let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, &reason);
                let soon = HeaderValue::from_static("1");
                answer.headers_mut().insert(header::RETRY_AFTER, soon);
                answer
            }
            None => silent(),
        })
    }

    /// The refusal, if the token is not the one that opens the way.
    fn unauthorized(&self, header: Option<&HeaderValue>) -> Option<Answer> {
        if self.token.is_empty() {
            let what = "set admin.token and send it as \"Authorization: Bearer TOKEN\"";
            return Some(text(StatusCode::FORBIDDEN, what));
        }
        let given = header.and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
        if given.is_some_and(|token| self.token.is(token.trim_ascii())) {
            return None;
        }
        let what = if given.is_some() {
            "the token is not the one in admin.token"
        } else {
            "needs the header \"Authorization: Bearer TOKEN\", with the token in admin.token"
        };
        let mut answer = text(StatusCode::UNAUTHORIZED, what);
        let scheme = HeaderValue::from_static("Bearer");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
        Some(answer)
    }

    async fn body(&self, body: Incoming) -> Result<Bytes, Answer> {
        let limit = self.config.borrow().limits.message;
        let too_large = || {
            let what = format!("the message has more than {limit} bytes (limits.message)");
            text(StatusCode::PAYLOAD_TOO_LARGE, &what)
        };
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        match timeout(PATIENCE, Limited::new(body, limit).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(error)) => Err(text(StatusCode::BAD_REQUEST, &format!("body: {error}"))),
            Err(_) => Err(text(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come in time",
            )),
        }
    }

    /// Asks the daemon; `None` if it stops or takes too long.
    async fn call<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> HttpCall) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.calls.send(call(reply)).await.ok()?;
            answer.await.ok()
        };
        timeout(PATIENCE, asked).await.ok().flatten()
    }
}

fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = with_type(format!("{text}\n").into(), "text/plain; charset=utf-8");
    *answer.status_mut() = status;
    answer
}

fn silent() -> Answer {
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "wsd does not answer; is it stopping?",
    )
}

fn only(methods: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {methods}"));
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(methods));
    answer
}

fn with_type(content: Bytes, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(content));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// The text that a piece of a path stands for.
fn percent_decode(path: &str) -> Result<String, &'static str> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("a \"%\" in a path is followed by two hexadecimal digits");
        };
        decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(decoded).map_err(|_| "a channel name is UTF-8")
}

/// At the same time. Whoever scrapes and publishes needs few; each costs a head and a message at most.
const CONNECTIONS: usize = 256;

/// Of a request's head.
const HEAD_BYTES: usize = 16 << 10;

/// For a request's head, for its body, and for the daemon's answer; also how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });

/// Of a connection, so that one which does not read its answers ends too.
const LIFETIME: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
