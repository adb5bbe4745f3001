//! Feeds systemd's watchdog, as long as every worker answers.
//!
//! A plain thread: a task of a wedged runtime could not notice that it is wedged. It asks every worker a numbered
//! question (a message in the inbox, so an idle worker answers too) and pings only when all have answered the latest
//! one. What is outside the process, Redis above all, never stops it. It pings before it reports and never logs by
//! itself. The daemon starts it after the workers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Notifier;

/// The running thread; dropping it ends the pings.
#[derive(Debug)]
pub struct Watchdog {
    /// Dropped to end the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is called with the number of a question. It puts the question into every inbox and must not wait.
pub type Ask = Box<dyn Fn(u64) + Send>;

/// What is called with the workers that owe an answer, and for how long; once an interval as long as it lasts. It must
/// not wait.
pub type Late = Box<dyn Fn(&[usize], Duration) + Send>;

impl Watchdog {
    /// Starts the thread.
    ///
    /// `answers` has one entry a worker, in which that worker stores the number of each question it was asked. The first
    /// question is 1, so they begin at 0.
    pub fn start(
        notifier: Notifier,
        interval: Duration,
        answers: Vec<Arc<AtomicU64>>,
        ask: Ask,
        late: Late,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let asker = Asker {
            notifier,
            interval: interval.max(SHORTEST),
            answers,
            ask,
            late,
        };
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || asker.run(&stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It can only have ended by a panic of `ask` or `late`, which the panic hook has reported.
            let _ = thread.join();
        }
    }
}

/// How often to ping: half of what the unit's `WatchdogSec=` allows, `None` if systemd expects nothing of this process.
#[must_use]
pub fn interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
        .filter(|limit| !limit.is_zero())
        .map(|limit| limit / 2)
}

/// What the thread owns.
struct Asker {
    notifier: Notifier,
    interval: Duration,
    answers: Vec<Arc<AtomicU64>>,
    ask: Ask,
    late: Late,
}

impl Asker {
    fn run(&self, stopped: &mpsc::Receiver<()>) {
        let mut question = 1;
        let mut asked = now();
        (self.ask)(question);
        let mut reported = asked;
        loop {
            match stopped.recv_timeout(self.pause(asked)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let waited = now().saturating_duration_since(asked);
            if waited < self.interval {
                continue;
            }
            let owing = self.owing(question);
            if owing.is_empty() {
                self.notifier.watchdog();
                question += 1;
                asked = now();
                reported = asked;
                (self.ask)(question);
            } else if now().saturating_duration_since(reported) >= self.interval {
                reported = now();
                (self.late)(&owing, waited);
            }
        }
    }

    /// Until the answers are due; after that an eighth of the interval, so that a late answer is a ping soon after it.
    fn pause(&self, asked: Instant) -> Duration {
        self.interval
            .saturating_sub(now().saturating_duration_since(asked))
            .max(self.interval / 8)
    }

    /// Who has not answered this question.
    fn owing(&self, question: u64) -> Vec<usize> {
        self.answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.load(Ordering::Acquire) < question)
            .map(|(worker, _)| worker)
            .collect()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own beside the workers, whose clock it is there to doubt"
)]
fn now() -> Instant {
    Instant::now()
}

/// No interval is shorter: a `WatchdogSec=` of microseconds would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(8);

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::sync::atomic::AtomicBool;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Fixture {
        systemd: UnixDatagram,
        answers: Vec<Arc<AtomicU64>>,
        /// Worker 1 answers only while this is set.
        awake: Arc<AtomicBool>,
        late: mpsc::Receiver<(Vec<usize>, Duration)>,
        watchdog: Watchdog,
    }

    fn start(name: &str, interval: Duration) -> Fixture {
        let name = format!("wsd-test-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(OsStr::new(&format!("@{name}"))).unwrap();
        let answers = vec![Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
        let awake = Arc::new(AtomicBool::new(true));
        let (tell, late) = mpsc::channel();
        let ask = {
            let answers = answers.clone();
            let awake = Arc::clone(&awake);
            Box::new(move |question| {
                answers[0].store(question, Ordering::Release);
                if awake.load(Ordering::Acquire) {
                    answers[1].store(question, Ordering::Release);
                }
            })
        };
        let watchdog = Watchdog::start(
            notifier,
            interval,
            answers.clone(),
            ask,
            Box::new(move |owing, waited| tell.send((owing.to_vec(), waited)).unwrap()),
        )
        .unwrap();
        Fixture {
            systemd,
            answers,
            awake,
            late,
            watchdog,
        }
    }

    impl Fixture {
        fn ping(&self, within: Duration) -> bool {
            self.systemd.set_read_timeout(Some(within)).unwrap();
            let mut buffer = [0; 64];
            match self.systemd.recv(&mut buffer) {
                Ok(length) => {
                    assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
                    true
                }
                Err(_) => false,
            }
        }
    }

    #[test]
    fn idle_workers_that_answer_keep_it_fed() {
        let fixture = start("fed", Duration::from_millis(40));
        for _ in 0..5 {
            assert!(fixture.ping(PATIENCE));
        }
        assert!(fixture.late.try_recv().is_err());
        assert!(fixture.answers[1].load(Ordering::Acquire) >= 5);
    }

    #[test]
    fn one_worker_that_does_not_answer_stops_the_pings_until_it_does() {
        let fixture = start("late", Duration::from_millis(40));
        assert!(fixture.ping(PATIENCE));
        fixture.awake.store(false, Ordering::Release);
        // By the second report at the latest every ping sent before it has been read.
        for _ in 0..2 {
            let (owing, waited) = fixture.late.recv_timeout(PATIENCE).unwrap();
            assert_eq!(owing, [1]);
            assert!(waited >= Duration::from_millis(40));
        }
        while fixture.ping(Duration::from_millis(1)) {}
        fixture.late.recv_timeout(PATIENCE).unwrap();
        assert!(!fixture.ping(Duration::from_millis(1)));

        fixture.awake.store(true, Ordering::Release);
        let question = fixture.answers[0].load(Ordering::Acquire);
        fixture.answers[1].store(question, Ordering::Release);
        assert!(fixture.ping(PATIENCE));
        assert!(fixture.ping(PATIENCE));
    }

    #[test]
    fn an_old_answer_does_not_count() {
        let fixture = start("old", Duration::from_millis(40));
        assert!(fixture.ping(PATIENCE));
        fixture.awake.store(false, Ordering::Release);
        fixture.late.recv_timeout(PATIENCE).unwrap();
        let question = fixture.answers[0].load(Ordering::Acquire);
        fixture.answers[1].store(question - 1, Ordering::Release);
        while fixture.ping(Duration::from_millis(1)) {}
        fixture.late.recv_timeout(PATIENCE).unwrap();
        assert!(!fixture.ping(Duration::from_millis(1)));
    }

    #[test]
    fn dropping_it_ends_the_thread_at_once() {
        let fixture = start("drop", Duration::from_secs(3600));
        drop(fixture.watchdog);
    }
}
