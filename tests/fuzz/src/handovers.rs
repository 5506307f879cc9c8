//! What a cloud hands over: messages, events and notices of stored objects.

use std::fmt::Debug;

use headwater_core::aws::Invocation;
use headwater_core::aws::notice::stored_objects;
use headwater_core::azure::{self, Function, TriggerKind};
use headwater_core::notices::StoredObject;
use headwater_core::notices::commit::{StoredCommit, coalesce};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

/// A document is read or refused by each host, as the same each time, and an object that it names has that name in other
/// notices too.
pub fn check(document: &[u8]) {
    assert_eq!(read(document), read(document), "another time it is something else");
    let objects = stored_objects(document).unwrap_or_default();
    for object in &objects {
        named_again(object);
    }
    for (table, version) in coalesce(objects.iter().filter_map(StoredCommit::of)) {
        let told = objects.iter().filter_map(StoredCommit::of).filter(|commit| commit.table == table);
        assert_eq!(told.map(|commit| commit.version).max(), Some(version), "the newest commit of {table}");
    }
}

fn read(document: &[u8]) -> Vec<String> {
    let function =
        |trigger, is_binary| Function { name: "f".to_owned(), trigger, binding: "item".to_owned(), is_binary };
    let functions = [
        function(TriggerKind::Queue, false),
        function(TriggerKind::EventHub, false),
        function(TriggerKind::EventHub, true),
        function(TriggerKind::Timer, false),
    ];
    let azure = functions.iter().map(|function| line(azure::Invocation::read(document, function)));
    [line(Invocation::read(document)), line(stored_objects(document))].into_iter().chain(azure).collect()
}

fn line<T: Debug, E: Debug>(read: Result<T, E>) -> String {
    match read {
        Ok(read) => format!("{read:?}"),
        Err(error) => format!("{error:?}"),
    }
}

fn named_again(object: &StoredObject) {
    let bucket = object.root.strip_prefix("s3://").expect("an object of S3");
    let entity = |key: &str| json!({"bucket": {"name": bucket}, "object": {"key": key}});
    let encoded = utf8_percent_encode(&object.key, NON_ALPHANUMERIC).to_string();
    let of_s3 = json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": entity(&encoded)}]});
    let of_event_bridge = json!({"source": "aws.s3", "detail-type": "Object Created", "detail": entity(&object.key)});
    for notice in [of_s3, of_event_bridge] {
        let wrapped = json!({"Type": "Notification", "Message": notice.to_string()});
        for document in [notice, wrapped] {
            let read = stored_objects(document.to_string().as_bytes()).expect("a notice");
            assert_eq!(read, std::slice::from_ref(object), "by {document}");
        }
    }
}
