//! [pure] What a reload changes, and from when on that holds.
//!
//! Two configurations are compared as the operator would write them, key by key (`print.rs`), so the answer names keys.

use super::keys::{ARRAYS, FREE, KEYS, When};
use super::{Admin, BrokerUrl, Config, Listen};

/// A key that has another value.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Change {
    /// As in SPEC §3; `route` and `channel` for any change of those tables.
    pub key: &'static str,
    /// From when on the new value holds.
    pub when: When,
}

/// From one Redis to another is possible at any time; between Redis and memory every channel's home would change.
const BROKER: &str = "broker.url";

/// Every key whose value differs, in the order of the list of keys.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes: Vec<Change> = KEYS
        .iter()
        .filter(|key| differs(key.path, old, new))
        .map(|key| Change {
            key: key.path,
            when: if key.path == BROKER && another_kind(old, new) {
                When::Restart
            } else {
                key.when
            },
        })
        .collect();
    let [route, channel] = ARRAYS;
    if old.routes_text() != new.routes_text() {
        changes.push(Change {
            key: route,
            when: When::NewConnections,
        });
    }
    if old.channels != new.channels {
        changes.push(Change {
            key: channel,
            when: When::Live,
        });
    }
    changes
}

impl Config {
    /// This configuration, with the running one's TLS where it is the same: then tickets given before are good after.
    #[must_use]
    pub fn resuming(mut self, running: &Self) -> Self {
        if self.tls == running.tls {
            self.tls.clone_from(&running.tls);
        }
        self
    }

    /// This configuration with those values of the running one that only a restart changes.
    #[must_use]
    pub fn until_restart(self, running: &Self) -> Self {
        let broker = if another_kind(running, &self) {
            running.broker.clone()
        } else {
            self.broker.clone()
        };
        Self {
            listen: Listen {
                addresses: running.listen.addresses.clone(),
                backlog: running.listen.backlog,
                ..self.listen
            },
            runtime: running.runtime,
            broker,
            admin: Admin::clone(&running.admin),
            ..self
        }
    }
}

/// Whether one is `memory:` and the other is not.
fn another_kind(old: &Config, new: &Config) -> bool {
    (old.broker.url == BrokerUrl::Memory) != (new.broker.url == BrokerUrl::Memory)
}

fn differs(path: &str, old: &Config, new: &Config) -> bool {
    match path {
        // What is printed of these does not tell them apart.
        "broker.password" => old.broker.password != new.broker.password,
        // The file's content counts, not only its name.
        "tls.certificate" => old.tls != new.tls,
        "admin.token" => old.admin.token != new.admin.token,
        FREE => old.settings_text() != new.settings_text(),
        _ => old.key_text(path) != new.key_text(path),
    }
}
