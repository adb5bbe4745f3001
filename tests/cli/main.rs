//! The command line as its users see it: exact output and exit codes of the real binary.
//!
//! Each `golden/*.out` is one command: what was typed, standard output, standard error behind `! `, the exit code;
//! `config_*.out` are what `check` says to the configuration of that name. `WSD_BLESS=1` writes the former anew; read
//! the difference before it is committed. `daemon.rs` has the tools that talk to a daemon, over the real control socket,
//! with a daemon of a few lines at its other end; `packaging.rs` what packages carry beside the binary.

#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

mod daemon;
mod packaging;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary, with nothing of the test's surroundings that would change what it does.
fn wsd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsd"));
    command.args(args);
    for name in [
        "WSD_CONFIG",
        "RUNTIME_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "COLUMNS",
    ] {
        command.env_remove(name);
    }
    command.env("RUST_BACKTRACE", "0");
    command
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden")
}

/// Standard output, standard error, exit code.
fn parts(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

#[test]
fn every_command_prints_what_its_file_says() {
    let mut names: Vec<_> = fs::read_dir(golden())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "out"))
        .filter(|path| !is_refusal(path))
        .collect();
    names.sort();
    assert!(names.len() >= 15, "{names:?}");
    let mut different = Vec::new();
    for path in names {
        let expected = fs::read_to_string(&path).unwrap();
        let first = expected.lines().next().unwrap();
        let args: Vec<_> = first.strip_prefix("$ wsd ").unwrap().split(' ').collect();
        let output = wsd(&args).current_dir(golden()).output().unwrap();
        let (stdout, stderr, code) = parts(&output);
        let mut said = format!("{first}\n{stdout}");
        for line in stderr.lines() {
            writeln!(said, "! {line}").unwrap();
        }
        writeln!(said, "(exit {})", code.unwrap_or(-1)).unwrap();
        if std::env::var_os("WSD_BLESS").is_some() {
            fs::write(&path, said).unwrap();
        } else if said != expected {
            different.push(format!(
                "{}:\n{said}--- instead of\n{expected}",
                path.display()
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Whether it holds the problems of the configuration beside it, as the configuration's own tests have them.
fn is_refusal(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"config_"))
}

#[test]
fn check_prints_the_problems_that_a_configuration_has() {
    let mut count = 0;
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        if !is_refusal(&path) || path.extension().is_none_or(|extension| extension != "out") {
            continue;
        }
        let config = Path::new(path.file_name().unwrap()).with_extension("toml");
        let output = wsd(&["check", "-c", config.to_str().unwrap()])
            .current_dir(golden())
            .output()
            .unwrap();
        let (stdout, stderr, code) = parts(&output);
        let expected = fs::read_to_string(&path).unwrap();
        assert_eq!((stdout.as_str(), stderr, code), ("", expected, Some(78)));
        count += 1;
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn the_configuration_is_the_argument_else_the_environment() {
    let check = |args: &[&str], variable: &str| {
        let output = wsd(args)
            .env("WSD_CONFIG", variable)
            .current_dir(golden())
            .output()
            .unwrap();
        let (stdout, stderr, _) = parts(&output);
        let said = stdout + &stderr;
        said.split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(check(&["check"], "ok.toml"), "ok.toml");
    assert_eq!(
        check(&["check", "-c", "syntax.toml"], "ok.toml"),
        "syntax.toml"
    );
    assert_eq!(check(&["-c", "ok.toml", "check"], "absent.toml"), "ok.toml");
}

#[test]
fn what_check_prints_can_be_checked() {
    let output = wsd(&["check", "--print", "-c", "routes.toml"])
        .current_dir(golden())
        .output()
        .unwrap();
    let (printed, stderr, code) = parts(&output);
    assert_eq!(code, Some(0), "{stderr}");
    let directory = daemon::Directory::new("print");
    fs::write(directory.path("again.toml"), &printed).unwrap();
    let again = wsd(&["check", "--print", "-c", "again.toml"])
        .current_dir(directory.path("."))
        .output()
        .unwrap();
    assert_eq!(parts(&again).0, printed);
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let output = Command::new("sh")
        .args([
            "-c",
            "\"$0\" check --print -c ok.toml | true; \"$0\" --help | true",
        ])
        .arg(env!("CARGO_BIN_EXE_wsd"))
        .current_dir(golden())
        .output()
        .unwrap();
    let (_, stderr, code) = parts(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}
