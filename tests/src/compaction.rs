//! Compaction changes files and never rows, whatever rows they are; and leaves alone what it can't move safely.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StructArray, TimestampMicrosecondArray,
};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::Utc;
use deltalake::datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use headwater_core::project::parse;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};
use headwater_core::{diagnostic::SourceFile, graph, name::DatasetName};
use headwater_lake::commit::{Change, SchemaChange, commit};
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_lake::table::Table;
use headwater_lake::write::Writer;
use object_store::ObjectStoreExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::tables::{
    NUMBERS, append_of, committed, compaction_of, faulty, log_entry, nothing, on_disk, open, patient, places, put,
    rows, table_of,
};
use headwater_testkit::fault_store::{Fault, Operation};

/// A lake whose one table is that of the numbers.
pub(crate) fn lake_of(storage: &Storage) -> Lake {
    let yaml = "name: t\nstorage: lake\ntarget_file_size: 1MiB\ncompact_min_files: 2\n";
    let project = parse(&SourceFile::new("pipeline.yml", yaml), &BTreeMap::new()).project.unwrap();
    let sql = "CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n BIGINT')";
    let pipeline = graph::build(&project, &[SourceFile::new("numbers.sql", sql)]).pipeline.unwrap();
    Lake::with_storage(pipeline, Path::new("."), storage.clone()).unwrap()
}

/// One run of a process that compacts.
pub(crate) async fn compact(storage: &Storage) -> Report {
    let deadline = Some(Utc::now() + chrono::Duration::minutes(5));
    headwater_compact::handle(&lake_of(storage), Trigger { cause: Cause::Timer(Vec::new()), deadline }).await
}

pub(crate) fn outcomes(report: &Report) -> Vec<&Outcome> {
    report.flows.iter().map(|flow| &flow.outcome).collect()
}

fn failure(report: &Report) -> String {
    match outcomes(report)[..] {
        [Outcome::Failed { message, .. }] => message.clone(),
        ref other => panic!("not failed: {other:?}"),
    }
}

/// How many data files there are, named by the log or not.
pub(crate) async fn data_files(storage: &Storage) -> usize {
    let folder = storage.location(NUMBERS);
    let objects: Vec<_> = storage.object_store().list(Some(&folder)).try_collect().await.unwrap();
    objects.iter().filter(|object| !object.location.as_ref().contains("_delta_log")).count()
}

pub(crate) const PARTITIONS: [Option<&str>; 8] =
    [None, Some("a"), Some("a b"), Some("x/y=z"), Some("%41%"), Some("ü\u{1f600}"), Some("o'c\"\\"), Some("a+b#?&:")];

/// The columns of a table in its youth, or later.
pub(crate) fn columns(all: bool) -> SchemaRef {
    let nested: Fields = vec![
        Field::new("a", DataType::Int32, true),
        Field::new("tags", DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))), true),
    ]
    .into();
    let fields = vec![
        Field::new("n", DataType::Int64, true),
        Field::new("part", DataType::Utf8, true),
        Field::new("label", DataType::Utf8, true),
        Field::new("nested", DataType::Struct(nested), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("price", DataType::Decimal128(10, 2), true),
    ];
    Arc::new(Schema::new(fields.into_iter().take(if all { 6 } else { 2 }).collect::<Vec<_>>()))
}

/// Random rows of one partition.
pub(crate) fn some_rows(random: &mut StdRng, schema: &SchemaRef, partition: Option<&str>) -> RecordBatch {
    let count = random.random_range(0..30);
    let mut numbers = || (0..count).map(|_| random.random_bool(0.8).then(|| random.random_range(-9..9))).collect();
    let n: Vec<Option<i64>> = numbers();
    let more: Vec<Option<i64>> = numbers();
    let label = |n: &Option<i64>| n.map(|n| format!("{n:é>5}"));
    let mut tags = ListBuilder::new(StringBuilder::new());
    for n in &more {
        for tag in 0..n.unwrap_or_default().max(0) {
            tags.values().append_value(tag.to_string());
        }
        tags.append(n.is_some());
    }
    let DataType::Struct(fields) = columns(true).field(3).data_type().clone() else { unreachable!() };
    let inner: Vec<ArrayRef> =
        vec![Arc::new(more.iter().map(|n| n.map(|n| n as i32)).collect::<Int32Array>()), Arc::new(tags.finish())];
    let present = n.iter().map(Option::is_some).collect::<Vec<_>>();
    let price = more.iter().map(|n| n.map(i128::from)).collect::<Decimal128Array>();
    let all: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(n.clone())),
        Arc::new(StringArray::from(vec![partition; count])),
        Arc::new(n.iter().map(label).collect::<StringArray>()),
        Arc::new(StructArray::new(fields, inner, Some(present.into()))),
        Arc::new(TimestampMicrosecondArray::from(more).with_timezone("UTC")),
        Arc::new(price.with_precision_and_scale(10, 2).unwrap()),
    ];
    RecordBatch::try_new(Arc::clone(schema), all.into_iter().take(schema.fields().len()).collect()).unwrap()
}

pub(crate) async fn append(storage: &Storage, rows: &RecordBatch) {
    let table = Table::open(storage, NUMBERS).await.unwrap();
    let mut writer = Writer::new(storage, NUMBERS, rows.schema(), &["part".to_owned()], 1 << 20).unwrap();
    writer.write(rows).await.unwrap();
    let schema = match &table {
        None => Some(SchemaChange::Create {
            schema: rows.schema(),
            partitioned_by: vec!["part".to_owned()],
            configuration: BTreeMap::new(),
            comment: None,
        }),
        Some(table) => (table.schema().fields().len() < rows.num_columns())
            .then(|| SchemaChange::SetColumns { schema: rows.schema(), configuration: BTreeMap::new() }),
    };
    let change = Change { adds: writer.close().await.unwrap().adds, schema, ..nothing() };
    committed(commit(storage, NUMBERS, table.as_ref(), &change, patient()).await.unwrap());
}

/// All rows as text, in order.
pub(crate) async fn shown(table: &Table) -> Vec<String> {
    let frame = SessionContext::new().read_table(table.provider().await.unwrap()).unwrap();
    let options = FormatOptions::new().with_null("~");
    let mut rows = Vec::new();
    for batch in frame.collect().await.unwrap() {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        let row = |at| columns.iter().map(|column| column.value(at).to_string()).collect::<Vec<_>>().join("|");
        rows.extend((0..batch.num_rows()).map(row));
    }
    rows.sort();
    rows
}

#[tokio::test]
async fn random_rows_are_the_same_afterwards_and_a_second_run_commits_nothing() {
    for seed in 0..2 {
        for place in places() {
            let mut random = StdRng::seed_from_u64(seed);
            for at in 0..20 {
                let partition = PARTITIONS[random.random_range(0..PARTITIONS.len())];
                append(&place.storage, &some_rows(&mut random, &columns(at > 10), partition)).await;
            }
            let table = open(&place.storage).await;
            let report = compact(&place.storage).await;
            assert!(report.is_success() && !report.flows.is_empty(), "seed {seed}: {:?}", outcomes(&report));
            let compacted = open(&place.storage).await;
            assert!(compacted.files().await.unwrap().len() < table.files().await.unwrap().len());
            assert_eq!(shown(&compacted).await, shown(&table).await, "seed {seed}");
            check_statistics(&compacted).await;
            check_end(&place.storage, &shown(&compacted).await).await;
        }
    }
}

/// After a run or two there is nothing more to do, and then nothing is committed.
async fn check_end(storage: &Storage, rows: &[String]) {
    let mut runs = 0;
    while !compact(storage).await.flows.is_empty() {
        runs += 1;
        assert!(runs < 3, "it never ends");
    }
    let table = open(storage).await;
    assert!(compact(storage).await.flows.is_empty());
    assert_eq!((open(storage).await.version(), shown(&table).await), (table.version(), rows.to_vec()));
}

/// What the log says of each file is what the file holds.
pub(crate) async fn check_statistics(table: &Table) {
    for file in table.files().await.unwrap() {
        let provider = table.provider_of(std::slice::from_ref(&file)).await.unwrap();
        let frame = SessionContext::new().read_table(provider).unwrap().select_columns(&["n"]).unwrap();
        let batches = frame.collect().await.unwrap();
        assert_eq!(file.num_records(), Some(batches.iter().map(|batch| batch.num_rows() as u64).sum()));
        let columns = || batches.iter().map(|batch| arrow::array::AsArray::as_primitive::<Int64Type>(batch.column(0)));
        let number = |value: Option<serde_json::Value>| value.and_then(|value| value.as_i64());
        assert_eq!(number(file.min(&["n"])), columns().filter_map(min).min());
        assert_eq!(number(file.max(&["n"])), columns().filter_map(max).max());
    }
}

#[tokio::test]
async fn a_bin_that_loses_a_race_does_not_spoil_the_next() {
    let (place, faults) = faulty();
    let mut random = StdRng::seed_from_u64(1);
    for partition in [Some("a"), Some("b"), Some("a"), Some("b"), Some("c")] {
        append(&place.storage, &some_rows(&mut random, &columns(false), partition)).await;
    }
    let (rival, last) = (place.storage.clone(), some_rows(&mut random, &columns(true), Some("c")));
    faults.before_put(&log_entry(5), async move { append(&rival, &last).await });
    let report = compact(&place.storage).await;
    let [Outcome::Retryable { .. }, Outcome::Committed { version: 6 }] = outcomes(&report)[..] else {
        panic!("{:?}", outcomes(&report))
    };
    let table = open(&place.storage).await;
    assert_eq!(shown(&table).await, shown(&table.at(5).await.unwrap()).await);
}

#[tokio::test]
async fn the_commit_says_that_no_row_changed() {
    let place = on_disk();
    table_of(&place.storage, 0..3).await;
    compact(&place.storage).await;
    let history = open(&place.storage).await.history(1).await.unwrap();
    assert!(!history[0].changes_rows());
    let report = history[0].report.as_ref().unwrap();
    assert_eq!((report.rows.read, report.files_removed, report.files_added), (3, 3, 1));
}

/// Puts a log entry by hand.
pub(crate) async fn put_log(storage: &Storage, version: u64, actions: &[serde_json::Value]) {
    let lines: Vec<String> = actions.iter().map(ToString::to_string).collect();
    let location = storage.location(&format!("{NUMBERS}/_delta_log/{}", log_entry(version)));
    storage.object_store().put(&location, lines.join("\n").into()).await.unwrap();
}

pub(crate) async fn log_of(storage: &Storage, version: u64) -> Vec<serde_json::Value> {
    let location = storage.location(&format!("{NUMBERS}/_delta_log/{}", log_entry(version)));
    let bytes = storage.object_store().get(&location).await.unwrap().bytes().await.unwrap();
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// The table's `metaData` with one more property.
async fn metadata_with(storage: &Storage, key: &str, value: &str) -> serde_json::Value {
    let first = log_of(storage, 0).await;
    let mut metadata = first.into_iter().find(|action| action.get("metaData").is_some()).unwrap();
    metadata["metaData"]["configuration"][key] = value.into();
    metadata
}

/// A table of three files that asks for something more of its writers.
async fn asking(storage: &Storage, protocol: serde_json::Value, (key, value): (&str, &str)) {
    table_of(storage, 0..3).await;
    let mut metadata = metadata_with(storage, key, value).await;
    let mapped = r#"{"type":"struct","fields":[{"name":"n","type":"long","nullable":true,"metadata":{"delta.columnMapping.id":1,"delta.columnMapping.physicalName":"n"}}]}"#;
    metadata["metaData"]["schemaString"] = mapped.into();
    put_log(storage, 3, &[serde_json::json!({"protocol": protocol}), metadata]).await;
}

#[tokio::test]
async fn a_table_that_asks_for_more_is_refused_by_name_and_nothing_is_written() {
    let versions = |reader, writer| serde_json::json!({"minReaderVersion": reader, "minWriterVersion": writer});
    let mut tracking = versions(1, 7);
    tracking["writerFeatures"] = serde_json::json!(["rowTracking", "domainMetadata"]);
    let asks = [
        (versions(2, 5), ("delta.columnMapping.mode", "name"), "mapped"),
        (versions(1, 3), ("delta.constraints.positive", "n > 0"), "positive"),
        (
            versions(1, 2),
            ("delta.setTransactionRetentionDuration", "interval 7 days"),
            "setTransactionRetentionDuration",
        ),
        (tracking, ("delta.appendOnly", "false"), "rowTracking"),
    ];
    for (protocol, property, named) in asks {
        for place in places() {
            asking(&place.storage, protocol.clone(), property).await;
            let message = failure(&compact(&place.storage).await);
            assert!(message.contains(named) && message.contains("help"), "{message}");
            assert_eq!((open(&place.storage).await.version(), data_files(&place.storage).await), (3, 3));
        }
    }
}

/// Takes the file of a version out of the log and puts it back, changed.
async fn change_file(storage: &Storage, version: u64, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut add = log_of(storage, version)
        .await
        .into_iter()
        .find_map(|mut action| action.get_mut("add").map(serde_json::Value::take))
        .unwrap();
    let path = add["path"].as_str().unwrap().to_owned();
    change(&mut add);
    let next = open(storage).await.version() + 1;
    put_log(storage, next, &[serde_json::json!({"remove": {"path": path, "dataChange": true}})]).await;
    put_log(storage, next + 1, &[serde_json::json!({"add": add})]).await;
    path
}

#[tokio::test]
async fn files_with_deletion_vectors_or_without_a_count_stay_as_they_are() {
    for place in places() {
        table_of(&place.storage, 0..5).await;
        let protocol = serde_json::json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}});
        put_log(&place.storage, 5, &[protocol]).await;
        let vector = serde_json::json!({"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4,
            "sizeInBytes": 40, "cardinality": 1});
        let kept = [
            change_file(&place.storage, 1, |add| add["deletionVector"] = vector).await,
            change_file(&place.storage, 2, |add| add["stats"] = serde_json::Value::Null).await,
        ];
        assert_eq!(outcomes(&compact(&place.storage).await), [&Outcome::Committed { version: 10 }]);
        let files = open(&place.storage).await.files().await.unwrap();
        assert_eq!(files.len(), 3);
        assert!(kept.iter().all(|path| files.iter().any(|file| file.path() == path)));
    }
}

#[tokio::test]
async fn rows_that_the_log_miscounts_are_not_moved() {
    let place = on_disk();
    table_of(&place.storage, 0..3).await;
    change_file(&place.storage, 1, |add| add["stats"] = r#"{"numRecords":2}"#.into()).await;
    let message = failure(&compact(&place.storage).await);
    assert!(message.contains("4 rows in files that hold 3") && message.contains("help"), "{message}");
    assert_eq!((open(&place.storage).await.version(), data_files(&place.storage).await), (4, 3));
}

#[tokio::test]
async fn a_file_that_cannot_be_written_leaves_nothing_behind() {
    let (place, faults) = faulty();
    table_of(&place.storage, 0..3).await;
    for fault in [Fault::Refused, Fault::Lost, Fault::Forbidden] {
        faults.fail(Operation::Put, ".parquet", [fault]);
        let report = compact(&place.storage).await;
        let reason = failure(&report);
        assert!(reason.contains(".parquet") && !reason.contains("shut down"), "{reason}");
        assert_eq!((open(&place.storage).await.version(), data_files(&place.storage).await), (2, 3));
    }
    compact(&place.storage).await;
    assert_eq!(rows(&place.storage).await, [0, 1, 2]);
}

#[tokio::test]
async fn the_log_of_the_last_day_is_kept_though_the_table_asks_for_none() {
    let place = on_disk();
    let root = place.storage.url().to_file_path().unwrap().join(NUMBERS).join("_delta_log");
    let table = table_of(&place.storage, 0..22).await;
    let none = BTreeMap::from([("delta.logRetentionDuration".to_owned(), "interval 0 days".to_owned())]);
    let schema = Some(SchemaChange::SetColumns { schema: table.schema(), configuration: none });
    committed(put(&place.storage, &table, &Change { schema, ..nothing() }).await);
    let age = |versions: std::ops::Range<u64>| {
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
        for version in versions {
            std::fs::File::options()
                .write(true)
                .open(root.join(log_entry(version)))
                .unwrap()
                .set_modified(then)
                .unwrap();
        }
    };
    age(0..9);
    compact(&place.storage).await;
    let first = || (0..).find(|version| root.join(log_entry(*version)).exists()).unwrap();
    assert_eq!(first(), 0, "no checkpoint is older than a day");
    age(0..24);
    let table = table_of(&place.storage, 22..44).await;
    age(24..25);
    compact(&place.storage).await;
    assert_eq!(first(), 22);
    assert!((22..=table.version()).all(|version| root.join(log_entry(version)).exists()));
    assert_eq!(rows(&place.storage).await, (0..44).collect::<Vec<_>>());
    let names = [DatasetName::new("numbers")];
    assert_eq!(lake_of(&place.storage).plan_compaction(&names).await.unwrap()[0].rewritten, 0);
    let (table, more) = (open(&place.storage).await, append_of(&place.storage, [44]).await);
    committed(put(&place.storage, &table, &more).await);
    let table = open(&place.storage).await;
    committed(put(&place.storage, &table, &compaction_of(&place.storage, &table).await).await);
    assert_eq!(rows(&place.storage).await, (0..45).collect::<Vec<_>>());
}
