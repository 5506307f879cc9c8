//! Files of columns, lines and bytes: each lands as it is, whole or as one record of quarantine.

use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, Time64MicrosecondArray};
use deltalake::parquet::arrow::ArrowWriter;
use headwater_core::name::DatasetName;
use headwater_core::report::Rows;
use proptest::prelude::*;

use crate::lakes::{Lab, rows, update, values};

/// Zigzag, seven bits a byte.
fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

pub(crate) fn text(value: &[u8]) -> Vec<u8> {
    [long(value.len() as i64), value.to_vec()].concat()
}

/// The records that Event Hubs Capture writes.
const CAPTURE: &str = r#"{"type":"record","name":"EventData","namespace":"Microsoft.ServiceBus.Messaging","fields":[
    {"name":"SequenceNumber","type":"long"},
    {"name":"Offset","type":"string"},
    {"name":"EnqueuedTimeUtc","type":"string"},
    {"name":"SystemProperties","type":{"type":"map","values":["long","double","string","bytes"]}},
    {"name":"Properties","type":{"type":"map","values":["long","double","string","bytes","null"]}},
    {"name":"Body","type":["null","bytes"]}]}"#;

fn event(number: i64, body: Option<&str>) -> Vec<u8> {
    let partition_key = [long(1), text(b"x-opt-partition-key"), long(2), text(b"k1"), long(0)].concat();
    let device =
        [long(2), text(b"device"), long(2), text(b"d7"), text(b"reading"), long(0), long(42), long(0)].concat();
    let body = body.map_or(long(0), |body| [long(1), text(body.as_bytes())].concat());
    let head = [long(number), text(b"1024"), text(b"11/21/2026 2:05:00 PM")].concat();
    [head, partition_key, device, body].concat()
}

const SYNC: &[u8; 16] = b"0123456789abcdef";

fn squeeze(codec: &str, block: &[u8]) -> Vec<u8> {
    match codec {
        "deflate" => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(block).unwrap();
            encoder.finish().unwrap()
        }
        "snappy" => {
            let mut sum = flate2::Crc::new();
            sum.update(block);
            let packed = snap::raw::Encoder::new().compress_vec(block).unwrap();
            [packed, sum.sum().to_be_bytes().to_vec()].concat()
        }
        "zstandard" => zstd::encode_all(block, 1).unwrap(),
        _ => block.to_vec(),
    }
}

/// An Avro file of blocks of records.
pub(crate) fn avro(schema: &str, codec: &str, blocks: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut file = b"Obj\x01".to_vec();
    file.extend([long(2), text(b"avro.schema"), text(schema.as_bytes())].concat());
    file.extend([text(b"avro.codec"), text(codec.as_bytes()), long(0), SYNC.to_vec()].concat());
    for records in blocks {
        let block = squeeze(codec, &records.concat());
        file.extend([long(records.len() as i64), long(block.len() as i64), block, SYNC.to_vec()].concat());
    }
    file
}

fn captured(codec: &str) -> Vec<u8> {
    let blocks = [vec![event(1, Some(r#"{"id":"a"}"#)), event(2, None)], vec![event(3, Some("\u{e9}"))]];
    avro(CAPTURE, codec, &blocks)
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn table(format: &str) -> String {
    format!("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => '{format}')")
}

/// The rows of `t`, and why records are in its quarantine.
async fn landed(lab: &Lab, sql: &str) -> (Vec<String>, Vec<String>) {
    let lake = lab.lake(sql);
    update(&lake).await;
    (rows(&lake, &DatasetName::new("t")).await, values(&lake, "t__quarantine", "_headwater.reasons").await)
}

#[tokio::test]
async fn what_event_hubs_captures_lands_with_the_columns_that_spark_gives_it() {
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let lab = Lab::new();
        lab.arrive("ns/hub/0/2026/11/21/14/05/00.avro", captured(codec));
        lab.arrive("ns/hub/1/2026/11/21/14/05/00.avro", avro(CAPTURE, codec, &[]));
        let sql = "CREATE STREAMING TABLE t AS SELECT SequenceNumber AS n, Offset, EnqueuedTimeUtc,
            CAST(Body AS STRING) AS body, SystemProperties['x-opt-partition-key'].member2 AS pk,
            Properties['reading'].member0 AS reading FROM STREAM read_files('in', format => 'avro')";
        let (rows, bad) = landed(&lab, sql).await;
        assert_eq!((rows.len(), bad.len()), (3, 0), "{codec}: {bad:?}");
        let first =
            "n=1 | Offset=1024 | EnqueuedTimeUtc=11/21/2026 2:05:00 PM | body={\"id\":\"a\"} | pk=k1 | reading=42";
        assert!(rows[0].starts_with(first), "{codec}: {rows:?}");
        assert!(rows[1].starts_with("n=2") && !rows[1].contains("body="), "{rows:?}");
        assert!(rows[2].contains("body=\u{e9}"), "{rows:?}");
    }
}

#[tokio::test]
async fn an_avro_file_cut_short_anywhere_gives_its_rows_or_one_record_of_quarantine() {
    let whole = captured("null");
    let header = avro(CAPTURE, "null", &[]).len();
    let block = avro(CAPTURE, "null", &[vec![event(1, Some(r#"{"id":"a"}"#)), event(2, None)]]).len();
    for length in (0..whole.len()).step_by(7).chain([3, 4, header - 1, header, block - 16, block - 1, block]) {
        let lab = Lab::new();
        lab.arrive("cut.avro", &whole[..length]);
        lab.arrive("whole.avro", &whole);
        let (rows, bad) = landed(&lab, &table("avro")).await;
        // A file that ends where a block does is whole.
        let (more, quarantined) = if length == block { (2, 0) } else { (0, usize::from(length != header)) };
        assert_eq!((rows.len(), bad.len()), (3 + more, quarantined), "{length} of {}: {bad:?}", whole.len());
    }
}

#[tokio::test]
async fn avro_blocks_that_lie_are_told_and_end() {
    let one = event(1, None);
    let framed = |rows: i64, size: i64, block: &[u8]| {
        [avro(CAPTURE, "null", &[]), long(rows), long(size), block.to_vec(), SYNC.to_vec()].concat()
    };
    let size = one.len() as i64;
    let lies = [
        framed(2, size, &one),
        framed(i64::MAX, size, &one),
        framed(-1, size, &one),
        framed(1, i64::MAX, &one),
        framed(1, -5, &one),
        framed(1, size - 1, &one),
        avro(r#"{"type":"record","name":"E","fields":[{"name":"n","type":"null"}]}"#, "null", &[vec![vec![]; 1 << 17]]),
        avro(CAPTURE, "snappy", &[]).into_iter().chain(long(1)).chain(long(2)).chain(*b"ab").chain(*SYNC).collect(),
        avro(CAPTURE, "zstandard", &[vec![vec![0; 32 << 20]]]),
        avro("{", "null", &[]),
        avro(CAPTURE, "lzma", &[]),
    ];
    let lab = Lab::new();
    for (at, lie) in lies.iter().enumerate() {
        lab.arrive(&format!("{at}.avro"), lie);
    }
    lab.arrive("good.avro", captured("null"));
    let (rows, bad) = landed(&lab, &table("avro")).await;
    assert_eq!((rows.len(), bad.len()), (3, lies.len()), "{bad:#?}");
}

#[tokio::test]
async fn parquet_files_of_differing_columns_land_in_those_of_all() {
    let lab = Lab::new();
    let time: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![3_661_000_000]));
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    lab.arrive("a.parquet", parquet(vec![("n", narrow), ("s", Arc::new(StringArray::from(vec!["x", "y"])))]));
    lab.arrive("b.parquet", parquet(vec![("N", numbers(&[i64::MAX])), ("at", time)]));
    lab.arrive("c.parquet", parquet(vec![("n", Arc::new(StringArray::from(vec!["4", "four"])) as ArrayRef)]));
    let lake = lab.lake(&table("parquet"));
    let report = update(&lake).await;
    let counts: Vec<Rows> = report.flows.iter().map(|flow| flow.rows).collect();
    assert_eq!((counts[0].written, counts[0].quarantined), (4, 1), "{counts:?}");
    assert_eq!(values(&lake, "t", "n").await, ["1", "2", "4", &i64::MAX.to_string()]);
    assert_eq!(values(&lake, "t", "at").await, ["01:01:01", "~", "~", "~"]);
    let aside = rows(&lake, &DatasetName::new("t__quarantine")).await;
    assert!(aside[0].contains("doesn't fit Int64") && aside[0].contains("c.parquet:2"), "{aside:?}");
}

#[tokio::test]
async fn a_parquet_file_damaged_anywhere_is_one_record_of_quarantine_and_no_rows() {
    let words: ArrayRef = Arc::new(StringArray::from_iter_values((0..5_000).map(|n| format!("word {n}"))));
    let whole = parquet(vec![("n", numbers(&(0..5_000).collect::<Vec<_>>())), ("s", words)]);
    for cut in [0, 1, 8, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let lab = Lab::new();
        lab.arrive("cut.parquet", &whole[..cut]);
        lab.arrive("junk.parquet", b"PAR1 is how it begins, and it ends as PAR1");
        lab.arrive("good.parquet", parquet(vec![("n", numbers(&[1]))]));
        let (rows, bad) = landed(&lab, &table("parquet")).await;
        assert_eq!((rows.len(), bad.len()), (1, 2), "{cut}: {bad:?}");
    }
}

#[tokio::test]
async fn lines_and_bytes_are_rows_as_they_are() {
    let lab = Lab::new();
    lab.arrive("a.log.zst", zstd::encode_all(&b"one\r\n\ntwo, \"three\""[..], 1).unwrap());
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(b"four\nfi\xffve\n").unwrap();
    lab.arrive("b.log.bz2", bzip2.finish().unwrap());
    let (rows, bad) = landed(&lab, &table("text")).await;
    let found: Vec<_> = rows.iter().map(|row| row.split(" | ").next().unwrap()).collect();
    assert_eq!(found, ["value=", "value=four", "value=one", "value=two, \"three\""]);
    assert_eq!(bad, ["[not UTF-8 text]"]);

    let lab = Lab::new();
    lab.arrive("a.png", [0x89, b'P', 0xff]);
    lab.arrive("b.zst", b"");
    let (rows, bad) = landed(&lab, &table("binaryFile")).await;
    assert_eq!(bad, Vec::<String>::new());
    assert!(rows[0].contains("/in/a.png | modificationTime=20") && rows[0].contains("length=3 | content=8950ff"));
    assert!(rows[1].contains("/in/b.zst") && rows[1].contains("length=0 | content= |"), "{rows:?}");
}

#[tokio::test]
async fn text_compressed_by_any_of_them_is_whole_or_one_bad_record() {
    let json: Vec<u8> = (0..2_000).flat_map(|n| format!("{{\"n\":{n}}}\n").into_bytes()).collect();
    let lab = Lab::new();
    let zstd = zstd::encode_all(json.as_slice(), 1).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&json).unwrap();
    let bzip2 = bzip2.finish().unwrap();
    lab.arrive("two.json.zst", [zstd.clone(), zstd.clone()].concat());
    lab.arrive("two.json.bz2", [bzip2.clone(), bzip2.clone()].concat());
    lab.arrive("cut.json.zst", &zstd[..zstd.len() / 2]);
    lab.arrive("cut.json.bz2", &bzip2[..bzip2.len() - 3]);
    lab.arrive("no.json.zst", &json);
    lab.arrive("bomb.json.zst", zstd::encode_all(std::io::repeat(b' ').take(200 << 20), 1).unwrap());
    let (rows, bad) = landed(&lab, &table("json")).await;
    assert_eq!((rows.len(), bad.len()), (8_000, 4), "{bad:?}");
    assert!(bad.iter().any(|reason| reason.contains("grows to more than 1000 times its size")), "{bad:?}");
}

#[tokio::test]
async fn json_documents_are_read_by_object_wherever_lines_end() {
    let lab = Lab::new();
    lab.arrive("array.json", "[\n  {\"n\": 1,\n \"s\": \"}],{\"},\n {\"n\": 2}\n]\n");
    lab.arrive("one.json", "{\n\"n\":\n3\n}");
    lab.arrive("many.json", "{\"n\":4}{\"n\":5}\n{\n\"n\":6}");
    lab.arrive("empty.json", "[]");
    lab.arrive("bad.json", "[{\"n\": 7},\nnull,\n{\"n\": \"x\"},{\"n\":8},{\"n\":");
    let sql = "CREATE STREAMING TABLE t AS
        SELECT * FROM STREAM read_files('in', format => 'json', multiLine => true, schema => 'n INT, s STRING')";
    let lake = lab.lake(sql);
    update(&lake).await;
    assert_eq!(values(&lake, "t", "n").await, ["1", "2", "3", "4", "5", "6", "7", "8"]);
    let places: Vec<_> = values(&lake, "t__quarantine", "_headwater.position").await;
    let lines: Vec<_> = places.iter().map(|place| place.rsplit(':').next().unwrap()).collect();
    assert_eq!(lines, ["2", "3", "3"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_byte_that_is_flipped_fails_a_batch_or_another_file(at in any::<prop::sample::Index>(), flip in 1..=255_u8, of in 0..4_usize) {
        let (format, mut bytes) = match of {
            0 => ("avro", captured("null")),
            1 => ("avro", captured("deflate")),
            _ => ("parquet", parquet(vec![
                ("n", numbers(&[1, 2, 3])),
                ("s", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
            ])),
        };
        let whole = bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let lab = Lab::new();
            lab.arrive("a.bin", &whole);
            lab.arrive("b.bin", &bytes);
            let (rows, _) = landed(&lab, &table(format)).await;
            assert!(rows.len() >= 3, "{format} {at} {flip}: {rows:?}");
        });
    }
}
