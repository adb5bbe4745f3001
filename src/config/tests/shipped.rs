//! `etc/wsd.toml`, `wsd check --print` and the golden cases against the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::super::keys::{ARRAYS, FREE, KEYS};
use super::super::*;
use super::{Folder, good};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The lines of `etc/wsd.toml` that are TOML behind their `#`, with the table that each is in.
fn commented() -> Vec<(String, String)> {
    let text = fs::read_to_string(repository("etc/wsd.toml")).unwrap();
    let mut table = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some(line) = line.strip_prefix('#') else {
            assert!(line.trim().is_empty(), "not commented out: {line}");
            continue;
        };
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if !line.starts_with(|c: char| c.is_ascii_lowercase()) {
            assert!(line.is_empty() || line.starts_with(' '), "{line}");
            continue;
        }
        lines.push((table.clone(), line.to_owned()));
    }
    lines
}

/// Tables whose lines are examples and not defaults.
fn is_example(table: &str) -> bool {
    ARRAYS.contains(&table) || table == FREE || table == "tls"
}

#[test]
fn the_shipped_file_loads_as_it_is() {
    let folder = Folder::new();
    folder.write("wsd.toml", fs::read(repository("etc/wsd.toml")).unwrap());
    let loaded = folder.load().unwrap();
    assert_eq!(loaded.warnings, []);
    assert!(diff(&Config::default(), &loaded.config).is_empty());
}

#[test]
fn the_shipped_file_has_every_key_with_its_default() {
    let lines = commented();
    let defaults: Vec<&str> = lines
        .iter()
        .filter(|(table, _)| !is_example(table))
        .map(|(_, line)| line.as_str())
        .collect();
    let config = good(&defaults.join("\n"));
    let changes = diff(&Config::default(), &config);
    assert!(changes.is_empty(), "{changes:?}");

    let mut written = BTreeSet::new();
    for (table, line) in &lines {
        let Some((name, value)) = line.split_once(" = ") else {
            continue;
        };
        let value: toml::Table = format!("x = {value}").parse().unwrap();
        match value.get("x") {
            Some(toml::Value::Table(inner)) => {
                written.extend(inner.keys().map(|inner| format!("{table}.{name}.{inner}")));
            }
            _ => {
                written.insert(format!("{table}.{name}"));
            }
        }
    }
    written.retain(|path| !path.starts_with(FREE));
    let known: BTreeSet<String> = KEYS
        .iter()
        .filter(|key| key.path != FREE)
        .map(|key| key.path.to_owned())
        .collect();
    assert_eq!(written, known);
}

#[test]
fn what_is_printed_loads_to_the_same() {
    let folder = Folder::new();
    for script in ["a.lua", "b.lua"] {
        folder.write(&format!("hooks/{script}"), "");
    }
    fs::create_dir(folder.path().join("lua")).unwrap();
    for text in [
        "",
        "listen.addresses = [\"[::1]:1\", \"unix:x.sock\"]\nlisten.backlog = 7\nbroker.url = \"redis+unix:///r.sock\"\n\
         broker.prefix = \"a\\\"\\\\é:\"\nbroker.username = \"ann\"\nbroker.buffer = 1234\nadmin.http = \"\"\n\
         hooks = { directory = \"hooks\", modules = \"lua\", memory = \"1536KiB\", watch = false, time_limit = { load = \"1h1m1s1ms\" } }\n",
        "hooks.settings = { \"a b\" = [1, -2.5, 1e30, inf, true, { x = \"\\u0000\\n\\\"\" }, []], \
         d = 1979-05-27T07:32:00.5Z, \"\" = {} }\nlimits.origins = [\"https://*.example.com\", \"app://x\"]\n\
         log.level = \"warn,conn=debug\"\n",
        "hooks.directory = \"hooks\"\n[[route]]\npath = \"/r/{room}/{rest*}\"\nchannel = \"r:{room}-{rest}\"\n\
         hooks = [\"b.lua\", \"a.lua\"]\npublish = false\necho = false\n[[route]]\npath = \"/none\"\nchannel = \"\"\n\
         hooks = []\n[[route]]\npath = \"/caf%C3%A9\"\n[delivery]\nformat = \"lines\"\n[[channel]]\nmatch = \"a*\"\n\
         delivery = { window = \"1s\", when_full = \"drop-oldest\" }\n[[channel]]\nmatch = \"*\"\n\
         publish.max_messages = 1\n",
    ] {
        folder.write("wsd.toml", text);
        let first = folder
            .load()
            .unwrap_or_else(|problems| panic!("{problems}"))
            .config;
        let printed = first.print();
        folder.write("wsd.toml", &printed);
        let second = folder
            .load()
            .unwrap_or_else(|problems| panic!("{printed}\n{problems}"))
            .config;
        assert_eq!(first, second, "{printed}");
        assert_eq!(second.print(), printed);
        for key in KEYS
            .iter()
            .filter(|key| !is_example(key.path.split('.').next().unwrap()))
        {
            let name = key.path.rsplit('.').next().unwrap();
            assert!(
                key.path == FREE || printed.contains(&format!("\n{name} = ")),
                "{}",
                key.path
            );
        }
    }
}

#[test]
fn a_secret_is_never_printed() {
    let config =
        good("broker = { url = \"redis://h\", password = \"sesame\" }\nadmin.token = \"sesame\"\n");
    let printed = config.print();
    assert!(!printed.contains("sesame"));
    assert_eq!(printed.matches("\"***\"").count(), 2);
    let again = good(&printed);
    assert!(again.broker.password.is_empty() && again.admin.token.is_empty());
    assert_eq!(diff(&config, &again).len(), 2);
}

#[test]
fn the_golden_cases_say_exactly_this() {
    let folder = repository("tests/cli/golden");
    let mut cases = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("config_") || !name.ends_with(".toml") {
            continue;
        }
        cases += 1;
        let problems = load(&path, &LoadOptions::default(), &mut StageLists::new())
            .expect_err("golden configurations are refused");
        let count = problems.count();
        let shown = format!("{problems}\n{}\n", count_line(count));
        let shown = shown.replace(&format!("{}/", folder.display()), "");
        let expected = fs::read_to_string(path.with_extension("out")).unwrap();
        assert_eq!(shown, expected, "{}", path.display());
    }
    assert!(cases >= 4, "only {cases} cases");
}
