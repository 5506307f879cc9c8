//! Keeps a table by the changes of its rows (`AUTO CDC`).
//!
//! Beside the target there is a side table, `<dataset>__changes`, with those changes that later ones must
//! be held against ([`headwater_core::cdc`]): of a table of last states the sequence of each key, deletes
//! too; where upserts may leave columns alone, and for a history, the changes as they came. So the target
//! has the user's columns and nothing else.
//!
//! A batch reads its changes, finds those of their keys in the side table, folds both, and writes both
//! tables: the side table commits first, as all side tables do. Folding a change that the side table
//! knows already gives the same rows again. So a batch that died between the two commits runs again,
//! leaves the side table as it is, and gives the target what it lacks.
//!
//! Memory holds the batch's changes, and those of the same keys in the side table.

mod candidates;
mod fold;
mod held;
mod merge;
mod rows;
mod shape;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use datafusion::dataframe::DataFrame;
use futures::TryStreamExt;
use headwater_core::graph::properties::TOMBSTONE_SECONDS;
use headwater_core::model::AutoCdc;
use headwater_core::report::FlowReport;

use self::candidates::Spread;
use self::fold::{Folded, fold};
use self::held::{Coder, Held, part};
use self::merge::{Finding, Merged, Stays};
use self::rows::Gathering;
use self::shape::Shape;
pub(super) use self::shape::target_columns;
use super::FlowRun;
use super::common::Work;
use super::execute::Executed;
use super::outlet::{Outlet, Plan, Produced, TablePlan};
use super::settle::{Identity, Merge};
use super::target::Pinned;
use crate::align::{align, fit};
use crate::engine::storable_schema;
use crate::error::{LakeError, Result};
use crate::table::{DataFile, Table};
use crate::write::discard;

/// How long deletes are remembered, unless the table says otherwise.
const TWO_DAYS: u32 = 2 * 24 * 60 * 60;

/// A batch of changes.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) changes: &'a AutoCdc,
    pub(super) frame: DataFrame,
    pub(super) work: Work,
    pub(super) identity: Identity,
    /// `txn`s that tell what the batch was joined with.
    pub(super) joined: Vec<(String, i64)>,
    /// The side table of changes has the batch already.
    pub(super) is_known: bool,
    pub(super) started: Instant,
}

/// What all steps of a batch share.
struct Session<'a> {
    pinned: &'a Pinned,
    plan: Arc<Plan>,
    side: TablePlan,
    shape: Shape,
    coder: Coder,
}

impl FlowRun<'_> {
    /// Applies a batch of changes; `None` when a race was lost.
    pub(super) async fn apply_changes(
        &self,
        pinned: &Pinned,
        batch: Batch<'_>,
        mut report: FlowReport,
    ) -> Result<Option<FlowReport>> {
        let Batch { changes, frame, work, identity, joined, is_known, started } = batch;
        self.check_kept(pinned)?;
        let given = storable_schema(frame.schema().inner());
        let plan = self.plan(pinned, &target_columns(changes, &given)?, work).await?;
        let shape = Shape::new(changes, &plan.target.schema, &given, pinned.changes.as_ref())?;
        let path = self.lake.table_path(&self.flow.target.changes())?;
        let side = shape.side(self.dataset, path, pinned.changes.as_ref())?;
        let session = Session { pinned, plan: Arc::clone(&plan), side, coder: Coder::new(&shape)?, shape };
        let (held, mut produced) = Box::pin(self.gather(frame, &session)).await?;
        let merged = match Box::pin(self.merge(held, &session, &mut report)).await {
            Ok(merged) => merged,
            Err(error) => {
                plan.discard(produced).await;
                return Err(error);
            }
        };
        let [main, mut kept] = merged;
        if is_known {
            discard(self.lake.storage(), &session.side.path, std::mem::take(&mut kept.written.adds)).await;
            kept = Merged::default();
        }
        produced.rows.written = report.changes.map_or(0, |counts| counts.upserted);
        produced.main = main.written;
        report.millis = super::elapsed_millis(started);
        let executed = Executed { produced, highest_event_time: None };
        let mut batch = match self.finish(&plan, executed, None, (identity, report)).await {
            Ok(batch) => batch,
            Err(error) => {
                discard(self.lake.storage(), &session.side.path, kept.written.adds).await;
                return Err(error);
            }
        };
        batch.joined = joined;
        batch.merge = Some(Merge {
            removes: main.removes,
            side: session.side.clone(),
            side_written: kept.written,
            side_removes: kept.removes,
        });
        self.settle(pinned, &plan, batch).await
    }

    /// A table whose rows the side table doesn't know was filled in another way.
    fn check_kept(&self, pinned: &Pinned) -> Result<()> {
        let is_filled = |table: &Option<Table>| match table {
            Some(table) => table.files().map(|files| !files.is_empty()),
            None => Ok(false),
        };
        if is_filled(&pinned.main)? && !is_filled(&pinned.changes)? {
            return Err(LakeError::Configuration {
                message: format!("`{}` holds rows that no AUTO CDC has put there", self.dataset.name),
                help: format!("rebuild it with --full-refresh={}, or keep another table by changes", self.dataset.name),
            });
        }
        Ok(())
    }

    /// The changes of the batch that pass; the others are put aside.
    async fn gather(&self, frame: DataFrame, session: &Session<'_>) -> Result<(Held, Produced)> {
        let mut outlet = Outlet::new(Arc::clone(&session.plan));
        match self.pour_changes(frame, session, &mut outlet).await {
            Ok(held) => Ok((held, outlet.close().await?)),
            Err(error) => {
                outlet.abort().await;
                Err(error)
            }
        }
    }

    async fn pour_changes(&self, frame: DataFrame, session: &Session<'_>, outlet: &mut Outlet) -> Result<Held> {
        let Session { shape, coder, .. } = session;
        let mut held = Held::default();
        let mut rows = frame.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            let (rows, misfits) = fit(&batch, &shape.wide)?;
            if let Some((_, misfits)) = misfits {
                outlet.misfits(&misfits).await?;
            }
            let parted = part(&shape.started(rows)?, shape)?;
            if let Some((rows, reasons)) = parted.void {
                outlet.void_rows(&rows, &reasons).await?;
            }
            outlet.count_unjudged(parted.deletes.num_rows() + parted.truncations.num_rows());
            let upserts = outlet.judged(parted.upserts).await?;
            for rows in [upserts, parted.deletes].into_iter().filter(|rows| rows.num_rows() > 0) {
                held.add(rows, shape, coder)?;
            }
            if parted.truncations.num_rows() > 0 {
                held.truncate(parted.truncations, shape, coder)?;
            }
        }
        Ok(held)
    }

    /// Writes the target and the side table anew, as far as the changes touch them.
    async fn merge(&self, mut held: Held, session: &Session<'_>, report: &mut FlowReport) -> Result<[Merged; 2]> {
        let Session { pinned, plan, side, shape, coder } = session;
        let now = plan.now;
        let forget_before = (now - chrono::Duration::seconds(i64::from(self.remembers()))).timestamp_micros();
        let finding = Finding { shape, coder, forget_before: None };
        let spread = Spread::new(&held, shape, held.by_key.values().flatten())?;
        self.know(&mut held, &spread, session, finding).await?;
        let truncates = held.truncates();
        let folded = fold(&mut held, shape)?;
        let Folded { rows, gone, stay, kept, replaced, mut counts } = folded;
        let gathering = Gathering::new(&held, shape);

        let replaced = if truncates { Stays::Only(HashSet::new()) } else { Stays::AllBut(replaced) };
        let files = self.files_of(pinned.changes.as_ref(), &replaced, &spread, finding).await?;
        let truncation = held.truncated_at.filter(|_| truncates);
        let truncation = truncation.map(|at| gathering.truncation(at, &side.schema, now));
        let new = gathering.side(&kept, &side.schema, now).chain(truncation);
        let forgetting = Finding { forget_before: Some(forget_before), ..finding };
        let kept = self.merged(side, files, (&replaced, new), forgetting).await?;

        let stays = if truncates { Stays::Only(stay) } else { Stays::AllBut(gone) };
        let main = match self.files_of(pinned.main.as_ref(), &stays, &spread, finding).await {
            Ok(files) => {
                let new = gathering.target(&rows, &plan.target.schema);
                self.merged(&plan.target, files, (&stays, new), finding).await
            }
            Err(error) => Err(error),
        };
        let main = match main {
            Ok(main) => main,
            Err(error) => {
                discard(self.lake.storage(), &side.path, kept.written.adds).await;
                return Err(error);
            }
        };
        if shape.history.is_none() {
            counts.deleted = main.gone;
        }
        report.changes = Some(counts);
        Ok([main, kept])
    }

    /// Adds what the side table knows of the keys.
    async fn know(&self, held: &mut Held, spread: &Spread, session: &Session<'_>, finding: Finding<'_>) -> Result<()> {
        let Session { pinned, shape, coder, .. } = session;
        let Some(table) = &pinned.changes else { return Ok(()) };
        if shape.truncated.is_some() {
            let files: Vec<DataFile> =
                table.files()?.into_iter().filter(|file| file.may_hold_null(shape.key_names()[0])).collect();
            let mut rows = self.stream_of(table, &files, None).await?;
            while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
                held.know_truncations(&align(&batch, &shape.wide)?, shape, coder)?;
            }
        }
        let files = if held.truncates() {
            table.files()?
        } else {
            self.files_with(table, (&held.by_key, spread), finding).await?
        };
        if files.is_empty() {
            return Ok(());
        }
        let mut rows = self.stream_of(table, &files, None).await?;
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            held.know(&align(&batch, &shape.wide)?, shape, coder)?;
        }
        Ok(())
    }

    /// The files of a table that are written anew.
    async fn files_of<'t>(
        &self,
        table: Option<&'t Table>,
        stays: &Stays,
        spread: &Spread,
        finding: Finding<'_>,
    ) -> Result<Option<(&'t Table, Vec<DataFile>)>> {
        let Some(table) = table else { return Ok(None) };
        let files = match stays {
            Stays::Only(_) => table.files()?,
            Stays::AllBut(keys) => self.files_with(table, (keys, spread), finding).await?,
        };
        Ok(Some((table, files)))
    }

    /// For how many seconds deletes are remembered.
    fn remembers(&self) -> u32 {
        let declared = self.dataset.properties.get(TOMBSTONE_SECONDS);
        declared.and_then(|seconds| seconds.parse().ok()).unwrap_or(TWO_DAYS)
    }
}
