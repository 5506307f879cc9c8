//! Holistic aggregates as data frames: Spark's semantics, exact types.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    StringArray, StringViewArray, TimestampMicrosecondArray, TimestampSecondArray,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_core::aggregate::{Aggregate, AggregateFunction as F, Grouping};
use headwater_core::error::ErrorKind;
use headwater_frames::group_by;
use proptest::prelude::*;

fn grouping(keys: &[&str], aggregates: &[(&str, F)]) -> Grouping {
    let aggregate = |(at, (column, function)): (usize, &(&str, F))| Aggregate {
        name: format!("a{at}"),
        column: (*column).to_owned(),
        function: *function,
    };
    Grouping {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        aggregates: aggregates.iter().enumerate().map(aggregate).collect(),
    }
}

/// Rows as `a|b|c`, sorted; NULL is `~`.
fn rows(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("~");
    let shown: Vec<_> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let row = |at: usize| shown.iter().map(|column| column.value(at).to_string()).collect::<Vec<_>>().join("|");
    let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
    rows.sort();
    rows
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn flights() -> RecordBatch {
    batch(vec![
        ("carrier", Arc::new(StringArray::from(vec![Some("UA"), Some("UA"), Some("AA"), None, Some("UA"), None]))),
        ("delay", Arc::new(Float64Array::from(vec![Some(1.0), Some(4.0), None, Some(7.0), Some(2.0), Some(9.0)]))),
        ("gate", Arc::new(Int16Array::from(vec![Some(3), Some(3), Some(1), None, Some(2), None]))),
        ("seats", Arc::new(Int64Array::from(vec![Some(10), Some(20), None, Some(5), Some(20), Some(5)]))),
    ])
}

fn of(batch: &RecordBatch, keys: &[&str], aggregates: &[(&str, F)]) -> Vec<String> {
    let result = group_by(&batch.schema(), std::slice::from_ref(batch), &grouping(keys, aggregates)).unwrap();
    rows(&result)
}

#[test]
fn quantiles_interpolate_and_leave_nulls_out() {
    let found = of(
        &flights(),
        &["carrier"],
        &[("delay", F::Quantile(0.5)), ("delay", F::Quantile(0.25)), ("delay", F::DiscreteQuantile(0.5))],
    );
    assert_eq!(found, ["AA|~|~|~", "UA|2.0|1.5|2.0", "~|8.0|7.5|7.0"]);
}

#[test]
fn counts_are_64_bit_integers_and_zero_for_groups_of_nulls() {
    let found = of(&flights(), &["carrier"], &[("gate", F::Count), ("gate", F::CountDistinct)]);
    assert_eq!(found, ["AA|1|1", "UA|3|2", "~|0|0"]);
    let result = group_by(&flights().schema(), &[flights()], &grouping(&[], &[("gate", F::CountDistinct)])).unwrap();
    assert_eq!(result.schema().field(0).data_type(), &DataType::Int64);
}

#[test]
fn sums_and_extremes_keep_their_types() {
    let result = group_by(
        &flights().schema(),
        &[flights()],
        &grouping(
            &["carrier"],
            &[("seats", F::Sum), ("gate", F::Minimum), ("gate", F::Maximum), ("seats", F::Average)],
        ),
    )
    .unwrap();
    let types: Vec<DataType> = result.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    let expected = [DataType::Utf8, DataType::Int64, DataType::Int16, DataType::Int16, DataType::Float64];
    assert_eq!(types, expected);
    assert_eq!(rows(&result), ["AA|~|1|1|~", "UA|50|2|3|16.666666666666668", "~|10|~|~|5.0"]);
}

#[test]
fn the_mode_is_the_smallest_of_the_most_frequent() {
    assert_eq!(of(&flights(), &["carrier"], &[("gate", F::Mode)]), ["AA|1", "UA|3", "~|~"]);
    assert_eq!(of(&flights(), &["carrier"], &[("delay", F::Mode)]), ["AA|~", "UA|1.0", "~|7.0"]);
    assert_eq!(of(&flights(), &[], &[("seats", F::Mode), ("gate", F::Mode), ("gate", F::Count)]), ["5|3|4"]);
    assert_eq!(of(&flights(), &[], &[("seats", F::Mode)]), ["5"]);
}

#[test]
fn without_keys_no_rows_are_one_group_and_with_keys_none() {
    let empty = flights().slice(0, 0);
    let wanted = [("delay", F::Quantile(0.9)), ("delay", F::CountDistinct), ("delay", F::Sum), ("gate", F::Mode)];
    assert_eq!(of(&empty, &[], &wanted), ["~|0|~|~"]);
    assert_eq!(of(&empty, &["carrier"], &wanted), Vec::<String>::new());
    let no_batches = group_by(&flights().schema(), &[], &grouping(&[], &wanted)).unwrap();
    assert_eq!(rows(&no_batches), ["~|0|~|~"]);
}

#[test]
fn nan_is_the_largest_value_and_equal_to_itself() {
    let nan = f64::NAN;
    let delays = batch(vec![("d", Arc::new(Float64Array::from(vec![1.0, nan, 2.0, nan, 3.0])))]);
    let wanted = [("d", F::Quantile(0.25)), ("d", F::Quantile(1.0)), ("d", F::CountDistinct)];
    assert_eq!(of(&delays, &[], &wanted), ["2.0|NaN|4"]);
}

#[test]
fn every_type_of_key_comes_back_as_it_went() {
    let keys = batch(vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("int", Arc::new(Int32Array::from(vec![Some(1), None]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("é, more than twelve bytes"), None]))),
        ("date", Arc::new(Date32Array::from(vec![Some(19_737), None]))),
        (
            "utc",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_700_000_000_000_000), None]).with_timezone("UTC")),
        ),
        ("local", Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None]))),
        ("seconds", Arc::new(TimestampSecondArray::from(vec![Some(60), None]))),
        ("small", Arc::new(Int16Array::from(vec![Some(-1), None]))),
        ("value", Arc::new(Int64Array::from(vec![1, 2]))),
    ]);
    let names: Vec<&str> = vec!["bool", "int", "view", "date", "utc", "local", "seconds", "small"];
    let result =
        group_by(&keys.schema(), std::slice::from_ref(&keys), &grouping(&names, &[("value", F::Maximum)])).unwrap();
    assert_eq!(result.schema().fields()[..8], keys.schema().fields()[..8]);
    assert_eq!(rows(&result), rows(&keys));
}

#[test]
fn what_cannot_be_framed_is_an_error() {
    let list = Field::new("list", DataType::new_list(DataType::Int32, true), true);
    let schema = Arc::new(Schema::new(vec![list, Field::new("n", DataType::Int64, true)]));
    let error = group_by(&schema, &[], &grouping(&["list"], &[("n", F::Sum)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("`list`"), "{error}");
    let error = group_by(&schema, &[], &grouping(&["nowhere"], &[("n", F::Sum)])).unwrap_err();
    assert_eq!(error.to_string(), "there is no column `nowhere`");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However rows are ordered and cut into batches, the groups are those of a plain computation.
    #[test]
    fn groups_equal_a_plain_computation(
        rows in prop::collection::vec((prop::option::of(0i64..4), prop::option::of(-50i32..50)), 0..60),
        cuts in prop::collection::vec(0usize..60, 0..4),
        fraction in 0.0f64..=1.0,
    ) {
        let keys: Int64Array = rows.iter().map(|(key, _)| *key).collect();
        let values: Float64Array = rows.iter().map(|(_, value)| value.map(f64::from)).collect();
        let whole = batch(vec![("k", Arc::new(keys)), ("v", Arc::new(values))]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).chain([0, rows.len()]).collect();
        cuts.sort_unstable();
        let batches: Vec<_> = cuts.windows(2).map(|cut| whole.slice(cut[0], cut[1] - cut[0])).collect();
        let wanted = grouping(&["k"], &[("v", F::Quantile(fraction)), ("v", F::CountDistinct)]);
        let found = group_by(&whole.schema(), &batches, &wanted).unwrap();
        for at in 0..found.num_rows() {
            let key = found.column(0).as_primitive::<Int64Type>();
            let key = key.is_valid(at).then(|| key.value(at));
            let mut values: Vec<f64> =
                rows.iter().filter(|row| row.0 == key).filter_map(|row| row.1.map(f64::from)).collect();
            values.sort_by(f64::total_cmp);
            let quantile = found.column(1).as_primitive::<Float64Type>();
            prop_assert_eq!(quantile.is_null(at), values.is_empty());
            if let Some(last) = values.len().checked_sub(1) {
                let position = fraction * last as f64;
                let (low, high) = (values[position.floor() as usize], values[position.ceil() as usize]);
                prop_assert!((quantile.value(at) - (low + (high - low) * position.fract())).abs() < 1e-9);
            }
            values.dedup();
            prop_assert_eq!(found.column(2).as_primitive::<Int64Type>().value(at), values.len() as i64);
        }
        let mut distinct: Vec<_> = rows.iter().map(|row| row.0).collect();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(found.num_rows(), distinct.len());
    }
}

#[test]
fn slices_of_larger_batches_are_read_from_their_start() {
    let whole = concat_batches(&flights().schema(), &[flights(), flights()]).unwrap();
    let reordered = take_record_batch(&whole, &Int64Array::from(vec![5, 4, 3, 2, 1, 0])).unwrap();
    let wanted = [("delay", F::Quantile(0.5)), ("seats", F::Mode)];
    assert_eq!(of(&whole.slice(6, 6), &["carrier"], &wanted), of(&reordered, &["carrier"], &wanted));
}
