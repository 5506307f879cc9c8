//! Worked examples, and any permutation in any batches against a plain reference.

use proptest::prelude::*;

use super::*;

/// A change with its values: `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    sequence: u32,
    values: Option<[Option<u8>; 2]>,
    /// Columns that a NULL leaves alone.
    ignores: [bool; 2],
}

impl Row {
    fn change(&self) -> Change<u32> {
        let effect = match &self.values {
            None => Effect::Delete,
            Some(_) if self.ignores == [false; 2] => Effect::Replace,
            Some(values) => {
                let given = (0..2).map(|at| values[at].is_some() || !self.ignores[at]);
                Effect::Update(std::iter::once(true).chain(given).collect())
            }
        };
        Change { sequence: self.sequence, effect }
    }
}

/// The key's column, and two more.
const COLUMNS: usize = 3;

fn changes(rows: &[Row]) -> Vec<Change<u32>> {
    rows.iter().map(Row::change).collect()
}

fn value(rows: &[Row], cell: Option<usize>, column: usize) -> Option<u8> {
    cell.and_then(|at| rows[at].values.and_then(|values| values[column]))
}

fn values(rows: &[Row], cells: &Cells) -> [Option<u8>; 2] {
    [value(rows, cells[1], 0), value(rows, cells[2], 1)]
}

type State = (u32, Option<u32>, [Option<u8>; 2]);

fn states(rows: &[Row], tracked: [bool; 2]) -> (Vec<State>, Vec<usize>) {
    let is_same = |a: &Cells, b: &Cells| {
        let [a, b] = [a, b].map(|cells| values(rows, cells));
        (0..2).all(|column| !tracked[column] || a[column] == b[column])
    };
    let found = history(&changes(rows), COLUMNS, is_same);
    let state = |version: &Version| {
        let sequence = |at: usize| rows[at].sequence;
        (sequence(version.start), version.end.map(sequence), values(rows, &version.cells))
    };
    (found.versions.iter().map(state).collect(), found.kept)
}

/// The state after all changes, by applying them one by one in order.
fn reference(rows: &[Row], tracked: [bool; 2]) -> (Option<[Option<u8>; 2]>, Vec<State>) {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.sequence);
    let (mut row, mut states): (Option<[Option<u8>; 2]>, Vec<State>) = (None, Vec::new());
    for change in rows {
        let next = change.values.map(|given| {
            let was = row.unwrap_or_default();
            [0, 1].map(|at| if change.ignores[at] { given[at].or(was[at]) } else { given[at] })
        });
        let open = states.last_mut().filter(|state| state.1.is_none());
        match (open, next) {
            (Some(open), Some(next)) if (0..2).all(|at| !tracked[at] || open.2[at] == next[at]) => open.2 = next,
            (open, next) => {
                if let Some(open) = open {
                    open.1 = Some(change.sequence);
                }
                states.extend(next.map(|next| (change.sequence, None, next)));
            }
        }
        row = next;
    }
    (row, states)
}

fn upsert(sequence: u32, first: u8) -> Row {
    Row { sequence, values: Some([Some(first), None]), ignores: [false; 2] }
}

const fn delete(sequence: u32) -> Row {
    Row { sequence, values: None, ignores: [false; 2] }
}

#[test]
fn a_delete_wins_a_tie_wherever_it_stands() {
    for rows in [[upsert(5, 1), delete(5)], [delete(5), upsert(5, 1)]] {
        assert_eq!(latest(&changes(&rows), COLUMNS).row, None);
        assert_eq!(states(&rows, [true; 2]).0, []);
    }
}

#[test]
fn of_two_upserts_at_one_place_the_later_in_the_list_counts() {
    let rows = [upsert(5, 2), upsert(5, 1)];
    let found = latest(&changes(&rows), COLUMNS);
    assert_eq!(found, Latest { row: Some(vec![Some(1); COLUMNS]), kept: vec![1] });
    assert_eq!(states(&rows, [true; 2]), (vec![(5, None, [Some(1), None])], vec![1]));
}

#[test]
fn a_delete_before_its_insert_suppresses_it() {
    let rows = [delete(6), upsert(5, 1)];
    assert_eq!(latest(&changes(&rows), COLUMNS), Latest { row: None, kept: vec![0] });
    assert_eq!(states(&rows, [true; 2]).0, [(5, Some(6), [Some(1), None])]);
}

#[test]
fn a_late_change_splits_the_state_that_it_falls_into() {
    let rows = [upsert(1, 1), upsert(5, 1), upsert(3, 2)];
    let of = |value| [Some(value), None];
    assert_eq!(states(&rows[..2], [true; 2]).0, [(1, None, of(1))]);
    assert_eq!(states(&rows, [true; 2]).0, [(1, Some(3), of(1)), (3, Some(5), of(2)), (5, None, of(1))]);
}

#[test]
fn a_column_without_history_changes_in_place() {
    let with = |sequence, second| Row { values: Some([Some(1), Some(second)]), ..upsert(sequence, 1) };
    assert_eq!(states(&[with(1, 1), with(2, 2)], [true, false]).0, [(1, None, [Some(1), Some(2)])]);
}

#[test]
fn a_whole_row_needs_no_memory_of_what_was_before_it() {
    assert_eq!(latest(&changes(&[delete(3), upsert(1, 1), upsert(5, 2)]), COLUMNS).kept, [2]);
}

/// The example of Databricks' documentation: user, city, sequence; no city is a DELETE.
#[test]
fn the_worked_example_comes_out_exactly() {
    const EXAMPLE: [(u32, Option<u8>, u32); 8] = [
        (124, Some(b'O'), 1),
        (123, Some(b'M'), 1),
        (125, Some(b'T'), 2),
        (126, Some(b'C'), 2),
        (123, None, 6),
        (125, Some(b'G'), 6),
        (125, Some(b'X'), 5),
        (123, Some(b'H'), 5),
    ];
    let of = |user| {
        let rows = EXAMPLE.iter().filter(move |row| row.0 == user);
        rows.map(|(_, city, at)| city.map_or(delete(*at), |city| upsert(*at, city))).collect::<Vec<_>>()
    };
    let city = |user| {
        let rows = of(user);
        latest(&changes(&rows), COLUMNS).row.and_then(|cells| values(&rows, &cells)[0])
    };
    assert_eq!([123, 124, 125, 126].map(city), [None, Some(b'O'), Some(b'G'), Some(b'C')]);
    let cities = |user| {
        let found = states(&of(user), [true; 2]).0;
        found.into_iter().map(|(start, end, values)| (values[0], start, end)).collect::<Vec<_>>()
    };
    assert_eq!(cities(123), [(Some(b'M'), 1, Some(5)), (Some(b'H'), 5, Some(6))]);
    assert_eq!(cities(124), [(Some(b'O'), 1, None)]);
    assert_eq!(cities(125), [(Some(b'T'), 2, Some(5)), (Some(b'X'), 5, Some(6)), (Some(b'G'), 6, None)]);
    assert_eq!(cities(126), [(Some(b'C'), 2, None)]);
}

fn any_row(partial: bool) -> impl Strategy<Value = Row> {
    let cell = || prop::option::of(0_u8..3);
    let values = prop::option::weighted(0.75, (cell(), cell()).prop_map(|(first, second)| [first, second]));
    let ignores = if partial { any::<[bool; 2]>().boxed() } else { Just([false; 2]).boxed() };
    (values, ignores).prop_map(|(values, ignores)| Row { sequence: 0, values, ignores })
}

/// Changes of one key at different places of the sequence, in any order; and where batches end.
fn any_changes() -> impl Strategy<Value = (Vec<Row>, Vec<usize>)> {
    let rows = any::<bool>().prop_flat_map(|partial| prop::collection::vec(any_row(partial), 0..10));
    let numbered = rows
        .prop_map(|rows| rows.into_iter().zip(1..).map(|(row, sequence)| Row { sequence, ..row }).collect::<Vec<_>>());
    numbered.prop_shuffle().prop_flat_map(|rows| {
        let cuts = prop::collection::vec(0..=rows.len(), 0..4);
        (Just(rows), cuts)
    })
}

/// The changes of which only the kept ones are there after each batch, in the order in which they came;
/// one that came before may come again.
fn in_batches(rows: &[Row], cuts: &[usize], keep: impl Fn(&[Row]) -> Vec<usize>) -> Vec<Row> {
    let mut cuts = cuts.to_vec();
    cuts.extend([0, rows.len()]);
    cuts.sort_unstable();
    let mut held: Vec<Row> = Vec::new();
    for range in cuts.windows(2) {
        held.extend_from_slice(&rows[range[0].saturating_sub(1)..range[1]]);
        held = keep(&held).into_iter().map(|at| held[at].clone()).collect();
    }
    held
}

proptest! {
    #[test]
    fn any_order_in_any_batches_gives_the_latest_state((rows, cuts) in any_changes()) {
        let held = in_batches(&rows, &cuts, |rows| latest(&changes(rows), COLUMNS).kept);
        let found = latest(&changes(&held), COLUMNS).row.map(|cells| values(&held, &cells));
        prop_assert_eq!(found, reference(&rows, [true; 2]).0);
    }

    #[test]
    fn any_order_in_any_batches_gives_every_state((rows, cuts) in any_changes(), tracked: [bool; 2]) {
        let held = in_batches(&rows, &cuts, |rows| states(rows, tracked).1);
        prop_assert_eq!(states(&held, tracked).0, reference(&rows, tracked).1);
    }

    #[test]
    fn what_is_kept_is_no_more_than_the_columns_and_a_delete((rows, _) in any_changes()) {
        prop_assert!(latest(&changes(&rows), COLUMNS).kept.len() <= COLUMNS + 1);
    }
}
