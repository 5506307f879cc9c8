//! Rows in quarantine, back through their flow.
//!
//! Two tables change, so the order makes a death harmless. First the quarantine table is committed: the
//! rows that pass now bear the redrive's id in [`RETURNED`]. That is a claim, nothing more. Then the
//! target is committed: the rows, and a `txn` of that id. A row has been returned when its id has a `txn`
//! with version 1; any other id is a claim of a redrive that died. The next redrive first voids such a
//! claim, by a `txn` with version -1 in the target: whichever of the two is first keeps the other out. So
//! each row is returned once, however many redrives run and wherever they die.

mod records;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Schema;
use chrono::{DateTime, Utc};
use headwater_core::commit::{Expected, Fence};
use headwater_core::model::FlowKind;
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Rows};
use headwater_core::runs::runs;
use uuid::Uuid;

use self::rows::{Passed, marked, returned_by, with_mark};
use super::FlowRun;
use super::key_set::KeySet;
use super::outlet::TablePlan;
use super::target::Pinned;
use crate::align::align;
use crate::commit::{Change, CommitOutcome, SchemaChange, commit};
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::table::{DataFile, Table};
use crate::write::Writer;

/// The column of a quarantine table with the id of the redrive that returned the row.
pub const RETURNED: &str = "_returned";

/// Bytes of files of a quarantine table, as stored, that are read together: the target is looked through once for all of them.
const GROUP_BYTES: u64 = 8 << 20;

/// Races that are lost before a redrive gives up.
const TRIES: usize = 16;

/// Which rows to take out of quarantine.
#[derive(Debug, Clone, Default)]
pub struct Redrive {
    /// Only those one of whose reasons holds this text.
    pub reason: Option<String>,
    /// Only those put aside since then.
    pub since: Option<DateTime<Utc>>,
    /// Say what would happen, and change nothing.
    pub dry_run: bool,
    /// Messages wait at a source of the table, dead letters among them. One of them may have died between
    /// the quarantine table and the target; what the target doesn't know of stays until it was run again.
    pub messages_wait: bool,
}

/// What came of a redrive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Quarantined rows and records that were returned.
    pub returned: u64,
    /// Rows that the target got from them: a record may give none or several.
    pub written: u64,
    /// Rows whose key the target had already.
    pub duplicate: u64,
    /// Why the others stay, and how many; one that fails two rules is counted for each.
    pub staying: BTreeMap<String, u64>,
}

impl Lake {
    /// Returns what now passes from a table's quarantine to the table.
    ///
    /// # Errors
    /// `Invalid` for a view, or when a rule doesn't fit the table; `Unavailable` when storage fails or
    /// other writers won every race.
    pub async fn redrive(&self, name: &DatasetName, wanted: &Redrive) -> Result<Redriven> {
        let flow = self.pipeline().flows_into(name).find(|flow| flow.kind != FlowKind::Materialize);
        let flow = flow.ok_or_else(|| LakeError::Configuration {
            message: format!("`{name}` isn't a table that a flow appends to"),
            help: "name a streaming table; a materialized view judges all its rows anew when it is refreshed".into(),
        })?;
        if flow.changes.is_some() {
            return Err(LakeError::Configuration {
                message: format!(
                    "`{name}` is kept by AUTO CDC: what a quarantined change would do depends on the others"
                ),
                help: format!("mend the source or the rules, and rebuild it with --full-refresh={name}"),
            });
        }
        let run = FlowRun::new(self, flow, "person", None)?;
        for _ in 0..TRIES {
            if let Some(done) = Box::pin(run.redrive(wanted)).await? {
                return Ok(done);
            }
        }
        let source = object_store::Error::Generic { store: "Delta log", source: "other writers were faster".into() };
        Err(LakeError::Storage { action: "can't redrive", path: name.to_string(), source })
    }
}

/// What a redrive has written so far; nothing of it is visible.
struct Draft {
    id: String,
    main: Option<Writer>,
    side: Option<Writer>,
    /// Quarantine files that are replaced by marked ones.
    replaced: Vec<DataFile>,
    done: Redriven,
}

impl FlowRun<'_> {
    /// One attempt; `None` when it is to be tried again on a newer snapshot.
    async fn redrive(&self, wanted: &Redrive) -> Result<Option<Redriven>> {
        let pinned = self.pin_target().await?;
        let Some(quarantine) = &pinned.quarantine else { return Ok(Some(Redriven::default())) };
        let claims = self.claims(quarantine).await?;
        let Some(returned) = self.settled_claims(&pinned, claims, wanted.dry_run).await? else { return Ok(None) };
        let mut draft = Draft {
            id: Uuid::new_v4().to_string(),
            main: None,
            side: None,
            replaced: Vec::new(),
            done: Redriven::default(),
        };
        let mut target = None;
        let (mut seen, mut marks) = (KeySet::default(), HashMap::new());
        let files = quarantine.files().await?;
        for group in runs(files.iter().map(DataFile::size), GROUP_BYTES) {
            let group = &files[group];
            let rows = self.rows_of(quarantine, group).await?;
            let open = self.open_rows((&pinned, &mut marks), &rows, &returned, wanted).await?;
            draft.done.stay(&open.staying);
            let passed = self.passed(&pinned, &rows, &open.rows, &mut seen).await?;
            draft.done.stay(&passed.staying);
            if passed.of.is_empty() {
                continue;
            }
            draft.done.returned += passed.of.len() as u64;
            draft.done.duplicate += passed.duplicate;
            draft.done.written += passed.rows.num_rows() as u64;
            if !wanted.dry_run {
                self.write_passed(&mut draft, quarantine, (group, &rows), &passed).await?;
            }
            target = Some(passed.target);
        }
        match target.filter(|_| !wanted.dry_run) {
            Some(target) => self.return_rows(&pinned, quarantine, &target, draft).await,
            None => Ok(Some(draft.done)),
        }
    }

    /// The rows of files of the quarantine table.
    async fn rows_of(&self, quarantine: &Table, files: &[DataFile]) -> Result<RecordBatch> {
        let schema = with_mark(&quarantine.schema());
        let provider = quarantine.provider_of(files).await?;
        let frame = self.lake.engine().ordered_session().read_table(provider).map_err(LakeError::query)?;
        let batches = frame.collect().await.map_err(LakeError::query)?;
        let aligned = batches.iter().map(|batch| align(batch, &schema)).collect::<Result<Vec<_>>>()?;
        arrow::compute::concat_batches(&schema, &aligned).map_err(LakeError::arrow)
    }

    /// The ids that rows of the quarantine table bear.
    async fn claims(&self, quarantine: &Table) -> Result<BTreeSet<String>> {
        if quarantine.schema().column_with_name(RETURNED).is_none() {
            return Ok(BTreeSet::new());
        }
        let frame = self.lake.engine().session().read_table(quarantine.provider().await?);
        let frame = frame.and_then(|frame| frame.select_columns(&[RETURNED])?.distinct()).map_err(LakeError::query)?;
        let batches = frame.collect().await.map_err(LakeError::query)?;
        let schema = with_mark(&Arc::new(Schema::empty()));
        let aligned = batches.iter().map(|batch| align(batch, &schema)).collect::<Result<Vec<_>>>()?;
        Ok(aligned.iter().flat_map(returned_by).flatten().collect())
    }

    /// The ids under which rows were returned, of these. A claim that isn't settled is voided first; `None` when
    /// one was, and the tables are to be pinned anew.
    async fn settled_claims(
        &self,
        pinned: &Pinned,
        claims: BTreeSet<String>,
        dry_run: bool,
    ) -> Result<Option<BTreeSet<String>>> {
        let mut returned = BTreeSet::new();
        let Some(main) = &pinned.main else { return Ok(Some(returned)) };
        for id in claims {
            let app_id = self.redrive_app_id(&id);
            match main.transaction(&app_id).await? {
                Some(1..) => {
                    returned.insert(id);
                }
                Some(_) => {}
                None if dry_run => {}
                None => {
                    let change = self.redrive_change((app_id, -1), Vec::new(), Rows::default());
                    let path = self.lake.table_path(&self.flow.target)?;
                    let outcome = commit(self.lake.storage(), &path, Some(main), &change, self.policy()).await?;
                    return lost(outcome).map(|()| None);
                }
            }
        }
        Ok(Some(returned))
    }

    async fn write_passed(
        &self,
        draft: &mut Draft,
        quarantine: &Table,
        (files, rows): (&[DataFile], &RecordBatch),
        passed: &Passed,
    ) -> Result<()> {
        let storage = self.lake.storage();
        let size = self.lake.pipeline().settings.target_file_size;
        if passed.rows.num_rows() > 0 {
            let plan = &passed.target;
            if draft.main.is_none() {
                let schema = Arc::clone(&plan.schema);
                draft.main = Some(Writer::with_files(storage, &plan.path, schema, plan.files(size))?);
            }
            if let Some(writer) = &mut draft.main {
                writer.write(&align(&passed.rows, &plan.schema)?).await?;
            }
        }
        if draft.side.is_none() {
            draft.side = Some(Writer::new(storage, quarantine.path(), rows.schema(), &[], size)?);
        }
        if let Some(writer) = &mut draft.side {
            writer.write(&marked(rows, &passed.of, &draft.id)?).await?;
        }
        draft.replaced.extend_from_slice(files);
        Ok(())
    }

    /// Claims the rows, then brings them to the target; `None` when a race was lost.
    async fn return_rows(
        &self,
        pinned: &Pinned,
        quarantine: &Table,
        target: &TablePlan,
        draft: Draft,
    ) -> Result<Option<Redriven>> {
        let Draft { id, main, side, replaced, done } = draft;
        let storage = self.lake.storage();
        let Some(table) = &pinned.main else { return self.make_target(target).await.map(|()| None) };
        let Some(side) = side else { return Ok(Some(done)) };
        let rows = Rows { read: done.returned, written: done.written, duplicate: done.duplicate, ..Rows::default() };
        let has_mark = quarantine.schema().column_with_name(RETURNED).is_some();
        let columns =
            SchemaChange::SetColumns { schema: with_mark(&quarantine.schema()), configuration: BTreeMap::new() };
        let claim = Change {
            adds: side.close().await?.adds,
            removes: replaced,
            schema: (!has_mark).then_some(columns),
            txns: Vec::new(),
            fence: Fence::default(),
            ..self.redrive_change((String::new(), 0), Vec::new(), Rows::default())
        };
        match commit(storage, quarantine.path(), Some(quarantine), &claim, self.policy()).await? {
            CommitOutcome::Committed { .. } => {}
            other => return lost(other).map(|()| None),
        }
        let adds = match main {
            Some(writer) => writer.close().await?.adds,
            None => Vec::new(),
        };
        let mut change = self.redrive_change((self.redrive_app_id(&id), 1), adds, rows);
        change.schema = target.schema_change(Some(table));
        change.fence.replaces_table = self.dataset.dedup.is_some();
        match commit(storage, table.path(), Some(table), &change, self.policy()).await? {
            CommitOutcome::Committed { .. } => Ok(Some(done)),
            other => lost(other).map(|()| None),
        }
    }

    /// Makes the target without rows, so that there is a table to hold the redrive's `txn`.
    async fn make_target(&self, target: &TablePlan) -> Result<()> {
        let change = Change {
            schema: target.schema_change(None),
            txns: Vec::new(),
            fence: Fence::default(),
            ..self.redrive_change((String::new(), 0), Vec::new(), Rows::default())
        };
        let outcome = commit(self.lake.storage(), &target.path, None, &change, self.policy()).await?;
        lost(outcome)
    }

    fn redrive_change(&self, (app_id, to): (String, i64), adds: Vec<deltalake::kernel::Add>, rows: Rows) -> Change {
        let mut report = FlowReport::new(FlowName::new("redrive"), self.flow.target.clone(), self.trigger);
        report.rows = rows;
        report.files_added = adds.len() as u64;
        Change {
            adds,
            feed: Vec::new(),
            removes: Vec::new(),
            schema: None,
            txns: vec![(app_id.clone(), to)],
            watermark: None,
            fence: Fence { state: vec![Expected { app_id, from: None, to }], ..Fence::default() },
            records: None,
            data_change: true,
            report,
        }
    }

    fn redrive_app_id(&self, id: &str) -> String {
        format!("headwater/{}/{}/redrive/{id}", self.lake.pipeline().name, self.flow.target)
    }
}

impl Redriven {
    fn stay(&mut self, reasons: &BTreeMap<String, u64>) {
        for (reason, count) in reasons {
            *self.staying.entry(reason.clone()).or_default() += count;
        }
    }
}

/// Whatever became of a commit, the next attempt sees it; but time that ran out is told.
fn lost(outcome: CommitOutcome) -> Result<()> {
    match outcome {
        CommitOutcome::Committed { .. } | CommitOutcome::AlreadyApplied { .. } | CommitOutcome::Redo { .. } => Ok(()),
        CommitOutcome::Retryable { reason } => {
            let source = object_store::Error::Generic { store: "Delta log", source: reason.into() };
            Err(LakeError::Storage { action: "can't redrive", path: String::from("the table"), source })
        }
    }
}

/// The text of a row's field of `_headwater`, if it has one.
fn texts_of<'a>(rows: &'a RecordBatch, field: &str) -> Vec<Option<&'a str>> {
    let headwater = rows.column_by_name(crate::ingest::HEADWATER).and_then(|column| column.as_struct_opt());
    let column =
        headwater.and_then(|fields| fields.column_by_name(field)).and_then(|column| column.as_string_opt::<i32>());
    column.map_or_else(|| vec![None; rows.num_rows()], |column| column.iter().collect())
}
