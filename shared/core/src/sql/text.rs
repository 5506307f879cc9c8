//! The text of a file with `${key}` substituted, and the way back to where each byte stood.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, SourceFile, Span};
use crate::nearest::nearest;

/// Text to parse.
#[derive(Debug, Clone)]
pub(super) struct Text {
    file: Arc<SourceFile>,
    text: String,
    /// Where pieces of the text come from: start in the text, range in the file. A substituted piece
    /// maps as a whole to its `${…}`.
    pieces: Vec<Piece>,
    /// Byte offset of each line's start in the text.
    lines: Vec<usize>,
}

#[derive(Debug, Clone)]
struct Piece {
    start: usize,
    origin: Range<usize>,
    substituted: bool,
}

impl Text {
    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The place in the file of a range of the text.
    pub(super) fn span(&self, range: &Range<usize>) -> Span {
        let start = self.origin(range.start).start;
        let end = if range.end > range.start { self.origin(range.end - 1).end } else { start };
        Span { file: Arc::clone(&self.file), range: start..end.clamp(start, self.file.text.len()) }
    }

    /// The place in the file of tokens of the text; `None` for tokens that stand nowhere.
    pub(super) fn placed(&self, tokens: sqlparser::tokenizer::Span) -> Option<Span> {
        let start = self.offset(tokens.start.line, tokens.start.column);
        let end = self.offset(tokens.end.line, tokens.end.column);
        (tokens.start.line > 0).then(|| self.span(&(start..end.max(start))))
    }

    /// The byte offset of a line and a column, both from 1, the column in characters.
    pub(super) fn offset(&self, line: u64, column: u64) -> usize {
        let at = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(start) = self.lines.get(at) else { return self.text.len() };
        let characters = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
        let rest = &self.text[*start..];
        rest.char_indices().nth(characters).map_or(self.text.len(), |(offset, _)| start + offset)
    }

    /// Where one byte comes from: the character that it is in, or the whole `${…}`.
    fn origin(&self, at: usize) -> Range<usize> {
        let index = self.pieces.partition_point(|piece| piece.start <= at).saturating_sub(1);
        let Some(piece) = self.pieces.get(index) else { return 0..0 };
        if piece.substituted {
            return piece.origin.clone();
        }
        let mut start = (piece.origin.start + (at - piece.start)).min(self.file.text.len());
        while !self.file.text.is_char_boundary(start) {
            start -= 1;
        }
        let width = self.file.text[start..].chars().next().map_or(0, char::len_utf8);
        start..start + width
    }
}

/// A value that a `SET` gives to what follows it.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// The byte of the file after the `SET`.
    pub(super) from: usize,
    pub(super) key: String,
    pub(super) value: String,
}

/// Substitutes `${key}` by the last setting before it, or else by the configuration; a key that isn't configured is an error and stays as it is. A notebook's
/// cell marks end a statement.
pub(super) fn substitute(
    file: &Arc<SourceFile>,
    configuration: &BTreeMap<String, String>,
    settings: &[Setting],
    found: &mut Vec<Diagnostic>,
) -> Text {
    let source = with_cells_ended(&file.text);
    let mut text = String::with_capacity(source.len());
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(range) = next_reference(&source, at) {
        let key = source[range.start + 2..range.end - 1].trim();
        let set = settings.iter().rfind(|setting| setting.key == key && setting.from <= range.start);
        let Some(value) = set.map(|setting| &setting.value).or_else(|| configuration.get(key)) else {
            found.push(unknown(file, &range, key, configuration));
            push(&mut text, &mut pieces, &source[at..range.end], at..range.end, false);
            at = range.end;
            continue;
        };
        push(&mut text, &mut pieces, &source[at..range.start], at..range.start, false);
        push(&mut text, &mut pieces, value, range.clone(), true);
        at = range.end;
    }
    push(&mut text, &mut pieces, &source[at..], at..source.len(), false);
    let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
    Text { file: Arc::clone(file), text, pieces, lines }
}

fn push(text: &mut String, pieces: &mut Vec<Piece>, content: &str, origin: Range<usize>, substituted: bool) {
    pieces.push(Piece { start: text.len(), origin, substituted });
    text.push_str(content);
}

fn next_reference(source: &str, from: usize) -> Option<Range<usize>> {
    let start = from + source[from..].find("${")?;
    let length = source[start..].find('}')?;
    Some(start..start + length + 1)
}

/// `-- COMMAND ----------` of a notebook export becomes a semicolon of the same length.
fn with_cells_ended(source: &str) -> String {
    const MARK: &str = "-- COMMAND ----------";
    source.replace(MARK, &format!(";{}", " ".repeat(MARK.len() - 1)))
}

fn unknown(
    file: &Arc<SourceFile>,
    range: &Range<usize>,
    key: &str,
    configuration: &BTreeMap<String, String>,
) -> Diagnostic {
    let span = Span { file: Arc::clone(file), range: range.clone() };
    Diagnostic::error("UNBOUND_SQL_PARAMETER", format!("`${{{key}}}` has no value"))
        .at(span)
        .help(known(key, configuration))
}

/// What to do about a parameter that isn't configured.
pub(super) fn known(key: &str, configuration: &BTreeMap<String, String>) -> String {
    match nearest(key, configuration.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "give it a value under `configuration:` in the project file".to_owned(),
    }
}
