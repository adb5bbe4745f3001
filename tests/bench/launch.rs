//! Starts the server to be measured, a process of its own in a directory of its own, and ends it again.
//!
//! Writes wsd's configuration, chooses the port, waits until a handshake succeeds. Whatever happens the child is ended by its
//! process id and waited for. Never measures.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Client, Seat};
use crate::floor::{Fault, Flavour};
use crate::measure;
use crate::peers::Peer;
use crate::redis::Redis;
use crate::scenario::Scenario;
use crate::sys;

/// Which server.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    /// wsd, from this path.
    Wsd(PathBuf),
    /// Another server; `{port}` in its command line is replaced, and `{config}` by wsd's configuration.
    Command(String),
    /// A floor.
    Floor(Flavour, Option<Fault>),
    /// A server of somebody else's.
    Peer(&'static Peer),
}

impl Server {
    fn command(&self, config: &Path, port: u16, directory: &Path) -> io::Result<Command> {
        match self {
            Self::Wsd(path) => {
                let mut command = Command::new(path);
                command.arg("run").arg("-c").arg(config);
                Ok(command)
            }
            Self::Command(line) => {
                let line = line.replace("{port}", &port.to_string());
                let line = line.replace("{config}", &config.to_string_lossy());
                let mut words = line.split_whitespace();
                let program = words
                    .next()
                    .ok_or_else(|| io::Error::other("--server is empty"))?;
                let mut command = Command::new(program);
                command.args(words);
                Ok(command)
            }
            Self::Floor(flavour, fault) => {
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .arg("--floor")
                    .arg(value_name(flavour))
                    .arg("--port")
                    .arg(port.to_string());
                if let Some(fault) = fault {
                    command.arg("--fault").arg(value_name(fault));
                }
                Ok(command)
            }
            Self::Peer(peer) => peer.command(port, directory),
        }
    }
}

/// A server as it takes part in a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    /// What it is called in the tables.
    pub(crate) name: String,
    /// What is started.
    pub(crate) server: Server,
    /// What it has to carry.
    pub(crate) scenario: Scenario,
    /// `runtime.workers`.
    pub(crate) workers: u32,
    /// `hooks.directory`; none: one with the scenario's script or without any.
    pub(crate) hooks: Option<PathBuf>,
}

impl Contender {
    /// A server with one worker and no other hooks than the scenario's.
    pub(crate) fn of(server: Server, scenario: &Scenario) -> Self {
        let name = match server {
            Server::Wsd(_) => "wsd",
            Server::Command(_) => "server",
            Server::Floor(Flavour::Write, _) => "floor-write",
            Server::Floor(Flavour::Coalesce, _) => "floor-coalesce",
            Server::Peer(peer) => peer.name,
        };
        Self {
            name: name.to_owned(),
            server,
            scenario: *scenario,
            workers: 1,
            hooks: None,
        }
    }

    fn write(&self, directory: &Path, port: u16, broker: &str) -> io::Result<PathBuf> {
        for name in ["hooks", "lua"] {
            fs::create_dir_all(directory.join(name))?;
        }
        let own = directory.join("hooks");
        if let Some(script) = self.scenario.setup.script {
            fs::write(own.join("bench.lua"), script)?;
        }
        // A JSON string is a TOML string.
        let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
        let text = format!(
            "[listen]\naddresses = [\"127.0.0.1:{port}\"]\n\n\
             [runtime]\nworkers = {}\n\n\
             [broker]\nurl = \"{broker}\"\n\n\
             [hooks]\ndirectory = {}\nmodules = {}\n\n\
             [admin]\ncontrol = {}\nhttp = \"\"\n\n{}",
            self.workers,
            quoted(self.hooks.as_deref().unwrap_or(&own)),
            quoted(&directory.join("lua")),
            quoted(&directory.join("control.sock")),
            self.scenario.setup.keys,
        );
        let path = directory.join("wsd.toml");
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// A server that answers handshakes.
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
    /// The other nodes of the same Redis.
    others: Vec<Self>,
    /// Ended after its nodes.
    redis: Option<Redis>,
}

impl Running {
    /// Starts it, with as many nodes as it shall have, and waits until all answer.
    pub(crate) fn start(contender: &Contender) -> io::Result<Self> {
        if contender.scenario.nodes <= 1 {
            return Self::start_node(contender, "memory:");
        }
        let redis = Redis::start()?;
        let mut first = Self::start_node(contender, &redis.url())?;
        for _ in 1..contender.scenario.nodes {
            let node = Self::start_node(contender, &redis.url())?;
            first.others.push(node);
        }
        first.redis = Some(redis);
        Ok(first)
    }

    fn start_node(contender: &Contender, broker: &str) -> io::Result<Self> {
        let directory = fresh_directory()?;
        let port = free_port()?;
        let config = contender.write(&directory, port, broker)?;
        let mut command = contender.server.command(&config, port, &directory)?;
        let output = File::create(directory.join("output"))?;
        command.env("RUNTIME_DIRECTORY", &directory);
        // What a service manager told this process is not meant for the child.
        for name in [
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
        ] {
            command.env_remove(name);
        }
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        sys::die_with_parent(&mut command);
        let child = command.spawn().map_err(|e| {
            let _left = fs::remove_dir_all(&directory);
            io::Error::other(format!("cannot start {command:?}: {e}"))
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut running = Self {
            child,
            address,
            directory,
            others: Vec::new(),
            redis: None,
        };
        running.wait_until_ready()?;
        Ok(running)
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its last node listens: itself, if there is but one.
    pub(crate) fn last_address(&self) -> SocketAddr {
        self.others.last().map_or(self.address, |node| node.address)
    }

    /// The process ids of all nodes and of what they have started.
    pub(crate) fn pids(&self) -> io::Result<Vec<u32>> {
        let mut found = measure::tree(self.child.id())?;
        for node in &self.others {
            found.extend(node.pids()?);
        }
        Ok(found)
    }

    /// Fails with the last of its output if it or another node has ended by itself.
    pub(crate) fn check_alive(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => {
                self.redis.iter_mut().try_for_each(Redis::check_alive)?;
                self.others.iter_mut().try_for_each(Self::check_alive)
            }
            Some(status) => {
                let output = fs::read_to_string(self.directory.join("output"))?;
                let lines: Vec<&str> = output.lines().collect();
                let last = lines[lines.len().saturating_sub(10)..].join("\n  ");
                Err(io::Error::other(format!(
                    "the server has ended with {status}:\n  {last}"
                )))
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a condition in another process, with a deadline"
    )]
    fn wait_until_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.check_alive()?;
            let answer = Client::dial(self.address, VISITOR).and_then(|mut client| {
                client.begin_handshake(false)?;
                client.finish_handshake(false)
            });
            match answer {
                Ok(()) => return Ok(()),
                Err(e) if Instant::now() > deadline => {
                    return Err(io::Error::other(format!("the server does not answer: {e}")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Running {
    #[expect(
        clippy::disallowed_methods,
        reason = "a condition in another process, with a deadline"
    )]
    fn drop(&mut self) {
        // Each step may find the child gone, which is all that is wanted.
        let _gone = sys::terminate(self.child.id());
        let deadline = Instant::now() + STOPPED_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _gone = self.child.kill();
                let _status = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _left = fs::remove_dir_all(&self.directory);
    }
}

fn value_name(value: &impl clap::ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}

/// A new directory, to be removed by who asked.
pub(crate) fn fresh_directory() -> io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("wsd-bench-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path)?;
    Ok(path)
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Whoever asks whether the server answers.
const VISITOR: Seat = Seat {
    channel: 0,
    member: 0,
    senders: 1,
    every: 1,
    silent: false,
};

const READY_WITHIN: Duration = Duration::from_secs(10);
const STOPPED_WITHIN: Duration = Duration::from_secs(3);
