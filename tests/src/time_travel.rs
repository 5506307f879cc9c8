//! Tables as they were: by version, by time, and as far as their logs go back.

use std::time::Duration;

use chrono::Utc;
use headwater_core::as_of::AsOf;
use headwater_core::name::DatasetName;
use headwater_runtime::local::FunctionKind;
use object_store::ObjectStoreExt;

use crate::lakes::{Lab, tick, update, values};

const NUMBERS: &str =
    "CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n INT')";

/// The numbers that a query of the table gives, or why it gives none.
async fn asked(lab: &Lab, query: &str, as_of: Option<AsOf>) -> Result<i64, String> {
    let lake = lab.lake(&format!("{NUMBERS}; CREATE MATERIALIZED VIEW q AS {query}"));
    let found = lake.query(&DatasetName::new("q"), None, as_of).await.map_err(|error| error.to_string())?;
    let column = arrow::compute::cast(found.1[0].column(0), &arrow::datatypes::DataType::Int64).unwrap();
    Ok(arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&column).value(0))
}

/// So many commits of one number each.
async fn grown(commits: usize) -> Lab {
    let lab = Lab::new();
    for n in 0..commits {
        lab.arrive(&format!("{n}.json"), format!("{{\"n\": {n}}}\n"));
        update(&lab.lake(NUMBERS)).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    lab
}

const COUNT: &str = "SELECT count(*) FROM numbers";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_reads_the_state_that_it_names() {
    let lab = grown(3).await;
    assert_eq!(asked(&lab, COUNT, None).await, Ok(3));
    assert_eq!(asked(&lab, COUNT, Some(AsOf::Version(0))).await, Ok(1));
    assert_eq!(asked(&lab, "SELECT count(*) FROM numbers VERSION AS OF 1", None).await, Ok(2));
    let both = "SELECT count(*) FROM numbers VERSION AS OF 0 AS old JOIN numbers AS new ON true";
    assert_eq!(asked(&lab, both, None).await, Ok(3));
    assert_eq!(asked(&lab, both, Some(AsOf::Version(1))).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_means_the_last_commit_before_it() {
    let lab = grown(3).await;
    let table = lab.lake(NUMBERS).table(&DatasetName::new("numbers")).await.unwrap().unwrap();
    let history = table.history(10).await.unwrap();
    for (version, entry) in history.iter().rev().enumerate() {
        let time = entry.timestamp.unwrap();
        assert_eq!(asked(&lab, COUNT, Some(AsOf::Time(time))).await, Ok(version as i64 + 1));
        let query = format!("SELECT count(*) FROM numbers TIMESTAMP AS OF '{}'", time.to_rfc3339());
        assert_eq!(asked(&lab, &query, None).await, Ok(version as i64 + 1));
    }
    assert_eq!(asked(&lab, COUNT, Some(AsOf::Time(Utc::now()))).await, Ok(3));
    let before = history[2].timestamp.unwrap() - chrono::Duration::milliseconds(1);
    let error = asked(&lab, COUNT, Some(AsOf::Time(before))).await.unwrap_err();
    assert!(error.contains("wasn't there yet"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_not_there_is_named_with_those_that_are() {
    let lab = grown(22).await;
    tick(&lab.lake(NUMBERS), FunctionKind::Compact).await;
    let error = asked(&lab, COUNT, Some(AsOf::Version(99))).await.unwrap_err();
    assert!(error.contains("has no version 99 yet") && error.contains("give a version from 0 to"), "{error}");
    for version in 0..10 {
        let entry = format!("bronze/numbers/_delta_log/{version:020}.json");
        lab.store.delete(&entry.into()).await.unwrap();
    }
    assert_eq!(asked(&lab, COUNT, None).await, Ok(22));
    let error = asked(&lab, COUNT, Some(AsOf::Version(3))).await.unwrap_err();
    assert!(error.contains("version 3") && error.contains("its log was cleaned up to version 2"), "{error}");
    let long_ago = AsOf::time("2020-01-01").unwrap();
    let error = asked(&lab, COUNT, Some(long_ago)).await.unwrap_err();
    assert!(error.contains("2020-01-01") && error.contains("cleaned up"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_of_one_table() {
    let lab = grown(1).await;
    let lake = lab.lake(&format!(
        "{NUMBERS}; CREATE STREAMING TABLE more AS SELECT n FROM STREAM numbers;
        CREATE MATERIALIZED VIEW q AS SELECT count(*) FROM numbers, more"
    ));
    tick(&lake, FunctionKind::Silver).await;
    let error = lake.query(&DatasetName::new("q"), None, Some(AsOf::Version(0))).await.unwrap_err().to_string();
    assert!(error.contains("numbers, more"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_a_state_is_computed_anew_when_it_names_another() {
    let lab = grown(2).await;
    let sql = |version| {
        format!("{NUMBERS}; CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c FROM numbers VERSION AS OF {version}")
    };
    update(&lab.lake(&sql(0))).await;
    assert_eq!(values(&lab.lake(&sql(0)), "v", "c").await, ["1"]);
    let report = tick(&lab.lake(&sql(0)), FunctionKind::Gold).await;
    assert_eq!(crate::lakes::commits(&report), 0);
    update(&lab.lake(&sql(1))).await;
    assert_eq!(values(&lab.lake(&sql(1)), "v", "c").await, ["2"]);
}
