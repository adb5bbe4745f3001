//! What packages carry beside the binary: the example hook, completions, manual pages, the version.

use std::fs;
use std::path::Path;

use super::{daemon, parts, wsd};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_example_that_is_installed_works_once_its_marks_are_gone() {
    let shipped = read("packaging/hooks/10-example.lua");
    assert!(
        shipped
            .lines()
            .all(|line| line.is_empty() || line.starts_with("--")),
        "not all of it is commented out"
    );
    let directory = daemon::Directory::new("example");
    fs::write(
        directory.path("wsd.toml"),
        "[hooks]\ndirectory = \"hooks\"\nmodules = \"lua\"\n",
    )
    .unwrap();
    fs::create_dir(directory.path("hooks")).unwrap();
    fs::create_dir(directory.path("lua")).unwrap();
    let check = |script: &str| {
        fs::write(directory.path("hooks/10-example.lua"), script).unwrap();
        let output = wsd(&["check", "--strict", "-c", "wsd.toml"])
            .current_dir(directory.path("."))
            .output()
            .unwrap();
        parts(&output)
    };
    let (stdout, stderr, code) = check(&shipped);
    assert!(
        stdout.contains("10-example.lua: no hooks"),
        "{stdout}{stderr}"
    );
    assert_eq!(code, Some(0), "{stderr}");
    // Code follows its mark at once, or indented by two.
    let code = |line: &str| {
        let rest = line
            .strip_prefix("--")
            .filter(|rest| !rest.starts_with(' ') || rest.starts_with("  "));
        rest.unwrap_or(line).to_owned()
    };
    let working: Vec<String> = shipped.lines().map(code).collect();
    let (stdout, stderr, code) = check(&working.join("\n"));
    assert_eq!(code, Some(0), "{stderr}");
    for hook in ["on_connect", "on_message", "on_subscribe", "on_disconnect"] {
        assert!(stdout.contains(hook), "{stdout}");
    }
}

#[test]
fn completions_name_every_command() {
    let help = wsd(&["--help"]).output().unwrap();
    let (help, _, _) = parts(&help);
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands: Vec<_> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert!(commands.contains(&"reload"), "{commands:?}");
    for shell in ["bash", "zsh", "fish"] {
        let (script, stderr, code) = parts(&wsd(&["completions", shell]).output().unwrap());
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{shell}");
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn manual_pages_say_what_there_is() {
    // Keys, commands, metrics and events are put in from their sources, which other tests compare with the code.
    for (page, part) in [
        ("wsd.toml.5.in", "keys"),
        ("wsd.8.in", "commands"),
        ("wsd.8.in", "metrics"),
        ("wsd.8.in", "events"),
    ] {
        let mark = format!("\n.\\\" @{part}@\n");
        let text = read(&format!("packaging/man/{page}"));
        assert!(text.contains(&mark), "{page}: no {part}");
    }
    let page = read("packaging/man/wsd.8.in");
    let codes = page.split(".SH EXIT STATUS").nth(1).unwrap();
    let codes = codes.split(".SH ").next().unwrap();
    let listed: Vec<_> = codes
        .lines()
        .filter_map(|line| line.strip_prefix(".B "))
        .collect();
    assert_eq!(listed, ["0", "1", "2", "70", "78"]);
}

#[test]
fn the_changelog_begins_with_the_version() {
    let (said, _, _) = parts(&wsd(&["--version"]).output().unwrap());
    let version = said.trim().strip_prefix("wsd ").unwrap();
    let changelog = read("packaging/debian/changelog");
    assert!(
        changelog.starts_with(&format!("wsd ({version}) ")),
        "packaging/debian/changelog does not begin with {version}"
    );
}
