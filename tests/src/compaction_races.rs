//! Compaction beside other writers and beside itself, in both orders, and its death at every operation.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use chrono::Utc;
use headwater_core::report::Outcome;
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::commit::{Change, SchemaChange};
use headwater_lake::storage::Storage;
use headwater_testkit::fault_store::{Fault, FaultStore, Operation};

use crate::compaction::{compact, data_files, lake_of, outcomes};
use crate::lakes::until_death;
use crate::tables::{
    Steps, append_of, committed, compaction_of, in_memory, log_entry, nothing, open, overwrite_of, places, put, redone,
    rows, schema, table_of,
};

/// One lake seen by two processes: one whose store can be told to be slow, and its rival.
struct Pair {
    slow: Storage,
    quick: Storage,
    faults: FaultStore,
}

fn pair() -> Pair {
    let quick = in_memory().storage;
    let faults = FaultStore::new(quick.object_store());
    Pair { slow: Storage::with_store(quick.url().clone(), Arc::new(faults.clone())), quick, faults }
}

type Step = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Compacts four files, with a rival whose commit comes first.
async fn after(rival: fn(Storage) -> Step) -> (Pair, Vec<Outcome>) {
    let pair = pair();
    table_of(&pair.quick, 0..4).await;
    pair.faults.before_put(&log_entry(4), rival(pair.quick.clone()));
    let report = compact(&pair.slow).await;
    let outcomes = outcomes(&report).into_iter().cloned().collect();
    (pair, outcomes)
}

const REMOVED: &str = "a file to be removed was removed by another commit";

fn given_up(reason: &str) -> Vec<Outcome> {
    vec![Outcome::Retryable { reason: reason.to_owned() }]
}

#[tokio::test]
async fn after_an_append_it_goes_on_top() {
    let (pair, outcomes) = after(|storage| {
        Box::pin(async move {
            let table = open(&storage).await;
            committed(put(&storage, &table, &append_of(&storage, [99]).await).await);
        })
    })
    .await;
    assert_eq!(outcomes, [Outcome::Committed { version: 5 }]);
    assert_eq!(rows(&pair.quick).await, [0, 1, 2, 3, 99]);
    assert_eq!(data_files(&pair.quick).await, 4 + 1 + 1);
}

#[tokio::test]
async fn after_an_append_with_a_fence_it_goes_on_top() {
    let (pair, outcomes) = after(|storage| {
        Box::pin(async move {
            let steps = Steps { app_id: "flow".into(), first: 100 };
            assert_eq!(steps.next(&storage).await.unwrap(), 1);
        })
    })
    .await;
    assert_eq!(outcomes, [Outcome::Committed { version: 5 }]);
    assert_eq!(rows(&pair.quick).await, [0, 1, 2, 3, 101]);
    assert_eq!(open(&pair.quick).await.transaction("flow").await.unwrap(), Some(1));
}

#[tokio::test]
async fn after_an_overwrite_it_gives_up_and_takes_its_file_away() {
    let (pair, outcomes) = after(|storage| {
        Box::pin(async move {
            let table = open(&storage).await;
            committed(put(&storage, &table, &overwrite_of(&storage, &table, [99]).await).await);
        })
    })
    .await;
    assert_eq!(outcomes, given_up(REMOVED));
    assert_eq!(rows(&pair.quick).await, [99]);
    assert_eq!(data_files(&pair.quick).await, 4 + 1);
}

#[tokio::test]
async fn after_itself_it_gives_up_and_takes_its_file_away() {
    let (pair, outcomes) = after(|storage| Box::pin(async move { drop(compact(&storage).await) })).await;
    assert_eq!(outcomes, given_up(REMOVED));
    assert_eq!(rows(&pair.quick).await, [0, 1, 2, 3]);
    assert_eq!((open(&pair.quick).await.version(), data_files(&pair.quick).await), (4, 4 + 1));
}

#[tokio::test]
async fn after_a_change_of_columns_the_next_run_compacts() {
    let (pair, outcomes) = after(|storage| {
        Box::pin(async move {
            let wider = vec![schema().field(0).clone(), Field::new("label", DataType::Utf8, true)];
            let schema =
                SchemaChange::SetColumns { schema: Arc::new(Schema::new(wider)), configuration: BTreeMap::new() };
            let table = open(&storage).await;
            committed(put(&storage, &table, &Change { schema: Some(schema), ..nothing() }).await);
        })
    })
    .await;
    assert_eq!(outcomes, given_up("another commit changed the table's columns, properties or protocol"));
    assert_eq!(data_files(&pair.quick).await, 4);
    assert!(compact(&pair.slow).await.is_success());
    assert_eq!((rows(&pair.quick).await, data_files(&pair.quick).await), (vec![0, 1, 2, 3], 4 + 1));
}

/// Commits a change of four files by hand, after a compaction of them.
async fn beaten(pair: &Pair, change: impl AsyncFn(&Storage) -> Change) -> headwater_lake::commit::CommitOutcome {
    table_of(&pair.quick, 0..4).await;
    let table = open(&pair.slow).await;
    let change = change(&pair.slow).await;
    let quick = pair.quick.clone();
    pair.faults.before_put(&log_entry(4), async move { assert!(compact(&quick).await.is_success()) });
    let outcome = put(&pair.slow, &table, &change).await;
    let winners = open(&pair.quick).await.changes(Some(3), 4).await.unwrap();
    assert!(!winners[0].changes_rows());
    outcome
}

#[tokio::test]
async fn after_it_an_append_goes_on_top() {
    let pair = pair();
    assert_eq!(committed(beaten(&pair, async |storage| append_of(storage, [99]).await).await), 5);
    assert_eq!(rows(&pair.quick).await, [0, 1, 2, 3, 99]);
}

#[tokio::test]
async fn after_it_a_flow_takes_its_step_once() {
    let pair = pair();
    let steps = Steps { app_id: "flow".into(), first: 100 };
    table_of(&pair.quick, 0..4).await;
    let quick = pair.quick.clone();
    pair.faults.before_put(&log_entry(4), async move { assert!(compact(&quick).await.is_success()) });
    assert_eq!(steps.next(&pair.slow).await.unwrap(), 1);
    assert_eq!(open(&pair.quick).await.version(), 5);
    assert_eq!(rows(&pair.quick).await, [0, 1, 2, 3, 101]);
}

#[tokio::test]
async fn after_it_an_overwrite_is_computed_again() {
    let pair = pair();
    let overwrite = async |storage: &Storage| overwrite_of(storage, &open(storage).await, [99]).await;
    assert_eq!(redone(beaten(&pair, overwrite).await), REMOVED);
    let table = open(&pair.slow).await;
    committed(put(&pair.slow, &table, &overwrite_of(&pair.slow, &table, [99]).await).await);
    assert_eq!(rows(&pair.quick).await, [99]);
}

#[tokio::test]
async fn after_it_another_compaction_changes_nothing() {
    let pair = pair();
    let compaction = async |storage: &Storage| compaction_of(storage, &open(storage).await).await;
    assert_eq!(redone(beaten(&pair, compaction).await), REMOVED);
    assert_eq!(rows(&pair.quick).await, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_at_once_beside_appends_change_no_row() {
    for place in places() {
        table_of(&place.storage, 0..6).await;
        let compactors: Vec<_> = (0..4).map(|_| tokio::spawn(compact_often(place.storage.clone()))).collect();
        for n in 6..18 {
            let table = open(&place.storage).await;
            committed(put(&place.storage, &table, &append_of(&place.storage, [n]).await).await);
        }
        for compactor in compactors {
            compactor.await.unwrap();
        }
        assert_eq!(rows(&place.storage).await, (0..18).collect::<Vec<_>>());
        assert!(open(&place.storage).await.files().await.unwrap().len() < 18);
    }
}

async fn compact_often(storage: Storage) {
    for _ in 0..4 {
        let report = compact(&storage).await;
        assert!(report.is_success(), "{:?}", outcomes(&report));
    }
}

#[tokio::test]
async fn a_lost_answer_counts_as_committed_and_the_file_stays() {
    let pair = pair();
    table_of(&pair.quick, 0..4).await;
    pair.faults.fail(Operation::Put, &log_entry(4), [Fault::Lost]);
    assert_eq!(outcomes(&compact(&pair.slow).await), [&Outcome::Committed { version: 4 }]);
    assert_eq!(rows(&pair.quick).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_commit_that_lands_after_it_gave_up_finds_its_file() {
    let pair = pair();
    table_of(&pair.quick, 0..4).await;
    let refused = std::iter::repeat_n(Fault::Refused, 100);
    pair.faults.fail(Operation::Put, &log_entry(4), std::iter::once(Fault::Late).chain(refused));
    let deadline = Some(Utc::now() + chrono::Duration::seconds(3));
    let report = lake_of(&pair.slow).compact(&Trigger { cause: Cause::Timer(Vec::new()), deadline }).await;
    assert!(matches!(outcomes(&report)[..], [Outcome::Retryable { .. }]), "{:?}", outcomes(&report));
    assert!(pair.faults.land_late().await.iter().all(Result::is_ok));
    assert_eq!((open(&pair.quick).await.version(), rows(&pair.quick).await), (4, vec![0, 1, 2, 3]));
}

#[tokio::test]
async fn wherever_it_dies_the_next_run_finds_the_same_rows() {
    for survived in 0.. {
        let pair = pair();
        table_of(&pair.quick, 0..22).await;
        pair.faults.crash_after(survived);
        Box::pin(until_death(&pair.faults, compact(&pair.slow))).await;
        let crashed = pair.faults.has_crashed();
        assert_eq!(rows(&pair.quick).await, (0..22).collect::<Vec<_>>(), "after {survived} operations");
        pair.faults.restart();
        let report = compact(&pair.slow).await;
        assert!(report.is_success(), "after {survived} operations: {:?}", outcomes(&report));
        let table = open(&pair.quick).await;
        assert_eq!((rows(&pair.quick).await, table.files().await.unwrap().len()), ((0..22).collect::<Vec<_>>(), 1));
        if !crashed {
            assert!(survived > 3, "it writes a file, a commit and a checkpoint");
            break;
        }
    }
}
