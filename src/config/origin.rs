//! [pure] `limits.origins`: which pages may connect.

use std::fmt;

use super::Limits;

/// An entry of `limits.origins`: lower case, its default port made explicit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginPattern {
    /// `http` or `https`, or another scheme as browsers' extensions have.
    pub scheme: String,
    /// Without the `*.` of a wildcard.
    pub host: String,
    /// `*.host`: any subdomain, not the host itself.
    pub subdomains: bool,
    /// `None` only where the scheme has no default port and none was given.
    pub port: Option<u16>,
}

impl OriginPattern {
    /// Reads `"https://example.com"`, `"https://*.example.com:8443"`.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let (scheme, authority) = text.split_once("://").ok_or(OriginError::Form)?;
        if authority.contains(['/', '?', '#']) {
            return Err(OriginError::Path);
        }
        let (subdomains, authority) = match authority.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, authority),
        };
        if authority.contains('*') {
            return Err(OriginError::Star);
        }
        if !authority.is_ascii() {
            return Err(OriginError::Ascii);
        }
        let origin = Origin::parse(scheme, authority).ok_or(OriginError::Form)?;
        if subdomains && origin.host.starts_with('[') {
            return Err(OriginError::Star);
        }
        Ok(Self {
            scheme: origin.scheme.to_ascii_lowercase(),
            host: origin.host.to_ascii_lowercase(),
            subdomains,
            port: origin.port,
        })
    }

    /// Whether the value of an `Origin` header (RFC 6454 §7) fits.
    #[must_use]
    pub fn matches(&self, header: &str) -> bool {
        let Some(origin) = header
            .split_once("://")
            .and_then(|(scheme, authority)| Origin::parse(scheme, authority))
        else {
            return false;
        };
        let host_fits = if self.subdomains {
            let cut = origin.host.len().checked_sub(self.host.len() + 1);
            cut.is_some_and(|cut| {
                cut > 0
                    && origin.host.as_bytes().get(cut) == Some(&b'.')
                    && origin
                        .host
                        .get(cut + 1..)
                        .is_some_and(|tail| tail.eq_ignore_ascii_case(&self.host))
            })
        } else {
            origin.host.eq_ignore_ascii_case(&self.host)
        };
        host_fits && origin.scheme.eq_ignore_ascii_case(&self.scheme) && origin.port == self.port
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.subdomains { "*." } else { "" };
        write!(f, "{}://{star}{}", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Limits {
    /// Whether a handshake with this `Origin` header may go on; one without the header may always.
    #[must_use]
    pub fn allows_origin(&self, header: Option<&[u8]>) -> bool {
        let Some(header) = header else {
            return true;
        };
        self.origins.is_empty()
            || std::str::from_utf8(header)
                .is_ok_and(|text| self.origins.iter().any(|pattern| pattern.matches(text)))
    }
}

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OriginError {
    /// Browsers send the ASCII form.
    #[error("must be ASCII, browsers send such a name as \"xn--…\"")]
    Ascii,
    /// Anything else.
    #[error("must be an origin such as \"https://example.com\" or \"https://*.example.com:8443\"")]
    Form,
    /// An origin has none.
    #[error("must end with the host or the port, an origin has no path")]
    Path,
    /// Elsewhere than before the first dot.
    #[error("\"*\" may only stand for subdomains, as in \"https://*.example.com\"")]
    Star,
}

/// What an `Origin` header says, as it came, the port made explicit.
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    fn parse(scheme: &'a str, authority: &'a str) -> Option<Self> {
        let mut letters = scheme.bytes();
        let first = letters.next()?;
        if !first.is_ascii_alphabetic()
            || !letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        {
            return None;
        }
        // After the bracket, if there is one: an IPv6 address is full of colons.
        let bracket = authority.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match authority.get(bracket..)?.rfind(':') {
            Some(colon) => {
                let (host, port) = authority.split_at_checked(bracket + colon)?;
                (host, Some(port.get(1..)?))
            }
            None => (authority, None),
        };
        let host_is_fine = if let Some(inner) = host.strip_prefix('[') {
            let address = inner.strip_suffix(']')?;
            address.parse::<core::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty()
                && !host.starts_with('.')
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port != 0)?)
            }
            Some(_) => return None,
            None if scheme.eq_ignore_ascii_case("https") => Some(443),
            None if scheme.eq_ignore_ascii_case("http") => Some(80),
            None => None,
        };
        host_is_fine.then_some(Self { scheme, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_origins() {
        for (pattern, header, fits) in [
            ("https://example.com", "https://example.com", true),
            ("https://example.com", "https://example.com:443", true),
            ("https://EXAMPLE.com:443", "https://example.COM", true),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com", "https://www.example.com", false),
            ("https://example.com", "https://example.com.evil.org", false),
            ("https://example.com", "https://example.com/", false),
            ("https://example.com", "https://user@example.com", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            (
                "https://*.example.com:8443",
                "https://a.example.com:8443",
                true,
            ),
            ("https://*.example.com:8443", "https://a.example.com", false),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("http://localhost:3000", "http://localhost:3000", true),
            (
                "chrome-extension://abcdef",
                "chrome-extension://abcdef",
                true,
            ),
            ("https://example.com", "null", false),
            ("https://example.com", "", false),
            ("https://example.com", "https://exämple.com", false),
        ] {
            let pattern = OriginPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(header), fits, "{pattern} {header}");
            assert_eq!(OriginPattern::parse(&pattern.to_string()), Ok(pattern));
        }
    }

    #[test]
    fn what_is_no_origin_says_what_would_be() {
        for (text, error) in [
            ("example.com", OriginError::Form),
            ("", OriginError::Form),
            ("*", OriginError::Form),
            ("null", OriginError::Form),
            ("https://", OriginError::Form),
            ("https://a b", OriginError::Form),
            ("https://user@example.com", OriginError::Form),
            ("https://example.com:0", OriginError::Form),
            ("https://example.com:99999", OriginError::Form),
            ("https://example.com:", OriginError::Form),
            ("https://example.com/", OriginError::Path),
            ("https://example.com/app", OriginError::Path),
            ("https://*", OriginError::Star),
            ("https://a*.example.com", OriginError::Star),
            ("https://*.[::1]", OriginError::Star),
            ("https://exämple.com", OriginError::Ascii),
            ("://x", OriginError::Form),
        ] {
            assert_eq!(OriginPattern::parse(text), Err(error), "{text}");
        }
    }
}
