//! Where a message may be changed, refused or sent elsewhere.
//!
//! [pure] [`Hooks`] is one generation of the operator's code, asked one stage at a time; [`Pipeline`] knows the order of
//! the stages and what a failure means. `script/` implements the trait with Lua, tests and the simulation with Rust.
//! `worker/state.rs` is the only caller.

mod effect;
mod run;

pub use effect::{Effect, Effects, TimerId, TooManyEffects};
pub use run::{Admission, BatchOutcome, MessageOutcome, Pipeline};

use std::fmt;
use std::time::Duration;

pub use crate::types::BatchItem;
use crate::types::{ChannelName, Close, ConnId, Kind, Origin, Payload, StagesId};
use crate::wire::Upgrade;

/// A connection as hooks see it. It belongs to the worker's table; hooks read it and change it by effects.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Unique over nodes; its text is `conn.id`.
    pub origin: Origin,
    /// The client's address as text; empty where there is none (a Unix socket without a header).
    pub ip: Box<str>,
    /// The client's port; 0 where there is none.
    pub port: u16,
    /// The request's path, percent-encoded as it came.
    pub path: Box<str>,
    /// The `path` of the `[[route]]` that matched; empty for the route that is there without any.
    pub route: std::sync::Arc<str>,
    /// What the route's `{names}` matched, decoded.
    pub params: Box<[(Box<str>, Box<str>)]>,
    /// TLS ended here, or a trusted proxy says so.
    pub secure: bool,
    /// The subprotocols that were offered.
    pub protocols: Box<[Box<str>]>,
    /// Who it is, if a hook said so.
    pub user: Option<Box<str>>,
    /// Where its messages go; `None`: nowhere unless a hook names a channel.
    pub channel: Option<ChannelName>,
}

/// Who a hook is called for.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    /// Its id on this worker.
    pub conn: ConnId,
    /// Its facts.
    pub peer: &'a Peer,
    /// What it is subscribed to now; asked only if a hook wants to know.
    pub channels: &'a dyn Fn() -> Vec<ChannelName>,
}

impl fmt::Debug for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Who")
            .field("conn", &self.conn)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Names one script of a generation: its place in the lexical order of all of them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StageId(pub u16);

/// The places in a connection's life where the operator's code is asked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Hook {
    /// `on_connect`.
    Connect,
    /// `on_subscribe`.
    Subscribe,
    /// `on_unsubscribe`.
    Unsubscribe,
    /// `on_message`.
    Message,
    /// `on_batch`.
    Batch,
    /// `on_disconnect`.
    Disconnect,
    /// `on_load`, with a script's top-level code.
    Load,
    /// A function that a script gave to `wsd.every` or `wsd.after`.
    Timer,
}

impl Hook {
    /// Every hook that is a global function of a script, `on_load` included, in the order of the enum.
    pub const FUNCTIONS: [Self; 7] = [
        Self::Connect,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Message,
        Self::Batch,
        Self::Disconnect,
        Self::Load,
    ];

    /// As scripts, logs and metrics name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "on_connect",
            Self::Subscribe => "on_subscribe",
            Self::Unsubscribe => "on_unsubscribe",
            Self::Message => "on_message",
            Self::Batch => "on_batch",
            Self::Disconnect => "on_disconnect",
            Self::Load => "on_load",
            Self::Timer => "timer",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a hook decided: nothing or true, false, or a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict<T> {
    /// Goes on, perhaps changed.
    Pass(T),
    /// Ends here.
    Drop,
}

/// What `on_connect` decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConnectVerdict {
    /// Goes on.
    Pass,
    /// Answers the handshake so.
    Refuse(Answer),
}

/// A hook's answer to a handshake that it refuses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// 300 to 599.
    pub status: u16,
    /// The body, plain text.
    pub text: String,
    /// Checked: names are tokens, values have no control characters.
    pub headers: Vec<(String, String)>,
}

/// What `on_message` made of a message; what is `None` stays as it was.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Publishes this instead.
    pub payload: Option<Payload>,
    /// Publishes there instead.
    pub channel: Option<ChannelName>,
}

/// One message that `on_batch` wants published.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchOutput {
    /// What.
    pub payload: Payload,
    /// The input whose kind and sender it keeps: the first equal one that was not used yet; `None`: a new message.
    pub source: Option<u32>,
}

/// Why a call of a hook gave no verdict.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Fault {
    /// It raised an error, or returned what it may not.
    Failed,
    /// It was stopped at its memory limit.
    MemoryCut,
    /// It was not made: the script rests, as it was cut too often. Told when the rest began, not for each call.
    Rests,
    /// It was stopped at its time limit.
    TimeCut,
}

/// A call that gave no verdict. Displays as `path:line: hook: what`, without what is not known.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{script}{}: {}{text}",
    if *line > 0 { format!(":{line}") } else { String::new() },
    hook.map(|hook| format!("{hook}: ")).unwrap_or_default()
)]
pub struct HookError {
    /// Whether it failed or was cut.
    pub fault: Fault,
    /// Full path of the file.
    pub script: String,
    /// Where; 0 if unknown.
    pub line: u32,
    /// In which hook; `None` for what does not compile.
    pub hook: Option<Hook>,
    /// What happened, in the form of the messages' catalogue.
    pub text: String,
    /// Lua's traceback, if it could be had.
    pub traceback: Option<String>,
    /// The connection that it was called for.
    pub about: Option<Box<About>>,
    /// A cut that counts: its number, for [`Hooks::blame`].
    pub cut: Option<u64>,
}

/// The connection that a hook was called for, for the log and for what a cut is held against.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct About {
    /// Which.
    pub origin: Origin,
    /// Its address as text; empty where there is none.
    pub ip: Box<str>,
    /// Who it is, if a hook said so.
    pub user: Option<Box<str>>,
    /// The channel of the call, else where its messages go.
    pub channel: Option<ChannelName>,
}

/// What became of a timer's run.
#[derive(Debug, Default)]
pub struct TimerRun {
    /// It is to run again when this much has passed since its end.
    pub again: Option<Duration>,
    /// Why it gave up, if it did.
    pub error: Option<HookError>,
}

/// One generation of the operator's code on one worker.
///
/// Calls are synchronous and must return soon: the whole worker waits. What a hook wants done elsewhere it leaves in
/// `effects`. The caller asks only for a hook that [`Hooks::defines`].
pub trait Hooks {
    /// The stages of a list in this generation, in order; scripts that are gone are left out.
    fn stages(&self, list: StagesId) -> Vec<StageId>;
    /// Whether the script has this function.
    fn defines(&self, stage: StageId, hook: Hook) -> bool;
    /// The script's file name, `chat.lua`, for logs and metrics.
    fn name(&self, stage: StageId) -> &str;

    /// A client asks to connect; the handshake has not been answered.
    fn on_connect(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        upgrade: &Upgrade,
        effects: &mut Effects,
    ) -> Result<ConnectVerdict, HookError>;
    /// A connection wants to join a channel; `Pass(Some)` is another one.
    fn on_subscribe(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        channel: &ChannelName,
        effects: &mut Effects,
    ) -> Result<Verdict<Option<ChannelName>>, HookError>;
    /// A connection left a channel.
    fn on_unsubscribe(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        channel: &ChannelName,
        effects: &mut Effects,
    ) -> Result<(), HookError>;
    /// A client sent a message; `channel` is `None` where its route has none.
    fn on_message(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        channel: Option<&ChannelName>,
        payload: &Payload,
        effects: &mut Effects,
    ) -> Result<Verdict<Change>, HookError>;
    /// A batch is closed, before the broker gets it; `Pass(None)` leaves it as it is.
    fn on_batch(
        &mut self,
        stage: StageId,
        channel: &ChannelName,
        batch: &[BatchItem],
        effects: &mut Effects,
    ) -> Result<Verdict<Option<Vec<BatchOutput>>>, HookError>;
    /// An accepted connection ended.
    fn on_disconnect(
        &mut self,
        stage: StageId,
        who: Who<'_>,
        close: &Close,
        effects: &mut Effects,
    ) -> Result<(), HookError>;
    /// The time of a timer has come ([`Effect::Timer`]); one that is not known any more does nothing.
    fn on_timer(&mut self, _timer: TimerId, _effects: &mut Effects) -> TimerRun {
        TimerRun::default()
    }
    /// A cut was caused by a call for this address, empty where there is none, and by this connection alone if it is given.
    /// Answers whether that has to be closed for it.
    fn blame(&mut self, _cut: u64, _alone: Option<Origin>, _ip: &str) -> bool {
        false
    }
    /// Whether calls for this address get a part of their time limit only, as many were cut.
    fn is_strained(&self, _ip: &str) -> bool {
        false
    }
    /// Whether batches that follow are of such addresses alone.
    fn strain(&mut self, _strained: bool) {}
    /// How long calls took since it was last asked.
    fn take_spent(&mut self) -> Duration {
        Duration::ZERO
    }
    /// Whether that is to be measured in CPU time from now on, which costs more and is right on a busy machine too.
    fn measure_cpu(&mut self, _by_cpu: bool) {}
    /// The connection is gone: forgets what is kept for it. Comes after `on_disconnect` and after a refused handshake.
    fn forget(&mut self, conn: ConnId);

    /// `conn.data` as plain bytes, versioned, for the next generation or process; `None` if there is none.
    fn export_data(&mut self, conn: ConnId) -> Option<Box<[u8]>>;
    /// Takes what [`Hooks::export_data`] gave, of this or an older version; the table is made when a hook needs it.
    fn import_data(&mut self, conn: ConnId, data: Box<[u8]>);
    /// Bytes that scripts hold now.
    fn memory(&self) -> usize;
    /// What `on_load` asked for: taken when the generation goes live, and after a call that failed, as that may have
    /// loaded the scripts anew.
    fn take_loaded(&mut self) -> Effects {
        Effects::default()
    }
}

/// No scripts at all.
#[derive(Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn stages(&self, _list: StagesId) -> Vec<StageId> {
        Vec::new()
    }
    fn defines(&self, _stage: StageId, _hook: Hook) -> bool {
        false
    }
    fn name(&self, _stage: StageId) -> &str {
        ""
    }
    fn on_connect(
        &mut self,
        _stage: StageId,
        _who: Who<'_>,
        _upgrade: &Upgrade,
        _effects: &mut Effects,
    ) -> Result<ConnectVerdict, HookError> {
        Ok(ConnectVerdict::Pass)
    }
    fn on_subscribe(
        &mut self,
        _stage: StageId,
        _who: Who<'_>,
        _channel: &ChannelName,
        _effects: &mut Effects,
    ) -> Result<Verdict<Option<ChannelName>>, HookError> {
        Ok(Verdict::Pass(None))
    }
    fn on_unsubscribe(
        &mut self,
        _stage: StageId,
        _who: Who<'_>,
        _channel: &ChannelName,
        _effects: &mut Effects,
    ) -> Result<(), HookError> {
        Ok(())
    }
    fn on_message(
        &mut self,
        _stage: StageId,
        _who: Who<'_>,
        _channel: Option<&ChannelName>,
        _payload: &Payload,
        _effects: &mut Effects,
    ) -> Result<Verdict<Change>, HookError> {
        Ok(Verdict::Pass(Change::default()))
    }
    fn on_batch(
        &mut self,
        _stage: StageId,
        _channel: &ChannelName,
        _batch: &[BatchItem],
        _effects: &mut Effects,
    ) -> Result<Verdict<Option<Vec<BatchOutput>>>, HookError> {
        Ok(Verdict::Pass(None))
    }
    fn on_disconnect(
        &mut self,
        _stage: StageId,
        _who: Who<'_>,
        _close: &Close,
        _effects: &mut Effects,
    ) -> Result<(), HookError> {
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

/// The rule for what a script gives to be sent: text that is UTF-8 stays text, else it goes as binary; binary stays.
#[must_use]
pub fn kind_for(wanted: Kind, data: &[u8]) -> Kind {
    match wanted {
        Kind::Text if simdutf8::basic::from_utf8(data).is_ok() => Kind::Text,
        Kind::Text | Kind::Binary => Kind::Binary,
    }
}
