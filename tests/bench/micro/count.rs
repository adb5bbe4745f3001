//! Counts the instructions of an operation, and compares them with the committed baseline.
//!
//! valgrind runs this program with an operation done n times, and with one done m times more: the difference, divided by m,
//! is the operation's own, without start-up and set-up. Not iai-callgrind: it does the same, but needs a program of its own in
//! the same version installed beside it. valgrind takes the processor's place, so its features and the machine's load do not
//! matter; the compiler and the C library do, so the baseline says which they were.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::cases::CASES;
use crate::machine::Machine;

/// What is done with the counts besides printing them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    /// Nothing.
    Print,
    /// It is a failure if an operation takes more than the baseline, beyond what is noise.
    Judge,
    /// They are the baseline from now on.
    Save,
}

/// Counts every case; `false` if one is judged to be too much.
pub(crate) fn run(then: Then) -> io::Result<bool> {
    let baseline = match fs::read_to_string(path()) {
        Ok(text) => serde_json::from_str::<Baseline>(&text).map_err(io::Error::other)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Baseline::default(),
        Err(e) => return Err(e),
    };
    println!(
        "{:<24} {:>14} {:>14} {:>7}",
        "operation", "instructions", "baseline", "ratio"
    );
    let mut instructions = BTreeMap::new();
    let mut worse = Vec::new();
    for case in CASES {
        let now = count(case.name)?;
        match baseline.instructions.get(case.name) {
            Some(&before) => {
                let ratio = now / before;
                println!("{:<24} {now:>14.0} {before:>14.0} {ratio:>7.3}", case.name);
                if ratio > NOISE {
                    worse.push(case.name);
                }
            }
            None => println!("{:<24} {now:>14.0} {:>14} {:>7}", case.name, "–", "–"),
        }
        instructions.insert(case.name.to_owned(), now.round());
    }
    if then == Then::Save {
        let saved = Saved {
            machine: Machine::here("scripts/bench micro --save".to_owned())?,
            valgrind: version(),
            instructions,
        };
        let mut text = serde_json::to_string_pretty(&saved).map_err(io::Error::other)?;
        text.push('\n');
        fs::write(path(), text)?;
        println!("saved as {}", path().display());
        return Ok(true);
    }
    if then == Then::Judge && baseline.instructions.is_empty() {
        return Err(io::Error::other("there is no baseline: --save makes one"));
    }
    for name in &worse {
        println!(
            "{name} takes over {:.0} % more than the baseline",
            (NOISE - 1.0) * 100.0
        );
    }
    Ok(then == Then::Print || worse.is_empty())
}

/// Does a case so many times; what valgrind runs.
pub(crate) fn repeat(name: &str, times: &str) -> io::Result<bool> {
    let case = CASES.iter().find(|case| case.name == name).ok_or_else(|| {
        io::Error::other(format!(
            "no operation is called \"{name}\"; --list names them"
        ))
    })?;
    let times: u32 = times.parse().map_err(io::Error::other)?;
    let mut operation = (case.make)();
    for _ in 0..times {
        black_box(&mut operation)();
    }
    Ok(true)
}

fn count(name: &str) -> io::Result<f64> {
    let (few, many) = (under_valgrind(name, FEW)?, under_valgrind(name, MANY)?);
    Ok((many as f64 - few as f64) / f64::from(MANY - FEW))
}

fn under_valgrind(name: &str, times: u32) -> io::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--once", name, &times.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| io::Error::other(format!("valgrind: {e}; apt-get install valgrind")))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.trim().parse().ok());
    match collected {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(io::Error::other(format!(
            "{name} under valgrind: {}: {text}",
            output.status
        ))),
    }
}

fn version() -> String {
    Command::new("valgrind")
        .arg("--version")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bench/baseline.json")
}

#[derive(Debug, Default, Deserialize)]
struct Baseline {
    instructions: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct Saved {
    machine: Machine,
    valgrind: String,
    instructions: BTreeMap<String, f64>,
}

/// Tables and caches of an allocator have their size by then.
const FEW: u32 = 200;
const MANY: u32 = 1_200;

/// Counts of two builds of the same source differ by less: keyed tables place names differently.
const NOISE: f64 = 1.03;
