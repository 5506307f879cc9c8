//! Lands files of a folder, each once.
//!
//! Which files wait is decided from the target (`arrivals`).

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::TableProvider;
use headwater_core::model::{Evolution, ReadOptions, Relation, RelationSource};
use headwater_core::provenance::{Trace, project_traces};
use headwater_core::report::{FlowReport, Outcome};

use super::FlowRun;
use super::arrivals::{Waiting, sampled};
use super::common::Work;
use super::decoded::streaming;
use super::earlier::Share;
use super::relations::register_source;
use crate::error::Result;
use crate::ingest::{FileDecoder, FoundFile, Landing, Sample, read_sample, split_glob};

impl FlowRun<'_> {
    /// Lands what is waiting, batch after batch: of all that is there, or of some objects. One report a batch; one
    /// that says so if nothing was new.
    pub(crate) async fn land_files(&self, objects: Option<&[String]>) -> Vec<FlowReport> {
        let reports = self.land_all(objects).await;
        self.lake.landing().end();
        reports
    }

    async fn land_all(&self, objects: Option<&[String]>) -> Vec<FlowReport> {
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
            let moves_on = matches!(report.outcome, Outcome::Committed { .. } | Outcome::AlreadyApplied);
            let goes_on = moves_on && !self.is_out_of_time();
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
        let (root, glob) = split_glob(path);
        Landing::below(&self.lake.resolve(root), glob, &read.files)
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
        let source_version = waiting.part.as_ref().map(|part| part.named);
        let work = Work { aside: Some(waiting.aside.clone()), source_version, remembered, traces_files: true };
        let plan = self.plan(&pinned, frame.schema().inner(), work).await?;
        let watermark = self.watermark(pinned.main.as_ref()).await?;
        let plan = self.with_keys_of_target(plan, &pinned, (&session, &query), watermark).await?;
        let executed = super::execute::execute(frame, &plan, watermark, Some(bad)).await?;
        report.millis = super::elapsed_millis(started);
        report.inputs = vec![waiting.input(path)];
        let batch = match self.identity(&waiting) {
            Ok(identity) => self.finish(&plan, executed, watermark, (identity, report)).await?,
            Err(error) => {
                plan.discard(executed.produced).await;
                return Err(error);
            }
        };
        let batch = self.marked(batch, &waiting, read);
        self.settle(&pinned, &plan, batch).await
    }

    async fn all_files(&self, path: &str, read: &ReadOptions) -> Result<Waiting> {
        let landing = self.landing(path, read)?;
        let files = landing.list().await?;
        let (storage, sampled) = (landing.storage().clone(), sampled(&files));
        Ok(Waiting { storage, files, sampled, part: None, aside: [Share::Nothing, Share::Nothing] })
    }

    pub(super) async fn sample(&self, waiting: &Waiting, read: &ReadOptions) -> Result<Sample> {
        let mut sample = Sample::default();
        if read.schema.is_empty() && !read.format.has_fixed_columns() {
            let store = waiting.storage.object_store();
            for file in &waiting.sampled {
                sample.add(read_sample(&store, file, &read.format).await?);
            }
            waiting.files.iter().for_each(|file| sample.add_folders(file, &read.files));
        }
        Ok(sample)
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
        let decoder = self.file_decoder(waiting.storage.object_store(), read, &columns);
        streaming((&waiting, Arc::default()), decoder, None, None)
    }

    pub(super) fn file_decoder(
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
