//! Records as lines, for when there is no journal: time, level, area, message, fields.
//!
//! [pure] One record is one line whatever is in it: control characters are escaped, so that a message of a client can't
//! look like a record of its own, nor send codes to the operator's terminal. The log thread writes what comes out.

use std::fmt::Write as _;
use std::time::Duration;

use super::entry::Entry;
use crate::config::Level;

/// Who reads the lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reader {
    /// The journal, through standard error: `<6>` gives the priority, and it knows the time.
    Journal,
    /// People.
    Person,
}

/// One record as one line, with its newline.
pub(super) fn render(entry: &Entry, reader: Reader) -> String {
    let mut line = String::with_capacity(96 + entry.message.len());
    let level = match entry.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    match reader {
        Reader::Journal => line.push_str(&format!("<{}>", priority(entry.level))),
        Reader::Person => line.push_str(&format!("{} {level:<5} ", time(entry.at))),
    }
    line.push_str(entry.target);
    line.push_str(": ");
    escape(&mut line, &entry.message);
    for field in &entry.fields {
        let name = field.name.to_ascii_lowercase();
        line.push(' ');
        line.push_str(name.strip_prefix("wsd_").unwrap_or(&name));
        line.push('=');
        if field.text.is_empty() || field.text.contains([' ', '"', '=']) {
            line.push('"');
            escape(&mut line, &field.text.replace('"', "\\\""));
            line.push('"');
        } else {
            escape(&mut line, &field.text);
        }
    }
    line.push('\n');
    line
}

/// `PRIORITY` in the journal, `<N>` on its stream (syslog(3)).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Control characters, and those that turn the direction of text around, in Rust's notation.
fn escape(line: &mut String, text: &str) {
    for c in text.chars() {
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

/// `2026-11-24T15:28:03.123Z`
fn time(since: Duration) -> String {
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let mut text = format!("{year:04}-{month:02}-{day:02}T");
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "{hour:02}:{minute:02}:{second:02}.{:03}Z",
        since.subsec_millis()
    );
    text
}

/// Year, month and day of a day after 1970-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / DAYS_IN_400_YEARS * 400;
    days %= DAYS_IN_400_YEARS;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// The Gregorian calendar repeats after so many.
const DAYS_IN_400_YEARS: u64 = 146_097;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn entry(message: &str, fields: &[(&'static str, &str)]) -> Entry {
        let mut entry = Entry {
            at: Duration::from_millis(1_795_534_083_123),
            level: Level::Warn,
            target: "broker",
            message: message.to_owned(),
            event: None,
            fields: Vec::new(),
            metadata: None,
        };
        for (name, text) in fields {
            entry.put(Cow::Borrowed(*name), (*text).to_owned(), 0);
        }
        entry
    }

    #[test]
    fn a_line_has_everything() {
        let entry = entry(
            "broker lost",
            &[("wsd_conn", "a-1"), ("WSD_TEXT", "a \"b\" c"), ("n", "")],
        );
        assert_eq!(
            render(&entry, Reader::Person),
            "2026-11-24T15:28:03.123Z warn  broker: broker lost conn=a-1 text=\"a \\\"b\\\" c\" n=\"\"\n"
        );
        assert_eq!(
            render(&entry, Reader::Journal),
            "<4>broker: broker lost conn=a-1 text=\"a \\\"b\\\" c\" n=\"\"\n"
        );
    }

    #[test]
    fn one_record_is_one_line() {
        let entry = entry("a\nb\r\u{1b}[2J\u{202e}ü", &[("wsd_user", "x\ny")]);
        let line = render(&entry, Reader::Person);
        assert!(
            line.ends_with("broker: a\\nb\\r\\u{1b}[2J\\u{202e}ü user=x\\ny\n"),
            "{line}"
        );
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn dates_are_right() {
        for (days, right) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_088, (2024, 12, 31)),
            (20_089, (2025, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
            (DAYS_IN_400_YEARS, (2370, 1, 1)),
        ] {
            assert_eq!(date(days), right, "{days}");
        }
    }
}
