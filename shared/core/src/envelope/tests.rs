use serde_json::{Value, json};

use super::*;

fn message(op: &str, before: &Value, after: &Value) -> Value {
    json!({
        "before": before,
        "after": after,
        "source": {
            "version": "3.0.5.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1_733_836_912_123_i64,
            "snapshot": "false", "db": "orders", "sequence": "[\"36466608\",\"36466704\"]",
            "ts_us": 1_733_836_912_123_456_i64, "ts_ns": 1_733_836_912_123_456_000_i64,
            "schema": "public", "table": "customers", "txId": 756, "lsn": 36_466_704, "xmin": null
        },
        "transaction": null,
        "op": op,
        "ts_ms": 1_733_836_912_600_i64, "ts_us": 1_733_836_912_600_100_i64, "ts_ns": 1_733_836_912_600_100_200_i64
    })
}

fn unwrapped(message: &Value) -> Result<Option<Value>, String> {
    let mut row = Vec::new();
    match Envelope::Debezium.unwrap(message.to_string().as_bytes(), &mut row) {
        Content::Row => Ok(Some(serde_json::from_slice(&row).unwrap())),
        Content::Nothing => {
            assert!(row.is_empty());
            Ok(None)
        }
        Content::Fault(reason) => {
            assert!(row.is_empty());
            Err(reason)
        }
    }
}

#[test]
fn a_change_gives_its_row_and_what_happened_to_it() {
    let row = json!({"id": 1004, "first_name": "Anne", "email": "annek@noanswer.org"});
    let update = message("u", &Value::Null, &row);
    let found = unwrapped(&update).unwrap().unwrap();
    let source = update["source"].to_string();
    assert_eq!(
        found,
        json!({"id": 1004, "first_name": "Anne", "email": "annek@noanswer.org", "_op": "u", "_lsn": 36_466_704,
            "_ts": "2024-12-10T13:21:52.123456Z", "_table": "public.customers", "_columns": null, "_source": source})
    );
}

#[test]
fn a_schema_section_makes_no_difference() {
    let plain = message("c", &Value::Null, &json!({"id": 1}));
    let wrapped =
        json!({"schema": {"type": "struct", "fields": [], "name": "shop.public.customers.Envelope"}, "payload": plain});
    assert_eq!(unwrapped(&wrapped), unwrapped(&plain));
    assert_eq!(unwrapped(&json!({"schema": {}, "payload": null})), Ok(None));
}

#[test]
fn a_delete_gives_the_row_before_it() {
    let found = unwrapped(&message("d", &json!({"id": 1004}), &Value::Null)).unwrap().unwrap();
    assert_eq!((&found["id"], &found["_op"]), (&json!(1004), &json!("d")));
    assert!(unwrapped(&message("d", &Value::Null, &Value::Null)).unwrap_err().contains("REPLICA IDENTITY"));
}

#[test]
fn a_truncation_and_a_snapshot_are_rows_too() {
    let found = unwrapped(&message("t", &Value::Null, &Value::Null)).unwrap().unwrap();
    assert_eq!(found["_op"], "t");
    let found = unwrapped(&message("r", &Value::Null, &json!({"id": 7}))).unwrap().unwrap();
    assert_eq!((&found["id"], &found["_op"]), (&json!(7), &json!("r")));
}

#[test]
fn numbers_stay_as_they_were_written() {
    let text = r#"{"before":null,"after":{"n":12345678901234567890.12345678901234567890},"op":"c","source":{}}"#;
    let mut row = Vec::new();
    assert_eq!(Envelope::Debezium.unwrap(text.as_bytes(), &mut row), Content::Row);
    assert!(
        String::from_utf8(row).unwrap().starts_with(r#"{"n":12345678901234567890.12345678901234567890,"_columns""#)
    );
}

#[test]
fn a_large_value_that_was_not_touched_is_left_out() {
    let row = json!({"id": 1, "name": "a", "photo": "__debezium_unavailable_value", "tags": ["__debezium_unavailable_value"]});
    let found = unwrapped(&message("u", &Value::Null, &row)).unwrap().unwrap();
    assert_eq!(found["_columns"], json!(["id", "name"]));
    assert_eq!(found.get("photo"), None);
}

#[test]
fn what_is_no_change_says_so() {
    for (message, reason) in [
        (json!({"id": 1}), "it has no `op`"),
        (json!({"op": "m", "message": {"prefix": "p"}}), "op `m` changes no row"),
        (json!({"op": "c", "after": null}), "a change without `after`"),
        (json!({"op": "c", "after": [1]}), "isn't an object"),
        (json!({"op": 5}), "not a change of Debezium"),
        (json!({"op": "c", "after": {"id": 1}, "source": 3}), "`source` can't be read"),
    ] {
        let found = unwrapped(&message).unwrap_err();
        assert!(found.contains(reason), "{message}: {found}");
    }
}

#[test]
fn only_a_tombstone_is_a_tombstone() {
    assert!(Envelope::Debezium.is_tombstone(b"null\n") && Envelope::Debezium.is_tombstone(b""));
    assert!(!Envelope::Debezium.is_tombstone(b"{}"));
}

#[test]
fn every_column_is_written() {
    let found = unwrapped(&message("c", &Value::Null, &json!({}))).unwrap().unwrap();
    let names: Vec<String> = Envelope::Debezium.columns().into_iter().map(|column| column.name).collect();
    assert_eq!(names.len(), 6);
    assert!(names.iter().all(|name| found.get(name).is_some()) && found.as_object().unwrap().len() == 6);
}
