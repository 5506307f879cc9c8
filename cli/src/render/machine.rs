//! JSON and CSV for machines: plain values, every column in every row.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::{JsonArray, LineDelimited};
use arrow::record_batch::RecordBatch;

use super::Rows;

/// An array of objects. NULL is `null`, times are ISO 8601, binary is hexadecimal.
pub(super) fn json(rows: &Rows) -> Result<String, ArrowError> {
    if rows.len() == 0 {
        return Ok("[]\n".to_owned());
    }
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    writer.write_batches(&rows.batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    text(writer.into_inner()).map(|text| text + "\n")
}

/// Lines of comma-separated values below a header. NULL is empty; nested values are JSON.
pub(super) fn csv(rows: &Rows) -> Result<String, ArrowError> {
    let schema = flat_schema(&rows.schema);
    let mut bytes = Vec::new();
    {
        let mut writer = csv::WriterBuilder::new().with_header(true).build(&mut bytes);
        writer.write(&RecordBatch::new_empty(Arc::clone(&schema)))?;
        for batch in &rows.batches {
            writer.write(&flatten(batch, &schema)?)?;
        }
    }
    text(bytes)
}

fn flat_schema(schema: &Schema) -> SchemaRef {
    let flat = schema.fields().iter().map(|field| {
        let kind = if is_flat(field.data_type()) { field.data_type().clone() } else { DataType::Utf8 };
        Field::new(field.name(), kind, true)
    });
    Arc::new(Schema::new(flat.collect::<Vec<_>>()))
}

fn is_flat(kind: &DataType) -> bool {
    !(kind.is_nested()
        || matches!(
            kind,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
        ))
}

fn flatten(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().enumerate().map(|(at, column)| {
        if is_flat(column.data_type()) { Ok(ArrayRef::clone(column)) } else { as_json(&batch.project(&[at])?) }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// The one column of a batch, each value as JSON text (binary as plain hexadecimal).
fn as_json(batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    let lines = text(writer.into_inner())?;
    let values = lines.lines().map(|line| {
        let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
        match row.into_iter().next()?.1 {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text),
            value @ (serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_)) => Some(value.to_string()),
        }
    });
    Ok(Arc::new(values.collect::<StringArray>()))
}

fn text(bytes: Vec<u8>) -> Result<String, ArrowError> {
    String::from_utf8(bytes).map_err(|error| ArrowError::CastError(error.to_string()))
}
