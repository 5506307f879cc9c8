//! A row is judged once: what a dead batch has put aside stays there, whatever it would be judged by now. And a
//! stream keeps up with a source that gets commits without rows.

use headwater_core::name::{DatasetName, FlowName};
use headwater_runtime::local::FunctionKind;

use crate::lakes::{Lab, commits, tick, until_death, update, values, well};

fn sql(rule: &str) -> String {
    format!(
        "CREATE STREAMING TABLE numbers AS
           SELECT * FROM STREAM read_files('in/numbers', format => 'json', schema => 'n INT, k STRING');
         CREATE STREAMING TABLE kinds AS
           SELECT * FROM STREAM read_files('in/kinds', format => 'json', schema => 'k STRING, name STRING');
         CREATE STREAMING TABLE checked (CONSTRAINT fine EXPECT ({rule}) ON VIOLATION DROP ROW) AS
           SELECT n.n, k.name FROM STREAM(numbers) n LEFT JOIN kinds k ON n.k = k.k"
    )
}

/// Silver dies at each of its operations; then the rule and the joined table change, and a new process goes on.
async fn each_row_is_in_one_place(first: &str, then: &str) {
    let lab = Lab::new();
    lab.arrive("numbers/a.json", "{\"n\": 1, \"k\": \"a\"}\n{\"n\": -2, \"k\": \"b\"}\n{\"n\": 3, \"k\": \"b\"}\n");
    lab.arrive("kinds/a.json", "{\"k\": \"a\", \"name\": \"first\"}\n");
    well(tick(&lab.lake(&sql(first)), FunctionKind::BronzeFiles).await);
    let base = lab.store.fork();
    let mut aside = 0;
    for operation in 0.. {
        let lab = Lab { folder: tempfile::tempdir().unwrap(), store: base.fork() };
        let (lake, faults) = lab.faulty_lake(&sql(first));
        faults.crash_after(operation);
        until_death(&faults, tick(&lake, FunctionKind::Silver)).await;
        let died = faults.counts().writes() > operation;
        std::fs::create_dir_all(lab.folder.path().join("in/numbers")).unwrap();
        lab.arrive("kinds/b.json", "{\"k\": \"b\", \"name\": \"second\"}\n");
        let lake = lab.lake(&sql(then));
        aside += values(&lake, "checked__quarantine", "n").await.len();
        well(tick(&lake, FunctionKind::BronzeFiles).await);
        well(tick(&lake, FunctionKind::Silver).await);
        let mut all = values(&lake, "checked", "n").await;
        all.extend(values(&lake, "checked__quarantine", "n").await);
        all.sort_unstable();
        assert_eq!(all, ["-2", "1", "3"], "died at operation {operation}");
        if !died {
            break;
        }
    }
    assert!(aside > 0, "it never died between the two commits");
}

#[tokio::test]
async fn a_row_that_was_quarantined_stays_there_though_it_would_pass_now() {
    each_row_is_in_one_place("n > 0", "n > -100").await;
}

#[tokio::test]
async fn a_batch_that_died_is_joined_with_what_it_was_joined_with() {
    each_row_is_in_one_place("name IS NOT NULL", "name IS NOT NULL").await;
}

#[tokio::test]
async fn a_stream_notes_what_it_has_seen_of_a_source_without_new_rows() {
    let lab = Lab::new();
    let sql = sql("n > 0");
    lab.arrive("numbers/a.json", "{\"n\": 1}\n");
    lab.arrive("kinds/a.json", "{\"k\": \"a\", \"name\": \"first\"}\n");
    update(&lab.lake(&sql)).await;
    let read = async || {
        let checked = lab.lake(&sql).table(&DatasetName::new("checked")).await.unwrap().unwrap();
        checked.transaction(&FlowName::new("checked").app_id("p")).await.unwrap()
    };
    for idle in 1..=25 {
        lab.arrive(&format!("numbers/empty-{idle}.json"), "");
        well(tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await);
        let report = well(tick(&lab.lake(&sql), FunctionKind::Silver).await);
        assert_eq!(commits(&report), usize::from(idle % 10 == 0), "after {idle} commits without rows");
        assert_eq!(read().await, Some(idle / 10 * 10));
    }
    lab.arrive("numbers/b.json", "{\"n\": 2}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(values(&lab.lake(&sql), "checked", "n").await, ["1", "2"]);
}
