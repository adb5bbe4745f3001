//! A shared dictionary: keys and plain values, bounded in bytes, each perhaps for a time.

use std::sync::Arc;

use super::Guarded;
use super::bounded::{Bounded, Weigh};

/// What a dictionary holds.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::script) enum Value {
    Boolean(bool),
    Number(f64),
    /// Shared, so that reading a large one is no work under the lock.
    String(Arc<[u8]>),
}

/// Why [`Dictionary::incr`] did nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::script) enum IncrError {
    /// What is there is no number.
    NotNumber,
    /// The sum is not finite.
    NotFinite,
    /// No dictionary of this size holds the entry.
    TooLarge,
}

struct Stored {
    value: Value,
    /// The moment at which it is gone; infinite: none.
    until: f64,
}

impl Weigh for Stored {
    fn bytes(&self) -> usize {
        match &self.value {
            Value::Boolean(_) | Value::Number(_) => 0,
            Value::String(bytes) => bytes.len(),
        }
    }
}

/// See the module. Times are seconds of the scripts' monotonic clock; `capacity` is `hooks.shared`.
#[derive(Default)]
pub(in crate::script) struct Dictionary(Guarded<Bounded<Stored>>);

impl Dictionary {
    pub(in crate::script) fn get(&self, key: &[u8], now: f64) -> Option<Value> {
        self.0
            .with(|map| live(map, key, now).map(|stored| stored.value.clone()))
    }

    /// False: no dictionary of this size holds the entry.
    pub(in crate::script) fn set(
        &self,
        key: &[u8],
        value: Value,
        until: f64,
        capacity: usize,
    ) -> bool {
        let stored = Stored { value, until };
        self.0.with(|map| map.put(key, stored, capacity).is_ok())
    }

    /// Sets it if there is none; `Some(false)`: there is one. `None`: no dictionary of this size holds the entry.
    pub(in crate::script) fn add(
        &self,
        key: &[u8],
        value: Value,
        (now, until): (f64, f64),
        capacity: usize,
    ) -> Option<bool> {
        let stored = Stored { value, until };
        self.0.with(|map| {
            if live(map, key, now).is_some() {
                return Some(false);
            }
            map.put(key, stored, capacity).ok().map(|()| true)
        })
    }

    /// Adds to a number, 0 if there is none; `until` counts for one that was not there. The sum.
    pub(in crate::script) fn incr(
        &self,
        key: &[u8],
        by: f64,
        (now, until): (f64, f64),
        capacity: usize,
    ) -> Result<f64, IncrError> {
        self.0.with(|map| {
            if let Some(stored) = live(map, key, now) {
                let Value::Number(number) = &mut stored.value else {
                    return Err(IncrError::NotNumber);
                };
                let sum = *number + by;
                if !sum.is_finite() {
                    return Err(IncrError::NotFinite);
                }
                *number = sum;
                return Ok(sum);
            }
            let value = Value::Number(by);
            map.put(key, Stored { value, until }, capacity)
                .map_err(|_| IncrError::TooLarge)?;
            Ok(by)
        })
    }

    /// Whether there was one.
    pub(in crate::script) fn delete(&self, key: &[u8], now: f64) -> bool {
        self.0
            .with(|map| map.remove(key).is_some_and(|stored| stored.until > now))
    }
}

/// The entry, unless its time is over: then it goes.
fn live<'m>(map: &'m mut Bounded<Stored>, key: &[u8], now: f64) -> Option<&'m mut Stored> {
    if map.get(key)?.until <= now {
        map.remove(key);
        return None;
    }
    map.get(key)
}
