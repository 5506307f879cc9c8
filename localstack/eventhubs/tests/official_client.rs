//! The official Rust client against the emulator.
#![expect(clippy::unwrap_used, reason = "a test fails where it can't go on")]

use std::collections::BTreeMap;
use std::time::Duration;

use azure_messaging_eventhubs::models::EventData;
use azure_messaging_eventhubs::{
    ConsumerClient, EventDataBatchOptions, OpenReceiverOptions, ProducerClient, SendEventOptions, StartLocation,
    StartPosition,
};
use eventhubs_emulator::{Emulator, Fault, Options};
use futures::StreamExt;
use tokio::time::timeout;

const HUB: &str = "flights";

/// An emulator, in a process whose TLS is set up: the client wants that even where it doesn't use it.
async fn start(options: Options) -> Emulator {
    // Another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Emulator::start(options).await.unwrap()
}

async fn producer(emulator: &Emulator) -> ProducerClient {
    let endpoint = format!("amqp://{}", emulator.address());
    let builder = ProducerClient::builder().with_custom_endpoint(endpoint);
    builder.open_with_connection_string(&emulator.connection_string(), Some(HUB)).await.unwrap()
}

async fn consumer(emulator: &Emulator, connection: &str) -> azure_messaging_eventhubs::Result<ConsumerClient> {
    let endpoint = format!("amqp://{}", emulator.address());
    ConsumerClient::builder().with_custom_endpoint(endpoint).open_with_connection_string(connection, Some(HUB)).await
}

fn from(location: StartLocation, owner_level: Option<i64>) -> Option<OpenReceiverOptions> {
    let start_position = Some(StartPosition { location, inclusive: false });
    Some(OpenReceiverOptions { owner_level, prefetch: Some(100), start_position, receive_timeout: None })
}

async fn send(emulator: &Emulator, partition: &str, events: usize) {
    let producer = producer(emulator).await;
    let options = EventDataBatchOptions { partition_id: Some(partition.into()), ..Default::default() };
    let batch = producer.create_batch(Some(options)).await.unwrap();
    for event in 0..events {
        let event = EventData::builder().with_body(format!("{event}").into_bytes()).build();
        assert!(batch.try_add_event_data(event, None).unwrap());
    }
    producer.send_batch(batch, None).await.unwrap();
}

/// The sequence numbers that come until this one, or until nothing comes or the stream ends.
async fn read(client: &ConsumerClient, partition: &str, options: Option<OpenReceiverOptions>, until: i64) -> Vec<i64> {
    let receiver = client.open_receiver_on_partition(partition.into(), options).await.unwrap();
    let mut events = Box::pin(receiver.stream_events());
    let mut numbers = Vec::new();
    while let Ok(Some(Ok(event))) = timeout(Duration::from_secs(5), events.next()).await {
        numbers.push(event.sequence_number().unwrap());
        if numbers.last() == Some(&until) {
            break;
        }
    }
    drop(events);
    // Closing may fail after an error of the stream. A receiver that isn't closed is used again by its client.
    let _ = timeout(Duration::from_secs(5), receiver.close()).await;
    numbers
}

#[tokio::test]
async fn events_are_sent_and_received() {
    let emulator = start(Options::default()).await;
    send(&emulator, "1", 300).await;
    let client = consumer(&emulator, &emulator.connection_string()).await.unwrap();
    let hub = client.get_eventhub_properties().await.unwrap();
    assert_eq!(hub.partition_ids, ["0", "1", "2", "3"]);
    let partition = client.get_partition_properties("1").await.unwrap();
    assert_eq!((partition.beginning_sequence_number, partition.last_enqueued_sequence_number), (0, 299));
    let all: Vec<i64> = (0..300).collect();
    assert_eq!(read(&client, "1", from(StartLocation::Earliest, None), 299).await, all);
    assert_eq!(read(&client, "1", from(StartLocation::SequenceNumber(249), Some(0)), 299).await, all[250..]);
    emulator.trim(HUB, 1, 280);
    assert_eq!(read(&client, "1", from(StartLocation::SequenceNumber(9), Some(0)), 299).await, all[280..]);
}

#[tokio::test]
async fn a_key_keeps_its_events_in_one_partition() {
    let emulator = start(Options::default()).await;
    let producer = producer(&emulator).await;
    for _ in 0..5 {
        let options = EventDataBatchOptions { partition_key: Some("device".into()), ..Default::default() };
        let batch = producer.create_batch(Some(options)).await.unwrap();
        batch.try_add_event_data("keyed", None).unwrap();
        producer.send_batch(batch, None).await.unwrap();
    }
    let mut lasts: Vec<i64> = emulator.partitions(HUB).iter().map(|partition| partition.last).collect();
    lasts.sort_unstable();
    assert_eq!(lasts, [-1, -1, -1, 4]);
    let options = SendEventOptions { partition_id: Some("3".into()) };
    let before = emulator.partitions(HUB)[3].last;
    producer.send_event("single", Some(options)).await.unwrap();
    assert_eq!(emulator.partitions(HUB)[3].last, before + 1);
}

#[tokio::test]
async fn a_token_is_checked() {
    let key = Some(("sender".to_owned(), "c2VjcmV0".to_owned()));
    let emulator = start(Options { key, ..Options::default() }).await;
    send(&emulator, "0", 3).await;
    assert_eq!(emulator.partitions(HUB)[0].last, 2);
    let guessed = emulator.connection_string().replace("c2VjcmV0", "Z3Vlc3M=");
    let client = timeout(Duration::from_secs(20), async {
        let client = consumer(&emulator, &guessed).await?;
        client.get_partition_properties("0").await
    });
    assert!(client.await.is_ok_and(|answer| answer.is_err()));
}

#[tokio::test]
async fn faults_reach_the_client() {
    let emulator = start(Options::default()).await;
    send(&emulator, "0", 500).await;
    let client = consumer(&emulator, &emulator.connection_string()).await.unwrap();
    emulator.faults().once(Fault::Detach, 200);
    let numbers = read(&client, "0", from(StartLocation::Earliest, None), 499).await;
    assert_eq!(emulator.faults().struck(Fault::Detach), 1);
    let rewinds: BTreeMap<i64, usize> = numbers.iter().fold(BTreeMap::new(), |mut counts, number| {
        *counts.entry(*number).or_default() += 1;
        counts
    });
    assert!(rewinds.len() == 500 && numbers.len() > 500, "the client recovers by beginning again");
    emulator.faults().once(Fault::Throttle, 1);
    send(&emulator, "2", 5).await;
    assert_eq!((emulator.faults().struck(Fault::Throttle), emulator.partitions(HUB)[2].last), (1, 4));
    emulator.recreate(HUB, 2);
    assert_eq!(emulator.partitions(HUB).len(), 2);
    let states = emulator.partitions(HUB);
    assert!(states.iter().all(|state| state.is_empty && state.last == -1));
}

/// Closed while more of its events are on their way, a receiver leaves its session and connection as they were.
#[tokio::test]
async fn one_connection_opens_and_closes_receivers_again_and_again() {
    let emulator = start(Options::default()).await;
    send(&emulator, "0", 2_000).await;
    let client = consumer(&emulator, &emulator.connection_string()).await.unwrap();
    for from in (0..1_000).step_by(20) {
        let options = self::from(StartLocation::SequenceNumber(from), Some(0));
        let receiver = client.open_receiver_on_partition("0".into(), options).await.unwrap();
        let mut events = Box::pin(receiver.stream_events());
        let first = timeout(Duration::from_secs(5), events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(first.sequence_number(), Some(from + 1));
        drop(events);
        timeout(Duration::from_secs(5), receiver.close()).await.unwrap().unwrap();
    }
    assert_eq!(emulator.partitions(HUB)[0].receivers, 50, "none was attached again to be closed");
}
