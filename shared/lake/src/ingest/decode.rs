//! Decodes records in bulk, and finds the bad ones by halving.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use headwater_core::envelope::Envelope;
use headwater_core::model::{CsvOptions, Evolution, Format, ReadOptions};
use memchr::memchr;

use super::infer::infer_csv;
use super::json::{fraction_for_integer, has_integers};
use super::records::{Record, lines_of};
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
    /// Fields that have no column are told, rather than left out.
    tells: bool,
    /// The file that the input is, if it is one.
    pub(super) origin: Option<String>,
}

/// What a column of CSV that isn't wanted is called behind its own name.
const NOT_READ: &str = " (not read)";

impl Decoder {
    /// Into columns; the one that takes what is rescued is for [`Self::decode_rescuing`] to fill.
    pub(super) fn new(read: &ReadOptions, columns: &SchemaRef, origin: Option<&str>) -> Self {
        let is_json = matches!(read.format, Format::Json | Format::JsonDocument);
        let columns = without_rescued(columns, read);
        Self {
            input: if is_json { with_times_as_text(&columns) } else { Arc::clone(&columns) },
            envelope: read.envelope,
            has_integers: is_json && has_integers(columns.fields()),
            output: columns,
            format: read.format.clone(),
            tells: tells(read),
            origin: origin.map(str::to_owned),
        }
    }

    /// As the header of a CSV text says: columns are found by its names, in any case, and those that it lacks are NULL.
    /// `None` if it names no column at all. The sample begins with the header.
    ///
    /// # Errors
    /// [`LakeError::NewColumns`] where names without a column are to be told.
    pub(super) fn with_header(
        read: &ReadOptions,
        columns: &SchemaRef,
        (header, sample): (&[u8], &[u8]),
        origin: Option<&str>,
    ) -> Result<Option<Self>> {
        let mut decoder = Self::new(read, columns, origin);
        let Format::Csv(options) = &read.format else { return Ok(None) };
        let names = header_names(header, options);
        let mut wanted: Vec<&Arc<Field>> = decoder.output.fields().iter().collect();
        let mut field = |name: &String| {
            let same = |exact: bool, field: &Field| match exact {
                true => field.name() == name,
                false => field.name().eq_ignore_ascii_case(name),
            };
            let find = |exact| wanted.iter().position(|field| same(exact, field));
            match find(true).or_else(|| find(false)) {
                Some(at) => wanted.swap_remove(at).as_ref().clone(),
                None => Field::new(format!("{name}{NOT_READ}"), DataType::Utf8, true),
            }
        };
        let fields: Vec<Field> = names.iter().map(&mut field).collect();
        if wanted.len() == decoder.output.fields().len() {
            return Ok(None);
        }
        let is_new = |name: &str| {
            !name.is_empty() && !decoder.output.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name))
        };
        if decoder.tells && names.iter().any(|name| is_new(name)) {
            let mut found: Vec<Arc<Field>> = Vec::new();
            for field in infer_csv(sample, options).fields() {
                if is_new(field.name()) && !found.iter().any(|known| known.name().eq_ignore_ascii_case(field.name())) {
                    found.push(Arc::clone(field));
                }
            }
            if !found.is_empty() {
                return Err(decoder.told(Schema::new(found)));
            }
        }
        if fields.iter().ne(decoder.output.fields().iter().map(AsRef::as_ref)) {
            decoder.input = Arc::new(Schema::new(fields));
        }
        Ok(Some(decoder))
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
        let leaves_out = self.input.fields().iter().any(|field| field.name().ends_with(NOT_READ));
        let is_sound = |record: &Record| self.fault(text, record, record_bytes).is_none();
        if leaves_out || !records.iter().all(is_sound) {
            return Ok(None);
        }
        let some: Vec<usize> = (0..records.len()).collect();
        match (Self { tells: true, ..self.clone() }).attempt(text, records, &some) {
            Ok(rows) => Ok((rows.num_rows() == records.len()).then_some(rows)),
            Err(reason) => self.tell(&reason, (text, records), &some).map(|()| None),
        }
    }

    /// The same, with fields that have no column left out.
    pub(super) fn taking_less(&self) -> Self {
        Self { tells: false, ..self.clone() }
    }

    /// The same for other columns of JSON.
    pub(super) fn of_columns(&self, columns: &SchemaRef) -> Self {
        Self {
            input: with_times_as_text(columns),
            output: Arc::clone(columns),
            has_integers: has_integers(columns.fields()),
            ..self.clone()
        }
    }

    /// All columns of the input by their own names, as text.
    pub(super) fn of_text(&self) -> Self {
        let name = |field: &Arc<Field>| field.name().strip_suffix(NOT_READ).unwrap_or(field.name()).to_owned();
        let fields = self.input.fields().iter().map(|field| Field::new(name(field), DataType::Utf8, true));
        let columns: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { input: Arc::clone(&columns), output: columns, tells: false, ..self.clone() }
    }

    /// An error if a reason is about fields without a column, for which there may be some.
    fn tell(&self, reason: &str, (text, records): (&[u8], &[Record]), some: &[usize]) -> Result<()> {
        if !self.tells || !reason.contains(WITHOUT_COLUMN) {
            return Ok(());
        }
        let records = some.iter().map(|index| &text[records[*index].range.clone()]);
        new_columns(records, self.output.fields()).map_or(Ok(()), |columns| Err(self.told(columns)))
    }

    fn told(&self, columns: Schema) -> LakeError {
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
            Err(reason) if some.len() == 1 => {
                self.tell(&reason, (text, records), some)?;
                bad.push((some[0], reason));
            }
            halves => {
                if let Err(reason) = halves {
                    self.tell(&reason, (text, records), some)?;
                }
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
            Format::Text => self.lines(text, records, some),
            _ => self.json(text, records, some),
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
        let mut decoder = builder
            .with_coerce_primitive(true)
            .with_strict_mode(self.tells)
            .with_batch_size(some.len() + 1)
            .build_decoder()?;
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

    /// Each record as it is, in the one column.
    fn lines(
        &self,
        text: &[u8],
        records: &[Record],
        some: &[usize],
    ) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let line = |index: &usize| std::str::from_utf8(&text[records[*index].range.clone()]);
        let lines = some.iter().map(line).collect::<std::result::Result<Vec<_>, _>>();
        let lines = lines.map_err(|_| arrow::error::ArrowError::ParseError("not UTF-8 text".into()))?;
        RecordBatch::try_new(Arc::clone(&self.input), vec![Arc::new(StringArray::from(lines))])
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

/// What the decoder says of a field that has no column.
const WITHOUT_COLUMN: &str = "missing from schema";

/// Whether fields without a column are told, rather than left out.
pub(super) const fn tells(read: &ReadOptions) -> bool {
    matches!(read.evolution, Evolution::AddNewColumns | Evolution::FailOnNewColumns)
}

/// The columns without the one that takes what is rescued.
pub(super) fn without_rescued(columns: &SchemaRef, read: &ReadOptions) -> SchemaRef {
    let Some(rescued) = &read.rescued_column else { return Arc::clone(columns) };
    let fields = columns.fields().iter().filter(|field| field.name() != rescued);
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
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
