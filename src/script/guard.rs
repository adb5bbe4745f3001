//! Library functions that the interrupt cannot reach, kept from running long.
//!
//! Luau's plain `string.find` and `string.split` compare byte by byte, quadratic in the worst case, and `table.sort`
//! without a function calls nothing in between. Each guard stands before the library's own function, which it calls in
//! its own frame wherever that is quick. `sandbox.rs` puts them in.

use std::ffi::CStr;

use super::raw::{HostFunction, Stack, expired};
use super::value::{Kind, Raise};
use super::world::World;

/// Library, name and function of each.
pub(super) const GUARDS: &[(&str, &CStr, HostFunction<World>)] = &[
    ("string", c"find", find),
    ("string", c"split", split),
    ("table", c"sort", sort),
];

/// `string.find`: what is plain and large goes to a search that is linear.
fn find(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    if stack.length(1).saturating_mul(stack.length(2)) <= LARGE {
        return Ok(stack.original());
    }
    let from = match (stack.kind(3), stack.number(3)) {
        (Kind::None | Kind::Nil, _) => 1.0,
        (_, Some(from)) => from.trunc(),
        (kind, None) => {
            let kind = kind.name();
            return Err(Raise(format!(
                "invalid argument #3 to 'find' (number expected, got {kind})"
            )));
        }
    };
    let plain = stack.truthy(4);
    let (Some(text), Some(needle)) = (stack.bytes(1), stack.bytes(2)) else {
        return Ok(stack.original());
    };
    if !plain && needle.iter().any(|byte| SPECIAL.contains(byte)) {
        return Ok(stack.original());
    }
    let back = whole(from.abs());
    let start = if from >= 1.0 {
        back - 1
    } else if from < 0.0 {
        text.len().saturating_sub(back)
    } else {
        0
    };
    let found = text
        .get(start..)
        .and_then(|rest| memchr::memmem::find(rest, needle))
        .map(|at| (start + at + 1, start + at + needle.len()));
    if let Some((first, last)) = found {
        stack.push_count(first);
        stack.push_count(last);
        return Ok(2);
    }
    stack.push_nil();
    Ok(1)
}

/// `string.split`: the same.
fn split(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let width = stack.length(2);
    if width < 2 || stack.length(1).saturating_mul(width) <= LARGE {
        return Ok(stack.original());
    }
    let (Some(text), Some(needle)) = (stack.bytes(1), stack.bytes(2)) else {
        return Ok(stack.original());
    };
    let (text, needle) = (text.to_vec(), needle.to_vec());
    stack.set_top(2);
    stack.push_table(0, 0);
    let mut pieces = 0;
    let mut start = 0;
    for at in memchr::memmem::find_iter(&text, &needle) {
        pieces += 1;
        stack.push_bytes(text.get(start..at).unwrap_or_default());
        stack.set_element(3, pieces);
        start = at + needle.len();
        if pieces % 1024 == 0 && expired() {
            break; // the interrupt strikes when this returns
        }
    }
    stack.push_bytes(text.get(start..).unwrap_or_default());
    stack.set_element(3, pieces + 1);
    Ok(1)
}

/// `table.sort`: a large table gets a function to compare with, which can be stopped.
fn sort(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    if stack.length(1) > SORT_LARGE && !stack.truthy(2) {
        stack.set_top(1);
        stack.push_ref(world.kept()?.less);
    }
    Ok(stack.original())
}

/// `a < b` for numbers and for strings, and an end for a sort whose time is up.
pub(super) fn less(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    if expired() {
        return Err("stopped".into());
    }
    let less = match (stack.number(1), stack.number(2)) {
        (Some(a), Some(b)) => a < b,
        _ => match (stack.bytes(1), stack.bytes(2)) {
            (Some(a), Some(b)) => a < b,
            _ => {
                let (a, b) = (stack.kind(1).name(), stack.kind(2).name());
                return Err(Raise(format!("attempt to compare {a} < {b}")));
            }
        },
    };
    stack.push_bool(less);
    Ok(1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; what is too large is past every text"
)]
const fn whole(n: f64) -> usize {
    n as usize
}

/// Text times needle that takes Luau's own search about 50 µs at most.
const LARGE: usize = 64 << 10;
/// Sorting so many numbers takes about 10 ms.
const SORT_LARGE: usize = 100_000;
/// What makes a text a pattern.
const SPECIAL: &[u8] = b"^$*+?.([%-";
