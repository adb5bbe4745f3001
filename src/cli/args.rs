//! What can be written on the command line, as clap's derive.
//!
//! Raw: what an argument means (a channel's name, a file) is checked where it is used. A subcommand that is not built
//! yet is not here, so that `--help` tells the truth.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use super::bench::Bench;

/// A daemon that carries messages between WebSocket clients.
#[derive(Debug, Parser)]
#[command(name = "wsd", version)]
#[command(
    after_help = "Without a subcommand: run.\n\nExit codes: 0 done, 1 failed, 2 usage, 70 a bug, 78 configuration or script refused."
)]
pub(super) struct Args {
    /// The configuration [default: $WSD_CONFIG, else /etc/wsd/wsd.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The instance wsd@NAME: /etc/wsd/NAME.toml and /run/wsd-NAME
    #[arg(
        short,
        long,
        global = true,
        value_name = "NAME",
        conflicts_with = "config"
    )]
    #[arg(value_parser = instance)]
    pub(super) instance: Option<String>,

    #[command(subcommand)]
    pub(super) subcommand: Option<Subcommand>,
}

impl Args {
    /// Writes the script that makes a shell complete what is here.
    pub(super) fn completions(shell: clap_complete::Shell) -> String {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Self::command(), "wsd", &mut script);
        String::from_utf8_lossy(&script).trim_end().to_owned()
    }

    /// Parses a command line. Help and version come as errors too.
    pub(super) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args = Self::try_parse_from(args).map_err(with_hint)?;
        // clap compares only what stands on the same side of the subcommand.
        let other = match (
            &args.config,
            args.target().and_then(|it| it.socket.as_ref()),
        ) {
            _ if args.instance.is_none() => None,
            (Some(_), _) => Some("-c"),
            (None, Some(_)) => Some("--socket"),
            (None, None) => None,
        };
        match other {
            Some(other) => {
                let what = format!("-i and {other} exclude each other");
                Err(Self::command().error(ErrorKind::ArgumentConflict, what))
            }
            None => Ok(args),
        }
    }

    fn target(&self) -> Option<&Target> {
        match self.subcommand.as_ref()? {
            Subcommand::Bench(_)
            | Subcommand::Check(_)
            | Subcommand::Completions { .. }
            | Subcommand::Run
            | Subcommand::Test(_) => None,
            Subcommand::Publish(options) => Some(&options.target),
            Subcommand::Reload(target) => Some(target),
            Subcommand::Status(options) => Some(&options.target),
            Subcommand::Subscribe(options) => Some(&options.target),
        }
    }

    /// The configuration's main file.
    pub(super) fn config(&self) -> PathBuf {
        if let Some(file) = &self.config {
            return file.clone();
        }
        if let Some(name) = &self.instance {
            return PathBuf::from(format!("/etc/wsd/{name}.toml"));
        }
        std::env::var_os("WSD_CONFIG")
            .filter(|file| !file.is_empty())
            .map_or_else(|| PathBuf::from("/etc/wsd/wsd.toml"), PathBuf::from)
    }
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Load a running node over its WebSocket address, and say what it carries
    Bench(Bench),
    /// Check configuration and scripts, without binding anything
    Check(Check),
    /// Print what makes a shell complete wsd's commands; for packages
    #[command(hide = true)]
    Completions {
        /// For which one
        shell: clap_complete::Shell,
    },
    /// Publish a message, as a client would
    Publish(Publish),
    /// Load configuration and scripts again; all or nothing
    Reload(Target),
    /// Run the daemon
    Run,
    /// Show how the daemon is
    Status(Status),
    /// Print what is published to a channel, a line each
    Subscribe(Subscribe),
    /// Run hook tests, without a server
    Test(Test),
}

/// Which daemon to speak to.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The daemon's control socket [default: $RUNTIME_DIRECTORY/control.sock, else admin.control]
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
}

/// `wsd check`
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Check {
    /// Print every name that hooks can use, with a line for each; nothing is checked
    #[arg(long, conflicts_with_all = ["print", "strict"])]
    pub(super) api: bool,
    /// Print the whole configuration that results, drop-ins and defaults included
    #[arg(long)]
    pub(super) print: bool,
    /// Refuse what is only worth a warning
    #[arg(long)]
    pub(super) strict: bool,
}

/// `wsd status`
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) target: Target,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// `wsd publish`
#[derive(Debug, clap::Args)]
pub(super) struct Publish {
    #[command(flatten)]
    pub(super) target: Target,
    /// Where to
    pub(super) channel: String,
    /// The message; "-" or nothing: standard input, less one newline at its end
    #[arg(allow_negative_numbers = true)]
    pub(super) data: Option<OsString>,
}

/// `wsd subscribe`
#[derive(Debug, clap::Args)]
pub(super) struct Subscribe {
    #[command(flatten)]
    pub(super) target: Target,
    /// Which one
    pub(super) channel: String,
}

/// `wsd test`
#[derive(Debug, clap::Args)]
pub(super) struct Test {
    /// Test scripts [default: *_test.lua beside the hooks]
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

/// Who names a file where no file goes means the configuration.
fn with_hint(mut error: clap::Error) -> clap::Error {
    let word = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand]
        .into_iter()
        .find_map(|kind| match error.get(kind) {
            Some(ContextValue::String(word)) => Some(word.clone()),
            _ => None,
        });
    if let Some(file) = word.filter(|word| word.ends_with(".toml")) {
        let tip = format!("the configuration is named by '-c {file}'");
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    error
}

/// An instance's name becomes part of paths: the characters that systemd leaves as they are.
fn instance(name: &str) -> Result<String, &'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '-');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err("an instance is named with letters, digits, \":\", \"_\", \".\" and \"-\"");
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_configuration_may_be_named_before_or_after_the_subcommand() {
        for line in [
            "wsd -c a.toml check",
            "wsd check -c a.toml",
            "wsd --config a.toml",
        ] {
            assert_eq!(
                parse(line).unwrap().config(),
                PathBuf::from("a.toml"),
                "{line}"
            );
        }
        for line in ["wsd -i edge status", "wsd status -i edge"] {
            let args = parse(line).unwrap();
            assert_eq!(args.config(), PathBuf::from("/etc/wsd/edge.toml"), "{line}");
        }
    }

    #[test]
    fn a_configuration_in_the_wrong_place_gets_a_hint() {
        for line in ["wsd check typo.toml", "wsd typo.toml", "wsd run typo.toml"] {
            let error = parse(line).unwrap_err().to_string();
            assert!(
                error.contains("tip: the configuration is named by '-c typo.toml'"),
                "{line}: {error}"
            );
        }
        let error = parse("wsd check typo").unwrap_err().to_string();
        assert!(!error.contains("-c typo"), "{error}");
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        for line in [
            "wsd -i edge -c a.toml run",
            "wsd -i edge run -c a.toml",
            "wsd status -i edge --socket /s",
            "wsd -i edge status --socket /s",
            "wsd -i ../x status",
            "wsd run --socket /s",
            "wsd restart",
            "wsd drain",
            "wsd publish",
            "wsd publish a b c",
            "wsd check --json",
            "wsd bench --socket /s",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
