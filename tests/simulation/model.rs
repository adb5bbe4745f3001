//! What must be true of what the clients got, whatever happened in between.
//!
//! Told by clients, hooks and the hubs' members only: nothing here knows how a worker works. [`receive`] checks each
//! message as it comes; [`settle`] all of them at moments at which nothing is on its way.

use std::collections::{BTreeMap, BTreeSet};

use wsd::types::Origin;

use crate::client::{Client, Seen};
use crate::hooks::{DIRECT, Log};
use crate::note::Note;

/// A client got a message: it must be one that it may get, and it may only once.
pub(crate) fn receive(log: &mut Log, client: &mut Client, note: &Note) {
    let who = client.origin;
    assert!(
        note.id > log.forgotten,
        "{who}: message {} comes when all of its time had arrived",
        note.id
    );
    let fact = log.fact(note.id);
    assert!(fact.published, "{who}: {note:?} was dropped by a hook");
    let (sent, channel) = (fact.sent, fact.channel.clone());
    let own = fact.sender == Some(who);
    if channel == DIRECT {
        assert!(own, "{who}: {note:?} was sent to somebody else");
    } else {
        assert!(
            fact.echo || !own,
            "{who}: {note:?} is its own, with echo = false"
        );
    }
    let seen = client.seen.entry(channel.clone()).or_default();
    let stays = &seen.stays;
    let member = stays
        .iter()
        .any(|stay| stay.left.is_none_or(|left| sent <= left));
    assert!(
        member || channel == DIRECT,
        "{who}: {note:?} was sent to {channel:?} after it left: {stays:?}, sent at {sent}"
    );
    assert!(
        !seen.got.contains(&note.id),
        "{who}: {note:?} comes twice: {:?}",
        seen.got
    );
    seen.got.push(note.id);
}

/// How far losses are allowed.
pub(crate) struct Allowance {
    /// Channels whose policy drops, with whether that happens only near the limit.
    pub(crate) lossy: BTreeMap<String, bool>,
    /// Bytes that must have waited for a client before something is dropped.
    pub(crate) near: usize,
}

/// Nothing is on its way: everybody has what is promised, in one order. Returns how many messages were lost.
pub(crate) fn settle<'a>(
    log: &mut Log,
    clients: impl Iterator<Item = &'a mut Client>,
    allowance: &Allowance,
) -> usize {
    let mut clients: Vec<&mut Client> = clients.collect();
    let mut lost = 0;
    let names: BTreeSet<String> = clients
        .iter()
        .flat_map(|client| client.seen.keys().cloned())
        .collect();
    for channel in &names {
        let all: Vec<(&Client, &Seen)> = clients
            .iter()
            .filter_map(|client| Some((&**client, client.seen.get(channel)?)))
            .collect();
        let order = Order::of(channel, all.iter().map(|(_, seen)| seen.got.as_slice()));
        for (client, seen) in all {
            check_senders(log, client, &seen.got);
            for id in missing(log, channel, client, seen, &order) {
                let fact = log.fact(id);
                let near = match allowance.lossy.get(channel) {
                    Some(near) => !near || client.most_queued >= allowance.near,
                    None => false,
                };
                assert!(
                    near,
                    "{}: message {id} of {channel:?} is missing ({fact:?}), it got {:?}, {:?}",
                    client.origin, seen.got, seen.stays
                );
                lost += 1;
            }
        }
    }
    let now = log.tick();
    log.forgotten = log.last_id;
    log.facts.clear();
    for client in &mut clients {
        client.seen.retain(|_, seen| {
            seen.got.clear();
            seen.stays.retain(|stay| stay.left.is_none());
            for stay in &mut seen.stays {
                stay.live = Some(now);
            }
            !seen.stays.is_empty()
        });
        client.waits = None;
        client.most_queued = 0;
    }
    lost
}

/// What the client should have got of the channel and did not.
fn missing(log: &Log, channel: &str, client: &Client, seen: &Seen, order: &Order) -> Vec<u64> {
    let [stay] = seen.stays.as_slice() else {
        // Who left and came back may have missed what was on its way in between.
        return Vec::new();
    };
    let Some(live) = stay.live else {
        return Vec::new();
    };
    let before = stay.left.map(|_| order.before(seen.got.last()));
    let promised = |id: &u64| {
        let fact = &log.facts[id];
        let own = fact.sender == Some(client.origin);
        let for_it = if channel == DIRECT {
            own
        } else {
            fact.echo || !own
        };
        let in_time = before.as_ref().is_none_or(|before| before.contains(id));
        fact.published && fact.channel == channel && fact.sent > live && for_it && in_time
    };
    let got: BTreeSet<u64> = seen.got.iter().copied().collect();
    let ids = log.facts.keys().copied();
    ids.filter(|id| promised(id) && !got.contains(id)).collect()
}

/// The messages of each sender come in the order in which it sent them.
fn check_senders(log: &Log, client: &Client, got: &[u64]) {
    let mut last: Vec<(Origin, u64)> = Vec::new();
    for id in got {
        let Some((sender, place)) = log.facts[id].order else {
            continue;
        };
        match last.iter_mut().find(|(other, _)| *other == sender) {
            Some((_, before)) => {
                assert!(
                    *before < place,
                    "{}: message {id} of {sender} comes too late: {got:?}",
                    client.origin
                );
                *before = place;
            }
            None => last.push((sender, place)),
        }
    }
}

/// Which message of a channel came directly before which, as all its subscribers together saw it.
struct Order(BTreeMap<u64, BTreeSet<u64>>);

impl Order {
    /// Fails if two subscribers saw two orders.
    fn of<'a>(channel: &str, lists: impl Iterator<Item = &'a [u64]>) -> Self {
        let mut before: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        for list in lists {
            for id in list {
                before.entry(*id).or_default();
            }
            for pair in list.windows(2) {
                before.entry(pair[1]).or_default().insert(pair[0]);
            }
        }
        let mut open: BTreeMap<u64, BTreeSet<u64>> = before.clone();
        let mut next: Vec<u64> = Vec::new();
        loop {
            next.extend(open.iter().filter(|(_, b)| b.is_empty()).map(|(id, _)| *id));
            if next.is_empty() {
                break;
            }
            for id in &next {
                open.remove(id);
            }
            for before in open.values_mut() {
                before.retain(|id| !next.contains(id));
            }
            next.clear();
        }
        assert!(open.is_empty(), "{channel}: two orders: {open:?}");
        Self(before)
    }

    /// All that came before the message.
    fn before(&self, id: Option<&u64>) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut open: Vec<u64> = id.copied().into_iter().collect();
        while let Some(id) = open.pop() {
            for before in self.0.get(&id).into_iter().flatten() {
                if found.insert(*before) {
                    open.push(*before);
                }
            }
        }
        found
    }
}
