//! Redis that is killed, stopped or not there yet: what waits, what is refused, who is told, and how soon all is well again.

use std::time::{Duration, Instant};

use crate::TestBroker;
use crate::support::{Client, Message, Site, Wsd, eventually};

/// From the moment when Redis answers again (SPEC: both nodes deliver within 5 s).
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Half of them on each node.
const CLIENTS: usize = 20;
/// What each sends before Redis is killed.
const BEFORE: usize = 100;
/// What each sends while it is away.
const DURING: usize = 50;
/// The number of the last message, which two of them send when Redis is back.
const END: usize = BEFORE + DURING;

/// One line `CLIENT NUMBER` that a client got.
fn parse(text: &str) -> (usize, usize) {
    let (client, number) = text.split_once(' ').unwrap();
    (client.parse().unwrap(), number.parse().unwrap())
}

/// A client that comes back when it is told to, and all that it got.
struct Visitor<'a> {
    node: &'a Wsd,
    client: Client,
    lines: Vec<(usize, usize)>,
    /// How often it was closed with 1013.
    told: usize,
}

impl<'a> Visitor<'a> {
    fn new(node: &'a Wsd) -> Self {
        Self {
            node,
            client: node.client("/chat"),
            lines: Vec::new(),
            told: 0,
        }
    }

    /// Takes what has come by now. Who is told that a message of its own may be lost comes back.
    fn settle(&mut self) {
        let mut open = true;
        // What the node decided before the first ping is sent before the second pong.
        for _ in 0..2 {
            self.client.ping(b"settle");
            loop {
                match self.client.next() {
                    Message::Pong(_) => break,
                    Message::Text(text) => self.lines.push(parse(&text)),
                    Message::Close(1013, _) => open = false,
                    Message::End if !open => {
                        self.told += 1;
                        self.client = self.node.client("/chat");
                        return;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(open, "a pong after the close");
    }

    /// Reads up to the last ones of clients 0 and 1.
    fn read_to_both_ends(&mut self) {
        let mut open = 2;
        while open > 0 {
            let line = parse(&self.client.next_text());
            open -= usize::from(line.1 == END);
            self.lines.push(line);
        }
    }
}

/// Publishes until a message waits: from then on the node knows that Redis is away, and has told everyone whose message was
/// on its way.
fn wait_until_publishes_wait(node: &Wsd) {
    let mut canary = Visitor::new(node);
    eventually!({
        canary.client.text(&format!("{CLIENTS} 0"));
        canary.settle();
        node.metric("wsd_broker_buffer_bytes") > 0
    });
}

#[test]
fn killed_and_restarted_redis_delivers_again_what_waited_in_order() {
    let broker = TestBroker::start();
    let nodes = [broker.node("", &[]), broker.node("", &[])];
    let mut visitors: Vec<_> = (0..CLIENTS).map(|i| Visitor::new(&nodes[i % 2])).collect();

    // In flight when Redis dies.
    for (sender, visitor) in visitors.iter_mut().enumerate() {
        let texts: Vec<_> = (0..BEFORE).map(|i| format!("{sender} {i}")).collect();
        visitor.client.texts(&texts);
    }
    broker.redis().kill();
    for node in &nodes {
        wait_until_publishes_wait(node);
        eventually!(node.http("GET", "/readyz").status == 503);
    }
    for (sender, visitor) in visitors.iter_mut().enumerate() {
        visitor.settle();
        let texts: Vec<_> = (BEFORE..END).map(|i| format!("{sender} {i}")).collect();
        visitor.client.texts(&texts);
    }
    visitors.iter_mut().for_each(Visitor::settle);

    broker.redis().start_again();
    let back = Instant::now();
    for node in &nodes {
        eventually!(BACK_WITHIN, node.http("GET", "/readyz").status == 200);
        node.wait_log("broker back after");
        eventually!(node.status()["broker"]["up"] == true);
    }
    for end in [0, 1] {
        visitors[end].client.text(&format!("{end} {END}"));
    }
    visitors.iter_mut().for_each(Visitor::read_to_both_ends);
    let took = back.elapsed();
    assert!(took < BACK_WITHIN, "{took:?}");

    let told: usize = visitors.iter().map(|visitor| visitor.told).sum();
    let seen: Vec<_> = visitors.into_iter().map(|visitor| visitor.lines).collect();
    check(&seen);
    println!(
        "{CLIENTS} clients on 2 nodes, {} messages waited; each of them was delivered to all, {} times, in order, {took:?} after \
         Redis was back; {told} senders were told of what was on its way",
        CLIENTS * DURING,
        CLIENTS * CLIENTS * DURING,
    );
}

/// Checks that everyone got all that waited, on either node, and in its sender's order.
fn check(seen: &[Vec<(usize, usize)>]) {
    for (receiver, lines) in seen.iter().enumerate() {
        for sender in 0..CLIENTS {
            let of_sender = lines.iter().filter(|(s, _)| *s == sender);
            let numbers: Vec<_> = of_sender.map(|(_, n)| *n).collect();
            let message = format!("client {receiver} got from {sender}: {numbers:?}");
            assert!(numbers.is_sorted_by(|a, b| a < b), "{message}");
            let waited = numbers.iter().filter(|n| (BEFORE..END).contains(*n));
            assert_eq!(waited.count(), DURING, "{message}");
        }
    }
}

#[test]
fn sender_is_told_when_its_message_has_waited_too_long() {
    let broker = TestBroker::start();
    let wsd = broker.node("[broker]\nbuffer_for = \"300ms\"\n", &[]);
    let mut sender = wsd.client("/chat");
    let mut listener = wsd.client("/chat");
    broker.redis().kill();
    wsd.wait_log("broker lost");
    sender.text("in vain");
    assert_eq!(sender.expect_close(1013), "try again later");
    eventually!(wsd.metric("wsd_dropped_total{reason=\"broker\"}") == 1);
    // Who said nothing stays, and is served when Redis is back.
    broker.redis().start_again();
    eventually!(wsd.status()["broker"]["up"] == true);
    let mut again = wsd.client("/chat");
    again.text("heard");
    listener.expect("heard");
}

#[test]
fn sender_is_told_when_the_buffer_is_full() {
    let broker = TestBroker::start();
    let wsd = broker.node("[broker]\nbuffer = \"4KiB\"\nbuffer_for = \"1h\"\n", &[]);
    let mut patient = wsd.client("/chat");
    let mut greedy = wsd.client("/chat");
    broker.redis().kill();
    wsd.wait_log("broker lost");
    patient.text("small");
    patient.sync();
    greedy.text(&"x".repeat(5000));
    greedy.expect_close(1013);
    broker.redis().start_again();
    patient.expect("small");
}

#[test]
fn handshake_does_not_wait_for_a_redis_that_is_away() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    broker.redis().kill();
    wsd.wait_log("broker lost");
    let start = Instant::now();
    let mut client = wsd.client("/chat");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    client.text("waits");
    broker.redis().start_again();
    client.expect("waits");
}

#[test]
fn node_starts_without_redis_and_says_so() {
    let broker = TestBroker::start();
    broker.redis().kill();
    let wsd = Wsd::without_broker(Site::with_broker(broker.clone(), "", &[]));
    assert_eq!(wsd.status()["broker"]["up"], false);
    assert_eq!(wsd.http("GET", "/healthz").status, 200);
    assert_eq!(wsd.http("GET", "/readyz").status, 503);
    assert_eq!(wsd.metric("wsd_broker_up"), 0);
    let mut client = wsd.client("/chat");
    broker.redis().start_again();
    eventually!(BACK_WITHIN, wsd.http("GET", "/readyz").status == 200);
    client.text("now");
    client.expect("now");
    assert_eq!(wsd.metric("wsd_broker_up"), 1);
}

#[test]
fn redis_that_hangs_is_found_out() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    let mut client = wsd.client("/chat");
    broker.redis().freeze();
    wsd.wait_log("broker lost");
    eventually!(wsd.http("GET", "/readyz").status == 503);
    broker.redis().thaw();
    eventually!(wsd.http("GET", "/readyz").status == 200);
    client.text("alive");
    let last = std::iter::repeat_with(|| client.next()).find(|m| *m == Message::text("alive"));
    assert!(last.is_some());
}

#[test]
fn cut_subscriber_link_is_made_again_with_every_subscription() {
    let broker = TestBroker::start();
    let wsd = broker.node("", &[]);
    let mut clients: Vec<_> = (0..50).map(|i| wsd.client(&format!("/room-{i}"))).collect();
    let mark = wsd.log_length();
    assert_eq!(
        broker.redis().cli(&["CLIENT", "KILL", "TYPE", "pubsub"]),
        "1"
    );
    wsd.wait_log_from(mark, "broker back after");
    for (i, client) in clients.iter_mut().enumerate() {
        assert_eq!(broker.redis().publish(&format!("room-{i}"), b"again"), 1);
        client.expect("again");
    }
    assert!(wsd.metric("wsd_broker_reconnects_total") > 0);
    assert!(wsd.metric("wsd_gaps_total") > 0, "what was missed is told");
}

#[test]
fn stop_while_redis_is_away_is_no_failure() {
    let broker = TestBroker::start();
    let mut wsd = broker.node("", &[]);
    let mut client = wsd.client("/chat");
    broker.redis().kill();
    wsd.wait_log("broker lost");
    wsd.signal("TERM");
    client.expect_close(1001);
    assert_eq!(wsd.wait(), 0);
}
