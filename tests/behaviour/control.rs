//! The tools that talk to a running node over its control socket.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::support::{DEADLINE, Message, Site, Wsd, binary, eventually};

/// A `wsd subscribe` that runs.
struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

impl Subscriber {
    fn start(wsd: &Wsd, channel_name: &str) -> Self {
        let mut child = binary()
            .args(["subscribe", channel_name, "--socket"])
            .arg(wsd.path("control.sock"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn status_as_json_says_how_the_node_is() {
    let wsd = Wsd::start("");
    let _client = wsd.client("/chat");
    eventually!(wsd.status()["connections"] == 1);
    eventually!(wsd.status()["channels"] == 1);
    let status = wsd.status();
    assert_eq!(status["generation"], 1);
    assert_eq!(status["workers"], 1);
    assert_eq!(status["broker"]["up"], true);
    assert_eq!(status["last_reload"]["ok"], true);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime"].is_number(), "{status}");
    assert!(status["last_reload"]["at"].is_number(), "{status}");
    assert!(status["last_reload"]["problems"].is_array(), "{status}");
}

#[test]
fn status_for_people_names_what_listens() {
    let wsd = Wsd::start("");
    let ran = wsd.cli(&["status"], b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains(&wsd.address().to_string()), "{ran:?}");
    assert!(ran.out.contains("generation"), "{ran:?}");
}

#[test]
fn publish_takes_its_data_as_argument_or_from_standard_input() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    assert_eq!(wsd.cli(&["publish", "chat", "an argument"], b"").code, 0);
    client.expect("an argument");
    assert_eq!(wsd.cli(&["publish", "chat", "-"], b"from input").code, 0);
    client.expect("from input");
    assert_eq!(wsd.cli(&["publish", "chat", "-"], b"\xff\xfe").code, 0);
    assert_eq!(client.next(), Message::Binary(b"\xff\xfe".to_vec()));
}

#[test]
fn publish_to_a_name_that_is_no_channel_is_refused() {
    let wsd = Wsd::start("");
    for name in ["a b", "$own", ""] {
        let ran = wsd.cli(&["publish", name, "x"], b"");
        assert!(matches!(ran.code, 1 | 2), "{ran:?}");
        assert!(ran.err.contains("channel"), "{ran:?}");
    }
}

#[test]
fn subscribe_prints_what_is_published() {
    let wsd = Wsd::start("");
    let subscriber = Subscriber::start(&wsd, "chat");
    let mut client = wsd.client("/chat");
    // Until it has subscribed, nothing comes.
    let mut lines = Vec::new();
    let mut count = 0_usize;
    eventually!({
        client.text(&format!("message {count}"));
        client.expect(&format!("message {count}"));
        count += 1;
        lines.extend(subscriber.lines.try_iter());
        !lines.is_empty()
    });
    let first: usize = lines[0].strip_prefix("message ").unwrap().parse().unwrap();
    while lines.len() < count - first {
        lines.push(subscriber.lines.recv_timeout(DEADLINE).unwrap());
    }
    let expected: Vec<_> = (first..count).map(|i| format!("message {i}")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn tools_say_where_they_looked_when_nobody_answers() {
    let mut wsd = Wsd::start("");
    assert_eq!(wsd.stop(), 0);
    for args in [&["status"][..], &["reload"], &["publish", "chat", "x"]] {
        let ran = wsd.cli(args, b"");
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("control.sock"), "{ran:?}");
    }
}

#[test]
fn control_socket_is_for_its_owner_and_group() {
    let wsd = Wsd::start("");
    let mode = std::fs::metadata(wsd.path("control.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn second_node_on_the_same_control_socket_is_refused() {
    let wsd = Wsd::start("");
    let ran = wsd.tool(&["run"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("control.sock"), "{ran:?}");
    // The first one has noticed nothing.
    assert_eq!(wsd.status()["generation"], 1);
}

#[test]
fn check_needs_no_node_and_names_the_hooks() {
    let site = Site::new(
        "",
        &[(
            "chat.lua",
            "function on_message() end\nfunction on_batch() end",
        )],
    );
    let ran = site.tool(&["check"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("chat.lua: on_message, on_batch"),
        "{ran:?}"
    );
    site.write_config("[limits]\nmessage = 0\n");
    assert_eq!(site.tool(&["check"]).code, 78);
}
