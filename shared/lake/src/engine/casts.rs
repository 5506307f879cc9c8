//! Casts as Spark makes them without ANSI mode.
//!
//! What can't be converted becomes NULL, written or implied, so that one bad row never fails its
//! batch; an expectation then finds it. Between numbers and timestamps seconds count, and texts of
//! timestamps are Spark's.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::functions;

/// Makes all casts of a plan Spark's. Runs after type coercion, whose casts it sees too.
#[derive(Debug)]
pub(super) struct SparkCasts;

impl AnalyzerRule for SparkCasts {
    fn name(&self) -> &'static str {
        "spark_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(spark_casts(expr, &schema)?.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        })
        .data()
    }
}

/// Lets floating point win over decimals where one type is sought for several values, or they are compared. Runs before type
/// coercion, which would make them all decimals: few numbers of floating point can be one.
#[derive(Debug)]
pub(super) struct FloatsFirst;

impl AnalyzerRule for FloatsFirst {
    fn name(&self) -> &'static str {
        "floats_first"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = schema_of(&plan)?;
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| floats_first(expr, &schema))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        })
        .data()
    }
}

/// The columns that a plan's expressions name: those of its inputs, or of the table that it scans.
fn schema_of(plan: &LogicalPlan) -> Result<DFSchema> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())
        }
        other => Ok(merge_schema(&other.inputs())),
    }
}

/// Functions of values of one type.
const UNIFORM: [&str; 8] = ["coalesce", "greatest", "least", "nvl", "nvl2", "if", "array", "make_array"];

fn floats_first(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(mut function) if UNIFORM.contains(&function.name()) => {
            let changed = as_floats(function.args.iter_mut().collect(), schema)?;
            Ok(Transformed::new_transformed(Expr::ScalarFunction(function), changed))
        }
        Expr::ScalarFunction(mut function) if function.name() == "nullif" => {
            // It has the type of the first one, whatever that is compared with.
            let is_float = match function.args.first() {
                Some(value) => value.get_type(schema).is_ok_and(|data_type| data_type.is_floating()),
                None => false,
            };
            let changed = is_float && as_floats(function.args.iter_mut().collect(), schema)?;
            Ok(Transformed::new_transformed(Expr::ScalarFunction(function), changed))
        }
        Expr::Case(mut case) => {
            let results = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            let mut changed = as_floats(results.chain(case.else_expr.as_deref_mut()).collect(), schema)?;
            if let Some(compared) = case.expr.as_deref_mut() {
                let values = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                changed |= as_floats(std::iter::once(compared).chain(values).collect(), schema)?;
            }
            Ok(Transformed::new_transformed(Expr::Case(case), changed))
        }
        Expr::BinaryExpr(mut binary) if binary.op.is_numerical_operators() || binary.op.supports_propagation() => {
            let changed = as_floats(vec![&mut binary.left, &mut binary.right], schema)?;
            Ok(Transformed::new_transformed(Expr::BinaryExpr(binary), changed))
        }
        Expr::Between(mut between) => {
            let changed = as_floats(vec![&mut between.expr, &mut between.low, &mut between.high], schema)?;
            Ok(Transformed::new_transformed(Expr::Between(between), changed))
        }
        Expr::InList(mut list) => {
            let values = std::iter::once(list.expr.as_mut()).chain(&mut list.list);
            let changed = as_floats(values.collect(), schema)?;
            Ok(Transformed::new_transformed(Expr::InList(list), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Makes decimals floating point if any of the others is; nothing where a type can't be told.
fn as_floats(values: Vec<&mut Expr>, schema: &DFSchema) -> Result<bool> {
    let types = values.iter().map(|value| value.get_type(schema)).collect::<Result<Vec<_>>>();
    let Ok(types) = types else { return Ok(false) };
    if !types.iter().any(DataType::is_floating) {
        return Ok(false);
    }
    let mut changed = false;
    for (value, data_type) in values.into_iter().zip(types) {
        if matches!(data_type, DataType::Decimal128(..)) {
            *value = plain(std::mem::take(value), DataType::Float64);
            changed = true;
        }
    }
    Ok(changed)
}

/// Makes all casts of an expression over a schema Spark's.
pub(super) fn spark_casts(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::Cast(Cast { expr, field }) => match spark_cast(&expr, field.data_type(), schema)? {
            Some(cast) => Ok(Transformed::yes(cast)),
            None => Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
        },
        Expr::TryCast(TryCast { expr, field }) => match spark_cast(&expr, field.data_type(), schema)? {
            Some(cast) => Ok(Transformed::yes(cast)),
            None => Ok(Transformed::no(Expr::TryCast(TryCast { expr, field }))),
        },
        other => Ok(Transformed::no(other)),
    })
}

/// Spark's cast where it isn't the engine's.
fn spark_cast(expr: &Expr, to: &DataType, schema: &DFSchema) -> Result<Option<Expr>> {
    let from = expr.get_type(schema)?;
    let step = |function: &LazyLock<Arc<ScalarUDF>>| call(function, expr.clone(), &from);
    Ok(Some(match (&from, to) {
        (text, to) if is_text(text) && to.is_integer() => tried(step(&TEXT_TO_INTEGER), to),
        (text, DataType::Timestamp(..)) if is_text(text) => tried(step(&TEXT_TO_TIMESTAMP), to),
        (text, DataType::Date32 | DataType::Date64) if is_text(text) => tried(step(&TEXT_TO_DATE), to),
        (text, to) if is_text(text) && (to.is_numeric() || to == &DataType::Boolean) => {
            let trimmed = ScalarFunction::new_udf(datafusion::functions::string::btrim(), vec![expr.clone()]);
            Expr::TryCast(TryCast::new(Box::new(Expr::ScalarFunction(trimmed)), to.clone()))
        }
        (DataType::Float64 | DataType::Float32, to) if is_text(to) => tried(step(&TEXT_OF_DOUBLE), to),
        (DataType::Timestamp(..), to) if is_text(to) => tried(step(&TEXT_OF_MOMENT), to),
        (DataType::Timestamp(..), to) if to.is_numeric() => tried(step(&SECONDS_OF), to),
        (number, DataType::Timestamp(..)) if number.is_numeric() => tried(step(&TIMESTAMP_OF_SECONDS), to),
        _ => return Ok(None),
    }))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Makes decimals of an expression floating point where others of its values are.
pub(super) fn with_floats_first(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|expr| floats_first(expr, schema)).data()
}

/// The cast that is left after ours; none, if the type is right.
fn tried(expr: Expr, to: &DataType) -> Expr {
    Expr::TryCast(TryCast::new(Box::new(expr), to.clone()))
}

/// A call of a function of one argument, which gets a type that it takes.
fn call(function: &LazyLock<Arc<ScalarUDF>>, argument: Expr, from: &DataType) -> Expr {
    let taken = match function.name() {
        "text_to_integer" | "text_to_timestamp" | "text_to_date" => DataType::Utf8,
        "text_of_moment" | "seconds_of" => functions::utc(),
        _ if from.is_integer() => DataType::Int64,
        _ if from == &DataType::Float32 => DataType::Float32,
        _ => DataType::Float64,
    };
    let argument = if from == &taken { argument } else { plain(argument, taken) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), vec![argument]))
}

fn plain(expr: Expr, to: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), to))
}

static TEXT_TO_INTEGER: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| functions::shared(functions::text_to_integer()));
static TEXT_TO_TIMESTAMP: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| functions::shared(functions::text_to_timestamp()));
static TEXT_TO_DATE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| functions::shared(functions::text_to_date()));
static TEXT_OF_MOMENT: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| functions::shared(functions::text_of_moment()));
static TEXT_OF_DOUBLE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| functions::shared(functions::text_of_double()));
static SECONDS_OF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| functions::shared(functions::seconds_of()));
static TIMESTAMP_OF_SECONDS: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| functions::shared(functions::timestamp_of_seconds()));
