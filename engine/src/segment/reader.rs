//! Reads segments and their side indexes.
//!
//! A file of ours is read by its index: ids come from there and only the rows of wanted series are decoded. A file
//! without an index, which somebody else wrote, is read whole.
#![expect(
    clippy::cast_possible_truncation,
    reason = "what is in memory and in a file of ours is counted in 64 bits"
)]

use std::{
    any::Any,
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    os::unix::fs::FileExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, DictionaryArray, Float64Array,
        Int64Array, RecordBatch, StringArray, new_null_array,
    },
    compute::{cast, filter_record_batch},
    datatypes::{DataType, Float64Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType},
};
use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
            ParquetRecordBatchReaderBuilder, RowSelection,
        },
    },
    errors::ParquetError,
    file::{
        metadata::{PageIndexPolicy, ParquetMetaDataReader},
        reader::{ChunkReader, Length},
    },
};
use rustc_hash::FxHashMap;

use super::{
    SegmentMeta,
    file::Footer,
    index::{IndexRow, SegmentIndex, Summary},
    schema::{self, BATCH_ROWS, IDS, Ids, STEP, TIME, VALUE},
};
use crate::{Error, Fact, Filter, Points, Result, SeriesIndex, SeriesKey, UNKNOWN_TIME, disk};

/// The points of `segment` that `filter` wants, as batches of the given columns of [`schema::points()`], in the
/// order of the file.
pub(crate) fn scan(segment: &SegmentMeta, filter: &Filter, columns: &[usize]) -> Result<Scan> {
    let chosen = filter.chosen();
    let rows = match segment.index {
        Some(_) => Rows::Indexed(Wanted::in_segment(segment, |key| chosen.wants(key))?),
        None => Rows::Any(filter.clone()),
    };
    Scan::open(segment, rows, columns)
}

/// Steps, times and values of the series of `segment` that `wants` names, in the order of the file. Of a file with a side index,
/// which is read piece by piece.
pub(crate) fn scan_rows(segment: &SegmentMeta, wants: impl Fn(&SeriesKey) -> bool) -> Result<Scan> {
    let mut wanted = Wanted::of(&[], |_| true);
    if !segment.is_expired() {
        for row in IndexRows::of(segment)? {
            let row = row?;
            wanted.all_rows = row.rows().end;
            if wants(&row.key) {
                wanted.add(row.rows());
            }
        }
    }
    // Nobody asks for ids, so whose rows come is not said.
    wanted.runs.push_back((0, wanted.rows));
    Scan::open(segment, Rows::Indexed(wanted), &POINT_COLUMNS)
}

/// The points of `segment` that `filter` wants, in the order of the file. Rows of a foreign file that name no series,
/// step or value are not points and left out.
#[cfg(test)]
pub(crate) fn read_points(segment: &SegmentMeta, filter: &Filter) -> Result<Points> {
    let (mut points, mut index) = (Points::default(), SeriesIndex::default());
    for batch in scan(segment, filter, &ALL_COLUMNS)? {
        take_points(&batch?, |_| true, &mut points, &mut index);
    }
    Ok(points)
}

/// The points of the series that `wants` names, in the order of the file.
pub(crate) fn read_series(
    segment: &SegmentMeta,
    wants: impl Fn(&SeriesKey) -> bool,
) -> Result<Points> {
    let (mut points, mut index) = (Points::default(), SeriesIndex::default());
    let rows = match segment.index {
        Some(_) => Rows::Indexed(Wanted::in_segment(segment, &wants)?),
        None => Rows::Any(Filter::default()),
    };
    for batch in Scan::open(segment, rows, &ALL_COLUMNS)? {
        take_points(&batch?, &wants, &mut points, &mut index);
    }
    Ok(points)
}

/// Series of an index that is kept, at most.
const MOST_SERIES_KEPT: usize = 64 << 10;

/// What each series of `segment` adds up to, sorted: from its side index, or from its points where it has none. Then
/// the rows of a series need not stand together, and `first_row` means nothing. Kept for the next call where it is
/// not large.
pub(crate) fn read_index(segment: &SegmentMeta) -> Result<Arc<[IndexRow]>> {
    if let Some(index) = segment.cached.get() {
        return Ok(index);
    }
    let index: Arc<[IndexRow]> = match &segment.index {
        Some(path) => read_side_index(segment, path)?.into(),
        None => summarize(segment)?.into(),
    };
    // Larger indexes are read again each time, so that what is kept stays small beside what queries use.
    if index.len() <= MOST_SERIES_KEPT {
        segment.cached.set(&index);
    }
    Ok(index)
}

/// The index of a file that has none.
fn summarize(segment: &SegmentMeta) -> Result<Vec<IndexRow>> {
    let mut summaries: FxHashMap<SeriesKey, Summary> = FxHashMap::default();
    for batch in scan(segment, &Filter::default(), &ALL_COLUMNS)? {
        let (mut points, mut index) = (Points::default(), SeriesIndex::default());
        take_points(&batch?, |_| true, &mut points, &mut index);
        for row in 0..points.len() {
            let one = Summary::of(points.steps[row], points.times[row], points.values[row]);
            summaries
                .entry(points.keys[points.series[row] as usize].clone())
                .and_modify(|summary| *summary = summary.merge(one))
                .or_insert(one);
        }
    }
    let mut rows: Vec<_> = summaries
        .into_iter()
        .map(|(key, summary)| IndexRow { key, first_row: 0, summary })
        .collect();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(rows)
}

/// The facts of `segment`. Rows of a foreign file that say nothing of a run are left out.
pub(crate) fn read_facts(segment: &SegmentMeta) -> Result<Vec<Fact>> {
    let decoder = match segment.crc32c {
        Some(crc32c) => whole(&segment.path, crc32c)?,
        None => open(segment, &Rows::Any(Filter::default()), &[])?,
    };
    let mut names: FxHashMap<String, Arc<str>> = FxHashMap::default();
    let mut facts = Vec::new();
    for batch in decoder {
        let batch = batch?;
        let column = |name: &str, kind: &DataType| as_column(&batch, name, kind, &segment.path);
        let text = |name: &str| Ok(column(name, &DataType::Utf8)?.as_string::<i32>().clone());
        let number =
            |name: &str| Ok(column(name, &DataType::Int64)?.as_primitive::<Int64Type>().clone());
        let [project, run_id, kind, key, value, launch, writer] =
            ["project", "run_id", "kind", "key", "value", "launch", "writer"].map(text);
        let (project, run_id, kind, key) = (project?, run_id?, kind?, key?);
        let (value, launch, writer): (StringArray, StringArray, StringArray) =
            (value?, launch?, writer?);
        let (hlc, position) = (number("hlc")?, number("position")?);
        let mut shared = |text: &str| {
            if let Some(name) = names.get(text) {
                return Arc::clone(name);
            }
            let name: Arc<str> = text.into();
            names.insert(text.to_owned(), Arc::clone(&name));
            name
        };
        for row in 0..batch.num_rows() {
            let said = [&project, &run_id, &kind, &key].iter().all(|column| column.is_valid(row));
            if !said || hlc.is_null(row) {
                continue;
            }
            facts.push(Fact {
                project: shared(project.value(row)),
                run_id: shared(run_id.value(row)),
                kind: kind.value(row).into(),
                key: shared(key.value(row)),
                value: value.is_valid(row).then(|| value.value(row).into()),
                launch: shared(launch.value(row)),
                hlc: hlc.value(row),
                writer: shared(writer.value(row)),
                position: position.value(row),
            });
        }
    }
    Ok(facts)
}

/// Reads all of a file and counts its rows.
pub(super) fn count_rows(segment: &SegmentMeta) -> Result<u64> {
    let mut rows = 0;
    for batch in open(segment, &Rows::Any(Filter::default()), &[])? {
        rows += batch?.num_rows() as u64;
    }
    Ok(rows)
}

impl SegmentMeta {
    /// Which series the file holds, and where; `None` where only a scan can tell, because somebody else wrote it. One whose
    /// points have expired holds none.
    pub fn read_index(&self) -> Result<Option<SegmentIndex>> {
        if self.is_expired() {
            return Ok(Some(SegmentIndex(Arc::new([]))));
        }
        match self.index {
            Some(_) => Ok(Some(SegmentIndex(read_index(self)?))),
            None => Ok(None),
        }
    }

    /// Checks the end of the file, which says what the rest means. Pages check themselves when they are read, so
    /// that after this no corruption of the file reads as other points. Nothing is known of foreign files.
    pub fn check_footer(&self) -> Result<()> {
        let file = ReadAt::open(&self.path)?;
        match self.footer {
            Some(footer) => checked_footer(&file, self.bytes, footer).map(drop),
            None => Ok(()),
        }
    }

    /// Checks every byte of the file, of its index and of its rollups against the checksums in the catalog, where it has any.
    pub fn check(&self) -> Result<()> {
        let files = [
            (Some(&self.path), self.crc32c),
            (self.index.as_ref(), self.index_crc32c),
            (self.rollup.as_ref().map(|it| &it.path), self.rollup.as_ref().map(|it| it.crc32c)),
        ];
        for (path, crc32c) in files {
            let (Some(path), Some(expected)) = (path, crc32c) else { continue };
            let found = ReadAt::open(path)?.crc32c()?;
            if found != expected {
                let detail =
                    format!("its checksum is {found:08x}, the catalog says {expected:08x}");
                return Err(Error::corrupt(path, 0, detail));
            }
        }
        Ok(())
    }
}

/// All columns of `points`.
pub(crate) const ALL_COLUMNS: [usize; VALUE + 1] = [0, 1, 2, 3, 4, STEP, TIME, VALUE];

/// The columns of `points` that are no ids: step, time and value.
const POINT_COLUMNS: [usize; 3] = [STEP, TIME, VALUE];

/// The series of a segment that are wanted.
#[derive(Debug)]
struct Wanted {
    ids: Ids,
    /// The wanted series in order, each with the rows that are still to come.
    runs: VecDeque<(u32, u64)>,
    /// Their rows in the file, neighbours joined.
    ranges: Vec<Range<u64>>,
    /// Rows that are still to come.
    rows: u64,
    /// Rows of the file.
    all_rows: u64,
}

impl Wanted {
    /// The wanted series of a segment with a side index. Of one whose points have expired there are none.
    fn in_segment(segment: &SegmentMeta, wants: impl Fn(&SeriesKey) -> bool) -> Result<Self> {
        if segment.is_expired() {
            return Ok(Self::of(&[], wants));
        }
        Ok(Self::of(&read_index(segment)?, wants))
    }

    fn of(index: &[IndexRow], wants: impl Fn(&SeriesKey) -> bool) -> Self {
        let all_rows = index.last().map_or(0, |row| row.rows().end);
        let index: Vec<&IndexRow> = index.iter().filter(|row| wants(&row.key)).collect();
        let runs = (0..).zip(index.iter().map(|row| row.summary.count)).collect();
        let ids = Ids::new(index.iter().map(|row| &row.key));
        let mut wanted = Self { ids, runs, ranges: Vec::new(), rows: 0, all_rows };
        for row in index {
            wanted.add(row.rows());
        }
        wanted
    }

    /// Wants rows that come after those so far.
    fn add(&mut self, rows: Range<u64>) {
        self.rows += rows.end - rows.start;
        match self.ranges.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => self.ranges.push(rows),
        }
    }

    /// Takes the series of the next `rows` rows.
    fn take(&mut self, rows: usize) -> Vec<(u32, usize)> {
        let mut taken = Vec::new();
        let mut left = rows as u64;
        while left > 0 {
            let Some((series, run)) = self.runs.front_mut() else { break };
            let part = left.min(*run);
            taken.push((*series, part as usize));
            *run -= part;
            left -= part;
            if *run == 0 {
                self.runs.pop_front();
            }
        }
        self.rows -= rows as u64 - left;
        taken
    }
}

/// Which rows of a file a scan returns.
#[derive(Debug)]
enum Rows {
    /// Those that the index names; ids come from there.
    Indexed(Wanted),
    /// Those that the filter wants, found by looking at all.
    Any(Filter),
}

/// Batches of one segment. Ends after the first error.
#[derive(Debug)]
pub(crate) struct Scan {
    path: PathBuf,
    schema: SchemaRef,
    columns: Vec<usize>,
    rows: Rows,
    decoder: Option<Decoder>,
}

impl Scan {
    /// All columns of the points that `filter` wants, as they stand in the file, whatever its index says.
    pub(super) fn any(segment: &SegmentMeta, filter: &Filter) -> Result<Self> {
        Self::open(segment, Rows::Any(filter.clone()), &ALL_COLUMNS)
    }

    fn open(segment: &SegmentMeta, rows: Rows, columns: &[usize]) -> Result<Self> {
        let schema = schema::points()
            .project(columns)
            .map_err(|source| Error::Invalid { what: "columns", detail: source.to_string() })?;
        let empty = matches!(&rows, Rows::Indexed(wanted) if wanted.rows == 0);
        let decoder = if empty { None } else { Some(open(segment, &rows, columns)?) };
        let (path, columns) = (segment.path.clone(), columns.to_vec());
        Ok(Self { path, schema: schema.into(), columns, rows, decoder })
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let decoded = self.decoder.as_mut()?.next();
            let shaped = match (decoded, &mut self.rows) {
                (Some(Err(error)), _) => Some(Err(error)),
                (Some(Ok(batch)), Rows::Indexed(wanted)) => {
                    Some(indexed(&batch, wanted, &self.columns, &self.schema, &self.path))
                }
                (Some(Ok(batch)), Rows::Any(filter)) => {
                    Some(filtered(&batch, filter, &self.columns, &self.schema, &self.path))
                }
                (None, Rows::Indexed(wanted)) if wanted.rows > 0 => {
                    let detail = format!("{} rows that the index names are missing", wanted.rows);
                    Some(Err(Error::corrupt(&self.path, 0, detail)))
                }
                (None, _) => None,
            };
            if !matches!(shaped, Some(Ok(_))) {
                self.decoder = None;
            }
            match shaped {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                shaped => return shaped,
            }
        }
    }
}

/// Puts the ids of the index beside what was decoded.
fn indexed(
    batch: &RecordBatch,
    wanted: &mut Wanted,
    columns: &[usize],
    schema: &SchemaRef,
    path: &Path,
) -> Result<RecordBatch> {
    let runs = wanted.take(batch.num_rows());
    let rows: usize = runs.iter().map(|(_, rows)| rows).sum();
    let present = ["step", "value"].iter().filter_map(|name| batch.column_by_name(name));
    if rows != batch.num_rows() || present.into_iter().any(|column| column.null_count() > 0) {
        return Err(Error::corrupt(path, 0, "its rows are not those that its index names"));
    }
    let mut shaped = Vec::with_capacity(columns.len());
    for (&column, field) in columns.iter().zip(schema.fields()) {
        shaped.push(if column < IDS {
            let ids = wanted.ids.column(column, runs.iter().copied());
            ids.map_err(|source| Error::corrupt(path, 0, source.to_string()))?
        } else {
            as_column(batch, field.name(), field.data_type(), path)?
        });
    }
    RecordBatch::try_new(SchemaRef::clone(schema), shaped)
        .map_err(|source| Error::corrupt(path, 0, source.to_string()))
}

/// Keeps the rows that `filter` wants.
fn filtered(
    batch: &RecordBatch,
    filter: &Filter,
    columns: &[usize],
    schema: &SchemaRef,
    path: &Path,
) -> Result<RecordBatch> {
    let all = schema::points();
    let column = |at: usize| {
        let field = all.field(at);
        as_column(batch, field.name(), field.data_type(), path)
    };
    let mut keep = vec![true; batch.num_rows()];
    for (at, names) in [&filter.projects, &filter.runs, &filter.metrics].into_iter().enumerate() {
        let Some(names) = names else { continue };
        let ids = column(at)?;
        let ids = Id::of(&ids);
        let wanted: Vec<bool> = (0..ids.names.len())
            .map(|code| names.iter().any(|name| name == ids.names.value(code)))
            .collect();
        for (row, keep) in keep.iter_mut().enumerate() {
            *keep &= ids.code(row).is_some_and(|code| wanted[code]);
        }
    }
    let shaped: Result<Vec<ArrayRef>> = columns.iter().map(|&at| column(at)).collect();
    RecordBatch::try_new(SchemaRef::clone(schema), shaped?)
        .and_then(|batch| filter_record_batch(&batch, &BooleanArray::from(keep)))
        .map_err(|source| Error::corrupt(path, 0, source.to_string()))
}

/// A column of ids.
pub(super) struct Id<'a> {
    pub(super) codes: &'a DictionaryArray<Int32Type>,
    pub(super) names: &'a StringArray,
}

impl<'a> Id<'a> {
    pub(super) fn of(column: &'a ArrayRef) -> Self {
        let codes = column.as_dictionary::<Int32Type>();
        Self { codes, names: codes.values().as_string::<i32>() }
    }

    /// Which of the names stands in `row`; `None` for null.
    pub(super) fn code(&self, row: usize) -> Option<usize> {
        self.codes.key(row).filter(|&code| self.names.is_valid(code))
    }

    fn shared(&self) -> Vec<Arc<str>> {
        (0..self.names.len()).map(|code| self.names.value(code).into()).collect()
    }
}

/// Appends those points of a batch of all columns that are of a series that `wants` names. Rows without a series, a
/// step or a value are no points.
pub(super) fn take_points(
    batch: &RecordBatch,
    wants: impl Fn(&SeriesKey) -> bool,
    points: &mut Points,
    index: &mut SeriesIndex,
) {
    let ids: [Id<'_>; IDS] = std::array::from_fn(|column| Id::of(batch.column(column)));
    let names: [Vec<Arc<str>>; IDS] = std::array::from_fn(|column| ids[column].shared());
    let steps = batch.column(STEP).as_primitive::<Int64Type>();
    let times = batch.column(TIME).as_primitive::<TimestampMicrosecondType>();
    let values = batch.column(VALUE).as_primitive::<Float64Type>();
    let mut last: Option<([Option<usize>; IDS], Option<u32>)> = None;
    let nobody: Arc<str> = "".into();
    for row in 0..batch.num_rows() {
        let codes: [Option<usize>; IDS] = std::array::from_fn(|column| ids[column].code(row));
        let [Some(project), Some(run_id), Some(metric), labels, launch] = codes else { continue };
        if steps.is_null(row) || values.is_null(row) {
            continue;
        }
        let series = match last {
            Some((same, series)) if same == codes => series,
            _ => {
                let key = SeriesKey {
                    project: Arc::clone(&names[0][project]),
                    run_id: Arc::clone(&names[1][run_id]),
                    metric: Arc::clone(&names[2][metric]),
                    labels: labels.map(|labels| Arc::clone(&names[3][labels])),
                    launch: Arc::clone(launch.map_or(&nobody, |launch| &names[4][launch])),
                };
                wants(&key).then(|| index.intern(points, key))
            }
        };
        last = Some((codes, series));
        let Some(series) = series else { continue };
        let time = if times.is_null(row) { UNKNOWN_TIME } else { times.value(row) };
        points.push(series, steps.value(row), time, values.value(row));
    }
}

/// The column `name` as `kind`; null where the file has none.
pub(super) fn as_column(
    batch: &RecordBatch,
    name: &str,
    kind: &DataType,
    path: &Path,
) -> Result<ArrayRef> {
    match batch.column_by_name(name) {
        None => Ok(new_null_array(kind, batch.num_rows())),
        Some(column) if column.data_type() == kind => Ok(Arc::clone(column)),
        Some(column) => cast(column, kind).map_err(|source| {
            Error::corrupt(path, 0, format!("its column '{name}' is not a {kind}: {source}"))
        }),
    }
}

fn read_side_index(segment: &SegmentMeta, path: &Path) -> Result<Vec<IndexRow>> {
    let Some(crc32c) = segment.index_crc32c else {
        return Err(Error::corrupt(path, 0, "the catalog does not say its checksum"));
    };
    let mut index = Vec::new();
    for batch in whole(path, crc32c)? {
        take_index(&batch?, path, &mut index)?;
    }
    if !lie_side_by_side(&index) {
        return Err(Error::corrupt(path, 0, "its series do not lie side by side"));
    }
    Ok(index)
}

/// The rows of an index one by one, in their order, without holding all of them: an index of a million series takes
/// hundreds of megabytes in memory.
#[derive(Debug)]
pub(crate) enum IndexRows {
    /// It is in memory, or has to be made from the points.
    Read { index: Arc<[IndexRow]>, next: usize },
    /// It is decoded piece by piece.
    Decoding { decoder: Decoder, rows: VecDeque<IndexRow>, next_row: Option<u64> },
}

impl IndexRows {
    /// Rows that are decoded at once.
    const AT_ONCE: usize = 4 << 10;

    /// Opens the index of `segment` and checks its checksum.
    pub(crate) fn of(segment: &SegmentMeta) -> Result<Self> {
        let Some(path) = segment.index.as_ref().filter(|_| segment.cached.get().is_none()) else {
            return Ok(Self::Read { index: read_index(segment)?, next: 0 });
        };
        let file = ReadAt::open(path)?;
        let found = file.crc32c()?;
        if segment.index_crc32c != Some(found) {
            let detail = format!("its checksum is {found:08x}, which is wrong");
            return Err(Error::corrupt(path, 0, detail));
        }
        let reader = guarded(path, || {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            builder.with_batch_size(Self::AT_ONCE).build()
        })?;
        let decoder = Decoder { path: path.clone(), reader };
        Ok(Self::Decoding { decoder, rows: VecDeque::new(), next_row: Some(0) })
    }

    fn decode(
        decoder: &mut Decoder,
        rows: &mut VecDeque<IndexRow>,
        next_row: &mut Option<u64>,
    ) -> Result<()> {
        while rows.is_empty() {
            let Some(batch) = decoder.next() else { return Ok(()) };
            let mut decoded = Vec::new();
            take_index(&batch?, &decoder.path, &mut decoded)?;
            *next_row = rows_end(&decoded, *next_row);
            if next_row.is_none() {
                let detail = "its series do not lie side by side";
                return Err(Error::corrupt(&decoder.path, 0, detail));
            }
            rows.extend(decoded);
        }
        Ok(())
    }
}

impl Iterator for IndexRows {
    type Item = Result<IndexRow>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Read { index, next } => {
                let row = index.get(*next)?;
                *next += 1;
                Some(Ok(row.clone()))
            }
            Self::Decoding { decoder, rows, next_row } => {
                match Self::decode(decoder, rows, next_row) {
                    Ok(()) => rows.pop_front().map(Ok),
                    Err(error) => Some(Err(error)),
                }
            }
        }
    }
}

/// Whether the rows of each series begin where those of the one before end, within what can be counted.
pub(super) fn lie_side_by_side(index: &[IndexRow]) -> bool {
    rows_end(index, Some(0)).is_some()
}

/// Where the rows of the last series end, if those of the first begin at `next` and they lie side by side.
fn rows_end(index: &[IndexRow], mut next: Option<u64>) -> Option<u64> {
    for row in index {
        next = next.filter(|&next| next == row.first_row)?.checked_add(row.summary.count);
    }
    next
}

fn take_index(batch: &RecordBatch, path: &Path, index: &mut Vec<IndexRow>) -> Result<()> {
    let points = schema::points();
    let mut ids = Vec::with_capacity(IDS);
    for column in 0..IDS {
        let field = points.field(column);
        ids.push(as_column(batch, field.name(), field.data_type(), path)?);
    }
    let ids: Vec<Id<'_>> = ids.iter().map(Id::of).collect();
    let names: Vec<Vec<Arc<str>>> = ids.iter().map(Id::shared).collect();
    let id = |column: usize, row: usize| {
        ids[column].code(row).map(|code| Arc::clone(&names[column][code]))
    };
    let first_row = integers(batch, "first_row", path)?;
    for (row, summary) in take_summaries(batch, path)?.into_iter().enumerate() {
        let names = (id(0, row), id(1, row), id(2, row), id(4, row));
        let (Some(project), Some(run_id), Some(metric), Some(launch)) = names else {
            return Err(Error::corrupt(path, 0, format!("its row {row} names no series")));
        };
        let key = SeriesKey { project, run_id, metric, labels: id(3, row), launch };
        index.push(IndexRow { key, first_row: first_row.value(row).cast_unsigned(), summary });
    }
    Ok(())
}

pub(super) fn integers(batch: &RecordBatch, name: &str, path: &Path) -> Result<Int64Array> {
    let column = as_column(batch, name, &DataType::Int64, path)?;
    Ok(column.as_primitive::<Int64Type>().clone())
}

fn floats(batch: &RecordBatch, name: &str, path: &Path) -> Result<Float64Array> {
    let column = as_column(batch, name, &DataType::Float64, path)?;
    Ok(column.as_primitive::<Float64Type>().clone())
}

/// What points add up to, from the columns of an index or of rollups. Older indexes say no first time.
pub(super) fn take_summaries(batch: &RecordBatch, path: &Path) -> Result<Vec<Summary>> {
    let integers = |name| integers(batch, name, path);
    let floats = |name| floats(batch, name, path);
    let (count, nan_count, inf_count) =
        (integers("count")?, integers("nan_count")?, integers("inf_count")?);
    let (first_step, last_step) = (integers("first_step")?, integers("last_step")?);
    let (first_time, last_time) = (integers("first_time")?, integers("last_time")?);
    let last_finite_step = integers("last_finite_step")?;
    let (min_step, max_step) = (integers("min_step")?, integers("max_step")?);
    let (first_value, last_value) = (floats("first_value")?, floats("last_value")?);
    let (last_finite_value, sum) = (floats("last_finite_value")?, floats("sum")?);
    let (min_value, max_value) = (floats("min_value")?, floats("max_value")?);
    let time = |column: &Int64Array, row| {
        if column.is_valid(row) { column.value(row) } else { UNKNOWN_TIME }
    };
    let extreme = |step: &Int64Array, value: &Float64Array, row| {
        value.is_valid(row).then(|| (step.value(row), value.value(row)))
    };
    Ok((0..batch.num_rows())
        .map(|row| Summary {
            count: count.value(row).cast_unsigned(),
            nan_count: nan_count.value(row).cast_unsigned(),
            inf_count: inf_count.value(row).cast_unsigned(),
            first: (first_step.value(row), first_value.value(row)),
            first_time: time(&first_time, row),
            last: (last_step.value(row), last_value.value(row)),
            last_time: time(&last_time, row),
            last_finite: extreme(&last_finite_step, &last_finite_value, row),
            min: extreme(&min_step, &min_value, row),
            max: extreme(&max_step, &max_value, row),
            sum: sum.value(row),
        })
        .collect())
}

/// Reads a file of ours at once, so that every byte of it is checked before any is decoded.
fn whole(path: &Path, crc32c: u32) -> Result<Decoder> {
    let bytes = disk::read(path).map_err(expired)?;
    let found = crc32c::crc32c(&bytes);
    if found != crc32c {
        let detail = format!("its checksum is {found:08x}, the catalog says {crc32c:08x}");
        return Err(Error::corrupt(path, 0, detail));
    }
    let reader = guarded(path, || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes))?;
        builder.with_batch_size(BATCH_ROWS).build()
    })?;
    Ok(Decoder { path: path.to_owned(), reader })
}

/// Opens the file so that it decodes `rows`, and of a file with an index only those of `columns` that are not ids.
fn open(segment: &SegmentMeta, rows: &Rows, columns: &[usize]) -> Result<Decoder> {
    let path = &segment.path;
    let file = ReadAt::open(path)?;
    let footer = match segment.footer {
        Some(footer) => Some(checked_footer(&file, segment.bytes, footer)?),
        None => None,
    };
    let length = file.len;
    let reader = guarded(path, || {
        let policy = PageIndexPolicy::Optional;
        let mut metadata = ParquetMetaDataReader::new().with_page_index_policy(policy);
        match footer {
            Some(footer) => metadata.try_parse_sized(&footer, length)?,
            None => metadata.try_parse(&file)?,
        }
        let options = ArrowReaderOptions::new().with_page_index_policy(policy);
        let metadata = ArrowReaderMetadata::try_new(metadata.finish()?.into(), options)?;
        let all_rows = metadata.metadata().file_metadata().num_rows();
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_batch_size(BATCH_ROWS);
        if let Rows::Indexed(wanted) = rows {
            if all_rows.cast_unsigned() != wanted.all_rows {
                let detail = format!("it has {all_rows} rows, its index has {}", wanted.all_rows);
                return Err(ParquetError::General(detail));
            }
            // At least one column has to be decoded, so that rows are counted.
            let decoded = columns.iter().copied().filter(|&column| column >= IDS);
            let decoded: Vec<usize> =
                if decoded.clone().next().is_some() { decoded.collect() } else { vec![STEP] };
            let mask = ProjectionMask::roots(builder.parquet_schema(), decoded);
            let ranges = wanted.ranges.iter().map(|rows| rows.start as usize..rows.end as usize);
            let selection = RowSelection::from_consecutive_ranges(ranges, wanted.all_rows as usize);
            builder = builder.with_projection(mask);
            if wanted.rows < wanted.all_rows {
                builder = builder.with_row_selection(selection);
            }
        }
        builder.build()
    })?;
    Ok(Decoder { path: path.clone(), reader })
}

/// The footer of a file of ours that has `bytes` bytes, checked.
pub(super) fn checked_footer(file: &ReadAt, bytes: u64, expected: Footer) -> Result<Bytes> {
    let wrong = |offset, detail| Err(Error::corrupt(&*file.path, offset, detail));
    if file.len != bytes || expected.bytes > file.len {
        let detail = format!("it has {} bytes, the catalog says {bytes}", file.len);
        return wrong(file.len.min(bytes), detail);
    }
    let offset = file.len - expected.bytes;
    let footer = file.get(offset, expected.bytes)?;
    if crc32c::crc32c(&footer) != expected.crc32c {
        return wrong(offset, "the checksum of its footer is wrong".to_owned());
    }
    Ok(footer)
}

/// Decodes batch by batch; ends after the first error.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(super) path: PathBuf,
    pub(super) reader: ParquetRecordBatchReader,
}

impl Iterator for Decoder {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        guarded(&self.path, || self.reader.next().transpose().map_err(ParquetError::from))
            .transpose()
    }
}

/// Runs a step of the Parquet decoder. Its panics are errors here: the decoder trusts counts and offsets that stand
/// in page headers, which no checksum covers, and indexes out of bounds where a bit of them is wrong.
pub(super) fn guarded<T>(path: &Path, step: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    // What the step leaves half done is the decoder, and nobody uses that after an error.
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(ParquetError::External(source))) => match source.downcast::<Error>() {
            Ok(error) => Err(*error),
            Err(source) => match source.downcast::<io::Error>() {
                Ok(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
                    Err(Error::io("read", path, *source))
                }
                Ok(source) => Err(Error::corrupt(path, 0, source.to_string())),
                Err(source) => Err(Error::corrupt(path, 0, source.to_string())),
            },
        },
        Ok(Err(source)) => Err(Error::corrupt(path, 0, source.to_string())),
        Err(panic) => Err(Error::corrupt(path, 0, message(panic.as_ref()))),
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the Parquet decoder gave up: {}", said.unwrap_or("without a word"))
}

/// A missing file of a segment means that the snapshot is older than what is kept.
pub(super) fn expired(error: Error) -> Error {
    match error {
        Error::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Error::SnapshotExpired { path }
        }
        error => error,
    }
}

/// A file that is read at offsets, one system call each, and by any number of readers at once.
#[derive(Debug, Clone)]
pub(super) struct ReadAt {
    path: Arc<Path>,
    file: Arc<File>,
    len: u64,
}

impl ReadAt {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = disk::open(path).map_err(expired)?;
        let len = disk::size(path).map_err(expired)?;
        Ok(Self { path: path.into(), file: file.into(), len })
    }

    /// The checksum of the whole file, which is read in parts.
    fn crc32c(&self) -> Result<u32> {
        let (mut found, mut at) = (0, 0);
        while at < self.len {
            let bytes = self.get(at, (self.len - at).min(1 << 20))?;
            found = crc32c::crc32c_append(found, &bytes);
            at += bytes.len() as u64;
        }
        Ok(found)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn get(&self, offset: u64, bytes: u64) -> Result<Bytes> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.len) {
            let detail = format!("{bytes} bytes are said to stand here, which is past its end");
            return Err(Error::corrupt(&*self.path, offset, detail));
        }
        let mut read = vec![0; bytes as usize];
        disk::reading(&self.path, || self.file.read_exact_at(&mut read, offset))
            .map_err(|source| Error::io("read", &*self.path, source))?;
        Ok(read.into())
    }
}

impl Length for ReadAt {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for ReadAt {
    type T = BufReader<ReadFrom>;

    fn get_read(&self, start: u64) -> Result<BufReader<ReadFrom>, ParquetError> {
        let (path, file) = (Arc::clone(&self.path), Arc::clone(&self.file));
        // The header of a page is read byte by byte. Most pages of an index or of rollups come with it.
        Ok(BufReader::with_capacity(4 << 10, ReadFrom { path, file, at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.get(start, length as u64).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Reads a file from an offset on.
#[derive(Debug)]
pub(super) struct ReadFrom {
    path: Arc<Path>,
    file: Arc<File>,
    at: u64,
}

impl Read for ReadFrom {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = disk::reading(&self.path, || self.file.read_at(buf, self.at))?;
        self.at += read as u64;
        Ok(read)
    }
}
