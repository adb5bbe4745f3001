//! `wsd bench` against a real node: what it says of a node that carries everything, and of one that does not.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Wsd, binary};

/// What `wsd bench` said and how it ended.
struct Ran {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}{}", self.stdout, self.stderr))
    }
}

fn start(node: &Wsd, path: &str, options: &[&str]) -> Child {
    let url = format!("ws://{}{path}", node.address());
    binary()
        .args(["bench", &url])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait(mut child: Child) -> Ran {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    Ran {
        stdout,
        stderr,
        code: child.wait().unwrap().code(),
    }
}

fn bench(node: &Wsd, path: &str, options: &[&str]) -> Ran {
    wait(start(node, path, options))
}

const SHORT: [&str; 3] = ["--duration", "300ms", "--json"];

#[test]
fn a_node_that_carries_everything_is_measured() {
    let node = Wsd::start("");
    let ran = bench(&node, "/bench{}", &SHORT);
    let found = ran.json();
    assert_eq!(ran.code, Some(0), "{found}");
    assert_eq!(
        (&found["lost"], &found["again"]),
        (&0.into(), &0.into()),
        "{found}"
    );
    let (published, delivered) = (
        found["published_per_second"].as_f64().unwrap(),
        found["delivered_per_second"].as_f64().unwrap(),
    );
    assert!(published > 10.0, "{found}");
    // Ten connections a channel hear each message.
    assert!(delivered > 5.0 * published, "{found}");
    let latency = &found["latency_us"];
    assert!(latency["p50"].as_u64() > Some(0), "{found}");
    assert!(
        latency["p50"].as_u64() <= latency["p99"].as_u64(),
        "{found}"
    );
    assert_eq!(node.metric("wsd_slow_disconnects_total"), 0);
}

#[test]
fn a_rate_is_kept() {
    let node = Wsd::start("");
    let options = [
        "-n",
        "20",
        "--channels",
        "4",
        "--rate",
        "200",
        "--duration",
        "1s",
        "--json",
    ];
    let ran = bench(&node, "/bench{}", &options);
    let found = ran.json();
    assert_eq!(ran.code, Some(0), "{found}");
    let published = found["published_per_second"].as_f64().unwrap();
    assert!((150.0..250.0).contains(&published), "{found}");
    assert_eq!(found["window"], Value::Null);
}

#[test]
fn people_get_a_block_to_read() {
    let node = Wsd::start("");
    let ran = bench(
        &node,
        "/one",
        &[
            "-n",
            "5",
            "--channels",
            "1",
            "--duration",
            "200ms",
            "--size",
            "1KiB",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let first = ran.stdout.lines().next().unwrap();
    assert!(
        first.contains("/one: 5 connections in 1 channels; 1 publish messages of 1024 bytes"),
        "{first}"
    );
    for name in [
        "published",
        "delivered",
        "latency",
        "lost       0",
        "again      0",
    ] {
        assert!(ran.stdout.contains(name), "{name}: {}", ran.stdout);
    }
    // Standard error is no terminal: no progress.
    assert!(!ran.stderr.contains('\r'), "{}", ran.stderr);
}

#[test]
fn messages_are_found_in_arrays() {
    let node = Wsd::start("[delivery]\nformat = \"json-array\"\nwindow = \"5ms\"\n");
    let ran = bench(&node, "/bench{}", &SHORT);
    let found = ran.json();
    assert_eq!(ran.code, Some(0), "{found}");
    assert!(
        found["delivered_per_second"].as_f64() > Some(100.0),
        "{found}"
    );
}

#[test]
fn what_hooks_drop_is_lost_and_a_failure() {
    let hook = "local seen = 0\nfunction on_message(conn, m) seen += 1 if seen > 1 and seen % 10 == 0 then return false end end";
    let node = Wsd::with_hook(hook);
    let options = ["--rate", "500", "--duration", "500ms", "--json"];
    let ran = bench(&node, "/bench{}", &options);
    let found = ran.json();
    assert_eq!(ran.code, Some(1), "{found}");
    let lost = found["lost"].as_u64().unwrap();
    assert!(lost > 50, "{found}");
}

#[test]
fn a_path_where_nothing_comes_back_is_explained() {
    let node = Wsd::start(
        "[[route]]\npath = \"/mute\"\npublish = false\n[[route]]\npath = \"/others\"\necho = false\n",
    );
    let ran = bench(&node, "/mute", &["--channels", "1"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("0 of 100 connections heard"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("route.publish"), "{}", ran.stderr);
    let ran = bench(&node, "/others", &["--channels", "1"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("say --rate"), "{}", ran.stderr);
    let ran = bench(
        &node,
        "/others",
        &["--channels", "1", "--rate", "100", "--duration", "300ms"],
    );
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn refused_handshakes_are_explained() {
    let hook = "function on_connect(conn) if conn.headers[\"authorization\"] ~= \"Bearer 7\" then return 401, \"token required\" end end";
    let node = Wsd::with_hooks("[[route]]\npath = \"/in\"\n", &[("auth.lua", hook)]);
    let ran = bench(&node, "/in", &["--channels", "1"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("answered 401 Unauthorized"),
        "{}",
        ran.stderr
    );
    let ran = bench(&node, "/nowhere", &["--channels", "1"]);
    assert!(ran.stderr.contains("404 Not Found"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("no route has this path"),
        "{}",
        ran.stderr
    );
    let options = [
        "--channels",
        "1",
        "-H",
        "Authorization: Bearer 7",
        "--duration",
        "200ms",
    ];
    let ran = bench(&node, "/in", &options);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn connections_that_the_node_ends_are_counted() {
    let mut node = Wsd::start("[drain]\nover = \"0s\"\n");
    let child = start(
        &node,
        "/bench{}",
        &["--rate", "1000", "--duration", "1m", "--json"],
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while node.metric("wsd_messages_received_total") < 200 {
        assert!(Instant::now() < deadline, "nothing is published");
        std::thread::sleep(Duration::from_millis(10));
    }
    node.stop();
    // It does not wait for the rest of its minute when nobody is left.
    let ran = wait(child);
    assert!(Instant::now() < deadline, "it went on without a node");
    let found = ran.json();
    assert_eq!(ran.code, Some(1), "{found}");
    let ended: u64 = found["ended"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert_eq!(ended, 100, "{found}");
    assert!(
        found["ended"]
            .as_object()
            .unwrap()
            .keys()
            .any(|why| why.contains("1001")),
        "{found}"
    );
}
