//! Numbers as people read them.

/// A measured value in four significant digits; whole numbers below a million are shown whole.
pub(crate) fn value(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    let size = value.abs();
    if value.fract() == 0.0 && size < 1e6 {
        return format!("{value}");
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = match size {
        1e3.. => 0,
        1e2.. => 1,
        1e1.. => 2,
        1e0.. => 3,
        1e-1.. => 4,
        1e-2.. => 5,
        1e-3.. => 6,
        _ => 7,
    };
    format!("{value:.decimals$}")
}

/// A count with its thousands apart: 3,060,513.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many a second, with its thousands apart.
pub(crate) fn rate(number: u64, seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is not negative, and saturates"
    )]
    count((number as f64 / seconds.max(1e-9)) as u64)
}

/// Bytes in the unit that suits them: "512 B", "1.4 MiB".
pub(crate) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 || unit == "TiB" {
            return if unit == "B" || size >= 100.0 {
                format!("{size:.0} {unit}")
            } else {
                format!("{size:.1} {unit}")
            };
        }
        size /= 1024.0;
    }
    format!("{bytes} B")
}

/// A noun with its count: "1 run", "735 runs".
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_four_significant_digits() {
        for (number, said) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (12.0, "12"),
            (0.312_345, "0.3123"),
            (10.926_41, "10.93"),
            (123_456.7, "123457"),
            (-0.000_123_45, "-0.0001234"),
            (0.000_012_345, "1.234e-5"),
            (1e300, "1.000e300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(value(number), said);
        }
    }

    #[test]
    fn counts_and_sizes_are_grouped_and_scaled() {
        assert_eq!([count(7), count(1234), count(3_060_513)], ["7", "1,234", "3,060,513"]);
        assert_eq!([bytes(17), bytes(2048), bytes(300 << 20)], ["17 B", "2.0 KiB", "300 MiB"]);
        assert_eq!([counted(1, "run"), counted(2000, "run")], ["1 run", "2,000 runs"]);
    }
}
