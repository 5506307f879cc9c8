//! Draining the emulator, whatever goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use azure_messaging_eventhubs::models::EventData;
use azure_messaging_eventhubs::{EventDataBatchOptions, ProducerClient};
use eventhubs_emulator::{Emulator, Fault, Options};
use headwater_core::batch::Limits;
use headwater_core::error::ErrorKind;
use headwater_core::hub::{HubAddress, Lost};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome, Report};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::*;
use crate::error::Result;
use crate::replay::Sink;
use crate::spool::NewMessage;

const PARTITIONS: usize = 2;

async fn emulator() -> Emulator {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = Some(("own".to_owned(), "c2VjcmV0".to_owned()));
    Emulator::start(Options { partitions: PARTITIONS, key, ..Options::default() }).await.unwrap()
}

fn hub(emulator: &Emulator) -> Hub {
    let address = format!("eventhubs://localhost/flights?endpoint=amqp://{}", emulator.address());
    Hub::new(HubAddress::parse(&address).unwrap(), Credentials::ConnectionString(emulator.connection_string()))
}

/// Sends so many events to each partition.
async fn fill(emulator: &Emulator, events: usize) {
    let builder = ProducerClient::builder().with_custom_endpoint(format!("amqp://{}", emulator.address()));
    let producer = builder.open_with_connection_string(&emulator.connection_string(), Some("flights")).await.unwrap();
    for partition in 0..PARTITIONS {
        let options = EventDataBatchOptions { partition_id: Some(partition.to_string()), ..Default::default() };
        let batch = producer.create_batch(Some(options)).await.unwrap();
        for event in 0..events {
            let event =
                EventData::builder().with_body(format!("{event}").into_bytes()).add_property("n".into(), event as i64);
            assert!(batch.try_add_event_data(event.build(), None).unwrap());
        }
        producer.send_batch(batch, None).await.unwrap();
    }
}

fn limits(items: usize) -> DrainLimits {
    DrainLimits { batch: Limits { items, bytes: 1 << 30 }, deadline: Instant::now() + Duration::from_secs(60) }
}

async fn drain(hub: &Hub, committed: &BTreeMap<String, i64>, items: usize) -> Result<Drained> {
    hub.drain(async |_, _| Ok(committed.clone()), limits(items)).await
}

fn numbers(drained: &Drained, partition: &str) -> Vec<i64> {
    drained.partitions[partition].events.iter().map(|event| event.sequence_number).collect()
}

#[tokio::test]
async fn what_is_not_committed_is_read_and_then_nothing() {
    let emulator = emulator().await;
    let hub = hub(&emulator);
    fill(&emulator, 100).await;
    let drained = drain(&hub, &BTreeMap::from([("0".to_owned(), 59)]), usize::MAX).await.unwrap();
    assert_eq!(numbers(&drained, "0"), (60..100).collect::<Vec<_>>());
    assert_eq!(numbers(&drained, "1"), (0..100).collect::<Vec<_>>());
    let event = &drained.partitions["1"].events[7];
    assert_eq!((&event.body[..], event.properties["n"].as_str()), (&b"7"[..], "7"));
    assert!(drained.hub.created.is_some());
    let all = BTreeMap::from([("0".to_owned(), 99), ("1".to_owned(), 99)]);
    assert!(drain(&hub, &all, usize::MAX).await.unwrap().partitions.is_empty());
}

#[tokio::test]
async fn nothing_is_skipped_or_doubled_whatever_breaks() {
    let emulator = emulator().await;
    let hub = hub(&emulator);
    fill(&emulator, 600).await;
    emulator.faults().every(Fault::Detach, 170);
    emulator.faults().every(Fault::Drop, 410);
    emulator.faults().once(Fault::Busy, 2);
    let (mut committed, mut read) = (BTreeMap::new(), BTreeMap::<String, Vec<i64>>::new());
    for _ in 0..40 {
        let drained = drain(&hub, &committed, 250).await.unwrap();
        for (name, partition) in &drained.partitions {
            read.entry(name.clone()).or_default().extend(numbers(&drained, name));
            committed.insert(name.clone(), partition.through);
        }
        if committed.values().filter(|last| **last == 599).count() == PARTITIONS {
            break;
        }
    }
    assert!(emulator.faults().struck(Fault::Detach) > 2 && emulator.faults().struck(Fault::Drop) > 0);
    let all: Vec<i64> = (0..600).collect();
    assert!(read["0"] == all && read["1"] == all, "{committed:?}");
}

/// What is on its way when a batch is full is left behind by a link, and troubles neither the next one nor the connection.
#[tokio::test]
async fn one_connection_serves_batch_after_batch() {
    let emulator = emulator().await;
    let hub = hub(&emulator);
    fill(&emulator, 2_000).await;
    let mut committed = BTreeMap::new();
    for _ in 0..20 {
        let drained = drain(&hub, &committed, 40).await.unwrap();
        committed.extend(drained.partitions.iter().map(|(name, partition)| (name.clone(), partition.through)));
        assert!(hub.kept.0.lock().await.is_some(), "{:?}", drained.ends);
    }
    let opened = emulator.partitions("flights").iter().map(|partition| partition.receivers).sum::<u64>();
    assert!(opened <= 40, "each partition is opened once a batch, not {opened} times");
    let all = BTreeMap::from([("0".to_owned(), 1_999), ("1".to_owned(), 1_999)]);
    assert!(drain(&hub, &all, 40).await.unwrap().partitions.is_empty());
    let now = emulator.partitions("flights").iter().map(|partition| partition.receivers).sum::<u64>();
    assert_eq!(now, opened, "nothing is opened where nothing is new");
}

#[tokio::test]
async fn a_stolen_partition_is_left_to_the_thief_and_read_again_later() {
    let emulator = emulator().await;
    let hub = hub(&emulator);
    fill(&emulator, 600).await;
    emulator.faults().once(Fault::Steal, 100);
    let first = drain(&hub, &BTreeMap::new(), usize::MAX).await;
    let first = first.unwrap();
    let committed: BTreeMap<_, _> =
        first.partitions.iter().map(|(name, partition)| (name.clone(), partition.through)).collect();
    assert_eq!(first.ends.values().filter(|end| **end == End::Stolen).count(), 1);
    let rest = drain(&hub, &committed, usize::MAX).await.unwrap();
    for name in ["0", "1"] {
        let parts = [&first, &rest].into_iter().filter(|part| part.partitions.contains_key(name));
        assert_eq!(parts.flat_map(|part| numbers(part, name)).collect::<Vec<_>>(), (0..600).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_service_that_never_answers_is_left_at_the_deadline() {
    let emulator = emulator().await;
    let hub = hub(&emulator);
    fill(&emulator, 5).await;
    emulator.faults().every(Fault::Hang, 1);
    let limits = DrainLimits { deadline: Instant::now() + Duration::from_millis(400), ..limits(usize::MAX) };
    let error = hub.drain(async |_, _| Ok(BTreeMap::new()), limits).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(limits.deadline.elapsed() < Duration::from_secs(5), "{:?}", limits.deadline.elapsed());
}

#[tokio::test]
async fn what_retention_took_is_said_to_be_lost() {
    let emulator = emulator().await;
    let hub = hub(&emulator);
    fill(&emulator, 50).await;
    emulator.trim("flights", 0, 30);
    let committed = BTreeMap::from([("0".to_owned(), 9), ("1".to_owned(), 49)]);
    let drained = drain(&hub, &committed, usize::MAX).await.unwrap();
    assert_eq!(drained.partitions["0"].lost, [Lost { from: 10, to: 29 }]);
    assert_eq!(numbers(&drained, "0"), (30..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hub_made_anew_is_noticed() {
    let emulator = emulator().await;
    let hub = hub(&emulator);
    fill(&emulator, 5).await;
    let before = drain(&hub, &BTreeMap::new(), usize::MAX).await.unwrap().hub;
    emulator.recreate("flights", PARTITIONS);
    let error = drain(&hub, &BTreeMap::from([("0".to_owned(), 4)]), usize::MAX).await.unwrap_err();
    assert!(error.to_string().contains("isn't the hub that was read before"), "{error}");
    let after = drain(&hub, &BTreeMap::new(), usize::MAX).await.unwrap().hub;
    assert_ne!(before.partition("0"), after.partition("0"));
}

/// What a lake has committed of each partition, and how often it was asked.
type Held = Arc<Mutex<(BTreeMap<String, i64>, u32)>>;

fn source(hub: Hub, held: &Held) -> HubSource {
    let held = Arc::clone(held);
    let committed = Committed::new(move |_, _| {
        let mut held = held.lock().unwrap();
        held.1 += 1;
        Box::pin(std::future::ready(Ok(held.0.clone())))
    });
    HubSource { source: "flights".to_owned(), hub, committed }
}

/// Commits a batch, which has to go on right after what is committed, unless that fails.
fn land(batch: &Drained, held: &Held, fails: bool) -> Report {
    let mut flow = FlowReport::new(FlowName::new("raw"), DatasetName::new("raw"), "partitions");
    flow.outcome = if fails {
        Outcome::Retryable { reason: "storage is out of reach".to_owned() }
    } else {
        Outcome::Committed { version: 1 }
    };
    for (name, partition) in batch.partitions.iter().filter(|_| !fails) {
        let numbers = numbers(batch, name);
        let first = held.lock().unwrap().0.insert(name.clone(), partition.through).map_or(0, |last| last + 1);
        assert_eq!(numbers, (first..=partition.through).collect::<Vec<_>>());
    }
    Report { flows: vec![flow], ..Report::default() }
}

#[tokio::test]
async fn batches_are_read_ahead_of_what_is_landed_and_follow_each_other() {
    let emulator = emulator().await;
    fill(&emulator, 100).await;
    let held = Held::default();
    let source = source(hub(&emulator), &held);
    let mut batches = Batches::new(&source);
    let mut count = 0;
    loop {
        let batch = batches.next(limits(40)).await.unwrap();
        if batch.partitions.is_empty() {
            break;
        }
        batches.read_on(&batch, limits(40));
        count += 1;
        batches.landed(&land(&batch, &held, false)).await;
    }
    let all = BTreeMap::from([("0".to_owned(), 99), ("1".to_owned(), 99)]);
    // The lake is asked for the first batch and after the last one.
    assert_eq!(*held.lock().unwrap(), (all, 2));
    assert!(count > 3, "{count}");
}

#[tokio::test]
async fn what_was_read_ahead_of_a_batch_that_was_not_landed_is_given_up() {
    let emulator = emulator().await;
    fill(&emulator, 100).await;
    let held = Held::default();
    let source = source(hub(&emulator), &held);
    let mut batches = Batches::new(&source);
    for fails in [false, true, true, false] {
        let batch = batches.next(limits(40)).await.unwrap();
        batches.read_on(&batch, limits(40));
        batches.landed(&land(&batch, &held, fails)).await;
    }
    let asked = held.lock().unwrap().1;
    assert_eq!(asked, 3);
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let emulator = emulator().await;
    let guessed = emulator.connection_string().replace("c2VjcmV0", "Z3Vlc3M=");
    let hub = Hub::new(hub(&emulator).address().clone(), Credentials::ConnectionString(guessed));
    let error = drain(&hub, &BTreeMap::new(), usize::MAX).await.unwrap_err();
    let shown = format!("{hub:?} {error} {error:?}");
    assert!(!shown.contains("Z3Vlc3M") && !shown.contains("SharedAccess"), "{shown}");
}

/// Sends an event from a thread that may block.
fn sending(sender: &Arc<HubSender>) -> JoinHandle<Result<()>> {
    let sender = Arc::clone(sender);
    spawn_blocking(move || sender.send(&[NewMessage::new("event")]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_has_taken_events_may_be_busy_for_longer_than_one_that_has_taken_none() {
    let emulator = emulator().await;
    let sender = || Arc::new(HubSender::new(hub(&emulator), None, Handle::current()));
    let (known, unknown) = (sender(), sender());
    sending(&known).await.unwrap().unwrap();
    emulator.faults().every(Fault::Throttle, 1);
    let refused = sending(&unknown).await.unwrap().unwrap_err();
    let struck = emulator.faults().struck(Fault::Throttle);
    assert_eq!((refused.kind(), (1..=5).contains(&struck)), (ErrorKind::Unavailable, true), "{struck} strikes");
    let under_way = sending(&known);
    while emulator.faults().struck(Fault::Throttle) < struck + 6 && !under_way.is_finished() {
        tokio::task::yield_now().await;
    }
    emulator.faults().clear();
    under_way.await.unwrap().unwrap();
}
