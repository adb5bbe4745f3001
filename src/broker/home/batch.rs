//! A message on its way to its channel's home, and the batch that it becomes part of there.
//!
//! [pure] Made by `worker/state`, gathered by [`super::Home`].

use crate::types::{
    BatchItem, ChannelName, Generation, Origin, Payload, Publication, StagesId, Ticket,
};

/// One message on its way to a channel's home.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Where to.
    pub channel: ChannelName,
    /// What.
    pub payload: Payload,
    /// The connection that sent it; `None` if no client did.
    pub sender: Option<Origin>,
    /// Whether its sender gets it back.
    pub echo: bool,
    /// Whose `on_batch` sees it; `None`: nobody's, it only closes what is open.
    pub gather: Option<Gather>,
    /// Where its sender waits for an answer, if it does.
    pub ticket: Option<Ticket>,
}

/// Which stages see a batch, of which generation. A message with another closes the open batch first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gather {
    /// The sender's route's list, by the id that equal lists share in this generation.
    pub stages: StagesId,
    /// The generation that handled the message.
    pub generation: Generation,
    /// Calls for the sender's address get less time, as many were cut: nobody else's messages share that.
    pub strained: bool,
}

/// A batch that is complete: `on_batch` is due.
#[derive(Debug)]
pub struct ClosedBatch {
    /// Of which channel.
    pub channel: ChannelName,
    /// Whose `on_batch`.
    pub gather: Gather,
    /// In order of arrival; never empty.
    pub items: Vec<BatchItem>,
}

/// What a message becomes when it gets its place in the channel.
pub(super) fn publication(channel: &ChannelName, item: BatchItem) -> Publication {
    let skip = if item.echo { None } else { item.sender };
    Publication {
        channel: channel.clone(),
        payload: item.payload,
        position: None,
        skip,
    }
}
