//! The globals that scripts see, one file each, all of the same form: a list of names and host functions.
//!
//! A host function takes its arguments from place 1 on, pushes its results and returns how many; an `Err` is raised with
//! the caller's `file:line`. `sandbox.rs` puts the lists into a state's base globals.

pub(super) mod base64;
pub(super) mod channel;
pub(super) mod crypto;
pub(super) mod docs;
pub(super) mod ip;
pub(super) mod json;
pub(super) mod json_text;
pub(super) mod jwt;
pub(super) mod limit;
pub(super) mod log;
pub(super) mod metrics;
pub(super) mod module;
pub(super) mod shared;
pub(super) mod time;
pub(super) mod timer;
pub(super) mod wsd;

use std::ffi::CStr;

use super::commons::KEY_MAX;
use super::raw::{HostFunction, Ref, Stack, expired};
use super::value::{Kind, Raise};
use super::world::World;

/// A name and its function.
pub(super) type Entry = (&'static CStr, HostFunction<World>);

/// The metatable of what stands for something of ours, and what tells it from others.
pub(super) type Handle = (Ref, usize);

/// The tables of functions among the globals.
pub(super) const LIBRARIES: &[(&str, &[Entry])] = &[
    ("base64", base64::FUNCTIONS),
    ("crypto", crypto::FUNCTIONS),
    ("ip", ip::FUNCTIONS),
    ("json", json::FUNCTIONS),
    ("jwt", jwt::FUNCTIONS),
    ("limit", limit::FUNCTIONS),
    ("log", log::FUNCTIONS),
    ("metrics", metrics::FUNCTIONS),
    ("shared", shared::FUNCTIONS),
    ("time", time::FUNCTIONS),
    ("wsd", wsd::FUNCTIONS),
];

/// The functions that are globals themselves.
pub(super) const GLOBALS: &[Entry] = &[
    (c"print", log::print),
    (c"require", module::require),
    (c"set", set),
];

/// `set(list)`: a table with each element as a key.
fn set(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let kind = stack.kind(1);
    if !matches!(kind, Kind::None | Kind::Nil | Kind::Table) {
        let kind = kind.described();
        return Err(Raise(format!(
            "set: is given {kind}; must be a list or nil"
        )));
    }
    stack.set_top(1);
    let length = stack.length(1);
    stack.push_table(0, length);
    for n in 1..=length {
        if n.is_multiple_of(1024) && expired() {
            break; // the interrupt strikes when this returns
        }
        stack.element(1, n);
        if stack.kind(3) == Kind::Nil {
            stack.set_top(2);
            continue;
        }
        stack.push_bool(true);
        stack.set_field(2);
    }
    Ok(1)
}

/// Pushes a constant table with the metatable of `handle` that stands for number `place` of its kind.
fn push_handle(stack: &mut Stack, handle: Handle, place: usize) {
    stack.push_table(1, 0);
    let table = stack.top();
    stack.push_count(place);
    stack.set_element(table, 1);
    stack.push_ref(handle.0);
    stack.set_metatable(table);
    stack.freeze(table);
}

/// The number that the table at place 1 stands for, if it is of that kind. Scripts cannot make such tables.
fn handle(stack: &mut Stack, handle: Handle) -> Option<usize> {
    let top = stack.top();
    let found = if stack.metatable(1) && stack.identity(stack.top()) == handle.1 {
        stack.element(1, 1);
        let number = stack.number(stack.top())?;
        (0..=u16::MAX)
            .find(|n| f64::from(*n) == number)
            .map(usize::from)
    } else {
        None
    };
    stack.set_top(top);
    found
}

/// A key of a dictionary, a limit or a slot.
fn key<'s>(stack: &'s Stack, place: i32, what: &str) -> Result<&'s [u8], Raise> {
    let key = super::convert::argument(stack, place, what, "the key")?;
    if key.len() > KEY_MAX {
        let bytes = key.len();
        return Err(Raise(format!(
            "{what}: the key has {bytes} bytes; at most {KEY_MAX}"
        )));
    }
    Ok(key)
}
