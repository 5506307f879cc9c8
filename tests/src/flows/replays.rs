//! A batch that is run again when what it is judged by is no longer the same: nothing may be lost.

use std::collections::BTreeSet;

use headwater_core::name::DatasetName;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::fault_store::Fault;

use crate::lakes::{Lab, tick, until_death, update, values};

const NUMBERS: &str = "CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_files('in/numbers', format => 'json', schema => 'n INT, k STRING, at TIMESTAMP');";

/// More operations than any update here has.
const MANY: u64 = 40;

/// Values of a column in a table and its side tables.
async fn everywhere(lab: &Lab, sql: &str, table: &str, column: &str) -> Vec<String> {
    let lake = lab.lake(sql);
    let name = DatasetName::new(table);
    let mut all = Vec::new();
    for name in [name.clone(), name.quarantine(), name.late()] {
        all.extend(values(&lake, &name.to_string(), column).await);
    }
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_when_a_rule_changes_between_death_and_replay() {
    let sql = |least: u32| {
        format!(
            "{NUMBERS} CREATE STREAMING TABLE checked (CONSTRAINT enough EXPECT (n > {least}) ON VIOLATION DROP ROW)
             AS SELECT n FROM STREAM numbers"
        )
    };
    for operation in 0..MANY {
        let lab = Lab::new();
        lab.arrive("numbers/a.json", "{\"n\": 1}\n{\"n\": 4}\n{\"n\": 7}\n");
        tick(&lab.lake(&sql(2)), FunctionKind::BronzeFiles).await;
        let (lake, faults) = lab.faulty_lake(&sql(2));
        faults.crash_after(operation);
        until_death(&faults, tick(&lake, FunctionKind::Silver)).await;
        update(&lab.lake(&sql(5))).await;
        assert_eq!(everywhere(&lab, &sql(5), "checked", "n").await, ["1", "4", "7"], "operation {operation}");
        if !faults.has_crashed() {
            return;
        }
    }
    panic!("more than {MANY} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_lost_when_a_joined_table_changes_between_death_and_replay() {
    let sql = format!(
        "{NUMBERS}
         CREATE STREAMING TABLE kinds AS SELECT * FROM STREAM read_files('in/kinds', format => 'json', schema => 'k STRING, most INT');
         CREATE STREAMING TABLE checked (CONSTRAINT bounded EXPECT (n <= most) ON VIOLATION DROP ROW)
         AS SELECT s.n, k.most FROM STREAM(numbers) s LEFT JOIN (SELECT k, min(most) AS most FROM kinds GROUP BY k) k ON s.k = k.k"
    );
    for operation in 0..MANY {
        let lab = Lab::new();
        lab.arrive("numbers/a.json", "{\"n\": 1, \"k\": \"a\"}\n{\"n\": 4, \"k\": \"a\"}\n{\"n\": 7, \"k\": \"b\"}\n");
        lab.arrive("kinds/a.json", "{\"k\": \"a\", \"most\": 5}\n");
        tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await;
        let (lake, faults) = lab.faulty_lake(&sql);
        faults.crash_after(operation);
        until_death(&faults, tick(&lake, FunctionKind::Silver)).await;
        lab.arrive("kinds/b.json", "{\"k\": \"a\", \"most\": 2}\n{\"k\": \"c\", \"most\": 9}\n");
        update(&lab.lake(&sql)).await;
        assert_eq!(everywhere(&lab, &sql, "checked", "n").await, ["1", "4", "7"], "operation {operation}");
        if !faults.has_crashed() {
            return;
        }
    }
    panic!("more than {MANY} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_is_lost_when_a_file_is_written_over_between_death_and_replay() {
    for operation in 0..MANY {
        let lab = Lab::new();
        lab.arrive("numbers/a.json", "{\"n\": 1}\nbad\n");
        let (lake, faults) = lab.faulty_lake(NUMBERS);
        faults.crash_after(operation);
        until_death(&faults, tick(&lake, FunctionKind::BronzeFiles)).await;
        lab.arrive("numbers/a.json", "{\"n\": 2}\nbad\nworse\n");
        update(&lab.lake(NUMBERS)).await;
        if !faults.has_crashed() {
            return;
        }
        let lake = lab.lake(NUMBERS);
        let landed = values(&lake, "numbers", "n").await;
        let aside = values(&lake, "numbers__quarantine", "_headwater.raw").await.len();
        let whole = landed == ["1"] && aside == 1 || landed == ["2"] && aside >= 2;
        assert!(whole, "operation {operation}: {landed:?}, {aside} aside");
    }
    panic!("more than {MANY} operations");
}

/// One run is late with its commit of less; another dies after it has put more aside, judged by the older watermark.
#[tokio::test(flavor = "multi_thread")]
async fn no_late_row_is_lost_when_the_watermark_moves_between_death_and_replay() {
    let sql = format!(
        "{NUMBERS} CREATE STREAMING TABLE timely AS SELECT n, k FROM STREAM numbers WATERMARK at DELAY OF INTERVAL 1 HOUR"
    );
    let mut seen = BTreeSet::new();
    for late in 0..2 {
        for operation in 0..MANY {
            let lab = Lab::new();
            lab.arrive("numbers/a.json", "{\"n\": 1, \"at\": \"2024-01-01T10:00:00Z\"}\n");
            update(&lab.lake(&sql)).await;
            lab.arrive("numbers/b.json", "{\"n\": 2, \"at\": \"2024-01-01T15:00:00Z\"}\n");
            tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await;
            let (first, slow) = lab.faulty_lake(&sql);
            slow.fail_after(late, Fault::Late);
            slow.crash_after(late + 1);
            until_death(&slow, tick(&first, FunctionKind::Silver)).await;
            lab.arrive(
                "numbers/c.json",
                "{\"n\": 3, \"at\": \"2024-01-01T08:00:00Z\"}\n{\"n\": 4, \"at\": \"2024-01-01T12:00:00Z\"}\n",
            );
            tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await;
            let (second, faults) = lab.faulty_lake(&sql);
            faults.crash_after(operation);
            until_death(&faults, tick(&second, FunctionKind::Silver)).await;
            slow.land_late().await;
            update(&lab.lake(&sql)).await;
            let found = everywhere(&lab, &sql, "timely", "n").await;
            assert_eq!(found, ["1", "2", "3", "4"], "late {late}, operation {operation}");
            seen.insert(values(&lab.lake(&sql), "timely__late", "n").await);
            if !faults.has_crashed() {
                break;
            }
        }
    }
    assert!(seen.len() > 1, "the slow commit never won: {seen:?}");
}
