//! Quarantined rows go back through their flow: each once, whatever dies and however often.

use std::sync::Arc;

use headwater_core::name::DatasetName;
use headwater_core::trigger::Message;
use headwater_lake::flow::{Redrive, Redriven};
use headwater_lake::lake::Lake;
use headwater_lake::table::DataFile;
use headwater_testkit::fault_store::{Fault, FaultStore};

use crate::filters::data_files;
use crate::lakes::{Lab, contents, deliver, lake_of, message, pipeline, until_death, update, values, well};

const STRICT: &str = "CREATE STREAMING TABLE t (CONSTRAINT short EXPECT (length(id) < 2) ON VIOLATION DROP ROW)
  AS SELECT id, CAST(n AS STRING) AS n FROM STREAM read_events('events', format => 'json', schema => 'id STRING, n INT');";

/// Longer ids and larger numbers pass.
const MENDED: &str = "CREATE STREAMING TABLE t (CONSTRAINT short EXPECT (length(id) < 4) ON VIOLATION DROP ROW)
  AS SELECT id, CAST(n AS STRING) AS n FROM STREAM read_events('events', format => 'json', schema => 'id STRING, n BIGINT');";

fn messages() -> Vec<Message> {
    let bodies = [
        "{\"id\":\"a\",\"n\":1}",
        "{\"id\":\"bb\",\"n\":2}",
        "{\"id\":\"c\",\"n\":99999999999}",
        "no json",
        "{\"id\":\"eeeeee\",\"n\":5}",
    ];
    (1..).zip(bodies).map(|(id, body)| message(&format!("m{id}"), body, 1)).collect()
}

async fn quarantined() -> Lab {
    let lab = Lab::new();
    well(deliver(&lab.lake(STRICT), messages()).await);
    lab
}

async fn redrive(lake: &Lake, wanted: &Redrive) -> Redriven {
    lake.redrive(&DatasetName::new("t"), wanted).await.unwrap()
}

async fn ids(lake: &Lake) -> Vec<String> {
    values(lake, "t", "id").await
}

#[tokio::test]
async fn what_passes_now_is_returned_and_the_rest_says_why_it_stays() {
    let lab = quarantined().await;
    let lake = lab.lake(MENDED);
    assert_eq!(ids(&lake).await, ["a"]);
    let before = contents(&lake).await;
    let told = redrive(&lake, &Redrive { dry_run: true, ..Redrive::default() }).await;
    assert_eq!(contents(&lake).await, before, "a dry run changes nothing");
    let done = redrive(&lake, &Redrive::default()).await;
    assert_eq!(done, told);
    assert_eq!((done.returned, done.written, done.duplicate), (2, 2, 0));
    assert_eq!(done.staying.values().sum::<u64>(), 2, "{:?}", done.staying);
    assert_eq!(done.staying.get("short"), Some(&1));
    insta::assert_snapshot!(contents(&lake).await.into_values().flatten().map(unmarked).collect::<Vec<_>>().join("\n"));
    let again = redrive(&lab.lake(MENDED), &Redrive::default()).await;
    assert_eq!((again.returned, again.written), (0, 0));
    assert_eq!(ids(&lake).await, ["a", "bb", "c"]);
    well(deliver(&lake, messages().into_iter().map(|message| Message { receive_count: 2, ..message }).collect()).await);
    assert_eq!(ids(&lake).await, ["a", "bb", "c"], "what came again is known");
}

/// The id of a redrive is another one each time.
fn unmarked(row: String) -> String {
    row.split(" | ")
        .map(|part| if part.starts_with("_returned=") { "_returned" } else { part })
        .collect::<Vec<_>>()
        .join(" | ")
}

#[tokio::test]
async fn small_files_of_a_quarantine_are_looked_at_together_and_become_one() {
    let lab = Lab::new();
    for message in messages() {
        well(deliver(&lab.lake(STRICT), vec![message]).await);
    }
    assert_eq!(data_files(&lab, "bronze/t__quarantine").await.len(), 4);
    let done = redrive(&lab.lake(MENDED), &Redrive::default()).await;
    assert_eq!((done.returned, done.staying.values().sum()), (2, 2));
    let table = lab.lake(MENDED).table(&DatasetName::new("t").quarantine()).await.unwrap().unwrap();
    let files = table.files().await.unwrap();
    assert_eq!(files.iter().map(DataFile::num_records).collect::<Vec<_>>(), [Some(4)]);
    assert_eq!(ids(&lab.lake(MENDED)).await, ["a", "bb", "c"]);
    assert_eq!(redrive(&lab.lake(MENDED), &Redrive::default()).await.returned, 0);
}

#[tokio::test]
async fn what_marks_tell_of_a_file_is_asked_once_for_all_of_its_rows() {
    const LINES: u64 = 400;
    let sql = "CREATE STREAMING TABLE t (CONSTRAINT few EXPECT (n < 2) ON VIOLATION DROP ROW)
      AS SELECT n FROM STREAM read_files('in', format => 'json', schema => 'n INT');";
    let lab = Lab::new();
    lab.arrive("0.json", (0..LINES).map(|n| format!("{{\"n\": {n}}}")).collect::<Vec<_>>().join("\n"));
    let mut pipeline = pipeline(sql);
    pipeline.settings.max_batch_bytes = 1_000;
    update(&lake_of(&pipeline, lab.folder.path(), Arc::new(lab.store.clone()))).await;
    let (lake, faults) = lab.faulty_lake(&sql.replace("n < 2", "n < 300"));
    let before = faults.counts().total();
    let done = redrive(&lake, &Redrive::default()).await;
    assert_eq!((done.returned, done.staying.get("few")), (298, Some(&100)));
    let asked = faults.counts().total() - before;
    assert!(asked < LINES / 2, "storage was asked {asked} times for {LINES} rows");
}

#[tokio::test]
async fn a_part_can_be_chosen() {
    let lab = quarantined().await;
    let lake = lab.lake(MENDED);
    let later = Redrive { since: Some(chrono::Utc::now() + chrono::Duration::hours(1)), ..Redrive::default() };
    assert_eq!(redrive(&lake, &later).await, Redriven::default());
    let short = Redrive { reason: Some("short".into()), ..Redrive::default() };
    assert_eq!(redrive(&lake, &short).await.returned, 1);
    assert_eq!(ids(&lake).await, ["a", "bb"]);
    assert_eq!(redrive(&lake, &Redrive::default()).await.returned, 1);
    assert_eq!(ids(&lake).await, ["a", "bb", "c"]);
}

async fn interrupted(fault: impl Fn(&FaultStore, u64)) {
    for at in 0.. {
        let lab = quarantined().await;
        let (lake, faults) = lab.faulty_lake(MENDED);
        ids(&lake).await;
        fault(&faults, at);
        let before = faults.counts().writes();
        let work = async {
            let _ = lake.redrive(&DatasetName::new("t"), &Redrive::default()).await;
            headwater_core::report::Report::default()
        };
        Box::pin(until_death(&faults, work)).await;
        let changes = faults.counts().writes() - before;
        faults.restart();
        faults.land_late().await;
        for _ in 0..2 {
            redrive(&lab.lake(MENDED), &Redrive::default()).await;
            assert_eq!(ids(&lab.lake(MENDED)).await, ["a", "bb", "c"], "after {at} changes");
        }
        if changes <= at {
            assert!(at >= 4, "a redrive writes two files and two commits, not {at}");
            return;
        }
    }
}

#[tokio::test]
async fn a_death_after_any_write_loses_nothing_and_doubles_nothing() {
    Box::pin(interrupted(|faults, at| faults.crash_after(at))).await;
}

#[tokio::test]
async fn a_lost_answer_loses_nothing_and_doubles_nothing() {
    Box::pin(interrupted(|faults, at| faults.fail_after(at, Fault::Lost))).await;
}

#[tokio::test]
async fn redrives_at_once_return_each_row_once() {
    let lab = quarantined().await;
    let lakes = [lab.lake(MENDED), lab.lake(MENDED), lab.lake(MENDED)];
    let [one, two, three] = &lakes;
    let wanted = Redrive::default();
    let done = tokio::join!(redrive(one, &wanted), redrive(two, &wanted), redrive(three, &wanted));
    assert_eq!(done.0.returned + done.1.returned + done.2.returned, 2, "{done:?}");
    assert_eq!(ids(&lab.lake(MENDED)).await, ["a", "bb", "c"]);
}

#[tokio::test]
async fn a_file_whose_batch_died_is_not_taken_for_landed() {
    let silver = |length: u32| {
        format!(
            "CREATE STREAMING TABLE t (CONSTRAINT short EXPECT (length(id) < {length}) ON VIOLATION DROP ROW)
             AS SELECT id FROM STREAM read_files('in', format => 'json', schema => 'id STRING');
             CREATE STREAMING TABLE s (CONSTRAINT shorter EXPECT (length(id) < {length} - 1) ON VIOLATION DROP ROW)
             AS SELECT id FROM STREAM t;"
        )
    };
    for at in 0.. {
        let lab = Lab::new();
        lab.arrive("a.ndjson", "{\"id\":\"a\"}\n{\"id\":\"bbb\"}\n{\"id\":\"cc\"}\n");
        let (lake, faults) = lab.faulty_lake(&silver(3));
        faults.crash_after(at);
        until_death(&faults, crate::lakes::try_update(&lake)).await;
        let ended = !faults.has_crashed();
        let mended = lab.lake(&silver(5));
        for table in ["t", "s"] {
            mended.redrive(&DatasetName::new(table), &Redrive::default()).await.unwrap();
        }
        update(&lab.lake(&silver(3))).await;
        let mended = lab.lake(&silver(5));
        for table in ["t", "s", "t"] {
            mended.redrive(&DatasetName::new(table), &Redrive::default()).await.unwrap();
        }
        update(&mended).await;
        assert_eq!(values(&mended, "t", "id").await, ["a", "bbb", "cc"], "after {at}");
        assert_eq!(values(&mended, "s", "id").await, ["a", "bbb", "cc"], "after {at}");
        if ended {
            return;
        }
    }
}

#[tokio::test]
async fn messages_that_may_come_again_keep_their_rows_in_quarantine() {
    let lab = quarantined().await;
    let lake = lab.lake(MENDED);
    let done = redrive(&lake, &Redrive { messages_wait: true, ..Redrive::default() }).await;
    assert_eq!(done.returned, 0);
    assert_eq!(ids(&lake).await, ["a"]);
}

#[tokio::test]
async fn a_key_that_the_table_has_is_returned_as_a_duplicate() {
    let keyed = |length: u32| {
        format!(
            "CREATE STREAMING TABLE t (CONSTRAINT small EXPECT (n < {length}) ON VIOLATION DROP ROW)
             TBLPROPERTIES ('headwater.dedup.keys' = 'id')
             AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'id STRING, n INT');"
        )
    };
    let lab = Lab::new();
    let bodies =
        ["{\"id\":\"a\",\"n\":1}", "{\"id\":\"a\",\"n\":8}", "{\"id\":\"b\",\"n\":9}", "{\"id\":\"b\",\"n\":7}"];
    let messages = (1..).zip(bodies).map(|(id, body)| message(&format!("m{id}"), body, 1)).collect();
    well(deliver(&lab.lake(&keyed(5)), messages).await);
    let done = redrive(&lab.lake(&keyed(10)), &Redrive::default()).await;
    assert_eq!((done.returned, done.written, done.duplicate), (3, 1, 2));
    assert_eq!(ids(&lab.lake(&keyed(10))).await, ["a", "b"]);
}

#[tokio::test]
async fn a_record_whose_header_is_gone_stays() {
    let csv = |columns: &str| {
        format!(
            "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'csv', header => true,
               schema => '{columns}');"
        )
    };
    let lab = Lab::new();
    lab.arrive("a.csv", "n,id\n1,a\n99999999999,b\n");
    update(&lab.lake(&csv("id STRING, n INT"))).await;
    let done = redrive(&lab.lake(&csv("id STRING, n BIGINT")), &Redrive::default()).await;
    assert_eq!((done.returned, done.staying.values().sum::<u64>()), (0, 1), "{done:?}");
}

#[tokio::test]
async fn a_view_judges_its_rows_itself() {
    let lab = Lab::new();
    let lake = lab.lake(&format!("{STRICT} CREATE MATERIALIZED VIEW v AS SELECT id FROM t;"));
    let refused = lake.redrive(&DatasetName::new("v"), &Redrive::default()).await.unwrap_err();
    assert!(refused.to_string().contains("name a streaming table"), "{refused}");
}
