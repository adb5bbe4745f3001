//! A map that holds so many bytes: what was not used for longest goes first.

use std::hash::RandomState;

use lru::LruCache;

/// What an entry counts besides [`COST`] and its key.
pub(super) trait Weigh {
    fn bytes(&self) -> usize {
        0
    }
}

/// See the module.
pub(super) struct Bounded<V> {
    map: LruCache<Box<[u8]>, V, RandomState>,
    bytes: usize,
}

/// An entry by itself is larger than the whole may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooLarge;

impl<V: Weigh> Bounded<V> {
    /// Finds an entry and notes that it was used.
    pub(super) fn get(&mut self, key: &[u8]) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    /// Sets an entry; others go until all fit into `capacity` bytes.
    pub(super) fn put(&mut self, key: &[u8], value: V, capacity: usize) -> Result<(), TooLarge> {
        let size = size(key, &value);
        if size > capacity {
            return Err(TooLarge);
        }
        self.remove(key);
        while self.bytes + size > capacity
            && let Some((key, value)) = self.map.pop_lru()
        {
            self.bytes = self.bytes.saturating_sub(self::size(&key, &value));
        }
        self.bytes += size;
        self.map.put(key.into(), value);
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let value = self.map.pop(key)?;
        self.bytes = self.bytes.saturating_sub(size(key, &value));
        Some(value)
    }
}

impl<V> Default for Bounded<V> {
    fn default() -> Self {
        Self {
            map: LruCache::unbounded_with_hasher(RandomState::new()),
            bytes: 0,
        }
    }
}

fn size<V: Weigh>(key: &[u8], value: &V) -> usize {
    COST + key.len() + value.bytes()
}

/// Bytes of an entry without key and content: the node in the order of use (72), its place in the table (17 at seven
/// eighths full), and what the allocator adds to two blocks.
const COST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for Vec<u8> {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_bound_holds() {
        let mut map = Bounded::default();
        let capacity = 10 * (COST + 1 + 100);
        for key in 0..10_u8 {
            map.put(&[key], vec![0; 100], capacity).unwrap();
        }
        assert!(map.get(&[0]).is_some());
        map.put(&[10], vec![0; 100], capacity).unwrap();
        assert!(map.get(&[0]).is_some() && map.get(&[1]).is_none() && map.get(&[2]).is_some());
        // A larger one takes the place of several, a change of size counts.
        map.put(&[0], vec![0; 500], capacity).unwrap();
        assert!(map.bytes <= capacity);
        assert_eq!(map.put(&[11], vec![0; capacity], capacity), Err(TooLarge));
        let sum: usize = map.map.iter().map(|(key, value)| size(key, value)).sum();
        assert_eq!(sum, map.bytes);
        // A smaller bound holds from the next entry on.
        map.put(&[12], vec![0; 1], 2 * COST).unwrap();
        assert_eq!(map.map.len(), 1);
        map.remove(&[12]);
        assert_eq!(map.bytes, 0);
    }
}
