//! [pure] What has been sent and what has come: who lost what, how long it took.

use std::collections::BTreeMap;

use super::histogram::Histogram;
use super::options::Plan;
use super::token::Token;

/// The count of a whole run.
#[derive(Debug)]
pub(super) struct Tally {
    channels: u32,
    /// Of each connection: the number that is next from each publisher of its channel.
    next: Vec<Box<[u32]>>,
    /// Messages of each connection's own.
    sent: Vec<u32>,
    /// Connections that are still there.
    open: Vec<bool>,
    /// Whether a publisher gets its own messages; known after the first.
    pub(super) echo: bool,
    /// Messages that came after a later one of the same publisher, or twice.
    pub(super) again: u64,
    /// Messages that came: all, from the beginning.
    pub(super) received: u64,
    /// Messages that were passed over by a later one and came after all.
    missed: u64,
    /// What is measured; `None` before and after.
    measured: Option<Measured>,
    /// How connections ended that should not have.
    pub(super) ended: BTreeMap<String, u32>,
}

/// What was counted in the measured time.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// Messages that publishers sent.
    pub(super) published: u64,
    /// Messages that connections received, each counted once a connection.
    pub(super) delivered: u64,
    /// Bytes of the frames that brought them, without headers.
    pub(super) bytes: u64,
    /// From when a message was due to when it was read, in microseconds.
    pub(super) latency: Histogram,
}

impl Tally {
    /// Of nothing yet.
    pub(super) fn new(plan: &Plan) -> Self {
        let connections = 0..plan.connections;
        let next = connections.map(|index| {
            let publishers = plan.publishers_of(index % plan.channels);
            vec![0; publishers as usize].into_boxed_slice()
        });
        Self {
            channels: plan.channels,
            next: next.collect(),
            sent: vec![0; plan.connections as usize],
            open: vec![true; plan.connections as usize],
            echo: true,
            again: 0,
            received: 0,
            missed: 0,
            measured: None,
            ended: BTreeMap::new(),
        }
    }

    /// Measures from now on.
    pub(super) fn begin(&mut self) {
        self.measured = Some(Measured {
            published: 0,
            delivered: 0,
            bytes: 0,
            latency: Histogram::new(),
        });
    }

    /// What has been measured so far.
    pub(super) const fn measured(&self) -> Option<&Measured> {
        self.measured.as_ref()
    }

    /// Measures no more.
    pub(super) fn end(&mut self) -> Option<Measured> {
        self.measured.take()
    }

    /// Gives the number of the next message of a connection.
    pub(super) fn publish(&mut self, index: u32) -> u32 {
        let Some(sent) = self.sent.get_mut(index as usize) else {
            return 0;
        };
        let number = *sent;
        *sent += 1;
        if let Some(measured) = &mut self.measured {
            measured.published += 1;
        }
        number
    }

    /// A frame with messages came.
    pub(super) const fn frame(&mut self, bytes: usize) {
        if let Some(measured) = &mut self.measured {
            measured.bytes += bytes as u64;
        }
    }

    /// A message came to a connection; `now` is in microseconds since the run began.
    pub(super) fn receive(&mut self, index: u32, token: Token, now: u64) {
        let place = (token.sender / self.channels) as usize;
        let next = self
            .next
            .get_mut(index as usize)
            .filter(|_| token.sender % self.channels == index % self.channels)
            .and_then(|next| next.get_mut(place));
        let Some(next) = next else {
            return; // a hook has sent it to another channel: not of this count
        };
        self.received += 1;
        if token.number < *next {
            self.again += 1;
            return;
        }
        self.missed += u64::from(token.number - *next);
        *next = token.number + 1;
        if let Some(measured) = &mut self.measured {
            measured.delivered += 1;
            measured.latency.note(now.saturating_sub(token.due));
        }
    }

    /// A connection has ended before its time.
    pub(super) fn end_of(&mut self, index: u32, why: String) {
        if let Some(open) = self.open.get_mut(index as usize) {
            *open = false;
        }
        *self.ended.entry(why).or_default() += 1;
    }

    /// Whether no connection is left.
    pub(super) fn is_deserted(&self) -> bool {
        !self.open.contains(&true)
    }

    /// Whether every connection that is still there has all that was sent to it.
    pub(super) fn is_complete(&self) -> bool {
        self.owed() == 0
    }

    /// Messages that did not come to connections which are still there.
    pub(super) fn lost(&self) -> u64 {
        self.missed + self.owed()
    }

    /// Sent after the last that came.
    fn owed(&self) -> u64 {
        let mut owed = 0;
        for (index, next) in (0..).zip(&self.next) {
            if self.open.get(index as usize) != Some(&true) {
                continue;
            }
            for (place, next) in (0..).zip(next) {
                let sender = place * self.channels + index % self.channels;
                if sender != index || self.echo {
                    let sent = self.sent.get(sender as usize).copied().unwrap_or(0);
                    owed += u64::from(sent.saturating_sub(*next));
                }
            }
        }
        owed
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::options::Bench;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    /// Two channels of two, everybody publishes: 0 and 2 are in one, 1 and 3 in the other.
    fn tally() -> Tally {
        let words = ["bench", "-n", "4", "--channels", "2", "--publishers", "4"];
        let line = Line::try_parse_from(words).unwrap();
        let mut tally = Tally::new(&Plan::new(&line.bench).unwrap());
        tally.begin();
        tally
    }

    fn token(sender: u32, number: u32) -> Token {
        Token {
            sender,
            number,
            due: 1_000,
        }
    }

    #[test]
    fn what_has_come_to_all_is_complete() {
        let mut tally = tally();
        assert_eq!((tally.publish(2), tally.publish(2)), (0, 1));
        for (index, number) in [(0, 0), (2, 0), (0, 1)] {
            tally.receive(index, token(2, number), 3_000);
            assert!(!tally.is_complete());
        }
        tally.receive(2, token(2, 1), 3_000);
        assert!(tally.is_complete());
        let measured = tally.end().unwrap();
        assert_eq!((measured.published, measured.delivered), (2, 4));
        assert_eq!(measured.latency.most(), 2_000);
    }

    #[test]
    fn what_is_missing_or_comes_again_is_counted() {
        let mut tally = tally();
        for _ in 0..4 {
            tally.publish(1);
        }
        for number in [0, 2, 2] {
            tally.receive(3, token(1, number), 0);
        }
        for number in 0..4 {
            tally.receive(1, token(1, number), 0);
        }
        // 1 was passed over, 3 never came.
        assert_eq!((tally.lost(), tally.again), (2, 1));
    }

    #[test]
    fn who_has_gone_is_owed_nothing_but_counted() {
        let mut tally = tally();
        tally.publish(0);
        tally.receive(0, token(0, 0), 0);
        tally.end_of(2, "1013".to_owned());
        assert_eq!(tally.lost(), 0);
        assert_eq!(tally.ended["1013"], 1);
    }

    #[test]
    fn without_echo_a_publisher_is_owed_nothing_of_its_own() {
        let mut tally = tally();
        tally.echo = false;
        tally.publish(0);
        tally.receive(2, token(0, 0), 0);
        assert!(tally.is_complete());
    }

    #[test]
    fn messages_of_other_channels_do_not_count() {
        let mut tally = tally();
        tally.receive(0, token(1, 0), 0);
        tally.receive(0, token(77, 0), 0);
        assert_eq!(tally.received, 0);
    }
}
