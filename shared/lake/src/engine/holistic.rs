//! Hands groupings with holistic aggregates over to whoever computes them best.
//!
//! A holistic aggregate (a quantile, the mode, an exact distinct count) needs all values of its group at
//! once. Such a grouping is taken out of a plan: what it groups is run, with no columns but those it
//! uses, and held in memory; its groups come back as a table in its place. A grouping with anything that
//! can't be described as a [`Grouping`] (a `FILTER`, an array of fractions, decimals, `ROLLUP`) stays.

use std::error::Error;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::AggregateFunction as Call;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ident};
use headwater_core::aggregate::{Aggregate, AggregateFunction, Grouping};

use crate::error::{LakeError, Result};

/// What a grouping gives, or why there is none.
type Grouped = std::result::Result<RecordBatch, Box<dyn Error + Send + Sync>>;

/// A function that groups.
type Group = dyn Fn(&SchemaRef, &[RecordBatch], &Grouping) -> Grouped + Send + Sync;

/// Computes a grouping of batches of one schema: its keys in their order, then its aggregates.
#[derive(Clone)]
pub struct Grouper(Arc<Group>);

impl Grouper {
    /// A grouper that calls a function, on a thread where it may take its time.
    pub fn new(group: impl Fn(&SchemaRef, &[RecordBatch], &Grouping) -> Grouped + Send + Sync + 'static) -> Self {
        Self(Arc::new(group))
    }
}

impl Debug for Grouper {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Grouper")
    }
}

/// A grouping that is handed over.
struct Handed {
    /// What it groups: the keys, then what is aggregated.
    rows: LogicalPlan,
    grouping: Grouping,
    /// The columns that the plan expects of it.
    schema: Arc<DFSchema>,
}

/// The same rows, with holistic groupings computed by the grouper. They are computed now.
pub(super) async fn group(frame: DataFrame, grouper: &Grouper) -> Result<DataFrame> {
    let (state, written) = frame.into_parts();
    let mut plan = state.optimize(&written).map_err(LakeError::query)?;
    if lowest(&plan).is_none() {
        return Ok(DataFrame::new(state, written));
    }
    while let Some(Handed { rows, grouping, schema }) = lowest(&plan) {
        tracing::debug!(keys = grouping.keys.len(), aggregates = grouping.aggregates.len(), "grouped as data frames");
        let rows = DataFrame::new(state.clone(), rows);
        let given = Arc::clone(rows.schema().inner());
        let batches = rows.collect().await.map_err(LakeError::query)?;
        let Grouper(group) = grouper.clone();
        let grouped = tokio::task::spawn_blocking(move || group(&given, &batches, &grouping));
        let grouped = grouped.await.map_err(LakeError::join)?;
        let grouped = grouped.map_err(|source| LakeError::query(DataFusionError::External(source)))?;
        plan = replaced(plan, table(&grouped, &schema)?)?;
    }
    Ok(DataFrame::new(state, plan))
}

/// The first grouping to be handed over, those below it before it.
fn lowest(plan: &LogicalPlan) -> Option<Handed> {
    plan.inputs().into_iter().find_map(lowest).or_else(|| handed(plan))
}

/// The plan with that grouping replaced.
fn replaced(plan: LogicalPlan, groups: LogicalPlan) -> Result<LogicalPlan> {
    let mut groups = Some(groups);
    let replace = |node: LogicalPlan| match handed(&node).and_then(|_| groups.take()) {
        Some(groups) => Ok(Transformed::yes(groups)),
        None => Ok(Transformed::no(node)),
    };
    plan.transform_up(replace).map(|transformed| transformed.data).map_err(LakeError::query)
}

/// Groups as a table with the columns that a plan expects: its names, types and whether they can be NULL.
fn table(groups: &RecordBatch, expected: &DFSchema) -> Result<LogicalPlan> {
    let name = |at: usize| format!("g{at}");
    let fields = expected.fields().iter().enumerate();
    let fields = fields.map(|(at, field)| Field::new(name(at), field.data_type().clone(), field.is_nullable()));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = groups.columns().iter().zip(schema.fields());
    let columns: std::result::Result<Vec<ArrayRef>, _> =
        columns.map(|(column, field)| cast(column, field.data_type())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(groups.num_rows()));
    let columns = columns.map_err(LakeError::arrow)?;
    let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options).map_err(LakeError::arrow)?;
    let memory = MemTable::try_new(schema, vec![vec![batch]]).map_err(LakeError::query)?;
    let named = expected.iter().enumerate();
    let named = named.map(|(at, (table, field))| ident(name(at)).alias_qualified(table.cloned(), field.name()));
    LogicalPlanBuilder::scan("groups", provider_as_source(Arc::new(memory)), None)
        .and_then(|scan| scan.project(named.collect::<Vec<_>>()))
        .and_then(LogicalPlanBuilder::build)
        .map_err(LakeError::query)
}

/// A node's grouping, if it has a holistic aggregate and all of it can be described.
fn handed(node: &LogicalPlan) -> Option<Handed> {
    let LogicalPlan::Aggregate(node) = node else { return None };
    let input = node.input.schema();
    let mut columns: Vec<Expr> = Vec::new();
    for key in &node.group_expr {
        if matches!(key, Expr::GroupingSet(_)) || !is_plain(&key.get_type(input).ok()?) {
            return None;
        }
        columns.push(key.clone().unalias());
    }
    let keys = columns.len();
    let mut aggregates = Vec::new();
    for (at, expr) in node.aggr_expr.iter().enumerate() {
        let Expr::AggregateFunction(call) = expr.clone().unalias() else { return None };
        let (function, argument) = described(&call, input)?;
        let place = columns.iter().skip(keys).position(|column| *column == argument).unwrap_or_else(|| {
            columns.push(argument);
            columns.len() - keys - 1
        });
        aggregates.push(Aggregate { name: format!("a{at}"), column: column_name(keys + place), function });
    }
    if !aggregates.iter().any(|aggregate| is_holistic(aggregate.function)) {
        return None;
    }
    let columns = columns.into_iter().enumerate().map(|(at, column)| column.alias(column_name(at)));
    let rows = LogicalPlanBuilder::from(Arc::clone(&node.input)).project(columns.collect::<Vec<_>>());
    let rows = rows.and_then(LogicalPlanBuilder::build).ok()?;
    let grouping = Grouping { keys: (0..keys).map(column_name).collect(), aggregates };
    Some(Handed { rows, grouping, schema: Arc::clone(&node.schema) })
}

fn column_name(at: usize) -> String {
    format!("c{at}")
}

/// What a call computes, and of what.
fn described(call: &Call, input: &DFSchema) -> Option<(AggregateFunction, Expr)> {
    let params = &call.params;
    if params.filter.is_some() || !params.order_by.is_empty() || params.null_treatment.is_some() {
        return None;
    }
    let (argument, options) = params.args.split_first()?;
    let function = match (call.func.name(), params.distinct, options) {
        ("count", false, []) => AggregateFunction::Count,
        ("count", true, []) => AggregateFunction::CountDistinct,
        ("sum", false, []) => AggregateFunction::Sum,
        ("avg", false, []) => AggregateFunction::Average,
        ("min", _, []) => AggregateFunction::Minimum,
        ("max", _, []) => AggregateFunction::Maximum,
        ("mode", false, []) => AggregateFunction::Mode,
        ("percentile", false, [fraction]) => AggregateFunction::Quantile(number(fraction)?),
        ("percentile_approx", false, [fraction]) => AggregateFunction::DiscreteQuantile(number(fraction)?),
        _ => return None,
    };
    let data_type = argument.get_type(input).ok()?;
    let numbers_only = matches!(
        function,
        AggregateFunction::Sum
            | AggregateFunction::Average
            | AggregateFunction::Quantile(_)
            | AggregateFunction::DiscreteQuantile(_)
    );
    (is_plain(&data_type) && (!numbers_only || data_type.is_numeric())).then(|| (function, argument.clone()))
}

const fn is_holistic(function: AggregateFunction) -> bool {
    matches!(
        function,
        AggregateFunction::CountDistinct
            | AggregateFunction::Quantile(_)
            | AggregateFunction::DiscreteQuantile(_)
            | AggregateFunction::Mode
    )
}

fn number(fraction: &Expr) -> Option<f64> {
    match fraction {
        Expr::Literal(ScalarValue::Float64(Some(fraction)), _) if (0.0..=1.0).contains(fraction) => Some(*fraction),
        _ => None,
    }
}

/// Types of which both sides know the same order and equality.
const fn is_plain(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Date32
            | DataType::Timestamp(..)
    )
}
