//! [pure] Addresses to listen on and ranges of addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::fmt;
use std::path::PathBuf;

/// Something to listen on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Address {
    /// `"127.0.0.1:8080"`, `"[::]:8080"`
    Tcp(SocketAddr),
    /// `"unix:/run/wsd/ws.sock"`
    Unix(PathBuf),
}

impl Address {
    /// Linux: `sun_path` has 108 bytes, one of which ends it.
    pub const MAX_PATH_BYTES: usize = 107;

    /// Whether the kernel is to choose the port.
    #[must_use]
    pub fn is_any_port(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }

    /// Reads an address; a Unix socket's path stays as written, perhaps relative.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(AddressError::NoPath)
            } else if path.contains('\0') {
                Err(AddressError::Form)
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(address));
        }
        Err(Self::why_not(text))
    }

    /// What is wrong with a text that is no address and port.
    fn why_not(text: &str) -> AddressError {
        if text.parse::<IpAddr>().is_ok() {
            return AddressError::NoPort;
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return AddressError::Form;
        };
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        if host.parse::<Ipv4Addr>().is_ok() || bare.is_some_and(|h| h.parse::<Ipv6Addr>().is_ok()) {
            if digits || port.starts_with('-') {
                AddressError::Port
            } else {
                AddressError::Form
            }
        } else if digits && host.parse::<Ipv6Addr>().is_ok() {
            AddressError::Brackets
        } else if digits && (host.is_empty() || host == "*") {
            AddressError::NoHost
        } else if digits {
            AddressError::Name
        } else {
            AddressError::Form
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a text is nothing to listen on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressError {
    /// `::1:80`
    #[error("an IPv6 address stands in brackets, as in \"[::]:8080\"")]
    Brackets,
    /// Anything else.
    #[error(
        "must be an address and a port such as \"127.0.0.1:8080\", \"[::]:8080\" or \"unix:/run/wsd/ws.sock\""
    )]
    Form,
    /// `localhost:80`
    #[error(
        "must begin with an IP address, names are not looked up; \"127.0.0.1\" is this machine alone"
    )]
    Name,
    /// `:80`, `*:80`
    #[error("has no address; \"0.0.0.0\" stands for all of IPv4, \"[::]\" for all of IPv6")]
    NoHost,
    /// `unix:`
    #[error("has no path, as in \"unix:/run/wsd/ws.sock\"")]
    NoPath,
    /// `127.0.0.1`
    #[error("has no port, as in \"127.0.0.1:8080\" or \"[::1]:8080\"")]
    NoPort,
    /// More than 65535, or no number. (0 is any free port; the log and `wsd status` say which.)
    #[error("the port must be 1 to 65535")]
    Port,
}

/// A range of addresses, `"10.0.0.0/8"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cidr {
    /// The network's address, its other bits zero.
    pub address: IpAddr,
    /// At most 32 or 128.
    pub prefix: u8,
}

impl Cidr {
    /// Reads `"10.0.0.0/8"`, `"fd00::/8"` or a single address.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Form)?;
        let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) => {
                return Err(CidrError::Form);
            }
            Some(digits) => match digits.parse::<u8>() {
                Ok(prefix) if prefix <= longest => prefix,
                _ => return Err(CidrError::Prefix(longest)),
            },
        };
        let (address, prefix) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(v4)) if prefix >= 96 => (IpAddr::V4(v4), prefix - 96),
            (address, _) => (address, prefix),
        };
        let network = masked(address, prefix);
        if network == address {
            Ok(Self { address, prefix })
        } else {
            Err(CidrError::HostBits(Self {
                address: network,
                prefix,
            }))
        }
    }

    /// Whether the address is in the range; an IPv4 address in IPv6 form counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == self.address
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CidrError {
    /// Anything else.
    #[error("must be a range of addresses such as \"10.0.0.0/8\" or \"fd00::/8\"")]
    Form,
    /// Bits are set that the prefix does not cover; the range that is perhaps meant.
    #[error("has bits beyond its prefix; the range is \"{0}\"")]
    HostBits(Cidr),
    /// Longer than the address.
    #[error("the number after the slash must be 0 to {0}")]
    Prefix(u8),
}

/// The address with all bits after the first `prefix` zero.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let host_bits = |width: u32| width.saturating_sub(u32::from(prefix));
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(host_bits(32)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(host_bits(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_explained() {
        for good in [
            "127.0.0.1:8080",
            "[::]:8080",
            "[::1]:65535",
            "unix:/run/wsd/ws.sock",
        ] {
            assert_eq!(Address::parse(good).unwrap().to_string(), good);
        }
        for (text, error) in [
            ("0.0.0.0:99999", AddressError::Port),
            ("[::]:70000", AddressError::Port),
            ("127.0.0.1:-1", AddressError::Port),
            ("127.0.0.1", AddressError::NoPort),
            ("::1", AddressError::NoPort),
            (":8080", AddressError::NoHost),
            ("*:8080", AddressError::NoHost),
            ("localhost:8080", AddressError::Name),
            ("8080", AddressError::Form),
            ("", AddressError::Form),
            ("127.0.0.1:http", AddressError::Form),
            ("[::1:80", AddressError::Name),
            ("fe80::1%eth0:80", AddressError::Name),
            ("unix:", AddressError::NoPath),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn ranges_contain_their_addresses() {
        for (range, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
        ] {
            let range = Cidr::parse(range).unwrap();
            assert_eq!(
                range.contains(address.parse().unwrap()),
                inside,
                "{range} {address}"
            );
            assert_eq!(Cidr::parse(&range.to_string()), Ok(range));
        }
        assert_eq!(Cidr::parse("10.0.0.0/33"), Err(CidrError::Prefix(32)));
        assert_eq!(Cidr::parse("::/129"), Err(CidrError::Prefix(128)));
        assert_eq!(Cidr::parse("10.0.0.0/"), Err(CidrError::Form));
        assert_eq!(Cidr::parse("10.0.0.0/+8"), Err(CidrError::Form));
        assert_eq!(Cidr::parse("ten/8"), Err(CidrError::Form));
        assert_eq!(
            Cidr::parse("10.0.0.1/8").unwrap_err().to_string(),
            "has bits beyond its prefix; the range is \"10.0.0.0/8\""
        );
    }
}
