//! `wsd status`: how the daemon is, as a block to read or as one JSON object.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::args::{self, Args};
use super::{Failure, output, refused, socket, unreachable_daemon};
use crate::control::message::{Request, Response, Status};

pub(super) fn run(args: &Args, options: &args::Status) -> Result<(), Failure> {
    let mut daemon = socket::connect(args, &options.target)?;
    let response = daemon
        .ask(&Request::Status, LIMIT)
        .map_err(|error| unreachable_daemon(&error))?;
    let Response::Status(status) = response else {
        return Err(refused(response));
    };
    let text = if options.json {
        serde_json::to_string_pretty(&status).unwrap_or_default()
    } else {
        block(&status, unix_now())
    };
    // A reader that has gone has seen enough.
    let _ = output::line(text);
    Ok(())
}

/// What a person reads: a line each, names on the left.
fn block(status: &Status, now: u64) -> String {
    let mut text = format!(
        "wsd {}, running for {}, generation {}",
        status.version,
        span(seconds(status.uptime)),
        status.generation
    );
    let broker = &status.broker;
    let state = if broker.up { "up" } else { "down" };
    let place = if broker.url.is_empty() {
        String::new()
    } else {
        format!(", {}", broker.url)
    };
    let reload = &status.last_reload;
    let ago = span(now.saturating_sub(reload.at));
    let outcome = if reload.ok { "ok" } else { "refused" };
    let rows = [
        ("connections", grouped(status.connections)),
        ("channels", grouped(status.channels)),
        ("workers", status.workers.to_string()),
        ("broker", format!("{}, {state}{place}", broker.kind)),
        ("listening on", status.listeners.join(", ")),
        ("admin", status.admin.clone()),
        ("configuration", status.config.clone()),
        ("last reload", format!("{outcome}, {ago} ago")),
        ("memory", mebibytes(status.memory)),
        ("node", format!("{}, pid {}", status.node, status.pid)),
    ];
    // Writing to a string cannot fail.
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(text, "\n  {name:13}  {value}");
    }
    for line in reload.problems.iter().chain(&status.notes) {
        let _ = write!(text, "\n{line}");
    }
    text
}

/// The two largest units, as in `2 d 3 h`.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

/// Whole seconds; whatever is none counts as 0.
fn seconds(uptime: f64) -> u64 {
    Duration::try_from_secs_f64(uptime).map_or(0, |uptime| uptime.as_secs())
}

/// With a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With one digit after the point; nothing for 0.
fn mebibytes(bytes: u64) -> String {
    if bytes == 0 {
        return String::new();
    }
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[expect(clippy::disallowed_methods, reason = "a tool has no clock to be given")]
fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

/// The daemon answers between two things that it does; none takes longer.
const LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::message::{BrokerStatus, ReloadStatus};

    #[test]
    fn a_status_reads_as_a_block() {
        let mut status = Status {
            version: "0.1.0".to_owned(),
            generation: 7,
            uptime: 183_600.9,
            connections: 1_234_567,
            channels: 310,
            workers: 4,
            broker: BrokerStatus {
                kind: "redis".to_owned(),
                up: true,
                url: "redis://10.0.0.5:6379".to_owned(),
            },
            last_reload: ReloadStatus {
                ok: false,
                at: 1000,
                problems: vec!["/etc/wsd/wsd.toml:7:8: listen.backlog: what".to_owned()],
            },
            node: "00aabbccddee".to_owned(),
            pid: 71,
            memory: 88_395_000,
            config: "/etc/wsd/wsd.toml".to_owned(),
            listeners: vec![
                "127.0.0.1:8080".to_owned(),
                "unix:/run/wsd/ws.sock".to_owned(),
            ],
            admin: "127.0.0.1:9464".to_owned(),
            notes: vec!["listen.backlog needs a restart to take effect".to_owned()],
        };
        assert_eq!(
            block(&status, 1305),
            "wsd 0.1.0, running for 2 d 3 h, generation 7\n  \
               connections    1,234,567\n  \
               channels       310\n  \
               workers        4\n  \
               broker         redis, up, redis://10.0.0.5:6379\n  \
               listening on   127.0.0.1:8080, unix:/run/wsd/ws.sock\n  \
               admin          127.0.0.1:9464\n  \
               configuration  /etc/wsd/wsd.toml\n  \
               last reload    refused, 5 min 5 s ago\n  \
               memory         84.3 MiB\n  \
               node           00aabbccddee, pid 71\n\
             /etc/wsd/wsd.toml:7:8: listen.backlog: what\n\
             listen.backlog needs a restart to take effect"
        );
        // What a daemon of another version leaves out, or gets wrong, is no panic.
        status.uptime = f64::NAN;
        status.listeners.clear();
        status.memory = 0;
        let text = block(&status, 0);
        assert!(text.starts_with("wsd 0.1.0, running for 0 s,"), "{text}");
        assert!(
            !text.contains("listening") && !text.contains("memory"),
            "{text}"
        );
    }
}
