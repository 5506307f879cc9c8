//! Values that don't fit their declared columns: their rows go to quarantine, and the others don't notice.

use headwater_core::name::DatasetName;
use headwater_lake::flow::Redrive;
use headwater_runtime::local::FunctionKind;

use crate::lakes::{Lab, rows, tick, update, values, well};

const SQL: &str = "
    CREATE STREAMING TABLE numbers AS
      SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n INT, k STRING, many ARRAY<INT>');
    CREATE STREAMING TABLE small (n TINYINT, k STRING, many ARRAY<TINYINT>)
      TBLPROPERTIES ('headwater.dedup.keys' = 'k') AS SELECT * FROM STREAM numbers";

const NUMBERS: &str = concat!(
    "{\"n\": 1, \"k\": \"a\", \"many\": [1, 2]}\n",
    "{\"n\": 300, \"k\": \"b\", \"many\": [3]}\n",
    "{\"n\": 2, \"k\": \"c\", \"many\": [4, 500]}\n",
    "{\"n\": -999, \"k\": \"d\", \"many\": [700]}\n",
    "{\"k\": \"e\"}\n",
);

#[tokio::test]
async fn a_row_with_a_value_that_does_not_fit_is_quarantined_as_it_was() {
    let lab = Lab::new();
    lab.arrive("a.json", NUMBERS);
    let report = update(&lab.lake(SQL)).await;
    let counts = report.flows.iter().find(|flow| flow.target == DatasetName::new("small")).unwrap().rows;
    assert_eq!((counts.read, counts.written, counts.quarantined, counts.dropped), (5, 2, 3, 0));
    let lake = lab.lake(SQL);
    assert_eq!(values(&lake, "small", "k").await, ["a", "e"]);
    let aside = rows(&lake, &DatasetName::new("small__quarantine")).await;
    let told = [
        ("k=b", "`n` doesn't fit Int8", "{\"n\":300,\"k\":\"b\",\"many\":[3]}"),
        ("n=2 | k=c", "`many` doesn't fit List(Int8", "{\"n\":2,\"k\":\"c\",\"many\":[4,500]}"),
        ("k=d", "; `many` doesn't fit", "{\"n\":-999,\"k\":\"d\",\"many\":[700]}"),
    ];
    assert_eq!(aside.len(), told.len());
    for (columns, reason, given) in told {
        let raw: String = given.bytes().map(|byte| format!("{byte:02x}")).collect();
        let is_it = |row: &&String| row.starts_with(columns) && row.contains(reason) && row.contains(&raw);
        assert!(aside.iter().any(|row| is_it(&row)), "{columns}: {aside:#?}");
    }
}

#[tokio::test]
async fn it_stays_there_through_more_batches_and_redrives() {
    let lab = Lab::new();
    for (name, content) in [("a.json", NUMBERS), ("b.json", "{\"n\": 4, \"k\": \"b\"}\n{\"n\": 5, \"k\": \"a\"}\n")] {
        lab.arrive(name, content);
        well(tick(&lab.lake(SQL), FunctionKind::BronzeFiles).await);
        well(tick(&lab.lake(SQL), FunctionKind::Silver).await);
    }
    let lake = lab.lake(SQL);
    assert_eq!(values(&lake, "small", "k").await, ["a", "b", "e"], "a row in quarantine takes no key");
    let redriven = lake.redrive(&DatasetName::new("small"), &Redrive::default()).await.unwrap();
    assert_eq!((redriven.returned, redriven.staying.values().sum::<u64>()), (0, 3), "{redriven:?}");
    assert!(redriven.staying.keys().all(|reason| reason.contains("doesn't fit")), "{redriven:?}");
    assert_eq!(values(&lake, "small", "k").await, ["a", "b", "e"]);
}
