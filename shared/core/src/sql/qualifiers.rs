//! Shortens `schema.table.column` to `table.column`: after FROM the table has the last part of its
//! name as alias.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, Ident, ObjectName, ObjectNamePart, SelectItem, SelectItemQualifiedWildcardKind, VisitorMut,
};

use super::{ParsedRelation, ParsedSource};

/// The qualified names of a query's tables.
pub(super) struct Qualifiers {
    names: Vec<Vec<String>>,
}

impl Qualifiers {
    pub(super) fn of(relations: &[ParsedRelation]) -> Self {
        let mut names = Vec::new();
        for relation in relations {
            let ParsedSource::Table { name, .. } = &relation.source else { continue };
            names.extend((0..name.parts.len().saturating_sub(1)).map(|from| name.parts[from..].to_vec()));
            names.extend(name.parts.last().map(|last| vec!["LIVE".to_owned(), last.clone()]));
        }
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Self { names }
    }

    /// How many parts qualify the table, and the table's name.
    fn find(&self, idents: &[&Ident], least: usize) -> Option<(usize, &str)> {
        let is_prefix = |name: &&Vec<String>| {
            idents.len() >= name.len() + least
                && name.iter().zip(idents).all(|(part, ident)| part.eq_ignore_ascii_case(&ident.value))
        };
        let name = self.names.iter().find(is_prefix)?;
        Some((name.len() - 1, name.last()?))
    }
}

impl VisitorMut for Qualifiers {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expr
            && let Some((count, name)) = self.find(&idents.iter().collect::<Vec<_>>(), 1)
        {
            idents.drain(..count);
            name.clone_into(&mut idents[0].value);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(qualifier), _) = item else {
                continue;
            };
            let idents: Vec<&Ident> = qualifier.0.iter().filter_map(ObjectNamePart::as_ident).collect();
            if let Some((count, name)) = self.find(&idents, 0).filter(|(count, _)| count + 1 == idents.len()) {
                let quote_style = idents[count].quote_style;
                let mut ident = Ident::new(name);
                ident.quote_style = quote_style;
                *qualifier = ObjectName::from(vec![ident]);
            }
        }
        ControlFlow::Continue(())
    }
}
