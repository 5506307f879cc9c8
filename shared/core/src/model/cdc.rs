//! AUTO CDC: how a table is kept by the changes of its rows.

use sqlparser::ast;

use crate::diagnostic::Span;

/// What the clauses of `AUTO CDC` (`APPLY CHANGES`) say; its source is the flow's query.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoCdc {
    /// What the source gives.
    pub source: ChangeSource,
    /// `KEYS`: columns that name a row; at least one.
    pub keys: Vec<String>,
    /// `SEQUENCE BY`: the change with the greatest value is the last one of its key.
    pub sequence_by: ast::Expr,
    /// `IGNORE NULL UPDATES [ON …]`: columns in which a NULL leaves what is stored.
    pub ignore_null_updates: Option<ColumnChoice>,
    /// `APPLY AS DELETE WHEN`
    pub delete_when: Option<ast::Expr>,
    /// `APPLY AS TRUNCATE WHEN`; never with a history.
    pub truncate_when: Option<ast::Expr>,
    /// `COLUMNS`: what the target keeps of the source; it holds all keys.
    pub columns: ColumnChoice,
    /// `COLUMNS TO UPDATE`: the column that lists what an event changes; never with
    /// `ignore_null_updates`.
    pub columns_to_update: Option<String>,
    /// `STORED AS`
    pub stored_as: StoredAs,
    /// Where the words AUTO CDC or APPLY CHANGES stand.
    pub span: Span,
}

impl AutoCdc {
    /// Whether an upsert may leave columns as they are.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.ignore_null_updates.is_some() || self.columns_to_update.is_some()
    }
}

/// What the source of changes gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChangeSource {
    /// Changes.
    #[default]
    Changes,
    /// `FROM SNAPSHOT`: all rows as they are at a place in the sequence. How two that follow each other differ is
    /// what has changed.
    Snapshots,
}

/// Some columns of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnChoice {
    /// Every column.
    All,
    /// These.
    Only(Vec<String>),
    /// `* EXCEPT (…)`: all but these.
    Except(Vec<String>),
}

impl ColumnChoice {
    /// Whether a column is among them. Names are compared without case.
    #[must_use]
    pub fn holds(&self, column: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(column));
        match self {
            Self::All => true,
            Self::Only(names) => is_in(names),
            Self::Except(names) => !is_in(names),
        }
    }

    /// The columns that it names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::All => &[],
            Self::Only(names) | Self::Except(names) => names,
        }
    }
}

/// What a target keeps of each key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredAs {
    /// `SCD TYPE 1`: the last state.
    Latest,
    /// `SCD TYPE 2`: every state, from `__START_AT` to before `__END_AT`.
    History {
        /// `TRACK HISTORY ON`: a change of these columns makes a new state, of others it doesn't.
        tracked: ColumnChoice,
    },
}
