//! Decodes records in bulk, and finds the bad ones by halving.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use headwater_core::envelope::Envelope;
use headwater_core::model::{CsvOptions, Format};
use memchr::memchr;

use super::json::{fraction_for_integer, has_integers};
use super::records::{Record, lines_of};
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

/// How records of one input are decoded.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    /// Columns as they stand in the input (for CSV, in its order).
    pub(super) input: SchemaRef,
    /// Columns wanted.
    pub(super) output: SchemaRef,
    pub(super) format: Format,
    envelope: Option<Envelope>,
    /// Fractions must be looked for.
    has_integers: bool,
}

impl Decoder {
    pub(super) fn new(format: &Format, columns: &SchemaRef) -> Self {
        let is_json = *format == Format::Json;
        Self {
            input: if is_json { with_times_as_text(columns) } else { Arc::clone(columns) },
            output: Arc::clone(columns),
            format: format.clone(),
            envelope: None,
            has_integers: is_json && has_integers(columns.fields()),
        }
    }

    /// The decoder of records in an envelope.
    pub(super) fn within(self, envelope: Option<Envelope>) -> Self {
        Self { envelope, ..self }
    }

    /// As the header of a CSV text says: columns are found by its names, in any case, and those that it lacks are NULL.
    /// `None` if it names no column at all.
    pub(super) fn with_header(format: &Format, columns: &SchemaRef, header: &[u8]) -> Option<Self> {
        let mut decoder = Self::new(format, columns);
        let Format::Csv(options) = format else { return None };
        let names = header_names(header, options);
        let mut wanted: Vec<&Arc<Field>> = columns.fields().iter().collect();
        let mut field = |name: &String| {
            let same = |exact: bool, field: &Field| match exact {
                true => field.name() == name,
                false => field.name().eq_ignore_ascii_case(name),
            };
            let find = |exact| wanted.iter().position(|field| same(exact, field));
            match find(true).or_else(|| find(false)) {
                Some(at) => wanted.swap_remove(at).as_ref().clone(),
                None => Field::new(format!("{name} (not read)"), DataType::Utf8, true),
            }
        };
        let fields: Vec<Field> = names.iter().map(&mut field).collect();
        if wanted.len() == columns.fields().len() {
            return None;
        }
        if fields.iter().ne(columns.fields().iter().map(AsRef::as_ref)) {
            decoder.input = Arc::new(Schema::new(fields));
        }
        Some(decoder)
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
            Format::Json | Format::Raw => return Ok(bulk),
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
        let mut bad = Vec::new();
        let mut sound = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            match self.fault(text, record, record_bytes) {
                Some(fault) => bad.push((index, fault)),
                None => sound.push(index),
            }
        }
        let mut batches = Vec::new();
        self.halve((text, &records), &sound, &mut batches, &mut bad)?;
        bad.sort();
        let good = without(sound, &bad);
        let rows = match batches.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&self.output, many).map_err(LakeError::arrow)?,
        };
        Ok(Bulk { rows, records, good, bad })
    }

    /// Why a record needn't be tried.
    fn fault(&self, text: &[u8], record: &Record, record_bytes: usize) -> Option<String> {
        if record.range.len() > record_bytes {
            return Some(format!("larger than {record_bytes} bytes"));
        }
        if let Some(fault) = record.fault {
            return Some(fault.to_owned());
        }
        let is_suspect = record.has_fraction && self.has_integers;
        is_suspect.then(|| fraction_for_integer(&text[record.range.clone()], self.output.fields())).flatten()
    }

    fn halve(
        &self,
        (text, records): (&[u8], &[Record]),
        some: &[usize],
        batches: &mut Vec<RecordBatch>,
        bad: &mut Vec<(usize, String)>,
    ) -> Result<()> {
        if some.is_empty() {
            return Ok(());
        }
        match self.attempt(text, records, some) {
            Ok(rows) if rows.num_rows() == some.len() => batches.push(rows),
            Ok(_) if some.len() == 1 => bad.push((some[0], "not one record".into())),
            Err(reason) if some.len() == 1 => bad.push((some[0], reason)),
            Ok(_) | Err(_) => {
                let (left, right) = some.split_at(some.len() / 2);
                self.halve((text, records), left, batches, bad)?;
                self.halve((text, records), right, batches, bad)?;
            }
        }
        Ok(())
    }

    fn attempt(&self, text: &[u8], records: &[Record], some: &[usize]) -> std::result::Result<RecordBatch, String> {
        let rows = match &self.format {
            Format::Csv(options) => self.csv(options, text, records, some),
            Format::Json | Format::Raw => self.json(text, records, some),
        };
        let rows = rows.map_err(|error| reason(&error))?;
        if Arc::ptr_eq(&self.input, &self.output) {
            return Ok(rows);
        }
        crate::align::align(&rows, &self.output).map_err(|error| error.to_string())
    }

    fn json(
        &self,
        text: &[u8],
        records: &[Record],
        some: &[usize],
    ) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let builder = arrow::json::ReaderBuilder::new(Arc::clone(&self.input));
        let mut decoder = builder.with_coerce_primitive(true).with_batch_size(some.len() + 1).build_decoder()?;
        for run in runs(records, some) {
            let mut rest = &text[run];
            while !rest.is_empty() {
                let read = decoder.decode(rest)?;
                rest = &rest[read..];
                if read == 0 {
                    return Err(arrow::error::ArrowError::JsonError("not one record a line".into()));
                }
            }
        }
        Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.input))))
    }

    fn csv(
        &self,
        options: &CsvOptions,
        text: &[u8],
        records: &[Record],
        some: &[usize],
    ) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let mut builder = arrow::csv::ReaderBuilder::new(Arc::clone(&self.input))
            .with_batch_size(some.len() + 1)
            .with_delimiter(options.separator)
            .with_quote(options.quote)
            .with_terminator(b'\n');
        if let Some(escape) = options.escape.filter(|escape| *escape != options.quote) {
            builder = builder.with_escape(escape);
        }
        if !options.null_value.is_empty() {
            let pattern = format!("^(?:{})?$", regex::escape(&options.null_value));
            let pattern =
                regex::Regex::new(&pattern).map_err(|error| arrow::error::ArrowError::CsvError(error.to_string()))?;
            builder = builder.with_null_regex(pattern);
        }
        let mut decoder = builder.build_decoder();
        for run in runs(records, some) {
            for mut rest in [&text[run], b"\n"] {
                while !rest.is_empty() {
                    let read = decoder.decode(rest)?;
                    rest = &rest[read..];
                    if read == 0 {
                        return Err(arrow::error::ArrowError::CsvError("not one record".into()));
                    }
                }
            }
        }
        Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.input))))
    }
}

/// Ranges of text that hold these records, with a newline and nothing else between them.
fn runs(records: &[Record], some: &[usize]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for range in some.iter().map(|index| &records[*index].range) {
        match runs.last_mut() {
            Some(run) if run.end + 1 == range.start => run.end = range.end,
            _ => runs.push(range.clone()),
        }
    }
    runs
}

/// What is left of the sound records once the bad ones, in order, are taken out.
fn without(sound: Vec<usize>, bad: &[(usize, String)]) -> Vec<usize> {
    let refused = |index: &usize| bad.binary_search_by_key(index, |(bad, _)| *bad).is_ok();
    sound.into_iter().filter(|index| !refused(index)).collect()
}

/// The columns with dates and timestamps, at any depth, as text, which is read strictly afterwards: the decoder
/// itself would take a bare number for microseconds or days.
fn with_times_as_text(columns: &SchemaRef) -> SchemaRef {
    let fields: Fields = columns.fields().iter().map(time_as_text).collect();
    if fields == *columns.fields() { Arc::clone(columns) } else { Arc::new(Schema::new(fields)) }
}

fn time_as_text(field: &Arc<Field>) -> Arc<Field> {
    let data_type = match field.data_type() {
        DataType::Timestamp(..) | DataType::Date32 => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(time_as_text).collect()),
        DataType::List(element) => DataType::List(time_as_text(element)),
        DataType::Map(entries, sorted) => DataType::Map(time_as_text(entries), *sorted),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

fn header_names(header: &[u8], options: &CsvOptions) -> Vec<String> {
    let format = arrow::csv::reader::Format::default()
        .with_header(true)
        .with_delimiter(options.separator)
        .with_quote(options.quote);
    let names = format
        .infer_schema(header, Some(0))
        .map(|(schema, _)| schema.fields().iter().map(|field| field.name().clone()).collect());
    names.unwrap_or_default()
}

/// A decoder's error without the engine's words and without the place in the bulk.
fn reason(error: &arrow::error::ArrowError) -> String {
    let text = error.to_string();
    let text = text
        .strip_prefix("Json error: ")
        .or_else(|| text.strip_prefix("Csv error: "))
        .or_else(|| text.strip_prefix("Parser error: "))
        .unwrap_or(&text);
    text.chars().take(300).collect()
}
