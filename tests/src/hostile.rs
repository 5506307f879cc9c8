//! Hostile input: each record ends as a row, or verbatim in quarantine with a reason and its place.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_core::name::DatasetName;
use headwater_runtime::local::FunctionKind;

use crate::lakes::{Lab, commits, deliver, message, rows, tick, values, well};

const COLUMNS: &str = "id BIGINT, name STRING, x DOUBLE, at TIMESTAMP, day DATE, ok BOOLEAN, price DECIMAL(10,2)";

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Row,
    Aside,
}

use Fate::{Aside, Row};

fn records() -> Vec<(Vec<u8>, Fate)> {
    let text: &[(&str, Fate)] = &[
        ("{\"id\": 1}", Row),
        ("{}", Row),
        ("{\"unknown\": {\"a\": [1, {\"b\": null}]}}", Row),
        ("{\"id\": null, \"name\": null}", Row),
        ("{\"name\": \"\"}", Row),
        ("{\"name\": \"\\u0000\"}", Row),
        ("{\"name\": \"\\ud83d\\ude00\"}", Row),
        ("{\"name\": \"a\\\\\\\"b\\n\"}", Row),
        ("{\"id\": 9223372036854775807}", Row),
        ("{\"id\": -9223372036854775808}", Row),
        ("{\"x\": 1e308}", Row),
        ("{\"x\": -0.0}", Row),
        ("{\"x\": 5e-324}", Row),
        ("  {\"id\": 2}  ", Row),
        // Written loosely, but with one meaning.
        ("{\"x\": 01}", Row),
        ("{\"x\": 1.}", Row),
        ("{\"id\": 1,}", Row),
        ("{\"name\": \"a\tb\"}", Row),
        ("{\"name\": \"\\ud800\"}", Aside),
        ("{\"name\": \"\\udc00\\ud800\"}", Aside),
        ("{\"id\": 9223372036854775808}", Aside),
        ("{\"id\": 1.5}", Aside),
        ("{\"id\": \"one\"}", Aside),
        ("{\"id\": true}", Aside),
        ("{\"id\": {}}", Aside),
        ("{\"id\": [1]}", Aside),
        ("{\"x\": NaN}", Aside),
        ("{\"x\": Infinity}", Aside),
        ("{\"x\": 0x10}", Aside),
        ("{\"x\": .5}", Aside),
        ("{\"x\": +1}", Aside),
        ("{\"at\": \"yesterday\"}", Aside),
        ("{\"at\": \"2024-02-30T00:00:00Z\"}", Aside),
        ("{\"day\": \"2024-13-01\"}", Aside),
        ("{\"ok\": \"perhaps\"}", Aside),
        ("{\"price\": \"12,50\"}", Aside),
        ("{\"price\": 123456789012}", Aside),
        ("{'id': 1}", Aside),
        ("{id: 1}", Aside),
        ("{\"id\" 1}", Aside),
        ("{\"id\": 1", Aside),
        ("{\"id\": 1}}", Aside),
        ("{\"id\": 1}{\"id\": 2}", Aside),
        ("[{\"id\": 1}]", Row),
        ("null", Aside),
        ("1", Aside),
        ("\"text\"", Aside),
        ("true", Aside),
        ("{\"name\": \"unended", Aside),
        ("{\"name\": \"\\x41\"}", Aside),
        ("// comment", Aside),
        ("\u{2028}{\"id\": 1}", Aside),
    ];
    let mut records: Vec<_> = text.iter().map(|(record, fate)| (record.as_bytes().to_vec(), *fate)).collect();
    let nested = |depth: usize| format!("{{\"z\": {}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    records.push((nested(50), Row));
    records.push((nested(100_000), Aside));
    records.push((format!("{{\"name\": \"{}\"}}", "x".repeat(3 << 20)).into_bytes(), Row));
    records.push((b"{\"name\": \"\xff\xfe\"}".to_vec(), Aside));
    records.push((b"{\"name\": \"\xc0\x80\"}".to_vec(), Aside));
    records.push((b"{\"name\": \"\xed\xa0\x80\"}".to_vec(), Aside));
    records.push((b"\x00\x01\x02".to_vec(), Aside));
    records
}

/// Raw bytes in quarantine, with the place of each; a reason and a place are there for all.
async fn quarantined(lab: &Lab, sql: &str) -> Vec<(String, String)> {
    let lake = lab.lake(sql);
    let mut found = Vec::new();
    for row in rows(&lake, &DatasetName::new("t__quarantine")).await {
        let fields: BTreeMap<&str, &str> = row.split(" | ").filter_map(|part| part.split_once('=')).collect();
        assert!(fields["_headwater.reasons"].len() > 4, "{row}");
        found.push((fields["_headwater.position"].to_owned(), fields["_headwater.raw"].to_owned()));
    }
    found.sort();
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_message_is_a_row_or_kept_verbatim() {
    let lab = Lab::new();
    let sql = format!(
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', format => 'json', schema => '{COLUMNS}')"
    );
    let records = records();
    let id = |at: usize| format!("m{at:03}");
    let messages = records.iter().enumerate().map(|(at, (record, _))| message(&id(at), record, 1)).collect();
    well(deliver(&lab.lake(&sql), messages).await);
    let landed = values(&lab.lake(&sql), "t", "_metadata.message_id").await;
    let aside = quarantined(&lab, &sql).await;
    let ids = |fate| records.iter().enumerate().filter(move |(_, record)| record.1 == fate).map(|(at, _)| id(at));
    assert_eq!(landed, ids(Row).collect::<Vec<_>>());
    let places: Vec<_> = ids(Aside).map(|id| format!("{id}:1")).collect();
    assert_eq!(aside.iter().map(|(place, _)| place.clone()).collect::<Vec<_>>(), places);
    let raw: Vec<_> = records.iter().filter(|record| record.1 == Aside).map(|(record, _)| hex(record)).collect();
    assert_eq!(aside.into_iter().map(|(_, raw)| raw).collect::<Vec<_>>(), raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_line_of_a_file_is_a_row_or_kept_verbatim() {
    for ending in ["\n", "\r\n"] {
        let lab = Lab::new();
        let sql = format!(
            "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json', schema => '{COLUMNS}')"
        );
        let records = records();
        let mut file = b"\xef\xbb\xbf".to_vec();
        for (record, _) in &records {
            file.extend_from_slice(record);
            file.extend_from_slice(ending.as_bytes());
        }
        lab.arrive("a.json", file);
        well(tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await);
        let landed = rows(&lab.lake(&sql), &DatasetName::new("t")).await.len();
        let mut aside: Vec<_> = quarantined(&lab, &sql).await.into_iter().map(|(_, raw)| raw).collect();
        aside.sort();
        let mut raw: Vec<_> =
            records.iter().filter(|record| record.1 == Aside).map(|(record, _)| hex(record)).collect();
        raw.sort();
        assert_eq!(aside, raw);
        assert_eq!(landed + aside.len(), records.len());
        assert_eq!(commits(&tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_csv_is_rows_or_kept_verbatim() {
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'csv', header => true, schema => 'id INT, name STRING')";
    let good = ["1,a", "2,\"b,c\"", "3,\"d\"\"e\"", "4,\"two\nlines\"", "5,", ",", "6,ü😀", "7, spaces "];
    let bad = ["8", "9,a,b", "ten,x", "11.5,y", "99999999999,z", "\"\",\"\",\"\""];
    let lines: Vec<&str> = ["id,name"].into_iter().chain(good).chain(bad).chain(["12,last"]).collect();
    lab.arrive("a.csv", lines.join("\n"));
    lab.arrive("b.csv", "\u{feff}id,name\r\n13,\"bom\"\r\n14\r\n");
    lab.arrive("c.csv", "id,name\n15,ok\n16,\"never ended\n17,x\n");
    well(tick(&lab.lake(sql), FunctionKind::BronzeFiles).await);
    let ids = values(&lab.lake(sql), "t", "id").await;
    assert_eq!(ids, ["1", "12", "13", "15", "17", "2", "3", "4", "5", "6", "7", "~"]);
    let mut raw: Vec<_> = quarantined(&lab, sql).await.into_iter().map(|(_, raw)| raw).collect();
    raw.sort();
    let mut expected: Vec<_> = bad.iter().map(|record| hex(record.as_bytes())).collect();
    expected.extend([hex(b"14"), hex(b"16,\"never ended")]);
    expected.sort();
    assert_eq!(raw, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_archive_is_one_record_and_the_others_land() {
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id INT')";
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for id in 0..2_000 {
        writeln!(encoder, "{{\"id\": {id}}}").unwrap();
    }
    let whole = encoder.finish().unwrap();
    lab.arrive("good.json.gz", &whole);
    lab.arrive("short.json.gz", &whole[..whole.len() / 2]);
    lab.arrive("no-end.json.gz", &whole[..whole.len() - 4]);
    lab.arrive("not.json.gz", "{\"id\": 1}\n");
    lab.arrive("empty.json.gz", "");
    well(tick(&lab.lake(sql), FunctionKind::BronzeFiles).await);
    assert_eq!(values(&lab.lake(sql), "t", "id").await.len(), 2_000);
    let aside = values(&lab.lake(sql), "t__quarantine", "_metadata.file_name").await;
    assert_eq!(aside, ["empty.json.gz", "no-end.json.gz", "not.json.gz", "short.json.gz"]);
    assert_eq!(commits(&tick(&lab.lake(sql), FunctionKind::BronzeFiles).await), 0);
}

/// Names that mean something in a URL, a glob, a shell or a partition.
const NAMES: [&str; 28] = [
    "plain.json",
    "a b.json",
    "a%20b.json",
    "a+b.json",
    "a%2Bb.json",
    "a%2eb.json",
    "a.b.json",
    "a%252eb.json",
    "%.json",
    "100%.json",
    "%2e%2e.json",
    "%2f.json",
    "x=1/y=a b/c.json",
    "x=1/y=a%20b/c.json",
    "a#b.json",
    "a?b.json",
    "a&b;c.json",
    "a\\b.json",
    "a:b.json",
    "a|b.json",
    "[a].json",
    "{a}.json",
    "*.json",
    "~a.json",
    "'a\"b'.json",
    "größe😀.json",
    "gro\u{308}ße.json",
    "deep/er/and/deep er.json",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_file_lands_once_whatever_its_name() {
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id INT')";
    for (id, name) in NAMES.iter().enumerate() {
        lab.arrive(name, format!("{{\"id\": {id}}}\nbad {id}\n"));
    }
    well(tick(&lab.lake(sql), FunctionKind::BronzeFiles).await);
    let mut ids: Vec<usize> = values(&lab.lake(sql), "t", "id").await.iter().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..NAMES.len()).collect::<Vec<_>>());
    assert_eq!(quarantined(&lab, sql).await.len(), NAMES.len());
    assert_eq!(commits(&tick(&lab.lake(sql), FunctionKind::BronzeFiles).await), 0);
    lab.arrive("one more.json", "{\"id\": 1000}\n");
    well(tick(&lab.lake(sql), FunctionKind::BronzeFiles).await);
    assert_eq!(values(&lab.lake(sql), "t", "id").await.len(), NAMES.len() + 1);
}
