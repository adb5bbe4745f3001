//! `wsd`: what scripts ask of the daemon.

use super::channel::close_arguments;
use super::{Entry, timer};
use crate::pipeline::Effect;
use crate::script::conn::USER_MAX;
use crate::script::convert::{channel, payload, quoted};
use crate::script::raw::Stack;
use crate::script::value::{Kind, Raise};
use crate::script::world::World;
use crate::types::Close;

pub(super) const FUNCTIONS: &[Entry] = &[
    (c"after", timer::after),
    (c"api", api),
    (c"every", timer::every),
    (c"kick", kick),
    (c"publish", publish),
    (c"secret", secret),
    (c"send", send),
    (c"subscribers", subscribers),
];

/// `wsd.api(n)`: the version of all this that a script was written for.
fn api(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    match stack.number(1) {
        Some(1.0) => Ok(0),
        Some(n) if n > 1.0 => Err(Raise(format!(
            "wsd.api: this wsd knows version 1, the script wants {n}"
        ))),
        _ => {
            let value = quoted(stack, 1);
            Err(Raise(format!("wsd.api: {value} is no version; must be 1")))
        }
    }
}

/// `wsd.publish(channel, v)`
fn publish(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    stack.set_top(2);
    let channel = channel(stack, 1, "wsd.publish")?;
    let payload = payload(stack, world, 2, "wsd.publish")?;
    let effect = Effect::Publish {
        channel,
        payload,
        skip: None,
    };
    world.ask("wsd.publish", effect)?;
    Ok(0)
}

/// `wsd.send(user, v)`: to every connection of that user, on all nodes.
fn send(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    stack.set_top(2);
    let user = user(stack, "wsd.send")?;
    let payload = payload(stack, world, 2, "wsd.send")?;
    world.ask("wsd.send", Effect::SendUser(user, payload))?;
    Ok(0)
}

/// `wsd.kick(user [, code [, reason]])`: closes every connection of that user, on all nodes.
fn kick(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let user = user(stack, "wsd.kick")?;
    let close = close_arguments(stack, "wsd.kick", Close::KICKED)?;
    world.ask("wsd.kick", Effect::KickUser(user, close))?;
    Ok(0)
}

/// The user at place 1.
fn user(stack: &Stack, what: &str) -> Result<String, Raise> {
    match stack.text(1) {
        Some(user) if (1..=USER_MAX).contains(&user.len()) => Ok(user.to_owned()),
        _ => {
            let value = quoted(stack, 1);
            Err(Raise(format!(
                "{what}: the user is {value}; must be a string of 1 to {USER_MAX} bytes"
            )))
        }
    }
}

/// `wsd.subscribers(channel)` → how many connections of this node are subscribed to it.
fn subscribers(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let channel = channel(stack, 1, "wsd.subscribers")?;
    let count = (world.host.subscribers)(&channel);
    stack.push_count(usize::try_from(count).unwrap_or(usize::MAX));
    Ok(1)
}

/// `wsd.secret(name)` → its bytes.
fn secret(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let name = match stack.text(1) {
        Some(name) if is_secret_name(name) => name.to_owned(),
        _ if stack.kind(1) == Kind::String => {
            let name = quoted(stack, 1);
            return Err(Raise(format!(
                "wsd.secret: {name}: a name has only letters, digits, _, - and ., and no . at its beginning"
            )));
        }
        _ => {
            let kind = stack.kind(1).described();
            return Err(Raise(format!(
                "wsd.secret: the name is {kind}; must be a string"
            )));
        }
    };
    let known = world.secrets.borrow().get(&name).cloned();
    let value = match known {
        Some(value) => value,
        None => {
            let value = (world.host.secret)(&name)
                .map_err(|why| Raise(format!("wsd.secret: {name:?}: {why}")))?;
            world.secrets.borrow_mut().insert(name, value.clone());
            value
        }
    };
    stack.push_bytes(&value);
    Ok(1)
}

fn is_secret_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// Adds the constants to the table at `table`.
pub(in crate::script) fn push_constants(stack: &mut Stack, world: &World, table: i32) {
    let host = &world.host;
    stack.push_bytes(host.node.to_string().as_bytes());
    stack.set_named(table, "node");
    stack.push_number(f64::from(host.worker.0));
    stack.set_named(table, "worker");
    stack.push_count(usize::try_from(host.generation.0).unwrap_or(usize::MAX));
    stack.set_named(table, "generation");
    stack.push_bytes(env!("CARGO_PKG_VERSION").as_bytes());
    stack.set_named(table, "version");
    push_settings(stack, &world.bundle.hooks().settings);
    stack.set_named(table, "settings");
}

/// `[hooks.settings]` as a constant table.
fn push_settings(stack: &mut Stack, settings: &toml::Table) {
    stack.push_table(0, settings.len());
    let table = stack.top();
    for (name, value) in settings {
        push_setting(stack, value);
        stack.set_named(table, name);
    }
    stack.freeze(table);
}

#[expect(clippy::cast_precision_loss, reason = "Luau has no other numbers")]
fn push_setting(stack: &mut Stack, value: &toml::Value) {
    match value {
        toml::Value::String(text) => stack.push_bytes(text.as_bytes()),
        toml::Value::Integer(n) => stack.push_number(*n as f64),
        toml::Value::Float(n) => stack.push_number(*n),
        toml::Value::Boolean(b) => stack.push_bool(*b),
        toml::Value::Datetime(t) => stack.push_bytes(t.to_string().as_bytes()),
        toml::Value::Table(fields) => push_settings(stack, fields),
        toml::Value::Array(list) => {
            stack.push_table(list.len(), 0);
            let table = stack.top();
            for (i, value) in list.iter().enumerate() {
                push_setting(stack, value);
                stack.set_element(table, i + 1);
            }
            stack.freeze(table);
        }
    }
}
