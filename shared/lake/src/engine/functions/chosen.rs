//! Functions that stand for others, which the types of their arguments choose.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit};
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::functions::unicode::expr_fn::reverse;
use datafusion::functions_nested::expr_fn::{array_element, array_reverse, gen_series};
use datafusion::functions_nested::map_extract::map_extract;
use datafusion::logical_expr::expr::{Cast, TryCast};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility, binary_expr, lit, when,
};

use super::super::types::spark_name;
use super::Typed;

/// A function, its types, and the expression that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Chosen {
    kind: Kind,
    signature: Signature,
    aliases: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// Counted from 1, or from the end if negative; the value of a key of a map; NULL where there is none.
    ElementAt,
    /// Of a text or an array.
    Reverse,
    /// Of integers or dates, up or down, both ends within.
    Sequence,
    /// The name of a type.
    TypeOf,
    /// NULL where the result doesn't fit.
    Try(Operator),
}

pub(super) fn functions() -> Vec<Chosen> {
    let chosen = |kind, aliases: &[&str]| Chosen {
        kind,
        signature: Signature::user_defined(Volatility::Immutable),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
    };
    vec![
        chosen(Kind::ElementAt, &["try_element_at"]),
        chosen(Kind::Reverse, &[]),
        chosen(Kind::Sequence, &[]),
        chosen(Kind::TypeOf, &[]),
        chosen(Kind::Try(Operator::Plus), &[]),
        chosen(Kind::Try(Operator::Minus), &[]),
        chosen(Kind::Try(Operator::Multiply), &[]),
    ]
}

impl Chosen {
    fn types(&self, types: &[DataType]) -> Result<Typed> {
        let name = self.name();
        match (self.kind, types) {
            (Kind::ElementAt, [map @ DataType::Map(..), _]) => {
                let Some((key, value)) = entry(map) else { return plan_err!("{name}: a map has keys and values") };
                Ok((vec![map.clone(), key.clone()], value.clone()))
            }
            (Kind::ElementAt, [list, _]) => match item(list) {
                Some(item) => Ok((vec![list.clone(), DataType::Int64], item.clone())),
                None => plan_err!("{name} takes an array or a map, not {list}"),
            },
            (Kind::Reverse, [list]) if item(list).is_some() => Ok((vec![list.clone()], list.clone())),
            (Kind::Reverse, [_]) => Ok((vec![DataType::Utf8], DataType::Utf8)),
            (Kind::Sequence, [DataType::Date32, DataType::Date32, rest @ ..]) if rest.len() < 2 => {
                let step = rest.iter().map(|_| DataType::Interval(IntervalUnit::MonthDayNano));
                Ok(([DataType::Date32, DataType::Date32].into_iter().chain(step).collect(), list_of(DataType::Date32)))
            }
            (Kind::Sequence, [first, last, rest @ ..]) if rest.len() < 2 && types.iter().all(DataType::is_integer) => {
                let short = *first == DataType::Int32 && *last == DataType::Int32;
                let item = if short { DataType::Int32 } else { DataType::Int64 };
                let step = rest.iter().map(|_| DataType::Int64);
                Ok(([item.clone(), item.clone()].into_iter().chain(step).collect(), list_of(item)))
            }
            (Kind::TypeOf, [_]) => Ok((types.to_vec(), DataType::Utf8)),
            (Kind::Try(_), [left, right]) if left.is_integer() && right.is_integer() => {
                let long = [left, right].contains(&&DataType::Int64);
                let whole = if long { DataType::Int64 } else { DataType::Int32 };
                Ok((vec![whole.clone(); 2], whole))
            }
            (Kind::Try(_), [left, right]) if left.is_floating() || right.is_floating() => {
                Ok((vec![DataType::Float64; 2], DataType::Float64))
            }
            _ => plan_err!("{name} doesn't take {types:?}"),
        }
    }

    fn expression(&self, mut args: Vec<Expr>, types: &[DataType], result: &DataType) -> Result<Expr> {
        let last = args.pop();
        Ok(match (self.kind, args.as_slice(), last) {
            (Kind::ElementAt, [map], Some(key)) if matches!(types[0], DataType::Map(..)) => {
                array_element(map_extract(map.clone(), key), lit(1_i64))
            }
            (Kind::ElementAt, [list], Some(place)) => array_element(list.clone(), place),
            (Kind::Reverse, [], Some(list)) if item(&types[0]).is_some() => array_reverse(list),
            (Kind::Reverse, [], Some(text)) => reverse(text),
            (Kind::Sequence, [first], Some(last)) => {
                let step = step(first.clone(), last.clone(), &types[0])?;
                cast(series(first.clone(), last, step, &types[0]), result)
            }
            (Kind::Sequence, [first, last], Some(step)) => {
                cast(series(first.clone(), last.clone(), step, &types[0]), result)
            }
            (Kind::TypeOf, [], Some(_)) => lit(spark_name(&types[0])),
            (Kind::Try(op), [left], Some(right)) if result.is_integer() => {
                let wide = |expr| cast(expr, &DataType::Decimal128(19, 0));
                let exact = binary_expr(wide(left.clone()), op, wide(right));
                Expr::TryCast(TryCast::new(Box::new(exact), result.clone()))
            }
            (Kind::Try(op), [left], Some(right)) => binary_expr(left.clone(), op, right),
            _ => return internal_err!("{} has other arguments than it was planned with", self.name()),
        })
    }
}

fn cast(expr: Expr, to: &DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to.clone()))
}

fn series(first: Expr, last: Expr, step: Expr, data_type: &DataType) -> Expr {
    match data_type {
        DataType::Date32 => gen_series(first, last, step),
        _ => gen_series(cast(first, &DataType::Int64), cast(last, &DataType::Int64), step),
    }
}

/// One up or one down.
fn step(first: Expr, last: Expr, data_type: &DataType) -> Result<Expr> {
    let one = |size: i32| match data_type {
        DataType::Date32 => lit(ScalarValue::new_interval_mdn(0, size, 0)),
        _ => lit(i64::from(size)),
    };
    when(binary_expr(first, Operator::LtEq, last), one(1)).otherwise(one(-1))
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn item(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

/// Types of key and value.
fn entry(map: &DataType) -> Option<(&DataType, &DataType)> {
    let DataType::Map(entries, _) = map else { return None };
    let DataType::Struct(fields) = entries.data_type() else { return None };
    Some((fields.first()?.data_type(), fields.get(1)?.data_type()))
}

impl ScalarUDFImpl for Chosen {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::ElementAt => "element_at",
            Kind::Reverse => "reverse",
            Kind::Sequence => "sequence",
            Kind::TypeOf => "typeof",
            Kind::Try(Operator::Plus) => "try_add",
            Kind::Try(Operator::Minus) => "try_subtract",
            Kind::Try(_) => "try_multiply",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.types(types).map(|(arguments, _)| arguments)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.types(types).map(|(_, result)| result)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let types = args.iter().map(|arg| info.get_data_type(arg)).collect::<Result<Vec<_>>>()?;
        let (_, result) = self.types(&types)?;
        Ok(ExprSimplifyResult::Simplified(self.expression(args, &types, &result)?))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} wasn't simplified", self.name())
    }
}
