//! Runs one batch of one flow: pin, read, compute, write, commit; again when a race was lost.
//!
//! `messages`, `hubs` and `files` land outside sources in bronze, `stream` moves new rows of one table
//! to the next, `cdc` applies them as changes, `once` backfills, `view` keeps materialized views. What they share: a query runs
//! in a session that holds only the relations that the flow declared, its rows pass the dataset's
//! rules, and what was written is settled by the commit protocol.

mod arrivals;
mod cdc;
mod check;
mod clean;
mod common;
mod decoded;
mod dedup;
mod earlier;
mod execute;
mod files;
mod horizon;
mod hubs;
mod key_set;
mod marks;
mod messages;
mod once;
mod outlet;
mod parts;
mod promote;
mod query;
mod redrive;
mod relations;
mod remembered;
mod reset;
mod rules;
mod run;
mod settle;
mod sieve;
mod spread;
mod state;
mod stream;
mod target;
mod view;

pub(crate) use stream::progress;

pub use redrive::{RETURNED, Redrive, Redriven};

use std::time::Instant;

use arrow::array::{ListArray, ListBuilder, StringBuilder};
use chrono::{DateTime, Utc};
use headwater_core::error::ErrorKind;
use headwater_core::model::{Dataset, Flow};
use headwater_core::report::{ExpectationCount, FlowReport, Outcome};

use crate::commit::RetryPolicy;
use crate::error::{LakeError, Result};
use crate::lake::Lake;

/// One flow, run for one trigger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowRun<'a> {
    pub(crate) lake: &'a Lake,
    pub(crate) flow: &'a Flow,
    pub(crate) dataset: &'a Dataset,
    pub(crate) trigger: &'static str,
    pub(crate) deadline: Option<DateTime<Utc>>,
}

impl<'a> FlowRun<'a> {
    pub(crate) fn new(
        lake: &'a Lake,
        flow: &'a Flow,
        trigger: &'static str,
        deadline: Option<DateTime<Utc>>,
    ) -> Result<Self> {
        Ok(Self { lake, flow, dataset: lake.target(flow)?, trigger, deadline })
    }

    /// An empty report of this run.
    pub(crate) fn report(&self) -> FlowReport {
        FlowReport::new(self.flow.name.clone(), self.flow.target.clone(), self.trigger)
    }

    /// The report of a failure.
    pub(crate) fn failure(&self, error: &LakeError) -> FlowReport {
        let mut report = self.report();
        if let LakeError::ExpectationsViolated { counts, .. } = error {
            report.expectations.clone_from(counts);
        }
        report.outcome = match error.kind() {
            ErrorKind::Conflict | ErrorKind::Unavailable => Outcome::Retryable { reason: error.to_string() },
            kind @ (ErrorKind::Invalid | ErrorKind::Data | ErrorKind::Internal) => {
                Outcome::Failed { kind, message: error.to_string() }
            }
        };
        report
    }

    fn policy(&self) -> RetryPolicy {
        RetryPolicy::until(self.deadline)
    }

    /// Whether there is no time left for another batch.
    fn is_out_of_time(&self) -> bool {
        self.deadline.is_some_and(|deadline| Lake::now() >= deadline)
    }

    fn violated(&self, counts: Vec<ExpectationCount>, fatal: &[(String, u64)]) -> LakeError {
        LakeError::ExpectationsViolated {
            flow: self.flow.name.to_string(),
            dataset: self.flow.target.to_string(),
            violated: fatal.iter().map(|(name, rows)| format!("{name} ({rows} rows)")).collect::<Vec<_>>().join(", "),
            counts,
        }
    }
}

/// One list with one reason for each of so many rows.
fn reason_lists(reason: &str, rows: usize) -> ListArray {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for _ in 0..rows {
        lists.values().append_value(reason);
        lists.append(true);
    }
    lists.finish()
}

fn elapsed_millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
