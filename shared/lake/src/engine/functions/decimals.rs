//! Division of decimals.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::compute::kernels::arity::binary;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, i256};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;

use super::{RowFunction, Typed};

/// Digits after the point that a quotient keeps even where its precision is cut.
const LEAST_SCALE: i16 = 6;

/// `decimal_divide(a, b)` of two decimals: rounded half up, NULL by zero or where it doesn't fit.
pub(crate) fn divide() -> Arc<ScalarUDF> {
    static DIVIDE: LazyLock<Arc<ScalarUDF>> =
        LazyLock::new(|| super::shared(RowFunction::new("decimal_divide", types, run)));
    Arc::clone(&DIVIDE)
}

/// The precision of a decimal that holds every value of an integer type.
pub(crate) fn decimal_of(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Int8 | DataType::UInt8 => 3,
        DataType::Int16 | DataType::UInt16 => 5,
        DataType::Int32 | DataType::UInt32 => 10,
        _ => 20,
    }
}

fn types(types: &[DataType]) -> Result<Typed> {
    match types {
        [DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)] => {
            let result = quotient_type((*p1, *s1), (*p2, *s2));
            Ok((types.to_vec(), result))
        }
        other => plan_err!("decimal_divide takes two decimals, not {other:?}"),
    }
}

/// Spark's type of a quotient: of 38 digits at most, cut after the point first.
fn quotient_type((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> DataType {
    let (p1, s1, p2, s2) = (i16::from(p1), i16::from(s1), i16::from(p2), i16::from(s2));
    let scale = LEAST_SCALE.max(s1 + p2 + 1);
    let precision = p1 - s1 + s2 + scale;
    let most = i16::from(DECIMAL128_MAX_PRECISION);
    let (precision, scale) = match precision - most {
        ..=0 => (precision, scale),
        _ => (most, (most - (precision - scale)).max(scale.min(LEAST_SCALE))),
    };
    let digits = |count: i16| u8::try_from(count).unwrap_or(DECIMAL128_MAX_PRECISION);
    DataType::Decimal128(digits(precision), digits(scale).cast_signed())
}

fn run(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let [left, right] = arguments else { return exec_err!("decimal_divide takes two decimals") };
    let (_, result) = types(&[left.data_type().clone(), right.data_type().clone()])?;
    let (DataType::Decimal128(precision, scale), DataType::Decimal128(_, s1), DataType::Decimal128(_, s2)) =
        (&result, left.data_type(), right.data_type())
    else {
        return exec_err!("decimal_divide takes two decimals");
    };
    let shift = i16::from(*scale) + i16::from(*s2) - i16::from(*s1);
    let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    // What can't be is marked by a number that no precision allows, and made NULL at once.
    let quotients: Decimal128Array = binary(left, right, |a, b| quotient(a, b, shift).unwrap_or(i128::MAX))?;
    let fitting = quotients.null_if_overflow_precision(*precision);
    Ok(Arc::new(fitting.with_precision_and_scale(*precision, *scale)?))
}

/// `a * 10^shift / b`, rounded half up; in 256 bits where 128 are too few.
fn quotient(a: i128, b: i128, shift: i16) -> Option<i128> {
    let power = 10_i128.checked_pow(u32::from(shift.unsigned_abs()))?;
    let narrow = if shift < 0 { Some(a).zip(b.checked_mul(power)) } else { a.checked_mul(power).zip(Some(b)) };
    if let Some((a, b)) = narrow {
        let rest = a.checked_rem(b)?.unsigned_abs();
        return Some(a.checked_div(b)? + if rest >= b.unsigned_abs() - rest { sign(a, b) } else { 0 });
    }
    let (wide, power) = ((i256::from_i128(a), i256::from_i128(b)), i256::from_i128(power));
    let (x, y) = if shift < 0 { (wide.0, wide.1.checked_mul(power)?) } else { (wide.0.checked_mul(power)?, wide.1) };
    let rest = x.checked_rem(y)?.wrapping_abs();
    let whole = x.checked_div(y)?.to_i128()?;
    whole.checked_add(if rest >= y.wrapping_abs().checked_sub(rest)? { sign(a, b) } else { 0 })
}

fn sign(a: i128, b: i128) -> i128 {
    if (a < 0) == (b < 0) { 1 } else { -1 }
}
