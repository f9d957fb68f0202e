//! A relation: a planned query, ready to be read.

use std::{
    fmt,
    future::Future as _,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    datatypes::SchemaRef,
    error::ArrowError,
};
use datafusion::{
    execution::session_state::SessionState,
    logical_expr::LogicalPlan,
    physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream},
};
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _};
use runlake_engine::Snapshot;
use tokio::{
    sync::mpsc::{self, Receiver},
    task::JoinHandle,
};

use crate::{
    QueryError, Result, culprit,
    headings::Headings,
    plain,
    process::{self, Process},
    stop::Stop,
};

/// A planned query over one snapshot. Cheap to clone; each reading runs it again over the same snapshot.
#[derive(Clone)]
pub struct Relation {
    state: Arc<SessionState>,
    plan: Arc<LogicalPlan>,
    schema: SchemaRef,
    snapshot: Snapshot,
}

impl fmt::Debug for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relation").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Relation {
    pub(crate) fn new(
        state: SessionState,
        plan: LogicalPlan,
        headings: &Headings,
        snapshot: Snapshot,
    ) -> Self {
        let schema = headings.name(&plain::schema(plan.schema().as_arrow()));
        Self { state: Arc::new(state), plan: Arc::new(plan), schema, snapshot }
    }

    /// The columns. Text is Utf8, times are timestamps in microseconds (UTC), every column may hold nulls.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// What of the live tail could not be read when the query was planned, one line each; the rest is in the result.
    pub fn problems(&self) -> &[String] {
        self.snapshot.problems()
    }

    /// Runs the query and waits for all of it. Its memory is not limited: for a large result use
    /// [`Relation::reader`].
    pub fn collect(&self) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        self.collect_while(Duration::MAX, || true)
    }

    /// As [`Relation::collect`], and asks `go_on` at least so `often` whether to go on, on the thread that waits; if
    /// not, the query stops and this returns [`QueryError::Interrupted`].
    pub fn collect_while(
        &self,
        often: Duration,
        go_on: impl FnMut() -> bool,
    ) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        // The query runs on threads of the pool, however long it computes without a pause, and this one only waits.
        let batches = process::wait_while(self.stream()?.try_collect(), often, go_on);
        Ok((self.schema(), batches.ok_or(QueryError::Interrupted)??))
    }

    /// Starts the query and reads it batch by batch, waiting for each.
    pub fn reader(&self) -> Result<Reader> {
        Ok(Reader { batches: self.stream()? })
    }

    /// Starts the query on the threads of this crate and streams it into whatever runtime the caller has. The query
    /// runs two batches ahead of its reader; dropping the stream ends it.
    pub fn stream(&self) -> Result<Batches> {
        let (sender, receiver) = mpsc::channel(2);
        let stop = Stop::default();
        let (relation, stopped) = (self.clone(), stop.clone());
        let task = Process::current()?.runtime().spawn(async move {
            let mut run = match relation.run(&stopped).await {
                Ok(run) => run,
                Err(error) => {
                    // Nobody reads any more: there is nobody to tell.
                    sender.send(Err(error)).await.unwrap_or_default();
                    return;
                }
            };
            while let Some(batch) = run.next().await {
                let failed = batch.is_err();
                if sender.send(batch).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Batches { schema: self.schema(), receiver, task: Some(task), stop })
    }

    async fn run(&self, stop: &Stop) -> Result<Run> {
        let planner = self.state.query_planner();
        let plan = planner.create_physical_plan(&self.plan, self.state.as_ref()).await;
        let start = |plan: Arc<dyn ExecutionPlan>| {
            let plan = stop.watch(plan)?;
            let stream = execute_stream(Arc::clone(&plan), process::task(&self.state))?;
            Ok((plan, stream))
        };
        let (plan, stream) = plan
            .and_then(start)
            .map_err(|error| QueryError::from_datafusion(&error, &self.state))?;
        Ok(Run { relation: self.clone(), plan, stream })
    }
}

/// A query that runs.
struct Run {
    relation: Relation,
    plan: Arc<dyn ExecutionPlan>,
    stream: SendableRecordBatchStream,
}

impl Run {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        // What DataFusion does in tasks of its own it catches itself.
        let batch = match AssertUnwindSafe(self.stream.next()).catch_unwind().await {
            Ok(batch) => batch?,
            Err(panic) => return Some(Err(self.explain(QueryError::from_panic(&*panic)))),
        };
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                let error = QueryError::from_datafusion(&error, &self.relation.state);
                return Some(Err(self.explain(error)));
            }
        };
        Some(plain::batch(&batch, &self.relation.schema).map_err(|error| QueryError::Internal {
            detail: format!("cannot convert the result: {error}"),
        }))
    }

    /// Finds the file behind an error of reading or a panic.
    fn explain(&self, error: QueryError) -> QueryError {
        match error {
            QueryError::Unreadable { .. } | QueryError::Internal { .. } => {
                culprit::find(&self.plan, &self.relation.snapshot).map_or(error, QueryError::from)
            }
            other => other,
        }
    }
}

/// The batches of a query that runs, as a stream for any async runtime.
#[derive(Debug)]
#[must_use = "dropping it ends the query"]
pub struct Batches {
    schema: SchemaRef,
    receiver: Receiver<Result<RecordBatch>>,
    task: Option<JoinHandle<()>>,
    stop: Stop,
}

impl Batches {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Stream for Batches {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = ready!(self.receiver.poll_recv(context)) {
            return Poll::Ready(Some(batch));
        }
        // The end, unless the query panicked, which must not look like one.
        let Some(task) = self.task.as_mut() else { return Poll::Ready(None) };
        let end = ready!(Pin::new(task).poll(context));
        self.task = None;
        Poll::Ready(end.err().map(|error| Err(QueryError::Internal { detail: error.to_string() })))
    }
}

/// The batches of a query that runs, for callers that wait. As an Arrow reader its errors are
/// [`ArrowError::ExternalError`] around a [`QueryError`].
#[derive(Debug)]
#[must_use = "dropping it ends the query"]
pub struct Reader {
    batches: Batches,
}

impl Reader {
    /// As [`Reader::next_batch`], and asks `go_on` at least so `often` whether to go on, on the thread that waits; if not,
    /// this returns [`QueryError::Interrupted`].
    pub fn next_batch_while(
        &mut self,
        often: Duration,
        go_on: impl FnMut() -> bool,
    ) -> Option<Result<RecordBatch>> {
        process::wait_while(self.batches.next(), often, go_on)
            .unwrap_or(Some(Err(QueryError::Interrupted)))
    }

    /// Waits for the next batch.
    pub fn next_batch(&mut self) -> Option<Result<RecordBatch>> {
        match Process::current() {
            Ok(process) => process.wait(self.batches.next()),
            Err(error) => Some(Err(error)),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().map(|batch| batch.map_err(ArrowError::from))
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.batches.schema()
    }
}
