"""Rows of several calls: `commit=False`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runlake

Open = Callable[[], runlake.Lake]
Rows = list[tuple[int, str | None, dict[str, float]]]


def rows(lake: runlake.Lake, run: runlake.Run) -> Rows:
    """The rows as they were logged: points of one row share their time, which no two rows of this test do."""
    found: dict[object, tuple[int, str | None, dict[str, float]]] = {}
    query = f"select step, labels, time, metric, value from points where run_id = '{run.id}' order by time, metric"
    for step, labels, time, metric, value in lake.sql(query).fetchall():
        found.setdefault((time, step, labels), (step, labels, {}))[2][metric] = value
    return list(found.values())


def test_what_is_not_committed_becomes_part_of_the_next_row(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    run.log({"a": 1.0}, commit=False)
    assert rows(lake(), run) == []
    run.log({"b": 2.0, "nested": {"c": np.float32(3)}}, commit=False)
    run.log({"a": 4.0, "d": 5.0})
    run.log({"e": 6.0})
    assert rows(lake(), run) == [(0, None, {"a": 4.0, "b": 2.0, "nested.c": 3.0, "d": 5.0}), (1, None, {"e": 6.0})]


def test_the_step_may_be_named_by_any_of_the_calls(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    run.log({"a": 1.0}, step=7, commit=False)
    run.log({"b": 2.0})
    run.log({"a": 3.0}, commit=False)
    run.log({"b": 4.0}, step=20)
    run.log({}, commit=True)
    run.log({"c": 5.0})
    assert rows(lake(), run) == [
        (7, None, {"a": 1.0, "b": 2.0}),
        (20, None, {"a": 3.0, "b": 4.0}),
        (21, None, {"c": 5.0}),
    ]


def test_another_step_or_other_labels_are_another_row(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    run.log({"a": 1.0}, step=1, commit=False)
    run.log({"a": 2.0}, step=2, commit=False)
    run.log({"b": 3.0}, step=2, labels={"rank": 0}, commit=False)
    run.log({"c": 4.0}, step=2, labels={"rank": 0})
    found = rows(lake(), run)
    assert found == [(1, None, {"a": 1.0}), (2, None, {"a": 2.0}), (2, '{"rank":0}', {"b": 3.0, "c": 4.0})]


@pytest.mark.parametrize("end", ["finish", "sync", "log"])
def test_what_waits_is_logged_at_the_end(store: Path, lake: Open, end: str) -> None:
    run = runlake.init("p")
    run.log({"a": 1.0}, commit=False)
    run.log({}) if end == "log" else getattr(run, end)()
    assert rows(lake(), run) == [(0, None, {"a": 1.0})]


def test_the_end_of_the_program_logs_what_waits(store: Path, lake: Open, program: Callable[..., object]) -> None:
    program("import runlake\nrunlake.init('p')\nrunlake.log({'a': 1}, commit=False)")
    assert lake().sql("select value from points").fetchall() == [(1.0,)]


def test_a_forked_child_does_not_log_what_its_parent_gathered(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    run.log({"a": 1.0}, commit=False)
    child = os.fork()
    if child == 0:
        run.log({"child": 2.0})
        os._exit(0)
    os.waitpid(child, 0)
    run.log({"b": 3.0}, step=5)
    found = sorted(lake().sql("select metric, value from points").fetchall())
    assert found == [("a", 1.0), ("b", 3.0), ("child", 2.0)]


CALLS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3),
        st.none() | st.integers(0, 3),
        st.booleans() | st.none(),
        st.none() | st.integers(0, 1),
    ),
    max_size=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS)
def test_rows_are_what_a_plain_model_says(
    store: Path, calls: list[tuple[dict[str, int], int | None, bool | None, int | None]]
) -> None:
    run = runlake.init("p", settings={"silent": True})
    expected: list[tuple[int, str | None, dict[str, float]]] = []
    waiting: tuple[int | None, int | None, dict[str, float]] | None = None
    highest = -1

    def write(step: int | None, rank: int | None, values: dict[str, float]) -> None:
        nonlocal highest
        if values:
            step = highest + 1 if step is None else step
            highest = max(highest, step)
            expected.append((step, None if rank is None else f'{{"rank":{rank}}}', values))

    for values, step, commit, rank in calls:
        run.log(values, step=step, commit=commit, labels=None if rank is None else {"rank": rank})
        if waiting is not None and (waiting[1] != rank or (None not in (waiting[0], step) and waiting[0] != step)):
            write(*waiting)
            waiting = None
        if waiting is not None:
            step = waiting[0] if step is None else step
            values = {**waiting[2], **values}
        if commit is False:
            waiting = (step, rank, dict(values))
        else:
            write(step, rank, dict(values))
            waiting = None
    run.finish()
    if waiting is not None:
        write(*waiting)
    points = runlake.open().sql(f"select step, labels, metric, value from points where run_id = '{run.id}'").fetchall()
    model = [
        (step, labels, metric, float(value)) for step, labels, values in expected for metric, value in values.items()
    ]
    assert sorted(points, key=repr) == sorted(model, key=repr)
