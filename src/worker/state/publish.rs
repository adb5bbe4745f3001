//! A message's way to its channel's home and through it.
//!
//! [pure] Part of [`super::State`]. With one worker there is no hop: the home is here.

use std::sync::Arc;
use std::time::Instant;

use super::super::message::{Interest, Message};
use super::{Output, State};
use crate::broker::Event;
use crate::broker::home::{ClosedBatch, HomeOutput, Publish};
use crate::config::{ChannelTemplate, Glob, TemplatePiece};
use crate::pipeline::BatchOutcome;
use crate::types::{
    BatchItem, ChannelName, Origin, Outcome, Payload, Publication, Receipt, StagesId, WorkerId,
};

impl State {
    /// Sends a message to its channel's home.
    pub(super) fn publish(&mut self, now: Instant, publish: Publish) {
        let home = self.place.hash.home(&publish.channel, self.place.workers);
        if home == self.place.worker {
            self.home_publish(now, publish);
            return;
        }
        self.add_outbound(publish.payload.len());
        let Some(outbound) = self.outbound.get_mut(home.index()) else {
            return;
        };
        if let Some(Message::Publish(list)) = outbound.last_mut() {
            list.push(publish);
        } else {
            outbound.push(Message::Publish(vec![publish]));
        }
    }

    /// Messages from other workers for homes here.
    pub fn on_publish(&mut self, now: Instant, list: Vec<Publish>) {
        for publish in list {
            self.home_publish(now, publish);
        }
    }

    /// A publish of wsd's own: `wsd publish`, the HTTP API. Its `on_batch` is that of the first route whose channel fits.
    pub fn on_publish_from_node(&mut self, now: Instant, channel: ChannelName, payload: Payload) {
        let gather = self.gather(self.stages_for(&channel));
        self.publish(
            now,
            Publish {
                channel,
                payload,
                sender: None,
                echo: true,
                gather,
                ticket: None,
            },
        );
    }

    /// A worker began or ceased to want a channel whose home is here.
    pub fn on_interest(
        &mut self,
        now: Instant,
        worker: WorkerId,
        channel: &ChannelName,
        interest: Interest,
    ) {
        match interest {
            Interest::Unwanted => self.home.on_unwanted(worker, channel),
            Interest::Wanted => {
                let keep = self.keep(channel);
                self.home.on_wanted(worker, channel, keep);
            }
        }
        self.pump(now);
    }

    /// Publications from other workers for subscribers here.
    pub fn on_deliver(&mut self, now: Instant, list: &[Arc<Publication>]) {
        for publication in list {
            self.deliver(now, publication);
        }
    }

    /// The Redis thread has something.
    pub fn on_redis(&mut self, now: Instant, event: Event) {
        match event {
            Event::Publications(list) => {
                for publication in list {
                    self.home.on_publication(publication);
                }
            }
            Event::Answers(answers) => {
                for (receipt, outcome) in answers {
                    self.on_answer(now, receipt, outcome);
                }
            }
            Event::Fence(channel, token) => self.home.on_fence(&channel, token),
            Event::Recalled(_, token, missed) => self.home.on_recalled(token, missed),
            Event::Live(channel) => self.home.on_live(&channel),
            Event::Refused(senders) => {
                let own: Vec<_> = senders
                    .into_iter()
                    .filter_map(|s| self.place.own(s))
                    .collect();
                self.on_refused(now, &own);
            }
            Event::Status(status) => self.home.on_status(status),
        }
        if let Some((channel, count)) = self.home.take_gaps() {
            self.metrics.gaps.add(count);
            self.outputs.push_back(Output::Gaps(channel, count));
        }
        self.pump(now);
    }

    /// Runs `on_batch` and gives what it leaves its place in the channel. What the hook publishes itself goes first.
    pub(super) fn run_batch(&mut self, now: Instant, batch: ClosedBatch) {
        let ClosedBatch {
            channel,
            gather,
            items,
        } = batch;
        let count = items.len();
        let senders = senders(&items);
        let receipts: Vec<Receipt> = items.iter().filter_map(BatchItem::receipt).collect();
        let by_clients_only = items.iter().all(|item| item.sender.is_some());
        let before = std::mem::take(&mut self.spent);
        let pipeline = self.generations.of(gather.generation);
        if gather.strained {
            pipeline.hooks().strain(true);
        }
        if self.dear_batches {
            pipeline.hooks().measure_cpu(true);
        }
        let outcome = pipeline.batch(gather.stages, &channel, items, &mut self.effects);
        if gather.strained {
            pipeline.hooks().strain(false);
        }
        if self.dear_batches {
            pipeline.hooks().measure_cpu(self.by_cpu);
        }
        let reports = self.collect_reports(gather.generation);
        if !reports.is_empty() {
            self.tell_batch(now, gather.generation, reports, &senders, by_clients_only);
        }
        let cost = std::mem::replace(&mut self.spent, before);
        self.charge_batch(now, cost, count, &senders);
        let effects = self.effects.take();
        self.apply(now, effects);
        match outcome {
            BatchOutcome::Failed => {
                self.metrics.dropped_error.add(count as u64);
                self.answer_all(now, &receipts, Outcome::Unavailable);
            }
            BatchOutcome::Publish { items, merged } => {
                self.metrics
                    .dropped_hook
                    .add(count.saturating_sub(items.len()) as u64);
                self.metrics.publications.add(items.len() as u64);
                let mut gone = receipts;
                if !gone.is_empty() {
                    gone.retain(|receipt| !items.iter().any(|i| i.receipt() == Some(*receipt)));
                }
                let keep = self.keep(&channel);
                // What is not there by itself became part of something, or the hook did not want it.
                let (became_part, dropped) = if merged && !items.is_empty() {
                    (gone, Vec::new())
                } else {
                    (Vec::new(), gone)
                };
                self.home
                    .publish(now, &channel, items, &senders, &became_part, keep);
                self.pump(now);
                self.answer_all(now, &dropped, Outcome::Dropped);
            }
        }
    }

    /// Tells senders what became of their publishes.
    fn answer_all(&mut self, now: Instant, receipts: &[Receipt], outcome: Outcome) {
        for &receipt in receipts {
            self.answer(now, receipt, outcome);
        }
    }

    fn answer(&mut self, now: Instant, receipt: Receipt, outcome: Outcome) {
        let worker = receipt.origin.worker;
        if worker == self.place.worker {
            self.on_answer(now, receipt, outcome);
        } else {
            self.hand_over(worker, Message::Answer(receipt, outcome));
        }
    }

    /// Runs the batches that are open of generations other than the one in force: their scripts are about to go.
    pub(super) fn run_old_batches(&mut self, now: Instant) {
        let number = self.generations.number();
        while let Some(batch) = self.home.poll_older(number) {
            self.run_batch(now, batch);
        }
    }

    /// Carries out what the homes here ask for.
    pub(super) fn pump(&mut self, now: Instant) {
        while let Some(output) = self.home.poll_output() {
            match output {
                HomeOutput::Answer(receipt, outcome) => self.answer(now, receipt, outcome),
                HomeOutput::Deliver(workers, publication) => {
                    for worker in workers.iter() {
                        if worker == self.place.worker {
                            self.deliver(now, &publication);
                        } else {
                            self.hand_over_delivery(worker, &publication);
                        }
                    }
                }
                HomeOutput::Gap(workers, channel) => {
                    for worker in workers.iter() {
                        if worker == self.place.worker {
                            self.on_gap(now, &channel);
                        } else {
                            self.hand_over(worker, Message::Gap(channel.clone()));
                        }
                    }
                }
                HomeOutput::Live(worker, channel) if worker == self.place.worker => {
                    self.on_live(now, &channel);
                }
                HomeOutput::Live(worker, channel) => {
                    self.hand_over(worker, Message::Live(channel));
                }
                HomeOutput::Recalled(worker, recalled) if worker == self.place.worker => {
                    self.on_recalled(now, recalled);
                }
                HomeOutput::Recalled(worker, recalled) => {
                    self.hand_over(worker, Message::Recalled(recalled));
                }
                HomeOutput::Redis(command) => self.commands.push(command),
            }
        }
    }

    /// Puts a message for another worker behind those that are there.
    pub(super) fn hand_over(&mut self, worker: WorkerId, message: Message) {
        if let Some(outbound) = self.outbound.get_mut(worker.index()) {
            outbound.push(message);
        }
    }

    fn home_publish(&mut self, now: Instant, publish: Publish) {
        if let Some(before) = self.home.close_before(&publish.channel, publish.gather) {
            self.run_batch(now, before);
        }
        match publish.gather {
            Some(gather) => {
                let window = self.config.policy(&publish.channel).publish;
                let len = publish.payload.len();
                if let Some(before) = self.home.close_crowded(&publish.channel, len, &window) {
                    self.run_batch(now, before);
                }
                if let Some(full) = self.home.gather(now, publish, gather, &window) {
                    self.run_batch(now, full);
                }
            }
            None => {
                let Publish {
                    channel,
                    payload,
                    sender,
                    echo,
                    gather: _,
                    ticket,
                } = publish;
                self.metrics.publications.inc();
                let keep = self.keep(&channel);
                let item = BatchItem {
                    payload,
                    sender,
                    echo,
                    ticket,
                };
                self.home.publish(now, &channel, [item], &[], &[], keep);
                self.pump(now);
            }
        }
    }

    fn hand_over_delivery(&mut self, worker: WorkerId, publication: &Arc<Publication>) {
        self.add_outbound(publication.payload.len());
        let Some(outbound) = self.outbound.get_mut(worker.index()) else {
            return;
        };
        if let Some(Message::Deliver(list)) = outbound.last_mut() {
            list.push(Arc::clone(publication));
        } else {
            outbound.push(Message::Deliver(vec![Arc::clone(publication)]));
        }
    }

    /// The stages for what no client sent: those of the first route whose channel fits, else every script.
    fn stages_for(&self, channel: &ChannelName) -> StagesId {
        let fits = |template: &ChannelTemplate| match template {
            ChannelTemplate::None => false,
            ChannelTemplate::Path => true,
            ChannelTemplate::Pieces(pieces) => {
                let piece = |piece: &TemplatePiece| match piece {
                    TemplatePiece::Text(text) => text.clone(),
                    TemplatePiece::Param(_) => "*".to_owned(),
                };
                let pattern: String = pieces.iter().map(piece).collect();
                Glob::new(&pattern).matches(channel.as_str())
            }
        };
        let route = self.config.routes.iter().find(|route| fits(&route.channel));
        route.map_or(StagesId::ALL, |route| route.hooks)
    }
}

/// Everyone who sent something of a batch, each once.
fn senders(items: &[BatchItem]) -> Vec<Origin> {
    let mut senders: Vec<Origin> = Vec::new();
    for sender in items.iter().filter_map(|item| item.sender) {
        if !senders.contains(&sender) {
            senders.push(sender);
        }
    }
    senders
}
