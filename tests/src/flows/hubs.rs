//! What was read of a hub lands once, by the numbers that its tables have committed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use chrono::{DateTime, Duration};
use headwater_core::hub::{HubBatch, HubEvent, HubIdentity, Lost, PartitionBatch};
use headwater_core::report::{Input, Outcome, Report};
use headwater_core::trigger::Cause;
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::fault_store::{Fault, FaultStore};
use object_store::memory::InMemory;
use tempfile::TempDir;

use crate::lakes::{contents, lake_of, pipeline, until_death, values, wake, well};

/// Numbers that divide by five have no valid payload, and those that divide by seven break a rule.
const SQL: &str = "CREATE STREAMING TABLE raw (CONSTRAINT odd EXPECT (n % 7 <> 0) ON VIOLATION DROP ROW)
    AS SELECT n FROM STREAM read_events('events', format => 'json', schema => 'n INT');";
/// More operations than any batch here has.
const MANY: u64 = 60;

fn hub(created: i64) -> HubIdentity {
    HubIdentity { namespace: "n".into(), hub: "h".into(), created: Some(created) }
}

fn event(number: i64) -> HubEvent {
    let body = if number % 5 == 0 { format!("no JSON {number}") } else { format!("{{\"n\": {number}}}") };
    HubEvent {
        sequence_number: number,
        offset: Some((number * 100).to_string()),
        enqueued_at: DateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::seconds(number),
        partition_key: None,
        body: body.into(),
        content_type: None,
        message_id: None,
        correlation_id: None,
        properties: BTreeMap::new(),
        system_properties: BTreeMap::new(),
    }
}

fn read(after: Option<i64>, numbers: RangeInclusive<i64>) -> PartitionBatch {
    let through = *numbers.end();
    PartitionBatch { after, events: numbers.map(event).collect(), through, lost: Vec::new() }
}

async fn land(lake: &Lake, partitions: &[(&str, PartitionBatch)]) -> Report {
    land_of(lake, hub(1), partitions).await
}

async fn land_of(lake: &Lake, hub: HubIdentity, partitions: &[(&str, PartitionBatch)]) -> Report {
    let partitions = partitions.iter().map(|(name, partition)| ((*name).to_owned(), partition.clone())).collect();
    let batch = HubBatch { source: "events".into(), hub, partitions };
    wake(lake, FunctionKind::BronzeEvents, Cause::Partitions(batch)).await
}

async fn committed(lake: &Lake, hub: &HubIdentity) -> BTreeMap<String, i64> {
    lake.committed_numbers("events", hub, &["0".to_owned(), "1".to_owned()]).await.unwrap()
}

/// A lake's folder, and a store that forks.
struct Trial {
    folder: TempDir,
}

impl Trial {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn lake(&self, store: &FaultStore) -> Lake {
        lake_of(&pipeline(SQL), self.folder.path(), Arc::new(store.clone()))
    }

    fn clean(&self, store: &InMemory) -> Lake {
        lake_of(&pipeline(SQL), self.folder.path(), Arc::new(store.clone()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_a_batch_each_event_is_in_one_place_once() {
    let trial = Trial::new();
    let base = InMemory::new();
    well(land(&trial.clean(&base), &[("0", read(None, 0..=9))]).await);
    let undisturbed = base.fork();
    let all = [("0", read(Some(9), 10..=29)), ("1", read(None, 3..=12))];
    well(land(&trial.clean(&undisturbed), &all).await);
    let expected = contents(&trial.clean(&undisturbed)).await;
    for operation in 0..MANY {
        let mut has_ended = true;
        for fault in [None, Some(Fault::Refused), Some(Fault::Lost), Some(Fault::Late)] {
            let store = base.fork();
            let faults = FaultStore::new(Arc::new(store.clone()));
            match fault {
                None => faults.crash_after(operation),
                Some(fault) => faults.fail_after(operation, fault),
            }
            let lake = trial.lake(&faults);
            until_death(&faults, land(&lake, &all)).await;
            drop(lake);
            has_ended &= !faults.has_crashed();
            // What is read again is cut otherwise than before.
            let lake = trial.clean(&store);
            let from = committed(&lake, &hub(1)).await.get("0").copied();
            well(land(&lake, &[("0", read(from, from.unwrap_or(-1) + 1..=15_i64.max(from.unwrap_or(-1))))]).await);
            faults.land_late().await;
            let lake = trial.clean(&store);
            well(land(&lake, &all).await);
            well(land(&lake, &all).await);
            assert_eq!(contents(&lake).await, expected, "{fault:?} at operation {operation}");
            assert_eq!(committed(&lake, &hub(1)).await, BTreeMap::from([("0".into(), 29), ("1".into(), 12)]));
        }
        if has_ended {
            assert!(operation > 2, "a batch has more operations");
            return;
        }
    }
    panic!("more than {MANY} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_after_a_hole_waits_for_what_is_missing() {
    let trial = Trial::new();
    let store = InMemory::new();
    let lake = trial.clean(&store);
    well(land(&lake, &[("0", read(None, 0..=2))]).await);
    let report = land(&lake, &[("0", read(Some(5), 6..=8))]).await;
    let Outcome::Retryable { reason } = &report.flows[0].outcome else { panic!("{report:#?}") };
    assert!(reason.contains("from 3 to 5"), "{reason}");
    assert_eq!(committed(&lake, &hub(1)).await["0"], 2);
    well(land(&lake, &[("0", read(Some(1), 2..=8))]).await);
    assert_eq!(values(&lake, "raw", "n").await, ["1", "2", "3", "4", "6", "8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_reported_and_passed_over() {
    let trial = Trial::new();
    let lake = trial.clean(&InMemory::new());
    well(land(&lake, &[("0", read(None, 0..=2))]).await);
    let lost = vec![Lost { from: 3, to: 5 }];
    let report = well(land(&lake, &[("0", PartitionBatch { lost: lost.clone(), ..read(Some(2), 6..=8) })]).await);
    let Input::Partition { after, through, events, lost: told, .. } = &report.flows[0].inputs[0] else { panic!() };
    assert_eq!((*after, *through, *events, told), (Some(2), 8, 3, &lost));
    assert_eq!(committed(&lake, &hub(1)).await["0"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_made_anew_is_read_from_its_beginning() {
    let trial = Trial::new();
    let lake = trial.clean(&InMemory::new());
    well(land(&lake, &[("0", read(None, 0..=4))]).await);
    assert!(committed(&lake, &hub(2)).await.is_empty());
    well(land_of(&lake, hub(2), &[("0", read(None, 0..=2))]).await);
    assert_eq!(values(&lake, "raw", "n").await, ["1", "1", "2", "2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_readers_of_the_same_events_land_them_once() {
    let trial = Trial::new();
    let store = InMemory::new();
    well(land(&trial.clean(&store), &[("0", read(None, 0..=2))]).await);
    let (one, other) = (trial.clean(&store), trial.clean(&store));
    let (first, second) = ([("0", read(Some(2), 3..=8))], [("0", read(Some(2), 3..=6)), ("1", read(None, 0..=4))]);
    let (a, b) = tokio::join!(land(&one, &first), land(&other, &second));
    well(a);
    well(b);
    let lake = trial.clean(&store);
    assert_eq!(values(&lake, "raw", "n").await, ["1", "1", "2", "2", "3", "3", "4", "4", "6", "8"]);
    assert_eq!(committed(&lake, &hub(1)).await, BTreeMap::from([("0".into(), 8), ("1".into(), 4)]));
}
