//! Messages from one client to the others: whole, in order, of the same kind.

use crate::support::{Message, Wsd, eventually, frame};

#[test]
fn message_reaches_every_subscriber_and_its_sender() {
    let wsd = Wsd::start("");
    let mut clients: Vec<_> = (0..10).map(|_| wsd.client("/chat")).collect();
    clients[3].text("hello");
    for client in &mut clients {
        client.expect("hello");
    }
    assert_eq!(wsd.metric("wsd_messages_received_total"), 1);
    assert_eq!(wsd.metric("wsd_publications_total"), 1);
    assert_eq!(wsd.metric("wsd_messages_delivered_total"), 10);
}

#[test]
fn text_stays_text_and_binary_stays_binary() {
    let wsd = Wsd::start("");
    let mut a = wsd.client("/chat");
    let mut b = wsd.client("/chat");
    a.text("grüße");
    a.binary(b"\x00\xff\xfe");
    a.binary(b"plain ascii");
    for client in [&mut a, &mut b] {
        client.expect("grüße");
        assert_eq!(client.next(), Message::Binary(b"\x00\xff\xfe".to_vec()));
        assert_eq!(client.next(), Message::Binary(b"plain ascii".to_vec()));
    }
}

#[test]
fn empty_messages_are_messages() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.text("");
    client.binary(b"");
    client.expect("");
    assert_eq!(client.next(), Message::Binary(Vec::new()));
}

#[test]
fn thousand_messages_keep_their_order() {
    let wsd = Wsd::start("");
    let mut sender = wsd.client("/chat");
    let mut listener = wsd.client("/chat");
    let texts: Vec<_> = (0..1000).map(|i| format!("message {i}")).collect();
    sender.texts(&texts);
    for text in &texts {
        sender.expect(text);
    }
    for text in &texts {
        listener.expect(text);
    }
}

#[test]
fn message_of_the_largest_size_comes_through() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    let text = "x".repeat(64 << 10);
    client.text(&text);
    client.expect(&text);
}

#[test]
fn fragments_become_one_message() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.raw(&frame(0x01, b"one "));
    client.raw(&frame(0x00, b"two "));
    client.raw(&frame(0x80, b"three"));
    client.expect("one two three");
}

#[test]
fn character_may_be_cut_between_fragments() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    let bytes = "größe €".as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        client.raw(&frame(if i == 0 { 0x01 } else { 0x00 }, &[*byte]));
    }
    client.raw(&frame(0x80, b""));
    client.expect("größe €");
}

#[test]
fn ping_between_fragments_is_answered_at_once() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.raw(&frame(0x02, b"be"));
    client.ping(b"there?");
    assert_eq!(client.next(), Message::Pong(b"there?".to_vec()));
    client.raw(&frame(0x80, b"gin"));
    assert_eq!(client.next(), Message::Binary(b"begin".to_vec()));
}

#[test]
fn frames_that_come_byte_by_byte_are_put_together() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    for byte in frame(0x81, &[b'y'; 300]) {
        client.raw(&[byte]);
    }
    client.expect(&"y".repeat(300));
}

#[test]
fn pong_nobody_asked_for_is_ignored() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    client.pong(b"unasked");
    client.text("on");
    client.expect("on");
}

#[test]
fn every_form_of_length_is_understood() {
    let wsd = Wsd::start("");
    let mut client = wsd.client("/chat");
    for length in [0, 1, 125, 126, 127, 0xffff] {
        let text = "z".repeat(length);
        client.text(&text);
        client.expect(&text);
    }
}

#[test]
fn client_that_left_gets_nothing_and_hinders_nobody() {
    let wsd = Wsd::start("");
    let mut stays = wsd.client("/chat");
    let leaves = wsd.client("/chat");
    let vanishes = wsd.client("/chat");
    leaves.close();
    drop(vanishes);
    eventually!(wsd.metric("wsd_connections") == 1);
    stays.text("alone");
    stays.expect("alone");
    eventually!(wsd.metric("wsd_subscriptions") == 1);
    eventually!(wsd.metric("wsd_channels") == 1);
}

#[test]
fn status_follows_those_who_come_and_go() {
    let soon = std::time::Duration::from_secs(2);
    let wsd = Wsd::start("");
    let first = wsd.client("/chat");
    let second = wsd.client("/chat");
    eventually!(soon, wsd.status()["connections"] == 2);
    assert_eq!(wsd.metric("wsd_subscriptions"), 2);
    drop(first);
    eventually!(soon, wsd.status()["connections"] == 1);
    drop(second);
    eventually!(soon, wsd.metric("wsd_subscriptions") == 0);
}
