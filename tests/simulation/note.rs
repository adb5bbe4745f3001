//! What clients say: a number, what the hooks are to do with it, and a form that tries each way of rendering.

use bytes::Bytes;
use wsd::types::{Kind, Payload};

use crate::dice::Dice;

/// A message of the simulation: `ID VERB ARGUMENT padding`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) id: u64,
    pub(crate) verb: char,
    pub(crate) argument: String,
}

impl Note {
    pub(crate) fn new(id: u64, verb: char, argument: &str) -> Self {
        Self {
            id,
            verb,
            argument: argument.to_owned(),
        }
    }

    /// One of the four forms: plain text, JSON, binary, text of two lines.
    pub(crate) fn payload(&self, dice: &mut Dice) -> Payload {
        let len = if dice.one_in(8) { 300 } else { 20 };
        let padding = "x".repeat(dice.below(len));
        let text = format!("{} {} {} {padding}", self.id, self.verb, self.argument);
        match dice.below(8) {
            0 => Payload {
                kind: Kind::Binary,
                data: Bytes::from(text),
            },
            1 => Payload::text(format!("{text}\n~second line")),
            2..=4 => Payload::text(format!("{{\"note\":\"{text}\"}}")),
            _ => Payload::text(text),
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let inner: String = if text.starts_with('{') {
            let value: serde_json::Value = serde_json::from_str(text).expect("a JSON note");
            value["note"].as_str().expect("its text").to_owned()
        } else {
            text.to_owned()
        };
        let mut words = inner.split(' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("no note: {text:?}"));
        let id = word()
            .parse()
            .unwrap_or_else(|_| panic!("no note: {text:?}"));
        let verb = word().chars().next().expect("a verb");
        Self::new(id, verb, word())
    }

    /// The notes of one frame that a client got, in whichever of the three formats.
    pub(crate) fn all_of(payload: &Payload) -> Vec<Self> {
        let text = std::str::from_utf8(&payload.data).expect("notes are text");
        if payload.kind == Kind::Binary {
            return vec![Self::parse(text)];
        }
        if text.starts_with('[') {
            let list: Vec<serde_json::Value> =
                serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
            assert!(!list.is_empty(), "an empty array");
            return list
                .iter()
                .map(|value| match value {
                    serde_json::Value::String(text) => Self::parse(text),
                    other => Self::parse(&other.to_string()),
                })
                .collect();
        }
        if text.contains("\n~") {
            assert_eq!(text.matches('\n').count(), 1, "not alone: {text:?}");
            return vec![Self::parse(text)];
        }
        text.split('\n').map(Self::parse).collect()
    }
}
