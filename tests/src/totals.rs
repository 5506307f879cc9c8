//! What a table's files amount to is told by its commits, and is what its files amount to, whoever else has committed.

use headwater_core::totals::{TOTALS_KEY, Totals};
use headwater_lake::storage::Storage;
use headwater_lake::table::Table;
use serde_json::json;

use crate::compaction::{compact, log_of, put_log};
use crate::tables::{append_of, committed, compaction_of, in_memory, open, overwrite_of, places, put, table_of};

/// What the commit of a version tells.
async fn told(storage: &Storage, version: u64) -> Option<Totals> {
    let entry = log_of(storage, version).await;
    let info = entry.into_iter().find_map(|mut action| action.get_mut("commitInfo").map(serde_json::Value::take))?;
    serde_json::from_value(info.get(TOTALS_KEY)?.clone()).ok()
}

/// What the live files amount to, one by one. Files that have gone count for the time of the newest.
async fn counted(table: &Table, newest: Option<i64>) -> Totals {
    let files = table.files().await.unwrap();
    let in_totals = |file: &headwater_lake::table::DataFile| headwater_core::totals::FileSize {
        bytes: file.size(),
        rows: file.num_records(),
        written: file.modified().timestamp_millis(),
    };
    let totals = files.iter().fold(Totals::default(), |totals, file| totals.with(in_totals(file)));
    Totals { newest, ..totals }
}

/// The newest commit tells, and tells what is so.
async fn assert_told(storage: &Storage) {
    let totals = open(storage).await.totals().await.unwrap();
    let table = open(storage).await;
    assert_eq!(told(storage, table.version()).await.as_ref(), Some(&totals));
    assert_eq!(totals, counted(&table, totals.newest).await);
}

/// Another engine's `add` of the rows of a file, as if it were another file.
async fn other_add(storage: &Storage, path: &str) -> serde_json::Value {
    let first = log_of(storage, 0).await;
    let mut add = first.into_iter().find(|action| action.get("add").is_some()).unwrap();
    add["add"]["path"] = path.into();
    add
}

fn others_info() -> serde_json::Value {
    json!({"commitInfo": {"timestamp": 1, "operation": "WRITE"}})
}

#[tokio::test]
async fn each_commit_tells_what_there_is_after_it() {
    for place in places() {
        let storage = &place.storage;
        table_of(storage, 0..3).await;
        assert_told(storage).await;
        let table = open(storage).await;
        committed(put(storage, &table, &compaction_of(storage, &table).await).await);
        assert_told(storage).await;
        let table = open(storage).await;
        committed(put(storage, &table, &overwrite_of(storage, &table, 10..14).await).await);
        assert_told(storage).await;
        let totals = open(storage).await.totals().await.unwrap();
        assert_eq!((totals.files, totals.rows()), (1, Some(4)));
    }
}

#[tokio::test]
async fn a_lost_race_counts_the_winners_files() {
    let place = in_memory();
    let pinned = table_of(&place.storage, 0..2).await;
    committed(put(&place.storage, &pinned, &append_of(&place.storage, [7, 8]).await).await);
    committed(put(&place.storage, &pinned, &append_of(&place.storage, [9]).await).await);
    assert_told(&place.storage).await;
    assert_eq!(open(&place.storage).await.totals().await.unwrap().rows(), Some(5));
}

#[tokio::test]
async fn files_that_another_engine_adds_are_counted_without_reading_all() {
    let place = in_memory();
    let storage = &place.storage;
    table_of(storage, 0..2).await;
    put_log(storage, 2, &[others_info(), other_add(storage, "theirs.parquet").await]).await;
    assert_eq!(open(storage).await.totals().await.unwrap().files, 3);
    let table = open(storage).await;
    committed(put(storage, &table, &append_of(storage, [1]).await).await);
    assert_told(storage).await;
    let table = open(storage).await;
    put_log(storage, 4, &[others_info(), other_add(storage, "raced.parquet").await]).await;
    committed(put(storage, &table, &append_of(storage, [2]).await).await);
    assert_told(storage).await;
}

#[tokio::test]
async fn what_another_engine_takes_away_or_names_again_is_counted_by_reading() {
    let place = in_memory();
    let storage = &place.storage;
    table_of(storage, 0..2).await;
    let mut again = other_add(storage, "theirs.parquet").await;
    put_log(storage, 2, &[others_info(), again.clone()]).await;
    again["add"]["dataChange"] = false.into();
    put_log(storage, 3, &[others_info(), again]).await;
    assert_eq!(open(storage).await.totals().await.unwrap().files, 3);
    let remove = json!({"remove": {"path": "theirs.parquet", "dataChange": true, "deletionTimestamp": 1}});
    put_log(storage, 4, &[others_info(), remove]).await;
    let totals = open(storage).await.totals().await.unwrap();
    assert_eq!((totals.files, totals.rows()), (2, Some(2)));
    // A commit that can't know says nothing rather than something wrong, until one has read the files.
    let table = open(storage).await;
    committed(put(storage, &table, &append_of(storage, [5]).await).await);
    assert_eq!(told(storage, 5).await, None);
    assert_eq!(open(storage).await.totals().await.unwrap().rows(), Some(3));
    let table = open(storage).await;
    committed(put(storage, &table, &compaction_of(storage, &table).await).await);
    assert_told(storage).await;
}

#[tokio::test]
async fn a_table_is_compacted_as_soon_as_its_totals_tell_of_enough_small_files() {
    let place = in_memory();
    let storage = &place.storage;
    table_of(storage, 0..1).await;
    assert!(compact(storage).await.flows.iter().all(|flow| flow.files_removed == 0));
    table_of(storage, 1..2).await;
    assert_eq!(compact(storage).await.flows.iter().map(|flow| flow.files_removed).sum::<u64>(), 2);
    assert_eq!(open(storage).await.totals().await.unwrap().files, 1);
}
