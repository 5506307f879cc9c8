//! Tables whose files somebody has damaged: whoever reads one says so by its name, without a panic, a hang or a commit
//! elsewhere; and once the file is as it was, all goes on as if nothing had happened.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use headwater_core::error::ErrorKind;
use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::Cause;
use headwater_runtime::local::FunctionKind;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::lakes::{Lab, contents, deliver, message, rows, tick, wake, well};

const SQL: &str = "
    CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT, s STRING');
    CREATE STREAMING TABLE s AS SELECT n, s FROM STREAM t;
    CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n, max(s) AS s FROM s";

/// Messages before the checkpoint: as many commits as one needs.
const BEFORE: usize = 21;

type Damage = fn(&[u8]) -> Option<Vec<u8>>;

/// What is done to a file. Nothing that leaves it readable with another meaning: nobody could tell.
const DAMAGES: [(&str, Damage); 10] = [
    ("gone", |_| None),
    ("empty", |_| Some(Vec::new())),
    ("cut in half", |bytes| Some(bytes[..bytes.len() / 2].to_vec())),
    ("without its last byte but one", |bytes| Some(bytes[..bytes.len().saturating_sub(2)].to_vec())),
    ("without its beginning", |bytes| Some(bytes[bytes.len().min(7)..].to_vec())),
    ("NUL bytes", |bytes| Some(vec![0; bytes.len()])),
    ("noise", |bytes| Some((0..bytes.len()).map(|at| (at * 167 + 13).to_le_bytes()[0]).collect())),
    ("another format", |_| Some(b"<?xml version=\"1.0\"?><Error><Code>SlowDown</Code></Error>".to_vec())),
    ("deep", |_| Some(format!("{{\"add\":{}", "[".repeat(100_000)).into_bytes())),
    ("a list", |_| Some(b"[{\"add\": {\"path\": \"x\"}}]".to_vec())),
];

/// What may become of a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Some function says so.
    Always,
    /// It is only a hint, or nobody needs it.
    NotNeeded,
}

/// A lake whose table `t` has a checkpoint, and a batch that silver hasn't read.
struct Scene {
    lab: Lab,
    base: InMemory,
    expected: BTreeMap<String, Vec<String>>,
    /// The files that are damaged.
    files: Vec<(Path, Told)>,
}

impl Scene {
    async fn new() -> Self {
        let lab = Lab::new();
        let body = |n: usize| format!("{{\"n\": {n}, \"s\": \"{}\"}}", "text ".repeat(n % 5 + 1));
        for n in 0..BEFORE {
            well(deliver(&lab.lake(SQL), vec![message(&format!("m{n}"), body(n), 1)]).await);
        }
        for function in [FunctionKind::Silver, FunctionKind::Compact] {
            well(tick(&lab.lake(SQL), function).await);
        }
        let before = files_of(&lab.store, "bronze/t").await;
        let late = (0..40).map(|n| message(&format!("late{n}"), body(100 + n), 1)).collect();
        well(deliver(&lab.lake(SQL), late).await);
        let mut files = Vec::new();
        for location in files_of(&lab.store, "bronze/t").await {
            let name = location.filename().unwrap_or_default();
            if !before.contains(&location) || name.ends_with(".checkpoint.parquet") {
                files.push((location, Told::Always));
            } else if name == "_last_checkpoint" || name == "00000000000000000003.json" || name.ends_with(".crc") {
                files.push((location, Told::NotNeeded));
            }
        }
        assert_eq!(
            files.len(),
            6,
            "a data file, its commit, a checkpoint, its hint and checksum, an old commit: {files:?}"
        );
        let base = lab.store.fork();
        for function in [FunctionKind::Silver, FunctionKind::Gold] {
            well(tick(&lab.lake(SQL), function).await);
        }
        let expected = contents(&lab.lake(SQL)).await;
        Self { lab, base, expected, files }
    }

    /// The rows of the tables behind the damaged one.
    async fn results(&self) -> Vec<Vec<String>> {
        let lake = self.lab.lake(SQL);
        let mut found = Vec::new();
        for name in RESULTS {
            found.push(rows(&lake, &DatasetName::new(name)).await);
        }
        found
    }

    /// What functions say of a lake in which a file is damaged.
    async fn with(&mut self, location: &Path, bytes: Option<Vec<u8>>) -> Vec<Report> {
        self.lab.store = self.base.fork();
        put(&self.lab.store, location, bytes).await;
        if location.as_ref().ends_with(".checkpoint.parquet") {
            // Without its checksum it is read by whoever opens the table.
            for (checksum, _) in self.files.iter().filter(|(path, _)| path.as_ref().ends_with(".crc")) {
                put(&self.lab.store, checksum, None).await;
            }
        }
        let mut reports = Vec::new();
        for function in [FunctionKind::Silver, FunctionKind::Gold] {
            let lake = self.lab.lake(SQL);
            let report = tokio::time::timeout(PATIENCE, wake(&lake, function, Cause::Timer(Vec::new()))).await;
            reports.push(report.unwrap_or_else(|_| panic!("{function:?} hangs at {location}")));
        }
        reports
    }
}

/// The tables behind the damaged one.
const RESULTS: [&str; 2] = ["s", "v"];

/// Long enough for a function on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn files_of(store: &InMemory, folder: &str) -> Vec<Path> {
    let files: Vec<_> = store.list(Some(&Path::from(folder))).try_collect().await.unwrap();
    files.into_iter().map(|file| file.location).collect()
}

async fn put(store: &InMemory, location: &Path, bytes: Option<Vec<u8>>) {
    match bytes {
        Some(bytes) => drop(store.put(location, bytes.into()).await.unwrap()),
        None => store.delete(location).await.unwrap(),
    }
}

async fn bytes_of(store: &InMemory, location: &Path) -> Vec<u8> {
    store.get(location).await.unwrap().bytes().await.unwrap().to_vec()
}

/// What flows said when they failed.
fn complaints(reports: &[Report]) -> Vec<String> {
    let flows = reports.iter().flat_map(|report| &report.flows);
    let text = flows.filter_map(|flow| match &flow.outcome {
        Outcome::Failed { message, .. } => Some(message.clone()),
        Outcome::Retryable { reason } | Outcome::Waiting { reason } => Some(reason.clone()),
        Outcome::NothingNew | Outcome::AlreadyApplied | Outcome::Committed { .. } | Outcome::Skipped { .. } => None,
    });
    text.collect()
}

fn assert_calm(complaints: &[String], what: &str) {
    let panicked = complaints.iter().find(|text| text.contains("panic") || text.contains("internal error"));
    assert!(panicked.is_none(), "{what}: {panicked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_named_and_nothing_is_lost() {
    let mut scene = Scene::new().await;
    let (mut cases, mut untold) = (0, Vec::new());
    for (location, told) in scene.files.clone() {
        let sound = bytes_of(&scene.base, &location).await;
        for (what, damage) in DAMAGES {
            let case = format!("{location}: {what}");
            let complaints = complaints(&scene.with(&location, damage(&sound)).await);
            assert_calm(&complaints, &case);
            let is_newest_commit_gone = what == "gone" && location.as_ref().ends_with(".json");
            if told == Told::Always && complaints.is_empty() && !is_newest_commit_gone {
                untold.push(case.clone());
            }
            put(&scene.lab.store, &location, Some(sound.clone())).await;
            for function in [FunctionKind::Silver, FunctionKind::Gold] {
                well(tick(&scene.lab.lake(SQL), function).await);
            }
            assert_eq!(contents(&scene.lab.lake(SQL)).await, scene.expected, "{case}");
            cases += 1;
        }
    }
    println!("{cases} damages");
    assert!(untold.is_empty(), "nobody says so: {untold:#?}");
}

/// What is wrong with what a log entry says of a file: what stands there, and what takes its place.
const STATISTICS: [(&str, &str, &str); 5] = [
    ("no JSON", "\\\"numRecords\\\":", "\\\"numRecords\\\";"),
    ("an end too many", "\\\"minValues\\\":{", "\\\"minValues\\\":"),
    ("a text for a count", "\\\"numRecords\\\":40", "\\\"numRecords\\\":\\\"many\\\""),
    ("a list for bounds", "\\\"n\\\":100", "\\\"n\\\":[100]"),
    (
        "a deletion vector of a kind that nobody knows",
        "\"tags\":null",
        "\"tags\":null,\"deletionVector\":{\"storageType\":\"x\",\"pathOrInlineDv\":\"y\",\"sizeInBytes\":1,\"cardinality\":1}",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_about_a_file_is_told_with_the_name_of_its_table() {
    let mut scene = Scene::new().await;
    let is_commit = |path: &Path| path.as_ref().ends_with(".json");
    let newest = scene.files.iter().find(|(path, told)| *told == Told::Always && is_commit(path));
    let location = newest.unwrap().0.clone();
    let sound = String::from_utf8(bytes_of(&scene.base, &location).await).unwrap();
    for (what, from, to) in STATISTICS {
        assert!(sound.contains(from), "{what}: {sound}");
        let mut complaints = complaints(&scene.with(&location, Some(sound.replacen(from, to, 1).into_bytes())).await);
        if let Err(error) = scene.lab.lake(SQL).preview(&DatasetName::new("t"), 100).await {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
            complaints.push(error.to_string());
        }
        assert_calm(&complaints, what);
        assert!(complaints.iter().all(|text| text.contains("table memory:///bronze/t:")), "{what}: {complaints:#?}");
        assert!(complaints.len() > 1 || what.starts_with("a "), "{what}: {complaints:#?}");
    }
}

/// Bits that are flipped in each file.
const FLIPS: usize = 12;

/// Flipped bits in structure are told; in a value they may give another value, since no format here has a checksum of
/// its rows. Whatever it is, nothing panics or hangs.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_ends_no_process() {
    let mut scene = Scene::new().await;
    let mut chance = StdRng::seed_from_u64(7);
    let mut fates = BTreeMap::<(&str, &str), u32>::new();
    let expected = RESULTS.map(|name| scene.expected[name].clone()).to_vec();
    for (location, _) in scene.files.clone().iter().filter(|(_, told)| *told == Told::Always) {
        let sound = bytes_of(&scene.base, location).await;
        for _ in 0..FLIPS {
            let (at, bit) = (chance.random_range(0..sound.len()), chance.random_range(0..8));
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << bit;
            let case = format!("{location}: bit {bit} of byte {at} of {}", sound.len());
            let complaints = complaints(&scene.with(location, Some(bytes)).await);
            assert_calm(&complaints, &case);
            let file = match location.as_ref() {
                path if path.contains("checkpoint") => "checkpoint",
                path if path.ends_with(".json") => "commit",
                _ => "data",
            };
            let fate = match complaints.is_empty() {
                false => "told",
                true if scene.results().await == expected => "harmless",
                true => "another value",
            };
            *fates.entry((file, fate)).or_default() += 1;
        }
    }
    println!("flipped bits: {fates:?}");
    assert!(fates.iter().any(|((_, fate), _)| *fate == "told"));
}
