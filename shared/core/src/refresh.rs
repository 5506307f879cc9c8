//! Plans how a materialized view is refreshed.
//!
//! A view's progress is one `txn` a source (the version that it was computed from) and one for the
//! definition (a fingerprint of the query). The cheapest strategy that is provably right for what
//! changed is chosen here; every strategy must give what a full recompute gives, row for row.

use crate::name::DatasetName;

/// A source of a view, as it was at the last refresh and as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// The table.
    pub dataset: DatasetName,
    /// The version that the view was last computed from.
    pub seen: Option<u64>,
    /// The version now; `None` while the table doesn't exist.
    pub now: Option<u64>,
    /// Whether a commit in `(seen, now]` changed rows; compaction doesn't.
    pub rows_changed: bool,
}

impl SourceState {
    fn is_unchanged(&self) -> bool {
        self.seen == self.now || (self.seen.is_some() && !self.rows_changed)
    }
}

/// What is known when a refresh is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshState {
    /// Every table that the query reads.
    pub sources: Vec<SourceState>,
    /// Fingerprint that the table was last computed with; `None` if it never was.
    pub computed_with: Option<i64>,
    /// Fingerprint of the query now.
    pub definition: i64,
    /// The query reads something that has no version: files.
    pub unversioned: bool,
}

/// How to refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Refresh {
    /// Nothing changed: no commit.
    Skip,
    /// Compute the whole query and replace the table.
    Recompute(Reason),
}

/// Why a strategy was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The table was never computed.
    First,
    /// The query isn't the one that the table was computed with.
    DefinitionChanged,
    /// Rows of a source changed.
    SourceChanged,
    /// Something that the query reads has no version to compare.
    Unversioned,
}

/// Chooses the strategy.
pub fn plan_refresh(state: &RefreshState) -> Refresh {
    match state.computed_with {
        None => Refresh::Recompute(Reason::First),
        Some(definition) if definition != state.definition => Refresh::Recompute(Reason::DefinitionChanged),
        Some(_) if !state.sources.iter().all(SourceState::is_unchanged) => Refresh::Recompute(Reason::SourceChanged),
        Some(_) if state.unversioned => Refresh::Recompute(Reason::Unversioned),
        Some(_) => Refresh::Skip,
    }
}

/// A stable fingerprint of a definition's text (FNV-1a, 64 bits): equal on every machine and in
/// every version, as it is kept in tables. Never negative.
#[must_use]
pub fn fingerprint(definition: &str) -> i64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = definition.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    i64::try_from(hash >> 1).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(seen: Option<u64>, now: Option<u64>, rows_changed: bool) -> RefreshState {
        let source = SourceState { dataset: DatasetName::new("s"), seen, now, rows_changed };
        RefreshState { sources: vec![source], computed_with: Some(7), definition: 7, unversioned: false }
    }

    #[test]
    fn nothing_changed_means_no_commit() {
        assert_eq!(plan_refresh(&state(Some(3), Some(3), false)), Refresh::Skip);
        assert_eq!(plan_refresh(&state(None, None, false)), Refresh::Skip);
    }

    #[test]
    fn a_compaction_of_the_source_changes_nothing() {
        assert_eq!(plan_refresh(&state(Some(3), Some(4), false)), Refresh::Skip);
    }

    #[test]
    fn changed_rows_recompute() {
        assert_eq!(plan_refresh(&state(Some(3), Some(4), true)), Refresh::Recompute(Reason::SourceChanged));
        assert_eq!(plan_refresh(&state(None, Some(0), false)), Refresh::Recompute(Reason::SourceChanged));
    }

    #[test]
    fn a_source_that_is_gone_recomputes() {
        assert_eq!(plan_refresh(&state(Some(3), None, true)), Refresh::Recompute(Reason::SourceChanged));
    }

    #[test]
    fn a_first_or_changed_definition_recomputes_whatever_the_sources_say() {
        let first = RefreshState { computed_with: None, ..state(Some(3), Some(3), false) };
        assert_eq!(plan_refresh(&first), Refresh::Recompute(Reason::First));
        let changed = RefreshState { definition: 8, ..state(Some(3), Some(3), false) };
        assert_eq!(plan_refresh(&changed), Refresh::Recompute(Reason::DefinitionChanged));
    }

    #[test]
    fn a_query_over_files_is_never_skipped() {
        let files = RefreshState { unversioned: true, ..state(Some(3), Some(3), false) };
        assert_eq!(plan_refresh(&files), Refresh::Recompute(Reason::Unversioned));
    }

    #[test]
    fn a_fingerprint_is_the_same_for_ever() {
        assert_eq!(fingerprint(""), 0x65f9_4e72_4211_1192);
        assert_ne!(fingerprint("SELECT 1"), fingerprint("SELECT 2"));
    }

    proptest! {
        #[test]
        fn a_fingerprint_is_never_negative(text: String) {
            prop_assert!(fingerprint(&text) >= 0);
        }
    }
}
