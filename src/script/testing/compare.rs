//! `t.eq(got, expected [, "json"])`: by content, with both shown where they differ.

use crate::script::raw::Stack;
use crate::script::value::{Kind, Raise};
use crate::script::world::World;

/// Raises unless both are the same; with `"json"` strings are compared as the values that they write.
pub(super) fn eq(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let json = stack.bytes(3) == Some(b"json");
    stack.set_top(2);
    let (got, expected) = if json {
        (parsed(stack, 1)?, parsed(stack, 2)?)
    } else {
        (shown(stack, 1, 0)?, shown(stack, 2, 0)?)
    };
    if got == expected {
        Ok(0)
    } else {
        Err(Raise(format!("expected {expected}, got {got}")))
    }
}

fn parsed(stack: &mut Stack, place: i32) -> Result<String, Raise> {
    let Some(text) = stack.bytes(place) else {
        return shown(stack, place, 0);
    };
    let value: Result<serde_json::Value, _> = serde_json::from_slice(text);
    // Its objects are sorted by key.
    Ok(value.map_or_else(
        |_| format!("{:?}", String::from_utf8_lossy(text)),
        |value| value.to_string(),
    ))
}

/// A value as text that is the same for the same content.
fn shown(stack: &mut Stack, place: i32, depth: usize) -> Result<String, Raise> {
    if depth > 32 {
        return Err("t.eq: more than 32 levels, or a table that contains itself".into());
    }
    Ok(match stack.kind(place) {
        Kind::Nil | Kind::None => "nil".into(),
        Kind::Boolean => stack.truthy(place).to_string(),
        Kind::Number => stack
            .number(place)
            .map_or_else(String::new, |n| n.to_string()),
        Kind::String => {
            let bytes = stack.bytes(place).unwrap_or_default();
            match std::str::from_utf8(bytes) {
                Ok(text) => format!("{text:?}"),
                Err(_) => format!("\"{}\"", bytes.escape_ascii()),
            }
        }
        Kind::Table => {
            let length = stack.length(place);
            let mut parts = Vec::new();
            for n in 1..=length {
                stack.element(place, n);
                let top = stack.top();
                parts.push(shown(stack, top, depth + 1)?);
                stack.pop();
            }
            let mut fields = Vec::new();
            let mut from = 0;
            while let Some(next) = stack.next(place, from) {
                from = next;
                let value = stack.top();
                let index = stack.number(value - 1);
                let is_element = index.is_some_and(|n| {
                    n.fract() == 0.0 && n >= 1.0 && exact(length).is_some_and(|last| n <= last)
                });
                if !is_element {
                    let key = shown(stack, value - 1, depth + 1)?;
                    let content = shown(stack, value, depth + 1)?;
                    fields.push(format!("[{key}] = {content}"));
                }
                stack.set_top(value - 2);
            }
            fields.sort();
            parts.append(&mut fields);
            format!("{{{}}}", parts.join(", "))
        }
        kind => kind.described(),
    })
}

/// A small number of elements as Lua counts them.
fn exact(n: usize) -> Option<f64> {
    u32::try_from(n).ok().map(f64::from)
}
