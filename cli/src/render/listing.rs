//! Headwater's own listings as rows of a result.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;

use super::Rows;
use super::value::{AGE, BYTES, SHOWN_AS};

/// A listing, built column by column.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Listing {
    /// Adds a column of text.
    pub(crate) fn text<T: AsRef<str>>(mut self, name: &str, values: impl IntoIterator<Item = Option<T>>) -> Self {
        self.fields.push(Field::new(name, DataType::Utf8, true));
        self.columns.push(Arc::new(values.into_iter().collect::<StringArray>()));
        self
    }

    /// Adds a column of whole numbers.
    pub(crate) fn number(mut self, name: &str, values: impl IntoIterator<Item = Option<u64>>) -> Self {
        self.fields.push(Field::new(name, DataType::Int64, true));
        self.columns.push(Arc::new(whole(values)));
        self
    }

    /// Adds a column of sizes in bytes.
    pub(crate) fn bytes(self, name: &str, values: impl IntoIterator<Item = Option<u64>>) -> Self {
        self.shown_as(BYTES, name, values)
    }

    /// Adds a column of times that have passed, in seconds.
    pub(crate) fn age(self, name: &str, values: impl IntoIterator<Item = Option<u64>>) -> Self {
        self.shown_as(AGE, name, values)
    }

    /// The listing as rows. Columns are of one length, since all are made from the same entries.
    pub(crate) fn rows(self) -> Rows {
        let schema = Arc::new(Schema::new(self.fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), self.columns);
        Rows { batches: batch.into_iter().collect(), schema }
    }

    fn shown_as(mut self, shown: &str, name: &str, values: impl IntoIterator<Item = Option<u64>>) -> Self {
        let metadata = HashMap::from([(SHOWN_AS.to_owned(), shown.to_owned())]);
        self.fields.push(Field::new(name, DataType::Int64, true).with_metadata(metadata));
        self.columns.push(Arc::new(whole(values)));
        self
    }
}

fn whole(values: impl IntoIterator<Item = Option<u64>>) -> Int64Array {
    values.into_iter().map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))).collect()
}
