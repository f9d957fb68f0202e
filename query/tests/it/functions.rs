//! Functions beyond DataFusion's own, beside what their papers and a plain loop say.

use super::Fixture;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    /// From 0 up to, not including, 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 up to, not including, `most`.
    fn below(&mut self, most: u32) -> u32 {
        let share = self.next();
        (0..most).rev().find(|&number| f64::from(number) <= share * f64::from(most)).unwrap_or(0)
    }

    /// Points with steps that grow, some of them NaN or infinite.
    fn series(&mut self) -> Vec<(i64, f64)> {
        let length = 1 + self.below(60);
        let mut step = 0;
        (0..length)
            .map(|_| {
                step += 1 + i64::from(self.below(5));
                let value = match self.below(12) {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    _ => (self.next() * 20.0).round() / 4.0,
                };
                (step, value)
            })
            .collect()
    }
}

/// A lake with `rounds` random series, one a run, and the series.
fn lake(rounds: usize) -> (Fixture, Vec<Vec<(i64, f64)>>) {
    let lake = Fixture::new();
    let mut numbers = Numbers(0x2545_F491_4F6C_DD1D);
    let mut all = Vec::new();
    for round in 0..rounds {
        let series = numbers.series();
        let run = lake.run(&format!("r{round:03}"));
        for &(step, value) in &series {
            run.log_named(step, &[("m", value)]).unwrap();
        }
        all.push(series);
        if round == rounds / 2 {
            lake.lake.flush().unwrap();
        }
    }
    (lake, all)
}

/// For each run, the steps for which `function` is true.
fn kept(lake: &Fixture, function: &str, rounds: usize) -> Vec<Vec<i64>> {
    let mut kept = vec![Vec::new(); rounds];
    for row in lake.rows(&format!(
        "select run_id, step from points qualify {function} over (partition by run_id order by step) order by run_id, step"
    )) {
        let (run, step) = row.split_once('|').unwrap();
        kept[run[1..].parse::<usize>().unwrap()].push(step.parse().unwrap());
    }
    kept
}

/// For each run, what `function` gives, row by row.
fn given(lake: &Fixture, function: &str, rounds: usize) -> Vec<Vec<Option<f64>>> {
    let mut given = vec![Vec::new(); rounds];
    for row in lake.rows(&format!(
        "select run_id, {function} over (partition by run_id order by step) from points order by run_id, step"
    )) {
        let (run, value) = row.split_once('|').unwrap();
        given[run[1..].parse::<usize>().unwrap()].push(value.parse().ok());
    }
    given
}

fn finite(series: &[(i64, f64)]) -> Vec<(i64, f64)> {
    series.iter().copied().filter(|(_, value)| value.is_finite()).collect()
}

#[test]
fn m4_keeps_the_first_last_least_and_greatest_of_each_column() {
    let (lake, all) = lake(60);
    for columns in [1, 3, 7, 50] {
        for (series, kept) in
            all.iter().zip(kept(&lake, &format!("m4(step, value, {columns})"), 60))
        {
            let points = finite(series);
            let (Some(&(low, _)), Some(&(high, _))) = (points.first(), points.last()) else {
                assert!(kept.is_empty());
                continue;
            };
            let column = |step: i64| {
                (0..columns).rev().find(|&column| (step - low) * columns >= column * (high - low))
            };
            let mut wanted = Vec::new();
            for number in 0..columns {
                let part: Vec<_> =
                    points.iter().filter(|point| column(point.0) == Some(number)).collect();
                let Some(first) = part.first() else { continue };
                let least = part.iter().rev().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().1;
                let greatest = part.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap().1;
                wanted.extend([first.0, part.last().unwrap().0]);
                wanted.push(part.iter().find(|point| point.1 == least).unwrap().0);
                wanted.push(part.iter().find(|point| point.1 == greatest).unwrap().0);
            }
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(kept, wanted, "{columns} columns of {series:?}");
        }
    }
}

#[test]
fn lttb_keeps_of_each_part_the_point_with_the_largest_triangle() {
    let (lake, all) = lake(60);
    for wanted in [1, 2, 3, 5, 20, 100] {
        let kept = kept(&lake, &format!("lttb(step, value, {wanted})"), 60);
        for (series, kept) in all.iter().zip(kept) {
            let points = finite(series);
            assert_eq!(kept.len(), wanted.min(points.len()), "{wanted} of {series:?}");
            let at = |step: &i64| points.iter().position(|point| point.0 == *step).unwrap();
            let kept: Vec<usize> = kept.iter().map(at).collect();
            if wanted < 3 || wanted >= points.len() {
                continue;
            }
            // The parts as the paper cuts them: equal numbers of points between the first and the last.
            let inner = points.len() - 2;
            let part = |number: usize| match number {
                number if number == wanted - 1 => vec![points.len() - 1],
                number => {
                    let cut = |number: usize| 1 + (number - 1) * inner / (wanted - 2);
                    (cut(number)..cut(number + 1)).collect()
                }
            };
            assert_eq!((kept[0], kept[wanted - 1]), (0, points.len() - 1));
            for number in 1..wanted - 1 {
                let next = part(number + 1);
                let mean = |of: fn(&(i64, f64)) -> f64| {
                    next.iter().map(|&at| of(&points[at])).sum::<f64>() / next.len() as f64
                };
                let (cx, cy) = (mean(|point| point.0 as f64), mean(|point| point.1));
                let (ax, ay) = (points[kept[number - 1]].0 as f64, points[kept[number - 1]].1);
                let area = |at: usize| {
                    let (bx, by) = (points[at].0 as f64, points[at].1);
                    (0.5 * (ax * (by - cy) + bx * (cy - ay) + cx * (ay - by))).abs()
                };
                let largest = part(number).into_iter().map(area).fold(0.0, f64::max);
                assert!(part(number).contains(&kept[number]), "{wanted} of {series:?}");
                assert!(area(kept[number]) >= largest - 1e-9, "{wanted} of {series:?}");
            }
        }
    }
}

#[test]
fn ema_is_the_mean_of_what_came_before_with_weights_that_fade() {
    let (lake, all) = lake(40);
    for alpha in [1.0, 0.5, 0.1] {
        for (series, given) in all.iter().zip(given(&lake, &format!("ema(value, {alpha})"), 40)) {
            let mut before: Vec<f64> = Vec::new();
            for (&(_, value), given) in series.iter().zip(given) {
                if !value.is_finite() {
                    assert_eq!(given, None);
                    continue;
                }
                before.push(value);
                let weight = |at: usize| (1.0_f64 - alpha).powf((before.len() - 1 - at) as f64);
                let sum: f64 = (0..before.len()).map(|at| weight(at) * before[at]).sum();
                let mean = sum / (0..before.len()).map(weight).sum::<f64>();
                assert!((given.unwrap() - mean).abs() < 1e-9, "{alpha} of {series:?}");
            }
        }
    }
    // A chart smooths in the same way, and names the weight of the past.
    assert_eq!(
        lake.rows(
            "select count(*) from chart('m', runs => 'r000', buckets => 1000, smooth => 0.9) c join \
             (select step, ema(value, 0.1) over (order by step) as ema from points where run_id = 'r000') p \
             on c.x = p.step where abs(ema - smooth_value) > 1e-12"
        ),
        ["0"]
    );
}

#[test]
fn gaps_are_filled_with_the_last_value_or_a_line() {
    let (lake, all) = lake(40);
    // Values below 2 are taken out, and have to be filled.
    let holes = "case when value < 2 then null else value end";
    let last = given(&lake, &format!("last_known({holes})"), 40);
    let lines = given(&lake, &format!("interpolate(step, {holes})"), 40);
    for ((series, last), line) in all.iter().zip(last).zip(lines) {
        for at in 0..series.len() {
            let known = |other: &usize| series[*other].1.is_nan() || series[*other].1 >= 2.0;
            let filled = (0..=at).rev().find(known).map(|other| series[other].1);
            assert_eq!(format!("{:?}", last[at]), format!("{filled:?}"), "{series:?}");
            if known(&at) {
                assert_eq!(format!("{:?}", line[at]), format!("{:?}", Some(series[at].1)));
                continue;
            }
            let fit = |other: &usize| known(other) && series[*other].1.is_finite();
            let (before, after) = ((0..at).rev().find(fit), (at..series.len()).find(fit));
            let wanted = before.zip(after).map(|(before, after)| {
                let ((x0, y0), (x1, y1)) = (series[before], series[after]);
                y0 + (y1 - y0) * ((series[at].0 - x0) as f64 / (x1 - x0) as f64)
            });
            match (line[at], wanted) {
                (Some(line), Some(wanted)) => assert!((line - wanted).abs() < 1e-9, "{series:?}"),
                (line, wanted) => assert_eq!(line, wanted, "{series:?}"),
            }
        }
    }
}

#[test]
fn asof_joins_each_point_with_the_last_one_of_the_other_metric() {
    let lake = Fixture::new();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut all = Vec::new();
    for round in 0..20 {
        let (points, others) = (numbers.series(), numbers.series());
        let run = lake.run(&format!("r{round:02}"));
        for (metric, series) in [("m", &points), ("other", &others)] {
            for &(step, value) in series {
                run.log_named(step, &[(metric, value)]).unwrap();
            }
        }
        all.push((points, others));
        if round == 10 {
            lake.lake.flush().unwrap();
        }
    }
    let mut wanted = Vec::new();
    for (round, (points, others)) in all.iter().enumerate() {
        for (step, value) in points {
            let known = others.iter().rev().find(|other| other.0 <= *step);
            let known = known.map_or_else(
                || "NULL|NULL".to_owned(),
                |known| format!("{}|{:?}", known.0, known.1),
            );
            wanted.push(format!("r{round:02}|{step}|{value:?}|{known}"));
        }
    }
    let columns = "run_id, step, value, other_step, other_value";
    assert_eq!(
        lake.rows(&format!("select {columns} from asof('m', 'other') order by run_id, step")),
        wanted
    );
    let some: Vec<String> = wanted
        .iter()
        .filter(|row| row.starts_with("r03") || row.starts_with("r07"))
        .cloned()
        .collect();
    let query = "from asof('m', 'other', runs => ['r03', 'r07']) order by run_id, step";
    assert_eq!(lake.rows(&format!("select {columns} {query}")), some);
    assert_eq!(lake.rows("select count(*) from asof('m', 'other', where => 'false') a"), ["0"]);
    assert_eq!(
        lake.rows("select count(a.step) from asof('m', 'm') a where value <> other_value"),
        ["0"]
    );
    for (call, says) in [
        ("asof('m')", "asof needs two metrics: write asof("),
        ("asof('m', 'othr')", "did you mean other?"),
        ("asof", "asof is a table function: write asof("),
    ] {
        let error = lake.error(&format!("select * from {call}")).to_string();
        assert!(error.contains(says), "{call}: {error}");
    }
}

#[test]
fn a_bucket_begins_at_a_multiple() {
    let lake = Fixture::new();
    let run = lake.run("r");
    let metric = run.metric("m").unwrap();
    for step in [-11, -10, -1, 0, 9, 10, 25] {
        run.log_labelled(step, Some(step * 1_000_000), None, &[(metric, 1.0)]).unwrap();
    }
    assert_eq!(
        lake.rows("select time_bucket(10, step) as bucket, count(*) from points group by bucket order by bucket"),
        ["-20|1", "-10|2", "0|2", "10|1", "20|1"]
    );
    assert_eq!(
        lake.rows(
            "select time_bucket('10 seconds', time) as bucket, count(*) from points where step >= 0 group by bucket order by bucket"
        ),
        ["1970-01-01T00:00:00Z|2", "1970-01-01T00:00:10Z|1", "1970-01-01T00:00:20Z|1"]
    );
    assert_eq!(
        lake.rows("select distinct time_bucket(interval '1 minute', time) = date_bin('1 minute', time) from points"),
        ["true"]
    );
}

#[test]
fn errors_say_how_a_function_is_called() {
    let (lake, _) = lake(2);
    for (call, says) in [
        ("m4(step, value, 0) over (order by step)", "at least 1: write m4(step, value, 100) over"),
        ("lttb(step, value, 2.5) over (order by step)", "write lttb(step, value, 100) over"),
        (
            "ema(value, 2) over (order by step)",
            "more than 0 and at most 1: write ema(value, 0.1) over",
        ),
        ("time_bucket(0, step)", "a bucket is at least 1 wide, not 0"),
        ("time_bucket('1 second', value)", "time_bucket(VARCHAR, DOUBLE) does not fit"),
        ("emma(value, 2) over (order by step)", "did you mean ema?"),
    ] {
        let error = lake.error(&format!("select {call} from points")).to_string();
        assert!(error.contains(says), "{call}: {error}");
    }
}
