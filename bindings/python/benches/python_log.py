"""What a row costs from Python. What was logged is read back and checked.

    python benches/python_log.py [--check]

With `--check` the exit code is 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from table import Figure, percentile, show, verdict

ROWS = 100_000
WARM_UP = 1_000


def timed(call: Callable[[int], object], times: int) -> list[int]:
    """Nanoseconds of each call; the cost of reading the clock is taken off."""
    clock = time.perf_counter_ns
    empty = sorted(-clock() + clock() for _ in range(10_000))[5_000]
    taken = []
    gc.disable()
    for n in range(times):
        start = clock()
        call(n)
        taken.append(clock() - start - empty)
    gc.enable()
    return taken


def measure(store: Path) -> list[Figure]:
    import runlake

    values = [n + 0.5 for n in range(10)]
    data = {f"train/metric{n}": value for n, value in enumerate(values)}
    kept: list[dict[str, float]] = []
    with contextlib.redirect_stderr(io.StringIO()):
        run = runlake.init("bench", id="rows", store=store)

    def literal(_n: int) -> None:
        run.log(
            {
                "train/metric0": 0.5,
                "train/metric1": 1.5,
                "train/metric2": 2.5,
                "train/metric3": 3.5,
                "train/metric4": 4.5,
                "train/metric5": 5.5,
                "train/metric6": 6.5,
                "train/metric7": 7.5,
                "train/metric8": 8.5,
                "train/metric9": 9.5,
            }
        )

    ways: dict[str, Callable[[int], object]] = {
        "run.log(dict of 10)": lambda _n: run.log(data),
        "run.log(dict of 10, step=n)": lambda n: run.log(data, step=10 * ROWS + n),
        "run.log of a dict made for the call": literal,
        "runlake.log(dict of 10)": lambda _n: runlake.log(data),
        "run.log(dict of 10, labels=...)": lambda _n: run.log(data, labels={"rank": 0}),
    }
    figures = []

    def add(what: str, taken: list[int], limit: float | None = None) -> None:
        p99, most = percentile(taken, 0.99) / 1e3, max(taken) / 1e3
        note = f"p99 {p99:.2f}, max {most:,.0f}"
        figures.append(Figure(f"{what}, p50", percentile(taken, 0.5) / 1e3, "us", limit, note))

    add("appending a copied dict to a list, the floor", timed(lambda _n: kept.append(data.copy()), ROWS))
    kept.clear()
    for what, call in ways.items():
        timed(call, WARM_UP)
        add(what, timed(call, ROWS), limit=2.0 if what == "run.log(dict of 10)" else None)
    with contextlib.redirect_stderr(io.StringIO()):
        run.finish()
    rows = runlake.open(store).sql("select count(*), sum(value), count(distinct metric) from points_all").fetchall()
    count = len(ways) * (ROWS + WARM_UP) * 10
    assert rows == [(count, count / 10 * sum(values), 10)], rows
    return figures


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="fail where a limit is missed")
    check = arguments.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "runs.lake")
    show(f"A row of 10 floats, {ROWS:,} of each", figures)
    return verdict(figures, check)


if __name__ == "__main__":
    sys.exit(main())
