//! One record on its way to the log thread: owned, bounded in bytes, the same for macros and for scripts.
//!
//! [pure] Made on the thread that logs, so making one copies each value once, and no value makes it larger than the
//! bounds below however long its text is. `journal.rs` and `line.rs` write it out.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use super::event;
use crate::config::Level;

/// A record that is waiting to be written.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was made, since the Unix epoch; the writer may be behind.
    pub(super) at: Duration,
    pub(super) level: Level,
    /// The area.
    pub(super) target: &'static str,
    pub(super) message: String,
    /// What operators match on.
    pub(super) event: Option<&'static event::Event>,
    pub(super) fields: Vec<Value>,
    /// Where the macro stands; `None` for a script's record.
    pub(super) metadata: Option<&'static Metadata<'static>>,
}

/// A field and its value.
#[derive(Debug)]
pub(super) struct Value {
    /// As the macro has it, or, for a script's, as the journal has it.
    pub(super) name: Cow<'static, str>,
    pub(super) text: String,
    /// Its place in the macro's list of fields.
    pub(super) index: usize,
}

impl Entry {
    /// What a macro said.
    pub(super) fn new(at: Duration, level: Level, event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut entry = Self {
            at,
            level,
            target: super::levels::area(metadata.target()),
            message: String::new(),
            event: None,
            fields: Vec::new(),
            metadata: Some(metadata),
        };
        event.record(&mut entry);
        entry
    }

    /// What it takes in the queue.
    pub(super) fn bytes(&self) -> usize {
        let fields = self
            .fields
            .iter()
            .map(|field| size_of::<Value>() + field.name.len() + field.text.len())
            .sum::<usize>();
        size_of::<Self>() + self.message.len() + fields
    }

    fn take(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "event" => match event::find(&text) {
                Some(known) => self.event = Some(known),
                // Without an id, but not lost; a test keeps the source's names in the table.
                None => self.put(Cow::Borrowed("wsd_event"), text, usize::MAX),
            },
            name => self.put(Cow::Borrowed(name), text, field.index()),
        }
    }

    /// Adds a field.
    pub(super) fn put(&mut self, name: Cow<'static, str>, text: String, index: usize) {
        self.fields.push(Value { name, text, index });
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, bounded(value, limit(field)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded {
            text: String::new(),
            room: limit(field),
            cut: false,
        };
        // `Bounded` takes everything; an error is the value's own, and what it wrote until then is worth having.
        let _ = write!(text, "{value:?}");
        self.take(field, text.finish());
    }
}

/// The text, cut at a character's border if it is longer, with an ellipsis.
pub(super) fn bounded(text: &str, limit: usize) -> String {
    let mut bounded = Bounded {
        text: String::with_capacity(text.len().min(limit)),
        room: limit,
        cut: false,
    };
    bounded.push(text);
    bounded.finish()
}

fn limit(field: &Field) -> usize {
    if field.name() == "message" {
        MESSAGE_BYTES
    } else {
        FIELD_BYTES
    }
}

/// Collects at most so many bytes and forgets the rest: a value's own text can be of any length.
struct Bounded {
    text: String,
    room: usize,
    cut: bool,
}

impl Bounded {
    fn push(&mut self, piece: &str) {
        if self.cut {
            return;
        }
        let end = piece.floor_char_boundary(self.room);
        self.text.push_str(piece.get(..end).unwrap_or_default());
        self.room -= end;
        self.cut = end < piece.len();
    }

    fn finish(mut self) -> String {
        if self.cut {
            self.text.push('…');
        }
        self.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.push(piece);
        Ok(())
    }
}

/// The longest message: a Lua traceback or a dozen problems of a file fit.
pub(super) const MESSAGE_BYTES: usize = 16 * 1024;

/// The longest value of a field. With tracing's 32 fields a record stays below the 208 KiB that a datagram may have by
/// default (`net.core.wmem_default`).
pub(super) const FIELD_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_at_a_character() {
        assert_eq!(bounded("short", 10), "short");
        assert_eq!(bounded("exactly 10", 10), "exactly 10");
        assert_eq!(bounded("aüüü", 4), "aü…");
        let mut text = Bounded {
            text: String::new(),
            room: 3,
            cut: false,
        };
        for piece in ["ab", "cd", "ef"] {
            text.write_str(piece).unwrap();
        }
        assert_eq!(text.finish(), "abc…");
    }
}
