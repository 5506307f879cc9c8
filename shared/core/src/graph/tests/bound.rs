use super::*;

fn pipeline(sql: &str) -> Pipeline {
    let built = build_with("", &[("a.sql", sql)]);
    built.pipeline.unwrap_or_else(|| panic!("{}", render(&built.diagnostics)))
}

/// A pipeline with everything: events, files, views, fan-in, joins, side tables.
const AIRLINES: &str = "
CREATE MATERIALIZED VIEW on_time AS
  SELECT carrier, name, avg(delay) AS delay FROM flights JOIN airlines USING (carrier) GROUP BY ALL;
CREATE MATERIALIZED VIEW rejected AS SELECT count(*) AS n FROM flights_raw__quarantine;

CREATE OR REFRESH STREAMING TABLE flights (
  CONSTRAINT known_carrier EXPECT (carrier IS NOT NULL) ON VIOLATION DROP ROW
)
TBLPROPERTIES ('headwater.dedup.keys' = 'event_id')
AS SELECT f.*, a.name AS origin_name
   FROM STREAM valid_flights AS f LEFT JOIN airports AS a ON a.faa = f.origin;

CREATE TEMPORARY VIEW valid_flights AS
  SELECT * FROM STREAM flights_raw WATERMARK event_time DELAY OF INTERVAL 10 MINUTES WHERE carrier <> '';

CREATE STREAMING TABLE flights_raw;
CREATE FLOW live AS INSERT INTO flights_raw BY NAME
  SELECT * FROM STREAM read_events('flights', format => 'json', schema => 'event_id STRING, carrier STRING');
CREATE FLOW history AS INSERT INTO ONCE main.ops.flights_raw BY NAME
  SELECT * FROM read_files('/Volumes/main/raw/history', format => 'json', schema => 'event_id STRING, carrier STRING');

CREATE STREAMING TABLE airports AS SELECT * FROM STREAM read_files('data/airports', format => 'csv', header => true);
CREATE MATERIALIZED VIEW airlines AS SELECT * FROM read_files('data/airlines.csv', format => 'csv', header => true);
";

#[test]
fn a_whole_pipeline_is_bound_ordered_and_layered() {
    insta::assert_snapshot!(outline(&pipeline(AIRLINES)));
}

#[test]
fn the_order_of_definitions_and_files_changes_nothing() {
    let statements: Vec<&str> = AIRLINES.split_inclusive(';').collect();
    let reversed: String = statements.iter().rev().copied().collect();
    let (one, other) = (pipeline(AIRLINES), pipeline(&reversed));
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(outline(&one)), sorted(outline(&other)));
}

#[test]
fn names_follow_use_and_the_default_schema() {
    let built = build_with(
        "",
        &[
            ("a.sql", "USE SCHEMA extra; CREATE MATERIALIZED VIEW m AS SELECT * FROM ops.t JOIN u ON true;"),
            ("b.sql", "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights', format => 'json');"),
            ("c.sql", "CREATE STREAMING TABLE main.extra.u AS SELECT * FROM STREAM LIVE.t"),
        ],
    );
    assert_eq!(render(&built.diagnostics), "");
    insta::assert_snapshot!(outline(&built.pipeline.unwrap()));
}

#[test]
fn views_of_views_are_expanded_with_fresh_names() {
    insta::assert_snapshot!(outline(&pipeline(
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights', format => 'json');
         CREATE VIEW a AS SELECT * FROM t;
         CREATE TEMPORARY VIEW b (CONSTRAINT positive EXPECT (v > 0) ON VIOLATION DROP ROW)
           AS SELECT l.v FROM a AS l JOIN a AS r ON l.k = r.k JOIN t ON t.k = l.k;
         CREATE MATERIALIZED VIEW m AS WITH c AS (SELECT * FROM b) SELECT * FROM c JOIN t ON t.v = c.v;"
    )));
}

#[test]
fn distinct_on_a_stream_is_dedup_of_whole_rows() {
    insta::assert_snapshot!(outline(&pipeline(
        "CREATE STREAMING TABLE t AS SELECT DISTINCT a FROM STREAM read_events('flights', format => 'json');
         CREATE STREAMING TABLE u AS SELECT DISTINCT a FROM STREAM t;
         CREATE MATERIALIZED VIEW m AS SELECT DISTINCT a FROM u;"
    )));
}

/// Statements as they stand in Databricks' own examples.
#[test]
fn a_pipeline_of_another_product_is_bound() {
    insta::assert_snapshot!(outline(&pipeline(
        r#"-- Databricks notebook source
-- MAGIC %md # Flights
-- COMMAND ----------
CREATE OR REFRESH STREAMING LIVE TABLE raw_flights COMMENT "as landed" TBLPROPERTIES ("quality" = "bronze")
AS SELECT *, _metadata.file_path AS source_file FROM cloud_files("/Volumes/main/raw/flights", "json", map("cloudFiles.inferColumnTypes", "true"))
-- COMMAND ----------
CREATE OR REFRESH STREAMING TABLE `clean_flights`(
  CONSTRAINT `valid id` EXPECT (id IS NOT NULL AND operation != "DELETE") ON VIOLATION DROP ROW,
  CONSTRAINT sane_delay EXPECT (delay BETWEEN -120 AND 3000)
) PARTITIONED BY (day) AS
SELECT id, delay, cast(ts AS DATE) AS day FROM STREAM(LIVE.raw_flights) WATERMARK ts DELAY OF INTERVAL 2 HOURS AS f
WHERE f.carrier RLIKE '^[A-Z]';
CREATE LIVE VIEW by_day AS SELECT day, count(*) AS n FROM LIVE.clean_flights GROUP BY day;
CREATE OR REFRESH MATERIALIZED VIEW busiest AS SELECT * FROM by_day ORDER BY n DESC LIMIT 10;
"#
    )));
}

#[test]
fn a_common_table_expression_hides_a_table_only_after_its_own_body() {
    insta::assert_snapshot!(outline(&pipeline(
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights', format => 'json');
         CREATE MATERIALIZED VIEW m AS
           WITH u AS (SELECT * FROM T), T AS (SELECT * FROM t WHERE a IN (WITH c AS (SELECT * FROM u) SELECT a FROM c))
           SELECT * FROM t JOIN u ON true JOIN ops.t AS v ON true;
         CREATE STREAMING TABLE s AS WITH t AS (SELECT * FROM STREAM t) SELECT * FROM t;"
    )));
}

#[test]
fn set_gives_values_to_what_comes_after_it_in_its_file() {
    insta::assert_snapshot!(outline(&pipeline(
        "SET floor = 10; SET name = 'x y';
         CREATE MATERIALIZED VIEW m AS SELECT ${floor} AS a, '${name}' AS b, :floor AS c, :name AS d;"
    )));
}

#[test]
fn a_setting_counts_neither_before_it_nor_in_other_files() {
    let built = build_with(
        "configuration: {day: old}\n",
        &[
            (
                "a.sql",
                "CREATE VIEW v AS SELECT '${day}${night}' AS x; SET day = new; CREATE VIEW w AS SELECT :day AS x, '${day}' AS y;",
            ),
            ("b.sql", "CREATE VIEW u AS SELECT '${day}' AS x; SET night = dark; CREATE VIEW z AS SELECT :night AS x"),
        ],
    );
    insta::assert_snapshot!(render(&built.diagnostics));
    let built = build_with(
        "configuration: {day: old}\n",
        &[
            (
                "a.sql",
                "CREATE MATERIALIZED VIEW v AS SELECT :day AS x; SET day = new; CREATE MATERIALIZED VIEW w AS SELECT :day AS x, '${day}' AS y;",
            ),
            ("b.sql", "CREATE MATERIALIZED VIEW u AS SELECT '${day}' AS x"),
        ],
    );
    insta::assert_snapshot!(outline(&built.pipeline.unwrap()));
}

#[test]
fn a_table_is_clustered_by_a_clause_or_by_a_property() {
    let built = pipeline(
        "CREATE STREAMING TABLE t CLUSTER BY (a, b) AS SELECT * FROM STREAM read_events('flights', format => 'json', schema => 'a INT, b INT');
        CREATE STREAMING TABLE u PARTITIONED BY (c) TBLPROPERTIES ('pipelines.autoOptimize.zOrderCols' = '`b`, a') AS SELECT * FROM STREAM t",
    );
    let columns: Vec<_> = built.datasets.iter().map(|dataset| dataset.clustered_by.join("+")).collect();
    assert_eq!(columns, ["a+b", "b+a"]);
}

#[test]
fn tables_may_widen_where_what_fills_them_may_unless_they_say_otherwise() {
    let sql = "
        CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', schemaEvolutionMode => 'addNewColumnsWithTypeWidening');
        CREATE STREAMING TABLE plain AS SELECT * FROM STREAM read_files('other', format => 'json');
        CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM raw;
        CREATE STREAMING TABLE after AS SELECT * FROM STREAM v;
        CREATE STREAMING TABLE kept; CREATE FLOW f AS AUTO CDC INTO kept FROM STREAM raw KEYS (id) SEQUENCE BY n;
        CREATE STREAMING TABLE beside AS SELECT plain.id, after.n FROM STREAM plain JOIN after ON plain.id = after.id;
        CREATE STREAMING TABLE aside AS SELECT * FROM STREAM raw__quarantine;
        CREATE STREAMING TABLE stays TBLPROPERTIES ('delta.enableTypeWidening' = 'false') AS SELECT * FROM STREAM raw;
        CREATE STREAMING TABLE behind AS SELECT * FROM STREAM stays;
        CREATE STREAMING TABLE asks TBLPROPERTIES ('delta.enableTypeWidening' = 'true') AS SELECT * FROM STREAM plain;";
    let pipeline = pipeline(sql);
    let may = |name: &str| pipeline.may_widen(&DatasetName::new(name));
    assert!(["raw", "after", "kept", "beside", "aside", "asks", "after__quarantine"].into_iter().all(may));
    assert!(!["plain", "stays", "behind", "stays__late"].into_iter().any(may));
}
