//! The operator's code in Rust: each message says itself what is to be done with it, and the log keeps what was done.
//!
//! Two stages: the first has every hook, the second `on_batch` alone. The lists of stages are those of the routes in
//! `settings.rs`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use wsd::pipeline::{
    Answer, BatchItem, BatchOutput, Change, ConnectVerdict, Effect, Effects, Fault, Hook,
    HookError, Hooks, StageId, Verdict, Who,
};
use wsd::types::{ChannelName, Close, ConnId, Generation, Origin, Payload, StagesId};
use wsd::wire::Upgrade;

use crate::note::Note;

/// The pseudo channel of what hooks send to one connection.
pub(crate) const DIRECT: &str = "!";

/// What is known of one message.
#[derive(Debug)]
pub(crate) struct Fact {
    /// Where it was published last.
    pub(crate) channel: String,
    /// When its publish was asked for.
    pub(crate) sent: u64,
    /// Whether it is to arrive: true for all and false for nobody.
    pub(crate) published: bool,
    pub(crate) sender: Option<Origin>,
    pub(crate) echo: bool,
    /// Its place among what the same client had published: sent by itself, or by `on_message` just before it.
    pub(crate) order: Option<(Origin, u64)>,
    /// Whose `on_batch` is to see it.
    pub(crate) generation: Option<Generation>,
    pub(crate) batched: bool,
}

/// What the hooks of all workers did.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) seq: u64,
    pub(crate) last_id: u64,
    pub(crate) facts: BTreeMap<u64, Fact>,
    pub(crate) forgotten: u64,
}

impl Log {
    pub(crate) const fn tick(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(crate) const fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A message that a hook or wsd itself publishes.
    pub(crate) fn new_fact(&mut self, channel: &str, sender: Option<Origin>, echo: bool) -> u64 {
        let id = self.id();
        let sent = self.tick();
        self.facts.insert(
            id,
            Fact {
                channel: channel.to_owned(),
                sent,
                published: true,
                sender,
                echo,
                order: None,
                generation: None,
                batched: false,
            },
        );
        id
    }

    pub(crate) fn fact(&mut self, id: u64) -> &mut Fact {
        self.facts
            .get_mut(&id)
            .unwrap_or_else(|| panic!("message {id} is not known, or is long over"))
    }
}

/// One generation on one worker.
pub(crate) struct Rules {
    pub(crate) log: Rc<RefCell<Log>>,
    pub(crate) generation: Generation,
    pub(crate) batches: bool,
}

fn name(text: &str) -> ChannelName {
    ChannelName::public(text).expect("a channel's name")
}

fn ask(effects: &mut Effects, effect: Effect) {
    effects.push(effect).expect("few effects");
}

impl Rules {
    fn fault(hook: Hook) -> HookError {
        HookError {
            fault: Fault::Failed,
            script: "rules".to_owned(),
            line: 1,
            hook: Some(hook),
            text: "as asked".to_owned(),
            traceback: None,
            about: None,
            cut: None,
        }
    }

    fn publish(&self, effects: &mut Effects, channel: &str, skip: Option<(ConnId, Origin)>) -> u64 {
        let origin = skip.map(|(_, origin)| origin);
        let id = self
            .log
            .borrow_mut()
            .new_fact(channel, origin, origin.is_none());
        let payload = Payload::text(format!("{id} p -"));
        let skip = skip.map(|(conn, _)| conn);
        let channel = name(channel);
        ask(
            effects,
            Effect::Publish {
                channel,
                payload,
                skip,
            },
        );
        id
    }

    /// `on_message` publishes: its place is before the message that it was called for.
    fn publish_before(&self, effects: &mut Effects, note: &Note, skip: Option<(ConnId, Origin)>) {
        let id = self.publish(effects, &note.argument, skip);
        let mut log = self.log.borrow_mut();
        let order = log.fact(note.id).order;
        log.fact(id).order = order.map(|(sender, place)| (sender, place - 1));
    }

    fn send(&self, effects: &mut Effects, who: &Who<'_>) {
        let id = self
            .log
            .borrow_mut()
            .new_fact(DIRECT, Some(who.peer.origin), true);
        ask(
            effects,
            Effect::Send(who.conn, Payload::text(format!("{id} p -"))),
        );
    }
}

impl Hooks for Rules {
    fn stages(&self, list: StagesId) -> Vec<StageId> {
        match list.0 {
            0 => vec![StageId(0), StageId(1)],
            1 => Vec::new(),
            // 3 is the same list under another id, as a reload may leave it.
            _ => vec![StageId(1)],
        }
    }

    fn defines(&self, stage: StageId, hook: Hook) -> bool {
        match stage.0 {
            0 => hook != Hook::Batch || self.batches,
            _ => hook == Hook::Batch,
        }
    }

    fn name(&self, _stage: StageId) -> &'static str {
        "rules"
    }

    fn on_connect(
        &mut self,
        _stage: StageId,
        who: Who<'_>,
        upgrade: &Upgrade,
        effects: &mut Effects,
    ) -> Result<ConnectVerdict, HookError> {
        for word in upgrade.query.split('&') {
            match word.split_once('=').unwrap_or((word, "")) {
                ("refuse", _) => {
                    return Ok(ConnectVerdict::Refuse(Answer {
                        status: 403,
                        text: "no".to_owned(),
                        headers: Vec::new(),
                    }));
                }
                ("hello", _) => self.send(effects, &who),
                ("also", channel) => ask(effects, Effect::Subscribe(who.conn, name(channel), None)),
                _ => {}
            }
        }
        Ok(ConnectVerdict::Pass)
    }

    fn on_subscribe(
        &mut self,
        _stage: StageId,
        who: Who<'_>,
        channel: &ChannelName,
        effects: &mut Effects,
    ) -> Result<Verdict<Option<ChannelName>>, HookError> {
        match channel.as_str() {
            "closed" => Ok(Verdict::Drop),
            "alias" => Ok(Verdict::Pass(Some(name("b")))),
            "c" => {
                self.publish(effects, "d", Some((who.conn, who.peer.origin)));
                Ok(Verdict::Pass(None))
            }
            _ => Ok(Verdict::Pass(None)),
        }
    }

    fn on_unsubscribe(
        &mut self,
        _stage: StageId,
        _who: Who<'_>,
        channel: &ChannelName,
        effects: &mut Effects,
    ) -> Result<(), HookError> {
        if channel.as_str() == "a" {
            self.publish(effects, "a", None);
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        _stage: StageId,
        who: Who<'_>,
        channel: Option<&ChannelName>,
        payload: &Payload,
        effects: &mut Effects,
    ) -> Result<Verdict<Change>, HookError> {
        let text = std::str::from_utf8(&payload.data).expect("notes are text");
        let note = Note::parse(text);
        let mut to = channel.map(|channel| channel.as_str().to_owned());
        let mut change = Change::default();
        match note.verb {
            'd' => return Ok(Verdict::Drop),
            'f' => return Err(Self::fault(Hook::Message)),
            'j' => {
                ask(
                    effects,
                    Effect::Subscribe(who.conn, name(&note.argument), None),
                );
                return Ok(Verdict::Drop);
            }
            'l' => {
                ask(effects, Effect::Unsubscribe(who.conn, name(&note.argument)));
                return Ok(Verdict::Drop);
            }
            'x' => {
                ask(
                    effects,
                    Effect::Close(who.conn, Close::new(4000, "as asked")),
                );
                self.send(effects, &who);
                return Ok(Verdict::Drop);
            }
            'e' => {
                let at = note.argument.parse().expect("a time");
                ask(effects, Effect::Expire(who.conn, Some(at)));
                return Ok(Verdict::Drop);
            }
            'c' => {
                ask(
                    effects,
                    Effect::SetChannel(who.conn, Some(name(&note.argument))),
                );
                return Ok(Verdict::Drop);
            }
            'r' => {
                to = Some(note.argument.clone());
                change.channel = Some(name(&note.argument));
            }
            's' => self.send(effects, &who),
            'q' => self.publish_before(effects, &note, None),
            'k' => self.publish_before(effects, &note, Some((who.conn, who.peer.origin))),
            _ => {}
        }
        if let Some(to) = to {
            let mut log = self.log.borrow_mut();
            let fact = log.fact(note.id);
            fact.channel = to;
            fact.published = true;
            fact.generation = self.batches.then_some(self.generation);
        }
        Ok(Verdict::Pass(change))
    }

    fn on_batch(
        &mut self,
        stage: StageId,
        channel: &ChannelName,
        batch: &[BatchItem],
        effects: &mut Effects,
    ) -> Result<Verdict<Option<Vec<BatchOutput>>>, HookError> {
        assert!(!batch.is_empty(), "an empty batch");
        if stage.0 == 1 {
            return Ok(Verdict::Pass(None));
        }
        let notes: Vec<Note> = batch
            .iter()
            .map(|item| Note::parse(std::str::from_utf8(&item.payload.data).expect("text")))
            .collect();
        {
            let mut log = self.log.borrow_mut();
            for (note, item) in notes.iter().zip(batch) {
                let fact = log.fact(note.id);
                assert!(!fact.batched, "{note:?}: two batches");
                assert!(fact.published, "{note:?}: dropped, and still in a batch");
                fact.batched = true;
                assert_eq!(
                    fact.channel,
                    channel.as_str(),
                    "{note:?}: another channel's batch"
                );
                assert_eq!(fact.sender, item.sender, "{note:?}: the sender");
                assert_eq!(fact.echo, item.echo, "{note:?}: the echo");
                let generation = fact.generation;
                assert_eq!(
                    generation,
                    Some(self.generation),
                    "{note:?}: another generation's on_batch"
                );
            }
        }
        if notes.iter().any(|note| note.verb == 'F') {
            return Err(Self::fault(Hook::Batch));
        }
        if notes.iter().any(|note| note.verb == 'B') {
            self.publish(effects, channel.as_str(), None);
        }
        if let Some(note) = notes.iter().find(|note| note.verb == 'o') {
            self.publish(effects, &note.argument, None);
        }
        let mut log = self.log.borrow_mut();
        let mut merged = false;
        let mut outputs = Vec::new();
        for ((note, item), index) in notes.iter().zip(batch).zip(0u32..) {
            match note.verb {
                'b' => log.fact(note.id).published = false,
                'm' => {
                    log.fact(note.id).published = false;
                    if !std::mem::replace(&mut merged, true) {
                        let id = log.new_fact(channel.as_str(), None, true);
                        outputs.push(BatchOutput {
                            payload: Payload::text(format!("{id} p -")),
                            source: None,
                        });
                    }
                }
                _ => outputs.push(BatchOutput {
                    payload: item.payload.clone(),
                    source: Some(index),
                }),
            }
        }
        Ok(if outputs.len() == batch.len() && !merged {
            Verdict::Pass(None)
        } else if outputs.is_empty() {
            Verdict::Drop
        } else {
            Verdict::Pass(Some(outputs))
        })
    }

    fn on_disconnect(
        &mut self,
        _stage: StageId,
        who: Who<'_>,
        _close: &Close,
        effects: &mut Effects,
    ) -> Result<(), HookError> {
        if who.conn.slot == 1 {
            self.publish(effects, "b", None);
        }
        Ok(())
    }

    fn forget(&mut self, _conn: ConnId) {}

    fn export_data(&mut self, _conn: ConnId) -> Option<Box<[u8]>> {
        None
    }

    fn import_data(&mut self, _conn: ConnId, _data: Box<[u8]>) {}

    fn memory(&self) -> usize {
        0
    }
}
