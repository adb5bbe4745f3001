//! A journal that works, one that stands still and one that fails.

use std::sync::mpsc::Sender;
use std::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Writes nothing until it is let, one permission a write or, once the other end is gone, freely.
struct Gate {
    permission: Receiver<()>,
    entered: Sender<()>,
    lines: Sender<String>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        let _ = self.permission.recv();
        let _ = self.lines.send(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn entry(message: &str) -> Entry {
    Entry {
        at: Duration::ZERO,
        level: Level::Info,
        target: "log",
        message: message.to_owned(),
        event: None,
        fields: Vec::new(),
        metadata: None,
    }
}

struct Fixture {
    queue: Queue,
    done: Receiver<()>,
    open: Sender<()>,
    entered: Receiver<()>,
    lines: Receiver<String>,
}

fn gate() -> Fixture {
    let (open, permission) = mpsc::channel();
    let (tell, entered) = mpsc::channel();
    let (send, lines) = mpsc::channel();
    let gate = Gate {
        permission,
        entered: tell,
        lines: send,
    };
    let (queue, done) = start(Output::Lines(Reader::Journal, Box::new(gate))).unwrap();
    Fixture {
        queue,
        done,
        open,
        entered,
        lines,
    }
}

#[test]
fn what_does_not_fit_is_dropped_counted_and_told() {
    let Fixture {
        queue,
        done,
        open,
        entered,
        lines,
    } = gate();
    queue.put(entry("first"));
    // The thread holds it, so the queue itself is empty and the numbers below are exact.
    entered.recv_timeout(PATIENCE).unwrap();
    for _ in 0..QUEUE_RECORDS + 7 {
        queue.put(entry("more"));
    }
    assert_eq!(queue.dropped(), 7);
    drop(open);
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "<6>log: first\n");
    for _ in 0..QUEUE_RECORDS {
        assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "<6>log: more\n");
    }
    assert_eq!(
        lines.recv_timeout(PATIENCE).unwrap(),
        "<4>log: 7 log records dropped\n"
    );
    queue.put(entry("again"));
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "<6>log: again\n");
    queue.stop(&done, PATIENCE);
    assert_eq!(queue.counts.bytes.load(Ordering::Acquire), 0);
}

#[test]
fn it_is_bounded_in_bytes_too() {
    let Fixture {
        queue,
        open,
        entered,
        done,
        ..
    } = gate();
    queue.put(entry("first"));
    entered.recv_timeout(PATIENCE).unwrap();
    let long = "x".repeat(16 * 1024);
    for _ in 0..1000 {
        queue.put(entry(&long));
    }
    let held = queue.counts.bytes.load(Ordering::Acquire);
    assert!(held <= QUEUE_BYTES + 2 * long.len(), "{held}");
    assert!(queue.dropped() > 700);
    drop(open);
    queue.stop(&done, PATIENCE);
}

#[test]
fn stopping_writes_what_is_there() {
    let Fixture {
        queue,
        done,
        open,
        lines,
        ..
    } = gate();
    drop(open);
    for n in 0..100 {
        queue.put(entry(&n.to_string()));
    }
    queue.stop(&done, PATIENCE);
    assert_eq!(lines.try_iter().count(), 100);
    // Nobody is there any more: it is counted and nothing else happens.
    queue.put(entry("late"));
    assert_eq!(queue.dropped(), 1);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long it waited is the question"
)]
fn a_journal_that_stands_still_keeps_nobody() {
    let Fixture {
        queue,
        done,
        open,
        entered,
        ..
    } = gate();
    queue.put(entry("first"));
    entered.recv_timeout(PATIENCE).unwrap();
    for _ in 0..QUEUE_RECORDS + 1 {
        queue.put(entry("more"));
    }
    let begun = Instant::now();
    queue.stop(&done, Duration::from_millis(50));
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert!(begun.elapsed() < PATIENCE);
    drop(open);
}

#[test]
fn what_can_not_be_written_counts_as_dropped() {
    struct Broken(Sender<()>);
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0.send(()).unwrap();
            Err(io::Error::other("no space left"))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (tell, tried) = mpsc::channel();
    let (queue, done) = start(Output::Lines(Reader::Person, Box::new(Broken(tell)))).unwrap();
    queue.put(entry("lost"));
    queue.stop(&done, PATIENCE);
    assert_eq!(queue.dropped(), 1);
    assert!(tried.try_iter().count() >= 2);
}
