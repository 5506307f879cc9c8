//! Fields of JSON records that no column is known for.

use arrow::datatypes::{DataType, Fields, Schema};
use serde_json::{Map, Value};

use super::infer::infer_values;
use crate::align::is_same_name;

/// New fields of one record at most: one with more makes no columns.
const NEW_FIELDS: usize = 500;

/// Columns of a table at most that are there because they were found.
const COLUMNS: usize = 2_000;

/// Columns for the fields of some records that have none, nested ones within those that are known; `None` if there
/// are none to add. A field that differs from a column in case only isn't added, as tables can't tell the two apart.
pub(super) fn new_columns<'a>(records: impl Iterator<Item = &'a [u8]>, known: &Fields) -> Option<Schema> {
    let found = records.filter_map(|record| match serde_json::from_slice(record) {
        Ok(Value::Object(object)) => Some(without_column(object, known)),
        Ok(_) | Err(_) => None,
    });
    let found: Vec<Value> = found.filter(|new| (1..=NEW_FIELDS).contains(&new.len())).map(Value::Object).collect();
    let schema = infer_values(&found);
    let total = known.len() + schema.fields().len();
    (!schema.fields().is_empty() && total <= COLUMNS).then_some(schema)
}

fn without_column(object: Map<String, Value>, known: &Fields) -> Map<String, Value> {
    let new = object.into_iter().filter_map(|(name, value)| match (known.find(&name), value) {
        (Some((_, field)), value) => match (field.data_type(), value) {
            (DataType::Struct(fields), Value::Object(inner)) => {
                let new = without_column(inner, fields);
                (!new.is_empty()).then_some((name, Value::Object(new)))
            }
            _ => None,
        },
        (None, _) if known.iter().any(|field| is_same_name(field.name(), &name)) => None,
        (None, value) => Some((name, value)),
    });
    new.collect()
}
