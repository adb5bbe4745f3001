//! Tests of the protocol reader: each kind of reply, every cut, hostile bytes.

use super::*;
use crate::broker::redis::backoff::Dice;

const STREAM: &[u8] = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n\
    $2\r\nid\r\n:5\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*1\r\n%1\r\n$4\r\nname\r\n_\r\n\
    +OK\r\n>3\r\n$9\r\nsubscribe\r\n$4\r\nchat\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$4\r\nchat\r\n$5\r\nh\r\nlo\r\n\
    *3\r\n$7\r\nmessage\r\n$4\r\nchat\r\n$0\r\n\r\n+PONG\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n|1\r\n+a\r\n:1\r\n-ERR no\r\n\
    !5\r\nNO no\r\n>3\r\n$11\r\nunsubscribe\r\n$4\r\nchat\r\n:0\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n$-1\r\n_\r\n#t\r\n,1.5\r\n(123\r\n\
    >2\r\n$10\r\ninvalidate\r\n_\r\n*0\r\n*-1\r\n";

fn replies(mut input: &[u8]) -> Vec<Reply<'_>> {
    let mut out = Vec::new();
    while let Some((reply, len)) = read(input).unwrap() {
        out.push(reply);
        input = &input[len..];
    }
    assert!(input.is_empty());
    out
}

#[test]
fn replies_are_told_apart() {
    use Reply::{Error, Message, Pong, Subscribed, Unsubscribed, Value};
    let channel = b"chat".as_slice();
    let expected = [
        Value,
        Value,
        Subscribed(channel),
        Message {
            channel,
            payload: b"h\r\nlo",
        },
        Message {
            channel,
            payload: b"",
        },
        Pong,
        Pong,
        Error(b"ERR no"),
        Error(b"NO no"),
        Unsubscribed(channel),
        Unsubscribed(b""),
        Value,
        Value,
        Value,
        Value,
        Value,
        Value,
        Value,
        Value,
    ];
    assert_eq!(replies(STREAM), expected);
}

#[test]
fn cutting_the_input_never_changes_the_replies() {
    let whole: Vec<String> = replies(STREAM).iter().map(|r| format!("{r:?}")).collect();
    for cut in 0..STREAM.len() {
        for step in [1, 7, STREAM.len()] {
            let mut held: Vec<u8> = Vec::new();
            let mut got = Vec::new();
            let pieces = std::iter::once(&STREAM[..cut]).chain(STREAM[cut..].chunks(step));
            for piece in pieces {
                held.extend_from_slice(piece);
                while let Some((reply, len)) = read(&held).unwrap() {
                    got.push(format!("{reply:?}"));
                    held.drain(..len);
                }
            }
            assert_eq!(got, whole, "cut at {cut}, then every {step}");
        }
    }
}

#[test]
fn what_is_too_big_is_refused_before_it_has_come() {
    let head = format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n", MAX_REPLY + 1);
    assert_eq!(read(head.as_bytes()), Err(RespError::TooBig));
    assert!(matches!(
        read(b"$99999999999\r\n"),
        Err(RespError::Malformed(_))
    ));
    let line = [b"-".as_slice(), &[b'x'; MAX_LINE + 2]].concat();
    assert!(matches!(read(&line), Err(RespError::Malformed(_))));
    let mut long = format!("${MAX_REPLY}\r\n").into_bytes();
    long.resize(MAX_REPLY + 16, b'x');
    assert!(matches!(read(&long), Err(RespError::Malformed(_))));
}

#[test]
fn nested_and_endless_replies_have_an_end() {
    let deep = b"*1\r\n".repeat(100_000);
    assert!(matches!(read(&deep), Err(RespError::Malformed(_))));
    let attributes = b"|0\r\n".repeat(100_000);
    assert!(matches!(read(&attributes), Err(RespError::Malformed(_))));
    let many = [b"*5000\r\n".as_slice(), &b":1\r\n".repeat(5000)].concat();
    assert!(matches!(read(&many), Err(RespError::Malformed(_))));
    assert!(matches!(
        read(b"*9999999999\r\n"),
        Err(RespError::Malformed(_))
    ));
}

#[test]
fn other_protocols_are_no_redis() {
    for input in [
        "HTTP/1.1 400 Bad Request\r\n",
        "220 mail ESMTP\r\n",
        "$x\r\n",
        "$-2\r\n",
        "*\r\n",
        ">3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
        "$1\r\nab\r\n",
        ":1\rx",
    ] {
        assert!(
            matches!(read(input.as_bytes()), Err(RespError::Malformed(_))),
            "{input}"
        );
    }
}

#[test]
fn damaged_and_random_bytes_never_panic() {
    let mut dice = Dice::new(5);
    for _ in 0..20_000 {
        let mut bytes = STREAM.to_vec();
        for _ in 0..=dice.below(4) {
            let at = usize::try_from(dice.below(STREAM.len() as u64)).unwrap();
            bytes[at] = u8::try_from(dice.below(256)).unwrap();
        }
        let mut rest = bytes.as_slice();
        while let Ok(Some((_, len))) = read(rest) {
            assert!(len > 0 && len <= rest.len());
            rest = &rest[len..];
        }
        let noise: Vec<u8> = (0..dice.below(64))
            .map(|_| b"$*>+-:%|!\r\n0123_#,("[usize::try_from(dice.below(19)).unwrap()])
            .collect();
        let _ = read(&noise);
    }
}
