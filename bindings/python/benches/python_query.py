"""What queries cost: 500 runs x 10 metrics x 10,000 steps, beside DuckDB and Polars on one sorted Parquet file of them.

    python_query.py make FOLDER [--runs 500] [--steps 10000]    writes the points: two lakes and a Parquet file
    python_query.py measure FOLDER [--only REGEX] [--check]     asks, compares the answers, prints a table

Every repetition draws new runs, metrics, windows and numbers of buckets, the same for all sides, and all sides use two
threads. `warm` is the median over repetitions in one process, `cold` that of the first query of new processes, timed
after `open()`. The lake is asked once as everything is compacted, and once with the last 30 % of the steps in small
segments and the live tail, and 5 % of the runs resumed. What a side answered is compared with the others: counts, ends
and extremes to the bit, means to 1e-9. Needs duckdb, polars, numpy, pyarrow.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import runlake
from table import Figure, percentile, show, verdict

METRICS = [f"train/m{number}" for number in range(10)]
WARM, PEERS, COLD = 15, 3, 3


def value(run: int, metric: int, steps: int) -> np.ndarray:
    """A noisy curve in single precision, as training logs them."""
    random = np.random.default_rng(run * 1000 + metric)
    step = np.arange(steps)
    decay = 8 * np.exp(-step / random.uniform(steps / 10, steps)) + random.uniform(0.1, 3)
    return (decay * (1 + 0.03 * random.standard_normal(steps))).astype(np.float32).astype(np.float64)


def run_id(run: int) -> str:
    return f"run-{run:03}"


def make(folder: Path, runs: int, steps: int) -> None:
    folder.mkdir(parents=True)
    fields = [("run", pa.string()), ("metric", pa.string()), ("step", pa.int64()), ("value", pa.float64())]
    with pq.ParquetWriter(folder / "points.parquet", pa.schema(fields), compression="zstd") as writer:
        for start in range(0, runs, 10):
            some = range(start, min(start + 10, runs))
            series = [(run, number) for run in some for number in range(len(METRICS))]
            columns = [
                np.repeat([run_id(run) for run in some], len(METRICS) * steps),
                np.tile(np.repeat(METRICS, steps), len(some)),
                np.tile(np.arange(steps), len(series)),
                np.concatenate([value(run, number, steps) for run, number in series]),
            ]
            writer.write_table(pa.table(columns, schema=pa.schema(fields)))
    for name, cuts in (("compacted", [0, steps]), ("fragmented", [0, *np.linspace(steps * 0.7, steps, 6, dtype=int)])):
        store = folder / f"{name}.lake"
        # In a process of its own, which ends without a word, so that what it did not flush stays in the log.
        source = (
            "import os, sys; sys.path.insert(0, sys.argv[1]); import python_query as bench;"
            f"bench.fill({str(store)!r}, {runs}, {[int(cut) for cut in cuts]}, {name == 'fragmented'}); os._exit(0)"
        )
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([sys.executable, "-c", source, str(Path(__file__).parent)], check=True, **silent)


def fill(store: str, runs: int, cuts: list[int], fragmented: bool) -> None:
    """Logs all runs from cut to cut. What lies between the first two cuts is compacted."""
    steps = cuts[-1]
    compact = [sys.executable, "-m", "runlake", "compact", "--gc-now", "--store", store]
    for part, (start, end) in enumerate(itertools.pairwise(cuts)):
        for run in range(runs):
            # Every twentieth run is resumed in the middle: it goes back and logs the same again.
            resumed = fragmented and part > 2 and run % 20 == 0
            os.environ["RUNLAKE_LAUNCH"] = "second" if resumed else "first"
            first = start - steps // 20 if resumed and part == 3 else start
            with runlake.init(project="p", id=run_id(run), store=store, config={"lr": 0.1 / 2 ** (run % 8)}) as live:
                for number, metric in enumerate(METRICS):
                    live.log_many(metric, value(run, number, steps)[first:end], np.arange(first, end))
        if part == 0:
            subprocess.run(compact, check=True)


class Draw:
    """What one repetition asks for."""

    def __init__(self, seed: int, runs: int, steps: int) -> None:
        random = np.random.default_rng(seed)
        self.metric = METRICS[random.integers(len(METRICS))]
        shuffled = random.permutation(runs)
        self.one = run_id(int(shuffled[0]))
        self.twenty = sorted(run_id(int(run)) for run in shuffled[:20])
        self.hundred = sorted(run_id(int(run)) for run in shuffled[:100])
        self.buckets = int(random.integers(800, 1001))
        low = int(random.integers(0, steps // 2))
        self.window = (low, low + int(random.integers(steps // 5, steps // 2)))
        self.until = int(random.integers(steps // 4, steps))


def texts(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


Rows = list[tuple[Any, ...]]
Ask = Callable[[Draw], Any]


class Query:
    """One question, as each side is asked it. `rows` brings what came into one shape, to be compared."""

    def __init__(
        self,
        name: str,
        ours: Callable[[runlake.Lake, Draw], Any],
        duck: Callable[[Draw, Any], str],
        polars: Callable[[pl.LazyFrame, Draw, Any], pl.LazyFrame] | None,
        most_ms: float,
        ratio: float,
    ) -> None:
        self.name, self.ours, self.duck, self.polars = name, ours, duck, polars
        self.most_ms, self.ratio = most_ms, ratio


CHART = "run_id, x, count, first_value, last_value, min_value, max_value, mean_value"


def grid(rows: Rows) -> tuple[int, int]:
    """Where the buckets of a chart by step start, and how wide they are: the others are asked for the same ones."""
    starts = sorted({row[1] for row in rows})
    return starts[0], min((b - a for a, b in itertools.pairwise(starts)), default=1 << 40)


def duck_chart(runs: list[str], draw: Draw, rows: Rows, window: tuple[int, int] | None) -> str:
    origin, width = grid(rows)
    within = "" if window is None else f"and step between {window[0]} and {window[1]}"
    return (
        f"select run, {origin} + (step - {origin}) // {width} * {width} x, count(*), arg_min(value, step), "
        "arg_max(value, step), min(value), max(value), avg(value) from points "
        f"where metric = '{draw.metric}' and run in ({texts(runs)}) {within} group by all order by 1, 2"
    )


def duck_band(draw: Draw, rows: Rows) -> str:
    origin, width = grid(rows)
    return (
        f"with b as (select run, {origin} + (step - {origin}) // {width} * {width} x, min(value) low, max(value) high, "
        f"avg(value) mean from points where metric = '{draw.metric}' group by all) "
        "select lr, x, count(*), min(low), max(high), avg(mean), stddev_samp(mean) / sqrt(count(*)) "
        "from b join runs using (run) group by all order by lr, x"
    )


def polars_chart(
    points: pl.LazyFrame, runs: list[str], draw: Draw, rows: Rows, window: tuple[int, int] | None
) -> pl.LazyFrame:
    origin, width = grid(rows)
    wanted = (pl.col("metric") == draw.metric) & pl.col("run").is_in(runs)
    if window is not None:
        wanted &= pl.col("step").is_between(*window)
    bucket = (origin + (pl.col("step") - origin) // width * width).alias("x")
    value = pl.col("value")
    return (
        points.filter(wanted)
        .group_by("run", bucket)
        .agg(
            pl.len(),
            value.first().alias("first"),
            value.last().alias("last"),
            value.min().alias("min"),
            value.max().alias("max"),
            value.mean().alias("mean"),
        )
        .sort("run", "x")
    )


QUERIES = [
    Query(
        "chart of one metric, 100 runs, 1,000 buckets",
        lambda lake, draw: lake.sql(
            f"select {CHART} from chart('{draw.metric}', runs => [{texts(draw.hundred)}], buckets => {draw.buckets})"
        ),
        lambda draw, rows: duck_chart(draw.hundred, draw, rows, None),
        lambda points, draw, rows: polars_chart(points, draw.hundred, draw, rows, None),
        8,
        10,
    ),
    Query(
        "chart of a window off bucket borders, 20 runs",
        lambda lake, draw: lake.sql(
            f"select {CHART} from chart('{draw.metric}', runs => [{texts(draw.twenty)}], buckets => {draw.buckets}, "
            f"from => {draw.window[0]}, to => {draw.window[1]})"
        ),
        lambda draw, rows: duck_chart(draw.twenty, draw, rows, draw.window),
        lambda points, draw, rows: polars_chart(points, draw.twenty, draw, rows, draw.window),
        8,
        5,
    ),
    Query(
        "final value of one metric, 500 runs",
        lambda lake, draw: lake.sql(
            f"select run_id, last_value from series where metric = '{draw.metric}' order by run_id"
        ),
        lambda draw, _: (
            f"select run, arg_max(value, step) from points where metric = '{draw.metric}' group by run order by run"
        ),
        lambda points, draw, _: (
            points.filter(pl.col("metric") == draw.metric).group_by("run").agg(pl.col("value").last()).sort("run")
        ),
        5,
        50,
    ),
    Query(
        "last value at step <= N, 500 runs",
        lambda lake, draw: lake.sql(
            f"select run_id, last_value from chart('{draw.metric}', to => {draw.until}, buckets => 1)"
        ),
        lambda draw, _: (
            f"select run, arg_max(value, step) from points where metric = '{draw.metric}' and step <= {draw.until} "
            "group by run order by run"
        ),
        lambda points, draw, _: (
            points.filter((pl.col("metric") == draw.metric) & (pl.col("step") <= draw.until))
            .group_by("run")
            .agg(pl.col("value").last())
            .sort("run")
        ),
        10,
        10,
    ),
    Query(
        "best within a step range, 500 runs",
        lambda lake, draw: lake.sql(
            f"select run_id, min_value from chart('{draw.metric}', from => {draw.window[0]}, "
            f"to => {draw.window[1]}, buckets => 1)"
        ),
        lambda draw, _: (
            f"select run, min(value) from points where metric = '{draw.metric}' and "
            f"step between {draw.window[0]} and {draw.window[1]} group by run order by run"
        ),
        lambda points, draw, _: (
            points.filter((pl.col("metric") == draw.metric) & pl.col("step").is_between(*draw.window))
            .group_by("run")
            .agg(pl.col("value").min())
            .sort("run")
        ),
        10,
        10,
    ),
    Query(
        "best 10 runs by minimum",
        lambda lake, draw: lake.sql(
            f"select run_id, min_value from series where metric = '{draw.metric}' order by min_value, run_id limit 10"
        ),
        lambda draw, _: (
            f"select run, min(value) from points where metric = '{draw.metric}' group by run order by 2, 1 limit 10"
        ),
        lambda points, draw, _: (
            points.filter(pl.col("metric") == draw.metric)
            .group_by("run")
            .agg(pl.col("value").min())
            .sort("value", "run")
            .head(10)
        ),
        5,
        50,
    ),
    Query(
        "one raw series of 10,000 points",
        lambda lake, draw: lake.sql(
            f"select step, value from points where run_id = '{draw.one}' and metric = '{draw.metric}' order by step"
        ),
        lambda draw, _: (
            f"select step, value from points where run = '{draw.one}' and metric = '{draw.metric}' order by step"
        ),
        lambda points, draw, _: (
            points.filter((pl.col("run") == draw.one) & (pl.col("metric") == draw.metric))
            .select("step", "value")
            .sort("step")
        ),
        2,
        5,
    ),
    Query(
        "wide history of one run, 10 metrics",
        lambda lake, draw: lake.sql(
            f"select step, {', '.join(chr(34) + metric + chr(34) for metric in METRICS)} from history('{draw.one}')"
        ),
        lambda draw, _: (
            "select step, "
            + ", ".join(f"max(value) filter (metric = '{metric}')" for metric in METRICS)
            + f" from points where run = '{draw.one}' group by step order by step"
        ),
        None,
        10,
        2,
    ),
    Query(
        "summary of all 5,000 series",
        lambda lake, _: lake.sql(
            "select run_id, metric, count, last_value, min_value, max_value, mean_value from series "
            "order by run_id, metric"
        ),
        lambda _draw, _: (
            "select run, metric, count(*), arg_max(value, step), min(value), max(value), avg(value) from points "
            "group by all order by 1, 2"
        ),
        lambda points, _draw, _: (
            points.group_by("run", "metric")
            .agg(
                pl.len(),
                pl.col("value").last().alias("last"),
                pl.col("value").min().alias("min"),
                pl.col("value").max().alias("max"),
                pl.col("value").mean().alias("mean"),
            )
            .sort("run", "metric")
        ),
        10,
        50,
    ),
    Query(
        "sum and count over all points",
        lambda lake, _: lake.sql("select sum(value), count(*) from points"),
        lambda _draw, _: "select sum(value), count(*) from points",
        lambda points, _draw, _: points.select(pl.col("value").sum(), pl.len()),
        250,
        1.1,
    ),
    Query(
        "mean band by config key, 500 runs, 200 buckets",
        lambda lake, draw: lake.sql(
            "select group_value::double, x, series, min_value, max_value, mean_value, stderr_value "
            f"from chart('{draw.metric}', group => 'config.lr', buckets => 200)"
        ),
        duck_band,
        None,
        40,
        5,
    ),
]


def same(ours: Rows, theirs: Rows) -> bool:
    """Equal, means and sums but for the order of adding."""

    def equal(a: Any, b: Any) -> bool:
        return bool(a == b) or (isinstance(a, float) and abs(a - b) <= 1e-9 * max(1.0, abs(b)))

    rows = zip(sorted(ours), sorted(theirs), strict=True)
    return len(ours) == len(theirs) and all(all(map(equal, one, other)) for one, other in rows)


def clock(ask: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = ask()
    return (time.perf_counter() - start) * 1e3, answer


class Sides:
    """The lake, compacted and fragmented, and the peers."""

    def __init__(self, folder: Path) -> None:
        runs, file = int((folder / "size").read_text().split()[0]), folder / "points.parquet"
        self.lakes = {name: runlake.open(folder / f"{name}.lake") for name in ("compacted", "fragmented")}
        self.duck = duckdb.connect(config={"threads": 2})
        self.duck.sql(f"create view points as select * from read_parquet('{file}')")
        rate = "0.1 / 2 ** (i % 8) lr"
        self.duck.sql(
            f"create table runs as select 'run-' || lpad(i::text, 3, '0') run, {rate} from range({runs}) t(i)"
        )
        self.points = pl.scan_parquet(file)

    def ask(self, query: Query, draw: Draw, peers: bool) -> dict[str, tuple[float, Rows]]:
        """How long each side took, and what it answered."""
        answers: dict[str, tuple[float, Rows]] = {}
        for name, lake in self.lakes.items():
            took, found = clock(partial(query.ours, lake, draw))
            answers[name] = took, found.fetchall()
        if peers:
            rows = answers["compacted"][1]
            text = query.duck(draw, rows)
            took, table = clock(lambda: self.duck.sql(text).to_arrow_table())
            columns = (column.to_pylist() for column in table.columns)
            answers["DuckDB"] = took, list(zip(*columns, strict=True))
            if query.polars is not None:
                took, frame = clock(query.polars(self.points, draw, rows).collect)
                answers["Polars"] = took, frame.rows()
        return answers


def measure(folder: Path, only: str, check: bool) -> int:
    runs, steps = (int(number) for number in (folder / "size").read_text().split())
    sides, figures, wrong = Sides(folder), [], 0
    for query in [query for query in QUERIES if re.search(only, query.name)]:
        times: dict[str, list[float]] = {}
        for repetition in range(WARM + 1):
            # The peers are slow enough that a few repetitions tell.
            answers = sides.ask(query, Draw(repetition, runs, steps), repetition <= PEERS)
            for name, (took, rows) in answers.items():
                # The first one warms up.
                if repetition > 0:
                    times.setdefault(name, []).append(took)
                if not same(answers["compacted"][1], rows):
                    wrong += 1
                    print(f"{query.name}: {name} answers otherwise", file=sys.stderr)
        warm = {name: statistics.median(took) for name, took in times.items()}
        ours = warm["compacted"]
        peers = {name: took for name, took in warm.items() if name in ("DuckDB", "Polars")}
        starts = [
            [sys.executable, __file__, "cold", str(folder), "--only", f"^{re.escape(query.name)}$", "--seed", str(seed)]
            for seed in range(COLD)
        ]
        cold = [float(subprocess.run(start, check=True, capture_output=True, text=True).stdout) for start in starts]
        note = ", ".join(
            [f"p95 {percentile(times['compacted'], 0.95):.1f}", *(f"{k} {v:.0f}" for k, v in peers.items())]
        )
        rows_of_query = [
            Figure(query.name, ours, "ms", query.most_ms, note),
            Figure("  times faster than the better peer", min(peers.values()) / ours, "x", query.ratio, at_least=True),
            Figure("  fragmented", warm["fragmented"], "ms", 3 * query.most_ms),
            Figure("  cold", statistics.median(cold), "ms", 5 * query.most_ms),
        ]
        show(f"{runs} runs x {len(METRICS)} metrics x {steps} steps", rows_of_query)
        figures += rows_of_query
    missed = sum(figure.missed for figure in figures)
    print(f"\n{len(figures) - missed} of {len(figures)} kept, {wrong} wrong answers")
    return 1 if wrong else verdict(figures, check)


def cold(folder: Path, only: str, seed: int) -> None:
    runs, steps = (int(number) for number in (folder / "size").read_text().split())
    query = next(query for query in QUERIES if re.search(only, query.name))
    lake = runlake.open(folder / "compacted.lake")
    print(clock(lambda: query.ours(lake, Draw(1000 + seed, runs, steps)))[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "measure", "cold"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="exit code 1 where a bar is missed")
    arguments = parser.parse_args()
    if arguments.what == "make":
        make(arguments.folder, arguments.runs, arguments.steps)
        (arguments.folder / "size").write_text(f"{arguments.runs} {arguments.steps}")
        return 0
    if arguments.what == "cold":
        cold(arguments.folder, arguments.only, arguments.seed)
        return 0
    return measure(arguments.folder, arguments.only, arguments.check)


if __name__ == "__main__":
    sys.exit(main())
