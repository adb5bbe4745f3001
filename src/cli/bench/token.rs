//! [pure] What a message says of itself: whose it is, its number, when it was due.
//!
//! It says so in one word of letters, digits and colons, so it is found whatever the node's hooks and delivery formats put
//! around it: in a JSON array, in a line of several, as a value of another object, with quotes escaped.

use memchr::memmem::Finder;

/// Reads and writes the messages of one run.
#[derive(Debug)]
pub(super) struct Tokens {
    start: String,
    finder: Finder<'static>,
    size: usize,
}

/// A message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Token {
    /// Its publisher's number among the connections.
    pub(super) sender: u32,
    /// Counted from 0, of this publisher.
    pub(super) number: u32,
    /// Microseconds since the run began.
    pub(super) due: u64,
}

impl Tokens {
    /// For messages of `size` bytes; `run` tells them from those of others in the same channel.
    pub(super) fn new(run: u32, size: usize) -> Self {
        let start = format!("wsd-bench:{run:08x}:");
        Self {
            finder: Finder::new(&start).into_owned(),
            start,
            size,
        }
    }

    /// The text of a message: JSON.
    pub(super) fn write(&self, token: Token) -> String {
        let Token {
            sender,
            number,
            due,
        } = token;
        let mut text = format!(
            "{{\"id\":\"{}{sender:05}:{number:010}:{due:013}\",\"fill\":\"",
            self.start
        );
        let fill = self.size.saturating_sub(text.len() + TAIL.len());
        text.extend(FILL.chars().cycle().take(fill));
        text.push_str(TAIL);
        text
    }

    /// Calls `each` with every message that stands in a frame's payload.
    pub(super) fn read(&self, payload: &[u8], mut each: impl FnMut(Token)) {
        for at in self.finder.find_iter(payload) {
            let rest = payload.get(at + self.start.len()..).unwrap_or_default();
            if let Some(token) = parse(rest) {
                each(token);
            }
        }
    }
}

fn parse(text: &[u8]) -> Option<Token> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.iter().try_fold(0_u64, |value, digit| {
            let digit = digit.wrapping_sub(b'0');
            (digit < 10).then(|| value * 10 + u64::from(digit))
        })
    };
    let colons = text.get(5) == Some(&b':') && text.get(16) == Some(&b':');
    let token = Token {
        sender: u32::try_from(number(0, 5)?).ok()?,
        number: u32::try_from(number(6, 16)?).ok()?,
        due: number(17, 30)?,
    };
    colons.then_some(token)
}

/// The smallest message: all but the filling.
pub(super) const LEAST: usize = 72;

/// The largest.
pub(super) const MOST: usize = 1 << 20;

const FILL: &str = "the quick brown fox jumps over the lazy dog ";
const TAIL: &str = "\"}";

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u32) -> Token {
        Token {
            sender: 59_999,
            number,
            due: 3_600_000_000,
        }
    }

    fn found(tokens: &Tokens, payload: &str) -> Vec<u32> {
        let mut numbers = Vec::new();
        tokens.read(payload.as_bytes(), |token| {
            assert_eq!(token.sender, 59_999);
            numbers.push(token.number);
        });
        numbers
    }

    #[test]
    fn messages_have_the_size_that_was_asked_for() {
        for size in [LEAST, 128, 1_000] {
            let text = Tokens::new(7, size).write(token(u32::MAX));
            assert_eq!(text.len(), size);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(json["id"].is_string());
        }
    }

    #[test]
    fn a_message_is_found_in_whatever_is_around_it() {
        let tokens = Tokens::new(7, 128);
        let (one, two) = (tokens.write(token(1)), tokens.write(token(2)));
        assert_eq!(found(&tokens, &one), [1]);
        assert_eq!(found(&tokens, &format!("{one}\n{two}")), [1, 2]);
        assert_eq!(found(&tokens, &format!("[{one},{two}]")), [1, 2]);
        let quoted = serde_json::Value::from(vec![one, two]).to_string();
        assert_eq!(found(&tokens, &quoted), [1, 2]);
    }

    #[test]
    fn what_is_not_of_this_run_is_passed_over() {
        let tokens = Tokens::new(7, 128);
        let other = Tokens::new(8, 128).write(token(1));
        let own = tokens.write(token(1));
        for text in [
            "",
            "hello",
            &other,
            &own[..50],
            &own.replace(":0000000001:", ":000000000x:"),
        ] {
            assert_eq!(found(&tokens, text), [0_u32; 0], "{text}");
        }
    }
}
