//! Log entries of a table.

use std::path::Path as Folder;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::Utc;
use futures::TryStreamExt;
use headwater_core::error::ErrorKind;
use headwater_core::model::Pipeline;
use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::{Cause, MessageBatch, Trigger};
use headwater_lake::error::LakeError;
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use crate::{message, pipeline};

const TABLES: &str = "
    CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT, s STRING');
    CREATE STREAMING TABLE s (CONSTRAINT positive EXPECT (n > 0) ON VIOLATION DROP ROW) AS SELECT n, s FROM STREAM t;";

/// How many log entries the table has, of which all but the last were read.
const ENTRIES: u32 = 4;

/// Where the entry is that nobody has read.
const NEWEST: &str = "bronze/t/_delta_log/00000000000000000003.json";

/// Stands in an entry for the name of the data file that the newest entry adds.
const DATA_FILE: &[u8] = b"THE_FILE";

/// Long enough for a function on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lake with a table and a stream of it.
struct Scene {
    runtime: Runtime,
    pipeline: Pipeline,
    store: InMemory,
    data_file: String,
}

static SCENE: LazyLock<Scene> = LazyLock::new(Scene::new);

/// A table whose newest log entry is this one is read, or refused with an error that says what is wrong, by functions and commands.
pub fn check(entry: &[u8]) {
    let scene = &*SCENE;
    let entry = with_name(entry, scene.data_file.as_bytes());
    let read = Box::pin(read(scene, entry));
    scene.runtime.block_on(async { tokio::time::timeout(PATIENCE, read).await }).expect("an end");
}

async fn read(scene: &Scene, entry: Vec<u8>) {
    let store = scene.store.fork();
    store.put(&Path::from(NEWEST), entry.into()).await.unwrap();
    let lake = lake(&scene.pipeline, store);
    for flow in Box::pin(headwater_silver::handle(&lake, Trigger::new(Cause::Timer(Vec::new())))).await.flows {
        if let Outcome::Failed { kind, message } = flow.outcome {
            assert!(kind != ErrorKind::Internal && !has_panicked(&message), "{message}");
        }
    }
    let Some(table) = told(lake.table(&DatasetName::new("t")).await).map(Option::unwrap) else { return };
    for file in told(table.files().await).unwrap_or_default() {
        let _ =
            (file.num_records(), file.min(&["n"]), file.max(&["s"]), file.modified(), file.size(), file.partition());
    }
    told(table.history(10).await);
    told(table.totals().await);
    told(table.changes(None, table.version()).await);
    told(lake.preview(&DatasetName::new("t"), 5).await);
}

/// What was read; an error tells of what others have written.
fn told<T>(read: Result<T, LakeError>) -> Option<T> {
    read.inspect_err(|error| {
        assert!(error.kind() != ErrorKind::Internal && !has_panicked(&error.to_string()), "{error}")
    })
    .ok()
}

fn has_panicked(message: &str) -> bool {
    message.contains("panicked")
}

impl Scene {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let (pipeline, store) = (pipeline(TABLES), InMemory::new());
        let data_file = runtime.block_on(async {
            let mut before = Vec::new();
            for n in 0..ENTRIES {
                before = data_files(&store).await;
                let body = format!("{{\"n\": {n}, \"s\": \"text {n}\"}}");
                let messages = vec![message(&format!("m{n}"), body.as_bytes())];
                let batch = MessageBatch { source: "events".into(), messages, received_at: Utc::now() };
                let cause = Trigger::new(Cause::Messages(batch));
                well(&Box::pin(headwater_bronze_events::handle(&lake(&pipeline, store.clone()), cause)).await);
                if n + 2 == ENTRIES {
                    let timer = Trigger::new(Cause::Timer(Vec::new()));
                    well(&Box::pin(headwater_silver::handle(&lake(&pipeline, store.clone()), timer)).await);
                }
            }
            let new = data_files(&store).await.into_iter().find(|file| !before.contains(file));
            assert!(store.head(&Path::from(NEWEST)).await.is_ok(), "the newest entry is where it is looked for");
            new.expect("a data file of the newest entry")
        });
        Self { runtime, pipeline, store, data_file }
    }
}

fn lake(pipeline: &Pipeline, store: InMemory) -> Lake {
    let url = Storage::open("memory:///").unwrap().url().clone();
    Lake::with_storage(pipeline.clone(), Folder::new("."), Storage::with_store(url, Arc::new(store))).unwrap()
}

fn well(report: &Report) {
    let is_well = |outcome: &Outcome| matches!(outcome, Outcome::NothingNew | Outcome::Committed { .. });
    assert!(report.flows.iter().all(|flow| is_well(&flow.outcome)), "{report:#?}");
}

/// The names of the table's data files.
async fn data_files(store: &InMemory) -> Vec<String> {
    let found: Vec<_> = store.list(Some(&Path::from("bronze/t"))).try_collect().await.unwrap();
    let names = found.iter().filter(|file| file.location.extension() == Some("parquet"));
    names.map(|file| file.location.filename().unwrap_or_default().to_owned()).collect()
}

/// An entry with the name of the data file.
fn with_name(entry: &[u8], name: &[u8]) -> Vec<u8> {
    let Some(at) = entry.windows(DATA_FILE.len()).position(|part| part == DATA_FILE) else { return entry.to_vec() };
    [&entry[..at], name, &entry[at + DATA_FILE.len()..]].concat()
}
