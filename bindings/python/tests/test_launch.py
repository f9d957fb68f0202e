"""Which launch a process belongs to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runlake
from runlake import _launch
from runlake._launch import Handed

Open = Callable[[], runlake.Lake]
PARENT = Handed("L", "parent", "p", "/a/runs.lake")
HANDED = {"RUNLAKE_LAUNCH": _launch.encode(PARENT)}
ELASTIC = {"TORCHELASTIC_RUN_ID": "job7", "TORCHELASTIC_RESTART_COUNT": "2"}
SLURM = {"SLURM_JOB_ID": "42", "SLURM_STEP_ID": "0", "SLURM_RESTART_COUNT": "1"}


@pytest.mark.parametrize(
    ("environ", "id", "launch"),
    [
        ({}, None, None),
        ({}, "r", None),
        ({"RUNLAKE_LAUNCH": "mine"}, "r", "mine"),
        ({"RUNLAKE_LAUNCH": "mine:1"}, "r", "mine:1"),
        ({"RUNLAKE_LAUNCH": "mine", **ELASTIC, **SLURM}, "r", "mine"),
        (ELASTIC, "r", "torchelastic-job7-2"),
        ({"TORCHELASTIC_RUN_ID": "job7"}, "r", "torchelastic-job7-0"),
        ({**ELASTIC, "TORCHELASTIC_RUN_ID": "none"}, "r", "torchelastic-AGENT-2"),
        (SLURM, "r", "slurm-42.0-1"),
        ({"SLURM_JOB_ID": "42", "SLURM_STEP_ID": "0"}, "r", "slurm-42.0-0"),
        # A batch script runs one process after another; each is a launch of its own.
        ({"SLURM_JOB_ID": "42"}, "r", None),
        ({**ELASTIC, **SLURM}, "r", "torchelastic-job7-2"),
        (HANDED, None, "L"),
        (HANDED, "parent", "L"),
        (HANDED, "other", None),
        # A restart of ranks under a parent with a run is a new launch all the same.
        ({**HANDED, **ELASTIC}, "parent", "torchelastic-job7-2"),
    ],
)
def test_the_launch_comes_from_what_all_processes_of_a_job_share(
    environ: dict[str, str], id: str | None, launch: str | None
) -> None:
    assert _launch.find(environ, id, "p", lambda: "AGENT") == launch


@given(parts=st.tuples(*[st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))] * 4))
def test_what_is_handed_down_arrives(parts: tuple[str, str, str, str]) -> None:
    assert _launch.handed({"RUNLAKE_LAUNCH": _launch.encode(Handed(*parts))}) == parts


def test_siblings_name_the_same_agent_and_cousins_do_not() -> None:
    source = "from runlake import _launch; print(_launch.agent())"
    siblings = {subprocess.check_output([sys.executable, "-c", source]) for _ in range(2)}
    assert len(siblings) == 1
    through = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {source!r}])"
    cousins = {subprocess.check_output([sys.executable, "-c", through]) for _ in range(2)}
    assert len(cousins | siblings) == 3


def test_the_environment_is_as_before_after_the_run(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runlake.init("p")
    assert "RUNLAKE_LAUNCH" in os.environ
    runlake.finish()
    assert "RUNLAKE_LAUNCH" not in os.environ
    monkeypatch.setenv("RUNLAKE_LAUNCH", "mine")
    run = runlake.init("p")
    assert run.launch == "mine"
    runlake.finish()
    assert os.environ["RUNLAKE_LAUNCH"] == "mine"


def test_each_start_of_a_run_is_a_launch_and_later_ones_hide_what_they_repeat(store: Path, lake: Open) -> None:
    for attempt, (first, last) in enumerate([(0, 10), (5, 8)]):
        with runlake.init("p", id="r") as run:
            for step in range(first, last):
                run.log({"x": float(attempt)}, step=step)
    rows = lake().sql("select step, value from points order by step").fetchall()
    assert rows == [(step, 0.0) for step in range(5)] + [(step, 1.0) for step in range(5, 8)]
    assert lake().sql("select count(*), count(distinct launch) from points_all").fetchall() == [(13, 2)]


def test_ranks_of_one_job_are_one_attempt(store: Path, lake: Open) -> None:
    source = (
        "import sys, runlake\n"
        "with runlake.init('p', id='r') as run:\n"
        "    for step in range(10): run.log({'x': float(step)}, step=step, labels={'rank': int(sys.argv[1])})\n"
    )
    for rank in range(3):
        subprocess.run(
            [sys.executable, "-c", source, str(rank)],
            env={**os.environ, "RUNLAKE_STORE": str(store), **ELASTIC},
            check=True,
            capture_output=True,
        )
    assert lake().sql("select count(*) from points").fetchall() == [(30,)]
    assert lake().sql("select distinct launch from points_all").fetchall() == [("torchelastic-job7-2",)]
