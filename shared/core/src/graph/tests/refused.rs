use proptest::prelude::*;

use super::*;

/// Projects that are wrong, each in its own way.
const WRONG: [(&str, &str); 49] = [
    ("nothing", "-- nothing\n"),
    (
        "cycle",
        "CREATE VIEW a AS SELECT * FROM b; CREATE VIEW b AS SELECT * FROM c; CREATE MATERIALIZED VIEW c AS SELECT * FROM a",
    ),
    ("reads itself", "CREATE STREAMING TABLE a AS SELECT * FROM STREAM a"),
    ("duplicate output", "CREATE MATERIALIZED VIEW a AS SELECT 1 AS x; CREATE MATERIALIZED VIEW A AS SELECT 2 AS x"),
    (
        "duplicate flow",
        "CREATE STREAMING TABLE a; CREATE FLOW f AS INSERT INTO a BY NAME SELECT * FROM STREAM read_events('flights');
CREATE FLOW f AS INSERT INTO a BY NAME SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "missing source",
        "CREATE MATERIALIZED VIEW flights AS SELECT 1 AS x; CREATE MATERIALIZED VIEW b AS SELECT * FROM flihgts",
    ),
    (
        "missing target",
        "CREATE STREAMING TABLE flights; CREATE FLOW f AS INSERT INTO flight BY NAME SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "the same records twice",
        "CREATE STREAMING TABLE a; CREATE STREAMING TABLE b;
CREATE FLOW f AS INSERT INTO a BY NAME SELECT * FROM STREAM read_events('flights') WHERE x = 1;
CREATE FLOW g AS INSERT INTO a BY NAME SELECT * FROM STREAM read_events('flights') WHERE x = 2;
CREATE FLOW h AS INSERT INTO b BY NAME SELECT * FROM STREAM read_files('in/', format => 'json');
CREATE FLOW i AS INSERT INTO b BY NAME SELECT * FROM STREAM read_files('in/more', format => 'json');
CREATE FLOW j AS INSERT INTO b BY NAME SELECT * FROM STREAM read_files('in2', format => 'json')",
    ),
    ("no flow", "CREATE STREAMING TABLE a"),
    (
        "auto cdc of a source that isn't there",
        "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_events('flights'); CREATE STREAMING TABLE u;
APPLY CHANGES INTO u FROM rwa KEYS (id) SEQUENCE BY seq",
    ),
    (
        "auto cdc of what can't be, into tables that can't be",
        "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_events('flights');
CREATE STREAMING TABLE t TBLPROPERTIES ('headwater.dedup.keys' = 'id', 'delta.appendOnly' = 'true', 'pipelines.cdc.tombstoneGCThresholdInSeconds' = 'two days');
CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) SEQUENCE BY max(seq);
CREATE FLOW g AS AUTO CDC INTO t FROM STREAM(raw) WATERMARK at DELAY OF INTERVAL 1 HOUR KEYS (id, part) SEQUENCE BY seq;
CREATE FLOW h AS INSERT INTO t BY NAME SELECT * FROM STREAM raw;
CREATE FLOW i AS AUTO CDC INTO t FROM STREAM read_events('flights') KEYS (id) SEQUENCE BY seq IGNORE NULL UPDATES;
CREATE STREAMING TABLE after AS SELECT * FROM STREAM t;
CREATE MATERIALIZED VIEW inside AS SELECT * FROM t__changes",
    ),
    (
        "inline auto cdc of a table",
        "CREATE MATERIALIZED VIEW m AS SELECT 1 AS id; CREATE STREAMING TABLE t FLOW AUTO CDC FROM m KEYS (id) SEQUENCE BY id",
    ),
    (
        "flow into a materialized view",
        "CREATE MATERIALIZED VIEW a AS SELECT 1 AS x; CREATE FLOW f AS INSERT INTO a BY NAME SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "flow into a view",
        "CREATE VIEW a AS SELECT 1 AS x; CREATE FLOW f AS INSERT INTO a BY NAME SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "batch for a streaming table",
        "CREATE STREAMING TABLE a AS SELECT * FROM m; CREATE MATERIALIZED VIEW m AS SELECT 1 AS x",
    ),
    (
        "stream for a materialized view",
        "CREATE MATERIALIZED VIEW a AS SELECT * FROM STREAM t; CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "stream for a view",
        "CREATE VIEW a AS SELECT * FROM STREAM t; CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "stream for once",
        "CREATE STREAMING TABLE t; CREATE FLOW f AS INSERT INTO ONCE t BY NAME SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "two streams",
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights'); CREATE STREAMING TABLE u AS SELECT * FROM STREAM t AS a JOIN STREAM t AS b ON a.x = b.x",
    ),
    (
        "stream of a materialized view",
        "CREATE MATERIALIZED VIEW m AS SELECT 1 AS x; CREATE STREAMING TABLE u AS SELECT * FROM STREAM m",
    ),
    (
        "streaming view read as a table",
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights'); CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM t; CREATE MATERIALIZED VIEW m AS SELECT * FROM v",
    ),
    (
        "batch view read as a stream",
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights'); CREATE TEMPORARY VIEW v AS SELECT * FROM t; CREATE STREAMING TABLE m AS SELECT * FROM STREAM v",
    ),
    (
        "watermark on a view",
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights'); CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM t; CREATE STREAMING TABLE m AS SELECT * FROM STREAM v WATERMARK x DELAY OF INTERVAL 1 MINUTE",
    ),
    ("unbound source", "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('weather')"),
    ("misspelt source", "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flight')"),
    (
        "aggregate over a stream",
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('flights'); CREATE STREAMING TABLE u AS SELECT carrier, count(*) AS n FROM STREAM t GROUP BY carrier",
    ),
    (
        "nested source",
        "CREATE STREAMING TABLE t AS WITH c AS (SELECT * FROM STREAM read_events('flights')) SELECT * FROM c",
    ),
    (
        "source in a view",
        "CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM read_events('flights'); CREATE STREAMING TABLE t AS SELECT * FROM STREAM v",
    ),
    (
        "expectations",
        "CREATE STREAMING TABLE t (CONSTRAINT a EXPECT (x > 0), CONSTRAINT A EXPECT (x IN (SELECT 1)), CONSTRAINT c EXPECT (max(x) > 1)) AS SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "expectation on a view",
        "CREATE TEMPORARY VIEW v (CONSTRAINT a EXPECT (x > 0) ON VIOLATION FAIL UPDATE, CONSTRAINT b EXPECT (x > 1)) AS SELECT 1 AS x",
    ),
    (
        "unknown property",
        "CREATE MATERIALIZED VIEW m TBLPROPERTIES ('headwater.dedup.kyes' = 'a', 'pipelines.resetAllowed' = 'false', 'quality' = 'gold') AS SELECT 1 AS x",
    ),
    (
        "property without effect",
        "CREATE MATERIALIZED VIEW m TBLPROPERTIES ('headwater.x' = 'a', 'pipelines.autoOptimize.managed' = 'true') AS SELECT 1 AS x",
    ),
    (
        "dedup on a materialized view",
        "CREATE MATERIALIZED VIEW m TBLPROPERTIES ('headwater.dedup.keys' = 'a') AS SELECT 1 AS x",
    ),
    (
        "dedup keys",
        "CREATE STREAMING TABLE t (a INT, b INT) TBLPROPERTIES ('headwater.dedup.keys' = 'a, A,, c') AS SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "keys and distinct",
        "CREATE STREAMING TABLE t TBLPROPERTIES ('headwater.dedup.keys' = 'a') AS SELECT DISTINCT * FROM STREAM read_events('flights')",
    ),
    (
        "some distinct",
        "CREATE STREAMING TABLE t; CREATE FLOW f AS INSERT INTO t BY NAME SELECT DISTINCT * FROM STREAM read_events('flights'); CREATE FLOW g AS INSERT INTO t BY NAME SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "reserved names",
        "CREATE MATERIALIZED VIEW m__late AS SELECT 1 AS x; CREATE MATERIALIZED VIEW n (_metadata INT) AS SELECT 1 AS _headwater",
    ),
    ("the name of a log", "CREATE MATERIALIZED VIEW _delta_log AS SELECT 1 AS x"),
    ("strange names", "CREATE MATERIALIZED VIEW `a/b` AS SELECT 1 AS x"),
    (
        "columns",
        "CREATE STREAMING TABLE t (a INT, A INT) PARTITIONED BY (b) CLUSTER BY (a) AS SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "clustered twice",
        "CREATE STREAMING TABLE t CLUSTER BY (a) TBLPROPERTIES ('pipelines.autoOptimize.zOrderCols' = 'b') AS SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "clustered by a partition column",
        "CREATE STREAMING TABLE t PARTITIONED BY (a) TBLPROPERTIES ('pipelines.autoOptimize.zOrderCols' = 'b, A') AS SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "clustered by nothing",
        "CREATE STREAMING TABLE t TBLPROPERTIES ('pipelines.autoOptimize.zOrderCols' = 'a,,b,c,d,e') AS SELECT * FROM STREAM read_events('flights')",
    ),
    (
        "all partition columns",
        "CREATE STREAMING TABLE t (a INT) PARTITIONED BY (a) AS SELECT * FROM STREAM read_events('flights')",
    ),
    ("another catalog", "CREATE MATERIALIZED VIEW m AS SELECT * FROM other.ops.t"),
    (
        "unmapped path",
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('/Volumes/other/raw/x', format => 'json')",
    ),
    (
        "side table of a view",
        "CREATE VIEW v AS SELECT 1 AS x; CREATE MATERIALIZED VIEW m AS SELECT * FROM v__quarantine",
    ),
    ("name of a relation", "CREATE MATERIALIZED VIEW m AS WITH __r0 AS (SELECT 1 AS x) SELECT * FROM __r0"),
    ("setting", "SET pipelines.trigger.interval = '1 minute'; CREATE MATERIALIZED VIEW m AS SELECT * FROM nowhere"),
];

#[test]
fn wrong_projects_say_everything_that_is_wrong() {
    let mut golden = String::new();
    for (title, sql) in WRONG {
        let built = build_with("", &[("a.sql", sql)]);
        assert!(built.pipeline.is_none(), "{title} was taken for a pipeline");
        let findings: Vec<_> =
            built.diagnostics.into_iter().filter(|finding| finding.code != "UNUSED_SOURCE").collect();
        writeln!(golden, "== {title}\n{}", render(&findings)).unwrap();
    }
    insta::assert_snapshot!(golden);
}

#[test]
fn findings_of_all_files_come_at_once_and_in_order() {
    let built = build_with(
        "tables: {quality: raw}\n",
        &[
            ("b.sql", "CREATE MATERIALIZED VIEW x AS SELECT * FROM nowhere; CREATE STREAMING TABLE y;"),
            ("a.sql", "CREATE STREAMING TABLE z AS SELECT * FROM x; CREAT TABLE w; CREATE VIEW u AS SELECT * FROM w;"),
        ],
    );
    insta::assert_snapshot!(render(&built.diagnostics));
}

#[test]
fn a_source_that_nobody_reads_is_a_warning() {
    let built = build_with("", &[("a.sql", "CREATE MATERIALIZED VIEW m AS SELECT 1 AS x")]);
    assert!(built.pipeline.is_some());
    insta::assert_snapshot!(render(&built.diagnostics));
}

#[test]
fn views_that_double_at_each_step_are_refused() {
    let mut sql = "CREATE VIEW v0 AS SELECT 1 AS x;\n".to_owned();
    for at in 1..40 {
        writeln!(sql, "CREATE VIEW v{at} AS SELECT a.x FROM v{0} AS a JOIN v{0} AS b ON a.x = b.x;", at - 1).unwrap();
    }
    let built = build_with("", &[("a.sql", &sql)]);
    assert!(built.diagnostics.iter().any(|finding| finding.code == "VIEWS_TOO_LARGE"));
}

proptest! {
    #[test]
    fn no_sql_makes_the_check_panic(
        picks in prop::collection::vec((0..WRONG.len(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6)
    ) {
        let mut sql = String::new();
        for (at, from, to) in picks {
            let words: Vec<&str> = WRONG[at].1.split(' ').collect();
            let (from, to) = (from.index(words.len()), to.index(words.len()));
            let kept = words.iter().enumerate().filter(|(place, _)| *place <= from.min(to) || *place >= from.max(to));
            let kept: Vec<&str> = kept.map(|(_, word)| *word).collect();
            writeln!(sql, "{};", kept.join(" ")).unwrap();
        }
        for finding in build_with("", &[("a.sql", &sql)]).diagnostics {
            if let Some(span) = &finding.span {
                prop_assert!(span.file.text.get(span.range.clone()).is_some(), "{finding:?}");
            }
        }
    }
}
