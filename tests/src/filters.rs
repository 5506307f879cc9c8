//! Bloom filters of key columns: where they are, what they cost, and that look-ups read no column of a file that they rule out.

use std::sync::Arc;

use deltalake::parquet::file::metadata::ColumnChunkMetaData;
use deltalake::parquet::file::reader::{FileReader, SerializedFileReader};
use futures::TryStreamExt;
use headwater_core::name::DatasetName;
use headwater_core::trigger::{Cause, Message};
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use crate::lakes::{Lab, deliver, lake_of, message, pipeline, rows, update, wake, well};

const UNIQUE: &str = "CREATE STREAMING TABLE seen TBLPROPERTIES ('headwater.dedup.keys' = 'ID')
    AS SELECT id, n FROM STREAM read_events('events', format => 'json', schema => 'id STRING, n INT');";

const CHANGED: &str = "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id STRING, seq INT, name STRING');
    CREATE STREAMING TABLE t; CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) SEQUENCE BY seq";

/// An id that is anywhere among the others.
fn id(number: u64) -> String {
    format!("{:016x}", number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn messages(numbers: std::ops::Range<u64>) -> Vec<Message> {
    let body = |number| format!(r#"{{"id": "{}", "n": {number}}}"#, id(number));
    numbers.map(|number| message(&Uuid::new_v4().to_string(), body(number), 1)).collect()
}

pub(crate) async fn data_files(lab: &Lab, table: &str) -> Vec<Path> {
    let objects: Vec<_> = lab.store.list(Some(&table.into())).try_collect().await.unwrap();
    let paths = objects.into_iter().map(|object| object.location);
    paths.filter(|path| path.as_ref().ends_with(".parquet") && !path.as_ref().contains("_delta_log")).collect()
}

/// Bytes of a file, and of the filters of one of its columns.
async fn sizes(lab: &Lab, file: &Path, column: &str) -> (usize, usize) {
    let bytes = lab.store.get(file).await.unwrap().bytes().await.unwrap();
    let reader = SerializedFileReader::new(bytes.clone()).unwrap();
    let columns = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    let found = columns.filter(|chunk| chunk.column_path().string() == column);
    (bytes.len(), found.map(|chunk| chunk.bloom_filter_length().unwrap_or_default() as usize).sum())
}

/// Bytes of a column's values.
pub(crate) async fn stored(lab: &Lab, file: &Path, column: &str) -> usize {
    let bytes = lab.store.get(file).await.unwrap().bytes().await.unwrap();
    let reader = SerializedFileReader::new(bytes).unwrap();
    let columns = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    columns.filter(|chunk| chunk.column_path().string() == column).map(|chunk| chunk.byte_range().1 as usize).sum()
}

/// Makes the values of a column unreadable.
pub(crate) async fn spoil(lab: &Lab, file: &Path, column: &str) {
    overwrite(lab, file, |chunk| (chunk.column_path().string() == column).then(|| chunk.byte_range())).await;
}

/// Makes the filters of a column unreadable.
pub(crate) async fn spoil_filters(lab: &Lab, file: &Path, column: &str) {
    let filter = |chunk: &ColumnChunkMetaData| {
        let own = (chunk.column_path().string() == column).then_some(chunk)?;
        Some((u64::try_from(own.bloom_filter_offset()?).ok()?, u64::try_from(own.bloom_filter_length()?).ok()?))
    };
    overwrite(lab, file, filter).await;
}

/// Overwrites what begins at an offset and has a length, of each column of each row group.
async fn overwrite(lab: &Lab, file: &Path, found: impl Fn(&ColumnChunkMetaData) -> Option<(u64, u64)>) {
    let whole = lab.store.get(file).await.unwrap().bytes().await.unwrap();
    let mut bytes = whole.to_vec();
    let reader = SerializedFileReader::new(whole.clone()).unwrap();
    let columns = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    let found: Vec<_> = columns.filter_map(found).collect();
    assert!(!found.is_empty(), "{file} has nothing to overwrite");
    for (start, length) in found {
        bytes[start as usize..(start + length) as usize].fill(0xff);
    }
    lab.store.put(file, bytes.into()).await.unwrap();
}

async fn spoil_all(lab: &Lab, table: &str, column: &str) {
    for file in data_files(lab, table).await {
        assert!(sizes(lab, &file, column).await.1 > 0, "{file} has no filter");
        spoil(lab, &file, column).await;
    }
}

#[tokio::test]
async fn unique_keys_are_looked_for_by_filters_first() {
    let lab = Lab::new();
    well(deliver(&lab.lake(UNIQUE), messages(0..300)).await);
    spoil_all(&lab, "bronze/seen", "id").await;
    let report = well(deliver(&lab.lake(UNIQUE), messages(300..305)).await);
    assert_eq!(report.flows[0].rows.written, 5);
    let known = deliver(&lab.lake(UNIQUE), messages(10..11)).await;
    assert!(!known.is_success() || !known.retry.is_empty(), "a key that is there has to be read: {known:?}");
}

#[tokio::test]
async fn keys_of_changes_are_looked_for_by_filters_first() {
    let lab = Lab::new();
    let line = |number: u64| format!(r#"{{"id": "{}", "seq": {number}, "name": "n{number}"}}"#, id(number));
    lab.arrive("0.json", (0..300).map(line).collect::<Vec<_>>().join("\n"));
    update(&lab.lake(CHANGED)).await;
    for table in ["silver/t", "silver/t__changes"] {
        spoil_all(&lab, table, "id").await;
    }
    lab.arrive("1.json", (300..305).map(line).collect::<Vec<_>>().join("\n"));
    let report = update(&lab.lake(CHANGED)).await;
    let upserted: u64 = report.flows.iter().filter_map(|flow| flow.changes).map(|changes| changes.upserted).sum();
    assert_eq!(upserted, 5);
}

/// A lake that compacts two files already.
fn compacting(lab: &Lab) -> Lake {
    let mut pipeline = pipeline(UNIQUE);
    pipeline.settings.compact_min_files = 2;
    lake_of(&pipeline, lab.folder.path(), Arc::new(lab.store.clone()))
}

#[tokio::test]
async fn filters_are_written_for_as_many_values_as_there_are() {
    let lab = Lab::new();
    for part in 0..4 {
        // Half as many again were there before.
        let numbers = (part * 500_u64).saturating_sub(250)..(part + 1) * 500;
        well(deliver(&lab.lake(UNIQUE), messages(numbers)).await);
    }
    let before = data_files(&lab, "bronze/seen").await;
    well(wake(&compacting(&lab), FunctionKind::Compact, Cause::Timer(Vec::new())).await);
    let made: Vec<_> =
        data_files(&lab, "bronze/seen").await.into_iter().filter(|file| !before.contains(file)).collect();
    let [made] = &made[..] else { panic!("{made:?}") };
    for (file, values) in before.iter().map(|file| (file, 500)).chain([(made, 2_000)]) {
        let (size, filter) = sizes(&lab, file, "id").await;
        // Three to six bytes a value, as sizes are powers of two, and a header.
        assert!((3 * values..=6 * values + 64).contains(&filter), "{filter} bytes for {values} values, of {size}");
        assert_eq!(sizes(&lab, file, "n").await.1, 0);
    }
    assert_eq!(rows(&compacting(&lab), &DatasetName::new("seen")).await.len(), 2_000);
}

#[tokio::test]
async fn a_batch_of_many_keys_is_looked_for_by_filters_too() {
    let lab = Lab::new();
    well(deliver(&lab.lake(UNIQUE), messages(0..3_000)).await);
    spoil_all(&lab, "bronze/seen", "id").await;
    let report = well(deliver(&lab.lake(UNIQUE), messages(3_000..3_500)).await);
    assert_eq!(report.flows[0].rows.written, 500);
}

#[tokio::test]
async fn a_filter_that_may_cost_more_than_it_spares_is_not_read() {
    let lab = Lab::new();
    let numbered = |numbers: std::ops::Range<u64>| {
        let body = |number| format!(r#"{{"id": "{number}", "n": {number}}}"#);
        numbers.map(|number| message(&Uuid::new_v4().to_string(), body(number), 1)).collect()
    };
    well(deliver(&lab.lake(UNIQUE), numbered(100_000..103_000)).await);
    for file in data_files(&lab, "bronze/seen").await {
        let (_, filter) = sizes(&lab, &file, "id").await;
        let values = stored(&lab, &file, "id").await;
        assert!(values < filter, "{values} bytes of values, and {filter} of their filter");
        spoil_filters(&lab, &file, "id").await;
    }
    let report = well(deliver(&lab.lake(UNIQUE), numbered(102_900..103_100)).await);
    assert_eq!((report.flows[0].rows.written, report.flows[0].rows.duplicate), (100, 100));
}
