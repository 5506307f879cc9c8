//! Logs on the local disk: what is new is found without reading all names, and whatever has become of the log.

use std::fs::{self, File};
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

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

    /// A checkpoint, and what comes with it.
    fn checkpoint(&self, version: u64) {
        self.put(&format!("{version:020}.checkpoint.parquet"), "rows");
        self.put(&format!("{version:020}.crc"), "{}");
        self.put("_last_checkpoint", &format!("{{\"version\": {version}}}"));
    }

    /// As another process finds it, that hasn't seen it before.
    fn opened_anew(self) -> Self {
        Self { storage: Storage::open(self.root.path().to_str().unwrap()).unwrap(), ..self }
    }

    /// All files, as if they had been written at this time.
    fn written_at(&self, time: SystemTime) {
        for file in fs::read_dir(self.folder()).unwrap() {
            File::options().write(true).open(file.unwrap().path()).unwrap().set_modified(time).unwrap();
        }
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

/// A log with a checkpoint of version 2. Nobody leaves out an entry: only reading all names would find the last one.
fn with_checkpoint() -> Log {
    let log = Log::new(&[0, 1, 2, 3, 5]);
    log.checkpoint(2);
    log
}

/// The names of [`with_checkpoint`] from its checkpoint on, with these entries.
fn from_checkpoint(versions: &[u64]) -> Vec<String> {
    let mut names = entries(versions);
    names.extend(["checkpoint.parquet", "crc"].map(|kind| format!("{:020}.{kind}", 2)));
    names.push("_last_checkpoint".into());
    names.sort();
    names
}

#[tokio::test]
async fn what_follows_the_last_checkpoint_is_found_by_its_names() {
    let log = with_checkpoint();
    assert_eq!(log.after(2).await, from_checkpoint(&[2, 3]));
    log.commit(&[4]);
    assert_eq!(log.opened_anew().after(2).await, from_checkpoint(&[2, 3, 4, 5]));
    assert_eq!(
        with_checkpoint().after(1).await,
        [entries(&[1]), from_checkpoint(&[2, 3, 5])].concat(),
        "not the checkpoint's"
    );
    let log = with_checkpoint();
    log.put(&format!("{:020}.crc", 3), "{}");
    log.put(&format!("{:020}.checkpoint.parquet", 3), "rows");
    let found = log.after(2).await;
    assert_eq!(found.len(), from_checkpoint(&[2, 3]).len() + 2, "a checkpoint that nothing points to yet: {found:?}");
}

#[tokio::test]
async fn all_names_are_read_where_others_may_have_come() {
    let all = from_checkpoint(&[2, 3, 5]);
    let now = SystemTime::now();
    for time in [now - Duration::from_secs(5), now + Duration::from_secs(5)] {
        let log = with_checkpoint();
        log.written_at(time);
        assert_eq!(log.after(2).await, all, "the folder has changed at another time");
    }
    for gone in [log_entry(2), format!("{:020}.checkpoint.parquet", 2)] {
        let log = with_checkpoint();
        fs::remove_file(log.folder().join(&gone)).unwrap();
        let others: Vec<_> = all.iter().filter(|name| **name != gone).cloned().collect();
        assert_eq!(log.after(2).await, others, "without {gone}");
    }
    for hint in ["", "{}", "{\"version\": 3}", "{\"version\": -2}"] {
        let log = with_checkpoint();
        log.put("_last_checkpoint", hint);
        assert_eq!(log.after(2).await, all, "{hint}");
    }
    let log = with_checkpoint();
    fs::create_dir(log.folder().join(log_entry(4))).unwrap();
    assert_eq!(log.after(2).await, all, "a folder is no entry");
    let log = with_checkpoint();
    log.commit(&(4..300).filter(|version| *version != 290).collect::<Vec<_>>());
    assert!(log.after(2).await.contains(&log_entry(299)), "many names");
}
