//! Schemas as options of a read give them, such as `id BIGINT, at TIMESTAMP NOT NULL`.

use headwater_core::model::Column;
use headwater_core::sql::columns_of_ddl;
use sqlparser::ast::{ArrayElemTypeDef, DataType, Ident, StructField, TimezoneInfo};

/// A schema is columns or refused with a reason, and columns that are written as Spark does are read as the same.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let columns = match columns_of_ddl(text) {
        Ok(columns) => columns,
        Err(reason) => return assert!(!reason.is_empty(), "refused without a word"),
    };
    let Some(written) = written(&columns) else { return };
    let read = columns_of_ddl(&written).unwrap_or_else(|error| panic!("{error}, of what was read: {written}"));
    assert_eq!(self::written(&read), Some(written), "read as something else");
}

/// Columns without their comments; `None` where a type isn't Spark's.
fn written(columns: &[Column]) -> Option<String> {
    let column = |column: &Column| {
        let not_null = if column.not_null { " NOT NULL" } else { "" };
        Some(format!("{} {}{not_null}", Ident::with_quote('`', &column.name), spark(&column.data_type)?))
    };
    columns.iter().map(column).collect::<Option<Vec<_>>>().map(|columns| columns.join(", "))
}

fn spark(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::TinyInt(None)
        | DataType::SmallInt(None)
        | DataType::Int(None)
        | DataType::BigInt(None)
        | DataType::Boolean
        | DataType::Date
        | DataType::Timestamp(None, TimezoneInfo::None)
        | DataType::String(None)
        | DataType::Decimal(_) => data_type.to_string(),
        DataType::Array(ArrayElemTypeDef::AngleBracket(element)) => format!("ARRAY<{}>", spark(element)?),
        DataType::Map(key, value) => format!("MAP<{}, {}>", spark(key)?, spark(value)?),
        DataType::Struct(fields, _) if !fields.is_empty() => {
            format!("STRUCT<{}>", fields.iter().map(field).collect::<Option<Vec<_>>>()?.join(", "))
        }
        _ => return None,
    })
}

fn field(field: &StructField) -> Option<String> {
    let name = Ident::with_quote('`', &field.field_name.as_ref()?.value);
    field.options.is_none().then(|| Some(format!("{name}: {}", spark(&field.field_type)?)))?
}
