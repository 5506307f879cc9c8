//! Poison: records, files, names and notices that are made to do harm. Each is a row, or is kept in quarantine with a reason, or is
//! passed over; what is beside it lands; nothing panics, and nothing lands twice. What becomes of each is in `snapshots`.

mod files;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use headwater_core::name::DatasetName;
use headwater_core::trigger::Cause;
use headwater_runtime::local::FunctionKind;

use crate::lakes::{Lab, commits, deliver, message, rows, tick, wake, well};

/// What it is called, and its bytes.
type Poison = (String, Vec<u8>);

const COLUMNS: &str = "id BIGINT, name STRING, x DOUBLE, at TIMESTAMP, day DATE, ok BOOLEAN, price DECIMAL(10,2), tags ARRAY<STRING>, place STRUCT<city: STRING, zip: INT>";

/// What a table and its quarantine hold, by what each row came from.
async fn fates(lab: &Lab, sql: &str, table: &str, origin: &str) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let lake = lab.lake(sql);
    let mut found = BTreeMap::<String, (Vec<String>, Vec<String>)>::new();
    let field = |row: &str, name: &str| {
        let mark = format!("{name}=");
        row.split(" | ").find_map(|part| part.strip_prefix(&mark)).unwrap_or("~").to_owned()
    };
    for row in rows(&lake, &DatasetName::new(table)).await {
        found.entry(field(&row, origin)).or_default().0.push(field(&row, "id"));
    }
    for row in rows(&lake, &DatasetName::new(table).quarantine()).await {
        let reason = field(&row, "_headwater.reasons");
        assert!(reason.len() > 4, "no reason: {row}");
        found.entry(field(&row, origin)).or_default().1.push(reason);
    }
    found
}

/// The ids of what is beside a poison: one before it and one after it.
fn beside(at: usize) -> [String; 2] {
    [(10_000 + 2 * at).to_string(), (10_001 + 2 * at).to_string()]
}

/// What became of each, a line for each.
fn told(
    cases: &[Poison],
    found: &BTreeMap<String, (Vec<String>, Vec<String>)>,
    key: impl Fn(usize) -> String,
) -> String {
    let mut text = String::new();
    for (at, (what, _)) in cases.iter().enumerate() {
        let (landed, aside) = found.get(&key(at)).cloned().unwrap_or_default();
        let landed = landed.iter().filter(|id| !beside(at).contains(id)).count();
        let _ = write!(text, "{what}:");
        if landed > 0 {
            let _ = write!(text, " {landed} row{}", if landed > 1 { "s" } else { "" });
        }
        let brief = |reason: &String| -> String {
            reason.chars().take(110).map(|c| if c.is_control() { ' ' } else { c }).collect()
        };
        for reason in aside.iter().map(brief).collect::<BTreeSet<_>>() {
            let _ = write!(text, " aside {reason}");
        }
        text.push_str(if landed == 0 && aside.is_empty() { " nothing\n" } else { "\n" });
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_message_is_a_row_or_aside() {
    let lab = Lab::new();
    let sql = format!(
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', format => 'json', schema => '{COLUMNS}')"
    );
    let cases = records::records();
    let mut messages = Vec::new();
    for (at, (_, record)) in cases.iter().enumerate() {
        let [before, after] = beside(at);
        messages.push(message(&format!("b{at}"), format!("{{\"id\": {before}}}"), 1));
        messages.push(message(&format!("p{at}"), record, 1));
        messages.push(message(&format!("a{at}"), format!("{{\"id\": {after}}}"), 1));
    }
    well(deliver(&lab.lake(&sql), messages).await);
    let found = fates(&lab, &sql, "t", "_metadata.message_id").await;
    for at in 0..cases.len() {
        let [before, after] = beside(at);
        assert_eq!(found[&format!("b{at}")].0, [before], "before {}", cases[at].0);
        assert_eq!(found[&format!("a{at}")].0, [after], "after {}", cases[at].0);
        let (landed, aside) = &found[&format!("p{at}")];
        assert_eq!(landed.len() + aside.len(), 1, "{}", cases[at].0);
    }
    println!("{} messages", cases.len());
    insta::assert_snapshot!("messages", told(&cases, &found, |at| format!("p{at}")));
}

/// A pipeline of a table, and its files from a folder.
fn table_of(format: &str, options: &str) -> String {
    format!(
        "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => '{format}'{options}, schema => '{COLUMNS}')"
    )
}

/// Lands each poison in a file of its own, between two good records if it is a line.
async fn land(format: &str, options: &str, cases: &[Poison], line: Option<fn(&str) -> String>) -> String {
    let lab = Lab::new();
    let sql = table_of(format, options);
    let name = |at: usize| match cases[at].0.rsplit_once('.') {
        Some((_, ending)) if line.is_none() => format!("p{at:03}.{ending}"),
        _ => format!("p{at:03}.{format}"),
    };
    for (at, (_, bytes)) in cases.iter().enumerate() {
        let content = match line {
            None => bytes.clone(),
            Some(line) => {
                let [before, after] = beside(at);
                let header = if format == "csv" { "id,name,x\n" } else { "" };
                let before = format!("{header}{}\n", line(&before)).into_bytes();
                [before, bytes.clone(), b"\n".to_vec(), line(&after).into_bytes(), b"\n".to_vec()].concat()
            }
        };
        lab.arrive(&name(at), content);
    }
    well(tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await);
    let found = fates(&lab, &sql, "t", "_metadata.file_name").await;
    for at in (0..cases.len()).filter(|_| line.is_some()) {
        let (landed, _) = &found[&name(at)];
        assert!(beside(at).iter().all(|id| landed.contains(id)), "beside {}: {:?}", cases[at].0, found[&name(at)]);
    }
    assert_eq!(commits(&tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await), 0, "nothing lands twice");
    println!("{format}{options}: {} files", cases.len());
    told(cases, &found, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_line_of_json_is_a_row_or_aside() {
    let told = land("json", "", &records::records(), Some(|id| format!("{{\"id\": {id}}}"))).await;
    insta::assert_snapshot!("json", told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_line_of_csv_is_a_row_or_aside() {
    let told = land("csv", ", header => true", &files::csv(), Some(|id| format!("{id},beside,1.5"))).await;
    insta::assert_snapshot!("csv", told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_file_is_rows_or_aside() {
    let mut told = String::new();
    for (format, options, cases) in files::whole() {
        told.push_str(&format!("-- {format}{options}\n{}", land(format, options, &cases, None).await));
    }
    insta::assert_snapshot!("files", told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_any_name_lands_once() {
    let lab = Lab::new();
    let sql = table_of("json", "");
    for (at, name) in files::NAMES.iter().enumerate() {
        lab.arrive(name, format!("{{\"id\": {at}}}\n"));
    }
    well(tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await);
    let found = fates(&lab, &sql, "t", "_metadata.file_path").await;
    assert_eq!(found.len(), files::NAMES.len(), "{:#?}", found.keys());
    assert!(found.values().all(|(landed, aside)| landed.len() + aside.len() == 1), "{found:#?}");
    assert_eq!(commits(&tick(&lab.lake(&sql), FunctionKind::BronzeFiles).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_of_anything_lands_only_what_is_in_the_folder() {
    let lab = Lab::new();
    let sql = table_of("json", "");
    lab.arrive("good.json", "{\"id\": 1}\n");
    lab.arrive("unnoticed.json", "{\"id\": 2}\n");
    lab.arrive(".hidden.json", "{\"id\": 3}\n");
    lab.arrive("_temporary/0.json", "{\"id\": 4}\n");
    std::fs::write(lab.folder.path().join("outside.json"), "{\"id\": 5}\n").unwrap();
    std::fs::create_dir(lab.folder.path().join("in2")).unwrap();
    std::fs::write(lab.folder.path().join("in2/beside.json"), "{\"id\": 6}\n").unwrap();
    let root = lab.folder.path().canonicalize().unwrap().display().to_string();
    let notices = files::notices(&root);
    for notice in &notices {
        let report = wake(&lab.lake(&sql), FunctionKind::BronzeFiles, Cause::Objects(vec![notice.clone()])).await;
        assert_eq!(commits(&well(report)), 0, "{notice}");
    }
    let with_good = notices.iter().cloned().chain([format!("file://{root}/in/good.json")]).collect();
    well(wake(&lab.lake(&sql), FunctionKind::BronzeFiles, Cause::Objects(with_good)).await);
    let found = fates(&lab, &sql, "t", "_metadata.file_name").await;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["good.json"], "{found:?}");
    println!("{} notices", notices.len());
}
