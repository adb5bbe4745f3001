//! The Redis thread's loop: one future that owns both links and everything that is known about them.
//!
//! A turn takes the inbox, does what is due, hands publishes and subscriptions to the links, hands events to the homes
//! and waits for any of: an order, a link, the clock. The decisions are in the pure files (`subscriptions.rs`,
//! `waiting.rs`, `backoff.rs`, `pulse.rs`); here is who asks whom. Started by `mod.rs`.
//!
//! # Why the status follows the subscriber link
//!
//! A lost subscriber link means that publications were missed, and homes must tell their subscribers; a lost publisher
//! link means only that publishes wait. So the second is made again without a word to the homes, and only if that fails
//! is Redis away. Publishes wait, too, until all subscriptions are confirmed: else a node would miss its own.

mod orders;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::broker::{LinkStatus, Question};
use crate::config::Broker;
use crate::metrics::NodeMetrics;
use crate::types::{NodeId, WorkerId};

use super::attempt::{self, Attempt, Links, Needs};
use super::backoff::Backoff;
use super::homes::Homes;
use super::journal::Journal;
use super::link::{Shared, Standing};
use super::link_error::LinkError;
use super::publisher::Publisher;
use super::sentinel::{self, Master};
use super::subscriber::Subscriber;
use super::subscriptions::Subscriptions;
use super::waiting::{Waiter, Waiting};
use super::{RedisContext, clock};

/// Everything of the Redis thread.
pub(super) struct RedisThread {
    shared: Arc<Shared>,
    config: Broker,
    node: NodeId,
    metrics: Arc<NodeMetrics>,
    homes: Homes,
    subscriptions: Subscriptions,
    waiting: Waiting,
    /// How many publishes there were.
    count: u64,
    /// Questions that the link has yet to take, oldest first.
    questions: VecDeque<(WorkerId, Question)>,
    backoff: Backoff,
    journal: Journal,
    status: LinkStatus,
    /// When the links were made last, if ever.
    up_since: Option<Instant>,
    subscriber: Option<Subscriber>,
    publisher: Option<Publisher>,
    /// Of the settings before a reload: takes its answers and no more publishes.
    retiring: Option<Publisher>,
    /// The try that is under way.
    attempt: Option<Pin<Box<Attempt>>>,
    /// Where the links go, with sentinels.
    master: Option<Master>,
    /// Waits for another master while the links are there.
    watch: Option<Pin<Box<dyn Future<Output = Master>>>>,
    /// No try before this.
    next_try: Instant,
    /// What `poll_links` found, until the next turn knows the time.
    found: Found,
    /// Nobody waits longer than this for the end.
    stop_by: Option<Instant>,
}

/// What happened to the links while the thread slept.
#[derive(Default)]
struct Found {
    subscriber_lost: Option<LinkError>,
    publisher_lost: Option<LinkError>,
    retired: bool,
    moved: Option<Master>,
    attempt: Option<Result<Links, LinkError>>,
}

/// How long the thread sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

impl RedisThread {
    pub(super) fn new(shared: Arc<Shared>, config: Broker, context: RedisContext) -> Self {
        let RedisContext {
            node,
            hash,
            homes,
            metrics,
            seed,
        } = context;
        let now = clock();
        Self {
            waiting: Waiting::new(config.buffer, config.buffer_for),
            count: 0,
            questions: VecDeque::new(),
            shared,
            config,
            node,
            metrics,
            homes: Homes::new(homes, node),
            subscriptions: Subscriptions::new(hash),
            backoff: Backoff::new(seed),
            journal: Journal::new(),
            status: LinkStatus::Down,
            up_since: None,
            subscriber: None,
            publisher: None,
            retiring: None,
            attempt: None,
            master: None,
            watch: None,
            next_try: now,
            found: Found::default(),
            stop_by: None,
        }
    }

    /// Works until it is told to stop.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut armed = clock() + IDLE;
        let mut sleep = Box::pin(tokio::time::sleep_until(armed.into()));
        loop {
            shared.set_awake();
            let now = clock();
            self.on_found(now);
            self.take_orders(now);
            self.handle_timeout(now);
            self.feed(now);
            let waiting = self.waiting.bytes() as u64;
            self.metrics.broker_buffer_bytes.set(waiting);
            self.homes.flush();
            if self.is_done(now) {
                self.finish();
                return;
            }
            // A timer that goes off early costs a turn, one that is set anew each turn costs each turn.
            let due = self.poll_timeout(now);
            if due < armed || sleep.is_elapsed() {
                armed = due;
                sleep.as_mut().reset(armed.into());
            }
            tokio::select! {
                biased;
                () = poll_fn(|cx| self.poll_links(cx)) => {}
                () = shared.wait() => {}
                () = sleep.as_mut() => {}
            }
        }
    }

    /// Acts on what [`poll_links`](Self::poll_links) found.
    fn on_found(&mut self, now: Instant) {
        let found = std::mem::take(&mut self.found);
        match (found.subscriber_lost, found.publisher_lost) {
            (Some(error), publisher_lost) => {
                if publisher_lost.is_some() {
                    self.bury_publisher();
                }
                self.on_lost(now, &error);
            }
            (None, Some(error)) => self.on_publisher_lost(now, &error),
            (None, None) => {}
        }
        if found.retired {
            self.bury_retiring();
        }
        match found.attempt {
            Some(Ok(links)) => self.on_linked(now, links),
            Some(Err(error)) => {
                if matches!(error, LinkError::Moved(_)) {
                    self.bury_publisher();
                }
                self.on_lost(now, &error);
            }
            None => {}
        }
        if let Some(master) = found.moved {
            self.bury_publisher();
            self.on_lost(now, &LinkError::Moved(master.host));
        }
    }

    fn on_linked(&mut self, now: Instant, links: Links) {
        if links.publisher.is_some() {
            self.publisher = links.publisher;
        }
        if let Some(stream) = links.subscriber {
            self.subscriber = Some(Subscriber::new(now, stream, self.node, &self.config.prefix));
            self.subscriptions.on_linked();
        }
        if let Some(master) = links.master {
            Journal::master(&self.config, &master);
            let watch = sentinel::watch(self.config.clone(), self.node, master.clone());
            self.watch = Some(Box::pin(watch));
            self.master = Some(master);
        }
        if self.up_since.is_some() {
            self.metrics.broker_reconnects.inc();
        }
        if self.status == LinkStatus::Up {
            self.up_since = Some(now);
        }
    }

    /// Redis is away, or still is.
    fn on_lost(&mut self, now: Instant, error: &LinkError) {
        let reason = error.to_string();
        self.attempt = None;
        let up_since = (self.status == LinkStatus::Up).then_some(self.up_since);
        self.backoff.on_lost(now, up_since.flatten());
        let wait = self.backoff.poll_wait();
        self.next_try = now + wait;
        self.journal.away(now, &self.config, &reason, wait);
        self.go_down(&reason);
    }

    /// Forgets what Redis was told, and tells the homes.
    fn go_down(&mut self, reason: &str) {
        self.subscriber = None;
        self.questions.clear();
        self.watch = None;
        self.waiting.release();
        self.stand(self.journal.away_since(), reason);
        if self.status == LinkStatus::Up {
            self.status = LinkStatus::Down;
            self.metrics.broker_up.set(0);
            self.shared.set_status(LinkStatus::Down);
            self.homes.status(LinkStatus::Down);
        }
        for live in self.subscriptions.on_lost() {
            self.homes.live(live);
        }
    }

    /// What `describe` says from now on.
    fn stand(&self, away_since: Option<Instant>, reason: &str) {
        self.shared.set_standing(Standing {
            url: self.config.url.to_string(),
            away_since,
            reason: reason.to_owned(),
        });
    }

    fn on_publisher_lost(&mut self, now: Instant, error: &LinkError) {
        self.bury_publisher();
        if self.status == LinkStatus::Up {
            self.backoff.on_lost(now, self.up_since);
            let wait = self.backoff.poll_wait();
            self.next_try = now + wait;
            Journal::publisher_lost(&self.config, &error.to_string(), wait);
        }
    }

    fn bury_publisher(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            self.bury(publisher);
        }
    }

    fn bury_retiring(&mut self) {
        if let Some(publisher) = self.retiring.take() {
            self.bury(publisher);
        }
    }

    /// Decides over what a link has not answered.
    fn bury(&mut self, publisher: Publisher) {
        let fate = publisher.into_fate();
        // A history knows what it has, so what is kept there may be sent again.
        let (again, lost): (Vec<Waiter>, Vec<Waiter>) = fate
            .unknown
            .into_iter()
            .partition(|waiter| waiter.outgoing.keep.is_some());
        for waiter in &lost {
            self.homes.refuse(&waiter.outgoing);
        }
        if !lost.is_empty() {
            Journal::unknown(lost.len());
        }
        let again = again.into_iter().map(|waiter| Waiter {
            again: true,
            ..waiter
        });
        self.waiting.put_back(again.chain(fate.unsent).collect());
        for question in fate.questions.into_iter().rev() {
            self.questions.push_front(question);
        }
    }

    /// Refuses what waited too long, asks links whether they live, begins the next try.
    fn handle_timeout(&mut self, now: Instant) {
        self.waiting.handle_timeout(now);
        let mut late = 0;
        while let Some(outgoing) = self.waiting.poll_expired(now) {
            self.homes.refuse(&outgoing);
            late += 1;
        }
        self.journal.late(now, &self.config, late);
        if let Some(Err(error)) = self.publisher.as_mut().map(|p| p.handle_timeout(now)) {
            self.on_publisher_lost(now, &error);
        }
        if let Some(Err(_)) = self.retiring.as_mut().map(|p| p.handle_timeout(now)) {
            self.bury_retiring();
        }
        if let Some(Err(error)) = self.subscriber.as_mut().map(|s| s.handle_timeout(now)) {
            self.on_lost(now, &error);
        }
        if self.wants_attempt() && now >= self.next_try {
            let (subscriber, publisher) = (self.subscriber.is_none(), self.publisher.is_none());
            let one_stays = !(subscriber && publisher);
            let needs = Needs {
                subscriber,
                publisher,
                stays: self
                    .master
                    .as_ref()
                    .filter(|_| one_stays)
                    .map(|master| master.host.clone()),
            };
            let attempt = attempt::links(now, self.config.clone(), self.node, needs);
            self.attempt = Some(Box::pin(attempt));
        }
    }

    fn wants_attempt(&self) -> bool {
        self.attempt.is_none() && (self.subscriber.is_none() || self.publisher.is_none())
    }

    /// Gives the links what they shall do, and notes when everything is as it should be.
    fn feed(&mut self, now: Instant) {
        if let Some(subscriber) = &mut self.subscriber {
            let denied = subscriber.poll_denied();
            self.journal.deaf(now, &self.config, &denied);
            subscriber.tell(&mut self.subscriptions);
            if self.status == LinkStatus::Down
                && self.publisher.is_some()
                && !self.subscriptions.is_repeating()
            {
                self.go_up(now);
            }
        }
        self.send_waiting();
        self.send_questions();
        if let Some(publisher) = &mut self.publisher {
            let denied = publisher.poll_denied();
            self.journal.denied(now, denied.count, &denied.reason);
            publisher.send();
        }
    }

    fn go_up(&mut self, now: Instant) {
        self.status = LinkStatus::Up;
        self.up_since = Some(now);
        self.metrics.broker_up.set(1);
        let counts = (self.subscriptions.count(), self.waiting.len());
        let away = self.journal.back(now, &self.config, counts);
        if let Some(away) = away.filter(|_| self.stop_by.is_none()) {
            self.waiting.hold(now + self.backoff.grace(away));
        }
        self.stand(None, "");
        self.shared.set_status(LinkStatus::Up);
        self.homes.status(LinkStatus::Up);
    }

    /// Lets every link do what it can. Ready when the next turn has something to do.
    fn poll_links(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let found = &mut self.found;
        let mut ready = false;
        if let Some(subscriber) = &mut self.subscriber
            && let Poll::Ready(outcome) =
                subscriber.poll(cx, &mut self.subscriptions, &mut self.homes)
        {
            ready = true;
            found.subscriber_lost = outcome.err();
        }
        if let Some(publisher) = &mut self.publisher
            && let Poll::Ready(outcome) = publisher.poll(cx, &mut self.homes)
        {
            ready = true;
            found.publisher_lost = outcome.err();
        }
        if let Some(retiring) = &mut self.retiring {
            let failed = matches!(retiring.poll(cx, &mut self.homes), Poll::Ready(Err(_)));
            found.retired = failed || retiring.is_idle();
            ready |= found.retired;
        }
        if let Some(watch) = &mut self.watch
            && let Poll::Ready(master) = watch.as_mut().poll(cx)
        {
            ready = true;
            self.watch = None;
            found.moved = Some(master);
        }
        if let Some(attempt) = &mut self.attempt
            && let Poll::Ready(outcome) = attempt.as_mut().poll(cx)
        {
            ready = true;
            self.attempt = None;
            found.attempt = Some(outcome);
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or the end is due.
    fn poll_timeout(&self, now: Instant) -> Instant {
        [
            self.waiting.poll_timeout(),
            self.subscriber.as_ref().map(Subscriber::poll_timeout),
            self.publisher.as_ref().map(Publisher::poll_timeout),
            self.retiring.as_ref().map(Publisher::poll_timeout),
            self.wants_attempt().then_some(self.next_try),
            self.stop_by,
        ]
        .into_iter()
        .flatten()
        .fold(now + IDLE, Instant::min)
    }

    /// Whether the thread was told to stop and nothing, or nothing in time, is left to do.
    fn is_done(&self, now: Instant) -> bool {
        self.stop_by.is_some_and(|by| {
            let links = [&self.publisher, &self.retiring];
            let idle = links.into_iter().flatten().all(Publisher::is_idle);
            now >= by || (self.waiting.is_empty() && idle)
        })
    }

    /// Refuses what is left.
    fn finish(&mut self) {
        self.bury_publisher();
        self.bury_retiring();
        let left = self.waiting.len();
        while let Some(waiter) = self.waiting.pop() {
            self.homes.refuse(&waiter.outgoing);
        }
        if left > 0 {
            Journal::left(left);
        }
        self.shared.set_status(LinkStatus::Down);
        self.metrics.broker_up.set(0);
        self.metrics.broker_buffer_bytes.set(0);
        self.homes.flush();
    }
}
