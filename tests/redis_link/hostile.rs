//! Redis says no, or somebody puts strange things into it.

use std::io::{Read, Write};
use std::net::TcpListener;

use wsd::broker::LinkStatus;
use wsd::config::{BrokerUrl, Secret};
use wsd::types::{Kind, Payload};

use crate::support::{Node, Server, eventually, now};

fn reason_is(node: &Node, reason: &str) {
    eventually(reason, || node.link.describe(now()).contains(reason));
    assert_eq!(node.link.status(), LinkStatus::Down);
}

#[test]
fn passwords_are_used_and_their_faults_are_named() {
    let user = "--user wsd on >other &app:* +@pubsub +hello +ping +client|setname +select";
    let mut arguments = vec!["--requirepass", "secret"];
    arguments.extend(user.split(' '));
    let server = Server::start(&arguments);
    let mut config = server.config();
    let node = Node::start(1, &config);
    reason_is(&node, "Redis wants a password; set broker.password");
    config.password = Secret::new("wrong".to_owned());
    node.link.reload(&config);
    reason_is(
        &node,
        "broker.username and broker.password are not accepted",
    );
    config.password = Secret::new("secret".to_owned());
    node.link.reload(&config);
    node.wait_status(LinkStatus::Up);

    config.username = "wsd".to_owned();
    config.password = Secret::new("other".to_owned());
    config.prefix = "app:".to_owned();
    let user = Node::up(2, &config);
    user.listen("chat");
    user.publish("chat", Payload::text("hello"));
    user.wait_publications(1);
    let shown = format!("{:?} {}", user.link, user.link.describe(now()));
    assert!(!shown.contains("other") && !shown.contains("secret"));
}

#[test]
fn a_forbidden_channel_hurts_nobody_else() {
    let user = "--user default on nopass -@all +@pubsub +@connection resetchannels &ok*";
    let server = Server::start(&user.split(' ').collect::<Vec<_>>());
    let node = Node::up(1, &server.config());
    for channel in ["ok1", "forbidden", "ok2"] {
        node.subscribe(channel);
    }
    node.wait("those that may", |got| got.live.len() == 2);
    assert!(!node.got.borrow().live.contains(&"forbidden".to_owned()));
    let sender = [node.origin(1, 5)];
    node.publish_from("forbidden", Payload::text("no"), &sender);
    node.wait("told", |got| got.refused.len() == 1);
    node.publish("ok1", Payload::text("yes"));
    node.wait_publications(1);
    assert_eq!(node.got.borrow().statuses, [LinkStatus::Up]);
    node.unsubscribe("forbidden");
    node.listen("ok3");
}

#[test]
fn strange_payloads_are_payloads() {
    let server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    node.listen("chat");
    let mut client = server.client();
    let mut strange: Vec<Vec<u8>> = vec![
        b"\xff".to_vec(),
        b"\xff\x01\x07short".to_vec(),
        b"\xff\x02\x00later version".to_vec(),
        b"\xff\x01\x00\xff".to_vec(),
        b"\r\n$5\r\n>3\r\n".to_vec(),
        vec![0; 1 << 20],
        vec![0xfe; 5 << 20],
    ];
    let mut state = 1_u64;
    for _ in 0..500 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let len = usize::try_from(state >> 58).unwrap();
        strange.push(state.to_be_bytes().repeat(8)[..len].to_vec());
    }
    for payload in &strange {
        let _: u64 = redis::cmd("PUBLISH")
            .arg("chat")
            .arg(payload)
            .query(&mut client)
            .unwrap();
    }
    node.wait_publications(strange.len());
    let got = node.got.borrow();
    for (publication, payload) in got.publications.iter().zip(&strange) {
        let text = std::str::from_utf8(payload).is_ok();
        assert_eq!(publication.payload.kind == Kind::Text, text);
        assert_eq!(&publication.payload.data, payload);
        assert_eq!((publication.skip, publication.position), (None, None));
    }
    assert_eq!(got.statuses, [LinkStatus::Up]);
}

#[test]
fn what_is_too_big_costs_the_link_and_no_more() {
    let server = Server::start(&[]);
    let node = Node::up(1, &server.config());
    node.listen("chat");
    let huge = vec![b'x'; 65 << 20];
    let _: u64 = redis::cmd("PUBLISH")
        .arg("chat")
        .arg(&huge)
        .query(&mut server.client())
        .unwrap();
    node.wait_status(LinkStatus::Down);
    node.wait_status(LinkStatus::Up);
    node.publish("chat", Payload::text("x".repeat(20 << 20)));
    node.wait_publications(1);
    assert_eq!(node.got.borrow().publications[0].payload.len(), 20 << 20);
}

#[test]
fn something_else_than_redis_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let web = std::thread::spawn(move || {
        // The last connection, which ends the thread, says so.
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 256];
            let len = stream.read(&mut request).unwrap();
            if request.starts_with(b"end") {
                return;
            }
            assert!(len > 0);
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
        }
    });
    let mut config = Server::start(&[]).config();
    config.url = BrokerUrl::Redis {
        tls: false,
        host: "localhost".to_owned(),
        port: address.port(),
        database: 0,
    };
    let node = Node::start(1, &config);
    reason_is(&node, "what came is not Redis' protocol");
    drop(node);
    std::net::TcpStream::connect(address)
        .unwrap()
        .write_all(b"end")
        .unwrap();
    web.join().unwrap();
}
