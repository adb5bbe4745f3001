//! [pure] The one list of keys: their defaults, what a changed one means, and which features are not built yet.
//!
//! A default is text as it would stand in the file and is read like it, so what `etc/wsd.toml` says, what `wsd check
//! --print` prints and what holds without a file cannot differ.

use super::problem::nearest;

/// From when on a changed key holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum When {
    /// At once, for existing connections too.
    Live,
    /// For connections that come after it.
    NewConnections,
    /// After a restart; until then the old value stays.
    Restart,
}

/// A key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `table.key`; those of `[[route]]` and `[[channel]]` begin with `route.` and `channel.`.
    pub path: &'static str,
    /// As it would stand in the file; empty where there is none: it is required, or comes from somewhere else.
    pub default: &'static str,
    /// What a reload makes of it.
    pub when: When,
}

/// The free-form table, whose keys belong to the scripts.
pub(super) const FREE: &str = "hooks.settings";

/// The arrays of tables.
pub(super) const ARRAYS: [&str; 2] = ["route", "channel"];

/// Something that can be written down but not had yet. A line goes when its feature comes.
enum NotBuilt {
    /// A key and the only value that it may have, which is its default until then.
    Key(&'static str, &'static str),
    /// How a `broker.url` begins.
    Scheme(&'static str),
}

const NOT_BUILT: &[NotBuilt] = &[
    NotBuilt::Scheme("redis+cluster://"),
    NotBuilt::Key("broker.probe", "\"0s\""),
];

const fn live(path: &'static str, default: &'static str) -> Key {
    Key {
        path,
        default,
        when: When::Live,
    }
}

const fn new(path: &'static str, default: &'static str) -> Key {
    Key {
        path,
        default,
        when: When::NewConnections,
    }
}

const fn restart(path: &'static str, default: &'static str) -> Key {
    Key {
        path,
        default,
        when: When::Restart,
    }
}

/// Every key, in the order of SPEC §3.
pub const KEYS: &[Key] = &[
    restart("listen.addresses", "[\"127.0.0.1:8080\"]"),
    restart("listen.backlog", "4096"),
    new("listen.proxy_protocol", "false"),
    new("listen.trusted_proxies", "[]"),
    new("listen.handshake_timeout", "\"5s\""),
    new("tls.certificate", ""),
    new("tls.key", ""),
    restart("runtime.workers", "0"),
    live("broker.url", "\"memory:\""),
    live("broker.prefix", "\"\""),
    live("broker.username", "\"\""),
    live("broker.password", "\"\""),
    live("broker.buffer", "\"8MiB\""),
    live("broker.buffer_for", "\"10s\""),
    live("broker.probe", "\"5s\""),
    live("hooks.directory", "\"/etc/wsd/hooks\""),
    live("hooks.modules", "\"/etc/wsd/lua\""),
    live("hooks.memory", "\"64MiB\""),
    live("hooks.shared", "\"16MiB\""),
    live("hooks.share", "\"5%\""),
    live("hooks.watch", "true"),
    live("hooks.test", "false"),
    live("hooks.time_limit.connect", "\"100ms\""),
    live("hooks.time_limit.subscribe", "\"20ms\""),
    live("hooks.time_limit.message", "\"20ms\""),
    live("hooks.time_limit.batch", "\"50ms\""),
    live("hooks.time_limit.disconnect", "\"20ms\""),
    live("hooks.time_limit.timer", "\"50ms\""),
    live("hooks.time_limit.load", "\"2s\""),
    live("hooks.on_error.connect", "\"refuse\""),
    live("hooks.on_error.subscribe", "\"refuse\""),
    live("hooks.on_error.message", "\"refuse\""),
    live("hooks.on_error.batch", "\"pass\""),
    live("hooks.breaker.cuts", "5"),
    live("hooks.breaker.window", "\"60s\""),
    live("hooks.breaker.cooldown", "\"30s\""),
    live(FREE, ""),
    new("route.path", ""),
    new("route.channel", ""),
    new("route.hooks", ""),
    new("route.publish", "true"),
    new("route.echo", "true"),
    new("route.channels", "[]"),
    live("channel.match", ""),
    live("channel.history.size", "0"),
    live("channel.history.ttl", "\"10m\""),
    live("channel.replay", "0"),
    live("channel.on_gap", "\"ignore\""),
    live("channel.delivery.window", ""),
    live("channel.delivery.format", ""),
    live("channel.delivery.max_messages", ""),
    live("channel.delivery.max_bytes", ""),
    live("channel.delivery.when_full", ""),
    live("channel.publish.window", ""),
    live("channel.publish.max_messages", ""),
    live("channel.publish.max_bytes", ""),
    live("publish.window", "\"0ms\""),
    live("publish.max_messages", "512"),
    live("publish.max_bytes", "\"256KiB\""),
    live("delivery.window", "\"0ms\""),
    live("delivery.format", "\"message\""),
    live("delivery.max_messages", "256"),
    live("delivery.max_bytes", "\"256KiB\""),
    live("delivery.queue", "\"1MiB\""),
    live("delivery.when_full", "\"disconnect\""),
    new("compression.enabled", "true"),
    live("compression.level", "3"),
    live("compression.min_size", "\"256B\""),
    live("heartbeat.interval", "\"30s\""),
    live("heartbeat.timeout", "\"30s\""),
    live("limits.connections", "0"),
    live("limits.connections_per_address", "0"),
    live("limits.accept_rate", "0"),
    live("limits.message", "\"64KiB\""),
    live("limits.messages_per_second", "0"),
    live("limits.messages_burst", "0"),
    live("limits.bytes_per_second", "0"),
    live("limits.subscriptions", "64"),
    new("limits.origins", "[]"),
    live("drain.over", "\"20s\""),
    live("drain.restart_over", "\"2s\""),
    restart("admin.control", "\"/run/wsd/control.sock\""),
    restart("admin.http", "\"127.0.0.1:9464\""),
    restart("admin.token", "\"\""),
    live("log.level", "\"info\""),
];

/// What stands for a key that is not written, as text; `None` if nothing does.
#[must_use]
pub fn default(path: &str) -> Option<&'static str> {
    off(path).or_else(|| {
        KEYS.iter()
            .find(|key| key.path == path && !key.default.is_empty())
            .map(|key| key.default)
    })
}

/// The only value that a key may have because its feature is not built yet.
pub(super) fn off(path: &str) -> Option<&'static str> {
    NOT_BUILT.iter().find_map(|entry| match entry {
        NotBuilt::Key(key, off) if *key == path => Some(*off),
        NotBuilt::Key(..) | NotBuilt::Scheme(_) => None,
    })
}

/// The scheme of a URL whose broker is not built yet.
pub(super) fn scheme_not_built(url: &str) -> Option<&'static str> {
    NOT_BUILT.iter().find_map(|entry| match entry {
        NotBuilt::Scheme(scheme) if url.starts_with(scheme) => Some(*scheme),
        NotBuilt::Scheme(_) | NotBuilt::Key(..) => None,
    })
}

/// What a name in the file stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// `[[route]]`, `[[channel]]`.
    Array,
    /// `[hooks.settings]`.
    Free,
    /// A key with a value.
    Key,
    /// `[hooks]`.
    Table,
    /// Nothing that is known.
    Unknown,
}

/// What a name stands for.
pub(super) fn place(path: &str) -> Place {
    if path == FREE {
        Place::Free
    } else if ARRAYS.contains(&path) {
        Place::Array
    } else if KEYS.iter().any(|key| key.path == path) {
        Place::Key
    } else if KEYS.iter().any(|key| below(key.path, path).is_some()) {
        Place::Table
    } else {
        Place::Unknown
    }
}

/// Whether a name stands for a table.
pub(super) fn is_table(path: &str) -> bool {
    matches!(place(path), Place::Free | Place::Table)
}

/// What to do about a name that is not known in a table (empty: the file itself).
pub(super) fn advice(table: &str, name: &str) -> String {
    let mut names: Vec<&'static str> = KEYS
        .iter()
        .filter_map(|key| below(key.path, table))
        .collect();
    names.dedup();
    if let Some(known) = nearest(name, names.iter().copied()) {
        return format!("unknown key; did you mean {known:?}?");
    }
    let elsewhere = KEYS
        .iter()
        .find(|key| key.path.rsplit('.').next() == Some(name))
        .map(|key| key.path);
    if let Some(path) = elsewhere {
        return format!("unknown key here; did you mean {path:?}?");
    }
    format!("unknown key; known here are {}", names.join(", "))
}

/// The next name of `path` below `table`, if it is there at all.
fn below(path: &'static str, table: &str) -> Option<&'static str> {
    let rest = if table.is_empty() {
        path
    } else {
        path.strip_prefix(table)?.strip_prefix('.')?
    };
    rest.split('.').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_by_their_place() {
        for (path, is) in [
            ("listen", Place::Table),
            ("listen.backlog", Place::Key),
            ("listen.backlog.x", Place::Unknown),
            ("liste", Place::Unknown),
            ("hooks.time_limit", Place::Table),
            ("hooks.settings", Place::Free),
            ("route", Place::Array),
            ("channel.history", Place::Table),
        ] {
            assert_eq!(place(path), is, "{path}");
        }
    }

    #[test]
    fn unknown_names_get_advice() {
        for (table, name, advised) in [
            (
                "limits",
                "conections",
                "unknown key; did you mean \"connections\"?",
            ),
            ("", "lisen", "unknown key; did you mean \"listen\"?"),
            (
                "listen",
                "subscriptions",
                "unknown key here; did you mean \"limits.subscriptions\"?",
            ),
            (
                "",
                "origins",
                "unknown key here; did you mean \"limits.origins\"?",
            ),
            (
                "tls",
                "nothing",
                "unknown key; known here are certificate, key",
            ),
        ] {
            assert_eq!(advice(table, name), advised);
        }
    }

    #[test]
    fn what_is_not_built_is_a_key_and_has_its_off_value_as_default() {
        for entry in NOT_BUILT {
            match entry {
                NotBuilt::Key(path, off) => {
                    assert_eq!(place(path), Place::Key, "{path}");
                    assert_eq!(default(path), Some(*off));
                }
                NotBuilt::Scheme(scheme) => assert!(scheme.ends_with("://")),
            }
        }
    }
}
