//! Binds statements into one checked, ordered pipeline.
//!
//! Definitions may come in any order and in any file. Every check runs over all of them, so that
//! one call finds everything that is wrong:
//!
//! 1. names are resolved, per file, by `USE` and the project's default schema;
//! 2. each dataset and each flow is checked by itself and against the names of the others;
//! 3. datasets are ordered, sources before their readers, or the cycles are named;
//! 4. views are expanded into their readers, and what remains is checked as a stream or a batch;
//! 5. layers are inferred: a materialized view is gold; a streaming table is bronze if any of its
//!    flows reads an outside source, else silver.
//!
//! Types and columns are the engine's to check, which knows the schemas of sources.

mod assemble;
mod bind;
mod changes;
mod datasets;
mod draft;
mod draw;
mod edges;
mod expand;
mod flows;
mod functions;
mod order;
mod paths;
pub mod properties;
mod scope;
mod selection;
mod snapshot;
mod streaming;

use std::sync::Arc;

use self::draft::Draft;
use crate::diagnostic::{Diagnostic, Severity, SourceFile};
use crate::model::Pipeline;
use crate::project::Project;

pub use self::draw::{draw, mermaid};
pub use self::edges::{Lineage, lineage};
pub use self::expand::view_names;
pub use self::selection::{Request, Selection, is_resettable, select};

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
    check(project, bind::bind(project, files), files)
}

fn check(project: &Project, mut draft: Draft, files: &[Arc<SourceFile>]) -> Built {
    if draft.datasets.is_empty() && draft.findings.is_empty() {
        let finding = Diagnostic::error("RUN_EMPTY_PIPELINE", "the project defines no dataset")
            .help("write a `CREATE STREAMING TABLE` or `CREATE MATERIALIZED VIEW` in a `.sql` file");
        draft.findings.push(finding);
    }
    datasets::check(&mut draft);
    flows::check_names(&mut draft, project);
    changes::check(&mut draft);
    let (pipeline, mut diagnostics) = assemble::assemble(project, draft);
    sort(&mut diagnostics, files);
    let sound = diagnostics.iter().all(|finding| finding.severity != Severity::Error);
    Built { pipeline: pipeline.filter(|_| sound), diagnostics }
}

/// Findings without a place first, then by file and place; equal ones once.
fn sort(findings: &mut Vec<Diagnostic>, files: &[Arc<SourceFile>]) {
    findings.sort_by_key(|finding| {
        let place = |span: &crate::diagnostic::Span| {
            let file = files.iter().position(|file| file.path == span.file.path);
            (file.unwrap_or(files.len()), span.range.start)
        };
        finding.span.as_ref().map(place)
    });
    findings.dedup();
}

#[cfg(test)]
mod tests;
