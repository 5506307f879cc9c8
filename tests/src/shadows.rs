//! Tables that are computed beside those in use, compared, and put in their place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_core::error::ErrorKind;
use headwater_core::name::DatasetName;
use headwater_core::report::Report;
use headwater_lake::lake::Lake;
use headwater_lake::shadow::Difference;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::fault_store::FaultStore;
use object_store::ObjectStore;

use crate::lakes::{Lab, commits, contents, lake_of, pipeline, rows, tick, try_update, until_death, update, values};

/// A chain of tables; `factor` is what is changed.
fn chain(factor: u32) -> String {
    format!(
        "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id INT, n INT, seq INT');
        CREATE STREAMING TABLE scaled (CONSTRAINT some EXPECT (n > 0) ON VIOLATION DROP ROW)
          AS SELECT id, n * {factor} AS n FROM STREAM raw;
        CREATE STREAMING TABLE after AS SELECT id, n + 1 AS n FROM STREAM scaled;
        CREATE STREAMING TABLE kept;
        CREATE FLOW f AS AUTO CDC INTO kept FROM STREAM raw KEYS (id) SEQUENCE BY seq * {factor} COLUMNS (id, n) STORED AS SCD TYPE 2;
        CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM after"
    )
}

fn named(names: &[&str]) -> BTreeSet<DatasetName> {
    names.iter().map(|name| DatasetName::new(name)).collect()
}

const ALL: [&str; 4] = ["scaled", "after", "kept", "total"];

/// A process that computes these tables beside those in use.
fn shadowing(lab: &Lab, sql: &str, names: &[&str], store: Arc<dyn ObjectStore>) -> Lake {
    let mut pipeline = pipeline(sql);
    pipeline.flows.retain(|flow| named(names).contains(&flow.target));
    lake_of(&pipeline, lab.folder.path(), store).shadowing(named(names))
}

async fn build(lab: &Lab, sql: &str, names: &[&str]) {
    lab.lake(sql).discard_shadows().await.unwrap();
    update(&shadowing(lab, sql, names, Arc::new(lab.store.clone()))).await;
}

const ROWS: [&str; 2] = [
    "{\"id\": 1, \"n\": 1, \"seq\": 1}\n{\"id\": 2, \"n\": -1, \"seq\": 1}\n",
    "{\"id\": 1, \"n\": 2, \"seq\": 2}\n{\"id\": 3, \"n\": 3, \"seq\": 2}\n",
];

/// Two commits of rows, of which one is dropped.
async fn begun(lab: &Lab) {
    for (number, rows) in ROWS.iter().enumerate() {
        lab.arrive(&format!("{number}.json"), rows);
        update(&lab.lake(&chain(1))).await;
    }
}

async fn differences(lake: &Lake) -> Vec<(String, u64, u64, u64)> {
    let mut found = Vec::new();
    for name in lake.shadows().await.unwrap() {
        let Difference { dataset, same, only_now, only_shadow, .. } = lake.difference(&name).await.unwrap().unwrap();
        found.push((dataset.to_string(), same, only_now, only_shadow));
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_takes_the_place_of_its_table_and_flows_go_on() {
    let lab = Lab::new();
    begun(&lab).await;
    let before = contents(&lab.lake(&chain(1))).await;
    build(&lab, &chain(10), &ALL).await;
    assert_eq!(contents(&lab.lake(&chain(1))).await, before, "tables in use are as they were");
    let found = differences(&lab.lake(&chain(10))).await;
    let one = |name: &str, same, now, shadow| (name.to_owned(), same, now, shadow);
    assert_eq!(found, [one("after", 0, 3, 3), one("kept", 0, 4, 4), one("scaled", 0, 3, 3), one("total", 0, 1, 1)]);

    lab.arrive("2.json", "{\"id\": 4, \"n\": 4, \"seq\": 3}\n{\"id\": 1, \"n\": 5, \"seq\": 3}\n");
    update(&lab.lake(&chain(1))).await;
    let lake = lab.lake(&chain(10));
    lake.promote(&named(&ALL)).await.unwrap();
    assert_eq!(lake.shadows().await.unwrap(), []);
    assert_eq!(values(&lake, "scaled", "n").await, ["10", "20", "30"]);
    update(&lake).await;
    assert_eq!(values(&lake, "after", "n").await, ["11", "21", "31", "41", "51"]);
    assert_eq!(values(&lake, "total", "n").await, ["155"]);
    assert_eq!(values(&lake, "scaled__quarantine", "n").await, ["-10"]);
    let states = [
        "id=1 | n=1 | __START_AT=10 | __END_AT=20",
        "id=1 | n=2 | __START_AT=20 | __END_AT=30",
        "id=1 | n=5 | __START_AT=30",
    ];
    assert_eq!(rows(&lake, &DatasetName::new("kept")).await[..3], states);
    assert_eq!(commits(&update(&lab.lake(&chain(10))).await), 0);
}

/// The tables that are computed from others: when and from where files came is another each time.
async fn computed(lake: &Lake) -> BTreeMap<String, Vec<String>> {
    let mut found = contents(lake).await;
    found.retain(|name, _| name != "raw");
    found
}

/// A lake with shadows, and what its tables are to hold in the end.
async fn built() -> (Lab, BTreeMap<String, Vec<String>>) {
    let lab = Lab::new();
    begun(&lab).await;
    build(&lab, &chain(10), &ALL).await;
    let expected = {
        let lab = Lab::new();
        lab.arrive("0.json", ROWS[0]);
        lab.arrive("1.json", ROWS[1]);
        update(&lab.lake(&chain(10))).await;
        computed(&lab.lake(&chain(10))).await
    };
    (lab, expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_dies_is_ended_by_the_next() {
    let (lab, expected) = built().await;
    let (lake, faults) = lab.faulty_lake(&chain(10));
    lake.promote(&named(&ALL)).await.unwrap();
    assert_eq!(computed(&lake).await, expected);
    let operations = faults.counts().writes();
    assert!(operations > 10);
    for operation in (0..operations).step_by(3) {
        let (lab, _) = built().await;
        let (lake, faults) = lab.faulty_lake(&chain(10));
        faults.crash_after(operation);
        until_death(&faults, async {
            let _ = lake.promote(&named(&ALL)).await;
            Report::default()
        })
        .await;
        let lake = lab.lake(&chain(10));
        let left: BTreeSet<DatasetName> = lake.shadows().await.unwrap().into_iter().collect();
        if !left.is_empty() {
            lake.promote(&left).await.unwrap();
        }
        update(&lake).await;
        assert_eq!(computed(&lab.lake(&chain(10))).await, expected, "operation {operation}");
    }
}

/// What is left of shadows whose building or discarding died is promoted rightly, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn shadows_that_are_there_in_part_lose_and_double_nothing() {
    let (lab, expected) = built().await;
    let faults = FaultStore::new(Arc::new(lab.store.clone()));
    rebuild(&lab, &faults).await;
    let operations = faults.counts().writes();
    let (mut refused, mut promoted) = (0, 0);
    for operation in (0..operations).step_by(2) {
        let (lab, _) = built().await;
        let faults = FaultStore::new(Arc::new(lab.store.clone()));
        faults.crash_after(operation);
        until_death(&faults, rebuild(&lab, &faults)).await;
        let lake = lab.lake(&chain(10));
        let left: BTreeSet<DatasetName> = lake.shadows().await.unwrap().into_iter().collect();
        match lake.promote(&left).await {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                refused += 1;
            }
            Ok(_) => {
                update(&lake).await;
                let found = computed(&lab.lake(&chain(10))).await;
                let is_left = |table: &String| left.iter().any(|name| table.starts_with(&name.to_string()));
                for (table, rows) in expected.iter().filter(|(table, _)| is_left(table)) {
                    assert_eq!(found.get(table), Some(rows), "{table} after operation {operation}");
                }
                promoted += left.len();
            }
        }
    }
    assert!(refused > 0 && promoted > 0, "{refused} {promoted}");
}

async fn rebuild(lab: &Lab, faults: &FaultStore) -> Report {
    let lake = shadowing(lab, &chain(10), &ALL, Arc::new(faults.clone()));
    let _ = lake.discard_shadows().await;
    try_update(&lake).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_not_promoted_under_a_stream_that_can_not_follow() {
    let lab = Lab::new();
    begun(&lab).await;
    build(&lab, &chain(10), &["scaled"]).await;
    let lake = lab.lake(&chain(10));
    let error = lake.promote(&named(&["scaled"])).await.unwrap_err().to_string();
    assert!(
        error.contains("`after` streams from `scaled`") && error.contains("--full-refresh=scaled,after"),
        "{error}"
    );
    let error = lake.promote(&named(&["total"])).await.unwrap_err().to_string();
    assert!(error.contains("`total` has no shadow"), "{error}");
    build(&lab, &chain(10), &["scaled", "after"]).await;
    let lake = lab.lake(&chain(10));
    let error = lake.promote(&named(&["after"])).await.unwrap_err().to_string();
    assert!(error.contains("`after` was computed from that of `scaled`"), "{error}");
    lake.promote(&named(&["scaled", "after"])).await.unwrap();
    well_refreshed(&lab).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_reset_is_not_promoted() {
    let lab = Lab::new();
    begun(&lab).await;
    build(&lab, &chain(10), &["kept"]).await;
    let mark = "TABLE kept TBLPROPERTIES ('pipelines.reset.allowed' = 'false')";
    let lake = lab.lake(&chain(10).replace("TABLE kept", mark));
    let error = lake.promote(&named(&["kept"])).await.unwrap_err().to_string();
    assert!(error.contains("`kept` is exempt from full refreshes"), "{error}");
    assert_eq!(lake.shadows().await.unwrap(), [DatasetName::new("kept")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_reads_the_files_of_its_table_and_leaves_them() {
    let (keep, clean) = (
        "",
        ", cleanSource => 'MOVE', cleanSource.moveDestination => 'done', cleanSource.retentionDuration => '0 days'",
    );
    let sql = |n: &str, clean: &str| {
        format!(
            "CREATE STREAMING TABLE raw (CONSTRAINT some EXPECT (n > 0) ON VIOLATION DROP ROW) AS SELECT {n} AS n
             FROM STREAM read_files('in', format => 'json', schema => 'n INT', includeExistingFiles => false{clean})"
        )
    };
    let lab = Lab::new();
    update(&lab.lake(&sql("n", keep))).await;
    lab.arrive("a.json", "{\"n\": 1}\n");
    lab.arrive("b.json", "{\"n\": -1}\n");
    update(&lab.lake(&sql("n", keep))).await;
    let changed = sql("CAST(n * 2 AS STRING)", clean);
    build(&lab, &changed, &["raw"]).await;
    let files = || {
        std::fs::read_dir(lab.folder.path().join("in"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file())
            .count()
    };
    assert_eq!(files(), 2, "what only a shadow holds isn't cleaned up");
    assert_eq!(differences(&lab.lake(&changed)).await, [("raw".to_owned(), 0, 1, 1)]);
    lab.lake(&changed).promote(&named(&["raw"])).await.unwrap();
    assert_eq!(commits(&update(&lab.lake(&changed)).await), 0, "files without rows are known");
    assert_eq!(files(), 1, "the file that left no row stays");
    assert_eq!(values(&lab.lake(&changed), "raw", "n").await, ["2"]);
    assert_eq!(values(&lab.lake(&changed), "raw__quarantine", "n").await, ["-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_another_type_are_compared_as_far_as_they_go() {
    let sql = |n: &str| {
        format!(
            "CREATE STREAMING TABLE raw AS SELECT n FROM STREAM read_files('in', format => 'json', schema => 'n STRING');
             CREATE STREAMING TABLE typed AS SELECT {n} AS n FROM STREAM raw"
        )
    };
    let lab = Lab::new();
    lab.arrive("0.json", "{\"n\": \"1\"}\n{\"n\": \"?\"}\n{\"n\": null}\n");
    update(&lab.lake(&sql("n"))).await;
    build(&lab, &sql("try_cast(n AS INT)"), &["typed"]).await;
    let lake = lab.lake(&sql("try_cast(n AS INT)"));
    assert_eq!(differences(&lake).await, [("typed".to_owned(), 2, 1, 1)]);
}

/// A view over a promoted table is computed anew.
async fn well_refreshed(lab: &Lab) {
    tick(&lab.lake(&chain(10)), FunctionKind::Gold).await;
    assert_eq!(values(&lab.lake(&chain(10)), "total", "n").await, ["63"]);
}
