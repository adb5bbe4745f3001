//! Which globals exist: the safe part of Luau's libraries, the guards over it, and the API.
//!
//! All of it is constant and shared by the environments of scripts and modules, each of which has its own globals on top.

use super::api::{self, channel, metrics, shared, wsd};
use super::guard::{self, GUARDS};
use super::raw::{HostFunction, Stack, Vm};
use super::value::Raise;
use super::world::{Kept, Stray, World};
use crate::config::Level;

/// Makes the base, which is the state's only globals, and what host functions keep. Runs inside the first protected call
/// of a state.
pub(super) fn install(stack: &mut Stack, vm: &Vm<World>) {
    let world = vm.shared();
    stack.set_top(0);
    stack.open_libraries();
    stack.push_globals();
    stack.push_table(0, 48);
    let (libraries, base) = (1, 2);
    for name in FUNCTIONS {
        stack.named(libraries, name);
        stack.set_named(base, name);
    }
    for name in LIBRARIES {
        stack.named(libraries, name);
        let library = stack.top();
        for (of, function_name, guard) in GUARDS {
            if of == name {
                let key = function_name.to_str().unwrap_or_default();
                stack.named(library, key);
                vm.push_function(stack, function_name, *guard);
                stack.set_named(library, key);
            }
        }
        stack.freeze(library);
        stack.set_named(base, name);
    }
    stack.named(libraries, "os");
    let os = stack.top();
    stack.push_table(0, 4);
    for name in ["clock", "date", "difftime", "time"] {
        stack.named(os, name);
        stack.set_named(os + 1, name);
    }
    stack.freeze(os + 1);
    stack.set_named(base, "os");
    stack.set_top(base);
    let kept = keep(stack, vm, base);
    for (name, function) in api::GLOBALS {
        function_into(stack, vm, base, name, *function);
    }
    for (library, functions) in api::LIBRARIES {
        stack.push_table(0, functions.len() + 5);
        let table = stack.top();
        for (name, function) in *functions {
            function_into(stack, vm, table, name, *function);
        }
        match *library {
            "json" => {
                stack.push_null();
                stack.set_named(table, "null");
            }
            "wsd" => wsd::push_constants(stack, world, table),
            _ => {}
        }
        stack.freeze(table);
        stack.set_named(base, library);
    }
    stack.freeze(base);
    stack.set_safe_environment(base);
    world.kept.set(Some(kept));
    stack.push_copy(base);
    stack.set_globals();
    stack.set_top(0);
}

/// Sets a host function as a field of that name.
pub(super) fn function_into(
    stack: &mut Stack,
    vm: &Vm<World>,
    table: i32,
    name: &'static std::ffi::CStr,
    function: HostFunction<World>,
) {
    stack.push_nil();
    vm.push_function(stack, name, function);
    stack.set_named(table, name.to_str().unwrap_or_default());
}

/// The metatables and texts that calls need.
fn keep(stack: &mut Stack, vm: &Vm<World>, base: i32) -> Kept {
    stack.push_copy(base);
    let base = stack.keep();
    let mut text = |text: &str| {
        stack.push_bytes(text.as_bytes());
        stack.keep()
    };
    let (user_key, channel_key) = (text("user"), text("channel"));
    let (text, binary) = (text("text"), text("binary"));
    stack.push_nil();
    vm.push_function(stack, c"less", guard::less);
    let less = stack.keep();
    let mut metatable = |fields: &mut dyn FnMut(&mut Stack, i32)| {
        stack.push_table(0, 4);
        let table = stack.top();
        fields(stack, table);
        stack.push_bool(false);
        stack.set_named(table, "__metatable");
        stack.freeze(table);
        let identity = stack.identity(table);
        (stack.keep(), identity)
    };
    let (array, array_identity) = metatable(&mut |_, _| {});
    let (integer, integer_identity) = metatable(&mut |stack, table| {
        function_into(stack, vm, table, c"__tostring", show_integer);
        function_into(stack, vm, table, c"__eq", same_integer);
    });
    let methods = |stack: &mut Stack, table: i32, list: &[api::Entry]| {
        stack.push_table(0, list.len());
        let methods = stack.top();
        for (name, function) in list {
            function_into(stack, vm, methods, name, *function);
        }
        stack.freeze(methods);
        stack.set_named(table, "__index");
    };
    let (conn, _) = metatable(&mut |stack, table| {
        methods(stack, table, channel::METHODS);
        function_into(stack, vm, table, c"__newindex", channel::assign);
    });
    let mut handle = |list| metatable(&mut |stack, table| methods(stack, table, list));
    Kept {
        base,
        array,
        integer,
        array_identity,
        integer_identity,
        conn,
        dictionary: handle(shared::METHODS),
        counter: handle(metrics::COUNTER),
        gauge: handle(metrics::GAUGE),
        histogram: handle(metrics::HISTOGRAM),
        user_key,
        channel_key,
        text,
        binary,
        less,
    }
}

/// `tostring` of an integer beyond 2^53.
fn show_integer(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    stack.element(1, 1);
    Ok(1)
}

fn same_integer(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    stack.set_top(2);
    stack.element(1, 1);
    stack.element(2, 1);
    let same = stack.bytes(3).is_some() && stack.bytes(3) == stack.bytes(4);
    stack.push_bool(same);
    Ok(1)
}

/// Pushes a new environment: globals of its own over the base.
pub(super) fn push_environment(stack: &mut Stack, kept: Kept) {
    stack.push_table(0, 8);
    let environment = stack.top();
    stack.push_copy(environment);
    stack.set_named(environment, "_G");
    stack.push_table(0, 3);
    let metatable = stack.top();
    stack.push_ref(kept.base);
    stack.set_named(metatable, "__index");
    stack.push_bool(false);
    stack.set_named(metatable, "__metatable");
    stack.set_metatable(environment);
    stack.set_safe_environment(environment);
}

/// The environment at that place is loaded: from now on a new global is told.
pub(super) fn watch_globals(stack: &mut Stack, vm: &Vm<World>, environment: i32) {
    if stack.metatable(environment) {
        let metatable = stack.top();
        function_into(stack, vm, metatable, c"__newindex", stray);
        stack.pop();
    }
}

/// A function assigns a global that was not there: works, but is probably a forgotten `local`.
fn stray(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    stack.set_top(3);
    let name = stack.text(2).unwrap_or("?").to_owned();
    stack.set_field(1);
    let (chunk, line) = stack.place();
    let script = world.path(&chunk);
    let found = Stray { script, line, name };
    if world.stray.borrow().len() < STRAY_MAX {
        let text = format!(
            "global {:?} is assigned in a function; if it is meant for this function alone, write local",
            found.name
        );
        let place = (found.script.clone(), line);
        world.stray.borrow_mut().push(found);
        world.record(Level::Warn, text, Vec::new(), place);
    }
    Ok(0)
}

/// Functions of Luau's base library that scripts see.
const FUNCTIONS: &[&str] = &[
    "_VERSION",
    "assert",
    "error",
    "getmetatable",
    "ipairs",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "typeof",
    "unpack",
    "xpcall",
];
/// Libraries that scripts see whole.
const LIBRARIES: &[&str] = &[
    "bit32",
    "buffer",
    "coroutine",
    "math",
    "string",
    "table",
    "utf8",
];
/// Globals that are told, of one state.
const STRAY_MAX: usize = 16;
