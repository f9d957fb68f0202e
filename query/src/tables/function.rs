//! How table functions are called. DataFusion's SQL refuses named arguments in FROM and drops their names in LATERAL, so
//! our functions are planned here.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use datafusion::{
    catalog::default_table_source::provider_as_source,
    common::Result,
    logical_expr::{
        LogicalPlan, LogicalPlanBuilder,
        planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning},
    },
    sql::sqlparser::ast::{
        Expr, FunctionArg, FunctionArgExpr, ObjectName, ObjectNamePart, TableFactor, UnaryOperator,
        Value,
    },
};
use runlake_engine::{Filter, RunInfo, Snapshot};

use super::{
    asof,
    chart::{self, Chart},
    compare::{self, Compare},
    history::History,
    late, rows,
    runs_wide::{self, RunsWide},
};
use crate::{QueryError, error::through_datafusion};

/// Plans calls of our table functions over one snapshot.
#[derive(Debug)]
pub(super) struct Functions {
    snapshot: Snapshot,
}

/// A table function of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Asof,
    Chart,
    Compare,
    History,
    RunsWide,
}

impl Function {
    /// The function that SQL calls `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Asof, Self::Chart, Self::Compare, Self::History, Self::RunsWide]
            .into_iter()
            .find(|function| function.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Asof => "asof",
            Self::Chart => "chart",
            Self::Compare => "compare",
            Self::History => "history",
            Self::RunsWide => "runs_wide",
        }
    }

    /// How it is called.
    pub(super) fn usage(self) -> &'static str {
        match self {
            Self::Asof => "asof('train/loss', 'val/loss', runs => 'a')",
            Self::Chart => "chart('train/loss', runs => ['a', 'b'], buckets => 1000)",
            Self::Compare => "compare(['a', 'b'], baseline => 'a', metrics => 'val/*')",
            Self::History => "history('run', metrics => 'train/*')",
            Self::RunsWide => "runs_wide('project', columns => 'summary.*')",
        }
    }
}

impl Functions {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot }
    }

    fn chart(
        &self,
        arguments: &[FunctionArg],
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Chart> {
        const PARAMETERS: [&str; 9] =
            ["metric", "runs", "where", "x", "from", "to", "buckets", "smooth", "group"];
        let function = Function::Chart;
        let [metrics, runs, predicate, rest @ ..] = bind(function, arguments, PARAMETERS, context)?;
        let metrics = metrics.ok_or_else(|| QueryError::Invalid {
            detail: format!("chart needs a metric: write {}", function.usage()),
        })?;
        let mut told: [Option<String>; 6] = Default::default();
        for ((told, value), name) in told.iter_mut().zip(rest).zip(&PARAMETERS[3..]) {
            *told = one(function, name, value)?;
        }
        let [x, from, to, buckets, smooth, group] = told;
        let told = chart::Told { x, from, to, buckets, smooth, group };
        let chosen = self.chosen(runs, one(function, "where", predicate)?, context)?;
        Chart::new(&self.snapshot, &metrics, chosen, &told)
    }

    fn asof(
        &self,
        arguments: &[FunctionArg],
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let function = Function::Asof;
        let [metric, other, runs, predicate] =
            bind(function, arguments, ["metric", "other", "runs", "where"], context)?;
        let chosen = self.chosen(runs, one(function, "where", predicate)?, context)?;
        let named = |name, value| -> Result<String> {
            let value = one(function, name, value)?.ok_or_else(|| QueryError::Invalid {
                detail: format!("asof needs two metrics: write {}", function.usage()),
            })?;
            let known = self.snapshot.metrics().map_err(through_datafusion)?;
            if !known.contains(&*value) {
                let known: Vec<&str> = known.iter().map(|metric| &**metric).collect();
                return Err(QueryError::unknown("metric", &value, known).into());
            }
            Ok(value)
        };
        let (metric, other) = (named("metric", metric)?, named("other", other)?);
        asof::plan(&self.snapshot, &metric, &other, chosen.as_deref())
    }

    fn compare(
        &self,
        arguments: &[FunctionArg],
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Compare> {
        const PARAMETERS: [&str; 6] = ["runs", "where", "baseline", "metrics", "min", "max"];
        let function = Function::Compare;
        let [runs, predicate, baseline, metrics, less, more] =
            bind(function, arguments, PARAMETERS, context)?;
        let chosen = self.chosen(runs, one(function, "where", predicate)?, context)?;
        let mut chosen = chosen.ok_or_else(|| QueryError::Invalid {
            detail: format!("compare needs runs: write {}", function.usage()),
        })?;
        if let Some(baseline) = one(function, "baseline", baseline)? {
            chosen.splice(..0, self.runs(&[baseline])?);
        }
        let mut seen = HashSet::new();
        chosen.retain(|run| seen.insert((Arc::clone(&run.project), Arc::clone(&run.run_id))));
        Compare::read(&self.snapshot, &chosen, &compare::Told { metrics, less, more })
    }

    /// The runs that `names` mean and for which `predicate` holds; none where nobody chose.
    fn chosen(
        &self,
        names: Option<Vec<String>>,
        predicate: Option<String>,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<Option<Vec<Arc<RunInfo>>>> {
        let chosen = names.map(|names| self.runs(&names)).transpose()?;
        let Some(predicate) = predicate else { return Ok(chosen) };
        let matching = runs_wide::matching(&self.snapshot, &predicate, context)?;
        Ok(Some(match chosen {
            None => matching,
            Some(mut chosen) => {
                chosen.retain(|run| matching.iter().any(|other| Arc::ptr_eq(run, other)));
                chosen
            }
        }))
    }

    /// The runs that `names` mean.
    fn runs(&self, names: &[String]) -> Result<Vec<Arc<RunInfo>>> {
        let wanted = Filter { runs: Some(names.to_vec()), ..Filter::default() };
        let known = self.snapshot.runs_of(&wanted).map_err(through_datafusion)?;
        // Most names are ids, and a chart may name hundreds: one look at all runs finds these.
        let mut ids: HashMap<&str, Option<&Arc<RunInfo>>> =
            names.iter().map(|name| (name.as_str(), None)).collect();
        let mut twice = Vec::new();
        for run in known.iter() {
            if let Some(found) = ids.get_mut(&*run.run_id)
                && found.replace(run).is_some()
            {
                twice.push(&*run.run_id);
            }
        }
        let find = |name: &String| match ids.get(name.as_str()) {
            Some(Some(run)) if !twice.contains(&name.as_str()) => Ok(Arc::clone(run)),
            _ => self.snapshot.find_run(name).map_err(through_datafusion),
        };
        names.iter().map(find).collect()
    }
}

impl RelationPlanner for Functions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match &relation {
            TableFactor::Function { name, args, lateral, .. } => {
                let is_named =
                    |argument: &FunctionArg| !matches!(argument, FunctionArg::Unnamed(_));
                if own(name, context).is_some() || args.iter().any(is_named) {
                    let what = if *lateral { "LATERAL in front of" } else { "this use of" };
                    return Err(QueryError::Unsupported {
                        what: format!(
                            "{what} a table function: its arguments have to be constants"
                        ),
                    }
                    .into());
                }
                return Ok(RelationPlanning::Original(Box::new(relation)));
            }
            TableFactor::Table { .. } => {}
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        }
        let TableFactor::Table { name, args: Some(arguments), alias, .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let arguments = &arguments.args;
        let (function, provider) = match own(name, context) {
            Some(Function::Asof) => {
                let planned = PlannedRelation::new(self.asof(arguments, context)?, alias.clone());
                return Ok(RelationPlanning::Planned(Box::new(planned)));
            }
            Some(function @ Function::Chart) => {
                (function, late::table(self.chart(arguments, context)?))
            }
            Some(function @ Function::Compare) => {
                (function, rows::table(self.compare(arguments, context)?))
            }
            Some(function @ Function::History) => {
                let [run, metrics] = bind(function, arguments, ["run", "metrics"], context)?;
                let run = one(function, "run", run)?.ok_or_else(|| QueryError::Invalid {
                    detail: format!("history needs a run: write {}", function.usage()),
                })?;
                let run = self.snapshot.find_run(&run).map_err(through_datafusion)?;
                let history = History::new(&self.snapshot, run, metrics.as_deref())?;
                (function, late::table(history))
            }
            Some(function @ Function::RunsWide) => {
                let [project, columns] =
                    bind(function, arguments, ["project", "columns"], context)?;
                let project = one(function, "project", project)?;
                let wide = RunsWide::read(&self.snapshot, project.as_deref(), columns.as_deref())?;
                (function, rows::table(wide))
            }
            None => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        let plan = LogicalPlanBuilder::scan(function.name(), provider_as_source(provider), None)?;
        let planned = PlannedRelation::new(plan.build()?, alias.clone());
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

/// The function of ours that `name` names.
fn own(name: &ObjectName, context: &dyn RelationPlannerContext) -> Option<Function> {
    let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return None };
    Function::named(&context.normalize_ident(ident.clone()))
}

/// The texts given for each of `parameters`, by place or by name.
fn bind<const N: usize>(
    function: Function,
    arguments: &[FunctionArg],
    parameters: [&str; N],
    context: &dyn RelationPlannerContext,
) -> Result<[Option<Vec<String>>; N], QueryError> {
    let mut bound = [const { None }; N];
    let wrong = |detail: String| QueryError::Invalid {
        detail: format!("{detail}: write {}", function.usage()),
    };
    for (at, argument) in arguments.iter().enumerate() {
        let (at, value) = match argument {
            FunctionArg::Unnamed(value) => (at, value),
            FunctionArg::Named { name, arg, .. } => {
                let name = context.normalize_ident(name.clone());
                (place(&name, &parameters)?, arg)
            }
            FunctionArg::ExprNamed { name, arg, .. } => match name {
                Expr::Identifier(name) => {
                    (place(&context.normalize_ident(name.clone()), &parameters)?, arg)
                }
                other => return Err(wrong(format!("{other} is no name of an argument"))),
            },
        };
        let slot = bound
            .get_mut(at)
            .ok_or_else(|| wrong(format!("{} has {N} arguments", function.name())))?;
        if slot.is_some() {
            return Err(wrong(format!("argument {} is given twice", parameters[at])));
        }
        let FunctionArgExpr::Expr(expression) = value else {
            return Err(wrong(format!("argument {} has to be text", parameters[at])));
        };
        *slot = texts(expression)
            .ok_or_else(|| {
                wrong(format!(
                    "argument {} has to be text in single quotes, or a list of such",
                    parameters[at]
                ))
            })
            .map(Some)?;
    }
    Ok(bound)
}

fn place(name: &str, parameters: &[&str]) -> Result<usize, QueryError> {
    parameters
        .iter()
        .position(|parameter| *parameter == name)
        .ok_or_else(|| QueryError::unknown("argument", name, parameters.iter().copied()))
}

/// The texts that `expression` says, where it is a text, a number or a list of such.
fn texts(expression: &Expr) -> Option<Vec<String>> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::NationalStringLiteral(text)
            | Value::UnicodeStringLiteral(text)
            | Value::Number(text, _) => Some(vec![text.clone()]),
            Value::DollarQuotedString(text) => Some(vec![text.value.clone()]),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            let [number] = <[String; 1]>::try_from(texts(expr)?).ok()?;
            Some(vec![format!("-{number}")])
        }
        Expr::Nested(inner) => texts(inner),
        Expr::Array(array) => {
            let parts: Option<Vec<_>> = array.elem.iter().map(texts).collect();
            Some(parts?.concat())
        }
        Expr::Tuple(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(texts).collect();
            Some(parts?.concat())
        }
        _ => None,
    }
}

fn one(
    function: Function,
    parameter: &str,
    values: Option<Vec<String>>,
) -> Result<Option<String>, QueryError> {
    match values.map(<[String; 1]>::try_from) {
        None => Ok(None),
        Some(Ok([value])) => Ok(Some(value)),
        Some(Err(values)) => Err(QueryError::Invalid {
            detail: format!(
                "argument {parameter} of {} takes one name, not {}: ask for each and join them with UNION ALL",
                function.name(),
                values.len()
            ),
        }),
    }
}
