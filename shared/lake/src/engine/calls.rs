//! Spark's functions by the functions and operators that do the same here.

use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CaseWhen, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, OrderByExpr, OrderByOptions, TimezoneInfo, Value,
};

use super::build::{call, cast, flagged, number, text};
use super::rewrite::as_written;

/// What a call means; `None` if it means itself.
pub(super) fn meaning(function: &Function) -> Option<Expr> {
    let name = function.name.to_string().to_lowercase();
    let meant = match plain_arguments(function) {
        Some(arguments) if function.over.is_none() => of_rows(function, &name, &arguments),
        Some(_) => of_windows(function, &name),
        None => None,
    };
    match result_type(&name) {
        Some(data_type) => Some(cast(meant.unwrap_or_else(|| Expr::Function(function.clone())), data_type)),
        None => meant,
    }
}

fn of_rows(function: &Function, name: &str, arguments: &[Expr]) -> Option<Expr> {
    of_conditions(name, arguments)
        .or_else(|| of_types(name, arguments))
        .or_else(|| of_dates(name, arguments))
        .or_else(|| of_units(name, arguments))
        .or_else(|| of_texts(name, arguments))
        .or_else(|| of_collections(name, arguments))
        .or_else(|| of_groups(function, name, arguments))
        .or_else(|| renamed(function, name))
}

/// The type of functions whose results have another one here.
fn result_type(name: &str) -> Option<DataType> {
    match name {
        "approx_count_distinct" | "regr_count" => Some(DataType::BigInt(None)),
        "row_number" | "rank" | "dense_rank" | "ntile" | "regexp_count" | "regexp_instr" => Some(DataType::Int(None)),
        _ => None,
    }
}

/// The arguments, if they are expressions without names.
fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return matches!(function.args, FunctionArguments::None).then(Vec::new);
    };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => Some(Expr::Identifier(Ident::new("*"))),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// The same call under the name that the function has here.
fn renamed(function: &Function, name: &str) -> Option<Expr> {
    let known = match name {
        "ucase" => "upper",
        "lcase" => "lower",
        "startswith" => "starts_with",
        "endswith" => "ends_with",
        "sign" => "signum",
        "iff" => "if",
        "any_value" | "first" => "first_value",
        "last" => "last_value",
        "std" => "stddev",
        "variance" => "var_samp",
        "every" => "bool_and",
        "some" | "any" => "bool_or",
        "array_agg" => "collect_list",
        "listagg" => "string_agg",
        "try_avg" | "mean" => "avg",
        "explode" => "unnest",
        "transform" => "array_transform",
        "filter" => "array_filter",
        "exists" => "array_any_match",
        "array_size" | "cardinality" => "size",
        "array_remove" => "array_remove_all",
        other if function.name.to_string() != other => other,
        _ => return None,
    };
    let name = ObjectName::from(vec![Ident::new(known)]);
    Some(Expr::Function(Function { name, ..function.clone() }))
}

fn of_conditions(name: &str, arguments: &[Expr]) -> Option<Expr> {
    let boxed = |expr: &Expr| Box::new(expr.clone());
    Some(match (name, arguments) {
        ("isnull", [value]) => Expr::IsNull(boxed(value)),
        ("isnotnull", [value]) => Expr::IsNotNull(boxed(value)),
        ("equal_null", [left, right]) => equal(left, right),
        ("zeroifnull", [value]) => call("coalesce", vec![value.clone(), zero()]),
        ("nullifzero", [value]) => call("nullif", vec![value.clone(), zero()]),
        ("try_divide", [left, right]) => operation(left, BinaryOperator::Divide, right),
        ("mod" | "try_mod", [left, right]) => operation(left, BinaryOperator::Modulo, right),
        ("isnan", [value]) => call("coalesce", vec![call("isnan", vec![value.clone()]), no()]),
        ("round", [value, digits]) => {
            let mut digits = digits.clone();
            as_written(&mut digits);
            call("round", vec![value.clone(), digits])
        }
        ("log", [value]) => call("ln", vec![value.clone()]),
        ("decode", [value, rest @ ..]) if rest.len() > 1 => decoded(value, rest),
        _ => return None,
    })
}

fn no() -> Expr {
    Expr::Value(Value::Boolean(false).into())
}

fn zero() -> Expr {
    cast(number(0), DataType::Int(None))
}

fn equal(left: &Expr, right: &Expr) -> Expr {
    operation(left, BinaryOperator::Spaceship, right)
}

fn operation(left: &Expr, op: BinaryOperator, right: &Expr) -> Expr {
    let (left, right) = (Box::new(left.clone()), Box::new(right.clone()));
    Expr::Nested(Box::new(Expr::BinaryOp { left, op, right }))
}

/// `decode(value, search, result, …[, default])`, where NULL equals NULL.
fn decoded(value: &Expr, rest: &[Expr]) -> Expr {
    let pairs = rest.chunks_exact(2);
    let otherwise = pairs.remainder().first().map(|expr| Box::new(expr.clone()));
    let conditions =
        pairs.map(|pair| CaseWhen { condition: equal(value, &pair[0]), result: pair[1].clone() }).collect();
    Expr::Case {
        case_token: ast::helpers::attached_token::AttachedToken::empty(),
        end_token: ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: otherwise,
    }
}

/// `int(x)` and the like are casts.
fn of_types(name: &str, arguments: &[Expr]) -> Option<Expr> {
    let [value] = arguments else { return None };
    let to = match name {
        "boolean" => DataType::Boolean,
        "tinyint" => DataType::TinyInt(None),
        "smallint" => DataType::SmallInt(None),
        "int" => DataType::Int(None),
        "bigint" => DataType::BigInt(None),
        "float" => DataType::Real,
        "double" => DataType::Double(ExactNumberInfo::None),
        "string" => DataType::String(None),
        "date" => DataType::Date,
        "timestamp" => timestamp(),
        "binary" => DataType::Binary(None),
        _ => return None,
    };
    Some(cast(value.clone(), to))
}

fn timestamp() -> DataType {
    DataType::Timestamp(None, TimezoneInfo::None)
}

/// Part of a date or time that a name stands for.
pub(super) fn part(name: &str) -> Option<&'static str> {
    Some(match name.to_lowercase().as_str() {
        "year" | "y" | "years" | "yr" | "yrs" => "year",
        "quarter" | "qtr" => "quarter",
        "month" | "mon" | "mons" | "months" => "month",
        "week" | "w" | "weeks" | "weekofyear" => "week",
        "day" | "d" | "days" | "dayofmonth" => "day",
        "dayofweek" | "dow" => "dow",
        "dayofweek_iso" | "dow_iso" | "isodow" => "isodow",
        "doy" | "dayofyear" => "doy",
        "hour" | "h" | "hours" | "hr" | "hrs" => "hour",
        "minute" | "m" | "min" | "mins" | "minutes" => "minute",
        "second" | "s" | "sec" | "secs" | "seconds" => "second",
        _ => return None,
    })
}

/// A part of a moment; days of the week count from Sunday, which is 1.
pub(super) fn part_of(part: &str, value: Expr) -> Expr {
    let moment = cast(value, timestamp());
    match part {
        "dow" | "isodow" => plus_one(call("date_part", vec![text(part), moment])),
        part => call("date_part", vec![text(part), moment]),
    }
}

/// What `extract` gives: as [`part_of`], but seconds with their fraction.
pub(super) fn part_of_extract(name: &str, value: Expr) -> Option<Expr> {
    let part = part(name)?;
    if part != "second" {
        return Some(part_of(part, value));
    }
    let exact = |scale: u64| DataType::Decimal(ExactNumberInfo::PrecisionAndScale(8, scale.cast_signed()));
    let micros = cast(call("date_part", vec![text("microsecond"), cast(value, timestamp())]), exact(0));
    Some(cast(operation(&micros, BinaryOperator::Divide, &number(1_000_000)), exact(6)))
}

fn plus_one(value: Expr) -> Expr {
    cast(operation(&value, BinaryOperator::Plus, &number(1)), DataType::Int(None))
}

fn of_dates(name: &str, arguments: &[Expr]) -> Option<Expr> {
    let date = |expr: &Expr| cast(expr.clone(), DataType::Date);
    let int = |expr: &Expr| cast(expr.clone(), DataType::Int(None));
    let moment = |expr: &Expr| cast(expr.clone(), timestamp());
    Some(match (name, arguments) {
        (
            "year" | "quarter" | "month" | "day" | "dayofmonth" | "dayofyear" | "weekofyear" | "dayofweek" | "hour"
            | "minute" | "second",
            [value],
        ) => part_of(part(name)?, value.clone()),
        ("date_part" | "datepart", [Expr::Value(field), value]) => {
            part_of_extract(&field.value.clone().into_string()?, value.clone())?
        }
        ("date_trunc", [field, value]) => call("date_trunc", vec![field.clone(), moment(value)]),
        ("date_add" | "dateadd", [value, days]) => call("date_add", vec![date(value), int(days)]),
        ("date_sub", [value, days]) => call("date_sub", vec![date(value), int(days)]),
        ("add_months", [value, months]) => call("add_months", vec![date(value), int(months)]),
        ("datediff" | "date_diff", [to, from]) => {
            let difference = call("date_diff", vec![date(to), date(from)]);
            cast(difference, DataType::Int(None))
        }
        ("last_day", [value]) => call("last_day", vec![date(value)]),
        ("next_day", [value, day]) => call("next_day", vec![date(value), day.clone()]),
        ("trunc", [value, field]) => call("trunc", vec![date(value), field.clone()]),
        ("dayname", [value]) => call("date_format", vec![moment(value), text("E")]),
        ("timestamp_seconds", [value]) => moment(value),
        ("timestamp_millis", [value]) => moment(&call("to_timestamp_millis", vec![value.clone()])),
        ("timestamp_micros", [value]) => moment(&call("to_timestamp_micros", vec![value.clone()])),
        ("unix_timestamp", []) => call("unix_timestamp", vec![call("now", Vec::new())]),
        ("date_from_unix_date", [days]) => call("date_add", vec![cast(text("1970-01-01"), DataType::Date), int(days)]),
        _ => return None,
    })
}

/// `timestampadd(HOUR, 2, t)`: the unit is a word, not a column.
fn of_units(name: &str, arguments: &[Expr]) -> Option<Expr> {
    let known = match name {
        "timestampadd" | "dateadd" | "date_add" => "timestampadd",
        "timestampdiff" | "datediff" | "date_diff" => "timestampdiff",
        _ => return None,
    };
    let [Expr::Identifier(unit), first, second] = arguments else { return None };
    Some(call(known, vec![text(&unit.value), first.clone(), second.clone()]))
}

fn of_texts(name: &str, arguments: &[Expr]) -> Option<Expr> {
    Some(match (name, arguments) {
        ("concat", [first, rest @ ..]) => {
            rest.iter().fold(first.clone(), |left, right| operation(&left, BinaryOperator::StringConcat, right))
        }
        ("replace", [value, part]) => call("replace", vec![value.clone(), part.clone(), text("")]),
        ("regexp_replace", [value, pattern, with]) => {
            call("regexp_replace", vec![value.clone(), pattern.clone(), with.clone(), text("g")])
        }
        ("locate" | "position", [part, value]) => call("locate", vec![part.clone(), value.clone()]),
        ("space", [count]) => call("repeat", vec![text(" "), count.clone()]),
        ("lpad" | "rpad", [value, length]) => call(name, vec![value.clone(), length.clone(), text(" ")]),
        _ => return None,
    })
}

fn of_collections(name: &str, arguments: &[Expr]) -> Option<Expr> {
    let position = |list: &Expr, value: &Expr| {
        let place = cast(call("array_position", vec![list.clone(), value.clone()]), DataType::BigInt(None));
        call("coalesce", vec![place, number(0)])
    };
    Some(match (name, arguments) {
        ("get", [list, place]) => call("element_at", vec![list.clone(), counted_from_one(place)]),
        ("array_position", [list, value]) => position(list, value),
        ("array_prepend", [list, value]) => call("array_prepend", vec![value.clone(), list.clone()]),
        ("map_contains_key", [map, key]) => {
            call("array_contains", vec![call("map_keys", vec![map.clone()]), key.clone()])
        }
        ("array_sort", [list]) => call("array_sort", vec![list.clone(), text("ASC"), text("NULLS LAST")]),
        ("sort_array", [list]) => sorted(list, true),
        ("sort_array", [list, Expr::Value(ascending)]) => match &ascending.value {
            Value::Boolean(ascending) => sorted(list, *ascending),
            _ => return None,
        },
        ("struct", values) if !values.is_empty() => {
            let named = values.iter().enumerate().flat_map(|(at, value)| field(at, value));
            call("named_struct", named.collect())
        }
        _ => return None,
    })
}

/// A place from 0 as one from 1; NULL for negative ones, which count from the end elsewhere.
fn counted_from_one(place: &Expr) -> Expr {
    let next = operation(place, BinaryOperator::Plus, &number(1));
    call("nullif", vec![call("greatest", vec![next, number(0)]), number(0)])
}

fn sorted(list: &Expr, ascending: bool) -> Expr {
    let (order, nulls) = if ascending { ("ASC", "NULLS FIRST") } else { ("DESC", "NULLS LAST") };
    call("array_sort", vec![list.clone(), text(order), text(nulls)])
}

/// Name and value of a struct's field.
pub(super) fn field(at: usize, value: &Expr) -> [Expr; 2] {
    let name = match value {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts.last().map_or_else(String::new, |part| part.value.clone()),
        Expr::Named { name, expr } => return [text(&name.value), expr.as_ref().clone()],
        _ => format!("col{}", at + 1),
    };
    [text(&name), value.clone()]
}

/// 1 where a condition holds, otherwise NULL.
fn counted(condition: &Expr) -> Expr {
    Expr::Case {
        case_token: ast::helpers::attached_token::AttachedToken::empty(),
        end_token: ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition: condition.clone(), result: number(1) }],
        else_result: None,
    }
}

fn of_groups(function: &Function, name: &str, arguments: &[Expr]) -> Option<Expr> {
    let again = |name: &str, arguments: Vec<Expr>| aggregate(function, name, arguments);
    Some(match (name, arguments) {
        ("count_if", [condition]) => again("count", vec![counted(condition)]),
        ("median", [value]) => again("percentile", vec![value.clone(), float("0.5")]),
        ("percentile_approx" | "approx_percentile", [value, fraction, _]) => {
            again("percentile_approx", vec![value.clone(), fraction.clone()])
        }
        ("percentile_cont" | "percentile_disc", [fraction]) => {
            let [OrderByExpr { expr, options: OrderByOptions { asc: None | Some(true), .. }, .. }] =
                function.within_group.as_slice()
            else {
                return None;
            };
            let name = if name == "percentile_cont" { "percentile" } else { "percentile_approx" };
            let call = again(name, vec![expr.clone(), fraction.clone()]);
            without_order(call)
        }
        ("first" | "first_value" | "last" | "last_value" | "any_value", [value, Expr::Value(ignore)])
            if ignore.value == Value::Boolean(true) =>
        {
            let name = if name.starts_with("last") { "last_value" } else { "first_value" };
            flagged(again(name, vec![value.clone()]), present(value), None)
        }
        ("max_by" | "min_by", [value, by]) => {
            let order = OrderByExpr {
                expr: by.clone(),
                options: OrderByOptions { asc: Some(name == "min_by"), nulls_first: Some(false) },
                with_fill: None,
            };
            flagged(again("first_value", vec![value.clone()]), present(by), Some(order))
        }
        _ => return None,
    })
}

/// Aggregates over windows take neither orders nor filters: only what is written otherwise.
fn of_windows(function: &Function, name: &str) -> Option<Expr> {
    match (name, plain_arguments(function)?.as_slice()) {
        ("count_if", [condition]) => Some(aggregate(function, "count", vec![counted(condition)])),
        _ => renamed(function, name),
    }
}

fn present(value: &Expr) -> Expr {
    Expr::IsNotNull(Box::new(value.clone()))
}

fn float(value: &str) -> Expr {
    Expr::Value(Value::Number(value.to_owned(), false).into())
}

/// The same aggregate call, with its filter, of another function and arguments.
fn aggregate(function: &Function, name: &str, arguments: Vec<Expr>) -> Expr {
    let Expr::Function(new) = call(name, arguments) else { return Expr::Function(function.clone()) };
    Expr::Function(Function { filter: function.filter.clone(), over: function.over.clone(), ..new })
}

fn without_order(call: Expr) -> Expr {
    match call {
        Expr::Function(function) => Expr::Function(Function { within_group: Vec::new(), ..function }),
        other => other,
    }
}
