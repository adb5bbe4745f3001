//! `[hooks]` and its tables.

use std::fs;
use std::io;
use std::path::Path;

use super::super::check::Check;
use super::super::keys::{self, FREE};
use super::super::load::{io_text, scripts};
use super::super::problem::{nearest, quote};
use super::super::raw::{Node, Table, Value};
use super::super::values::{Zero, choice, duration, flag, number, parsed, path, size};
use super::super::{Breaker, FailurePolicy, Hooks, OnError, TimeLimits, units};
use super::MANY;

const ON_ERROR: &[(&str, OnError)] = &[("refuse", OnError::Refuse), ("pass", OnError::Pass)];

/// A Lua state with nothing in it takes about half of this.
const LEAST_MEMORY: u64 = 1 << 20;

pub(super) fn hooks(check: &mut Check<'_>, secrets: &Path) -> Hooks {
    let (directory, place) = check.key("hooks.directory", path(check.bases));
    let (modules, modules_place) = check.key("hooks.modules", path(check.bases));
    if check.disk.is_some() {
        match directory_exists("hooks.directory", &directory) {
            Ok(true) => match scripts(&directory) {
                Ok(found) => check.scripts = Some(found),
                Err(error) => {
                    let what = format!("{}: {}", quoted(&directory), io_text(&error));
                    check.fault(place, "hooks.directory", what);
                }
            },
            Ok(false) => check.scripts = Some(Vec::new()),
            Err(what) => check.fault(place, "hooks.directory", what),
        }
        if let Err(what) = directory_exists("hooks.modules", &modules) {
            check.fault(modules_place, "hooks.modules", what);
        }
    }
    Hooks {
        directory,
        modules,
        secrets: secrets.to_owned(),
        memory: check.key("hooks.memory", size(LEAST_MEMORY..=units::LARGEST)),
        shared: check.key("hooks.shared", size(0..=units::LARGEST)),
        share: check.key("hooks.share", parsed(units::share)),
        watch: check.key("hooks.watch", flag),
        test: check.key("hooks.test", flag),
        time_limit: time_limits(check),
        on_error: FailurePolicy {
            connect: check.key("hooks.on_error.connect", choice(ON_ERROR)),
            subscribe: check.key("hooks.on_error.subscribe", choice(ON_ERROR)),
            message: check.key("hooks.on_error.message", choice(ON_ERROR)),
            batch: check.key("hooks.on_error.batch", choice(ON_ERROR)),
        },
        breaker: Breaker {
            cuts: check.key("hooks.breaker.cuts", number(0..=MANY)),
            window: check.key("hooks.breaker.window", duration(Zero::Refused)),
            cooldown: check.key("hooks.breaker.cooldown", duration(Zero::Refused)),
        },
        settings: settings(check),
    }
}

fn time_limits(check: &mut Check<'_>) -> TimeLimits {
    let mut limit = |path| check.key(path, duration(Zero::Refused));
    TimeLimits {
        connect: limit("hooks.time_limit.connect"),
        subscribe: limit("hooks.time_limit.subscribe"),
        message: limit("hooks.time_limit.message"),
        batch: limit("hooks.time_limit.batch"),
        disconnect: limit("hooks.time_limit.disconnect"),
        timer: limit("hooks.time_limit.timer"),
        load: limit("hooks.time_limit.load"),
    }
}

/// Whether a directory is there. It need not be if it is the default: a package without scripts is a fine one.
fn directory_exists(key: &str, directory: &Path) -> Result<bool, String> {
    let is_default = keys::default(key) == Some(&*quoted(directory));
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => match fs::read_dir(directory) {
            Ok(_) => Ok(true),
            Err(error) => Err(format!("{}: {}", quoted(directory), io_text(&error))),
        },
        Ok(_) => Err(format!("{}: must be a directory", quoted(directory))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_default => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "{}: no such directory; make it or name another",
            quoted(directory)
        )),
        Err(error) => Err(format!("{}: {}", quoted(directory), io_text(&error))),
    }
}

fn quoted(path: &Path) -> String {
    quote(&path.display().to_string())
}

fn settings(check: &Check<'_>) -> toml::Table {
    // Scripts see whatever is there. That it is a table has been checked by the walk.
    match check.root.find(FREE).map(|entry| &entry.node.value) {
        Some(Value::Table(table)) => plain_table(table),
        _ => toml::Table::new(),
    }
}

fn plain_table(table: &Table) -> toml::Table {
    table
        .entries
        .iter()
        .map(|(name, entry)| (name.clone(), plain(&entry.node)))
        .collect()
}

fn plain(node: &Node) -> toml::Value {
    match &node.value {
        Value::Array(items) => toml::Value::Array(items.iter().map(plain).collect()),
        Value::Boolean(value) => toml::Value::Boolean(*value),
        Value::Datetime(value) => toml::Value::Datetime(*value),
        Value::Float(value) => toml::Value::Float(*value),
        Value::Integer(value) => toml::Value::Integer(*value),
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Table(table) => toml::Value::Table(plain_table(table)),
    }
}

/// Why `name` cannot be a stage; `None` if it can.
pub(super) fn stage_problem(name: &str, scripts: &[String], directory: &Path) -> Option<String> {
    if scripts.iter().any(|known| known == name) {
        return None;
    }
    let shown = quote(name);
    if name.contains('/') {
        return Some(format!(
            "{shown}: must be the name of a file in hooks.directory, without a path"
        ));
    }
    if name.ends_with("_test.lua") {
        return Some(format!("{shown}: is a test; name the script that it tests"));
    }
    if !name.ends_with(".lua") {
        return Some(format!("{shown}: must end in .lua"));
    }
    let stems = scripts
        .iter()
        .filter_map(|known| known.strip_suffix(".lua"));
    let advice = name
        .strip_suffix(".lua")
        .and_then(|stem| nearest(stem, stems))
        .map_or_else(String::new, |stem| {
            format!("; did you mean \"{stem}.lua\"?")
        });
    Some(format!(
        "{shown}: no such file in {}{advice}",
        directory.display()
    ))
}
