//! Keeps materialized views equal to their queries.

use std::time::Instant;

use headwater_core::model::Relation;
use headwater_core::refresh::{Refresh, RefreshState, SourceState, fingerprint, plan_refresh};
use headwater_core::report::{FlowReport, Input, Outcome};

use super::FlowRun;
use super::common::Work;
use super::relations::PinnedSource;
use super::settle::Identity;
use super::target::Pinned;
use crate::engine::Grouper;
use crate::error::{LakeError, Result};

impl FlowRun<'_> {
    /// Brings the view up to date by the cheapest strategy that is right for what changed.
    pub(crate) async fn refresh_view(&self, grouper: &Grouper) -> Vec<FlowReport> {
        loop {
            match self.refresh_once(grouper).await {
                Ok(Some(report)) => return vec![report],
                Ok(None) if self.is_out_of_time() => return Vec::new(),
                Ok(None) => {}
                Err(error) => return vec![self.failure(&error)],
            }
        }
    }

    async fn refresh_once(&self, grouper: &Grouper) -> Result<Option<FlowReport>> {
        let started = Instant::now();
        let mut report = self.report();
        let pinned = self.pin_target().await?;
        let sources = self.pin_tables().await?;
        if sources.iter().any(|source| source.dataset.is_files_state()) {
            return Err(LakeError::Configuration {
                message: "a view can't be kept of cloud_files_state, which changes without a commit".into(),
                help: "ask it with headwater query".into(),
            });
        }
        let state = self.refresh_state(&pinned, &sources).await?;
        match plan_refresh(&state) {
            Refresh::Skip => return Ok(Some(report)),
            Refresh::Recompute(reason) => tracing::debug!(view = %self.flow.target, ?reason, "recompute"),
        }
        let session = self.lake.engine().session();
        let query = &self.flow.query;
        if self.register_static(&session, query, &sources).await?.is_none() {
            report.outcome = Outcome::Waiting { reason: "a table that the query reads has no data yet".into() };
            return Ok(Some(report));
        }
        report.inputs = inputs(&state);
        let frame = self.lake.engine().plan_grouped(&session, query, grouper).await?;
        let plan = self.plan(&pinned, frame.schema().inner(), Work::default()).await?;
        let executed = super::execute::execute(frame, &plan, None, None).await?;
        report.millis = super::elapsed_millis(started);
        let identity = Identity::Progress { app_id: self.lake.app_id(self.flow), to: state.definition };
        let mut batch = self.finish(&plan, executed, None, (identity, report)).await?;
        batch.txns = self.seen(&state);
        batch.replaces = Some(match &pinned.main {
            Some(table) => table.files().await?,
            None => Vec::new(),
        });
        self.settle(&pinned, &plan, batch).await
    }

    /// What the view was computed from, and what there is now.
    async fn refresh_state(&self, pinned: &Pinned, sources: &[PinnedSource]) -> Result<RefreshState> {
        let mut states = Vec::new();
        for source in sources.iter().filter(|source| source.as_of.is_none()) {
            let seen =
                super::stream::progress(pinned.main.as_ref(), &self.source_app_id(source.dataset.to_string().as_str()))
                    .await?;
            let now = source.table.as_ref().map(crate::table::Table::version);
            let rows_changed = match (&source.table, seen, now) {
                (Some(table), Some(seen), Some(now)) if seen < now => table
                    .changes(Some(seen), now)
                    .await
                    .map_or(true, |entries| entries.iter().any(crate::table::CommitEntry::changes_rows)),
                _ => true,
            };
            states.push(SourceState { dataset: source.dataset.clone(), seen, now, rows_changed });
        }
        let computed_with = match &pinned.main {
            Some(table) => table.transaction(&self.lake.app_id(self.flow)).await?.filter(|version| *version >= 0),
            None => None,
        };
        let unversioned = self.flow.query.relations.iter().any(|relation| relation.dataset().is_none());
        Ok(RefreshState { sources: states, computed_with, definition: self.definition(), unversioned })
    }

    /// The fingerprint of what the view's rows depend on besides its sources.
    fn definition(&self) -> i64 {
        let relations: Vec<String> = self
            .flow
            .query
            .relations
            .iter()
            .map(|relation| format!("{:?}{}", relation.source, state(relation)))
            .collect();
        let rules: Vec<String> = self
            .dataset
            .expectations
            .iter()
            .map(|rule| format!("{} {:?} {}", rule.name, rule.action, rule.predicate))
            .collect();
        fingerprint(&format!("{}\n{relations:?}\n{rules:?}\n{:?}", self.flow.query.ast, self.dataset.columns))
    }

    fn seen(&self, state: &RefreshState) -> Vec<(String, i64)> {
        let versions = state.sources.iter().filter_map(|source| Some((source, i64::try_from(source.now?).ok()?)));
        versions.map(|(source, now)| (self.source_app_id(&source.dataset.to_string()), now)).collect()
    }

    fn source_app_id(&self, dataset: &str) -> String {
        format!("{}/{dataset}", self.lake.app_id(self.flow))
    }
}

/// The state of a table that a relation names.
fn state(relation: &Relation) -> String {
    relation.as_of.map(|as_of| format!(" as of {as_of}")).unwrap_or_default()
}

fn inputs(state: &RefreshState) -> Vec<Input> {
    let tables = state.sources.iter().filter_map(|source| {
        Some(Input::Table { dataset: source.dataset.clone(), after: source.seen, through: source.now? })
    });
    tables.collect()
}
