//! Files of columns, Parquet and Avro, from some place on; and parts of them, which end between two row groups or blocks.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use headwater_core::model::Format;
use headwater_core::parts::Position;

use super::avro::AvroFile;
use super::files::{damaged, file_schema};
use super::parquet::ParquetFile;
use super::ranges::{Ranges, Stop};
use super::text::{Reached, TextPart};
use super::whole::guarded;
use super::{BadRecord, FileDecoder};
use crate::align::position;
use crate::error::Result;

/// A file's rows, batch by batch.
pub(super) enum Columnar {
    Parquet(Box<ParquetFile>),
    Avro(Box<AvroFile>),
}

impl Columnar {
    /// Bytes of the file up to so many rows, which are those handed out; `None` where it can't be read on from there.
    fn bytes_up_to(&self, rows: u64) -> Option<u64> {
        match self {
            Self::Parquet(file) => file.bytes_up_to(rows),
            Self::Avro(file) => Some(file.place()),
        }
    }
}

impl Iterator for Columnar {
    type Item = std::result::Result<RecordBatch, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Parquet(file) => file.next(),
            Self::Avro(file) => file.next(),
        }
    }
}

impl FileDecoder {
    /// A file's rows from a place on, about so many bytes of blocks at a time.
    pub(super) fn columnar(&self, ranges: Ranges, from: Position, chunk: usize) -> std::result::Result<Columnar, Stop> {
        let file = &ranges.file().clone();
        let (runtime, ratio) = (self.runtime.clone(), self.limits.ratio);
        if self.read.format == Format::Avro {
            let avro = AvroFile::open(ranges, runtime, ratio)?;
            self.tell_new(file, avro.schema()?.as_ref())?;
            return Ok(Columnar::Avro(Box::new(avro.starting_at(from.bytes, chunk))));
        }
        let wants = |schema: &Schema| {
            self.tell_new(file, schema)?;
            if self.read.rescued_column.is_some() {
                return Ok((0..schema.fields().len()).collect());
            }
            let wanted = self.columns.fields().iter().filter_map(|field| position(schema, field.name()));
            Ok(wanted.collect())
        };
        Ok(Columnar::Parquet(Box::new(ParquetFile::open(ranges, (ratio, from.rows), runtime, wants)?)))
    }

    /// Hands out the rows of a part as they are decoded. What can't be read of a file whose beginning could is one bad record
    /// after it.
    pub(super) fn columnar_part(
        &self,
        ranges: &Ranges,
        part: &TextPart,
        emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> Result<Option<Reached>> {
        let mut at = part.from;
        match self.columnar_steps(ranges, (part, &mut at), emit) {
            Ok(reached) => Ok(reached),
            Err(Stop::Unreadable(error)) => Err(error),
            Err(Stop::Damaged(reason)) => {
                let empty = RecordBatch::new_empty(file_schema(&self.columns));
                let goes_on = emit(empty, vec![damaged(ranges.file(), reason)]);
                Ok(goes_on.then_some(Reached { at, is_end: true }))
            }
        }
    }

    fn columnar_steps(
        &self,
        ranges: &Ranges,
        (part, at): (&TextPart, &mut Position),
        emit: &mut impl FnMut(RecordBatch, Vec<BadRecord>) -> bool,
    ) -> std::result::Result<Option<Reached>, Stop> {
        let file = ranges.file();
        let mut batches = guarded(|| self.columnar(ranges.clone(), *at, part.chunk()))?;
        while let Some(batch) = guarded(|| batches.next().transpose())? {
            let (rows, bad) = self.piece(file, &batch, usize::try_from(at.rows).unwrap_or(usize::MAX))?;
            if !emit(rows, bad) {
                return Ok(None);
            }
            at.rows += batch.num_rows() as u64;
            let Some(bytes) = batches.bytes_up_to(at.rows) else { continue };
            at.bytes = bytes;
            let is_end = at.bytes >= file.size;
            if is_end || part.is_enough(*at) {
                return Ok(Some(Reached { at: *at, is_end }));
            }
        }
        Ok(Some(Reached { at: Position { bytes: file.size, ..*at }, is_end: true }))
    }
}
