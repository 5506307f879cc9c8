//! Backfills: a batch query whose result is appended once, or applied once as changes.

use std::time::Instant;

use headwater_core::cdc::project_changes;
use headwater_core::report::{FlowReport, Outcome};

use super::FlowRun;
use super::cdc::Batch;
use super::common::Work;
use super::earlier::Share;
use super::settle::Identity;
use super::stream::progress;
use crate::error::Result;

impl FlowRun<'_> {
    /// Appends the query's result, unless that was done already. The flow's `txn` tells.
    pub(crate) async fn backfill(&self) -> Vec<FlowReport> {
        loop {
            match self.backfill_once().await {
                Ok(Some(report)) => return vec![report],
                Ok(None) if self.is_out_of_time() => return Vec::new(),
                Ok(None) => {}
                Err(error) => return vec![self.failure(&error)],
            }
        }
    }

    async fn backfill_once(&self) -> Result<Option<FlowReport>> {
        let started = Instant::now();
        let mut report = self.report();
        let pinned = self.pin_target().await?;
        let app_id = self.lake.app_id(self.flow);
        if progress(pinned.main.as_ref(), &app_id).await?.is_some() {
            return Ok(Some(report));
        }
        let share = async |side| Ok(progress(side, &app_id).await?.map_or(Share::Nothing, |_| Share::Version(None)));
        let aside = Some([share(pinned.quarantine.as_ref()).await?, share(pinned.late.as_ref()).await?]);
        let session = self.session();
        let query = match &self.flow.changes {
            Some(changes) => &project_changes(&self.flow.query, changes).ok_or_else(|| self.untraceable())?,
            None => &self.flow.query,
        };
        let statics = self.pin_tables().await?;
        if self.register_static(&session, query, &statics).await?.is_none() {
            report.outcome = Outcome::Waiting { reason: "a table that the query reads has no data yet".into() };
            return Ok(Some(report));
        }
        let frame = self.lake.engine().plan(&session, query).await?;
        let work = Work { aside, ..Work::default() };
        let identity = Identity::Progress { app_id, to: 1 };
        if let Some(changes) = &self.flow.changes {
            let given = self.given(changes, frame, &pinned, false).await?;
            // An earlier attempt may have read other rows: what the side table lacks of these, it gets.
            let (is_known, joined) = (false, self.joined(&statics));
            let batch = Batch { changes, given, rows: None, work, identity, joined, is_known, started };
            return Box::pin(self.apply_changes(&pinned, batch, report)).await;
        }
        let plan = self.plan(&pinned, frame.schema().inner(), work).await?;
        let plan = self.with_keys_of_target(plan, &pinned, (&session, query), None).await?;
        let executed = super::execute::execute(frame, &plan, None, None).await?;
        report.millis = super::elapsed_millis(started);
        let batch = self.finish(&plan, executed, None, (identity, report)).await?;
        self.settle(&pinned, &plan, batch).await
    }
}
