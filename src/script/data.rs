//! `conn.data` ⇄ bytes: how it outlives a state, a generation and a process.
//!
//! The first byte is the version, 1. A value is a tag and its content, numbers little-endian:
//! `0` nil · `1` false · `2` true · `3` f64 · `4` string (u32 length, bytes) · `5` table (u32 entries, keys and values by
//! turns) · `6` the same, marked as a JSON array · `7` json.null · `8` exact integer (as a string). Keys are booleans,
//! numbers or strings. Whoever wrote the bytes, reading them ends in a value or an error.

use super::raw::Stack;
use super::value::Kind;
use super::world::Kept;

/// Bytes that are no `conn.data`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum DataError {
    #[error("conn.data: bytes are missing at the end")]
    Short,
    #[error("conn.data: more than 16 tables in one another")]
    Deep,
    #[error("conn.data: a key that is no boolean, number or string")]
    Key,
    #[error("conn.data: bytes after the end")]
    Long,
    #[error("conn.data: an unknown kind of value")]
    Tag,
    #[error("conn.data: of a version that this wsd does not know")]
    Version,
}

/// The value at `place` as bytes, `None` if there is nothing in it; and the first thing that cannot go along.
pub(super) fn export(
    stack: &mut Stack,
    kept: Kept,
    place: i32,
) -> (Option<Box<[u8]>>, Option<String>) {
    let mut writer = Writer {
        bytes: vec![VERSION],
        kept,
        above: Vec::new(),
        left: None,
    };
    let fits = writer.value(stack, place, "data");
    let empty = writer.bytes.get(1) == Some(&TABLE) && writer.bytes.len() == 6;
    let bytes = (fits && !empty).then(|| writer.bytes.into_boxed_slice());
    (bytes, writer.left)
}

struct Writer {
    bytes: Vec<u8>,
    kept: Kept,
    /// The tables around the present value.
    above: Vec<usize>,
    left: Option<String>,
}

impl Writer {
    /// Appends a value; false if it is left behind.
    fn value(&mut self, stack: &mut Stack, place: i32, name: &str) -> bool {
        let before = self.bytes.len();
        let written = match stack.kind(place) {
            Kind::Nil | Kind::None => self.tag(NIL),
            Kind::Boolean => self.tag(if stack.truthy(place) { TRUE } else { FALSE }),
            Kind::Light => self.tag(NULL),
            Kind::Number => {
                self.tag(NUMBER);
                let number = stack.number(place).unwrap_or(0.0);
                self.bytes.extend_from_slice(&number.to_le_bytes());
                true
            }
            Kind::String => self.string(STRING, stack.bytes(place).unwrap_or_default()),
            Kind::Table => self.table(stack, place, name),
            Kind::Function | Kind::Other(_) => false,
        };
        if written && self.bytes.len() <= BYTES_MAX {
            return true;
        }
        self.bytes.truncate(before);
        if self.left.is_none() {
            let kind = stack.kind(place).described();
            self.left = Some(format!("{name:?} ({kind})"));
        }
        false
    }

    fn tag(&mut self, tag: u8) -> bool {
        self.bytes.push(tag);
        true
    }

    fn string(&mut self, tag: u8, bytes: &[u8]) -> bool {
        let Ok(length) = u32::try_from(bytes.len()) else {
            return false;
        };
        if bytes.len() > BYTES_MAX {
            return false;
        }
        self.tag(tag);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        true
    }

    fn table(&mut self, stack: &mut Stack, place: i32, name: &str) -> bool {
        let identity = stack.identity(place);
        if self.above.len() >= DEPTH_MAX || self.above.contains(&identity) {
            return false;
        }
        let mut tag = TABLE;
        if stack.metatable(place) {
            let metatable = stack.identity(stack.top());
            stack.pop();
            if metatable == self.kept.integer_identity {
                stack.element(place, 1);
                let written = self.string(INTEGER, stack.bytes(stack.top()).unwrap_or_default());
                stack.pop();
                return written;
            }
            if metatable == self.kept.array_identity {
                tag = ARRAY;
            }
        }
        self.above.push(identity);
        self.tag(tag);
        let count_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let mut count = 0_u32;
        let mut from = 0;
        while let Some(next) = stack.next(place, from) {
            from = next;
            let value = stack.top();
            let key = value - 1;
            let before = self.bytes.len();
            let shown = match stack.kind(key) {
                Kind::String => stack.text(key).unwrap_or("a field").to_owned(),
                Kind::Number => stack
                    .number(key)
                    .map_or_else(String::new, |n| n.to_string()),
                _ => name.to_owned(),
            };
            let plain = matches!(stack.kind(key), Kind::Boolean | Kind::Number | Kind::String);
            if plain && self.value(stack, key, &shown) {
                if self.value(stack, value, &shown) {
                    count += 1;
                } else {
                    self.bytes.truncate(before);
                }
            } else if !plain && self.left.is_none() {
                self.left = Some(format!(
                    "a key of {name:?} ({})",
                    stack.kind(key).described()
                ));
            }
            stack.set_top(key - 1);
        }
        self.above.pop();
        if let Some(place) = self.bytes.get_mut(count_at..count_at + 4) {
            place.copy_from_slice(&count.to_le_bytes());
        }
        true
    }
}

/// Whether the bytes can be read.
pub(super) fn check(bytes: &[u8]) -> Result<(), DataError> {
    read(bytes, &mut Discard)
}

/// Pushes the value.
pub(super) fn push(stack: &mut Stack, kept: Kept, bytes: &[u8]) -> Result<(), DataError> {
    let top = stack.top();
    let result = read(bytes, &mut Push { stack, kept });
    if result.is_err() {
        stack.set_top(top);
    }
    result
}

/// What becomes of the values that are read, in order.
trait Sink {
    fn value(&mut self, value: Plain<'_>);
    fn begin(&mut self, entries: usize);
    /// A key and a value were given.
    fn entry(&mut self);
    fn end(&mut self, is_array: bool);
}

/// A value that is no table.
enum Plain<'a> {
    Nil,
    Boolean(bool),
    Number(f64),
    String(&'a [u8]),
    Null,
    Integer(&'a [u8]),
}

struct Discard;

impl Sink for Discard {
    fn value(&mut self, _: Plain<'_>) {}
    fn begin(&mut self, _: usize) {}
    fn entry(&mut self) {}
    fn end(&mut self, _: bool) {}
}

struct Push<'a> {
    stack: &'a mut Stack,
    kept: Kept,
}

impl Sink for Push<'_> {
    fn value(&mut self, value: Plain<'_>) {
        match value {
            Plain::Nil => self.stack.push_nil(),
            Plain::Boolean(value) => self.stack.push_bool(value),
            Plain::Number(value) => self.stack.push_number(value),
            Plain::String(bytes) => self.stack.push_bytes(bytes),
            Plain::Null => self.stack.push_null(),
            Plain::Integer(digits) => push_integer(self.stack, self.kept, digits),
        }
    }
    fn begin(&mut self, entries: usize) {
        self.stack.push_table(0, entries);
    }
    fn entry(&mut self) {
        let table = self.stack.top() - 2;
        self.stack.set_field(table);
    }
    fn end(&mut self, is_array: bool) {
        if is_array {
            let table = self.stack.top();
            self.stack.push_ref(self.kept.array);
            self.stack.set_metatable(table);
        }
    }
}

/// Pushes an integer that a number cannot hold.
pub(super) fn push_integer(stack: &mut Stack, kept: Kept, digits: &[u8]) {
    stack.push_table(1, 0);
    let table = stack.top();
    stack.push_bytes(digits);
    stack.set_element(table, 1);
    stack.push_ref(kept.integer);
    stack.set_metatable(table);
    stack.freeze(table);
}

fn read(bytes: &[u8], sink: &mut impl Sink) -> Result<(), DataError> {
    let mut reader = Reader { rest: bytes };
    if reader.byte()? != VERSION {
        return Err(DataError::Version);
    }
    reader.value(sink, 0)?;
    if reader.rest.is_empty() {
        Ok(())
    } else {
        Err(DataError::Long)
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], DataError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(DataError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, DataError> {
        self.take(1)?.first().copied().ok_or(DataError::Short)
    }

    fn count(&mut self) -> Result<usize, DataError> {
        let bytes = self.take(4)?.try_into().map_err(|_| DataError::Short)?;
        usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| DataError::Short)
    }

    fn value(&mut self, sink: &mut impl Sink, depth: usize) -> Result<(), DataError> {
        let plain = match self.byte()? {
            NIL => Plain::Nil,
            FALSE => Plain::Boolean(false),
            TRUE => Plain::Boolean(true),
            NULL => Plain::Null,
            NUMBER => {
                let bytes = self.take(8)?.try_into().map_err(|_| DataError::Short)?;
                Plain::Number(f64::from_le_bytes(bytes))
            }
            STRING => {
                let length = self.count()?;
                Plain::String(self.take(length)?)
            }
            INTEGER => {
                let length = self.count()?;
                let digits = self.take(length)?;
                let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
                if unsigned.is_empty() || !unsigned.iter().all(u8::is_ascii_digit) {
                    return Err(DataError::Tag);
                }
                Plain::Integer(digits)
            }
            tag @ (TABLE | ARRAY) => return self.table(sink, depth, tag == ARRAY),
            _ => return Err(DataError::Tag),
        };
        sink.value(plain);
        Ok(())
    }

    fn table(
        &mut self,
        sink: &mut impl Sink,
        depth: usize,
        is_array: bool,
    ) -> Result<(), DataError> {
        if depth >= DEPTH_MAX {
            return Err(DataError::Deep);
        }
        let entries = self.count()?;
        // An entry has two bytes at least.
        if entries > self.rest.len() / 2 {
            return Err(DataError::Short);
        }
        sink.begin(entries);
        for _ in 0..entries {
            let is_nan = self.rest.get(1..9).is_some_and(|bytes| {
                bytes
                    .try_into()
                    .is_ok_and(|bytes| f64::from_le_bytes(bytes).is_nan())
            });
            match self.rest.first() {
                Some(&NUMBER) if is_nan => return Err(DataError::Key),
                Some(&(FALSE | TRUE | NUMBER | STRING)) => self.value(sink, depth)?,
                Some(_) => return Err(DataError::Key),
                None => return Err(DataError::Short),
            }
            self.value(sink, depth + 1)?;
            sink.entry();
        }
        sink.end(is_array);
        Ok(())
    }
}

const VERSION: u8 = 1;
const NIL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUMBER: u8 = 3;
const STRING: u8 = 4;
const TABLE: u8 = 5;
const ARRAY: u8 = 6;
const NULL: u8 = 7;
const INTEGER: u8 = 8;
/// Tables in one another (SPEC §4).
const DEPTH_MAX: usize = 16;
/// Of one connection (SPEC §4).
const BYTES_MAX: usize = 64 << 10;
