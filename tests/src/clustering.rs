//! A clustered table: rows near each other are in one file, each once, and stay there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use chrono::Utc;
use deltalake::datafusion::prelude::SessionContext;
use headwater_core::project::parse;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};
use headwater_core::{diagnostic::SourceFile, graph};
use headwater_lake::commit::{Change, SchemaChange, commit};
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_lake::table::{DataFile, Table};
use headwater_lake::write::Writer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::compaction::{PARTITIONS, append, check_statistics, columns, outcomes, shown, some_rows};
use crate::tables::{NUMBERS, committed, in_memory, nothing, open, patient, places};

const READ: &str = "AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'x BIGINT')";

/// A lake whose one table has these clauses, and whose files are about so large.
fn lake_of(storage: &Storage, clauses: &str, file_size: u64) -> Lake {
    let yaml = "name: t\nstorage: lake\ncompact_min_files: 2\n";
    let project = parse(&SourceFile::new("pipeline.yml", yaml), &BTreeMap::new()).project.unwrap();
    let sql = format!("CREATE STREAMING TABLE numbers {clauses} {READ}");
    let mut pipeline = graph::build(&project, &[SourceFile::new("numbers.sql", &sql)]).pipeline.unwrap();
    pipeline.settings.target_file_size = file_size;
    Lake::with_storage(pipeline, Path::new("."), storage.clone()).unwrap()
}

async fn compacted(lake: &Lake) -> Report {
    let report = headwater_compact::handle(lake, Trigger::new(Cause::Timer(Vec::new()))).await;
    assert!(report.is_success(), "{:?}", outcomes(&report));
    report
}

/// Points of a plane, some without one coordinate.
fn points(random: &mut StdRng, count: usize) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Utf8, true)]);
    let mut draw = || (0..count).map(|_| random.random_bool(0.95).then(|| random.random_range(0..100_000))).collect();
    let (x, y): (Vec<Option<i64>>, Vec<Option<i64>>) = (draw(), draw());
    let y: StringArray = y.iter().map(|y| y.map(|y| format!("the same long beginning {y:06}"))).collect();
    let values: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(x)), Arc::new(y)];
    RecordBatch::try_new(Arc::new(schema), values).unwrap()
}

/// Adds a file of points.
async fn add(storage: &Storage, rows: &RecordBatch) {
    let table = Table::open(storage, NUMBERS).await.unwrap();
    let mut writer = Writer::new(storage, NUMBERS, rows.schema(), &[], 1 << 30).unwrap();
    writer.write(rows).await.unwrap();
    let schema = table.is_none().then(|| SchemaChange::Create {
        schema: rows.schema(),
        partitioned_by: Vec::new(),
        configuration: BTreeMap::new(),
        comment: None,
    });
    let change = Change { adds: writer.close().await.unwrap().adds, schema, ..nothing() };
    committed(commit(storage, NUMBERS, table.as_ref(), &change, patient()).await.unwrap());
}

/// The share of files that statistics leave, on average, for one value.
fn share_of_files(files: &[DataFile], column: &str, values: &[serde_json::Value]) -> f64 {
    let key = |value: &serde_json::Value| (value.as_i64(), value.as_str().map(str::to_owned));
    let bounds = |file: &DataFile| (key(&file.min(&[column]).unwrap()), key(&file.max(&[column]).unwrap()));
    let holds = |file: &&DataFile, value| {
        let (min, max) = bounds(file);
        min <= value && value <= max
    };
    let left: usize = values.iter().map(|value| files.iter().filter(|file| holds(file, key(value))).count()).sum();
    left as f64 / (files.len() * values.len()) as f64
}

fn texts(values: &ArrayRef) -> Vec<Option<String>> {
    let values = cast(values, &DataType::Utf8).unwrap();
    values.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn paths(files: &[DataFile]) -> BTreeSet<String> {
    files.iter().map(|file| file.path().to_owned()).collect()
}

#[tokio::test]
async fn a_value_of_any_column_is_in_few_files() {
    let (place, mut random) = (in_memory(), StdRng::seed_from_u64(7));
    for _ in 0..20 {
        add(&place.storage, &points(&mut random, 1_500)).await;
    }
    let lake = lake_of(&place.storage, "CLUSTER BY (x, Y)", 64 << 10);
    let before = open(&place.storage).await;
    let plan = lake.plan_compaction(&[]).await.unwrap().remove(0);
    assert_eq!((plan.clustered_by.join("+"), plan.files), ("x+y".to_owned(), 20));
    compacted(&lake).await;
    let after = open(&place.storage).await;
    assert_eq!(shown(&after).await, shown(&before).await);
    let x: Vec<_> = (0..50).map(|at| serde_json::json!(at * 2_000)).collect();
    let y: Vec<_> = (0..50).map(|at| serde_json::json!(format!("the same long beginning {:06}", at * 2_000))).collect();
    let (before, after) = (before.files().await.unwrap(), after.files().await.unwrap());
    assert!(after.len() >= 4, "{} files", after.len());
    for (column, values) in [("x", &x), ("y", &y)] {
        let (was, is) = (share_of_files(&before, column, values), share_of_files(&after, column, values));
        assert!(was > 0.95 && is < 0.7, "{column} was in {was} of the files, and is in {is}");
    }
}

#[tokio::test]
async fn what_was_sorted_is_left_alone_even_by_the_next_checkpoint() {
    let (place, mut random) = (in_memory(), StdRng::seed_from_u64(8));
    for _ in 0..6 {
        add(&place.storage, &points(&mut random, 3_000)).await;
    }
    let lake = lake_of(&place.storage, "CLUSTER BY (x, y)", 64 << 10);
    compacted(&lake).await;
    let sorted = paths(&open(&place.storage).await.files().await.unwrap());
    assert!(compacted(&lake).await.flows.is_empty());
    for _ in 0..22 {
        add(&place.storage, &points(&mut random, 10)).await;
    }
    let report = compacted(&lake_of(&place.storage, "CLUSTER BY (x, y)", 64 << 10)).await;
    let steps: Vec<_> = report.flows.iter().map(|flow| (flow.flow.to_string(), flow.files_removed)).collect();
    assert_eq!(steps, [("checkpoint".to_owned(), 0), ("compact".to_owned(), 22)]);
    let now = paths(&open(&place.storage).await.files().await.unwrap());
    assert!(now.is_superset(&sorted) && now.len() == sorted.len() + 1);
    let others = lake_of(&place.storage, "CLUSTER BY (y)", 64 << 10);
    assert_eq!(others.plan_compaction(&[]).await.unwrap()[0].rewritten, now.len(), "sorted by other columns");
}

#[tokio::test]
async fn one_column_is_sorted_by() {
    let (place, mut random) = (in_memory(), StdRng::seed_from_u64(9));
    for _ in 0..3 {
        add(&place.storage, &points(&mut random, 100)).await;
    }
    compacted(&lake_of(&place.storage, "CLUSTER BY (y)", 1 << 20)).await;
    let table = open(&place.storage).await;
    let frame = SessionContext::new().read_table(table.provider().await.unwrap()).unwrap();
    let batches = frame.collect().await.unwrap();
    let [rows] = &batches[..] else { panic!("{} batches", batches.len()) };
    let values: Vec<Option<String>> = texts(rows.column(1));
    assert!(values.len() == 300 && values.is_sorted() && values[0].is_none() && values[299].is_some());
}

#[tokio::test]
async fn random_rows_of_all_types_are_the_same_afterwards() {
    let clauses = "PARTITIONED BY (part) TBLPROPERTIES ('pipelines.autoOptimize.zOrderCols' = 'label, at, price, n')";
    for seed in 0..2 {
        for place in places() {
            let mut random = StdRng::seed_from_u64(seed);
            for at in 0..20 {
                let partition = PARTITIONS[random.random_range(0..PARTITIONS.len())];
                append(&place.storage, &some_rows(&mut random, &columns(at > 0), partition)).await;
            }
            let lake = lake_of(&place.storage, clauses, 1 << 20);
            let before = open(&place.storage).await;
            assert!(!compacted(&lake).await.flows.is_empty());
            let after = open(&place.storage).await;
            assert_eq!(shown(&after).await, shown(&before).await, "seed {seed}");
            check_statistics(&after).await;
            compacted(&lake).await;
            assert!(compacted(&lake).await.flows.is_empty(), "it never ends");
        }
    }
}

#[tokio::test]
async fn columns_without_an_order_are_refused_and_nothing_is_written() {
    let (place, mut random) = (in_memory(), StdRng::seed_from_u64(1));
    for _ in 0..3 {
        append(&place.storage, &some_rows(&mut random, &columns(true), Some("a"))).await;
    }
    for column in ["nested", "nowhere"] {
        let lake = lake_of(&place.storage, &format!("CLUSTER BY ({column})"), 1 << 20);
        let trigger =
            Trigger { cause: Cause::Timer(Vec::new()), deadline: Some(Utc::now() + chrono::Duration::minutes(1)) };
        let report = headwater_compact::handle(&lake, trigger).await;
        let [Outcome::Failed { message, .. }] = outcomes(&report)[..] else { panic!("{:?}", outcomes(&report)) };
        assert!(message.contains(column), "{message}");
        assert_eq!(open(&place.storage).await.version(), 2);
    }
}
