//! Spark's lexis, as far as sqlparser asks.

use std::cell::Cell;

use sqlparser::ast::{BinaryOperator, Expr};
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};

/// Spark SQL: backticks quote identifiers, double quotes quote strings, `->` is a lambda's arrow in
/// functions only, and `interval '10 minutes'` needs no unit after it.
///
/// Where sqlparser can't tell what a word begins, it tries one reading after the other, at each depth again. What
/// would take it longer than any sensible text of its length is refused as nested too deeply.
#[derive(Debug)]
pub(super) struct SparkDialect {
    /// Expressions that may still be begun.
    left: Cell<usize>,
    names_are_expressions: bool,
}

impl SparkDialect {
    /// For a text of so many tokens.
    pub(super) const fn new(tokens: usize) -> Self {
        const FEW: usize = 10_000;
        const EACH: usize = 100;
        Self { left: Cell::new(tokens.saturating_mul(EACH).saturating_add(FEW)), names_are_expressions: false }
    }

    /// For a call of so many tokens whose arguments are named by more than words: `'key' => value`, `a.b => value`.
    pub(super) const fn of_options(tokens: usize) -> Self {
        Self { names_are_expressions: true, ..Self::new(tokens) }
    }
}

impl Dialect for SparkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_struct_literal(&self) -> bool {
        true
    }

    fn supports_map_literal_with_angle_brackets(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn supports_cte_without_as(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    /// Each argument would be read twice, at each depth of calls again.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        self.names_are_expressions
    }

    /// `'\%'` keeps its backslash, for LIKE.
    fn ignores_wildcard_escapes(&self) -> bool {
        true
    }

    fn supports_string_literal_concatenation(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn parse_prefix(&self, _parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                None
            }
            None => Some(Err(ParserError::RecursionLimitExceeded)),
        }
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        if !parser.parse_keyword(Keyword::DIV) {
            return None;
        }
        let right = parser.parse_subexpr(precedence);
        let (left, op) = (Box::new(expr.clone()), BinaryOperator::MyIntegerDivide);
        Some(right.map(|right| Expr::BinaryOp { left, op, right: Box::new(right) }))
    }
}
