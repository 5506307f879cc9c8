//! Decodes records in bulk, and finds the bad ones by halving.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use headwater_core::model::{CsvOptions, Format};

use super::records::Record;
use crate::error::{LakeError, Result};

/// Decoded records, and which of them are in the rows.
#[derive(Debug)]
pub(super) struct Bulk {
    /// One row a good record, in order.
    pub(super) rows: RecordBatch,
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
}

impl Decoder {
    pub(super) fn new(format: &Format, columns: &SchemaRef) -> Self {
        Self { input: Arc::clone(columns), output: Arc::clone(columns), format: format.clone() }
    }

    /// Decodes records of a text.
    pub(super) fn decode(&self, text: &[u8], records: &[Record], record_bytes: usize) -> Result<Bulk> {
        let mut bad = Vec::new();
        let mut sound = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            match record.fault {
                Some(fault) => bad.push((index, fault.to_owned())),
                None if record.range.len() > record_bytes => {
                    bad.push((index, format!("larger than {record_bytes} bytes")))
                }
                None => sound.push(index),
            }
        }
        let mut batches = Vec::new();
        self.halve((text, records), &sound, &mut batches, &mut bad)?;
        let refused: std::collections::BTreeSet<usize> = bad.iter().map(|(index, _)| *index).collect();
        let good = sound.into_iter().filter(|index| !refused.contains(index)).collect();
        bad.sort();
        let rows = match batches.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&self.output, many).map_err(LakeError::arrow)?,
        };
        Ok(Bulk { rows, good, bad })
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
            .with_quote(options.quote);
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
        for index in some {
            for piece in [&text[records[*index].range.clone()], b"\n"] {
                let mut rest = piece;
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

/// Ranges of text that hold these records and nothing but white space between them.
fn runs(records: &[Record], some: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    let mut last = None;
    for index in some {
        let range = &records[*index].range;
        match runs.last_mut() {
            Some(run) if last.is_some_and(|last: usize| last + 1 == *index) => run.end = range.end,
            _ => runs.push(range.clone()),
        }
        last = Some(*index);
    }
    runs
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
