//! Batches of changes that are applied in parts: they give what they give in one piece, whatever befalls them.

use std::fmt::Write;

use headwater_core::model::Settings;
use headwater_core::report::ChangeCounts;
use headwater_runtime::local::FunctionKind;

use super::crashes::{CHANGES, RAW_CHANGES, Scenario};
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
