//! Which columns an input has, and which are wanted of it.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL256_MAX_PRECISION, DataType, Field, Fields, Schema, SchemaRef};
use headwater_core::model::{CsvOptions, Evolution, Format, ReadOptions};

use super::Decoder;
use crate::align::is_same_name;
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
            input: as_read(&columns, is_json),
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
                false => is_same_name(field.name(), name),
            };
            let find = |(name, exact): (&String, bool)| wanted.iter().position(|field| same(field, name, exact));
            // A column may be called as one of several in the header.
            match [(name, true), (name, false), (given, true), (given, false)].into_iter().find_map(find) {
                Some(at) => field_as_read(wanted.swap_remove(at), false).as_ref().clone(),
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
        if fields.iter().ne(decoder.input.fields().iter().map(AsRef::as_ref)) {
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
            input: as_read(columns, true),
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

/// The columns as the decoders read them, at any depth. Decimals have one more digit behind the point, by which they are
/// rounded afterwards, where the decoders would cut them off. Dates and timestamps of JSON are text, which is read strictly
/// afterwards: the decoder itself would take a bare number for microseconds or days.
fn as_read(columns: &SchemaRef, is_json: bool) -> SchemaRef {
    let fields: Fields = columns.fields().iter().map(|field| field_as_read(field, is_json)).collect();
    if fields == *columns.fields() { Arc::clone(columns) } else { Arc::new(Schema::new(fields)) }
}

fn field_as_read(field: &Arc<Field>, is_json: bool) -> Arc<Field> {
    let inner = |field: &Arc<Field>| field_as_read(field, is_json);
    let data_type = match field.data_type() {
        DataType::Decimal128(_, scale) => DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale.saturating_add(1)),
        DataType::Timestamp(..) | DataType::Date32 if is_json => DataType::Utf8,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(element) => DataType::List(inner(element)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
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
