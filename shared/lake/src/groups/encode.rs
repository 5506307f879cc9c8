//! Rows to row groups.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{ColumnOrder, Compression};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::TypePtr;

use super::source::filter_extent;
use super::{Group, unexpected};
use crate::error::Result;
use crate::write::{Files, ROW_GROUP_ROWS, properties};

/// A group with less than this part of what it may hold is put together with others when its file is written anew.
const SMALL_PART: u64 = 4;

/// Rows that are encoded before the size of the group is looked at.
const STEP: usize = 1024;

/// What a row group may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    rows: usize,
    bytes: u64,
    /// Of a dictionary at most.
    dictionary_bytes: usize,
}

impl Room {
    /// Where rows of a file change: of sixteen groups most are copied then. Where the dictionary of a group of so few rows grows
    /// large, values hardly ever come again.
    fn small(target_file_size: u64) -> Self {
        Self { rows: 1 << 16, bytes: (target_file_size / 16).max(1), dictionary_bytes: 128 << 10 }
    }

    /// Where they don't: all groups that are encoded at once are in memory.
    fn large(target_file_size: u64) -> Self {
        Self { rows: ROW_GROUP_ROWS, bytes: (target_file_size / 4).max(1), dictionary_bytes: 1 << 20 }
    }
}

/// The columns of a row group, encoded.
pub(crate) type Chunks = Vec<ArrowColumnChunk>;

/// How the data files of a table are laid out.
pub(crate) struct Format {
    schema: SchemaRef,
    properties: WriterProperties,
    fields: Vec<TypePtr>,
    factory: ArrowRowGroupWriterFactory,
    room: Room,
    target_file_size: u64,
}

impl Format {
    /// Of a table with these columns, of which rows change. The files have all but the partition columns.
    pub(crate) fn new(table: &SchemaRef, files: Files<'_>) -> Result<Self> {
        Self::with_room(table, files, Room::small(files.target_size))
    }

    /// As [`Self::new`], of a file that is never cut, of about so many bytes.
    pub(crate) fn uncut(table: &SchemaRef, files: Files<'_>, is_changed: bool) -> Result<Self> {
        let room = if is_changed { Room::small(files.target_size) } else { Room::large(files.target_size) };
        Ok(Self { target_file_size: u64::MAX, ..Self::with_room(table, files, room)? })
    }

    fn with_room(table: &SchemaRef, files: Files<'_>, room: Room) -> Result<Self> {
        let fields = table.fields().iter().filter(|field| !files.partitioned_by.contains(field.name())).cloned();
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = in_room(properties(&schema, files)?, room);
        let writer = ArrowWriter::try_new(Vec::new(), SchemaRef::clone(&schema), Some(properties.clone()));
        let (writer, factory) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(unexpected)?;
        let fields = writer.schema_descr().root_schema().get_fields().to_vec();
        Ok(Self { schema, properties, fields, factory, room, target_file_size: files.target_size })
    }

    /// The columns of a file.
    pub(crate) const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes of a file, about.
    pub(crate) const fn target_file_size(&self) -> u64 {
        self.target_file_size
    }

    /// A new file, without rows.
    pub(super) fn file<W: Write + Send>(&self, to: W) -> Result<SerializedFileWriter<W>> {
        let writer = ArrowWriter::try_new(to, SchemaRef::clone(&self.schema), Some(self.properties.clone()));
        Ok(writer.and_then(ArrowWriter::into_serialized_writer).map_err(unexpected)?.0)
    }

    /// Whether the groups of a file can stand beside those that are encoded now: the columns are the same, in order, and are
    /// stored the same way, and what statistics mean is told.
    pub(super) fn is_of(&self, file: &ParquetMetaData) -> bool {
        let file = file.file_metadata();
        let is_ordered = |order: &ColumnOrder| matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_));
        file.schema_descr().root_schema().get_fields() == self.fields
            && file.column_orders().is_some_and(|orders| orders.iter().all(is_ordered))
    }

    /// Whether a group of so many rows and bytes is better put together with others.
    pub(super) fn is_small(&self, rows: u64, bytes: u64) -> bool {
        rows < self.rows_of_a_group() / SMALL_PART && bytes < self.room.bytes / SMALL_PART
    }

    /// Rows of a row group at most.
    pub(crate) const fn rows_of_a_group(&self) -> u64 {
        self.room.rows as u64
    }

    /// Whether a column of a group is stored as it would be now: compressed, and with a filter if its values are looked for.
    pub(super) fn is_stored_so(&self, column: &ColumnChunkMetaData) -> bool {
        let is_filtered = self.properties.bloom_filter_properties(column.column_path()).is_some();
        matches!(column.compression(), Compression::ZSTD(_)) && (!is_filtered || filter_extent(column).is_some())
    }
}

/// How files of about so many bytes are written where rows of them change.
pub(crate) fn in_small_groups(properties: WriterProperties, target_file_size: u64) -> WriterProperties {
    in_room(properties, Room::small(target_file_size))
}

fn in_room(properties: WriterProperties, room: Room) -> WriterProperties {
    properties
        .into_builder()
        .set_max_row_group_row_count(Some(room.rows))
        .set_max_row_group_bytes(usize::try_from(room.bytes).ok())
        .set_dictionary_page_size_limit(room.dictionary_bytes)
        .build()
}

/// Makes row groups of rows.
pub(crate) struct Encoder {
    format: Arc<Format>,
    columns: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl Encoder {
    pub(crate) const fn new(format: Arc<Format>) -> Self {
        Self { format, columns: Vec::new(), rows: 0 }
    }

    /// Takes rows with the columns of the layout; the groups that are full then.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<Vec<Group>> {
        let mut full = Vec::new();
        let mut from = 0;
        while from < rows.num_rows() {
            let count = STEP.min(rows.num_rows() - from).min(self.format.room.rows - self.rows);
            self.encode(&rows.slice(from, count))?;
            from += count;
            if self.is_full() {
                full.extend(self.finish()?);
            }
        }
        Ok(full)
    }

    /// The group of the rows that are left, if there are any.
    pub(crate) fn finish(&mut self) -> Result<Option<Group>> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        let columns = std::mem::take(&mut self.columns).into_iter();
        let chunks: Chunks =
            columns.map(ArrowColumnWriter::close).collect::<parquet::errors::Result<_>>().map_err(unexpected)?;
        Ok(Some(Group::Encoded(chunks)))
    }

    fn encode(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = self.format.factory.create_column_writers(0).map_err(unexpected)?;
        }
        let mut columns = self.columns.iter_mut();
        for (field, values) in self.format.schema.fields().iter().zip(rows.columns()) {
            for (leaf, column) in compute_leaves(field, values).map_err(unexpected)?.iter().zip(&mut columns) {
                column.write(leaf).map_err(unexpected)?;
            }
        }
        self.rows += rows.num_rows();
        Ok(())
    }

    fn is_full(&self) -> bool {
        let bytes: usize = self.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum();
        self.rows >= self.format.room.rows || bytes as u64 >= self.format.room.bytes
    }
}
