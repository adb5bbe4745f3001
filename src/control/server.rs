//! The daemon's end of the control socket: one task a tool, one request at a time.
//!
//! It makes the socket's file, reads lines and hands each request to the daemon as a [`Call`]; it never acts on one
//! itself. Every queue has a bound: clients, bytes of a line, bytes of a stream whose reader is slow. A hostile line
//! costs its sender an error. Who may connect is the kernel's decision, by the mode of the file; whoever it let in is
//! named to the daemon by uid and pid.
//!
//! Called by `daemon`, on any tokio runtime with I/O and time; the other end is `client.rs`.

use std::error::Error;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::message::{Request, Response};

/// A request on its way to the daemon.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    pub peer: Peer,
    /// Where the answer goes.
    pub reply: Reply,
}

/// Whom the kernel let connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The process; `None` if it is in another pid namespace.
    pub pid: Option<i32>,
}

/// The daemon's answer to one request: any number of responses, the last of which is final.
///
/// Dropped without a final one, it tells the client that the stream has ended, or that the request was not answered.
#[derive(Debug)]
pub struct Reply {
    sender: mpsc::UnboundedSender<Response>,
    /// Bytes of the responses that wait, at most [`STREAM_BYTES`] and the last one.
    waiting: Arc<AtomicUsize>,
    /// Messages left out since the last one that found room.
    missed: u64,
}

impl Reply {
    /// A reply and the end that reads it.
    #[must_use]
    pub fn new() -> (Self, Answers) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let reply = Self {
            sender,
            waiting: Arc::clone(&waiting),
            missed: 0,
        };
        (reply, Answers { receiver, waiting })
    }

    /// The last response. Never waits.
    pub fn finish(mut self, response: Response) {
        self.tell_missed();
        self.push(response);
    }

    /// A response of a stream, never the final one. Never waits: while the reader is [`STREAM_BYTES`] behind, responses
    /// are left out, and the reader is told how many as soon as there is room again.
    pub fn stream(&mut self, response: Response) {
        if self.waiting.load(Ordering::Relaxed) >= STREAM_BYTES {
            self.missed = self.missed.saturating_add(1);
            return;
        }
        self.tell_missed();
        self.push(response);
    }

    /// Whether nobody reads any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.sender.is_closed()
    }

    /// Returns when nobody reads any more.
    pub async fn gone(&self) {
        self.sender.closed().await;
    }

    fn tell_missed(&mut self) {
        if self.missed > 0 {
            let count = std::mem::take(&mut self.missed);
            self.push(Response::Missed { count });
        }
    }

    fn push(&self, response: Response) {
        self.waiting.fetch_add(weight(&response), Ordering::Relaxed);
        // Nobody reads any more: the daemon hears of it by `gone`.
        let _ = self.sender.send(response);
    }
}

/// The reading end of a [`Reply`].
#[derive(Debug)]
pub struct Answers {
    receiver: mpsc::UnboundedReceiver<Response>,
    waiting: Arc<AtomicUsize>,
}

impl Answers {
    /// The next response; `None` when the reply is gone.
    pub async fn next(&mut self) -> Option<Response> {
        let response = self.receiver.recv().await?;
        self.waiting.fetch_sub(weight(&response), Ordering::Relaxed);
        Some(response)
    }
}

/// The socket, bound and ready. Its file goes when this does, unless another process has put its own there.
#[derive(Debug)]
pub struct Listener {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    /// Device and inode of the file that is ours.
    file: (u64, u64),
}

impl Listener {
    /// Makes the socket with mode 0660. A file that a dead process left there is replaced, anything else is an error.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let io = |source| BindError::Io {
            path: path.to_owned(),
            source,
        };
        let address = SockAddr::unix(path).map_err(|_| BindError::TooLong(path.to_owned()))?;
        clear(path, &address)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(io)?;
        let directory = path.parent().unwrap_or(path);
        let bound = match socket.bind(&address) {
            // /run is empty after a boot, and where systemd does not make a directory in it, nobody does.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir(directory).and_then(|()| socket.bind(&address))
            }
            bound => bound,
        };
        bound.map_err(|source| {
            if !directory.exists() {
                BindError::NoDirectory(directory.to_owned())
            } else {
                io(source)
            }
        })?;
        // Before `listen`: until then nobody can connect, whatever the umask made of the mode.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(io)?;
        socket.listen(BACKLOG).map_err(io)?;
        let metadata = std::fs::symlink_metadata(path).map_err(io)?;
        Ok(Self {
            listener: socket.into(),
            path: path.to_owned(),
            file: (metadata.dev(), metadata.ino()),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            // What cannot be removed is found dead and replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody accepts connections there.
    #[error("admin.control: another wsd answers on {}; stop it, or set admin.control to another path", .0.display())]
    Alive(PathBuf),
    /// The system's words.
    #[error("admin.control: {}", path.display())]
    Io {
        /// The socket's file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Its directory is missing.
    #[error("admin.control: there is no directory {}; make it, or set admin.control to a path in one that exists", .0.display())]
    NoDirectory(PathBuf),
    /// A file of another kind.
    #[error("admin.control: {} is no socket; remove it, or set admin.control to another path", .0.display())]
    NoSocket(PathBuf),
    /// `sockaddr_un` has 108 bytes.
    #[error("admin.control: {}: the path of a socket has at most 107 bytes", .0.display())]
    TooLong(PathBuf),
}

/// Removes a socket's file on which nobody answers.
fn clear(path: &Path, address: &SockAddr) -> Result<(), BindError> {
    let io = |source| BindError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    // Non-blocking: a living one whose queue is full says "would block" instead of making us wait.
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(io)?;
    match probe.connect(address) {
        Ok(()) => Err(BindError::Alive(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::Alive(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(io)
        }
        Err(error) => Err(io(error)),
    }
}

/// Serves tools until the future is dropped, which ends every conversation and removes the socket's file.
///
/// Returns only when the socket itself fails.
pub async fn serve(listener: Listener, calls: mpsc::Sender<Call>) -> io::Result<()> {
    let socket = UnixListener::from_std(listener.listener.try_clone()?)?;
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, _)) if clients.len() < CLIENTS => {
                    clients.spawn(client(stream, calls.clone()));
                }
                Ok((stream, _)) => {
                    warn!(target: "control", "{CLIENTS} tools are connected: one more is refused");
                    // Into the empty buffer of a new socket: it never waits.
                    let _ = stream.try_write(&busy());
                }
                // Out of descriptors: those that are being served give theirs back.
                Err(error) => {
                    warn!(target: "control", "control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
        }
    }
}

/// One tool, from its connect to its end.
async fn client(stream: UnixStream, calls: mpsc::Sender<Call>) {
    let peer = match stream.peer_cred() {
        Ok(credentials) => Peer {
            uid: credentials.uid(),
            pid: credentials.pid(),
        },
        Err(error) => {
            warn!(target: "control", "a tool without credentials is refused: {error}");
            return;
        }
    };
    let (reader, writer) = stream.into_split();
    let mut conversation = Conversation {
        reader: Lines::new(reader),
        writer,
        calls,
        peer,
    };
    if let Err(error) = conversation.run().await {
        debug!(target: "control", uid = peer.uid, "a tool has left: {error}");
    }
}

struct Conversation {
    reader: Lines,
    writer: OwnedWriteHalf,
    calls: mpsc::Sender<Call>,
    peer: Peer,
}

impl Conversation {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let line = match timeout(PATIENCE, self.reader.next()).await {
                Ok(Ok(Some(line))) => line,
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.write(&Response::error(error)).await;
                }
                Ok(Err(error)) => return Err(error),
            };
            match Request::parse(&line) {
                Ok(request) => self.answer(request).await?,
                Err(error) => self.write(&Response::error(chain(&error))).await?,
            }
        }
    }

    /// Hands the request over and writes what comes back.
    async fn answer(&mut self, request: Request) -> io::Result<()> {
        let is_stream = request.is_stream();
        let (reply, mut answers) = Reply::new();
        let peer = self.peer;
        let call = Call {
            request,
            peer,
            reply,
        };
        if self.calls.send(call).await.is_err() {
            return self.write(&Response::error("wsd is stopping")).await;
        }
        let mut has_begun = false;
        loop {
            let response = tokio::select! {
                response = answers.next() => response,
                // A stream ends with its reader. Whoever asked for one answer may close its writing half before it.
                end = self.reader.end(), if is_stream => return end,
            };
            match response {
                Some(response) if response.is_final() => return self.write(&response).await,
                Some(response) => {
                    has_begun = true;
                    // Without a limit in time: a reader may be stopped, and what waits for it is bounded.
                    self.writer.write_all(&response.to_line()).await?;
                }
                None if has_begun => return self.write(&Response::End).await,
                None => {
                    return self
                        .write(&Response::error("wsd did not answer; its log says more"))
                        .await;
                }
            }
        }
    }

    async fn write(&mut self, response: &Response) -> io::Result<()> {
        timeout(PATIENCE, self.writer.write_all(&response.to_line()))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The lines of a socket, bounded in length.
struct Lines {
    reader: OwnedReadHalf,
    buffer: BytesMut,
    /// Bytes of the buffer in which there is no newline.
    searched: usize,
    is_ended: bool,
}

impl Lines {
    fn new(reader: OwnedReadHalf) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            searched: 0,
            is_ended: false,
        }
    }

    /// The next line without its newline; the last one may have none. `InvalidData` for one that is too long.
    async fn next(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', unsearched) {
                let mut line = self.buffer.split_to(self.searched + at + 1);
                line.truncate(line.len() - 1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.is_ended {
                self.searched = 0;
                return Ok(Some(self.buffer.split()).filter(|line| !line.is_empty()));
            }
            if self.buffer.len() >= LINE_BYTES {
                let what = "a request has at most 16 MiB; send more with POST /publish/CHANNEL";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            self.fill().await?;
        }
    }

    /// Returns when the other side has closed. What it sends meanwhile is kept for later, up to a line's length.
    async fn end(&mut self) -> io::Result<()> {
        while !self.is_ended {
            if self.buffer.len() >= LINE_BYTES {
                std::future::pending::<()>().await;
            }
            self.fill().await?;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Loses nothing when it is dropped between two polls.
    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(4096);
        if self.reader.read_buf(&mut self.buffer).await? == 0 {
            self.is_ended = true;
        }
        Ok(())
    }
}

/// What a response weighs in the bound of a stream: its content and what surrounds it.
fn weight(response: &Response) -> usize {
    let content = match response {
        Response::Message {
            channel,
            text,
            data64,
        } => {
            let length = |field: &Option<String>| field.as_ref().map_or(0, String::len);
            channel.len() + length(text) + length(data64)
        }
        _ => 0,
    };
    content + 256
}

/// An error and its causes, joined as `cli::report` joins them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn busy() -> Vec<u8> {
    Response::error(format_args!(
        "{CLIENTS} tools are connected already; end one of them"
    ))
    .to_line()
}

/// Tools at the same time: streams may last, and each costs at most [`STREAM_BYTES`] and a line.
const CLIENTS: usize = 64;

/// Of `listen(2)`: a tool that comes while it is full is told so.
const BACKLOG: i32 = 64;

/// Of one request. Bounds what a tool can make the daemon hold; a message of 10 MiB in base64 fits.
const LINE_BYTES: usize = 16 << 20;

/// Of the responses of one stream that wait for its reader.
const STREAM_BYTES: usize = 4 << 20;

/// How long a tool may take for a request, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
