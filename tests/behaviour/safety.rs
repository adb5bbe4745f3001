//! Hostile scripts in a node: other connections of the same worker wait no longer than three times the limit, those of
//! another worker not at all.
//!
//! Time is the CPU time of the worker's thread, as a busy machine runs other things between.

#[path = "../safety/cases.rs"]
mod cases;

use std::time::Duration;

use crate::support::{Client, Wsd};
use cases::CASES;

/// Three times the limit of 20 ms, and what a debug build takes besides.
const WITHIN: Duration = Duration::from_millis(60 + 25);

fn hook() -> String {
    let bodies: Vec<String> = CASES
        .iter()
        .map(|(_, _, body)| format!("function(conn)\n{body}\nend,\n"))
        .collect();
    format!(
        "local cases = {{\n{}}}\n\
         function on_connect(conn) conn:send(conn.id) end\n\
         function on_message(conn, m)\n\
           local case = cases[tonumber(m)]\n\
           if case then return case(conn) end\n\
           if m == 'me alone' then conn:send(m) return false end\n\
         end",
        bodies.concat()
    )
}

/// A node with two workers on which nobody is closed for what he does to them.
fn node(limit: &str) -> Wsd {
    let config = format!(
        "[runtime]\nworkers = 2\n[hooks]\nmemory = \"16MiB\"\nshare = \"0%\"\n\
         [hooks.time_limit]\nmessage = \"{limit}\"\n[hooks.breaker]\ncuts = 0\n"
    );
    Wsd::with_hooks(&config, &[("hook.lua", &hook())])
}

/// A client on that worker.
fn client_on(wsd: &Wsd, worker: u32, path: &str) -> Client {
    // Whoever is not wanted stays, so that the next one comes to the other worker.
    let mut others = Vec::new();
    loop {
        let mut client = wsd.client(path);
        let id = client.next_text();
        // `conn.id` is node, worker, slot and generation.
        if id.split('-').nth(1) == Some(&worker.to_string()) {
            return client;
        }
        others.push(client);
        assert!(others.len() < 100, "no connection on worker {worker}");
    }
}

/// CPU time of a worker's thread.
fn cpu(wsd: &Wsd, worker: u32) -> Duration {
    let tasks = format!("/proc/{}/task", wsd.pid());
    for task in std::fs::read_dir(tasks).unwrap().flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap();
        if name.trim() == format!("worker-{worker}") {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap();
            return Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap());
        }
    }
    panic!("no thread of worker {worker}")
}

#[test]
fn others_of_the_worker_wait_no_longer_than_three_times_the_limit() {
    let wsd = node("20ms");
    let mut attacker = client_on(&wsd, 0, "/attacker");
    let mut witness = client_on(&wsd, 0, "/witness");
    for (number, (name, _, _)) in (1..).zip(CASES) {
        let least = (0..5).find_map(|_| {
            let before = cpu(&wsd, 0);
            attacker.text(&number.to_string());
            witness.text("here");
            attacker.text("next");
            witness.expect("here");
            attacker.expect("next");
            let cost = cpu(&wsd, 0) - before;
            (cost < WITHIN).then_some(cost)
        });
        assert!(least.is_some(), "{name}: took longer five times");
    }
    // The last words of a script that was cut are nobody's: every case is counted, none was delivered.
    let ended = wsd.metric("wsd_hook_cuts_total") + wsd.metric("wsd_hook_errors_total");
    assert!(ended >= u64::try_from(CASES.len()).unwrap(), "{ended}");
    assert!(wsd.metric("wsd_hook_memory_bytes") < 2 * (17 << 20));
}

#[test]
fn those_of_another_worker_do_not_wait() {
    let wsd = node("2s");
    let mut attacker = client_on(&wsd, 0, "/attacker");
    let mut witness = client_on(&wsd, 1, "/witness");
    for (number, (name, _, _)) in (1..).zip(CASES).take(2) {
        let cuts = wsd.metric("wsd_hook_cuts_total");
        attacker.text(&number.to_string());
        let mut rounds = 0;
        while wsd.metric("wsd_hook_cuts_total") == cuts {
            // Nothing of it goes through a channel, whose home may be the worker that is busy.
            witness.text("me alone");
            witness.expect("me alone");
            rounds += 1;
        }
        attacker.text("next");
        attacker.expect("next");
        assert!(rounds > 5, "{name}: only {rounds} answers while it ran");
    }
}
