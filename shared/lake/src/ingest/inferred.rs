//! What columns JSON is seen to need, as [Spark infers them](https://spark.apache.org/docs/latest/sql-data-sources-json.html).

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Fields};
use serde_json::{Map, Value};

/// Digits of a whole number that is too large for 64 bits.
const HUGE: DataType = DataType::Decimal128(20, 0);

/// The narrowest type that some values have in common; text, where they have none.
#[derive(Debug, Default)]
enum Kind {
    /// NULL so far.
    #[default]
    Unknown,
    /// Objects without fields so far.
    Empty,
    Flag,
    Whole,
    /// One above those of 64 bits with a sign.
    Huge,
    Number,
    Text,
    List(Box<Self>),
    Object(Inferred),
}

/// The fields of some objects, in the order in which they are first seen. Of names that differ in case only, which tables
/// take for the same, the first spelling counts. An object without fields is as good as NULL: no file of a table can hold it.
#[derive(Debug, Default)]
pub(super) struct Inferred {
    fields: Vec<(String, Kind)>,
    /// Where names stand, in lower case.
    places: HashMap<String, usize>,
}

impl Inferred {
    pub(super) fn see(&mut self, object: &Map<String, Value>) {
        for (name, value) in object {
            let at = *self.places.entry(name.to_lowercase()).or_insert_with(|| {
                self.fields.push((name.clone(), Kind::default()));
                self.fields.len() - 1
            });
            if let Some((known, kind)) = self.fields.get_mut(at)
                && known == name
            {
                kind.see(value);
            }
        }
    }

    /// Without those of which nothing but objects without fields was seen.
    pub(super) fn fields(&self) -> Fields {
        let field = |(name, kind): &(String, Kind)| Some(Field::new(name, kind.data_type()?, true));
        self.fields.iter().filter_map(field).collect()
    }
}

impl Kind {
    fn see(&mut self, value: &Value) {
        match (&mut *self, value) {
            (_, Value::Null) => {}
            (Self::List(element), Value::Array(values)) => values.iter().for_each(|value| element.see(value)),
            (Self::Object(known), Value::Object(object)) => known.see(object),
            (known, Value::Object(object)) if !has_field(object) => {
                if matches!(known, Self::Unknown) {
                    *known = Self::Empty;
                }
            }
            (known @ (Self::Unknown | Self::Empty), _) => *known = Self::of(value),
            (known, value) => *known = known.with(&Self::of(value)),
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Unknown,
            Value::Bool(_) => Self::Flag,
            Value::Number(number) if number.is_i64() => Self::Whole,
            Value::Number(number) if number.is_u64() => Self::Huge,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(values) => {
                let mut element = Self::Unknown;
                values.iter().for_each(|value| element.see(value));
                Self::List(Box::new(element))
            }
            Value::Object(object) => {
                let mut fields = Inferred::default();
                fields.see(object);
                Self::Object(fields)
            }
        }
    }

    /// What values of two kinds have in common, of which one isn't nested.
    fn with(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Flag, Self::Flag) => Self::Flag,
            (Self::Whole, Self::Whole) => Self::Whole,
            (Self::Whole | Self::Huge, Self::Whole | Self::Huge) => Self::Huge,
            (Self::Whole | Self::Huge | Self::Number, Self::Whole | Self::Huge | Self::Number) => Self::Number,
            _ => Self::Text,
        }
    }

    fn data_type(&self) -> Option<DataType> {
        Some(match self {
            Self::Unknown => DataType::Null,
            Self::Empty => return None,
            Self::Flag => DataType::Boolean,
            Self::Whole => DataType::Int64,
            Self::Huge => HUGE,
            Self::Number => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::List(element) => DataType::new_list(element.data_type().unwrap_or(DataType::Null), true),
            Self::Object(object) => DataType::Struct(object.fields()),
        })
    }
}

fn has_field(object: &Map<String, Value>) -> bool {
    object.values().any(|value| match value {
        Value::Object(inner) => has_field(inner),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(objects: &[Value]) -> String {
        let mut inferred = Inferred::default();
        objects.iter().filter_map(Value::as_object).for_each(|object| inferred.see(object));
        let told: Vec<String> =
            inferred.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        told.join(", ")
    }

    #[test]
    fn columns_have_the_type_that_their_values_have_in_common() {
        assert_eq!(seen(&[json!({"a": 1, "b": true}), json!({"c": "x", "b": null})]), "a Int64, b Boolean, c Utf8");
        assert_eq!(seen(&[json!({"a": 1}), json!({"a": 1.5})]), "a Float64");
        assert_eq!(seen(&[json!({"a": 1}), json!({"a": u64::MAX})]), "a Decimal128(20, 0)");
        assert_eq!(seen(&[json!({"a": u64::MAX}), json!({"a": 0.5})]), "a Float64");
        assert_eq!(seen(&[json!({"a": 1}), json!({"a": true})]), "a Utf8");
        assert_eq!(seen(&[json!({"a": null})]), "a Null");
    }

    #[test]
    fn what_contradicts_itself_within_a_struct_is_text_there_alone() {
        let objects = [json!({"s": {"x": 1, "y": 2}}), json!({"s": {"x": "one", "z": [1]}})];
        assert!(seen(&objects).contains("\"x\": Utf8, \"y\": Int64, \"z\": List"), "{}", seen(&objects));
        assert_eq!(seen(&[json!({"s": {"x": 1}}), json!({"s": "text"})]), "s Utf8");
        assert_eq!(seen(&[json!({"s": "text"}), json!({"s": {"x": 1}})]), "s Utf8");
    }

    #[test]
    fn a_list_beside_a_single_value_is_text() {
        assert_eq!(seen(&[json!({"a": [1]}), json!({"a": 1})]), "a Utf8");
        assert_eq!(seen(&[json!({"a": 1}), json!({"a": [1]})]), "a Utf8");
        assert!(seen(&[json!({"a": []}), json!({"a": [1, 2.5]})]).starts_with("a List(Float64"));
    }

    #[test]
    fn an_object_without_fields_is_no_column_and_contradicts_nothing() {
        assert_eq!(seen(&[json!({"a": 1, "b": {}, "c": {"d": {}}})]), "a Int64");
        assert_eq!(seen(&[json!({"a": {}}), json!({"a": {"x": 1}})]), "a Struct(\"x\": Int64)");
        assert_eq!(seen(&[json!({"a": 1}), json!({"a": {}})]), "a Int64");
        assert_eq!(seen(&[json!({"a": {}}), json!({"a": 1})]), "a Int64");
        assert!(seen(&[json!({"a": [{}]})]).starts_with("a List(Null"));
    }

    #[test]
    fn of_names_that_differ_in_case_the_first_counts() {
        assert_eq!(seen(&[json!({"V": 1, "v": "x"})]), "V Int64");
        assert_eq!(
            seen(&[json!({"s": {"É": 1}}), json!({"s": {"é": 2, "x": 3}})]),
            "s Struct(\"É\": Int64, \"x\": Int64)"
        );
    }
}
