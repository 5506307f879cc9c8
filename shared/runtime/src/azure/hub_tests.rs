//! What the Functions host hands over of a hub that a source is bound to, against the emulator and a lake that only counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use azure_messaging_eventhubs::{ConsumerClient, OpenReceiverOptions, ProducerClient, StartLocation, StartPosition};
use chrono::{DateTime, TimeDelta, Utc};
use eventhubs_emulator::{Emulator, Options};
use futures::StreamExt;
use headwater_core::azure::{HandedOver, Invocation};
use headwater_core::diagnostic::SourceFile;
use headwater_core::graph::build;
use headwater_core::hub::{Fit, HubAddress, HubEvent};
use headwater_core::model::Pipeline;
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::project::parse;
use headwater_core::report::{FlowReport, Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};
use tokio::sync::{mpsc, oneshot};

use super::desk::{Desk, Job};
use crate::eventhubs::{Committed, Credentials, Hub, HubSource};
use crate::function::FunctionKind;
use crate::work::Work;

/// Which event of the only partition, and whether it was handed over rather than read.
pub(super) type Landed = Vec<(i64, bool)>;

/// A lake that lands numbers, and can be told to fail.
#[derive(Default)]
pub(super) struct Lake {
    landed: Mutex<Landed>,
    fails: Mutex<bool>,
}

impl Lake {
    fn last(&self) -> Option<i64> {
        self.landed.lock().unwrap().last().map(|(number, _)| *number)
    }

    pub(super) fn set_failing(&self, fails: bool) {
        *self.fails.lock().unwrap() = fails;
    }

    pub(super) fn land(&self, trigger: &Trigger) -> Report {
        let Cause::Partitions(batch) = &trigger.cause else { return Report::default() };
        let mut flow = FlowReport::new(FlowName::new("raw"), DatasetName::new("raw"), "partitions");
        flow.outcome = Outcome::Committed { version: 1 };
        for partition in batch.partitions.values() {
            match partition.fit(self.last()) {
                _ if *self.fails.lock().unwrap() => {
                    flow.outcome = Outcome::Retryable { reason: "storage is out of reach".to_owned() };
                }
                Fit::After { held } => {
                    let new = partition.events[held..].iter();
                    let new = new.map(|event| (event.sequence_number, event.body == "handed over"));
                    self.landed.lock().unwrap().extend(new);
                }
                Fit::Landed => flow.outcome = Outcome::AlreadyApplied,
                Fit::Missing { .. } => panic!("a hole: {partition:?} after {:?}", self.last()),
            }
        }
        Report { flows: vec![flow], ..Report::default() }
    }
}

fn pipeline() -> Pipeline {
    let file = SourceFile::new("pipeline.yml", "name: p\nstorage: lake\n");
    let project = parse(&file, &BTreeMap::new()).project.unwrap();
    let sql = "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('a', format => 'csv', schema => 'n INT');";
    build(&project, &[SourceFile::new("p.sql", sql)]).pipeline.unwrap()
}

/// An emulator whose only partition holds so many events.
pub(super) async fn filled(events: usize) -> Emulator {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let emulator = Emulator::start(Options { partitions: 1, ..Options::default() }).await.unwrap();
    let builder = ProducerClient::builder().with_custom_endpoint(format!("amqp://{}", emulator.address()));
    let producer = builder.open_with_connection_string(&emulator.connection_string(), Some("flights")).await.unwrap();
    let batch = producer.create_batch(None).await.unwrap();
    for _ in 0..events {
        assert!(batch.try_add_event_data("read", None).unwrap());
    }
    producer.send_batch(batch, None).await.unwrap();
    emulator
}

fn bound(emulator: &Emulator, lake: &Arc<Lake>) -> HubSource {
    source(("flights", "localhost"), emulator, lake)
}

/// A source of this name that is bound to the emulator's hub, which is said to be in this namespace.
pub(super) fn source((name, namespace): (&str, &str), emulator: &Emulator, lake: &Arc<Lake>) -> HubSource {
    let address = format!("eventhubs://{namespace}/flights?endpoint=amqp://{}", emulator.address());
    let address = HubAddress::parse(&address).unwrap();
    let lake = Arc::clone(lake);
    let committed = Committed::new(move |_, _| {
        let numbers = lake.last().map(|last| ("0".to_owned(), last)).into_iter().collect();
        Box::pin(std::future::ready(Ok(numbers)))
    });
    let hub = Hub::new(address, Credentials::ConnectionString(emulator.connection_string()));
    HubSource { source: name.to_owned(), hub, committed }
}

fn handed_over(numbers: &[i64]) -> Invocation {
    handed_over_by(None, numbers)
}

pub(super) fn handed_over_by(namespace: Option<&str>, numbers: &[i64]) -> Invocation {
    let event = |number: &i64| HubEvent {
        sequence_number: *number,
        offset: None,
        enqueued_at: DateTime::<Utc>::UNIX_EPOCH,
        partition_key: None,
        body: "handed over".into(),
        content_type: None,
        message_id: None,
        correlation_id: None,
        properties: BTreeMap::new(),
        system_properties: BTreeMap::new(),
    };
    let events = numbers.iter().map(event).collect();
    let (namespace, hub, partition) = (namespace.map(str::to_owned), "flights".to_owned(), "0".to_owned());
    Invocation::Events(HandedOver { namespace, hub, partition, events })
}

/// Whether the invocations of a desk succeed, which wait together.
async fn invoke(bound: &HubSource, lake: &Lake, invocations: Vec<Invocation>) -> Vec<bool> {
    invoke_all(std::slice::from_ref(bound), |trigger| lake.land(trigger), invocations).await
}

/// The same of several sources.
pub(super) async fn invoke_all(
    bound: &[HubSource],
    land: impl Fn(&Trigger) -> Report + Send + Sync,
    invocations: Vec<Invocation>,
) -> Vec<bool> {
    let handler = |_: FunctionKind, trigger: Trigger| std::future::ready(land(&trigger));
    let pipeline = pipeline();
    let (sender, jobs) = mpsc::unbounded_channel();
    let mut answers = Vec::new();
    for invocation in invocations {
        let (answer, answered) = oneshot::channel();
        let end = Utc::now() + TimeDelta::seconds(60);
        sender.send(Job { id: "0".to_owned(), invocation, bytes: 1, end, answer }).unwrap();
        answers.push(answered);
    }
    drop(sender);
    let work = Work { kind: FunctionKind::BronzeEvents, pipeline: &pipeline, handler: &handler };
    Desk { work, bound }.serve(jobs).await;
    let mut done = Vec::new();
    for answer in answers {
        done.push(answer.await.unwrap().is_ok());
    }
    done
}

pub(super) fn landed(lake: &Lake) -> Landed {
    lake.landed.lock().unwrap().clone()
}

#[tokio::test]
async fn what_goes_on_after_the_committed_number_is_landed_as_it_is() {
    let emulator = filled(8).await;
    let lake = Arc::new(Lake::default());
    let bound = bound(&emulator, &lake);
    let batches = [&[0, 1][..], &[2, 3], &[1, 2]].map(handed_over).to_vec();
    assert_eq!(invoke(&bound, &lake, batches).await, [true, true, true]);
    assert_eq!(landed(&lake), (0..4).map(|number| (number, true)).collect::<Vec<_>>());
    assert_eq!(invoke(&bound, &lake, vec![handed_over(&[1, 2])]).await, [true]);
    assert_eq!(landed(&lake).len(), 4);
}

#[tokio::test]
async fn what_is_missing_before_it_is_read_first() {
    let emulator = filled(8).await;
    let lake = Arc::new(Lake::default());
    let bound = bound(&emulator, &lake);
    assert_eq!(invoke(&bound, &lake, vec![handed_over(&[5, 6])]).await, [true]);
    assert_eq!(landed(&lake), (0..8).map(|number| (number, false)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_that_failed_is_not_skipped_though_the_host_goes_on() {
    let emulator = filled(8).await;
    let lake = Arc::new(Lake::default());
    let bound = bound(&emulator, &lake);
    lake.set_failing(true);
    assert_eq!(invoke(&bound, &lake, vec![handed_over(&[0, 1, 2])]).await, [false]);
    lake.set_failing(false);
    assert_eq!(invoke(&bound, &lake, vec![handed_over(&[3, 4])]).await, [true]);
    assert_eq!(landed(&lake).iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_timer_reads_what_no_trigger_told_of() {
    let emulator = filled(3).await;
    let lake = Arc::new(Lake::default());
    let bound = bound(&emulator, &lake);
    assert_eq!(invoke(&bound, &lake, vec![Invocation::Timer]).await, [true]);
    assert_eq!(landed(&lake).len(), 3);
}

#[tokio::test]
async fn a_timer_fails_for_what_can_not_be_read_and_reads_it_later() {
    let emulator = filled(3).await;
    let lake = Arc::new(Lake::default());
    let bound = bound(&emulator, &lake);
    let builder = ConsumerClient::builder().with_custom_endpoint(format!("amqp://{}", emulator.address()));
    let other = builder.open_with_connection_string(&emulator.connection_string(), Some("flights")).await.unwrap();
    let start_position = Some(StartPosition { location: StartLocation::Earliest, inclusive: false });
    let options = OpenReceiverOptions { owner_level: Some(9), start_position, ..OpenReceiverOptions::default() };
    let receiver = other.open_receiver_on_partition("0".to_owned(), Some(options)).await.unwrap();
    assert_eq!(receiver.stream_events().next().await.unwrap().unwrap().sequence_number(), Some(0));
    assert_eq!(invoke(&bound, &lake, vec![Invocation::Timer]).await, [false]);
    drop(receiver);
    other.close().await.unwrap();
    assert_eq!(invoke(&bound, &lake, vec![Invocation::Timer]).await, [true]);
    assert_eq!(landed(&lake).len(), 3);
}
