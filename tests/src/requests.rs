//! What a warm function asks storage for: each request costs money, and time that others use to commit.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Duration};
use headwater_core::trigger::Message;
use headwater_lake::lake::Lake;
use headwater_testkit::fault_store::{Counts, FaultStore};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::lakes::{contents, deliver, lake_of, message, pipeline, well};
use crate::tables::log_entry;

const SQL: &str = "CREATE STREAMING TABLE orders AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'id INT');";

/// Of a batch without bad records: a listing of each table's log, a read for each of the two side tables that aren't there, a data file
/// and a log entry.
const USUAL: Counts = Counts { puts: 2, uploads: 0, gets: 2, lists: 3, changes: 0 };

/// Ten messages, sent a minute after those of the batch before.
fn batch(number: i64) -> Vec<Message> {
    let sent = DateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::minutes(number);
    let one = |index| Message {
        enqueued_at: sent,
        ..message(&format!("{index}-{number}"), format!("{{\"id\": {index}}}"), 1)
    };
    (0..10).map(one).collect()
}

async fn asked(faults: &FaultStore, lake: &Lake, number: i64) -> Counts {
    let before = faults.counts();
    well(deliver(lake, batch(number)).await);
    faults.counts().since(before)
}

/// A lake that has landed three batches, its store, and another process's view of it.
async fn warm() -> (Lake, FaultStore, Lake) {
    let store = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let lake_on = |store| lake_of(&pipeline(SQL), Path::new("/"), store);
    let (lake, rival) = (lake_on(Arc::new(faults.clone())), lake_on(store));
    for number in 0..3 {
        well(deliver(&lake, batch(number)).await);
    }
    (lake, faults, rival)
}

/// Another process lands a batch. Its future can't leave its thread, so it has one.
async fn landing(rival: Lake, number: i64) {
    let lands = move || Handle::current().block_on(async { well(deliver(&rival, batch(number)).await) });
    spawn_blocking(lands).await.unwrap();
}

#[tokio::test]
async fn a_warm_function_asks_for_what_is_new_and_puts_two_files() {
    let (lake, faults, rival) = warm().await;
    assert_eq!(asked(&faults, &lake, 3).await, USUAL);
    well(deliver(&rival, batch(4)).await);
    assert_eq!(asked(&faults, &lake, 5).await, Counts { gets: USUAL.gets + 1, ..USUAL });
}

#[tokio::test]
async fn a_lost_race_costs_a_put_and_two_reads_and_what_was_read_is_not_read_again() {
    let (lake, faults, rival) = warm().await;
    faults.before_put(&log_entry(3), landing(rival, 3));
    assert_eq!(asked(&faults, &lake, 4).await, Counts { puts: USUAL.puts + 1, gets: USUAL.gets + 2, ..USUAL });
    assert_eq!(asked(&faults, &lake, 5).await, USUAL);
}

#[tokio::test]
async fn a_race_lost_to_the_same_messages_lands_them_once() {
    let (lake, faults, rival) = warm().await;
    faults.before_put(&log_entry(3), landing(rival, 3));
    let report = well(deliver(&lake, batch(3)).await);
    assert_eq!((report.flows[0].rows.duplicate, report.flows[0].rows.written), (10, 0));
    assert_eq!(contents(&lake).await["orders"].len(), 40);
}
