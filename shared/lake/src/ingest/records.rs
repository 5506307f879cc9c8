//! Cuts text into records.

use std::ops::Range;

use headwater_core::model::{CsvOptions, Format};

/// Brackets in a JSON record deeper than this are refused.
const DEEPEST: u32 = 128;

/// A record in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Its bytes, without the line's end.
    pub(super) range: Range<usize>,
    /// Its line, from 1.
    pub(super) line: u64,
    /// Why it can't be a record, if it can't.
    pub(super) fault: Option<&'static str>,
}

/// The records of a text that ends at a record's end, blank lines left out. Lines count on from
/// `line`, which is moved to the line after.
pub(super) fn cut(text: &[u8], format: &Format, line: &mut u64) -> Vec<Record> {
    let mut records = Vec::with_capacity(text.len() / 128 + 1);
    let mut start = 0;
    while start < text.len() {
        let end = match format {
            Format::Csv(options) => record_end(text, start, options),
            Format::Json | Format::Raw => memchr(text, start),
        };
        let range = trimmed(text, start..end);
        let lines = text[start..end].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        if !range.is_empty() && !is_comment(&text[range.clone()], format) {
            let fault = match format {
                Format::Json => json_fault(&text[range.clone()]),
                Format::Csv(_) | Format::Raw => None,
            };
            records.push(Record { range, line: *line, fault });
        }
        *line += lines;
        start = end + 1;
    }
    records
}

/// The end of the last whole record of a text that may go on; `None` if it has none.
pub(super) fn last_end(text: &[u8], format: &Format) -> Option<usize> {
    match format {
        Format::Json | Format::Raw => text.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1),
        Format::Csv(options) => {
            let (mut start, mut last) = (0, None);
            while start < text.len() {
                let end = record_end(text, start, options);
                if end >= text.len() {
                    break;
                }
                last = Some(end + 1);
                start = end + 1;
            }
            last
        }
    }
}

/// The next line's end: of its newline, or of the text.
fn memchr(text: &[u8], start: usize) -> usize {
    text[start..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| start + at)
}

/// The end of a CSV record: the first newline outside of quotes.
fn record_end(text: &[u8], start: usize, options: &CsvOptions) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate().skip(start) {
        if escaped {
            escaped = false;
        } else if quoted && options.escape == Some(*byte) && *byte != options.quote {
            escaped = true;
        } else if *byte == options.quote {
            quoted = !quoted;
        } else if *byte == b'\n' && !quoted {
            return at;
        }
    }
    text.len()
}

fn is_comment(record: &[u8], format: &Format) -> bool {
    matches!(format, Format::Csv(CsvOptions { comment: Some(comment), .. }) if record.first() == Some(comment))
}

fn trimmed(text: &[u8], range: Range<usize>) -> Range<usize> {
    let record = &text[range.clone()];
    let record_end = record.len() - record.iter().rev().take_while(|byte| matches!(byte, b'\r' | b' ' | b'\t')).count();
    let blank = record[..record_end].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    range.start + blank..range.start + record_end
}

/// Why a line isn't exactly one JSON object. This makes sure that each line gives one row, whatever
/// stands in it, and that nesting can't exhaust the stack.
fn json_fault(record: &[u8]) -> Option<&'static str> {
    if record.first() != Some(&b'{') {
        return Some("not a JSON object");
    }
    let (mut depth, mut string, mut escaped) = (0_u32, false, false);
    for (at, byte) in record.iter().enumerate() {
        if string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Some("nested too deeply");
        }
        if depth == 0 {
            return (at + 1 < record.len()).then_some("more than one JSON value on the line");
        }
    }
    Some("the JSON object doesn't end")
}
