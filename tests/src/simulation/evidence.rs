//! What the tables must hold at the end, and what their logs must say.

use std::collections::{BTreeMap, BTreeSet};

use headwater_core::invariants::each_once;
use headwater_core::name::DatasetName;
use headwater_lake::lake::Lake;
use serde_json::Value;

use super::world::World;
use crate::lakes::{column_of, contents};
use crate::logs::judge_logs;

/// Judges tables and logs by what was sent.
pub(super) async fn judge(world: &World, lake: &Lake) {
    let tables = Tables(contents(lake).await);
    let sent: Vec<(String, String)> = world.queue().iter().map(|sent| (sent.id.clone(), sent.body.clone())).collect();
    let ids: Vec<&str> = sent.iter().map(|(id, _)| id.as_str()).collect();
    let found = tables.both("sent", "_metadata.message_id");
    each_once(ids, found.iter().map(String::as_str)).unwrap();

    let of_files: Vec<&str> = world.files.iter().flat_map(|(_, text)| text.lines()).collect();
    let records: Vec<Record> =
        sent.iter().map(|(_, body)| body.as_str()).chain(of_files.iter().copied()).filter_map(Record::of).collect();
    let bad = of_files.iter().filter(|line| Record::of(line).is_none()).count();
    assert_eq!(tables.rows("filed__quarantine").len(), bad, "bad records of files");

    let outside = world.outside().iter().map(|(n, k)| Record { n: *n, k: k.clone() }).collect::<Vec<_>>();
    let checked: Vec<&Record> = records.iter().chain(&outside).collect();
    let all: Vec<String> = checked.iter().map(|record| record.n.to_string()).collect();
    let found = tables.both("checked", "n");
    each_once(all.iter().map(String::as_str), found.iter().map(String::as_str)).unwrap();
    let dropped: BTreeSet<&str> = all.iter().map(String::as_str).filter(|n| n.starts_with('-')).collect();
    let aside = tables.values("checked__quarantine", "n");
    assert_eq!(aside.iter().map(String::as_str).collect::<BTreeSet<_>>(), dropped, "dropped rows");

    let has = |name: &str| lake.pipeline().dataset(&DatasetName::new(name)).is_some();
    if has("totals") {
        judge_totals(&tables, &checked);
    }
    if has("firsts") {
        let keys: BTreeSet<&str> = checked.iter().filter(|record| record.n >= 0).map(|record| &*record.k).collect();
        each_once(keys, tables.values("firsts", "k").iter().map(String::as_str)).unwrap();
    }
    if has("latest") {
        judge_last_states(&tables, &records);
    }
    if has("history") {
        judge_history(&tables, &checked);
    }
    judge_logs(&world.store, lake, &tables.0).await;
}

/// Rows of all tables as text.
struct Tables(BTreeMap<String, Vec<String>>);

impl Tables {
    fn rows(&self, table: &str) -> &[String] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }

    /// A column of a table.
    fn values(&self, table: &str, column: &str) -> Vec<String> {
        column_of(self.rows(table), column)
    }

    /// A column of a table and of its quarantine.
    fn both(&self, table: &str, column: &str) -> Vec<String> {
        let mut found = self.values(table, column);
        found.extend(self.values(&format!("{table}__quarantine"), column));
        found
    }
}

/// A view of counts and sums.
fn judge_totals(tables: &Tables, checked: &[&Record]) {
    let mut totals: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for record in checked.iter().filter(|record| record.n >= 0) {
        let total = totals.entry(&record.k).or_default();
        *total = (total.0 + 1, total.1 + record.n);
    }
    let expected: Vec<String> =
        totals.iter().map(|(k, (rows, total))| format!("k={k} | rows={rows} | total={total}")).collect();
    assert_eq!(tables.rows("totals"), expected, "the view");
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
fn judge_last_states(tables: &Tables, records: &[Record]) {
    let by_key = by_key(records);
    let last = by_key.iter().filter_map(|(k, numbers)| Some((k, numbers.last().filter(|n| **n % 3 != 0)?)));
    let mut expected: Vec<String> = last.map(|(k, n)| format!("n={n} | k={k}")).collect();
    expected.sort_unstable();
    assert_eq!(tables.rows("latest"), expected, "last states");
}

/// One that keeps every state.
fn judge_history(tables: &Tables, records: &[&Record]) {
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
    assert_eq!(tables.rows("history"), expected, "every state");
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
