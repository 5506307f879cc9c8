//! A batch of changes in parts that fit into memory.
//!
//! Folding is idempotent, and what becomes of a key depends on the changes of that key alone. So a batch may be
//! applied range of keys by range of keys, in commits of their own, of which the last one moves the flow's progress and
//! brings what is put aside. If it dies in between, the batch runs again, and finds the first ranges done.
//! Ranges are cut by a sample of the keys, so that each touches files of its own where the table is clustered by key.
//!
//! A truncation is about all keys. Where it doesn't fit with the rest it goes first, in parts of its own: by ranges of the keys
//! of those changes that came before and are later in the sequence, since these are what it leaves.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Field;
use datafusion::logical_expr::ident;
use futures::TryStreamExt;

use super::held::{Code, Coder, is_void};
use super::shape::Shape;
use super::{Given, Session};
use crate::align::{align, fit};
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;
use crate::table::Table;

/// Memory for one change with its key, its sequence and its place, about.
const BYTES_OF_A_CHANGE: u64 = 2 << 10;

/// Keys that a range is cut by.
const SAMPLE: u64 = 10_000;

/// What a commit applies of a batch.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    from: Option<Code>,
    before: Option<Code>,
    takes: Takes,
}

/// Which changes of a batch a part takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Takes {
    #[default]
    All,
    Truncations,
    /// All but truncations.
    Rows,
}

/// Keys of changes, and the last truncation among them.
#[derive(Debug, Default)]
struct Sample {
    keys: Vec<Code>,
    floor: Option<Code>,
}

impl Part {
    /// Whether a key is in the range.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.from.as_deref().is_none_or(|from| from <= key) && self.before.as_deref().is_none_or(|before| key < before)
    }

    /// Whether the range has all keys.
    pub(super) const fn is_whole(&self) -> bool {
        self.from.is_none() && self.before.is_none()
    }

    /// Whether truncations are the part's to apply.
    pub(super) fn truncates(&self) -> bool {
        self.takes != Takes::Rows
    }

    /// Whether another part has applied the same truncation, to the keys before.
    pub(super) fn truncates_again(&self) -> bool {
        self.takes == Takes::Truncations && self.from.is_some()
    }

    /// The upserts or deletes that the part applies.
    pub(super) fn of(&self, rows: RecordBatch, shape: &Shape, coder: &Coder) -> Result<RecordBatch> {
        if self.takes == Takes::Truncations {
            return Ok(rows.slice(0, 0));
        }
        if self.is_whole() {
            return Ok(rows);
        }
        let keys: Vec<_> = shape.keys.iter().map(|at| ArrayRef::clone(rows.column(*at))).collect();
        let holds: BooleanArray = coder.keys(&keys)?.iter().map(|key| Some(self.holds(key.as_ref()))).collect();
        filter_record_batch(&rows, &holds).map_err(LakeError::arrow)
    }
}

impl FlowRun<'_> {
    /// The parts of a batch that has so many rows; `None` if it isn't known.
    pub(super) async fn parts(&self, given: &Given, rows: Option<u64>, session: &Session<'_>) -> Result<Vec<Part>> {
        let at_once = (self.lake.pipeline().settings.memory_limit / BYTES_OF_A_CHANGE).max(1);
        let rows = match rows {
            Some(rows) => rows,
            None => count(given).await?,
        };
        let side = session.pinned.changes.as_ref().filter(|_| session.shape.truncated.is_some());
        let known = match side {
            Some(table) => table
                .files()
                .await?
                .iter()
                .map(|file| file.num_records().unwrap_or(u64::MAX))
                .fold(0, u64::saturating_add),
            None => 0,
        };
        if rows.saturating_add(known) <= at_once {
            return Ok(vec![Part::default()]);
        }
        let Sample { keys, floor } = sample(given, rows, session).await?;
        let Some(floor) = floor else { return Ok(cut(keys, rows.div_ceil(at_once), Takes::All)) };
        let (later, later_keys) = match side {
            Some(table) => self.later_than(&floor, (table, known), session).await?,
            None => (0, Vec::new()),
        };
        if rows + later <= at_once {
            return Ok(vec![Part::default()]);
        }
        let mut parts = cut(later_keys, later.div_ceil(at_once), Takes::Truncations);
        parts.extend(cut(keys, rows.div_ceil(at_once), Takes::Rows));
        Ok(parts)
    }

    /// How many changes in the side table come after a place in the sequence, and some of their keys.
    async fn later_than(
        &self,
        floor: &Code,
        (table, known): (&Table, u64),
        session: &Session<'_>,
    ) -> Result<(u64, Vec<Code>)> {
        let Session { shape, coder, .. } = session;
        let schema =
            shape.wide.project(&[shape.keys.as_slice(), &[shape.sequence]].concat()).map_err(LakeError::arrow)?;
        let (schema, step) = (Arc::new(schema), step(known));
        let columns: Vec<_> = schema.fields().iter().map(|field| ident(field.name())).collect();
        let mut rows = self.stream_of(table, &table.files().await?, Some(&columns)).await?;
        let (mut later, mut sample) = (0, Vec::new());
        while let Some(batch) = rows.try_next().await.map_err(LakeError::query)? {
            let batch = align(&batch, &schema)?;
            let (sequence, keys) = batch
                .columns()
                .split_last()
                .ok_or_else(|| LakeError::Internal { message: "changes have columns".into() })?;
            let (keys, sequences) = (coder.keys(keys)?, coder.sequences(sequence)?);
            for (key, _) in keys.iter().zip(sequences.iter()).filter(|(_, sequence)| sequence.as_ref() > floor.as_ref())
            {
                if later % step == 0 {
                    sample.push(key.as_ref().into());
                }
                later += 1;
            }
        }
        Ok((later, sample))
    }
}

/// So many ranges of about as many of these keys each.
fn cut(mut sample: Vec<Code>, parts: u64, takes: Takes) -> Vec<Part> {
    sample.sort_unstable();
    let place = |part: u64| usize::try_from(sample.len() as u64 * part / parts).unwrap_or(usize::MAX);
    let mut cuts: Vec<Code> = (1..parts).filter_map(|part| sample.get(place(part)).cloned()).collect();
    cuts.dedup();
    let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
    let ends = cuts.iter().cloned().map(Some).chain([None]);
    starts.zip(ends).map(|(from, before)| Part { from, before, takes }).collect()
}

async fn count(given: &Given) -> Result<u64> {
    let mut rows = 0;
    for frame in &given.frames {
        rows += frame.clone().count().await.map_err(LakeError::query)? as u64;
    }
    Ok(rows)
}

/// Of so many rows, one in so many is sampled.
fn step(rows: u64) -> u64 {
    (rows / SAMPLE).max(1)
}

/// Some keys of so many rows, and their last truncation.
async fn sample(given: &Given, rows: u64, session: &Session<'_>) -> Result<Sample> {
    let Session { shape, coder, .. } = session;
    let step = usize::try_from(step(rows)).unwrap_or(usize::MAX);
    let hidden = shape.truncated.iter().flat_map(|truncated| [shape.sequence, *truncated]);
    let places: Vec<usize> = shape.keys.iter().copied().chain(hidden).collect();
    let schema = Arc::new(shape.wide.project(&places).map_err(LakeError::arrow)?);
    let named = |wanted: &Arc<Field>| {
        given.columns.fields().iter().find(|field| field.name().eq_ignore_ascii_case(wanted.name()))
    };
    let columns: Vec<_> = schema.fields().iter().filter_map(named).map(|field| ident(field.name())).collect();
    let mut sample = Sample::default();
    for frame in &given.frames {
        let keys = frame.clone().select(columns.clone()).map_err(LakeError::query)?;
        let mut batches = keys.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = batches.try_next().await.map_err(LakeError::query)? {
            let (batch, _) = fit(&batch, &schema)?;
            let (keys, hidden) = batch.columns().split_at(shape.keys.len());
            sample.keys.extend(coder.keys(keys)?.iter().step_by(step).map(|code| Code::from(code.as_ref())));
            if let [sequence, truncated] = hidden {
                sample.floor = sample.floor.max(last_truncation((sequence, truncated), coder)?);
            }
        }
    }
    Ok(sample)
}

/// The highest sequence of a truncation.
fn last_truncation((sequence, truncated): (&ArrayRef, &ArrayRef), coder: &Coder) -> Result<Option<Code>> {
    let (sequences, truncated) = (coder.sequences(sequence)?, truncated.as_boolean());
    let is_truncation = |row: &usize| truncated.is_valid(*row) && truncated.value(*row) && !is_void(sequence, *row);
    let last = (0..truncated.len()).filter(is_truncation).map(|row| sequences.row(row)).max();
    Ok(last.map(|last| last.as_ref().into()))
}
