//! [pure] Readers: from a value of the tree to a checked one, or a problem that says what would be right.
//!
//! A reader is given a node and a place for problems; it is made for a key in `validate/` and called by `check.rs`, once
//! for each file that has the key.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::Faults;
use super::problem::{Place, quote};
use super::raw::{Node, Value};
use super::units;

/// The most items of a list, and the most routes and channels: each is compared with those before it.
pub(super) const MOST_ITEMS: usize = 10_000;

/// Whether a duration of zero means something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Zero {
    Fine,
    Refused,
}

/// A value as messages show it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::String(text) => quote(text),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// `true` or `false`.
pub(super) fn flag(node: &Node, faults: &mut Faults<'_>) -> Option<bool> {
    match node.value {
        Value::Boolean(value) => Some(value),
        _ => wrong(node, faults, "must be true or false"),
    }
}

/// Any text.
pub(super) fn text(node: &Node, faults: &mut Faults<'_>) -> Option<String> {
    text_of(node, faults).map(str::to_owned)
}

/// A whole number.
pub(super) fn number<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
) -> impl Fn(&Node, &mut Faults<'_>) -> Option<T> {
    move |node, faults| {
        let Value::Integer(value) = node.value else {
            return wrong(node, faults, "must be a whole number");
        };
        let (least, most) = (range.start(), range.end());
        if let Ok(number) = T::try_from(value)
            && range.contains(&value)
        {
            return Some(number);
        }
        // Where the end of the range is only the end of what fits, it is no news.
        let what = if *most < 1_000_000_000 {
            format!("must be {least} to {most}")
        } else if value < *least {
            format!("must be at least {least}")
        } else {
            format!("must be at most {most}")
        };
        wrong(node, faults, &what)
    }
}

/// A size in bytes, as text with a unit or as a number.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Node, &mut Faults<'_>) -> Option<usize> {
    move |node, faults| {
        let bytes = match &node.value {
            Value::String(text) => units::size(text),
            Value::Integer(value) => u64::try_from(*value)
                .map_err(|_| units::SizeError::Other)
                .and_then(|bytes| {
                    if bytes <= units::LARGEST {
                        Ok(bytes)
                    } else {
                        Err(units::SizeError::TooLarge)
                    }
                }),
            _ => Err(units::SizeError::Other),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return wrong(node, faults, &error.to_string()),
        };
        if bytes < *range.start() {
            let what = match range.start() {
                1 => "must be more than 0".to_owned(),
                least => format!("must be at least {}", units::show_size(*least)),
            };
            return wrong(node, faults, &what);
        }
        if bytes > *range.end() {
            let what = format!("must be at most {}", units::show_size(*range.end()));
            return wrong(node, faults, &what);
        }
        usize::try_from(bytes).ok()
    }
}

/// A duration.
pub(super) fn duration(zero: Zero) -> impl Fn(&Node, &mut Faults<'_>) -> Option<Duration> {
    move |node, faults| {
        let Value::String(text) = &node.value else {
            return wrong(node, faults, &units::DurationError::Other.to_string());
        };
        match units::duration(text) {
            Ok(Duration::ZERO) if zero == Zero::Refused => {
                wrong(node, faults, "must be more than 0")
            }
            Ok(duration) => Some(duration),
            Err(error) => wrong(node, faults, &error.to_string()),
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy + 'static>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Node, &mut Faults<'_>) -> Option<T> {
    move |node, faults| {
        let known = match &node.value {
            Value::String(text) => words.iter().find(|(word, _)| word == text),
            _ => None,
        };
        if let Some((_, value)) = known {
            return Some(*value);
        }
        let all: Vec<String> = words.iter().map(|(word, _)| quote(word)).collect();
        let what = match all.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("must be {} or {last}", others.join(", "))
            }
            _ => format!("must be {}", all.join("")),
        };
        wrong(node, faults, &what)
    }
}

/// Text that a function takes apart; `show` is how messages show it.
pub(super) fn parsed_as<T, E: Display>(
    parse: impl Fn(&str) -> Result<T, E>,
    show: impl Fn(&str) -> String,
) -> impl Fn(&Node, &mut Faults<'_>) -> Option<T> {
    move |node, faults| {
        let text = text_of(node, faults)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                faults.at(node.place, format!("{}: {error}", show(text)));
                None
            }
        }
    }
}

/// Text that a function takes apart.
pub(super) fn parsed<T, E: Display>(
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Node, &mut Faults<'_>) -> Option<T> {
    parsed_as(parse, quote)
}

/// An array, each item with its place; none if an item is wrong, after all items have been read.
pub(super) fn list<T>(
    item: impl Fn(&Node, &mut Faults<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Faults<'_>) -> Option<Vec<(T, Place)>> {
    move |node, faults| {
        let Value::Array(nodes) = &node.value else {
            return wrong(node, faults, "must be an array, as in [\"…\", \"…\"]");
        };
        if nodes.len() > MOST_ITEMS {
            let what = format!(
                "an array of {}: must have at most {MOST_ITEMS} items",
                nodes.len()
            );
            faults.at(node.place, what);
            return None;
        }
        let items: Vec<Option<(T, Place)>> = nodes
            .iter()
            .map(|node| item(node, faults).map(|value| (value, node.place)))
            .collect();
        items.into_iter().collect()
    }
}

/// A list in which nothing may stand twice, without the places.
pub(super) fn set<T: PartialEq>(
    item: impl Fn(&Node, &mut Faults<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Faults<'_>) -> Option<Vec<T>> {
    let read = list(item);
    move |node, faults| {
        let mut values: Vec<T> = Vec::new();
        let mut fine = true;
        for (value, place) in read(node, faults)? {
            if values.contains(&value) {
                faults.at(place, "stands twice in the list; once is enough");
                fine = false;
            } else {
                values.push(value);
            }
        }
        fine.then_some(values)
    }
}

/// A path, made absolute from the directory of the file that it stands in.
pub(super) fn path(
    bases: &[PathBuf],
) -> impl Fn(&Node, &mut Faults<'_>) -> Option<(PathBuf, Place)> {
    move |node, faults| {
        let text = text_of(node, faults)?;
        if text.is_empty() || text.contains('\0') {
            return wrong(node, faults, "must be a path");
        }
        Some((absolute(bases, node.place, Path::new(text)), node.place))
    }
}

/// A relative path is relative to the directory of the file that it stands in.
pub(super) fn absolute(bases: &[PathBuf], place: Place, path: &Path) -> PathBuf {
    match bases.get(place.file) {
        Some(base) => base.join(path),
        None => path.to_owned(),
    }
}

/// A value and the place where it stands.
pub(super) fn placed<T>(
    read: impl Fn(&Node, &mut Faults<'_>) -> Option<T>,
) -> impl Fn(&Node, &mut Faults<'_>) -> Option<(T, Place)> {
    move |node, faults| read(node, faults).map(|value| (value, node.place))
}

fn text_of<'a>(node: &'a Node, faults: &mut Faults<'_>) -> Option<&'a str> {
    match &node.value {
        Value::String(text) => Some(text),
        _ => wrong(node, faults, "must be text in quotes"),
    }
}

fn wrong<T>(node: &Node, faults: &mut Faults<'_>, what: &str) -> Option<T> {
    faults.at(node.place, format!("{}: {what}", shown(&node.value)));
    None
}
