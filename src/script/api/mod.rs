//! The globals that scripts see, one file each, all of the same form: a list of names and host functions.
//!
//! A host function takes its arguments from place 1 on, pushes its results and returns how many; an `Err` is raised with
//! the caller's `file:line`. `sandbox.rs` puts the lists into a state's base globals.

pub(super) mod base64;
pub(super) mod channel;
pub(super) mod crypto;
pub(super) mod ip;
pub(super) mod json;
pub(super) mod json_text;
pub(super) mod jwt;
pub(super) mod log;
pub(super) mod module;
pub(super) mod time;
pub(super) mod wsd;

use std::ffi::CStr;

use super::raw::{HostFunction, Stack};
use super::value::Raise;
use super::world::World;

/// A name and its function.
pub(super) type Entry = (&'static CStr, HostFunction<World>);

/// The tables of functions among the globals.
pub(super) const LIBRARIES: &[(&str, &[Entry])] = &[
    ("base64", base64::FUNCTIONS),
    ("crypto", crypto::FUNCTIONS),
    ("ip", ip::FUNCTIONS),
    ("json", json::FUNCTIONS),
    ("jwt", jwt::FUNCTIONS),
    ("log", log::FUNCTIONS),
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
    use super::value::Kind;
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
