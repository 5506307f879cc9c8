//! What the tables must hold at the end, and what their logs must say.

use std::collections::{BTreeMap, BTreeSet};

use headwater_core::invariants::each_once;
use headwater_core::name::DatasetName;
use headwater_lake::lake::Lake;
use serde_json::Value;

use super::world::World;
use crate::lakes::{contents, rows, values};
use crate::logs::judge_logs;

/// Judges tables and logs by what was sent.
pub(super) async fn judge(world: &World, lake: &Lake) {
    let sent: Vec<(String, String)> = world.queue().iter().map(|sent| (sent.id.clone(), sent.body.clone())).collect();
    let ids: Vec<&str> = sent.iter().map(|(id, _)| id.as_str()).collect();
    let found = both(lake, "sent", "_metadata.message_id").await;
    each_once(ids, found.iter().map(String::as_str)).unwrap();

    let of_files: Vec<&str> = world.files.iter().flat_map(|(_, text)| text.lines()).collect();
    let records: Vec<Record> =
        sent.iter().map(|(_, body)| body.as_str()).chain(of_files.iter().copied()).filter_map(Record::of).collect();
    let bad = of_files.iter().filter(|line| Record::of(line).is_none()).count();
    assert_eq!(rows(lake, &DatasetName::new("filed__quarantine")).await.len(), bad, "bad records of files");

    let outside = world.outside().iter().map(|(n, k)| Record { n: *n, k: k.clone() }).collect::<Vec<_>>();
    let checked: Vec<&Record> = records.iter().chain(&outside).collect();
    let all: Vec<String> = checked.iter().map(|record| record.n.to_string()).collect();
    let found = both(lake, "checked", "n").await;
    each_once(all.iter().map(String::as_str), found.iter().map(String::as_str)).unwrap();
    let dropped: BTreeSet<&str> = all.iter().map(String::as_str).filter(|n| n.starts_with('-')).collect();
    let aside = values(lake, "checked__quarantine", "n").await;
    assert_eq!(aside.iter().map(String::as_str).collect::<BTreeSet<_>>(), dropped, "dropped rows");

    let mut totals: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for record in checked.iter().filter(|record| record.n >= 0) {
        let total = totals.entry(&record.k).or_default();
        *total = (total.0 + 1, total.1 + record.n);
    }
    let expected: Vec<String> =
        totals.iter().map(|(k, (rows, total))| format!("k={k} | rows={rows} | total={total}")).collect();
    assert_eq!(rows(lake, &DatasetName::new("totals")).await, expected, "the view");
    let keys: Vec<&str> = totals.keys().copied().collect();
    let firsts = values(lake, "firsts", "k").await;
    each_once(keys, firsts.iter().map(String::as_str)).unwrap();

    judge_last_states(lake, &records).await;
    judge_history(lake, &checked).await;
    judge_logs(&world.store, lake, &contents(lake).await).await;
}

fn by_key<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeMap<&'a str, BTreeSet<i64>> {
    let mut by_key: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for record in records {
        by_key.entry(&record.k).or_default().insert(record.n);
    }
    by_key
}

/// A table that is kept by changes: the record with the greatest number of a key is its last change, and one whose
/// number can be divided by three deletes it.
async fn judge_last_states(lake: &Lake, records: &[Record]) {
    let by_key = by_key(records);
    let last = by_key.iter().filter_map(|(k, numbers)| Some((k, numbers.last().filter(|n| **n % 3 != 0)?)));
    let mut expected: Vec<String> = last.map(|(k, n)| format!("n={n} | k={k}")).collect();
    expected.sort_unstable();
    assert_eq!(rows(lake, &DatasetName::new("latest")).await, expected, "last states");
}

/// One that keeps every state.
async fn judge_history(lake: &Lake, records: &[&Record]) {
    let mut expected = Vec::new();
    for (k, numbers) in &by_key(records.iter().copied()) {
        let mut open: Option<i64> = None;
        for n in numbers.iter().filter(|n| **n >= 0) {
            match open {
                None if n % 3 != 0 => open = Some(*n),
                Some(start) if n % 3 == 0 => {
                    expected.push(format!("k={k} | __START_AT={start} | __END_AT={n}"));
                    open = None;
                }
                None | Some(_) => {}
            }
        }
        expected.extend(open.map(|start| format!("k={k} | __START_AT={start}")));
    }
    expected.sort_unstable();
    assert_eq!(rows(lake, &DatasetName::new("history")).await, expected, "every state");
}

/// A record that was sent.
struct Record {
    n: i64,
    k: String,
}

impl Record {
    fn of(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(Self { n: value["n"].as_i64()?, k: value["k"].as_str()?.to_owned() })
    }
}

/// A column of a table and of its quarantine.
async fn both(lake: &Lake, table: &str, column: &str) -> Vec<String> {
    let mut found = values(lake, table, column).await;
    found.extend(values(lake, &format!("{table}__quarantine"), column).await);
    found
}
