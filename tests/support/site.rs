//! A directory with everything one node needs: configuration, hooks, modules, and room for its sockets.
//!
//! The main file holds what every test node has (ports from the kernel, one worker, no watching); a test's own text is a
//! drop-in that is merged over it, so it may set any key again. Starts nothing but the tools; `wsd.rs` starts the node.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TempDir;

/// The files of one node.
#[derive(Debug)]
pub(crate) struct Site {
    dir: TempDir,
    /// Alive as long as its nodes.
    broker: crate::TestBroker,
}

/// What a tool printed and returned.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Site {
    /// With the suite's broker.
    pub(crate) fn new(config: &str, hooks: &[(&str, &str)]) -> Self {
        Self::with_broker(crate::TestBroker::start(), config, hooks)
    }

    /// With that broker.
    pub(crate) fn with_broker(
        broker: crate::TestBroker,
        config: &str,
        hooks: &[(&str, &str)],
    ) -> Self {
        let site = Self {
            dir: TempDir::new(),
            broker,
        };
        for dir in ["hooks", "lua", "node.d"] {
            fs::create_dir(site.path(dir)).unwrap();
        }
        fs::write(site.path("node.toml"), site.base()).unwrap();
        site.write_config(config);
        for (name, text) in hooks {
            site.write_hook(name, text);
        }
        site
    }

    /// The suite's broker.
    pub(crate) fn broker(&self) -> &crate::TestBroker {
        &self.broker
    }

    /// A file of the site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("node.toml")
    }

    /// Writes the test's part of the configuration.
    pub(crate) fn write_config(&self, text: &str) {
        fs::write(self.path("node.d/50-test.toml"), text).unwrap();
    }

    /// Writes a script.
    pub(crate) fn write_hook(&self, name: &str, text: &str) {
        fs::write(self.path("hooks").join(name), text).unwrap();
    }

    /// What every test node has.
    fn base(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "[listen]\naddresses = [\"127.0.0.1:0\"]\n\
             [runtime]\nworkers = 1\n\
             [hooks]\ndirectory = \"{dir}/hooks\"\nmodules = \"{dir}/lua\"\nwatch = false\n\
             [drain]\nover = \"200ms\"\n\
             [admin]\ncontrol = \"{dir}/control.sock\"\nhttp = \"127.0.0.1:0\"\n\
             {}",
            self.broker.config()
        )
    }

    /// Runs a tool, `check` and the like, with this site's configuration.
    pub(crate) fn tool(&self, args: &[&str]) -> Ran {
        let config = self.config();
        run(&[args, &["-c", config.to_str().unwrap()]].concat(), b"")
    }

    /// Runs a tool that talks to the node, with its standard input.
    pub(crate) fn cli(&self, args: &[&str], input: &[u8]) -> Ran {
        let socket = self.path("control.sock");
        run(
            &[args, &["--socket", socket.to_str().unwrap()]].concat(),
            input,
        )
    }
}

/// The binary under test, with nothing of the test's surroundings that would change what it does.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsd"));
    for name in [
        "WSD_CONFIG",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "RUNTIME_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "JOURNAL_STREAM",
    ] {
        command.env_remove(name);
    }
    command
}

/// Whether that file is there.
pub(crate) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn run(args: &[&str], input: &[u8]) -> Ran {
    let mut child = binary()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A tool that takes no input may have ended before it is written.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into(),
        err: String::from_utf8_lossy(&output.stderr).into(),
    }
}
