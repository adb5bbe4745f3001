//! `shared.dict`: dictionaries that all workers of the node share. The store is `commons/dictionary.rs`.

use std::sync::Arc;

use super::{Entry, key};
use crate::script::commons::{DICTIONARIES_MAX, Dictionary, IncrError, Value};
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::value::{Kind, Raise};
use crate::script::world::World;

pub(super) const FUNCTIONS: &[Entry] = &[(c"dict", dict)];

/// Of what `shared.dict` gives.
pub(in crate::script) const METHODS: &[Entry] = &[
    (c"add", add),
    (c"delete", delete),
    (c"get", get),
    (c"incr", incr),
    (c"set", set),
];

/// `shared.dict(name)` → a dictionary.
fn dict(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let Some(name) = stack
        .text(1)
        .filter(|name| (1..=NAME_MAX).contains(&name.len()))
    else {
        let value = quoted(stack, 1);
        return Err(Raise(format!(
            "shared.dict: the name is {value}; must be a string of 1 to {NAME_MAX} bytes"
        )));
    };
    if world.capacity() == 0 {
        return Err("shared.dict: hooks.shared is 0, which leaves no room for dictionaries".into());
    }
    let Some(found) = world.host.commons.dictionary(name) else {
        return Err(Raise(format!(
            "shared.dict: {name:?}: there are {DICTIONARIES_MAX} dictionaries already"
        )));
    };
    let handle = {
        let mut known = world.dictionaries.borrow_mut();
        let place = known.iter().position(|known| Arc::ptr_eq(known, &found));
        place.unwrap_or_else(|| {
            known.push(found);
            known.len() - 1
        })
    };
    super::push_handle(stack, world.kept()?.dictionary, handle);
    Ok(1)
}

/// `d:get(k)` → the value, or nil.
fn get(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let own = own(stack, world, "get")?;
    let value = own.get(key(stack, 2, "dict:get")?, world.monotonic());
    match value {
        None => stack.push_nil(),
        Some(Value::Boolean(value)) => stack.push_bool(value),
        Some(Value::Number(value)) => stack.push_number(value),
        Some(Value::String(value)) => stack.push_bytes(&value),
    }
    Ok(1)
}

/// `d:set(k, v [, ttl])`; nil deletes.
fn set(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let own = own(stack, world, "set")?;
    stack.set_top(4);
    let key = key(stack, 2, "dict:set")?;
    let (now, until) = until(stack, world, "dict:set")?;
    match value(stack, "dict:set")? {
        None => {
            own.delete(key, now);
        }
        Some(value) => {
            if !own.set(key, value, until, world.capacity()) {
                return Err(too_large("dict:set"));
            }
        }
    }
    Ok(0)
}

/// `d:add(k, v [, ttl])` → whether it was set: false if there is one.
fn add(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let own = own(stack, world, "add")?;
    stack.set_top(4);
    let key = key(stack, 2, "dict:add")?;
    let times = until(stack, world, "dict:add")?;
    let Some(value) = value(stack, "dict:add")? else {
        return Err("dict:add: the value is nil; must be a boolean, number or string".into());
    };
    let Some(added) = own.add(key, value, times, world.capacity()) else {
        return Err(too_large("dict:add"));
    };
    stack.push_bool(added);
    Ok(1)
}

/// `d:incr(k [, by [, ttl]])` → the new value; `ttl` counts from the first.
fn incr(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let own = own(stack, world, "incr")?;
    stack.set_top(4);
    let by = match (stack.kind(3), stack.number(3)) {
        (Kind::Nil, _) => 1.0,
        (_, Some(by)) if by.is_finite() => by,
        _ => {
            let value = quoted(stack, 3);
            return Err(Raise(format!(
                "dict:incr: {value} is nothing to add; must be a number"
            )));
        }
    };
    let times = until(stack, world, "dict:incr")?;
    let key = key(stack, 2, "dict:incr")?;
    match own.incr(key, by, times, world.capacity()) {
        Ok(sum) => {
            stack.push_number(sum);
            Ok(1)
        }
        Err(IncrError::NotFinite) => Err("dict:incr: the sum is too large for a number".into()),
        Err(IncrError::NotNumber) => {
            let key = quoted(stack, 2);
            Err(Raise(format!("dict:incr: what {key} has is no number")))
        }
        Err(IncrError::TooLarge) => Err(too_large("dict:incr")),
    }
}

/// `d:delete(k)` → whether there was one.
fn delete(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let own = own(stack, world, "delete")?;
    let there = own.delete(key(stack, 2, "dict:delete")?, world.monotonic());
    stack.push_bool(there);
    Ok(1)
}

/// Whose method is called.
fn own(stack: &mut Stack, world: &World, method: &str) -> Result<Arc<Dictionary>, Raise> {
    let handle = super::handle(stack, world.kept()?.dictionary);
    let known = world.dictionaries.borrow();
    let own = handle.and_then(|handle| known.get(handle));
    own.map(Arc::clone).ok_or_else(|| {
        Raise(format!(
            "dict:{method}: called without its dictionary; write d:{method}(…), with a colon"
        ))
    })
}

/// The value at place 3; `None` is nil.
fn value(stack: &Stack, what: &str) -> Result<Option<Value>, Raise> {
    match (stack.kind(3), stack.number(3), stack.bytes(3)) {
        (Kind::Nil, ..) => Ok(None),
        (Kind::Boolean, ..) => Ok(Some(Value::Boolean(stack.truthy(3)))),
        (_, Some(number), _) => Ok(Some(Value::Number(number))),
        (_, _, Some(bytes)) if bytes.len() > VALUE_MAX => Err(Raise(format!(
            "{what}: the value has {} bytes; at most {VALUE_MAX}",
            bytes.len()
        ))),
        (_, _, Some(bytes)) => Ok(Some(Value::String(bytes.into()))),
        (kind, ..) => Err(Raise(format!(
            "{what}: the value is {}; must be a boolean, number or string (json.encode makes one of a table)",
            kind.described()
        ))),
    }
}

/// Now, and when the time at place 4 has passed.
fn until(stack: &Stack, world: &World, what: &str) -> Result<(f64, f64), Raise> {
    let now = world.monotonic();
    match (stack.kind(4), stack.number(4)) {
        (Kind::Nil, _) => Ok((now, f64::INFINITY)),
        (_, Some(ttl)) if ttl.is_finite() && ttl > 0.0 => Ok((now, now + ttl)),
        _ => Err(Raise(format!(
            "{what}: the time to live is {}; must be a number of seconds above 0",
            quoted(stack, 4)
        ))),
    }
}

fn too_large(what: &str) -> Raise {
    Raise(format!("{what}: the entry is larger than hooks.shared"))
}

/// Bytes of a dictionary's name.
const NAME_MAX: usize = 255;
/// Bytes of a value: what must go for it goes while others wait, some 8,000 small entries in about 1 ms.
const VALUE_MAX: usize = 1 << 20;
