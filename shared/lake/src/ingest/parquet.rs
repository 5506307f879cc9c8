//! Parquet files to record batches.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::StreamExt;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::ranges::{Ranges, Stop};

/// Bytes at a file's end that are read first: most footers are in them.
const FOOTER: usize = 64 << 10;

/// Rows decoded at a time.
const ROWS: usize = 8_192;

/// Columns of a file, nested ones included, at most.
const COLUMNS: usize = 10_000;

/// Bytes of a row group at most, as the file says it is when decompressed: it is read whole.
const ROW_GROUP: i64 = 2 << 30;

/// A file's rows, batch by batch.
pub(super) struct ParquetFile {
    ranges: Ranges,
    runtime: tokio::runtime::Handle,
    stream: ParquetRecordBatchStream<ParquetRanges>,
    /// Bytes up to the ends of row groups, by the rows up to there.
    ends: BTreeMap<u64, u64>,
}

/// The columns of a file.
///
/// # Errors
/// As [`ParquetFile::open`].
pub(super) async fn parquet_schema(ranges: &Ranges, size: u64) -> Result<SchemaRef, Stop> {
    let reader = ParquetRanges { ranges: ranges.clone(), size };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|error| stop(ranges, &error))?;
    Ok(Arc::clone(builder.schema()))
}

impl ParquetFile {
    /// Reads the footer. Of the columns only those are read that `wants` says, and no row group that ends within the rows that
    /// are left out.
    ///
    /// # Errors
    /// `Damaged` when it is no Parquet file, or one that can't be read in bounded memory.
    pub(super) fn open(
        ranges: Ranges,
        (ratio, rows_left_out): (u64, u64),
        runtime: tokio::runtime::Handle,
        wants: impl Fn(&Schema) -> Result<Vec<usize>, Stop>,
    ) -> Result<Self, Stop> {
        let size = ranges.file().size;
        let reader = ParquetRanges { ranges: ranges.clone(), size };
        let builder = runtime.block_on(ParquetRecordBatchStreamBuilder::new(reader));
        let builder = builder.map_err(|error| stop(&ranges, &error))?;
        if let Some(fault) = fault(builder.metadata(), size, ratio) {
            return Err(Stop::Damaged(fault));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), wants(builder.schema())?);
        let ends = ends(builder.metadata(), size);
        let groups = rows_up_to(builder.metadata()).enumerate();
        let groups = groups.filter(|(_, rows)| *rows > rows_left_out).map(|(group, _)| group).collect();
        let stream = builder.with_projection(mask).with_row_groups(groups).with_batch_size(ROWS).build();
        let stream = stream.map_err(|error| stop(&ranges, &error))?;
        Ok(Self { ranges, runtime, stream, ends })
    }

    /// Bytes of the file up to so many rows, if a row group ends there: those of its groups, and after the last the whole file.
    pub(super) fn bytes_up_to(&self, rows: u64) -> Option<u64> {
        self.ends.get(&rows).copied()
    }
}

impl Iterator for ParquetFile {
    type Item = Result<RecordBatch, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.runtime.block_on(self.stream.next())?;
        Some(batch.map_err(|error| stop(&self.ranges, &error)))
    }
}

/// Rows up to the end of each row group.
fn rows_up_to(metadata: &ParquetMetaData) -> impl Iterator<Item = u64> {
    metadata.row_groups().iter().scan(0_u64, |rows, group| {
        *rows += u64::try_from(group.num_rows()).unwrap_or_default();
        Some(*rows)
    })
}

fn ends(metadata: &ParquetMetaData, size: u64) -> BTreeMap<u64, u64> {
    let bytes = metadata.row_groups().iter().scan(0_u64, |bytes, group| {
        *bytes = bytes.saturating_add(u64::try_from(group.compressed_size()).unwrap_or_default());
        Some((*bytes).min(size - 1))
    });
    // Groups without rows end where the last one with rows does.
    let mut ends: BTreeMap<u64, u64> = rows_up_to(metadata).zip(bytes).collect();
    if let Some(mut last) = ends.last_entry() {
        last.insert(size);
    }
    ends
}

/// What of a footer's claims makes a file not worth reading.
fn fault(metadata: &ParquetMetaData, size: u64, ratio: u64) -> Option<String> {
    let columns = metadata.file_metadata().schema_descr().num_columns();
    if columns > COLUMNS {
        return Some(format!("the file has {columns} columns, more than {COLUMNS}"));
    }
    let groups = metadata.row_groups().iter().map(|group| group.total_byte_size());
    if let Some(large) = groups.clone().find(|bytes| !(0..=ROW_GROUP).contains(bytes)) {
        return Some(format!("a row group of {large} bytes is larger than {ROW_GROUP}: write smaller ones"));
    }
    let limit = size.saturating_mul(ratio);
    let total: u64 = groups.map(i64::unsigned_abs).sum();
    (total > limit).then(|| format!("the file grows to more than {ratio} times its size"))
}

fn stop(ranges: &Ranges, error: &ParquetError) -> Stop {
    let text = error.to_string();
    ranges.stop(format!("the Parquet file can't be read: {}", text.chars().take(300).collect::<String>()))
}

/// The seam between the Parquet reader and a file's ranges.
struct ParquetRanges {
    ranges: Ranges,
    size: u64,
}

impl AsyncFileReader for ParquetRanges {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            if range.start > range.end || range.end > self.size {
                return Err(ParquetError::EOF(format!("bytes {}..{} aren't in the file", range.start, range.end)));
            }
            self.ranges.read(range).await.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let reader =
                ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER)).with_arrow_reader_options(options);
            reader.load_and_finish(self, size).await.map(Arc::new)
        }
        .boxed()
    }
}
