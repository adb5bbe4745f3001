//! `[tls]`: where certificate and key come from, and what they have become.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::ServerConfig;

use crate::tls::Identity;

/// `[tls]`
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's own certificate, then those that lead to its root.
    pub certificate: TlsFile,
    /// Its key.
    pub key: TlsFile,
    /// The certificate as it was read. `None` only where a placeholder stands for a credential: in `wsd check`.
    pub identity: Option<Identity>,
    /// What serves connections. `None` only where a placeholder stands for a credential.
    pub server: Option<Arc<ServerConfig>>,
}

impl Tls {
    /// Whether both come from the same places and the certificate is the same, and so the key.
    fn is_same(&self, other: &Self) -> bool {
        let identity = match (&self.identity, &other.identity) {
            (Some(own), Some(other)) => own.is_same(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        identity && self.certificate == other.certificate && self.key == other.key
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

/// Where something of `[tls]` comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TlsFile {
    /// The systemd credential of this name.
    Credential(String),
    /// A file.
    Path(PathBuf),
}

/// As it would stand in the configuration.
impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}
