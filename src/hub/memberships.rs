//! [pure] The channels of one connection.
//!
//! Nearly every connection has one or two, so they stand in place and are searched from the front; from
//! [`INDEXED_FROM`] on a table finds them, so that ten thousand on one connection cost no more each.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::{ChannelSlot, index_u32};

/// From this many memberships on there is a table. Searching 16 pairs takes about as long as one look-up.
const INDEXED_FROM: usize = 16;

/// A channel, and where the connection stands among its members.
type Membership = (ChannelSlot, u32);

/// The channels of one connection.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    list: SmallVec<[Membership; 1]>,
    #[expect(
        clippy::box_collection,
        reason = "48 bytes less for each of the many that have none"
    )]
    index: Option<Box<HashMap<ChannelSlot, u32>>>,
}

impl Memberships {
    /// Adds one; returns where it stands.
    pub(super) fn push(&mut self, slot: ChannelSlot, place: u32) -> u32 {
        let at = index_u32(self.list.len());
        self.list.push((slot, place));
        match &mut self.index {
            Some(index) => {
                index.insert(slot, at);
            }
            None if self.list.len() >= INDEXED_FROM => {
                let pairs = self
                    .list
                    .iter()
                    .zip(0u32..)
                    .map(|(&(slot, _), at)| (slot, at));
                self.index = Some(Box::new(pairs.collect()));
            }
            None => {}
        }
        at
    }

    /// Takes one out; the last one moves to its place. Returns it, and the one that moved.
    pub(super) fn swap_remove(&mut self, at: usize) -> (ChannelSlot, u32, Option<Membership>) {
        let (slot, place) = self.list.swap_remove(at);
        let moved = self.list.get(at).copied();
        if let Some(index) = &mut self.index {
            index.remove(&slot);
            if let Some((other, _)) = moved {
                index.insert(other, index_u32(at));
            }
            if self.list.len() < INDEXED_FROM / 2 {
                self.index = None;
                self.list.shrink_to_fit();
            }
        }
        (slot, place, moved)
    }

    /// The connection now stands there among the members of the channel at `at`.
    pub(super) fn set_place(&mut self, at: u32, place: u32) {
        if let Some(membership) = self.list.get_mut(at as usize) {
            membership.1 = place;
        }
    }

    /// Where a channel stands.
    pub(super) fn position(&self, slot: ChannelSlot) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&slot).map(|&at| at as usize),
            None => self.list.iter().position(|&(other, _)| other == slot),
        }
    }

    pub(super) fn get(&self, at: u32) -> Option<Membership> {
        self.list.get(at as usize).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = ChannelSlot> {
        self.list.iter().map(|&(slot, _)| slot)
    }
}
