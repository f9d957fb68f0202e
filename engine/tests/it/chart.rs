//! A chart says of each bucket what a look at every point of it says, at every zoom: no spike is lost.

use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;
use runlake_engine::{
    Axis, Bucket, ChartRequest, ChartSeries, Filter, Lake, LakeOptions, MetricId, Run, Snapshot, X,
};

/// What one launch of a run logs of one metric in one go.
#[derive(Debug, Clone)]
struct Sitting {
    run: usize,
    metric: usize,
    launch: usize,
    first: i64,
    gap: i64,
    count: usize,
    /// What follows: nothing, a flush, or a flush and a merge.
    then: usize,
    seed: u64,
}

/// A point: run, metric, launch, step, time, value.
type Point = (usize, usize, usize, i64, i64, f64);

const RUNS: [&str; 3] = ["a", "b", "zoë"];
const METRICS: [&str; 2] = ["loss", "val/acc"];
const LAUNCHES: [&str; 3] = ["one", "two", "three"];

fn sitting() -> impl Strategy<Value = Sitting> {
    let count = prop_oneof![2 => 1..40_usize, 2 => 2_000..9_000_usize, 1 => 20_000..40_000_usize];
    let gap = prop_oneof![6 => Just(1_i64), 1 => Just(0_i64), 2 => 2..40_i64];
    let place = (0..RUNS.len(), 0..METRICS.len(), 0..LAUNCHES.len());
    (place, -300..12_000_i64, gap, count, 0..4_usize, any::<u64>()).prop_map(
        |((run, metric, launch), first, gap, count, then, seed)| Sitting {
            run,
            metric,
            launch,
            first,
            gap: if count > 9_000 { gap.min(1) } else { gap },
            count: if gap == 0 { count.min(300) } else { count },
            then,
            seed,
        },
    )
}

/// Mostly smooth, with what charts like to lose: single spikes, NaN and infinities.
fn value(seed: u64, at: u64) -> f64 {
    let mixed = (seed ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    match mixed % 997 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => 1e6 + mixed as f64,
        4 => -1e6 - mixed as f64,
        _ => (at as f64 / 50.0).sin() + mixed as f64 / 1e9,
    }
}

/// A lake whose writer waits for its next log file, however busy the machine is: a row that waits in memory is not seen.
fn lake(folder: &Path) -> Lake {
    let mut options = LakeOptions::default();
    options.create = true;
    options.max_block_ms = 60_000;
    options.open(folder.join("runs.lake")).unwrap()
}

/// Logs what the sittings say, and returns all points in the order of logging.
fn log(lake: &Lake, sittings: &[Sitting]) -> Vec<Point> {
    let mut runs: BTreeMap<(usize, usize), Run> = BTreeMap::new();
    let mut points = Vec::new();
    for sitting in sittings {
        let Sitting { run, metric, launch, first, gap, count, then, seed } = *sitting;
        let handle = runs.entry((run, launch)).or_insert_with(|| {
            lake.run("p").id(RUNS[run]).launch(LAUNCHES[launch]).start().unwrap()
        });
        let id: MetricId = handle.metric(METRICS[metric]).unwrap();
        let steps: Vec<i64> = (0..count as i64).map(|at| first + at * gap).collect();
        let times: Vec<i64> = (0..count as i64)
            .map(|at| 1_700_000_000_000_000 + first * 1_000 + at * 1_111)
            .collect();
        let values: Vec<f64> = (0..count as u64).map(|at| value(seed, at)).collect();
        handle.log_many(id, Some(&steps), Some(&times), &values).unwrap();
        for row in 0..count {
            points.push((run, metric, launch, steps[row], times[row], values[row]));
        }
        if then > 1 {
            lake.flush().unwrap();
        }
        if then > 2 {
            lake.compact(false, &mut |_, _| true).unwrap();
        }
    }
    points
}

/// The points that count, by series and in the order of logging: a later launch hides earlier ones of the same series from
/// its first step on. `order` is the launches of each run, oldest first.
fn effective(snapshot: &Snapshot, points: &[Point]) -> BTreeMap<(usize, usize), Vec<Point>> {
    let runs = snapshot.runs().unwrap();
    let mut first: BTreeMap<(usize, usize, usize), i64> = BTreeMap::new();
    for &(run, metric, launch, step, ..) in points {
        let rank = |launch: usize| {
            let run = runs.iter().find(|known| &*known.run_id == RUNS[run]).unwrap();
            run.launches.iter().position(|known| &**known == LAUNCHES[launch]).unwrap()
        };
        let first = first.entry((run, metric, rank(launch))).or_insert(step);
        *first = step.min(*first);
    }
    let mut effective: BTreeMap<_, Vec<Point>> = BTreeMap::new();
    for &point in points {
        let (run, metric, launch, step, ..) = point;
        let known = runs.iter().find(|known| &*known.run_id == RUNS[run]).unwrap();
        let rank = known.launches.iter().position(|it| &**it == LAUNCHES[launch]).unwrap();
        let later = first.range((run, metric, rank + 1)..(run, metric, usize::MAX));
        if later.clone().all(|(_, first)| *first > step) {
            effective.entry((run, metric)).or_default().push(point);
        }
    }
    effective
}

/// A bucket as it has to be, from its points in the order of logging.
fn check(bucket: &Bucket, points: &[Point], x: impl Fn(&Point) -> f64) {
    let by_step = |last: bool| {
        let step = points.iter().map(|point| point.3);
        let step = if last { step.max() } else { step.min() }.unwrap();
        (step, points.iter().rfind(|point| point.3 == step).unwrap().5.to_bits())
    };
    let finite: Vec<&Point> = points.iter().filter(|point| point.5.is_finite()).collect();
    let extreme = |sign: f64| {
        let value = finite.iter().map(|point| sign * point.5).min_by(f64::total_cmp)?;
        let same = finite.iter().filter(|point| (sign * point.5).to_bits() == value.to_bits());
        Some((same.map(|point| point.3).min()?, (sign * value).to_bits()))
    };
    let bits = |point: (i64, f64)| (point.0, point.1.to_bits());
    let first = place(bucket.first_x);
    assert!(place(bucket.start) <= first + first.abs() * 1e-9, "{bucket:?}");
    assert_eq!(bucket.count, points.len() as u64, "{bucket:?}");
    assert_eq!(bucket.nan_count, points.iter().filter(|point| point.5.is_nan()).count() as u64);
    assert_eq!(
        bucket.inf_count,
        points.iter().filter(|point| point.5.is_infinite()).count() as u64
    );
    assert_eq!(bits(bucket.first), by_step(false));
    assert_eq!(bits(bucket.last), by_step(true));
    assert_eq!(bucket.min.map(bits), extreme(1.0), "{bucket:?}");
    assert_eq!(bucket.max.map(bits), extreme(-1.0), "{bucket:?}");
    assert_eq!(place(bucket.first_x), points.iter().map(&x).reduce(f64::min).unwrap());
    assert_eq!(place(bucket.last_x), points.iter().map(&x).reduce(f64::max).unwrap());
    let sum: f64 = finite.iter().map(|point| point.5).sum();
    let size: f64 = finite.iter().map(|point| point.5.abs()).sum();
    match bucket.mean {
        Some(mean) => {
            let mean = mean * finite.len() as f64;
            assert!((mean - sum).abs() <= size * 1e-12 * finite.len() as f64, "{mean} {sum}");
        }
        None => assert!(finite.is_empty()),
    }
}

fn place(x: X) -> f64 {
    match x {
        X::Whole(x) => x as f64,
        X::Real(x) => x,
    }
}

/// Every point that is asked for is in one bucket, which says what its points say.
fn check_all(
    chart: &[ChartSeries],
    most: usize,
    points: &BTreeMap<(usize, usize), Vec<Point>>,
    wanted: impl Fn(&Point) -> bool,
    x: impl Fn(&Point) -> f64 + Copy,
) {
    let mut starts: BTreeMap<usize, f64> = BTreeMap::new();
    let mut expected: BTreeMap<(usize, usize), Vec<Point>> = points.clone();
    expected.retain(|_, points| {
        points.retain(&wanted);
        !points.is_empty()
    });
    let keys: Vec<_> = chart.iter().map(|series| (&*series.run_id, &*series.metric)).collect();
    let known: Vec<_> =
        expected.keys().map(|(run, metric)| (RUNS[*run], METRICS[*metric])).collect();
    assert_eq!(keys, known);
    for (series, points) in chart.iter().zip(expected.values()) {
        let mut left: Vec<Vec<Point>> = vec![Vec::new(); series.buckets.len()];
        for point in points {
            let at = series.buckets.partition_point(|bucket| place(bucket.first_x) <= x(point));
            left[at - 1].push(*point);
        }
        for (bucket, points) in series.buckets.iter().zip(&left) {
            assert!(bucket.number < most && !points.is_empty(), "{bucket:?} of {most}");
            check(bucket, points, x);
            starts.insert(bucket.number, place(bucket.start));
        }
    }
    // All series share their buckets, which are of one width.
    if let (Some((first, start)), Some((last, end))) = (starts.iter().next(), starts.iter().last())
        && first < last
    {
        let width = (end - start) / (last - first) as f64;
        for (number, place) in &starts {
            let expected = start + width * (number - first) as f64;
            assert!((place - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{starts:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_chart_says_what_a_look_at_every_point_says(
        sittings in proptest::collection::vec(sitting(), 1..9),
        windows in proptest::collection::vec((-500..20_000_i64, 0..30_000_i64, 1..400_usize), 6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(folder.path());
        let points = log(&lake, &sittings);
        let snapshot = lake.snapshot().unwrap();
        let effective = effective(&snapshot, &points);
        let whole = [(None, None, 1), (None, None, 100)].into_iter();
        let cut = windows.iter().map(|&(from, length, most)| (Some(from), Some(from + length), most));
        for (from, to, buckets) in whole.chain(cut) {
            let request = |axis| ChartRequest { filter: Filter::default(), axis, buckets };
            let chart = snapshot.chart(&request(Axis::Step { from, to })).unwrap();
            let within = |x: i64| from.is_none_or(|from| from <= x) && to.is_none_or(|to| x <= to);
            check_all(&chart, buckets, &effective, |it| within(it.3), |it| it.3 as f64);

            let since = |step: i64| 1_700_000_000_000_000 + step * 1_000;
            let axis = Axis::Time { from: from.map(since), to: to.map(since) };
            let chart = snapshot.chart(&request(axis)).unwrap();
            let within = |time: i64| from.is_none_or(|from| since(from) <= time) && to.is_none_or(|to| time <= since(to));
            check_all(&chart, buckets, &effective, |it| within(it.4), |it| it.4 as f64);
        }
    }

    #[test]
    fn a_chart_over_another_metric_finds_its_value_at_each_step(
        sittings in proptest::collection::vec(sitting(), 2..7),
        from in proptest::option::of(-1.0..0.5_f64),
        buckets in 1..200_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(folder.path());
        let points = log(&lake, &sittings);
        let snapshot = lake.snapshot().unwrap();
        let effective = effective(&snapshot, &points);
        let mut xs: BTreeMap<(usize, i64), f64> = BTreeMap::new();
        for (run, metric, _, step, _, value) in effective.values().flatten() {
            if *metric == 1 {
                xs.insert((*run, *step), *value);
            }
        }
        let axis = Axis::Metric { name: METRICS[1].to_owned(), from, to: None };
        let chart = snapshot.chart(&ChartRequest { filter: Filter::default(), axis, buckets }).unwrap();
        let x = |point: &Point| xs.get(&(point.0, point.3)).copied().unwrap_or(f64::NAN);
        let wanted = |point: &Point| x(point).is_finite() && from.is_none_or(|from| from <= x(point));
        check_all(&chart, buckets, &effective, wanted, x);
    }
}

#[test]
fn a_chart_over_time_since_the_start_begins_where_the_run_was_created() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open_or_create(folder.path().join("runs.lake")).unwrap();
    let run = lake.run("p").id("r").start().unwrap();
    let created = lake.snapshot().unwrap().runs().unwrap()[0].created_at.unwrap();
    let loss = run.metric("loss").unwrap();
    run.log_many(loss, Some(&[0, 1]), Some(&[created + 5, created + 25]), &[1.0, 2.0]).unwrap();
    let axis = Axis::RelativeTime { from: None, to: None };
    let request = ChartRequest { filter: Filter::default(), axis, buckets: 10 };
    let chart = lake.snapshot().unwrap().chart(&request).unwrap();
    let places: Vec<_> = chart[0].buckets.iter().map(|it| (it.first_x, it.first)).collect();
    assert_eq!(places, [(X::Whole(5), (0, 1.0)), (X::Whole(25), (1, 2.0))]);
}

#[test]
fn a_chart_of_what_is_not_there_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open_or_create(folder.path().join("runs.lake")).unwrap();
    for _place in ["an empty lake", "live", "in a segment"] {
        for axis in [
            Axis::Step { from: Some(5), to: Some(1) },
            Axis::Step { from: Some(4), to: None },
            Axis::Time { from: None, to: Some(0) },
            Axis::Metric { name: "epoch".to_owned(), from: None, to: None },
        ] {
            let request = ChartRequest { filter: Filter::default(), axis, buckets: 0 };
            assert_eq!(lake.snapshot().unwrap().chart(&request).unwrap(), []);
        }
        lake.flush().unwrap();
        let run = lake.run("p").start().unwrap();
        run.log_named(3, &[("loss", f64::NAN)]).unwrap();
    }
}
