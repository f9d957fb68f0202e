//! What a commit says of a segment, and what we make of what it says.
//!
//! The statistics are for every reader of Delta tables; the tags are ours:
//!
//! ```text
//! runlake.level          0             0 for a flush, 1 for a merge
//! runlake.project        p             the one project of the file
//! runlake.rows           3             its rows
//! runlake.runs           ["a","b"]     all runs, sorted, where they are at most 64
//! runlake.run_bounds     ["a","b"]     the least and the greatest
//! runlake.metrics        ["x","y"]     all metrics, likewise
//! runlake.metric_bounds  ["x","y"]
//! runlake.step_bounds    [0,99]
//! runlake.time_bounds    [0,99000]     microseconds since 1970, rounded outwards to milliseconds
//! runlake.has_nan        true          whether a value is NaN
//! runlake.expired        90           the points of its series, of which none is in the file any more; else missing
//! runlake.deletions      true          of facts: one says that a run is deleted or restored; else missing
//! runlake.of             points 9/3 facts 12/2   of a folded table: the last commit and the number of the files behind it
//! runlake.crc32c         00c0ffee      of the whole file
//! runlake.footer         812:00c0ffee  size and CRC32C of its end, the page indexes and the metadata
//! runlake.index          00c0ffee      CRC32C of the whole side index, `_index/<name of the file>`
//! runlake.rollup         912:00c0ffee:612:09732a67  size and CRC32C of the rollups, `_rollups/<name of the file>`, and of
//!                                      the end of that file; only where there are any
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::Path,
    sync::Arc,
};

use arrow::temporal_conversions::timestamp_us_to_datetime;
use serde_json::{Map, Value, json};

use super::{
    SegmentMeta,
    file::{FileSum, Footer},
    index::{IndexRow, Kept},
    rollup::RollupFile,
};
use crate::{Fact, FactKind, Filter, catalog::Add};

/// What the names of our tags begin with.
const PREFIX: &str = "runlake.";

/// Names are listed in the tags where they are at most this many.
const MOST_LISTED: usize = 64;

/// The least and the greatest of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds<T> {
    pub(super) least: T,
    pub(super) greatest: T,
}

impl<T: PartialOrd + Copy> Bounds<T> {
    pub(super) fn widen(bounds: &mut Option<Self>, value: T) {
        match bounds {
            None => *bounds = Some(Self { least: value, greatest: value }),
            Some(bounds) if value < bounds.least => bounds.least = value,
            Some(bounds) if value > bounds.greatest => bounds.greatest = value,
            Some(_) => {}
        }
    }
}

/// Tags and statistics as they are gathered.
#[derive(Default)]
struct Description {
    tags: BTreeMap<String, Option<String>>,
    least: Map<String, Value>,
    greatest: Map<String, Value>,
    nulls: Map<String, Value>,
}

impl Description {
    fn tag(&mut self, name: &str, value: impl Display) {
        self.tags.insert(format!("{PREFIX}{name}"), Some(value.to_string()));
    }

    fn bounds(&mut self, column: &str, least: Value, greatest: Value) {
        self.least.insert(column.to_owned(), least);
        self.greatest.insert(column.to_owned(), greatest);
    }

    fn nulls(&mut self, column: &str, nulls: u64) {
        self.nulls.insert(column.to_owned(), nulls.into());
    }

    /// The names in one column, none of which is null.
    fn names(&mut self, column: &str, list: &str, bounds: &str, names: &Names) {
        let Some((least, greatest)) = &names.bounds else { return };
        self.bounds(column, json!(**least), json!(**greatest));
        self.nulls(column, 0);
        self.tag(bounds, json!([**least, **greatest]));
        if names.listed.len() <= MOST_LISTED {
            self.tag(list, json!(names.listed.iter().map(|name| &**name).collect::<Vec<_>>()));
        }
    }

    fn add(mut self, name: &str, level: u8, rows: u64, sum: FileSum) -> Add {
        self.tag("level", level);
        self.tag("rows", rows);
        self.tag("crc32c", hex(sum.crc32c));
        self.tag("footer", format!("{}:{}", sum.footer.bytes, hex(sum.footer.crc32c)));
        let stats = json!({
            "numRecords": rows,
            "minValues": self.least,
            "maxValues": self.greatest,
            "nullCount": self.nulls,
        });
        Add {
            path: name.to_owned(),
            partition_values: BTreeMap::new(),
            size: sum.bytes.cast_signed(),
            modification_time: sum.modified_ms,
            data_change: true,
            stats: Some(stats.to_string()),
            tags: Some(self.tags),
        }
    }
}

/// Names in one column, as far as a commit says them.
#[derive(Debug, Default)]
pub(super) struct Names {
    bounds: Option<(Arc<str>, Arc<str>)>,
    /// All of them, as long as they are few enough to be listed, and then one more.
    listed: BTreeSet<Arc<str>>,
}

impl Names {
    fn see(&mut self, name: &Arc<str>) {
        match &mut self.bounds {
            None => self.bounds = Some((Arc::clone(name), Arc::clone(name))),
            Some((least, _)) if name < least => least.clone_from(name),
            Some((_, greatest)) if name > greatest => greatest.clone_from(name),
            Some(_) => {}
        }
        if self.listed.len() <= MOST_LISTED && !self.listed.contains(name) {
            self.listed.insert(Arc::clone(name));
        }
    }
}

/// What the rows of an index amount to, which share a project.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) series: usize,
    /// The points of these series.
    pub(super) rows: u64,
    project: Option<Arc<str>>,
    runs: Names,
    metrics: Names,
    launches: Names,
    steps: Option<Bounds<i64>>,
    has_nan: bool,
}

impl Seen {
    pub(super) fn see(&mut self, IndexRow { key, summary, .. }: &IndexRow) {
        self.series += 1;
        self.rows += summary.count;
        self.project.get_or_insert_with(|| Arc::clone(&key.project));
        self.runs.see(&key.run_id);
        self.metrics.see(&key.metric);
        self.launches.see(&key.launch);
        Bounds::widen(&mut self.steps, summary.first.0);
        Bounds::widen(&mut self.steps, summary.last.0);
        self.has_nan |= summary.nan_count > 0;
    }
}

/// A new segment of points, of at least one series.
#[derive(Debug)]
pub(super) struct Described<'a> {
    pub(super) name: &'a str,
    pub(super) level: u8,
    pub(super) seen: &'a Seen,
    pub(super) times: Option<Bounds<i64>>,
    pub(super) unknown_times: u64,
    pub(super) sum: FileSum,
    pub(super) index_crc32c: u32,
    pub(super) rollup: Option<FileSum>,
    /// Whether the points of its series are not in it any more.
    pub(super) has_expired: bool,
}

/// What a commit says of it.
pub(super) fn describe_points(segment: &Described<'_>) -> Add {
    let Described { seen, times, unknown_times, .. } = *segment;
    let mut says = Description::default();
    if let Some(project) = &seen.project {
        says.tag("project", project);
        says.bounds("project", json!(**project), json!(**project));
        says.nulls("project", 0);
    }
    says.names("run_id", "runs", "run_bounds", &seen.runs);
    says.names("metric", "metrics", "metric_bounds", &seen.metrics);
    if let Some((least, greatest)) = &seen.launches.bounds {
        says.bounds("launch", json!(**least), json!(**greatest));
        says.nulls("launch", 0);
    }
    if let Some(steps) = seen.steps {
        says.bounds("step", json!(steps.least), json!(steps.greatest));
        says.nulls("step", 0);
        says.tag("step_bounds", json!([steps.least, steps.greatest]));
    }
    says.nulls("time", unknown_times);
    if let Some((least, greatest)) = times.and_then(outwards) {
        if let (Some(from), Some(to)) = (iso(least), iso(greatest)) {
            says.bounds("time", json!(from), json!(to));
        }
        says.tag("time_bounds", json!([least, greatest]));
    }
    says.tag("has_nan", seen.has_nan);
    says.tag("index", hex(segment.index_crc32c));
    if let Some(rollup) = segment.rollup {
        let FileSum { bytes, crc32c, footer, .. } = rollup;
        let end = format!("{}:{}", footer.bytes, hex(footer.crc32c));
        says.tag("rollup", format!("{bytes}:{}:{end}", hex(crc32c)));
    }
    if segment.has_expired {
        says.tag("expired", seen.rows);
        return says.add(segment.name, segment.level, 0, segment.sum);
    }
    says.add(segment.name, segment.level, seen.rows, segment.sum)
}

/// What a commit says of a new segment of facts, which share a project.
pub(super) fn describe_facts(
    name: &str,
    level: u8,
    project: &str,
    facts: &[&Fact],
    sum: FileSum,
) -> Add {
    let mut says = Description::default();
    let rows = facts.len() as u64;
    if facts.iter().any(|fact| fact.tells_of_deletion()) {
        says.tag("deletions", true);
    }
    if facts.iter().any(|fact| fact.kind == FactKind::Rewind) {
        says.tag("rewinds", true);
    }
    if facts.iter().any(|fact| fact.kind == FactKind::Fork) {
        says.tag("forks", true);
    }
    let mut runs = Names::default();
    for fact in facts {
        runs.see(&fact.run_id);
    }
    says.tag("project", project);
    says.bounds("project", json!(project), json!(project));
    says.nulls("project", 0);
    says.names("run_id", "runs", "run_bounds", &runs);
    says.add(name, level, rows, sum)
}

/// What a commit says of a new file of a folded table, which holds one project and is sorted by run.
pub(super) fn describe_rows(
    name: &str,
    project: &str,
    rows: u64,
    (least_run, greatest_run): (&str, &str),
    sum: FileSum,
) -> Add {
    let mut says = Description::default();
    says.tag("project", project);
    says.bounds("project", json!(project), json!(project));
    says.nulls("project", 0);
    says.bounds("run_id", json!(least_run), json!(greatest_run));
    says.nulls("run_id", 0);
    says.add(name, 1, rows, sum)
}

fn hex(crc: u32) -> String {
    format!("{crc:08x}")
}

/// Microseconds rounded outwards to milliseconds; `None` at the end of time.
fn outwards(times: Bounds<i64>) -> Option<(i64, i64)> {
    let least = times.least.div_euclid(1000).checked_mul(1000)?;
    let greatest = times.greatest.checked_add(999)?.div_euclid(1000).checked_mul(1000)?;
    Some((least, greatest))
}

/// A time as statistics hold it, which is milliseconds; `None` where its year has more than four digits.
fn iso(time: i64) -> Option<String> {
    let text = timestamp_us_to_datetime(time)?.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    (text.len() == "1970-01-01T00:00:00.000Z".len()).then_some(text)
}

impl SegmentMeta {
    /// What the commit `version` says of a file of the table at `table`. Total: what is missing or makes no sense is
    /// not known, and such a file is scanned. The catalog has checked that the file is below the table.
    pub(crate) fn from_add(table: &Path, add: &Add, version: u64) -> Self {
        let tag = |name: &str| add.tags.as_ref()?.get(&format!("{PREFIX}{name}"))?.as_deref();
        let parsed = |name: &str| serde_json::from_str::<Value>(tag(name)?).ok();
        let list = |name: &str| serde_json::from_value::<Vec<String>>(parsed(name)?).ok();
        let names = |name: &str| <[String; 2]>::try_from(list(name)?).ok().map(<(_, _)>::from);
        let pair = |name: &str| serde_json::from_value::<(i64, i64)>(parsed(name)?).ok();
        let number = |name: &str| tag(name)?.parse::<u64>().ok();
        let crc = |text: &str| u32::from_str_radix(text, 16).ok();
        let stats = add.stats.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let stats = stats.unwrap_or_default();
        let name = add.name();
        let path = table.join(&name);
        let index_crc32c = tag("index").and_then(crc);
        let index = path.file_name().filter(|_| index_crc32c.is_some());
        let index = index.map(|name| table.join("_index").join(name));
        let footer = tag("footer").and_then(|text| {
            let (bytes, crc32c) = text.split_once(':')?;
            Some(Footer { bytes: bytes.parse().ok()?, crc32c: crc(crc32c)? })
        });
        let rollup = tag("rollup").and_then(|text| {
            let mut parts = text.split(':');
            let (bytes, sum) = (parts.next()?.parse().ok()?, crc(parts.next()?)?);
            let footer = Footer { bytes: parts.next()?.parse().ok()?, crc32c: crc(parts.next()?)? };
            let path = table.join("_rollups").join(path.file_name()?);
            Some(RollupFile { path, bytes, crc32c: sum, footer })
        });
        let steps = || {
            let bound = |side: &str| stats[side]["step"].as_i64();
            Some((bound("minValues")?, bound("maxValues")?))
        };
        Self {
            path,
            name,
            bytes: add.size.try_into().unwrap_or(0),
            rows: number("rows").or_else(|| stats["numRecords"].as_u64()).unwrap_or(0),
            level: number("level").and_then(|level| level.try_into().ok()).unwrap_or(0),
            project: tag("project").map(str::to_owned),
            runs: list("runs"),
            metrics: list("metrics"),
            run_bounds: names("run_bounds"),
            metric_bounds: names("metric_bounds"),
            step_bounds: pair("step_bounds").or_else(steps),
            time_bounds: pair("time_bounds"),
            index,
            version,
            committed_at: add.modification_time.saturating_mul(1000),
            crc32c: tag("crc32c").and_then(crc),
            footer,
            index_crc32c,
            rollup,
            source: add.source().map(str::to_owned),
            expired_rows: number("expired").unwrap_or(0),
            tells_of_deletion: tag("deletions") == Some("true"),
            tells_of_rewind: tag("rewinds") == Some("true"),
            tells_of_fork: tag("forks") == Some("true"),
            cached: Kept::default(),
            opened: Kept::default(),
            opened_rollup: Kept::default(),
        }
    }

    /// Whether its points have expired: its index and its rollups say what they were, and its rows are gone.
    pub fn is_expired(&self) -> bool {
        self.expired_rows > 0
    }

    /// False only where no series that `filter` wants is in the file, for certain.
    pub(crate) fn may_hold(&self, filter: &Filter) -> bool {
        let within = |wanted: &Option<Vec<String>>,
                      listed: &Option<Vec<String>>,
                      bounds: &Option<(String, String)>| {
            let Some(wanted) = wanted else { return true };
            wanted.iter().any(|name| match (listed, bounds) {
                (Some(listed), _) => listed.contains(name),
                (None, Some((least, greatest))) => least <= name && name <= greatest,
                (None, None) => true,
            })
        };
        let project = self.project.clone().map(|project| vec![project]);
        within(&filter.projects, &project, &None)
            && within(&filter.runs, &self.runs, &self.run_bounds)
            && within(&filter.metrics, &self.metrics, &self.metric_bounds)
    }
}

impl Filter {
    /// False only where `segment` holds no wanted series for certain.
    pub fn may_want(&self, segment: &SegmentMeta) -> bool {
        segment.may_hold(self)
    }
}
