//! The tools that talk to a daemon: what is sent, what is printed, what the exit code is.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use wsd::control::message::{ReloadStatus, Request, Response, Status};
use wsd::control::server::{Call, Listener, serve};

use super::{parts, wsd};

/// A directory of this test, gone with it.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wsd-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A control socket on a thread of its own, with a function in the place of the daemon.
struct Daemon {
    directory: Directory,
    asked: Receiver<Request>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(name: &str, mut answer: impl FnMut(Call) + Send + 'static) -> Self {
        let directory = Directory::new(name);
        let listener = Listener::bind(&directory.path("control.sock")).unwrap();
        let (requests, asked): (Sender<Request>, _) = channel();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (sender, mut calls) = tokio::sync::mpsc::channel::<Call>(8);
                let serve = serve(listener, sender);
                tokio::pin!(serve);
                loop {
                    tokio::select! {
                        result = &mut serve => panic!("the server ended: {result:?}"),
                        Some(call) = calls.recv() => {
                            requests.send(call.request.clone()).unwrap();
                            answer(call);
                        }
                        _ = &mut stopped => break,
                    }
                }
            });
        });
        Self {
            directory,
            asked,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = wsd(args);
        command
            .arg("--socket")
            .arg(self.directory.path("control.sock"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a tool: standard output, standard error, exit code.
    fn tool(&self, args: &[&str]) -> (String, String, Option<i32>) {
        parts(&self.command(args).output().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

fn always(response: Response) -> impl FnMut(Call) + Send {
    move |call| call.reply.finish(response.clone())
}

#[test]
fn a_reload_that_is_refused_prints_every_problem_and_exits_1() {
    let daemon = Daemon::start(
        "refused",
        always(Response::Refused {
            generation: 7,
            problems: vec![
                "/etc/wsd/wsd.toml:7:8: listen.backlog: what".to_owned(),
                "/etc/wsd/hooks/chat.lua:3: why".to_owned(),
            ],
        }),
    );
    let (stdout, stderr, code) = daemon.tool(&["reload"]);
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), code),
        (
            "",
            "/etc/wsd/wsd.toml:7:8: listen.backlog: what\n\
             /etc/wsd/hooks/chat.lua:3: why\n\
             wsd: reload refused: 2 problems; generation 7 stays\n",
            Some(1)
        )
    );
    assert_eq!(daemon.asked.try_recv(), Ok(Request::Reload));
}

#[test]
fn a_reload_that_is_done_says_which_generation_is_live() {
    let daemon = Daemon::start(
        "reloaded",
        always(Response::Reloaded {
            generation: 8,
            notes: vec!["listen.backlog needs a restart to take effect".to_owned()],
        }),
    );
    let (stdout, stderr, code) = daemon.tool(&["reload"]);
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), code),
        (
            "reloaded: generation 8\n",
            "listen.backlog needs a restart to take effect\n",
            Some(0)
        )
    );
}

#[test]
fn a_status_is_one_object_for_programs_and_a_block_for_people() {
    let status = Status {
        version: "0.1.0".to_owned(),
        generation: 3,
        listeners: vec!["127.0.0.1:8080".to_owned()],
        last_reload: ReloadStatus {
            ok: true,
            at: 1,
            problems: Vec::new(),
        },
        ..Status::default()
    };
    let daemon = Daemon::start("status", always(Response::Status(Box::new(status.clone()))));
    let (stdout, stderr, code) = daemon.tool(&["status", "--json"]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    assert_eq!(serde_json::from_str::<Status>(&stdout).unwrap(), status);
    let (stdout, _, code) = daemon.tool(&["status"]);
    assert_eq!(code, Some(0));
    assert!(
        stdout.starts_with("wsd 0.1.0, running for 0 s, generation 3\n"),
        "{stdout}"
    );
    assert!(
        stdout.contains("\n  listening on   127.0.0.1:8080\n"),
        "{stdout}"
    );
}

#[test]
fn what_the_daemon_refuses_exits_1() {
    let daemon = Daemon::start("error", always(Response::error("broker.buffer is full")));
    for args in [
        &["publish", "chat", "x"][..],
        &["status"],
        &["reload"],
        &["subscribe", "chat"],
    ] {
        let (stdout, stderr, code) = daemon.tool(args);
        assert_eq!(
            (stdout.as_str(), stderr.as_str(), code),
            ("", "broker.buffer is full\n", Some(1))
        );
    }
    let daemon = Daemon::start("wrong", always(Response::Published { waits: false }));
    let (_, stderr, code) = daemon.tool(&["status"]);
    assert_eq!(code, Some(70), "{stderr}");
}

#[test]
fn a_message_comes_from_the_argument_or_from_standard_input() {
    let daemon = Daemon::start("publish", always(Response::Published { waits: false }));
    let input = |args: &[&str], bytes: &[u8]| {
        let mut child = daemon.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        daemon.asked.try_recv().unwrap()
    };
    let expected = |data: &[u8]| Request::publish("chat", data.to_vec()).unwrap();
    assert_eq!(
        input(&["publish", "chat", "hello"], b"not read"),
        expected(b"hello")
    );
    assert_eq!(input(&["publish", "chat", "-1"], b""), expected(b"-1"));
    assert_eq!(input(&["publish", "chat", ""], b"not read"), expected(b""));
    assert_eq!(input(&["publish", "chat"], b"line\n"), expected(b"line"));
    assert_eq!(
        input(&["publish", "chat", "-"], b"two\n\n"),
        expected(b"two\n")
    );
    assert_eq!(
        input(&["publish", "chat", "-"], b"\xff\0"),
        expected(b"\xff\0")
    );
    let waits = Daemon::start("waits", always(Response::Published { waits: true }));
    let (_, stderr, code) = waits.tool(&["publish", "chat", "x"]);
    assert_eq!(
        (stderr.as_str(), code),
        ("the broker is away: the message waits for it\n", Some(0))
    );
}

#[test]
fn a_subscription_prints_a_line_a_message() {
    let daemon = Daemon::start("subscribe", |call| {
        let Request::Subscribe { channel } = &call.request else {
            panic!("{:?}", call.request);
        };
        let message = |text: Option<&str>, data64: Option<&str>| Response::Message {
            channel: channel.to_string(),
            text: text.map(str::to_owned),
            data64: data64.map(str::to_owned),
        };
        let responses = [
            Response::Subscribed,
            message(Some("grüße \u{1b}[1m"), None),
            message(None, Some("/wA=")),
            Response::Missed { count: 3 },
        ];
        let mut reply = call.reply;
        for response in responses {
            reply.stream(response);
        }
    });
    let (stdout, stderr, code) = daemon.tool(&["subscribe", "chat"]);
    // Into a pipe it goes as it came.
    assert_eq!(stdout, "grüße \u{1b}[1m\nbase64:/wA=\n");
    assert_eq!(
        stderr,
        "subscribed to chat\n3 messages were left out: they were not read in time\nwsd has ended the subscription\n"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn a_subscription_ends_with_whoever_reads_it() {
    let daemon = Daemon::start("reader", |call| {
        let mut reply = call.reply;
        reply.stream(Response::Subscribed);
        std::thread::spawn(move || {
            while !reply.is_gone() {
                let text = Some("again".to_owned());
                let channel = "chat".to_owned();
                reply.stream(Response::Message {
                    channel,
                    text,
                    data64: None,
                });
                std::thread::yield_now();
            }
        });
    });
    let mut child = daemon
        .command(&["subscribe", "chat"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "again\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_daemon_is_found_by_its_runtime_directory_or_its_configuration() {
    let daemon = Daemon::start("found", always(Response::Published { waits: false }));
    let publish = |command: &mut Command| command.stdin(Stdio::null()).status().unwrap().code();
    let mut by_directory = wsd(&["publish", "chat", "x"]);
    assert_eq!(
        publish(by_directory.env("RUNTIME_DIRECTORY", daemon.directory.path("."))),
        Some(0)
    );
    // Relative to the file, and found although the file is broken.
    let config = daemon.directory.path("wsd.toml");
    std::fs::write(
        &config,
        "[admin]\ncontrol = \"control.sock\"\n[limits]\nmessage = = 3\n",
    )
    .unwrap();
    let mut by_config = wsd(&["publish", "chat", "x", "-c", config.to_str().unwrap()]);
    assert_eq!(publish(&mut by_config), Some(0));
    let absent = Path::new("/nonexistent");
    assert_eq!(
        publish(wsd(&["publish", "chat", "x"]).env("RUNTIME_DIRECTORY", absent)),
        Some(1)
    );
}
