//! Every field of every command, right and wrong, and every answer.

use base64::Engine as _;
use bytes::Bytes;

use super::*;
use crate::types::{ChannelName, Epoch, Kind, Payload, Position};

fn read(text: &str) -> Result<Request, BadCommand> {
    parse(&Bytes::from(text.to_owned()))
}

fn command(text: &str) -> Command {
    read(text).unwrap().command
}

fn refused(text: &str) -> (Code, String) {
    let bad = read(text).unwrap_err();
    (bad.code, bad.reason)
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn place(offset: u64) -> Position {
    Position {
        epoch: Epoch(0xab),
        offset,
    }
}

fn reply(reply: &Reply<'_>, id: Option<&str>) -> String {
    let id = id.map(|id| {
        read(&format!(r#"{{"type":"ping","id":{id}}}"#))
            .unwrap()
            .id
            .unwrap()
    });
    let mut out = Vec::new();
    write_reply(reply, id.as_ref(), &mut out);
    String::from_utf8(out).unwrap()
}

fn message(payload: &Payload) -> String {
    let mut out = Vec::new();
    write_message(Some(&channel("c")), payload, None, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_command_is_read() {
    assert_eq!(command(r#" {"type":"ping"} "#), Command::Ping);
    assert_eq!(
        command(r#"{"type":"subscribe","channel":"c","since":"ab:7"}"#),
        Command::Subscribe {
            channel: channel("c"),
            since: Some(place(7))
        }
    );
    assert_eq!(
        command(r#"{"channel":"c","type":"subscribe","more":[1]}"#),
        Command::Subscribe {
            channel: channel("c"),
            since: None
        }
    );
    assert_eq!(
        command(r#"{"type":"unsubscribe","channel":"c"}"#),
        Command::Unsubscribe {
            channel: channel("c")
        }
    );
    assert_eq!(
        command(r#"{"type":"history","channel":"c","limit":0}"#),
        Command::History {
            channel: channel("c"),
            limit: Some(0)
        }
    );
    assert_eq!(
        command(r#"{"type":"publish","channel":"c","data64":"/wA="}"#),
        Command::Publish {
            channel: channel("c"),
            payload: Payload {
                kind: Kind::Binary,
                data: Bytes::from_static(&[255, 0])
            }
        }
    );
}

#[test]
fn an_id_comes_back_as_it_was() {
    for id in [r#""a\u0062""#, "7", "-0", "123456789012345678901234567890"] {
        let expected = format!(r#"{{"type":"pong","id":{id}}}"#);
        assert_eq!(reply(&Reply::Pong, Some(id)), expected);
    }
    let long = format!("\"{}\"", "x".repeat(65));
    for id in ["1.0", "1e3", "true", "null", "[]", "{}", long.as_str()] {
        let bad = read(&format!(r#"{{"type":"ping","id":{id}}}"#)).unwrap_err();
        assert_eq!((bad.code, bad.id), (Code::BadRequest, None), "{id}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_id() {
    let bad = read(r#"{"type":"subscribe","id":5}"#).unwrap_err();
    assert_eq!(bad.reason, "channel: missing");
    assert_eq!(bad.id.unwrap().as_json(), "5");
    for (text, code, reason) in [
        (
            "",
            Code::BadRequest,
            "a command is a JSON object in a text frame",
        ),
        (
            "[1]",
            Code::BadRequest,
            "a command is a JSON object in a text frame",
        ),
        (
            "{",
            Code::BadRequest,
            "not a command: EOF while parsing an object at line 1 column 1",
        ),
        (
            r#"{"type":"ping"} x"#,
            Code::BadRequest,
            "not a command: trailing characters at line 1 column 17",
        ),
        (
            r#"{"type":"ping","type":"ping"}"#,
            Code::BadRequest,
            "not a command: duplicate field `type` at line 1 column 21",
        ),
        ("{}", Code::BadRequest, "type: missing"),
        (r#"{"type":1}"#, Code::BadRequest, "type: must be a string"),
        (
            r#"{"type":"join"}"#,
            Code::UnknownType,
            "type: \"join\" is none of subscribe, unsubscribe, publish, history, ping",
        ),
        (
            r#"{"type":"subscribe","channel":null}"#,
            Code::BadRequest,
            "channel: must be a string",
        ),
        (
            r#"{"type":"subscribe","channel":"$x"}"#,
            Code::BadChannel,
            "channel: \"$x\": channel names that begin with \"$\" are reserved",
        ),
        (
            r#"{"type":"subscribe","channel":"c","since":"7"}"#,
            Code::BadRequest,
            "since: \"7\": a position is \"EPOCH:OFFSET\"",
        ),
        (
            r#"{"type":"history","channel":"c","limit":-1}"#,
            Code::BadRequest,
            "limit: must be an integer that is not negative",
        ),
        (
            r#"{"type":"publish","channel":"c"}"#,
            Code::BadRequest,
            "data: missing (or data64 for binary)",
        ),
        (
            r#"{"type":"publish","channel":"c","data":1,"data64":""}"#,
            Code::BadRequest,
            "data and data64: one of the two, not both",
        ),
        (
            r#"{"type":"publish","channel":"c","data64":"?"}"#,
            Code::BadRequest,
            "data64: not base64: Invalid symbol 63, offset 0.",
        ),
    ] {
        assert_eq!(refused(text), (code, reason.to_owned()), "{text}");
    }
}

#[test]
fn a_long_name_is_cut_in_the_answer() {
    let text = format!(r#"{{"type":"{}"}}"#, "ü".repeat(1000));
    let (code, reason) = refused(&text);
    assert_eq!(code, Code::UnknownType);
    assert!(reason.len() < 300, "{reason}");
}

#[test]
fn every_value_comes_out_as_it_went_in() {
    for data in [
        "null",
        "true",
        "12345678901234567890.50",
        r#""plain""#,
        r#""12""#,
        r#""{\"a\":1}""#,
        r#""\"quoted\"""#,
        r#""""#,
        r#"{"b":1, "a":[ ]}"#,
        r#""\ud800""#,
        r#""line\nbreak""#,
    ] {
        let text = format!(r#"{{"type":"publish","channel":"c","data":{data}}}"#);
        let Command::Publish { payload, .. } = command(&text) else {
            panic!("{text}");
        };
        assert_eq!(
            message(&payload),
            format!(r#"{{"type":"message","channel":"c","data":{data}}}"#)
        );
    }
}

#[test]
fn plain_clients_see_plain_text() {
    let published = |data: &str| {
        let text = format!(r#"{{"type":"publish","channel":"c","data":{data}}}"#);
        match command(&text) {
            Command::Publish { payload, .. } => String::from_utf8(payload.data.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(published(r#""hello \"you\"""#), r#"hello "you""#);
    assert_eq!(published(r#""12""#), r#""12""#);
    assert_eq!(published(r#"{ "a" : 1 }"#), r#"{ "a" : 1 }"#);
}

#[test]
fn a_binary_payload_travels_as_base64() {
    let payload = Payload {
        kind: Kind::Binary,
        data: Bytes::from_static(b"{}\xff"),
    };
    let encoded = base64::engine::general_purpose::STANDARD.encode(b"{}\xff");
    assert_eq!(
        message(&payload),
        format!(r#"{{"type":"message","channel":"c","data64":"{encoded}"}}"#)
    );
}

#[test]
fn every_answer_is_written() {
    let c = channel("c");
    let kept = [
        (place(1), Payload::text("a")),
        (place(2), Payload::text("{}")),
    ];
    for (answer, text) in [
        (
            Reply::Subscribed {
                channel: &c,
                position: Some(place(3)),
                recovered: true,
            },
            r#"{"type":"subscribed","channel":"c","position":"ab:3","recovered":true}"#,
        ),
        (
            Reply::Subscribed {
                channel: &c,
                position: None,
                recovered: false,
            },
            r#"{"type":"subscribed","channel":"c","recovered":false}"#,
        ),
        (
            Reply::Unsubscribed { channel: &c },
            r#"{"type":"unsubscribed","channel":"c"}"#,
        ),
        (
            Reply::Published { position: None },
            r#"{"type":"published"}"#,
        ),
        (
            Reply::Published {
                position: Some(place(9)),
            },
            r#"{"type":"published","position":"ab:9"}"#,
        ),
        (
            Reply::History {
                channel: &c,
                messages: &kept,
            },
            r#"{"type":"history","channel":"c","messages":[{"data":"a","position":"ab:1"},{"data":{},"position":"ab:2"}]}"#,
        ),
        (
            Reply::History {
                channel: &c,
                messages: &[],
            },
            r#"{"type":"history","channel":"c","messages":[]}"#,
        ),
        (
            Reply::Error {
                code: Code::NotAllowed,
                reason: "no \"c\" here",
            },
            r#"{"type":"error","code":"not_allowed","reason":"no \"c\" here"}"#,
        ),
    ] {
        assert_eq!(reply(&answer, None), text);
    }
    let mut gap = Vec::new();
    write_gap(&c, Some(place(4)), &mut gap);
    assert_eq!(gap, br#"{"type":"gap","channel":"c","position":"ab:4"}"#);
    let mut sent = Vec::new();
    write_message(None, &Payload::text("hi"), None, &mut sent);
    assert_eq!(sent, br#"{"type":"message","data":"hi"}"#);
}
