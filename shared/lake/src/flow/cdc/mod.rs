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
//! What comes in may be snapshots of a table instead of changes: then their differences are the changes
//! (`snapshots`).
//!
//! Memory holds changes, and those of the same keys in the side table; a batch with more changes than fit is applied in parts.

mod feed;
mod fold;
mod held;
mod known;
mod merge;
mod parts;
mod rewrite;
mod rows;
mod shape;
mod snapshots;
mod touched;

use std::sync::Arc;
use std::time::Instant;

use futures::TryStreamExt;
use headwater_core::graph::properties::TOMBSTONE_SECONDS;
use headwater_core::model::AutoCdc;
use headwater_core::report::{ChangeCounts, FlowReport, Outcome, Rows};

use self::feed::Feed;
use self::fold::{Folded, fold};
use self::held::{Coder, Held, Keys, part};
use self::merge::{Finding, Merged, Stays};
use self::parts::Part;
use self::rows::{Gathering, marked};
use self::shape::Shape;
pub(super) use self::shape::{UnknownColumn, is_left_out, target_columns, unknown_column};
pub(super) use self::snapshots::Given;
use super::FlowRun;
use super::common::Work;
use super::execute::Executed;
use super::outlet::{Outlet, Plan, Produced, TablePlan};
use super::settle::{Identity, Merge};
use super::target::Pinned;
use crate::align::fit;
use crate::error::{LakeError, Result};
use crate::protocol::CHANGE_DATA_FEED;
use crate::table::Table;
use crate::write::discard;

/// The progress of a flow that has none.
const START: i64 = -1;

/// Batches of a table that are decoded ahead, on another thread, of what is done with them.
const AHEAD: usize = 2;

/// How long deletes are remembered, unless the table says otherwise.
const TWO_DAYS: u32 = 2 * 24 * 60 * 60;

/// A batch of changes.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) changes: &'a AutoCdc,
    pub(super) given: Given,
    /// How many rows were read for it, if that is known.
    pub(super) rows: Option<u64>,
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
    shape: Arc<Shape>,
    coder: Arc<Coder>,
    /// The keys that it is about.
    part: Part,
    /// The progress that stays, of a part that isn't the last one.
    progress: Option<i64>,
}

impl FlowRun<'_> {
    /// Applies a batch of changes, part by part; `None` when a race was lost.
    pub(super) async fn apply_changes(
        &self,
        pinned: &Pinned,
        batch: Batch<'_>,
        report: FlowReport,
    ) -> Result<Option<FlowReport>> {
        if !self.is_kept(pinned).await? {
            return Ok(None);
        }
        let session = self.changing(pinned, &batch, Part::default()).await?;
        let mut parts = self.parts(&batch.given, batch.rows, &session).await?;
        let last = parts.pop().unwrap_or_default();
        if parts.is_empty() {
            return self.apply_part(session, &batch, report).await;
        }
        let from = self.progress_of(pinned, &batch.identity).await?;
        // Parts are ranges of encoded keys: another flow may have widened them meanwhile.
        let keys = session.shape.key_schema()?;
        let mut counts = ChangeCounts::default();
        for part in parts {
            let now = self.pin_target().await?;
            if self.progress_of(&now, &batch.identity).await? != from {
                return Ok(None);
            }
            let session = Session { progress: Some(from.unwrap_or(START)), ..self.changing(&now, &batch, part).await? };
            if session.shape.key_schema()? != keys {
                return Ok(None);
            }
            match self.apply_part(session, &batch, report.clone()).await? {
                Some(FlowReport { outcome: Outcome::Committed { .. } | Outcome::NothingNew, changes, .. }) => {
                    counts = changes.map_or(counts, |changes| counts.plus(changes));
                }
                Some(FlowReport { outcome: Outcome::AlreadyApplied, .. }) | None => return Ok(None),
                Some(ended) => return Ok(Some(ended)),
            }
            if self.is_out_of_time() {
                let reason = "the deadline came before all parts of a large batch were applied".into();
                return Ok(Some(FlowReport { outcome: Outcome::Retryable { reason }, ..report }));
            }
        }
        let now = self.pin_target().await?;
        let session = self.changing(&now, &batch, last).await?;
        if session.shape.key_schema()? != keys {
            return Ok(None);
        }
        let done = self.apply_part(session, &batch, report).await?;
        Ok(done.map(|mut report| {
            report.changes = report.changes.map(|changes| changes.plus(counts));
            report
        }))
    }

    /// The consumed version of the target.
    async fn progress_of(&self, pinned: &Pinned, identity: &Identity) -> Result<Option<i64>> {
        match (identity, &pinned.main) {
            (Identity::Progress { app_id, .. }, Some(table)) => table.transaction(app_id).await,
            (
                Identity::Progress { .. } | Identity::Numbers(_) | Identity::Part { .. } | Identity::Sources { .. },
                _,
            ) => Ok(None),
        }
    }

    async fn changing<'p>(&self, pinned: &'p Pinned, batch: &Batch<'_>, part: Part) -> Result<Session<'p>> {
        let Batch { changes, given, work, .. } = batch;
        let plan = self.plan(pinned, &target_columns(changes, &given.columns, self.dataset)?, work.clone()).await?;
        let kept = filled(pinned.changes.as_ref()).await?;
        let shape = Shape::new(changes, &plan.target, &given.columns, kept.map(Table::schema).as_ref())?;
        let side = shape.side(self.dataset, self.lake.table_path(&self.flow.target.changes())?, kept)?;
        let coder = Arc::new(Coder::new(&shape)?);
        Ok(Session { pinned, plan, side, coder, shape: Arc::new(shape), part, progress: None })
    }

    async fn apply_part(
        &self,
        session: Session<'_>,
        batch: &Batch<'_>,
        mut report: FlowReport,
    ) -> Result<Option<FlowReport>> {
        let (plan, is_last) = (Arc::clone(&session.plan), session.progress.is_none());
        let (held, mut produced) = Box::pin(self.gather(&batch.given, &session)).await?;
        let merged = match Box::pin(self.merge(held, (&session, &batch.given), &mut report)).await {
            Ok(merged) => merged,
            Err(error) => {
                plan.discard(produced).await;
                return Err(error);
            }
        };
        let [main, mut kept] = merged;
        if batch.is_known {
            discard(self.lake.storage(), &session.side.path, std::mem::take(&mut kept.written.adds)).await;
            kept = Merged::default();
        }
        let upserted = report.changes.map_or(0, |counts| counts.upserted);
        if is_last {
            report.changes =
                report.changes.map(|counts| ChangeCounts { stale: counts.stale + batch.given.stale, ..counts });
        } else {
            // What is put aside comes with the last part, and so do the counts of what was read.
            let aside = [(&plan.quarantine, &mut produced.quarantine), (&plan.late, &mut produced.late)];
            for (side, written) in aside {
                discard(&plan.storage, &side.table.path, std::mem::take(written).files()).await;
            }
            produced.rows = Rows::default();
        }
        produced.rows.written = upserted;
        produced.main = main.written;
        report.millis = super::elapsed_millis(batch.started);
        let identity = match (&batch.identity, session.progress) {
            (Identity::Progress { app_id, .. }, Some(to)) => Identity::Progress { app_id: app_id.clone(), to },
            (identity, _) => identity.clone(),
        };
        let executed = Executed { produced, highest_event_time: None };
        let mut settled = match self.finish(&plan, executed, None, (identity, report)).await {
            Ok(settled) => settled,
            Err(error) => {
                discard(self.lake.storage(), &session.side.path, kept.written.adds).await;
                return Err(error);
            }
        };
        if !is_last {
            settled.report.expectations.clear();
        }
        settled.joined.clone_from(&batch.joined);
        settled.merge = Some(Merge {
            removes: main.removes,
            side: session.side.clone(),
            side_written: kept.written,
            side_removes: kept.removes,
        });
        self.settle(session.pinned, &plan, settled).await
    }

    /// Whether the side table knows the rows of the table; no, where another process has made both since the side table was
    /// looked for.
    ///
    /// # Errors
    /// `Invalid` where the table was filled in another way; `Unavailable` where flows have kept it, and the side table isn't there.
    async fn is_kept(&self, pinned: &Pinned) -> Result<bool> {
        let Some(main) = filled(pinned.main.as_ref()).await? else { return Ok(true) };
        if filled(pinned.changes.as_ref()).await?.is_some() {
            return Ok(true);
        }
        let (table, side) = (&self.dataset.name, self.flow.target.changes());
        if filled(self.lake.table(&side).await?.as_ref()).await?.is_some() {
            return Ok(false);
        }
        let pipeline = self.lake.pipeline();
        for flow in pipeline.flows_into(table).filter(|flow| flow.changes.is_some()) {
            if main.transaction(&flow.name.app_id(&pipeline.name)).await?.is_some() {
                return Err(LakeError::SideTableGone { table: table.to_string(), side: side.to_string() });
            }
        }
        Err(LakeError::Configuration {
            message: format!("`{table}` holds rows that no AUTO CDC has put there"),
            help: format!("rebuild it with --full-refresh={table}, or keep another table by changes"),
        })
    }

    /// The changes of the batch that pass; the others are put aside.
    async fn gather(&self, given: &Given, session: &Session<'_>) -> Result<(Held, Produced)> {
        let mut outlet = Outlet::new(Arc::clone(&session.plan));
        match self.pour_changes(given, session, &mut outlet).await {
            Ok(held) => Ok((held, Box::pin(outlet.close()).await?)),
            Err(error) => {
                Box::pin(outlet.abort()).await;
                Err(error)
            }
        }
    }

    async fn pour_changes(&self, given: &Given, session: &Session<'_>, outlet: &mut Outlet) -> Result<Held> {
        let Session { shape, coder, part: keys, .. } = session;
        let mut held = Held::default();
        for frame in &given.frames {
            let mut rows = frame.clone().execute_stream().await.map_err(LakeError::query)?;
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
                for rows in [upserts, parted.deletes] {
                    let rows = keys.of(rows, shape, coder)?;
                    if rows.num_rows() > 0 {
                        held.add(rows, shape, coder)?;
                    }
                }
                if parted.truncations.num_rows() > 0 && keys.truncates() {
                    held.truncate(&parted.truncations, shape, coder)?;
                }
            }
        }
        if keys.truncates_again() {
            held.leave_truncation();
        }
        Ok(held)
    }

    /// Writes the target and the side table anew, as far as the changes touch them.
    async fn merge(
        &self,
        mut held: Held,
        (session, given): (&Session<'_>, &Given),
        report: &mut FlowReport,
    ) -> Result<[Merged; 2]> {
        let Session { pinned, plan, side, shape, coder, part, .. } = session;
        let now = plan.now;
        let forget_before = (now - chrono::Duration::seconds(i64::from(self.remembers()))).timestamp_micros();
        let finding = Finding { shape: Arc::clone(shape), coder: Arc::clone(coder), forget_before: None };
        let spread = held.spread(shape)?;
        self.know(&mut held, &spread, session, finding.clone()).await?;
        let truncates = held.truncates();
        let folded = fold(&mut held, shape)?;
        let Folded { rows, gone, stay, kept, replaced, mut counts } = folded;
        let gathering = Gathering::new(&held, shape);

        let replaced = if truncates { Stays::Only(Keys::default(), part.clone()) } else { Stays::AllBut(replaced) };
        let truncation = held.truncated_at.filter(|_| truncates);
        let truncation = truncation.map(|at| gathering.truncation(at, &side.schema, now));
        let mark =
            given.mark.as_ref().filter(|_| session.progress.is_none()).map(|mark| marked(mark, &side.schema, now));
        let new = gathering.side(&kept, &side.schema, now).chain(truncation).chain(mark);
        let forgetting = Finding { forget_before: Some(forget_before), ..finding.clone() };
        let of_side = (side, pinned.changes.as_ref());
        let kept = Box::pin(self.merged(of_side, (replaced, forgetting, &spread), new, None));

        let stays = if truncates { Stays::Only(stay, part.clone()) } else { Stays::AllBut(gone) };
        let new = gathering.target(&rows, &plan.target.schema);
        let target = (&plan.target, pinned.main.as_ref());
        let main = Box::pin(self.merged(target, (stays, finding, &spread), new, self.feed(session)?));
        let (main, kept) = match tokio::join!(main, kept) {
            (Ok(main), Ok(kept)) => (main, kept),
            (Ok(one), Err(error)) => {
                discard(self.lake.storage(), &plan.target.path, one.written.files()).await;
                return Err(error);
            }
            (Err(error), Ok(one)) => {
                discard(self.lake.storage(), &side.path, one.written.files()).await;
                return Err(error);
            }
            (Err(error), Err(_)) => return Err(error),
        };
        if shape.history.is_none() {
            counts.deleted = main.gone;
        }
        report.changes = Some(counts);
        Ok([main, kept])
    }

    /// The change data feed of the target, if it asks for one.
    fn feed(&self, session: &Session<'_>) -> Result<Option<Feed>> {
        let target = &session.plan.target;
        let present = session.pinned.main.as_ref().and_then(|table| table.property(CHANGE_DATA_FEED));
        let wanted = target.configuration.get(CHANGE_DATA_FEED).cloned().or(present);
        if !wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let size = self.lake.pipeline().settings.target_file_size;
        Feed::new(self.lake.storage(), target, &session.shape, size).map(Some)
    }

    /// For how many seconds deletes are remembered.
    fn remembers(&self) -> u32 {
        let declared = self.dataset.properties.get(TOMBSTONE_SECONDS);
        declared.and_then(|seconds| seconds.parse().ok()).unwrap_or(TWO_DAYS)
    }
}

/// A table, if it has rows.
async fn filled(table: Option<&Table>) -> Result<Option<&Table>> {
    match table {
        Some(table) => Ok((!table.is_empty().await?).then_some(table)),
        None => Ok(None),
    }
}
