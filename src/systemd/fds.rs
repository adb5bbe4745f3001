//! The descriptors that systemd passes at start: from numbers in the environment to owned, checked sockets with a role.
//!
//! The one file outside `script/raw` with unsafe code, and little else is here: it makes descriptors owned, exactly
//! once, and removes the variables that announced them, so that no child takes them for its own. It is called first of
//! all in `main`, before any thread and before anything else is opened. A socket's role comes from its name alone: the
//! order in which systemd passes several units' sockets is not stable.

#![expect(
    unsafe_code,
    reason = "a descriptor known by number becomes owned; variables are removed; an option that no crate reads"
)]

use std::env;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, SockRef, Type};

/// Takes what systemd passed; nothing outside of a service, or if it was meant for another process.
///
/// Call it before the first thread starts. The second call gives nothing. Every descriptor is closed on exec and those
/// with a known role are listening, non-blocking stream sockets.
pub fn take() -> Result<Vec<Inherited>, FdsError> {
    let variables = VARIABLES.map(env::var_os);
    if variables.iter().all(Option::is_none) || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    // Where /proc can't be read there is nothing to go by but the rule in this function's comment.
    if std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
        return Err(FdsError::Threads);
    }
    for name in VARIABLES {
        // SAFETY: no other thread exists that could read the environment meanwhile.
        unsafe { env::remove_var(name) };
    }
    let [pid, count, names] = variables;
    let Some(announced) = Announced::new(pid, count, names, std::process::id())? else {
        return Ok(Vec::new());
    };
    // SAFETY: systemd passed them to this process, which has opened nothing yet, and `TAKEN` makes this the only time.
    unsafe { announced.claim(FIRST) }
}

/// How many connections may wait on a listening TCP socket: the backlog in force, after `net.core.somaxconn`.
///
/// It is `tcpi_sacked` of `TCP_INFO` (tcp(7), include/uapi/linux/tcp.h): the sandbox hides /proc/sys.
pub fn backlog(socket: &TcpListener) -> io::Result<u32> {
    const SACKED: usize = 28;
    let mut info = [0; SACKED + size_of::<u32>()];
    let mut length = libc::socklen_t::try_from(info.len()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes, which is what `info` has.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let sacked = info.last_chunk().copied().unwrap_or_default();
    Ok(u32::from_ne_bytes(sacked))
}

/// One descriptor that systemd passed.
#[derive(Debug)]
pub struct Inherited {
    /// Its name in `LISTEN_FDNAMES`; empty where systemd gave no names.
    pub name: String,
    /// What it is for, by its name.
    pub role: Role,
    /// The descriptor itself.
    pub socket: Socket,
    /// Where it listens, as `listen.addresses` would say it; empty for [`Role::Unknown`].
    pub address: String,
}

/// What an inherited socket is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Named `admin`: the HTTP of `[admin]`.
    Admin,
    /// Named `wsd`, or by the unit (`wsd.socket`): WebSocket clients. Also without any name.
    Public,
    /// Any other name: to be closed, with a warning, unless it is known from the descriptor store.
    Unknown,
}

impl Role {
    /// By the name in `LISTEN_FDNAMES`. A unit without `FileDescriptorName=` gives its own, which ends in `.socket`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            "admin" => Self::Admin,
            "" | "wsd" => Self::Public,
            unit if unit.ends_with(".socket") => Self::Public,
            _ => Self::Unknown,
        }
    }
}

/// A descriptor by what it is.
#[derive(Debug)]
pub enum Socket {
    /// Not looked at: its role is unknown.
    Other(OwnedFd),
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// A path or an abstract name.
    Unix(UnixListener),
}

/// Why the descriptors can't be used. Each is a reason not to start: the operator's socket unit is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum FdsError {
    /// A count that is none.
    #[error("LISTEN_FDS: \"{value}\": must be a number of descriptors, 0 to 65535")]
    Count {
        /// As it was given.
        value: String,
    },
    /// What the kernel answers to a question about it.
    #[error("descriptor {descriptor} (\"{name}\"): {doing}")]
    Io {
        /// Its number.
        descriptor: RawFd,
        /// Its name.
        name: String,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// As many names as descriptors is what systemd promises.
    #[error("LISTEN_FDNAMES has {names} names for the {count} descriptors of LISTEN_FDS")]
    Names {
        /// How many there are.
        names: usize,
        /// How many there should be.
        count: usize,
    },
    /// A number without a descriptor.
    #[error(
        "descriptor {descriptor} (\"{name}\"): is not open, but LISTEN_FDS announces {count} from 3 on"
    )]
    NotOpen {
        /// Its number.
        descriptor: RawFd,
        /// Its name.
        name: String,
        /// How many were announced.
        count: usize,
    },
    /// A process that is none.
    #[error("LISTEN_PID: \"{value}\": must be a process id")]
    Pid {
        /// As it was given.
        value: String,
    },
    /// Called too late.
    #[error("inherited descriptors must be taken before the first thread starts")]
    Threads,
    /// Not a listening stream socket.
    #[error(
        "descriptor {descriptor} (\"{name}\"): is {what}; must be a listening stream socket, as ListenStream= makes one"
    )]
    Unfit {
        /// Its number.
        descriptor: RawFd,
        /// Its name.
        name: String,
        /// What it is instead.
        what: String,
    },
}

/// What the variables say, for this process.
struct Announced {
    count: usize,
    /// As many as `count`.
    names: Vec<String>,
}

impl Announced {
    /// `None`: nothing for us.
    fn new(
        pid: Option<OsString>,
        count: Option<OsString>,
        names: Option<OsString>,
        own: u32,
    ) -> Result<Option<Self>, FdsError> {
        let (Some(pid), Some(count)) = (pid, count) else {
            return Ok(None);
        };
        let pid = pid.to_string_lossy();
        if pid.parse::<u32>().map_err(|_| FdsError::Pid {
            value: pid.clone().into_owned(),
        })? != own
        {
            return Ok(None);
        }
        let count = count.to_string_lossy();
        // No hard limit on open files that a service gets by default is near this.
        let count = usize::from(count.parse::<u16>().map_err(|_| FdsError::Count {
            value: count.clone().into_owned(),
        })?);
        if count == 0 {
            return Ok(None);
        }
        let names = match names {
            None => vec![String::new(); count],
            Some(names) => names
                .as_bytes()
                .split(|byte| *byte == b':')
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
        };
        if names.len() == count {
            Ok(Some(Self { count, names }))
        } else {
            Err(FdsError::Names {
                names: names.len(),
                count,
            })
        }
    }

    /// Makes the descriptors from `first` on owned and checks them.
    ///
    /// # Safety
    ///
    /// Those that are open must belong to nobody else.
    unsafe fn claim(self, first: RawFd) -> Result<Vec<Inherited>, FdsError> {
        let Self { count, names } = self;
        let mut owned = Vec::new();
        for (descriptor, name) in (first..).zip(names) {
            // SAFETY: this asks about a number and touches no memory.
            if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
                return Err(FdsError::NotOpen {
                    descriptor,
                    name,
                    count,
                });
            }
            // SAFETY: it is open, and by this function's contract nobody else's.
            owned.push((descriptor, name, unsafe {
                OwnedFd::from_raw_fd(descriptor)
            }));
        }
        owned
            .into_iter()
            .map(|(descriptor, name, fd)| Inherited::new(descriptor, name, fd))
            .collect()
    }
}

impl Inherited {
    fn new(descriptor: RawFd, name: String, fd: OwnedFd) -> Result<Self, FdsError> {
        let role = Role::of(&name);
        let checked = SockRef::from(&fd)
            .set_cloexec(true)
            .map_err(|source| Refused::Io("closing it on exec", source))
            .and_then(|()| match role {
                Role::Unknown => Ok((Socket::Other(fd), String::new())),
                Role::Admin | Role::Public => listener(fd),
            });
        match checked {
            Ok((socket, address)) => Ok(Self {
                name,
                role,
                socket,
                address,
            }),
            Err(Refused::Io(doing, source)) => Err(FdsError::Io {
                descriptor,
                name,
                doing,
                source,
            }),
            Err(Refused::Unfit(what)) => Err(FdsError::Unfit {
                descriptor,
                name,
                what,
            }),
        }
    }
}

/// Why one descriptor is no listener.
enum Refused {
    Io(&'static str, io::Error),
    Unfit(String),
}

/// A listening stream socket of a family that clients can reach, made non-blocking, and where it listens.
fn listener(fd: OwnedFd) -> Result<(Socket, String), Refused> {
    let unfit = |what: &str| Err(Refused::Unfit(what.to_owned()));
    let socket = SockRef::from(&fd);
    let kind = match socket.r#type() {
        Ok(kind) => kind,
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => return unfit(what(&fd)),
        Err(source) => return Err(Refused::Io("asking for the type of socket", source)),
    };
    if kind != Type::STREAM {
        return unfit(if kind == Type::DGRAM {
            "a datagram socket"
        } else if kind == Type::SEQPACKET {
            "a sequential packet socket"
        } else {
            "a raw socket"
        });
    }
    let ask = |source| Refused::Io("asking for the address", source);
    let domain = socket.domain().map_err(ask)?;
    if ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
        return Err(Refused::Unfit(format!(
            "a stream socket of address family {}, which is neither IPv4, IPv6 nor Unix",
            i32::from(domain)
        )));
    }
    if !socket.is_listener().map_err(ask)? {
        return unfit(if socket.peer_addr().is_ok() {
            "a connected socket"
        } else {
            "a socket that does not listen"
        });
    }
    let address = describe(&socket.local_addr().map_err(ask)?);
    socket
        .set_nonblocking(true)
        .map_err(|source| Refused::Io("making it non-blocking", source))?;
    let socket = if domain == Domain::UNIX {
        Socket::Unix(UnixListener::from(fd))
    } else {
        Socket::Tcp(TcpListener::from(fd))
    };
    Ok((socket, address))
}

/// As `listen.addresses` would say it.
fn describe(address: &SockAddr) -> String {
    if let Some(address) = address.as_socket() {
        address.to_string()
    } else if let Some(path) = address.as_pathname() {
        format!("unix:{}", path.display())
    } else if let Some(name) = address.as_abstract_namespace() {
        format!("unix:@{}", String::from_utf8_lossy(name).escape_debug())
    } else {
        "unix:".to_owned()
    }
}

/// What a descriptor is that is no socket.
fn what(fd: &OwnedFd) -> &'static str {
    let Ok(kind) = fd
        .as_fd()
        .try_clone_to_owned()
        .and_then(|fd| File::from(fd).metadata())
        .map(|metadata: Metadata| metadata.file_type())
    else {
        return "no socket";
    };
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_file() {
        "a file"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "no socket"
    }
}

/// `SD_LISTEN_FDS_START` (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// What announces them, in the order of [`Announced::new`].
const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Whether they have been taken: a number must become owned once.
static TAKEN: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
#[path = "fds_tests.rs"]
mod tests;

#[cfg(test)]
mod claim_tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn numbers_become_owned_and_a_closed_one_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        // SAFETY: it copies what `listener` owns to the lowest free number from 700 on.
        let first = unsafe { libc::fcntl(listener.into_raw_fd(), libc::F_DUPFD, 700) };
        let announced = |count| Announced {
            count,
            names: vec!["wsd".to_owned(); count],
        };
        // SAFETY: the copy belongs to nobody, and no test opens as many descriptors as would reach the number after it.
        let error = unsafe { announced(2).claim(first) }.expect_err("one of them is closed");
        assert_eq!(
            error.to_string(),
            format!(
                "descriptor {} (\"wsd\"): is not open, but LISTEN_FDS announces 2 from 3 on",
                first + 1
            )
        );
        // SAFETY: the error closed the copy, so there is nothing to be owned.
        let error = unsafe { announced(1).claim(first) }.expect_err("it was closed");
        assert!(matches!(error, FdsError::NotOpen { .. }), "{error}");
    }
}
