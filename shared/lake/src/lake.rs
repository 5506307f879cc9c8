//! The lake of one pipeline: its storage, its engine, and warm handles of its tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use headwater_core::model::{Dataset, Flow, Pipeline};
use headwater_core::name::DatasetName;
use tokio::sync::Mutex;

use crate::engine::Engine;
use crate::error::{LakeError, Result};
use crate::landing_progress::LandingProgress;
use crate::layout::file_size;
use crate::recent_marks::RecentMarks;
use crate::storage::Storage;
use crate::table::Table;

/// A pipeline's lake. Cheap to share by reference; one a process is enough.
///
/// Warm: table handles are kept between invocations and read only what is new. Nothing in here is
/// needed for correctness: a new `Lake` on the same storage does the same.
#[derive(Debug)]
pub struct Lake {
    pipeline: Arc<Pipeline>,
    project: PathBuf,
    storage: Storage,
    engine: Engine,
    tables: Mutex<BTreeMap<DatasetName, Table>>,
    /// Tables that weren't there when they were looked for.
    missing: Mutex<BTreeSet<DatasetName>>,
    marks: RecentMarks,
    /// Datasets whose shadows are in place of them.
    shadowed: BTreeSet<DatasetName>,
    landing: Arc<LandingProgress>,
}

impl Lake {
    /// Opens the lake of a checked pipeline. `project` is the folder that relative paths start from.
    ///
    /// # Errors
    /// `Invalid` when the storage's URL can't be used, `Unavailable` when the engine can't start.
    pub fn open(pipeline: Pipeline, project: &Path) -> Result<Self> {
        let storage = Storage::open(&absolute(project, &pipeline.storage))?;
        Self::with_storage(pipeline, project, storage)
    }

    /// Opens it to look at: where there is no folder yet, none is made and no table is found.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn inspect(pipeline: Pipeline, project: &Path) -> Result<Self> {
        let location = absolute(project, &pipeline.storage);
        let is_there = location.contains("://") || Path::new(&location).is_dir();
        let storage = Storage::open(if is_there { &location } else { "memory:///" })?;
        Self::with_storage(pipeline, project, storage)
    }

    /// Opens it on a storage of the caller's.
    ///
    /// # Errors
    /// `Unavailable` when the engine can't start.
    pub fn with_storage(pipeline: Pipeline, project: &Path, storage: Storage) -> Result<Self> {
        let engine = Engine::new(&pipeline.settings)?;
        let project = project.to_owned();
        Ok(Self {
            pipeline: Arc::new(pipeline),
            project,
            storage,
            engine,
            tables: Mutex::default(),
            missing: Mutex::default(),
            marks: RecentMarks::default(),
            shadowed: BTreeSet::new(),
            landing: Arc::default(),
        })
    }

    /// The lake with the shadows of these datasets in place of them.
    #[must_use]
    pub fn shadowing(self, shadowed: BTreeSet<DatasetName>) -> Self {
        Self { shadowed, tables: Mutex::default(), missing: Mutex::default(), ..self }
    }

    /// The lake with only the flows into these datasets. What is known of tables stays known.
    #[must_use]
    pub fn with_flows_into(self, targets: &BTreeSet<DatasetName>) -> Self {
        let mut pipeline = Arc::unwrap_or_clone(self.pipeline);
        pipeline.flows.retain(|flow| targets.contains(&flow.target));
        Self { pipeline: Arc::new(pipeline), ..self }
    }

    /// The pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// The storage.
    #[must_use]
    pub const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The SQL engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How far the landing of files is.
    #[must_use]
    pub const fn landing(&self) -> &Arc<LandingProgress> {
        &self.landing
    }

    /// A URL or path of the project, made absolute.
    #[must_use]
    pub fn resolve(&self, path: &str) -> String {
        absolute(&self.project, path)
    }

    /// The path of a dataset's table below the storage's root.
    ///
    /// # Errors
    /// `Invalid` for a view or an unknown name.
    pub fn table_path(&self, name: &DatasetName) -> Result<String> {
        if self.is_shadowed(name) { self.shadow_path(name) } else { self.path_in_use(name) }
    }

    /// What is known of the newest files.
    pub(crate) const fn marks(&self) -> &RecentMarks {
        &self.marks
    }

    /// Whether the shadow of a dataset or side table is in place of it.
    pub(crate) fn is_shadowed(&self, name: &DatasetName) -> bool {
        self.shadowed.contains(name) || name.main().is_some_and(|main| self.shadowed.contains(&main))
    }

    /// Whether flows into a dataset may run: all, but in a lake with shadows only those into these.
    pub(crate) fn computes(&self, name: &DatasetName) -> bool {
        self.shadowed.is_empty() || self.is_shadowed(name)
    }

    /// The path of a dataset's own table, whether it is shadowed or not.
    ///
    /// # Errors
    /// As [`Self::table_path`].
    pub(crate) fn path_in_use(&self, name: &DatasetName) -> Result<String> {
        self.pipeline.table_path(name).ok_or_else(|| LakeError::Configuration {
            message: format!("`{name}` has no table"),
            help: "name a streaming table, a materialized view, or a side table of one".into(),
        })
    }

    /// Whether a dataset is kept by changes.
    pub(crate) fn is_kept_by_changes(&self, name: &DatasetName) -> bool {
        self.pipeline.flows_into(name).any(|flow| flow.changes.is_some())
    }

    /// Bytes of a data file of a dataset or side table, about.
    pub(crate) fn file_size(&self, name: &DatasetName) -> u64 {
        file_size(&self.pipeline, name)
    }

    /// A handle of a dataset's table at its latest version; `None` while there is no table.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read, `Invalid` for a table that can't be read by us.
    pub async fn table(&self, name: &DatasetName) -> Result<Option<Table>> {
        let table = match self.warm(name).await {
            Some(table) => Box::pin(table.refresh()).await?,
            None => Table::open(&self.storage, &self.table_path(name)?).await?,
        };
        match &table {
            Some(table) => self.keep(name, table.clone()).await,
            None => self.miss(name).await,
        }
        Ok(table)
    }

    /// The same, but what was missing isn't looked for again. For whom it is enough that another who has made the table
    /// meanwhile wins the race for its first version.
    pub(crate) async fn table_once_seen(&self, name: &DatasetName) -> Result<Option<Table>> {
        if self.missing.lock().await.contains(name) { Ok(None) } else { self.table(name).await }
    }

    /// The handle that was kept warm, at the version that it had then.
    pub(crate) async fn warm(&self, name: &DatasetName) -> Option<Table> {
        self.tables.lock().await.get(name).cloned()
    }

    /// Keeps a handle warm.
    pub(crate) async fn keep(&self, name: &DatasetName, table: Table) {
        self.missing.lock().await.remove(name);
        self.tables.lock().await.insert(name.clone(), table);
    }

    /// Keeps in mind that there is no table.
    async fn miss(&self, name: &DatasetName) {
        self.tables.lock().await.remove(name);
        self.missing.lock().await.insert(name.clone());
    }

    /// The dataset that a flow writes.
    pub(crate) fn target(&self, flow: &Flow) -> Result<&Dataset> {
        self.pipeline
            .dataset(&flow.target)
            .ok_or_else(|| LakeError::Internal { message: format!("flow {} has no target {}", flow.name, flow.target) })
    }

    /// The `app_id` of a flow's progress.
    pub(crate) fn app_id(&self, flow: &Flow) -> String {
        flow.name.app_id(&self.pipeline.name)
    }

    /// The time.
    pub(crate) fn now() -> DateTime<Utc> {
        Utc::now()
    }
}

fn absolute(project: &Path, path: &str) -> String {
    if path.contains("://") || Path::new(path).is_absolute() {
        return path.to_owned();
    }
    project.join(path).to_string_lossy().into_owned()
}
