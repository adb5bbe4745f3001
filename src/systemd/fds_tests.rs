//! Descriptors of every kind, announced in every way.

use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use super::*;

fn some(text: &str) -> Option<OsString> {
    Some(OsString::from(text))
}

fn announced(count: &str, names: Option<&str>) -> Result<Option<Announced>, FdsError> {
    Announced::new(some("7"), some(count), names.map(OsString::from), 7)
}

fn inherit(name: &str, fd: impl Into<OwnedFd>) -> Result<Inherited, FdsError> {
    Inherited::new(3, name.to_owned(), fd.into())
}

#[test]
fn listeners_come_with_role_and_address() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let taken = inherit("admin", tcp).unwrap();
    assert_eq!((taken.role, taken.address), (Role::Admin, address));
    let Socket::Tcp(listener) = taken.socket else {
        panic!("not TCP");
    };
    let none = listener.accept().unwrap_err();
    assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    let info = format!("/proc/self/fdinfo/{}", listener.as_raw_fd());
    let info = std::fs::read_to_string(info).unwrap();
    // O_CLOEXEC and O_NONBLOCK, in octal.
    assert!(info.contains("flags:\t02004002"), "{info}");

    let six = TcpListener::bind("[::1]:0").unwrap();
    let address = six.local_addr().unwrap().to_string();
    assert_eq!(inherit("wsd", six).unwrap().address, address);

    let name = format!("wsd-test-{}-fds", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let taken = inherit(
        "wsd@blue.socket",
        UnixListener::bind_addr(&address).unwrap(),
    )
    .unwrap();
    assert_eq!(taken.name, "wsd@blue.socket");
    assert_eq!(taken.role, Role::Public);
    assert_eq!(taken.address, format!("unix:@{name}"));
    assert!(matches!(taken.socket, Socket::Unix(_)));
}

#[test]
fn a_path_is_part_of_the_address() {
    let path = env::temp_dir().join(format!("wsd-fds-{}", std::process::id()));
    let taken = inherit("wsd", UnixListener::bind(&path).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(taken.address, format!("unix:{}", path.display()));
}

#[test]
fn what_is_no_listener_is_named() {
    fn refused(what: &str, fd: impl Into<OwnedFd>) {
        let text = inherit("wsd", fd).unwrap_err().to_string();
        let right = format!(
            "descriptor 3 (\"wsd\"): is {what}; must be a listening stream socket, as ListenStream= makes one"
        );
        assert_eq!(text, right);
    }
    refused("a datagram socket", UdpSocket::bind("127.0.0.1:0").unwrap());
    refused("a datagram socket", UnixDatagram::unbound().unwrap());
    let (reader, _writer) = io::pipe().unwrap();
    refused("a pipe", reader);
    refused("a directory", File::open("/").unwrap());
    refused("a file", File::open("/proc/self/exe").unwrap());
    refused("a device", File::open("/dev/null").unwrap());
    let (one, _other) = UnixStream::pair().unwrap();
    refused("a connected socket", one);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    refused("a connected socket", connected);
    let fresh = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    refused("a socket that does not listen", fresh);
    let packets = socket2::Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    refused("a sequential packet socket", packets);
}

#[test]
fn unknown_names_are_handed_over_unseen() {
    let (reader, _writer) = io::pipe().unwrap();
    let taken = inherit("stored", reader).unwrap();
    assert_eq!((taken.role, taken.address.as_str()), (Role::Unknown, ""));
    assert!(matches!(taken.socket, Socket::Other(_)));
}

#[test]
fn roles_follow_names() {
    for (name, role) in [
        ("wsd", Role::Public),
        ("wsd.socket", Role::Public),
        ("wsd@blue.socket", Role::Public),
        ("chat.socket", Role::Public),
        ("", Role::Public),
        ("admin", Role::Admin),
        ("Admin", Role::Unknown),
        ("carry-r", Role::Unknown),
        ("connection", Role::Unknown),
        ("unknown", Role::Unknown),
    ] {
        assert_eq!(Role::of(name), role, "{name}");
    }
}

#[test]
fn another_process_s_descriptors_are_left_alone() {
    let of = |pid, count| Announced::new(pid, count, None, 7);
    assert!(of(some("8"), some("1")).unwrap().is_none());
    assert!(of(None, some("1")).unwrap().is_none());
    assert!(of(some("7"), None).unwrap().is_none());
    assert!(of(some("7"), some("0")).unwrap().is_none());
    // Also when what it says is nonsense.
    assert!(of(some("8"), some("x")).unwrap().is_none());
}

#[test]
fn nonsense_is_explained() {
    let text = |result: Result<Option<Announced>, FdsError>| result.err().unwrap().to_string();
    assert_eq!(
        text(announced("-1", None)),
        "LISTEN_FDS: \"-1\": must be a number of descriptors, 0 to 65535"
    );
    assert_eq!(
        text(announced("4294967295", None)),
        "LISTEN_FDS: \"4294967295\": must be a number of descriptors, 0 to 65535"
    );
    assert_eq!(
        text(Announced::new(some("me"), some("1"), None, 7)),
        "LISTEN_PID: \"me\": must be a process id"
    );
    assert_eq!(
        text(announced("2", Some("wsd"))),
        "LISTEN_FDNAMES has 1 names for the 2 descriptors of LISTEN_FDS"
    );
    assert_eq!(
        text(announced("1", Some("wsd:admin"))),
        "LISTEN_FDNAMES has 2 names for the 1 descriptors of LISTEN_FDS"
    );
}

#[test]
fn without_names_all_are_public() {
    let announced = announced("2", None).unwrap().unwrap();
    assert_eq!(announced.names, ["", ""]);
    assert_eq!(Role::of(""), Role::Public);
}
