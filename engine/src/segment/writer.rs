//! Writes segments and their side indexes.

use std::path::{Path, PathBuf};

use parquet::{basic::Encoding, errors::ParquetError, schema::types::SchemaDescriptor};
use uuid::Uuid;

use super::{
    SegmentMeta,
    column::{Chunk, ColumnEncoder, POINT_PAGE_ROWS},
    effort::Effort,
    file::{FileSum, FileWriter},
    index::{IndexRow, Summary},
    meta::{self, Bounds, Described, Seen},
    rollup::{Cell, Pyramid},
    schema::{FileKind, IDS, STEP, TIME, VALUE},
};
use crate::{
    Error, Fact, Result, Series, SeriesKey, SortedPoints, UNKNOWN_TIME,
    catalog::{Add, Edit, Outcome, Table},
    disk,
};

/// Rows of a row group, which is what a writer holds in memory.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// Rows of a row group of a side index, which a writer holds in memory: a run may have a million series.
const INDEX_GROUP_ROWS: usize = 64 << 10;

/// Cells of a row group of rollups, and of a page of it: what a chart of one series has to decode too much of.
const CELL_GROUP_ROWS: usize = 64 << 10;
const CELL_PAGE_ROWS: usize = 2 << 10;

/// A segment that is written and durable, but that no commit names yet. Dropped, it leaves nothing behind.
#[derive(Debug)]
#[must_use = "a segment that is dropped is deleted"]
pub(crate) struct NewSegment {
    /// What a commit says of it.
    pub(crate) add: Add,
    table: PathBuf,
    /// Each file: where it was written and its name in the table. The data file is last, so that it never stands in
    /// its place without its index.
    pub(super) files: Vec<(PathBuf, String)>,
    rows: u64,
    placed: bool,
    kept: bool,
}

impl NewSegment {
    pub(super) fn new(table: &Path, add: Add, files: Vec<(PathBuf, String)>) -> Self {
        let rows = SegmentMeta::from_add(table, &add, 0).rows;
        Self { add, table: table.to_owned(), files, rows, placed: false, kept: false }
    }

    #[cfg(test)]
    pub(crate) fn place(&mut self) -> Result<()> {
        place(std::slice::from_mut(self))
    }

    /// Its rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Gives the files to the table: a commit names them, or may.
    pub(crate) fn keep(mut self) -> Add {
        self.kept = true;
        self.add.clone()
    }
}

impl Drop for NewSegment {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for (staged, name) in &self.files {
            // What cannot be removed now is an orphan, as after a crash.
            let _orphan = disk::remove_if_there(staged);
            if self.placed {
                let _orphan = disk::remove_if_there(&self.table.join(name));
            }
        }
    }
}

/// Moves the files of new segments to their final names, to be called just before the commit. A crash between the two leaves
/// orphans, which a later collection removes.
pub(crate) fn place(segments: &mut [NewSegment]) -> Result<()> {
    let mut moves = Vec::new();
    for segment in segments {
        segment.placed = true;
        for (staged, name) in &segment.files {
            let path = segment.table.join(name);
            disk::create_dirs(path.parent().unwrap_or(&segment.table))?;
            moves.push((staged.as_path(), path));
        }
    }
    disk::place_all(&moves)
}

/// Moves the segments to their places and commits them as the files of `edit`. Where somebody else did the same before,
/// they are deleted.
pub(crate) fn commit(
    table: &Table,
    mut segments: Vec<NewSegment>,
    edit: Edit,
    now_us: i64,
) -> Result<Outcome> {
    place(&mut segments)?;
    let adds = segments.iter().map(|segment| segment.add.clone()).collect();
    let edit = Edit { adds, ..edit };
    // After an error nobody knows whether the commit is there. The same edit once more finds out: it returns the
    // version in which it already stands.
    let outcome = match table.commit(&edit, now_us) {
        Err(_unknown) => table.commit(&edit, now_us),
        outcome => outcome,
    };
    // After a second error too: better an orphan, which a later collection removes, than a commit whose files are gone.
    if !matches!(outcome, Ok(Outcome::Superseded)) {
        for segment in segments {
            drop(segment.keep());
        }
    }
    outcome
}

/// Writes the points of one project as one segment of `level` into the staging folder of `table` and makes it
/// durable. `series` is a part of `points.series` that shares a project.
pub(crate) fn write_points(
    table: &Path,
    points: &SortedPoints,
    series: &[Series],
    level: u8,
) -> Result<NewSegment> {
    let mut writer = PointsWriter::create(table, level)?;
    writer.group.reserve(series.iter().map(|series| series.rows.len()).sum());
    for Series { key, rows } in series {
        let (steps, times) = (&points.steps[rows.clone()], &points.times[rows.clone()]);
        writer.push(key, steps, times, &points.values[rows.clone()])?;
    }
    writer.finish()
}

/// Writes one segment of points, series by series. Holds one row group in memory.
#[derive(Debug)]
pub(crate) struct PointsWriter {
    table: PathBuf,
    name: Uuid,
    level: u8,
    file: Staged,
    /// What is known of the series that are whole.
    sides: Sides,
    /// The series that is being written.
    series: Option<SeriesKey>,
    pyramid: Pyramid,
    times_seen: Option<Bounds<i64>>,
    unknown_times: u64,
    group: RowGroup,
}

/// What lies beside the points of a segment: its side index and its rollups.
#[derive(Debug)]
struct Sides {
    table: PathBuf,
    name: Uuid,
    level: u8,
    /// The index, once a row group of it is full.
    file: Option<Staged>,
    /// The row group of it that is being filled.
    rows: Vec<IndexRow>,
    rollups: Rollups,
    seen: Seen,
}

/// The sides of a segment, with what they amount to.
struct WrittenSides {
    seen: Seen,
    index_crc32c: u32,
    rollup: Option<FileSum>,
    /// Where each file was written and its name in the table.
    files: Vec<(PathBuf, String)>,
}

impl Sides {
    fn new(table: &Path, name: Uuid, level: u8) -> Self {
        let rollups = Rollups::new(table, name, level);
        let (table, rows) = (table.to_owned(), Vec::new());
        Self { table, name, level, file: None, rows, rollups, seen: Seen::default() }
    }

    fn push(&mut self, key: SeriesKey, summary: Summary, levels: Vec<Vec<Cell>>) -> Result<()> {
        self.rollups.push(self.seen.series, levels)?;
        let row = IndexRow { key, first_row: self.seen.rows, summary };
        self.seen.see(&row);
        self.rows.push(row);
        if self.rows.len() == INDEX_GROUP_ROWS { self.flush().map(drop) } else { Ok(()) }
    }

    /// Writes the row group.
    fn flush(&mut self) -> Result<&mut Staged> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let name = format!("{}.index.parquet", self.name);
                none.insert(Staged::create(&self.table, &name, FileKind::Index, self.level)?)
            }
        };
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows);
            file.writer.row_group(|encoder, schema| encode_index(&rows, encoder, schema))?;
        }
        Ok(file)
    }

    fn finish(mut self) -> Result<WrittenSides> {
        self.flush()?;
        let Self { name, file, rollups, seen, .. } = self;
        let (mut files, mut index_crc32c) = (Vec::new(), 0);
        let rollup = rollups.finish()?;
        let sum = rollup.as_ref().map(|(_, sum)| *sum);
        if let Some((rollup, _)) = rollup {
            files.push((rollup.release(), format!("_rollups/{name}.parquet")));
        }
        if let Some(file) = file {
            index_crc32c = file.writer.finish()?.crc32c;
            files.push((file.guard.release(), format!("_index/{name}.parquet")));
        }
        Ok(WrittenSides { seen, index_crc32c, rollup: sum, files })
    }
}

/// Writes a segment of series whose points have expired: what lies beside them, and a data file without rows.
#[derive(Debug)]
pub(super) struct SidesWriter(Sides);

impl SidesWriter {
    pub(super) fn new(table: &Path, level: u8) -> Self {
        Self(Sides::new(table, Uuid::now_v7(), level))
    }

    /// Appends a series, in sort order.
    pub(super) fn push(
        &mut self,
        key: SeriesKey,
        summary: Summary,
        levels: Vec<Vec<Cell>>,
    ) -> Result<()> {
        self.0.push(key, summary, levels)
    }

    /// Ends the segment and makes it durable; `None` where no series is in it.
    pub(super) fn finish(self) -> Result<Option<NewSegment>> {
        let Self(sides) = self;
        if sides.seen.series == 0 {
            return Ok(None);
        }
        let (table, name, level) = (sides.table.clone(), sides.name, sides.level);
        let file = Staged::create(&table, &format!("{name}.parquet"), FileKind::Points, level)?;
        let sum = file.writer.finish()?;
        let mut sides = sides.finish()?;
        let name = format!("l{level}/{name}.parquet");
        let add = meta::describe_points(&Described {
            name: &name,
            level,
            seen: &sides.seen,
            times: None,
            unknown_times: 0,
            sum,
            index_crc32c: sides.index_crc32c,
            rollup: sides.rollup,
            has_expired: true,
        });
        sides.files.push((file.guard.release(), name));
        Ok(Some(NewSegment::new(&table, add, sides.files)))
    }
}

/// The row group that is being filled.
#[derive(Debug, Default)]
struct RowGroup {
    /// Its series, each with its number of rows.
    runs: Vec<(SeriesKey, usize)>,
    steps: Vec<i64>,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl PointsWriter {
    /// Begins a segment in the staging folder of `table`.
    pub(crate) fn create(table: &Path, level: u8) -> Result<Self> {
        let name = Uuid::now_v7();
        let file = Staged::create(table, &format!("{name}.parquet"), FileKind::Points, level)?;
        Ok(Self {
            table: table.to_owned(),
            name,
            level,
            file,
            sides: Sides::new(table, name, level),
            series: None,
            pyramid: Pyramid::default(),
            times_seen: None,
            unknown_times: 0,
            group: RowGroup::default(),
        })
    }

    /// Appends points of one series, sorted by step, ties in the order of logging. Series come in sort order and share
    /// a project; one may come in several pieces.
    pub(crate) fn push(
        &mut self,
        key: &SeriesKey,
        steps: &[i64],
        times: &[i64],
        values: &[f64],
    ) -> Result<()> {
        debug_assert!(steps.is_sorted(), "the points of a series come in order");
        if steps.is_empty() {
            return Ok(());
        }
        if self.series.as_ref().is_none_or(|last| last != key) {
            debug_assert!(
                self.series.as_ref().is_none_or(|last| last < key),
                "series come in order"
            );
            self.end_series()?;
            self.series = Some(key.clone());
        }
        self.pyramid.push(steps, times, values);
        for &time in times {
            if time == UNKNOWN_TIME {
                self.unknown_times += 1;
            } else {
                Bounds::widen(&mut self.times_seen, time);
            }
        }
        let mut at = 0;
        while at < steps.len() {
            let group = &mut self.group;
            let end = steps.len().min(at + ROW_GROUP_ROWS - group.steps.len());
            match group.runs.last_mut() {
                Some((last, rows)) if last == key => *rows += end - at,
                _ => group.runs.push((key.clone(), end - at)),
            }
            group.steps.extend_from_slice(&steps[at..end]);
            group.times.extend_from_slice(&times[at..end]);
            group.values.extend_from_slice(&values[at..end]);
            if group.steps.len() == ROW_GROUP_ROWS {
                self.flush()?;
            }
            at = end;
        }
        Ok(())
    }

    /// Takes what the points of the series add up to.
    fn end_series(&mut self) -> Result<()> {
        let Some(key) = self.series.take() else { return Ok(()) };
        let Some((summary, levels)) = self.pyramid.finish() else { return Ok(()) };
        self.sides.push(key, summary, levels)
    }

    /// Bytes written so far, without the row group in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.writer.bytes()
    }

    fn flush(&mut self) -> Result<()> {
        let group = &self.group;
        if !group.steps.is_empty() {
            self.file.writer.row_group(|encoder, schema| group.encode(encoder, schema))?;
        }
        self.group.runs.clear();
        self.group.steps.clear();
        self.group.times.clear();
        self.group.values.clear();
        Ok(())
    }

    /// Ends the segment, writes its index and its rollups, and makes all durable.
    pub(crate) fn finish(mut self) -> Result<NewSegment> {
        self.end_series()?;
        if self.sides.seen.series == 0 {
            let detail = "a segment holds at least one".to_owned();
            return Err(Error::Invalid { what: "points", detail });
        }
        self.flush()?;
        let sum = self.file.writer.finish()?;
        let mut sides = self.sides.finish()?;
        let name = format!("l{}/{}.parquet", self.level, self.name);
        let add = meta::describe_points(&Described {
            name: &name,
            level: self.level,
            seen: &sides.seen,
            times: self.times_seen,
            unknown_times: self.unknown_times,
            sum,
            index_crc32c: sides.index_crc32c,
            rollup: sides.rollup,
            has_expired: false,
        });
        sides.files.push((self.file.guard.release(), name));
        Ok(NewSegment::new(&self.table, add, sides.files))
    }
}

/// Writes the rollups of a segment. There is no file where no series is long enough.
#[derive(Debug)]
struct Rollups {
    table: PathBuf,
    name: Uuid,
    level: u8,
    file: Option<Staged>,
    /// For each level of rollups, finest first, the cells of the row group that is being filled, with their series.
    waiting: Vec<Vec<(usize, Cell)>>,
}

impl Rollups {
    fn new(table: &Path, name: Uuid, level: u8) -> Self {
        Self { table: table.to_owned(), name, level, file: None, waiting: Vec::new() }
    }

    /// Adds the levels of a series, by its place in the index.
    fn push(&mut self, series: usize, levels: Vec<Vec<Cell>>) -> Result<()> {
        for (level, cells) in levels.into_iter().enumerate() {
            if level == self.waiting.len() {
                self.waiting.push(Vec::new());
            }
            for cell in cells {
                self.waiting[level].push((series, cell));
                if self.waiting[level].len() == CELL_GROUP_ROWS {
                    self.flush(level)?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, level: usize) -> Result<()> {
        let cells = std::mem::take(&mut self.waiting[level]);
        if cells.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Staged::create(
                &self.table,
                &format!("{}.rollup.parquet", self.name),
                FileKind::Rollup,
                self.level,
            )?),
        };
        file.writer.row_group(|encoder, schema| encode_cells(level, &cells, encoder, schema))
    }

    fn finish(mut self) -> Result<Option<(StagedPath, FileSum)>> {
        for level in 0..self.waiting.len() {
            self.flush(level)?;
        }
        let Some(file) = self.file else { return Ok(None) };
        let sum = file.writer.finish()?;
        Ok(Some((file.guard, sum)))
    }
}

/// Writes the facts of one project as one segment of `level` into the staging folder of `table` and makes it durable.
pub(crate) fn write_facts(table: &Path, facts: &[Fact], level: u8) -> Result<NewSegment> {
    let mut sorted: Vec<&Fact> = facts.iter().collect();
    sorted.sort_by(|a, b| {
        (&a.project, &a.run_id, a.kind.as_str(), &a.key)
            .cmp(&(&b.project, &b.run_id, b.kind.as_str(), &b.key))
            .then_with(|| a.cmp_age(b))
    });
    let Some(first) = sorted.first() else {
        let detail = "a segment holds at least one".to_owned();
        return Err(Error::Invalid { what: "facts", detail });
    };
    let name = Uuid::now_v7();
    let mut file = Staged::create(table, &format!("{name}.parquet"), FileKind::Facts, level)?;
    for facts in sorted.chunks(ROW_GROUP_ROWS) {
        file.writer.row_group(|encoder, schema| encode_facts(facts, encoder, schema))?;
    }
    let sum = file.writer.finish()?;
    let name = format!("l{level}/{name}.parquet");
    let add = meta::describe_facts(&name, level, &first.project, &sorted, sum);
    Ok(NewSegment::new(table, add, vec![(file.guard.release(), name)]))
}

/// A file in the staging folder. It is removed where its writer gives up.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) writer: FileWriter,
    pub(super) guard: StagedPath,
}

impl Staged {
    pub(super) fn create(table: &Path, name: &str, kind: FileKind, level: u8) -> Result<Self> {
        let guard = StagedPath(Some(table.join("_staging").join(name)));
        let path = guard.0.clone().unwrap_or_default();
        disk::create_dirs(&table.join("_staging"))?;
        Ok(Self { writer: FileWriter::create(path, kind, Effort::of_level(level))?, guard })
    }
}

/// Removes the file when dropped, unless it was released.
#[derive(Debug)]
pub(super) struct StagedPath(Option<PathBuf>);

impl StagedPath {
    pub(super) fn release(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for StagedPath {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What cannot be removed now is an orphan, as after a crash.
            let _orphan = disk::remove_if_there(path);
        }
    }
}

/// The id of `key` in column `column`.
fn id(key: &SeriesKey, column: usize) -> Option<&str> {
    match column {
        0 => Some(&key.project),
        1 => Some(&key.run_id),
        2 => Some(&key.metric),
        3 => key.labels.as_deref(),
        _ => Some(&key.launch),
    }
}

impl RowGroup {
    /// Makes room for so many rows, or for all that it takes, at once: growing would touch twice the memory.
    fn reserve(&mut self, rows: usize) {
        let rows = rows.min(ROW_GROUP_ROWS);
        self.steps.reserve_exact(rows);
        self.times.reserve_exact(rows);
        self.values.reserve_exact(rows);
    }

    fn encode(
        &self,
        encoder: &mut ColumnEncoder,
        schema: &SchemaDescriptor,
    ) -> Result<Vec<Chunk>, ParquetError> {
        let mut starts = Vec::with_capacity(self.runs.len());
        let mut row = 0;
        for (_, rows) in &self.runs {
            starts.push(row);
            row += rows;
        }
        let mut chunks = Vec::with_capacity(VALUE + 1);
        for column in 0..IDS {
            let runs = self.runs.iter().map(|(key, rows)| (id(key, column), *rows));
            chunks.push(encoder.ids(&schema.column(column), runs)?);
        }
        chunks.push(encoder.rising(&schema.column(STEP), &self.steps, &starts)?);
        chunks.push(encoder.times(&schema.column(TIME), &self.times, UNKNOWN_TIME)?);
        chunks.push(encoder.floats(&schema.column(VALUE), &self.values, &starts)?);
        Ok(chunks)
    }
}

fn encode_index(
    rows: &[IndexRow],
    encoder: &mut ColumnEncoder,
    schema: &SchemaDescriptor,
) -> Result<Vec<Chunk>, ParquetError> {
    let mut chunks = Vec::with_capacity(schema.num_columns());
    for column in 0..IDS {
        let runs = rows.iter().map(|row| (id(&row.key, column), 1));
        chunks.push(encoder.ids(&schema.column(column), runs)?);
    }
    let first_rows = rows.iter().map(|row| Some(row.first_row.cast_signed()));
    chunks.push(encoder.integers(
        &schema.column(IDS),
        first_rows,
        Encoding::DELTA_BINARY_PACKED,
        POINT_PAGE_ROWS,
    )?);
    let summaries = rows.iter().map(|row| row.summary);
    encode_summaries(&summaries, POINT_PAGE_ROWS, encoder, schema, &mut chunks)?;
    Ok(chunks)
}

fn encode_cells(
    level: usize,
    cells: &[(usize, Cell)],
    encoder: &mut ColumnEncoder,
    schema: &SchemaDescriptor,
) -> Result<Vec<Chunk>, ParquetError> {
    let mut chunks = Vec::with_capacity(schema.num_columns());
    type Pick = fn(usize, &(usize, Cell)) -> i64;
    let picks: [Pick; 3] = [
        |level, _| as_place(level + 1),
        |_, &(series, _)| as_place(series),
        |_, (_, cell)| cell.width,
    ];
    for pick in picks {
        let values = cells.iter().map(|cell| Some(pick(level, cell)));
        let column = schema.column(chunks.len());
        chunks.push(encoder.integers(
            &column,
            values,
            Encoding::DELTA_BINARY_PACKED,
            CELL_PAGE_ROWS,
        )?);
    }
    // The last finite value is the last one but for rare cells, and need not be said twice.
    let summaries = cells.iter().map(|(_, Cell { summary, .. })| Summary {
        last_finite: summary.last_finite.filter(|_| !summary.last.1.is_finite()),
        ..*summary
    });
    encode_summaries(&summaries, CELL_PAGE_ROWS, encoder, schema, &mut chunks)?;
    Ok(chunks)
}

/// A place in a list as a column holds it.
fn as_place(at: usize) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

/// Encodes the columns that say what points add up to, which come last.
fn encode_summaries(
    summaries: &(impl Iterator<Item = Summary> + Clone),
    page_rows: usize,
    encoder: &mut ColumnEncoder,
    schema: &SchemaDescriptor,
    chunks: &mut Vec<Chunk>,
) -> Result<(), ParquetError> {
    type Pick<T> = fn(Summary) -> Option<T>;
    let integers: [Pick<i64>; 10] = [
        |summary| Some(summary.count.cast_signed()),
        |summary| Some(summary.nan_count.cast_signed()),
        |summary| Some(summary.inf_count.cast_signed()),
        |summary| Some(summary.first.0),
        |summary| Some(summary.last.0),
        |summary| Some(summary.first_time).filter(|&time| time != UNKNOWN_TIME),
        |summary| Some(summary.last_time).filter(|&time| time != UNKNOWN_TIME),
        |summary| summary.last_finite.map(|(step, _)| step),
        |summary| summary.min.map(|(step, _)| step),
        |summary| summary.max.map(|(step, _)| step),
    ];
    let delta = Encoding::DELTA_BINARY_PACKED;
    for pick in integers {
        let values = summaries.clone().map(pick);
        chunks.push(encoder.integers(&schema.column(chunks.len()), values, delta, page_rows)?);
    }
    let floats: [Pick<f64>; 6] = [
        |summary| Some(summary.first.1),
        |summary| Some(summary.last.1),
        |summary| summary.last_finite.map(|(_, value)| value),
        |summary| summary.min.map(|(_, value)| value),
        |summary| summary.max.map(|(_, value)| value),
        |summary| Some(summary.sum),
    ];
    for pick in floats {
        let values = summaries.clone().map(pick);
        chunks.push(encoder.optional_floats(&schema.column(chunks.len()), values, page_rows)?);
    }
    Ok(())
}

fn encode_facts(
    facts: &[&Fact],
    encoder: &mut ColumnEncoder,
    schema: &SchemaDescriptor,
) -> Result<Vec<Chunk>, ParquetError> {
    let (column, delta) = (|at| schema.column(at), Encoding::DELTA_BINARY_PACKED);
    fn each<'a>(
        facts: &'a [&Fact],
        pick: impl Fn(&'a Fact) -> &'a str,
    ) -> impl Iterator<Item = (Option<&'a str>, usize)> {
        facts.iter().map(move |fact| (Some(pick(fact)), 1))
    }
    Ok(vec![
        encoder.ids(&column(0), each(facts, |fact| &fact.project))?,
        encoder.ids(&column(1), each(facts, |fact| &fact.run_id))?,
        encoder.ids(&column(2), each(facts, |fact| fact.kind.as_str()))?,
        encoder.ids(&column(3), each(facts, |fact| &fact.key))?,
        encoder.texts(&column(4), facts.iter().map(|fact| fact.value.as_deref()))?,
        encoder.ids(&column(5), each(facts, |fact| &fact.launch))?,
        encoder.integers(
            &column(6),
            facts.iter().map(|fact| Some(fact.hlc)),
            delta,
            POINT_PAGE_ROWS,
        )?,
        encoder.ids(&column(7), each(facts, |fact| &fact.writer))?,
        encoder.integers(
            &column(8),
            facts.iter().map(|fact| Some(fact.position)),
            delta,
            POINT_PAGE_ROWS,
        )?,
    ])
}
