//! When a log gets a checkpoint.

use std::collections::BTreeMap;

use headwater_core::report::Report;
use headwater_lake::commit::{Change, SchemaChange};
use headwater_lake::storage::Storage;
use object_store::ObjectStoreExt;

use crate::compaction::{compact, put_log};
use crate::tables::{committed, in_memory, nothing, on_disk, open, put, rows, table_of};

/// The version of the last checkpoint.
async fn last(storage: &Storage) -> Option<u64> {
    let location = storage.location("bronze/numbers/_delta_log/_last_checkpoint");
    let bytes = storage.object_store().get(&location).await.ok()?.bytes().await.unwrap();
    serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["version"].as_u64()
}

fn checkpoints(report: &Report) -> usize {
    report.flows.iter().filter(|flow| flow.flow.to_string() == "checkpoint").count()
}

/// A commit without rows whose entry is so large.
async fn large_commit(storage: &Storage, bytes: usize) {
    let next = open(storage).await.version() + 1;
    let info = serde_json::json!({"commitInfo": {"timestamp": 1, "operation": "WRITE", "note": "x".repeat(bytes)}});
    put_log(storage, next, &[info]).await;
}

#[tokio::test]
async fn a_few_large_commits_are_enough() {
    for place in [in_memory(), on_disk()] {
        let storage = &place.storage;
        table_of(storage, 0..1).await;
        large_commit(storage, 3 << 20).await;
        assert_eq!((checkpoints(&compact(storage).await), last(storage).await), (0, None));
        large_commit(storage, 1 << 20).await;
        assert_eq!((checkpoints(&compact(storage).await), last(storage).await), (1, Some(2)));
        large_commit(storage, 1 << 20).await;
        assert_eq!(
            (checkpoints(&compact(storage).await), last(storage).await),
            (0, Some(2)),
            "what came before counts no more"
        );
        large_commit(storage, 4 << 20).await;
        assert_eq!((checkpoints(&compact(storage).await), last(storage).await), (1, Some(4)));
        assert_eq!(rows(storage).await, [0]);
    }
}

#[tokio::test]
async fn a_table_may_say_how_many_commits_are_enough() {
    let place = in_memory();
    let table = table_of(&place.storage, 0..1).await;
    let configuration = BTreeMap::from([("delta.checkpointInterval".to_owned(), "3".to_owned())]);
    let schema = Some(SchemaChange::SetColumns { schema: table.schema(), configuration });
    committed(put(&place.storage, &table, &Change { schema, ..nothing() }).await);
    large_commit(&place.storage, 10).await;
    assert_eq!(checkpoints(&compact(&place.storage).await), 0);
    large_commit(&place.storage, 10).await;
    assert_eq!((checkpoints(&compact(&place.storage).await), last(&place.storage).await), (1, Some(3)));
}
