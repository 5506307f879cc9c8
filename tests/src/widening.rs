//! Columns whose types widen: what is told of it, and that values from before and after are read alike, by Headwater and by
//! a reader that does nothing but what the protocol says.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use arrow::util::display::array_value_to_string;
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::TryStreamExt;
use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report};
use headwater_runtime::local::FunctionKind;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

use crate::lakes::{Lab, commits, deliver, message, tick, try_update, update, values, well};

fn table(format: &str, options: &str) -> String {
    format!(
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => '{format}',
            schemaEvolutionMode => 'addNewColumnsWithTypeWidening'{options})"
    )
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// What the log of a table says: its last protocol and columns, and its live files.
#[derive(Debug, Default)]
pub(crate) struct Log {
    protocol: Value,
    schema: Value,
    pub(crate) files: BTreeMap<String, Value>,
}

impl Log {
    pub(crate) async fn read(lab: &Lab, path: &str) -> Self {
        let mut log = Self::default();
        let mut version = 0;
        loop {
            let entry = format!("{path}/_delta_log/{version:020}.json").into();
            let Ok(entry) = lab.store.get(&entry).await else { return log };
            let text = String::from_utf8(entry.bytes().await.unwrap().to_vec()).unwrap();
            for action in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
                if let Some(protocol) = action.get("protocol") {
                    log.protocol = protocol.clone();
                } else if let Some(metadata) = action.get("metaData") {
                    log.schema = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
                } else if let Some(add) = action.get("add") {
                    log.files.insert(add["path"].as_str().unwrap().to_owned(), add.clone());
                } else if let Some(remove) = action.get("remove") {
                    log.files.remove(remove["path"].as_str().unwrap());
                }
            }
            version += 1;
        }
    }

    fn field(&self, name: &str) -> &Value {
        self.schema["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap()
    }

    /// The types that a column had, from the first.
    pub(crate) fn changes(&self, name: &str) -> Vec<String> {
        let changes = self.field(name)["metadata"]["delta.typeChanges"].as_array().cloned().unwrap_or_default();
        let text = |change: &Value, key| change[key].as_str().unwrap().to_owned();
        changes.iter().map(|change| text(change, "fromType") + " " + &text(change, "toType")).collect()
    }

    pub(crate) fn asks_for_widening(&self) -> bool {
        let features = |side: &str| self.protocol[side].as_array().cloned().unwrap_or_default();
        let is_named = ["readerFeatures", "writerFeatures"].map(|side| features(side).contains(&"typeWidening".into()));
        assert_eq!(is_named[0], is_named[1], "{:?}", self.protocol);
        is_named[0]
    }

    /// The values of a column, each file's read as it is stored and made one of the column's type then; and the types that
    /// it is stored in.
    async fn values(
        &self,
        lab: &Lab,
        (table, column): (&str, &str),
        data_type: &DataType,
    ) -> (Vec<String>, Vec<String>) {
        let (mut values, mut types) = (Vec::new(), Vec::new());
        for path in self.files.keys() {
            let location = format!("{table}/{path}").into();
            let bytes = lab.store.get(&location).await.unwrap().bytes().await.unwrap();
            for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap() {
                let stored = ArrayRef::clone(batch.unwrap().column_by_name(column).unwrap());
                types.push(stored.data_type().to_string());
                let wide = cast(&stored, data_type).unwrap();
                values.extend((0..wide.len()).map(|row| array_value_to_string(&wide, row).unwrap()));
            }
        }
        types.sort_unstable();
        types.dedup();
        values.sort_unstable();
        (values, types)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_text_widen_a_column_and_what_fits_none_is_rescued() {
    for (format, lines) in [
        ("json", ["{\"n\":1}\n", "{\"n\":2}\n{\"n\":3000000000,\"s\":{\"a\":1.5}}\n", "{\"n\":1.5}\n{\"n\":\"x\"}\n"]),
        ("csv', header => 'true", ["n\n1\n", "n\n2\n3000000000\n", "n\n1.5\nx\n"]),
    ] {
        let lab = Lab::new();
        let nested = if format == "json" { ", s STRUCT<a: SMALLINT>" } else { "" };
        let sql = table(format, &format!(", schemaHints => 'n INT{nested}'"));
        lab.arrive("a", lines[0]);
        update(&lab.lake(&sql)).await;
        let log = Log::read(&lab, "bronze/t").await;
        assert_eq!((log.asks_for_widening(), &log.protocol["minReaderVersion"]), (false, &1.into()), "not before");

        lab.arrive("b", lines[1]);
        let report = update(&lab.lake(&sql)).await;
        assert_eq!((commits(&report), report.flows[0].rows.quarantined), (1, 0), "{report:?}");
        lab.arrive("c", lines[2]);
        update(&lab.lake(&sql)).await;
        let lake = lab.lake(&sql);
        assert_eq!(values(&lake, "t", "n").await, ["1", "2", "3000000000", "~", "~"]);
        let rescued = values(&lake, "t", "_rescued_data").await;
        assert!(rescued.iter().any(|rest| rest.contains("1.5")) && rescued.iter().any(|rest| rest.contains("\"x\"")));
        let log = Log::read(&lab, "bronze/t").await;
        assert_eq!(
            (log.field("n")["type"].as_str(), log.changes("n")),
            (Some("long"), vec!["integer long".to_owned()])
        );
        assert!(log.asks_for_widening());
        let (found, stored) = log.values(&lab, ("bronze/t", "n"), &DataType::Int64).await;
        assert_eq!(
            (found, stored),
            (["", "", "1", "2", "3000000000"].map(str::to_owned).to_vec(), vec!["Int32".into(), "Int64".into()])
        );
        if format == "json" {
            assert_eq!(values(&lake, "t", "s.a").await.iter().filter(|a| *a == "1.5").count(), 1);
            let inner = &log.field("s")["type"]["fields"][0];
            assert_eq!(
                (&inner["type"], &inner["metadata"]["delta.typeChanges"][0]["fromType"]),
                (&"double".into(), &"short".into())
            );
        }
    }
}

/// What a column begins as, what comes then, and what it is in the end.
fn steps() -> Vec<(&'static str, ArrayRef, ArrayRef, &'static str)> {
    let decimal = |value, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(precision, scale).unwrap())
    };
    vec![
        ("a", Arc::new(Int8Array::from(vec![1])), Arc::new(Int16Array::from(vec![300])), "short"),
        ("b", Arc::new(Int16Array::from(vec![1])), Arc::new(Int32Array::from(vec![70_000])), "integer"),
        ("c", Arc::new(Int32Array::from(vec![1])), Arc::new(Int64Array::from(vec![1 << 40])), "long"),
        ("d", Arc::new(Float32Array::from(vec![1.5])), Arc::new(Float64Array::from(vec![0.1])), "double"),
        ("e", Arc::new(Int32Array::from(vec![1])), Arc::new(Float64Array::from(vec![0.5])), "double"),
        ("f", Arc::new(Int32Array::from(vec![1])), decimal(150, 5, 2), "decimal(12,2)"),
        ("g", Arc::new(Int64Array::from(vec![1])), decimal(15, 5, 1), "decimal(21,1)"),
        ("h", decimal(150, 5, 2), decimal(1_500, 8, 3), "decimal(8,3)"),
        ("i", Arc::new(Date32Array::from(vec![1])), Arc::new(TimestampMicrosecondArray::from(vec![5])), "date"),
        ("j", Arc::new(Int8Array::from(vec![1])), Arc::new(Float32Array::from(vec![0.5])), "byte"),
        ("k", Arc::new(Int64Array::from(vec![1])), Arc::new(Float64Array::from(vec![0.5])), "long"),
        ("l", Arc::new(Float64Array::from(vec![0.5])), Arc::new(Int32Array::from(vec![7])), "double"),
        ("m", Arc::new(Int32Array::from(vec![1])), Arc::new(StringArray::from(vec!["x"])), "integer"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_type_widens_as_delta_has_it_and_is_read_whatever_becomes_of_its_files() {
    let lab = Lab::new();
    let sql = table("parquet", "");
    let nested = |column: &ArrayRef| -> ArrayRef {
        let field = Arc::new(Field::new("x", column.data_type().clone(), true));
        Arc::new(StructArray::from(vec![(field, Arc::clone(column))]))
    };
    let first = |(name, narrow, _, _): &(&'static str, ArrayRef, ArrayRef, &str)| (*name, Arc::clone(narrow));
    let then = |(name, _, wide, _): &(&'static str, ArrayRef, ArrayRef, &str)| (*name, Arc::clone(wide));
    let of = |all: Vec<(&'static str, ArrayRef)>| {
        let inner = nested(&all[2].1);
        parquet(all.into_iter().chain([("s", inner)]).collect())
    };
    lab.arrive("a.parquet", of(steps().iter().map(first).collect()));
    update(&lab.lake(&sql)).await;
    for name in ["b", "c"] {
        lab.arrive(&format!("{name}.parquet"), of(steps().iter().map(then).collect()));
        update(&lab.lake(&sql)).await;
    }
    let log = Log::read(&lab, "bronze/t").await;
    let types: Vec<_> = steps().iter().map(|(name, ..)| log.field(name)["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, steps().iter().map(|(.., wanted)| *wanted).collect::<Vec<_>>());
    assert_eq!(log.changes("h"), ["decimal(5,2) decimal(8,3)"]);
    assert_eq!(log.changes("l"), Vec::<String>::new());

    let wanted = [
        ("a", "1", "300"),
        ("c", "1", "1099511627776"),
        ("d", "1.5", "0.1"),
        ("e", "1.0", "0.5"),
        ("f", "1.00", "1.50"),
        ("g", "1.0", "1.5"),
        ("h", "1.500", "1.500"),
        ("i", "1970-01-02", "~"),
        ("j", "1", "~"),
        ("k", "1", "~"),
        ("l", "0.5", "7.0"),
        ("m", "1", "~"),
        ("s.x", "1", "1099511627776"),
    ];
    let check = async |when: &str| {
        let lake = lab.lake(&sql);
        for (column, narrow, wide) in wanted {
            let mut wanted = vec![narrow, wide, wide];
            wanted.sort_unstable();
            let mut found = values(&lake, "t", column).await;
            found.sort_unstable();
            assert_eq!(found, wanted, "{column} {when}");
        }
        // Statistics of the narrower type mustn't rule out what there is.
        let asked = format!(
            "{sql}; CREATE MATERIALIZED VIEW q AS SELECT count(*) AS n FROM t WHERE c = 1 AND e < 2 AND f = 1
                AND h > 1 AND i = DATE '1970-01-02' AND d = 1.5 AND s.x = 1 AND g <= 1"
        );
        let (_, found) = lab.lake(&asked).query(&DatasetName::new("q"), None, None).await.unwrap();
        assert_eq!(array_value_to_string(found[0].column(0), 0).unwrap(), "1", "{when}");
    };
    check("after each").await;
    let (found, stored) = log.values(&lab, ("bronze/t", "f"), &DataType::Decimal128(12, 2)).await;
    assert_eq!((found, stored.len()), (["1.00", "1.50", "1.50"].map(str::to_owned).to_vec(), 2));
    for at in 0..20 {
        lab.arrive(&format!("more{at}.parquet"), parquet(vec![("zz", Arc::new(Int32Array::from(vec![None])))]));
        update(&lab.lake(&sql)).await;
    }
    well(tick(&lab.lake(&sql), FunctionKind::Compact).await);
    assert!(lab.store.get(&"bronze/t/_delta_log/_last_checkpoint".into()).await.is_ok());
    let log = Log::read(&lab, "bronze/t").await;
    assert_eq!((log.files.len(), log.changes("c")), (1, vec!["integer long".to_owned()]), "{log:?}");
    let (mut found, stored) = log.values(&lab, ("bronze/t", "f"), &DataType::Decimal128(12, 2)).await;
    found.retain(|value| !value.is_empty());
    assert_eq!((found, stored.len()), (["1.00", "1.50", "1.50"].map(str::to_owned).to_vec(), 1));
    let found = values(&lab.lake(&sql), "t", "i").await;
    assert_eq!(found.iter().filter(|at| *at == "1970-01-02").count(), 1, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_widen_columns_at_once_all_end_well() {
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', format => 'json',
        schemaHints => 'a TINYINT, b TINYINT, c INT', schemaEvolutionMode => 'addNewColumnsWithTypeWidening')";
    well(deliver(&lab.lake(sql), vec![message("first", "{\"a\":1,\"b\":1,\"c\":1}", 1)]).await);
    let bodies =
        ["{\"a\":3000000000}", "{\"b\":0.5}", "{\"c\":3000000000}", "{\"c\":0.5}", "{\"d\":1}", "{\"a\":\"x\"}"];
    let writers = bodies.iter().enumerate().map(|(writer, body)| {
        let lake = lab.lake(sql);
        async move {
            for batch in 0..3 {
                well(deliver(&lake, vec![message(&format!("w{writer}b{batch}"), body, 1)]).await);
            }
        }
    });
    let compacting = lab.lake(sql);
    // One that loses to a writer that has changed the columns gives up, and the next one plans anew.
    let gives_up = |report: &Report| {
        let lost = |outcome: &Outcome| matches!(outcome, Outcome::Retryable { reason } if reason.contains("columns"));
        report.flows.iter().any(|flow| lost(&flow.outcome))
    };
    let compact = async {
        let mut ended = 0;
        while ended < 3 {
            let report = tick(&compacting, FunctionKind::Compact).await;
            if !gives_up(&report) {
                well(report);
                ended += 1;
            }
        }
    };
    futures::join!(futures::future::join_all(writers), compact);
    let lake = lab.lake(sql);
    assert_eq!(values(&lake, "t", "_metadata.message_id").await.len(), 19);
    let held = async |column: &str, value: &str| {
        values(&lake, "t", column).await.iter().filter(|found| *found == value).count()
    };
    assert_eq!((held("a", "3000000000").await, held("b", "0.5").await, held("d", "1").await), (3, 3, 3));
    // Whichever came first: a column of long numbers takes no fraction, and one of fractions any number.
    let fractions = held("c", "0.5").await;
    let rescued = values(&lake, "t", "_rescued_data").await;
    let rescued = |what: &str| rescued.iter().filter(|rest| rest.contains(what)).count();
    assert_eq!((fractions + rescued("0.5"), rescued("\"x\""), rescued("3000000000")), (3, 3, 0));
    let log = Log::read(&lab, "bronze/t").await;
    assert_eq!((log.changes("a"), log.changes("b")), (vec!["byte long".to_owned()], vec!["byte double".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_widened_is_found_in_the_files_from_before() {
    let lab = Lab::new();
    let sql = table("json", ", schemaHints => 'id INT'")
        .replace("TABLE t", "TABLE t TBLPROPERTIES ('headwater.dedup.keys' = 'id')");
    let lines = |ids: std::ops::Range<u64>| ids.map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>();
    for at in 0..12 {
        lab.arrive(&format!("{at}.json"), lines(at * 10..at * 10 + 10));
        update(&lab.lake(&sql)).await;
    }
    well(tick(&lab.lake(&sql), FunctionKind::Compact).await);
    lab.arrive("wide.json", lines(4_000_000_000..4_000_000_003));
    update(&lab.lake(&sql)).await;
    lab.arrive("known.json", lines(115..121) + &lines(4_000_000_002..4_000_000_004));
    let report = update(&lab.lake(&sql)).await;
    assert_eq!((report.flows[0].rows.written, report.flows[0].rows.duplicate), (2, 6), "{report:?}");
    assert_eq!(values(&lab.lake(&sql), "t", "id").await.len(), 125);
}

#[tokio::test(flavor = "multi_thread")]
async fn side_tables_and_readers_widen_with_their_table_unless_they_say_otherwise() {
    let lab = Lab::new();
    let sql = |property: &str| {
        table("json", ", schemaHints => 'n INT'")
            .replace("TABLE t", "TABLE t (CONSTRAINT some EXPECT (n % 2 = 0) ON VIOLATION DROP ROW)")
            + &format!("; CREATE STREAMING TABLE after {property} AS SELECT n FROM STREAM t")
    };
    let (following, staying) = (sql(""), sql("TBLPROPERTIES ('delta.enableTypeWidening' = 'false')"));
    lab.arrive("a.json", "{\"n\":1}\n{\"n\":2}\n");
    update(&lab.lake(&staying)).await;
    lab.arrive("b.json", "{\"n\":3000000001}\n{\"n\":3000000002}\n");
    let report = format!("{:?}", try_update(&lab.lake(&staying)).await);
    assert!(report.contains("column `n` is INT, but the query now gives BIGINT"), "{report}");
    assert!(
        report.contains("help: set TBLPROPERTIES ('delta.enableTypeWidening' = 'true') to widen it, cast it"),
        "{report}"
    );
    let found: Vec<_> = lab.lake(&staying).check(&Default::default()).await.iter().map(ToString::to_string).collect();
    let help = "set TBLPROPERTIES ('delta.enableTypeWidening' = 'true') to widen it; or rebuild it with";
    let refused = |finding: &String| finding.contains("TABLE_CHANGED.COLUMN_TYPE") && finding.contains(help);
    assert!(found.iter().any(refused), "{found:?}");
    let found: Vec<_> = lab.lake(&following).check(&Default::default()).await.iter().map(ToString::to_string).collect();
    assert!(!found.iter().any(|finding| finding.contains("error")), "{found:?}");
    update(&lab.lake(&following)).await;
    let lake = lab.lake(&following);
    assert_eq!(values(&lake, "t", "n").await, ["2", "3000000002"]);
    assert_eq!(values(&lake, "after", "n").await, ["2", "3000000002"]);
    assert_eq!(values(&lake, "t__quarantine", "n").await, ["1", "3000000001"]);
    for path in ["bronze/t", "bronze/t__quarantine", "silver/after"] {
        assert_eq!(Log::read(&lab, path).await.changes("n"), ["integer long"], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_column_was_stays_told_when_others_are_added_and_in_the_place_of_another_table() {
    let lab = Lab::new();
    let sql = table("json", ", schemaHints => 'n INT'");
    lab.arrive("a.json", "{\"n\":1}\n");
    update(&lab.lake(&sql)).await;
    let mut shadowed = crate::lakes::pipeline(&sql);
    shadowed.settings.max_batch_bytes = 1;
    for (name, line) in [("b", "{\"n\":3000000000}\n"), ("c", "{\"n\":2,\"new\":1}\n")] {
        lab.arrive(&format!("{name}.json"), line);
        update(&lab.lake(&sql)).await;
    }
    assert_eq!(Log::read(&lab, "bronze/t").await.changes("n"), ["integer long"]);

    let names = std::collections::BTreeSet::from([DatasetName::new("t")]);
    let shadowing = crate::lakes::lake_of(&shadowed, lab.folder.path(), Arc::new(lab.store.clone()));
    let before = values(&lab.lake(&sql), "t", "n").await;
    update(&shadowing.shadowing(names.clone())).await;
    lab.lake(&sql).promote(&names).await.unwrap();
    let lake = lab.lake(&sql);
    assert_eq!(values(&lake, "t", "n").await, before);
    assert_eq!(values(&lake, "t", "new").await.iter().filter(|new| *new == "1").count(), 1);
    let log = Log::read(&lab, "bronze/t").await;
    assert_eq!(log.changes("n"), ["integer long"], "{:?}", log.schema);
    let (_, stored) = log.values(&lab, ("bronze/t", "n"), &DataType::Int64).await;
    assert_eq!(stored, ["Int32", "Int64"]);
}

/// An engine that changes types as nobody should.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_type_that_is_not_known_is_refused() {
    let lab = Lab::new();
    let sql = table("json", ", schemaHints => 'n INT'");
    lab.arrive("a.json", "{\"n\":1}\n");
    update(&lab.lake(&sql)).await;
    lab.arrive("b.json", "{\"n\":3000000000}\n");
    update(&lab.lake(&sql)).await;
    let entries: Vec<_> = lab.store.list(Some(&"bronze/t/_delta_log".into())).try_collect().await.unwrap();
    for entry in entries {
        let text = lab.store.get(&entry.location).await.unwrap().bytes().await.unwrap();
        let text =
            String::from_utf8(text.to_vec()).unwrap().replace("fromType\\\":\\\"integer", "fromType\\\":\\\"string");
        lab.store.put(&entry.location, text.into()).await.unwrap();
    }
    let table = lab.lake(&sql).table(&DatasetName::new("t")).await.unwrap().unwrap();
    let error = table.provider().await.unwrap_err().to_string();
    assert!(error.contains("`n` was changed from string to long"), "{error}");
}
