//! Where the rows of a batch go: the target, its quarantine, its late table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, ListArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use headwater_core::model::Violation;
use headwater_core::name::FlowName;
use headwater_core::provenance::METADATA;
use headwater_core::report::Rows;
use tokio::sync::Mutex;

use super::dedup::{Keys, Seen};
use super::earlier::Earlier;
use super::rules::{Judged, Rule, Tally, judge};
use crate::align::{Misfits, align};
use crate::error::Result;
use crate::ingest::{BadRecord, SideContext, bad_records, misfit_rows, side_rows};
use crate::storage::Storage;
use crate::widening::Growth;
use crate::write::{Files, Writer, Written, discard};

/// What all partitions of a batch share.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) storage: Storage,
    pub(super) target: TablePlan,
    pub(super) quarantine: SidePlan,
    pub(super) late: SidePlan,
    pub(super) rules: Vec<Rule>,
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) seen: Mutex<Seen>,
    pub(super) flow: FlowName,
    pub(super) source_version: Option<u64>,
    pub(super) now: DateTime<Utc>,
    pub(super) target_file_size: u64,
    /// Collect the file paths that rows came from.
    pub(super) traces_files: bool,
    /// A part of the batch has failed: the others needn't go on.
    pub(super) failed: AtomicBool,
}

impl Plan {
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Deletes what was written and won't be committed.
    pub(super) async fn discard(&self, produced: Produced) {
        let Produced { main, quarantine, late, .. } = produced;
        let tables = [&self.target, &self.quarantine.table, &self.late.table];
        for (table, written) in tables.into_iter().zip([main, quarantine, late]) {
            discard(&self.storage, &table.path, written.files()).await;
        }
    }
}

/// A table that a batch may write to.
#[derive(Debug, Clone)]
pub(super) struct TablePlan {
    pub(super) path: String,
    pub(super) schema: SchemaRef,
    pub(super) partitioned_by: Vec<String>,
    /// Columns by whose values rows are looked for.
    pub(super) keys: Vec<String>,
    pub(super) configuration: BTreeMap<String, String>,
    pub(super) comment: Option<String>,
    /// How its columns grow.
    pub(super) growth: Growth,
}

impl TablePlan {
    /// How its files are written, if they are to be about so large.
    pub(super) fn files(&self, target_size: u64) -> Files<'_> {
        Files { partitioned_by: &self.partitioned_by, target_size, keys: &self.keys, values: None }
    }
}

/// A side table that a batch may write to.
#[derive(Debug)]
pub(super) struct SidePlan {
    pub(super) table: TablePlan,
    /// Rows of the batch that are there already.
    pub(super) earlier: Mutex<Earlier>,
}

/// What a batch, or one partition of it, wrote. Nothing of it is visible before the commit.
#[derive(Debug, Default)]
pub(super) struct Produced {
    pub(super) main: Written,
    pub(super) quarantine: Written,
    pub(super) late: Written,
    pub(super) rows: Rows,
    pub(super) tally: Tally,
    pub(super) file_paths: BTreeSet<String>,
}

impl Produced {
    /// Adds what another partition wrote.
    pub(super) fn add(&mut self, other: Self) {
        self.main.add(other.main);
        self.quarantine.add(other.quarantine);
        self.late.add(other.late);
        self.rows = self.rows.plus(other.rows);
        self.tally.add(&other.tally);
        self.file_paths.extend(other.file_paths);
    }
}

/// Writers of one partition, opened when the first row comes.
#[derive(Debug)]
pub(super) struct Outlet {
    plan: Arc<Plan>,
    main: Option<Writer>,
    quarantine: Option<Writer>,
    late: Option<Writer>,
    rows: Rows,
    tally: Tally,
    failed: bool,
    file_paths: BTreeSet<String>,
}

impl Outlet {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            main: None,
            quarantine: None,
            late: None,
            rows: Rows::default(),
            tally: Tally::default(),
            failed: false,
            file_paths: BTreeSet::new(),
        }
    }

    /// Takes rows that are in time, in the target's schema.
    pub(super) async fn rows(&mut self, batch: RecordBatch) -> Result<()> {
        let kept = self.judged(batch).await?;
        self.keep(kept).await
    }

    /// Those rows that pass the rules, none once a `FAIL UPDATE` rule was violated; dropped ones are put aside. The
    /// target's columns come first.
    pub(super) async fn judged(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        self.rows.read += batch.num_rows() as u64;
        let plan = Arc::clone(&self.plan);
        let Judged { kept, dropped } = judge(&plan.rules, &mut self.tally, batch)?;
        self.failed |=
            plan.rules.iter().any(|rule| rule.action == Violation::Fail) && !self.tally.fatal(&plan.rules).is_empty();
        if self.failed {
            return Ok(kept.slice(0, 0));
        }
        if let Some((rows, reasons)) = dropped {
            self.rows.dropped += rows.num_rows() as u64;
            self.quarantine_rows(&side_rows(&rows, &reasons, &self.context()?)?).await?;
        }
        self.without_earlier(kept).await
    }

    /// Takes rows that can't be applied, with the reasons of each.
    pub(super) async fn void_rows(&mut self, rows: &RecordBatch, reasons: &ListArray) -> Result<()> {
        self.rows.read += rows.num_rows() as u64;
        self.quarantine_rows(&side_rows(rows, reasons, &self.context()?)?).await
    }

    /// Counts rows that no rule is about.
    pub(super) const fn count_unjudged(&mut self, rows: usize) {
        self.rows.read += rows as u64;
    }

    /// Takes rows that are older than the watermark, in the target's schema.
    pub(super) async fn late_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let count = batch.num_rows() as u64;
        self.rows.read += count;
        self.rows.late += count;
        let plan = Arc::clone(&self.plan);
        let reason = super::reason_lists("late: event time is before the watermark", batch.num_rows());
        let rows = side_rows(batch, &reason, &self.context()?)?;
        put_aside(&mut self.late, &plan, &plan.late, &rows).await
    }

    /// Takes rows of which a value doesn't fit its column.
    pub(super) async fn misfits(&mut self, misfits: &Misfits) -> Result<()> {
        self.rows.read += misfits.rows.num_rows() as u64;
        self.quarantine_rows(&misfit_rows(misfits, &self.context()?)?).await
    }

    /// Takes records that couldn't be decoded.
    pub(super) async fn bad(&mut self, bad: &[BadRecord]) -> Result<()> {
        if bad.is_empty() {
            return Ok(());
        }
        self.rows.read += bad.len() as u64;
        self.quarantine_rows(&bad_records(bad, &self.plan.target.schema, &self.context()?)?).await
    }

    /// Ends all files; if one can't be ended, none is left.
    pub(super) async fn close(self) -> Result<Produced> {
        let Self { plan, rows, tally, file_paths, .. } = self;
        let mut produced = Produced { rows, tally, file_paths, ..Produced::default() };
        let mut first = None;
        let files = [&mut produced.main, &mut produced.quarantine, &mut produced.late];
        for (writer, files) in [self.main, self.quarantine, self.late].into_iter().zip(files) {
            match finish(writer).await {
                Ok(written) => *files = written,
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        match first {
            None => Ok(produced),
            Some(error) => {
                plan.discard(produced).await;
                Err(error)
            }
        }
    }

    /// Gives up: what was written so far is deleted.
    pub(super) async fn abort(self) {
        for writer in [self.main, self.quarantine, self.late].into_iter().flatten() {
            writer.abort().await;
        }
    }

    /// Those rows that no earlier attempt has put aside.
    async fn without_earlier(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        let Plan { quarantine, late, .. } = &*self.plan;
        let timely = late.earlier.lock().await.missing(&rows, &late.table.schema)?;
        let kept = quarantine.earlier.lock().await.missing(&timely, &quarantine.table.schema)?;
        let quarantined = (timely.num_rows() - kept.num_rows()) as u64;
        self.rows.late += (rows.num_rows() - timely.num_rows()) as u64;
        self.rows.dropped += quarantined;
        self.rows.quarantined += quarantined;
        Ok(kept)
    }

    async fn keep(&mut self, kept: RecordBatch) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let kept = match &plan.keys {
            Some(keys) => {
                let before = kept.num_rows();
                let first = plan.seen.lock().await.first_rows(keys, kept)?;
                self.rows.duplicate += (before - first.num_rows()) as u64;
                first
            }
            None => kept,
        };
        self.rows.written += kept.num_rows() as u64;
        if plan.traces_files {
            trace_files(&kept, &mut self.file_paths);
        }
        write(&mut self.main, &plan, &plan.target, &kept).await
    }

    async fn quarantine_rows(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows.quarantined += rows.num_rows() as u64;
        let plan = Arc::clone(&self.plan);
        put_aside(&mut self.quarantine, &plan, &plan.quarantine, rows).await
    }

    fn context(&self) -> Result<SideContext> {
        Ok(SideContext { flow: self.plan.flow.clone(), source_version: self.plan.source_version, now: self.plan.now })
    }
}

/// Writes those rows that no earlier attempt has written.
async fn put_aside(writer: &mut Option<Writer>, plan: &Plan, side: &SidePlan, rows: &RecordBatch) -> Result<()> {
    let rows = align(rows, &side.table.schema)?;
    let missing = side.earlier.lock().await.missing(&rows, &side.table.schema)?;
    write(writer, plan, &side.table, &missing).await
}

async fn write(writer: &mut Option<Writer>, plan: &Plan, table: &TablePlan, rows: &RecordBatch) -> Result<()> {
    if rows.num_rows() == 0 {
        return Ok(());
    }
    if writer.is_none() {
        let schema = Arc::clone(&table.schema);
        let files = Files { values: plan.seen.lock().await.new_keys(), ..table.files(plan.target_file_size) };
        *writer = Some(Writer::with_files(&plan.storage, &table.path, schema, files)?);
    }
    let rows = if rows.schema() == table.schema { rows.clone() } else { align(rows, &table.schema)? };
    match writer {
        Some(writer) => writer.write(&rows).await,
        None => Ok(()),
    }
}

async fn finish(writer: Option<Writer>) -> Result<Written> {
    match writer {
        Some(writer) => writer.close().await,
        None => Ok(Written::default()),
    }
}

/// Collects the distinct file paths of a batch; rows of one file come one after the other.
fn trace_files(batch: &RecordBatch, paths: &mut BTreeSet<String>) {
    let Some(metadata) = batch.column_by_name(METADATA).and_then(|column| column.as_struct_opt()) else { return };
    let Some(column) = metadata.column_by_name("file_path").and_then(|column| column.as_string_opt::<i32>()) else {
        return;
    };
    let mut last = None;
    for path in column.iter().flatten() {
        if last != Some(path) {
            paths.insert(path.to_owned());
            last = Some(path);
        }
    }
}
