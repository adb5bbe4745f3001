//! What scripts log: free field names, made into names that the journal takes and that can't be taken for ours.
//!
//! [pure] `Log::emit` makes an [`Entry`] of a [`Record`] here. A field that can't be kept is named in
//! `WSD_REFUSED_FIELDS`, so that whoever wrote the script sees it beside the record.

use std::borrow::Cow;
use std::time::Duration;

use super::entry::{self, Entry};
use crate::config::Level;

/// A record whose fields have names that only a script knows.
#[derive(Clone, Debug)]
pub struct Record {
    /// How much it matters.
    pub level: Level,
    /// The area.
    pub target: &'static str,
    /// The text.
    pub message: String,
    /// What wsd knows about it: `wsd_script`, `wsd_line`, `wsd_conn` and so on.
    pub own: Vec<(&'static str, String)>,
    /// What the script gave: kept as `WSD_` and the name in capitals.
    pub fields: Vec<(String, String)>,
}

impl Record {
    /// With names checked and everything bounded.
    pub(super) fn into_entry(self, at: Duration) -> Entry {
        let mut made = Entry {
            at,
            level: self.level,
            target: self.target,
            message: entry::bounded(&self.message, entry::MESSAGE_BYTES),
            event: None,
            fields: Vec::with_capacity(self.own.len() + self.fields.len().min(FIELDS)),
            metadata: None,
        };
        for (name, text) in self.own {
            let text = entry::bounded(&text, entry::FIELD_BYTES);
            made.put(Cow::Borrowed(name), text, usize::MAX);
        }
        let mut refused = Refused::default();
        let mut kept = 0;
        for (name, text) in self.fields {
            match journal_name(&name) {
                _ if kept == FIELDS => refused.add(&name, "more than 16"),
                Err(why) => refused.add(&name, why),
                Ok(full) if made.fields.iter().any(|field| field.name == full) => {
                    refused.add(&name, "given twice");
                }
                Ok(full) => {
                    kept += 1;
                    let text = entry::bounded(&text, entry::FIELD_BYTES);
                    made.put(Cow::Owned(full), text, usize::MAX);
                }
            }
        }
        if !refused.0.is_empty() {
            made.put(Cow::Borrowed("wsd_refused_fields"), refused.0, usize::MAX);
        }
        made
    }
}

/// `WSD_` and the name in capitals, if that is a name for a script to give.
fn journal_name(name: &str) -> Result<String, &'static str> {
    let upper = name.to_ascii_uppercase();
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if upper.is_empty() || upper.len() > NAME_BYTES || !upper.bytes().all(fits) {
        Err("must be 1 to 60 of A-Z, 0-9, _")
    } else if OURS.contains(&upper.as_str()) {
        Err("wsd's own")
    } else {
        Ok(format!("WSD_{upper}"))
    }
}

/// The refused names with the reasons, bounded: a script could give any number.
#[derive(Default)]
struct Refused(String);

impl Refused {
    fn add(&mut self, name: &str, why: &str) {
        if self.0.len() >= REFUSED_BYTES {
            return;
        }
        if !self.0.is_empty() {
            self.0.push_str(", ");
        }
        let name = entry::bounded(name, NAME_BYTES);
        self.0.push_str(&format!("{name:?} ({why})"));
    }
}

/// SPEC §6: at most so many fields of a script in one record.
pub const FIELDS: usize = 16;

/// SPEC §6: `[A-Z0-9_]{1,60}`. With `WSD_` that is the 64 bytes which the journal allows.
const NAME_BYTES: usize = 60;

/// About a dozen refused names are enough to see what is wrong.
const REFUSED_BYTES: usize = 1024;

/// The names behind `WSD_` that wsd itself writes.
const OURS: [&str; 11] = [
    "CHANNEL",
    "CONN",
    "EVENT",
    "GENERATION",
    "HOOK",
    "LINE",
    "REFUSED_FIELDS",
    "REMOTE",
    "SCRIPT",
    "USER",
    "WORKER",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(own: &[&'static str], fields: &[&str]) -> Vec<(String, String)> {
        let record = Record {
            level: Level::Info,
            target: "script",
            message: "text".to_owned(),
            own: own.iter().map(|name| (*name, "ours".to_owned())).collect(),
            fields: fields
                .iter()
                .map(|name| ((*name).to_owned(), "given".to_owned()))
                .collect(),
        };
        let entry = record.into_entry(Duration::ZERO);
        entry
            .fields
            .into_iter()
            .map(|field| (field.name.into_owned(), field.text))
            .collect()
    }

    #[test]
    fn names_become_journal_names() {
        let fields = entry(&["wsd_script"], &["Order_id", "2nd"]);
        let names = fields.iter().map(|(name, _)| name.as_str());
        assert_eq!(
            names.collect::<Vec<_>>(),
            ["wsd_script", "WSD_ORDER_ID", "WSD_2ND"]
        );
    }

    #[test]
    fn what_can_not_be_kept_is_named() {
        let long = "x".repeat(61);
        let fields = entry(
            &[],
            &[
                "user",
                "a b",
                "",
                "ünder",
                "ok",
                "OK",
                "a=b\nMESSAGE",
                &long,
            ],
        );
        assert_eq!(fields.len(), 2);
        assert_eq!(fields[0].0, "WSD_OK");
        assert_eq!(fields[1].0, "wsd_refused_fields");
        let bad = "(must be 1 to 60 of A-Z, 0-9, _)";
        let shown = "x".repeat(60);
        assert_eq!(
            fields[1].1,
            format!(
                "\"user\" (wsd's own), \"a b\" {bad}, \"\" {bad}, \"ünder\" {bad}, \"OK\" (given twice), \
                 \"a=b\\nMESSAGE\" {bad}, \"{shown}…\" {bad}"
            )
        );
        assert!(entry(&[], &[&"x".repeat(60)])[0].0.len() == 64);
    }

    #[test]
    fn sixteen_fields_are_kept() {
        let names = (0..1000).map(|n| format!("f{n}")).collect::<Vec<_>>();
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        let fields = entry(&["wsd_script"], &names);
        assert_eq!(fields.len(), 1 + FIELDS + 1);
        assert!(fields[17].1.starts_with("\"f16\" (more than 16), \"f17\""));
        assert!(fields[17].1.len() < REFUSED_BYTES + 100);
    }
}
