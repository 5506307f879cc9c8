//! Conditions by which a log is asked for files.
//!
//! The log rules files out while it is read, by their statistics and partitions, so that nothing is made of the others.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use delta_kernel::expressions::Scalar;
use delta_kernel::{Expression, Predicate};

/// What the rows that are looked for fulfil.
#[derive(Debug, Clone)]
pub(crate) struct Condition(Predicate);

impl Condition {
    /// A column lies between two values of its type; `None` for types whose values aren't compared.
    pub(crate) fn between(column: &str, lowest: &ScalarValue, highest: &ScalarValue) -> Option<Self> {
        let (lowest, highest) = (literal(lowest)?, literal(highest)?);
        let value = || Expression::column([column]);
        Some(Self(Predicate::and(Predicate::ge(value(), lowest), Predicate::le(value(), highest))))
    }

    /// A column is at or after a value of its type, or NULL; `None` for types whose values aren't compared.
    pub(crate) fn from_or_null(column: &str, first: &ScalarValue) -> Option<Self> {
        let value = || Expression::column([column]);
        Some(Self(Predicate::or(Predicate::ge(value(), literal(first)?), Predicate::is_null(value()))))
    }

    /// Both conditions.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(Predicate::and(self.0, other.0))
    }

    pub(crate) fn into_predicate(self) -> Arc<Predicate> {
        Arc::new(self.0)
    }
}

fn literal(value: &ScalarValue) -> Option<Expression> {
    let scalar = match value {
        ScalarValue::Int8(Some(number)) => Scalar::Byte(*number),
        ScalarValue::Int16(Some(number)) => Scalar::Short(*number),
        ScalarValue::Int32(Some(number)) => Scalar::Integer(*number),
        ScalarValue::Int64(Some(number)) => Scalar::Long(*number),
        ScalarValue::Utf8(Some(text)) => Scalar::String(text.clone()),
        ScalarValue::Date32(Some(days)) => Scalar::Date(*days),
        ScalarValue::TimestampMicrosecond(Some(micros), Some(_)) => Scalar::Timestamp(*micros),
        ScalarValue::TimestampMicrosecond(Some(micros), None) => Scalar::TimestampNtz(*micros),
        _ => return None,
    };
    Some(Expression::literal(scalar))
}
