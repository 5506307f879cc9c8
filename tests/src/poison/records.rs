//! Records of JSON that nobody should have sent.

use super::Poison;

/// What they are called, and what they are.
const TEXTS: [(&str, &str); 98] = [
    ("a key twice", r#"{"id": 1, "id": 2}"#),
    ("a key twice, of two types", r#"{"id": 1, "id": "x"}"#),
    ("a key twice, one escaped", r#"{"id": 1, "\u0069d": 2}"#),
    ("a key twice in a struct", r#"{"place": {"zip": 1, "zip": 2}}"#),
    ("keys that differ in case", r#"{"id": 1, "ID": 2, "Id": 3}"#),
    ("a key in capitals", r#"{"NAME": "x"}"#),
    ("a key with a space", r#"{"id ": 1}"#),
    ("an empty key", r#"{"": 1}"#),
    ("a key with a dot", r#"{"place.zip": 1}"#),
    ("a key with a backtick", r#"{"`id`": 1}"#),
    ("a key with NUL", r#"{"i\u0000d": 1}"#),
    ("a key that is a lone surrogate", r#"{"\ud800": 1}"#),
    ("a key of another normal form", "{\"na\u{308}me\": \"x\"}"),
    ("a key of emoji", "{\"😀\": 1}"),
    ("__proto__", r#"{"__proto__": {"id": 1}, "constructor": {"prototype": {}}}"#),
    ("a field called _metadata", r#"{"id": 1, "_metadata": {"file_path": "../../x", "message_id": "m0"}}"#),
    ("a field called _headwater", r#"{"id": 1, "_headwater": {"reasons": "none"}}"#),
    ("a field called _rescued_data", r#"{"id": 1, "_rescued_data": "{}"}"#),
    ("a field called __headwater_recorded_at", r#"{"id": 1, "__headwater_recorded_at": "1970-01-01"}"#),
    ("1e400", r#"{"x": 1e400}"#),
    ("-1e400", r#"{"x": -1e400}"#),
    ("1e-400", r#"{"x": 1e-400}"#),
    ("1e400 as a whole number", r#"{"id": 1e400}"#),
    ("1e2 as a whole number", r#"{"id": 1e2}"#),
    ("1e19 as a whole number", r#"{"id": 1e19}"#),
    ("minus zero", r#"{"id": -0}"#),
    ("a leading zero", r#"{"id": 007}"#),
    ("a plus", r#"{"id": +1}"#),
    ("two dots", r#"{"x": 1.2.3}"#),
    ("an exponent without digits", r#"{"x": 1e}"#),
    ("only a minus", r#"{"x": -}"#),
    ("a number with underscores", r#"{"id": 1_000}"#),
    ("an octal number", r#"{"id": 0o17}"#),
    ("a big integer of JavaScript", r#"{"id": 1n}"#),
    ("-NaN", r#"{"x": -NaN}"#),
    ("nan", r#"{"x": nan}"#),
    ("NaN as a text", r#"{"x": "NaN"}"#),
    ("Infinity as a text", r#"{"x": "Infinity"}"#),
    ("-inf as a text", r#"{"x": "-inf"}"#),
    ("undefined", r#"{"id": undefined}"#),
    ("None", r#"{"id": None}"#),
    ("True", r#"{"ok": True}"#),
    ("a flag of 1", r#"{"ok": 1}"#),
    ("a flag of yes", r#"{"ok": "yes"}"#),
    ("a flag in capitals", r#"{"ok": "TRUE"}"#),
    ("a surrogate pair in disorder", r#"{"name": "\ude00\ud83d"}"#),
    ("half a surrogate pair", r#"{"name": "\ud83d x"}"#),
    ("two high surrogates", r#"{"name": "\ud83d\ud83d\ude00"}"#),
    ("an escape cut short", r#"{"name": "\u12"}"#),
    ("an escape that isn't hexadecimal", r#"{"name": "\uzzzz"}"#),
    ("an unknown escape", r#"{"name": "\q"}"#),
    ("a backslash at the end", r#"{"name": "\"}"#),
    ("a NUL in a text", "{\"name\": \"a\0b\"}"),
    ("a bell in a text", "{\"name\": \"a\u{7}b\"}"),
    ("text that turns around", "{\"name\": \"\u{202e}gpj.exe\"}"),
    ("text without width", "{\"name\": \"\u{200b}\u{200d}\u{feff}\"}"),
    ("a noncharacter", "{\"name\": \"\u{ffff}\u{10ffff}\"}"),
    ("a line separator in a text", "{\"name\": \"a\u{2028}b\"}"),
    ("SQL", r#"{"name": "'); DROP TABLE t; --"}"#),
    ("a formula", r#"{"name": "=cmd|' /C calc'!A0"}"#),
    ("a shell's command", r#"{"name": "$(reboot) `reboot` ; reboot"}"#),
    ("markup", r#"{"name": "<script>alert(1)</script>"}"#),
    ("an address of credentials", r#"{"name": "http://169.254.169.254/latest/meta-data"}"#),
    ("a lookup of log4j", r#"{"name": "${jndi:ldap://x/a}"}"#),
    ("a format", r#"{"name": "%s%s%n {} {0}"}"#),
    ("a path", r#"{"name": "../../../../etc/passwd"}"#),
    ("the year 0", r#"{"at": "0000-01-01T00:00:00Z"}"#),
    ("a year below 0", r#"{"at": "-0001-01-01T00:00:00Z"}"#),
    ("the year 9999", r#"{"at": "9999-12-31T23:59:59.999999Z"}"#),
    ("the year 10000", r#"{"at": "+10000-01-01T00:00:00Z"}"#),
    ("the year 300000", r#"{"at": "+300000-01-01T00:00:00Z"}"#),
    ("a leap second", r#"{"at": "2016-12-31T23:59:60Z"}"#),
    ("hour 24", r#"{"at": "2024-01-01T24:00:00Z"}"#),
    ("a zone of 14 hours", r#"{"at": "2024-01-01T00:00:00+14:00"}"#),
    ("a zone of 25 hours", r#"{"at": "2024-01-01T00:00:00+25:00"}"#),
    ("a zone's name", r#"{"at": "2024-03-31T02:30:00[Europe/Berlin]"}"#),
    ("nanoseconds", r#"{"at": "2024-01-01T00:00:00.123456789Z"}"#),
    ("a time as a number", r#"{"at": 1704067200}"#),
    ("a time as a huge number", r#"{"at": 9223372036854775807}"#),
    ("a time before 1970", r#"{"at": -1}"#),
    ("now", r#"{"at": "now"}"#),
    ("the 29th of February", r#"{"day": "2023-02-29"}"#),
    ("day 0", r#"{"day": "2024-01-00"}"#),
    ("a day of zeros", r#"{"day": "0000-00-00"}"#),
    ("a day as a number", r#"{"day": 19723}"#),
    ("a price of too many digits", r#"{"price": 100000000.00}"#),
    ("a price that is rounded", r#"{"price": 0.005}"#),
    ("a price with an exponent", r#"{"price": 1e5}"#),
    ("a price as a text", r#"{"price": "12.50"}"#),
    ("a price in euros", r#"{"price": "€12"}"#),
    ("tags within tags", r#"{"tags": [["a"]]}"#),
    ("tags of all types", r#"{"tags": ["a", 1, null, true]}"#),
    ("a trailing comma in a list", r#"{"tags": ["a",]}"#),
    ("a list that doesn't end", r#"{"tags": ["a", "b""#),
    ("a struct of a list", r#"{"place": [{"zip": 1}]}"#),
    ("a comment", r#"{"id": 1 /* one */}"#),
    ("an assignment", r#"id = {"id": 1}"#),
    ("XML", r#"<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>"#),
];

pub(super) fn records() -> Vec<Poison> {
    let mut all: Vec<Poison> =
        TEXTS.iter().map(|(what, text)| ((*what).to_owned(), text.as_bytes().to_vec())).collect();
    let mut add = |what: &str, bytes: Vec<u8>| all.push((what.to_owned(), bytes));
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth)).into_bytes();
    add("objects 100 deep", deep(100));
    add("objects 1,000 deep", deep(1_000));
    add("objects 100,000 deep", deep(100_000));
    add("lists 100,000 deep without an end", "[".repeat(100_000).into_bytes());
    add("a known field that is 10,000 deep", format!("{{\"place\": {}", "[".repeat(10_000)).into_bytes());
    add("a number of 10,000 digits", format!("{{\"id\": {}}}", "9".repeat(10_000)).into_bytes());
    add("a fraction of 10,000 digits", format!("{{\"x\": 0.{}}}", "3".repeat(10_000)).into_bytes());
    add("a price of 10,000 digits", format!("{{\"price\": 0.{}}}", "3".repeat(10_000)).into_bytes());
    add("a key of a megabyte", format!("{{\"{}\": 1}}", "k".repeat(1 << 20)).into_bytes());
    add(
        "10,000 keys",
        format!("{{{}\"id\": 1}}", (0..10_000).map(|n| format!("\"k{n}\": {n}, ")).collect::<String>()).into_bytes(),
    );
    add("100,000 tags", format!("{{\"tags\": [{}\"z\"]}}", "\"a\",".repeat(100_000)).into_bytes());
    add("a text of 9 megabytes", format!("{{\"name\": \"{}\"}}", "x".repeat(9 << 20)).into_bytes());
    add("a megabyte of spaces in a record", format!("{{\"id\":{}1}}", " ".repeat(1 << 20)).into_bytes());
    add("a megabyte of backslashes", format!("{{\"name\": \"{}\"}}", "\\".repeat(1 << 20)).into_bytes());
    add("UTF-16", "{\"id\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect());
    add("UTF-8 cut in a letter", b"{\"name\": \"gr\xc3\"}".to_vec());
    add("Latin-1", b"{\"name\": \"gr\xfc\xdfe\"}".to_vec());
    add("five bytes of a letter", b"{\"name\": \"\xf8\x88\x80\x80\x80\"}".to_vec());
    add("beyond Unicode", b"{\"name\": \"\xf4\x90\x80\x80\"}".to_vec());
    add("a mark of order inside", "{\"id\":\u{feff} 1}".as_bytes().to_vec());
    add("a space that doesn't break", "{\"id\":\u{a0}1}".as_bytes().to_vec());
    add("a form feed", b"{\"id\":\x0c1}".to_vec());
    add("bytes of gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec());
    add("bytes of Parquet", b"PAR1\x15\x04\x15\x10PAR1".to_vec());
    all
}
