//! Files, names and notices that nobody should have sent.

use std::io::Read;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use deltalake::parquet::arrow::ArrowWriter;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::Poison;

/// Lines of CSV of three columns.
pub(super) fn csv() -> Vec<Poison> {
    const LINES: [(&str, &str); 26] = [
        ("too few columns", "1"),
        ("too many columns", "1,a,2,3,4"),
        (
            "a hundred columns",
            "1,a,2,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,",
        ),
        ("only commas", ",,"),
        ("quotes around nothing", "\"\",\"\",\"\""),
        ("a quote inside a word", "1,a\"b,2"),
        ("a quote before the end", "1,\"a\"b,2"),
        ("a quote after a space", "1, \"a,b\",2"),
        ("a doubled quote", "1,\"a\"\"b\",2"),
        ("an escaped quote", "1,\"a\\\"b\",2"),
        ("apostrophes", "1,'a,b',2"),
        ("semicolons", "1;a;2"),
        ("tabs", "1\ta\t2"),
        ("a NUL", "1,a\0b,2"),
        ("only a NUL", "\0"),
        ("a carriage return", "1,a\rb,2"),
        ("a line break in quotes", "1,\"a\nb\",2"),
        ("the header once more", "id,name,x"),
        ("a formula", "1,=1+1,2"),
        ("a number with a comma", "1,a,\"1,5\""),
        ("a number with a currency", "1,a,$5"),
        ("NaN", "1,a,NaN"),
        ("1e400", "1,a,1e400"),
        ("a hexadecimal number", "0x1,a,2"),
        ("a comment", "# 1,a,2"),
        ("JSON", "{\"id\": 1, \"name\": \"a\"}"),
    ];
    let mut all: Vec<Poison> =
        LINES.iter().map(|(what, line)| ((*what).to_owned(), line.as_bytes().to_vec())).collect();
    let mut add = |what: &str, bytes: Vec<u8>| all.push((what.to_owned(), bytes));
    add("bytes that are no text", b"1,\xff\xfe,2".to_vec());
    add("Latin-1", b"1,gr\xfc\xdfe,2".to_vec());
    add("a field of 9 megabytes", format!("1,{},2", "x".repeat(9 << 20)).into_bytes());
    add("a number of 10,000 digits", format!("{},a,2", "9".repeat(10_000)).into_bytes());
    add("a mark of order", "\u{feff}1,a,2".as_bytes().to_vec());
    all
}

fn gzip(bytes: impl Read) -> Vec<u8> {
    let (mut bytes, mut encoder) = (bytes, GzEncoder::new(Vec::new(), Compression::fast()));
    std::io::copy(&mut bytes, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A file with another length of its footer.
fn footer_of(length: u32, file: &[u8]) -> Vec<u8> {
    let end = file.len() - 8;
    [&file[..end], &length.to_le_bytes(), b"PAR1"].concat()
}

fn named(cases: Vec<(&str, Vec<u8>)>) -> Vec<Poison> {
    cases.into_iter().map(|(what, bytes)| (what.to_owned(), bytes)).collect()
}

/// A record of JSON, good or not, depending on what the file says that it is.
const LINE: &[u8] = b"{\"id\": 1}\n";

/// Lines of JSON, and archives of them.
fn json() -> Vec<Poison> {
    let good = gzip(LINE);
    named(vec![
        ("nothing.json", Vec::new()),
        ("only a mark of order.json", b"\xef\xbb\xbf".to_vec()),
        ("only line breaks.json", b"\n\r\n\n\n".to_vec()),
        ("no line break at the end.json", b"{\"id\": 1}".to_vec()),
        ("carriage returns only.json", b"{\"id\": 1}\r{\"id\": 2}\r".to_vec()),
        ("zeros.json", vec![0; 4_096]),
        (
            "UTF-16 with a mark.json",
            [&b"\xff\xfe"[..], &"{\"id\": 1}\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat(),
        ),
        ("an archive that says it is none.json", good.clone()),
        ("a bomb of gzip.json.gz", gzip(std::io::repeat(0).take(24 << 20))),
        ("a bomb of spaces.json.gz", gzip(std::io::repeat(b' ').take(24 << 20))),
        ("a bomb in a bomb.json.gz", gzip(&gzip(std::io::repeat(0).take(8 << 20))[..])),
        ("archives one after another.json.gz", [good.clone(), good.clone()].concat()),
        ("an archive and something else.json.gz", [&good[..], b"something else"].concat()),
        ("an archive with a wrong sum.json.gz", {
            let mut bad = good.clone();
            let at = bad.len() - 6;
            bad[at] ^= 1;
            bad
        }),
        ("an archive without an end.json.gz", good[..good.len() - 9].to_vec()),
        ("an archive in capitals.JSON.GZ", good.clone()),
        ("text that says it is an archive.json.zst", LINE.to_vec()),
        ("a bomb of zstd.json.zst", zstd::encode_all(std::io::repeat(0).take(64 << 20), 1).unwrap()),
        ("a window of zstd that is too large.json.zst", b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00".to_vec()),
        ("text that says it is bzip2.json.bz2", LINE.to_vec()),
    ])
}

/// Files of columns.
fn parquets() -> Vec<Poison> {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let sound = parquet(vec![("id", Arc::clone(&id))]);
    let many: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(2_000); 20_000]));
    let columns: Vec<(String, ArrayRef)> = (0..12_000).map(|n| (format!("c{n}"), Arc::clone(&id))).collect();
    named(vec![
        ("nothing.parquet", Vec::new()),
        ("only the magic word.parquet", b"PAR1".to_vec()),
        ("the magic word twice.parquet", b"PAR1PAR1".to_vec()),
        ("encrypted.parquet", [&sound[..sound.len() - 4], b"PARE"].concat()),
        ("a footer of no length.parquet", footer_of(0, &sound)),
        ("a footer of all lengths.parquet", footer_of(u32::MAX, &sound)),
        ("a footer longer than the file.parquet", footer_of(1 << 20, &sound)),
        ("a footer of one byte.parquet", footer_of(1, &sound)),
        ("without its first half.parquet", sound[sound.len() / 2..].to_vec()),
        ("its end twice.parquet", [&sound[..], &sound[sound.len() - 8..]].concat()),
        ("JSON.parquet", LINE.to_vec()),
        ("an archive of it.parquet.gz", gzip(&sound[..])),
        ("one text 20,000 times.parquet", parquet(vec![("name", many)])),
        (
            "12,000 columns.parquet",
            parquet(columns.iter().map(|(name, array)| (name.as_str(), Arc::clone(array))).collect()),
        ),
        ("a column called _metadata.parquet", parquet(vec![("id", Arc::clone(&id)), ("_metadata", Arc::clone(&id))])),
        ("columns that differ in case.parquet", parquet(vec![("id", Arc::clone(&id)), ("ID", id)])),
        (
            "no column of the table.parquet",
            parquet(vec![("other", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]),
        ),
    ])
}

/// Documents of JSON.
fn documents() -> Vec<Poison> {
    named(vec![
        ("nothing.json", Vec::new()),
        ("a list without an end.json", b"[{\"id\": 1},".to_vec()),
        ("lists 100,000 deep.json", "[".repeat(100_000).into_bytes()),
        ("objects 100,000 deep.json", "{\"a\":".repeat(100_000).into_bytes()),
        ("a list of all types.json", b"[1, null, \"x\", [], {\"id\": 1}]".to_vec()),
        ("something after the end.json", b"[{\"id\": 1}] and more".to_vec()),
        ("commas only.json", b"[,,,]".to_vec()),
        ("a text without an end.json", b"{\"id\": 1, \"name\": \"".to_vec()),
    ])
}

/// Files of rows.
fn avros() -> Vec<Poison> {
    named(vec![
        ("nothing.avro", Vec::new()),
        ("only the magic word.avro", b"Obj\x01".to_vec()),
        ("JSON.avro", LINE.to_vec()),
        ("a header of all lengths.avro", b"Obj\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec()),
    ])
}

/// Formats with their options, and whole files; the ending of a name counts.
pub(super) fn whole() -> Vec<(&'static str, &'static str, Vec<Poison>)> {
    vec![
        ("json", "", json()),
        ("parquet", "", parquets()),
        ("json", ", multiLine => true", documents()),
        ("avro", "", avros()),
    ]
}

/// Names that mean something to a path, a URL, a partition, a glob or a shell.
pub(super) const NAMES: [&str; 22] = [
    "x..%2f..%2fetc%2fpasswd.json",
    "%2e%2e%2fx.json",
    "a..json",
    "a..b/c../d.json",
    "a...json",
    "=.json",
    "a=/b.json",
    "=a/b.json",
    "a==b/c=d=e.json",
    "day=2024-01-01/x.json",
    "day=%2e%2e/x.json",
    "id=5/x.json",
    "a=__HIVE_DEFAULT_PARTITION__/x.json",
    "con.json",
    "$(reboot).json",
    "`id`.json",
    "-rf.json",
    "a\u{202e}nosj.json",
    "\u{1f469}\u{200d}\u{1f4bb}.json",
    "a%00b.json",
    "a%0ab.json",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.json",
];

/// Notices of what isn't in the folder `in` below a root.
pub(super) fn notices(root: &str) -> Vec<String> {
    let mut all: Vec<String> = [
        "",
        "/",
        "://",
        "file://",
        "file:///",
        "not a URL",
        "s3://bucket/in/good.json",
        "http://169.254.169.254/latest/meta-data",
        "memory:///in/good.json",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "\0",
        "file:///%00",
    ]
    .map(str::to_owned)
    .to_vec();
    let below = [
        "in/missing.json",
        "in/.hidden.json",
        "in/_temporary/0.json",
        "in/",
        "in",
        "in/../outside.json",
        "in/../in/../outside.json",
        "in/%2e%2e/outside.json",
        "in/..%2foutside.json",
        "in//..//outside.json",
        "in/./../in2/beside.json",
        "in2/beside.json",
        "outside.json",
        "in/good.json%00",
        "in/good.json?x=1",
        "in/good.json#x",
        "in/GOOD.JSON",
    ];
    all.extend(below.iter().map(|path| format!("file://{root}/{path}")));
    all.push(format!("file://{root}/in/{}.json", "x".repeat(10_000)));
    all.push(format!("file://{root}/{}etc/passwd", "../".repeat(100)));
    all
}
