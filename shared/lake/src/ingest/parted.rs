//! JSON objects as their columns take them, and what of them no column takes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Fields};
use serde_json::value::RawValue;

use super::json::compact;

/// Fields of an object, of which the values are JSON, as they were given or written anew.
pub(super) type Values<'a> = BTreeMap<String, Cow<'a, str>>;

/// A record in two.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    /// What is decoded.
    pub(super) kept: Values<'a>,
    /// What isn't.
    pub(super) rest: Values<'a>,
    /// Whether the first is all of it, as it was given.
    is_as_given: bool,
}

/// The fields of a record, parted by whether they have columns; nested ones within theirs. A column of text takes an object
/// or a list as its JSON, as Spark does. `None` if it isn't a JSON object.
pub(super) fn parts<'a>(record: &'a [u8], columns: &Fields) -> Option<Parts<'a>> {
    parted(serde_json::from_slice(record).ok()?, columns, true)
}

/// The record that columns take whole, if it isn't the one given: with objects and lists as text under columns of text,
/// and without fields that have no column and hold nothing but objects without fields.
pub(super) fn as_taken(record: &[u8], columns: &Fields) -> Option<String> {
    let whole = parted(serde_json::from_slice(record).ok()?, columns, false)?;
    (!whole.is_as_given).then(|| object(&whole.kept))
}

/// Fields parted, or, where they aren't to be, all kept that hold something.
fn parted<'a>(given: BTreeMap<String, &'a RawValue>, columns: &Fields, is_apart: bool) -> Option<Parts<'a>> {
    let mut parts = Parts { is_as_given: true, ..Parts::default() };
    for (name, value) in given {
        match columns.find(&name) {
            Some((_, field)) => {
                let (kept, rest) = parted_value(value, field.data_type(), is_apart)?;
                parts.is_as_given &= rest.is_none() && matches!(kept, Cow::Borrowed(_));
                parts.rest.extend(rest.map(|rest| (name.clone(), rest)));
                parts.kept.insert(name, kept);
            }
            None if is_apart => {
                parts.is_as_given = false;
                parts.rest.insert(name, Cow::Borrowed(value.get()));
            }
            None if holds_nothing(value) => parts.is_as_given = false,
            None => drop(parts.kept.insert(name, Cow::Borrowed(value.get()))),
        }
    }
    Some(parts)
}

type Pair<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

fn parted_value<'a>(value: &'a RawValue, data_type: &DataType, is_apart: bool) -> Option<Pair<'a>> {
    let text = value.get();
    Some(match (data_type, text.as_bytes().first()?) {
        (DataType::Utf8, b'{' | b'[') => {
            let mut plain = Vec::with_capacity(text.len());
            compact(text.as_bytes(), &mut plain);
            (Cow::Owned(quoted(std::str::from_utf8(&plain).ok()?)), None)
        }
        (DataType::Struct(fields), b'{') => {
            let parts = parted(serde_json::from_str(text).ok()?, fields, is_apart)?;
            let rest = (!parts.rest.is_empty()).then(|| Cow::Owned(object(&parts.rest)));
            (if parts.is_as_given { Cow::Borrowed(text) } else { Cow::Owned(object(&parts.kept)) }, rest)
        }
        (DataType::Map(entries, _), b'{') => {
            let DataType::Struct(pair) = entries.data_type() else { return None };
            let given: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let (mut kept, mut rest) = (Values::new(), Values::new());
            for (name, value) in given {
                let (of_value, left) = parted_value(value, pair.get(1)?.data_type(), is_apart)?;
                rest.extend(left.map(|left| (name.clone(), left)));
                kept.insert(name, of_value);
            }
            let is_as_given = rest.is_empty() && kept.values().all(|value| matches!(value, Cow::Borrowed(_)));
            let rest = (!rest.is_empty()).then(|| Cow::Owned(object(&rest)));
            (if is_as_given { Cow::Borrowed(text) } else { Cow::Owned(object(&kept)) }, rest)
        }
        (DataType::List(element), b'[') => {
            let given: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let pair = |value: &&'a RawValue| parted_value(value, element.data_type(), is_apart);
            let (kept, rest): (Vec<_>, Vec<_>) =
                given.iter().map(pair).collect::<Option<Vec<_>>>()?.into_iter().unzip();
            let has_rest = rest.iter().any(Option::is_some);
            let is_as_given = !has_rest && kept.iter().all(|value| matches!(value, Cow::Borrowed(_)));
            // Each where its element is.
            let rest: Vec<_> = rest.into_iter().map(|rest| rest.unwrap_or(Cow::Borrowed("null"))).collect();
            let rest = has_rest.then(|| Cow::Owned(format!("[{}]", rest.join(","))));
            (if is_as_given { Cow::Borrowed(text) } else { Cow::Owned(format!("[{}]", kept.join(","))) }, rest)
        }
        _ => (Cow::Borrowed(text), None),
    })
}

/// Whether a value is an object without fields, or one of such.
fn holds_nothing(value: &RawValue) -> bool {
    let fields = value.get().starts_with('{').then(|| serde_json::from_str(value.get()).ok()).flatten();
    fields.is_some_and(|fields: BTreeMap<String, &RawValue>| fields.values().all(|value| holds_nothing(value)))
}

/// A JSON object of fields whose values are JSON.
pub(super) fn object(fields: &Values<'_>) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    format!("{{{}}}", fields.join(","))
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
