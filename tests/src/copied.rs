//! Row groups that are copied as they are stored: those of tables that are kept by changes, and by compaction.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use deltalake::datafusion::prelude::SessionContext;
use deltalake::parquet::file::reader::{FileReader, SerializedFileReader};
use futures::TryStreamExt;
use headwater_core::name::DatasetName;
use headwater_core::report::FlowReport;
use headwater_lake::lake::Lake;
use headwater_lake::table::DataFile;
use headwater_runtime::local::FunctionKind;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::lakes::{Lab, contents, lake_of, pipeline, tick, update, well};

/// Files of which 16 parts are about a thousand rows each.
const SMALL_FILES: u64 = 400_000;

/// A file of all rows of these tests, which is one small row group.
const LARGE_FILES: u64 = 128 << 20;

const COLUMNS: &str = "id INT, name STRING, price DECIMAL(18,2), at TIMESTAMP, day DATE, score DOUBLE, ok BOOLEAN,
  place STRUCT<city: STRING, zip: INT>, tags ARRAY<STRING>";

fn sql(columns: &str, clauses: &str) -> String {
    format!(
        "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', schema => '{columns}, op STRING, seq INT');
         CREATE STREAMING TABLE t;
         CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
           COLUMNS * EXCEPT (op, seq) {clauses}"
    )
}

fn lake(lab: &Lab, sql: &str, target_file_size: u64) -> Lake {
    let mut pipeline = pipeline(sql);
    pipeline.settings.target_file_size = target_file_size;
    lake_of(&pipeline, lab.folder.path(), Arc::new(lab.store.clone()))
}

/// A row as it is after a change: some values NULL, some strings longer than statistics keep.
fn row(id: u32, seq: u32, op: &str) -> String {
    let mixed = (u64::from(id) * 2_654_435_761 + u64::from(seq) * 97) % (1 << 32);
    let or_null = |is_null: bool, value: String| if is_null { "null".to_owned() } else { value };
    let long = if id.is_multiple_of(3) { "\u{10ffff}".repeat(70) } else { "z".repeat(90) };
    let name = or_null(id.is_multiple_of(5), format!("\"{long}{mixed:08x}\""));
    let city = or_null(id.is_multiple_of(11), format!("\"{mixed:x}\""));
    let place = or_null(id.is_multiple_of(13), format!("{{\"city\": {city}, \"zip\": {}}}", mixed % 1000));
    let (day, second) = (1 + mixed % 28, mixed % 60);
    format!(
        "{{\"id\": {id}, \"name\": {name}, \"price\": {}.{:02}, \"at\": \"1969-0{}-{day:02}T01:02:{second:02}.123456Z\", \"day\": \"20{:02}-02-{day:02}\",
          \"score\": {}, \"ok\": {}, \"place\": {place}, \"tags\": [\"a\", \"{mixed:x}\"], \"op\": \"{op}\", \"seq\": {seq}}}",
        mixed % 100_000,
        mixed % 100,
        1 + mixed % 9,
        mixed % 100,
        or_null(id.is_multiple_of(7), format!("{}", mixed % 1_000)),
        mixed.is_multiple_of(2),
    )
    .replace('\n', " ")
}

fn rows(ids: impl IntoIterator<Item = u32>, seq: u32, op: &str) -> String {
    ids.into_iter().fold(String::new(), |mut text, id| {
        writeln!(text, "{}", row(id, seq, op)).unwrap();
        text
    })
}

async fn files(lake: &Lake, name: &str) -> Vec<DataFile> {
    lake.table(&DatasetName::new(name)).await.unwrap().unwrap().files().await.unwrap()
}

async fn merged(lake: &Lake) -> FlowReport {
    update(lake).await.flows.into_iter().find(|flow| flow.changes.is_some()).unwrap()
}

/// Statistics of the live files of a table, as the log has them.
async fn statistics(lab: &Lab, lake: &Lake, name: &str) -> Vec<(DataFile, Value)> {
    let folder = Path::from(format!("silver/{name}/_delta_log"));
    let entries: Vec<_> = lab.store.list(Some(&folder)).try_collect().await.unwrap();
    let mut adds = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.location.extension() == Some("json")) {
        let body = lab.store.get(&entry.location).await.unwrap().bytes().await.unwrap();
        for line in std::str::from_utf8(&body).unwrap().lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            if let Some(add) = action.get("add") {
                let told = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
                adds.insert(add["path"].as_str().unwrap().to_owned(), told);
            }
        }
    }
    files(lake, name).await.into_iter().map(|file| (file.clone(), adds.remove(file.path()).unwrap())).collect()
}

/// Columns, and whether their bounds are values rather than near them.
const BOUNDED: [(&str, bool); 9] = [
    ("id", true),
    ("name", false),
    ("price", true),
    ("at", false),
    ("day", true),
    ("score", true),
    ("ok", true),
    ("place.city", true),
    ("place.zip", true),
];

/// What statistics tell of each file must be what is in it.
async fn check_statistics(lab: &Lab, lake: &Lake, columns: &[(&str, bool)]) {
    let table = lake.table(&DatasetName::new("t")).await.unwrap().unwrap();
    for (file, told) in statistics(lab, lake, "t").await {
        let statistics = told.to_string();
        let session = SessionContext::new();
        session.register_table("t", table.provider_of(&[file]).await.unwrap()).unwrap();
        for (path, is_exact) in columns {
            let column = path
                .split('.')
                .skip(1)
                .fold(path.split('.').next().unwrap().to_owned(), |column, field| format!("{column}['{field}']"));
            let cast =
                if *path == "at" { format!("to_char({column}, '%Y-%m-%dT%H:%M:%S%.6f')") } else { column.clone() };
            let query = format!(
                "SELECT count(*), count(*) - count({column}), CAST(min({cast}) AS STRING), CAST(max({cast}) AS STRING) FROM t"
            );
            let found = session.sql(&query).await.unwrap().collect().await.unwrap().remove(0);
            let number = |at: usize| found.column(at).as_primitive::<Int64Type>().value(0);
            let text = |at: usize| {
                let texts = arrow::compute::cast(found.column(at), &arrow::datatypes::DataType::Utf8).unwrap();
                texts.as_string::<i32>().iter().next().flatten().map(str::to_owned)
            };
            let of = |what: &str| path.split('.').try_fold(&told[what], |value, part| value.get(part)).cloned();
            let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(told["numRecords"], number(0), "{path}");
            assert_eq!(of("nullCount").unwrap(), number(1), "{path}");
            let (min, max) =
                (of("minValues").map(plain).map(|min| min.replace(".123Z", ".123")), of("maxValues").map(plain));
            match (text(2), text(3)) {
                (Some(least), Some(greatest)) if *is_exact => {
                    let same = |told: Option<String>, is: &str| {
                        let told = told.unwrap_or_else(|| panic!("{path} has no bounds: {statistics}"));
                        let numbers = told.parse::<f64>().ok().zip(is.parse::<f64>().ok());
                        let is_same = numbers.map_or(told == is, |(told, is)| (told - is).abs() < f64::EPSILON);
                        assert!(is_same, "{path}: {told} {is}");
                    };
                    same(min, &least);
                    same(max, &greatest);
                }
                (Some(least), Some(greatest)) => {
                    let (min, max) = (min.unwrap(), max.unwrap().replace(".123Z", ".124"));
                    assert!(min <= least && greatest <= max, "{path}: {min} {least} {greatest} {max}");
                    assert_eq!(min.chars().take(15).collect::<String>(), least.chars().take(15).collect::<String>());
                }
                (least, greatest) => assert_eq!((least, greatest, min, max), (None, None, None, None), "{path}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_groups_without_a_changed_key_are_copied_without_being_decoded() {
    let (lab, sql) = (Lab::new(), sql("id INT, name STRING", ""));
    lab.arrive("0.json", rows(0..12_000, 1, "I"));
    let first = lake(&lab, &sql, SMALL_FILES);
    update(&first).await;
    let file = files(&first, "t").await.into_iter().find(|file| file.min(&["id"]) == Some(0.into())).unwrap();
    let body = lab.store.get(file.location()).await.unwrap().bytes().await.unwrap();
    // Nothing can be decoded of the part that these bytes are put into, which is in a row group in the middle.
    let (from, noise) = (body.len() / 2, [0xa5_u8; 400]);
    let damaged = [&body[..from], &noise, &body[from + noise.len()..]].concat();
    lab.store.put(file.location(), damaged.into()).await.unwrap();

    lab.arrive("1.json", rows([3, 5], 2, "U") + &rows([4], 2, "D"));
    let lake = lake(&lab, &sql, SMALL_FILES);
    let report = merged(&lake).await;
    assert_eq!(report.files_removed, 1);
    let file = files(&lake, "t").await.into_iter().find(|file| file.min(&["id"]) == Some(0.into())).unwrap();
    let body = lab.store.get(file.location()).await.unwrap().bytes().await.unwrap();
    assert!(body.windows(noise.len()).any(|part| part == noise));
    let counted: u64 = files(&lake, "t").await.iter().filter_map(DataFile::num_records).sum();
    assert_eq!(counted, 11_999);
}

/// Batches of changes: of keys that lie together, of keys anywhere, and of a whole range.
fn batches() -> Vec<String> {
    vec![
        rows(0..8_000, 1, "I"),
        rows(1_500..1_540, 2, "U") + &rows(1_540..1_550, 2, "D") + &rows(8_000..8_020, 2, "I"),
        rows((0..8_000).step_by(997), 3, "U") + &rows([8_005, 1_545], 3, "U") + &rows([2, 7_777], 1, "U"),
        rows(3_000..6_000, 4, "D") + &rows([8_010], 4, "D"),
        rows(3_100..3_200, 5, "U") + &rows([9_000], 5, "I"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_with_copied_row_groups_are_those_that_are_written_as_a_whole() {
    let feed = "TBLPROPERTIES (delta.enableChangeDataFeed = true)";
    for (clauses, properties) in
        [("", ""), ("STORED AS SCD TYPE 2", ""), ("IGNORE NULL UPDATES", ""), ("", feed), ("", "PARTITIONED BY (ok)")]
    {
        let sql = sql(COLUMNS, clauses).replace("TABLE t;", &format!("TABLE t {properties};"));
        let mut found = Vec::new();
        for size in [SMALL_FILES, LARGE_FILES] {
            let lab = Lab::new();
            for (at, batch) in batches().into_iter().enumerate() {
                lab.arrive(&format!("{at}.json"), batch);
                update(&lake(&lab, &sql, size)).await;
            }
            let lake = lake(&lab, &sql, size);
            let columns = BOUNDED.iter().filter(|(name, _)| *name != "ok" || !properties.contains("ok"));
            check_statistics(&lab, &lake, &columns.copied().collect::<Vec<_>>()).await;
            let mut tables = contents(&lake).await;
            // Where its files were is another place each time.
            tables.remove("raw");
            found.push((tables, files(&lake, "t").await.len()));
        }
        let [(copied, many), (whole, few)] = &found[..] else { panic!("two") };
        assert!(copied == whole, "{clauses} {properties}");
        assert!(many > few, "{clauses} {properties}: {many} {few}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_lack_a_new_column_are_decoded() {
    let lab = Lab::new();
    lab.arrive("0.json", rows(0..4_000, 1, "I"));
    let before = lake(&lab, &sql("id INT, name STRING", ""), SMALL_FILES);
    update(&before).await;
    let wider = sql("id INT, name STRING, score DOUBLE", "");
    lab.arrive("1.json", rows([1, 2, 3_000], 2, "U"));
    update(&lake(&lab, &wider, SMALL_FILES)).await;
    lab.arrive("2.json", rows([1, 2, 3], 3, "U"));
    let lake = lake(&lab, &wider, SMALL_FILES);
    update(&lake).await;
    let scores = crate::lakes::values(&lake, "t", "score").await;
    assert_eq!((scores.len(), scores.iter().filter(|score| *score != "~").count()), (4_000, 4));
    check_statistics(&lab, &lake, &[("id", true), ("name", false), ("score", true)]).await;
}

/// A deletion vector of some rows, in the log itself: <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#deletion-vector-format>.
fn deletion_vector(rows: &[u16]) -> Value {
    const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let last = u16::try_from(rows.len() - 1).unwrap();
    let words: [&[u32]; 3] = [&[1_681_511_377], &[1, 0, 0], &[12_346, 1, u32::from(last) << 16, 16]];
    let mut bytes: Vec<u8> = words.concat().iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
    let digits = |four: &[u8]| {
        let word = u32::from_be_bytes(four.try_into().unwrap());
        [4, 3, 2, 1, 0].map(|power| char::from(DIGITS[(word / 85_u32.pow(power) % 85) as usize]))
    };
    let text: String = bytes.chunks(4).flat_map(digits).collect();
    json!({"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": bytes.len(), "cardinality": rows.len()})
}

/// Deletes rows of a file as another writer does: by a deletion vector.
pub(crate) async fn delete_rows(lab: &Lab, lake: &Lake, table: &str, file: &DataFile, rows: &[u16]) {
    let table = lake.table(&DatasetName::new(table)).await.unwrap().unwrap();
    let entry = |version: u64| Path::from(format!("{}/_delta_log/{version:020}.json", table.path()));
    let mut log = String::new();
    for version in 0..=table.version() {
        log += std::str::from_utf8(&lab.store.get(&entry(version)).await.unwrap().bytes().await.unwrap()).unwrap();
    }
    let added = |line: &&str| line.contains("\"add\"") && line.contains(file.path());
    let mut add: Value = serde_json::from_str(log.lines().find(added).unwrap()).unwrap();
    add["add"]["deletionVector"] = deletion_vector(rows);
    let features = r#"{"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}}"#;
    let remove = format!(r#"{{"remove": {{"path": "{}", "deletionTimestamp": 1, "dataChange": true}}}}"#, file.path());
    lab.store.put(&entry(table.version() + 1), format!("{features}\n{remove}\n{add}\n").into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_deletion_vector_took_stay_away() {
    let (lab, sql) = (Lab::new(), sql("id INT, name STRING", ""));
    lab.arrive("0.json", rows(0..8_000, 1, "I"));
    let first = lake(&lab, &sql, SMALL_FILES);
    update(&first).await;
    let file = files(&first, "t").await.into_iter().find(|file| file.min(&["id"]) == Some(0.into())).unwrap();
    delete_rows(&lab, &first, "t", &file, &[3, 4, 7, 11, 18, 29]).await;

    lab.arrive("1.json", rows([0, 2_000], 2, "U"));
    let lake = lake(&lab, &sql, SMALL_FILES);
    update(&lake).await;
    let ids = crate::lakes::values(&lake, "t", "id").await;
    assert_eq!(ids.len(), 7_994);
    assert!(["3", "4", "7", "11", "18", "29"].iter().all(|gone| !ids.iter().any(|id| id == gone)));
    check_statistics(&lab, &lake, &[("id", true)]).await;
}

/// Rows of long texts that hardly any compression makes smaller.
fn wide_rows(ids: std::ops::Range<u32>) -> String {
    let mut random = StdRng::seed_from_u64(u64::from(ids.start));
    ids.fold(String::new(), |mut text, id| {
        let [a, b, c] =
            [(); 3].map(|()| (0..1_600).map(|_| char::from(random.random_range(b'0'..b'o'))).collect::<String>());
        let row = json!({"id": id, "a": a, "b": b, "c": c});
        writeln!(text, "{row}").unwrap();
        text
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn row_groups_of_more_bytes_than_are_read_at_once_are_copied() {
    const ROWS: u32 = 2_000;
    const SQL: &str = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id INT, a STRING, b STRING, c STRING');";
    let lab = Lab::new();
    let lake = lake(&lab, SQL, 20 << 20);
    for part in 0..2 {
        lab.arrive(&format!("{part}.json"), wide_rows(part * ROWS..(part + 1) * ROWS));
        update(&lake).await;
    }
    let (before, pages) = (contents(&lake).await, chunks(&lab, &lake).await);
    assert!(pages.len() == 2 && pages.iter().all(|group| group.iter().map(Vec::len).sum::<usize>() > 6 << 20));
    well(tick(&lake, FunctionKind::Compact).await);
    assert_eq!(files(&lake, "t").await.len(), 1);
    assert!(pages == chunks(&lab, &lake).await, "each column of each group has the same bytes as before");
    assert!(before == contents(&lake).await, "all rows are there as they were");
}

/// The columns of each row group of a table, as they are stored.
async fn chunks(lab: &Lab, lake: &Lake) -> Vec<Vec<Vec<u8>>> {
    let mut groups = Vec::new();
    for file in files(lake, "t").await {
        let bytes = lab.store.get(file.location()).await.unwrap().bytes().await.unwrap();
        let reader = SerializedFileReader::new(bytes.clone()).unwrap();
        for group in reader.metadata().row_groups() {
            let ranges = group.columns().iter().map(|column| column.byte_range());
            groups.push(
                ranges.map(|(start, length)| bytes.slice(start as usize..(start + length) as usize).to_vec()).collect(),
            );
        }
    }
    groups.sort();
    groups
}
