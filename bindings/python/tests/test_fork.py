"""Children that log to the run of their parent, however they were made."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runlake
from conftest import Program

Open = Callable[[], runlake.Lake]
METHODS = ["fork", "spawn", "forkserver"]

# Python 3.12 warns about every fork of a process with threads; ours has some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def rows(lake: runlake.Lake) -> list[tuple[str, float]]:
    return [tuple(row) for row in lake.sql("select metric, value from points order by metric, value")]  # type: ignore[misc]


def test_a_forked_child_logs_to_the_run_and_never_ends_it(store: Path, lake: Open) -> None:
    run = runlake.init("p", id="r")
    run.log({"parent": 0.0})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run.log({"child": 1.0})
            runlake.log({"child": 2.0})
            run.finish()
            runlake.finish()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lake().run("r").state == "running"
    assert runlake.run is run
    run.log({"parent": 3.0})
    assert rows(lake()) == [("child", 1.0), ("child", 2.0), ("parent", 0.0), ("parent", 3.0)]
    run.finish()
    assert lake().run("r").state == "finished"


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise ValueError", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_however_a_child_ends_its_parent_goes_on(store: Path, lake: Open, program: Program, ending: str) -> None:
    done = program(
        "import os, sys, runlake\n"
        "run = runlake.init('p', id='r')\n"
        "run.log({'x': 0.0})\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    run.log({'x': 1.0})\n"
        f"    {ending or 'sys.exit()'}\n"
        "os.waitpid(child, 0)\n"
        "assert runlake.open().run('r').state == 'running'\n"
        "run.log({'x': 2.0})\n"
    )
    assert done.returncode == 0, done.stderr
    assert lake().run("r").state == "finished"
    assert rows(lake()) == [("x", 0.0), ("x", 1.0), ("x", 2.0)]


def test_a_child_that_starts_a_run_leaves_that_of_its_parent_alone(store: Path, lake: Open, program: Program) -> None:
    done = program(
        "import os, runlake\n"
        "run = runlake.init('p', id='parent')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    with runlake.init('p', id='child') as own:\n"
        "        own.log({'x': 1.0})\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "assert runlake.open().run('parent').state == 'running'\n"
        "assert runlake.open().run('child').state == 'finished'\n"
        "run.log({'x': 2.0})\n"
    )
    assert done.returncode == 0, done.stderr
    assert lake().sql("select run_id, value from points order by run_id").fetchall() == [
        ("child", 1.0),
        ("parent", 2.0),
    ]


def test_grandchildren_log_too(store: Path, lake: Open, program: Program) -> None:
    done = program(
        "import os, runlake\n"
        "run = runlake.init('p', id='r')\n"
        "for depth in range(4):\n"
        "    run.log({'x': float(depth)}, step=depth)\n"
        "    child = os.fork()\n"
        "    if child:\n"
        "        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "        if depth: os._exit(code)\n"
        "        assert code == 0\n"
        "        break\n"
        "else:\n"
        "    run.log({'x': 4.0}, step=4)\n"
        "    os._exit(0)\n"
    )
    assert done.returncode == 0, done.stderr
    assert rows(lake()) == [("x", float(n)) for n in range(5)]
    assert lake().run("r").state == "finished"


def log_by_argument(run: runlake.Run, worker: int) -> None:
    for step in range(100):
        run.log({"x": float(worker * 1000 + step)}, step=step, labels={"worker": worker})


def log_by_module(worker: int) -> None:
    for step in range(100):
        runlake.log({"x": float(worker * 1000 + step)}, step=step, labels={"worker": worker})


@pytest.mark.parametrize(
    ("method", "way"),
    # A fork server may be older than the run, so its children cannot know it: they get it as an argument.
    [(method, "argument") for method in METHODS] + [("fork", "module"), ("spawn", "module")],
)
def test_workers_log_to_the_run_of_their_parent(store: Path, lake: Open, method: str, way: str) -> None:
    run = runlake.init("p", id="r")
    run.log({"parent": 0.0})
    context = multiprocessing.get_context(method)
    workers = [
        context.Process(target=log_by_argument, args=(run, n))  # type: ignore[attr-defined]
        if way == "argument"
        else context.Process(target=log_by_module, args=(n,))  # type: ignore[attr-defined]
        for n in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert lake().run("r").state == "running"
    assert runlake.run is run
    run.finish()
    values = lake().sql("select value from points where metric = 'x' order by value").fetchall()
    assert values == [(float(worker * 1000 + step),) for worker in range(3) for step in range(100)]
    assert lake().runs()[0][lake().runs().columns.index("state")] == "finished"
    assert len(lake().runs()) == 1


def test_a_pool_that_outlives_the_run_changes_nothing_about_its_end(store: Path, lake: Open) -> None:
    run = runlake.init("p", id="r")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(log_by_argument, [(run, 0), (run, 1)])
        run.finish()
        pool.starmap(log_by_argument, [(run, 2)])
        assert lake().run("r").state == "finished"
    assert lake().run("r").state == "finished"
    assert lake().sql("select count(*) from points").fetchall() == [(300,)]


def test_a_run_that_is_pickled_in_its_own_process_is_itself(store: Path) -> None:
    run = runlake.init("p")
    assert pickle.loads(pickle.dumps(run)) is run


def test_sql_works_in_a_forked_child(store: Path, lake: Open) -> None:
    runlake.init("p", id="r").log({"x": 1.0})
    opened = lake()
    assert len(opened.sql("select * from points")) == 1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if opened.sql("select value from points").fetchall() == [(1.0,)] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_children_that_start_their_own_runs_share_the_launch(store: Path, lake: Open, program: Program) -> None:
    child = "import runlake; runlake.init('p', id=None)"
    done = program(
        "import subprocess, sys, runlake\n"
        "run = runlake.init('p', id='parent')\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
        "run.log({'x': 1.0})\n"
    )
    assert done.returncode == 0, done.stderr
    assert len(lake().runs()) == 2
    assert sys.stderr is not None
