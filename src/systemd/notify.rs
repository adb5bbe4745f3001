//! What wsd tells systemd about itself: ready, reloading, stopping, its status, alive.
//!
//! Messages are rendered by the sd-notify crate and sent over one socket that is opened at start. Nothing here is called
//! by a worker: a send waits, at most [`SEND_TIMEOUT`], when PID 1 is behind with reading. The main thread and the
//! watchdog's thread call it. Without `$NOTIFY_SOCKET` every call does nothing.
//!
//! # Why not the crate's own `notify()`
//!
//! It opens a socket for every message, so a process whose descriptors are used up by connections could not feed its
//! watchdog any more; it reads the environment each time; and it takes an abstract address (`@…`) for a file's name.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// The way to systemd; a clone shares the socket.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Link>>);

/// The open socket and where it sends to.
#[derive(Debug)]
struct Link {
    socket: UnixDatagram,
    address: SocketAddr,
    /// The last send did not arrive: the next such is not logged again.
    broken: AtomicBool,
}

impl Notifier {
    /// One that sends nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// To where `$NOTIFY_SOCKET` says; to nowhere if it is not set.
    pub fn from_environment() -> Result<Self, NotifyError> {
        std::env::var_os("NOTIFY_SOCKET").map_or(Ok(Self::none()), |address| Self::new(&address))
    }

    /// To this address: an absolute path, or `@` and an abstract name.
    pub fn new(address: &OsStr) -> Result<Self, NotifyError> {
        let text = || address.to_string_lossy().into_owned();
        let parsed = match address.as_bytes() {
            [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
            [b'/', _, ..] => SocketAddr::from_pathname(address),
            _ => return Err(NotifyError::Form { address: text() }),
        };
        let open = |address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok(Link {
                socket,
                address,
                broken: AtomicBool::new(false),
            })
        };
        parsed
            .and_then(open)
            .map(|link| Self(Some(Arc::new(link))))
            .map_err(|source| NotifyError::Open {
                address: text(),
                source,
            })
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.0.is_some()
    }

    /// Start-up is over: `READY=1`. Only when listening, and with SIGHUP's handler in place.
    pub fn ready(&self, status: &str) {
        let status = plain(status);
        self.send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// A reload begins: `RELOADING=1`. It ends when the guard is dropped, by whatever way.
    #[must_use = "the reload ends when this is dropped"]
    pub fn reloading(&self, status: &str) -> Reloading {
        if self.is_active() {
            let status = plain(status);
            // Both in one datagram: apart, systemd 253 and later waits for the second until its time limit has passed.
            match NotifyState::monotonic_usec_now() {
                Ok(now) => self.send(&[NotifyState::Reloading, now, NotifyState::Status(&status)]),
                Err(error) => tracing::warn!(target: "systemd", "the monotonic clock: {error}"),
            }
        }
        Reloading {
            notifier: self.clone(),
            status: None,
        }
    }

    /// The end begins: `STOPPING=1`.
    pub fn stopping(&self, status: &str) {
        let status = plain(status);
        self.send(&[NotifyState::Stopping, NotifyState::Status(&status)]);
    }

    /// What `systemctl status` shows. Control characters become spaces, and what is beyond [`STATUS_BYTES`] is cut.
    pub fn status(&self, text: &str) {
        self.send(&[NotifyState::Status(&plain(text))]);
    }

    /// Asks for more time to start or to stop, counted from now. At most 71 minutes at once, which is the field's range.
    pub fn extend_timeout(&self, by: Duration) {
        let microseconds = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(microseconds)]);
    }

    /// Feeds the watchdog: `WATCHDOG=1`.
    pub fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Sends one datagram. Logs after it, never before, and only the first of a row of failures: the watchdog's thread
    /// comes here too.
    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(link) = &self.0 else { return };
        let message = states
            .iter()
            .map(|state| format!("{state}\n"))
            .collect::<String>();
        match link.send(message.as_bytes()) {
            Ok(()) => link.broken.store(false, Ordering::Relaxed),
            Err(error) => {
                if !link.broken.swap(true, Ordering::Relaxed) {
                    let field = message.split('=').next().unwrap_or_default();
                    tracing::warn!(target: "systemd", "{field} did not reach systemd: {error}");
                }
            }
        }
    }
}

impl Link {
    fn send(&self, message: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to_addr(message, &self.address) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|_| ()),
            }
        }
    }
}

/// A reload that systemd knows of; dropping it says `READY=1`.
///
/// A daemon that leaves this out on one path of many hangs in `reloading` until it is restarted, and `systemctl reload`
/// with it: so it is tied to the end of a scope, panics included.
#[derive(Debug)]
pub struct Reloading {
    notifier: Notifier,
    status: Option<String>,
}

impl Reloading {
    /// Ends the reload with this status text, in the same datagram.
    pub fn done(mut self, status: &str) {
        self.status = Some(plain(status));
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        match self.status.take() {
            Some(status) => self
                .notifier
                .send(&[NotifyState::Ready, NotifyState::Status(&status)]),
            None => self.notifier.send(&[NotifyState::Ready]),
        }
    }
}

/// Why systemd can't be told anything.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Neither a path nor an abstract name.
    #[error(
        "NOTIFY_SOCKET: \"{address}\": must be an absolute path, or \"@\" and the name of an abstract socket"
    )]
    Form {
        /// As it was given.
        address: String,
    },
    /// Too long a path, or no socket to be had.
    #[error("NOTIFY_SOCKET: \"{address}\"")]
    Open {
        /// As it was given.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Without control characters (a newline would begin another field) and cut at a character's border.
fn plain(text: &str) -> String {
    let end = text.floor_char_boundary(STATUS_BYTES);
    let kept = text.get(..end).unwrap_or_default();
    kept.replace(char::is_control, " ")
}

/// The longest status text. systemd reads at most 4096 bytes of a datagram (its `NOTIFY_BUFFER_MAX`), all fields
/// together, and people read one line.
pub const STATUS_BYTES: usize = 512;

/// The longest that a send waits for PID 1: a stuck one must not keep wsd from stopping, and a message lost to a busy
/// one would leave a reload without its end.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket in place of systemd's, at an abstract address of its own.
    fn listen(name: &str) -> (UnixDatagram, Notifier) {
        let name = format!("wsd-test-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let notifier = Notifier::new(OsStr::new(&format!("@{name}"))).unwrap();
        (socket, notifier)
    }

    fn next(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 8192];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_reload_is_one_datagram_and_always_ends() {
        let (socket, notifier) = listen("reload");
        let before = monotonic();
        let guard = notifier.reloading("loading");
        let begun = next(&socket);
        let lines = begun.lines().collect::<Vec<_>>();
        assert_eq!(lines[0], "RELOADING=1");
        assert_eq!(lines[2], "STATUS=loading");
        let stamp = lines[1].strip_prefix("MONOTONIC_USEC=").unwrap();
        let stamp = stamp.parse::<i128>().unwrap();
        assert!((before..=monotonic()).contains(&stamp));
        guard.done("generation 2");
        assert_eq!(next(&socket), "READY=1\nSTATUS=generation 2\n");

        drop(notifier.reloading("again"));
        next(&socket);
        assert_eq!(next(&socket), "READY=1\n");

        let panicked = std::thread::spawn(move || {
            let _guard = notifier.reloading("with a bug");
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        next(&socket);
        assert_eq!(next(&socket), "READY=1\n");
    }

    fn monotonic() -> i128 {
        match NotifyState::monotonic_usec_now().unwrap() {
            NotifyState::MonotonicUsec(now) => now,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_message_has_its_fields() {
        let (socket, notifier) = listen("fields");
        notifier.ready("2 listeners");
        assert_eq!(next(&socket), "READY=1\nSTATUS=2 listeners\n");
        notifier.stopping("closing");
        assert_eq!(next(&socket), "STOPPING=1\nSTATUS=closing\n");
        notifier.extend_timeout(Duration::from_millis(1500));
        assert_eq!(next(&socket), "EXTEND_TIMEOUT_USEC=1500000\n");
        notifier.extend_timeout(Duration::from_secs(1 << 20));
        assert_eq!(next(&socket), "EXTEND_TIMEOUT_USEC=4294967295\n");
        notifier.watchdog();
        assert_eq!(next(&socket), "WATCHDOG=1\n");
    }

    #[test]
    fn a_status_can_not_smuggle_a_field_in_and_is_cut() {
        let (socket, notifier) = listen("status");
        notifier.status("broker lost\nMAINPID=1\r\0\u{85}x");
        assert_eq!(next(&socket), "STATUS=broker lost MAINPID=1   x\n");
        notifier.status(&"ü".repeat(400));
        let sent = next(&socket);
        assert_eq!(sent, format!("STATUS={}\n", "ü".repeat(256)));
        notifier.status(&format!("x{}", "ü".repeat(400)));
        assert_eq!(next(&socket), format!("STATUS=x{}\n", "ü".repeat(255)));
    }

    #[test]
    fn nobody_there_is_no_trouble() {
        let silent = Notifier::none();
        assert!(!silent.is_active());
        silent.ready("");
        silent.reloading("").done("");
        let (socket, notifier) = listen("gone");
        drop(socket);
        notifier.watchdog();
        notifier.reloading("").done("");
    }

    #[test]
    fn a_path_works_and_nonsense_is_explained() {
        let path = std::env::temp_dir().join(format!("wsd-notify-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        Notifier::new(path.as_os_str()).unwrap().watchdog();
        assert_eq!(next(&socket), "WATCHDOG=1\n");
        std::fs::remove_file(&path).unwrap();

        for nonsense in ["", "@", "/", "run/notify", "vsock:2:1234"] {
            let error = Notifier::new(OsStr::new(nonsense)).unwrap_err();
            assert!(
                error.to_string().contains("must be an absolute path"),
                "{error}"
            );
        }
        let long = format!("/{}", "x".repeat(200));
        assert!(matches!(
            Notifier::new(OsStr::new(&long)),
            Err(NotifyError::Open { .. })
        ));
    }
}
