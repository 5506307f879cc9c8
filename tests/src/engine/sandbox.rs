//! A query sees the relations of its flow, and nothing else of the machine.

use std::collections::BTreeMap;
use std::io::Write;

use arrow::array::BooleanArray;
use deltalake::datafusion::sql::sqlparser::ast::Statement;
use deltalake::datafusion::sql::sqlparser::dialect::GenericDialect;
use deltalake::datafusion::sql::sqlparser::parser::Parser;
use headwater_core::diagnostic::{SourceFile, Span};
use headwater_core::error::ErrorKind;
use headwater_core::model::{Query, Settings};
use headwater_core::sql::parse_file;
use headwater_lake::engine::{Engine, predicate};
use headwater_lake::error::LakeError;

use super::table;

/// A query as sqlparser has it, past the checks of the pipeline language, beside the relation `t`.
async fn past_the_language(text: &str) -> Result<usize, LakeError> {
    let statement = Parser::parse_sql(&GenericDialect, text).unwrap().remove(0);
    let Statement::Query(ast) = statement else { panic!("{text} isn't a query") };
    let span = Span { file: SourceFile::new("test.sql", text), range: 0..0 };
    let engine = Engine::new(&Settings::default()).unwrap();
    let session = engine.session();
    session.register_batch("t", table()).unwrap();
    let frame = engine.plan(&session, &Query { ast, relations: Vec::new(), span }).await?;
    frame.count().await.map_err(LakeError::query)
}

#[tokio::test]
async fn queries_reach_no_files_and_no_catalog() {
    let mut readable = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    writeln!(readable, "secret\n1").unwrap();
    let path = readable.path().display();
    assert_eq!(past_the_language("SELECT * FROM t").await.unwrap(), 5, "a relation of the flow is seen");
    for (text, about) in [
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM \"/etc/passwd\"", "/etc/passwd"),
        (&format!("SELECT * FROM '{path}'"), ".csv"),
        (&format!("SELECT * FROM 'file://{path}'"), ".csv"),
        ("SELECT * FROM 's3://bucket/table/'", "s3://bucket"),
        (&format!("SELECT * FROM read_csv('{path}')"), "read_csv"),
        (&format!("SELECT * FROM read_parquet('{path}')"), "read_parquet"),
        ("SELECT * FROM information_schema.tables", "information_schema"),
        ("SELECT * FROM information_schema.df_settings", "information_schema"),
        ("SELECT * FROM csv.\"/etc/passwd\"", "/etc/passwd"),
        ("SELECT * FROM datafusion.public.t", "datafusion"),
        ("SELECT (SELECT count(*) FROM '/etc/passwd')", "/etc/passwd"),
        ("WITH x AS (SELECT * FROM '/etc/hosts') SELECT * FROM x", "/etc/hosts"),
        ("SELECT load_extension('x')", "load_extension"),
        ("SELECT input_file_name()", "input_file_name"),
        ("SELECT * INTO copied FROM t", "DDL not supported"),
    ] {
        let error = past_the_language(text).await.expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}: {error}");
        assert!(error.to_string().contains(about), "{text}: {error}");
    }
}

#[test]
fn statements_that_reach_outside_are_refused() {
    for text in [
        "COPY t TO '/tmp/stolen.csv'",
        "COPY (SELECT 1) TO '/tmp/stolen.csv' STORED AS CSV",
        "CREATE EXTERNAL TABLE p STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE TABLE p AS SELECT 1",
        "CREATE FUNCTION f AS 'x' USING JAR '/tmp/x.jar'",
        "INSERT INTO t SELECT 1",
        "INSERT OVERWRITE DIRECTORY '/tmp/x' SELECT 1",
        "DROP TABLE t",
        "EXPLAIN ANALYZE SELECT 1",
        "SHOW TABLES",
        "LOAD DATA INPATH '/etc/passwd' INTO TABLE t",
        "ADD JAR '/tmp/x.jar'",
        "CREATE MATERIALIZED VIEW v LOCATION '/etc' AS SELECT 1",
        "CREATE MATERIALIZED VIEW v AS COPY t TO '/tmp/x'",
        "CREATE MATERIALIZED VIEW v AS EXPLAIN SELECT 1",
        "CREATE MATERIALIZED VIEW v AS SELECT * FROM read_text('/etc/passwd')",
    ] {
        let parsed = parse_file(&SourceFile::new("test.sql", text), &BTreeMap::new());
        assert!(!parsed.diagnostics.is_empty(), "{text} is allowed: {:?}", parsed.statements);
    }
}

/// What sets an engine up isn't reached by the pipeline's `SET`.
#[tokio::test]
async fn settings_are_not_the_engines() {
    let text = "SET datafusion.catalog.information_schema = true; CREATE MATERIALIZED VIEW v AS SELECT 1 AS a";
    let parsed = parse_file(&SourceFile::new("test.sql", text), &BTreeMap::new());
    assert_eq!(parsed.statements.len(), 2, "{:?}", parsed.diagnostics);
    past_the_language("SELECT * FROM information_schema.tables").await.expect_err("no information schema");
}

#[tokio::test]
async fn expectations_follow_the_same_rules() {
    let engine = Engine::new(&Settings::default()).unwrap();
    let batch = table();
    let held = |text: &str| {
        let expr = Parser::new(&GenericDialect).try_with_sql(text).unwrap().parse_expr().unwrap();
        let predicate = predicate(&engine.session(), &batch.schema(), &expr)?;
        let values = predicate.evaluate(&batch).unwrap().into_array(batch.num_rows()).unwrap();
        Ok::<_, LakeError>(values.as_any().downcast_ref::<BooleanArray>().unwrap().iter().collect::<Vec<_>>())
    };
    let yes = Some(true);
    assert_eq!(held("n / 0 > 1").unwrap(), [None; 5], "division by zero is NULL, which no rule takes for true");
    assert_eq!(held("CAST(s AS INT) IS NULL").unwrap(), [yes; 5]);
    assert_eq!(held("coalesce(D, 0.5) >= 0.5").unwrap(), [yes; 5]);
    assert_eq!(held("n / 2 = 0.5").unwrap()[..2], [yes, Some(false)]);
    assert_eq!(held("n + 1").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(held("nothing > 1").unwrap_err().kind(), ErrorKind::Invalid);
}
