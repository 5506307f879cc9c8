//! A table with some keys' rows taken out and new rows put in.
//!
//! Only files that hold one of the keys are written anew, without those rows and with the new ones, and of these files only
//! the row groups that hold one are decoded (`touched`, `rewrite`). What is in memory is the keys, the new rows, and a
//! few row groups.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::DateTime;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use futures::TryStreamExt;
use headwater_core::cdc::DELETED;
use parquet::file::metadata::RowGroupMetaData;

use super::feed::Feed;
use super::held::{ByKey, Coder, Keys};
use super::parts::Part;
use super::rewrite::Sink;
use super::shape::{RECORDED_AT, Shape};
use crate::align::align;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::outlet::TablePlan;
use crate::flow::spread::Spread;
use crate::groups::{ColumnProbes, Format, bounds, opened};
use crate::table::{DataFile, Table};
use crate::write::{Written, discard};

/// Which rows of a table stay.
#[derive(Debug)]
pub(super) enum Stays {
    /// All but those with these keys; rows without a key too.
    AllBut(ByKey<Fate>),
    /// Those with these keys alone, of the keys of a part; those of other keys all.
    Only(Keys, Part),
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
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) shape: Arc<Shape>,
    pub(super) coder: Arc<Coder>,
    /// Deletes that were recorded before this, in microseconds, are forgotten when their file is written anew.
    pub(super) forget_before: Option<i64>,
}

/// What is taken out of a table, and how its files are laid out. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cut {
    pub(super) stays: Arc<Stays>,
    pub(super) finding: Finding,
    pub(super) format: Arc<Format>,
    /// The keys that go are among these, if they are few.
    pub(super) probes: Arc<ColumnProbes>,
    /// Rows that go are wanted.
    pub(super) keeps_lost: bool,
    /// The files have all columns that are needed of their rows.
    pub(super) is_splittable: bool,
    /// New rows have files of their own, with which small ones are put together.
    pub(super) is_partitioned: bool,
}

impl FlowRun<'_> {
    /// The rows of these files, all columns or some.
    pub(super) async fn stream_of(
        &self,
        table: &Table,
        files: &[DataFile],
        columns: Option<&[Expr]>,
    ) -> Result<SendableRecordBatchStream> {
        let provider = table.provider_of(files).await?;
        let frame = self.lake.engine().ordered_session().read_table(provider);
        let frame = frame.and_then(|frame| match columns {
            Some(columns) => frame.select(columns.to_vec()),
            None => Ok(frame),
        });
        frame.map_err(LakeError::query)?.execute_stream().await.map_err(LakeError::query)
    }

    /// Writes those files of the table anew of which rows go, as far as their rows stay, and the new rows; what that
    /// changes goes to the feed, if there is one. The keys that go are among those of the spread. If it fails, no file is left.
    pub(super) async fn merged(
        &self,
        (plan, table): (&TablePlan, Option<&Table>),
        (stays, finding, spread): (Stays, Finding, &Spread),
        new: impl Iterator<Item = Result<RecordBatch>>,
        mut feed: Option<Feed>,
    ) -> Result<Merged> {
        let format = Format::new(&plan.schema, plan.files(self.lake.file_size(&self.flow.target)))?;
        let is_partition = |key: &&str| plan.partitioned_by.iter().any(|column| column.eq_ignore_ascii_case(key));
        let has_keys = !finding.shape.key_names().iter().any(is_partition);
        let cut = Cut {
            is_splittable: plan.partitioned_by.is_empty() || (has_keys && feed.is_none()),
            is_partitioned: !plan.partitioned_by.is_empty(),
            probes: Arc::new(if matches!(stays, Stays::AllBut(_)) { spread.probes() } else { ColumnProbes::new() }),
            keeps_lost: feed.is_some(),
            stays: Arc::new(stays),
            format: Arc::new(format),
            finding,
        };
        let mut sink = Sink::new(self.lake.storage(), plan, &cut.format)?;
        let filled = Box::pin(self.fill((&mut sink, feed.as_mut()), (plan, table), (&cut, spread), new)).await;
        let written = match &filled {
            Ok(_) => Box::pin(sink.close()).await,
            Err(_) => {
                sink.abort().await;
                Ok(Written::default())
            }
        };
        match (filled.and_then(|filled| Ok((filled, written?))), feed) {
            (Ok(((removes, gone), written)), Some(feed)) => match feed.close().await {
                Ok(feed) => Ok(Merged { written: Written { feed, ..written }, removes, gone }),
                Err(error) => {
                    discard(self.lake.storage(), &plan.path, written.adds).await;
                    Err(error)
                }
            },
            (Ok(((removes, gone), written)), None) => Ok(Merged { written, removes, gone }),
            (Err(error), feed) => {
                if let Some(feed) = feed {
                    feed.abort().await;
                }
                Err(error)
            }
        }
    }

    /// Says which files were written anew, and how many rows went.
    async fn fill(
        &self,
        (sink, mut feed): (&mut Sink, Option<&mut Feed>),
        (plan, table): (&TablePlan, Option<&Table>),
        (cut, spread): (&Cut, &Spread),
        new: impl Iterator<Item = Result<RecordBatch>>,
    ) -> Result<(Vec<DataFile>, u64)> {
        let (mut removes, mut gone) = (Vec::new(), 0);
        if let Some(table) = table {
            let candidates = opened(self.lake.storage(), cut.candidates(table, spread).await?, |file| cut.splits(file));
            let mut candidates = std::pin::pin!(candidates);
            while let Some((file, source)) = candidates.try_next().await? {
                if let Some(touched) = self.touched(table, (&file, source), (cut, spread)).await? {
                    gone += self.rewrite((table, &file), touched, (plan, cut), (sink, feed.as_deref_mut())).await?;
                    removes.push(file);
                }
            }
        }
        for batch in new {
            let batch = batch?;
            sink.whole_rows(&batch).await?;
            if let Some(feed) = feed.as_deref_mut() {
                feed.came(batch);
            }
        }
        Ok((removes, gone))
    }
}

impl Stays {
    /// What becomes of the rows of a key; `None` if they stay.
    pub(super) fn fate(&self, key: &[u8]) -> Option<Fate> {
        match self {
            Self::AllBut(keys) => keys.get(key).copied(),
            Self::Only(keys, part) => (part.holds(key) && !keys.contains(key)).then_some(Fate::Gone),
        }
    }
}

impl Cut {
    /// The files that statistics let hold a row that goes, partition by partition.
    async fn candidates(&self, table: &Table, spread: &Spread) -> Result<Vec<DataFile>> {
        let mut files = match self.stays.as_ref() {
            Stays::AllBut(keys) if keys.is_empty() => Vec::new(),
            Stays::AllBut(_) => table.files().await?.into_iter().filter(|file| spread.may_be_in(file)).collect(),
            Stays::Only(..) => table.files().await?,
        };
        files.sort_by_cached_key(DataFile::partition);
        Ok(files)
    }

    /// Whether a file's groups are told apart, if they can be copied.
    pub(super) fn splits(&self, file: &DataFile) -> bool {
        let is_small = file.size() < self.format.target_file_size() / 2;
        self.is_splittable && !(self.is_partitioned && is_small)
    }

    /// Whether statistics let a row group hold a row that goes.
    pub(super) fn may_touch(&self, group: &RowGroupMetaData, spread: &Spread) -> bool {
        match self.stays.as_ref() {
            Stays::AllBut(_) => spread.may_be_within(|name| bounds(group, name)),
            Stays::Only(..) => true,
        }
    }

    /// Whether a row group may hold a delete that is old enough to be forgotten.
    pub(super) fn may_forget(&self, group: &RowGroupMetaData) -> bool {
        let Some(before) = self.finding.forget_before else { return false };
        let micros = |time: &str| DateTime::parse_from_rfc3339(time).ok().map(|time| time.timestamp_micros());
        let recorded = bounds(group, RECORDED_AT).and_then(|(first, _)| micros(first.as_str()?));
        let has_deletes = bounds(group, DELETED).is_none_or(|(_, max)| max.as_bool() != Some(false));
        has_deletes && recorded.is_none_or(|first| first < before)
    }

    /// Which rows of a batch stay, and how many go without new ones in their place.
    pub(super) fn staying(&self, batch: &RecordBatch) -> Result<(BooleanArray, u64)> {
        let keys = align(batch, &self.finding.shape.key_schema()?)?;
        let codes = self.finding.coder.keys(keys.columns())?;
        let fates: Vec<Option<Fate>> = codes.iter().map(|code| self.stays.fate(code.as_ref())).collect();
        let gone = fates.iter().filter(|fate| **fate == Some(Fate::Gone)).count() as u64;
        let past = self.past(batch);
        let has_key = |row: usize| keys.columns().iter().all(|column| column.is_valid(row));
        let is_forgotten = |row: usize| past.as_ref().is_some_and(|past| past.value(row)) && has_key(row);
        let stays = fates.iter().enumerate().map(|(row, fate)| Some(fate.is_none() && !is_forgotten(row)));
        Ok((stays.collect(), gone))
    }

    /// Which rows of the side table are deletes that are old enough to be forgotten; `None` of another table.
    fn past(&self, batch: &RecordBatch) -> Option<BooleanArray> {
        let before = self.finding.forget_before?;
        let deleted = batch.column_by_name(DELETED)?.as_boolean();
        let recorded = batch.column_by_name(RECORDED_AT)?.as_primitive::<TimestampMicrosecondType>();
        let is_past = |row| deleted.value(row) && recorded.is_valid(row) && recorded.value(row) < before;
        Some((0..batch.num_rows()).map(|row| Some(is_past(row))).collect())
    }
}
