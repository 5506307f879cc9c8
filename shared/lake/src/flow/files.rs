//! Lands files of a folder, each once.
//!
//! Which files wait is decided from the target (`arrivals`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use headwater_core::model::{Evolution, ReadOptions, Relation, RelationSource};
use headwater_core::provenance::{Trace, project_traces};
use headwater_core::report::{FlowReport, Input, Outcome};
use tokio::sync::mpsc;

use super::FlowRun;
use super::arrivals::Waiting;
use super::common::Work;
use super::earlier::Share;
use super::execute::BadRecords;
use super::relations::register_source;
use super::settle::Identity;
use crate::error::{LakeError, Result};
use crate::ingest::{BadRecord, FileDecoder, FoundFile, Landing, Sample, file_schema, read_sample};
use crate::ledger::LedgerColumn;

/// Files that are looked at to infer columns.
const SAMPLE_FILES: usize = 3;

impl FlowRun<'_> {
    /// Lands what is waiting, batch after batch: of all that is there, or of some objects. One report a batch; one
    /// that says so if nothing was new.
    pub(crate) async fn land_files(&self, objects: Option<&[String]>) -> Vec<FlowReport> {
        let mut reports = Vec::new();
        let (landing, mut files) = match self.arrived(objects).await {
            Ok(arrived) => arrived,
            Err(error) => return vec![self.failure(&error)],
        };
        let mut learned = Sample::default();
        loop {
            let report = match self.land_some(&landing, &mut files, &mut learned).await {
                Ok(Some(report)) => report,
                Ok(None) if self.is_out_of_time() => return reports,
                Ok(None) => continue,
                Err(error) => self.failure(&error),
            };
            let goes_on = matches!(report.outcome, Outcome::Committed { .. }) && !self.is_out_of_time();
            if goes_on || reports.is_empty() || report.outcome != Outcome::NothingNew {
                reports.push(report);
            }
            if !goes_on {
                if objects.is_none() {
                    self.clean_source(&landing).await;
                }
                return reports;
            }
        }
    }

    /// The files that may wait. A notice that comes again for a file that is in costs one request.
    async fn arrived(&self, objects: Option<&[String]>) -> Result<(Landing, Vec<FoundFile>)> {
        let (_, path, read) = self.files_relation()?;
        let landing = self.landing(path, read)?;
        let files = match objects {
            Some(objects) => landing.pick(objects).await?,
            None => landing.list().await?,
        };
        Ok((landing, files))
    }

    pub(super) fn landing(&self, path: &str, read: &ReadOptions) -> Result<Landing> {
        Landing::open(&self.lake.resolve(path), &read.files)
    }

    /// One batch of the files; those that are in are taken out of them. `None` when a race was lost.
    /// Or columns were met that are to be added, which are learned then.
    async fn land_some(
        &self,
        landing: &Landing,
        files: &mut Vec<FoundFile>,
        learned: &mut Sample,
    ) -> Result<Option<FlowReport>> {
        let (_, _, read) = self.files_relation()?;
        match self.try_land_some(landing, files, learned).await {
            Err(error) if self.learns(&error, read, learned) => Ok(None),
            landed => landed,
        }
    }

    async fn try_land_some(
        &self,
        landing: &Landing,
        files: &mut Vec<FoundFile>,
        learned: &Sample,
    ) -> Result<Option<FlowReport>> {
        let started = Instant::now();
        let mut report = self.report();
        let (relation, path, read) = self.files_relation()?;
        let pinned = self.pin_target().await?;
        if !read.files.include_existing && !self.without_existing(&pinned, files).await? {
            return Ok(None);
        }
        let Some(waiting) = self.waiting((landing, files), read, &pinned).await? else { return Ok(Some(report)) };
        report.inputs = vec![Input::Files {
            path: path.to_owned(),
            files: waiting.files.len() as u64,
            bytes: waiting.files.iter().map(|file| file.size).sum(),
        }];
        let mut sample = self.sample(&waiting, read).await?;
        sample.add(learned.clone());
        let (columns, remembered) = self.source_columns(pinned.main.as_ref(), read, &sample)?;
        let traces = relation.watermark().map(|watermark| Trace::EventTime(&watermark.column));
        let traces: Vec<_> = std::iter::once(Trace::Metadata).chain(traces).collect();
        let query = project_traces(&self.flow.query, &traces).ok_or_else(|| self.untraceable())?;
        let session = self.session();
        let statics = self.pin_tables().await?;
        if self.register_static(&session, &query, &statics).await?.is_none() {
            report.outcome = Outcome::Retryable { reason: "a table that the query joins has no data yet".into() };
            return Ok(Some(report));
        }
        let keyed = self.dataset.dedup.is_some() && pinned.main.is_some();
        let (provider, bad) = self.decoded(&waiting, read, &columns, keyed).await?;
        register_source(&session, relation, provider)?;
        let frame = self.lake.engine().plan(&session, &query).await?;
        let paths: HashSet<String> = waiting.files.iter().map(|file| file.path.clone()).collect();
        let work = Work { aside: Some(waiting.aside), source_version: None, remembered, traces_files: true };
        let plan = self.plan(&pinned, frame.schema().inner(), work).await?;
        let watermark = self.watermark(pinned.main.as_ref()).await?;
        let plan = self.with_keys_of_target(plan, &pinned, (&session, &query), watermark).await?;
        let executed = super::execute::execute(frame, &plan, watermark, Some(bad)).await?;
        report.millis = super::elapsed_millis(started);
        let identity = Identity::Sources { column: LedgerColumn::FilePath, ids: paths };
        let mut batch = self.finish(&plan, executed, watermark, (identity, report)).await?;
        self.mark_rowless(&mut batch, &waiting.files, read);
        self.settle(&pinned, &plan, batch).await
    }

    async fn all_files(&self, path: &str, read: &ReadOptions) -> Result<Waiting> {
        let landing = self.landing(path, read)?;
        let files = landing.list().await?;
        Ok(Waiting { storage: landing.storage().clone(), files, aside: [Share::Nothing, Share::Nothing] })
    }

    pub(super) async fn sample(&self, waiting: &Waiting, read: &ReadOptions) -> Result<Sample> {
        let mut sample = Sample::default();
        if read.schema.is_empty() && !read.format.has_fixed_columns() {
            let store = waiting.storage.object_store();
            for file in waiting.files.iter().take(SAMPLE_FILES) {
                sample.add(read_sample(&store, file, &read.format).await?);
            }
            waiting.files.iter().for_each(|file| sample.add_folders(file, &read.files));
        }
        Ok(sample)
    }

    /// A table of the files' rows, decoded as they are read, and their bad records. A table that is
    /// read twice (for keys first) is decoded into memory once.
    async fn decoded(
        &self,
        waiting: &Waiting,
        read: &ReadOptions,
        columns: &SchemaRef,
        twice: bool,
    ) -> Result<(Arc<dyn TableProvider>, BadRecords)> {
        let schema = file_schema(columns);
        let (sender, receiver) = mpsc::channel(16);
        let decoder = Arc::new(self.file_decoder(waiting.storage.object_store(), read, columns));
        let ordered = self.dataset.dedup.is_some();
        let partitions = if ordered { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
        let streams = spread(&waiting.files, partitions).into_iter().map(|files| {
            Arc::new(FileStream {
                files,
                schema: Arc::clone(&schema),
                decoder: Arc::clone(&decoder),
                bad: Some(sender.clone()),
            }) as Arc<dyn PartitionStream>
        });
        let streaming = StreamingTable::try_new(Arc::clone(&schema), streams.collect()).map_err(LakeError::query)?;
        if !twice {
            return Ok((Arc::new(streaming), receiver));
        }
        drop(sender);
        let (sender, all_bad) = mpsc::channel(1);
        let mut receiver = receiver;
        let collect_bad = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(some) = receiver.recv().await {
                all.extend(some);
            }
            let _ = sender.send(all).await;
        });
        let session = self.lake.engine().ordered_session();
        let rows = session
            .read_table(Arc::new(streaming))
            .map_err(LakeError::query)?
            .collect()
            .await
            .map_err(LakeError::query)?;
        drop(session);
        collect_bad.await.map_err(|source| LakeError::Internal { message: source.to_string() })?;
        Ok((Arc::new(MemTable::try_new(schema, vec![rows]).map_err(LakeError::query)?), all_bad))
    }

    /// The beginnings of the first files of a folder, whatever was landed of them; empty where the
    /// columns are given.
    pub(super) async fn sample_all(&self, path: &str, read: &ReadOptions) -> Result<Sample> {
        self.sample(&self.all_files(path, read).await?, read).await
    }

    /// A table of all files of a folder, for a query that reads it whole. A record that can't be
    /// decoded fails the query, as there is nowhere to put it.
    pub(super) async fn read_whole(&self, path: &str, read: &ReadOptions) -> Result<Arc<dyn TableProvider>> {
        let waiting = self.all_files(path, read).await?;
        let sample = self.sample(&waiting, read).await?;
        let (columns, _) = self.source_columns(None, read, &sample)?;
        // There is no table to add columns to.
        let read = &ReadOptions { evolution: Evolution::None, ..read.clone() };
        let schema = file_schema(&columns);
        let decoder = Arc::new(self.file_decoder(waiting.storage.object_store(), read, &columns));
        let partitions = std::thread::available_parallelism().map_or(1, usize::from);
        let streams = spread(&waiting.files, partitions).into_iter().map(|files| {
            Arc::new(FileStream { files, schema: Arc::clone(&schema), decoder: Arc::clone(&decoder), bad: None })
                as Arc<dyn PartitionStream>
        });
        Ok(Arc::new(StreamingTable::try_new(Arc::clone(&schema), streams.collect()).map_err(LakeError::query)?))
    }

    fn file_decoder(
        &self,
        store: Arc<dyn object_store::ObjectStore>,
        read: &ReadOptions,
        columns: &SchemaRef,
    ) -> FileDecoder {
        FileDecoder {
            store,
            runtime: tokio::runtime::Handle::current(),
            read: read.clone(),
            columns: Arc::clone(columns),
            limits: self.decode_limits(),
        }
    }

    pub(super) fn files_relation(&self) -> Result<(&Relation, &str, &ReadOptions)> {
        let relation = self.flow.stream().ok_or_else(|| self.no_stream())?;
        match &relation.source {
            RelationSource::Files { path, read, .. } => Ok((relation, path, read)),
            _ => Err(self.no_stream()),
        }
    }
}

/// Files dealt out by size, so that partitions end at about the same time; never no partition.
fn spread(files: &[FoundFile], partitions: usize) -> Vec<Vec<FoundFile>> {
    let mut dealt: Vec<(u64, Vec<FoundFile>)> = vec![(0, Vec::new()); partitions.min(files.len()).max(1)];
    for file in files {
        if let Some((size, least)) = dealt.iter_mut().min_by_key(|(size, _)| *size) {
            *size += file.size;
            least.push(file.clone());
        }
    }
    dealt.into_iter().map(|(_, files)| files).collect()
}

/// Rows of some files, decoded on a thread of its own.
#[derive(Debug)]
struct FileStream {
    files: Vec<FoundFile>,
    schema: SchemaRef,
    decoder: Arc<FileDecoder>,
    bad: Option<mpsc::Sender<Vec<BadRecord>>>,
}

impl PartitionStream for FileStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let (rows, files, decoder, bad) =
            (builder.tx(), self.files.clone(), Arc::clone(&self.decoder), self.bad.clone());
        builder.spawn_blocking(move || {
            for file in &files {
                let mut refused = None;
                let emit = |batch, found: Vec<BadRecord>| hand_out(&rows, bad.as_ref(), batch, found, &mut refused);
                decoder
                    .decode(file, emit)
                    .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))?;
                if let Some(reason) = refused {
                    return Err(datafusion::error::DataFusionError::Execution(reason));
                }
            }
            Ok(())
        });
        builder.build()
    }
}

/// Hands rows and bad records on; false when nobody wants more.
fn hand_out(
    rows: &mpsc::Sender<datafusion::error::Result<arrow::array::RecordBatch>>,
    bad: Option<&mpsc::Sender<Vec<BadRecord>>>,
    batch: arrow::array::RecordBatch,
    found: Vec<BadRecord>,
    refused: &mut Option<String>,
) -> bool {
    if let Some(first) = found.first() {
        match bad {
            Some(bad) => {
                if bad.blocking_send(found).is_err() {
                    return false;
                }
            }
            None => {
                *refused = Some(format!("{}: {}", first.position, first.reason));
                return false;
            }
        }
    }
    batch.num_rows() == 0 || rows.blocking_send(Ok(batch)).is_ok()
}
