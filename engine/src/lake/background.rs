//! The two threads behind a writer: one makes the log durable, the other moves it into segments.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Core, LakeOptions};
use crate::{
    Error, Result,
    catalog::{Table, TableKind},
    compaction::{self, Compacted, World},
    folded,
    log::{
        Mode,
        heartbeat::{self, Beat},
        writer::Writer,
    },
    os,
};

/// How often the sync thread looks after the writer: heartbeat, dropped rows, next file, a disk that was full. Each look
/// takes a processor from a training for 30 us.
const TEND_EVERY: Duration = Duration::from_millis(250);
/// How often it looks while files fill quickly. A row that comes before its file is prepared waits for the disk.
const TEND_SOON: Duration = Duration::from_millis(2);
/// How often the write thread writes, in pwrite mode: a row is on its way to disk within 10 ms. And how often it asks a
/// disk that takes nothing.
const WRITE_EVERY: Duration = Duration::from_millis(8);
const WRITE_AGAIN: Duration = Duration::from_millis(100);
/// How often the flush thread looks whether the log is due, and how often where it fills slowly.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOK_SELDOM: Duration = Duration::from_secs(1);
/// When the flush thread first looks for logs of dead writers, and how often then. Not at once: `init` costs nothing.
const ADOPT_FIRST: Duration = Duration::from_secs(2);
const ADOPT_EVERY: Duration = Duration::from_mins(1);
/// How often the flush thread looks whether segments want merging, and how long it leaves it after a merge came to
/// nothing.
const MERGE_EVERY: Duration = Duration::from_secs(10);
const MERGE_LATER: Duration = Duration::from_mins(1);
/// A merge is given up when so many times the bytes that make a flush due wait in the log.
const MERGE_BEFORE_FLUSHES: u64 = 4;
/// Dead writers are worth a commit when there are so many, or so many bytes of log.
const ADOPT_WRITERS: u64 = 64;
const ADOPT_BYTES: u64 = 1 << 20;

/// The threads of one writer process. Dropped, they end; a flush that is under way is waited for.
#[derive(Debug)]
pub(crate) struct Background {
    bell: Arc<Bell>,
    threads: Vec<JoinHandle<()>>,
    generation: u64,
}

/// What the threads are asked for, and what they have done.
#[derive(Debug, Default)]
struct Bell {
    state: Mutex<Asked>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Asked {
    stop: bool,
    /// Syncs asked for and syncs done: a call waits until its number is done, so that any number share one.
    syncs_wanted: u64,
    syncs_done: u64,
    /// The last sync that failed, and why.
    sync_failed: Option<(u64, String)>,
    /// How often a merge was told to give way.
    merges_hurried: u64,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a ring or for `most`; false once the threads are to end.
    fn wait(&self, most: Duration, ready: impl Fn(&Asked) -> bool) -> bool {
        let asked = self.lock();
        let waited =
            self.rung.wait_timeout_while(asked, most, |asked| !asked.stop && !ready(asked));
        !waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }
}

impl Background {
    /// Starts the threads for the writer of `core`.
    pub(crate) fn start(core: &Arc<Core>, writer: &Arc<Writer>) -> Result<Self> {
        let bell = Arc::new(Bell::default());
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
                .map_err(|error| Error::io("start a thread for", &writer.folder, error))
        };
        let mut threads = vec![
            spawn("runlake-sync", {
                let (bell, writer, every) =
                    (Arc::clone(&bell), Arc::clone(writer), core.options.sync_every_ms);
                Box::new(move || sync_loop(&bell, &writer, Duration::from_millis(every)))
            })?,
            spawn("runlake-flush", {
                let (bell, writer, core) =
                    (Arc::clone(&bell), Arc::clone(writer), Arc::downgrade(core));
                Box::new(move || flush_loop(&bell, &writer, &core))
            })?,
        ];
        if writer.mode() == Mode::Written {
            let (bell, writer) = (Arc::clone(&bell), Arc::clone(writer));
            threads.push(spawn("runlake-write", Box::new(move || write_loop(&bell, &writer)))?);
        }
        Ok(Self { bell, threads, generation: os::fork_generation() })
    }

    /// Makes a merge that is under way give up, without waiting for it.
    pub(crate) fn hurry_merge(&self) {
        self.bell.lock().merges_hurried += 1;
    }

    /// Waits until what was published before the call is durable. Calls that wait at once share one sync.
    pub(crate) fn sync(&self, writer: &Writer) -> Result<()> {
        let mut asked = self.bell.lock();
        asked.syncs_wanted += 1;
        let mine = asked.syncs_wanted;
        self.bell.rung.notify_all();
        let asked = self
            .bell
            .rung
            .wait_while(asked, |asked| asked.syncs_done < mine && !asked.stop)
            .unwrap_or_else(PoisonError::into_inner);
        match &asked.sync_failed {
            Some((number, detail)) if *number >= mine => Err(Error::io(
                "sync the log in",
                &writer.folder,
                std::io::Error::other(detail.clone()),
            )),
            _ => Ok(()),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A forked child has the handles but not the threads.
        if self.generation != os::fork_generation() {
            return;
        }
        self.bell.lock().stop = true;
        self.bell.rung.notify_all();
        for thread in self.threads.drain(..) {
            // The last reference to the lake may have been the flush thread's own.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "intervals between syncs are measured here and nowhere else"
)]
fn sync_loop(bell: &Bell, writer: &Arc<Writer>, every: Duration) {
    let mut last = Instant::now();
    // The first one came with the folder.
    let (mut beat, mut count) = (last, 0);
    // What the last sync failed with: said once, however often it fails.
    let mut failed = None;
    let mut tend_after = TEND_SOON;
    loop {
        let goes_on =
            bell.wait(tend_after.min(every), |asked| asked.syncs_wanted > asked.syncs_done);
        let asked = bell.lock().syncs_wanted;
        let now_us = os::now_us();
        // The first files are small, and a program that begins may begin at full speed.
        let filled = writer.tend(now_us);
        // Each wait is about half of what has passed since the last file, so that the next one is found half full in time.
        tend_after = if filled { TEND_SOON } else { (tend_after * 3 / 2).min(TEND_EVERY) };
        if beat.elapsed() >= heartbeat::EVERY {
            (beat, count) = (Instant::now(), count + 1);
            match (Beat { count, time_us: now_us }).show(&writer.home) {
                Ok(true) => {}
                Ok(false) => writer.retire(),
                Err(error) => {
                    tracing::warn!(%error, "other hosts do not see that this writer lives");
                }
            }
        }
        let due = bell.lock().syncs_done < asked;
        if due || last.elapsed() >= every || !goes_on {
            last = Instant::now();
            let result = writer.sync();
            let before =
                std::mem::replace(&mut failed, result.err().map(|error| error.to_string()));
            let mut state = bell.lock();
            if let Some(error) = &failed {
                if before.as_ref() != Some(error) {
                    tracing::warn!(%error, "the log is not durable");
                }
                state.sync_failed = Some((asked, error.clone()));
            }
            state.syncs_done = asked;
            drop(state);
            bell.rung.notify_all();
        }
        if !goes_on {
            return;
        }
    }
}

fn write_loop(bell: &Bell, writer: &Writer) {
    let mut pause = WRITE_EVERY;
    loop {
        let goes_on = bell.wait(pause, |_| false);
        let before = pause;
        pause = WRITE_EVERY;
        if let Err(error) = writer.write() {
            pause = WRITE_AGAIN;
            if before != pause {
                tracing::warn!(%error, folder = %writer.folder.display(), "the disk takes no rows; they wait in memory");
            }
        }
        if !goes_on {
            return;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "intervals between adoptions are measured here and nowhere else"
)]
fn flush_loop(bell: &Bell, writer: &Arc<Writer>, core: &Weak<Core>) {
    let started = Instant::now();
    let (mut look_for_orphans, mut pause) = (ADOPT_FIRST, LOOK_EVERY);
    let mut look_for_merge = MERGE_EVERY;
    let mut before = 0;
    while bell.wait(pause, |_| false) {
        let Some(core) = core.upgrade() else { return };
        let bytes = writer.tail_bytes();
        pause = look_after(pause, bytes.saturating_sub(before), bytes, &core.options);
        before = bytes;
        let now_us = os::now_us();
        let aged = |created: i64| {
            now_us.saturating_sub(created) / 1000 >= core.options.flush_after_ms.cast_signed()
        };
        let full = || writer.tail_bytes() >= core.options.flush_after_bytes;
        let due = full() || writer.is_stranded() || writer.oldest_us().is_some_and(aged);
        if due {
            // Where nobody but this thread has the lake any more, its last user is gone or waits to be.
            let goes_on = || !bell.lock().stop && Arc::strong_count(&core) > 1;
            match core.flush_writer(writer, &goes_on) {
                // What was logged meanwhile may be due already.
                Ok(_) if full() => pause = Duration::ZERO,
                Ok(_) => {}
                // The rows stay in the log; a disk that is full now may have room later.
                Err(error) => {
                    tracing::warn!(%error, "a flush failed and will be tried again");
                    pause = Duration::from_secs(1);
                }
            }
        }
        if let Err(error) = core.flush_left() {
            tracing::warn!(%error, "the rest of an earlier log could not be flushed and will be tried again");
            pause = Duration::from_secs(1);
        }
        if started.elapsed() >= look_for_orphans {
            look_for_orphans = started.elapsed() + ADOPT_EVERY;
            let adopted = core.orphans().and_then(|orphans| {
                if orphans.writers >= ADOPT_WRITERS || orphans.bytes >= ADOPT_BYTES {
                    core.adopt(&[], &mut |_, _| {})?;
                }
                Ok(())
            });
            if let Err(error) = adopted {
                tracing::warn!(%error, "logs of dead writers could not be taken in");
            }
        }
        if started.elapsed() >= look_for_merge {
            let merged = merge(bell, writer, core);
            look_for_merge = started.elapsed() + merged.unwrap_or(MERGE_EVERY);
        }
    }
}

/// How long it is until the log has to be looked at, which had grown by `grown` bytes to `bytes` when `waited` was over:
/// until half of the way to where it is due, at this speed.
fn look_after(waited: Duration, grown: u64, bytes: u64, options: &LakeOptions) -> Duration {
    let seldom = LOOK_SELDOM.min(Duration::from_millis(options.flush_after_ms / 8)).max(LOOK_EVERY);
    let left = options.flush_after_bytes.saturating_sub(bytes) / 2;
    let looks = u32::try_from(left.checked_div(grown).unwrap_or(u64::MAX)).unwrap_or(u32::MAX);
    waited.saturating_mul(looks).clamp(LOOK_EVERY, seldom)
}

/// Merges segments where that is due. Says when to look again, where that is not soon.
fn merge(bell: &Bell, writer: &Writer, core: Arc<Core>) -> Option<Duration> {
    let log_bytes = core.options.flush_after_bytes.saturating_mul(MERGE_BEFORE_FLUSHES);
    let hurried = bell.lock().merges_hurried;
    let mut goes_on = |_, _| {
        let asked = bell.lock();
        !asked.stop
            && asked.merges_hurried == hurried
            && writer.tail_bytes() < log_bytes
            && !writer.is_stranded()
    };
    let due = core.tables_to_merge();
    let (root, lookout) = (core.root.clone(), Arc::clone(&core.process().lookout));
    // A merge takes seconds. The lake is not held for that long, so that whoever drops it last can close it.
    drop(core);
    let due = due.inspect_err(|error| tracing::warn!(%error, "cannot tell what to merge"));
    let due = due.unwrap_or_default();
    for &kind in &due {
        match compaction::run_once(&root, &Table::new(&root, kind), &mut World::here(&mut goes_on))
        {
            Ok(done) if done.merged > 0 => {}
            Ok(_) => return Some(MERGE_LATER),
            Err(error) => {
                tracing::warn!(%error, "segments could not be merged");
                return Some(MERGE_LATER);
            }
        }
    }
    if !due.is_empty() {
        let [points, facts] = [TableKind::Points, TableKind::Facts].map(|it| Table::new(&root, it));
        let liveness = &|writer: &str| super::liveness(&root, &lookout, writer);
        let (mut done, world) = (Compacted::default(), &mut World::here(&mut goes_on));
        if let Err(error) = folded::fold(&root, &points, &facts, liveness, false, &mut done, world)
        {
            tracing::warn!(%error, "the tables for other programs stay as they were");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_looked_at_more_often_the_sooner_it_may_be_due() {
        let options = LakeOptions { flush_after_bytes: 1 << 20, ..LakeOptions::default() };
        let after = |grown, bytes| look_after(Duration::from_millis(300), grown, bytes, &options);
        assert_eq!(after(0, 1 << 19), LOOK_SELDOM, "nobody logs");
        assert_eq!(after(1 << 10, 1 << 10), LOOK_SELDOM, "it takes minutes");
        assert_eq!(after(1 << 18, 1 << 19), Duration::from_millis(300));
        assert_eq!(after(1 << 17, 1 << 19), Duration::from_millis(600));
        assert_eq!(after(1 << 30, 1 << 30), LOOK_EVERY, "it is due");
        let soon = LakeOptions { flush_after_ms: 100, ..options.clone() };
        assert_eq!(look_after(LOOK_EVERY, 0, 0, &soon), LOOK_EVERY, "rows grow old sooner");
    }
}
