//! A table: the folder that holds its log and its files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustc_hash::FxHashSet;
use uuid::Uuid;

use super::{
    Add, Edit, Outcome, Place, TableKind, TableVersion,
    action::{self, Actions, Format, Metadata, Protocol, Remove, SetTransaction},
    checkpoint::{self, Checkpoint, Hint},
    commit,
};
use crate::{Error, Result, disk};

/// How often a commit is tried again because others were faster. Each failure is a success of somebody else.
const PATIENCE: usize = 10_000;

/// How long a checkpoint remembers the files that left: a week, as other Delta writers do.
const TOMBSTONES_MS: i64 = 7 * 24 * 3600 * 1000;

/// One table of a lake. Nothing is read or written before the first call. `Send + Sync`.
#[derive(Debug)]
pub(crate) struct Table {
    kind: TableKind,
    dir: PathBuf,
    log: PathBuf,
    /// The folder that holds a folder for each writer.
    writers: PathBuf,
    /// Held by the one commit of this process that is under way, so that its threads do not defeat one another.
    /// Taken before `cached`.
    turn: Mutex<()>,
    /// The last version that was loaded. Held while it is brought up to date, so that the readers of a process share
    /// the work.
    cached: Mutex<Arc<TableVersion>>,
}

impl Table {
    /// The table of this kind in the lake at `lake`, which need not exist yet.
    pub(crate) fn new(lake: &Path, kind: TableKind) -> Self {
        let dir = lake.join("tables").join(kind.name());
        let log = dir.join("_delta_log");
        let writers = lake.join("log");
        Self { kind, dir, log, writers, turn: Mutex::default(), cached: Mutex::default() }
    }

    /// Which table it is.
    pub(crate) fn kind(&self) -> TableKind {
        self.kind
    }

    /// The folder of the table; names of segments are relative to it.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Loads the newest version: at first from the newest checkpoint on, later only what is new. Never writes; a table
    /// without commits is an empty version.
    pub(crate) fn load(&self) -> Result<Arc<TableVersion>> {
        let mut cached = lock(&self.cached);
        let newest = match cached.version {
            None => self.open()?.map(Arc::new),
            Some(_) => self.refresh(&cached)?.map(Arc::new),
        };
        if let Some(newest) = newest {
            *cached = newest;
        }
        Ok(Arc::clone(&cached))
    }

    /// Makes durable what `load` has seen. Whoever removes something because of another process's commit calls this
    /// first: that commit may be visible a moment before it would survive a power cut.
    pub(crate) fn sync(&self) -> Result<()> {
        // A table without commits has no folder for them either.
        if lock(&self.cached).version.is_none() {
            return Ok(());
        }
        disk::sync_dir(&self.log)
    }

    /// What came after `known`; `None` where nothing did.
    fn refresh(&self, known: &TableVersion) -> Result<Option<TableVersion>> {
        if let Some(newer) = self.follow(known)? {
            return Ok(Some(newer));
        }
        // Another program may have cleaned up the commits after ours once a checkpoint held them.
        match Hint::read(&self.log)? {
            Some(hint) if known.version < Some(hint.version) => match self.follow(known)? {
                Some(newer) => Ok(Some(newer)),
                None => self.open(),
            },
            _ => Ok(None),
        }
    }

    /// The table as it stood after commit `wanted`. Its files may be gone: the grace of a merge is an hour.
    ///
    /// # Errors
    /// [`Error::Unknown`] where there is no such commit, or its log was cleaned up.
    pub(crate) fn load_at(&self, wanted: u64) -> Result<Arc<TableVersion>> {
        let newest = self.load()?;
        if newest.version == Some(wanted) {
            return Ok(newest);
        }
        let names = disk::list(&self.log)?;
        if newest.version > Some(wanted) {
            let checkpoints = Checkpoint::among(&names).into_iter();
            for checkpoint in checkpoints.filter(|checkpoint| checkpoint.version <= wanted) {
                let path = checkpoint.path(&self.log);
                let read = checkpoint.read(&self.log).and_then(|actions| {
                    TableVersion::of_checkpoint(&self.dir, checkpoint.version, &path, actions)
                });
                match read.and_then(|known| self.reach(known, wanted)) {
                    Ok(Some(version)) => return Ok(version.into()),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "looking for an older checkpoint"),
                }
            }
            if let Some(version) = self.reach(TableVersion::default(), wanted)? {
                return Ok(version.into());
            }
        }
        let mut kept: Vec<u64> = names.iter().filter_map(|name| commit::version(name)).collect();
        kept.sort_unstable();
        let candidates = [kept.first(), newest.version.as_ref()];
        Err(Error::Unknown {
            kind: "version",
            name: wanted.to_string(),
            candidates: candidates.into_iter().flatten().map(u64::to_string).collect(),
            ambiguous: false,
        })
    }

    /// The table as it stood at a moment, in milliseconds since 1970 (UTC), as far back as commits are kept.
    pub(crate) fn load_before(&self, moment_ms: i64) -> Result<Arc<TableVersion>> {
        let mut wanted = self.load()?.version;
        while let Some(version) = wanted {
            let Some(bytes) = disk::read_if_there(&self.log.join(commit::name(version)))? else {
                return self.load_at(version + 1);
            };
            if commit::made_at_ms(&bytes).is_none_or(|made_ms| made_ms <= moment_ms) {
                return self.load_at(version);
            }
            wanted = version.checked_sub(1);
        }
        Ok(Arc::default())
    }

    /// When commit `version` was made, in milliseconds since 1970 (UTC); `None` where it is not known.
    pub(crate) fn made_at_ms(&self, version: u64) -> Result<Option<i64>> {
        let bytes = disk::read_if_there(&self.log.join(commit::name(version)))?;
        Ok(bytes.as_deref().and_then(commit::made_at_ms))
    }

    /// The version `wanted`, from an earlier one on; `None` where a commit between them is gone.
    fn reach(&self, known: TableVersion, wanted: u64) -> Result<Option<TableVersion>> {
        let reached = match self.follow_to(&known, wanted)? {
            Some(reached) => reached,
            None => known,
        };
        Ok(Some(reached).filter(|reached| reached.version == Some(wanted)))
    }

    /// Reads the commits that stand directly after `known`; `None` where there is none.
    fn follow(&self, known: &TableVersion) -> Result<Option<TableVersion>> {
        self.follow_to(known, commit::LAST_VERSION)
    }

    fn follow_to(&self, known: &TableVersion, last: u64) -> Result<Option<TableVersion>> {
        let mut commits = Vec::new();
        let mut next = after(known.version);
        while next <= last {
            let path = self.log.join(commit::name(next));
            let Some(bytes) = disk::read_if_there(&path)? else { break };
            let actions = commit::decode(&path, &bytes)?;
            commits.push((next, path, actions));
            next = after(Some(next));
        }
        if commits.is_empty() { Ok(None) } else { known.after(&self.dir, commits).map(Some) }
    }

    /// Loads from nothing; `None` where the table has no commit.
    fn open(&self) -> Result<Option<TableVersion>> {
        let hint = Hint::read(&self.log)?.map(|hint| hint.checkpoint());
        if let Some(checkpoint) = hint {
            match self.open_at(checkpoint) {
                Ok(version) if !self.is_gap_after(&version)? => return Ok(Some(version)),
                Ok(_) => {}
                Err(error @ Error::Unsupported { .. }) => return Err(error),
                Err(error) => tracing::warn!(%error, "looking for another checkpoint"),
            }
        }
        self.open_by_listing(hint)
    }

    /// The version of a checkpoint and the commits after it.
    fn open_at(&self, checkpoint: Checkpoint) -> Result<TableVersion> {
        let actions = checkpoint.read(&self.log)?;
        let path = checkpoint.path(&self.log);
        let version = TableVersion::of_checkpoint(&self.dir, checkpoint.version, &path, actions)?;
        Ok(self.follow(&version)?.unwrap_or(version))
    }

    /// Whether a commit stands a little after the one that is missing.
    fn is_gap_after(&self, version: &TableVersion) -> Result<bool> {
        let mut next = after(version.version);
        for _ in 0..checkpoint::EVERY {
            next = after(Some(next));
            if disk::exists(&self.log.join(commit::name(next)))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tries every checkpoint, newest first, and then the commits alone. `known` is what the hint says of one of them: its
    /// checksum, without which a damaged one may pass for sound.
    fn open_by_listing(&self, known: Option<Checkpoint>) -> Result<Option<TableVersion>> {
        let names = disk::list(&self.log)?;
        let mut first_error = None;
        let mut opened = None;
        for found in Checkpoint::among(&names) {
            let checkpoint = known.filter(|known| known.is_named_as(found)).unwrap_or(found);
            match self.open_at(checkpoint) {
                Ok(version) => {
                    opened = Some(version);
                    break;
                }
                Err(error @ Error::Unsupported { .. }) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "looking for an older checkpoint");
                    first_error.get_or_insert(error);
                }
            }
        }
        let opened = match opened {
            Some(version) => Some(version),
            None => self.follow(&TableVersion::default())?,
        };
        let reached = opened.as_ref().and_then(|it| it.version);
        let last = names.iter().filter_map(|name| commit::version(name)).max();
        match (first_error, last) {
            (_, None) if opened.is_some() => Ok(opened),
            (None, None) => Ok(None),
            (_, Some(last)) if reached >= Some(last) => Ok(opened),
            // A checkpoint would have bridged the gap, if it were readable.
            (Some(error), _) => Err(error),
            (None, Some(last)) => {
                let missing = self.log.join(commit::name(after(reached)));
                let detail = format!("the file is missing, though version {last} is there");
                Err(Error::corrupt(missing, 0, detail))
            }
        }
    }

    /// Makes one change of the table: all of it or nothing, durable when the call returns. Any number of threads,
    /// processes and hosts commit at once; each change lands once.
    ///
    /// After an error it is not known whether the change was made; its files must stay, and committing the same edit
    /// again is safe.
    pub(crate) fn commit(&self, edit: &Edit, now_us: i64) -> Result<Outcome> {
        if let Some(wrong) = edit.adds.iter().find_map(action::wrong_add) {
            return Err(Error::Invalid { what: "a file to commit", detail: wrong });
        }
        let version = {
            let _turn = lock(&self.turn);
            match self.commit_in_turn(edit, now_us)? {
                Outcome::Committed(version) => version,
                Outcome::Superseded => return Ok(Outcome::Superseded),
            }
        };
        if let Err(error) = self.checkpoint_if_due(version, now_us) {
            tracing::warn!(%error, version, "no checkpoint was written; a later commit writes one");
        }
        Ok(Outcome::Committed(version))
    }

    fn commit_in_turn(&self, edit: &Edit, now_us: i64) -> Result<Outcome> {
        let mut taken = None;
        for _ in 0..PATIENCE {
            let current = self.load()?;
            if taken.is_some_and(|taken| current.version < Some(taken)) {
                // Listing a folder makes NFS forget that the file did not exist a moment ago.
                disk::list(&self.log)?;
                continue;
            }
            if let Some(outcome) = self.decided(&current, edit)? {
                self.sync()?;
                return Ok(outcome);
            }
            current.check_writer()?;
            let Some(actions) = self.actions(&current, edit, now_us / 1000) else {
                self.sync()?;
                return Ok(Outcome::Superseded);
            };
            if current.version.is_none() {
                disk::create_dirs(&self.log)?;
            }
            let version = after(current.version);
            let bytes = commit::encode(actions, edit.operation, now_us / 1000);
            // The commit before this one may be of a process that died before it was durable. A power cut must not take
            // it and leave this one.
            self.sync()?;
            if disk::publish(&self.log.join(commit::name(version)), &bytes)? {
                return Ok(Outcome::Committed(version));
            }
            taken = Some(version);
        }
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        Err(Error::io("commit to", &self.dir, busy))
    }

    /// What became of `edit` already, if anything did.
    fn decided(&self, current: &TableVersion, edit: &Edit) -> Result<Option<Outcome>> {
        // An earlier try may have succeeded and yet reported an error.
        if let Some(first) = edit.adds.first()
            && let Some(version) = current.commit_of(first)
        {
            return Ok(Some(Outcome::Committed(version)));
        }
        for txn in &edit.txns {
            let superseded = match current.txns.get(&txn.app_id) {
                Some(&known) => known >= txn.expected_below || known >= txn.version,
                // A checkpoint forgets the watermark of a log that is gone. What was in that log is in the table.
                None => self.is_log_gone(&txn.app_id)?,
            };
            if superseded {
                return Ok(Some(Outcome::Superseded));
            }
        }
        Ok(None)
    }

    /// The actions of `edit` on top of `current`; `None` where one of its inputs is gone.
    fn actions(&self, current: &TableVersion, edit: &Edit, now_ms: i64) -> Option<Actions> {
        let removes = current.paths_of(&edit.removes)?.into_iter().map(|path| Remove {
            path,
            deletion_timestamp: Some(now_ms),
            data_change: edit.data_change,
        });
        let place = edit.takes_place.then(|| current.place_of(&edit.removes)).flatten();
        let version = after(current.version);
        let adds = (0_u32..).zip(&edit.adds).map(|(index, add)| {
            let mut add = Add { data_change: edit.data_change, ..add.clone() };
            add.set_places(Place { version, index }, place);
            add
        });
        let txns = edit
            .txns
            .iter()
            .map(|txn| SetTransaction { app_id: txn.app_id.clone(), version: txn.version });
        let is_first = current.version.is_none();
        Some(Actions {
            protocol: is_first.then(Protocol::ours),
            metadata: is_first.then(|| self.metadata(now_ms)),
            txns: txns.collect(),
            removes: removes.collect(),
            adds: adds.collect(),
        })
    }

    /// What a new table says of itself.
    ///
    /// `delta.appendOnly` stays unset: with it, other programs would rightly take a commit that removes rows (of a
    /// deleted run) for a broken table. What keeps them from writing is the writer feature that they do not know.
    fn metadata(&self, now_ms: i64) -> Metadata {
        Metadata {
            id: Uuid::new_v4().to_string(),
            name: Some(self.kind.name().to_owned()),
            description: None,
            format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
            schema_string: self.kind.schema_string(),
            partition_columns: Vec::new(),
            configuration: BTreeMap::from([(
                "delta.dataSkippingStatsColumns".to_owned(),
                self.kind.stats_columns().to_owned(),
            )]),
            created_time: Some(now_ms),
        }
    }

    /// Whether `app_id` is a writer whose folder is gone, which happens once all of its log is in both tables. Where
    /// the lake has no folder for logs at all, nothing is known of any writer.
    fn is_log_gone(&self, app_id: &str) -> Result<bool> {
        Ok(Uuid::parse_str(app_id).is_ok()
            && !disk::exists(&self.writers.join(app_id))?
            && disk::exists(&self.writers)?)
    }

    fn checkpoint_if_due(&self, version: u64, now_us: i64) -> Result<()> {
        let last = Hint::read(&self.log)?.map(|hint| hint.version);
        if checkpoint::is_due(version, last) { self.checkpoint(now_us) } else { Ok(()) }
    }

    /// Writes a checkpoint of the newest version.
    pub(crate) fn checkpoint(&self, now_us: i64) -> Result<()> {
        let current = self.load()?;
        let Some(version) = current.version else { return Ok(()) };
        let is_known = disk::exists(&self.writers)?;
        let there: FxHashSet<String> = disk::list(&self.writers)?.into_iter().collect();
        if is_known {
            // A folder that is gone must not come back with a power cut: nobody would know that its rows are here.
            disk::sync_dir(&self.writers)?;
        }
        // The same rule as in `is_log_gone`.
        let is_live =
            |app_id: &str| !is_known || there.contains(app_id) || Uuid::parse_str(app_id).is_err();
        let actions = current.to_actions(is_live, now_us / 1000 - TOMBSTONES_MS);
        Checkpoint::write(&self.log, version, actions)
    }
}

/// The version after `version`.
fn after(version: Option<u64>) -> u64 {
    version.map_or(0, |version| version.saturating_add(1))
}

/// Takes a lock. What these locks protect is replaced whole, so a thread that panicked has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{SegmentMeta, catalog::Txn};

    const NOW_US: i64 = 1_700_000_000_000_000;

    fn add(name: &str) -> Add {
        Add {
            path: crate::catalog::encode_path(name),
            partition_values: BTreeMap::new(),
            size: 100,
            modification_time: NOW_US / 1000,
            data_change: true,
            stats: Some(r#"{"numRecords":3}"#.to_owned()),
            tags: Some(BTreeMap::from([("runlake.runs".to_owned(), Some("[\"é\"]".to_owned()))])),
        }
    }

    fn edit(adds: &[&str], removes: &[&str], txns: &[(&str, i64)]) -> Edit {
        let txn = |&(app_id, version): &(&str, i64)| Txn {
            app_id: app_id.to_owned(),
            version,
            expected_below: version,
        };
        Edit {
            adds: adds.iter().map(|name| add(name)).collect(),
            removes: removes.iter().map(|&name| name.to_owned()).collect(),
            txns: txns.iter().map(txn).collect(),
            operation: "test",
            data_change: removes.is_empty(),
            takes_place: true,
        }
    }

    fn lake() -> (tempfile::TempDir, Table) {
        let lake = tempfile::tempdir().unwrap();
        let table = Table::new(lake.path(), TableKind::Points);
        (lake, table)
    }

    fn names(version: &TableVersion) -> Vec<&str> {
        version.segments.iter().map(|it| it.name.as_str()).collect()
    }

    /// What a reader sees of a version.
    fn seen(version: &TableVersion) -> (Option<u64>, Vec<SegmentMeta>, BTreeMap<String, i64>) {
        let segments = version.segments.iter().map(|it| SegmentMeta::clone(it)).collect();
        let txns =
            version.txns.iter().map(|(app_id, &version)| (app_id.clone(), version)).collect();
        (version.version, segments, txns)
    }

    fn fresh(lake: &tempfile::TempDir) -> Arc<TableVersion> {
        Table::new(lake.path(), TableKind::Points).load().unwrap()
    }

    fn log(lake: &tempfile::TempDir, name: &str) -> PathBuf {
        lake.path().join("tables/points/_delta_log").join(name)
    }

    #[test]
    fn a_table_without_commits_is_empty_and_reading_creates_nothing() {
        let (lake, table) = lake();
        let version = table.load().unwrap();
        assert_eq!(seen(&version), (None, Vec::new(), BTreeMap::new()));
        assert_eq!(disk::list(lake.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_was_committed_is_what_another_table_loads() {
        let (lake, table) = lake();
        let first = edit(&["l0/b c.parquet", "l0/a.parquet"], &[], &[("w", 1 << 32)]);
        assert_eq!(table.commit(&first, NOW_US).unwrap(), Outcome::Committed(0));
        let second = edit(&["l0/d.parquet"], &[], &[("w", 2 << 32), ("x", 5)]);
        assert_eq!(table.commit(&second, NOW_US).unwrap(), Outcome::Committed(1));
        let version = fresh(&lake);
        assert_eq!(names(&version), ["l0/b c.parquet", "l0/a.parquet", "l0/d.parquet"]);
        assert_eq!(version.segments[2].version, 1);
        assert_eq!(version.segments[0].path, table.dir().join("l0/b c.parquet"));
        assert_eq!(version.txns["w"], 2 << 32);
        assert_eq!(seen(&version), seen(&table.load().unwrap()));
    }

    #[test]
    fn a_merged_segment_takes_the_place_of_its_last_input() {
        let (lake, table) = lake();
        for name in ["l0/1", "l0/2", "l0/3", "l0/4"] {
            let _outcome = table.commit(&edit(&[name], &[], &[]), NOW_US).unwrap();
        }
        let merge = edit(&["l1/a", "l1/b"], &["l0/1", "l0/2"], &[]);
        assert_eq!(table.commit(&merge, NOW_US).unwrap(), Outcome::Committed(4));
        assert_eq!(names(&table.load().unwrap()), ["l1/a", "l1/b", "l0/3", "l0/4"]);
        let again = edit(&["l1/c"], &["l1/b", "l0/3"], &[]);
        assert_eq!(table.commit(&again, NOW_US).unwrap(), Outcome::Committed(5));
        assert_eq!(names(&table.load().unwrap()), ["l1/a", "l1/c", "l0/4"]);
        table.checkpoint(NOW_US).unwrap();
        let version = fresh(&lake);
        assert_eq!(names(&version), ["l1/a", "l1/c", "l0/4"], "after a checkpoint too");
        assert_eq!(version.segments[1].version, 5);
        let gone: Vec<_> = version.tombstones.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(gone, ["l0/1", "l0/2", "l0/3", "l1/b"]);
    }

    #[test]
    fn of_two_flushes_of_one_log_the_first_wins() {
        let (lake, table) = lake();
        let other = Table::new(lake.path(), TableKind::Points);
        let mine = edit(&["l0/mine"], &[], &[("w", 3 << 32)]);
        let theirs = edit(&["l0/theirs"], &[], &[("w", 3 << 32)]);
        assert_eq!(table.commit(&mine, NOW_US).unwrap(), Outcome::Committed(0));
        assert_eq!(other.commit(&theirs, NOW_US).unwrap(), Outcome::Superseded);
        let older = edit(&["l0/older"], &[], &[("w", 2 << 32)]);
        assert_eq!(other.commit(&older, NOW_US).unwrap(), Outcome::Superseded);
        assert_eq!(names(&other.load().unwrap()), ["l0/mine"]);
        // A part of a file is flushed from the watermark that the flush started from, or not at all.
        let mut part = edit(&["l0/part"], &[], &[("w", (3 << 32) + 900)]);
        part.txns[0].expected_below = (2 << 32) + 1;
        assert_eq!(table.commit(&part, NOW_US).unwrap(), Outcome::Superseded);
        part.txns[0].expected_below = (3 << 32) + 1;
        assert_eq!(table.commit(&part, NOW_US).unwrap(), Outcome::Committed(1));
    }

    #[test]
    fn a_merge_whose_input_is_gone_is_superseded() {
        let (_lake, table) = lake();
        let _outcome = table.commit(&edit(&["l0/1", "l0/2", "l0/3"], &[], &[]), NOW_US).unwrap();
        let _outcome = table.commit(&edit(&["l1/a"], &["l0/1", "l0/2"], &[]), NOW_US).unwrap();
        let late = edit(&["l1/b"], &["l0/2", "l0/3"], &[]);
        assert_eq!(table.commit(&late, NOW_US).unwrap(), Outcome::Superseded);
        assert_eq!(names(&table.load().unwrap()), ["l1/a", "l0/3"]);
    }

    #[test]
    fn committing_the_same_edit_again_after_an_error_is_safe() {
        let (lake, table) = lake();
        let flush = edit(&["l0/1"], &[], &[("w", 1)]);
        assert_eq!(table.commit(&flush, NOW_US).unwrap(), Outcome::Committed(0));
        assert_eq!(table.commit(&flush, NOW_US).unwrap(), Outcome::Committed(0));
        assert_eq!(fresh(&lake).version, Some(0));
    }

    #[test]
    fn a_log_that_a_checkpoint_forgot_cannot_be_flushed_again() {
        let (lake, table) = lake();
        let (alive, dead) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        for writer in [&alive, &dead] {
            disk::create_dirs(&lake.path().join("log").join(writer)).unwrap();
            let flush = edit(&[&format!("l0/{writer}")], &[], &[(writer, 1 << 32)]);
            let _outcome = table.commit(&flush, NOW_US).unwrap();
        }
        std::fs::remove_dir(lake.path().join("log").join(&dead)).unwrap();
        table.checkpoint(NOW_US).unwrap();
        let version = fresh(&lake);
        assert_eq!(version.txns.keys().collect::<Vec<_>>(), [&alive]);
        assert_eq!(version.segments.len(), 2);
        let late = edit(&["l0/late"], &[], &[(&dead, 1 << 32)]);
        let other = Table::new(lake.path(), TableKind::Points);
        assert_eq!(other.commit(&late, NOW_US).unwrap(), Outcome::Superseded);
    }

    #[test]
    fn every_commit_of_many_writers_lands_once_and_versions_are_contiguous() {
        const THREADS: usize = 8;
        const TABLES: usize = 2;
        const EACH: usize = 12;
        let (lake, _) = lake();
        let tables: Vec<_> =
            (0..TABLES).map(|_| Table::new(lake.path(), TableKind::Points)).collect();
        let mut versions: Vec<u64> = thread::scope(|scope| {
            let committers: Vec<_> = (0..THREADS * TABLES)
                .map(|me| {
                    let table = &tables[me % TABLES];
                    scope.spawn(move || {
                        let commit = |nth: usize| {
                            let name = format!("l0/{me}-{nth}");
                            let writer = format!("w{me}");
                            let mark = i64::try_from(nth).unwrap() + 1;
                            match table.commit(&edit(&[&name], &[], &[(&writer, mark)]), NOW_US) {
                                Ok(Outcome::Committed(version)) => version,
                                other => panic!("{other:?}"),
                            }
                        };
                        (0..EACH).map(commit).collect::<Vec<_>>()
                    })
                })
                .collect();
            committers.into_iter().flat_map(|it| it.join().unwrap()).collect()
        });
        let all = THREADS * TABLES * EACH;
        versions.sort_unstable();
        assert_eq!(versions, (0..all as u64).collect::<Vec<_>>());
        let version = fresh(&lake);
        let mut landed = names(&version);
        landed.sort_unstable();
        landed.dedup();
        assert_eq!((landed.len(), version.segments.len()), (all, all));
        assert!(version.txns.values().all(|&mark| usize::try_from(mark) == Ok(EACH)));
        for table in &tables {
            assert_eq!(seen(&table.load().unwrap()), seen(&version));
        }
        assert!(disk::exists(&log(&lake, "_last_checkpoint")).unwrap(), "{all} commits need one");
    }

    /// Says the lake to the children of the next test.
    const ROLE: &str = "RUNLAKE_TEST_COMMITS";
    const PROCESSES: usize = 16;
    const COMMITS: usize = 50;

    /// Not a test of its own: what the children of the next one do.
    #[test]
    fn child() {
        let Ok(role) = std::env::var(ROLE) else { return };
        let (me, lake) = role.split_once('|').unwrap();
        let table = Table::new(Path::new(lake), TableKind::Points);
        for nth in 0..COMMITS {
            let mark = i64::try_from(nth).unwrap() + 1;
            let name = format!("l0/{me}-{nth}");
            let outcome = table.commit(&edit(&[&name], &[], &[(me, mark)]), NOW_US);
            assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
        }
    }

    #[test]
    fn every_commit_of_many_processes_lands_once() {
        let (lake, _) = lake();
        let children: Vec<_> = (0..PROCESSES)
            .map(|me| {
                std::process::Command::new(std::env::current_exe().unwrap())
                    .args(["catalog::table::tests::child", "--exact"])
                    .env(ROLE, format!("w{me}|{}", lake.path().display()))
                    .stdout(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let version = fresh(&lake);
        let all = PROCESSES * COMMITS;
        assert_eq!(version.version, Some(all as u64 - 1), "each has a version of its own");
        let mut landed = names(&version);
        landed.sort_unstable();
        landed.dedup();
        assert_eq!((landed.len(), version.segments.len()), (all, all));
        assert_eq!(version.txns.len(), PROCESSES);
        assert!(version.txns.values().all(|&mark| usize::try_from(mark) == Ok(COMMITS)));
        let alone = Table::new(lake.path(), TableKind::Points);
        assert_eq!(seen(&alone.load_at(all as u64 - 1).unwrap()), seen(&version));
    }

    /// A history in which a file joins with each commit and another leaves. With `RUNLAKE_VERSIONS` it is so long.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "how long it takes is printed, and decides nothing"
    )]
    fn opening_costs_the_same_however_long_the_history_is() {
        const FILES: usize = 100;
        let longest: usize =
            std::env::var("RUNLAKE_VERSIONS").map_or(600, |said| said.parse().unwrap());
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let disk = disk::model::Disk::watch_to_fail(folder.path());
        let never =
            disk::model::Fault { failing: disk::model::Failing::Broken, after: u64::MAX, times: 1 };
        let table = Table::new(folder.path(), TableKind::Points);
        let mut asked = Vec::new();
        let mut made = 0;
        for length in [longest / 20, longest / 2, longest] {
            for nth in made..length {
                let (new, old) = (format!("l0/{nth}"), nth.checked_sub(FILES));
                let old = old.map(|old| format!("l0/{old}"));
                let removes: Vec<&str> = old.iter().map(String::as_str).collect();
                // Ten minutes between flushes.
                let now_us = NOW_US + i64::try_from(nth).unwrap() * 600_000_000;
                let outcome = table.commit(&edit(&[&new], &removes, &[]), now_us).unwrap();
                assert_eq!(outcome, Outcome::Committed(nth as u64));
            }
            made = length;
            let mut opened = 0..9;
            disk.fail(Some(never));
            let started = std::time::Instant::now();
            opened.by_ref().for_each(|_| {
                let table = Table::new(folder.path(), TableKind::Points);
                assert_eq!(table.load().unwrap().segments.len(), FILES.min(length));
            });
            let took = started.elapsed() / 9;
            asked.push(disk.asked() / 9);
            disk.fail(None);
            println!("{length} versions: {} operations, {took:?} to open", asked.last().unwrap());
        }
        // The commits since the last checkpoint, and the checkpoint.
        assert!(asked.iter().all(|&asked| asked < 2 * checkpoint::EVERY + 20), "{asked:?}");
    }

    #[test]
    fn thirty_two_tables_that_commit_at_once_all_succeed() {
        let (lake, _) = lake();
        thread::scope(|scope| {
            for me in 0..32 {
                let table = Table::new(lake.path(), TableKind::Points);
                scope.spawn(move || {
                    let outcome = table.commit(&edit(&[&format!("l0/{me}")], &[], &[]), NOW_US);
                    assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
                });
            }
        });
        assert_eq!(fresh(&lake).segments.len(), 32);
    }

    #[test]
    fn loading_step_by_step_equals_loading_at_once_whatever_was_committed() {
        let (lake, table) = lake();
        let follower = Table::new(lake.path(), TableKind::Points);
        let mut seed = 1_u64;
        let mut draw = |below: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).unwrap() % below
        };
        for nth in 0..260 {
            let live: Vec<String> =
                table.load().unwrap().segments.iter().map(|it| it.name.clone()).collect();
            let name = format!("l0/{nth:04}");
            if live.len() > 3 && draw(4) == 0 {
                let from = draw(live.len() - 2);
                let inputs: Vec<&str> = live[from..from + 2].iter().map(String::as_str).collect();
                let _outcome = table.commit(&edit(&[&name], &inputs, &[]), NOW_US).unwrap();
            } else {
                let mark = (["w0", "w1", "w2"][draw(3)], nth + 1);
                let _outcome = table.commit(&edit(&[&name], &[], &[mark]), NOW_US + nth).unwrap();
            }
            if draw(7) == 0 {
                assert_eq!(seen(&follower.load().unwrap()), seen(&fresh(&lake)), "after {nth}");
            }
        }
        let hint = Hint::read(&table.log).unwrap().unwrap();
        assert_eq!(hint.version, 200);
        // Other programs remove the commits that a checkpoint holds.
        let before = seen(&fresh(&lake));
        for version in 0..=200 {
            disk::remove_if_there(&log(&lake, &commit::name(version))).unwrap();
        }
        assert_eq!(seen(&fresh(&lake)), before);
        disk::remove_if_there(&log(&lake, "_last_checkpoint")).unwrap();
        assert_eq!(seen(&fresh(&lake)), before, "the checkpoint is found without the hint");
    }

    #[test]
    fn a_reader_that_slept_over_a_clean_up_goes_on_from_the_checkpoint() {
        let (lake, table) = lake();
        let sleeper = Table::new(lake.path(), TableKind::Points);
        for nth in 0..5 {
            let _outcome = table.commit(&edit(&[&format!("l0/{nth}")], &[], &[]), NOW_US).unwrap();
            assert_eq!(sleeper.load().unwrap().version, Some(nth));
        }
        for nth in 5..9 {
            let _outcome = table.commit(&edit(&[&format!("l0/{nth}")], &[], &[]), NOW_US).unwrap();
        }
        table.checkpoint(NOW_US).unwrap();
        for version in 0..9 {
            disk::remove_if_there(&log(&lake, &commit::name(version))).unwrap();
        }
        assert_eq!(sleeper.load().unwrap().version, Some(8));
        let next = sleeper.commit(&edit(&["l0/9"], &[], &[]), NOW_US).unwrap();
        assert_eq!(next, Outcome::Committed(9));
        assert_eq!(seen(&fresh(&lake)), seen(&sleeper.load().unwrap()));
    }

    #[test]
    fn a_missing_version_in_the_middle_is_corrupt_and_named() {
        let (lake, table) = lake();
        for nth in 0..5 {
            let _outcome = table.commit(&edit(&[&format!("l0/{nth}")], &[], &[]), NOW_US).unwrap();
        }
        for (gone, with_checkpoint) in [(2, false), (4, true)] {
            if with_checkpoint {
                table.checkpoint(NOW_US).unwrap();
                for nth in 5..8 {
                    let _outcome =
                        table.commit(&edit(&[&format!("l0/{nth}")], &[], &[]), NOW_US).unwrap();
                }
            }
            let gone = if with_checkpoint { gone + 2 } else { gone };
            let path = log(&lake, &commit::name(gone));
            let bytes = disk::read(&path).unwrap();
            disk::remove_if_there(&path).unwrap();
            match Table::new(lake.path(), TableKind::Points).load() {
                Err(Error::Corrupt { path: named, .. }) => assert_eq!(named, path),
                other => panic!("{other:?}"),
            }
            disk::replace(&path, &bytes).unwrap();
        }
    }

    #[test]
    fn a_damaged_checkpoint_is_passed_over_while_the_commits_are_there() {
        let (lake, table) = lake();
        for nth in 0..6 {
            let _outcome = table.commit(&edit(&[&format!("l0/{nth}")], &[], &[]), NOW_US).unwrap();
            if nth == 2 || nth == 5 {
                table.checkpoint(NOW_US).unwrap();
            }
        }
        let whole = seen(&fresh(&lake));
        for version in [5, 2] {
            let path = log(&lake, &format!("{version:020}.checkpoint.parquet"));
            disk::replace(&path, b"PAR1 not a Parquet file PAR1").unwrap();
            assert_eq!(seen(&fresh(&lake)), whole);
        }
        disk::remove_if_there(&log(&lake, &commit::name(0))).unwrap();
        let error = Table::new(lake.path(), TableKind::Points).load().unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt { path, .. } if path.ends_with(format!("{:020}.checkpoint.parquet", 5))),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_reader_refuses_reading_and_an_unknown_writer_only_writing() {
        let cases = [
            (r#""minReaderVersion":2,"minWriterVersion":5"#, "Delta reader version 2", true),
            (
                r#""minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]"#,
                "the Delta reader feature 'deletionVectors'",
                true,
            ),
            (
                r#""minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["runlake","rowTracking"]"#,
                "the Delta writer feature 'rowTracking'",
                false,
            ),
            (r#""minReaderVersion":1,"minWriterVersion":4"#, "Delta writer version 4", false),
        ];
        for (protocol, needed, refuses_reading) in cases {
            let (lake, table) = lake();
            let _outcome = table.commit(&edit(&["l0/1"], &[], &[]), NOW_US).unwrap();
            let newer = format!("{{\"protocol\":{{{protocol}}}}}\n");
            let path = log(&lake, &commit::name(1));
            assert!(disk::publish(&path, newer.as_bytes()).unwrap());
            let read = table.load();
            assert_eq!(read.is_err(), refuses_reading, "{needed}");
            let error = table.commit(&edit(&["l0/2"], &[], &[]), NOW_US).unwrap_err();
            match error {
                Error::Unsupported { path: named, feature } => {
                    assert_eq!((named, feature.as_str()), (path, needed));
                }
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_file_outside_the_table_is_neither_committed_nor_read() {
        let (lake, table) = lake();
        let mut outside = edit(&["l0/1"], &[], &[]);
        outside.adds[0].path = "../../secret".to_owned();
        assert!(matches!(table.commit(&outside, NOW_US), Err(Error::Invalid { .. })));
        let _outcome = table.commit(&edit(&["l0/1"], &[], &[]), NOW_US).unwrap();
        let line = r#"{"add":{"path":"/etc/passwd","partitionValues":{},"size":1,"modificationTime":1,"dataChange":true}}"#;
        assert!(disk::publish(&log(&lake, &commit::name(1)), line.as_bytes()).unwrap());
        assert!(matches!(table.load(), Err(Error::Corrupt { offset: 0, .. })));
    }
}
