//! Logs on the local disk: what is new is found without reading all names, and whatever has become of the log.

use std::fs;
use std::path::{Path as FilePath, PathBuf};

use futures::TryStreamExt;
use headwater_lake::storage::Storage;
use object_store::ObjectStore;
use tempfile::TempDir;

use crate::tables::{NUMBERS, log_entry};

/// A log and the store that lists it.
struct Log {
    storage: Storage,
    root: TempDir,
}

impl Log {
    fn new(versions: &[u64]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let log = Self { storage: Storage::open(root.path().to_str().unwrap()).unwrap(), root };
        fs::create_dir_all(log.folder()).unwrap();
        log.commit(versions);
        log
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join(NUMBERS).join("_delta_log")
    }

    fn commit(&self, versions: &[u64]) {
        versions.iter().for_each(|version| self.put(&log_entry(*version), "{}"));
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).unwrap();
    }

    /// The names after those of a version, sorted.
    async fn after(&self, version: u64) -> Vec<String> {
        let log = self.storage.location(&format!("{NUMBERS}/_delta_log"));
        let offset = log.clone().join(format!("{version:020}"));
        let store = self.storage.object_store();
        let found: Vec<_> = store.list_with_offset(Some(&log), &offset).try_collect().await.unwrap();
        let name = |path: &str| FilePath::new(path).file_name().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = found.iter().map(|object| name(object.location.as_ref())).collect();
        names.sort();
        names
    }
}

fn entries(versions: &[u64]) -> Vec<String> {
    versions.iter().map(|version| log_entry(*version)).collect()
}

#[tokio::test]
async fn entries_that_follow_are_found_by_their_names() {
    let log = Log::new(&[0, 1, 2, 3]);
    assert_eq!(log.after(2).await, entries(&[2, 3]));
    // Nobody leaves out an entry: only reading all names would find the last one.
    log.commit(&[5]);
    assert_eq!(log.after(2).await, entries(&[2, 3]));
    log.commit(&[4]);
    assert_eq!(log.after(2).await, entries(&[2, 3, 4, 5]));
    assert_eq!(log.after(4).await, entries(&[4, 5]));
    assert_eq!(log.after(1).await, entries(&[1, 2, 3, 4, 5]), "more than was asked for before");
}

#[tokio::test]
async fn a_newer_checkpoint_is_found() {
    let log = Log::new(&[0, 1, 2]);
    assert_eq!(log.after(0).await, entries(&[0, 1, 2]));
    let checkpoint = format!("{:020}.checkpoint.parquet", 2);
    log.put(&checkpoint, "rows");
    log.put("_last_checkpoint", "{\"version\": 2}");
    assert!(log.after(2).await.contains(&checkpoint));
    log.commit(&[3]);
    assert!(log.after(2).await.contains(&log_entry(3)));
}

#[tokio::test]
async fn entries_that_are_gone_are_not_made_up() {
    let log = Log::new(&[0, 1, 2, 3]);
    assert_eq!(log.after(0).await, entries(&[0, 1, 2, 3]));
    fs::remove_file(log.folder().join(log_entry(2))).unwrap();
    assert_eq!(log.after(0).await, entries(&[0, 1, 3]));
    fs::remove_dir_all(log.folder()).unwrap();
    assert_eq!(log.after(0).await, entries(&[]));
    fs::create_dir_all(log.folder()).unwrap();
    log.commit(&[0, 1]);
    assert_eq!(log.after(0).await, entries(&[0, 1]), "another table of that name");
}
