//! `round(number[, digits])`: half up, as Spark does.
//!
//! Of a floating point number Spark rounds the shortest decimal that stands for it: 1.005 gives 1.01, though the
//! nearest double is below.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, Int32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Round {
    signature: Signature,
}

impl Round {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &'static str {
        "round"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let ([number] | [number, _]) = types else {
            return plan_err!("round takes a number and perhaps digits, not {} arguments", types.len());
        };
        let number = match number {
            DataType::Decimal128(..) | DataType::Float32 | DataType::Int32 | DataType::Int64 => number.clone(),
            DataType::Int8 | DataType::Int16 => DataType::Int32,
            _ => DataType::Float64,
        };
        Ok([number, DataType::Int64].into_iter().take(types.len()).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("round takes its digits as a constant")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let digits = match args.scalar_arguments {
            [_, digits] => digits.and_then(|digits| i64::try_from(digits.clone()).ok()),
            _ => Some(0),
        };
        let data_type = match (args.arg_fields[0].data_type(), digits) {
            (DataType::Decimal128(precision, scale), Some(digits)) => rounded_type(*precision, *scale, digits)?,
            (DataType::Decimal128(..), None) => return plan_err!("round takes the digits of a decimal as a constant"),
            (other, _) => other.clone(),
        };
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = args.return_type().clone();
        super::run(&args.args, |arguments| round(arguments, &data_type))
    }
}

/// Spark's type of a rounded decimal.
fn rounded_type(precision: u8, scale: i8, digits: i64) -> Result<DataType> {
    let Ok(digits) = u8::try_from(digits) else {
        return plan_err!("round takes no negative digits for a decimal; cast it to DOUBLE or BIGINT");
    };
    let kept = scale.min(i8::try_from(digits).unwrap_or(i8::MAX));
    if kept == scale {
        return Ok(DataType::Decimal128(precision, scale));
    }
    let precision = (i16::from(precision) - i16::from(scale) + 1 + i16::from(kept)).clamp(1, 38);
    Ok(DataType::Decimal128(u8::try_from(precision).unwrap_or(38), kept))
}

fn round(arguments: &[ArrayRef], result: &DataType) -> Result<ArrayRef> {
    let numbers = &arguments[0];
    if let DataType::Decimal128(..) = result {
        // A cast to a smaller scale rounds half up.
        return Ok(cast(numbers, result)?);
    }
    let digits = match arguments.get(1) {
        Some(digits) => constant(digits.as_primitive())?,
        None => Some(0),
    };
    let Some(digits) = digits else { return Ok(arrow::array::new_null_array(result, numbers.len())) };
    Ok(match result {
        DataType::Float64 => {
            Arc::new(numbers.as_primitive::<Float64Type>().unary::<_, Float64Type>(|it| half_up(it, digits)))
        }
        #[expect(clippy::cast_possible_truncation, reason = "it was a float before")]
        DataType::Float32 => {
            let numbers: &Float32Array = numbers.as_primitive::<Float32Type>();
            Arc::new(numbers.unary::<_, Float32Type>(|it| half_up(f64::from(it), digits) as f32))
        }
        DataType::Int32 => {
            let numbers: &Int32Array = numbers.as_primitive::<Int32Type>();
            Arc::new(numbers.unary_opt::<_, Int32Type>(|it| i32::try_from(whole(i64::from(it), digits)?).ok()))
        }
        _ => {
            let numbers: &Int64Array = numbers.as_primitive::<Int64Type>();
            Arc::new(numbers.unary_opt::<_, Int64Type>(|it| whole(it, digits)))
        }
    })
}

/// The one number of digits for all rows.
fn constant(digits: &Int64Array) -> Result<Option<i32>> {
    let first = digits.iter().next().flatten();
    if digits.iter().any(|other| other != first) {
        return exec_err!("round takes the same digits for all rows");
    }
    Ok(first.and_then(|first| i32::try_from(first.clamp(-400, 400)).ok()))
}

/// An integer to so many digits before its end, which are negative ones.
fn whole(value: i64, digits: i32) -> Option<i64> {
    if digits >= 0 {
        return Some(value);
    }
    let Some(unit) = 10_i64.checked_pow(digits.unsigned_abs()) else { return Some(0) };
    let rest = value % unit;
    let up = rest.unsigned_abs() >= unit.unsigned_abs() - rest.unsigned_abs();
    (value - rest).checked_add(if up { unit * value.signum() } else { 0 })
}

/// Beyond this a double has no fraction.
const WHOLE: f64 = 4_503_599_627_370_496.0;

fn half_up(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits.abs());
    let size = value.abs();
    let scaled = if digits >= 0 { size * factor } else { size / factor };
    if !scaled.is_finite() || (digits >= 0 && scaled >= WHOLE) {
        return value;
    }
    let (whole, rest) = (scaled.trunc(), scaled.fract());
    let tie = (rest - 0.5).abs() <= scaled.max(1.0) * f64::EPSILON * 2.0;
    let up = if tie { is_up(size, digits) } else { rest > 0.5 };
    let whole = if up { whole + 1.0 } else { whole };
    let rounded = if digits >= 0 { whole / factor } else { whole * factor };
    rounded.copysign(value)
}

/// Whether the shortest decimal of a number has a digit of 5 or more after those that are kept.
fn is_up(size: f64, digits: i32) -> bool {
    let Ok(digits) = usize::try_from(digits) else { return true };
    let text = size.to_string();
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    fraction.as_bytes().get(digits).is_some_and(|digit| *digit >= b'5')
}
