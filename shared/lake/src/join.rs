//! The rows of some files of a table in one file, in any order.
//!
//! Row groups that are large enough are copied as they are stored. The rows of the others are put together, by as many encoders as there are
//! processors: what is in memory is a row group of each, and those that are read ahead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use datafusion::physical_plan::common::spawn_buffered;
use futures::TryFutureExt;
use futures::stream::{Stream, TryStreamExt, iter};

use crate::align::align;
use crate::error::{LakeError, Result};
use crate::groups::{Encoder, Format, Group, GroupWriter, Source, Stored, aside, at_once, opened};
use crate::lake::Lake;
use crate::table::{DataFile, Table};
use crate::write::Written;

/// Batches of rows that the engine makes ahead of what is done with them.
const AHEAD: usize = 2;

/// A row group of one of the files.
enum Piece {
    /// As it is stored.
    Stays(Group),
    /// To be put together with others.
    Rows(Stored),
}

/// Encoders that take turns. Clones share them.
#[derive(Clone)]
struct Encoders {
    format: Arc<Format>,
    idle: Arc<Mutex<Vec<Encoder>>>,
}

impl Lake {
    /// Writes the rows of files of one partition. If it fails, no file is left.
    pub(crate) async fn join(
        &self,
        table: &Table,
        files: &[DataFile],
        (format, mut writer): (Arc<Format>, GroupWriter),
    ) -> Result<Written> {
        match self.fill_joined(table, files, (format, &mut writer)).await {
            Ok(()) => writer.close().await,
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    async fn fill_joined(
        &self,
        table: &Table,
        files: &[DataFile],
        (format, writer): (Arc<Format>, &mut GroupWriter),
    ) -> Result<()> {
        if let Some(first) = files.first().filter(|first| writer.leaves(first)) {
            writer.enter(first).await?;
        }
        let rows = files.iter().filter_map(DataFile::num_records).sum();
        let (encoders, count) = Encoders::for_rows(&format, rows);
        // Files of other columns, or with columns that are stored in other ways.
        let others = Mutex::new(Vec::new());
        let fitting = |(file, source): (DataFile, Option<Source>)| {
            let source = source.filter(|source| source.is_laid_out_as(&format));
            if source.is_none() {
                others.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            }
            std::future::ready(Ok(source))
        };
        let sources = opened(self.storage(), files.to_vec(), |_| true).try_filter_map(fitting);
        let groups = pieces(sources, &format).map_ok(|piece| encoders.clone().take(piece)).try_buffered(count);
        let mut groups = std::pin::pin!(groups);
        while let Some(groups) = groups.try_next().await? {
            append(writer, groups).await?;
        }
        let others = std::mem::take(&mut *others.lock().unwrap_or_else(PoisonError::into_inner));
        if !others.is_empty() {
            self.fill_decoded(table, &others, (&encoders, writer)).await?;
        }
        append(writer, encoders.finish()?).await
    }

    /// Rows that the engine makes those of the table.
    async fn fill_decoded(
        &self,
        table: &Table,
        files: &[DataFile],
        (encoders, writer): (&Encoders, &mut GroupWriter),
    ) -> Result<()> {
        let frame = self.engine().ordered_session().read_table(table.provider_of(files).await?);
        let rows = frame.map_err(LakeError::query)?.execute_stream().await.map_err(LakeError::query)?;
        let mut rows = spawn_buffered(rows, AHEAD);
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            let encoders = encoders.clone();
            append(writer, aside(move || encoders.encode(std::iter::once(Ok(batch)))).await?).await?;
        }
        Ok(())
    }
}

async fn append(writer: &mut GroupWriter, groups: Vec<Group>) -> Result<()> {
    for group in groups {
        writer.append(group).await?;
    }
    Ok(())
}

/// The row groups of files, a few of them read ahead.
fn pieces<'a>(
    sources: impl Stream<Item = Result<Source>> + 'a,
    format: &'a Format,
) -> impl Stream<Item = Result<Piece>> + 'a {
    let groups = |source: Source| iter(source.groups().map(move |group| Ok((source.clone(), group))));
    let read = move |(source, group): (Source, usize)| async move {
        if source.may_stay(group, format) {
            source.copy(group).await.map(Piece::Stays)
        } else {
            source.rows(group).map_ok(Piece::Rows).await
        }
    };
    sources.map_ok(groups).try_flatten().map_ok(read).try_buffered(at_once())
}

impl Encoders {
    /// As many as so many rows are worth, so that few rows become one row group; and how many.
    fn for_rows(format: &Arc<Format>, rows: u64) -> (Self, usize) {
        let worth = usize::try_from(rows / (format.rows_of_a_group() / 2)).unwrap_or(usize::MAX);
        let count = worth.clamp(1, at_once());
        let encoders = (0..count).map(|_| Encoder::new(Arc::clone(format))).collect();
        (Self { format: Arc::clone(format), idle: Arc::new(Mutex::new(encoders)) }, count)
    }

    /// The groups that are full with another piece.
    async fn take(self, piece: Piece) -> Result<Vec<Group>> {
        match piece {
            Piece::Stays(group) => Ok(vec![group]),
            Piece::Rows(stored) => aside(move || self.encode(stored.decode(None)?)).await,
        }
    }

    fn encode(&self, rows: impl Iterator<Item = Result<RecordBatch>>) -> Result<Vec<Group>> {
        let idle = self.idle().pop();
        let mut encoder = idle.unwrap_or_else(|| Encoder::new(Arc::clone(&self.format)));
        let mut full = Vec::new();
        for rows in rows {
            full.extend(encoder.write(&align(&rows?, self.format.schema())?)?);
        }
        self.idle().push(encoder);
        Ok(full)
    }

    /// The groups of all rows that are left.
    fn finish(&self) -> Result<Vec<Group>> {
        let mut groups = Vec::new();
        for mut encoder in self.idle().drain(..) {
            groups.extend(encoder.finish()?);
        }
        Ok(groups)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Encoder>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
