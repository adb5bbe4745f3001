//! From the merged tree to a [`Config`], by table; collects every problem.
//!
//! What a key may be is said here, key by key. Besides the directories, scripts and credentials that `hooks.rs` and
//! `broker.rs` look for, nothing outside the files is asked. `load.rs` is the caller.

mod broker;
mod channels;
mod hooks;
mod routes;
mod tls;

use std::path::Path;

use super::check::{Check, Faults};
use super::problem::{Place, quote};
use super::raw::Node;
use super::values::{Zero, absolute, duration, flag, number, parsed, path, set, size};
use super::{
    Address, Admin, Cidr, Compression, Config, Drain, Heartbeat, Limits, Listen, Log,
    OriginPattern, Runtime,
};
use crate::types::WorkerId;

/// More than anybody has, and far below what numbers hold.
const MANY: i64 = 1_000_000_000;

/// No message, frame or batch is larger: offsets in what is written are 32 bits.
const LARGEST_MESSAGE: u64 = 1 << 30;

/// Checks everything. The configuration counts only if `check.faults` is empty after it; it stands on defaults where
/// something is wrong.
pub(super) fn config(check: &mut Check<'_>, secrets: &Path) -> Config {
    check.walk();
    let listen = listen(check);
    let tls = tls::tls(check);
    let runtime = Runtime {
        workers: check.key("runtime.workers", number(0..=most(WorkerId::MAX))),
    };
    let broker = broker::broker(check);
    let hooks = hooks::hooks(check, secrets);
    let routes = routes::routes(check, &hooks.directory);
    let defaults = channels::defaults(check);
    let channels = channels::channels(check, &defaults);
    let admin = admin(check, &listen);
    Config {
        listen,
        tls,
        runtime,
        broker,
        hooks,
        routes,
        keeps_history: channels.iter().any(|rule| rule.policy.history_size > 0),
        channels,
        channel_default: std::sync::Arc::new(defaults),
        queue: check.key("delivery.queue", size(1..=super::units::LARGEST)),
        compression: compression(check),
        heartbeat: Heartbeat {
            interval: check.key("heartbeat.interval", duration(Zero::Refused)),
            timeout: check.key("heartbeat.timeout", duration(Zero::Refused)),
        },
        limits: limits(check),
        drain: Drain {
            over: check.key("drain.over", duration(Zero::Fine)),
            restart_over: check.key("drain.restart_over", duration(Zero::Fine)),
        },
        admin,
        log: check.key("log.level", parsed(Log::parse)),
        stages: check.stages.lists().to_vec(),
    }
}

fn listen(check: &mut Check<'_>) -> Listen {
    let bases = check.bases;
    Listen {
        addresses: check.key("listen.addresses", set(address(bases))),
        backlog: check.key("listen.backlog", number(1..=i64::from(i32::MAX))),
        proxy_protocol: check.key("listen.proxy_protocol", flag),
        trusted_proxies: check.key("listen.trusted_proxies", set(parsed(Cidr::parse))),
        handshake_timeout: check.key("listen.handshake_timeout", duration(Zero::Refused)),
    }
}

fn compression(check: &mut Check<'_>) -> Compression {
    Compression {
        enabled: check.key("compression.enabled", flag),
        level: check.key("compression.level", number(1..=9)),
        min_size: check.key("compression.min_size", size(0..=LARGEST_MESSAGE)),
    }
}

fn limits(check: &mut Check<'_>) -> Limits {
    Limits {
        connections: check.key("limits.connections", number(0..=MANY)),
        connections_per_address: check.key("limits.connections_per_address", number(0..=MANY)),
        accept_rate: check.key("limits.accept_rate", number(0..=MANY)),
        message: check.key("limits.message", size(1..=LARGEST_MESSAGE)),
        messages_per_second: check.key("limits.messages_per_second", number(0..=MANY)),
        messages_burst: check.key("limits.messages_burst", number(0..=MANY)),
        bytes_per_second: check.key(
            "limits.bytes_per_second",
            |node: &Node, faults: &mut Faults<'_>| {
                size(0..=super::units::LARGEST)(node, faults).map(|bytes| bytes as u64)
            },
        ),
        subscriptions: check.key("limits.subscriptions", number(1..=MANY)),
        origins: check.key("limits.origins", set(parsed(OriginPattern::parse))),
    }
}

fn admin(check: &mut Check<'_>, listen: &Listen) -> Admin {
    let bases = check.bases;
    let (control, control_place) =
        check.key("admin.control", |node: &Node, faults: &mut Faults<'_>| {
            let (path, place) = path(bases)(node, faults)?;
            short_enough(&path, place, faults).then_some((path, place))
        });
    let (http, http_place) = check.key("admin.http", |node: &Node, faults: &mut Faults<'_>| {
        let none = matches!(&node.value, super::raw::Value::String(text) if text.is_empty());
        let address = if none {
            None
        } else {
            Some(address(bases)(node, faults)?)
        };
        Some((address, node.place))
    });
    if let Some(http) = &http
        && !http.is_any_port()
        && listen.addresses.contains(http)
    {
        let what = format!("\"{http}\": stands in listen.addresses too; use another port");
        check.fault(http_place, "admin.http", what);
    }
    let control_address = Address::Unix(control.clone());
    if listen.addresses.contains(&control_address) || http.as_ref() == Some(&control_address) {
        let what = format!(
            "\"{}\": is another socket already; use another path",
            control.display()
        );
        check.fault(control_place, "admin.control", what);
    }
    Admin {
        control,
        http,
        token: broker::secret(check, "admin.token", token),
    }
}

/// Reads an address; a Unix socket's path is made absolute.
fn address(bases: &[std::path::PathBuf]) -> impl Fn(&Node, &mut Faults<'_>) -> Option<Address> {
    move |node, faults| match parsed(Address::parse)(node, faults)? {
        Address::Unix(path) => {
            let path = absolute(bases, node.place, &path);
            short_enough(&path, node.place, faults).then_some(Address::Unix(path))
        }
        tcp @ Address::Tcp(_) => Some(tcp),
    }
}

fn short_enough(path: &Path, place: Place, faults: &mut Faults<'_>) -> bool {
    let fine = path.as_os_str().len() <= Address::MAX_PATH_BYTES;
    if !fine {
        let shown = quote(&path.display().to_string());
        faults.at(
            place,
            format!(
                "{shown}: a socket's path has at most {} bytes",
                Address::MAX_PATH_BYTES
            ),
        );
    }
    fine
}

/// What can stand in an `Authorization` header.
fn token(text: &str) -> Result<(), &'static str> {
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be visible ASCII without spaces, as it is sent in a header")
    }
}

fn most(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(MANY)
}
