//! Tests of the table of subscriptions: single cases, and random ones against a Redis of ten lines.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::broker::redis::backoff::Dice;

const HOME: WorkerId = WorkerId(1);

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn live(text: &str) -> Live {
    Live {
        home: HOME,
        channel: name(text),
    }
}

fn table() -> Subscriptions {
    Subscriptions::new(NameHash::new(1, 2))
}

fn subscribe(table: &mut Subscriptions, text: &str) -> Option<Live> {
    table.subscribe(HOME, name(text), Link::There)
}

#[test]
fn a_subscription_is_live_when_it_is_confirmed() {
    let mut table = table();
    assert_eq!(subscribe(&mut table, "a"), None);
    assert_eq!(subscribe(&mut table, "b"), None);
    let expected = vec![(Verb::Subscribe, vec![name("a"), name("b")])];
    assert_eq!(table.poll_commands(), expected);
    assert!(table.poll_commands().is_empty());
    assert_eq!(
        table.on_answered(&name("a"), Verb::Subscribe),
        Some(live("a"))
    );
    assert_eq!(table.count(), 2);
    table.unsubscribe(&name("a"), Link::There);
    assert_eq!(table.find("a"), None);
    assert_eq!(
        table.poll_commands(),
        vec![(Verb::Unsubscribe, vec![name("a")])]
    );
    assert_eq!(table.on_answered(&name("a"), Verb::Unsubscribe), None);
    assert_eq!(table.table.len(), 1);
}

#[test]
fn a_pair_that_cancels_out_is_never_sent() {
    let mut table = table();
    subscribe(&mut table, "a");
    table.unsubscribe(&name("a"), Link::There);
    assert!(table.poll_commands().is_empty());
    assert!(table.table.is_empty());

    subscribe(&mut table, "a");
    assert_eq!(table.poll_commands().len(), 1);
    table.on_answered(&name("a"), Verb::Subscribe);
    table.unsubscribe(&name("a"), Link::There);
    assert_eq!(subscribe(&mut table, "a"), Some(live("a")));
    assert!(table.poll_commands().is_empty());
}

#[test]
fn a_confirmation_that_a_later_command_undoes_makes_nothing_live() {
    let mut table = table();
    subscribe(&mut table, "a");
    let _ = table.poll_commands();
    table.unsubscribe(&name("a"), Link::There);
    let _ = table.poll_commands();
    subscribe(&mut table, "a");
    let _ = table.poll_commands();
    assert_eq!(table.on_answered(&name("a"), Verb::Subscribe), None);
    assert_eq!(table.on_answered(&name("a"), Verb::Unsubscribe), None);
    assert_eq!(
        table.on_answered(&name("a"), Verb::Subscribe),
        Some(live("a"))
    );
}

#[test]
fn nobody_waits_while_redis_is_away_and_all_is_said_again() {
    let mut table = table();
    subscribe(&mut table, "a");
    subscribe(&mut table, "gone");
    let _ = table.poll_commands();
    table.unsubscribe(&name("gone"), Link::There);
    assert_eq!(table.on_lost(), vec![live("a")]);
    assert_eq!(
        table.subscribe(HOME, name("b"), Link::Away),
        Some(live("b"))
    );
    table.subscribe(HOME, name("c"), Link::Away);
    table.unsubscribe(&name("c"), Link::Away);

    table.on_linked();
    assert!(table.is_repeating());
    let commands = table.poll_commands();
    let told: BTreeSet<_> = commands.iter().flat_map(|(_, names)| names).collect();
    assert_eq!(told, BTreeSet::from([&name("a"), &name("b")]));
    assert_eq!(subscribe(&mut table, "new"), None);
    assert_eq!(table.on_answered(&name("a"), Verb::Subscribe), None);
    assert!(table.is_repeating());
    table.on_answered(&name("b"), Verb::Subscribe);
    assert!(!table.is_repeating());
}

#[test]
fn a_denied_channel_does_not_hurt_the_others_of_its_command() {
    let mut table = table();
    for text in ["a", "denied", "b"] {
        table.subscribe(HOME, name(text), Link::Away);
    }
    table.on_linked();
    let (verb, channels) = table.poll_commands().remove(0);
    assert_eq!((verb, channels.len()), (Verb::Subscribe, 3));
    table.on_denied(channels);
    for _ in 0..3 {
        let (verb, alone) = table.poll_commands().remove(0);
        assert_eq!((verb, alone.len()), (Verb::Subscribe, 1));
        if alone[0] == name("denied") {
            table.on_denied(alone);
        } else {
            table.on_answered(&alone[0], Verb::Subscribe);
        }
    }
    assert!(!table.is_repeating());
    assert!(table.poll_commands().is_empty());
    table.unsubscribe(&name("denied"), Link::There);
    assert!(table.poll_commands().is_empty());
    assert_eq!(table.count(), 2);
    assert_eq!(table.table.len(), 2);
}

/// Random wishes, answers and losses: whenever Redis has answered everything, it holds exactly what is wanted, and every
/// `Live` was owed and true when it was given.
#[test]
fn redis_ends_up_with_what_is_wanted() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let mut table = table();
        let mut link = Link::Away;
        let mut wanted: BTreeSet<ChannelName> = BTreeSet::new();
        let mut owed: BTreeSet<ChannelName> = BTreeSet::new();
        let mut redis: BTreeSet<ChannelName> = BTreeSet::new();
        let mut open: VecDeque<(Verb, ChannelName)> = VecDeque::new();
        for step in 0..400 {
            let channel = name(&format!("c{}", dice.below(6)));
            let at = format!("seed {seed} step {step}");
            match dice.below(12) {
                0..4 if !wanted.contains(&channel) => {
                    wanted.insert(channel.clone());
                    if table.subscribe(HOME, channel.clone(), link).is_some() {
                        let held = redis.contains(&channel) && !open.iter().any(|o| o.1 == channel);
                        assert!(link == Link::Away || held, "{at}");
                    } else {
                        owed.insert(channel);
                    }
                }
                4..7 if wanted.remove(&channel) => {
                    owed.remove(&channel);
                    table.unsubscribe(&channel, link);
                }
                7..9 if link == Link::There => {
                    for (verb, channels) in table.poll_commands() {
                        open.extend(channels.into_iter().map(|channel| (verb, channel)));
                    }
                }
                9..11 => {
                    if let Some((verb, channel)) = open.pop_front() {
                        match verb {
                            Verb::Subscribe => redis.insert(channel.clone()),
                            Verb::Unsubscribe => redis.remove(&channel),
                        };
                        if let Some(live) = table.on_answered(&channel, verb) {
                            assert!(redis.contains(&live.channel), "{at}");
                            assert!(owed.remove(&live.channel), "{at}");
                        }
                    }
                }
                11 if dice.below(8) == 0 => {
                    if link == Link::There {
                        link = Link::Away;
                        (redis, open) = (BTreeSet::new(), VecDeque::new());
                        let lives: BTreeSet<_> =
                            table.on_lost().into_iter().map(|l| l.channel).collect();
                        assert_eq!(lives, std::mem::take(&mut owed), "{at}");
                    } else {
                        link = Link::There;
                        table.on_linked();
                    }
                }
                _ => {}
            }
            assert_eq!(table.count(), wanted.len(), "{at}");
        }
        if link == Link::Away {
            table.on_linked();
        }
        loop {
            for (verb, channels) in table.poll_commands() {
                open.extend(channels.into_iter().map(|channel| (verb, channel)));
            }
            let Some((verb, channel)) = open.pop_front() else {
                break;
            };
            match verb {
                Verb::Subscribe => redis.insert(channel.clone()),
                Verb::Unsubscribe => redis.remove(&channel),
            };
            if let Some(live) = table.on_answered(&channel, verb) {
                owed.remove(&live.channel);
            }
        }
        assert_eq!(redis, wanted, "seed {seed}");
        assert!(owed.is_empty() && !table.is_repeating(), "seed {seed}");
        assert_eq!(table.table.len(), wanted.len(), "seed {seed}");
    }
}
