//! What a grouping is asked for, whichever engine computes it.
//!
//! A **holistic** aggregate needs all values of its group at once: quantiles, the mode, exact distinct
//! counts. It can't be merged from partial states of bounded size, as sums can. Such groupings are
//! taken out of a query and handed over as this description, together with the rows.

/// Groups rows by some columns and computes aggregates of others.
#[derive(Debug, Clone, PartialEq)]
pub struct Grouping {
    /// Columns that rows are grouped by; NULL is a value like any other. Without any, all rows are one
    /// group, which exists even when there are no rows.
    pub keys: Vec<String>,
    /// What is computed of each group.
    pub aggregates: Vec<Aggregate>,
}

/// One aggregate of a grouping.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Column of the result.
    pub name: String,
    /// Column that is aggregated.
    pub column: String,
    /// How.
    pub function: AggregateFunction,
}

/// Aggregate functions, with Spark's semantics: NULLs are left out, and a group without any other
/// value gives NULL, or 0 for counts. NaN is larger than any number and equal to itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AggregateFunction {
    /// Number of values.
    Count,
    /// Number of different values.
    CountDistinct,
    /// Sum; 64-bit integers wrap.
    Sum,
    /// Mean.
    Average,
    /// Smallest value.
    Minimum,
    /// Largest value.
    Maximum,
    /// The value at this fraction of the sorted values, linearly interpolated: `percentile`.
    Quantile(f64),
    /// The smallest value that at least this fraction of the values don't exceed: `percentile_approx`,
    /// exactly.
    DiscreteQuantile(f64),
    /// The most frequent value, the smallest of several.
    Mode,
}
