//! Columns from a sample.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_core::model::{Format, ReadOptions};
use serde_json::Value;

use super::folders::type_of;
use super::hints::hinted;
use super::inferred::Inferred;
use super::records::{Cutter, Record};
use super::sample::Sample;
use super::unwrap::unwrapped_sample;
use super::whole::binary_file_schema;
use crate::align::{fits, is_same_name, merged};
use crate::engine::storable_schema;
use crate::error::{LakeError, Result};

/// Lines that are looked at.
const SAMPLE_LINES: usize = 10_000;

/// The columns of a sample, in the order in which they are first seen, those of one JSON record by
/// name; hints override. A JSON column or field whose values contradict each other is text. What can't be read
/// in the sample is left out. Without `inferColumnTypes` all columns are strings.
///
/// # Errors
/// `Invalid` when a hint's type isn't known or the sample has no column.
pub fn infer_schema(sample: &Sample, read: &ReadOptions) -> Result<SchemaRef> {
    let inferred = match &read.format {
        Format::Json | Format::JsonDocument => match read.envelope {
            Some(envelope) => {
                let unwrapped = sample.texts.iter().map(|text| unwrapped_sample(envelope, text));
                infer_json(&unwrapped.collect::<Vec<_>>(), &Format::Json)
            }
            None => infer_json(&sample.texts, &read.format),
        },
        Format::Csv(options) => {
            let each = sample.texts.iter().map(|text| infer_csv(text, options));
            each.reduce(|known, more| widest(&known, &more)).unwrap_or_else(Schema::empty)
        }
        Format::Raw => Schema::new(vec![Field::new("body", DataType::Binary, true)]),
        Format::Text => Schema::new(vec![Field::new("value", DataType::Utf8, true)]),
        Format::BinaryFile => binary_file_schema().as_ref().clone(),
        Format::Parquet | Format::Avro => infer_columns(&sample.columns),
    };
    let learned = sample.columns.iter().filter(|_| read.format.is_untyped());
    let inferred = learned.fold(Arc::new(inferred), |known, more| merged(&known, more));
    let inferred = with_folders(inferred.as_ref().clone(), sample);
    let is_text = !read.infer_column_types && read.format.is_untyped();
    let plain = |inferred: &DataType| if is_text { DataType::Utf8 } else { inferred.clone() };
    let fields = hinted(&inferred, &read.schema_hints, plain)?;
    if fields.is_empty() {
        return Err(LakeError::Configuration {
            message: "no columns can be inferred: the sample holds no record".into(),
            help: "give a `schema`, or wait for data".into(),
        });
    }
    Ok(storable_schema(&Arc::new(Schema::new(fields))))
}

/// The columns of all files, each in the widest type that one of them gives it.
fn infer_columns(files: &[SchemaRef]) -> Schema {
    let mut fields: Vec<Field> = Vec::new();
    for field in files.iter().flat_map(|schema| schema.fields()) {
        match fields.iter_mut().find(|known| is_same_name(known.name(), field.name())) {
            Some(known) if fits(known.data_type(), field.data_type()) => {
                *known = known.clone().with_data_type(field.data_type().clone());
            }
            Some(_) => {}
            None => fields.push(field.as_ref().clone()),
        }
    }
    Schema::new(fields)
}

/// The columns that folders name take the place of those in the files.
fn with_folders(inferred: Schema, sample: &Sample) -> Schema {
    if sample.folders.is_empty() || inferred.fields().is_empty() {
        return inferred;
    }
    let is_folder = |field: &Field| sample.folders.keys().any(|name| is_same_name(name, field.name()));
    let own = inferred.fields().iter().filter(|field| !is_folder(field)).map(|field| field.as_ref().clone());
    let folders =
        sample.folders.iter().map(|(name, values)| Field::new(name, type_of(values.iter().map(String::as_str)), true));
    Schema::new(own.chain(folders).collect::<Vec<_>>())
}

/// The columns of two texts of CSV, each in a type that both give values of.
fn widest(known: &Schema, more: &Schema) -> Schema {
    let mut fields: Vec<Field> = known.fields().iter().map(|field| field.as_ref().clone()).collect();
    for field in more.fields() {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            Some(known) => {
                let data_type = match (known.data_type(), field.data_type()) {
                    (one, other) if one == other => one.clone(),
                    (DataType::Null, one) | (one, DataType::Null) => one.clone(),
                    (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
                    _ => DataType::Utf8,
                };
                *known = known.clone().with_data_type(data_type);
            }
            None => fields.push(field.as_ref().clone()),
        }
    }
    Schema::new(fields)
}

fn infer_json(texts: &[Vec<u8>], format: &Format) -> Schema {
    let mut values: Vec<Value> = Vec::new();
    for text in texts {
        let (records, _) = Cutter::new(format, text.len()).cut(text, true);
        let is_sound = |record: &&Record| record.shape(text, format).fault.is_none();
        let sound = records.iter().filter(is_sound).take(SAMPLE_LINES - values.len());
        values.extend(sound.filter_map(|record| serde_json::from_slice(&text[record.range.clone()]).ok()));
    }
    infer_values(&values)
}

/// The columns of objects, those of each by name.
pub(super) fn infer_values(objects: &[Value]) -> Schema {
    let mut inferred = Inferred::default();
    objects.iter().filter_map(Value::as_object).for_each(|object| inferred.see(object));
    Schema::new(inferred.fields())
}

pub(super) fn infer_csv(sample: &[u8], options: &headwater_core::model::CsvOptions) -> Schema {
    let mut format = arrow::csv::reader::Format::default()
        .with_header(options.header)
        .with_delimiter(options.separator)
        .with_quote(options.quote)
        .with_truncated_rows(true);
    if let Some(escape) = options.escape.filter(|escape| *escape != options.quote) {
        format = format.with_escape(escape);
    }
    if let Some(comment) = options.comment {
        format = format.with_comment(comment);
    }
    if let Ok(null) = regex::Regex::new(&format!("^(?:{})?$", regex::escape(&options.null_value))) {
        format = format.with_null_regex(null);
    }
    let Ok((inferred, _)) = format.infer_schema(sample, Some(SAMPLE_LINES)) else { return Schema::empty() };
    let given: Vec<String> = match options.header {
        true => inferred.fields().iter().map(|field| field.name().clone()).collect(),
        false => vec![String::new(); inferred.fields().len()],
    };
    let named = column_names(&given).into_iter().zip(inferred.fields());
    Schema::new(named.map(|(name, field)| field.as_ref().clone().with_name(name)).collect::<Vec<_>>())
}

/// What columns are called by a header, as in Spark: one without a name by its place, `_c0`, and of names that are there more
/// than once, in any case, each with its place behind it.
pub(super) fn column_names(given: &[String]) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    given.iter().for_each(|name| *counts.entry(name.to_lowercase()).or_default() += 1);
    let name = |(at, name): (usize, &String)| match counts.get(&name.to_lowercase()) {
        _ if name.is_empty() => format!("_c{at}"),
        Some(count) if *count > 1 => format!("{name}{at}"),
        Some(_) | None => name.clone(),
    };
    given.iter().enumerate().map(name).collect()
}
