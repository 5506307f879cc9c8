//! Results as text: Arrow record batches as tables, JSON or CSV, and findings with their places.
//!
//! Every listing is a record batch, so that all commands print alike in each format. Text is made
//! here and printed by [`crate::output`].

pub(crate) mod findings;
pub(crate) mod listing;
mod machine;
mod table;
mod value;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::args::Format;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

/// Rows with their columns, which are known even when there is no row.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// The columns.
    pub(crate) schema: SchemaRef,
    /// The rows; each batch has the schema's columns.
    pub(crate) batches: Vec<RecordBatch>,
}

impl Rows {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Rows in the format that was asked for.
pub(crate) fn rows(rows: &Rows, output: &Output) -> Result<String> {
    match output.format {
        Format::Table => table::render(rows, output),
        Format::Json => machine::json(rows),
        Format::Csv => machine::csv(rows),
    }
    .map_err(unprintable)
}

/// A value of Headwater's own as JSON.
pub(crate) fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn unprintable(source: ArrowError) -> Failure {
    let help = Some("cast the column to STRING in the query, or choose another --format".to_owned());
    Failure::Message { exit: Exit::Failed, message: format!("can't print the result: {source}"), help }
}
