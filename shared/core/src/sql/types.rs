//! Spark's names of types, where the engine knows the type by another.

use sqlparser::ast::{ArrayElemTypeDef, DataType, TimezoneInfo};

/// The type of a cast as the engine plans it: `LONG` is `BIGINT`, `BINARY` is `BYTEA`.
pub(super) fn planned(data_type: DataType) -> DataType {
    match data_type {
        DataType::Binary(_) => DataType::Bytea,
        DataType::Dec(info) => DataType::Decimal(info),
        DataType::TimestampNtz(precision) => DataType::Timestamp(precision, TimezoneInfo::None),
        DataType::Array(ArrayElemTypeDef::AngleBracket(element)) => {
            DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(planned(*element))))
        }
        DataType::Custom(name, arguments) if arguments.is_empty() => match name.to_string().to_lowercase().as_str() {
            "long" => DataType::BigInt(None),
            "short" => DataType::SmallInt(None),
            "byte" => DataType::TinyInt(None),
            "timestamp_ltz" | "timestamp_ntz" => DataType::Timestamp(None, TimezoneInfo::None),
            _ => DataType::Custom(name, arguments),
        },
        other => other,
    }
}
