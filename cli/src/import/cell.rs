//! What the text of a cell means.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use clap::ValueEnum;
use serde_json::{Number, Value};

/// The unit of times that are plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TimeUnit {
    /// Seconds, fractions allowed
    S,
    /// Milliseconds
    Ms,
    /// Microseconds
    Us,
    /// Nanoseconds
    Ns,
}

impl TimeUnit {
    /// Microseconds in `number` of this unit; none where that is no time.
    pub(super) fn microseconds(self, number: f64) -> Option<i64> {
        let scaled = match self {
            Self::S => number * 1e6,
            Self::Ms => number * 1e3,
            Self::Us => number,
            Self::Ns => number / 1e3,
        };
        whole(scaled.round()).ok()
    }

    /// Microseconds in a whole `number` of this unit, exactly.
    pub(super) fn whole_microseconds(self, number: i64) -> Option<i64> {
        match self {
            Self::S => number.checked_mul(1_000_000),
            Self::Ms => number.checked_mul(1000),
            Self::Us => Some(number),
            Self::Ns => Some(number.div_euclid(1000)),
        }
    }
}

/// A step: a whole number, also written as 100.0 or 1e3.
pub(super) fn step(text: &str) -> Result<i64, &'static str> {
    if let Ok(step) = text.parse() {
        return Ok(step);
    }
    let number: f64 =
        text.parse().map_err(|_not_a_number: std::num::ParseFloatError| "is not a step")?;
    whole(number)
}

/// A step that was stored as a float.
pub(super) fn whole(number: f64) -> Result<i64, &'static str> {
    if number.fract() != 0.0 {
        // Also NaN and the infinities, whose fraction is NaN.
        return Err("is not a whole number, which a step is");
    }
    // 2^63 is exact as a double.
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        return Err("is too large for a step");
    }
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
    Ok(number as i64)
}

/// A value, none where the cell is empty. NaN and infinities are values: nan, NaN, inf, -inf, Infinity.
pub(super) fn value(text: &str) -> Result<Option<f64>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err("is not a number"),
    }
}

/// A time in microseconds since 1970 (UTC), none where the cell is empty: a number in `unit`, or a date and time.
pub(super) fn time(text: &str, unit: TimeUnit) -> Result<Option<i64>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = if let Ok(number) = text.parse::<i64>() {
        unit.whole_microseconds(number)
    } else if let Ok(number) = text.parse::<f64>() {
        unit.microseconds(number)
    } else {
        string_to_timestamp_nanos(text).ok().map(|nanoseconds| nanoseconds.div_euclid(1000))
    };
    parsed.map(Some).ok_or("is not a time")
}

/// A cell of the configuration: a number or a truth where it reads as one, else text; null where it is empty.
pub(super) fn config(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return Value::Number(number.into());
    }
    let starts_as_number =
        text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    if let Some(number) = text.parse().ok().filter(|_| starts_as_number).and_then(Number::from_f64)
    {
        return Value::Number(number);
    }
    match text {
        "" => Value::Null,
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        text => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_bit_for_bit() {
        for (text, expected) in [
            ("10.9264", 10.9264_f64),
            ("-0.0", -0.0),
            ("5e-324", 5e-324),
            ("nan", f64::NAN),
            ("NaN", f64::NAN),
            ("inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(value(text).unwrap().unwrap().to_bits(), expected.to_bits(), "{text}");
        }
        assert_eq!(value(""), Ok(None));
        assert_eq!(value("0.1x"), Err("is not a number"));
    }

    #[test]
    fn steps_are_whole_however_they_are_written() {
        for (text, expected) in [
            ("17", 17),
            ("-3", -3),
            ("100.0", 100),
            ("1e3", 1000),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(step(text), Ok(expected), "{text}");
        }
        for text in ["1.5", "nan", "", "1e19", "x"] {
            assert!(step(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_numbers_in_a_unit_or_dates() {
        assert_eq!(time("1769851616.5", TimeUnit::S), Ok(Some(1_769_851_616_500_000)));
        assert_eq!(time("1769851616500", TimeUnit::Ms), Ok(Some(1_769_851_616_500_000)));
        assert_eq!(time("2026-01-31T09:26:56.5Z", TimeUnit::S), Ok(Some(1_769_851_616_500_000)));
        assert_eq!(
            time("2026-01-31 10:26:56.5+01:00", TimeUnit::S),
            Ok(Some(1_769_851_616_500_000))
        );
        assert_eq!(time("", TimeUnit::S), Ok(None));
        assert!(time("yesterday", TimeUnit::S).is_err());
        assert!(time("1e300", TimeUnit::S).is_err());
    }

    #[test]
    fn config_cells_have_the_type_that_they_look_like() {
        assert_eq!(config("0.1"), serde_json::json!(0.1));
        assert_eq!(config("6200"), serde_json::json!(6200));
        assert_eq!(config("True"), serde_json::json!(true));
        assert_eq!(config("adam"), serde_json::json!("adam"));
        assert_eq!(config("inf"), serde_json::json!("inf"));
        assert_eq!(config(""), Value::Null);
    }
}
