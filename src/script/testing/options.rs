//! `t.conn`: from a table of options to a connection of a test.

use super::bench;
use super::client::{Client, show};
use crate::pipeline::Peer;
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::value::{Kind, Raise};
use crate::script::world::World;
use crate::types::{ChannelName, ConnId, NodeId, Origin, WorkerId};
use crate::wire::Upgrade;

/// `t.conn { query, headers, channel, ip, port, path, route, params, user, protocols, secure }`
pub(super) fn conn(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    if !matches!(stack.kind(1), Kind::Table | Kind::None | Kind::Nil) {
        let kind = stack.kind(1).described();
        return Err(Raise(format!("t.conn: is given {kind}; must be a table")));
    }
    stack.set_top(1);
    let slot = bench(|bench| u32::try_from(bench.clients.len()).unwrap_or(u32::MAX))?;
    let id = ConnId {
        slot,
        generation: 1,
    };
    let (peer, upgrade) = facts(stack, id)?;
    stack.set_top(0);
    stack.push_table(0, 6);
    stack.push_table(0, 0);
    stack.set_named(1, "sent");
    let methods = bench(|bench| bench.methods)?.ok_or("t.conn: no test is running")?;
    stack.push_ref(methods);
    stack.set_metatable(1);
    stack.push_copy(1);
    let client = Client {
        identity: stack.identity(1),
        table: stack.keep(),
        peer,
        upgrade,
        channels: Vec::new(),
        expires: None,
    };
    show(stack, 1, &client.peer);
    bench(|bench| bench.clients.push(client))?;
    Ok(1)
}

/// What the options at place 1 say of the connection and its request.
fn facts(stack: &mut Stack, id: ConnId) -> Result<(Peer, Upgrade), Raise> {
    let query = pairs(stack, "query")?;
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    let headers = pairs(stack, "headers")?;
    let protocols: Vec<String> = pairs(stack, "protocols")?
        .into_iter()
        .map(|(_, v)| v)
        .collect();
    let channel = own_channel(stack)?;
    stack.named(1, "port");
    let port = stack.number(2).unwrap_or(50_000.0);
    stack.named(1, "secure");
    let secure = stack.truthy(3);
    stack.set_top(1);
    let path = text(stack, "path")?.unwrap_or_else(|| "/test".into());
    let params = pairs(stack, "params")?;
    let peer = Peer {
        origin: Origin {
            node: NodeId(1),
            worker: WorkerId(0),
            conn: id,
        },
        ip: text(stack, "ip")?
            .unwrap_or_else(|| "192.0.2.1".into())
            .into(),
        port: (0..=u16::MAX).find(|n| f64::from(*n) == port).unwrap_or(0),
        path: path.as_str().into(),
        route: text(stack, "route")?.unwrap_or_default().into(),
        params: params
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        secure,
        protocols: protocols.iter().map(|p| p.as_str().into()).collect(),
        user: text(stack, "user")?.map(Into::into),
        channel,
    };
    let upgrade = Upgrade {
        path,
        query: query.join("&"),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.into_bytes()))
            .collect(),
        protocols,
        accept: String::new(),
        deflate: None,
    };
    Ok((peer, upgrade))
}

/// The channel that its messages go to; `""`: none.
fn own_channel(stack: &mut Stack) -> Result<Option<ChannelName>, Raise> {
    let name = text(stack, "channel")?.unwrap_or_else(|| "test".into());
    if name.is_empty() {
        return Ok(None);
    }
    ChannelName::public(&name)
        .map(Some)
        .map_err(|error| Raise(format!("t.conn: channel {name:?}: {error}")))
}

/// A string among the options at place 1.
fn text(stack: &mut Stack, name: &str) -> Result<Option<String>, Raise> {
    stack.named(1, name);
    let value = match (stack.kind(2), stack.text(2)) {
        (Kind::Nil, _) => None,
        (_, Some(text)) => Some(text.to_owned()),
        _ => {
            let value = quoted(stack, 2);
            return Err(Raise(format!(
                "t.conn: {name} is {value}; must be a string"
            )));
        }
    };
    stack.set_top(1);
    Ok(value)
}

/// A table of strings among the options at place 1, sorted by name.
fn pairs(stack: &mut Stack, option: &str) -> Result<Vec<(String, String)>, Raise> {
    stack.named(1, option);
    let mut list = Vec::new();
    let mut from = 0;
    while let Some(next) = stack.next(2, from) {
        from = next;
        stack.push_shown(3);
        stack.push_shown(4);
        let (Some(name), Some(value)) = (stack.text(5), stack.text(6)) else {
            return Err(Raise(format!(
                "t.conn: {option} must be a table of strings"
            )));
        };
        list.push((name.to_owned(), value.to_owned()));
        stack.set_top(2);
    }
    stack.set_top(1);
    list.sort();
    Ok(list)
}

/// For a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
