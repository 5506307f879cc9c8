use proptest::prelude::*;

use super::*;
use crate::azure::HandedOver;
use crate::trigger::Message;

fn batch(document: &Value, function: &Function) -> HandedOver {
    match read(document, function).unwrap() {
        Invocation::Events(batch) => batch,
        other => panic!("no events: {other:?}"),
    }
}

fn messages(document: &Value) -> Vec<Message> {
    let HandedOver { partition, events, .. } = batch(document, &function(TriggerKind::EventHub));
    events.into_iter().map(|event| event.into_message(&partition)).collect()
}

#[test]
fn events_are_known_by_where_they_stand() {
    insta::assert_debug_snapshot!("hub", messages(&hub_document()));
}

#[test]
fn the_hosts_word_for_the_namespace_is_taken_where_it_gives_one() {
    let mut document = hub_document();
    let context =
        json!({"FullyQualifiedNamespace": "mine.servicebus.windows.net", "EventHubName": "h", "PartitionId": "1"});
    document["Metadata"]["PartitionContext"] = encoded(&context);
    let told = batch(&document, &function(TriggerKind::EventHub));
    assert_eq!(told.namespace.as_deref(), Some("mine.servicebus.windows.net"));
    document["Metadata"]["PartitionContext"] = json!({"EventHubName": "h", "PartitionId": "1"});
    assert_eq!(batch(&document, &function(TriggerKind::EventHub)).namespace, None);
}

#[test]
fn values_may_be_encoded_once_twice_or_not_at_all() {
    let expected = messages(&hub_document());
    let mut plain = hub_document();
    let mut twice = hub_document();
    for part in ["Data", "Metadata"] {
        for value in plain[part].as_object_mut().unwrap().values_mut().filter(|value| value.is_string()) {
            *value = serde_json::from_str(value.as_str().unwrap()).unwrap();
        }
        for value in twice[part].as_object_mut().unwrap().values_mut() {
            *value = encoded(value);
        }
    }
    assert_eq!(messages(&plain), expected);
    assert_eq!(messages(&twice), expected);
    let camel = hub_document().to_string().replace("PartitionContext", "partitionContext");
    let camel = camel.replace("EventHubName", "eventHubName").replace("SequenceNumberArray", "sequenceNumberArray");
    assert_eq!(messages(&serde_json::from_str(&camel).unwrap()), expected);
}

#[test]
fn what_an_iot_hub_says_of_an_event_is_among_its_attributes() {
    let said = json!({
        "iothub-connection-device-id": "thermostat-7",
        "iothub-connection-auth-method": "{\"scope\":\"device\",\"type\":\"sas\"}",
        "iothub-connection-auth-generation-id": "638",
        "iothub-enqueuedtime": "2026-11-21T09:59:59.9Z",
        "iothub-message-source": "Telemetry",
        "x-opt-enqueued-time": 1_795_255_200_123_i64,
        "SequenceNumber": 41,
        "correlation-id": null,
    });
    let forged = json!({"iothub-connection-device-id": "thermostat-1", "room": "attic"});
    for (own, system) in [(forged.clone(), said.clone()), (encoded(&forged), encoded(&said))] {
        let mut document = hub_document();
        document["Metadata"]["PropertiesArray"] = encoded(&json!([own, {}]));
        document["Metadata"]["SystemPropertiesArray"] = encoded(&json!([system, {}]));
        let batch = messages(&document);
        insta::allow_duplicates! {
            insta::assert_debug_snapshot!("iot", batch[0].attributes);
        }
    }
}

#[test]
fn what_a_batch_lacks_is_named_by_its_place() {
    let cases = [
        ("PartitionContext", Value::Null, "Metadata.PartitionContext"),
        ("PartitionContext", json!({"PartitionId": "1"}), "Metadata.PartitionContext.EventHubName"),
        ("PartitionContext", json!({"EventHubName": "h"}), "Metadata.PartitionContext.PartitionId"),
        ("SequenceNumberArray", Value::Null, "Metadata.SequenceNumberArray"),
        ("SequenceNumberArray", json!([1]), "Metadata.SequenceNumberArray"),
        ("SequenceNumberArray", json!([1, 1.5]), "Metadata.SequenceNumberArray[1]"),
        ("SequenceNumberArray", json!(["9223372036854775808", 1]), "Metadata.SequenceNumberArray[0]"),
        ("EnqueuedTimeUtcArray", json!(["yesterday", "today"]), "Metadata.EnqueuedTimeUtcArray[0]"),
        ("OffsetArray", json!(["1", "2", "3"]), "Metadata.OffsetArray"),
    ];
    for (field, value, place) in cases {
        let mut document = hub_document();
        document["Metadata"][field] = value;
        let error = read(&document, &function(TriggerKind::EventHub)).unwrap_err();
        assert_eq!(error, EventError::Field { place: place.to_owned() });
    }
    for item in [json!([]), json!("[]"), json!({}), json!("text"), Value::Null] {
        let mut document = hub_document();
        document["Data"]["item"] = item;
        assert!(read(&document, &function(TriggerKind::EventHub)).is_err());
    }
    let error = read(&hub_document(), &binary()).unwrap_err();
    assert_eq!(error, EventError::Field { place: "Data.item[0]".to_owned() }, "it isn't Base64");
}

proptest! {
    #[test]
    fn any_body_survives_the_hosts_encoding(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5)) {
        let numbers: Vec<_> = (0..bodies.len()).collect();
        let times = vec!["2026-11-21T10:00:00Z"; bodies.len()];
        let texts: Vec<_> = bodies.iter().map(in_base64).collect();
        let document = json!({
            "Data": {"item": encoded(&json!(texts))},
            "Metadata": {
                "PartitionContext": {"PartitionId": "0", "EventHubName": "h"},
                "SequenceNumberArray": encoded(&json!(numbers)),
                "EnqueuedTimeUtcArray": encoded(&json!(times)),
            },
        });
        let read: Vec<_> = batch(&document, &binary()).events.into_iter().map(|event| event.body.to_vec()).collect();
        prop_assert_eq!(read, bodies);
    }

    #[test]
    fn a_body_that_is_text_stays_as_it_is(body in "\\PC{0,30}") {
        let mut document = hub_document();
        document["Data"]["item"] = encoded(&json!([body, "x"]));
        prop_assert_eq!(&messages(&document)[0].body[..], body.as_bytes());
    }
}
