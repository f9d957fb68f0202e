"""Reading: relations, their forms, and lakes that others write at the moment."""

from __future__ import annotations

import datetime
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import runlake
from conftest import Program, compact, wait_for

Open = Callable[[], runlake.Lake]


@pytest.fixture
def digits(store: Path) -> runlake.Lake:
    with runlake.init("digits", id="one", name="first", config={"lr": 0.1}, tags=["a"]) as run:
        for step in range(30):
            run.log({"train/loss": 1 / (step + 1), "train/accuracy": step / 30}, step=step)
        run.log({"eval/loss": float("nan")}, step=29)
    with runlake.init("other", id="two", name="second") as run:
        run.log({"loss": 1.0}, labels={"rank": 0})
    return runlake.open(store)


def test_a_relation_is_rows_of_tuples(digits: runlake.Lake) -> None:
    found = digits.sql("select step, value, metric from points where metric = 'train/loss' order by step limit 3")
    assert isinstance(found, runlake.Relation)
    assert found.columns == ["step", "value", "metric"]
    assert found.types == ["Int64", "Float64", "Utf8"]
    rows = [(0, 1.0, "train/loss"), (1, 0.5, "train/loss"), (2, 1 / 3, "train/loss")]
    assert found.fetchall() == rows
    assert list(found) == rows
    assert list(found) == rows
    assert found.fetchone() == rows[0]
    assert len(found) == 3
    assert (found[0], found[-1]) == (rows[0], rows[2])
    assert found.to_dicts()[1] == {"step": 1, "value": 0.5, "metric": "train/loss"}
    with pytest.raises(IndexError, match="row 3 of 3 rows"):
        found[3]


def test_a_snapshot_stays_as_it_was_and_a_version_is_the_lake_as_it_stood(digits: runlake.Lake) -> None:
    now = digits.snapshot()
    with runlake.init("digits", id="three") as run:
        # So many that the end of the run flushes.
        run.log_many("loss", [2.0] * 70_000)
    count = "select count(*) from points"
    assert isinstance(now, runlake.Lake)
    assert (now.sql(count)[0], digits.sql(count)[0]) == ((62,), (70_062,))
    assert [row["run_id"] for row in now.runs("digits").to_dicts()] == ["one"]
    assert {row["run_id"] for row in digits.runs("digits").to_dicts()} == {"one", "three"}
    with pytest.raises(runlake.NotFound):
        now.find_run("three")
    assert digits.version is not None
    then = digits.snapshot(version=digits.version)
    assert (then.version, then.sql(count)[0]) == (digits.version, (70_062,))
    with pytest.raises(runlake.NotFound, match="no version 999 is kept; there are 0 to 0"):
        digits.snapshot(version=999)


def test_deleted_runs_are_hidden_and_come_back(digits: runlake.Lake) -> None:
    with pytest.raises(runlake.NotFound):
        digits.delete_runs(["first", "absent"])
    assert len(digits.runs()) == 2
    assert digits.delete_runs(["first"]) == 1
    assert [row["run_id"] for row in digits.runs().to_dicts()] == ["two"]
    assert digits.sql("select count(*) from points_all")[0] == (1,)
    with pytest.raises(runlake.NotFound):
        digits.restore_runs("second")
    assert digits.restore_runs("first") == 1
    assert digits.sql("select count(*) from points_all")[0] == (62,)


def test_lakes_are_merged_into_one_without_doubling(digits: runlake.Lake, store: Path, tmp_path: Path) -> None:
    with runlake.init("digits", id="far", store=tmp_path / "far.lake") as run:
        # So many that the end of the run flushes.
        run.log_many("loss", [2.0] * 70_000)
    assert digits.merge(tmp_path / "far.lake") == 70_000
    assert digits.merge([tmp_path / "far.lake"], final=True) == 0
    assert digits.sql("select count(*) from points")[0] == (70_062,)
    assert {row["run_id"] for row in digits.runs("digits").to_dicts()} == {"one", "far"}
    with pytest.raises(runlake.NoLake):
        digits.merge([tmp_path / "far.lake", tmp_path / "absent.lake"])


def test_a_relation_without_rows_is_a_relation(digits: runlake.Lake) -> None:
    found = digits.sql("select step, metric from points where metric = 'absent'")
    assert (found.fetchall(), len(found), found.fetchone(), list(found)) == ([], 0, None, [])
    assert found.columns == ["step", "metric"]
    assert found
    assert "0 rows, 2 columns" in repr(found)
    assert found.to_arrow().column_names == ["step", "metric"]
    assert found.to_polars().shape == (0, 2)
    assert list(found.to_pandas().columns) == ["step", "metric"]


def test_every_library_reads_the_same(digits: runlake.Lake) -> None:
    found = digits.sql("select run_id, metric, step, time, value from points order by run_id, metric, step")
    table = found.to_arrow()
    assert isinstance(table, pa.Table)
    assert table.schema.field("metric").type == pa.string()
    assert table.schema.field("time").type == pa.timestamp("us", "UTC")
    expected = found.to_dicts()
    nan = next(n for n, row in enumerate(expected) if row["metric"] == "eval/loss")
    assert expected[nan]["value"] != expected[nan]["value"]

    def without_nan(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert len(rows) == 62
        assert rows[nan]["value"] != rows[nan]["value"]
        return rows[:nan] + rows[nan + 1 :]

    assert without_nan(table.to_pylist()) == without_nan(expected)
    polars = found.to_polars()
    assert isinstance(polars, pl.DataFrame)
    assert without_nan(polars.to_dicts()) == without_nan(expected)
    pandas = found.to_pandas()
    assert isinstance(pandas, pd.DataFrame)
    assert without_nan(pandas.to_dict("records")) == without_nan(expected)
    assert pl.DataFrame(found).equals(polars)
    assert pa.table(found).num_rows == 62
    assert pa.RecordBatchReader.from_stream(found).read_all().num_rows == 62
    assert duckdb.sql("select count(*), sum(step) from found").fetchall() == [(62, sum(range(30)) * 2 + 29)]


def test_every_type_of_sql_becomes_its_python_type(digits: runlake.Lake) -> None:
    [row] = digits.sql(
        """
        select 1, cast(2 as smallint), cast(3 as integer), 1.5, cast(2.5 as float), 'text', true, null,
               timestamp '2026-01-02 03:04:05.000006', cast('2026-01-02' as date), [1, 2, null], named_struct('a', 1),
               cast(1.25 as decimal(10, 2)), interval '1' day, arrow_cast('x', 'LargeUtf8')
        """
    ).fetchall()
    assert row[:8] == (1, 2, 3, 1.5, 2.5, "text", True, None)
    assert row[8].replace(tzinfo=None) == datetime.datetime(2026, 1, 2, 3, 4, 5, 6)
    assert row[9] == datetime.date(2026, 1, 2)
    assert row[10] == [1, 2, None]
    assert row[11] == {"a": 1}
    assert str(row[12]) == "1.25"
    assert "1 day" in row[13]
    assert row[14] == "x"


def test_times_are_aware(digits: runlake.Lake) -> None:
    [(created,)] = digits.sql("select created_at from runs where run_id = 'one'").fetchall()
    assert created.tzinfo is datetime.timezone.utc
    assert abs((datetime.datetime.now(datetime.timezone.utc) - created).total_seconds()) < 600


def test_a_relation_reads_well(digits: runlake.Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = repr(digits.sql("select step, metric, value from points where metric = 'train/loss' order by step"))
    assert text.splitlines()[0].split() == ["step", "metric", "value"]
    assert "…" in text
    assert text.splitlines()[-1] == "30 rows, 3 columns"
    assert len(text.splitlines()) < 30
    assert "0.3333333333333333" in text
    text = repr(digits.sql("select '<b>' || repeat('x', 1000) as long, null as nothing, E'a\\nb' as lines"))
    assert "…" in text
    assert "NULL" in text
    assert max(map(len, text.splitlines())) < 100
    wide = repr(digits.runs())
    assert max(map(len, wide.splitlines())) <= 120
    assert re.search(r"2 rows, 26 columns, \d+ of them shown", wide)
    html = digits.sql("select '<b>&' as text, 1 as number")._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert html.count("<tr>") == 2
    assert "1 row, 2 columns" in html


def test_runs_lists_the_runs_of_a_project(digits: runlake.Lake) -> None:
    assert [row["run_id"] for row in digits.runs().to_dicts()] == ["two", "one"]
    assert [row["run_id"] for row in digits.runs("digits").to_dicts()] == ["one"]
    assert digits.runs("it's").fetchall() == []


@pytest.mark.parametrize("name", ["one", "on", "first", "digits/one", "digits/first", "@last-1"])
def test_a_run_is_found_by_many_names(digits: runlake.Lake, name: str) -> None:
    assert digits.run(name).id == "one"


def test_the_last_run_is_the_one_that_is_meant_where_none_is_named(digits: runlake.Lake) -> None:
    assert digits.run().id == "two"


def test_a_run_tells_what_the_lake_knows(digits: runlake.Lake) -> None:
    run = digits.run("one")
    assert (run.project, run.name, run.state, run.tags, run.config) == (
        "digits",
        "first",
        "finished",
        ["a"],
        {"lr": 0.1},
    )
    assert run.last_step == 29
    assert run.summary["train/loss"] == 1 / 30
    assert repr(run) == "<runlake.RunInfo 'first' id='one' project='digits' state='finished'>"
    history = run.history()
    assert len(history) == 30
    assert {"step", "train/loss", "train/accuracy", "eval/loss"} <= set(history.columns)


def test_runs_are_chosen_by_condition_and_sorted(digits: runlake.Lake) -> None:
    with runlake.init("digits", id="three", config={"lr": 0.01}) as run:
        run.log({"train/loss": 0.001})

    def ids(**how: Any) -> list[str]:
        return [row["run_id"] for row in digits.runs(**how).to_dicts()]

    assert ids(where='"config.lr" < 1', order_by='"summary.train/loss"') == ["three", "one"]
    assert ids(project="digits", order_by='"config.lr" desc') == ["one", "three"]
    assert ids(where="array_has(tags, 'a') or run_id = 'two'", order_by="run_id") == ["one", "two"]
    assert ids(limit=1) == ["three"]
    with pytest.raises(runlake.InvalidQuery, match="did you mean"):
        digits.runs(where='"config.l" < 1')


def test_a_chart_says_what_all_points_of_a_bucket_say(digits: runlake.Lake) -> None:
    rows = digits.chart("train/loss", runs="first", buckets=3).to_dicts()
    assert [(row["x"], row["count"], row["last_step"]) for row in rows] == [(0, 10, 9), (10, 10, 19), (20, 10, 29)]
    assert [row["max_value"] for row in rows] == [1.0, 1 / 11, 1 / 21]
    metrics = digits.chart(["train/*", "~^eval"], where='"config.lr" = 0.1', from_=5, to=9.0, buckets=1).to_dicts()
    assert [(row["metric"], row["count"]) for row in metrics] == [("train/accuracy", 5), ("train/loss", 5)]
    band = digits.chart("*loss", group="project", buckets=1, smooth=0.5).to_dicts()
    assert [(row["group_value"], row["metric"]) for row in band] == [
        ("digits", "eval/loss"),
        ("digits", "train/loss"),
        ("other", "loss"),
    ]
    assert band[2]["smooth_value"] == 1.0
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    assert sum(row["count"] for row in digits.chart("train/loss", x="time", from_=start).to_dicts()) == 30
    assert digits.chart("train/loss", x="train/accuracy", to=0.5, buckets=4).to_dicts()[0]["first_x"] == 0.0
    with pytest.raises(runlake.InvalidQuery, match="did you mean"):
        digits.chart("train/los")


def test_runs_are_compared(digits: runlake.Lake) -> None:
    with runlake.init("digits", id="three", config={"lr": 0.01, "layers": [1]}) as run:
        run.log({"train/loss": 0.001})
    differs = digits.compare("one", "three")
    assert differs.columns == ["part", "key", "differs", "best", "one", "three", "delta.three"]
    rows = {(row["part"], row["key"]): row for row in differs.to_dicts()}
    assert rows["config", "lr"]["one"] == "0.1"
    assert rows["best", "train/loss"]["best"] == "three"
    assert ("config", "layers") not in {key for key, row in rows.items() if not row["differs"]}
    assert all(row["differs"] for row in rows.values())
    everything = digits.compare("one", "two", baseline="three", metrics="train/*", max="train/*", all=True)
    assert everything.columns[4:7] == ["three", "one", "two"]
    assert {row["key"] for row in everything.to_dicts() if row["part"] == "metric"} == {"train/accuracy", "train/loss"}
    assert digits.compare(where="run_id < 'two'").columns[4:6] == ["three", "one"]
    with pytest.raises(runlake.InvalidQuery, match="compare needs two runs"):
        digits.compare("one")


def test_a_finished_run_is_edited(digits: runlake.Lake) -> None:
    run = digits.run("one")
    run.name, run.notes = "best", "it's good"
    run.tags = [*run.tags, "new"]
    run.config["model"] = {"depth": 3}
    run.config["model"]["width"] = 64
    run.config["nothing"] = None
    del run.config["lr"]
    run.summary["train/loss"] = 0.5
    again = digits.run("best")
    assert (again.id, again.name, again.notes, again.tags) == ("one", "best", "it's good", run.tags)
    assert "new" in again.tags
    assert again.config == run.config
    assert (again.config["model"]["width"], again.config["nothing"], "lr" in again.config) == (64, None, False)
    assert again.summary["train/loss"] == 0.5
    del again.summary["train/loss"]
    again.tags, again.notes = [], None
    last = digits.run("one")
    # The last value of the metric shows again.
    assert (last.tags, last.notes, last.summary["train/loss"]) == ([], None, 1 / 30)
    assert last.state == "finished"


def test_a_watched_query_gives_what_changed(store: Path) -> None:
    with runlake.init("p", id="a") as run:
        run.log_many("loss", [3.0, math.nan, 1.0])
        query = "select metric, count, last_value, mean_value from series order by metric"
        watch = runlake.open().watch(query, every=0.001)
        assert next(watch).fetchall() == [("loss", 3, 1.0, 2.0)]
        run.log({"accuracy": 0.5, "never": math.nan})
        # Not the row of the loss, which is as it was.
        assert [row[0] for row in next(watch)] == ["accuracy", "never"]
        run.log({"loss": 5.0})
        # Nor the one with NaN.
        assert next(watch).fetchall() == [("loss", 4, 5.0, 3.0)]
        rows = runlake.open().watch("select value from points where metric = 'twice'", every=0.001)
        assert next(rows).fetchall() == []
        run.log({"twice": 1.0})
        assert next(rows).fetchall() == [(1.0,)]
        run.log({"twice": 1.0})
        # A row that is there once more is one row more.
        assert next(rows).fetchall() == [(1.0,)]


def test_a_watched_chart_gives_the_buckets_that_changed(store: Path) -> None:
    with runlake.init("p", id="a") as run:
        run.log_many("loss", [4.0, 3.0, 2.0])
        lake = runlake.open()
        chart = lake.chart("loss", buckets=1000)
        watch = lake.watch(chart, every=0.001)
        assert next(watch).to_dicts() == chart.to_dicts()
        run.log({"loss": 1.0}, step=3)
        change = next(watch)
        assert isinstance(change, runlake.Chart)
        assert [(row["x"], row["last_value"]) for row in change.to_dicts()] == [(3, 1.0)]
        with pytest.raises(runlake.InvalidArgument, match="give the query instead"):
            next(lake.watch(lake.sql("select 1 as a, 2 as b").plot()))
        with pytest.raises(runlake.InvalidQuery, match="did you mean"):
            next(lake.watch("select 1 from pints"))


def test_a_query_is_given_values_beside_its_text(digits: runlake.Lake) -> None:
    def one(value: object) -> object:
        (row,) = digits.sql("select $1", [value]).fetchall()
        return row[0]

    for value in ("it's", "", "学習", 5, -(2**63), 0.1, math.inf, None, True):
        assert one(value) == value
    assert math.isnan(one(math.nan))  # type: ignore[arg-type]
    rows = digits.sql("select run_id from runs where run_id in ($ids) and name <> $no", {"ids": ["one", "x"], "no": ""})
    assert rows.fetchall() == [("one",)]
    since = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    assert digits.sql("select count(*) from points where time > $1", [since])[0] == (62,)
    assert len(digits.sql("select * from chart($1, runs => $2)", ["train/loss", ["one"]])) == 30
    with pytest.raises(runlake.InvalidQuery, match=r"parameter \$2 has no value|no parameter"):
        digits.sql("select $1, $2", [1])
    with pytest.raises(TypeError, match="a list of values"):
        digits.sql("select $1", "one")


def test_a_history_has_the_metrics_that_were_asked_for(digits: runlake.Lake) -> None:
    columns = digits.history("one", metrics="train/*").columns
    assert [column for column in columns if "/" in column] == ["train/accuracy", "train/loss"]
    columns = digits.history("one", metrics=["train/loss", "eval/*"]).columns
    assert [column for column in columns if "/" in column] == ["eval/loss", "train/loss"]
    rows = digits.history("one", metrics="train/loss").to_dicts()
    assert [row["train/loss"] for row in rows] == [1 / (step + 1) for step in range(30)]


def test_no_run_says_what_it_could_have_been(digits: runlake.Lake) -> None:
    with pytest.raises(runlake.NotFound, match="no run 'frist'; did you mean") as caught:
        digits.run("frist")
    assert any("first" in candidate for candidate in caught.value.candidates)
    assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("selct 1", "cannot parse"),
        ("select * from pints", "points"),
        ("select stp from points", "step"),
        ("drop table points", "read-only"),
        ("insert into points values (1)", "read-only"),
        ("create table x as select 1", "read-only"),
        ("copy (select 1) to '/tmp/x.csv'", "read-only"),
        ("create external table x stored as csv location '/etc/passwd'", "read-only"),
    ],
)
def test_a_query_that_cannot_be_run_says_why(digits: runlake.Lake, query: str, said: str) -> None:
    with pytest.raises(runlake.InvalidQuery, match=said) as caught:
        digits.sql(query)
    assert isinstance(caught.value, ValueError)


def test_data_that_a_query_cannot_use_is_an_error_of_its_own(digits: runlake.Lake) -> None:
    with pytest.raises(runlake.QueryFailed, match="abc"):
        digits.sql("select cast(replace(metric, metric, 'abc') as bigint) from points")


def test_no_lake_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNLAKE_STORE", raising=False)
    with pytest.raises(runlake.NoLake, match=r"absent\.lake") as caught:
        runlake.open(tmp_path / "absent.lake")
    assert caught.value.path == str(tmp_path / "absent.lake")
    assert not (tmp_path / "absent.lake").exists()
    monkeypatch.setenv("RUNLAKE_STORE", str(tmp_path / "other.lake"))
    with pytest.raises(runlake.NoLake, match="RUNLAKE_STORE"):
        runlake.open()


def test_a_lake_of_a_later_version_and_a_broken_one_are_told_apart(digits: runlake.Lake, store: Path) -> None:
    lake_file = store / "LAKE"
    whole = lake_file.read_bytes()
    lake_file.write_bytes(b"\x00\x01\x02")
    with pytest.raises((runlake.CorruptLake, runlake.UnsupportedLake)) as caught:
        runlake.open(store)
    assert "LAKE" in str(caught.value)
    lake_file.write_bytes(whole)
    assert len(runlake.open(store).runs()) == 2


def test_damage_is_warned_of_and_the_rest_is_returned(store: Path, lake: Open, program: Program) -> None:
    program(
        "import os, runlake\n"
        "run = runlake.init('p')\n"
        "for step in range(100): run.log({'x': float(step)})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    (log,) = store.glob("log/*/*.log")
    content = bytearray(log.read_bytes())
    # Behind the last byte that is not zero lies nothing.
    content[len(bytes(content).rstrip(b"\0")) - 40] ^= 0x40
    log.write_bytes(content)
    with pytest.warns(runlake.DamageWarning, match=str(log)):
        steps = lake().sql("select step from points order by step").fetchall()
    assert 90 <= len(steps) < 100


def test_a_directory_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no directory")
    with pytest.raises((runlake.StorageError, runlake.Error)) as caught:
        runlake.init("p", store=file / "runs.lake")
    assert str(file) in str(caught.value)
    assert runlake.run is None


def test_reading_writes_nothing(store: Path, program: Program) -> None:
    # The writers are gone: one that lives says so in its log now and then, whoever reads.
    program("import runlake\nwith runlake.init('p') as run: run.log_many('x', range(70_000))")
    program("import os, runlake\nrunlake.init('p').log({'x': 1.0})\nos.kill(os.getpid(), 9)")

    def everything() -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in store.rglob("*")
        }

    before = everything()
    opened = runlake.open(store)
    assert len(opened.sql("select * from points")) == 70_001
    assert [row["state"] for row in opened.runs().to_dicts()] == ["crashed", "finished"]
    assert len(opened.history("@last-1")) == 70_000
    assert everything() == before


def test_rows_of_another_process_are_seen_while_it_lives(store: Path, lake: Open) -> None:
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, runlake\n"
            "run = runlake.init('p', id='r')\n"
            "print('ready', flush=True)\n"
            "for line in sys.stdin:\n"
            "    run.log({'x': float(line)})\n"
            "    print('logged', flush=True)\n",
        ],
        env={**os.environ, "RUNLAKE_STORE": str(store)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    opened = lake()
    for value in range(20):
        child.stdin.write(f"{value}\n")
        child.stdin.flush()
        assert child.stdout.readline() == "logged\n"
        # What `log` returned from is there at once: no waiting.
        assert opened.sql("select max(value), count(*) from points").fetchall() == [(float(value), value + 1)]
    child.stdin.close()
    child.wait(30)
    wait_for(lambda: opened.run("r").state == "finished")
    child.stdout.close()


def test_each_query_sees_the_lake_as_it_is_then(store: Path, lake: Open) -> None:
    run = runlake.init("p")
    opened = lake()
    run.log({"x": 1.0})
    first = opened.sql("select value from points")
    run.log({"x": 2.0})
    assert len(first) == 1
    assert len(opened.sql("select value from points")) == 2


JOINS = {
    "a product": "select sum(a.value * b.value * c.value) from points a, points b, points c",
    "a condition that lets nothing out": "select count(*) from points a, points b, points c "
    "where a.value + b.value + c.value < -1",
    "an equality that lets nothing out": "select count(*) from points a join points b on a.metric = b.metric "
    "join points c on b.metric = c.metric and a.value + b.value + c.value < -1",
    "an equality that all meet": "select count(*) from points a where metric in "
    "(select b.metric from points b, (select step from points limit 3000) c)",
}


@pytest.mark.parametrize("query", JOINS.values(), ids=JOINS)
def test_ctrl_c_stops_a_query(store: Path, program: Program, query: str) -> None:
    """More often than there are threads, so that one which went on would be missed. Each takes hours if it is let."""
    runlake.init("p").log_many("x", range(100_000))
    done = program(
        "import os, signal, sys, threading, time\n"
        "import runlake\n"
        # A shell has the programs ignore it that it starts in the background.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "lake = runlake.open()\n"
        "for turn in range(2 * os.cpu_count() + 1):\n"
        "    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    try:\n"
        "        lake.sql(sys.argv[1])\n"
        "    except KeyboardInterrupt:\n"
        "        print('stopped')\n"
        "print(*lake.sql('select count(*) from points').fetchone())\n",
        query,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert lines[-1] == "100000"
    assert set(lines[:-1]) == {"stopped"}


def test_a_handler_of_a_signal_may_say_how_a_query_ends(store: Path, program: Program) -> None:
    runlake.init("p").log_many("x", range(100_000))
    done = program(
        "import os, signal, sys, threading, time\n"
        "import runlake\n"
        "def handler(number, frame): raise TimeoutError('too long')\n"
        "signal.signal(signal.SIGUSR1, handler)\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()\n"
        "runlake.open().sql(sys.argv[1])\n",
        JOINS["a product"],
    )
    assert "TimeoutError: too long" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("method", "package", "install"),
    [
        ("to_arrow", "pyarrow", "pip install pyarrow"),
        ("to_pandas", "pandas", "pip install pandas pyarrow"),
        ("to_polars", "polars", "pip install polars"),
    ],
)
def test_a_missing_package_says_how_to_install_it(
    digits: runlake.Lake, monkeypatch: pytest.MonkeyPatch, method: str, package: str, install: str
) -> None:
    found = digits.sql("select 1")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=install):
        getattr(found, method)()


def test_the_lake_is_found_upward_from_where_the_process_started(store: Path, tmp_path: Path, program: Program) -> None:
    runlake.init("p", id="r").finish()
    inner = store.parent / "a" / "b"
    inner.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", "import runlake; print(runlake.open().path)"],
        cwd=inner,
        env={key: value for key, value in os.environ.items() if key != "RUNLAKE_STORE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{store}\n", done.stderr


def test_a_lake_has_a_repr(digits: runlake.Lake, store: Path) -> None:
    assert repr(digits) == f"<runlake.Lake {str(store)!r}>"
    assert digits.path == str(store)


THREE = """
import runlake

for project, id in (("digits", "a"), ("digits", "b"), ("other", "c")):
    with runlake.init(project, id=id, config={"lr": 0.1, "net": {"depth": 2}}, tags=["t"]) as run:
        for step in range(20):
            run.log({"loss": 1 / (step + 1), "odd": [float("nan"), 1.5][step % 2]})
        run.log({"loss": 0.5}, labels={"rank": 1}, step=3)
"""


@pytest.fixture
def exported(store: Path, program: Program) -> runlake.Lake:
    """A lake of three runs in two projects, the writer of which is gone."""
    assert program(THREE).returncode == 0
    return runlake.open(store)


@pytest.mark.parametrize("format", ["parquet", "csv", "json", "jsonl", "arrow"])
@pytest.mark.parametrize(
    "options",
    [{}, {"project": "digits"}, {"run": "a"}, {"run": ["a", "other/c"]}, {"run": ["b", "c"], "project": "other"}],
)
def test_an_export_is_what_the_command_exports(
    exported: runlake.Lake, tmp_path: Path, format: Any, options: dict[str, Any]
) -> None:
    runs, points = exported.export(tmp_path / "ours", format=format, **options)
    arguments = ["--format", format, "-o", str(tmp_path / "theirs")]
    named = options.get("run", [])
    for run in [named] if isinstance(named, str) else named:
        arguments += ["--run", run]
    if "project" in options:
        arguments += ["--project", options["project"]]
    done = subprocess.run(
        [sys.executable, "-m", "runlake", "--store", exported.path, "export", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    counted = [f"{number} {what}{'' if number == 1 else 's'}" for number, what in ((runs, "run"), (points, "point"))]
    assert done.stdout.startswith(f"{counted[0]} and {counted[1]} in ")
    files = sorted(path.name for path in (tmp_path / "ours").iterdir())
    assert files == [f"{table}.{format}" for table in ("config", "points", "runs", "series")]
    assert runs > 0
    assert points == 41 * runs
    for name in files:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_an_export_overwrites_nothing_and_names_what_is_not_there(exported: runlake.Lake, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(runlake.InvalidArgument, match="full is not empty"):
        exported.export(full)
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
    new = tmp_path / "new"
    with pytest.raises(runlake.NotFound, match="absent"):
        exported.export(new, run="absent")
    with pytest.raises(runlake.NotFound, match="absent"):
        exported.export(new, project="absent")
    with pytest.raises(runlake.InvalidArgument, match="'xlsx' is none of"):
        exported.export(new, format="xlsx")  # type: ignore[arg-type]
    assert not new.exists()
    with pytest.raises(runlake.StorageError, match="cannot write to"):
        exported.export(full / "mine.txt" / "below")


def test_an_export_of_a_snapshot_shows_its_moment(exported: runlake.Lake, tmp_path: Path) -> None:
    before = exported.snapshot()
    with runlake.init("digits", id="later", store=exported.path) as run:
        run.log({"loss": 1.0})
    assert before.export(tmp_path / "before") == (3, 123)
    assert exported.export(tmp_path / "after") == (4, 124)


def test_points_of_old_runs_go_and_what_they_add_up_to_stays(exported: runlake.Lake, store: Path) -> None:
    compact(store)
    known = exported.sql("select * from series order by 1, 2, 3, 4").to_arrow()
    runs = exported.sql("select run_id, last_step, summary from runs order by 1").fetchall()
    old = datetime.timedelta(days=90)
    assert exported.expire(raw_older_than=old) == 0
    now = datetime.timedelta(0)
    assert exported.expire(raw_older_than=now, project="digits", dry_run=True) == 82
    assert exported.sql("select count(*) from points").fetchone() == (123,)
    assert exported.expire(raw_older_than=now, project="digits") == 82
    assert exported.expire(raw_older_than=now, project="digits") == 0
    assert exported.sql("select run_id, count(*) from points group by 1").fetchall() == [("c", 41)]
    assert len(exported.history("a")) == 0
    assert exported.sql("select run_id, last_step, summary from runs order by 1").fetchall() == runs
    compact(store)
    left = exported.sql("select * from series order by 1, 2, 3, 4").to_arrow()
    assert repr(left.to_pylist()) == repr(known.to_pylist())
    theirs = deltalake.DeltaTable(store / "tables" / "points").to_pyarrow_table()
    assert set(theirs["run_id"].to_pylist()) == {"c"}
    folded = deltalake.DeltaTable(store / "tables" / "series").to_pyarrow_table()
    assert len(folded) == len(known)
