//! [pure] When a message need not go through its home, as nothing would become of it there.

use super::{Home, Kind, WorkerSet};
use crate::types::{ChannelName, WorkerId};

impl Home {
    /// Whether a message that nobody gathers has its place in the channel as soon as it is here, and goes to `worker` and
    /// no other: then [`Home::publish`] need not be asked. `alone`: there is no other worker.
    ///
    /// Only for channels without history, and if `worker` has subscribers.
    #[must_use]
    pub fn passes_through(&self, channel: &ChannelName, worker: WorkerId, alone: bool) -> bool {
        self.broker == Kind::Memory
            && self.open == 0
            && self.outputs.is_empty()
            && (alone
                || self
                    .channels
                    .get(channel)
                    .is_some_and(|c| c.wanted == WorkerSet::of(worker)))
    }
}
