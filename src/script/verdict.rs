//! What a hook returned → a verdict, by the one rule: nothing or true goes on, false is no, a value replaces.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use super::convert::{channel, quoted, replaced};
use super::error::must_return;
use super::raw::{Stack, expired};
use super::value::{Kind, Raise};
use super::world::World;
use crate::pipeline::{Answer, BatchItem, BatchOutput, Change, ConnectVerdict, Verdict};
use crate::types::{ChannelName, Payload};

/// `on_connect`: results at `place`, `place + 1`, `place + 2`.
pub(super) fn connect(stack: &mut Stack, place: i32) -> Result<ConnectVerdict, Raise> {
    match (stack.kind(place), stack.number(place)) {
        (Kind::Nil, _) => Ok(ConnectVerdict::Pass),
        (Kind::Boolean, _) if stack.truthy(place) => Ok(ConnectVerdict::Pass),
        (Kind::Boolean, _) => Ok(refuse(403, String::new(), Vec::new())),
        (_, Some(status)) => {
            let status = (300_u16..=599)
                .find(|n| f64::from(*n) == status)
                .ok_or_else(|| {
                    Raise(format!("returned the status {status}; must be 300 to 599"))
                })?;
            let text = match (stack.kind(place + 1), stack.text(place + 1)) {
                (Kind::Nil, _) => String::new(),
                (_, Some(text)) => text.to_owned(),
                _ => {
                    let value = quoted(stack, place + 1);
                    return Err(Raise(format!(
                        "returned {value} as the refusal's text; must be UTF-8 text"
                    )));
                }
            };
            Ok(refuse(status, text, headers(stack, place + 2)?))
        }
        (kind, None) => Err(must_return(kind, "true, false or a status from 300 to 599")),
    }
}

const fn refuse(status: u16, text: String, headers: Vec<(String, String)>) -> ConnectVerdict {
    ConnectVerdict::Refuse(Answer {
        status,
        text,
        headers,
    })
}

/// The header fields of a refusal.
fn headers(stack: &mut Stack, place: i32) -> Result<Vec<(String, String)>, Raise> {
    let mut list = Vec::new();
    match stack.kind(place) {
        Kind::Nil | Kind::None => return Ok(list),
        Kind::Table => {}
        kind => {
            let kind = kind.described();
            return Err(Raise(format!(
                "returned {kind} as headers; must be a table"
            )));
        }
    }
    let mut from = 0;
    while let Some(next) = stack.next(place, from) {
        from = next;
        let value_at = stack.top();
        if stack.kind(value_at) == Kind::Number {
            stack.push_shown(value_at);
        } else {
            stack.push_copy(value_at);
        }
        let (Some(name), Some(value)) = (stack.text(value_at - 1), stack.text(value_at + 1)) else {
            let name = quoted(stack, value_at - 1);
            return Err(Raise(format!(
                "returned the header {name}: name and value must be strings"
            )));
        };
        let is_token = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let ours = [
            "connection",
            "content-length",
            "content-type",
            "date",
            "server",
            "transfer-encoding",
        ];
        if !is_token || ours.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            return Err(Raise(format!(
                "returned the header {name:?}: no header name, or one that wsd writes itself"
            )));
        }
        if value.bytes().any(|b| b.is_ascii_control()) {
            return Err(Raise(format!(
                "returned the header {name:?} with a control character in its value"
            )));
        }
        list.push((name.to_owned(), value.to_owned()));
        stack.set_top(value_at - 2);
    }
    list.sort();
    Ok(list)
}

/// `on_subscribe`
pub(super) fn subscribe(stack: &Stack, place: i32) -> Result<Verdict<Option<ChannelName>>, Raise> {
    match stack.kind(place) {
        Kind::Nil => Ok(Verdict::Pass(None)),
        Kind::Boolean if stack.truthy(place) => Ok(Verdict::Pass(None)),
        Kind::Boolean => Ok(Verdict::Drop),
        Kind::String => Ok(Verdict::Pass(Some(channel(stack, place, "returned")?))),
        kind => Err(must_return(kind, "true, false or a channel name")),
    }
}

/// `on_unsubscribe`, `on_disconnect`: there is nothing to decide.
pub(super) fn nothing(stack: &Stack, place: i32) -> Result<(), Raise> {
    match stack.kind(place) {
        Kind::Nil | Kind::Boolean => Ok(()),
        kind => Err(must_return(kind, "nothing")),
    }
}

/// `on_message`: results at `place` and `place + 1`; the message itself is still at `message`.
pub(super) fn message(
    stack: &mut Stack,
    world: &World,
    place: i32,
    message: i32,
    before: &Payload,
) -> Result<Verdict<Change>, Raise> {
    let payload = match stack.kind(place) {
        Kind::Boolean if !stack.truthy(place) => return Ok(Verdict::Drop),
        Kind::Nil | Kind::Boolean => None,
        // Luau has each string once: what comes back unchanged is the same one.
        Kind::String if stack.identity(place) == stack.identity(message) => None,
        Kind::String | Kind::Table => Some(replaced(stack, world, place, before.kind)?),
        kind => return Err(must_return(kind, "true, false, a string or a table")),
    };
    let channel = match stack.kind(place + 1) {
        Kind::Nil | Kind::None => None,
        Kind::Number => {
            return Err(
                "returned a number as the channel; of a call with two values, as gsub has, write return (text:gsub(…))"
                    .into(),
            );
        }
        _ => Some(channel(stack, place + 1, "returned")?),
    };
    Ok(Verdict::Pass(Change { payload, channel }))
}

/// `on_batch`: the result at `place`; an array of the inputs that Lua cannot reach at `inputs`.
pub(super) fn batch(
    stack: &mut Stack,
    world: &World,
    place: i32,
    inputs: i32,
    batch: &[BatchItem],
) -> Result<Verdict<Option<Vec<BatchOutput>>>, Raise> {
    const WANTED: &str = "true, false or an array of strings or tables";
    match stack.kind(place) {
        Kind::Nil => return Ok(Verdict::Pass(None)),
        Kind::Boolean if stack.truthy(place) => return Ok(Verdict::Pass(None)),
        Kind::Boolean => return Ok(Verdict::Drop),
        Kind::Table => {}
        kind => return Err(must_return(kind, WANTED)),
    }
    let length = stack.length(place);
    let top = stack.top();
    let mut sources = Sources::new(stack, inputs, batch.len());
    let mut outputs = Vec::with_capacity(length);
    let mut same = length == batch.len();
    for n in 1..=length {
        stack.element(place, n);
        let kind = stack.kind(top + 1);
        let source = (kind == Kind::String)
            .then(|| sources.take(stack.identity(top + 1)))
            .flatten();
        let input = source.and_then(|i| Some((i, batch.get(usize::try_from(i).ok()?)?)));
        same &= source.is_some_and(|i| usize::try_from(i).is_ok_and(|i| i + 1 == n));
        let payload = match (input, kind) {
            (Some((_, input)), _) => input.payload.clone(),
            (None, Kind::String | Kind::Table) => {
                super::convert::payload(stack, world, top + 1, "returned")?
            }
            (None, kind) => {
                let kind = kind.described();
                return Err(Raise(format!(
                    "returned an array whose element {n} is {kind}; must be {WANTED}"
                )));
            }
        };
        outputs.push(BatchOutput {
            payload,
            source: input.map(|(i, _)| i),
        });
        stack.set_top(top);
        if n % 1024 == 0 && expired() {
            return Err("stopped".into());
        }
    }
    let mut entries = 0;
    let mut from = 0;
    while let Some(next) = stack.next(place, from) {
        from = next;
        entries += 1;
        if entries > length || stack.kind(top + 1) != Kind::Number {
            let key = quoted(stack, top + 1);
            return Err(Raise(format!(
                "returned a table with the key {key}; must be {WANTED}"
            )));
        }
        stack.set_top(top);
    }
    if same {
        return Ok(Verdict::Pass(None));
    }
    Ok(Verdict::Pass(Some(outputs)))
}

/// Which inputs are left, by the identity of their string: each is used once, the first of equal ones first.
struct Sources {
    /// The first that is left of each string.
    first: HashMap<usize, u32, BuildHasherDefault<PointerHasher>>,
    /// The next equal one after each input; its own number if there is none.
    next: Vec<u32>,
}

impl Sources {
    fn new(stack: &mut Stack, inputs: i32, count: usize) -> Self {
        let mut first: HashMap<usize, u32, BuildHasherDefault<PointerHasher>> =
            HashMap::with_capacity_and_hasher(count, BuildHasherDefault::default());
        let mut next = vec![0; count];
        let top = stack.top();
        for i in (0..count).rev() {
            stack.element(inputs, i + 1);
            let identity = stack.identity(top + 1);
            stack.set_top(top);
            let number = u32::try_from(i).unwrap_or(u32::MAX);
            let after = match first.entry(identity) {
                Entry::Occupied(mut entry) => entry.insert(number),
                Entry::Vacant(entry) => *entry.insert(number),
            };
            if let Some(place) = next.get_mut(i) {
                *place = after;
            }
        }
        Self { first, next }
    }

    fn take(&mut self, identity: usize) -> Option<u32> {
        let number = *self.first.get(&identity)?;
        let after = *self.next.get(usize::try_from(number).ok()?)?;
        if after == number {
            self.first.remove(&identity);
        } else {
            self.first.insert(identity, after);
        }
        Some(number)
    }
}

/// Addresses differ in their middle bits; nobody outside chooses them.
#[derive(Default)]
struct PointerHasher(u64);

impl Hasher for PointerHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }
    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0 ^ n as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23);
    }
}
