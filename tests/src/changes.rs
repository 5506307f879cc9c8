//! A definition that the table in the lake can't follow is refused, and what is said to help does help.

use std::collections::BTreeSet;

use headwater_core::diagnostic::Diagnostic;
use headwater_core::name::DatasetName;
use headwater_lake::lake::Lake;

use crate::lakes::{Lab, update, values};

const BRONZE: &str = "CREATE STREAMING TABLE b AS SELECT id, n FROM STREAM read_files('in', format => 'json', schema => 'id STRING, n INT');\n";

async fn landed(rest: &str) -> Lab {
    let lab = Lab::new();
    lab.arrive("a.ndjson", "{\"id\":\"x\",\"n\":1}\n{\"id\":\"y\",\"n\":2}\n");
    Box::pin(update(&lab.lake(&format!("{BRONZE}{rest}")))).await;
    lab
}

fn told(found: &[Diagnostic]) -> String {
    let line =
        |found: &Diagnostic| format!("[{}] {} / {}", found.code, found.message, found.help.as_deref().unwrap_or(""));
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The one finding, and that a full refresh of these tables is all that it takes.
async fn refused_until_rebuilt(lake: &Lake, names: &[&str]) -> String {
    let found = Box::pin(lake.check(&BTreeSet::new())).await;
    assert!(found.iter().any(Diagnostic::is_error), "{found:#?}");
    let anew: BTreeSet<DatasetName> = names.iter().map(|name| DatasetName::new(name)).collect();
    assert_eq!(told(&Box::pin(lake.check(&anew)).await), "");
    for name in &anew {
        Box::pin(lake.full_refresh(name)).await.unwrap();
    }
    Box::pin(update(lake)).await;
    assert_eq!(told(&Box::pin(lake.check(&BTreeSet::new())).await), "");
    told(&found)
}

#[tokio::test]
async fn another_kind_or_layer_is_refused_until_the_table_is_rebuilt() {
    let lab = landed(
        "CREATE STREAMING TABLE t AS SELECT id, n FROM STREAM b;
                      CREATE STREAMING TABLE u AS SELECT id FROM STREAM t;
                      CREATE MATERIALIZED VIEW g AS SELECT count(*) AS n FROM u;",
    )
    .await;
    let lake = lab.lake(&format!(
        "{BRONZE}CREATE MATERIALIZED VIEW t AS SELECT id, n FROM b;
                                  CREATE MATERIALIZED VIEW u AS SELECT id FROM t;
                                  CREATE MATERIALIZED VIEW g AS SELECT count(*) AS n FROM u;"
    ));
    insta::assert_snapshot!("kind", Box::pin(refused_until_rebuilt(&lake, &["t", "u"])).await);
    assert_eq!(values(&lake, "u", "id").await, ["x", "y"]);
    assert_eq!(values(&lake, "g", "n").await, ["2"]);
    let lake = lab.lake("CREATE STREAMING TABLE b2 AS SELECT id, n FROM STREAM read_files('in', format => 'json', schema => 'id STRING, n INT');
                         CREATE STREAMING TABLE b AS SELECT id, n FROM STREAM b2;");
    insta::assert_snapshot!("layer", Box::pin(refused_until_rebuilt(&lake, &["b"])).await);
    assert_eq!(values(&lake, "b", "id").await, ["x", "y"]);
}

#[tokio::test]
async fn other_partition_columns_are_refused_until_the_table_is_rebuilt() {
    let of = |layout: &str| {
        format!(
            "CREATE STREAMING TABLE t {layout} AS SELECT id, n FROM STREAM b;
                 CREATE MATERIALIZED VIEW g {layout} AS SELECT id, n FROM t;"
        )
    };
    let lab = landed(&of("")).await;
    let lake = lab.lake(&format!("{BRONZE}{}", of("PARTITIONED BY (id)")));
    insta::assert_snapshot!("partitions", Box::pin(refused_until_rebuilt(&lake, &["t", "g"])).await);
    for name in ["t", "g"] {
        let table = lake.table(&DatasetName::new(name)).await.unwrap().unwrap();
        assert_eq!(table.partitioned_by(), ["id"]);
        assert!(table.files().await.unwrap().iter().all(|file| file.path().starts_with("id=")));
        assert_eq!(values(&lake, name, "n").await, ["1", "2"]);
    }
}

#[tokio::test]
async fn a_source_that_was_made_anew_is_not_taken_for_read() {
    let sql = "CREATE STREAMING TABLE t AS SELECT id, n FROM STREAM b;";
    let lab = landed(sql).await;
    let source = lab.folder.path().join("in/b.ndjson");
    std::fs::write(source, "{\"id\":\"z\",\"n\":3}\n").unwrap();
    let lake = lab.lake(&format!("{BRONZE}{sql}"));
    Box::pin(update(&lake)).await;
    lab.forget("bronze/b").await;
    Box::pin(headwater_bronze_files::handle(
        &lab.lake(BRONZE),
        headwater_core::trigger::Trigger::new(headwater_core::trigger::Cause::Timer(Vec::new())),
    ))
    .await;
    let lake = lab.lake(&format!("{BRONZE}{sql}"));
    insta::assert_snapshot!("source", Box::pin(refused_until_rebuilt(&lake, &["t"])).await);
    assert_eq!(values(&lake, "t", "id").await, ["x", "y", "z"]);
}
