//! Records with what has no column, or doesn't fit its own, put aside in a column of its own, as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use headwater_core::model::Format;
use serde_json::value::RawValue;

use super::decode::{Bulk, Decoder, Part};
use super::fitting::rescued;
use super::parted::{Parts, object, parts, quoted};
use super::records::{Record, record};
use crate::error::{LakeError, Result};

impl Decoder {
    /// Decodes records into the columns and `column`, which takes the rest of each. A record that can't be read at
    /// all is still a bad one.
    pub(super) fn decode_rescuing(
        &self,
        text: &[u8],
        records: Vec<Record>,
        record_bytes: usize,
        column: &str,
    ) -> Result<Bulk> {
        let (whole, others) = self.with_nothing_left(text, &records, record_bytes);
        let Some(whole) = whole else { return self.rescue(text, records, record_bytes, column) };
        let rows = self.with_rest(whole.rows, column, &vec![None; whole.of.len()])?;
        if others.is_empty() {
            return Ok(Bulk { rows, records, good: whole.of, bad: Vec::new() });
        }
        let some = others.iter().map(|index| records[*index].clone()).collect();
        let bulk = self.rescue(text, some, record_bytes, column)?;
        let rescued = Part { rows: bulk.rows, of: bulk.good.into_iter().map(|index| others[index]).collect() };
        let columns = rows.schema();
        let Part { rows, of } = Part::in_order(vec![Part { rows, of: whole.of }, rescued], &columns)?;
        let bad = bulk.bad.into_iter().map(|(index, reason)| (others[index], reason)).collect();
        Ok(Bulk { rows, records, good: of, bad })
    }

    fn rescue(&self, text: &[u8], records: Vec<Record>, record_bytes: usize, column: &str) -> Result<Bulk> {
        if let Some(rows) = self.all_at_once(text, &records, record_bytes)? {
            let good = (0..records.len()).collect();
            let rows = self.with_rest(rows, column, &vec![None; records.len()])?;
            return Ok(Bulk { rows, records, good, bad: Vec::new() });
        }
        if self.widens {
            self.tell_wider(text, &records, record_bytes)?;
        }
        match &self.format {
            Format::Csv(_) => self.rescue_text(text, records, record_bytes, column),
            _ => self.rescue_json(text, records, record_bytes, column),
        }
    }

    fn rescue_text(&self, text: &[u8], records: Vec<Record>, record_bytes: usize, column: &str) -> Result<Bulk> {
        let bulk = self.of_text().decode(text, records, record_bytes)?;
        let (rows, rest) = rescued(&bulk.rows, &self.output)?;
        let rest: Vec<_> = rest.into_iter().map(|rest| rest.map(|rest| self.with_origin(rest))).collect();
        Ok(Bulk { rows: self.with_rest(rows, column, &rest)?, ..bulk })
    }

    fn rescue_json(&self, text: &[u8], records: Vec<Record>, record_bytes: usize, column: &str) -> Result<Bulk> {
        let decoder = self.taking_less();
        let part = |record: &Record| {
            let is_sound = |record: &Record| record.shape(text, &self.format).fault.is_none();
            let fits = record.range.len() <= record_bytes && is_sound(record);
            fits.then(|| parts(&text[record.range.clone()], self.output.fields())).flatten()
        };
        let mut parts: Vec<Option<Parts<'_>>> = records.iter().map(part).collect();
        let mut bulk = decoder.decode_parts((text, &records), &parts, record_bytes)?;
        if !bulk.bad.is_empty() {
            for (index, _) in &bulk.bad {
                if let Some(parts) = &mut parts[*index] {
                    let given = &text[records[*index].range.clone()];
                    decoder.put_misfits_aside(given, parts, self.output.fields(), record_bytes)?;
                }
            }
            bulk = decoder.decode_parts((text, &records), &parts, record_bytes)?;
        }
        let rest_of = |index: &usize| {
            let parts = parts[*index].as_ref().filter(|parts| !parts.rest.is_empty())?;
            Some(self.with_origin(object(&parts.rest)))
        };
        let rest: Vec<Option<String>> = bulk.good.iter().map(rest_of).collect();
        Ok(Bulk { rows: self.with_rest(bulk.rows, column, &rest)?, records, good: bulk.good, bad: bulk.bad })
    }

    /// Decodes what is kept of records; those that can't be parted as they are.
    fn decode_parts(
        &self,
        (text, records): (&[u8], &[Record]),
        parts: &[Option<Parts<'_>>],
        record_bytes: usize,
    ) -> Result<Bulk> {
        let mut kept = Vec::with_capacity(text.len());
        let mut pieces = Vec::with_capacity(records.len());
        for (whole, parts) in records.iter().zip(parts) {
            let start = kept.len();
            match parts {
                Some(parts) => kept.extend_from_slice(object(&parts.kept).as_bytes()),
                None => kept.extend_from_slice(&text[whole.range.clone()]),
            }
            let piece = Record { range: start..kept.len(), ..whole.clone() };
            pieces.push(match parts {
                Some(_) => record(&kept, piece.range.clone(), whole.line, &Format::Json).unwrap_or(piece),
                None => piece,
            });
            kept.push(b'\n');
        }
        self.decode(&kept, pieces, record_bytes)
    }

    /// Takes those fields out that don't fit their columns, each tried by itself, those of structs by themselves too.
    fn put_misfits_aside<'a>(
        &self,
        given: &'a [u8],
        parts: &mut Parts<'a>,
        columns: &Fields,
        record_bytes: usize,
    ) -> Result<()> {
        let given: BTreeMap<String, &'a RawValue> = serde_json::from_slice(given).unwrap_or_default();
        for (name, value) in given {
            let Some((_, field)) = columns.find(&name) else { continue };
            let Some(kept) = parts.kept.get(&name) else { continue };
            if self.takes(field, kept, record_bytes)? {
                continue;
            }
            let inner = match field.data_type() {
                DataType::Struct(inner) => self::parts(value.get().as_bytes(), inner).zip(Some(inner)),
                _ => None,
            };
            // All of a list or a map, in the place of the rest of its elements.
            let Some((mut own, inner)) = inner else {
                parts.kept.remove(&name);
                parts.rest.insert(name, Cow::Borrowed(value.get()));
                continue;
            };
            self.put_misfits_aside(value.get().as_bytes(), &mut own, inner, record_bytes)?;
            parts.kept.insert(name.clone(), Cow::Owned(object(&own.kept)));
            parts.rest.insert(name, Cow::Owned(object(&own.rest)));
        }
        Ok(())
    }

    /// Whether a column takes a value.
    fn takes(&self, field: &Arc<Field>, value: &str, record_bytes: usize) -> Result<bool> {
        let alone = self.of_columns(&Arc::new(Schema::new(vec![Arc::clone(field)])));
        let text = object(&BTreeMap::from([(field.name().clone(), Cow::Borrowed(value))]));
        let whole = record(text.as_bytes(), 0..text.len(), 1, &Format::Json);
        Ok(alone.decode(text.as_bytes(), whole.into_iter().collect(), record_bytes)?.bad.is_empty())
    }

    fn with_rest(&self, rows: RecordBatch, column: &str, rest: &[Option<String>]) -> Result<RecordBatch> {
        let field = Arc::new(Field::new(column, DataType::Utf8, true));
        let schema: SchemaRef =
            Arc::new(Schema::new(self.output.fields().iter().cloned().chain([field]).collect::<Fields>()));
        let rest: ArrayRef = Arc::new(rest.iter().map(Option::as_deref).collect::<StringArray>());
        let columns = rows.columns().iter().cloned().chain([rest]).collect();
        RecordBatch::try_new(schema, columns).map_err(LakeError::arrow)
    }

    fn with_origin(&self, rest: String) -> String {
        with_file_path(rest, self.origin.as_deref())
    }
}

/// A JSON object with the file that it came from, as Auto Loader has it.
pub(super) fn with_file_path(mut object: String, path: Option<&str>) -> String {
    if let Some(path) = path
        && object.pop() == Some('}')
    {
        let comma = if object.len() > 1 { "," } else { "" };
        object = format!("{object}{comma}\"_file_path\":{}}}", quoted(path));
    }
    object
}
