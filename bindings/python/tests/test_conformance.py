"""Other programs read `tables/points` as it stands, and cannot harm it: the lake *is* a Delta table.

The programs are the real ones: deltalake, polars and DuckDB.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import runlake
from conftest import compact

COLUMNS = ("project", "run_id", "metric", "labels", "launch", "step", "time", "value")

WRITE = """
import math, struct, sys
import numpy as np
import runlake

part = int(sys.argv[1])
payload = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
odd = [0.0, -0.0, 5e-324, -2.2e-308, math.inf, -math.inf, math.nan, payload, 1 / 3, 1.7976931348623157e308, 2.0**53 + 2]
with runlake.init("digits", id=f"run{part}", config={"part": part}) as run:
    for step in range(200):
        run.log({"train/loss": 1 / (step + 1 + part), "train/odd": odd[step % len(odd)]})
    for step in (7, 3, 3, -5, 2**40, 7):
        run.log({"train/loss": step / 7, "späte Größe 🦩": step * 0.1}, step=step)
    run.log({"late": 1.0}, labels={"rank": part, "layer": "é"})
    run.log_many("many", np.linspace(0, 1, 500) ** part, labels={"rank": part})
with runlake.init("ünïcode/projekt %", id="one run=2&3") as run:
    run.log({"x": float(part)})
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake that three processes wrote one after another, compacted after each: no writer lives."""
    store = tmp_path_factory.mktemp("conformance") / "runs.lake"
    for part in range(3):
        subprocess.run(
            [sys.executable, "-c", WRITE, str(part)],
            env={**os.environ, "RUNLAKE_STORE": str(store)},
            capture_output=True,
            check=True,
        )
        compact(store)
    return store


@pytest.fixture
def lake_path(written: Path, tmp_path: Path) -> Path:
    """A copy of that lake, to do harm to."""
    return Path(shutil.copytree(written, tmp_path / "copy.lake"))


def points(store: Path) -> Path:
    return store / "tables" / "points"


def bag(table: pa.Table) -> Counter[tuple[Any, ...]]:
    """The rows, each with how often it is there; times as microseconds, values as their bits."""
    columns: list[list[Any]] = []
    for name in COLUMNS:
        column = table[name].combine_chunks()
        if name == "value":
            columns.append(column.to_numpy(zero_copy_only=False).view(np.int64).tolist())
        elif name == "time":
            columns.append(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist())
        else:
            columns.append(column.to_pylist())
    return Counter(zip(*columns, strict=True))


def ours(store: Path) -> Counter[tuple[Any, ...]]:
    return bag(runlake.open(store).sql(f"select {', '.join(COLUMNS)} from points_all").to_arrow())


def everything(store: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def by_deltalake(store: Path) -> pa.Table:
    return deltalake.DeltaTable(points(store)).to_pyarrow_table()


def by_deltalake_and_pandas(store: Path) -> pa.Table:
    frame = deltalake.DeltaTable(points(store)).to_pandas()
    value = pa.array(frame["value"].to_numpy(), from_pandas=False)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.set_column(table.schema.get_field_index("value"), "value", value)


def by_polars(store: Path) -> pa.Table:
    return pl.read_delta(str(points(store))).to_arrow()


def by_polars_lazily(store: Path) -> pa.Table:
    return pl.scan_delta(str(points(store))).select(reversed(COLUMNS)).collect().to_arrow()


def by_duckdb(store: Path) -> pa.Table:
    files = [str(points(store) / path) for path in active(store)]
    return duckdb.connect().read_parquet(files).to_arrow_table()


def active(store: Path) -> list[str]:
    """The files of the newest version."""
    table = deltalake.DeltaTable(points(store))
    return [os.path.relpath(path, points(store)) for path in table.file_uris()]


@pytest.mark.parametrize("read", [by_deltalake, by_deltalake_and_pandas, by_polars, by_polars_lazily, by_duckdb])
def test_other_programs_read_every_point_bit_for_bit(written: Path, read: Callable[[Path], pa.Table]) -> None:
    expected = ours(written)
    assert sum(expected.values()) == 3 * (400 + 12 + 1 + 500 + 1)
    payload = struct.unpack("<q", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
    assert any(row[-1] == payload for row in expected)
    assert bag(read(written)) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "value > 0.5 and not isnan(value)",
        "value = 0.5",
        "labels = '{\"rank\":1}'",
        "labels is null",
        "launch <> ''",
        "step = 3",
        "time is not null",
    ],
)
def test_no_row_is_left_out_for_a_bound_that_nobody_says(written: Path, condition: str) -> None:
    """What deltalake tells pyarrow of a file stands for all of its rows, also in columns without bounds."""
    points = deltalake.DeltaTable(written / "tables" / "points").to_pyarrow_dataset()
    found = duckdb.sql(f"select {', '.join(COLUMNS)} from points where {condition}").to_arrow_table()
    mine = runlake.open(written).sql(f"select {', '.join(COLUMNS)} from points_all where {condition}").to_arrow()
    assert bag(found) == bag(mine)
    assert len(found) > 0
    assert len(points.to_table()) > 0


def test_other_programs_skip_files_by_what_the_catalog_says_of_them(written: Path) -> None:
    mine = ours(written)
    run = {row: count for row, count in mine.items() if row[:2] == ("digits", "run1")}
    condition = (pl.col("project") == "digits") & (pl.col("run_id") == "run1")
    found = pl.scan_delta(str(points(written))).filter(condition).collect().to_arrow()
    assert bag(found) == run
    table = deltalake.DeltaTable(points(written))
    early = table.to_pyarrow_table(filters=[("step", "<", 3)])
    assert bag(early) == Counter({row: count for row, count in mine.items() if row[5] < 3})
    # Compaction leaves one file of each project.
    assert len(active(written)) == 2
    statistics = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    assert sum(row["num_records"] for row in statistics) == sum(mine.values())
    # Bounds of values would have readers skip what is NaN.
    assert all(row.get("min.value") is None and row.get("max.value") is None for row in statistics)
    assert all(row["min.step"] is not None for row in statistics)


ROW = pa.table(
    {
        "project": ["digits"],
        "run_id": ["run0"],
        "metric": ["train/loss"],
        "labels": pa.array([None], pa.string()),
        "launch": ["foreign"],
        "step": [1],
        "time": pa.array([0], pa.timestamp("us", "UTC")),
        "value": [0.5],
    }
)

WRITES: dict[str, Callable[[Path], object]] = {
    "append": lambda table: deltalake.write_deltalake(table, ROW, mode="append"),
    "overwrite": lambda table: deltalake.write_deltalake(table, ROW, mode="overwrite"),
    "optimize": lambda table: deltalake.DeltaTable(table).optimize.compact(),
    "z-order": lambda table: deltalake.DeltaTable(table).optimize.z_order(["metric"]),
    "delete": lambda table: deltalake.DeltaTable(table).delete("step = 3"),
    "delete all": lambda table: deltalake.DeltaTable(table).delete(),
    "update": lambda table: deltalake.DeltaTable(table).update(updates={"value": "0.0"}, predicate="step = 3"),
    "merge": lambda table: (
        deltalake.DeltaTable(table)
        .merge(ROW, "target.run_id = source.run_id", source_alias="source", target_alias="target")
        .when_matched_delete()
        .when_not_matched_insert_all()
        .execute()
    ),
    "restore": lambda table: deltalake.DeltaTable(table).restore(0),
    "polars": lambda table: pl.from_arrow(ROW).write_delta(str(table), mode="append"),
}


@pytest.mark.parametrize("write", WRITES)
def test_writes_of_other_programs_are_refused_and_change_nothing(lake_path: Path, write: str) -> None:
    before, log_before = ours(lake_path), everything(points(lake_path) / "_delta_log")
    files = active(lake_path)
    with pytest.raises(deltalake.exceptions.CommitFailedError, match=r"features required.*runlake"):
        WRITES[write](points(lake_path))
    assert everything(points(lake_path) / "_delta_log") == log_before
    assert active(lake_path) == files
    assert ours(lake_path) == before
    assert bag(by_deltalake(lake_path)) == before


def test_a_foreign_checkpoint_keeps_everything_and_the_lake_logs_on(lake_path: Path) -> None:
    """Also where the commits that it holds are cleaned up: then it is all there is."""
    rows = 70_000
    live = runlake.init("digits", id="live", store=lake_path)
    live.log_many("x", np.arange(rows), steps=np.zeros(rows, dtype=np.int64))
    # So many points are flushed at the end of a run; the writer goes on, with its watermark in the table.
    live.finish()
    live.log({"x": 0.5}, step=0)
    before = ours(lake_path)
    for table in ("points", "facts"):
        path = lake_path / "tables" / table
        foreign = deltalake.DeltaTable(path)
        marks = {writer.name: foreign.transaction_version(writer.name) for writer in (lake_path / "log").iterdir()}
        assert [mark is None for mark in marks.values()] == [False]
        tags = sorted(map(repr, pa.table(foreign.get_add_actions()).column("path").to_pylist()))
        foreign.create_checkpoint()
        foreign.cleanup_metadata()
        # That keeps commits of the last 30 days; a program may delete all that its checkpoint holds.
        for commit in (path / "_delta_log").glob("*.json"):
            commit.unlink()
        again = deltalake.DeltaTable(path)
        assert {writer: again.transaction_version(writer) for writer in marks} == marks
        assert sorted(map(repr, pa.table(again.get_add_actions()).column("path").to_pylist())) == tags
    assert ours(lake_path) == before
    # The order of files is ours too: the row that was logged last counts, in a log or in a segment.
    value = "select last_value from series where run_id = 'live'"
    assert runlake.open(lake_path).sql(value).fetchall() == [(0.5,)]
    with runlake.init("digits", id="live", store=lake_path, config={"second": True}) as again:
        again.log_many("y", np.arange(rows), steps=np.arange(rows))
    after = ours(lake_path)
    assert sum((after - before).values()) == rows
    assert not before - after
    del live, again
    lake = runlake.open(lake_path)
    assert lake.run("digits/live").config == {"second": True}
    assert {row["state"] for row in lake.runs().to_dicts()} == {"finished"}


def test_a_foreign_vacuum_harms_no_lake_with_a_living_writer(lake_path: Path) -> None:
    live = runlake.init("digits", id="live", store=lake_path)
    live.log_many("x", np.arange(70_000))
    live.finish()
    with runlake.init("digits", id="tail", store=lake_path) as tail:
        tail.log({"x": 1.0})
    # What a killed process may have left where segments lie, and what waits to become one.
    (points(lake_path) / "l0" / "left.parquet").write_bytes(b"PAR1")
    staged = points(lake_path) / "_staging" / "staged.parquet"
    staged.write_bytes(b"PAR1")
    before = ours(lake_path)
    files = active(lake_path)
    for full in (False, True):
        table = deltalake.DeltaTable(points(lake_path))
        vacuum = {"retention_hours": 0, "enforce_retention_duration": False, "dry_run": False, "full": full}
        # It may find nothing to delete.
        with contextlib.suppress(deltalake.exceptions.DeltaError):
            table.vacuum(**vacuum)
    assert staged.exists()
    assert active(lake_path) == files
    assert ours(lake_path) == before
    assert bag(by_deltalake(lake_path)) <= before
    tail.log({"x": 2.0})
    assert sum((ours(lake_path) - before).values()) == 1
