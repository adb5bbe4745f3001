//! The checked configuration: immutable, shared by reference, impossible to be wrong.
//!
//! `raw.rs` reads files into trees that know where every key stands, `validate/` turns them into these types and
//! collects every problem, `diff.rs` says what a reload changes. Nothing later checks a value again. Every field is the
//! key of the same name in SPEC §3; its doc comment gives what the type does not say.

mod address;
mod check;
mod diff;
mod glob;
pub mod keys;
mod level;
mod load;
mod origin;
mod pattern;
mod percent;
mod print;
mod problem;
mod raw;
mod route;
mod secret;
mod stages;
#[cfg(test)]
mod tests;
mod text;
mod tls;
pub mod units;
mod url;
mod validate;
mod values;

pub use address::{Address, AddressError, Cidr, CidrError};
pub use diff::{Change, diff};
pub use glob::Glob;
pub use keys::When;
pub use level::{Level, LevelError, Log};
pub use load::{
    LoadOptions, Loaded, MissingCredential, drop_in_directory, hooks, load, read_bounded, scripts,
};
pub use origin::{OriginError, OriginPattern};
pub use problem::{Problem, Problems, count_line};
pub use route::{ChannelTemplate, Params, PathPattern, Route, RouteMatch, Segment, TemplatePiece};
pub use secret::Secret;
pub use stages::StageLists;
pub use text::check_text;
pub use tls::{Tls, TlsFile};
pub use url::{BrokerUrl, Host};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::types::ChannelName;

/// Everything that the operator can set.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[listen]`
    pub listen: Listen,
    /// `[tls]`; `None`: connections are plain.
    pub tls: Option<Tls>,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[broker]`
    pub broker: Broker,
    /// `[hooks]`
    pub hooks: Hooks,
    /// `[[route]]`, in the order in which they are tried; never empty: without any there is the default route.
    pub routes: Vec<Arc<Route>>,
    /// `[[channel]]`, in the order in which they are tried, each completed from `[delivery]` and `[publish]`.
    pub channels: Vec<ChannelRule>,
    /// Whether any channel may keep a history.
    pub keeps_history: bool,
    /// What holds for a channel that no `[[channel]]` matches.
    pub channel_default: Arc<ChannelPolicy>,
    /// `delivery.queue`: bytes that may wait for one connection.
    pub queue: usize,
    /// `[compression]`
    pub compression: Compression,
    /// `[heartbeat]`
    pub heartbeat: Heartbeat,
    /// `[limits]`
    pub limits: Limits,
    /// `[drain]`
    pub drain: Drain,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// The lists of scripts that a [`StagesId`](crate::types::StagesId) names; grows only, over reloads. Entry 0 is `None`: all scripts.
    pub stages: Vec<Option<Arc<[String]>>>,
}

impl Config {
    /// What a channel keeps; `None`: nothing.
    #[must_use]
    pub fn keep(&self, channel: &ChannelName) -> Option<Keep> {
        if !self.keeps_history {
            return None;
        }
        let policy = self.policy(channel);
        (policy.history_size > 0).then_some(Keep {
            size: policy.history_size,
            ttl: policy.history_ttl,
        })
    }

    /// What holds for a channel: the first `[[channel]]` that matches alone counts.
    #[must_use]
    pub fn policy(&self, channel: &ChannelName) -> &Arc<ChannelPolicy> {
        // What is wsd's own keeps nothing and waits for no window, whatever `*` stands for.
        let own = channel.as_str().starts_with('$');
        self.channels
            .iter()
            .find(|rule| !own && rule.pattern.matches(channel.as_str()))
            .map_or(&self.channel_default, |rule| &rule.policy)
    }
}

/// How much and how long a channel keeps: `history`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keep {
    /// Publications, at least 1.
    pub size: u32,
    /// Of each publication.
    pub ttl: Duration,
}

/// Where connections come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    /// Unused when systemd passes sockets.
    pub addresses: Vec<Address>,
    /// Of `listen(2)`.
    pub backlog: u32,
    /// PROXY protocol from `trusted_proxies`.
    pub proxy_protocol: bool,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// From accept to the last byte of the request.
    pub handshake_timeout: Duration,
}

/// `[runtime]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Runtime {
    /// 0: one per available CPU. At most [`crate::types::WorkerId::MAX`].
    pub workers: usize,
}

/// `[broker]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broker {
    /// Which broker, and where.
    pub url: BrokerUrl,
    /// Before every channel name in Redis.
    pub prefix: String,
    /// Of Redis' ACL; empty: none.
    pub username: String,
    /// Never shown.
    pub password: Secret,
    /// Bytes of publishes kept while Redis is away.
    pub buffer: usize,
    /// Older than this they are refused.
    pub buffer_for: Duration,
    /// How often the publish-subscribe round is proven; zero: never.
    pub probe: Duration,
}

/// `[hooks]`
#[derive(Clone, Debug, PartialEq)]
pub struct Hooks {
    /// Where the scripts are.
    pub directory: PathBuf,
    /// Where `require` looks.
    pub modules: PathBuf,
    /// Where `wsd.secret` looks after systemd's credentials: `secrets` beside the configuration. No key.
    pub secrets: PathBuf,
    /// Bytes of one worker's Lua state.
    pub memory: usize,
    /// Bytes of each shared dictionary.
    pub shared: usize,
    /// The share of a worker's time for one connection, 0 to 1; 0: no limit.
    pub share: f64,
    /// Reload by itself when a file changes.
    pub watch: bool,
    /// Run the tests beside the scripts at every load.
    pub test: bool,
    /// Of one call, in the worker's CPU time.
    pub time_limit: TimeLimits,
    /// What a failure means.
    pub on_error: FailurePolicy,
    /// `[hooks.breaker]`
    pub breaker: Breaker,
    /// `[hooks.settings]`, free-form.
    pub settings: toml::Table,
}

/// What to do when a hook raises an error or is cut (`[hooks.on_error]`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnError {
    /// As if there were no such hook.
    Pass,
    /// The handshake, the subscription or the message is refused.
    Refuse,
}

/// `[hooks.on_error]`, for each hook that decides something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FailurePolicy {
    /// Of `on_connect`: refused with 503.
    pub connect: OnError,
    /// Of `on_subscribe`.
    pub subscribe: OnError,
    /// Of `on_message`: dropped.
    pub message: OnError,
    /// Of `on_batch`: all of it is dropped.
    pub batch: OnError,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self {
            connect: OnError::Refuse,
            subscribe: OnError::Refuse,
            message: OnError::Refuse,
            batch: OnError::Pass,
        }
    }
}

/// `[hooks.time_limit]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TimeLimits {
    /// Of `on_connect`.
    pub connect: Duration,
    /// Of `on_subscribe` and `on_unsubscribe`.
    pub subscribe: Duration,
    /// Of `on_message`.
    pub message: Duration,
    /// Of `on_batch`.
    pub batch: Duration,
    /// Of `on_disconnect`.
    pub disconnect: Duration,
    /// Of a timer's function.
    pub timer: Duration,
    /// Of top-level code with `on_load`.
    pub load: Duration,
}

/// `[hooks.breaker]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Breaker {
    /// 0: no breaker.
    pub cuts: u32,
    /// Within which they count.
    pub window: Duration,
    /// How long the script rests.
    pub cooldown: Duration,
}

/// `[[channel]]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelRule {
    /// `match`
    pub pattern: Glob,
    /// Completed from `[delivery]` and `[publish]`.
    pub policy: Arc<ChannelPolicy>,
}

/// What holds for a channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelPolicy {
    /// On their way to the broker.
    pub publish: PublishWindow,
    /// On their way to plain clients.
    pub delivery: Delivery,
    /// How many publications are kept; 0: no history.
    pub history_size: u32,
    /// How long each is kept.
    pub history_ttl: Duration,
    /// How many a plain client gets when it joins.
    pub replay: u32,
    /// What plain clients get when messages were missed that cannot be had again.
    pub on_gap: OnGap,
}

/// `[publish]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PublishWindow {
    /// Zero: what is there in one turn of the loop.
    pub window: Duration,
    /// A batch of this many is closed; at least 1.
    pub max_messages: usize,
    /// A batch of this many bytes is closed; passed only by a single message.
    pub max_bytes: usize,
}

/// `[delivery]` without `queue`, which is the connection's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Zero: at once.
    pub window: Duration,
    /// What a plain client sees.
    pub format: Format,
    /// A frame of this many is closed; at least 1.
    pub max_messages: usize,
    /// A frame of this many bytes is closed; passed only by a single message.
    pub max_bytes: usize,
    /// Of the channel whose frame finds no room.
    pub when_full: WhenFull,
}

/// `delivery.format`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// `"json-array"`
    JsonArray,
    /// `"lines"`
    Lines,
    /// `"message"`
    Message,
}

/// `delivery.when_full`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhenFull {
    /// `"disconnect"`: 1013.
    Disconnect,
    /// `"drop-newest"`: this frame.
    DropNewest,
    /// `"drop-oldest"`: waiting frames of this channel, oldest first.
    DropOldest,
    /// `"keep-latest"`: all waiting frames of this channel.
    KeepLatest,
}

/// `on_gap`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnGap {
    /// `"close"`: 1012 at a random moment.
    Close,
    /// `"ignore"`
    Ignore,
}

/// `[compression]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compression {
    /// Whether permessage-deflate is agreed with clients that offer it.
    pub enabled: bool,
    /// 1 to 9.
    pub level: u32,
    /// Bytes; shorter messages go as they are.
    pub min_size: usize,
}

/// `[heartbeat]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heartbeat {
    /// Ping when nothing was heard for this long.
    pub interval: Duration,
    /// Then nothing for this long: closed.
    pub timeout: Duration,
}

/// `[limits]`; 0 is no limit where the type does not say otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// 0: as many as file descriptors allow.
    pub connections: usize,
    /// IPv6: of one /64.
    pub connections_per_address: usize,
    /// Handshakes a second.
    pub accept_rate: u32,
    /// Bytes of one message; at least 1.
    pub message: usize,
    /// Of one connection.
    pub messages_per_second: u32,
    /// 0: one second's worth.
    pub messages_burst: u32,
    /// Of one connection.
    pub bytes_per_second: u64,
    /// Of one connection; at least 1.
    pub subscriptions: usize,
    /// Empty: any.
    pub origins: Vec<OriginPattern>,
}

/// `[drain]`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Drain {
    /// On stop.
    pub over: Duration,
    /// On restart.
    pub restart_over: Duration,
}

/// `[admin]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Admin {
    /// The control socket.
    pub control: PathBuf,
    /// `None`: no HTTP.
    pub http: Option<Address>,
    /// Empty: what needs it is refused.
    pub token: Secret,
}
