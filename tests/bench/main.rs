//! The project's load generator: `scripts/bench`.
//!
//! Starts wsd and the floors in turn, loads them over loopback with what `scenario.rs` lists, and prints what a delivery and
//! a connection cost. One thread; the servers are processes of their own. `tests/bench/README.md` says how to read it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program whose purpose is a table"
)]

mod client;
mod crowd;
mod floor;
mod frame;
mod idle;
mod launch;
mod load;
mod measure;
mod message;
mod prove;
mod redis;
mod report;
mod scenario;
mod sys;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use floor::{Fault, Flavour};
use launch::{Running, Server, Settings};
use report::{Idles, Loads, Report};
use scenario::{Pace, SCENARIOS, Scenario};

/// Loads wsd and prints what a delivery and a connection cost.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench")]
struct Arguments {
    /// Scenarios (see --list), or all, echo (echo1, echo16), fanout (fan-sat, fan-sat1000).
    #[arg(default_value = "all")]
    scenarios: Vec<String>,
    /// How often each is run; the servers take turns, the table has medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// How long each is measured, instead of the scenario's own time.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: Option<u64>,
    /// Workers of wsd.
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Run only the server, not the floors.
    #[arg(long)]
    no_floor: bool,
    /// Run only the floors.
    #[arg(long, conflicts_with = "no_floor")]
    no_wsd: bool,
    /// The wsd to measure.
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_wsd"))]
    wsd: PathBuf,
    /// Another server instead; {port} and {config} (wsd's configuration) are filled in.
    #[arg(long, value_name = "COMMAND")]
    server: Option<String>,
    /// Hook scripts that wsd runs; by default none.
    #[arg(long, value_name = "DIRECTORY")]
    hooks: Option<PathBuf>,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
    /// Let a floor lose, double, reorder and damage messages, and check that each is seen.
    #[arg(long)]
    prove: bool,

    /// Serve as a floor (this program starts itself so).
    #[arg(long, hide = true, requires = "port")]
    floor: Option<Flavour>,
    /// Where the floor listens.
    #[arg(long, hide = true)]
    port: Option<u16>,
    /// What the floor does wrong.
    #[arg(long, hide = true)]
    fault: Option<Fault>,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

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
        floor::serve(
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            flavour,
            arguments.fault,
        )?;
        return Ok(true);
    }
    if arguments.list {
        for scenario in SCENARIOS {
            println!("{:<12} {}", scenario.name, scenario.about);
        }
        return Ok(true);
    }
    let open_files = sys::raise_open_files()?;
    sys::exact_timeouts()?;
    if arguments.prove {
        return prove::run();
    }
    let mut chosen: Vec<&'static Scenario> = Vec::new();
    for name in &arguments.scenarios {
        let named = scenario::named(name);
        if named.is_empty() {
            let text = format!("no scenario is called \"{name}\"; --list names them");
            return Err(io::Error::other(text));
        }
        chosen.extend(named);
    }
    let mut report = Report {
        workers: arguments.workers,
        ..Report::default()
    };
    for scenario in chosen {
        if u64::from(scenario.connections()) + 100 > open_files {
            report.failures.push(format!(
                "{}: needs {} open files, the hard limit is {open_files}",
                scenario.name,
                scenario.connections() + 100
            ));
        } else if matches!(scenario.pace, Pace::Idle) {
            measure_idle(scenario, arguments, &mut report);
        } else {
            measure_load(scenario, arguments, &mut report);
        }
    }
    if arguments.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).map_err(io::Error::other)?
        );
    } else {
        print!("{}", report.table());
    }
    Ok(report.clean())
}

fn measure_load(scenario: &'static Scenario, arguments: &Arguments, report: &mut Report) {
    let rounds = in_turn(scenario, arguments, report, &FLOORS, |server, time| {
        let sample = load::run(scenario, server, time)?;
        eprintln!(
            "{:.3} µs a delivery, {:.0} deliveries/s",
            sample.cpu, sample.rate
        );
        Ok(sample)
    });
    let floor = rounds.iter().find(|(name, _)| *name == "floor-coalesce");
    let floor = floor.map_or(&[][..], |(_, samples)| samples);
    let measured = rounds.iter().filter(|(_, samples)| !samples.is_empty());
    report
        .loads
        .extend(measured.map(|(name, samples)| Loads::of(scenario, name, samples, floor)));
}

fn measure_idle(scenario: &'static Scenario, arguments: &Arguments, report: &mut Report) {
    // The floors differ only in how they write: one is enough where nearly nothing is written.
    let rounds = in_turn(scenario, arguments, report, &FLOORS[1..], |server, time| {
        let sample = idle::run(scenario, server, time)?;
        eprintln!(
            "{:.0} B settled, {:.0} B after a message",
            sample.settled, sample.spoken
        );
        Ok(sample)
    });
    let measured = rounds.iter().filter(|(_, samples)| !samples.is_empty());
    report
        .idle
        .extend(measured.map(|(name, samples)| Idles::of(scenario, name, samples)));
}

/// Runs a scenario with all servers in turn, round after round, each time with a fresh process.
fn in_turn<S>(
    scenario: &'static Scenario,
    arguments: &Arguments,
    report: &mut Report,
    floors: &[Flavour],
    one: impl Fn(&mut Running, Duration) -> io::Result<S>,
) -> Vec<(&'static str, Vec<S>)> {
    let settings = Settings {
        workers: arguments.workers,
        hooks: arguments.hooks.clone(),
        nodes: scenario.nodes,
    };
    let time = Duration::from_secs(arguments.seconds.unwrap_or(scenario.seconds));
    let mut servers = Vec::new();
    // A floor knows no other.
    if !arguments.no_floor && scenario.nodes == 1 {
        servers.extend(floors.iter().map(|flavour| Server::Floor(*flavour, None)));
    }
    if !arguments.no_wsd {
        servers.push(arguments.server.as_ref().map_or_else(
            || Server::Wsd(arguments.wsd.clone()),
            |command| Server::Command(command.clone()),
        ));
    }
    let mut found: Vec<_> = servers
        .iter()
        .map(|server| (server.name(), Vec::new()))
        .collect();
    for round in 1..=arguments.rounds {
        for (server, (name, samples)) in servers.iter().zip(&mut found) {
            eprint!("{} {round}/{} {name}: ", scenario.name, arguments.rounds);
            let result = Running::start(server, &settings).and_then(|mut running| {
                // That the server has ended says more than a socket's error.
                one(&mut running, time).or_else(|e| running.check_alive().and(Err(e)))
            });
            match result {
                Ok(sample) => samples.push(sample),
                Err(e) => {
                    eprintln!("failed");
                    report
                        .failures
                        .push(format!("{} {name}: {e}", scenario.name));
                }
            }
        }
    }
    found
}

const FLOORS: [Flavour; 2] = [Flavour::Write, Flavour::Coalesce];
