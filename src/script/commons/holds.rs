//! Slots: a connection takes one of so many for a key, and they are given back when it has ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use super::Guarded;
use crate::types::Origin;

/// Every slot that is taken on a node.
#[derive(Default)]
pub(in crate::script) struct Holds {
    table: Guarded<Table>,
    /// Connections that hold any, to be looked at without the lock: most end without.
    holders: AtomicUsize,
}

#[derive(Default)]
struct Table {
    /// How many hold each key.
    taken: HashMap<Arc<[u8]>, u32>,
    /// The keys of each connection.
    of: HashMap<Origin, SmallVec<[Arc<[u8]>; 2]>>,
}

/// Why [`Holds::hold`] took nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::script) enum HoldError {
    /// All are taken.
    Full,
    /// The connection holds [`Holds::EACH_MAX`] already.
    TooMany,
}

impl Holds {
    /// Keys of one connection.
    pub(in crate::script) const EACH_MAX: usize = 64;

    /// Takes a slot for the connection; the same key again is the same slot.
    pub(in crate::script) fn hold(
        &self,
        conn: Origin,
        key: &[u8],
        max: f64,
    ) -> Result<(), HoldError> {
        self.table.with(|table| {
            let own = table.of.get(&conn).map_or(&[][..], |keys| keys);
            if own.iter().any(|own| **own == *key) {
                return Ok(());
            }
            if own.len() >= Self::EACH_MAX {
                return Err(HoldError::TooMany);
            }
            let (key, taken) = match table.taken.get_key_value(key) {
                Some((key, taken)) => (Arc::clone(key), *taken),
                None => (key.into(), 0),
            };
            if f64::from(taken) + 1.0 > max {
                return Err(HoldError::Full);
            }
            table.taken.insert(Arc::clone(&key), taken + 1);
            table.of.entry(conn).or_default().push(key);
            self.holders.store(table.of.len(), Ordering::Relaxed);
            Ok(())
        })
    }

    /// The connection has ended, or its handshake was refused: gives back what it holds. Once more does nothing.
    pub(in crate::script) fn release(&self, conn: Origin) {
        // Whoever holds took it on this thread.
        if self.holders.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.table.with(|table| {
            for key in table.of.remove(&conn).into_iter().flatten() {
                if let Some(taken) = table.taken.get_mut(&key) {
                    *taken -= 1;
                    if *taken == 0 {
                        table.taken.remove(&key);
                    }
                }
            }
            self.holders.store(table.of.len(), Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ConnId, NodeId, WorkerId};

    #[test]
    fn slots_are_taken_once_and_given_back() {
        let conn = |slot| Origin {
            node: NodeId(1),
            worker: WorkerId(0),
            conn: ConnId {
                slot,
                generation: 0,
            },
        };
        let holds = Holds::default();
        assert_eq!(holds.hold(conn(1), b"a", 2.0), Ok(()));
        assert_eq!(holds.hold(conn(1), b"a", 2.0), Ok(()));
        assert_eq!(holds.hold(conn(2), b"a", 2.0), Ok(()));
        assert_eq!(holds.hold(conn(3), b"a", 2.0), Err(HoldError::Full));
        assert_eq!(holds.hold(conn(3), b"b", 0.0), Err(HoldError::Full));
        holds.release(conn(3));
        holds.release(conn(1));
        holds.release(conn(1));
        assert_eq!(holds.hold(conn(3), b"a", 2.0), Ok(()));
        assert_eq!(holds.hold(conn(4), b"a", 2.0), Err(HoldError::Full));
        holds.release(conn(2));
        holds.release(conn(3));
        holds
            .table
            .with(|table| assert!(table.taken.is_empty() && table.of.is_empty()));
        for n in 0..Holds::EACH_MAX {
            assert_eq!(holds.hold(conn(5), n.to_string().as_bytes(), 1.0), Ok(()));
        }
        assert_eq!(
            holds.hold(conn(5), b"one more", 1.0),
            Err(HoldError::TooMany)
        );
    }
}
