//! `headwater compact`: small files to large ones, and what nobody reads any more away.

use std::path::Path;

use headwater_core::name::DatasetName;
use headwater_core::report::Outcome;
use headwater_core::trigger::{Cause, Trigger};
use headwater_lake::lake::Lake;

use crate::args::CompactArguments;
use crate::failure::{Exit, Result};
use crate::output::Output;
use crate::project;
use crate::render::{self, listing::Listing};

pub(crate) async fn execute(arguments: &CompactArguments, project: Option<&Path>, output: &Output) -> Result<Exit> {
    let (pipeline, folder) = project::load(project)?.into_pipeline()?;
    let lake = Lake::open(pipeline, &folder)?;
    let names: Vec<DatasetName> = arguments.names.iter().map(|name| DatasetName::from(name.clone())).collect();
    for name in &names {
        lake.table_path(name)?;
    }
    if arguments.explain {
        return explain(&lake, &names, output).await;
    }
    let report = headwater_compact::handle(&lake, Trigger::new(Cause::Timer(names))).await;
    if report.flows.is_empty() {
        output.note("nothing to do: no table has enough small files, and neither a checkpoint nor a vacuum is due")?;
        return Ok(Exit::Done);
    }
    let flows = &report.flows;
    let rows = Listing::default()
        .text("table", flows.iter().map(|flow| Some(flow.target.to_string())))
        .text("step", flows.iter().map(|flow| Some(flow.flow.to_string())))
        .number("files before", flows.iter().map(|flow| Some(flow.files_removed)))
        .number("files after", flows.iter().map(|flow| Some(flow.files_added)))
        .bytes("bytes", flows.iter().map(|flow| Some(flow.bytes_added)))
        .text("outcome", flows.iter().map(|flow| Some(words(&flow.outcome))))
        .rows();
    output.print(&render::rows(&rows, output)?)?;
    let mut exit = Exit::Done;
    for flow in flows {
        if let Outcome::Failed { kind, message } = &flow.outcome {
            output.complain(&format!("{}: {message}", flow.target));
            exit = exit.max(Exit::from(*kind));
        }
    }
    Ok(exit)
}

async fn explain(lake: &Lake, names: &[DatasetName], output: &Output) -> Result<Exit> {
    let plans = lake.plan_compaction(names).await?;
    let listing = Listing::default()
        .text("table", plans.iter().map(|plan| Some(plan.dataset.to_string())))
        .number("files", plans.iter().map(|plan| Some(plan.files as u64)))
        .number("to rewrite", plans.iter().map(|plan| Some(plan.rewritten as u64)))
        .bytes("bytes", plans.iter().map(|plan| Some(plan.bytes)))
        .number("commits", plans.iter().map(|plan| Some(plan.slices as u64)))
        .number("files after", plans.iter().map(|plan| Some(plan.files_after as u64)));
    let are_spared = plans.iter().any(|plan| plan.spared > 0);
    let spared = plans.iter().map(|plan| Some(plan.spared as u64));
    let listing = if are_spared { listing.number("being changed", spared) } else { listing };
    let is_clustered = plans.iter().any(|plan| !plan.clustered_by.is_empty());
    let by = plans.iter().map(|plan| Some(plan.clustered_by.join(", ")).filter(|by| !by.is_empty()));
    let listing = if is_clustered { listing.text("clustered by", by) } else { listing };
    let rows = listing.number("to delete", plans.iter().map(|plan| Some(plan.expired as u64))).rows();
    output.print(&render::rows(&rows, output)?)?;
    Ok(Exit::Done)
}

/// An outcome in words.
pub(crate) fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NothingNew => "nothing new".into(),
        Outcome::AlreadyApplied => "done before".into(),
        Outcome::Committed { version } => format!("version {version}"),
        Outcome::Waiting { reason } => format!("waits: {reason}"),
        Outcome::Retryable { reason } => format!("later: {reason}"),
        Outcome::Skipped { upstream } => format!("skipped: {upstream} failed"),
        Outcome::Failed { kind, .. } => format!("failed ({kind})"),
    }
}
