//! Findings with the lines that they are about.

use std::fmt;

use headwater_core::diagnostic::{Diagnostic, Severity};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};

/// Lines of at most so many bytes are shown; a minified file isn't.
const LONGEST_LINE: usize = 2_000;

/// All findings, each with its place underlined and what to do, then how many there were.
pub(crate) fn graphical(findings: &[Diagnostic], colored: bool, width: usize) -> String {
    let theme = if colored { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(width);
    let mut text = String::new();
    for finding in findings {
        let shown = Shown::new(finding);
        if handler.render_report(&mut text, &shown).is_err() {
            text.push_str(&format!("{finding}\n"));
        }
        text.push('\n');
    }
    text + &summary(findings)
}

/// `2 errors, 1 warning, 1 note`, or nothing for no findings.
pub(crate) fn summary(findings: &[Diagnostic]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let counted = [Severity::Error, Severity::Warning, Severity::Note].into_iter().filter_map(|severity| {
        let count = count(severity);
        (count > 0).then(|| format!("{count} {severity}{}", if count == 1 { "" } else { "s" }))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// The findings for machines.
pub(crate) fn to_json(findings: &[Diagnostic]) -> Value {
    findings.iter().map(one_to_json).collect()
}

fn one_to_json(finding: &Diagnostic) -> Value {
    let place = finding.span.as_ref().map(|span| {
        let (line, column) = span.line_column();
        json!({"file": span.file.path, "line": line, "column": column, "start": span.range.start, "end": span.range.end})
    });
    json!({
        "severity": finding.severity.word(),
        "code": finding.code,
        "message": finding.message,
        "place": place,
        "help": finding.help,
    })
}

/// A finding as miette wants it.
struct Shown<'a> {
    finding: &'a Diagnostic,
    source: Option<NamedSource<String>>,
}

impl<'a> Shown<'a> {
    fn new(finding: &'a Diagnostic) -> Self {
        let readable = |text: &str| text.lines().all(|line| line.len() <= LONGEST_LINE);
        let span = finding.span.as_ref().filter(|span| readable(&span.file.text));
        let source = span.map(|span| NamedSource::new(&span.file.path, span.file.text.clone()).with_language("SQL"));
        Self { finding, source }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.finding, f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, &self.finding.span) {
            (None, Some(span)) => write!(f, "{span}: {}", self.finding.message),
            (Some(_) | None, _) => f.write_str(&self.finding.message),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.finding.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Note => miette::Severity::Advice,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.finding.span.as_ref().filter(|_| self.source.is_some())?;
        let label = LabeledSpan::new(None, span.range.start, span.range.len());
        Some(Box::new(std::iter::once(label)))
    }
}
