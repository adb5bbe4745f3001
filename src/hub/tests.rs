//! Random operations against a model of ten lines.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn conn(slot: u32, generation: u32) -> ConnId {
    ConnId { slot, generation }
}

fn name(n: u64) -> ChannelName {
    ChannelName::new(&format!("c{n}")).unwrap()
}

/// A small generator, so that a failing seed replays.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[test]
fn the_two_indexes_agree_with_a_model_after_any_operations() {
    for seed in 0..64 {
        let mut random = Random(seed);
        let mut hub = Hub::new(NameHash::new(seed, 1));
        let mut model: BTreeMap<ChannelName, BTreeSet<ConnId>> = BTreeMap::new();
        let mut generations = [0u32; 8];
        for step in 0..400 {
            let slot = random.below(8);
            let who = conn(
                u32::try_from(slot).unwrap(),
                generations[usize::try_from(slot).unwrap()],
            );
            let channel = name(random.below(40));
            match random.below(10) {
                0..=5 => {
                    let members = model.entry(channel.clone()).or_default();
                    let first = members.is_empty();
                    let new = members.insert(who);
                    match hub.subscribe(who, &channel) {
                        Joined::Already(_) => assert!(!new),
                        Joined::First(_) => assert!(new && first),
                        Joined::Further(_) => assert!(new && !first),
                    }
                }
                6..=8 => {
                    let was = model
                        .get_mut(&channel)
                        .is_some_and(|members| members.remove(&who));
                    let last = model.get(&channel).is_none_or(BTreeSet::is_empty);
                    let left = hub.unsubscribe(who, &channel);
                    assert_eq!(left.map(|left| left.last), was.then_some(last));
                }
                _ => {
                    let count = model
                        .values_mut()
                        .filter_map(|m| m.remove(&who).then_some(()))
                        .count();
                    assert_eq!(hub.remove(who).len(), count);
                    generations[usize::try_from(slot).unwrap()] += 1;
                }
            }
            model.retain(|_, members| !members.is_empty());
            hub.check_invariants();
            assert_eq!(hub.channel_count(), model.len(), "seed {seed} step {step}");
            for (channel, members) in &model {
                let slot = hub.find(channel).unwrap();
                let seen: BTreeSet<ConnId> = hub.members(slot).iter().map(|m| m.conn).collect();
                assert_eq!(&seen, members);
            }
        }
    }
}

#[test]
fn a_connection_knows_its_channels() {
    let mut hub = Hub::new(NameHash::new(1, 2));
    let who = conn(3, 0);
    for n in 0..40 {
        hub.subscribe(who, &name(n));
    }
    assert_eq!(hub.count_of(who), 40);
    assert!(hub.is_member(who, &name(7)));
    assert!(!hub.is_member(conn(3, 1), &name(7)));
    assert_eq!(hub.channels_of(who).count(), 40);
    assert_eq!(hub.remove(who).len(), 40);
    assert_eq!(hub.channel_count(), 0);
    assert_eq!(hub.subscription_count(), 0);
}
