//! A session: SQL about one lake.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use datafusion::{
    execution::session_state::SessionState,
    logical_expr::LogicalPlan,
    prelude::{SQLOptions, SessionContext},
    sql::parser::Statement,
};
use futures::FutureExt as _;
use runlake_engine::{Lake, Snapshot};

use crate::{
    Parameter, QueryError, Relation, Result,
    headings::Headings,
    parameter, plain,
    process::{self, Process},
    statement, tables,
};

/// Answers SQL about one lake. Cheap to make and to clone; threads, memory and caches belong to the process.
#[derive(Debug, Clone)]
pub struct Session {
    lake: Lake,
    /// What all queries see, where it is not the lake as it is.
    pinned: Option<Snapshot>,
    /// What `$name` stands for in its queries.
    parameters: Arc<[(String, Parameter)]>,
}

impl Session {
    /// A session about `lake`.
    pub fn new(lake: Lake) -> Self {
        Self { lake, pinned: None, parameters: Arc::default() }
    }

    /// A session about `lake` as `snapshot` sees it, however the lake goes on.
    pub fn at(lake: Lake, snapshot: Snapshot) -> Self {
        Self { lake, pinned: Some(snapshot), parameters: Arc::default() }
    }

    /// A session like this one, whose queries are given values beside their text: the first of each pair is the name, so
    /// that `("1", ..)` stands at `$1` and `("run", ..)` at `$run`. Each must have a place in every query.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use runlake_engine::Lake;
    /// use runlake_query::{Parameter, Session};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let lake = Lake::open_or_create(folder.path().join("runs.lake"))?;
    /// let name = Parameter::Text("it's".to_owned());
    /// let session = Session::new(lake).with_parameters([("run".to_owned(), name)]);
    /// let (_, batches) = session.sql("select count(*) from runs where name = $run")?.collect()?;
    /// # assert_eq!(batches[0].num_rows(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_parameters(
        mut self,
        parameters: impl IntoIterator<Item = (String, Parameter)>,
    ) -> Self {
        self.parameters = parameters.into_iter().collect();
        self
    }

    /// What a query sees that is asked now.
    pub fn snapshot(&self) -> runlake_engine::Result<Snapshot> {
        self.pinned.clone().map_or_else(|| self.lake.snapshot(), Ok)
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// Plans a query over the lake as it is now, or as the session's snapshot sees it. The result can be read any number of times; all its tables, and all
    /// its readers, share the one snapshot that is taken here.
    pub fn sql(&self, text: &str) -> Result<Relation> {
        let process = Process::current()?;
        let statement = self.parse(text, process)?;
        let snapshot = self.snapshot()?;
        process.wait(plan(process, statement, snapshot)).map_err(|error| error.with_quotes_of(text))
    }

    /// As [`Session::sql`], and asks `go_on` so `often` whether to go on, on the thread that waits; if not, this returns
    /// [`QueryError::Interrupted`].
    pub fn sql_while(
        &self,
        text: &str,
        often: Duration,
        go_on: impl FnMut() -> bool,
    ) -> Result<Relation> {
        process::wait_while(self.sql_async(text), often, go_on).ok_or(QueryError::Interrupted)?
    }

    /// The lake as a query sees it now, at the level of DataFusion: its tables and functions in a context of its own, beside
    /// which a program registers its tables, and DataFrames. Such a context does what DataFusion does: it runs on the
    /// caller's runtime, its text columns are `Utf8View`, and it takes statements that [`Session::sql`] refuses.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Runtime::new()?;
    /// # runtime.block_on(async {
    /// # use runlake_engine::Lake;
    /// use runlake_query::{Session, datafusion::prelude::*};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let lake = Lake::open_or_create(folder.path().join("runs.lake"))?;
    /// let context = Session::new(lake).context()?;
    /// let costs = dataframe!("run_id" => ["a", "b"], "euro" => [3.5, 4.0])?;
    /// context.register_table("costs", costs.into_view())?;
    /// let joined = context.sql("select name, euro from runs join costs using (run_id)").await?;
    /// assert_eq!(joined.count().await?, 0);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub fn context(&self) -> Result<SessionContext> {
        let mut state = Process::current()?.state().clone();
        tables::register(&mut state, &self.snapshot()?);
        Ok(SessionContext::new_with_state(state))
    }

    /// As [`Session::sql`], for callers that must not wait.
    pub async fn sql_async(&self, text: &str) -> Result<Relation> {
        let process = Process::current()?;
        let statement = self.parse(text, process)?;
        let session = self.clone();
        // Taking a snapshot reads files; planning may read runs and series.
        let task = process.runtime().spawn(async move {
            let snapshot = tokio::task::spawn_blocking(move || session.snapshot())
                .await
                .map_err(|error| QueryError::Internal { detail: error.to_string() })??;
            plan(process, statement, snapshot).await
        });
        task.await
            .map_err(|error| QueryError::Internal { detail: error.to_string() })?
            .map_err(|error| error.with_quotes_of(text))
    }

    fn parse(&self, text: &str, process: &Process) -> Result<(Statement, Headings)> {
        let (mut statement, headings) = statement::parse(text, process.state())?;
        parameter::bind(&mut statement, &self.parameters)?;
        Ok((statement, headings))
    }
}

async fn plan(
    process: &Process,
    (statement, headings): (Statement, Headings),
    snapshot: Snapshot,
) -> Result<Relation> {
    let mut state = process.state().clone();
    state.mark_start_execution();
    tables::register(&mut state, &snapshot);
    match AssertUnwindSafe(optimize(&state, statement)).catch_unwind().await {
        Ok(Ok(plan)) => Ok(Relation::new(state, plan, &headings, snapshot)),
        Err(panic) => Err(QueryError::from_panic(&*panic)),
        Ok(Err(error)) => Err(QueryError::from_datafusion(&error, &state)),
    }
}

async fn optimize(
    state: &SessionState,
    statement: Statement,
) -> datafusion::common::Result<LogicalPlan> {
    let plan = state.statement_to_plan(statement).await?;
    // `statement` refused these already; this keeps the promise should DataFusion learn a new spelling.
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)?;
    state.optimize(&plain::plan(plan)?)
}
