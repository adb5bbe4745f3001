//! The project's load generator: `scripts/bench`.
//!
//! Starts wsd, the floors and other servers in turn, loads them over loopback with what `rows.rs` lists, and prints what a
//! delivery and a connection cost. One thread; the servers are processes of their own. `tests/bench/README.md` says how to
//! read it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program whose purpose is a table"
)]

mod args;
mod client;
mod codec;
mod crowd;
mod floor;
mod frame;
mod idle;
mod launch;
mod load;
mod machine;
mod measure;
mod message;
mod peers;
mod plain;
mod progress;
mod prove;
mod redis;
mod report;
mod rows;
mod scale;
mod scenario;
mod sys;
mod tungstenite;
mod turns;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use args::Arguments;
use machine::Machine;
use peers::PEERS;
use progress::Progress;
use report::Report;
use rows::SCENARIOS;
use scenario::Scenario;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("scripts/bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<bool> {
    if let (Some(flavour), Some(port)) = (arguments.floor, arguments.port) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        floor::serve(address, flavour, arguments.fault)?;
        return Ok(true);
    }
    if let (true, Some(port)) = (arguments.tungstenite, arguments.port) {
        tungstenite::serve(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        return Ok(true);
    }
    if arguments.list {
        for scenario in SCENARIOS {
            println!("{:<12} {}", scenario.name, scenario.about);
        }
        for peer in PEERS {
            println!("--peers={:<12} {}", peer.name, peer.about);
        }
        return Ok(true);
    }
    let open_files = sys::raise_open_files()?;
    sys::exact_timeouts()?;
    if arguments.prove {
        return prove::run();
    }
    measure(arguments, &chosen(arguments)?, open_files)
}

fn chosen(arguments: &Arguments) -> io::Result<Vec<&'static Scenario>> {
    let mut chosen: Vec<&'static Scenario> = Vec::new();
    for name in &arguments.scenarios {
        let named = rows::named(name);
        if named.is_empty() {
            let text = format!("no scenario is called \"{name}\"; --list names them");
            return Err(io::Error::other(text));
        }
        chosen.extend(named);
    }
    Ok(chosen)
}

fn measure(arguments: &Arguments, chosen: &[&Scenario], open_files: u64) -> io::Result<bool> {
    let turns = |scenario: &&Scenario| turns::contenders(scenario, arguments).len();
    let total: usize = chosen.iter().map(turns).sum();
    let mut progress = Progress::of(u32::try_from(total).unwrap_or(u32::MAX) * arguments.rounds);
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let command = format!("scripts/bench {}", words.join(" "));
    let mut report = Report::new(
        Machine::here(command.trim_end().to_owned())?,
        arguments.rounds,
    );
    for name in &arguments.peers {
        let peers = peers::named(name).ok_or_else(|| {
            io::Error::other(format!("no peer is called \"{name}\"; --list names them"))
        })?;
        for peer in peers {
            report.versions.insert(peer.name, peer.install()?);
        }
    }
    let only_json = arguments.json.as_deref() == Some(Path::new("-"));
    for scenario in chosen {
        let needed = u64::from(scenario.connections()) + 100;
        if needed > open_files {
            let text = format!(
                "{}: needs {needed} open files, the hard limit is {open_files} (ulimit -Hn)",
                scenario.name
            );
            eprintln!("failed: {text}");
            report.failures.push(text);
            continue;
        }
        turns::measure(scenario, arguments, &mut progress, &mut report);
        if !only_json {
            print!("{}", report.section(scenario));
        }
        // After each scenario, so that a call that is ended early leaves what it has found.
        if let Some(path) = arguments.json.as_deref().filter(|_| !only_json) {
            fs::write(path, json(&report)?)
                .map_err(|e| io::Error::other(format!("{}: {e}", path.display())))?;
        }
    }
    if only_json {
        print!("{}", json(&report)?);
    }
    Ok(report.clean())
}

fn json(report: &Report) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}
