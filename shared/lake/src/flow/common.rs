//! Steps that every kind of flow takes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::SessionContext;
use headwater_core::model::{Expectation, ReadOptions, Violation};
use headwater_core::name::DatasetName;
use headwater_core::report::FlowReport;
use headwater_core::watermark::next_watermark;
use tokio::sync::Mutex;

use super::FlowRun;
use super::dedup::Keys;
use super::earlier::Share;
use super::execute::Executed;
use super::outlet::{Plan, SidePlan, TablePlan};
use super::rules::Rule;
use super::settle::{Batch, Identity};
use super::target::Pinned;
use crate::align::merged;
use crate::engine::{self, arrow_schema};
use crate::error::{LakeError, Result};
use crate::ingest::{DecodeLimits, Sample, infer_schema};
use crate::lake::Lake;
use crate::protocol::check_writable;
use crate::schema_actions::{schema_from_json, schema_to_json};
use crate::table::Table;

/// What is particular about a batch.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// What an earlier attempt may have put aside: in the quarantine, in the late table.
    pub(super) aside: Option<[Share; 2]>,
    /// The version of a Delta source that the batch reads through.
    pub(super) source_version: Option<u64>,
    /// The inferred columns of the source, to be remembered with the table.
    pub(super) remembered: Option<(String, String)>,
    /// Collect the paths of files whose rows are in the target.
    pub(super) traces_files: bool,
}

impl FlowRun<'_> {
    /// A session for this flow. Deduplication keeps the first row of each key, so its rows must come
    /// in the order of their files: one partition. So must changes: of two at one place in the sequence the later counts.
    pub(super) fn session(&self) -> SessionContext {
        if self.dataset.dedup.is_some() || self.flow.changes.is_some() {
            self.lake.engine().ordered_session()
        } else {
            self.lake.engine().session()
        }
    }

    /// What the partitions of a batch share, whose rows have these columns. A table that can't be written is refused before anything is.
    pub(super) async fn plan(&self, pinned: &Pinned, columns: &SchemaRef, work: Work) -> Result<Arc<Plan>> {
        for table in [&pinned.main, &pinned.quarantine, &pinned.late, &pinned.changes].into_iter().flatten() {
            check_writable(&self.lake.storage().table_url(table.path()), table.head())?;
        }
        let Work { aside, source_version, remembered, traces_files } = work;
        let target = self.target_plan(pinned, columns, remembered).await?;
        let name = &self.flow.target;
        let [in_quarantine, in_late] = aside.unwrap_or([Share::Nothing, Share::Nothing]);
        let quarantine = self.side(&name.quarantine(), &target, pinned.quarantine.as_ref(), &in_quarantine).await?;
        let late = self.side(&name.late(), &target, pinned.late.as_ref(), &in_late).await?;
        let keys =
            self.dataset.dedup.as_ref().map(|dedup| Keys::new(dedup, &target.schema).map(Arc::new)).transpose()?;
        Ok(Arc::new(Plan {
            storage: self.lake.storage().clone(),
            rules: self.rules(&target)?,
            target,
            quarantine,
            late,
            keys,
            seen: Mutex::default(),
            flow: self.flow.name.clone(),
            source_version,
            now: Lake::now(),
            target_file_size: self.lake.pipeline().settings.target_file_size,
            traces_files,
            failed: AtomicBool::new(false),
        }))
    }

    async fn side(
        &self,
        name: &DatasetName,
        target: &TablePlan,
        table: Option<&Table>,
        share: &Share,
    ) -> Result<SidePlan> {
        let plan = self.side_plan(name, target, table)?;
        let earlier = Mutex::new(self.earlier(table, &plan, share).await?);
        Ok(SidePlan { table: plan, earlier })
    }

    /// The dataset's expectations, compiled; a `NOT NULL` column is one that quarantines.
    pub(super) fn rules(&self, target: &TablePlan) -> Result<Vec<Rule>> {
        let session = self.lake.engine().session();
        let compile = |expectation: &Expectation| {
            Ok(Rule {
                name: expectation.name.clone(),
                action: expectation.action,
                predicate: engine::predicate(&session, &target.schema, &expectation.predicate)?,
            })
        };
        let mut rules = self.dataset.expectations.iter().map(compile).collect::<Result<Vec<_>>>()?;
        for column in self.dataset.columns.iter().filter(|column| column.not_null) {
            rules.push(Rule {
                name: format!("{} NOT NULL", column.name),
                action: Violation::Drop,
                predicate: engine::not_null(&target.schema, &column.name)?,
            });
        }
        Ok(rules)
    }

    /// The columns of an outside source: given, or those remembered with the target and new ones of a
    /// sample. The second value is what to remember from now on.
    pub(super) fn source_columns(
        &self,
        main: Option<&Table>,
        read: &ReadOptions,
        sample: &Sample,
    ) -> Result<(SchemaRef, Option<(String, String)>)> {
        if !read.schema.is_empty() {
            return Ok((with_rescued(arrow_schema(&read.schema)?, read), None));
        }
        if read.format.has_fixed_columns() {
            return Ok((infer_schema(sample, read)?, None));
        }
        let key = self.remembered_key();
        let columns = match (self.remembered_columns(main), infer_schema(sample, read)) {
            (Some(remembered), Ok(inferred)) if read.evolution.adds_columns() => {
                sample.with_told(merged(&remembered, &inferred))
            }
            (Some(remembered), Ok(_) | Err(_)) => remembered,
            (None, inferred) => inferred?,
        };
        let columns = if read.evolution.widens_types() { sample.widened(columns) } else { columns };
        let json = schema_to_json(&columns)?;
        Ok((with_rescued(columns, read), Some((key, json))))
    }

    /// Whether an error tells of columns that are to be added: the sample has them from now on.
    pub(super) fn learns(&self, error: &LakeError, read: &ReadOptions, sample: &mut Sample) -> bool {
        let new = error.new_columns().filter(|_| read.evolution.adds_columns());
        let Some(columns) = new.filter(|columns| sample.learn(columns)) else { return false };
        let names: Vec<_> = columns.fields().iter().map(|field| field.name().as_str()).collect();
        tracing::info!(flow = %self.flow.name, columns = names.join(", "), "columns are added or widened");
        true
    }

    /// The inferred columns of the flow's source that are remembered with its target.
    pub(super) fn remembered_columns(&self, main: Option<&Table>) -> Option<SchemaRef> {
        main.and_then(|table| table.property(&self.remembered_key())).and_then(|json| schema_from_json(&json))
    }

    fn remembered_key(&self) -> String {
        format!("headwater.source.{}", self.flow.name)
    }

    /// Limits of decoding.
    pub(super) fn decode_limits(&self) -> DecodeLimits {
        let settings = &self.lake.pipeline().settings;
        DecodeLimits {
            record_bytes: usize::try_from(settings.max_record_bytes).unwrap_or(usize::MAX),
            ratio: settings.max_decompression_ratio,
        }
    }

    /// The watermark that the flow's next batch begins with.
    pub(super) async fn watermark(&self, main: Option<&Table>) -> Result<Option<i64>> {
        let has_one = self.flow.stream().is_some_and(|relation| relation.watermark().is_some());
        match main {
            Some(table) if has_one => {
                table.transaction(&self.flow.name.watermark_app_id(&self.lake.pipeline().name)).await
            }
            _ => Ok(None),
        }
    }

    /// The batch, counted and ready to be settled; an error if a `FAIL UPDATE` rule was violated.
    pub(super) async fn finish(
        &self,
        plan: &Plan,
        executed: Executed,
        watermark: Option<i64>,
        (identity, mut report): (Identity, FlowReport),
    ) -> Result<Batch> {
        let Executed { produced, highest_event_time } = executed;
        report.expectations = produced.tally.counts(&plan.rules);
        report.rows = produced.rows;
        let fatal = produced.tally.fatal(&plan.rules);
        if !fatal.is_empty() {
            plan.discard(produced).await;
            return Err(self.violated(report.expectations, &fatal));
        }
        let declared = self.flow.stream().and_then(|relation| relation.watermark());
        let next = declared.and_then(|declared| next_watermark(watermark, highest_event_time, declared.delay));
        if let Some(next) = next {
            report.watermark = chrono::DateTime::from_timestamp_micros(next);
        }
        let app_id = || self.flow.name.watermark_app_id(&self.lake.pipeline().name);
        let moved = next.filter(|next| Some(*next) != watermark && produced.rows.read > 0);
        let watermark = moved.map(|next| (app_id(), next));
        Ok(Batch {
            identity,
            produced,
            report,
            txns: Vec::new(),
            joined: Vec::new(),
            watermark,
            replaces: None,
            merge: None,
        })
    }

    pub(super) fn untraceable(&self) -> LakeError {
        LakeError::Configuration {
            message: format!("flow `{}` reads its stream inside a subquery, a CTE or a set operation", self.flow.name),
            help: "read the stream in the FROM clause of the outer SELECT, and put further steps into another table"
                .into(),
        }
    }

    pub(super) fn no_stream(&self) -> LakeError {
        LakeError::Internal { message: format!("flow {} was run as what it isn't", self.flow.name) }
    }
}

/// With the column, last, that takes what is rescued.
fn with_rescued(columns: SchemaRef, read: &ReadOptions) -> SchemaRef {
    let Some(rescued) = &read.rescued_column else { return columns };
    let own = columns.fields().iter().filter(|field| field.name() != rescued).cloned();
    let rescued = Arc::new(Field::new(rescued, DataType::Utf8, true));
    Arc::new(Schema::new(own.chain([rescued]).collect::<Vec<_>>()))
}
