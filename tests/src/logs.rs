//! Logs of tables, held to the invariants of core, and to the files that they name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures::TryStreamExt;
use headwater_core::invariants::{AddedFile, CommitFacts, log_holds};
use headwater_core::name::DatasetName;
use headwater_core::report::COMMIT_INFO_KEY;
use headwater_core::totals::TOTALS_KEY;
use headwater_lake::lake::Lake;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

/// Each log of a lake holds, each file that it says is live is there, and it counts the rows that are found.
pub(crate) async fn judge_logs(store: &dyn ObjectStore, lake: &Lake, rows: &BTreeMap<String, Vec<String>>) {
    for dataset in lake.pipeline().datasets.iter().filter(|dataset| dataset.kind.has_table()) {
        for name in [dataset.name.clone(), dataset.name.quarantine(), dataset.name.late(), dataset.name.changes()] {
            let found = rows.get(&name.to_string()).map_or(0, Vec::len);
            assert_eq!(judge(store, lake, &name).await, found as u64, "{name}: rows of the log");
        }
    }
}

/// The logs of a lake as text, the same whenever the same was done: without names of files, times, tokens and sizes.
pub(crate) async fn redacted_logs(store: &dyn ObjectStore, lake: &Lake) -> String {
    let mut text = String::new();
    for dataset in lake.pipeline().datasets.iter().filter(|dataset| dataset.kind.has_table()) {
        for name in [dataset.name.clone(), dataset.name.quarantine(), dataset.name.late(), dataset.name.changes()] {
            let Ok(path) = lake.table_path(&name) else { continue };
            for CommitFacts { version, txns, mut adds, removes, mut report, .. } in commits(store, &path).await {
                for file in &mut adds {
                    file.path.clear();
                    (file.bytes, file.written) = (0, 0);
                }
                adds.sort_by_key(|file| (file.rows, file.data_change));
                if let Some(report) = &mut report {
                    (report.millis, report.bytes_added) = (0, 0);
                }
                let _ = writeln!(text, "{name} {version} {txns:?} {adds:?} -{} {report:?}", removes.len());
            }
        }
    }
    text
}

/// Rows of a table that its log counts.
async fn judge(store: &dyn ObjectStore, lake: &Lake, name: &DatasetName) -> u64 {
    let Ok(path) = lake.table_path(name) else { return 0 };
    let commits = commits(store, &path).await;
    let live = log_holds(&commits).unwrap_or_else(|violation| panic!("{name}: {violation}"));
    for file in live.keys() {
        let found = store.head(&Path::from(format!("{path}/{file}"))).await;
        assert!(found.is_ok(), "{name}: {file} is live but isn't there");
    }
    live.values().sum()
}

/// The commits of a table.
async fn commits(store: &dyn ObjectStore, path: &str) -> Vec<CommitFacts> {
    let folder = Path::from(format!("{path}/_delta_log"));
    let mut entries: Vec<_> = store.list(Some(&folder)).try_collect::<Vec<_>>().await.unwrap();
    entries.retain(|entry| entry.location.extension() == Some("json"));
    entries.sort_by(|a, b| a.location.cmp(&b.location));
    let mut commits = Vec::new();
    for entry in entries {
        let text = store.get(&entry.location).await.unwrap().bytes().await.unwrap();
        let version = entry.location.filename().and_then(|name| name.split('.').next()?.parse().ok());
        commits.push(facts(version.unwrap(), std::str::from_utf8(&text).unwrap()));
    }
    commits
}

fn facts(version: u64, text: &str) -> CommitFacts {
    let mut commit = CommitFacts { version, ..CommitFacts::default() };
    for line in text.lines() {
        let action: Value = serde_json::from_str(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(add) = action.get("add") {
            let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
            let data_change = add["dataChange"].as_bool().unwrap();
            commit.adds.push(AddedFile {
                path: text(&add["path"]),
                rows: stats["numRecords"].as_u64().unwrap(),
                data_change,
                bytes: add["size"].as_u64().unwrap(),
                written: add["modificationTime"].as_i64().unwrap(),
            });
        } else if let Some(remove) = action.get("remove") {
            commit.removes.push(text(&remove["path"]));
        } else if let Some(txn) = action.get("txn") {
            commit.txns.push((text(&txn["appId"]), txn["version"].as_i64().unwrap()));
        } else if let Some(info) = action.get("commitInfo") {
            commit.report = serde_json::from_value(info[COMMIT_INFO_KEY].clone()).ok();
            commit.totals = serde_json::from_value(info[TOTALS_KEY].clone()).ok();
        }
    }
    // A compaction moves rows: that they are as many as before is asked of its files.
    if !commit.adds.is_empty() && commit.adds.iter().all(|file| !file.data_change) {
        commit.report = None;
    }
    commit
}
