//! Columns whose values are in the names of a file's folders, `name=value`, as Hive lays partitions out.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use headwater_core::model::FileOptions;

use super::{FileDecoder, FoundFile};
use crate::align::is_same_name;
use crate::error::{LakeError, Result};

/// Whether a folder's name is to be a column.
pub(super) fn is_wanted(name: &str, options: &FileOptions) -> bool {
    let only = options.partition_columns.as_ref();
    only.is_none_or(|names| names.iter().any(|wanted| is_same_name(wanted, name)))
}

/// The type of a column with these values.
pub(super) fn type_of<'a>(mut values: impl Iterator<Item = &'a str> + Clone) -> DataType {
    let is_number = |text: &str| text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    let is_date = |text: &str| text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
    if values.clone().all(is_number) {
        DataType::Int64
    } else if values.all(is_date) {
        DataType::Date32
    } else {
        DataType::Utf8
    }
}

/// One value a column, the same for all rows of a file.
pub(super) struct Constants(Vec<(String, ArrayRef)>);

impl FileDecoder {
    /// The values that a file's folders give to wanted columns; why one doesn't fit its column, otherwise.
    pub(super) fn constants(&self, file: &FoundFile) -> std::result::Result<Constants, String> {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let mut constants = Vec::new();
        for (name, value) in file.folders.iter().filter(|(name, _)| is_wanted(name, &self.read.files)) {
            let fields = self.columns.fields();
            let Some(field) = fields.iter().find(|field| is_same_name(field.name(), name)) else { continue };
            let text = Arc::new(StringArray::from(vec![value.as_deref()])) as ArrayRef;
            let value = cast_with_options(&text, field.data_type(), &strict)
                .map_err(|error| format!("folder `{name}=…` doesn't fit column `{}`: {error}", field.name()))?;
            constants.push((field.name().clone(), value));
        }
        Ok(Constants(constants))
    }

    /// The same for other columns.
    pub(super) fn of_columns(&self, columns: SchemaRef) -> Self {
        Self {
            store: Arc::clone(&self.store),
            runtime: self.runtime.clone(),
            read: self.read.clone(),
            columns,
            limits: self.limits,
        }
    }
}

impl Constants {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn value(&self, name: &str) -> Option<&ArrayRef> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The columns that are in the file itself.
    pub(super) fn without(&self, columns: &SchemaRef) -> SchemaRef {
        let fields = columns.fields().iter().filter(|field| self.value(field.name()).is_none());
        Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
    }

    /// Rows of the file in all columns.
    pub(super) fn with(&self, rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let same = UInt32Array::from(vec![0; rows.num_rows()]);
        let column = |field: &Arc<Field>| match (self.value(field.name()), rows.column_by_name(field.name())) {
            (Some(value), _) => take(value, &same, None),
            (None, Some(column)) => Ok(Arc::clone(column)),
            (None, None) => Ok(new_null_array(field.data_type(), rows.num_rows())),
        };
        let columns = schema.fields().iter().map(column).collect::<std::result::Result<Vec<_>, _>>();
        let columns = columns.map_err(LakeError::arrow)?;
        RecordBatch::try_new(Arc::clone(schema), columns).map_err(LakeError::arrow)
    }
}
