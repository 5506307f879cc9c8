//! Findings about a file.

use std::ops::Range;

use headwater_core::diagnostic::{Diagnostic, Severity};

/// What a finding is, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) code: &'static str,
    pub(crate) range: Option<Range<usize>>,
    pub(crate) is_error: bool,
}

/// Each finding can be shown, and has its place in the file.
pub(crate) fn shown(findings: &[Diagnostic], text: &str) -> Vec<Found> {
    findings.iter().map(|finding| found(finding, text)).collect()
}

fn found(finding: &Diagnostic, text: &str) -> Found {
    let range = finding.span.as_ref().map(|span| {
        assert!(text.get(span.range.clone()).is_some(), "{finding} is at {:?} of {}", span.range, text.len());
        let _ = span.line_column();
        span.range.clone()
    });
    assert!(!finding.to_string().is_empty(), "a finding without a word");
    Found { code: finding.code, range, is_error: finding.severity == Severity::Error }
}
