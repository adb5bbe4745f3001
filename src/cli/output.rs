//! Where the tools print: results to stdout, everything else to stderr.
//!
//! A pipe whose reader has gone (`wsd subscribe chat | head -1`) is no failure and no panic: the caller hears of it and
//! ends. What came from clients is made harmless where a terminal would act on it.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// A result, as a line. `Err` when nobody reads any more.
pub(super) fn line(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

/// Something that a client wrote, as a line. For a terminal every control character but the tab is escaped, so that a
/// message cannot move the cursor or rename the window.
pub(super) fn foreign(text: &str) -> io::Result<()> {
    if io::stdout().is_terminal() {
        line(harmless(text))
    } else {
        line(text)
    }
}

/// What the operator should know: a line on stderr.
pub(super) fn error(text: impl Display) {
    // When stderr is closed there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_act_on_the_terminal() {
        assert_eq!(
            harmless("grüße\t\u{1b}]0;x\u{7}\n"),
            "grüße\t\\u{1b}]0;x\\u{7}\\n"
        );
    }
}
