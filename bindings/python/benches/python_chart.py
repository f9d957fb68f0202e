"""Charts of very long runs, and of runs that are being logged.

    python_chart.py long FOLDER [--steps 5000000] [--check]    20 runs of so many points, and 20 of a tenth
    python_chart.py live STORE [--check]                       a lake of python_query.py, while 4 processes log to it

`long` fills two lakes in FOLDER, where they are not there yet, draws a window on the steps for each repetition, and
compares the answer with the points that were logged. `live` draws 100 runs of the lake, and those that the 4 processes
are logging at 250,000 points a second each.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import runlake
from table import Figure, percentile, show, verdict

RUNS, BUCKETS, REPETITIONS = 20, 1000, 15
METRICS = [f"train/m{number}" for number in range(10)]
COLUMNS = "run_id, x, count, first_value, last_value, min_value, max_value, mean_value"


def value(run: int, steps: int) -> np.ndarray:
    """A noisy curve in single precision, as training logs them."""
    random = np.random.default_rng(run)
    decay = 8 * np.exp(-np.arange(steps) / (steps / 3)) + 0.5
    noisy: np.ndarray = (decay * (1 + 0.03 * random.standard_normal(steps))).astype(np.float32)
    return noisy


def fill(store: Path, steps: int) -> None:
    at_once = 500_000
    for run in range(RUNS):
        values = value(run, steps).astype(np.float64)
        with runlake.init(project="p", id=f"run-{run:02}", store=store) as live:
            for start in range(0, steps, at_once):
                end = min(start + at_once, steps)
                live.log_many("loss", values[start:end], np.arange(start, end))
    compact = [sys.executable, "-m", "runlake", "compact", "--gc-now", "--store", store]
    subprocess.run(compact, check=True, stdout=subprocess.DEVNULL)


def ask(lake: runlake.Lake, window: tuple[int, int]) -> tuple[float, list[dict[str, Any]]]:
    query = f"select {COLUMNS} from chart('loss', from => {window[0]}, to => {window[1]}, buckets => {BUCKETS})"
    start = time.perf_counter()
    found = lake.sql(query)
    return (time.perf_counter() - start) * 1e3, found.to_dicts()


def is_right(rows: list[dict[str, Any]], window: tuple[int, int], run: int, values: np.ndarray) -> bool:
    """Whether the buckets of one run say what its points say."""
    mine = [row for row in rows if row["run_id"] == f"run-{run:02}"]
    first, last = window[0], min(window[1], len(values) - 1)
    starts = np.array([max(row["x"], first) for row in mine])
    within = values[first : last + 1].astype(np.float64)
    cuts = starts - first
    ends = np.append(cuts[1:], len(within))
    expected = {
        "count": ends - cuts,
        "first_value": within[cuts],
        "last_value": within[ends - 1],
        "min_value": np.minimum.reduceat(within, cuts),
        "max_value": np.maximum.reduceat(within, cuts),
    }
    exact = all([row[name] for row in mine] == column.tolist() for name, column in expected.items())
    means = np.add.reduceat(within, cuts) / (ends - cuts)
    return exact and cuts[0] == 0 and np.allclose([row["mean_value"] for row in mine], means, rtol=1e-9, atol=0)


def long(folder: Path, steps: int, check: bool) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    warm, wrong, notes = {}, 0, {}
    for length in (steps // 10, steps):
        store = folder / f"{length}.lake"
        if not store.exists():
            fill(store, length)
        lake, took = runlake.open(store), []
        for repetition in range(REPETITIONS + 1):
            random = np.random.default_rng(repetition)
            low, high = sorted(int(step) for step in random.integers(0, length, 2))
            window, run = (low, max(high, low + length // 100)), int(random.integers(RUNS))
            milliseconds, rows = ask(lake, window)
            if repetition > 0:
                took.append(milliseconds)
            if not is_right(rows, window, run, value(run, length)):
                wrong += 1
                print(f"{window} of run {run} of {length} points is answered otherwise", file=sys.stderr)
        warm[length] = statistics.median(took)
        notes[length] = f"p95 {percentile(took, 0.95):.1f}"
    figures = [
        Figure(f"chart of a window, {RUNS} runs x {steps:,} points", warm[steps], "ms", 20, notes[steps]),
        Figure(f"  with {steps // 10:,} points", warm[steps // 10], "ms", None, notes[steps // 10]),
        Figure("  so many times that", warm[steps] / warm[steps // 10], "x", 2),
    ]
    show(f"{BUCKETS:,} buckets of any window", figures)
    print(f"{wrong} wrong answers")
    return 1 if wrong else verdict(figures, check)


def log(store: str, number: int, rate: int) -> None:
    """Logs rows of ten metrics at `rate` points a second, until it is killed."""
    random = np.random.default_rng(number)
    with runlake.init(project="p", id=f"live-{number}", store=store) as run:
        row = dict(zip(METRICS, random.standard_normal(len(METRICS)).tolist(), strict=True))
        begin, logged = time.perf_counter(), 0
        while True:
            due = int((time.perf_counter() - begin) * rate / len(METRICS))
            while logged < due:
                row["train/m0"] = logged * 0.5
                run.log(row)
                logged += 1
            time.sleep(0.005)


def live(store: Path, check: bool) -> int:
    lake = runlake.open(store)
    stored = [row[0] for row in lake.sql("select run_id from runs order by run_id limit 100").fetchall()]
    metric = METRICS[3]
    static = f"select sum(count) from chart('{metric}', runs => {stored!r}, buckets => 1)"
    [(before,)] = lake.sql(static).fetchall()
    writers = [
        subprocess.Popen([sys.executable, __file__, "log", str(store), "--number", str(number), "--rate", "250000"])
        for number in range(4)
    ]
    runs = stored + [f"live-{number}" for number in range(4)]
    query = f"select {COLUMNS} from chart('{metric}', runs => {runs!r}, buckets => {BUCKETS})"
    took, grows, wrong, points = [], [], 0, 0
    try:
        time.sleep(2)
        first, start = None, time.perf_counter()
        while time.perf_counter() - start < 8:
            begin = time.perf_counter()
            found = lake.sql(query)
            took.append((time.perf_counter() - begin) * 1e3)
            counts: dict[str, int] = {}
            for row in found.to_dicts():
                counts[row["run_id"]] = counts.get(row["run_id"], 0) + row["count"]
            wrong += sum(counts[run] for run in stored) != before
            points = sum(counts.get(run, 0) for run in runs[len(stored) :])
            first = (points, begin) if first is None else first
            grows.append(points)
        assert first is not None
        rate = (points - first[0]) * len(METRICS) / (time.perf_counter() - first[1])
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    wrong += not all(a <= b for a, b in itertools.pairwise(grows))
    figures = [
        Figure(
            "chart of 100 runs and of 4 that are logged",
            statistics.median(took),
            "ms",
            25,
            f"p95 {percentile(took, 0.95):.1f}",
        ),
        Figure("  points a second of these", rate / 1e6, "M"),
    ]
    show("while 4 processes log", figures)
    print(f"{wrong} wrong answers")
    return 1 if wrong else verdict(figures, check)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["long", "live", "log"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=5_000_000)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--rate", type=int, default=250_000)
    parser.add_argument("--check", action="store_true", help="exit code 1 where a bar is missed")
    arguments = parser.parse_args()
    if arguments.what == "long":
        return long(arguments.folder, arguments.steps, arguments.check)
    if arguments.what == "live":
        return live(arguments.folder, arguments.check)
    log(str(arguments.folder), arguments.number, arguments.rate)
    return 0


if __name__ == "__main__":
    os.environ["RUNLAKE_SILENT"] = "true"
    sys.exit(main())
