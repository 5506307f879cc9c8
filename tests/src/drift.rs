//! Sources that change: a record of another shape than the table's is a row where it still means one thing, and verbatim in
//! quarantine where it doesn't; what came before it and beside it stays as it is.

use headwater_core::name::DatasetName;
use headwater_runtime::local::FunctionKind;

use crate::lakes::{Lab, commits, rows, tick, values, well};

const SQL: &str = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json',
    schema => 'id BIGINT, name STRING, x DOUBLE, at TIMESTAMP, tags ARRAY<STRING>, place STRUCT<city: STRING, zip: INT>');
    CREATE STREAMING TABLE s AS SELECT id, name FROM STREAM t";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Row,
    Aside,
}

use Fate::{Aside, Row};

/// What changed, the record, and what becomes of it.
const CASES: [(&str, &str, Fate); 32] = [
    ("a column is missing", r#"{"id": 7, "name": "a"}"#, Row),
    ("all columns are missing", "{}", Row),
    ("a column is new", r#"{"id": 7, "email": "a@b"}"#, Row),
    ("a column is renamed", r#"{"ident": 7, "name": "a"}"#, Row),
    ("columns have another order", r#"{"name": "a", "id": 7}"#, Row),
    ("a new column holds what is deep", r#"{"id": 7, "more": {"a": [{"b": {}}]}}"#, Row),
    ("everything is null", r#"{"id": null, "name": null, "x": null, "at": null, "tags": null, "place": null}"#, Row),
    ("a number is a text", r#"{"id": "7"}"#, Row),
    ("a number has a fraction of zero", r#"{"id": 7.0}"#, Row),
    ("a number has a fraction", r#"{"id": 7.5}"#, Aside),
    ("a number is a flag", r#"{"id": true}"#, Aside),
    ("a number is an object", r#"{"id": {"value": 7}}"#, Aside),
    ("a number is a list", r#"{"id": [7]}"#, Aside),
    ("a number is too large", r#"{"id": 9223372036854775808}"#, Aside),
    ("a text is a number", r#"{"id": 7, "name": 5}"#, Row),
    ("a text is a flag", r#"{"id": 7, "name": true}"#, Row),
    ("a text is an object", r#"{"id": 7, "name": {"first": "a"}}"#, Row),
    ("a text is a list", r#"{"id": 7, "name": ["a"]}"#, Row),
    ("a fraction is a whole number", r#"{"id": 7, "x": 5}"#, Row),
    ("a fraction is a text", r#"{"id": 7, "x": "5.5"}"#, Row),
    ("a fraction is a text with a comma", r#"{"id": 7, "x": "5,5"}"#, Aside),
    ("a time is a date", r#"{"id": 7, "at": "2024-01-01"}"#, Row),
    ("a time is written otherwise", r#"{"id": 7, "at": "01.02.2024 10:00"}"#, Aside),
    ("a time is an object", r#"{"id": 7, "at": {"seconds": 1}}"#, Aside),
    ("a list is one value", r#"{"id": 7, "tags": "a"}"#, Aside),
    ("a list is an object", r#"{"id": 7, "tags": {"0": "a"}}"#, Aside),
    ("a list holds nulls", r#"{"id": 7, "tags": [null, "a"]}"#, Row),
    ("an object is a text", r#"{"id": 7, "place": "here"}"#, Aside),
    ("an object is a list", r#"{"id": 7, "place": ["here", 1]}"#, Aside),
    ("an object has a new field", r#"{"id": 7, "place": {"city": "a", "zip": 1, "street": "b"}}"#, Row),
    ("an object lacks a field", r#"{"id": 7, "place": {"zip": 1}}"#, Row),
    ("a field of an object is a text", r#"{"id": 7, "place": {"city": "a", "zip": "here"}}"#, Aside),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_shape_harms_nobody_else() {
    let lab = Lab::new();
    lab.arrive(
        "0.json",
        "{\"id\": 1, \"name\": \"before\", \"tags\": [\"a\"], \"place\": {\"city\": \"c\", \"zip\": 1}}\n",
    );
    well(tick(&lab.lake(SQL), FunctionKind::BronzeFiles).await);
    let before = rows(&lab.lake(SQL), &DatasetName::new("t")).await;
    let mut wrong = Vec::new();
    for (at, (what, record, fate)) in CASES.iter().enumerate() {
        lab.arrive(&format!("{}.json", at + 1), format!("{record}\n{{\"id\": {}}}\n", 100 + at));
        let report = well(tick(&lab.lake(SQL), FunctionKind::BronzeFiles).await);
        let aside: u64 = report.flows.iter().map(|flow| flow.rows.quarantined).sum();
        if aside != u64::from(*fate == Aside) {
            wrong.push((what, record));
        }
    }
    assert!(wrong.is_empty(), "another fate than expected: {wrong:#?}");
    let lake = lab.lake(SQL);
    let found = rows(&lake, &DatasetName::new("t")).await;
    assert!(before.iter().all(|row| found.contains(row)), "what was there before");
    let ids = values(&lake, "t", "id").await;
    assert!((0..CASES.len()).all(|at| ids.contains(&(100 + at).to_string())), "the records beside them");
    let set_aside = CASES.iter().filter(|(_, _, fate)| *fate == Aside).count();
    assert_eq!(rows(&lake, &DatasetName::new("t__quarantine")).await.len(), set_aside);
    assert_eq!(found.len(), 1 + 2 * CASES.len() - set_aside);
    well(tick(&lake, FunctionKind::Silver).await);
    assert_eq!(rows(&lake, &DatasetName::new("s")).await.len(), found.len(), "what reads the table reads all of it");
    assert_eq!(commits(&tick(&lab.lake(SQL), FunctionKind::BronzeFiles).await), 0);
}
