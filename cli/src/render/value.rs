//! One value as a person reads it.

use std::fmt::Write;

/// Key of a field's metadata that says how people want to see it: [`BYTES`] or [`AGE`]. Machines
/// get the plain number.
pub(crate) const SHOWN_AS: &str = "headwater.shown_as";
/// A number of bytes, shown as `1.5 MB`.
pub(crate) const BYTES: &str = "bytes";
/// A number of seconds since something, shown as `3 min ago`.
pub(crate) const AGE: &str = "age";

/// A whole number with a comma between thousands. Anything but an optional sign and digits stays.
pub(super) fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("{sign}{digits}");
    }
    let mut text = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// A floating-point number: up to four decimals, or with an exponent where those would hide it.
pub(super) fn float(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    if value != 0.0 && !(1e-3..1e15).contains(&value.abs()) {
        return format!("{value:e}");
    }
    let text = format!("{value:.4}");
    let trimmed = text.trim_end_matches('0');
    thousands(&if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() })
}

/// A number of bytes.
pub(super) fn bytes(count: f64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut scaled = count;
    let mut unit = 0;
    while scaled >= 999.95 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{scaled} B") } else { format!("{scaled:.1} {}", UNITS[unit]) }
}

/// A time span in its largest unit.
pub(super) fn age(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s")];
    match UNITS.iter().find(|(size, _)| seconds >= *size) {
        Some((size, unit)) => format!("{} {unit} ago", (seconds / size).floor()),
        None => "now".to_owned(),
    }
}

/// Text that can do nothing to a terminal: control characters are shown as escapes.
pub(super) fn safe(text: &str) -> String {
    let is_unsafe = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_unsafe) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        if is_unsafe(letter) {
            let _infallible = write!(safe, "{}", letter.escape_default());
        } else {
            safe.push(letter);
        }
        safe
    })
}
