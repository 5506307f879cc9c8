//! A grouping that is handed over gives the rows that the engine itself gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, RecordBatch,
    StringArray,
};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use deltalake::datafusion::dataframe::DataFrame;
use headwater_core::model::Settings;
use headwater_frames::group_by;
use headwater_lake::engine::{Engine, Grouper};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn rows(seed: u64, count: usize) -> RecordBatch {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut values = |most: i32| -> Vec<Option<i32>> {
        (0..count).map(|_| dice.random_bool(0.85).then(|| dice.random_range(-most..=most))).collect()
    };
    let text =
        |values: Vec<Option<i32>>| StringArray::from_iter(values.iter().map(|value| value.map(|n| format!("t{n}"))));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", Arc::new(text(values(3)))),
        ("j", Arc::new(Int32Array::from(values(2)))),
        ("i", Arc::new(Int32Array::from(values(50)))),
        ("x", Arc::new(Float64Array::from_iter(values(40).iter().map(|value| value.map(|n| f64::from(n) / 4.0))))),
        ("s", Arc::new(text(values(9)))),
        ("d", Arc::new(Date32Array::from(values(30)))),
        ("b", Arc::new(BooleanArray::from_iter(values(1).iter().map(|value| value.map(|n| n > 0))))),
        ("m", Arc::new(Decimal128Array::from_iter(values(900).iter().map(|value| value.map(i128::from))))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// Column types, and rows in order; doubles to nine places, since both sides round on their own way to one.
async fn shown(frame: DataFrame) -> (Vec<(String, DataType)>, Vec<String>) {
    let fields = frame.schema().fields().iter();
    let types = fields.map(|field| (field.name().clone(), field.data_type().clone())).collect();
    let options = FormatOptions::new().with_null("~");
    let mut lines = Vec::new();
    for batch in frame.collect().await.unwrap() {
        let cell = |column: &ArrayRef, at: usize| match column.as_primitive_opt::<Float64Type>() {
            Some(doubles) if doubles.is_valid(at) => format!("{:.9}", doubles.value(at)),
            _ => ArrayFormatter::try_new(column, &options).unwrap().value(at).to_string(),
        };
        let line = |at| batch.columns().iter().map(|column| cell(column, at)).collect::<Vec<_>>().join("|");
        lines.extend((0..batch.num_rows()).map(line));
    }
    lines.sort();
    (types, lines)
}

/// Runs a query both ways, and says how many groupings were handed over.
async fn both_ways(sql: &str, batch: &RecordBatch) -> usize {
    let query = super::query(sql).unwrap();
    let engine = Engine::new(&Settings::default()).unwrap();
    let session = engine.session();
    for relation in &query.relations {
        session.register_batch(&relation.alias, batch.clone()).unwrap();
    }
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let grouper = Grouper::new(move |schema, rows, grouping| {
        counted.fetch_add(1, Ordering::Relaxed);
        group_by(schema, rows, grouping).map_err(Into::into)
    });
    let plain = shown(engine.plan(&session, &query).await.unwrap()).await;
    let handed = shown(engine.plan_grouped(&session, &query, &grouper).await.unwrap()).await;
    assert_eq!(plain, handed, "{sql}");
    calls.load(Ordering::Relaxed)
}

const HANDED: &[&str] = &[
    "SELECT k, percentile(x, 0.5) AS p FROM t GROUP BY k",
    "SELECT k, j, percentile(i, 0.25) AS low, percentile(i, 0.95) AS high, count(*) AS n, sum(i) AS total FROM t GROUP BY k, j",
    "SELECT percentile(x, 0.9) AS p, median(i) AS m, count(*) AS n FROM t",
    "SELECT k, percentile_approx(i, 0.5) AS p, percentile_approx(x, 0.1) AS q FROM t GROUP BY k",
    "SELECT upper(k) AS u, mode(s) AS most, max(d) AS last, min(s) AS first FROM t GROUP BY upper(k)",
    "SELECT k, count(DISTINCT s) AS n, count(DISTINCT d) AS days, avg(i) AS mean FROM t GROUP BY k",
    "SELECT b, median(x) AS m FROM t WHERE j > 0 GROUP BY b HAVING count(*) > 3 ORDER BY b",
    "SELECT t.k, t.j, g.m - t.i AS off FROM t JOIN (SELECT k, median(i) AS m FROM t GROUP BY k) g ON t.k = g.k",
    "SELECT percentile(m, 0.5) AS p FROM (SELECT k, median(i) AS m FROM t GROUP BY k)",
    "SELECT k, median(i) AS m FROM t GROUP BY k UNION ALL SELECT s, median(x) FROM t GROUP BY s",
];

const KEPT: &[&str] = &[
    "SELECT k, count(*) AS n, sum(x) AS total FROM t GROUP BY k",
    "SELECT k, percentile(x, 0.5) FILTER (WHERE j > 0) AS p FROM t GROUP BY k",
    "SELECT k, percentile(i, array(0.25, 0.75)) AS p FROM t GROUP BY k",
    "SELECT m, median(i) AS p FROM t GROUP BY m",
    "SELECT k, j, median(i) AS p FROM t GROUP BY ROLLUP (k, j)",
];

#[tokio::test]
async fn groupings_that_are_handed_over_give_the_same_rows() {
    for sql in HANDED {
        for (seed, count) in [(1, 0), (2, 1), (3, 40), (4, 700)] {
            assert!(both_ways(sql, &rows(seed, count)).await > 0, "{sql} wasn't handed over");
        }
    }
}

#[tokio::test]
async fn what_cant_be_described_stays_with_the_engine() {
    for sql in KEPT {
        assert_eq!(both_ways(sql, &rows(5, 200)).await, 0, "{sql} was handed over");
    }
}
