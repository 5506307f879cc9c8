//! Types that are given for some inferred columns: Auto Loader's `schemaHints`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use headwater_core::model::{Column, Hint};

use crate::align::{field_position, is_same_name};
use crate::engine::arrow_schema;
use crate::error::Result;

/// Inferred columns with the hinted types; hinted columns that weren't seen come after them. A column that is seen keeps
/// its spelling. Without a hint for anything within it, each is of the type that `plain` makes of the inferred one.
///
/// # Errors
/// [`crate::error::LakeError::Configuration`] when a hint's type isn't known.
pub(super) fn hinted(inferred: &Schema, hints: &[Hint], plain: impl Fn(&DataType) -> DataType) -> Result<Vec<Field>> {
    let own = |field: &Arc<Field>| {
        let is_nested = |hint: &Hint| hint.path.len() > 1 && is_same_name(&hint.path[0], field.name());
        let data_type = match hints.iter().any(is_nested) {
            true => field.data_type().clone(),
            false => plain(field.data_type()),
        };
        Field::new(field.name(), data_type, true)
    };
    let mut fields: Vec<Field> = inferred.fields().iter().map(own).collect();
    for hint in hints {
        let column =
            Column { name: hint.path.join("."), data_type: hint.data_type.clone(), not_null: false, comment: None };
        let hinted = arrow_schema(std::slice::from_ref(&column))?.field(0).data_type().clone();
        fields = with_field(&fields.into(), &hint.path, &hinted).iter().map(|field| field.as_ref().clone()).collect();
    }
    Ok(fields)
}

/// Fields of which the one that a path names is of a type; it is added if there is none.
fn with_field(fields: &Fields, path: &[String], hinted: &DataType) -> Fields {
    let Some((name, rest)) = path.split_first() else { return fields.clone() };
    let mut fields: Vec<Arc<Field>> = fields.to_vec();
    match field_position(&fields.clone().into(), name) {
        Some(at) => {
            let data_type = with_type(fields[at].data_type(), rest, hinted);
            fields[at] = Arc::new(fields[at].as_ref().clone().with_data_type(data_type));
        }
        None => fields.push(Arc::new(Field::new(name, with_type(&DataType::Null, rest, hinted), true))),
    }
    fields.into()
}

/// A type of which what a path leads to is the hinted one. One that holds nothing becomes what the path says that it is.
fn with_type(data_type: &DataType, path: &[String], hinted: &DataType) -> DataType {
    let Some((step, rest)) = path.split_first() else { return hinted.clone() };
    match (data_type, step.to_lowercase().as_str()) {
        (DataType::List(element), "element") => {
            let inner = with_type(element.data_type(), rest, hinted);
            DataType::List(Arc::new(element.as_ref().clone().with_data_type(inner)))
        }
        (DataType::Map(entries, sorted), "key" | "value") => match entries.data_type() {
            DataType::Struct(pair) => {
                let at = usize::from(step.eq_ignore_ascii_case("value"));
                let side = |(place, side): (usize, &Arc<Field>)| match place == at {
                    true => {
                        let inner = with_type(side.data_type(), rest, hinted);
                        Arc::new(side.as_ref().clone().with_data_type(inner))
                    }
                    false => Arc::clone(side),
                };
                let pair = pair.iter().enumerate().map(side).collect();
                DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(pair))), *sorted)
            }
            _ => data_type.clone(),
        },
        (DataType::Struct(fields), _) => DataType::Struct(with_field(fields, path, hinted)),
        (_, "element") => DataType::new_list(with_type(&DataType::Null, rest, hinted), true),
        _ => DataType::Struct(with_field(&Fields::empty(), path, hinted)),
    }
}
