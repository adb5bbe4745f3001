//! The script layer as the pipeline uses it: small scripts in a fresh directory, called through the trait.

mod behaviour;
mod crypto;
mod globals;
mod safety;
mod shared;
mod testing;
mod timers;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::{Breaker, Bundle, Clocks, DeadlineHandle, Host, LoadReason, LogRecord, build};
use crate::config;
use crate::metrics::HookTable;
use crate::pipeline::{
    BatchItem, BatchOutput, Change, ConnectVerdict, Effect, Effects, HookError, Hooks, Peer,
    StageId, Verdict, Who,
};
use crate::types::{ChannelName, ConnId, Generation, NodeId, Origin, Payload, StagesId, WorkerId};
use crate::wire::Upgrade;

/// What scripts logged.
type Records = Arc<std::sync::mpsc::Sender<LogRecord>>;

static DEADLINE: LazyLock<DeadlineHandle> = LazyLock::new(|| DeadlineHandle::start().unwrap());

/// A directory of scripts and the hooks made of it.
pub(super) struct Scripts {
    directory: PathBuf,
    pub(super) hooks: Box<dyn Hooks>,
    pub(super) log: std::sync::mpsc::Receiver<LogRecord>,
    pub(super) peer: Peer,
    pub(super) bundle: Arc<Bundle>,
    pub(super) host: Host,
}

pub(super) const CONN: ConnId = ConnId {
    slot: 3,
    generation: 1,
};

pub(super) fn configuration(directory: &std::path::Path) -> config::Hooks {
    let limit = Duration::from_millis(20);
    config::Hooks {
        directory: directory.join("hooks"),
        modules: directory.join("lua"),
        secrets: directory.join("secrets"),
        memory: 16 << 20,
        shared: 0,
        share: 0.0,
        watch: false,
        test: false,
        time_limit: config::TimeLimits {
            connect: limit,
            subscribe: limit,
            message: limit,
            batch: limit,
            disconnect: limit,
            timer: limit,
            load: Duration::from_millis(500),
        },
        on_error: config::FailurePolicy::default(),
        breaker: config::Breaker {
            cuts: 0,
            window: limit,
            cooldown: limit,
        },
        settings: "bad_words = [\"darn\", \"heck\"]\n[deep]\nn = 7"
            .parse()
            .unwrap(),
    }
}

/// A directory with these files, by paths like `hooks/a.lua`.
pub(super) fn directory(files: &[(&str, &str)]) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("wsd-script-{}-{n}", std::process::id()));
    for folder in ["hooks", "lua", "secrets"] {
        std::fs::create_dir_all(path.join(folder)).unwrap();
    }
    for (name, text) in files {
        std::fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        std::fs::write(path.join(name), text).unwrap();
    }
    path
}

pub(super) fn host(records: &Records, hooks: &config::Hooks) -> Host {
    let records = std::sync::mpsc::Sender::clone(records);
    Host {
        node: NodeId(0xabc),
        worker: WorkerId(1),
        generation: Generation(7),
        log: Arc::new(move |record| drop(records.send(record))),
        now: Arc::new(|| 1000.5),
        monotonic: Arc::new(|| 5.0),
        secret: super::secrets(hooks),
        commons: Arc::default(),
        subscribers: Arc::new(|channel| channel.as_str().len() as u64),
        deadline: DEADLINE.clone(),
        breaker: Breaker::default(),
        calls: HookTable::default(),
        clocks: Clocks {
            now: super::testing::now,
            cpu: || Duration::ZERO,
        },
    }
}

pub(super) fn peer() -> Peer {
    Peer {
        origin: Origin {
            node: NodeId(0xabc),
            worker: WorkerId(1),
            conn: CONN,
        },
        ip: "192.0.2.7".into(),
        port: 4711,
        path: "/rooms/a%20b".into(),
        route: "/rooms/{room}".into(),
        params: Box::new([("room".into(), "a b".into())]),
        secure: true,
        protocols: Box::new(["wsd.v1".into(), "chat".into()]),
        user: None,
        channel: Some(name("lobby")),
    }
}

pub(super) fn upgrade() -> Upgrade {
    Upgrade {
        path: "/rooms/a%20b".into(),
        query: "name=ann&n=1".into(),
        headers: vec![
            ("host".into(), b"example.com".to_vec()),
            ("cookie".into(), b"sid=42".to_vec()),
        ],
        protocols: vec!["wsd.v1".into(), "chat".into()],
        accept: String::new(),
        deflate: None,
    }
}

pub(super) fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

impl Scripts {
    /// One script, `a.lua`.
    pub(super) fn one(script: &str) -> Self {
        Self::of(&[("hooks/a.lua", script)])
    }

    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self::with(files, |_| {})
    }

    pub(super) fn with(files: &[(&str, &str)], change: impl FnOnce(&mut config::Hooks)) -> Self {
        let directory = directory(files);
        let mut hooks = configuration(&directory);
        change(&mut hooks);
        let (send, log) = std::sync::mpsc::channel();
        let host = host(&Arc::new(send), &hooks);
        let bundle = Bundle::load(&hooks, &[None]).unwrap();
        let hooks = build(&bundle, host.clone(), LoadReason::Start).unwrap();
        Self {
            directory,
            hooks,
            log,
            peer: peer(),
            bundle,
            host,
        }
    }

    /// The error of loading `a.lua`.
    pub(super) fn broken(script: &str) -> HookError {
        let directory = directory(&[("hooks/a.lua", script)]);
        let hooks = configuration(&directory);
        let (send, _) = std::sync::mpsc::channel();
        let host = host(&Arc::new(send), &hooks);
        let bundle = Bundle::load(&hooks, &[None]).unwrap();
        let error = build(&bundle, host, LoadReason::Start).err().unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        error
    }

    pub(super) fn message(
        &mut self,
        text: &str,
    ) -> Result<(Verdict<Change>, Vec<Effect>), HookError> {
        self.message_at(StageId(0), &Payload::text(text))
    }

    pub(super) fn message_at(
        &mut self,
        stage: StageId,
        payload: &Payload,
    ) -> Result<(Verdict<Change>, Vec<Effect>), HookError> {
        let mut effects = Effects::default();
        effects.begin();
        let who = Who {
            conn: CONN,
            peer: &self.peer,
            channels: &|| vec![name("lobby"), name("news")],
        };
        let channel = self.peer.channel.clone();
        let verdict = self
            .hooks
            .on_message(stage, who, channel.as_ref(), payload, &mut effects)?;
        Ok((verdict, effects.take()))
    }

    /// The payload's text that the hook made of `text`.
    pub(super) fn reply(&mut self, text: &str) -> String {
        match self.message(text).map_err(|error| error.to_string()) {
            Ok((Verdict::Pass(change), _)) => change
                .payload
                .map_or_else(String::new, |p| String::from_utf8(p.data.to_vec()).unwrap()),
            Ok((Verdict::Drop, _)) => "dropped".into(),
            Err(error) => error,
        }
    }

    /// What is wrong with the answer to `text`, without its directory.
    pub(super) fn fault(&mut self, text: &str) -> String {
        let error = self.message(text).unwrap_err().to_string();
        self.bare(&error)
    }

    pub(super) fn bare(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.display()), "")
    }

    pub(super) fn connect(&mut self) -> Result<(ConnectVerdict, Vec<Effect>), HookError> {
        let mut effects = Effects::default();
        effects.begin();
        let who = Who {
            conn: CONN,
            peer: &self.peer,
            channels: &Vec::new,
        };
        let verdict = self
            .hooks
            .on_connect(StageId(0), who, &upgrade(), &mut effects)?;
        Ok((verdict, effects.take()))
    }

    pub(super) fn batch(
        &mut self,
        messages: &[&str],
    ) -> Result<Verdict<Option<Vec<BatchOutput>>>, HookError> {
        let batch: Vec<BatchItem> = messages
            .iter()
            .map(|text| BatchItem {
                ticket: None,
                payload: Payload::text(*text),
                sender: Some(self.peer.origin),
                echo: true,
            })
            .collect();
        let mut effects = Effects::default();
        effects.begin();
        self.hooks
            .on_batch(StageId(0), &name("lobby"), &batch, &mut effects)
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// All scripts.
pub(super) const ALL: StagesId = StagesId::ALL;
