//! What is wrong with a project, where, and what to do about it.
//!
//! A check returns all its findings at once. A finding carries a byte range of a file; how it is
//! drawn is the terminal's business.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A file of the project as it was read: its path as the user knows it, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the project's folder.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// A file of the project.
    #[must_use]
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { path: path.into(), text: text.into() })
    }
}

/// A byte range of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Byte offsets into the file's text; `start <= end <= text.len()`, on character boundaries.
    pub range: Range<usize>,
}

impl Span {
    /// The line and column of the span's start, both from 1; the column counts characters.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        let before = &self.file.text[..self.range.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.file.path)
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The project can't run.
    Error,
    /// The project runs, but probably not as meant.
    Warning,
    /// What couldn't be checked, and why.
    Note,
}

impl Severity {
    /// Its word: `error`, `warning`, `note`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the project can run.
    pub severity: Severity,
    /// A stable name that can be looked up; Spark's error class where one fits, such as
    /// `PIPELINE_DUPLICATE_IDENTIFIERS.OUTPUT`.
    pub code: &'static str,
    /// What is wrong: one sentence, no trailing full stop.
    pub message: String,
    /// Where, if it is anywhere.
    pub span: Option<Span>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error that stops the project from running.
    #[must_use]
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), span: None, help: None }
    }

    /// A warning.
    #[must_use]
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// A note.
    #[must_use]
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, message) }
    }

    /// Whether the project can't run.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The same finding, at a place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// The same finding, with what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// Plain text on one or two lines: `file:line:column: error[CODE]: message`, then `help: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(span) = &self.span {
            write!(f, "{span}: ")?;
        }
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_lines_and_characters_from_one() {
        let file = SourceFile::new("a.sql", "-- é\nSELECT é, x");
        let at = file.text.find('x').unwrap();
        let span = Span { file, range: at..at + 1 };
        assert_eq!(span.line_column(), (2, 11));
        assert_eq!(span.to_string(), "a.sql:2:11");
    }

    #[test]
    fn a_diagnostic_says_where_what_and_what_to_do() {
        let file = SourceFile::new("a.sql", "SELEC 1");
        let text = Diagnostic::error("PARSE_SYNTAX_ERROR", "expected a statement")
            .at(Span { file, range: 0..5 })
            .help("write SELECT")
            .to_string();
        assert_eq!(text, "a.sql:1:1: error[PARSE_SYNTAX_ERROR]: expected a statement\n  help: write SELECT");
    }
}
