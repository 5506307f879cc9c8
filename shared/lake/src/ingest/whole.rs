//! Files that are read whole or not at all: Parquet and Avro that aren't landed in parts (`columnar`), and files whose bytes
//! are the row.
//!
//! Such a file is decoded to its end before any row is handed out. What fits in memory is kept meanwhile; a larger
//! file is decoded twice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use headwater_core::model::Format;
use headwater_core::parts::Position;

use super::decode::{tells, without_rescued};
use super::files::{damaged, file_schema, origin, with_metadata};
use super::fitting::{fit_exactly, rescued};
use super::plain::{plain_rows, plain_schema};
use super::ranges::{Ranges, Stop};
use super::rescue::with_file_path;
use super::{BadRecord, FileDecoder, FoundFile};
use crate::align::{is_same_name, joined_where_it_can, position};
use crate::error::{LakeError, Result};
use crate::widening::Growth;

/// Bytes of decoded rows that are kept until the file's end is seen.
const KEPT: usize = 64 << 20;

type Batches = Box<dyn Iterator<Item = std::result::Result<RecordBatch, Stop>>>;
pub(super) type Piece = (RecordBatch, Vec<BadRecord>);

/// The columns of a file whose bytes are the row.
pub(super) fn binary_file_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, true),
        Field::new("modificationTime", time, true),
        Field::new("length", DataType::Int64, true),
        Field::new("content", DataType::Binary, true),
    ]))
}

impl FileDecoder {
    /// Hands out the rows of a file, or its one bad record.
    pub(super) fn whole(
        &self,
        ranges: &Ranges,
        emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> Result<()> {
        let file = ranges.file();
        let (mut kept, mut size) = (Some(Vec::new()), 0);
        let keep = |piece: Piece| {
            size += piece.0.get_array_memory_size();
            kept = kept.take().filter(|_| size <= KEPT);
            if let Some(kept) = &mut kept {
                kept.push(piece);
            }
            true
        };
        match self.pieces(ranges, keep) {
            Ok(()) => {}
            Err(Stop::Unreadable(error)) => return Err(error),
            Err(Stop::Damaged(reason)) => {
                emit(RecordBatch::new_empty(file_schema(&self.columns)), vec![damaged(file, reason)]);
                return Ok(());
            }
        }
        if let Some(kept) = kept {
            let _ = kept.into_iter().all(|(rows, bad)| emit(rows, bad));
            return Ok(());
        }
        self.pieces(ranges, |(rows, bad)| emit(rows, bad)).map_err(|stop| match stop {
            Stop::Unreadable(error) => error,
            Stop::Damaged(reason) => LakeError::Internal { message: format!("{}: {reason}", file.path) },
        })
    }

    /// The file's rows as they are decoded, until the taker has enough.
    fn pieces(&self, ranges: &Ranges, mut take: impl FnMut(Piece) -> bool) -> std::result::Result<(), Stop> {
        let file = ranges.file();
        let mut batches = guarded(|| self.batches(ranges.clone()))?;
        let mut first = 0;
        while let Some(rows) = guarded(|| batches.next().transpose())? {
            let count = rows.num_rows();
            if !take(self.piece(file, &rows, first)?) {
                break;
            }
            first += count;
        }
        Ok(())
    }

    fn batches(&self, ranges: Ranges) -> std::result::Result<Batches, Stop> {
        Ok(match self.read.format {
            Format::Avro | Format::Parquet => Box::new(self.columnar(ranges, Position::default(), usize::MAX)?),
            _ => Box::new(std::iter::once(self.binary_file(ranges.file(), &ranges))),
        })
    }

    /// An error if the file has columns that aren't known, or fields of such, where they are to be told.
    pub(super) fn tell_new(&self, file: &FoundFile, schema: &Schema) -> std::result::Result<(), Stop> {
        if !tells(&self.read) {
            return Ok(());
        }
        let growth = Growth::of(self.read.evolution.widens_types());
        let is_folder = |name: &str| file.folders.iter().any(|(folder, _)| is_same_name(folder, name));
        let is_new = |field: &&Arc<Field>| match position(&self.columns, field.name()) {
            None => !is_folder(field.name()),
            Some(at) => {
                let known = self.columns.field(at).data_type();
                (matches!(known, DataType::Struct(_)) || growth == Growth::Types)
                    && joined_where_it_can(known, field.data_type(), growth).is_some_and(|wider| wider != *known)
            }
        };
        let new: Vec<Arc<Field>> = plain_schema(schema).fields().iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let columns = Arc::new(Schema::new(new));
        Err(Stop::Unreadable(LakeError::NewColumns { origin: file.path.clone(), columns }))
    }

    /// The one row of a file whose bytes are the row.
    fn binary_file(&self, file: &FoundFile, ranges: &Ranges) -> std::result::Result<RecordBatch, Stop> {
        let limit = self.limits.record_bytes;
        if file.size > limit as u64 {
            return Err(Stop::Damaged(format!("larger than {limit} bytes: raise `max_record_bytes` to take it")));
        }
        let content = match file.size {
            0 => bytes::Bytes::new(),
            size => self.runtime.block_on(ranges.read(0..size)).map_err(|error| ranges.stop(error.to_string()))?,
        };
        let modified = TimestampMicrosecondArray::from_value(file.modified.timestamp_micros(), 1).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values([&file.path])),
            Arc::new(modified),
            Arc::new(Int64Array::from_value(i64::try_from(file.size).unwrap_or(i64::MAX), 1)),
            Arc::new(BinaryArray::from_iter_values([content])),
        ];
        RecordBatch::try_new(binary_file_schema(), columns).map_err(|error| Stop::Damaged(error.to_string()))
    }

    /// Rows in the columns wanted; those of which a value doesn't fit are bad records, as JSON.
    pub(super) fn piece(&self, file: &FoundFile, rows: &RecordBatch, first: usize) -> std::result::Result<Piece, Stop> {
        let damaged = |error: arrow::error::ArrowError| Stop::Damaged(error.to_string());
        let columns = without_rescued(&self.columns, &self.read);
        let rows = plain_rows(&named(rows, &columns).map_err(damaged)?).map_err(damaged)?;
        let before = i64::try_from(first).unwrap_or(i64::MAX);
        if self.read.rescued_column.is_some() {
            let (rows, rest) = rescued(&rows, &columns).map_err(Stop::Unreadable)?;
            let rest = rest.into_iter().map(|rest| rest.map(|rest| with_file_path(rest, Some(&file.path))));
            let rest: ArrayRef = Arc::new(rest.collect::<StringArray>());
            let values = rows.columns().iter().cloned().chain([rest]).collect();
            let rows = RecordBatch::try_new(Arc::clone(&self.columns), values).map_err(damaged)?;
            return Ok((with_metadata(rows, file, before..).map_err(Stop::Unreadable)?, Vec::new()));
        }
        let (rows, rest) = fit_exactly(&rows, &self.columns, tells(&self.read)).map_err(Stop::Unreadable)?;
        // Rows that don't fit have their numbers too.
        let places: Vec<i64> = match &rest {
            Some((fits, _)) => (before..).zip(fits).filter(|(_, fits)| *fits == Some(true)).map(|(at, _)| at).collect(),
            None => (before..).take(rows.num_rows()).collect(),
        };
        let bad = rest.map(|(fits, misfits)| {
            let places = (0..fits.len()).filter(|row| !fits.value(*row));
            let parts = places.zip(misfits.reasons).zip(misfits.given);
            let record = |((row, reason), given): ((usize, String), Vec<u8>)| {
                let position = format!("{}:{}", file.path, first + row + 1);
                BadRecord { reason, raw: given.into(), position, origin: origin(file) }
            };
            parts.map(record).collect()
        });
        Ok((with_metadata(rows, file, places).map_err(Stop::Unreadable)?, bad.unwrap_or_default()))
    }
}

/// The file's columns, those that are wanted by the names wanted.
fn named(rows: &RecordBatch, wanted: &SchemaRef) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let schema = rows.schema();
    let mut names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    for field in wanted.fields() {
        if let Some(at) = position(&schema, field.name()) {
            names[at].clone_from(field.name());
        }
    }
    let fields: Vec<Field> =
        schema.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
    let columns = rows.columns().to_vec();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// What decoders of binary formats do, which may panic over a file that was made to deceive them.
pub(super) fn guarded<T>(work: impl FnOnce() -> std::result::Result<T, Stop>) -> std::result::Result<T, Stop> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Stop::Damaged("the file is damaged: its decoder gave up".into())))
}
