//! Functions of texts.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int32Builder, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};

use super::moments::one;
use super::{RowFunction, Typed};

pub(super) fn functions() -> Vec<RowFunction> {
    vec![
        RowFunction::new("rlike", |types| texts("rlike", types, 2, DataType::Boolean), rlike),
        RowFunction::new("regexp_extract", |types| grouped("regexp_extract", types, DataType::Utf8), regexp_extract),
        RowFunction::new(
            "regexp_extract_all",
            |types| grouped("regexp_extract_all", types, texts_type()),
            regexp_extract_all,
        ),
        RowFunction::new("regexp_substr", |types| texts("regexp_substr", types, 2, DataType::Utf8), regexp_substr),
        RowFunction::new("split", split_types, split),
        RowFunction::new("locate", locate_types, locate),
        text_to_integer(),
    ]
}

/// `text_to_integer(text)`: the integer part of a decimal number between spaces, as a BIGINT.
pub(crate) fn text_to_integer() -> RowFunction {
    RowFunction::new(
        "text_to_integer",
        |types| texts("text_to_integer", types, 1, DataType::Int64),
        |arguments| {
            let integers: Int64Array = arguments[0].as_string::<i32>().iter().map(|text| integer(text?)).collect();
            Ok(Arc::new(integers))
        },
    )
}

fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || (digits.is_empty() && fraction.is_empty()) {
        return None;
    }
    if digits.is_empty() { Some(0) } else { whole.parse().ok() }
}

/// `text_of_double(number)`: as Java writes it, with an exponent beneath 0.001 and from ten million.
pub(crate) fn text_of_double() -> RowFunction {
    RowFunction::new(
        "text_of_double",
        |types| one("text_of_double", types, types.first().cloned().unwrap_or(DataType::Float64), DataType::Utf8),
        |arguments| {
            let mut texts = StringBuilder::new();
            match arguments[0].as_primitive_opt::<Float32Type>() {
                Some(numbers) => numbers.iter().for_each(|number| push(&mut texts, number.map(|it| (it, it.into())))),
                None => {
                    let numbers = arguments[0].as_primitive::<Float64Type>().iter();
                    numbers.for_each(|number| push(&mut texts, number.map(|it| (it, it))));
                }
            }
            Ok(Arc::new(texts.finish()))
        },
    )
}

/// Appends a number, given with its size.
fn push<T: std::fmt::Display + std::fmt::LowerExp + std::fmt::Debug>(
    texts: &mut StringBuilder,
    number: Option<(T, f64)>,
) {
    let Some((number, size)) = number else { return texts.append_null() };
    let plain = (1e-3..1e7).contains(&size.abs()) || size == 0.0;
    // Texts take everything.
    let written = match (size.is_nan(), size.is_infinite()) {
        (true, _) => write!(texts, "NaN"),
        (_, true) => write!(texts, "{}Infinity", if size < 0.0 { "-" } else { "" }),
        _ if plain => write!(texts, "{number:?}"),
        _ => {
            let text = format!("{number:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            write!(texts, "{digits}{}E{exponent}", if digits.contains('.') { "" } else { ".0" })
        }
    };
    debug_assert!(written.is_ok(), "a builder takes all texts");
    texts.append_value("");
}

/// So many texts.
pub(super) fn texts(name: &str, types: &[DataType], count: usize, result: DataType) -> Result<Typed> {
    if types.len() != count {
        return plan_err!("{name} takes {count} arguments, not {}", types.len());
    }
    Ok((vec![DataType::Utf8; count], result))
}

fn texts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// A text, a pattern, and perhaps a group.
fn grouped(name: &str, types: &[DataType], result: DataType) -> Result<Typed> {
    match types.len() {
        2 => Ok((vec![DataType::Utf8, DataType::Utf8], result)),
        3 => Ok((vec![DataType::Utf8, DataType::Utf8, DataType::Int64], result)),
        other => plan_err!("{name} takes a text, a pattern and a group, not {other} arguments"),
    }
}

fn split_types(types: &[DataType]) -> Result<Typed> {
    grouped("split", types, texts_type())
}

fn locate_types(types: &[DataType]) -> Result<Typed> {
    grouped("locate", types, DataType::Int32)
}

/// Compiles a pattern once while it stays the same.
#[derive(Default)]
struct Patterns {
    last: Option<(String, regex::Regex)>,
}

impl Patterns {
    fn compiled(&mut self, pattern: &str) -> Result<&regex::Regex> {
        if self.last.as_ref().is_none_or(|(last, _)| last != pattern) {
            let compiled = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
            let compiled =
                compiled.map_err(|source| DataFusionError::Execution(format!("pattern `{pattern}`: {source}")))?;
            self.last = Some((pattern.to_owned(), compiled));
        }
        match &self.last {
            Some((_, regex)) => Ok(regex),
            None => exec_err!("no pattern"),
        }
    }
}

/// Texts with their patterns.
fn pairs(arguments: &[ArrayRef]) -> impl Iterator<Item = Option<(&str, &str)>> {
    let (texts, patterns) = (arguments[0].as_string::<i32>(), arguments[1].as_string::<i32>());
    texts.iter().zip(patterns.iter()).map(|(text, pattern)| Some((text?, pattern?)))
}

/// The third argument of a row, or what it is when left out.
fn third(arguments: &[ArrayRef], row: usize, absent: i64) -> Option<i64> {
    let Some(thirds) = arguments.get(2) else { return Some(absent) };
    let thirds = thirds.as_primitive::<Int64Type>();
    thirds.is_valid(row).then(|| thirds.value(row))
}

fn rlike(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let mut found = BooleanBuilder::new();
    for pair in pairs(arguments) {
        match pair {
            Some((text, pattern)) => found.append_value(patterns.compiled(pattern)?.is_match(text)),
            None => found.append_null(),
        }
    }
    Ok(Arc::new(found.finish()))
}

/// The group of the first match; an empty text where there is none, as in Spark.
fn regexp_extract(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let mut found = StringBuilder::new();
    for (row, pair) in pairs(arguments).enumerate() {
        let (Some((text, pattern)), Some(group)) = (pair, third(arguments, row, 1)) else {
            found.append_null();
            continue;
        };
        let captures = patterns.compiled(pattern)?.captures(text);
        let group = usize::try_from(group).ok().and_then(|group| captures.as_ref()?.get(group));
        found.append_value(group.map_or("", |group| group.as_str()));
    }
    Ok(Arc::new(found.finish()))
}

/// The group of every match.
fn regexp_extract_all(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let mut found = ListBuilder::new(StringBuilder::new());
    for (row, pair) in pairs(arguments).enumerate() {
        let (Some((text, pattern)), Some(group)) = (pair, third(arguments, row, 1)) else {
            found.append(false);
            continue;
        };
        let group = usize::try_from(group).unwrap_or(usize::MAX);
        for captures in patterns.compiled(pattern)?.captures_iter(text) {
            found.values().append_value(captures.get(group).map_or("", |group| group.as_str()));
        }
        found.append(true);
    }
    Ok(Arc::new(found.finish()))
}

/// The first match; NULL where there is none.
fn regexp_substr(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let mut found = StringBuilder::new();
    for pair in pairs(arguments) {
        found.append_option(match pair {
            Some((text, pattern)) => patterns.compiled(pattern)?.find(text).map(|found| found.as_str()),
            None => None,
        });
    }
    Ok(Arc::new(found.finish()))
}

/// Parts between matches of a pattern; a limit above zero bounds their number.
fn split(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut patterns = Patterns::default();
    let mut found = ListBuilder::new(StringBuilder::new());
    for (row, pair) in pairs(arguments).enumerate() {
        let (Some((text, pattern)), Some(limit)) = (pair, third(arguments, row, -1)) else {
            found.append(false);
            continue;
        };
        let pattern = patterns.compiled(pattern)?;
        let parts: Vec<&str> = match usize::try_from(limit) {
            Ok(limit) if limit > 0 => pattern.splitn(text, limit).collect(),
            Ok(_) | Err(_) => pattern.split(text).collect(),
        };
        // A match of the empty text at the start gives no part, as in Java.
        let skipped =
            usize::from(parts.len() > 1 && parts[0].is_empty() && pattern.find(text).is_some_and(|m| m.is_empty()));
        parts[skipped..].iter().for_each(|part| found.values().append_value(part));
        found.append(true);
    }
    Ok(Arc::new(found.finish()))
}

/// `locate(part, text[, from])`: where the part begins, counted from 1; 0 where it doesn't.
fn locate(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let mut found = Int32Builder::new();
    let (parts, texts): (&StringArray, &StringArray) = (arguments[0].as_string(), arguments[1].as_string());
    for row in 0..parts.len() {
        let from = third(arguments, row, 1);
        if parts.is_null(row) || texts.is_null(row) || from.is_none() {
            found.append_null();
            continue;
        }
        found.append_value(place(parts.value(row), texts.value(row), from.unwrap_or(1)));
    }
    Ok(Arc::new(found.finish()))
}

fn place(part: &str, text: &str, from: i64) -> i32 {
    let Some(skipped) = from.checked_sub(1).and_then(|from| usize::try_from(from).ok()) else { return 0 };
    let start = text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(skipped);
    let found = start.and_then(|start| text[start..].find(part).map(|at| start + at));
    found.map_or(0, |at| i32::try_from(text[..at].chars().count() + 1).unwrap_or(i32::MAX))
}
