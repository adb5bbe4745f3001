//! The link that speaks: what one turn has to publish is one pipelined write, through the `redis` crate.
//!
//! `thread.rs` adds publishes while there is room, sends them at the end of its turn, and gets back what became of them.
//! Nothing is remembered here once Redis has answered it.
//!
//! # Why an unanswered publish is not sent again
//!
//! When the link dies, Redis may have carried out what it has not answered; even a stopped Redis does so later, when it
//! reads what its socket still holds. Sending again would double messages behind everybody's back; dropping would lose
//! them so. So its senders are told as if it had been refused, and decide themselves. Only what surely never left this
//! host goes again, in order: `tally.rs` knows. To keep the doubt small, little is in flight at a time ([`IN_FLIGHT`]);
//! the rest waits where nothing can happen to it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisResult, Value};

use crate::broker::Question;
use crate::types::{Epoch, NodeId, WorkerId};

use super::codec;
use super::homes::Homes;
use super::link_error::LinkError;
use super::pulse::{Beat, PING_TIMEOUT, Pulse};
use super::socket::Stream;
use super::streams;
use super::tally::{Tallied, Tally};
use super::waiting::{Waiter, size};

/// The publisher link, from the end of its handshake on.
pub(super) struct Publisher {
    connection: MultiplexedConnection,
    /// The crate's half that reads and writes; polled here, so no task of its own.
    driver: Pin<Box<dyn Future<Output = ()>>>,
    tally: Arc<Tally>,
    node: NodeId,
    /// `broker.prefix`
    prefix: String,
    /// What this turn publishes so far.
    batch: Pipeline,
    gathered: Vec<Sent>,
    flights: VecDeque<Flight>,
    /// Counted bytes of what is gathered or in flight.
    bytes: usize,
    /// Where the last command ends, in bytes of the link.
    end: u64,
    /// Commands given to the link.
    commands: u64,
    /// What Redis refused since somebody asked.
    denied: Denied,
    pulse: Pulse,
}

/// A command on the link.
struct Sent {
    what: What,
    /// Where its command ends, in bytes of the link: written so far, Redis may have it.
    end: u64,
    /// Its place among the commands of the link: answered when so many answers came.
    number: u64,
}

enum What {
    Publish(Waiter),
    Question(WorkerId, Question),
}

impl What {
    /// The bytes that it counts.
    fn size(&self) -> usize {
        match self {
            Self::Publish(waiter) => size(&waiter.outgoing),
            Self::Question(..) => QUESTION,
        }
    }
}

/// One pipelined write.
struct Flight {
    /// `None`: could not even be handed to the crate.
    answers: Option<Pin<Box<Answers>>>,
    sent: Vec<Sent>,
    bytes: usize,
}

/// What Redis answers to one write, in the order of its commands.
type Answers = dyn Future<Output = RedisResult<Vec<Value>>>;

/// Publishes that Redis refused.
#[derive(Debug, Default)]
pub(super) struct Denied {
    pub(super) count: usize,
    /// What it said last.
    pub(super) reason: String,
}

/// What became of the publishes of a link that is no more, in order.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Redis may have carried them out.
    pub(super) unknown: Vec<Waiter>,
    /// Redis cannot have got them completely.
    pub(super) unsent: Vec<Waiter>,
    /// Questions without an answer.
    pub(super) questions: Vec<(WorkerId, Question)>,
}

/// What a question counts among the bytes in flight: its script and its words.
const QUESTION: usize = 3 << 10;

/// Counted bytes in flight beyond which nothing is added: about 250 small publishes. So many may be in doubt when the link
/// dies, and so many pass in one round trip: 250,000 a second where that takes 1 ms.
const IN_FLIGHT: usize = 64 << 10;
/// Writes in flight beyond which nothing is added. Fewer than the crate's own queue holds, so none ever waits for it and
/// their order is the order in which they were made.
const FLIGHTS: usize = 32;

impl Publisher {
    /// Over a socket on which the handshake is done.
    pub(super) async fn new(
        now: Instant,
        stream: Stream,
        node: NodeId,
        prefix: &str,
    ) -> Result<Self, LinkError> {
        let tally = Arc::new(Tally::default());
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(2 * FLIGHTS);
        // Nothing is left to set up, so the crate sends nothing of its own and the counts begin at 0.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let socket = Tallied::new(stream, Arc::clone(&tally));
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, socket, config)
            .await
            .map_err(|error| LinkError::Refused(error.to_string()))?;
        Ok(Self {
            connection,
            driver: Box::pin(driver),
            tally,
            node,
            prefix: prefix.to_owned(),
            batch: Pipeline::new(),
            gathered: Vec::new(),
            flights: VecDeque::new(),
            bytes: 0,
            end: 0,
            commands: 0,
            denied: Denied::default(),
            pulse: Pulse::new(now),
        })
    }

    /// Whether another publish may be added.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < IN_FLIGHT && self.flights.len() < FLIGHTS
    }

    /// Whether Redis has answered everything.
    pub(super) fn is_idle(&self) -> bool {
        self.gathered.is_empty() && self.flights.iter().all(|flight| flight.sent.is_empty())
    }

    /// Adds one to what this turn publishes.
    pub(super) fn add(&mut self, waiter: Waiter) {
        let publication = &waiter.outgoing.publication;
        match waiter.outgoing.keep {
            None => {
                let channel = format!("{}{}", self.prefix, publication.channel);
                let payload = codec::encode(publication);
                self.count_command(&[b"PUBLISH", channel.as_bytes(), &payload]);
                self.batch.cmd("PUBLISH").arg(&channel).arg(&*payload);
            }
            Some(keep) => {
                let mut own = [0; 16];
                let (node, number) = own.split_at_mut(8);
                node.copy_from_slice(&self.node.0.to_be_bytes());
                number.copy_from_slice(&waiter.number.to_be_bytes());
                let words = streams::append(
                    &self.prefix,
                    publication,
                    keep,
                    new_epoch(),
                    own,
                    waiter.again,
                );
                self.add_words(&words);
            }
        }
        self.gather(What::Publish(waiter));
    }

    /// Asks for a home what a channel keeps.
    pub(super) fn ask(&mut self, home: WorkerId, question: Question) {
        let words = streams::recall(&self.prefix, self.node, &question, new_epoch());
        self.add_words(&words);
        self.gather(What::Question(home, question));
    }

    fn add_words(&mut self, words: &[Vec<u8>]) {
        let slices: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        self.count_command(&slices);
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        self.batch.add_command(command);
    }

    fn gather(&mut self, what: What) {
        self.bytes = self.bytes.saturating_add(what.size());
        self.gathered.push(Sent {
            what,
            end: self.end,
            number: self.commands,
        });
    }

    /// Sends what was added since the last call, as one write.
    pub(super) fn send(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let sent = std::mem::take(&mut self.gathered);
        let batch = std::mem::take(&mut self.batch);
        self.launch(batch, sent);
    }

    /// Takes answers and keeps the link going. Ready when something happened, or with why the link is of no use any
    /// more; then [`into_fate`](Self::into_fate) says what became of its publishes.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        homes: &mut Homes,
    ) -> Poll<Result<(), LinkError>> {
        let ended = self.driver.as_mut().poll(cx).is_ready();
        let mut happened = false;
        while let Some(flight) = self.flights.front_mut() {
            let Some(answers) = &mut flight.answers else {
                return Poll::Ready(Err(LinkError::Closed));
            };
            match answers.as_mut().poll(cx) {
                Poll::Ready(Ok(values)) => {
                    happened = true;
                    self.settle(values, homes)?;
                }
                Poll::Ready(Err(error)) => {
                    flight.answers = None;
                    return Poll::Ready(Err(why(&error)));
                }
                Poll::Pending => break,
            }
        }
        if ended {
            return Poll::Ready(Err(LinkError::Closed));
        }
        if happened {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Redis has answered the oldest write.
    fn settle(&mut self, values: Vec<Value>, homes: &mut Homes) -> Result<(), LinkError> {
        self.pulse.on_heard();
        let Some(flight) = self.flights.pop_front() else {
            return Ok(());
        };
        self.bytes = self.bytes.saturating_sub(flight.bytes);
        let mut fault = None;
        for (sent, value) in flight.sent.iter().zip(values) {
            let Value::ServerError(error) = value else {
                match &sent.what {
                    What::Publish(waiter) => {
                        let kept = waiter.outgoing.keep.is_some();
                        let position = kept.then(|| streams::appended(&value)).flatten();
                        homes.taken(&waiter.outgoing, position);
                    }
                    What::Question(home, question) => {
                        let missed = streams::recalled(&value);
                        homes.recalled(*home, question.channel.clone(), question.token, missed);
                    }
                }
                continue;
            };
            let script = match &sent.what {
                What::Publish(waiter) => {
                    homes.refuse(&waiter.outgoing);
                    waiter.outgoing.keep.is_some()
                }
                What::Question(home, question) => {
                    homes.recalled(*home, question.channel.clone(), question.token, None);
                    true
                }
            };
            let said = format!("{} {}", error.code(), error.details().unwrap_or_default());
            let refused = LinkError::refused(said.as_bytes());
            self.denied.count = self.denied.count.saturating_add(1);
            self.denied.reason = refused.to_string();
            if is_of_link(error.code(), script) {
                fault = Some(refused);
            }
        }
        fault.map_or(Ok(()), Err)
    }

    /// Asks whether Redis is there, or says that it is not.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), LinkError> {
        match self.pulse.handle_timeout(now) {
            Beat::Ask => {
                let mut ping = Pipeline::new();
                ping.cmd("PING");
                self.send();
                self.count_command(&[b"PING"]);
                self.launch(ping, Vec::new());
                Ok(())
            }
            Beat::Gone => Err(LinkError::Silent(PING_TIMEOUT)),
            Beat::Well => Ok(()),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.pulse.poll_timeout()
    }

    /// What Redis refused since the last call.
    pub(super) fn poll_denied(&mut self) -> Denied {
        std::mem::take(&mut self.denied)
    }

    /// Ends the link and says what became of what it had not answered.
    pub(super) fn into_fate(self) -> Fate {
        // Without its driver nothing more is written or read.
        drop(self.driver);
        let (written, answers) = (self.tally.written(), self.tally.answers());
        let mut fate = Fate::default();
        let in_flight = self.flights.into_iter().flat_map(|flight| flight.sent);
        for sent in in_flight.chain(self.gathered) {
            match sent.what {
                // An answer that was not read is none: it is asked again.
                What::Question(home, question) => fate.questions.push((home, question)),
                What::Publish(waiter) if sent.end > written => fate.unsent.push(waiter),
                What::Publish(waiter) if sent.number > answers => fate.unknown.push(waiter),
                What::Publish(_) => {}
            }
        }
        fate
    }

    fn launch(&mut self, mut batch: Pipeline, sent: Vec<Sent>) {
        let mut connection = self.connection.clone();
        let mut answers: Pin<Box<Answers>> =
            Box::pin(async move { batch.ignore_errors().query_async(&mut connection).await });
        // The first poll puts it in the crate's queue, so it must be now; who is waked is settled by `poll`.
        let mut cx = Context::from_waker(Waker::noop());
        let failed = answers.as_mut().poll(&mut cx).is_ready();
        self.flights.push_back(Flight {
            answers: (!failed).then_some(answers),
            bytes: sent.iter().map(|s| s.what.size()).sum(),
            sent,
        });
    }

    /// Counts a command as the crate will encode it.
    fn count_command(&mut self, words: &[&[u8]]) {
        self.commands = self.commands.saturating_add(1);
        self.end = self.end.saturating_add(command_len(words));
    }
}

/// Whether an error says that the link is of no use, and not only that this command was not carried out: that one channel
/// is forbidden, that a history's key is something else, that there is no memory for another entry.
fn is_of_link(code: &str, script: bool) -> bool {
    match code {
        "NOPERM" => false,
        "WRONGTYPE" | "OOM" | "ERR" => !script,
        _ => true,
    }
}

/// An epoch that no history had before.
fn new_epoch() -> Epoch {
    // Without random numbers the node would not have started.
    Epoch(getrandom::u64().unwrap_or_default())
}

/// The bytes of a command on the wire.
fn command_len(words: &[&[u8]]) -> u64 {
    // A type, the digits, a line end.
    let head = |number: usize| u64::from(number.checked_ilog10().unwrap_or(0)) + 4;
    words.iter().fold(head(words.len()), |sum, word| {
        sum + head(word.len()) + word.len() as u64 + 2
    })
}

/// Why the crate gave up.
fn why(error: &redis::RedisError) -> LinkError {
    if error.is_connection_dropped() {
        LinkError::Closed
    } else {
        LinkError::Refused(super::text::from_redis(error.to_string().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_as_long_as_they_are_counted() {
        for payload in [0, 1, 9, 10, 99, 100, 1000, 123_456] {
            let payload = vec![b'x'; payload];
            let mut batch = Pipeline::new();
            batch.cmd("PUBLISH").arg("prefix:größe").arg(&payload[..]);
            batch.cmd("PING");
            let words: [&[u8]; 3] = [b"PUBLISH", "prefix:größe".as_bytes(), &payload];
            assert_eq!(
                batch.get_packed_pipeline().len() as u64,
                command_len(&words) + command_len(&[b"PING"])
            );
        }
    }
}
