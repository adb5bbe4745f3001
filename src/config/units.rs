//! [pure] Durations, sizes and shares as an operator writes them, and back.
//!
//! `values.rs` reads the configuration with these, `print.rs` writes it, and the command line reads `--over` with
//! [`duration`]. What cannot be read is answered with what would be right; the caller adds the key and the value.

use std::time::Duration;

/// The longest duration that is taken: nobody means more, and every clock can add it.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The largest size that is taken: sums of a few of them fit every integer.
pub const LARGEST: u64 = 1 << 40;

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DurationError {
    /// A number without a unit after it.
    #[error("has no unit; use ms, s, m or h as in \"250ms\" or \"1m30s\"")]
    NoUnit,
    /// `1s2m`, `1s1s`.
    #[error("the units must come in the order h, m, s, ms, each once")]
    Order,
    /// Something else than a number and its unit.
    #[error("must be a duration such as \"30s\", \"250ms\" or \"1m30s\"")]
    Other,
    /// More than [`LONGEST`].
    #[error("must be at most 366 days (8784h)")]
    TooLong,
    /// `5d`, `5 sec`.
    #[error("unknown unit; use ms, s, m or h as in \"250ms\" or \"1m30s\"")]
    Unit,
}

/// Why a text is no size.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SizeError {
    /// Does not begin with a whole number.
    #[error("must be a size such as \"64KiB\" or a plain number of bytes")]
    Other,
    /// More than [`LARGEST`].
    #[error("must be at most 1024GiB")]
    TooLarge,
    /// `64KB`
    #[error("unknown unit; use B, KiB, MiB, GiB or a plain number of bytes")]
    Unit,
}

/// A number that does not look like a percentage, or is not between 0 and 100.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a share from \"0%\" to \"100%\"")]
pub struct ShareError;

/// Reads `"30s"`, `"250ms"`, `"1m30s"`, `"1h"`.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    // The size of the unit before, in milliseconds: each must be smaller than the last.
    let mut last = u64::MAX;
    if rest.is_empty() {
        return Err(DurationError::Other);
    }
    while !rest.is_empty() {
        let (digits, after) = split(rest, |c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(DurationError::Other);
        }
        let (unit, after) = split(after, |c| c.is_ascii_alphabetic());
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "" if after.is_empty() => return Err(DurationError::NoUnit),
            "" => return Err(DurationError::Other),
            _ => return Err(DurationError::Unit),
        };
        if millis >= last {
            return Err(DurationError::Order);
        }
        last = millis;
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(millis))
            .and_then(|part| total.checked_add(Duration::from_millis(part)))
            .filter(|sum| *sum <= LONGEST)
            .ok_or(DurationError::TooLong)?;
        rest = after;
    }
    Ok(total)
}

/// Writes a duration so that [`duration`] reads the same again; what is finer than a millisecond is cut.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        let count = millis / size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            millis -= count * size;
        }
    }
    text
}

/// Reads `"64KiB"`, `"1 MiB"`, `"512B"`, `"512"`.
pub fn size(text: &str) -> Result<u64, SizeError> {
    let (digits, unit) = split(text.trim(), |c| c.is_ascii_digit());
    if digits.is_empty() {
        return Err(SizeError::Other);
    }
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(SizeError::Unit),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(1 << shift))
        .filter(|bytes| *bytes <= LARGEST)
        .ok_or(SizeError::TooLarge)
}

/// Writes a size with the largest unit that leaves a whole number.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// Reads `"5%"` or `"0.5%"` as a part of 1.
pub fn share(text: &str) -> Result<f64, ShareError> {
    let number = text.trim().strip_suffix('%').ok_or(ShareError)?.trim_end();
    let plain = |c: char| c.is_ascii_digit() || c == '.';
    if !number.starts_with(|c: char| c.is_ascii_digit()) || !number.chars().all(plain) {
        return Err(ShareError);
    }
    let percent: f64 = number.parse().map_err(|_| ShareError)?;
    if percent > 100.0 {
        return Err(ShareError);
    }
    // Thousandths of a percent and no finer, so that what is written can be read back.
    Ok((percent * 1000.0).round() / 100_000.0)
}

/// Writes a part of 1 as a percentage.
#[must_use]
pub fn show_share(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

/// The longest front of `text` whose characters all fit, and what follows.
fn split(text: &str, fits: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !fits(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis, shown) in [
            ("30s", 30_000, "30s"),
            ("250ms", 250, "250ms"),
            ("1m30s", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            ("1h", 3_600_000, "1h"),
            ("1h1ms", 3_600_001, "1h1ms"),
            ("0ms", 0, "0s"),
            (" 5s ", 5000, "5s"),
        ] {
            let read = duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(show_duration(read), shown, "{text}");
            assert_eq!(duration(shown), Ok(read));
        }
    }

    #[test]
    fn what_is_no_duration_says_what_would_be() {
        for (text, error) in [
            ("", DurationError::Other),
            ("s", DurationError::Other),
            ("-1s", DurationError::Other),
            ("1.5s", DurationError::Other),
            ("1 s", DurationError::Other),
            ("30", DurationError::NoUnit),
            ("1m30", DurationError::NoUnit),
            ("5d", DurationError::Unit),
            ("5S", DurationError::Unit),
            ("1s1m", DurationError::Order),
            ("1s1s", DurationError::Order),
            ("9000h", DurationError::TooLong),
            ("99999999999999999999999s", DurationError::TooLong),
            ("18446744073709551615h", DurationError::TooLong),
        ] {
            assert_eq!(duration(text), Err(error), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, shown) in [
            ("0", 0, "0B"),
            ("512", 512, "512B"),
            ("512B", 512, "512B"),
            ("1024", 1024, "1KiB"),
            ("64KiB", 65_536, "64KiB"),
            ("64 KiB", 65_536, "64KiB"),
            ("1MiB", 1 << 20, "1MiB"),
            ("1536KiB", 1536 << 10, "1536KiB"),
            ("1024GiB", 1 << 40, "1024GiB"),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), shown);
            assert_eq!(size(shown), Ok(bytes));
        }
        assert_eq!(size("64 XB"), Err(SizeError::Unit));
        assert_eq!(size("64KB"), Err(SizeError::Unit));
        assert_eq!(size("1.5MiB"), Err(SizeError::Unit));
        assert_eq!(size("KiB"), Err(SizeError::Other));
        assert_eq!(size("-1"), Err(SizeError::Other));
        assert_eq!(size("1025GiB"), Err(SizeError::TooLarge));
        assert_eq!(size("99999999999999999999"), Err(SizeError::TooLarge));
    }

    #[test]
    fn shares_are_read_and_written() {
        for (text, shown) in [
            ("0%", "0%"),
            ("5%", "5%"),
            ("0.5%", "0.5%"),
            ("12.345%", "12.345%"),
            ("33.3333%", "33.333%"),
            ("100%", "100%"),
            ("100.0 %", "100%"),
        ] {
            let read = share(text).unwrap();
            assert_eq!(show_share(read), shown);
            assert_eq!(share(shown), Ok(read));
        }
        for text in [
            "", "5", "%", "-1%", "101%", "inf%", "nan%", ".5%", "1e1%", "1.2.3%",
        ] {
            assert_eq!(share(text), Err(ShareError), "{text}");
        }
    }
}
