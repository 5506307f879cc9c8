//! Which keys of a batch a deduplicated table remembers.
//!
//! The batch's keys are held in memory, and the key columns of the table are streamed past them: memory
//! is that of the batch's own keys, whatever the table's size. Statistics rule out files and row groups
//! that lie outside the range of the batch's keys, and Bloom filters those without any, if the batch has few. Under a watermark, a row that is older than it is
//! forgotten, whatever file it is in, and files with none but such rows aren't read.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::{Accumulator, Expr, LogicalPlan, ident, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use headwater_core::model::Query;
use headwater_core::provenance::EVENT_TIME;
use headwater_core::watermark::is_late;

use super::FlowRun;
use super::dedup::{Keys, Seen};
use super::outlet::Plan;
use super::target::Pinned;
use crate::align::{align, fit};
use crate::error::{LakeError, Result};
use crate::lookup::{FEW, is_one_of};
use crate::table::Table;

/// Statistics of timestamps keep milliseconds; this many microseconds further is surely outside.
const STATISTICS_TICK: i64 = 1_000;

/// The keys of a batch, and for each key column the range that they lie in.
#[derive(Debug)]
struct Fresh {
    keys: HashSet<Box<[u8]>>,
    /// `None` where statistics of the type don't bound it, or NULL is among the values and counts as one.
    ranges: Vec<Option<Range>>,
}

/// The range of a column's values in a batch, and the values while they are few.
#[derive(Debug)]
struct Range {
    lowest: MinAccumulator,
    highest: MaxAccumulator,
    values: HashSet<ScalarValue>,
}

/// The target's column that keeps the event time of its rows, and the watermark that a batch began with.
#[derive(Debug, Clone)]
struct Horizon {
    column: String,
    watermark: i64,
}

impl FlowRun<'_> {
    /// The same plan, with those keys of the batch that the target remembers.
    pub(super) async fn with_keys_of_target(
        &self,
        plan: Arc<Plan>,
        pinned: &Pinned,
        (session, query): (&SessionContext, &Query),
        watermark: Option<i64>,
    ) -> Result<Arc<Plan>> {
        let (Some(keys), Some(table)) = (&plan.keys, &pinned.main) else { return Ok(plan) };
        if table.is_empty().await? {
            return Ok(plan);
        }
        let frame = self.lake.engine().plan(session, query).await?;
        let horizon = watermark.and_then(|watermark| Horizon::of(frame.logical_plan(), &plan.target.schema, watermark));
        let mut fresh = Fresh::new(keys, &plan.target.schema)?;
        let mut rows = frame.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            fresh.add(keys, &fit(&batch, &plan.target.schema)?.0)?;
        }
        let remembered = self.remembered(keys, fresh, (table, &plan.target.schema), horizon.as_ref()).await?;
        *plan.seen.lock().await = Seen::of_target(remembered);
        Ok(plan)
    }

    /// Those of the fresh keys that the table remembers.
    async fn remembered(
        &self,
        keys: &Keys,
        fresh: Fresh,
        (table, target): (&Table, &SchemaRef),
        horizon: Option<&Horizon>,
    ) -> Result<HashSet<Box<[u8]>>> {
        let mut found = HashSet::new();
        if fresh.keys.is_empty() {
            return Ok(found);
        }
        let schema = Arc::new(target.project(keys.columns()).map_err(LakeError::arrow)?);
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let event_time = horizon.map(|horizon| ident(&horizon.column).alias(EVENT_TIME));
        let columns: Vec<Expr> = names.iter().copied().map(ident).chain(event_time).collect();
        let Fresh { keys: wanted, ranges } = fresh;
        let bounds = predicates(&names, ranges)?.into_iter().chain(horizon.map(|horizon| horizon.predicate(target)));
        let mut frame = self.lake.engine().session().read_table(table.provider().await?).map_err(LakeError::query)?;
        if let Some(bounds) = bounds.reduce(Expr::and) {
            frame = frame.filter(bounds).map_err(LakeError::query)?;
        }
        let frame = frame.select(columns).map_err(LakeError::query)?;
        let mut rows = frame.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            let times = event_times(&batch)?;
            let is_past = |row| horizon.zip(times.as_ref()).is_some_and(|(horizon, times)| horizon.is_past(times, row));
            keys.find(align(&batch, &schema)?.columns(), &wanted, is_past, &mut found)?;
            if found.len() == wanted.len() {
                break;
            }
        }
        Ok(found)
    }
}

impl Fresh {
    fn new(keys: &Keys, schema: &SchemaRef) -> Result<Self> {
        let range = |at: &usize| Range::new(schema.field(*at).data_type());
        let ranges = keys.columns().iter().map(range).collect::<Result<_>>()?;
        Ok(Self { keys: HashSet::new(), ranges })
    }

    /// Adds rows in the target's schema.
    fn add(&mut self, keys: &Keys, rows: &RecordBatch) -> Result<()> {
        self.keys.extend(keys.of(rows)?.into_iter().flatten());
        for (range, at) in self.ranges.iter_mut().zip(keys.columns()) {
            let values = rows.column(*at);
            if keys.null_is_a_value() && values.null_count() > 0 {
                *range = None;
            }
            if let Some(range) = range {
                range.add(values)?;
            }
        }
        Ok(())
    }
}

/// The ranges of key columns of these names, as far as there are any.
fn predicates(names: &[&str], ranges: Vec<Option<Range>>) -> Result<Vec<Expr>> {
    let bounded = names.iter().zip(ranges).filter_map(|(name, range)| Some((name, range?)));
    bounded.map(|(name, range)| range.predicate(name)).collect()
}

impl Range {
    /// `None` where statistics may not bound all values of a type: NaN has no place among the others.
    fn new(data_type: &DataType) -> Result<Option<Self>> {
        let bounded = matches!(
            data_type,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Utf8
        );
        if !bounded {
            return Ok(None);
        }
        let lowest = MinAccumulator::try_new(data_type).map_err(LakeError::query)?;
        let highest = MaxAccumulator::try_new(data_type).map_err(LakeError::query)?;
        Ok(Some(Self { lowest, highest, values: HashSet::new() }))
    }

    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            if self.values.len() > FEW {
                break;
            }
            self.values.insert(ScalarValue::try_from_array(values, row).map_err(LakeError::query)?);
        }
        let values = std::slice::from_ref(values);
        self.lowest.update_batch(values).and_then(|()| self.highest.update_batch(values)).map_err(LakeError::query)
    }

    fn predicate(mut self, column: &str) -> Result<Expr> {
        let lowest = self.lowest.evaluate().map_err(LakeError::query)?;
        let highest = self.highest.evaluate().map_err(LakeError::query)?;
        let within = ident(column).between(lit(lowest), lit(highest));
        Ok(match is_one_of(column, self.values.into_iter()) {
            Some(is_one_of) => within.and(is_one_of),
            None => within,
        })
    }
}

impl Horizon {
    /// The column of the target that a query fills with its stream's event time as it is; `None` where the
    /// target doesn't keep it, so that all of its keys are remembered.
    fn of(query: &LogicalPlan, target: &SchemaRef, watermark: i64) -> Option<Self> {
        let LogicalPlan::Projection(projection) = query else { return None };
        let event_time = projection.expr.iter().find_map(|expr| match renamed(expr) {
            Some((column, EVENT_TIME)) => Some(column),
            _ => None,
        })?;
        let kept = projection.expr.iter().filter_map(renamed);
        let column =
            kept.filter(|(column, name)| *column == event_time && *name != EVENT_TIME).find_map(|(_, name)| {
                let field = target.field_with_name(name).ok()?;
                matches!(field.data_type(), DataType::Timestamp(..)).then(|| name.to_owned())
            })?;
        Some(Self { column, watermark })
    }

    /// What rules out files and row groups; it may let older rows through.
    fn predicate(&self, target: &SchemaRef) -> Expr {
        let zone = target.field_with_name(&self.column).ok().and_then(|field| match field.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        });
        let bound = self.watermark.div_euclid(STATISTICS_TICK).saturating_sub(1).saturating_mul(STATISTICS_TICK);
        let bound = lit(ScalarValue::TimestampMicrosecond(Some(bound), zone));
        ident(&self.column).gt_eq(bound).or(ident(&self.column).is_null())
    }

    fn is_past(&self, times: &ArrayRef, row: usize) -> bool {
        let times = times.as_primitive::<TimestampMicrosecondType>();
        is_late(Some(self.watermark), times.is_valid(row).then(|| times.value(row)))
    }
}

/// A column, and the name that a query gives it.
fn renamed(expr: &Expr) -> Option<(&datafusion::common::Column, &str)> {
    match expr {
        Expr::Column(column) => Some((column, column.name.as_str())),
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::Column(column) => Some((column, alias.name.as_str())),
            _ => None,
        },
        _ => None,
    }
}

/// The event times that were read with the keys, in microseconds.
fn event_times(batch: &RecordBatch) -> Result<Option<ArrayRef>> {
    let Some(column) = batch.column_by_name(EVENT_TIME) else { return Ok(None) };
    cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None)).map(Some).map_err(LakeError::arrow)
}
