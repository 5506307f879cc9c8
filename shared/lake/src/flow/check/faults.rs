//! The engine's errors as faults of a query.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use headwater_core::check::Fault;

use crate::engine::Engine;

/// All faults that an error tells of. `known` are the columns that the query may name.
pub(super) fn faults(engine: &Engine, error: &DataFusionError, known: &[String]) -> Vec<Fault> {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => faults(engine, inner, known),
        DataFusionError::Shared(inner) => faults(engine, inner, known),
        DataFusionError::Collection(errors) => errors.iter().flat_map(|error| faults(engine, error, known)).collect(),
        DataFusionError::SchemaError(error, _) => vec![of_schema(error, known)],
        DataFusionError::Plan(message) => vec![of_plan(engine, message)],
        other => vec![of_text("INVALID_QUERY", &other.strip_backtrace())],
    }
}

fn of_schema(error: &SchemaError, known: &[String]) -> Fault {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let qualifier = field.relation.as_ref().map(|relation| relation.table().to_owned());
            let of_it = valid_fields
                .iter()
                .filter(|valid| valid.relation.as_ref().map(|table| table.table()) == qualifier.as_deref());
            let mut names: Vec<String> = of_it.map(|valid| valid.name.clone()).collect();
            if names.is_empty() {
                names.extend_from_slice(known);
            }
            names.retain(|name| !name.starts_with("__"));
            Fault::Column { qualifier, name: field.name.clone(), known: names }
        }
        SchemaError::AmbiguousReference { field } => Fault::Other {
            code: "AMBIGUOUS_REFERENCE",
            message: format!("more than one table has a column `{}`", field.name),
            names: vec![field.name.clone()],
            help: "write the table's name or alias before it".into(),
        },
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Fault::Other {
                code: "COLUMN_ALREADY_EXISTS",
                message: format!("the query gives more than one column `{name}`"),
                names: vec![name.clone()],
                help: "give one of them another name with AS, or leave it out".into(),
            }
        }
    }
}

fn of_plan(engine: &Engine, message: &str) -> Fault {
    if let Some((name, _)) = message.strip_prefix("Invalid function '").and_then(|rest| rest.split_once('\'')) {
        return Fault::Function { name: name.to_owned(), known: engine.function_names() };
    }
    if message.contains("different number of columns") {
        return Fault::Other {
            code: "NUM_COLUMNS_MISMATCH",
            message: "the queries of a set operation have different numbers of columns".into(),
            names: vec!["UNION".into(), "INTERSECT".into(), "EXCEPT".into()],
            help: "let each SELECT give the same columns; NULL AS name stands for one that isn't there".into(),
        };
    }
    if message.contains("unique expression names") {
        return Fault::Other {
            code: "COLUMN_ALREADY_EXISTS",
            message: "the query gives two columns of the same name".into(),
            names: Vec::new(),
            help: "give one of them another name with AS, or leave it out".into(),
        };
    }
    let about_types = ["coerce", "coercion", "type", "argument", "cast"].iter().any(|word| message.contains(word));
    of_text(if about_types { "DATATYPE_MISMATCH" } else { "INVALID_QUERY" }, message)
}

/// The first sentence of the engine's text; the names that it quotes may tell where.
fn of_text(code: &'static str, text: &str) -> Fault {
    let text = text.lines().next().unwrap_or_default();
    let text = ["Error during planning: ", "Execution error: ", "This feature is not implemented: "]
        .iter()
        .fold(text, |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    let message = text
        .split(" You might need to add")
        .next()
        .and_then(|text| text.split(". No function").next())
        .unwrap_or(text)
        .trim_end_matches('.');
    let names = message.split(['\'', '`', '"']).skip(1).step_by(2).map(str::to_owned).collect();
    let help = match code {
        "DATATYPE_MISMATCH" => "cast the arguments: CAST(x AS type), or TRY_CAST where a value may not fit",
        _ => "change the query",
    };
    Fault::Other { code, message: message.to_owned(), names, help: help.into() }
}
