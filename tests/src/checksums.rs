//! What a table is can be told without a look into its checkpoint.

use std::fs::File;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use headwater_core::report::{Report, Rows};
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_testkit::fault_store::{Fault, Operation};
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};

use crate::compaction::{compact, put_log};
use crate::lakes::{deliver, message, pipeline, well};
use crate::tables::{
    NUMBERS, append_of, committed, faulty, in_memory, log_entry, on_disk, open, places, put, rows, table_of,
};

/// Commits after which there is a checkpoint.
const COMMITS: u64 = 20;

fn txn(app_id: &str, version: u64) -> Value {
    json!({"txn": {"appId": app_id, "version": version, "lastUpdated": 1}})
}

/// A table of one number whose last version is this, with a `txn` that was moved on the way.
async fn grown(storage: &Storage, to: u64) {
    let from = match storage.exists(&format!("{NUMBERS}/_delta_log/00000000000000000000.json")).await.unwrap() {
        true => open(storage).await.version() + 1,
        false => table_of(storage, 0..1).await.version() + 1,
    };
    for version in from..=to {
        put_log(storage, version, &[json!({"commitInfo": {"timestamp": 1}}), txn("flow", version / 2)]).await;
    }
}

/// Names in the log that end so.
async fn named(storage: &Storage, end: &str) -> Vec<String> {
    let log = storage.location(&format!("{NUMBERS}/_delta_log"));
    let objects: Vec<_> = storage.object_store().list(Some(&log)).try_collect().await.unwrap();
    let names = objects.iter().filter_map(|object| object.location.filename());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(end)).map(str::to_owned).collect();
    names.sort();
    names
}

async fn put_file(storage: &Storage, name: &str, bytes: &'static [u8]) {
    let location = storage.location(&format!("{NUMBERS}/_delta_log/{name}"));
    storage.object_store().put(&location, bytes.into()).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_has_a_checksum_and_the_one_before_has_none_any_more() {
    for place in places() {
        let storage = &place.storage;
        for round in 1..=2 {
            grown(storage, round * COMMITS).await;
            compact(storage).await;
            let name = format!("{:020}.crc", round * COMMITS);
            assert_eq!(named(storage, ".crc").await, [name.as_str()]);
            let path = storage.location(&format!("{NUMBERS}/_delta_log/{name}"));
            let bytes = storage.object_store().get(&path).await.unwrap().bytes().await.unwrap();
            let told: Value = serde_json::from_slice(&bytes).unwrap();
            let totals = open(storage).await.totals().await.unwrap();
            assert_eq!((told["numFiles"].as_u64(), told["tableSizeBytes"].as_u64()), (Some(1), Some(totals.bytes)));
            assert_eq!(told["setTransactions"][0], txn("flow", round * COMMITS / 2)["txn"]);
        }
        assert_eq!(named(storage, ".checkpoint.parquet").await.len(), 2);
    }
}

#[tokio::test]
async fn what_a_table_is_and_how_far_its_writers_are_is_not_read_from_the_checkpoint() {
    let place = in_memory();
    let storage = &place.storage;
    grown(storage, COMMITS).await;
    compact(storage).await;
    put_file(storage, &format!("{COMMITS:020}.checkpoint.parquet"), b"broken").await;
    put_log(storage, COMMITS + 1, &[txn("later", 7)]).await;
    let table = open(storage).await;
    assert_eq!((table.version(), table.schema().fields().len()), (COMMITS + 1, 1));
    for (app_id, version) in [("flow", Some(10)), ("later", Some(7)), ("nobody", None)] {
        assert_eq!(table.transaction(app_id).await.unwrap(), version, "{app_id}");
    }
    assert!(table.files().await.is_err(), "its files are in the checkpoint alone");
}

#[tokio::test]
async fn a_table_without_a_checksum_is_read_from_its_checkpoint() {
    let (place, faults) = faulty();
    let storage = &place.storage;
    grown(storage, COMMITS).await;
    faults.fail(Operation::Put, ".crc", [Fault::Refused]);
    compact(storage).await;
    assert_eq!((named(storage, ".crc").await.len(), named(storage, ".checkpoint.parquet").await.len()), (0, 1));
    for bytes in [b"", b"{\"numFiles\": 9}".as_slice(), b"[[[["] {
        assert_eq!((rows(storage).await, open(storage).await.transaction("flow").await.unwrap()), (vec![0], Some(10)));
        put_file(storage, &format!("{COMMITS:020}.crc"), bytes).await;
    }
    committed(put(storage, &open(storage).await, &append_of(storage, 1..2).await).await);
    assert_eq!(rows(storage).await, [0, 1]);
}

#[tokio::test]
async fn a_table_with_very_many_writers_has_no_checksum() {
    let place = in_memory();
    let storage = &place.storage;
    grown(storage, COMMITS - 1).await;
    let many: Vec<_> = (0..1000).map(|number| txn(&format!("file/{number}"), 1)).collect();
    put_log(storage, COMMITS, &many).await;
    compact(storage).await;
    assert_eq!((named(storage, ".crc").await.len(), named(storage, ".checkpoint.parquet").await.len()), (0, 1));
    assert_eq!(open(storage).await.transaction("file/999").await.unwrap(), Some(1));
}

#[tokio::test]
async fn files_count_for_no_writers() {
    let place = in_memory();
    let storage = &place.storage;
    grown(storage, COMMITS - 1).await;
    let now = chrono::Utc::now().timestamp_millis();
    let gone = |number| json!({"remove": {"path": format!("{number}.parquet"), "deletionTimestamp": now, "dataChange": true, "size": 1}});
    put_log(storage, COMMITS, &(0..1001).map(gone).collect::<Vec<_>>()).await;
    compact(storage).await;
    assert_eq!((named(storage, ".crc").await.len(), named(storage, ".checkpoint.parquet").await.len()), (1, 1));
}

const MESSAGES: &str = "CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT');";

/// Hands messages over that were never received before, as far as the queue knows.
async fn send(storage: &Storage, numbers: &[u32]) -> Report {
    let lake = Lake::with_storage(pipeline(MESSAGES), std::path::Path::new("."), storage.clone()).unwrap();
    let messages = numbers.iter().map(|n| message(&format!("m{n}"), format!("{{\"n\": {n}}}"), 1));
    deliver(&lake, messages.collect()).await
}

/// Rows written, and messages that had come before.
fn counted(report: Report) -> (u64, u64) {
    let rows = well(report).flows.iter().fold(Rows::default(), |rows, flow| rows.plus(flow.rows));
    (rows.written, rows.duplicate)
}

#[tokio::test]
async fn messages_that_came_just_now_are_looked_for_in_entries_that_a_checkpoint_has_already() {
    for place in places() {
        let storage = &place.storage;
        for n in 0..3 {
            well(send(storage, &[n]).await);
        }
        grown(storage, COMMITS).await;
        compact(storage).await;
        let name = &named(storage, ".checkpoint.parquet").await[0];
        let location = storage.location(&format!("{NUMBERS}/_delta_log/{name}"));
        let whole = storage.object_store().get(&location).await.unwrap().bytes().await.unwrap();
        put_file(storage, name, b"broken").await;
        assert_eq!(counted(send(storage, &[0, 2, 3]).await), (1, 2));
        let first = storage.location(&format!("{NUMBERS}/_delta_log/{}", log_entry(0)));
        storage.object_store().delete(&first).await.unwrap();
        assert!(
            !send(storage, &[1, 4]).await.is_success(),
            "what the first entry added, the checkpoint alone could tell"
        );
        storage.object_store().put(&location, whole.into()).await.unwrap();
        assert_eq!(counted(send(storage, &[1, 4]).await), (1, 1));
    }
}

#[tokio::test]
async fn entries_before_a_message_came_are_not_looked_at() {
    let place = on_disk();
    let storage = &place.storage;
    for n in 0..3 {
        well(send(storage, &[n]).await);
    }
    grown(storage, COMMITS).await;
    compact(storage).await;
    put_file(storage, &named(storage, ".checkpoint.parquet").await[0], b"broken").await;
    let log = storage.url().to_file_path().unwrap().join(NUMBERS).join("_delta_log");
    let old = SystemTime::now() - Duration::from_secs(600);
    File::open(log.join(log_entry(COMMITS / 2))).unwrap().set_modified(old).unwrap();
    std::fs::remove_file(log.join(log_entry(1))).unwrap();
    assert_eq!(counted(send(storage, &[3]).await), (1, 0));
}
