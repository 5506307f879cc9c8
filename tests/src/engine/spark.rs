//! Golden: what expressions give, beside what Spark 4.3 gave for them without ANSI mode, in UTC.
//!
//! `spark/expressions.tsv` holds Spark's type and value of expressions without a table, `spark/aggregates.tsv`
//! of those over a whole table, and `spark/columns.tsv` the values for all of the table's rows.
//! Where ours differ, `spark/differences.tsv` says how and why; a difference that isn't listed, or that
//! is listed and gone, fails the test.
//!
//! Types are compared by Spark's names. Only what no Delta table can tell apart is one type: Arrow's
//! views and large strings are `string`, its lists of any kind `array`. Numbers in texts of JSON are compared
//! as numbers to nine digits, and a struct's field that is NULL is the same as one that is missing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, Int64Type, IntervalUnit};
use arrow::json::writer::{JsonArray, WriterBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_core::model::Settings;
use headwater_lake::engine::Engine;
use serde_json::{Map, Value};

use super::run;

const EXPRESSIONS: &str = include_str!("../../spark/expressions.tsv");
const AGGREGATES: &str = include_str!("../../spark/aggregates.tsv");
const COLUMNS: &str = include_str!("../../spark/columns.tsv");
const DIFFERENCES: &str = include_str!("../../spark/differences.tsv");

/// What an engine gives for an expression: type and value, or `ERR` and the message.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    data_type: String,
    value: Value,
}

#[tokio::test]
async fn expressions_give_what_spark_gives() {
    compare(EXPRESSIONS, |expression| format!("SELECT {expression} AS v"), first).await;
}

#[tokio::test]
async fn aggregates_give_what_spark_gives() {
    compare(AGGREGATES, |expression| format!("SELECT {expression} AS v FROM t"), first).await;
}

#[tokio::test]
async fn columns_give_what_spark_gives() {
    // In the table's order, which a window may have changed.
    let text = |expression: &str| {
        format!("SELECT v FROM (SELECT n, {expression} AS v FROM t) AS r ORDER BY coalesce(n * 10, 35)")
    };
    compare(COLUMNS, text, Value::Array).await;
}

fn first(values: Vec<Value>) -> Value {
    values.into_iter().next().unwrap_or(Value::Null)
}

/// Fields of a line: expression, type, value.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    text.lines().map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [expression, data_type, value, ..] = fields.as_slice() else { panic!("too few fields: {line}") };
        (*expression, *data_type, *value)
    })
}

fn answer(data_type: &str, value: &str) -> Answer {
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Answer { data_type: data_type.to_owned(), value: normal(value) }
}

/// Fails unless our answers are Spark's but for the known differences.
async fn compare(spark: &str, text: impl Fn(&str) -> String, of_rows: fn(Vec<Value>) -> Value) {
    let engine = Arc::new(Engine::new(&Settings::default()).unwrap());
    let known: BTreeMap<&str, Answer> =
        lines(DIFFERENCES).map(|(expression, data_type, value)| (expression, answer(data_type, value))).collect();
    let mut wrong = String::new();
    for (expression, data_type, value) in lines(spark) {
        let (engine, text) = (Arc::clone(&engine), text(expression));
        let ours = match tokio::spawn(async move { run(&engine, &text).await }).await {
            Ok(Ok(batches)) => shown(&batches, of_rows),
            Ok(Err(message)) => failed(&message),
            Err(panicked) => failed(&format!("PANIC {panicked}")),
        };
        let agrees = ours == answer(data_type, value) || (data_type == "ERR" && ours.data_type == "ERR");
        let expected = known.get(expression);
        if agrees && expected.is_some() {
            writeln!(wrong, "{expression}\tis as in Spark, and spark/differences.tsv says otherwise").unwrap();
        } else if !agrees && expected != Some(&ours) {
            writeln!(wrong, "{expression}\t{}\t{}\t(Spark: {data_type}\t{value})", ours.data_type, ours.value).unwrap();
        }
    }
    assert!(wrong.is_empty(), "answers that aren't Spark's:\n{wrong}");
}

fn failed(message: &str) -> Answer {
    let line = message.lines().next().unwrap_or_default().replace('\t', " ");
    Answer { data_type: "ERR".into(), value: Value::String(line) }
}

fn shown(batches: &[RecordBatch], of_rows: fn(Vec<Value>) -> Value) -> Answer {
    let values = batches.iter().flat_map(values).map(normal).collect();
    Answer { data_type: spark_type(batches[0].schema().field(0).data_type()), value: of_rows(values) }
}

fn values(batch: &RecordBatch) -> Vec<Value> {
    if let DataType::Duration(_) = batch.column(0).data_type() {
        let micros = cast(batch.column(0), &DataType::Int64).unwrap();
        return micros.as_primitive::<Int64Type>().iter().map(|micros| micros.map_or(Value::Null, duration)).collect();
    }
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    if writer.write(batch).and_then(|()| writer.finish()).is_err() {
        let formatter = ArrayFormatter::try_new(batch.column(0), &FormatOptions::new()).unwrap();
        return (0..batch.num_rows()).map(|row| Value::String(formatter.value(row).to_string())).collect();
    }
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(&writer.into_inner()).unwrap();
    rows.into_iter().map(|mut row| row.remove("v").unwrap_or(Value::Null)).collect()
}

/// As Python writes it, by which Spark was asked.
fn duration(micros: i64) -> Value {
    let (days, seconds) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000) / 1_000_000);
    let time = format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let days = match days {
        0 => String::new(),
        1 | -1 => format!("{days} day, "),
        _ => format!("{days} days, "),
    };
    Value::String(days + &time)
}

/// The value in the one form in which both are compared.
fn normal(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, normal(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            Value::from((number * 1e9).round() / 1e9)
        }
        Value::String(text) => Value::String(moment(text)),
        other => other,
    }
}

/// Times without a zone, and without the last zeros of a fraction.
fn moment(text: String) -> String {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || bytes[4] != b'-' || bytes[10] != b'T' || bytes[13] != b':' {
        return text;
    }
    let text = text.trim_end_matches("+00:00").trim_end_matches('Z');
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

fn spark_type(data_type: &DataType) -> String {
    let fields = |fields: &Fields| {
        let fields = fields.iter().map(|field| format!("{}:{}", field.name(), spark_type(field.data_type())));
        fields.collect::<Vec<_>>().join(",")
    };
    match data_type {
        DataType::Null => "void".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp".into(),
        DataType::Timestamp(_, None) => "timestamp_ntz".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Duration(_) | DataType::Interval(IntervalUnit::DayTime) => "interval day to second".into(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("array<{}>", spark_type(item.data_type()))
        }
        DataType::Struct(of) => format!("struct<{}>", fields(of)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(of) if of.len() == 2 => {
                format!("map<{},{}>", spark_type(of[0].data_type()), spark_type(of[1].data_type()))
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}
