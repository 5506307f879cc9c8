//! Large files, landed in parts: every row once, whatever befalls the parts, and as if they were landed whole.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use chrono::Utc;
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::file::properties::WriterProperties;
use futures::TryStreamExt;
use headwater_core::name::DatasetName;
use headwater_core::report::{Input, Outcome, Report};
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::fault_store::{Fault, FaultStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::formats::{self, text};
use crate::lakes::{
    Lab, commits, contents, lake_of, pipeline, rows, tick, try_update, until_death, update, values, well,
};

const CSV: &str = "CREATE STREAMING TABLE t (CONSTRAINT fives EXPECT (n % 5 <> 0) ON VIOLATION DROP ROW)
    AS SELECT *, _metadata.row_index AS place FROM STREAM
    read_files('in', format => 'csv', header => true, schema => 'n INT, note STRING');";
const JSON: &str = "CREATE STREAMING TABLE t (CONSTRAINT fives EXPECT (n % 5 <> 0) ON VIOLATION DROP ROW)
    AS SELECT *, _metadata.row_index AS place FROM STREAM read_files('in', format => 'json');";
const DOCUMENT: &str = "CREATE STREAMING TABLE t (CONSTRAINT fives EXPECT (n % 5 <> 0) ON VIOLATION DROP ROW)
    AS SELECT *, _metadata.row_index AS place FROM STREAM
    read_files('in', format => 'json', multiLine => true, schema => 'n INT, note STRING');";
const TEXT: &str = "CREATE STREAMING TABLE t AS SELECT value, _metadata.row_index AS place FROM STREAM
    read_files('in', format => 'text');";
const PARQUET: &str = "CREATE STREAMING TABLE t (CONSTRAINT fives EXPECT (n % 5 <> 0) ON VIOLATION DROP ROW)
    AS SELECT *, _metadata.row_index AS place FROM STREAM
    read_files('in', format => 'parquet', schema => 'n INT, note STRING');";
const AVRO: &str = "CREATE STREAMING TABLE t (CONSTRAINT fives EXPECT (n % 5 <> 0) ON VIOLATION DROP ROW)
    AS SELECT *, _metadata.row_index AS place FROM STREAM
    read_files('in', format => 'avro', schema => 'n INT, note STRING');";
/// More operations than any part here has.
const MANY: u64 = 60;

/// A lake whose batches are so small.
fn cut(lab: &Lab, sql: &str, bytes: u64) -> Lake {
    cut_on(lab, sql, bytes, Arc::new(lab.store.clone()))
}

fn cut_on(lab: &Lab, sql: &str, bytes: u64, store: Arc<dyn ObjectStore>) -> Lake {
    let mut pipeline = pipeline(sql);
    pipeline.settings.max_batch_bytes = bytes;
    lake_of(&pipeline, lab.folder.path(), store)
}

/// Lands one batch, as if there were no time for another.
async fn one_batch(lake: &Lake) -> Report {
    well(try_batch(lake).await)
}

async fn try_batch(lake: &Lake) -> Report {
    let trigger = Trigger { cause: Cause::Timer(Vec::new()), deadline: Some(Utc::now()) };
    Box::pin(headwater_bronze_files::handle(lake, trigger)).await
}

fn csv(rows: u32) -> String {
    let line = |n: u32| match n {
        41 => format!("{n},\"a stray quote\n"),
        n if n % 7 == 0 => format!("{n},\"two\nlines of \"\"{n}\"\"\"\n"),
        n if n % 11 == 0 => format!("x{n},no number\n"),
        n if n % 13 == 0 => format!("{n},windows\r\n"),
        n if n % 17 == 0 => format!("{n},ragged,{n}\n"),
        n => format!("{n},plain {n}\n"),
    };
    let head = "\u{feff}n,note\n".to_owned();
    head + &(1..=rows).map(line).collect::<String>()
}

fn json(rows: u32) -> String {
    let line = |n: u32| {
        if n.is_multiple_of(11) { "{\"n\":\n".to_owned() } else { format!("{{\"n\":{n},\"note\":\"note {n}\"}}\n") }
    };
    (1..=rows).map(line).collect()
}

/// Objects over some lines each, between what stands before, between and after them.
fn document(rows: u32, [before, between, after]: [&str; 3]) -> String {
    let object = |n: u32| match n {
        n if n.is_multiple_of(11) => format!("{{\"n\": \"x{n}\",\n \"note\": \"no number\"}}"),
        n => format!("{{\"n\": {n},\n \"note\": \"[{{ {n}\"\n}}"),
    };
    format!("{before}{}{after}", (1..=rows).map(object).collect::<Vec<_>>().join(between))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// Of some rows the number is none.
fn numbered(rows: u32) -> Vec<[String; 2]> {
    let number = |n: u32| if n.is_multiple_of(11) { format!("x{n}") } else { n.to_string() };
    (1..=rows).map(|n| [number(n), format!("note {n}")]).collect()
}

/// Row groups of five rows.
fn parquet(rows: u32) -> Vec<u8> {
    let column =
        |at: usize| -> ArrayRef { Arc::new(StringArray::from_iter_values(numbered(rows).iter().map(|row| &row[at]))) };
    let batch = RecordBatch::try_from_iter([("n", column(0)), ("note", column(1))]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(5)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// Blocks of five rows.
fn avro(rows: u32) -> Vec<u8> {
    let schema =
        r#"{"type":"record","name":"R","fields":[{"name":"n","type":"string"},{"name":"note","type":"string"}]}"#;
    let record = |[n, note]: &[String; 2]| [text(n.as_bytes()), text(note.as_bytes())].concat();
    let records: Vec<_> = numbered(rows).iter().map(record).collect();
    let blocks: Vec<_> = records.chunks(5).map(<[Vec<u8>]>::to_vec).collect();
    formats::avro(schema, "deflate", &blocks)
}

#[tokio::test]
async fn a_file_in_parts_gives_what_it_gives_whole() {
    for (sql, name, body) in [
        (CSV, "a.csv", csv(60).into_bytes()),
        (CSV, "a.csv.gz", gzip(&csv(60))),
        (JSON, "a.json", json(60).into_bytes()),
        (JSON, "a.json.gz", gzip(&json(60))),
        (DOCUMENT, "a.json", document(60, ["\u{feff} [\n", ",\n", "\n]\n"]).into_bytes()),
        (DOCUMENT, "a.json.gz", gzip(&document(60, ["[", ",", "]"]))),
        (DOCUMENT, "a.json", document(60, ["\n", "\n", "\n\n"]).into_bytes()),
        (DOCUMENT, "a.json", document(60, ["[", ",", ""]).into_bytes()),
        (TEXT, "a.txt", csv(60).trim_end().replace('"', "").into_bytes()),
        (PARQUET, "a.parquet", parquet(60)),
        (AVRO, "a.avro", avro(60)),
    ] {
        let whole = Lab::new();
        whole.arrive(name, &body);
        let lake = whole.lake(sql);
        assert_eq!(commits(&tick(&lake, FunctionKind::BronzeFiles).await), 1, "{name}");
        let expected = without_folder(contents(&lake).await, &whole);
        assert!(expected["t"].len() > 30, "{expected:?}");
        for limit in [20, 333] {
            let lab = Lab::new();
            lab.arrive(name, &body);
            let lake = cut(&lab, sql, limit);
            let report = update(&lake).await;
            assert!(commits(&report) > 1, "{name} {limit}: {report:#?}");
            assert_eq!(without_folder(contents(&lake).await, &lab), expected, "{name} in parts of {limit}");
            assert_eq!(files_of(&report), 1, "{name} {limit}");
            assert_eq!(commits(&update(&cut(&lab, sql, limit)).await), 0);
            assert_eq!(commits(&update(&lab.lake(sql)).await), 0, "however large a batch is then");
        }
    }
}

/// Contents, where files aren't told apart by the folder and the time of a test.
fn without_folder(contents: BTreeMap<String, Vec<String>>, lab: &Lab) -> BTreeMap<String, Vec<String>> {
    let folder = lab.folder.path().to_str().unwrap();
    let plain = |row: String| {
        let kept = row.replace(folder, "");
        let parts = kept.split(" | ").filter(|part| !part.starts_with("_metadata.file_modification_time"));
        parts.collect::<Vec<_>>().join(" | ")
    };
    contents.into_iter().map(|(name, rows)| (name, rows.into_iter().map(plain).collect())).collect()
}

/// How many files reports say were landed.
fn files_of(report: &Report) -> u64 {
    let files = |input: &Input| if let Input::Files { files, .. } = input { *files } else { 0 };
    report
        .flows
        .iter()
        .filter(|flow| matches!(flow.outcome, Outcome::Committed { .. }))
        .flat_map(|flow| &flow.inputs)
        .map(files)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_a_part_each_row_is_in_one_place_once() {
    for (sql, name, body) in [
        (CSV, "a.csv", csv(40).into_bytes()),
        (JSON, "a.json.gz", gzip(&json(40))),
        (DOCUMENT, "a.json", document(40, ["[\n", ",\n", "\n]\n"]).into_bytes()),
        (PARQUET, "a.parquet", parquet(40)),
        (AVRO, "a.avro", avro(40)),
    ] {
        let lab = Lab::new();
        lab.arrive(name, &body);
        well(one_batch(&cut(&lab, sql, 100)).await);
        let undisturbed = lab.store.fork();
        let lake = cut_on(&lab, sql, 100, Arc::new(undisturbed));
        update(&lake).await;
        let expected = contents(&lake).await;
        for operation in 0..MANY {
            let mut has_ended = true;
            for fault in [None, Some(Fault::Refused), Some(Fault::Lost), Some(Fault::Late)] {
                let store = lab.store.fork();
                let faults = FaultStore::new(Arc::new(store.clone()));
                match fault {
                    None => faults.crash_after(operation),
                    Some(fault) => faults.fail_after(operation, fault),
                }
                let lake = cut_on(&lab, sql, 100, Arc::new(faults.clone()));
                until_death(&faults, try_batch(&lake)).await;
                drop(lake);
                has_ended &= !faults.has_crashed();
                // The next part is shorter than that which may have died.
                try_batch(&cut_on(&lab, sql, 30, Arc::new(store.clone()))).await;
                faults.land_late().await;
                let lake = cut_on(&lab, sql, 400, Arc::new(store));
                update(&lake).await;
                assert_eq!(contents(&lake).await, expected, "{name}, {fault:?} at operation {operation}");
            }
            if has_ended {
                assert!(operation > 2, "a part has more operations");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_land_the_parts_of_one_file_land_each_once() {
    let lab = Lab::new();
    lab.arrive("a.csv", csv(80));
    let expected = {
        let lake = cut_on(&lab, CSV, 1 << 20, Arc::new(InMemory::new()));
        update(&lake).await;
        contents(&lake).await
    };
    // One of them takes the file as a whole.
    for other in [100, 1 << 20] {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (one, two) = (cut_on(&lab, CSV, 100, Arc::clone(&store)), cut_on(&lab, CSV, other, Arc::clone(&store)));
        tokio::join!(try_update(&one), try_update(&two));
        update(&one).await;
        assert_eq!(contents(&one).await, expected, "{other}");
    }
}

#[tokio::test]
async fn time_that_runs_short_ends_a_part_early() {
    let lab = Lab::new();
    lab.arrive("a.txt", format!("{}\n", "x".repeat(1000)).repeat(12_000));
    let lake = cut(&lab, TEXT, 11_000_000);
    let report = one_batch(&lake).await;
    let Input::Files { files: 0, bytes, .. } = report.flows[0].inputs[0] else { panic!("{report:#?}") };
    assert!((4_000_000..5_000_000).contains(&bytes), "a chunk is read whatever the time: {bytes}");
    update(&lake).await;
    let places = values(&lake, "t", "place").await;
    assert_eq!(places.len(), 12_000);
}

#[tokio::test]
async fn a_file_that_is_replaced_between_its_parts_is_not_mixed_with_what_it_was() {
    for (options, rows_then, told) in [("", 2, 1), (", allowOverwrites => true", 22, 0)] {
        let sql = format!(
            "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n INT, note STRING'{options})"
        );
        let lab = Lab::new();
        lab.arrive("a.json", json(10));
        let lake = cut(&lab, &sql, 70);
        one_batch(&lake).await;
        assert_eq!(values(&lake, "t", "n").await.len(), 2);
        lab.arrive("a.json", "{\"n\":100}\n".repeat(20));
        update(&lake).await;
        assert_eq!(values(&lake, "t", "n").await.len(), rows_then, "{options}");
        let reasons = values(&lake, "t__quarantine", "_headwater.reasons").await;
        assert_eq!(reasons.len(), told, "{reasons:?}");
        assert!(reasons.iter().all(|reason| reason.contains("its first 48 bytes are in")), "{reasons:?}");
        assert_eq!(commits(&update(&cut(&lab, &sql, 1 << 20)).await), 0, "{options}");
    }
}

#[tokio::test]
async fn a_compressed_file_that_breaks_off_gives_what_could_be_read() {
    let lab = Lab::new();
    let whole = gzip(&json(3000));
    lab.arrive("a.json.gz", &whole[..whole.len() / 2]);
    let lake = cut(&lab, JSON, 5000);
    update(&lake).await;
    assert!(values(&lake, "t", "n").await.len() > 500);
    let reasons = values(&lake, "t__quarantine", "_headwater.reasons").await;
    assert_eq!(reasons.iter().filter(|reason| reason.contains("can't be read to its end")).count(), 1, "{reasons:?}");
    assert_eq!(commits(&update(&cut(&lab, JSON, 5000)).await), 0);
}

#[tokio::test]
async fn a_file_of_columns_that_is_damaged_in_the_midst_gives_what_comes_before() {
    for (sql, name, mut body) in [(PARQUET, "a.parquet", parquet(60)), (AVRO, "a.avro", avro(60))] {
        let middle = body.len() / 3;
        body[middle..middle + 40].fill(0xff);
        let lab = Lab::new();
        lab.arrive(name, &body);
        let lake = cut(&lab, sql, 150);
        update(&lake).await;
        let found = values(&lake, "t", "n").await.len();
        assert!((4..44).contains(&found), "{name}: {found}");
        let positions = values(&lake, "t__quarantine", "_headwater.position").await;
        assert_eq!(positions.iter().filter(|position| position.ends_with(name)).count(), 1, "{name}: {positions:?}");
        assert_eq!(commits(&update(&cut(&lab, sql, 150)).await), 0);
    }
}

#[tokio::test]
async fn a_file_that_is_landed_in_parts_is_neither_cleaned_up_nor_said_to_be_in() {
    let sql = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json',
        cleanSource => 'MOVE', cleanSource.moveDestination => 'done', cleanSource.retentionDuration => '0 days')";
    let lab = Lab::new();
    lab.arrive("a.json", json(10));
    let asked =
        format!("{sql}; CREATE MATERIALIZED VIEW q AS SELECT ingestion_state, rows FROM cloud_files_state('t')");
    let state = async || {
        let (_, batches) = lab.lake(&asked).query(&DatasetName::new("q"), None, None).await.unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        shown.lines().nth(3).unwrap().replace(' ', "")
    };
    let lake = cut(&lab, sql, 70);
    one_batch(&lake).await;
    assert!(lab.folder.path().join("in/a.json").exists());
    assert_eq!(state().await, "|INGESTING|2|");
    update(&lake).await;
    tick(&lake, FunctionKind::BronzeFiles).await;
    assert!(lab.folder.path().join("done/a.json").exists());
    assert_eq!(state().await, "|INGESTED|10|");
}

#[tokio::test]
async fn a_full_refresh_between_two_parts_begins_the_file_again() {
    let lab = Lab::new();
    lab.arrive("a.csv", csv(30));
    let lake = cut(&lab, CSV, 100);
    one_batch(&lake).await;
    one_batch(&lake).await;
    lake.full_refresh(&DatasetName::new("t")).await.unwrap();
    assert!(rows(&lake, &DatasetName::new("t")).await.is_empty());
    update(&lake).await;
    let again = contents(&lake).await;
    let lab_of_whole = cut_on(&lab, CSV, 1 << 20, Arc::new(InMemory::new()));
    update(&lab_of_whole).await;
    assert_eq!(again, contents(&lab_of_whole).await);
}

#[tokio::test]
async fn what_is_known_of_parts_is_found_in_checkpoints_of_any_kind() {
    let lab = Lab::new();
    lab.arrive("empty.json", "");
    lab.arrive("a.json", json(120));
    let lake = cut(&lab, JSON, 40);
    for _ in 0..25 {
        one_batch(&lake).await;
    }
    tick(&lake, FunctionKind::Compact).await;
    let log = Path::from("bronze/t/_delta_log");
    let listed: Vec<_> = lab.store.list(Some(&log)).try_collect::<Vec<_>>().await.unwrap();
    let checkpoint = listed.iter().find(|object| object.location.as_ref().ends_with(".checkpoint.parquet")).unwrap();
    let version = checkpoint.location.filename().unwrap()[..20].to_owned();
    for object in listed.iter().filter(|object| object.location.extension() == Some("json")) {
        if object.location.filename().unwrap() <= version.as_str() {
            lab.store.delete(&object.location).await.unwrap();
        }
    }
    let in_parts = Path::from(format!("{log}/{version}.checkpoint.0000000001.0000000001.parquet"));
    for place in [checkpoint.location.clone(), in_parts] {
        let store = lab.store.fork();
        if place != checkpoint.location {
            store.rename(&checkpoint.location, &place).await.unwrap();
            let pointer = format!("{{\"version\":{},\"size\":1,\"parts\":1}}", version.parse::<u64>().unwrap());
            store.put(&Path::from(format!("{log}/_last_checkpoint")), pointer.into()).await.unwrap();
        }
        let lake = cut_on(&lab, JSON, 40, Arc::new(store));
        update(&lake).await;
        let mut found: Vec<u32> = values(&lake, "t", "n").await.iter().map(|n| n.parse().unwrap()).collect();
        found.sort_unstable();
        let wanted: Vec<u32> = (1..=120).filter(|n| n % 11 != 0 && n % 5 != 0).collect();
        assert_eq!(found, wanted, "{place}");
    }
}

#[tokio::test]
async fn a_file_that_is_a_snapshot_is_landed_whole() {
    let lab = Lab::new();
    lab.arrive("a.json", "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n");
    let lake = cut(
        &lab,
        "CREATE STREAMING TABLE t; CREATE FLOW f AS AUTO CDC INTO t FROM SNAPSHOT (read_files('in', format => 'json')) KEYS (id)",
        10,
    );
    assert_eq!(commits(&tick(&lake, FunctionKind::BronzeFiles).await), 1);
    update(&lake).await;
    assert_eq!(values(&lake, "t", "id").await, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_deduplicated_table_takes_parts_too() {
    let sql = "CREATE STREAMING TABLE t TBLPROPERTIES ('headwater.dedup.keys' = 'n') AS SELECT * FROM STREAM
        read_files('in', format => 'json', schema => 'n INT, note STRING')";
    let lab = Lab::new();
    lab.arrive("a.json", json(50) + &json(50));
    let lake = cut(&lab, sql, 400);
    assert!(commits(&update(&lake).await) > 4);
    assert_eq!(values(&lake, "t", "n").await.len(), 46);
}
