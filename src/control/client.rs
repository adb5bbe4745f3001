//! The tool's end of the control socket: blocking, with a limit in time for every step.
//!
//! It owns one connection and knows nothing of what is asked; every error says what the operator can do about it. Used
//! by `cli`; the other end is `server.rs`.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::message::{Request, Response, ResponseError};

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Client {
    /// Connects to the daemon whose control socket is `path`; `unit` is the one that an error says to start.
    pub fn connect(path: &Path, unit: &str) -> Result<Self, ClientError> {
        let path = path.to_owned();
        match Self::open(&path) {
            Ok(stream) => Ok(Self {
                stream: BufReader::new(stream),
                path,
            }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound => ClientError::NoSocket {
                    path,
                    unit: unit.to_owned(),
                },
                io::ErrorKind::ConnectionRefused => ClientError::Dead {
                    path,
                    unit: unit.to_owned(),
                },
                io::ErrorKind::PermissionDenied => ClientError::Forbidden { path },
                io::ErrorKind::WouldBlock => ClientError::Busy { path },
                _ => ClientError::Io {
                    path,
                    source: error,
                },
            }),
        }
    }

    /// Sends a request and returns its first response, waiting at most `limit` for it.
    pub fn ask(&mut self, request: &Request, limit: Duration) -> Result<Response, ClientError> {
        let line = request.to_line();
        let mut stream = self.stream.get_ref();
        let sent = stream
            .set_write_timeout(Some(limit))
            .and_then(|()| stream.write_all(&line));
        match sent {
            Ok(()) => {}
            // It may have answered before it closed: "64 tools are connected already".
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {}
            Err(error) => return Err(self.broken(error, limit)),
        }
        self.next(Some(limit))
    }

    /// The next response; `None` waits for ever.
    pub fn next(&mut self, limit: Option<Duration>) -> Result<Response, ClientError> {
        let shown = limit.unwrap_or_default();
        if let Err(error) = self.stream.get_ref().set_read_timeout(limit) {
            return Err(self.broken(error, shown));
        }
        let mut line = Vec::new();
        let mut reader = (&mut self.stream).take(RESPONSE_BYTES);
        if let Err(error) = reader.read_until(b'\n', &mut line) {
            return Err(self.broken(error, shown));
        }
        if line.pop() != Some(b'\n') {
            return Err(ClientError::Closed {
                path: self.path.clone(),
            });
        }
        Response::parse(&line).map_err(ClientError::Response)
    }

    /// Without waiting for a daemon that does not accept: there "would block" comes at once.
    fn open(path: &Path) -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        socket.set_nonblocking(false)?;
        Ok(socket.into())
    }

    fn broken(&self, error: io::Error, limit: Duration) -> ClientError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Slow {
                path,
                seconds: limit.as_secs(),
            },
            ConnectionReset => ClientError::Closed { path },
            _ => ClientError::Io {
                path,
                source: error,
            },
        }
    }
}

/// Why a daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Its queue of connections is full.
    #[error("wsd does not accept on {}; its log says more (journalctl -u wsd)", path.display())]
    Busy {
        /// The control socket.
        path: PathBuf,
    },
    /// It closed the connection in the middle.
    #[error("wsd closed {} before it answered; its log says more (journalctl -u wsd)", path.display())]
    Closed {
        /// The control socket.
        path: PathBuf,
    },
    /// A socket that a dead process left.
    #[error("wsd is not running (nobody answers on {}); start it with systemctl start {unit}, or name its configuration with -c FILE", path.display())]
    Dead {
        /// The control socket.
        path: PathBuf,
        /// What to start.
        unit: String,
    },
    /// The file's mode says no.
    #[error("{}: permission denied; use sudo, or become a member of the group wsd", path.display())]
    Forbidden {
        /// The control socket.
        path: PathBuf,
    },
    /// The system's words.
    #[error("{}", path.display())]
    Io {
        /// The control socket.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is no such file.
    #[error("wsd is not running (no {}); start it with systemctl start {unit}, or name its configuration with -c FILE", path.display())]
    NoSocket {
        /// The control socket.
        path: PathBuf,
        /// What to start.
        unit: String,
    },
    /// An answer of another form.
    #[error(transparent)]
    Response(ResponseError),
    /// No answer in time.
    #[error("wsd did not answer within {seconds} s on {}; its log says more (journalctl -u wsd)", path.display())]
    Slow {
        /// The control socket.
        path: PathBuf,
        /// How long it had.
        seconds: u64,
    },
}

/// Of one response: more than a request's bound, as text may grow when it is written as JSON.
const RESPONSE_BYTES: u64 = 128 << 20;
