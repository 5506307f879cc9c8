//! Row groups that Bloom filters rule out.

use parquet::basic::Type;
use parquet::bloom_filter::Sbbf;

use super::source::{Source, filter_extent, unreadable};
use crate::error::Result;

/// A value that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    /// A whole number, however wide its column is.
    Number(i64),
    /// A text.
    Text(String),
}

/// Columns, and the values of which one is looked for in each.
pub(crate) type Probes = Vec<(String, Vec<Probe>)>;

impl Source {
    /// Whether the filters of a group let it hold one of the values in each of the columns; a column without one does.
    ///
    /// # Errors
    /// `Unavailable` when storage can't be read.
    pub(crate) async fn may_hold(&self, group: usize, probes: &Probes) -> Result<bool> {
        for (name, values) in probes {
            let columns = self.group(group).columns();
            let Some(column) = columns.iter().find(|column| column.column_path().parts() == [name.as_str()]) else {
                continue;
            };
            let Some(extent) = filter_extent(column) else { continue };
            let bytes = self.fetch(vec![extent]).await?;
            let filter = Sbbf::read_from_column_chunk(column, &bytes);
            let filter = filter.map_err(|source| unreadable(self.location(), source))?;
            if filter.is_some_and(|filter| !values.iter().any(|value| value.may_be_in(&filter, column.column_type()))) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Probe {
    fn may_be_in(&self, filter: &Sbbf, stored: Type) -> bool {
        match (self, stored) {
            (Self::Number(number), Type::INT64) => filter.check(number),
            (Self::Number(number), Type::INT32) => i32::try_from(*number).is_ok_and(|number| filter.check(&number)),
            (Self::Text(text), Type::BYTE_ARRAY) => filter.check(text.as_str()),
            _ => true,
        }
    }
}
