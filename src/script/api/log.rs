//! `log.debug info warn error(text [, fields])`, and `print`.

use super::Entry;
use crate::config::Level;
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::stop::shorten;
use crate::script::value::{Kind, Raise};
use crate::script::world::World;

pub(super) const FUNCTIONS: &[Entry] = &[
    (c"debug", |stack, world| log(stack, world, Level::Debug)),
    (c"error", |stack, world| log(stack, world, Level::Error)),
    (c"info", |stack, world| log(stack, world, Level::Info)),
    (c"warn", |stack, world| log(stack, world, Level::Warn)),
];

fn log(stack: &mut Stack, world: &World, level: Level) -> Result<i32, Raise> {
    stack.set_top(2);
    stack.push_shown(1);
    let text = shorten(stack.bytes(3).unwrap_or_default());
    let fields = match stack.kind(2) {
        Kind::Nil => Vec::new(),
        Kind::Table => fields(stack)?,
        kind => {
            let kind = kind.described();
            return Err(Raise(format!(
                "log: the fields are {kind}; must be a table"
            )));
        }
    };
    world.log(stack, level, text, fields);
    Ok(0)
}

/// The table at place 2.
fn fields(stack: &mut Stack) -> Result<Vec<(String, String)>, Raise> {
    let mut list = Vec::new();
    let mut from = 0;
    while let Some(next) = stack.next(2, from) {
        from = next;
        let value = stack.top();
        let name = match stack.text(value - 1) {
            Some(name) if is_field(name) => name.to_owned(),
            _ => {
                let name = quoted(stack, value - 1);
                return Err(Raise(format!(
                    "log: the field {name}: must be 1 to 60 letters, digits or _"
                )));
            }
        };
        if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(Raise(format!("log: the field {name:?} is wsd's own")));
        }
        if list.len() == FIELDS_MAX {
            return Err("log: more than 16 fields".into());
        }
        match stack.kind(value) {
            Kind::String | Kind::Number | Kind::Boolean | Kind::Light => stack.push_shown(value),
            Kind::Table => {
                return Err(Raise(format!(
                    "log: the field {name:?} is a table; use json.encode"
                )));
            }
            kind => {
                let kind = kind.described();
                return Err(Raise(format!(
                    "log: the field {name:?} is {kind}; must be a string, number or boolean"
                )));
            }
        }
        let shown = shorten(stack.bytes(stack.top()).unwrap_or_default());
        list.push((name, shown));
        stack.set_top(value - 2);
    }
    list.sort();
    Ok(list)
}

fn is_field(name: &str) -> bool {
    (1..=60).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `print(…)`: an info line.
pub(super) fn print(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let arguments = stack.top();
    let mut line = Vec::new();
    for place in 1..=arguments {
        if place > 1 {
            line.push(b'\t');
        }
        stack.push_shown(place);
        line.extend_from_slice(stack.bytes(stack.top()).unwrap_or_default());
        stack.pop();
    }
    world.log(stack, Level::Info, shorten(&line), Vec::new());
    Ok(0)
}

/// What wsd adds itself.
const OURS: &[&str] = &[
    "channel",
    "conn",
    "generation",
    "hook",
    "line",
    "remote",
    "script",
    "user",
    "worker",
];
const FIELDS_MAX: usize = 16;
