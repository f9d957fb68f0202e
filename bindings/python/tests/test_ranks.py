"""Several processes log to one run: real ones, which are killed and come back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runlake
from conftest import Program, compact

Open = Callable[[], runlake.Lake]

RANK = """
import os, sys, runlake
rank, first, last, value = int(os.environ["RANK"]), int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
run = runlake.init("p", id="job", mode="shared", config={"world": 4})
for step in range(first, last):
    run.log({"train/loss": value, "lr": 1.0}, step=step, labels={"rank": rank})
    if rank == 0:
        run.log({"eval/acc": value}, step=step)
print("logged", flush=True)
sys.stdin.read()
"""


def start(store: Path, restart: int, *arguments: object) -> list[subprocess.Popen[str]]:
    """Four ranks of one job, as torchrun starts them; returns when all have logged."""
    job = {"TORCHELASTIC_RUN_ID": "job-1", "TORCHELASTIC_RESTART_COUNT": str(restart), "RUNLAKE_STORE": str(store)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, *map(str, arguments)],
            env={**os.environ, **job, "RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(4)
    ]
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "logged\n"
    return ranks


def end(ranks: list[subprocess.Popen[str]], kill: bool) -> None:
    for rank in ranks:
        if kill:
            rank.kill()
        rank.communicate(timeout=60)
        assert rank.returncode == (-9 if kill else 0)


@pytest.mark.parametrize("compacted", [False, True])
def test_four_ranks_that_are_killed_and_resume_are_one_new_attempt_and_one_curve(
    store: Path, lake: Open, compacted: bool
) -> None:
    first = start(store, 0, 0, 1000, 1.0)
    assert lake().run("job").state == "running"
    end(first, kill=True)
    assert lake().run("job").state == "crashed"
    if compacted:
        compact(store)
    second = start(store, 1, 900, 1500, 2.0)
    assert lake().run("job").state == "running"
    end(second, kill=False)
    if compacted:
        compact(store)
    run = lake().run("job")
    assert (run.state, run.last_step, run.config) == ("finished", 1499, {"world": 4})
    assert len(lake().runs()) == 1

    query = "select attempt, count(distinct launch), min(step), max(step), count(*) from points_all group by attempt"
    rows = lake().sql(f"{query} order by attempt").fetchall()
    assert rows == [(0, 1, 0, 999, 9_000), (1, 1, 900, 1499, 5_400)]

    curves = lake().sql("select metric, labels, step, value from points order by metric, labels, step").fetchall()
    labels = [f'{{"rank":{rank}}}' for rank in range(4)]
    expected = [
        (metric, label, step, 1.0 if step < 900 or metric == "lr" else 2.0)
        for metric, all_labels in (("eval/acc", [None]), ("lr", labels), ("train/loss", labels))
        for label in all_labels
        for step in range(1500)
    ]
    assert curves == expected, "each step once, the new attempt from 900 on: no zigzag"
    columns = lake().history("job", metrics="train/loss").columns
    assert columns == ["step", "time", *(f"train/loss{{rank={rank}}}" for rank in range(4))]


def test_a_rank_that_ends_ends_nobody_elses_run(store: Path, lake: Open) -> None:
    ranks = start(store, 0, 0, 10, 1.0)
    end(ranks[:3], kill=False)
    assert lake().run("job").state == "running"
    end(ranks[3:], kill=False)
    assert lake().run("job").state == "finished"


def test_a_shared_run_needs_an_id(store: Path, program: Program, lake: Open) -> None:
    with pytest.raises(runlake.InvalidArgument, match=r"mode: 'shared' processes meet in one run by its id"):
        runlake.init("p", mode="shared")
    with runlake.init("p", id="parent", mode="shared") as run:
        child = program("import runlake\nrun = runlake.init('p', mode='shared')\nrun.log({'a': 1})\nprint(run.id)")
        assert child.stdout == "parent\n", child.stderr
        run.log({"b": 2})
    assert sorted(lake().sql("select metric from points").fetchall()) == [("a",), ("b",)]


def test_names_mean_runs_everywhere(store: Path, lake: Open) -> None:
    for id in ("aaa1", "aab2", "bbb3"):
        with runlake.init("p", id=id, name=f"name {id}", group="g") as run:
            run.log({"loss": 1.0})
    runlake.init("q", id="aaa1", name="other").finish()
    api = runlake.Api()
    for name, id in (("bbb3", "bbb3"), ("name aab2", "aab2"), ("bb", "bbb3"), ("p/aaa", "aaa1"), ("@last-1", "bbb3")):
        assert lake().run(name).id == id
        assert api.run(name).id == id
        assert len(lake().history(name)) == 1
        assert len(lake().sql(f"select * from history('{name}')")) == 1
    for name in ("aa", "aaa1"):
        with pytest.raises(runlake.NotFound) as caught:
            lake().run(name)
        assert len(caught.value.candidates) >= 2
