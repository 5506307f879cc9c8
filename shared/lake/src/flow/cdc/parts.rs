//! A batch of changes in parts that fit into memory.
//!
//! Folding is idempotent, and what becomes of a key depends on the changes of that key alone. So a batch may be
//! applied range of keys by range of keys, in commits of their own, of which the last one moves the flow's progress and
//! brings what is put aside. If it dies in between, the batch runs again, and finds the first ranges done.
//! Ranges are cut by a sample of the keys, so that each touches files of its own where the table is clustered by key.
//!
//! A truncation is about all keys: such batches are one part.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::logical_expr::ident;
use futures::TryStreamExt;

use super::Given;
use super::held::{Code, Coder};
use super::shape::Shape;
use crate::align::fit;
use crate::error::{LakeError, Result};
use crate::flow::FlowRun;

/// Memory for one change with its key, its sequence and its place, about.
const BYTES_OF_A_CHANGE: u64 = 2 << 10;

/// Keys that a range is cut by.
const SAMPLE: u64 = 10_000;

/// A range of keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    from: Option<Code>,
    before: Option<Code>,
}

impl Part {
    fn holds(&self, key: &[u8]) -> bool {
        self.from.as_deref().is_none_or(|from| from <= key) && self.before.as_deref().is_none_or(|before| key < before)
    }

    /// The rows of a batch whose keys are in the range.
    pub(super) fn of(&self, rows: RecordBatch, shape: &Shape, coder: &Coder) -> Result<RecordBatch> {
        if self.from.is_none() && self.before.is_none() {
            return Ok(rows);
        }
        let keys: Vec<_> = shape.keys.iter().map(|at| ArrayRef::clone(rows.column(*at))).collect();
        let holds: BooleanArray = coder.keys(&keys)?.iter().map(|key| Some(self.holds(key.as_ref()))).collect();
        filter_record_batch(&rows, &holds).map_err(LakeError::arrow)
    }
}

impl FlowRun<'_> {
    /// The parts of a batch that has so many rows; `None` if it isn't known.
    pub(super) async fn parts(
        &self,
        given: &Given,
        rows: Option<u64>,
        (shape, coder): (&Shape, &Coder),
    ) -> Result<Vec<Part>> {
        let at_once = (self.lake.pipeline().settings.memory_limit / BYTES_OF_A_CHANGE).max(1);
        if shape.truncated.is_some() {
            return Ok(vec![Part::default()]);
        }
        let rows = match rows {
            Some(rows) => rows,
            None => count(given).await?,
        };
        let parts = rows.div_ceil(at_once);
        if parts < 2 {
            return Ok(vec![Part::default()]);
        }
        let mut sample = sample(given, rows, (shape, coder)).await?;
        sample.sort_unstable();
        let place = |part: u64| usize::try_from(sample.len() as u64 * part / parts).unwrap_or(usize::MAX);
        let mut cuts: Vec<Code> = (1..parts).filter_map(|part| sample.get(place(part)).cloned()).collect();
        cuts.dedup();
        let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
        let ends = cuts.iter().cloned().map(Some).chain([None]);
        Ok(starts.zip(ends).map(|(from, before)| Part { from, before }).collect())
    }
}

async fn count(given: &Given) -> Result<u64> {
    let mut rows = 0;
    for frame in &given.frames {
        rows += frame.clone().count().await.map_err(LakeError::query)? as u64;
    }
    Ok(rows)
}

/// Some keys of so many rows.
async fn sample(given: &Given, rows: u64, (shape, coder): (&Shape, &Coder)) -> Result<Vec<Code>> {
    let step = usize::try_from(rows / SAMPLE).unwrap_or(usize::MAX).max(1);
    let schema = shape.key_schema()?;
    let named = |key: &str| given.columns.fields().iter().find(|field| field.name().eq_ignore_ascii_case(key));
    let columns: Vec<_> = shape.key_names().into_iter().filter_map(named).map(|field| ident(field.name())).collect();
    let mut sample = Vec::new();
    for frame in &given.frames {
        let keys = frame.clone().select(columns.clone()).map_err(LakeError::query)?;
        let mut batches = keys.execute_stream().await.map_err(LakeError::query)?;
        while let Some(batch) = batches.try_next().await.map_err(LakeError::query)? {
            let (keys, _) = fit(&batch, &schema)?;
            let codes = coder.keys(keys.columns())?;
            sample.extend(codes.iter().step_by(step).map(|code| Code::from(code.as_ref())));
        }
    }
    Ok(sample)
}
