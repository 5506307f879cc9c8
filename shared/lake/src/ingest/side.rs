//! Rows of side tables: the target's columns, then `_headwater` with what happened.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Int64Array, ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};
use headwater_core::name::FlowName;
use headwater_core::provenance::METADATA;

use super::{BadRecord, Origin};
use crate::align::Misfits;
use crate::error::{LakeError, Result};

/// The column that tells why a row is in a side table.
pub(crate) const HEADWATER: &str = "_headwater";

/// Its fields that tell what a record was, rather than what became of it.
pub(crate) const RAW_FIELDS: [&str; 2] = ["raw", "position"];

/// What is the same for all rows of a batch.
#[derive(Debug, Clone)]
pub struct SideContext {
    /// The flow.
    pub flow: FlowName,
    /// The source's version that the batch reads through, for a Delta source.
    pub source_version: Option<u64>,
    /// The batch's time.
    pub now: DateTime<Utc>,
}

/// The columns of a side table of a target.
#[must_use]
pub fn side_schema(main: &SchemaRef) -> SchemaRef {
    let headwater = Arc::new(Field::new(HEADWATER, DataType::Struct(headwater_fields()), true));
    Arc::new(Schema::new(main.fields().iter().cloned().chain([headwater]).collect::<Vec<_>>()))
}

/// Rows of the target, each with its reasons.
///
/// # Errors
/// `Internal` only.
pub fn side_rows(rows: &RecordBatch, reasons: &ListArray, context: &SideContext) -> Result<RecordBatch> {
    let none = vec![None; rows.num_rows()];
    let headwater = headwater(reasons, context, &none, &none)?;
    let columns = rows.columns().iter().cloned().chain([headwater]).collect();
    RecordBatch::try_new(side_schema(&rows.schema()), columns).map_err(LakeError::arrow)
}

/// Rows of which a value doesn't fit its column, which is NULL here; each as it was given, and why.
///
/// # Errors
/// `Internal` only.
pub(crate) fn misfit_rows(misfits: &Misfits, context: &SideContext) -> Result<RecordBatch> {
    let Misfits { rows, reasons, given } = misfits;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for reason in reasons {
        lists.values().append_value(reason);
        lists.append(true);
    }
    let raw: Vec<_> = given.iter().map(|given| Some(&given[..])).collect();
    let headwater = headwater(&lists.finish(), context, &raw, &vec![None; rows.num_rows()])?;
    let columns = rows.columns().iter().cloned().chain([headwater]).collect();
    RecordBatch::try_new(side_schema(&rows.schema()), columns).map_err(LakeError::arrow)
}

/// Records that couldn't be decoded: the target's columns are NULL but for `_metadata`.
///
/// # Errors
/// `Internal` only.
pub fn bad_records(bad: &[BadRecord], main: &SchemaRef, context: &SideContext) -> Result<RecordBatch> {
    let mut reasons = ListBuilder::new(StringBuilder::new());
    for record in bad {
        reasons.values().append_value(&record.reason);
        reasons.append(true);
    }
    let raw: Vec<_> = bad.iter().map(|record| Some(record.raw.as_ref())).collect();
    let positions: Vec<_> = bad.iter().map(|record| Some(record.position.as_bytes())).collect();
    let headwater = headwater(&reasons.finish(), context, &raw, &positions)?;
    let column = |field: &Arc<Field>| match field.data_type() {
        DataType::Struct(fields) if field.name() == METADATA => metadata(bad, fields),
        other => Ok(new_null_array(other, bad.len())),
    };
    let mut columns = main.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    columns.push(headwater);
    RecordBatch::try_new(side_schema(main), columns).map_err(LakeError::arrow)
}

fn headwater_fields() -> Fields {
    Fields::from(vec![
        Field::new("reasons", DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))), true),
        Field::new("flow", DataType::Utf8, true),
        Field::new("source_version", DataType::Int64, true),
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("raw", DataType::Binary, true),
        Field::new("position", DataType::Utf8, true),
    ])
}

fn headwater(
    reasons: &ListArray,
    context: &SideContext,
    raw: &[Option<&[u8]>],
    positions: &[Option<&[u8]>],
) -> Result<ArrayRef> {
    let rows = reasons.len();
    let version = context.source_version.and_then(|version| i64::try_from(version).ok());
    let times = TimestampMicrosecondArray::from_value(context.now.timestamp_micros(), rows).with_timezone("UTC");
    let mut bodies = BinaryBuilder::new();
    raw.iter().for_each(|raw| bodies.append_option(*raw));
    let positions: StringArray =
        positions.iter().map(|position| position.and_then(|position| std::str::from_utf8(position).ok())).collect();
    let values: Vec<ArrayRef> = vec![
        Arc::new(reasons.clone()),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(context.flow.as_str(), rows))),
        Arc::new(Int64Array::from(vec![version; rows])),
        Arc::new(times),
        Arc::new(bodies.finish()),
        Arc::new(positions),
    ];
    Ok(Arc::new(StructArray::try_new(headwater_fields(), values, None).map_err(LakeError::arrow)?))
}

/// `_metadata` of bad records, field by field as the target has it.
fn metadata(bad: &[BadRecord], fields: &Fields) -> Result<ArrayRef> {
    let column = |field: &Arc<Field>| -> ArrayRef {
        let text = |value: fn(&Origin) -> Option<String>| {
            Arc::new(bad.iter().map(|record| value(&record.origin)).collect::<StringArray>())
        };
        let time = |value: fn(&Origin) -> Option<i64>| {
            Arc::new(
                bad.iter()
                    .map(|record| value(&record.origin))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            )
        };
        match field.name().as_str() {
            "message_id" => text(Origin::message_id),
            "source" => text(Origin::source),
            "attributes" => text(Origin::attributes),
            "partition" => text(Origin::partition),
            "sequence_number" => {
                Arc::new(bad.iter().map(|record| record.origin.sequence_number()).collect::<Int64Array>())
            }
            "enqueued_time" => time(Origin::enqueued_micros),
            "file_path" => text(Origin::file_path),
            "file_name" => text(Origin::file_name),
            "file_modification_time" => time(Origin::modified_micros),
            "file_size" => Arc::new(bad.iter().map(|record| record.origin.file_size()).collect::<Int64Array>()),
            _ => new_null_array(field.data_type(), bad.len()),
        }
    };
    let values = fields.iter().map(column).collect();
    Ok(Arc::new(StructArray::try_new(fields.clone(), values, None).map_err(LakeError::arrow)?))
}

impl Origin {
    fn message_id(&self) -> Option<String> {
        match self {
            Self::Message { id, .. } => Some(id.clone()),
            Self::File { .. } => None,
        }
    }

    fn source(&self) -> Option<String> {
        match self {
            Self::Message { source, .. } => Some(source.clone()),
            Self::File { .. } => None,
        }
    }

    fn attributes(&self) -> Option<String> {
        match self {
            Self::Message { attributes, .. } => attributes.clone(),
            Self::File { .. } => None,
        }
    }

    fn partition(&self) -> Option<String> {
        match self {
            Self::Message { partition, .. } => partition.clone(),
            Self::File { .. } => None,
        }
    }

    const fn sequence_number(&self) -> Option<i64> {
        match self {
            Self::Message { sequence_number, .. } => *sequence_number,
            Self::File { .. } => None,
        }
    }

    fn enqueued_micros(&self) -> Option<i64> {
        match self {
            Self::Message { enqueued_at, .. } => Some(enqueued_at.timestamp_micros()),
            Self::File { .. } => None,
        }
    }

    fn file_path(&self) -> Option<String> {
        match self {
            Self::File { path, .. } => Some(path.clone()),
            Self::Message { .. } => None,
        }
    }

    fn file_name(&self) -> Option<String> {
        self.file_path().and_then(|path| path.rsplit('/').next().map(str::to_owned))
    }

    fn file_size(&self) -> Option<i64> {
        match self {
            Self::File { size, .. } => i64::try_from(*size).ok(),
            Self::Message { .. } => None,
        }
    }

    fn modified_micros(&self) -> Option<i64> {
        match self {
            Self::File { modified, .. } => Some(modified.timestamp_micros()),
            Self::Message { .. } => None,
        }
    }
}
