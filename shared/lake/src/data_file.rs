//! A data file, as the log tells of it.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use deltalake::kernel::{Add, Remove};
use headwater_core::totals::FileSize;
use object_store::path::Path;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use crate::storage::Storage;

/// What delta-rs escapes in the paths of log entries, besides what isn't ASCII.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'*')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Names and values of a partition's columns, by name.
pub(crate) type Partition = Vec<(String, Option<String>)>;

/// A partition as log entries have it.
pub(crate) fn partition_of(values: &HashMap<String, Option<String>>) -> Partition {
    let mut partition: Vec<_> = values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    partition.sort();
    partition
}

/// A data file of a table. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DataFile {
    pub(crate) add: Arc<Add>,
    location: Arc<Path>,
    stats: Arc<OnceLock<Option<Value>>>,
}

impl DataFile {
    pub(crate) fn new(storage: &Storage, table: &str, add: Add) -> Self {
        let folder = storage.location(table);
        // Paths of partitions hold percent signs that are part of the name.
        let path = Path::parse(&add.path).unwrap_or_else(|_| Path::from(add.path.as_str()));
        let location = Path::from_iter(folder.parts().chain(path.parts()));
        Self { add: Arc::new(add), location: Arc::new(location), stats: Arc::default() }
    }

    /// Path relative to the table, as in the log.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.add.path
    }

    /// The path as a log entry of delta-rs spells it; another engine may spell what isn't ASCII otherwise.
    pub(crate) fn path_in_log(&self) -> String {
        utf8_percent_encode(&self.add.path, ESCAPED).to_string()
    }

    /// Path in the store.
    #[must_use]
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// Bytes as stored.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.add.size).unwrap_or_default()
    }

    /// When the file was written.
    #[must_use]
    pub fn modified(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.add.modification_time).unwrap_or_default()
    }

    /// Rows, if statistics tell.
    #[must_use]
    pub fn num_records(&self) -> Option<u64> {
        match self.stats.get() {
            Some(stats) => stats.as_ref()?.get("numRecords")?.as_u64(),
            // All files are counted often, and bounds of few are looked at.
            None => rows_of(&self.add),
        }
    }

    /// What of it goes into a table's totals.
    pub(crate) fn in_totals(&self) -> FileSize {
        in_totals(&self.add)
    }

    /// A lower bound of a column, by its path through structs, if statistics tell.
    #[must_use]
    pub fn min(&self, path: &[&str]) -> Option<Value> {
        self.bound("minValues", path)
    }

    /// An upper bound of a column, by its path through structs, if statistics tell.
    #[must_use]
    pub fn max(&self, path: &[&str]) -> Option<Value> {
        self.bound("maxValues", path)
    }

    /// Whether a column of the table may hold NULL, as far as statistics tell.
    pub(crate) fn may_hold_null(&self, column: &str) -> bool {
        self.bound("nullCount", &[column]).and_then(|count| count.as_u64()) != Some(0)
    }

    /// Partition values in a fixed order, for grouping.
    #[must_use]
    pub fn partition(&self) -> Partition {
        partition_of(&self.add.partition_values)
    }

    /// Whether rows of the file are deleted by a deletion vector.
    #[must_use]
    pub fn has_deletion_vector(&self) -> bool {
        self.add.deletion_vector.is_some()
    }

    pub(crate) fn removal(&self, data_change: bool, now: DateTime<Utc>) -> Remove {
        Remove {
            path: self.add.path.clone(),
            data_change,
            deletion_timestamp: Some(now.timestamp_millis()),
            extended_file_metadata: Some(true),
            partition_values: Some(self.add.partition_values.clone()),
            size: Some(self.add.size),
            tags: self.add.tags.clone(),
            deletion_vector: self.add.deletion_vector.clone(),
            base_row_id: self.add.base_row_id,
            default_row_commit_version: self.add.default_row_commit_version,
        }
    }

    fn bound(&self, which: &str, path: &[&str]) -> Option<Value> {
        let bounds = self.statistics()?.get(which)?;
        path.iter().try_fold(bounds, |value, part| value.get(part)).cloned()
    }

    fn statistics(&self) -> Option<&Value> {
        self.stats.get_or_init(|| serde_json::from_str(self.add.stats.as_deref()?).ok()).as_ref()
    }
}

/// A path of a log entry with all letters that aren't ASCII as they are, and what else is escaped left so.
pub(crate) fn without_escaped_letters(path: &str) -> String {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if !byte.is_ascii() => {
                plain.push(byte);
                rest = &after[2..];
            }
            _ => {
                plain.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| path.to_owned())
}

/// What of a file goes into a table's totals.
pub(crate) fn in_totals(add: &Add) -> FileSize {
    FileSize { bytes: u64::try_from(add.size).unwrap_or_default(), rows: rows_of(add), written: add.modification_time }
}

fn rows_of(add: &Add) -> Option<u64> {
    serde_json::from_str::<Counted>(add.stats.as_deref()?).ok()?.num_records
}

/// What is read of statistics to count rows.
#[derive(Debug, Deserialize)]
struct Counted {
    #[serde(rename = "numRecords")]
    num_records: Option<u64>,
}

#[cfg(test)]
mod tests {
    use deltalake::kernel::Action;

    use super::*;

    fn file(path: &str) -> DataFile {
        let add: Add = serde_json::from_value(serde_json::json!({
            "path": "", "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": true
        }))
        .unwrap();
        DataFile {
            add: Arc::new(Add { path: path.to_owned(), ..add }),
            location: Arc::new(Path::from(path)),
            stats: Arc::default(),
        }
    }

    #[test]
    fn paths_are_spelled_as_in_log_entries() {
        let ascii: String = (1..=127_u8).map(char::from).collect();
        for path in [&ascii, "place=Z\u{fc}rich/\u{65e5}.parquet", "place=x%20y~z/a.parquet"] {
            let file = file(path);
            let removal = serde_json::to_value(Action::Remove(file.removal(true, DateTime::default()))).unwrap();
            assert_eq!(removal["remove"]["path"], file.path_in_log());
        }
    }

    #[test]
    fn only_letters_that_are_not_ascii_lose_their_escapes() {
        let plain = |path: &str| without_escaped_letters(&file(path).path_in_log());
        assert_eq!(plain("place=Z\u{fc}rich/a b.parquet"), "place=Z\u{fc}rich/a%20b.parquet");
        assert_eq!(plain("place=%C3%BC/%"), "place=%25C3%25BC/%25");
        assert_eq!(without_escaped_letters("%C3%BC%2"), "\u{fc}%2");
        assert_eq!(without_escaped_letters("a%FFb"), "a%FFb");
        assert_eq!(without_escaped_letters("%+3%\u{fc}"), "%+3%\u{fc}");
    }
}
