//! The events that operators match on: a name in the code, a MESSAGE_ID in the journal, an entry in the catalogue.
//!
//! [pure] A log macro says `event = "broker_lost"`; what reaches the journal has the id from this table. The entries of
//! packaging/systemd/wsd.catalog are compared with it by a test. An id is never changed and never used again: other
//! people's alerts are written with it.

/// One event.
#[derive(Debug, Eq, PartialEq)]
pub struct Event {
    /// As the code says it, and `WSD_EVENT` in the journal.
    pub name: &'static str,
    /// `MESSAGE_ID`: 128 random bits in hexadecimal.
    pub id: &'static str,
}

/// The event of this name.
#[must_use]
pub(super) fn find(name: &str) -> Option<&'static Event> {
    EVENTS.iter().find(|event| event.name == name)
}

const fn event(name: &'static str, id: &'static str) -> Event {
    Event { name, id }
}

/// All of them.
pub static EVENTS: [Event; 26] = [
    event("broker_back", "03c926ba72da4dca99950878019189c7"),
    event("broker_lost", "00dce5c1be5446f181c89ac3b236016a"),
    event("bug", "a8fe512d49874006acf29e995a534fe5"),
    event("drain", "8eb6626586e746238cd55b918ab88c59"),
    event("forwarded_ignored", "f7f3c8d295d24041b36ac58a1d6b716d"),
    event("gap", "9a7b3152d43249b7915b19c6d970281a"),
    event("handshake_refused", "12d4978a95ea44b7ac1d1d52f74ea3db"),
    event("limit_reached", "0930d1638917479a8d99a202eee78901"),
    event("limit_small", "5fc369f19347314367284d827e6d26eb"),
    event("listen_ignored", "e789748ba4604ea3ad81435de7603eb3"),
    event("listening", "e726684c5653668db675710818867e36"),
    event("log_dropped", "eeb1a265cbc34dcd85dd212f99eaa2cf"),
    event("ready", "e2ad09a2e7d444fa8b5b9edbbd11d35b"),
    event("reload_refused", "bda73a04f3f942ad9e37ece7fb5f68e1"),
    event("reload_slow", "5fb4fd26a54f43eda3fd3719e3bb6fab"),
    event("reloaded", "e1eb1a64a2d644c38a5e661eb9f648d7"),
    event("script_back", "de0fe8e8fabd49bda8317284db4c1811"),
    event("script_cut", "333c569df69c4be9b2055d2fa753768a"),
    event("script_failed", "7fe63b457b01499cbc0de07a3fcaed2f"),
    event("script_rests", "ff761eae2e204d14bdb4e9ee8011a4a5"),
    event("socket_ignored", "64fe6087817d43be8ce29e93f2a9e6e3"),
    event("start", "1001f1b3fc634bd0ac424e9c106776f5"),
    event("start_failed", "912749b444bc9e9d3694e400af113ebb"),
    event("start_refused", "5ab51cc106754a7e81e26ff52dd7ff6f"),
    event("stopped", "6d7d352b34cb445991d0a588952deeeb"),
    event("watchdog_late", "a28b076a189c41ef9f0571b78b1d6bfc"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOGUE: &str = include_str!("../../packaging/systemd/wsd.catalog");

    #[test]
    fn names_are_sorted_and_ids_are_ids() {
        assert!(EVENTS.is_sorted_by_key(|event| event.name));
        for (index, event) in EVENTS.iter().enumerate() {
            assert_eq!(event.id.len(), 32, "{}", event.name);
            assert!(
                event
                    .id
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
            );
            assert!(
                EVENTS[index + 1..]
                    .iter()
                    .all(|later| { later.id != event.id && later.name != event.name })
            );
        }
        assert_eq!(find("ready").unwrap().name, "ready");
        assert_eq!(find("nothing of the kind"), None);
    }

    #[test]
    fn the_catalogue_explains_every_event() {
        let ids = CATALOGUE
            .lines()
            .filter_map(|line| line.strip_prefix("-- "))
            .collect::<Vec<_>>();
        let mut ours = EVENTS.iter().map(|event| event.id).collect::<Vec<_>>();
        assert_eq!(ids.len(), ours.len());
        for id in &ids {
            assert!(ours.contains(id), "{id} is no event of log::EVENTS");
        }
        ours.retain(|id| !ids.contains(id));
        assert!(ours.is_empty(), "without an entry: {ours:?}");

        for entry in CATALOGUE.split("\n-- ").skip(1) {
            for part in [
                "\nSubject: ",
                "\nDefined-By: wsd\n",
                "\nCause: ",
                "\nRemedy: ",
            ] {
                assert!(entry.contains(part), "{part:?} is missing in {entry}");
            }
        }
    }

    #[test]
    fn events_of_the_source_are_in_the_table() {
        for name in super::super::source_literals("event = \"") {
            assert!(
                find(&name).is_some(),
                "\"{name}\" is missing in log::EVENTS"
            );
        }
    }
}
