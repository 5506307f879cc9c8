//! Groups rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_core::aggregate::{Aggregate, AggregateFunction, Grouping};
use polars::prelude::{
    DataFrame, DataType as FrameType, Expr, IntoLazy, JoinArgs, JoinType, LazyFrame, NULL, QuantileMethod,
    SortMultipleOptions, col, len, lit, when,
};

use crate::bridge::{to_batch, to_frame};
use crate::error::FramesError;
use crate::types::framed;

/// Groups the rows of batches that share a schema.
///
/// The result has the keys in their order and types, then the aggregates in theirs: counts are
/// `Int64`, averages and quantiles `Float64`, and all others have the type of what they aggregate.
/// The order of its rows isn't defined.
///
/// # Errors
/// `Internal` when the grouping names a column that there isn't, or one of a nested, binary or
/// decimal type.
pub fn group_by(schema: &SchemaRef, batches: &[RecordBatch], grouping: &Grouping) -> Result<RecordBatch, FramesError> {
    let used = used(schema, grouping)?;
    let framed = framed_schema(schema, &used)?;
    let batches: Vec<_> = batches.iter().map(|batch| frame_columns(batch, &used, &framed)).collect::<Result<_, _>>()?;
    let result = to_batch(aggregate(to_frame(&framed, &batches)?, grouping)?)?;
    unframed(&result, &result_schema(schema, grouping)?)
}

/// Indexes of the columns that the grouping uses.
fn used(schema: &SchemaRef, grouping: &Grouping) -> Result<Vec<usize>, FramesError> {
    let columns = grouping.keys.iter().chain(grouping.aggregates.iter().map(|aggregate| &aggregate.column));
    let mut used: Vec<usize> = columns.map(|column| index_of(schema, column)).collect::<Result<_, _>>()?;
    used.sort_unstable();
    used.dedup();
    Ok(used)
}

fn index_of(schema: &SchemaRef, column: &str) -> Result<usize, FramesError> {
    schema.index_of(column).map_err(|_| FramesError::UnknownColumn { column: column.to_owned() })
}

fn framed_schema(schema: &SchemaRef, used: &[usize]) -> Result<SchemaRef, FramesError> {
    let field = |index: &usize| {
        let field = schema.field(*index);
        let data_type = framed(field.data_type()).ok_or_else(|| FramesError::UnsupportedType {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
        })?;
        Ok(Field::new(field.name(), data_type, true))
    };
    Ok(Arc::new(Schema::new(used.iter().map(field).collect::<Result<Vec<_>, FramesError>>()?)))
}

fn frame_columns(batch: &RecordBatch, used: &[usize], framed: &SchemaRef) -> Result<RecordBatch, FramesError> {
    let columns = used.iter().zip(framed.fields());
    let columns = columns.map(|(index, field)| cast(batch.column(*index), field.data_type()));
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(framed), columns, &options)?)
}

fn result_schema(schema: &SchemaRef, grouping: &Grouping) -> Result<SchemaRef, FramesError> {
    let mut fields = Vec::new();
    for key in &grouping.keys {
        fields.push(schema.field(index_of(schema, key)?).as_ref().clone().with_nullable(true));
    }
    for aggregate in &grouping.aggregates {
        let argument = schema.field(index_of(schema, &aggregate.column)?).data_type();
        fields.push(Field::new(&aggregate.name, result_type(aggregate.function, argument), true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn result_type(function: AggregateFunction, argument: &DataType) -> DataType {
    match function {
        AggregateFunction::Count | AggregateFunction::CountDistinct => DataType::Int64,
        AggregateFunction::Average | AggregateFunction::Quantile(_) => DataType::Float64,
        AggregateFunction::Sum
        | AggregateFunction::Minimum
        | AggregateFunction::Maximum
        | AggregateFunction::DiscreteQuantile(_)
        | AggregateFunction::Mode => argument.clone(),
    }
}

fn unframed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, FramesError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns: Vec<ArrayRef> =
        columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn aggregate(frame: DataFrame, grouping: &Grouping) -> Result<DataFrame, FramesError> {
    let keys: Vec<Expr> = grouping.keys.iter().map(|key| col(key.as_str())).collect();
    let (modes, others): (Vec<&Aggregate>, Vec<&Aggregate>) =
        grouping.aggregates.iter().partition(|aggregate| aggregate.function == AggregateFunction::Mode);
    let rows = frame.lazy();
    let others: Vec<Expr> = others.into_iter().map(expression).collect();
    let mut result = match (keys.as_slice(), others.is_empty()) {
        ([], true) => rows.clone().select([len().alias(ONE)]).collect()?,
        ([], false) => rows.clone().select(others).collect()?,
        (_, _) => rows.clone().group_by(&keys).agg(others).collect()?,
    };
    for mode in modes {
        result = with_mode(result, &rows, &keys, mode)?;
    }
    let names = grouping.keys.iter().chain(grouping.aggregates.iter().map(|aggregate| &aggregate.name));
    Ok(result.select(names.map(String::as_str))?)
}

/// Column that holds the single group's place when nothing else does.
const ONE: &str = "__group";

fn expression(aggregate: &Aggregate) -> Expr {
    let values = col(aggregate.column.as_str());
    let any = || col(aggregate.column.as_str()).count().gt(lit(0));
    let result = match aggregate.function {
        AggregateFunction::Count => values.count(),
        AggregateFunction::CountDistinct => values.drop_nulls().n_unique(),
        AggregateFunction::Sum => when(any()).then(values.sum()).otherwise(lit(NULL)),
        AggregateFunction::Average => values.cast(FrameType::Float64).mean(),
        AggregateFunction::Minimum => values.min(),
        AggregateFunction::Maximum => values.max(),
        AggregateFunction::Quantile(fraction) => {
            values.cast(FrameType::Float64).quantile(lit(fraction), QuantileMethod::Linear)
        }
        AggregateFunction::DiscreteQuantile(fraction) => values.quantile(lit(fraction), QuantileMethod::Equiprobable),
        AggregateFunction::Mode => values.first(),
    };
    result.alias(aggregate.name.as_str())
}

/// Adds the most frequent value of each group, the smallest of several.
fn with_mode(
    mut result: DataFrame,
    rows: &LazyFrame,
    keys: &[Expr],
    aggregate: &Aggregate,
) -> Result<DataFrame, FramesError> {
    let name = |index: usize| format!("__key{index}");
    let mut columns: Vec<Expr> = keys.iter().enumerate().map(|(at, key)| key.clone().alias(name(at))).collect();
    columns.push(col(aggregate.column.as_str()).alias("__value"));
    let keys_of_counts: Vec<Expr> = (0..keys.len()).map(|at| col(name(at))).collect();
    let values = rows.clone().select(columns).filter(col("__value").is_not_null());
    let counts = values.group_by([keys_of_counts.as_slice(), &[col("__value")]].concat()).agg([len().alias("__times")]);
    let order = SortMultipleOptions::default().with_order_descending_multi([true, false]);
    let most = counts.sort(["__times", "__value"], order);
    let first = [col("__value").first().alias(aggregate.name.as_str())];
    if keys.is_empty() {
        result.hstack_mut(most.select(first).collect()?.columns())?;
        return Ok(result);
    }
    let most = most.group_by_stable(&keys_of_counts).agg(first);
    let how = JoinArgs { nulls_equal: true, ..JoinArgs::new(JoinType::Left) };
    Ok(result.lazy().join(most, keys, &keys_of_counts, how).collect()?)
}
