//! Judges rows by a dataset's expectations.
//!
//! Each rule acts on its own; NULL counts as a violation. A row is dropped when any `DROP ROW` rule
//! fails, and all rules that it failed go with it to quarantine.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, ListBuilder, RecordBatch, StringBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{filter_record_batch, not};
use datafusion::physical_expr::PhysicalExpr;
use headwater_core::model::Violation;
use headwater_core::report::ExpectationCount;

use crate::error::{LakeError, Result};

/// A compiled expectation.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Its name.
    pub(super) name: String,
    /// What a violation does.
    pub(super) action: Violation,
    /// The predicate, over the target's columns.
    pub(super) predicate: Arc<dyn PhysicalExpr>,
}

/// Counts of each rule, in the order of the rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    failed: Vec<u64>,
    rows: u64,
}

impl Tally {
    /// Adds another partition's counts of the same rules.
    pub(super) fn add(&mut self, other: &Self) {
        self.failed.resize(self.failed.len().max(other.failed.len()), 0);
        for (sum, more) in self.failed.iter_mut().zip(&other.failed) {
            *sum += more;
        }
        self.rows += other.rows;
    }

    /// The counts, by name.
    pub(super) fn counts(&self, rules: &[Rule]) -> Vec<ExpectationCount> {
        let count = |(index, rule): (usize, &Rule)| {
            let failed = self.failed.get(index).copied().unwrap_or(0);
            ExpectationCount { name: rule.name.clone(), action: rule.action, passed: self.rows - failed, failed }
        };
        rules.iter().enumerate().map(count).collect()
    }

    /// Names and counts of the violated `FAIL UPDATE` rules.
    pub(super) fn fatal(&self, rules: &[Rule]) -> Vec<(String, u64)> {
        self.counts(rules)
            .into_iter()
            .filter(|count| count.action == Violation::Fail && count.failed > 0)
            .map(|count| (count.name, count.failed))
            .collect()
    }
}

/// Rows of a batch, parted by the rules.
#[derive(Debug)]
pub(super) struct Judged {
    /// Rows that stay.
    pub(super) kept: RecordBatch,
    /// Rows to quarantine, and for each the names of all rules that it failed (`list<utf8>`).
    pub(super) dropped: Option<(RecordBatch, arrow::array::ListArray)>,
}

/// Judges every row of a batch and counts.
pub(super) fn judge(rules: &[Rule], tally: &mut Tally, batch: RecordBatch) -> Result<Judged> {
    tally.rows += batch.num_rows() as u64;
    tally.failed.resize(rules.len(), 0);
    let mut violations = Vec::with_capacity(rules.len());
    let mut keep = BooleanBuffer::new_set(batch.num_rows());
    for (index, rule) in rules.iter().enumerate() {
        let passed = evaluate(rule, &batch)?;
        tally.failed[index] += (passed.len() - passed.count_set_bits()) as u64;
        if rule.action == Violation::Drop {
            keep = &keep & &passed;
        }
        violations.push(passed);
    }
    if keep.count_set_bits() == batch.num_rows() {
        return Ok(Judged { kept: batch, dropped: None });
    }
    let keep = BooleanArray::new(keep, None);
    let out = not(&keep).map_err(|source| internal(&source))?;
    let dropped = filter_record_batch(&batch, &out).map_err(|source| internal(&source))?;
    let reasons = reasons(rules, &violations, &out);
    let kept = filter_record_batch(&batch, &keep).map_err(|source| internal(&source))?;
    Ok(Judged { kept, dropped: Some((dropped, reasons)) })
}

/// True where the predicate is true; NULL is false.
fn evaluate(rule: &Rule, batch: &RecordBatch) -> Result<BooleanBuffer> {
    let failed = |source: datafusion::error::DataFusionError| LakeError::ExpectationFailedToRun {
        expectation: rule.name.clone(),
        source: Box::new(source),
    };
    let values = rule.predicate.evaluate(batch).map_err(failed)?;
    let values = values.into_array(batch.num_rows()).map_err(failed)?;
    let Some(values) = values.as_any().downcast_ref::<BooleanArray>() else {
        return Err(LakeError::Internal { message: format!("expectation {} isn't boolean", rule.name) });
    };
    Ok(match values.nulls() {
        Some(nulls) => values.values() & nulls.inner(),
        None => values.values().clone(),
    })
}

fn reasons(rules: &[Rule], passed: &[BooleanBuffer], out: &BooleanArray) -> arrow::array::ListArray {
    let mut names = ListBuilder::new(StringBuilder::new());
    for row in out.values().set_indices() {
        for (rule, passed) in rules.iter().zip(passed) {
            if !passed.value(row) {
                names.values().append_value(&rule.name);
            }
        }
        names.append(true);
    }
    names.finish()
}

fn internal(source: &arrow::error::ArrowError) -> LakeError {
    LakeError::Internal { message: source.to_string() }
}
