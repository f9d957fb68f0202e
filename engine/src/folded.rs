//! Tables `runs`, `config` and `series`: what is known of runs, folded, as Delta tables that other programs read without us.
//!
//! Our own readers fold facts and side indexes themselves, since they see what stands in logs too. These tables say the same
//! of what is committed, as of the last compaction. Each holds one file a project. A file carries in its tags which segments it
//! was folded from, so that a project of which nothing changed costs a look at the catalog; and all files of a table that are
//! new take the place of their predecessors in one commit. Killed between any two steps, a table has the old rows or the new
//! ones, and files that no commit names, which are collected as in the other tables.

use std::{borrow::Cow, collections::BTreeMap, path::Path, sync::Arc};

use rustc_hash::FxHashSet;
use serde_json::{Map, Value};

use crate::{
    Error, Fact, Result, RunInfo, SegmentMeta, SeriesInfo, SeriesKey, State,
    catalog::{Add, Edit, Outcome, Table, TableKind, TableVersion, Txn},
    compaction::{self, Compacted, World},
    json,
    log::owner::Liveness,
    runs::{self, Launches},
    segment::{self, Column, NewSegment, RowsWriter},
    summary::summary,
};

/// The tables in the order in which they are committed: whoever finds a run finds its configuration and its series.
const KINDS: [TableKind; 3] = [TableKind::Series, TableKind::Config, TableKind::Runs];

/// Said besides of a file of runs of which one may still run: what became of it can change without a commit.
const OPEN: &str = " open";

/// The application of which these tables count commits. Of two that began from the same version one lands.
const FOLD: &str = "fold";

/// A run with more series says in its summary only what the user set.
const MOST_IN_SUMMARY: usize = 10_000;

/// Rows that are written together, and the bytes of their texts at which fewer are.
const GROUP_ROWS: usize = 16 << 10;
const GROUP_BYTES: usize = 8 << 20;

/// Room that has to be left on the disk for this: rows come first.
const LEAVE_FREE_BYTES: u64 = 256 << 20;

/// Brings the folded tables of the lake at `root` up to date with `points` and `facts`, unless somebody else is at it, and
/// removes files that nobody needs. `liveness` says whether a writer lives, by its id.
pub(crate) fn fold(
    root: &Path,
    points: &Table,
    facts: &Table,
    liveness: &dyn Fn(&str) -> Liveness,
    gc_now: bool,
    done: &mut Compacted,
    world: &mut World<'_>,
) -> Result<()> {
    if points.load()?.version.is_none() && facts.load()?.version.is_none() {
        return Ok(());
    }
    let Some(_turn) = compaction::take_turn(root)? else { return Ok(()) };
    // Flushes commit facts first, so the runs of all these points are known.
    let (points, facts) = (points.load()?, facts.load()?);
    let tables = KINDS.map(|kind| Table::new(root, kind));
    if (world.free_bytes)(root)? < LEAVE_FREE_BYTES {
        done.lacks_space = true;
    } else {
        write(&tables, &points, &facts, liveness, done, world)?;
    }
    for table in &tables {
        compaction::collect(table, gc_now, (world.now_us)(), done)?;
    }
    Ok(())
}

/// The files of the tables, each with the name of its table.
pub(crate) fn segments(root: &Path) -> Result<Vec<(&'static str, Arc<SegmentMeta>)>> {
    let mut found = Vec::new();
    for kind in KINDS {
        let version = Table::new(root, kind).load()?;
        found.extend(version.segments.iter().map(|segment| (kind.name(), Arc::clone(segment))));
    }
    Ok(found)
}

/// The segments of one project.
#[derive(Default)]
struct Project {
    points: Vec<Arc<SegmentMeta>>,
    facts: Vec<Arc<SegmentMeta>>,
}

impl Project {
    /// The projects of a lake. Files of other programs, of which nobody says what project they hold, are left out.
    fn all(points: &TableVersion, facts: &TableVersion) -> BTreeMap<String, Self> {
        let mut projects: BTreeMap<String, Self> = BTreeMap::new();
        for segment in &points.segments {
            let Some(name) = &segment.project else { continue };
            projects.entry(name.clone()).or_default().points.push(Arc::clone(segment));
        }
        for segment in &facts.segments {
            let Some(name) = &segment.project else { continue };
            projects.entry(name.clone()).or_default().facts.push(Arc::clone(segment));
        }
        projects
    }

    /// What a table is folded from. The last commit and the number of files tell two versions of a project apart: whatever
    /// joins raises the one, and what only leaves lowers the other.
    fn of(&self, kind: TableKind) -> String {
        let part = |segments: &[Arc<SegmentMeta>]| {
            let last = segments.iter().map(|segment| segment.version).max().unwrap_or(0);
            format!("{last}/{}", segments.len())
        };
        match kind {
            TableKind::Config => format!("facts {}", part(&self.facts)),
            _ => format!("points {} facts {}", part(&self.points), part(&self.facts)),
        }
    }
}

/// The change of one table.
#[derive(Default)]
struct Change {
    adds: Vec<NewSegment>,
    removes: Vec<String>,
}

/// Writes what changed, project by project, and commits it, table by table.
fn write(
    tables: &[Table; 3],
    points: &TableVersion,
    facts: &TableVersion,
    liveness: &dyn Fn(&str) -> Liveness,
    done: &mut Compacted,
    world: &mut World<'_>,
) -> Result<()> {
    let mut projects = Project::all(points, facts);
    let [series, config, runs] = tables;
    let before = [series.load()?, config.load()?, runs.load()?];
    // What has no segment any more has no rows either.
    for gone in before.iter().flat_map(|table| &table.segments).filter_map(|it| it.project.clone())
    {
        projects.entry(gone).or_default();
    }
    let mut changes: [Change; 3] = Default::default();
    let mut rows = 0;
    for (name, project) in &projects {
        let files_of = |table: &'_ TableVersion| -> Vec<(String, Add)> {
            let files = table.adds().filter(|(it, _)| it.project.as_ref() == Some(name));
            files.map(|(it, add)| (it.name.clone(), add.clone())).collect()
        };
        let old = [0, 1, 2].map(|at| files_of(&before[at]));
        let is_up_to_date = |at: usize| {
            let of = project.of(KINDS[at]);
            matches!(&old[at][..], [(_, add)] if add.of() == Some(&of))
        };
        // Without series, or without a configuration, there is no file to say so: then that of the runs does.
        let [series, config, runs] = &old;
        let runs_are_stale = runs.is_empty() || !is_up_to_date(2);
        let is_stale = [
            if series.is_empty() { runs_are_stale } else { !is_up_to_date(0) },
            if config.is_empty() { runs_are_stale } else { !is_up_to_date(1) },
            runs_are_stale,
        ];
        if is_stale == [false; 3] {
            continue;
        }
        let before = rows;
        let mut goes_on = |written| {
            rows = before + written;
            (world.goes_on)(rows, rows)
        };
        let new = match Folding::new(name, project, tables, is_stale, liveness)
            .and_then(|folding| folding.write(&mut goes_on))
        {
            Ok(Some(new)) => new,
            // It was given up.
            Ok(None) => return Ok(()),
            // Damage does not spread: this project stays as it is.
            Err(error @ (Error::Corrupt { .. } | Error::SnapshotExpired { .. })) => {
                done.problems.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        for (((change, old), new), is_stale) in changes.iter_mut().zip(old).zip(new).zip(is_stale) {
            // The same rows once more are no news.
            let is_known = new.as_ref().is_some_and(|new| {
                old.iter().any(|(_, add)| (add.of(), add.sum()) == (new.add.of(), new.add.sum()))
            });
            if is_stale && !is_known {
                change.removes.extend(old.into_iter().map(|(name, _)| name));
                change.adds.extend(new);
            }
        }
    }
    for ((table, before), Change { adds, removes }) in tables.iter().zip(&before).zip(changes) {
        if adds.is_empty() && removes.is_empty() {
            continue;
        }
        let count = before.txns.get(FOLD).map_or(0, |count| count + 1);
        let files = adds.len() as u64;
        let edit = Edit {
            adds: Vec::new(),
            removes,
            txns: vec![Txn { app_id: FOLD.to_owned(), version: count, expected_below: count }],
            operation: "fold",
            data_change: true,
            takes_place: false,
        };
        match segment::commit(table, adds, edit, (world.now_us)())? {
            Outcome::Committed(_) => done.folded += files,
            // Where locks lie somebody else may fold too; then the first one counts.
            Outcome::Superseded => return Ok(()),
        }
    }
    Ok(())
}

/// One project that is being folded.
struct Folding<'a> {
    project: &'a Project,
    /// Its runs but the deleted ones, by id.
    runs: Vec<Arc<RunInfo>>,
    deleted: FxHashSet<Arc<str>>,
    /// A file for each table that is stale.
    files: [Option<RowsWriter>; 3],
}

impl<'a> Folding<'a> {
    fn new(
        name: &str,
        project: &'a Project,
        tables: &[Table; 3],
        is_stale: [bool; 3],
        liveness: &dyn Fn(&str) -> Liveness,
    ) -> Result<Self> {
        let mut facts: Vec<Fact> = Vec::new();
        // Nobody here can tell whether the writers of another lake live.
        let mut elsewhere: FxHashSet<Arc<str>> = FxHashSet::default();
        for segment in &project.facts {
            let read = segment::read_facts(segment)?;
            if segment.source.is_some() {
                elsewhere.extend(runs::writers(&read).cloned());
            }
            facts.extend(read);
        }
        let liveness = |writer: &str| {
            if elsewhere.contains(writer) { Liveness::Silent } else { liveness(writer) }
        };
        let (deleted, mut runs): (Vec<_>, Vec<_>) = runs::fold(facts.iter(), liveness, |_| None)
            .into_iter()
            .partition(|run| run.deleted_at.is_some());
        runs.sort_by(|a, b| a.run_id.cmp(&b.run_id));
        let deleted = deleted.iter().map(|run| Arc::clone(&run.run_id)).collect();
        let mut files = [None, None, None];
        for ((file, table), is_stale) in files.iter_mut().zip(tables).zip(is_stale) {
            if is_stale {
                *file = Some(RowsWriter::create(table, name)?);
            }
        }
        Ok(Self { project, runs, deleted, files })
    }

    /// Writes the files; `goes_on` is told how many rows were written. None of a table that is not stale, or has no rows of
    /// this project.
    fn write(
        mut self,
        goes_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<[Option<NewSegment>; 3]>> {
        if !goes_on(0) {
            return Ok(None);
        }
        let [series, config, runs] = &mut self.files;
        if let Some(config) = config {
            write_config(config, &self.runs)?;
        }
        let mut run_rows = RunRows::new(runs.as_mut(), &self.runs);
        let (mut written, mut is_given_up) = (0, false);
        let launches_of = |run_id: &str| {
            let found = self.runs.binary_search_by(|run| (*run.run_id).cmp(run_id));
            found.map_or_else(|_| Launches::default(), |at| self.runs[at].launches())
        };
        if series.is_some() || run_rows.file.is_some() {
            let skips = |key: &SeriesKey| self.deleted.contains(&key.run_id);
            SeriesInfo::stream(&self.project.points, &skips, &launches_of, &mut |piece| {
                written += piece.len() as u64;
                if is_given_up || !goes_on(written) {
                    is_given_up = true;
                    return Ok(false);
                }
                if let Some(series) = series {
                    write_series(series, &piece)?;
                }
                for series in &piece {
                    run_rows.see(series)?;
                }
                Ok(true)
            })?;
        }
        if is_given_up {
            return Ok(None);
        }
        run_rows.finish()?;
        let may_change =
            self.runs.iter().any(|run| matches!(run.state, State::Running | State::Unknown));
        let mut new = [None, None, None];
        for ((new, kind), file) in new.iter_mut().zip(KINDS).zip(self.files) {
            let Some(file) = file else { continue };
            *new = file.finish()?;
            if let Some(new) = new {
                let open = if kind == TableKind::Runs && may_change { OPEN } else { "" };
                new.add.set_of(&format!("{}{open}", self.project.of(kind)));
            }
        }
        Ok(Some(new))
    }
}

fn write_config(file: &mut RowsWriter, runs: &[Arc<RunInfo>]) -> Result<()> {
    let mut rows: Vec<(&str, String, &Value)> = Vec::new();
    let flush = |file: &mut RowsWriter, rows: &mut Vec<(&str, String, &Value)>| {
        let ids: Vec<&str> = rows.iter().map(|(run_id, ..)| *run_id).collect();
        let texts = rows
            .iter()
            .map(|(.., value)| (!value.is_null()).then(|| Cow::Owned(json::text(value))));
        file.push(
            &ids,
            &[
                Column::Names(rows.iter().map(|(_, key, _)| Some(&**key)).collect()),
                Column::Texts(texts.collect()),
                Column::Doubles(rows.iter().map(|(.., value)| json::number(value)).collect()),
            ],
        )?;
        rows.clear();
        Ok(())
    };
    for run in runs {
        let flat = json::flatten(&run.config);
        rows.extend(flat.into_iter().map(|(key, value)| (&*run.run_id, key, value)));
        if rows.len() >= GROUP_ROWS {
            flush(file, &mut rows)?;
        }
    }
    flush(file, &mut rows)
}

fn write_series(file: &mut RowsWriter, series: &[SeriesInfo]) -> Result<()> {
    type Pick<T> = fn(&SeriesInfo) -> T;
    let whole = |pick: Pick<Option<i64>>| Column::Integers(series.iter().map(pick).collect());
    let number = |pick: Pick<Option<f64>>| Column::Doubles(series.iter().map(pick).collect());
    let ids: Vec<&str> = series.iter().map(|series| &*series.run_id).collect();
    file.push(
        &ids,
        &[
            Column::Names(series.iter().map(|series| Some(&*series.metric)).collect()),
            Column::Names(series.iter().map(|series| series.labels.as_deref()).collect()),
            whole(|series| Some(series.count.cast_signed())),
            whole(|series| Some(series.nan_count.cast_signed())),
            whole(|series| Some(series.inf_count.cast_signed())),
            whole(|series| Some(series.first_step)),
            whole(|series| Some(series.last_step)),
            number(|series| Some(series.first_value)),
            number(|series| Some(series.last_value)),
            number(|series| series.last_finite_value),
            number(|series| series.min_value),
            whole(|series| series.min_step),
            number(|series| series.max_value),
            whole(|series| series.max_step),
            number(|series| series.mean_value),
            whole(|series| series.last_time),
        ],
    )
}

/// Rows of `runs`, which are made while the series of the runs come by in the same order.
struct RunRows<'a> {
    file: Option<&'a mut RowsWriter>,
    /// The runs that are to come, the next one first.
    runs: &'a [Arc<RunInfo>],
    /// What was seen of the next one.
    last_step: Option<i64>,
    series: Vec<SeriesInfo>,
    rows: Vec<RunRow<'a>>,
    /// The bytes of JSON in `rows`.
    bytes: usize,
}

/// One row: the run, and what is not said by its facts alone.
struct RunRow<'a> {
    run: &'a RunInfo,
    last_step: Option<i64>,
    config: String,
    summary: String,
}

impl<'a> RunRows<'a> {
    fn new(file: Option<&'a mut RowsWriter>, runs: &'a [Arc<RunInfo>]) -> Self {
        Self { file, runs, last_step: None, series: Vec::new(), rows: Vec::new(), bytes: 0 }
    }

    /// Takes the next series in sort order.
    fn see(&mut self, series: &SeriesInfo) -> Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        while self.runs.first().is_some_and(|run| run.run_id < series.run_id) {
            self.end_run()?;
        }
        // Of a run that nobody has said anything of there is no row.
        if self.runs.first().is_some_and(|run| run.run_id == series.run_id) {
            self.last_step = self.last_step.max(Some(series.last_step));
            if self.series.len() <= MOST_IN_SUMMARY {
                self.series.push(series.clone());
            }
        }
        Ok(())
    }

    /// Makes the row of the next run, of which all series were seen.
    fn end_run(&mut self) -> Result<()> {
        let Some((run, later)) = self.runs.split_first() else { return Ok(()) };
        self.runs = later;
        let all = if self.series.len() > MOST_IN_SUMMARY { &[][..] } else { &self.series };
        let summary = text(&summary(all.iter(), run));
        let (config, last_step) = (text(&run.config), self.last_step.take());
        self.series.clear();
        self.bytes += config.len() + summary.len();
        self.rows.push(RunRow { run, last_step, config, summary });
        if self.rows.len() >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn finish(mut self) -> Result<()> {
        if self.file.is_some() {
            while !self.runs.is_empty() {
                self.end_run()?;
            }
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        type Pick<'a, T> = fn(&'a RunInfo) -> T;
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let Some(file) = &mut self.file else { return Ok(()) };
        let runs = || rows.iter().map(|row| row.run);
        let name = |pick: Pick<'a, Option<&'a str>>| Column::Names(runs().map(pick).collect());
        let whole = |pick: Pick<'a, Option<i64>>| Column::Integers(runs().map(pick).collect());
        let ids: Vec<&str> = runs().map(|run| &*run.run_id).collect();
        file.push(
            &ids,
            &[
                name(|run| run.name.as_deref()),
                name(|run| run.group_name.as_deref()),
                name(|run| run.job_type.as_deref()),
                name(|run| Some(run.state.as_str())),
                whole(|run| run.created_at),
                whole(|run| run.finished_at),
                whole(|run| run.heartbeat_at),
                Column::Doubles(runs().map(RunInfo::duration_s).collect()),
                Column::Integers(rows.iter().map(|row| row.last_step).collect()),
                Column::Lists(runs().map(|run| &*run.tags).collect()),
                Column::Texts(runs().map(|run| run.notes.as_deref().map(Cow::Borrowed)).collect()),
                name(|run| run.host.as_deref()),
                name(|run| run.user_name.as_deref()),
                name(|run| run.program.as_deref()),
                Column::Texts(
                    runs().map(|run| run.command.as_deref().map(Cow::Borrowed)).collect(),
                ),
                whole(|run| run.exit_code.map(i64::from)),
                name(|run| run.git_commit.as_deref()),
                name(|run| run.git_remote.as_deref()),
                name(|run| run.sweep_id.as_deref()),
                name(|run| run.parent_run_id.as_deref()),
                whole(|run| run.fork_step),
                whole(|run| Some(run.dropped_rows.cast_signed())),
                Column::Texts(rows.iter().map(|row| Some(Cow::Borrowed(&*row.config))).collect()),
                Column::Texts(rows.iter().map(|row| Some(Cow::Borrowed(&*row.summary))).collect()),
            ],
        )
    }
}

fn text(map: &Map<String, Value>) -> String {
    serde_json::to_string(map).expect("a map with text as keys is JSON")
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _, RecordBatch};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::{Filter, Lake, disk, os};

    /// A lake, its writer gone.
    fn lake() -> (tempfile::TempDir, Lake) {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open_or_create(folder.path().join("runs.lake")).unwrap();
        (folder, lake)
    }

    /// Logs a run and takes its log in.
    fn log(lake: &Lake, project: &str, id: &str, launch: &str, steps: std::ops::Range<i64>) {
        let trainer = Lake::open(lake.path()).unwrap();
        let config = serde_json::json!({ "lr": 0.5, "net": { "width": 8, "act": "gelu" } });
        let run = trainer
            .run(project)
            .id(id)
            .launch(launch)
            .tags(["b", "a"])
            .config(config.as_object().unwrap().clone());
        let run = run.start().unwrap();
        let metrics = ["loss", "acc", "system/cpu"].map(|name| run.metric(name).unwrap());
        for step in steps {
            run.log(step, &metrics.map(|metric| (metric, step as f64 / 3.0))).unwrap();
        }
        run.log(3, &[(metrics[0], f64::NAN)]).unwrap();
        run.finish(State::Finished).unwrap();
        trainer.flush().unwrap();
        drop((run, trainer));
        lake.adopt(&mut |_, _| {}).unwrap();
    }

    fn compact(lake: &Lake) -> Compacted {
        lake.compact(false, &mut |_, _| true).unwrap()
    }

    fn versions(lake: &Lake) -> [Option<u64>; 3] {
        KINDS.map(|kind| Table::new(lake.path(), kind).load().unwrap().version)
    }

    /// The rows of a table, its files in the order of their projects.
    fn rows(lake: &Lake, kind: TableKind) -> Vec<RecordBatch> {
        let mut segments = Table::new(lake.path(), kind).load().unwrap().segments.clone();
        segments.sort_by(|a, b| a.project.cmp(&b.project));
        let read = |segment: &Arc<SegmentMeta>| {
            assert_eq!(segment.verify_rows().unwrap(), [""; 0]);
            let bytes = bytes::Bytes::from(disk::read(&segment.path).unwrap());
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
            let names: Vec<&str> = kind.columns().iter().map(|(name, _)| *name).collect();
            let schema = reader.schema();
            assert_eq!(schema.fields().iter().map(|it| it.name()).collect::<Vec<_>>(), names);
            reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        segments.iter().flat_map(read).collect()
    }

    fn texts(batches: &[RecordBatch], name: &str) -> Vec<Option<String>> {
        let column =
            |batch: &RecordBatch| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let texts = batches.iter().flat_map(|batch| {
            column(batch).iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        });
        texts.collect()
    }

    /// The tables say what a snapshot does, of which nothing stands in logs.
    fn check(lake: &Lake) {
        let snapshot = lake.snapshot().unwrap();
        let series = snapshot.series(&Filter::default()).unwrap();
        let (mut found, names) = (Vec::new(), ["project", "run_id", "metric", "labels"]);
        let read = rows(lake, TableKind::Series);
        for batch in &read {
            for row in 0..batch.num_rows() {
                let texts = names.map(|name| {
                    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
                    column.is_valid(row).then(|| column.value(row).to_owned())
                });
                let number = |name: &str| {
                    let column = batch.column_by_name(name).unwrap();
                    column.as_primitive::<arrow::datatypes::Int64Type>().value(row)
                };
                let value = |name: &str| {
                    let column = batch.column_by_name(name).unwrap();
                    let column = column.as_primitive::<arrow::datatypes::Float64Type>();
                    column.is_valid(row).then(|| column.value(row).to_bits())
                };
                let whole = ["count", "nan_count", "first_step", "last_step"].map(number);
                let values = ["first_value", "last_value", "min_value", "mean_value"].map(value);
                found.push((texts, whole, values));
            }
        }
        let owned = |text: &Arc<str>| Some(text.to_string());
        let expected: Vec<_> = series
            .iter()
            .map(|it| {
                let labels = it.labels.as_ref().and_then(owned);
                let texts = [owned(&it.project), owned(&it.run_id), owned(&it.metric), labels];
                let count = |count: u64| count.cast_signed();
                let whole = [count(it.count), count(it.nan_count), it.first_step, it.last_step];
                let values =
                    [Some(it.first_value), Some(it.last_value), it.min_value, it.mean_value];
                (texts, whole, values.map(|value| value.map(f64::to_bits)))
            })
            .collect();
        assert_eq!(found, expected);
        let mut runs = snapshot.runs().unwrap().to_vec();
        runs.sort_by(|a, b| (&a.project, &a.run_id).cmp(&(&b.project, &b.run_id)));
        let read = rows(lake, TableKind::Runs);
        let of = |pick: fn(&RunInfo) -> String| {
            runs.iter().map(|run| Some(pick(run))).collect::<Vec<_>>()
        };
        assert_eq!(texts(&read, "run_id"), of(|run| run.run_id.to_string()));
        assert_eq!(texts(&read, "name"), of(|run| run.name.clone().unwrap()));
        assert_eq!(texts(&read, "state"), of(|run| run.state.as_str().to_owned()));
        assert_eq!(texts(&read, "config"), of(|run| text(&run.config)));
        let flat: usize = runs.iter().map(|run| json::flatten(&run.config).len()).sum();
        assert_eq!(texts(&rows(lake, TableKind::Config), "key").len(), flat);
    }

    #[test]
    fn the_tables_say_of_runs_what_a_snapshot_does() {
        let (_folder, lake) = lake();
        log(&lake, "p", "b", "one", 0..20);
        log(&lake, "p", "a", "one", 0..20);
        log(&lake, "q q", "é", "one", 5..9);
        // A later launch that went back hides what it repeats, and cuts into a series.
        log(&lake, "p", "a", "two", 7..12);
        assert_eq!(compact(&lake).folded, 6);
        check(&lake);
        let read = rows(&lake, TableKind::Runs);
        let summaries = texts(&read, "summary");
        assert_eq!(
            summaries[2].as_deref(),
            Some(r#"{"acc":2.6666666666666665,"loss":2.6666666666666665}"#)
        );
        let tags = read[0].column_by_name("tags").unwrap().as_list::<i32>().value(0);
        let tags: Vec<_> = tags.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        assert_eq!(tags, ["a", "b"]);
        log(&lake, "p", "c", "one", 0..3);
        assert_eq!(compact(&lake).folded, 3, "the other project stays as it is");
        check(&lake);
    }

    #[test]
    fn where_nothing_changed_nothing_is_written() {
        let (_folder, lake) = lake();
        log(&lake, "p", "a", "one", 0..20);
        assert_eq!(compact(&lake).folded, 3);
        let before = versions(&lake);
        let done = compact(&lake);
        assert_eq!((done.folded, versions(&lake)), (0, before));
        // A run that may still end has to be looked at, and is no news while it goes on.
        let trainer = Lake::open(lake.path()).unwrap();
        let run = trainer.run("p").id("live").start().unwrap();
        trainer.flush().unwrap();
        assert!(compact(&lake).folded > 0);
        let before = versions(&lake);
        assert_eq!((compact(&lake).folded, versions(&lake)), (0, before));
        assert_eq!(texts(&rows(&lake, TableKind::Runs), "state")[1].as_deref(), Some("running"));
        run.finish(State::Failed).unwrap();
        drop((run, trainer));
        lake.adopt(&mut |_, _| {}).unwrap();
        assert!(compact(&lake).folded > 0);
        check(&lake);
    }

    #[test]
    fn a_lake_without_commits_stays_as_it_is() {
        let (_folder, lake) = lake();
        assert_eq!(compact(&lake), Compacted::default());
        assert!(!disk::exists(&lake.path().join("tables")).unwrap());
    }

    #[test]
    fn deleted_runs_leave_and_the_last_one_takes_the_file_with_it() {
        let (_folder, lake) = lake();
        log(&lake, "p", "a", "one", 0..20);
        log(&lake, "p", "b", "one", 0..20);
        compact(&lake);
        let delete = |id: &str| {
            let editor = Lake::open(lake.path()).unwrap();
            let run = lake.snapshot().unwrap().find_run(id).unwrap();
            editor.edit(&run).unwrap().delete(false).unwrap();
            editor.flush().unwrap();
            drop(editor);
            lake.adopt(&mut |_, _| {}).unwrap();
        };
        delete("a");
        compact(&lake);
        check(&lake);
        assert_eq!(texts(&rows(&lake, TableKind::Runs), "run_id"), [Some("b".to_owned())]);
        delete("b");
        compact(&lake);
        check(&lake);
        for kind in KINDS {
            assert_eq!(Table::new(lake.path(), kind).load().unwrap().segments.len(), 0);
        }
    }

    #[test]
    fn of_two_that_fold_from_one_version_the_first_wins_and_the_other_leaves_nothing() {
        let (_folder, lake) = lake();
        log(&lake, "p", "a", "one", 0..20);
        let (root, alive) = (lake.path(), &|_: &str| Liveness::Dead);
        let [points, facts] = [TableKind::Points, TableKind::Facts].map(|it| Table::new(root, it));
        let (points, facts) = (points.load().unwrap(), facts.load().unwrap());
        let tables = || KINDS.map(|kind| Table::new(root, kind));
        let mut is_first = true;
        // Locks may lie.
        let mut faster = |_, _| {
            if std::mem::take(&mut is_first) {
                let (mut done, mut goes_on) = (Compacted::default(), |_, _| true);
                let world = &mut World::here(&mut goes_on);
                write(&tables(), &points, &facts, alive, &mut done, world).unwrap();
                assert_eq!(done.folded, 3);
            }
            true
        };
        let (mut done, world) = (Compacted::default(), &mut World::here(&mut faster));
        write(&tables(), &points, &facts, alive, &mut done, world).unwrap();
        assert_eq!(done.folded, 0);
        check(&lake);
        for table in tables() {
            assert_eq!(table.load().unwrap().version, Some(0));
            assert_eq!(disk::list(&table.dir().join("l1")).unwrap().len(), 1);
            assert!(disk::list(&table.dir().join("_staging")).unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_given_up_or_finds_no_room_or_meets_damage_leaves_the_tables_as_they_were() {
        let (_folder, lake) = lake();
        log(&lake, "p", "a", "one", 0..20);
        log(&lake, "q", "a", "one", 0..20);
        compact(&lake);
        let before = versions(&lake);
        log(&lake, "p", "b", "one", 0..20);
        log(&lake, "q", "b", "one", 0..20);
        let root = lake.path();
        let [points, facts] = [TableKind::Points, TableKind::Facts].map(|it| Table::new(root, it));
        let run = |world: &mut World<'_>| {
            let mut done = Compacted::default();
            fold(root, &points, &facts, &|_| Liveness::Dead, false, &mut done, world).unwrap();
            done
        };
        let mut gives_up = |_, _| false;
        assert_eq!(run(&mut World::here(&mut gives_up)), Compacted::default());
        let mut goes_on = |_, _| true;
        let mut full = World { free_bytes: &|_| Ok(1000), ..World::here(&mut goes_on) };
        assert!(run(&mut full).lacks_space);
        let mut goes_on = |_, _| true;
        let turn = compaction::take_turn(root).unwrap().expect("nobody merges");
        assert_eq!(run(&mut World::here(&mut goes_on)), Compacted::default());
        drop(turn);
        assert_eq!(versions(&lake), before);

        let segments = points.load().unwrap().segments.clone();
        let damaged = segments.iter().rfind(|it| it.project.as_deref() == Some("q")).unwrap();
        let index = damaged.index.as_ref().unwrap();
        let sound = disk::read(index).unwrap();
        let mut bytes = sound.clone();
        bytes[sound.len() / 2] ^= 1;
        disk::replace(index, &bytes).unwrap();
        let mut goes_on = |_, _| true;
        let done = run(&mut World::here(&mut goes_on));
        let [problem] = &done.problems[..] else { panic!("{done:?}") };
        assert!(problem.contains(index.to_str().unwrap()), "{problem}");
        assert_eq!(done.folded, 3, "of the sound project");
        disk::replace(index, &sound).unwrap();
        let mut goes_on = |_, _| true;
        assert_eq!(run(&mut World::here(&mut goes_on)).folded, 3);
        check(&lake);
    }

    #[test]
    fn files_that_were_replaced_go_after_an_hour() {
        let (_folder, lake) = lake();
        log(&lake, "p", "a", "one", 0..20);
        compact(&lake);
        log(&lake, "p", "b", "one", 0..20);
        compact(&lake);
        let files =
            |kind| disk::list(&Table::new(lake.path(), kind).dir().join("l1")).unwrap().len();
        assert_eq!(KINDS.map(files), [2; 3]);
        let [points, facts] =
            [TableKind::Points, TableKind::Facts].map(|it| Table::new(lake.path(), it));
        let later = os::now_us() + 3700 * 1_000_000;
        let mut goes_on = |_, _| true;
        let world = &mut World { now_us: &|| later, ..World::here(&mut goes_on) };
        let mut done = Compacted::default();
        fold(lake.path(), &points, &facts, &|_| Liveness::Dead, false, &mut done, world).unwrap();
        assert_eq!((KINDS.map(files), done.freed_files), ([1; 3], 3));
        check(&lake);
    }
}
