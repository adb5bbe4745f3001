//! The PROXY protocol's header, versions 1 and 2, which a proxy sends before anything else to say whom it speaks for.
//!
//! [pure] By the protocol's own document (haproxy.org, proxy-protocol.txt). The owner, `worker/open.rs`, asks only where
//! a trusted proxy must send one, and closes the connection on any error: to guess would let a client that gets through
//! to the port choose its address.
//!
//! # Why not a crate
//!
//! The two that need no socket take what the protocol does not allow (a port `+80`, other words between the fields, a
//! header that is no beginning of one only refused at its end), and what is left of them is shorter than this.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whom the proxy speaks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// A client with an address.
    Client {
        /// Its address.
        ip: IpAddr,
        /// Its port.
        port: u16,
        /// Whether the proxy says that the client came over TLS (version 2 only).
        secure: bool,
    },
    /// A client that has no address: it came to the proxy over a Unix socket.
    Nameless,
    /// For itself (a health check), or for somebody it cannot name: the connection's own address holds.
    Own,
}

/// Why it is no header. The connection is to be closed without an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProxyError {
    /// It begins with something else.
    #[error("does not begin with a PROXY header")]
    Missing,
    /// It is longer than it may be.
    #[error("the PROXY header is too long")]
    TooLong,
    /// Version 1: not as it is written.
    #[error(
        "the PROXY header is not \"PROXY TCP4|TCP6 source destination port port\" or \"PROXY UNKNOWN\""
    )]
    Text,
    /// Version 2: another version or command.
    #[error("the PROXY header's version must be 2, its command LOCAL or PROXY")]
    Command,
    /// Version 2: no kind of address that there is.
    #[error("the PROXY header's kind of address is unknown")]
    Family,
    /// Version 2: shorter than its addresses.
    #[error("the PROXY header is shorter than the addresses it announces")]
    TooShort,
}

/// The most bytes of a header of version 1, line end included.
const MAX_TEXT_BYTES: usize = 107;

/// The most bytes of a header of version 2. The protocol allows 64 KiB; real ones have some hundreds.
pub const MAX_BINARY_BYTES: usize = 16 * 1024;

/// How a header of version 1 begins.
const TEXT: &[u8] = b"PROXY ";

/// How a header of version 2 begins.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Reads a header at the front of `input`; `None` if it is not complete. Returns also how many bytes it took.
pub fn parse(input: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    if begins(input, TEXT) {
        parse_text(input)
    } else if begins(input, BINARY) {
        parse_binary(input)
    } else {
        Err(ProxyError::Missing)
    }
}

/// Whether some input begins like a header, complete or not: for who does not expect one and wants to say so.
#[must_use]
pub fn is_header(input: &[u8]) -> bool {
    input.starts_with(TEXT) || input.starts_with(BINARY)
}

/// Whether `input` begins with `start`, as far as it goes.
fn begins(input: &[u8], start: &[u8]) -> bool {
    let len = input.len().min(start.len());
    input.get(..len) == start.get(..len)
}

fn parse_text(input: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    let window = input.get(..MAX_TEXT_BYTES).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == MAX_TEXT_BYTES {
            Err(ProxyError::TooLong)
        } else {
            Ok(None)
        };
    };
    let line = window
        .get(TEXT.len()..end)
        .and_then(|rest| rest.strip_suffix(b"\r"))
        .and_then(|rest| std::str::from_utf8(rest).ok())
        .ok_or(ProxyError::Text)?;
    let source = match line.split_once(' ').unwrap_or((line, "")) {
        // What follows it is to be ignored.
        ("UNKNOWN", _) => Source::Own,
        ("TCP4", fields) => client::<Ipv4Addr>(fields).ok_or(ProxyError::Text)?,
        ("TCP6", fields) => client::<Ipv6Addr>(fields).ok_or(ProxyError::Text)?,
        _ => return Err(ProxyError::Text),
    };
    Ok(Some((source, end.saturating_add(1))))
}

/// The client of `source destination port port`.
fn client<A: core::str::FromStr + Into<IpAddr>>(fields: &str) -> Option<Source> {
    let mut fields = fields.split(' ');
    let source: A = fields.next()?.parse().ok()?;
    let _: A = fields.next()?.parse().ok()?;
    let port = parse_port(fields.next()?)?;
    parse_port(fields.next()?)?;
    fields.next().is_none().then(|| Source::Client {
        ip: source.into().to_canonical(),
        port,
        secure: false,
    })
}

/// 0 to 65535 in digits, without zeros before it.
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    (digits && plain).then(|| text.parse().ok()).flatten()
}

fn parse_binary(input: &[u8]) -> Result<Option<(Source, usize)>, ProxyError> {
    let Some(rest) = input.get(BINARY.len()..) else {
        return Ok(None);
    };
    // As soon as it is there: nobody need wait for the end of what will be refused.
    if rest
        .first()
        .is_some_and(|byte| !matches!(byte, 0x20 | 0x21))
    {
        return Err(ProxyError::Command);
    }
    let Some(&[command, kind, high, low]) = rest.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let size = BINARY.len().saturating_add(4).saturating_add(len);
    if size > MAX_BINARY_BYTES {
        return Err(ProxyError::TooLong);
    }
    let is_local = command == 0x20;
    // The kind of a LOCAL header is to be ignored.
    let address_len = match kind {
        _ if is_local => 0,
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(ProxyError::Family),
    };
    if len < address_len {
        return Err(ProxyError::TooShort);
    }
    let Some(body) = input.get(BINARY.len().saturating_add(4)..size) else {
        return Ok(None);
    };
    let (addresses, extensions) = body.split_at_checked(address_len).unwrap_or_default();
    let address = match kind {
        _ if is_local => None,
        0x11 => addresses
            .first_chunk::<4>()
            .map(|ip| (IpAddr::from(*ip), 8)),
        0x21 => addresses
            .first_chunk::<16>()
            .map(|ip| (IpAddr::from(*ip).to_canonical(), 32)),
        0x31 => return Ok(Some((Source::Nameless, size))),
        // UNSPEC, and datagrams, which no WebSocket comes over.
        _ => None,
    };
    let port = |at| addresses.get(at..).and_then(<[u8]>::first_chunk::<2>);
    let source = match address.and_then(|(ip, at)| Some((ip, port(at)?))) {
        Some((ip, port)) => Source::Client {
            ip,
            port: u16::from_be_bytes(*port),
            secure: is_secure(extensions),
        },
        None => Source::Own,
    };
    Ok(Some((source, size)))
}

/// Whether the extensions (TLVs) say that the client came over TLS. All others are skipped, and so is what is broken.
fn is_secure(mut extensions: &[u8]) -> bool {
    // PP2_TYPE_SSL, and PP2_CLIENT_SSL in its first byte.
    const SSL: u8 = 0x20;
    const CLIENT_SSL: u8 = 0x01;
    while let Some((&[kind, high, low], rest)) = extensions.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, after)) = rest.split_at_checked(len) else {
            return false;
        };
        if kind == SSL {
            return value.first().is_some_and(|flags| flags & CLIENT_SSL != 0);
        }
        extensions = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(ip: &str, port: u16, secure: bool) -> Source {
        let ip = ip.parse().unwrap();
        Source::Client { ip, port, secure }
    }

    fn binary(command: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap();
        [BINARY, &[command, kind], &len.to_be_bytes(), body].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0, 80];

    /// Whatever the cut, an incomplete header is incomplete, and what follows one is not taken.
    fn taken(header: &[u8]) -> Source {
        for cut in 0..header.len() {
            let part = parse(header.get(..cut).unwrap());
            assert_eq!(part, Ok(None), "cut at {cut}");
        }
        let (source, size) = parse(&[header, b"GET / HTTP/1.1"].concat())
            .unwrap()
            .unwrap();
        assert_eq!(size, header.len());
        source
    }

    #[test]
    fn text_says_whom_the_proxy_speaks_for() {
        for (line, source) in [
            (
                "TCP4 192.0.2.1 10.0.0.1 12345 80",
                client("192.0.2.1", 12345, false),
            ),
            (
                "TCP6 2001:db8::1 ::1 0 65535",
                client("2001:db8::1", 0, false),
            ),
            (
                "TCP6 ::ffff:192.0.2.1 ::1 1 2",
                client("192.0.2.1", 1, false),
            ),
            ("UNKNOWN", Source::Own),
            ("UNKNOWN ffff::1 ffff::2 1 2", Source::Own),
        ] {
            assert_eq!(
                taken(format!("PROXY {line}\r\n").as_bytes()),
                source,
                "{line}"
            );
        }
        let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(longest.len(), MAX_TEXT_BYTES);
        assert_eq!(taken(longest.as_bytes()), Source::Own);
    }

    #[test]
    fn text_that_is_not_as_it_is_written_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 12345 80\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 12345 80 90\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 12345 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +80 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 080 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 80 65536\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1  \r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY \r\n",
            "PROXY tcp4 192.0.2.1 10.0.0.1 1 2\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(ProxyError::Text), "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(100));
        assert_eq!(parse(endless.as_bytes()), Err(ProxyError::TooLong));
        assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(ProxyError::Text));
        for other in [
            "GET / HTTP/1.1\r\n",
            "PROXXY",
            "proxy ",
            "PROXY\r\n",
            "\r\n\r\n\r\n",
        ] {
            assert_eq!(
                parse(other.as_bytes()),
                Err(ProxyError::Missing),
                "{other:?}"
            );
        }
    }

    #[test]
    fn bytes_say_whom_the_proxy_speaks_for() {
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&443_u16.to_be_bytes());
        let mut mapped = v6;
        mapped[..16].copy_from_slice(&"::ffff:192.0.2.9".parse::<Ipv6Addr>().unwrap().octets());
        for (header, source) in [
            (binary(0x21, 0x11, &V4), client("192.0.2.1", 12345, false)),
            (binary(0x21, 0x21, &v6), client("2001:db8::1", 443, false)),
            (binary(0x21, 0x21, &mapped), client("192.0.2.9", 443, false)),
            (binary(0x21, 0x12, &V4), Source::Own),
            (binary(0x21, 0x22, &v6), Source::Own),
            (binary(0x21, 0x31, &[b'x'; 216]), Source::Nameless),
            (binary(0x21, 0x00, b""), Source::Own),
            (binary(0x21, 0x00, b"more"), Source::Own),
            (binary(0x20, 0x00, b""), Source::Own),
            (binary(0x20, 0x11, &V4), Source::Own),
            (binary(0x20, 0xff, b"x"), Source::Own),
        ] {
            assert_eq!(taken(&header), source, "{header:x?}");
        }
    }

    #[test]
    fn extensions_are_skipped_but_for_the_word_on_tls() {
        let body = |extensions: &[u8]| binary(0x21, 0x11, &[&V4[..], extensions].concat());
        for (extensions, secure) in [
            (&b"\x01\0\x02h2\x04\0\0"[..], false),
            (b"\x20\0\x05\x01\0\0\0\0", true),
            (b"\x01\0\x02h2\x20\0\x08\x07\0\0\0\0\x21\0\0", true),
            (b"\x20\0\x05\0\0\0\0\0", false),
            (b"\x20\0\0", false),
            (b"\x20\0\x05\x01", false),
            (b"\x20\xff", false),
            (&[7; 4000], false),
        ] {
            assert_eq!(taken(&body(extensions)), client("192.0.2.1", 12345, secure));
        }
    }

    #[test]
    fn bytes_that_are_no_header_are_refused() {
        for (header, error) in [
            (binary(0x11, 0x11, &V4), ProxyError::Command),
            (binary(0x22, 0x11, &V4), ProxyError::Command),
            (binary(0x21, 0x13, &V4), ProxyError::Family),
            (binary(0x21, 0x41, &V4), ProxyError::Family),
            (binary(0x21, 0x11, &V4[..11]), ProxyError::TooShort),
            (binary(0x21, 0x21, &V4), ProxyError::TooShort),
            (binary(0x21, 0x31, &[0; 215]), ProxyError::TooShort),
            (
                binary(0x21, 0x11, &[0; MAX_BINARY_BYTES]),
                ProxyError::TooLong,
            ),
        ] {
            assert_eq!(parse(&header), Err(error), "{header:x?}");
        }
        // Before the rest of it has come.
        assert_eq!(parse(&binary(0x31, 0, b"")[..13]), Err(ProxyError::Command));
        assert!(is_header(&binary(0x21, 0, b"")) && is_header(b"PROXY x") && !is_header(b"GET"));
    }
}
