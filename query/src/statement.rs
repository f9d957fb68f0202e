//! Which statements are answered: those that only read the lake.

use std::ops::ControlFlow;

use datafusion::{
    execution::session_state::SessionState,
    sql::{
        parser::{DFParserBuilder, ExplainStatement, Statement},
        sqlparser::ast::{self, SetExpr, Visit as _, Visitor},
    },
};

use crate::{QueryError, Result, dialect::Sql, headings::Headings, tables};

/// Parses `text` as one statement that only reads, and what its columns are to be called.
pub(crate) fn parse(text: &str, state: &SessionState) -> Result<(Statement, Headings)> {
    let limit = state.config().options().sql_parser.recursion_limit.get();
    let mut statements = DFParserBuilder::new(text)
        .with_dialect(&Sql)
        .with_recursion_limit(limit)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| QueryError::from_datafusion(&error, state))?;
    let mut statement = statements
        .pop_front()
        .ok_or_else(|| QueryError::Syntax { detail: "there is no statement".to_owned() })?;
    if !statements.is_empty() {
        return Err(QueryError::Unsupported { what: "several statements in one query".to_owned() });
    }
    check(&statement)?;
    // `show tables` lists the tables of the lake, not those that describe SQL itself.
    if let Statement::Statement(sql) = &statement
        && let ast::Statement::ShowTables { .. } = **sql
    {
        let query = format!(
            "select table_name from information_schema.tables where table_schema = '{}' order by 1",
            tables::SCHEMA
        );
        return parse(&query, state);
    }
    let headings = Headings::take(&mut statement);
    Ok((statement, headings))
}

fn check(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Statement(sql) => check_sql(sql),
        Statement::Explain(ExplainStatement { statement, .. }) => check(statement),
        Statement::CreateExternalTable(_) => refuse("CREATE EXTERNAL TABLE"),
        Statement::CopyTo(_) => Err(QueryError::ReadOnly {
            what: "COPY is refused; write the result of a query with your program or \
                   `runlake sql ... -o FILE`"
                .to_owned(),
        }),
        Statement::Reset(_) => refuse("RESET"),
    }
}

fn check_sql(statement: &ast::Statement) -> Result<()> {
    use ast::Statement as S;
    match statement {
        S::Query(_) => {
            let mut writes = Writes;
            match statement.visit(&mut writes) {
                ControlFlow::Break(what) => refuse(what),
                ControlFlow::Continue(()) => Ok(()),
            }
        }
        S::Explain { statement, .. } => check_sql(statement),
        S::ExplainTable { .. }
        | S::ShowTables { .. }
        | S::ShowColumns { .. }
        | S::ShowFunctions { .. }
        | S::ShowVariable { .. } => Ok(()),
        other => {
            let text = other.to_string();
            let mut words = text.split_whitespace();
            let first = words.next().unwrap_or("this").to_uppercase();
            match first.as_str() {
                "CREATE" | "DROP" | "ALTER" => {
                    refuse(&format!("{first} {}", words.next().unwrap_or("").to_uppercase()))
                }
                _ => refuse(&first),
            }
        }
    }
}

fn refuse(what: &str) -> Result<()> {
    Err(QueryError::ReadOnly {
        what: format!(
            "{} is refused; use SELECT, WITH, EXPLAIN, SHOW or DESCRIBE, and write with `log`",
            what.trim()
        ),
    })
}

/// Looks for what writes inside of a query.
struct Writes;

impl Visitor for Writes {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<&'static str> {
        writes(&query.body)
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<&'static str> {
        if select.into.is_some() {
            return ControlFlow::Break("SELECT INTO");
        }
        ControlFlow::Continue(())
    }
}

fn writes(body: &SetExpr) -> ControlFlow<&'static str> {
    match body {
        SetExpr::Insert(_) => ControlFlow::Break("INSERT"),
        SetExpr::Update(_) => ControlFlow::Break("UPDATE"),
        SetExpr::Delete(_) => ControlFlow::Break("DELETE"),
        SetExpr::Merge(_) => ControlFlow::Break("MERGE"),
        SetExpr::SetOperation { left, right, .. } => {
            writes(left)?;
            writes(right)
        }
        SetExpr::Query(_) | SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) => {
            ControlFlow::Continue(())
        }
    }
}
