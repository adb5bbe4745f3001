//! [pure] `broker.url`: which broker, and where.
//!
//! A user and a password that stand in the URL are handed over apart, so that the [`BrokerUrl`] can be shown anywhere.

use std::fmt;
use std::path::PathBuf;

use super::keys;
use super::percent;

/// Which broker, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BrokerUrl {
    /// `memory:`
    Memory,
    /// `redis://[user[:password]@]host[:port][/db]`; user and password are moved to [`super::Broker`].
    Redis {
        /// `rediss://`: over TLS.
        tls: bool,
        /// A name or an address.
        host: String,
        /// 6379 if none is given.
        port: u16,
        /// 0 if none is given.
        database: u32,
    },
    /// `redis+unix:///run/redis/redis.sock`
    RedisUnix(PathBuf),
    /// `redis+sentinel://[user[:password]@]host[:port][,host[:port]…]/master[/db]`: the master of that name.
    Sentinel {
        /// At least one.
        sentinels: Vec<Host>,
        /// As the sentinels call it.
        master: String,
        /// 0 if none is given.
        database: u32,
    },
}

/// A name or an address, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// A name or an address.
    pub name: String,
    /// From 1.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Redis {
                tls,
                host,
                port,
                database,
            } => {
                let s = if *tls { "s" } else { "" };
                if host.contains(':') {
                    write!(f, "redis{s}://[{host}]:{port}")?;
                } else {
                    write!(f, "redis{s}://{host}:{port}")?;
                }
                show_database(*database, f)
            }
            Self::Sentinel {
                sentinels,
                master,
                database,
            } => {
                f.write_str("redis+sentinel://")?;
                for (index, sentinel) in sentinels.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{sentinel}")?;
                }
                write!(f, "/{master}")?;
                show_database(*database, f)
            }
            Self::RedisUnix(path) => write!(f, "redis+unix://{}", path.display()),
        }
    }
}

fn show_database(database: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if database == 0 {
        Ok(())
    } else {
        write!(f, "/{database}")
    }
}

/// A URL taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ParsedUrl {
    pub(super) url: BrokerUrl,
    /// Decoded; empty if there is none.
    pub(super) username: String,
    /// Decoded; empty if there is none.
    pub(super) password: String,
}

/// Why a text is no broker's URL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("the database after the slash must be a whole number")]
    Database,
    #[error("has no host, as in redis://localhost:6379")]
    NoHost,
    #[error(
        "a host's name has letters, digits, dots and hyphens; an IPv6 address stands in brackets"
    )]
    Host,
    #[error(
        "has no master's name, as in redis+sentinel://h1:26379,h2:26379/mymaster; it has letters, digits, dots, hyphens and underscores"
    )]
    Master,
    #[error("must be memory: and nothing after it")]
    Memory,
    #[error(
        "{0} is not built in yet; use memory:, redis://, rediss://, redis+unix:// or redis+sentinel://"
    )]
    NotBuilt(&'static str),
    #[error(
        "the path of the socket must begin with a slash, as in redis+unix:///run/redis/redis.sock"
    )]
    Path,
    #[error("the port must be 1 to 65535")]
    Port,
    #[error("must end after the database: \"?\" and \"#\" mean nothing here")]
    Query,
    #[error(
        "must begin with memory:, redis://, rediss://, redis+unix://, redis+sentinel:// or redis+cluster://"
    )]
    Scheme,
    #[error("user and password must be percent-encoded UTF-8")]
    UserInfo,
}

/// Reads a URL.
pub(super) fn parse(text: &str) -> Result<ParsedUrl, UrlError> {
    let alone = |url| ParsedUrl {
        url,
        username: String::new(),
        password: String::new(),
    };
    if let Some(scheme) = keys::scheme_not_built(text) {
        return Err(UrlError::NotBuilt(scheme));
    }
    if let Some(rest) = text.strip_prefix("memory:") {
        return if rest.is_empty() {
            Ok(alone(BrokerUrl::Memory))
        } else {
            Err(UrlError::Memory)
        };
    }
    if let Some(path) = text.strip_prefix("redis+unix://") {
        return if path.contains(['?', '#']) {
            Err(UrlError::Query)
        } else if path.len() < 2 || !path.starts_with('/') || path.contains('\0') {
            Err(UrlError::Path)
        } else {
            Ok(alone(BrokerUrl::RedisUnix(PathBuf::from(path))))
        };
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    match scheme {
        "redis" => redis(rest, false),
        "rediss" => redis(rest, true),
        "redis+sentinel" => sentinel(rest),
        _ => Err(UrlError::Scheme),
    }
}

/// The URL with what may be a password replaced, for messages.
pub(super) fn redacted(text: &str) -> String {
    // To the last `@` of all: a password that was not encoded may hold anything, also slashes.
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let (front, back) = (text.get(..scheme + 3), text.get(at..));
            format!("{}***{}", front.unwrap_or(""), back.unwrap_or(""))
        }
        (None, Some(at)) => format!("***{}", text.get(at..).unwrap_or("")),
        _ => text.to_owned(),
    }
}

/// Everything after `redis://`, or `rediss://` with `tls`.
fn redis(rest: &str, tls: bool) -> Result<ParsedUrl, UrlError> {
    let (username, password, location) = user_info(rest)?;
    let (authority, database) = location.split_once('/').unwrap_or((location, ""));
    let (host, port) = host_and_port(authority, 6379)?;
    Ok(ParsedUrl {
        url: BrokerUrl::Redis {
            tls,
            host,
            port,
            database: parse_database(database)?,
        },
        username,
        password,
    })
}

/// Everything after `redis+sentinel://`.
fn sentinel(rest: &str) -> Result<ParsedUrl, UrlError> {
    let (username, password, location) = user_info(rest)?;
    let (hosts, path) = location.split_once('/').unwrap_or((location, ""));
    let host = |host| host_and_port(host, 26379).map(|(name, port)| Host { name, port });
    let sentinels = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>()?;
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    // What Sentinel itself takes for a name.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if master.is_empty() || !master.bytes().all(plain) {
        return Err(UrlError::Master);
    }
    Ok(ParsedUrl {
        url: BrokerUrl::Sentinel {
            sentinels,
            master: master.to_owned(),
            database: parse_database(database)?,
        },
        username,
        password,
    })
}

fn parse_database(text: &str) -> Result<u32, UrlError> {
    match text {
        "" => Ok(0),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map_err(|_| UrlError::Database)
        }
        _ => Err(UrlError::Database),
    }
}

/// User and password, decoded, and what follows them.
fn user_info(rest: &str) -> Result<(String, String, &str), UrlError> {
    // The last `@` ends the user and the password, wherever it stands: else a password that was not encoded would turn
    // up as a host's name or a database in messages.
    let (user_info, location) = match rest.rsplit_once('@') {
        Some((user_info, location)) => (Some(user_info), location),
        None => (None, rest),
    };
    if location.contains(['?', '#']) {
        return Err(UrlError::Query);
    }
    let (username, password) = match user_info {
        None => (String::new(), String::new()),
        Some(both) if both.contains(['/', '?', '#', '@']) => return Err(UrlError::UserInfo),
        Some(both) => {
            let (user, password) = both.split_once(':').unwrap_or((both, ""));
            (
                percent::decode(user).ok_or(UrlError::UserInfo)?,
                percent::decode(password).ok_or(UrlError::UserInfo)?,
            )
        }
    };
    Ok((username, password, location))
}

/// Of a host, and the port that is meant where there is none.
fn host_and_port(authority: &str, default: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        if host.parse::<core::net::Ipv6Addr>().is_err() {
            return Err(UrlError::Host);
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(UrlError::Host),
        }
    } else {
        match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if !authority.starts_with('[') && !host.bytes().all(plain) {
        return Err(UrlError::Host);
    }
    let port = match port {
        None => default,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(UrlError::Port)?,
        Some(_) => return Err(UrlError::Port),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, shown, username, password) in [
            ("memory:", "memory:", "", ""),
            ("redis://h", "redis://h:6379", "", ""),
            ("redis://h:1/", "redis://h:1", "", ""),
            ("redis://10.0.0.5:6380/3", "redis://10.0.0.5:6380/3", "", ""),
            ("redis://[::1]:6380", "redis://[::1]:6380", "", ""),
            ("redis://[::1]", "redis://[::1]:6379", "", ""),
            ("rediss://ann:x@h/2", "rediss://h:6379/2", "ann", "x"),
            ("rediss://[::1]:6380", "rediss://[::1]:6380", "", ""),
            ("redis://ann@h", "redis://h:6379", "ann", ""),
            ("redis://ann:p%40ss@h", "redis://h:6379", "ann", "p@ss"),
            ("redis://:secret@h/1", "redis://h:6379/1", "", "secret"),
            (
                "redis+sentinel://h1,[::1]:5/my-master",
                "redis+sentinel://h1:26379,[::1]:5/my-master",
                "",
                "",
            ),
            (
                "redis+sentinel://ann:x@h:1/m/3",
                "redis+sentinel://h:1/m/3",
                "ann",
                "x",
            ),
            (
                "redis+unix:///run/r.sock",
                "redis+unix:///run/r.sock",
                "",
                "",
            ),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed.url.to_string(), shown, "{text}");
            assert_eq!((&*parsed.username, &*parsed.password), (username, password));
            assert_eq!(parse(shown).unwrap().url, parsed.url);
        }
    }

    #[test]
    fn what_is_no_url_says_why_and_never_shows_a_password() {
        for (text, error) in [
            ("redis.example:6379", UrlError::Scheme),
            ("", UrlError::Scheme),
            ("memory", UrlError::Scheme),
            ("memory://", UrlError::Memory),
            ("redis://", UrlError::NoHost),
            ("redis://:6379", UrlError::NoHost),
            ("redis://h:0", UrlError::Port),
            ("redis://h:99999", UrlError::Port),
            ("redis://h:", UrlError::Port),
            ("redis://::1", UrlError::Host),
            ("redis://a b", UrlError::Host),
            ("redis://[::1", UrlError::Host),
            ("redis://[x]", UrlError::Host),
            ("redis://h/x", UrlError::Database),
            ("redis://h/99999999999", UrlError::Database),
            ("redis://h/1?a=b", UrlError::Query),
            ("redis://u:%zz@h", UrlError::UserInfo),
            ("redis://u:pa/ss@h", UrlError::UserInfo),
            ("redis+sentinel://", UrlError::NoHost),
            ("redis+sentinel://h1,/m", UrlError::NoHost),
            ("redis+sentinel://h1:0/m", UrlError::Port),
            ("redis+sentinel://h1", UrlError::Master),
            ("redis+sentinel://h1/", UrlError::Master),
            ("redis+sentinel://h1/a b", UrlError::Master),
            ("redis+sentinel://h1/m/x", UrlError::Database),
            ("redis+unix://run", UrlError::Path),
            ("redis+unix:///", UrlError::Path),
            ("redis+unix:///a?db=1", UrlError::Query),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert!(matches!(
            parse("redis+cluster://h"),
            Err(UrlError::NotBuilt("redis+cluster://"))
        ));
        assert_eq!(redacted("redis://u:pa/s@s@h:0"), "redis://***@h:0");
        assert_eq!(redacted("u:p@h"), "***@h");
        assert_eq!(redacted("redis://h:0"), "redis://h:0");
    }
}
