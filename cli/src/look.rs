//! A look at a lake and its sources, without changing anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use headwater_core::model::{Dataset, EventSource, Pipeline, RelationSource};
use headwater_core::name::DatasetName;
use headwater_core::report::{ChangeCounts, Slice};
use headwater_lake::lake::Lake;
use headwater_lake::layout::Layout;
use headwater_lake::storage::Storage;
use headwater_lake::table::{CommitEntry, DataFile, Table};
use headwater_runtime::local::Binding;
use headwater_runtime::spool::{Depth, Spool, SpoolOptions};
use headwater_runtime::sqs;
use tokio::sync::{Mutex, OnceCell};

use crate::failure::Result;
use crate::hubs;

/// How many commits back a table's last change of rows is looked for.
const LOOK_BACK: usize = 20;
/// A hub that is looked at has so long to answer.
const LOOK: Duration = Duration::from_secs(15);

/// A pipeline's lake, to look at.
#[derive(Debug)]
pub(crate) struct Look {
    /// The pipeline.
    pub(crate) pipeline: Pipeline,
    folder: PathBuf,
    storage: Option<Storage>,
    /// The tables that were looked at, each opened once.
    tables: Mutex<BTreeMap<DatasetName, Arc<OnceCell<Option<Table>>>>>,
}

/// The state of a dataset's table.
#[derive(Debug)]
pub(crate) struct TableState {
    /// The latest version.
    pub(crate) version: u64,
    /// Rows, where statistics tell for every file.
    pub(crate) rows: Option<u64>,
    /// Live data files.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// When rows last came or went.
    pub(crate) changed: Option<DateTime<Utc>>,
    /// How far its compaction has come, if it has anything to do.
    pub(crate) compaction: Option<Slice>,
}

impl Look {
    /// Opens the lake, if there is one yet.
    pub(crate) fn new((pipeline, folder): (Pipeline, PathBuf)) -> Result<Self> {
        let location = below(&folder, &pipeline.storage);
        let is_remote = pipeline.storage.contains("://");
        let storage = if is_remote || location.is_dir() { Some(Storage::open(&text(&location))?) } else { None };
        Ok(Self { pipeline, folder, storage, tables: Mutex::default() })
    }

    /// The table of a dataset or side table, if it exists, as it is when it is first looked at.
    pub(crate) async fn table(&self, name: &DatasetName) -> Result<Option<Table>> {
        let seen = Arc::clone(self.tables.lock().await.entry(name.clone()).or_default());
        let open = async || match (&self.storage, self.pipeline.table_path(name)) {
            (Some(storage), Some(path)) => Table::open(storage, &path).await,
            (None, _) | (_, None) => Ok(None),
        };
        Ok(seen.get_or_try_init(open).await?.clone())
    }

    /// The state of a table, if it exists.
    pub(crate) async fn state(&self, name: &DatasetName) -> Result<Option<TableState>> {
        let Some(table) = self.table(name).await? else { return Ok(None) };
        let totals = table.totals().await?;
        let history = table.history(LOOK_BACK).await?;
        Ok(Some(TableState {
            version: table.version(),
            rows: totals.rows(),
            files: totals.files,
            bytes: totals.bytes,
            changed: history.iter().find(|entry| entry.changes_rows()).and_then(|entry| entry.timestamp),
            compaction: self.compaction((name, &table), &history).await?,
        }))
    }

    /// What compaction has to do by the log as it is now, and what it has done if it ended before it was through. A table that can't
    /// be clustered as it is declared has `validate` to say so.
    async fn compaction(
        &self,
        (name, table): (&DatasetName, &Table),
        history: &[CommitEntry],
    ) -> Result<Option<Slice>> {
        let Ok(layout) = Layout::of(&self.pipeline, name, table) else { return Ok(None) };
        let bins = layout.bins(table, None).await?.bins;
        let last = history.iter().find_map(|entry| entry.report.as_ref()?.slice);
        let done = last.filter(|slice| slice.done < slice.planned).map_or(0, |slice| slice.done);
        let bytes_left = bins.iter().flatten().map(DataFile::size).sum();
        Ok((!bins.is_empty()).then(|| Slice { done, planned: done + bins.len() as u64, bytes_left }))
    }

    /// What changes did to a table that is kept by them, in its last commits.
    pub(crate) async fn changes(&self, name: &DatasetName) -> Result<Option<ChangeCounts>> {
        if self.pipeline.flows_into(name).all(|flow| flow.changes.is_none()) {
            return Ok(None);
        }
        let history = self.history(name, LOOK_BACK).await?;
        let counts = history.iter().filter_map(|entry| entry.report.as_ref()?.changes);
        Ok(Some(counts.fold(ChangeCounts::default(), ChangeCounts::plus)))
    }

    /// Versions of source tables that a dataset's flows have not read yet, summed over its streams.
    pub(crate) async fn lag(&self, dataset: &Dataset) -> Result<Option<u64>> {
        let Some(target) = self.table(&dataset.name).await? else { return Ok(None) };
        let mut lag = None;
        for flow in self.pipeline.flows_into(&dataset.name) {
            let Some(RelationSource::TableStream { dataset: source, .. }) = flow.stream().map(|read| &read.source)
            else {
                continue;
            };
            let Some(source) = self.table(source).await? else { continue };
            let consumed = target.transaction(&flow.name.app_id(&self.pipeline.name)).await?;
            let consumed = consumed.and_then(|version| u64::try_from(version).ok());
            let behind = consumed.map_or(source.version() + 1, |version| source.version().saturating_sub(version));
            lag = Some(lag.unwrap_or(0) + behind);
        }
        Ok(lag)
    }

    /// The last commits of a table, newest first.
    pub(crate) async fn history(&self, name: &DatasetName, limit: usize) -> Result<Vec<CommitEntry>> {
        match self.table(name).await? {
            Some(table) => Ok(table.history(limit).await?),
            None => Ok(Vec::new()),
        }
    }

    /// The datasets with tables, their side tables included.
    pub(crate) fn tables(&self) -> Vec<DatasetName> {
        let mains = self.pipeline.datasets.iter().filter(|dataset| dataset.kind.has_table());
        mains.flat_map(|main| [main.name.clone(), main.name.quarantine(), main.name.late()]).collect()
    }

    /// The queue of an event source; an embedded one is made if there is none. A hub is no queue.
    pub(crate) fn open_queue(&self, source: &EventSource) -> Result<Option<Binding>> {
        Ok(match source {
            EventSource::Spool { path, visibility_timeout, max_receive_count } => {
                let (visibility_timeout, max_receive_count) = (*visibility_timeout, *max_receive_count);
                let options = SpoolOptions { visibility_timeout, max_receive_count };
                Some(Binding::Spool(Spool::open(below(&self.folder, path), options)?))
            }
            EventSource::Sqs { queue, visibility_timeout } => {
                Some(Binding::Sqs { queue: sqs::Queue::new(queue.clone()), visibility_timeout: *visibility_timeout })
            }
            EventSource::EventHubs { .. } => None,
        })
    }

    /// How many messages wait at a source; of a hub, events that its tables haven't committed.
    pub(crate) async fn depth(&self, source: (&str, &EventSource), now: DateTime<Utc>) -> Result<Depth> {
        let (name, source) = source;
        if let EventSource::EventHubs { hub } = source {
            let lake = Arc::new(Lake::inspect(self.pipeline.clone(), &self.folder)?);
            let hub = hubs::source(name, hub, &lake)?;
            return Ok(Depth { waiting: hub.waiting(LOOK).await?, ..Depth::default() });
        }
        if let EventSource::Spool { path, .. } = source
            && !below(&self.folder, path).is_dir()
        {
            return Ok(Depth::default());
        }
        Ok(match self.open_queue(source)? {
            Some(Binding::Spool(spool)) => spool.depth(now)?,
            Some(Binding::Sqs { queue, .. }) => queue.depth().await?,
            None => Depth::default(),
        })
    }
}

fn below(folder: &Path, path: &str) -> PathBuf {
    if path.contains("://") { PathBuf::from(path) } else { folder.join(path) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
