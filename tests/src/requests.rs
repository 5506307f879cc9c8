//! What a warm function asks storage for: each request costs money, and time that others use to commit.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Duration};
use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::{Cause, Message};
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::fault_store::{Counts, FaultStore};
use object_store::memory::InMemory;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::lakes::{commits, contents, deliver, lake_of, message, pipeline, tick, wake, well};
use crate::tables::log_entry;

const SQL: &str = "CREATE STREAMING TABLE orders AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'id INT');";

/// Of a batch without bad records: a look for the next entry of the table's log, one at the entry of the batch before and one at that
/// which was last then, a data file and a log entry. Side tables that weren't there are left alone.
const USUAL: Counts = Counts { puts: 2, uploads: 0, gets: 3, lists: 0, changes: 0 };

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

/// What silver does about a notice of a commit of bronze, and what it asks for.
async fn told(faults: &FaultStore, silver: &Lake) -> (Report, Counts) {
    let before = faults.counts();
    let orders = DatasetName::new("orders");
    let report = well(wake(silver, FunctionKind::Silver, Cause::Commits(vec![orders])).await);
    (report, faults.counts().since(before))
}

#[tokio::test]
async fn a_notice_of_what_was_seen_costs_three_reads() {
    const HOP: &str = "CREATE STREAMING TABLE clean AS SELECT id FROM STREAM(orders);";
    // For the entry that would come next, the last one, and the place where a checkpoint would be named.
    const IDLE: Counts = Counts { puts: 0, uploads: 0, gets: 3, lists: 0, changes: 0 };
    let store = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let pipeline = pipeline(&format!("{SQL}{HOP}"));
    let bronze = lake_of(&pipeline, Path::new("/"), Arc::clone(&store) as Arc<dyn ObjectStore>);
    let [silver, rival] = [Arc::new(faults.clone()) as Arc<dyn ObjectStore>, store]
        .map(|store| lake_of(&pipeline, Path::new("/"), store));
    for number in 0..2 {
        well(deliver(&bronze, batch(number)).await);
    }
    assert_eq!(commits(&told(&faults, &silver).await.0), 1);
    // The first notice after its own commit moves its handle to that.
    assert_eq!(commits(&told(&faults, &silver).await.0), 0);
    let (report, asked) = told(&faults, &silver).await;
    assert_eq!((report.flows[0].outcome.clone(), asked), (Outcome::NothingNew, IDLE));

    // What another has moved is seen once, and known from then on.
    well(deliver(&bronze, batch(2)).await);
    well(tick(&rival, FunctionKind::Silver).await);
    assert_eq!(commits(&told(&faults, &silver).await.0), 0);
    assert_eq!(told(&faults, &silver).await.1, IDLE);
    assert_eq!(contents(&silver).await["clean"].len(), 30);
}

#[tokio::test]
async fn a_quarantine_that_another_has_made_meanwhile_takes_each_bad_message_once() {
    let (lake, _, rival) = warm().await;
    let bad = |id: &str| message(id, "{\"id\": ", 1);
    well(deliver(&rival, vec![bad("first")]).await);
    well(deliver(&lake, vec![bad("first"), bad("second")]).await);
    let held = contents(&lake).await;
    assert_eq!((held["orders"].len(), held["orders__quarantine"].len()), (30, 2), "{held:#?}");
}

#[tokio::test]
async fn files_of_others_are_not_read_where_their_log_entries_rule_them_out() {
    let (lake, faults, rival) = warm().await;
    let sent = chrono::Utc::now();
    let now = |id: &str| Message { enqueued_at: sent, ..message(id, "{\"id\": 1}", 1) };
    well(deliver(&rival, vec![now("theirs"), now("both")]).await);
    let before = faults.counts();
    well(deliver(&lake, vec![now("ours")]).await);
    assert_eq!(faults.counts().since(before), Counts { gets: USUAL.gets + 1, ..USUAL });
    let report = well(deliver(&lake, vec![now("both")]).await);
    assert_eq!(report.flows[0].rows.duplicate, 1);
}

#[tokio::test]
async fn a_batch_of_silver_asks_for_its_tables_once() {
    const HOP: &str = "CREATE STREAMING TABLE clean AS SELECT id FROM STREAM(orders);";
    // Nothing is listed. Read: the source's new entry and its file; of the source before and after and of the target what would come next
    // and the last entry, of source and target also the one that was last before, of two side tables the first one; and where there is no checkpoint yet the place where it would be named.
    const MOVED: Counts = Counts { puts: 2, uploads: 0, gets: 15, lists: 0, changes: 0 };
    let store = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let pipeline = pipeline(&format!("{SQL}{HOP}"));
    let bronze = lake_of(&pipeline, Path::new("/"), store);
    let silver = lake_of(&pipeline, Path::new("/"), Arc::new(faults.clone()));
    let mut last = Counts::default();
    for number in 0..4 {
        well(deliver(&bronze, batch(number)).await);
        let (report, asked) = told(&faults, &silver).await;
        assert_eq!((commits(&report), report.is_done), (1, true));
        last = asked;
    }
    assert_eq!(last, MOVED);
}

#[tokio::test]
async fn a_small_checkpoint_is_read_once_and_parts_of_two_that_share_a_name_are_never_mixed() {
    let bucket = Arc::new(InMemory::new());
    let faults = FaultStore::new(Arc::clone(&bucket) as Arc<dyn ObjectStore>);
    let storage = Storage::with_store("memory:///".parse().unwrap(), Arc::new(faults.clone())).remembering();
    let store = storage.object_store();
    let location = Location::from("bronze/orders/_delta_log/00000000000000000020.checkpoint.parquet");
    let part = async |range: std::ops::Range<u64>| store.get_range(&location, range).await.unwrap();
    let mut old = "the old rows, old";
    let written =
        [(old, true), ("the new rows, new", true), ("the newest rows, newest", false), ("a new row, new", false)];
    for (now, is_same_length) in written {
        bucket.put(&location, now.into()).await.unwrap();
        let (before, end) = (faults.counts(), now.len() as u64);
        // As the log's library does: the last eight bytes, the footer and columns, more than once.
        for _ in 0..3 {
            let last = part(end - 8..end).await;
            let (first, middle) = (part(0..9).await, part(4..end - 8).await);
            let seen = if is_same_length { old } else { now };
            let wanted = [&seen[seen.len() - 8..], &seen[..9], &seen[4..seen.len() - 8]].map(str::as_bytes);
            assert_eq!([&last[..], &first[..], &middle[..]], wanted);
        }
        let asked = if is_same_length && now != old { 0 } else { 1 };
        assert_eq!(faults.counts().since(before).gets, asked, "{now}");
        old = if is_same_length { old } else { now };
    }
}

#[tokio::test]
async fn a_large_checkpoint_is_read_part_by_part() {
    let store = Arc::new(FaultStore::new(Arc::new(InMemory::new())));
    let storage = Storage::with_store("memory:///".parse().unwrap(), Arc::clone(&store) as Arc<dyn ObjectStore>);
    let location = Location::from("bronze/orders/_delta_log/00000000000000000020.checkpoint.parquet");
    let end = (1 << 20) + 1;
    let reader = storage.remembering().object_store();
    for rows in ["old", "new"] {
        let text = rows.repeat(end / rows.len() + 1);
        let text = &text[..end];
        store.put(&location, text.to_owned().into()).await.unwrap();
        let last = reader.get_range(&location, end as u64 - 8..end as u64).await.unwrap();
        let first = reader.get_range(&location, 0..8).await.unwrap();
        assert_eq!((&first[..], &last[..]), (&text.as_bytes()[..8], &text.as_bytes()[end - 8..]));
    }
    assert_eq!(store.counts().gets, 4);
}
