//! Formats, joiners, and who must not get something back.

use std::time::Duration;

use super::*;

fn delivery(format: Format, max_messages: usize, max_bytes: usize) -> Delivery {
    Delivery {
        window: Duration::ZERO,
        format,
        max_messages,
        max_bytes,
        when_full: WhenFull::Disconnect,
    }
}

fn open(format: Format) -> OpenRun {
    OpenRun::new(ChannelName::new("a").unwrap(), delivery(format, 100, 1000))
}

fn conn(slot: u32) -> ConnId {
    ConnId {
        slot,
        generation: 0,
    }
}

fn binary(data: &'static [u8]) -> Payload {
    Payload {
        kind: Kind::Binary,
        data: Bytes::from_static(data),
    }
}

/// The payloads of short frames, binary ones in angle brackets.
fn frames(parts: &[Part]) -> Vec<String> {
    let mut bytes = Vec::new();
    for (run, range) in parts {
        bytes.extend_from_slice(run.slice(range.clone()));
    }
    let mut frames = Vec::new();
    let mut rest = bytes.as_slice();
    while let [first, len, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(usize::from(*len));
        let text = String::from_utf8_lossy(payload).into_owned();
        frames.push(if first & 0xf == 2 {
            format!("<{text}>")
        } else {
            text
        });
        rest = tail;
    }
    frames
}

fn all(closed: &ClosedRun) -> Vec<String> {
    frames(&[(Rc::clone(&closed.all), closed.all.range())])
}

fn of(closed: &ClosedRun, slot: u32) -> Option<Vec<String>> {
    let (_, parts) = closed.special.iter().find(|(id, _)| *id == conn(slot))?;
    Some(frames(parts))
}

#[test]
fn messages_are_a_frame_each() {
    let mut run = open(Format::Message);
    run.offer(&Payload::text("one"), None);
    run.offer(&binary(b"two"), Some(conn(1)));
    run.join(conn(2));
    run.offer(&Payload::text("three"), None);
    let closed = run.close();
    assert_eq!(all(&closed), ["one", "<two>", "three"]);
    assert_eq!(of(&closed, 1).unwrap(), ["one", "three"]);
    assert_eq!(of(&closed, 2).unwrap(), ["three"]);
    assert_eq!(of(&closed, 3), None);
}

#[test]
fn an_array_holds_json_as_it_is_and_text_as_strings() {
    let mut run = open(Format::JsonArray);
    run.offer(&Payload::text("{\"a\": 1}"), None);
    run.offer(&Payload::text("say \"hi\""), Some(conn(1)));
    run.offer(&Payload::text("7"), None);
    let closed = run.close();
    assert_eq!(all(&closed), [r#"[{"a": 1},"say \"hi\"",7]"#]);
    assert_eq!(of(&closed, 1).unwrap(), [r#"[{"a": 1},7]"#]);
}

#[test]
fn nothing_left_over_is_no_frame() {
    for format in [Format::JsonArray, Format::Lines, Format::Message] {
        let mut run = open(format);
        run.offer(&Payload::text("x"), Some(conn(1)));
        run.join(conn(2));
        let closed = run.close();
        assert_eq!(of(&closed, 1).unwrap(), Vec::<String>::new());
        assert_eq!(of(&closed, 2).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn what_cannot_share_a_frame_goes_alone_and_in_order() {
    let mut run = open(Format::Lines);
    for payload in [
        Payload::text("a"),
        Payload::text("b"),
        Payload::text("c\nd"),
        binary(b"e"),
        Payload::text("f"),
    ] {
        run.offer(&payload, None);
    }
    let closed = run.close();
    assert_eq!(all(&closed), ["a\nb", "c\nd", "<e>", "f"]);
    let mut run = open(Format::JsonArray);
    for payload in [
        Payload::text("1"),
        binary(b"e"),
        binary(b"g"),
        Payload::text("2"),
    ] {
        run.offer(&payload, None);
    }
    run.join(conn(1));
    run.offer(&Payload::text("3"), None);
    let closed = run.close();
    assert_eq!(all(&closed), ["[1]", "<e>", "<g>", "[2,3]"]);
    assert_eq!(of(&closed, 1).unwrap(), ["[3]"]);
}

#[test]
fn a_run_is_full_by_messages_or_by_bytes() {
    let channel = || ChannelName::new("a").unwrap();
    let mut run = OpenRun::new(channel(), delivery(Format::JsonArray, 2, 100));
    assert_eq!(run.offer(&Payload::text("1"), None), Offered::Added);
    assert_eq!(run.offer(&Payload::text("2"), None), Offered::Full);
    let mut run = OpenRun::new(channel(), delivery(Format::Lines, 10, 9));
    assert_eq!(run.offer(&Payload::text("1234"), None), Offered::Added);
    assert_eq!(run.offer(&Payload::text("12345"), None), Offered::NoRoom);
    assert_eq!(
        run.offer(&Payload::text("1234"), None),
        Offered::Full,
        "nine bytes with the newline"
    );
    let mut run = OpenRun::new(channel(), delivery(Format::Lines, 10, 9));
    assert_eq!(
        run.offer(&Payload::text("larger than all"), None),
        Offered::Full
    );
    let mut run = OpenRun::new(channel(), delivery(Format::JsonArray, 10, 7));
    assert_eq!(run.offer(&Payload::text("12"), None), Offered::Added);
    assert_eq!(
        run.offer(&Payload::text("12"), None),
        Offered::Full,
        "[12,12] has seven"
    );
    let mut run = OpenRun::new(channel(), delivery(Format::Message, 10, 100));
    assert_eq!(run.offer(&Payload::text("12"), None), Offered::Added);
}

#[test]
fn a_closed_run_is_used_again_as_if_it_were_new() {
    let mut run = open(Format::Message);
    for format in [
        Format::Message,
        Format::Message,
        Format::Lines,
        Format::JsonArray,
        Format::Message,
    ] {
        run.begin(
            ChannelName::new("b").unwrap(),
            delivery(format, 100, 100_000),
        );
        assert_eq!(run.count(), 0);
        run.offer(&Payload::text("1"), None);
        run.join(conn(2));
        run.offer(&Payload::text("2"), Some(conn(1)));
        let closed = run.close();
        assert_eq!(closed.all.channel.as_ref().unwrap().as_str(), "b");
        let lone = of(&closed, 2).unwrap();
        match format {
            Format::Message => assert_eq!(
                (all(&closed), lone),
                (vec!["1".into(), "2".into()], vec!["2".into()])
            ),
            Format::Lines => assert_eq!(
                (all(&closed), lone),
                (vec!["1\n2".into()], vec!["2".into()])
            ),
            Format::JsonArray => assert_eq!(
                (all(&closed), lone),
                (vec!["[1,2]".into()], vec!["[2]".into()])
            ),
        }
        // Larger than what is copied out of the buffer.
        let large = "x".repeat(COPIED);
        run.begin(
            ChannelName::new("c").unwrap(),
            delivery(format, 100, 100_000),
        );
        run.offer(&Payload::text(large.clone()), None);
        let closed = run.close();
        let range = closed.all.range();
        assert_eq!(closed.all.frame_end(0), range.end);
        assert!(
            closed
                .all
                .slice(range)
                .windows(large.len())
                .any(|part| part == large.as_bytes())
        );
        assert!(closed.special.is_empty());
    }
}
