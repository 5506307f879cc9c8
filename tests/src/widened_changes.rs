//! Tables kept by changes whose columns widen: keys, sequences and values. Each is held against the same changes into a table
//! whose columns were as wide from the first.

use std::sync::Arc;

use arrow::util::display::array_value_to_string;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::TryStreamExt;
use headwater_core::name::DatasetName;
use headwater_core::report::Outcome;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::points::{Blow, Moment, PointStore, Strike};
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::lakes::{Lab, contents, lake_of, pipeline, rows, rush, tick, try_update, update, values, well};
use crate::logs::judge_logs;
use crate::widening::Log;

const NARROW: &str = "id INT, seq INT, n SMALLINT, x DOUBLE, s STRUCT<a: INT>, dead BOOLEAN, cut BOOLEAN";
const WIDE: &str = "id BIGINT, seq BIGINT, n BIGINT, x DOUBLE, s STRUCT<a: BIGINT>, dead BOOLEAN, cut BOOLEAN";

/// A pipeline with one flow of changes into `t`, from files whose columns begin with these types.
fn kept_by(types: &str, (table, clauses): (&str, &str)) -> String {
    format!(
        "CREATE STREAMING TABLE raw AS SELECT * EXCEPT (_metadata) FROM STREAM read_files('in', format => 'json',
           schemaHints => '{types}', schemaEvolutionMode => 'addNewColumnsWithTypeWidening');
         CREATE STREAMING TABLE t {table};
         CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN dead {clauses}"
    )
}

const LATEST: &str = "SEQUENCE BY seq COLUMNS (id, n, x, s)";
const IGNORING: &str = "SEQUENCE BY seq COLUMNS (id, n, x, s) IGNORE NULL UPDATES";
const HISTORY: &str = "SEQUENCE BY seq COLUMNS (id, n, x, s) STORED AS SCD TYPE 2";
const TRACKED: &str = "SEQUENCE BY seq COLUMNS (id, n, x, s) STORED AS SCD TYPE 2 TRACK HISTORY ON (n)";
const PARTS: &str = "SEQUENCE BY STRUCT(seq, id) COLUMNS (id, n, x, s) STORED AS SCD TYPE 2";
const TRUNCATED: &str = "APPLY AS TRUNCATE WHEN cut SEQUENCE BY seq COLUMNS (id, n, x, s)";

/// How a table is declared and kept.
const KEPT: [(&str, &str); 8] = [
    ("", LATEST),
    ("", IGNORING),
    ("", HISTORY),
    ("", TRACKED),
    ("", PARTS),
    ("", TRUNCATED),
    ("TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')", LATEST),
    ("PARTITIONED BY (n)", LATEST),
];

/// Batches of changes, of which the first is narrow, and each of the others widens something or comes late.
const BATCHES: [&str; 7] = [
    r#"{"id":1,"seq":10,"n":1,"x":0.5,"s":{"a":1}}
{"id":2,"seq":10,"n":2,"x":1.5,"s":{"a":2}}
{"id":3,"seq":12,"n":3}
{"id":4,"seq":10,"n":4,"x":4.5}"#,
    r#"{"id":1,"seq":20,"n":70000,"s":{"a":5}}
{"id":3,"seq":20,"dead":true}"#,
    r#"{"id":5000000000,"seq":21,"n":5,"x":0.25}
{"id":2,"seq":5,"n":200}"#,
    r#"{"id":2,"seq":6000000000,"n":3,"x":0.125}
{"id":5000000000,"seq":11,"n":-5,"s":{"a":7000000000}}"#,
    r#"{"id":3,"seq":15,"n":33,"x":8.5}
{"id":1,"seq":15,"n":11,"x":2.5}
{"id":4,"seq":6000000001,"dead":true}"#,
    r#"{"seq":19,"cut":true}
{"id":1,"seq":10,"n":1,"x":0.5,"s":{"a":1}}
{"id":7,"seq":30,"n":8000000000}"#,
    r#"{"id":4,"seq":6000000002,"n":44}
{"id":7,"seq":6000000003,"dead":true}
{"id":2,"seq":6000000000,"n":3,"x":0.125}"#,
];

/// What `t` holds after these batches, one update each, and compaction now and then.
async fn kept(sql: &str, batches: &[&str]) -> (Vec<String>, Lab) {
    let lab = Lab::new();
    for (at, batch) in batches.iter().enumerate() {
        lab.arrive(&format!("{at}.json"), batch);
        update(&lab.lake(sql)).await;
        if at % 3 == 2 {
            well(tick(&lab.lake(sql), FunctionKind::Compact).await);
        }
    }
    (rows(&lab.lake(sql), &DatasetName::new("t")).await, lab)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_widens_holds_what_one_that_was_wide_holds() {
    let mut backwards = BATCHES;
    backwards.reverse();
    let mut turned = BATCHES;
    turned.rotate_left(3);
    for (at, how) in KEPT.into_iter().enumerate() {
        let others = [Some(backwards), Some(turned), Some(backwards)].get(at).copied().flatten();
        for order in [Some(BATCHES), others].into_iter().flatten() {
            let (wide, of_wide) = kept(&kept_by(WIDE, how), &order).await;
            let (found, lab) = kept(&kept_by(NARROW, how), &order).await;
            assert_eq!(found, wide, "{how:?} {order:?}");
            assert!(found.len() >= 2, "{found:?}");
            assert_eq!(feed(&lab).await, feed(&of_wide).await, "{how:?}");
            assert_eq!(feed(&lab).await.is_empty(), !how.0.contains("ChangeDataFeed"));
            let rescued = values(&lab.lake(&kept_by(NARROW, how)), "raw", "_rescued_data").await;
            assert!(rescued.iter().all(|rest| rest == "~"), "{rescued:?}");
            if order == BATCHES {
                let [target, changes] = [Log::read(&lab, "silver/t").await, Log::read(&lab, "silver/t__changes").await];
                assert_eq!((target.changes("id"), target.asks_for_widening()), (vec!["integer long".to_owned()], true));
                assert_eq!(changes.changes("id"), target.changes("id"), "{how:?}");
                let is_wider = changes.changes("__headwater_sequence") == ["integer long"];
                assert_eq!(is_wider, how.1 != PARTS, "{how:?}");
            }
        }
    }
}

/// The rows of the change data feed of `t`, as texts.
async fn feed(lab: &Lab) -> Vec<String> {
    let mut told = Vec::new();
    let prefix = "silver/t/_change_data".into();
    let files: Vec<_> = lab.store.list(Some(&prefix)).try_collect().await.unwrap();
    for file in files {
        let bytes = lab.store.get(&file.location).await.unwrap().bytes().await.unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let row = |row| {
                let texts = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
                texts.collect::<Vec<_>>().join(" ")
            };
            told.extend((0..batch.num_rows()).map(row));
        }
    }
    told.sort_unstable();
    told
}

/// Each operation of the batches that widen a table is the last one of its process, and another process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_widens_once_wherever_a_batch_dies() {
    for how in [("", LATEST), ("", HISTORY)] {
        let sql = kept_by(NARROW, how);
        let lab = Lab::new();
        lab.arrive("0.json", BATCHES[0]);
        update(&lab.lake(&sql)).await;
        for (at, batch) in BATCHES[1..5].iter().enumerate() {
            lab.arrive(&format!("{}.json", at + 1), batch);
        }
        well(tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await);
        let lake = |store| lake_of(&pipeline(&sql), lab.folder.path(), store);
        let undisturbed = PointStore::new(Arc::new(lab.store.fork()), None);
        let whole = lake(Arc::new(undisturbed.clone()));
        well(tick(&whole, FunctionKind::Silver).await);
        let expected = contents(&whole).await;
        let points = undisturbed.points().into_iter().filter(|point| point.starts_with("put "));
        let mut strikes = 0;
        for point in points {
            for moment in [Moment::Before, Moment::After] {
                let store = lab.store.fork();
                let strike = Strike { point: point.clone(), moment, blow: Blow::Death };
                let faulty = PointStore::new(Arc::new(store.clone()), Some(strike));
                let dying = lake(Arc::new(faulty.clone()));
                tokio::select! {
                    biased;
                    () = faulty.died() => {}
                    _ = tick(&dying, FunctionKind::Silver) => {}
                }
                strikes += usize::from(faulty.has_struck());
                let lake = lake(Arc::new(store.clone()));
                well(tick(&lake, FunctionKind::Silver).await);
                let found = contents(&lake).await;
                assert_eq!(found, expected, "{how:?} {point} {moment:?}");
                judge_logs(&store, &lake, &found).await;
            }
        }
        assert!(strikes >= 8, "{strikes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_widens_while_many_runs_are_under_way() {
    for how in [("", LATEST), ("", HISTORY)] {
        let (sql, lab) = (kept_by(NARROW, how), Lab::new());
        for (at, batch) in BATCHES.iter().enumerate() {
            lab.arrive(&format!("{at}.json"), batch);
            rush(&lab, &sql).await;
        }
        let lake = lab.lake(&sql);
        update(&lake).await;
        assert_eq!(rows(&lake, &DatasetName::new("t")).await, kept(&kept_by(WIDE, how), &BATCHES).await.0);
    }
}

/// Keys are found in files of many row groups that are narrower than the table: those that hold none stay as they are.
#[tokio::test(flavor = "multi_thread")]
async fn only_files_with_changed_keys_are_written_anew_after_a_column_widened() {
    let (sql, lab) = (kept_by(NARROW, ("CLUSTER BY (id)", LATEST)), Lab::new());
    let lake = || {
        let mut pipeline = pipeline(&sql);
        pipeline.settings.target_file_size = 30_000;
        lake_of(&pipeline, lab.folder.path(), Arc::new(lab.store.clone()))
    };
    let line = |id: u64, seq: u64| {
        format!("{{\"id\":{id},\"seq\":{seq},\"n\":{}}}\n", id.wrapping_mul(2_654_435_761) % 30_000)
    };
    lab.arrive("0.json", (0..8_000).map(|id| line(id * 2, 1)).collect::<String>());
    update(&lake()).await;
    let before = Log::read(&lab, "silver/t").await.files.len();
    assert!(before > 4, "{before}");

    lab.arrive("1.json", line(5_000_000_000, 1) + &line(5_000_000_001, 1));
    update(&lake()).await;
    // Some that are there, and some between them.
    lab.arrive("2.json", line(4_000, 3_000_000_000) + &line(4_002, 2) + &line(4_003, 2) + &line(5_000_000_000, 2));
    let report = update(&lake()).await;
    let flow = report.flows.iter().find(|flow| flow.changes.is_some()).unwrap();
    assert!((1..=3).contains(&flow.files_removed), "{flow:?}");
    lab.arrive("3.json", line(9_001, 2) + &line(9_003, 2));
    let report = update(&lake()).await;
    let flow = report.flows.iter().find(|flow| flow.changes.is_some()).unwrap();
    assert_eq!((flow.files_removed, flow.files_added), (0, 1), "{flow:?}");

    let mut wanted: Vec<u64> =
        (0..8_000).map(|id| id * 2).chain([4_003, 9_001, 9_003, 5_000_000_000, 5_000_000_001]).collect();
    wanted.sort_unstable();
    let mut found: Vec<u64> = values(&lake(), "t", "id").await.iter().map(|id| id.parse().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, wanted);
    let known = values(&lake(), "t__changes", "__headwater_sequence").await;
    assert_eq!((known.len(), known.iter().filter(|seq| *seq == "3000000000").count()), (wanted.len(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_kept_by_snapshots_widens_with_them() {
    let sql = |types: &str, clauses: &str| {
        format!(
            "CREATE STREAMING TABLE t;
             CREATE FLOW f AS AUTO CDC INTO t FROM SNAPSHOT (read_files('in', format => 'csv', header => true,
               schemaHints => '{types}', schemaEvolutionMode => 'addNewColumnsWithTypeWidening'))
             KEYS (id) SEQUENCE BY day COLUMNS (id, n) {clauses}"
        )
    };
    let dumps = [
        "id,n,day\n1,1,1\n2,2,1\n3,3,1\n",
        "id,n,day\n1,1,2\n2,70000,2\n3,3,2\n",
        "id,n,day\n1,1,3\n2,70000,3\n5000000000,3,3\n",
        "id,n,day\n1,1,6000000000\n2,5,6000000000\n5000000000,3,6000000000\n",
        "id,n,day\n7,7,4\n",
        "id,n,day\n2,5,6000000001\n",
    ];
    for clauses in ["", "STORED AS SCD TYPE 2"] {
        let mut found = Vec::new();
        for types in ["id INT, n SMALLINT, day INT", "id BIGINT, n BIGINT, day BIGINT"] {
            let lab = Lab::new();
            let mut counts = Vec::new();
            for (at, dump) in dumps.iter().enumerate() {
                lab.arrive(&format!("{at}.csv"), dump);
                let report = update(&lab.lake(&sql(types, clauses))).await;
                counts.extend(report.flows.iter().filter_map(|flow| flow.changes));
            }
            found.push((rows(&lab.lake(&sql(types, clauses)), &DatasetName::new("t")).await, counts));
        }
        assert_eq!(found[0], found[1]);
        assert!(found[0].0.iter().any(|row| row.starts_with("id=2 | n=5")), "{found:?}");
    }
}

/// A query that gives narrower values than the table has by now is held against what the table has.
#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_query_after_a_wider_one_fits() {
    let sql = |data_type: &str| {
        format!(
            "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id BIGINT, n BIGINT, day BIGINT');
             CREATE TEMPORARY VIEW v AS SELECT id, try_cast(n AS {data_type}) AS n, try_cast(day AS {data_type}) AS day FROM STREAM raw;
             CREATE STREAMING TABLE t TBLPROPERTIES ('delta.enableTypeWidening' = 'true');
             CREATE FLOW f AS AUTO CDC INTO t FROM SNAPSHOT STREAM v KEYS (id) SEQUENCE BY day COLUMNS (id, n)"
        )
    };
    let lab = Lab::new();
    let line = |id: u64, n: u64, day: u64| format!("{{\"id\":{id},\"n\":{n},\"day\":{day}}}\n");
    let steps = [
        ("SMALLINT", line(1, 1, 1) + &line(2, 2, 1), ["id=1 | n=1", "id=2 | n=2"].as_slice()),
        ("BIGINT", line(1, 8_000_000_000, 2) + &line(2, 2, 2), &["id=1 | n=8000000000", "id=2 | n=2"]),
        ("INT", line(2, 3, 3), &["id=2 | n=3"]),
        ("SMALLINT", line(2, 4, 2), &["id=2 | n=3"]),
        ("SMALLINT", line(3, 5, 4), &["id=3 | n=5"]),
    ];
    for (at, (data_type, lines, wanted)) in steps.into_iter().enumerate() {
        lab.arrive(&format!("{at}.json"), lines);
        let lake = lab.lake(&sql(data_type));
        update(&lake).await;
        assert_eq!(rows(&lake, &DatasetName::new("t")).await, wanted, "{at}");
    }
}

/// What orders changes may get wider, but not have other parts.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_with_other_parts_is_refused_whatever_widens() {
    let sql = |parts: &str| kept_by(NARROW, ("", PARTS)).replace("STRUCT(seq, id)", parts);
    let lab = Lab::new();
    lab.arrive("0.json", BATCHES[0]);
    update(&lab.lake(&sql("STRUCT(seq, id)"))).await;
    lab.arrive("1.json", BATCHES[1]);
    for parts in ["STRUCT(seq, id, n)", "STRUCT(id, seq)", "seq"] {
        let report = format!("{:?}", try_update(&lab.lake(&sql(parts))).await);
        assert!(report.contains("SEQUENCE BY gives") || report.contains("the query now gives"), "{parts}: {report}");
    }
    let report = update(&lab.lake(&sql("STRUCT(seq, id)"))).await;
    let outcomes: Vec<_> =
        report.flows.iter().filter(|flow| flow.changes.is_some()).map(|flow| &flow.outcome).collect();
    assert!(matches!(outcomes[..], [Outcome::Committed { .. }]), "{outcomes:?}");
}

/// A batch in parts by ranges of keys, and between any two of its steps another flow makes the keys wider.
#[tokio::test(flavor = "multi_thread")]
async fn keys_may_widen_between_the_parts_of_a_batch() {
    let read = |name: &str| {
        format!(
            "CREATE STREAMING TABLE {name} AS SELECT * EXCEPT (_metadata) FROM STREAM read_files('in', format => 'json', pathGlobFilter => '{name}*',
               schemaHints => 'id INT, seq INT, n INT', schemaEvolutionMode => 'addNewColumnsWithTypeWidening');
             CREATE FLOW of_{name} AS AUTO CDC INTO t FROM STREAM {name} KEYS (id) SEQUENCE BY seq COLUMNS (id, n);"
        )
    };
    let (of_many, of_wide) = (read("many"), read("wide"));
    let sql = format!("CREATE STREAMING TABLE t; {of_many} {of_wide}");
    let lab = Lab::new();
    let line = |id: u64, seq: u64| format!("{{\"id\":{id},\"seq\":{seq},\"n\":{}}}\n", id % 7);
    lab.arrive("many0.json", (0..4).map(|id| line(id * 10, 1)).collect::<String>());
    update(&lab.lake(&sql)).await;
    lab.arrive("many1.json", (0..9).map(|id| line(id, 2)).collect::<String>());
    lab.arrive("wide1.json", line(3, 3) + &line(5_000_000_000, 3));
    well(tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await);

    let silver = |sql: &str, store| {
        let mut pipeline = pipeline(sql);
        pipeline.settings.memory_limit = 3 * (2 << 10);
        lake_of(&pipeline, lab.folder.path(), store)
    };
    // One flow each, of the same pipeline otherwise.
    let only = |flow: &str| format!("CREATE STREAMING TABLE t; {flow}");
    let undisturbed = PointStore::new(Arc::new(lab.store.fork()), None);
    well(tick(&silver(&only(&of_many), Arc::new(undisturbed.clone())), FunctionKind::Silver).await);
    let points: Vec<String> = undisturbed.points().into_iter().filter(|point| point.contains("silver/t")).collect();
    let wanted = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "10", "20", "30", "5000000000"];
    let mut met = 0;
    for point in points.iter().step_by(2) {
        let store = lab.store.fork();
        let held = PointStore::new(Arc::new(store.clone()), None);
        let rival = silver(&only(&of_wide), Arc::new(store.clone()));
        let (came, has_come) = tokio::sync::oneshot::channel();
        // Its future can't leave its thread, so it has one.
        let whole = || Handle::current().block_on(async move { well(tick(&rival, FunctionKind::Silver).await) });
        held.hold(point, async move {
            spawn_blocking(whole).await.unwrap();
            let _ = came.send(());
        });
        let lake = silver(&only(&of_many), Arc::new(held));
        tick(&lake, FunctionKind::Silver).await;
        drop(lake);
        met += usize::from(has_come.await.is_ok());
        let lake = silver(&sql, Arc::new(store.clone()));
        well(tick(&lake, FunctionKind::Silver).await);
        let mut found = values(&lake, "t", "id").await;
        found.sort_unstable_by_key(|id| id.parse::<u64>().unwrap());
        assert_eq!(found, wanted, "before {point}");
        let rows = rows(&lake, &DatasetName::new("t")).await;
        assert!(rows.contains(&"id=5000000000 | n=2".to_owned()), "{rows:?}");
    }
    println!("{met} of {} points met", points.len() / 2);
    assert!(met >= 20, "{met} of {}", points.len() / 2);
}
