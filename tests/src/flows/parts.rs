//! Batches of changes that are applied in parts: they give what they give in one piece, whatever befalls them.

use std::fmt::Write;

use headwater_core::model::Settings;
use headwater_core::report::ChangeCounts;
use headwater_runtime::local::FunctionKind;

use super::crashes::{CHANGES, NO_MESSAGES, RAW_CHANGES, Round, Scenario};
use crate::lakes::{Lab, contents, lake_of, pipeline, try_update, values, well};

/// Few changes at once.
fn small(settings: &mut Settings) {
    settings.memory_limit = 3 * (2 << 10);
}

fn keeping(clauses: &str) -> &'static str {
    let sql = format!(
        "{RAW_CHANGES} CREATE STREAMING TABLE t (CONSTRAINT named EXPECT (name IS NOT NULL) ON VIOLATION DROP ROW);
        CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
          COLUMNS * EXCEPT (op, seq) {clauses}"
    );
    sql.leak()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_give_what_the_whole_gives() {
    let mut changes = String::new();
    for seq in 0..90 {
        let (id, op) = (seq * 37 % 23, if seq % 5 == 0 { "D" } else { "U" });
        let name = if seq % 7 == 0 { "null".to_owned() } else { format!("\"{seq}\"") };
        writeln!(changes, "{{\"id\": {id}, \"name\": {name}, \"n\": {seq}, \"op\": \"{op}\", \"seq\": {seq}}}")
            .unwrap();
    }
    changes.push_str("{\"name\": \"nobody\", \"seq\": 1}\n");
    for clauses in ["", "IGNORE NULL UPDATES", "STORED AS SCD TYPE 2"] {
        let mut results = Vec::new();
        for set in [|_: &mut Settings| {}, small] {
            let lab = Lab::new();
            lab.arrive("a.json", &changes);
            let mut pipeline = pipeline(keeping(clauses));
            set(&mut pipeline.settings);
            let lake = lake_of(&pipeline, lab.folder.path(), std::sync::Arc::new(lab.store.clone()));
            let report = well(try_update(&lake).await);
            let of_flow: Vec<_> = report.flows.iter().filter(|flow| flow.changes.is_some()).collect();
            let counts =
                of_flow.iter().filter_map(|flow| flow.changes).fold(ChangeCounts::default(), ChangeCounts::plus);
            let rows =
                of_flow.iter().map(|flow| flow.rows).fold(Default::default(), headwater_core::report::Rows::plus);
            let mut tables = contents(&lake).await;
            tables.retain(|name, _| name != "raw");
            let version = lake.table(&headwater_core::name::DatasetName::new("t")).await.unwrap().unwrap().version();
            results.push((tables, counts, (rows.read, rows.dropped, rows.quarantined), version));
        }
        let [(whole, counts, rows, 0), (parts, counts_of_parts, rows_of_parts, version)] = &results[..] else {
            panic!("{results:?}")
        };
        assert_eq!(whole, parts, "{clauses}");
        assert_eq!((counts, rows), (counts_of_parts, rows_of_parts), "{clauses}");
        assert!(*version > 3, "{clauses}: {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_applied_once() {
    let scenario = Scenario { sql: keeping(""), tried: FunctionKind::Silver, rounds: &CHANGES[..2] };
    let lake = scenario.holds_with(small).await;
    assert_eq!(values(&lake, "t", "id").await, ["1", "4"]);
    assert_eq!(values(&lake, "t__quarantine", "id").await, ["2", "5", "~"]);
}

const TRUNCATING: &str = "APPLY AS TRUNCATE WHEN op = 'T'";

/// So many upserts and deletes of 23 keys.
fn changes(sequences: std::ops::Range<u32>) -> String {
    let change = |seq: u32| {
        let (id, op) = (seq * 37 % 23, if seq.is_multiple_of(5) { "D" } else { "U" });
        format!("{{\"id\": {id}, \"name\": \"{seq}\", \"n\": {seq}, \"op\": \"{op}\", \"seq\": {seq}}}\n")
    };
    sequences.map(change).collect()
}

/// A truncation is the last change, comes late with others, and comes late alone.
#[tokio::test(flavor = "multi_thread")]
async fn truncations_in_parts_give_what_the_whole_gives() {
    let truncation = |seq: u32| format!("{{\"op\": \"T\", \"seq\": {seq}}}\n");
    let batches = [
        changes(0..40) + &truncation(20) + &truncation(11),
        changes(60..90) + &truncation(30),
        changes(40..60),
        truncation(70),
        truncation(95) + &changes(90..99),
    ];
    for clauses in ["", "IGNORE NULL UPDATES"] {
        let sql = keeping(&format!("{TRUNCATING} {clauses}"));
        let [whole, parts] = [(|_: &mut Settings| {}) as fn(&mut Settings), small].map(|set| {
            let lab = Lab::new();
            let mut pipeline = pipeline(sql);
            set(&mut pipeline.settings);
            (lab, pipeline)
        });
        let mut versions = Vec::new();
        for (at, batch) in batches.iter().enumerate() {
            let mut found = Vec::new();
            for (lab, pipeline) in [&whole, &parts] {
                lab.arrive(&format!("{at}.json"), batch);
                let lake = lake_of(pipeline, lab.folder.path(), std::sync::Arc::new(lab.store.clone()));
                well(try_update(&lake).await);
                let mut tables = contents(&lake).await;
                tables.retain(|name, _| name != "raw");
                found.push(tables);
                let table = lake.table(&headwater_core::name::DatasetName::new("t")).await.unwrap().unwrap();
                versions.push(table.version());
            }
            assert_eq!(found[0], found[1], "{clauses} after batch {at}");
        }
        let late = versions[7] - versions[5];
        assert!(late > 2, "{clauses}: the late truncation is applied in parts: {versions:?}");
    }
}

/// A truncation that comes after changes that it leaves.
const TRUNCATED: [Round; 2] = [
    Round {
        files: &[("a.json", "{\"id\": 1, \"n\": 1, \"seq\": 9}\n{\"id\": 3, \"n\": 3, \"seq\": 8}\n")],
        messages: NO_MESSAGES,
    },
    Round { files: &[("b.json", "{\"op\": \"T\", \"seq\": 5}\n")], messages: NO_MESSAGES },
];

#[tokio::test(flavor = "multi_thread")]
async fn truncations_in_parts_are_applied_once() {
    let sql = format!(
        "{RAW_CHANGES} CREATE STREAMING TABLE t;
        CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) {TRUNCATING} SEQUENCE BY seq COLUMNS (id, n)"
    );
    let scenario = Scenario { sql: sql.leak(), tried: FunctionKind::Silver, rounds: &TRUNCATED };
    let lake = scenario.holds_with(|settings| settings.memory_limit = 2 << 10).await;
    assert_eq!(values(&lake, "t", "id").await, ["1", "3"]);
}
