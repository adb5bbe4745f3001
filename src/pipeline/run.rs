//! The order of the stages, and what a failure means.
//!
//! [pure] One [`Pipeline`] is one generation on one worker. It asks the stages of a list in order, keeps the effects of
//! those that returned, and hands every failure back as a report for the log and the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    Answer, BatchItem, BatchOutput, ConnectVerdict, Effects, Hook, HookError, Hooks, StageId,
    TimerId, Verdict, Who,
};
use crate::config::{FailurePolicy, OnError};
use crate::types::{ChannelName, Close, ConnId, Payload, StagesId};
use crate::wire::Upgrade;

/// What the stages together say to a handshake or a subscription.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission<T, R> {
    /// Yes.
    Granted(T),
    /// A hook's no.
    Refused(R),
    /// A hook failed and the policy is to refuse.
    Failed,
}

/// What the stages together say to a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MessageOutcome {
    /// A hook's no.
    Dropped,
    /// Lost to a failure.
    Failed,
    /// Goes there, so.
    Publish(Option<ChannelName>, Payload),
}

/// What the stages together say to a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchOutcome {
    /// Lost to a failure.
    Failed,
    /// What is to be published.
    Publish {
        /// Perhaps nothing.
        items: Vec<BatchItem>,
        /// Whether some of it was made anew, so that what is missing may have become part of it.
        merged: bool,
    },
}

/// The stages of one list that have each hook.
type Lists = [Vec<StageId>; Hook::FUNCTIONS.len()];

/// One generation of hooks, the order of its stages and the policy for failures.
pub struct Pipeline {
    hooks: Box<dyn Hooks>,
    policy: FailurePolicy,
    lists: BTreeMap<StagesId, Lists>,
    canonical: BTreeMap<StagesId, StagesId>,
    reports: Vec<HookError>,
}

impl Pipeline {
    /// Of a generation that is ready.
    #[must_use]
    pub fn new(hooks: Box<dyn Hooks>, policy: FailurePolicy) -> Self {
        Self {
            hooks,
            policy,
            lists: BTreeMap::new(),
            canonical: BTreeMap::new(),
            reports: Vec::new(),
        }
    }

    /// A reload that changed only the policy.
    pub fn set_policy(&mut self, policy: FailurePolicy) {
        self.policy = policy;
    }

    /// The operator's code, for what is no hook: data, memory, forgetting.
    pub fn hooks(&mut self) -> &mut dyn Hooks {
        &mut *self.hooks
    }

    /// Takes the failures since the last time, oldest first.
    #[must_use]
    pub fn take_reports(&mut self) -> Vec<HookError> {
        std::mem::take(&mut self.reports)
    }

    /// Whether any stage of the list has the hook; if not, a call of it changes nothing and can be left out.
    pub fn has(&mut self, list: StagesId, hook: Hook) -> bool {
        !self.list(list, hook).is_empty()
    }

    /// The id that all lists of the same scripts share in this generation.
    pub fn canonical(&mut self, list: StagesId) -> StagesId {
        if let Some(&id) = self.canonical.get(&list) {
            return id;
        }
        let stages = self.hooks.stages(list);
        let same = |id: &StagesId| self.hooks.stages(*id) == stages;
        let id = self.canonical.values().copied().find(same).unwrap_or(list);
        self.canonical.insert(list, id);
        id
    }

    /// Asks `on_connect`.
    pub fn connect(
        &mut self,
        list: StagesId,
        who: Who<'_>,
        upgrade: &Upgrade,
        effects: &mut Effects,
    ) -> Admission<(), Answer> {
        for i in 0..self.list(list, Hook::Connect).len() {
            let Some(stage) = self.stage(list, Hook::Connect, i) else {
                break;
            };
            effects.begin();
            match self.hooks.on_connect(stage, who, upgrade, effects) {
                Ok(ConnectVerdict::Pass) => {}
                Ok(ConnectVerdict::Refuse(answer)) => return Admission::Refused(answer),
                Err(error) => {
                    if self.fail(error, effects, self.policy.connect) {
                        return Admission::Failed;
                    }
                }
            }
        }
        Admission::Granted(())
    }

    /// Asks `on_subscribe`; granted is the channel to join.
    pub fn subscribe(
        &mut self,
        list: StagesId,
        who: Who<'_>,
        channel: ChannelName,
        effects: &mut Effects,
    ) -> Admission<ChannelName, ()> {
        let mut channel = channel;
        for i in 0..self.list(list, Hook::Subscribe).len() {
            let Some(stage) = self.stage(list, Hook::Subscribe, i) else {
                break;
            };
            effects.begin();
            match self.hooks.on_subscribe(stage, who, &channel, effects) {
                Ok(Verdict::Pass(None)) => {}
                Ok(Verdict::Pass(Some(other))) => channel = other,
                Ok(Verdict::Drop) => return Admission::Refused(()),
                Err(error) => {
                    if self.fail(error, effects, self.policy.subscribe) {
                        return Admission::Failed;
                    }
                }
            }
        }
        Admission::Granted(channel)
    }

    /// Tells `on_unsubscribe`.
    pub fn unsubscribe(
        &mut self,
        list: StagesId,
        who: Who<'_>,
        channel: &ChannelName,
        effects: &mut Effects,
    ) {
        for i in 0..self.list(list, Hook::Unsubscribe).len() {
            let Some(stage) = self.stage(list, Hook::Unsubscribe, i) else {
                break;
            };
            effects.begin();
            if let Err(error) = self.hooks.on_unsubscribe(stage, who, channel, effects) {
                self.fail(error, effects, OnError::Pass);
            }
        }
    }

    /// Asks `on_message`.
    pub fn message(
        &mut self,
        list: StagesId,
        who: Who<'_>,
        channel: Option<ChannelName>,
        payload: Payload,
        effects: &mut Effects,
    ) -> MessageOutcome {
        let (mut channel, mut payload) = (channel, payload);
        for i in 0..self.list(list, Hook::Message).len() {
            let Some(stage) = self.stage(list, Hook::Message, i) else {
                break;
            };
            effects.begin();
            match self
                .hooks
                .on_message(stage, who, channel.as_ref(), &payload, effects)
            {
                Ok(Verdict::Pass(change)) => {
                    payload = change.payload.unwrap_or(payload);
                    channel = change.channel.or(channel);
                }
                Ok(Verdict::Drop) => return MessageOutcome::Dropped,
                Err(error) => {
                    if self.fail(error, effects, self.policy.message) {
                        return MessageOutcome::Failed;
                    }
                }
            }
        }
        MessageOutcome::Publish(channel, payload)
    }

    /// Asks `on_batch`. Never called with nothing; a stage that leaves nothing ends it.
    pub fn batch(
        &mut self,
        list: StagesId,
        channel: &ChannelName,
        batch: Vec<BatchItem>,
        effects: &mut Effects,
    ) -> BatchOutcome {
        let mut batch = batch;
        let mut merged = false;
        for i in 0..self.list(list, Hook::Batch).len() {
            if batch.is_empty() {
                break;
            }
            let Some(stage) = self.stage(list, Hook::Batch, i) else {
                break;
            };
            effects.begin();
            match self.hooks.on_batch(stage, channel, &batch, effects) {
                Ok(Verdict::Pass(None)) => {}
                Ok(Verdict::Pass(Some(outputs))) => {
                    merged |= outputs.iter().any(|output| output.source.is_none());
                    batch = resolve(&batch, outputs);
                }
                Ok(Verdict::Drop) => batch.clear(),
                Err(error) => {
                    if self.fail(error, effects, self.policy.batch) {
                        return BatchOutcome::Failed;
                    }
                }
            }
        }
        BatchOutcome::Publish {
            items: batch,
            merged,
        }
    }

    /// Tells `on_disconnect`.
    pub fn disconnect(
        &mut self,
        list: StagesId,
        who: Who<'_>,
        close: &Close,
        effects: &mut Effects,
    ) {
        for i in 0..self.list(list, Hook::Disconnect).len() {
            let Some(stage) = self.stage(list, Hook::Disconnect, i) else {
                break;
            };
            effects.begin();
            if let Err(error) = self.hooks.on_disconnect(stage, who, close, effects) {
                self.fail(error, effects, OnError::Pass);
            }
        }
    }

    /// Runs a timer; when it is to run again.
    pub fn timer(&mut self, timer: TimerId, effects: &mut Effects) -> Option<Duration> {
        effects.begin();
        let run = self.hooks.on_timer(timer, effects);
        if let Some(error) = run.error {
            self.fail(error, effects, OnError::Pass);
        }
        run.again
    }

    /// The connection is gone.
    pub fn forget(&mut self, conn: ConnId) {
        self.hooks.forget(conn);
    }

    /// Keeps the report and takes the effects back; true if the policy is to refuse.
    fn fail(&mut self, error: HookError, effects: &mut Effects, policy: OnError) -> bool {
        effects.undo();
        self.reports.push(error);
        policy == OnError::Refuse
    }

    fn stage(&mut self, list: StagesId, hook: Hook, index: usize) -> Option<StageId> {
        self.list(list, hook).get(index).copied()
    }

    fn list(&mut self, list: StagesId, hook: Hook) -> &[StageId] {
        let hooks = &*self.hooks;
        let lists = self.lists.entry(list).or_insert_with(|| {
            let stages = hooks.stages(list);
            Hook::FUNCTIONS.map(|hook| {
                stages
                    .iter()
                    .copied()
                    .filter(|&s| hooks.defines(s, hook))
                    .collect()
            })
        });
        lists.get(hook as usize).map_or(&[], Vec::as_slice)
    }
}

/// What `on_batch` returned, with kind, sender and echo of the inputs it kept.
fn resolve(inputs: &[BatchItem], outputs: Vec<BatchOutput>) -> Vec<BatchItem> {
    outputs
        .into_iter()
        .map(|output| {
            let source = output
                .source
                .and_then(|i| inputs.get(usize::try_from(i).ok()?));
            match source {
                Some(input) => input.clone(),
                None => BatchItem {
                    payload: output.payload,
                    sender: None,
                    echo: true,
                    ticket: None,
                },
            }
        })
        .collect()
}
