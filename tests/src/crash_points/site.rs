//! A pipeline with all kinds of tables, and its lake as it is just before one function has work to do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use headwater_core::model::Pipeline;
use headwater_core::report::Report;
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tempfile::TempDir;

use crate::lakes::{deliver, lake_of, message, pipeline, tick, well};

const SQL: &str = "
    CREATE STREAMING TABLE sent (CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW)
      AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT, at TIMESTAMP')
      WATERMARK at DELAY OF INTERVAL 1 HOUR;
    CREATE STREAMING TABLE filed
      AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id INT, name STRING, op STRING, seq INT');
    CREATE STREAMING TABLE checked (CONSTRAINT small EXPECT (n < 100) ON VIOLATION DROP ROW)
      TBLPROPERTIES ('headwater.dedup.keys' = 'n') AS SELECT n FROM STREAM sent;
    CREATE STREAMING TABLE latest;
    CREATE FLOW changes AS AUTO CDC INTO latest FROM STREAM filed KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
      COLUMNS * EXCEPT (op, seq);
    CREATE MATERIALIZED VIEW totals (CONSTRAINT positive EXPECT (total > 0) ON VIOLATION DROP ROW)
      AS SELECT n % 2 AS k, sum(n - 3) AS total FROM checked GROUP BY n % 2;
    CREATE MATERIALIZED VIEW names AS SELECT count(*) AS names FROM latest";

/// The functions in the order of an update.
pub(super) const ORDER: [FunctionKind; 5] = [
    FunctionKind::BronzeEvents,
    FunctionKind::BronzeFiles,
    FunctionKind::Silver,
    FunctionKind::Gold,
    FunctionKind::Compact,
];

/// Ids and bodies of two rounds of messages: good, dropped, undecodable, repeated, late.
const MESSAGES: [&[(&str, &str)]; 2] = [
    &[
        ("m1", "{\"n\": 1, \"at\": \"2024-01-01T10:00:00Z\"}"),
        ("m2", "not json"),
        ("m3", "{\"n\": -1}"),
        ("m4", "{\"n\": 200}"),
    ],
    &[
        ("m5", "{\"n\": 2, \"at\": \"2024-01-01T08:00:00Z\"}"),
        ("m6", "{\"n\": 6, \"at\": \"2024-01-01T15:00:00Z\"}"),
        ("m7", "{\"n\": 1}"),
        ("m8", "{\"n\": -2}"),
        ("m9", "{\"n\": 300}"),
        ("m10", "{"),
    ],
];

/// What comes later of the second round.
const SECOND_HALF: [&str; 3] = ["m8", "m9", "m10"];

/// Names and contents of two rounds of files: changes of rows, some undecodable.
const FILES: [(&str, &str); 2] = [
    (
        "a.json",
        "{\"id\": 1, \"name\": \"a\", \"seq\": 1}\n{\"id\": 2, \"name\": \"b\", \"seq\": 1}\nnot json\n{\"name\": \"nobody\", \"seq\": 1}\n",
    ),
    ("b.json", "{\"id\": 2, \"op\": \"D\", \"seq\": 2}\n{\"id\": 3, \"name\": \"c\", \"seq\": 1}\n{\n{\"id\": 4}\n"),
];

/// More than lie between two checkpoints.
const SMALL_BATCHES: usize = 21;

/// A lake before a function's turn.
pub(super) struct Site {
    pub(super) pipeline: Pipeline,
    /// Where files land, below `in`.
    pub(super) landing: PathBuf,
    pub(super) function: FunctionKind,
    pub(super) base: InMemory,
    _folder: Option<TempDir>,
}

impl Site {
    /// A first round through all functions but compaction, and a second one up to the function.
    pub(super) async fn before(function: FunctionKind) -> Self {
        let site = Self::empty(function);
        let lake = site.lake(Arc::new(site.base.clone()));
        site.land(0);
        well(deliver(&lake, messages(0, 1, &[])).await);
        for function in [FunctionKind::BronzeFiles, FunctionKind::Silver, FunctionKind::Gold] {
            well(tick(&lake, function).await);
        }
        if function == FunctionKind::Compact {
            for at in 0..SMALL_BATCHES {
                let body = format!("{{\"n\": {}, \"at\": \"2024-01-01T11:00:00Z\"}}", 10 + at);
                well(deliver(&lake, vec![message(&format!("s{at}"), body, 1)]).await);
            }
        }
        site.land(1);
        for earlier in ORDER.into_iter().take_while(|earlier| *earlier != function) {
            well(site.wake(&lake, earlier, &[]).await);
        }
        site
    }

    /// A first round up to silver, and half of a second one: each function has something to do.
    pub(super) async fn busy() -> Self {
        let site = Self::empty(FunctionKind::BronzeEvents);
        let lake = site.lake(Arc::new(site.base.clone()));
        site.land(0);
        well(deliver(&lake, messages(0, 1, &[])).await);
        well(tick(&lake, FunctionKind::BronzeFiles).await);
        well(tick(&lake, FunctionKind::Silver).await);
        well(deliver(&lake, messages(1, 1, &SECOND_HALF.map(str::to_owned))).await);
        site.land(1);
        site
    }

    fn empty(function: FunctionKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        Self::landed(function, folder.path().to_owned(), Some(folder))
    }

    /// The same pipeline with an empty store, where files have landed already.
    pub(super) fn landed(function: FunctionKind, landing: PathBuf, folder: Option<TempDir>) -> Self {
        let mut pipeline = pipeline(SQL);
        pipeline.settings.compact_min_files = 2;
        Self { pipeline, landing, function, base: InMemory::new(), _folder: folder }
    }

    /// A new process.
    pub(super) fn lake(&self, store: Arc<dyn ObjectStore>) -> Lake {
        lake_of(&self.pipeline, &self.landing, store)
    }

    /// The function's turn, but for messages that are done.
    pub(super) async fn run(&self, lake: &Lake, done: &[String]) -> Report {
        self.wake(lake, self.function, done).await
    }

    /// A function's turn on a busy lake. Messages are received for the so-many-th time.
    pub(super) async fn turn(&self, lake: &Lake, function: FunctionKind, receive_count: u32) -> Report {
        match function {
            FunctionKind::BronzeEvents => {
                let first_half = MESSAGES[1].iter().map(|(id, _)| (*id).to_owned());
                let first_half: Vec<String> = first_half.filter(|id| !SECOND_HALF.contains(&id.as_str())).collect();
                deliver(lake, messages(1, receive_count, &first_half)).await
            }
            _ => tick(lake, function).await,
        }
    }

    async fn wake(&self, lake: &Lake, function: FunctionKind, done: &[String]) -> Report {
        if function != FunctionKind::BronzeEvents {
            return tick(lake, function).await;
        }
        let receive_count = if done.is_empty() { 1 } else { 2 };
        match messages(1, receive_count, done) {
            left if left.is_empty() => Report::default(),
            left => deliver(lake, left).await,
        }
    }

    /// What a process has reported as done. `-` stands for a first delivery that nobody has answered.
    pub(super) fn acknowledged(&self, report: Option<&Report>) -> Vec<String> {
        let nobody = "-".to_owned();
        let Some(report) = report else { return vec![nobody] };
        let retried = |id: &str| report.retry.iter().any(|retry| retry.item == id);
        let done = MESSAGES[1].iter().filter(|(id, _)| !retried(id)).map(|(id, _)| (*id).to_owned());
        std::iter::once(nobody).chain(done).collect()
    }

    fn land(&self, round: usize) {
        let (name, content) = FILES[round];
        let path = self.landing.join("in").join(name);
        fs::write(&path, content).unwrap();
        date(&path, round);
    }
}

/// A time that is the same in each run.
fn date(path: &Path, second: usize) {
    let second = Duration::from_secs(u64::try_from(second).unwrap());
    File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH + second).unwrap();
}

fn messages(round: usize, receive_count: u32, done: &[String]) -> Vec<headwater_core::trigger::Message> {
    let left = MESSAGES[round].iter().filter(|(id, _)| done.iter().all(|done| done != id));
    left.map(|(id, body)| message(id, body, receive_count)).collect()
}
