//! Sizes, times and errors as the journal shows them.
//!
//! [pure] Used by the log lines of `thread.rs` and the errors of `link_error.rs`.

use std::io;
use std::time::Duration;

/// `8 MiB`, `1.5 KiB`, `100 B`.
pub(super) fn size(bytes: usize) -> String {
    const UNITS: [&str; 3] = ["KiB", "MiB", "GiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if tenths < 10 * 1024 {
            break;
        }
        tenths /= 1024;
        unit = next;
    }
    decimal(tenths as u128, unit)
}

/// `500 ms`, `10 s`, `12.4 s`.
pub(super) fn duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 1000 {
        format!("{ms} ms")
    } else {
        decimal(ms / 100, "s")
    }
}

fn decimal(tenths: u128, unit: &str) -> String {
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, tenth) => format!("{whole}.{tenth} {unit}"),
    }
}

/// `connection refused` instead of `Connection refused (os error 111)`.
pub(super) fn io_error(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.rfind(" (os error ") {
        text.truncate(at);
    }
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

/// What Redis said, fit for one line of a log: no control characters, not endless.
pub(super) fn from_redis(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(200)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_errors_read_well() {
        assert_eq!(size(8 << 20), "8 MiB");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(100), "100 B");
        assert_eq!(size(3 << 30), "3 GiB");
        assert_eq!(duration(Duration::from_millis(500)), "500 ms");
        assert_eq!(duration(Duration::from_secs(10)), "10 s");
        assert_eq!(duration(Duration::from_millis(12_449)), "12.4 s");
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(io_error(&refused), "connection refused");
        assert_eq!(from_redis(b"a\nb\xff"), "a b\u{fffd}");
    }
}
