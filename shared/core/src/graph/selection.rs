//! Which datasets an update covers.

use std::collections::BTreeSet;

use super::properties::RESET_ALLOWED;
use crate::diagnostic::Diagnostic;
use crate::model::{Dataset, Pipeline};
use crate::name::DatasetName;
use crate::nearest::did_you_mean;

/// What an update was asked to cover; names as a person writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Datasets to refresh; empty means all, unless `full_refresh` names some.
    pub select: Vec<String>,
    /// Datasets to empty and compute from the start.
    pub full_refresh: Vec<String>,
    /// Empty and compute every dataset whose `pipelines.reset.allowed` isn't false.
    pub full_refresh_all: bool,
}

/// What an update covers. Selections are not widened to readers or sources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Datasets with tables whose flows run, `full_refresh` included.
    pub refresh: BTreeSet<DatasetName>,
    /// Datasets that are emptied first.
    pub full_refresh: BTreeSet<DatasetName>,
}

/// Which datasets an update covers.
///
/// # Errors
/// A finding for each unknown name, each view, and each table with `pipelines.reset.allowed = false`
/// that was named for a full refresh.
pub fn select(pipeline: &Pipeline, request: &Request) -> Result<Selection, Vec<Diagnostic>> {
    let mut findings = Vec::new();
    let mut selection = Selection::default();
    for name in &request.select {
        let found = table(pipeline, name).map_err(|finding| findings.push(finding));
        selection.refresh.extend(found.map(|dataset| dataset.name.clone()));
    }
    for name in &request.full_refresh {
        let found = table(pipeline, name).and_then(resettable).map_err(|finding| findings.push(finding));
        selection.full_refresh.extend(found.map(|dataset| dataset.name.clone()));
    }
    if request.full_refresh_all {
        let resettable = tables(pipeline).filter(|dataset| is_resettable(dataset));
        selection.full_refresh.extend(resettable.map(|dataset| dataset.name.clone()));
    }
    if request.full_refresh_all || (request.select.is_empty() && request.full_refresh.is_empty()) {
        selection.refresh.extend(tables(pipeline).map(|dataset| dataset.name.clone()));
    }
    selection.refresh.extend(selection.full_refresh.iter().cloned());
    if findings.is_empty() { Ok(selection) } else { Err(findings) }
}

fn table<'a>(pipeline: &'a Pipeline, written: &str) -> Result<&'a Dataset, Diagnostic> {
    let name = DatasetName::from(written.trim().to_owned());
    let Some(dataset) = pipeline.dataset(&name) else {
        let known: Vec<String> = tables(pipeline).map(|dataset| dataset.name.to_string()).collect();
        return Err(Diagnostic::error("DATASET_NOT_FOUND", format!("the pipeline has no dataset `{written}`"))
            .help(did_you_mean(written, known.iter().map(String::as_str))));
    };
    if dataset.kind.has_table() {
        return Ok(dataset);
    }
    Err(Diagnostic::error("DATASET_WITHOUT_TABLE", format!("`{name}` is a view, which has nothing to refresh"))
        .help("name the tables that read it"))
}

fn tables(pipeline: &Pipeline) -> impl Iterator<Item = &Dataset> {
    pipeline.datasets.iter().filter(|dataset| dataset.kind.has_table())
}

fn resettable(dataset: &Dataset) -> Result<&Dataset, Diagnostic> {
    if is_resettable(dataset) {
        return Ok(dataset);
    }
    let message = format!("`{}` is exempt from full refreshes by `{RESET_ALLOWED}`", dataset.name);
    Err(Diagnostic::error("TABLE_NOT_RESETTABLE", message)
        .at(dataset.span.clone())
        .help("leave it out, or remove the property"))
}

/// Whether a table may be computed from the start: not where `pipelines.reset.allowed` is false.
#[must_use]
pub fn is_resettable(dataset: &Dataset) -> bool {
    !dataset.properties.get(RESET_ALLOWED).is_some_and(|value| value.eq_ignore_ascii_case("false"))
}
