//! The environment and the project's folder, read once; the only place that reads the environment.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_core::diagnostic::{Diagnostic, Severity, SourceFile};
use headwater_core::project::{FILE_NAMES, Project, parse};

use crate::error::{AtPath, Result, RuntimeError};

/// Bytes of one file of a project at most.
const MAX_FILE: u64 = 4 << 20;
/// Files that a project's folder is searched for at most.
const MAX_FILES: usize = 100_000;

/// A project as it was read: what is sound of it, and every finding.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// The project file's settings; `None` when any finding is an error in it.
    pub project: Option<Project>,
    /// The SQL files that belong to the project and could be read, by path.
    pub files: Vec<Arc<SourceFile>>,
    /// All findings: the project file's first, then those on choosing and reading files.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether a finding is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// The environment; variables that are not Unicode are left out.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// The folder of the project that `start` lies in: itself or the nearest above that holds a project file.
///
/// # Errors
/// `Invalid` when there is none.
pub fn find_project(start: &Path) -> Result<PathBuf> {
    let absolute = start.canonicalize().at("find", start)?;
    let found = absolute.ancestors().find(|folder| project_file(folder).is_some());
    found.map(Path::to_owned).ok_or(RuntimeError::NoProject { start: absolute })
}

/// Reads the project of a folder. `environment` overrides what its file says, see
/// [`headwater_core::project::parse`].
///
/// # Errors
/// `Invalid` when the folder holds no project file or can't be listed; all else that is wrong is a
/// finding.
pub fn load_project(folder: &Path, environment: &BTreeMap<String, String>) -> Result<Loaded> {
    let Some(name) = project_file(folder) else { return Err(RuntimeError::NoProject { start: folder.to_owned() }) };
    let mut loaded = Loaded { folder: folder.to_owned(), project: None, files: Vec::new(), diagnostics: Vec::new() };
    let file = match read(folder, name) {
        Ok(file) => file,
        Err(finding) => {
            loaded.diagnostics.push(finding);
            return Ok(loaded);
        }
    };
    let parsed = parse(&file, environment);
    loaded.project = parsed.project;
    loaded.diagnostics = parsed.diagnostics;
    if let Some(project) = &loaded.project {
        let selected = project.select(&list(folder)?);
        loaded.diagnostics.extend(selected.diagnostics);
        for path in &selected.paths {
            match read(folder, path) {
                Ok(file) => loaded.files.push(file),
                Err(finding) => loaded.diagnostics.push(finding),
            }
        }
    }
    Ok(loaded)
}

fn project_file(folder: &Path) -> Option<&'static str> {
    FILE_NAMES.into_iter().find(|name| folder.join(name).is_file())
}

/// All files below a folder, relative to it, with `/` between parts. Links are not followed into
/// folders, so that no loop can arise.
fn list(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut open = vec![String::new()];
    while let Some(part) = open.pop() {
        let path = folder.join(&part);
        for entry in fs::read_dir(&path).at("read", &path)? {
            let entry = entry.at("read", &path)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let relative = if part.is_empty() { name } else { format!("{part}/{name}") };
            if !entry.file_type().at("read", &entry.path())?.is_dir() {
                files.push(relative);
            } else if is_source_folder(&entry.path()) {
                open.push(relative);
            }
        }
        if files.len() > MAX_FILES {
            let problem = format!("holds more than {MAX_FILES} files; keep data outside of the project's folder");
            return Err(RuntimeError::Setting { name: folder.display().to_string(), problem });
        }
    }
    Ok(files)
}

/// Whether SQL may lie in there: not in a repository's own folder, nor in a lake's or a spool's.
fn is_source_folder(folder: &Path) -> bool {
    let is_repository = folder.file_name().is_some_and(|name| name == ".git");
    !is_repository && !folder.join("_delta_log").is_dir() && !folder.join("journal").is_file()
}

fn read(folder: &Path, path: &str) -> std::result::Result<Arc<SourceFile>, Diagnostic> {
    let bytes = read_bounded(&folder.join(path)).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Diagnostic::error("FILE_TOO_LARGE", format!("`{path}` is larger than {} MiB", MAX_FILE >> 20))
            .help("split it; data belongs in the folders that `read_files` reads"));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_text(path, error.as_bytes(), error.utf8_error()))?;
    let text = text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text);
    Ok(SourceFile::new(path, text))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &str, error: &io::Error) -> Diagnostic {
    Diagnostic::error("FILE_NOT_READABLE", format!("could not read `{path}`: {error}"))
        .help("check that it exists and that its permissions allow reading")
}

fn not_text(path: &str, bytes: &[u8], error: std::str::Utf8Error) -> Diagnostic {
    let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
    Diagnostic::error("FILE_NOT_UTF8", format!("`{path}` is not UTF-8: line {line}, byte {}", error.valid_up_to() + 1))
        .help("save the file as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    #[test]
    fn a_project_is_found_from_a_folder_inside_it() {
        let folder = project(&[("pipeline.yml", b"name: a\nstorage: lake\n"), ("sql/deep/a.sql", b"SELECT 1")]);
        let found = find_project(&folder.path().join("sql/deep")).unwrap();
        assert_eq!(found, folder.path().canonicalize().unwrap());
        let loaded = load_project(&found, &BTreeMap::new()).unwrap();
        assert_eq!(loaded.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["sql/deep/a.sql"]);
        assert_eq!(loaded.diagnostics, []);
    }

    #[test]
    fn no_project_says_what_to_do() {
        let folder = project(&[]);
        let error = find_project(folder.path()).unwrap_err();
        assert!(error.to_string().contains("headwater init"), "{error}");
    }

    #[test]
    fn what_is_not_text_or_too_large_is_a_finding_and_the_rest_is_read() {
        let large = vec![b' '; (MAX_FILE + 1) as usize];
        let folder = project(&[
            ("pipeline.yml", b"name: a\nstorage: lake\n"),
            ("a.sql", b"\xef\xbb\xbfSELECT 1"),
            ("b.sql", b"SELECT\n\xff"),
            ("c.sql", &large),
        ]);
        let loaded = load_project(folder.path(), &BTreeMap::new()).unwrap();
        assert_eq!(loaded.files.iter().map(|file| file.text.as_str()).collect::<Vec<_>>(), ["SELECT 1"]);
        let codes: Vec<_> = loaded.diagnostics.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["FILE_NOT_UTF8", "FILE_TOO_LARGE"]);
        assert!(loaded.diagnostics[0].message.contains("line 2"), "{}", loaded.diagnostics[0]);
        assert!(loaded.has_errors());
    }
}
