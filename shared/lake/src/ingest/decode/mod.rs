//! Decodes records in bulk, and finds the bad ones by halving.

mod columns;
mod direct;
mod formats;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use headwater_core::envelope::Envelope;
use headwater_core::model::Format;
use memchr::memchr;

pub(super) use columns::{tells, without_rescued};

use super::json::{NameBits, fraction_for_integer};
use super::parted::as_taken;
use super::records::{Record, lines_of, with_lone_escapes};
use super::unknown::new_columns;
use super::unwrap::Unwrapped;
use crate::error::{LakeError, Result};

/// Decoded records, and which of them are in the rows.
#[derive(Debug)]
pub(super) struct Bulk {
    /// One row a good record, in order.
    pub(super) rows: RecordBatch,
    /// All records; not those given, where a CSV record that can't be decoded was cut into its lines.
    pub(super) records: Vec<Record>,
    /// Indexes of the good records.
    pub(super) good: Vec<usize>,
    /// Indexes of the others, with reasons.
    pub(super) bad: Vec<(usize, String)>,
}

/// Rows, and which records they are.
#[derive(Debug)]
pub(super) struct Part {
    /// One row a record.
    pub(super) rows: RecordBatch,
    /// The records' numbers, in the order of the rows.
    pub(super) of: Vec<usize>,
}

impl Part {
    /// The rows of several parts as the records stand, and their numbers.
    pub(super) fn in_order(mut parts: Vec<Self>, columns: &SchemaRef) -> Result<Self> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        let rows = concat_batches(columns, parts.iter().map(|part| &part.rows)).map_err(LakeError::arrow)?;
        let of: Vec<usize> = parts.into_iter().flat_map(|part| part.of).collect();
        if of.is_sorted() {
            return Ok(Self { rows, of });
        }
        let mut places: Vec<(usize, u64)> = of.into_iter().zip(0..).collect();
        places.sort_unstable();
        let (of, places): (_, Vec<u64>) = places.into_iter().unzip();
        let rows = take_record_batch(&rows, &UInt64Array::from(places)).map_err(LakeError::arrow)?;
        Ok(Self { rows, of })
    }
}

/// How records of one input are decoded.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    /// Columns as they stand in the input (for CSV, in its order).
    pub(super) input: SchemaRef,
    /// Columns wanted.
    pub(super) output: SchemaRef,
    pub(super) format: Format,
    envelope: Option<Envelope>,
    /// Columns of JSON under which fractions must be looked for.
    integers: NameBits,
    /// Fields that have no column are told, rather than left out.
    tells: bool,
    /// Values that would fit a wider type of their column are told, too.
    pub(super) widens: bool,
    /// The file that the input is, if it is one.
    pub(super) origin: Option<String>,
}

impl Decoder {
    /// The rows of the records of which nothing is left over that can be told at once, and the numbers of all others.
    pub(super) fn with_nothing_left(
        &self,
        text: &[u8],
        records: &[Record],
        record_bytes: usize,
    ) -> (Option<Part>, Vec<usize>) {
        (Self { tells: true, ..self.clone() }).directly(text, records, record_bytes)
    }

    /// The rows of all records, if nothing is wrong with any and nothing is left over.
    ///
    /// # Errors
    /// [`LakeError::NewColumns`] where fields without a column are to be told.
    pub(super) fn all_at_once(
        &self,
        text: &[u8],
        records: &[Record],
        record_bytes: usize,
    ) -> Result<Option<RecordBatch>> {
        let is_sound = |record: &Record| self.fault(text, record, record_bytes).is_none();
        if self.leaves_out() || !records.iter().all(is_sound) {
            return Ok(None);
        }
        let some: Vec<usize> = (0..records.len()).collect();
        match (Self { tells: true, ..self.clone() }).attempt(text, records, &some) {
            Ok(rows) => Ok((rows.num_rows() == records.len()).then_some(rows)),
            Err(reason) => self.tell(&reason, (text, records), &some).map(|()| None),
        }
    }

    /// An error if a reason is about fields without a column, for which there may be some.
    fn tell(&self, reason: &str, (text, records): (&[u8], &[Record]), some: &[usize]) -> Result<()> {
        if !self.tells || !reason.contains(WITHOUT_COLUMN) {
            return Ok(());
        }
        let records = some.iter().map(|index| &text[records[*index].range.clone()]);
        new_columns(records, self.output.fields()).map_or(Ok(()), |columns| Err(self.told(columns)))
    }

    pub(super) fn told(&self, columns: Schema) -> LakeError {
        let origin = self.origin.clone().unwrap_or_else(|| "a message".into());
        LakeError::NewColumns { origin, columns: Arc::new(columns) }
    }

    /// Decodes records of a text. A CSV record over several lines that can't be decoded is decoded
    /// line by line: a stray quote costs its own line only.
    pub(super) fn decode(&self, text: &[u8], records: Vec<Record>, record_bytes: usize) -> Result<Bulk> {
        if let Some(envelope) = self.envelope {
            return self.decode_unwrapped(Unwrapped::new(envelope, (text, records), record_bytes));
        }
        let bulk = self.decode_as_cut(text, records, record_bytes)?;
        let is_cut = |index: usize| memchr(b'\n', &text[bulk.records[index].range.clone()]).is_some();
        let broken: BTreeSet<usize> = match self.format {
            Format::Csv(_) => bulk.bad.iter().map(|(index, _)| *index).filter(|index| is_cut(*index)).collect(),
            _ => return Ok(bulk),
        };
        if broken.is_empty() {
            return Ok(bulk);
        }
        let pieces = bulk.records.into_iter().enumerate().flat_map(|(index, record)| {
            if broken.contains(&index) { lines_of(text, &record, &self.format) } else { vec![record] }
        });
        self.decode_as_cut(text, pieces.collect(), record_bytes)
    }

    fn decode_unwrapped(&self, unwrapped: Unwrapped) -> Result<Bulk> {
        let Unwrapped { text, rows, of, records, mut bad } = unwrapped;
        let bulk = self.decode_as_cut(&text, rows, usize::MAX)?;
        bad.extend(bulk.bad.into_iter().map(|(index, reason)| (of[index], reason)));
        bad.sort();
        Ok(Bulk { rows: bulk.rows, records, good: bulk.good.into_iter().map(|index| of[index]).collect(), bad })
    }

    fn decode_as_cut(&self, text: &[u8], records: Vec<Record>, record_bytes: usize) -> Result<Bulk> {
        let (direct, others) = self.directly(text, &records, record_bytes);
        let (mut parts, mut bad): (Vec<Part>, _) = (direct.into_iter().collect(), Vec::new());
        let mut sound = Vec::with_capacity(others.len());
        for index in others {
            match self.fault(text, &records[index], record_bytes) {
                Some(fault) => bad.push((index, fault)),
                None => sound.push(index),
            }
        }
        match self.as_taken(text, &records, &sound) {
            Some((text, records)) => self.halve((&text, &records), &sound, &mut parts, &mut bad)?,
            None => self.halve((text, &records), &sound, &mut parts, &mut bad)?,
        }
        bad.sort();
        let Part { rows, of } = Part::in_order(parts, &self.output)?;
        Ok(Bulk { rows, records, good: of, bad })
    }

    /// The rows of those records of JSON that can be read straight into columns, and the numbers of all others.
    fn directly(&self, text: &[u8], records: &[Record], record_bytes: usize) -> (Option<Part>, Vec<usize>) {
        let is_json = matches!(self.format, Format::Json | Format::JsonDocument);
        // Nothing is read of one that is too large.
        let bytes = |record: &Record| match record.range.len() {
            length if length > record_bytes => &[],
            _ => &text[record.range.clone()],
        };
        let taken = is_json.then(|| direct::take(records.iter().map(bytes), &self.input, self.tells)).flatten();
        let aligned = taken.and_then(|taken| Some((self.aligned(taken.rows).ok()?, taken.left)));
        let Some((rows, left)) = aligned else { return (None, (0..records.len()).collect()) };
        let of = (0..records.len()).filter(|number| left.binary_search(number).is_err()).collect();
        (Some(Part { rows, of }), left)
    }

    /// A text with some records in the form in which their decoder takes them for what they mean, if one of them has another.
    fn as_taken(&self, text: &[u8], records: &[Record], some: &[usize]) -> Option<(Vec<u8>, Vec<Record>)> {
        let given = |index: &usize| &text[records[*index].range.clone()];
        let taken = |index: &usize| match &self.format {
            Format::Json | Format::JsonDocument => as_taken(given(index), self.output.fields()).map(String::into_bytes),
            Format::Csv(options) => with_lone_escapes(given(index), options),
            _ => None,
        };
        let taken: Vec<_> = some.iter().map(taken).collect();
        if taken.iter().all(Option::is_none) {
            return None;
        }
        let (mut all, mut records) = (Vec::with_capacity(text.len()), records.to_vec());
        for (index, taken) in some.iter().zip(&taken) {
            let start = all.len();
            all.extend_from_slice(taken.as_deref().unwrap_or_else(|| given(index)));
            records[*index].range = start..all.len();
            all.push(b'\n');
        }
        Some((all, records))
    }

    /// Why a record needn't be tried.
    fn fault(&self, text: &[u8], record: &Record, record_bytes: usize) -> Option<String> {
        if record.range.len() > record_bytes {
            return Some(format!("larger than {record_bytes} bytes"));
        }
        let shape = record.shape(text, &self.format);
        if let Some(fault) = shape.fault {
            return Some(fault.to_owned());
        }
        let is_suspect = shape.fractions.meets(self.integers);
        is_suspect.then(|| fraction_for_integer(&text[record.range.clone()], self.output.fields())).flatten()
    }

    fn halve(
        &self,
        (text, records): (&[u8], &[Record]),
        some: &[usize],
        parts: &mut Vec<Part>,
        bad: &mut Vec<(usize, String)>,
    ) -> Result<()> {
        if some.is_empty() {
            return Ok(());
        }
        match self.attempt(text, records, some) {
            Ok(rows) if rows.num_rows() == some.len() => parts.push(Part { rows, of: some.to_vec() }),
            Ok(_) if some.len() == 1 => bad.push((some[0], "not one record".into())),
            Err(reason) if some.len() == 1 => {
                self.tell(&reason, (text, records), some)?;
                bad.push((some[0], reason));
            }
            halves => {
                if let Err(reason) = halves {
                    self.tell(&reason, (text, records), some)?;
                }
                let (left, right) = some.split_at(some.len() / 2);
                self.halve((text, records), left, parts, bad)?;
                self.halve((text, records), right, parts, bad)?;
            }
        }
        Ok(())
    }
}

/// What the decoder says of a field that has no column.
const WITHOUT_COLUMN: &str = "missing from schema";
