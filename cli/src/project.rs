//! The project in a folder: its file, its SQL, and the pipeline that they make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_core::diagnostic::{Diagnostic, SourceFile};
use headwater_core::graph;
use headwater_core::model::Pipeline;
use headwater_runtime::config;

use crate::failure::{Failure, Result};

/// A project as it stands in its folder.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The folder that relative paths start from.
    pub(crate) folder: PathBuf,
    /// The SQL files.
    pub(crate) files: Vec<Arc<SourceFile>>,
    /// What they define; `None` when any finding is an error.
    pub(crate) pipeline: Option<Pipeline>,
    /// Everything that is wrong or odd.
    pub(crate) findings: Vec<Diagnostic>,
}

impl Loaded {
    /// The pipeline and its folder, or all that keeps it from running.
    pub(crate) fn into_pipeline(self) -> Result<(Pipeline, PathBuf)> {
        match self.pipeline {
            Some(pipeline) => Ok((pipeline, self.folder)),
            None => Err(Failure::Findings(self.findings)),
        }
    }
}

/// Reads and checks the project in `folder`, or in the nearest folder upward from here that has one.
pub(crate) fn load(folder: Option<&Path>) -> Result<Loaded> {
    load_with(folder, None)
}

/// The same, with one more file of definitions.
pub(crate) fn load_with(folder: Option<&Path>, more: Option<Arc<SourceFile>>) -> Result<Loaded> {
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => config::find_project(Path::new("."))?,
    };
    let environment = config::environment();
    build(folder, &environment, more)
}

/// Reads and checks the project in `folder` as it will be where these variables are set.
pub(crate) fn load_deployed(folder: &Path, variables: &[(&str, &str)]) -> Result<Loaded> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    build(folder.to_owned(), &environment, None)
}

fn build(folder: PathBuf, environment: &BTreeMap<String, String>, more: Option<Arc<SourceFile>>) -> Result<Loaded> {
    let read = config::load_project(&folder, environment)?;
    let sound = !read.has_errors();
    let mut loaded = Loaded { folder, files: read.files, pipeline: None, findings: read.diagnostics };
    loaded.files.extend(more);
    if let Some(project) = &read.project {
        let built = graph::build(project, &loaded.files);
        loaded.findings.extend(built.diagnostics);
        loaded.pipeline = built.pipeline.filter(|_| sound);
    }
    Ok(loaded)
}
