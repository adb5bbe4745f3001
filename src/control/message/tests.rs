//! Requests and responses as lines: there and back, and what hostile lines are told.

use super::*;

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

/// The error of a line, with its cause, as the server writes it.
fn refusal(line: &str) -> String {
    let error = Request::parse(line.as_bytes()).unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[test]
fn a_request_comes_back_from_its_line() {
    let all = [
        Request::Status,
        Request::Reload,
        Request::subscribe("chat").unwrap(),
        Request::publish("räume/größe", b"line\nbreak \"quoted\" \x00".to_vec()).unwrap(),
        Request::publish("chat", vec![0xff, 0, 0x80]).unwrap(),
        Request::publish("chat", Vec::new()).unwrap(),
        Request::Publish {
            channel: channel("chat"),
            payload: Payload {
                kind: Kind::Binary,
                data: Bytes::from_static(b"binary, though it is text"),
            },
        },
    ];
    for request in all {
        let line = request.to_line();
        let (newline, content) = line.split_last().unwrap();
        assert_eq!(*newline, b'\n');
        assert!(!content.contains(&b'\n'));
        assert_eq!(Request::parse(content).unwrap(), request);
    }
}

#[test]
fn the_form_of_a_request_is_fixed() {
    assert_eq!(
        Request::Status.to_line(),
        b"{\"v\":1,\"request\":\"status\"}\n"
    );
    assert_eq!(
        Request::publish("chat", b"hello".to_vec())
            .unwrap()
            .to_line(),
        b"{\"v\":1,\"request\":\"publish\",\"channel\":\"chat\",\"text\":\"hello\"}\n"
    );
    let spaced = br#" { "request" : "subscribe", "channel":"c" , "v":1 } "#;
    assert_eq!(
        Request::parse(spaced).unwrap(),
        Request::subscribe("c").unwrap()
    );
}

#[test]
fn a_line_that_is_no_request_is_told_why() {
    for (line, expected) in [
        ("", "a request is one JSON object on one line"),
        ("hello", "expected value"),
        ("[1]", "a request is one JSON object on one line"),
        ("{\"v\":1", "EOF while parsing"),
        (
            "{}",
            "speaks version 1 of the control protocol, \"v\":1; the request has none",
        ),
        ("{\"v\":2,\"new\":{}}", "the request has \"v\":2"),
        ("{\"v\":-1}", "invalid value"),
        ("{\"v\":1}", "missing field `request`"),
        ("{\"v\":1,\"request\":5}", "invalid type"),
        (
            "{\"v\":1,\"request\":\"restart\"}",
            "unknown request \"restart\"; there are publish, reload, status and subscribe",
        ),
        (
            "{\"v\":1,\"request\":\"status\",\"x\":1}",
            "unknown field `x`",
        ),
        (
            "{\"v\":1,\"request\":\"status\",\"request\":\"reload\"}",
            "duplicate field",
        ),
        (
            "{\"v\":1,\"request\":\"status\",\"channel\":\"c\"}",
            "status takes no \"channel\"",
        ),
        (
            "{\"v\":1,\"request\":\"reload\",\"text\":\"c\"}",
            "reload takes no \"text\"",
        ),
        (
            "{\"v\":1,\"request\":\"subscribe\"}",
            "subscribe needs a \"channel\"",
        ),
        (
            "{\"v\":1,\"request\":\"subscribe\",\"channel\":\"c\",\"data64\":\"\"}",
            "subscribe takes no \"data64\"",
        ),
        (
            "{\"v\":1,\"request\":\"publish\",\"channel\":\"a b\",\"text\":\"x\"}",
            "channel \"a b\": spaces are not allowed in a channel name",
        ),
        (
            "{\"v\":1,\"request\":\"publish\",\"channel\":\"$own\",\"text\":\"x\"}",
            "channel \"$own\": channel names that begin with \"$\" are reserved",
        ),
        (
            "{\"v\":1,\"request\":\"publish\",\"channel\":\"c\"}",
            "publish takes either \"text\" or \"data64\"",
        ),
        (
            "{\"v\":1,\"request\":\"publish\",\"channel\":\"c\",\"text\":\"\",\"data64\":\"\"}",
            "publish takes either \"text\" or \"data64\"",
        ),
        (
            "{\"v\":1,\"request\":\"publish\",\"channel\":\"c\",\"data64\":\"%%\"}",
            "data64 is not base64",
        ),
    ] {
        let refusal = refusal(line);
        assert!(refusal.contains(expected), "{line}: {refusal}");
    }
}

#[test]
fn deep_or_broken_lines_are_errors_and_no_more() {
    let deep = "[".repeat(100_000);
    assert!(Request::parse(deep.as_bytes()).is_err());
    let nested = format!("{{\"v\":1,\"request\":{}", "{\"a\":".repeat(100_000));
    assert!(Request::parse(nested.as_bytes()).is_err());
    assert!(Request::parse(b"{\"v\":1,\"request\":\"\xff\"}").is_err());
    assert!(Request::parse(&[0xff; 100]).is_err());
    assert!(Response::parse(deep.as_bytes()).is_err());
}

#[test]
fn a_response_comes_back_from_its_line() {
    let status = Status {
        version: "0.1.0".to_owned(),
        uptime: 12.5,
        ..Status::default()
    };
    let all = [
        (Response::End, true),
        (Response::error("no"), true),
        (
            Response::message(&channel("chat"), &Payload::text("a\nb")),
            false,
        ),
        (
            Response::message(
                &channel("chat"),
                &Payload::guess(Bytes::from_static(&[0xff])),
            ),
            false,
        ),
        (Response::Missed { count: 3 }, false),
        (Response::Published { waits: true }, true),
        (
            Response::Refused {
                generation: 7,
                problems: vec!["a.toml:1:2: x: y".to_owned()],
            },
            true,
        ),
        (
            Response::Reloaded {
                generation: 8,
                notes: Vec::new(),
            },
            true,
        ),
        (Response::Status(Box::new(status)), true),
        (Response::Subscribed, false),
    ];
    for (response, is_final) in all {
        let line = response.to_line();
        assert!(line.starts_with(b"{\"v\":1,\"response\":\""));
        assert_eq!(Response::parse(line.trim_ascii_end()).unwrap(), response);
        assert_eq!(response.is_final(), is_final, "{response:?}");
    }
}

#[test]
fn a_newer_daemon_is_understood_and_another_version_named() {
    let newer = br#"{"v":1,"response":"published","waits":false,"position":"3:4"}"#;
    assert_eq!(
        Response::parse(newer).unwrap(),
        Response::Published { waits: false }
    );
    let other = Response::parse(br#"{"v":3,"response":"published"}"#).unwrap_err();
    assert_eq!(
        other.to_string(),
        "this wsd speaks version 1 of the control protocol; the answer has \"v\":3"
    );
}

#[test]
fn the_fields_of_status_are_those_that_scripts_know() {
    let line = Response::Status(Box::default()).to_line();
    let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
    for field in [
        "version",
        "generation",
        "uptime",
        "connections",
        "channels",
        "workers",
        "broker",
        "last_reload",
    ] {
        assert!(value.get(field).is_some(), "{field}");
    }
    for pointer in [
        "/broker/kind",
        "/broker/up",
        "/last_reload/ok",
        "/last_reload/at",
        "/last_reload/problems",
    ] {
        assert!(value.pointer(pointer).is_some(), "{pointer}");
    }
}
