//! Which columns an input has, and which are wanted of it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use headwater_core::model::{CsvOptions, Evolution, Format, ReadOptions};

use super::Decoder;
use crate::error::Result;
use crate::ingest::infer::{column_names, infer_csv};
use crate::ingest::json::{NameBits, columns_of_integers};

/// What a column of CSV that isn't wanted is called behind its own name.
const NOT_READ: &str = " (not read)";

impl Decoder {
    /// Into columns; the one that takes what is rescued is for [`Self::decode_rescuing`] to fill.
    pub(in crate::ingest) fn new(read: &ReadOptions, columns: &SchemaRef, origin: Option<&str>) -> Self {
        let is_json = matches!(read.format, Format::Json | Format::JsonDocument);
        let columns = without_rescued(columns, read);
        Self {
            input: if is_json { with_times_as_text(&columns) } else { Arc::clone(&columns) },
            envelope: read.envelope,
            integers: if is_json { columns_of_integers(columns.fields()) } else { NameBits::default() },
            output: columns,
            format: read.format.clone(),
            tells: tells(read),
            widens: read.evolution.widens_types(),
            origin: origin.map(str::to_owned),
        }
    }

    /// As the header of a CSV text says: columns are found by its names, in any case, and those that it lacks are NULL.
    /// `None` if it names no column at all. The sample begins with the header.
    ///
    /// # Errors
    /// [`LakeError::NewColumns`] where names without a column are to be told.
    pub(in crate::ingest) fn with_header(
        read: &ReadOptions,
        columns: &SchemaRef,
        (header, sample): (&[u8], &[u8]),
        origin: Option<&str>,
    ) -> Result<Option<Self>> {
        let mut decoder = Self::new(read, columns, origin);
        let Format::Csv(options) = &read.format else { return Ok(None) };
        let given = header_names(header, options);
        let names = column_names(&given);
        let mut wanted: Vec<&Arc<Field>> = decoder.output.fields().iter().collect();
        let mut field = |(name, given): (&String, &String)| {
            let same = |field: &Field, name: &str, exact: bool| match exact {
                true => field.name() == name,
                false => field.name().eq_ignore_ascii_case(name),
            };
            let find = |(name, exact): (&String, bool)| wanted.iter().position(|field| same(field, name, exact));
            // A column may be called as one of several in the header.
            match [(name, true), (name, false), (given, true), (given, false)].into_iter().find_map(find) {
                Some(at) => wanted.swap_remove(at).as_ref().clone(),
                None => Field::new(format!("{name}{NOT_READ}"), DataType::Utf8, true),
            }
        };
        let fields: Vec<Field> = names.iter().zip(&given).map(&mut field).collect();
        if wanted.len() == decoder.output.fields().len() {
            return Ok(None);
        }
        let is_new = |field: &Field| field.name().ends_with(NOT_READ);
        if decoder.tells && fields.iter().any(is_new) {
            let inferred = infer_csv(sample, options);
            let pairs = inferred.fields().iter().zip(&fields);
            let found: Vec<_> = pairs.filter(|(_, own)| is_new(own)).map(|(field, _)| Arc::clone(field)).collect();
            if !found.is_empty() {
                return Err(decoder.told(Schema::new(found)));
            }
        }
        if fields.iter().ne(decoder.output.fields().iter().map(AsRef::as_ref)) {
            decoder.input = Arc::new(Schema::new(fields));
        }
        Ok(Some(decoder))
    }

    /// The same, with fields that have no column left out.
    pub(in crate::ingest) fn taking_less(&self) -> Self {
        Self { tells: false, ..self.clone() }
    }

    /// The same for other columns of JSON.
    pub(in crate::ingest) fn of_columns(&self, columns: &SchemaRef) -> Self {
        Self {
            input: with_times_as_text(columns),
            output: Arc::clone(columns),
            integers: columns_of_integers(columns.fields()),
            ..self.clone()
        }
    }

    /// All columns of the input by their own names, as text.
    pub(in crate::ingest) fn of_text(&self) -> Self {
        let name = |field: &Arc<Field>| field.name().strip_suffix(NOT_READ).unwrap_or(field.name()).to_owned();
        let fields = self.input.fields().iter().map(|field| Field::new(name(field), DataType::Utf8, true));
        let columns: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { input: Arc::clone(&columns), output: columns, tells: false, ..self.clone() }
    }

    /// Whether the input has a column that isn't wanted.
    pub(super) fn leaves_out(&self) -> bool {
        self.input.fields().iter().any(|field| field.name().ends_with(NOT_READ))
    }
}

/// Whether fields without a column are told, rather than left out.
pub(in crate::ingest) const fn tells(read: &ReadOptions) -> bool {
    read.evolution.adds_columns() || matches!(read.evolution, Evolution::FailOnNewColumns)
}

/// The columns without the one that takes what is rescued.
pub(in crate::ingest) fn without_rescued(columns: &SchemaRef, read: &ReadOptions) -> SchemaRef {
    let Some(rescued) = &read.rescued_column else { return Arc::clone(columns) };
    let fields = columns.fields().iter().filter(|field| field.name() != rescued);
    Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()))
}

/// The columns with dates and timestamps, at any depth, as text, which is read strictly afterwards: the decoder
/// itself would take a bare number for microseconds or days.
fn with_times_as_text(columns: &SchemaRef) -> SchemaRef {
    let fields: Fields = columns.fields().iter().map(time_as_text).collect();
    if fields == *columns.fields() { Arc::clone(columns) } else { Arc::new(Schema::new(fields)) }
}

fn time_as_text(field: &Arc<Field>) -> Arc<Field> {
    let data_type = match field.data_type() {
        DataType::Timestamp(..) | DataType::Date32 => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(time_as_text).collect()),
        DataType::List(element) => DataType::List(time_as_text(element)),
        DataType::Map(entries, sorted) => DataType::Map(time_as_text(entries), *sorted),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

fn header_names(header: &[u8], options: &CsvOptions) -> Vec<String> {
    let format = arrow::csv::reader::Format::default()
        .with_header(true)
        .with_delimiter(options.separator)
        .with_quote(options.quote);
    let names = format
        .infer_schema(header, Some(0))
        .map(|(schema, _)| schema.fields().iter().map(|field| field.name().clone()).collect());
    names.unwrap_or_default()
}
