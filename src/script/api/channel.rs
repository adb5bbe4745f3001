//! The methods of `conn`: each checks its arguments and adds an effect.
//!
//! A connection that has ended is no error: whoever kept its table may not know yet, and its effects go nowhere.

use super::Entry;
use crate::pipeline::Effect;
use crate::script::convert::{channel, payload, quoted};
use crate::script::raw::Stack;
use crate::script::value::{Kind, Raise};
use crate::script::world::World;
use crate::types::{Close, ConnId, Kind as MessageKind};

pub(in crate::script) const METHODS: &[Entry] = &[
    (c"channels", channels),
    (c"close", close),
    (c"expire", expire),
    (c"publish", publish),
    (c"send", send),
    (c"subscribe", subscribe),
    (c"unsubscribe", unsubscribe),
];

/// Whose method is called; `None` if it has ended.
fn own(stack: &mut Stack, world: &World, method: &str) -> Result<Option<ConnId>, Raise> {
    if stack.kind(1) == Kind::Table {
        let known = world.conns.borrow().of_table(stack.identity(1));
        if known.is_some() {
            return Ok(known);
        }
        stack.push_ref(world.kept()?.conn);
        let ours = stack.identity(stack.top());
        stack.pop();
        if stack.metatable(1) {
            let is_conn = stack.identity(stack.top()) == ours;
            stack.pop();
            if is_conn {
                return Ok(None);
            }
        }
    }
    Err(Raise(format!(
        "conn:{method}: called without its connection; write conn:{method}(…), with a colon"
    )))
}

fn ask(
    world: &World,
    what: &str,
    conn: Option<ConnId>,
    effect: impl FnOnce(ConnId) -> Effect,
) -> Result<i32, Raise> {
    if let Some(conn) = conn {
        world.ask(what, effect(conn))?;
    }
    Ok(0)
}

/// `conn:send(v [, "binary"])`
fn send(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let conn = own(stack, world, "send")?;
    stack.set_top(3);
    let mut payload = payload(stack, world, 2, "conn:send")?;
    match stack.bytes(3) {
        Some(b"binary") => payload.kind = MessageKind::Binary,
        Some(b"text") => {}
        None if stack.kind(3) == Kind::Nil => {}
        _ => {
            let kind = quoted(stack, 3);
            return Err(Raise(format!(
                "conn:send: the kind is {kind}; must be \"binary\", \"text\" or nothing"
            )));
        }
    }
    ask(world, "conn:send", conn, |id| Effect::Send(id, payload))
}

/// `conn:publish(channel, v)`: not echoed to itself.
fn publish(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let conn = own(stack, world, "publish")?;
    stack.set_top(3);
    let channel = channel(stack, 2, "conn:publish")?;
    let payload = payload(stack, world, 3, "conn:publish")?;
    ask(world, "conn:publish", conn, |id| Effect::Publish {
        channel,
        payload,
        skip: Some(id),
    })
}

/// `conn:subscribe(channel [, { replay = n }])`
fn subscribe(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let conn = own(stack, world, "subscribe")?;
    stack.set_top(3);
    let channel = channel(stack, 2, "conn:subscribe")?;
    let replay = match stack.kind(3) {
        Kind::Nil => None,
        Kind::Table => {
            stack.named(3, "replay");
            replay(stack, stack.top())?
        }
        kind => {
            let kind = kind.described();
            return Err(Raise(format!(
                "conn:subscribe: the options are {kind}; must be a table"
            )));
        }
    };
    ask(world, "conn:subscribe", conn, |id| {
        Effect::Subscribe(id, channel, replay)
    })
}

/// A number of messages.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number up to a million"
)]
fn replay(stack: &Stack, place: i32) -> Result<Option<u32>, Raise> {
    match (stack.kind(place), stack.number(place)) {
        (Kind::Nil, _) => Ok(None),
        (_, Some(n)) if n.fract() == 0.0 && (0.0..=REPLAY_MAX).contains(&n) => Ok(Some(n as u32)),
        _ => {
            let value = quoted(stack, place);
            Err(Raise(format!(
                "conn:subscribe: replay is {value}; must be a whole number from 0 to {REPLAY_MAX}"
            )))
        }
    }
}

/// `conn:unsubscribe(channel)`
fn unsubscribe(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let conn = own(stack, world, "unsubscribe")?;
    stack.set_top(2);
    let channel = channel(stack, 2, "conn:unsubscribe")?;
    ask(world, "conn:unsubscribe", conn, |id| {
        Effect::Unsubscribe(id, channel)
    })
}

/// `conn:channels()` → the list of what it is subscribed to, as it was when the hook was called.
fn channels(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let conn = own(stack, world, "channels")?;
    if conn.is_none() || conn != world.conn.get().map(|(id, _)| id) {
        return Err("conn:channels: only for the connection whose hook runs".into());
    }
    let list = world.channels.ask().unwrap_or_default();
    stack.push_table(list.len(), 0);
    let table = stack.top();
    for (i, channel) in list.iter().enumerate() {
        stack.push_bytes(channel.as_str().as_bytes());
        stack.set_element(table, i + 1);
    }
    Ok(1)
}

/// `conn:close(code, reason)`
fn close(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let conn = own(stack, world, "close")?;
    let close = close_arguments(
        stack,
        "conn:close",
        Close {
            code: 1000,
            reason: "".into(),
        },
    )?;
    ask(world, "conn:close", conn, |id| Effect::Close(id, close))
}

/// Code and reason at places 2 and 3, and what they are where they are left out.
pub(super) fn close_arguments(
    stack: &mut Stack,
    what: &str,
    default: Close,
) -> Result<Close, Raise> {
    stack.set_top(3);
    let code = match (stack.kind(2), stack.number(2)) {
        (Kind::Nil, _) => default.code,
        (_, Some(code)) if is_code(code) => whole(code),
        _ => {
            let value = quoted(stack, 2);
            return Err(Raise(format!(
                "{what}: the code {value}: must be 1000, 1008 or 3000 to 4999"
            )));
        }
    };
    let reason = match (stack.kind(3), stack.text(3)) {
        (Kind::Nil, _) if stack.kind(2) == Kind::Nil => return Ok(default),
        (Kind::Nil, _) => String::new(),
        (_, Some(reason)) if reason.len() <= REASON_MAX => reason.to_owned(),
        (_, Some(reason)) => {
            let bytes = reason.len();
            return Err(Raise(format!(
                "{what}: the reason has {bytes} bytes; at most {REASON_MAX}"
            )));
        }
        _ => {
            let value = quoted(stack, 3);
            return Err(Raise(format!(
                "{what}: the reason is {value}; must be UTF-8 text"
            )));
        }
    };
    Ok(Close {
        code,
        reason: reason.into(),
    })
}

fn is_code(code: f64) -> bool {
    code.fract() == 0.0 && (code == 1000.0 || code == 1008.0 || (3000.0..5000.0).contains(&code))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number below 5000"
)]
const fn whole(code: f64) -> u16 {
    code as u16
}

/// `conn:expire(unix_time)`; nil takes it back.
fn expire(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let conn = own(stack, world, "expire")?;
    let time = match (stack.kind(2), stack.number(2)) {
        (Kind::Nil | Kind::None, _) => None,
        (_, Some(time)) if time.is_finite() => Some(time),
        _ => {
            let value = quoted(stack, 2);
            return Err(Raise(format!(
                "conn:expire: {value} is no time; must be Unix seconds or nil"
            )));
        }
    };
    ask(world, "conn:expire", conn, |id| Effect::Expire(id, time))
}

/// What a script assigns to a field of `conn` that is not there: only those that mean something.
pub(in crate::script) fn assign(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    stack.set_top(3);
    match stack.bytes(2) {
        Some(b"user" | b"channel" | b"protocol" | b"data") => {
            stack.set_field(1);
            Ok(0)
        }
        _ => {
            let name = quoted(stack, 2);
            Err(Raise(format!(
                "conn has no field {name}; values of your own belong in conn.data"
            )))
        }
    }
}

/// Messages of a history that are asked for at most.
const REPLAY_MAX: f64 = 1_000_000.0;
/// RFC 6455 §5.5: a control frame carries at most 125 bytes, two of them are the code.
const REASON_MAX: usize = 123;
