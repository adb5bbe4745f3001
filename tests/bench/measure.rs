//! What a process costs, read from `/proc`, and the few numbers that say it: median, spread, percentile.
//!
//! Knows only process ids. Never measures while traffic is being generated: the callers say when.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// A process and all that it has started, directly or not.
pub(crate) fn tree(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = vec![pid];
    let mut place = 0;
    while let Some(pid) = found.get(place) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            found.extend(children.split_whitespace().flat_map(str::parse::<u32>));
        }
        place += 1;
    }
    Ok(found)
}

/// The sum of something over processes.
pub(crate) fn sum(pids: &[u32], of: impl Fn(u32) -> io::Result<u64>) -> io::Result<u64> {
    pids.iter().map(|pid| of(*pid)).sum()
}

/// Nanoseconds of CPU that a process's threads have used: the sum of the first fields of `/proc/PID/task/*/schedstat`.
pub(crate) fn cpu_nanos(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => total += first_number(&text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {} // that thread has just ended
            Err(e) => return Err(e),
        }
    }
    Ok(total)
}

/// The same of each thread whose name begins so, in the order of their ids.
pub(crate) fn threads_nanos(pid: u32, name: &str) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        if fs::read_to_string(path.join("comm"))?.starts_with(name) {
            let text = fs::read_to_string(path.join("schedstat"))?;
            found.push((path, first_number(&text)?));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, nanos)| nanos).collect())
}

/// Resident bytes of a process. `smaps_rollup` counts pages; the counter in `status` may be 64 pages a CPU behind.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let line = line.ok_or_else(|| io::Error::other("smaps_rollup has no line \"Rss:\""))?;
    Ok(first_number(line)? * 1_024)
}

/// Waits until the resident memory of processes has not changed for half a second, at most five, and gives it.
#[expect(
    clippy::disallowed_methods,
    reason = "waits for another process to come to rest"
)]
pub(crate) fn settled_bytes(pids: &[u32]) -> io::Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut since = Instant::now();
    let mut bytes = sum(pids, resident_bytes)?;
    while Instant::now() < deadline && since.elapsed() < Duration::from_millis(500) {
        std::thread::sleep(Duration::from_millis(50));
        let now = sum(pids, resident_bytes)?;
        if now != bytes {
            bytes = now;
            since = Instant::now();
        }
    }
    Ok(bytes)
}

/// The most resident bytes that a process has ever had.
pub(crate) fn peak_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = line.ok_or_else(|| io::Error::other("status has no line \"VmHWM:\""))?;
    Ok(first_number(line)? * 1_024)
}

/// Median, least and greatest of some values; zeros if there are none.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of all values, in any order.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Self {
            median: f64::midpoint(lower, upper),
            min: *min,
            max: *max,
        }
    }
}

/// The value below which `percent` of 100 lie, of a list that is sorted by the call; 0 if it is empty.
pub(crate) fn percentile(values: &mut [u32], percent: usize) -> u32 {
    values.sort_unstable();
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(0)
}

fn first_number(text: &str) -> io::Result<u64> {
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no number at the beginning of \"{text}\"")))
}
