"""Whatever is read becomes a frame or an array of every library, with the types of docs/dataframes.md."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import runlake

Readers = dict[str, Callable[[runlake.Lake], runlake.Relation]]

READERS: Readers = {
    "sql": lambda lake: lake.sql("select * from points order by step, metric"),
    "runs": lambda lake: lake.runs("p"),
    "runs with a condition": lambda lake: lake.runs("p", where='"config.lr" > 0'),
    "history": lambda lake: lake.history("i"),
    "series": lambda lake: lake.sql("select * from series order by metric"),
    "metrics": lambda lake: lake.sql("select * from metrics"),
    "config": lambda lake: lake.sql("select * from config order by key"),
    "segments": lambda lake: lake.sql("select * from segments"),
    "nothing": lambda lake: lake.sql("select * from points where metric = 'nothing'"),
}


@pytest.fixture
def opened(store: Path) -> runlake.Lake:
    with runlake.init("p", id="i", config={"lr": 0.1, "name": "x"}, tags=["a", "b"]) as run:
        run.define_metric("loss", summary="min")
        for step in range(5):
            run.log({"loss": math.nan if step == 2 else step / 2, "big": step}, step=2**60 + step)
        run.log({"other": 1.0}, step=3)
        run.log_many("filling", range(70_000), steps=range(70_000))
    runlake.init("p", id="empty").finish()
    return runlake.open()


@pytest.mark.parametrize("reader", READERS)
def test_all_libraries_see_the_same_rows(opened: runlake.Lake, reader: str) -> None:
    relation = READERS[reader](opened)
    rows, columns = relation.fetchall(), relation.columns
    assert (len(relation) > 0) is (reader not in ("nothing",))

    table = relation.to_arrow()
    assert isinstance(table, pa.Table)
    assert same([tuple(row.values()) for row in table.to_pylist()], rows)
    assert table.column_names == columns

    polars = relation.to_polars()
    assert isinstance(polars, pl.DataFrame)
    assert polars.columns == columns
    assert same(polars.rows(), rows)

    frame = relation.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == columns
    assert len(frame) == len(rows)
    assert same([tuple(map(scalar, row)) for row in frame.itertuples(index=False, name=None)], rows, float_null=True)

    arrays = relation.to_numpy()
    assert list(arrays) == columns
    by_row = [tuple(scalar(value) for value in row) for row in zip(*map(listed, arrays.values()), strict=True)]
    assert same(by_row, rows, float_null=True)

    # DuckDB finds `relation` among the local variables, by Arrow's interface.
    found = duckdb.sql("select * from relation").fetchall()
    assert same([tuple(map(scalar, row)) for row in found], rows)
    assert same(list(relation), rows)


def listed(array: Any) -> list[Any]:
    if isinstance(array, np.ma.MaskedArray):
        return [None if masked else value for value, masked in zip(array.data, array.mask, strict=True)]
    return list(array)


def scalar(value: Any) -> Any:
    """A value of a library as Python has it; times without a zone are UTC."""
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.ndarray):
        return [scalar(item) for item in value]
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else scalar(value.astype("datetime64[us]").item())
    if isinstance(value, pd.Timestamp):
        value = value.to_pydatetime()
    if isinstance(value, datetime.datetime):
        return (
            value.replace(tzinfo=datetime.timezone.utc)
            if value.tzinfo is None
            else value.astimezone(datetime.timezone.utc)
        )
    return value.item() if isinstance(value, np.generic) else value


def same(some: list[Any], others: list[Any], float_null: bool = False) -> bool:
    """Whether rows are equal, NaN to NaN; with `float_null` NaN may stand for `None`."""

    def equal(one: Any, other: Any) -> bool:
        if isinstance(one, float) and math.isnan(one):
            return (isinstance(other, float) and math.isnan(other)) or (float_null and other is None)
        return type(one) is type(other) and bool(one == other)

    return len(some) == len(others) and all(
        len(one) == len(other) and all(map(equal, one, other)) for one, other in zip(some, others, strict=True)
    )


def test_types_are_those_of_the_page(opened: runlake.Lake) -> None:
    relation = opened.sql(
        "select name, last_step, duration_s, created_at, finished_at, tags from runs order by run_id desc"
    )
    assert relation.types == [
        "Utf8",
        "Int64",
        "Float64",
        'Timestamp(µs, "UTC")',
        'Timestamp(µs, "UTC")',
        "List(Utf8)",
    ]
    frame = relation.to_pandas()
    assert str(frame["last_step"].dtype) == "Int64", "one run has no step"
    assert frame["last_step"][0] == 2**60 + 4
    assert frame["last_step"][1] is pd.NA
    assert str(frame["duration_s"].dtype) == "float64"
    assert str(frame["created_at"].dtype) == "datetime64[us, UTC]"
    polars = relation.to_polars()
    assert polars.schema["created_at"] == pl.Datetime("us", "UTC")
    assert polars.schema["tags"] == pl.List(pl.String)
    arrays = relation.to_numpy()
    assert isinstance(arrays["last_step"], np.ma.MaskedArray)
    assert arrays["last_step"].dtype == np.int64
    assert arrays["created_at"].dtype == np.dtype("datetime64[us]")
    steps = opened.sql("select step, hidden from points, metrics").to_pandas()
    assert (str(steps["step"].dtype), str(steps["hidden"].dtype)) == ("int64", "bool")
    nulls = opened.sql("select case when step > 5 then true end as truth, step from points").to_pandas()
    assert str(nulls["truth"].dtype) == "boolean"


def test_numbers_are_not_copied_into_arrow_and_numpy(opened: runlake.Lake) -> None:
    relation = opened.sql("select value from points where metric = 'big' order by step")
    first, second = relation.to_arrow(), relation.to_arrow()
    assert first["value"].chunk(0).buffers()[1].address == second["value"].chunk(0).buffers()[1].address
    array = first["value"].chunk(0).to_numpy()
    assert array.__array_interface__["data"][0] == first["value"].chunk(0).buffers()[1].address
    assert not relation.to_numpy()["value"].flags.owndata


def test_long_and_wide_hold_the_same(opened: runlake.Lake) -> None:
    long = opened.sql("select step, metric, value from points where metric in ('loss', 'big')").to_pandas()
    wide = opened.history("i", metrics=["loss", "big"]).to_pandas().set_index("step")
    pivoted = long.pivot(index="step", columns="metric", values="value")
    pd.testing.assert_frame_equal(pivoted[["big", "loss"]], wide[["big", "loss"]], check_names=False)
