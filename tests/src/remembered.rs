//! Which files are read to find out whether keys came before, and which of their rows count.

use headwater_core::name::DatasetName;
use headwater_core::trigger::Message;
use headwater_lake::table::DataFile;
use object_store::path::Path;
use uuid::Uuid;

use crate::copied::delete_rows;
use crate::filters::{self, data_files, spoil_filters};
use crate::lakes::{Lab, deliver, message, rows, well};

const UNIQUE: &str = "CREATE STREAMING TABLE seen TBLPROPERTIES ('headwater.dedup.keys' = 'id')
    AS SELECT id, n FROM STREAM read_events('events', format => 'json', schema => 'id STRING, n INT');";

const BY_DAY: &str =
    "CREATE STREAMING TABLE seen PARTITIONED BY (day) TBLPROPERTIES ('headwater.dedup.keys' = 'id, day')
    AS SELECT id, day, n FROM STREAM read_events('events', format => 'json', schema => 'id STRING, day INT, n INT');";

const MANY: u64 = 200;

/// Makes the ids of a file unreadable, and their filters: that it isn't read has other reasons.
async fn spoil(lab: &Lab, file: &Path) {
    spoil_filters(lab, file, "id").await;
    filters::spoil(lab, file, "id").await;
}

/// Messages with ids in the order of their numbers.
fn messages(numbers: impl Iterator<Item = u64>, day: u64) -> Vec<Message> {
    let body = |number| format!(r#"{{"id": "{number:08}", "day": {day}, "n": {number}}}"#);
    numbers.map(|number| message(&Uuid::new_v4().to_string(), body(number), 1)).collect()
}

/// Rows written and left out.
async fn land(lab: &Lab, sql: &str, messages: Vec<Message>) -> (u64, u64) {
    let report = well(deliver(&lab.lake(sql), messages).await);
    (report.flows[0].rows.written, report.flows[0].rows.duplicate)
}

async fn files(lab: &Lab, sql: &str) -> Vec<DataFile> {
    let table = lab.lake(sql).table(&DatasetName::new("seen")).await.unwrap().unwrap();
    table.files().await.unwrap()
}

#[tokio::test]
async fn a_file_between_whose_bounds_no_key_lies_is_not_read() {
    let lab = Lab::new();
    for numbers in [0..MANY, 1_000..1_000 + MANY, 2_000..2_000 + MANY] {
        land(&lab, UNIQUE, messages(numbers, 1)).await;
    }
    let between =
        files(&lab, UNIQUE).await.into_iter().find(|file| file.min(&["id"]) == Some("00001000".into())).unwrap();
    spoil(&lab, between.location()).await;
    let late = (MANY / 2..MANY).chain(3_000..3_000 + MANY);
    assert_eq!(land(&lab, UNIQUE, messages(late, 1)).await, (MANY, MANY / 2));
    let in_it = deliver(&lab.lake(UNIQUE), messages(1_000..1_000 + MANY, 1)).await;
    assert!(!in_it.is_success() || !in_it.retry.is_empty(), "keys that may be there have to be read: {in_it:?}");
}

#[tokio::test]
async fn keys_that_came_lately_are_found_without_a_look_into_older_files() {
    let lab = Lab::new();
    land(&lab, UNIQUE, messages((0..MANY).map(|number| 2 * number), 1)).await;
    land(&lab, UNIQUE, messages((0..MANY).map(|number| 2 * number + 1), 1)).await;
    let mut written = files(&lab, UNIQUE).await;
    written.sort_by_key(DataFile::modified);
    let [older, newer] = &written[..] else { panic!("{written:?}") };
    assert!(older.modified() < newer.modified());
    spoil(&lab, older.location()).await;
    assert_eq!(land(&lab, UNIQUE, messages((0..MANY).map(|number| 2 * number + 1), 1)).await, (0, MANY));
}

#[tokio::test]
async fn of_a_partitioned_table_only_the_partitions_of_the_keys_are_read() {
    let lab = Lab::new();
    for day in 1..4 {
        assert_eq!(land(&lab, BY_DAY, messages(0..MANY, day)).await, (MANY, 0));
    }
    for file in data_files(&lab, "bronze/seen").await.iter().filter(|file| !file.as_ref().contains("day=2")) {
        spoil(&lab, file).await;
    }
    assert_eq!(land(&lab, BY_DAY, messages(MANY / 2..2 * MANY, 2)).await, (MANY, MANY / 2));
}

#[tokio::test]
async fn a_key_whose_row_was_deleted_may_come_again() {
    let lab = Lab::new();
    land(&lab, UNIQUE, messages(0..MANY, 1)).await;
    let file = files(&lab, UNIQUE).await.pop().unwrap();
    delete_rows(&lab, &lab.lake(UNIQUE), "seen", &file, &[3, 4]).await;
    assert_eq!(rows(&lab.lake(UNIQUE), &DatasetName::new("seen")).await.len() as u64, MANY - 2);
    assert_eq!(land(&lab, UNIQUE, messages(0..MANY, 1)).await, (2, MANY - 2));
}

#[tokio::test]
async fn a_column_with_a_dot_in_its_name_has_bounds_of_its_own() {
    let lab = Lab::new();
    let sql = "CREATE STREAMING TABLE seen TBLPROPERTIES ('headwater.dedup.keys' = 'a.b')
        AS SELECT a, id AS `a.b` FROM STREAM read_events('events', format => 'json', schema => 'id STRING, a STRUCT<b: STRING>');";
    let dotted = || -> Vec<Message> {
        let body = |number| format!(r#"{{"id": "{number:08}", "a": {{"b": "z"}}}}"#);
        (0..MANY).map(|number| message(&Uuid::new_v4().to_string(), body(number), 1)).collect()
    };
    assert_eq!(land(&lab, sql, dotted()).await, (MANY, 0));
    let file = files(&lab, sql).await.pop().unwrap();
    assert_eq!((file.min(&["a.b"]), file.min(&["a", "b"])), (Some("00000000".into()), Some("z".into())));
    assert_eq!(land(&lab, sql, dotted()).await, (0, MANY));
}

/// A text that no compressor makes much shorter, the same for the same number.
fn noise(number: u64, length: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[(state >> 58) as usize])
    };
    (0..length).map(|_| letter()).collect()
}

#[tokio::test]
async fn keys_are_found_in_every_part_of_a_row_group_that_is_read_in_parts() {
    const ROWS: u64 = 8_000;
    for keys in ["id", "id, n"] {
        let lab = Lab::new();
        let sql = UNIQUE.replace("'id'", &format!("'{keys}'"));
        let noisy = |numbers: Vec<u64>| -> Vec<Message> {
            let body = |number| format!(r#"{{"id": "{}", "n": {}}}"#, noise(number, 2_000), number % 10);
            numbers.into_iter().map(|number| message(&Uuid::new_v4().to_string(), body(number), 1)).collect()
        };
        land(&lab, &sql, noisy((0..ROWS).collect())).await;
        let [file] = &data_files(&lab, "bronze/seen").await[..] else { panic!("one file was written") };
        let stored = filters::stored(&lab, file, "id").await;
        assert!(stored > 10 << 20, "{stored} bytes are read in less than three parts");
        let again: Vec<u64> = (0..ROWS).step_by(3).chain(ROWS..ROWS + 100).collect();
        let known = again.len() as u64 - 100;
        assert_eq!(land(&lab, &sql, noisy(again)).await, (100, known));
    }
}
