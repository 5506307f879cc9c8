//! YAML as a bounded tree in which each node knows its place.
//!
//! The tree is built from the parser's events, without recursion. Aliases are refused, and depth,
//! nodes and size are limited, so that no text makes the tree larger than itself.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 16;
const MAX_NODES: usize = 20_000;

/// A value and its byte range in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) range: Range<usize>,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// In the order written, equal keys included.
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// The word for messages.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a plain value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Why a text is no tree, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) range: Range<usize>,
    pub(super) message: String,
}

/// Reads one document; `Null` for an empty one.
pub(super) fn read(text: &str) -> Result<Node, Failure> {
    if text.len() > MAX_BYTES {
        return Err(Failure { range: 0..0, message: format!("the file is larger than {MAX_BYTES} bytes") });
    }
    let mut tree = Tree::new(text);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = tree.offset(error.marker().index());
            Failure { range: at..at, message: error.info().to_owned() }
        })?;
        tree.add(event, span)?;
    }
    Ok(tree.root.unwrap_or(Node { range: 0..0, value: Value::Null }))
}

/// A list or mapping whose end wasn't seen yet.
struct Open {
    start: usize,
    parts: Vec<Node>,
    is_map: bool,
}

struct Tree {
    /// Byte offset of each character.
    offsets: Vec<usize>,
    length: usize,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

impl Tree {
    fn new(text: &str) -> Self {
        let offsets = text.char_indices().map(|(at, _)| at).collect();
        Self { offsets, length: text.len(), open: Vec::new(), root: None, nodes: 0 }
    }

    fn offset(&self, character: usize) -> usize {
        self.offsets.get(character).copied().unwrap_or(self.length)
    }

    fn range(&self, span: Span) -> Range<usize> {
        let start = self.offset(span.start.index());
        start..self.offset(span.end.index()).max(start)
    }

    fn add(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let range = self.range(span);
        match event {
            Event::Alias(_) => Err(Failure { range, message: "aliases are not supported: write the value out".into() }),
            Event::Scalar(text, style, _, _) => self.close(Node { range, value: scalar(&text, style) }),
            Event::SequenceStart(..) => self.start(range, false),
            Event::MappingStart(..) => self.start(range, true),
            Event::SequenceEnd | Event::MappingEnd => self.end(range.start),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Failure { range, message: "the file holds more than one document".into() })
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn start(&mut self, range: Range<usize>, is_map: bool) -> Result<(), Failure> {
        if self.open.len() == MAX_DEPTH {
            return Err(Failure { range, message: format!("values are nested deeper than {MAX_DEPTH} levels") });
        }
        self.open.push(Open { start: range.start, parts: Vec::new(), is_map });
        Ok(())
    }

    fn end(&mut self, end: usize) -> Result<(), Failure> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let last = open.parts.last().map_or(end, |part| part.range.end);
        let range = open.start..last.max(open.start);
        let value = if open.is_map { Value::Map(pairs(open.parts)) } else { Value::List(open.parts) };
        self.close(Node { range, value })
    }

    fn close(&mut self, node: Node) -> Result<(), Failure> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Failure { range: node.range, message: format!("the file holds more than {MAX_NODES} values") });
        }
        match self.open.last_mut() {
            Some(open) => open.parts.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

fn pairs(parts: Vec<Node>) -> Vec<(Node, Node)> {
    let mut pairs = Vec::with_capacity(parts.len() / 2);
    let mut parts = parts.into_iter();
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((key, value));
    }
    pairs
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
        _ => Value::Scalar(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure(text: &str) -> String {
        read(text).unwrap_err().message
    }

    #[test]
    fn places_are_byte_ranges_whatever_the_characters_and_line_ends() {
        let text = "# é€\r\nname: \"ä b\"\r\nlist:\r\n  - x\r\n";
        let Value::Map(entries) = read(text).unwrap().value else { panic!("no mapping") };
        assert_eq!(&text[entries[0].0.range.clone()], "name");
        assert_eq!(&text[entries[0].1.range.clone()], "\"ä b\"");
        let Value::List(items) = &entries[1].1.value else { panic!("no list") };
        assert_eq!(&text[items[0].range.clone()], "x");
    }

    #[test]
    fn bombs_are_refused() {
        assert_eq!(failure("a: &a [x]\nb: [*a, *a]"), "aliases are not supported: write the value out");
        assert_eq!(failure(&"[".repeat(100)), "values are nested deeper than 16 levels");
        assert_eq!(failure(&"- x\n".repeat(30_000)), "the file holds more than 20000 values");
        assert!(failure(&"x".repeat(2 << 20)).starts_with("the file is larger"));
        assert_eq!(failure("a: 1\n---\nb: 2"), "the file holds more than one document");
    }

    #[test]
    fn an_empty_file_is_nothing() {
        for text in ["", "# only a comment\n", "---\n"] {
            assert_eq!(read(text).unwrap().value, Value::Null);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_places_are_inside(text in "[-a: \n\\[\\]{}'\"|>&*#?!%@,\u{e9}\t]{0,200}") {
            match read(&text) {
                Ok(node) => prop_assert!(text.get(node.range).is_some()),
                Err(failure) => prop_assert!(text.get(failure.range).is_some()),
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = read(&text);
        }
    }
}
