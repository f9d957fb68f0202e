//! What the columns of a result are called: computed ones as they stand in the query, where DataFusion would write
//! `points.value > Int64(100)`.

use std::{collections::HashSet, ops::ControlFlow, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::sql::{
    parser::Statement,
    sqlparser::ast::{self, Expr, Ident, SelectItem, SetExpr, visit_expressions},
};

/// The names of computed columns by place; none where a column has a name of its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Headings {
    /// From the first column on.
    first: Vec<Option<String>>,
    /// Up to the last column: what follows a `*`.
    last: Vec<Option<String>>,
}

impl Headings {
    /// The headings of a plain SELECT; for anything else, none. DataFusion calls all subqueries alike and refuses two
    /// columns of one name, so what has no name of its own and may be called as another gets one in `statement`.
    pub(crate) fn take(statement: &mut Statement) -> Self {
        let mut headings = Self::default();
        let Statement::Statement(statement) = statement else { return headings };
        let ast::Statement::Query(query) = statement.as_mut() else { return headings };
        let SetExpr::Select(select) = query.body.as_mut() else { return headings };
        let mut stars = 0;
        let mut seen = HashSet::new();
        for item in &mut select.projection {
            let heading = match item {
                SelectItem::ExprWithAlias { .. }
                | SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {
                    None
                }
                SelectItem::UnnamedExpr(expr) => Some(expr.to_string()),
                // How many columns these are is not written there.
                _ => {
                    stars += 1;
                    continue;
                }
            };
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(text) = &heading
                && (!seen.insert(text.clone()) || contains_subquery(expr))
            {
                let alias = Ident::with_quote('"', format!("{text} #{}", seen.len()));
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            if stars == 0 { &mut headings.first } else { &mut headings.last }.push(heading);
        }
        if stars > 1 {
            headings.last.clear();
        }
        headings
    }

    /// `schema` with these names.
    pub(crate) fn name(&self, schema: &SchemaRef) -> SchemaRef {
        let columns = schema.fields().len();
        if columns < self.first.len() + self.last.len() {
            return Arc::clone(schema);
        }
        let mut fields: Vec<_> =
            schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let places = (0..).zip(&self.first).chain((columns - self.last.len()..).zip(&self.last));
        for (at, heading) in places {
            if let Some(heading) = heading {
                fields[at].set_name(heading);
            }
        }
        Arc::new(arrow::datatypes::Schema::new(fields))
    }
}

fn contains_subquery(expr: &Expr) -> bool {
    visit_expressions(expr, |part| match part {
        Expr::Subquery(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}
