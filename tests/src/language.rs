//! What the language promises and only the engine can show: rewritten queries give Spark's results.

use deltalake::datafusion::dataframe::DataFrame;
use headwater_core::diagnostic::SourceFile;
use headwater_core::model::{Flow, Settings};
use headwater_core::{graph, project};
use headwater_lake::engine::Engine;

/// The result of the materialized view `m`, which reads one other, `source`.
async fn result_of(sql: &str) -> String {
    let file = SourceFile::new("pipeline.yml", "name: p\nstorage: lake\nlibraries: [{glob: {include: '*.sql'}}]\n");
    let project = project::parse(&file, &Default::default()).project.unwrap();
    let built = graph::build(&project, &[SourceFile::new("a.sql", sql)]);
    let findings: Vec<String> = built.diagnostics.iter().map(ToString::to_string).collect();
    let pipeline = built.pipeline.unwrap_or_else(|| panic!("{findings:?}"));
    let flow = |name: &str| pipeline.flows.iter().find(|flow| flow.name.as_str() == name).unwrap();
    let engine = Engine::new(&Settings::default()).unwrap();
    let session = engine.session();
    let source = plan(&engine, flow("source")).await;
    for relation in &flow("m").query.relations {
        session.register_table(relation.alias.as_str(), source.clone().into_view()).unwrap();
    }
    let result = engine.plan(&session, &flow("m").query).await.unwrap();
    result.to_string().await.unwrap()
}

async fn plan(engine: &Engine, flow: &Flow) -> DataFrame {
    engine.plan(&engine.session(), &flow.query).await.unwrap()
}

#[tokio::test]
async fn div_gives_whole_numbers_and_null_for_zero() {
    let sql = "CREATE MATERIALIZED VIEW source AS SELECT 9007199254740993 AS big, -7 AS a, 2 AS b, 0 AS zero;
        CREATE MATERIALIZED VIEW m AS SELECT big div 1 AS exact, a div b AS towards_zero, a div zero AS none, 7.5D div b AS q, a / b AS half FROM source";
    insta::assert_snapshot!(result_of(sql).await);
}

#[tokio::test]
async fn literals_and_operators_mean_what_they_mean_in_spark() {
    let sql = r"CREATE MATERIALIZED VIEW source AS SELECT 'a1' AS code, CAST(NULL AS INT) AS none;
        CREATE MATERIALIZED VIEW m AS SELECT code RLIKE r'^\w\d$' AS raw, none <=> NULL AS same, ! none IS NULL AS negated, 1.50BD AS exact,
            10L AS long, 2S + 1Y AS small, CAST('b' AS BINARY) AS bytes, CAST('5' AS LONG) AS cast FROM source";
    insta::assert_snapshot!(result_of(sql).await);
}

/// A column's name in another case must not be taken for a lambda's parameter.
#[tokio::test]
async fn a_lambda_means_its_parameter_whatever_the_columns() {
    let sql = "CREATE MATERIALIZED VIEW source AS SELECT array(1, 2, 3) AS items, 100 AS X;
        CREATE MATERIALIZED VIEW m AS SELECT transform(items, x -> x + 1) AS more, filter(items, i -> i > 1) AS fewer, exists(items, i -> i = 2) AS two FROM source";
    insta::assert_snapshot!(result_of(sql).await);
}

#[tokio::test]
async fn explode_gives_a_row_for_each_element() {
    let sql = "CREATE MATERIALIZED VIEW source AS SELECT 1 AS id, array(1, 2) AS items UNION ALL SELECT 2, NULL;
        CREATE MATERIALIZED VIEW m AS SELECT a.id, inner_col, outer_col FROM (SELECT id, explode(items) AS inner_col FROM source) a
            FULL JOIN (SELECT id AS other, explode_outer(items) AS outer_col FROM source) b ON a.id = b.other AND inner_col = outer_col ORDER BY outer_col";
    insta::assert_snapshot!(result_of(sql).await);
}
