//! Changes of rows in the envelope of Debezium.

use headwater_core::envelope::{Content, Envelope};
use serde_json::Value;
use serde_json::value::RawValue;

/// A record is a row, nothing, or told as a fault; a row is an object in JSON, and the same row in another envelope.
pub fn check(record: &[u8]) {
    let (content, row) = unwrapped(record);
    assert_eq!(unwrapped(record), (content.clone(), row.clone()), "another time it is something else");
    if content == Content::Row {
        let object = serde_json::from_slice::<&RawValue>(&row).expect("a row is JSON");
        assert!(object.get().starts_with('{'), "a row is an object: {object}");
        assert!(!row.contains(&b'\n') || record.contains(&b'\n'), "a row is one line where its record is");
        if is_plain(record) {
            let wrapped = [b"{\"schema\": {}, \"payload\": ", record, b"}"].concat();
            assert_eq!(unwrapped(&wrapped), (content, row), "beside its schema it is something else");
        }
    } else {
        assert_eq!(row, b"", "no row is nothing");
    }
}

/// Whether a change stands alone, without its schema.
fn is_plain(record: &[u8]) -> bool {
    serde_json::from_slice::<Value>(record).is_ok_and(|change| change["op"].is_string())
}

/// What a record is, and the row that is taken out of it.
fn unwrapped(record: &[u8]) -> (Content, Vec<u8>) {
    const BEFORE: &[u8] = b"what is there before";
    let mut text = BEFORE.to_vec();
    let content = Envelope::Debezium.unwrap(record, &mut text);
    let row = text.strip_prefix(BEFORE).expect("what was there before is left alone").to_vec();
    (content, row)
}
