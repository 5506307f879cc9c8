//! What flows mean: dedup, lateness, backfills, views and full refreshes, across batches and processes.

use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report, Rows};
use headwater_core::trigger::Cause;
use headwater_runtime::local::FunctionKind;

use crate::lakes::{Lab, commits, deliver, message, rows, tick, try_update, update, values, wake, well};

const NUMBERS: &str = "CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n INT, k STRING, at TIMESTAMP');";

/// The counts of all batches into a table.
fn counts(report: &Report, target: &str) -> Rows {
    let of_target = report.flows.iter().filter(|flow| flow.target == DatasetName::new(target));
    of_target.fold(Rows::default(), |sum, flow| sum.plus(flow.rows))
}

#[tokio::test]
async fn a_redelivered_message_lands_once_whatever_it_says_the_second_time() {
    let lab = Lab::new();
    let sql =
        "CREATE STREAMING TABLE t AS SELECT n FROM STREAM read_events('events', format => 'json', schema => 'n INT')";
    let lake = lab.lake(sql);
    well(
        deliver(&lake, vec![message("a", "{\"n\": 1}", 1), message("a", "{\"n\": 2}", 1), message("b", "x", 1)]).await,
    );
    for lake in [lake, lab.lake(sql)] {
        let again = vec![message("a", "{\"n\": 3}", 2), message("b", "x", 2), message("c", "{\"n\": 4}", 1)];
        well(deliver(&lake, again).await);
    }
    assert_eq!(values(&lab.lake(sql), "t", "n").await, ["1", "4"]);
    assert_eq!(values(&lab.lake(sql), "t__quarantine", "_metadata.message_id").await, ["b"]);
}

#[tokio::test]
async fn a_redelivered_message_is_found_whatever_the_clocks_say() {
    let lab = Lab::new();
    let sql =
        "CREATE STREAMING TABLE t AS SELECT n FROM STREAM read_events('events', format => 'json', schema => 'n INT')";
    let lake = lab.lake(sql);
    well(deliver(&lake, vec![message("a", "{\"n\": 1}", 1)]).await);
    for days in [-40_000, 0, 40_000] {
        let received_at = chrono::Utc::now() + chrono::Duration::days(days);
        let batch = headwater_core::trigger::MessageBatch {
            source: "events".into(),
            messages: vec![message("a", "{\"n\": 1}", 2)],
            received_at,
        };
        well(wake(&lake, FunctionKind::BronzeEvents, Cause::Messages(batch)).await);
    }
    assert_eq!(values(&lake, "t", "n").await, ["1"]);
}

#[tokio::test]
async fn the_first_row_of_a_key_stays_across_batches_and_processes() {
    let lab = Lab::new();
    let sql = format!(
        "{NUMBERS} CREATE STREAMING TABLE firsts TBLPROPERTIES ('headwater.dedup.keys' = 'n') AS SELECT n, k FROM STREAM numbers"
    );
    lab.arrive("a.json", "{\"n\": 1, \"k\": \"a\"}\n{\"n\": 1, \"k\": \"b\"}\n{\"k\": \"none\"}\n{\"k\": \"none\"}\n");
    let first = update(&lab.lake(&sql)).await;
    assert_eq!(counts(&first, "firsts").duplicate, 1);
    lab.arrive("b.json", "{\"n\": 1, \"k\": \"c\"}\n{\"n\": 2, \"k\": \"d\"}\n{\"k\": \"none\"}\n");
    let second = update(&lab.lake(&sql)).await;
    assert_eq!(counts(&second, "firsts").duplicate, 1);
    let kept = ["k=none", "k=none", "k=none", "n=1 | k=a", "n=2 | k=d"];
    assert_eq!(rows(&lab.lake(&sql), &DatasetName::new("firsts")).await, kept);
}

#[tokio::test]
async fn late_rows_are_put_aside_and_counted_and_take_no_key() {
    let lab = Lab::new();
    let sql = format!(
        "{NUMBERS} CREATE STREAMING TABLE timely TBLPROPERTIES ('headwater.dedup.keys' = 'n')
         AS SELECT n, k FROM STREAM numbers WATERMARK at DELAY OF INTERVAL 10 MINUTES"
    );
    lab.arrive(
        "a.json",
        "{\"n\": 1, \"at\": \"2024-01-01T10:00:00Z\"}\n{\"n\": 2, \"at\": \"2024-01-01T00:00:00Z\"}\n",
    );
    let first = update(&lab.lake(&sql)).await;
    assert_eq!(counts(&first, "timely").late, 0);
    lab.arrive(
        "b.json",
        "{\"n\": 3, \"k\": \"late\", \"at\": \"2024-01-01T09:49:59Z\"}\n{\"n\": 4, \"at\": \"2024-01-01T09:50:00Z\"}\n",
    );
    let second = update(&lab.lake(&sql)).await;
    assert_eq!((counts(&second, "timely").late, counts(&second, "timely").written), (1, 1));
    lab.arrive("c.json", "{\"n\": 3, \"k\": \"timely\", \"at\": \"2024-01-01T09:55:00Z\"}\n{\"n\": 5}\n");
    update(&lab.lake(&sql)).await;
    let lake = lab.lake(&sql);
    assert_eq!(values(&lake, "timely", "n").await, ["1", "2", "3", "4", "5"]);
    assert_eq!(values(&lake, "timely__late", "k").await, ["late"]);
    assert_eq!(
        values(&lake, "timely__late", "_headwater.reasons").await,
        ["[late: event time is before the watermark]"]
    );
}

#[tokio::test]
async fn a_backfill_runs_once_even_if_its_query_changes() {
    let lab = Lab::new();
    let sql = |value: u32| {
        format!(
            "{NUMBERS} CREATE STREAMING TABLE t; CREATE FLOW past AS INSERT INTO ONCE t BY NAME SELECT n + {value} AS n FROM numbers"
        )
    };
    lab.arrive("a.json", "{\"n\": 1}\n");
    update(&lab.lake(&sql(10))).await;
    lab.arrive("b.json", "{\"n\": 2}\n");
    update(&lab.lake(&sql(10))).await;
    update(&lab.lake(&sql(20))).await;
    let lake = lab.lake(&sql(20));
    assert_eq!(values(&lake, "t", "n").await, ["11"]);
    lake.full_refresh(&DatasetName::new("t")).await.unwrap();
    update(&lake).await;
    assert_eq!(values(&lake, "t", "n").await, ["21", "22"]);
}

#[tokio::test]
async fn views_are_part_of_the_queries_that_read_them() {
    let lab = Lab::new();
    let sql = format!(
        "{NUMBERS}
         CREATE TEMPORARY VIEW evens AS SELECT n, k FROM STREAM numbers WHERE n % 2 = 0;
         CREATE TEMPORARY VIEW names AS SELECT k, max(n) AS highest FROM numbers GROUP BY k;
         CREATE STREAMING TABLE a AS SELECT n * 10 AS n FROM STREAM evens;
         CREATE STREAMING TABLE b AS SELECT s.n, v.highest FROM STREAM(numbers) s JOIN names v ON s.k = v.k;
         CREATE MATERIALIZED VIEW c AS SELECT max(highest) AS highest FROM names"
    );
    lab.arrive("a.json", "{\"n\": 1, \"k\": \"x\"}\n{\"n\": 2, \"k\": \"x\"}\n");
    update(&lab.lake(&sql)).await;
    lab.arrive("b.json", "{\"n\": 4, \"k\": \"x\"}\n");
    update(&lab.lake(&sql)).await;
    let lake = lab.lake(&sql);
    assert_eq!(values(&lake, "a", "n").await, ["20", "40"]);
    assert_eq!(values(&lake, "b", "highest").await, ["2", "2", "4"]);
    assert_eq!(values(&lake, "c", "highest").await, ["4"]);
}

#[tokio::test]
async fn a_view_is_recomputed_when_its_rows_may_differ_and_left_alone_otherwise() {
    let lab = Lab::new();
    let sql = |sum: &str| format!("{NUMBERS} CREATE MATERIALIZED VIEW v AS SELECT {sum} AS total FROM numbers");
    lab.arrive("a.json", "{\"n\": 1}\n");
    update(&lab.lake(&sql("sum(n)"))).await;
    lab.arrive("b.json", "{\"n\": 5}\n");
    update(&lab.lake(&sql("sum(n)"))).await;
    assert_eq!(commits(&update(&lab.lake(&sql("sum(n)"))).await), 0);
    let lake = lab.lake(&sql("sum(n)"));
    let mut compacting = crate::lakes::pipeline(&sql("sum(n)"));
    compacting.settings.compact_min_files = 2;
    let compacting = crate::lakes::lake_of(&compacting, lab.folder.path(), std::sync::Arc::new(lab.store.clone()));
    assert!(commits(&wake(&compacting, FunctionKind::Compact, Cause::Timer(Vec::new())).await) > 0);
    assert_eq!(commits(&update(&lake).await), 0, "a compaction changes no row");
    assert_eq!(values(&lake, "v", "total").await, ["6"]);
    let changed = lab.lake(&sql("count(*)"));
    assert_eq!(commits(&update(&changed).await), 1);
    assert_eq!(values(&changed, "v", "total").await, ["2"]);
}

#[tokio::test]
async fn a_view_keeps_aside_only_what_its_last_computation_dropped() {
    let lab = Lab::new();
    let sql = format!(
        "{NUMBERS} CREATE MATERIALIZED VIEW v (CONSTRAINT positive EXPECT (total > 0) ON VIOLATION DROP ROW)
         AS SELECT k, sum(n) AS total FROM numbers GROUP BY k"
    );
    lab.arrive("a.json", "{\"n\": -1, \"k\": \"a\"}\n{\"n\": -1, \"k\": \"b\"}\n{\"n\": 1, \"k\": \"c\"}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(values(&lab.lake(&sql), "v__quarantine", "k").await, ["a", "b"]);
    lab.arrive("b.json", "{\"n\": 2, \"k\": \"a\"}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(values(&lab.lake(&sql), "v", "k").await, ["a", "c"]);
    assert_eq!(values(&lab.lake(&sql), "v__quarantine", "k").await, ["b"]);
    lab.arrive("c.json", "{\"n\": 2, \"k\": \"b\"}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(values(&lab.lake(&sql), "v", "k").await, ["a", "b", "c"]);
    assert!(values(&lab.lake(&sql), "v__quarantine", "k").await.is_empty());
}

#[tokio::test]
async fn a_new_column_of_a_query_is_null_in_older_rows() {
    let lab = Lab::new();
    let sql = |columns: &str| format!("{NUMBERS} CREATE STREAMING TABLE t AS SELECT {columns} FROM STREAM numbers");
    lab.arrive("a.json", "{\"n\": 1, \"k\": \"a\"}\n");
    update(&lab.lake(&sql("n"))).await;
    lab.arrive("b.json", "{\"n\": 2, \"k\": \"b\"}\n");
    update(&lab.lake(&sql("n, k"))).await;
    assert_eq!(values(&lab.lake(&sql("n, k")), "t", "k").await, ["b", "~"]);
    lab.arrive("c.json", "{\"n\": 3, \"k\": \"c\"}\n");
    update(&lab.lake(&sql("n"))).await;
    assert_eq!(values(&lab.lake(&sql("n")), "t", "k").await, ["b", "~", "~"]);
}

#[tokio::test]
async fn readers_of_a_table_that_was_fully_refreshed_say_so_and_can_be_refreshed_too() {
    let lab = Lab::new();
    let sql = format!(
        "{NUMBERS}
         CREATE STREAMING TABLE middle (CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW) AS SELECT n FROM STREAM numbers;
         CREATE STREAMING TABLE last AS SELECT n FROM STREAM middle;
         CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM middle"
    );
    lab.arrive("a.json", "{\"n\": 1}\n{\"n\": -1}\n");
    update(&lab.lake(&sql)).await;
    lab.arrive("b.json", "{\"n\": 2}\n{\"n\": -2}\n");
    update(&lab.lake(&sql)).await;
    let lake = lab.lake(&sql);
    lake.full_refresh(&DatasetName::new("middle")).await.unwrap();
    let report = try_update(&lake).await;
    let failed = |flow: &&headwater_core::report::FlowReport| matches!(flow.outcome, Outcome::Failed { .. });
    let failed: Vec<_> = report.flows.iter().filter(failed).collect();
    assert!(failed.iter().all(|flow| flow.target == DatasetName::new("last")) && !failed.is_empty(), "{report:#?}");
    assert!(format!("{:?}", failed[0].outcome).contains("full-refresh"), "{:?}", failed[0].outcome);
    assert_eq!(values(&lake, "middle", "n").await, ["1", "2"]);
    assert_eq!(values(&lake, "middle__quarantine", "n").await, ["-1", "-2"]);
    lake.full_refresh(&DatasetName::new("last")).await.unwrap();
    update(&lake).await;
    assert_eq!(values(&lake, "last", "n").await, ["1", "2"]);
    assert_eq!(values(&lake, "total", "n").await, ["3"]);
    assert_eq!(commits(&update(&lab.lake(&sql)).await), 0);
}

#[tokio::test]
async fn a_file_is_read_once_by_its_path_though_it_is_written_over() {
    let lab = Lab::new();
    lab.arrive("a.json", "{\"n\": 1}\n");
    update(&lab.lake(NUMBERS)).await;
    lab.arrive("a.json", "{\"n\": 2}\n");
    assert_eq!(commits(&update(&lab.lake(NUMBERS)).await), 0);
    std::fs::remove_file(lab.folder.path().join("in/a.json")).unwrap();
    assert_eq!(commits(&update(&lab.lake(NUMBERS)).await), 0);
    assert_eq!(values(&lab.lake(NUMBERS), "numbers", "n").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_silvers_on_one_table_move_each_row_once() {
    let lab = Lab::new();
    let sql = format!(
        "{NUMBERS} CREATE STREAMING TABLE checked (CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW)
         TBLPROPERTIES ('headwater.dedup.keys' = 'n') AS SELECT n FROM STREAM numbers WATERMARK at DELAY OF INTERVAL 1 HOUR;
         CREATE STREAMING TABLE copies AS SELECT n FROM STREAM numbers"
    );
    let mut expected = Vec::new();
    for round in 1..=6 {
        lab.arrive(&format!("{round}.json"), format!("{{\"n\": {round}}}\n{{\"n\": -{round}}}\n"));
        tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await;
        expected.push(round.to_string());
        let lakes = [lab.lake(&sql), lab.lake(&sql), lab.lake(&sql)];
        let [a, b, c] = &lakes;
        let reports =
            tokio::join!(tick(a, FunctionKind::Silver), tick(b, FunctionKind::Silver), tick(c, FunctionKind::Silver));
        for report in [reports.0, reports.1, reports.2] {
            well(report);
        }
        assert_eq!(values(&lab.lake(&sql), "checked", "n").await, expected);
        assert_eq!(values(&lab.lake(&sql), "checked__quarantine", "n").await.len(), expected.len());
        assert_eq!(values(&lab.lake(&sql), "copies", "n").await.len(), 2 * expected.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_reads_what_compaction_has_replaced_meanwhile() {
    let sql =
        "CREATE STREAMING TABLE numbers AS SELECT n FROM STREAM read_files('in', format => 'json', schema => 'n INT');
               CREATE STREAMING TABLE copied AS SELECT n FROM STREAM numbers";
    let lab = Lab::new();
    let land = async |n: u32| {
        lab.arrive(&format!("{n}.json"), format!("{{\"n\": {n}}}"));
        tick(&lab.lake(sql), FunctionKind::BronzeFiles).await;
    };
    land(10).await;
    update(&lab.lake(sql)).await;
    for n in 11..31 {
        land(n).await;
        if n % 9 == 0 {
            assert_eq!(commits(&tick(&lab.lake(sql), FunctionKind::Compact).await), 1);
        }
    }
    let lake = lab.lake(sql);
    update(&lake).await;
    assert_eq!(values(&lake, "copied", "n").await, (10..31).map(|n| n.to_string()).collect::<Vec<_>>());
}
