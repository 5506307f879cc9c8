use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::aws::Invocation;
use crate::aws::notice::{read_notices, stored_objects};
use crate::notices::damage::{put, size};

const SECRET: &str = "hunter2";
const DOCUMENTS: [&str; 7] = [STANDARD, FIFO, SCHEDULED, CREATED, TEST, EVENT_BRIDGE, SNS];

/// What is said about a document that can't be read, both as an invocation and as a notice.
fn complaints(document: &[u8]) -> Vec<String> {
    let invocation = Invocation::read(document).err();
    let notice = stored_objects(document).err();
    let deserialized = serde_json::from_slice::<Invocation>(document).err();
    let deserialized = deserialized.into_iter().flat_map(|error| [error.to_string(), format!("{error:?}")]);
    [invocation, notice]
        .into_iter()
        .flatten()
        .flat_map(|error| [error.to_string(), format!("{error:?}")])
        .chain(deserialized)
        .collect()
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::from(SECRET)),
        Just(serde_json::json!([SECRET])),
        Just(serde_json::json!({ SECRET: SECRET })),
        Just(serde_json::json!({"Records": [{"eventSource": SECRET}]})),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = complaints(&bytes);
    }

    #[test]
    fn a_damaged_document_neither_panics_nor_is_quoted(
        which in 0..DOCUMENTS.len(), place in any::<prop::sample::Index>(), other in odd_value()
    ) {
        let mut document: Value = serde_json::from_str(DOCUMENTS[which]).unwrap();
        let mut place = place.index(size(&document));
        put(&mut document, &mut place, &other);
        let text = document.to_string();
        for complaint in complaints(text.as_bytes()) {
            prop_assert!(!complaint.contains(SECRET), "{}", complaint);
        }
        let batch = read_notices(&[message("1", &text)]);
        prop_assert_eq!(batch.notices.len() + batch.unreadable.len(), 1);
    }

    #[test]
    fn a_document_that_is_cut_short_is_refused(which in 0..DOCUMENTS.len(), at in any::<prop::sample::Index>()) {
        let document = DOCUMENTS[which].trim_end().as_bytes();
        let cut = &document[..at.index(document.len())];
        prop_assert!(Invocation::read(cut).is_err());
        prop_assert!(stored_objects(cut).is_err());
    }
}

#[test]
fn a_value_of_the_wrong_type_is_not_quoted() {
    let document = format!("{{\"Records\": \"{SECRET}\"}}");
    let complaints = complaints(document.as_bytes());
    assert_eq!(complaints.len(), 6);
    assert!(complaints.iter().all(|complaint| !complaint.contains(SECRET)), "{complaints:?}");
}
