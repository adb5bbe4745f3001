//! A certificate judged, and a tunnel against rustls' own client.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, date_time_ymd};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::tunnel::MOST_PLAIN;
use super::*;

const DAY: Duration = Duration::from_hours(24);

/// 2026-01-01, as far as these tests care.
const NOW: Duration = Duration::from_secs(1_767_225_600);

/// A self-signed certificate that is valid from and until so long after [`NOW`], in days.
fn certificate(from: i64, until: i64) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let at = |days: i64| {
        let start = date_time_ymd(2026, 1, 1);
        let span = DAY * u32::try_from(days.abs()).unwrap();
        if days < 0 { start - span } else { start + span }
    };
    (params.not_before, params.not_after) = (at(from), at(until));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_is_judged_by_its_time() {
    for (from, until, refused, warned) in [
        (-1, 90, None, None),
        (-90, -1, Some("expired on 2025-12-31 00:00 UTC"), None),
        (
            -90,
            13,
            None,
            Some("expires in 13 days, on 2026-01-14 00:00 UTC"),
        ),
        (-90, 1, None, Some("expires in 1 day, on ")),
        (-90, 15, None, None),
        (
            2,
            90,
            None,
            Some("is not valid before 2026-01-03 00:00 UTC"),
        ),
    ] {
        let (pem, _) = certificate(from, until);
        match (Identity::read(pem.as_bytes(), NOW), refused) {
            (Err(error), Some(says)) => assert!(error.to_string().starts_with(says), "{error}"),
            (Ok(identity), None) => {
                let warnings = identity.warnings().join("\n");
                match warned {
                    None => assert_eq!(warnings, ""),
                    Some(says) => assert!(warnings.starts_with(says), "{warnings}"),
                }
            }
            (result, _) => panic!("{from} to {until}: {result:?}"),
        }
    }
}

#[test]
fn what_is_no_certificate_or_no_key_is_said_so() {
    let (good, key) = certificate(-1, 90);
    let broken = good.replacen("MII", "M\u{1}I", 1);
    let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let endless = good.replace("-----END CERTIFICATE-----", "");
    for (pem, says) in [
        ("", "has no certificate"),
        (key.as_str(), "has no certificate"),
        (broken.as_str(), "is no PEM: what stands between"),
        (endless.as_str(), "is no PEM: an END line is missing"),
        (other, "certificate 1 in it cannot be read"),
        (
            &format!("{good}{other}"),
            "certificate 2 in it cannot be read",
        ),
    ] {
        let error = Identity::read(pem.as_bytes(), NOW).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
    let identity = Identity::read(good.as_bytes(), NOW).unwrap();
    let (_, foreign) = certificate(-1, 90);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (pem, says) in [
        ("", "has no private key"),
        (good.as_str(), "has no private key"),
        (
            foreign.as_str(),
            "is not the key of the first certificate in cert.pem",
        ),
        (encrypted, "is encrypted"),
        (old, "is encrypted"),
        (nonsense, "is no key that can be used"),
    ] {
        let error = identity.with_key(pem.as_bytes(), "cert.pem").unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
    }
    assert!(identity.with_key(key.as_bytes(), "cert.pem").is_ok());
}

#[test]
fn keys_of_other_kinds_serve_too() {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let identity = Identity::read(pem.as_bytes(), NOW).unwrap();
    assert!(
        identity
            .with_key(key.serialize_pem().as_bytes(), "x")
            .is_ok()
    );
}

#[test]
fn a_chain_that_does_not_hang_together_is_odd() {
    let (one, _) = certificate(-1, 90);
    // The name is the same, and with it issuer and subject: what differs is the end.
    let (past, _) = certificate(-90, -1);
    let identity = Identity::read(format!("{one}{past}").as_bytes(), NOW).unwrap();
    assert_eq!(identity.warnings().len(), 1, "{:?}", identity.warnings());
    assert!(identity.warnings()[0].starts_with("certificate 2 in it expired on 2025-12-31"));
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "another");
    let stranger = params
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
        .pem();
    let identity = Identity::read(format!("{one}{stranger}").as_bytes(), NOW).unwrap();
    assert!(identity.warnings()[0].starts_with("certificate 2 in it did not issue"));
    assert!(!identity.is_same(&Identity::read(one.as_bytes(), NOW).unwrap()));
}

/// Both ends of a connection: rustls' client, and ours.
struct Pair {
    client: ClientConnection,
    server: Tunnel,
    /// What the server has read.
    read: BytesMut,
    /// Bytes on their way to the server that it has not been given.
    cut: usize,
}

impl Pair {
    fn new(version: &'static SupportedProtocolVersion) -> Self {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let identity = Identity::read(certificate.pem().as_bytes(), NOW).unwrap();
        let server = identity.with_key(key.serialize_pem().as_bytes(), "x");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        Self {
            client: ClientConnection::new(Arc::new(config), name).unwrap(),
            server: Tunnel::new(&server.unwrap()).unwrap(),
            read: BytesMut::new(),
            cut: usize::MAX,
        }
    }

    /// Gives the server what the client has to say, in pieces of `cut` bytes.
    fn feed_server(&mut self) -> Result<Progress, Failure> {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        let mut last = Progress::More;
        for piece in wire.chunks(self.cut.min(wire.len().max(1))) {
            last = self.give(piece)?;
        }
        Ok(last)
    }

    fn give(&mut self, bytes: &[u8]) -> Result<Progress, Failure> {
        let mut input = [self.server.pending(), bytes].concat();
        self.server.receive(&mut input, &mut self.read)
    }

    /// Gives the client what the server has to say; returns what it has read.
    fn feed_client(&mut self) -> Vec<u8> {
        let wire = self.server.outgoing().to_vec();
        self.server.advance(wire.len());
        self.client_reads(&wire)
    }

    fn client_reads(&mut self, wire: &[u8]) -> Vec<u8> {
        let mut rest = wire;
        let mut plain = Vec::new();
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            let state = self.client.process_new_packets().unwrap();
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            self.client.reader().read_exact(&mut part).unwrap();
            plain.extend(part);
        }
        plain
    }

    fn shake(&mut self) {
        for _ in 0..4 {
            self.feed_server().unwrap();
            assert_eq!(self.feed_client(), b"");
        }
        assert!(!self.client.is_handshaking() && !self.server.is_handshaking());
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn what_is_said_arrives_however_the_bytes_are_cut() {
    for version in VERSIONS {
        for cut in [1, 7, 100, 4096, usize::MAX] {
            let mut pair = Pair::new(version);
            pair.cut = cut;
            pair.shake();
            assert_eq!(pair.client.protocol_version(), Some(version.version));
            for size in [1, 1000, 70_000] {
                let text: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
                let mut rest = text.as_slice();
                while !rest.is_empty() {
                    let written = pair.client.writer().write(rest).unwrap();
                    rest = &rest[written..];
                    assert_eq!(pair.feed_server(), Ok(Progress::More));
                    // The flusher may write at any moment, also while half a record waits.
                    pair.server.push(b"meanwhile").unwrap();
                    assert_eq!(pair.feed_client(), b"meanwhile");
                }
                assert_eq!(pair.read.split(), text);
                assert!(pair.server.pending().is_empty());
                let mut room = vec![0; MOST_SEALED];
                let mut got = Vec::new();
                for part in text.chunks(MOST_PLAIN) {
                    let sealed = pair.server.seal(part, &mut room).unwrap();
                    got.extend(pair.client_reads(&room[..sealed]));
                }
                assert_eq!(got, text);
            }
        }
    }
}

#[test]
fn largest_piece_fits_the_room() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        pair.shake();
        let mut room = vec![0; MOST_SEALED];
        let sealed = pair.server.seal(&vec![7; MOST_PLAIN], &mut room).unwrap();
        assert!(sealed > MOST_PLAIN && sealed <= MOST_SEALED, "{sealed}");
    }
}

#[test]
fn an_end_is_said_and_heard() {
    for version in VERSIONS {
        let mut pair = Pair::new(version);
        pair.shake();
        pair.client.writer().write_all(b"last").unwrap();
        pair.client.send_close_notify();
        assert_eq!(pair.feed_server(), Ok(Progress::Ended));
        assert!(pair.server.has_ended());
        assert_eq!(&pair.read[..], b"last");
        pair.server.push(b"bye").unwrap();
        pair.server.push_close();
        assert_eq!(pair.feed_client(), b"bye");
        let state = pair.client.process_new_packets().unwrap();
        assert!(state.peer_has_closed());
    }
}

#[test]
fn a_key_update_is_followed_also_by_what_is_written_before_its_rest() {
    let mut pair = Pair::new(&rustls::version::TLS13);
    pair.shake();
    for cut in [1, 3, usize::MAX] {
        pair.cut = cut;
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"new keys").unwrap();
        pair.feed_server().unwrap();
        assert_eq!(pair.read.split(), &b"new keys"[..]);
        pair.server.push(b"too").unwrap();
        assert_eq!(pair.feed_client(), b"too");
    }
}

#[test]
fn what_is_no_tls_is_told_apart_from_http() {
    let failures = |input: &[u8]| {
        let mut pair = Pair::new(&rustls::version::TLS13);
        let failure = pair.give(input).unwrap_err();
        let answer = pair.server.outgoing().to_vec();
        // Nothing can be said any more.
        (failure, answer, pair.server.push(b"x").is_ok())
    };
    let (failure, answer, plain) = failures(b"GET / HTTP/1.1\r\n");
    assert_eq!(
        (failure, answer.len(), plain),
        (Failure::PlainHttp, 0, true)
    );
    let mut alerts = 0;
    for input in [
        &b"\x00\x01\x02\x03\x04\x05\x06\x07"[..],
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff",
        b"\x17\x03\x03\x00\x05hello",
        b"\x80\x2e\x01\x00\x02",
    ] {
        let (failure, answer, plain) = failures(input);
        assert!(
            matches!(failure, Failure::Tls(_)) && !plain,
            "{input:?}: {failure:?}"
        );
        // An alert, in the clear: fatal (RFC 8446 §6). rustls has none for a message that is broken inside.
        if !answer.is_empty() {
            assert_eq!((answer[0], answer[5]), (21, 2), "{input:?}: {failure:?}");
            alerts += 1;
        }
    }
    assert!(alerts >= 3, "{alerts}");
}

#[test]
fn a_handshake_message_without_end_is_not_kept() {
    let mut pair = Pair::new(&rustls::version::TLS13);
    // A client hello of 16 MiB, in records of 1024 bytes.
    let mut input = vec![0x16, 3, 1, 4, 0, 1, 0xff, 0xff, 0xff];
    input.resize(5 + 1024, 0);
    let record = [&[0x16, 3, 1, 4, 0][..], &[0; 1024]].concat();
    let mut given = 0;
    let failure = loop {
        if let Err(failure) = pair.give(&input) {
            break failure;
        }
        given += 1;
        assert!(given < 30, "{} bytes are kept", pair.server.pending().len());
        input.clone_from(&record);
    };
    assert!(matches!(failure, Failure::Tls(_)));
}

#[test]
fn any_byte_turned_over_is_an_error_and_nothing_else() {
    let mut hello = Vec::new();
    let mut client = Pair::new(&rustls::version::TLS13).client;
    client.write_tls(&mut hello).unwrap();
    for at in 0..hello.len() {
        let mut input = hello.clone();
        input[at] ^= 0x41;
        let mut pair = Pair::new(&rustls::version::TLS13);
        // Some of it is random and matters to nobody; what is wrong must not panic, and keeps nothing.
        let result = pair.give(&input);
        assert!(pair.read.is_empty());
        assert!(result.is_ok() || pair.server.pending().is_empty());
    }
}
