//! A compaction that doesn't end in one run: what is done stays, what is left is known, and the next run goes on.

use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use chrono::Utc;
use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report, Slice};
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::layout::Layout;
use headwater_lake::storage::Storage;
use headwater_testkit::fault_store::{Fault, Operation};
use std::sync::Arc;

use crate::compaction::{append, compact, data_files, lake_of, outcomes, shown};
use crate::tables::{faulty, log_entry, open};

/// Three files in each of these partitions.
async fn table_of(storage: &Storage, partitions: &[&str]) {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("part", DataType::Utf8, true)]);
    let schema = Arc::new(schema);
    for number in 0..3 {
        for partition in partitions {
            let values: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from(vec![number])), Arc::new(StringArray::from(vec![*partition]))];
            append(storage, &RecordBatch::try_new(Arc::clone(&schema), values).unwrap()).await;
        }
    }
}

/// What the compactions of the last commits say of their progress, the oldest first.
async fn progress(storage: &Storage) -> Vec<(u64, u64)> {
    let history = open(storage).await.history(20).await.unwrap();
    let slices = history.iter().rev().filter_map(|entry| entry.report.as_ref()?.slice);
    slices.map(|slice| (slice.done, slice.planned)).collect()
}

/// Slices that are left, and their bytes.
async fn left(storage: &Storage) -> (usize, u64) {
    let (lake, table) = (lake_of(storage), open(storage).await);
    let layout = Layout::of(lake.pipeline(), &DatasetName::new("numbers"), &table).unwrap();
    let bins = layout.bins(&table, None).await.unwrap().bins;
    (bins.len(), bins.iter().flatten().map(headwater_lake::table::DataFile::size).sum())
}

async fn compact_until(storage: &Storage, after: Duration) -> Report {
    let deadline = Some(Utc::now() + after);
    headwater_compact::handle(&lake_of(storage), Trigger { cause: Cause::Timer(Vec::new()), deadline }).await
}

#[tokio::test]
async fn a_run_that_dies_between_two_slices_is_gone_on_with() {
    let (place, faults) = faulty();
    table_of(&place.storage, &["a", "b", "c", "d"]).await;
    let rows = shown(&open(&place.storage).await).await;
    assert_eq!(left(&place.storage).await.0, 4);
    faults.fail(Operation::Put, &log_entry(14), [Fault::Forbidden]);
    assert!(!compact(&place.storage).await.is_success());
    assert_eq!(progress(&place.storage).await, [(1, 4), (2, 4)]);
    let (slices, bytes) = left(&place.storage).await;
    let told = open(&place.storage).await.history(1).await.unwrap().remove(0).report.unwrap().slice;
    assert_eq!((slices, told), (2, Some(Slice { done: 2, planned: 4, bytes_left: bytes })));
    faults.restart();
    assert!(compact(&place.storage).await.is_success());
    assert_eq!((left(&place.storage).await.0, progress(&place.storage).await.len()), (0, 4));
    assert_eq!(shown(&open(&place.storage).await).await, rows);
}

#[tokio::test]
async fn no_slice_is_begun_once_the_deadline_has_come() {
    let (place, faults) = faulty();
    table_of(&place.storage, &["a", "b", "c"]).await;
    assert!(compact_until(&place.storage, Duration::ZERO).await.flows.is_empty());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    faults.before_put(&log_entry(9), tokio::time::sleep_until(deadline));
    let report = compact_until(&place.storage, Duration::from_secs(2)).await;
    assert_eq!(outcomes(&report), [&Outcome::Committed { version: 9 }]);
    assert_eq!((progress(&place.storage).await, left(&place.storage).await.0), (vec![(1, 3)], 2));
    compact(&place.storage).await;
    assert_eq!(left(&place.storage).await.0, 0);
}

#[tokio::test]
async fn a_slice_that_takes_too_long_is_given_up_and_leaves_nothing_behind() {
    let (place, faults) = faulty();
    table_of(&place.storage, &["a", "b"]).await;
    faults.before_put(".parquet", tokio::time::sleep(Duration::from_secs(3600)));
    let report = compact_until(&place.storage, Duration::from_secs(2)).await;
    assert!(matches!(outcomes(&report)[..], [Outcome::Retryable { .. }]), "{:?}", outcomes(&report));
    assert_eq!((open(&place.storage).await.version(), data_files(&place.storage).await), (5, 6));
}

#[tokio::test]
async fn a_table_that_is_compacted_in_many_slices_gets_its_checkpoints_in_between() {
    let (place, _) = faulty();
    let partitions: Vec<String> = (0..30).map(|number| number.to_string()).collect();
    table_of(&place.storage, &partitions.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let report = compact(&place.storage).await;
    let at = |step: &str| {
        let steps = report.flows.iter().enumerate().filter(move |(_, flow)| flow.flow.to_string() == step);
        steps.map(|(at, _)| at).collect::<Vec<_>>()
    };
    assert_eq!((at("checkpoint"), at("compact").len()), (vec![0, 21], 30));
    assert_eq!(shown(&open(&place.storage).await).await.len(), 90);
}
