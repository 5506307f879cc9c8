//! What records of change data capture are wrapped in.
//!
//! An *envelope* is a JSON object with the row before and after a change, and what happened to it. Its
//! *row* has the row's own fields and, after them, columns that begin with an underscore
//! ([`Envelope::columns`]), so that `AUTO CDC` can name them. Values are the connector's, byte by byte:
//! nothing here decodes a number or a time of the row.
//!
//! Source: the data change events of Debezium's connectors, as their documentation has them; with a
//! `schema` section or without, and the tombstones that follow deletes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::Column;
use crate::sql::columns_of_ddl;

#[cfg(test)]
mod tests;

/// The columns of a row of Debezium that aren't the row's own.
const DEBEZIUM: &str = "_op STRING, _ts TIMESTAMP, _lsn BIGINT, _table STRING, _columns ARRAY<STRING>, _source STRING";

/// What stands for a large value that an update didn't touch: as text, as bytes, in an array.
const UNAVAILABLE: [&str; 3] = [
    r#""__debezium_unavailable_value""#,
    r#""X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==""#,
    r#"["__debezium_unavailable_value"]"#,
];

/// The envelopes that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// Debezium's.
    Debezium,
}

/// What an envelope holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A row.
    Row,
    /// No row, and none is missing.
    Nothing,
    /// No row, though there should be one; says why.
    Fault(String),
}

impl Envelope {
    /// The envelope of that name, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        name.eq_ignore_ascii_case("debezium").then_some(Self::Debezium)
    }

    /// The columns that come after the row's own:
    ///
    /// - `_op`: `c` created, `u` updated, `d` deleted, `r` read by a snapshot, `t` the table was truncated
    /// - `_ts`: when the database made the change
    /// - `_lsn`: the change's place in PostgreSQL's log; NULL of other databases
    /// - `_table`: `schema.table`, or `database.table`
    /// - `_columns`: the columns that an update gives, where it leaves out large values that it didn't touch;
    ///   otherwise NULL
    /// - `_source`: all that the connector says of the change's origin, as JSON
    #[must_use]
    pub fn columns(self) -> Vec<Column> {
        columns_of_ddl(DEBEZIUM).unwrap_or_default()
    }

    /// Whether a record says no more than that an earlier one may be forgotten.
    #[must_use]
    pub fn is_tombstone(self, record: &[u8]) -> bool {
        matches!(record.trim_ascii(), b"" | b"null")
    }

    /// Appends the row of a record, as one JSON object. Nothing is appended unless there is one.
    pub fn unwrap(self, record: &[u8], into: &mut Vec<u8>) -> Content {
        let change = match serde_json::from_slice::<Message<'_>>(record) {
            Ok(Message { op: None, payload: Some(payload), .. }) => serde_json::from_str(payload.get()),
            Ok(Message { op: None, schema: Some(_), .. }) => return Content::Nothing,
            Ok(message) => Ok(message),
            Err(error) => Err(error),
        };
        match change {
            Ok(change) => change.row(into),
            Err(error) => Content::Fault(format!("not a change of Debezium: {error}")),
        }
    }
}

/// A change, or what it is wrapped in with its schema.
#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    ts_ms: Option<i64>,
}

/// What is read of a change's origin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Origin {
    ts_ms: Option<i64>,
    ts_us: Option<i64>,
    lsn: Value,
    schema: Option<String>,
    db: Option<String>,
    table: Option<String>,
}

impl Message<'_> {
    fn row(&self, into: &mut Vec<u8>) -> Content {
        let Some(op) = self.op.as_deref() else {
            return Content::Fault("not a change of Debezium: it has no `op`".into());
        };
        let row = match op {
            "c" | "u" | "r" => self.after,
            "d" => self.before,
            "t" => None,
            other => return Content::Fault(format!("op `{other}` changes no row")),
        };
        let fields = match (row.map(|row| row.get()), op) {
            (Some(row), _) => match inside(row) {
                Some(fields) => fields,
                None => return Content::Fault("the row of the change isn't an object".into()),
            },
            (None, "t") => "",
            (None, "d") => {
                return Content::Fault(
                    "a delete without `before`: its table needs a primary key or REPLICA IDENTITY FULL".into(),
                );
            }
            (None, _) => return Content::Fault("a change without `after`".into()),
        };
        let origin = match self.source.map(|source| serde_json::from_str::<Origin>(source.get())).transpose() {
            Ok(origin) => origin.unwrap_or_default(),
            Err(error) => return Content::Fault(format!("`source` can't be read: {error}")),
        };
        let (fields, columns) = match available(fields) {
            Some((fields, columns)) if op == "u" => (Cow::Owned(fields), Some(columns)),
            Some(_) | None => (Cow::Borrowed(fields), None),
        };
        self.write(&fields, (op, &origin, columns), into);
        Content::Row
    }

    fn write(&self, fields: &str, (op, origin, columns): (&str, &Origin, Option<Vec<String>>), into: &mut Vec<u8>) {
        let micros = origin.ts_us.or_else(|| origin.ts_ms.or(self.ts_ms).and_then(|millis| millis.checked_mul(1_000)));
        let time = micros.and_then(DateTime::from_timestamp_micros);
        let place = origin.schema.as_ref().or(origin.db.as_ref());
        let table = origin.table.as_ref().map(|table| match place {
            Some(place) => format!("{place}.{table}"),
            None => table.clone(),
        });
        let more = serde_json::json!({
            "_op": op,
            "_ts": time.map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true)),
            "_lsn": origin.lsn.as_i64(),
            "_table": table,
            "_columns": columns,
            "_source": self.source.map(|source| source.get()),
        })
        .to_string();
        into.push(b'{');
        into.extend_from_slice(fields.as_bytes());
        if !fields.is_empty() {
            into.push(b',');
        }
        into.extend_from_slice(more.trim_start_matches('{').as_bytes());
    }
}

/// What stands between the brackets of an object.
fn inside(object: &str) -> Option<&str> {
    object.strip_prefix('{')?.strip_suffix('}').map(str::trim)
}

/// The fields whose values are there, and their names; `None` if all are.
fn available(fields: &str) -> Option<(String, Vec<String>)> {
    let is_suspect = UNAVAILABLE.iter().any(|value| fields.contains(value));
    let object = is_suspect.then(|| format!("{{{fields}}}"))?;
    let mut values: BTreeMap<String, &RawValue> = serde_json::from_str(&object).ok()?;
    values.retain(|_, value| !UNAVAILABLE.contains(&value.get()));
    let kept = serde_json::to_string(&values).ok()?;
    Some((inside(&kept)?.to_owned(), values.into_keys().collect()))
}
