//! Spark's date patterns (`dd/MM/yyyy HH:mm`), as documented in Spark SQL's "Datetime Patterns".
//!
//! All times are in UTC. Not here: narrow and localised forms, and the letters of weeks, which Spark
//! refuses too.

use std::fmt::Write;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike, Utc};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Letters(char, usize),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    pub(super) fn compile(pattern: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let (piece, length) = match first {
                '\'' => quoted(rest).ok_or_else(|| format!("date pattern `{pattern}`: a quote isn't closed"))?,
                'a'..='z' | 'A'..='Z' => {
                    let length = rest.len() - rest.trim_start_matches(first).len();
                    if !"yuMLdDEaHhKkmsSzVXxZQq".contains(first) {
                        return Err(format!("date pattern `{pattern}`: the letter `{first}` isn't known"));
                    }
                    (Piece::Letters(first, length), length)
                }
                '[' | ']' => return Err(format!("date pattern `{pattern}`: optional sections aren't supported")),
                other => (Piece::Literal(other.to_string()), other.len_utf8()),
            };
            pieces.push(piece);
            rest = &rest[length..];
        }
        Ok(Self { pieces })
    }

    /// Appends a moment to a text.
    pub(super) fn write(&self, moment: DateTime<Utc>, text: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Letters(letter, count) => write_letters(*letter, *count, moment, text),
            }
        }
    }

    /// Reads a moment, in microseconds; `None` where the text doesn't fit the pattern.
    pub(super) fn parse(&self, text: &str) -> Option<i64> {
        let mut fields = Fields::default();
        let mut rest = text;
        for (at, piece) in self.pieces.iter().enumerate() {
            rest = match piece {
                Piece::Literal(literal) => rest.strip_prefix(literal.as_str())?,
                Piece::Letters(letter, count) => {
                    let adjacent = matches!(self.pieces.get(at + 1), Some(Piece::Letters(next, _)) if is_number(*next));
                    fields.read(*letter, *count, adjacent, rest)?
                }
            };
        }
        if rest.is_empty() { fields.micros() } else { None }
    }
}

fn is_number(letter: char) -> bool {
    "yudDHhKkmsSMQ".contains(letter)
}

/// A quoted literal at the start of a text, and its length there; two quotes are one.
fn quoted(text: &str) -> Option<(Piece, usize)> {
    if text.starts_with("''") {
        return Some((Piece::Literal("'".to_owned()), 2));
    }
    let end = text[1..].find('\'')? + 1;
    Some((Piece::Literal(text[1..end].to_owned()), end + 1))
}

fn pad(text: &mut String, value: impl Into<i64>, count: usize) {
    let written = write!(text, "{:0count$}", value.into());
    debug_assert!(written.is_ok(), "a text takes everything");
}

fn name(name: &str, count: usize) -> &str {
    if count >= 4 { name } else { &name[..3] }
}

fn write_letters(letter: char, count: usize, moment: DateTime<Utc>, text: &mut String) {
    let twelve = |hour: u32| if hour.is_multiple_of(12) { 12 } else { hour % 12 };
    match letter {
        'y' | 'u' if count == 2 => pad(text, moment.year().rem_euclid(100), 2),
        'y' | 'u' => pad(text, moment.year(), count),
        'M' | 'L' if count >= 3 => text.push_str(name(MONTHS[moment.month0() as usize], count)),
        'M' | 'L' => pad(text, moment.month(), count),
        'd' => pad(text, moment.day(), count),
        'D' => pad(text, moment.ordinal(), count),
        'Q' | 'q' => pad(text, moment.month0() / 3 + 1, count),
        'E' => text.push_str(name(DAYS[moment.weekday().num_days_from_monday() as usize], count)),
        'a' => text.push_str(if moment.hour() < 12 { "AM" } else { "PM" }),
        'H' => pad(text, moment.hour(), count),
        'k' => pad(text, if moment.hour() == 0 { 24 } else { moment.hour() }, count),
        'h' => pad(text, twelve(moment.hour()), count),
        'K' => pad(text, moment.hour() % 12, count),
        'm' => pad(text, moment.minute(), count),
        's' => pad(text, moment.second(), count),
        'S' => {
            let start = text.len();
            pad(text, moment.nanosecond(), 9);
            text.truncate(start + count.min(9));
        }
        'X' => text.push('Z'),
        'x' => text.push_str(if count < 3 { "+00" } else { "+00:00" }),
        'Z' => text.push_str(if count < 4 { "+0000" } else { "GMT" }),
        _ => text.push_str("UTC"),
    }
}

/// What was read.
#[derive(Debug, Default)]
struct Fields {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    hour: Option<u32>,
    half_day_hour: Option<u32>,
    afternoon: bool,
    minute: u32,
    second: u32,
    nanos: u32,
    zone: Option<Zone>,
}

#[derive(Debug, Clone, Copy)]
enum Zone {
    Seconds(i32),
    Named(chrono_tz::Tz),
}

impl Fields {
    /// Reads one field and gives back the rest of the text.
    fn read<'a>(&mut self, letter: char, count: usize, adjacent: bool, text: &'a str) -> Option<&'a str> {
        match letter {
            'M' | 'L' if count >= 3 => {
                let (month, rest) = one_of(&MONTHS, count, text)?;
                self.month = Some(u32::try_from(month).ok()? + 1);
                Some(rest)
            }
            'E' => one_of(&DAYS, count, text).map(|(_, rest)| rest),
            'a' => {
                let (half, rest) = text.split_at_checked(2)?;
                self.afternoon = half.eq_ignore_ascii_case("PM");
                (self.afternoon || half.eq_ignore_ascii_case("AM")).then_some(rest)
            }
            'z' | 'V' | 'X' | 'x' | 'Z' => {
                let (zone, rest) = zone(text)?;
                self.zone = Some(zone);
                Some(rest)
            }
            'S' => self.read_fraction(count, text),
            _ => self.read_number(letter, count, adjacent, text),
        }
    }

    fn read_fraction<'a>(&mut self, count: usize, text: &'a str) -> Option<&'a str> {
        let (digits, rest) = digits(text, 1, count.min(9))?;
        let scale = u32::try_from(9 - digits.len()).ok()?;
        self.nanos = digits.parse::<u32>().ok()? * 10_u32.pow(scale);
        Some(rest)
    }

    fn read_number<'a>(&mut self, letter: char, count: usize, adjacent: bool, text: &'a str) -> Option<&'a str> {
        let most = match (letter, count, adjacent) {
            (_, 1, false) => 9,
            ('y' | 'u', 3.., false) => 9,
            _ => count,
        };
        let (digits, rest) = digits(text, count, most)?;
        let number: u32 = digits.parse().ok()?;
        match letter {
            'y' | 'u' if count == 2 => self.year = Some(2000 + i32::try_from(number).ok()?),
            'y' | 'u' => self.year = Some(i32::try_from(number).ok()?),
            'M' | 'L' => self.month = Some(number),
            'd' => self.day = Some(number),
            'D' => self.day_of_year = Some(number),
            'H' => self.hour = Some(number),
            'k' => self.hour = Some(number % 24),
            'h' => self.half_day_hour = Some(number % 12),
            'K' => self.half_day_hour = Some(number),
            'm' => self.minute = number,
            's' => self.second = number,
            _ => {}
        }
        Some(rest)
    }

    fn micros(&self) -> Option<i64> {
        let year = self.year.unwrap_or(1970);
        let date = match self.day_of_year {
            Some(day) => NaiveDate::from_yo_opt(year, day)?,
            None => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let afternoon = if self.afternoon { 12 } else { 0 };
        let hour = self.hour.or_else(|| Some(self.half_day_hour? + afternoon)).unwrap_or(0);
        let time = NaiveTime::from_hms_nano_opt(hour, self.minute, self.second, self.nanos)?;
        in_zone(NaiveDateTime::new(date, time), self.zone)
    }
}

fn in_zone(local: NaiveDateTime, zone: Option<Zone>) -> Option<i64> {
    let micros = local.and_utc().timestamp_micros();
    let seconds = match zone {
        None => 0,
        Some(Zone::Seconds(seconds)) => seconds,
        Some(Zone::Named(zone)) => zone.from_local_datetime(&local).earliest()?.offset().fix().local_minus_utc(),
    };
    micros.checked_sub(i64::from(seconds) * 1_000_000)
}

fn digits(text: &str, least: usize, most: usize) -> Option<(&str, &str)> {
    let found = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    (found >= least).then(|| text.split_at(found))
}

fn one_of<'a>(names: &[&str], count: usize, text: &'a str) -> Option<(usize, &'a str)> {
    let matching = |(at, name): (usize, &&str)| {
        let name = if count >= 4 { name } else { &name[..3] };
        let (start, rest) = text.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some((at, rest))
    };
    names.iter().enumerate().find_map(matching)
}

/// A zone at the start of a text: `Z`, an offset, or a name.
fn zone(text: &str) -> Option<(Zone, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((Zone::Seconds(0), rest));
    }
    if let Some(rest) = text.strip_prefix(['+', '-']) {
        let sign = if text.starts_with('-') { -1 } else { 1 };
        let (hours, rest) = digits(rest, 1, 2)?;
        let after_colon = rest.strip_prefix(':').unwrap_or(rest);
        let (minutes, rest) = digits(after_colon, 2, 2).unwrap_or(("0", rest));
        let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
        return (hours <= 18 && minutes < 60).then_some((Zone::Seconds(sign * (hours * 3600 + minutes * 60)), rest));
    }
    let name = text.find(|ch: char| !ch.is_alphanumeric() && !"/_+-".contains(ch)).map_or(text, |end| &text[..end]);
    let zone = if name == "GMT" { chrono_tz::UTC } else { name.parse().ok()? };
    Some((Zone::Named(zone), &text[name.len()..]))
}

/// Reads a timestamp as Spark's casts do: `2024`, `2024-1`, `2024-01-15`, with a time of day after a
/// space or `T`, with or without seconds, fraction and zone. In microseconds.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let (date, rest) = leading_date(text)?;
    let Some(time) = rest.strip_prefix(['T', ' ']) else {
        return rest.is_empty().then(|| date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    };
    let (hour, rest) = number(time, 2)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = rest.strip_prefix(':').map_or(Some((0, rest)), |rest| number(rest, 2))?;
    let (nanos, rest) = match rest.strip_prefix('.') {
        Some(rest) => fraction(rest)?,
        None => (0, rest),
    };
    let local = NaiveDateTime::new(date, NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?);
    let rest = rest.trim_start();
    if rest.is_empty() {
        return in_zone(local, None);
    }
    let (zone, rest) = zone(rest)?;
    if rest.is_empty() { in_zone(local, Some(zone)) } else { None }
}

/// Reads a date as Spark's casts do: as a timestamp's, whatever follows after a space or `T`.
pub(super) fn date(text: &str) -> Option<NaiveDate> {
    let (date, rest) = leading_date(text.trim())?;
    (rest.is_empty() || rest.starts_with(['T', ' '])).then_some(date)
}

fn leading_date(text: &str) -> Option<(NaiveDate, &str)> {
    let (year, rest) = digits(text, 4, 7)?;
    let (month, rest) = rest.strip_prefix('-').map_or(Some((1, rest)), |rest| number(rest, 2))?;
    let (day, rest) = rest.strip_prefix('-').map_or(Some((1, rest)), |rest| number(rest, 2))?;
    Some((NaiveDate::from_ymd_opt(year.parse().ok()?, month, day)?, rest))
}

fn number(text: &str, most: usize) -> Option<(u32, &str)> {
    let (number, rest) = digits(text, 1, most)?;
    Some((number.parse().ok()?, rest))
}

fn fraction(text: &str) -> Option<(u32, &str)> {
    let (found, rest) = digits(text, 0, usize::MAX)?;
    let kept = &found[..found.len().min(9)];
    let value = if kept.is_empty() { 0 } else { kept.parse::<u32>().ok()? };
    Some((value * 10_u32.pow(u32::try_from(9 - kept.len()).ok()?), rest))
}

/// Appends a timestamp as Spark's casts write it: the fraction without its last zeros.
pub(super) fn write(moment: DateTime<Utc>, text: &mut String) {
    for (value, count, after) in [
        (moment.year(), 4, "-"),
        (moment.month().cast_signed(), 2, "-"),
        (moment.day().cast_signed(), 2, " "),
        (moment.hour().cast_signed(), 2, ":"),
        (moment.minute().cast_signed(), 2, ":"),
        (moment.second().cast_signed(), 2, ""),
    ] {
        pad(text, value, count);
        text.push_str(after);
    }
    let micros = moment.timestamp_subsec_micros();
    if micros > 0 {
        text.push('.');
        pad(text, micros, 6);
        text.truncate(text.trim_end_matches('0').len());
    }
}
