//! `[[channel]]`, and `[publish]` and `[delivery]` that complete it.

use std::sync::Arc;

use super::super::check::{Check, Faults};
use super::super::problem::{Place, quote};
use super::super::raw::{Node, Table};
use super::super::values::{Zero, choice, duration, number, size, text};
use super::super::{
    ChannelPolicy, ChannelRule, Delivery, Format, Glob, OnGap, PublishWindow, WhenFull,
};
use super::LARGEST_MESSAGE;
use crate::types::{ChannelName, ChannelNameError};

const FORMATS: &[(&str, Format)] = &[
    ("message", Format::Message),
    ("json-array", Format::JsonArray),
    ("lines", Format::Lines),
];
const WHEN_FULL: &[(&str, WhenFull)] = &[
    ("disconnect", WhenFull::Disconnect),
    ("drop-newest", WhenFull::DropNewest),
    ("drop-oldest", WhenFull::DropOldest),
    ("keep-latest", WhenFull::KeepLatest),
];
const ON_GAP: &[(&str, OnGap)] = &[("close", OnGap::Close), ("ignore", OnGap::Ignore)];

/// The most messages of one batch or frame.
const MOST_MESSAGES: i64 = 1_000_000;

/// The most publications that a channel keeps.
const LONGEST_HISTORY: i64 = 1_000_000;

/// What holds for a channel that no `[[channel]]` matches.
pub(super) fn defaults(check: &mut Check<'_>) -> ChannelPolicy {
    let nothing = Table::default();
    ChannelPolicy {
        publish: PublishWindow {
            window: check.key("publish.window", duration(Zero::Fine)),
            max_messages: check.key("publish.max_messages", number(1..=MOST_MESSAGES)),
            max_bytes: check.key("publish.max_bytes", size(1..=LARGEST_MESSAGE)),
        },
        delivery: Delivery {
            window: check.key("delivery.window", duration(Zero::Fine)),
            format: check.key("delivery.format", choice(FORMATS)),
            max_messages: check.key("delivery.max_messages", number(1..=MOST_MESSAGES)),
            max_bytes: check.key("delivery.max_bytes", size(1..=LARGEST_MESSAGE)),
            when_full: check.key("delivery.when_full", choice(WHEN_FULL)),
        },
        history_size: check.item_key(
            &nothing,
            "channel.history.size",
            number(0..=LONGEST_HISTORY),
        ),
        history_ttl: check.item_key(&nothing, "channel.history.ttl", duration(Zero::Refused)),
        replay: check.item_key(&nothing, "channel.replay", number(0..=LONGEST_HISTORY)),
        on_gap: check.item_key(&nothing, "channel.on_gap", choice(ON_GAP)),
    }
}

/// The rules in the order in which they are tried.
pub(super) fn channels(check: &mut Check<'_>, defaults: &ChannelPolicy) -> Vec<ChannelRule> {
    let mut rules: Vec<(ChannelRule, Place)> = Vec::new();
    for (item, place) in check.items("channel") {
        let pattern = check.item_own(
            item,
            "channel.match",
            |node: &Node, faults: &mut Faults<'_>| Some((glob(node, faults)?, node.place)),
        );
        if item.find("match").is_none() {
            let what = "is missing; a channel entry needs a pattern, as in match = \"room:*\"";
            check.fault(place, "channel.match", what);
        }
        let policy = Arc::new(policy(check, item, defaults));
        if policy.replay > 0 && policy.history_size == 0 {
            let what = "there is nothing to replay: set history.size, or leave it out";
            check.fault(place, "channel.replay", what);
        }
        let Some((pattern, place)) = pattern else {
            continue;
        };
        let earlier = rules
            .iter()
            .find(|(earlier, _)| earlier.pattern.matches(pattern.as_str()));
        if let Some((earlier, before)) = earlier {
            // A star of the later pattern is only taken by a star of the earlier one, so all that it stands for is too.
            check.warning(place, "channel.match", |check| {
                format!(
                    "{}: can never match: {} at {} stands before it",
                    quote(pattern.as_str()),
                    quote(earlier.pattern.as_str()),
                    check.shown_place(*before)
                )
            });
        }
        rules.push((ChannelRule { pattern, policy }, place));
    }
    rules.into_iter().map(|(rule, _)| rule).collect()
}

fn policy(check: &mut Check<'_>, item: &Table, base: &ChannelPolicy) -> ChannelPolicy {
    let (publish, delivery) = (base.publish, base.delivery);
    let window = duration(Zero::Fine);
    let max_messages = number(1..=MOST_MESSAGES);
    let max_bytes = size(1..=LARGEST_MESSAGE);
    ChannelPolicy {
        publish: PublishWindow {
            window: check
                .item_own(item, "channel.publish.window", &window)
                .unwrap_or(publish.window),
            max_messages: check
                .item_own(item, "channel.publish.max_messages", &max_messages)
                .unwrap_or(publish.max_messages),
            max_bytes: check
                .item_own(item, "channel.publish.max_bytes", &max_bytes)
                .unwrap_or(publish.max_bytes),
        },
        delivery: Delivery {
            window: check
                .item_own(item, "channel.delivery.window", &window)
                .unwrap_or(delivery.window),
            format: check
                .item_own(item, "channel.delivery.format", choice(FORMATS))
                .unwrap_or(delivery.format),
            max_messages: check
                .item_own(item, "channel.delivery.max_messages", &max_messages)
                .unwrap_or(delivery.max_messages),
            max_bytes: check
                .item_own(item, "channel.delivery.max_bytes", &max_bytes)
                .unwrap_or(delivery.max_bytes),
            when_full: check
                .item_own(item, "channel.delivery.when_full", choice(WHEN_FULL))
                .unwrap_or(delivery.when_full),
        },
        history_size: check.item_key(item, "channel.history.size", number(0..=LONGEST_HISTORY)),
        history_ttl: check.item_key(item, "channel.history.ttl", duration(Zero::Refused)),
        replay: check.item_key(item, "channel.replay", number(0..=LONGEST_HISTORY)),
        on_gap: check.item_key(item, "channel.on_gap", choice(ON_GAP)),
    }
}

/// A pattern that some channel's name can fit.
pub(super) fn glob(node: &Node, faults: &mut Faults<'_>) -> Option<Glob> {
    let pattern = text(node, faults)?;
    // With nothing under the stars: if that is too long or holds a space, no name fits. Nothing but stars fits all.
    let fits = match ChannelName::new(&pattern.replace('*', "")) {
        _ if pattern.starts_with('$') => Err(ChannelNameError::Reserved),
        Err(ChannelNameError::Empty) if !pattern.is_empty() => Ok(()),
        // A name is no longer, and each star costs time for each name that is compared.
        _ if pattern.len() > ChannelName::MAX_BYTES => Err(ChannelNameError::TooLong),
        other => other.map(drop),
    };
    if let Err(error) = fits {
        faults.at(node.place, format!("{}: {error}", quote(&pattern)));
        return None;
    }
    Some(Glob::new(&pattern))
}
