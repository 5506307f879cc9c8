//! What a data file's row groups tell of its columns, as Delta's log has it:
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics>.
//!
//! Bounds are those that Parquet keeps: of long strings a lower and an upper bound that aren't values. Where one group doesn't
//! tell them, nothing is said of the column; a group of which all values are NULL has none. Lists and maps have no statistics, and bytes no bounds.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Timelike};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Map, Value, json};

/// Decimals of fewer digits are the same in JSON, where numbers are read as floating-point ones.
const EXACT_DECIMALS: i128 = 1_000_000_000_000_000;

/// Days from the first one of the calendar to that which Parquet counts from.
const EPOCH: i32 = 719_163;

/// A smallest or largest value.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Bound {
    Flag(bool),
    Whole(i128),
    Real(f64),
    Text(String),
}

/// What is known of the values of a column.
#[derive(Debug)]
enum Extent {
    /// There are none but NULL.
    Empty,
    Between(Bound, Bound),
    Unknown,
}

/// The statistics of a file with these groups, all of the same columns.
pub(super) fn statistics(groups: &[RowGroupMetaData]) -> Value {
    let rows: i64 = groups.iter().map(RowGroupMetaData::num_rows).sum();
    let [mut smallest, mut largest, mut nulls] = [Map::new(), Map::new(), Map::new()];
    let columns = groups.first().map_or(&[][..], RowGroupMetaData::columns);
    for (at, column) in columns.iter().enumerate().filter(|(_, column)| column.column_descr().max_rep_level() == 0) {
        let (column, path) = (column.column_descr(), column.column_path().parts());
        let chunks = || groups.iter().map(|group| group.column(at));
        if let Some((min, max)) = rendered(chunks().map(extent).fold(Extent::Empty, Extent::with), column) {
            put(&mut smallest, path, min);
            put(&mut largest, path, max);
        }
        let count = |chunk: &ColumnChunkMetaData| chunk.statistics()?.null_count_opt();
        if let Some(count) = chunks().map(count).sum::<Option<u64>>() {
            put(&mut nulls, path, count.into());
        }
    }
    json!({"numRecords": rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls})
}

/// Bounds of a top-level column of a group, as a file's statistics would give them.
pub(crate) fn bounds(group: &RowGroupMetaData, name: &str) -> Option<(Value, Value)> {
    let column = column_of(group, name)?;
    rendered(extent(column), column.column_descr())
}

/// Whether a top-level column of a group may hold NULL; one that isn't there does.
pub(crate) fn may_hold_null(group: &RowGroupMetaData, name: &str) -> bool {
    column_of(group, name).and_then(|column| column.statistics()?.null_count_opt()) != Some(0)
}

fn column_of<'a>(group: &'a RowGroupMetaData, name: &str) -> Option<&'a ColumnChunkMetaData> {
    group.columns().iter().find(|column| matches!(column.column_path().parts(), [only] if only == name))
}

impl Extent {
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Empty, other) | (other, Self::Empty) => other,
            (Self::Between(min, max), Self::Between(other_min, other_max)) => {
                match (min.partial_cmp(&other_min), max.partial_cmp(&other_max)) {
                    (Some(mins), Some(maxes)) => Self::Between(
                        if mins == Ordering::Greater { other_min } else { min },
                        if maxes == Ordering::Less { other_max } else { max },
                    ),
                    _ => Self::Unknown,
                }
            }
        }
    }
}

fn extent(chunk: &ColumnChunkMetaData) -> Extent {
    let Some(statistics) = chunk.statistics() else { return Extent::Unknown };
    let values = u64::try_from(chunk.num_values()).ok();
    if statistics.null_count_opt().is_some() && statistics.null_count_opt() == values {
        return Extent::Empty;
    }
    match between(statistics, chunk.column_descr()).filter(|_| !statistics.is_min_max_deprecated()) {
        Some((min, max)) if min <= max => Extent::Between(min, max),
        Some(_) | None => Extent::Unknown,
    }
}

fn between(statistics: &Statistics, column: &ColumnDescriptor) -> Option<(Bound, Bound)> {
    let whole = |min: i128, max: i128| (Bound::Whole(min), Bound::Whole(max));
    let real = |min: f64, max: f64| (Bound::Real(min), Bound::Real(max));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().map(Bound::Text);
    Some(match statistics {
        Statistics::Boolean(values) => (Bound::Flag(*values.min_opt()?), Bound::Flag(*values.max_opt()?)),
        Statistics::Int32(values) => whole((*values.min_opt()?).into(), (*values.max_opt()?).into()),
        Statistics::Int64(values) => whole((*values.min_opt()?).into(), (*values.max_opt()?).into()),
        Statistics::Float(values) => real((*values.min_opt()?).into(), (*values.max_opt()?).into()),
        Statistics::Double(values) => real(*values.min_opt()?, *values.max_opt()?),
        Statistics::ByteArray(values) if is_text(column) => {
            (text(values.min_bytes_opt()?)?, text(values.max_bytes_opt()?)?)
        }
        Statistics::FixedLenByteArray(values) if scale(column).is_some() => {
            whole(signed(values.min_bytes_opt()?)?, signed(values.max_bytes_opt()?)?)
        }
        Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_) | Statistics::Int96(_) => return None,
    })
}

fn is_text(column: &ColumnDescriptor) -> bool {
    matches!(column.logical_type_ref(), Some(LogicalType::String)) || column.converted_type() == ConvertedType::UTF8
}

/// The digits after the point of a decimal.
fn scale(column: &ColumnDescriptor) -> Option<i32> {
    match column.logical_type_ref() {
        Some(LogicalType::Decimal(decimal)) => Some(decimal.scale),
        _ => None,
    }
}

/// A number from its bytes, the highest first.
fn signed(bytes: &[u8]) -> Option<i128> {
    let is_negative = bytes.first()? & 0x80 != 0;
    let mut whole = [if is_negative { 0xff } else { 0 }; 16];
    whole.get_mut(16_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}

fn rendered(extent: Extent, column: &ColumnDescriptor) -> Option<(Value, Value)> {
    match extent {
        Extent::Between(min, max) => Some((value(min, column)?, value(max, column)?)),
        Extent::Empty | Extent::Unknown => None,
    }
}

/// A value as the log has it; `None` for one that it can't give exactly.
fn value(bound: Bound, column: &ColumnDescriptor) -> Option<Value> {
    match bound {
        Bound::Flag(flag) => Some(flag.into()),
        Bound::Text(text) => Some(text.into()),
        Bound::Real(number) => serde_json::Number::from_f64(number).map(Value::Number),
        Bound::Whole(number) => whole(number, column),
    }
}

fn whole(number: i128, column: &ColumnDescriptor) -> Option<Value> {
    match column.logical_type_ref() {
        Some(LogicalType::Date) => {
            let date = NaiveDate::from_num_days_from_ce_opt(i32::try_from(number).ok()?.checked_add(EPOCH)?)?;
            Some(date.format("%Y-%m-%d").to_string().into())
        }
        Some(LogicalType::Timestamp(time)) => {
            let number = i64::try_from(number).ok()?;
            let moment = match time.unit {
                TimeUnit::MILLIS => DateTime::from_timestamp_millis(number)?,
                TimeUnit::MICROS => DateTime::from_timestamp_micros(number)?,
                TimeUnit::NANOS => DateTime::from_timestamp_nanos(number),
            };
            let [date_to_time, zone] = if time.is_adjusted_to_u_t_c { ["T", "Z"] } else { [" ", ""] };
            Some(moment_text(moment.naive_utc(), date_to_time, zone).into())
        }
        Some(LogicalType::Decimal(decimal)) if decimal.scale > 0 => {
            let is_exact = number.abs() < EXACT_DECIMALS;
            #[expect(clippy::cast_precision_loss, reason = "numbers of so few digits are exact")]
            let scaled = number as f64 / 10_f64.powi(decimal.scale);
            is_exact.then_some(scaled).and_then(serde_json::Number::from_f64).map(Value::Number)
        }
        _ => i64::try_from(number).ok().map(Value::from),
    }
}

/// A time to the millisecond, as the protocol has it.
fn moment_text(moment: NaiveDateTime, date_to_time: &str, zone: &str) -> String {
    let fraction = if moment.nanosecond() == 0 { "" } else { "%.3f" };
    moment.format(&format!("%Y-%m-%d{date_to_time}%H:%M:%S{fraction}{zone}")).to_string()
}

fn put(map: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => drop(map.insert(name.clone(), value)),
        [first, rest @ ..] => {
            if let Value::Object(inner) = map.entry(first.clone()).or_insert_with(|| Value::Object(Map::new())) {
                put(inner, rest, value);
            }
        }
    }
}
