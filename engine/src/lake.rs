//! The lake: one directory that keeps the runs of any number of projects.

mod background;
pub(crate) mod features;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use rustc_hash::FxHashMap;

use crate::{
    Error, Fact, Filter, Result, Run, RunBuilder, RunInfo, RunStats, SegmentMeta, SeriesKey,
    Snapshot, State,
    catalog::{Table, TableKind},
    compaction::{self, Compacted, Expired, World},
    deletion::{self, RunKeys},
    disk,
    flush::{self, AtOnce, Flushed, Orphans, Tables},
    folded,
    log::{
        self, LastStep, LogMode, Mode,
        frame::Frame,
        owner::{self, Liveness, Lookout},
        reader::LogReader,
        run_key,
        writer::{self, NotKept, Settings, Writer},
    },
    merge::{self, Merged},
    names::{Names, RunName},
    os::{self, Host, Now},
    process::PerProcess,
    run::WeakRun,
    segment,
    snapshot::FoldedOnce,
    tail::{TailCache, TailView},
};
use background::Background;
use features::Features;

/// How to open a lake, and how its writer behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LakeOptions {
    /// Create the lake where there is none. Off for readers.
    pub create: bool,
    /// Share a lake that is created with the group of its folder: its other members log, flush and compact there too,
    /// whatever the umask of whoever makes a file. Default off.
    pub shared_group: bool,
    /// Milliseconds between two group syncs in the background; the most that a power cut can take. Default 1,000.
    pub sync_every_ms: u64,
    /// Flush the log to a segment when it holds this many bytes. Default 16 MiB.
    pub flush_after_bytes: u64,
    /// Flush the log to a segment when its oldest row is this old. Default 10 minutes.
    pub flush_after_ms: u64,
    /// How much memory may hold rows that the disk does not take, or has not taken yet. Default 64 MiB.
    pub spill_bytes: u64,
    /// How the log is brought to disk. By default as the filesystem allows.
    pub log_mode: LogMode,
    /// The most milliseconds that logging waits for the disk where rows come faster than it takes them. Rows then wait
    /// in memory, and where that is full they are dropped. Through a mapping, a store may wait longer for a disk that
    /// stands still. Default 100.
    pub max_block_ms: u64,
    /// Return an error for a row that could not be kept, instead of counting it. Default off.
    pub strict: bool,
    /// Keep log files in a folder on a disk of this host, or in its memory, while the lake is elsewhere: rows are safe
    /// there from a kill, and other hosts see them once they are flushed. Default: in the lake.
    pub log_dir: Option<PathBuf>,
    /// The name of this host and of its boot, where not those of the system are meant: what one host thinks of another
    /// can be tried on one.
    #[doc(hidden)]
    pub host: Option<(String, String)>,
}

impl Default for LakeOptions {
    fn default() -> Self {
        Self {
            create: false,
            shared_group: false,
            sync_every_ms: 1000,
            flush_after_bytes: 16 << 20,
            flush_after_ms: 600_000,
            spill_bytes: 64 << 20,
            log_mode: LogMode::Auto,
            max_block_ms: 100,
            strict: false,
            log_dir: None,
            host: None,
        }
    }
}

impl LakeOptions {
    /// Opens the lake at `path`.
    ///
    /// # Errors
    /// [`Error::NoLake`] where there is none and `create` is off, [`Error::Unsupported`] for a lake of a later format.
    pub fn open(mut self, path: impl AsRef<Path>) -> Result<Lake> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| Error::io("resolve", path, error))
        };
        let root = absolute(path.as_ref())?;
        self.log_dir = self.log_dir.as_deref().map(absolute).transpose()?;
        let features = match features::read(&root)? {
            Some(features) => features,
            None if self.create => features::create(&root, self.shared_group, os::now_us())?,
            None => return Err(Error::NoLake { path: root, looked: Vec::new() }),
        };
        let host = match &self.host {
            Some((name, boot_id)) => Host::called(name.clone(), boot_id.clone()),
            None => Host::this(),
        };
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Ok(Lake(Arc::new(Core {
            root,
            features,
            options: self,
            host,
            names: Names::default(),
            // ORDERING: Relaxed, a counter.
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            processes: PerProcess::default(),
            runs: boxcar::Vec::new(),
        })))
    }
}

/// One store directory. Cheap to clone; all clones share one writer and one cache. `Send + Sync`.
///
/// ```
/// # fn main() -> Result<(), runlake_engine::Error> {
/// use runlake_engine::{Filter, Lake, State};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("runs.lake");
/// let lake = Lake::open_or_create(&path)?;
/// let run = lake.run("digits").name("first try").start()?;
/// let loss = run.metric("train/loss")?;
/// for step in 0..100 {
///     run.log(step, &[(loss, 1.0 / (1.0 + step as f64))])?;
/// }
/// run.finish(State::Finished)?;
///
/// let series = Lake::open(&path)?.snapshot()?.series(&Filter::default())?;
/// assert_eq!((series[0].count, series[0].last_value), (100, 0.01));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Lake(Arc<Core>);

/// Counters of one opened lake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LakeMetrics {
    /// Rows that this process logged.
    pub logged_rows: u64,
    /// Points that this process logged.
    pub logged_points: u64,
    /// Rows that could not be kept.
    pub dropped_rows: u64,
    /// Bytes of this process's log that no segment holds yet; an upper bound.
    pub tail_bytes: u64,
}

/// What `runlake doctor` says of a lake.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// The filesystem that the lake is on.
    pub filesystem: String,
    /// Bytes that can still be written there.
    pub free_bytes: u64,
    /// Whether a file can have two names, which commits rest on.
    pub hard_links: bool,
    /// True where logs are written through shared mappings, false where a thread writes them from memory.
    pub logs_are_mapped: bool,
    /// Why so.
    pub log_mode_why: String,
    /// Whether locks keep others out.
    pub locks: bool,
    /// The number of the group that shares the lake, where one does.
    pub group: Option<u32>,
    /// Writers that live, each as "host, process id", and where its log is if not in the lake.
    pub alive: Vec<String>,
    /// Writers on other hosts that do not show that they live.
    pub silent: Vec<SilentWriter>,
    /// Writers that are dead while their logs wait to be taken in.
    pub dead: u64,
    /// The bytes of those logs.
    pub dead_bytes: u64,
    /// Files that failed a check and were put aside.
    pub quarantined: Vec<String>,
}

/// A writer on another host that does not show that it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SilentWriter {
    /// The name of its host.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// When it last showed that it lives, by its own clock: microseconds since 1970 (UTC).
    pub last_seen_us: i64,
}

/// What would expire: see [`Lake::expiry`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Expiry {
    /// The runs, newest first.
    pub runs: Vec<Arc<RunInfo>>,
    /// Their points.
    pub points: u64,
    /// About what these take on disk.
    pub bytes: f64,
}

impl Lake {
    /// Opens an existing lake; never writes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        LakeOptions::default().open(path)
    }

    /// Opens the lake at `path`, creating it where there is none.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        LakeOptions { create: true, ..LakeOptions::default() }.open(path)
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.0.root
    }

    /// The lake's own id, which stays when its folder is moved.
    pub fn uuid(&self) -> &str {
        &self.0.features.uuid
    }

    /// Starts to describe a run of `project`.
    pub fn run(&self, project: &str) -> RunBuilder {
        RunBuilder::new(self.clone(), project)
    }

    /// A consistent view of everything that was published before the call, by any process. Never writes.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.0.write_logs();
        let process = self.0.process();
        let mut tails = lock(&process.tails);
        let view = tails.view(
            &self.0.root,
            &self.0.host,
            &process.tables.points,
            &process.tables.facts,
        )?;
        drop(tails);
        Ok(Snapshot::new(Arc::clone(&self.0), view))
    }

    /// The lake as it stood after commit `version` of table `points` ([`Snapshot::version`]): its segments, and the facts that
    /// were committed by then, without what was in logs. Never writes. Merged files stay for an hour, so an older version may
    /// fail with [`Error::SnapshotExpired`] when it is read.
    ///
    /// # Errors
    /// [`Error::Unknown`] where there is no such version; the message names the oldest and the newest.
    pub fn snapshot_at(&self, version: u64) -> Result<Snapshot> {
        let Tables { points, facts, .. } = &self.0.process().tables;
        Ok(Snapshot::new(Arc::clone(&self.0), TailView::at(version, points, facts)?))
    }

    /// Flushes what this process logged so far and waits for the commit.
    pub fn flush(&self) -> Result<Flushed> {
        self.0.settle();
        match self.0.process().writer.load_full() {
            Some(writer) => self.0.flush_writer(&writer, &|| true),
            None => Ok(Flushed::default()),
        }
    }

    /// Makes durable what this process logged so far.
    pub fn sync(&self) -> Result<()> {
        self.0.settle();
        let process = self.0.process();
        let Some(writer) = process.writer.load_full() else { return Ok(()) };
        let background = lock(&process.background).clone();
        match background {
            Some(background) => background.sync(&writer),
            None => writer.sync(),
        }
    }

    /// Takes in the logs of dead writers: flushes them, many in one commit, and removes their folders. `watch` is told
    /// now and then how many writers were looked at, of how many.
    ///
    /// A writer on this host is dead when its lock is free. One on another host may live although nothing is heard of it:
    /// see [`Lake::adopt_hosts`].
    pub fn adopt(&self, watch: &mut dyn FnMut(u64, u64)) -> Result<Flushed> {
        self.0.adopt(&[], watch)
    }

    /// As [`Lake::adopt`], and takes in also the logs of writers on these hosts, which the caller knows to be gone for good:
    /// rows that a writer there logs after this may be lost. A writer that still shows that it lives is left alone.
    pub fn adopt_hosts(&self, gone: &[String], watch: &mut dyn FnMut(u64, u64)) -> Result<Flushed> {
        self.0.adopt(gone, watch)
    }

    /// Merges `source` into this lake: its runs, points and facts, as far as they are committed there. Can be repeated at any time, also
    /// on a source that goes on: what is new comes, what the source has merged or deleted meanwhile is replaced. Killed, it has
    /// changed nothing or is complete; the next one goes on. Until a merge `is_last`, the target does not merge the segments of the
    /// source with others.
    ///
    /// Logs of dead writers of the source are taken in there first, if it can be written. `goes_on` is told how many bytes were copied,
    /// of about how many, and says whether to go on.
    ///
    /// # Errors
    /// [`Error::Invalid`] where both are one lake, [`Error::Corrupt`] where a file of the source is damaged.
    pub fn merge(
        &self,
        source: &Self,
        is_last: bool,
        goes_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Merged> {
        let mut done = Vec::new();
        self.merge_all(std::slice::from_ref(source), is_last, &mut done, goes_on)?;
        Ok(done.pop().unwrap_or_default())
    }

    /// As [`Lake::merge`] each of `sources`, at less cost where they are many: small ones share their commits. `done` gets what was done
    /// of each, in their order, up to the one at which it was given up, if it was.
    ///
    /// # Errors
    /// As those of [`Lake::merge`]: that of the first source which `done` does not tell of. Those before it are merged.
    pub fn merge_all(
        &self,
        sources: &[Self],
        is_last: bool,
        done: &mut Vec<Merged>,
        goes_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<()> {
        self.0.check_writable()?;
        if sources.iter().any(|source| source.uuid() == self.uuid()) {
            let detail = "it is the lake itself, or a copy of its folder".to_owned();
            return Err(Error::Invalid { what: "lake to merge", detail });
        }
        for source in sources {
            if let Err(error) = source.adopt(&mut |_, _| {}) {
                tracing::warn!(%error, "what stands in logs of the source stays there");
            }
        }
        let from: Vec<_> =
            sources.iter().map(|source| (source.0.process(), source.uuid())).collect();
        let from: Vec<_> = from
            .iter()
            .map(|(process, uuid)| {
                let Tables { points, facts, .. } = &process.tables;
                merge::Source { points, facts, uuid }
            })
            .collect();
        let Tables { points, facts, .. } = &self.0.process().tables;
        merge::merge(&from, points, facts, is_last, os::now_us(), done, goes_on)
    }

    /// Writes a copy of the lake as it is now to `path`, which must not exist: a lake of its own, with what stands in logs as segments.
    /// The lake may be written meanwhile; the copy is one snapshot of it. `goes_on` as in [`Lake::merge`].
    ///
    /// # Errors
    /// [`Error::Io`] where the folder exists or cannot be written.
    pub fn backup(
        &self,
        path: impl AsRef<Path>,
        goes_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Merged> {
        let path = path.as_ref();
        let path = std::path::absolute(path).map_err(|error| Error::io("resolve", path, error))?;
        if disk::exists(&path)? {
            let taken = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(Error::io("create", path, taken));
        }
        // Under another name until it is whole.
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let draft = path.with_file_name(format!("{}.part", name.unwrap_or_default()));
        let snapshot = self.snapshot()?;
        let copy = Self::open_or_create(&draft)?;
        let Tables { points, facts, .. } = &copy.0.process().tables;
        let merged = merge::copy(snapshot.tables(), points, facts, os::now_us(), goes_on)?;
        if !merged.is_given_up {
            let tail_facts = snapshot.tail_facts().cloned().collect();
            merge::write_tail(points, facts, snapshot.tail(), tail_facts, os::now_us())?;
            drop(copy);
            disk::rename(&draft, &path).map_err(|error| Error::io("rename to", &path, error))?;
        }
        Ok(merged)
    }

    /// Merges segments until few are left, and removes files that nobody needs any more: those that merges replaced an
    /// hour ago, or just now with `gc_now`, and what killed processes left behind a day ago. No point changes. Safe at any
    /// time; a snapshot that outlives the hour, or is there with `gc_now`, fails with [`Error::SnapshotExpired`] where it
    /// needs a file that is gone.
    ///
    /// `watch` is told now and then how many rows were merged, of about how many, and says whether to go on; a merge that
    /// is given up leaves the table as it was.
    pub fn compact(
        &self,
        gc_now: bool,
        watch: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Compacted> {
        let core = &self.0;
        core.check_writable()?;
        let doomed = self.doomed()?;
        let Tables { points, facts, .. } = &core.process().tables;
        let world = &mut World::here(watch);
        let mut done = compaction::run(&core.root, points, facts, &doomed, gc_now, world)?;
        if !done.is_busy {
            let liveness = &|writer: &str| core.liveness(writer);
            folded::fold(&core.root, points, facts, liveness, gc_now, &mut done, world)?;
        }
        Ok(done)
    }

    /// What would go if the points of runs expired that ended before `before_us`, microseconds since 1970 (UTC): of all of them, or
    /// of those of one project. Never writes. Runs that may still be logged to, that are deleted, of which something stands in a
    /// log, or that another run was forked from are left out, and those that have no points any more.
    pub fn expiry(&self, before_us: i64, project: Option<&str>) -> Result<Expiry> {
        let snapshot = self.snapshot()?;
        let mut expiry = Expiry::default();
        let runs = ended_before(&snapshot, before_us, project)?;
        let keys: RunKeys = runs.keys().cloned().collect();
        let mut there = RunKeys::default();
        compaction::weigh(snapshot.segments(), &keys, |key, points, bytes| {
            expiry.points += points;
            expiry.bytes += bytes;
            there.insert((Arc::clone(&key.project), Arc::clone(&key.run_id)));
        })?;
        expiry.runs =
            runs.into_iter().filter(|(key, _)| there.contains(key)).map(|it| it.1).collect();
        expiry.runs.sort_by(|a, b| (b.created_at, &a.run_id).cmp(&(a.created_at, &b.run_id)));
        Ok(expiry)
    }

    /// Lets the points of the runs of `expiry` go, and keeps what they add up to: their series with counts, extremes and last
    /// values, and their rollups. There is no way back. A run to which somebody has logged meanwhile is left out. Safe at any time;
    /// killed, it has done a part of it, and the next one goes on. The files are removed as those that compaction replaces.
    ///
    /// `watch` is told now and then how many points were looked at, of how many, and says whether to go on.
    pub fn expire(
        &self,
        expiry: &Expiry,
        watch: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Expired> {
        let core = &self.0;
        core.check_writable()?;
        let snapshot = self.snapshot()?;
        let ended = ended_before(&snapshot, i64::MAX, None)?;
        let runs: RunKeys = expiry
            .runs
            .iter()
            .map(|run| (Arc::clone(&run.project), Arc::clone(&run.run_id)))
            .filter(|key| ended.contains_key(key))
            .collect();
        if runs.is_empty() {
            return Ok(Expired::default());
        }
        let (projects, ids) = runs.iter().map(|(p, r)| (p.to_string(), r.to_string())).unzip();
        let about = Filter { projects: Some(projects), runs: Some(ids), metrics: None };
        let hidden = snapshot.hidden(&about)?;
        let Tables { points, .. } = &core.process().tables;
        let hidden_from = |key: &SeriesKey| hidden.first_hidden_step(key);
        compaction::expire(&core.root, points, &runs, &hidden_from, &mut World::here(watch))
    }

    /// The files of tables `runs`, `config` and `series`, each with the name of its table: what the last compaction wrote for
    /// other programs.
    pub fn folded_segments(&self) -> Result<Vec<(&'static str, Arc<SegmentMeta>)>> {
        folded::segments(&self.0.root)
    }

    /// The runs that were deleted so long ago, or so thoroughly, that they are left out from now on. Not those of which
    /// anything stands in a log: that would come back.
    fn doomed(&self) -> Result<RunKeys> {
        // Another process may remove the facts that it has merged while they are read here: then there are newer ones.
        for _ in 0..16 {
            match doomed_in(&self.snapshot()?) {
                Err(Error::SnapshotExpired { .. }) => {}
                found => return found,
            }
        }
        doomed_in(&self.snapshot()?)
    }

    /// Counters of this process.
    pub fn metrics(&self) -> LakeMetrics {
        let mut metrics = LakeMetrics::default();
        for (_, run) in &self.0.runs {
            if let Some(RunStats { rows, points, dropped_rows }) =
                run.upgrade().map(|run| run.stats())
            {
                metrics.logged_rows += rows;
                metrics.logged_points += points;
                metrics.dropped_rows += dropped_rows;
            }
        }
        metrics.tail_bytes =
            self.0.process().writer.load_full().map_or(0, |writer| writer.tail_bytes());
        metrics
    }

    /// Looks the lake over: filesystem, locks, writers, what was put aside. Never writes.
    pub fn health(&self) -> Result<Health> {
        let core = &self.0;
        let free_bytes =
            os::free_bytes(&core.root).map_err(|error| Error::io("look at", &core.root, error))?;
        let filesystem =
            os::filesystem(&core.root).map_err(|error| Error::io("look at", &core.root, error))?;
        let choice = core.log_mode()?;
        let (mut alive, mut silent) = (Vec::new(), Vec::new());
        for (_, folder) in flush::writers(&core.root)? {
            let liveness = core.process().lookout.liveness(&folder, Now::read())?;
            let Some(owner) = owner::read(&folder) else { continue };
            match liveness {
                Liveness::Alive => {
                    let logs = owner.logs.map(|logs| format!(", its log in {}", logs.display()));
                    let logs = logs.unwrap_or_default();
                    alive.push(format!("{}, process {}{logs}", owner.host.name, owner.pid));
                }
                Liveness::Silent | Liveness::Lost | Liveness::Expired => {
                    let last_seen_us = owner.last_seen_us(&folder);
                    let (host, pid) = (owner.host.name, owner.pid);
                    silent.push(SilentWriter { host, pid, last_seen_us });
                }
                Liveness::Dead => {}
            }
        }
        let orphans = core.orphans()?;
        Ok(Health {
            filesystem: filesystem.to_owned(),
            free_bytes,
            hard_links: core.features.probe.hard_links,
            logs_are_mapped: choice.mode == Mode::Mapped,
            log_mode_why: choice.why,
            locks: core.features.probe.locks,
            group: disk::shared_with(&core.root)?,
            alive,
            silent,
            dead: orphans.writers,
            dead_bytes: orphans.bytes,
            quarantined: disk::list(&core.root.join("quarantine"))?,
        })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}

/// What all clones of a [`Lake`] share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) root: PathBuf,
    pub(crate) features: Features,
    pub(crate) options: LakeOptions,
    pub(crate) host: Host,
    pub(crate) names: Names,
    /// Tells this lake from others that the process has open.
    number: u64,
    processes: PerProcess<Process>,
    /// The runs that were started here, to count their rows and to say again that they run when a writer moves on.
    runs: boxcar::Vec<WeakRun>,
}

/// What belongs to one process; a forked child has its own.
#[derive(Debug)]
struct Process {
    tables: Tables,
    lookout: Arc<Lookout>,
    tails: Mutex<TailCache>,
    /// Facts of segments, which never change, by the segment's path.
    facts: Mutex<FxHashMap<PathBuf, Arc<Vec<Fact>>>>,
    /// The runs as they were folded last, where that is worth keeping.
    runs: Mutex<Option<FoldedOnce>>,
    writer: ArcSwapOption<Writer>,
    /// Held while a writer is created, before `background`.
    creating: Mutex<()>,
    background: Mutex<Option<Arc<Background>>>,
    /// Writers that take no more rows, of whose logs a rest is to be flushed.
    left: Mutex<Vec<Arc<Writer>>>,
    writable: OnceLock<()>,
}

/// The deleted runs of a snapshot that are left out from now on.
fn doomed_in(snapshot: &Snapshot) -> Result<RunKeys> {
    let before = os::now_us().saturating_sub(deletion::GRACE_US);
    let mut doomed: RunKeys = snapshot
        .deleted_runs()?
        .iter()
        .filter(|run| run.is_doomed || run.deleted_at.is_some_and(|at| at <= before))
        .map(|run| (Arc::clone(&run.project), Arc::clone(&run.run_id)))
        .collect();
    for key in snapshot.tail().iter().flat_map(|points| &points.keys) {
        doomed.remove(&(Arc::clone(&key.project), Arc::clone(&key.run_id)));
    }
    for fact in snapshot.tail_facts() {
        doomed.remove(&(Arc::clone(&fact.project), Arc::clone(&fact.run_id)));
    }
    Ok(doomed)
}

/// Whether the writer with this id lives.
fn liveness(root: &Path, lookout: &Lookout, writer: &str) -> Liveness {
    let folder = root.join("log").join(writer);
    lookout.liveness(&folder, Now::read()).unwrap_or(Liveness::Silent)
}

/// Runs by project and id.
type EndedRuns = FxHashMap<(Arc<str>, Arc<str>), Arc<RunInfo>>;

/// The runs that ended before a moment and that nobody logs to: no deleted ones, none of which anything stands in a log, and none
/// that another run was forked from.
fn ended_before(snapshot: &Snapshot, before_us: i64, project: Option<&str>) -> Result<EndedRuns> {
    let runs = snapshot.runs()?;
    let has_ended = |run: &&Arc<RunInfo>| {
        let end = run.finished_at.or(run.heartbeat_at);
        project.is_none_or(|project| *run.project == *project)
            && !matches!(run.state, State::Running | State::Unknown)
            && end.is_some_and(|end| end < before_us)
    };
    let mut ended: FxHashMap<_, _> = runs
        .iter()
        .filter(has_ended)
        .map(|run| ((Arc::clone(&run.project), Arc::clone(&run.run_id)), Arc::clone(run)))
        .collect();
    for key in snapshot.tail().iter().flat_map(|points| &points.keys) {
        ended.remove(&(Arc::clone(&key.project), Arc::clone(&key.run_id)));
    }
    for fact in snapshot.tail_facts() {
        ended.remove(&(Arc::clone(&fact.project), Arc::clone(&fact.run_id)));
    }
    // Where a fork cuts into a series, its points are needed.
    for run in runs.iter() {
        if let Some(parent) = &run.parent_run_id {
            ended.remove(&(Arc::clone(&run.project), parent.as_str().into()));
        }
    }
    Ok(ended)
}

/// Writers, each with its lake.
type Streams = Vec<(PathBuf, Weak<Writer>)>;

/// The writers in pwrite mode of this process, each with its lake: whoever reads here sees what they have published.
fn streams() -> &'static Mutex<Streams> {
    static STREAMS: LazyLock<PerProcess<Mutex<Streams>>> = LazyLock::new(PerProcess::default);
    STREAMS.get(Mutex::default)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    fn process(&self) -> &Process {
        self.processes.get(|| Process {
            tables: Tables {
                root: self.root.clone(),
                points: Table::new(&self.root, TableKind::Points),
                facts: Table::new(&self.root, TableKind::Facts),
                turn: Mutex::new(()),
                at_once: AtOnce::USUAL,
            },
            lookout: Lookout::new(self.host.clone()).into(),
            tails: Mutex::default(),
            facts: Mutex::default(),
            runs: Mutex::default(),
            writer: ArcSwapOption::empty(),
            creating: Mutex::default(),
            background: Mutex::default(),
            left: Mutex::default(),
            writable: OnceLock::new(),
        })
    }

    fn check_writable(&self) -> Result<()> {
        let process = self.process();
        if process.writable.get().is_none() {
            self.features.check_writer(&self.root)?;
            let _first = process.writable.set(());
        }
        Ok(())
    }

    /// This process's writer, created at the first call, and again after somebody took it for dead.
    pub(crate) fn writer(self: &Arc<Self>) -> Result<Arc<Writer>> {
        let process = self.process();
        let usable = || process.writer.load_full().filter(|writer| !writer.is_retired());
        if let Some(writer) = usable() {
            return Ok(writer);
        }
        let creating = lock(&process.creating);
        match usable() {
            Some(writer) => Ok(writer),
            None => self.start_writer(process, creating),
        }
    }

    /// Starts a writer, and leaves the one before.
    fn start_writer(
        self: &Arc<Self>,
        process: &Process,
        creating: MutexGuard<'_, ()>,
    ) -> Result<Arc<Writer>> {
        self.check_writable()?;
        let settings = Settings {
            lake: self.number,
            mode: self.log_mode()?.mode,
            spill_bytes: self.options.spill_bytes,
            max_block: Duration::from_millis(self.options.max_block_ms),
        };
        let log_dir = self.options.log_dir.as_deref();
        let writer =
            Writer::create(&self.root, log_dir, self.host.clone(), settings, os::now_us())?;
        let background = Arc::new(Background::start(self, &writer)?);
        if writer.mode() == Mode::Written {
            lock(streams()).push((self.root.clone(), Arc::downgrade(&writer)));
        }
        let before = process.writer.swap(Some(Arc::clone(&writer)));
        let ended = lock(&process.background).replace(background);
        drop(creating);
        drop(ended);
        if let Some(before) = before {
            // What it said of the state of runs died with it.
            tracing::warn!(old = %before.id, new = %writer.id, "another process took this one for dead; moved on");
            before.retire();
            lock(&process.left).push(before);
            let runs = self.runs.iter().filter_map(|(_, run)| run.upgrade());
            for run in runs.filter(Run::is_open) {
                run.say_state(State::Running)?;
            }
        }
        Ok(writer)
    }

    /// Goes on with another writer where somebody has taken a part of the log of this one.
    fn move_on(self: &Arc<Self>, from: &Arc<Writer>) -> Result<()> {
        let process = self.process();
        let creating = lock(&process.creating);
        if process.writer.load().as_ref().is_some_and(|writer| Arc::ptr_eq(writer, from)) {
            self.start_writer(process, creating)?;
        }
        Ok(())
    }

    /// Flushes what earlier writers of this process left, and lets their folders go.
    pub(crate) fn flush_left(&self) -> Result<()> {
        let process = self.process();
        let left = std::mem::take(&mut *lock(&process.left));
        for (at, writer) in left.iter().enumerate() {
            // What is mapped was sealed and taken in whole by whoever took the writer for dead.
            let flushed = match writer.mode() {
                Mode::Mapped => Ok(Flushed::default()),
                Mode::Written => {
                    flush::own(&process.tables, writer, &self.host, os::now_us(), &|| true)
                }
            };
            if let Err(error) = flushed.and_then(|_| writer.close()) {
                lock(&process.left).extend_from_slice(&left[at..]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// How logs are brought to disk here.
    fn log_mode(&self) -> Result<log::Choice> {
        let (folder, maps) = match &self.options.log_dir {
            // It is made with the first log.
            Some(log_dir) => (log_dir.ancestors().find(|folder| folder.is_dir()), true),
            None => (None, self.features.probe.shared_mappings),
        };
        let folder = folder.unwrap_or(&self.root);
        let filesystem =
            os::filesystem(folder).map_err(|error| Error::io("look at", folder, error))?;
        self.options.log_mode.choose(filesystem, maps)
    }

    /// Brings to disk what this process has published in this lake, so that reading the files finds it. What the disk
    /// does not take is left out.
    fn write_logs(&self) {
        let mut writers = lock(streams());
        writers.retain(|(_, writer)| writer.strong_count() > 0);
        let here = writers.iter().filter(|(root, _)| *root == self.root);
        let here: Vec<_> = here.filter_map(|(_, writer)| writer.upgrade()).collect();
        drop(writers);
        for writer in here {
            if let Err(error) = writer.write() {
                tracing::debug!(%error, "rows that wait in memory are not in this snapshot");
            }
        }
    }

    /// Remembers a run that was started here.
    pub(crate) fn enter(&self, run: &Run) {
        self.runs.push(run.downgrade());
    }

    /// Waits until no row of the runs that were started here waits for its step.
    fn settle(&self) {
        self.runs.iter().filter_map(|(_, run)| run.upgrade()).for_each(|run| run.settle());
    }

    /// Appends a frame to this process's log.
    #[inline]
    pub(crate) fn append(self: &Arc<Self>, frame: &Frame<'_>) -> Result<(), NotKept> {
        if writer::append_here(self.number, frame) { Ok(()) } else { self.append_anew(frame) }
    }

    /// Appends where the thread has to go elsewhere for it: another block, another file, another writer.
    #[cold]
    fn append_anew(self: &Arc<Self>, frame: &Frame<'_>) -> Result<(), NotKept> {
        // An adopter that takes a living writer for dead again and again is broken; a row is not worth a loop.
        for _ in 0..8 {
            let process = self.process();
            let writer = process.writer.load();
            let appended = match writer.as_ref().filter(|writer| !writer.is_retired()) {
                Some(writer) => writer.append(&self.names, frame),
                None => self
                    .writer()
                    .map_err(|error| NotKept::Name(Box::new(error)))?
                    .append(&self.names, frame),
            };
            match appended {
                Ok(_) => return Ok(()),
                Err(NotKept::Retired) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NotKept::Retired)
    }

    /// True where rows of this process stand where only a flush makes them durable.
    pub(crate) fn is_stranded(&self) -> bool {
        self.process().writer.load_full().is_some_and(|writer| writer.is_stranded())
    }

    /// Counts rows of a run that were not kept, so that the writer says so.
    pub(crate) fn count_dropped(&self, run: &RunName, rows: u64) {
        if let Some(writer) = self.process().writer.load_full() {
            writer.count_dropped(run_key(&run.project, &run.run_id), rows);
        }
    }

    pub(crate) fn flush_writer(
        self: &Arc<Self>,
        writer: &Arc<Writer>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Flushed> {
        if !disk::exists(&writer.home)? {
            writer.retire();
            return Ok(Flushed::default());
        }
        let tables = &self.process().tables;
        let own = || flush::own(tables, writer, &self.host, os::now_us(), goes_on);
        let mut flushed = own()?;
        if writer.is_stranded() && goes_on() {
            // Rows that wait in memory behind what is flushed by now: the tables take rows, so they take these.
            flushed.points += own()?.points;
        }
        if writer.is_taken() {
            self.move_on(writer)?;
            self.flush_left()?;
        }
        Ok(flushed)
    }

    pub(crate) fn orphans(&self) -> Result<Orphans> {
        flush::orphans(&self.process().tables, &self.process().lookout)
    }

    pub(crate) fn adopt(
        &self,
        gone: &[String],
        watch: &mut dyn FnMut(u64, u64),
    ) -> Result<Flushed> {
        self.check_writable()?;
        let Process { tables, lookout, .. } = self.process();
        flush::adopt(tables, lookout, gone, watch)
    }

    /// The tables of which a writer merges segments now.
    fn tables_to_merge(&self) -> Result<Vec<TableKind>> {
        let Tables { points, facts, .. } = &self.process().tables;
        let mut due = Vec::new();
        for table in [points, facts] {
            if compaction::is_due(table)? {
                due.push(table.kind());
            }
        }
        Ok(due)
    }

    /// Makes a merge in the background give up, so that whoever ends has the machine.
    pub(crate) fn hurry_merge(&self) {
        if let Some(background) = &*lock(&self.process().background) {
            background.hurry_merge();
        }
    }

    /// The facts of a segment; read once, since segments never change.
    pub(crate) fn facts_of(&self, meta: &SegmentMeta) -> Result<Arc<Vec<Fact>>> {
        let cache = &self.process().facts;
        if let Some(facts) = lock(cache).get(&meta.path) {
            return Ok(Arc::clone(facts));
        }
        let facts = Arc::new(segment::read_facts(meta)?);
        lock(cache).insert(meta.path.clone(), Arc::clone(&facts));
        Ok(facts)
    }

    /// Lets go of the facts of segments that are no longer in the table.
    pub(crate) fn keep_facts_of(&self, segments: &[Arc<SegmentMeta>]) {
        let mut cache = lock(&self.process().facts);
        if cache.len() > segments.len() * 2 + 16 {
            let wanted: rustc_hash::FxHashSet<&PathBuf> =
                segments.iter().map(|meta| &meta.path).collect();
            cache.retain(|path, _| wanted.contains(path));
        }
    }

    /// The runs as they were folded last.
    pub(crate) fn folded_once(&self) -> MutexGuard<'_, Option<FoldedOnce>> {
        lock(&self.process().runs)
    }

    /// Whether the writer with this id lives.
    pub(crate) fn liveness(&self, writer: &str) -> Liveness {
        liveness(&self.root, &self.process().lookout, writer)
    }

    /// The highest step that a run has reached, from log headers and side indexes. What cannot be read counts as
    /// nothing: a step-less row then starts lower, and is kept all the same.
    pub(crate) fn last_step(&self, project: &str, run_id: &str) -> Option<i64> {
        self.write_logs();
        let key = run_key(project, run_id);
        let mut last: Option<i64> = None;
        for (_, folder) in flush::writers(&self.root).unwrap_or_default() {
            for (_, path) in owner::log_files(&folder, &self.host).unwrap_or_default() {
                let Ok(Some(mut reader)) = LogReader::open(&path) else { continue };
                match reader.last_step(key) {
                    Ok(LastStep::Reached(step)) => last = last.max(Some(step)),
                    Ok(LastStep::None) | Err(_) => {}
                    Ok(LastStep::Unknown) => {
                        let found = reader
                            .read(crate::tail::trust(&reader, &self.host))
                            .unwrap_or_default();
                        let steps = found.points.steps_of(project, run_id);
                        last = last.max(steps.max());
                    }
                }
            }
        }
        let filter = Filter {
            projects: Some(vec![project.to_owned()]),
            runs: Some(vec![run_id.to_owned()]),
            metrics: None,
        };
        let chosen = filter.chosen();
        if let Ok(table) = self.process().tables.points.load() {
            for meta in table.segments.iter().filter(|meta| filter.may_want(meta)) {
                let rows = segment::read_index(meta).unwrap_or_default();
                let mine = rows.iter().filter(|row| chosen.wants(&row.key));
                last = last.max(mine.map(|row| row.summary.last.0).max());
            }
        }
        last
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Threads first: they end, or finish the flush that they are at, before the log is closed.
        let Some(process) = self.processes.made() else { return };
        drop(lock(&process.background).take());
        let left = std::mem::take(&mut *lock(&process.left));
        let mine = |writer: &Arc<Writer>| writer.generation() == os::fork_generation();
        for writer in process.writer.swap(None).into_iter().filter(mine).chain(left) {
            if let Err(error) = writer.close() {
                tracing::warn!(%error, "a log was not closed; it is taken in as one of a dead writer");
            }
        }
    }
}

#[cfg(test)]
mod care;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod faults;
