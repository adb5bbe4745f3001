//! The certificate of `[tls]`: what it must be, when another one counts, and who resumes with it.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use rustls::HandshakeKind;

use super::tls::Node;
use crate::support::tls::{DAY, Issued, connect};
use crate::support::{Client, Request, Stream, eventually};

/// The certificate that a new connection is shown.
fn shown(node: &Node) -> Vec<u8> {
    let Stream::Tls(mut stream) = node.authority.connect(node.wsd.address()) else {
        unreachable!();
    };
    stream.flush().unwrap();
    let shown = stream.conn.peer_certificates().unwrap();
    shown.first().unwrap().to_vec()
}

#[test]
fn who_comes_back_resumes_until_the_certificate_changes() {
    let node = Node::start("");
    let config = Arc::new(node.authority.client());
    let kind = || {
        let stream = connect(&config, node.wsd.address());
        // A ticket comes after the handshake, so something must be read.
        let mut client = Client::open(stream, &Request::websocket("/chat"));
        client.sync();
        let Stream::Tls(stream) = client.stream() else {
            unreachable!();
        };
        stream.conn.handshake_kind().unwrap()
    };
    assert_eq!(kind(), HandshakeKind::Full);
    assert_eq!(kind(), HandshakeKind::Resumed);
    assert_eq!(node.wsd.cli(&["reload"], b"").code, 0);
    assert_eq!(kind(), HandshakeKind::Resumed);
    node.authority.issue().write(&node.wsd);
    assert_eq!(node.wsd.cli(&["reload"], b"").code, 0);
    assert_eq!(kind(), HandshakeKind::Full);
    assert_eq!(kind(), HandshakeKind::Resumed);
}

#[test]
fn new_connections_get_the_new_certificate_and_old_ones_stay() {
    let node = Node::start("");
    let mut old = node.client("/chat");
    let first = shown(&node);
    node.authority.issue().write(&node.wsd);
    assert_eq!(shown(&node), first);
    assert_eq!(node.wsd.cli(&["reload"], b"").code, 0);
    let second = shown(&node);
    assert_ne!(second, first);
    let mut new = node.client("/chat");
    old.text("to both");
    old.expect("to both");
    new.expect("to both");
    // And without the table new ones are plain.
    node.wsd.write_config("");
    assert_eq!(node.wsd.cli(&["reload"], b"").code, 0);
    let mut plain = node.wsd.client("/chat");
    old.text("to all");
    for client in [&mut old, &mut new, &mut plain] {
        client.expect("to all");
    }
    assert_eq!(node.wsd.metric("wsd_certificate_expires_seconds"), 0);
}

#[test]
fn a_certificate_that_changes_is_seen_by_itself() {
    let node = Node::start("[hooks]\nwatch = true\n");
    let first = shown(&node);
    node.authority.issue().write(&node.wsd);
    eventually!(shown(&node) != first);
}

#[test]
fn a_bad_certificate_is_refused_and_the_old_one_stays() {
    let node = Node::start("");
    let good = node.authority.issue();
    let other = node.authority.issue();
    let expired = node.authority.issue_until(Some((false, DAY)));
    let first = shown(&node);
    let cert = |certificate: &str| Issued {
        certificate: certificate.to_owned(),
        ..good.clone()
    };
    let key = |key: &str| Issued {
        key: key.to_owned(),
        ..good.clone()
    };
    for (issued, named, says) in [
        (expired, "certificate", "cert.pem: expired on "),
        (cert(""), "certificate", "cert.pem: has no certificate"),
        (
            cert(&good.key),
            "certificate",
            "cert.pem: has no certificate",
        ),
        (
            cert(&good.certificate[..100]),
            "certificate",
            "cert.pem: is no PEM: an END line is missing",
        ),
        (key(""), "key", "key.pem: has no private key"),
        (
            key(&other.key),
            "key",
            "key.pem: is not the key of the first certificate in ",
        ),
    ] {
        issued.write(&node.wsd);
        for refused in [node.wsd.cli(&["reload"], b""), node.wsd.tool(&["check"])] {
            assert_ne!(refused.code, 0, "{says}");
            let place = if named == "key" { "3:7" } else { "2:15" };
            let begins = format!("50-test.toml:{place}: tls.{named}: ");
            assert!(
                refused.err.contains(&begins),
                "no {begins}: {}",
                refused.err
            );
            assert!(refused.err.contains(says), "no {says}: {}", refused.err);
        }
        assert_eq!(shown(&node), first, "{says}");
    }
    fs::remove_file(node.wsd.path("key.pem")).unwrap();
    let refused = node.wsd.cli(&["reload"], b"");
    assert!(
        refused.err.contains("key.pem: no such file or directory"),
        "{}",
        refused.err
    );
    assert_eq!(node.wsd.generation(), 1);
    // At the start as well.
    let status = node.wsd.tool(&["run"]);
    assert_eq!(status.code, 78, "{status:?}");
    good.write(&node.wsd);
    assert_eq!(node.wsd.cli(&["reload"], b"").code, 0);
    assert_ne!(shown(&node), first);
}

#[test]
fn keys_in_the_forms_of_openssl_serve() {
    let node = Node::start("");
    let path = |name: &str| node.wsd.path(name).display().to_string();
    let run = |line: &str| {
        let output = Command::new("openssl")
            .args(line.split(' '))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {line}: {text}");
    };
    let (cert, key, raw) = (path("cert.pem"), path("key.pem"), path("raw.pem"));
    let subject = "-subj /CN=localhost -days 30";
    // PKCS#1, then SEC1, then what has a passphrase.
    run(&format!(
        "req -x509 -newkey rsa:2048 -nodes -keyout {raw} -out {cert} {subject}"
    ));
    run(&format!("rsa -in {raw} -traditional -out {key}"));
    assert!(
        fs::read_to_string(&key)
            .unwrap()
            .contains("BEGIN RSA PRIVATE KEY")
    );
    assert_eq!(node.wsd.cli(&["reload"], b"").code, 0);
    run(&format!(
        "ecparam -name secp384r1 -genkey -noout -out {key}"
    ));
    assert!(
        fs::read_to_string(&key)
            .unwrap()
            .contains("BEGIN EC PRIVATE KEY")
    );
    run(&format!("req -x509 -new -key {key} -out {cert} {subject}"));
    assert_eq!(node.wsd.cli(&["reload"], b"").code, 0);
    run(&format!(
        "pkcs8 -topk8 -in {key} -passout pass:secret -out {raw}"
    ));
    fs::rename(&raw, &key).unwrap();
    let refused = node.wsd.cli(&["reload"], b"");
    assert!(
        refused
            .err
            .contains("key.pem: is encrypted; must be without"),
        "{}",
        refused.err
    );
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning() {
    let node = Node::start("");
    assert!(node.wsd.metric("wsd_certificate_expires_seconds") > 4_000_000_000);
    node.authority
        .issue_until(Some((true, DAY * 3 + DAY / 2)))
        .write(&node.wsd);
    let ran = node.wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    let says = "cert.pem: expires in 3 days, on ";
    assert!(ran.out.contains(says) || ran.err.contains(says), "{ran:?}");
    node.wsd.wait_log(says);
    let checked = node.wsd.tool(&["check"]);
    assert_eq!(checked.code, 0);
    assert!(checked.err.contains(says), "{}", checked.err);
    let left = node.wsd.metric("wsd_certificate_expires_seconds");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!((now + 3 * 86_400..now + 4 * 86_400).contains(&left));
}
