//! SQL as Spark understands it, and nothing but SQL.

mod holistic;
mod sandbox;
mod spark;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use headwater_core::diagnostic::{SourceFile, Span};
use headwater_core::model::{Query, Relation, RelationSource, Settings};
use headwater_core::name::DatasetName;
use headwater_core::sql::{ParsedRelation, ParsedSource, Statement, parse_file};
use headwater_lake::engine::Engine;
use headwater_lake::error::LakeError;

/// The query of a text, as a materialized view would have it; or what the language has against it.
fn query(text: &str) -> Result<Query, String> {
    let file = SourceFile::new("test.sql", format!("CREATE MATERIALIZED VIEW v AS {text}"));
    let parsed = parse_file(&file, &BTreeMap::new());
    let Some(Statement::CreateDataset(dataset)) = parsed.statements.into_iter().next() else {
        return Err(parsed.diagnostics.iter().map(|found| found.message.clone()).collect::<Vec<_>>().join("; "));
    };
    let query = dataset.query.ok_or("no query")?;
    let span = Span { file, range: 0..0 };
    let relation = |relation: ParsedRelation| match relation.source {
        ParsedSource::Table { name, .. } => {
            let source = RelationSource::Table(DatasetName::new(&name.parts.join(".")));
            Ok(Relation { alias: relation.alias, source, as_of: None, span: span.clone() })
        }
        other => Err(format!("{other:?} isn't a table")),
    };
    let relations = query.relations.into_iter().map(relation).collect::<Result<_, _>>()?;
    Ok(Query { ast: query.ast, relations, span: span.clone() })
}

/// The table `t(g, n, d, s, ts)` that Spark was asked about.
fn table() -> RecordBatch {
    let day = |day: i64| Some(day * 86_400_000_000);
    let times = TimestampMicrosecondArray::from(vec![day(19_723), day(19_724), None, None, day(19_725)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("g", Arc::new(StringArray::from(vec!["a", "a", "b", "a", "c"]))),
        ("n", Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(3), None, Some(4)]))),
        ("d", Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), Some(4.0), None, Some(8.0)]))),
        ("s", Arc::new(StringArray::from(vec![Some("x"), Some("y"), Some("z"), None, Some("w")]))),
        ("ts", Arc::new(times.with_timezone("UTC"))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

/// The rows of a query over [`table`], in the table's order; or the error that a person would see.
async fn run(engine: &Engine, text: &str) -> Result<Vec<RecordBatch>, String> {
    let query = query(text)?;
    let session = engine.ordered_session();
    for relation in &query.relations {
        session.register_batch(&relation.alias, table()).unwrap();
    }
    let shown = |error: LakeError| error.to_string();
    engine.plan(&session, &query).await.map_err(shown)?.collect().await.map_err(|error| shown(LakeError::query(error)))
}

#[tokio::test]
async fn floating_point_is_compared_with_decimals_whatever_its_size() {
    let engine = Engine::new(&Settings::default()).unwrap();
    for (number, holds) in [
        ("NaN", "x > 0.5 AND NOT x BETWEEN 0.5 AND 9.5 AND x NOT IN (0.5, 9.5) AND x * 0.5 > 9.5 AND x <> 0.5"),
        ("1e300", "x > 0.5 AND 0.5 < x AND NOT x BETWEEN 0.5 AND 9.5 AND x NOT IN (0.5, 9.5) AND x * 0.5 > 9.5"),
        ("-Infinity", "x < 0.5 AND x NOT IN (0.5) AND coalesce(nullif(x, 0.5), 0) < -9.5 AND NOT x <=> 0.5"),
        (
            "0.5",
            "x = 0.5 AND x IN (0.5) AND x BETWEEN 0.5 AND 0.6 AND CASE x WHEN 0.5 THEN true END AND nullif(x, 0.5) IS NULL",
        ),
        ("0.1", "x = 0.1 AND CAST(x AS FLOAT) <> 0.1 AND x <=> 0.1"),
    ] {
        let sql = format!("SELECT coalesce({holds}, false) AS v FROM (SELECT CAST('{number}' AS DOUBLE) AS x)");
        let batches = run(&engine, &sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(batches[0].column(0).as_boolean().value(0), "{sql}");
    }
}
