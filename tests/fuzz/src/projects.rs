//! Project files.

use std::collections::BTreeMap;

use headwater_core::diagnostic::SourceFile;
use headwater_core::project;

use crate::findings::{Found, shown};

/// A project file is a project or refused with a place, and the same each time.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert_eq!(read(text), read(text), "another time it is something else");
}

fn read(text: &str) -> Vec<Found> {
    let parsed = project::parse(&SourceFile::new("pipeline.yml", text), &BTreeMap::new());
    let findings = shown(&parsed.diagnostics, text);
    let is_refused = findings.iter().any(|found| found.is_error);
    assert_eq!(parsed.project.is_none(), is_refused, "a project and why there is none: {:?}", parsed.diagnostics);
    findings
}
