"""Tables of points that go in and come out, bit for bit: real runs where they are at hand, and generated ones always.

The real runs are the file `nanogpt_speedruns.csv.gz` in the folder that `$RUNLAKE_REAL_DATA` names.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import random
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv

import runlake
from conftest import compact

KEY = ("run_id", "metric", "step")
"""What a point is known by, next to its value."""


def import_points(store: Path, file: Path, *arguments: str) -> None:
    """Imports a file with the columns run, metric, step and value; one process for each of `arguments`."""
    columns = [f"--{column}-column={column}" for column in ("run", "metric", "step", "value")]
    command = [sys.executable, "-m", "runlake", "import", "points", str(file), "--project=p", *columns]
    environment = {**os.environ, "RUNLAKE_STORE": str(store)}
    started = [
        subprocess.Popen([*command, *more.split()], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for more in arguments or ("",)
    ]
    for process in started:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()


def bits(values: Any) -> Any:
    """What doubles are made of, as integers."""
    return np.ascontiguousarray(np.asarray(values, dtype=np.float64)).view(np.int64)


def table_of_lake(relation: runlake.Relation) -> pl.DataFrame:
    frame = relation.to_polars()
    return frame.with_columns(pl.Series("value", bits(frame["value"].to_numpy()))).sort(*KEY, "value")


REAL = os.environ.get("RUNLAKE_REAL_DATA")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    """The lake of the real runs, imported by two processes at once, and what the file says."""
    if not REAL:
        pytest.skip("RUNLAKE_REAL_DATA is not set: the test on real training runs is left out")
    file = Path(REAL) / "nanogpt_speedruns.csv.gz"
    store = tmp_path_factory.mktemp("real") / "runs.lake"
    both = "--config-columns=track,recipe"
    import_points(store, file, f"{both} --part=1/2", f"{both} --part=2/2")
    # NaN is data: only an empty cell would be none.
    options = arrow_csv.ConvertOptions(
        include_columns=["run", "metric", "step", "value"],
        column_types={"step": pa.int64(), "value": pa.float64()},
        null_values=[],
    )
    source = arrow_csv.read_csv(file, convert_options=options).rename_columns([*KEY, "value"])
    return store, source


def test_real_runs_come_back_bit_for_bit(real: tuple[Path, pa.Table]) -> None:
    store, source = real
    lake = runlake.open(store)
    assert lake.sql("select count(*) from points_all").fetchall() == [(3_060_513,)]
    assert lake.sql("select count(*), count(distinct run_id) from runs").fetchall() == [(735, 735)]
    frame = pl.DataFrame(source)
    expected = frame.with_columns(pl.Series("value", bits(source["value"].to_numpy()))).sort(*KEY, "value")
    assert expected["value"].len() == 3_060_513
    assert np.isnan(source["value"].to_numpy()).sum() == 1_722
    found = lake.sql("select run_id, metric, step, value from points_all")
    assert table_of_lake(found).equals(expected)
    pandas = found.to_pandas()
    assert isinstance(pandas, pd.DataFrame)
    again = pl.DataFrame(
        {**{name: pa.array(pandas[name]) for name in KEY}, "value": bits(pandas["value"].to_numpy())}
    ).sort(*KEY, "value")
    assert again.equals(expected)


def test_of_real_steps_that_were_logged_twice_the_last_one_counts(real: tuple[Path, pa.Table]) -> None:
    store, source = real
    frame = pl.DataFrame(source).with_row_index("line")
    frame = frame.with_columns(pl.Series("bits", bits(source["value"].to_numpy())))
    last = (
        frame.sort("step", "line")
        .group_by("run_id", "metric")
        .agg(pl.len().cast(pl.Int64).alias("count"), pl.col("step").last(), pl.col("bits").last())
        .sort("run_id", "metric")
    )
    assert frame.select("run_id", "metric", "step").is_duplicated().any()
    found = runlake.open(store).sql("select run_id, metric, count, last_step, last_value from series").to_polars()
    found = found.with_columns(pl.Series("bits", bits(found["last_value"].to_numpy()))).sort("run_id", "metric")
    assert found.select(pl.col("run_id", "metric"), pl.col("count").cast(pl.Int64), "last_step", "bits").rows() == (
        last.rows()
    )


def test_other_programs_read_the_real_runs(real: tuple[Path, pa.Table]) -> None:
    store, source = real
    compact(store)
    frame = pl.read_delta(str(store / "tables" / "points"), columns=[*KEY, "value"])
    frame = frame.with_columns(pl.Series("value", bits(frame["value"].to_numpy())))
    expected = pl.DataFrame(source).with_columns(pl.Series("value", bits(source["value"].to_numpy())))
    assert frame.sort(*KEY, "value").equals(expected.sort(*KEY, "value"))


Point = tuple[str, str, "dict[str, Any] | None", int, float]


def generated(seed: int) -> list[Point]:
    """Points of runs as no trainer would log them on one day: run, metric, labels, step, value."""
    chance = random.Random(seed)
    payload = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_BEEF))[0]
    odd = [0.0, -0.0, 5e-324, -4.9e-310, math.inf, -math.inf, math.nan, payload, 1.7976931348623157e308, 2.0**53]
    metrics = ["loss", "train/ürön 🦩", "a b,c\"d'e", "late/only"]
    labels: list[dict[str, Any] | None] = [None, {"rank": 0}, {"rank": 1, "layer": "größe"}]
    points: list[Point] = []
    for run in range(6):
        steps = [chance.randrange(-3, 400) for _ in range(300)]
        # Some go up as steps do, some come again, some go far back.
        steps[:200] = sorted(steps[:200])
        steps[200:204] = [2**62, -(2**62), 0, 0]
        for at, step in enumerate(steps):
            for metric in metrics:
                if metric.startswith("late") and at < 150:
                    continue
                value = (
                    chance.choice(odd) if chance.random() < 0.2 else chance.gauss(0, 1) * 10 ** chance.randrange(-8, 9)
                )
                points.append((f"run-{run} ü", metric, chance.choice(labels), step, value))
    return points


def counted(points: Iterable[Point]) -> Counter[tuple[Any, ...]]:
    """Points with how often they are there; labels as the lake spells them, values as their bits."""
    return Counter(
        (
            run,
            metric,
            None if labels is None else json.dumps(labels, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
            step,
            struct.unpack("<q", struct.pack("<d", value))[0],
        )
        for run, metric, labels, step, value in points
    )


def by_sql(found: runlake.Relation) -> Iterable[tuple[Any, ...]]:
    return found.fetchall()


def by_polars(found: runlake.Relation) -> Iterable[tuple[Any, ...]]:
    return found.to_polars().rows()


def by_pandas(found: runlake.Relation) -> Iterable[tuple[Any, ...]]:
    frame = found.to_pandas()
    labels = frame["labels"].astype(object).where(frame["labels"].notna(), None)
    columns = [frame["run_id"], frame["metric"], labels, frame["step"].tolist(), frame["value"].tolist()]
    return zip(*columns, strict=True)


READERS: list[Callable[[runlake.Relation], Iterable[tuple[Any, ...]]]] = [by_sql, by_polars, by_pandas]


def bag(rows: Iterable[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    return Counter((*row[:4], struct.unpack("<q", struct.pack("<d", row[4]))[0]) for row in rows)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("where", ["log", "segment"])
def test_generated_points_come_back_bit_for_bit(
    store: Path, where: str, read: Callable[[runlake.Relation], Iterable[tuple[Any, ...]]]
) -> None:
    points = generated(seed=17)
    ids = list(dict.fromkeys(point[0] for point in points))
    for id in ids:
        with runlake.init("p", id=id, strict=True) as run:
            for _, metric, labels, step, value in (point for point in points if point[0] == id):
                run.log({metric: value}, step=step, labels=labels)
            if where == "segment":
                # So many points are flushed at the end of a run.
                run.log_many("filling", np.zeros(70_000))
    lake = runlake.open(store)
    if where == "segment":
        assert lake.sql("select sum(rows) >= 70000 from segments where table_name = 'points'").fetchall() == [(True,)]
    query = "select run_id, metric, labels, step, value from points_all where metric <> 'filling'"
    assert bag(read(lake.sql(query))) == counted(points)


def test_a_generated_table_is_imported_bit_for_bit_by_two_processes_at_once(store: Path, tmp_path: Path) -> None:
    points = [(run, metric, None, step, value) for run, metric, _, step, value in generated(seed=18)]
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(["run", "metric", "step", "value"])
    # Text has one NaN only.
    points = [(*point[:4], math.nan if math.isnan(point[4]) else point[4]) for point in points]
    lines.writerows((run, metric, step, repr(value)) for run, metric, _, step, value in points)
    file = tmp_path / "points.csv"
    file.write_text(text.getvalue(), encoding="utf-8")
    import_points(store, file, "--part=1/2", "--part=2/2")
    lake = runlake.open(store)
    found = lake.sql("select run_id, metric, labels, step, value from points_all")
    for read in READERS:
        assert bag(read(found)) == counted(points)
    assert len(lake.runs()) == 6
