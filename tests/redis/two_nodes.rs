//! Two nodes over one Redis: clients of both meet, in one order.

use crate::TestBroker;
use crate::support::{Client, Message};

#[test]
fn message_reaches_clients_of_both_nodes() {
    let broker = TestBroker::start();
    let (a, b) = (broker.node("", &[]), broker.node("", &[]));
    let mut on_a = a.client("/chat");
    let mut on_b = b.client("/chat");
    let mut elsewhere = b.client("/other");
    on_a.text("from a");
    on_a.expect("from a");
    on_b.expect("from a");
    on_b.binary(b"ascii from b");
    for client in [&mut on_a, &mut on_b] {
        assert_eq!(client.next(), Message::Binary(b"ascii from b".to_vec()));
    }
    elsewhere.text("mine");
    elsewhere.expect("mine");
}

#[test]
fn both_nodes_see_the_same_order() {
    const EACH: usize = 300;
    let broker = TestBroker::start();
    let workers = "[runtime]\nworkers = 2\n";
    let nodes = [broker.node(workers, &[]), broker.node(workers, &[])];
    let clients: Vec<_> = (0..6).map(|i| nodes[i % 2].client("/chat")).collect();
    let total = clients.len() * EACH;
    let threads: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(sender, mut client)| {
            std::thread::spawn(move || {
                for i in 0..EACH {
                    client.text(&format!("{sender} {i}"));
                }
                (0..total).map(|_| client.next_text()).collect::<Vec<_>>()
            })
        })
        .collect();
    let seen: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    for other in &seen[1..] {
        assert!(*other == seen[0], "two clients saw two orders");
    }
}

#[test]
fn sender_without_echo_is_spared_and_its_namesake_on_the_other_node_is_not() {
    let broker = TestBroker::start();
    let config = "[[route]]\npath = \"/quiet\"\nchannel = \"chat\"\necho = false\n";
    let (a, b) = (broker.node(config, &[]), broker.node(config, &[]));
    // The first connection of each node has the same place on its worker.
    let mut on_a = a.client("/quiet");
    let mut on_b = b.client("/quiet");
    on_a.text("from a");
    on_b.expect("from a");
    on_b.text("from b");
    on_a.expect("from b");
}

#[test]
fn hooks_run_on_the_sender_s_node_alone() {
    let broker = TestBroker::start();
    let a = broker.node(
        "",
        &[(
            "h.lua",
            "function on_message(conn, m) return m .. ' of a' end",
        )],
    );
    let b = broker.node(
        "[publish]\nwindow = \"1h\"\nmax_messages = 2\n",
        &[(
            "h.lua",
            "function on_batch(channel, m) return { table.concat(m, '+') .. ' of b' } end",
        )],
    );
    let mut on_a = a.client("/chat");
    let mut on_b = b.client("/chat");
    on_a.text("x");
    on_a.expect("x of a");
    on_b.expect("x of a");
    on_b.texts(&["y", "z"]);
    on_a.expect("y+z of b");
    on_b.expect("y+z of b");
}

#[test]
fn nodes_keep_the_order_of_what_one_call_publishes_to_one_channel() {
    let broker = TestBroker::start();
    let hook = "function on_message(conn, m) for i = 1, 100 do wsd.publish('chat', m .. i) end return false end";
    let a = broker.node("", &[("h.lua", hook)]);
    let b = broker.node("", &[]);
    let mut on_a = a.client("/chat");
    let mut on_b = b.client("/chat");
    on_a.text("x");
    let expect_all = |client: &mut Client| (1..=100).for_each(|i| client.expect(&format!("x{i}")));
    expect_all(&mut on_a);
    expect_all(&mut on_b);
}

#[test]
fn node_that_ends_takes_nothing_with_it() {
    let broker = TestBroker::start();
    let (mut a, b) = (broker.node("", &[]), broker.node("", &[]));
    let mut on_b = b.client("/chat");
    let mut on_a = a.client("/chat");
    on_a.text("my last");
    on_b.expect("my last");
    assert_eq!(a.stop(), 0);
    on_b.text("alone");
    on_b.expect("alone");
}

#[test]
fn publication_is_counted_once_where_it_was_published() {
    let broker = TestBroker::start();
    let (a, b) = (broker.node("", &[]), broker.node("", &[]));
    let mut on_a = a.client("/chat");
    let mut on_b = b.client("/chat");
    on_a.text("mine");
    on_a.expect("mine");
    on_b.expect("mine");
    // Nobody of wsd published this one.
    broker.redis().publish("chat", b"theirs");
    on_a.expect("theirs");
    on_b.expect("theirs");
    assert_eq!(a.metric("wsd_publications_total"), 1);
    assert_eq!(b.metric("wsd_publications_total"), 0);
    assert_eq!(b.metric("wsd_messages_delivered_total"), 2);
}

#[test]
fn users_are_reached_on_both_nodes() {
    let broker = TestBroker::start();
    let hooks = [(
        "h.lua",
        "function on_connect(conn) conn.user = conn.query.user end\n\
         function on_message(conn, m)\n\
           if m == 'kick' then wsd.kick('ann', 4003, 'gone') else wsd.send('ann', m) end\n\
           return false\n\
         end",
    )];
    let workers = "[runtime]\nworkers = 2\n";
    let (a, b) = (broker.node(workers, &hooks), broker.node(workers, &hooks));
    let mut ann: Vec<_> = [&a, &b, &a, &b]
        .iter()
        .map(|node| node.client("/chat?user=ann"))
        .collect();
    let mut bob = b.client("/chat?user=bob");
    for i in 0..50 {
        bob.text(&i.to_string());
    }
    for client in &mut ann {
        (0..50).for_each(|i| client.expect(&i.to_string()));
    }
    // What is no note is ignored, whoever sends it.
    broker.redis().publish("$users", b"hello");
    broker.redis().publish("$users", b"\x01\x02\x03ann\x03\xed");
    broker
        .redis()
        .publish("$users", b"\x01\x00\x03annfrom outside");
    for client in &mut ann {
        client.expect("from outside");
    }
    bob.text("kick");
    for client in &mut ann {
        assert_eq!(client.expect_close(4003), "gone");
    }
    bob.text("nobody");
    bob.sync();
}
