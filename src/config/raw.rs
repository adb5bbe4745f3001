//! [pure] Text into trees in which every key and value keeps its file and place, and such trees merged into one.
//!
//! Nothing is lost: a value that a drop-in replaces stays beside the new one, so that it can be checked too. What a key
//! means is no matter here (`validate/`), which files there are neither (`load.rs`).

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::keys::{self, ARRAYS};
use super::problem::{Fault, Place, quote};

/// A table, its entries by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: BTreeMap<String, Entry>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) key: Place,
    pub(super) node: Node,
    /// The same key of files that are merged under this one.
    pub(super) replaced: Vec<Self>,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Of a table with a header that of its header.
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What TOML has.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Array(Vec<Node>),
    Boolean(bool),
    Datetime(toml::value::Datetime),
    Float(f64),
    Integer(i64),
    String(String),
    Table(Table),
}

impl Table {
    /// The entry at `table.key`, as far as what is on the way are tables.
    pub(super) fn find(&self, path: &str) -> Option<&Entry> {
        match path.split_once('.') {
            None => self.entries.get(path),
            Some((name, rest)) => match &self.entries.get(name)?.node.value {
                Value::Table(table) => table.find(rest),
                _ => None,
            },
        }
    }

    /// Lays `over` over this one: tables are merged, everything else is replaced. Where the one is a known table and the
    /// other is none the table stays, since what is in it wants to be checked beside the complaint.
    fn merge(&mut self, over: Self, path: &str) {
        for (name, mut entry) in over.entries {
            let own = joined(path, &name);
            let Some(base) = self.entries.get_mut(&name) else {
                self.entries.insert(name, entry);
                continue;
            };
            match (&mut base.node.value, entry.node.value) {
                (Value::Table(table), Value::Table(over)) => table.merge(over, &own),
                (Value::Table(_), value) if keys::is_table(&own) => {
                    entry.node.value = value;
                    base.replaced.push(entry);
                }
                (_, value) => {
                    entry.node.value = value;
                    let mut old = std::mem::replace(base, entry);
                    base.replaced.append(&mut old.replaced);
                    base.replaced.push(old);
                }
            }
        }
    }

    /// Takes the items of an array of tables out; a value that is no array stays for its complaint.
    fn take_items(&mut self, name: &str) -> Option<(Place, Vec<Node>)> {
        match self.entries.remove(name)? {
            Entry {
                key,
                node:
                    Node {
                        value: Value::Array(items),
                        ..
                    },
                ..
            } => Some((key, items)),
            other => {
                self.entries.insert(name.to_owned(), other);
                None
            }
        }
    }
}

/// Reads one file. What is wrong with its syntax goes to `faults`; the tree is what could be read nevertheless.
pub(super) fn parse(text: &str, file: usize, faults: &mut Vec<Fault>) -> Table {
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let offset = error.span().map_or(0, |span| span.start);
        faults.push(Fault {
            place: Ok(Place { file, offset }),
            key: String::new(),
            what: syntax(error.message(), text.get(offset..).unwrap_or("")),
        });
    }
    let mut reader = Reader { file, faults };
    reader.table(tree.into_inner(), "")
}

/// Reads a value that stands alone: the default of a key.
pub(super) fn value(text: &str) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut faults = Vec::new();
    let mut reader = Reader {
        file: usize::MAX,
        faults: &mut faults,
    };
    reader.node(value.span().start, value.into_inner(), "")
}

/// One tree of several files: the first is the main one, the others are laid over it in their order, and their routes
/// and channels come before its own.
pub(super) fn merged(files: Vec<Table>) -> Table {
    let mut all = Table::default();
    let mut arrays: Vec<(&str, Place, Vec<Node>)> = Vec::new();
    let mut of_main = Vec::new();
    for (number, mut table) in files.into_iter().enumerate() {
        for name in ARRAYS {
            if let Some((key, items)) = table.take_items(name) {
                let target = if number == 0 {
                    &mut of_main
                } else {
                    &mut arrays
                };
                target.push((name, key, items));
            }
        }
        all.merge(table, "");
    }
    arrays.append(&mut of_main);
    for (name, key, mut items) in arrays {
        match all.entries.get_mut(name) {
            Some(Entry {
                node:
                    Node {
                        value: Value::Array(known),
                        ..
                    },
                ..
            }) => known.append(&mut items),
            // Something that is no array has been written too: that is a problem, and the items do not matter.
            Some(_) => {}
            None => {
                let node = Node {
                    place: key,
                    value: Value::Array(items),
                };
                let entry = Entry {
                    key,
                    node,
                    replaced: Vec::new(),
                };
                all.entries.insert(name.to_owned(), entry);
            }
        }
    }
    all
}

/// `name` as it stands in messages behind the table it is in.
pub(super) fn joined(table: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let name = if bare { name.to_owned() } else { quote(name) };
    if table.is_empty() {
        name
    } else {
        format!("{table}.{name}")
    }
}

/// The parser's message, said plainer where it is often met; `at` is the text from there on.
fn syntax(message: &str, at: &str) -> String {
    if !message.starts_with("string values must be quoted") {
        return message.replace('`', "'").replace('\n', " ");
    }
    let line = at.lines().next().unwrap_or("").trim_start();
    if line.is_empty() || line.starts_with('#') {
        "has no value; write text in quotes, a number, true or false".to_owned()
    } else {
        "text must stand in quotes".to_owned()
    }
}

/// Turns the parser's tree into ours. Its depth is bounded by the parser.
struct Reader<'a> {
    file: usize,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn table(&mut self, table: DeTable<'_>, path: &str) -> Table {
        let mut entries = BTreeMap::new();
        for (name, value) in table {
            let key = self.place(name.span().start);
            let name = name.into_inner().into_owned();
            let path = joined(path, &name);
            let start = value.span().start;
            if let Some(node) = self.node(start, value.into_inner(), &path) {
                let entry = Entry {
                    key,
                    node,
                    replaced: Vec::new(),
                };
                entries.insert(name, entry);
            }
        }
        Table { entries }
    }

    fn node(&mut self, offset: usize, value: DeValue<'_>, path: &str) -> Option<Node> {
        let place = self.place(offset);
        let value = match value {
            DeValue::String(text) => Value::String(text.into_owned()),
            DeValue::Boolean(value) => Value::Boolean(value),
            DeValue::Datetime(value) => Value::Datetime(value),
            DeValue::Integer(digits) => {
                if let Ok(value) = i64::from_str_radix(digits.as_str(), digits.radix()) {
                    Value::Integer(value)
                } else {
                    let what = format!(
                        "{}: must be between -2^63 and 2^63 - 1",
                        quote(digits.as_str())
                    );
                    self.fault(place, path, what);
                    return None;
                }
            }
            DeValue::Float(digits) => match digits.as_str().parse::<f64>() {
                Ok(value) if value.is_finite() || digits.as_str().contains(['n', 'i']) => {
                    Value::Float(value)
                }
                _ => {
                    let what = format!("{}: is too large for a number", quote(digits.as_str()));
                    self.fault(place, path, what);
                    return None;
                }
            },
            DeValue::Array(items) => Value::Array(
                items
                    .into_iter()
                    .filter_map(|item| {
                        let start = item.span().start;
                        self.node(start, item.into_inner(), path)
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, path)),
        };
        Some(Node { place, value })
    }

    fn place(&self, offset: usize) -> Place {
        Place {
            file: self.file,
            offset,
        }
    }

    fn fault(&mut self, place: Place, path: &str, what: String) {
        self.faults.push(Fault {
            place: Ok(place),
            key: path.to_owned(),
            what,
        });
    }
}
