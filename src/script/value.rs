//! Kinds of Lua values, the errors that host functions raise, and what [`Stack`] can do by its own safe methods.

use mlua::ffi;

use super::raw::Stack;

/// What kind of value stands at a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Above the top.
    None,
    Nil,
    Boolean,
    /// A light userdata: `json.null`.
    Light,
    Number,
    String,
    Table,
    Function,
    /// Anything that no function of ours takes.
    Other(&'static str),
}

impl Kind {
    /// Of Lua's number for it.
    pub(super) const fn of(number: i32) -> Self {
        match number {
            ffi::LUA_TNONE => Self::None,
            ffi::LUA_TNIL => Self::Nil,
            ffi::LUA_TBOOLEAN => Self::Boolean,
            ffi::LUA_TLIGHTUSERDATA => Self::Light,
            ffi::LUA_TNUMBER => Self::Number,
            ffi::LUA_TSTRING => Self::String,
            ffi::LUA_TTABLE => Self::Table,
            ffi::LUA_TFUNCTION => Self::Function,
            ffi::LUA_TTHREAD => Self::Other("thread"),
            ffi::LUA_TBUFFER => Self::Other("buffer"),
            ffi::LUA_TVECTOR => Self::Other("vector"),
            ffi::LUA_TINTEGER => Self::Other("integer"),
            _ => Self::Other("userdata"),
        }
    }

    /// As Lua names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None | Self::Nil => "nil",
            Self::Boolean => "boolean",
            Self::Light => "json.null",
            Self::Number => "number",
            Self::String => "string",
            Self::Table => "table",
            Self::Function => "function",
            Self::Other(name) => name,
        }
    }

    /// With its article, for messages.
    pub(super) fn described(self) -> String {
        match self {
            Self::None | Self::Nil | Self::Light => self.name().into(),
            _ => format!("a {}", self.name()),
        }
    }
}

/// A host function's error: text that Lua gets with the caller's place before it.
#[derive(Debug)]
pub(super) struct Raise(pub(super) String);

impl<T: Into<String>> From<T> for Raise {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// One Lua function that is running.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The chunk's name, without the `=` before it.
    pub(super) chunk: Box<str>,
    pub(super) line: u32,
    /// If it has a name.
    pub(super) function: Option<Box<str>>,
}

impl Stack {
    /// The text of an error, with the caller's place before it.
    pub(super) fn placed(&self, error: &Raise) -> String {
        match self.place() {
            (_, 0) => error.0.clone(),
            (chunk, line) => format!("{chunk}:{line}: {}", error.0),
        }
    }

    /// Takes the topmost value off.
    pub(super) fn pop(&mut self) {
        let top = self.top();
        self.set_top(top - 1);
    }

    /// The string there if it is UTF-8.
    pub(super) fn text(&self, place: i32) -> Option<&str> {
        simdutf8::basic::from_utf8(self.bytes(place)?).ok()
    }

    /// Pushes a field; metatables are not asked.
    pub(super) fn named(&mut self, table: i32, name: &str) {
        self.push_bytes(name.as_bytes());
        self.field(table);
    }

    /// Takes the topmost value off and makes it the field of that name.
    pub(super) fn set_named(&mut self, table: i32, name: &str) {
        let value = self.top();
        self.push_bytes(name.as_bytes());
        self.push_copy(value);
        self.set_field(table);
        self.set_top(value - 1);
    }

    /// Pushes a number of things.
    #[expect(
        clippy::cast_precision_loss,
        reason = "far below 2^53: things in memory"
    )]
    pub(super) fn push_count(&mut self, n: usize) {
        self.push_number(n as f64);
    }

    /// Where the Lua code is that called: its chunk and line.
    pub(super) fn place(&self) -> (String, u32) {
        self.callers()
            .into_iter()
            .find(|frame| frame.line > 0)
            .map_or_else(
                || (String::new(), 0),
                |frame| (frame.chunk.into(), frame.line),
            )
    }
}
