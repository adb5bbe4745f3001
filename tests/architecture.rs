//! The rules of the house, checked against the source: who may import whom, what is pure, where unsafe code is, how long a
//! file may be, and that what is documented is what there is.
//!
//! The tables below are the rules. Where the code proves one wrong, the table changes in the commit that changes the code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use wsd::metrics::{HOOK_METRICS, NodeMetrics, WorkerMetrics};

/// What each module may import of ours. Arrows point downwards only, so there are no circles.
const IMPORTS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("wire", &["types"]),
    ("protocol", &["types"]),
    ("hub", &["types"]),
    // `wire` for `Upgrade` alone, `config` for what a failure means.
    ("pipeline", &["types", "wire", "protocol", "config"]),
    ("tls", &[]),
    // `tls` judges a certificate, so that a bad one is a problem of the file.
    ("config", &["types", "tls"]),
    ("metrics", &["types"]),
    // A level higher than its neighbours: it needs the token and the routes.
    ("metrics/http", &["types", "config", "metrics"]),
    // `tls` for a Redis that is reached over it.
    ("broker", &["types", "config", "metrics", "tls"]),
    ("log", &["config"]),
    ("systemd", &[]),
    // `wire` for `Upgrade` alone.
    (
        "script",
        &["types", "wire", "protocol", "pipeline", "config", "metrics"],
    ),
    // Never `script`: a worker gets hooks as a trait object that is made on its own thread.
    (
        "worker",
        &[
            "types", "wire", "protocol", "hub", "pipeline", "broker", "config", "metrics", "tls",
            "log",
        ],
    ),
    ("control", &["types", "metrics"]),
    (
        "daemon",
        &[
            "types", "wire", "protocol", "hub", "pipeline", "config", "metrics", "broker", "tls",
            "log", "systemd", "script", "worker", "control",
        ],
    ),
    // `pipeline` for the error of a script, `worker` for the clock, `metrics` for the table of hooks: what `check` and
    // `test` give to scripts.
    (
        "cli",
        &[
            "types", "pipeline", "daemon", "control", "config", "metrics", "script", "worker",
            "log", "systemd",
        ],
    ),
    // Bodies of the fuzzers: they reach into every pure part, and give scripts a state.
    (
        "fuzzing",
        &[
            "types", "wire", "protocol", "hub", "pipeline", "config", "metrics", "broker",
            "worker", "script",
        ],
    ),
    ("main", &["cli"]),
];

/// What a file that calls itself `[pure]` never says: it decides, and somebody else acts.
const IMPURE: &[&str] = &[
    "tokio::",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "std::fs",
    "std::env",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "getrandom",
    "rand::",
    ".await",
    "async fn",
];

/// Where unsafe code may be.
const UNSAFE: &[&str] = &[
    "src/script/raw/",
    "src/systemd/fds.rs",
    "tests/bench/sys.rs",
];

/// The most lines of a file.
const LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Rust files below a directory, by their path from the root.
fn rust_files(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | "node_modules" | ".venv") {
                    open.push(path);
                }
            } else if name.ends_with(".rs") {
                found.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Whether a file is only there for tests.
fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("/testdata/")
}

/// The code of a file: without comments, strings' contents left as they are, and without its inline tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().map(|line| {
        let line = line.trim_start();
        if line.starts_with("//") {
            ""
        } else {
            line.split(" // ").next().unwrap_or_default()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a line has these words, not only as the beginning of longer ones.
fn says(line: &str, words: &str) -> bool {
    line.match_indices(words).any(|(at, _)| {
        let rest = &line[at + words.len()..];
        words.ends_with(':') || !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

/// The row of [`IMPORTS`] that holds for a file of `src`.
fn module(path: &str) -> &str {
    let path = path.strip_prefix("src/").unwrap().trim_end_matches(".rs");
    if path == "metrics/http" || path.starts_with("metrics/http/") {
        return "metrics/http";
    }
    path.split('/').next().unwrap()
}

/// The modules of the crate that some code names, whether as `use crate::{a, b::c}` or as a path.
fn imports(path: &str, code: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut found = BTreeSet::new();
    // Only the binary names the library from outside; `wsd` within it is what scripts see.
    let root = if path == "src/main.rs" {
        " wsd::"
    } else {
        "crate::"
    };
    {
        for (at, _) in code.match_indices(root) {
            // `mycrate::` is something else.
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &code[at + root.len()..];
            let Some(group) = rest.strip_prefix('{') else {
                found.insert(word(rest));
                continue;
            };
            let mut depth = 0;
            let mut start = true;
            for (i, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if start && !c.is_whitespace() => {
                        found.insert(word(&group[i..]));
                        start = false;
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let table: BTreeMap<_, BTreeSet<_>> = IMPORTS
        .iter()
        .map(|(name, allowed)| (*name, allowed.iter().copied().collect()))
        .collect();
    let mut wrong = Vec::new();
    for path in rust_files("src")
        .iter()
        .filter(|path| !is_test(path) && *path != "src/lib.rs")
    {
        let module = module(path);
        let allowed = table
            .get(module)
            .unwrap_or_else(|| panic!("{path}: no row for {module} in IMPORTS"));
        for import in imports(path, &code(&read(path))) {
            let own = module.split('/').next() == Some(import.as_str());
            if !own && !allowed.contains(import.as_str()) {
                wrong.push(format!("{path}: {module} may not import {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn table_of_imports_has_no_circle() {
    let mut order: Vec<&str> = Vec::new();
    for (name, allowed) in IMPORTS {
        for import in *allowed {
            // `pipeline` stands before `config`, which is below it.
            let known = order.contains(import) || (*name, *import) == ("pipeline", "config");
            assert!(known, "{name} imports {import}, which is not below it");
        }
        order.push(name);
    }
}

#[test]
fn pure_files_touch_nothing_outside() {
    let mut pure = 0;
    let mut wrong = Vec::new();
    for path in rust_files("src") {
        let text = read(&path);
        let header = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect::<String>();
        if !header.contains("[pure]") || is_test(&path) {
            continue;
        }
        pure += 1;
        let code = code(&text);
        for (number, line) in code.lines().enumerate() {
            for word in IMPURE.iter().filter(|word| says(line, word)) {
                wrong.push(format!(
                    "{path}:{}: \"{word}\" in a [pure] file",
                    number + 1
                ));
            }
        }
    }
    assert!(pure > 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_where_the_list_says() {
    let mut wrong = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        if path == file!() || UNSAFE.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        let text = read(&path);
        let says = |line: &&str| {
            let line = line.trim_start();
            !line.starts_with("//")
                && ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                    .iter()
                    .any(|u| line.contains(u))
        };
        if let Some(line) = text.lines().find(says) {
            wrong.push(format!("{path}: {}", line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let text = read(&path);
        let lines = text.lines().count();
        if lines > LINES {
            wrong.push(format!("{path}: {lines} lines, at most {LINES}"));
        }
        if !text.starts_with("//! ") {
            wrong.push(format!("{path}: does not open with a //! header"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The keys of the configuration with their defaults, from the list in the source.
fn config_keys() -> Vec<(String, String)> {
    let text = read("src/config/keys.rs");
    let list = text
        .split("pub const KEYS")
        .nth(1)
        .expect("no list KEYS in src/config/keys.rs");
    let list = list.split("];").next().unwrap_or_default();
    let row = |line: &str| {
        let line = line.trim().trim_end_matches(',').strip_suffix(')')?;
        let (_, arguments) = line.split_once('(')?;
        let (path, default) = arguments.split_once(", ")?;
        let path = if path == "FREE" {
            "hooks.settings"
        } else {
            path.trim_matches('"')
        };
        Some((path.to_owned(), default.to_owned()))
    };
    list.lines().filter_map(row).collect()
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let keys = config_keys();
    assert!(
        keys.len() > 50,
        "only {} keys were found in src/config/keys.rs",
        keys.len()
    );
    let (readme, file) = (read("README.md"), read("etc/wsd.toml"));
    let mut wrong = Vec::new();
    for (path, _) in &keys {
        if !readme.contains(&format!("`{path}`")) {
            wrong.push(format!("README.md: no `{path}`"));
        }
        let name = path.rsplit('.').next().unwrap();
        if !file.contains(name) {
            wrong.push(format!("etc/wsd.toml: no {name} ({path})"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn readme_names_no_key_that_there_is_not() {
    let keys: BTreeSet<_> = config_keys().into_iter().map(|(path, _)| path).collect();
    let readme = read("README.md");
    let tables: BTreeSet<_> = keys
        .iter()
        .filter_map(|key| key.split('.').next())
        .collect();
    let section = readme
        .split("## Configuration")
        .nth(1)
        .expect("no section Configuration");
    let section = section.split("\n## ").next().unwrap_or_default();
    for name in section.split('`').skip(1).step_by(2) {
        let is_key = name.split_once('.').is_some_and(|(table, rest)| {
            tables.contains(table)
                && rest
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '_' || c == '.')
        });
        let is_table = keys.iter().any(|key| key.starts_with(&format!("{name}.")));
        assert!(
            !is_key || is_table || keys.contains(name),
            "README.md: `{name}` is no key"
        );
    }
}

#[test]
fn metrics_of_code_and_readme_are_the_same() {
    let code: BTreeSet<_> = WorkerMetrics::SERIES
        .iter()
        .chain(NodeMetrics::SERIES)
        .map(|series| series.name)
        .chain(HOOK_METRICS.map(|(name, _)| name))
        .collect();
    let readme = read("README.md");
    let section = readme
        .split("## Metrics")
        .nth(1)
        .expect("no section Metrics");
    let section = section.split("\n## ").next().unwrap_or_default();
    let named: BTreeSet<_> = section
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.starts_with("wsd_"))
        .map(|name| name.split('{').next().unwrap_or_default())
        .collect();
    assert_eq!(named, code, "left: README.md, right: src/metrics/mod.rs");
}

#[test]
fn rust_version_is_one_and_the_same() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let promised = manifest["package"]["rust-version"]
        .as_str()
        .unwrap()
        .to_owned();
    let readme = read("README.md");
    assert!(
        readme.contains(&format!("Rust {promised}")),
        "README.md does not say Rust {promised}"
    );
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = std::process::Command::new(rustc)
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert!(
        version.starts_with(&format!("rustc {promised}.")),
        "Cargo.toml promises {promised}, this is {version}"
    );
}

#[test]
fn dependencies_spell_out_their_features() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(dependencies) = manifest.get(table).and_then(toml::Value::as_table) else {
            continue;
        };
        for (name, spec) in dependencies {
            let default = spec.get("default-features").and_then(toml::Value::as_bool);
            assert_eq!(
                default,
                Some(false),
                "{table}.{name}: default-features = false is missing"
            );
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::types::X;\nuse crate::{wire::{self, Y}, hub,\n pipeline::Z};\nlet a = crate::config::B;\nmycrate::no();";
    let found: Vec<_> = imports("src/x.rs", code).into_iter().collect();
    assert_eq!(found, ["config", "hub", "pipeline", "types", "wire"]);
}
