//! The change data feed of a table that is kept by changes.
//!
//! Files are written anew for the sake of a few of their rows; what has changed can't be told from the files. So,
//! where the table asks for it (`delta.enableChangeDataFeed`), the rows that differ are written beside it, to
//! `_change_data`, with a column that says how:
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-cdc-file>. A row that went and came
//! back the same has not changed. One that came back different was updated: of a history, if it begins where it began.
//!
//! Memory holds the rows that went and those that came; when the table is emptied, those that came only.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use deltalake::kernel::Add;

use super::shape::Shape;
use crate::error::{LakeError, Result};
use crate::flow::outlet::TablePlan;
use crate::storage::Storage;
use crate::write::{CHANGE_DATA, Writer};

/// The column that says what happened to a row.
const CHANGE_TYPE: &str = "_change_type";

/// Collects what changes.
#[derive(Debug)]
pub(super) struct Feed {
    writer: Writer,
    schema: SchemaRef,
    /// Columns by which a row that went and one that came are the same one.
    identity: Vec<usize>,
    went: Vec<RecordBatch>,
    came: Vec<RecordBatch>,
}

impl Feed {
    /// A feed of a table, to be closed or aborted.
    pub(super) fn new(storage: &Storage, plan: &TablePlan, shape: &Shape, target_file_size: u64) -> Result<Self> {
        let changed = Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, true));
        let fields: Vec<_> = plan.schema.fields().iter().cloned().chain([changed]).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let path = format!("{}/{CHANGE_DATA}", plan.path);
        let writer = Writer::new(storage, &path, Arc::clone(&schema), &plan.partitioned_by, target_file_size)?;
        let start = shape.history.as_ref().map(|ends| ends.start);
        let identity = shape.keys.iter().copied().chain(start).collect();
        Ok(Self { writer, schema, identity, went: Vec::new(), came: Vec::new() })
    }

    /// Rows that went, and may come back.
    pub(super) fn went(&mut self, rows: RecordBatch) {
        self.went.push(rows);
    }

    /// Rows that went for good.
    pub(super) async fn deleted(&mut self, rows: &RecordBatch) -> Result<()> {
        self.write(rows, "delete").await
    }

    /// Rows that came.
    pub(super) fn came(&mut self, rows: RecordBatch) {
        self.came.push(rows);
    }

    /// Writes what has changed; the files, as the table's log names them.
    pub(super) async fn close(mut self) -> Result<Vec<Add>> {
        if let Err(error) = self.compare().await {
            self.writer.abort().await;
            return Err(error);
        }
        let written = self.writer.close().await?;
        let named = |add: Add| Add { path: format!("{CHANGE_DATA}/{}", add.path), data_change: false, ..add };
        Ok(written.adds.into_iter().map(named).collect())
    }

    /// Gives up: no file is left.
    pub(super) async fn abort(self) {
        self.writer.abort().await;
    }

    async fn compare(&mut self) -> Result<()> {
        let columns: Vec<usize> = (0..self.schema.fields().len() - 1).collect();
        let plain = Arc::new(self.schema.project(&columns).map_err(LakeError::arrow)?);
        let went = concat_batches(&plain, &std::mem::take(&mut self.went)).map_err(LakeError::arrow)?;
        let came = concat_batches(&plain, &std::mem::take(&mut self.came)).map_err(LakeError::arrow)?;
        let changed = self.changed(&went, &came)?;
        for (rows, at, how) in [
            (&went, changed.before, "update_preimage"),
            (&came, changed.after, "update_postimage"),
            (&came, changed.inserted, "insert"),
            (&went, changed.deleted, "delete"),
        ] {
            let rows = take_record_batch(rows, &UInt32Array::from(at)).map_err(LakeError::arrow)?;
            self.write(&rows, how).await?;
        }
        Ok(())
    }

    fn changed(&self, went: &RecordBatch, came: &RecordBatch) -> Result<Changed> {
        let whole: Vec<usize> = (0..went.num_columns()).collect();
        let [(old, new), (old_whole, new_whole)] = [codes(&self.identity, went, came)?, codes(&whole, went, came)?];
        let mut left: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        for (row, code) in (0_u32..).zip(old.iter()) {
            left.entry(code.as_ref().into()).or_default().push(row);
        }
        let mut changed = Changed::default();
        for (row, code) in (0_u32..).zip(new.iter()) {
            let Some(candidates) = left.get_mut(code.as_ref()).filter(|candidates| !candidates.is_empty()) else {
                changed.inserted.push(row);
                continue;
            };
            let is_same = |old: &u32| old_whole.row(*old as usize) == new_whole.row(row as usize);
            if let Some(same) = candidates.iter().position(is_same) {
                candidates.swap_remove(same);
            } else {
                changed.before.extend(candidates.pop());
                changed.after.push(row);
            }
        }
        changed.deleted = left.into_values().flatten().collect();
        changed.deleted.sort_unstable();
        Ok(changed)
    }

    async fn write(&mut self, rows: &RecordBatch, how: &str) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let how: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(how, rows.num_rows())));
        let columns = rows.columns().iter().cloned().chain([how]).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(LakeError::arrow)?;
        self.writer.write(&rows).await
    }
}

/// Positions of rows by what happened to them; `before` and `after` go together.
#[derive(Debug, Default)]
struct Changed {
    before: Vec<u32>,
    after: Vec<u32>,
    inserted: Vec<u32>,
    deleted: Vec<u32>,
}

/// Rows of both in a form in which those with equal values are equal.
fn codes(columns: &[usize], went: &RecordBatch, came: &RecordBatch) -> Result<(Rows, Rows)> {
    let field = |at: &usize| SortField::new(went.schema_ref().field(*at).data_type().clone());
    let converter = RowConverter::new(columns.iter().map(field).collect()).map_err(LakeError::arrow)?;
    let of = |rows: &RecordBatch| {
        let arrays: Vec<ArrayRef> = columns.iter().map(|at| ArrayRef::clone(rows.column(*at))).collect();
        converter.convert_columns(&arrays).map_err(LakeError::arrow)
    };
    Ok((of(went)?, of(came)?))
}
