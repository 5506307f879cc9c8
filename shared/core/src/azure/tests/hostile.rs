use proptest::prelude::*;

use super::*;
use crate::notices::damage::{put, size};

const SECRET: &str = "hunter2";
const TRIGGERS: [TriggerKind; 3] = [TriggerKind::Queue, TriggerKind::EventHub, TriggerKind::Timer];

fn documents() -> [Value; 3] {
    let url = "https://lake.blob.core.windows.net/landing/a.csv";
    let notice = json!({"eventType": "Microsoft.Storage.BlobCreated", "data": {"api": "PutBlob", "url": url}});
    [queued(&notice), queued(&encoded(&notice)), hub_document()]
}

/// What is said about a document that can't be read, whichever function was meant.
fn complaints(document: &[u8]) -> Vec<String> {
    let functions = TRIGGERS.into_iter().map(function).chain([binary()]);
    let errors = functions.filter_map(|function| Invocation::read(document, &function).err());
    errors.flat_map(|error| [error.to_string(), format!("{error:?}")]).collect()
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::from(SECRET)),
        Just(json!([SECRET])),
        Just(json!({ SECRET: SECRET })),
        Just(json!([{"eventType": SECRET, "data": {"url": SECRET}}])),
        Just(encoded(&json!([SECRET, SECRET]))),
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
        which in 0..3_usize, place in any::<prop::sample::Index>(), other in odd_value()
    ) {
        let [first, second, third] = documents();
        let mut document = [first, second, third].into_iter().nth(which).unwrap_or_default();
        let mut place = place.index(size(&document));
        put(&mut document, &mut place, &other);
        for complaint in complaints(document.to_string().as_bytes()) {
            prop_assert!(!complaint.contains(SECRET), "{}", complaint);
        }
    }

    #[test]
    fn a_document_that_is_cut_short_is_refused(which in 0..3_usize, at in any::<prop::sample::Index>()) {
        let document = documents()[which].to_string();
        let cut = &document.as_bytes()[..at.index(document.len())];
        prop_assert!(TRIGGERS.into_iter().all(|trigger| Invocation::read(cut, &function(trigger)).is_err()));
    }
}
