//! How far a run had come before this process: rows without a step go on from there.
//!
//! Headers of logs and side indexes of segments say it, and may stand on a slow disk. So the first row without a step asks
//! another thread to look, and nobody who logs waits for that longer than `max_block_ms`. Rows that come before it is known
//! wait in memory, and get their steps then, in their order, before any that comes later.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::Run;
use crate::{Result, log::frame::Frame, log::writer::NotKept, names::MetricId};

/// What one process knows of it.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// The same as `Look::Done`, read without the lock.
    is_known: AtomicBool,
    look: Mutex<Look>,
    done: Condvar,
}

#[derive(Debug, Default)]
enum Look {
    #[default]
    Unasked,
    UnderWay {
        waiting: Vec<Row>,
        bytes: u64,
        /// Somebody has waited for it in vain: nobody waits again.
        is_late: bool,
    },
    Done,
}

/// A row that has no step yet.
#[derive(Debug)]
pub(super) enum Row {
    One { labels: u32, time: i64, points: Vec<(MetricId, f64)> },
    Many { labels: u32, metric: u32, time: i64, times: Option<Vec<i64>>, values: Vec<f64> },
}

impl Row {
    fn bytes(&self) -> u64 {
        let values = match self {
            Self::One { points, .. } => size_of_val(points.as_slice()),
            Self::Many { times, values, .. } => {
                size_of_val(values.as_slice()) + times.as_deref().map_or(0, size_of_val)
            }
        };
        (size_of::<Self>() + values) as u64
    }

    /// Rows, as they are counted.
    fn rows(&self) -> u64 {
        match self {
            Self::One { .. } => 1,
            Self::Many { values, .. } => values.len() as u64,
        }
    }
}

impl Past {
    fn look(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while a look is under way, at most so long and, where that is bounded, for one row only.
    fn wait(&self, most: Option<Duration>) {
        let look = self.look();
        let Some(most) = most else {
            let goes_on = |look: &mut Look| matches!(look, Look::UnderWay { .. });
            drop(self.done.wait_while(look, goes_on).unwrap_or_else(PoisonError::into_inner));
            return;
        };
        let goes_on = |look: &mut Look| matches!(look, Look::UnderWay { is_late: false, .. });
        let waited = self.done.wait_timeout_while(look, most, goes_on);
        if let Look::UnderWay { is_late, .. } =
            &mut *waited.unwrap_or_else(PoisonError::into_inner).0
        {
            *is_late = true;
        }
    }
}

impl Run {
    /// Whether it is known how far the run had come; asks where nobody has, and waits for that as long as a row may. In a
    /// strict lake that is as long as it takes.
    #[inline]
    pub(super) fn knows_past(&self) -> bool {
        if !self.inner.continues {
            return true;
        }
        let past = self.inner.past.get(Past::default);
        // ORDERING: Acquire pairs with the Release in `go_on_from`: who sees the flag sees the step.
        past.is_known.load(Ordering::Acquire) || self.ask_past(past)
    }

    #[cold]
    fn ask_past(&self, past: &Past) -> bool {
        let options = &self.inner.lake.core().options;
        let mut look = past.look();
        if matches!(*look, Look::Unasked) {
            *look = Look::UnderWay { waiting: Vec::new(), bytes: 0, is_late: false };
            drop(look);
            let run = self.clone();
            let begun = thread::Builder::new()
                .name("runlake-past".to_owned())
                .spawn(move || LookBack { run, last: None }.look());
            if let Err(error) = begun {
                tracing::warn!(%error, run = self.id(), "no thread can be had; logging waits for the disk");
                LookBack { run: self.clone(), last: None }.look();
            }
        } else {
            drop(look);
        }
        past.wait((!options.strict).then(|| Duration::from_millis(options.max_block_ms)));
        past.is_known.load(Ordering::Acquire)
    }

    /// Keeps a row that came before that was known.
    pub(super) fn put_aside(&self, row: Row) -> Result<()> {
        let most = self.inner.lake.core().options.spill_bytes;
        let past = self.inner.past.get(Past::default);
        let mut look = past.look();
        match &mut *look {
            Look::UnderWay { bytes, .. } if *bytes + row.bytes() > most => {
                drop(look);
                self.drop_rows(row.rows(), NotKept::Full(std::io::ErrorKind::TimedOut.into()))
            }
            Look::UnderWay { waiting, bytes, .. } => {
                *bytes += row.bytes();
                waiting.push(row);
                Ok(())
            }
            Look::Unasked | Look::Done => {
                drop(look);
                self.log_from_here(&row)
            }
        }
    }

    /// Logs a row with the steps that come next.
    fn log_from_here(&self, row: &Row) -> Result<()> {
        match row {
            Row::One { labels, time, points } => {
                let (run, labels, step) = (self.inner.number, *labels, self.next_steps(1));
                self.keep(
                    &Frame::Row { run, labels, step, time: *time, points },
                    1,
                    points.len() as u64,
                )
            }
            Row::Many { labels, metric, time, times, values } => {
                let first = self.next_steps(values.len() as i64);
                self.keep_many(*labels, *metric, first, *time, None, times.as_deref(), values)
            }
        }
    }

    /// Goes on behind the `last` step that there was before, with those rows first that wait for it.
    fn go_on_from(&self, last: Option<i64>) {
        let past = self.inner.past.get(Past::default);
        let after = last.map_or(0, |step| step.saturating_add(1));
        // ORDERING: Relaxed, as in `next_steps`; who reads the flag below sees it.
        self.inner.next_step.fetch_max(after, Ordering::Relaxed);
        // Under the lock, so that rows that come now come behind them.
        let mut look = past.look();
        if let Look::UnderWay { waiting, .. } = std::mem::replace(&mut *look, Look::Done) {
            for row in waiting {
                if let Err(error) = self.log_from_here(&row) {
                    tracing::warn!(%error, run = self.id(), "a row that waited for its step is lost");
                }
            }
        }
        // ORDERING: Release pairs with the Acquire in `knows_past`.
        past.is_known.store(true, Ordering::Release);
        drop(look);
        past.done.notify_all();
    }

    /// Waits until no row waits for its step.
    pub(crate) fn settle(&self) {
        if let Some(past) = self.inner.past.made() {
            past.wait(None);
        }
    }
}

/// A look that is under way. However it ends, whoever waits for it goes on.
struct LookBack {
    run: Run,
    last: Option<i64>,
}

impl LookBack {
    fn look(mut self) {
        let (lake, project, id) = (&self.run.inner.lake, self.run.project(), self.run.id());
        // A fork that has logged nothing yet has come as far as it shows of its parent.
        let forked_at = || lake.snapshot().and_then(|it| it.run_of(project, id)).ok()??.fork_step;
        self.last = lake.core().last_step(project, id).or_else(forked_at);
    }
}

impl Drop for LookBack {
    fn drop(&mut self) {
        self.run.go_on_from(self.last);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::{Filter, Lake, LakeOptions, State, disk::model::Disk};

    const BEFORE: i64 = 10;

    /// A lake with a run of so many steps, and its folder.
    fn lake() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.lake");
        let run = Lake::open_or_create(&path).unwrap().run("p").id("r").start().unwrap();
        for _ in 0..BEFORE {
            run.log_named(None, &[("m", 0.5)]).unwrap();
        }
        run.finish(State::Finished).unwrap();
        (folder, path)
    }

    /// A gate that is closed until it is opened.
    #[derive(Default)]
    struct Gate(Mutex<bool>, Condvar);

    impl Gate {
        fn pass(&self) {
            drop(self.1.wait_while(self.0.lock().unwrap(), |is_open| !*is_open).unwrap());
        }

        fn open(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_all();
        }
    }

    /// Lets a run of a lake go on, logs rows without a step while the disk stands still, and says what came of them.
    fn log_while_the_disk_stands_still(spill_bytes: u64, rows: i64) -> (Vec<i64>, u64) {
        let (folder, path) = lake();
        let options = LakeOptions { spill_bytes, max_block_ms: 1, ..LakeOptions::default() };
        let lake = options.open(&path).unwrap();
        let run = lake.run("p").id("r").start().unwrap();
        let metric = run.metric("m").unwrap();
        let disk = Disk::watch_to_fail(folder.path());
        let gate = Arc::new(Gate::default());
        disk.call_between({
            let gate = Arc::clone(&gate);
            move || gate.pass()
        });
        let (done, logged) = mpsc::sync_channel(1);
        let logs = {
            let run = run.clone();
            move || {
                for _ in 0..rows {
                    run.log(None, &[(metric, 0.5)]).unwrap();
                }
                run.log(-1, &[(metric, 0.5)]).unwrap();
                run.log_many(metric, None, None, &[0.5, 0.5]).unwrap();
                done.send(()).unwrap();
            }
        };
        let logger = thread::Builder::new().name("logger".to_owned()).spawn(logs).unwrap();
        let in_time = logged.recv_timeout(Duration::from_mins(1));
        gate.open();
        in_time.expect("a row waits for a disk that stands still");
        logger.join().unwrap();
        let stats = run.finish(State::Finished).unwrap();
        assert_eq!((stats.rows + stats.dropped_rows).cast_signed(), rows + 3);
        let snapshot = lake.snapshot().unwrap();
        assert_eq!(snapshot.find_run("r").unwrap().dropped_rows, stats.dropped_rows);
        let mut steps: Vec<i64> = Vec::new();
        for points in snapshot.tail() {
            steps.extend(&points.steps);
        }
        for segment in snapshot.segments() {
            steps.extend(crate::segment::read_points(segment, &Filter::default()).unwrap().steps);
        }
        steps.sort_unstable();
        (steps, stats.dropped_rows)
    }

    #[test]
    fn rows_without_a_step_wait_in_memory_until_it_is_known_how_far_their_run_had_come() {
        let (steps, dropped) = log_while_the_disk_stands_still(1 << 20, 3);
        assert_eq!(dropped, 0);
        assert_eq!(steps, (-1..BEFORE + 5).collect::<Vec<_>>());
    }

    #[test]
    fn rows_that_have_no_room_while_they_wait_for_their_steps_are_counted() {
        let (steps, dropped) = log_while_the_disk_stands_still(300, 9);
        assert!(dropped > 0 && dropped < 11, "{dropped} are dropped");
        let kept = BEFORE + 11 - dropped.cast_signed();
        assert_eq!(steps, (-1..kept).collect::<Vec<_>>());
    }
}
