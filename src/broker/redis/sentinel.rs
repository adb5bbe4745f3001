//! Which Redis is the master, by what its sentinels say, and when another one becomes it.
//!
//! [`masters`] asks them all for one try to connect (`attempt.rs`); [`watch`] listens to one after the other while the
//! links stand (`thread.rs`). No sentinel is believed alone: whoever is named must say by itself that it is the master,
//! and a sentinel that was cut off, which knows of fewer failovers, counts less than the others.
//!
//! # Why the role is asked
//!
//! A replica takes PUBLISH without a word and gives it to its own subscribers only. A node that stays with a master of
//! yesterday looks well and hears nobody.

use std::time::Duration;

use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::config::{Broker, BrokerUrl, Host};
use crate::types::NodeId;

use super::link_error::LinkError;
use super::resp;
use super::socket::{Purpose, Stream, command, connect, dial_tcp};

/// From the name to the answer. A sentinel has nothing else to do; one that takes longer is as good as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often they are asked although they say nothing of themselves: one that listens alone may be cut off.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Between two rounds over sentinels that are all away.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Where the master is, by what a sentinel says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Master {
    pub(super) host: Host,
    /// Counts failovers; the highest is the latest.
    epoch: u64,
}

/// What the sentinels say, the latest first, each place once. What those that were of no use said instead is an error
/// only if there is nobody else.
pub(super) async fn masters(config: &Broker) -> Result<Vec<Master>, LinkError> {
    let BrokerUrl::Sentinel {
        sentinels, master, ..
    } = &config.url
    else {
        return Ok(Vec::new());
    };
    let mut named: Vec<Master> = Vec::new();
    let mut failed = Vec::new();
    for sentinel in sentinels {
        match ask(config, sentinel, master).await {
            Ok(master) => named.push(master),
            Err(error) => failed.push(format!("{sentinel}: {error}")),
        }
    }
    if named.is_empty() {
        return Err(LinkError::Sentinel(failed.join("; ")));
    }
    named.sort_by_key(|master| std::cmp::Reverse(master.epoch));
    let mut seen: Vec<Host> = Vec::new();
    named.retain(|master| {
        let new = !seen.contains(&master.host);
        seen.push(master.host.clone());
        new
    });
    Ok(named)
}

/// The configuration of a Redis at that place.
pub(super) fn at(config: &Broker, host: &Host) -> Broker {
    let database = match &config.url {
        BrokerUrl::Sentinel { database, .. } => *database,
        _ => 0,
    };
    Broker {
        url: BrokerUrl::Redis {
            tls: false,
            host: host.name.clone(),
            port: host.port,
            database,
        },
        ..config.clone()
    }
}

/// Asks a Redis whether it is a master.
pub(super) async fn must_be_master(stream: &mut Stream) -> Result<(), LinkError> {
    let answer = query(stream, &["ROLE"]).await?;
    let role = match &answer {
        Value::Array(items) => items.first().and_then(text).unwrap_or_default(),
        Value::ServerError(error) => {
            let said = format!("{} {}", error.code(), error.details().unwrap_or_default());
            return Err(LinkError::refused(said.as_bytes()));
        }
        _ => return Err(LinkError::Puzzled),
    };
    if role == "master" {
        Ok(())
    } else {
        Err(LinkError::Refused(format!(
            "is a {role} and not the master"
        )))
    }
}

/// Waits until another Redis than this is the master.
pub(super) async fn watch(config: Broker, node: NodeId, current: Master) -> Master {
    let BrokerUrl::Sentinel {
        sentinels, master, ..
    } = &config.url
    else {
        return std::future::pending().await;
    };
    loop {
        for sentinel in sentinels {
            // Whatever is wrong with it, the next one may know.
            if let Ok(new) = listen(&config, node, sentinel, master, &current).await {
                return new;
            }
        }
        sleep(TRY_AGAIN).await;
    }
}

/// Listens to one sentinel, and looks what all of them say when it says something or is silent for a while.
async fn listen(
    config: &Broker,
    node: NodeId,
    sentinel: &Host,
    name: &str,
    current: &Master,
) -> Result<Master, LinkError> {
    let mut stream = open(config, sentinel).await?;
    let mut out = Vec::new();
    let channel = std::iter::once((&b""[..], &b"+switch-master"[..]));
    command(&mut out, b"SUBSCRIBE", channel);
    stream.write_all(&out).await?;
    let mut held = Vec::new();
    loop {
        // The first look comes after the subscription, so nothing falls between.
        match timeout(ASK_AGAIN, reply(&mut stream, &mut held)).await {
            Ok(reply) => drop(reply?),
            // It must still be there, or it is no use to listen to it.
            Err(_) => drop(ask(config, sentinel, name).await?),
        }
        for master in masters(config).await? {
            if master.host != current.host
                && master.epoch >= current.epoch
                && is_master(config, node, &master.host).await
            {
                return Ok(master);
            }
        }
    }
}

async fn is_master(config: &Broker, node: NodeId, host: &Host) -> bool {
    match connect(&at(config, host), node, Purpose::Publisher).await {
        Ok(mut stream) => must_be_master(&mut stream).await.is_ok(),
        Err(_) => false,
    }
}

/// Where a sentinel says that the master is.
async fn ask(config: &Broker, sentinel: &Host, name: &str) -> Result<Master, LinkError> {
    let answer = async {
        let mut stream = open(config, sentinel).await?;
        query(&mut stream, &["SENTINEL", "MASTER", name]).await
    };
    let answer = timeout(ANSWER_WITHIN, answer)
        .await
        .map_err(|_| LinkError::Silent(ANSWER_WITHIN))??;
    let fields = match &answer {
        Value::Array(items) => items.as_slice(),
        Value::ServerError(error) if error.code() == "ERR" => {
            let said = format!("knows no master \"{name}\"");
            return Err(LinkError::Refused(said));
        }
        Value::ServerError(error) => {
            let said = format!("{} {}", error.code(), error.details().unwrap_or_default());
            return Err(LinkError::refused(said.as_bytes()));
        }
        _ => return Err(LinkError::Puzzled),
    };
    let field = |name: &str| {
        let mut pairs = fields.chunks_exact(2);
        pairs.find_map(|pair| match pair {
            [key, value] if text(key) == Some(name) => text(value),
            _ => None,
        })
    };
    let host = field("ip").ok_or(LinkError::Puzzled)?.to_owned();
    let port = field("port").and_then(|port| port.parse().ok());
    let epoch = field("config-epoch").and_then(|epoch| epoch.parse().ok());
    Ok(Master {
        host: Host {
            name: host,
            port: port.ok_or(LinkError::Puzzled)?,
        },
        epoch: epoch.unwrap_or(0),
    })
}

/// Connects to a sentinel. One with a password gets that of Redis.
async fn open(config: &Broker, sentinel: &Host) -> Result<Stream, LinkError> {
    let dial = dial_tcp(&sentinel.name, sentinel.port);
    let stream = timeout(ANSWER_WITHIN, dial)
        .await
        .map_err(|_| LinkError::Slow(ANSWER_WITHIN))??;
    let mut stream = Stream::Tcp(stream);
    let Value::ServerError(error) = query(&mut stream, &["PING"]).await? else {
        return Ok(stream);
    };
    let (user, password) = (config.username.as_str(), config.password.reveal());
    let words: &[&str] = if user.is_empty() {
        &["AUTH", password]
    } else {
        &["AUTH", user, password]
    };
    if error.code() == "NOAUTH" && !password.is_empty() {
        match query(&mut stream, words).await? {
            Value::ServerError(_) => {}
            _ => return Ok(stream),
        }
    }
    let said = format!("{} {}", error.code(), error.details().unwrap_or_default());
    Err(LinkError::refused(said.as_bytes()))
}

/// Sends one command and waits for its answer.
async fn query(stream: &mut Stream, words: &[&str]) -> Result<Value, LinkError> {
    let mut out = Vec::new();
    let (name, words) = words.split_first().unwrap_or((&"PING", &[]));
    let words = words.iter().map(|word| (&b""[..], word.as_bytes()));
    command(&mut out, name.as_bytes(), words);
    stream.write_all(&out).await?;
    reply(stream, &mut Vec::new()).await
}

/// Waits for the next thing that is said.
async fn reply(stream: &mut Stream, held: &mut Vec<u8>) -> Result<Value, LinkError> {
    loop {
        if let Some((_, len)) = resp::read(held)? {
            let value = redis::parse_redis_value(held.get(..len).unwrap_or_default());
            held.drain(..len);
            return value.map_err(|_| LinkError::Puzzled);
        }
        if stream.read_buf(held).await? == 0 {
            return Err(LinkError::Closed);
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
