//! Row groups as they are stored.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{Stream, iter};
use futures::{FutureExt, StreamExt};
use headwater_core::runs::{cut, runs};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;

use super::encode::Format;
use super::fetched::Fetched;
use super::{Group, unexpected};
use crate::error::{LakeError, Result};
use crate::storage::Storage;
use crate::table::DataFile;

/// Bytes from a file's end that hold its footer, as a rule.
const FOOTER: usize = 64 << 10;

/// Files whose footers are read at once.
const OPENED_AHEAD: usize = 8;

/// Bytes of columns that are read together to be copied, unless one alone has more.
const RUN_BYTES: u64 = 4 << 20;

/// Runs of columns that are read at once.
const RUNS_AT_ONCE: usize = 2;

/// Bytes of some columns of a group that are read together, about.
const PART_BYTES: u64 = 4 << 20;

/// Rows that are decoded together.
const BATCH_ROWS: usize = 8_192;

/// A data file that is open, without a deletion vector. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    store: Arc<dyn ObjectStore>,
    location: Path,
    size: u64,
    metadata: ArrowReaderMetadata,
}

/// Some columns of a row group, in memory as they are stored.
#[derive(Debug)]
pub(crate) struct Stored {
    builder: ParquetRecordBatchReaderBuilder<Fetched>,
    location: Path,
}

/// A whole row group as it is stored, a run of columns after another: the first of them is in memory.
#[derive(Debug)]
pub(crate) struct Copied {
    source: Source,
    group: usize,
    first: Run,
    others: Vec<Range<usize>>,
}

/// Columns of a row group that lie one after another, in memory as they are stored.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) bytes: Fetched,
    pub(super) columns: Vec<ColumnCloseResult>,
}

/// Opens files, some ahead of what is done with them: those that may be, and have no deletion vector.
pub(crate) fn opened<F: Fn(&DataFile) -> bool>(
    storage: &Storage,
    files: Vec<DataFile>,
    may_be: F,
) -> impl Stream<Item = Result<(DataFile, Option<Source>)>> + use<F> {
    let opening = |file: DataFile| {
        let (storage, opens) = (storage.clone(), may_be(&file));
        async move {
            let source = if opens { Source::open(&storage, &file).await? } else { None };
            Ok((file, source))
        }
    };
    let opening: Vec<_> = files.into_iter().map(opening).collect();
    iter(opening).buffered(OPENED_AHEAD)
}

impl Source {
    /// Reads the footer of a file; `None` for one with a deletion vector, of which not all rows count.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read; `Invalid` when it isn't a Parquet file.
    async fn open(storage: &Storage, file: &DataFile) -> Result<Option<Self>> {
        if file.has_deletion_vector() {
            return Ok(None);
        }
        let (store, location, size) = (storage.object_store(), file.location().clone(), file.size());
        let footer = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_prefetch_hint(Some(FOOTER))
            .load_and_finish(Footer { store: store.as_ref(), location: &location }, size);
        let metadata = footer.await.map_err(|source| unreadable(&location, source))?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options);
        let metadata = metadata.map_err(|source| unreadable(&location, source))?;
        Ok(Some(Self { store, location, size, metadata }))
    }

    /// Whether groups can be copied into files of a layout.
    pub(crate) fn is_laid_out_as(&self, format: &Format) -> bool {
        format.is_of(self.file())
    }

    pub(crate) fn groups(&self) -> Range<usize> {
        0..self.file().num_row_groups()
    }

    pub(crate) fn group(&self, at: usize) -> &RowGroupMetaData {
        self.file().row_group(at)
    }

    /// Whether a group is better put together with others.
    pub(crate) fn is_small(&self, at: usize, format: &Format) -> bool {
        let group = self.group(at);
        let positive = |number: i64| u64::try_from(number).unwrap_or_default();
        format.is_small(positive(group.num_rows()), positive(group.compressed_size()))
    }

    /// Whether a group may stay as it is beside others of a layout: it is as large as one of them, and stored as they are.
    pub(crate) fn may_stay(&self, at: usize, format: &Format) -> bool {
        let mut columns = self.group(at).columns().iter();
        !self.is_small(at, format) && columns.all(|column| format.is_stored_so(column))
    }

    /// Bytes of some columns of a group, as they are stored.
    pub(super) fn stored_size(&self, group: usize, names: &[&str]) -> u64 {
        let columns = self.group(group).columns().iter();
        let of_names = columns
            .filter(|column| column.column_path().parts().first().is_some_and(|root| names.contains(&root.as_str())));
        of_names.map(|column| column.byte_range().1).sum()
    }

    /// Reads those of some columns of a group that the file has.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read.
    pub(crate) async fn columns(&self, group: usize, names: &[&str]) -> Result<Stored> {
        self.stored(group, self.mask(names)).await
    }

    /// Reads all columns of a group.
    ///
    /// # Errors
    /// As [`Self::columns`].
    pub(crate) async fn rows(&self, group: usize) -> Result<Stored> {
        self.stored(group, ProjectionMask::all()).await
    }

    /// Begins to read a group, to put it into another file as it is.
    ///
    /// # Errors
    /// As [`Self::columns`].
    pub(crate) async fn copy(&self, group: usize) -> Result<Group> {
        let sizes = self.group(group).columns().iter().map(|column| column.byte_range().1);
        let mut runs = runs(sizes, RUN_BYTES).into_iter();
        let first = self.run(group, runs.next().unwrap_or_default()).await?;
        Ok(Group::Copied(Copied { source: self.clone(), group, first, others: runs.collect() }))
    }

    async fn run(&self, group: usize, run: Range<usize>) -> Result<Run> {
        let row_group = self.group(group);
        let chunks = &row_group.columns()[run.clone()];
        let filters = chunks.iter().filter_map(filter_extent);
        let bytes = self.fetch(chunks.iter().map(extent).chain(filters).collect()).await?;
        let (of_columns, of_offsets) = (self.file().column_index(), self.file().offset_index());
        let column = |(at, column): (usize, &ColumnChunkMetaData)| {
            let bloom_filter = match filter_extent(column) {
                Some(_) => Sbbf::read_from_column_chunk(column, &bytes)?,
                None => None,
            };
            Ok(ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or_default(),
                rows_written: u64::try_from(row_group.num_rows()).unwrap_or_default(),
                metadata: column.clone(),
                bloom_filter,
                column_index: of_columns.and_then(|groups| groups.get(group)?.get(at)).cloned(),
                offset_index: of_offsets.and_then(|groups| groups.get(group)?.get(at)).cloned(),
            })
        };
        let columns = run.zip(chunks).map(column).collect::<parquet::errors::Result<_>>();
        let columns = columns.map_err(|source| unreadable(&self.location, source))?;
        Ok(Run { bytes, columns })
    }

    /// Rows of a group, in order, of which some columns are small enough to be read together. They begin where a page of the first of these columns
    /// does, so that few pages are read twice; they are all of them where the file doesn't tell where its pages are.
    pub(crate) fn parts(&self, group: usize, names: &[&str]) -> Vec<Range<usize>> {
        let rows = usize::try_from(self.group(group).num_rows()).unwrap_or_default();
        let mask = self.mask(names);
        let pages = self.pages(group).unwrap_or_default().iter().enumerate();
        let first = pages.filter(|(leaf, _)| mask.leaf_included(*leaf)).map(|(_, pages)| pages.page_locations()).next();
        let starts = first.into_iter().flatten().filter_map(|page| usize::try_from(page.first_row_index).ok());
        let parts = usize::try_from(self.stored_size(group, names).div_ceil(PART_BYTES)).unwrap_or(1).max(1);
        cut(rows, starts, rows.div_ceil(parts))
    }

    /// Reads those of some columns of a group that the file has, of some rows.
    ///
    /// # Errors
    /// As [`Self::columns`].
    pub(crate) async fn columns_of_rows(&self, group: usize, names: &[&str], rows: Range<usize>) -> Result<Stored> {
        let total = usize::try_from(self.group(group).num_rows()).unwrap_or_default();
        let Some(pages) = self.pages(group).filter(|_| rows != (0..total)) else {
            return self.columns(group, names).await;
        };
        let mask = self.mask(names);
        let rows = RowSelection::from_consecutive_ranges(std::iter::once(rows), total);
        let columns = self.group(group).columns().iter().zip(pages).enumerate();
        let wanted = columns.filter(|(leaf, _)| mask.leaf_included(*leaf)).flat_map(|(_, (column, pages))| {
            let pages = pages.page_locations();
            let first = pages.first().and_then(|page| u64::try_from(page.offset).ok());
            // A dictionary comes before the first page.
            let dictionary = first.map(|first| extent(column).start..first).filter(|dictionary| !dictionary.is_empty());
            dictionary.into_iter().chain(rows.scan_ranges(pages))
        });
        let bytes = self.fetch(wanted.collect()).await?;
        let Stored { builder, location } = self.reader(group, mask, bytes);
        Ok(Stored { builder: builder.with_row_selection(rows), location })
    }

    /// Where the pages of each column of a group are, if the file tells.
    fn pages(&self, group: usize) -> Option<&[OffsetIndexMetaData]> {
        let pages = self.file().offset_index()?.get(group)?;
        let are_all = pages.len() == self.group(group).num_columns()
            && pages.iter().all(|pages| !pages.page_locations().is_empty());
        are_all.then_some(pages.as_slice())
    }

    fn mask(&self, names: &[&str]) -> ProjectionMask {
        let fields = self.metadata.parquet_schema().root_schema().get_fields();
        let roots = fields.iter().enumerate().filter(|(_, field)| names.contains(&field.name()));
        ProjectionMask::roots(self.metadata.parquet_schema(), roots.map(|(at, _)| at))
    }

    async fn stored(&self, group: usize, mask: ProjectionMask) -> Result<Stored> {
        let columns = self.group(group).columns().iter().enumerate();
        let wanted = columns.filter(|(leaf, _)| mask.leaf_included(*leaf)).map(|(_, column)| extent(column));
        let bytes = self.fetch(wanted.collect()).await?;
        Ok(self.reader(group, mask, bytes))
    }

    fn reader(&self, group: usize, mask: ProjectionMask, bytes: Fetched) -> Stored {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS);
        Stored { builder, location: self.location.clone() }
    }

    pub(super) async fn fetch(&self, ranges: Vec<Range<u64>>) -> Result<Fetched> {
        let parts = self.store.get_ranges(&self.location, &ranges).await.map_err(|source| LakeError::Storage {
            action: "can't read",
            path: self.location.to_string(),
            source,
        })?;
        Ok(Fetched::new(ranges.into_iter().map(|range| range.start).zip(parts), self.size))
    }

    pub(super) const fn location(&self) -> &Path {
        &self.location
    }

    fn file(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }
}

impl Copied {
    /// All columns in order. Besides the run that is given out, up to two more are in memory.
    pub(super) fn runs(self) -> impl Stream<Item = Result<Run>> {
        let Self { source, group, first, others } = self;
        let others = iter(others).map(move |run| {
            let source = source.clone();
            async move { source.run(group, run).await }
        });
        iter([Ok(first)]).chain(others.buffered(RUNS_AT_ONCE))
    }
}

impl Stored {
    /// Decodes rows, all or some.
    ///
    /// # Errors
    /// `Invalid` when the bytes aren't what the footer says.
    pub(crate) fn decode(self, only: Option<RowSelection>) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let Self { builder, location } = self;
        let builder = match only {
            // Memory is asked for by the rows of a batch, and of what is looked for few are in a group.
            Some(rows) => builder.with_batch_size(rows.row_count().clamp(1, BATCH_ROWS)).with_row_selection(rows),
            None => builder,
        };
        let batches = builder.build().map_err(unexpected)?;
        Ok(batches.map(move |batch| batch.map_err(|source| unreadable(&location, source.into()))))
    }
}

/// Where a column of a group is.
fn extent(column: &ColumnChunkMetaData) -> Range<u64> {
    let (start, length) = column.byte_range();
    start..start + length
}

/// Where the bloom filter of a column is; one that doesn't tell how long it is isn't looked for.
pub(super) fn filter_extent(column: &ColumnChunkMetaData) -> Option<Range<u64>> {
    let start = u64::try_from(column.bloom_filter_offset()?).ok()?;
    Some(start..start + u64::try_from(column.bloom_filter_length()?).ok()?)
}

/// Reads the end of a file.
struct Footer<'a> {
    store: &'a dyn ObjectStore,
    location: &'a Path,
}

impl MetadataFetch for Footer<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let read = self.store.get_range(self.location, range);
        read.map(|read| read.map_err(|source| ParquetError::External(Box::new(source)))).boxed()
    }
}

pub(super) fn unreadable(location: &Path, source: ParquetError) -> LakeError {
    let other = match source {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(source) => {
                return LakeError::Storage { action: "can't read", path: location.to_string(), source: *source };
            }
            Err(other) => other.to_string(),
        },
        other => other.to_string(),
    };
    LakeError::DataFileUnreadable { path: location.to_string(), message: other }
}
