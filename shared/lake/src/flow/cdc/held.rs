//! The changes of a batch, and those in the side table that they are held against, by key.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, ListBuilder, RecordBatch, StringBuilder, UInt32Array,
};
use arrow::compute::{filter_record_batch, is_null, take_record_batch};
use arrow::row::{RowConverter, Rows, SortField};

use super::parts::Part;
use super::shape::Shape;
use crate::align::align;
use crate::error::{LakeError, Result};
use crate::flow::spread::{Gathered, Spread};

/// A key or a sequence, encoded: bytes compare as values do.
pub(super) type Code = Box<[u8]>;

/// Something for each key. All keys of a table may be looked for, so the hash is a quick one, and seeded, since senders choose keys.
pub(super) type ByKey<T> = HashMap<Code, T, RandomState>;

/// Some keys.
pub(super) type Keys = HashSet<Code, RandomState>;

/// Where a row is: batch, and row in the batch.
pub(super) type At = (usize, usize);

/// One change.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) at: At,
    pub(super) sequence: Code,
    pub(super) is_delete: bool,
    /// It is in the side table already.
    pub(super) is_known: bool,
}

/// Encodes keys and sequences.
#[derive(Debug)]
pub(super) struct Coder {
    keys: RowConverter,
    sequence: RowConverter,
}

impl Coder {
    pub(super) fn new(shape: &Shape) -> Result<Self> {
        let field = |at: &usize| SortField::new(shape.wide.field(*at).data_type().clone());
        let converter = |fields: Vec<SortField>| RowConverter::new(fields).map_err(LakeError::arrow);
        Ok(Self {
            keys: converter(shape.keys.iter().map(field).collect())?,
            sequence: converter(vec![field(&shape.sequence)])?,
        })
    }

    /// Keys of rows that are given by their key columns alone.
    pub(super) fn keys(&self, columns: &[ArrayRef]) -> Result<Rows> {
        self.keys.convert_columns(columns).map_err(LakeError::arrow)
    }

    pub(super) fn sequences(&self, column: &ArrayRef) -> Result<Rows> {
        self.sequence.convert_columns(std::slice::from_ref(column)).map_err(LakeError::arrow)
    }
}

/// Changes by key.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// In the wide schema.
    pub(super) batches: Vec<RecordBatch>,
    pub(super) by_key: ByKey<Vec<Place>>,
    /// The last truncation of the batch.
    pub(super) truncation: Option<Code>,
    /// The last truncation in the side table.
    pub(super) known_truncation: Option<Code>,
    /// A row with the sequence of the batch's last truncation, if it is to be kept.
    pub(super) truncated_at: Option<At>,
    /// How many changes the batch has.
    pub(super) fresh: u64,
}

/// Rows of a batch by what they are.
#[derive(Debug)]
pub(super) struct Parted {
    pub(super) upserts: RecordBatch,
    pub(super) deletes: RecordBatch,
    pub(super) truncations: RecordBatch,
    /// Rows without a key or a sequence, and why.
    pub(super) void: Option<(RecordBatch, ListArray)>,
}

/// Where changes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Batch,
    SideTable,
}

impl Held {
    /// Whether the batch truncates the table, rather than an earlier one having done so later in the sequence. A
    /// batch that is run again does it again.
    pub(super) fn truncates(&self) -> bool {
        self.truncation.is_some() && self.truncation >= self.known_truncation
    }

    /// The values of the keys.
    pub(super) fn spread(&self, shape: &Shape) -> Result<Spread> {
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); self.batches.len()];
        for (batch, row) in self.by_key.values().flatten().map(|place| place.at) {
            rows[batch].push(row);
        }
        let mut gathered = Gathered::new(shape.keys.iter().map(|at| shape.wide.field(*at)));
        for (batch, rows) in self.batches.iter().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
            let columns: Vec<ArrayRef> = shape.keys.iter().map(|at| ArrayRef::clone(batch.column(*at))).collect();
            gathered.add(&columns, rows.iter().copied())?;
        }
        Ok(gathered.sorted())
    }

    /// The sequence up to which everything is gone.
    pub(super) fn floor(&self) -> Option<&Code> {
        self.truncation.as_ref().max(self.known_truncation.as_ref())
    }

    /// Adds changes of the batch: each has a key and a sequence.
    pub(super) fn add(&mut self, rows: RecordBatch, shape: &Shape, coder: &Coder) -> Result<()> {
        self.place(&rows, Origin::Batch, (shape, coder))?;
        self.fresh += rows.num_rows() as u64;
        self.batches.push(rows);
        Ok(())
    }

    /// Notes truncations of the batch, and holds the last one.
    pub(super) fn truncate(&mut self, rows: &RecordBatch, shape: &Shape, coder: &Coder) -> Result<()> {
        self.fresh += rows.num_rows() as u64;
        let sequences = coder.sequences(rows.column(shape.sequence))?;
        let Some((sequence, row)) = sequences.iter().zip(0_u32..).max() else { return Ok(()) };
        let sequence = Some(Code::from(sequence.as_ref()));
        if sequence > self.truncation {
            (self.truncation, self.truncated_at) = (sequence, Some((self.batches.len(), 0)));
            self.batches.push(take_record_batch(rows, &UInt32Array::from(vec![row])).map_err(LakeError::arrow)?);
        }
        Ok(())
    }

    /// Leaves it to another part of the batch to keep the truncation and to count it.
    pub(super) fn leave_truncation(&mut self) {
        (self.truncated_at, self.fresh) = (None, 0);
    }

    /// Notes truncations that the side table knows: its rows without a key.
    pub(super) fn know_truncations(&mut self, rows: &RecordBatch, shape: &Shape, coder: &Coder) -> Result<()> {
        let keys = align(rows, &shape.key_schema()?)?;
        let marks = filter_record_batch(rows, &is_null(keys.column(0)).map_err(LakeError::arrow)?);
        let marks = align(&marks.map_err(LakeError::arrow)?, &shape.sequence_schema()?)?;
        let sequences = coder.sequences(marks.column(0))?;
        let sound = (0..marks.num_rows()).filter(|row| marks.column(0).is_valid(*row));
        let last = sound.map(|row| Code::from(sequences.row(row).as_ref())).max();
        self.known_truncation = self.known_truncation.take().max(last);
        Ok(())
    }

    /// Adds those rows of the side table that changes of the batch are held against; while the table is truncated,
    /// all of the part's keys that come after that. Of the others nothing but the key is looked at.
    pub(super) fn know(&mut self, rows: &RecordBatch, part: &Part, (shape, coder): (&Shape, &Coder)) -> Result<()> {
        let keys = align(rows, &shape.key_schema()?)?;
        let first = ArrayRef::clone(keys.column(0));
        let keys = coder.keys(keys.columns())?;
        let floor = self.floor().filter(|_| self.truncates());
        let later = match floor {
            Some(floor) => Some((floor, coder.sequences(align(rows, &shape.sequence_schema()?)?.column(0))?)),
            None => None,
        };
        let is_wanted = |row: usize| match &later {
            Some((floor, sequences)) => {
                sequences.row(row).as_ref() > floor.as_ref() && part.holds(keys.row(row).as_ref())
            }
            None => self.by_key.contains_key(keys.row(row).as_ref()),
        };
        let wanted: BooleanArray =
            (0..rows.num_rows()).map(|row| Some(first.is_valid(row) && is_wanted(row))).collect();
        if wanted.true_count() == 0 {
            return Ok(());
        }
        let rows = align(&filter_record_batch(rows, &wanted).map_err(LakeError::arrow)?, &shape.wide)?;
        self.place(&rows, Origin::SideTable, (shape, coder))?;
        self.batches.push(rows);
        Ok(())
    }

    /// Notes where the changes of the next batch of rows are.
    fn place(&mut self, rows: &RecordBatch, from: Origin, (shape, coder): (&Shape, &Coder)) -> Result<()> {
        let (keys, sequences) = codes(rows, shape, coder)?;
        let deleted = rows.column(shape.deleted).as_boolean();
        for (row, (key, sequence)) in keys.iter().zip(sequences.iter()).enumerate() {
            let at = (self.batches.len(), row);
            let sequence = sequence.as_ref().into();
            let place = Place { at, sequence, is_delete: deleted.value(row), is_known: from == Origin::SideTable };
            match self.by_key.get_mut(key.as_ref()) {
                Some(places) => places.push(place),
                None => drop(self.by_key.insert(key.as_ref().into(), vec![place])),
            }
        }
        Ok(())
    }
}

fn codes(rows: &RecordBatch, shape: &Shape, coder: &Coder) -> Result<(Rows, Rows)> {
    let keys: Vec<ArrayRef> = shape.keys.iter().map(|at| ArrayRef::clone(rows.column(*at))).collect();
    Ok((coder.keys(&keys)?, coder.sequences(rows.column(shape.sequence))?))
}

/// Parts the rows of a batch by what they do. A truncation needs no key.
pub(super) fn part(rows: &RecordBatch, shape: &Shape) -> Result<Parted> {
    let count = rows.num_rows();
    let is_true = |at: usize, row: usize| {
        let values = rows.column(at).as_boolean();
        values.is_valid(row) && values.value(row)
    };
    let is_truncation = |row: usize| shape.truncated.is_some_and(|at| is_true(at, row));
    let names = |row: usize| {
        let keys = shape.keys.iter().filter(|_| !is_truncation(row));
        let nulls = keys.filter(|at| rows.column(**at).is_null(row));
        let keys = nulls.map(|at| format!("key `{}` is NULL", rows.schema_ref().field(*at).name()));
        let sequence = is_void(rows.column(shape.sequence), row).then(|| "SEQUENCE BY is NULL".to_owned());
        keys.chain(sequence).collect::<Vec<_>>()
    };
    let reasons: Vec<Vec<String>> = (0..count).map(names).collect();
    let select = |wanted: &dyn Fn(usize) -> bool| {
        let wanted: BooleanArray = (0..count).map(|row| Some(wanted(row))).collect();
        filter_record_batch(rows, &wanted).map_err(LakeError::arrow)
    };
    let is_sound = |row: usize| reasons[row].is_empty();
    let void = select(&|row| !is_sound(row))?;
    Ok(Parted {
        upserts: select(&|row| is_sound(row) && !is_truncation(row) && !is_true(shape.deleted, row))?,
        deletes: select(&|row| is_sound(row) && !is_truncation(row) && is_true(shape.deleted, row))?,
        truncations: select(&|row| is_sound(row) && is_truncation(row))?,
        void: (void.num_rows() > 0).then(|| (void, lists(&reasons))),
    })
}

/// A sequence of which any part is NULL has no place in the order.
pub(super) fn is_void(sequence: &ArrayRef, row: usize) -> bool {
    let parts = sequence.as_struct_opt().map_or(&[][..], |parts| parts.columns());
    sequence.is_null(row) || parts.iter().any(|part| part.is_null(row))
}

/// The reasons of those rows that have some.
fn lists(reasons: &[Vec<String>]) -> ListArray {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for reasons in reasons.iter().filter(|reasons| !reasons.is_empty()) {
        reasons.iter().for_each(|reason| lists.values().append_value(reason));
        lists.append(true);
    }
    lists.finish()
}
