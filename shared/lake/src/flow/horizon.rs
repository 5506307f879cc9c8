//! Which rows of a table are older than a watermark.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, ident, lit};
use headwater_core::provenance::EVENT_TIME;
use headwater_core::watermark::is_late;
use parquet::file::metadata::RowGroupMetaData;
use serde_json::Value;

use crate::condition::Condition;
use crate::error::{LakeError, Result};
use crate::groups::{bounds, may_hold_null};
use crate::table::DataFile;

/// Statistics of timestamps keep milliseconds; this many microseconds further is surely outside.
const STATISTICS_TICK: i64 = 1_000;

/// The target's column that keeps the event time of its rows, and the watermark that a batch began with.
#[derive(Debug, Clone)]
pub(super) struct Horizon {
    column: String,
    watermark: i64,
}

impl Horizon {
    /// The column of the target that a query fills with its stream's event time as it is; `None` where the
    /// target doesn't keep it, so that all of its keys are remembered.
    pub(super) fn of(query: &LogicalPlan, target: &SchemaRef, watermark: i64) -> Option<Self> {
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

    pub(super) fn column(&self) -> &str {
        &self.column
    }

    /// What rules out files and row groups of a scan; it may let older rows through.
    pub(super) fn predicate(&self, target: &SchemaRef) -> Expr {
        ident(&self.column).gt_eq(lit(self.first(target))).or(ident(&self.column).is_null())
    }

    /// What rules out files when the log is read; it may let older rows through.
    pub(super) fn condition(&self, target: &SchemaRef) -> Option<Condition> {
        Condition::from_or_null(&self.column, &self.first(target))
    }

    fn first(&self, target: &SchemaRef) -> ScalarValue {
        let zone = target.field_with_name(&self.column).ok().and_then(|field| match field.data_type() {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        });
        ScalarValue::TimestampMicrosecond(Some(self.bound()), zone)
    }

    /// Whether statistics let a file hold rows that aren't older.
    pub(super) fn may_be_in(&self, file: &DataFile) -> bool {
        file.may_hold_null(&self.column) || self.may_be_up_to(file.max(&[&self.column]))
    }

    /// Whether statistics let a row group hold rows that aren't older.
    pub(super) fn may_be_in_group(&self, group: &RowGroupMetaData) -> bool {
        may_hold_null(group, &self.column) || self.may_be_up_to(bounds(group, &self.column).map(|(_, latest)| latest))
    }

    /// The event times of rows in microseconds, NULL where the rows have none.
    ///
    /// # Errors
    /// `Invalid` where the column isn't one of times.
    pub(super) fn times(&self, rows: &RecordBatch) -> Result<Option<ArrayRef>> {
        let column = rows.column_by_name(&self.column);
        let times = column.map(|column| cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None)));
        times.transpose().map_err(LakeError::arrow)
    }

    /// Whether a row is older, by the [times](Self::times) of its batch. One without a time isn't.
    pub(super) fn is_past(&self, times: Option<&ArrayRef>, row: usize) -> bool {
        let time = times.filter(|times| times.is_valid(row));
        let time = time.map(|times| times.as_primitive::<TimestampMicrosecondType>().value(row));
        is_late(Some(self.watermark), time)
    }

    fn may_be_up_to(&self, latest: Option<Value>) -> bool {
        latest.as_ref().and_then(moment).is_none_or(|latest| latest >= self.bound())
    }

    /// The earliest time that statistics may give of a row that isn't older.
    const fn bound(&self) -> i64 {
        self.watermark.div_euclid(STATISTICS_TICK).saturating_sub(1).saturating_mul(STATISTICS_TICK)
    }
}

/// A time of statistics in microseconds, if it is one.
fn moment(text: &Value) -> Option<i64> {
    let text = StringArray::from(vec![text.as_str()?]);
    let moment = cast(&text, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).ok()?;
    moment.is_valid(0).then(|| moment.as_primitive::<TimestampMicrosecondType>().value(0))
}

/// A column, and the name that a query gives it.
fn renamed(expr: &Expr) -> Option<(&Column, &str)> {
    match expr {
        Expr::Column(column) => Some((column, column.name.as_str())),
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::Column(column) => Some((column, alias.name.as_str())),
            _ => None,
        },
        _ => None,
    }
}
