//! What the changes of one key amount to, in whatever order they came.
//!
//! A *change* says at a place in the sequence what a row became, or that it went. [`latest`] gives the
//! state after all changes (SCD type 1), [`history`] every state with the changes that began and ended
//! it (SCD type 2). Both also say which changes are to be *kept*: those that a change which comes later,
//! with an earlier place in the sequence, must be held against. So
//! `latest(kept of some + others) = latest(some + others)`, and the same goes for `history`: batches may
//! be cut anywhere and come in any order.
//!
//! At one place of the sequence a delete comes after upserts, and of two upserts the later in the list.
//!
//! Values are not here: a state names, column by column, the change that gave the value. What a key,
//! a sequence or a value looks like is the caller's.

mod history;
mod latest;
mod query;
#[cfg(test)]
mod tests;

pub use self::history::{History, Version, history};
pub use self::latest::{Latest, latest};
pub use self::query::{DELETED, END_AT, GIVEN, SEQUENCE, START_AT, TRUNCATED, project_changes};

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<S> {
    /// Its place in the order of the source.
    pub sequence: S,
    /// What it does.
    pub effect: Effect,
}

/// What a change does to its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Gives all columns, of a row that may be there or not.
    Replace,
    /// Gives those columns for which there is `true`; the others stay, and are NULL in a new row.
    Update(Vec<bool>),
    /// Takes the row away.
    Delete,
}

/// For each column the position of the change that gave its value; `None` for NULL.
pub type Cells = Vec<Option<usize>>;

/// Positions of changes by sequence, then upserts before deletes, then as they stand.
fn in_order<S: Ord>(changes: &[Change<S>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by(|a, b| {
        let key = |at: &usize| (&changes[*at].sequence, changes[*at].effect == Effect::Delete);
        key(a).cmp(&key(b))
    });
    order
}

/// The cells of a row after a change; `None` after a delete.
fn after(effect: &Effect, at: usize, before: Option<&Cells>, columns: usize) -> Option<Cells> {
    match effect {
        Effect::Replace => Some(vec![Some(at); columns]),
        Effect::Update(given) => {
            let stays = |column: usize| before.and_then(|cells| cells.get(column).copied().flatten());
            let is_given = |column: usize| given.get(column).copied().unwrap_or(false);
            Some((0..columns).map(|column| if is_given(column) { Some(at) } else { stays(column) }).collect())
        }
        Effect::Delete => None,
    }
}
