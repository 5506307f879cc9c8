//! What is wrong with a query over known columns, as a finding: what, where, and what to do.
//!
//! The engine finds faults; this module says them in the words of the pipeline's author and finds
//! their places in the file. What isn't known is a note, never an error.

use crate::diagnostic::{Diagnostic, Span};
use crate::model::Relation;
use crate::name::DatasetName;
use crate::nearest::nearest;
use crate::sql::place_of_name;

/// Known names are listed up to so many.
const LISTED: usize = 20;

/// What is wrong with a query or a predicate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A column that none of the relations has.
    Column {
        /// The table's name or alias before it, if any.
        qualifier: Option<String>,
        /// The column.
        name: String,
        /// The columns that there are.
        known: Vec<String>,
    },
    /// A function that isn't known.
    Function {
        /// The function.
        name: String,
        /// The functions that there are.
        known: Vec<String>,
    },
    /// Anything else.
    Other {
        /// The finding's code.
        code: &'static str,
        /// What is wrong.
        message: String,
        /// Names that may tell where.
        names: Vec<String>,
        /// What to do.
        help: String,
    },
}

impl Fault {
    /// The finding, at the first of `within` that holds the name; else at `or_at`.
    #[must_use]
    pub fn finding(self, within: &[&Span], or_at: &Span) -> Diagnostic {
        let place = |qualifier: Option<&str>, name: &str| {
            within.iter().find_map(|span| place_of_name(span, qualifier, name)).unwrap_or_else(|| or_at.clone())
        };
        match self {
            Self::Column { qualifier, name, known } => {
                let span = place(qualifier.as_deref(), &name);
                let shown = qualifier.iter().map(|qualifier| format!("{qualifier}.")).collect::<String>() + &name;
                Diagnostic::error("UNRESOLVED_COLUMN", format!("there is no column `{shown}`"))
                    .at(span)
                    .help(suggestion(&name, &known))
            }
            Self::Function { name, known } => {
                let span = place(None, &name);
                let help = nearest(&name, known.iter().map(String::as_str)).map_or_else(
                    || "use one of the functions of Spark SQL; README.md lists what isn't there".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                Diagnostic::error("UNRESOLVED_ROUTINE", format!("there is no function `{name}`")).at(span).help(help)
            }
            Self::Other { code, message, names, help } => {
                let found =
                    names.iter().find_map(|name| within.iter().find_map(|span| place_of_name(span, None, name)));
                Diagnostic::error(code, message).at(found.unwrap_or_else(|| or_at.clone())).help(help)
            }
        }
    }

    /// Whether it is about one name, so that the rest of the query can still be looked at.
    #[must_use]
    pub const fn is_about_a_name(&self) -> bool {
        matches!(self, Self::Column { .. } | Self::Function { .. })
    }
}

/// `did you mean X?`, or the columns that there are.
#[must_use]
pub fn suggestion(name: &str, known: &[String]) -> String {
    if let Some(near) = nearest(name, known.iter().map(String::as_str)) {
        return format!("did you mean `{near}`?");
    }
    let mut listed: Vec<String> = known.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    if known.len() > LISTED {
        listed.push(format!("and {} more", known.len() - LISTED));
    }
    if listed.is_empty() { "no column is known here".to_owned() } else { format!("there are {}", listed.join(", ")) }
}

/// The note that a dataset isn't checked because the columns of one that it reads aren't known.
#[must_use]
pub fn unchecked(dataset: &DatasetName, source: &DatasetName, relation: &Relation) -> Diagnostic {
    let message = format!("`{dataset}` isn't checked against `{source}`, whose columns aren't known");
    Diagnostic::note("UNKNOWN_COLUMNS", message)
        .at(relation.span.clone())
        .help(format!("declare the columns of `{source}`, or check again when its sources are mended or have data"))
}

/// The note that an outside source has no known columns.
#[must_use]
pub fn unknown_source(dataset: &DatasetName, why: &str, relation: &Relation) -> Diagnostic {
    let message = format!("`{dataset}` isn't checked: {why}");
    Diagnostic::note("UNKNOWN_COLUMNS", message)
        .at(relation.span.clone())
        .help("give the source a `schema`, or check again when data has come")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;

    fn spans(sql: &str) -> (Span, Span) {
        let file = SourceFile::new("a.sql", sql);
        (Span { file: std::sync::Arc::clone(&file), range: 0..sql.len() }, Span { file, range: 0..1 })
    }

    fn column(name: &str, known: &[&str]) -> Fault {
        let known = known.iter().map(|name| (*name).to_owned()).collect();
        Fault::Column { qualifier: None, name: name.into(), known }
    }

    #[test]
    fn a_fault_says_where_the_name_stands_and_what_was_meant() {
        let (whole, first) = spans("SELECT a,\n nme FROM t");
        let text = column("nme", &["a", "name"]).finding(&[&whole], &first).to_string();
        assert_eq!(text, "a.sql:2:2: error[UNRESOLVED_COLUMN]: there is no column `nme`\n  help: did you mean `name`?");
    }

    #[test]
    fn a_name_that_stands_nowhere_is_told_at_the_statement() {
        let (whole, first) = spans("SELECT 1");
        let found = column("nme", &["a", "b"]).finding(&[&whole], &first);
        assert_eq!(found.span, Some(first));
        assert_eq!(found.help.as_deref(), Some("there are `a`, `b`"));
    }

    #[test]
    fn long_lists_are_cut() {
        let known: Vec<String> = (0..25).map(|n| format!("column_{n}")).collect();
        assert!(suggestion("zzz", &known).ends_with("`column_19`, and 5 more"));
    }
}
