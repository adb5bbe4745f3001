//! [pure] Which workers want a channel.

use crate::types::WorkerId;

/// A set of workers. At most [`WorkerId::MAX`]: it is one number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WorkerSet(u128);

impl WorkerSet {
    /// Nobody but that one.
    #[must_use]
    pub const fn of(worker: WorkerId) -> Self {
        Self(Self::bit(worker))
    }

    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the worker is in it.
    #[must_use]
    pub const fn has(self, worker: WorkerId) -> bool {
        self.0 & Self::bit(worker) != 0
    }

    /// Who is in it, in order.
    pub fn iter(self) -> impl Iterator<Item = WorkerId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = u8::try_from(left.trailing_zeros())
                .ok()
                .filter(|_| left != 0)?;
            left &= left - 1;
            Some(WorkerId(index))
        })
    }

    pub(super) const fn add(&mut self, worker: WorkerId) {
        self.0 |= Self::bit(worker);
    }

    pub(super) const fn remove(&mut self, worker: WorkerId) {
        self.0 &= !Self::bit(worker);
    }

    const fn bit(worker: WorkerId) -> u128 {
        1 << (worker.0 & 127)
    }
}
