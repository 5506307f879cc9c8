//! What becomes of each key: rows of the target, and what the side table keeps.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_comparator};
use arrow::compute::SortOptions;
use headwater_core::cdc::{Cells, Change, Effect, history, latest};
use headwater_core::report::ChangeCounts;

use super::held::{At, ByKey, Code, Held, Keys, Place};
use super::merge::Fate;
use super::shape::{Ends, Shape};
use crate::error::{LakeError, Result};

/// A row of the target: where its values are.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) values: Values,
    /// Where the sequences of the changes are that began and ended a state of a history.
    pub(super) ends: Option<(At, Option<At>)>,
}

/// The values of a row.
#[derive(Debug, Clone)]
pub(super) enum Values {
    /// All of one change.
    Of(At),
    /// Column by column; `None` is NULL.
    Mixed(Vec<Option<At>>),
}

/// What a batch does to the target and to the side table.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// Rows of the target that are new or have changed.
    pub(super) rows: Vec<Row>,
    /// Keys whose rows in the target go, if there are any; those of `rows` among them.
    pub(super) gone: ByKey<Fate>,
    /// Keys whose rows in the target stay while all others go: when the table is truncated.
    pub(super) stay: Keys,
    /// Changes that the side table gets.
    pub(super) kept: Vec<At>,
    /// Keys whose changes in the side table go, since `kept` has what stays of them.
    pub(super) replaced: ByKey<Fate>,
    pub(super) counts: ChangeCounts,
}

/// Folds every key that the batch touches.
pub(super) fn fold(held: &mut Held, shape: &Shape) -> Result<Folded> {
    let mut folded = Folded::default();
    // In the order of keys, so that rows that are new together lie by key.
    let mut by_key: Vec<_> = std::mem::take(&mut held.by_key).into_iter().collect();
    by_key.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let fold = Fold { held, shape, truncates: held.truncates() };
    let mut fresh = 0;
    for (key, places) in by_key {
        fresh += fold.key(key, places, &mut folded)?;
    }
    let truncations = u64::from(fold.truncates && held.truncated_at.is_some());
    folded.counts.tombstones += truncations;
    folded.counts.stale = held.fresh.saturating_sub(fresh + truncations);
    Ok(folded)
}

struct Fold<'a> {
    held: &'a Held,
    shape: &'a Shape,
    truncates: bool,
}

impl Fold<'_> {
    /// Folds one key; says how many changes of the batch have an effect.
    fn key(&self, key: Code, mut places: Vec<Place>, folded: &mut Folded) -> Result<u64> {
        places.sort_by_key(|place| !place.is_known);
        let mut changes = Vec::with_capacity(places.len() + 1);
        for place in &places {
            changes.push(Change { sequence: place.sequence.as_ref(), effect: self.effect(place)? });
        }
        if let Some(floor) = self.held.floor() {
            changes.push(Change { sequence: floor.as_ref(), effect: Effect::Delete });
        }
        let (rows, mut kept) = match &self.shape.history {
            None => {
                let latest = latest(&changes, self.shape.columns);
                (latest.row.iter().map(|cells| self.row(cells, &places, None)).collect::<Vec<_>>(), latest.kept)
            }
            Some(ends) => self.states(ends, &changes, &places, folded)?,
        };
        kept.retain(|at| *at < places.len());
        let fresh = kept.iter().filter(|at| !places[**at].is_known).count() as u64;
        self.count(&kept, &places, folded);
        self.keep(&key, &kept, &places, folded);
        self.target(key, rows, (&kept, &places), folded);
        Ok(fresh)
    }

    fn count(&self, kept: &[usize], places: &[Place], folded: &mut Folded) {
        let fresh = kept.iter().map(|at| &places[*at]).filter(|place| !place.is_known);
        let (deletes, upserts): (Vec<_>, Vec<_>) = fresh.partition(|place| place.is_delete);
        folded.counts.tombstones += deletes.len() as u64;
        if self.shape.history.is_some() {
            folded.counts.upserted += upserts.len() as u64;
        }
    }

    /// What the side table keeps of the key.
    fn keep(&self, key: &Code, kept: &[usize], places: &[Place], folded: &mut Folded) {
        let known = places.iter().filter(|place| place.is_known).count();
        let stays = kept.iter().filter(|at| places[**at].is_known).count();
        let is_replaced = self.truncates || stays < known;
        let news = kept.iter().map(|at| &places[*at]).filter(|place| is_replaced || !place.is_known);
        folded.kept.extend(news.map(|place| place.at));
        if is_replaced && known > 0 {
            folded.replaced.insert(key.clone(), Fate::Replaced);
        }
    }

    /// What the target gets of the key.
    fn target(&self, key: Code, rows: Vec<Row>, (kept, places): (&[usize], &[Place]), folded: &mut Folded) {
        let is_touched = kept.iter().any(|at| !places[*at].is_known);
        // Where whole rows of the last state are kept, the side table has no values: the target has them.
        let is_in_target = !self.shape.is_partial && self.shape.history.is_none();
        match (is_touched, self.truncates) {
            (false, false) => {}
            (false, true) if is_in_target => {
                if !rows.is_empty() {
                    folded.stay.insert(key);
                }
            }
            (_, truncates) => {
                if self.shape.history.is_none() {
                    folded.counts.upserted += rows.len() as u64;
                }
                let fate = if rows.is_empty() { Fate::Gone } else { Fate::Replaced };
                folded.rows.extend(rows);
                if !truncates && places.iter().any(|place| place.is_known) {
                    folded.gone.insert(key, fate);
                }
            }
        }
    }

    fn effect(&self, place: &Place) -> Result<Effect> {
        if place.is_delete {
            return Ok(Effect::Delete);
        }
        if !self.shape.is_partial {
            return Ok(Effect::Replace);
        }
        let (batch, row) = (&self.held.batches[place.at.0], place.at.1);
        let named = self.named(batch, row);
        let given = |column: usize| {
            self.shape.keys.contains(&column)
                || match &named {
                    Some(names) => {
                        names.iter().any(|name| name.eq_ignore_ascii_case(self.shape.wide.field(column).name()))
                    }
                    None => !self.shape.ignores[column] || batch.column(column).is_valid(row),
                }
        };
        let given: Vec<bool> = (0..self.shape.columns).map(given).collect();
        Ok(if given.iter().all(|given| *given) { Effect::Replace } else { Effect::Update(given) })
    }

    /// The columns that an upsert names as those it gives; `None` if it names none.
    fn named(&self, batch: &RecordBatch, row: usize) -> Option<Vec<String>> {
        let lists = batch.column(self.shape.given?).as_list_opt::<i32>()?;
        if lists.is_null(row) {
            return None;
        }
        let names = lists.value(row);
        Some(names.as_string_opt::<i32>()?.iter().flatten().map(str::to_owned).collect())
    }

    fn row(&self, cells: &Cells, places: &[Place], ends: Option<(At, Option<At>)>) -> Row {
        let first = cells.first().copied().flatten();
        let is_whole = !self.shape.is_partial && first.is_some();
        let values = match first.filter(|_| is_whole) {
            Some(at) => Values::Of(places[at].at),
            None => Values::Mixed(cells.iter().map(|cell| cell.map(|at| places[at].at)).collect()),
        };
        Row { values, ends }
    }

    /// Every state of a key, and what is kept.
    fn states(
        &self,
        ends: &Ends,
        changes: &[Change<&[u8]>],
        places: &[Place],
        folded: &mut Folded,
    ) -> Result<(Vec<Row>, Vec<usize>)> {
        let mut failed = None;
        let found = history(changes, self.shape.columns, |a, b| {
            let mut is_same = |column: &usize| {
                let [a, b] = [a, b].map(|cells| cells.get(*column).copied().flatten().map(|at| places[at].at));
                self.is_same(*column, a, b).map_err(|error| failed = Some(error)).unwrap_or(false)
            };
            ends.tracked.iter().all(&mut is_same)
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let is_fresh_delete = |at: &usize| places.get(*at).is_some_and(|place| place.is_delete && !place.is_known);
        let ended = found.versions.iter().filter_map(|version| version.end).filter(is_fresh_delete).count();
        folded.counts.deleted += ended as u64;
        let row = |version: &headwater_core::cdc::Version| {
            let ends = (places[version.start].at, version.end.map(|at| places[at].at));
            self.row(&version.cells, places, Some(ends))
        };
        Ok((found.versions.iter().map(row).collect(), found.kept))
    }

    /// Whether two values of a column are equal; NULL equals NULL.
    fn is_same(&self, column: usize, a: Option<At>, b: Option<At>) -> Result<bool> {
        let valid =
            |at: Option<At>| at.map(|at| (self.column(at, column), at.1)).filter(|(array, row)| array.is_valid(*row));
        match (valid(a), valid(b)) {
            (None, None) => Ok(true),
            (Some(_), None) | (None, Some(_)) => Ok(false),
            (Some((a, row)), Some((b, other))) => {
                let compare =
                    make_comparator(a.as_ref(), b.as_ref(), SortOptions::default()).map_err(LakeError::arrow)?;
                Ok(compare(row, other).is_eq())
            }
        }
    }

    fn column(&self, at: At, column: usize) -> &ArrayRef {
        self.held.batches[at.0].column(column)
    }
}
