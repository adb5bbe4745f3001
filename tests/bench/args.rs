//! The command line of the load generator.

use std::path::PathBuf;

use clap::Parser;

use crate::floor::{Fault, Flavour};

/// Loads wsd and prints what a delivery and a connection cost.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench")]
pub(crate) struct Arguments {
    /// Scenarios (see --list), or all, echo, fanout, hooks, redis, scale.
    #[arg(default_value = "all")]
    pub(crate) scenarios: Vec<String>,
    /// How often each is run; the servers take turns, the table has medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
    /// How long each is measured, instead of the scenario's own time; those that are idle at least for their own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub(crate) seconds: Option<u64>,
    /// Workers of wsd, instead of the scenario's own; several take turns: 1,2.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: Vec<u32>,
    /// Other people's servers that take turns with wsd: all, or some of --list's; got from their registries if missing.
    #[arg(long, value_name = "NAME,…", num_args = 0..=1, require_equals = true, default_missing_value = "all", value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
    /// Write everything that was measured as JSON too; "-" is standard output, then without the tables.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Run only the server, not the floors.
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Run only the floors, and the peers that are asked for.
    #[arg(long, conflicts_with = "no_floor")]
    pub(crate) no_wsd: bool,
    /// The wsd to measure.
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_wsd"))]
    pub(crate) wsd: PathBuf,
    /// Another server instead; {port} and {config} (wsd's configuration) are filled in.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) server: Option<String>,
    /// Hook scripts that wsd runs, instead of the scenario's own.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) hooks: Option<PathBuf>,
    /// List the scenarios.
    #[arg(long)]
    pub(crate) list: bool,
    /// Let a floor lose, double, reorder and damage messages, and check that each is seen.
    #[arg(long)]
    pub(crate) prove: bool,

    /// Serve as a floor (this program starts itself so).
    #[arg(long, hide = true, requires = "port")]
    pub(crate) floor: Option<Flavour>,
    /// Serve over tokio-tungstenite (this program starts itself so).
    #[arg(long, hide = true, requires = "port")]
    pub(crate) tungstenite: bool,
    /// Where the floor listens.
    #[arg(long, hide = true)]
    pub(crate) port: Option<u16>,
    /// What the floor does wrong.
    #[arg(long, hide = true)]
    pub(crate) fault: Option<Fault>,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}
