//! What the system allows: open files and waiting connections, and a plain word at start where that is too little.

use std::net::TcpListener;

use crate::systemd::fds;
use crate::worker::accept::Listener;

/// Descriptors kept for what is no connection: listeners, Redis, log, control, admin HTTP, files being read, and the
/// connections that are only refused.
const RESERVE: usize = 64 + 128 + crate::worker::turned_away::KEPT;

/// Where `limits.connections` leaves it open, fewer than this are worth a word: nobody wants a gateway to end there.
const FEW: usize = 8192;

/// The most descriptors this process may have (getrlimit(2)).
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    usize::try_from(limit.current.unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
}

/// Takes as many descriptors as it may: the usual soft limit of 1024 is for programs that use select(2).
pub(super) fn raise_descriptors() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::warn!(target: "start", "the limit of open files cannot be raised: {error}");
    }
}

/// How many connections the node takes: as configured, but never more than descriptors allow.
pub(super) fn connection_limit(configured: usize) -> usize {
    limit(configured, descriptors())
}

fn limit(configured: usize, descriptors: usize) -> usize {
    let possible = possible(descriptors);
    if configured == 0 {
        possible
    } else {
        configured.min(possible)
    }
}

fn possible(descriptors: usize) -> usize {
    descriptors.saturating_sub(RESERVE).max(1)
}

/// Says so where fewer connections fit than are wanted.
pub(super) fn tell_few_descriptors(configured: usize) {
    if let Some(what) = few(configured, descriptors()) {
        tracing::warn!(target: "start", event = "limit_small", "{what}");
    }
}

fn few(configured: usize, descriptors: usize) -> Option<String> {
    let possible = possible(descriptors);
    let remedy = "raise LimitNOFILE= of the unit (elsewhere: ulimit -n)";
    if configured > possible {
        return Some(format!(
            "limits.connections is {configured}, but only {possible} connections fit into {descriptors} open files; {remedy}"
        ));
    }
    (configured == 0 && possible < FEW)
        .then(|| format!("only {possible} connections fit into {descriptors} open files; {remedy}"))
}

/// Says so where the kernel lets fewer connections wait than `listen.backlog` asks for. `unit` is the socket unit whose
/// sockets they are, if systemd made them.
pub(super) fn tell_small_backlogs(
    listeners: &[(Listener, String)],
    wanted: u32,
    unit: Option<&str>,
) {
    for (listener, address) in listeners {
        // Of a Unix socket the kernel does not tell.
        let Listener::Tcp(socket) = listener else {
            continue;
        };
        if let Some(what) = small(socket, wanted, unit) {
            tracing::warn!(target: "start", event = "limit_small", "{address}: {what}");
        }
    }
}

fn small(socket: &TcpListener, wanted: u32, unit: Option<&str>) -> Option<String> {
    let real = fds::backlog(socket).ok().filter(|real| *real < wanted)?;
    let unit = unit.map_or_else(String::new, |unit| format!(", and Backlog= of {unit}"));
    Some(format!(
        "only {real} connections may wait to be accepted, listen.backlog is {wanted}; raise net.core.somaxconn (sysctl){unit}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_rest() {
        assert_eq!(limit(0, 20_000), 20_000 - RESERVE);
        assert_eq!(limit(500, 20_000), 500);
        assert_eq!(limit(30_000, 20_000), 20_000 - RESERVE);
        assert_eq!(limit(0, 3), 1);
    }

    #[test]
    fn too_few_descriptors_are_told_and_enough_are_not() {
        assert_eq!(few(0, 1 << 20), None);
        assert_eq!(few(0, FEW + RESERVE), None);
        assert_eq!(few(100, 1024.max(RESERVE + 100)), None);
        let text = few(0, 1024).unwrap();
        assert!(
            text.contains("into 1024 open files; raise LimitNOFILE="),
            "{text}"
        );
        let text = few(50_000, 20_000).unwrap();
        assert!(
            text.starts_with("limits.connections is 50000, but only "),
            "{text}"
        );
    }

    #[test]
    fn a_backlog_smaller_than_asked_for_is_told() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        // What std asks for is 128 (it may be less where the system allows less).
        let real = fds::backlog(&socket).unwrap();
        assert!((1..=4096).contains(&real), "{real}");
        assert_eq!(small(&socket, real, None), None);
        let text = small(&socket, real + 1, Some("wsd.socket")).unwrap();
        assert!(
            text.starts_with(&format!("only {real} connections")),
            "{text}"
        );
        assert!(text.ends_with(", and Backlog= of wsd.socket"), "{text}");
    }
}
