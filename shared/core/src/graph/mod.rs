//! Binds statements into one checked, ordered pipeline.

pub mod properties;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, SourceFile};
use crate::model::Pipeline;
use crate::name::DatasetName;
use crate::project::Project;

/// A pipeline, unless a finding is an error.
#[derive(Debug, Clone)]
pub struct Built {
    /// The pipeline; `None` when any finding is an error.
    pub pipeline: Option<Pipeline>,
    /// All findings of all files, ordered by file and place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses all files of a project and binds them, whatever the order of definitions.
#[must_use]
pub fn build(project: &Project, files: &[Arc<SourceFile>]) -> Built {
    let _ = (project, files);
    Built { pipeline: None, diagnostics: Vec::new() }
}

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
    let _ = (pipeline, request);
    Ok(Selection::default())
}

/// What a dataset depends on and what depends on it, all the way, nearest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Datasets that it reads, directly or not.
    pub upstream: Vec<DatasetName>,
    /// Outside sources at the start of those: `events:<name>` and `files:<path>`.
    pub outside: Vec<String>,
    /// Datasets that read it, directly or not.
    pub downstream: Vec<DatasetName>,
}

/// The lineage of a dataset; `None` if the pipeline has no such dataset.
#[must_use]
pub fn lineage(pipeline: &Pipeline, dataset: &DatasetName) -> Option<Lineage> {
    pipeline.dataset(dataset).map(|_| Lineage::default())
}

/// The graph as text, one dataset a line, sources before their readers.
#[must_use]
pub fn draw(pipeline: &Pipeline) -> String {
    let _ = pipeline;
    String::new()
}

/// The graph as a Mermaid flowchart.
#[must_use]
pub fn mermaid(pipeline: &Pipeline) -> String {
    let _ = pipeline;
    String::new()
}
