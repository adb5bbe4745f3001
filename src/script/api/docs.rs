//! Every name that scripts can use, with a line for each: what `wsd check --api` prints.
//!
//! The one list: a test compares it with the functions that are there, with the definitions for editors
//! (`packaging/editor/wsd.d.luau`) and with `wsd-hooks(7)`.

/// One name.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// `limit.allow`, `conn:send`
    pub name: &'static str,
    /// With what it takes and gives.
    pub usage: &'static str,
    /// One sentence.
    pub text: &'static str,
}

const fn doc(name: &'static str, usage: &'static str, text: &'static str) -> Doc {
    Doc { name, usage, text }
}

/// In the order of the manual.
pub const API: &[Doc] = &[
    doc(
        "on_load",
        "on_load(why)",
        "A new state has loaded the script: \"start\", \"reload\", \"rebuild\" or \"check\".",
    ),
    doc(
        "on_connect",
        "on_connect(conn) → true | false | status [, text [, headers]]",
        "A client asks to connect; the handshake is not answered yet.",
    ),
    doc(
        "on_subscribe",
        "on_subscribe(conn, channel) → true | false | channel",
        "A connection wants to join a channel.",
    ),
    doc(
        "on_unsubscribe",
        "on_unsubscribe(conn, channel)",
        "A connection left a channel, by whatever way.",
    ),
    doc(
        "on_message",
        "on_message(conn, message, channel, kind) → true | false | message [, channel]",
        "A client sent a message for a channel; kind is \"text\" or \"binary\".",
    ),
    doc(
        "on_batch",
        "on_batch(channel, messages [, senders]) → true | false | messages",
        "What came for one channel in one publish window, before the broker gets it.",
    ),
    doc(
        "on_disconnect",
        "on_disconnect(conn, code, reason)",
        "An accepted connection has ended.",
    ),
    doc(
        "conn:send",
        "conn:send(v [, \"binary\"])",
        "Sends to this connection alone.",
    ),
    doc(
        "conn:subscribe",
        "conn:subscribe(channel [, { replay = n }])",
        "Joins a channel, through on_subscribe; with replay it gets so much of the history first.",
    ),
    doc(
        "conn:unsubscribe",
        "conn:unsubscribe(channel)",
        "Leaves a channel.",
    ),
    doc(
        "conn:channels",
        "conn:channels() → list",
        "What the connection whose hook runs is subscribed to.",
    ),
    doc(
        "conn:publish",
        "conn:publish(channel, v)",
        "Publishes to everyone in a channel but this connection.",
    ),
    doc(
        "conn:close",
        "conn:close([code [, reason]])",
        "Closes the connection after what was sent to it: 1000, 1008 or 3000 to 4999.",
    ),
    doc(
        "conn:expire",
        "conn:expire(unix_time)",
        "Closes the connection with 4401 at that time, a past one at once; nil takes it back.",
    ),
    doc(
        "json.decode",
        "json.decode(text) → value | nil, why",
        "Reads JSON.",
    ),
    doc(
        "json.encode",
        "json.encode(v) → text",
        "Writes JSON; what cannot be JSON is an error that names the place.",
    ),
    doc(
        "json.get",
        "json.get(text, \"a.b\") → value | nil, why",
        "Reads one field without making a table of the rest.",
    ),
    doc(
        "json.array",
        "json.array([t]) → t",
        "Marks a table as an array, so that it is one even when empty.",
    ),
    doc(
        "log.debug",
        "log.debug(text [, fields])",
        "Logs for whoever looks for a fault; fields become fields of the journal.",
    ),
    doc(
        "log.info",
        "log.info(text [, fields])",
        "Logs what an operator may want to know.",
    ),
    doc(
        "log.warn",
        "log.warn(text [, fields])",
        "Logs what an operator should look at.",
    ),
    doc(
        "log.error",
        "log.error(text [, fields])",
        "Logs what is broken.",
    ),
    doc(
        "shared.dict",
        "shared.dict(name) → dict",
        "A dictionary that all workers of the node share, as long as the service lasts.",
    ),
    doc("dict:get", "d:get(key) → value | nil", "Reads an entry."),
    doc(
        "dict:set",
        "d:set(key, v [, ttl])",
        "Sets an entry, for ttl seconds if they are given; nil deletes it.",
    ),
    doc(
        "dict:add",
        "d:add(key, v [, ttl]) → bool",
        "Sets an entry only if there is none; says whether it did.",
    ),
    doc(
        "dict:incr",
        "d:incr(key [, by [, ttl]]) → number",
        "Adds to a number, which begins with 0, and returns the sum; ttl counts from the first.",
    ),
    doc(
        "dict:delete",
        "d:delete(key) → bool",
        "Deletes an entry; says whether there was one.",
    ),
    doc(
        "limit.allow",
        "limit.allow(key, per_second, burst) → ok, wait",
        "Whether one more may pass now, over all workers of the node; else the seconds to wait.",
    ),
    doc(
        "limit.hold",
        "limit.hold(key, max) → ok",
        "Takes one of max slots for the connection, given back when it has ended.",
    ),
    doc(
        "jwt.verify",
        "jwt.verify(token, { alg, key | jwks, iss, aud, leeway }) → claims | nil, why",
        "Checks a signed token and when, from whom and for whom it is.",
    ),
    doc(
        "crypto.sha256",
        "crypto.sha256(data) → bytes",
        "The SHA-256 digest, 32 bytes.",
    ),
    doc(
        "crypto.hmac_sha256",
        "crypto.hmac_sha256(key, data) → bytes",
        "The HMAC with SHA-256, 32 bytes.",
    ),
    doc(
        "crypto.random",
        "crypto.random(n) → bytes",
        "So many bytes that nobody can guess, at most 4096.",
    ),
    doc(
        "crypto.equal",
        "crypto.equal(a, b) → bool",
        "Compares in a time that does not tell where the two differ.",
    ),
    doc(
        "crypto.hex",
        "crypto.hex(bytes) → text",
        "Shows bytes as hexadecimal digits.",
    ),
    doc(
        "base64.encode",
        "base64.encode(data) → text",
        "Writes base64.",
    ),
    doc(
        "base64.decode",
        "base64.decode(text) → data | nil, why",
        "Reads base64.",
    ),
    doc(
        "base64.url_encode",
        "base64.url_encode(data) → text",
        "Writes base64 for URLs, without padding.",
    ),
    doc(
        "base64.url_decode",
        "base64.url_decode(text) → data | nil, why",
        "Reads base64 for URLs, with or without padding.",
    ),
    doc(
        "time.now",
        "time.now() → seconds",
        "Seconds since 1970, with a fraction.",
    ),
    doc(
        "time.monotonic",
        "time.monotonic() → seconds",
        "Seconds since some moment; never goes back.",
    ),
    doc(
        "time.iso",
        "time.iso([t]) → text",
        "A time, now if none is given, as 2026-11-24T15:28:23Z.",
    ),
    doc(
        "time.parse",
        "time.parse(text) → seconds | nil, why",
        "Reads such a time.",
    ),
    doc(
        "metrics.counter",
        "metrics.counter(name [, help]) → counter",
        "A number that only grows, in /metrics as wsd_lua_NAME, summed over workers.",
    ),
    doc(
        "metrics.gauge",
        "metrics.gauge(name [, help]) → gauge",
        "A number as it was last set, by whichever worker.",
    ),
    doc(
        "metrics.histogram",
        "metrics.histogram(name [, help]) → histogram",
        "Counts values by size; the borders suit seconds, from 5 ms to 10 s.",
    ),
    doc("counter:inc", "c:inc([n])", "Adds n, 1 if it is left out."),
    doc("gauge:set", "g:set(v)", "Sets the gauge."),
    doc("histogram:observe", "h:observe(v)", "Counts a value."),
    doc(
        "ip.within",
        "ip.within(address, cidr) → bool",
        "Whether an address is in a network; nonsense is an error.",
    ),
    doc(
        "wsd.publish",
        "wsd.publish(channel, v)",
        "Publishes to everyone in a channel.",
    ),
    doc(
        "wsd.send",
        "wsd.send(user, v)",
        "Sends to every connection of a user, on all nodes.",
    ),
    doc(
        "wsd.kick",
        "wsd.kick(user [, code [, reason]])",
        "Closes every connection of a user, on all nodes: 1008 unless a code is given.",
    ),
    doc(
        "wsd.subscribers",
        "wsd.subscribers(channel) → number",
        "How many connections of this node are subscribed to a channel.",
    ),
    doc(
        "wsd.every",
        "wsd.every(seconds, f [, \"worker\"])",
        "Runs f again and again, counted from the end of the last run; made while loading it runs on one worker, or on each.",
    ),
    doc(
        "wsd.after",
        "wsd.after(seconds, f [, \"worker\"])",
        "Runs f once, after so many seconds.",
    ),
    doc(
        "wsd.secret",
        "wsd.secret(name) → text",
        "A systemd credential, else the file secrets/NAME beside the configuration.",
    ),
    doc(
        "wsd.api",
        "wsd.api(1)",
        "Says for which version of all this the script was written.",
    ),
    doc(
        "set",
        "set(list) → table",
        "A table with each element as a key; set(nil) is empty.",
    ),
    doc(
        "require",
        "require(name) → value",
        "A module of hooks.modules; only while loading, once a worker.",
    ),
    doc("print", "print(…)", "An info line in the log."),
];

/// The list as text, a line for each.
#[must_use]
pub fn api_text() -> String {
    let width = API
        .iter()
        .map(|doc| doc.usage.chars().count())
        .filter(|width| *width <= WIDTH_MAX)
        .max()
        .unwrap_or(0);
    let line = |doc: &Doc| {
        let usage = doc.usage;
        if usage.chars().count() > width {
            format!("{usage}\n{:width$}  {}\n", "", doc.text)
        } else {
            format!("{usage:width$}  {}\n", doc.text)
        }
    };
    API.iter().map(line).collect()
}

/// Longer usages have a line of their own.
const WIDTH_MAX: usize = 44;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Entry, GLOBALS, LIBRARIES, channel, metrics, shared};
    use super::*;
    use crate::pipeline::Hook;

    fn names(prefix: &str, list: &[Entry]) -> Vec<String> {
        list.iter()
            .map(|(name, _)| format!("{prefix}{}", name.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn the_list_has_what_there_is() {
        let mut there: BTreeSet<String> = BTreeSet::new();
        for (library, functions) in LIBRARIES {
            there.extend(names(&format!("{library}."), functions));
        }
        there.extend(names("", GLOBALS));
        there.extend(names("conn:", channel::METHODS));
        there.extend(names("dict:", shared::METHODS));
        there.extend(names("counter:", metrics::COUNTER));
        there.extend(names("gauge:", metrics::GAUGE));
        there.extend(names("histogram:", metrics::HISTOGRAM));
        there.extend(Hook::FUNCTIONS.iter().map(|hook| hook.name().to_owned()));
        let listed: BTreeSet<String> = API.iter().map(|doc| doc.name.to_owned()).collect();
        assert_eq!(listed, there);
        assert_eq!(API.len(), listed.len(), "a name is there twice");
        assert_eq!(api_text().matches("limit.allow(").count(), 1);
    }

    fn file(path: &str) -> String {
        std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn editors_are_told_the_same() {
        let definitions = file("packaging/editor/wsd.d.luau");
        for doc in API {
            let line = format!("--- {}\n", doc.text);
            let Some(at) = definitions.find(&line) else {
                panic!("wsd.d.luau: no line for {}: {line}", doc.name);
            };
            let next = definitions[at..].lines().nth(1).unwrap();
            let short = doc.name.rsplit(['.', ':']).next().unwrap();
            assert!(next.contains(short), "{}: {next}", doc.name);
        }
    }

    #[test]
    fn the_manual_has_every_name() {
        let manual = file("packaging/man/wsd-hooks.7");
        for doc in API {
            let name = doc.name.replace("dict:", "d:");
            let name = name.replace("counter:", "c:").replace("gauge:", "g:");
            let name = name.replace("histogram:", "h:");
            assert!(manual.contains(&name), "wsd-hooks(7): no {name}");
        }
    }
}
