//! What the effects of a hook do in a test: they are written down where `c.sent`, `c.closed` and `t.published` show them.

use super::bench;
use super::client::{Client, join, leave, show};
use crate::pipeline::{Effect, Effects};
use crate::script::raw::Stack;
use crate::script::value::Raise;
use crate::types::ConnId;

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
            Effect::Send(id, payload) => {
                if push_table(stack, id)? {
                    let table = stack.top();
                    stack.named(table, "sent");
                    stack.push_bytes(&payload.data);
                    let n = stack.length(table + 1) + 1;
                    stack.set_element(table + 1, n);
                }
            }
            Effect::Close(id, close) => {
                if push_table(stack, id)? {
                    let table = stack.top();
                    stack.push_table(0, 2);
                    stack.push_number(f64::from(close.code));
                    stack.set_named(table + 1, "code");
                    stack.push_bytes(close.reason.as_bytes());
                    stack.set_named(table + 1, "reason");
                    stack.set_named(table, "closed");
                }
            }
            Effect::Expire(id, time) => {
                if push_table(stack, id)? {
                    let table = stack.top();
                    match time {
                        Some(time) => stack.push_number(time),
                        None => stack.push_nil(),
                    }
                    stack.set_named(table, "expires");
                }
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
            Effect::Subscribe(id, channel) => {
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
