//! Type errors are found before anything runs: all at once, each at its place, and no false ones.

use std::collections::BTreeSet;

use futures::StreamExt;
use headwater_core::diagnostic::{Diagnostic, Severity};
use headwater_core::name::DatasetName;
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use object_store::ObjectStore;

use crate::lakes::{Lab, deliver, message, tick, try_update, update, well};

async fn check(lake: &Lake) -> Vec<Diagnostic> {
    lake.check(&BTreeSet::new()).await
}

/// `severity[CODE] <what is underlined> message / help`, one a line.
fn told(found: &[Diagnostic]) -> String {
    let line = |finding: &Diagnostic| {
        let under = finding.span.as_ref().map_or("", |span| &span.file.text[span.range.clone()]);
        let (severity, code, help) = (finding.severity, finding.code, finding.help.as_deref().unwrap_or(""));
        format!("{severity}[{code}] <{under}> {}\n    {help}", finding.message)
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

const EVENTS: &str = "CREATE STREAMING TABLE bronze AS SELECT * FROM STREAM read_events('events', format => 'json', \
                      schema => 'id STRING, n INT, at TIMESTAMP, tags ARRAY<STRING>');\n";

async fn found_in(sql: &str) -> String {
    let lab = Lab::new();
    told(&check(&lab.lake(&format!("{EVENTS}{sql}"))).await)
}

#[tokio::test]
async fn all_unknown_names_of_all_queries_come_at_once_with_what_was_meant() {
    let sql = "
CREATE STREAMING TABLE silver (CONSTRAINT sound EXPECT (m > 0) ON VIOLATION DROP ROW)
  AS SELECT b.idd, uper(id) AS u, n FROM STREAM bronze b WHERE nn > 1;
CREATE STREAMING TABLE joined AS SELECT b.id FROM STREAM bronze b JOIN other o ON b.id = o.key;
CREATE MATERIALIZED VIEW other AS SELECT id AS name, count(*) AS n FROM bronze GROUP BY id;
CREATE MATERIALIZED VIEW gold AS SELECT u FROM silver;";
    insta::assert_snapshot!(found_in(sql).await);
}

#[tokio::test]
async fn wrong_types_are_told_in_the_words_of_sql() {
    let sql = "
CREATE STREAMING TABLE arguments AS SELECT abs(tags) AS a FROM STREAM bronze;
CREATE MATERIALIZED VIEW widths AS SELECT id, n FROM bronze UNION ALL SELECT id FROM bronze;
CREATE MATERIALIZED VIEW twice AS SELECT id, n AS id FROM bronze;
CREATE STREAMING TABLE declared (id STRING, n ARRAY<INT>, more INT) AS SELECT id, n, at, id AS more FROM STREAM bronze;
CREATE MATERIALIZED VIEW condition (CONSTRAINT yes EXPECT (n + 1)) AS SELECT n FROM bronze;
CREATE MATERIALIZED VIEW ambiguous AS SELECT n FROM bronze a JOIN bronze b ON a.id = b.id;";
    insta::assert_snapshot!(found_in(sql).await);
}

#[tokio::test]
async fn columns_of_the_layout_are_looked_up() {
    let sql = "
CREATE STREAMING TABLE laid PARTITIONED BY (da) TBLPROPERTIES ('headwater.dedup.keys' = 'id, nope')
  AS SELECT id, n, CAST(at AS DATE) AS day FROM STREAM bronze;
CREATE STREAMING TABLE timed AS SELECT id FROM STREAM bronze WATERMARK att DELAY OF INTERVAL 1 HOUR;";
    insta::assert_snapshot!(found_in(sql).await);
}

#[tokio::test]
async fn columns_of_changes_are_looked_up_in_every_clause() {
    let clauses = [
        "KEYS (idd) SEQUENCE BY at",
        "KEYS (id) SEQUENCE BY aat",
        "KEYS (id) APPLY AS DELETE WHEN m > 0 SEQUENCE BY at",
        "KEYS (id) SEQUENCE BY at COLUMNS (id, nn)",
        "KEYS (id) SEQUENCE BY at COLUMNS * EXCEPT (tagss)",
        "KEYS (id) IGNORE NULL UPDATES ON (nn) SEQUENCE BY at",
        "KEYS (id) SEQUENCE BY at STORED AS SCD TYPE 2 TRACK HISTORY ON (nn)",
    ];
    let flow = |(number, clauses): (usize, &&str)| {
        format!(
            "CREATE STREAMING TABLE t{number};\nCREATE FLOW f{number} AS AUTO CDC INTO t{number} FROM STREAM bronze {clauses};\n"
        )
    };
    insta::assert_snapshot!(found_in(&clauses.iter().enumerate().map(flow).collect::<String>()).await);
}

#[tokio::test]
async fn flows_into_one_table_must_agree() {
    let sql = "
CREATE STREAMING TABLE all_of_it;
CREATE FLOW first AS INSERT INTO all_of_it BY NAME SELECT id, n FROM STREAM bronze;
CREATE FLOW second AS INSERT INTO all_of_it BY NAME SELECT id, tags AS n FROM STREAM bronze;";
    insta::assert_snapshot!(found_in(sql).await);
}

#[tokio::test]
async fn a_view_s_fault_is_told_once_and_at_the_view() {
    let sql = "
CREATE TEMPORARY VIEW v AS SELECT idd AS id FROM bronze;
CREATE TEMPORARY VIEW w AS SELECT id FROM v;
CREATE MATERIALIZED VIEW one AS SELECT id FROM w;
CREATE MATERIALIZED VIEW two AS SELECT nope FROM v;
CREATE TEMPORARY VIEW ruled (CONSTRAINT r EXPECT (nope > 0) ON VIOLATION DROP ROW) AS SELECT n FROM bronze;
CREATE MATERIALIZED VIEW three AS SELECT n FROM ruled;";
    insta::assert_snapshot!(found_in(sql).await);
}

#[tokio::test]
async fn what_cannot_be_known_is_a_note_and_makes_no_errors() {
    let lab = Lab::new();
    let lake = lab.lake(
        "CREATE STREAMING TABLE a AS SELECT *, whatever FROM STREAM read_events('events', format => 'json');
         CREATE STREAMING TABLE b AS SELECT x FROM STREAM read_files('in', format => 'json');
         CREATE STREAMING TABLE c AS SELECT x FROM STREAM read_files('nowhere', format => 'json');
         CREATE MATERIALIZED VIEW d AS SELECT anything FROM a;
         CREATE STREAMING TABLE e (x INT) AS SELECT x FROM STREAM b;
         CREATE MATERIALIZED VIEW f AS SELECT x, y FROM e;",
    );
    let found = check(&lake).await;
    let folder = lab.folder.path().display().to_string();
    insta::assert_snapshot!(told(&found).replace(&folder, "<project>"));
    let errors: Vec<_> = found.iter().filter(|finding| finding.is_error()).collect();
    assert_eq!(errors.len(), 1, "only `y` of the declared table is known not to be there: {errors:#?}");
}

#[tokio::test]
async fn nothing_is_written_and_what_is_found_is_what_fails() {
    let lab = Lab::new();
    lab.arrive("a.ndjson", "{\"id\":\"a\",\"n\":1}\n");
    let sql = "CREATE STREAMING TABLE t AS SELECT id, n FROM STREAM read_files('in', format => 'json');
               CREATE STREAMING TABLE s AS SELECT id, m FROM STREAM t;";
    let found = check(&lab.lake(sql)).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(lab.store.list(None).next().await.is_none(), "the check wrote something");
    let report = try_update(&lab.lake(sql)).await;
    assert!(format!("{report:?}").contains("No field named m"), "{report:#?}");
}

#[tokio::test]
async fn a_lake_s_tables_and_new_files_count() {
    let lab = Lab::new();
    let columns = |columns: &str| {
        format!(
            "CREATE STREAMING TABLE t AS SELECT {columns} FROM STREAM read_files('in', format => 'json');
             CREATE MATERIALIZED VIEW g AS SELECT id, n FROM t;"
        )
    };
    lab.arrive("a.ndjson", "{\"id\":\"a\",\"n\":1}\n");
    update(&lab.lake(&columns("id, n"))).await;
    let found = check(&lab.lake(&columns("id"))).await;
    assert!(found.is_empty(), "the table keeps its column: {found:#?}");
    let found = check(&lab.lake(&columns("id, n, later"))).await;
    assert_eq!(found[0].severity, Severity::Warning, "no file waits, so the next may have it: {found:#?}");
    lab.arrive("b.ndjson", "{\"id\":\"b\",\"later\":1}\n");
    let found = check(&lab.lake(&columns("id, n, later"))).await;
    assert!(found.is_empty(), "{found:#?}");
    let found = check(&lab.lake(&columns("id, n, nope"))).await;
    assert_eq!(found[0].severity, Severity::Error, "the file that waits lacks it: {found:#?}");
}

#[tokio::test]
async fn a_change_of_type_within_a_struct_is_refused_whatever_is_new_beside_it() {
    let lab = Lab::new();
    well(deliver(&lab.lake(EVENTS), vec![message("1", "{\"id\":\"a\",\"n\":1}", 1)]).await);
    let silver = |of: &str| {
        lab.lake(&format!("{EVENTS}CREATE STREAMING TABLE s AS SELECT named_struct({of}) AS s FROM STREAM bronze;"))
    };
    well(tick(&silver("'a', n"), FunctionKind::Silver).await);
    assert_eq!(check(&silver("'a', n, 'b', id")).await, []);
    assert!(!check(&silver("'a', id, 'b', id")).await.is_empty());
}

#[tokio::test]
async fn a_change_of_type_is_refused_until_the_table_is_emptied() {
    let lab = Lab::new();
    let lake = lab.lake(EVENTS);
    well(deliver(&lake, vec![message("1", "{\"id\":\"a\",\"n\":1}", 1)]).await);
    let silver = |n: &str| format!("{EVENTS}CREATE STREAMING TABLE s AS SELECT id, {n} AS n FROM STREAM bronze;");
    well(tick(&lab.lake(&silver("n")), FunctionKind::Silver).await);
    let changed = lab.lake(&silver("CAST(n AS STRING)"));
    insta::assert_snapshot!(told(&check(&changed).await));
    let anew = BTreeSet::from([DatasetName::new("s")]);
    assert_eq!(changed.check(&anew).await, []);
    for name in &anew {
        changed.full_refresh(name).await.unwrap();
    }
    well(tick(&changed, FunctionKind::Silver).await);
    assert_eq!(check(&changed).await, []);
}
