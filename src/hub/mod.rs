//! Who listens to what on this worker.
//!
//! [pure] Ids and names, no bytes. Two indexes, kept in step: channel → members and connection → memberships;
//! [`Hub::check_invariants`] compares them. A channel exists exactly as long as it has a member, so names that nobody
//! listens to cost nothing. Joining, leaving and finding a channel are O(1) whatever the numbers are. The caller is
//! `worker/state`.

mod catch_up;
mod counts;
mod memberships;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::{ChannelName, ConnId, NameHash};
pub use catch_up::{CatchUp, Next};
pub use counts::SubscriberCounts;
use memberships::Memberships;

/// A channel's place in the hub, valid as long as it has a member; then used again for another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChannelSlot(pub u32);

impl ChannelSlot {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A connection in a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Member {
    /// Who.
    pub conn: ConnId,
    /// Where this channel stands among the connection's memberships.
    at: u32,
}

/// One channel that somebody listens to.
#[derive(Debug)]
struct Channel {
    name: ChannelName,
    members: Vec<Member>,
}

/// What [`Hub::subscribe`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Joined {
    /// It was a member before; nothing changed.
    Already(ChannelSlot),
    /// It is the channel's first member: the home must be told.
    First(ChannelSlot),
    /// It is one of several.
    Further(ChannelSlot),
}

/// What [`Hub::unsubscribe`] and [`Hub::remove`] did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Left {
    /// Where the channel was.
    pub slot: ChannelSlot,
    /// Its name.
    pub channel: ChannelName,
    /// Nobody is left: the home must be told; the slot is free.
    pub last: bool,
}

/// Who listens to what on this worker.
#[derive(Debug)]
pub struct Hub {
    names: HashMap<ChannelName, ChannelSlot, NameHash>,
    channels: Vec<Option<Channel>>,
    free: Vec<ChannelSlot>,
    conns: Vec<Option<(ConnId, Memberships)>>,
    subscriptions: usize,
    /// Of all hubs of the node.
    counts: Option<Arc<SubscriberCounts>>,
}

impl Hub {
    /// An empty one.
    #[must_use]
    pub fn new(hash: NameHash) -> Self {
        Self {
            names: HashMap::with_hasher(hash),
            channels: Vec::new(),
            free: Vec::new(),
            conns: Vec::new(),
            subscriptions: 0,
            counts: None,
        }
    }

    /// Writes how many subscribers channels have where all hubs of the node do. To be called before anybody joins.
    pub fn share_counts(&mut self, counts: Arc<SubscriberCounts>) {
        self.counts = Some(counts);
    }

    /// Makes `conn` a member of `channel`.
    pub fn subscribe(&mut self, conn: ConnId, channel: &ChannelName) -> Joined {
        let slot = match self.names.get(channel) {
            Some(&slot) => {
                if self
                    .memberships(conn)
                    .is_some_and(|m| m.position(slot).is_some())
                {
                    return Joined::Already(slot);
                }
                slot
            }
            None => self.add_channel(channel),
        };
        let Some(Some(entry)) = self.channels.get_mut(slot.index()) else {
            unreachable!("a name points to a channel that exists")
        };
        let place = entry.members.len();
        let memberships = memberships_mut(&mut self.conns, conn);
        let at = memberships.push(slot, index_u32(place));
        entry.members.push(Member { conn, at });
        self.subscriptions += 1;
        if let Some(counts) = &self.counts {
            counts.add(channel);
        }
        if place == 0 {
            Joined::First(slot)
        } else {
            Joined::Further(slot)
        }
    }

    /// Ends a membership; `None` if there was none.
    pub fn unsubscribe(&mut self, conn: ConnId, channel: &ChannelName) -> Option<Left> {
        let slot = *self.names.get(channel)?;
        let at = self.memberships(conn)?.position(slot)?;
        Some(self.leave(conn, at))
    }

    /// Forgets a connection and ends all its memberships, the latest first.
    pub fn remove(&mut self, conn: ConnId) -> Vec<Left> {
        let mut left = Vec::new();
        while let Some(count) = self.memberships(conn).map(Memberships::len)
            && let Some(last) = count.checked_sub(1)
        {
            left.push(self.leave(conn, last));
        }
        if let Some(entry) = self.conns.get_mut(conn.slot as usize)
            && entry.as_ref().is_some_and(|(id, _)| *id == conn)
        {
            *entry = None;
        }
        self.let_go();
        left
    }

    /// The channel's place, if it has members here.
    #[must_use]
    pub fn find(&self, channel: &ChannelName) -> Option<ChannelSlot> {
        self.names.get(channel).copied()
    }

    /// The channel's place, if it has members here, without a look-up where `hint` is its place and `channel` a clone of
    /// the name that stands there ([`Hub::name`]).
    #[must_use]
    pub fn find_near(&self, channel: &ChannelName, hint: ChannelSlot) -> Option<ChannelSlot> {
        match self.channels.get(hint.index()) {
            Some(Some(near)) if near.name.is_clone_of(channel) => Some(hint),
            _ => self.find(channel),
        }
    }

    /// The members of a channel, in no promised but always the same order.
    #[must_use]
    pub fn members(&self, slot: ChannelSlot) -> &[Member] {
        match self.channels.get(slot.index()) {
            Some(Some(channel)) => &channel.members,
            _ => &[],
        }
    }

    /// The name of a channel that has members.
    #[must_use]
    pub fn name(&self, slot: ChannelSlot) -> Option<&ChannelName> {
        self.channels
            .get(slot.index())?
            .as_ref()
            .map(|channel| &channel.name)
    }

    /// What a connection is subscribed to.
    pub fn channels_of(&self, conn: ConnId) -> impl Iterator<Item = &ChannelName> {
        self.memberships(conn)
            .into_iter()
            .flat_map(Memberships::slots)
            .filter_map(|slot| self.name(slot))
    }

    /// The places of what a connection is subscribed to.
    pub fn slots_of(&self, conn: ConnId) -> impl Iterator<Item = ChannelSlot> {
        self.memberships(conn)
            .into_iter()
            .flat_map(Memberships::slots)
    }

    /// Whether `conn` is a member.
    #[must_use]
    pub fn is_member(&self, conn: ConnId, channel: &ChannelName) -> bool {
        self.find(channel)
            .is_some_and(|slot| self.is_member_of(conn, slot))
    }

    /// Whether `conn` is a member of the channel in that place.
    #[must_use]
    pub fn is_member_of(&self, conn: ConnId, slot: ChannelSlot) -> bool {
        self.memberships(conn)
            .is_some_and(|m| m.position(slot).is_some())
    }

    /// How many channels a connection is subscribed to.
    #[must_use]
    pub fn count_of(&self, conn: ConnId) -> usize {
        self.memberships(conn).map_or(0, Memberships::len)
    }

    /// Every channel that has a member here.
    pub fn channels(&self) -> impl Iterator<Item = (ChannelSlot, &ChannelName)> {
        (0u32..)
            .map(ChannelSlot)
            .zip(&self.channels)
            .filter_map(|(slot, channel)| channel.as_ref().map(|channel| (slot, &channel.name)))
    }

    /// Channels with a member.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.names.len()
    }

    /// Memberships of all connections.
    #[must_use]
    pub const fn subscription_count(&self) -> usize {
        self.subscriptions
    }

    /// Compares the two indexes; panics where they differ. For tests and the simulation.
    #[expect(clippy::panic, reason = "that is what it is for")]
    pub fn check_invariants(&self) {
        let mut members = 0;
        for (slot, name) in self.channels() {
            assert_eq!(
                self.names.get(name),
                Some(&slot),
                "{name}: the name points elsewhere"
            );
            assert!(
                !self.members(slot).is_empty(),
                "{name}: a channel without a member"
            );
            for (place, member) in self.members(slot).iter().enumerate() {
                members += 1;
                let Some(memberships) = self.memberships(member.conn) else {
                    panic!("{name}: {:?} is unknown", member.conn)
                };
                assert_eq!(
                    memberships.get(member.at),
                    Some((slot, index_u32(place))),
                    "{name}"
                );
                assert_eq!(
                    memberships.position(slot),
                    Some(member.at as usize),
                    "{name}"
                );
            }
        }
        let memberships: usize = self.conns.iter().flatten().map(|(_, m)| m.len()).sum();
        assert_eq!(members, memberships, "members and memberships");
        assert_eq!(members, self.subscriptions, "the count of subscriptions");
    }

    fn add_channel(&mut self, name: &ChannelName) -> ChannelSlot {
        let channel = Some(Channel {
            name: name.clone(),
            members: Vec::new(),
        });
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.channels.get_mut(slot.index()) {
                    *place = channel;
                }
                slot
            }
            None => {
                self.channels.push(channel);
                ChannelSlot(index_u32(self.channels.len() - 1))
            }
        };
        self.names.insert(name.clone(), slot);
        slot
    }

    /// Ends the membership that stands at `at` among those of `conn`.
    fn leave(&mut self, conn: ConnId, at: usize) -> Left {
        let Some(Some((_, memberships))) = self.conns.get_mut(conn.slot as usize) else {
            unreachable!("only called for a membership that is there")
        };
        let (slot, place, moved) = memberships.swap_remove(at);
        // The connection's last membership now stands at `at`: its channel must know.
        if let Some((other, other_place)) = moved
            && let Some(Some(channel)) = self.channels.get_mut(other.index())
            && let Some(member) = channel.members.get_mut(other_place as usize)
        {
            member.at = index_u32(at);
        }
        let Some(Some(channel)) = self.channels.get_mut(slot.index()) else {
            unreachable!("a membership points to a channel that exists")
        };
        channel.members.swap_remove(place as usize);
        let moved = channel.members.get(place as usize).copied();
        let (name, last) = (channel.name.clone(), channel.members.is_empty());
        if channel.members.capacity() > 64 && channel.members.len() < channel.members.capacity() / 4
        {
            channel.members.shrink_to(channel.members.len() * 2);
        }
        // The channel's last member now stands at `place`: its connection must know.
        if let Some(member) = moved
            && let Some(Some((_, memberships))) = self.conns.get_mut(member.conn.slot as usize)
        {
            memberships.set_place(member.at, place);
        }
        if last {
            self.names.remove(&name);
            if let Some(entry) = self.channels.get_mut(slot.index()) {
                *entry = None;
            }
            self.free.push(slot);
        }
        self.subscriptions -= 1;
        if let Some(counts) = &self.counts {
            counts.sub(&name);
        }
        Left {
            slot,
            channel: name,
            last,
        }
    }

    /// A crowd has left: so do the tables that it needed.
    fn let_go(&mut self) {
        if self.subscriptions > 0 {
            return;
        }
        if self.conns.capacity() > KEPT {
            self.conns = Vec::new();
        }
        if self.channels.capacity() > KEPT {
            self.channels = Vec::new();
            self.free = Vec::new();
            self.names.shrink_to_fit();
        }
    }

    fn memberships(&self, conn: ConnId) -> Option<&Memberships> {
        match self.conns.get(conn.slot as usize) {
            Some(Some((id, memberships))) if *id == conn => Some(memberships),
            _ => None,
        }
    }
}

fn memberships_mut(
    conns: &mut Vec<Option<(ConnId, Memberships)>>,
    conn: ConnId,
) -> &mut Memberships {
    let slot = conn.slot as usize;
    if conns.len() <= slot {
        conns.resize_with(slot + 1, || None);
    }
    let entry = &mut conns[slot];
    debug_assert!(
        entry.as_ref().is_none_or(|(id, _)| *id == conn),
        "the slot was not removed"
    );
    &mut entry
        .get_or_insert_with(|| (conn, Memberships::default()))
        .1
}

/// Tables of this size are kept when there is nobody left.
const KEPT: usize = 1024;

/// Tables here are indexed by `u32`: a worker has fewer than 2³² connections, channels and subscriptions.
#[expect(
    clippy::cast_possible_truncation,
    reason = "see above; 2^32 entries are 64 GiB"
)]
const fn index_u32(index: usize) -> u32 {
    index as u32
}
