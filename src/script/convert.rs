//! Lua values ⇄ the types of the house, with messages that say what would be right.

use std::borrow::Cow;

use super::api::json;
use super::raw::Stack;
use super::value::{Kind, Raise};
use super::world::World;
use crate::pipeline::kind_for;
use crate::types::{ChannelName, Kind as MessageKind, Payload};
use crate::wire::Upgrade;

/// A channel that a script names; `what` is the function or field.
pub(super) fn channel(stack: &Stack, place: i32, what: &str) -> Result<ChannelName, Raise> {
    let Some(bytes) = stack.bytes(place) else {
        let kind = stack.kind(place).described();
        return Err(Raise(format!(
            "{what}: the channel is {kind}; must be a string"
        )));
    };
    let Ok(name) = std::str::from_utf8(bytes) else {
        let value = quoted(stack, place);
        return Err(Raise(format!("{what}: channel {value}: is not UTF-8")));
    };
    ChannelName::public(name)
        .map_err(|error| Raise(format!("{what}: channel {}: {error}", quoted(stack, place))))
}

/// An argument that must be a string; `what` is the function, `name` the argument.
pub(super) fn argument<'s>(
    stack: &'s Stack,
    place: i32,
    what: &str,
    name: &str,
) -> Result<&'s [u8], Raise> {
    stack.bytes(place).ok_or_else(|| {
        let kind = stack.kind(place).described();
        Raise(format!("{what}: {name} is {kind}; must be a string"))
    })
}

/// What a script gives to be sent: a string, or a table as JSON.
pub(super) fn payload(
    stack: &mut Stack,
    world: &World,
    place: i32,
    what: &str,
) -> Result<Payload, Raise> {
    match stack.kind(place) {
        Kind::String => {
            let data = stack.bytes(place).unwrap_or_default().to_vec();
            Ok(Payload::guess(data.into()))
        }
        Kind::Table => {
            let text = json::encode_value(stack, world, place)
                .map_err(|error| Raise(format!("{what}: {}", error.0)))?;
            Ok(Payload {
                kind: MessageKind::Text,
                data: text.into(),
            })
        }
        kind => Err(Raise(format!(
            "{what}: the message is {}; must be a string or a table",
            kind.described()
        ))),
    }
}

/// What a hook returned instead of a message of kind `before`.
pub(super) fn replaced(
    stack: &mut Stack,
    world: &World,
    place: i32,
    before: MessageKind,
) -> Result<Payload, Raise> {
    if let Some(bytes) = stack.bytes(place) {
        let kind = kind_for(before, bytes);
        let data = bytes.to_vec().into();
        return Ok(Payload { kind, data });
    }
    payload(stack, world, place, "returned")
}

/// A value for messages: a string in quotes and cut, anything else by its kind.
pub(super) fn quoted(stack: &Stack, place: i32) -> String {
    let Some(bytes) = stack.bytes(place) else {
        return match (stack.kind(place), stack.number(place)) {
            (_, Some(number)) => number.to_string(),
            (kind, None) => kind.described(),
        };
    };
    let text = String::from_utf8_lossy(bytes);
    if text.chars().count() > QUOTED_MAX {
        let start: String = text.chars().take(QUOTED_MAX).collect();
        format!("{:?}", start + "…")
    } else {
        format!("{text:?}")
    }
}

/// Header fields by name, repeated ones joined.
pub(super) fn headers(upgrade: &Upgrade) -> Vec<(&[u8], Cow<'_, [u8]>)> {
    let mut list: Vec<(&[u8], Cow<'_, [u8]>)> = Vec::with_capacity(upgrade.headers.len());
    for (name, value) in &upgrade.headers {
        match list.iter_mut().find(|(known, _)| *known == name.as_bytes()) {
            Some((_, values)) => {
                let values = values.to_mut();
                values.extend_from_slice(b", ");
                values.extend_from_slice(value);
            }
            None => list.push((name.as_bytes(), Cow::Borrowed(value))),
        }
    }
    list
}

/// The pairs of a query, decoded, the last of a name taken out: the first counts.
pub(super) fn query(query: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for pair in query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(PAIRS_MAX)
    {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name);
        if !list.iter().any(|(known, _)| *known == name) {
            list.push((name, decode(value)));
        }
    }
    list
}

/// The cookies of all Cookie fields (RFC 6265 §4.2.1); the first of a name counts.
pub(super) fn cookies(upgrade: &Upgrade) -> Vec<(&[u8], &[u8])> {
    let mut list: Vec<(&[u8], &[u8])> = Vec::new();
    let fields = upgrade.headers.iter().filter(|(name, _)| name == "cookie");
    for pair in fields
        .flat_map(|(_, value)| value.split(|byte| *byte == b';'))
        .take(PAIRS_MAX)
    {
        let Some(at) = memchr::memchr(b'=', pair) else {
            continue;
        };
        let (name, value) = pair.split_at(at);
        let (name, value) = (
            name.trim_ascii(),
            value.get(1..).unwrap_or_default().trim_ascii(),
        );
        let value = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""))
            .unwrap_or(value);
        if !name.is_empty() && !list.iter().any(|(known, _)| *known == name) {
            list.push((name, value));
        }
    }
    list
}

/// `+` and `%41` (application/x-www-form-urlencoded); what is no escape stays.
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digit = |n: usize| char::from(*after.get(n)?).to_digit(16);
        match (byte, digit(0), digit(1)) {
            (b'+', _, _) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = after.get(2..).unwrap_or_default();
            }
            _ => out.push(byte),
        }
    }
    out
}

/// Characters of a value in a message.
const QUOTED_MAX: usize = 64;
/// Pairs of a query or of cookies: more are left out.
const PAIRS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(headers: &[(&str, &str)]) -> Upgrade {
        Upgrade {
            path: "/".into(),
            query: String::new(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), value.as_bytes().to_vec()))
                .collect(),
            protocols: Vec::new(),
            accept: String::new(),
            deflate: None,
        }
    }

    #[test]
    fn a_query_is_decoded_and_the_first_of_a_name_counts() {
        let pairs = query("a=1&b=x+y%21&a=2&&c&%zz=%4");
        let pair = |k: &str, v: &str| (k.as_bytes().to_vec(), v.as_bytes().to_vec());
        assert_eq!(
            pairs,
            [
                pair("a", "1"),
                pair("b", "x y!"),
                pair("c", ""),
                pair("%zz", "%4")
            ]
        );
    }

    #[test]
    fn repeated_headers_are_joined_and_cookies_taken_apart() {
        let request = upgrade(&[
            ("cookie", "a=1; b=\"two\""),
            ("x-id", "1"),
            ("x-id", "2"),
            ("cookie", "a=3; =x; c"),
        ]);
        let joined = headers(&request);
        assert!(joined.iter().any(|(k, v)| *k == b"x-id" && **v == *b"1, 2"));
        assert_eq!(cookies(&request), [(&b"a"[..], &b"1"[..]), (b"b", b"two")]);
    }
}
