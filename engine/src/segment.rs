//! Segments: immutable, sorted Parquet files. The format is drawn in `docs/format/segment.md`.

use std::{path::PathBuf, sync::Arc};

mod column;
mod copy;
mod effort;
mod expired;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod index;
mod integers;
mod meta;
mod page;
mod reader;
mod rollup;
mod rows;
mod schema;
mod sizes;
mod stretch;
mod values;
mod verify;
mod writer;

use file::Footer;
use index::Kept;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use rollup::RollupFile;

pub(crate) use copy::copy;
pub(crate) use expired::without_points;
pub(crate) use index::{IndexRow, Summary};
pub use index::{SegmentIndex, SeriesRows};
pub use page::{PointRows, StepPage};
#[cfg(test)]
pub(crate) use reader::read_points;
pub(crate) use reader::{
    ALL_COLUMNS, IndexRows, Scan, read_facts, read_index, read_series, scan, scan_rows,
};
pub(crate) use rollup::{Cell, POINTS_PER_CELL};
pub(crate) use rows::{Column, RowsWriter};
pub(crate) use schema::{batches, points as points_schema};
pub use sizes::MetricSize;
pub(crate) use stretch::{CellReader, CellsOf, PointReader, Stretch};
pub(crate) use writer::{NewSegment, PointsWriter, commit, place, write_facts, write_points};

/// What the catalog knows of a segment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SegmentMeta {
    /// The file, absolute.
    pub path: PathBuf,
    /// The file, relative to its table.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// 0 for a flush, 1 for a merge.
    pub level: u8,
    /// The project, where the file holds one only; foreign files say nothing.
    pub project: Option<String>,
    /// The runs, sorted, where they are few enough to be listed.
    pub runs: Option<Vec<String>>,
    /// The metrics, sorted, where they are few enough to be listed.
    pub metrics: Option<Vec<String>>,
    /// The least and the greatest run_id.
    pub run_bounds: Option<(String, String)>,
    /// The least and the greatest metric.
    pub metric_bounds: Option<(String, String)>,
    /// The least and the greatest step.
    pub step_bounds: Option<(i64, i64)>,
    /// The least and the greatest time, rounded outwards to milliseconds.
    pub time_bounds: Option<(i64, i64)>,
    /// The side index, absolute, where there is one.
    pub index: Option<PathBuf>,
    /// The commit that added it.
    pub version: u64,
    /// When it was added: microseconds since 1970 (UTC).
    pub committed_at: i64,
    /// Points of its series that have expired; then it holds no others.
    pub expired_rows: u64,
    /// Whether a fact in it says that a run is deleted, or restored.
    pub(crate) tells_of_deletion: bool,
    /// Whether a fact in it says that a launch went back.
    pub(crate) tells_of_rewind: bool,
    /// Whether its facts tell of a run that was forked.
    pub(crate) tells_of_fork: bool,
    /// The lake that it came from, until the last merge of that.
    pub(crate) source: Option<String>,
    /// The checksum of the whole file.
    pub(crate) crc32c: Option<u32>,
    /// The end of the file that says what the rest means.
    footer: Option<Footer>,
    /// The checksum of the whole side index.
    index_crc32c: Option<u32>,
    /// Its long series at coarser steps, where it has any.
    pub(crate) rollup: Option<RollupFile>,
    /// The index, once it was read.
    cached: Kept<Arc<[IndexRow]>>,
    /// What the end of the file says, once it was read for a part of it.
    opened: Kept<ArrowReaderMetadata>,
    /// The same of the rollups.
    opened_rollup: Kept<ArrowReaderMetadata>,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use arrow::array::RecordBatch;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Fact, FactKind, Filter, Points, SeriesIndex, SeriesKey, SortedPoints, UNKNOWN_TIME,
    };

    /// Values that formats like to lose: payloads of NaN, signs of zero, subnormals, infinities.
    pub(crate) fn any_value() -> impl Strategy<Value = f64> {
        let special = [
            f64::NAN.to_bits(),
            0x7ff0_0000_0000_0001,
            0xfff8_0000_dead_beef,
            (-0.0_f64).to_bits(),
            1,
            0x8000_0000_0000_0001,
            f64::INFINITY.to_bits(),
            f64::NEG_INFINITY.to_bits(),
            f64::MAX.to_bits(),
        ];
        prop_oneof![
            3 => (0..40_i32).prop_map(|n| f64::from(n) / 8.0 - 2.0),
            1 => any::<f32>().prop_map(f64::from),
            1 => any::<u64>().prop_map(f64::from_bits),
            2 => proptest::sample::select(special.to_vec()).prop_map(f64::from_bits),
        ]
    }

    /// Points of few series, logged in any order; steps repeat and go back.
    pub(crate) fn any_points(most: usize) -> impl Strategy<Value = Points> {
        let name = |names: &[&'static str]| proptest::sample::select(names.to_vec());
        let labels = [None, Some(r#"{"rank":0}"#), Some(r#"{"rank":1}"#)];
        let key = (
            name(&["a", "run-b", "zoë"]),
            name(&["loss", "acc", "train/λ 'x'"]),
            proptest::sample::select(labels.to_vec()),
            name(&["one", "two", "three"]),
        );
        let time = prop_oneof![Just(UNKNOWN_TIME), 0..i64::MAX / 2, any::<i64>()];
        let step = prop_oneof![4 => -3..12_i64, 1 => any::<i64>()];
        let point = (key, step, time, any_value());
        proptest::collection::vec(point, 1..most).prop_map(|rows| {
            let (mut points, mut index) = (Points::default(), SeriesIndex::default());
            for ((run_id, metric, labels, launch), step, time, value) in rows {
                let key = key_of(run_id, metric, labels, launch);
                let series = index.intern(&mut points, key);
                points.push(series, step, time, value);
            }
            points
        })
    }

    pub(crate) fn key_of(
        run_id: &str,
        metric: &str,
        labels: Option<&str>,
        launch: &str,
    ) -> SeriesKey {
        SeriesKey {
            project: "p".into(),
            run_id: run_id.into(),
            metric: metric.into(),
            labels: labels.map(Into::into),
            launch: launch.into(),
        }
    }

    /// Writes `points` as one segment, in its place.
    pub(crate) fn segment_of(table: &Path, points: &SortedPoints, level: u8) -> SegmentMeta {
        let mut new = write_points(table, points, &points.series, level).unwrap();
        new.place().unwrap();
        SegmentMeta::from_add(table, &new.keep(), 1)
    }

    /// Points as comparable rows, in their order, values by their bits.
    pub(crate) fn rows_of(points: &Points) -> Vec<(SeriesKey, i64, i64, u64)> {
        (0..points.len())
            .map(|row| {
                let key = points.keys[points.series[row] as usize].clone();
                (key, points.steps[row], points.times[row], points.values[row].to_bits())
            })
            .collect()
    }

    pub(crate) fn sorted_rows(points: &SortedPoints) -> Vec<(SeriesKey, i64, i64, u64)> {
        let of = |series: &crate::Series| {
            let key = series.key.clone();
            series.rows.clone().map(move |row| {
                let (step, time) = (points.steps[row], points.times[row]);
                (key.clone(), step, time, points.values[row].to_bits())
            })
        };
        points.series.iter().flat_map(of).collect()
    }

    /// The file as somebody sees it who did not write it.
    fn foreign(segment: &SegmentMeta) -> SegmentMeta {
        let bare = crate::catalog::Add {
            path: segment.name.clone(),
            partition_values: std::collections::BTreeMap::default(),
            size: segment.bytes.cast_signed(),
            modification_time: 0,
            data_change: true,
            stats: None,
            tags: None,
        };
        let table = segment.path.parent().and_then(Path::parent).unwrap();
        SegmentMeta::from_add(table, &bare, 1)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_segment_gives_back_what_was_written_bit_for_bit(points in any_points(300), level in 0..2_u8) {
            let table = tempfile::tempdir().unwrap();
            let sorted = points.sort();
            let segment = segment_of(table.path(), &sorted, level);
            let all = Filter::default();
            let expected = sorted_rows(&sorted);
            prop_assert_eq!(&rows_of(&read_points(&segment, &all).unwrap()), &expected);
            prop_assert_eq!(&rows_of(&read_points(&foreign(&segment), &all).unwrap()), &expected);
            prop_assert_eq!(segment.rows, sorted.len() as u64);
            segment.check().unwrap();
            segment.check_footer().unwrap();
            prop_assert!(crate::disk::list(&table.path().join("_staging")).unwrap().is_empty());
        }

        #[test]
        fn the_index_says_what_the_points_add_up_to(points in any_points(200)) {
            let table = tempfile::tempdir().unwrap();
            let sorted = points.sort();
            let segment = segment_of(table.path(), &sorted, 0);
            let index = read_index(&segment).unwrap();
            let rows: Vec<_> = index.iter().map(|row| (&row.key, row.rows())).collect();
            let expected: Vec<_> = sorted
                .series
                .iter()
                .map(|s| (&s.key, s.rows.start as u64..s.rows.end as u64))
                .collect();
            prop_assert_eq!(rows, expected);
            for (row, series) in index.iter().zip(&sorted.series) {
                let points = series
                    .rows
                    .clone()
                    .map(|row| (sorted.steps[row], sorted.times[row], sorted.values[row]));
                let expected = Summary::of_points(points).unwrap();
                prop_assert!(row.summary.agrees_with(&expected), "{row:?} {expected:?}");
            }
            let scanned = read_index(&foreign(&segment)).unwrap();
            for (scanned, row) in scanned.iter().zip(index.iter()) {
                prop_assert_eq!(&scanned.key, &row.key);
                prop_assert!(scanned.summary.agrees_with(&row.summary), "{scanned:?} {row:?}");
            }
        }

        #[test]
        fn a_filter_finds_the_rows_it_wants_and_no_others(
            points in any_points(200),
            runs in proptest::option::of(proptest::sample::subsequence(vec!["a", "run-b", "none"], 0..3)),
            metrics in proptest::option::of(proptest::sample::subsequence(vec!["acc", "loss", "no"], 0..3)),
        ) {
            let owned = |names: Option<Vec<&str>>| {
                names.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
            };
            let filter = Filter { projects: None, runs: owned(runs), metrics: owned(metrics) };
            let table = tempfile::tempdir().unwrap();
            let sorted = points.clone().sort();
            let segment = segment_of(table.path(), &sorted, 0);
            let mut expected = sorted_rows(&sorted);
            expected.retain(|row| filter.wants(&row.0));
            prop_assert_eq!(&rows_of(&read_points(&segment, &filter).unwrap()), &expected);
            prop_assert_eq!(&rows_of(&read_points(&foreign(&segment), &filter).unwrap()), &expected);
            prop_assert!(expected.is_empty() || filter.may_want(&segment));
            let index = segment.read_index().unwrap().unwrap();
            let wanted = index.series().filter(|series| filter.wants(series.key));
            prop_assert_eq!(wanted.map(|series| series.rows.end - series.rows.start).sum::<u64>(), expected.len() as u64);

            // The same from the tail, in the order of logging.
            let wants = points.keys.iter().map(|key| filter.wants(key)).collect::<Vec<_>>();
            let tail = batches(&points, &wants).unwrap();
            prop_assert!(tail.iter().all(|batch| batch.schema() == points_schema()));
            let mut logged = rows_of(&points);
            logged.retain(|row| filter.wants(&row.0));
            let (mut read, mut index) = (Points::default(), SeriesIndex::default());
            for batch in &tail {
                reader::take_points(batch, |_| true, &mut read, &mut index);
            }
            prop_assert_eq!(rows_of(&read), logged);
        }
    }

    /// A segment of several row groups, batches and pages.
    fn large(rows: usize) -> SortedPoints {
        let (mut points, mut index) = (Points::default(), SeriesIndex::default());
        for (run, share) in [("a", 1), ("b", 6), ("c", 3)] {
            for metric in ["acc", "loss", "lr"] {
                let series = index.intern(&mut points, key_of(run, metric, None, "one"));
                for row in 0..i64::try_from(rows * share / 30).unwrap() {
                    let value = match metric {
                        "acc" => ((row * 7919) % 100) as f64 / 100.0,
                        "loss" => f64::from((row as f32).sin()),
                        _ => (row / 1000) as f64,
                    };
                    points.push(series, row, 1_700_000_000_000_000 + row * 1234, value);
                }
            }
        }
        points.sort()
    }

    #[test]
    fn a_segment_of_many_row_groups_reads_whole_and_in_part() {
        let table = tempfile::tempdir().unwrap();
        let sorted = large(2_500_000);
        let segment = segment_of(table.path(), &sorted, 0);
        let expected = sorted_rows(&sorted);
        assert_eq!(rows_of(&read_points(&segment, &Filter::default()).unwrap()), expected);
        let filter = Filter {
            runs: Some(vec!["a".to_owned(), "c".to_owned()]),
            metrics: Some(vec!["loss".to_owned()]),
            ..Filter::default()
        };
        let mut expected = expected;
        expected.retain(|row| filter.wants(&row.0));
        assert_eq!(rows_of(&read_points(&segment, &filter).unwrap()), expected);
        let batches: Vec<_> =
            scan(&segment, &filter, &[1, 7]).unwrap().map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), expected.len());
        assert!(batches.iter().all(|batch| batch.num_rows() <= schema::BATCH_ROWS));
        assert_eq!(batches[0].schema().field(0).name(), "run_id");
    }

    #[test]
    fn facts_come_back_as_they_were_said() {
        let table = tempfile::tempdir().unwrap();
        let fact = |run_id: &str, kind: FactKind, key: &str, value: Option<&str>, hlc| Fact {
            project: "p".into(),
            run_id: run_id.into(),
            kind,
            key: key.into(),
            value: value.map(Into::into),
            launch: "one".into(),
            hlc,
            writer: "w".into(),
            position: hlc << 32,
        };
        let facts = [
            fact("b", FactKind::Config, "lr", Some("0.1"), 3),
            fact("a", FactKind::Tag, "good", None, 4),
            fact("b", FactKind::Other("later".into()), "x", Some("\"é\""), 1),
            fact("b", FactKind::Config, "lr", Some("0.2"), 2),
        ];
        let mut new = write_facts(table.path(), &facts, 0).unwrap();
        new.place().unwrap();
        let segment = SegmentMeta::from_add(table.path(), &new.keep(), 0);
        let read = read_facts(&segment).unwrap();
        let [first, second, third, fourth] = facts;
        assert_eq!(read, [second, fourth, first, third]);
        assert_eq!(segment.runs, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(segment.rows, 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_segment_holds_what_is_said_of_it(points in any_points(300), level in 0..2_u8) {
            let table = tempfile::tempdir().unwrap();
            let segment = segment_of(table.path(), &points.sort(), level);
            prop_assert_eq!(segment.verify_points(&mut |_| {}).unwrap(), Vec::<String>::new());
            prop_assert_eq!(foreign(&segment).verify_points(&mut |_| {}).unwrap(), Vec::<String>::new());
        }
    }

    /// Two series of 80,000 points whose values `value` gives, and a short one between them.
    fn long(value: impl Fn(usize) -> f64) -> SortedPoints {
        let (mut points, mut index) = (Points::default(), SeriesIndex::default());
        for (run, rows) in [("a", 80_000), ("b", 90), ("c", 80_000)] {
            let series = index.intern(&mut points, key_of(run, "loss", None, "one"));
            for (step, row) in (0..).zip(0..rows) {
                points.push(series, step * 3, step, value(row));
            }
        }
        points.sort()
    }

    #[test]
    fn long_series_have_rollups_and_verify_finds_whatever_is_said_wrong() {
        let table = tempfile::tempdir().unwrap();
        let wave = |row: usize| (row as f64 / 100.0).sin();
        let segment = segment_of(table.path(), &long(wave), 1);
        let verify = |segment: &SegmentMeta| segment.verify_points(&mut |_| {}).unwrap();
        assert_eq!(verify(&segment), Vec::<String>::new());
        let rollup = segment.rollup.as_ref().unwrap();
        let levels: Vec<Vec<_>> = rollup
            .levels()
            .unwrap()
            .into_iter()
            .map(|cells| cells.map(|cell| cell.unwrap().0).collect())
            .collect();
        // 240,000 steps in cells of 512 steps, of which each holds at most 171 points, and then of 8,192 steps: with 4,096 there
        // would be 59 cells, which is more than an eighth.
        let sizes = levels.iter().map(|series| series.iter().filter(|&&at| at == 0).count());
        assert_eq!(sizes.collect::<Vec<_>>(), [469, 30]);
        assert!(levels.iter().all(|series| series.is_sorted() && !series.contains(&1)));

        // One value in the middle is another one, and nobody said so.
        let other =
            segment_of(table.path(), &long(|row| if row == 777 { 9.0 } else { wave(row) }), 1);
        let says = |segment: SegmentMeta, what: &str| {
            let wrong = SegmentMeta { cached: Kept::default(), ..segment };
            let found = verify(&wrong);
            assert!(found.iter().any(|line| line.contains(what)), "{what}: {found:?}");
        };
        let honest = || segment.clone();
        let index = (other.index.clone(), other.index_crc32c);
        says(SegmentMeta { index: index.0, index_crc32c: index.1, ..honest() }, "the index says");
        let rollup = other.rollup;
        says(SegmentMeta { rollup, ..honest() }, "the rollup at step");
        says(SegmentMeta { step_bounds: Some((0, 9)), ..honest() }, "its steps are 0 to 239997");
        says(SegmentMeta { rows: 7, ..honest() }, "it holds 160090 points, the catalog says 7");

        // Rollups of series that are not there.
        let short = |runs: &[&str]| {
            let mut points = long(wave);
            points.series.retain(|series| runs.contains(&&*series.key.run_id));
            segment_of(table.path(), &points, 1)
        };
        let rollup = segment.rollup.clone();
        says(SegmentMeta { rollup, ..short(&["a", "c"]) }, "which is not there");
        let (few, many) = (short(&["a"]), short(&["a", "c"]));
        says(SegmentMeta { rollup: many.rollup, ..few }, "which is not there");
    }

    #[test]
    fn a_segment_that_is_given_up_leaves_nothing_behind() {
        let table = tempfile::tempdir().unwrap();
        let files = || {
            ["_staging", "_index", "_rollups", "l0"]
                .map(|folder| crate::disk::list(&table.path().join(folder)).unwrap().len())
        };
        // Long enough for rollups.
        let points = large(30_000);
        let staged = write_points(table.path(), &points, &points.series, 0).unwrap();
        assert_eq!(files(), [3, 0, 0, 0]);
        drop(staged);
        assert_eq!(files(), [0, 0, 0, 0]);
        let mut placed = write_points(table.path(), &points, &points.series, 0).unwrap();
        placed.place().unwrap();
        assert_eq!(files(), [0, 1, 1, 1]);
        drop(placed);
        assert_eq!(files(), [0, 0, 0, 0]);
        drop(PointsWriter::create(table.path(), 0).unwrap());
        assert_eq!(files(), [0, 0, 0, 0]);
    }

    #[test]
    fn a_file_that_is_gone_expires_the_snapshot() {
        let table = tempfile::tempdir().unwrap();
        let segment = segment_of(table.path(), &large(300), 0);
        crate::disk::remove_if_there(&segment.path).unwrap();
        for read in [read_points(&segment, &Filter::default()).map(drop), segment.check_footer()] {
            assert!(
                matches!(read, Err(crate::Error::SnapshotExpired { path }) if path == segment.path)
            );
        }
        let segment = segment_of(table.path(), &large(300), 0);
        let index = segment.index.clone().unwrap();
        crate::disk::remove_if_there(&index).unwrap();
        let read = read_index(&segment);
        assert!(matches!(read, Err(crate::Error::SnapshotExpired { path }) if path == index));
    }

    #[test]
    fn no_flipped_bit_reads_as_other_points() {
        let table = tempfile::tempdir().unwrap();
        let points = large(3_000);
        let segment = segment_of(table.path(), &points, 0);
        let expected = sorted_rows(&points);
        for path in [&segment.path, segment.index.as_ref().unwrap()] {
            let whole = crate::disk::read(path).unwrap();
            for at in (0..whole.len()).filter(|at| at % 11 == 0 || *at < 300) {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (at % 8);
                crate::disk::replace(path, &bytes).unwrap();
                let segment = SegmentMeta { cached: Kept::default(), ..segment.clone() };
                match read_points(&segment, &Filter::default()) {
                    Ok(read) => {
                        assert_eq!(rows_of(&read), expected, "byte {at} of {}", path.display());
                    }
                    Err(crate::Error::Corrupt { path: named, .. }) => assert_eq!(&named, path),
                    Err(error) => panic!("byte {at}: {error}"),
                }
                assert!(segment.check().is_err(), "byte {at}");
            }
            crate::disk::replace(path, &whole).unwrap();
        }
    }

    /// The real runs, where `$RUNLAKE_REAL_DATA` names the folder that has them.
    pub(crate) fn real_points() -> Option<Points> {
        let Some(folder) = std::env::var_os("RUNLAKE_REAL_DATA") else {
            println!("skipped: RUNLAKE_REAL_DATA names no folder");
            return None;
        };
        let file = crate::disk::open(&Path::new(&folder).join("nanogpt_speedruns.csv.gz")).unwrap();
        let mut rows = csv::Reader::from_reader(flate2::read::MultiGzDecoder::new(file));
        let (mut points, mut index) = (Points::default(), SeriesIndex::default());
        let mut row = csv::StringRecord::new();
        while rows.read_record(&mut row).unwrap() {
            let series = index.intern(&mut points, key_of(&row[2], &row[5], None, "one"));
            let (step, value) = (row[3].parse().unwrap(), row[6].parse().unwrap());
            points.push(series, step, UNKNOWN_TIME, value);
        }
        Some(points)
    }

    #[test]
    fn real_runs_take_two_bytes_a_point_and_come_back_bit_for_bit() {
        let Some(points) = real_points() else { return };
        let table = tempfile::tempdir().unwrap();
        let sorted = points.sort();
        for (level, most) in [(0, 2.0), (1, 1.8)] {
            let segment = segment_of(table.path(), &sorted, level);
            let index = crate::disk::size(segment.index.as_ref().unwrap()).unwrap();
            let each = |bytes: u64| bytes as f64 / sorted.len() as f64;
            println!(
                "level {level}: {:.3} B a point, its index {:.3}",
                each(segment.bytes),
                each(index)
            );
            assert!(each(segment.bytes) < most);
            let read = read_points(&segment, &Filter::default()).unwrap();
            assert_eq!(read.steps, sorted.steps);
            let bits =
                |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert!(bits(&read.values) == bits(&sorted.values));
        }
    }

    #[test]
    fn an_index_whose_rows_overlap_or_cannot_be_counted_is_damaged() {
        let row = |first_row, count| IndexRow {
            key: key_of("r", "m", None, "one"),
            first_row,
            summary: Summary { count, ..Summary::of(0, 0, 0.0) },
        };
        let sound = |rows: &[IndexRow]| reader::lie_side_by_side(rows);
        assert!(sound(&[]) && sound(&[row(0, 3), row(3, 1)]));
        assert!(!sound(&[row(1, 3)]) && !sound(&[row(0, 3), row(2, 1)]));
        assert!(!sound(&[row(0, 3), row(3, u64::MAX)]));
    }

    #[test]
    fn what_the_catalog_says_of_the_rows_reserves_no_memory() {
        let table = tempfile::tempdir().unwrap();
        let fact = Fact {
            project: "p".into(),
            run_id: "r".into(),
            kind: FactKind::Config,
            key: "lr".into(),
            value: None,
            launch: "one".into(),
            hlc: 1,
            writer: "w".into(),
            position: 1,
        };
        let mut new = write_facts(table.path(), &[fact], 0).unwrap();
        new.place().unwrap();
        let meta = SegmentMeta {
            rows: u64::MAX >> 1,
            ..SegmentMeta::from_add(table.path(), &new.keep(), 1)
        };
        assert_eq!(read_facts(&meta).unwrap().len(), 1);
    }
}
