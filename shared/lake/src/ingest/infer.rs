//! Columns from a sample.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::reader::infer_json_schema_from_iterator;
use headwater_core::model::{Format, ReadOptions};
use serde_json::{Value, json};

use super::records::Cutter;
use super::unwrap::unwrapped_sample;
use crate::engine::{arrow_schema, storable_schema};
use crate::error::{LakeError, Result};

/// Lines that are looked at.
const SAMPLE_LINES: usize = 10_000;

/// The columns of a sample, in the order in which they are first seen, those of one JSON record by
/// name; hints override. A JSON column whose values contradict each other is text. What can't be read
/// in the sample is left out. Without `inferColumnTypes` all columns are strings.
///
/// # Errors
/// `Invalid` when a hint's type isn't known or the sample has no column.
pub fn infer_schema(sample: &[u8], read: &ReadOptions) -> Result<SchemaRef> {
    let inferred = match &read.format {
        Format::Json => match read.envelope {
            Some(envelope) => infer_json(&unwrapped_sample(envelope, sample)),
            None => infer_json(sample),
        },
        Format::Csv(options) => infer_csv(sample, options),
        Format::Raw => Schema::new(vec![Field::new("body", DataType::Binary, true)]),
    };
    let hints = arrow_schema(&read.schema_hints)?;
    let field = |field: &Arc<Field>| {
        let hinted = hints.field_with_name(field.name()).ok().map(|hint| hint.data_type().clone());
        let text = !read.infer_column_types && read.format != Format::Raw;
        let data_type = hinted.unwrap_or_else(|| if text { DataType::Utf8 } else { field.data_type().clone() });
        Field::new(field.name(), data_type, true)
    };
    let mut fields: Vec<Field> = inferred.fields().iter().map(field).collect();
    fields.extend(
        hints
            .fields()
            .iter()
            .filter(|hint| inferred.column_with_name(hint.name()).is_none())
            .map(|hint| hint.as_ref().clone()),
    );
    if fields.is_empty() {
        return Err(LakeError::Configuration {
            message: "no columns can be inferred: the sample holds no record".into(),
            help: "give a `schema`, or wait for data".into(),
        });
    }
    Ok(storable_schema(&Arc::new(Schema::new(fields))))
}

fn infer_json(sample: &[u8]) -> Schema {
    let (records, _) = Cutter::new(&Format::Json, sample.len()).cut(sample, true);
    let sound = records.iter().filter(|record| record.fault.is_none()).take(SAMPLE_LINES);
    let values: Vec<Value> =
        sound.filter_map(|record| serde_json::from_slice(&sample[record.range.clone()]).ok()).collect();
    infer_json_schema_from_iterator(values.iter().map(Ok)).unwrap_or_else(|_| infer_each(&values))
}

/// The columns of objects some of which contradict each other: a column that does is text.
fn infer_each(objects: &[Value]) -> Schema {
    let mut names: Vec<&String> = Vec::new();
    let mut known = HashSet::new();
    names.extend(
        objects.iter().filter_map(Value::as_object).flat_map(|object| object.keys()).filter(|name| known.insert(*name)),
    );
    let alone = |name: &String| {
        let values = objects.iter().filter_map(|object| object.get(name).map(|value| json!({ name: value })));
        let schema = infer_json_schema_from_iterator(values.map(Ok)).ok();
        let found = schema.and_then(|schema| schema.field_with_name(name).cloned().ok());
        found.unwrap_or_else(|| Field::new(name, DataType::Utf8, true))
    };
    Schema::new(names.into_iter().map(alone).collect::<Vec<_>>())
}

fn infer_csv(sample: &[u8], options: &headwater_core::model::CsvOptions) -> Schema {
    let mut format = arrow::csv::reader::Format::default()
        .with_header(options.header)
        .with_delimiter(options.separator)
        .with_quote(options.quote)
        .with_truncated_rows(true);
    if let Some(escape) = options.escape.filter(|escape| *escape != options.quote) {
        format = format.with_escape(escape);
    }
    if let Ok(null) = regex::Regex::new(&format!("^(?:{})?$", regex::escape(&options.null_value))) {
        format = format.with_null_regex(null);
    }
    format.infer_schema(sample, Some(SAMPLE_LINES)).map_or_else(|_| Schema::empty(), |(schema, _)| schema)
}
