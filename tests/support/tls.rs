//! Certificates made when a test runs, and clients that speak TLS by rustls' own client side.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::{DEADLINE, Site, Stream};

/// A day.
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// Who signs the certificates of a test.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Issued {
    /// Writes both where [`CONFIG`] says.
    pub(crate) fn write(&self, site: &Site) {
        fs::write(site.path("key.pem"), &self.key).unwrap();
        fs::write(site.path("cert.pem"), &self.certificate).unwrap();
    }
}

/// The files that [`Issued::write`] writes.
pub(crate) const CONFIG: &str = "[tls]\ncertificate = \"../cert.pem\"\nkey = \"../key.pem\"\n";

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// For localhost and 127.0.0.1, with the root in the chain.
    pub(crate) fn issue(&self) -> Issued {
        self.issue_for(&["localhost", "127.0.0.1"], None)
    }

    /// The same, valid until so long before or after now.
    pub(crate) fn issue_until(&self, until: Option<(bool, Duration)>) -> Issued {
        self.issue_for(&["localhost", "127.0.0.1"], until)
    }

    /// For other names.
    pub(crate) fn issue_for(&self, names: &[&str], until: Option<(bool, Duration)>) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "a test's");
        if let Some((after, span)) = until {
            let since = std::time::UNIX_EPOCH.elapsed().unwrap();
            let now = rcgen::date_time_ymd(1970, 1, 1) + since;
            params.not_after = if after { now + span } else { now - span };
        }
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: format!("{}{}", own.pem(), self.issuer.pem()),
            key: key.serialize_pem(),
        }
    }

    /// Writes the root where other programs can read it.
    pub(crate) fn write_root(&self, path: &Path) {
        fs::write(path, self.issuer.pem()).unwrap();
    }

    /// What trusts it, and offers http/1.1.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_of(&[&rustls::version::TLS13, &rustls::version::TLS12])
    }

    /// The same with these versions.
    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// A connection that trusts it.
    pub(crate) fn connect(&self, address: SocketAddr) -> Stream {
        connect(&Arc::new(self.client()), address)
    }
}

/// A TCP connection with TLS; its handshake is made with the first byte.
pub(crate) fn connect(config: &Arc<ClientConfig>, address: SocketAddr) -> Stream {
    let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    socket.set_nodelay(true).unwrap();
    secure(config, socket)
}

/// TLS over a socket that is connected.
pub(crate) fn secure(config: &Arc<ClientConfig>, socket: TcpStream) -> Stream {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    Stream::Tls(Box::new(StreamOwned::new(connection, socket)))
}
