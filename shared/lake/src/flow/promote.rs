//! Puts shadows in the place of their tables.
//!
//! A table's files are copied from its shadow, and one commit takes its own away, adds these, and sets columns,
//! properties and the progress of its flows as they are in the shadow. Side tables go first, as in every batch. Who dies
//! in between has left the shadow, and promotes it again; the shadow is deleted at the end.
//!
//! A stream counts versions of its source. If that is promoted too, the stream has consumed the commit that did so, provided
//! that its shadow had consumed all rows of the source's shadow.

use std::collections::{BTreeMap, BTreeSet};

use deltalake::kernel::Add;
use futures::{StreamExt, TryStreamExt};
use headwater_core::commit::Fence;
use headwater_core::model::{Flow, FlowKind, RelationSource};
use headwater_core::name::{DatasetName, FlowName};
use headwater_core::report::{FlowReport, Outcome};
use object_store::ObjectStoreExt;

use super::{FlowRun, progress};
use crate::commit::{Change, CommitOutcome, RetryPolicy, SchemaChange, commit};
use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::schema_actions::columns_with_changes;
use crate::shadow::sides_of;
use crate::table::{CommitEntry, DataFile, Table};

/// Which shadow's versions a promoted table has taken over: the shadow, and the version of the table that did it.
type Promoted = BTreeMap<DatasetName, (Table, u64)>;

/// What no shadow has seen.
const UNSEEN: i64 = -1;

/// Files that are copied at once.
const COPIED_AT_ONCE: usize = 8;

/// The version of a promotion's `txn`.
const DONE: i64 = 1;

impl Lake {
    /// Puts the shadows of these datasets in the place of their tables, sources before their readers. Says what was
    /// committed: nothing, if only shadows were left to delete.
    ///
    /// # Errors
    /// `Invalid` for a dataset without a shadow, for one whose rows may not go, for one that reads or is read by another
    /// that would have to be promoted with it, and for a shadow that wasn't built to its end; nothing is promoted then.
    /// `Unavailable` when storage fails: then promote again.
    pub async fn promote(&self, names: &BTreeSet<DatasetName>) -> Result<Vec<FlowReport>> {
        let mut reports = Vec::new();
        let shadows: BTreeSet<DatasetName> = self.shadows().await?.into_iter().collect();
        if !self.are_promoted(names.intersection(&shadows)).await? {
            self.check_promotion(names, &shadows).await?;
            let mut promoted = Promoted::new();
            let ordered = self.pipeline().datasets.iter().map(|dataset| dataset.name.clone());
            for name in ordered.filter(|name| names.contains(name)) {
                let Some(shadow) = self.shadow(&name).await? else { return Err(no_shadow(&name)) };
                let version = self.promote_one(&name, &promoted, &mut reports).await?;
                promoted.insert(name, (shadow, version));
            }
        }
        self.discard(&names.iter().collect()).await?;
        Ok(reports)
    }

    /// Whether a promotion that died had come to its end but for the shadows, of which these are left.
    async fn are_promoted(&self, left: impl Iterator<Item = &DatasetName>) -> Result<bool> {
        let mut any = false;
        for name in left {
            let (Some(table), Some(shadow)) = (self.table(name).await?, self.shadow(name).await?) else {
                return Ok(false);
            };
            if table.transaction(&self.promotion(&shadow)?).await?.is_none() {
                return Ok(false);
            }
            any = true;
        }
        Ok(any)
    }

    /// The `app_id` of the `txn` that tells that a shadow has taken the place of its table.
    fn promotion(&self, shadow: &Table) -> Result<String> {
        Ok(format!("headwater/{}/promoted/{}", self.pipeline().name, shadow.head().metadata.id()))
    }

    /// What must hold before anything is promoted.
    async fn check_promotion(&self, names: &BTreeSet<DatasetName>, shadows: &BTreeSet<DatasetName>) -> Result<()> {
        for name in names {
            if !shadows.contains(name) {
                return Err(no_shadow(name));
            }
            self.check_resettable(name)?;
        }
        let mut promoted = Promoted::new();
        for dataset in self.pipeline().datasets.iter().filter(|dataset| names.contains(&dataset.name)) {
            let Some(shadow) = self.shadow(&dataset.name).await? else { return Err(no_shadow(&dataset.name)) };
            for flow in self.pipeline().flows_into(&dataset.name) {
                self.check_complete(flow, &shadow).await?;
                self.progress_in(flow, &shadow, &promoted).await?;
            }
            promoted.insert(dataset.name.clone(), (shadow, 0));
        }
        for flow in &self.pipeline().flows {
            self.check_neighbours(flow, names, shadows).await?;
        }
        Ok(())
    }

    /// A batch that died in the shadow has left what its flow would put aside again.
    async fn check_complete(&self, flow: &Flow, shadow: &Table) -> Result<()> {
        let app_id = self.app_id(flow);
        for side in sides_of(&flow.target).iter().filter(|_| flow.kind != FlowKind::Materialize) {
            if progress(self.shadow(side).await?.as_ref(), &app_id).await? > progress(Some(shadow), &app_id).await? {
                return Err(LakeError::Configuration {
                    message: format!("the shadow of `{}` ends in the midst of a batch", flow.target),
                    help: "build it again with --shadow".into(),
                });
            }
        }
        Ok(())
    }

    /// A stream can't follow a source whose rows are all replaced, and a shadow that was computed from another is of no
    /// use without it.
    async fn check_neighbours(
        &self,
        flow: &Flow,
        names: &BTreeSet<DatasetName>,
        shadows: &BTreeSet<DatasetName>,
    ) -> Result<()> {
        let target = &flow.target;
        if shadows.contains(target)
            && let Some(source) =
                flow.reads().find(|source| shadows.contains(source) && names.contains(source) != names.contains(target))
        {
            return Err(LakeError::Configuration {
                message: format!("the shadow of `{target}` was computed from that of `{source}`"),
                help: format!("promote both: headwater promote {source} {target}"),
            });
        }
        let stream = flow.stream().map(|stream| &stream.source);
        let Some(RelationSource::TableStream { dataset, skip_change_commits: false, .. }) = stream else {
            return Ok(());
        };
        if names.contains(dataset) && !names.contains(target) && self.table(target).await?.is_some() {
            return Err(LakeError::Configuration {
                message: format!("`{target}` streams from `{dataset}`, whose rows would all be replaced"),
                help: format!("build both anew: headwater run --full-refresh={dataset},{target} --shadow"),
            });
        }
        Ok(())
    }

    async fn promote_one(&self, name: &DatasetName, promoted: &Promoted, reports: &mut Vec<FlowReport>) -> Result<u64> {
        loop {
            let mut sides = Vec::new();
            for side in sides_of(name) {
                sides.push(self.taken_over(name, &side, promoted, reports).await?);
            }
            let version = self.taken_over(name, name, promoted, reports).await?;
            let mut now = Vec::new();
            for side in sides_of(name) {
                now.push(self.table(&side).await?.map(|table| table.version()));
            }
            // What a batch has written to a side table meanwhile isn't of the promoted table.
            if sides == now {
                return version.ok_or_else(|| no_shadow(name));
            }
        }
    }

    /// Puts one shadow in the place of its table, however many races are lost; says at which version.
    async fn taken_over(
        &self,
        dataset: &DatasetName,
        name: &DatasetName,
        promoted: &Promoted,
        reports: &mut Vec<FlowReport>,
    ) -> Result<Option<u64>> {
        loop {
            let (table, shadow) = (self.table(name).await?, self.shadow(name).await?);
            if table.is_none() && shadow.is_none() {
                return Ok(None);
            }
            let mut report = FlowReport::new(FlowName::new("promote"), name.clone(), "person");
            let change = self.take_over(dataset, name, (table.as_ref(), shadow.as_ref()), promoted).await?;
            report.files_added = change.adds.len() as u64;
            report.files_removed = change.removes.len() as u64;
            let change = Change { report: report.clone(), ..change };
            let path = self.table_path(name)?;
            match commit(self.storage(), &path, table.as_ref(), &change, RetryPolicy::until(None)).await? {
                CommitOutcome::Committed { version, .. } | CommitOutcome::AlreadyApplied { version } => {
                    report.outcome = Outcome::Committed { version };
                    reports.push(report);
                    return Ok(Some(version));
                }
                CommitOutcome::Redo { .. } => {}
                CommitOutcome::Retryable { reason } => {
                    let source = object_store::Error::Generic { store: "Delta log", source: reason.into() };
                    return Err(LakeError::Storage { action: "can't promote", path, source });
                }
            }
        }
    }

    async fn take_over(
        &self,
        dataset: &DatasetName,
        name: &DatasetName,
        (table, shadow): (Option<&Table>, Option<&Table>),
        promoted: &Promoted,
    ) -> Result<Change> {
        let mut removes = match table {
            Some(table) => table.files().await?,
            None => Vec::new(),
        };
        let (mut adds, mut schema) = (Vec::new(), None);
        if let Some(shadow) = shadow {
            adds = self.copied(name, shadow).await?;
            // Files that a promotion that died has put in place stay where they are.
            let present: BTreeSet<String> = removes.iter().map(|file| file.path().to_owned()).collect();
            removes.retain(|file| adds.iter().all(|add| add.path != file.path()));
            adds.retain(|add| !present.contains(&add.path));
            let configuration = shadow.head().metadata.configuration().clone().into_iter().collect();
            let partitioned_by = shadow.partitioned_by();
            let columns = columns_with_changes(shadow.head())?;
            schema = Some(match table {
                Some(_) => SchemaChange::Relayout { schema: columns, partitioned_by, configuration },
                None => SchemaChange::Create { schema: columns, partitioned_by, configuration, comment: None },
            });
        }
        let mut txns = BTreeMap::new();
        for flow in self.pipeline().flows_into(dataset) {
            if let Some(table) = table {
                txns.extend(self.starts(flow, table).await?);
            }
            // A side table that has no progress of its own isn't ahead of its table.
            if let Some(shadow) = shadow.filter(|_| dataset == name) {
                txns.extend(self.progress_in(flow, shadow, promoted).await?);
                txns.insert(self.promotion(shadow)?, DONE);
            }
        }
        Ok(Change {
            adds,
            feed: Vec::new(),
            removes,
            schema,
            txns: txns.into_iter().collect(),
            watermark: None,
            fence: Fence { replaces_table: true, ..Fence::default() },
            records: None,
            data_change: true,
            report: FlowReport::new(FlowName::new("promote"), name.clone(), "person"),
        })
    }

    /// The shadow's files, copied to where the table is.
    async fn copied(&self, name: &DatasetName, shadow: &Table) -> Result<Vec<Add>> {
        let (path, store) = (self.table_path(name)?, self.storage().object_store());
        let copy = async |file: DataFile| {
            let to = DataFile::new(self.storage(), &path, Add::clone(&file.add));
            let copied = store.copy(file.location(), to.location()).await;
            copied.map_err(|source| LakeError::Storage {
                action: "can't copy",
                path: file.path().to_owned(),
                source,
            })?;
            Ok(Add::clone(&file.add))
        };
        futures::stream::iter(shadow.files().await?).map(copy).buffered(COPIED_AT_ONCE).try_collect().await
    }

    /// The `txn`s of a flow, as they are in the shadow.
    async fn progress_in(&self, flow: &Flow, shadow: &Table, promoted: &Promoted) -> Result<BTreeMap<String, i64>> {
        let mut txns = BTreeMap::new();
        let app_id = self.app_id(flow);
        let mut ids = vec![app_id.clone(), flow.name.watermark_app_id(&self.pipeline().name)];
        let run = FlowRun::new(self, flow, "person", None)?;
        ids.push(run.any_marks_app_id());
        txns.extend(run.file_mark_ids(Some(shadow)).await?);
        for id in ids {
            if let Some(version) = shadow.transaction(&id).await? {
                txns.insert(id, version);
            }
        }
        if let Some(RelationSource::TableStream { dataset, .. }) = flow.stream().map(|stream| &stream.source)
            && let Some(source) = promoted.get(dataset)
        {
            let seen = txns.get(&app_id).copied().filter(|seen| *seen >= 0);
            let version = seen_through(seen, source).await?.ok_or_else(|| behind(&flow.target, dataset))?;
            txns.insert(app_id.clone(), version);
        }
        if flow.kind == FlowKind::Materialize {
            for dataset in flow.reads() {
                let id = format!("{app_id}/{dataset}");
                let seen = shadow.transaction(&id).await?;
                let seen = match promoted.get(dataset) {
                    Some(source) => seen_through(seen, source).await?,
                    None => seen,
                };
                txns.insert(id, seen.unwrap_or(UNSEEN));
            }
        }
        Ok(txns)
    }
}

/// The version of a promoted table that a reader has seen, who has seen so much of its shadow; `None` if there is more,
/// or less: then it wasn't this shadow.
async fn seen_through(seen: Option<i64>, (shadow, version): &(Table, u64)) -> Result<Option<i64>> {
    let after = seen.and_then(|seen| u64::try_from(seen).ok());
    let missed = match after {
        Some(after) if after >= shadow.version() => after > shadow.version(),
        after => shadow.changes(after, shadow.version()).await?.iter().any(CommitEntry::changes_rows),
    };
    Ok(i64::try_from(*version).ok().filter(|_| !missed))
}

fn no_shadow(name: &DatasetName) -> LakeError {
    LakeError::Configuration {
        message: format!("`{name}` has no shadow"),
        help: format!("build one: headwater run --full-refresh={name} --shadow"),
    }
}

fn behind(target: &DatasetName, source: &DatasetName) -> LakeError {
    LakeError::Configuration {
        message: format!("the shadow of `{target}` doesn't fit that of `{source}`: it lacks rows, or was built before"),
        help: "build them again with --shadow, and promote when all flows have ended well".into(),
    }
}
