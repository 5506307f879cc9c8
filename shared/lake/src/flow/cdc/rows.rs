//! Rows of the target and of the side table, gathered from the changes that gave their values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{Field, SchemaRef};
use chrono::{DateTime, Utc};
use headwater_core::cdc::{DELETED, SEQUENCE};

use super::fold::{Row, Values};
use super::held::{At, Held};
use super::shape::{RECORDED_AT, Shape};
use crate::align::align;
use crate::error::{LakeError, Result};

/// Rows that are gathered at once.
const CHUNK: usize = 8_192;

/// Gathers values of all changes.
#[derive(Debug)]
pub(super) struct Gathering<'a> {
    held: &'a Held,
    shape: &'a Shape,
}

impl<'a> Gathering<'a> {
    pub(super) const fn new(held: &'a Held, shape: &'a Shape) -> Self {
        Self { held, shape }
    }

    /// Rows of the target, in its schema, some at a time.
    pub(super) fn target<'b>(
        &'b self,
        rows: &'b [Row],
        schema: &'b SchemaRef,
    ) -> impl Iterator<Item = Result<RecordBatch>> + 'b {
        rows.chunks(CHUNK).map(move |rows| {
            let columns = (0..self.shape.columns).map(|column| self.target_column(rows, column));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let wide = Arc::new(
                self.shape.wide.project(&(0..self.shape.columns).collect::<Vec<_>>()).map_err(LakeError::arrow)?,
            );
            let fields = wide.fields().iter().zip(&columns);
            let fields: Vec<_> = fields
                .map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone()))
                .collect();
            let gathered = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns);
            align(&gathered.map_err(LakeError::arrow)?, schema)
        })
    }

    /// Changes as the side table keeps them, some at a time.
    pub(super) fn side<'b>(
        &'b self,
        kept: &'b [At],
        schema: &'b SchemaRef,
        now: DateTime<Utc>,
    ) -> impl Iterator<Item = Result<RecordBatch>> + 'b {
        kept.chunks(CHUNK).map(move |kept| {
            let places: Vec<Option<At>> = kept.iter().copied().map(Some).collect();
            let column = |field: &Arc<Field>| match self.shape.wide.index_of(field.name()) {
                Ok(column) => self.column(column, &places),
                Err(_) if field.name() == RECORDED_AT => Ok(times(now, kept.len())),
                Err(_) => Ok(new_null_array(field.data_type(), kept.len())),
            };
            let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
            RecordBatch::try_new(SchemaRef::clone(schema), columns).map_err(LakeError::arrow)
        })
    }

    /// The row of the side table that says up to where everything is gone.
    pub(super) fn truncation(&self, at: At, schema: &SchemaRef, now: DateTime<Utc>) -> Result<RecordBatch> {
        marked(&self.column(self.shape.sequence, &[Some(at)])?, schema, now)
    }

    fn target_column(&self, rows: &[Row], column: usize) -> Result<ArrayRef> {
        let ends = self.shape.history.as_ref();
        let place = |row: &Row| match (ends, row.ends) {
            (Some(of), Some((start, _))) if of.start == column => Some(start),
            (Some(of), Some((_, end))) if of.end == column => end,
            _ => match &row.values {
                Values::Of(at) => Some(*at),
                Values::Mixed(cells) => cells.get(column).copied().flatten(),
            },
        };
        let is_end = ends.is_some_and(|of| [of.start, of.end].contains(&column));
        let places: Vec<Option<At>> = rows.iter().map(place).collect();
        self.column(if is_end { self.shape.sequence } else { column }, &places)
    }

    /// Values of a column of the changes; `None` gives NULL.
    fn column(&self, column: usize, places: &[Option<At>]) -> Result<ArrayRef> {
        let null = new_null_array(self.shape.wide.field(column).data_type(), 1);
        let arrays = self.held.batches.iter().map(|batch| batch.column(column).as_ref());
        let arrays: Vec<&dyn Array> = arrays.chain([null.as_ref()]).collect();
        let nowhere = (arrays.len() - 1, 0);
        let places: Vec<At> = places.iter().map(|place| place.unwrap_or(nowhere)).collect();
        interleave(&arrays, &places).map_err(LakeError::arrow)
    }
}

/// A row of the side table without a key, for one place in the sequence.
pub(super) fn marked(sequence: &ArrayRef, schema: &SchemaRef, now: DateTime<Utc>) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| match field.name().as_str() {
        SEQUENCE => cast(sequence, field.data_type()).map_err(LakeError::arrow),
        DELETED => Ok(Arc::new(BooleanArray::from(vec![true])) as ArrayRef),
        RECORDED_AT => Ok(times(now, 1)),
        _ => Ok(new_null_array(field.data_type(), 1)),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(SchemaRef::clone(schema), columns).map_err(LakeError::arrow)
}

fn times(now: DateTime<Utc>, rows: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_value(now.timestamp_micros(), rows).with_timezone("UTC"))
}
