//! The log thread: takes records off a bounded queue and writes them to the journal or to standard error.
//!
//! Whoever logs hands an owned record over and goes on, also when the journal stands still: then the queue fills, what
//! does not fit is dropped and counted, and the number is logged as soon as writing works again. Nothing but this
//! thread ever waits for the journal.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::time::Duration;

use super::entry::Entry;
use super::journal::Journal;
use super::line::{self, Reader};
use super::{event, now};
use crate::config::Level;

/// The way into the queue, from any thread.
#[derive(Debug)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Message {
    Entry(Box<Entry>),
    /// Write what is there and end.
    Stop,
}

/// What both sides of the queue know.
#[derive(Debug, Default)]
struct Counts {
    /// Of what is in the queue; at most [`QUEUE_BYTES`] and one record.
    bytes: AtomicUsize,
    /// Since the start.
    dropped: AtomicU64,
    /// Not yet logged.
    untold: AtomicU64,
}

impl Queue {
    /// Puts a record in, or counts it as dropped if there is no room. Never waits.
    pub(super) fn put(&self, entry: Entry) {
        let bytes = entry.bytes();
        if self.counts.bytes.fetch_add(bytes, Ordering::AcqRel) > QUEUE_BYTES
            || self
                .sender
                .try_send(Message::Entry(Box::new(entry)))
                .is_err()
        {
            self.counts.bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.counts.drop_one();
        }
    }

    /// How many were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Has the thread write what is in the queue and end; waits for that, but no longer than `patience`.
    pub(super) fn stop(&self, done: &Receiver<()>, patience: Duration) {
        let deadline = now() + patience;
        while let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Stop) {
            // As long as it stays full the journal stands still.
            let left = deadline.saturating_sub(now());
            if left.is_zero()
                || done.recv_timeout(left.min(RETRY)) != Err(RecvTimeoutError::Timeout)
            {
                return;
            }
        }
        // Either it is done, or it is given up: there is nobody left to tell.
        let _ = done.recv_timeout(deadline.saturating_sub(now()));
    }
}

impl Counts {
    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.untold.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where the thread writes to.
pub(super) enum Output {
    Journal(Box<Journal>),
    Lines(Reader, Box<dyn Write + Send>),
}

impl Output {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        match self {
            Self::Journal(journal) => journal.write(entry),
            Self::Lines(reader, out) => {
                out.write_all(line::render(entry, *reader).as_bytes())?;
                out.flush()
            }
        }
    }
}

/// Starts the thread. The receiver says when it has ended.
pub(super) fn start(output: Output) -> io::Result<(Queue, Receiver<()>)> {
    let (sender, receiver) = mpsc::sync_channel(QUEUE_RECORDS);
    let (tell, done) = mpsc::channel();
    let counts = Arc::new(Counts::default());
    let writer = Writer {
        output,
        counts: Arc::clone(&counts),
    };
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            writer.run(&receiver);
            // In this order: who waits for the end may rely on it that what comes later is counted as dropped.
            drop(receiver);
            drop(tell);
        })?;
    Ok((Queue { sender, counts }, done))
}

/// What the thread owns.
struct Writer {
    output: Output,
    counts: Arc<Counts>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(Message::Entry(entry)) = receiver.recv() {
            self.write(&entry);
            let mut told = now();
            loop {
                match receiver.try_recv() {
                    Ok(Message::Entry(entry)) => self.write(&entry),
                    Err(TryRecvError::Empty) => break,
                    Ok(Message::Stop) | Err(TryRecvError::Disconnected) => {
                        self.tell_dropped();
                        return;
                    }
                }
                // Under a flood the queue may never be empty.
                if now().saturating_sub(told) >= TELL {
                    told = now();
                    self.tell_dropped();
                }
            }
            self.tell_dropped();
        }
        self.tell_dropped();
    }

    fn write(&mut self, entry: &Entry) {
        self.counts.bytes.fetch_sub(entry.bytes(), Ordering::AcqRel);
        if self.output.write(entry).is_err() {
            self.counts.drop_one();
        }
    }

    /// Logs how many were dropped; if that fails too, they are told the next time.
    fn tell_dropped(&mut self) {
        let count = self.counts.untold.swap(0, Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let records = if count == 1 { "record" } else { "records" };
        let entry = Entry {
            at: now(),
            level: Level::Warn,
            target: "log",
            message: format!("{count} log {records} dropped"),
            event: event::find("log_dropped"),
            fields: Vec::new(),
            metadata: None,
        };
        if self.output.write(&entry).is_err() {
            self.counts.untold.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// The most records that wait: some thousand connections that close at once at debug level fit. The queue takes 16 bytes
/// for each, also while it is empty.
const QUEUE_RECORDS: usize = 8192;

/// The most bytes that wait: a stalled journal must not cost a node more memory than that.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// While the queue never gets empty, the dropped are told this often.
const TELL: Duration = Duration::from_secs(1);

/// How often a stop is put into a queue that is full.
const RETRY: Duration = Duration::from_millis(10);

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
