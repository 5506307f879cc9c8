//! AUTO CDC from a source whose records change their shape.

use std::collections::BTreeSet;

use headwater_core::name::DatasetName;

use crate::lakes::{Lab, rows, rush, try_update, update, values};

const RAW: &str =
    "CREATE STREAMING TABLE raw AS SELECT * EXCEPT (_metadata) FROM STREAM read_files('in', format => 'json');";

fn kept_by(clauses: &str) -> String {
    format!(
        "{RAW} CREATE STREAMING TABLE t; CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id)
         SEQUENCE BY seq COLUMNS * EXCEPT (seq) {clauses}"
    )
}

/// What `t` holds after these files, one update each.
async fn kept(sql: &str, files: &[&str]) -> (Vec<String>, Lab) {
    let lab = Lab::new();
    for (at, file) in files.iter().enumerate() {
        lab.arrive(&format!("{at}.json"), file);
        update(&lab.lake(sql)).await;
    }
    (rows(&lab.lake(sql), &DatasetName::new("t")).await, lab)
}

const PLAIN: &str =
    "{\"id\": 1, \"seq\": 1, \"name\": \"a\", \"at\": {\"x\": 1}}\n{\"id\": 2, \"seq\": 1, \"name\": \"b\"}\n";
const GROWN: &str = "{\"id\": 1, \"seq\": 5, \"name\": \"c\", \"city\": \"Oslo\", \"at\": {\"x\": 2, \"y\": 3}}\n";
const LATE: &str = "{\"id\": 1, \"seq\": 3, \"name\": \"late\", \"zip\": \"0150\"}\n";

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_turn_up_are_added_and_old_rows_lack_them() {
    let latest = ["at.x=2 | at.y=3 | id=1 | name=c | city=Oslo", "id=2 | name=b"];
    assert_eq!(kept(&kept_by(""), &[PLAIN, GROWN, LATE]).await.0, latest);
    let ignoring = ["at.x=2 | at.y=3 | id=1 | name=c | city=Oslo | zip=0150", "id=2 | name=b"];
    assert_eq!(kept(&kept_by("IGNORE NULL UPDATES"), &[PLAIN, GROWN, LATE]).await.0, ignoring);
    let history = kept(&kept_by("STORED AS SCD TYPE 2"), &[PLAIN, GROWN, LATE]).await.0;
    let states = [
        "at.x=1 | id=1 | name=a | __START_AT=1 | __END_AT=3",
        "at.x=2 | at.y=3 | id=1 | name=c | __START_AT=5 | city=Oslo",
        "id=1 | name=late | __START_AT=3 | __END_AT=5 | zip=0150",
        "id=2 | name=b | __START_AT=1",
    ];
    assert_eq!(history, states);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_field_is_one_that_went_and_one_that_came() {
    let renamed = "{\"id\": 1, \"seq\": 2, \"label\": \"z\"}\n";
    assert_eq!(kept(&kept_by(""), &[PLAIN, renamed]).await.0, ["id=1 | label=z", "id=2 | name=b"]);
    let ignoring = kept(&kept_by("IGNORE NULL UPDATES"), &[PLAIN, renamed]).await.0;
    assert_eq!(ignoring, ["at.x=1 | id=1 | name=a | label=z", "id=2 | name=b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_another_type_are_put_aside_and_the_rest_goes_on() {
    let retyped = [
        r#"{"id": 1, "seq": 2, "name": "b", "at": 7}"#,
        r#"{"id": "x", "seq": 3, "name": "c"}"#,
        r#"{"id": 3, "seq": 3, "name": 7}"#,
        r#"{"seq": 4, "name": "nobody"}"#,
    ];
    let (found, lab) = kept(&kept_by(""), &[PLAIN, &retyped.join("\n")]).await;
    assert_eq!(found, ["at.x=1 | id=1 | name=a", "id=2 | name=b", "id=3 | name=7"]);
    let aside = async |table: &str| values(&lab.lake(&kept_by("")), table, "_headwater.reasons").await;
    let of_raw = aside("raw__quarantine").await.join(" ");
    assert!(of_raw.contains("field 'at'") && of_raw.contains("\"x\" as Int64"), "{of_raw}");
    assert_eq!(aside("t__quarantine").await, ["[key `id` is NULL]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_declares_its_columns_is_kept_by_a_source_that_grows() {
    let declaring = |columns: &str| kept_by("").replace("TABLE t;", &format!("TABLE t ({columns});"));
    let sql = declaring("id BIGINT, name INT, zip STRING");
    let numbers = "{\"id\": 1, \"seq\": 1, \"name\": \"1\"}\n{\"id\": 2, \"seq\": 1, \"name\": \"two\"}\n";
    let (found, lab) = kept(&sql, &[numbers, &GROWN.replace("\"c\"", "\"5\""), &LATE.replace("late", "3")]).await;
    assert_eq!(found, ["id=1 | name=5"]);
    let aside = values(&lab.lake(&sql), "t__quarantine", "_headwater.reasons").await.join(" ");
    assert!(aside.contains("`name` doesn't fit Int32"), "{aside}");
    let notes: Vec<String> = lab.lake(&sql).check(&BTreeSet::new()).await.iter().map(ToString::to_string).collect();
    assert!(
        notes.iter().any(|note| note.contains("note[UNDECLARED_COLUMN]: `t` doesn't declare `at`, `city`")),
        "{notes:?}"
    );

    let listing = declaring("id BIGINT, name STRING").replace("* EXCEPT (seq)", "(id, name, city)");
    let found: Vec<String> = lab.lake(&listing).check(&BTreeSet::new()).await.iter().map(ToString::to_string).collect();
    let refused = "error[UNDECLARED_COLUMN]: the query of `t` gives column `city`";
    assert!(found.iter().any(|finding| finding.contains(refused)), "what is listed is meant: {found:?}");
}

/// Types widen only where it is asked for, since few readers follow.
#[tokio::test(flavor = "multi_thread")]
async fn a_wider_type_is_refused_until_the_table_is_rebuilt_and_a_narrower_one_fits() {
    let sql = |data_type: &str| {
        let view =
            format!("CREATE TEMPORARY VIEW v AS SELECT id, seq, try_cast(name AS {data_type}) AS n FROM STREAM raw;");
        kept_by("").replace("CREATE FLOW", &format!("{view} CREATE FLOW")).replace("STREAM raw KEYS", "STREAM v KEYS")
    };
    let row = |id: u32| format!("{{\"id\": {id}, \"seq\": 1, \"name\": \"{id}\"}}\n");
    let lab = Lab::new();
    lab.arrive("0.json", row(1));
    update(&lab.lake(&sql("INT"))).await;
    lab.arrive("1.json", row(2));
    update(&lab.lake(&sql("SMALLINT"))).await;
    lab.arrive("2.json", row(3));
    let wider = lab.lake(&sql("BIGINT"));
    let found: Vec<String> = wider.check(&BTreeSet::new()).await.iter().map(ToString::to_string).collect();
    assert!(found[0].contains("TABLE_CHANGED.COLUMN_TYPE") && found[0].contains("--full-refresh=t"), "{found:?}");
    let report = format!("{:?}", try_update(&wider).await);
    assert!(report.contains("column `n` is INT, but the query now gives BIGINT"), "{report}");
    wider.full_refresh(&DatasetName::new("t")).await.unwrap();
    update(&wider).await;
    assert_eq!(rows(&wider, &DatasetName::new("t")).await, ["id=1 | n=1", "id=2 | n=2", "id=3 | n=3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_while_many_runs_are_under_way() {
    let sql = format!(
        "{} ; CREATE STREAMING TABLE h; CREATE FLOW g AS AUTO CDC INTO h FROM STREAM raw KEYS (id) SEQUENCE BY seq
         COLUMNS * EXCEPT (seq) STORED AS SCD TYPE 2",
        kept_by("IGNORE NULL UPDATES")
    );
    let lab = Lab::new();
    for at in 0..6 {
        let line = |id: u32| format!("{{\"id\": {id}, \"seq\": {at}, \"c{at}\": {id}}}\n");
        lab.arrive(&format!("{at}.json"), (0..3).map(line).collect::<String>());
        rush(&lab, &sql).await;
    }
    let lake = lab.lake(&sql);
    update(&lake).await;
    let all = |id: u32| (0..6).map(|at| format!(" | c{at}={id}")).collect::<String>();
    let expected: Vec<String> = (0..3).map(|id| format!("id={id}{}", all(id))).collect();
    let mut found = rows(&lake, &DatasetName::new("t")).await;
    found.sort_unstable();
    assert_eq!(found.len(), 3);
    for (found, expected) in found.iter().zip(&expected) {
        let sorted = |row: &str| row.split(" | ").map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(sorted(found), sorted(expected));
    }
    assert_eq!(rows(&lake, &DatasetName::new("h")).await.len(), 18);
}
