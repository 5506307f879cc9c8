//! Values of text that don't fit their columns, but would fit wider ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use headwater_core::model::Format;
use serde_json::value::RawValue;

use super::decode::Decoder;
use super::records::Record;
use crate::error::Result;
use crate::widening::widened_for;

impl Decoder {
    /// An error that tells of the wider types that some records need.
    ///
    /// # Errors
    /// [`crate::error::LakeError::NewColumns`], with those columns alone.
    pub(super) fn tell_wider(&self, text: &[u8], records: &[Record], record_bytes: usize) -> Result<()> {
        let columns = self.output.fields();
        let wider = match &self.format {
            Format::Csv(_) => {
                let rows = self.of_text().decode(text, records.to_vec(), record_bytes)?.rows;
                columns.iter().filter_map(|field| wider_column(field, &rows)).collect()
            }
            _ => {
                let is_sound = |record: &Record| record.shape(text, &self.format).fault.is_none();
                let fits = |record: &&Record| record.range.len() <= record_bytes && is_sound(record);
                let records = records.iter().filter(fits).map(|record| &text[record.range.clone()]);
                records.fold(columns.clone(), |columns, record| wider_fields(&columns, record).unwrap_or(columns))
            }
        };
        let is_wider = |field: &&Arc<Field>| {
            columns.find(field.name()).is_some_and(|(_, known)| known.data_type() != field.data_type())
        };
        let told: Vec<Arc<Field>> = wider.iter().filter(is_wider).cloned().collect();
        if told.is_empty() { Ok(()) } else { Err(self.told(Schema::new(told))) }
    }
}

/// A column of CSV in the type that its values need; `None` if it has that.
fn wider_column(field: &Arc<Field>, rows: &RecordBatch) -> Option<Arc<Field>> {
    let values = rows.column_by_name(field.name())?.as_string_opt::<i32>()?;
    let grown = values.iter().flatten().fold(field.data_type().clone(), |known, text| {
        let wider = widened_for(&known, text.trim());
        wider.unwrap_or(known)
    });
    (grown != *field.data_type()).then(|| Arc::new(field.as_ref().clone().with_data_type(grown)))
}

/// Fields in the types that a JSON object needs; `None` if it is none.
fn wider_fields(columns: &Fields, object: &[u8]) -> Option<Fields> {
    let values: BTreeMap<String, &RawValue> = serde_json::from_slice(object).ok()?;
    let wider = |field: &Arc<Field>| {
        let value = values.get(field.name()).map(|value| value.get());
        let grown = match (field.data_type(), value) {
            (DataType::Struct(fields), Some(value)) => {
                wider_fields(fields, value.as_bytes()).map(DataType::Struct).filter(|wider| wider != field.data_type())
            }
            (known, Some(value)) => widened_for(known, value.trim_matches('"')),
            (_, None) => None,
        };
        match grown {
            Some(data_type) => Arc::new(field.as_ref().clone().with_data_type(data_type)),
            None => Arc::clone(field),
        }
    };
    Some(columns.iter().map(wider).collect())
}
