"""Other programs read `tables/runs`, `config` and `series` as compaction leaves them, and `points` while it goes on.

The programs are the real ones: deltalake, polars and DuckDB, which know nothing of runlake.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import threading
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
from test_conformance import everything

TABLES = ("runs", "config", "series")

SWEEP = """
import math
import runlake

for number, (lr, project) in enumerate([(0.1, "digits"), (0.01, "digits"), (0.1, "digits"), (0.001, "späte Größe")]):
    config = {"lr": lr, "net": {"depth": number, "act": "gelu"}, "seeds": [1, 2], "none": None, "odd": math.inf}
    id = f"r{number}"
    with runlake.init(project, id=id, config=config, tags=["b", "a"][: number % 3], notes="ein Wörtchen") as run:
        for step in range(100):
            run.log({"val/loss": lr * 10 / (step + 1) + number, "odd": [math.nan, math.inf, 1.5][step % 3]})
        run.log({"val/loss": 3.0}, labels={"rank": number}, step=7)
        run.summary["best"] = {"loss": number / 7}
with runlake.init("digits", id="r0") as run:
    run.log({"val/loss": -1.0}, step=50)
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compacted lake of five runs in two projects, one of them resumed; no writer lives."""
    store = tmp_path_factory.mktemp("tables") / "runs.lake"
    code = f"import os; os.environ['RUNLAKE_STORE'] = {str(store)!r}\n{SWEEP}"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    compact(store)
    return store


def by_deltalake(path: Path) -> pa.Table:
    return deltalake.DeltaTable(path).to_pyarrow_table()


def by_polars(path: Path) -> pa.Table:
    return pl.read_delta(str(path)).to_arrow()


def by_duckdb(path: Path) -> pa.Table:
    files = deltalake.DeltaTable(path).file_uris()
    return duckdb.connect().read_parquet(files).to_arrow_table()


def plain(value: Any) -> Any:
    """A value that equals itself."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return tuple(value) if isinstance(value, list) else value


def rows(table: pa.Table, columns: list[str]) -> list[tuple[Any, ...]]:
    found = [tuple(plain(row[name]) for name in columns) for row in table.select(columns).to_pylist()]
    return sorted(found, key=repr)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("read", [by_deltalake, by_polars, by_duckdb])
def test_other_programs_read_the_same_as_sql(swept: Path, table: str, read: Callable[[Path], pa.Table]) -> None:
    ours = runlake.open(swept).sql(f"select * from {table}").to_arrow()
    theirs = read(swept / "tables" / table)
    assert theirs.column_names == ours.column_names
    times = [name for name in theirs.column_names if pa.types.is_timestamp(theirs.schema.field(name).type)]
    for name in times:
        at = theirs.column_names.index(name)
        theirs = theirs.set_column(at, name, theirs[name].cast(pa.timestamp("us", "UTC")))
    assert rows(theirs, ours.column_names) == rows(ours, ours.column_names)
    assert len(ours) == {"runs": 4, "config": 4 * 6, "series": 4 * 3}[table]


def test_the_query_of_the_page_finds_the_best_loss_by_learning_rate(swept: Path, tmp_path: Path) -> None:
    """Also where runlake is not installed: nothing of it is imported."""
    page = (Path(__file__).parents[3] / "docs" / "tables.md").read_text(encoding="utf-8")
    programs = re.findall(r"^```py\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert len(programs) == 1
    (tmp_path / "runs.lake").symlink_to(swept)
    program = programs[0] + "\nimport sys\nassert not any(name.startswith('runlake') for name in sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"│ +([0-9.]+) │ +(-?[0-9.]+) │ +([0-9]+) │ [\w-]+ +│", done.stdout)
    best = runlake.open(swept).sql(
        "select c.number, min(p.value) from config c join points p on p.project = c.project and p.run_id = c.run_id "
        "where c.key = 'lr' and p.metric = 'val/loss' and c.project = 'digits' group by c.number order by c.number"
    )
    assert [(float(lr), float(loss)) for lr, loss, *_ in found] == best.fetchall(), done.stdout


def test_writes_of_other_programs_are_refused_here_too(swept: Path) -> None:
    before = everything(swept / "tables")
    for table in TABLES:
        path = swept / "tables" / table
        with pytest.raises(deltalake.exceptions.CommitFailedError, match=r"features required.*runlake"):
            deltalake.DeltaTable(path).delete()
        with pytest.raises(deltalake.exceptions.CommitFailedError, match=r"features required.*runlake"):
            deltalake.write_deltalake(path, by_deltalake(path), mode="append")
    assert everything(swept / "tables") == before


def test_deleted_runs_leave_the_tables_and_new_ones_come(store: Path) -> None:
    def ids() -> list[list[str]]:
        return [sorted(set(by_deltalake(store / "tables" / table)["run_id"].to_pylist())) for table in TABLES]

    for id in ("a", "b"):
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"import runlake\nwith runlake.init('p', id='{id}', config={{'x': 1}}) as run: run.log({{'y': 1}})",
            ],
            check=True,
            capture_output=True,
        )
        compact(store)
    assert ids() == [["a", "b"]] * 3
    runlake.open(store).delete_runs("a")
    compact(store)
    assert ids() == [["b"]] * 3
    runlake.open(store).restore_runs("a")
    compact(store)
    assert ids() == [["a", "b"]] * 3


# The points of a run: so many that its end flushes them, in one commit.
POINTS = 66_000

WRITE = f"""
import sys
import numpy as np
import runlake

for number in range(int(sys.argv[1])):
    with runlake.init("p", id=f"r{{number:03}}") as run:
        run.log_many("x", np.arange({POINTS}) % 13)
"""

READ = """
import json, sys, time
import deltalake, duckdb

path = sys.argv[1]
while True:
    table = deltalake.DeltaTable(path)
    if sys.argv[2] == "deltalake":
        read = table.to_pyarrow_table(columns=["run_id", "value"])
        counts = read.group_by("run_id").aggregate([("value", "count"), ("value", "sum")]).to_pylist()
        found = {row["run_id"]: [row["value_count"], row["value_sum"]] for row in counts}
    else:
        files = table.file_uris()
        query = "select run_id, count(value), sum(value) from read_parquet(?) group by run_id"
        found = {id: [count, sum] for id, count, sum in duckdb.execute(query, [files]).fetchall()} if files else {}
    print(json.dumps([table.version(), found]), flush=True)
"""


def test_a_delta_reader_never_sees_a_wrong_count(store: Path) -> None:
    """While runs are flushed, merged, deleted and checkpointed; deltalake and DuckDB in processes of their own."""
    compactions = 0
    runs = 110
    points = store / "tables" / "points"
    deleted = [f"r{number:03}" for number in range(0, runs, 9)]
    writer = subprocess.Popen([sys.executable, "-c", WRITE, str(runs)], stderr=subprocess.DEVNULL)
    readers: list[subprocess.Popen[str]] = []
    seen: list[list[tuple[int, dict[str, list[float]]]]] = [[], []]
    try:
        while not (points / "_delta_log" / f"{0:020}.json").exists():
            assert writer.poll() is None
        for by in ("deltalake", "duckdb"):
            command = [sys.executable, "-c", READ, str(points), by]
            readers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

        def listen(reader: subprocess.Popen[str], into: list[tuple[int, dict[str, list[float]]]]) -> None:
            assert reader.stdout is not None
            into.extend(tuple(json.loads(line)) for line in reader.stdout)

        listeners = [threading.Thread(target=listen, args=pair) for pair in zip(readers, seen, strict=True)]
        for listener in listeners:
            listener.start()
        gone: set[str] = set()
        while writer.poll() is None:
            compact(store)
            compactions += 1
            lake = runlake.open(store)
            there = {id for (id,) in lake.sql("select run_id from runs where state = 'finished'").fetchall()}
            doomed = sorted(there.intersection(deleted) - gone)[:1]
            lake.delete_runs(doomed, for_good=True)
            gone.update(doomed)
            deltalake.DeltaTable(points).create_checkpoint()
        assert writer.returncode == 0
        lake = runlake.open(store)
        lake.delete_runs([id for id in deleted if id not in gone], for_good=True)
        del lake
        compact(store)
        compact(store)
        last = deltalake.DeltaTable(points).version()
        for reader, views in zip(readers, seen, strict=True):
            while not views or views[-1][0] < last:
                assert reader.poll() is None, f"a reader ended after {len(views)} views"
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
        writer.kill()
        writer.wait()
    for reader, listener in zip(readers, listeners, strict=True):
        listener.join()
        assert reader.stdout is not None
        reader.stdout.close()
    whole = [POINTS, float((np.arange(POINTS) % 13).sum())]
    for views in seen:
        before: set[str] = set()
        left: set[str] = set()
        for version, found in views:
            assert all(counted == whole for counted in found.values()), (version, found)
            left |= before - set(found)
            assert left <= set(deleted), f"{left} left in version {version}"
            assert not left & set(found), f"of {left} something came back in version {version}"
            before = set(found)
        assert set(views[-1][1]) == {f"r{number:03}" for number in range(runs)} - set(deleted)
    print(f"{[len(views) for views in seen]} views, {compactions} compactions, version {last}")
