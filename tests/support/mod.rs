//! What every end-to-end suite stands on: the real binary in a fresh directory, a raw WebSocket client, a Redis.
//!
//! Nothing here sleeps instead of waiting: every wait is for a thing and has a deadline, and who misses it is told what was
//! awaited. A suite's `main.rs` says with `TestBroker` which broker its nodes get. Called by `tests/behaviour` and
//! `tests/redis`.

#![allow(
    dead_code,
    unused_imports,
    reason = "each suite is a binary of its own and uses a part of this"
)]

mod client;
mod http;
pub(crate) mod redis;
pub(crate) mod sentinel;
mod site;
pub(crate) mod tls;
mod wsd;

pub(crate) use client::{Client, Message, Stream, deflate, frame};
pub(crate) use http::{Answer, Request, SAMPLE_KEY};
pub(crate) use site::{Site, binary};
pub(crate) use wsd::Wsd;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long anything may take; long, since a test that waits for it in vain has failed already.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits until a condition holds; fails the test, naming the condition, if it does not within the deadline.
macro_rules! eventually {
    ($condition:expr) => {
        eventually!(crate::support::DEADLINE, $condition)
    };
    ($deadline:expr, $condition:expr) => {{
        let end = std::time::Instant::now() + $deadline;
        while !$condition {
            assert!(
                std::time::Instant::now() < end,
                "not within {:?}: {}",
                $deadline,
                stringify!($condition)
            );
            std::thread::sleep(crate::support::LOOK_AGAIN);
        }
    }};
}
pub(crate) use eventually;

/// A directory of its own for one test, removed at the end.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// A new one. Its path is short: that of a Unix socket has at most 107 bytes.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wsd-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A process that had the same id and was killed may have left one.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sends a signal, `TERM`, `HUP`, …, to one process that the test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status()
        .unwrap();
    assert!(status.success(), "kill -{name} {pid}: {status}");
}
