//! Some records to rows, all or none: by arrow's decoder of their format.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::error::ArrowError;
use headwater_core::model::{CsvOptions, Format};

use super::Decoder;
use crate::ingest::records::Record;

impl Decoder {
    /// One row a record, or why there is none.
    pub(super) fn attempt(&self, text: &[u8], records: &[Record], some: &[usize]) -> Result<RecordBatch, String> {
        let rows = match &self.format {
            Format::Csv(options) => self.csv(options, text, records, some),
            Format::Text => self.lines(text, records, some),
            _ => self.json(text, records, some),
        };
        self.aligned(rows.map_err(|error| reason(&error))?)
    }

    /// Rows of the input in the columns wanted.
    pub(super) fn aligned(&self, rows: RecordBatch) -> Result<RecordBatch, String> {
        if Arc::ptr_eq(&self.input, &self.output) {
            return Ok(rows);
        }
        crate::align::align(&rows, &self.output).map_err(|error| error.to_string())
    }

    fn json(&self, text: &[u8], records: &[Record], some: &[usize]) -> Result<RecordBatch, ArrowError> {
        let builder = arrow::json::ReaderBuilder::new(Arc::clone(&self.input));
        let mut decoder = builder
            .with_coerce_primitive(true)
            .with_strict_mode(self.tells)
            .with_batch_size(some.len() + 1)
            .build_decoder()?;
        for run in runs(text, records, some) {
            let mut rest = &text[run];
            while !rest.is_empty() {
                let read = decoder.decode(rest)?;
                rest = &rest[read..];
                if read == 0 {
                    return Err(ArrowError::JsonError("not one record a line".into()));
                }
            }
        }
        Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.input))))
    }

    /// Each record as it is, in the one column.
    fn lines(&self, text: &[u8], records: &[Record], some: &[usize]) -> Result<RecordBatch, ArrowError> {
        let line = |index: &usize| std::str::from_utf8(&text[records[*index].range.clone()]);
        let lines = some.iter().map(line).collect::<Result<Vec<_>, _>>();
        let lines = lines.map_err(|_| ArrowError::ParseError("not UTF-8 text".into()))?;
        RecordBatch::try_new(Arc::clone(&self.input), vec![Arc::new(StringArray::from(lines))])
    }

    fn csv(
        &self,
        options: &CsvOptions,
        text: &[u8],
        records: &[Record],
        some: &[usize],
    ) -> Result<RecordBatch, ArrowError> {
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
            let pattern = regex::Regex::new(&pattern).map_err(|error| ArrowError::CsvError(error.to_string()))?;
            builder = builder.with_null_regex(pattern);
        }
        let mut decoder = builder.build_decoder();
        for run in runs(text, records, some) {
            for mut rest in [&text[run], b"\n"] {
                while !rest.is_empty() {
                    let read = decoder.decode(rest)?;
                    rest = &rest[read..];
                    if read == 0 {
                        return Err(ArrowError::CsvError("not one record".into()));
                    }
                }
            }
        }
        Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.input))))
    }
}

/// Ranges of text that hold these records, with a newline and nothing else between them.
fn runs(text: &[u8], records: &[Record], some: &[usize]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for range in some.iter().map(|index| &records[*index].range) {
        match runs.last_mut() {
            Some(run) if run.end + 1 == range.start && text[run.end] == b'\n' => run.end = range.end,
            _ => runs.push(range.clone()),
        }
    }
    runs
}

/// A decoder's error without the engine's words and without the place in the bulk.
fn reason(error: &ArrowError) -> String {
    let text = error.to_string();
    let text = text
        .strip_prefix("Json error: ")
        .or_else(|| text.strip_prefix("Csv error: "))
        .or_else(|| text.strip_prefix("Parser error: "))
        .unwrap_or(&text);
    text.chars().take(300).collect()
}
