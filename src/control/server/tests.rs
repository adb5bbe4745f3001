//! The two ends of the control socket against each other, and hostile clients against the server.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::thread;

use tokio::runtime;

use super::*;
use crate::control::client::{Client, ClientError};
use crate::types::{ChannelName, Payload};

const LIMIT: Duration = Duration::from_secs(20);

/// A directory of this test, gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wsd-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a daemon that answers by `answer` on this thread, and `tool` on another; returns what that returns.
fn with_daemon<T: Send + 'static>(
    name: &str,
    answer: impl Fn(Call),
    tool: impl FnOnce(PathBuf) -> T + Send + 'static,
) -> T {
    let directory = Directory::new(name);
    let path = directory.socket();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = Listener::bind(&path).unwrap();
        let (sender, mut calls) = mpsc::channel(8);
        let (done, mut is_done) = tokio::sync::oneshot::channel();
        let tool = thread::spawn({
            let path = path.clone();
            move || {
                let result = tool(path);
                let _ = done.send(());
                result
            }
        });
        let serve = serve(listener, sender);
        tokio::pin!(serve);
        loop {
            tokio::select! {
                result = &mut serve => panic!("the server ended: {result:?}"),
                Some(call) = calls.recv() => answer(call),
                _ = &mut is_done => break,
            }
        }
        tool.join().unwrap()
    })
}

fn status(call: Call) {
    assert_eq!(call.request, Request::Status);
    call.reply.finish(Response::Status(Box::default()));
}

/// Everything the server says to these bytes, after which the writing half is closed.
fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = StdStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_request_reaches_the_daemon_and_its_answer_the_tool() {
    let answer = with_daemon(
        "ask",
        |call| {
            assert_eq!(call.peer.pid, i32::try_from(std::process::id()).ok());
            assert_eq!(
                call.request,
                Request::publish("chat", b"hi".to_vec()).unwrap()
            );
            call.reply.finish(Response::Published { waits: false });
        },
        |path| {
            let mut client = Client::connect(&path, "wsd").unwrap();
            let request = Request::publish("chat", b"hi".to_vec()).unwrap();
            // Two requests on one connection.
            client.ask(&request, LIMIT).unwrap();
            client.ask(&request, LIMIT).unwrap()
        },
    );
    assert_eq!(answer, Response::Published { waits: false });
}

#[test]
fn the_file_has_mode_0660_and_goes_with_the_server() {
    let directory = Directory::new("mode");
    let listener = Listener::bind(&directory.socket()).unwrap();
    let mode = std::fs::metadata(directory.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(listener);
    assert!(!directory.socket().exists());
}

#[test]
fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let directory = Directory::new("stale");
    let path = directory.socket();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = Listener::bind(&path).unwrap();
    let second = Listener::bind(&path).unwrap_err();
    assert_eq!(
        second.to_string(),
        format!(
            "admin.control: another wsd answers on {}; stop it, or set admin.control to another path",
            path.display()
        )
    );
    // A file that somebody else put there in the meantime stays.
    std::fs::remove_file(&path).unwrap();
    let third = Listener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(third);
}

#[test]
fn a_missing_directory_is_made() {
    let directory = Directory::new("made");
    let path = directory.0.join("run/control.sock");
    drop(Listener::bind(&path).unwrap());
    assert!(!path.exists() && path.parent().unwrap().is_dir());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let directory = Directory::new("file");
    std::fs::write(directory.socket(), "precious").unwrap();
    let error = Listener::bind(&directory.socket()).unwrap_err();
    assert!(
        error.to_string().contains("is no socket; remove it"),
        "{error}"
    );
    assert_eq!(std::fs::read(directory.socket()).unwrap(), b"precious");
    let error = Listener::bind(&directory.0.join("no/no/control.sock")).unwrap_err();
    assert!(
        error.to_string().contains("there is no directory"),
        "{error}"
    );
    let error = Listener::bind(&directory.0.join("x".repeat(120))).unwrap_err();
    assert!(error.to_string().contains("at most 107 bytes"), "{error}");
}

#[test]
fn hostile_lines_cost_an_error_and_the_next_one_is_served() {
    let said = with_daemon("hostile", status, |path| {
        raw(
            &path,
            b"nonsense\n{\"v\":9}\n\xff\xfe\n\n{\"v\":1,\"request\":\"status\"}",
        )
    });
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    for line in &lines[..4] {
        assert!(
            line.starts_with("{\"v\":1,\"response\":\"error\",\"reason\":\""),
            "{line}"
        );
    }
    assert!(
        lines[4].starts_with("{\"v\":1,\"response\":\"status\""),
        "{said}"
    );
}

#[test]
fn a_line_without_end_is_refused() {
    let said = with_daemon("endless", status, |path| {
        let mut stream = StdStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let piece = vec![b'x'; 1 << 20];
        // The server may close before it has read all of it.
        let _ = (0..17).try_for_each(|_| stream.write_all(&piece));
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        String::from_utf8(said).unwrap()
    });
    assert!(said.contains("a request has at most 16 MiB"), "{said}");
}

#[test]
fn a_daemon_that_drops_the_request_is_not_waited_for() {
    let answer = with_daemon("dropped", drop, |path| {
        Client::connect(&path, "wsd")
            .unwrap()
            .ask(&Request::Reload, LIMIT)
            .unwrap()
    });
    assert_eq!(
        answer,
        Response::error("wsd did not answer; its log says more")
    );
}

#[test]
fn one_tool_too_many_is_told_so() {
    let answer = with_daemon("many", status, |path| {
        let mut all: Vec<_> = (0..CLIENTS)
            .map(|_| Client::connect(&path, "wsd").unwrap())
            .collect();
        // Served, so all of them are counted.
        for client in &mut all {
            client.ask(&Request::Status, LIMIT).unwrap();
        }
        Client::connect(&path, "wsd")
            .unwrap()
            .ask(&Request::Status, LIMIT)
            .unwrap()
    });
    assert_eq!(
        answer,
        Response::error("64 tools are connected already; end one of them")
    );
}

#[expect(clippy::disallowed_methods, reason = "a test has no worker")]
#[test]
fn a_stream_runs_until_its_reader_leaves() {
    let (left, has_left) = std::sync::mpsc::channel();
    let said = with_daemon(
        "stream",
        move |call| {
            let Request::Subscribe { channel } = call.request else {
                panic!("{:?}", call.request);
            };
            let mut reply = call.reply;
            reply.stream(Response::Subscribed);
            reply.stream(Response::message(&channel, &Payload::text("one")));
            let left = left.clone();
            tokio::task::spawn(async move {
                reply.gone().await;
                left.send(()).unwrap();
            });
        },
        move |path| {
            let mut client = Client::connect(&path, "wsd").unwrap();
            let request = Request::subscribe("chat").unwrap();
            let first = client.ask(&request, LIMIT).unwrap();
            let second = client.next(Some(LIMIT)).unwrap();
            drop(client);
            has_left.recv_timeout(LIMIT).unwrap();
            [first, second]
        },
    );
    let channel = ChannelName::new("chat").unwrap();
    let message = Response::message(&channel, &Payload::text("one"));
    assert_eq!(said, [Response::Subscribed, message]);
}

#[test]
fn a_stream_that_the_daemon_ends_says_so() {
    let said = with_daemon(
        "end",
        |call| {
            let mut reply = call.reply;
            reply.stream(Response::Subscribed);
        },
        |path| {
            let mut client = Client::connect(&path, "wsd").unwrap();
            client
                .ask(&Request::subscribe("chat").unwrap(), LIMIT)
                .unwrap();
            client.next(Some(LIMIT)).unwrap()
        },
    );
    assert_eq!(said, Response::End);
}

#[test]
fn a_slow_reader_is_told_how_much_it_missed() {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let (mut reply, mut answers) = Reply::new();
    let channel = ChannelName::new("chat").unwrap();
    let message = Response::message(&channel, &Payload::text("x".repeat(1 << 20)));
    for _ in 0..10 {
        reply.stream(message.clone());
    }
    runtime.block_on(async {
        for _ in 0..4 {
            assert_eq!(answers.next().await.as_ref(), Some(&message));
        }
        reply.stream(message.clone());
        assert_eq!(answers.next().await, Some(Response::Missed { count: 6 }));
        assert_eq!(answers.next().await.as_ref(), Some(&message));
        drop(reply);
        assert_eq!(answers.next().await, None);
        assert_eq!(answers.waiting.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_tool_says_what_to_do_when_there_is_no_daemon() {
    let directory = Directory::new("absent");
    let path = directory.socket();
    let shown = path.display();
    let error = Client::connect(&path, "wsd@edge").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "wsd is not running (no {shown}); start it with systemctl start wsd@edge, or name its configuration with -c FILE"
        )
    );
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // Accepted by the kernel, read by nobody.
    let mut client = Client::connect(&path, "wsd").unwrap();
    let limit = Duration::from_millis(50);
    let error = client.ask(&Request::Status, limit).unwrap_err();
    assert!(matches!(error, ClientError::Slow { .. }), "{error}");
    drop(listener);
    let error = client.next(Some(LIMIT)).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error}");
    let error = Client::connect(&path, "wsd").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "wsd is not running (nobody answers on {shown}); start it with systemctl start wsd, or name its configuration with -c FILE"
        )
    );
}
