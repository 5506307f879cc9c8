//! Vacuum deletes what nobody reads any more, and nothing else, whatever happens in between.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Duration, Utc};
use headwater_core::name::DatasetName;
use headwater_core::project::parse;
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};
use headwater_core::{diagnostic::SourceFile, graph};
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_testkit::fault_store::{Fault, Operation};
use object_store::ObjectStoreExt;

use crate::compaction::{compact, data_files, lake_of, log_of, outcomes, put_log};
use crate::tables::{NUMBERS, committed, faulty, open, overwrite_of, places, put, rows, table_of, write};

fn timer() -> Trigger {
    Trigger::new(Cause::Timer(Vec::new()))
}

fn in_days(days: i64) -> DateTime<Utc> {
    Utc::now() + Duration::days(days)
}

/// One run of a process, so many days from now.
async fn vacuum(storage: &Storage, days: i64) -> Vec<FlowReport> {
    lake_of(storage).vacuum(&timer(), in_days(days)).await.flows
}

fn deleted(flows: &[FlowReport]) -> u64 {
    match flows {
        [flow] if matches!(flow.outcome, Outcome::Committed { .. }) => flow.files_removed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_compaction_replaced_goes_after_the_retention() {
    for place in places() {
        table_of(&place.storage, 0..4).await;
        compact(&place.storage).await;
        assert!(vacuum(&place.storage, 6).await.is_empty(), "a young table was listed");
        assert_eq!(data_files(&place.storage).await, 5);
        assert_eq!(deleted(&vacuum(&place.storage, 8).await), 4);
        let lake = lake_of(&place.storage);
        assert_eq!(
            lake.expired_files(&DatasetName::new("numbers"), &open(&place.storage).await, in_days(9)).await.unwrap(),
            0
        );
        assert_eq!((rows(&place.storage).await, data_files(&place.storage).await), (vec![0, 1, 2, 3], 1));
    }
}

#[tokio::test]
async fn what_an_overwrite_replaced_goes_too_and_a_later_version_is_kept() {
    for place in places() {
        let table = table_of(&place.storage, 0..3).await;
        committed(put(&place.storage, &table, &overwrite_of(&place.storage, &table, [7]).await).await);
        let (last, table) = (open(&place.storage).await.version(), open(&place.storage).await);
        assert_eq!(deleted(&vacuum(&place.storage, 8).await), 3);
        assert_eq!(rows(&place.storage).await, [7]);
        assert_eq!(table.at(last).await.unwrap().files().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_a_dead_run_left_goes_and_other_objects_stay() {
    for place in places() {
        table_of(&place.storage, 0..2).await;
        write(&place.storage, [8, 9]).await.unwrap();
        for other in ["_delta_log/readme.txt", "_state/kept.parquet", ".hidden.parquet"] {
            let location = place.storage.location(&format!("{NUMBERS}/{other}"));
            place.storage.object_store().put(&location, "x".into()).await.unwrap();
        }
        let vector = place.storage.location(&format!("{NUMBERS}/ab/deletion_vector_of_a_removed_file.bin"));
        place.storage.object_store().put(&vector, "x".into()).await.unwrap();
        let before = data_files(&place.storage).await;
        assert_eq!(deleted(&vacuum(&place.storage, 8).await), 1);
        place.storage.object_store().head(&vector).await.unwrap();
        assert_eq!((rows(&place.storage).await, data_files(&place.storage).await), (vec![0, 1], before - 1));
    }
}

#[tokio::test]
async fn the_log_tells_that_it_was_done_and_that_no_row_changed() {
    for place in places() {
        table_of(&place.storage, 0..2).await;
        vacuum(&place.storage, 8).await;
        let last = open(&place.storage).await.history(1).await.unwrap().remove(0);
        assert_eq!(last.operation.as_deref(), Some("VACUUM END"));
        assert!(!last.changes_rows() && last.rows_added().is_empty());
        assert_eq!(last.report.unwrap().flow.to_string(), "vacuum");
    }
}

#[tokio::test]
async fn a_table_that_rests_is_not_listed_again() {
    let (place, faults) = faulty();
    table_of(&place.storage, 0..2).await;
    assert_eq!(vacuum(&place.storage, 8).await.len(), 1);
    let lake = lake_of(&place.storage);
    lake.vacuum(&timer(), in_days(30)).await;
    let (version, before) = (open(&place.storage).await.version(), faults.counts());
    assert!(lake.vacuum(&timer(), in_days(60)).await.flows.is_empty());
    assert_eq!(open(&place.storage).await.version(), version);
    assert!(faults.counts().lists - before.lists <= 8, "{:?} after {before:?}", faults.counts());
}

#[tokio::test]
async fn a_deletion_that_fails_is_told_and_done_the_next_time() {
    let (place, faults) = faulty();
    table_of(&place.storage, 0..4).await;
    compact(&place.storage).await;
    faults.fail(Operation::Change, ".parquet", [Fault::Refused]);
    let failed = vacuum(&place.storage, 8).await;
    assert!(matches!(&failed[..], [FlowReport { outcome: Outcome::Failed { .. }, .. }]), "{failed:?}");
    assert!(data_files(&place.storage).await > 1);
    vacuum(&place.storage, 8).await;
    assert_eq!((rows(&place.storage).await, data_files(&place.storage).await), (vec![0, 1, 2, 3], 1));
}

#[tokio::test]
async fn death_at_any_operation_loses_no_row() {
    for after in 0..12 {
        let (place, faults) = faulty();
        table_of(&place.storage, 0..4).await;
        compact(&place.storage).await;
        faults.crash_after(after);
        let storage = place.storage.clone();
        tokio::select! {
            () = faults.crashed() => {}
            _ = Box::pin(vacuum(&storage, 8)) => {}
        }
        faults.restart();
        assert_eq!(rows(&place.storage).await, [0, 1, 2, 3], "death after {after} operations");
        vacuum(&place.storage, 8).await;
        vacuum(&place.storage, 10).await;
        assert_eq!((rows(&place.storage).await, data_files(&place.storage).await), (vec![0, 1, 2, 3], 1));
    }
}

#[tokio::test]
async fn a_file_that_another_engine_has_restored_stays() {
    for place in places() {
        let table = table_of(&place.storage, 0..3).await;
        committed(put(&place.storage, &table, &overwrite_of(&place.storage, &table, [7]).await).await);
        let mut restored = Vec::new();
        for version in 0..3 {
            restored
                .extend(log_of(&place.storage, version).await.into_iter().filter(|action| action.get("add").is_some()));
        }
        let replaced = open(&place.storage).await.files().await.unwrap().remove(0);
        restored
            .push(serde_json::json!({"remove": {"path": replaced.path(), "dataChange": true, "deletionTimestamp": 1}}));
        put_log(&place.storage, 4, &restored).await;
        assert_eq!(deleted(&vacuum(&place.storage, 8).await), 1);
        assert_eq!(rows(&place.storage).await, [0, 1, 2]);
    }
}

/// Numbers, and a stream of them.
fn streaming(storage: &Storage) -> Lake {
    let yaml = "name: t\nstorage: lake\ntarget_file_size: 1MiB\ncompact_min_files: 2\n";
    let project = parse(&SourceFile::new("pipeline.yml", yaml), &BTreeMap::new()).project.unwrap();
    let sql = "CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n BIGINT');
        CREATE STREAMING TABLE copied AS SELECT n FROM STREAM(numbers)";
    let pipeline = graph::build(&project, &[SourceFile::new("numbers.sql", sql)]).pipeline.unwrap();
    Lake::with_storage(pipeline, Path::new("."), storage.clone()).unwrap()
}

async fn copy(storage: &Storage) -> Report {
    let trigger = Trigger::new(Cause::Commits(vec![DatasetName::new("numbers")]));
    headwater_silver::handle(&streaming(storage), trigger).await
}

async fn copied(storage: &Storage) -> u64 {
    let table = streaming(storage).table(&DatasetName::new("copied")).await.unwrap().unwrap();
    table.files().await.unwrap().iter().filter_map(headwater_lake::table::DataFile::num_records).sum()
}

async fn deleted_from_numbers(storage: &Storage, days: i64) -> u64 {
    let report = streaming(storage).vacuum(&timer(), in_days(days)).await;
    assert!(report.is_success(), "{:?}", outcomes(&report));
    report.flows.iter().filter(|flow| flow.target.to_string() == "numbers").map(|flow| flow.files_removed).sum()
}

#[tokio::test]
async fn a_stream_that_is_behind_still_finds_its_files() {
    for (place, tells_times) in places().into_iter().zip([true, true]).chain(places().into_iter().zip([false, false])) {
        table_of(&place.storage, 0..2).await;
        assert!(copy(&place.storage).await.is_success());
        table_of(&place.storage, 2..6).await;
        // As those of engines that leave out when they committed.
        for version in (2..6).filter(|_| !tells_times) {
            let mut entry = log_of(&place.storage, version).await;
            entry.retain(|action| action.get("commitInfo").is_none());
            put_log(&place.storage, version, &entry).await;
        }
        compact(&place.storage).await;
        assert_eq!(deleted_from_numbers(&place.storage, 40).await, 0);
        assert!(copy(&place.storage).await.is_success());
        assert_eq!(copied(&place.storage).await, 6);
        assert_eq!(deleted_from_numbers(&place.storage, 42).await, 6);
        assert_eq!(rows(&place.storage).await, [0, 1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn a_shadow_that_is_behind_still_finds_its_files() {
    for place in places() {
        let storage = &place.storage;
        let shadow = || streaming(storage).shadowing([DatasetName::new("copied")].into());
        let trigger = || Trigger::new(Cause::Commits(vec![DatasetName::new("numbers")]));
        table_of(storage, 0..2).await;
        assert!(copy(storage).await.is_success());
        assert!(headwater_silver::handle(&shadow(), trigger()).await.is_success());
        table_of(storage, 2..6).await;
        compact(storage).await;
        assert!(copy(storage).await.is_success());
        assert_eq!(copied(storage).await, 6);
        assert_eq!(deleted_from_numbers(storage, 40).await, 0);
        assert!(headwater_silver::handle(&shadow(), trigger()).await.is_success());
        let table = shadow().table(&DatasetName::new("copied")).await.unwrap().unwrap();
        assert_eq!(
            table.files().await.unwrap().iter().filter_map(headwater_lake::table::DataFile::num_records).sum::<u64>(),
            6
        );
        assert_eq!(deleted_from_numbers(storage, 42).await, 6);
    }
}
