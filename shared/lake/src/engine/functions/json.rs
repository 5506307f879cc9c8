//! Functions of JSON texts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::json::ReaderBuilder;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use headwater_core::sql::columns_of_ddl;
use serde_json::{Map, Value};

use super::super::types::{arrow_schema, arrow_type};
use super::text::texts;
use super::{RowFunction, pattern, run};

pub(super) fn functions() -> Vec<RowFunction> {
    vec![
        RowFunction::new(
            "get_json_object",
            |types| texts("get_json_object", types, 2, DataType::Utf8),
            |arguments| {
                let (documents, paths) = (arguments[0].as_string::<i32>(), arguments[1].as_string::<i32>());
                let pairs = documents.iter().zip(paths);
                Ok(Arc::new(pairs.map(|(document, path)| json_at(document?, path?)).collect::<StringArray>()))
            },
        ),
        RowFunction::new(
            "json_array_length",
            |types| texts("json_array_length", types, 1, DataType::Int32),
            |arguments| {
                let lengths = arguments[0].as_string::<i32>().iter().map(|text| length(text?));
                Ok(Arc::new(lengths.collect::<Int32Array>()))
            },
        ),
        RowFunction::new("to_json", to_json_types, to_json),
    ]
}

fn length(text: &str) -> Option<i32> {
    match serde_json::from_str(text).ok()? {
        Value::Array(items) => i32::try_from(items.len()).ok(),
        _ => None,
    }
}

/// One step of a path.
enum Step<'a> {
    Key(&'a str),
    Index(usize),
    All,
}

/// The value at `$.a.b[0]`: a string without quotes, anything else as JSON, NULL where there is none.
fn json_at(text: &str, path: &str) -> Option<String> {
    let steps = steps(path)?;
    let document: Value = serde_json::from_str(text).ok()?;
    let mut found = vec![&document];
    let mut many = false;
    for step in steps {
        found = match step {
            Step::Key(key) => found.into_iter().filter_map(|value| value.get(key)).collect(),
            Step::Index(index) => found.into_iter().filter_map(|value| value.get(index)).collect(),
            Step::All => {
                many = true;
                found.into_iter().filter_map(Value::as_array).flatten().collect()
            }
        };
    }
    match found.as_slice() {
        [] | [Value::Null] => None,
        [Value::String(text)] => Some(text.clone()),
        [one] => Some(one.to_string()),
        several if many => serde_json::to_string(several).ok(),
        _ => None,
    }
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (inside, after) = bracket.split_once(']')?;
            let key = inside.strip_prefix(['\'', '"']).and_then(|key| key.strip_suffix(['\'', '"']));
            steps.push(match (key, inside) {
                (Some(key), _) => Step::Key(key),
                (None, "*") => Step::All,
                (None, index) => Step::Index(index.parse().ok()?),
            });
            rest = after;
        } else {
            let key = rest.strip_prefix('.')?;
            let end = key.find(['.', '[']).unwrap_or(key.len());
            steps.push(if &key[..end] == "*" { Step::All } else { Step::Key(&key[..end]) });
            rest = &key[end..];
        }
    }
    Some(steps)
}

fn to_json_types(types: &[DataType]) -> Result<super::Typed> {
    match types {
        [value] if value.is_nested() => Ok((vec![value.clone()], DataType::Utf8)),
        _ => plan_err!("to_json takes a struct, an array or a map"),
    }
}

/// The only column of the batches between JSON and Arrow.
const COLUMN: &str = "v";

/// Each value as JSON; fields that are NULL are left out, as in Spark.
fn to_json(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let values = &arguments[0];
    let schema = Arc::new(Schema::new(vec![Field::new(COLUMN, values.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::clone(values)])?;
    let format = "%Y-%m-%dT%H:%M:%S%.3fZ".to_owned();
    let builder = WriterBuilder::new().with_explicit_nulls(false).with_timestamp_tz_format(format);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let lines = String::from_utf8(writer.into_inner()).map_err(|source| DataFusionError::External(source.into()))?;
    let prefix = format!("{{\"{COLUMN}\":");
    let texts = lines.lines().enumerate().map(|(row, line)| {
        let value = line.strip_prefix(prefix.as_str())?.strip_suffix('}')?;
        values.is_valid(row).then_some(value)
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// `from_json(text, 'a INT, b STRING')`: the text's values, NULL where they are missing or of another
/// type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct FromJson {
    signature: Signature,
}

impl FromJson {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// The type that a schema text describes: columns, or one type.
fn type_of(schema: &str) -> Result<DataType> {
    let lower = schema.trim().to_lowercase();
    let single = ["struct<", "array<", "map<"].iter().any(|start| lower.starts_with(start));
    let ddl = if single { format!("{COLUMN} {schema}") } else { schema.to_owned() };
    let wrong = |message: String| DataFusionError::Plan(format!("from_json: the schema '{schema}': {message}"));
    let columns = columns_of_ddl(&ddl).map_err(wrong)?;
    let unknown = || wrong("its type isn't known".to_owned());
    match columns.as_slice() {
        [column] if single => arrow_type(&column.data_type).ok_or_else(unknown),
        columns => {
            let schema = arrow_schema(columns).map_err(|error| wrong(error.to_string()))?;
            Ok(DataType::Struct(schema.fields().clone()))
        }
    }
}

impl ScalarUDFImpl for FromJson {
    fn name(&self) -> &'static str {
        "from_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        texts("from_json", types, 2, DataType::Utf8).map(|(arguments, _)| arguments)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("from_json takes its schema as a constant")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let schema = args.scalar_arguments.get(1).copied().flatten().and_then(|value| value.try_as_str().flatten());
        let Some(schema) = schema else { return plan_err!("from_json takes its schema as a constant text") };
        Ok(Arc::new(Field::new(self.name(), type_of(schema)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = args.return_type().clone();
        run(&args.args[..1], |arguments| parsed(arguments[0].as_string(), &data_type))
    }
}

fn parsed(texts: &StringArray, data_type: &DataType) -> Result<ArrayRef> {
    let field = Arc::new(Field::new(COLUMN, data_type.clone(), true));
    let schema = Arc::new(Schema::new(Fields::from(vec![field])));
    let row = |text: Option<&str>| {
        let value = text.map(|text| fitting(serde_json::from_str(text).unwrap_or(Value::Null), data_type));
        let empty = matches!((&value, data_type), (Some(Value::Null), DataType::Struct(_)));
        let value = if empty { Value::Object(Map::new()) } else { value.unwrap_or(Value::Null) };
        Map::from_iter([(COLUMN.to_owned(), value)])
    };
    let rows: Vec<Map<String, Value>> = texts.iter().map(row).collect();
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(rows.len().max(1)).build_decoder()?;
    decoder.serialize(&rows)?;
    let batch = decoder.flush()?;
    Ok(batch.map_or_else(|| arrow::array::new_empty_array(data_type), |batch| Arc::clone(batch.column(0))))
}

/// The value as far as it has the type, and NULL in place of what hasn't.
fn fitting(value: Value, data_type: &DataType) -> Value {
    match (value, data_type) {
        (Value::Object(mut object), DataType::Struct(fields)) => Value::Object(
            fields
                .iter()
                .filter_map(|field| {
                    Some((field.name().clone(), fitting(object.remove(field.name())?, field.data_type())))
                })
                .collect(),
        ),
        (Value::Array(items), DataType::List(item)) => {
            Value::Array(items.into_iter().map(|value| fitting(value, item.data_type())).collect())
        }
        (Value::Object(object), DataType::Map(entries, _)) => {
            let value_type = match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => fields[1].data_type(),
                _ => &DataType::Null,
            };
            Value::Object(object.into_iter().map(|(key, value)| (key, fitting(value, value_type))).collect())
        }
        (_, DataType::Struct(_) | DataType::List(_) | DataType::Map(..)) => Value::Null,
        (Value::String(text), DataType::Utf8) => Value::String(text),
        (Value::Null, _) => Value::Null,
        (other, DataType::Utf8) => Value::String(other.to_string()),
        (value, other) => scalar(value, other),
    }
}

fn scalar(value: Value, data_type: &DataType) -> Value {
    let fits = match (&value, data_type) {
        (Value::Bool(_), DataType::Boolean) => true,
        (Value::Number(number), DataType::Int8) => number.as_i64().is_some_and(|value| i8::try_from(value).is_ok()),
        (Value::Number(number), DataType::Int16) => number.as_i64().is_some_and(|value| i16::try_from(value).is_ok()),
        (Value::Number(number), DataType::Int32) => number.as_i64().is_some_and(|value| i32::try_from(value).is_ok()),
        (Value::Number(number), DataType::Int64) => number.is_i64(),
        (Value::Number(_), DataType::Float32 | DataType::Float64) => true,
        (Value::Number(number), DataType::Decimal128(precision, scale)) => {
            let limit = 10_f64.powi(i32::from(*precision) - i32::from(*scale));
            number.as_f64().is_some_and(|value| value.abs() < limit)
        }
        (Value::String(text), DataType::Timestamp(..)) => return moment(pattern::timestamp(text)),
        (Value::String(text), DataType::Date32) => {
            return pattern::date(text).map_or(Value::Null, |date| Value::String(date.to_string()));
        }
        _ => false,
    };
    if fits { value } else { Value::Null }
}

fn moment(micros: Option<i64>) -> Value {
    let moment = micros.and_then(chrono::DateTime::from_timestamp_micros);
    moment.map_or(Value::Null, |moment| Value::String(moment.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
}
