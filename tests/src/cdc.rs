//! AUTO CDC: tables that are kept by changes of their rows.

use std::sync::Arc;

use headwater_core::name::DatasetName;
use headwater_core::report::{ChangeCounts, Outcome};
use headwater_runtime::local::FunctionKind;
use headwater_testkit::points::PointStore;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::lakes::{Lab, lake_of, pipeline, rows, tick, try_update, update, values, well};

const RAW: &str = "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json',
  schema => 'id INT, name STRING, city STRING, op STRING, seq INT, part INT, changed ARRAY<STRING>');";

/// The example of Databricks' documentation, in the order in which it is given.
const EXAMPLE: [&str; 8] = [
    r#"{"id": 124, "name": "Raul", "city": "Oaxaca", "op": "INSERT", "seq": 1}"#,
    r#"{"id": 123, "name": "Isabel", "city": "Monterrey", "op": "INSERT", "seq": 1}"#,
    r#"{"id": 125, "name": "Mercedes", "city": "Tijuana", "op": "INSERT", "seq": 2}"#,
    r#"{"id": 126, "name": "Lily", "city": "Cancun", "op": "INSERT", "seq": 2}"#,
    r#"{"id": 123, "op": "DELETE", "seq": 6}"#,
    r#"{"id": 125, "name": "Mercedes", "city": "Guadalajara", "op": "UPDATE", "seq": 6}"#,
    r#"{"id": 125, "name": "Mercedes", "city": "Mexicali", "op": "UPDATE", "seq": 5}"#,
    r#"{"id": 123, "name": "Isabel", "city": "Chihuahua", "op": "UPDATE", "seq": 5}"#,
];

/// A pipeline with one flow of changes into `t`.
fn kept_by(clauses: &str) -> String {
    format!("{RAW} CREATE STREAMING TABLE t; CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) {clauses}")
}

/// The rows of `t` after these batches of changes, and what the flow counted.
async fn kept(sql: &str, batches: &[&[&str]]) -> (Vec<String>, ChangeCounts) {
    let lab = Lab::new();
    let mut counts = ChangeCounts::default();
    for (at, batch) in batches.iter().enumerate() {
        lab.arrive(&format!("{at}.json"), batch.join("\n"));
        let report = update(&lab.lake(sql)).await;
        let of_flow = report.flows.iter().filter_map(|flow| flow.changes);
        counts = of_flow.fold(counts, ChangeCounts::plus);
    }
    (rows(&lab.lake(sql), &DatasetName::new("t")).await, counts)
}

const LATEST: &str = "APPLY AS DELETE WHEN op = 'DELETE' SEQUENCE BY seq COLUMNS (id, city)";

#[tokio::test(flavor = "multi_thread")]
async fn the_worked_example_gives_the_last_states() {
    let (rows, counts) = kept(&kept_by(LATEST), &[&EXAMPLE]).await;
    assert_eq!(rows, ["id=124 | city=Oaxaca", "id=125 | city=Guadalajara", "id=126 | city=Cancun"]);
    assert_eq!(counts, ChangeCounts { upserted: 3, deleted: 0, stale: 4, tombstones: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worked_example_gives_every_state() {
    let history = format!("{LATEST} STORED AS SCD TYPE 2");
    let expected = [
        "id=123 | city=Chihuahua | __START_AT=5 | __END_AT=6",
        "id=123 | city=Monterrey | __START_AT=1 | __END_AT=5",
        "id=124 | city=Oaxaca | __START_AT=1",
        "id=125 | city=Guadalajara | __START_AT=6",
        "id=125 | city=Mexicali | __START_AT=5 | __END_AT=6",
        "id=125 | city=Tijuana | __START_AT=2 | __END_AT=5",
        "id=126 | city=Cancun | __START_AT=2",
    ];
    assert_eq!(kept(&kept_by(&history), &[&EXAMPLE]).await.0, expected);
    let mut backwards = EXAMPLE;
    backwards.reverse();
    let one_by_one: Vec<&[&str]> = backwards.iter().map(std::slice::from_ref).collect();
    let (rows, counts) = kept(&kept_by(&history), &one_by_one).await;
    assert_eq!(rows, expected);
    assert_eq!(counts, ChangeCounts { upserted: 7, deleted: 1, stale: 0, tombstones: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_any_order_and_repeated_give_the_last_states() {
    let expected = ["id=124 | city=Oaxaca", "id=125 | city=Guadalajara", "id=126 | city=Cancun"];
    let mut backwards = EXAMPLE;
    backwards.reverse();
    let one_by_one: Vec<&[&str]> = backwards.iter().chain(&EXAMPLE[..5]).map(std::slice::from_ref).collect();
    assert_eq!(kept(&kept_by(LATEST), &one_by_one).await.0, expected);
    let (rows, counts) = kept(&kept_by(LATEST), &[&EXAMPLE[..4], &EXAMPLE[4..], &EXAMPLE]).await;
    assert_eq!(rows, expected);
    assert_eq!(counts.deleted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_takes_away_what_is_not_later() {
    let sql = kept_by("APPLY AS TRUNCATE WHEN op = 'TRUNCATE' SEQUENCE BY seq COLUMNS (id, city)");
    let truncate = r#"{"op": "TRUNCATE", "seq": 3}"#;
    let expected = ["id=123 | city=Chihuahua", "id=125 | city=Guadalajara"];
    let upserts: Vec<&str> = EXAMPLE.into_iter().filter(|row| !row.contains("DELETE")).collect();
    for batches in [
        vec![&upserts[..], &[truncate]],
        vec![&[truncate], &upserts[..]],
        vec![&upserts[..3], &[truncate, upserts[3], upserts[4]], &upserts[5..]],
    ] {
        assert_eq!(kept(&sql, &batches).await.0, expected, "{batches:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_leaves_what_is_stored() {
    let sql = kept_by("IGNORE NULL UPDATES ON (name) SEQUENCE BY seq COLUMNS (id, name, city)");
    let changes = [
        r#"{"id": 1, "name": "a", "city": "x", "seq": 1}"#,
        r#"{"id": 1, "name": "b", "seq": 2}"#,
        r#"{"id": 1, "city": "z", "seq": 3}"#,
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let ordered = order.map(|at| changes[at]);
        let one_by_one: Vec<&[&str]> = ordered.iter().map(std::slice::from_ref).collect();
        assert_eq!(kept(&sql, &one_by_one).await.0, ["id=1 | name=b | city=z"], "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_gives_the_columns_that_it_names() {
    let sql = kept_by("COLUMNS TO UPDATE changed SEQUENCE BY seq COLUMNS (id, name, city)");
    let changes = [
        r#"{"id": 1, "name": "a", "city": "x", "seq": 1}"#,
        r#"{"id": 1, "name": "b", "city": "no", "seq": 2, "changed": ["name"]}"#,
        r#"{"id": 1, "seq": 3, "changed": ["city"]}"#,
    ];
    for order in [[0, 1, 2], [2, 1, 0]] {
        let ordered = order.map(|at| changes[at]);
        let one_by_one: Vec<&[&str]> = ordered.iter().map(std::slice::from_ref).collect();
        assert_eq!(kept(&sql, &one_by_one).await.0, ["id=1 | name=b"], "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_without_history_change_in_place() {
    let sql = kept_by("SEQUENCE BY seq COLUMNS (id, name, city) STORED AS SCD TYPE 2 TRACK HISTORY ON * EXCEPT (city)");
    let changes = [
        r#"{"id": 1, "name": "a", "city": "x", "seq": 1}"#,
        r#"{"id": 1, "name": "a", "city": "y", "seq": 2}"#,
        r#"{"id": 1, "name": "b", "city": "y", "seq": 3}"#,
    ];
    let one_by_one: Vec<&[&str]> = changes.iter().map(std::slice::from_ref).collect();
    let expected = ["id=1 | name=a | city=y | __START_AT=1 | __END_AT=3", "id=1 | name=b | city=y | __START_AT=3"];
    assert_eq!(kept(&sql, &one_by_one).await.0, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_may_have_parts() {
    let sql = kept_by("SEQUENCE BY struct(seq, part) COLUMNS (id, city)");
    let changes = [
        r#"{"id": 1, "city": "last", "seq": 2, "part": 2}"#,
        r#"{"id": 1, "city": "first", "seq": 2, "part": 1}"#,
        r#"{"id": 2, "city": "nowhere", "seq": 2}"#,
    ];
    assert_eq!(kept(&sql, &[&changes]).await.0, ["id=1 | city=last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_judge_upserts_and_spare_deletes() {
    let sql = format!(
        "{RAW} CREATE STREAMING TABLE t (CONSTRAINT named EXPECT (name IS NOT NULL) ON VIOLATION DROP ROW);
         CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) {LATEST}",
        LATEST = LATEST.replace("(id, city)", "(id, name, city)")
    );
    let lab = Lab::new();
    lab.arrive("a.json", EXAMPLE.join("\n"));
    lab.arrive("b.json", r#"{"id": 124, "city": "nowhere", "seq": 9}"#);
    let lake = lab.lake(&sql);
    update(&lake).await;
    assert_eq!(values(&lake, "t", "city").await, ["Cancun", "Guadalajara", "Oaxaca"]);
    assert_eq!(values(&lake, "t__quarantine", "_headwater.reasons").await, ["[named]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_with_changed_keys_are_written_anew() {
    let sql = kept_by("SEQUENCE BY seq COLUMNS (id, city)");
    let lab = Lab::new();
    for (at, id) in [(0, 1), (1, 100)] {
        lab.arrive(&format!("{at}.json"), format!(r#"{{"id": {id}, "city": "x", "seq": 1}}"#));
        update(&lab.lake(&sql)).await;
    }
    lab.arrive("2.json", r#"{"id": 100, "city": "y", "seq": 2}"#);
    let lake = lab.lake(&sql);
    let report = update(&lake).await;
    let merged = report.flows.iter().find(|flow| flow.changes.is_some()).unwrap();
    assert_eq!((merged.files_removed, merged.files_added), (1, 1));
    assert_eq!(lake.table(&DatasetName::new("t")).await.unwrap().unwrap().files().await.unwrap().len(), 2);
}

/// Files are as large as compaction leaves them, and smaller than those of a table that is appended to.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_writes_a_quarter_of_a_file_anew() {
    let mut pipeline = pipeline(&kept_by("SEQUENCE BY seq COLUMNS (id, city)"));
    pipeline.settings.target_file_size = 400_000;
    let lab = Lab::new();
    let lake = || lake_of(&pipeline, lab.folder.path(), Arc::new(lab.store.clone()));
    let text = |id: u64| format!("{:016x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let line = |id: u64| format!("{{\"id\": {id}, \"city\": \"{0}{0}\", \"seq\": 1}}\n", text(id));
    lab.arrive("0.json", (0..40_000).map(line).collect::<String>());
    update(&lake()).await;
    tick(&lake(), FunctionKind::Compact).await;
    let sizes = async |name: &str| {
        let files = lake().table(&DatasetName::new(name)).await.unwrap().unwrap().files().await.unwrap();
        files.iter().map(headwater_lake::table::DataFile::size).collect::<Vec<_>>()
    };
    for (name, at_most) in [("t", 150_000), ("t__changes", 150_000), ("raw", 600_000)] {
        let sizes = sizes(name).await;
        assert!(sizes.iter().all(|size| *size < at_most), "{name}: {sizes:?}");
    }
    assert!(sizes("raw").await.into_iter().max() > Some(200_000) && sizes("t").await.len() > 3);

    lab.arrive("1.json", r#"{"id": 20000, "city": "y", "seq": 2}"#);
    let report = update(&lake()).await;
    let merged = report.flows.iter().find(|flow| flow.changes.is_some()).unwrap();
    assert_eq!(merged.files_removed, 1);
    assert!(merged.bytes_added < 150_000, "{}", merged.bytes_added);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_tombstones_go_when_their_file_is_written_anew() {
    let sql = |seconds: u32| {
        format!(
            "{RAW} CREATE STREAMING TABLE t TBLPROPERTIES ('pipelines.cdc.tombstoneGCThresholdInSeconds' = '{seconds}');
             CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) {LATEST}"
        )
    };
    for (seconds, expected) in [(0, vec!["1"]), (1_000, vec!["1", "2"])] {
        let lab = Lab::new();
        lab.arrive(
            "0.json",
            [r#"{"id": 1, "city": "x", "seq": 1}"#, r#"{"id": 2, "op": "DELETE", "seq": 5}"#].join("\n"),
        );
        update(&lab.lake(&sql(seconds))).await;
        lab.arrive("1.json", r#"{"id": 1, "city": "y", "seq": 2}"#);
        let lake = lab.lake(&sql(seconds));
        update(&lake).await;
        assert_eq!(values(&lake, "t__changes", "id").await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_refresh_forgets_and_begins_anew() {
    let lab = Lab::new();
    lab.arrive("a.json", EXAMPLE.join("\n"));
    update(&lab.lake(&kept_by(LATEST))).await;
    let history = kept_by(&format!("{LATEST} STORED AS SCD TYPE 2"));
    let refused = tick(&lab.lake(&history), FunctionKind::Silver).await;
    assert!(refused.flows.is_empty() || refused.flows.iter().all(|flow| flow.outcome == Outcome::NothingNew));
    lab.arrive("b.json", r#"{"id": 124, "city": "Puebla", "seq": 9}"#);
    let refused = format!("{:?}", try_update(&lab.lake(&history)).await.flows);
    assert!(refused.contains("--full-refresh=t"), "{refused}");
    let lake = lab.lake(&history);
    lake.full_refresh(&DatasetName::new("t")).await.unwrap();
    update(&lake).await;
    assert_eq!(values(&lake, "t", "id").await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_flows_keep_one_table() {
    let sql = format!(
        "{raw} CREATE STREAMING TABLE more AS SELECT * FROM STREAM read_files('in/more', format => 'json', schema => 'id INT, city STRING, op STRING, seq INT');
         CREATE STREAMING TABLE t;
         CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) {LATEST};
         CREATE FLOW g AS AUTO CDC INTO t FROM STREAM more KEYS (id) {LATEST}"
    ,
        raw = RAW.replace("'in'", "'in/raw'")
    );
    let lab = Lab::new();
    lab.arrive("raw/a.json", EXAMPLE.join("\n"));
    lab.arrive(
        "more/b.json",
        [r#"{"id": 124, "city": "Puebla", "seq": 2}"#, r#"{"id": 126, "city": "Puebla", "seq": 1}"#].join("\n"),
    );
    let lake = lab.lake(&sql);
    update(&lake).await;
    assert_eq!(values(&lake, "t", "city").await, ["Cancun", "Guadalajara", "Puebla"]);
}

/// So many changes of few keys, no two at one place of the sequence, the same for a seed.
fn random_changes(seed: u32, count: u32) -> Vec<(u32, u32, bool)> {
    let mut state = seed;
    let mut next = move |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut changes: Vec<_> = (0..count).map(|sequence| (next(20), sequence, next(4) == 0)).collect();
    for at in (1..changes.len()).rev() {
        let other = usize::try_from(next(u32::try_from(at + 1).unwrap())).unwrap();
        changes.swap(at, other);
    }
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn many_runs_at_once_beside_compaction_give_the_last_states() {
    let sql = &format!(
        "{} ; CREATE STREAMING TABLE h; CREATE FLOW g AS AUTO CDC INTO h FROM STREAM raw KEYS (id) {LATEST} STORED AS SCD TYPE 2",
        kept_by(LATEST)
    );
    let lab = Lab::new();
    let changes = random_changes(7, 120);
    for (at, batch) in changes.chunks(10).enumerate() {
        let line = |(id, seq, is_delete): &(u32, u32, bool)| {
            let op = if *is_delete { "DELETE" } else { "UPDATE" };
            format!(r#"{{"id": {id}, "city": "c{seq}", "op": "{op}", "seq": {seq}}}"#)
        };
        lab.arrive(&format!("{at}.json"), batch.iter().map(line).collect::<Vec<_>>().join("\n"));
        tick(&lab.lake(sql), FunctionKind::BronzeFiles).await;
        let lakes = [lab.lake(sql), lab.lake(sql), lab.lake(sql)];
        let [first, second, compacting] = &lakes;
        let compact =
            crate::lakes::wake(compacting, FunctionKind::Compact, headwater_core::trigger::Cause::Timer(Vec::new()));
        futures::join!(tick(first, FunctionKind::Silver), tick(second, FunctionKind::Silver), compact);
    }
    let lake = lab.lake(sql);
    update(&lake).await;
    let mut last = std::collections::BTreeMap::new();
    for change in &changes {
        let newest = last.entry(change.0).or_insert(change);
        if change.1 > newest.1 {
            *newest = change;
        }
    }
    let mut expected: Vec<String> =
        last.values().filter(|change| !change.2).map(|(id, seq, _)| format!("id={id} | city=c{seq}")).collect();
    expected.sort_unstable();
    assert_eq!(rows(&lake, &DatasetName::new("t")).await, expected);
    let upserts = changes.iter().filter(|change| !change.2).count();
    assert_eq!(values(&lake, "h", "id").await.len(), upserts);
    let current = rows(&lake, &DatasetName::new("h")).await.into_iter().filter(|row| !row.contains("__END_AT"));
    let mut current: Vec<_> = current.filter_map(|row| row.split(" | __START").next().map(str::to_owned)).collect();
    current.sort_unstable();
    assert_eq!(current, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_may_move_to_another_partition() {
    let sql = format!(
        "{RAW} CREATE STREAMING TABLE t PARTITIONED BY (city);
         CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) {LATEST}"
    );
    let one_by_one: Vec<&[&str]> = EXAMPLE.iter().map(std::slice::from_ref).collect();
    let (rows, counts) = kept(&sql, &one_by_one).await;
    assert_eq!(rows, ["id=124 | city=Oaxaca", "id=125 | city=Guadalajara", "id=126 | city=Cancun"]);
    assert_eq!(counts, ChangeCounts { upserted: 5, deleted: 1, stale: 2, tombstones: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_appended_to_is_refused_until_it_is_rebuilt() {
    let lab = Lab::new();
    lab.arrive("a.json", EXAMPLE[0]);
    let appended = format!("{RAW} CREATE STREAMING TABLE t AS SELECT id, city FROM STREAM raw");
    update(&lab.lake(&appended)).await;
    lab.arrive("b.json", EXAMPLE[1]);
    let lake = lab.lake(&kept_by(LATEST));
    let refused = format!("{:?}", try_update(&lake).await.flows);
    assert!(refused.contains("--full-refresh=t"), "{refused}");
    lake.full_refresh(&DatasetName::new("t")).await.unwrap();
    update(&lake).await;
    assert_eq!(values(&lake, "t", "city").await, ["Monterrey", "Oaxaca"]);
}

/// Changes as Debezium's connector for PostgreSQL writes them with a schema section, of which only the payload is read.
const ENVELOPES: [&str; 4] = [
    r#"{"schema": {"type": "struct", "optional": false}, "payload": {"before": null, "after": {"id": 1, "name": "Sally"}, "source": {"connector": "postgresql", "snapshot": "true", "lsn": 24023119, "txId": 555}, "op": "r", "ts_ms": 1559033904863}}"#,
    r#"{"schema": {"type": "struct", "optional": false}, "payload": {"before": {"id": 1, "name": null}, "after": {"id": 1, "name": "Anne Marie"}, "source": {"connector": "postgresql", "lsn": 24023128, "txId": 556}, "op": "u", "ts_ms": 1465584025523}}"#,
    r#"{"schema": {"type": "struct", "optional": false}, "payload": {"before": null, "after": {"id": 2, "name": "George"}, "source": {"connector": "postgresql", "lsn": 24023130, "txId": 557}, "op": "c", "ts_ms": 1465584025600}}"#,
    r#"{"schema": {"type": "struct", "optional": false}, "payload": {"before": {"id": 1, "name": null}, "after": null, "source": {"connector": "postgresql", "lsn": 46523128, "txId": 560}, "op": "d", "ts_ms": 1465581902461}}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_of_debezium_are_unwrapped_by_a_view() {
    let sql = "
        CREATE STREAMING TABLE raw AS SELECT payload FROM STREAM read_files('in', format => 'json', schema =>
          'payload STRUCT<before: STRUCT<id: INT, name: STRING>, after: STRUCT<id: INT, name: STRING>, source: STRUCT<lsn: BIGINT>, op: STRING>');
        CREATE TEMPORARY VIEW unwrapped AS
          SELECT coalesce(payload.after.id, payload.before.id) AS id, payload.after.name AS name, payload.op AS op, payload.source.lsn AS lsn
          FROM STREAM raw;
        CREATE STREAMING TABLE t;
        CREATE FLOW f AS AUTO CDC INTO t FROM STREAM unwrapped KEYS (id) APPLY AS DELETE WHEN op = 'd' SEQUENCE BY lsn
          COLUMNS (id, name)";
    let [read, update, create, delete] = ENVELOPES;
    assert_eq!(kept(sql, &[&[update, create], &[read]]).await.0, ["id=1 | name=Anne Marie", "id=2 | name=George"]);
    assert_eq!(kept(sql, &[&[delete, create], &[read, update]]).await.0, ["id=2 | name=George"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_longer_than_any_statistic_are_found_again() {
    let sql = format!(
        "{RAW} CREATE STREAMING TABLE t; CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (name) SEQUENCE BY seq COLUMNS (name, seq)"
    );
    let keys: Vec<String> =
        (0..20).flat_map(|n| [format!("{}{n}", "\u{10ffff}".repeat(70)), format!("{}{n}", "k".repeat(100))]).collect();
    let batch = |seq: usize| -> Vec<String> {
        let some = keys.iter().skip(seq).step_by(seq + 1);
        some.map(|key| format!(r#"{{"name": "{key}", "seq": {seq}}}"#)).collect()
    };
    let lab = Lab::new();
    for seq in 0..4 {
        lab.arrive(&format!("{seq}.json"), batch(seq).join("\n"));
        update(&lab.lake(&sql)).await;
    }
    let last =
        |at: usize| (0..4).rev().find(|seq| at >= *seq && (at - seq).is_multiple_of(seq + 1)).unwrap().to_string();
    let mut expected: Vec<String> = (0..keys.len()).map(last).collect();
    expected.sort_unstable();
    assert_eq!(values(&lab.lake(&sql), "t", "seq").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_may_make_the_table_between_any_two_steps_of_one_that_does() {
    let kept_by = |flows: &[&str]| {
        let flow = |name: &&str| {
            format!(
                "CREATE FLOW {name} AS AUTO CDC INTO t FROM STREAM raw KEYS (id) SEQUENCE BY seq COLUMNS (id, name, seq);"
            )
        };
        format!("{RAW} CREATE STREAMING TABLE t; {}", flows.iter().map(flow).collect::<String>())
    };
    let sql = kept_by(&["f", "g"]);
    let lab = Lab::new();
    lab.arrive("0.json", EXAMPLE.join("\n"));
    well(tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await);
    // The rival has another flow into the table, as one that is woken by another source: so nothing tells that the batch was applied.
    let (others, pipeline, table) = (pipeline(&kept_by(&["g"])), pipeline(&sql), DatasetName::new("t"));
    let process = |store: &PointStore| lake_of(&pipeline, lab.folder.path(), Arc::new(store.clone()));
    let undisturbed = PointStore::new(Arc::new(lab.store.fork()), None);
    well(tick(&process(&undisturbed), FunctionKind::Silver).await);
    let points: Vec<_> = undisturbed.points().into_iter().filter(|point| point.contains("silver/t")).collect();
    assert!(points.iter().any(|point| point.starts_with("list ")), "{points:#?}");
    let expected = rows(&process(&undisturbed), &table).await;
    for point in points {
        let store = lab.store.fork();
        let held = PointStore::new(Arc::new(store.clone()), None);
        let rival = lake_of(&others, lab.folder.path(), Arc::new(store));
        // Its future can't leave its thread, so it has one.
        let whole = || Handle::current().block_on(async move { well(tick(&rival, FunctionKind::Silver).await) });
        held.hold(&point, async move {
            spawn_blocking(whole).await.unwrap();
        });
        let report = tick(&process(&held), FunctionKind::Silver).await;
        assert!(report.is_success(), "{point}: {report:#?}");
        assert_eq!(rows(&process(&held), &table).await, expected, "{point}");
    }
}

#[tokio::test]
async fn a_table_whose_side_table_was_deleted_says_so_and_can_be_rebuilt() {
    let sql = kept_by("SEQUENCE BY seq COLUMNS (id, name, seq)");
    let lab = Lab::new();
    lab.arrive("0.json", EXAMPLE[..4].join("\n"));
    update(&lab.lake(&sql)).await;
    lab.forget("silver/t__changes").await;
    lab.arrive("1.json", EXAMPLE[5]);
    let report = try_update(&lab.lake(&sql)).await;
    let reasons: Vec<_> = report
        .flows
        .iter()
        .filter_map(|flow| match &flow.outcome {
            Outcome::Retryable { reason } => Some(reason),
            _ => None,
        })
        .collect();
    let [reason] = reasons[..] else { panic!("{report:#?}") };
    assert!(reason.contains("`t__changes`, by which it is kept, can't be found"), "{reason}");
    assert!(reason.contains("--full-refresh=t"), "{reason}");
    lab.lake(&sql).full_refresh(&DatasetName::new("t")).await.unwrap();
    update(&lab.lake(&sql)).await;
    assert_eq!(values(&lab.lake(&sql), "t", "id").await, ["123", "124", "125", "126"]);
}
