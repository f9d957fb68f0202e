//! The dialect of SQL: that of DataFusion, with the JSON operators where PostgreSQL has them.

use std::any::TypeId;

use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect, Precedence};

/// DataFusion's dialect reads `config->>'lr' = '0.1'` as `config->>('lr' = '0.1')`, and PostgreSQL's knows neither lists
/// in brackets nor `select * exclude (...)`. Here the JSON operators bind tighter than comparisons.
#[derive(Debug)]
pub(crate) struct Sql;

/// What can be said, by the names that the parser gives it.
macro_rules! says {
    ($($what:ident)*) => { $(fn $what(&self) -> bool { true })* };
}

impl Dialect for Sql {
    /// The parser asks for some of what the generic dialect says by its type.
    fn dialect(&self) -> TypeId {
        GenericDialect {}.dialect()
    }

    fn is_delimited_identifier_start(&self, letter: char) -> bool {
        GenericDialect {}.is_delimited_identifier_start(letter)
    }

    fn is_identifier_start(&self, letter: char) -> bool {
        GenericDialect {}.is_identifier_start(letter)
    }

    fn is_identifier_part(&self, letter: char) -> bool {
        GenericDialect {}.is_identifier_part(letter)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            // Between `+` and what comes next.
            Precedence::PgOther => 25,
            other => GenericDialect {}.prec_value(other),
        }
    }

    says! {
        allow_extract_custom allow_extract_single_quotes support_map_literal_syntax
        supports_array_typedef_with_brackets supports_bitwise_shift_operators
        supports_comma_separated_trim supports_cte_without_as supports_dictionary_syntax
        supports_explain_with_utility_options supports_extract_comma_syntax
        supports_filter_during_aggregation supports_from_first_select supports_group_by_expr
        supports_group_by_with_modifier supports_interval_options
        supports_left_associative_joins_without_parens supports_limit_comma
        supports_named_fn_args_with_assignment_operator supports_nested_comments
        supports_parens_around_table_factor supports_pipe_operator
        supports_projection_trailing_commas supports_select_wildcard_except
        supports_select_wildcard_exclude supports_select_wildcard_ilike
        supports_select_wildcard_rename supports_select_wildcard_replace
        supports_string_escape_constant supports_struct_literal supports_unicode_string_literal
        supports_values_as_table_factor supports_window_clause_named_window_reference
        supports_window_function_null_treatment_arg
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use datafusion::sql::sqlparser::{
        ast::{Expr, visit_expressions_mut},
        parser::Parser,
    };

    use super::*;

    fn parsed(sql: &str) -> String {
        Parser::parse_sql(&Sql, sql).unwrap()[0].to_string()
    }

    #[test]
    fn json_operators_bind_as_in_postgresql() {
        for (free, bound) in [
            ("a->>'x' = 'y'", "(a->>'x') = 'y'"),
            ("a->>'x' = b->>'y'", "(a->>'x') = (b->>'y')"),
            ("a->'x'->>'y' is null", "((a->'x')->>'y') is null"),
            ("a->>'x' like 'y%' and b", "((a->>'x') like 'y%') and b"),
            ("a->>'x' in ('y') or b", "((a->>'x') in ('y')) or b"),
            ("not a->>'x' between 'y' and 'z'", "not ((a->>'x') between 'y' and 'z')"),
            ("a->>'x' || 'y'", "a->>('x' || 'y')"),
            ("a->>'x'::text", "a->>('x'::text)"),
        ] {
            assert_eq!(parenthesised(free), parenthesised(bound), "{free}");
        }
    }

    /// `sql` with parentheses wherever they can be, so that what binds to what is written there.
    fn parenthesised(sql: &str) -> String {
        let mut expr = Parser::new(&Sql).try_with_sql(sql).unwrap().parse_expr().unwrap();
        let flow: ControlFlow<()> = visit_expressions_mut(&mut expr, |part| {
            match part {
                Expr::Identifier(_) | Expr::Value(_) => {}
                Expr::Nested(inner) => *part = (**inner).clone(),
                _ => *part = Expr::Nested(Box::new(part.clone())),
            }
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        expr.to_string()
    }

    #[test]
    fn what_the_generic_dialect_reads_is_read() {
        for sql in [
            "SELECT * EXCLUDE (a) FROM t",
            "SELECT [1, 2] FROM t",
            "SELECT count(*) FILTER (WHERE a) OVER w FROM t WINDOW w AS (ORDER BY b)",
            "SELECT * FROM f('x', y => ['a'])",
            "SELECT a FROM t QUALIFY row_number() OVER (ORDER BY b) = 1",
            "SELECT a FROM t GROUP BY ALL",
            "SELECT DISTINCT ON (a) a, b FROM t",
            "SELECT INTERVAL '1' DAY",
        ] {
            assert_eq!(parsed(sql), sql);
        }
    }
}
