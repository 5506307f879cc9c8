//! Tables that are deleted, or deleted and made anew, under a process that has them open.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use headwater_core::report::Outcome;
use headwater_core::trigger::Message;
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_lake::table::Table;
use headwater_runtime::local::FunctionKind;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::lakes::{deliver, lake_of, message, pipeline, tick, values, well};
use crate::tables::{NUMBERS, Steps, in_memory, on_disk, rows_of, table_of};

/// Everything below a path.
async fn delete(storage: &Storage, path: &str) {
    delete_from(storage.object_store().as_ref(), &storage.location(path)).await;
}

async fn delete_from(store: &dyn ObjectStore, path: &object_store::path::Path) {
    let found: Vec<_> = store.list(Some(path)).map_ok(|object| object.location).try_collect().await.unwrap();
    store.delete_stream(futures::stream::iter(found).map(Ok).boxed()).try_collect::<Vec<_>>().await.unwrap();
}

/// A lake of two processes that share nothing but the store, for each kind of store.
fn two_processes() -> [(Storage, Storage, Option<tempfile::TempDir>); 2] {
    let (memory, disk) = (in_memory(), on_disk());
    let other = Storage::with_store(memory.storage.url().clone(), memory.storage.object_store());
    let again = Storage::open(disk.storage.url().as_str()).unwrap();
    [(memory.storage.remembering(), other, None), (disk.storage, again, disk._folder)]
}

async fn refreshed(table: &Table) -> Option<Table> {
    table.clone().refresh().await.unwrap()
}

#[tokio::test]
async fn a_deleted_table_is_gone_for_who_has_it_open() {
    for (ours, other, _folder) in two_processes() {
        let table = table_of(&ours, [1, 2, 3]).await;
        let table = refreshed(&table).await.unwrap();
        delete(&other, NUMBERS).await;
        assert!(refreshed(&table).await.is_none());
        assert!(Table::open(&ours, NUMBERS).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_table_that_was_made_anew_is_another_whatever_its_version() {
    for versions in [2, 3, 4, 8] {
        for has_read_files in [false, true] {
            for (ours, other, _folder) in two_processes() {
                let table = table_of(&ours, [1, 2, 3]).await;
                Steps { app_id: "flow".into(), first: 10 }.next(&ours).await.unwrap();
                let table = refreshed(&table).await.unwrap();
                assert_eq!(table.transaction("flow").await.unwrap(), Some(1));
                if has_read_files {
                    table.files().await.unwrap();
                }
                delete(&other, NUMBERS).await;
                table_of(&other, 100..100 + versions).await;
                let table = refreshed(&table).await.unwrap();
                assert_eq!(table.version(), u64::try_from(versions).unwrap() - 1);
                assert_eq!(rows_of(&table).await, Vec::from_iter(100..100 + versions));
                assert_eq!(table.transaction("flow").await.unwrap(), None);
                let history = table.history(20).await.unwrap();
                assert!(history.iter().all(|entry| entry.txns.is_empty()), "entries of the table that is gone");
            }
        }
    }
}

const SQL: &str =
    "CREATE STREAMING TABLE orders AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'id INT');
    CREATE STREAMING TABLE clean AS SELECT id FROM STREAM(orders);";

fn order(id: i64) -> Vec<Message> {
    vec![message(&format!("m{id}"), format!("{{\"id\": {id}}}"), 1)]
}

/// Two processes, the first of which has landed three orders.
async fn with_three_orders() -> (Arc<InMemory>, [Lake; 2]) {
    let store = Arc::new(InMemory::new());
    let lakes = [(); 2]
        .map(|()| lake_of(&pipeline(SQL), std::path::Path::new("/"), Arc::clone(&store) as Arc<dyn ObjectStore>));
    for id in 0..3 {
        well(deliver(&lakes[0], order(id)).await);
    }
    (store, lakes)
}

#[tokio::test]
async fn a_warm_function_goes_on_in_a_table_that_was_deleted_or_made_anew() {
    for is_made_anew in [false, true] {
        let (store, [ours, other]) = with_three_orders().await;
        delete_from(store.as_ref(), &object_store::path::Path::from("bronze/orders")).await;
        if is_made_anew {
            well(deliver(&other, order(10)).await);
        }
        for id in 11..14 {
            well(deliver(&ours, order(id)).await);
        }
        let expected = if is_made_anew { vec!["10", "11", "12", "13"] } else { vec!["11", "12", "13"] };
        assert_eq!(values(&other, "orders", "id").await, expected);
    }
}

#[tokio::test]
async fn a_stream_does_not_go_on_in_a_source_that_was_made_anew() {
    let (store, [ours, other]) = with_three_orders().await;
    well(tick(&ours, FunctionKind::Silver).await);
    delete_from(store.as_ref(), &object_store::path::Path::from("bronze/orders")).await;
    well(deliver(&other, order(10)).await);
    for lake in [&ours, &other] {
        let report = tick(lake, FunctionKind::Silver).await;
        let Outcome::Failed { message, .. } = &report.flows[0].outcome else { panic!("{report:?}") };
        assert!(message.contains("TABLE_CHANGED.SOURCE"), "{message}");
        assert!(message.contains("--full-refresh=clean"), "{message}");
    }
}
