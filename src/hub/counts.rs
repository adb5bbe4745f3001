//! How many subscribers each channel has on the whole node.
//!
//! The one thing that hubs share: each writes its changes here, scripts read it ([`SubscriberCounts::get`]). A channel
//! without subscribers has no entry.

use papaya::{HashMap, Operation};

use crate::types::{ChannelName, NameHash};

/// See the module.
#[derive(Debug)]
pub struct SubscriberCounts(HashMap<ChannelName, u32, NameHash>);

impl SubscriberCounts {
    /// None yet.
    #[must_use]
    pub fn new(hash: NameHash) -> Self {
        Self(HashMap::with_hasher(hash))
    }

    /// The subscribers of a channel.
    #[must_use]
    pub fn get(&self, channel: &ChannelName) -> u64 {
        self.0.pin().get(channel).copied().map_or(0, u64::from)
    }

    pub(super) fn add(&self, channel: &ChannelName) {
        self.0
            .pin()
            .update_or_insert(channel.clone(), |count| count.saturating_add(1), 1);
    }

    pub(super) fn sub(&self, channel: &ChannelName) {
        self.0.pin().compute(channel.clone(), |entry| match entry {
            Some((_, count)) if *count > 1 => Operation::Insert(count - 1),
            Some(_) => Operation::Remove,
            None => Operation::Abort(()),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hub::Hub;
    use crate::types::ConnId;

    #[test]
    fn hubs_write_their_changes_from_any_thread() {
        let hash = NameHash::new(1, 2);
        let counts = Arc::new(SubscriberCounts::new(hash));
        let name = |text: &str| ChannelName::new(text).unwrap();
        let conn = |slot| ConnId {
            slot,
            generation: 0,
        };
        let work = |rounds: u32| {
            let mut hub = Hub::new(hash);
            hub.share_counts(Arc::clone(&counts));
            for _ in 0..rounds {
                for slot in 0..10 {
                    hub.subscribe(conn(slot), &name("a"));
                    hub.subscribe(conn(slot), &name("a"));
                    hub.subscribe(conn(slot), &name("b"));
                }
                hub.unsubscribe(conn(0), &name("b"));
                for slot in 0..9 {
                    hub.remove(conn(slot));
                }
            }
            hub
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| work(200));
            }
        });
        // In each hub the last connection is left.
        assert_eq!((counts.get(&name("a")), counts.get(&name("b"))), (2, 2));
        let mut hub = work(1);
        assert_eq!(counts.get(&name("a")), 3);
        hub.remove(conn(9));
        assert_eq!((counts.get(&name("a")), counts.get(&name("c"))), (2, 0));
    }
}
