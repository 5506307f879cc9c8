//! `headwater run --full-refresh --shadow`, `headwater diff`, `headwater promote`: tables that are computed beside those in use.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_core::diagnostic::Diagnostic;
use headwater_core::model::Pipeline;
use headwater_core::name::DatasetName;
use headwater_core::nearest::did_you_mean;
use headwater_core::report::Outcome;
use headwater_lake::lake::Lake;
use headwater_lake::shadow::Difference;
use headwater_runtime::local::FunctionKind;

use super::run::update;
use crate::failure::{Exit, Failure, Result};
use crate::look::Look;
use crate::output::Output;
use crate::project;
use crate::render::{self, Rows, listing::Listing};

/// The functions that compute a table from what is there.
const FUNCTIONS: [FunctionKind; 3] = [FunctionKind::BronzeFiles, FunctionKind::Silver, FunctionKind::Gold];

/// Computes these datasets anew, beside those in use.
pub(super) async fn build(
    names: BTreeSet<DatasetName>,
    (pipeline, folder): (Pipeline, PathBuf),
    preview: usize,
    output: &Output,
) -> Result<Exit> {
    if names.is_empty() {
        return Err(Failure::invalid("no table can be computed anew", "name one: --full-refresh=NAMES"));
    }
    let present = Lake::open(pipeline.clone(), &folder)?;
    if let Some(name) = names.iter().find(|name| !present.can_reset(name)) {
        return Err(Failure::invalid(
            format!("`{name}` is fed by messages, which are gone once they are landed"),
            "name the tables that read it instead",
        ));
    }
    let look = Look::new((pipeline.clone(), folder.clone()))?;
    let mut selected = pipeline.clone();
    selected.flows.retain(|flow| names.contains(&flow.target));
    let whole = Lake::open_shadows(pipeline, &folder, names.clone())?;
    let errors: Vec<Diagnostic> = whole.check(&names).await.into_iter().filter(Diagnostic::is_error).collect();
    if !errors.is_empty() {
        return Err(Failure::Findings(errors));
    }
    present.discard_shadows().await?;
    let lake = Arc::new(Lake::open_shadows(selected, &folder, names)?);
    let exit = update((&FUNCTIONS, preview), &lake, &look, output).await?;
    if exit == Exit::Done {
        output.note("computed beside the tables in use: headwater diff compares them, headwater promote swaps them")?;
    }
    Ok(exit)
}

pub(crate) async fn diff(names: &[String], project: Option<&Path>, output: &Output) -> Result<Exit> {
    let lake = lake(project)?;
    let mut differences = Vec::new();
    for name in chosen(&lake, names).await? {
        let found = lake.difference(&name).await?;
        differences.push(found.ok_or_else(|| no_shadow(&name))?);
    }
    output.print(&render::rows(&listed(&differences), output)?)?;
    Ok(Exit::Done)
}

pub(crate) async fn promote(names: &[String], project: Option<&Path>, output: &Output) -> Result<Exit> {
    let lake = lake(project)?;
    let names = chosen(&lake, names).await?;
    let reports = lake.promote(&names.into_iter().collect()).await?;
    let version = |outcome: &Outcome| match outcome {
        Outcome::Committed { version } => Some(*version),
        Outcome::NothingNew
        | Outcome::AlreadyApplied
        | Outcome::Retryable { .. }
        | Outcome::Failed { .. }
        | Outcome::Skipped { .. }
        | Outcome::Waiting { .. } => None,
    };
    let rows = Listing::default()
        .text("table", reports.iter().map(|report| Some(report.target.to_string())))
        .number("files added", reports.iter().map(|report| Some(report.files_added)))
        .number("files removed", reports.iter().map(|report| Some(report.files_removed)))
        .number("version", reports.iter().map(|report| version(&report.outcome)))
        .rows();
    output.print(&render::rows(&rows, output)?)?;
    Ok(Exit::Done)
}

fn lake(project: Option<&Path>) -> Result<Lake> {
    let (pipeline, folder) = project::load(project)?.into_pipeline()?;
    Ok(Lake::open(pipeline, &folder)?)
}

/// The datasets that are named, or all that have a shadow.
async fn chosen(lake: &Lake, names: &[String]) -> Result<Vec<DatasetName>> {
    if names.is_empty() {
        let shadows = lake.shadows().await?;
        if shadows.is_empty() {
            return Err(Failure::invalid(
                "no table has a shadow",
                "build one: headwater run --full-refresh=NAMES --shadow",
            ));
        }
        return Ok(shadows);
    }
    let known: Vec<String> = lake.pipeline().datasets.iter().map(|dataset| dataset.name.to_string()).collect();
    let named = |text: &String| {
        let name = DatasetName::from(text.clone());
        let is_known = lake.pipeline().dataset(&name).is_some();
        let help = || did_you_mean(text, known.iter().map(String::as_str));
        is_known
            .then_some(name)
            .ok_or_else(|| Failure::invalid(format!("the pipeline has no dataset `{text}`"), help()))
    };
    names.iter().map(named).collect()
}

fn no_shadow(name: &DatasetName) -> Failure {
    let help = format!("build one: headwater run --full-refresh={name} --shadow");
    Failure::invalid(format!("`{name}` has no shadow"), help)
}

fn listed(differences: &[Difference]) -> Rows {
    let number =
        |value: fn(&Difference) -> u64| differences.iter().map(move |one| Some(value(one))).collect::<Vec<_>>();
    let names = |value: fn(&Difference) -> &Vec<String>| {
        differences.iter().map(move |one| Some(value(one).join(", "))).collect::<Vec<_>>()
    };
    Listing::default()
        .text("dataset", differences.iter().map(|one| Some(one.dataset.to_string())))
        .number("same", number(|one| one.same))
        .number("only now", number(|one| one.only_now))
        .number("only in the shadow", number(|one| one.only_shadow))
        .text("columns added", names(|one| &one.added))
        .text("columns removed", names(|one| &one.removed))
        .rows()
}
