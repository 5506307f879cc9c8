//! Which files of a folder belong to the project.

use globset::{GlobBuilder, GlobMatcher};

use super::{Library, Project};
use crate::diagnostic::Diagnostic;

/// The pattern of a project without `libraries`.
const DEFAULT_PATTERN: &str = "**/*.sql";

/// Which files belong to a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectedFiles {
    /// Paths of `.sql` files, sorted.
    pub paths: Vec<String>,
    /// Refused files (`.py`) and patterns that match nothing.
    pub diagnostics: Vec<Diagnostic>,
}

impl Project {
    /// Which of these paths (relative to the project's folder, with `/`) belong to the project.
    ///
    /// Without `libraries` that is every `.sql` file. Files below a folder whose name starts with `.`
    /// or `_` belong only if a pattern names that folder; files that are neither SQL nor Python are
    /// passed over.
    #[must_use]
    pub fn select(&self, paths: &[String]) -> SelectedFiles {
        let mut selected = SelectedFiles::default();
        if self.libraries.is_empty() {
            selected.add_matching(DEFAULT_PATTERN, paths);
            if selected.paths.is_empty() {
                let finding = Diagnostic::error("RUN_EMPTY_PIPELINE", "the project's folder holds no `.sql` file")
                    .help("write one, such as `transformations/bronze.sql`");
                selected.diagnostics.push(finding);
            }
        }
        for library in &self.libraries {
            if selected.add_matching(&library.include, paths) == 0 {
                selected.diagnostics.push(matches_nothing(library));
            }
        }
        selected.paths.sort();
        selected.paths.dedup();
        selected.diagnostics.dedup();
        selected
    }
}

impl SelectedFiles {
    /// Adds what a pattern matches; how many SQL or Python files that was.
    fn add_matching(&mut self, pattern: &str, paths: &[String]) -> usize {
        let Some(matcher) = matcher(pattern) else { return 0 };
        let mut matched = 0;
        for path in paths.iter().filter(|path| matcher.is_match(path) && !is_hidden(path, pattern)) {
            if has_extension(path, ".sql") {
                self.paths.push(path.clone());
            } else if has_extension(path, ".py") || has_extension(path, ".ipynb") {
                self.diagnostics.push(python(path));
            } else {
                continue;
            }
            matched += 1;
        }
        matched
    }
}

fn matcher(pattern: &str) -> Option<GlobMatcher> {
    let pattern = pattern.trim_start_matches("./");
    GlobBuilder::new(pattern).literal_separator(true).build().ok().map(|glob| glob.compile_matcher())
}

fn has_extension(path: &str, extension: &str) -> bool {
    path.to_lowercase().ends_with(extension)
}

fn is_hidden(path: &str, pattern: &str) -> bool {
    path.split('/').any(|part| part.starts_with(['.', '_']) && !pattern.split('/').any(|named| named == part))
}

fn python(path: &str) -> Diagnostic {
    Diagnostic::error("UNSUPPORTED_PIPELINE_LIBRARY", format!("`{path}` is Python, and pipelines are defined in SQL"))
        .help("write the datasets in a `.sql` file, or narrow `libraries` to the SQL files, such as `src/*.sql`")
}

fn matches_nothing(library: &Library) -> Diagnostic {
    Diagnostic::error("PIPELINE_SPEC_FILE_DOES_NOT_EXIST", format!("no `.sql` file matches `{}`", library.include))
        .help("patterns are relative to the project file; `dir/**` takes all files below `dir`")
        .at(library.span.clone())
}
