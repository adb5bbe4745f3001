//! [pure] Reading JSON text (RFC 8259), piece by piece, without making anything of it.
//!
//! `json.rs` builds Lua values from the pieces. Every limit that hostile text could pass is checked here.

use std::borrow::Cow;

/// Text that is being read.
pub(in crate::script) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    keys: usize,
    depth: usize,
}

/// What begins at the present place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::script) enum Token {
    Array,
    False,
    Null,
    Number,
    Object,
    String,
    True,
}

/// Why the text is no JSON that is taken: what, and the byte where, from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::script) struct JsonError {
    what: &'static str,
    at: usize,
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

impl<'a> Reader<'a> {
    /// Of a whole document.
    pub(in crate::script) fn new(text: &'a [u8]) -> Result<Self, JsonError> {
        let reader = Self {
            text,
            at: 0,
            keys: 0,
            depth: 0,
        };
        match simdutf8::compat::from_utf8(text) {
            Ok(_) => Ok(reader),
            Err(error) => Err(JsonError {
                what: "is not UTF-8",
                at: error.valid_up_to() + 1,
            }),
        }
    }

    pub(in crate::script) fn error<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError {
            what,
            at: self.at + 1,
        })
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// What comes next; words are taken, the rest is for the method of its name.
    pub(in crate::script) fn token(&mut self) -> Result<Token, JsonError> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Token::Object),
            Some(b'[') => Ok(Token::Array),
            Some(b'"') => Ok(Token::String),
            Some(b'-' | b'0'..=b'9') => Ok(Token::Number),
            Some(b't') => self.word(b"true", Token::True),
            Some(b'f') => self.word(b"false", Token::False),
            Some(b'n') => self.word(b"null", Token::Null),
            Some(_) => self.error("expected a value"),
            None => self.error("the text ends before a value"),
        }
    }

    fn word(&mut self, word: &[u8], token: Token) -> Result<Token, JsonError> {
        if self.text.get(self.at..self.at + word.len()) != Some(word) {
            return self.error("expected a value");
        }
        self.at += word.len();
        Ok(token)
    }

    /// After `{` or `[`; false if it is closed at once.
    pub(in crate::script) fn open(&mut self, close: u8) -> Result<bool, JsonError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.error("more than 100 levels");
        }
        self.at += 1;
        self.space();
        if self.byte() == Some(close) {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// After an element: true if another follows.
    pub(in crate::script) fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        self.space();
        match self.byte() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            _ if close == b'}' => self.error("expected , or }"),
            _ => self.error("expected , or ]"),
        }
    }

    /// A key and its colon; `count` is how many its object had before.
    pub(in crate::script) fn key(&mut self, count: usize) -> Result<Cow<'a, [u8]>, JsonError> {
        self.space();
        if self.byte() != Some(b'"') {
            return self.error("expected a key in quotes");
        }
        self.keys += 1;
        if count >= KEYS_MAX {
            return self.error("more than 1000 keys in an object");
        }
        if self.keys > KEYS_TOTAL_MAX {
            return self.error("more than 10000 keys");
        }
        let key = self.string()?;
        self.space();
        if self.byte() != Some(b':') {
            return self.error("expected :");
        }
        self.at += 1;
        Ok(key)
    }

    /// The string that begins here, without its quotes, escapes resolved.
    pub(in crate::script) fn string(&mut self) -> Result<Cow<'a, [u8]>, JsonError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.byte() {
                Some(b'"') => {
                    let piece = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(Cow::Borrowed(piece));
                }
                Some(b'\\') => break,
                Some(0..=0x1f) => return self.error("a control character in a string"),
                Some(_) => self.at += 1,
                None => return self.error("the text ends inside a string"),
            }
        }
        let mut out = self.text.get(start..self.at).unwrap_or_default().to_vec();
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => self.escape(&mut out)?,
                Some(0..=0x1f) => return self.error("a control character in a string"),
                Some(byte) => {
                    out.push(byte);
                    self.at += 1;
                }
                None => return self.error("the text ends inside a string"),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        self.at += 1;
        let byte = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let mut code = self.unit()?;
                if (0xd800..0xdc00).contains(&code)
                    && self.text.get(self.at..self.at + 2) == Some(b"\\u")
                {
                    self.at += 1;
                    let low = self.unit()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return self.error("half of a surrogate pair");
                    }
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                let Some(c) = char::from_u32(code) else {
                    return self.error("half of a surrogate pair");
                };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.error("an unknown escape in a string"),
        };
        out.push(byte);
        self.at += 1;
        Ok(())
    }

    /// `u` and four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            let Some(digit) = char::from(*digit).to_digit(16) else {
                return self.error("an escape that is not \\u and four hexadecimal digits");
            };
            code = code * 16 + digit;
        }
        if digits.len() < 4 {
            return self.error("the text ends inside a string");
        }
        self.at += 5;
        Ok(code)
    }

    /// The number that begins here, as written; true if it is an integer.
    pub(in crate::script) fn number(&mut self) -> Result<(&'a str, bool), JsonError> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        let first = self.byte();
        if self.digits() == 0 {
            return self.error("expected a digit");
        }
        let integer_end = self.at;
        if first == Some(b'0')
            && self.at - start > 1 + usize::from(self.text.get(start) == Some(&b'-'))
        {
            return self.error("a number that begins with 0");
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return self.error("expected a digit");
            }
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.error("expected a digit");
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        // Digits, signs and points: always UTF-8.
        Ok((
            std::str::from_utf8(text).unwrap_or("0"),
            integer_end == self.at,
        ))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// Passes over a value, checking it.
    pub(in crate::script) fn skip(&mut self) -> Result<Token, JsonError> {
        let token = self.token()?;
        match token {
            Token::Array => {
                let mut more = self.open(b']')?;
                while more {
                    self.skip()?;
                    more = self.more(b']')?;
                }
            }
            Token::Object => {
                let mut count = 0;
                let mut more = self.open(b'}')?;
                while more {
                    self.key(count)?;
                    count += 1;
                    self.skip()?;
                    more = self.more(b'}')?;
                }
            }
            Token::String => drop(self.string()?),
            Token::Number => drop(self.number()?),
            Token::False | Token::Null | Token::True => {}
        }
        Ok(token)
    }

    /// The place, to come back to with [`Reader::go_back`].
    pub(in crate::script) const fn mark(&self) -> usize {
        self.at
    }

    /// Reads on from a place where a value begins.
    pub(in crate::script) const fn go_back(&mut self, mark: usize) {
        self.at = mark;
    }

    /// Nothing but white space is left.
    pub(in crate::script) fn finish(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at < self.text.len() {
            return self.error("something after the value");
        }
        Ok(())
    }
}

/// Levels of a document (SPEC §4).
pub(in crate::script) const DEPTH_MAX: usize = 100;
/// Keys of an object (SPEC §4).
const KEYS_MAX: usize = 1000;
/// Keys of a document (SPEC §4).
const KEYS_TOTAL_MAX: usize = 10_000;
