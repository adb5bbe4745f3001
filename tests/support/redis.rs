//! A Redis of the test's own: on a free port, in a fresh directory, without persistence; can be killed, stopped and started.
//!
//! With TLS or without. Spoken to with `redis-cli`, as an operator would.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::tls::Authority;
use super::{DEADLINE, TempDir, eventually, signal};

/// A Redis that runs, or was killed.
#[derive(Debug)]
pub(crate) struct Redis {
    dir: TempDir,
    port: u16,
    /// It speaks TLS alone, with what stands in its directory.
    tls: bool,
    child: RefCell<Child>,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_in(TempDir::new(), false)
    }

    /// The same with TLS and a certificate of that authority for these names.
    pub(crate) fn start_with_tls(authority: &Authority, names: &[&str]) -> Self {
        let dir = TempDir::new();
        let issued = authority.issue_for(names, None);
        authority.write_root(&dir.path().join("root.pem"));
        fs::write(dir.path().join("cert.pem"), issued.certificate).unwrap();
        fs::write(dir.path().join("key.pem"), issued.key).unwrap();
        Self::start_in(dir, true)
    }

    fn start_in(dir: TempDir, tls: bool) -> Self {
        // Free a moment ago; the kernel does not give it to somebody else right away.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let child = RefCell::new(spawn(&dir, port, tls));
        let redis = Self {
            dir,
            port,
            tls,
            child,
        };
        redis.wait();
        redis
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As `broker.url` has it.
    pub(crate) fn url(&self) -> String {
        let s = if self.tls { "s" } else { "" };
        format!("redis{s}://127.0.0.1:{}", self.port)
    }

    /// The URL of its Unix socket.
    pub(crate) fn unix_url(&self) -> String {
        format!("redis+unix://{}/redis.sock", self.dir.path().display())
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        let mut child = self.child.borrow_mut();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) fn start_again(&self) {
        *self.child.borrow_mut() = spawn(&self.dir, self.port, self.tls);
        self.wait();
    }

    /// Stops the process as a debugger would: connections stay, nothing is answered.
    pub(crate) fn freeze(&self) {
        signal(self.child.borrow().id(), "STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        signal(self.child.borrow().id(), "CONT");
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// `PUBLISH` of any bytes, read by `redis-cli` from its standard input; how many subscribers got it.
    pub(crate) fn publish(&self, channel: &str, payload: &[u8]) -> u32 {
        let mut child = self
            .command(&["-x", "PUBLISH", channel])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(payload).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim()
            .parse()
            .unwrap_or_else(|_| panic!("PUBLISH {channel}: {text}"))
    }

    /// How many connections subscribe to a channel of Redis.
    pub(crate) fn subscribers(&self, channel: &str) -> u32 {
        let lines = self.cli(&["PUBSUB", "NUMSUB", channel]);
        lines.lines().last().unwrap().parse().unwrap()
    }

    /// `redis-cli SUBSCRIBE`, which has subscribed when this returns.
    pub(crate) fn subscribe(&self, channel_name: &str) -> RedisSubscriber {
        let mut child = self
            .command(&["SUBSCRIBE", channel_name])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let subscriber = RedisSubscriber { child, lines };
        assert_eq!(subscriber.line(), b"subscribe");
        assert_eq!(subscriber.line(), channel_name.as_bytes());
        assert_eq!(subscriber.line(), b"1");
        subscriber
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]);
        if self.tls {
            command.args(["--tls", "--cacert"]);
            command.arg(self.dir.path().join("root.pem"));
        }
        command.args(args);
        command
    }

    fn wait(&self) {
        eventually!(self.cli(&["PING"]) == "PONG");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A `redis-cli SUBSCRIBE` of one channel.
#[derive(Debug)]
pub(crate) struct RedisSubscriber {
    child: Child,
    lines: Receiver<Vec<u8>>,
}

impl RedisSubscriber {
    /// The payload of the next message, which has no newline in it.
    pub(crate) fn message(&self) -> Vec<u8> {
        assert_eq!(self.line(), b"message");
        self.line();
        self.line()
    }

    fn line(&self) -> Vec<u8> {
        self.lines
            .recv_timeout(DEADLINE)
            .expect("no line of redis-cli")
    }
}

impl Drop for RedisSubscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &TempDir, port: u16, tls: bool) -> Child {
    let socket = dir.path().join("redis.sock");
    let mut command = Command::new("redis-server");
    let port = port.to_string();
    if tls {
        command.args([
            "--port",
            "0",
            "--tls-port",
            &port,
            "--tls-auth-clients",
            "no",
        ]);
        for (option, file) in [
            ("cert", "cert.pem"),
            ("key", "key.pem"),
            ("ca-cert", "root.pem"),
        ] {
            command
                .arg(format!("--tls-{option}-file"))
                .arg(dir.path().join(file));
        }
    } else {
        command.args(["--port", &port]);
    }
    command
        .args(["--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(dir.path())
        .arg("--unixsocket")
        .arg(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("redis-server: {error}; on Debian: apt-get install redis-server")
        })
}
