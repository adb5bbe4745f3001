//! One wrong value after the other, and what is said about it.

use super::super::keys::KEYS;
use super::bad;

/// A key, something that it may not be, and what is said about it.
const WRONG: &[(&str, &str, &str)] = &[
    ("listen.addresses", "\"127.0.0.1:80\"", "must be an array"),
    ("listen.addresses", "[1]", "1: must be text in quotes"),
    (
        "listen.addresses",
        "[\"1.2.3.4:65536\"]",
        "the port must be 1 to 65535",
    ),
    (
        "listen.addresses",
        "[\"1.2.3.4:1\", \"1.2.3.4:1\"]",
        "stands twice",
    ),
    ("listen.backlog", "0", "0: must be at least 1"),
    ("listen.backlog", "1.5", "1.5: must be a whole number"),
    (
        "listen.backlog",
        "99999999999999999999",
        "between -2^63 and 2^63",
    ),
    ("listen.proxy_protocol", "1", "1: must be true or false"),
    (
        "listen.trusted_proxies",
        "[\"10.0.0.1/8\"]",
        "the range is \"10.0.0.0/8\"",
    ),
    (
        "listen.trusted_proxies",
        "[\"nginx\"]",
        "must be a range of addresses",
    ),
    (
        "listen.trusted_proxies",
        "[\"10.0.0.0/40\"]",
        "must be 0 to 32",
    ),
    ("listen.handshake_timeout", "\"0s\"", "must be more than 0"),
    ("listen.handshake_timeout", "5", "5: must be a duration"),
    ("runtime.workers", "129", "129: must be 0 to 128"),
    ("runtime.workers", "-1", "-1: must be 0 to 128"),
    (
        "broker.url",
        "\"http://x\"",
        "must begin with memory:, redis://",
    ),
    ("broker.url", "\"rediss://\"", "has no host"),
    (
        "broker.url",
        "\"redis+sentinel://x\"",
        "has no master's name",
    ),
    (
        "broker.url",
        "\"redis+cluster://x\"",
        "redis+cluster:// is not built in yet",
    ),
    (
        "broker.prefix",
        "\"a\\nb\"",
        "must have no control characters",
    ),
    ("broker.prefix", "\"a b\"", "must have no spaces"),
    ("broker.username", "[]", "an array: must be text in quotes"),
    (
        "broker.password",
        "12345",
        "must be text in quotes, or \"credential:NAME\"",
    ),
    (
        "broker.password",
        "\"credential:\"",
        "the name of a credential",
    ),
    (
        "broker.password",
        "\"credential:../x\"",
        "the name of a credential",
    ),
    ("broker.buffer", "\"8 Mb\"", "unknown unit"),
    ("broker.buffer", "-1", "must be a size"),
    ("broker.buffer_for", "\"10\"", "has no unit"),
    (
        "broker.probe",
        "\"5s\"",
        "not built in yet; leave it out or set it to \"0s\"",
    ),
    ("hooks.directory", "\"\"", "must be a path"),
    ("hooks.directory", "\"nowhere\"", "no such directory"),
    ("hooks.directory", "\"wsd.toml\"", "must be a directory"),
    ("hooks.modules", "\"/nowhere\"", "no such directory"),
    ("hooks.memory", "\"1KiB\"", "must be at least 1MiB"),
    ("hooks.share", "\"101%\"", "must be a share"),
    ("hooks.share", "0.05", "0.05: must be text in quotes"),
    ("hooks.watch", "\"yes\"", "\"yes\": must be true or false"),
    ("hooks.test", "0", "must be true or false"),
    (
        "hooks.time_limit.message",
        "\"0s\"",
        "\"0s\": must be more than 0",
    ),
    (
        "hooks.time_limit",
        "\"20ms\"",
        "\"20ms\": must be a table, as in [hooks.time_limit]",
    ),
    (
        "hooks.on_error.batch",
        "\"ignore\"",
        "must be \"refuse\" or \"pass\"",
    ),
    ("hooks.breaker.cuts", "-1", "must be at least 0"),
    ("hooks.breaker.window", "\"0s\"", "must be more than 0"),
    ("hooks.settings", "1", "must be a table"),
    ("publish.max_messages", "0", "0: must be 1 to 1000000"),
    ("publish.max_bytes", "0", "0: must be more than 0"),
    (
        "delivery.format",
        "\"json\"",
        "must be \"message\", \"json-array\" or \"lines\"",
    ),
    (
        "delivery.when_full",
        "\"block\"",
        "\"drop-oldest\" or \"keep-latest\"",
    ),
    ("delivery.queue", "\"0KiB\"", "must be more than 0"),
    ("delivery.window", "\"9000h\"", "must be at most 366 days"),
    ("compression.enabled", "1", "true or false"),
    ("compression.level", "10", "10: must be 1 to 9"),
    ("compression.level", "0", "0: must be 1 to 9"),
    ("heartbeat.interval", "\"0ms\"", "must be more than 0"),
    ("limits.message", "\"2GiB\"", "must be at most 1GiB"),
    (
        "limits.message",
        "\"64 XB\"",
        "use B, KiB, MiB, GiB or a plain number of bytes",
    ),
    (
        "limits.connections_per_address",
        "-1",
        "-1: must be at least 0",
    ),
    ("limits.accept_rate", "0.5", "0.5: must be a whole number"),
    (
        "limits.messages_per_second",
        "\"10\"",
        "must be a whole number",
    ),
    ("limits.messages_burst", "-1", "-1: must be at least 0"),
    ("limits.bytes_per_second", "\"10s\"", "unknown unit"),
    ("limits.subscriptions", "0", "0: must be at least 1"),
    ("limits.origins", "[\"example.com\"]", "must be an origin"),
    (
        "limits.connections",
        "2026-01-01",
        "2026-01-01: must be a whole number",
    ),
    ("drain.over", "true", "true: must be a duration"),
    ("admin.control", "\"\"", "must be a path"),
    ("admin.http", "\"localhost:80\"", "names are not looked up"),
    (
        "admin.http",
        "\"127.0.0.1:8080\"",
        "stands in listen.addresses too",
    ),
    ("admin.token", "\"a b\"", "must be visible ASCII"),
    ("log.level", "\"loud\"", "\"loud\" is no level"),
    ("tls", "[]", "an array: must be a table, as in [tls]"),
    ("lisen.x", "1", "did you mean \"listen\"?"),
    (
        "route",
        "{ path = \"/\" }",
        "must be an array of tables, as in [[route]]",
    ),
    ("channel", "[1]", "1: must be a table, as in [[channel]]"),
    ("listen", "[]", "an array: must be a table, as in [listen]"),
];

#[test]
fn every_wrong_value_is_one_problem_that_says_what_would_be_right() {
    for (key, value, says) in WRONG {
        let problems = bad(&format!("{key} = {value}\n"));
        assert_eq!(problems.lines().count(), 1, "{key} = {value}\n{problems}");
        assert!(problems.contains(says), "{key} = {value}\n{problems}");
        let named = problems.split(": ").nth(1).unwrap_or_default();
        assert!(key.starts_with(named), "{key} = {value}\n{problems}");
    }
    // A complaint for at least every table.
    for key in KEYS
        .iter()
        .filter(|key| !key.path.contains("route") && !key.path.contains("channel"))
    {
        let table = key.path.split('.').next().unwrap_or_default();
        assert!(
            WRONG.iter().any(|(path, ..)| path.starts_with(table)),
            "{table}"
        );
    }
}

#[test]
fn every_wrong_value_of_routes_and_channels_is_a_problem() {
    for (text, says) in WRONG_ITEMS {
        let problems = bad(text);
        assert_eq!(problems.lines().count(), 1, "{text}\n{problems}");
        assert!(problems.contains(says), "{text}\n{problems}");
    }
}

/// Routes and channels with one mistake, and what is said about it.
const WRONG_ITEMS: &[(&str, &str)] = &[
    ("[[route]]\nchannel = \"x\"", "1:1: route.path: is missing"),
    ("[[route]]\npath = \"chat\"", "must begin with a slash"),
    ("[[route]]\npath = \"/a b\"", "must be percent-encoded"),
    ("[[route]]\npath = \"/a?b\"", "a path has no \"?\""),
    ("[[route]]\npath = \"/%zz\"", "two hexadecimal digits"),
    (
        "[[route]]\npath = \"/{rest*}/x\"",
        "so it must be the last segment",
    ),
    ("[[route]]\npath = \"/{a}/{a}\"", "\"{a}\" stands twice"),
    ("[[route]]\npath = \"/x-{a}\"", "must be a whole segment"),
    ("[[route]]\npath = \"/{a}{b}\"", "must be a whole segment"),
    ("[[route]]\npath = \"/{a\"", "must come in pairs"),
    ("[[route]]\npath = \"/{}\"", "a name in braces has letters"),
    ("[[route]]\npath = \"/{1}\"", "a name in braces has letters"),
    (
        "[[route]]\npath = \"/{a}\"\nchannel = \"r:{b}\"",
        "\"{b}\" is not in the path; it has \"{a}\"",
    ),
    (
        "[[route]]\npath = \"/a\"\nchannel = \"r:{b}\"",
        "it has no names in braces",
    ),
    (
        "[[route]]\npath = \"/a\"\nchannel = \"r:{b\"",
        "must come in pairs",
    ),
    (
        "[[route]]\npath = \"/a\"\nchannel = \"a b\"",
        "spaces are not allowed",
    ),
    ("[[route]]\npath = \"/a\"\nchannel = \"$x\"", "are reserved"),
    (
        "[[route]]\npath = \"/a\"\nhooks = \"x.lua\"",
        "must be an array",
    ),
    (
        "[[route]]\npath = \"/a\"\nhooks = [\"x.lua\"]",
        "\"x.lua\": no such file in /",
    ),
    (
        "[[route]]\npath = \"/a\"\nhooks = [\"x\"]",
        "must end in .lua",
    ),
    (
        "[[route]]\npath = \"/a\"\nhooks = [\"../x.lua\"]",
        "without a path",
    ),
    (
        "[[route]]\npath = \"/a\"\nhooks = [\"x_test.lua\"]",
        "is a test",
    ),
    (
        "[[route]]\npath = \"/a\"\nchannels = [\"a b\"]",
        "spaces are not allowed",
    ),
    (
        "[[route]]\npath = \"/a\"\necho = \"no\"",
        "must be true or false",
    ),
    (
        "[[route]]\npath = \"/a\"\npublis = true",
        "did you mean \"publish\"?",
    ),
    ("[route]\npath = \"/a\"", "must be an array of tables"),
    ("[[channel]]\nreplay = 0", "channel.match: is missing"),
    ("[[channel]]\nmatch = \"\"", "at least 1 byte"),
    ("[[channel]]\nmatch = \"a b*\"", "spaces are not allowed"),
    ("[[channel]]\nmatch = \"$*\"", "are reserved"),
    (
        "[[channel]]\nmatch = \"a\"\nhistory = 10",
        "10: must be a table, as in [channel.history]",
    ),
    (
        "[[channel]]\nmatch = \"a\"\nhistory.ttl = \"0s\"",
        "must be more than 0",
    ),
    (
        "[[channel]]\nmatch = \"a\"\nreplay = 1",
        "channel.replay: there is nothing to replay: set history.size",
    ),
    (
        "[[channel]]\nmatch = \"a\"\non_gap = \"shut\"",
        "must be \"close\" or \"ignore\"",
    ),
    (
        "[[channel]]\nmatch = \"a\"\ndelivery = { queue = 1 }",
        "did you mean \"delivery.queue\"?",
    ),
    (
        "[[channel]]\nmatch = \"a\"\npublish = { max_messages = 0 }",
        "must be 1 to 1000000",
    ),
];
