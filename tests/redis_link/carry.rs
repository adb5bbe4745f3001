//! Redis is there: publications go round, subscriptions come and go.

use wsd::broker::redis::RedisLink;
use wsd::broker::{Command, LinkStatus, Outgoing};
use wsd::config::{BrokerUrl, Secret};
use wsd::types::{Epoch, Kind, Payload, Position, Publication};

use crate::support::{Node, Server, eventually, name, now, numbers};

#[test]
fn all_nodes_hear_a_channel_in_the_same_order() {
    let server = Server::start(&[]);
    let first = Node::up(1, &server.config());
    let second = Node::up(2, &server.config());
    let channels = ["a", "b", "größe"];
    for channel in channels {
        first.listen(channel);
        second.listen(channel);
    }
    for n in 0..1000 {
        for channel in channels {
            first.publish(channel, Payload::text(format!("first {n}")));
            second.publish(channel, Payload::text(format!("second {n}")));
        }
    }
    first.wait_publications(6000);
    second.wait_publications(6000);
    for channel in channels {
        let texts = first.texts(channel);
        assert_eq!(texts, second.texts(channel));
        for from in ["first", "second"] {
            let mine = texts.iter().filter_map(|text| text.strip_prefix(from));
            let expected: Vec<String> = (0..1000).map(|n| format!(" {n}")).collect();
            assert!(mine.eq(expected), "{from} on {channel}");
        }
    }
    // Many publications come in one event: a turn's worth for each home.
    assert!(second.got.borrow().events < 4000);
    assert_eq!(first.link.status(), LinkStatus::Up);
    assert_eq!(first.metrics.broker_up.get(), 1);
    assert_eq!(first.metrics.broker_reconnects.get(), 0);
}

#[test]
fn a_batch_is_handed_over_as_one_and_keeps_its_order() {
    let server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    node.listen("chat");
    let channel = name("chat");
    let batch = numbers(0..20_000).into_iter().map(|text| Outgoing {
        publication: Publication {
            channel: channel.clone(),
            payload: Payload::text(text),
            position: None,
            skip: None,
        },
        senders: [].into_iter().collect(),
        receipt: None,
        merged: Vec::new(),
        keep: None,
    });
    node.send(Command::Publish(batch.collect()), &channel);
    node.wait_publications(20_000);
    assert_eq!(node.texts("chat"), numbers(0..20_000));
    assert!(node.got.borrow().refused.is_empty());
}

#[test]
fn other_clients_of_redis_hear_and_are_heard() {
    let server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    node.listen("chat");
    let mut client = server.client();
    for payload in [
        &b"hello"[..],
        b"",
        "größe".as_bytes(),
        b"\x00\xfe",
        b"\xff\x01",
    ] {
        let heard: u64 = redis::cmd("PUBLISH")
            .arg("chat")
            .arg(payload)
            .query(&mut client)
            .unwrap();
        assert_eq!(heard, 1);
    }
    node.wait_publications(5);
    let kinds: Vec<(Kind, Vec<u8>)> = node
        .got
        .borrow()
        .publications
        .iter()
        .map(|p| (p.payload.kind, p.payload.data.to_vec()))
        .collect();
    assert_eq!(
        kinds,
        [
            (Kind::Text, b"hello".to_vec()),
            (Kind::Text, b"".to_vec()),
            (Kind::Text, "größe".as_bytes().to_vec()),
            (Kind::Binary, b"\x00\xfe".to_vec()),
            (Kind::Binary, b"\xff\x01".to_vec()),
        ]
    );

    let mut listener = server.client();
    let mut heard = listener.as_pubsub();
    heard.subscribe("chat").unwrap();
    node.publish("chat", Payload::text("from a browser"));
    assert_eq!(
        heard.get_message().unwrap().get_payload_bytes(),
        b"from a browser"
    );
}

#[test]
fn skip_position_and_kind_arrive_as_they_were_sent() {
    let server = Server::start(&[]);
    let first = Node::up(1, &server.config());
    let second = Node::up(2, &server.config());
    second.listen("chat");
    let mut sent = Vec::new();
    for kind in [Kind::Text, Kind::Binary] {
        for flags in 0..4 {
            sent.push(Publication {
                channel: name("chat"),
                payload: Payload {
                    kind,
                    data: bytes::Bytes::from(format!("{flags}")),
                },
                position: (flags & 1 != 0).then_some(Position {
                    epoch: Epoch(u64::MAX),
                    offset: 7,
                }),
                skip: (flags & 2 != 0).then_some(first.origin(2, u32::MAX)),
            });
        }
    }
    for publication in &sent {
        let outgoing = Outgoing {
            publication: publication.clone(),
            senders: [first.origin(2, 3)].into_iter().collect(),
            receipt: None,
            merged: Vec::new(),
            keep: None,
        };
        first.send(Command::Publish(vec![outgoing]), &publication.channel);
    }
    second.wait_publications(sent.len());
    let got = second.got.borrow();
    assert!(got.publications.iter().map(|p| &**p).eq(&sent));
}

#[test]
fn a_prefix_keeps_two_installations_apart() {
    let server = Server::start(&[]);
    let with_prefix = |prefix: &str| {
        let mut config = server.config();
        config.prefix = prefix.to_owned();
        config
    };
    let blue = Node::up(1, &with_prefix("blue:"));
    let green = Node::up(2, &with_prefix("green:"));
    blue.listen("chat");
    green.listen("chat");
    assert_eq!(server.subscribers("blue:chat"), 1);
    blue.publish("chat", Payload::text("blue"));
    green.publish("chat", Payload::text("green"));
    blue.wait_publications(1);
    green.wait_publications(1);
    assert_eq!(blue.texts("chat"), ["blue"]);
    assert_eq!(green.texts("chat"), ["green"]);
}

#[test]
fn a_unix_socket_carries_as_well() {
    let server = Server::start(&[]);
    let mut config = server.config();
    config.url = BrokerUrl::RedisUnix(server.socket());
    let node = Node::up(1, &config);
    node.listen("chat");
    node.publish("chat", Payload::text("hello"));
    node.wait_publications(1);
    let described = node.link.describe(now());
    assert!(described.starts_with("redis+unix:///"), "{described}");
}

#[test]
fn a_server_without_hello_is_spoken_to_in_the_old_way() {
    let server = Server::start(&["--rename-command", "HELLO", "", "--requirepass", "secret"]);
    let mut config = server.config();
    config.password = Secret::new("secret".to_owned());
    let node = Node::up(1, &config);
    node.listen("chat");
    node.listen("other");
    node.publish("chat", Payload::text("hello"));
    node.wait_publications(1);
    node.unsubscribe("other");
    node.listen("third");
    assert_eq!(node.link.status(), LinkStatus::Up);
}

#[test]
fn what_nobody_listens_to_is_unsubscribed() {
    let server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    node.listen("chat");
    node.listen("stays");
    assert_eq!(server.subscribers("chat"), 1);
    node.unsubscribe("chat");
    eventually("unsubscribed", || server.subscribers("chat") == 0);
    node.publish("chat", Payload::text("to nobody"));
    node.publish("stays", Payload::text("to somebody"));
    node.wait_publications(1);
    assert_eq!(node.texts("stays"), ["to somebody"]);
    assert!(node.texts("chat").is_empty());

    node.got.borrow_mut().live.clear();
    node.listen("chat");
    assert_eq!(server.subscribers("chat"), 1);
}

#[test]
fn ten_thousand_channels_come_go_and_come_back() {
    let mut server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    let all = numbers(0..10_000);
    for channel in &all {
        node.subscribe(channel);
    }
    node.wait("all live", |got| got.live.len() == all.len());
    assert_eq!(channels(&server), all.len());

    server.kill();
    node.wait_status(LinkStatus::Down);
    server.run();
    node.wait_status(LinkStatus::Up);
    // Up is said when the last one is confirmed, not before.
    assert_eq!(channels(&server), all.len());
    node.publish("9999", Payload::text("hello"));
    node.wait_publications(1);

    for channel in &all {
        node.unsubscribe(channel);
    }
    eventually("all gone", || channels(&server) == 0);
}

fn channels(server: &Server) -> usize {
    let all: Vec<String> = redis::cmd("PUBSUB")
        .arg("CHANNELS")
        .query(&mut server.client())
        .unwrap();
    all.len()
}

#[test]
fn stopping_waits_until_redis_has_everything() {
    let server = Server::start(&[]);
    let listener = Node::up(1, &server.config());
    listener.listen("chat");
    let node = Node::up(2, &server.config());
    for text in numbers(0..5000) {
        node.publish("chat", Payload::text(text));
    }
    let link: RedisLink = node.link.clone();
    link.stop();
    link.stop();
    assert_eq!(link.status(), LinkStatus::Down);
    listener.wait_publications(5000);
    assert_eq!(listener.texts("chat"), numbers(0..5000));
}
