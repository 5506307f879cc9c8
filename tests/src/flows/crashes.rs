//! The crash matrix: whatever befalls any operation of a function's update, the next one leaves the
//! tables and their side tables as if nothing had happened.
//!
//! A scenario comes in rounds. Before the function that is tried, those before it run undisturbed. Then
//! the function runs once undisturbed, which counts its operations and tells what is expected; and for
//! every operation and every mishap it runs on a copy of the store, and then again in a new process.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use headwater_core::model::{Pipeline, Settings};
use headwater_core::report::Report;
use headwater_lake::lake::Lake;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::fault_store::{Fault, FaultStore};
use object_store::memory::InMemory;
use tempfile::TempDir;

use crate::lakes::{commits, contents, deliver, lake_of, message, pipeline, tick, until_death, values, well};

/// What befalls one operation.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    /// The process dies before it, and so after the one before.
    Crash,
    /// It fails, and the process goes on.
    Refused,
    /// It happens, the answer is lost, and the process goes on.
    Lost,
    /// It fails, and happens when all is over.
    Late,
}

const MISHAPS: [Mishap; 4] = [Mishap::Crash, Mishap::Refused, Mishap::Lost, Mishap::Late];

impl Mishap {
    fn befall(self, faults: &FaultStore, operation: u64) {
        match self {
            Self::Crash => faults.crash_after(operation),
            Self::Refused => faults.fail_after(operation, Fault::Refused),
            Self::Lost => faults.fail_after(operation, Fault::Lost),
            Self::Late => faults.fail_after(operation, Fault::Late),
        }
    }
}

/// What arrives before an update.
pub(super) struct Round {
    /// Names and contents, below the landing folder.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Ids and bodies.
    pub(super) messages: &'static [(&'static str, &'static str)],
}

/// A pipeline, the function that is tried, and what arrives.
pub(super) struct Scenario {
    pub(super) sql: &'static str,
    pub(super) tried: FunctionKind,
    pub(super) rounds: &'static [Round],
}

/// The functions in the order of an update.
const ORDER: [FunctionKind; 4] =
    [FunctionKind::BronzeEvents, FunctionKind::BronzeFiles, FunctionKind::Silver, FunctionKind::Gold];

/// A scenario under way.
struct Trial {
    pipeline: Pipeline,
    folder: TempDir,
    tried: FunctionKind,
}

impl Trial {
    fn lake(&self, store: &FaultStore) -> Lake {
        lake_of(&self.pipeline, self.folder.path(), Arc::new(store.clone()))
    }

    /// What a new process does with a store that works.
    async fn clean(&self, store: &InMemory, function: FunctionKind, round: &Round, receive_count: u32) -> Report {
        let lake = lake_of(&self.pipeline, self.folder.path(), Arc::new(store.clone()));
        well(run(&lake, function, round, receive_count).await)
    }

    /// Tries every mishap at every operation, from this store on; gives the undisturbed store.
    async fn round(&self, base: &InMemory, at: usize, round: &Round) -> InMemory {
        for function in ORDER.into_iter().take_while(|function| *function != self.tried) {
            self.clean(base, function, round, 1).await;
        }
        let undisturbed = base.fork();
        let counting = FaultStore::new(Arc::new(undisturbed.clone()));
        well(run(&self.lake(&counting), self.tried, round, 1).await);
        let operations = counting.counts().writes();
        assert!(operations > 1, "round {at} does nothing");
        let expected = contents(&self.lake(&counting)).await;
        for operation in 0..operations {
            for mishap in MISHAPS {
                let store = base.fork();
                self.disturbed(&store, round, mishap, operation).await;
                let found = contents(&lake_of(&self.pipeline, self.folder.path(), Arc::new(store))).await;
                assert_eq!(found, expected, "round {at}: {mishap:?} at operation {operation} of {operations}");
            }
        }
        assert_eq!(commits(&self.clean(&undisturbed, self.tried, round, 2).await), 0, "round {at} is done twice");
        undisturbed
    }

    /// One update with a mishap, then one without in a new process.
    async fn disturbed(&self, store: &InMemory, round: &Round, mishap: Mishap, operation: u64) {
        let faults = FaultStore::new(Arc::new(store.clone()));
        mishap.befall(&faults, operation);
        let lake = self.lake(&faults);
        until_death(&faults, run(&lake, self.tried, round, 1)).await;
        drop(lake);
        self.clean(store, self.tried, round, 2).await;
        if !faults.land_late().await.is_empty() {
            self.clean(store, self.tried, round, 3).await;
        }
    }
}

async fn run(lake: &Lake, function: FunctionKind, round: &Round, receive_count: u32) -> Report {
    match function {
        FunctionKind::BronzeEvents if round.messages.is_empty() => Report::default(),
        FunctionKind::BronzeEvents => {
            let messages = round.messages.iter().map(|(id, body)| message(id, body, receive_count));
            deliver(lake, messages.collect()).await
        }
        _ => tick(lake, function).await,
    }
}

impl Scenario {
    pub(super) async fn holds(&self) -> Lake {
        self.holds_with(|_| {}).await
    }

    /// With other settings.
    pub(super) async fn holds_with(&self, set: impl FnOnce(&mut Settings)) -> Lake {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let mut pipeline = pipeline(self.sql);
        set(&mut pipeline.settings);
        let trial = Trial { pipeline, folder, tried: self.tried };
        let mut store = InMemory::new();
        for (at, round) in self.rounds.iter().enumerate() {
            land(&trial.folder.path().join("in"), at, round.files);
            store = trial.round(&store, at, round).await;
        }
        lake_of(&trial.pipeline, trial.folder.path(), Arc::new(store))
    }
}

/// Files of a round, with times that are the same in each run.
fn land(folder: &Path, round: usize, files: &[(&str, &str)]) {
    for (at, (name, content)) in files.iter().enumerate() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let second = u64::try_from(round * 1_000 + at).unwrap();
        File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
    }
}

pub(super) const NO_MESSAGES: &[(&str, &str)] = &[];
const NO_FILES: &[(&str, &str)] = &[];

#[tokio::test(flavor = "multi_thread")]
async fn files_land_once() {
    let sql = "
        CREATE STREAMING TABLE t (
          CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW,
          CONSTRAINT small EXPECT (n < 100)
        ) AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n INT, at TIMESTAMP')
               WATERMARK at DELAY OF INTERVAL 1 HOUR";
    let lake = Scenario {
        sql,
        tried: FunctionKind::BronzeFiles,
        rounds: &[
            Round {
                files: &[
                    (
                        "a.json",
                        "{\"n\": 1, \"at\": \"2024-01-01T10:00:00Z\"}\nnot json\n{\"n\": -1, \"at\": \"2024-01-01T10:00:00Z\"}\n",
                    ),
                    ("b.json", "{\n"),
                    ("c.json", ""),
                    ("d.json", "{\"n\": 2, \"at\": \"2024-01-01T07:00:00Z\"}\n{\"n\": 3, \"at\": \"2024-01-01T11:00:00Z\"}\n"),
                ],
                messages: NO_MESSAGES,
            },
            Round {
                files: &[
                    ("e.json", "{\"n\": 4, \"at\": \"2024-01-01T09:59:59Z\"}\n{\"n\": -4}\n{\"n\": 5}\n"),
                    ("f.json", "{\"n\": 6, \"at\": \"2024-01-01T15:00:00Z\"}\n"),
                    ("g.json", "{\"n\": 7, \"at\": \"2024-01-01T10:00:00Z\"}\n"),
                ],
                messages: NO_MESSAGES,
            },
        ],
    }
    .holds()
    .await;
    assert_eq!(values(&lake, "t", "n").await, ["1", "2", "3", "5", "6", "7"]);
    assert_eq!(values(&lake, "t__late", "n").await, ["4"]);
    assert_eq!(values(&lake, "t__quarantine", "n").await, ["-1", "-4", "~", "~"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_land_once() {
    let sql = "
        CREATE STREAMING TABLE t (CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW)
        TBLPROPERTIES ('headwater.dedup.keys' = 'n')
        AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT, at TIMESTAMP')
             WATERMARK at DELAY OF INTERVAL 1 HOUR";
    let lake = Scenario {
        sql,
        tried: FunctionKind::BronzeEvents,
        rounds: &[
            Round {
                files: NO_FILES,
                messages: &[
                    ("m1", "{\"n\": 1, \"at\": \"2024-01-01T10:00:00Z\"}"),
                    ("m2", "not json"),
                    ("m3", "{\"n\": -1}"),
                    ("m4", "{\"n\": 2}"),
                    ("m5", "{\"n\": 1}"),
                ],
            },
            Round {
                files: NO_FILES,
                messages: &[
                    ("m6", "{\"n\": 3, \"at\": \"2024-01-01T08:00:00Z\"}"),
                    ("m7", "{\"n\": 4, \"at\": \"2024-01-01T15:00:00Z\"}"),
                    ("m8", "{\"n\": 2}"),
                    ("m9", "{\"n\": -2}"),
                    ("m4", "{\"n\": 2}"),
                ],
            },
        ],
    }
    .holds()
    .await;
    assert_eq!(values(&lake, "t", "n").await, ["1", "2", "4"]);
    assert_eq!(values(&lake, "t__late", "n").await, ["3"]);
    assert_eq!(values(&lake, "t__quarantine", "n").await, ["-1", "-2", "~"]);
}

/// Numbers with a kind and a time, in bronze.
const NUMBERS: &[Round] = &[
    Round {
        files: &[
            (
                "numbers/a.json",
                "{\"n\": 1, \"k\": \"a\", \"at\": \"2024-01-01T10:00:00Z\"}\n{\"n\": -1, \"k\": \"a\"}\n{\"n\": 1, \"k\": \"b\"}\n",
            ),
            ("kinds/a.json", "{\"k\": \"a\", \"name\": \"first\"}\n"),
        ],
        messages: NO_MESSAGES,
    },
    Round {
        files: &[
            (
                "numbers/b.json",
                "{\"n\": 2, \"k\": \"b\", \"at\": \"2024-01-01T08:00:00Z\"}\n{\"n\": 3, \"k\": \"b\", \"at\": \"2024-01-01T12:00:00Z\"}\n",
            ),
            (
                "numbers/c.json",
                "{\"n\": 1, \"k\": \"a\", \"at\": \"2024-01-01T11:00:00Z\"}\n{\"n\": -3, \"k\": \"b\"}\n",
            ),
            ("kinds/b.json", "{\"k\": \"b\", \"name\": \"second\"}\n"),
        ],
        messages: NO_MESSAGES,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn streams_move_once() {
    let sql = "
        CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_files('in/numbers', format => 'json', schema => 'n INT, k STRING, at TIMESTAMP');
        CREATE STREAMING TABLE checked (
          CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW,
          CONSTRAINT bounded EXPECT (n < 1000) ON VIOLATION FAIL UPDATE
        ) TBLPROPERTIES ('headwater.dedup.keys' = 'n')
        AS SELECT * FROM STREAM numbers WATERMARK at DELAY OF INTERVAL 1 HOUR;
        CREATE STREAMING TABLE doubled AS SELECT n * 2 AS n FROM STREAM checked";
    let lake = Scenario { sql, tried: FunctionKind::Silver, rounds: NUMBERS }.holds().await;
    assert_eq!(values(&lake, "checked", "n").await, ["1", "3"]);
    assert_eq!(values(&lake, "doubled", "n").await, ["2", "6"]);
    assert_eq!(values(&lake, "checked__late", "n").await, ["2"]);
    assert_eq!(values(&lake, "checked__quarantine", "n").await, ["-1", "-3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_flows_fill_one_table_once() {
    let sql = "
        CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_files('in/numbers', format => 'json', schema => 'n INT, k STRING, at TIMESTAMP');
        CREATE STREAMING TABLE kinds AS SELECT * FROM STREAM read_files('in/kinds', format => 'json', schema => 'k STRING, name STRING');
        CREATE STREAMING TABLE all_of (n BIGINT, kind STRING, CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW);
        CREATE FLOW joined AS INSERT INTO all_of BY NAME
          SELECT n.n, k.name AS kind FROM STREAM(numbers) n LEFT JOIN kinds k ON n.k = k.k;
        CREATE FLOW tenfold AS INSERT INTO all_of BY NAME SELECT n * 10 AS n, 'tenfold' AS kind FROM STREAM numbers;
        CREATE FLOW past AS INSERT INTO ONCE all_of BY NAME SELECT 100 AS n, name AS kind FROM kinds";
    let lake = Scenario { sql, tried: FunctionKind::Silver, rounds: NUMBERS }.holds().await;
    let expected = ["1", "1", "1", "10", "10", "10", "100", "2", "20", "3", "30"];
    assert_eq!(values(&lake, "all_of", "n").await, expected);
    assert_eq!(values(&lake, "all_of__quarantine", "n").await, ["-1", "-10", "-3", "-30"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_what_their_queries_say() {
    let sql = "
        CREATE STREAMING TABLE numbers AS SELECT * FROM STREAM read_files('in/numbers', format => 'json', schema => 'n INT, k STRING, at TIMESTAMP');
        CREATE MATERIALIZED VIEW totals (CONSTRAINT positive EXPECT (total > 0) ON VIOLATION DROP ROW)
          AS SELECT k, n, sum(n) AS total FROM numbers GROUP BY k, n;
        CREATE MATERIALIZED VIEW grand AS SELECT sum(total) AS total FROM totals";
    let lake = Scenario { sql, tried: FunctionKind::Gold, rounds: NUMBERS }.holds().await;
    assert_eq!(values(&lake, "totals", "total").await, ["1", "2", "2", "3"]);
    assert_eq!(values(&lake, "grand", "total").await, ["8"]);
    assert_eq!(values(&lake, "totals__quarantine", "total").await, ["-1", "-3"]);
}

/// Changes of rows in bronze: late ones, repeated ones, deletes before their inserts, a truncation, and some without a key.
pub(super) const CHANGES: &[Round] = &[
    Round {
        files: &[(
            "a.json",
            "{\"id\": 1, \"name\": \"a\", \"seq\": 1}\n{\"id\": 2, \"name\": \"b\", \"n\": 2, \"seq\": 1}\n{\"id\": 3, \"op\": \"D\", \"seq\": 5}\n{\"name\": \"nobody\", \"seq\": 1}\n",
        )],
        messages: NO_MESSAGES,
    },
    Round {
        files: &[
            (
                "b.json",
                "{\"id\": 1, \"name\": \"c\", \"seq\": 4}\n{\"id\": 2, \"op\": \"D\", \"seq\": 3}\n{\"id\": 3, \"name\": \"late\", \"seq\": 4}\n",
            ),
            (
                "c.json",
                "{\"id\": 1, \"name\": \"b\", \"n\": 7, \"seq\": 2}\n{\"id\": 2, \"n\": 9, \"seq\": 4}\n{\"id\": 4, \"name\": \"d\", \"seq\": 4}\n{\"id\": 5}\n",
            ),
        ],
        messages: NO_MESSAGES,
    },
    Round {
        files: &[(
            "d.json",
            "{\"op\": \"T\", \"seq\": 3}\n{\"id\": 5, \"name\": \"e\", \"seq\": 2}\n{\"id\": 6, \"name\": \"f\", \"seq\": 6}\n{\"id\": 1, \"op\": \"D\", \"seq\": 6}\n",
        )],
        messages: NO_MESSAGES,
    },
];

pub(super) const RAW_CHANGES: &str = "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id INT, name STRING, n INT, op STRING, seq INT');";

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_applied_once() {
    let sql = format!(
        "{RAW_CHANGES} CREATE STREAMING TABLE t;
        CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' APPLY AS TRUNCATE WHEN op = 'T'
          SEQUENCE BY seq COLUMNS * EXCEPT (op, seq)"
    );
    let lake = Scenario { sql: sql.leak(), tried: FunctionKind::Silver, rounds: CHANGES }.holds().await;
    assert_eq!(values(&lake, "t", "id").await, ["2", "4", "6"]);
    assert_eq!(values(&lake, "t__quarantine", "id").await, ["5", "~"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_columns_are_applied_once() {
    let sql = format!(
        "{RAW_CHANGES} CREATE STREAMING TABLE t;
        CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) IGNORE NULL UPDATES APPLY AS DELETE WHEN op = 'D'
          APPLY AS TRUNCATE WHEN op = 'T' SEQUENCE BY seq COLUMNS * EXCEPT (op, seq)"
    );
    let lake = Scenario { sql: sql.leak(), tried: FunctionKind::Silver, rounds: CHANGES }.holds().await;
    assert_eq!(values(&lake, "t", "id").await, ["2", "4", "6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_are_written_once() {
    let sql = format!(
        "{RAW_CHANGES} CREATE STREAMING TABLE t;
        CREATE FLOW f AS AUTO CDC INTO t FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
          COLUMNS * EXCEPT (op, seq) STORED AS SCD TYPE 2"
    );
    let lake = Scenario { sql: sql.leak(), tried: FunctionKind::Silver, rounds: CHANGES }.holds().await;
    assert_eq!(values(&lake, "t", "id").await, ["1", "1", "1", "2", "2", "3", "4", "5", "6"]);
}
