//! `json`: text ⇄ Lua values, straight on the stack.
//!
//! `{}` is an object, a decoded array keeps a mark that makes it one again even when empty, `json.null` is a value of its
//! own, and an integer that a number cannot hold is a constant table of its digits with a metatable that shows it.

use super::Entry;
use super::json_text::{DEPTH_MAX, JsonError, Reader, Token};
use crate::script::data::push_integer;
use crate::script::raw::{Stack, expired};
use crate::script::value::{Kind, Raise};
use crate::script::world::{Kept, World};

pub(super) const FUNCTIONS: &[Entry] = &[
    (c"array", array),
    (c"decode", decode),
    (c"encode", encode),
    (c"get", get),
];

/// `json.array(t)`: the table, marked, so that it is an array even when empty.
fn array(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let kept = world.kept()?;
    match stack.kind(1) {
        Kind::Table => {}
        Kind::None | Kind::Nil => {
            stack.set_top(0);
            stack.push_table(0, 0);
        }
        kind => {
            let kind = kind.described();
            return Err(Raise(format!(
                "json.array: is given {kind}; must be a table"
            )));
        }
    }
    stack.set_top(1);
    if stack.metatable(1) {
        let known = stack.identity(2) == kept.array_identity;
        stack.pop();
        if !known {
            return Err("json.array: the table has a metatable of its own".into());
        }
        return Ok(1);
    }
    stack.push_ref(kept.array);
    stack.set_metatable(1);
    Ok(1)
}

/// `json.decode(text)` → value, or nil and why.
fn decode(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let kept = world.kept()?;
    let Some(text) = stack.bytes(1) else {
        let kind = stack.kind(1).described();
        return Err(Raise(format!(
            "json.decode: is given {kind}; must be a string"
        )));
    };
    let text = text.to_vec();
    stack.set_top(1);
    let result = Reader::new(&text).and_then(|mut reader| {
        value(stack, kept, &mut reader)?;
        reader.finish()
    });
    Ok(answer(stack, result))
}

/// Pushes the value that a text is, or says why it is none.
pub(in crate::script) fn push_decoded(
    stack: &mut Stack,
    kept: Kept,
    text: &[u8],
) -> Result<(), String> {
    Reader::new(text)
        .and_then(|mut reader| {
            value(stack, kept, &mut reader)?;
            reader.finish()
        })
        .map_err(|error| error.to_string())
}

/// The topmost value, or nil and why.
fn answer(stack: &mut Stack, result: Result<(), JsonError>) -> i32 {
    match result {
        Ok(()) => 1,
        Err(error) => {
            stack.set_top(1);
            stack.push_nil();
            stack.push_bytes(error.to_string().as_bytes());
            2
        }
    }
}

/// Pushes the value that comes next.
fn value(stack: &mut Stack, kept: Kept, reader: &mut Reader<'_>) -> Result<(), JsonError> {
    match reader.token()? {
        Token::Null => stack.push_null(),
        Token::True => stack.push_bool(true),
        Token::False => stack.push_bool(false),
        Token::String => stack.push_bytes(&reader.string()?),
        Token::Number => {
            let (text, is_integer) = reader.number()?;
            if !number(stack, kept, text, is_integer) {
                return reader.error("a number that no double can hold");
            }
        }
        Token::Array => {
            stack.push_table(0, 0);
            let table = stack.top();
            let mut more = reader.open(b']')?;
            let mut n = 0;
            while more {
                n += 1;
                value(stack, kept, reader)?;
                stack.set_element(table, n);
                more = reader.more(b']')? && !(n % 1024 == 0 && expired());
            }
            stack.push_ref(kept.array);
            stack.set_metatable(table);
        }
        Token::Object => {
            stack.push_table(0, 0);
            let table = stack.top();
            let mut more = reader.open(b'}')?;
            let mut count = 0;
            while more {
                let key = reader.key(count)?;
                count += 1;
                stack.push_bytes(&key);
                value(stack, kept, reader)?;
                stack.set_field(table);
                more = reader.more(b'}')?;
            }
        }
    }
    Ok(())
}

fn number(stack: &mut Stack, kept: Kept, text: &str, is_integer: bool) -> bool {
    // The grammar is Rust's as well, so it parses; what is too large is infinite.
    let number: f64 = text.parse().unwrap_or(0.0);
    // The integer after 2^53 is rounded to it, so the digits decide.
    if is_integer && number.abs() >= EXACT && text.trim_start_matches('-') != EXACT_DIGITS {
        push_integer(stack, kept, text.as_bytes());
    } else if number.is_finite() {
        stack.push_number(number);
    } else {
        return false;
    }
    true
}

/// `json.get(text, "a.b")` → that field if it is no object or array, else nil and why.
fn get(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let kept = world.kept()?;
    let (Some(text), Some(path)) = (stack.bytes(1), stack.bytes(2)) else {
        return Err("json.get: must be given two strings, the text and a path like \"a.b\"".into());
    };
    let (text, path) = (text.to_vec(), path.to_vec());
    stack.set_top(1);
    let mut found = None;
    let result = Reader::new(&text).and_then(|mut reader| {
        let mut path = path.split(|byte| *byte == b'.');
        let first = path.next();
        find(&mut reader, first, &path, &mut found)?;
        reader.finish()?;
        let Some(mark) = found else {
            stack.push_nil();
            return Ok(());
        };
        reader.go_back(mark);
        match reader.token()? {
            Token::Array | Token::Object => stack.push_nil(),
            _ => {
                reader.go_back(mark);
                value(stack, kept, &mut reader)?;
            }
        }
        Ok(())
    });
    if result.is_ok() && stack.kind(2) == Kind::Nil {
        let why: &[u8] = if found.is_some() {
            b"the field is an object or array"
        } else {
            b"no such field"
        };
        stack.push_bytes(why);
        return Ok(2);
    }
    Ok(answer(stack, result))
}

/// Reads a value to its end and notes where the field of that path begins; the last of a name counts, as for `decode`.
fn find<'p>(
    reader: &mut Reader<'_>,
    name: Option<&'p [u8]>,
    path: &(impl Iterator<Item = &'p [u8]> + Clone),
    found: &mut Option<usize>,
) -> Result<(), JsonError> {
    let Some(name) = name else {
        *found = Some(reader.mark());
        reader.skip()?;
        return Ok(());
    };
    *found = None;
    let mark = reader.mark();
    if reader.token()? != Token::Object {
        reader.go_back(mark);
        reader.skip()?;
        return Ok(());
    }
    let mut count = 0;
    let mut more = reader.open(b'}')?;
    while more {
        let key = reader.key(count)?;
        count += 1;
        if *key == *name {
            let mut path = path.clone();
            let next = path.next();
            find(reader, next, &path, found)?;
        } else {
            reader.skip()?;
        }
        more = reader.more(b'}')?;
    }
    Ok(())
}

/// `json.encode(v)` → text.
fn encode(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    if stack.kind(1) == Kind::None {
        return Err("json.encode: must be given a value".into());
    }
    stack.set_top(1);
    let text = encode_value(stack, world, 1)
        .map_err(|error| Raise(format!("json.encode: {}", error.0)))?;
    stack.push_bytes(&text);
    Ok(1)
}

/// The value at `place` as JSON text.
pub(in crate::script) fn encode_value(
    stack: &mut Stack,
    world: &World,
    place: i32,
) -> Result<Vec<u8>, Raise> {
    let mut writer = Writer {
        out: Vec::with_capacity(128),
        kept: world.kept()?,
        values: 0,
    };
    writer.value(stack, place, 0)?;
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
    kept: Kept,
    values: usize,
}

impl Writer {
    fn value(&mut self, stack: &mut Stack, place: i32, depth: usize) -> Result<(), Raise> {
        self.values += 1;
        if self.values.is_multiple_of(1024) && expired() {
            return Err("stopped".into());
        }
        if self.out.len() > BYTES_MAX {
            return Err("the text is longer than 16 MiB".into());
        }
        match stack.kind(place) {
            Kind::Nil | Kind::None | Kind::Light => self.out.extend_from_slice(b"null"),
            Kind::Boolean if stack.truthy(place) => self.out.extend_from_slice(b"true"),
            Kind::Boolean => self.out.extend_from_slice(b"false"),
            Kind::Number => self.number(stack.number(place).unwrap_or(0.0))?,
            Kind::String => self.string(stack.bytes(place).unwrap_or_default())?,
            Kind::Table => self.table(stack, place, depth)?,
            kind @ (Kind::Function | Kind::Other(_)) => {
                return Err(Raise(format!("{} cannot be JSON", kind.described())));
            }
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
    fn number(&mut self, number: f64) -> Result<(), Raise> {
        use std::io::Write as _;
        // Writing to a vector cannot fail.
        let _ = if !number.is_finite() {
            return Err(Raise(format!("the number {number} cannot be JSON")));
        } else if number.fract() == 0.0 && number.abs() <= EXACT {
            write!(self.out, "{}", number as i64)
        } else if number.abs() > EXACT || number.abs() < 1e-7 {
            // With an exponent it comes back as the double that it is, not as an exact integer.
            write!(self.out, "{number:e}")
        } else {
            write!(self.out, "{number}")
        };
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), Raise> {
        if simdutf8::basic::from_utf8(bytes).is_err() {
            return Err("a string that is not UTF-8 cannot be JSON".into());
        }
        self.out.push(b'"');
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let short = match byte {
                b'"' => b'"',
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0..0x20 => 0,
                _ => continue,
            };
            self.out
                .extend_from_slice(bytes.get(start..at).unwrap_or_default());
            if short == 0 {
                self.out
                    .extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            } else {
                self.out.extend_from_slice(&[b'\\', short]);
            }
            start = at + 1;
        }
        self.out
            .extend_from_slice(bytes.get(start..).unwrap_or_default());
        self.out.push(b'"');
        Ok(())
    }

    fn table(&mut self, stack: &mut Stack, place: i32, depth: usize) -> Result<(), Raise> {
        if depth >= DEPTH_MAX {
            return Err("more than 100 levels, or a table that contains itself".into());
        }
        let mut is_array = stack.length(place) > 0;
        if stack.metatable(place) {
            let metatable = stack.identity(stack.top());
            stack.pop();
            if metatable == self.kept.integer_identity {
                stack.element(place, 1);
                let digits = stack.bytes(stack.top()).unwrap_or_default();
                self.out.extend_from_slice(digits);
                stack.pop();
                return Ok(());
            }
            is_array |= metatable == self.kept.array_identity;
        }
        if is_array {
            self.array(stack, place, depth)
        } else {
            self.object(stack, place, depth)
        }
    }

    fn array(&mut self, stack: &mut Stack, place: i32, depth: usize) -> Result<(), Raise> {
        let length = stack.length(place);
        self.out.push(b'[');
        for n in 1..=length {
            if n > 1 {
                self.out.push(b',');
            }
            stack.element(place, n);
            let top = stack.top();
            if stack.kind(top) == Kind::Nil {
                // Whether it counts to the end is up to Luau: what is meant must be said.
                return Err(Raise(format!(
                    "a list with a hole at {n} cannot be JSON; json.null stands for null"
                )));
            }
            self.value(stack, top, depth + 1)?;
            stack.pop();
        }
        self.out.push(b']');
        let mut entries = 0;
        let mut from = 0;
        while let Some(next) = stack.next(place, from) {
            from = next;
            entries += 1;
            let key = stack.top() - 1;
            if stack.kind(key) != Kind::Number || entries > length {
                let key = crate::script::convert::quoted(stack, key);
                return Err(Raise(format!(
                    "a list that also has the key {key} cannot be JSON"
                )));
            }
            stack.set_top(key - 1);
        }
        Ok(())
    }

    fn object(&mut self, stack: &mut Stack, place: i32, depth: usize) -> Result<(), Raise> {
        self.out.push(b'{');
        let mut from = 0;
        let mut comma = false;
        while let Some(next) = stack.next(place, from) {
            from = next;
            let value = stack.top();
            let Some(key) = stack.bytes(value - 1) else {
                let key = crate::script::convert::quoted(stack, value - 1);
                return Err(Raise(format!(
                    "an object with the key {key} cannot be JSON; keys must be strings"
                )));
            };
            if comma {
                self.out.push(b',');
            }
            comma = true;
            self.string(key)?;
            self.out.push(b':');
            self.value(stack, value, depth + 1)?;
            stack.set_top(value - 2);
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// 2^53: beyond it a number skips integers.
const EXACT: f64 = 9_007_199_254_740_992.0;
const EXACT_DIGITS: &str = "9007199254740992";
/// Of an encoded text.
const BYTES_MAX: usize = 16 << 20;
