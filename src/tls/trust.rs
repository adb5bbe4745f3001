//! The client's side of TLS: whom a server's certificate must come from, and what it means when it does not.
//!
//! Trusted is what the system trusts, read anew for each connection: a root that is added counts without a restart.
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as in every program with OpenSSL.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};

/// Why no certificate can be judged.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is nobody to trust.
    #[error(
        "this machine trusts no certificate authority: install ca-certificates, or name a file of them in SSL_CERT_FILE{0}"
    )]
    Nobody(String),
    /// Of the library.
    #[error("TLS cannot be begun")]
    Tls(#[source] Error),
}

/// What makes connections to servers that the system trusts.
pub fn client() -> Result<Arc<ClientConfig>, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first();
        let why = why.map_or_else(String::new, |error| format!(" ({error})"));
        return Err(TrustError::Nobody(why));
    }
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(client))
}

/// Why a handshake with a server failed, and what would be right.
#[must_use]
pub fn explain(error: &Error) -> String {
    let known = match error {
        // The second: its authority has the name of one that is trusted, and another key.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            "its certificate comes from nobody that this machine trusts; add its authority with update-ca-certificates, or name its file in SSL_CERT_FILE"
        }
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "its certificate has expired",
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet, or the clock is wrong",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name",
        Error::InvalidMessage(_) => "it does not speak TLS",
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        ) => "it wants a certificate of its client, which cannot be given (tls-auth-clients no)",
        other => return other.to_string(),
    };
    known.to_owned()
}
