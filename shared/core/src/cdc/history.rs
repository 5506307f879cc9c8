//! SCD type 2: every state, from the change that began it to the one that ended it.

use super::{Cells, Change, Effect, after, in_order};

/// The states of one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// In the order of the sequence.
    pub versions: Vec<Version>,
    /// Positions of the changes that later ones must be held against, in rising order: all, but for those
    /// that another one at the same place of the sequence covers. A change that altered nothing is kept
    /// too, since one that comes in before it may give it something to alter.
    pub kept: Vec<usize>,
}

/// A state, valid from the sequence of `start` to before that of `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The row.
    pub cells: Cells,
    /// The change that began it.
    pub start: usize,
    /// The change that ended it; `None` while it is the current one.
    pub end: Option<usize>,
}

/// All states of one key, for rows of so many columns. `is_same` says whether two rows are equal in
/// the columns whose history is tracked: then the later one takes the place of the earlier one, and keeps
/// its start.
#[must_use]
pub fn history<S: Ord>(
    changes: &[Change<S>],
    columns: usize,
    mut is_same: impl FnMut(&Cells, &Cells) -> bool,
) -> History {
    let mut history = History::default();
    let mut open: Option<Version> = None;
    let order = in_order(changes);
    for group in order.chunk_by(|a, b| changes[*a].sequence == changes[*b].sequence) {
        let Some(at) = group.last().copied() else { continue };
        let last_whole = group.iter().rposition(|at| !matches!(changes[*at].effect, Effect::Update(_)));
        let group = &group[last_whole.unwrap_or(0)..];
        history.kept.extend(group);
        let before = open.as_ref().map(|version| version.cells.clone());
        let cells = group.iter().fold(before, |before, at| after(&changes[*at].effect, *at, before.as_ref(), columns));
        open = match (open, cells) {
            (Some(version), Some(cells)) if is_same(&version.cells, &cells) => Some(Version { cells, ..version }),
            (before, cells) => {
                history.versions.extend(before.map(|version| Version { end: Some(at), ..version }));
                cells.map(|cells| Version { cells, start: at, end: None })
            }
        };
    }
    history.versions.extend(open);
    history.kept.sort_unstable();
    history
}
