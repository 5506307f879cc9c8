//! Which files are landed, when again, with which columns from their paths, and what becomes of them.

use std::time::{Duration, SystemTime};

use arrow::array::{AsArray, RecordBatch};
use headwater_core::name::DatasetName;
use headwater_runtime::local::FunctionKind;

use crate::lakes::{Lab, commits, rows, tick, update, values, well};

const DAY: Duration = Duration::from_secs(86_400);

fn table(options: &str) -> String {
    format!("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json'{options})")
}

fn line(n: u32) -> String {
    format!("{{\"n\":{n}}}\n")
}

/// Lets a file arrive that was written so long ago.
fn arrive(lab: &Lab, name: &str, content: &str, ago: Duration) {
    lab.arrive(name, content);
    let path = lab.folder.path().join("in").join(name);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - ago).unwrap();
}

fn is_there(lab: &Lab, path: &str) -> bool {
    lab.folder.path().join(path).exists()
}

#[tokio::test]
async fn only_files_of_the_time_and_name_that_are_asked_for_are_landed() {
    let lab = Lab::new();
    arrive(&lab, "old.json", &line(1), 40 * DAY);
    arrive(&lab, "mid.json", &line(2), 20 * DAY);
    arrive(&lab, "new.json", &line(3), Duration::ZERO);
    arrive(&lab, "mid.txt", &line(4), 20 * DAY);
    let at = |ago: Duration| chrono::DateTime::<chrono::Utc>::from(SystemTime::now() - ago).to_rfc3339();
    let options = format!(
        ", modifiedAfter => '{}', modifiedBefore => '{}', pathGlobFilter => '*.json'",
        at(30 * DAY),
        at(10 * DAY)
    );
    let lake = lab.lake(&table(&options));
    update(&lake).await;
    assert_eq!(values(&lake, "t", "n").await, ["2"]);
}

/// The states of all files of which something is told.
async fn states(lab: &Lab, sql: &str) -> Vec<String> {
    let view = "CREATE MATERIALIZED VIEW q AS SELECT ingestion_state FROM cloud_files_state('t')";
    let lake = lab.lake(&format!("{sql}; {view}"));
    let (_, batches) = lake.query(&DatasetName::new("q"), None, None).await.unwrap();
    let of_batch = |batch: &RecordBatch| {
        let states = batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned);
        states.collect::<Vec<_>>()
    };
    batches.iter().flat_map(of_batch).collect()
}

#[tokio::test]
async fn files_from_before_the_first_run_stay_out_when_asked_even_when_nothing_waits_then() {
    let sql = table(", includeExistingFiles => false");
    for existing in [true, false] {
        let lab = Lab::new();
        if existing {
            arrive(&lab, "old.json", &line(1), DAY);
        }
        let lake = lab.lake(&sql);
        well(tick(&lake, FunctionKind::BronzeFiles).await);
        assert!(lake.table(&DatasetName::new("t")).await.unwrap().is_none(), "nothing was landed");
        assert_eq!(states(&lab, &sql).await, [""; 0], "what stays out doesn't wait");
        arrive(&lab, "late.json", &line(2), DAY);
        arrive(&lab, "new.json", &line(3), Duration::ZERO);
        assert_eq!(states(&lab, &sql).await, ["WAITING"]);
        let lake = lab.lake(&sql);
        update(&lake).await;
        assert_eq!(values(&lake, "t", "n").await, ["3"]);
        assert_eq!(states(&lab, &sql).await, ["INGESTED"]);
        assert_eq!(commits(&update(&lake).await), 0);
    }
}

#[tokio::test]
async fn a_file_that_is_written_again_is_landed_again_only_when_asked() {
    for (options, wanted) in [("", vec!["1"]), (", allowOverwrites => true", vec!["1", "2"])] {
        let lab = Lab::new();
        arrive(&lab, "a.json", &line(1), DAY);
        arrive(&lab, "empty.json", "", DAY);
        update(&lab.lake(&table(options))).await;
        assert_eq!(commits(&update(&lab.lake(&table(options))).await), 0, "{options}");
        arrive(&lab, "a.json", &line(2), Duration::ZERO);
        let lake = lab.lake(&table(options));
        update(&lake).await;
        assert_eq!(values(&lake, "t", "n").await, wanted, "{options}");
        assert_eq!(commits(&update(&lab.lake(&table(options))).await), 0, "{options}");
        arrive(&lab, "empty.json", &line(3), Duration::ZERO);
        update(&lake).await;
        assert_eq!(values(&lake, "t", "n").await.contains(&"3".to_owned()), !options.is_empty(), "{options}");
    }
}

#[tokio::test]
async fn folders_of_hive_are_columns() {
    let lab = Lab::new();
    lab.arrive("year=2026/day=2026-01-02/a.json", line(1));
    lab.arrive("year=2027/day=__HIVE_DEFAULT_PARTITION__/b.json", line(2));
    lab.arrive("year=2027/day=2026-01-03/c.json", "{\"n\":3,\"year\":1}\n");
    let lake = lab.lake(&table(""));
    update(&lake).await;
    let found = rows(&lake, &DatasetName::new("t")).await;
    assert!(found[0].starts_with("n=1 | day=2026-01-02 | year=2026 |"), "{found:?}");
    assert!(found[1].starts_with("n=2 | year=2027 |"), "{found:?}");
    assert!(found[2].starts_with("n=3 | day=2026-01-03 | year=2027 |"), "{found:?}");

    lab.arrive("year=last/day=2026-01-04/d.json", line(4));
    update(&lake).await;
    let told = values(&lake, "t__quarantine", "_headwater.reasons").await;
    assert!(told.len() == 1 && told[0].contains("folder `year=…` doesn't fit column `year`"), "{told:?}");

    let lab = Lab::new();
    lab.arrive("year=2026/city=K%C3%B6ln/a.json", line(1));
    let lake = lab.lake(&table(", partitionColumns => 'city'"));
    update(&lake).await;
    assert!(rows(&lake, &DatasetName::new("t")).await[0].starts_with("n=1 | city=Köln | _metadata"));
}

#[tokio::test]
async fn a_query_may_ask_where_in_its_file_a_row_stood() {
    let lab = Lab::new();
    lab.arrive("a.json", line(7) + &line(8));
    let sql = "CREATE STREAMING TABLE t AS SELECT n, _metadata.file_name AS f, _metadata.file_size AS s,
        _metadata.file_block_start AS b, _metadata.file_block_length AS l, _metadata.row_index AS i
        FROM STREAM read_files('in', format => 'json')";
    let lake = lab.lake(sql);
    update(&lake).await;
    let found = rows(&lake, &DatasetName::new("t")).await;
    assert!(found[0].starts_with("n=7 | f=a.json | s=16 | b=0 | l=16 | i=0 | _metadata.file_path"), "{found:?}");
    assert!(found[1].contains(" | i=1 |") && !found[1].contains("_metadata.row_index"), "{found:?}");
}

#[tokio::test]
async fn landed_files_are_moved_or_deleted_once_they_are_old_enough_and_others_stay() {
    let move_all =
        ", cleanSource => 'MOVE', cleanSource.moveDestination => 'done%41', cleanSource.retentionDuration => '0 days'";
    let move_old = ", cleanSource => 'MOVE', cleanSource.moveDestination => 'done'";
    let lab = Lab::new();
    arrive(&lab, "x=1/a.json", &line(1), DAY);
    arrive(&lab, "bad.json", "{", DAY);
    update(&lab.lake(&table(move_old))).await;
    assert!(is_there(&lab, "in/x=1/a.json") && !is_there(&lab, "done/x=1/a.json"), "not landed for long enough");
    let lake = lab.lake(&table(move_all));
    update(&lake).await;
    assert!(!is_there(&lab, "in/x=1/a.json") && is_there(&lab, "done%41/x=1/a.json"));
    assert!(is_there(&lab, "in/bad.json"), "what is in quarantine stays to be looked at");
    arrive(&lab, "x=1/a.json", &line(2), Duration::ZERO);
    update(&lake).await;
    assert!(is_there(&lab, "in/x=1/a.json"), "it isn't the file that was landed");
    assert_eq!(values(&lake, "t", "n").await, ["1"]);

    // By its whole path, of which only the run knows that it is below the source.
    let below = format!(
        ", cleanSource => 'MOVE', cleanSource.moveDestination => '{}/in/done', cleanSource.retentionDuration => '0 days'",
        lab.folder.path().display()
    );
    arrive(&lab, "b.json", &line(3), DAY);
    update(&lab.lake(&table(&below))).await;
    assert!(is_there(&lab, "in/b.json"), "a folder below the source would be landed again");
    let delete = ", cleanSource => 'DELETE', cleanSource.retentionDuration => '8 days'";
    update(&lab.lake(&table(delete))).await;
    assert!(is_there(&lab, "in/b.json"), "landed today");
}

#[tokio::test]
async fn a_query_tells_which_files_are_in_wait_or_failed_and_why() {
    let lab = Lab::new();
    let sql = table(", schema => 'n INT', modifiedBefore => '2100-01-01'");
    lab.arrive("a.json", line(1) + "{\"n\":\"x\"}\n" + &line(2));
    lab.arrive("bad.json", "{");
    lab.arrive("empty.json", "");
    update(&lab.lake(&sql)).await;
    lab.arrive("later.json", line(3));
    for function in ["cloud_files_state('t')", "cloud_files_state(TABLE(t))"] {
        let asked = format!(
            "{sql}; CREATE MATERIALIZED VIEW q AS SELECT split_part(path, '/in/', 2) AS f, ingestion_state, rows,
                rows_quarantined, reason IS NOT NULL AS told, flow_name, commit_time IS NOT NULL AS at
            FROM {function} ORDER BY f"
        );
        let lake = lab.lake(&asked);
        let (_, batches) = lake.query(&DatasetName::new("q"), None, None).await.unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        let rows: Vec<String> = shown.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
        let wanted = [
            "|a.json|INGESTED|2|1|true|t|true|",
            "|bad.json|QUARANTINED|0|1|true|t|false|",
            "|empty.json|EMPTY|0|0|false|t|false|",
            "|later.json|WAITING|0|0|false|t|false|",
        ];
        assert_eq!(rows[..4], wanted, "{shown}");
        let report = tick(&lake, FunctionKind::Gold).await;
        let told = format!("{report:?}");
        assert!(told.contains("can't be kept of cloud_files_state"), "{told}");
    }
}
