//! Functions that count in units of time: windows, differences and sums.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};
use datafusion::common::{Result, exec_err, plan_err};

use super::moments::{moments, timestamps, utc, value};
use super::{RowFunction, Typed};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

pub(super) fn functions() -> Vec<RowFunction> {
    vec![
        RowFunction::new("window", window_types, window),
        RowFunction::new("timestampadd", add_types, timestampadd),
        RowFunction::new("timestampdiff", difference_types, timestampdiff),
        RowFunction::new("months_between", months_between_types, months_between),
        RowFunction::new("make_timestamp", make_timestamp_types, make_timestamp),
    ]
}

/// A unit: so many months, or so many microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Months(i64),
    Micros(i64),
}

fn unit(name: &str) -> Result<Unit> {
    Ok(match name.to_lowercase().trim_end_matches('s') {
        "year" => Unit::Months(12),
        "quarter" => Unit::Months(3),
        "month" => Unit::Months(1),
        "week" => Unit::Micros(7 * DAY),
        "day" | "dayofyear" => Unit::Micros(DAY),
        "hour" => Unit::Micros(3_600 * SECOND),
        "minute" => Unit::Micros(60 * SECOND),
        "second" => Unit::Micros(SECOND),
        "millisecond" => Unit::Micros(1_000),
        "microsecond" => Unit::Micros(1),
        _ => return plan_err!("`{name}` isn't a unit of time"),
    })
}

/// Units of rows, each read once while it stays the same.
fn units(texts: &StringArray) -> impl FnMut(usize) -> Result<Unit> {
    let mut last: Option<(&str, Unit)> = None;
    move |row| {
        let text = texts.value(row);
        match last {
            Some((known, unit)) if known == text => Ok(unit),
            Some(_) | None => Ok(last.insert((text, unit(text)?)).1),
        }
    }
}

/// `10 minutes`, `1 hour 30 minutes`, in microseconds.
fn duration(text: &str) -> Result<i64> {
    let wrong = || plan_err!("`{text}` isn't a duration such as '10 minutes'");
    let words: Vec<&str> = text.trim().trim_start_matches("INTERVAL ").split_whitespace().collect();
    let mut micros = 0_i64;
    for pair in words.chunks(2) {
        let [count, name] = pair else { return wrong() };
        let (Ok(count), Unit::Micros(each)) = (count.parse::<i64>(), unit(name)?) else { return wrong() };
        micros = micros.saturating_add(count.saturating_mul(each));
    }
    if micros > 0 { Ok(micros) } else { wrong() }
}

fn window_type() -> Fields {
    Fields::from(vec![Field::new("start", utc(), true), Field::new("end", utc(), true)])
}

fn window_types(types: &[DataType]) -> Result<Typed> {
    match types.len() {
        2 => Ok((vec![utc(), DataType::Utf8], DataType::Struct(window_type()))),
        3 | 4 => plan_err!(
            "window takes a timestamp and a duration; sliding and shifted windows aren't executed, \
             join with a table of their starts instead"
        ),
        other => plan_err!("window takes a timestamp and a duration, not {other} arguments"),
    }
}

/// `window(time, '10 minutes')`: the tumbling window that holds a time.
fn window(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let times = arguments[0].as_primitive::<TimestampMicrosecondType>();
    let durations = arguments[1].as_string::<i32>();
    let mut last: Option<(&str, i64)> = None;
    let mut windows = Vec::with_capacity(times.len());
    for (time, text) in times.iter().zip(durations) {
        let (Some(time), Some(text)) = (time, text) else {
            windows.push(None);
            continue;
        };
        let length = match last {
            Some((known, length)) if known == text => length,
            Some(_) | None => duration(text)?,
        };
        last = Some((text, length));
        windows.push(Some((time - time.rem_euclid(length), length)));
    }
    let nulls = windows.iter().map(Option::is_some).collect::<Vec<_>>().into();
    let starts = timestamps(windows.iter().map(|window| Some((*window)?.0)));
    let ends = timestamps(windows.iter().map(|window| window.map(|(start, length)| start + length)));
    Ok(Arc::new(StructArray::try_new(window_type(), vec![starts, ends], Some(nulls))?))
}

fn add_types(types: &[DataType]) -> Result<Typed> {
    if types.len() != 3 {
        return plan_err!("timestampadd takes a unit, a number and a timestamp");
    }
    Ok((vec![DataType::Utf8, DataType::Int64, utc()], utc()))
}

fn timestampadd(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut unit_of = units(arguments[0].as_string());
    let mut sums = Vec::with_capacity(arguments[0].len());
    for (row, moment) in moments(&arguments[2]).enumerate() {
        let (Some(moment), Some(count)) = (moment, value::<Int64Type>(&arguments[1], row)) else {
            sums.push(None);
            continue;
        };
        sums.push(later(moment, count, unit_of(row)?).map(|moment| moment.timestamp_micros()));
    }
    Ok(timestamps(sums.into_iter()))
}

fn later(moment: DateTime<Utc>, count: i64, unit: Unit) -> Option<DateTime<Utc>> {
    match unit {
        Unit::Micros(each) => {
            DateTime::from_timestamp_micros(moment.timestamp_micros().checked_add(count.checked_mul(each)?)?)
        }
        Unit::Months(each) => {
            let months = count.checked_mul(each)?;
            let size = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
            if months < 0 { moment.checked_sub_months(size) } else { moment.checked_add_months(size) }
        }
    }
}

fn difference_types(types: &[DataType]) -> Result<Typed> {
    if types.len() != 3 {
        return plan_err!("timestampdiff takes a unit and two timestamps");
    }
    Ok((vec![DataType::Utf8, utc(), utc()], DataType::Int64))
}

fn timestampdiff(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut unit_of = units(arguments[0].as_string());
    let pairs = moments(&arguments[1]).zip(moments(&arguments[2]));
    let differences = pairs.enumerate().map(|(row, (from, to))| match (from, to) {
        (Some(from), Some(to)) => Ok(Some(whole(from, to, unit_of(row)?))),
        (None, _) | (_, None) => Ok(None),
    });
    Ok(Arc::new(differences.collect::<Result<Int64Array>>()?))
}

/// Whole units from one moment to another.
fn whole(from: DateTime<Utc>, to: DateTime<Utc>, unit: Unit) -> i64 {
    match unit {
        Unit::Micros(each) => (to.timestamp_micros() - from.timestamp_micros()) / each,
        Unit::Months(each) => {
            let months = months_apart(from, to);
            let passed = later(from, months, Unit::Months(1));
            let early = passed.is_some_and(|passed| if months > 0 { passed > to } else { passed < to });
            let months = if early { months - months.signum() } else { months };
            months / each
        }
    }
}

fn months_apart(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    i64::from(to.year() - from.year()) * 12 + i64::from(to.month()) - i64::from(from.month())
}

fn months_between_types(types: &[DataType]) -> Result<Typed> {
    match types.len() {
        2 => Ok((vec![utc(), utc()], DataType::Float64)),
        3 => Ok((vec![utc(), utc(), DataType::Boolean], DataType::Float64)),
        other => plan_err!("months_between takes two timestamps, not {other} arguments"),
    }
}

fn months_between(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let pairs = moments(&arguments[0]).zip(moments(&arguments[1])).enumerate();
    let months = pairs.map(|(row, (to, from))| {
        let exact = arguments.get(2).is_some_and(|rounded| !rounded.as_boolean().value(row));
        let months = fractional_months(from?, to?);
        Some(if exact { months } else { (months * 1e8).round() / 1e8 })
    });
    Ok(Arc::new(months.collect::<Float64Array>()))
}

/// Months of 31 days; whole ones between equal days of the month and between last days.
#[expect(clippy::cast_precision_loss, reason = "months and seconds of a month are small")]
fn fractional_months(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    let months = months_apart(from, to) as f64;
    let last = |moment: DateTime<Utc>| {
        moment.date_naive().checked_add_days(Days::new(1)).is_some_and(|next| next.month() != moment.month())
    };
    if from.day() == to.day() || (last(from) && last(to)) {
        return months;
    }
    let within = |moment: DateTime<Utc>| i64::from(moment.day()) * 86_400 + moment.timestamp().rem_euclid(86_400);
    months + (within(to) - within(from)) as f64 / (31.0 * 86_400.0)
}

fn make_timestamp_types(types: &[DataType]) -> Result<Typed> {
    if types.len() != 6 {
        return plan_err!("make_timestamp takes year, month, day, hour, minute and seconds");
    }
    let mut arguments = vec![DataType::Int32; 5];
    arguments.push(DataType::Float64);
    Ok((arguments, utc()))
}

fn make_timestamp(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let [_, _, _, _, _, seconds] = arguments else { return exec_err!("make_timestamp lacks arguments") };
    let rows = (0..seconds.len()).map(|row| {
        let part = |at: usize| value::<Int32Type>(&arguments[at], row);
        let positive = |at: usize| u32::try_from(part(at)?).ok();
        let date = NaiveDate::from_ymd_opt(part(0)?, positive(1)?, positive(2)?)?;
        let minute = date.and_hms_opt(positive(3)?, positive(4)?, 0)?.and_utc().timestamp_micros();
        let seconds = value::<Float64Type>(seconds, row)?;
        #[expect(clippy::cast_possible_truncation, reason = "at most 60 seconds")]
        (0.0..=60.0).contains(&seconds).then(|| minute + (seconds * 1e6).round() as i64)
    });
    Ok(timestamps(rows))
}
