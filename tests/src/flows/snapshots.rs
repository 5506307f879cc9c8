//! Tables kept by snapshots, and changes that are applied one time.

use headwater_core::name::DatasetName;
use headwater_core::report::ChangeCounts;
use headwater_runtime::local::FunctionKind;

use super::crashes::{NO_MESSAGES, Round, Scenario};
use crate::lakes::{Lab, rows, tick, update, values, well};

/// Dumps of a table, a day each; that of the second day comes late, and says nothing.
const DUMPS: &[Round] = &[
    Round { files: &[("1.csv", "id,name,n,day\n1,a,1,1\n2,b,2,1\n3,c,3,1\n")], messages: NO_MESSAGES },
    Round {
        files: &[
            ("3.csv", "id,name,n,day\n1,a,1,3\n3,c,30,3\n4,d,4,3\n,nobody,0,3\n"),
            ("4.csv", "id,name,n,day\n1,a,1,4\n2,b,2,4\n3,c,30,4\n5,e,,4\n"),
        ],
        messages: NO_MESSAGES,
    },
    Round {
        files: &[
            ("2.csv", "id,name,n,day\n9,late,9,2\n"),
            ("5.csv", "id,name,n,day\n1,a,1,5\n2,b,2,5\n3,c,30,5\n5,e,,5\n"),
        ],
        messages: NO_MESSAGES,
    },
];

fn kept_by(clauses: &str) -> &'static str {
    let sql = format!(
        "CREATE STREAMING TABLE t;
        CREATE FLOW f AS AUTO CDC INTO t FROM SNAPSHOT (read_files('in', format => 'csv', header => true,
          schema => 'id INT, name STRING, n INT, day INT')) KEYS (id) SEQUENCE BY day COLUMNS * EXCEPT (day) {clauses}"
    );
    sql.leak()
}

const LAST: [&str; 4] = ["id=1 | name=a | n=1", "id=2 | name=b | n=2", "id=3 | name=c | n=30", "id=5 | name=e"];

const STATES: [&str; 7] = [
    "id=1 | name=a | n=1 | __START_AT=1",
    "id=2 | name=b | n=2 | __START_AT=1 | __END_AT=3",
    "id=2 | name=b | n=2 | __START_AT=4",
    "id=3 | name=c | n=3 | __START_AT=1 | __END_AT=3",
    "id=3 | name=c | n=30 | __START_AT=3",
    "id=4 | name=d | n=4 | __START_AT=3 | __END_AT=4",
    "id=5 | name=e | __START_AT=4",
];

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_keep_the_last_state_once() {
    let lake = Scenario { sql: kept_by(""), tried: FunctionKind::Silver, rounds: DUMPS }.holds().await;
    assert_eq!(rows(&lake, &DatasetName::new("t")).await, LAST);
    assert_eq!(values(&lake, "t__quarantine", "name").await, ["nobody"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_keep_every_state_once() {
    let sql = kept_by("STORED AS SCD TYPE 2");
    let lake = Scenario { sql, tried: FunctionKind::Silver, rounds: DUMPS }.holds().await;
    assert_eq!(rows(&lake, &DatasetName::new("t")).await, STATES);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_applied() {
    let lab = Lab::new();
    let mut counts = Vec::new();
    for round in DUMPS {
        for (name, text) in round.files {
            lab.arrive(name, text);
        }
        let report = update(&lab.lake(kept_by(""))).await;
        let of_round = report.flows.iter().filter_map(|flow| flow.changes);
        counts.push(of_round.fold(ChangeCounts::default(), ChangeCounts::plus));
    }
    let count = |upserted, deleted, stale, tombstones| ChangeCounts { upserted, deleted, stale, tombstones };
    assert_eq!(counts[0], count(3, 0, 0, 0));
    assert_eq!((counts[1].upserted, counts[1].deleted), (3, 0), "{:?}", counts[1]);
    assert_eq!(counts[2], count(0, 0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sequence_snapshots_come_in_the_order_of_their_paths() {
    let sql = "CREATE STREAMING TABLE t;
        CREATE FLOW f AS AUTO CDC INTO t FROM SNAPSHOT (read_files('in', format => 'json', schema => 'id INT, n INT')) KEYS (id)";
    let lab = Lab::new();
    lab.arrive("day=1/all.json", "{\"id\": 1, \"n\": 1}\n{\"id\": 2, \"n\": 1}\n");
    lab.arrive("day=2/all.json", "{\"id\": 1, \"n\": 2}\n{\"id\": 3, \"n\": 2}\n");
    update(&lab.lake(sql)).await;
    assert_eq!(rows(&lab.lake(sql), &DatasetName::new("t")).await, ["id=1 | n=2", "id=3 | n=2"]);
    lab.arrive("day=3/all.json", "{\"id\": 3, \"n\": 2}\n");
    update(&lab.lake(sql)).await;
    assert_eq!(rows(&lab.lake(sql), &DatasetName::new("t")).await, ["id=3 | n=2"]);
}

/// A table of changes is filled from the past one time, and by a stream from then on.
const ONCE: &str = "
    CREATE STREAMING TABLE past AS SELECT * FROM STREAM read_files('in', format => 'json', pathGlobFilter => 'past*', schema => 'id INT, n INT, seq INT');
    CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', pathGlobFilter => 'now*', schema => 'id INT, n INT, seq INT');
    CREATE STREAMING TABLE t;
    CREATE FLOW backfill AS AUTO CDC ONCE INTO t FROM past KEYS (id) SEQUENCE BY seq COLUMNS * EXCEPT (seq);
    CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) SEQUENCE BY seq COLUMNS * EXCEPT (seq)";

const PAST_AND_NOW: &[Round] = &[
    Round {
        files: &[
            ("past_a.json", "{\"id\": 1, \"n\": 1, \"seq\": 1}\n{\"id\": 2, \"n\": 2, \"seq\": 9}\n"),
            ("now_a.json", "{\"id\": 2, \"n\": 20, \"seq\": 5}\n{\"id\": 3, \"n\": 30, \"seq\": 5}\n"),
        ],
        messages: NO_MESSAGES,
    },
    Round {
        files: &[
            ("past_b.json", "{\"id\": 4, \"n\": 4, \"seq\": 1}\n"),
            ("now_b.json", "{\"id\": 1, \"n\": 10, \"seq\": 2}\n"),
        ],
        messages: NO_MESSAGES,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_applied_once() {
    let lake = Scenario { sql: ONCE, tried: FunctionKind::Silver, rounds: PAST_AND_NOW }.holds().await;
    assert_eq!(rows(&lake, &DatasetName::new("t")).await, ["id=1 | n=10", "id=2 | n=2", "id=3 | n=30"]);
    lake.full_refresh(&DatasetName::new("t")).await.unwrap();
    well(tick(&lake, FunctionKind::Silver).await);
    assert_eq!(rows(&lake, &DatasetName::new("t")).await, ["id=1 | n=10", "id=2 | n=2", "id=3 | n=30", "id=4 | n=4"]);
}
