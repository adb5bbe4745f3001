//! Clients that do not read: what `delivery.when_full` does to them, and that nobody else feels it.

use crate::support::{Client, Message, Request, Stream, Wsd, eventually};

/// What the sockets' buffers of the kernel cannot hold: some megabytes on each side.
const COUNT: usize = 500;
const SIZE: usize = 32 << 10;

/// A node, a client that does not read yet, and one that has read all that was sent.
fn flood(when_full: &str) -> (Wsd, Client, Client) {
    let wsd = Wsd::start(&format!(
        "[[route]]\npath = \"/send\"\nchannel = \"chat\"\necho = false\n\
         [[route]]\npath = \"/chat\"\nchannel = \"chat\"\n\
         [delivery]\nqueue = \"256KiB\"\nwhen_full = \"{when_full}\"\n"
    ));
    let slow = Client::open(Stream::narrow(wsd.address()), &Request::websocket("/chat"));
    let mut quick = wsd.client("/chat");
    let mut sender = wsd.client("/send");
    let padding = "x".repeat(SIZE);
    for i in 0..COUNT {
        let text = format!("{i} {padding}");
        sender.text(&text);
        quick.expect(&text);
    }
    (wsd, slow, sender)
}

/// The numbers of the messages that come, until `end` or a close or the end.
fn read_numbers(slow: &mut Client) -> (Vec<usize>, Message) {
    let mut numbers = Vec::new();
    loop {
        match slow.next() {
            Message::Text(text) if text != "end" => {
                let number: usize = text.split(' ').next().unwrap().parse().unwrap();
                assert_eq!(
                    text.len(),
                    number.to_string().len() + 1 + SIZE,
                    "not whole: {number}"
                );
                numbers.push(number);
            }
            other => return (numbers, other),
        }
    }
}

/// Reads all that is left, then one message more to see that the connection goes on; every message that did not come is
/// counted.
fn read_rest(wsd: &Wsd, slow: Client, mut sender: Client) -> Vec<usize> {
    let mut slow = slow;
    let reader = std::thread::spawn(move || read_numbers(&mut slow));
    eventually!(wsd.metric("wsd_queue_bytes") == 0);
    sender.text("end");
    let (numbers, last) = reader.join().unwrap();
    assert_eq!(last, Message::text("end"));
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let lost = u64::try_from(COUNT - numbers.len()).unwrap();
    assert!(lost > 0, "nothing was dropped: the test sends too little");
    assert_eq!(wsd.metric("wsd_dropped_total{reason=\"slow\"}"), lost);
    assert_eq!(wsd.metric("wsd_slow_disconnects_total"), 0);
    numbers
}

#[test]
fn disconnect_lets_go_of_who_does_not_read() {
    let (wsd, mut slow, mut sender) = flood("disconnect");
    // The quick one left by itself: the sender remains.
    eventually!(wsd.metric("wsd_connections") == 1);
    assert_eq!(wsd.metric("wsd_slow_disconnects_total"), 1);
    let (numbers, last) = read_numbers(&mut slow);
    // What the kernel had taken is whole and without a hole; the close may have found room or not.
    assert!(numbers.iter().copied().eq(0..numbers.len()), "{numbers:?}");
    assert!(
        matches!(last, Message::End | Message::Close(1013, _)),
        "{last:?}"
    );
    sender.text("on");
    sender.sync();
}

#[test]
fn drop_newest_keeps_what_waits() {
    let (wsd, slow, sender) = flood("drop-newest");
    let numbers = read_rest(&wsd, slow, sender);
    assert!(numbers.iter().copied().eq(0..numbers.len()), "{numbers:?}");
}

#[test]
fn drop_oldest_keeps_the_newest() {
    let (wsd, slow, sender) = flood("drop-oldest");
    let numbers = read_rest(&wsd, slow, sender);
    // What waited at the end fills the queue, without a hole.
    let kept = (256 << 10) / SIZE - 2;
    assert!(
        numbers.ends_with(&(COUNT - kept..COUNT).collect::<Vec<_>>()),
        "{numbers:?}"
    );
}

#[test]
fn keep_latest_ends_with_the_newest() {
    let (wsd, slow, sender) = flood("keep-latest");
    let numbers = read_rest(&wsd, slow, sender);
    assert_eq!(numbers.last(), Some(&(COUNT - 1)));
}

#[test]
fn message_larger_than_the_queue_goes_to_who_reads() {
    let wsd = Wsd::start("[delivery]\nqueue = \"1KiB\"\n");
    let mut client = wsd.client("/chat");
    for _ in 0..20 {
        let text = "x".repeat(60_000);
        client.text(&text);
        client.expect(&text);
    }
    assert_eq!(wsd.metric("wsd_slow_disconnects_total"), 0);
}
