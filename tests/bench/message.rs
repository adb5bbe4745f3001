//! What a message of the benchmark looks like, and whether what came is one. `[pure]`
//!
//! A payload names its channel, its sender and its number there, and the rest follows from these three, so a receiver
//! checks every byte without knowing what was sent. It is JSON text, so hooks may decode it. `Ledger` checks the order.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::AddAssign;

use crate::codec::Codec;
use crate::frame;
use crate::scenario::Scenario;

/// Which message of whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Label {
    /// The channel's number; below 10,000.
    pub(crate) channel: u32,
    /// The sender's number among the channel's connections; below 10,000.
    pub(crate) sender: u32,
    /// The message's number among this sender's, from 0; below 1,000,000,000.
    pub(crate) number: u32,
}

/// What a receiver accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Check {
    /// The payload that was sent, byte for byte.
    Bytes,
    /// JSON with the members that were sent, in any order, and `"seen":true`: what a hook has decoded, changed, encoded.
    Seen,
}

/// What the bytes of a payload are that are not its label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Filling {
    /// Letters without any order.
    Letters,
    /// Records with names that come again and values that don't: compressed a third of it is left.
    Records,
}

/// Writes and checks payloads of one size.
pub(crate) struct Shape {
    size: usize,
    check: Check,
    filling: Vec<u8>,
    codec: Option<RefCell<Codec>>,
}

impl Shape {
    /// Makes the payloads of a scenario.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut state = 0x9e37_79b9_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state >> 8
        };
        let length = scenario.size + STARTS as usize;
        let mut filling = Vec::with_capacity(length + 100);
        while filling.len() < length {
            match scenario.filling {
                Filling::Letters => {
                    let letters =
                        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
                    filling.push(letters[(next() >> 8) as usize % letters.len()]);
                }
                // Within a JSON string, hence the other quotes.
                Filling::Records => filling.extend_from_slice(
                    format!(
                        "{{'id':{},'name':'user{}','price':{}.{:02},'ok':{}}},",
                        next() % 1_000_000,
                        next() % 4_096,
                        next() % 4_096,
                        next() % 100,
                        next() % 2 == 0
                    )
                    .as_bytes(),
                ),
            }
        }
        filling.truncate(length);
        Self {
            size: scenario.size,
            check: scenario.check,
            filling,
            codec: scenario.deflate.then(|| RefCell::new(Codec::new())),
        }
    }

    /// With what connections compress, if they do.
    pub(crate) const fn codec(&self) -> Option<&RefCell<Codec>> {
        self.codec.as_ref()
    }

    /// Bytes of a payload.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// Appends the payload of a label.
    pub(crate) fn write(&self, label: Label, out: &mut Vec<u8>) {
        out.extend_from_slice(HEAD);
        let at = out.len() - HEAD.len();
        write_digits(&mut out[at + CHANNEL..at + CHANNEL + 4], label.channel);
        write_digits(&mut out[at + SENDER..at + SENDER + 4], label.sender);
        write_digits(
            &mut out[at + NUMBER..at + NUMBER + NUMBER_DIGITS],
            label.number,
        );
        out.extend_from_slice(self.filling_of(label));
        out.extend_from_slice(TAIL);
    }

    /// Whether a frame with that first byte is a message: compressed where that was agreed, else not.
    pub(crate) const fn is_message(&self, first: u8) -> bool {
        first
            == if self.codec.is_some() {
                frame::DEFLATED
            } else {
                frame::TEXT
            }
    }

    /// The label of what a frame carries, if that is right in every byte.
    pub(crate) fn open(&self, payload: &[u8]) -> Option<Label> {
        match &self.codec {
            None => self.read(payload),
            Some(codec) => self.read(codec.borrow_mut().inflate(payload, self.size)?),
        }
    }

    /// The label of a payload that is right in every byte; `None` if it is not.
    pub(crate) fn read(&self, payload: &[u8]) -> Option<Label> {
        if self.check == Check::Seen {
            return self.read_members(payload);
        }
        if payload.len() != self.size {
            return None;
        }
        let (head, rest) = payload.split_first_chunk::<{ HEAD.len() }>()?;
        let label = Label {
            channel: read_digits(&head[CHANNEL..CHANNEL + 4])?,
            sender: read_digits(&head[SENDER..SENDER + 4])?,
            number: read_digits(&head[NUMBER..NUMBER + NUMBER_DIGITS])?,
        };
        let mut blank = *head;
        blank[CHANNEL..CHANNEL + 4].fill(b'0');
        blank[SENDER..SENDER + 4].fill(b'0');
        blank[NUMBER..NUMBER + NUMBER_DIGITS].fill(b'0');
        let (filling, tail) = rest.split_at(rest.len() - TAIL.len());
        (blank == *HEAD && tail == TAIL && filling == self.filling_of(label)).then_some(label)
    }

    fn read_members(&self, payload: &[u8]) -> Option<Label> {
        let members: Members<'_> = serde_json::from_slice(payload).ok()?;
        let label = Label {
            channel: members.c.parse().ok()?,
            sender: members.s.parse().ok()?,
            number: members.n.parse().ok()?,
        };
        (members.seen && members.p.as_bytes() == self.filling_of(label)).then_some(label)
    }

    fn filling_of(&self, label: Label) -> &[u8] {
        let start = (label.channel * 7 + label.sender * 31 + label.number) % STARTS;
        let length = self.size - HEAD.len() - TAIL.len();
        &self.filling[start as usize..start as usize + length]
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    c: &'a str,
    s: &'a str,
    n: &'a str,
    p: &'a str,
    seen: bool,
}

/// What one connection has had of its channel's senders.
#[derive(Debug)]
pub(crate) struct Ledger {
    next: Vec<u32>,
    /// Only numbers that are multiples of it are to come.
    every: u32,
    /// Passed over by a later one of the same sender: lost, or reordered if they still come.
    missing: BTreeSet<(u32, u32)>,
    /// Over all labels in the order of their coming, to compare it with the order that others saw.
    order: u64,
}

impl Ledger {
    /// Expects of `senders` every message from number 0 whose number is a multiple of `every`.
    pub(crate) fn new(senders: u32, every: u32) -> Self {
        Self {
            next: vec![0; senders as usize],
            every,
            missing: BTreeSet::new(),
            order: 0,
        }
    }

    /// Takes a message in and counts what is wrong with its place.
    pub(crate) fn note(&mut self, label: Label, faults: &mut Faults) {
        let Some(next) = self.next.get_mut(label.sender as usize) else {
            faults.damaged += 1;
            return;
        };
        self.order = self.order.wrapping_mul(0x0100_0000_01b3)
            ^ (u64::from(label.sender) << 32 | u64::from(label.number));
        let every = self.every;
        if !label.number.is_multiple_of(every) {
            faults.damaged += 1; // it was to be left out
        } else if label.number == *next {
            *next += every;
        } else if label.number > *next {
            // Enough to tell one loss from another; a server that loses more has failed anyhow.
            let room = MISSING_MAX.saturating_sub(self.missing.len());
            let passed_over = (*next..label.number).step_by(every as usize).take(room);
            self.missing.extend(passed_over.map(|n| (label.sender, n)));
            faults.lost += u64::from((label.number - *next) / every);
            *next = label.number + every;
        } else if self.missing.remove(&(label.sender, label.number)) {
            faults.lost -= 1;
            faults.reordered += 1;
        } else {
            faults.doubled += 1;
        }
    }

    /// Counts as lost what was sent and never came after the last that did.
    pub(crate) fn close(&self, sent: impl Iterator<Item = u32>, faults: &mut Faults) {
        for (next, sent) in self.next.iter().zip(sent) {
            faults.lost += u64::from(sent.saturating_sub(*next).div_ceil(self.every));
        }
    }

    /// A number that is the same for two connections which saw the same messages in the same order.
    pub(crate) const fn order(&self) -> u64 {
        self.order
    }
}

/// What the receivers found wrong.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Faults {
    /// Sent and never received by somebody who was there.
    pub(crate) lost: u64,
    /// Received again.
    pub(crate) doubled: u64,
    /// Received after a later one, or in another order than the channel's first connection.
    pub(crate) reordered: u64,
    /// A wrong byte, a wrong frame, a wrong channel, or a connection that the server ended.
    pub(crate) damaged: u64,
}

impl Faults {
    /// Whether nothing was wrong.
    pub(crate) fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.damaged += other.damaged;
    }
}

fn write_digits(place: &mut [u8], mut value: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789"[(value % 10) as usize];
        value /= 10;
    }
}

fn read_digits(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + u32::from(digit))
    })
}

const HEAD: &[u8; 44] = br#"{"c":"0000","s":"0000","n":"000000000","p":""#;
const TAIL: &[u8] = br#""}"#;
const CHANNEL: usize = 6;
const SENDER: usize = 17;
const NUMBER: usize = 28;
const NUMBER_DIGITS: usize = 9;

/// How many different fillings there are; a prime, so that neighbours of any kind differ.
const STARTS: u32 = 61;

const MISSING_MAX: usize = 10_000;
