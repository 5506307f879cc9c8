//! A table with some keys' rows taken out and new rows put in.
//!
//! Only files that hold one of the keys are written anew, without those rows and with the new ones.
//! Statistics rule files out first; of the others the key columns are read. Rows stream: what is in
//! memory is the keys, the new rows, and what a row group needs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, ident};
use datafusion::physical_plan::common::spawn_buffered;
use futures::TryStreamExt;
use headwater_core::cdc::DELETED;

use super::AHEAD;
use super::candidates::Spread;
use super::feed::Feed;
use super::held::{Code, Coder};
use super::parts::Part;
use super::shape::{RECORDED_AT, Shape};
use crate::align::align;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::outlet::TablePlan;
use crate::table::{DataFile, Table};
use crate::write::{Writer, Written, discard};

/// Which rows of a table stay.
#[derive(Debug)]
pub(super) enum Stays {
    /// All but those with these keys; rows without a key too.
    AllBut(HashMap<Code, Fate>),
    /// Those with these keys alone, of the keys of a part; those of other keys all.
    Only(HashSet<Code>, Part),
}

/// What becomes of the rows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// New ones take their place.
    Replaced,
    /// They go.
    Gone,
}

/// What was written, and what it takes the place of. Nothing of it is visible.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) written: Written,
    pub(super) removes: Vec<DataFile>,
    /// Rows that went, without new ones in their place.
    pub(super) gone: u64,
}

/// How keys are found in the rows of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding<'a> {
    pub(super) shape: &'a Shape,
    pub(super) coder: &'a Coder,
    /// Deletes that were recorded before this, in microseconds, are forgotten when their file is written anew.
    pub(super) forget_before: Option<i64>,
}

/// What is wanted of the rows of some files.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    /// These columns, or all.
    pub(super) columns: Option<&'a [Expr]>,
    /// Those rows for which it is true, or all.
    pub(super) predicate: Option<Expr>,
}

impl FlowRun<'_> {
    /// The files that hold one of the keys, which are among those of the spread.
    pub(super) async fn files_with<V: Sync>(
        &self,
        table: &Table,
        (keys, spread): (&HashMap<Code, V>, &Spread),
        finding: Finding<'_>,
    ) -> Result<Vec<DataFile>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let files = table.files()?.into_iter().filter(|file| spread.may_be_in(file)).collect();
        self.files_where((table, files), (|key: &[u8]| keys.contains_key(key), spread.one_of()), finding).await
    }

    /// Those of some files that hold a key of which something is true. It may be given as a predicate too.
    pub(super) async fn files_where(
        &self,
        (table, files): (&Table, Vec<DataFile>),
        (is_wanted, predicate): (impl Fn(&[u8]) -> bool + Sync, Option<Expr>),
        finding: Finding<'_>,
    ) -> Result<Vec<DataFile>> {
        let mut found = Vec::new();
        let columns: Vec<Expr> = finding.shape.key_names().into_iter().map(ident).collect();
        let schema = finding.shape.key_schema()?;
        for file in files {
            let wanted = Wanted { columns: Some(&columns), predicate: predicate.clone() };
            let mut rows = self.stream_of(table, std::slice::from_ref(&file), wanted).await?;
            while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
                let codes = finding.coder.keys(align(&batch, &schema)?.columns())?;
                if codes.iter().any(|code| is_wanted(code.as_ref())) {
                    found.push(file);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// What is wanted of these files.
    pub(super) async fn stream_of(
        &self,
        table: &Table,
        files: &[DataFile],
        wanted: Wanted<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let provider = table.provider_of(files).await?;
        let frame = self.lake.engine().ordered_session().read_table(provider);
        let frame = frame.and_then(|frame| match wanted.predicate {
            Some(predicate) => frame.filter(predicate),
            None => Ok(frame),
        });
        let frame = frame.and_then(|frame| match wanted.columns {
            Some(columns) => frame.select(columns.to_vec()),
            None => Ok(frame),
        });
        frame.map_err(LakeError::query)?.execute_stream().await.map_err(LakeError::query)
    }

    /// Writes these files of the table anew, as far as their rows stay, and the new rows; what that changes goes to
    /// the feed, if there is one. If it fails, no file is left.
    pub(super) async fn merged(
        &self,
        plan: &TablePlan,
        table: Option<(&Table, Vec<DataFile>)>,
        (stays, rows): (&Stays, impl Iterator<Item = Result<RecordBatch>>),
        (finding, mut feed): (Finding<'_>, Option<Feed>),
    ) -> Result<Merged> {
        let size = self.lake.file_size(&self.flow.target);
        let schema = Arc::clone(&plan.schema);
        let mut writer = Writer::with_files(self.lake.storage(), &plan.path, schema, plan.files(size))?;
        let filled = Box::pin(self.fill((&mut writer, feed.as_mut()), plan, (&table, stays, rows), finding)).await;
        let feed = match (&filled, feed) {
            (Ok(_), Some(feed)) => feed.close().await,
            (Err(_), Some(feed)) => {
                feed.abort().await;
                Ok(Vec::new())
            }
            (_, None) => Ok(Vec::new()),
        };
        match filled.and_then(|gone| Ok((gone, feed?))) {
            Ok((gone, feed)) => {
                let removes = table.map_or_else(Vec::new, |(_, files)| files);
                let written = match writer.close().await {
                    Ok(written) => Written { feed, ..written },
                    Err(error) => {
                        discard(self.lake.storage(), &plan.path, feed).await;
                        return Err(error);
                    }
                };
                Ok(Merged { written, removes, gone })
            }
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    /// Says how many rows went.
    async fn fill(
        &self,
        (writer, mut feed): (&mut Writer, Option<&mut Feed>),
        plan: &TablePlan,
        (table, stays, new): (&Option<(&Table, Vec<DataFile>)>, &Stays, impl Iterator<Item = Result<RecordBatch>>),
        finding: Finding<'_>,
    ) -> Result<u64> {
        let mut gone = 0;
        if let Some((table, files)) = table
            && !files.is_empty()
        {
            let mut rows = spawn_buffered(self.stream_of(table, files, Wanted::default()).await?, AHEAD);
            while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
                let batch = align(&batch, &plan.schema)?;
                let (staying, lost) = finding.staying(&batch, stays)?;
                gone += lost;
                if let Some(feed) = feed.as_deref_mut() {
                    let went = not(&staying).and_then(|went| filter_record_batch(&batch, &went));
                    let went = went.map_err(LakeError::arrow)?;
                    match stays {
                        Stays::AllBut(_) => feed.went(went),
                        Stays::Only(..) => feed.deleted(&went).await?,
                    }
                }
                let staying = filter_record_batch(&batch, &staying).map_err(LakeError::arrow)?;
                if staying.num_rows() > 0 {
                    writer.write(&staying).await?;
                }
            }
        }
        for batch in new {
            let batch = batch?;
            writer.write(&batch).await?;
            if let Some(feed) = feed.as_deref_mut() {
                feed.came(batch);
            }
        }
        Ok(gone)
    }
}

impl Finding<'_> {
    /// Which rows of a batch stay, and how many go without new ones in their place.
    fn staying(self, batch: &RecordBatch, stays: &Stays) -> Result<(BooleanArray, u64)> {
        let keys = align(batch, &self.shape.key_schema()?)?;
        let codes = self.coder.keys(keys.columns())?;
        let fate = |row: usize| match stays {
            Stays::AllBut(keys) => keys.get(codes.row(row).as_ref()).copied(),
            Stays::Only(keys, part) => {
                let code = codes.row(row);
                (part.holds(code.as_ref()) && !keys.contains(code.as_ref())).then_some(Fate::Gone)
            }
        };
        let has_key = |row: usize| keys.columns().iter().all(|column| column.is_valid(row));
        let is_forgotten = |row: usize| has_key(row) && self.is_past(batch, row);
        let fates: Vec<Option<Fate>> = (0..batch.num_rows()).map(fate).collect();
        let gone = fates.iter().filter(|fate| **fate == Some(Fate::Gone)).count() as u64;
        let stays = fates.iter().enumerate().map(|(row, fate)| Some(fate.is_none() && !is_forgotten(row)));
        Ok((stays.collect(), gone))
    }

    /// Whether a row of the side table is a delete that is old enough to be forgotten.
    fn is_past(self, batch: &RecordBatch, row: usize) -> bool {
        let column = |name| batch.column_by_name(name);
        let (Some(before), Some(deleted), Some(recorded)) = (self.forget_before, column(DELETED), column(RECORDED_AT))
        else {
            return false;
        };
        let recorded = recorded.as_primitive::<TimestampMicrosecondType>();
        deleted.as_boolean().value(row) && recorded.is_valid(row) && recorded.value(row) < before
    }
}
