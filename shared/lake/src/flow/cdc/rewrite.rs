//! A file without some of its rows.
//!
//! Row groups that lose nothing are copied as they are stored; the others are decoded, and what stays of them is encoded. Small
//! groups are decoded too, and their rows put together with those of others and with new rows, so that a file that is
//! written anew over and over doesn't fall to pieces.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{filter_record_batch, not};
use datafusion::physical_plan::common::spawn_buffered;
use futures::{StreamExt, TryStreamExt};

use super::AHEAD;
use super::feed::Feed;
use super::merge::{Cut, Stays};
use super::touched::Touched;
use crate::align::align;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::flow::outlet::TablePlan;
use crate::groups::{Encoder, Format, Group, GroupWriter, Source, Stored, aside, at_once};
use crate::storage::Storage;
use crate::table::{DataFile, Table};
use crate::write::{Writer, Written, discard};

/// Where what stays and what is new goes.
pub(super) struct Sink {
    storage: Storage,
    table: String,
    groups: GroupWriter,
    /// Rows that aren't a group yet.
    loose: Encoder,
    /// Rows with their partition columns, of a table that has some.
    parted: Option<Writer>,
}

/// What is left of a row group.
#[derive(Default)]
struct Left {
    groups: Vec<Group>,
    /// Rows that are too few for a group.
    loose: Vec<RecordBatch>,
    /// Rows that went, where they are wanted.
    lost: Vec<RecordBatch>,
    /// How many went without new ones in their place.
    gone: u64,
}

impl FlowRun<'_> {
    /// Writes what stays of a file; says how many rows went without new ones in their place.
    pub(super) async fn rewrite(
        &self,
        (table, file): (&Table, &DataFile),
        touched: Touched,
        (plan, cut): (&TablePlan, &Cut),
        (sink, mut feed): (&mut Sink, Option<&mut Feed>),
    ) -> Result<u64> {
        sink.enter(file).await?;
        let mut gone = 0;
        match touched {
            Touched::Groups(source, touched) => {
                let left = |(group, is_touched): (usize, bool)| {
                    let (source, cut) = (Arc::clone(&source), cut.clone());
                    async move { left_of(&source, (group, is_touched), cut).await }
                };
                let mut groups = futures::stream::iter(touched.into_iter().enumerate().map(left)).buffered(at_once());
                while let Some(left) = groups.try_next().await? {
                    gone += left.gone;
                    sink.take(left, cut, feed.as_deref_mut()).await?;
                }
            }
            Touched::Whole => {
                let rows = self.stream_of(table, std::slice::from_ref(file), None).await?;
                let mut rows = spawn_buffered(rows, AHEAD);
                while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
                    let mut left = Left::default();
                    let staying = left.without(&align(&batch, &plan.schema)?, cut)?;
                    sink.whole_rows(&staying).await?;
                    gone += left.gone;
                    sink.take(left, cut, feed.as_deref_mut()).await?;
                }
            }
        }
        Ok(gone)
    }
}

async fn left_of(source: &Source, (group, is_touched): (usize, bool), cut: Cut) -> Result<Left> {
    let is_small = source.is_small(group, &cut.format);
    if !is_touched && !is_small {
        return Ok(Left { groups: vec![source.copy(group).await?], ..Left::default() });
    }
    let stored = source.rows(group).await?;
    aside(move || Left::of(stored, is_small, &cut)).await
}

impl Left {
    fn of(stored: Stored, is_small: bool, cut: &Cut) -> Result<Self> {
        let mut left = Self::default();
        let mut encoder = Encoder::new(Arc::clone(&cut.format));
        for batch in stored.decode(None)? {
            let staying = left.without(&align(&batch?, cut.format.schema())?, cut)?;
            if is_small {
                left.loose.push(staying);
            } else {
                left.groups.extend(encoder.write(&staying)?);
            }
        }
        left.groups.extend(encoder.finish()?);
        Ok(left)
    }

    /// The rows of a batch that stay; notes what goes.
    fn without(&mut self, batch: &RecordBatch, cut: &Cut) -> Result<RecordBatch> {
        let (staying, gone) = cut.staying(batch)?;
        self.gone += gone;
        if cut.keeps_lost {
            let lost = not(&staying).and_then(|lost| filter_record_batch(batch, &lost));
            self.lost.push(lost.map_err(LakeError::arrow)?);
        }
        filter_record_batch(batch, &staying).map_err(LakeError::arrow)
    }
}

impl Sink {
    pub(super) fn new(storage: &Storage, plan: &TablePlan, format: &Arc<Format>) -> Result<Self> {
        let parted = |schema| {
            let files = plan.files(format.target_file_size());
            let writer = Writer::with_files(storage, &plan.path, schema, files);
            writer.map(|writer| writer.with_small_row_groups(files.target_size))
        };
        let is_parted = !plan.partitioned_by.is_empty();
        Ok(Self {
            storage: storage.clone(),
            table: plan.path.clone(),
            groups: GroupWriter::new(storage, &plan.path, Arc::clone(format)),
            loose: Encoder::new(Arc::clone(format)),
            parted: is_parted.then(|| parted(Arc::clone(&plan.schema))).transpose()?,
        })
    }

    /// Takes rows with all columns of the table.
    pub(super) async fn whole_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        match &mut self.parted {
            Some(writer) if rows.num_rows() > 0 => writer.write(rows).await,
            Some(_) => Ok(()),
            None => self.rows(rows).await,
        }
    }

    /// Ends all files. If it fails, none is left.
    pub(super) async fn close(mut self) -> Result<Written> {
        if let Err(error) = self.flush().await {
            self.abort().await;
            return Err(error);
        }
        let Self { storage, table, groups, parted, .. } = self;
        match (groups.close().await, parted) {
            (Ok(mut written), Some(writer)) => match writer.close().await {
                Ok(new) => {
                    written.add(new);
                    Ok(written)
                }
                Err(error) => {
                    discard(&storage, &table, written.adds).await;
                    Err(error)
                }
            },
            (Err(error), Some(writer)) => {
                writer.abort().await;
                Err(error)
            }
            (closed, None) => closed,
        }
    }

    /// Gives up: no file is left.
    pub(super) async fn abort(self) {
        self.groups.abort().await;
        if let Some(writer) = self.parted {
            writer.abort().await;
        }
    }

    /// Turns to the rows of a file.
    async fn enter(&mut self, file: &DataFile) -> Result<()> {
        if self.groups.leaves(file) {
            self.flush().await?;
            self.groups.enter(file).await?;
        }
        Ok(())
    }

    async fn take(&mut self, left: Left, cut: &Cut, mut feed: Option<&mut Feed>) -> Result<()> {
        for group in left.groups {
            self.groups.append(group).await?;
        }
        for rows in &left.loose {
            self.rows(rows).await?;
        }
        for lost in left.lost {
            match (cut.stays.as_ref(), feed.as_deref_mut()) {
                (Stays::AllBut(_), Some(feed)) => feed.went(lost),
                (Stays::Only(..), Some(feed)) => feed.deleted(&lost).await?,
                (_, None) => {}
            }
        }
        Ok(())
    }

    async fn rows(&mut self, rows: &RecordBatch) -> Result<()> {
        for group in self.loose.write(rows)? {
            self.groups.append(group).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        match self.loose.finish()? {
            Some(group) => self.groups.append(group).await,
            None => Ok(()),
        }
    }
}
