//! The peers: servers of other people that take turns with wsd if `--peers` asks for them.
//!
//! Each treats a path as a channel and sends every message to all of that channel's connections, the sender among them. How
//! one is got and started is said by `peers/peer`, a shell script; tokio-tungstenite's server is part of this program. Never
//! used by a test.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server of somebody else's.
#[derive(Debug)]
pub(crate) struct Peer {
    /// What it is called on the command line and in the tables.
    pub(crate) name: &'static str,
    /// What it is, for `--list`.
    pub(crate) about: &'static str,
}

/// All of them, in the order of their turns.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "uws-js",
        about: "uWebSockets.js 20.30, from npm",
    },
    Peer {
        name: "bun",
        about: "Bun's own server, from npm",
    },
    Peer {
        name: TUNGSTENITE,
        about: "a server over tokio-tungstenite, part of this program",
    },
    Peer {
        name: "nchan",
        about: "nginx with the module nchan, from Debian",
    },
    Peer {
        name: "ws",
        about: "Node's ws, from npm",
    },
];

impl Peer {
    /// Gets it where it is missing, and gives its name and version as the tables have it.
    pub(crate) fn install(&self) -> io::Result<String> {
        if self.name == TUNGSTENITE {
            return Ok("tokio-tungstenite 0.30".to_owned());
        }
        let output = Command::new(script())
            .args(["install", self.name])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!(
                "{} could not be got: see above; scripts/bench runs without it if --peers does not name it",
                self.name
            )));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What starts it on a port of 127.0.0.1, with a directory of its own.
    pub(crate) fn command(&self, port: u16, directory: &Path) -> io::Result<Command> {
        let mut command;
        if self.name == TUNGSTENITE {
            command = Command::new(std::env::current_exe()?);
            command.args(["--tungstenite", "--port", &port.to_string()]);
        } else {
            command = Command::new(script());
            command.args(["start", self.name, &port.to_string()]);
            command.arg(directory);
        }
        Ok(command)
    }
}

/// Those that a name of the command line means; `None` if it means none.
pub(crate) fn named(name: &str) -> Option<&'static [Peer]> {
    if name == "all" {
        return Some(PEERS);
    }
    let place = PEERS.iter().position(|peer| peer.name == name)?;
    Some(&PEERS[place..=place])
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers/peer")
}

const TUNGSTENITE: &str = "tungstenite";
