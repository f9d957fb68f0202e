//! Times and spans as people say them.

use std::time::{SystemTime, UNIX_EPOCH};

/// A span of time in microseconds, in two units at most: "12 s", "3 min", "2 h 5 min", "4 d".
pub(crate) fn span(microseconds: i64) -> String {
    let seconds = microseconds.max(0) / 1_000_000;
    match seconds {
        0 => format!("{} ms", microseconds.max(0) / 1000),
        1..60 => format!("{seconds} s"),
        60..3600 if seconds % 60 == 0 || seconds >= 600 => format!("{} min", seconds / 60),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago `time` was, seen from `now`, in one unit; both in microseconds since 1970.
pub(crate) fn ago(time: i64, now: i64) -> String {
    match now.saturating_sub(time) / 1_000_000 {
        ..1 => "now".to_owned(),
        seconds @ ..60 => format!("{seconds} s ago"),
        seconds @ ..3600 => format!("{} min ago", seconds / 60),
        seconds @ ..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// `time`, in microseconds since 1970, as "2026-01-31 09:26:56 UTC".
pub(crate) fn utc(time: i64) -> String {
    match arrow::temporal_conversions::timestamp_us_to_datetime(time) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => format!("{time} us"),
    }
}

/// The time of day of `time`, in microseconds since 1970, as "09:26:56" (UTC).
pub(crate) fn time_of_day(time: i64) -> String {
    match arrow::temporal_conversions::timestamp_us_to_datetime(time) {
        Some(time) => time.format("%H:%M:%S").to_string(),
        None => "--:--:--".to_owned(),
    }
}

/// The clock of this host, in microseconds since 1970; 0 where it stands before that.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_two_units_at_most() {
        const SECOND: i64 = 1_000_000;
        for (microseconds, said) in [
            (-5, "0 ms"),
            (12_345, "12 ms"),
            (59 * SECOND, "59 s"),
            (60 * SECOND, "1 min"),
            (61 * SECOND, "1 min 1 s"),
            (754 * SECOND, "12 min"),
            (3600 * SECOND, "1 h"),
            (9000 * SECOND, "2 h 30 min"),
            (200_000 * SECOND, "2 d"),
        ] {
            assert_eq!(span(microseconds), said);
        }
        assert_eq!(ago(5 * SECOND, 5 * SECOND), "now");
        assert_eq!(ago(0, 75 * SECOND), "1 min ago");
        assert_eq!(ago(0, 90_000 * SECOND), "1 d ago");
        assert_eq!(utc(1_769_851_616_000_000), "2026-01-31 09:26:56 UTC");
    }
}
