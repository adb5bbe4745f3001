//! The connections of one worker: everything that a connection is, as plain data.
//!
//! [pure] A slab whose slots are used again with the next generation. What of a connection is not here is its session
//! (with its task, `conn.rs`), its memberships (`hub/`) and `conn.data` (with the scripts), each of which can be written
//! out. The owner is `state/`.

use std::sync::Arc;
use std::time::Instant;

use super::outbox::Outbox;
use super::pace::Pace;
use super::share::Meter;
use super::state::V1;
use crate::config::Route;
use crate::hub::ChannelSlot;
use crate::pipeline::Peer;
use crate::types::{Close, ConnId};
use crate::wire::Agreement;

/// How far a connection has got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// The close has been asked for: nothing more is delivered, what it sends is not handled.
    Closing,
    /// The answer to the handshake waits until its subscription is live: nothing is written yet.
    Joining,
    /// Messages go both ways.
    Open,
}

/// One accepted connection.
///
/// What every delivery looks at stands first and together: a crowd is larger than the caches.
#[derive(Debug)]
#[repr(C)]
pub struct Conn {
    /// What waits to be written.
    pub outbox: Outbox,
    /// How far it has got.
    pub phase: Phase,
    /// Whether it stands in the list of those to be written.
    pub dirty: bool,
    /// A connection of wsd's own (`wsd subscribe`): no hook is asked, it is not counted.
    pub internal: bool,
    /// Channels in which it catches up.
    pub feeds: u32,
    /// It speaks `wsd.v1`; `None`: a plain client.
    pub v1: Option<Box<V1>>,
    /// What was agreed on compression; `None` if nothing was.
    pub deflate: Option<Agreement>,
    /// Where the channel of its messages stood when it was last looked up.
    pub near: ChannelSlot,
    /// How it came.
    pub route: Arc<Route>,
    /// What hooks see.
    pub peer: Peer,
    /// What hooks have spent on it, if that was much.
    pub meter: Option<Box<Meter>>,
    /// When it is closed with 4401, as seconds since 1970.
    pub expires: Option<f64>,
    /// The tick of the wheel at which that is looked at.
    pub expire_tick: Option<u64>,
    /// When the request was complete.
    pub opened: Instant,
    /// Why the close was asked for, if it was.
    pub close: Option<Box<Close>>,
    /// How much it has sent lately; `None` until a limit asks.
    pub paces: Option<Box<Paces>>,
}

/// What of a connection has a limit a second.
#[derive(Debug, Default)]
pub struct Paces {
    /// `limits.bytes_per_second`
    pub bytes: Pace,
    /// `limits.messages_per_second`
    pub messages: Pace,
}

impl Conn {
    /// Whether it gets the compressed form of frames.
    #[must_use]
    pub fn takes_deflated(&self) -> bool {
        self.deflate.is_some_and(Agreement::takes_shared_frames)
    }
}

/// What stands in a slot.
#[derive(Debug)]
enum Entry {
    Free,
    Pending,
    Open(Box<Conn>),
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Entry,
    /// The tick of the wheel at which the session wants to be asked.
    session_tick: Option<u64>,
}

/// A table of so many slots is kept when all are free.
const KEPT_SLOTS: usize = 1024;

/// The connections of one worker.
#[derive(Debug, Default)]
pub struct ConnTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
    /// The generation of a slot that is new: no slot that was let go had it.
    first: u32,
}

impl ConnTable {
    /// A name for a connection whose request has not come yet.
    pub fn reserve(&mut self) -> ConnId {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            place.entry = Entry::Pending;
            return ConnId {
                slot,
                generation: place.generation,
            };
        }
        // A process has fewer than 2^32 descriptors.
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot {
            generation: self.first,
            entry: Entry::Pending,
            session_tick: None,
        });
        ConnId {
            slot,
            generation: self.first,
        }
    }

    /// The request was accepted.
    pub fn open(&mut self, id: ConnId, conn: Conn) {
        if let Some(slot) = self.slot_mut(id)
            && matches!(slot.entry, Entry::Pending)
        {
            slot.entry = Entry::Open(Box::new(conn));
            self.open += 1;
        }
    }

    /// Frees the name; returns the connection if it was open.
    pub fn remove(&mut self, id: ConnId) -> Option<Box<Conn>> {
        let slot = self.slot_mut(id)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.session_tick = None;
        let entry = std::mem::replace(&mut slot.entry, Entry::Free);
        self.free.push(id.slot);
        if self.free.len() == self.slots.len() && self.slots.capacity() > KEPT_SLOTS {
            // A crowd has left: its names must not come back, its memory may go.
            let generations = self.slots.iter().map(|slot| slot.generation);
            self.first = generations.fold(self.first, u32::max);
            self.slots = Vec::new();
            self.free = Vec::new();
        }
        match entry {
            Entry::Open(conn) => {
                self.open -= 1;
                Some(conn)
            }
            Entry::Free | Entry::Pending => None,
        }
    }

    /// An open connection.
    #[must_use]
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        match self.slots.get(id.slot as usize) {
            Some(Slot {
                generation,
                entry: Entry::Open(conn),
                ..
            }) if *generation == id.generation => Some(conn),
            _ => None,
        }
    }

    /// An open connection.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        match self.slots.get_mut(id.slot as usize) {
            Some(Slot {
                generation,
                entry: Entry::Open(conn),
                ..
            }) if *generation == id.generation => Some(conn),
            _ => None,
        }
    }

    /// Where the wheel's tick for its session is kept; `None` for a name that is no more.
    pub fn session_tick(&mut self, id: ConnId) -> Option<&mut Option<u64>> {
        self.slot_mut(id).map(|slot| &mut slot.session_tick)
    }

    /// Whether its request has not come yet.
    #[must_use]
    pub fn is_pending(&self, id: ConnId) -> bool {
        self.slots.get(id.slot as usize).is_some_and(|slot| {
            slot.generation == id.generation && matches!(slot.entry, Entry::Pending)
        })
    }

    /// Every open connection.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| match &slot.entry {
                Entry::Open(conn) => Some((
                    ConnId {
                        slot: index,
                        generation: slot.generation,
                    },
                    &**conn,
                )),
                Entry::Free | Entry::Pending => None,
            })
    }

    /// Every name in use, also of those whose request has not come.
    pub fn ids(&self) -> impl Iterator<Item = ConnId> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| match &slot.entry {
                Entry::Open(_) | Entry::Pending => Some(ConnId {
                    slot: index,
                    generation: slot.generation,
                }),
                Entry::Free => None,
            })
    }

    /// Names whose request has not come yet.
    #[must_use]
    pub const fn pending_count(&self) -> usize {
        self.slots
            .len()
            .saturating_sub(self.free.len())
            .saturating_sub(self.open)
    }

    /// Open connections.
    #[must_use]
    pub const fn open_count(&self) -> usize {
        self.open
    }

    fn slot_mut(&mut self, id: ConnId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.generation == id.generation && !matches!(slot.entry, Entry::Free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_left_leaves_no_table_and_no_name() {
        let mut table = ConnTable::default();
        let crowd: Vec<ConnId> = (0..3000).map(|_| table.reserve()).collect();
        for &id in &crowd {
            assert!(table.is_pending(id));
            table.remove(id);
        }
        assert!(table.slots.capacity() <= KEPT_SLOTS);
        for _ in 0..3000 {
            let id = table.reserve();
            assert!(table.is_pending(id) && !crowd.contains(&id));
        }
        assert!(crowd.iter().all(|&id| !table.is_pending(id)));
        assert_eq!(table.ids().count(), 3000);
    }
}
