//! What follows when hooks are cut: a script rests, a connection is closed, an address gets less time, time is shared.

use std::time::Instant;

use crate::support::{Client, Message, Wsd, eventually};

/// Cuts are quick, windows short enough to wait for.
const CONFIG: &str = "[runtime]\nworkers = 2\n[hooks]\nshare = \"0%\"\n\
    [hooks.breaker]\ncuts = 5\nwindow = \"60s\"\ncooldown = \"1s\"\n";

const BOMB: &str = "function on_message(conn, m)\n\
    if m == 'bomb' then while true do end end\n\
    if m == 'other bomb' then while true do end end\n\
    end\n\
    function on_batch(channel, list)\n\
    for _, m in list do if m == 'batch bomb' then while true do end end end\n\
    end";

fn wsd() -> Wsd {
    Wsd::with_hooks(CONFIG, &[("hook.lua", BOMB)])
}

/// Sends a bomb over a connection of its own, so that nobody is closed for a second one.
fn bomb(wsd: &Wsd, last: u8, text: &str) -> Client {
    let cuts = wsd.metric("wsd_hook_cuts_total");
    let mut client = wsd.client_from(last, "/chat");
    client.text(text);
    eventually!(wsd.metric("wsd_hook_cuts_total") > cuts);
    client
}

#[track_caller]
fn is_closed(client: &mut Client) {
    loop {
        match client.next() {
            Message::Text(_) => {}
            Message::Close(code, reason) => {
                assert_eq!((code, reason.as_str()), (1008, "refused"));
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn cuts_by_three_addresses_rest_the_script_on_all_workers_until_a_trial() {
    let wsd = wsd();
    for last in [2, 2, 3, 3, 4] {
        bomb(&wsd, last, "bomb");
    }
    let log = wsd.wait_log(" rests for 1 s: cut 5 times within 60 s by calls for 3 addresses");
    assert!(log.contains("hook.lua"), "{log}");
    let notes = wsd.status()["notes"].to_string();
    // Whoever comes first after the cooldown is the trial, and it is cut.
    let mut trial = wsd.client_from(5, "/chat");
    eventually!({
        trial.text("bomb");
        wsd.metric("wsd_hook_cuts_total") == 6
    });
    wsd.wait_log("rests for another 1 s: its trial was cut");
    assert!(notes.contains("hook.lua rests"), "{notes}");
    let cuts = wsd.metric("wsd_hook_cuts_total");
    // Nothing is called meanwhile: refused by hooks.on_error.message.
    let mut clients = [wsd.client_from(6, "/chat"), wsd.client_from(7, "/chat")];
    let dropped = wsd.metric("wsd_dropped_total{reason=\"hook_error\"}");
    for client in &mut clients {
        client.text("bomb");
    }
    eventually!(wsd.metric("wsd_dropped_total{reason=\"hook_error\"}") >= dropped + 2);
    assert_eq!(wsd.metric("wsd_hook_cuts_total"), cuts);
    let mut innocent = wsd.client_from(8, "/chat");
    eventually!({
        innocent.text("fine");
        wsd.metric("wsd_publications_total") > 0
    });
    wsd.wait_log("hook.lua is called again: its trial was not cut");
    innocent.expect("fine");
}

#[test]
fn cuts_by_two_addresses_never_switch_a_script_off() {
    let wsd = wsd();
    for n in 0..12 {
        bomb(&wsd, 2 + n % 2, "bomb");
    }
    bomb(&wsd, 2, "other bomb");
    let mut innocent = wsd.client_from(9, "/chat");
    innocent.text("fine");
    innocent.expect("fine");
    assert_eq!(wsd.metric("wsd_hook_cuts_total"), 13);
    // After five cuts an address has a tenth of the time.
    wsd.wait_log(
        "stopped after 2 ms (a tenth of hooks.time_limit.message: calls for this address were cut too often)",
    );
}

#[test]
fn a_changed_script_does_not_rest() {
    let wsd = wsd();
    for last in 2..7 {
        bomb(&wsd, last, "bomb");
    }
    wsd.wait_log(" rests for 1 s");
    wsd.write_hook(
        "hook.lua",
        "function on_message(conn, m) return m .. '!' end",
    );
    assert_eq!(wsd.cli(&["reload"], b"").code, 0);
    let mut client = wsd.client_from(2, "/chat");
    client.text("now");
    client.expect("now!");
}

#[test]
fn the_second_cut_of_a_connection_closes_it() {
    let wsd = wsd();
    let mut client = wsd.client("/chat");
    client.text("bomb");
    client.text("fine");
    client.expect("fine");
    client.text("bomb");
    is_closed(&mut client);
}

#[test]
fn a_cut_batch_is_held_against_who_sent_all_of_it() {
    let config = format!("{CONFIG}[publish]\nwindow = \"300ms\"\n");
    let wsd = Wsd::with_hooks(&config, &[("hook.lua", BOMB)]);
    let mut attacker = wsd.client("/mixed");
    let mut other = wsd.client("/mixed");
    for round in 1..=3 {
        attacker.text("batch bomb");
        other.text("fine");
        eventually!(wsd.metric("wsd_hook_cuts_total") >= round);
    }
    // Nobody alone was to blame.
    other.text("still here");
    loop {
        if other.next() == Message::text("still here") {
            break;
        }
    }
    let mut alone = wsd.client("/alone");
    let cuts = wsd.metric("wsd_hook_cuts_total");
    for round in 1..=2 {
        alone.text("batch bomb");
        eventually!(wsd.metric("wsd_hook_cuts_total") >= cuts + round);
    }
    is_closed(&mut alone);
}

#[test]
fn batches_of_a_strained_address_are_its_own() {
    let wsd = wsd();
    for _ in 0..5 {
        bomb(&wsd, 2, "bomb");
    }
    let mut attacker = wsd.client_from(2, "/chat");
    let mut innocent = wsd.client_from(3, "/chat");
    attacker.text("batch bomb");
    innocent.text("fine");
    wsd.wait_log("on_batch: stopped after 5 ms (a tenth of hooks.time_limit.batch");
    loop {
        if innocent.next() == Message::text("fine") {
            break;
        }
    }
}

#[test]
fn a_connection_gets_its_share_and_is_closed_after_ten_seconds_of_more() {
    let wsd = Wsd::with_hooks(
        "[runtime]\nworkers = 1\n[hooks]\nshare = \"10%\"\n",
        // A millisecond or some, below the limit of a call.
        &[(
            "hook.lua",
            "function on_message(conn, m)\n\
             if m == 'dear' then for i = 1, 200000 do end end\n\
             end",
        )],
    );
    let mut greedy = wsd.client("/greedy");
    let mut witness = wsd.client("/witness");
    let start = Instant::now();
    for _ in 0..8000 {
        greedy.text("dear");
    }
    let mut slowest = std::time::Duration::ZERO;
    let mut rounds = 0;
    // While it is served, the witness is too, and at once.
    while wsd.metric("wsd_connections") == 2 {
        let sent = Instant::now();
        witness.text("cheap");
        witness.expect("cheap");
        slowest = slowest.max(sent.elapsed());
        rounds += 1;
        assert!(start.elapsed().as_secs() < 60, "never closed");
    }
    is_closed(&mut greedy);
    assert!(start.elapsed().as_secs() >= 10, "{:?}", start.elapsed());
    assert!(rounds > 10, "{rounds}");
    let calls = wsd.metric("wsd_hook_calls_total") - rounds;
    // Of some 12 s 10 % are its own, besides what it may take before.
    assert!(calls < 7000, "{calls} dear calls");
}

#[test]
fn a_memory_error_that_a_script_catches_is_a_cut_and_the_state_is_built_anew() {
    let wsd = Wsd::with_hooks(
        "[hooks]\nmemory = \"16MiB\"\n",
        &[(
            "hook.lua",
            "local calls = 0\n\
             function on_message(conn, m)\n\
             calls += 1\n\
             conn.data.n = (conn.data.n or 0) + 1\n\
             if m == 'bomb' then pcall(string.rep, 'x', 1e8) return 'escaped' end\n\
             return calls .. ' ' .. conn.data.n\n\
             end",
        )],
    );
    let mut client = wsd.client("/chat");
    client.texts(&["a", "bomb", "b"]);
    client.expect("1 1");
    client.expect("1 3");
    wsd.wait_log("on_message: memory limit reached (hooks.memory = 16 MiB)");
    assert_eq!(wsd.metric("wsd_hook_cuts_total"), 1);
}
