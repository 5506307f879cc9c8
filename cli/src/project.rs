//! The project in a folder: its file, its SQL, and the pipeline that they make.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_core::diagnostic::{Diagnostic, Severity, SourceFile};
use headwater_core::graph;
use headwater_core::model::Pipeline;
use headwater_core::project::{self, FILE_NAMES, Project};

use crate::failure::{Failure, Result};

/// Bytes of one SQL or project file at most.
const LARGEST_FILE: u64 = 4 << 20;
/// Folders below the project's at most.
const DEEPEST: usize = 32;

/// A project as it stands in its folder.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The folder that relative paths start from.
    pub(crate) folder: PathBuf,
    /// The project file; `None` when it can't be used.
    pub(crate) project: Option<Project>,
    /// The SQL files.
    pub(crate) files: Vec<Arc<SourceFile>>,
    /// What they define; `None` when any finding is an error.
    pub(crate) pipeline: Option<Pipeline>,
    /// Everything that is wrong or odd.
    pub(crate) findings: Vec<Diagnostic>,
}

impl Loaded {
    /// The pipeline, or all that keeps it from running.
    pub(crate) fn into_pipeline(self) -> Result<Pipeline> {
        self.pipeline.ok_or(Failure::Findings(self.findings))
    }
}

/// Reads and checks the project in `folder`, or in the nearest folder upward that has one.
pub(crate) fn load(folder: Option<&Path>) -> Result<Loaded> {
    let path = find(folder)?;
    let folder = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = SourceFile::new(name, read(&path)?);
    let parsed = project::parse(&file, &environment());
    let mut loaded =
        Loaded { folder, project: parsed.project, files: Vec::new(), pipeline: None, findings: parsed.diagnostics };
    if let Some(project) = &loaded.project {
        let selected = project.select(&paths_below(&loaded.folder)?);
        loaded.findings.extend(selected.diagnostics);
        loaded.files = read_all(&loaded.folder, &selected.paths)?;
        let built = graph::build(project, &loaded.files);
        loaded.findings.extend(built.diagnostics);
        loaded.pipeline = built.pipeline;
    }
    if has_errors(&loaded.findings) {
        loaded.pipeline = None;
    }
    Ok(loaded)
}

/// Whether a project with these findings can't run.
pub(crate) fn has_errors(findings: &[Diagnostic]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

fn find(folder: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = folder {
        let found = file_in(folder);
        return found.ok_or_else(|| missing(format!("{} holds no project file", folder.display())));
    }
    let here = std::env::current_dir().map_err(|source| Failure::file("use the folder", Path::new("."), &source))?;
    let found = here.ancestors().find_map(file_in);
    found.ok_or_else(|| missing(format!("neither {} nor a folder above it holds a project file", here.display())))
}

fn file_in(folder: &Path) -> Option<PathBuf> {
    FILE_NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

fn missing(message: String) -> Failure {
    let help = "go to a folder with a pipeline.yml, name it with --project, or make one with `headwater init NAME`";
    Failure::invalid(message, help)
}

/// The environment, without what isn't text.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

fn read(path: &Path) -> Result<String> {
    let failed = |source: std::io::Error| Failure::file("read", path, &source);
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > LARGEST_FILE {
        let message =
            format!("{} has {size} bytes, and files of a project have {LARGEST_FILE} at most", path.display());
        return Err(Failure::invalid(message, "split it, or narrow `libraries` so that it isn't part of the project"));
    }
    fs::read_to_string(path).map_err(failed)
}

fn read_all(folder: &Path, paths: &[String]) -> Result<Vec<Arc<SourceFile>>> {
    paths.iter().map(|path| Ok(SourceFile::new(path, read(&folder.join(path))?))).collect()
}

/// All files below the folder, relative and with `/`. Links are not followed, so this ends.
fn paths_below(folder: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    collect(folder, "", DEEPEST, &mut paths)?;
    paths.sort();
    Ok(paths)
}

fn collect(folder: &Path, prefix: &str, depth: usize, paths: &mut Vec<String>) -> Result<()> {
    let failed = |source: std::io::Error| Failure::file("list", folder, &source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().map_err(failed)?;
        let is_table = kind.is_dir() && entry.path().join("_delta_log").is_dir();
        if kind.is_dir() && depth > 0 && name != "target" && name != ".git" && !is_table {
            collect(&entry.path(), &format!("{path}/"), depth - 1, paths)?;
        } else if !kind.is_dir() {
            paths.push(path);
        }
    }
    Ok(())
}
