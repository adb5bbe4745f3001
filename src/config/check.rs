//! One walk over the merged tree: every key is looked up here, and every problem is collected here.
//!
//! [`Check::walk`] finds what is unknown or no table; [`Check::key`] and its siblings read one key each with a reader of
//! `values.rs`. They always come back with a value, the default in the place of a wrong one, so that the walk goes on to
//! the next problem. `validate/` is the caller.

use std::path::PathBuf;

use super::LoadOptions;
use super::keys;
use super::problem::{Fault, Place, Problems, Source, line_and_column};
use super::raw::{Entry, Node, Table, Value, joined, value};
use super::stages::StageLists;
use super::values::{MOST_ITEMS, shown};

/// What checking needs and what it finds.
pub(super) struct Check<'a> {
    pub(super) root: &'a Table,
    pub(super) sources: &'a [Source],
    /// For each source the directory that relative paths in it start from.
    pub(super) bases: &'a [PathBuf],
    /// `None`: directories, scripts and credentials are not looked at.
    pub(super) disk: Option<&'a LoadOptions>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    /// Those of before and those that are new.
    pub(super) stages: StageLists,
    /// The scripts in `hooks.directory`, once it has been read.
    pub(super) scripts: Option<Vec<String>>,
    /// Credentials that were read.
    pub(super) files: Vec<PathBuf>,
}

/// Where the problems of one key go.
pub(super) struct Faults<'a> {
    key: &'a str,
    list: &'a mut Vec<Fault>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(key: &'a str, list: &'a mut Vec<Fault>) -> Self {
        Self { key, list }
    }

    pub(super) fn at(&mut self, place: Place, what: impl Into<String>) {
        self.list.push(Fault {
            place: Ok(place),
            key: self.key.to_owned(),
            what: what.into(),
        });
    }
}

impl<'a> Check<'a> {
    /// Reads a key of the file; its default stands for one that is not there or wrong.
    pub(super) fn key<T: PartialEq>(
        &mut self,
        path: &'static str,
        read: impl Fn(&Node, &mut Faults<'_>) -> Option<T>,
    ) -> T {
        let entry = self.root.find(path);
        self.entry(entry, path, &read)
            .unwrap_or_else(|| default(path, &read))
    }

    /// Reads a key of the file that has no default.
    pub(super) fn own<T: PartialEq>(
        &mut self,
        path: &'static str,
        read: impl Fn(&Node, &mut Faults<'_>) -> Option<T>,
    ) -> Option<T> {
        let entry = self.root.find(path);
        self.entry(entry, path, &read)
    }

    /// Reads a key of an item of `[[array]]`; its default stands for one that is not there or wrong.
    pub(super) fn item_key<T: PartialEq>(
        &mut self,
        item: &Table,
        path: &'static str,
        read: impl Fn(&Node, &mut Faults<'_>) -> Option<T>,
    ) -> T {
        self.item_own(item, path, &read)
            .unwrap_or_else(|| default(path, &read))
    }

    /// Reads a key of an item of `[[array]]`, for which something else stands when it is not there.
    pub(super) fn item_own<T: PartialEq>(
        &mut self,
        item: &Table,
        path: &'static str,
        read: impl Fn(&Node, &mut Faults<'_>) -> Option<T>,
    ) -> Option<T> {
        let entry = path.split_once('.').and_then(|(_, rest)| item.find(rest));
        self.entry(entry, path, &read)
    }

    /// The items of `[[array]]` with the places of their headers.
    pub(super) fn items(&mut self, array: &str) -> Vec<(&'a Table, Place)> {
        let root: &'a Table = self.root;
        let Some(Value::Array(items)) = root.entries.get(array).map(|entry| &entry.node.value)
        else {
            return Vec::new();
        };
        if let Some(beyond) = items.get(MOST_ITEMS) {
            let what = format!("must be at most {MOST_ITEMS}; this is one more");
            self.fault(beyond.place, array, what);
        }
        items
            .iter()
            .take(MOST_ITEMS)
            .filter_map(|node| match &node.value {
                Value::Table(table) => Some((table, node.place)),
                _ => None,
            })
            .collect()
    }

    /// Adds a problem that no reader found.
    pub(super) fn fault(&mut self, place: Place, key: &str, what: impl Into<String>) {
        Faults::new(key, &mut self.faults).at(place, what);
    }

    /// Adds a warning. Whoever has hundreds of them is told no more.
    pub(super) fn warning(&mut self, place: Place, key: &str, what: impl FnOnce(&Self) -> String) {
        if self.warnings.len() < Problems::SHOWN {
            let what = what(self);
            Faults::new(key, &mut self.warnings).at(place, what);
        }
    }

    /// Complains of every name that is not known, and of values where tables should be.
    pub(super) fn walk(&mut self) {
        walk(self.root, "", &mut self.faults);
    }

    /// A place as messages name it.
    pub(super) fn shown_place(&self, place: Place) -> String {
        let Some(source) = self.sources.get(place.file) else {
            return "the default".to_owned();
        };
        let (line, column) = line_and_column(&source.text, place.offset);
        format!("{}:{line}:{column}", source.shown.display())
    }

    fn entry<T: PartialEq>(
        &mut self,
        entry: Option<&Entry>,
        path: &str,
        read: &impl Fn(&Node, &mut Faults<'_>) -> Option<T>,
    ) -> Option<T> {
        let entry = entry?;
        let mut faults = Faults::new(path, &mut self.faults);
        for replaced in &entry.replaced {
            read(&replaced.node, &mut faults);
        }
        let value = read(&entry.node, &mut faults)?;
        if let Some(off) = keys::off(path)
            && default(path, read) != value
        {
            let what = format!("not built in yet; leave it out or set it to {off}");
            faults.at(entry.node.place, what);
            return None;
        }
        Some(value)
    }
}

/// The default of a key, read like one that is written.
#[expect(
    clippy::expect_used,
    reason = "the defaults are part of the program, and every test that loads anything reads all of them"
)]
fn default<T>(path: &str, read: &impl Fn(&Node, &mut Faults<'_>) -> Option<T>) -> T {
    let mut faults = Vec::new();
    keys::default(path)
        .and_then(value)
        .and_then(|node| read(&node, &mut Faults::new(path, &mut faults)))
        .expect("a key that is read with a default has one")
}

fn walk(table: &Table, path: &str, faults: &mut Vec<Fault>) {
    for (name, entry) in &table.entries {
        let own = joined(path, name);
        for entry in entry.replaced.iter().chain([entry]) {
            let mut faults_here = Faults::new(&own, faults);
            let node = &entry.node;
            match (keys::place(&own), &node.value) {
                (keys::Place::Unknown, _) => {
                    faults_here.at(entry.key, keys::advice(path, name));
                }
                (keys::Place::Table, Value::Table(table)) => walk(table, &own, faults),
                (keys::Place::Table | keys::Place::Free, value) => {
                    if !matches!(value, Value::Table(_)) {
                        let what = format!("{}: must be a table, as in [{own}]", shown(value));
                        faults_here.at(node.place, what);
                    }
                }
                (keys::Place::Array, Value::Array(items)) => {
                    for item in items {
                        if let Value::Table(table) = &item.value {
                            walk(table, &own, faults);
                        } else {
                            let what =
                                format!("{}: must be a table, as in [[{own}]]", shown(&item.value));
                            Faults::new(&own, faults).at(item.place, what);
                        }
                    }
                }
                (keys::Place::Array, value) => {
                    let what = format!(
                        "{}: must be an array of tables, as in [[{own}]]",
                        shown(value)
                    );
                    faults_here.at(node.place, what);
                }
                (keys::Place::Key, _) => {}
            }
        }
    }
}
