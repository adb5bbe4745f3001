//! What the effects of a hook do in a test: they are written down where `c.sent`, `c.closed` and `t.published` show them.

use super::bench;
use super::client::{Client, join, leave, of_user, show};
use super::clock::expire;
use crate::pipeline::{Effect, Effects};
use crate::script::raw::Stack;
use crate::script::value::Raise;
use crate::types::{Close, ConnId, Payload};

/// Does what a hook asked for.
pub(super) fn carry_out(stack: &mut Stack, mut effects: Effects) -> Result<(), Raise> {
    let top = stack.top();
    for effect in effects.take() {
        match effect {
            Effect::Publish {
                channel, payload, ..
            } => {
                let Some(published) = bench(|bench| bench.published)? else {
                    continue;
                };
                stack.push_ref(published);
                let list = stack.top();
                stack.push_table(0, 2);
                stack.push_bytes(channel.as_str().as_bytes());
                stack.set_named(list + 1, "channel");
                stack.push_bytes(&payload.data);
                stack.set_named(list + 1, "data");
                let n = stack.length(list) + 1;
                stack.set_element(list, n);
            }
            Effect::Send(id, payload) => send(stack, id, &payload)?,
            Effect::SendUser(user, payload) => {
                for id in bench(|bench| of_user(bench, &user))? {
                    send(stack, id, &payload)?;
                    stack.set_top(top);
                }
            }
            Effect::Close(id, reason) => close(stack, id, &reason)?,
            Effect::KickUser(user, reason) => {
                for id in bench(|bench| of_user(bench, &user))? {
                    close(stack, id, &reason)?;
                    stack.set_top(top);
                }
            }
            Effect::Timer(id, after) => bench(|bench| {
                let due = bench.clock.monotonic() + after.as_secs_f64();
                bench.timers.push((due, id));
            })?,
            Effect::Expire(id, time) => {
                if push_table(stack, id)? {
                    let table = stack.top();
                    match time {
                        Some(time) => stack.push_number(time),
                        None => stack.push_nil(),
                    }
                    stack.set_named(table, "expires");
                }
                expire(stack, id, time)?;
            }
            Effect::SetUser(id, user) => {
                change(stack, id, |client| client.peer.user = user.map(Into::into))?;
            }
            Effect::SetChannel(id, channel) => {
                change(stack, id, |client| client.peer.channel = channel)?;
            }
            Effect::SetProtocol(id, protocol) => {
                if push_table(stack, id)? {
                    let table = stack.top();
                    stack.push_bytes(protocol.as_bytes());
                    stack.set_named(table, "protocol");
                }
            }
            Effect::Subscribe(id, channel, _) => {
                join(
                    stack,
                    usize::try_from(id.slot).unwrap_or(usize::MAX),
                    &channel,
                )?;
            }
            Effect::Unsubscribe(id, channel) => {
                leave(
                    stack,
                    usize::try_from(id.slot).unwrap_or(usize::MAX),
                    &channel,
                )?;
            }
        }
        stack.set_top(top);
    }
    Ok(())
}

/// Writes down what was sent to a connection.
fn send(stack: &mut Stack, id: ConnId, payload: &Payload) -> Result<(), Raise> {
    if push_table(stack, id)? {
        let table = stack.top();
        stack.named(table, "sent");
        stack.push_bytes(&payload.data);
        let n = stack.length(table + 1) + 1;
        stack.set_element(table + 1, n);
    }
    Ok(())
}

/// Writes down that a connection was closed.
pub(super) fn close(stack: &mut Stack, id: ConnId, close: &Close) -> Result<(), Raise> {
    let top = stack.top();
    if push_table(stack, id)? {
        let table = stack.top();
        stack.push_table(0, 2);
        stack.push_number(f64::from(close.code));
        stack.set_named(table + 1, "code");
        stack.push_bytes(close.reason.as_bytes());
        stack.set_named(table + 1, "reason");
        stack.set_named(table, "closed");
    }
    stack.set_top(top);
    Ok(())
}

fn push_table(stack: &mut Stack, id: ConnId) -> Result<bool, Raise> {
    let slot = usize::try_from(id.slot).unwrap_or(usize::MAX);
    let table = bench(|bench| bench.clients.get(slot).map(|client| client.table))?;
    if let Some(table) = table {
        stack.push_ref(table);
    }
    Ok(table.is_some())
}

/// Changes a client's facts and shows them.
pub(super) fn change(
    stack: &mut Stack,
    id: ConnId,
    change: impl FnOnce(&mut Client),
) -> Result<(), Raise> {
    let slot = usize::try_from(id.slot).unwrap_or(usize::MAX);
    let peer = bench(|bench| {
        let client = bench.clients.get_mut(slot)?;
        change(client);
        Some(client.peer.clone())
    })?;
    if let (true, Some(peer)) = (push_table(stack, id)?, peer) {
        let table = stack.top();
        show(stack, table, &peer);
    }
    Ok(())
}
