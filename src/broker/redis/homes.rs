//! The homes' inboxes, and what one turn has for each of them.
//!
//! Whatever the Redis thread tells anybody goes through here: publications of a turn are gathered per home and handed
//! over as one event, refusals per worker. `subscriber.rs` and `thread.rs` put in, `thread.rs` calls
//! [`flush`](Homes::flush) at the end of each turn. It never blocks: inboxes don't.

use std::sync::Arc;

use crate::broker::history::Missed;
use crate::broker::{Deliver, Event, LinkStatus, Outgoing};
use crate::types::{
    ChannelName, NodeId, Origin, Outcome, Position, Publication, Receipt, WorkerId,
};

use super::subscriptions::Live;

/// Where events go. The index of each list is the worker's id.
pub(super) struct Homes {
    inboxes: Vec<Box<dyn Deliver>>,
    publications: Vec<Vec<Arc<Publication>>>,
    refused: Vec<Vec<Origin>>,
    answers: Vec<Vec<(Receipt, Outcome)>>,
    node: NodeId,
}

impl Homes {
    pub(super) fn new(inboxes: Vec<Box<dyn Deliver>>, node: NodeId) -> Self {
        let workers = inboxes.len();
        Self {
            inboxes,
            publications: vec![Vec::new(); workers],
            refused: vec![Vec::new(); workers],
            answers: vec![Vec::new(); workers],
            node,
        }
    }

    /// Something came for a channel of this home.
    pub(super) fn publication(&mut self, home: WorkerId, publication: Publication) {
        if let Some(of_home) = self.publications.get_mut(home.index()) {
            of_home.push(Arc::new(publication));
        }
    }

    /// Nobody need wait for this channel any longer. What came before goes first.
    pub(super) fn live(&mut self, live: Live) {
        self.flush_publications(live.home.index());
        self.deliver(live.home.index(), Event::Live(live.channel));
    }

    /// The publish was not done, or nobody knows: its senders are told, each on its own worker, which need not be the
    /// channel's home. Senders on other nodes are told there, where they handed it in.
    pub(super) fn refuse(&mut self, outgoing: &Outgoing) {
        for sender in outgoing.senders.iter().filter(|s| s.node == self.node) {
            if let Some(of_worker) = self.refused.get_mut(sender.worker.index()) {
                of_worker.push(*sender);
            }
        }
        self.answer(outgoing.receipt, Outcome::Unavailable);
        for &receipt in &outgoing.merged {
            self.answer(Some(receipt), Outcome::Unavailable);
        }
    }

    /// Redis has it, there if it keeps a history.
    pub(super) fn taken(&mut self, outgoing: &Outgoing, position: Option<Position>) {
        self.answer(outgoing.receipt, Outcome::Taken(position));
        for &receipt in &outgoing.merged {
            self.answer(Some(receipt), Outcome::Taken(None));
        }
    }

    /// A question of this home was carried out at this place among the publications.
    pub(super) fn fence(&mut self, home: WorkerId, channel: ChannelName, token: u64) {
        self.flush_publications(home.index());
        self.deliver(home.index(), Event::Fence(channel, token));
    }

    /// Redis has answered a question of this home.
    pub(super) fn recalled(
        &self,
        home: WorkerId,
        channel: ChannelName,
        token: u64,
        missed: Option<Missed>,
    ) {
        self.deliver(home.index(), Event::Recalled(channel, token, missed));
    }

    fn answer(&mut self, receipt: Option<Receipt>, outcome: Outcome) {
        if let Some(receipt) = receipt.filter(|receipt| receipt.origin.node == self.node)
            && let Some(of_worker) = self.answers.get_mut(receipt.origin.worker.index())
        {
            of_worker.push((receipt, outcome));
        }
    }

    /// Tells every home. What came before goes first.
    pub(super) fn status(&mut self, status: LinkStatus) {
        self.flush();
        for index in 0..self.inboxes.len() {
            self.deliver(index, Event::Status(status));
        }
    }

    /// Hands over what has gathered.
    pub(super) fn flush(&mut self) {
        for index in 0..self.inboxes.len() {
            self.flush_publications(index);
            if let Some(refused) = self.refused.get_mut(index).filter(|r| !r.is_empty()) {
                let refused = std::mem::take(refused);
                self.deliver(index, Event::Refused(refused));
            }
            if let Some(answers) = self.answers.get_mut(index).filter(|a| !a.is_empty()) {
                let answers = std::mem::take(answers);
                self.deliver(index, Event::Answers(answers));
            }
        }
    }

    fn flush_publications(&mut self, index: usize) {
        if let Some(of_home) = self.publications.get_mut(index).filter(|p| !p.is_empty()) {
            let publications = std::mem::take(of_home);
            self.deliver(index, Event::Publications(publications));
        }
    }

    fn deliver(&self, index: usize, event: Event) {
        if let Some(inbox) = self.inboxes.get(index) {
            inbox.deliver(event);
        }
    }
}
