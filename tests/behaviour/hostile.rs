//! Clients that mean harm: what they cost stays theirs.

use std::time::{Duration, Instant};

use crate::support::{Client, Message, Request, Stream, Wsd, eventually, frame};

#[test]
fn flood_of_costly_messages_leaves_the_others_their_turn() {
    let hook = "function on_message(conn, m)\n\
                if m ~= 'costly' then return end\n\
                local start = os.clock()\n\
                while os.clock() - start < 0.008 do end\n\
                return false\nend";
    let wsd = Wsd::with_hook(hook);
    let mut witness = wsd.client("/witness");
    let mut attacker = wsd.client("/attacker");
    // Sixteen seconds' work, of which nothing is ever published.
    attacker.raw(&frame(0x81, b"costly").repeat(2000));
    let start = Instant::now();
    for i in 0..10 {
        witness.text(&i.to_string());
        witness.expect(&i.to_string());
    }
    // The node's own questions pass too.
    assert!(wsd.generation() > 0);
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn window_of_a_quiet_node_ends_in_time() {
    let config = "[publish]\nwindow = \"100ms\"\n[listen]\nhandshake_timeout = \"1s\"\n";
    let wsd = Wsd::with_hooks(config, &[("hook.lua", "function on_batch(c, m) end")]);
    let mut client = wsd.client("/chat");
    // Until the timers of the handshake are over, one of them may end the window by chance.
    std::thread::sleep(Duration::from_secs(2));
    let start = Instant::now();
    client.text("hello");
    assert_eq!(client.next(), Message::text("hello"));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn last_words_of_a_connection_make_it_no_member_again() {
    let wsd = Wsd::with_hook(
        "function on_unsubscribe(conn, channel) pcall(conn.subscribe, conn, 'after') end\n\
         function on_disconnect(conn) pcall(conn.subscribe, conn, 'long after') end",
    );
    let mut client = wsd.client("/chat");
    client.sync();
    client.close();
    let mut next = wsd.client("/other");
    next.sync();
    eventually!(wsd.metric("wsd_connections") == 1);
    assert_eq!(wsd.metric("wsd_subscriptions"), 1);
    assert_eq!(wsd.metric("wsd_channels"), 1);
}

#[test]
fn pings_of_a_client_that_reads_nothing_fill_no_memory() {
    let wsd = Wsd::start("");
    let mut attacker = Client::open(Stream::narrow(wsd.address()), &Request::websocket("/chat"));
    let pings = frame(0x89, &[b'x'; 125]);
    // Each is a read of its own, as far as the node keeps up: more than all buffers of the kernel hold.
    for _ in 0..200_000 {
        attacker.raw(&pings);
    }
    wsd.client("/other").sync();
    eventually!(wsd.metric("wsd_queue_bytes") < 10_000);
}

#[test]
fn half_open_connections_do_not_hold_up_a_stop() {
    let mut wsd = Wsd::start("[listen]\nhandshake_timeout = \"1h\"\n");
    let silent: Vec<Stream> = (0..20).map(|_| Stream::tcp(wsd.address())).collect();
    // It is accepted after them.
    wsd.client("/chat").sync();
    let start = Instant::now();
    assert_eq!(wsd.stop(), 0);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    drop(silent);
}

#[test]
fn pipe_among_the_configuration_files_is_refused() {
    let wsd = Wsd::start("");
    let pipe = wsd.path("node.d/60-pipe.toml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let ran = wsd.cli(&["reload"], b"");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("is no regular file"), "{ran:?}");
    wsd.client("/chat").sync();
}
