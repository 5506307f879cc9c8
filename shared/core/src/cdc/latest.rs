//! SCD type 1: the state after all changes.

use super::{Cells, Change, Effect, after, in_order};

/// What is left of one key's changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latest {
    /// The row; `None` if it is deleted, or never was.
    pub row: Option<Cells>,
    /// Positions of the changes that later ones must be held against, in rising order: those that gave
    /// the row's values, and the last delete unless a whole row came after it.
    pub kept: Vec<usize>,
}

/// The state after these changes of one key, for rows of so many columns, the key's own included: each
/// upsert gives those.
#[must_use]
pub fn latest<S: Ord>(changes: &[Change<S>], columns: usize) -> Latest {
    let mut row = None;
    let mut floor = None;
    for at in in_order(changes) {
        let effect = &changes[at].effect;
        row = after(effect, at, row.as_ref(), columns);
        match effect {
            Effect::Delete => floor = Some(at),
            Effect::Replace => floor = None,
            Effect::Update(_) => {}
        }
    }
    let mut kept: Vec<usize> = row.iter().flatten().copied().flatten().chain(floor).collect();
    kept.sort_unstable();
    kept.dedup();
    Latest { row, kept }
}
