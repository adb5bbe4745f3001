//! Large messages to many: what a byte costs, what memory they take while subscribers are slow to read, and whether it comes
//! back.
//!
//! A burst is sent before anybody reads, to sockets with small receive buffers, so most of it waits in the server.

use std::io;

use super::Step;
use crate::launch::Running;
use crate::measure;
use crate::message::Faults;
use crate::plain::Plain;
use crate::scenario::Scenario;

/// One size: `size` bytes a message.
pub(super) fn run(scenario: &Scenario, server: &Running, size: u32) -> io::Result<Step> {
    let pids = server.pids()?;
    let mut members = Vec::new();
    for _ in 0..scenario.members {
        members.push(Plain::connect(server.address(), "/large", Some(RECEIVE))?);
    }
    let start = measure::settled_bytes(&pids)?;
    let before = measure::sum(&pids, measure::cpu_nanos)?;
    let mut faults = Faults::default();
    let mut most = start;
    let mut payload = Vec::new();
    for burst in 0..BURSTS {
        for number in 0..BURST {
            members[0].put(&content(size, burst * BURST + number));
        }
        members[0].send()?;
        // The publisher's own are the last to be written: when they are here, all others are in sockets or outboxes.
        for member in members.iter_mut().take(1) {
            read(member, size, burst, &mut payload, &mut faults)?;
        }
        most = most.max(measure::sum(&pids, measure::resident_bytes)?);
        for member in members.iter_mut().skip(1) {
            read(member, size, burst, &mut payload, &mut faults)?;
        }
    }
    let used = measure::sum(&pids, measure::cpu_nanos)? - before;
    let left = measure::settled_bytes(&pids)?;
    let deliveries = f64::from(scenario.members * BURST * BURSTS);
    let cpu = used as f64 / 1_000.0 / deliveries;
    Ok(Step {
        size,
        figures: vec![
            ("CPU µs", cpu),
            ("CPU µs a KiB", cpu / (f64::from(size) / 1_024.0)),
            ("burst KiB", f64::from(size / 1_024 * BURST)),
            ("grew KiB", (most as f64 - start as f64) / 1_024.0),
            ("kept KiB", (left as f64 - start as f64) / 1_024.0),
        ],
        faults,
    })
}

fn read(
    member: &mut Plain,
    size: u32,
    burst: u32,
    payload: &mut Vec<u8>,
    faults: &mut Faults,
) -> io::Result<()> {
    for number in 0..BURST {
        member.receive(payload)?;
        faults.damaged += u64::from(*payload != content(size, burst * BURST + number));
    }
    Ok(())
}

/// Text that is another for each number, in every part.
fn content(size: u32, number: u32) -> Vec<u8> {
    let line = format!("message {number:08} ");
    line.bytes().cycle().take(size as usize).collect()
}

/// Messages that are sent before anybody reads.
const BURST: u32 = 8;
const BURSTS: u32 = 3;

/// Of a subscriber's socket, in bytes.
const RECEIVE: usize = 16_384;
