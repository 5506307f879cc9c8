//! Reads what flows into a table: its own query, an inline `FLOW`, `CREATE FLOW`, `APPLY CHANGES`.

use super::query::offset;
use super::reader::{Found, Reader};
use super::{CreateDataset, CreateFlow, Name, Statement};
use crate::diagnostic::Span;
use crate::model::DatasetKind;

impl Reader<'_> {
    /// `AS query`, `FLOW …`, a query without its AS, or nothing.
    pub(super) fn body(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        if self.words(&["FLOW"]) {
            return self.inline_flow(dataset);
        }
        let has_as = self.words(&["AS"]);
        let next = self.peek_text().to_uppercase();
        if has_as || ["SELECT", "WITH", "FROM", "VALUES"].contains(&next.as_str()) || next == "(" {
            dataset.query = Some(self.query()?);
        } else if matches!(dataset.kind, DatasetKind::MaterializedView | DatasetKind::View | DatasetKind::TemporaryView)
        {
            let word = self.peek_text();
            let what = if word.is_empty() {
                "the statement ends before its query".to_owned()
            } else {
                format!("expected AS and a query, found `{word}`")
            };
            return Err(vec![self.error(&what).help("write AS SELECT … after the clauses")]);
        }
        Ok(())
    }

    fn inline_flow(&mut self, dataset: &mut CreateDataset) -> Found<()> {
        if let Some(span) = self.cdc_words() {
            dataset.once = self.words(&["ONCE"]);
            let (query, changes) = self.changes(span)?;
            dataset.query = Some(query);
            dataset.changes = Some(Box::new(changes));
            return Ok(());
        }
        if !self.replace()? {
            if !self.words(&["INSERT"]) {
                return Err(vec![self.error("expected INSERT BY NAME or AUTO CDC after FLOW")]);
            }
            dataset.once = self.words(&["ONCE"]);
        }
        let _ = self.words(&["BY", "NAME"]);
        dataset.query = Some(self.query()?);
        Ok(())
    }

    /// After `CREATE FLOW`.
    pub(super) fn flow(&mut self) -> Found<Statement> {
        let (parts, span) = self.name()?;
        let name = Name { parts, span };
        if self.words(&["COMMENT"]) {
            self.string()?;
        }
        if !self.words(&["AS"]) {
            return Err(vec![self.error("expected AS INSERT INTO … after the flow's name")]);
        }
        if let Some(span) = self.cdc_words() {
            return self.changes_into(span, Some(name));
        }
        if !self.words(&["INSERT"]) {
            return Err(vec![self.error("expected INSERT INTO or AUTO CDC INTO")]);
        }
        let mut once = self.words(&["ONCE"]);
        let _ = self.words(&["INTO"]);
        once |= self.words(&["ONCE"]);
        let target = self.target()?;
        let replaced = self.replace()?;
        if !self.words(&["BY", "NAME"]) {
            return Err(vec![
                self.error("expected BY NAME after the target")
                    .help("columns are matched by name: write INSERT INTO target BY NAME SELECT …"),
            ]);
        }
        if !replaced {
            self.replace()?;
        }
        let query = self.query()?;
        Ok(Statement::CreateFlow(Box::new(CreateFlow { name, target, once, query, changes: None })))
    }

    /// `AUTO CDC` or `APPLY CHANGES`, and its place.
    pub(super) fn cdc_words(&mut self) -> Option<Span> {
        let start = offset(self.text, &self.parser);
        (self.words(&["AUTO", "CDC"]) || self.words(&["APPLY", "CHANGES"])).then(|| self.since(start))
    }

    /// After `AUTO CDC`: `[ONCE] INTO target FROM source …`. A flow without a name has its target's.
    pub(super) fn changes_into(&mut self, span: Span, name: Option<Name>) -> Found<Statement> {
        let once = self.words(&["ONCE"]);
        if !self.words(&["INTO"]) {
            return Err(vec![self.error("expected INTO and the table that the changes are applied to")]);
        }
        let target = self.target()?;
        let (query, changes) = self.changes(span)?;
        let of_target =
            || Name { parts: target.parts.last().cloned().into_iter().collect(), span: target.span.clone() };
        let name = name.unwrap_or_else(of_target);
        let changes = Some(Box::new(changes));
        Ok(Statement::CreateFlow(Box::new(CreateFlow { name, target, once, query, changes })))
    }

    fn target(&mut self) -> Found<Name> {
        let (parts, span) = self.name()?;
        Ok(Name { parts, span }.without_live())
    }

    /// `REPLACE WHERE …` and `REPLACE USING …`, which aren't executed; whether one was there.
    fn replace(&mut self) -> Found<bool> {
        let start = offset(self.text, &self.parser);
        let clause = if self.words(&["REPLACE", "WHERE"]) {
            "REPLACE WHERE"
        } else if self.words(&["REPLACE", "USING"]) {
            self.identifiers()?;
            if !self.words(&["SEQUENCE", "BY"]) {
                return Err(vec![self.error("expected SEQUENCE BY after the columns of REPLACE USING")]);
            }
            "REPLACE USING"
        } else {
            return Ok(false);
        };
        self.parser.parse_expr().map_err(|error| vec![self.syntax(&error)])?;
        let instead = "use a materialized view, which is always equal to its query";
        self.refuse_since(start, &format!("{clause} isn't executed"), instead);
        Ok(true)
    }
}
