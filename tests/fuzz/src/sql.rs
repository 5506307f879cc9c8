//! Files of SQL.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use headwater_core::diagnostic::SourceFile;
use headwater_core::project::{self, Project};
use headwater_core::{graph, sql};

use crate::findings::{Found, shown};

static PROJECT: LazyLock<Project> = LazyLock::new(|| {
    let file = SourceFile::new("pipeline.yml", include_str!("pipeline.yml"));
    project::parse(&file, &BTreeMap::new()).project.expect("a project")
});

/// What may stand above a file without a meaning.
const ABOVE: &str = "-- above\n";

/// A file is read or refused with places, as the same each time, and as the same further down.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let found = read(text);
    assert_eq!(read(text), found, "another time it is something else");
    if text.starts_with('\u{feff}') {
        return;
    }
    let mut below = read(&format!("{ABOVE}{text}"));
    for range in below.iter_mut().filter_map(|found| found.range.as_mut()) {
        *range = range.start.saturating_sub(ABOVE.len())..range.end.saturating_sub(ABOVE.len());
    }
    assert_eq!(below, found, "below a comment it is something else");
}

fn read(text: &str) -> Vec<Found> {
    let file = SourceFile::new("sql/a.sql", text);
    let parsed = sql::parse_file(&file, &PROJECT.configuration);
    let mut findings = shown(&parsed.diagnostics, text);
    let built = graph::build(&PROJECT, &[file]);
    findings.extend(shown(&built.diagnostics, text));
    let is_refused = findings.iter().any(|found| found.is_error);
    assert_eq!(built.pipeline.is_none(), is_refused, "a pipeline and why there is none: {:?}", built.diagnostics);
    findings
}
