//! Files whose values have other shapes than their columns: names in another case, objects without fields, numbers that
//! aren't what they seem, fields that are new deep within. No value is lost, none becomes another, and nothing stops for good.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, TimestampMillisecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Fields};
use deltalake::parquet::arrow::ArrowWriter;
use headwater_core::name::DatasetName;

use crate::lakes::{Lab, rows, update, values};

fn table(format: &str, options: &str) -> String {
    format!("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => '{format}'{options})")
}

/// The rows of a table without what begins with an underscore, in order.
async fn shown(lab: &Lab, sql: &str) -> Vec<String> {
    let found = rows(&lab.lake(sql), &DatasetName::new("t")).await;
    let is_own = |part: &&str| !part.starts_with('_');
    let own = |row: &String| row.split(" | ").filter(is_own).collect::<Vec<_>>().join(" | ");
    let mut own: Vec<_> = found.iter().map(own).collect();
    own.sort_unstable();
    own
}

/// Why records are in quarantine, in order.
async fn reasons(lab: &Lab, sql: &str) -> Vec<String> {
    let mut found = values(&lab.lake(sql), "t__quarantine", "_headwater.reasons").await;
    found.sort_unstable();
    found
}

/// What was rescued, without the file's path.
async fn rests(lab: &Lab, sql: &str) -> Vec<String> {
    let found = values(&lab.lake(sql), "t", "_rest").await;
    let own = |rest: &String| rest.split(",\"_file_path\"").next().unwrap_or_default().to_owned();
    found.iter().map(own).collect()
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn whole(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn object(fields: Vec<(&str, bool, ArrayRef)>) -> ArrayRef {
    let (fields, columns): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .map(|(name, nullable, column)| (Field::new(name, column.data_type().clone(), nullable), column))
        .unzip();
    Arc::new(StructArray::new(Fields::from(fields), columns, None))
}

/// Each value in a list of its own.
fn each_in_a_list(values: ArrayRef) -> ArrayRef {
    let element = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, values.len()));
    Arc::new(ListArray::new(element, offsets, values, None))
}

#[tokio::test]
async fn an_object_without_fields_is_no_column_and_stops_nothing() {
    let lab = Lab::new();
    let sql = table("json", "");
    lab.arrive("a.json", "{\"id\":1,\"props\":{},\"more\":{\"deep\":{}},\"list\":[{}]}\n");
    update(&lab.lake(&sql)).await;
    lab.arrive("b.json", "{\"id\":2,\"late\":{}}\n{\"id\":3,\"props\":{\"x\":1}}\n{\"id\":4,\"props\":{}}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["id=1 | list=[{}]", "id=2", "id=3 | props.x=1", "id=4"]);
    assert_eq!(reasons(&lab, &sql).await, Vec::<String>::new());
}

#[tokio::test]
async fn names_that_differ_in_case_only_are_one_column_and_the_others_are_kept() {
    let lab = Lab::new();
    let sql = table("json", ", rescuedDataColumn => '_rest'");
    lab.arrive("a.json", "{\"v\":1,\"V\":2,\"s\":{\"É\":1,\"é\":2}}\n");
    lab.arrive("b.json", "{\"V\":3}\n");
    update(&lab.lake(&sql)).await;
    lab.arrive("c.json", "{\"v\":4,\"S\":{\"x\":1}}\n");
    update(&lab.lake(&sql)).await;
    // The objects of serde come by name, capitals first.
    assert_eq!(shown(&lab, &sql).await, ["", "V=2 | s.É=1", "V=3"]);
    assert_eq!(rests(&lab, &sql).await, [r#"{"S":{"x":1},"v":4"#, r#"{"s":{"é":2},"v":1"#, "~"]);

    let lab = Lab::new();
    let sql = table("json", ", schemaHints => 'AMOUNT DECIMAL(10, 2)'");
    lab.arrive("a.json", "{\"Amount\":\"1.50\",\"id\":1}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["Amount=1.50 | id=1"]);
}

#[tokio::test]
async fn a_new_field_is_added_beside_one_that_contradicts_its_column() {
    let lab = Lab::new();
    let sql = table("json", "");
    lab.arrive("a.json", "{\"id\":1,\"s\":{\"a\":1}}\n");
    update(&lab.lake(&sql)).await;
    lab.arrive(
        "b.json",
        "{\"id\":2,\"s\":{\"a\":2,\"b\":\"n\"}}\n{\"id\":3,\"s\":\"text\"}\n{\"id\":4,\"s\":{\"a\":\"x\"}}\n",
    );
    update(&lab.lake(&sql)).await;
    lab.arrive("c.json", "{\"id\":5}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["id=1 | s.a=1", "id=2 | s.a=2 | s.b=n", "id=5"]);
    assert_eq!(reasons(&lab, &sql).await.len(), 2);

    let lab = Lab::new();
    let sql = table("parquet", "");
    lab.arrive("a.parquet", parquet(vec![("s", object(vec![("a", true, whole(&[1]))]))]));
    update(&lab.lake(&sql)).await;
    lab.arrive("b.parquet", parquet(vec![("s", object(vec![("a", true, texts(&["x"])), ("b", true, whole(&[2]))]))]));
    update(&lab.lake(&sql)).await;
    lab.arrive("c.parquet", parquet(vec![("s", object(vec![("b", true, whole(&[3]))]))]));
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["s.a=1", "s.b=3"]);
    let aside = reasons(&lab, &sql).await;
    assert!(aside.len() == 1 && aside[0].contains("`s` doesn't fit"), "{aside:?}");
}

#[tokio::test]
async fn a_field_that_a_file_requires_may_be_missing_in_the_next() {
    let lab = Lab::new();
    let sql = table("parquet", "");
    let inner = object(vec![("x", false, whole(&[1]))]);
    lab.arrive("a.parquet", parquet(vec![("s", Arc::clone(&inner)), ("l", each_in_a_list(inner))]));
    update(&lab.lake(&sql)).await;
    let inner = object(vec![("y", true, texts(&["q"]))]);
    lab.arrive("b.parquet", parquet(vec![("s", inner)]));
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["s.x=1 | l=[{x: 1}]", "s.y=q"]);
}

#[tokio::test]
async fn no_value_of_a_columnar_file_becomes_another() {
    let given: Vec<(&str, ArrayRef, usize)> = vec![
        // The type wanted, the values given, and how many of them it holds.
        ("TIMESTAMP", whole(&[1_704_067_200_000]), 0),
        ("DATE", whole(&[19_000]), 0),
        ("BIGINT", Arc::new(Float64Array::from(vec![1.5, 2.0])), 1),
        ("BOOLEAN", whole(&[7, 1]), 0),
        ("INT", Arc::new(BooleanArray::from(vec![true])), 0),
        ("TINYINT", whole(&[127, 128]), 1),
        ("DOUBLE", whole(&[1 << 53, (1 << 53) + 1]), 1),
        ("DECIMAL(4, 1)", Arc::new(Float64Array::from(vec![1.5, 1.25, 12_345.0])), 1),
        ("FLOAT", Arc::new(Float64Array::from(vec![0.5, 0.1])), 1),
        ("BIGINT", Arc::new(Int32Array::from(vec![1])), 1),
        ("STRING", whole(&[1]), 1),
        ("INT", texts(&["1", "one"]), 1),
        ("STRUCT<x: INT>", object(vec![("x", true, Arc::new(Float64Array::from(vec![1.0, 1.5])))]), 1),
        ("STRUCT<x: INT>", object(vec![("X", true, whole(&[1]))]), 1),
        ("ARRAY<INT>", each_in_a_list(Arc::new(Float64Array::from(vec![1.0, 1.5]))), 1),
        (
            "ARRAY<STRUCT<b: INT, a: INT>>",
            each_in_a_list(object(vec![("a", true, whole(&[1])), ("b", true, whole(&[2]))])),
            1,
        ),
        ("STRUCT<x: INT>", whole(&[1]), 0),
        ("STRING", Arc::new(FixedSizeBinaryArray::try_from_iter([b"\x00\xff"].into_iter()).unwrap()), 0),
        ("TIMESTAMP", Arc::new(TimestampMillisecondArray::from(vec![0, i64::MAX])), 1),
        ("INT", object(vec![("x", true, whole(&[1]))]), 0),
    ];
    for (data_type, values, held) in given {
        let all = values.len();
        let from = values.data_type().clone();
        for rescues in [false, true] {
            let lab = Lab::new();
            let more = if rescues { ", rescuedDataColumn => '_rest'" } else { "" };
            let sql = table("parquet", &format!(", schema => 'id INT, v {data_type}'{more}"));
            let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(0..i32::try_from(all).unwrap()));
            lab.arrive("a.parquet", parquet(vec![("id", ids), ("v", Arc::clone(&values))]));
            update(&lab.lake(&sql)).await;
            let landed = shown(&lab, &sql).await;
            let good = landed.iter().filter(|row| row.contains("v")).count();
            assert_eq!(good, held, "{from} as {data_type}: {landed:?}");
            let left = match rescues {
                true => rests(&lab, &sql).await.iter().filter(|rest| rest.contains("\"v\"")).count(),
                false => reasons(&lab, &sql).await.len(),
            };
            assert_eq!((left, landed.len()), (all - held, if rescues { all } else { held }), "{from} as {data_type}");
        }
    }
}

#[tokio::test]
async fn elements_of_lists_are_matched_by_their_fields_names() {
    let lab = Lab::new();
    let sql = table("parquet", ", schema => 'l ARRAY<STRUCT<b: INT, a: INT>>'");
    let elements = object(vec![("a", true, whole(&[1])), ("b", true, whole(&[2]))]);
    lab.arrive("a.parquet", parquet(vec![("l", each_in_a_list(elements))]));
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["l=[{b: 2, a: 1}]"]);
}

#[tokio::test]
async fn fields_without_a_column_are_rescued_however_deep_they_are() {
    let lab = Lab::new();
    let given = "id INT, s STRUCT<x: INT>, l ARRAY<STRUCT<x: INT>>, m MAP<STRING, STRUCT<x: INT>>";
    let sql = table("json", &format!(", schema => '{given}', rescuedDataColumn => '_rest'"));
    let records = [
        r#"{"id":1,"s":{"x":"q","z":"kept"}}"#,
        r#"{"id":2,"s":{"x":2,"z":1.10},"l":[{"x":1},{"x":2,"y":{"d":[]}}]}"#,
        r#"{"id":3,"l":[{"x":"q","y":1}],"m":{"k":{"x":1,"y":2},"j":{"x":2}}}"#,
    ];
    lab.arrive("a.json", records.join("\n"));
    update(&lab.lake(&sql)).await;
    let found = shown(&lab, &sql).await;
    assert_eq!(found, ["id=1", "id=2 | s.x=2 | l=[{x: 1}, {x: 2}]", "id=3 | m={j: {x: 2}, k: {x: 1}}"]);
    let rests = rests(&lab, &sql).await;
    for wanted in [
        r#"{"s":{"x":"q","z":"kept"}"#,
        r#"{"l":[null,{"y":{"d":[]}}],"s":{"z":1.10}"#,
        r#"{"l":[{"x":"q","y":1}],"m":{"k":{"y":2}}"#,
    ] {
        assert!(rests.iter().any(|rest| rest == wanted), "{wanted}: {rests:?}");
    }

    let lab = Lab::new();
    let sql = table("parquet", ", schema => 's STRUCT<x: INT>, l ARRAY<STRUCT<x: INT>>', rescuedDataColumn => '_rest'");
    let inner = |new: &[&str]| object(vec![("x", true, whole(&[1, 2])), ("y", true, texts(new))]);
    lab.arrive("a.parquet", parquet(vec![("s", inner(&["a", "b"])), ("l", each_in_a_list(inner(&["c", "d"])))]));
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["s.x=1 | l=[{x: 1}]", "s.x=2 | l=[{x: 2}]"]);
    let found = self::rests(&lab, &sql).await;
    assert!(found.contains(&r#"{"s":{"y":"a"},"l":[{"y":"c"}]"#.to_owned()), "{found:?}");
}

#[tokio::test]
async fn a_new_field_in_a_list_is_not_left_out_where_new_fields_are_told() {
    let lab = Lab::new();
    let sql = table("parquet", "");
    let of = |fields| parquet(vec![("l", each_in_a_list(object(fields)))]);
    lab.arrive("a.parquet", of(vec![("x", true, whole(&[1]))]));
    update(&lab.lake(&sql)).await;
    lab.arrive("b.parquet", of(vec![("x", true, whole(&[2])), ("y", true, texts(&["new"]))]));
    update(&lab.lake(&sql)).await;
    assert_eq!(shown(&lab, &sql).await, ["l=[{x: 1}]"]);
    let aside = rows(&lab.lake(&sql), &DatasetName::new("t__quarantine")).await;
    assert!(aside.len() == 1 && aside[0].contains("`l` holds a field that has no column"), "{aside:?}");
}

#[tokio::test]
async fn decimals_are_rounded_as_spark_rounds_them() {
    for (format, options) in [("json", ""), ("csv", ", header => true")] {
        let lab = Lab::new();
        let sql = table(format, &format!("{options}, schema => 'd DECIMAL(10, 2)'"));
        let given = ["1.239", "1.235", "-1.235", "1.2349999", "1.5e2", "99999999.994", "99999999.995"];
        for (at, number) in given.iter().enumerate() {
            let line = if format == "json" { format!("{{\"d\":{number}}}\n") } else { format!("d\n{number}\n") };
            lab.arrive(&format!("{at}.{format}"), line);
        }
        update(&lab.lake(&sql)).await;
        let found = values(&lab.lake(&sql), "t", "d").await;
        assert_eq!(found, ["-1.24", "1.23", "1.24", "1.24", "150.00", "99999999.99"], "{format}");
        assert_eq!(reasons(&lab, &sql).await.len(), 1, "one is too large when it is rounded");
    }
}

#[tokio::test]
async fn whole_numbers_above_sixty_four_bits_stay_what_they_are() {
    let lab = Lab::new();
    let sql = table("json", "");
    lab.arrive("a.json", "{\"id\":18446744073709551615}\n{\"id\":18446744073709551614}\n{\"id\":1}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(values(&lab.lake(&sql), "t", "id").await, ["1", "18446744073709551614", "18446744073709551615"]);
}

#[tokio::test]
async fn a_column_of_text_takes_objects_and_lists_as_their_json() {
    let record = |more: &str| format!("{{\"id\": 1, \"o\": {{ \"x\" : 1.10, \"y\":[1, \"a b\"] }}{more}}}\n");
    let wanted = r#"o={"x":1.10,"y":[1,"a b"]}"#;
    for more in ["", ", rescuedDataColumn => '_rest'"] {
        let lab = Lab::new();
        // A map and bytes are for the other decoder.
        let sql =
            table("json", &format!(", schema => 'id INT, o STRING, m MAP<STRING, STRING>, l ARRAY<STRING>'{more}"));
        lab.arrive("a.json", record(", \"m\":{\"k\":[1, 2]}, \"l\":[{}, 1]"));
        update(&lab.lake(&sql)).await;
        assert_eq!(shown(&lab, &sql).await, [format!("id=1 | {wanted} | m={{k: [1,2]}} | l=[{{}}, 1]")], "{more}");
    }
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE t AS SELECT * FROM cloud_files('in', 'json')";
    lab.arrive("a.json", record("") + "{\"id\":\"x\",\"o\":\"text\"}\n");
    update(&lab.lake(sql)).await;
    assert_eq!(shown(&lab, sql).await, [format!("id=1 | {wanted}"), "id=x | o=text".to_owned()]);
    let lab = Lab::new();
    let sql = table("json", "");
    lab.arrive("a.json", "{\"a\":[1]}\n{\"a\":2}\n{\"a\":{\"x\":null}}\n");
    update(&lab.lake(&sql)).await;
    assert_eq!(values(&lab.lake(&sql), "t", "a").await, ["2", "[1]", "{\"x\":null}"]);
}

#[tokio::test]
async fn a_hint_may_be_for_a_field_or_an_element() {
    let lab = Lab::new();
    let hints = "b.c INT, tags.element DOUBLE, new.deep.element.x DATE, m MAP<STRING, INT>, `a.b` STRING";
    let sql = table("json", &format!(", schemaHints => '{hints}'"));
    lab.arrive("a.json", "{\"a.b\":1,\"b\":{\"c\":\"5\",\"d\":1},\"tags\":[1],\"m\":{\"k\":7}}\n");
    update(&lab.lake(&sql)).await;
    lab.arrive("b.json", "{\"new\":{\"deep\":[{\"x\":\"2024-02-29\"}]}}\n");
    update(&lab.lake(&sql)).await;
    let found = shown(&lab, &sql).await;
    assert_eq!(found, ["a.b=1 | b.c=5 | b.d=1 | m={k: 7} | tags=[1.0]", "new.deep=[{x: 2024-02-29}]"]);
}

#[tokio::test]
async fn a_line_that_is_a_list_is_a_row_for_each_of_its_objects() {
    let lab = Lab::new();
    // The second list's map is for the other decoder.
    for (columns, all) in [("n INT, s STRING", 6), ("n INT, s STRING, m MAP<STRING, INT>", 6)] {
        let sql = table("json", &format!(", schema => '{columns}'"));
        let lines = [
            r#"[{"n":1,"s":"}],["},{"n":2} , {"n":3}]"#,
            "[]",
            r#" {"n":4}"#,
            r#"[ {"n":5},{"n":6} ] "#,
            r#"[{"n":7},8]"#,
            r#"[{"n":9}"#,
            r#"[{"n":10}] {"n":11}"#,
        ];
        lab.arrive("a.json", lines.join("\r\n"));
        let lake = lab.lake(&sql);
        update(&lake).await;
        assert_eq!(values(&lake, "t", "n").await.len(), all);
        let places = values(&lake, "t__quarantine", "_headwater.position").await;
        let lines: Vec<_> = places.iter().map(|place| place.rsplit(':').next().unwrap()).collect();
        assert_eq!(lines, ["2", "5", "6", "7"]);
        lab.forget("bronze").await;
    }
}
