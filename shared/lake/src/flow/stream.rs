//! Moves what is new in one table of the lake to the next.
//!
//! The flow's `txn` holds the consumed version of its source. A batch is the data files that commits
//! in `(consumed, through]` added; compaction adds none, and those that it has replaced meanwhile are read as of the
//! version before. A side table that is ahead of the target
//! tells that a batch died between the two commits: exactly that batch is run again, with the tables that
//! it was joined with as they were.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use headwater_core::batch::{Limits, next_batch};
use headwater_core::cdc::project_changes;
use headwater_core::model::{Relation, RelationSource};
use headwater_core::name::DatasetName;
use headwater_core::provenance::{Trace, project_traces, without_distinct};
use headwater_core::report::{FlowReport, Input, Outcome};

use super::FlowRun;
use super::cdc::Batch;
use super::common::Work;
use super::earlier::Share;
use super::relations::register;
use super::settle::Identity;
use super::target::Pinned;
use crate::error::{LakeError, Result};
use crate::table::{CommitEntry, DataFile, Table};

/// The stream of a flow, typed.
#[derive(Debug, Clone, Copy)]
struct Stream<'a> {
    relation: &'a Relation,
    dataset: &'a DatasetName,
    skip_change_commits: bool,
    starting_version: Option<u64>,
}

/// Commits of a source without rows, after which the flow notes that it has seen them, so that what it needs of the
/// log doesn't grow old. Fewer than clean-up keeps (`checkpoint`).
const IDLE_COMMITS: u64 = 10;

/// The files of one batch.
#[derive(Debug)]
struct Step {
    after: Option<u64>,
    through: u64,
    files: Vec<DataFile>,
    /// The version of the source that has all these files; `None` for the latest.
    readable_at: Option<u64>,
    /// What an earlier attempt may have put aside: in the quarantine, in the late table.
    aside: [Share; 2],
    /// An earlier attempt of a batch of changes has brought their side table so far.
    changes_are_known: bool,
}

/// What is new in a source.
#[derive(Debug)]
struct New {
    through: u64,
    files: Vec<DataFile>,
    readable_at: Option<u64>,
}

impl Step {
    /// The side table that an earlier attempt of the batch has written.
    fn ahead<'a>(&self, pinned: &'a Pinned) -> Option<&'a Table> {
        let sides = [pinned.quarantine.as_ref(), pinned.late.as_ref()];
        let mut sides = self.aside.iter().zip(sides).filter(|(share, _)| !matches!(share, Share::Nothing));
        sides.find_map(|(_, side)| side).or_else(|| pinned.changes.as_ref().filter(|_| self.changes_are_known))
    }
}

impl FlowRun<'_> {
    /// Runs batches until nothing is new, and says whether it came so far. One report a batch; one that says so if nothing was new.
    /// After a `notice` of a commit the target isn't looked at where its warm handle has that commit already.
    pub(crate) async fn advance(&self, notice: bool) -> (Vec<FlowReport>, bool) {
        let mut reports = Vec::new();
        let mut moved = None;
        loop {
            let report = match self.advance_once(notice, moved).await {
                Ok(Some(report)) => report,
                Ok(None) if self.is_out_of_time() => return (reports, false),
                Ok(None) => continue,
                Err(error) => self.failure(&error),
            };
            let goes_on =
                matches!(report.outcome, Outcome::Committed { .. } | Outcome::AlreadyApplied) && !self.is_out_of_time();
            moved = if goes_on { report.inputs.iter().find_map(consumed) } else { None };
            let is_done = report.outcome == Outcome::NothingNew;
            if goes_on || reports.is_empty() || !is_done {
                reports.push(report);
            }
            if !goes_on {
                return (reports, is_done);
            }
        }
    }

    /// One batch; `None` when a race was lost. The source was `moved` up to this version by the batch before.
    async fn advance_once(&self, notice: bool, moved: Option<u64>) -> Result<Option<FlowReport>> {
        let started = Instant::now();
        let stream = self.table_stream()?;
        let mut report = self.report();
        let Some(source) = self.lake.table(stream.dataset).await? else { return Ok(Some(report)) };
        if moved == Some(source.version()) || (notice && self.has_seen(&source).await?) {
            return Ok(Some(report));
        }
        let pinned = self.pin_target().await?;
        let Some(step) = self.next_step(stream, &source, &pinned).await? else { return Ok(Some(report)) };
        report.inputs =
            vec![Input::Table { dataset: stream.dataset.clone(), after: step.after, through: step.through }];
        let query = match (&self.flow.changes, stream.relation.watermark()) {
            (Some(changes), _) => project_changes(&self.flow.query, changes).ok_or_else(|| self.untraceable())?,
            (None, Some(watermark)) => project_traces(&self.flow.query, &[Trace::EventTime(&watermark.column)])
                .ok_or_else(|| self.untraceable())?,
            (None, None) => without_distinct(&self.flow.query),
        };
        let session = self.session();
        let statics = match step.ahead(&pinned) {
            Some(side) => self.pin_tables_again(side).await?,
            None => self.pin_tables().await?,
        };
        if self.register_static(&session, &query, &statics).await?.is_none() {
            report.outcome = Outcome::Waiting { reason: "a table that the query joins has no data yet".into() };
            return Ok(Some(report));
        }
        let source = match step.readable_at {
            Some(version) => source.at(version).await?,
            None => source,
        };
        let versions = step.after.map_or(0, |after| after + 1)..=step.through;
        let files = source.provider_of_commits(versions, &step.files).await?;
        register(&session, stream.relation, &query, files)?;
        let frame = self.lake.engine().plan(&session, &query).await?;
        let work = Work { aside: Some(step.aside.clone()), source_version: Some(step.through), ..Work::default() };
        let to = i64::try_from(step.through).unwrap_or(i64::MAX);
        let identity = Identity::Progress { app_id: self.lake.app_id(self.flow), to };
        if let Some(changes) = &self.flow.changes {
            let (is_known, joined) = (step.changes_are_known, self.joined(&statics));
            let given = self.given(changes, frame, &pinned, is_known).await?;
            let rows = step.files.iter().map(DataFile::num_records).sum();
            let batch = Batch { changes, given, rows, work, identity, joined, is_known, started };
            return Box::pin(self.apply_changes(&pinned, batch, report)).await;
        }
        let plan = self.plan(&pinned, frame.schema().inner(), work).await?;
        let watermark = self.watermark(pinned.main.as_ref()).await?;
        let plan = self.with_keys_of_target(plan, &pinned, (&session, &query), watermark).await?;
        let executed = super::execute::execute(frame, &Arc::clone(&plan), watermark, None).await?;
        report.millis = super::elapsed_millis(started);
        let mut batch = self.finish(&plan, executed, watermark, (identity, report)).await?;
        batch.joined = self.joined(&statics);
        self.settle(&pinned, &plan, batch).await
    }

    /// Whether the target's warm handle tells that all of the source is consumed; its side tables aren't ahead then. What it
    /// can't tell is that the target was reset meanwhile: a timer sees that, and the next commit of the source.
    async fn has_seen(&self, source: &Table) -> Result<bool> {
        let target = self.lake.warm(&self.flow.target).await;
        let consumed = progress(target.as_ref(), &self.lake.app_id(self.flow)).await?;
        Ok(consumed == Some(source.version()))
    }

    /// What to read next; `None` when nothing is new.
    async fn next_step(&self, stream: Stream<'_>, source: &Table, pinned: &Pinned) -> Result<Option<Step>> {
        let app_id = self.lake.app_id(self.flow);
        let after = progress(pinned.main.as_ref(), &app_id).await?;
        let quarantine = progress(pinned.quarantine.as_ref(), &app_id).await?;
        let late = progress(pinned.late.as_ref(), &app_id).await?;
        let changes = progress(pinned.changes.as_ref(), &app_id).await?;
        if let Some(read) = after.filter(|after| *after > source.version()) {
            self.check_goes_as_far(source, read).await?;
            return Ok(None);
        }
        let ahead = quarantine.max(late).max(changes).filter(|side| Some(*side) > after);
        let limit = ahead.unwrap_or(source.version());
        let from = after.or_else(|| stream.starting_version.and_then(|first| first.checked_sub(1)));
        if from.is_some_and(|from| from >= limit) {
            return Ok(None);
        }
        let New { through, files, readable_at } = match from {
            None if stream.starting_version.is_none() => self.first_files(source, limit).await?,
            None => self.new_files(stream, source, (None, limit), ahead.is_some()).await?,
            Some(from) => self.new_files(stream, source, (Some(from), limit), ahead.is_some()).await?,
        };
        let share = |side: Option<u64>| match side {
            Some(side) if side >= through => Share::Version(Some(through)),
            Some(_) | None => Share::Nothing,
        };
        let aside = [share(quarantine), share(late)];
        let changes_are_known = changes.is_some_and(|changes| changes >= through);
        let is_idle_long = through - from.unwrap_or(through) >= IDLE_COMMITS;
        let goes_on = !files.is_empty() || ahead.is_some() || is_idle_long;
        Ok(goes_on.then_some(Step { after, through, files, readable_at, aside, changes_are_known }))
    }

    /// Another process may have read what was committed since the source was looked at; otherwise it was made anew, and what is
    /// in it would never be read.
    async fn check_goes_as_far(&self, source: &Table, read: u64) -> Result<()> {
        match source.clone().refresh().await?.map(|source| source.version()) {
            Some(version) if version < read => Err(LakeError::SourceMadeAnew {
                flow: self.flow.name.to_string(),
                source_table: source.path().to_owned(),
                target: self.flow.target.to_string(),
                read,
                version,
            }),
            _ => Ok(()),
        }
    }

    /// The whole table, as of a version.
    async fn first_files(&self, source: &Table, through: u64) -> Result<New> {
        if source.version() == through {
            return Ok(New { through, files: source.files().await?, readable_at: None });
        }
        Ok(New { through, files: source.at(through).await?.files().await?, readable_at: Some(through) })
    }

    /// Files added in `(after, limit]`, cut by bytes unless the range is given by an earlier attempt.
    async fn new_files(
        &self,
        stream: Stream<'_>,
        source: &Table,
        (after, limit): (Option<u64>, u64),
        whole: bool,
    ) -> Result<New> {
        let mut steps = Vec::new();
        let mut removals = Vec::new();
        for entry in source.changes(after, source.version()).await? {
            let version = entry.version;
            removals.push((version, entry.removed_paths()));
            if version <= limit {
                steps.push((version, self.rows_added(stream, entry)?));
            }
        }
        let sizes: Vec<u64> = steps.iter().map(|(_, files)| files.iter().map(DataFile::size).sum()).collect();
        let limits = Limits { items: usize::MAX, bytes: self.lake.pipeline().settings.max_batch_bytes };
        let count = if whole { steps.len() } else { next_batch(&sizes, limits) };
        let (count, readable_at) = readable(&steps[..count], &removals);
        let through = steps[..count].last().map_or(limit, |(version, _)| *version);
        let files = steps.into_iter().take(count).flat_map(|(_, files)| files).collect();
        Ok(New { through, files, readable_at })
    }

    /// Files with new rows of one commit of the source.
    fn rows_added(&self, stream: Stream<'_>, entry: CommitEntry) -> Result<Vec<DataFile>> {
        if entry.removes_rows() {
            if stream.skip_change_commits {
                return Ok(Vec::new());
            }
            return Err(LakeError::SourceChanged {
                flow: self.flow.name.to_string(),
                source_table: stream.dataset.to_string(),
                version: entry.version,
            });
        }
        Ok(entry.rows_added())
    }

    fn table_stream(&self) -> Result<Stream<'_>> {
        let relation = self.flow.stream().ok_or_else(|| self.no_stream())?;
        match &relation.source {
            RelationSource::TableStream { dataset, skip_change_commits, starting_version, .. } => Ok(Stream {
                relation,
                dataset,
                skip_change_commits: *skip_change_commits,
                starting_version: *starting_version,
            }),
            _ => Err(self.no_stream()),
        }
    }
}

/// How many of these steps can be read together, and at which version if not at the latest: the one before a file of
/// theirs was taken away, as compaction does with those that it has replaced.
fn readable(steps: &[(u64, Vec<DataFile>)], removals: &[(u64, BTreeSet<String>)]) -> (usize, Option<u64>) {
    let mut added: HashSet<&str> = HashSet::new();
    let mut count = 0;
    for (version, removed) in removals {
        let before = steps.iter().skip(count).take_while(|(added_at, _)| added_at < version);
        for (_, files) in before {
            added.extend(files.iter().map(DataFile::path));
            count += 1;
        }
        if removed.iter().any(|path| added.contains(path.as_str())) {
            return (count, Some(version - 1));
        }
    }
    (steps.len(), None)
}

/// The version of a table up to which a batch has read it.
const fn consumed(input: &Input) -> Option<u64> {
    match input {
        Input::Table { through, .. } => Some(*through),
        Input::Events { .. } | Input::Partition { .. } | Input::Files { .. } => None,
    }
}

/// The consumed version that a table's `txn` holds. A negative one means the start: a full refresh
/// sets it.
pub(crate) async fn progress(table: Option<&Table>, app_id: &str) -> Result<Option<u64>> {
    match table {
        Some(table) => Ok(table.transaction(app_id).await?.and_then(|version| u64::try_from(version).ok())),
        None => Ok(None),
    }
}
