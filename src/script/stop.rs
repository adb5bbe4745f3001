//! How a protected call can end before its end.

use mlua::ffi;

use super::raw::Stack;
use super::value::{Frame, Kind};

/// Why a protected call did not come to its end.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) cause: Cause,
    /// The error's text, cut to [`TEXT_MAX`]; empty where the cause says it all.
    pub(super) text: String,
    /// Innermost first.
    pub(super) frames: Vec<Frame>,
    /// Bytes that the call took, or wanted, beyond what was in use before it; 0 if none were refused.
    pub(super) taken: usize,
}

/// What ended a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// An error was raised.
    Error,
    /// No memory was left, whether or not the script caught that.
    Memory,
    /// A panic in a host function.
    Panic,
    /// It ran too long.
    Time,
}

impl Stop {
    /// Of a call that ended with `status`; takes the error object off.
    pub(super) fn of(
        stack: &mut Stack,
        status: i32,
        cut: bool,
        refused: Option<usize>,
        frames: Vec<Frame>,
    ) -> Self {
        // What was refused memory says more than what came of it.
        let cause = match status {
            _ if refused.is_some() => Cause::Memory,
            _ if cut => Cause::Time,
            ffi::LUA_ERRMEM => Cause::Memory,
            _ => Cause::Error,
        };
        let text = cause.text(stack, stack.top());
        if status != ffi::LUA_OK {
            stack.pop();
        }
        Self {
            cause,
            text,
            frames,
            taken: refused.unwrap_or(0),
        }
    }

    /// Whether it was cut, which is not the script's word.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.cause, Cause::Memory | Cause::Time)
    }

    /// Of a call in which we failed.
    pub(super) fn panic(panic: &(dyn std::any::Any + Send)) -> Self {
        Self {
            cause: Cause::Panic,
            text: panic_text(panic),
            frames: Vec::new(),
            taken: 0,
        }
    }
}

impl Cause {
    /// The text of the error object at `place`; none of its code is run.
    pub(super) fn text(self, stack: &Stack, place: i32) -> String {
        match (self, stack.bytes(place), stack.number(place)) {
            (Self::Time | Self::Memory, _, _) => String::new(),
            (_, Some(bytes), _) => shorten(bytes),
            (_, None, Some(number)) => number.to_string(),
            _ => match stack.kind(place) {
                // At the end of a time that was up, or thrown by the script.
                Kind::Light => "error object is json.null".into(),
                kind => format!("error object is {}", kind.described()),
            },
        }
    }
}

/// At most [`TEXT_MAX`] bytes, as text.
pub(super) fn shorten(bytes: &[u8]) -> String {
    match bytes.get(..TEXT_MAX) {
        Some(start) if bytes.len() > TEXT_MAX => {
            format!(
                "{}…",
                String::from_utf8_lossy(start).trim_end_matches('\u{fffd}')
            )
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("wsd itself failed: {}", text.unwrap_or("no reason given"))
}

/// The longest error text.
const TEXT_MAX: usize = 4096;
