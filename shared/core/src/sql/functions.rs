//! Functions that the engine knows by another name, and those that it would misread.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, LambdaFunction, ObjectName,
    OneOrManyWithParens, visit_expressions_mut,
};

/// Generators that give more than one column, and other functions without a counterpart.
const REFUSED: [(&str, &str); 9] = [
    ("posexplode", "use explode, which gives the elements without their positions"),
    ("posexplode_outer", "use explode_outer, which gives the elements without their positions"),
    ("inline", "use explode, and take the fields of its column"),
    ("inline_outer", "use explode_outer, and take the fields of its column"),
    ("stack", "use UNION ALL of one SELECT a row"),
    ("json_tuple", "use get_json_object(text, '$.field'), one a field"),
    ("session_window", "use window(ts, '10 minutes')"),
    ("input_file_name", "use _metadata.file_path"),
    ("ai_query", "call the model outside of the pipeline"),
];

/// Functions of a lambda, and their names in the engine.
const OF_LAMBDAS: [(&str, &str); 6] = [
    ("transform", "array_transform"),
    ("filter", "array_filter"),
    ("any_match", "array_any_match"),
    ("array_transform", "array_transform"),
    ("array_filter", "array_filter"),
    ("array_any_match", "array_any_match"),
];

/// Gives a call the engine's name; or says why it can't run, and what to use instead.
pub(super) fn rewrite(function: &mut Function) -> Option<(String, &'static str)> {
    let name = function.name.to_string().trim_matches('"').to_lowercase();
    if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Some((format!("{name} isn't executed"), instead));
    }
    match name.as_str() {
        "explode" => rename(function, "unnest"),
        "explode_outer" => rename(function, "unnest_outer"),
        _ => return lambdas(&name, function),
    }
    None
}

/// Whether a call is `explode` or `explode_outer`, before it is renamed.
pub(super) fn is_explode(function: &Function) -> bool {
    let name = function.name.to_string();
    ["explode", "explode_outer"].iter().any(|explode| name.eq_ignore_ascii_case(explode))
}

/// Gives the parameters of a lambda names that no column has: the engine takes columns first, in any
/// case. `from` numbers the first one; the number after the last is given back.
pub(super) fn own_parameters(lambda: &mut LambdaFunction, from: usize) -> usize {
    let LambdaFunction { params, body, .. } = lambda;
    let parameters = match params {
        OneOrManyWithParens::One(parameter) => std::slice::from_mut(parameter),
        OneOrManyWithParens::Many(parameters) => parameters.as_mut_slice(),
    };
    let mut number = from;
    for parameter in parameters {
        let own = format!("__p{number}");
        number += 1;
        let rename = |ident: &mut Ident| {
            if ident.value.eq_ignore_ascii_case(&parameter.name.value) {
                ident.value.clone_from(&own);
            }
        };
        let _: ControlFlow<()> = visit_expressions_mut(body, |expr| {
            match expr {
                Expr::Identifier(ident) => rename(ident),
                Expr::CompoundIdentifier(path) => path.iter_mut().take(1).for_each(rename),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        parameter.name.value = own;
    }
    number
}

fn lambdas(name: &str, function: &mut Function) -> Option<(String, &'static str)> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let mut lambdas = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(lambda))) => Some(lambda),
        _ => None,
    });
    let lambda = lambdas.next()?;
    let has_one = match &lambda.params {
        OneOrManyWithParens::One(_) => true,
        OneOrManyWithParens::Many(parameters) => parameters.len() == 1,
    };
    match OF_LAMBDAS.iter().find(|(known, _)| *known == name) {
        Some((_, own)) if has_one => rename(function, own),
        Some(_) => {
            return Some((
                format!("a lambda of two parameters isn't executed in {name}"),
                "use a lambda of one parameter: x -> …",
            ));
        }
        None => {
            return Some((
                format!("{name} with a lambda isn't executed"),
                "use transform, filter or exists with a lambda of one parameter, or explode the array in a view",
            ));
        }
    }
    None
}

fn rename(function: &mut Function, name: &str) {
    function.name = ObjectName::from(vec![Ident::new(name)]);
}
