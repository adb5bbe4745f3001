//! Where a connection comes from: what the socket says, what a trusted proxy says, and against which address it counts.
//!
//! [pure] `accept.rs` and `open.rs` ask. Nothing that an untrusted peer writes changes an answer: its headers are not
//! even read. What proxies write is hostile too, as part of it comes from their clients.

use core::net::{IpAddr, SocketAddr};

use crate::config::Cidr;
use crate::wire::Upgrade;
use crate::wire::proxy::Source;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Remote {
    /// Never IPv4 in IPv6 form. `None`: a Unix socket, and nobody said more.
    pub ip: Option<IpAddr>,
    /// 0 where nobody said it.
    pub port: u16,
    /// TLS ended here, or a trusted proxy says that the client came to it over TLS. Nobody takes that back.
    pub secure: bool,
    /// The address is a trusted proxy's own, or it is a Unix socket: what it says of others is believed, and it is not
    /// counted.
    trusted: bool,
    /// A PROXY header named a client. What stands in the request is the client's own word then.
    named: bool,
}

/// What connections are counted by: an IPv4 address, or the first 64 bits of an IPv6 address, as one subscriber has at
/// least those to choose from (RFC 6177).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AddressKey {
    /// The address.
    V4(u32),
    /// The network.
    V6(u64),
}

impl AddressKey {
    /// Of an address that is not IPv4 in IPv6 form.
    #[must_use]
    pub const fn new(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

impl Remote {
    /// The other end of a TCP socket.
    #[must_use]
    pub fn tcp(address: SocketAddr, trusted_proxies: &[Cidr]) -> Self {
        let mut remote = Self {
            port: address.port(),
            ..Self::default()
        };
        remote.set_ip(address.ip(), trusted_proxies);
        remote
    }

    /// The other end of a Unix socket.
    #[must_use]
    pub fn unix() -> Self {
        Self {
            trusted: true,
            ..Self::default()
        }
    }

    /// Whether what it says of others is believed.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Against what it counts; `None`: it does not.
    #[must_use]
    pub fn key(&self) -> Option<AddressKey> {
        self.ip.filter(|_| !self.trusted).map(AddressKey::new)
    }

    /// A trusted proxy's PROXY header said so.
    pub fn on_proxy_header(&mut self, source: Source, trusted_proxies: &[Cidr]) {
        match source {
            Source::Own => {}
            Source::Nameless => {
                *self = Self {
                    named: true,
                    ..Self::unix()
                };
            }
            Source::Client { ip, port, secure } => {
                self.set_ip(ip, trusted_proxies);
                self.port = port;
                self.secure |= secure;
                self.named = true;
            }
        }
    }

    /// The request came, perhaps with a proxy's headers. Returns false if it has some that are not believed though they
    /// might be a proxy's that the configuration does not name.
    pub fn on_request(&mut self, upgrade: &Upgrade, trusted_proxies: &[Cidr]) -> bool {
        if !self.trusted {
            let forwarded = [FORWARDED_FOR, FORWARDED_PROTO];
            return self.named || forwarded.iter().all(|name| upgrade.header(name).is_none());
        }
        if let Some(proto) = last(upgrade, FORWARDED_PROTO) {
            self.secure |=
                proto.eq_ignore_ascii_case(b"https") || proto.eq_ignore_ascii_case(b"wss");
        }
        for entry in entries(upgrade, FORWARDED_FOR) {
            // Who was let through so far is trusted, but it does not say from where it has this one.
            let Some((ip, port)) = parse_address(entry) else {
                break;
            };
            self.port = port;
            self.set_ip(ip, trusted_proxies);
            if !self.trusted {
                break;
            }
        }
        true
    }

    fn set_ip(&mut self, ip: IpAddr, trusted_proxies: &[Cidr]) {
        let ip = ip.to_canonical();
        self.trusted = trusted_proxies.iter().any(|range| range.contains(ip));
        self.ip = Some(ip);
    }
}

/// For the log.
impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ip {
            Some(ip) => ip.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The elements of all lists under that name, the last first: the last was written by the nearest proxy.
fn entries<'a>(upgrade: &'a Upgrade, name: &str) -> impl Iterator<Item = &'a [u8]> {
    upgrade
        .headers
        .iter()
        .rev()
        .filter(move |(other, _)| other == name)
        .flat_map(|(_, value)| value.rsplit(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
}

/// What the nearest proxy says.
fn last<'a>(upgrade: &'a Upgrade, name: &str) -> Option<&'a [u8]> {
    entries(upgrade, name).next()
}

/// Reads `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:443`; the port is 0 where none is
/// given. `None` for `unknown` and everything else.
fn parse_address(text: &[u8]) -> Option<(IpAddr, u16)> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse() {
        return Some((ip, 0));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), address.port()));
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let ip = inner.parse::<core::net::Ipv6Addr>().ok()?;
    Some((ip.into(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|t| Cidr::parse(t).unwrap()).collect()
    }

    fn request(headers: &[(&str, &str)]) -> Upgrade {
        Upgrade {
            path: "/".to_owned(),
            query: String::new(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            protocols: Vec::new(),
            accept: String::new(),
            deflate: None,
        }
    }

    fn from(address: &str, trusted: &[Cidr]) -> Remote {
        Remote::tcp(address.parse().unwrap(), trusted)
    }

    /// Who a client is behind the proxy 10.0.0.1, by its X-Forwarded-For: address, port, whether it is counted.
    fn behind_proxy(lists: &[&str]) -> (String, u16, bool) {
        let trusted = ranges(&["10.0.0.0/8", "fd00::/8"]);
        let mut remote = from("10.0.0.1:5000", &trusted);
        let headers: Vec<_> = lists.iter().map(|list| (FORWARDED_FOR, *list)).collect();
        assert!(remote.on_request(&request(&headers), &trusted));
        (remote.to_string(), remote.port, remote.key().is_some())
    }

    #[test]
    fn rightmost_address_that_is_not_trusted_is_the_clients() {
        for (lists, ip, port, counted) in [
            (&["192.0.2.1"][..], "192.0.2.1", 0, true),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1", 0, true),
            (
                &["6.6.6.6, 192.0.2.1,10.0.0.2 , fd00::1"],
                "192.0.2.1",
                0,
                true,
            ),
            (&["6.6.6.6", "192.0.2.1", "10.9.9.9"], "192.0.2.1", 0, true),
            (&["192.0.2.1:4711"], "192.0.2.1", 4711, true),
            (&["2001:db8::1"], "2001:db8::1", 0, true),
            (&["[2001:db8::1]"], "2001:db8::1", 0, true),
            (&["[2001:db8::1]:4711"], "2001:db8::1", 4711, true),
            (&["::ffff:192.0.2.1"], "192.0.2.1", 0, true),
            (&["192.0.2.1, ::ffff:10.0.0.7"], "192.0.2.1", 0, true),
            // All are trusted: the first of them, which is not counted.
            (&["10.1.1.1, 10.0.0.2"], "10.1.1.1", 0, false),
            // What cannot be read ends the search at who wrote it.
            (&["unknown"], "10.0.0.1", 5000, false),
            (&[""], "10.0.0.1", 5000, false),
            (&["192.0.2.1,"], "10.0.0.1", 5000, false),
            (&["192.0.2.1, _hidden, 10.0.0.2"], "10.0.0.2", 0, false),
            (&["192.0.2.1, 300.1.1.1"], "10.0.0.1", 5000, false),
            (&["192.0.2.1:99999"], "10.0.0.1", 5000, false),
            (&["2001:db8::1:"], "10.0.0.1", 5000, false),
            (&[], "10.0.0.1", 5000, false),
        ] {
            assert_eq!(
                behind_proxy(lists),
                (ip.to_owned(), port, counted),
                "{lists:?}"
            );
        }
    }

    #[test]
    fn stranger_names_nobody_else_and_itself_secure_in_vain() {
        let trusted = ranges(&["10.0.0.0/8"]);
        let mut remote = from("192.0.2.1:5000", &trusted);
        let before = remote;
        for name in [FORWARDED_FOR, FORWARDED_PROTO] {
            assert!(!remote.on_request(&request(&[(name, "https")]), &trusted));
        }
        assert!(remote.on_request(&request(&[("host", "x")]), &trusted));
        assert_eq!(remote, before);
        assert!(!remote.is_trusted() && !remote.secure);
    }

    #[test]
    fn unix_socket_is_trusted_and_counts_for_nobody() {
        let mut remote = Remote::unix();
        assert!(remote.is_trusted());
        assert_eq!((remote.to_string().as_str(), remote.key()), ("unix", None));
        remote.on_request(&request(&[(FORWARDED_FOR, "6.6.6.6, 192.0.2.1")]), &[]);
        assert_eq!(remote.to_string(), "192.0.2.1");
        assert!(remote.key().is_some());
    }

    #[test]
    fn nearest_proxy_says_whether_it_was_tls() {
        for (values, secure) in [
            (&["https"][..], true),
            (&["WSS"], true),
            (&["http"], false),
            (&["https, http"], false),
            (&["http", "https"], true),
            (&[""], false),
            (&[], false),
        ] {
            let headers: Vec<_> = values
                .iter()
                .map(|value| (FORWARDED_PROTO, *value))
                .collect();
            let mut remote = Remote::unix();
            remote.on_request(&request(&headers), &[]);
            assert_eq!(remote.secure, secure, "{values:?}");
        }
    }

    #[test]
    fn client_of_a_proxy_header_is_not_asked_again() {
        let trusted = ranges(&["10.0.0.0/8"]);
        let mut remote = from("[::ffff:10.0.0.1]:5000", &trusted);
        assert!(remote.is_trusted());
        remote.on_proxy_header(Source::Own, &trusted);
        assert_eq!(
            (remote.to_string().as_str(), remote.port),
            ("10.0.0.1", 5000)
        );
        let client = Source::Client {
            ip: "192.0.2.1".parse().unwrap(),
            port: 7,
            secure: true,
        };
        remote.on_proxy_header(client, &trusted);
        let lie = request(&[(FORWARDED_FOR, "6.6.6.6"), (FORWARDED_PROTO, "http")]);
        assert!(remote.on_request(&lie, &trusted));
        assert_eq!((remote.to_string().as_str(), remote.port), ("192.0.2.1", 7));
        assert!(remote.secure && remote.key().is_some());
        // A second proxy that is trusted as well, in front of the first.
        let mut remote = from("10.0.0.1:5000", &trusted);
        let second = Source::Client {
            ip: "10.0.0.2".parse().unwrap(),
            port: 7,
            secure: false,
        };
        remote.on_proxy_header(second, &trusted);
        remote.on_request(&request(&[(FORWARDED_FOR, "192.0.2.1")]), &trusted);
        assert_eq!(remote.to_string(), "192.0.2.1");
    }

    #[test]
    fn addresses_count_by_what_one_subscriber_has() {
        let key = |ip: &str| AddressKey::new(ip.parse().unwrap());
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
    }
}
