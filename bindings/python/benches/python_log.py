"""What a row costs from Python, and a column. What was logged is read back and checked.

    python benches/python_log.py [--check]

With `--check` the exit code is 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from table import Figure, percentile, show, verdict

BLOCKS = 100
"""The ways take turns, so that a noisy machine is noisy for all of them."""

BLOCK = 5_000
COLUMN = 10_000_000
COLUMNS = 5

Row = dict[str, float]
Way = Callable[[Row], object]


def timed(call: Way, rows: list[Row], into: list[int]) -> None:
    """Appends the nanoseconds of each call, with what it takes to call and to read the clock."""
    clock = time.perf_counter_ns
    for row in rows:
        start = clock()
        call(row)
        into.append(clock() - start)


def take_turns(ways: dict[str, Way], rows: list[Row], after: Callable[[], None]) -> dict[str, list[float]]:
    """Microseconds of each call of each way; the median of an empty call, the first way, is taken off."""
    taken: dict[str, list[int]] = {name: [] for name in ways}
    gc.disable()
    for block in range(BLOCKS + 1):
        for name, call in ways.items():
            timed(call, rows, taken[name])
            if block == 0:
                # Names are new, and nothing is warm.
                taken[name].clear()
        after()
    gc.enable()
    empty = percentile(taken[next(iter(taken))], 0.5)
    return {name: [(nanoseconds - empty) / 1e3 for nanoseconds in all] for name, all in taken.items()}


def rows_of(points: int) -> list[Row]:
    """Rows that share the objects of their keys, as those of a training loop do."""
    keys = [f"train/metric{n}" for n in range(points)]
    return [{key: step + n / 16 for n, key in enumerate(keys)} for step in range(BLOCK)]


def literal(run: Any) -> Way:
    def log(row: Row) -> None:
        value = row["train/metric0"]
        run.log(
            {
                "train/metric0": value,
                "train/metric1": value,
                "train/metric2": value,
                "train/metric3": value,
                "train/metric4": value,
                "train/metric5": value,
                "train/metric6": value,
                "train/metric7": value,
                "train/metric8": value,
                "train/metric9": value,
            }
        )

    return log


def measure_rows(runlake: Any, store: Path) -> list[Figure]:
    tens, ones = rows_of(10), rows_of(1)
    kept: list[Row] = []
    steps = itertools.count(10**9)
    figures = []

    def figure(what: str, taken: list[float], p50: float | None = None, p99: float | None = None) -> None:
        note = f"p99.9 {percentile(taken, 0.999):.2f}, max {max(taken):,.0f}"
        figures.append(Figure(f"{what}, p50", percentile(taken, 0.5), "us", p50))
        figures.append(Figure(f"{what}, p99", percentile(taken, 0.99), "us", p99, note))

    with contextlib.redirect_stderr(io.StringIO()):
        run = runlake.init("bench", id="tens", store=store)
    ways: dict[str, Way] = {
        "an empty call, taken off all others": lambda row: None,
        "a copied dict of 10 appended to a list": lambda row: kept.append(row.copy()),
        "run.log(dict of 10)": lambda row: run.log(row),
        "run.log(dict of 10, step=n)": lambda row: run.log(row, step=next(steps)),
        "run.log of a dict of 10 made for the call": literal(run),
        "runlake.log(dict of 10)": lambda row: runlake.log(row),
        "run.log(dict of 10, labels=...)": lambda row: run.log(row, labels={"rank": 0}),
    }
    taken = take_turns(ways, tens, kept.clear)
    _empty, floor, first, *_ = taken
    most = max(0.8, 4 * percentile(taken[floor], 0.5))
    for what in list(ways)[1:]:
        figure(what, taken[what], *(most, 5.0) if what == first else (None, None))
    times = percentile(taken[first], 0.5) / percentile(taken[floor], 0.5)
    figures.append(Figure("run.log(dict of 10) beside a copied dict", times, "times"))

    with contextlib.redirect_stderr(io.StringIO()):
        run = runlake.init("bench", id="ones", store=store)
    taken = take_turns(
        {"an empty call": lambda row: None, "run.log(dict of 1)": lambda row: run.log(row)}, ones, gc.collect
    )
    figure("run.log(dict of 1)", taken["run.log(dict of 1)"], 0.5, 5.0)

    with contextlib.redirect_stderr(io.StringIO()):
        run.finish()
    # Rows were synced and flushed while others were logged.
    commits = len(list((store / "tables/points/_delta_log").glob("*.json")))
    assert commits > 3, commits
    logged = BLOCK * (BLOCKS + 1)
    lake = runlake.open(store)
    by_run = "select count(*), sum(value), count(distinct metric) from points_all where run_id = '{}'"
    of_dicts = sum(sum(row.values()) for row in tens) * (BLOCKS + 1) * (len(ways) - 3)
    of_literals = sum(row["train/metric0"] for row in tens) * 10 * (BLOCKS + 1)
    assert lake.sql(by_run.format("tens")).fetchall() == [(logged * 10 * (len(ways) - 2), of_dicts + of_literals, 10)]
    of_ones = sum(row["train/metric0"] for row in ones) * (BLOCKS + 1)
    assert lake.sql(by_run.format("ones")).fetchall() == [(logged, of_ones, 1)]
    return figures


def measure_columns(runlake: Any, store: Path) -> list[Figure]:
    column = np.arange(COLUMN, dtype=np.float64)
    warm = np.ones_like(column)
    with contextlib.redirect_stderr(io.StringIO()):
        run = runlake.init("bench", id="columns", store=store)
    copied, logged = [], []
    for _ in range(COLUMNS):
        start = time.perf_counter()
        np.copyto(warm, column)
        copied.append(COLUMN / (time.perf_counter() - start) / 1e6)
        start = time.perf_counter()
        run.log_many("column", column)
        logged.append(COLUMN / (time.perf_counter() - start) / 1e6)
    with contextlib.redirect_stderr(io.StringIO()):
        run.finish()
    found = runlake.open(store).sql("select count(*), sum(value), max(step) from points_all where run_id = 'columns'")
    count = COLUMN * COLUMNS
    assert found.fetchall() == [(count, column.sum() * COLUMNS, count - 1)], found.fetchall()
    share = percentile(logged, 0.5) / percentile(copied, 0.5) * 100
    note = f"{share:.0f} % of numpy.copyto; of {COLUMNS}: {', '.join(f'{rate:.0f}' for rate in logged)}"
    return [Figure("run.log_many(column of 10 M), p50", percentile(logged, 0.5), "M/s", 50, note, at_least=True)]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="fail where a limit is missed")
    check = arguments.parse_args().check
    import runlake

    with tempfile.TemporaryDirectory() as folder:
        figures = measure_rows(runlake, Path(folder) / "rows.lake")
    show(f"A row, {BLOCKS * BLOCK:,} of each, synced and flushed meanwhile", figures)
    with tempfile.TemporaryDirectory() as folder:
        columns = measure_columns(runlake, Path(folder) / "columns.lake")
    show("A column", columns)
    return verdict([*figures, *columns], check)


if __name__ == "__main__":
    sys.exit(main())
