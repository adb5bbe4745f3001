//! `[tls]`: reads the two files and has them judged, so that what is wrong with them is a problem like any other.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::check::{Check, Faults};
use super::super::load::{io_text, read_bounded};
use super::super::problem::{Place, quote};
use super::super::raw::{Node, Value};
use super::super::values::path;
use super::super::{Tls, TlsFile};
use super::broker::{credential, credential_name};
use crate::tls::Identity;

/// A chain of ten certificates has 20 KiB.
const LARGEST: usize = 1 << 20;

/// `None` without the table, or where something is wrong with it.
pub(super) fn tls(check: &mut Check<'_>) -> Option<Tls> {
    let entry = check.root.find("tls")?;
    if !matches!(entry.node.value, Value::Table(_)) {
        return None;
    }
    let table = entry.node.place;
    let certificate = source(check, "tls.certificate", table);
    let key = source(check, "tls.key", table);
    let ((certificate, certificate_place), (key, key_place)) = (certificate?, key?);
    let mut tls = Tls {
        certificate,
        key,
        identity: None,
        server: None,
    };
    let chain = content(
        check,
        "tls.certificate",
        &tls.certificate,
        certificate_place,
    );
    let secret = content(check, "tls.key", &tls.key, key_place);
    let identity = chain.and_then(|chain| {
        let now = check.disk.map_or_else(Default::default, |disk| disk.now);
        match Identity::read(&chain, now) {
            Ok(identity) => Some(identity),
            Err(error) => {
                let what = format!("{}: {error}", tls.certificate);
                check.fault(certificate_place, "tls.certificate", what);
                None
            }
        }
    });
    if let (Some(identity), Some(secret)) = (&identity, secret) {
        for warning in identity.warnings() {
            check.warning(certificate_place, "tls.certificate", |_| {
                format!("{}: {warning}", tls.certificate)
            });
        }
        match identity.with_key(&secret, &tls.certificate.to_string()) {
            Ok(server) => tls.server = Some(server),
            Err(error) => {
                let what = format!("{}: {error}", tls.key);
                check.fault(key_place, "tls.key", what);
            }
        }
    }
    tls.identity = identity;
    Some(tls)
}

/// Where one of the two comes from.
fn source(check: &mut Check<'_>, key: &'static str, table: Place) -> Option<(TlsFile, Place)> {
    let bases = check.bases;
    let read = |node: &Node, faults: &mut Faults<'_>| {
        if let Value::String(text) = &node.value
            && let Some(name) = text.strip_prefix("credential:")
        {
            let name = credential_name(name, node.place, faults)?;
            return Some((TlsFile::Credential(name), node.place));
        }
        path(bases)(node, faults).map(|(path, place)| (TlsFile::Path(path), place))
    };
    if check.root.find(key).is_none() {
        let what =
            "is missing; [tls] needs certificate and key, and without [tls] connections are plain";
        check.fault(table, key, what);
    }
    check.own(key, read)
}

/// What is in it; what is wrong with it is told.
fn content(
    check: &mut Check<'_>,
    key: &'static str,
    source: &TlsFile,
    place: Place,
) -> Option<Vec<u8>> {
    let path = match source {
        TlsFile::Credential(name) => {
            return credential(check, key, name, place).map(String::into_bytes);
        }
        TlsFile::Path(path) => path,
    };
    check.disk?;
    check.files.push(path.clone());
    let what = match read_bounded(path, LARGEST) {
        Ok(bytes) if bytes.len() <= LARGEST => return Some(bytes),
        Ok(_) => "is larger than 1 MiB; must be PEM".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied(path),
        Err(error) => io_text(&error),
    };
    check.fault(place, key, format!("{}: {what}", path.display()));
    None
}

/// Permission is denied: who would have it.
fn denied(path: &Path) -> String {
    let own = user_name(rustix::process::geteuid().as_raw());
    let who = match fs::metadata(path) {
        Ok(found) if found.mode() & 0o077 == 0 => {
            format!("readable by {} only", user_name(found.uid()))
        }
        Ok(found) => format!("readable by {} and its group", user_name(found.uid())),
        Err(_) => "its directory cannot be entered".to_owned(),
    };
    format!("permission denied; {who}, wsd runs as {}", quote(&own))
}

/// As /etc/passwd has it (passwd(5)).
fn user_name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("user {uid}"))
}
