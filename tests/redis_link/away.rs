//! Redis goes away and comes back: what waits, what is refused, what is known of the rest.

use std::collections::HashSet;
use std::time::Duration;

use wsd::broker::LinkStatus;
use wsd::types::{NodeId, Origin, Payload};

use crate::support::{Node, Server, eventually, now, numbers};

#[test]
fn what_waited_arrives_in_order_after_a_restart() {
    let mut server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    let other = Node::up(2, &server.config());
    node.listen("chat");
    other.listen("chat");
    server.kill();
    node.wait_status(LinkStatus::Down);
    other.wait_status(LinkStatus::Down);
    assert_eq!(node.metrics.broker_up.get(), 0);
    for text in numbers(0..2000) {
        node.publish_from("chat", Payload::text(text), &[node.origin(1, 1)]);
    }
    eventually("they wait", || {
        node.metrics.broker_buffer_bytes.get() > 400_000
    });
    eventually("the reason", || {
        let described = node.link.describe(now());
        described.contains(" away for ") && described.ends_with(": connection refused")
    });

    // Nobody waits for a subscription while Redis is away, and none is forgotten.
    node.listen("new");
    server.run();
    let back = now();
    for each in [&node, &other] {
        each.wait_status(LinkStatus::Up);
    }
    assert!(
        back.elapsed() < Duration::from_secs(6),
        "{:?}",
        back.elapsed()
    );
    node.wait_publications(2000);
    assert_eq!(node.texts("chat"), numbers(0..2000));
    assert!(node.got.borrow().refused.is_empty());
    other.publish("new", Payload::text("hello"));
    node.wait_publications(2001);
    eventually("nothing waits", || {
        node.metrics.broker_buffer_bytes.get() == 0
    });
    assert_eq!(node.metrics.broker_reconnects.get(), 1);
    assert_eq!(node.link.describe(now()), server.config().url.to_string());
}

#[test]
fn a_redis_killed_under_load_loses_and_doubles_nothing_unsaid() {
    let mut server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    node.listen("chat");
    let mut sent = 0;
    for round in 1..=5 {
        for _ in 0..3000 {
            publish_number(&node, sent);
            sent += 1;
        }
        server.kill();
        for _ in 0..3000 {
            publish_number(&node, sent);
            sent += 1;
        }
        node.wait_status(LinkStatus::Down);
        server.run();
        node.wait_status(LinkStatus::Up);
        node.publish("chat", Payload::text(format!("round {round}")));
        let last = format!("round {round}");
        node.wait("the round's last", |got| {
            got.publications
                .last()
                .is_some_and(|p| p.payload.data == last.as_bytes())
        });
    }
    account(&node, sent);
}

#[test]
fn a_killed_publisher_link_is_made_again_without_a_gap() {
    let server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    node.listen("chat");
    let mut sent = 0;
    for _ in 0..10 {
        for _ in 0..2000 {
            publish_number(&node, sent);
            sent += 1;
        }
        let before = node.metrics.broker_reconnects.get();
        assert_eq!(server.kill_links("-pub"), 1);
        eventually("the next link", || {
            publish_number(&node, sent);
            sent += 1;
            node.metrics.broker_reconnects.get() > before
        });
    }
    node.publish("chat", Payload::text("end"));
    node.wait("the end", |got| {
        got.publications
            .last()
            .is_some_and(|p| p.payload.data == "end".as_bytes())
    });
    account(&node, sent);
    assert_eq!(node.got.borrow().statuses, [LinkStatus::Up]);
    assert!(node.metrics.broker_reconnects.get() >= 10);
}

fn list_has(server: &Server, ending: &str) -> bool {
    let list: String = redis::cmd("CLIENT")
        .arg("LIST")
        .query(&mut server.client())
        .unwrap();
    list.split_whitespace()
        .any(|field| field.starts_with("name=wsd-") && field.ends_with(ending))
}

/// Its sender is the connection in the slot of the same number.
fn publish_number(node: &Node, number: u32) {
    let sender = node.origin(u8::try_from(number % 3).unwrap(), number);
    node.publish_from("chat", Payload::text(number.to_string()), &[sender]);
}

/// Each publish arrived once and in order, or its sender was told.
fn account(node: &Node, sent: u32) {
    let texts = node.texts("chat");
    let arrived: Vec<u32> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    assert!(
        arrived.is_sorted_by(|a, b| a < b),
        "doubled or out of order"
    );
    let mut told = HashSet::new();
    for (worker, origin) in &node.got.borrow().refused {
        assert_eq!(*worker, origin.worker, "told on another worker");
        assert!(told.insert(origin.conn.slot), "told twice");
    }
    let arrived: HashSet<u32> = arrived.into_iter().collect();
    for number in 0..sent {
        assert!(
            arrived.contains(&number) || told.contains(&number),
            "{number} of {sent} was lost and nobody was told"
        );
    }
    println!(
        "{sent} sent, {} arrived, {} told",
        arrived.len(),
        told.len()
    );
}

#[test]
fn a_killed_subscriber_link_is_a_gap_that_is_said() {
    let server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    node.listen("chat");
    assert_eq!(server.kill_links("-sub"), 1);
    node.wait_status(LinkStatus::Down);
    node.publish("chat", Payload::text("waits for the subscriptions"));
    node.wait_status(LinkStatus::Up);
    node.wait_publications(1);
    let statuses = node.got.borrow().statuses.clone();
    assert_eq!(statuses, [LinkStatus::Up, LinkStatus::Down, LinkStatus::Up]);
    assert!(node.got.borrow().refused.is_empty());
}

#[test]
fn a_full_buffer_refuses_on_the_senders_workers() {
    let mut server = Server::start(&[]);
    let mut config = server.config();
    config.buffer = 10_000;
    config.buffer_for = Duration::from_secs(60);
    let node = Node::up(1, &config);
    node.listen("chat");
    server.kill();
    node.wait_status(LinkStatus::Down);
    let stranger = Origin {
        node: NodeId(99),
        ..node.origin(0, 0)
    };
    for slot in 0..100 {
        let senders = [node.origin(0, slot), node.origin(2, slot), stranger];
        node.publish_from("chat", Payload::text("x".repeat(796)), &senders);
    }
    // 796 bytes, 4 of the name and 200 around: 10 find room.
    node.wait("refusals", |got| got.refused.len() == 180);
    for (worker, origin) in &node.got.borrow().refused {
        assert_eq!((*worker, origin.node), (origin.worker, node.id));
        assert!(origin.conn.slot >= 10);
    }
    assert_eq!(node.metrics.broker_buffer_bytes.get(), 10_000);
    server.run();
    node.wait_publications(10);
}

#[test]
fn what_waits_too_long_is_refused() {
    let mut server = Server::start(&[]);
    let mut config = server.config();
    config.buffer_for = Duration::from_millis(300);
    let node = Node::up(1, &config);
    server.kill();
    node.wait_status(LinkStatus::Down);
    let begin = now();
    node.publish_from("chat", Payload::text("late"), &[node.origin(1, 7)]);
    node.wait("a refusal", |got| !got.refused.is_empty());
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    eventually("nothing waits", || {
        node.metrics.broker_buffer_bytes.get() == 0
    });

    // The buffer's limits are live.
    config.buffer = 0;
    node.link.reload(&config);
    node.publish_from("chat", Payload::text("no room"), &[node.origin(2, 8)]);
    node.wait("another", |got| got.refused.len() == 2);
}

#[test]
fn without_a_buffer_publishes_go_out_while_redis_is_there() {
    let server = Server::start(&[]);
    let mut config = server.config();
    config.buffer = 0;
    let node = Node::up(1, &config);
    node.listen("chat");
    for n in 0..100 {
        node.publish_from("chat", Payload::text("x"), &[node.origin(0, n)]);
        node.wait_publications(usize::try_from(n).unwrap() + 1);
    }
    assert!(node.got.borrow().refused.is_empty());
}

#[test]
fn a_redis_that_hangs_is_noticed() {
    let server = Server::start(&[]);
    let mut config = server.config();
    config.buffer_for = Duration::from_secs(60);
    let node = Node::up(1, &config);
    node.listen("chat");
    for n in 0..100 {
        publish_number(&node, n);
    }
    node.wait_publications(100);
    server.signal("STOP");
    let begin = now();
    for n in 100..5000 {
        publish_number(&node, n);
    }
    node.wait_status(LinkStatus::Down);
    let noticed = begin.elapsed();
    assert!(noticed < Duration::from_secs(8), "{noticed:?}");
    let described = node.link.describe(now());
    assert!(described.ends_with(": no answer for 4 s"), "{described}");
    // It carries out what its socket still holds when it goes on, before or after the subscriptions are back.
    server.signal("CONT");
    node.wait_status(LinkStatus::Up);
    node.publish("chat", Payload::text("end"));
    node.wait("the end", |got| {
        got.publications
            .last()
            .is_some_and(|p| p.payload.data == "end".as_bytes())
    });
    account(&node, 5000);
    assert!(!node.got.borrow().refused.is_empty());
}

#[test]
fn nobody_at_the_address_is_no_error() {
    let server = Server::start(&[]);
    let config = server.config();
    drop(server);
    let node = Node::start(1, &config);
    node.listen("chat");
    assert_eq!(node.link.status(), LinkStatus::Down);
    eventually("the reason", || {
        node.link.describe(now()).ends_with(": connection refused")
    });
    node.publish_from("chat", Payload::text("left"), &[node.origin(0, 0)]);
    let begin = now();
    node.link.stop();
    assert!(begin.elapsed() < Duration::from_secs(4));
    node.drain();
    assert_eq!(node.got.borrow().refused.len(), 1);
}

#[test]
fn a_reload_moves_to_another_redis() {
    let first = Server::start(&[]);
    let second = Server::start(&[]);
    let node = Node::up(1, &first.config());
    node.listen("chat");
    let mut config = second.config();
    config.prefix = "app:".to_owned();
    node.link.reload(&config);
    node.wait_status(LinkStatus::Down);
    node.publish("chat", Payload::text("over there"));
    node.wait_status(LinkStatus::Up);
    node.wait_publications(1);
    assert_eq!(second.subscribers("app:chat"), 1);
    eventually("the old links end", || {
        !list_has(&first, "-sub") && !list_has(&first, "-pub")
    });
    // The same settings again change nothing.
    node.link.reload(&config);
    node.publish("chat", Payload::text("still there"));
    node.wait_publications(2);
    let statuses = node.got.borrow().statuses.len();
    assert_eq!(statuses, 3);
}

#[test]
fn what_waited_is_held_until_the_other_nodes_are_back() {
    let mut server = Server::start(&[]);
    let nodes: Vec<_> = (1..=4).map(|id| Node::up(id, &server.config())).collect();
    for round in 0..3 {
        for node in &nodes {
            node.listen("chat");
        }
        server.kill();
        for node in &nodes {
            node.wait_status(LinkStatus::Down);
            node.publish("chat", Payload::text(format!("{round} of {:?}", node.id)));
        }
        server.run();
        for node in &nodes {
            node.wait_status(LinkStatus::Up);
        }
        for node in &nodes {
            node.wait_publications((round + 1) * nodes.len());
        }
    }
    for node in &nodes {
        assert_eq!(node.texts("chat"), nodes[0].texts("chat"));
    }
}

#[test]
fn nothing_is_refused_because_it_is_held() {
    for (buffer, buffer_for) in [(0, 60_000), (1000, 60_000), (1 << 20, 200)] {
        let mut server = Server::start(&[]);
        let mut config = server.config();
        config.buffer = buffer;
        config.buffer_for = Duration::from_millis(buffer_for);
        let node = Node::up(1, &config);
        node.listen("chat");
        server.kill();
        node.wait_status(LinkStatus::Down);
        server.run();
        node.wait_status(LinkStatus::Up);
        for number in 0..200 {
            publish_number(&node, number);
        }
        node.wait_publications(200);
        assert_eq!(node.texts("chat"), numbers(0..200));
        assert!(node.got.borrow().refused.is_empty());
    }
}
