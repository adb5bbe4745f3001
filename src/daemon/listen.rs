//! Where clients come in: sockets that systemd passed, or those of `listen.addresses`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::Address;
use crate::systemd::fds;
use crate::worker::accept::Listener;

/// Sockets that listen, each with where it does.
pub(super) struct Bound {
    pub(super) public: Vec<(Listener, String)>,
    pub(super) admin: Option<Admin>,
    /// The name of the socket unit, if its sockets are used instead of `listen.addresses`.
    pub(super) unit: Option<String>,
}

/// The socket of the admin HTTP.
pub(super) enum Admin {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why a socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {key}: {address}: {}", describe(.cause))]
pub struct BindError {
    /// Where the key stands.
    place: String,
    key: &'static str,
    address: String,
    /// Said in words above, so it is no source.
    cause: io::Error,
}

/// Where a key stands, for a message.
pub(super) fn place(places: &[(&str, String)], key: &str) -> String {
    let found = places.iter().find(|(name, _)| *name == key);
    found.map(|(_, place)| place.clone()).unwrap_or_default()
}

/// Sorts what systemd passed; binds what is missing. `places` says where the keys of addresses stand.
pub(super) fn bind(
    inherited: Vec<fds::Inherited>,
    addresses: &[Address],
    backlog: u32,
    admin: Option<&Address>,
    places: &[(&str, String)],
) -> Result<Bound, BindError> {
    let mut bound = Bound {
        public: Vec::new(),
        admin: None,
        unit: None,
    };
    for fd in inherited {
        match (fd.role, fd.socket) {
            (fds::Role::Public, fds::Socket::Tcp(socket)) => {
                bound.unit.get_or_insert_with(|| unit(&fd.name));
                bound.public.push((Listener::Tcp(socket), fd.address));
            }
            (fds::Role::Public, fds::Socket::Unix(socket)) => {
                bound.unit.get_or_insert_with(|| unit(&fd.name));
                bound.public.push((Listener::Unix(socket), fd.address));
            }
            (fds::Role::Admin, fds::Socket::Tcp(socket)) => bound.admin = Some(Admin::Tcp(socket)),
            (fds::Role::Admin, fds::Socket::Unix(socket)) => {
                bound.admin = Some(Admin::Unix(socket));
            }
            (_, fds::Socket::Other(_)) | (fds::Role::Unknown, _) => {
                tracing::warn!(
                    target: "listen",
                    event = "socket_ignored",
                    "descriptor \"{}\" is closed: its name is neither \"wsd\" nor \"admin\" (FileDescriptorName= of the socket unit)",
                    fd.name
                );
            }
        }
    }
    if bound.public.is_empty() {
        for address in addresses {
            let listener = open("listen.addresses", address, backlog, places)?;
            let shown = shown(&listener, address);
            bound.public.push((listener, shown));
        }
    }
    if bound.admin.is_none()
        && let Some(address) = admin
    {
        bound.admin = Some(match open("admin.http", address, ADMIN_BACKLOG, places)? {
            Listener::Tcp(socket) => Admin::Tcp(socket),
            Listener::Unix(socket) => Admin::Unix(socket),
        });
    }
    Ok(bound)
}

impl Admin {
    /// Where it listens.
    pub(super) fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok().map(Address::Tcp),
            Self::Unix(socket) => {
                let address = socket.local_addr().ok()?;
                address
                    .as_pathname()
                    .map(|path| Address::Unix(path.to_path_buf()))
            }
        }
    }
}

/// The unit by the descriptor's name.
fn unit(name: &str) -> String {
    if name.contains(".socket") {
        name.to_owned()
    } else {
        "wsd.socket".to_owned()
    }
}

fn open(
    key: &'static str,
    address: &Address,
    backlog: u32,
    places: &[(&str, String)],
) -> Result<Listener, BindError> {
    let result = match address {
        Address::Tcp(address) => tcp(*address, backlog).map(Listener::Tcp),
        Address::Unix(path) => unix(path, backlog).map(Listener::Unix),
    };
    result.map_err(|cause| BindError {
        place: place(places, key),
        key,
        address: address.to_string(),
        cause,
    })
}

fn shown(listener: &Listener, address: &Address) -> String {
    match listener {
        Listener::Tcp(socket) => socket
            .local_addr()
            .map_or_else(|_| address.to_string(), |real| real.to_string()),
        Listener::Unix(_) => address.to_string(),
    }
}

fn tcp(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A port whose old connections have not timed out can be bound again (socket(7)).
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // "[::]:8080" and "0.0.0.0:8080" can stand side by side, whatever net.ipv6.bindv6only is (ipv6(7)).
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn unix(path: &Path, backlog: u32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        result => result?,
    }
    // A proxy in front has another user: who may enter the folder may connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether a socket's file was left behind: nobody answers on it.
fn is_stale(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).err().is_some_and(refused)
}

/// What a failed `bind` means to an operator.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there already; \"ss -ltnp\" shows which".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; a port below 1024 needs wsd.socket".to_owned()
        }
        _ => error.to_string(),
    }
}

const ADMIN_BACKLOG: u32 = 64;
