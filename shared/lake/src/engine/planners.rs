//! How types, operators and subscripts of SQL are planned.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::functions_nested::extract::array_element_udf;
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr, TypePlanner};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, Operator, binary_expr, lit, when};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator};

use super::functions::{decimal_of, divide, utc};
use super::types::arrow_type;

/// Spark's types: a timestamp is one of microseconds in UTC.
#[derive(Debug)]
pub(super) struct SparkTypes;

impl TypePlanner for SparkTypes {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        Ok(arrow_type(sql_type).map(|data_type| Arc::new(Field::new("", data_type, true))))
    }
}

/// Spark's operators: `/` isn't of integers, nothing divides by zero, a literal beside a decimal is as
/// short as it is written, and `array[i]` counts from 0.
#[derive(Debug)]
pub(super) struct SparkOperators;

impl ExprPlanner for SparkOperators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        let types = (left.get_type(schema)?, right.get_type(schema)?);
        let planned = match (&op, &types) {
            (BinaryOperator::Divide, types) => quotient(left, right, types),
            (BinaryOperator::MyIntegerDivide | BinaryOperator::DuckIntegerDivide, _) => {
                let long = |expr: Expr| Expr::TryCast(TryCast::new(Box::new(expr), DataType::Int64));
                binary_expr(long(left), Operator::Divide, nullif(long(right), lit(0_i64)))
            }
            (BinaryOperator::Minus, (DataType::Date32, DataType::Date32)) => {
                binary_expr(cast(left, utc()), Operator::Minus, cast(right, utc()))
            }
            (BinaryOperator::Plus, _) => exact(Operator::Plus, left, right, &types),
            (BinaryOperator::Minus, _) => exact(Operator::Minus, left, right, &types),
            (BinaryOperator::Multiply, _) => exact(Operator::Multiply, left, right, &types),
            (BinaryOperator::Modulo, _) => {
                let right = not_zero(right, &types.1)?;
                exact(Operator::Modulo, left, right, &types)
            }
            _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(planned))
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { expr, field_access } = access;
        let list =
            matches!(expr.get_type(schema)?, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..));
        match field_access {
            GetFieldAccess::ListIndex { key } if list => Ok(PlannerResult::Planned(element(expr, *key)?)),
            field_access => Ok(PlannerResult::Original(RawFieldAccessExpr { expr, field_access })),
        }
    }
}

fn cast(expr: Expr, to: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to))
}

/// A divisor, and NULL in place of zero.
fn not_zero(divisor: Expr, data_type: &DataType) -> Result<Expr> {
    if constant(&divisor).is_some_and(|value| value != 0) || !data_type.is_numeric() {
        return Ok(divisor);
    }
    Ok(nullif(divisor, lit(ScalarValue::new_zero(data_type)?)))
}

/// The value of a whole number that is written in the query.
fn constant(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Cast(Cast { expr, .. }) => constant(expr),
        Expr::Literal(ScalarValue::Int64(value), _) => *value,
        _ => None,
    }
}

/// `a / b`: a decimal of decimals and integers, otherwise floating point.
fn quotient(left: Expr, right: Expr, (left_type, right_type): &(DataType, DataType)) -> Expr {
    let decimal = |data_type: &DataType| matches!(data_type, DataType::Decimal128(..));
    let whole = |data_type: &DataType| decimal(data_type) || data_type.is_integer();
    if (decimal(left_type) || decimal(right_type)) && whole(left_type) && whole(right_type) {
        let (left, right) = (as_decimal(left, left_type), as_decimal(right, right_type));
        return Expr::ScalarFunction(ScalarFunction::new_udf(divide(), vec![left, right]));
    }
    let double = |expr: Expr| Expr::TryCast(TryCast::new(Box::new(expr), DataType::Float64));
    binary_expr(double(left), Operator::Divide, nullif(double(right), lit(0_f64)))
}

/// An operator whose integers are decimals of their own precision beside a decimal.
fn exact(op: Operator, left: Expr, right: Expr, (left_type, right_type): &(DataType, DataType)) -> Expr {
    match (left_type, right_type) {
        (DataType::Decimal128(..), other) if other.is_integer() => binary_expr(left, op, as_decimal(right, other)),
        (other, DataType::Decimal128(..)) if other.is_integer() => binary_expr(as_decimal(left, other), op, right),
        _ => binary_expr(left, op, right),
    }
}

fn as_decimal(expr: Expr, data_type: &DataType) -> Expr {
    if matches!(data_type, DataType::Decimal128(..)) {
        return expr;
    }
    let written = constant(&expr).and_then(|value| u8::try_from(value.unsigned_abs().max(1).ilog10() + 1).ok());
    let precision = written.unwrap_or_else(|| decimal_of(data_type));
    cast(expr, DataType::Decimal128(precision, 0))
}

/// The element at a place from 0; NULL outside of the array.
fn element(list: Expr, index: Expr) -> Result<Expr> {
    let counted = binary_expr(index.clone(), Operator::Plus, lit(1_i64));
    let counted = when(binary_expr(index, Operator::GtEq, lit(0_i64)), counted).end()?;
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(array_element_udf(), vec![list, counted])))
}
