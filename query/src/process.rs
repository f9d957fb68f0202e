//! What the queries of one process share: threads, memory, caches and the functions of SQL.

use std::{
    collections::HashSet,
    future::Future,
    num::NonZeroUsize,
    panic,
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use datafusion::{
    catalog::MemoryCatalogProviderList,
    execution::{
        TaskContext,
        disk_manager::DiskManager,
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
        session_state::{SessionState, SessionStateBuilder},
    },
    prelude::SessionConfig,
};
use runlake_engine::SegmentMeta;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{QueryError, Result, functions, memory, tables};

/// What the queries of one process share. It is made at the first query and again at the first query after a fork,
/// because a forked child has no threads and may hold copies of locked locks; the parent's is then left alone.
pub(crate) struct Process {
    /// The process that it was made in.
    id: u32,
    runtime: Runtime,
    /// Settings and functions, without tables: cheap to clone, so that a query costs no registration.
    state: SessionState,
    /// Segments whose ends were found sound. Held only to look up and to insert.
    sound: Mutex<HashSet<PathBuf>>,
    /// What the next generation of forks uses. A list and not a lock that is swapped: a lock could be held by a thread
    /// that the fork did not copy.
    next: OnceLock<Box<Self>>,
}

static FIRST: OnceLock<Box<Process>> = OnceLock::new();

impl Process {
    /// What this process has, made where it is not there yet.
    pub(crate) fn current() -> Result<&'static Self> {
        Self::of(std::process::id())
    }

    /// What the process `id` has. A fork of a fork never gets the id of an ancestor that is still there.
    fn of(id: u32) -> Result<&'static Self> {
        let mut slot = &FIRST;
        loop {
            if let Some(process) = slot.get() {
                if process.id == id {
                    return Ok(process);
                }
                slot = &process.next;
                continue;
            }
            if let Err(late) = slot.set(Box::new(Self::start(id)?)) {
                // Another thread was first. A runtime must not be waited for where its caller may be async.
                late.runtime.shutdown_background();
            }
        }
    }

    fn start(id: u32) -> Result<Self> {
        let internal = |detail: String| QueryError::Internal { detail };
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores)
            .thread_name("runlake-query")
            .enable_time()
            .build()
            .map_err(|error| internal(format!("cannot start the query threads: {error}")))?;
        let state = state(cores, memory::limit())
            .map_err(|error| internal(format!("cannot register the functions: {error}")))?;
        Ok(Self { id, runtime, state, sound: Mutex::default(), next: OnceLock::new() })
    }

    /// Settings and functions, without tables.
    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }

    /// The threads that queries run on.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Checks, once a process, the ends of files that are about to be read: pages check themselves, but what says where
    /// they are and what they mean does not.
    pub(crate) fn check<'a>(
        &self,
        segments: impl Iterator<Item = &'a Arc<SegmentMeta>>,
    ) -> runlake_engine::Result<()> {
        for segment in segments {
            let sound = || self.sound.lock().unwrap_or_else(PoisonError::into_inner);
            if sound().contains(&segment.path) {
                continue;
            }
            segment.check_footer().map_err(|error| match error {
                error if error.is_not_found() => {
                    runlake_engine::Error::SnapshotExpired { path: segment.path.clone() }
                }
                error => error,
            })?;
            sound().insert(segment.path.clone());
        }
        Ok(())
    }

    /// Waits for `future`, also where the caller is a thread of some async runtime, which must not be told to wait.
    pub(crate) fn wait<F>(&self, future: F) -> F::Output
    where
        F: Future + Send,
        F::Output: Send,
    {
        if Handle::try_current().is_err() {
            return self.runtime.block_on(future);
        }
        thread::scope(|scope| {
            thread::Builder::new()
                .name("runlake-query-wait".to_owned())
                .spawn_scoped(scope, || self.runtime.block_on(future))
                .expect("the system can start a thread")
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }
}

/// Waits for `future` on this thread and asks `go_on` so `often` whether to go on; if not, there is no output. What it
/// waits for must be done by others: the threads of the pool may all be busy, and timers of the pool are late then.
pub(crate) fn wait_while<F: Future>(
    future: F,
    often: Duration,
    mut go_on: impl FnMut() -> bool,
) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let mut asked = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let left = often.saturating_sub(asked.elapsed());
        if left.is_zero() {
            if !go_on() {
                return None;
            }
            asked = Instant::now();
        } else {
            thread::park_timeout(left);
        }
    }
}

/// Wakes the thread that waits in [`wait_while`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What one run of a query needs. Its temporary files lie in a folder of its own, which goes away with it: what belongs
/// to the process is never dropped, and would leave a folder behind.
pub(crate) fn task(state: &SessionState) -> Arc<TaskContext> {
    let shared = RuntimeEnv::clone(state.runtime_env());
    let disk = DiskManager::builder().build().expect("the folder is made when it is needed");
    let environment = RuntimeEnv { disk_manager: Arc::new(disk), ..shared };
    Arc::new(TaskContext::from(state).with_runtime(Arc::new(environment)))
}

/// Settings and functions for queries that together take `memory` bytes, without tables.
fn state(cores: usize, memory: usize) -> datafusion::common::Result<SessionState> {
    let pool = TrackConsumersPool::new(
        FairSpillPool::new(memory),
        NonZeroUsize::new(3).expect("three is not zero"),
    );
    let environment = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()?;
    let mut config = SessionConfig::new()
        .with_target_partitions(cores)
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(tables::CATALOG, tables::SCHEMA);
    // Comparing a hundred runs is an IN list of a hundred; with the default of 20 nothing inside a file is skipped.
    config.options_mut().execution.parquet.max_in_list_size = 1024;
    // Times are compared and shown in UTC, `now()` too.
    config.options_mut().execution.time_zone = Some("UTC".to_owned());
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(environment)
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
        .with_default_features()
        .build();
    functions::register(&mut state)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use datafusion::physical_plan::{ExecutionPlan, collect};

    use super::*;

    #[test]
    fn a_forked_child_gets_threads_of_its_own_and_its_parent_keeps_them() {
        let parent = Process::current().unwrap();
        // No process has these ids.
        let child = Process::of(u32::MAX).unwrap();
        let grandchild = Process::of(u32::MAX - 1).unwrap();
        assert!(!std::ptr::eq(parent, child) && !std::ptr::eq(child, grandchild));
        assert_eq!(child.wait(async { 7 }), 7);
        assert!(std::ptr::eq(parent, Process::current().unwrap()));
        assert!(std::ptr::eq(child, Process::of(u32::MAX).unwrap()));
    }

    #[test]
    fn what_does_not_fit_into_memory_spills_and_leaves_no_folder() {
        let process = Process::current().unwrap();
        let state = state(2, 24 << 20).unwrap();
        let sql = "select value, row_number() over (order by -value) from range(0, 3000000)";
        let plan = process
            .wait(async {
                state.create_physical_plan(&state.create_logical_plan(sql).await?).await
            })
            .unwrap();
        let task = task(&state);
        let run = || collect(Arc::clone(&plan), Arc::clone(&task));
        let batches = process.wait(run()).unwrap();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 3_000_000);
        assert!(spills(&plan) > 0, "{plan:?}");
        let folders = task.runtime_env().disk_manager.temp_dir_paths();
        assert!(folders.iter().all(|folder| folder.exists()) && !folders.is_empty());
        drop((batches, plan, task));
        assert!(folders.iter().all(|folder| !folder.exists()));
    }

    fn spills(plan: &Arc<dyn ExecutionPlan>) -> usize {
        let own = plan.metrics().and_then(|metrics| metrics.spill_count()).unwrap_or(0);
        own + plan.children().into_iter().map(spills).sum::<usize>()
    }
}
