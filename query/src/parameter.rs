//! Values that a query is given beside its text: `$1`, `$name`.

use std::ops::ControlFlow;

use datafusion::sql::{
    parser::{ExplainStatement, Statement},
    sqlparser::{
        ast::{Expr, Value, VisitMut as _, VisitorMut},
        parser::Parser,
    },
};

use crate::{QueryError, Result, dialect::Sql};

/// A value that stands in a query as `$1` or `$name`. It is one whatever it holds: a text is never read as SQL.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// NULL.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number; NaN and infinities are some.
    Double(f64),
    /// A text; a time is one, as in `'2026-11-26T10:00:00Z'`.
    Text(String),
    /// Several; `in ($ids)` looks among them.
    List(Vec<Self>),
}

impl Parameter {
    /// The value as SQL spells it.
    fn spelled(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Boolean(value) => value.to_string(),
            Self::Integer(i64::MIN) => format!("'{}'::bigint", i64::MIN),
            Self::Integer(value) => value.to_string(),
            Self::Double(value) if value.is_finite() => format!("{value:?}"),
            Self::Double(value) => format!("'{value}'::double"),
            Self::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(Self::spelled).collect();
                format!("[{}]", values.join(", "))
            }
        }
    }

    fn expr(&self) -> Expr {
        let parser = Parser::new(&Sql).try_with_sql(&self.spelled());
        parser.and_then(|mut parser| parser.parse_expr()).expect("a literal is an expression")
    }
}

/// Puts `parameters`, by their names, in the places of `statement` that name them.
pub(crate) fn bind(statement: &mut Statement, parameters: &[(String, Parameter)]) -> Result<()> {
    let mut places = Places { parameters, used: vec![false; parameters.len()] };
    let mut statement = statement;
    while let Statement::Explain(ExplainStatement { statement: explained, .. }) = statement {
        statement = explained;
    }
    if let Statement::Statement(statement) = statement
        && let ControlFlow::Break(unknown) = statement.visit(&mut places)
    {
        let known: Vec<String> = parameters.iter().map(|(name, _)| format!("${name}")).collect();
        return Err(match known.as_slice() {
            [] => QueryError::Invalid { detail: format!("parameter {unknown} has no value") },
            known => QueryError::unknown("parameter", &unknown, known.iter().map(String::as_str)),
        });
    }
    match places.used.iter().position(|used| !used) {
        Some(at) => Err(QueryError::Invalid {
            detail: format!(
                "parameter ${} has a value, but no place in the query",
                parameters[at].0
            ),
        }),
        None => Ok(()),
    }
}

/// Where parameters are named.
struct Places<'a> {
    parameters: &'a [(String, Parameter)],
    used: Vec<bool>,
}

impl Places<'_> {
    /// The parameter that `expr` names, where it names one; the name where there is none.
    fn find(&mut self, expr: &Expr) -> Result<Option<usize>, String> {
        let Expr::Value(value) = expr else { return Ok(None) };
        let Value::Placeholder(name) = &value.value else { return Ok(None) };
        let known = |(known, _): &(String, Parameter)| name.strip_prefix('$') == Some(known);
        let at = self.parameters.iter().position(known).ok_or_else(|| name.clone())?;
        self.used[at] = true;
        Ok(Some(at))
    }

    fn replace(&mut self, expr: &mut Expr) -> Result<(), String> {
        if let Expr::InList { list, .. } = expr {
            let mut values = Vec::with_capacity(list.len());
            for item in list.drain(..) {
                match self.find(&item)?.map(|at| &self.parameters[at].1) {
                    Some(Parameter::List(several)) => {
                        values.extend(several.iter().map(Parameter::expr));
                    }
                    _ => values.push(item),
                }
            }
            if values.is_empty() {
                // Among none is nothing; SQL has no empty list.
                values.push(Parameter::Null.expr());
            }
            *list = values;
        }
        if let Some(at) = self.find(expr)? {
            *expr = self.parameters[at].1.expr();
        }
        Ok(())
    }
}

impl VisitorMut for Places<'_> {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        match self.replace(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unknown) => ControlFlow::Break(unknown),
        }
    }
}
