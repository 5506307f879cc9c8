//! The commit protocol: who wins a race, what becomes of who doesn't, and unknown outcomes.
//!
//! The first two tests show with delta-rs's own operations why the protocol has a loop of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use deltalake::protocol::SaveMode;
use headwater_core::error::ErrorKind;
use headwater_core::report::Outcome;
use headwater_lake::commit::{Change, CommitOutcome, SchemaChange, commit};
use headwater_lake::storage::Storage;
use headwater_lake::table::Table;
use headwater_testkit::fault_store::{Fault, Operation};
use object_store::ObjectStoreExt;

use crate::tables::{
    NUMBERS, Steps, append_of, committed, compaction_of, creation, faulty, log_entry, nothing, numbers, on_disk, open,
    out_of_time, overwrite_of, patient, places, put, redone, rows, rows_of, schema, table_of, with_delta_rs, write,
};

const REMOVED: &str = "a file to be removed was removed by another commit";

#[tokio::test]
async fn delta_rs_lets_two_compactions_double_rows() {
    for place in places() {
        table_of(&place.storage, [0, 1]).await;
        let (first, second) =
            (with_delta_rs(&place.storage, NUMBERS).await, with_delta_rs(&place.storage, NUMBERS).await);
        first.optimize().await.unwrap();
        second.optimize().await.unwrap();
        assert_eq!(rows(&place.storage).await, [0, 0, 1, 1]);
    }
}

#[tokio::test]
async fn delta_rs_lets_a_compaction_save_rows_from_an_overwrite() {
    for place in places() {
        table_of(&place.storage, [0, 1]).await;
        let (first, second) =
            (with_delta_rs(&place.storage, NUMBERS).await, with_delta_rs(&place.storage, NUMBERS).await);
        first.optimize().await.unwrap();
        second.write([numbers([99])]).with_save_mode(SaveMode::Overwrite).await.unwrap();
        assert_eq!(rows(&place.storage).await, [0, 1, 99]);
    }
}

#[tokio::test]
async fn of_two_compactions_one_wins() {
    for place in places() {
        let table = table_of(&place.storage, [0, 1]).await;
        let first = compaction_of(&place.storage, &table).await;
        let second = compaction_of(&place.storage, &table).await;
        assert_eq!(committed(put(&place.storage, &table, &first).await), 2);
        assert_eq!(redone(put(&place.storage, &table, &second).await), REMOVED);
        assert_eq!(rows(&place.storage).await, [0, 1]);
    }
}

#[tokio::test]
async fn an_overwrite_after_a_compaction_leaves_nothing_behind() {
    for place in places() {
        let table = table_of(&place.storage, [0, 1]).await;
        let overwrite = overwrite_of(&place.storage, &table, [99]).await;
        committed(put(&place.storage, &table, &compaction_of(&place.storage, &table).await).await);
        assert_eq!(redone(put(&place.storage, &table, &overwrite).await), REMOVED);
        let table = open(&place.storage).await;
        committed(put(&place.storage, &table, &overwrite_of(&place.storage, &table, [99]).await).await);
        assert_eq!(rows(&place.storage).await, [99]);
    }
}

#[tokio::test]
async fn a_compaction_after_an_overwrite_brings_nothing_back() {
    for place in places() {
        let table = table_of(&place.storage, [0, 1]).await;
        let compaction = compaction_of(&place.storage, &table).await;
        committed(put(&place.storage, &table, &overwrite_of(&place.storage, &table, [99]).await).await);
        assert_eq!(redone(put(&place.storage, &table, &compaction).await), REMOVED);
        assert_eq!(rows(&place.storage).await, [99]);
    }
}

#[tokio::test]
async fn an_append_and_a_compaction_both_win_in_both_orders() {
    for place in places() {
        for append_first in [true, false] {
            let table = table_of(&place.storage, [0, 1]).await;
            let before = rows_of(&table).await;
            let append = append_of(&place.storage, [5]).await;
            let compaction = compaction_of(&place.storage, &table).await;
            let (first, second) = if append_first { (&append, &compaction) } else { (&compaction, &append) };
            let version = committed(put(&place.storage, &table, first).await);
            assert_eq!(committed(put(&place.storage, &table, second).await), version + 1);
            assert_eq!(rows(&place.storage).await, [before, vec![5]].concat());
        }
    }
}

#[tokio::test]
async fn a_watermark_never_moves_back() {
    for place in places() {
        let table = table_of(&place.storage, [0]).await;
        for (moved_to, then_at) in [(100, 100), (50, 100), (150, 150)] {
            let append = append_of(&place.storage, [moved_to]).await;
            let change = Change { watermark: Some(("watermark".into(), moved_to)), ..append };
            committed(put(&place.storage, &table, &change).await);
            assert_eq!(open(&place.storage).await.transaction("watermark").await.unwrap(), Some(then_at));
        }
        assert_eq!(rows(&place.storage).await, [0, 50, 100, 150]);
    }
}

#[tokio::test]
async fn an_overwrite_after_an_append_is_computed_again() {
    for place in places() {
        let table = table_of(&place.storage, [0, 1]).await;
        let overwrite = overwrite_of(&place.storage, &table, [99]).await;
        committed(put(&place.storage, &table, &append_of(&place.storage, [5]).await).await);
        redone(put(&place.storage, &table, &overwrite).await);
        assert_eq!(rows(&place.storage).await, [0, 1, 5]);
    }
}

#[tokio::test]
async fn an_append_after_an_overwrite_adds_to_it() {
    for place in places() {
        let table = table_of(&place.storage, [0, 1]).await;
        let append = append_of(&place.storage, [5]).await;
        committed(put(&place.storage, &table, &overwrite_of(&place.storage, &table, [99]).await).await);
        committed(put(&place.storage, &table, &append).await);
        assert_eq!(rows(&place.storage).await, [5, 99]);
    }
}

#[tokio::test]
async fn of_two_overwrites_one_wins() {
    for place in places() {
        let table = table_of(&place.storage, [0, 1]).await;
        let (first, second) =
            (overwrite_of(&place.storage, &table, [98]).await, overwrite_of(&place.storage, &table, [99]).await);
        committed(put(&place.storage, &table, &first).await);
        assert_eq!(redone(put(&place.storage, &table, &second).await), REMOVED);
        assert_eq!(rows(&place.storage).await, [98]);
    }
}

#[tokio::test]
async fn of_two_creators_one_wins() {
    for place in places() {
        let create = |adds| Change { adds, schema: Some(creation()), ..nothing() };
        let first = create(write(&place.storage, [1]).await.unwrap().adds);
        let second = create(write(&place.storage, [2]).await.unwrap().adds);
        assert_eq!(committed(commit(&place.storage, NUMBERS, None, &first, patient()).await.unwrap()), 0);
        redone(commit(&place.storage, NUMBERS, None, &second, patient()).await.unwrap());
        committed(put(&place.storage, &open(&place.storage).await, &Change { schema: None, ..second }).await);
        assert_eq!(rows(&place.storage).await, [1, 2]);
    }
}

#[tokio::test]
async fn an_append_to_a_table_whose_columns_changed_is_computed_again() {
    for place in places() {
        let table = table_of(&place.storage, [0]).await;
        let append = append_of(&place.storage, [1]).await;
        let wider = [schema().field(0).clone(), Field::new("label", DataType::Utf8, true)];
        let schema =
            SchemaChange::SetColumns { schema: Arc::new(Schema::new(wider.to_vec())), configuration: BTreeMap::new() };
        committed(put(&place.storage, &table, &Change { schema: Some(schema), ..nothing() }).await);
        redone(put(&place.storage, &table, &append).await);
        let table = open(&place.storage).await;
        assert_eq!(table.schema().fields().len(), 2);
        committed(put(&place.storage, &table, &append).await);
        assert_eq!(rows(&place.storage).await, [0, 1]);
    }
}

#[tokio::test]
async fn the_same_step_by_two_runs_is_applied_once() {
    for place in places() {
        let table = table_of(&place.storage, [0]).await;
        let step = |change: Change| {
            let mut change = Change { txns: vec![("flow".into(), 7)], ..change };
            change.fence.state = vec![headwater_core::commit::Expected { app_id: "flow".into(), from: None, to: 7 }];
            change
        };
        let (first, second) = (step(append_of(&place.storage, [1]).await), step(append_of(&place.storage, [1]).await));
        committed(put(&place.storage, &table, &first).await);
        let again = put(&place.storage, &table, &second).await;
        assert!(matches!(again, CommitOutcome::AlreadyApplied { version: 1 }), "{again:?}");
        assert_eq!(rows(&place.storage).await, [0, 1]);
        assert_eq!(open(&place.storage).await.transaction("flow").await.unwrap(), Some(7));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_lose_no_append() {
    for place in places() {
        table_of(&place.storage, [0]).await;
        let writers: Vec<_> =
            (0..8).map(|writer| tokio::spawn(append_25(place.storage.clone(), writer * 100))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let mut expected: Vec<i64> = (0..8).flat_map(|writer| (1..=25).map(move |n| writer * 100 + n)).collect();
        expected.insert(0, 0);
        assert_eq!(rows(&place.storage).await, expected);
        assert_eq!(open(&place.storage).await.version(), 200);
    }
}

async fn append_25(storage: Storage, base: i64) {
    let mut table = open(&storage).await;
    for n in 1..=25 {
        committed(put(&storage, &table, &append_of(&storage, [base + n]).await).await);
        table = table.refresh().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let (place, faults) = faulty();
    let table = table_of(&place.storage, [0]).await;
    faults.fail(Operation::Put, &log_entry(1), [Fault::Lost]);
    let outcome = put(&place.storage, &table, &append_of(&place.storage, [1]).await).await;
    assert!(matches!(outcome, CommitOutcome::Committed { version: 1, attempts: 1 }), "{outcome:?}");
    assert_eq!(rows(&place.storage).await, [0, 1]);
    assert_eq!(open(&place.storage).await.version(), 1);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_though_reading_fails_too() {
    let (place, faults) = faulty();
    let table = table_of(&place.storage, [0]).await;
    faults.fail(Operation::Put, &log_entry(1), [Fault::Lost]);
    faults.fail(Operation::Get, &log_entry(1), [Fault::Refused, Fault::Refused]);
    let version = committed(put(&place.storage, &table, &append_of(&place.storage, [1]).await).await);
    assert_eq!((version, rows(&place.storage).await), (1, vec![0, 1]));
}

#[tokio::test]
async fn a_refused_commit_is_tried_again() {
    let (place, faults) = faulty();
    let table = table_of(&place.storage, [0]).await;
    faults.fail(Operation::Put, &log_entry(1), [Fault::Refused, Fault::Refused]);
    let outcome = put(&place.storage, &table, &append_of(&place.storage, [1]).await).await;
    assert!(matches!(outcome, CommitOutcome::Committed { version: 1, attempts: 3 }), "{outcome:?}");
    assert_eq!(rows(&place.storage).await, [0, 1]);
}

#[tokio::test]
async fn a_put_that_lands_late_finds_its_place_taken() {
    let (place, faults) = faulty();
    let table = table_of(&place.storage, [0]).await;
    faults.fail(Operation::Put, &log_entry(1), [Fault::Late]);
    committed(put(&place.storage, &table, &append_of(&place.storage, [1]).await).await);
    assert!(faults.land_late().await.iter().all(Result::is_err));
    assert_eq!(rows(&place.storage).await, [0, 1]);
}

#[tokio::test]
async fn a_put_that_lands_after_its_writer_gave_up_is_seen_by_the_next() {
    let (place, faults) = faulty();
    let steps = Steps { app_id: "flow".into(), first: 0 };
    steps.next(&place.storage).await.unwrap();
    let table = open(&place.storage).await;
    let mut change = append_of(&place.storage, [2]).await;
    change.txns = vec![("flow".into(), 2)];
    faults.fail(Operation::Put, &log_entry(1), [Fault::Late]);
    let outcome = commit(&place.storage, NUMBERS, Some(&table), &change, out_of_time()).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Retryable { .. }), "{outcome:?}");
    assert!(faults.land_late().await.iter().all(Result::is_ok));
    assert_eq!(steps.next(&place.storage).await.unwrap(), 3);
    assert_eq!(rows(&place.storage).await, [1, 2, 3]);
}

#[tokio::test]
async fn an_outage_ends_with_the_deadline_and_loses_nothing() {
    let (place, faults) = faulty();
    let table = table_of(&place.storage, [0]).await;
    let append = append_of(&place.storage, [1]).await;
    faults.crash_after(0);
    let outcome = commit(&place.storage, NUMBERS, Some(&table), &append, out_of_time()).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Retryable { .. }), "{outcome:?}");
    faults.restart();
    committed(put(&place.storage, &table, &append).await);
    assert_eq!(rows(&place.storage).await, [0, 1]);
}

#[tokio::test]
async fn a_commit_that_may_not_be_is_not_tried_again() {
    let (place, faults) = faulty();
    let table = table_of(&place.storage, [0]).await;
    let append = append_of(&place.storage, [1]).await;
    faults.fail(Operation::Put, &log_entry(1), [Fault::Forbidden]);
    let error = commit(&place.storage, NUMBERS, Some(&table), &append, patient()).await.unwrap_err();
    assert!(error.to_string().contains("permissions"), "{error}");
    assert_eq!(rows(&place.storage).await, [0]);
}

#[tokio::test]
async fn the_hot_path_neither_lists_nor_reads() {
    let (place, faults) = faulty();
    let storage = place.storage.remembering();
    let table = table_of(&storage, [0]).await;
    let append = append_of(&storage, [1]).await;
    let before = faults.counts();
    committed(put(&storage, &table, &append).await);
    let after = faults.counts();
    assert_eq!((after.puts - before.puts, after.total() - before.total()), (1, 1));
}

#[tokio::test]
async fn each_step_happens_once_whatever_fails() {
    for seed in 0..20 {
        let (place, faults) = faulty();
        faults.fail_at_random(seed, 100);
        let writers: Vec<_> = (0..3).map(|writer| tokio::spawn(five_steps(place.storage.clone(), writer))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        faults.restart();
        let expected: Vec<i64> = (0..3).flat_map(|writer| (1..=5).map(move |step| writer * 100 + step)).collect();
        assert_eq!(rows(&place.storage).await, expected, "seed {seed}");
    }
}

async fn five_steps(storage: Storage, writer: i64) {
    let steps = Steps { app_id: format!("flow {writer}"), first: writer * 100 };
    let mut done = 0;
    while done < 5 {
        done = steps.next(&storage).await.map_or(done, |step| step.max(done));
    }
}

#[tokio::test]
async fn each_step_happens_once_wherever_the_writer_dies() {
    let steps = Steps { app_id: "flow".into(), first: 0 };
    for survived in 0.. {
        let (place, faults) = faulty();
        faults.crash_after(survived);
        for _ in 0..3 {
            let ended = tokio::time::timeout(std::time::Duration::from_secs(5), steps.next(&place.storage));
            if !matches!(ended.await, Ok(Ok(_))) {
                break;
            }
        }
        let crashed = faults.has_crashed();
        faults.restart();
        while steps.next(&place.storage).await.unwrap() < 4 {}
        assert_eq!(rows(&place.storage).await, [1, 2, 3, 4], "after {survived} operations");
        if !crashed {
            break;
        }
    }
}

#[tokio::test]
async fn the_log_tells_what_was_done() {
    let place = on_disk();
    let table = table_of(&place.storage, [0]).await;
    let mut append = append_of(&place.storage, [1]).await;
    append.txns = vec![("flow".into(), 3)];
    append.report.rows.written = 1;
    committed(put(&place.storage, &table, &append).await);
    let history = open(&place.storage).await.history(10).await.unwrap();
    let versions: Vec<u64> = history.iter().map(|entry| entry.version).collect();
    assert_eq!(versions, [1, 0]);
    let report = history[0].report.as_ref().unwrap();
    assert_eq!((report.rows.written, &report.outcome), (1, &Outcome::Committed { version: 1 }));
    assert_eq!(history[0].txns, [("flow".to_owned(), 3)]);
    assert!(history[0].timestamp.is_some());
}

/// Puts a log entry by hand.
async fn put_log(storage: &Storage, version: u64, actions: &[serde_json::Value]) {
    let lines: Vec<String> = actions.iter().map(ToString::to_string).collect();
    let location = storage.location(&format!("{NUMBERS}/_delta_log/{}", log_entry(version)));
    storage.object_store().put(&location, lines.join("\n").into()).await.unwrap();
}

fn metadata(schema: &str, configuration: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({"metaData": {"id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9", "format": {"provider": "parquet", "options": {}},
        "schemaString": schema, "partitionColumns": [], "configuration": configuration, "createdTime": 1_700_000_000_000_i64}})
}

const ONE_NUMBER: &str = r#"{"type":"struct","fields":[{"name":"n","type":"long","nullable":true,"metadata":{}}]}"#;

#[tokio::test]
async fn a_feature_that_cannot_be_written_is_refused_by_name() {
    let place = on_disk();
    let protocol = serde_json::json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"]}});
    put_log(&place.storage, 0, &[protocol, metadata(ONE_NUMBER, &serde_json::json!({}))]).await;
    let table = open(&place.storage).await;
    let append = append_of(&place.storage, [1]).await;
    let error = commit(&place.storage, NUMBERS, Some(&table), &append, patient()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("rowTracking"), "{error}");
    assert_eq!(open(&place.storage).await.version(), 0);
}

#[tokio::test]
async fn a_feature_that_cannot_be_read_is_refused_by_name() {
    let place = on_disk();
    let protocol = serde_json::json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timeTravelling"], "writerFeatures": ["timeTravelling"]}});
    put_log(&place.storage, 0, &[protocol, metadata(ONE_NUMBER, &serde_json::json!({}))]).await;
    let error = Table::open(&place.storage, NUMBERS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("timeTravelling"), "{error}");
}

#[tokio::test]
async fn a_rule_of_the_table_that_would_not_be_checked_is_refused() {
    let place = on_disk();
    let protocol = serde_json::json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 3}});
    let positive = serde_json::json!({"delta.constraints.positive": "n > 0"});
    put_log(&place.storage, 0, &[protocol, metadata(ONE_NUMBER, &positive)]).await;
    let table = open(&place.storage).await;
    let append = append_of(&place.storage, [-1]).await;
    let error = commit(&place.storage, NUMBERS, Some(&table), &append, patient()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("positive"), "{error}");
}

#[tokio::test]
async fn a_broken_log_entry_is_an_error_that_names_the_table() {
    let place = on_disk();
    table_of(&place.storage, [0]).await;
    let location = place.storage.location(&format!("{NUMBERS}/_delta_log/{}", log_entry(1)));
    place.storage.object_store().put(&location, "{\"add\":".into()).await.unwrap();
    let error = Table::open(&place.storage, NUMBERS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(NUMBERS), "{error}");
}

#[tokio::test]
async fn a_data_file_that_cannot_be_written_is_worth_another_try() {
    let (place, faults) = faulty();
    faults.crash_after(0);
    let error = write(&place.storage, [1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn storage_that_cannot_be_read_is_worth_another_try() {
    let (place, faults) = faulty();
    table_of(&place.storage, [0]).await;
    faults.crash_after(0);
    assert!(write(&place.storage, [1]).await.is_err());
    let error = Table::open(&place.storage, NUMBERS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_local_timestamp_that_comes_later_raises_the_protocol() {
    let place = on_disk();
    let table = table_of(&place.storage, [0]).await;
    let local = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let wider = [schema().field(0).clone(), Field::new("at", local, true)];
    let schema =
        SchemaChange::SetColumns { schema: Arc::new(Schema::new(wider.to_vec())), configuration: BTreeMap::new() };
    committed(put(&place.storage, &table, &Change { schema: Some(schema), ..nothing() }).await);
    let table = open(&place.storage).await;
    committed(put(&place.storage, &table, &append_of(&place.storage, [1]).await).await);
    assert_eq!(rows(&place.storage).await, [0, 1]);
    let log = place.storage.location(&format!("{NUMBERS}/_delta_log/{}", log_entry(1)));
    let entry = place.storage.object_store().get(&log).await.unwrap().bytes().await.unwrap();
    assert!(String::from_utf8_lossy(&entry).contains("timestampNtz"));
}
