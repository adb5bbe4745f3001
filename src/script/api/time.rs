//! `time`: the clock as wsd sees it, and times as text (RFC 3339).

use super::Entry;
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::value::Raise;
use crate::script::world::World;

pub(super) const FUNCTIONS: &[Entry] = &[
    (c"iso", iso),
    (c"monotonic", monotonic),
    (c"now", now),
    (c"parse", parse),
];

/// `time.now()` → Unix seconds with fraction.
fn now(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    stack.push_number((world.host.now)());
    Ok(1)
}

/// `time.monotonic()` → seconds since some moment.
fn monotonic(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    stack.push_number((world.host.monotonic)());
    Ok(1)
}

/// `time.iso(t)` → `2026-11-24T15:28:23Z`, with milliseconds if there are any.
fn iso(stack: &mut Stack, world: &World) -> Result<i32, Raise> {
    let time = match stack.number(1) {
        Some(time) => time,
        None if stack.top() == 0 => (world.host.now)(),
        None => {
            let value = quoted(stack, 1);
            return Err(Raise(format!("time.iso: {value} is no number of seconds")));
        }
    };
    let Some(text) = format(time) else {
        return Err(Raise(format!(
            "time.iso: {time} is not in the years 0 to 9999"
        )));
    };
    stack.push_bytes(text.as_bytes());
    Ok(1)
}

/// `time.parse(text)` → Unix seconds, or nil and why.
fn parse(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    if let Some(time) = stack.text(1).and_then(read) {
        stack.push_number(time);
        return Ok(1);
    }
    let value = quoted(stack, 1);
    stack.push_nil();
    stack.push_bytes(format!("{value} is no time like 2026-11-24T15:28:23Z").as_bytes());
    Ok(2)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "checked: within 10000 years"
)]
fn format(time: f64) -> Option<String> {
    if !(FIRST..LAST).contains(&time) {
        return None;
    }
    let millis = (time * 1000.0).round() as i64;
    let (seconds, millis) = (millis.div_euclid(1000), millis.rem_euclid(1000));
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = if millis == 0 {
        String::new()
    } else {
        format!(".{millis:03}")
    };
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}{fraction}Z"
    ))
}

/// The date of a day counted from 1 January 1970, in the Gregorian calendar.
const fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last; 719468 days lie before 1970.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + carry, month, day)
}

/// The day of a date, counted from 1 January 1970.
const fn day_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year = year.rem_euclid(400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

/// RFC 3339: date, `T` or a space, time, perhaps a fraction, `Z` or an offset.
#[expect(clippy::cast_precision_loss, reason = "within 10000 years: below 2^53")]
fn read(text: &str) -> Option<f64> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse().ok())?
    };
    let sign = |at: usize, wanted: &[u8]| wanted.contains(text.as_bytes().get(at)?).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    sign(4, b"-")?;
    sign(7, b"-")?;
    sign(10, b"Tt ")?;
    sign(13, b":")?;
    sign(16, b":")?;
    let days = day_of(year, month, day);
    // A day that does not exist comes back as another; 60 is a leap second.
    if date(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    let fraction: f64 = match fraction.strip_prefix('.') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            format!("0.{digits}").parse().ok()?
        }
        Some(_) => return None,
        None if fraction.is_empty() => 0.0,
        None => return None,
    };
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        [direction, h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
        {
            let part = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let (hours, minutes) = (part(h1, h2), part(m1, m2));
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *direction == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds = days * DAY + hour * 3600 + minute * 60 + second - offset;
    Some(seconds as f64 + fraction)
}

const DAY: i64 = 86_400;
/// 0000-01-01 and 9999-12-31T23:59:59.9, as Unix seconds.
const FIRST: f64 = -62_167_219_200.0;
const LAST: f64 = 253_402_300_799.9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        let cases = [
            (0.0, "1970-01-01T00:00:00Z"),
            (951_782_400.0, "2000-02-29T00:00:00Z"),
            (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
            (-1.0, "1969-12-31T23:59:59Z"),
            (FIRST, "0000-01-01T00:00:00Z"),
        ];
        for (time, text) in cases {
            assert_eq!(format(time).as_deref(), Some(text));
            assert_eq!(read(text), Some(time));
        }
        assert_eq!(read("2023-11-14T23:13:20.25+01:00"), Some(1_700_000_000.25));
        assert_eq!(format(f64::NAN), None);
        assert_eq!(format(1e300), None);
        assert_eq!(
            format(253_402_300_799.0).as_deref(),
            Some("9999-12-31T23:59:59Z")
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2023",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-01-01T24:00:00Z",
            "2023-01-01T00:00:00",
            "2023-01-01T00:00:00.Z",
            "2023-01-01T00:00:00+1:00",
            "2023-01-01T00:00:00+99:00",
            "+023-01-01T00:00:00Z",
            "2023-01-01T00:00:00Zx",
            "2023-01-01T00:00:00é0Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
