//! Bytes of messages and files to rows: what is good is decoded in order, what is bad is kept
//! verbatim, and neither depends on how the bytes are cut.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater_core::error::ErrorKind;
use headwater_core::model::{CsvOptions, Evolution, FileOptions, Format, ReadOptions};
use headwater_core::trigger::Message;
use headwater_lake::ingest::{
    BadRecord, DecodeLimits, FileDecoder, FoundFile, Landing, Sample, decode_messages, infer_schema, read_sample,
};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

const LIMITS: DecodeLimits = DecodeLimits { record_bytes: 1 << 20, ratio: 1_000 };

fn read_as(format: Format) -> ReadOptions {
    ReadOptions { evolution: Evolution::None, ..ReadOptions::new(format) }
}

fn csv(header: bool) -> Format {
    Format::Csv(CsvOptions { header, ..CsvOptions::default() })
}

fn columns(fields: &[(&str, DataType)]) -> SchemaRef {
    Arc::new(Schema::new(
        fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true)).collect::<Vec<_>>(),
    ))
}

fn a_and_b() -> SchemaRef {
    columns(&[("a", DataType::Int32), ("b", DataType::Utf8)])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Each row as `column|column`, `_metadata` left out; NULL is `~`.
fn rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("~");
    let shown = |at: usize| ArrayFormatter::try_new(batch.column(at), &options).unwrap();
    let columns: Vec<_> = (0..batch.num_columns() - 1).map(shown).collect();
    let row = |at| columns.iter().map(|column| column.value(at).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

#[derive(Debug, Default, PartialEq)]
struct Decoded {
    rows: Vec<String>,
    bad: Vec<BadRecord>,
}

impl Decoded {
    fn raw(&self) -> Vec<String> {
        self.bad.iter().map(|bad| String::from_utf8_lossy(&bad.raw).into_owned()).collect()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

fn found(name: &str, bytes: &[u8]) -> FoundFile {
    FoundFile {
        location: Path::from(name),
        path: format!("memory:///{name}"),
        size: bytes.len() as u64,
        modified: DateTime::<Utc>::UNIX_EPOCH,
        etag: None,
        folders: Vec::new(),
    }
}

fn decode_file(name: &str, bytes: &[u8], format: Format, schema: &SchemaRef, limits: DecodeLimits) -> Decoded {
    let runtime = runtime();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let file = found(name, bytes);
    runtime.block_on(store.put(&file.location, bytes.to_vec().into())).unwrap();
    let columns = Arc::clone(schema);
    let decoder = FileDecoder { store, runtime: runtime.handle().clone(), read: read_as(format), columns, limits };
    let mut decoded = Decoded::default();
    let emit = |batch: RecordBatch, bad| {
        decoded.rows.extend(rows(&batch));
        decoded.bad.extend(bad);
        true
    };
    decoder.decode(&file, emit).unwrap();
    decoded
}

fn json_file(bytes: &[u8]) -> Decoded {
    decode_file("f.json", bytes, Format::Json, &a_and_b(), LIMITS)
}

fn csv_file(bytes: &[u8], header: bool) -> Decoded {
    decode_file("f.csv", bytes, csv(header), &a_and_b(), LIMITS)
}

fn message(id: &str, body: &[u8]) -> Message {
    Message {
        id: id.to_owned(),
        body: body.to_vec().into(),
        enqueued_at: DateTime::<Utc>::UNIX_EPOCH,
        receive_count: 1,
        attributes: std::collections::BTreeMap::new(),
    }
}

fn json_messages(bodies: &[&str], schema: &SchemaRef) -> Decoded {
    let messages: Vec<_> =
        bodies.iter().enumerate().map(|(at, body)| message(&format!("m{at}"), body.as_bytes())).collect();
    let (batch, bad) = decode_messages(&messages, "s", &read_as(Format::Json), schema, LIMITS).unwrap();
    Decoded { rows: rows(&batch), bad }
}

#[test]
fn times_are_texts_however_deep_they_stand() {
    let list = |data_type| DataType::List(Arc::new(Field::new_list_field(data_type, true)));
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let inner = DataType::Struct(vec![Field::new("at", at, true), Field::new("n", DataType::Int64, true)].into());
    let schema = columns(&[("s", inner), ("d", list(DataType::Date32))]);
    let good = [
        r#"{"s":{"at":"2024-01-01T00:00:00Z","n":1},"d":["2024-01-01",null]}"#,
        r#"{"s":{"at":null,"n":1700000000000000},"d":[]}"#,
        r#"{"s":null}"#,
    ];
    let bad = [r#"{"s":{"at":1700000000000000}}"#, r#"{"d":[19000]}"#, r#"{"s":{"at":"yesterday"}}"#];
    let decoded = json_messages(&[good[0], bad[0], good[1], bad[1], bad[2], good[2]], &schema);
    assert_eq!(decoded.rows.len(), 3);
    assert!(decoded.rows[0].contains("2024-01-01T00:00:00Z") && decoded.rows[0].contains("[2024-01-01"));
    assert_eq!(decoded.raw(), bad);
}

#[test]
fn each_bad_json_record_is_kept_verbatim_between_good_ones() {
    let bad: &[&[u8]] = &[
        b"not json",
        b"{",
        b"}",
        b"[1,2]",
        b"\"text\"",
        b"42",
        b"null",
        br#"{"a":1"#,
        br#"{"a":1}}"#,
        br#"{"a":1}{"a":2}"#,
        br#"{"a":1} {"a":2}"#,
        br#"{"a":}"#,
        br#"{a:1}"#,
        br#"{"a":"abc"}"#,
        br#"{"a":{"x":1}}"#,
        br#"{"a":[1]}"#,
        br#"{"a":true}"#,
        br#"{"a":2147483648}"#,
        br#"{"a":-2147483649}"#,
        br#"{"a":1e300}"#,
        br#"{"a":1.5}"#,
        br#"{"a":15e-1}"#,
        br#"{"b":"not closed}"#,
        br#"{"b":"bad \q escape"}"#,
        b"{\"b\":\"\xff\xfe\"}",
        b"{\"b\":\"\xc3\"}",
        b"\0\0\0",
        b"  {\"a\":\t",
    ];
    for record in bad {
        let text = [b"{\"a\":1,\"b\":\"x\"}\n", *record, b"\n{\"a\":2}"].concat();
        let decoded = json_file(&text);
        let shown = String::from_utf8_lossy(record);
        assert_eq!(decoded.rows, ["1|x", "2|~"], "{shown}");
        assert_eq!(decoded.bad.len(), 1, "{shown}");
        assert_eq!(decoded.bad[0].raw, *record, "{shown}");
        assert_eq!(decoded.bad[0].position, "memory:///f.json:2", "{shown}");
        assert!(!decoded.bad[0].reason.is_empty(), "{shown}");
    }
}

#[test]
fn good_json_is_read_however_it_is_laid_out() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"\n\r\n \t \n", &[]),
        (b"{\"a\":1}", &["1|~"]),
        (b"\xef\xbb\xbf{\"a\":1}\n", &["1|~"]),
        (b"{\"a\":1}\r\n{\"a\":2}\r\n", &["1|~", "2|~"]),
        (b"\n\n{\"a\":1}\n\n\n{\"a\":2}\n\n", &["1|~", "2|~"]),
        (br#"  { "b" : "x" , "a" : 7 }  "#, &["7|x"]),
        (br#"{"a":null,"b":null}"#, &["~|~"]),
        (b"{}", &["~|~"]),
        (br#"{"a":1,}"#, &["1|~"]),
        (br#"{"a":3.0,"b":3.5}"#, &["3|3.5"]),
        (br#"{"a":1,"unknown":{"deep":[1,{"x":1.5}]}}"#, &["1|~"]),
        ("{\"b\":\"é{}[],:\\\" \\u00e9\"}".as_bytes(), &["~|é{}[],:\" é"]),
    ];
    for (text, expected) in cases {
        let decoded = json_file(text);
        assert_eq!(decoded.rows, *expected, "{}", String::from_utf8_lossy(text));
        assert_eq!(decoded.bad, [], "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_fraction_is_refused_for_an_integer_only() {
    let point = DataType::Struct(vec![Field::new("x", DataType::Int64, true)].into());
    let list = DataType::List(Arc::new(Field::new("element", DataType::Int16, true)));
    let schema = columns(&[("d", DataType::Float64), ("p", point), ("l", list)]);
    let text = br#"{"d":0.5,"p":{"x":1},"l":[1,2]}
{"d":1,"p":{"x":1.5}}
{"l":[1,2.5]}
{"d":0.25,"p":{"x":2.0},"l":[3.0],"y":1.5}
{"d":0.5,"\u0070":{"x":1.5}}
{"y":"\":{","d":0.5,"l":[25e-1]}
{"d":"1.5","y":{"p":{"x":1.5}},"l":[4]}
{"d": 1.5e0 , "p" : { "d" : 1.5 , "x" : 5 } }
{"p":{"x":1},"d":0.5,"p":{"x":2.5}}"#;
    let decoded = decode_file("f.json", text, Format::Json, &schema, LIMITS);
    assert_eq!(decoded.rows, ["0.5|{x: 1}|[1, 2]", "0.25|{x: 2}|[3]", "1.5|~|[4]", "1.5|{x: 5}|~"]);
    assert_eq!(
        decoded.raw(),
        [
            r#"{"d":1,"p":{"x":1.5}}"#,
            r#"{"l":[1,2.5]}"#,
            r#"{"d":0.5,"\u0070":{"x":1.5}}"#,
            r#"{"y":"\":{","d":0.5,"l":[25e-1]}"#,
            r#"{"p":{"x":1},"d":0.5,"p":{"x":2.5}}"#,
        ]
    );
}

#[test]
fn timestamps_are_texts_with_or_without_a_zone_and_utc_is_assumed() {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = columns(&[("t", utc), ("d", DataType::Date32)]);
    let good = [
        r#"{"t":"2013-01-01T05:15:00Z","d":"2013-01-01"}"#,
        r#"{"t":"2013-01-01 05:15:00"}"#,
        r#"{"t":"2013-01-01T00:15:00-05:00"}"#,
        r#"{"t":"2013-01-01 05:15:00.000000"}"#,
    ];
    let decoded = json_messages(&good, &schema);
    assert_eq!(decoded.bad, []);
    assert!(decoded.rows.iter().all(|row| row.starts_with("2013-01-01T05:15:00Z|")), "{:?}", decoded.rows);
    let bad = [r#"{"t":1357017300}"#, r#"{"t":"soon"}"#, r#"{"t":true}"#, r#"{"d":15706}"#, r#"{"d":"2013-02-30"}"#];
    assert_eq!(json_messages(&bad, &schema).raw(), bad);
}

#[test]
fn nesting_cannot_exhaust_the_stack() {
    let deep = format!("{{\"x\":{}", "[".repeat(100_000));
    let closed = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for record in [deep, closed] {
        let decoded = json_file(format!("{record}\n{{\"a\":1}}\n").as_bytes());
        assert_eq!(decoded.rows, ["1|~"]);
        assert_eq!(decoded.raw(), [record]);
    }
}

#[test]
fn a_record_over_the_limit_is_kept_in_part_and_reading_goes_on() {
    let limits = DecodeLimits { record_bytes: 1_000, ratio: 1_000 };
    for length in [1_001, 5 << 20, 21 << 20] {
        let text = format!("{{\"a\":1}}\n{}\n{{\"a\":2}}\n", "x".repeat(length));
        let decoded = decode_file("f.json", text.as_bytes(), Format::Json, &a_and_b(), limits);
        assert_eq!(decoded.rows, ["1|~", "2|~"], "{length}");
        assert_eq!(decoded.raw(), ["x".repeat(1_000)], "{length}");
        assert_eq!(decoded.bad[0].position, "memory:///f.json:2");
        assert!(decoded.bad[0].reason.contains("larger than 1000 bytes"), "{}", decoded.bad[0].reason);
        let text = format!("1,x\n2,\"{}\n3,z\n", "x".repeat(length));
        let decoded = decode_file("f.csv", text.as_bytes(), csv(false), &a_and_b(), limits);
        assert_eq!(decoded.rows, ["1|x", "3|z"], "{length}");
        assert_eq!(decoded.bad.len(), 1, "{length}");
    }
}

#[test]
fn each_bad_csv_record_is_kept_verbatim_between_good_ones() {
    let bad: &[&[u8]] =
        &[b"5", b"5,y,z", b"abc,y", b"1.5,y", b"99999999999,y", b" ", b"5,\xff", b"5,\"not closed", b"\"5,y"];
    for record in bad {
        let text = [b"1,x\n", *record, b"\n2,z\n3,q\n"].concat();
        let decoded = csv_file(&text, false);
        let shown = String::from_utf8_lossy(record);
        assert_eq!(decoded.rows, ["1|x", "2|z", "3|q"], "{shown}: {:?}", decoded.bad);
        assert_eq!(decoded.bad.len(), 1, "{shown}");
        assert_eq!(decoded.bad[0].raw, *record, "{shown}");
        assert_eq!(decoded.bad[0].position, "memory:///f.csv:2", "{shown}");
    }
}

#[test]
fn good_csv_is_read_however_it_is_laid_out() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &[]),
        (b"\n\r\n", &[]),
        (b"1,x", &["1|x"]),
        (b"\xef\xbb\xbf1,x\n", &["1|x"]),
        (b"1,x\r\n2,y\r\n", &["1|x", "2|y"]),
        (b"1,x\n\n\n2,y", &["1|x", "2|y"]),
        (b"1,\n,y", &["1|~", "~|y"]),
        (b"1,  x \n", &["1|  x "]),
        (b"1,\"x,y\"\n", &["1|x,y"]),
        (b"1,\"x\ny\"\n2,z\n", &["1|x\ny", "2|z"]),
        (b"1,\"x\r\ny\"\r\n2,z\r\n", &["1|x\r\ny", "2|z"]),
        (b"1,\"x\"\"y\"\n", &["1|x\"y"]),
        (b"1,\"x\\\"y\"\n", &["1|x\"y"]),
        (b"1,5\" pipe\n2,z\n", &["1|5\" pipe", "2|z"]),
        (b"1,a\rb\n2,z\n", &["1|a\rb", "2|z"]),
    ];
    for (text, expected) in cases {
        let decoded = csv_file(text, false);
        assert_eq!(decoded.bad, [], "{}", String::from_utf8_lossy(text));
        assert_eq!(decoded.rows, *expected, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn blank_fields_at_the_ends_of_a_tab_separated_row_are_fields() {
    let format = Format::Csv(CsvOptions { separator: b'\t', ..CsvOptions::default() });
    let decoded = decode_file("f.tsv", b"\tx\n1\t\n\t\n", format, &a_and_b(), LIMITS);
    assert_eq!(decoded.rows, ["~|x", "1|~", "~|~"]);
    assert_eq!(decoded.bad, []);
}

#[test]
fn a_header_finds_columns_by_name_and_those_that_it_lacks_are_null() {
    let cases: &[(&[u8], &[&str])] = &[
        (b"a,b\n", &[]),
        (b"a,b\n1,x\n", &["1|x"]),
        (b"b,a\nx,1\n", &["1|x"]),
        (b"b,other,a\nx,?,1\n", &["1|x"]),
        (b"A,B\n1,x\n", &["1|x"]),
        (b"b\nx\ny\n", &["~|x", "~|y"]),
        (b"\"a\",\"b\"\r\n1,x\r\n", &["1|x"]),
        (b"first,second\n1,x\n", &["1|x"]),
        (b"a,b,b\n1,x,y\n", &["1|x"]),
    ];
    for (text, expected) in cases {
        let decoded = csv_file(text, true);
        assert_eq!(decoded.bad, [], "{}", String::from_utf8_lossy(text));
        assert_eq!(decoded.rows, *expected, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn each_message_may_have_a_header_of_its_own_and_a_line_that_names_no_column_is_a_record() {
    let bodies = ["a,b\n1,x\n", "b,a\ny,2\n", "A,B\n3,z", "a,b\n4,w\nbad,v\n", "a,b\n", "5,u\n6,t\n"];
    let messages: Vec<_> =
        bodies.iter().enumerate().map(|(at, body)| message(&format!("m{at}"), body.as_bytes())).collect();
    let (batch, bad) = decode_messages(&messages, "s", &read_as(csv(true)), &a_and_b(), LIMITS).unwrap();
    let mut decoded = rows(&batch);
    decoded.sort();
    assert_eq!(decoded, ["1|x", "2|y", "3|z", "4|w", "5|u", "6|t"]);
    assert_eq!(bad.iter().map(|bad| (&bad.raw[..], &bad.position[..])).collect::<Vec<_>>(), [(&b"bad,v"[..], "m3:3")]);
}

#[test]
fn csv_comments_and_null_values_are_as_told() {
    let options = CsvOptions { comment: Some(b'#'), null_value: "NA".into(), ..CsvOptions::default() };
    let decoded = decode_file("f.csv", b"# note\n1,NA\nNA,x\n", Format::Csv(options), &a_and_b(), LIMITS);
    assert_eq!(decoded.rows, ["1|~", "~|x"]);
    assert_eq!(decoded.bad, []);
}

#[test]
fn a_stray_quote_costs_its_own_line_and_not_those_that_follow() {
    for rest in ["3,z\n4,w\n", "3,z\n\"4\",\"w\"\n"] {
        let decoded = csv_file(format!("1,x\n2,\"open\n{rest}5,v\n").as_bytes(), false);
        assert_eq!(decoded.rows, ["1|x", "3|z", "4|w", "5|v"]);
        assert_eq!(decoded.raw(), ["2,\"open"]);
        assert_eq!(decoded.bad[0].position, "memory:///f.csv:2");
    }
}

#[test]
fn quotes_that_never_close_are_read_in_linear_time() {
    let text = "a\",\"\n".repeat(400_000);
    let started = std::time::Instant::now();
    let decoded = csv_file(text.as_bytes(), false);
    assert_eq!(decoded.bad.len(), 400_000);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn compressed_files_are_whole_or_one_bad_record() {
    let text = b"{\"a\":1}\n{\"a\":2}\n";
    let whole = gzip(text);
    let two = [gzip(b"{\"a\":1}\n{\"a\""), gzip(b":2}\n")].concat();
    for bytes in [&whole, &two] {
        let decoded = decode_file("f.json.gz", bytes, Format::Json, &a_and_b(), LIMITS);
        assert_eq!((decoded.rows.join(" "), decoded.bad.len()), ("1|~ 2|~".into(), 0));
    }
    let mut flipped = whole.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 1;
    let broken = [whole[..whole.len() - 3].to_vec(), whole[..12].to_vec(), flipped, text.to_vec()];
    for bytes in broken {
        let decoded = decode_file("f.json.gz", &bytes, Format::Json, &a_and_b(), LIMITS);
        assert_eq!(decoded.rows, Vec::<String>::new());
        assert_eq!(decoded.bad.len(), 1);
        assert_eq!(decoded.bad[0].position, "memory:///f.json.gz");
        assert!(decoded.bad[0].raw.is_empty());
    }
}

#[test]
fn a_file_that_grows_beyond_the_ratio_is_refused_before_any_row() {
    let text = b"{\"a\":1}\n".repeat(1 << 20);
    let limits = DecodeLimits { ratio: 10, ..LIMITS };
    let decoded = decode_file("f.json.gz", &gzip(&text), Format::Json, &a_and_b(), limits);
    assert_eq!(decoded.rows, Vec::<String>::new());
    assert_eq!(decoded.bad.len(), 1);
    assert!(decoded.bad[0].reason.contains("10 times"), "{}", decoded.bad[0].reason);
}

#[test]
fn a_message_holds_one_object_or_one_a_line() {
    let bodies = [
        r#"{"a":1,"b":"x"}"#,
        "{\"a\":2}\n{\"a\":3}\n",
        "{\n  \"a\": 4,\n  \"b\": \"y\"\n}\n",
        "{\"a\":5}\nnope\n{\"a\":6}",
    ];
    let decoded = json_messages(&bodies, &a_and_b());
    assert_eq!(decoded.rows, ["1|x", "2|~", "3|~", "4|y", "5|~", "6|~"]);
    assert_eq!(decoded.raw(), ["nope"]);
    assert_eq!(decoded.bad[0].position, "m3:2");
}

#[test]
fn an_empty_message_is_a_bad_record() {
    let decoded = json_messages(&["", " \n", r#"{"a":1}"#], &a_and_b());
    assert_eq!(decoded.rows, ["1|~"]);
    assert_eq!(decoded.raw(), ["", " \n"]);
}

#[test]
fn rows_of_messages_know_their_message() {
    let messages = [message("m0", b"{\"a\":1}\n{\"a\":2}"), message("m1", b"bad"), message("m2", b"{\"a\":3}")];
    let (batch, bad) = decode_messages(&messages, "s", &read_as(Format::Json), &a_and_b(), LIMITS).unwrap();
    let metadata = batch.column(2).as_struct();
    let ids: Vec<_> = metadata.column_by_name("message_id").unwrap().as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["m0", "m0", "m2"]);
    assert_eq!(batch.column(0).as_primitive::<Int32Type>().values(), &[1, 2, 3]);
    let times = metadata.column_by_name("enqueued_time").unwrap();
    assert_eq!(times.as_primitive::<TimestampMicrosecondType>().value(0), 0);
    assert_eq!(bad[0].position, "m1:1");
    let again = decode_messages(&messages, "s", &read_as(Format::Json), &a_and_b(), LIMITS).unwrap();
    assert_eq!((batch, bad), again, "a redelivery decodes to the same");
}

fn inferred(sample: &str, read: &ReadOptions) -> Vec<(String, DataType)> {
    let schema = infer_schema(&Sample::of_texts(vec![sample.into()]), read).unwrap();
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

#[test]
fn json_columns_are_inferred_and_conflicts_are_text() {
    let read = read_as(Format::Json);
    let named = |fields: &[(&str, DataType)]| -> Vec<(String, DataType)> {
        fields.iter().map(|(name, data_type)| ((*name).to_owned(), data_type.clone())).collect()
    };
    let sample = "{\"n\":1,\"f\":1}\n{\"n\":2,\"f\":1.5,\"a\":\"x\"}\nbad\n{\"mixed\":1}\n{\"mixed\":\"x\"}";
    let text = DataType::Utf8;
    let expected = [("f", DataType::Float64), ("n", DataType::Int64), ("a", text.clone()), ("mixed", text.clone())];
    assert_eq!(inferred(sample, &read), named(&expected));
    let conflict = "{\"n\":1,\"c\":{\"x\":1}}\n{\"c\":5}\n{\"c\":[1]}";
    assert_eq!(inferred(conflict, &read), named(&[("c", text.clone()), ("n", DataType::Int64)]));
    let untyped = ReadOptions { infer_column_types: false, ..read };
    assert_eq!(inferred("{\"n\":1}", &untyped), named(&[("n", text)]));
}

#[test]
fn a_sample_without_records_is_refused_with_what_to_do() {
    let error =
        infer_schema(&Sample::of_texts(vec![b"bad\n[1]\n".to_vec()]), &read_as(Format::Json)).unwrap_err().to_string();
    assert!(error.contains("no columns can be inferred"), "{error}");
}

#[test]
fn samples_of_broken_compressed_files_dont_fail() {
    let runtime = runtime();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let bytes = &gzip(b"{\"a\":1}\n")[..15];
    let file = found("f.json.gz", bytes);
    runtime.block_on(store.put(&file.location, bytes.to_vec().into())).unwrap();
    runtime.block_on(read_sample(&store, &file, &Format::Json)).unwrap();
}

#[test]
fn a_file_that_changes_or_goes_between_listing_and_reading_is_read_later_and_no_bad_record() {
    let runtime = runtime();
    for (name, listed) in [("f.json", b"{\"a\":1}\n".to_vec()), ("f.json.gz", gzip(b"{\"a\":1}\n"))] {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let file = found(name, &listed);
        let decoder = FileDecoder {
            store: Arc::clone(&store),
            runtime: runtime.handle().clone(),
            read: read_as(Format::Json),
            columns: a_and_b(),
            limits: LIMITS,
        };
        let gone = decoder.decode(&file, |_, _| panic!("{name} is gone")).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Unavailable);
        runtime.block_on(store.put(&file.location, [listed.clone(), listed].concat().into())).unwrap();
        let changed = decoder.decode(&file, |_, _| panic!("{name} has grown")).unwrap_err();
        assert_eq!(changed.kind(), ErrorKind::Unavailable);
        assert!(changed.to_string().contains("changed while it was read"), "{changed}");
    }
}

#[test]
fn files_are_listed_by_time_and_name_without_hidden_ones() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.json", "a.json", "_SUCCESS", ".a.crc", "sub/c.json", "_tmp/d.json", "with space é.json", "x.txt"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "{}").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let root = folder.path().to_str().unwrap();
    let listed = |path: String, filter: Option<&'static str>| {
        let options = FileOptions { path_glob_filter: filter.map(str::to_owned), ..FileOptions::default() };
        let files = runtime().block_on(Landing::open(&path, &options).unwrap().list()).unwrap();
        let below = |file: &FoundFile| format!("/{}", file.location).replace(&format!("{root}/"), "");
        files.iter().map(below).collect::<Vec<_>>()
    };
    let all = listed(root.to_owned(), Some("*.json"));
    assert_eq!(all, ["a.json", "b.json", "sub/c.json", "with space é.json"]);
    assert_eq!(listed(format!("{root}/*.json"), None), ["a.json", "b.json", "with space é.json"]);
    assert_eq!(listed(format!("{root}/{{a,b}}.json"), None), ["a.json", "b.json"]);
    assert_eq!(listed(format!("{root}/**/c.*"), None), ["sub/c.json"]);
    // A folder that is matched is all that is below, and a file is itself.
    for glob in ["*/", "s*", "{sub,none}", "su[b]", "**/sub"] {
        assert_eq!(listed(format!("{root}/{glob}"), Some("c*")), ["sub/c.json"], "{glob}");
    }
    for file in ["sub/c.json", "with space é.json"] {
        assert_eq!(listed(format!("{root}/{file}"), None), [file]);
    }
    assert!(Landing::open(&format!("{root}/[a"), &FileOptions::default()).is_err());
}

/// A line and, if it is good, its row.
fn json_line() -> impl Strategy<Value = (Vec<u8>, Option<String>)> {
    prop_oneof![
        3 => (any::<i32>(), "[a-z{}\\[\\],: é]{0,12}").prop_map(|(a, b)| {
            (format!("{{\"a\":{a},\"b\":\"{b}\"}}").into_bytes(), Some(format!("{a}|{b}")))
        }),
        1 => Just((br#"{"a":"x"}"#.to_vec(), None)),
        1 => Just((br#"{"a":1}{"a":2}"#.to_vec(), None)),
        1 => Just((br#"{"a":{"#.to_vec(), None)),
        1 => Just((br#"{"b":"}"#.to_vec(), None)),
        1 => Just((br#"{"}"#.to_vec(), None)),
        1 => Just((b"{\"b\":\"\xf0\x9f\"}".to_vec(), None)),
        1 => "[^\\n{ \\t\\r]{1,20}".prop_map(|text| (text.trim().as_bytes().to_vec(), None)).prop_filter("a record", |(text, _)| !text.is_empty() && !text.starts_with(b"\xef\xbb\xbf")),
    ]
}

fn csv_line() -> impl Strategy<Value = (Vec<u8>, Option<String>)> {
    prop_oneof![
        3 => (any::<i32>(), "[a-z ]{1,8}").prop_map(|(a, b)| (format!("{a},{b}").into_bytes(), Some(format!("{a}|{b}")))),
        1 => (any::<i32>(), "[a-z ,\\n]{1,8}").prop_map(|(a, b)| (format!("{a},\"{b}\"").into_bytes(), Some(format!("{a}|{b}")))),
        1 => Just((b"x,y".to_vec(), None)),
        1 => Just((b"1,2,3".to_vec(), None)),
        1 => Just((b"1".to_vec(), None)),
        1 => Just((b"1,\xff".to_vec(), None)),
    ]
}

type Line = (Vec<u8>, Option<String>);

fn check(lines: &[Line], decoded: &Decoded) -> Result<(), TestCaseError> {
    let good: Vec<_> = lines.iter().filter_map(|(_, row)| row.clone()).collect();
    let bad: Vec<_> = lines.iter().filter(|(_, row)| row.is_none()).map(|(text, _)| text.clone()).collect();
    prop_assert_eq!(&decoded.rows, &good);
    prop_assert_eq!(decoded.bad.iter().map(|bad| bad.raw.to_vec()).collect::<Vec<_>>(), bad);
    Ok(())
}

fn joined(lines: &[Line], end: &[u8]) -> Vec<u8> {
    lines.iter().flat_map(|(line, _)| line.iter().chain(end)).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_json_lines_are_rows_in_order_and_bad_ones_are_verbatim(
        lines in proptest::collection::vec(json_line(), 0..60), crlf in any::<bool>()
    ) {
        check(&lines, &json_file(&joined(&lines, if crlf { b"\r\n" } else { b"\n" })))?;
    }

    #[test]
    fn good_csv_lines_are_rows_in_order_and_bad_ones_are_verbatim(
        lines in proptest::collection::vec(csv_line(), 0..60), crlf in any::<bool>()
    ) {
        check(&lines, &csv_file(&joined(&lines, if crlf { b"\r\n" } else { b"\n" }), false))?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for header in [false, true] {
            csv_file(&bytes, header);
        }
        json_file(&bytes);
        decode_file("f.json.gz", &bytes, Format::Json, &a_and_b(), LIMITS);
        let _ = infer_schema(&Sample::of_texts(vec![bytes.clone()]), &read_as(Format::Json));
        let _ = infer_schema(&Sample::of_texts(vec![bytes.clone()]), &read_as(csv(true)));
        let one = [message("m", &bytes)];
        for format in [Format::Json, csv(true), Format::Raw] {
            decode_messages(&one, "s", &read_as(format), &columns(&[("body", DataType::Binary)]), LIMITS).unwrap();
        }
    }
}

#[test]
fn where_chunks_end_doesnt_matter() {
    let lines: Vec<Line> = (0..40_000)
        .flat_map(|at| {
            let long = "y".repeat(at % 700);
            let good = (format!("{at},\"{long}\nz\"").into_bytes(), Some(format!("{at}|{long}\nz")));
            let bad = (format!("bad{at}").into_bytes(), None);
            if at % 97 == 0 { vec![good, bad] } else { vec![good] }
        })
        .collect();
    let text = joined(&lines, b"\n");
    assert!(text.len() > 12 << 20, "several chunks");
    check(&lines, &csv_file(&text, false)).unwrap();
}
