//! The HTTP of `[admin]` over real sockets: what is answered, and what hostile requests cost.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;

use tokio::runtime;

use super::*;
use crate::config::{
    ChannelPolicy, ChannelTemplate, Format, PathPattern, Route, Segment, TemplatePiece,
};
use crate::types::{Kind, StagesId};

const LIMIT: Duration = Duration::from_secs(20);

/// Messages of at most 1,000 bytes, one route.
fn config(token: &str) -> Config {
    let mut config = Config::default();
    config.admin.token = Secret::new(token.to_owned());
    config.limits.message = 1000;
    config.stages = vec![None, Some(["chat.lua".to_owned()].into())];
    let mut policy = ChannelPolicy::clone(&config.channel_default);
    policy.delivery.format = Format::JsonArray;
    policy.delivery.window = Duration::from_millis(250);
    config.channel_default = Arc::new(policy);
    let segments = vec![
        Segment::Literal("rooms".to_owned()),
        Segment::Param("room".to_owned()),
    ];
    let pieces = vec![
        TemplatePiece::Text("room:".to_owned()),
        TemplatePiece::Param("room".to_owned()),
    ];
    config.routes = vec![Arc::new(Route {
        name: "/rooms/{room}".into(),
        path: PathPattern::Segments(segments),
        channel: ChannelTemplate::Pieces(pieces),
        hooks: StagesId(1),
        publish: true,
        echo: false,
        channels: Vec::new(),
    })];
    config
}

/// A daemon that is ready unless a channel `down` was published to, and that takes everything else.
fn daemon(call: HttpCall) {
    match call {
        HttpCall::Listeners(reply) => {
            let tcp = Address::Tcp(SocketAddr::from(([0, 0, 0, 0], 8080)));
            let unix = Address::Unix(PathBuf::from("/run/wsd/ws.sock"));
            reply.send(vec![tcp, unix]).unwrap();
        }
        HttpCall::Metrics(reply) => reply.send("wsd_connections 3\n".to_owned()).unwrap(),
        HttpCall::Publish {
            channel,
            payload,
            reply,
        } => {
            let expected = match channel.as_str() {
                "chat" => Payload::text("hello"),
                "a/b?c" => Payload::guess(Bytes::from_static(&[0xff, 0])),
                _ => payload.clone(),
            };
            assert_eq!(payload, expected);
            let published = match channel.as_str() {
                "waits" => Published::Waits,
                "full" => Published::Refused("broker.buffer is full".to_owned()),
                "silent" => return,
                _ => Published::Taken,
            };
            reply.send(published).unwrap();
        }
        HttpCall::Ready(reply) => reply.send(Err("broker: down".to_owned())).unwrap(),
    }
}

/// Runs a server on this thread and `client` on another; returns what that returns.
fn with_server<T: Send + 'static>(
    token: &str,
    client: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> T {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (_keep, config) = watch::channel(Arc::new(config(token)));
        let (sender, mut calls) = mpsc::channel(8);
        let (done, mut is_done) = oneshot::channel();
        let client = thread::spawn(move || {
            let result = client(address);
            let _ = done.send(());
            result
        });
        let serve = serve(Listener::from_tcp(listener).unwrap(), config, sender);
        tokio::pin!(serve);
        loop {
            tokio::select! {
                () = &mut serve => panic!("the server ended"),
                Some(call) = calls.recv() => daemon(call),
                _ = &mut is_done => break,
            }
        }
        client.join().unwrap()
    })
}

/// Everything that is said to these bytes until the server closes.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // A server that refuses early may close before it has read all.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        let is_closed = error.kind() == io::ErrorKind::ConnectionReset;
        assert!(is_closed, "{error}: {}", said.escape_ascii());
    }
    String::from_utf8(said).unwrap()
}

fn request(address: SocketAddr, line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: wsd\r\nConnection: close\r\nContent-Length: {length}\r\n"
    );
    raw(address, format!("{head}{headers}\r\n{body}").as_bytes())
}

fn get(path: &str) -> String {
    let line = format!("GET {path}");
    with_server("", move |address| request(address, &line, "", ""))
}

/// A publish with the right token; status line and body.
fn publish(path: &str, body: &str) -> (u16, String) {
    let (line, body) = (format!("POST /publish/{path}"), body.to_owned());
    let said = with_server("secret", move |address| {
        request(address, &line, "Authorization: Bearer secret\r\n", &body)
    });
    split(&said)
}

fn split(said: &str) -> (u16, String) {
    let (head, body) = said
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{said:?}"));
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    (
        status.unwrap_or_else(|| panic!("{said:?}")),
        body.to_owned(),
    )
}

#[test]
fn metrics_and_health_are_answered() {
    let metrics = get("/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(
        metrics.ends_with("\r\n\r\nwsd_connections 3\n"),
        "{metrics}"
    );
    assert_eq!(split(&get("/healthz")), (200, "ok\n".to_owned()));
    assert_eq!(split(&get("/readyz")), (503, "broker: down\n".to_owned()));
    let (status, what) = split(&get("/nothing"));
    assert_eq!(status, 404, "{what}");
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let said = with_server("", |address| {
        [
            request(address, "POST /metrics", "", ""),
            request(address, "GET /publish/chat", "", ""),
            request(address, "DELETE /", "", ""),
        ]
    });
    let allowed = ["GET, HEAD", "POST", "GET, HEAD"];
    for (said, allowed) in said.iter().zip(allowed) {
        assert!(said.starts_with("HTTP/1.1 405 "), "{said}");
        assert!(said.contains(&format!("allow: {allowed}\r\n")), "{said}");
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let said = with_server("", |address| request(address, "HEAD /metrics", "", ""));
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    assert!(said.contains("content-length: 18\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\n"), "{said}");
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let statuses = with_server("", |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        ["GET /healthz", "GET /readyz", "GET /healthz"].map(|line| {
            write!(stream, "{line} HTTP/1.1\r\nHost: wsd\r\n\r\n").unwrap();
            let (mut status, mut length) = (String::new(), 0);
            reader.read_line(&mut status).unwrap();
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                if let Some(value) = header.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if header == "\r\n" {
                    break;
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            status
        })
    });
    assert!(
        statuses[1].contains("503") && statuses[2].contains("200"),
        "{statuses:?}"
    );
}

#[test]
fn a_publish_reaches_the_daemon() {
    assert_eq!(publish("chat", "hello"), (204, String::new()));
    assert_eq!(publish("r%C3%A4ume/x", ""), (204, String::new()));
    assert_eq!(publish("waits", "x").0, 202);
    let (status, reason) = publish("full", "x");
    assert_eq!((status, reason.as_str()), (503, "broker.buffer is full\n"));
    assert_eq!(publish("silent", "x").0, 503);
    let said = with_server("secret", |address| {
        let head = "POST /publish/a%2fb%3Fc HTTP/1.1\r\nHost: wsd\r\nConnection: close\r\n\
                    Authorization: bearer secret\r\nTransfer-Encoding: chunked\r\n\r\n";
        raw(
            address,
            &[head.as_bytes(), b"1\r\n\xff\r\n1\r\n\0\r\n0\r\n\r\n"].concat(),
        )
    });
    assert_eq!(split(&said).0, 204, "{said}");
}

#[test]
fn a_publish_that_makes_no_sense_is_told_why() {
    for (path, expected) in [
        ("", "channel \"\": a channel name has at least 1 byte"),
        (
            "a%20b",
            "channel \"a b\": spaces are not allowed in a channel name",
        ),
        ("%24own", "channel names that begin with \"$\" are reserved"),
        ("a%0", "followed by two hexadecimal digits"),
        ("a%zz", "followed by two hexadecimal digits"),
        ("%ff", "a channel name is UTF-8"),
        ("a?b", "a \"?\" in a channel name is written %3F"),
    ] {
        let (status, what) = publish(path, "x");
        assert_eq!(status, 400, "{path}");
        assert!(what.contains(expected), "{path}: {what}");
    }
}

#[test]
fn only_the_token_opens_the_way_to_publish() {
    let said = with_server("secret", |address| {
        [
            "",
            "Bearer secreT",
            "Bearer ",
            "Basic secret",
            "Bearer secret2",
            "secret",
        ]
        .map(|token| {
            let header = format!("Authorization: {token}\r\n");
            request(address, "POST /publish/chat", &header, "hello")
        })
    });
    for said in said {
        assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
        assert!(said.contains("www-authenticate: Bearer\r\n"), "{said}");
        assert!(said.contains("admin.token"), "{said}");
    }
    let said = with_server("", |address| {
        request(
            address,
            "POST /publish/chat",
            "Authorization: Bearer \r\n",
            "hello",
        )
    });
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    assert!(said.contains("set admin.token"), "{said}");
}

#[test]
fn a_message_over_the_limit_is_refused_however_it_comes() {
    assert_eq!(publish("some", &"x".repeat(1000)).0, 204);
    let (status, what) = publish("some", &"x".repeat(1001));
    assert_eq!(status, 413);
    assert_eq!(
        what,
        "the message has more than 1000 bytes (limits.message)\n"
    );
    let said = with_server("secret", |address| {
        let head = "POST /publish/some HTTP/1.1\r\nHost: wsd\r\nConnection: close\r\n\
                    Authorization: Bearer secret\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
        raw(address, format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes())
    });
    assert_eq!(split(&said).0, 413, "{said}");
}

#[test]
fn hostile_requests_are_refused_and_the_next_client_is_served() {
    let (said, after) = with_server("secret", |address| {
        let long = "x".repeat(HEAD_BYTES + 1);
        let many = "a: b\r\n".repeat(200);
        let said = [
            "nonsense\r\n\r\n".to_owned(),
            "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(),
            format!("GET /{long} HTTP/1.1\r\n\r\n"),
            format!("GET / HTTP/1.1\r\n{many}\r\n"),
            "GET / HTTP/3.0\r\n\r\n".to_owned(),
            "POST /publish/x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"
                .to_owned(),
        ]
        .map(|bytes| raw(address, bytes.as_bytes()));
        (said, request(address, "GET /healthz", "", ""))
    });
    for said in said {
        assert!(said.starts_with("HTTP/1.1 4"), "{said}");
    }
    assert!(after.starts_with("HTTP/1.1 200 "), "{after}");
}

#[test]
fn whoever_is_slow_is_let_go() {
    let said = with_server("secret", |address| {
        let head = "POST /publish/chat HTTP/1.1\r\nHost: wsd\r\nContent-Length: 5\r\n";
        let body = format!("{head}Authorization: Bearer secret\r\n\r\nhel");
        let idle = "GET /healthz HTTP/1.1\r\nHost: wsd\r\n\r\n";
        // Each returns when the server closes.
        ["", "GET /heal", idle, &body]
            .map(|bytes| {
                let bytes = bytes.to_owned();
                thread::spawn(move || raw(address, bytes.as_bytes()))
            })
            .map(|client| client.join().unwrap())
    });
    assert!(said[2].starts_with("HTTP/1.1 200 "), "{}", said[2]);
    assert!(said[3].starts_with("HTTP/1.1 408 "), "{}", said[3]);
}

#[test]
fn the_page_is_complete_and_may_load_nothing_else() {
    let index = get("/");
    assert!(index.starts_with("HTTP/1.1 200 OK\r\n"), "{index}");
    assert!(
        index.contains("content-security-policy: default-src 'none';"),
        "{index}"
    );
    for path in ["/demo.css", "/demo.js"] {
        assert!(index.contains(&format!("\"{}\"", &path[1..])), "{path}");
        assert_eq!(split(&get(path)).0, 200);
    }
    assert!(!index.contains("style="), "the policy forbids it");
    let json: serde_json::Value = serde_json::from_str(&split(&get("/demo.json")).1).unwrap();
    let expected = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "listeners": [{ "host": "0.0.0.0", "port": 8080, "any": true, "loopback": false }],
        "routes": [{
            "path": "/rooms/{room}", "channel": "room:{room}", "hooks": ["chat.lua"],
            "publish": true, "echo": false, "format": "json-array", "window": 0.25,
        }],
    });
    assert_eq!(json, expected);
}

#[test]
fn text_is_told_from_binary() {
    assert_eq!(
        Payload::guess(Bytes::from_static(b"\xff")).kind,
        Kind::Binary
    );
    assert_eq!(percent_decode("a%2Fb%c3%bc").unwrap(), "a/bü");
}
