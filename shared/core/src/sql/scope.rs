//! Which common table expressions a name may mean where it stands.
//!
//! A common table expression is seen after its definition, in its query and all queries inside;
//! its own query sees the table of the same name instead, unless it is `RECURSIVE`.

use sqlparser::ast;

/// The queries around a place, outermost first.
#[derive(Debug, Default)]
pub(super) struct Scope {
    frames: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    /// Names as written, in order.
    names: Vec<String>,
    /// How many of them are defined by now.
    visible: usize,
}

impl Scope {
    /// A query begins.
    pub(super) fn enter(&mut self, query: &ast::Query) {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let names: Vec<String> = tables.map(|table| table.alias.name.value.clone()).collect();
        let is_recursive = query.with.as_ref().is_some_and(|with| with.recursive);
        let visible = if is_recursive { names.len() } else { 0 };
        self.frames.push(Frame { names, visible });
    }

    /// A query ends. The first queries inside of another are those of its common table
    /// expressions, one each.
    pub(super) fn leave(&mut self) {
        self.frames.pop();
        if let Some(outer) = self.frames.last_mut() {
            outer.visible = outer.names.len().min(outer.visible + 1);
        }
    }

    /// The common table expression that a name means, as it was written.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let visible = self.frames.iter().rev().flat_map(|frame| frame.names[..frame.visible].iter().rev());
        visible.map(String::as_str).find(|found| found.eq_ignore_ascii_case(name))
    }
}
