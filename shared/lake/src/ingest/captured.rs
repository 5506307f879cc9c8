//! What `_metadata` tells of events in the files of Event Hubs Capture: the same, by the same names, as of events that were read from the hub.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use headwater_core::hub::{CAPTURED, CAPTURED_NUMBER, CAPTURED_TIME, captured_partition, captured_time};

use super::FoundFile;

/// The fields that come after those of all files; none where records aren't those of Capture.
pub(super) fn captured_fields(columns: &SchemaRef) -> Vec<Arc<Field>> {
    if !is_captured(columns) {
        return Vec::new();
    }
    let fields = [
        ("enqueued_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("partition", DataType::Utf8),
        ("sequence_number", DataType::Int64),
    ];
    fields.into_iter().map(|(name, of)| Arc::new(Field::new(name, of, true))).collect()
}

/// Their values; none where there are no such fields.
pub(super) fn captured_values(rows: &RecordBatch, file: &FoundFile) -> Vec<ArrayRef> {
    if !is_captured(&rows.schema()) {
        return Vec::new();
    }
    let column = |name| rows.column_by_name(name);
    let (Some(times), Some(numbers)) = (column(CAPTURED_TIME), column(CAPTURED_NUMBER)) else { return Vec::new() };
    let times = times.as_string::<i32>().iter().map(|text| Some(captured_time(text?)?.timestamp_micros()));
    let partition = captured_partition(&file.path);
    vec![
        Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        Arc::new((0..rows.num_rows()).map(|_| partition).collect::<StringArray>()),
        Arc::clone(numbers),
    ]
}

/// Whether records have the columns of Capture's, with its types.
fn is_captured(columns: &SchemaRef) -> bool {
    let of = |name: &str| columns.field_with_name(name).ok().map(Field::data_type);
    CAPTURED.into_iter().all(|name| of(name).is_some())
        && of(CAPTURED_NUMBER) == Some(&DataType::Int64)
        && of(CAPTURED_TIME) == Some(&DataType::Utf8)
}
