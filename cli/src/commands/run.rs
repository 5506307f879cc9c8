//! `headwater run`: brings all tables up to date, once or for as long as it is let.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use headwater_core::diagnostic::Diagnostic;
use headwater_core::error::ErrorKind;
use headwater_core::graph::{self, Request};
use headwater_core::model::{Dataset, FlowKind, Pipeline};
use headwater_core::name::DatasetName;
use headwater_core::report::{ExpectationCount, FlowReport, Outcome, Report, Rows as Counts};
use headwater_core::trigger::Trigger;
use headwater_lake::lake::Lake;
use headwater_runtime::local::{FunctionKind, Progress, stop_on_signals};

use super::compact::words;
use crate::args::{Format, RunArguments};
use crate::failure::{Exit, Failure, Result};
use crate::host::{ALL, dispatch, host};
use crate::look::Look;
use crate::output::Output;
use crate::progress::Drawing;
use crate::project;
use crate::render::{self, Rows, listing::Listing};

pub(crate) async fn execute(arguments: &RunArguments, project: Option<&Path>, output: &Output) -> Result<Exit> {
    let (pipeline, folder) = project::load(project)?.into_pipeline()?;
    let request = Request {
        select: arguments.select.clone(),
        full_refresh: arguments.full_refresh.iter().flatten().filter(|name| !name.is_empty()).cloned().collect(),
        full_refresh_all: arguments.full_refresh.as_ref().is_some_and(|names| names.iter().all(String::is_empty)),
    };
    let selection = graph::select(&pipeline, &request)?;
    let lake = Lake::open(pipeline.clone(), &folder)?;
    lake.storage().reach().await?;
    let named = !request.full_refresh_all;
    if arguments.shadow {
        let anew = selection.full_refresh.into_iter().filter(|dataset| named || lake.can_reset(dataset)).collect();
        return Box::pin(super::shadow::build(anew, (pipeline, folder), arguments.preview, output)).await;
    }
    let anew: BTreeSet<DatasetName> =
        selection.full_refresh.iter().filter(|dataset| named || lake.can_reset(dataset)).cloned().collect();
    let is_narrowed = !request.select.is_empty() || !request.full_refresh.is_empty();
    let found = if is_narrowed { lake.check_only(&selection.refresh, &anew).await } else { lake.check(&anew).await };
    let errors: Vec<Diagnostic> = found.into_iter().filter(Diagnostic::is_error).collect();
    if !errors.is_empty() {
        return Err(Failure::Findings(errors));
    }
    for dataset in &anew {
        lake.full_refresh(dataset).await?;
    }
    let lake = Arc::new(if is_narrowed { lake.with_flows_into(&selection.refresh) } else { lake });
    let look = Look::new((pipeline, folder))?;
    if arguments.watch {
        Box::pin(watch(&lake, &look, output)).await
    } else {
        let mut functions = ALL.to_vec();
        if is_narrowed {
            functions.retain(|function| *function != FunctionKind::Compact);
        }
        Box::pin(update((&functions, arguments.preview), &lake, &look, output)).await
    }
}

/// One update by these functions; so many rows of each gold table are shown at the end.
pub(super) async fn update(
    (functions, preview): (&[FunctionKind], usize),
    lake: &Arc<Lake>,
    look: &Look,
    output: &Output,
) -> Result<Exit> {
    let drawing = Drawing::new(output);
    let listener = |progress: Progress<'_>| drawing.draw(progress);
    let handler = |function: FunctionKind, trigger: Trigger| dispatch(Arc::clone(lake), function, trigger);
    let host = host(look, lake)?;
    let report = Box::pin(drawing.during(lake.landing(), host.update(functions, &handler, &listener))).await;
    drawing.finish();
    let report = report?;
    print(&report, lake, preview, output).await?;
    Ok(exit(&report))
}

async fn watch(lake: &Arc<Lake>, look: &Look, output: &Output) -> Result<Exit> {
    let stop = stop_on_signals()?;
    let drawing = Drawing::new(output);
    let listener = |progress: Progress<'_>| {
        if let Progress::Finished { report, .. } = &progress {
            report.flows.iter().filter(|flow| flow.outcome != Outcome::NothingNew).for_each(|flow| drawing.tell(flow));
        }
        drawing.draw(progress);
    };
    let handler = |function: FunctionKind, trigger: Trigger| dispatch(Arc::clone(lake), function, trigger);
    let host = host(look, lake)?;
    Box::pin(drawing.during(lake.landing(), host.watch(&handler, &listener, stop))).await;
    drawing.finish();
    Ok(Exit::Done)
}

/// All of an update's work on one dataset.
#[derive(Debug, Default)]
struct Line {
    rows: Counts,
    version: Option<u64>,
    trouble: Option<String>,
    expectations: BTreeMap<String, ExpectationCount>,
}

async fn print(report: &Report, lake: &Lake, preview: usize, output: &Output) -> Result<()> {
    let pipeline = lake.pipeline();
    let lines = lines(report, pipeline);
    match output.format {
        Format::Json => {
            let document = serde_json::to_value(report).unwrap_or_default();
            return output.print(&render::json(&document));
        }
        Format::Csv => return output.print(&render::rows(&datasets(&lines), output)?),
        Format::Table => {}
    }
    let new = report.flows.iter().any(|flow| flow.outcome != Outcome::NothingNew);
    if !new {
        return output.print("nothing new: every table is up to date, and nothing was committed");
    }
    output.print(&render::rows(&datasets(&lines), output)?)?;
    let rules = expectations(&lines);
    if rules.len() > 0 {
        output.heading("expectations")?;
        output.note(&render::rows(&rules, output)?)?;
    }
    for dataset in pipeline.datasets.iter().filter(|dataset| preview > 0 && is_gold(pipeline, dataset)) {
        show(lake, &dataset.name, preview, output).await?;
    }
    for (name, trouble) in lines.iter().filter_map(|(name, line)| Some((name, line.trouble.as_ref()?))) {
        output.complain(&format!("{name}: {trouble}"));
    }
    Ok(())
}

fn is_gold(pipeline: &Pipeline, dataset: &Dataset) -> bool {
    pipeline.flows_into(&dataset.name).any(|flow| flow.kind == FlowKind::Materialize)
}

async fn show(lake: &Lake, name: &DatasetName, rows: usize, output: &Output) -> Result<()> {
    let Some((schema, batches)) = lake.preview(name, rows).await? else { return Ok(()) };
    output.heading(&name.to_string())?;
    output.note(&render::rows(&Rows { schema, batches }, output)?)
}

fn lines(report: &Report, pipeline: &Pipeline) -> Vec<(DatasetName, Line)> {
    let mut lines: BTreeMap<DatasetName, Line> = BTreeMap::new();
    let maintenance = |flow: &FlowReport| matches!(flow.flow.as_str(), "compact" | "checkpoint");
    for flow in report.flows.iter().filter(|flow| !maintenance(flow)) {
        let line = lines.entry(flow.target.clone()).or_default();
        let done = matches!(flow.outcome, Outcome::Committed { .. } | Outcome::AlreadyApplied | Outcome::NothingNew);
        if done || flow.rows != Counts::default() {
            line.rows = line.rows.plus(flow.rows);
        }
        match &flow.outcome {
            Outcome::Committed { version } => line.version = line.version.max(Some(*version)),
            Outcome::Failed { message, .. } => line.trouble = Some(message.clone()),
            Outcome::Retryable { reason } | Outcome::Waiting { reason } => line.trouble = Some(reason.clone()),
            Outcome::Skipped { .. } => line.trouble = Some(words(&flow.outcome)),
            Outcome::NothingNew | Outcome::AlreadyApplied => {}
        }
        for count in &flow.expectations {
            let sum = line.expectations.entry(count.name.clone());
            sum.and_modify(|sum| {
                sum.passed += count.passed;
                sum.failed += count.failed;
            })
            .or_insert_with(|| count.clone());
        }
    }
    let order = |name: &DatasetName| pipeline.datasets.iter().position(|dataset| &dataset.name == name);
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by_key(|(name, _)| order(name));
    lines
}

fn datasets(lines: &[(DatasetName, Line)]) -> Rows {
    let number =
        |value: fn(&Counts) -> u64| lines.iter().map(move |(_, line)| Some(value(&line.rows))).collect::<Vec<_>>();
    Listing::default()
        .text("dataset", lines.iter().map(|(name, _)| Some(name.to_string())))
        .number("received", number(|rows| rows.read))
        .number("written", number(|rows| rows.written))
        .number("dropped", number(|rows| rows.dropped))
        .number("quarantined", number(|rows| rows.quarantined))
        .number("duplicate", number(|rows| rows.duplicate))
        .number("late", number(|rows| rows.late))
        .number("version", lines.iter().map(|(_, line)| line.version))
        .rows()
}

fn expectations(lines: &[(DatasetName, Line)]) -> Rows {
    let rules: Vec<_> =
        lines.iter().flat_map(|(name, line)| line.expectations.values().map(move |count| (name, count))).collect();
    Listing::default()
        .text("dataset", rules.iter().map(|(name, _)| Some(name.to_string())))
        .text("expectation", rules.iter().map(|(_, count)| Some(count.name.clone())))
        .text("on violation", rules.iter().map(|(_, count)| Some(format!("{:?}", count.action).to_lowercase())))
        .number("passed", rules.iter().map(|(_, count)| Some(count.passed)))
        .number("failed", rules.iter().map(|(_, count)| Some(count.failed)))
        .rows()
}

/// The exit code of an update: the worst of its flows.
fn exit(report: &Report) -> Exit {
    let of = |flow: &FlowReport| match &flow.outcome {
        Outcome::Failed { kind: ErrorKind::Unavailable | ErrorKind::Conflict, .. } | Outcome::Retryable { .. } => {
            Exit::Retry
        }
        Outcome::Failed { .. } | Outcome::Skipped { .. } => Exit::Failed,
        Outcome::NothingNew | Outcome::AlreadyApplied | Outcome::Committed { .. } | Outcome::Waiting { .. } => {
            Exit::Done
        }
    };
    let worst = report.flows.iter().map(of).min_by_key(|exit| match exit {
        Exit::Failed => 0,
        Exit::Invalid => 1,
        Exit::Retry => 2,
        Exit::Done => 3,
    });
    worst.unwrap_or(Exit::Done)
}
