//! SQL types, Arrow types, and those of them that a Delta table keeps.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};
use headwater_core::model::Column;

use crate::error::{LakeError, Result};

/// The Arrow schema of declared columns, by Spark's types. Every column can be NULL; `NOT NULL` is
/// held by a rule.
///
/// # Errors
/// `Invalid` for a type that tables can't keep.
pub fn arrow_schema(columns: &[Column]) -> Result<SchemaRef> {
    let field = |column: &Column| {
        let data_type = arrow_type(&column.data_type).ok_or_else(|| LakeError::Configuration {
            message: format!("column `{}`: type {} isn't known", column.name, column.data_type),
            help: "use Spark's types: STRING, BIGINT, INT, DOUBLE, DECIMAL(p, s), BOOLEAN, DATE, TIMESTAMP, BINARY, ARRAY<…>, MAP<…>, STRUCT<…>".into(),
        })?;
        Ok(Field::new(&column.name, data_type, true))
    };
    Ok(Arc::new(Schema::new(columns.iter().map(field).collect::<Result<Vec<_>>>()?)))
}

/// The nearest schema that a Delta table keeps: strings and binaries of one kind, microseconds, UTC,
/// signed integers, no dictionaries.
#[must_use]
pub fn storable_schema(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| storable_field(field)).collect::<Vec<_>>()))
}

fn storable_field(field: &Field) -> Field {
    Field::new(field.name(), storable(field.data_type()), field.is_nullable())
}

fn storable(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, value) => storable(value),
        DataType::RunEndEncoded(_, value) => storable(value.data_type()),
        DataType::Timestamp(..) => utc(),
        DataType::Date64 => DataType::Date32,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| Arc::new(storable_field(field))).collect::<Fields>())
        }
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => DataType::List(Arc::new(storable_field(field))),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(storable_field(entries)), *sorted),
        other => other.clone(),
    }
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(super) fn arrow_type(sql: &ast::DataType) -> Option<DataType> {
    use ast::DataType as S;
    Some(match sql {
        S::String(_) | S::Varchar(_) | S::Char(_) | S::Character(_) | S::Text => DataType::Utf8,
        S::BigInt(_) => DataType::Int64,
        S::Int(_) | S::Integer(_) => DataType::Int32,
        S::SmallInt(_) => DataType::Int16,
        S::TinyInt(_) => DataType::Int8,
        S::Double(_) | S::DoublePrecision => DataType::Float64,
        S::Float(_) | S::Real => DataType::Float32,
        S::Boolean | S::Bool => DataType::Boolean,
        S::Date => DataType::Date32,
        S::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => utc(),
        S::TimestampNtz(_) | S::Timestamp(_, TimezoneInfo::WithoutTimeZone) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        S::Binary(_) | S::Varbinary(_) | S::Bytes(_) => DataType::Binary,
        S::Decimal(info) | S::Numeric(info) | S::Dec(info) => decimal(info)?,
        S::Array(ArrayElemTypeDef::AngleBracket(element)) => {
            DataType::List(Arc::new(Field::new("element", arrow_type(element)?, true)))
        }
        S::Struct(fields, _) => {
            let field = |field: &ast::StructField| {
                Some(Field::new(field.field_name.as_ref()?.value.as_str(), arrow_type(&field.field_type)?, true))
            };
            DataType::Struct(fields.iter().map(field).collect::<Option<Vec<_>>>()?.into())
        }
        S::Map(key, value) => map(arrow_type(key)?, arrow_type(value)?),
        S::Custom(name, _) => return custom(&name.to_string()),
        _ => return None,
    })
}

/// The name that Spark gives a type.
pub(super) fn spark_name(data_type: &DataType) -> String {
    let fields = |fields: &Fields| {
        let named = fields.iter().map(|field| format!("{}:{}", field.name(), spark_name(field.data_type())));
        named.collect::<Vec<_>>().join(",")
    };
    match data_type {
        DataType::Null => "void".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp".into(),
        DataType::Timestamp(_, None) => "timestamp_ntz".into(),
        DataType::Duration(_) => "interval day to second".into(),
        DataType::Interval(_) => "interval".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("array<{}>", spark_name(item.data_type()))
        }
        DataType::Struct(of) => format!("struct<{}>", fields(of)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(of) if of.len() == 2 => {
                format!("map<{},{}>", spark_name(of[0].data_type()), spark_name(of[1].data_type()))
            }
            other => spark_name(other),
        },
        other => other.to_string(),
    }
}

fn custom(name: &str) -> Option<DataType> {
    match name.to_lowercase().as_str() {
        "long" => Some(DataType::Int64),
        "short" => Some(DataType::Int16),
        "byte" => Some(DataType::Int8),
        "timestamp_ntz" => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        "timestamp_ltz" => Some(utc()),
        _ => None,
    }
}

fn decimal(info: &ExactNumberInfo) -> Option<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    (1..=38).contains(&precision).then_some(DataType::Decimal128(precision, scale))
}

fn map(key: DataType, value: DataType) -> DataType {
    let fields = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(fields), false)), false)
}
