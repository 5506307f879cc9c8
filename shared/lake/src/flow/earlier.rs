//! What an earlier attempt of a batch has put aside.
//!
//! Side tables commit first. So after a death between the two commits, or a race lost there, they hold
//! rows of a batch that its target doesn't hold. The batch runs again, and puts aside only what isn't
//! there yet. What was put aside stays there and isn't written to the target, even if the rules that the
//! batch is judged by have changed meanwhile: each row is in one place.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;

use super::outlet::TablePlan;
use super::{FlowRun, RETURNED};
use crate::align::align;
use crate::error::{LakeError, Result};
use crate::ingest::{HEADWATER, RAW_FIELDS};
use crate::ledger::{LedgerColumn, leaf};
use crate::table::Table;

/// Which rows of a side table are of a batch.
#[derive(Debug, Clone)]
pub(super) enum Share {
    /// None: no earlier attempt got so far.
    Nothing,
    /// Those of the flow that were read through this version of its source; `None` for a backfill.
    Version(Option<u64>),
    /// Those of the records with these ids.
    Records(LedgerColumn, HashSet<String>),
    /// Those of the part of a file that begins at a byte, and what a batch of the whole file has put aside.
    Part {
        /// The file.
        path: String,
        /// The byte.
        start: u64,
    },
}

impl Share {
    /// Those of the records with these ids, of which there may be none.
    pub(super) fn of_records(column: LedgerColumn, ids: HashSet<String>) -> Self {
        if ids.is_empty() { Self::Nothing } else { Self::Records(column, ids) }
    }
}

/// Rows that are there already, and how often.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    rows: HashMap<String, usize>,
}

impl Earlier {
    /// Those rows that aren't there, each as often as it is missing; `schema` is the side table's.
    pub(super) fn missing(&mut self, rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        if self.rows.is_empty() {
            return Ok(rows.clone());
        }
        let mut is_missing = |row: String| match self.rows.get_mut(&row) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            Some(_) | None => true,
        };
        let wanted: BooleanArray = texts(&align(rows, schema)?)?.into_iter().map(|row| Some(is_missing(row))).collect();
        filter_record_batch(rows, &wanted).map_err(LakeError::arrow)
    }

    fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        for row in texts(rows)? {
            *self.rows.entry(row).or_default() += 1;
        }
        Ok(())
    }
}

impl FlowRun<'_> {
    /// Reads a batch's share of a side table.
    pub(super) async fn earlier(&self, side: Option<&Table>, plan: &TablePlan, share: &Share) -> Result<Earlier> {
        let mut earlier = Earlier::default();
        let (Some(table), Share::Version(_) | Share::Records(..) | Share::Part { .. }) = (side, share) else {
            return Ok(earlier);
        };
        let session = self.lake.engine().session();
        let frame = session.read_table(table.provider().await?).map_err(LakeError::query)?;
        let mut rows = frame.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            let batch = align(&batch, &plan.schema)?;
            let ours = self.share_of(&batch, share);
            earlier.add(&filter_record_batch(&batch, &ours).map_err(LakeError::arrow)?)?;
        }
        Ok(earlier)
    }

    fn share_of(&self, batch: &RecordBatch, share: &Share) -> BooleanArray {
        let text = |path: &str| leaf(batch, path);
        let ours: Option<BooleanArray> = match share {
            Share::Nothing => None,
            Share::Records(column, ids) => text(column.path()).map(|values| {
                let held = |id: Option<&str>| Some(id.is_some_and(|id| ids.contains(id)));
                values.as_string::<i32>().iter().map(held).collect()
            }),
            Share::Part { path, start } => {
                text(LedgerColumn::FilePath.path()).zip(text("_headwater.source_version")).map(|(paths, starts)| {
                    let start = i64::try_from(*start).ok();
                    let starts = starts.as_primitive::<Int64Type>().iter();
                    let same = |(of, began): (Option<&str>, Option<i64>)| {
                        Some(of == Some(path.as_str()) && (began.is_none() || began == start))
                    };
                    paths.as_string::<i32>().iter().zip(starts).map(same).collect()
                })
            }
            Share::Version(version) => {
                text("_headwater.flow").zip(text("_headwater.source_version")).map(|(flows, versions)| {
                    let version = version.and_then(|version| i64::try_from(version).ok());
                    let versions = versions.as_primitive::<Int64Type>().iter();
                    let same = |(flow, read): (Option<&str>, Option<i64>)| {
                        Some(flow == Some(self.flow.name.as_str()) && read == version)
                    };
                    flows.as_string::<i32>().iter().zip(versions).map(same).collect()
                })
            }
        };
        ours.unwrap_or_else(|| BooleanArray::from(vec![false; batch.num_rows()]))
    }
}

/// Each row as text, without what differs from one attempt to the next: reasons, times and
/// what a redrive did.
fn texts(rows: &RecordBatch) -> Result<Vec<String>> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        match column.data_type() {
            DataType::Struct(_) if field.name() == HEADWATER => {
                let fields = column.as_struct();
                columns.extend(RAW_FIELDS.iter().filter_map(|name| fields.column_by_name(name)).map(ArrayRef::clone));
            }
            _ if field.name() == RETURNED => {}
            _ => columns.push(ArrayRef::clone(column)),
        }
    }
    let options = FormatOptions::new().with_null("\0");
    let formatters = columns.iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let formatters = formatters.collect::<std::result::Result<Vec<_>, _>>().map_err(LakeError::arrow)?;
    let text = |at| formatters.iter().map(|formatter| format!("{}\u{1f}", formatter.value(at))).collect();
    Ok((0..rows.num_rows()).map(text).collect())
}
