//! Functions between texts, dates and timestamps.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Date32Array, Int64Array, PrimitiveArray, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Utc};
use datafusion::common::{DataFusionError, Result, plan_err};

use super::pattern::{self, Pattern};
use super::text::texts;
use super::{RowFunction, Typed};

const MICROS: i64 = 1_000_000;
/// Days from the common era's first to 1970-01-01.
const EPOCH: i32 = 719_163;

pub(super) fn functions() -> Vec<RowFunction> {
    vec![
        RowFunction::new("to_timestamp", |types| read_types("to_timestamp", types, utc()), to_timestamp),
        RowFunction::new("try_to_timestamp", |types| read_types("try_to_timestamp", types, utc()), to_timestamp),
        RowFunction::new("to_date", |types| read_types("to_date", types, DataType::Date32), to_date),
        RowFunction::new("try_to_date", |types| read_types("try_to_date", types, DataType::Date32), to_date),
        RowFunction::new(
            "unix_timestamp",
            |types| read_types("unix_timestamp", types, DataType::Int64),
            unix_timestamp,
        ),
        RowFunction::new(
            "to_unix_timestamp",
            |types| read_types("to_unix_timestamp", types, DataType::Int64),
            unix_timestamp,
        ),
        RowFunction::new("date_format", date_format_types, date_format),
        RowFunction::new("from_unixtime", from_unixtime_types, from_unixtime),
        text_to_timestamp(),
        text_to_date(),
        text_of_moment(),
        seconds_of(),
        timestamp_of_seconds(),
    ]
}

/// The one type of timestamps: microseconds in UTC.
pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// `text_to_timestamp(text)`: as Spark casts; NULL for other texts.
pub(crate) fn text_to_timestamp() -> RowFunction {
    RowFunction::new(
        "text_to_timestamp",
        |types| texts("text_to_timestamp", types, 1, utc()),
        |arguments| Ok(timestamps(arguments[0].as_string::<i32>().iter().map(|text| pattern::timestamp(text?)))),
    )
}

/// `text_to_date(text)`: as Spark casts; NULL for other texts.
pub(crate) fn text_to_date() -> RowFunction {
    RowFunction::new(
        "text_to_date",
        |types| texts("text_to_date", types, 1, DataType::Date32),
        |arguments| {
            let days = arguments[0].as_string::<i32>().iter();
            let days: Date32Array = days.map(|text| Some(pattern::date(text?)?.num_days_from_ce() - EPOCH)).collect();
            Ok(Arc::new(days))
        },
    )
}

/// `text_of_moment(timestamp)`: as Spark casts.
pub(crate) fn text_of_moment() -> RowFunction {
    RowFunction::new(
        "text_of_moment",
        |types| one("text_of_moment", types, utc(), DataType::Utf8),
        |arguments| {
            let (mut texts, mut text) = (StringBuilder::new(), String::new());
            for moment in moments(&arguments[0]) {
                text.clear();
                match moment {
                    Some(moment) => {
                        pattern::write(moment, &mut text);
                        texts.append_value(&text);
                    }
                    None => texts.append_null(),
                }
            }
            Ok(Arc::new(texts.finish()))
        },
    )
}

/// `seconds_of(timestamp)`: whole seconds since 1970.
pub(crate) fn seconds_of() -> RowFunction {
    RowFunction::new(
        "seconds_of",
        |types| one("seconds_of", types, utc(), DataType::Int64),
        |arguments| {
            let micros: &PrimitiveArray<TimestampMicrosecondType> = arguments[0].as_primitive();
            Ok(Arc::new(micros.unary::<_, Int64Type>(|micros| micros.div_euclid(MICROS))))
        },
    )
}

/// `timestamp_of_seconds(number)`: that many seconds after 1970.
pub(crate) fn timestamp_of_seconds() -> RowFunction {
    RowFunction::new("timestamp_of_seconds", seconds_types, |arguments| {
        if let Some(seconds) = arguments[0].as_primitive_opt::<Int64Type>() {
            return Ok(timestamps(seconds.iter().map(|seconds| seconds?.checked_mul(MICROS))));
        }
        let seconds = arguments[0].as_primitive::<Float64Type>().iter();
        Ok(timestamps(seconds.map(|seconds| micros(seconds?))))
    })
}

#[expect(clippy::cast_possible_truncation, reason = "what doesn't fit was made NULL")]
fn micros(seconds: f64) -> Option<i64> {
    let micros = (seconds * 1e6).floor();
    (micros.abs() < 9.2e18).then_some(micros as i64)
}

fn seconds_types(types: &[DataType]) -> Result<Typed> {
    let argument = if types.first().is_some_and(DataType::is_integer) { DataType::Int64 } else { DataType::Float64 };
    one("timestamp_of_seconds", types, argument, utc())
}

/// One argument of a type.
pub(super) fn one(name: &str, types: &[DataType], argument: DataType, result: DataType) -> Result<Typed> {
    if types.len() != 1 {
        return plan_err!("{name} takes one argument, not {}", types.len());
    }
    Ok((vec![argument], result))
}

/// A text and perhaps a pattern; or a date, a timestamp or seconds, and no matter which pattern.
fn read_types(name: &str, types: &[DataType], result: DataType) -> Result<Typed> {
    let first = match types {
        [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null] | [_, _] => DataType::Utf8,
        [DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)] => utc(),
        [number] if number.is_integer() && matches!(result, DataType::Timestamp(..)) => DataType::Int64,
        [other] => return plan_err!("{name} takes a text, a date or a timestamp, not {other}"),
        _ => return plan_err!("{name} takes a text and a pattern, not {} arguments", types.len()),
    };
    let moment = types.first().is_some_and(|first| first.is_temporal());
    let first = if moment { utc() } else { first };
    let patterns = std::iter::repeat_n(DataType::Utf8, types.len() - 1);
    Ok((std::iter::once(first).chain(patterns).collect(), result))
}

/// What [`read_types`] allows, as microseconds.
fn read(arguments: &[ArrayRef], plain: fn(&str) -> Option<i64>) -> Result<Vec<Option<i64>>> {
    if let Some(moments) = arguments[0].as_primitive_opt::<TimestampMicrosecondType>() {
        return Ok(moments.iter().collect());
    }
    if let Some(seconds) = arguments[0].as_primitive_opt::<Int64Type>() {
        return Ok(seconds.iter().map(|seconds| seconds?.checked_mul(MICROS)).collect());
    }
    let texts = arguments[0].as_string::<i32>();
    let Some(patterns) = arguments.get(1) else {
        return Ok(texts.iter().map(|text| plain(text?)).collect());
    };
    let mut compiled = Patterns::default();
    let rows = texts.iter().zip(patterns.as_string::<i32>());
    rows.map(|(text, pattern)| match (text, pattern) {
        (Some(text), Some(pattern)) => Ok(compiled.compiled(pattern)?.parse(text)),
        (None, _) | (_, None) => Ok(None),
    })
    .collect()
}

fn to_timestamp(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    Ok(timestamps(read(arguments, pattern::timestamp)?.into_iter()))
}

fn to_date(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let days = read(arguments, midnight)?.into_iter();
    let days: Date32Array = days.map(|micros| i32::try_from(micros?.div_euclid(86_400 * MICROS)).ok()).collect();
    Ok(Arc::new(days))
}

fn midnight(text: &str) -> Option<i64> {
    Some(i64::from(pattern::date(text)?.num_days_from_ce() - EPOCH) * 86_400 * MICROS)
}

fn unix_timestamp(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let micros = read(arguments, pattern::timestamp)?.into_iter();
    Ok(Arc::new(micros.map(|micros| Some(micros?.div_euclid(MICROS))).collect::<Int64Array>()))
}

fn date_format_types(types: &[DataType]) -> Result<Typed> {
    match types {
        [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, _] => {
            Ok((vec![DataType::Utf8, DataType::Utf8], DataType::Utf8))
        }
        [_, _] => Ok((vec![utc(), DataType::Utf8], DataType::Utf8)),
        other => plan_err!("date_format takes a date or timestamp and a pattern, not {} arguments", other.len()),
    }
}

fn date_format(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let moments = read(&arguments[..1], pattern::timestamp)?;
    formatted(&moments, &arguments[1])
}

fn from_unixtime_types(types: &[DataType]) -> Result<Typed> {
    match types.len() {
        1 => Ok((vec![DataType::Int64], DataType::Utf8)),
        2 => Ok((vec![DataType::Int64, DataType::Utf8], DataType::Utf8)),
        other => plan_err!("from_unixtime takes seconds and a pattern, not {other} arguments"),
    }
}

fn from_unixtime(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let seconds = arguments[0].as_primitive::<Int64Type>();
    let moments: Vec<_> = seconds.iter().map(|seconds| seconds?.checked_mul(MICROS)).collect();
    let default: ArrayRef = Arc::new(StringArray::from(vec!["yyyy-MM-dd HH:mm:ss"; moments.len()]));
    formatted(&moments, arguments.get(1).unwrap_or(&default))
}

fn formatted(moments: &[Option<i64>], patterns: &ArrayRef) -> Result<ArrayRef> {
    let mut compiled = Patterns::default();
    let (mut texts, mut text) = (StringBuilder::new(), String::new());
    for (micros, pattern) in moments.iter().zip(patterns.as_string::<i32>()) {
        let (Some(moment), Some(pattern)) = (micros.and_then(DateTime::from_timestamp_micros), pattern) else {
            texts.append_null();
            continue;
        };
        text.clear();
        compiled.compiled(pattern)?.write(moment, &mut text);
        texts.append_value(&text);
    }
    Ok(Arc::new(texts.finish()))
}

/// Compiles a pattern once while it stays the same.
#[derive(Default)]
struct Patterns {
    last: Option<(String, Pattern)>,
}

impl Patterns {
    fn compiled(&mut self, text: &str) -> Result<&Pattern> {
        if self.last.as_ref().is_none_or(|(last, _)| last != text) {
            let pattern = Pattern::compile(text).map_err(DataFusionError::Plan)?;
            self.last = Some((text.to_owned(), pattern));
        }
        match &self.last {
            Some((_, pattern)) => Ok(pattern),
            None => plan_err!("no pattern"),
        }
    }
}

/// Timestamps of microseconds.
pub(super) fn timestamps(micros: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// The moments of a column of timestamps.
pub(super) fn moments(array: &ArrayRef) -> impl Iterator<Item = Option<DateTime<Utc>>> {
    let micros = array.as_primitive::<TimestampMicrosecondType>();
    micros.iter().map(|micros| DateTime::from_timestamp_micros(micros?))
}

/// A row's value, if it isn't NULL.
pub(super) fn value<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> Option<T::Native> {
    let values = array.as_primitive::<T>();
    values.is_valid(row).then(|| values.value(row))
}
