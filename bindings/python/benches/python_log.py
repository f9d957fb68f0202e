"""What logging costs from Python: `log`, `init`, `import`. Each answer is checked by reading it back.

    python benches/python_log.py [--check]

With `--check` the exit code is 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROWS = 100_000
STARTS = 200
IMPORTS = 15


def percentile(sorted_values: list[int], share: float) -> int:
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]


def timed(call: Callable[[int], object], times: int) -> list[int]:
    """Nanoseconds of each call, sorted; the cost of reading the clock is taken off."""
    clock = time.perf_counter_ns
    empty = sorted(-clock() + clock() for _ in range(10_000))[5_000]
    taken = []
    gc.disable()
    for n in range(times):
        start = clock()
        call(n)
        taken.append(clock() - start - empty)
    gc.enable()
    return sorted(taken)


def show(what: str, taken: list[int], unit: float, name: str) -> None:
    p50, p99 = percentile(taken, 0.5) / unit, percentile(taken, 0.99) / unit
    print(f"{what:<44} p50 {p50:8.2f} {name}   p99 {p99:8.2f} {name}   max {taken[-1] / unit:10.1f} {name}")


def log_rows(store: Path) -> dict[str, float]:
    import runlake

    names = [f"train/metric{n}" for n in range(10)]
    values = [n + 0.5 for n in range(10)]
    data = dict(zip(names, values, strict=True))
    kept: list[dict[str, float]] = []
    run = runlake.init("bench", id="rows", store=store)

    def literal(n: int) -> None:
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
        "log(dict of 10)": lambda _n: run.log(data),
        "log(dict of 10, step=n)": lambda n: run.log(data, step=10 * ROWS + n),
        "log of a dict made for the call": literal,
        "runlake.log(dict of 10)": lambda _n: runlake.log(data),
        "log(dict of 10, labels=...)": lambda _n: run.log(data, labels={"rank": 0}),
    }
    floor = timed(lambda _n: kept.append(data.copy()), ROWS)
    show("append a copied dict to a list (the floor)", floor, 1e3, "us")
    kept.clear()
    found = {"floor": percentile(floor, 0.5)}
    for what, call in ways.items():
        timed(call, 1000)
        taken = timed(call, ROWS)
        show(what, taken, 1e3, "us")
        found[what] = percentile(taken, 0.5) / 1e3
    run.finish()
    rows = runlake.open(store).sql("select count(*), sum(value), count(distinct metric) from points_all").fetchall()
    count = len(ways) * (ROWS + 1000) * 10
    assert rows == [(count, count / 10 * sum(values), 10)], rows
    return found


def start_runs(store: Path) -> float:
    """`init` of runs in a lake that has 1,000 of them and 20 dead writers."""
    import runlake

    with contextlib.redirect_stderr(io.StringIO()):
        for _ in range(1000):
            runlake.init("bench", store=store).finish()
        for _ in range(20):
            dead = "import os, runlake; runlake.init('bench').log({'x': 1.0}); os.kill(os.getpid(), 9)"
            subprocess.run(
                [sys.executable, "-c", dead],
                env={**os.environ, "RUNLAKE_STORE": str(store)},
                check=False,
                stderr=subprocess.DEVNULL,
            )
        taken = []
        for _ in range(STARTS):
            start = time.perf_counter_ns()
            run = runlake.init("bench", store=store)
            taken.append(time.perf_counter_ns() - start)
            run.log({"x": 1.0})
            run.finish()
    taken.sort()
    show("init() with 1,000 runs and 20 dead writers", taken, 1e6, "ms")
    lake = runlake.open(store)
    assert lake.sql("select count(*) from runs where project = 'bench'").fetchall()[0][0] >= 1000 + 20 + STARTS
    return percentile(taken, 0.99) / 1e6


def first_start(directory: Path) -> float:
    """`init` in a process of its own: in the lake that is there, and where there is none."""
    source = (
        "import sys, time, runlake\n"
        "start = time.perf_counter_ns()\n"
        "run = runlake.init('bench')\n"
        "print(time.perf_counter_ns() - start)\n"
    )

    def start(store: Path) -> int:
        done = subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, "RUNLAKE_STORE": str(store)},
            check=True,
            capture_output=True,
            text=True,
        )
        return int(done.stdout)

    there = sorted(start(directory / "runs.lake") for _ in range(2 * IMPORTS))
    show("first init() of a process", there, 1e6, "ms")
    made = sorted(start(directory / f"new{n}.lake") for n in range(IMPORTS))
    show("first init() where there is no lake", made, 1e6, "ms")
    return percentile(made, 0.5) / 1e6


def imports() -> float:
    source = "import time; start = time.perf_counter_ns(); import runlake; print(time.perf_counter_ns() - start)"
    taken = sorted(
        int(subprocess.run([sys.executable, "-c", source], check=True, capture_output=True).stdout)
        for _ in range(IMPORTS)
    )
    show("import runlake", taken, 1e6, "ms")
    return statistics.median(taken) / 1e6


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="fail where a limit is missed")
    check = arguments.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        found = {
            "import runlake, ms": (imports(), 60.0),
            "log(dict of 10), p50 us": (log_rows(directory / "rows.lake")["log(dict of 10)"], 2.0),
            "init(), p99 ms": (start_runs(directory / "runs.lake"), 15.0),
            "init() of a new lake, ms": (first_start(directory), 60.0),
        }
    missed = {what: (value, limit) for what, (value, limit) in found.items() if value > limit}
    for what, (value, limit) in missed.items():
        print(f"missed: {what}: {value:.2f}, limit {limit}")
    return 1 if check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
