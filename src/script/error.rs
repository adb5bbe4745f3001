//! What Lua says → [`HookError`]: file, line, hook, reason.
//!
//! Chunks are loaded under their bare names; here the full path comes back. Texts of Luau stay as they are, without the
//! place before them.

use std::fmt::Write as _;
use std::time::Duration;

use super::hooks::STRAINED;
use super::load::Bundle;
use super::stop::{Cause, Stop};
use super::value::{Frame, Kind, Raise};
use crate::pipeline::{Fault, Hook, HookError, StageId};

/// Where a call was, for what goes wrong in it.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) stage: StageId,
    pub(super) hook: Hook,
    /// Where the hook's function begins; 0 if unknown.
    pub(super) line: u32,
    /// Its time limit was a tenth of what is configured.
    pub(super) strained: bool,
}

impl Site<'_> {
    /// Of a call that did not return.
    pub(super) fn stopped(&self, stop: &Stop) -> HookError {
        let (place, text) = match stop.cause {
            Cause::Time => (None, self.time_text()),
            Cause::Memory => (None, self.memory_text()),
            Cause::Error | Cause::Panic => self.split(&stop.text),
        };
        let (script, line) = place
            .or_else(|| {
                stop.frames.iter().find_map(|frame| {
                    let path = self.bundle.path(&frame.chunk)?;
                    Some((path.display().to_string(), frame.line))
                })
            })
            .unwrap_or_else(|| (self.script(), self.line));
        HookError {
            fault: match stop.cause {
                Cause::Time => Fault::TimeCut,
                Cause::Memory => Fault::MemoryCut,
                Cause::Error | Cause::Panic => Fault::Failed,
            },
            script,
            line,
            hook: Some(self.hook),
            text,
            traceback: traceback(&stop.frames),
            about: None,
            cut: None,
        }
    }

    /// Of a call that was not made.
    pub(super) fn rests(&self) -> HookError {
        HookError {
            fault: Fault::Rests,
            ..self.returned("the script rests, as it was cut too often (hooks.breaker)")
        }
    }

    /// Of a call that returned what it may not.
    pub(super) fn returned(&self, text: impl Into<String>) -> HookError {
        HookError {
            fault: Fault::Failed,
            script: self.script(),
            line: self.line,
            hook: Some(self.hook),
            text: text.into(),
            traceback: None,
            about: None,
            cut: None,
        }
    }

    fn script(&self) -> String {
        self.bundle
            .script(self.stage)
            .map_or_else(String::new, |chunk| chunk.path.display().to_string())
    }

    /// `chat.lua:31: text` → its place and the text.
    fn split(&self, text: &str) -> (Option<(String, u32)>, String) {
        let place = || {
            let (chunk, rest) = text.split_once(".lua:")?;
            let (line, rest) = rest.split_once(": ")?;
            let path = self.bundle.path(&format!("{chunk}.lua"))?;
            Some(((path.display().to_string(), line.parse().ok()?), rest))
        };
        match place() {
            Some((place, rest)) => (Some(place), rest.to_owned()),
            None => (None, text.to_owned()),
        }
    }

    fn time_text(&self) -> String {
        let limits = &self.bundle.hooks().time_limit;
        let (limit, key) = match self.hook {
            Hook::Connect => (limits.connect, "connect"),
            Hook::Subscribe | Hook::Unsubscribe => (limits.subscribe, "subscribe"),
            Hook::Message => (limits.message, "message"),
            Hook::Batch => (limits.batch, "batch"),
            Hook::Disconnect => (limits.disconnect, "disconnect"),
            Hook::Timer => (limits.timer, "timer"),
            Hook::Load => (limits.load, "load"),
        };
        if self.strained {
            let limit = duration(limit / STRAINED);
            return format!(
                "stopped after {limit} (a tenth of hooks.time_limit.{key}: calls for this address were cut too often)"
            );
        }
        format!("stopped after {} (hooks.time_limit.{key})", duration(limit))
    }

    fn memory_text(&self) -> String {
        let memory = bytes(self.bundle.hooks().memory);
        format!("memory limit reached (hooks.memory = {memory})")
    }
}

/// `returned a number; must return true, false or a channel name`.
pub(super) fn must_return(kind: Kind, wanted: &str) -> Raise {
    Raise(format!(
        "returned {}; must return {wanted}",
        kind.described()
    ))
}

fn traceback(frames: &[Frame]) -> Option<String> {
    if frames.is_empty() {
        return None;
    }
    let mut text = String::new();
    for frame in frames {
        let newline = if text.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{newline}{}:{}", frame.chunk, frame.line);
        if let Some(function) = &frame.function {
            let _ = write!(text, " in {function}");
        }
    }
    Some(text)
}

/// As it is written in the configuration.
pub(super) fn duration(limit: Duration) -> String {
    if limit.subsec_nanos() == 0 {
        format!("{} s", limit.as_secs())
    } else if limit.subsec_nanos().is_multiple_of(1_000_000) {
        format!("{} ms", limit.as_millis())
    } else {
        format!("{} µs", limit.as_micros())
    }
}

fn bytes(n: usize) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    units
        .iter()
        .find(|(_, size)| n >= *size && n.is_multiple_of(*size))
        .map_or_else(
            || format!("{n} B"),
            |(unit, size)| format!("{} {unit}", n / size),
        )
}
