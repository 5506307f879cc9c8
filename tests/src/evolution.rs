//! Records that change their shape: columns are added, or what has none is rescued, told or left out, as it was said.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field};
use deltalake::parquet::arrow::ArrowWriter;
use headwater_core::name::DatasetName;
use headwater_core::report::Outcome;
use headwater_runtime::local::FunctionKind;

use crate::lakes::{Lab, commits, deliver, message, rows, tick, try_update, update, values, well};

fn table(format: &str, options: &str) -> String {
    format!("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => '{format}'{options})")
}

/// The rows of `t` without `_metadata`.
async fn shown(lab: &Lab, sql: &str) -> Vec<String> {
    let found = rows(&lab.lake(sql), &DatasetName::new("t")).await;
    let own = |row: &String| {
        let parts = row.split(" | ").filter(|part| !part.starts_with("_metadata."));
        parts.collect::<Vec<_>>().join(" | ")
    };
    let mut own: Vec<_> = found.iter().map(own).collect();
    own.sort_unstable();
    own
}

/// Many records, so that those at the end are in no sample.
fn long(first: &str, last: &str) -> String {
    format!("{first}\n").repeat(70_000) + last + "\n"
}

#[tokio::test]
async fn a_column_that_no_sample_shows_is_added_without_a_failure() {
    let lab = Lab::new();
    let sql = table("json", "");
    lab.arrive("a.json", long("{\"n\":1,\"pad\":\"0123456789\"}", "{\"n\":2,\"late\":{\"x\":[1]}}"));
    let report = update(&lab.lake(&sql)).await;
    assert_eq!((report.flows[0].rows.written, report.flows[0].rows.quarantined), (70_001, 0), "{report:?}");
    assert_eq!(shown(&lab, &sql).await.last().unwrap(), "n=2 | late.x=[1]");

    for at in 0..4 {
        lab.arrive(
            &format!("b{at}.json"),
            format!("{{\"n\":{at}}}\n{{\"n\":7,\"late\":{{\"y\":\"in\"}},\"c{at}\":true}}\n"),
        );
    }
    let report = update(&lab.lake(&sql)).await;
    assert_eq!((commits(&report), report.flows[0].rows.written), (1, 8));
    let found = shown(&lab, &sql).await;
    assert_eq!(found.iter().filter(|row| row.contains("late.y=in")).count(), 4);
    assert!((0..4).all(|at| found.iter().any(|row| row.ends_with(&format!("c{at}=true")))));
    assert!(found.contains(&"n=2 | late.x=[1]".to_owned()), "rows from before the nested column are read as they were");
}

#[tokio::test]
async fn the_columns_of_csv_and_parquet_grow_too() {
    let lab = Lab::new();
    let sql = table("csv", ", header => true");
    for at in 0..5 {
        lab.arrive(&format!("{at}.csv"), format!("n,c{at}\n{at},{at}5\n"));
    }
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["n=0 | c0=5", "n=1 | c1=15", "n=2 | c2=25", "n=3 | c3=35", "n=4 | c4=45"]);

    let lab = Lab::new();
    let sql = table("parquet", "");
    for at in 0..5_i64 {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![at]));
        let inner = Arc::new(Field::new(format!("x{at}"), DataType::Int64, true));
        let s: ArrayRef = Arc::new(StructArray::from(vec![(inner, Arc::clone(&n))]));
        let batch = RecordBatch::try_from_iter([("s".to_owned(), s), (format!("c{at}"), n)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        lab.arrive(&format!("{at}.parquet"), writer.into_inner().unwrap());
        update(&lab.lake(&sql)).await;
    }
    let wanted: Vec<_> = (0..5).map(|at| format!("s.x{at}={at} | c{at}={at}")).collect();
    assert_eq!(shown(&lab, &sql).await, wanted);
}

#[tokio::test]
async fn messages_grow_their_table_too() {
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', format => 'json')";
    well(deliver(&lab.lake(sql), vec![message("a", "{\"n\":1}", 1)]).await);
    let many: Vec<_> = (0..1_500).map(|at| message(&format!("m{at}"), "{\"n\":2}", 1)).collect();
    let last = message("z", "{\"n\":3,\"new\":\"x\"}", 1);
    well(deliver(&lab.lake(sql), many.into_iter().chain([last]).collect()).await);
    assert_eq!(shown(&lab, sql).await.last().unwrap(), "n=3 | new=x");
    assert_eq!(values(&lab.lake(sql), "t__quarantine", "_headwater.raw").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_has_no_column_or_does_not_fit_is_rescued_with_its_file() {
    let lab = Lab::new();
    let given = ", schema => 'n INT, s STRUCT<a: INT>, at TIMESTAMP', rescuedDataColumn => '_rescued_data'";
    let sql = table("json", given);
    let records = [
        r#"{"n":1,"s":{"a":1}}"#,
        r#"{"n":2,"N":9,"more":{"x":1.10},"s":{"a":2,"b":"é"}}"#,
        r#"{"n":"three","at":"2026-01-02T03:04:05Z"}"#,
        r#"{"n":4.5,"s":{"a":"x"},"at":"noon"}"#,
        r#"{"n":5"#,
    ];
    lab.arrive("a.json", records.join("\n"));
    let report = update(&lab.lake(&sql)).await;
    assert_eq!((report.flows[0].rows.written, report.flows[0].rows.quarantined), (4, 1), "{report:?}");
    let path = format!("file://{}/in/a.json", lab.folder.path().canonicalize().unwrap().display());
    let found = shown(&lab, &sql).await;
    let rescued: Vec<_> =
        found.iter().map(|row| row.split_once("_rescued_data=").map_or("", |(_, rest)| rest)).collect();
    let with = |fields: &str| format!("{{{fields},\"_file_path\":\"{path}\"}}");
    assert!(found.contains(&"n=1 | s.a=1".to_owned()), "{found:#?}");
    for wanted in [
        with(r#""N":9,"more":{"x":1.10},"s":{"b":"é"}"#),
        with(r#""n":"three""#),
        with(r#""at":"noon","n":4.5,"s":{"a":"x"}"#),
    ] {
        assert!(rescued.contains(&wanted.as_str()), "{wanted}: {found:#?}");
    }
    assert!(found.iter().any(|row| row.starts_with("at=2026-01-02T03:04:05Z")), "{found:#?}");
}

#[tokio::test]
async fn csv_parquet_and_messages_are_rescued_alike() {
    let lab = Lab::new();
    let sql = table("csv", ", header => true, schema => 'n INT, s STRING', rescuedDataColumn => 'rest'");
    lab.arrive("a.csv", "s,n,x\na,1,\nb,two,\"q\"\"q\"\n");
    update(&lab.lake(&sql)).await;
    let found = shown(&lab, &sql).await;
    assert_eq!(found[0], "n=1 | s=a");
    assert!(found[1].starts_with(r#"s=b | rest={"x":"q\"q","n":"two","_file_path":"#), "{found:?}");

    let lab = Lab::new();
    let sql = table("parquet", ", schema => 'n INT', rescuedDataColumn => 'rest'");
    let n: ArrayRef = Arc::new(StringArray::from(vec!["1", "two", "3"]));
    let x: ArrayRef = Arc::new(Int64Array::from(vec![None, None, Some(7)]));
    let batch = RecordBatch::try_from_iter([("n", n), ("x", x)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    lab.arrive("a.parquet", writer.into_inner().unwrap());
    update(&lab.lake(&sql)).await;
    let found = shown(&lab, &sql).await;
    assert_eq!(found[0], "n=1");
    assert!(found[1].starts_with("n=3 | rest={\"x\":7,\"_file_path\":"), "{found:?}");
    assert!(found[2].starts_with("rest={\"n\":\"two\",\"_file_path\":"), "{found:?}");

    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE t AS
        SELECT * FROM STREAM read_events('events', format => 'json', schemaEvolutionMode => 'rescue')";
    well(deliver(&lab.lake(sql), vec![message("a", "{\"n\":1}", 1)]).await);
    well(deliver(&lab.lake(sql), vec![message("b", "{\"n\":\"x\",\"new\":2}", 1), message("c", "{\"n\":3}", 1)]).await);
    assert_eq!(shown(&lab, sql).await, ["_rescued_data={\"n\":\"x\",\"new\":2}", "n=1", "n=3"]);
}

#[tokio::test]
async fn new_columns_fail_the_batch_are_left_out_or_go_to_quarantine_as_it_was_said() {
    let lab = Lab::new();
    let fail = table("json", ", schema => 'n INT', schemaEvolutionMode => 'failOnNewColumns'");
    lab.arrive("a.json", "{\"n\":1}\n");
    update(&lab.lake(&fail)).await;
    lab.arrive("b.json", "{\"n\":2,\"x\":1}\n");
    let report = try_update(&lab.lake(&fail)).await;
    let Some(Outcome::Failed { message, .. }) = report.flows.first().map(|flow| &flow.outcome) else {
        panic!("{report:?}")
    };
    assert!(message.contains("b.json has columns that aren't known: x"), "{message}");
    assert_eq!(shown(&lab, &fail).await, ["n=1"]);
    update(&lab.lake(&table("json", ", schema => 'n INT'"))).await;
    assert_eq!(shown(&lab, &fail).await, ["n=1", "n=2"]);

    // What differs in case only, or is too wide to be meant, makes no column; and it isn't lost.
    let lab = Lab::new();
    let sql = table("json", "");
    let wide: Vec<_> = (0..600).map(|at| format!("\"c{at}\":1")).collect();
    lab.arrive("a.json", "{\"n\":1}\n");
    update(&lab.lake(&sql)).await;
    for (name, record) in [("b.json", "{\"N\":2}".to_owned()), ("c.json", format!("{{{}}}", wide.join(",")))] {
        lab.arrive(name, format!("{}{record}\n", "{\"n\":1}\n".repeat(200_000)));
    }
    let report = update(&lab.lake(&sql)).await;
    assert_eq!(report.flows[0].rows.quarantined, 2, "{:?}", report.flows[0]);
    assert_eq!(values(&lab.lake(&sql), "t__quarantine", "_headwater.reasons").await.len(), 2);
}

#[tokio::test]
async fn writers_that_add_columns_at_once_all_end_well() {
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', format => 'json')";
    well(deliver(&lab.lake(sql), vec![message("first", "{\"n\":0}", 1)]).await);
    let writers = (0..6).map(|writer| {
        let lake = lab.lake(sql);
        async move {
            for batch in 0..4 {
                let id = format!("w{writer}b{batch}");
                let body = format!("{{\"n\":{batch},\"c{writer}\":1,\"d{batch}\":2}}");
                well(deliver(&lake, vec![message(&id, body, 1)]).await);
            }
        }
    });
    futures::future::join_all(writers).await;
    let lake = lab.lake(sql);
    assert_eq!(values(&lake, "t", "_metadata.message_id").await.len(), 25);
    for column in (0..6).map(|at| format!("c{at}")).chain((0..4).map(|at| format!("d{at}"))) {
        let held = values(&lake, "t", &column).await.iter().filter(|value| *value != "~").count();
        assert_eq!(held, if column.starts_with('c') { 4 } else { 6 }, "{column}");
    }
    well(tick(&lake, FunctionKind::Silver).await);
}
