//! Cuts text into records, whatever pieces the text comes in.
//!
//! A JSON record is a line; in a JSON document it is an object, wherever lines end. A CSV record may go over several lines inside of quotes; one whose quote
//! isn't closed within the limit of a record's size is no record: its lines are, each by itself, so
//! that a stray quote doesn't swallow what follows. Cutting takes time linear in the text.

use std::ops::Range;

use headwater_core::model::{CsvOptions, Format};
use memchr::{memchr, memchr_iter};

use super::json::{Shape, json_shape, object_length};

/// A record in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// Its bytes, without the line's end. Of a record that is too large, not less than too many.
    pub(super) range: Range<usize>,
    /// Its line, from 1.
    pub(super) line: u64,
    /// Why it can't be a record, if that was seen when it was cut: see [`Self::shape`].
    pub(super) fault: Option<&'static str>,
}

impl Record {
    /// What it is, seen from its text: whether it is one record, and where numbers have fractions.
    pub(super) fn shape(&self, text: &[u8], format: &Format) -> Shape {
        match (self.fault, format) {
            (None, Format::Json | Format::JsonDocument) => json_shape(&text[self.range.clone()]),
            (fault, _) => Shape { fault, ..Shape::default() },
        }
    }
}

/// Cuts the text of one input.
#[derive(Debug)]
pub(super) struct Cutter<'a> {
    format: &'a Format,
    /// Bytes of a record at most.
    limit: usize,
    /// The line of the next byte.
    line: u64,
    /// Bytes from here on that are cut by lines, though the format knows longer records.
    by_lines: usize,
    /// The rest of the line belongs to a record that was too large.
    skipping: bool,
    /// Where a JSON document stands.
    list: List,
    /// Whether a JSON document begins with a list; unknown before its first byte that isn't blank.
    begins_with_list: Option<bool>,
}

/// Where a JSON document stands between two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    /// In no list.
    Outside,
    /// In the list whose elements are the records.
    Inside,
    /// Something that is no object has been passed, and the brackets in it with it.
    Unknown,
}

/// What is wrong with a document that ends too early.
const OPEN_LIST: &str = "the list doesn't end: the file is cut short";

/// How the next record ends.
enum End {
    /// Before the line's end that stands here.
    At(usize),
    /// Here, and what follows is the next.
    After(usize),
    /// Not in this text, which is too short to tell.
    Beyond,
    /// Nowhere: its quote isn't closed.
    Open,
    /// It is a line that is too large.
    TooLarge,
}

impl<'a> Cutter<'a> {
    /// At the beginning of an input; larger records than the limit may be cut short.
    pub(super) const fn new(format: &'a Format, limit: usize) -> Self {
        Self { format, limit, line: 1, by_lines: 0, skipping: false, list: List::Outside, begins_with_list: None }
    }

    /// Behind what a document begins with, where another cutter was between two of its records.
    pub(super) fn behind(mut self, head: &[u8]) -> Self {
        if *self.format == Format::JsonDocument {
            self.begins_with_list = begins_with_list(head);
            self.list = if self.begins_with_list == Some(true) { List::Inside } else { List::Outside };
        }
        self
    }

    /// At the beginning of a record, after so many lines.
    pub(super) const fn after_lines(mut self, lines: u64) -> Self {
        self.line = lines + 1;
        self
    }

    /// Lines before the next byte.
    pub(super) const fn lines(&self) -> u64 {
        self.line - 1
    }

    /// Whether the next byte begins a record, of which nothing before it tells anything but what the text begins with: where a
    /// document stands is known from that alone only in the list that it begins with, or where no list came.
    pub(super) fn is_between_records(&self) -> bool {
        let is_told = match self.list {
            List::Inside => self.begins_with_list == Some(true),
            List::Outside => self.begins_with_list != Some(true),
            List::Unknown => false,
        };
        self.by_lines == 0 && !self.skipping && (*self.format != Format::JsonDocument || is_told)
    }

    /// Whether a list was begun that hasn't ended.
    pub(super) fn is_in_list(&self) -> bool {
        self.list == List::Inside
    }

    /// The records that end in this text, blank lines and comments left out, and how many bytes of it
    /// are done with; the others are to be handed in again with what follows them. Nothing follows
    /// the last text.
    pub(super) fn cut(&mut self, text: &[u8], is_last: bool) -> (Vec<Record>, usize) {
        let mut records = Vec::with_capacity(text.len() / 256 + 1);
        let mut at = 0;
        while at < text.len() {
            if self.skipping {
                at = self.skip(text, at);
                continue;
            }
            if *self.format == Format::JsonDocument {
                let gap = self.document_gap(&text[at..]);
                self.line += memchr_iter(b'\n', &text[at..at + gap]).count() as u64;
                at += gap;
                if at == text.len() {
                    break;
                }
            }
            let end = self.next_end(&text[at..], is_last);
            if text[at] != b'{' && !matches!(end, End::Beyond) {
                self.list = List::Unknown;
            }
            match end {
                End::Beyond => break,
                End::After(length) => {
                    records.extend(record(text, at..at + length, self.line, self.format));
                    self.line += memchr_iter(b'\n', &text[at..at + length]).count() as u64;
                    at += length;
                }
                End::At(length) => {
                    match elements(text, at..at + length, self.line, self.format) {
                        Some(elements) => records.extend(elements),
                        None => records.extend(record(text, at..at + length, self.line, self.format)),
                    }
                    let lines = memchr_iter(b'\n', &text[at..at + length]).count();
                    self.line += lines as u64 + 1;
                    self.by_lines = self.by_lines.saturating_sub(length + 1);
                    at = (at + length + 1).min(text.len());
                }
                End::Open => self.by_lines = self.open_region(&text[at..]),
                End::TooLarge => {
                    let range = at..at + self.limit + 1;
                    records.push(Record { range, line: self.line, fault: None });
                    self.skipping = true;
                    at += self.limit + 1;
                    self.by_lines = self.by_lines.saturating_sub(self.limit + 1);
                }
            }
        }
        if is_last && at == text.len() && self.list == List::Inside && !ends_badly(&records, text, self.format) {
            records.push(Record { range: at..at, line: self.line, fault: Some(OPEN_LIST) });
        }
        (records, at)
    }

    /// The bytes of a JSON document between two objects.
    fn document_gap(&mut self, text: &[u8]) -> usize {
        self.begins_with_list = self.begins_with_list.or_else(|| begins_with_list(text));
        let mut is_between = |byte: &u8| match (*byte, self.list) {
            (b'[', List::Outside) => {
                self.list = List::Inside;
                true
            }
            (b']', List::Inside) => {
                self.list = List::Outside;
                true
            }
            (b'[' | b']', List::Unknown) | (b',', _) => true,
            (other, _) => other.is_ascii_whitespace(),
        };
        text.iter().position(|byte| !is_between(byte)).unwrap_or(text.len())
    }

    fn skip(&mut self, text: &[u8], at: usize) -> usize {
        let end = memchr(b'\n', &text[at..]);
        self.skipping = end.is_none();
        self.line += u64::from(end.is_some());
        let next = end.map_or(text.len(), |end| at + end + 1);
        self.by_lines = self.by_lines.saturating_sub(next - at);
        next
    }

    /// The end of the record at the beginning of a text.
    fn next_end(&self, text: &[u8], is_last: bool) -> End {
        match self.format {
            Format::Csv(options) if self.by_lines == 0 => self.quoted_end(text, options, is_last),
            Format::JsonDocument => self.object_end(text, is_last),
            _ => match memchr(b'\n', text) {
                Some(end) => End::At(end),
                None if self.is_too_large(text) => End::TooLarge,
                None if is_last => End::At(text.len()),
                None => End::Beyond,
            },
        }
    }

    /// The end of the object at the beginning of a text, or of the line where there is none.
    fn object_end(&self, text: &[u8], is_last: bool) -> End {
        let near = &text[..text.len().min(self.limit.saturating_add(2))];
        let end = match near.first() {
            Some(b'{') => object_length(near),
            _ => memchr(b'\n', near),
        };
        match end {
            Some(length) => End::After(length),
            None if self.is_too_large(text) => End::TooLarge,
            None if is_last => End::After(text.len()),
            None => End::Beyond,
        }
    }

    fn quoted_end(&self, text: &[u8], options: &CsvOptions, is_last: bool) -> End {
        let near = &text[..text.len().min(self.limit.saturating_add(2))];
        match record_end(near, options) {
            (Some(end), _) => End::At(end),
            (None, _) if self.is_too_large(text) => End::Open,
            (None, false) if is_last => End::At(text.len()),
            (None, true) if is_last => End::Open,
            (None, _) => End::Beyond,
        }
    }

    /// How far a quote that isn't closed is looked for, and so what is cut by lines.
    fn open_region(&self, text: &[u8]) -> usize {
        if self.is_too_large(text) { self.limit.max(1) } else { text.len() }
    }

    /// Whether a line that has no end in this text is too large, even if a carriage return ends it.
    const fn is_too_large(&self, text: &[u8]) -> bool {
        text.len() > self.limit.saturating_add(1)
    }
}

/// Whether a text begins with a list, unless it is blank.
pub(super) fn begins_with_list(text: &[u8]) -> Option<bool> {
    text.trim_ascii_start().first().map(|byte| *byte == b'[')
}

/// The lines of a record that can't be decoded, as records.
pub(super) fn lines_of(text: &[u8], whole: &Record, format: &Format) -> Vec<Record> {
    let mut start = whole.range.start;
    let mut lines = Vec::new();
    for (line, at) in (whole.line..).zip(memchr_iter(b'\n', &text[whole.range.clone()]).chain([whole.range.len()])) {
        let end = whole.range.start + at;
        lines.extend(record(text, start..end, line, format));
        start = end + 1;
    }
    lines
}

/// The record in a range, unless it is blank or a comment.
pub(super) fn record(text: &[u8], mut range: Range<usize>, line: u64, format: &Format) -> Option<Record> {
    if text[range.clone()].last() == Some(&b'\r') {
        range.end -= 1;
    }
    let bytes = &text[range.clone()];
    let fault = match format {
        Format::Json | Format::JsonDocument if bytes.trim_ascii().is_empty() => return None,
        Format::Csv(options) if bytes.is_empty() || options.comment.is_some_and(|mark| bytes[0] == mark) => {
            return None;
        }
        Format::Csv(options) => {
            let is_open = memchr(options.quote, bytes).is_some() && is_open(bytes, options);
            is_open.then_some("a quoted field isn't closed")
        }
        _ => None,
    };
    Some(Record { range, line, fault })
}

/// The objects of a line of JSON that is a list of some, each a record as in Spark.
fn elements(text: &[u8], line: Range<usize>, number: u64, format: &Format) -> Option<Vec<Record>> {
    let after_blanks = |at: usize| at + text[at..line.end].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let is_list = *format == Format::Json && text.get(line.start) == Some(&b'[');
    let (mut found, mut at) = (Vec::new(), after_blanks(is_list.then_some(line.start + 1)?));
    loop {
        let whole = &text[at..line.end];
        let length = whole.starts_with(b"{").then(|| object_length(whole)).flatten()?;
        found.push(Record { range: at..at + length, line: number, fault: None });
        at = after_blanks(at + length);
        match text[at..line.end].split_first()? {
            (b',', _) => at = after_blanks(at + 1),
            (b']', rest) if rest.trim_ascii().is_empty() => return Some(found),
            _ => return None,
        }
    }
}

/// Whether what comes last has told already that the text was cut short.
fn ends_badly(records: &[Record], text: &[u8], format: &Format) -> bool {
    records.last().is_some_and(|record| record.shape(text, format).fault.is_some())
}

fn is_open(record: &[u8], options: &CsvOptions) -> bool {
    let mut state = Csv::FieldStart;
    record.iter().for_each(|byte| state = state.next(*byte, options));
    state.is_quoted()
}

/// Where a text stands between the fields of a CSV record: a quote opens a field only at its start.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Csv {
    FieldStart,
    Field,
    Quoted,
    Escaped,
    QuoteInQuoted,
}

impl Csv {
    #[inline]
    const fn next(self, byte: u8, options: &CsvOptions) -> Self {
        match self {
            Self::FieldStart if byte == options.quote => Self::Quoted,
            Self::QuoteInQuoted if byte == options.quote => Self::Quoted,
            Self::FieldStart | Self::Field | Self::QuoteInQuoted if byte == options.separator => Self::FieldStart,
            Self::FieldStart | Self::Field | Self::QuoteInQuoted => Self::Field,
            Self::Quoted if byte == options.quote => Self::QuoteInQuoted,
            Self::Quoted if matches!(options.escape, Some(escape) if escape == byte) => Self::Escaped,
            Self::Quoted | Self::Escaped => Self::Quoted,
        }
    }

    const fn is_quoted(self) -> bool {
        matches!(self, Self::Quoted | Self::Escaped)
    }
}

/// A CSV record in which each escape in a quoted field that stands before nothing to escape is escaped itself: the decoder would
/// leave it out, where `"C:\new"` means what it says. `None` if there is no such escape.
pub(super) fn with_lone_escapes(record: &[u8], options: &CsvOptions) -> Option<Vec<u8>> {
    let escape = options.escape.filter(|escape| *escape != options.quote)?;
    memchr(escape, record)?;
    let (mut state, mut kept) = (Csv::FieldStart, Vec::with_capacity(record.len() + 8));
    for (at, byte) in record.iter().enumerate() {
        let next = record.get(at + 1);
        let is_lone = next.is_none_or(|next| *next != escape && *next != options.quote);
        if state == Csv::Quoted && *byte == escape && is_lone {
            kept.extend([escape, escape]);
            continue;
        }
        state = state.next(*byte, options);
        kept.push(*byte);
    }
    (kept.len() > record.len()).then_some(kept)
}

/// The newline that ends the CSV record at the beginning of a text, and whether the text ends inside
/// of quotes.
fn record_end(text: &[u8], options: &CsvOptions) -> (Option<usize>, bool) {
    let line = memchr(b'\n', text).unwrap_or(text.len());
    if memchr(options.quote, &text[..line]).is_none() {
        return ((line < text.len()).then_some(line), false);
    }
    let mut state = Csv::FieldStart;
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'\n' && !state.is_quoted() {
            return (Some(at), false);
        }
        state = state.next(*byte, options);
    }
    (None, state.is_quoted())
}
