//! A certificate with its chain and its key: read, checked against each other, ready to serve.
//!
//! [pure] Takes the files' contents and the time; who reads files and names them in messages is `config`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};

/// What is wrong with a file of certificates.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// Its end has come.
    #[error("expired on {0}; must be renewed")]
    Expired(Moment),
    /// There is something else, or nothing, in the file.
    #[error(
        "has no certificate; must be PEM, the server's own certificate first, then those that lead to its root"
    )]
    Missing,
    /// Its PEM is broken.
    #[error("is no PEM: {0}")]
    Pem(String),
    /// What its PEM holds is none. The number counts from 1.
    #[error("certificate {0} in it cannot be read; must be X.509")]
    Unreadable(usize),
}

/// What is wrong with a file with a key.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// Somebody would have to type its passphrase.
    #[error(
        "is encrypted; must be without a passphrase (openssl pkey -in KEY -out NEW), readable by wsd alone"
    )]
    Encrypted,
    /// Another certificate's.
    #[error("is not the key of the first certificate in {0}")]
    Mismatch(String),
    /// There is something else, or nothing, in the file.
    #[error("has no private key; must be PEM of PKCS#8, PKCS#1 or SEC1")]
    Missing,
    /// Its PEM is broken.
    #[error("is no PEM: {0}")]
    Pem(String),
    /// Nothing that can sign here.
    #[error(
        "is no key that can be used; must be RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519"
    )]
    Unsupported,
}

/// A date and time in UTC, as messages show it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment(DateTime);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        write!(
            f,
            "{:04}-{:02}-{:02} {:02}:{:02} UTC",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minutes()
        )
    }
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    from: DateTime,
    until: DateTime,
}

impl Validity {
    /// How long before its end a certificate is worth a warning: renewal is due at a third of 90 days, so one with this
    /// little left was not renewed.
    const SOON: Duration = Duration::from_hours(14 * 24);

    /// Its last second, since 1970.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.until.unix_duration()
    }

    /// What is odd about it at that time, counted from 1970, but no reason to refuse it.
    #[must_use]
    pub fn warning(&self, now: Duration) -> Option<String> {
        if now < self.from.unix_duration() {
            // A machine whose clock is not set yet must come up all the same.
            Some(format!(
                "is not valid before {}: clients will refuse it until then, or the clock is wrong",
                Moment(self.from)
            ))
        } else if now + Self::SOON > self.until() {
            let days = self.until().saturating_sub(now).as_secs() / 86_400;
            let s = if days == 1 { "" } else { "s" };
            Some(format!(
                "expires in {days} day{s}, on {}; must be renewed",
                Moment(self.until)
            ))
        } else {
            None
        }
    }
}

/// A certificate with its chain, and what can sign for it.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    validity: Validity,
    /// Odd things about the chain, a sentence each.
    warnings: Vec<String>,
}

impl Identity {
    /// Reads a certificate and its chain, at a time counted from 1970.
    pub fn read(pem: &[u8], now: Duration) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| CertificateError::Pem(pem_text(&error)))?;
        let read = |(index, der): (usize, &CertificateDer<'_>)| {
            Certificate::from_der(der).map_err(|_| CertificateError::Unreadable(index + 1))
        };
        let certificates: Vec<Certificate> = chain
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()?;
        let validity_of = |certificate: &Certificate| {
            let validity = certificate.tbs_certificate().validity();
            Validity {
                from: validity.not_before.to_date_time(),
                until: validity.not_after.to_date_time(),
            }
        };
        let Some(own) = certificates.first() else {
            return Err(CertificateError::Missing);
        };
        let validity = validity_of(own);
        if validity.until() < now {
            return Err(CertificateError::Expired(Moment(validity.until)));
        }
        let mut warnings = Vec::new();
        warnings.extend(validity.warning(now));
        for (index, pair) in certificates.windows(2).enumerate() {
            if let [below, above] = pair {
                let number = index + 2;
                if below.tbs_certificate().issuer() != above.tbs_certificate().subject() {
                    warnings.push(format!(
                        "certificate {number} in it did not issue the one before; clients may refuse the chain"
                    ));
                }
                if validity_of(above).until() < now {
                    let until = Moment(validity_of(above).until);
                    warnings.push(format!(
                        "certificate {number} in it expired on {until}; clients may refuse the chain"
                    ));
                }
            }
        }
        Ok(Self {
            chain,
            validity,
            warnings,
        })
    }

    /// From when to when the server's own certificate is valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Odd things that are no reason to refuse it, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether it is the same certificate with the same chain, and so the same key.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain
    }

    /// With its key, what serves connections. `file` is where the certificate came from, for the message.
    pub fn with_key(&self, pem: &[u8], file: &str) -> Result<Arc<ServerConfig>, KeyError> {
        let key = signing_key(pem)?;
        let certified = CertifiedKey::new(self.chain.clone(), key);
        if certified.keys_match().is_err() {
            return Err(KeyError::Mismatch(file.to_owned()));
        }
        server(certified).map_err(|_| KeyError::Unsupported)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.chain.len())
    }
}

fn signing_key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, KeyError> {
    let key = match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => key,
        Err(pem::Error::NoItemsFound) if is_encrypted(pem) => return Err(KeyError::Encrypted),
        Err(pem::Error::NoItemsFound) => return Err(KeyError::Missing),
        Err(error) if is_encrypted(pem) => {
            // The old form has headers between its first line and its base64.
            let _ = error;
            return Err(KeyError::Encrypted);
        }
        Err(error) => return Err(KeyError::Pem(pem_text(&error))),
    };
    aws_lc_rs::sign::any_supported_type(&key).map_err(|_| KeyError::Unsupported)
}

/// PKCS#8's encrypted form (RFC 7468 §11), and OpenSSL's old one (RFC 1421 §4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    let has = |words: &[u8]| memchr::memmem::find(pem, words).is_some();
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

fn server(certified: CertifiedKey) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // Only this protocol has the upgrade to WebSocket that is understood here (RFC 6455).
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Who comes back resumes with a ticket, which any worker can read and which takes no memory here. Tickets are as old
    // as the certificate: another one has other keys for them, and everybody proves anew.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = aws_lc_rs::Ticketer::new()?;
    // One is enough: a client that comes back with it gets the next.
    server.send_tls13_tickets = 1;
    Ok(Arc::new(server))
}

/// What is wrong with PEM, without what stands in the file: it may be a key.
fn pem_text(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "an END line is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is broken".to_owned(),
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is no base64".to_owned(),
        _ => "it cannot be read".to_owned(),
    }
}
