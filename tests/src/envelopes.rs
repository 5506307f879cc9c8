//! Changes as capture tools write them: Debezium's envelopes, and the files of AWS DMS.

use headwater_core::name::DatasetName;
use headwater_core::report::Outcome;

use crate::lakes::{Lab, deliver, message, rows, tick, update, values, well};
use headwater_runtime::local::FunctionKind;

const CUSTOMERS: &str = "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_events('events', format => 'json',
    envelope => 'debezium', schema => 'id INT, name STRING, photo STRING');
  CREATE STREAMING TABLE customers;
  CREATE FLOW f AS AUTO CDC INTO customers FROM STREAM raw WHERE _table = 'public.customers' KEYS (id)
    APPLY AS DELETE WHEN _op = 'd' APPLY AS TRUNCATE WHEN _op = 't' SEQUENCE BY _lsn
    COLUMNS TO UPDATE _columns COLUMNS (id, name, photo)";

/// A change as Debezium's connector for PostgreSQL writes it.
fn change(op: &str, lsn: u64, (before, after): (&str, &str)) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{{"version":"3.0.5.Final","connector":"postgresql","name":"shop",
"ts_ms":1733836912123,"snapshot":"false","db":"orders","sequence":"[null,\"{lsn}\"]","ts_us":1733836912123456,
"ts_ns":1733836912123456000,"schema":"public","table":"customers","txId":756,"lsn":{lsn},"xmin":null}},"transaction":null,
"op":"{op}","ts_ms":1733836912600,"ts_us":1733836912600100,"ts_ns":1733836912600100200}}"#
    )
}

fn with_schema(change: &str) -> String {
    let columns = r#"[{"type":"int32","optional":false,"field":"id"}]"#;
    format!(
        r#"{{"schema":{{"type":"struct","fields":[{{"type":"struct","fields":{columns},"optional":true,"field":"after"}}],
"optional":false,"name":"shop.public.customers.Envelope","version":2}},"payload":{change}}}"#
    )
}

/// A copied row, changes of it, a delete with its tombstone, and what is no change at all.
fn history() -> Vec<String> {
    vec![
        change("r", 100, ("null", r#"{"id":1,"name":"Anne","photo":"large"}"#)),
        with_schema(&change("c", 110, ("null", r#"{"id":2,"name":"Bob","photo":null}"#))),
        change("u", 120, ("null", r#"{"id":1,"name":"Anna","photo":"__debezium_unavailable_value"}"#)),
        change("c", 130, ("null", r#"{"id":3,"name":"Eve","photo":null}"#)),
        change("d", 140, (r#"{"id":2,"name":null,"photo":null}"#, "null")),
        "null".into(),
        String::new(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_debezium_keep_a_table_in_any_order() {
    for backwards in [false, true] {
        let lab = Lab::new();
        let mut history = history();
        if backwards {
            history.reverse();
        }
        for (at, body) in history.iter().enumerate() {
            well(deliver(&lab.lake(CUSTOMERS), vec![message(&format!("m{at}"), body, 1)]).await);
            well(tick(&lab.lake(CUSTOMERS), FunctionKind::Silver).await);
        }
        let lake = lab.lake(CUSTOMERS);
        assert_eq!(
            rows(&lake, &DatasetName::new("customers")).await,
            ["id=1 | name=Anna | photo=large", "id=3 | name=Eve"],
            "{backwards}"
        );
        assert_eq!(rows(&lake, &DatasetName::new("raw").quarantine()).await, [""; 0]);
        well(deliver(&lake, vec![message("t", change("t", 150, ("null", "null")), 1)]).await);
        well(tick(&lake, FunctionKind::Silver).await);
        assert_eq!(rows(&lake, &DatasetName::new("customers")).await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_debezium_says_of_a_change_is_in_columns() {
    let lab = Lab::new();
    well(deliver(&lab.lake(CUSTOMERS), vec![message("m", &history()[2], 1)]).await);
    let lake = lab.lake(CUSTOMERS);
    let found = async |column| values(&lake, "raw", column).await;
    assert_eq!(found("_op").await, ["u"]);
    assert_eq!(found("_ts").await, ["2024-12-10T13:21:52.123456Z"]);
    assert_eq!(found("_lsn").await, ["120"]);
    assert_eq!(found("_columns").await, ["[id, name]"]);
    assert_eq!(found("_table").await, ["public.customers"]);
    assert!(found("_source").await[0].contains(r#""txId":756"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_change_is_quarantined_as_it_came() {
    let lab = Lab::new();
    let bodies =
        [r#"{"id": 1, "name": "plain"}"#, r#"{"op":"d","before":null}"#, "[]", r#"{"op":"c","after":{"id":"x"}}"#];
    let messages = bodies.iter().enumerate().map(|(at, body)| message(&format!("m{at}"), body, 1)).collect();
    well(deliver(&lab.lake(CUSTOMERS), messages).await);
    let lake = lab.lake(CUSTOMERS);
    assert_eq!(rows(&lake, &DatasetName::new("raw")).await, [""; 0]);
    let mut raw = bodies.to_vec();
    raw.sort_unstable();
    assert_eq!(values(&lake, "raw__quarantine", "_headwater.raw").await.len(), raw.len());
    let reasons = values(&lake, "raw__quarantine", "_headwater.reasons").await.join("; ");
    for reason in ["it has no `op`", "REPLICA IDENTITY", "not a JSON object", "id"] {
        assert!(reasons.contains(reason), "{reason}: {reasons}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_in_an_envelope_are_inferred() {
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE raw AS SELECT * EXCEPT (_metadata, _source) FROM STREAM read_files('in', format => 'json',
        envelope => 'debezium')";
    let lines: Vec<String> = history()[..4].iter().map(|change| change.replace('\n', "")).collect();
    lab.arrive("0.json", lines.join("\n"));
    well(tick(&lab.lake(sql), FunctionKind::BronzeFiles).await);
    assert_eq!(values(&lab.lake(sql), "raw", "name").await, ["Anna", "Anne", "Bob", "Eve"]);
    assert_eq!(values(&lab.lake(sql), "raw", "_lsn").await, ["100", "110", "120", "130"]);
}

/// `AddColumnName`, `TimestampColumnName=ts`; without `IncludeOpForFullLoad` the full load has no `Op`.
const DMS: &str = "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'csv', header => true,
    schema => 'Op STRING, id INT, name STRING, ts TIMESTAMP');
  CREATE STREAMING TABLE customers;
  CREATE FLOW f AS AUTO CDC INTO customers FROM STREAM raw KEYS (id)
    APPLY AS DELETE WHEN Op = 'D' SEQUENCE BY STRUCT(ts, _metadata.file_name) COLUMNS (id, name)";

#[tokio::test(flavor = "multi_thread")]
async fn files_of_aws_dms_keep_a_table_in_any_order() {
    let files = [
        ("LOAD00000001.csv", "id,name,ts\n1,Anne,2026-01-01 00:00:00.000000\n2,Bob,2026-01-01 00:00:00.000000\n"),
        (
            "20260102-090000000.csv",
            "Op,id,name,ts\nU,1,Anna,2026-01-02 08:59:00.000001\nI,3,Eve,2026-01-02 08:59:00.000002\n",
        ),
        (
            "20260103-090000000.csv",
            "Op,id,name,ts\nD,2,Bob,2026-01-03 08:00:00.000000\nU,3,Eva,2026-01-03 08:00:01.000000\n",
        ),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let lab = Lab::new();
        for (name, text) in order.map(|at: usize| files[at]) {
            lab.arrive(name, text);
            let report = update(&lab.lake(DMS)).await;
            assert!(report.flows.iter().any(|flow| matches!(flow.outcome, Outcome::Committed { .. })));
        }
        assert_eq!(rows(&lab.lake(DMS), &DatasetName::new("customers")).await, ["id=1 | name=Anna", "id=3 | name=Eva"]);
    }
}
