//! Channels with a subscriber each: joining, publishing to one of them, leaving, and the end of connections that have many.
//!
//! A hook (`hooks/scale.lua`) subscribes on a client's word, as there is no other way to have many channels on a connection.
//! Operations come in groups of ten with one answer, so a tenth of an answer is part of each.

use std::io;

use super::Step;
use crate::launch::Running;
use crate::measure;
use crate::message::Faults;
use crate::plain::Plain;
use crate::scenario::Scenario;

/// One size: `size` channels over the scenario's connections.
pub(super) fn run(scenario: &Scenario, server: &Running, size: u32) -> io::Result<Step> {
    let pids = server.pids()?;
    let start = measure::settled_bytes(&pids)?;
    let mut crowd = Crowd::connect(scenario, server)?;
    let empty = measure::settled_bytes(&pids)?;
    let mut meter = Meter::new(&pids);

    let subscribe = meter.each(size, |first| crowd.tell(b'+', first))?;
    let full = measure::settled_bytes(&pids)?;
    let publish = meter.each(PUBLISHES, |first| crowd.publish(first, size))?;
    let half = size / 2 / GROUP * GROUP;
    let leave = meter.each(half, |first| crowd.tell(b'-', first))?;
    let before = measure::sum(&pids, measure::cpu_nanos)?;
    let faults = crowd.faults;
    drop(crowd);
    let left = measure::settled_bytes(&pids)?;
    let close = measure::sum(&pids, measure::cpu_nanos)? - before;
    Ok(Step {
        size,
        figures: vec![
            ("subscribe µs", subscribe),
            ("publish µs", publish),
            ("leave µs", leave),
            ("close µs", close as f64 / 1_000.0 / f64::from(size - half)),
            ("most for ten µs", meter.most as f64 / 1_000.0),
            ("bytes each", (full as f64 - empty as f64) / f64::from(size)),
            ("kept KiB", (left as f64 - start as f64) / 1_024.0),
        ],
        faults,
    })
}

struct Crowd {
    members: Vec<Plain>,
    publisher: Plain,
    payload: Vec<u8>,
    faults: Faults,
}

impl Crowd {
    fn connect(scenario: &Scenario, server: &Running) -> io::Result<Self> {
        let mut members = Vec::new();
        for _ in 0..scenario.members {
            members.push(Plain::connect(server.address(), "/own", None)?);
        }
        Ok(Self {
            members,
            publisher: Plain::connect(server.address(), "/own", None)?,
            payload: Vec::new(),
            faults: Faults::default(),
        })
    }

    /// Whose channel a number is: ten in a row belong to one connection.
    fn owner(&self, channel: u32) -> usize {
        (channel / GROUP) as usize % self.members.len()
    }

    /// Has ten channels joined or left, and waits for the answer.
    fn tell(&mut self, what: u8, first: u32) -> io::Result<()> {
        let owner = self.owner(first);
        let member = &mut self.members[owner];
        for channel in first..first + GROUP {
            member.put(format!("{}{channel}", char::from(what)).as_bytes());
        }
        member.put(b"?");
        member.send()?;
        member.receive(&mut self.payload)?;
        self.faults.damaged += u64::from(self.payload != b"?");
        Ok(())
    }

    /// Publishes ten messages, each to another channel, and waits until each is with its subscriber.
    fn publish(&mut self, first: u32, size: u32) -> io::Result<()> {
        // A stride that has no divisor in common with any of the sizes: neighbours are far apart.
        let channels: Vec<u32> = (first..first + GROUP)
            .map(|number| u32::try_from(u64::from(number) * 7_919 % u64::from(size)).unwrap_or(0))
            .collect();
        for channel in &channels {
            self.publisher.put(format!("={channel}").as_bytes());
        }
        self.publisher.send()?;
        // Each channel has its order, several on one connection have none among them.
        let mut open: Vec<String> = channels.iter().map(|c| format!("={c}")).collect();
        for channel in &channels {
            let owner = self.owner(*channel);
            self.members[owner].receive(&mut self.payload)?;
            let found = open.iter().position(|it| it.as_bytes() == self.payload);
            match found {
                Some(place) => drop(open.swap_remove(place)),
                None => self.faults.damaged += 1,
            }
        }
        Ok(())
    }
}

/// Measures groups of operations by the server's CPU time: the machine's other load does not make one slow.
struct Meter<'a> {
    pids: &'a [u32],
    /// Nanoseconds of the group that took most.
    most: u64,
}

impl<'a> Meter<'a> {
    const fn new(pids: &'a [u32]) -> Self {
        Self { pids, most: 0 }
    }

    /// Does `count` operations by tens, and gives the server's CPU microseconds of one.
    fn each(
        &mut self,
        count: u32,
        mut group: impl FnMut(u32) -> io::Result<()>,
    ) -> io::Result<f64> {
        let start = measure::sum(self.pids, measure::cpu_nanos)?;
        let mut before = start;
        for first in (0..count).step_by(GROUP as usize) {
            group(first)?;
            let now = measure::sum(self.pids, measure::cpu_nanos)?;
            self.most = self.most.max(now - before);
            before = now;
        }
        Ok((before - start) as f64 / 1_000.0 / f64::from(count))
    }
}

/// Operations with one answer.
const GROUP: u32 = 10;

const PUBLISHES: u32 = 10_000;
