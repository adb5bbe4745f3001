//! [pure] Closed runs, to be opened again.

use super::OpenRun;
use crate::config::Delivery;
use crate::types::ChannelName;

/// Closed runs with their buffers: a turn takes as many as it has channels, and gives them back.
#[derive(Debug, Default)]
pub struct SpareRuns {
    #[expect(clippy::vec_box, reason = "boxed they go into a channel and come back")]
    runs: Vec<Box<OpenRun>>,
    /// What these hold; at most [`SpareRuns::BYTES`].
    bytes: usize,
}

impl SpareRuns {
    /// What is kept at most. Larger buffers, and those of more channels, go to the allocator.
    pub const BYTES: usize = 512 << 10;

    /// An empty run.
    #[must_use]
    pub fn take(&mut self, channel: ChannelName, delivery: Delivery) -> Box<OpenRun> {
        match self.runs.pop() {
            Some(mut run) => {
                self.bytes -= bytes(&run);
                run.begin(channel, delivery);
                run
            }
            None => Box::new(OpenRun::new(channel, delivery)),
        }
    }

    /// Keeps a run that was closed, if there is room.
    pub fn give(&mut self, run: Box<OpenRun>) {
        let bytes = bytes(&run);
        if self.bytes + bytes <= Self::BYTES {
            self.bytes += bytes;
            self.runs.push(run);
        }
    }
}

fn bytes(run: &OpenRun) -> usize {
    size_of::<OpenRun>() + run.spare_bytes()
}
