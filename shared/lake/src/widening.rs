//! The types that a column's type may grow to, with the files that have its values left as they are: those of
//! [Delta's type widening](https://github.com/delta-io/delta/blob/master/PROTOCOL.md#type-widening).
//!
//! Elements of arrays, keys and values of maps keep their types: only columns and fields of structs widen.

use arrow::array::StringArray;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};

/// What columns may become when values come that they don't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// There may be more of them.
    Columns,
    /// Their types may be wider, too.
    Types,
}

impl Growth {
    pub(crate) const fn of(widens: bool) -> Self {
        if widens { Self::Types } else { Self::Columns }
    }
}

/// The type for values of both types, if a column of the first may have it; the first itself where it holds both.
pub(crate) fn widened(old: &DataType, new: &DataType) -> Option<DataType> {
    use DataType::{Date32, Decimal128, Float32, Float64, Timestamp};
    let local = || Timestamp(TimeUnit::Microsecond, None);
    match (old, new) {
        (old, new) if old.equals_datatype(new) => Some(old.clone()),
        (Float32, Float64) => Some(Float64),
        (Float64, Float32) => Some(Float64),
        (Date32, Timestamp(_, None)) | (Timestamp(TimeUnit::Microsecond, None), Date32) => Some(local()),
        (Decimal128(..), Decimal128(..)) => decimal_of_both(old, new),
        (Decimal128(..), _) | (_, Decimal128(..)) => match (digits(old), digits(new)) {
            (Some(_), Some(_)) => decimal_of_both(old, new),
            _ => None,
        },
        (whole, Float64) | (Float64, whole) => (bits(whole)? <= 32).then_some(Float64),
        (old, new) => {
            let wider = if bits(old)? < bits(new)? { new } else { old };
            Some(wider.clone())
        }
    }
}

/// The wider type that a column needs for a value, which is written as text here; `None` if the column holds it, or if
/// there is none. A whole number needs what whole numbers are inferred as.
pub(crate) fn widened_for(old: &DataType, text: &str) -> Option<DataType> {
    let is_number = text.bytes().next().is_some_and(|first| first == b'-' || first.is_ascii_digit());
    if !is_number || digits(old).is_none() || holds(old, text) {
        return None;
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_whole = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    let is_decimal = matches!(old, DataType::Decimal128(..));
    let needed = match unsigned.split_once('.') {
        None if is_whole(unsigned) && !is_decimal && text.parse::<i64>().is_ok() => DataType::Int64,
        None if is_whole(unsigned) => decimal(unsigned.trim_start_matches('0').len(), 0)?,
        Some((whole, fraction)) if is_decimal && is_whole(whole) && is_whole(fraction) => {
            decimal(whole.trim_start_matches('0').len() + fraction.len(), fraction.len())?
        }
        _ => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| DataType::Float64)?,
    };
    widened(old, &needed).filter(|wider| wider != old)
}

/// Whether a change of a column's type, in Delta's words, is one whose files are read here.
pub(crate) fn is_supported(from: &str, to: &str) -> bool {
    let named = |name: &str| {
        Some(match name {
            "byte" => DataType::Int8,
            "short" => DataType::Int16,
            "integer" => DataType::Int32,
            "long" => DataType::Int64,
            "float" => DataType::Float32,
            "double" => DataType::Float64,
            "date" => DataType::Date32,
            "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => {
                let (precision, scale) = other.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
                DataType::Decimal128(precision.trim().parse().ok()?, scale.trim().parse().ok()?)
            }
        })
    };
    let types = named(from).zip(named(to));
    types.is_some_and(|(from, to)| widened(&from, &to).is_some_and(|wider| wider == to))
}

/// Whether a column takes a number without loss.
fn holds(data_type: &DataType, text: &str) -> bool {
    // A fraction of zeros is none.
    let text = match text.split_once('.') {
        Some((whole, fraction)) if fraction.trim_end_matches('0').is_empty() => whole,
        Some(_) | None => text,
    };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&StringArray::from_iter_values([text]), data_type, &strict).is_ok()
}

/// Bits of a whole number's type.
const fn bits(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 => Some(8),
        DataType::Int16 => Some(16),
        DataType::Int32 => Some(32),
        DataType::Int64 => Some(64),
        _ => None,
    }
}

/// Digits before and after the point of numbers that a decimal can hold.
fn digits(data_type: &DataType) -> Option<(usize, usize)> {
    match data_type {
        DataType::Decimal128(precision, scale) => {
            let scale = usize::try_from(*scale).ok()?;
            Some((usize::from(*precision).checked_sub(scale)?, scale))
        }
        DataType::Int64 => Some((20, 0)),
        whole => bits(whole).map(|_| (10, 0)),
    }
}

fn decimal_of_both(old: &DataType, new: &DataType) -> Option<DataType> {
    let ((whole, fraction), (new_whole, new_fraction)) = (digits(old)?, digits(new)?);
    let fraction = fraction.max(new_fraction);
    decimal(whole.max(new_whole) + fraction, fraction)
}

fn decimal(precision: usize, scale: usize) -> Option<DataType> {
    let precision = u8::try_from(precision.max(1)).ok().filter(|precision| *precision <= DECIMAL128_MAX_PRECISION)?;
    Some(DataType::Decimal128(precision, i8::try_from(scale).ok()?))
}
