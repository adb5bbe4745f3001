//! A running node: the real binary on a site of its own, its log line by line, its control socket and admin address.
//!
//! Killed when the test lets go of it; a test that fails prints the node's log.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use super::site::binary;
use super::{Answer, Client, DEADLINE, Request, Site, Stream, eventually, signal};

/// A node that is up. What a [`Site`] can do, it can do too.
#[derive(Debug)]
pub(crate) struct Wsd {
    site: Site,
    child: Child,
    lines: Receiver<String>,
    seen: RefCell<Vec<String>>,
    listeners: Vec<String>,
    admin: Option<SocketAddr>,
}

impl Deref for Wsd {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Wsd {
    /// Starts a node without hooks.
    pub(crate) fn start(config: &str) -> Self {
        Self::with_hooks(config, &[])
    }

    /// Starts a node with these scripts, by name and text.
    pub(crate) fn with_hooks(config: &str, hooks: &[(&str, &str)]) -> Self {
        Self::on(Site::new(config, hooks))
    }

    /// Starts a node with one script and the default route.
    pub(crate) fn with_hook(text: &str) -> Self {
        Self::with_hooks("", &[("hook.lua", text)])
    }

    /// Starts a node on a site and waits until it listens and its broker is up.
    pub(crate) fn on(site: Site) -> Self {
        let wsd = Self::without_broker(site);
        eventually!(wsd.status()["broker"]["up"] == true);
        wsd
    }

    /// Starts a node on a site and waits until it listens.
    pub(crate) fn without_broker(site: Site) -> Self {
        let mut wsd = Self::spawn(site);
        wsd.wait_ready();
        wsd
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn spawn(site: Site) -> Self {
        let (child, lines) = launch(&site);
        Self {
            site,
            child,
            lines,
            seen: RefCell::default(),
            listeners: Vec::new(),
            admin: None,
        }
    }

    /// Kills the process and starts another one on the same site.
    pub(crate) fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.lines) = launch(&self.site);
        self.seen.borrow_mut().clear();
        self.wait_ready();
    }

    fn wait_ready(&mut self) {
        self.wait_log("ready: ");
        let status = self.status();
        let listeners = status["listeners"].as_array().cloned().unwrap_or_default();
        self.listeners = listeners
            .iter()
            .map(|address| address.as_str().unwrap().to_owned())
            .collect();
        self.admin = status["admin"].as_str().and_then(|a| a.parse().ok());
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        let first = self.listeners.first().expect("no listener in the status");
        first.parse().unwrap()
    }

    /// All that the status names as listeners.
    pub(crate) fn listeners(&self) -> &[String] {
        &self.listeners
    }

    /// Where HTTP is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("no admin address in the status")
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client of that path.
    #[track_caller]
    pub(crate) fn client(&self, target: &str) -> Client {
        Client::open(Stream::tcp(self.address()), &Request::websocket(target))
    }

    /// A client of that path whose address is `127.0.0.last`.
    #[track_caller]
    pub(crate) fn client_from(&self, last: u8, target: &str) -> Client {
        let stream = Stream::from([127, 0, 0, last], self.address());
        Client::open(stream, &Request::websocket(target))
    }

    /// The answer to a handshake that is not expected to succeed.
    pub(crate) fn handshake(&self, request: &Request) -> Answer {
        Client::try_open(Stream::tcp(self.address()), request).answer
    }

    /// The answer of the admin address.
    pub(crate) fn http(&self, method: &str, target: &str) -> Answer {
        Request::new(method, target).send(self.admin())
    }

    /// `wsd status --json`.
    pub(crate) fn status(&self) -> serde_json::Value {
        let ran = self.cli(&["status", "--json"], b"");
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// The generation that is live.
    pub(crate) fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().unwrap()
    }

    /// One series of `/metrics`, with its labels as they are printed, or the sum of all series of a name; 0 if there is none.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let answer = self.http("GET", "/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        let value = |line: &str| {
            let rest = line.strip_prefix(series)?;
            let value = match rest.strip_prefix('{') {
                Some(labels) => labels.split_once("} ")?.1,
                None => rest.strip_prefix(' ')?,
            };
            Some(value.trim().parse::<u64>().unwrap())
        };
        answer.body.lines().filter_map(value).sum()
    }

    /// Waits until so many publications have got their place.
    #[track_caller]
    pub(crate) fn wait_published(&self, count: u64) {
        eventually!(self.metric("wsd_publications_total") >= count);
    }

    /// Waits for a line of the log that has this in it, also among those that came already.
    #[track_caller]
    pub(crate) fn wait_log(&self, pattern: &str) -> String {
        self.wait_log_from(0, pattern)
    }

    /// How many lines there are by now, for [`Wsd::wait_log_from`].
    pub(crate) fn log_length(&self) -> usize {
        self.seen.borrow_mut().extend(self.lines.try_iter());
        self.seen.borrow().len()
    }

    /// The same among the lines from that one on.
    #[track_caller]
    pub(crate) fn wait_log_from(&self, start: usize, pattern: &str) -> String {
        let end = Instant::now() + DEADLINE;
        let mut seen = self.seen.borrow_mut();
        let mut at = start;
        loop {
            while let Some(line) = seen.get(at) {
                if line.contains(pattern) {
                    return line.clone();
                }
                at += 1;
            }
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no {pattern:?} in the log"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("ended without {pattern:?} in the log")
                }
            }
        }
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log_length();
        self.seen.borrow().join("\n")
    }

    /// `wsd reload`, which must succeed.
    #[track_caller]
    pub(crate) fn reload(&self) {
        let ran = self.cli(&["reload"], b"");
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until the process has ended; its exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        eventually!(self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Wsd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // The reading thread ends with the process, so this is all there is.
            let mut seen = self.seen.borrow_mut();
            seen.extend(self.lines.iter());
            eprintln!("--- log of the node:\n{}\n---", seen.join("\n"));
        }
    }
}

/// The process, and its log.
fn launch(site: &Site) -> (Child, Receiver<String>) {
    let mut child = binary()
        .args(["run", "-c"])
        .arg(site.config())
        // Whom a node trusts is the test's to say.
        .env("SSL_CERT_FILE", site.path("trust.pem"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    (child, lines)
}
