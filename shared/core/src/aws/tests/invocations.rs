use super::*;
use crate::aws::Invocation;
use crate::aws::batch::BatchResponse;
use crate::error::ErrorKind;
use crate::name::DatasetName;
use crate::notices::EventError;

fn read(document: &str) -> Result<Invocation, EventError> {
    Invocation::read(document.as_bytes())
}

fn datasets(document: &str) -> Vec<String> {
    match read(document).unwrap() {
        Invocation::Timer(names) => names.into_iter().map(String::from).collect(),
        Invocation::Queue(batch) => panic!("not a timer: {batch:?}"),
    }
}

#[test]
fn messages_of_a_standard_queue_are_read() {
    let Invocation::Queue(batch) = read(STANDARD).unwrap() else { panic!("no batch") };
    assert_eq!(batch.queue_name(), "headwater-flights");
    insta::assert_debug_snapshot!("standard", batch);
}

#[test]
fn messages_of_a_fifo_queue_say_where_they_stand() {
    let Invocation::Queue(batch) = read(FIFO).unwrap() else { panic!("no batch") };
    assert_eq!(batch.queue_name(), "headwater-flights.fifo");
    insta::assert_debug_snapshot!("fifo", batch);
}

#[test]
fn a_timer_without_an_input_means_every_dataset() {
    assert!(datasets(SCHEDULED).is_empty());
    assert!(datasets(&SCHEDULED.replace("aws.events", "aws.scheduler")).is_empty());
    assert!(datasets("{}").is_empty());
    assert!(datasets(r#"{"datasets": []}"#).is_empty());
}

#[test]
fn an_input_names_datasets() {
    assert_eq!(datasets(r#"{"datasets": ["Sales", "ops.Delays"]}"#), ["sales", "ops.delays"]);
    let expected = Invocation::Timer(vec![DatasetName::with_schema("ops", "delays")]);
    assert_eq!(read(r#"{"datasets": ["ops.delays"]}"#).unwrap(), expected);
}

#[test]
fn a_misspelt_input_is_refused_rather_than_taken_for_every_dataset() {
    for document in [r#"{"dataset": ["sales"]}"#, r#"{"source": "aws.events"}"#, EVENT_BRIDGE] {
        let error = read(document).unwrap_err();
        assert!(matches!(error, EventError::Unknown { .. }), "{error}");
        assert!(error.to_string().contains("{\"datasets\": [\"name\"]}"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn what_a_batch_lacks_is_named_by_its_place() {
    let cases = [
        ("\"messageId\": \"2e1424d4-f796-459a-8184-9c92662be6da\",", "", "Records[1].messageId"),
        ("\"ApproximateReceiveCount\": \"3\",", "", "Records[1].attributes.ApproximateReceiveCount"),
        ("\"ApproximateReceiveCount\": \"1\"", "\"ApproximateReceiveCount\": \"-1\"", "Records[0].attributes"),
        ("\"SentTimestamp\": \"1545082649183\"", "\"SentTimestamp\": \"\"", "Records[0].attributes.SentTimestamp"),
        ("\"SentTimestamp\": \"1545082649183\"", "\"SentTimestamp\": \"9999999999999999999\"", "SentTimestamp"),
        ("\"body\": \"not JSON", "\"text\": \"not JSON", "Records[1].body"),
        ("\"eventSource\": \"aws:sqs\"", "\"eventSource\": \"aws:kinesis\"", "Records[0].eventSource"),
    ];
    for (present, instead, place) in cases {
        assert!(STANDARD.contains(present), "{present}");
        let error = read(&STANDARD.replace(present, instead)).unwrap_err();
        assert!(error.to_string().contains(place), "{place}: {error}");
    }
    let error = read(r#"{"Records": []}"#).unwrap_err();
    assert_eq!(error, EventError::Field { place: "Records".to_owned() });
}

#[test]
fn a_batch_is_of_one_queue() {
    let other = STANDARD.replacen("headwater-flights", "headwater-weather", 1);
    let error = read(&other).unwrap_err();
    assert_eq!(error, EventError::Field { place: "Records[1].eventSourceARN".to_owned() });
}

#[test]
fn a_batch_was_received_when_its_first_message_was() {
    let received = |document: &str| match read(document).unwrap() {
        Invocation::Queue(batch) => batch.received_at.timestamp_millis(),
        Invocation::Timer(names) => panic!("no batch: {names:?}"),
    };
    assert_eq!(received(STANDARD), 1_545_082_649_185);
    let untold = STANDARD.replace("ApproximateFirstReceiveTimestamp", "Other");
    assert_eq!(received(&untold), 1_545_082_649_183, "when it was sent, at the earliest");
}

#[test]
fn a_returned_message_is_answered_by_the_id_that_sqs_knows() {
    let origin = r#""messageAttributes": {"headwater.origin": {"stringValue": "first 1000", "dataType": "String"}}"#;
    let document = STANDARD.replacen(r#""messageAttributes": {}"#, origin, 1);
    let Invocation::Queue(batch) = read(&document).unwrap() else { panic!("no batch") };
    let place = batch.messages.iter().position(|message| message.id == "first").unwrap();
    assert_eq!(batch.messages[place].enqueued_at.timestamp_millis(), 1_000);
    let failing = |id: &str| batch.answer(&BatchResponse::failing([id])).batch_item_failures;
    let [item] = &failing("first")[..] else { panic!("{:?}", failing("first")) };
    assert_eq!(item.item_identifier, batch.delivery_ids[place]);
    assert!(failing(&batch.delivery_ids[place]).is_empty(), "nobody knows it by that id");
}
