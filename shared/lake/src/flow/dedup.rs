//! First row of each key wins.
//!
//! Rows pass in the order of their source. A row whose key the target remembers, or an earlier row of the
//! batch had, is left out.

use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_arrays};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use headwater_core::model::Dedup;
use headwater_core::provenance::METADATA;

use super::key_set::{KeySet, Marked};
use super::sieve::Sieve;
use crate::align::position;
use crate::error::{LakeError, Result};

/// Encodes the key columns of batches of one schema.
#[derive(Debug)]
pub(super) struct Keys {
    columns: Vec<usize>,
    converter: RowConverter,
    null_is_a_value: bool,
}

impl Keys {
    /// Keys of a target's schema. A key column that isn't there is a configuration error.
    pub(super) fn new(dedup: &Dedup, schema: &SchemaRef) -> Result<Self> {
        let columns = match dedup {
            Dedup::WholeRow => (0..schema.fields().len()).filter(|at| schema.field(*at).name() != METADATA).collect(),
            Dedup::Keys(names) => names.iter().map(|name| column(schema, name)).collect::<Result<Vec<_>>>()?,
        };
        let fields = columns.iter().map(|at| SortField::new(schema.field(*at).data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(|source| internal(&source))?;
        Ok(Self { columns, converter, null_is_a_value: matches!(dedup, Dedup::WholeRow) })
    }

    /// Positions of the key columns in the schema.
    pub(super) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether NULL equals NULL. Otherwise a row with a NULL in its key has none.
    pub(super) const fn null_is_a_value(&self) -> bool {
        self.null_is_a_value
    }

    /// The key columns of rows of the whole schema.
    pub(super) fn columns_of(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.columns.iter().map(|at| ArrayRef::clone(batch.column(*at))).collect()
    }

    /// Hands over the key of each row, in order, given by their key columns. `None` where a key column is NULL: such a
    /// row has no key and is never a duplicate. A whole row may hold NULLs, which equal each other.
    pub(super) fn each(&self, arrays: &[ArrayRef], mut with: impl FnMut(Option<&[u8]>)) -> Result<()> {
        let rows = self.converter.convert_columns(arrays).map_err(|source| internal(&source))?;
        for (at, row) in rows.iter().enumerate() {
            let has_null = !self.null_is_a_value && arrays.iter().any(|array| array.is_null(at));
            with((!has_null).then(|| row.as_ref()));
        }
        Ok(())
    }

    /// The numbers of those wanted keys that are among these rows, some more than once. The rows are given by their key columns alone, in the order of
    /// [`Self::columns`]; those that are to be ignored are known by their position.
    pub(super) fn find(
        &self,
        arrays: &[ArrayRef],
        (wanted, sieve): (&KeySet, &Sieve),
        ignored: impl Fn(usize) -> bool,
    ) -> Result<Vec<usize>> {
        let passing = UInt32Array::from(sieve.passing(arrays)?);
        if passing.is_empty() {
            return Ok(Vec::new());
        }
        let arrays = take_arrays(arrays, &passing, None).map_err(|source| internal(&source))?;
        let rows = self.converter.convert_columns(&arrays).map_err(|source| internal(&source))?;
        let counted = rows.iter().zip(passing.values()).filter(|(_, at)| !ignored(**at as usize));
        Ok(counted.filter_map(|(row, _)| wanted.number(row.as_ref())).collect())
    }
}

/// The keys seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Those of the batch that the target has too, and those of the batch, as far as they were known before it was read.
    known: Marked,
    /// The number of the known key that comes next, if they come as they did before.
    next: usize,
    /// Others of the batch.
    others: KeySet,
    /// How many of the batch are new, where they were known before it was read.
    new: Option<usize>,
}

impl Seen {
    /// Keys of the batch, those marked that are in the target already.
    pub(super) fn of_target(known: Marked) -> Self {
        Self { new: Some(known.unmarked()), known, next: 0, others: KeySet::default() }
    }

    /// How many keys the batch adds to the target, if that is known.
    pub(super) fn new_keys(&self) -> Option<u64> {
        self.new.and_then(|new| u64::try_from(new).ok())
    }

    /// Whether a key is new. It counts as seen from now on.
    pub(super) fn is_new(&mut self, key: &[u8]) -> bool {
        match self.known.number_expected(self.next, key) {
            Some(number) => {
                self.next = self.next.max(number + 1);
                self.known.mark(number)
            }
            None => self.others.insert(key),
        }
    }

    /// The rows whose key wasn't seen yet, in order; their keys count as seen from now on.
    pub(super) fn first_rows(&mut self, keys: &Keys, batch: RecordBatch) -> Result<RecordBatch> {
        let mut fresh = BooleanBufferBuilder::new(batch.num_rows());
        keys.each(&keys.columns_of(&batch), |key| fresh.append(key.is_none_or(|key| self.is_new(key))))?;
        let fresh = arrow::array::BooleanArray::new(fresh.finish(), None);
        if fresh.true_count() == batch.num_rows() {
            return Ok(batch);
        }
        filter_record_batch(&batch, &fresh).map_err(|source| internal(&source))
    }
}

pub(super) fn column(schema: &SchemaRef, name: &str) -> Result<usize> {
    position(schema, name).ok_or_else(|| LakeError::Configuration {
        message: format!("headwater.dedup.keys names `{name}`, which is no column of the table"),
        help: format!(
            "columns: {}",
            schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ")
        ),
    })
}

fn internal(source: &arrow::error::ArrowError) -> LakeError {
    LakeError::Internal { message: source.to_string() }
}
