//! `[broker]`, and secrets of any table.

use std::io;

use super::super::check::{Check, Faults};
use super::super::load::{io_text, read_bounded};
use super::super::problem::{Place, quote};
use super::super::raw::{Node, Value};
use super::super::url::{self, ParsedUrl};
use super::super::values::{Zero, duration, parsed_as, placed, size, text};
use super::super::{Broker, MissingCredential, Secret, units};

/// What stands for a credential that only the unit has.
const PLACEHOLDER: &str = "placeholder";

/// systemd's own bound for all credentials of a unit.
const LARGEST_CREDENTIAL: usize = 1 << 20;

pub(super) fn broker(check: &mut Check<'_>) -> Broker {
    let read_url = parsed_as(url::parse, |text| quote(&url::redacted(text)));
    let (
        ParsedUrl {
            url,
            username,
            password,
        },
        place,
    ) = check.key("broker.url", placed(read_url));
    let (key_username, username_place) = check.key("broker.username", placed(text));
    let key_password = secret(check, "broker.password", |_| Ok(()));
    let username = match (username.is_empty(), key_username.is_empty()) {
        (true, _) => key_username,
        (false, true) => username,
        (false, false) => {
            if username != key_username {
                let what = format!(
                    "{}: broker.url has another user; leave one of them out",
                    quote(&key_username)
                );
                check.fault(username_place, "broker.username", what);
            }
            username
        }
    };
    let url_password = Secret::new(password);
    let password = if url_password.is_empty() {
        key_password
    } else {
        if !key_password.is_empty() && key_password != url_password {
            let what = "has another password than broker.password; leave one of them out";
            check.fault(place, "broker.url", what);
        }
        url_password
    };
    Broker {
        url,
        prefix: check.key("broker.prefix", prefix),
        username,
        password,
        buffer: check.key("broker.buffer", size(0..=units::LARGEST)),
        buffer_for: check.key("broker.buffer_for", duration(Zero::Fine)),
        probe: check.key("broker.probe", duration(Zero::Fine)),
    }
}

fn prefix(node: &Node, faults: &mut Faults<'_>) -> Option<String> {
    const LONGEST: usize = 255;
    let prefix = text(node, faults)?;
    let what = if prefix.chars().any(char::is_control) {
        "must have no control characters"
    } else if prefix.contains(' ') {
        "must have no spaces"
    } else if prefix.len() > LONGEST {
        "must have at most 255 bytes"
    } else {
        return Some(prefix);
    };
    faults.at(node.place, format!("{}: {what}", quote(&prefix)));
    None
}

/// What stands in the file for a secret.
#[derive(Clone, PartialEq)]
enum Given {
    Credential(String),
    Text(String),
}

/// Reads a secret, from the file or from a credential. Its text is in no message.
pub(super) fn secret(
    check: &mut Check<'_>,
    path: &'static str,
    fits: impl Fn(&str) -> Result<(), &'static str>,
) -> Secret {
    let (given, place) = check.key(path, |node: &Node, faults: &mut Faults<'_>| {
        let Value::String(text) = &node.value else {
            faults.at(node.place, "must be text in quotes, or \"credential:NAME\"");
            return None;
        };
        let given = match text.strip_prefix("credential:") {
            Some(name) => Given::Credential(credential_name(name, node.place, faults)?),
            None => Given::Text(text.clone()),
        };
        Some((given, node.place))
    });
    let secret = match given {
        Given::Text(text) => Secret::new(text),
        Given::Credential(name) => {
            let text = credential(check, path, &name, place);
            Secret::from_credential(&name, text.unwrap_or_else(|| PLACEHOLDER.to_owned()))
        }
    };
    if let Err(what) = fits(secret.reveal()) {
        check.fault(place, path, what);
    }
    secret
}

pub(super) fn credential_name(name: &str, place: Place, faults: &mut Faults<'_>) -> Option<String> {
    // systemd takes what can be a file's name.
    let fine = !name.is_empty()
        && name.len() <= 255
        && !name.contains(['/', ':'])
        && !name.chars().any(char::is_control)
        && name != "."
        && name != "..";
    if !fine {
        let what = format!(
            "{}: must be credential: and the name of a credential",
            quote(name)
        );
        faults.at(place, what);
    }
    fine.then(|| name.to_owned())
}

/// The text of a credential; `None` where only the unit has it, which is told.
pub(super) fn credential(
    check: &mut Check<'_>,
    path: &str,
    name: &str,
    place: Place,
) -> Option<String> {
    let options = check.disk?;
    let shown = quote(&format!("credential:{name}"));
    let what = match &options.credentials {
        None => format!("{shown}: there is no $CREDENTIALS_DIRECTORY, only the unit has it"),
        Some(directory) => {
            let file = directory.join(name);
            let read = read_credential(&file);
            check.files.push(file.clone());
            match read {
                Ok(text) if !text.is_empty() => return Some(text),
                Ok(_) => format!("{shown}: {} is empty", file.display()),
                Err(error) => format!(
                    "{shown}: {}: {}; the unit needs LoadCredential={name}:PATH",
                    file.display(),
                    io_text(&error)
                ),
            }
        }
    };
    match options.missing_credential {
        MissingCredential::Placeholder => {
            check.warning(place, path, |_| {
                format!("{what}; a placeholder stands for it")
            });
        }
        MissingCredential::Problem => check.fault(place, path, what),
    }
    None
}

/// The content without one newline at the end.
fn read_credential(file: &std::path::Path) -> io::Result<String> {
    let bytes = read_bounded(file, LARGEST_CREDENTIAL)?;
    if bytes.len() > LARGEST_CREDENTIAL {
        return Err(io::Error::other("is larger than 1 MiB"));
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8"))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}
