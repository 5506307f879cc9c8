//! Logs in a bucket: what is new is found without another listing, and whatever has become of the log.

use std::sync::Arc;

use futures::TryStreamExt;
use headwater_lake::storage::Storage;
use headwater_testkit::fault_store::{Counts, Fault, FaultStore, Operation};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::tables::{NUMBERS, log_entry};

const LISTED: Counts = Counts { puts: 0, uploads: 0, gets: 0, lists: 1, changes: 0 };

/// A log that others write, and a process that lists it.
struct Log {
    bucket: Arc<InMemory>,
    faults: FaultStore,
    process: Storage,
}

impl Log {
    async fn new(versions: &[u64]) -> Self {
        let bucket = Arc::new(InMemory::new());
        let faults = FaultStore::new(Arc::clone(&bucket) as Arc<dyn ObjectStore>);
        let process = Storage::with_store("memory:///".parse().unwrap(), Arc::new(faults.clone())).remembering();
        let log = Self { bucket, faults, process };
        log.commit(versions).await;
        log
    }

    fn path(&self, name: &str) -> Path {
        self.process.location(&format!("{NUMBERS}/_delta_log/{name}"))
    }

    async fn commit(&self, versions: &[u64]) {
        for version in versions {
            self.put(&log_entry(*version), "{}").await;
        }
    }

    async fn put(&self, name: &str, text: &str) {
        self.bucket.put(&self.path(name), text.to_owned().into()).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        self.bucket.delete(&self.path(name)).await.unwrap();
    }

    /// The names after that of a version, and what was asked for.
    async fn after(&self, version: u64) -> (Vec<String>, Counts) {
        let before = self.faults.counts();
        let log = self.process.location(&format!("{NUMBERS}/_delta_log"));
        let store = self.process.object_store();
        let listed = store.list_with_offset(Some(&log), &log.clone().join(format!("{version:020}")));
        let found: Vec<_> = listed.try_collect().await.unwrap();
        let names = found.iter().map(|object| object.location.filename().unwrap().to_owned()).collect();
        (names, self.faults.counts().since(before))
    }
}

fn entries(versions: &[u64]) -> Vec<String> {
    versions.iter().map(|version| log_entry(*version)).collect()
}

/// What isn't listed: reads of new entries, of the one that isn't there, and of the last one, before and now.
const fn read(new: u64) -> Counts {
    Counts { gets: new + if new == 0 { 2 } else { 3 }, lists: 0, ..LISTED }
}

#[tokio::test(start_paused = true)]
async fn entries_that_follow_are_asked_for_by_their_names() {
    let log = Log::new(&[0, 1, 2]).await;
    assert_eq!(log.after(1).await, (entries(&[1, 2]), LISTED));
    assert_eq!(log.after(1).await, (entries(&[1, 2]), read(0)));
    log.commit(&[3, 4]).await;
    assert_eq!(log.after(1).await, (entries(&[1, 2, 3, 4]), read(2)));
    // Who begins elsewhere has seen a checkpoint there, or wants what was never listed.
    assert_eq!(log.after(0).await, (entries(&[0, 1, 2, 3, 4]), LISTED));
    assert_eq!(log.after(3).await, (entries(&[3, 4]), LISTED));
    // Nobody leaves out an entry: only a listing would find the last one.
    log.commit(&[6]).await;
    assert_eq!(log.after(1).await.0, entries(&[1, 2, 3, 4]));
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert_eq!(log.after(1).await, (entries(&[1, 2, 3, 4, 6]), LISTED));
}

#[tokio::test]
async fn what_a_process_has_put_itself_is_not_read() {
    let log = Log::new(&[0]).await;
    assert_eq!(log.after(0).await, (entries(&[0]), LISTED));
    let create = object_store::PutMode::Create.into();
    log.process.object_store().put_opts(&log.path(&log_entry(1)), "{}".into(), create).await.unwrap();
    assert_eq!(log.after(0).await, (entries(&[0, 1]), Counts { gets: 3, lists: 0, ..LISTED }));
}

#[tokio::test]
async fn a_log_that_is_not_there_is_found_once_it_is() {
    let log = Log::new(&[]).await;
    assert_eq!(log.after(0).await, (entries(&[]), LISTED));
    assert_eq!(log.after(0).await, (entries(&[]), Counts { gets: 1, lists: 0, ..LISTED }));
    log.commit(&[0]).await;
    assert_eq!(log.after(0).await, (entries(&[0]), Counts { gets: 3, lists: 0, ..LISTED }));
}

#[tokio::test]
async fn another_table_of_that_name_is_listed_anew() {
    let log = Log::new(&[0, 1, 2]).await;
    assert_eq!(log.after(0).await.0, entries(&[0, 1, 2]));
    for version in 0..=2 {
        log.delete(&log_entry(version)).await;
    }
    assert_eq!(log.after(0).await.0, entries(&[]));
    log.commit(&[0, 1]).await;
    assert_eq!(log.after(0).await.0, entries(&[0, 1]));
    // As many entries as before, but not the same.
    for version in 0..=1 {
        log.delete(&log_entry(version)).await;
    }
    log.commit(&[1]).await;
    assert_eq!(log.after(0).await.0, entries(&[1]));
}

#[tokio::test]
async fn a_checkpoint_whose_entry_was_cleaned_up_tells_nothing_of_what_follows() {
    let log = Log::new(&[]).await;
    let checkpoint = format!("{:020}.checkpoint.parquet", 7);
    log.put(&checkpoint, "rows").await;
    assert_eq!(log.after(7).await, (vec![checkpoint.clone()], LISTED));
    log.commit(&[8]).await;
    assert_eq!(log.after(7).await, (vec![checkpoint, log_entry(8)], LISTED));
    // Nor is a log empty that isn't listed from its beginning.
    assert_eq!(log.after(9).await, (entries(&[]), LISTED));
    log.commit(&[9, 10]).await;
    assert_eq!(log.after(9).await, (entries(&[9, 10]), LISTED));
}

#[tokio::test]
async fn a_listing_that_leaves_out_an_entry_is_not_kept() {
    let log = Log::new(&[0, 1, 3]).await;
    assert_eq!(log.after(0).await, (entries(&[0, 1, 3]), LISTED));
    log.commit(&[2]).await;
    assert_eq!(log.after(0).await, (entries(&[0, 1, 2, 3]), LISTED));
    assert_eq!(log.after(0).await, (entries(&[0, 1, 2, 3]), read(0)));
    // Nor is one that begins too late.
    let log = Log::new(&[2, 3]).await;
    for _ in 0..2 {
        assert_eq!(log.after(0).await, (entries(&[2, 3]), LISTED));
    }
    log.commit(&[0, 1]).await;
    assert_eq!(log.after(0).await, (entries(&[0, 1, 2, 3]), LISTED));
}

#[tokio::test]
async fn what_can_not_be_read_is_listed() {
    let log = Log::new(&[0]).await;
    assert_eq!(log.after(0).await.0, entries(&[0]));
    log.commit(&[1]).await;
    for name in [log_entry(2), log_entry(1)] {
        log.faults.fail(Operation::Get, &name, [Fault::Refused]);
        let (found, asked) = log.after(0).await;
        assert_eq!((found, asked.lists), (entries(&[0, 1]), 1), "{name}");
    }
}

#[tokio::test]
async fn a_log_of_many_entries_is_listed_each_time() {
    let versions: Vec<u64> = (0..300).collect();
    let log = Log::new(&versions).await;
    for _ in 0..2 {
        assert_eq!(log.after(0).await, (entries(&versions), LISTED));
    }
}
