"""Whole arrays in one call."""

from __future__ import annotations

import array
import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import runlake


def columns(store: Path) -> list[tuple[Any, ...]]:
    return runlake.open(store).sql("select step, value from points order by step").fetchall()


VALUES = [0.5, -1.0, 2.0]


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        tuple(VALUES),
        array.array("d", VALUES),
        np.array(VALUES),
        np.array(VALUES, dtype=np.float32),
        np.array([VALUES, VALUES]).T[:, 0],
        np.array([0.5, 0, -1.0, 0, 2.0, 0])[::2],
        pa.array(VALUES),
        pa.array(VALUES, pa.float32()),
        pa.chunked_array([VALUES[:1], VALUES[1:]]),
        pd.Series(VALUES),
        pd.Series(VALUES, dtype="Float64"),
        pl.Series(VALUES),
        (value for value in VALUES),
        [np.float32(0.5), np.int64(-1), True + 1],
    ],
    ids=lambda values: f"{type(values).__module__}.{type(values).__name__}",
)
def test_every_kind_of_array_is_logged(store: Path, values: Any) -> None:
    runlake.init("p").log_many("x", values)
    assert columns(store) == list(enumerate(VALUES))


@pytest.mark.parametrize(
    "values",
    [
        np.array([1, 2, 3], dtype=np.int16),
        np.array([1, 2, 3], dtype=np.uint64),
        pa.array([1, 2, 3], pa.int8()),
        pl.Series([1, 2, 3]),
        pd.Series([1, 2, 3]),
    ],
    ids=lambda values: type(values).__module__,
)
def test_integers_are_logged_as_numbers(store: Path, values: Any) -> None:
    runlake.init("p").log_many("x", values)
    assert columns(store) == [(0, 1.0), (1, 2.0), (2, 3.0)]


@pytest.mark.parametrize(
    "steps",
    [
        [10, 5, 7],
        np.array([10, 5, 7]),
        np.array([10, 5, 7], dtype=np.uint8),
        np.array([10.0, 5.0, 7.0]),
        pa.array([10, 5, 7]),
        pl.Series([10, 5, 7]),
        pd.Series([10, 5, 7]),
    ],
    ids=lambda values: type(values).__module__,
)
def test_steps_are_kept_in_any_order(store: Path, steps: Any) -> None:
    runlake.init("p").log_many("x", VALUES, steps=steps)
    assert columns(store) == [(5, -1.0), (7, 2.0), (10, 0.5)]


def test_steps_go_on_from_the_highest_one(store: Path) -> None:
    run = runlake.init("p")
    run.log({"y": 0.0}, step=100)
    run.log_many("x", VALUES)
    run.log({"y": 1.0})
    assert [step for step, _ in columns(store)] == [100, 101, 102, 103, 104]


UTC = datetime.timezone.utc
TIMES = [datetime.datetime(2026, 1, 2, 3, 4, second, 500_000, UTC) for second in range(3)]
MICROSECONDS = [int(time.timestamp() * 1_000_000) for time in TIMES]


@pytest.mark.parametrize(
    "times",
    [
        MICROSECONDS,
        np.array(MICROSECONDS),
        pa.array(MICROSECONDS),
        [time.timestamp() for time in TIMES],
        np.array([time.timestamp() for time in TIMES]),
        pa.array([time.timestamp() for time in TIMES]),
        np.array([np.datetime64(time.replace(tzinfo=None), "ns") for time in TIMES]),
        np.array([np.datetime64(time.replace(tzinfo=None), "ms") for time in TIMES]),
        pa.array(TIMES, pa.timestamp("ns", "UTC")),
        pa.array(TIMES, pa.timestamp("ms", "Europe/Berlin")),
        pa.array([time.replace(tzinfo=None) for time in TIMES], pa.timestamp("us")),
        pl.Series(TIMES),
        pd.Series(TIMES),
        pd.Series([time.replace(tzinfo=None) for time in TIMES]),
        TIMES,
    ],
    ids=lambda values: (
        f"{type(values).__module__}-{getattr(values, 'dtype', getattr(values, 'type', type(values[0])))}"
    ),
)
def test_times_are_microseconds_or_seconds_or_themselves(store: Path, times: Any) -> None:
    runlake.init("p").log_many("x", VALUES, times=times)
    rows = runlake.open(store).sql("select time from points order by step").fetchall()
    assert [time for (time,) in rows] == TIMES


def test_without_times_the_time_is_now(store: Path) -> None:
    before = datetime.datetime.now(UTC)
    runlake.init("p").log_many("x", VALUES)
    after = datetime.datetime.now(UTC)
    for (time,) in runlake.open(store).sql("select time from points").fetchall():
        # The clock of a row may be a coarse one.
        assert before - datetime.timedelta(milliseconds=20) <= time <= after


def test_nan_is_data_and_a_null_is_left_out(store: Path) -> None:
    run = runlake.init("p")
    run.log_many("arrow", pa.array([1.0, None, float("nan")]), steps=[0, 1, 2])
    run.log_many("pandas", pd.Series([1.0, float("nan"), 3.0]), steps=[0, 1, 2])
    run.log_many("nullable", pd.Series([1.0, None, 3.0], dtype="Float64"), steps=[0, 1, 2])
    run.log_many("list", [1.0, None, 3.0], steps=[0, 1, 2])
    rows = runlake.open(store).sql("select metric, step, cast(value as varchar) from points order by 1, 2").fetchall()
    assert rows == [
        ("arrow", 0, "1.0"),
        ("arrow", 2, "NaN"),
        ("list", 0, "1.0"),
        ("list", 2, "3.0"),
        ("nullable", 0, "1.0"),
        ("nullable", 2, "3.0"),
        ("pandas", 0, "1.0"),
        ("pandas", 1, "NaN"),
        ("pandas", 2, "3.0"),
    ]


def test_labels_belong_to_all_points(store: Path) -> None:
    runlake.init("p").log_many("x", VALUES, labels={"rank": 1})
    assert runlake.open(store).sql("select distinct labels from points").fetchall() == [('{"rank":1}',)]


def test_nothing_is_nothing(store: Path) -> None:
    run = runlake.init("p")
    run.log_many("x", [])
    run.log_many("x", np.array([]))
    run.log_many("x", pa.array([], pa.float64()))
    assert columns(store) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"values": [1.0, 2.0], "steps": [1]}, "there are 2 values but 1 steps"),
        ({"values": [1.0], "times": [1, 2]}, "there are 1 values but 2 times"),
        ({"values": ["a"]}, "values: str, where numbers must be"),
        ({"values": "abc"}, "values: str, where an array or a list must be"),
        ({"values": 3.0}, "values: float, where an array or a list must be"),
        ({"values": np.zeros((2, 2))}, "an array of 2 dimensions"),
        ({"values": np.array(["a"])}, "numbers must be"),
        ({"values": pa.array(["a"])}, "numbers must be"),
        ({"values": [1.0], "steps": [0.5]}, "integers"),
        ({"values": [1.0], "steps": np.array([0.5])}, "whole numbers"),
        ({"values": [1.0], "steps": np.array([2**63], dtype=np.uint64)}, "64-bit integers"),
        ({"values": [1.0], "steps": pa.array([None], pa.int64())}, "an array with nulls"),
        ({"values": [1.0], "times": ["today"]}, "times"),
        ({"values": [1.0], "times": [float("nan")]}, "seconds since 1970"),
    ],
)
def test_arrays_that_do_not_fit_are_said_and_not_raised(store: Path, arguments: dict[str, Any], said: str) -> None:
    run = runlake.init("p")
    with pytest.warns(runlake.DataWarning, match=said):
        run.log_many("x", **arguments)
    run.log({"y": 1.0})
    assert columns(store) == [(0, 1.0)]


def test_a_million_points_are_there(store: Path) -> None:
    values = np.random.default_rng(0).normal(size=1_000_000)
    runlake.init("p").log_many("x", values)
    kept = runlake.open(store).sql("select value from points order by step").to_arrow()["value"].to_numpy()
    assert kept.tobytes() == values.tobytes()
