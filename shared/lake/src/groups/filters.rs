//! Row groups that Bloom filters rule out.

use arrow::array::StringArray;
use headwater_core::bloom::Filter;
use parquet::basic::Type;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::ColumnChunkMetaData;

use super::source::{Source, filter_extent, unreadable};
use crate::error::Result;

/// Values of a column that are looked for.
#[derive(Debug, Clone)]
pub(crate) enum Probes {
    /// Whole numbers, however wide the column is.
    Numbers(Vec<i64>),
    Texts(StringArray),
}

/// Columns, and the values of which one is looked for in each.
pub(crate) type ColumnProbes = Vec<(String, Probes)>;

impl Source {
    /// Whether the filters of a group let it hold one of the values in each of the columns. A column without one does, and so does one whose filter
    /// is likely to cost more than it spares: of bytes of these columns, which are read if it doesn't rule the group out.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read.
    pub(crate) async fn may_hold(&self, group: usize, probes: &ColumnProbes, columns: &[&str]) -> Result<bool> {
        let spares = self.stored_size(group, columns);
        for (name, values) in probes {
            let columns = self.group(group).columns();
            let Some(column) = columns.iter().find(|column| column.column_path().parts() == [name.as_str()]) else {
                continue;
            };
            let Some(extent) = filter_extent(column) else { continue };
            let size = Filter { bytes: extent.end - extent.start, values: rows(column) };
            if !size.is_worth_reading(values.len(), spares) {
                continue;
            }
            let bytes = self.fetch(vec![extent]).await?;
            let filter = Sbbf::read_from_column_chunk(column, &bytes);
            let filter = filter.map_err(|source| unreadable(self.location(), source))?;
            if filter.is_some_and(|filter| !values.may_be_in(&filter, column.column_type())) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Probes {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Texts(texts) => arrow::array::Array::len(texts),
        }
    }

    /// Whether one of them may be in a column that is stored so.
    fn may_be_in(&self, filter: &Sbbf, stored: Type) -> bool {
        match (self, stored) {
            (Self::Numbers(numbers), Type::INT64) => numbers.iter().any(|number| filter.check(number)),
            (Self::Numbers(numbers), Type::INT32) => {
                numbers.iter().any(|number| i32::try_from(*number).is_ok_and(|number| filter.check(&number)))
            }
            (Self::Texts(texts), Type::BYTE_ARRAY) => texts.iter().flatten().any(|text| filter.check(text)),
            _ => true,
        }
    }
}

/// How many values a column has in a group: of a key by which rows are unique, all of them differ.
fn rows(column: &ColumnChunkMetaData) -> u64 {
    u64::try_from(column.num_values()).unwrap_or_default()
}
