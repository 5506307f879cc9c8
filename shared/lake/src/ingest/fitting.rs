//! Rows of columnar files in the columns wanted, each value as it is or not at all.
//!
//! What a query gives is cast as SQL casts it (`align`). What a file gives is taken as it is meant: a wider or a
//! narrower type of the same kind that holds the value, text as what it says, and anything plain as text. A number for a
//! time, a fraction for a whole number or a flag for either don't fit.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericListArray, ListArray, MapArray, RecordBatch, StructArray,
    UInt64Array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{cast, not, nullif, take};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use arrow::error::ArrowError;

use crate::align::{Misfits, Reasons, as_json, field_position, fitted, in_schema, parted};
use crate::error::{LakeError, Result};

/// Rows in the wanted schema without those of which a value doesn't fit; and for each row whether it does, if not all do. Where
/// this is strict, a field that has no column doesn't fit either; it is left out elsewhere.
pub(super) fn fit_exactly(
    batch: &RecordBatch,
    schema: &SchemaRef,
    is_strict: bool,
) -> Result<(RecordBatch, Option<(BooleanArray, Misfits)>)> {
    let mut reasons = Reasons::new();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let Some(column) = batch.column_by_name(field.name()) else {
            columns.push(new_null_array(field.data_type(), batch.num_rows()));
            continue;
        };
        columns.push(exactly(column, field, &mut reasons)?);
        let rest = if is_strict { rest(column, field.data_type()).map_err(LakeError::arrow)? } else { None };
        for row in rest.iter().flat_map(|rest| (0..rest.len()).filter(|row| rest.is_valid(*row))) {
            reasons.entry(row).or_default().push(format!("`{}` holds a field that has no column", field.name()));
        }
    }
    parted(batch, &in_schema(batch, schema, columns)?, reasons)
}

/// Rows in the wanted schema, and for each what of it isn't there, as a JSON object: columns and fields that aren't wanted,
/// and values that don't fit theirs.
pub(super) fn rescued(batch: &RecordBatch, schema: &SchemaRef) -> Result<(RecordBatch, Vec<Option<String>>)> {
    let mut left: Vec<(String, ArrayRef, bool)> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if schema.field_with_name(field.name()).is_err() {
            left.push((field.name().clone(), Arc::clone(column), true));
        }
    }
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let Some(column) = batch.column_by_name(field.name()) else {
            columns.push(new_null_array(field.data_type(), batch.num_rows()));
            continue;
        };
        let mut reasons = Reasons::new();
        columns.push(exactly(column, field, &mut reasons)?);
        let misfits: BooleanArray = (0..batch.num_rows()).map(|row| Some(reasons.contains_key(&row))).collect();
        if let Some(rest) = rest(column, field.data_type()).map_err(LakeError::arrow)? {
            left.push((field.name().clone(), nullif(&rest, &misfits).map_err(LakeError::arrow)?, true));
        }
        if !reasons.is_empty() {
            let fits = not(&misfits).map_err(LakeError::arrow)?;
            left.push((field.name().clone(), nullif(column, &fits).map_err(LakeError::arrow)?, true));
        }
    }
    let rows = in_schema(batch, schema, columns)?;
    if left.is_empty() {
        return Ok((rows, vec![None; batch.num_rows()]));
    }
    let left = RecordBatch::try_from_iter_with_nullable(left).map_err(LakeError::arrow)?;
    let text = |line: Vec<u8>| String::from_utf8(line).ok().filter(|line| line != "{}");
    Ok((rows, as_json(&left)?.into_iter().map(text).collect()))
}

/// A column in the field's type, with NULL for each value that doesn't fit, of which the reasons are kept.
fn exactly(column: &ArrayRef, field: &Field, reasons: &mut Reasons) -> Result<ArrayRef> {
    let lost = lost(column, field.data_type()).map_err(LakeError::arrow)?;
    if lost.is_empty() {
        return fitted(column, field);
    }
    // Not slices, whose lists would still hold the elements of the other rows.
    let only = |rows: Vec<Option<u64>>| take(column, &UInt64Array::from(rows), None).map_err(LakeError::arrow);
    let (name, to) = (field.name(), field.data_type());
    for row in &lost {
        let why = match fitted(&only(vec![Some(*row as u64)])?, field) {
            Err(LakeError::ColumnDoesNotFit { message, .. }) => message,
            Err(error) => return Err(error),
            Ok(_) => format!("it is {}, and would become another value", column.data_type()),
        };
        reasons.entry(*row).or_default().push(format!("`{name}` doesn't fit {to}: {why}"));
    }
    fitted(&only((0..column.len()).map(|row| (!lost.contains(&row)).then_some(row as u64)).collect())?, field)
}

/// The rows with a value that isn't the same in another type, at any depth.
fn lost(given: &ArrayRef, to: &DataType) -> Result<BTreeSet<usize>, ArrowError> {
    let mut rows = match (given.data_type(), to) {
        (from, to) if from == to => return Ok(BTreeSet::new()),
        (DataType::Struct(from), DataType::Struct(to)) => {
            let mut rows = BTreeSet::new();
            for field in to {
                if let Some(at) = field_position(from, field.name()) {
                    rows.extend(lost(given.as_struct().column(at), field.data_type())?);
                }
            }
            rows
        }
        (DataType::List(_), DataType::List(to)) => {
            let list = given.as_list::<i32>();
            rows_of(list.value_offsets(), &lost(list.values(), to.data_type())?)
        }
        (from, DataType::List(_)) if let Some(list) = plain_list(from) => lost(&cast(given, &list)?, to)?,
        (DataType::Map(..), DataType::Map(to, _)) => {
            let (map, DataType::Struct(to)) = (given.as_map(), to.data_type()) else { return Ok(valid_rows(given)) };
            let mut entries = BTreeSet::new();
            for (side, field) in map.entries().columns().iter().zip(to) {
                entries.extend(lost(side, field.data_type())?);
            }
            rows_of(map.value_offsets(), &entries)
        }
        (from, to) if !is_same_kind(from, to) => valid_rows(given),
        (from, to) => {
            // What can't be cast at all is another kind of value, too.
            let Ok(taken) = cast(given, to) else { return Ok(valid_rows(given)) };
            if may_change(from, to) {
                let Ok(back) = cast(&taken, from) else { return Ok(valid_rows(given)) };
                distinct(&back, given)?.values().set_indices().collect()
            } else {
                (0..given.len()).filter(|row| taken.is_null(*row) && given.is_valid(*row)).collect()
            }
        }
    };
    rows.retain(|row| given.is_valid(*row));
    Ok(rows)
}

fn valid_rows(given: &ArrayRef) -> BTreeSet<usize> {
    (0..given.len()).filter(|row| given.is_valid(*row)).collect()
}

/// The rows that some values of lists are in.
fn rows_of(offsets: &[i32], values: &BTreeSet<usize>) -> BTreeSet<usize> {
    let row = |value: &usize| offsets.partition_point(|end| usize::try_from(*end).is_ok_and(|end| end <= *value));
    let ends = offsets.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
    values.iter().filter(|value| **value < ends).filter_map(|value| row(value).checked_sub(1)).collect()
}

/// What kind of values a type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Time,
    Flag,
    Text,
    Bytes,
    Nested,
}

impl Kind {
    fn of(data_type: &DataType) -> Option<Self> {
        use DataType::{
            Binary, BinaryView, Boolean, Date32, Date64, FixedSizeBinary, LargeBinary, LargeUtf8, Timestamp, Utf8,
            Utf8View,
        };
        Some(match data_type {
            DataType::Dictionary(_, value) => return Self::of(value),
            DataType::RunEndEncoded(_, value) => return Self::of(value.data_type()),
            DataType::Null => return None,
            number if number.is_numeric() => Self::Number,
            Date32 | Date64 | Timestamp(..) => Self::Time,
            Boolean => Self::Flag,
            Utf8 | LargeUtf8 | Utf8View => Self::Text,
            Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Self::Bytes,
            _ => Self::Nested,
        })
    }
}

/// Whether values of one type may be values of the other as they are meant. NULL is one of any.
fn is_same_kind(from: &DataType, to: &DataType) -> bool {
    match (Kind::of(from), Kind::of(to)) {
        (None, _) => true,
        (Some(Kind::Nested), _) | (_, Some(Kind::Nested) | None) => false,
        (Some(from), Some(to)) => from == to || from == Kind::Text || to == Kind::Text,
    }
}

/// Whether a value may come out as another, and not as NULL.
fn may_change(from: &DataType, to: &DataType) -> bool {
    let is_day = |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Date64);
    match (Kind::of(from), Kind::of(to)) {
        (Some(Kind::Number), Some(Kind::Number)) => true,
        (Some(Kind::Time), Some(Kind::Time)) => is_day(to) && !is_day(from),
        _ => false,
    }
}

/// The type of lists with 32-bit offsets and the same elements, for those that have others.
fn plain_list(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => Some(DataType::List(Arc::clone(element))),
        _ => None,
    }
}

/// The fields of values that a type hasn't, at any depth; NULL for rows that have none. `None` if there is no such field.
fn rest(given: &ArrayRef, to: &DataType) -> Result<Option<ArrayRef>, ArrowError> {
    Ok(match (given.data_type(), to) {
        (DataType::Struct(_), DataType::Struct(to)) => rest_of_struct(given.as_struct(), to)?,
        (DataType::List(_), DataType::List(to)) => {
            let list: &GenericListArray<i32> = given.as_list();
            let Some(values) = rest(list.values(), to.data_type())? else { return Ok(None) };
            let nulls = where_some(list.value_offsets(), &values);
            let element = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            Some(Arc::new(ListArray::try_new(element, list.offsets().clone(), values, Some(nulls))?))
        }
        (from, DataType::List(_)) if let Some(list) = plain_list(from) => rest(&cast(given, &list)?, to)?,
        (DataType::Map(from, sorted), DataType::Map(to, _)) => {
            let (map, DataType::Struct(to)) = (given.as_map(), to.data_type()) else { return Ok(None) };
            let Some(values) = to.get(1).map(|to| rest(map.values(), to.data_type())).transpose()?.flatten() else {
                return Ok(None);
            };
            let nulls = where_some(map.value_offsets(), &values);
            let DataType::Struct(pair) = from.data_type() else { return Ok(None) };
            let value = Arc::new(Field::new("value", values.data_type().clone(), true));
            let pair = Fields::from(vec![Arc::clone(&pair[0]), value]);
            let entries = StructArray::try_new(pair.clone(), vec![Arc::clone(map.keys()), values], None)?;
            let entry = Arc::new(Field::new(from.name(), DataType::Struct(pair), false));
            Some(Arc::new(MapArray::try_new(entry, map.offsets().clone(), entries, Some(nulls), *sorted)?))
        }
        _ => None,
    })
}

fn rest_of_struct(given: &StructArray, to: &Fields) -> Result<Option<ArrayRef>, ArrowError> {
    let (mut fields, mut columns): (Vec<Field>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (field, column) in given.fields().iter().zip(given.columns()) {
        let left = match field_position(to, field.name()) {
            Some(at) => rest(column, to[at].data_type())?,
            None => Some(Arc::clone(column)),
        };
        if let Some(left) = left {
            fields.push(Field::new(field.name(), left.data_type().clone(), true));
            columns.push(left);
        }
    }
    if fields.is_empty() {
        return Ok(None);
    }
    let has_some = |row: usize| given.is_valid(row) && columns.iter().any(|column| column.is_valid(row));
    let nulls = NullBuffer::from_iter((0..given.len()).map(has_some));
    Ok(Some(Arc::new(StructArray::try_new(fields.into(), columns, Some(nulls))?)))
}

/// Which lists hold a value that isn't NULL.
fn where_some(offsets: &[i32], values: &ArrayRef) -> NullBuffer {
    let valid = |pair: &[i32]| (pair[0]..pair[1]).any(|at| usize::try_from(at).is_ok_and(|at| values.is_valid(at)));
    offsets.windows(2).map(valid).collect()
}
