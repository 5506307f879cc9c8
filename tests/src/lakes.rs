//! Lakes of small pipelines: from SQL to handlers, and to rows as text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Duration, Utc};
use futures::TryStreamExt;
use headwater_core::diagnostic::SourceFile;
use headwater_core::model::Pipeline;
use headwater_core::name::DatasetName;
use headwater_core::report::{Outcome, Report};
use headwater_core::trigger::{Cause, Message, MessageBatch, Trigger};
use headwater_core::{graph, project};
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_runtime::local::FunctionKind;
use headwater_testkit::fault_store::FaultStore;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

/// What tells when or by whom a row was written, rather than what it is.
const CIRCUMSTANCES: [&str; 3] = ["_headwater.time", "_headwater.source_version", "__headwater_recorded_at"];

/// The pipeline of a project whose messages are called `events`.
pub(crate) fn pipeline(sql: &str) -> Pipeline {
    pipeline_with(sql, &["events"])
}

/// The pipeline of a project with these sources of messages.
pub(crate) fn pipeline_with(sql: &str, sources: &[&str]) -> Pipeline {
    let bindings: String = sources.iter().map(|source| format!("  {source}: {{spool: {source}}}\n")).collect();
    let head = "name: p\nstorage: lake\nlibraries:\n  - glob: {include: sql/**}\nsources:\n";
    let file = SourceFile::new("pipeline.yml", format!("{head}{bindings}"));
    let parsed = project::parse(&file, &BTreeMap::new());
    let built = graph::build(&parsed.project.expect("a project"), &[SourceFile::new("sql/a.sql", sql)]);
    built.pipeline.unwrap_or_else(|| panic!("{:#?}", built.diagnostics))
}

/// A lake on a store, as a new process sees it. Relative paths start from `folder`.
pub(crate) fn lake_of(pipeline: &Pipeline, folder: &Path, store: Arc<dyn ObjectStore>) -> Lake {
    let storage = Storage::with_store(Storage::open("memory:///").unwrap().url().clone(), store).remembering();
    Lake::with_storage(pipeline.clone(), folder, storage).unwrap()
}

/// Wakes a function as a host would.
pub(crate) async fn wake(lake: &Lake, function: FunctionKind, cause: Cause) -> Report {
    Box::pin(handle(lake, function, Trigger::new(cause))).await
}

async fn handle(lake: &Lake, function: FunctionKind, trigger: Trigger) -> Report {
    match function {
        FunctionKind::BronzeEvents => headwater_bronze_events::handle(lake, trigger).await,
        FunctionKind::BronzeFiles => headwater_bronze_files::handle(lake, trigger).await,
        FunctionKind::Silver => headwater_silver::handle(lake, trigger).await,
        FunctionKind::Gold => headwater_gold::handle(lake, trigger).await,
        FunctionKind::Compact => headwater_compact::handle(lake, trigger).await,
    }
}

/// Wakes a function by a timer until it commits nothing more.
pub(crate) async fn tick(lake: &Lake, function: FunctionKind) -> Report {
    const ROUNDS: usize = 1_000;
    let mut all = Report::default();
    for _ in 0..ROUNDS {
        let round = wake(lake, function, Cause::Timer(Vec::new())).await;
        let goes_on = commits(&round) > 0;
        all.extend(round);
        if !goes_on {
            return all;
        }
    }
    panic!("{function:?} finds something to commit again and again");
}

/// Hands messages of the source `events` over, all at once.
pub(crate) async fn deliver(lake: &Lake, messages: Vec<Message>) -> Report {
    let batch = MessageBatch { source: "events".into(), messages, received_at: Utc::now() };
    wake(lake, FunctionKind::BronzeEvents, Cause::Messages(batch)).await
}

/// A message that is received for the so-many-th time.
pub(crate) fn message(id: &str, body: impl AsRef<[u8]>, receive_count: u32) -> Message {
    Message {
        id: id.to_owned(),
        body: body.as_ref().to_vec().into(),
        enqueued_at: DateTime::UNIX_EPOCH + Duration::days(20_000),
        receive_count,
        attributes: BTreeMap::new(),
    }
}

/// How many commits a report tells of.
pub(crate) fn commits(report: &Report) -> usize {
    report.flows.iter().filter(|flow| matches!(flow.outcome, Outcome::Committed { .. })).count()
}

/// The report, if no flow failed and nothing is to be tried again.
pub(crate) fn well(report: Report) -> Report {
    let ended = |outcome: &Outcome| {
        matches!(outcome, Outcome::NothingNew | Outcome::AlreadyApplied | Outcome::Committed { .. })
    };
    assert!(report.retry.is_empty() && report.flows.iter().all(|flow| ended(&flow.outcome)), "{report:#?}");
    report
}

/// The rows of every table of a lake as text, side tables included, in a fixed order.
pub(crate) async fn contents(lake: &Lake) -> BTreeMap<String, Vec<String>> {
    let mut tables = BTreeMap::new();
    for dataset in lake.pipeline().datasets.iter().filter(|dataset| dataset.kind.has_table()) {
        for name in [dataset.name.clone(), dataset.name.quarantine(), dataset.name.late(), dataset.name.changes()] {
            tables.insert(name.to_string(), rows(lake, &name).await);
        }
    }
    tables.retain(|_, rows| !rows.is_empty());
    tables
}

/// The rows of a table as text, in a fixed order; none if there is no table.
pub(crate) async fn rows(lake: &Lake, name: &DatasetName) -> Vec<String> {
    let Some(table) = lake.table(name).await.unwrap() else { return Vec::new() };
    let frame = lake.engine().session().read_table(table.provider().await.unwrap()).unwrap();
    let batches = frame.collect().await.unwrap();
    let mut rows: Vec<String> = batches.iter().flat_map(rows_of).collect();
    rows.sort_unstable();
    rows
}

/// One column of a table as text, in order; `a.b` is a field.
pub(crate) async fn values(lake: &Lake, name: &str, column: &str) -> Vec<String> {
    column_of(&rows(lake, &DatasetName::new(name)).await, column)
}

/// One column of rows as text, in order; `~` where it is NULL.
pub(crate) fn column_of(rows: &[String], column: &str) -> Vec<String> {
    let mark = format!("{column}=");
    let mut values: Vec<_> = rows
        .iter()
        .map(|row| {
            let value = row.split(" | ").find_map(|part| part.strip_prefix(&mark));
            value.unwrap_or("~").to_owned()
        })
        .collect();
    values.sort_unstable();
    values
}

/// `column=value | column=value`, fields of structs each on their own, NULLs left out.
fn rows_of(batch: &RecordBatch) -> Vec<String> {
    let mut leaves = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        collect_leaves(field.name(), column, &mut leaves);
    }
    let options = FormatOptions::new();
    let row = |at| {
        let parts = leaves.iter().filter(|(_, column)| column.is_valid(at)).map(|(name, column)| {
            let formatter = ArrayFormatter::try_new(column, &options).unwrap();
            format!("{name}={}", formatter.value(at))
        });
        parts.collect::<Vec<_>>().join(" | ")
    };
    (0..batch.num_rows()).map(row).collect()
}

fn collect_leaves(name: &str, column: &ArrayRef, leaves: &mut Vec<(String, ArrayRef)>) {
    if CIRCUMSTANCES.contains(&name) {
        return;
    }
    match column.data_type() {
        DataType::Struct(fields) => {
            for (field, column) in fields.iter().zip(column.as_struct().columns()) {
                collect_leaves(&format!("{name}.{}", field.name()), column, leaves);
            }
        }
        _ => leaves.push((name.to_owned(), ArrayRef::clone(column))),
    }
}

/// A store in memory, a folder for files that arrive, and as many processes on them as it takes.
pub(crate) struct Lab {
    pub(crate) folder: TempDir,
    pub(crate) store: InMemory,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        Self { folder, store: InMemory::new() }
    }

    /// Lets a file arrive in folder `in`.
    pub(crate) fn arrive(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Deletes a table behind the pipeline's back.
    pub(crate) async fn forget(&self, table: &str) {
        let objects: Vec<_> = self.store.list(Some(&table.into())).try_collect().await.unwrap();
        for object in objects {
            self.store.delete(&object.location).await.unwrap();
        }
    }

    /// A new process.
    pub(crate) fn lake(&self, sql: &str) -> Lake {
        lake_of(&pipeline(sql), self.folder.path(), Arc::new(self.store.clone()))
    }

    /// A new process whose store fails on demand.
    pub(crate) fn faulty_lake(&self, sql: &str) -> (Lake, FaultStore) {
        let faults = FaultStore::new(Arc::new(self.store.clone()));
        (lake_of(&pipeline(sql), self.folder.path(), Arc::new(faults.clone())), faults)
    }
}

/// Files, silver and gold, until nothing is new; whatever comes of it.
pub(crate) async fn try_update(lake: &Lake) -> Report {
    let mut report = tick(lake, FunctionKind::BronzeFiles).await;
    report.extend(tick(lake, FunctionKind::Silver).await);
    report.extend(tick(lake, FunctionKind::Gold).await);
    report
}

/// Files, silver and gold, until nothing is new; all must end well.
pub(crate) async fn update(lake: &Lake) -> Report {
    well(try_update(lake).await)
}

/// Lands what has arrived; then two processes of silver and one of compaction at once, whatever comes of it.
pub(crate) async fn rush(lab: &Lab, sql: &str) {
    tick(&lab.lake(sql), FunctionKind::BronzeFiles).await;
    let lakes = [lab.lake(sql), lab.lake(sql), lab.lake(sql)];
    let [first, second, compacting] = &lakes;
    let compact = wake(compacting, FunctionKind::Compact, Cause::Timer(Vec::new()));
    futures::join!(tick(first, FunctionKind::Silver), tick(second, FunctionKind::Silver), compact);
}

/// Runs work until it ends, or the process that its store is of has died.
pub(crate) async fn until_death(faults: &FaultStore, work: impl Future<Output = Report>) {
    tokio::select! {
        biased;
        () = faults.crashed() => {}
        _ = work => {}
    }
}
