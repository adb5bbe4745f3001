//! The order of the stages, and what a failure means.
//!
//! [pure] One [`Pipeline`] is one generation on one worker. It asks the stages of a list in order, keeps the effects of
//! those that returned, and hands every failure back as a report for the log and the metrics.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::{
    Answer, BatchItem, BatchOutput, ConnectVerdict, Effects, Fault, Hook, HookError, Hooks,
    StageId, TimerId, Verdict, Who,
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
type Lists = [Rc<[StageId]>; Hook::FUNCTIONS.len()];

/// How asking the stages in order came to its end.
enum Walk<T> {
    /// Every one was asked.
    Through,
    /// One of them decided.
    Ended(T),
    /// One failed, and the policy is to refuse.
    Failed,
}

/// What one stage said to go on with: `Some` ends the walk.
type Step<T> = Result<Option<T>, HookError>;

/// One generation of hooks, the order of its stages and the policy for failures.
pub struct Pipeline {
    hooks: Box<dyn Hooks>,
    policy: FailurePolicy,
    /// By the number of the [`StagesId`]; grows as they are asked for.
    lists: Vec<Option<Lists>>,
    canonical: BTreeMap<StagesId, StagesId>,
    reports: Vec<HookError>,
    /// A list that has neither `on_message` nor `on_batch`: the last one that was asked for.
    silent: Option<StagesId>,
}

impl Pipeline {
    /// Of a generation that is ready.
    #[must_use]
    pub fn new(hooks: Box<dyn Hooks>, policy: FailurePolicy) -> Self {
        Self {
            hooks,
            policy,
            lists: Vec::new(),
            canonical: BTreeMap::new(),
            reports: Vec::new(),
            silent: None,
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

    /// Whether no stage of the list sees messages, one by one or in batches.
    pub fn leaves_messages(&mut self, list: StagesId) -> bool {
        if self.silent == Some(list) {
            return true;
        }
        let leaves = !self.has(list, Hook::Message) && !self.has(list, Hook::Batch);
        if leaves {
            self.silent = Some(list);
        }
        leaves
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
        let policy = self.policy.connect;
        let walk = self.walk(
            list,
            Hook::Connect,
            policy,
            effects,
            |hooks, stage, effects| match hooks.on_connect(stage, who, upgrade, effects)? {
                ConnectVerdict::Pass => Ok(None),
                ConnectVerdict::Refuse(answer) => Ok(Some(answer)),
            },
        );
        match walk {
            Walk::Through => Admission::Granted(()),
            Walk::Ended(answer) => Admission::Refused(answer),
            Walk::Failed => Admission::Failed,
        }
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
        let policy = self.policy.subscribe;
        let walk = self.walk(
            list,
            Hook::Subscribe,
            policy,
            effects,
            |hooks, stage, effects| match hooks.on_subscribe(stage, who, &channel, effects)? {
                Verdict::Pass(other) => {
                    if let Some(other) = other {
                        channel = other;
                    }
                    Ok(None)
                }
                Verdict::Drop => Ok(Some(())),
            },
        );
        match walk {
            Walk::Through => Admission::Granted(channel),
            Walk::Ended(()) => Admission::Refused(()),
            Walk::Failed => Admission::Failed,
        }
    }

    /// Tells `on_unsubscribe`.
    pub fn unsubscribe(
        &mut self,
        list: StagesId,
        who: Who<'_>,
        channel: &ChannelName,
        effects: &mut Effects,
    ) {
        let pass = OnError::Pass;
        self.walk(
            list,
            Hook::Unsubscribe,
            pass,
            effects,
            |hooks, stage, effects| -> Step<()> {
                hooks.on_unsubscribe(stage, who, channel, effects)?;
                Ok(None)
            },
        );
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
        let policy = self.policy.message;
        let walk = self.walk(
            list,
            Hook::Message,
            policy,
            effects,
            |hooks, stage, effects| match hooks.on_message(
                stage,
                who,
                channel.as_ref(),
                &payload,
                effects,
            )? {
                Verdict::Pass(change) => {
                    if let Some(other) = change.payload {
                        payload = other;
                    }
                    if let Some(other) = change.channel {
                        channel = Some(other);
                    }
                    Ok(None)
                }
                Verdict::Drop => Ok(Some(())),
            },
        );
        match walk {
            Walk::Through => MessageOutcome::Publish(channel, payload),
            Walk::Ended(()) => MessageOutcome::Dropped,
            Walk::Failed => MessageOutcome::Failed,
        }
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
        let policy = self.policy.batch;
        let walk = self.walk(
            list,
            Hook::Batch,
            policy,
            effects,
            |hooks, stage, effects| {
                match hooks.on_batch(stage, channel, &batch, effects)? {
                    Verdict::Pass(None) => {}
                    Verdict::Pass(Some(outputs)) => {
                        merged |= outputs.iter().any(|output| output.source.is_none());
                        batch = resolve(&batch, outputs);
                    }
                    Verdict::Drop => batch.clear(),
                }
                Ok(batch.is_empty().then_some(()))
            },
        );
        match walk {
            Walk::Through | Walk::Ended(()) => BatchOutcome::Publish {
                items: batch,
                merged,
            },
            Walk::Failed => BatchOutcome::Failed,
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
        let pass = OnError::Pass;
        self.walk(
            list,
            Hook::Disconnect,
            pass,
            effects,
            |hooks, stage, effects| -> Step<()> {
                hooks.on_disconnect(stage, who, close, effects)?;
                Ok(None)
            },
        );
    }

    /// Runs a timer; when it is to run again.
    pub fn timer(&mut self, timer: TimerId, effects: &mut Effects) -> Option<Duration> {
        effects.begin();
        let run = self.hooks.on_timer(timer, effects);
        if let Some(error) = run.error {
            self.fail(error, effects);
        }
        run.again
    }

    /// The connection is gone.
    pub fn forget(&mut self, conn: ConnId) {
        self.hooks.forget(conn);
    }

    /// Asks the stages in order until one decides. What a stage that failed asked for is taken back, and it is reported.
    fn walk<T>(
        &mut self,
        list: StagesId,
        hook: Hook,
        policy: OnError,
        effects: &mut Effects,
        mut ask: impl FnMut(&mut dyn Hooks, StageId, &mut Effects) -> Step<T>,
    ) -> Walk<T> {
        let stages = Rc::clone(self.list(list, hook));
        for &stage in &*stages {
            effects.begin();
            match ask(&mut *self.hooks, stage, effects) {
                Ok(None) => {}
                Ok(Some(end)) => return Walk::Ended(end),
                Err(error) => {
                    self.fail(error, effects);
                    if policy == OnError::Refuse {
                        return Walk::Failed;
                    }
                }
            }
        }
        Walk::Through
    }

    /// Takes back what a call that failed asked for, and keeps the report.
    fn fail(&mut self, error: HookError, effects: &mut Effects) {
        effects.undo();
        if error.fault != Fault::Rests {
            self.reports.push(error);
        }
    }

    fn list(&mut self, list: StagesId, hook: Hook) -> &Rc<[StageId]> {
        let index = usize::try_from(list.0).unwrap_or(usize::MAX);
        if self.lists.len() <= index {
            self.lists.resize_with(index.saturating_add(1), || None);
        }
        let hooks = &*self.hooks;
        let of = |hook| -> Rc<[StageId]> {
            let stages = hooks.stages(list).into_iter();
            stages.filter(|&stage| hooks.defines(stage, hook)).collect()
        };
        let lists = self.lists[index].get_or_insert_with(|| Hook::FUNCTIONS.map(of));
        &lists[hook as usize]
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
