"""What it costs to start and to end: `import`, `init`, a new lake, a thousand short programs, `finish`, SIGTERM.

    python benches/python_start.py [--check] [--only PART]

With `--check` the exit code is 1 where a limit is missed. Where wandb is installed, the smallest program is timed
beside the same one of wandb, offline.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from table import Figure, percentile, show, verdict

IMPORTS = 40
SMALLEST_RUNS = 10
RUNS = 10_000
DEAD = 100
ORPHAN_BYTES = 4 << 30
STARTS = 200
NEW = 40
SHORT = 1_000
POINTS = 20
ENDS = 5
ROWS = 1_000_000

TIMED_INIT = """
import time, runlake
start = time.perf_counter_ns()
run = runlake.init('bench')
print(time.perf_counter_ns() - start)
run.log({'x': 1.0})
run.finish()
"""

SMALLEST = """
import runlake
run = runlake.init(project="bench")
run.log({"loss": 1.0})
run.finish()
"""

SMALLEST_OF_WANDB = """
import wandb
run = wandb.init(project="bench", mode="offline")
run.log({"loss": 1.0})
run.finish()
"""

SHORT_PROGRAM = f"""
import runlake
with runlake.init('bench') as run:
    for step in range({POINTS}):
        run.log({{'x': float(step)}})
"""

MANY_RUNS = f"""
import os, runlake
store = os.environ["RUNLAKE_STORE"]
runs = [runlake._native.Run(store=store, project="bench") for _ in range({RUNS})]
for run in runs:
    run.log({{"x": 1.0}})
runs[-1].sync()
"""

# The files of a log grow fourfold from 264 KiB to 64 MiB: those of the one take in 86 MiB, those of the other 264 KiB.
KILLED = """
import os, numpy, runlake
run = runlake._native.Run(store=os.environ["RUNLAKE_STORE"], project="bench", flush_after_bytes=1 << 40)
run.log_many("x", numpy.zeros({points}))
os.kill(os.getpid(), 9)
"""
KILLED_LATE, KILLED_EARLY = KILLED.format(points=3 << 20), KILLED.format(points=1)

TIMED_FINISH = f"""
import time, runlake
run = runlake.init("bench")
row = {{f"metric{{n}}": float(n) for n in range(10)}}
for step in range({ROWS}):
    run.log(row)
start = time.perf_counter_ns()
run.finish()
print(time.perf_counter_ns() - start)
"""

# With what a launcher's handler does, or as Python starts.
TERMINATED = """
import signal, sys, runlake
if {handled}:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
run = runlake.init("bench")
row = {{f"metric{{n}}": float(n) for n in range(10)}}
for step in range({rows}):
    run.log(row)
print("logged", flush=True)
while True:
    run.log(row)
"""

TIMED_OPEN = """
import time, runlake
start = time.perf_counter_ns()
lake = runlake.open()
found = lake.sql("select count(*) from points").fetchone()
print(time.perf_counter_ns() - start, found[0])
"""


def run(source: str, store: Path, code: int = 0, **environment: str) -> str:
    """Runs a program with the lake `store` and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, "RUNLAKE_STORE": str(store), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def run_all(source: str, stores: Iterable[Path]) -> None:
    """Runs a program once for each store, as many at a time as there are cores."""
    cores = os.cpu_count() or 1
    waiting: list[subprocess.Popen[bytes]] = []
    for store in stores:
        if len(waiting) == cores:
            assert waiting.pop(0).wait() == 0
        waiting.append(
            subprocess.Popen(
                [sys.executable, "-c", source],
                env={**os.environ, "RUNLAKE_STORE": str(store)},
                stderr=subprocess.DEVNULL,
            )
        )
    assert all(program.wait() == 0 for program in waiting)


def imports(store: Path) -> Iterator[Figure]:
    """How long a program takes that does nothing, one that only imports, and the import alone."""

    def wall(source: str) -> float:
        start = time.perf_counter_ns()
        run(source, store)
        return (time.perf_counter_ns() - start) / 1e6

    timed = "import time; start = time.perf_counter_ns(); import runlake; print(time.perf_counter_ns() - start)"
    bare, whole, alone = [], [], []
    for _ in range(IMPORTS):
        bare.append(wall("pass"))
        whole.append(wall("import runlake"))
        alone.append(float(run(timed, store)) / 1e6)
    yield Figure("python -c pass, p50", percentile(bare, 0.5), "ms", note=f"p99 {percentile(bare, 0.99):.1f}")
    note = f"p99 {percentile(whole, 0.99):.1f}"
    yield Figure("python -c 'import runlake', p50", percentile(whole, 0.5), "ms", note=note)
    note = f"p99 {percentile(alone, 0.99):.1f}"
    yield Figure("import runlake, p50", percentile(alone, 0.5), "ms", 60, note)


def smallest(store: Path) -> Iterator[Figure]:
    """The smallest program that logs, from start to end, beyond one that does nothing; beside that of wandb."""
    peer = importlib.util.find_spec("wandb") is not None
    programs = {"bare": "pass", "runlake": SMALLEST, **({"wandb": SMALLEST_OF_WANDB} if peer else {})}
    taken: dict[str, list[float]] = {name: [] for name in programs}
    environment = {"WANDB_DIR": str(store.parent), "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
    run(SMALLEST, store)
    for _ in range(SMALLEST_RUNS):
        # In turn, so that what else the machine does falls on all alike.
        for name, source in programs.items():
            start = time.perf_counter_ns()
            run(source, store, **environment)
            taken[name].append((time.perf_counter_ns() - start) / 1e6)
    bare = percentile(taken["bare"], 0.5)
    ours = percentile(taken["runlake"], 0.5) - bare
    note = f"of {SMALLEST_RUNS}, p99 {percentile(taken['runlake'], 0.99) - bare:.0f}; bare {bare:.0f}"
    yield Figure("import, init, 1 log, finish, beyond bare Python, p50", ours, "ms", 120, note)
    if peer:
        theirs = percentile(taken["wandb"], 0.5) - bare
        yield Figure("the same with wandb offline, p50", theirs, "ms")
        yield Figure("wandb offline / runlake", theirs / ours, "times", 15, at_least=True)


def orphan_bytes(store: Path) -> int:
    return sum(path.stat().st_size for path in store.glob("log/*/*.log"))


def starts(store: Path) -> Iterator[Figure]:
    """`init` in a lake that has many runs, and many writers that died with much in their logs."""
    run(MANY_RUNS, store)
    run("import runlake; raise SystemExit(runlake._native.cli_main(['runlake', 'compact']))", store)
    dead = 0
    while dead < DEAD:
        source = KILLED_LATE if orphan_bytes(store) < ORPHAN_BYTES else KILLED_EARLY
        run(source, store, code=-9)
        dead += 1
    gigabytes = orphan_bytes(store) / 2**30
    assert gigabytes >= ORPHAN_BYTES / 2**30
    taken = [float(run(TIMED_INIT, store)) / 1e6 for _ in range(STARTS)]
    # Nothing here lives long enough to take in the logs of the dead.
    assert len(os.listdir(store / "log")) >= DEAD
    note = f"p50 {percentile(taken, 0.5):.1f}, max {max(taken):.1f}"
    what = f"init(), {RUNS:,} runs, {DEAD} dead writers, {gigabytes:.1f} GiB of their logs, p99"
    yield Figure(what, percentile(taken, 0.99), "ms", 15, note)
    again = f"""
import time, runlake
for _ in range({STARTS}):
    start = time.perf_counter_ns()
    run = runlake.init('bench')
    print(time.perf_counter_ns() - start)
    run.finish()
"""
    taken = [float(line) / 1e6 for line in run(again, store).split()[1:]]
    note = f"p50 {percentile(taken, 0.5):.2f}, max {max(taken):.1f}"
    yield Figure("init() again in the same process, p99", percentile(taken, 0.99), "ms", 15, note)


def new_lakes(store: Path) -> Iterator[Figure]:
    taken = [float(run(TIMED_INIT, store.with_name(f"new{n}.lake"))) / 1e6 for n in range(NEW)]
    note = f"p99 {percentile(taken, 0.99):.1f}"
    yield Figure("init() where there is no lake, p50", percentile(taken, 0.5), "ms", 60, note)


def many_short(store: Path) -> Iterator[Figure]:
    """Programs that end after a moment: what they leave, and what the next reader pays for it."""
    start = time.perf_counter()
    run_all(SHORT_PROGRAM, [store] * SHORT)
    each = (time.perf_counter() - start) / SHORT * 1e3
    yield Figure(f"{SHORT:,} programs of {POINTS} points, each", each, "ms", note=f"{os.cpu_count()} at a time")
    commits = len(list(store.glob("tables/*/_delta_log/*.json")))
    yield Figure("commits that they leave, both tables", commits, "", 50)
    writers = len(os.listdir(store / "log"))
    yield Figure("writer folders that they leave", writers, "")
    taken = []
    for _ in range(5):
        nanoseconds, count = run(TIMED_OPEN, store).split()
        assert int(count) == SHORT * POINTS, count
        taken.append(float(nanoseconds) / 1e6)
    note = f"of 5: {', '.join(f'{time:.0f}' for time in taken)}"
    yield Figure("open and count, the next reader, p50", percentile(taken, 0.5), "ms", 100, note)


def ends(store: Path) -> Iterator[Figure]:
    """How long a program waits at its end for what it logged."""
    taken = [float(run(TIMED_FINISH, store)) / 1e6 for _ in range(ENDS)]
    note = f"of {ENDS}: {', '.join(f'{time:.0f}' for time in taken)}"
    yield Figure(f"finish() after {ROWS * 10 / 1e6:.0f} M points, p50", percentile(taken, 0.5), "ms", 200, note)
    for handled, how in [(False, "no handler"), (True, "a handler that calls sys.exit")]:
        taken = []
        for _ in range(ENDS):
            program = subprocess.Popen(
                [sys.executable, "-c", TERMINATED.format(handled=handled, rows=ROWS)],
                env={**os.environ, "RUNLAKE_STORE": str(store)},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert program.stdout is not None
            assert program.stdout.readline() == b"logged\n"
            start = time.perf_counter_ns()
            program.terminate()
            assert program.wait() == (143 if handled else -signal.SIGTERM)
            taken.append((time.perf_counter_ns() - start) / 1e6)
        note = f"of {ENDS}: {', '.join(f'{time:.0f}' for time in taken)}"
        yield Figure(f"exit after SIGTERM, {how}, p50", percentile(taken, 0.5), "ms", 1000, note)
    # All rows of all of them are there, and those that were logged after the word.
    counts = """
import runlake
lake = runlake.open()
print(*[row[0] for row in lake.sql("select sum(count) from series group by run_id order by 1").fetchall()])
print(*[row[0] for row in lake.sql("select distinct state from runs order by 1").fetchall()])
"""
    points, states = run(counts, store).splitlines()
    found = [int(count) for count in points.split()]
    assert len(found) == 3 * ENDS, found
    assert found[:ENDS] == [ROWS * 10] * ENDS, found
    assert all(count >= ROWS * 10 and count % 10 == 0 for count in found[ENDS:]), found
    assert states.split() == ["crashed", "failed", "finished"], states


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="fail where a limit is missed")
    parts = {part.__name__: part for part in (imports, smallest, new_lakes, starts, many_short, ends)}
    arguments.add_argument("--only", choices=parts, help="measure this part only")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = [given.only] if given.only else list(parts)
        figures = []
        for part in chosen:
            (folder / part).mkdir()
            figures += parts[part](folder / part / "runs.lake")
    show("Starting and ending", figures)
    return verdict(figures, given.check)


if __name__ == "__main__":
    sys.exit(main())
