//! Sizes and times as people write them.

use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

const TIMES: [(&str, u64); 12] = [
    ("ms", 1),
    ("s", 1_000),
    ("second", 1_000),
    ("seconds", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("minute", 60_000),
    ("minutes", 60_000),
    ("h", 3_600_000),
    ("hour", 3_600_000),
    ("hours", 3_600_000),
    ("d", 86_400_000),
];

/// A number of bytes: `4096`, `128MB` (millions), `16MiB` (powers of 1024). `None` if it is none.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    if unit.is_empty() { Some(number) } else { number.checked_mul(factor(unit, &SIZES)?) }
}

/// A time: `500ms`, `30s`, `5m`, `1h`, `2d`; a bare number is seconds. `None` if it is none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let unit = if unit.is_empty() { "s" } else { unit };
    number.checked_mul(factor(unit, &TIMES)?).map(Duration::from_millis)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '_').unwrap_or(text.len());
    let number = text[..digits].replace('_', "").parse().ok()?;
    Some((number, text[digits..].trim_start()))
}

fn factor(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_binary_by_their_unit() {
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("128MB"), Some(128_000_000));
        assert_eq!(bytes("16 MiB"), Some(16 << 20));
        assert_eq!(bytes("10_000kb"), Some(10_000_000));
        for wrong in ["", "MB", "-1", "1.5GB", "128m", "99999999TB", "1 M B"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("5 minutes"), Some(Duration::from_secs(300)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("45"), Some(Duration::from_secs(45)));
        for wrong in ["", "s", "-5s", "1w", "99999999999999999999d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
